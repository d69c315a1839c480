//! Events out: sessions, lists, problems, rejections, the ledger.
//!
//! What a token may see is a wall, not a wish: it is part of every filter. What lies behind it does not exist for the
//! asker: an empty list or a 404, never a hint.

mod desk;
mod diff;
pub(crate) mod params;
mod questions;
mod sql;
mod tables;
mod values;

use std::sync::Arc;

use axum::extract::{RawQuery, State};
use axum::response::Response;
use axum::routing::get;
use axum::{Extension, Router};
use eye_event::Timestamp;
use eye_query::{
    Asked, Cursor, EventsQuery, Filter, Line, ProblemsQuery, RejectionsQuery, Rows, SessionQuery, SessionsQuery,
    write_event_json,
};
use eye_store::{Position, StoredEvent};
use serde::Serialize;
use utoipa::ToSchema;

use crate::auth::{Caller, Reader};
use crate::error::{ApiError, ApiResult, Code};
use crate::state::AppState;
use desk::{Desk, When};
use params::{Params, Segment};

pub(crate) use desk::{json, write};
pub(crate) use sql::{Bodies, sql_limits};
#[cfg(test)]
pub(crate) use tables::ROUTES;
pub(crate) use tables::{LIVE, OPERATIONS};

/// The routes of this file.
pub(crate) fn routes() -> Router<AppState> {
    Router::new()
        .route("/v1/sessions/{session_id}", get(session))
        .route("/v1/sessions", get(sessions))
        // POST on this path is the collector's: the routers are merged.
        .route("/v1/events", get(events))
        .route("/v1/problems", get(problems))
        .route("/v1/rejections", get(rejections))
        .route("/v1/ledger", get(ledger))
        .merge(questions::routes())
        .merge(values::routes())
        .merge(diff::routes())
        .merge(sql::routes())
        .layer(Extension(Desk::new()))
}

async fn session(
    State(state): State<AppState>,
    Extension(desk): Extension<Desk>,
    Reader(caller): Reader,
    Segment(session_id): Segment,
    RawQuery(query): RawQuery,
) -> ApiResult<Response> {
    let params = Params::read(query.as_deref(), tables::SESSION)?;
    let query = SessionQuery {
        session_id,
        allowed: caller.applications(),
        limit: params.number("limit")?,
        cursor: cursor(&params),
    };
    desk.ask(&state, when(&params)?, move |snapshot, cancel| {
        let Some(rows) = eye_query::session_with(snapshot, &query, cancel, event_json)? else {
            let detail = "no event of this session is here: check the id, or send one first";
            return Err(ApiError::new(Code::SessionNotFound, detail));
        };
        let mut body = b"{\"session_id\":".to_vec();
        body.extend(write(&query.session_id)?);
        body.push(b',');
        write_page(body, &rows, snapshot.version(), snapshot.position())
    })
    .await
}

async fn sessions(
    State(state): State<AppState>,
    Extension(desk): Extension<Desk>,
    Reader(caller): Reader,
    RawQuery(query): RawQuery,
) -> ApiResult<Response> {
    let params = Params::read(query.as_deref(), tables::SESSIONS)?;
    let query = SessionsQuery {
        filter: filter(&caller, &params)?,
        sort: params.choice("sort")?.parse()?,
        direction: params.choice("order")?.parse()?,
        limit: params.number("limit")?,
        cursor: cursor(&params),
        ..SessionsQuery::default()
    };
    let when = when(&params)?;
    desk.ask_long(&state, when, move |snapshot, cancel| write(&eye_query::sessions(snapshot, &query, cancel)?)).await
}

async fn events(
    State(state): State<AppState>,
    Extension(desk): Extension<Desk>,
    Reader(caller): Reader,
    RawQuery(query): RawQuery,
) -> ApiResult<Response> {
    let params = Params::read(query.as_deref(), tables::EVENTS)?;
    let query = EventsQuery {
        filter: filter(&caller, &params)?,
        order: params.choice("order")?.parse()?,
        limit: params.number("limit")?,
        cursor: cursor(&params),
    };
    let when = when(&params)?;
    desk.ask(&state, when, move |snapshot, cancel| {
        let rows = eye_query::events_with(snapshot, &query, cancel, event_json)?;
        write_page(b"{".to_vec(), &rows, snapshot.version(), snapshot.position())
    })
    .await
}

async fn problems(
    State(state): State<AppState>,
    Extension(desk): Extension<Desk>,
    Reader(caller): Reader,
    RawQuery(query): RawQuery,
) -> ApiResult<Response> {
    let params = Params::read(query.as_deref(), tables::PROBLEMS)?;
    let query = ProblemsQuery {
        allowed: caller.applications(),
        application: params.owned("application"),
        from: params.time("from")?,
        to: params.time("to")?,
        samples: params.number("samples")?,
    };
    let when = when(&params)?;
    desk.ask_long(&state, when, move |snapshot, cancel| write(&eye_query::problems(snapshot, &query, cancel)?)).await
}

async fn rejections(
    State(state): State<AppState>,
    Extension(desk): Extension<Desk>,
    Reader(caller): Reader,
    RawQuery(query): RawQuery,
) -> ApiResult<Response> {
    let params = Params::read(query.as_deref(), tables::REJECTIONS)?;
    let query = RejectionsQuery {
        allowed: caller.applications(),
        application: params.owned("application"),
        code: params.owned("code"),
        limit: params.number("limit")?,
        cursor: cursor(&params),
    };
    let at_least = params.position("at_least")?;
    desk.ask(&state, at_least, move |snapshot, cancel| write(&eye_query::rejections(snapshot, &query, cancel)?)).await
}

/// What every token has sent, and what became of it. Always: received = stored + duplicate + rejected.
#[derive(Serialize, ToSchema)]
pub(crate) struct Ledger {
    /// One line per token that ever sent something.
    tokens: Vec<LedgerLine>,
    /// The version of the table.
    version: u64,
    /// What the answer has seen of the log.
    offset: String,
}

/// One token's line of the ledger.
#[derive(Serialize, ToSchema)]
struct LedgerLine {
    /// The token's id.
    token: String,
    /// What people call it.
    name: Option<String>,
    /// The application it writes to.
    application: Option<String>,
    /// Events that came with it.
    received: u64,
    /// Events that were stored.
    stored: u64,
    /// Events that were stored before.
    duplicate: u64,
    /// Events that were refused.
    rejected: u64,
}

async fn ledger(
    State(state): State<AppState>,
    Extension(desk): Extension<Desk>,
    Reader(caller): Reader,
    RawQuery(query): RawQuery,
) -> ApiResult<Response> {
    let params = Params::read(query.as_deref(), tables::LEDGER)?;
    let (store, registry) = (state.store.clone(), state.registry.state());
    let allowed = caller.applications();
    desk.ask(&state, params.position("at_least")?, move |snapshot, _| {
        let lines = store.ledger().into_iter().map(|(id, counts)| ledger_line(&registry, id, counts));
        let may_see = |line: &LedgerLine| match (&allowed, &line.application) {
            (None, _) => true,
            (Some(allowed), Some(application)) => allowed.contains(application),
            (Some(_), None) => false,
        };
        let tokens = lines.filter(may_see).collect();
        write(&Ledger { tokens, version: snapshot.version(), offset: snapshot.position().to_string() })
    })
    .await
}

fn ledger_line(registry: &eye_registry::State, id: String, counts: eye_store::Counts) -> LedgerLine {
    let token = id.parse().ok().and_then(|id| registry.token(&id));
    LedgerLine {
        name: token.map(|token| token.name.clone()),
        application: token.and_then(|token| token.application.as_ref()).map(ToString::to_string),
        token: id,
        received: counts.received,
        stored: counts.stored,
        duplicate: counts.duplicate,
        rejected: counts.rejected,
    }
}

fn event_json(event: &StoredEvent<'_>) -> Vec<u8> {
    let mut json = Vec::with_capacity(256 + event.event.data.len());
    write_event_json(event, &mut json);
    json
}

/// The rest of a page of events, behind what `body` begins with.
///
/// Written by hand: events are JSON already, and pages are what is asked for most.
fn write_page(mut body: Vec<u8>, rows: &Rows<Vec<u8>>, version: u64, seen: &Position) -> ApiResult<Vec<u8>> {
    body.reserve(rows.rows.iter().map(|row| row.len() + 1).sum::<usize>() + 128);
    body.extend(b"\"events\":[");
    for (index, row) in rows.rows.iter().enumerate() {
        if index > 0 {
            body.push(b',');
        }
        body.extend(row);
    }
    body.extend(b"],\"next\":");
    body.extend(write(&rows.next)?);
    body.extend(format!(",\"version\":{version},\"offset\":\"{seen}\"}}").bytes());
    Ok(body)
}

/// The filter that a request asks for, inside the wall of what its caller may see.
pub(crate) fn filter(caller: &Caller, params: &Params) -> ApiResult<Filter> {
    Ok(Filter { from: params.time("from")?, to: params.time("to")?, ..filter_at_any_time(caller, params)? })
}

/// The same without the parameters of time; the query line may have its own.
fn filter_at_any_time(caller: &Caller, params: &Params) -> ApiResult<Filter> {
    Ok(Filter {
        allowed: caller.applications(),
        session_id: params.owned("session_id"),
        application: params.owned("application"),
        category: params.owned("category"),
        name: params.owned("name"),
        user_id: params.owned("user_id"),
        problem: params.text("problem").map(str::parse).transpose()?,
        line: line(params)?,
        ..Filter::default()
    })
}

/// The query line of a request, asked now.
fn line(params: &Params) -> ApiResult<Option<Arc<Asked>>> {
    let Some(text) = params.text("query") else { return Ok(None) };
    let line: Line = text.parse()?;
    Ok(Some(Arc::new(line.at(Timestamp::now()))))
}

/// Of which moment the answer is to be.
fn when(params: &Params) -> ApiResult<When> {
    When::new(params.position("at_least")?, params.text("at"))
}

fn cursor(params: &Params) -> Option<Cursor> {
    params.text("cursor").map(Cursor::new)
}
