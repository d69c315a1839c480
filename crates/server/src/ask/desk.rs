//! Where questions are answered: off the async threads, on one snapshot, a bounded number at a time.
//!
//! A question stops when nobody waits for it: a client that goes away drops its request, and that cancels the work.
//! Every answer names what it has seen (`version`, `offset`), so it can be asked again with the same result.

use std::sync::Arc;
use std::time::Duration;

use axum::response::{IntoResponse, Response};
use eye_query::Cancel;
use eye_store::{Kind, Position, Snapshot};
use http::{HeaderValue, header};
use serde::Serialize;
use tokio::sync::{Semaphore, TryAcquireError};

use crate::error::{ApiError, ApiResult, Code};
use crate::state::AppState;

/// Questions that are worked on at once; more wait.
const QUESTIONS_MAX: usize = 64;
/// How long a question waits for its turn before it is refused.
const TURN_WAIT_MAX: Duration = Duration::from_secs(5);

/// Takes questions. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Desk {
    turns: Arc<Semaphore>,
}

/// Stops the work when the request is dropped.
struct CancelOnDrop(Arc<Cancel>);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

impl Desk {
    /// A desk with room for [`QUESTIONS_MAX`] questions.
    pub(crate) fn new() -> Self {
        Self { turns: Arc::new(Semaphore::new(QUESTIONS_MAX)) }
    }

    /// Answers a question on a snapshot that has seen `at_least`. The question gives the body, JSON that names what it
    /// has seen.
    pub(crate) async fn ask(
        &self,
        state: &AppState,
        at_least: Option<Position>,
        question: impl FnOnce(&Snapshot, &Cancel) -> ApiResult<Vec<u8>> + Send + 'static,
    ) -> ApiResult<Response> {
        catch_up(state, at_least).await?;
        let turn = self.turn().await?;
        let cancel = Arc::new(Cancel::new());
        let _guard = CancelOnDrop(Arc::clone(&cancel));
        let store = state.store.clone();
        let work = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            question(&store.snapshot(), &cancel)
        });
        let body = work.await.map_err(|error| ApiError::internal(&error))??;
        Ok(json(body))
    }

    async fn turn(&self) -> ApiResult<tokio::sync::OwnedSemaphorePermit> {
        match Arc::clone(&self.turns).try_acquire_owned() {
            Ok(turn) => return Ok(turn),
            Err(TryAcquireError::Closed) => return Err(busy()),
            Err(TryAcquireError::NoPermits) => {}
        }
        let turn = tokio::time::timeout(TURN_WAIT_MAX, Arc::clone(&self.turns).acquire_owned()).await;
        turn.map_err(|_| busy())?.map_err(|_| busy())
    }
}

/// Waits until everything up to `at_least` is in the answers.
pub(super) async fn catch_up(state: &AppState, at_least: Option<Position>) -> ApiResult<()> {
    let Some(wanted) = at_least else {
        return Ok(());
    };
    match state.store.wait_for(&wanted, state.settings.at_least_wait_max).await {
        Err(error) if error.kind() == Kind::Busy => {
            let detail = format!("offset {wanted} was not reached in time, it stands at {}", state.store.position());
            Err(ApiError::new(Code::NotCaughtUp, detail + ": ask again, or for a smaller offset").field("at_least"))
        }
        other => Ok(other?),
    }
}

fn busy() -> ApiError {
    ApiError::new(Code::Busy, "too many questions at once: ask again after a moment")
}

/// A body as JSON.
pub(crate) fn write(body: &impl Serialize) -> ApiResult<Vec<u8>> {
    serde_json::to_vec(body).map_err(|error| ApiError::internal(&error))
}

/// A response with this JSON.
pub(crate) fn json(body: Vec<u8>) -> Response {
    let mut response = body.into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

impl From<eye_query::Error> for ApiError {
    fn from(error: eye_query::Error) -> Self {
        match error {
            eye_query::Error::Invalid { field, message } => Self::invalid_parameter(field, message),
            eye_query::Error::TooMuch { message } => Self::new(Code::InvalidParameter, message),
            eye_query::Error::Cancelled => Self::new(Code::Busy, error.to_string()),
            eye_query::Error::Panicked => Self::internal(&error),
            eye_query::Error::Store(error) => error.into(),
        }
    }
}
