//! Lists of sessions: one pass over the events that match, which leaves of each session what the list is sorted by; then
//! the first few in order, and all their figures out of their own rows.
//!
//! The rule: memory is bounded by the number of distinct sessions, never by the number of events. No column is read of all
//! rows but those that the filter and the order need.

use std::cmp::Ordering;
use std::str::FromStr;

use eye_event::Timestamp;
use eye_store::{Columns, Kind};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::cancel::Cancel;
use crate::cursor::{Cursor, Question};
use crate::error::{Error, Result, checked_limit};
use crate::filter::Filter;
use crate::scan::{Needs, scan};
use crate::sessions::details::Details;
use crate::sessions::totals::{Number, Totals};
use crate::share::share;
use crate::source::{Source, SourceSlice};
use crate::top::Top;
use crate::unit::By;

mod details;
mod totals;

/// How many sessions a page holds unless asked otherwise.
pub const SESSIONS_LIMIT: usize = 100;
/// How many sessions a page may hold.
pub const SESSIONS_LIMIT_MAX: usize = 1_000;
/// Over how many distinct sessions one question may run unless asked otherwise: about a gigabyte of memory.
pub const SESSIONS_MAX: usize = 5_000_000;

/// With at most so many equals for each place on a page the figures of all of them are looked up at once.
const EQUALS_A_PLACE: usize = 2;

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
    /// The number of distinct names of its events.
    Names,
    /// The number of events that have a problem.
    Problems,
}

impl SessionSort {
    /// Every order; the usual one first.
    pub const ALL: [Self; 6] = [Self::End, Self::Start, Self::Duration, Self::Events, Self::Names, Self::Problems];

    /// As the API spells it: what [`FromStr`] reads.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::End => "end",
            Self::Start => "start",
            Self::Duration => "duration",
            Self::Events => "events",
            Self::Names => "names",
            Self::Problems => "problems",
        }
    }
}

impl FromStr for SessionSort {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let found = Self::ALL.into_iter().find(|sort| sort.as_str() == text);
        found.ok_or_else(|| {
            let sorts = Self::ALL.map(Self::as_str).join(", ");
            Error::invalid("sort", format!("sort is none of these: {sorts}"))
        })
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
    /// How many different names they have.
    pub names: u64,
    /// The name of its first event.
    pub first_name: String,
    /// The name of its last event.
    pub last_name: String,
    /// The applications that sent them, by name.
    pub applications: Vec<String>,
    /// The user of its newest event that names one; null if none does.
    pub user_id: Option<String>,
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

    let page = Page { query, question, after, limit };
    let (sessions, next) = match query.filter.only_session().filter(|_| !query.filter.is_impossible()) {
        Some(session_id) => page.of_one(source, session_id, cancel)?,
        None => page.of_many(source, cancel)?,
    };
    Ok(SessionsPage { sessions, next, version: source.version(), offset: source.position().to_string() })
}

/// The page that is asked for.
struct Page<'a> {
    query: &'a SessionsQuery,
    question: Question,
    after: Option<Place<'a>>,
    limit: usize,
}

impl Page<'_> {
    /// The only session that can be listed.
    fn of_one<S: Source>(
        &self,
        source: &S,
        session_id: &str,
        cancel: &Cancel,
    ) -> Result<(Vec<SessionOut>, Option<Cursor>)> {
        Ok(self.of_details(&Details::look_up(source, self.query, session_id, cancel)?))
    }

    fn of_many<S>(&self, source: &S, cancel: &Cancel) -> Result<(Vec<SessionOut>, Option<Cursor>)>
    where
        S: Source,
        S::Slice: Sync + Send,
    {
        let SessionsQuery { filter, sort, direction, sessions_max, .. } = self.query;
        let needs = Needs::new(Totals::columns(*sort)).units_alone(By::Session);
        let make = || Totals::new(*sort, *sessions_max);
        let (totals, slices) = scan(source, filter, &needs, cancel, make)?;
        // One more tells whether there is another page.
        let count = self.limit.saturating_add(1);
        let from = self.after.map(|after| after.value);
        let first = totals.first(*direction, from, count);
        let rows = totals.rows_of(first.iter().map(|(session, _)| *session));
        if let Some(rows) = rows.filter(|_| first.len() <= count.saturating_mul(EQUALS_A_PLACE)) {
            return Ok(self.of_details(&Details::of_rows(&slices, &rows, self.query, cancel)?));
        }
        // Many are equal: their ids say which come first.
        let ids = fetch_ids(&slices, &totals, &first, cancel)?;
        let mut top = Top::new(count, usize::MAX);
        for (session_id, session, value) in &ids {
            let place = self.place(session_id, *value);
            if self.is_behind(place) {
                top.offer(place, 0, || *session);
            }
        }
        let (found, _) = top.finish();
        let details = match totals.rows_of(found.iter().map(|(_, session)| *session)) {
            Some(rows) => Details::of_rows(&slices, &rows, self.query, cancel)?,
            None => Details::look_up_all(source, self.query, found.iter().map(|(place, _)| place.session_id), cancel)?,
        };
        Ok(self.of_details(&details))
    }

    /// The page, if all its sessions, and one of the next page, are among these.
    fn of_details(&self, details: &Details) -> (Vec<SessionOut>, Option<Cursor>) {
        let mut top = Top::new(self.limit, usize::MAX);
        for (session_id, value) in details.values(self.query.sort) {
            let place = self.place(session_id, value);
            if self.is_behind(place) {
                top.offer(place, 0, || ());
            }
        }
        let (found, has_more) = top.finish();
        let next = found.last().filter(|_| has_more).map(|(place, ())| Cursor::write(self.question, &place.bytes()));
        (found.iter().filter_map(|(place, ())| details.show(place.session_id)).collect(), next)
    }

    fn place<'s>(&self, session_id: &'s str, value: i64) -> Place<'s> {
        Place { value, session_id, direction: self.query.direction }
    }

    fn is_behind(&self, place: Place<'_>) -> bool {
        self.after.is_none_or(|after| place > after)
    }
}

/// The ids of sessions, each with its number and its value, read back from their rows.
fn fetch_ids<L: SourceSlice + Sync>(
    slices: &[L],
    totals: &Totals,
    sessions: &[(Number, i64)],
    cancel: &Cancel,
) -> Result<Vec<(Box<str>, Number, i64)>> {
    let mut rows: Vec<_> = sessions.iter().map(|session| (totals.row_of(session.0), *session)).collect();
    rows.sort_unstable();
    let by_slice: Vec<_> = rows.chunk_by(|((one, _), _), ((other, _), _)| one == other).collect();
    let parts = share(by_slice.len(), cancel, Vec::new, |ids, piece| {
        let sessions = by_slice[piece];
        let rows: Vec<u32> = sessions.iter().map(|((_, row), _)| *row).collect();
        let mut left = sessions.iter();
        let slice = sessions.first().and_then(|((slice, _), _)| slices.get(*slice as usize));
        if let Some(slice) = slice {
            slice.fetch(&rows, Columns::SESSION_ID, &mut |event| {
                ids.extend(left.next().map(|(_, (number, value))| (event.event.session_id.into(), *number, *value)));
            })?;
        }
        match left.len() {
            0 => Ok(()),
            missing => Err(eye_store::Error::new(Kind::Internal, format!("{missing} rows did not come back")).into()),
        }
    })?;
    Ok(parts.into_iter().flatten().collect())
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
