//! Questions over many events: each takes a JSON object and answers with figures.
//!
//! `docs/questions.md` says what each of them means. The rule: a range that was left out is filled in here, and the
//! answer says what it was, so that it can be asked again.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use axum::routing::post;
use axum::{Extension, Router};
use eye_event::Timestamp;
use eye_query::{Asked, BREAKDOWN_MAX, Field, Filter, TOP_MAX, TrendQuery, WeekStart};

use super::desk::{Desk, write};
use crate::auth::{Caller, Reader};
use crate::error::{ApiError, ApiResult};
use crate::fields::Fields;
use crate::openapi::{Kind, Param};
use crate::state::AppState;

/// How long a range is that nobody has stated.
const RANGE_MICROS: i64 = 30 * 86_400 * 1_000_000;

const QUERY: Param =
    Param::field("query", Kind::Text, "Which events: a query line, such as name~buy data.plan=pro since:24h.");
const FROM: Param = Param::field("from", Kind::Time, "Only what occurred at this time or later.");
const TO: Param = Param::field("to", Kind::Time, "Only what occurred before this time.");
const TIME_ZONE: Param =
    Param::field("time_zone", Kind::Text, "Whose clock cuts the time: an IANA name; UTC if absent.");
const WEEK_START: Param =
    Param::field("week_start", Kind::Choice(&["monday", "sunday", "saturday"]), "On which day weeks begin.");
const AT_LEAST: Param = Param::field("at_least", Kind::Offset, "Wait until the answer sees this offset.");

/// `POST /v1/query/trend`.
pub(super) const TREND: &[Param] = &[
    QUERY,
    FROM,
    TO,
    Param::field(
        "measure",
        Kind::Text,
        "What is measured: events (if absent), sessions, users, anonymous, or distinct, sum, avg, min, max, p50, p90, p95 \
         or p99 of a field, as in sum(data.amount).",
    ),
    Param::field(
        "interval",
        Kind::Choice(&["day", "minute", "hour", "week", "month", "whole"]),
        "How long one interval is.",
    ),
    TIME_ZONE,
    WEEK_START,
    Param::field(
        "breakdown",
        Kind::Texts { max: BREAKDOWN_MAX },
        "A series for each value of these fields, such as category or data.plan.",
    ),
    Param::field(
        "top",
        Kind::Number { min: 1, max: TOP_MAX as u64, default: Some(10) },
        "So many series are shown, those with the largest totals; the others together.",
    ),
    Param::field("compare", Kind::Flag, "True to have the same of the period before, which is as long."),
    AT_LEAST,
];

/// The routes of this file.
pub(super) fn routes() -> Router<AppState> {
    Router::new().route("/v1/query/trend", post(trend))
}

async fn trend(
    State(state): State<AppState>,
    Extension(desk): Extension<Desk>,
    Reader(caller): Reader,
    body: Body,
) -> ApiResult<Response> {
    let fields = Fields::read(&state, body, TREND).await?;
    let now = Timestamp::now();
    let filter = filter(&caller, &fields, now)?;
    let (from, to) = range(&filter, now)?;
    let query = TrendQuery {
        measure: fields.text("measure")?.unwrap_or("events").parse()?,
        interval: fields.choice("interval")?.parse()?,
        week_start: week_start(&fields)?,
        time_zone: time_zone(&fields)?,
        breakdown: fields.texts("breakdown")?.iter().map(|text| field("breakdown", text)).collect::<ApiResult<_>>()?,
        top: number(&fields, "top")?,
        compare: fields.flag("compare")?.unwrap_or(false),
        ..TrendQuery::new(filter, from, to)
    };
    desk.ask(&state, fields.position("at_least")?, move |snapshot, cancel| {
        write(&eye_query::trend(snapshot, &query, cancel)?)
    })
    .await
}

/// The filter that a body asks for, inside the wall of what its caller may see.
fn filter(caller: &Caller, fields: &Fields, now: Timestamp) -> ApiResult<Filter> {
    Ok(Filter {
        allowed: caller.applications(),
        line: line(fields, "query", now)?,
        from: fields.time("from")?,
        to: fields.time("to")?,
        ..Filter::default()
    })
}

/// A query line, if it was sent.
fn line(fields: &Fields, name: &'static str, now: Timestamp) -> ApiResult<Option<Arc<Asked>>> {
    fields.text(name)?.map(|text| super::asked(text, now)).transpose()
}

/// The range of a question that cannot do without.
fn range(filter: &Filter, now: Timestamp) -> ApiResult<(Timestamp, Timestamp)> {
    let to = filter.to().unwrap_or(now);
    let from = filter.from().unwrap_or_else(|| Timestamp::from_micros(to.micros().saturating_sub(RANGE_MICROS)));
    match from < to {
        true => Ok((from, to)),
        false => Err(ApiError::invalid_parameter("from", format!("from ({from}) is not before to ({to})"))),
    }
}

fn field(name: &'static str, text: &str) -> ApiResult<Field> {
    Field::parse(text).ok_or_else(|| {
        let known = "application, session_id, category, name, user_id, anonymous_id, data.PATH or context.PATH";
        ApiError::invalid_parameter(name, format!("{name} names no field: send {known}"))
    })
}

fn time_zone(fields: &Fields) -> ApiResult<String> {
    Ok(fields.owned("time_zone")?.unwrap_or_else(|| "UTC".to_owned()))
}

fn week_start(fields: &Fields) -> ApiResult<WeekStart> {
    Ok(match fields.choice("week_start")? {
        "sunday" => WeekStart::Sunday,
        "saturday" => WeekStart::Saturday,
        _ => WeekStart::Monday,
    })
}

fn number(fields: &Fields, name: &'static str) -> ApiResult<usize> {
    usize::try_from(fields.number(name)?).map_err(|error| ApiError::internal(&error))
}
