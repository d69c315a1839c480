//! The local log against a plain `Vec`, over crashes, torn writes, flipped bits, full disks, trims and reopenings.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking, its helpers too")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};

use bytes::Bytes;
use eye_log::disk::Disk;
use eye_log::disk::sim::{Fault, Operation, SimDisk};
use eye_log::local::{LocalLog, LocalOptions, verify};
use eye_log::{ErrorKind, Log, NewRecord, Offset, PartitionId, Record, Result};
use proptest::prelude::*;

const DIR: &str = "log";

#[derive(Clone, Debug)]
enum Action {
    /// Appends records of these sizes and counts, and waits.
    Append(Vec<(usize, u32)>),
    /// Appends, and crashes or dies while the sync is under way.
    AppendThenEnd { sizes: Vec<(usize, u32)>, power_failure: Option<u64> },
    /// Appends while the nth write or sync from now fails, then the machine or the process ends.
    AppendWithFault { sizes: Vec<(usize, u32)>, nth: u64, sync: bool, power_failure: Option<u64> },
    /// Closes and opens again.
    Reopen,
    /// Forgets about this part of the log, in percent.
    Trim(u64),
    /// The disk is full for one append.
    Full(usize),
}

fn sizes() -> impl Strategy<Value = Vec<(usize, u32)>> {
    let size = prop_oneof![4 => 0..80_usize, 2 => 80..1500_usize, 1 => 1500..9000_usize];
    prop::collection::vec((size, 1..5_u32), 1..8)
}

fn action() -> impl Strategy<Value = Action> {
    let power = || prop::option::weighted(0.8, any::<u64>());
    prop_oneof![
        6 => sizes().prop_map(Action::Append),
        4 => (sizes(), power()).prop_map(|(sizes, power_failure)| Action::AppendThenEnd { sizes, power_failure }),
        3 => (sizes(), 1..4_u64, any::<bool>(), power()).prop_map(|(sizes, nth, sync, power_failure)| {
            Action::AppendWithFault { sizes, nth, sync, power_failure }
        }),
        2 => Just(Action::Reopen),
        2 => (0..=100_u64).prop_map(Action::Trim),
        1 => (0..3000_usize).prop_map(Action::Full),
    ]
}

/// A log and what is known about it.
struct World {
    disk: SimDisk,
    log: Option<LocalLog>,
    /// Acknowledged: must be there.
    acknowledged: Vec<Record>,
    /// Sent after them and not acknowledged: a prefix may be there after the next opening.
    unsure: Vec<(u32, Bytes)>,
    trimmed: Offset,
    payloads: u64,
}

impl World {
    fn new() -> Self {
        let disk = SimDisk::new();
        let log = Some(open(&disk).unwrap());
        Self { disk, log, acknowledged: Vec::new(), unsure: Vec::new(), trimmed: Offset::FIRST, payloads: 0 }
    }

    fn log(&self) -> &LocalLog {
        self.log.as_ref().unwrap()
    }

    /// Payloads that all differ.
    fn payload(&mut self, size: usize) -> Bytes {
        self.payloads += 1;
        let mut bytes = self.payloads.to_le_bytes().to_vec();
        bytes.resize(8 + size, (self.payloads % 255) as u8 + 1);
        Bytes::from(bytes)
    }

    fn send(&mut self, sizes: &[(usize, u32)]) -> Vec<(u32, Bytes, Receiver<Result<Offset>>)> {
        let mut sent = Vec::new();
        for (size, count) in sizes {
            let payload = self.payload(*size);
            let (sender, receiver) = channel();
            let record = NewRecord::new(payload.clone(), *count, move |result| drop(sender.send(result)));
            self.log().append(record);
            sent.push((*count, payload, receiver));
        }
        sent
    }

    /// Waits for every callback and writes down what it said.
    fn settle(&mut self, sent: Vec<(u32, Bytes, Receiver<Result<Offset>>)>) {
        for (count, payload, receiver) in sent {
            match receiver.recv().expect("every callback comes") {
                Ok(offset) => {
                    assert!(self.unsure.is_empty(), "acknowledged after a failure");
                    self.acknowledged.push(Record { offset, count, payload });
                }
                Err(error) if *error.kind() == ErrorKind::Full => {}
                Err(_) => self.unsure.push((count, payload)),
            }
        }
    }

    /// Opens again after whatever happened, and compares.
    fn reopen(&mut self, power_failure: Option<Option<u64>>) {
        match power_failure {
            Some(Some(seed)) => self.disk.crash(seed),
            Some(None) => self.disk.kill(),
            None => self.log().close().expect("a healthy log closes"),
        }
        drop(self.log.take());
        let checked = verify(Path::new(DIR), &self.disk).expect("what a crash leaves is no damage");
        let log = open(&self.disk).expect("what a crash leaves opens");
        assert_eq!((checked.start, checked.end), (log.start(), log.end()));
        self.log = Some(log);
        self.adopt_survivors();
        self.check();
    }

    /// A prefix of the unsure records may have survived; from now on it must stay.
    fn adopt_survivors(&mut self) {
        let mut next = self.acknowledged.last().map_or(Offset::FIRST, Record::next);
        for (count, payload) in std::mem::take(&mut self.unsure) {
            if next >= self.log().end() {
                break;
            }
            let record = Record { offset: next, count, payload };
            next = record.next();
            self.acknowledged.push(record);
        }
        assert_eq!(next, self.log().end(), "more or less than was sent");
    }

    fn check(&self) {
        let log = self.log();
        let end = self.acknowledged.last().map_or(Offset::FIRST, Record::next);
        log.wait_past(end.previous(), std::time::Duration::from_secs(60)).unwrap();
        assert_eq!(log.end(), end);
        assert!(log.start() <= self.trimmed);
        let expected: Vec<_> = self.acknowledged.iter().filter(|r| r.offset >= self.trimmed).cloned().collect();
        let mut found = Vec::new();
        let mut from = self.trimmed;
        while from < end {
            let some = log.read(from, 3000).unwrap();
            from = some.last().unwrap().next();
            found.extend(some.into_iter().filter(|record| record.offset >= self.trimmed));
        }
        assert_eq!(found, expected);
    }

    fn act(&mut self, action: Action) {
        self.log().health().expect("only what an action breaks is broken");
        match action {
            Action::Append(sizes) => {
                let sent = self.send(&sizes);
                self.settle(sent);
            }
            Action::AppendThenEnd { sizes, power_failure } => {
                self.disk.hold_syncs();
                let sent = self.send(&sizes);
                self.disk.wait_for_held_sync();
                self.end_while_held(power_failure, sent);
                return;
            }
            Action::AppendWithFault { sizes, nth, sync, power_failure } => {
                let operation = if sync { Operation::Sync } else { Operation::Write };
                self.disk.fail(operation, nth, Fault::Io);
                let sent = self.send(&sizes);
                self.settle(sent);
                self.reopen(Some(power_failure));
            }
            Action::Reopen => self.reopen(None),
            Action::Trim(percent) => {
                let before = Offset(self.log().end().0 * percent / 100);
                self.log().trim(before).unwrap();
                self.trimmed = self.trimmed.max(before).max(Offset::FIRST);
                self.trimmed = self
                    .acknowledged
                    .iter()
                    .map(|record| record.offset)
                    .find(|o| *o >= self.trimmed)
                    .unwrap_or(self.log().end());
            }
            Action::Full(size) => {
                self.disk.set_capacity(Some(self.disk.used_bytes() + size as u64 / 2));
                let sent = self.send(&[(size, 1)]);
                self.settle(sent);
                self.disk.set_capacity(None);
                self.log().health().expect("a full disk poisons nothing");
            }
        }
        self.check();
    }

    /// The machine or the process ends while a sync is held.
    fn end_while_held(&mut self, power_failure: Option<u64>, sent: Vec<(u32, Bytes, Receiver<Result<Offset>>)>) {
        match power_failure {
            Some(seed) => self.disk.crash(seed),
            None => self.disk.kill(),
        }
        self.disk.release_syncs();
        self.settle(sent);
        self.reopen(Some(None));
    }
}

fn options() -> LocalOptions {
    let mut options = LocalOptions::new(DIR, PartitionId(1));
    options.segment_bytes_max = 4000;
    options.recent_bytes_max = 2000;
    options.reserve_bytes = 0;
    options.salt_seed = Some(7);
    options
}

fn open(disk: &SimDisk) -> Result<LocalLog> {
    LocalLog::open(options(), Arc::new(disk.clone())).map(|(log, _)| log)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_log_behaves_like_a_list_that_survives(actions in prop::collection::vec(action(), 1..25)) {
        let mut world = World::new();
        for action in actions {
            world.act(action);
        }
        world.reopen(None);
    }

    #[test]
    fn a_flipped_bit_is_named_or_costs_nothing_acknowledged(
        batches in prop::collection::vec(sizes(), 1..6),
        place in any::<prop::sample::Index>(),
        file in any::<prop::sample::Index>(),
        bit in 0..8_u32,
    ) {
        let mut world = World::new();
        for sizes in &batches {
            let sent = world.send(sizes);
            world.settle(sent);
        }
        world.log().close().unwrap();
        let names = world.disk.list(Path::new(DIR)).unwrap();
        let path = Path::new(DIR).join(&names[file.index(names.len())]);
        let byte = place.index(world.disk.content(&path).unwrap().len());
        world.disk.flip(&path, byte, 1 << bit).unwrap();
        drop(world.log.take());
        let before = contents(&world.disk);
        match open(&world.disk) {
            Err(error) => {
                let ErrorKind::Corrupt { file, byte: at } = error.kind() else { panic!("{error}") };
                prop_assert_eq!(file, &path);
                prop_assert!(*at <= byte as u64, "damage at {} was named as {}", byte, at);
                prop_assert_eq!(before, contents(&world.disk), "nothing is changed");
            }
            Ok(log) => {
                world.log = Some(log);
                world.check();
            }
        }
    }
}

fn contents(disk: &SimDisk) -> BTreeMap<PathBuf, Vec<u8>> {
    let names = disk.list(Path::new(DIR)).unwrap();
    names
        .iter()
        .map(|name| Path::new(DIR).join(name))
        .map(|path| (path.clone(), disk.content(&path).unwrap()))
        .collect()
}
