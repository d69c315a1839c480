//! One pass: of each event what it shows and its place in the order of all events.
//!
//! Events of one unit that stand together in a slice are a run. A unit that has but one is counted and forgotten; of the
//! others the runs are kept, and put together by their units.

use std::sync::atomic::{AtomicUsize, Ordering};

use eye_event::Timestamp;
use eye_log::{Offset, PartitionId};
use eye_store::SortKey;

use crate::error::{Error, Result};
use crate::mask::Demand;
use crate::paths::PathsQuery;
use crate::paths::count::{Counts, NO_STEP, count_unit};
use crate::paths::labels::{Label, Labels, Reader};
use crate::scan::{Part, State};
use crate::unit::Key;

/// Runs lie in so many buckets, by their units, so that each bucket can be put in order on its own.
const BUCKETS_BITS: u32 = 6;

/// A question that was found to be in order.
pub(super) struct Plan<'q> {
    pub(super) query: &'q PathsQuery,
    /// At which events paths begin.
    pub(super) anchor: Demand<'q>,
    /// How many events are kept, on all threads together.
    kept: AtomicUsize,
}

impl<'q> Plan<'q> {
    pub(super) fn new(query: &'q PathsQuery, anchor: Demand<'q>) -> Self {
        Self { query, anchor, kept: AtomicUsize::new(0) }
    }
}

/// What is kept of an event. The order is that of all events.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Step {
    timestamp: Timestamp,
    partition: PartitionId,
    offset: Offset,
    pub(super) label: Label,
    /// True if a path may begin at it.
    pub(super) is_anchor: bool,
}

/// Events of one unit that stand together in one block.
#[derive(Clone, Copy)]
pub(super) struct Run {
    pub(super) key: Key,
    block: u32,
    start: u32,
    count: u32,
}

/// The events of a question.
pub(super) struct Steps<'p> {
    pub(super) plan: &'p Plan<'p>,
    pub(super) labels: Labels,
    /// Those of each slice.
    blocks: Vec<Vec<Step>>,
    pub(super) buckets: Vec<Vec<Run>>,
    /// The paths of those who are done with.
    pub(super) counts: Counts,
}

impl<'p> Steps<'p> {
    pub(super) fn new(plan: &'p Plan<'p>) -> Self {
        let buckets = vec![Vec::new(); 1 << BUCKETS_BITS];
        Self { plan, labels: Labels::default(), blocks: Vec::new(), buckets, counts: Counts::new() }
    }

    /// The events of a run.
    pub(super) fn of(&self, run: &Run) -> &[Step] {
        &self.blocks[run.block as usize][run.start as usize..][..run.count as usize]
    }

    /// Keeps a run.
    fn push(&mut self, run: Run) {
        let bucket = usize::try_from(run.key >> (Key::BITS - BUCKETS_BITS)).unwrap_or_default();
        self.buckets[bucket].push(run);
    }
}

impl State for Steps<'_> {
    fn add(&mut self, part: &Part<'_>) -> Result<()> {
        let Part { frame, mask, .. } = part;
        let plan = self.plan;
        let anchors = plan.anchor.narrow(frame, mask);
        let mut reader = Reader::new(frame, &plan.query.step);
        let number = |place: usize| u32::try_from(place).unwrap_or(u32::MAX);
        let (mut steps, mut own) = (Vec::new(), Vec::new());
        let (block, mut runs) = (number(self.blocks.len()), Vec::new());
        for run in part.runs().filter(|run| !run.is_nobody()) {
            // A table's slice has the newest event of a session first.
            own.clear();
            own.extend(run.rows.rev().filter(|row| mask[*row]).map(|row| {
                let SortKey { timestamp, partition, offset } = frame.key(row);
                let label = reader.label(&mut self.labels, row);
                Step { timestamp, partition, offset, label, is_anchor: anchors[row] }
            }));
            if part.is_alone(run.key) {
                count_unit(plan.query, &mut own, &mut self.counts);
            } else if !own.is_empty() {
                runs.push(Run { key: run.key, block, start: number(steps.len()), count: number(own.len()) });
                steps.extend_from_slice(&own);
            }
        }
        let max = plan.query.events_max;
        if plan.kept.fetch_add(steps.len(), Ordering::Relaxed) + steps.len() > max {
            let message = format!(
                "more than {max} events of units with events in several places match: narrow the time range or filter further"
            );
            return Err(Error::TooMuch { message });
        }
        steps.shrink_to_fit();
        self.blocks.push(steps);
        runs.into_iter().for_each(|run| self.push(run));
        self.labels.checked()
    }

    fn merge(&mut self, other: Self) -> Result<()> {
        let moved = self.labels.merge(&other.labels);
        self.labels.checked()?;
        for (mut path, units) in other.counts {
            path.iter_mut().filter(|label| **label != NO_STEP).for_each(|label| *label = moved[*label as usize]);
            *self.counts.entry(path).or_default() += units;
        }
        let before = u32::try_from(self.blocks.len()).unwrap_or(u32::MAX);
        self.blocks.extend(other.blocks.into_iter().map(|mut block| {
            block.iter_mut().for_each(|step| step.label = moved[step.label as usize]);
            block
        }));
        for (bucket, runs) in self.buckets.iter_mut().zip(other.buckets) {
            bucket.extend(runs.into_iter().map(|run| Run { block: run.block + before, ..run }));
        }
        Ok(())
    }
}
