//! Lists of sessions: one pass over the events that match, one small state per session, then the first few in order.
//!
//! The rule: memory is bounded by the number of distinct sessions, never by the number of events. Names and applications
//! are numbers in the states; their texts are kept once.

use std::cmp::Ordering;
use std::str::FromStr;

use eye_event::Timestamp;
use eye_store::Columns;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::cancel::Cancel;
use crate::cursor::{Cursor, Question};
use crate::error::{Error, Result, checked_limit};
use crate::filter::Filter;
use crate::output::millis_between;
use crate::scan::scan;
use crate::sessions::totals::{Session, Totals};
use crate::source::Source;
use crate::top::Top;

mod totals;

/// How many sessions a page holds unless asked otherwise.
pub const SESSIONS_LIMIT: usize = 100;
/// How many sessions a page may hold.
pub const SESSIONS_LIMIT_MAX: usize = 1_000;
/// Over how many distinct sessions one question may run unless asked otherwise: about a gigabyte of memory.
pub const SESSIONS_MAX: usize = 5_000_000;

/// What sessions are ordered by. Equal ones are ordered by their id.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SessionSort {
    /// The time of the last event.
    #[default]
    End,
    /// The time of the first event.
    Start,
    /// The time between the two.
    Duration,
    /// The number of events.
    Events,
}

impl SessionSort {
    /// As the API spells it: what [`FromStr`] reads.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::End => "end",
            Self::Start => "start",
            Self::Duration => "duration",
            Self::Events => "events",
        }
    }
}

impl FromStr for SessionSort {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let sorts = [Self::End, Self::Start, Self::Duration, Self::Events];
        let found = sorts.into_iter().find(|sort| sort.as_str() == text);
        found.ok_or_else(|| Error::invalid("sort", "sort is none of these: end, start, duration, events"))
    }
}

/// Which way a list of sessions runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Direction {
    /// The largest first.
    #[default]
    Desc,
    /// The smallest first.
    Asc,
}

impl Direction {
    /// As the API spells it: what [`FromStr`] reads.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Desc => "desc",
            Self::Asc => "asc",
        }
    }
}

impl FromStr for Direction {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "desc" => Ok(Self::Desc),
            "asc" => Ok(Self::Asc),
            _ => Err(Error::invalid("order", "order is none of these: desc, asc")),
        }
    }
}

/// Which sessions, in which order, how many.
#[derive(Clone, Debug)]
pub struct SessionsQuery {
    /// Which events count. A session is listed, with all its figures over these events, if it has any.
    pub filter: Filter,
    /// What they are ordered by.
    pub sort: SessionSort,
    /// Which way.
    pub direction: Direction,
    /// At most so many: 1 to [`SESSIONS_LIMIT_MAX`].
    pub limit: usize,
    /// Where the page before ended.
    pub cursor: Option<Cursor>,
    /// Over how many distinct sessions (and distinct names) the question may run; beyond it there is no answer.
    pub sessions_max: usize,
}

impl Default for SessionsQuery {
    fn default() -> Self {
        Self {
            filter: Filter::default(),
            sort: SessionSort::default(),
            direction: Direction::default(),
            limit: SESSIONS_LIMIT,
            cursor: None,
            sessions_max: SESSIONS_MAX,
        }
    }
}

/// One session in a list: figures over the events that the filter chose.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SessionOut {
    /// Which session.
    pub session_id: String,
    /// The time of its first event.
    #[schema(value_type = String, format = DateTime)]
    pub start: Timestamp,
    /// The time of its last event.
    #[schema(value_type = String, format = DateTime)]
    pub end: Timestamp,
    /// Whole milliseconds from `start` to `end`.
    pub duration_ms: i64,
    /// How many events.
    pub events: u64,
    /// The name of its first event.
    pub first_name: String,
    /// The name of its last event.
    pub last_name: String,
    /// The applications that sent them, by name.
    pub applications: Vec<String>,
    /// How many of the events have a problem.
    pub problems: u64,
}

/// A page of sessions.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct SessionsPage {
    /// The sessions, in the order asked for.
    pub sessions: Vec<SessionOut>,
    /// The cursor of the next page; null on the last.
    pub next: Option<Cursor>,
    /// The version of the table that the answer saw.
    pub version: u64,
    /// What the answer has seen of the log.
    pub offset: String,
}

/// A page of sessions.
///
/// # Errors
/// `Invalid` for a limit out of range or a foreign cursor; `TooMuch` beyond `sessions_max`; `Cancelled`; those of the
/// store.
pub fn sessions<S>(source: &S, query: &SessionsQuery, cancel: &Cancel) -> Result<SessionsPage>
where
    S: Source,
    S::Slice: Sync + Send,
{
    let limit = checked_limit(query.limit, SESSIONS_LIMIT_MAX)?;
    let order = [Some(query.sort.as_str()), Some(query.direction.as_str())];
    let question = order.into_iter().fold(Question::new("sessions"), Question::text);
    let question = query.filter.identify(question);
    let key = query.cursor.as_ref().map(|cursor| cursor.read(question)).transpose()?;
    let after = key.as_deref().map(|key| Place::read(key, query.direction).ok_or_else(Cursor::foreign)).transpose()?;

    let totals = add_up(source, query, cancel)?;
    let mut top = Top::new(limit, usize::MAX);
    for (session_id, session) in totals.iter() {
        let place = Place { value: sort_value(query.sort, session), session_id, direction: query.direction };
        if after.is_none_or(|after| place > after) {
            top.offer(place, 0, || session);
        }
    }
    let (found, has_more) = top.finish();
    let next = found.last().filter(|_| has_more).map(|(place, _)| Cursor::write(question, &place.bytes()));
    let sessions = found.iter().map(|(place, session)| show(&totals, place.session_id, session)).collect();
    Ok(SessionsPage { sessions, next, version: source.version(), offset: source.position().to_string() })
}

/// One pass over everything that matches.
fn add_up<S>(source: &S, query: &SessionsQuery, cancel: &Cancel) -> Result<Totals>
where
    S: Source,
    S::Slice: Sync + Send,
{
    let filter = &query.filter;
    let columns = Columns::SORT_KEY | Columns::SESSION_ID | Columns::APPLICATION | Columns::NAME | Columns::PROBLEMS;
    let make = || Totals::new(query.sessions_max);
    if let Some(session_id) = filter.only_session().filter(|_| !filter.is_impossible()) {
        cancel.check()?;
        let mut totals = make();
        source.session(session_id, columns | filter.columns(), &mut |event| {
            if filter.matches(event) {
                totals.add_event(event);
            }
        })?;
        totals.checked()?;
        return Ok(totals);
    }
    Ok(scan(source, filter, columns, cancel, make)?.0)
}

fn sort_value(sort: SessionSort, session: &Session) -> i64 {
    let (start, end) = (session.first.timestamp.micros(), session.last.timestamp.micros());
    match sort {
        SessionSort::End => end,
        SessionSort::Start => start,
        SessionSort::Duration => end.saturating_sub(start),
        SessionSort::Events => i64::try_from(session.events).unwrap_or(i64::MAX),
    }
}

fn show(totals: &Totals, session_id: &str, session: &Session) -> SessionOut {
    let (start, end) = (session.first.timestamp, session.last.timestamp);
    SessionOut {
        session_id: session_id.to_owned(),
        start,
        end,
        duration_ms: millis_between(start, end),
        events: session.events,
        first_name: totals.name(session.first_name).to_owned(),
        last_name: totals.name(session.last_name).to_owned(),
        applications: totals.applications(session),
        problems: session.problems,
    }
}

/// A session's place in the list: the lower, the earlier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place<'a> {
    value: i64,
    session_id: &'a str,
    direction: Direction,
}

impl Place<'_> {
    fn bytes(&self) -> Vec<u8> {
        [&self.value.to_be_bytes(), self.session_id.as_bytes()].concat()
    }
}

impl<'a> Place<'a> {
    fn read(key: &'a [u8], direction: Direction) -> Option<Self> {
        let (value, session_id) = key.split_first_chunk()?;
        let session_id = std::str::from_utf8(session_id).ok()?;
        Some(Self { value: i64::from_be_bytes(*value), session_id, direction })
    }
}

impl Ord for Place<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        let rising = (self.value, self.session_id).cmp(&(other.value, other.session_id));
        match self.direction {
            Direction::Desc => rising.reverse(),
            Direction::Asc => rising,
        }
    }
}

impl PartialOrd for Place<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
