//! The log's contract without a disk, for tests and simulation: nothing survives the process.
//!
//! A record is durable at once, unless a test holds it back. Callbacks run before readers see the record and without a
//! lock, as in the real log: whoever finds nobody delivering delivers for everybody.

use std::collections::VecDeque;
use std::thread::ThreadId;
use std::time::Duration;

use parking_lot::{Condvar, Mutex, MutexGuard};

use crate::Log;
use crate::error::{Error, ErrorKind, Result};
use crate::record::{NewRecord, Offset, Record};

/// A log in memory.
pub struct MemoryLog {
    state: Mutex<State>,
    moved: Condvar,
    record_bytes_max: usize,
}

struct State {
    records: VecDeque<Record>,
    waiting: VecDeque<NewRecord>,
    start: Offset,
    end: Offset,
    /// Who calls callbacks now.
    delivering: Option<ThreadId>,
    held: bool,
    fail_next: Option<Error>,
    poison: Option<Error>,
    closed: bool,
}

impl Default for MemoryLog {
    fn default() -> Self {
        Self::new()
    }
}

impl MemoryLog {
    /// An empty log that takes records of up to 32 MiB.
    #[must_use]
    pub fn new() -> Self {
        Self::with_record_bytes_max(32 * 1024 * 1024)
    }

    /// An empty log that takes payloads of up to this many bytes.
    #[must_use]
    pub fn with_record_bytes_max(record_bytes_max: usize) -> Self {
        let state = State {
            records: VecDeque::new(),
            waiting: VecDeque::new(),
            start: Offset::FIRST,
            end: Offset::FIRST,
            delivering: None,
            held: false,
            fail_next: None,
            poison: None,
            closed: false,
        };
        Self { state: Mutex::new(state), moved: Condvar::new(), record_bytes_max }
    }

    /// For tests: fails the next append with this error. `Poisoned` and `Io` poison the log, as a disk's error does.
    pub fn fail_next_append(&self, error: Error) {
        self.state.lock().fail_next = Some(error);
    }

    /// For tests: records wait, neither durable nor visible, until [`MemoryLog::release`].
    pub fn hold(&self) {
        self.state.lock().held = true;
    }

    /// For tests: makes the held records durable, and those to come.
    pub fn release(&self) {
        let mut state = self.state.lock();
        state.held = false;
        self.deliver(state);
    }

    /// For tests: how many records wait.
    #[must_use]
    pub fn held_records(&self) -> usize {
        self.state.lock().waiting.len()
    }

    /// Makes waiting records durable, unless held or somebody else is at it.
    fn deliver(&self, mut state: MutexGuard<'_, State>) {
        if state.delivering.is_some() || (state.held && !state.closed) {
            return;
        }
        state.delivering = Some(std::thread::current().id());
        while let Some(NewRecord { payload, count, on_durable }) = state.waiting.pop_front() {
            let record = Record { offset: state.end, count: count.max(1), payload };
            MutexGuard::unlocked(&mut state, || on_durable(Ok(record.offset)));
            state.end = record.next();
            state.records.push_back(record);
            self.moved.notify_all();
        }
        state.delivering = None;
        self.moved.notify_all();
    }
}

impl State {
    /// Why this record is not taken, if so.
    fn refusal(&mut self, record: &NewRecord, record_bytes_max: usize) -> Option<Error> {
        if record.payload.len() > record_bytes_max {
            let detail = format!("a record of {} bytes is larger than {record_bytes_max}", record.payload.len());
            return Some(Error::new(ErrorKind::TooLarge, detail));
        }
        let stopped = self.poison.clone().or_else(|| self.closed.then(Error::closed));
        stopped.or_else(|| {
            let error = self.fail_next.take()?;
            if matches!(error.kind(), ErrorKind::Poisoned | ErrorKind::Io) {
                self.poison = Some(Error::new(ErrorKind::Poisoned, error.to_string()));
            }
            Some(error)
        })
    }
}

impl Log for MemoryLog {
    fn append(&self, record: NewRecord) {
        let mut state = self.state.lock();
        if let Some(error) = state.refusal(&record, self.record_bytes_max) {
            drop(state);
            self.moved.notify_all();
            return (record.on_durable)(Err(error));
        }
        state.waiting.push_back(record);
        self.deliver(state);
    }

    fn read(&self, from: Offset, bytes_max: usize) -> Result<Vec<Record>> {
        let from = from.max(Offset::FIRST);
        let state = self.state.lock();
        if from < state.start {
            return Err(Error::trimmed(state.start));
        }
        let first = state.records.partition_point(|record| record.next() <= from);
        let mut bytes = 0;
        let mut found = Vec::new();
        for record in state.records.range(first..) {
            bytes += record.payload.len();
            if bytes > bytes_max && !found.is_empty() {
                break;
            }
            found.push(record.clone());
        }
        Ok(found)
    }

    fn wait_past(&self, offset: Offset, timeout: Duration) -> Result<Offset> {
        let mut state = self.state.lock();
        let waits = |state: &mut State| state.end <= offset && !state.closed && state.poison.is_none();
        self.moved.wait_while_for(&mut state, waits, timeout);
        match (&state.poison, state.closed) {
            _ if state.end > offset => Ok(state.end),
            (Some(error), _) => Err(error.clone()),
            (None, true) => Err(Error::closed()),
            (None, false) => Ok(state.end),
        }
    }

    fn start(&self) -> Offset {
        self.state.lock().start
    }

    fn end(&self) -> Offset {
        self.state.lock().end
    }

    fn trim(&self, before: Offset) -> Result<()> {
        let mut state = self.state.lock();
        if state.closed {
            return Err(Error::closed());
        }
        while state.records.front().is_some_and(|record| record.next() <= before) {
            state.records.pop_front();
        }
        state.start = state.records.front().map_or(state.end, |record| record.offset);
        Ok(())
    }

    fn close(&self) -> Result<()> {
        let mut state = self.state.lock();
        state.closed = true;
        self.deliver(state);
        let mut state = self.state.lock();
        self.moved.notify_all();
        // A callback may close the log: it cannot wait for itself.
        let me = std::thread::current().id();
        self.moved.wait_while(&mut state, |state| state.delivering.is_some_and(|who| who != me));
        state.poison.clone().map_or(Ok(()), Err)
    }

    fn bytes_on_disk(&self) -> u64 {
        0
    }

    fn health(&self) -> Result<()> {
        self.state.lock().poison.clone().map_or(Ok(()), Err)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;
    use crate::append_blocking;

    #[test]
    fn held_records_are_invisible_until_released() {
        let log = MemoryLog::new();
        log.hold();
        let (sender, receiver) = channel();
        log.append(NewRecord::new("a".into(), 2, move |result| sender.send(result.unwrap()).unwrap()));
        assert_eq!((log.held_records(), log.end()), (1, Offset(1)));
        assert!(receiver.try_recv().is_err());
        log.release();
        assert_eq!(receiver.try_recv().unwrap(), Offset(1));
        assert_eq!((log.held_records(), log.end()), (0, Offset(3)));
    }

    #[test]
    fn a_failed_append_poisons_and_a_full_one_does_not() {
        let log = MemoryLog::new();
        log.fail_next_append(Error::new(ErrorKind::Full, "full"));
        assert_eq!(*append_blocking(&log, "a".into(), 1).unwrap_err().kind(), ErrorKind::Full);
        assert_eq!(append_blocking(&log, "a".into(), 1).unwrap(), Offset(1));
        log.fail_next_append(Error::new(ErrorKind::Io, "broken"));
        assert_eq!(*append_blocking(&log, "b".into(), 1).unwrap_err().kind(), ErrorKind::Io);
        assert_eq!(*append_blocking(&log, "b".into(), 1).unwrap_err().kind(), ErrorKind::Poisoned);
        assert_eq!(*log.health().unwrap_err().kind(), ErrorKind::Poisoned);
        assert_eq!(log.read(Offset(1), 10).unwrap().len(), 1);
    }
}
