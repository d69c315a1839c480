//! `/healthz`, `/readyz`, `/metrics`: for supervisors and monitoring. Open to everybody: they tell figures, no events.

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::{StatusCode, header};

use crate::error::{ApiError, ApiResult};
use crate::state::AppState;

/// The routes of this file.
pub(crate) fn routes() -> Router<AppState> {
    Router::new().route("/healthz", get(healthz)).route("/readyz", get(readyz)).route("/metrics", get(metrics))
}

/// 200 while the process runs and its event loop turns.
async fn healthz() -> &'static str {
    "ok\n"
}

/// 200 when events are taken and questions answered, else 503 and why.
async fn readyz(State(state): State<AppState>) -> Response {
    let (status, body) = match readiness(&state) {
        Ok(()) => (StatusCode::OK, serde_json::json!({ "ready": true })),
        Err(reason) => (StatusCode::SERVICE_UNAVAILABLE, serde_json::json!({ "ready": false, "reason": reason })),
    };
    (status, [(header::CONTENT_TYPE, "application/json")], body.to_string()).into_response()
}

/// `Err` with the reason if events are not taken.
pub(crate) fn readiness(state: &AppState) -> Result<(), String> {
    if state.shutdown.is_stopping() {
        return Err("the server is stopping".to_owned());
    }
    state.store.status().ready().map_err(|error| error.to_string())
}

async fn metrics(State(state): State<AppState>) -> ApiResult<Response> {
    let text = state.metrics.text(&state).map_err(|error| ApiError::internal(&error))?;
    Ok(([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response())
}
