//! Records on their way to the writer: bounded in bytes, many in, one out.
//!
//! A record counts against the bound from `push` until it is durable or refused, so the bound holds for everything
//! that a caller has handed over and not yet got back.

use std::collections::VecDeque;

use parking_lot::{Condvar, Mutex};

use crate::error::{Error, ErrorKind};
use crate::record::{NewRecord, OnDurable};

/// What a waiting record takes in memory beside its payload, in bytes, about.
const RECORD_OVERHEAD_BYTES: usize = 128;

pub(super) struct Queue {
    state: Mutex<State>,
    arrived: Condvar,
    bytes_max: usize,
}

#[derive(Default)]
struct State {
    records: VecDeque<NewRecord>,
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

    /// Waits for records and moves all of them to `taken`. False if the queue is closed and empty.
    pub(super) fn take(&self, taken: &mut VecDeque<NewRecord>) -> bool {
        let mut state = self.state.lock();
        while state.records.is_empty() {
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
        drop(state);
        self.arrived.notify_all();
    }
}
