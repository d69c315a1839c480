//! Events as they arrive: Server-Sent Events that resume where they broke off and never skip without a word.
//!
//! ```text
//! retry: 2000          how soon a browser tries again
//! id: 57               heartbeats: an id without data moves the place to resume from, and shows nothing
//!
//! event: event         one stored event
//! id: 58
//! data: {"event_id":…}
//!
//! event: gap           what could not be sent any more: ask for it with GET /v1/events
//! data: {"from":"3","to":"40"}
//! ```
//!
//! The stream is pulled: the next events are taken from the store's backlog only when the client has read the ones
//! before, so a slow client costs one chunk of memory and is told what it missed.

use std::convert::Infallible;
use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Router};
use bytes::Bytes;
use eye_log::{Offset, PartitionId};
use eye_query::{Filter, write_event_json};
use eye_store::{Gap, LiveStep, LiveTail, Position, StoredEvent};
use futures_util::stream;
use http::{HeaderMap, header};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use crate::ask::params::Params;
use crate::ask::{LIVE, filter};
use crate::auth::{Caller, Reader};
use crate::error::{ApiError, ApiResult, Code};
use crate::openapi::{Answer, Body as Takes, Chapter, Operation};
use crate::state::AppState;

/// Silence is broken after this long.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// Events in one chunk: what a client that does not read holds in memory.
const CHUNK_EVENTS_MAX: usize = 32;
/// Clients that follow at once.
const CLIENTS_MAX: usize = 256;
/// How soon a browser connects again.
const RETRY_MILLIS: u32 = 2_000;

/// The paths and methods.
#[cfg(test)]
pub(crate) const ROUTES: &[(&str, &[&str])] = &[("/v1/live", &["GET"])];

/// The operations.
pub(crate) const OPERATIONS: &[Operation] = &[Operation {
    method: "GET",
    path: "/v1/live",
    chapter: Chapter::Ask,
    scope: Some("read"),
    summary: "Events as they arrive",
    description: "Server-Sent Events. \"event: event\" carries a stored event, its id is the offset to resume from. \
                  \"event: gap\" carries {\"from\",\"to\"}: what lies between could not be sent any more and is found \
                  with GET /v1/events. Without Last-Event-ID it begins now.",
    params: LIVE,
    body: Takes::None,
    answer: Answer::other("The stream. It ends when the service stops or the token does.", "text/event-stream"),
    errors: &[Code::Busy, Code::Unavailable],
}];

/// Seats for clients that follow. Cheap to clone.
#[derive(Clone)]
struct Seats(Arc<Semaphore>);

/// The routes of this file.
pub(crate) fn routes() -> Router<AppState> {
    Router::new().route("/v1/live", get(live)).layer(Extension(Seats(Arc::new(Semaphore::new(CLIENTS_MAX)))))
}

async fn live(
    State(state): State<AppState>,
    Extension(Seats(seats)): Extension<Seats>,
    Reader(caller): Reader,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> ApiResult<Response> {
    let params = Params::read(query.as_deref(), LIVE)?;
    let filter = filter(&caller, &params)?;
    let position = begin(&state.store.position(), &headers)?;
    let seat = seats.try_acquire_owned().map_err(|_| {
        ApiError::new(Code::Busy, format!("{CLIENTS_MAX} clients are following already: try again later"))
    })?;
    let tail = state.store.live();
    let follower = Follower { state, caller, tail, filter, position, spoke_at: None, _seat: seat };
    let chunks = stream::unfold(follower, async |follower| follower.next().await);
    let headers = [
        (header::CONTENT_TYPE, "text/event-stream"),
        (header::CACHE_CONTROL, "no-store"),
        (header::HeaderName::from_static("x-accel-buffering"), "no"),
    ];
    Ok((headers, Body::from_stream(chunks)).into_response())
}

/// Where the stream begins: after the last event that the client has, or now.
fn begin(now: &Position, headers: &HeaderMap) -> ApiResult<Position> {
    let Some(value) = headers.get("last-event-id").filter(|value| !value.is_empty()) else {
        return Ok(now.clone());
    };
    let refuse = |detail: String| ApiError::invalid_parameter("Last-Event-ID", format!("Last-Event-ID is {detail}"));
    let text = value.to_str().map_err(|_| refuse("no text: send the id of the last event that arrived".to_owned()))?;
    let seen: Position = text.parse().map_err(|error| refuse(format!("{error}")))?;
    if !now.covers(&seen) {
        return Err(refuse(format!("ahead of this service, which stands at {now}: connect without it")));
    }
    Ok(Position::new(now.iter().map(|(partition, _)| seen.of(partition)).collect()))
}

/// One client that follows.
struct Follower {
    state: AppState,
    caller: Caller,
    tail: LiveTail,
    filter: Filter,
    position: Position,
    /// When something was last sent; `None` before the first time.
    spoke_at: Option<Instant>,
    _seat: OwnedSemaphorePermit,
}

/// Events of one step, each with the place it stands at.
#[derive(Default)]
struct Found {
    json: Vec<u8>,
    events: Vec<(PartitionId, Offset, usize)>,
    /// Every event of the step, whether it is asked for or not.
    visited: Vec<(PartitionId, Offset)>,
}

impl Found {
    /// What has been seen after a step that began at `before`.
    ///
    /// A step that is full may have ended before it came to the later partitions, so then only what was visited, and
    /// what is announced as gone, counts as seen.
    fn seen(&self, before: &Position, step: &LiveStep) -> Position {
        if self.visited.len() < CHUNK_EVENTS_MAX {
            return step.position.clone();
        }
        let start = step.gap.as_ref().map_or(before, |gap| &gap.to);
        self.visited.iter().fold(start.clone(), |seen, (partition, offset)| advance(&seen, *partition, *offset))
    }
}

impl Follower {
    /// The next chunk of the stream; `None` ends it.
    async fn next(mut self) -> Option<(Result<Bytes, Infallible>, Self)> {
        let chunk = match self.spoke_at {
            None => format!("retry: {RETRY_MILLIS}\nid: {}\n\n", self.position).into_bytes(),
            Some(spoke_at) => self.follow(spoke_at + HEARTBEAT).await?,
        };
        self.spoke_at = Some(Instant::now());
        Some((Ok(Bytes::from(chunk)), self))
    }

    /// What is to be said next: events, a gap, or at `deadline` a heartbeat.
    async fn follow(&mut self, deadline: Instant) -> Option<Vec<u8>> {
        let shutdown = self.state.shutdown.clone();
        loop {
            let mut found = Found::default();
            let (filter, position) = (&self.filter, &self.position);
            let mut visit = |event: &StoredEvent<'_>| {
                found.visited.push((event.partition, event.offset));
                if filter.matches(event) {
                    write_event_json(event, &mut found.json);
                    found.events.push((event.partition, event.offset, found.json.len()));
                }
            };
            let timeout = deadline.saturating_duration_since(Instant::now());
            let step = tokio::select! {
                step = self.tail.next(position, timeout, CHUNK_EVENTS_MAX, &mut visit) => step,
                () = shutdown.wait() => return None,
            };
            let step = step.inspect_err(|error| tracing::info!(%error, "a live tail ends")).ok()?;
            if !self.is_allowed() {
                return None;
            }
            let seen = found.seen(&self.position, &step);
            let before = std::mem::replace(&mut self.position, seen);
            if step.gap.is_some() || !found.events.is_empty() {
                return Some(say(before, &step, &found));
            }
            if Instant::now() >= deadline {
                return Some(format!(": heartbeat\nid: {}\n\n", self.position).into_bytes());
            }
        }
    }

    /// False once the token opens nothing any more: revoked, expired, or its user switched off.
    fn is_allowed(&self) -> bool {
        let registry = self.state.registry.state();
        let is_live = registry
            .token(&self.caller.grant.token)
            .is_some_and(|token| token.is_live(self.state.clock.now()) && token.scopes.read);
        let user = self.caller.grant.user.as_ref();
        is_live && user.is_none_or(|user| registry.user(user).is_some_and(|user| user.active))
    }
}

/// A gap, if there is one, and events, each with the id to resume from.
fn say(before: Position, step: &LiveStep, found: &Found) -> Vec<u8> {
    let mut chunk = Vec::with_capacity(found.json.len() + 64 * found.events.len() + 128);
    let mut seen = before;
    if let Some(Gap { from, to }) = &step.gap {
        seen = to.clone();
        add(&mut chunk, format_args!("event: gap\nid: {to}\ndata: {{\"from\":\"{from}\",\"to\":\"{to}\"}}\n\n"));
    }
    let mut start = 0;
    for (partition, offset, end) in &found.events {
        seen = advance(&seen, *partition, *offset);
        add(&mut chunk, format_args!("event: event\nid: {seen}\ndata: "));
        chunk.extend_from_slice(&found.json[start..*end]);
        chunk.extend_from_slice(b"\n\n");
        start = *end;
    }
    chunk
}

fn advance(seen: &Position, partition: PartitionId, offset: Offset) -> Position {
    Position::new(seen.iter().map(|(id, at)| if id == partition { offset } else { at }).collect())
}

fn add(chunk: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    let written = chunk.write_fmt(text);
    debug_assert!(written.is_ok(), "a text always fits into memory");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn position(text: &str) -> Position {
        text.parse().unwrap()
    }

    fn last_event_id(text: &str) -> HeaderMap {
        HeaderMap::from_iter([(header::HeaderName::from_static("last-event-id"), text.parse().unwrap())])
    }

    #[test]
    fn a_stream_begins_now_or_where_it_broke_off() {
        let now = position("57,12");
        assert_eq!(begin(&now, &HeaderMap::new()).unwrap(), now);
        assert_eq!(begin(&now, &last_event_id("")).unwrap(), now);
        assert_eq!(begin(&now, &last_event_id("40,12")).unwrap(), position("40,12"));
        assert_eq!(begin(&now, &last_event_id("40")).unwrap(), position("40,0"), "unknown partitions begin at zero");
    }

    #[test]
    fn a_place_that_is_unreadable_or_ahead_is_refused() {
        for bad in ["x", "58,12", "57,12,1", "65535:1"] {
            let error = begin(&position("57,12"), &last_event_id(bad)).unwrap_err();
            assert_eq!(error.code(), Code::InvalidParameter, "{bad}");
            assert!(error.detail().starts_with("Last-Event-ID is "), "{bad}");
        }
    }

    #[test]
    fn every_event_carries_the_place_to_resume_from() {
        let found = Found {
            json: b"{1}{2}".to_vec(),
            events: vec![(PartitionId(0), Offset(8), 3), (PartitionId(1), Offset(5), 6)],
            visited: Vec::new(),
        };
        let gap = Gap { from: position("2,4"), to: position("7,4") };
        let step = LiveStep { position: position("9,5"), gap: Some(gap) };
        let text = String::from_utf8(say(position("2,4"), &step, &found)).unwrap();
        let want = "event: gap\nid: 7,4\ndata: {\"from\":\"2,4\",\"to\":\"7,4\"}\n\n\
                    event: event\nid: 8,4\ndata: {1}\n\nevent: event\nid: 8,5\ndata: {2}\n\n";
        assert_eq!(text, want);
    }

    #[test]
    fn a_full_step_has_seen_only_what_it_visited() {
        let visited = |count: usize| Found {
            visited: (1..=count as u64).map(|offset| (PartitionId(0), Offset(offset))).collect(),
            ..Found::default()
        };
        let step = LiveStep { position: position("99,7"), gap: None };
        let full = visited(CHUNK_EVENTS_MAX).seen(&position("0,3"), &step);
        assert_eq!(full.to_string(), format!("{CHUNK_EVENTS_MAX},3"), "the second partition was not reached");
        assert_eq!(visited(CHUNK_EVENTS_MAX - 1).seen(&position("0,3"), &step), step.position);
        let gap = Gap { from: position("0,3"), to: position("0,5") };
        let step = LiveStep { gap: Some(gap), ..step };
        let full = visited(CHUNK_EVENTS_MAX).seen(&position("0,3"), &step);
        assert_eq!(
            full.to_string(),
            format!("{CHUNK_EVENTS_MAX},5"),
            "what was announced as gone is not announced again"
        );
    }
}
