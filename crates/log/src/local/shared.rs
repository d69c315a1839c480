//! What the writer and the readers of a log share.
//!
//! The rule is the order of [`Shared::publish`]: bytes, index and recent records first, the end last, so that whoever
//! sees an end finds everything below it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Condvar, Mutex, RwLock};

use super::format::record_bytes;
use super::queue::Queue;
use super::segment::Segment;
use crate::error::{Error, ErrorKind, Result};
use crate::record::{Offset, Record};

pub(super) struct Shared {
    pub(super) queue: Queue,
    /// In order; the last one is being written.
    pub(super) segments: RwLock<Vec<Arc<Segment>>>,
    pub(super) recent: Mutex<Recent>,
    moved: Condvar,
    start: AtomicU64,
    end: AtomicU64,
}

impl Shared {
    pub(super) fn new(queue: Queue, segments: Vec<Arc<Segment>>, end: Offset, recent_bytes_max: usize) -> Self {
        let start = segments.first().map_or(end, |segment| segment.first);
        Self {
            queue,
            segments: RwLock::new(segments),
            recent: Mutex::new(Recent {
                records: VecDeque::new(),
                bytes: 0,
                bytes_max: recent_bytes_max,
                stopped: None,
            }),
            moved: Condvar::new(),
            start: AtomicU64::new(start.0),
            end: AtomicU64::new(end.0),
        }
    }

    pub(super) fn start(&self) -> Offset {
        Offset(self.start.load(Ordering::Acquire))
    }

    pub(super) fn set_start(&self, start: Offset) {
        self.start.store(start.0, Ordering::Release);
    }

    pub(super) fn end(&self) -> Offset {
        Offset(self.end.load(Ordering::Acquire))
    }

    /// Lets readers see these durable records, whose group begins at `position`, and everything before `end`.
    pub(super) fn publish(&self, segment: &Segment, position: u64, bytes: u64, records: Vec<Record>, end: Offset) {
        segment.publish(position, &records, bytes);
        let dropped = {
            let mut recent = self.recent.lock();
            let dropped = recent.extend(records);
            self.end.store(end.0, Ordering::Release);
            dropped
        };
        self.moved.notify_all();
        // Freed here, with no lock held.
        drop(dropped);
    }

    pub(super) fn wait_past(&self, offset: Offset, timeout: Duration) -> Result<Offset> {
        if self.end() > offset {
            return Ok(self.end());
        }
        let mut recent = self.recent.lock();
        let waits = |recent: &mut Recent| self.end() <= offset && recent.stopped.is_none();
        self.moved.wait_while_for(&mut recent, waits, timeout);
        match &recent.stopped {
            Some(reason) if self.end() <= offset => Err(reason.clone()),
            _ => Ok(self.end()),
        }
    }

    /// Nothing more will come: wakes whoever waits.
    pub(super) fn stop(&self, reason: Error) {
        self.queue.refuse(reason.clone());
        let mut recent = self.recent.lock();
        if recent.stopped.as_ref().is_none_or(|old| *old.kind() == ErrorKind::Closed) {
            recent.stopped = Some(reason);
        }
        drop(recent);
        self.moved.notify_all();
    }

    /// The error that poisoned the log, if one did.
    pub(super) fn health(&self) -> Result<()> {
        match &self.recent.lock().stopped {
            Some(reason) if *reason.kind() != ErrorKind::Closed => Err(reason.clone()),
            _ => Ok(()),
        }
    }
}

/// The newest durable records, so that readers who keep up never touch the disk.
pub(super) struct Recent {
    records: VecDeque<Record>,
    bytes: usize,
    bytes_max: usize,
    /// Why nothing more will come.
    stopped: Option<Error>,
}

impl Recent {
    /// Adds records, gives back those that have no place any more.
    fn extend(&mut self, records: Vec<Record>) -> Vec<Record> {
        for record in records {
            self.bytes += record_bytes(record.payload.len());
            self.records.push_back(record);
        }
        let mut dropped = Vec::new();
        while self.bytes > self.bytes_max {
            let Some(record) = self.records.pop_front() else { break };
            self.bytes -= record_bytes(record.payload.len());
            dropped.push(record);
        }
        dropped
    }

    /// The records from the one that holds `from`, up to about `bytes_max`; `None` if that one is not here.
    pub(super) fn read(&self, from: Offset, bytes_max: usize) -> Option<Vec<Record>> {
        if self.records.front()?.offset > from {
            return None;
        }
        let first = self.records.partition_point(|record| record.next() <= from);
        let mut bytes = 0;
        let mut found = Vec::new();
        for record in self.records.range(first..) {
            bytes += record_bytes(record.payload.len());
            if bytes > bytes_max && !found.is_empty() {
                break;
            }
            found.push(record.clone());
        }
        Some(found)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    /// Ten bytes of payload and two offsets each.
    fn record(offset: u64) -> Record {
        Record { offset: Offset(offset), count: 2, payload: Bytes::from(vec![offset as u8; 10]) }
    }

    fn recent(bytes_max: usize) -> Recent {
        Recent { records: VecDeque::new(), bytes: 0, bytes_max, stopped: None }
    }

    #[test]
    fn the_newest_records_stay_up_to_the_bound_and_the_others_are_given_back() {
        let mut recent = recent(3 * record_bytes(10));
        assert_eq!(recent.extend(vec![record(1), record(3), record(5)]), []);
        assert_eq!(recent.extend(vec![record(7), record(9)]), [record(1), record(3)]);
        assert_eq!(recent.extend(vec![record(11)]), [record(5)]);
        assert_eq!(recent.records, [record(7), record(9), record(11)]);
        assert_eq!(recent.bytes, 3 * record_bytes(10));
    }

    #[test]
    fn recent_records_are_read_up_to_the_bound_from_the_one_that_holds_the_offset() {
        let mut recent = recent(1000);
        assert_eq!(recent.read(Offset(1), 1000), None);
        drop(recent.extend(vec![record(5), record(7), record(9)]));
        assert_eq!(recent.read(Offset(4), 1000), None, "only a file has that one");
        assert_eq!(recent.read(Offset(5), 1000).unwrap(), [record(5), record(7), record(9)]);
        assert_eq!(recent.read(Offset(6), 1000).unwrap(), [record(5), record(7), record(9)]);
        assert_eq!(recent.read(Offset(7), 1000).unwrap(), [record(7), record(9)]);
        assert_eq!(recent.read(Offset(5), 2 * record_bytes(10)).unwrap(), [record(5), record(7)]);
        assert_eq!(recent.read(Offset(5), 2 * record_bytes(10) - 1).unwrap(), [record(5)]);
        assert_eq!(recent.read(Offset(5), 0).unwrap(), [record(5)]);
    }

    #[test]
    fn the_first_reason_to_stop_stays_unless_it_was_only_closed() {
        let shared = Shared::new(Queue::new(0), Vec::new(), Offset::FIRST, 0);
        let kind = |result: Result<Offset>| result.unwrap_err().kind().clone();
        for (reason, then) in [
            (ErrorKind::Closed, ErrorKind::Closed),
            (ErrorKind::Poisoned, ErrorKind::Poisoned),
            (ErrorKind::Closed, ErrorKind::Poisoned),
            (ErrorKind::Io, ErrorKind::Poisoned),
        ] {
            shared.stop(Error::new(reason, "a reason"));
            assert_eq!(kind(shared.wait_past(Offset::FIRST, Duration::ZERO)), then);
            assert_eq!(shared.health().is_ok(), then == ErrorKind::Closed);
        }
    }

    /// The end passes and the log stops at one moment, while somebody waits.
    #[test]
    fn who_waits_is_told_of_an_end_that_came_before_the_log_stopped() {
        let shared = Shared::new(Queue::new(0), Vec::new(), Offset::FIRST, 0);
        std::thread::scope(|scope| {
            let waiter = scope.spawn(|| shared.wait_past(Offset::FIRST, Duration::from_secs(60)));
            loop {
                let mut recent = shared.recent.lock();
                // It waits, and goes on when the lock is free.
                if shared.moved.notify_all() > 0 {
                    shared.end.store(2, Ordering::Release);
                    recent.stopped = Some(Error::closed());
                    break;
                }
                drop(recent);
                std::thread::yield_now();
            }
            assert_eq!(waiter.join().unwrap().unwrap(), Offset(2));
        });
    }
}
