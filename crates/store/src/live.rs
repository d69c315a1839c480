//! Following stored events as they are applied, from a bounded backlog of the newest ones.
//!
//! A follower that falls behind the backlog is told so ([`Gap`]): what it missed is in the table, never silently gone.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use eye_event::Batch;
use eye_log::{Offset, PartitionId};
use tokio::sync::watch;

use crate::buffer::{AppliedRecord, event_at};
use crate::error::{Error, Kind, Result};
use crate::event::StoredEvent;
use crate::mask::Offsets;
use crate::position::Position;
use crate::store::Shared;

/// Events that a follower missed: those after `from` up to and including `to`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    /// What the follower had seen.
    pub from: Position,
    /// What it can be sent nothing of any more.
    pub to: Position,
}

/// One step of a follower.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LiveStep {
    /// What has been seen after this step: where the next one begins.
    pub position: Position,
    /// What could not be sent.
    pub gap: Option<Gap>,
}

/// Follows stored events as they are applied.
pub struct LiveTail {
    shared: Arc<Shared>,
    ticks: watch::Receiver<u64>,
}

impl LiveTail {
    pub(crate) fn new(shared: &Arc<Shared>) -> Self {
        Self { shared: Arc::clone(shared), ticks: shared.tick.subscribe() }
    }

    /// Waits until something past `after` is applied (at most `timeout`), then visits up to `max` events past it, in
    /// order within each partition.
    ///
    /// # Errors
    /// `Unavailable` if the store failed or closed.
    pub async fn next(
        &mut self,
        after: &Position,
        timeout: Duration,
        max: usize,
        visit: &mut (dyn FnMut(&StoredEvent<'_>) + Send),
    ) -> Result<LiveStep> {
        let ticks = &mut self.ticks;
        let shared = &self.shared;
        let moved = async {
            while after.covers(&shared.position()) && !shared.stopping.load(Ordering::Acquire) {
                if ticks.changed().await.is_err() {
                    break;
                }
            }
        };
        // Nothing new in time is no error: the caller sends a heartbeat.
        let _ = tokio::time::timeout(timeout, moved).await;
        shared.healthy()?;
        if shared.stopping.load(Ordering::Acquire) {
            return Err(Error::new(Kind::Unavailable, "the service is stopping"));
        }
        let mut left = max;
        let (mut seen, mut gone, mut is_gap) = (Vec::new(), Vec::new(), false);
        for partition in &shared.partitions {
            let taken = partition.backlog.lock().take(after.of(partition.id), left);
            left -= taken.len();
            is_gap |= taken.gone.is_some();
            gone.push(taken.gone.unwrap_or(after.of(partition.id)));
            seen.push(taken.seen);
            taken.visit(visit)?;
        }
        let gap = is_gap.then(|| Gap { from: after.clone(), to: Position::new(gone) });
        Ok(LiveStep { position: Position::new(seen), gap })
    }
}

/// The newest stored events of one partition.
#[derive(Debug)]
pub(crate) struct Backlog {
    partition: PartitionId,
    rows_max: usize,
    rows: VecDeque<(Batch, u32, Offset)>,
    /// Everything up to here is not in the backlog (any more).
    floor: Offset,
    applied: Offset,
}

/// Some events of a backlog, taken out of its lock.
pub(crate) struct Taken {
    partition: PartitionId,
    rows: Vec<(Batch, u32, Offset)>,
    /// Everything up to here was taken, or is not an event.
    pub(crate) seen: Offset,
    /// If set, events up to here were asked for and are gone.
    pub(crate) gone: Option<Offset>,
}

impl Backlog {
    pub(crate) fn new(partition: PartitionId, rows_max: usize, applied: Offset) -> Self {
        Self { partition, rows_max, rows: VecDeque::new(), floor: applied, applied }
    }

    pub(crate) fn extend(&mut self, records: &[AppliedRecord]) {
        for record in records {
            let rows = record.stored.iter().map(|row| (record.batch.clone(), row.position, row.offset));
            self.rows.extend(rows);
            self.applied = record.last;
        }
        while self.rows.len() > self.rows_max {
            if let Some((_, _, offset)) = self.rows.pop_front() {
                self.floor = offset;
            }
        }
    }

    /// Events that nobody may see any more.
    pub(crate) fn forget(&mut self, erased: &Offsets) {
        let partition = self.partition;
        self.rows.retain(|(_, _, offset)| !erased.contains(partition, *offset));
    }

    /// Up to `max` events past `after`.
    pub(crate) fn take(&self, after: Offset, max: usize) -> Taken {
        let gone = (after < self.floor).then_some(self.floor);
        let start = self.rows.partition_point(|(_, _, offset)| *offset <= after);
        let rows: Vec<_> = self.rows.range(start..).take(max).cloned().collect();
        let is_all = start + rows.len() == self.rows.len();
        let last = rows.last().map_or(after, |(_, _, offset)| *offset);
        let seen = if is_all { self.applied.max(after) } else { last };
        Taken { partition: self.partition, rows, seen, gone }
    }
}

impl Taken {
    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    pub(crate) fn visit(&self, visit: &mut (dyn FnMut(&StoredEvent<'_>) + Send)) -> Result<()> {
        for (batch, position, offset) in &self.rows {
            visit(&event_at(batch, *position, *offset, self.partition)?);
        }
        Ok(())
    }
}
