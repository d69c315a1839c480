//! [`Cells`]: what was measured so far, one cell per series and interval.

use eye_store::id_key;

use crate::error::{Error, Result};
use crate::exact::Sum;
use crate::frame::{Frame, Place};
use crate::json;
use crate::unit::{Key, KeySet};

use super::Figure;
use super::measure::{Measure, Statistic};

/// Cells of one question.
const CELLS_MAX: usize = 10_000_000;
/// Numbers and keys kept for percentiles and distinct counts, in all cells: about 500 MB.
const KEPT_MAX: usize = 20_000_000;

/// Parts that the keys of several sets are cut into to be counted.
const BUCKETS: usize = 256;
/// Fewer keys are counted by one thread.
const KEYS_SHARED_MIN: usize = 50_000;

/// What was measured: the cell of a series and an interval is at `series × intervals + interval`.
pub(super) struct Cells {
    intervals: usize,
    cells: Kind,
    /// Numbers and keys kept.
    kept: usize,
    /// The place and key of the row before: rows of a session are neighbours.
    last: Option<(usize, Key)>,
}

enum Kind {
    Counts(Vec<u64>),
    Keys(Vec<Different>),
    Sums(Vec<(Sum, u64)>),
    Least(Vec<Option<f64>>),
    Most(Vec<Option<f64>>),
    Numbers(Vec<Vec<f64>>),
}

/// What is counted once.
#[derive(Default)]
struct Different {
    keys: KeySet,
    /// How many more there are, which are in no other cell.
    others: u64,
}

/// One frame's values of the measure, row by row.
pub(super) struct Seen<'f> {
    place: Option<Place<'f>>,
    /// The text before, and its key.
    last: Option<(&'f str, Key)>,
    /// The number of the text before, and its key.
    last_code: Option<(usize, Option<Key>)>,
    /// Of a column with numbers for texts the key or number of each, as far as they are known.
    by_code: Vec<Option<Value>>,
}

/// What counts of a row.
#[derive(Clone, Copy)]
enum Value {
    Key(Option<Key>),
    Number(Option<f64>),
}

impl<'f> Seen<'f> {
    pub(super) fn new(frame: &'f Frame, measure: &'f Measure) -> Self {
        let place = match measure {
            Measure::Events | Measure::Units(_) => None,
            Measure::Of(_, field) => Some(frame.place(field)),
        };
        let by_code = vec![None; place.map_or(0, |place| place.texts().codes())];
        Self { place, last: None, last_code: None, by_code }
    }

    /// The number of a row's text, if texts have numbers and keys are what is counted.
    #[inline]
    pub(super) fn code(&self, row: usize) -> Option<usize> {
        self.place?.texts().code(row)
    }

    fn key(&mut self, row: usize) -> Option<Key> {
        let place = self.place?;
        let code = place.texts().code(row);
        if let (Some(code), Some((last, key))) = (code, self.last_code)
            && code == last
        {
            return key;
        }
        let key = self.look_up(place, code, row);
        self.last_code = code.map(|code| (code, key));
        key
    }

    fn look_up(&mut self, place: Place<'f>, code: Option<usize>, row: usize) -> Option<Key> {
        if let Some(Some(Value::Key(known))) = code.and_then(|code| self.by_code.get(code)) {
            return *known;
        }
        let text = place.texts().get(row)?;
        if let Some((last, key)) = self.last
            && last == text
        {
            return Some(key);
        }
        let key = place.value(text).map(|value| id_key(&value));
        self.last = key.map(|key| (text, key));
        self.know(code, Value::Key(key));
        key
    }

    fn number(&mut self, row: usize) -> Option<f64> {
        let place = self.place?;
        let code = place.texts().code(row);
        if let Some(Some(Value::Number(known))) = code.and_then(|code| self.by_code.get(code)) {
            return *known;
        }
        let number = json::number(place.json(place.texts().get(row)?)?);
        self.know(code, Value::Number(number));
        number
    }

    fn know(&mut self, code: Option<usize>, value: Value) {
        if let Some(known) = code.and_then(|code| self.by_code.get_mut(code)) {
            *known = Some(value);
        }
    }
}

impl Cells {
    pub(super) fn new(measure: &Measure, intervals: usize) -> Self {
        let cells = match measure {
            Measure::Events => Kind::Counts(Vec::new()),
            Measure::Units(_) | Measure::Of(Statistic::Distinct, _) => Kind::Keys(Vec::new()),
            Measure::Of(Statistic::Sum | Statistic::Avg, _) => Kind::Sums(Vec::new()),
            Measure::Of(Statistic::Min, _) => Kind::Least(Vec::new()),
            Measure::Of(Statistic::Max, _) => Kind::Most(Vec::new()),
            Measure::Of(Statistic::Percentile(_), _) => Kind::Numbers(Vec::new()),
        };
        Self { intervals, cells, kept: 0, last: None }
    }

    /// The counts of all cells, if events are counted.
    pub(super) fn counts(&mut self) -> Option<&mut Vec<u64>> {
        if let Kind::Counts(counts) = &mut self.cells { Some(counts) } else { None }
    }

    /// True if what is measured is how many keys there are.
    pub(super) fn are_keys(&self) -> bool {
        matches!(self.cells, Kind::Keys(_))
    }

    /// Adds one row to a cell; false if it has no value.
    ///
    /// # Errors
    /// `TooMuch` beyond [`CELLS_MAX`].
    #[inline]
    pub(super) fn add(&mut self, series: usize, interval: usize, row: usize, seen: &mut Seen<'_>) -> Result<bool> {
        let place = series * self.intervals + interval;
        if let Kind::Counts(counts) = &mut self.cells {
            *cell(counts, place, self.intervals)? += 1;
            return Ok(true);
        }
        if let Kind::Keys(sets) = &mut self.cells {
            let Some(key) = seen.key(row) else { return Ok(false) };
            if self.last == Some((place, key)) {
                return Ok(true);
            }
            self.last = Some((place, key));
            self.kept += usize::from(cell(sets, place, self.intervals)?.keys.insert(key));
            return Ok(true);
        }
        let Some(number) = seen.number(row) else { return Ok(false) };
        match &mut self.cells {
            Kind::Counts(_) | Kind::Keys(_) => {}
            Kind::Sums(sums) => {
                let (sum, count) = cell(sums, place, self.intervals)?;
                sum.add(number);
                *count += 1;
            }
            Kind::Least(numbers) => extreme(cell(numbers, place, self.intervals)?, number, f64::min),
            Kind::Most(numbers) => extreme(cell(numbers, place, self.intervals)?, number, f64::max),
            Kind::Numbers(numbers) => {
                cell(numbers, place, self.intervals)?.push(number);
                self.kept += 1;
            }
        }
        Ok(true)
    }

    /// Adds a unit to a cell; `is_alone` if nothing else of it will be added to any.
    ///
    /// # Errors
    /// `TooMuch` beyond [`CELLS_MAX`].
    #[inline]
    pub(super) fn add_unit(&mut self, (series, interval): (usize, usize), key: Key, is_alone: bool) -> Result<()> {
        let Kind::Keys(sets) = &mut self.cells else { return Ok(()) };
        let cell = cell(sets, series * self.intervals + interval, self.intervals)?;
        match is_alone {
            true => cell.others += 1,
            false => self.kept += usize::from(cell.keys.insert(key)),
        }
        Ok(())
    }

    /// # Errors
    /// `TooMuch` beyond [`KEPT_MAX`].
    pub(super) fn checked(&self) -> Result<()> {
        if self.kept > KEPT_MAX {
            let message =
                format!("more than {KEPT_MAX} different values are counted at once: narrow the range or the query");
            return Err(Error::TooMuch { message });
        }
        Ok(())
    }

    /// Takes what another pass has measured; `places` says where its series are here.
    ///
    /// # Errors
    /// `TooMuch` beyond [`CELLS_MAX`].
    pub(super) fn merge(&mut self, other: Self, places: &[usize]) -> Result<()> {
        let intervals = self.intervals;
        self.kept += other.kept;
        match (&mut self.cells, other.cells) {
            (Kind::Counts(mine), Kind::Counts(theirs)) => {
                merge(mine, theirs, places, intervals, |mine, theirs| *mine += theirs)?;
            }
            (Kind::Keys(mine), Kind::Keys(theirs)) => {
                let mut twice = 0;
                merge(mine, theirs, places, intervals, |mine, Different { keys: theirs, others }| {
                    mine.others += others;
                    let mine = &mut mine.keys;
                    let (one, other) = if mine.len() < theirs.len() {
                        (theirs, std::mem::take(mine))
                    } else {
                        (std::mem::take(mine), theirs)
                    };
                    *mine = one;
                    // Both tables order their keys alike: without room for all, the first ones would crowd its beginning.
                    mine.reserve(other.len());
                    for key in other {
                        twice += usize::from(!mine.insert(key));
                    }
                })?;
                self.kept -= twice.min(self.kept);
            }
            (Kind::Sums(mine), Kind::Sums(theirs)) => merge(mine, theirs, places, intervals, |mine, theirs| {
                mine.0.merge(&theirs.0);
                mine.1 += theirs.1;
            })?,
            (Kind::Least(mine), Kind::Least(theirs)) => merge(mine, theirs, places, intervals, |mine, theirs| {
                theirs.into_iter().for_each(|number| extreme(mine, number, f64::min));
            })?,
            (Kind::Most(mine), Kind::Most(theirs)) => merge(mine, theirs, places, intervals, |mine, theirs| {
                theirs.into_iter().for_each(|number| extreme(mine, number, f64::max));
            })?,
            (Kind::Numbers(mine), Kind::Numbers(theirs)) => {
                merge(mine, theirs, places, intervals, |mine, theirs| mine.extend(theirs))?;
            }
            // Both are of one measure.
            _ => {}
        }
        Ok(())
    }

    /// The measure of each of so many series over the whole range.
    pub(super) fn totals(&self, measure: &Measure, series: usize) -> Vec<Figure> {
        (0..series).map(|one| self.figure(measure, &[one], 0..self.intervals)).collect()
    }

    /// The measure of these series together, over the whole range and in each interval.
    pub(super) fn figures(&self, measure: &Measure, series: &[usize]) -> (Figure, Vec<Figure>) {
        let values = (0..self.intervals).map(|interval| self.figure(measure, series, interval..interval + 1)).collect();
        (self.figure(measure, series, 0..self.intervals), values)
    }

    fn figure(&self, measure: &Measure, series: &[usize], intervals: std::ops::Range<usize>) -> Figure {
        let places = series.iter().flat_map(|series| {
            let first = series * self.intervals;
            first + intervals.start..first + intervals.end
        });
        match &self.cells {
            Kind::Counts(counts) => Figure::Count(places.filter_map(|place| counts.get(place)).sum()),
            Kind::Keys(sets) => count_keys(places.filter_map(|place| sets.get(place))),
            Kind::Sums(sums) => {
                let (mut sum, mut count) = (Sum::default(), 0);
                for (part, number) in places.filter_map(|place| sums.get(place)) {
                    sum.merge(part);
                    count += number;
                }
                sum_figure(measure, &sum, count)
            }
            Kind::Least(numbers) => real(places.filter_map(|place| *numbers.get(place)?).reduce(f64::min)),
            Kind::Most(numbers) => real(places.filter_map(|place| *numbers.get(place)?).reduce(f64::max)),
            Kind::Numbers(numbers) => {
                let mut all: Vec<f64> = places.filter_map(|place| numbers.get(place)).flatten().copied().collect();
                let Measure::Of(Statistic::Percentile(percent), _) = measure else { return Figure::Nothing(()) };
                real(nearest_rank(&mut all, *percent))
            }
        }
    }
}

impl Figure {
    /// What series are ordered by.
    pub(super) fn order(self) -> f64 {
        match self {
            #[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^53")]
            Self::Count(count) => count as f64,
            Self::Real(number) => number,
            Self::Nothing(()) => f64::NEG_INFINITY,
        }
    }
}

fn real(number: Option<f64>) -> Figure {
    // Zero has one sign in an answer.
    number.map_or(Figure::Nothing(()), |number| Figure::Real(number + 0.0))
}

fn sum_figure(measure: &Measure, sum: &Sum, count: u64) -> Figure {
    match measure {
        Measure::Of(Statistic::Avg, _) => real((count > 0).then(|| sum.mean(count))),
        _ => real(Some(sum.value())),
    }
}

/// How many different keys are in all the sets.
fn count_keys<'a>(cells: impl Iterator<Item = &'a Different>) -> Figure {
    let (mut sets, mut others) = (Vec::new(), 0);
    for cell in cells {
        others += cell.others;
        sets.extend((!cell.keys.is_empty()).then_some(&cell.keys));
    }
    if let [] | [_] = &sets[..] {
        return Figure::Count(others + sets.first().map_or(0, |set| set.len() as u64));
    }
    // By their first bits, as one table of all keys would not fit into the processor's cache.
    let keys: usize = sets.iter().map(|set| set.len()).sum();
    let room = keys / BUCKETS + keys / BUCKETS / 4;
    let mut buckets: Vec<Vec<Key>> = (0..BUCKETS).map(|_| Vec::with_capacity(room)).collect();
    for key in sets.into_iter().flatten() {
        buckets[(key >> (Key::BITS - BUCKETS.ilog2())) as usize].push(*key);
    }
    let different = |bucket: &mut Vec<Key>| {
        bucket.sort_unstable();
        bucket.chunk_by(|one, other| one == other).count() as u64
    };
    let count = |part: &mut [Vec<Key>]| part.iter_mut().map(different).sum::<u64>();
    let threads = if keys < KEYS_SHARED_MIN { 1 } else { std::thread::available_parallelism().map_or(1, usize::from) };
    let mut parts = buckets.chunks_mut(BUCKETS.div_ceil(threads));
    let mine = parts.next();
    let count = std::thread::scope(|scope| {
        let others: Vec<_> = parts.map(|part| scope.spawn(move || count(part))).collect();
        let mine = mine.map_or(0, count);
        let joined = |thread: std::thread::ScopedJoinHandle<'_, u64>| {
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        mine + others.into_iter().map(joined).sum::<u64>()
    });
    Figure::Count(others + count)
}

/// The nearest-rank percentile.
fn nearest_rank(numbers: &mut [f64], percent: u8) -> Option<f64> {
    let rank = (numbers.len() * usize::from(percent)).div_ceil(100).max(1);
    if numbers.is_empty() {
        return None;
    }
    let (_, number, _) = numbers.select_nth_unstable_by(rank - 1, f64::total_cmp);
    Some(*number)
}

fn extreme(cell: &mut Option<f64>, number: f64, choose: impl Fn(f64, f64) -> f64) {
    *cell = Some(cell.map_or(number, |known| choose(known, number)));
}

/// The cell at a place; whole series are added where there is none yet.
#[inline]
fn cell<T: Default>(cells: &mut Vec<T>, place: usize, intervals: usize) -> Result<&mut T> {
    if place >= cells.len() {
        make_room(cells, place / intervals, intervals)?;
    }
    Ok(&mut cells[place])
}

/// Adds cells up to those of this series, unless they are too many: then it takes no memory.
///
/// # Errors
/// `TooMuch` beyond [`CELLS_MAX`].
pub(super) fn make_room<T: Default>(cells: &mut Vec<T>, series: usize, intervals: usize) -> Result<()> {
    let length = (series + 1) * intervals;
    if length > CELLS_MAX {
        let message = format!("the answer has more than {CELLS_MAX} values: take longer intervals, or fewer series");
        return Err(Error::TooMuch { message });
    }
    if length > cells.len() {
        cells.resize_with(length, T::default);
    }
    Ok(())
}

fn merge<T: Default>(
    mine: &mut Vec<T>,
    theirs: Vec<T>,
    places: &[usize],
    intervals: usize,
    mut add: impl FnMut(&mut T, T),
) -> Result<()> {
    for (place, value) in theirs.into_iter().enumerate() {
        if let Some(series) = places.get(place / intervals) {
            add(cell(mine, series * intervals + place % intervals, intervals)?, value);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_several_sets_are_counted_once() {
        let key = |number: u128| number.wrapping_mul(0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835);
        let set = |keys: std::ops::Range<u128>| Different { keys: keys.map(key).collect(), others: 2 };
        for count in [0, 1, 50, KEYS_SHARED_MIN as u128] {
            let sets = [set(0..count), set(count / 2..count + 10), set(0..1)];
            let different = count.max(1) as u64 + if count == 0 { 9 } else { 10 };
            assert_eq!(count_keys(sets.iter()), Figure::Count(different + 6));
        }
        assert_eq!(count_keys([set(0..7)].iter()), Figure::Count(7 + 2));
        assert_eq!(count_keys(std::iter::empty()), Figure::Count(0));
    }

    #[test]
    fn more_cells_than_the_limit_are_refused_before_they_take_memory() {
        let refused = |result: Result<()>| assert!(matches!(result, Err(Error::TooMuch { .. })), "{result:?}");
        let intervals = 10_000;
        let mut counts: Vec<u64> = Vec::new();
        refused(cell(&mut counts, CELLS_MAX, intervals).map(|_| ()));
        refused(make_room(&mut counts, CELLS_MAX / intervals, intervals));
        assert_eq!(counts.capacity(), 0);
        make_room(&mut counts, CELLS_MAX / intervals - 1, intervals).unwrap();
        assert_eq!(counts.len(), CELLS_MAX);
        refused(cell(&mut counts, CELLS_MAX, intervals).map(|_| ()));
        let places = [CELLS_MAX / intervals];
        refused(merge(&mut counts, vec![7; intervals], &places, intervals, |mine, theirs| *mine += theirs));
        assert_eq!((counts.len(), counts.iter().sum::<u64>()), (CELLS_MAX, 0));

        let mut units = Cells::new(&"sessions".parse().unwrap(), intervals);
        refused((0..2_000).try_for_each(|series| units.add_unit((1_000 + series, 1), 7, false)));
        assert!(matches!(&units.cells, Kind::Keys(sets) if sets.capacity() == 0));
        assert_eq!(units.kept, 0);
    }

    #[test]
    fn percentiles_are_of_the_nearest_rank() {
        let mut numbers = [15.0, 20.0, 35.0, 40.0, 50.0];
        let mut at = |percent| nearest_rank(&mut numbers, percent);
        assert_eq!(
            [at(5), at(30), at(40), at(50), at(100)],
            [Some(15.0), Some(20.0), Some(20.0), Some(35.0), Some(50.0)]
        );
        assert_eq!(nearest_rank(&mut [], 50), None);
    }
}
