//! Questions over many events: each takes a JSON object and answers with figures.
//!
//! `docs/questions.md` says what each of them means. The rule: a range that was left out is filled in here, and the
//! answer says what it was, so that it can be asked again.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use axum::routing::post;
use axum::{Extension, Router};
use eye_event::Timestamp;
use eye_query::line::Unit;
use eye_query::{
    Asked, BREAKDOWN_MAX, By, FUNNEL_SAMPLES_MAX, FUNNEL_STEPS_MAX, FUNNEL_STEPS_MIN, FUNNEL_TOP_MAX, Field, Filter,
    FunnelOrder, FunnelQuery, Line, PATHS_DEPTH_MAX, PATHS_TOP_MAX, PathsQuery, RETENTION_LIMIT_MAX,
    RETENTION_PERIODS_MAX, RetentionQuery, TOP_MAX, TrendQuery, WeekStart,
};

use super::desk::{Desk, When, write};
use super::tables::AT_PATTERN;
use crate::auth::Reader;
use crate::error::{ApiError, ApiResult};
use crate::fields::Fields;
use crate::openapi::{Kind, Param};
use crate::state::AppState;

/// How long a range is that nobody has stated.
const RANGE_MICROS: i64 = 30 * 86_400 * 1_000_000;

const QUERY: Param =
    Param::field("query", Kind::Line, "Which events: a query line, such as name~buy data.plan=pro since:24h.");
const FROM: Param = Param::field("from", Kind::Time, "Only what occurred at this time or later.");
const TO: Param = Param::field("to", Kind::Time, "Only what occurred before this time.");
const TIME_ZONE: Param =
    Param::field("time_zone", Kind::Text, "Whose clock cuts the time: an IANA name; UTC if absent.");
const WEEK_START: Param =
    Param::field("week_start", Kind::Choice(&["monday", "sunday", "saturday"]), "On which day weeks begin.");
const AT_LEAST: Param = Param::field("at_least", Kind::Offset, "Wait until the answer sees this offset.");
const AT: Param =
    Param::field("at", AT_PATTERN, "Answer as of an older answer: its version and its offset, such as 17:9120334.");

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
        Kind::Texts { min: 0, max: BREAKDOWN_MAX },
        "A series for each value of these fields, such as category or data.plan.",
    ),
    Param::field(
        "top",
        Kind::Number { min: 1, max: TOP_MAX as u64, default: Some(10) },
        "So many series are shown, those with the largest totals; the others together.",
    ),
    Param::field("compare", Kind::Flag, "True to have the same of the period before, which is as long."),
    AT_LEAST,
    AT,
];

const BY: Param = Param::field("by", Kind::Choice(&["session", "user", "anonymous"]), "Whose events belong together.");

/// `POST /v1/query/funnel`.
pub(super) const FUNNEL: &[Param] = &[
    Param::field(
        "steps",
        Kind::Texts { min: FUNNEL_STEPS_MIN, max: FUNNEL_STEPS_MAX },
        "The steps, at least two: query lines without times, such as name:view.",
    )
    .required(),
    QUERY,
    FROM,
    TO,
    BY,
    Param::field("order", Kind::Choice(&["ordered", "strict"]), "strict: no other event lies between two steps."),
    Param::field(
        "window",
        Kind::Text,
        "At most so long from the first step to any other, such as 30m; any time if absent.",
    ),
    Param::field("breakdown", Kind::Text, "A series for each value of this field at the first step."),
    Param::field(
        "top",
        Kind::Number { min: 1, max: FUNNEL_TOP_MAX as u64, default: Some(10) },
        "So many values have a series; the others one together.",
    ),
    Param::field(
        "samples",
        Kind::Number { min: 0, max: FUNNEL_SAMPLES_MAX as u64, default: Some(5) },
        "Ids to show of those that stop at a step.",
    ),
    AT_LEAST,
    AT,
];

/// `POST /v1/query/retention`.
pub(super) const RETENTION: &[Param] = &[
    QUERY,
    FROM,
    TO,
    Param::field("start", Kind::Line, "Which events start: a query line without times; any event if absent."),
    Param::field("return", Kind::Line, "Which events are a return: a query line without times; any event if absent."),
    BY,
    Param::field(
        "mode",
        Kind::Choice(&["first", "recurring"]),
        "first: everybody is in one cohort, that of the first start; recurring: in one for each period with a start.",
    ),
    Param::field("interval", Kind::Choice(&["day", "week", "month"]), "How long one period is."),
    TIME_ZONE,
    WEEK_START,
    Param::field(
        "periods",
        Kind::Number { min: 1, max: RETENTION_PERIODS_MAX as u64, default: Some(12) },
        "Cells a cohort has at most.",
    ),
    Param::field(
        "cohort",
        Kind::Number { min: 0, max: RETENTION_PERIODS_MAX as u64, default: None },
        "With period: list who is behind this cohort's cell, counted from 0.",
    ),
    Param::field(
        "period",
        Kind::Number { min: 0, max: RETENTION_PERIODS_MAX as u64, default: None },
        "With cohort: which cell, counted from 0.",
    ),
    Param::field(
        "limit",
        Kind::Number { min: 1, max: RETENTION_LIMIT_MAX as u64, default: Some(100) },
        "How many of those behind the cell to list.",
    ),
    AT_LEAST,
    AT,
];

/// `POST /v1/query/paths`.
pub(super) const PATHS: &[Param] = &[
    QUERY,
    FROM,
    TO,
    BY,
    Param::field(
        "start",
        Kind::Line,
        "Paths begin at the first event that matches this query line; at the first if absent.",
    ),
    Param::field("end", Kind::Line, "Paths go back from the last event that matches this query line. Not with start."),
    Param::field("step", Kind::Text, "What a step shows: a field; name if absent."),
    Param::field(
        "depth",
        Kind::Number { min: 1, max: PATHS_DEPTH_MAX as u64, default: Some(4) },
        "Steps a path has at most.",
    ),
    Param::field(
        "top",
        Kind::Number { min: 1, max: PATHS_TOP_MAX as u64, default: Some(5) },
        "So many steps are shown after each; the others are counted.",
    ),
    Param::field("merge_repeats", Kind::Flag, "False to show neighbours with the same value as steps of their own."),
    AT_LEAST,
    AT,
];

/// The routes of this file.
pub(super) fn routes() -> Router<AppState> {
    Router::new()
        .route("/v1/query/trend", post(trend))
        .route("/v1/query/funnel", post(funnel))
        .route("/v1/query/retention", post(retention))
        .route("/v1/query/paths", post(paths))
}

async fn trend(
    State(state): State<AppState>,
    Extension(desk): Extension<Desk>,
    Reader(caller): Reader,
    body: Body,
) -> ApiResult<Response> {
    let fields = Fields::read(&state, body, TREND).await?;
    let query = trend_query(&fields, caller.applications())?;
    desk.ask_long(&state, when(&fields)?, move |snapshot, cancel| write(&eye_query::trend(snapshot, &query, cancel)?))
        .await
}

async fn funnel(
    State(state): State<AppState>,
    Extension(desk): Extension<Desk>,
    Reader(caller): Reader,
    body: Body,
) -> ApiResult<Response> {
    let fields = Fields::read(&state, body, FUNNEL).await?;
    let query = funnel_query(&fields, caller.applications())?;
    desk.ask_long(&state, when(&fields)?, move |snapshot, cancel| write(&eye_query::funnel(snapshot, &query, cancel)?))
        .await
}

async fn retention(
    State(state): State<AppState>,
    Extension(desk): Extension<Desk>,
    Reader(caller): Reader,
    body: Body,
) -> ApiResult<Response> {
    let fields = Fields::read(&state, body, RETENTION).await?;
    let query = retention_query(&fields, caller.applications())?;
    desk.ask_long(&state, when(&fields)?, move |snapshot, cancel| {
        write(&eye_query::retention(snapshot, &query, cancel)?)
    })
    .await
}

async fn paths(
    State(state): State<AppState>,
    Extension(desk): Extension<Desk>,
    Reader(caller): Reader,
    body: Body,
) -> ApiResult<Response> {
    let fields = Fields::read(&state, body, PATHS).await?;
    let query = paths_query(&fields, caller.applications())?;
    desk.ask_long(&state, when(&fields)?, move |snapshot, cancel| write(&eye_query::paths(snapshot, &query, cancel)?))
        .await
}

/// What a body asks, inside the wall of what its asker may see.
pub(super) fn trend_query(fields: &Fields, allowed: Option<Vec<String>>) -> ApiResult<TrendQuery> {
    let now = Timestamp::now();
    let filter = ranged(allowed, fields, now)?;
    let (from, to) = range(&filter, now)?;
    Ok(TrendQuery {
        measure: fields.text("measure")?.unwrap_or("events").parse()?,
        interval: fields.choice("interval")?.parse()?,
        week_start: week_start(fields)?,
        time_zone: time_zone(fields)?,
        breakdown: fields.texts("breakdown")?.iter().map(|text| field("breakdown", text)).collect::<ApiResult<_>>()?,
        top: number(fields, "top")?,
        compare: fields.flag("compare")?.unwrap_or(false),
        ..TrendQuery::new(filter, from, to)
    })
}

/// The same.
pub(super) fn funnel_query(fields: &Fields, allowed: Option<Vec<String>>) -> ApiResult<FunnelQuery> {
    let step = |text: &String| Ok(text.parse::<Line>().map_err(|error| error.of("steps"))?);
    Ok(FunnelQuery {
        filter: ranged(allowed, fields, Timestamp::now())?,
        steps: fields.texts("steps")?.iter().map(step).collect::<ApiResult<_>>()?,
        by: by(fields)?,
        order: match fields.choice("order")? {
            "strict" => FunnelOrder::Strict,
            _ => FunnelOrder::Ordered,
        },
        window: window(fields)?,
        breakdown: fields.text("breakdown")?.map(|text| field("breakdown", text)).transpose()?,
        top: number(fields, "top")?,
        samples: number(fields, "samples")?,
        ..FunnelQuery::default()
    })
}

/// The same.
pub(super) fn retention_query(fields: &Fields, allowed: Option<Vec<String>>) -> ApiResult<RetentionQuery> {
    let now = Timestamp::now();
    let filter = ranged(allowed, fields, now)?;
    let (from, to) = range(&filter, now)?;
    let cell = match (fields.is_given("cohort"), fields.is_given("period")) {
        (false, false) => None,
        (true, true) => Some((number(fields, "cohort")?, number(fields, "period")?)),
        (given, _) => {
            let missing = if given { "period" } else { "cohort" };
            let detail = "cohort and period name a cell together: send both, or neither";
            return Err(ApiError::invalid_parameter(missing, detail));
        }
    };
    Ok(RetentionQuery {
        filter,
        start: line(fields, "start", now)?,
        back: line(fields, "return", now)?,
        by: by(fields)?,
        mode: fields.choice("mode")?.parse()?,
        interval: fields.choice("interval")?.parse()?,
        week_start: week_start(fields)?,
        time_zone: time_zone(fields)?,
        periods: number(fields, "periods")?,
        cell,
        limit: number(fields, "limit")?,
        ..RetentionQuery::new(from, to)
    })
}

/// The same.
pub(super) fn paths_query(fields: &Fields, allowed: Option<Vec<String>>) -> ApiResult<PathsQuery> {
    let now = Timestamp::now();
    Ok(PathsQuery {
        filter: ranged(allowed, fields, now)?,
        by: by(fields)?,
        start: line(fields, "start", now)?,
        end: line(fields, "end", now)?,
        step: field("step", fields.text("step")?.unwrap_or("name"))?,
        depth: number(fields, "depth")?,
        top: number(fields, "top")?,
        merge_repeats: fields.flag("merge_repeats")?.unwrap_or(true),
        ..PathsQuery::default()
    })
}

/// The filter of a body with a range that is known.
fn ranged(allowed: Option<Vec<String>>, fields: &Fields, now: Timestamp) -> ApiResult<Filter> {
    let filter = filter(allowed, fields, now)?;
    let (from, to) = range(&filter, now)?;
    Ok(Filter { from: Some(from), to: Some(to), ..filter })
}

fn by(fields: &Fields) -> ApiResult<By> {
    Ok(match fields.choice("by")? {
        "user" => By::User,
        "anonymous" => By::Anonymous,
        _ => By::Session,
    })
}

fn window(fields: &Fields) -> ApiResult<Option<Duration>> {
    let Some(text) = fields.text("window")? else { return Ok(None) };
    let length =
        Unit::length(text).and_then(|(count, unit)| u64::try_from(unit.micros()).ok()?.checked_mul(count.into()));
    let refuse =
        || ApiError::invalid_parameter("window", "window is no length of time: send one such as 30m, 24h or 7d");
    length.filter(|micros| *micros > 0).map(|micros| Some(Duration::from_micros(micros))).ok_or_else(refuse)
}

/// The filter that a body asks for, inside the wall of what its caller may see.
fn filter(allowed: Option<Vec<String>>, fields: &Fields, now: Timestamp) -> ApiResult<Filter> {
    Ok(Filter {
        allowed,
        line: line(fields, "query", now)?,
        from: fields.time("from")?,
        to: fields.time("to")?,
        ..Filter::default()
    })
}

/// A query line, if it was sent.
fn line(fields: &Fields, name: &'static str, now: Timestamp) -> ApiResult<Option<Arc<Asked>>> {
    let asked = |text: &str| text.parse::<Line>().map(|line| Arc::new(line.at(now))).map_err(|error| error.of(name));
    Ok(fields.text(name)?.map(asked).transpose()?)
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

/// Of which moment the answer is to be.
fn when(fields: &Fields) -> ApiResult<When> {
    When::new(fields.position("at_least")?, fields.text("at")?)
}

fn number(fields: &Fields, name: &'static str) -> ApiResult<usize> {
    usize::try_from(fields.number(name)?).map_err(|error| ApiError::internal(&error))
}
