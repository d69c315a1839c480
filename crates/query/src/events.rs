//! Lists of events: the first few of all that match, in order, without reading what cannot be among them.
//!
//! Slices are asked best first, and only for the columns that the filter and the order need. As soon as no slice that is
//! left can hold anything better than what is kept, the kept rows alone are fetched in full.

use ahash::AHashMap;
use eye_store::{Columns, StoredEvent};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::cancel::Cancel;
use crate::cursor::{Cursor, Question};
use crate::error::{Error, Result, checked_limit};
use crate::filter::Filter;
use crate::mask::Chooser;
use crate::order::{Order, Rank};
use crate::output::{EventOut, weight};
use crate::source::{Source, SourceSlice};
use crate::top::{PAGE_BYTES_MAX, Top};

/// How many events a page holds unless asked otherwise.
pub const EVENTS_LIMIT: usize = 100;
/// How many events a page may hold.
pub const EVENTS_LIMIT_MAX: usize = 10_000;

/// Which events, in which order, how many.
#[derive(Clone, Debug)]
pub struct EventsQuery {
    /// Which.
    pub filter: Filter,
    /// In which order.
    pub order: Order,
    /// At most so many: 1 to [`EVENTS_LIMIT_MAX`]. A page of very large events may end earlier, with a cursor.
    pub limit: usize,
    /// Where the page before ended.
    pub cursor: Option<Cursor>,
}

impl Default for EventsQuery {
    fn default() -> Self {
        Self { filter: Filter::default(), order: Order::default(), limit: EVENTS_LIMIT, cursor: None }
    }
}

impl EventsQuery {
    fn question(&self) -> Question {
        self.filter.identify(Question::new("events").text(Some(self.order.as_str())))
    }
}

/// A page of events.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct EventsPage {
    /// The events, in the order asked for.
    pub events: Vec<EventOut>,
    /// The cursor of the next page; null on the last.
    pub next: Option<Cursor>,
    /// The version of the table that the answer saw.
    pub version: u64,
    /// What the answer has seen of the log.
    pub offset: String,
}

/// Rows of any form, and where they end.
#[derive(Clone, Debug)]
pub struct Rows<T> {
    /// The rows, in order.
    pub rows: Vec<T>,
    /// The cursor of the next page; `None` on the last.
    pub next: Option<Cursor>,
}

impl<T> Rows<T> {
    /// What was kept, with a cursor behind its last row if there is more.
    pub(crate) fn new((ranked, has_more): (Vec<(Rank, T)>, bool), question: Question) -> Self {
        let next = ranked.last().filter(|_| has_more).map(|(rank, _)| rank.cursor(question));
        Self { rows: ranked.into_iter().map(|(_, row)| row).collect(), next }
    }
}

/// A page of the events that match.
///
/// # Errors
/// `Invalid` for a limit out of range or a foreign cursor; `Cancelled`; those of the store.
pub fn events<S: Source>(source: &S, query: &EventsQuery, cancel: &Cancel) -> Result<EventsPage> {
    let Rows { rows, next } = events_with(source, query, cancel, |event| EventOut::from(event))?;
    Ok(EventsPage { events: rows, next, version: source.version(), offset: source.position().to_string() })
}

/// The same page, each event in the form that `make` gives it. Events that fall out of the page later may be made too.
///
/// # Errors
/// As [`events`].
pub fn events_with<S: Source, T>(
    source: &S,
    query: &EventsQuery,
    cancel: &Cancel,
    make: impl FnMut(&StoredEvent<'_>) -> T,
) -> Result<Rows<T>> {
    events_of(source, query, query.question(), cancel, make)
}

/// The same as part of another question, to which the cursors belong.
pub(crate) fn events_of<S: Source, T>(
    source: &S,
    query: &EventsQuery,
    question: Question,
    cancel: &Cancel,
    make: impl FnMut(&StoredEvent<'_>) -> T,
) -> Result<Rows<T>> {
    let limit = checked_limit(query.limit, EVENTS_LIMIT_MAX)?;
    let after = Rank::after(query.cursor.as_ref(), question)?;
    let search = Search { filter: &query.filter, order: query.order, after, limit };
    let found = if query.filter.is_impossible() {
        (Vec::new(), false)
    } else if let Some(session_id) = query.filter.only_session() {
        search.in_session(source, session_id, cancel, make)?
    } else {
        search.in_slices(source, cancel, make)?
    };
    Ok(Rows::new(found, question))
}

/// What is looked for on one page.
#[derive(Clone, Copy)]
struct Search<'a> {
    filter: &'a Filter,
    order: Order,
    after: Option<Rank>,
    limit: usize,
}

type Found<T> = (Vec<(Rank, T)>, bool);

impl Search<'_> {
    fn in_session<S: Source, T>(
        self,
        source: &S,
        session_id: &str,
        cancel: &Cancel,
        mut make: impl FnMut(&StoredEvent<'_>) -> T,
    ) -> Result<Found<T>> {
        cancel.check()?;
        let mut top = Top::new(self.limit, PAGE_BYTES_MAX);
        source.session(session_id, Columns::ALL, &mut |event| {
            if let Some(rank) = self.rank(event) {
                top.offer(rank, weight(event), || make(event));
            }
        })?;
        Ok(top.finish())
    }

    fn in_slices<S: Source, T>(
        self,
        source: &S,
        cancel: &Cancel,
        make: impl FnMut(&StoredEvent<'_>) -> T,
    ) -> Result<Found<T>> {
        let slices = self.slices(source)?;
        let (rows, has_more) = self.first_rows(&slices, cancel)?;
        let rows: Vec<_> = rows.into_iter().map(|(rank, (slice, row))| Row { rank, slice, row }).collect();
        let (found, is_cut) = fetch(&slices, self.order, &rows, cancel, make)?;
        Ok((found, has_more || is_cut))
    }

    /// The slices that can hold a row of this page, best first.
    fn slices<S: Source>(self, source: &S) -> Result<Vec<S::Slice>> {
        let (mut from, mut to) = (self.filter.from(), self.filter.to());
        if let Some(at) = self.after.map(|rank| self.order.timestamp(rank)) {
            match self.order {
                Order::Newest => {
                    let behind = eye_event::Timestamp::from_micros(at.micros().saturating_add(1));
                    to = Some(to.map_or(behind, |to| to.min(behind)));
                }
                Order::Oldest => from = Some(from.map_or(at, |from| from.max(at))),
            }
        }
        let mut slices = source.slices(from, to)?;
        slices.retain(|slice| self.filter.slice_can_match(slice.timestamps()));
        slices.sort_by_key(|slice| self.order.best(slice.timestamps()));
        Ok(slices)
    }

    /// Which rows are on the page, by slice and row number.
    fn first_rows<L: SourceSlice>(self, slices: &[L], cancel: &Cancel) -> Result<Found<(usize, u32)>> {
        let columns = self.filter.columns() | Columns::SORT_KEY;
        let chooser = Chooser::new(self.filter);
        let mut top = Top::new(self.limit, usize::MAX);
        for (index, slice) in slices.iter().enumerate() {
            cancel.check()?;
            if top.is_closed_to(self.order.best(slice.timestamps())) {
                break;
            }
            let frame = slice.frame_kept(columns)?;
            let mask = chooser.choose(&frame, slice.timestamps());
            for (number, row) in (0..).zip(0..frame.rows()).filter(|(_, row)| mask[*row]) {
                let rank = self.order.rank(frame.key(row));
                if self.after.is_none_or(|after| rank > after) {
                    top.offer(rank, 0, || (index, number));
                }
            }
        }
        Ok(top.finish())
    }

    /// The event's rank, if it may be on this page.
    fn rank(self, event: &StoredEvent<'_>) -> Option<Rank> {
        let rank = self.order.rank(event.sort_key());
        (self.after.is_none_or(|after| rank > after) && self.filter.matches(event)).then_some(rank)
    }
}

/// A row that was chosen and is still to be fetched.
#[derive(Clone, Copy)]
pub(crate) struct Row {
    pub(crate) rank: Rank,
    pub(crate) slice: usize,
    pub(crate) row: u32,
}

/// Fetches rows in full: in order of rank, as many as one answer may hold, and whether some did not fit.
pub(crate) fn fetch<L: SourceSlice, T>(
    slices: &[L],
    order: Order,
    rows: &[Row],
    cancel: &Cancel,
    mut make: impl FnMut(&StoredEvent<'_>) -> T,
) -> Result<Found<T>> {
    let mut wanted: AHashMap<usize, Vec<u32>> = AHashMap::new();
    for row in rows {
        wanted.entry(row.slice).or_default().push(row.row);
    }
    let mut fetched = 0;
    let mut top = Top::new(rows.len(), PAGE_BYTES_MAX);
    for (slice, mut numbers) in wanted {
        cancel.check()?;
        numbers.sort_unstable();
        slices[slice].fetch(&numbers, Columns::ALL, &mut |event| {
            fetched += 1;
            top.offer(order.rank(event.sort_key()), weight(event), || make(event));
        })?;
    }
    if fetched == rows.len() {
        return Ok(top.finish());
    }
    let detail = format!("{fetched} rows came back where {} were asked for", rows.len());
    Err(Error::Store(eye_store::Error::new(eye_store::Kind::Internal, detail)))
}
