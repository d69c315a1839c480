//! [`Details`]: everything that is shown of the sessions on a page, out of their own rows.
//!
//! The columns read here are many, and the rows are those of a page's sessions alone.

use std::collections::BTreeSet;

use ahash::{AHashMap, AHashSet};
use eye_store::{Columns, Error, Kind, SortKey, StoredEvent};

use super::totals::{NAMES_A_SESSION, too_much};
use super::{SessionOut, SessionSort, SessionsQuery};
use crate::cancel::Cancel;
use crate::error::Result;
use crate::names::Names;
use crate::output::millis_between;
use crate::share::share;
use crate::source::{Source, SourceSlice};

/// All that is shown of one session.
#[derive(Debug)]
pub(super) struct Detail {
    first: SortKey,
    last: SortKey,
    first_name: u32,
    last_name: u32,
    events: u64,
    problems: u64,
    names: AHashSet<u32>,
    applications: BTreeSet<Box<str>>,
    user: Option<(SortKey, Box<str>)>,
}

/// All that is shown of some sessions, by id.
#[derive(Default)]
pub(super) struct Details {
    sessions: AHashMap<Box<str>, Detail>,
    names: Names,
    /// How many names of sessions there are.
    pairs: usize,
}

impl Details {
    /// What is read of each row, besides what the filter reads.
    fn columns() -> Columns {
        Columns::SORT_KEY
            | Columns::SESSION_ID
            | Columns::APPLICATION
            | Columns::NAME
            | Columns::PROBLEMS
            | Columns::USER_ID
    }

    /// Of one session, looked up.
    ///
    /// # Errors
    /// `TooMuch`; `Cancelled`; those of the store.
    pub(super) fn look_up<S: Source>(source: &S, query: &SessionsQuery, id: &str, cancel: &Cancel) -> Result<Self> {
        Self::look_up_all(source, query, std::iter::once(id), cancel)
    }

    /// Of some sessions, looked up one by one.
    ///
    /// # Errors
    /// As [`Details::look_up`].
    pub(super) fn look_up_all<'a, S: Source>(
        source: &S,
        query: &SessionsQuery,
        session_ids: impl Iterator<Item = &'a str>,
        cancel: &Cancel,
    ) -> Result<Self> {
        let mut details = Self::default();
        let columns = Self::columns() | query.filter.columns();
        for session_id in session_ids {
            cancel.check()?;
            source.session(session_id, columns, &mut |event| {
                if query.filter.matches(event) {
                    details.add(event);
                }
            })?;
            details.check(query)?;
        }
        Ok(details)
    }

    /// Of the sessions whose rows these are, by slice.
    ///
    /// # Errors
    /// As [`Details::look_up`].
    pub(super) fn of_rows<L: SourceSlice + Sync>(
        slices: &[L],
        rows: &[(usize, Vec<u32>)],
        query: &SessionsQuery,
        cancel: &Cancel,
    ) -> Result<Self> {
        let parts = share(rows.len(), cancel, Self::default, |details, piece| {
            let (slice, rows) = &rows[piece];
            details.fetch(&slices[*slice], rows, query)
        })?;
        let mut all = Self::default();
        for part in parts {
            all.merge(part);
            all.check(query)?;
        }
        Ok(all)
    }

    fn fetch<L: SourceSlice>(&mut self, slice: &L, rows: &[u32], query: &SessionsQuery) -> Result<()> {
        let mut fetched = 0;
        slice.fetch(rows, Self::columns() | query.filter.columns(), &mut |event| {
            fetched += 1;
            if query.filter.matches(event) {
                self.add(event);
            }
        })?;
        if fetched != rows.len() {
            let detail = format!("{fetched} rows came back where {} were asked for", rows.len());
            return Err(Error::new(Kind::Internal, detail).into());
        }
        self.check(query)
    }

    /// Adds one event.
    fn add(&mut self, stored: &StoredEvent<'_>) {
        let (event, key) = (&stored.event, stored.sort_key());
        let name = self.names.number(event.name);
        let detail = match self.sessions.get_mut(event.session_id) {
            Some(known) => known,
            None => self.sessions.entry(event.session_id.into()).or_insert_with(|| Detail::new(key, name)),
        };
        detail.events += 1;
        detail.problems += u64::from(!event.problems.is_empty());
        self.pairs += usize::from(detail.names.insert(name));
        if !detail.applications.contains(stored.application) {
            detail.applications.insert(stored.application.into());
        }
        detail.reach((key, name), (key, name));
        if let Some(user_id) = event.user_id {
            detail.take_user(key, user_id);
        }
    }

    fn merge(&mut self, other: Self) {
        let Self { sessions, names, .. } = other;
        for (session_id, theirs) in sessions {
            let mut number = |name: u32| self.names.number(names.text(name));
            let first = (theirs.first, number(theirs.first_name));
            let last = (theirs.last, number(theirs.last_name));
            let detail = self.sessions.entry(session_id).or_insert_with(|| Detail::new(first.0, first.1));
            detail.events += theirs.events;
            detail.problems += theirs.problems;
            for name in theirs.names {
                self.pairs += usize::from(detail.names.insert(number(name)));
            }
            detail.applications.extend(theirs.applications);
            detail.reach(first, last);
            if let Some((key, user_id)) = theirs.user {
                detail.take_user(key, &user_id);
            }
        }
    }

    fn check(&self, query: &SessionsQuery) -> Result<()> {
        let pairs_max = query.sessions_max.saturating_mul(NAMES_A_SESSION);
        if self.pairs > pairs_max { Err(too_much(pairs_max, "names of sessions")) } else { Ok(()) }
    }

    /// Every session, and what it is sorted by.
    pub(super) fn values(&self, sort: SessionSort) -> impl Iterator<Item = (&str, i64)> {
        self.sessions.iter().map(move |(session_id, detail)| (&**session_id, detail.value(sort)))
    }

    /// A session as it is shown; `None` if it has no event.
    pub(super) fn show(&self, session_id: &str) -> Option<SessionOut> {
        let detail = self.sessions.get(session_id)?;
        let (start, end) = (detail.first.timestamp, detail.last.timestamp);
        Some(SessionOut {
            session_id: session_id.to_owned(),
            start,
            end,
            duration_ms: millis_between(start, end),
            events: detail.events,
            names: detail.names.len() as u64,
            first_name: self.names.text(detail.first_name).to_owned(),
            last_name: self.names.text(detail.last_name).to_owned(),
            applications: detail.applications.iter().map(|name| name.to_string()).collect(),
            user_id: detail.user.as_ref().map(|(_, user_id)| user_id.to_string()),
            problems: detail.problems,
        })
    }
}

impl Detail {
    /// Of a session whose only event so far has this place and this name; it is not counted yet.
    fn new(key: SortKey, name: u32) -> Self {
        Self {
            first: key,
            last: key,
            first_name: name,
            last_name: name,
            events: 0,
            problems: 0,
            names: AHashSet::new(),
            applications: BTreeSet::new(),
            user: None,
        }
    }

    /// What it is sorted by.
    fn value(&self, sort: SessionSort) -> i64 {
        let (start, end) = (self.first.timestamp.micros(), self.last.timestamp.micros());
        let count = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        match sort {
            SessionSort::End => end,
            SessionSort::Start => start,
            SessionSort::Duration => end.saturating_sub(start),
            SessionSort::Events => count(self.events),
            SessionSort::Names => count(self.names.len() as u64),
            SessionSort::Problems => count(self.problems),
        }
    }

    /// Reaches from this place and name to that one, if it did not reach so far.
    fn reach(&mut self, first: (SortKey, u32), last: (SortKey, u32)) {
        if first.0 < self.first {
            (self.first, self.first_name) = first;
        }
        if last.0 > self.last {
            (self.last, self.last_name) = last;
        }
    }

    /// The user of an event at this place, if none that is newer says who it is.
    fn take_user(&mut self, key: SortKey, user_id: &str) {
        match &mut self.user {
            Some((newest, _)) if *newest >= key => {}
            Some((newest, known)) if **known == *user_id => *newest = key,
            user => *user = Some((key, user_id.into())),
        }
    }
}
