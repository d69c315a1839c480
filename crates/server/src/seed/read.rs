//! The four reading endpoints of the seed API: one session, a category, a range of time, and what has a wrong time.
//!
//! Each answers with *all* that matches, as the seed did, newest first, from one snapshot. Pages are read one after
//! another and sent as they come, so that a long list takes no more memory than two pages.

use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use bytes::Bytes;
use eye_event::Timestamp;
use eye_protocol::seed::{self, Args, SeedError};
use eye_query::{Cancel, Cursor, EVENTS_LIMIT_MAX, EventsQuery, Filter, Order, ProblemFilter, Rows, SessionQuery};
use eye_store::{Snapshot, StoredEvent};
use futures_util::stream;
use http::{HeaderMap, Method, StatusCode};
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, mpsc};

use super::{
    Answer, CATEGORY_EVENTS, EVENT, Failure, INVALID_TIME, RANGE_EVENTS, View, admit, content_type, finish, json,
    options,
};
use crate::edge::body;
use crate::error::{ApiError, Code};
use crate::state::AppState;

/// Lists that are read at once; more are refused and may come again.
const LISTS_MAX: usize = 32;
/// Pages on their way between the reader and the client.
const PAGES_AHEAD: usize = 1;
/// A client that takes no page for so long is gone, whatever its connection says: its turn and its snapshot must go some
/// day. Slow ones need a while for a page.
const STALL_MAX: Duration = Duration::from_secs(600);

/// The routes of this file.
pub(super) fn routes() -> Router<AppState> {
    Router::new()
        .route(EVENT.path, any(event))
        .route(CATEGORY_EVENTS.path, any(category_events))
        .route(RANGE_EVENTS.path, any(range_events))
        .route(INVALID_TIME.path, any(invalid_time))
        .layer(Extension(Turns(Arc::new(Semaphore::new(LISTS_MAX)))))
}

/// Bounds how many lists are read at once.
#[derive(Clone)]
struct Turns(Arc<Semaphore>);

/// What a list holds.
enum Question {
    Session(String),
    Events(Box<Filter>),
}

async fn event(State(state): State<AppState>, Extension(turns): Extension<Turns>, request: Request) -> Response {
    let ask = |args: &Args| Ok(Question::Session(args.session_id()?.to_owned()));
    answer(&state, &turns, &EVENT, request, ask).await
}

async fn category_events(
    State(state): State<AppState>,
    Extension(turns): Extension<Turns>,
    request: Request,
) -> Response {
    let ask = |args: &Args| {
        let category = Some(args.category()?.to_owned());
        Ok(Question::Events(Box::new(Filter { category, ..Filter::default() })))
    };
    answer(&state, &turns, &CATEGORY_EVENTS, request, ask).await
}

async fn range_events(State(state): State<AppState>, Extension(turns): Extension<Turns>, request: Request) -> Response {
    let ask = |args: &Args| {
        let (from, last) = args.range()?;
        // The seed's range includes its end, ours does not.
        let to = Timestamp::from_micros(last.micros().saturating_add(1));
        Ok(Question::Events(Box::new(Filter { from: Some(from), to: Some(to), ..Filter::default() })))
    };
    answer(&state, &turns, &RANGE_EVENTS, request, ask).await
}

async fn invalid_time(State(state): State<AppState>, Extension(turns): Extension<Turns>, request: Request) -> Response {
    let ask = |_: &Args| {
        let problem = Some(ProblemFilter::Time);
        Ok(Question::Events(Box::new(Filter { problem, ..Filter::default() })))
    };
    answer(&state, &turns, &INVALID_TIME, request, ask).await
}

async fn answer(
    state: &AppState,
    turns: &Turns,
    view: &View,
    request: Request,
    ask: impl FnOnce(&Args) -> Result<Question, SeedError>,
) -> Response {
    let (parts, body) = request.into_parts();
    if parts.method == Method::OPTIONS {
        let response = options(view, &parts.headers);
        return finish(state, view, &HeaderMap::new(), response);
    }
    let read = async {
        let caller = admit(state, view, &parts)?;
        if !caller.grant.scopes.read {
            return Err(seed::permission_denied().into());
        }
        let is_get = parts.method != Method::POST;
        let body = if is_get { Bytes::new() } else { body::read(state, &parts.headers, body).await?.bytes };
        let args = seed::decode_args(is_get, parts.uri.query(), &body, content_type(&parts.headers))?;
        list(state, turns, ask(&args)?, caller.applications()).await
    };
    let response = read.await.unwrap_or_else(IntoResponse::into_response);
    finish(state, view, &parts.headers, response)
}

/// Stops the reader when nobody waits for its pages any more.
struct CancelOnDrop(Arc<Cancel>);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

/// One page on its way: its bytes, and whether it is the last.
type Page = Result<(Vec<u8>, bool), Failure>;

/// The way of pages to the client.
struct Pages {
    sender: mpsc::Sender<Page>,
    handle: Handle,
}

impl Pages {
    /// Sends one; false if nobody takes it. Blocks.
    fn send(&self, page: Page) -> bool {
        self.handle.block_on(self.sender.send_timeout(page, STALL_MAX)).is_ok()
    }
}

async fn list(state: &AppState, turns: &Turns, question: Question, allowed: Option<Vec<String>>) -> Answer {
    let turn = Arc::clone(&turns.0)
        .try_acquire_owned()
        .map_err(|_| ApiError::new(Code::Busy, "too many lists are read at once: ask again after a moment"))?;
    let (sender, mut pages) = mpsc::channel(PAGES_AHEAD);
    let cancel = Arc::new(Cancel::new());
    let guard = CancelOnDrop(Arc::clone(&cancel));
    let snapshot = state.store.snapshot();
    let to_client = Pages { sender, handle: Handle::current() };
    tokio::task::spawn_blocking(move || {
        let _turn = turn;
        send_pages(&snapshot, &question, allowed, &cancel, &to_client);
    });
    let stopped = || ApiError::internal(&"the reader of a list stopped without an answer");
    let (first, is_last) = pages.recv().await.ok_or_else(stopped)??;
    if is_last {
        return Ok(json(StatusCode::OK, first));
    }
    let rest = stream::unfold(Some((pages, guard)), |reading| async move {
        let (mut pages, guard) = reading?;
        Some(match pages.recv().await {
            Some(Ok((bytes, is_last))) => (Ok(Bytes::from(bytes)), (!is_last).then_some((pages, guard))),
            // The status is sent already: the connection is cut, so that no client takes a part for the whole.
            Some(Err(_)) | None => (Err(std::io::Error::other("the list could not be read to its end")), None),
        })
    });
    let first = stream::once(async move { Ok(Bytes::from(first)) });
    Ok(json(StatusCode::OK, Body::from_stream(stream::StreamExt::chain(first, rest))))
}

/// Reads page after page, sends each as a part of one JSON array.
fn send_pages(snapshot: &Snapshot, question: &Question, allowed: Option<Vec<String>>, cancel: &Cancel, pages: &Pages) {
    let mut cursor = None;
    let mut prefix = b'[';
    loop {
        let page = read_page(snapshot, question, allowed.clone(), cursor, cancel);
        let (rows, next) = match page {
            Ok(Some(Rows { rows, next })) => (rows, next),
            Ok(None) => {
                pages.send(Err(seed::not_found().into()));
                return;
            }
            Err(error) => {
                pages.send(Err(Failure::Edge(error.into())));
                return;
            }
        };
        let mut bytes = Vec::with_capacity(rows.iter().map(|row| row.len() + 1).sum::<usize>() + 2);
        bytes.push(prefix);
        for (index, row) in rows.iter().enumerate() {
            if index > 0 {
                bytes.push(b',');
            }
            bytes.extend_from_slice(row.as_bytes());
        }
        let is_last = next.is_none();
        if is_last {
            bytes.push(b']');
        }
        // A send that fails: the client has gone.
        if !pages.send(Ok((bytes, is_last))) || is_last {
            return;
        }
        cursor = next;
        prefix = b',';
    }
}

fn read_page(
    snapshot: &Snapshot,
    question: &Question,
    allowed: Option<Vec<String>>,
    cursor: Option<Cursor>,
    cancel: &Cancel,
) -> eye_query::Result<Option<Rows<String>>> {
    match question {
        Question::Session(session_id) => {
            let query = SessionQuery { allowed, cursor, ..SessionQuery::new(session_id.as_str()) };
            eye_query::session_with(snapshot, &query, cancel, event_json)
        }
        Question::Events(filter) => {
            let filter = Filter { allowed, ..Filter::clone(filter) };
            let query = EventsQuery { filter, order: Order::default(), limit: EVENTS_LIMIT_MAX, cursor };
            eye_query::events_with(snapshot, &query, cancel, event_json).map(Some)
        }
    }
}

fn event_json(event: &StoredEvent<'_>) -> String {
    let mut out = String::with_capacity(event.event.data.len() + 160);
    seed::event_json(&mut out, &event.event);
    out
}
