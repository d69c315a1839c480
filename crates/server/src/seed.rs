//! The seed API: what clients of the service that this one grew from send and get, unchanged.
//!
//! Every answer is Django REST framework's to the byte, and so is the order of checks: path (404), `Accept` (406), token
//! (401), method (405), body (400, 415), fields (400). Words and formats are [`eye_protocol::seed`]'s; here is what
//! needs HTTP, tokens and the store. On purpose different: OPTIONS is open, 404 and 413 are JSON, bodies may be
//! compressed, a repeated `event_id` is answered 201 like the first.

mod read;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use eye_event::{BatchHeader, RejectCode, RejectionRef, check, rejection};
use eye_protocol::seed::{self, AuthFailure, SeedError};
use eye_registry::Denied;
use eye_store::Outcome;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};

use crate::auth::Caller;
use crate::collect::{allow_origin, answer_preflight, off_the_runtime};
use crate::edge::body::{self, Received};
use crate::error::ApiError;
use crate::router::secure;
use crate::state::AppState;

/// One endpoint.
struct View {
    path: &'static str,
    /// The name in the answer to OPTIONS.
    name: &'static str,
    /// The `Allow` header.
    allow: &'static str,
    methods: &'static [Method],
}

const COLLECTOR: View =
    View { path: "/eye/collector", name: "Collector", allow: "POST, OPTIONS", methods: &[Method::POST] };

const fn reading(path: &'static str, name: &'static str) -> View {
    View { path, name, allow: "GET, POST, HEAD, OPTIONS", methods: &[Method::GET, Method::POST, Method::HEAD] }
}

const EVENT: View = reading("/eye/event", "Get Session");
const CATEGORY_EVENTS: View = reading("/eye/category-events", "Cat Events");
const RANGE_EVENTS: View = reading("/eye/range-events", "Time Range Events");
const INVALID_TIME: View = reading("/eye/invalid-time", "Invalid Timestamp");

/// The routes of this file.
pub(crate) fn routes() -> Router<AppState> {
    Router::new().route(COLLECTOR.path, any(collector)).merge(read::routes())
}

/// What a handler gives: a body, or an answer in the framework's words.
type Answer = Result<Response, Failure>;

/// Why a request failed: in the seed's words, or in ours for what the seed had no words for.
enum Failure {
    Seed(SeedError),
    Edge(ApiError),
}

impl From<SeedError> for Failure {
    fn from(error: SeedError) -> Self {
        Self::Seed(error)
    }
}

impl From<ApiError> for Failure {
    fn from(error: ApiError) -> Self {
        Self::Edge(error)
    }
}

impl From<eye_store::Error> for Failure {
    fn from(error: eye_store::Error) -> Self {
        Self::Edge(error.into())
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        match self {
            Self::Seed(error) => {
                let status = StatusCode::from_u16(error.status).unwrap_or(StatusCode::BAD_REQUEST);
                let challenge = error.www_authenticate();
                let mut response = json(status, error.body);
                if let Some(challenge) = challenge {
                    response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
                }
                response
            }
            // Status and Retry-After as everywhere, the body in the form that the seed's clients read.
            Self::Edge(error) => {
                let detail = serde_json::json!({ "detail": error.detail() }).to_string();
                let mut response = error.into_response();
                *response.body_mut() = Body::from(detail);
                response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
                response
            }
        }
    }
}

fn json(status: StatusCode, body: impl Into<Body>) -> Response {
    (status, [(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], body.into()).into_response()
}

/// The answer to a path below `/eye/` that is not there.
pub(crate) fn not_found() -> Response {
    Failure::Seed(seed::not_found()).into_response()
}

/// OPTIONS is answered to everybody: a browser asks without a token.
fn options(view: &View, headers: &HeaderMap) -> Response {
    let mut response = json(StatusCode::OK, seed::options_body(view.name));
    answer_preflight(headers, &mut response);
    response
}

/// The checks before a body is read, in the framework's order.
fn admit(state: &AppState, view: &View, parts: &Parts) -> Result<Caller, Failure> {
    let accept = parts.headers.get(header::ACCEPT).map(|value| value.to_str().unwrap_or_default());
    if !seed::accepts(accept) {
        return Err(seed::not_acceptable().into());
    }
    let caller = authenticate(state, &parts.headers)?;
    if !view.methods.contains(&parts.method) {
        return Err(seed::method_not_allowed(parts.method.as_str()).into());
    }
    Ok(caller)
}

fn authenticate(state: &AppState, headers: &HeaderMap) -> Result<Caller, SeedError> {
    let header = headers.get(header::AUTHORIZATION).map(HeaderValue::as_bytes);
    let token = seed::authorization(header).inspect_err(|_| state.metrics.unauthenticated("missing_token"))?;
    let now = state.clock.now();
    let grant = state.registry.authenticate(token, now).map_err(|denied| {
        let (reason, failure) = match denied {
            Denied::Unknown => ("unknown_token", AuthFailure::InvalidToken),
            Denied::Revoked => ("revoked_token", AuthFailure::InvalidToken),
            Denied::Expired => ("expired_token", AuthFailure::InvalidToken),
            Denied::UserInactive => ("inactive_user", AuthFailure::Inactive),
        };
        state.metrics.unauthenticated(reason);
        seed::not_authenticated(failure)
    })?;
    state.registry.note_used(&grant.token, now);
    Ok(Caller { grant })
}

/// Marks and counts an answer.
fn finish(state: &AppState, view: &View, request: &HeaderMap, mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(header::ALLOW, HeaderValue::from_static(view.allow));
    headers.insert(header::VARY, HeaderValue::from_static("Accept"));
    secure(&mut response);
    allow_origin(request, &mut response);
    state.metrics.answered(view.path, response.status().as_u16());
    response
}

fn content_type(headers: &HeaderMap) -> Option<&str> {
    headers.get(header::CONTENT_TYPE).map(|value| value.to_str().unwrap_or_default())
}

async fn collector(State(state): State<AppState>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    if parts.method == Method::OPTIONS {
        let response = options(&COLLECTOR, &parts.headers);
        return finish(&state, &COLLECTOR, &HeaderMap::new(), response);
    }
    let response = collect(&state, &parts, body).await.unwrap_or_else(IntoResponse::into_response);
    finish(&state, &COLLECTOR, &parts.headers, response)
}

/// One event: stored, or refused in the framework's words and kept as a rejection.
async fn collect(state: &AppState, parts: &Parts, body: Body) -> Answer {
    let caller = admit(state, &COLLECTOR, parts)?;
    if !caller.grant.scopes.write {
        return Err(seed::permission_denied().into());
    }
    let received = body::read(state, &parts.headers, body).await?;
    let (content_type, bytes) = (content_type(&parts.headers).map(str::to_owned), received.bytes.len());
    state.turns.work(bytes, store(state.clone(), caller, content_type, received)).await
}

async fn store(state: AppState, caller: Caller, content_type: Option<String>, received: Received) -> Answer {
    let (state, bytes) = (&state, received.bytes.len());
    let received_at = state.clock.now();
    let header = BatchHeader { application: caller.application()?, token: caller.grant.token.as_str(), received_at };
    let mut request = eye_store::Request::new(&header, state.settings.partitions, bytes);
    let decoded = off_the_runtime(bytes, || seed::decode_event(&received.bytes, content_type.as_deref()));
    let taken = match decoded {
        Ok(event) => off_the_runtime(bytes, || match check(&event.draft(), received_at, &state.seed_limits) {
            Ok(checked) => {
                request.push_event(&checked.event());
                Ok(event.echo())
            }
            Err(refused) => Err((refused.code, seed::refused(&refused))),
        }),
        // A body in an unknown media type is not looked at: there is nothing to keep.
        Err(error) if error.status == StatusCode::UNSUPPORTED_MEDIA_TYPE => return Err(error.into()),
        Err(error) => Err((reason(&error), error)),
    };
    if let Err((code, error)) = &taken {
        let sample = rejection::sample(&received.bytes, state.limits.sample_bytes_max);
        let field = field(error).unwrap_or_default();
        request.push_rejection(&RejectionRef {
            code: code.code(),
            field: &field,
            message: &error.body,
            sample: &sample,
        });
    }
    let outcomes = state.store.ingest(request).await?;
    count(state, &outcomes, taken.as_ref().err().map(|(code, _)| *code));
    match taken {
        Ok(echo) => Ok(json(StatusCode::CREATED, echo)),
        Err((_, error)) => Err(error.into()),
    }
}

fn count(state: &AppState, outcomes: &[Outcome], rejected: Option<RejectCode>) {
    state.metrics.events_received.inc();
    match (outcomes.first(), rejected) {
        (_, Some(code)) => state.metrics.rejected(code),
        (Some(Outcome::Duplicate), None) => state.metrics.events_duplicate.inc(),
        _ => state.metrics.events_stored.inc(),
    }
}

/// The code of a refusal that the framework only puts into words.
fn reason(error: &SeedError) -> RejectCode {
    const WORDS: [(&str, RejectCode); 9] = [
        ("codec can't decode", RejectCode::NotUtf8),
        ("parse error", RejectCode::NotJson),
        ("non_field_errors", RejectCode::NotAnObject),
        ("field is required", RejectCode::MissingField),
        ("may not be null", RejectCode::MissingField),
        ("may not be blank", RejectCode::EmptyField),
        ("has no more than", RejectCode::TooLong),
        ("Null characters", RejectCode::NulCharacter),
        ("Surrogate characters", RejectCode::LoneSurrogate),
    ];
    WORDS.iter().find(|(words, _)| error.body.contains(words)).map_or(RejectCode::WrongType, |(_, code)| *code)
}

/// The first field that the error is about.
fn field(error: &SeedError) -> Option<String> {
    let body: serde_json::Value = serde_json::from_str(&error.body).ok()?;
    let (field, messages) = body.as_object()?.iter().next()?;
    (messages.is_array() && field != "non_field_errors").then(|| field.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(body: &str) -> SeedError {
        seed::decode_event(body.as_bytes(), Some("application/json")).unwrap_err()
    }

    #[test]
    fn a_refusal_in_words_has_its_code_and_field() {
        let cases = [
            ("{", RejectCode::NotJson, None),
            ("[]", RejectCode::NotAnObject, None),
            (r#"{"session_id":"s","category":"c","name":"n","data":{}}"#, RejectCode::MissingField, Some("timestamp")),
            (
                r#"{"session_id":"","category":"c","name":"n","data":{},"timestamp":"x"}"#,
                RejectCode::EmptyField,
                Some("session_id"),
            ),
            (
                r#"{"session_id":"s","category":"c","name":true,"data":{},"timestamp":"x"}"#,
                RejectCode::WrongType,
                Some("name"),
            ),
        ];
        for (body, code, name) in cases {
            let error = refused(body);
            assert_eq!(reason(&error), code, "{body}");
            assert_eq!(field(&error).as_deref(), name, "{body}");
        }
        let error = seed::decode_event(b"{\"a\":\"\xff\"}", Some("application/json")).unwrap_err();
        assert_eq!(reason(&error), RejectCode::NotUtf8);
    }
}
