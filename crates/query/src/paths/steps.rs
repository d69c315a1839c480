//! One pass: of each event what it shows and its place in the order of all events.
//!
//! Events of one unit that stand together in a slice are a run. Rows of a table's slice stand in session order, so there
//! are about as many runs as sessions, and only runs are sorted by their unit.

use std::sync::atomic::{AtomicUsize, Ordering};

use eye_event::Timestamp;
use eye_log::{Offset, PartitionId};
use eye_store::SortKey;

use crate::error::{Error, Result};
use crate::frame::Frame;
use crate::mask::Demand;
use crate::paths::PathsQuery;
use crate::paths::labels::{Label, Labels, Reader};
use crate::scan::State;
use crate::unit::{Key, Keys};

/// Runs lie in so many buckets, by their units, so that each bucket can be put in order on its own.
const BUCKETS_BITS: u32 = 6;

/// A question that was found to be in order.
pub(super) struct Plan<'q> {
    pub(super) query: &'q PathsQuery,
    /// At which events paths begin.
    pub(super) anchor: Demand<'q>,
    keys: Keys,
    /// How many events are kept, on all threads together.
    kept: AtomicUsize,
}

impl<'q> Plan<'q> {
    pub(super) fn new(query: &'q PathsQuery, anchor: Demand<'q>) -> Self {
        Self { query, anchor, keys: Keys::new(), kept: AtomicUsize::new(0) }
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
}

impl<'p> Steps<'p> {
    pub(super) fn new(plan: &'p Plan<'p>) -> Self {
        Self { plan, labels: Labels::default(), blocks: Vec::new(), buckets: vec![Vec::new(); 1 << BUCKETS_BITS] }
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
    fn add(&mut self, frame: &Frame, mask: &[bool], _slice: u32) -> Result<()> {
        let plan = self.plan;
        let anchors = plan.anchor.narrow(frame, mask);
        let mut reader = Reader::new(frame, &plan.query.step);
        let mut steps = Vec::with_capacity(mask.iter().filter(|is_chosen| **is_chosen).count());
        let block = u32::try_from(self.blocks.len()).unwrap_or(u32::MAX);
        let mut runs: Vec<Run> = Vec::new();
        plan.keys.each(frame, plan.query.by, mask, |row, key| {
            match runs.last_mut() {
                Some(run) if run.key == key => run.count += 1,
                _ => runs.push(Run { key, block, start: u32::try_from(steps.len()).unwrap_or(u32::MAX), count: 1 }),
            }
            let SortKey { timestamp, partition, offset } = frame.key(row);
            let label = reader.label(&mut self.labels, row);
            steps.push(Step { timestamp, partition, offset, label, is_anchor: anchors[row] });
        });
        let max = plan.query.events_max;
        if plan.kept.fetch_add(steps.len(), Ordering::Relaxed) + steps.len() > max {
            let message = format!("more than {max} events match: narrow the time range or filter further");
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
