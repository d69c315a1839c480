//! Suggestions: which values a field has, and which categories, names and fields there are.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::response::Response;
use axum::routing::{get, post};
use axum::{Extension, Router};
use eye_event::Timestamp;
use eye_query::{
    CATALOGUE_LIMIT, CATALOGUE_LIMIT_MAX, CatalogueQuery, Field, Filter, Line, VALUES_LIMIT, VALUES_LIMIT_MAX,
    ValuesQuery,
};
use eye_store::Position;

use super::desk::{Desk, write};
use super::params::Params;
use super::tables::{APPLICATION, AT_LEAST, QUERY};
use crate::auth::{Caller, Reader};
use crate::error::{ApiError, ApiResult};
use crate::fields::Fields;
use crate::openapi::{Kind, Param};
use crate::state::AppState;

const FIELD_DOC: &str = "Of which field, such as name or data.plan.";
const PREFIX_DOC: &str = "Only values that begin so, in any case of letters.";
const VALUES_LIMIT_KIND: Kind =
    Kind::Number { min: 1, max: VALUES_LIMIT_MAX as u64, default: Some(VALUES_LIMIT as u64) };

/// `GET /v1/values`.
pub(super) const VALUES: &[Param] = &[
    Param::query("field", Kind::Text, FIELD_DOC).required(),
    Param::query("prefix", Kind::Text, PREFIX_DOC),
    QUERY,
    APPLICATION,
    Param::query("limit", VALUES_LIMIT_KIND, "How many, at most."),
    AT_LEAST,
];

/// `POST /v1/query/values`.
pub(super) const FIELDS: &[Param] = &[
    Param::field("field", Kind::Text, FIELD_DOC).required(),
    Param::field("prefix", Kind::Text, PREFIX_DOC),
    Param::field("query", Kind::Text, "Of which events: a query line; they are looked up in the newest events then."),
    Param::field("application", Kind::Text, "Only what this application sent."),
    Param::field("limit", VALUES_LIMIT_KIND, "How many, at most."),
    Param::field("at_least", Kind::Offset, "Wait until the answer sees this offset."),
];

/// `GET /v1/catalogue`.
pub(super) const CATALOGUE: &[Param] = &[
    APPLICATION,
    Param::query("prefix", Kind::Text, "Only fields that begin so, in any case of letters, such as data.c."),
    Param::query(
        "limit",
        Kind::Number { min: 1, max: CATALOGUE_LIMIT_MAX as u64, default: Some(CATALOGUE_LIMIT as u64) },
        "How many fields, and how many names, of each application, at most.",
    ),
    AT_LEAST,
];

/// The routes of this file.
pub(super) fn routes() -> Router<AppState> {
    Router::new()
        .route("/v1/values", get(values))
        .route("/v1/query/values", post(query_values))
        .route("/v1/catalogue", get(catalogue))
}

/// What was asked for, wherever it stood.
struct Wanted {
    field: Option<String>,
    prefix: Option<String>,
    query: Option<String>,
    application: Option<String>,
    limit: usize,
    at_least: Option<Position>,
}

async fn values(
    State(state): State<AppState>,
    Extension(desk): Extension<Desk>,
    Reader(caller): Reader,
    RawQuery(query): RawQuery,
) -> ApiResult<Response> {
    let params = Params::read(query.as_deref(), VALUES)?;
    let wanted = Wanted {
        field: params.owned("field"),
        prefix: params.owned("prefix"),
        query: params.owned("query"),
        application: params.owned("application"),
        limit: params.number("limit")?,
        at_least: params.position("at_least")?,
    };
    answer(&state, &desk, &caller, wanted).await
}

async fn query_values(
    State(state): State<AppState>,
    Extension(desk): Extension<Desk>,
    Reader(caller): Reader,
    body: Body,
) -> ApiResult<Response> {
    let fields = Fields::read(&state, body, FIELDS).await?;
    let limit = usize::try_from(fields.number("limit")?).map_err(|error| ApiError::internal(&error))?;
    let wanted = Wanted {
        field: fields.owned("field")?,
        prefix: fields.owned("prefix")?,
        query: fields.owned("query")?,
        application: fields.owned("application")?,
        limit,
        at_least: fields.position("at_least")?,
    };
    answer(&state, &desk, &caller, wanted).await
}

async fn answer(state: &AppState, desk: &Desk, caller: &Caller, wanted: Wanted) -> ApiResult<Response> {
    let no_field = || {
        let detail = "field names no field: send application, category, name, session_id, user_id, anonymous_id, event_id, \
                      data.PATH or context.PATH";
        ApiError::invalid_parameter("field", detail)
    };
    let line = wanted.query.as_deref().map(str::parse::<Line>).transpose()?;
    let query = ValuesQuery {
        filter: Filter {
            allowed: caller.applications(),
            application: wanted.application,
            line: line.map(|line| Arc::new(line.at(Timestamp::now()))),
            ..Filter::default()
        },
        field: wanted.field.as_deref().and_then(Field::parse).ok_or_else(no_field)?,
        prefix: wanted.prefix.unwrap_or_default(),
        limit: wanted.limit,
    };
    let shared = state.clone();
    desk.ask(state, wanted.at_least, move |snapshot, cancel| write(&shared.catalogue.values(snapshot, &query, cancel)?))
        .await
}

async fn catalogue(
    State(state): State<AppState>,
    Extension(desk): Extension<Desk>,
    Reader(caller): Reader,
    RawQuery(query): RawQuery,
) -> ApiResult<Response> {
    let params = Params::read(query.as_deref(), CATALOGUE)?;
    let query = CatalogueQuery {
        allowed: caller.applications(),
        application: params.owned("application"),
        prefix: params.owned("prefix").unwrap_or_default(),
        limit: params.number("limit")?,
    };
    let shared = state.clone();
    let at_least = params.position("at_least")?;
    desk.ask(&state, at_least, move |snapshot, cancel| write(&shared.catalogue.catalogue(snapshot, &query, cancel)?))
        .await
}
