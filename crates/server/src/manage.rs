//! Applications, tokens and users, for administrators, and the one call that makes the first of them; and what operators
//! ask for: flush, compaction, erasures, backup, jobs.
//!
//! Every change is a record of the registry's log: when the answer is sent, the change survives a crash and stands in
//! the audit trail. Secrets are in exactly one answer, the one that makes them.

mod attempts;
mod backup;
mod erasures;
mod jobs;
mod setup;
mod tables;
mod views;

use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::response::Response;
use axum::routing::{delete, get, patch, post};
use eye_event::Timestamp;
use eye_log::Offset;
use eye_registry::{Actor, Error, NewToken, NewUser, Registry, Scopes, TokenKind, UserChange};
use http::StatusCode;
use serde::Serialize;

use crate::ask::params::{Params, Segment};
use crate::auth::Admin;
use crate::error::{ApiError, ApiResult, Code};
use crate::fields::Fields;
use crate::state::AppState;
use views::{
    ApplicationList, ApplicationOut, AuditList, AuditOut, Compacted, Flushed, NewUserOut, TokenList, TokenOut,
    UserList, UserOut,
};

/// A compaction that was asked for begins nothing new after this: whoever asked waits for an answer.
const COMPACT_LIMIT: Duration = Duration::from_secs(45);

pub(crate) use tables::OPERATIONS;
#[cfg(test)]
pub(crate) use tables::ROUTES;

/// The routes of this file.
pub(crate) fn routes() -> Router<AppState> {
    Router::new()
        .route("/v1/applications", get(applications).post(create_application))
        .route("/v1/tokens", get(tokens).post(create_token))
        .route("/v1/tokens/{id}/rotate", post(rotate_token))
        .route("/v1/tokens/{id}", delete(revoke_token))
        .route("/v1/users", get(users).post(create_user))
        .route("/v1/users/{id}", patch(update_user))
        .route("/v1/audit", get(audit))
        .route("/v1/flush", post(flush))
        .route("/v1/compact", post(compact))
        .merge(backup::routes())
        .merge(erasures::routes())
        .merge(jobs::routes())
        .merge(setup::routes())
}

async fn applications(State(state): State<AppState>, _: Admin, RawQuery(query): RawQuery) -> ApiResult<Response> {
    Params::read(query.as_deref(), &[])?;
    let registry = state.registry.state();
    let applications = registry.applications().iter().map(|application| ApplicationOut::from(&**application));
    answer(StatusCode::OK, &ApplicationList { applications: applications.collect() })
}

async fn create_application(State(state): State<AppState>, Admin(caller): Admin, body: Body) -> ApiResult<Response> {
    let fields = Fields::read(&state, body, tables::NEW_APPLICATION).await?;
    let (name, title) = (fields.required("name")?, fields.owned("title")?);
    let made = change(&state, caller.actor(), move |registry, actor, now| {
        registry.create_application(&actor, now, &name, title.as_deref())
    });
    answer(StatusCode::CREATED, &ApplicationOut::from(&made.await?))
}

async fn tokens(State(state): State<AppState>, _: Admin, RawQuery(query): RawQuery) -> ApiResult<Response> {
    Params::read(query.as_deref(), &[])?;
    let registry = state.registry.state();
    let tokens = registry.tokens().iter().map(|token| TokenOut::from(&**token));
    answer(StatusCode::OK, &TokenList { tokens: tokens.collect() })
}

async fn create_token(State(state): State<AppState>, Admin(caller): Admin, body: Body) -> ApiResult<Response> {
    let fields = Fields::read(&state, body, tables::NEW_TOKEN).await?;
    let kind: TokenKind = fields.required("kind")?.parse()?;
    let new = NewToken {
        application: fields.owned("application")?,
        scopes: fields.parsed::<Scopes>("scopes", "a list of write, read and admin, each at most once")?,
        reads_all: fields.flag("reads_all")?.unwrap_or_default(),
        expires_at: fields.time("expires_at")?,
        import: fields.owned("import")?,
        ..NewToken::new(fields.required("name")?, kind)
    };
    let made = change(&state, caller.actor(), move |registry, actor, now| registry.create_token(&actor, now, new));
    let (token, secret) = made.await?;
    answer(StatusCode::CREATED, &TokenOut::with_secret(&token, &secret))
}

async fn rotate_token(
    State(state): State<AppState>,
    Admin(caller): Admin,
    Segment(id): Segment,
    body: Body,
) -> ApiResult<Response> {
    let fields = Fields::read_optional(&state, body, tables::ROTATION).await?;
    let overlap = Duration::from_secs(fields.number("overlap_seconds")?);
    let made = change(&state, caller.actor(), move |registry, actor, now| {
        let id = id.parse().map_err(|_| Error::NotFound { what: "token" })?;
        registry.rotate_token(&actor, now, &id, overlap)
    });
    let (token, secret) = made.await?;
    answer(StatusCode::CREATED, &TokenOut::with_secret(&token, &secret))
}

async fn revoke_token(
    State(state): State<AppState>,
    Admin(caller): Admin,
    Segment(id): Segment,
) -> ApiResult<Response> {
    let done = change(&state, caller.actor(), move |registry, actor, now| {
        let id = id.parse().map_err(|_| Error::NotFound { what: "token" })?;
        registry.revoke_token(&actor, now, &id)
    });
    answer(StatusCode::OK, &TokenOut::from(&done.await?))
}

async fn users(State(state): State<AppState>, _: Admin, RawQuery(query): RawQuery) -> ApiResult<Response> {
    Params::read(query.as_deref(), &[])?;
    let registry = state.registry.state();
    let users = registry.users().iter().map(|user| UserOut::from(&**user));
    answer(StatusCode::OK, &UserList { users: users.collect() })
}

async fn create_user(State(state): State<AppState>, Admin(caller): Admin, body: Body) -> ApiResult<Response> {
    let fields = Fields::read(&state, body, tables::NEW_USER).await?;
    let new = NewUser {
        name: fields.required("name")?,
        password: fields.owned("password")?,
        role: fields.required("role")?.parse()?,
        application: fields.owned("application")?,
    };
    let made = change(&state, caller.actor(), move |registry, actor, now| registry.create_user(&actor, now, new));
    let (user, token, secret) = made.await?;
    answer(StatusCode::CREATED, &NewUserOut::new(&user, &token, &secret))
}

async fn update_user(
    State(state): State<AppState>,
    Admin(caller): Admin,
    Segment(id): Segment,
    body: Body,
) -> ApiResult<Response> {
    let fields = Fields::read(&state, body, tables::USER_CHANGE).await?;
    let wanted = UserChange {
        active: fields.flag("active")?,
        role: fields.text("role")?.map(str::parse).transpose()?,
        password: fields.owned("password")?,
    };
    let done = change(&state, caller.actor(), move |registry, actor, now| {
        let id = id.parse().map_err(|_| Error::NotFound { what: "user" })?;
        registry.update_user(&actor, now, &id, wanted)
    });
    answer(StatusCode::OK, &UserOut::from(&done.await?))
}

async fn audit(State(state): State<AppState>, _: Admin, RawQuery(query): RawQuery) -> ApiResult<Response> {
    let params = Params::read(query.as_deref(), tables::AUDIT)?;
    let (before, limit) = (params.optional_number("before")?.map(Offset), params.number("limit")?);
    let registry = state.registry.clone();
    let records = blocking(move || registry.audit(before, limit)).await??;
    answer(StatusCode::OK, &AuditList { records: records.into_iter().map(AuditOut::from).collect() })
}

async fn flush(State(state): State<AppState>, _: Admin) -> ApiResult<Response> {
    let report = state.store.flush().await?;
    let flushed = Flushed {
        version: report.version,
        offset: report.position.to_string(),
        rows: report.rows,
        rejections: report.rejections,
    };
    answer(StatusCode::OK, &flushed)
}

async fn compact(State(state): State<AppState>, _: Admin) -> ApiResult<Response> {
    let report = state.store.compact(COMPACT_LIMIT).await?;
    let compacted = Compacted {
        version: report.version,
        files_before: report.files_before,
        files_after: report.files_after,
        rows: report.rows,
        bytes_before: report.bytes_in,
        bytes_after: report.bytes_out,
        vacuumed_files: report.vacuumed_files,
        complete: report.is_complete,
    };
    answer(StatusCode::OK, &compacted)
}

/// Makes a change in the registry: it waits for the disk, and hashes passwords.
async fn change<T: Send + 'static>(
    state: &AppState,
    actor: Actor,
    work: impl FnOnce(&Registry, Actor, Timestamp) -> eye_registry::Result<T> + Send + 'static,
) -> ApiResult<T> {
    let (registry, now) = (state.registry.clone(), state.clock.now());
    Ok(blocking(move || work(&registry, actor, now)).await??)
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> ApiResult<T> {
    tokio::task::spawn_blocking(work).await.map_err(|error| ApiError::internal(&error))
}

/// An answer in JSON; never kept by anything between here and the client, for it may hold a secret.
fn answer(status: StatusCode, body: &impl Serialize) -> ApiResult<Response> {
    let mut response = crate::ask::json(crate::ask::write(body)?);
    *response.status_mut() = status;
    Ok(response)
}

impl From<Error> for ApiError {
    fn from(error: Error) -> Self {
        match error {
            Error::Invalid { field, .. } => Self::invalid_body(field, error.to_string()),
            Error::NotFound { .. } => Self::new(Code::NotFound, error.to_string()),
            Error::Exists { .. } => Self::new(Code::Exists, error.to_string()),
            Error::Denied { message } => Self::new(Code::Denied, message),
            Error::Log(error) => eye_store::Error::from(error).into(),
            Error::Corrupt { .. } | Error::Internal { .. } => Self::internal(&error),
        }
    }
}
