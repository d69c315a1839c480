//! Records on their way to the writer: bounded in bytes, many in, one out.
//!
//! A record counts against the bound from `push` until it is durable or refused, so the bound holds for everything
//! that a caller has handed over and not yet got back.

use std::collections::VecDeque;
use std::sync::mpsc::SyncSender;

use parking_lot::{Condvar, Mutex};

use crate::error::{Error, ErrorKind, Result as LogResult};
use crate::record::{NewRecord, Offset, OnDurable};

/// What a waiting record takes in memory beside its payload, in bytes, about.
const RECORD_OVERHEAD_BYTES: usize = 128;

/// Who waits for a cut: [`crate::Log::cut`].
pub(super) type Cutter = SyncSender<LogResult<Offset>>;

pub(super) struct Queue {
    state: Mutex<State>,
    arrived: Condvar,
    bytes_max: usize,
}

#[derive(Default)]
struct State {
    records: VecDeque<NewRecord>,
    cutters: Vec<Cutter>,
    /// Of the records here and of those that the writer has in hand.
    bytes: usize,
    /// Why nothing more is taken.
    refusal: Option<Error>,
    writer_waits: bool,
}

/// What this record counts for.
pub(super) fn weight(record: &NewRecord) -> usize {
    record.payload.len() + RECORD_OVERHEAD_BYTES
}

impl Queue {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self { state: Mutex::new(State::default()), arrived: Condvar::new(), bytes_max }
    }

    /// Takes the record, or gives its callback back with the reason. Never calls it: a lock is held.
    pub(super) fn push(&self, record: NewRecord) -> std::result::Result<(), (OnDurable, Error)> {
        let weight = weight(&record);
        let mut state = self.state.lock();
        if let Some(refusal) = &state.refusal {
            return Err((record.on_durable, refusal.clone()));
        }
        // One record always fits, whatever the bound.
        if state.bytes > 0 && state.bytes + weight > self.bytes_max {
            let bytes = state.bytes;
            drop(state);
            let detail = format!("{bytes} bytes wait for the disk already: try again soon");
            return Err((record.on_durable, Error::new(ErrorKind::Busy, detail)));
        }
        state.bytes += weight;
        state.records.push_back(record);
        if std::mem::take(&mut state.writer_waits) {
            drop(state);
            self.arrived.notify_one();
        }
        Ok(())
    }

    /// Asks the writer for a cut, after what was pushed before.
    pub(super) fn push_cutter(&self, cutter: Cutter) -> LogResult<()> {
        let mut state = self.state.lock();
        if let Some(refusal) = &state.refusal {
            return Err(refusal.clone());
        }
        state.cutters.push(cutter);
        state.writer_waits = false;
        drop(state);
        self.arrived.notify_one();
        Ok(())
    }

    /// Those who wait for a cut.
    pub(super) fn take_cutters(&self) -> Vec<Cutter> {
        std::mem::take(&mut self.state.lock().cutters)
    }

    /// Waits for records, or for somebody who wants a cut, and moves all records to `taken`. False if the queue is closed
    /// and empty.
    pub(super) fn take(&self, taken: &mut VecDeque<NewRecord>) -> bool {
        let mut state = self.state.lock();
        while state.records.is_empty() && state.cutters.is_empty() {
            if state.refusal.is_some() {
                return false;
            }
            state.writer_waits = true;
            self.arrived.wait(&mut state);
        }
        std::mem::swap(taken, &mut state.records);
        true
    }

    /// Moves what has arrived since to the end of `taken`; does not wait.
    pub(super) fn take_more(&self, taken: &mut VecDeque<NewRecord>) {
        taken.append(&mut self.state.lock().records);
    }

    /// These bytes are in nobody's hands any more.
    pub(super) fn release(&self, weight: usize) {
        self.state.lock().bytes -= weight;
    }

    /// Takes nothing more. The first reason stays, except that any other takes the place of `Closed`.
    pub(super) fn refuse(&self, reason: Error) {
        let mut state = self.state.lock();
        if state.refusal.as_ref().is_none_or(|old| *old.kind() == ErrorKind::Closed) {
            state.refusal = Some(reason);
        }
        // Nobody would answer them.
        state.cutters.clear();
        drop(state);
        self.arrived.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(bytes: usize) -> NewRecord {
        NewRecord::new(vec![1; bytes].into(), 1, |_| {})
    }

    /// The error of a refused record.
    fn refused(queue: &Queue, bytes: usize) -> ErrorKind {
        queue.push(record(bytes)).err().unwrap().1.kind().clone()
    }

    fn sizes(records: &VecDeque<NewRecord>) -> Vec<usize> {
        records.iter().map(|record| record.payload.len()).collect()
    }

    #[test]
    fn the_bound_is_met_to_the_byte_and_counts_what_the_writer_has_in_hand() {
        let queue = Queue::new(2 * (300 + RECORD_OVERHEAD_BYTES));
        let mut taken = VecDeque::new();
        assert!(queue.push(record(300)).is_ok());
        assert_eq!(refused(&queue, 301), ErrorKind::Busy);
        assert!(queue.push(record(300)).is_ok());
        assert!(queue.take(&mut taken));
        assert_eq!(refused(&queue, 0), ErrorKind::Busy);
        queue.release(weight(&taken[0]));
        assert_eq!(refused(&queue, 301), ErrorKind::Busy);
        assert!(queue.push(record(300)).is_ok());
        queue.release(2 * weight(&taken[0]));
        assert!(queue.push(record(10_000)).is_ok(), "into an empty queue one always fits");
    }

    #[test]
    fn what_arrives_while_the_writer_has_records_is_taken_behind_them() {
        let queue = Queue::new(10_000);
        let mut taken = VecDeque::new();
        for bytes in [1, 2] {
            assert!(queue.push(record(bytes)).is_ok());
        }
        assert!(queue.take(&mut taken));
        for bytes in [3, 4] {
            assert!(queue.push(record(bytes)).is_ok());
        }
        queue.take_more(&mut taken);
        assert_eq!(sizes(&taken), [1, 2, 3, 4]);
    }

    #[test]
    fn what_was_pushed_before_closing_is_taken_and_then_no_more() {
        let queue = Queue::new(10_000);
        let mut taken = VecDeque::new();
        assert!(queue.push(record(1)).is_ok());
        queue.refuse(Error::closed());
        assert_eq!(refused(&queue, 2), ErrorKind::Closed);
        assert!(queue.take(&mut taken));
        assert_eq!(sizes(&taken), [1]);
        taken.clear();
        assert!(!queue.take(&mut taken));
    }

    #[test]
    fn the_first_reason_stays_unless_it_was_only_closed() {
        let queue = Queue::new(10_000);
        let reason = |kind| Error::new(kind, "a reason");
        for (kind, then) in [
            (ErrorKind::Closed, ErrorKind::Closed),
            (ErrorKind::Poisoned, ErrorKind::Poisoned),
            (ErrorKind::Closed, ErrorKind::Poisoned),
            (ErrorKind::Io, ErrorKind::Poisoned),
        ] {
            queue.refuse(reason(kind));
            assert_eq!(refused(&queue, 1), then);
        }
    }
}
