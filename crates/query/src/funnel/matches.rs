//! [`Matches`]: the events that a funnel keeps of one pass, and [`Units`], the same by whom they belong to.
//!
//! Rows of a table's slice stand in session order, so the events of a session are one *run* of rows. What tells sessions
//! apart (16 bytes) is kept once a run; each event is 24 bytes of numbers. Runs lie in buckets by the first bits of their
//! key, so that all the runs of one unit are in one bucket, and buckets can be worked on at the same time.

use std::borrow::Cow;
use std::sync::atomic::{AtomicUsize, Ordering};

use eye_event::Timestamp;
use eye_log::{Offset, PartitionId};
use eye_store::{Columns, SortKey};

use crate::error::{Error, Result};
use crate::field::Field;
use crate::filter::Filter;
use crate::frame::Frame;
use crate::funnel::values::{FrameValues, NO_VALUE, Values};
use crate::funnel::{FunnelOrder, FunnelQuery};
use crate::mask::{Chooser, Mask};
use crate::scan::State;
use crate::unit::{Key, Keys};

/// So many bits of a key say its bucket.
const BUCKET_BITS: u32 = 8;
/// How many buckets there are.
pub(super) const BUCKETS: usize = 1 << BUCKET_BITS;

/// A set of steps, one bit each.
pub(super) type Steps = u16;

/// What every thread of the pass needs to know.
pub(super) struct Plan<'q> {
    query: &'q FunnelQuery,
    steps: Vec<Chooser<'q>>,
    columns: Columns,
    keys: Keys,
    /// How many events all threads keep together.
    kept: AtomicUsize,
}

impl<'q> Plan<'q> {
    /// `steps` are the steps as filters.
    pub(super) fn new(query: &'q FunnelQuery, steps: &'q [Filter]) -> Self {
        let breakdown = query.breakdown.as_ref().map_or(Columns::NONE, Field::column);
        let own = Columns::SORT_KEY | query.by.column() | breakdown;
        Self {
            query,
            steps: steps.iter().map(Chooser::new).collect(),
            columns: steps.iter().fold(own, |columns, step| columns | step.columns()),
            keys: Keys::new(),
            kept: AtomicUsize::new(0),
        }
    }

    /// The columns that the pass reads beyond those of the filter.
    pub(super) fn columns(&self) -> Columns {
        self.columns
    }

    /// Which steps each of the chosen rows matches.
    fn steps_of(&self, frame: &Frame, mask: &Mask) -> Vec<Steps> {
        let mut steps = vec![0; mask.len()];
        for (number, chooser) in self.steps.iter().enumerate() {
            let mut met = mask.clone();
            chooser.keep(frame, &mut met);
            for (steps, is_met) in steps.iter_mut().zip(met) {
                *steps |= Steps::from(is_met) << number;
            }
        }
        steps
    }

    /// Counts events that are kept.
    fn keep(&self, count: usize) -> Result<()> {
        // A place in a thread's events has 32 bits.
        let kept_max = self.query.matches_max.min(u32::MAX as usize / 2);
        if self.kept.fetch_add(count, Ordering::Relaxed) + count <= kept_max {
            return Ok(());
        }
        let what = match self.query.order {
            FunnelOrder::Ordered => "match a step",
            FunnelOrder::Strict => "are chosen",
        };
        let message = format!(
            "more than {kept_max} events {what}, which is more than one funnel may keep: \
             narrow the time range with from and to, or filter"
        );
        Err(Error::TooMuch { message })
    }
}

/// An event that is kept.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kept {
    pub(super) timestamp: i64,
    pub(super) offset: u64,
    /// The number of its value, if it matches the first step.
    pub(super) value: u32,
    pub(super) partition: u16,
    /// The steps that it matches; none only in a strict funnel.
    pub(super) steps: Steps,
}

impl Kept {
    /// Its place in the order of all events.
    pub(super) fn key(&self) -> SortKey {
        SortKey {
            timestamp: Timestamp::from_micros(self.timestamp),
            partition: PartitionId(self.partition),
            offset: Offset(self.offset),
        }
    }
}

/// Events of one unit that were found one after the other in one slice.
#[derive(Clone, Copy)]
pub(super) struct Run {
    pub(super) key: Key,
    /// A row that tells the unit's id.
    pub(super) slice: u32,
    pub(super) row: u32,
    /// Where its events are among those of its part.
    first: u32,
    count: u32,
}

/// What one thread keeps.
pub(super) struct Part {
    runs: Vec<Vec<Run>>,
    kept: Vec<Kept>,
    values: Values,
}

impl Part {
    fn new() -> Self {
        Self { runs: vec![Vec::new(); BUCKETS], kept: Vec::new(), values: Values::default() }
    }

    /// The runs of one bucket.
    pub(super) fn runs(&self, bucket: usize) -> &[Run] {
        self.runs.get(bucket).map_or(&[], |runs| runs)
    }

    /// The events of one of its runs.
    pub(super) fn events(&self, run: &Run) -> &[Kept] {
        let first = run.first as usize;
        self.kept.get(first..first + run.count as usize).unwrap_or_default()
    }

    /// Adds an event behind the last one; `is_same` if it belongs to the same run.
    fn push(&mut self, (slice, row): (u32, usize), key: Key, is_same: bool, event: Kept) {
        let number = |place: usize| u32::try_from(place).unwrap_or(u32::MAX);
        let first = number(self.kept.len());
        self.kept.push(event);
        let bucket = usize::try_from(key >> (Key::BITS - BUCKET_BITS)).unwrap_or_default();
        let Some(runs) = self.runs.get_mut(bucket) else { return };
        match runs.last_mut() {
            Some(run) if is_same => run.count += 1,
            _ => runs.push(Run { key, slice, row: number(row), first, count: 1 }),
        }
    }
}

/// What the pass has kept so far.
pub(super) struct Matches<'q> {
    plan: &'q Plan<'q>,
    mine: Part,
    others: Vec<Part>,
}

impl<'q> Matches<'q> {
    pub(super) fn new(plan: &'q Plan<'q>) -> Self {
        Self { plan, mine: Part::new(), others: Vec::new() }
    }

    /// Everything kept, with one numbering of values.
    ///
    /// # Errors
    /// `TooMuch`, if there are too many values.
    pub(super) fn finish(mut self) -> Result<Units> {
        let mut values = std::mem::take(&mut self.mine.values);
        let mine = (0..).take(values.len()).collect();
        let mut parts = vec![(self.mine, mine)];
        for part in self.others {
            let numbers = values.merge(&part.values)?;
            parts.push((part, numbers));
        }
        Ok(Units { parts, values })
    }
}

impl State for Matches<'_> {
    fn add(&mut self, frame: &Frame, mask: &Mask, slice: u32) -> Result<()> {
        let (plan, part) = (self.plan, &mut self.mine);
        let query = plan.query;
        let steps = plan.steps_of(frame, mask);
        let wanted = match query.order {
            FunnelOrder::Ordered => Cow::Owned(steps.iter().map(|steps| *steps != 0).collect()),
            // What matches no step still stands between two that do.
            FunnelOrder::Strict => Cow::Borrowed(mask),
        };
        let mut values = query.breakdown.as_ref().map(|field| FrameValues::new(field, frame));
        let (before, mut last) = (part.kept.len(), None);
        plan.keys.each(frame, query.by, &wanted, |row, key| {
            let (at, steps) = (frame.key(row), steps[row]);
            let value = match &mut values {
                Some(values) if steps & 1 != 0 => values.number(row, &mut part.values),
                _ => NO_VALUE,
            };
            let event =
                Kept { timestamp: at.timestamp.micros(), offset: at.offset.0, value, partition: at.partition.0, steps };
            part.push((slice, row), key, last == Some(key), event);
            last = Some(key);
        });
        part.values.check()?;
        plan.keep(part.kept.len() - before)
    }

    fn merge(&mut self, other: Self) -> Result<()> {
        self.others.push(other.mine);
        self.others.extend(other.others);
        Ok(())
    }
}

/// Everything that was kept, ready to be looked at unit by unit.
pub(super) struct Units {
    /// What each thread kept, and what its numbers of values are in [`Units::values`].
    parts: Vec<(Part, Vec<u32>)>,
    /// The values of the breakdown.
    pub(super) values: Values,
}

impl Units {
    /// Visits every unit of a bucket: a row that tells its id, and its events in order.
    pub(super) fn each(&self, bucket: usize, mut visit: impl FnMut((u32, u32), &[Kept])) {
        let of_part = |(part, numbers)| Part::runs(part, bucket).iter().map(move |run| (run, part, numbers));
        let mut runs: Vec<(&Run, &Part, &Vec<u32>)> =
            self.parts.iter().flat_map(|(part, numbers)| of_part((part, numbers))).collect();
        runs.sort_unstable_by_key(|(run, ..)| run.key);
        let mut events: Vec<Kept> = Vec::new();
        for unit in runs.chunk_by(|(one, ..), (next, ..)| one.key == next.key) {
            events.clear();
            for (run, part, numbers) in unit {
                let own = |value: u32| numbers.get(value as usize).copied().unwrap_or(NO_VALUE);
                events.extend(part.events(run).iter().map(|event| Kept { value: own(event.value), ..*event }));
            }
            // A slice of the table has the latest first: turned round, the events are nearly always in order.
            events.reverse();
            events.sort_unstable_by_key(Kept::key);
            if let Some((run, ..)) = unit.first() {
                visit((run.slice, run.row), &events);
            }
        }
    }
}
