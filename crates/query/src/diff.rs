//! What has become of an answer: the events that a later one has seen and it has not, and which of them changed it.
//!
//! Both answers are named by what they have seen of the log, so what came between them is told by offsets, in whatever
//! files it lies by then. What went is not here: the store counts it by commits, and shows nothing of it.

use std::str::FromStr;

use eye_event::Timestamp;
use eye_store::{Columns, Position, Removal, StoredEvent};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::at::At;
use crate::cancel::Cancel;
use crate::cursor::{Cursor, Question};
use crate::error::{Error, Result};
use crate::events::{EventsQuery, Rows, events_of};
use crate::filter::Filter;
use crate::order::Order;
use crate::output::EventOut;
use crate::scan::{Needs, Part, State, scan};
use crate::source::Source;

/// An answer, as it names itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// The version of the table.
    pub version: u64,
    /// What it has seen of the log.
    pub position: Position,
}

impl Seen {
    fn named(&self) -> AnswerOut {
        AnswerOut { version: self.version, offset: self.position.to_string() }
    }
}

/// Which of the events that came are listed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Only {
    /// All.
    #[default]
    Came,
    /// Those that are late.
    Late,
}

impl Only {
    /// As the API spells it: what [`FromStr`] reads.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Came => "came",
            Self::Late => "late",
        }
    }
}

impl FromStr for Only {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "came" => Ok(Self::Came),
            "late" => Ok(Self::Late),
            _ => Err(Error::invalid("only", "only is none of these: came, late")),
        }
    }
}

/// Between which answers, about which events.
#[derive(Clone, Debug)]
pub struct DiffQuery {
    /// The earlier answer.
    pub from: Seen,
    /// The later one: it has seen whatever the earlier one has.
    pub to: Seen,
    /// Which events.
    pub filter: Filter,
    /// Which of them are listed.
    pub only: Only,
    /// In which order.
    pub order: Order,
    /// At most so many: 1 to [`EVENTS_LIMIT_MAX`](crate::EVENTS_LIMIT_MAX). A page of very large events may end earlier.
    pub limit: usize,
    /// Where the page before ended.
    pub cursor: Option<Cursor>,
}

/// An answer, as it names itself.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct AnswerOut {
    /// The version of the table that it saw.
    pub version: u64,
    /// What it has seen of the log.
    pub offset: String,
}

/// Events that one commit of the table took away.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WentOut {
    /// The version that it made.
    pub version: u64,
    /// When, to the millisecond.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// How many were erased.
    pub erased: u64,
    /// How many were too old.
    pub expired: u64,
}

/// What has become of an answer, in figures.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct DiffSummary {
    /// The earlier answer.
    pub from: AnswerOut,
    /// The later one.
    pub to: AnswerOut,
    /// When the latest event that the earlier answer has seen was received, of those that are still there: what occurred
    /// before and came afterwards is late. Null if there is none; then nothing is late.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub seen_until: Option<Timestamp>,
    /// How many events came, of those that are asked for.
    pub came: u64,
    /// How many of them are late.
    pub late: u64,
    /// How many events were erased, of all that there were. Null for who may not see all applications.
    pub erased: Option<u64>,
    /// How many were too old, likewise.
    pub expired: Option<u64>,
    /// The commits that took them away, the oldest first, likewise.
    pub went: Option<Vec<WentOut>>,
}

impl DiffSummary {
    /// Adds what went.
    #[must_use]
    pub fn with(mut self, removals: &[Removal]) -> Self {
        let sum = |of: fn(&Removal) -> u64| Some(removals.iter().map(of).sum());
        self.erased = sum(|removal| removal.rows.erased);
        self.expired = sum(|removal| removal.rows.expired);
        let went = removals.iter().map(|Removal { version, at, rows }| WentOut {
            version: *version,
            at: *at,
            erased: rows.erased,
            expired: rows.expired,
        });
        self.went = Some(went.collect());
        self
    }
}

/// An event that came.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct DiffEventOut {
    /// The event.
    #[serde(flatten)]
    pub event: EventOut,
    /// True if it occurred before `seen_until`: it changes what the earlier answer said.
    pub late: bool,
}

/// What has become of an answer.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct DiffPage {
    /// In figures.
    #[serde(flatten)]
    pub summary: DiffSummary,
    /// The events that came, in the order asked for.
    pub events: Vec<DiffEventOut>,
    /// The cursor of the next page; null on the last.
    pub next: Option<Cursor>,
    /// The version of the table that the later answer saw.
    pub version: u64,
    /// What the later answer has seen of the log.
    pub offset: String,
}

/// What came between two answers, and a page of it in any form.
#[derive(Clone, Debug)]
pub struct Diff<T> {
    /// Without what went.
    pub summary: DiffSummary,
    /// The events of the page.
    pub rows: Rows<T>,
}

/// What came between two answers. `make` is told of each event of the page whether it is late; events that fall out of the
/// page later may be made too.
///
/// Nothing that the later answer has seen may have been taken away since: its caller has to know.
///
/// # Errors
/// `Invalid` if the later answer has not seen what the earlier one has, for a limit out of range or a foreign cursor;
/// `Cancelled`; those of the store.
pub fn diff<S, T>(
    source: &S,
    query: &DiffQuery,
    cancel: &Cancel,
    mut make: impl FnMut(&StoredEvent<'_>, bool) -> T,
) -> Result<Diff<T>>
where
    S: Source + Clone,
    S::Slice: Sync + Send,
{
    let DiffQuery { from, to, filter, only, order, limit, cursor } = query;
    if from.version > to.version || !to.position.covers(&from.position) {
        let message = "from has seen what to has not: send the earlier answer as from, the later one as to";
        return Err(Error::invalid("from", message));
    }
    cancel.check()?;
    let between = At::between(source.clone(), from.position.clone(), to.version, to.position.clone());
    let seen_until = source.received_until(&from.position)?;
    let make_counts = || Counts { seen_until, came: 0, late: 0 };
    let counts = scan(&between, filter, &Needs::new(Columns::TIMESTAMP), cancel, make_counts)?.0;

    let until = seen_until.unwrap_or(Timestamp::from_micros(i64::MIN));
    let listed = match only {
        Only::Came => filter.clone(),
        // What occurred before that moment, and that is a bound like any other.
        Only::Late => Filter { to: Some(filter.to.map_or(until, |to| to.min(until))), ..filter.clone() },
    };
    let page = EventsQuery { filter: listed, order: *order, limit: *limit, cursor: cursor.clone() };
    let rows =
        events_of(&between, &page, query.question(), cancel, |event| make(event, event.event.timestamp < until))?;
    let Counts { came, late, .. } = counts;
    let (from, to) = (from.named(), to.named());
    let summary = DiffSummary { from, to, seen_until, came, late, erased: None, expired: None, went: None };
    Ok(Diff { summary, rows })
}

impl DiffQuery {
    fn question(&self) -> Question {
        let at = |seen: &Seen| format!("{}:{}", seen.version, seen.position);
        let (from, to) = (at(&self.from), at(&self.to));
        let words = [&from, &to, self.only.as_str(), self.order.as_str()];
        self.filter.identify(words.into_iter().fold(Question::new("diff"), |all, word| all.text(Some(word))))
    }
}

/// How many came.
struct Counts {
    seen_until: Option<Timestamp>,
    came: u64,
    late: u64,
}

impl State for Counts {
    fn add(&mut self, part: &Part<'_>) -> Result<()> {
        let until = self.seen_until.map_or(i64::MIN, Timestamp::micros);
        for (time, _) in part.frame.timestamps().iter().zip(part.mask).filter(|(_, is_chosen)| **is_chosen) {
            self.came += 1;
            self.late += u64::from(*time < until);
        }
        Ok(())
    }

    fn merge(&mut self, other: Self) -> Result<()> {
        self.came += other.came;
        self.late += other.late;
        Ok(())
    }
}
