//! Ends and starts of the node: in order, by a death, with the power, in the middle of a start.
//!
//! The rule: a start without a fault succeeds, and finds all that was acknowledged.

use eye_log::disk::sim::{Fault, Operation};
use eye_store::Kind;
use rand::Rng as _;

use super::World;
use crate::check::{Wrong, require, wrong};
use crate::model::PARTITIONS;
use crate::node::Node;

impl World {
    pub(super) fn restart(&mut self) -> Result<(), Wrong> {
        let stopped = self.node.stop();
        if !self.passed {
            stopped.map_err(|error| format!("the node does not stop in order: {error}"))?;
        }
        self.node.crash(None);
        self.open()
    }

    pub(super) fn crash(&mut self, power: Option<u64>) -> Result<(), Wrong> {
        self.node.crash(power);
        self.reopen()
    }

    /// Starts again. One start in four meets a fault, and the process dies once more.
    pub(super) fn reopen(&mut self) -> Result<(), Wrong> {
        if self.random.random_bool(0.25) {
            let power = if self.random.random_bool(0.5) { Some(self.random.random()) } else { None };
            let (kind, partition) = if self.random.random_bool(0.2) {
                self.node.objects.refuse(true, true);
                ("start without objects".to_owned(), None)
            } else {
                let operations = [
                    Operation::Read,
                    Operation::Write,
                    Operation::Sync,
                    Operation::SyncDir,
                    Operation::Create,
                    Operation::Truncate,
                ];
                let (operation, nth) = (self.pick(&operations), self.random.random_range(1..5));
                let fault = self.pick(&[Fault::Io, Fault::NoSpace]);
                let partition = self.random.random_range(0..self.node.disks.len());
                self.trace.push(format!("  start with {operation:?} {nth} {fault:?} on {partition}"));
                self.node.disks[partition].fail(operation, nth, fault);
                (format!("start {operation:?} {fault:?}"), Some(partition))
            };
            let opened = self.node.open();
            let is_met = match partition {
                Some(partition) => !self.node.disks[partition].awaits_fault(),
                None => self.node.objects.has_refused(),
            };
            self.trace.fault(kind, is_met);
            match opened {
                Ok(()) => {
                    self.started()?;
                    self.trace.push("  started all the same".to_owned());
                }
                Err(error) => {
                    require(error.kind() != Kind::Corrupt, || format!("a fault is taken for damage: {error}"))?;
                    self.trace.push(format!("  not started: {:?}", error.kind()));
                }
            }
            self.node.crash(power);
        }
        self.open()
    }

    pub(super) fn open(&mut self) -> Result<(), Wrong> {
        self.node.open().map_err(|error| format!("the node does not start: {error}"))?;
        self.started()
    }

    /// After a start: what was not acknowledged is there or not, a prefix of it, and from now on for ever.
    fn started(&mut self) -> Result<(), Wrong> {
        self.life += 1;
        self.passed = false;
        for (partition, log) in (0_u16..).zip(&self.node.up().map_err(wrong)?.logs) {
            let end = log.end().0;
            for record in std::mem::take(&mut self.unsure[usize::from(partition)]) {
                if self.model.last(partition) + record.entries.len() as u64 >= end {
                    break;
                }
                self.model.take_record(partition, &record);
            }
            let last = self.model.last(partition);
            require(end == last + 1, || {
                format!("the log of {partition} ends at {end} and must end at {}: lost or made up", last + 1)
            })?;
        }
        Ok(())
    }

    /// The power fails in a moment in which the newest commit of the events is not whole.
    pub(super) fn tear(&mut self, seed: u64) -> Result<(), Wrong> {
        self.node.crash(Some(seed));
        let name = |version: u64, end: &str| format!("events/_delta_log/{version:020}.{end}");
        let Node { runtime, objects, .. } = &self.node;
        let torn = runtime.block_on(async {
            let mut newest = self.version;
            while objects.has(&name(newest + 1, "json")).await {
                newest += 1;
            }
            // Nobody writes a checkpoint of a commit that is not durable.
            let checkpoint = name(newest, "checkpoint.parquet");
            let is_possible = newest > 0 && !objects.has_late(&checkpoint) && !objects.has(&checkpoint).await;
            if is_possible { objects.tear(&name(newest, "json")).await } else { Ok(false) }
        });
        let torn = torn.map_err(wrong)?;
        self.trace.fault("commit torn".to_owned(), torn);
        if !torn {
            return self.reopen();
        }
        // Its rows come from the log again: the version and `flushed` go back this one time.
        self.version = 0;
        self.flushed = [0; PARTITIONS as usize];
        self.reopen()?;
        self.expire_again()
    }
}
