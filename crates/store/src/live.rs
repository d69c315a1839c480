//! Following stored events as they are applied, from a bounded backlog of the newest ones.
//!
//! A follower that falls behind the backlog is told so ([`Gap`]): what it missed is in the table, never silently gone.

use std::collections::VecDeque;

use eye_event::Batch;
use eye_log::{Offset, PartitionId};

use crate::buffer::{AppliedRecord, event_at};
use crate::error::Result;
use crate::event::StoredEvent;
use crate::position::Position;

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
