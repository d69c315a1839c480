//! [`Totals`]: what a pass over events leaves of each session: what the list is sorted by, and where its rows lie.
//!
//! Rows of a slice stand in session order, so events of a session are met in runs. Most sessions have but one, and need no
//! looking up. No ids are kept: who wants one reads it back from a row. The runs are kept as long as they are few, so that
//! the rows of the sessions that are shown can be fetched afterwards.

use std::collections::HashMap;

use ahash::{AHashMap, AHashSet};
use eye_event::Problems;
use eye_store::Columns;

use super::{Direction, SessionSort};
use crate::error::{Error, Result};
use crate::field::Field;
use crate::frame::Texts;
use crate::names::Names;
use crate::scan::{Part, State};
use crate::unit::{BuildKeyHasher, Key};

/// How many runs are kept for each session that there may be.
const RUNS_A_SESSION: usize = 2;
/// How many pairs of a session and a name are told apart for each session that there may be.
pub(super) const NAMES_A_SESSION: usize = 4;

/// The number of a session in the pass.
pub(super) type Number = u32;

/// What one session is sorted by, so far: the earliest and the latest time, or a count as the latter.
#[derive(Clone, Copy, Debug)]
struct Tally {
    low: i64,
    high: i64,
    /// A row of it: its slice, and its number there.
    row: (u32, u32),
}

/// Rows of a slice that hold chosen events of one session, perhaps among others of it.
#[derive(Clone, Copy, Debug)]
struct Run {
    session: Number,
    slice: u32,
    first: u32,
    last: u32,
}

/// All sessions so far.
pub(super) struct Totals {
    sort: SessionSort,
    sessions_max: usize,
    tallies: Vec<Tally>,
    /// The numbers of those that may have several runs.
    index: HashMap<Key, Number, BuildKeyHasher>,
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
            tallies: Vec::new(),
            index: HashMap::default(),
            names: DistinctNames::default(),
            runs: Some(Vec::new()),
        }
    }

    /// What a pass for this order reads, but for whose the rows are.
    pub(super) fn columns(sort: SessionSort) -> Columns {
        match sort {
            SessionSort::End | SessionSort::Start | SessionSort::Duration => Columns::TIMESTAMP,
            SessionSort::Events => Columns::NONE,
            SessionSort::Names => Columns::NAME,
            SessionSort::Problems => Columns::PROBLEMS,
        }
    }

    fn value(&self, tally: &Tally) -> i64 {
        match self.sort {
            SessionSort::Start => tally.low,
            SessionSort::Duration => tally.high.saturating_sub(tally.low),
            SessionSort::End | SessionSort::Events | SessionSort::Names | SessionSort::Problems => tally.high,
        }
    }

    /// The sessions, with what they are sorted by, among which are the first `count` of the list that are not before this
    /// value, whatever their ids are.
    pub(super) fn first(&self, direction: Direction, from: Option<i64>, count: usize) -> Vec<(Number, i64)> {
        // The smaller, the earlier in the list.
        let rank = |value: i64| if direction == Direction::Desc { !value } else { value };
        let values = (0..).zip(self.tallies.iter().map(|tally| self.value(tally)));
        let mut found: Vec<(Number, i64)> =
            values.filter(|(_, value)| from.is_none_or(|from| rank(*value) >= rank(from))).collect();
        // Those with the first value may all be before the page: they come on top.
        let mut behind: Vec<i64> =
            found.iter().filter(|(_, value)| Some(*value) != from).map(|(_, value)| rank(*value)).collect();
        if behind.len() > count {
            let (_, last, _) = behind.select_nth_unstable(count.saturating_sub(1));
            let last = *last;
            found.retain(|(_, value)| rank(*value) <= last);
        }
        found
    }

    /// A row of a session: its slice, and its number there.
    pub(super) fn row_of(&self, session: Number) -> (u32, u32) {
        self.tallies.get(session as usize).map_or((u32::MAX, 0), |tally| tally.row)
    }

    /// The rows, by slice, among which are all chosen events of these sessions; `None` if that is no longer known.
    pub(super) fn rows_of(&self, shown: impl Iterator<Item = Number>) -> Option<Vec<(usize, Vec<u32>)>> {
        let runs = self.runs.as_ref()?;
        let mut is_shown = vec![false; self.tallies.len()];
        for number in shown {
            if let Some(is_shown) = is_shown.get_mut(number as usize) {
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

    /// A new session, which has this row.
    fn add_session(&mut self, row: (u32, u32)) -> Number {
        let number = Number::try_from(self.tallies.len()).unwrap_or(Number::MAX);
        let is_counted = !matches!(self.sort, SessionSort::End | SessionSort::Start | SessionSort::Duration);
        let (low, high) = if is_counted { (0, 0) } else { (i64::MAX, i64::MIN) };
        self.tallies.push(Tally { low, high, row });
        number
    }

    /// The number of a session that may have been met before.
    fn session(&mut self, key: Key, row: (u32, u32)) -> Number {
        if let Some(number) = self.index.get(&key) {
            return *number;
        }
        let number = self.add_session(row);
        self.index.insert(key, number);
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
    fn add(&mut self, part: &Part<'_>) -> Result<()> {
        let Part { frame, mask, slice, .. } = *part;
        let (times, problems) = (frame.timestamps(), frame.problems());
        let mut names = NamesOf::new(frame.texts(&Field::Name));
        let number = |row: usize| u32::try_from(row).unwrap_or(u32::MAX);
        for run in part.runs() {
            let mut rows = run.rows.filter(|row| mask[*row]);
            let Some(first) = rows.next() else { continue };
            let row = (slice, number(first));
            let is_alone = part.is_alone(run.key);
            let session = if is_alone { self.add_session(row) } else { self.session(run.key, row) };
            let Some(mut tally) = self.tallies.get(session as usize).copied() else { continue };
            self.names.begin();
            let mut last = first;
            for row in std::iter::once(first).chain(rows) {
                last = row;
                match self.sort {
                    SessionSort::End | SessionSort::Start | SessionSort::Duration => {
                        (tally.low, tally.high) = (tally.low.min(times[row]), tally.high.max(times[row]));
                    }
                    SessionSort::Events => tally.high += 1,
                    SessionSort::Problems => tally.high += i64::from(has_problem(problems, row)),
                    SessionSort::Names => {
                        let name = names.number(row, &mut self.names.names);
                        let is_new =
                            self.names.is_new_in_run(name) && (is_alone || self.names.pairs.insert((session, name)));
                        tally.high += i64::from(is_new);
                    }
                }
            }
            self.tallies[session as usize] = tally;
            self.keep_run(Run { session, slice, first: number(first), last: number(last) });
            self.check()?;
        }
        Ok(())
    }

    fn merge(&mut self, other: Self) -> Result<()> {
        let mut numbers: Vec<Option<Number>> = vec![None; other.tallies.len()];
        for (key, number) in &other.index {
            let theirs = other.tallies[*number as usize];
            let session = self.session(*key, theirs.row);
            numbers[*number as usize] = Some(session);
            let mine = &mut self.tallies[session as usize];
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
        let numbers: Vec<Number> = numbers
            .into_iter()
            .zip(&other.tallies)
            .map(|(number, theirs)| {
                number.unwrap_or_else(|| {
                    let session = self.add_session(theirs.row);
                    self.tallies[session as usize] = *theirs;
                    session
                })
            })
            .collect();
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
        self.check()
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

    /// True if this run has not had this name.
    fn is_new_in_run(&mut self, name: u32) -> bool {
        let place = name as usize;
        if place >= self.met.len() {
            self.met.resize(place + 1, 0);
        }
        std::mem::replace(&mut self.met[place], self.run) != self.run
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
    use super::*;

    /// Sessions that are sorted by these numbers.
    fn totals(values: &[i64]) -> Totals {
        let mut totals = Totals::new(SessionSort::Events, 100);
        for (row, value) in (0..).zip(values) {
            let number = totals.add_session((0, row));
            totals.tallies[number as usize].high = *value;
        }
        totals
    }

    #[test]
    fn the_first_few_come_with_all_that_are_equal_to_the_last() {
        let totals = totals(&[5, 1, 3, 3, 9, 3]);
        let first = |direction, from, count| {
            let found = totals.first(direction, from, count);
            found.into_iter().map(|(number, _)| number).collect::<Vec<_>>()
        };
        assert_eq!(first(Direction::Desc, None, 1), [4]);
        assert_eq!(first(Direction::Desc, None, 2), [0, 4]);
        assert_eq!(first(Direction::Desc, None, 3), [0, 2, 3, 4, 5]);
        assert_eq!(first(Direction::Asc, None, 1), [1]);
        assert_eq!(first(Direction::Asc, None, 9), [0, 1, 2, 3, 4, 5]);
        assert_eq!(first(Direction::Desc, Some(5), 1), [0, 2, 3, 5], "which of the equals come first their ids say");
        assert_eq!(first(Direction::Desc, Some(3), 1), [1, 2, 3, 5]);
        assert_eq!(first(Direction::Asc, Some(9), 1), [4]);
        assert_eq!(first(Direction::Desc, Some(0), 1), [] as [Number; 0]);
    }
}
