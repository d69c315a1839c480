//! Every route, put together.
//!
//! The collect routes count and mark their answers themselves: they are the hot path and pass through no layer. All
//! others go through [`finish`], which counts the request and adds the security headers.

use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use http::{HeaderValue, header};

use crate::error::{ApiError, Code};
use crate::state::AppState;
use crate::{ask, collect, health, live, manage, openapi, pages, seed};

/// The routes of this server that [`collect`], [`seed`] and [`health`] answer.
#[cfg(test)]
pub(crate) const ROUTES: &[(&str, &[&str])] = &[
    ("/v1/events", &["POST"]),
    ("/eye/collector", &["POST"]),
    ("/eye/event", &["GET", "POST"]),
    ("/eye/category-events", &["GET", "POST"]),
    ("/eye/range-events", &["GET", "POST"]),
    ("/eye/invalid-time", &["GET", "POST"]),
    ("/healthz", &["GET"]),
    ("/readyz", &["GET"]),
    ("/metrics", &["GET"]),
];

/// The whole service.
pub(crate) fn router(state: AppState) -> Router {
    let counted = Router::new()
        .merge(ask::routes())
        .merge(live::routes())
        .merge(manage::routes())
        .merge(health::routes())
        .merge(openapi::routes())
        .merge(pages::routes())
        .layer(from_fn_with_state(state.clone(), finish));
    Router::new()
        .merge(counted)
        .merge(collect::routes())
        .merge(seed::routes())
        .method_not_allowed_fallback(method_not_allowed)
        .fallback(not_found)
        .with_state(state)
}

/// Counts the request by its route; adds what every answer carries.
async fn finish(State(state): State<AppState>, path: Option<MatchedPath>, request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    secure(&mut response);
    let route = path.as_ref().map_or("none", MatchedPath::as_str);
    state.metrics.answered(route, response.status().as_u16());
    response
}

/// Headers that keep a browser from guessing types and from keeping answers that were meant for one token.
pub(crate) fn secure(response: &mut Response) {
    let headers = response.headers_mut();
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
}

async fn not_found(State(state): State<AppState>, request: Request) -> Response {
    use axum::response::IntoResponse;
    // The seed's clients expect its words under its own path.
    let response = if request.uri().path().starts_with("/eye/") {
        seed::not_found()
    } else {
        ApiError::no_route().into_response()
    };
    state.metrics.answered("none", response.status().as_u16());
    response
}

/// The path is there, the method is not. axum adds the Allow header.
async fn method_not_allowed(State(state): State<AppState>, path: Option<MatchedPath>) -> ApiError {
    state.metrics.answered(path.as_ref().map_or("none", MatchedPath::as_str), 405);
    ApiError::new(Code::MethodNotAllowed, "this path does not know this method: the Allow header lists those it knows")
}

/// Every route of every file, for the check of the OpenAPI document.
#[cfg(test)]
pub(crate) fn all_routes() -> Vec<(&'static str, &'static [&'static str])> {
    [ROUTES, ask::ROUTES, live::ROUTES, manage::ROUTES, openapi::ROUTES, pages::ROUTES].concat()
}
