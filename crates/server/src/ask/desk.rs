//! Where questions are answered: off the async threads, on one snapshot, a bounded number at a time.
//!
//! A question stops when nobody waits for it: a client that goes away drops its request, and that cancels the work.
//! Every answer names what it has seen (`version`, `offset`), so it can be asked again with the same result.

use std::sync::Arc;
use std::time::Duration;

use axum::response::{IntoResponse, Response};
use eye_query::{At, Cancel};
use eye_store::{Kind, Position, Snapshot, Store};
use http::{HeaderValue, header};
use serde::Serialize;
use tokio::sync::{Semaphore, TryAcquireError};

use crate::error::{ApiError, ApiResult, Code};
use crate::priority::giving_way;
use crate::state::AppState;

/// Questions that are worked on at once; more wait.
const QUESTIONS_MAX: usize = 64;
/// How long a question waits for its turn before it is refused.
const TURN_WAIT_MAX: Duration = Duration::from_secs(5);

/// What a question reads: a snapshot, or what an older answer has seen of it.
pub(crate) type View = At<Snapshot>;

/// Of which moment an answer is.
#[derive(Clone, Debug, Default)]
pub(crate) struct When {
    /// Now, but not before this was seen.
    pub(crate) at_least: Option<Position>,
    /// What an older answer saw: the version and the offset that it named.
    pub(crate) at: Option<(u64, Position)>,
}

impl From<Option<Position>> for When {
    fn from(at_least: Option<Position>) -> Self {
        Self { at_least, at: None }
    }
}

impl When {
    /// As it is asked for: `at_least`, and `at` as `version:offset`.
    pub(crate) fn new(at_least: Option<Position>, at: Option<&str>) -> ApiResult<Self> {
        let at = at.map(|text| named("at", text)).transpose()?;
        Ok(Self { at_least, at })
    }
}

/// An answer as it is named: `version:offset`.
pub(super) fn named(field: &'static str, text: &str) -> ApiResult<(u64, Position)> {
    let refuse = || {
        let detail = format!("{field} names no answer: send its version and its offset, such as 17:9120334");
        ApiError::invalid_parameter(field, detail)
    };
    let (version, offset) = text.split_once(':').ok_or_else(refuse)?;
    let version = version.parse().map_err(|_| refuse())?;
    // A position has other forms too; an answer has this one.
    let is_plain = offset.bytes().all(|byte| byte.is_ascii_digit() || byte == b',');
    let position = offset.parse().ok().filter(|_| is_plain).ok_or_else(refuse)?;
    Ok((version, position))
}

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

    /// Answers a question on a snapshot that has seen `at_least`, or on what an older answer saw. The question gives the
    /// body, JSON that names what it has seen.
    pub(crate) async fn ask(
        &self,
        state: &AppState,
        when: impl Into<When>,
        question: impl FnOnce(&View, &Cancel) -> ApiResult<Vec<u8>> + Send + 'static,
    ) -> ApiResult<Response> {
        let When { at_least, at } = when.into();
        catch_up(state, at_least, "at_least").await?;
        catch_up(state, at.as_ref().map(|(_, position)| position.clone()), "at").await?;
        let turn = self.turn().await?;
        let cancel = Arc::new(Cancel::new());
        let _guard = CancelOnDrop(Arc::clone(&cancel));
        let store = state.store.clone();
        let work = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            question(&view(&store, at)?, &cancel)
        });
        let body = work.await.map_err(|error| ApiError::internal(&error))??;
        Ok(json(body))
    }

    /// The same for a question that may look at most of what there is: ingest goes first.
    pub(crate) async fn ask_long(
        &self,
        state: &AppState,
        when: impl Into<When>,
        question: impl FnOnce(&View, &Cancel) -> ApiResult<Vec<u8>> + Send + 'static,
    ) -> ApiResult<Response> {
        let question = |view: &View, cancel: &Cancel| {
            view.source().take_hot();
            giving_way("question", || question(view, cancel))
        };
        self.ask(state, when, question).await
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

/// What the question reads. Blocks.
fn view(store: &Store, at: Option<(u64, Position)>) -> ApiResult<View> {
    // The snapshot first: what is taken away after it was made is still in it.
    let snapshot = store.snapshot();
    let Some((version, position)) = at else { return Ok(View::whole(snapshot)) };
    if snapshot.hides_events() {
        return Err(removed(version, "at"));
    }
    still_whole(store, snapshot.version(), version, "at")?;
    Ok(View::seen(snapshot, version, position))
}

/// Refuses a version, out of a parameter, that is not there yet, or of which events were removed. Blocks.
pub(super) fn still_whole(store: &Store, newest: u64, version: u64, field: &'static str) -> ApiResult<()> {
    if version > newest {
        let detail = format!("{field} names version {version}, and the table is at {newest}");
        return Err(ApiError::invalid_parameter(field, detail + ": send what an answer has named"));
    }
    if store.keeps_events_since(version)? { Ok(()) } else { Err(removed(version, field)) }
}

fn removed(version: u64, field: &'static str) -> ApiError {
    let detail = format!(
        "events were removed since version {version}, or hidden for a while, so that answer cannot be given again: ask anew"
    );
    ApiError::new(Code::Gone, detail).field(field)
}

/// Waits until everything up to `wanted`, out of a parameter, is in the answers.
pub(super) async fn catch_up(state: &AppState, at_least: Option<Position>, field: &'static str) -> ApiResult<()> {
    let Some(wanted) = at_least else {
        return Ok(());
    };
    match state.store.wait_for(&wanted, state.settings.at_least_wait_max).await {
        Err(error) if error.kind() == Kind::Busy => {
            let detail = format!("offset {wanted} was not reached in time, it stands at {}", state.store.position());
            Err(ApiError::new(Code::NotCaughtUp, detail + ": ask again, or for a smaller offset").field(field))
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
