//! [`Tally`]: what many units leave: how many came how far, how fast, and where some of the others can be seen.

use std::collections::{BTreeMap, BTreeSet};

use ahash::AHashMap;
use eye_store::{Error as StoreError, Kind};

use crate::cancel::Cancel;
use crate::error::{Error, Result};
use crate::funnel::chain::{Finder, Rules};
use crate::funnel::matches::{BUCKETS, Kept, RowPlace, Units};
use crate::funnel::values::NO_VALUE;
use crate::funnel::{FunnelOrder, FunnelQuery, FunnelStepOut};
use crate::line::Line;
use crate::order::{Order, Rank};
use crate::share::share;
use crate::source::SourceSlice;
use crate::unit::By;

/// What units leave, step by step, as far as any of them came.
#[derive(Default)]
pub(super) struct Tally {
    steps: Vec<Step>,
}

#[derive(Default)]
struct Step {
    /// How many came here and no farther.
    ended: u64,
    /// Microseconds from the step before, of all that came here.
    times: Vec<i64>,
    /// Those that ended here latest, the latest first.
    latest: Vec<(Rank, RowPlace)>,
}

impl Tally {
    /// How many took the first step.
    pub(super) fn count(&self) -> u64 {
        self.steps.iter().map(|step| step.ended).sum()
    }

    /// Adds a unit by its counted chain.
    fn add(&mut self, events: &[Kept], chain: &[usize], place: RowPlace, samples: usize) {
        let Some(last) = chain.last() else { return };
        if self.steps.len() < chain.len() {
            self.steps.resize_with(chain.len(), Step::default);
        }
        for (step, pair) in self.steps.iter_mut().skip(1).zip(chain.windows(2)) {
            let [before, here] = [pair[0], pair[1]].map(|number| events[number].timestamp);
            step.times.push(here.saturating_sub(before));
        }
        let step = &mut self.steps[chain.len() - 1];
        step.ended += 1;
        step.offer(samples, Order::Newest.rank(events[*last].key()), place);
    }

    /// Adds another tally.
    pub(super) fn merge(&mut self, other: &Self, samples: usize) {
        if self.steps.len() < other.steps.len() {
            self.steps.resize_with(other.steps.len(), Step::default);
        }
        for (step, other) in self.steps.iter_mut().zip(&other.steps) {
            step.ended += other.ended;
            step.times.extend_from_slice(&other.times);
            other.latest.iter().for_each(|(rank, place)| step.offer(samples, *rank, *place));
        }
    }

    /// Its steps as the answer has them.
    pub(super) fn show(mut self, lines: &[Line], ids: &Ids) -> Vec<FunnelStepOut> {
        self.steps.resize_with(lines.len(), Step::default);
        let first = self.count();
        let (mut count, mut previous) = (first, None);
        let mut shown = Vec::with_capacity(lines.len());
        for (number, (line, step)) in lines.iter().zip(&mut self.steps).enumerate() {
            let is_last = number + 1 == lines.len();
            shown.push(FunnelStepOut {
                line: line.to_string(),
                count,
                of_first: share_of(count, first),
                of_previous: previous.and_then(|previous| share_of(count, previous)),
                median_ms: percentile(&mut step.times, 50),
                p90_ms: percentile(&mut step.times, 90),
                dropped: if is_last { 0 } else { step.ended },
                dropped_samples: if is_last { Vec::new() } else { step.ids(ids) },
            });
            previous = Some(count);
            count -= step.ended;
        }
        shown
    }
}

impl Step {
    /// Takes a unit that ended here, if it is one of the latest.
    fn offer(&mut self, samples: usize, rank: Rank, place: RowPlace) {
        if self.latest.len() >= samples && self.latest.last().is_none_or(|(worst, _)| rank > *worst) {
            return;
        }
        let at = self.latest.partition_point(|(known, _)| *known < rank);
        self.latest.insert(at, (rank, place));
        self.latest.truncate(samples);
    }

    fn ids(&self, ids: &Ids) -> Vec<String> {
        self.latest.iter().filter_map(|(_, place)| ids.get(place).cloned()).collect()
    }
}

#[expect(clippy::cast_precision_loss, reason = "a share, of numbers far below 2^53")]
fn share_of(count: u64, base: u64) -> Option<f64> {
    (base != 0).then(|| count as f64 / base as f64)
}

/// The smallest time that at least so many of a hundred do not exceed, in whole milliseconds. Puts the times in another
/// order.
fn percentile(times: &mut [i64], hundredths: usize) -> Option<i64> {
    let rank = (times.len() * hundredths).div_ceil(100).checked_sub(1)?;
    let (_, micros, _) = times.select_nth_unstable(rank);
    Some(*micros / 1_000)
}

/// Tallies of units by the number of their value at the first step.
pub(super) struct Tallies {
    rules: Rules,
    samples: usize,
    finder: Finder,
    /// By number.
    by_value: Vec<Tally>,
    /// Of units without a value.
    without: Tally,
}

impl Tallies {
    /// Nothing yet.
    pub(super) fn new(query: &FunnelQuery) -> Self {
        let rules = Rules {
            steps: query.steps.len(),
            window: query.window.map(|window| i64::try_from(window.as_micros()).unwrap_or(i64::MAX)),
            is_strict: query.order == FunnelOrder::Strict,
        };
        let (finder, without) = (Finder::default(), Tally::default());
        Self { rules, samples: query.samples, finder, by_value: Vec::new(), without }
    }

    /// Adds a unit with these events, which are in order.
    pub(super) fn add(&mut self, place: RowPlace, events: &[Kept]) {
        let chain = self.finder.find(self.rules, events);
        let Some(first) = chain.first() else { return };
        let tally = tally_of(&mut self.by_value, &mut self.without, events[*first].value);
        tally.add(events, chain, place, self.samples);
    }

    /// Adds other tallies, whose values have these numbers here.
    pub(super) fn merge(&mut self, other: &Self, number: impl Fn(u32) -> u32) {
        for (value, tally) in (0..).zip(&other.by_value) {
            tally_of(&mut self.by_value, &mut self.without, number(value)).merge(tally, self.samples);
        }
        self.without.merge(&other.without, self.samples);
    }

    /// A tally for each of so many values, by its number, and one behind them for no value.
    pub(super) fn finish(mut self, values: usize) -> Vec<Tally> {
        self.by_value.resize_with(values, Tally::default);
        self.by_value.push(self.without);
        self.by_value
    }
}

fn tally_of<'t>(by_value: &'t mut Vec<Tally>, without: &'t mut Tally, value: u32) -> &'t mut Tally {
    if value == NO_VALUE {
        return without;
    }
    let place = value as usize;
    if place >= by_value.len() {
        by_value.resize_with(place + 1, Tally::default);
    }
    &mut by_value[place]
}

/// Looks at every unit that was kept, on top of those that are done with: a tally for each value at the first step, by its
/// number, and one behind them for no value.
pub(super) fn tally(query: &FunnelQuery, units: &Units, mut tallies: Tallies, cancel: &Cancel) -> Result<Vec<Tally>> {
    let make = || Tallies::new(query);
    let others = share(BUCKETS, cancel, make, |tallies, bucket| {
        units.each(bucket, |place, events| tallies.add(place, events));
        Ok(())
    })?;
    others.iter().for_each(|other| tallies.merge(other, |value| value));
    Ok(tallies.finish(units.values.len()))
}

/// The ids of the units that an answer shows.
pub(super) type Ids = AHashMap<RowPlace, String>;

/// Reads the ids back from their rows.
pub(super) fn fetch_ids<'t, L: SourceSlice>(
    slices: &[L],
    by: By,
    tallies: impl Iterator<Item = &'t Tally>,
    cancel: &Cancel,
) -> Result<Ids> {
    let mut wanted: BTreeMap<u32, BTreeSet<u32>> = BTreeMap::new();
    for (_, (slice, row)) in tallies.flat_map(|tally| &tally.steps).flat_map(|step| &step.latest) {
        wanted.entry(*slice).or_default().insert(*row);
    }
    let mut ids = Ids::default();
    for (slice, rows) in wanted {
        cancel.check()?;
        let rows: Vec<u32> = rows.into_iter().collect();
        let mut texts = Vec::with_capacity(rows.len());
        if let Some(from) = slices.get(slice as usize) {
            from.fetch(&rows, by.column(), &mut |event| texts.extend(by.field().text(event).map(str::to_owned)))?;
        }
        if texts.len() != rows.len() {
            let detail = format!("{} ids came back where {} were asked for", texts.len(), rows.len());
            return Err(Error::Store(StoreError::new(Kind::Internal, detail)));
        }
        ids.extend(rows.into_iter().map(|row| (slice, row)).zip(texts));
    }
    Ok(ids)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_the_nearest_rank() {
        let of = |count: i64| {
            let mut times: Vec<i64> = (1..=count).rev().map(|number| number * 1_999).collect();
            [50, 90, 100].map(|part| percentile(&mut times, part))
        };
        assert_eq!(of(10), [Some(9), Some(17), Some(19)]);
        assert_eq!(of(3), [Some(3), Some(5), Some(5)]);
        assert_eq!(of(1), [Some(1), Some(1), Some(1)]);
        assert_eq!(of(0), [None, None, None]);
    }

    #[test]
    fn the_latest_few_are_kept_in_order() {
        let rank = |micros| {
            let timestamp = eye_event::Timestamp::from_micros(micros);
            let (partition, offset) = (eye_log::PartitionId(0), eye_log::Offset(0));
            Order::Newest.rank(eye_store::SortKey { timestamp, partition, offset })
        };
        for samples in 0..5 {
            let mut step = Step::default();
            [3, 1, 4, 2].iter().for_each(|micros| step.offer(samples, rank(i64::from(*micros)), (0, *micros)));
            let kept: Vec<u32> = step.latest.iter().map(|(_, (_, row))| *row).collect();
            assert_eq!(kept, [4, 3, 2, 1][..samples.min(4)]);
        }
    }
}
