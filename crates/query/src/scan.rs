//! One pass over everything that a filter may choose, on as many threads as there are cores.
//!
//! The rule: the answer must not depend on which thread saw which slice, nor in what order. States are put together as
//! sets, sums of integers, or by the order of events; floating-point sums go through [`crate::exact::Sum`].
//!
//! Questions about sessions and people are told which of them stand in one run of rows only, as nearly all do: those can be
//! done with when they are met. That takes a look at the runs of all slices before the pass ([`Marks`]); slices whose runs
//! are not at hand, such as those of the hot buffer, are read then and there.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use eye_event::Timestamp;
use eye_store::{Columns, Runs};

use crate::calendar::{Calendar, Cutter};
use crate::cancel::Cancel;
use crate::error::{Error, Result};
use crate::filter::Filter;
use crate::frame::Frame;
use crate::mask::Chooser;
use crate::reads::Reads;
use crate::source::{Source, SourceSlice};
use crate::unit::{By, Key, UnitRun};

/// Two bits of each of so many keys are in a word.
const KEYS_A_WORD: usize = 32;
/// So many words at most: 16 MiB.
const WORDS_MAX: usize = 1 << 21;

/// The earliest and the latest timestamp of a slice, both inclusive.
pub(crate) type Times = (Timestamp, Timestamp);

/// What a pass leaves: made once a thread, fed slice by slice, then put together.
pub(crate) trait State: Send {
    /// Takes the chosen rows of one slice.
    ///
    /// # Errors
    /// `TooMuch`, if a limit is met.
    fn add(&mut self, part: &Part<'_>) -> Result<()>;

    /// Takes what another thread has seen.
    ///
    /// # Errors
    /// `TooMuch`, if a limit is met.
    fn merge(&mut self, other: Self) -> Result<()>;
}

/// What a pass needs of each slice, beyond what its filter reads.
pub(crate) struct Needs<'n> {
    reads: Reads,
    by: Option<By>,
    tells_alone: bool,
    times_where: &'n (dyn Fn(Times) -> bool + Sync),
}

impl<'n> Needs<'n> {
    pub(crate) fn new(reads: impl Into<Reads>) -> Self {
        Self { reads: reads.into(), by: None, tells_alone: false, times_where: &|_| false }
    }

    /// Whose the rows are.
    pub(crate) fn units(self, by: By) -> Self {
        Self { by: Some(by), ..self }
    }

    /// Whose the rows are, and who has no others.
    pub(crate) fn units_alone(self, by: By) -> Self {
        Self { by: Some(by), tells_alone: true, ..self }
    }

    /// The rows' times, of slices with such times.
    pub(crate) fn times_where(self, times_where: &'n (dyn Fn(Times) -> bool + Sync)) -> Self {
        Self { times_where, ..self }
    }
}

/// The rows of one slice.
pub(crate) struct Part<'p> {
    pub(crate) frame: &'p Frame,
    /// Which of them are chosen.
    pub(crate) mask: &'p [bool],
    /// The number of the slice.
    pub(crate) slice: u32,
    /// Between which times they lie.
    times: Times,
    runs: Option<&'p Runs>,
    marks: Option<&'p Marks>,
}

impl<'p> Part<'p> {
    /// The intervals of the rows.
    pub(crate) fn cut<'c>(&self, calendar: &'c Calendar) -> Cutter<'c>
    where
        'p: 'c,
    {
        Cutter::new(calendar, self.frame.timestamps(), self.times)
    }

    /// The rows, chosen or not, by whom they belong to: neighbours of one unit together. Nothing unless units are needed.
    pub(crate) fn runs(&self) -> impl Iterator<Item = UnitRun> {
        self.runs.into_iter().flat_map(Runs::iter).map(|(rows, key)| UnitRun { rows, key })
    }

    /// True if a unit has one run among all that may be chosen. False says nothing.
    pub(crate) fn is_alone(&self, key: Key) -> bool {
        self.marks.is_some_and(|marks| marks.is_alone(key))
    }
}

/// Feeds every slice that can match to a state.
pub(crate) fn scan<S, T>(
    source: &S,
    filter: &Filter,
    needs: &Needs<'_>,
    cancel: &Cancel,
    make: impl Fn() -> T,
) -> Result<(T, Vec<S::Slice>)>
where
    S: Source,
    S::Slice: Sync + Send,
    T: State,
{
    let slices = if filter.is_impossible() { Vec::new() } else { source.slices(filter.from(), filter.to())? };
    let held_bytes_max = source.question_runs_bytes_max();
    let pass = Pass { slices: &slices, filter, chooser: Chooser::new(filter), needs, held_bytes_max, cancel };
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(slices.len()).max(1);
    let states = (0..threads).map(|_| make()).collect();
    let states = match needs.by.filter(|_| needs.tells_alone) {
        Some(by) => pass.run_twice(states, by)?,
        None => pass.round(states, |state, number, slice| pass.feed(state, (number, slice), None, None).map(drop))?,
    };
    let mut all: Option<T> = None;
    for state in states {
        match &mut all {
            None => all = Some(state),
            Some(all) => all.merge(state)?,
        }
    }
    Ok((all.unwrap_or_else(make), slices))
}

struct Pass<'p, L> {
    slices: &'p [L],
    filter: &'p Filter,
    chooser: Chooser<'p>,
    needs: &'p Needs<'p>,
    /// Of the runs, between the look at them and the rows; the others are read again.
    held_bytes_max: usize,
    cancel: &'p Cancel,
}

/// What the first look has left of a slice.
enum Looked {
    /// Its runs are marked, and here unless they were too many to be held.
    Marked(Option<Arc<Runs>>),
    /// It was fed: nothing is left to do.
    Fed,
}

impl<L: SourceSlice + Sync> Pass<'_, L> {
    /// First the runs of all slices, then their rows.
    fn run_twice<T: State>(&self, states: Vec<T>, by: By) -> Result<Vec<T>> {
        let marks = Marks::new(self.slices.iter().map(L::rows).sum());
        let held = AtomicUsize::new(0);
        let looked: Vec<OnceLock<Looked>> = self.slices.iter().map(|_| OnceLock::new()).collect();
        let states = self.round(states, |state, number, slice| {
            let left = if let Some(runs) = slice.runs(by.column())? {
                runs.keys().iter().for_each(|key| marks.add(*key));
                let before = held.fetch_add(runs.bytes(), Ordering::Relaxed);
                let is_held = before.saturating_add(runs.bytes()) <= self.held_bytes_max;
                if !is_held {
                    held.fetch_sub(runs.bytes(), Ordering::Relaxed);
                }
                Looked::Marked(is_held.then_some(runs))
            } else {
                let runs = self.feed(state, (number, slice), None, None)?;
                runs.iter().flat_map(|runs| runs.keys()).for_each(|key| marks.add_to_several(*key));
                Looked::Fed
            };
            _ = looked[number].set(left);
            Ok(())
        })?;
        self.round(states, |state, number, slice| {
            let runs = match looked[number].get() {
                Some(Looked::Fed) => return Ok(()),
                Some(Looked::Marked(Some(runs))) => Some(Arc::clone(runs)),
                Some(Looked::Marked(None)) | None => None,
            };
            self.feed(state, (number, slice), runs, Some(&marks)).map(drop)
        })
    }

    /// Visits every slice that can match, each by one thread, which has one of the states.
    fn round<T: Send>(&self, states: Vec<T>, visit: impl Fn(&mut T, usize, &L) -> Result<()> + Sync) -> Result<Vec<T>> {
        let (next, failure) = (AtomicUsize::new(0), Mutex::new(None));
        let work = |mut state: T| {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                let Some(slice) = self.slices.get(number) else { return Some(state) };
                let visit = |state: &mut T| {
                    self.cancel.check()?;
                    if self.filter.slice_can_match(slice.timestamps()) { visit(state, number, slice) } else { Ok(()) }
                };
                if let Err(error) = visit(&mut state) {
                    // The others need not go on.
                    next.store(self.slices.len(), Ordering::Relaxed);
                    failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
                    return None;
                }
            }
        };
        let mut states = states.into_iter();
        let first = states.next();
        let done: Vec<_> = std::thread::scope(|scope| {
            let others: Vec<_> = states.map(|state| scope.spawn(|| work(state))).collect();
            let mine = first.and_then(work);
            std::iter::once(Ok(mine)).chain(others.into_iter().map(std::thread::ScopedJoinHandle::join)).collect()
        });
        if let Some(error) = failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
            return Err(error);
        }
        done.into_iter().filter_map(|state| state.map_err(|_| Error::Panicked).transpose()).collect()
    }

    /// Feeds the rows of one slice. Its runs, if they are needed and not given, are looked up.
    fn feed<T: State>(
        &self,
        state: &mut T,
        (number, slice): (usize, &L),
        runs: Option<Arc<Runs>>,
        marks: Option<&Marks>,
    ) -> Result<Option<Arc<Runs>>> {
        let times = slice.timestamps();
        let mut reads = self.needs.reads.clone() | self.filter.reads_within(times);
        if (self.needs.times_where)(times) {
            reads = reads | Columns::TIMESTAMP;
        }
        let mut runs = match (self.needs.by, runs) {
            (Some(by), None) => slice.runs(by.column())?,
            (_, runs) => runs,
        };
        let is_read_out = self.needs.by.filter(|_| runs.is_none());
        reads = is_read_out.into_iter().fold(reads, |reads, by| reads | by.column());
        // Runs are at hand only where no row is hidden.
        let frame = match runs.is_some() && reads == Reads::default() {
            true => Frame::of_rows(slice.rows()),
            false => slice.frame(&reads)?,
        };
        if let Some(by) = is_read_out {
            runs = Some(Arc::new(frame.runs(&by.field())));
        }
        let mask = self.chooser.choose(&frame, times);
        let slice = u32::try_from(number).unwrap_or(u32::MAX);
        state.add(&Part { frame: &frame, mask: &mask, slice, times, runs: runs.as_deref(), marks })?;
        Ok(runs)
    }
}

/// Who has been met once, and who perhaps several times: two bits at a place that the key tells. Different keys with the
/// same place count as met several times.
struct Marks(Vec<AtomicU64>);

impl Marks {
    /// For slices of so many rows: twice as many places as there are likely to be runs, or more.
    fn new(rows: usize) -> Self {
        let words = (rows / 2 / KEYS_A_WORD).next_power_of_two().min(WORDS_MAX);
        Self((0..words).map(|_| AtomicU64::new(0)).collect())
    }

    /// The word and the lower of the bits of a key.
    fn place(&self, key: Key) -> (&AtomicU64, u64) {
        #[expect(clippy::cast_possible_truncation, reason = "any bits of a hash will do")]
        let (word, pair) = ((key >> 8) as usize & (self.0.len() - 1), key as u32 % KEYS_A_WORD as u32);
        (&self.0[word], 1 << (2 * pair))
    }

    /// Marks a run.
    fn add(&self, key: Key) {
        let (word, once) = self.place(key);
        if word.fetch_or(once, Ordering::Relaxed) & once != 0 {
            word.fetch_or(once << 1, Ordering::Relaxed);
        }
    }

    /// Marks a run of somebody who counts as met several times.
    fn add_to_several(&self, key: Key) {
        let (word, once) = self.place(key);
        word.fetch_or(once | once << 1, Ordering::Relaxed);
    }

    /// True only if one run was marked with this key.
    fn is_alone(&self, key: Key) -> bool {
        let (word, once) = self.place(key);
        word.load(Ordering::Relaxed) & (once | once << 1) == once
    }
}

#[cfg(test)]
mod tests {
    use eye_store::id_key;

    use super::*;

    #[test]
    fn who_was_met_twice_is_never_alone() {
        for rows in [0, 10, 100_000] {
            let marks = Marks::new(rows);
            let keys: Vec<Key> = (0..1_000).map(|id| id_key(&format!("session-{id}"))).collect();
            keys.iter().for_each(|key| marks.add(*key));
            keys[..300].iter().for_each(|key| marks.add(*key));
            keys[300..500].iter().for_each(|key| marks.add_to_several(*key));
            assert!(!keys[..500].iter().any(|key| marks.is_alone(*key)));
            let alone = keys[500..].iter().filter(|key| marks.is_alone(**key)).count();
            assert!(rows < 100_000 || alone > 450, "{alone} of 500 are known to be alone");
        }
    }
}
