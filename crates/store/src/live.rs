//! Following stored events as they are applied, from a bounded backlog of the newest ones.
//!
//! A row of the backlog is a pointer into the log record it came in, and keeps the whole record in memory, the duplicates in
//! it too: so its bounds are rows, and bytes of records.
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

/// Bytes of log records that the backlog of one partition keeps in memory at most, beside the newest one.
const BYTES_MAX: usize = 16 * 1024 * 1024;

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
    /// Of the records that the rows lie in, each counted once. One record's rows stand together.
    bytes: usize,
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
        Self { partition, rows_max, rows: VecDeque::new(), bytes: 0, floor: applied, applied }
    }

    pub(crate) fn extend(&mut self, records: &[AppliedRecord]) {
        for record in records {
            let is_counted = self.rows.back().is_some_and(|(last, ..)| is_same(last, &record.batch));
            if !record.stored.is_empty() && !is_counted {
                self.bytes += record.batch.bytes().len();
            }
            let rows = record.stored.iter().map(|row| (record.batch.clone(), row.position, row.offset));
            self.rows.extend(rows);
            self.applied = record.last;
        }
        while self.is_too_large() {
            let Some((batch, _, offset)) = self.rows.pop_front() else { break };
            self.floor = offset;
            if !self.rows.front().is_some_and(|(next, _, _)| is_same(next, &batch)) {
                self.bytes -= batch.bytes().len();
            }
        }
    }

    /// Of the newest record all rows are kept that there may be, however large it is: whoever has kept up is sent them.
    fn is_too_large(&self) -> bool {
        let is_one = || match (self.rows.front(), self.rows.back()) {
            (Some((first, ..)), Some((last, ..))) => is_same(first, last),
            _ => true,
        };
        self.rows.len() > self.rows_max || self.bytes > BYTES_MAX && !is_one()
    }

    /// Events that nobody may see any more.
    pub(crate) fn forget(&mut self, erased: &Offsets) {
        let partition = self.partition;
        self.rows.retain(|(_, _, offset)| !erased.contains(partition, *offset));
        let mut last = None;
        self.bytes = 0;
        for (batch, ..) in &self.rows {
            if !last.replace(batch).is_some_and(|last| is_same(last, batch)) {
                self.bytes += batch.bytes().len();
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

/// True of two handles to one record.
fn is_same(one: &Batch, other: &Batch) -> bool {
    std::ptr::eq(one.bytes().as_ptr(), other.bytes().as_ptr())
}

#[cfg(test)]
mod tests {
    use eye_event::{BatchHeader, BatchWriter, EventRef, Problems, Timestamp};

    use super::*;
    use crate::buffer::NewRow;

    const P0: PartitionId = PartitionId(0);
    const NOW: Timestamp = Timestamp::from_micros(1_764_000_000_000_000);

    /// A record of two events of a payload of so many bytes, which begins at `first`, and of which so many are new.
    fn record(first: u64, bytes: usize, new: usize) -> AppliedRecord {
        let mut writer = BatchWriter::new(&BatchHeader { application: "web", token: "t", received_at: NOW }, 0);
        let data = "x".repeat(bytes);
        for event_id in ["a", "b"] {
            writer.push_event(&EventRef {
                event_id,
                session_id: "s",
                category: "c",
                name: "n",
                timestamp: NOW,
                timestamp_raw: None,
                sent_at: None,
                user_id: None,
                anonymous_id: None,
                data: &data,
                context: None,
                problems: Problems::NONE,
            });
        }
        let batch = Batch::parse(writer.finish()).unwrap();
        let places = (first..).zip(batch.entries().map(|entry| entry.unwrap().0)).take(new);
        let stored = places.map(|(offset, position)| NewRow {
            position,
            offset: Offset(offset),
            timestamp: NOW,
            session_hash: 0,
        });
        AppliedRecord { stored: stored.collect(), last: Offset(first + 1), rejected: Vec::new(), batch }
    }

    /// The backlog after these records, of two offsets each.
    fn after(records: &[AppliedRecord]) -> Backlog {
        let mut backlog = Backlog::new(P0, 1000, Offset::ZERO);
        for record in records {
            backlog.extend(std::slice::from_ref(record));
        }
        backlog
    }

    fn offsets(backlog: &Backlog) -> Vec<u64> {
        backlog.rows.iter().map(|(_, _, offset)| offset.0).collect()
    }

    #[test]
    fn records_go_from_the_backlog_when_they_take_too_much_whatever_is_new_in_them() {
        let large = BYTES_MAX / 6;
        for new in [1, 2] {
            let records: Vec<_> = (0..5).map(|number| record(number * 2 + 1, large, new)).collect();
            let backlog = after(&records);
            assert_eq!(backlog.bytes, 2 * records[0].batch.bytes().len(), "{new} new");
            let kept: Vec<u64> = [7, 9].into_iter().flat_map(|first| first..first + new as u64).collect();
            assert_eq!(offsets(&backlog), kept);
            let gone = Offset(4 + new as u64);
            assert_eq!(backlog.take(Offset(2), 100).gone, Some(gone), "whoever was behind is told");
            assert_eq!(backlog.take(gone, 100).gone, None);
        }
        let none = [record(1, large, 2), record(3, BYTES_MAX, 0)];
        assert_eq!(offsets(&after(&none)), [1, 2], "a record of duplicates takes nothing");
    }

    #[test]
    fn a_record_that_is_too_large_alone_is_sent_to_whoever_has_kept_up() {
        let backlog = after(&[record(1, 10, 2), record(3, BYTES_MAX, 2)]);
        assert_eq!((offsets(&backlog), backlog.take(Offset(2), 100).gone), (vec![3, 4], None));
        let backlog = after(&[record(1, BYTES_MAX, 2), record(3, 10, 2)]);
        assert_eq!((offsets(&backlog), backlog.floor), (vec![3, 4], Offset(2)));
    }

    #[test]
    fn what_is_forgotten_takes_no_room() {
        let records = [record(1, 100, 2), record(3, 1000, 2), record(5, 10, 1)];
        let bytes =
            |numbers: &[usize]| numbers.iter().map(|number| records[*number].batch.bytes().len()).sum::<usize>();
        for (erased, left) in [
            (vec![], vec![0, 1, 2]),
            (vec![2, 3], vec![0, 1, 2]),
            (vec![1, 2, 5], vec![1]),
            (vec![1, 2, 3, 4, 5], vec![]),
        ] {
            let mut offsets = Offsets::default();
            erased.iter().for_each(|offset| offsets.insert(P0, Offset(*offset)));
            let mut backlog = after(&records);
            backlog.forget(&offsets);
            assert_eq!(backlog.bytes, bytes(&left), "without {erased:?}");
            // What comes after it finds the books right.
            backlog.extend(&[record(7, BYTES_MAX, 2)]);
            backlog.extend(&[record(9, 1, 1)]);
            assert_eq!((self::offsets(&backlog), backlog.bytes), (vec![9], record(9, 1, 1).batch.bytes().len()));
        }
    }
}
