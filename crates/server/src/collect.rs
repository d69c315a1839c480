//! `POST /v1/events`: the hot path, one request top to bottom as a list of verbs.
//!
//! Authenticate, read, decode, check each event alone, append and wait until it is durable and applied, answer per event.
//! The answer is written by hand: it is on every request's way. A 200 means: what it calls `stored` is durable.

use std::time::Instant;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use eye_event::{BatchHeader, Checked, Rejection, RejectionRef, Timestamp, check, event_bytes, rejection};
use eye_protocol::native::{self, BodyError, BodyErrorKind, Decoded, Item, NativeLimits};
use eye_store::Outcome;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};

use crate::auth::{self, Caller};
use crate::edge::body::{self, Received};
use crate::error::{ApiError, ApiResult, Code};
use crate::router::secure;
use crate::state::AppState;

/// Bodies above this are decoded where blocking is allowed: the other connections of this thread go on elsewhere.
const LARGE_BODY_BYTES: usize = 1024 * 1024;
/// How long a browser may remember the answer to a preflight, in seconds.
const PREFLIGHT_SECONDS: &str = "86400";

/// The routes of this file.
pub(crate) fn routes() -> Router<AppState> {
    Router::new().route("/v1/events", post(events).options(preflight))
}

/// True for the one request that everything is built around.
pub(crate) fn is_events(request: &Request) -> bool {
    request.method() == Method::POST && request.uri().path() == "/v1/events"
}

/// `POST /v1/events`.
pub(crate) async fn events(State(state): State<AppState>, request: Request) -> Response {
    let begun = Instant::now();
    let (parts, body) = request.into_parts();
    let mut response = match collect(&state, &parts, body).await {
        Ok(answer) => {
            state.metrics.events_answered();
            ([(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], answer).into_response()
        }
        Err(error) => {
            state.metrics.requests_failed.with_label_values(&[error.code().code()]).inc();
            let response = error.into_response();
            state.metrics.answered("/v1/events", response.status().as_u16());
            response
        }
    };
    secure(&mut response);
    allow_origin(&parts.headers, &mut response);
    state.metrics.ack_seconds.observe(begun.elapsed().as_secs_f64());
    response
}

/// The pipeline. Whatever fails here fails before anything was acknowledged.
async fn collect(state: &AppState, parts: &Parts, body: Body) -> ApiResult<Vec<u8>> {
    let known = admit(state, &parts.headers)?;
    let received = read(state, &parts.headers, body, known.is_some()).await?;
    let content_type = parts.headers.get(header::CONTENT_TYPE).cloned();
    let bytes = received.bytes.len();
    state.turns.work(bytes, work(state.clone(), known, content_type, received)).await
}

/// What is done with a body that is there.
async fn work(
    state: AppState,
    known: Option<Caller>,
    content_type: Option<HeaderValue>,
    received: Received,
) -> ApiResult<Vec<u8>> {
    let state = &state;
    let received_at = state.clock.now();
    let content_type = content_type.as_ref().and_then(|value| value.to_str().ok());
    let decoded = decode(state, &received, content_type, known.is_some())?;
    let caller = match known {
        Some(caller) => caller,
        None => admit_envelope(state, decoded.token.as_deref())?,
    };
    let checked = off_the_runtime(received.bytes.len(), || check_each(state, &decoded.items, received_at));
    let request = encode(state, &caller, received_at, &decoded.items, &checked)?;
    let outcomes = state.store.ingest(request).await?;
    count(state, &received, &checked, &outcomes);
    answer(state, &checked, &outcomes)
}

/// Whoever says who they are in the header must be somebody, and may write.
fn admit(state: &AppState, headers: &HeaderMap) -> ApiResult<Option<Caller>> {
    let Some(token) = auth::token_of(headers)? else { return Ok(None) };
    may_write(auth::authenticate(state, token)?).map(Some)
}

/// The others have their token in the envelope.
fn admit_envelope(state: &AppState, token: Option<&str>) -> ApiResult<Caller> {
    let Some(token) = token else {
        state.metrics.unauthenticated("missing_token");
        return Err(missing_token());
    };
    may_write(auth::authenticate(state, token)?)
}

fn may_write(caller: Caller) -> ApiResult<Caller> {
    auth::check_scope(caller.grant.scopes.write, "write")?;
    Ok(caller)
}

fn missing_token() -> ApiError {
    let detail = "send a token: \"Authorization: Token <token>\", or \"token\" in the envelope of a small request";
    ApiError::new(Code::MissingToken, detail)
}

async fn read(state: &AppState, headers: &HeaderMap, body: Body, is_known: bool) -> ApiResult<Received> {
    if is_known {
        return body::read(state, headers, body).await;
    }
    body::read_unauthenticated(state, headers, body).await.map_err(|error| hide_from_strangers(state, error))
}

/// Cuts the body into items. A stranger learns nothing about a body but that the token is missing.
fn decode<'a>(
    state: &AppState,
    received: &'a Received,
    content_type: Option<&str>,
    is_known: bool,
) -> ApiResult<Decoded<'a>> {
    let limits = NativeLimits { events_max: state.settings.events_max };
    let decoded = off_the_runtime(received.bytes.len(), || native::decode(&received.bytes, content_type, &limits));
    decoded.map_err(|error| {
        let error = body_error(error);
        if is_known { error } else { hide_from_strangers(state, error) }
    })
}

fn hide_from_strangers(state: &AppState, error: ApiError) -> ApiError {
    if error.code().status().is_server_error() || error.code() == Code::RequestTimeout {
        return error;
    }
    state.metrics.unauthenticated("missing_token");
    missing_token()
}

fn body_error(error: BodyError) -> ApiError {
    let code = match error.kind {
        BodyErrorKind::Empty => Code::EmptyBody,
        BodyErrorKind::NotJson { .. } => Code::NotJson,
        BodyErrorKind::NotUtf8 { .. } => Code::NotUtf8,
        BodyErrorKind::TooManyEvents { .. } => Code::TooManyEvents,
        BodyErrorKind::NotAnEvent => Code::InvalidBody,
    };
    ApiError::new(code, error.message)
}

/// Runs something that takes long for a large body without holding up the thread's other connections.
pub(crate) fn off_the_runtime<T>(bytes: usize, work: impl FnOnce() -> T) -> T {
    if bytes > LARGE_BODY_BYTES { tokio::task::block_in_place(work) } else { work() }
}

/// Each item stands alone: an event, or why it is none.
type CheckedItem<'a> = Result<Checked<'a>, Rejection>;

fn check_each<'a>(state: &AppState, items: &'a [Item<'a>], received_at: Timestamp) -> Vec<CheckedItem<'a>> {
    items
        .iter()
        .map(|item| match &item.draft {
            Ok(draft) => check(draft, received_at, &state.limits),
            Err(rejection) => Err(rejection.clone()),
        })
        .collect()
}

fn encode(
    state: &AppState,
    caller: &Caller,
    received_at: Timestamp,
    items: &[Item<'_>],
    checked: &[CheckedItem<'_>],
) -> ApiResult<eye_store::Request> {
    // A refused one takes about what is kept of it.
    let bytes = |(item, checked): (&Item<'_>, &CheckedItem<'_>)| match checked {
        Ok(event) => event_bytes(&event.event()),
        Err(_) => item.bytes.len().min(state.limits.sample_bytes_max),
    };
    let bytes_hint = items.iter().zip(checked).map(bytes).sum();
    let header = BatchHeader { application: caller.application()?, token: caller.grant.token.as_str(), received_at };
    let mut request = eye_store::Request::new(&header, state.settings.partitions, bytes_hint);
    for (item, checked) in items.iter().zip(checked) {
        match checked {
            Ok(event) => request.push_event(&event.event()),
            Err(refused) => {
                let sample = rejection::sample(item.bytes, state.limits.sample_bytes_max);
                let RejectionParts { code, field, message } = parts_of(refused);
                request.push_rejection(&RejectionRef { code, field, message, sample: &sample });
            }
        }
    }
    Ok(request)
}

struct RejectionParts<'a> {
    code: &'static str,
    field: &'a str,
    message: &'a str,
}

fn parts_of(rejection: &Rejection) -> RejectionParts<'_> {
    RejectionParts { code: rejection.code.code(), field: &rejection.field, message: &rejection.message }
}

fn count(state: &AppState, received: &Received, checked: &[CheckedItem<'_>], outcomes: &[Outcome]) {
    let metrics = &state.metrics;
    let whole = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
    let totals = Totals::of(outcomes);
    metrics.events_received.inc_by(whole(outcomes.len()));
    metrics.events_stored.inc_by(totals.stored);
    metrics.events_duplicate.inc_by(totals.duplicate);
    metrics.wire_bytes.inc_by(whole(received.wire_bytes));
    metrics.body_bytes.inc_by(whole(received.bytes.len()));
    for refused in checked.iter().filter_map(|item| item.as_ref().err()) {
        metrics.rejected(refused.code);
    }
}

/// How many of each outcome.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Totals {
    stored: u64,
    duplicate: u64,
    rejected: u64,
}

impl Totals {
    fn of(outcomes: &[Outcome]) -> Self {
        let mut totals = Self::default();
        for outcome in outcomes {
            match outcome {
                Outcome::Stored { .. } => totals.stored += 1,
                Outcome::Duplicate => totals.duplicate += 1,
                Outcome::Rejected { .. } => totals.rejected += 1,
            }
        }
        totals
    }
}

/// `{"results":[…],"stored":n,"duplicate":n,"rejected":n,"version":n,"offset":"…"}`.
fn answer(state: &AppState, checked: &[CheckedItem<'_>], outcomes: &[Outcome]) -> ApiResult<Vec<u8>> {
    use std::io::Write as _;
    if checked.len() != outcomes.len() {
        return Err(ApiError::internal(&"the store gave another number of outcomes than it was given entries"));
    }
    let mut out = Vec::with_capacity(64 + outcomes.len() * 112);
    out.extend_from_slice(b"{\"results\":[");
    for (index, (item, outcome)) in checked.iter().zip(outcomes).enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write_result(&mut out, item, *outcome);
    }
    let Totals { stored, duplicate, rejected } = Totals::of(outcomes);
    let version = state.store.version();
    // Writing into memory cannot fail.
    let _ = write!(out, "],\"stored\":{stored},\"duplicate\":{duplicate},\"rejected\":{rejected}");
    let _ = write!(out, ",\"version\":{version},\"offset\":\"{}\"}}", state.store.position());
    Ok(out)
}

fn write_result(out: &mut Vec<u8>, item: &CheckedItem<'_>, outcome: Outcome) {
    use std::io::Write as _;
    match (item, outcome) {
        (Ok(event), Outcome::Stored { partition, offset }) => {
            out.extend_from_slice(b"{\"status\":\"stored\",\"event_id\":");
            write_text(out, event.event().event_id);
            out.extend_from_slice(b",\"partition\":");
            write_number(out, u64::from(partition.0));
            out.extend_from_slice(b",\"offset\":");
            write_number(out, offset.0);
            out.push(b'}');
        }
        (Ok(event), _) => {
            out.extend_from_slice(b"{\"status\":\"duplicate\",\"event_id\":");
            write_text(out, event.event().event_id);
            out.push(b'}');
        }
        (Err(refused), _) => {
            let RejectionParts { code, field, message } = parts_of(refused);
            let _ = write!(out, "{{\"status\":\"rejected\",\"code\":\"{code}\"");
            if !field.is_empty() {
                out.extend_from_slice(b",\"field\":");
                write_text(out, field);
            }
            out.extend_from_slice(b",\"message\":");
            write_text(out, message);
            out.push(b'}');
        }
    }
}

fn write_number(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

fn write_text(out: &mut Vec<u8>, text: &str) {
    // Nearly every id is its own JSON. Looking at all of its bytes is quicker than stopping at the first that is not.
    let needs_escape = |byte: u8| (byte < b' ') | (byte == b'"') | (byte == b'\\');
    if !text.bytes().fold(false, |found, byte| found | needs_escape(byte)) {
        out.push(b'"');
        out.extend_from_slice(text.as_bytes());
        return out.push(b'"');
    }
    // A str is always JSON, and writing into memory cannot fail.
    let _ = serde_json::to_writer(out, text);
}

/// Pages of other origins may send events: a write token is public, and no cookie is ever looked at. Every answer
/// says so, errors too, else a browser hides the reason from the page.
pub(crate) fn allow_origin(request: &HeaderMap, response: &mut Response) {
    if let Some(origin) = request.get(header::ORIGIN) {
        let headers = response.headers_mut();
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static("Retry-After"));
        headers.append(header::VARY, HeaderValue::from_static("Origin"));
    }
}

/// The answer to a browser's question whether it may send.
pub(crate) fn answer_preflight(request: &HeaderMap, response: &mut Response) {
    allow_origin(request, response);
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, POST, OPTIONS"));
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static(PREFLIGHT_SECONDS));
    if let Some(wanted) = request.get(header::ACCESS_CONTROL_REQUEST_HEADERS) {
        headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, wanted.clone());
    }
}

async fn preflight(headers: HeaderMap) -> Response {
    let mut response = StatusCode::NO_CONTENT.into_response();
    answer_preflight(&headers, &mut response);
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, POST, OPTIONS"));
    response
}

#[cfg(test)]
mod tests {
    use eye_event::{Draft, Limits, RejectCode};
    use eye_log::{Offset, PartitionId};

    use super::*;

    #[test]
    fn results_are_json_whatever_the_id_holds() {
        let draft = Draft {
            event_id: Some("a\"\\\u{1}é".into()),
            session_id: Some("s".into()),
            category: Some("c".into()),
            name: Some("n".into()),
            ..Draft::default()
        };
        let checked = check(&draft, Timestamp::from_micros(1), &Limits::default());
        let mut out = Vec::new();
        write_result(&mut out, &checked, Outcome::Stored { partition: PartitionId(0), offset: Offset(57) });
        let result: serde_json::Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(result["event_id"], "a\"\\\u{1}é");
        assert_eq!(result["offset"], 57);
        let refused = Err(Rejection::new(RejectCode::NotJson, "", "line \"1\""));
        out.clear();
        write_result(&mut out, &refused, Outcome::Rejected { partition: PartitionId(0), offset: Offset(58) });
        let result: serde_json::Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(result, serde_json::json!({"status": "rejected", "code": "not_json", "message": "line \"1\""}));
    }
}
