//! [`Totals`]: what a pass over events leaves of each session: what the list is sorted by, and where its rows lie.
//!
//! Rows of a slice stand in session order, so events of a session are met in runs: the hash table is asked once a run. The
//! runs are kept as long as they are few, so that the rows of the sessions that are shown can be fetched afterwards.

use ahash::{AHashMap, AHashSet};
use eye_event::Problems;
use eye_store::Columns;

use super::SessionSort;
use crate::error::{Error, Result};
use crate::field::Field;
use crate::frame::{Frame, Texts};
use crate::names::Names;
use crate::scan::State;

/// How many runs are kept for each session that there may be.
const RUNS_A_SESSION: usize = 2;
/// How many pairs of a session and a name are told apart for each session that there may be.
pub(super) const NAMES_A_SESSION: usize = 4;

/// What one session is sorted by, so far: the earliest and the latest time, or a count as the latter.
#[derive(Clone, Copy, Debug)]
struct Tally {
    low: i64,
    high: i64,
}

impl Tally {
    const NONE: Self = Self { low: i64::MAX, high: i64::MIN };
}

/// Rows of a slice that hold chosen events of one session, perhaps among others.
#[derive(Clone, Copy, Debug)]
struct Run {
    session: u32,
    slice: u32,
    first: u32,
    last: u32,
}

/// All sessions so far.
pub(super) struct Totals {
    sort: SessionSort,
    sessions_max: usize,
    index: AHashMap<Box<str>, u32>,
    tallies: Vec<Tally>,
    names: DistinctNames,
    /// `None` once they were too many.
    runs: Option<Vec<Run>>,
}

impl Totals {
    /// Nothing yet; at most `sessions_max` sessions, and as many distinct names.
    pub(super) fn new(sort: SessionSort, sessions_max: usize) -> Self {
        Self {
            sort,
            sessions_max: sessions_max.min(u32::MAX as usize),
            index: AHashMap::new(),
            tallies: Vec::new(),
            names: DistinctNames::default(),
            runs: Some(Vec::new()),
        }
    }

    /// What a pass for this order reads.
    pub(super) fn columns(sort: SessionSort) -> Columns {
        let figure = match sort {
            SessionSort::End | SessionSort::Start | SessionSort::Duration => Columns::TIMESTAMP,
            SessionSort::Events => Columns::NONE,
            SessionSort::Names => Columns::NAME,
            SessionSort::Problems => Columns::PROBLEMS,
        };
        figure | Columns::SESSION_ID
    }

    /// Every session with what it is sorted by, in no particular order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, i64)> {
        self.index.iter().filter_map(|(session_id, number)| {
            let Tally { low, high } = *self.tallies.get(*number as usize)?;
            let value = match self.sort {
                SessionSort::Start => low,
                SessionSort::Duration => high.saturating_sub(low),
                SessionSort::End | SessionSort::Events | SessionSort::Names | SessionSort::Problems => high,
            };
            Some((&**session_id, value))
        })
    }

    /// The rows, by slice, among which are all chosen events of these sessions; `None` if that is no longer known.
    pub(super) fn rows_of<'a>(&self, shown: impl Iterator<Item = &'a str>) -> Option<Vec<(usize, Vec<u32>)>> {
        let runs = self.runs.as_ref()?;
        let mut is_shown = vec![false; self.tallies.len()];
        for number in shown.filter_map(|session_id| self.index.get(session_id)) {
            if let Some(is_shown) = is_shown.get_mut(*number as usize) {
                *is_shown = true;
            }
        }
        let mut rows: AHashMap<u32, Vec<u32>> = AHashMap::new();
        for run in runs.iter().filter(|run| is_shown.get(run.session as usize).is_some_and(|is_shown| *is_shown)) {
            rows.entry(run.slice).or_default().extend(run.first..=run.last);
        }
        let sorted = rows.into_iter().map(|(slice, mut rows)| {
            rows.sort_unstable();
            rows.dedup();
            (slice as usize, rows)
        });
        Some(sorted.collect())
    }

    /// The number of a session; a new one if it is new.
    fn session(&mut self, session_id: &str) -> u32 {
        if let Some(number) = self.index.get(session_id) {
            return *number;
        }
        let number = u32::try_from(self.tallies.len()).unwrap_or(u32::MAX);
        let is_counted = !matches!(self.sort, SessionSort::End | SessionSort::Start | SessionSort::Duration);
        self.tallies.push(if is_counted { Tally { low: 0, high: 0 } } else { Tally::NONE });
        self.index.insert(session_id.into(), number);
        number
    }

    fn keep_run(&mut self, run: Run) {
        let runs_max = self.sessions_max.saturating_mul(RUNS_A_SESSION);
        if let Some(runs) = &mut self.runs {
            runs.push(run);
            if runs.len() > runs_max {
                self.runs = None;
            }
        }
    }

    /// # Errors
    /// `TooMuch`, if a limit has been met.
    fn check(&self) -> Result<()> {
        let max = self.sessions_max;
        if self.tallies.len() > max || self.names.names.len() > max {
            return Err(too_much(max, "sessions"));
        }
        let pairs_max = max.saturating_mul(NAMES_A_SESSION);
        if self.names.pairs.len() > pairs_max {
            return Err(too_much(pairs_max, "names of sessions"));
        }
        Ok(())
    }
}

/// The error beyond a limit of a list of sessions.
pub(super) fn too_much(max: usize, what: &str) -> Error {
    let message = format!(
        "more than {max} {what} match, which is more than one answer may add up: \
         narrow the time range with from and to, or filter"
    );
    Error::TooMuch { message }
}

impl State for Totals {
    fn add(&mut self, frame: &Frame, mask: &[bool], slice: u32) -> Result<()> {
        let ids = frame.texts(&Field::SessionId);
        let (times, problems) = (frame.timestamps(), frame.problems());
        let mut names = NamesOf::new(frame.texts(&Field::Name));
        let mut rows = (0..mask.len()).filter(|row| mask[*row]).peekable();
        while let Some(first) = rows.next() {
            let session = self.session(ids.get(first).unwrap_or_default());
            let Some(mut tally) = self.tallies.get(session as usize).copied() else { continue };
            self.names.begin();
            let (mut last, mut next) = (first, Some(first));
            while let Some(row) = next {
                last = row;
                match self.sort {
                    SessionSort::End | SessionSort::Start | SessionSort::Duration => {
                        (tally.low, tally.high) = (tally.low.min(times[row]), tally.high.max(times[row]));
                    }
                    SessionSort::Events => tally.high += 1,
                    SessionSort::Problems => tally.high += i64::from(has_problem(problems, row)),
                    SessionSort::Names => {
                        let name = names.number(row, &mut self.names.names);
                        tally.high += i64::from(self.names.is_new(session, name));
                    }
                }
                next = rows.next_if(|row| ids.are_same(*row, first));
            }
            self.tallies[session as usize] = tally;
            let number = |row: usize| u32::try_from(row).unwrap_or(u32::MAX);
            self.keep_run(Run { session, slice, first: number(first), last: number(last) });
            self.check()?;
        }
        Ok(())
    }

    fn merge(&mut self, other: Self) -> Result<()> {
        let mut numbers = vec![0; other.tallies.len()];
        for (session_id, number) in &other.index {
            let session = self.session(session_id);
            numbers[*number as usize] = session;
            let (mine, theirs) = (&mut self.tallies[session as usize], other.tallies[*number as usize]);
            match self.sort {
                SessionSort::End | SessionSort::Start | SessionSort::Duration => {
                    (mine.low, mine.high) = (mine.low.min(theirs.low), mine.high.max(theirs.high));
                }
                SessionSort::Events | SessionSort::Problems => mine.high += theirs.high,
                // Names that both have seen count once.
                SessionSort::Names => {}
            }
            self.check()?;
        }
        for (session, name) in other.names.pairs {
            let name = self.names.names.number(other.names.names.text(name));
            let session = numbers[session as usize];
            if self.names.pairs.insert((session, name)) {
                self.tallies[session as usize].high += 1;
            }
            self.check()?;
        }
        match other.runs {
            None => self.runs = None,
            Some(runs) => {
                for run in runs {
                    self.keep_run(Run { session: numbers[run.session as usize], ..run });
                }
            }
        }
        Ok(())
    }
}

fn has_problem(problems: &[Problems], row: usize) -> bool {
    problems.get(row).is_some_and(|problems| !problems.is_empty())
}

/// Which names each session has had.
#[derive(Default)]
struct DistinctNames {
    names: Names,
    pairs: AHashSet<(u32, u32)>,
    /// The number of the run that is being read, and in which one each name was met last.
    run: u32,
    met: Vec<u32>,
}

impl DistinctNames {
    fn begin(&mut self) {
        if self.run == u32::MAX {
            self.met.fill(0);
            self.run = 0;
        }
        self.run += 1;
    }

    /// True if this session has not had this name. Within a run a name is looked up once.
    fn is_new(&mut self, session: u32, name: u32) -> bool {
        let place = name as usize;
        if place >= self.met.len() {
            self.met.resize(place + 1, 0);
        }
        if self.met[place] == self.run {
            return false;
        }
        self.met[place] = self.run;
        self.pairs.insert((session, name))
    }
}

/// The numbers of one frame's names. Of a column with few texts each is numbered once, when it first counts.
struct NamesOf<'f> {
    texts: &'f Texts,
    by_code: Vec<Option<u32>>,
}

impl<'f> NamesOf<'f> {
    fn new(texts: &'f Texts) -> Self {
        let codes = if let Texts::Coded(_, values) = texts { values.iter().len() } else { 0 };
        Self { texts, by_code: vec![None; codes] }
    }

    fn number(&mut self, row: usize, names: &mut Names) -> u32 {
        let code = match self.texts {
            Texts::Coded(codes, _) => usize::try_from(codes[row]).ok(),
            _ => None,
        };
        if let Some(number) = code.and_then(|code| *self.by_code.get(code)?) {
            return number;
        }
        let number = names.number(self.texts.get(row).unwrap_or_default());
        if let Some(known) = code.and_then(|code| self.by_code.get_mut(code)) {
            *known = Some(number);
        }
        number
    }
}

#[cfg(test)]
mod tests {
    use eye_event::{EventRef, Timestamp};
    use eye_log::{Offset, PartitionId};
    use eye_store::StoredEvent;

    use super::*;

    fn stored<'a>(session_id: &'a str, name: &'a str) -> StoredEvent<'a> {
        StoredEvent {
            application: "app",
            received_at: Timestamp::from_micros(0),
            partition: PartitionId(0),
            offset: Offset(0),
            event: EventRef {
                event_id: "id",
                session_id,
                category: "page",
                name,
                timestamp: Timestamp::from_micros(0),
                timestamp_raw: None,
                sent_at: None,
                user_id: None,
                anonymous_id: None,
                data: "{}",
                context: None,
                problems: Problems::NONE,
            },
        }
    }

    /// What a thread has seen of these sessions and names.
    fn seen(sort: SessionSort, events: &[(&str, &str)]) -> Totals {
        let frame = Frame::gather(Totals::columns(sort), |visit| {
            (0..).zip(events).for_each(|(row, (session_id, name))| visit(row, &stored(session_id, name)));
            Ok(())
        });
        let mut totals = Totals::new(sort, 100);
        totals.add(&frame.unwrap(), &vec![true; events.len()], 0).unwrap();
        totals
    }

    #[test]
    fn names_that_two_threads_have_seen_count_once_and_events_each_time() {
        let sorts = [(SessionSort::Names, [2, 3, 1]), (SessionSort::Events, [4, 4, 1])];
        for (sort, expected) in sorts {
            let mut all = seen(sort, &[("a", "view"), ("a", "buy"), ("a", "view"), ("b", "view")]);
            all.merge(seen(sort, &[("b", "view"), ("b", "add"), ("b", "buy"), ("c", "add"), ("a", "view")])).unwrap();
            let mut found: Vec<_> = all.iter().collect();
            found.sort_unstable();
            assert_eq!(found, [("a", expected[0]), ("b", expected[1]), ("c", expected[2])]);
        }
    }
}
