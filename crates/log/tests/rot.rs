//! Rot: every bit of a log as a crash leaves it, turned one at a time, and every length that each of its files can be cut
//! to. What is there is the same, or the damage is named; the checker and the opening never disagree; nothing is ever
//! read that was not written.
//!
//! `damage.rs` has the closed log and damage while it is open; here the log ends without a seal, in groups of several
//! records, and the counts are printed.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking, its helpers too")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::channel;

use bytes::Bytes;
use eye_log::disk::Disk;
use eye_log::disk::sim::SimDisk;
use eye_log::local::{LocalLog, LocalOptions, verify};
use eye_log::{ErrorKind, Log, NewRecord, Offset, PartitionId, Record, append_blocking};

const DIR: &str = "log";
/// Records of the last group.
const LAST_GROUP: usize = 3;

fn options() -> LocalOptions {
    let mut options = LocalOptions::new(DIR, PartitionId(3));
    options.segment_bytes_max = 500;
    options.reserve_bytes = 0;
    options.room_bytes = 0;
    options.salt_seed = Some(5);
    options
}

fn payload(number: usize) -> Bytes {
    Bytes::from(format!("{{\"n\":{number},\"text\":\"{}\"}}", "xyz".repeat(number % 7)))
}

/// Zeros behind the last group, as far as the segment's limit lets them.
fn options_with_room() -> LocalOptions {
    LocalOptions { room_bytes: 16 * 1024, ..options() }
}

/// A log of several segments and groups of several records, whose process was killed.
fn killed_log(options: LocalOptions) -> (SimDisk, Vec<Record>) {
    let disk = SimDisk::new();
    let (log, _) = LocalLog::open(options, Arc::new(disk.clone())).unwrap();
    let (mut number, mut last) = (0, 0);
    for records in [1, 3, 2, 4, 1, LAST_GROUP] {
        // The first one goes alone and its sync is held; the rest gathers into one group behind it.
        disk.hold_syncs();
        let (sender, receiver) = channel();
        for index in 0..=records {
            let sender = sender.clone();
            let count: u32 = if index == 2 { 5 } else { 1 };
            log.append(NewRecord::new(payload(number), count, move |result| sender.send(result).unwrap()));
            (number, last) = (number + 1, last + u64::from(count));
            if index == 0 {
                disk.wait_for_held_sync();
            }
        }
        drop(sender);
        disk.release_syncs();
        assert!(receiver.iter().all(|result| result.is_ok()));
    }
    // Whoever appends is told before readers see it.
    log.wait_past(Offset(last), std::time::Duration::from_secs(60)).unwrap();
    let records = read(&log);
    assert_eq!(records.len(), number);
    disk.kill();
    drop(log);
    (disk, records)
}

fn read(log: &LocalLog) -> Vec<Record> {
    log.read(log.start(), usize::MAX).unwrap()
}

fn contents(disk: &SimDisk) -> BTreeMap<PathBuf, Vec<u8>> {
    let paths = disk.list(Path::new(DIR)).unwrap().into_iter().map(|name| Path::new(DIR).join(name));
    paths.map(|path| (path.clone(), disk.content(&path).unwrap())).collect()
}

/// What became of one damaged disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Found {
    /// An error that names the file and a byte at or before the damage.
    Named,
    /// Taken for what a crash left of the last write: cut off, reported, kept beside the segment.
    Cut,
    /// The end of the newest segment is gone as if it had never been written.
    Shorter,
    /// Every record as it was.
    Harmless,
}

/// Opens, reads and checks a disk whose file `path` is damaged from `byte` on.
fn judge(disk: &SimDisk, path: &Path, byte: usize, expected: &[Record]) -> Found {
    let checked = verify(Path::new(DIR), disk);
    let (log, report) = match LocalLog::open(options(), Arc::new(disk.clone())) {
        Ok(opened) => opened,
        Err(error) => {
            let ErrorKind::Corrupt { file, byte: at } = error.kind() else { panic!("{error}") };
            assert!(*at <= byte as u64, "{} at {byte}: {error}", path.display());
            assert_eq!(file, path, "{byte}: {error}");
            assert_eq!(checked.unwrap_err().kind(), error.kind(), "the checker says something else");
            return Found::Named;
        }
    };
    let checked = checked.expect("the checker refuses what opens");
    assert_eq!((checked.records, checked.end), (report.records, report.end), "{} at {byte}", path.display());
    let torn = checked.torn_tail.filter(|tail| tail.bytes > 0);
    assert_eq!(torn.is_some(), !report.cuts.is_empty(), "{} at {byte}", path.display());
    let records = read(&log);
    assert!(expected.starts_with(&records), "{} at {byte}: a wrong record", path.display());
    let found = match report.cuts.first() {
        None if records.len() == expected.len() => Found::Harmless,
        None => Found::Shorter,
        Some(cut) => {
            assert_eq!((cut.segment.as_path(), report.cuts.len()), (path, 1));
            assert!(cut.byte <= byte as u64 && disk.content(&cut.kept_in).unwrap().len() as u64 == cut.bytes);
            Found::Cut
        }
    };
    // Whatever it was, the log goes on, and what is written now is there after the next crash.
    let end = log.end();
    assert_eq!(append_blocking(&log, payload(99), 1).unwrap(), end);
    disk.kill();
    drop(log);
    let (log, _) = LocalLog::open(options(), Arc::new(disk.clone())).unwrap();
    let after = read(&log);
    assert_eq!((after.len(), &after[..records.len()]), (records.len() + 1, &records[..]));
    found
}

fn count(counts: &BTreeMap<Found, usize>, found: Found) -> usize {
    counts.get(&found).copied().unwrap_or_default()
}

#[test]
fn every_turned_bit_of_a_killed_log_is_named_or_costs_the_last_group_at_most() {
    turn_every_bit(options());
}

#[test]
fn every_turned_bit_of_a_killed_log_with_room_is_named_or_costs_the_last_group_at_most() {
    turn_every_bit(options_with_room());
}

fn turn_every_bit(options: LocalOptions) {
    let (disk, expected) = killed_log(options);
    let files = contents(&disk);
    assert!(files.len() > 3, "{} files", files.len());
    let (newest, content) = files.iter().next_back().unwrap();
    let end = content.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    let (mut counts, mut tried) = (BTreeMap::new(), 0);
    for (path, bytes) in &files {
        for (byte, bit) in (0..bytes.len()).flat_map(|byte| (0..8).map(move |bit| (byte, bit))) {
            let disk = disk.fork();
            disk.flip(path, byte, 1 << bit).unwrap();
            let found = judge(&disk, path, byte, &expected);
            if found == Found::Cut {
                // Nothing valid follows, so it looks like a write that a crash tore: its group goes, and nothing before it.
                let kept = read(&LocalLog::open(crate::options(), Arc::new(disk)).unwrap().0).len() - 1;
                let lost = if byte < end { LAST_GROUP } else { 0 };
                assert!(path == newest && kept == expected.len() - lost, "byte {byte}, bit {bit}: {kept} are left");
            }
            assert_ne!(found, Found::Shorter, "{} at {byte}", path.display());
            if path == newest && byte >= end {
                // In the room, where nothing was written.
                assert_eq!(found, Found::Cut, "byte {byte}");
                continue;
            }
            *counts.entry(found).or_default() += 1;
            tried += 1;
        }
    }
    let (named, cut, harmless) =
        (count(&counts, Found::Named), count(&counts, Found::Cut), count(&counts, Found::Harmless));
    println!("log: {tried} bits turned: {named} named, {cut} cut and kept, {harmless} harmless, 0 wrong");
    assert_eq!(named + cut + harmless, tried);
    assert!(named > 0 && cut > 0 && named > 10 * (cut + harmless), "{counts:?}");
}

#[test]
fn every_length_of_every_file_of_a_killed_log_is_named_or_a_shorter_log() {
    let (disk, expected) = killed_log(options());
    let files = contents(&disk);
    let newest = files.keys().last().unwrap();
    let (mut counts, mut tried) = (BTreeMap::new(), 0);
    for (path, bytes) in &files {
        for length in 0..bytes.len() {
            let disk = disk.fork();
            disk.put(path, bytes[..length].to_vec());
            let found = judge(&disk, path, length, &expected);
            // Any other file is followed by a segment that knows how it ended.
            assert_eq!(found == Found::Named, path != newest, "{} of {length} bytes", path.display());
            *counts.entry(found).or_default() += 1;
            tried += 1;
        }
    }
    let (named, cut, shorter) =
        (count(&counts, Found::Named), count(&counts, Found::Cut), count(&counts, Found::Shorter));
    println!("log: {tried} lengths tried: {named} named, {cut} cut and kept, {shorter} shorter, 0 wrong");
    assert_eq!(named + cut + shorter, tried);
    assert!(named > 0 && cut > 0 && shorter > 0, "{counts:?}");
}
