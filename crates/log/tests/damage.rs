//! Damage of every kind, byte by byte: it is named, or it costs nothing that was acknowledged. And the fixtures: files
//! of version 1, good and bad, as they lie on disks.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking, its helpers too")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Duration;

use bytes::Bytes;
use eye_log::disk::sim::{Fault, Operation, SimDisk};
use eye_log::disk::{Disk, OsDisk};
use eye_log::local::{LocalLog, LocalOptions, RecoveryReport, TornTail, verify};
use eye_log::{ErrorKind, Log, NewRecord, Offset, PartitionId, Record, Result, append_blocking};

const DIR: &str = "log";
const GOOD: &str = "00000000000000000001.seg";

fn options() -> LocalOptions {
    let mut options = LocalOptions::new(DIR, PartitionId(5));
    options.segment_bytes_max = 600;
    options.reserve_bytes = 0;
    options.room_bytes = 0;
    options.salt_seed = Some(11);
    options
}

fn open(disk: &SimDisk) -> Result<(LocalLog, RecoveryReport)> {
    LocalLog::open(options(), Arc::new(disk.clone()))
}

fn payload(number: usize) -> Bytes {
    Bytes::from(format!("{{\"number\":{number},\"text\":\"{}\"}}", "abc".repeat(number % 20)))
}

/// Appends these payloads in one group.
fn append_together(disk: &SimDisk, log: &LocalLog, payloads: impl Iterator<Item = Bytes>) {
    disk.hold_syncs();
    let (sender, receiver) = channel();
    let first = sender.clone();
    // The first one goes alone; the rest gathers behind it.
    log.append(NewRecord::new(payload(0), 1, move |result| first.send(result).unwrap()));
    disk.wait_for_held_sync();
    for payload in payloads {
        let sender = sender.clone();
        log.append(NewRecord::new(payload, 1, move |result| sender.send(result).unwrap()));
    }
    drop(sender);
    disk.release_syncs();
    assert!(receiver.iter().all(|result| result.is_ok()));
}

fn records(log: &LocalLog) -> Vec<Record> {
    log.read(log.start(), usize::MAX).unwrap()
}

fn contents(disk: &SimDisk) -> BTreeMap<PathBuf, Vec<u8>> {
    let names = disk.list(Path::new(DIR)).unwrap();
    names
        .iter()
        .map(|name| Path::new(DIR).join(name))
        .map(|path| (path.clone(), disk.content(&path).unwrap()))
        .collect()
}

/// A closed log of several segments.
fn closed_log() -> (SimDisk, Vec<Record>) {
    let disk = SimDisk::new();
    let (log, _) = open(&disk).unwrap();
    for number in 0..25 {
        append_blocking(&log, payload(number), 1).unwrap();
    }
    log.close().unwrap();
    let records = records(&log);
    drop(log);
    (disk, records)
}

#[test]
fn every_flipped_byte_of_a_closed_log_is_named_or_costs_nothing() {
    let (disk, expected) = closed_log();
    let files = contents(&disk);
    assert!(files.len() > 3);
    let (mut named, mut harmless) = (0, 0);
    for (path, bytes) in &files {
        for (byte, mask) in (0..bytes.len()).flat_map(|byte| [(byte, 0x01), (byte, 0x80), (byte, 0xff)]) {
            let disk = disk.fork();
            disk.flip(path, byte, mask).unwrap();
            match open(&disk) {
                Ok((log, _)) => {
                    assert_eq!(records(&log), expected, "{} at {byte} was lost silently", path.display());
                    harmless += 1;
                }
                Err(error) => {
                    let ErrorKind::Corrupt { file, byte: at } = error.kind() else { panic!("{error}") };
                    assert_eq!(file, path, "byte {byte}: {error}");
                    assert!(*at <= byte as u64, "byte {byte}: {error}");
                    assert!(verify(Path::new(DIR), &disk).is_err());
                    named += 1;
                }
            }
        }
    }
    assert!(named > harmless && harmless <= 3 * 48, "{named} named; {harmless} harmless, all in the seal");
}

#[test]
fn a_flip_in_the_last_group_after_a_crash_is_named_unless_nothing_valid_follows_it() {
    let disk = SimDisk::new();
    let mut options = options();
    options.segment_bytes_max = 100_000;
    let (log, _) = LocalLog::open(options.clone(), Arc::new(disk.clone())).unwrap();
    append_together(&disk, &log, (1..10).map(payload));
    let expected = records(&log);
    disk.kill();
    drop(log);
    let path = Path::new(DIR).join(GOOD);
    let length = disk.content(&path).unwrap().len();
    let last_record = length - 20 - payload(9).len();
    for byte in 0..length {
        let disk = disk.fork();
        disk.flip(&path, byte, 0x40).unwrap();
        match LocalLog::open(options.clone(), Arc::new(disk.clone())) {
            Err(error) => assert!(matches!(error.kind(), ErrorKind::Corrupt { file, .. } if *file == path), "{error}"),
            Ok((log, report)) => {
                assert!(byte >= last_record, "byte {byte} was cut, and valid records followed");
                assert!(expected.starts_with(&records(&log)));
                let kept = disk.content(&report.cuts[0].kept_in).unwrap();
                assert_eq!(report.cuts[0].byte + kept.len() as u64, length as u64);
            }
        }
    }
}

#[test]
fn every_shortened_newest_segment_opens_and_every_other_is_named() {
    let (disk, expected) = closed_log();
    let files = contents(&disk);
    let newest = files.keys().last().unwrap();
    for (path, bytes) in &files {
        for length in 0..bytes.len() {
            let disk = disk.fork();
            disk.put(path, bytes[..length].to_vec());
            match open(&disk) {
                Ok((log, _)) => {
                    assert_eq!(path, newest, "{} of {length} bytes opened", path.display());
                    assert!(expected.starts_with(&records(&log)));
                }
                Err(error) => {
                    assert_ne!(path, newest, "{length} bytes: {error}");
                    assert!(matches!(error.kind(), ErrorKind::Corrupt { file, .. } if file == path), "{error}");
                }
            }
        }
    }
}

#[test]
fn a_missing_segment_is_named_by_the_one_before() {
    let (disk, _) = closed_log();
    let paths: Vec<_> = contents(&disk).into_keys().collect();
    disk.remove(&paths[2]).unwrap();
    let error = open(&disk).err().unwrap();
    assert!(matches!(error.kind(), ErrorKind::Corrupt { file, .. } if *file == paths[1]), "{error}");
}

#[test]
fn segments_of_another_log_or_partition_are_refused() {
    let (disk, _) = closed_log();
    let other = SimDisk::new();
    let mut foreign = options();
    foreign.salt_seed = Some(99);
    let (log, _) = LocalLog::open(foreign, Arc::new(other.clone())).unwrap();
    for number in 0..25 {
        append_blocking(&log, payload(number), 1).unwrap();
    }
    log.close().unwrap();
    let (path, bytes) = contents(&other).into_iter().nth(1).unwrap();
    disk.put(&path, bytes);
    let error = open(&disk).err().unwrap();
    assert!(matches!(error.kind(), ErrorKind::Corrupt { file, byte: 16 } if *file == path), "{error}");

    let (disk, _) = closed_log();
    let mut wrong = options();
    wrong.partition = PartitionId(6);
    let error = LocalLog::open(wrong, Arc::new(disk)).err().unwrap();
    assert!(matches!(error.kind(), ErrorKind::Corrupt { byte: 12, .. }), "{error}");
}

#[test]
fn damage_that_comes_while_the_log_is_open_is_named_by_reads() {
    let disk = SimDisk::new();
    let mut options = options();
    options.recent_bytes_max = 0;
    let (log, _) = LocalLog::open(options, Arc::new(disk.clone())).unwrap();
    for number in 0..25 {
        append_blocking(&log, payload(number), 1).unwrap();
    }
    log.wait_past(Offset(25), std::time::Duration::from_secs(60)).unwrap();
    let (path, bytes) = contents(&disk).into_iter().nth(1).unwrap();
    for byte in 64..bytes.len() {
        disk.flip(&path, byte, 0x04).unwrap();
        let found = log.read(Offset::FIRST, usize::MAX);
        disk.flip(&path, byte, 0x04).unwrap();
        let Err(error) = found else { panic!("byte {byte} was not noticed") };
        assert!(matches!(error.kind(), ErrorKind::Corrupt { file, byte: at } if *file == path && *at <= byte as u64));
    }
    assert_eq!(records(&log).len(), 25);
}

/// A log of five groups of one record each, all of one length, that keeps nothing in memory. Where the groups begin.
fn five_groups(disk: &SimDisk) -> (LocalLog, PathBuf, [usize; 5]) {
    let options = LocalOptions { segment_bytes_max: 100_000, recent_bytes_max: 0, ..options() };
    let (log, _) = LocalLog::open(options, Arc::new(disk.clone())).unwrap();
    for number in 0..5 {
        append_blocking(&log, Bytes::from(vec![number; 30]), 1).unwrap();
    }
    log.wait_past(Offset(5), std::time::Duration::from_secs(60)).unwrap();
    (log, Path::new(DIR).join(GOOD), [0, 1, 2, 3, 4].map(|group| 64 + group * (48 + 20 + 30)))
}

/// Puts what stands at `from` at `to` too.
fn copy(disk: &SimDisk, path: &Path, from: usize, to: usize, length: usize) {
    let bytes = disk.content(path).unwrap();
    for at in 0..length {
        disk.flip(path, to + at, bytes[from + at] ^ bytes[to + at]).unwrap();
    }
}

#[test]
fn a_valid_piece_in_the_place_of_another_is_named_by_reads() {
    for (what, before, length) in [("a group header", 0, 48), ("a record", 48, 50)] {
        let disk = SimDisk::new();
        let (log, path, groups) = five_groups(&disk);
        let place = groups[2] + before;
        copy(&disk, &path, groups[1] + before, place, length);
        let error = log.read(Offset::FIRST, usize::MAX).unwrap_err();
        assert_eq!(*error.kind(), ErrorKind::Corrupt { file: path, byte: place as u64 }, "{what}");
    }
}

#[test]
fn a_segment_cut_while_the_log_is_open_is_named_by_reads() {
    let disk = SimDisk::new();
    let (log, path, groups) = five_groups(&disk);
    let file = disk.open(&path, true).unwrap();
    file.truncate(file.byte_len().unwrap() - 1).unwrap();
    let error = log.read(Offset::FIRST, usize::MAX).unwrap_err();
    let ErrorKind::Corrupt { file, byte } = error.kind() else { panic!("{error}") };
    assert!(*file == path && *byte <= groups[4] as u64, "{error}");
}

#[test]
fn damage_behind_what_is_asked_for_fails_no_read() {
    let disk = SimDisk::new();
    let (log, path, groups) = five_groups(&disk);
    disk.flip(&path, groups[1], 1).unwrap();
    assert_eq!(log.read(Offset(1), 1).unwrap().len(), 1);
    assert!(log.read(Offset(1), 1000).is_err());
}

#[test]
fn reads_from_files_keep_to_their_bound_to_the_byte() {
    let (log, _, _) = five_groups(&SimDisk::new());
    for (bytes_max, records) in [(0, 1), (99, 1), (100, 2), (149, 2), (150, 3), (1000, 4)] {
        assert_eq!(log.read(Offset(2), bytes_max).unwrap().len(), records, "{bytes_max} bytes");
    }
}

#[test]
fn every_offset_of_a_long_segment_is_found_while_it_is_written_and_after_it_is_opened() {
    let disk = SimDisk::new();
    let options = LocalOptions { segment_bytes_max: 1 << 30, recent_bytes_max: 0, ..options() };
    let payload = |number: u64| Bytes::from(vec![number as u8; 2000]);
    let (log, _) = LocalLog::open(options.clone(), Arc::new(disk.clone())).unwrap();
    append_together(&disk, &log, (1..200).map(payload));
    log.wait_past(Offset(200), std::time::Duration::from_secs(60)).unwrap();
    let check = |log: &LocalLog| {
        for number in 1..200 {
            let found = log.read(Offset(number + 1), 1).unwrap();
            assert_eq!(found, [Record { offset: Offset(number + 1), count: 1, payload: payload(number) }]);
        }
    };
    check(&log);
    log.close().unwrap();
    drop(log);
    check(&LocalLog::open(options, Arc::new(disk)).unwrap().0);
}

#[test]
fn nothing_of_a_torn_group_is_left_when_its_offsets_are_used_again() {
    let disk = SimDisk::new();
    let options = LocalOptions { segment_bytes_max: 1 << 30, recent_bytes_max: 0, ..options() };
    let (log, _) = LocalLog::open(options.clone(), Arc::new(disk.clone())).unwrap();
    append_together(&disk, &log, (1..5).map(|number| Bytes::from(vec![number; 70_000])));
    disk.kill();
    drop(log);
    // Into the last record of the group.
    let path = Path::new(DIR).join(GOOD);
    let mut torn = disk.content(&path).unwrap();
    torn.truncate(torn.len() - 1);
    disk.put(&path, torn);
    let (log, report) = LocalLog::open(options, Arc::new(disk)).unwrap();
    assert_eq!((report.cuts.len(), log.end()), (1, Offset(2)));
    for number in 0..8 {
        let payload = Bytes::from(vec![number; 50_000]);
        let offset = append_blocking(&log, payload.clone(), 1).unwrap();
        log.wait_past(offset, std::time::Duration::from_secs(60)).unwrap();
        assert_eq!(log.read(offset, 1).unwrap(), [Record { offset, count: 1, payload }]);
    }
}

/// It has the same identity, the same offsets and the same lengths; only what was written before it differs.
#[test]
fn a_segment_of_another_history_is_refused() {
    let [(disk, _), (other, _)] = [b'a', b'b'].map(|letter| {
        let disk = SimDisk::new();
        let (log, _) = open(&disk).unwrap();
        for _ in 0..25 {
            append_blocking(&log, Bytes::from(vec![letter; 30]), 1).unwrap();
        }
        log.close().unwrap();
        (disk, log)
    });
    let mut paths = contents(&disk).into_keys();
    let (before, path) = (paths.next().unwrap(), paths.next().unwrap());
    disk.put(&path, other.content(&path).unwrap());
    let error = verify(Path::new(DIR), &disk).unwrap_err();
    let length = disk.content(&before).unwrap().len() as u64;
    assert_eq!(*error.kind(), ErrorKind::Corrupt { file: before, byte: length });
}

#[test]
fn a_segment_whose_creation_was_interrupted_is_counted_and_reported() {
    let (disk, records) = closed_log();
    let segments = contents(&disk).len() as u64;
    let path = Path::new(DIR).join(format!("{:020}.seg", records.len() + 1));
    disk.put(&path, b"EYE".to_vec());
    let checked = verify(Path::new(DIR), &disk).unwrap();
    assert_eq!((checked.segments, checked.records), (segments + 1, records.len() as u64));
    assert_eq!(checked.torn_tail, Some(TornTail { segment: path, byte: 0, bytes: 3 }));
}

/// The next segment is only begun when all of the one before is durable.
#[test]
fn the_segment_before_an_unfinished_one_cannot_be_torn() {
    let (disk, records) = closed_log();
    let newest = contents(&disk).into_keys().next_back().unwrap();
    let file = disk.open(&newest, true).unwrap();
    file.truncate(file.byte_len().unwrap() - 1).unwrap();
    assert_eq!(verify(Path::new(DIR), &disk.fork()).unwrap().records, records.len() as u64, "the newest one can");
    disk.put(&Path::new(DIR).join(format!("{:020}.seg", records.len() + 1)), b"EYE".to_vec());
    for error in [verify(Path::new(DIR), &disk).unwrap_err(), open(&disk).err().unwrap()] {
        assert!(matches!(error.kind(), ErrorKind::Corrupt { file, .. } if *file == newest), "{error}");
    }
}

/// Going on without it would use its offsets again.
#[test]
fn an_only_segment_without_a_header_is_damage_unless_the_log_begins_with_it() {
    let alone = |name: &str| {
        let (disk, path) = (SimDisk::new(), Path::new(DIR).join(name));
        disk.put(&path, b"EYE".to_vec());
        (disk, path)
    };
    let (disk, path) = alone("00000000000000000007.seg");
    for error in [verify(Path::new(DIR), &disk).unwrap_err(), open(&disk).err().unwrap()] {
        assert_eq!(*error.kind(), ErrorKind::Corrupt { file: path.clone(), byte: 0 });
    }
    let (disk, path) = alone(GOOD);
    let (log, report) = open(&disk).unwrap();
    assert_eq!((log.end(), &report.cuts[0].segment), (Offset::FIRST, &path));
}

#[test]
fn a_second_tail_cut_at_the_same_byte_is_kept_beside_the_first() {
    let (disk, expected) = closed_log();
    let (newest, bytes) = contents(&disk).into_iter().next_back().unwrap();
    for (name, garbage) in [("", b"first"), ("-2", b"other")] {
        let mut torn = bytes.clone();
        torn.extend(garbage);
        disk.put(&newest, torn);
        let (log, report) = open(&disk).unwrap();
        assert_eq!(records(&log), expected);
        let kept_in = format!("{}.cut-{}{name}", newest.display(), bytes.len());
        assert_eq!(report.cuts[0].kept_in, Path::new(&kept_in));
        assert_eq!(disk.content(Path::new(&kept_in)).unwrap(), garbage);
    }
}

#[test]
fn a_cut_removes_what_recovery_has_kept_for_good() {
    let (disk, _) = closed_log();
    let (newest, bytes) = contents(&disk).into_iter().next_back().unwrap();
    disk.put(&newest, [&bytes[..], b"torn"].concat());
    let kept = |disk: &SimDisk| {
        let names = disk.list(newest.parent().unwrap()).unwrap();
        names.into_iter().filter(|name| name.contains(".cut-")).collect::<Vec<_>>()
    };
    let (log, _) = open(&disk).unwrap();
    assert_eq!(kept(&disk).len(), 1);
    disk.fail(Operation::Remove, 1, Fault::Io);
    assert_eq!(*log.cut().unwrap_err().kind(), ErrorKind::Io, "it is still there");
    assert_eq!(kept(&disk).len(), 1);
    log.cut().unwrap();
    assert!(kept(&disk).is_empty());
    for seed in 0..20 {
        let cut = disk.fork();
        cut.crash(seed);
        assert!(kept(&cut).is_empty(), "after a power cut with seed {seed}");
    }
}

#[test]
fn a_folder_with_a_copy_of_its_files_opens_as_the_log() {
    let disk = SimDisk::new();
    let (log, _) = open(&disk).unwrap();
    for number in 0..40 {
        let last = append_blocking(&log, payload(number), 1).unwrap();
        // It returns just before the record is seen.
        log.wait_past(last, Duration::from_secs(60)).unwrap();
        let copy = SimDisk::new();
        let files = log.files().unwrap();
        assert!(format!("{files:?}").contains(files[0].name()));
        for file in files {
            let mut bytes = vec![0; usize::try_from(file.bytes()).unwrap()];
            file.read_exact_at(&mut bytes, 0).unwrap();
            copy.put(&options().dir.join(file.name()), bytes);
        }
        assert_eq!(records(&open(&copy).unwrap().0), records(&log));
    }
}

/// Copies a fixture to a folder of its own.
fn fixture(name: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(format!("v1-{name}.seg"));
    std::fs::copy(from, folder.path().join(GOOD)).unwrap();
    folder
}

fn open_fixture(folder: &tempfile::TempDir) -> Result<(LocalLog, RecoveryReport)> {
    LocalLog::open(LocalOptions { dir: folder.path().to_owned(), ..options() }, Arc::new(OsDisk))
}

#[test]
fn the_good_segment_of_version_1_opens() {
    let folder = fixture("good");
    let checked = verify(folder.path(), &OsDisk).unwrap();
    assert_eq!((checked.records, checked.end, checked.torn_tail), (6, Offset(7), None));
    assert_eq!(checked.partition, Some(PartitionId(5)));
    let (log, report) = open_fixture(&folder).unwrap();
    assert!(report.clean);
    assert!(records(&log).into_iter().map(|record| record.payload).eq((0..6).map(payload)));
    assert_eq!(append_blocking(&log, payload(6), 1).unwrap(), Offset(7));
}

#[test]
fn the_torn_segment_of_version_1_opens_and_its_tail_is_kept() {
    let folder = fixture("torn");
    let torn = verify(folder.path(), &OsDisk).unwrap().torn_tail.unwrap();
    let (log, report) = open_fixture(&folder).unwrap();
    assert_eq!(report.cuts.len(), 1);
    assert_eq!((report.cuts[0].byte, report.cuts[0].bytes), (torn.byte, torn.bytes));
    assert_eq!(std::fs::metadata(&report.cuts[0].kept_in).unwrap().len(), torn.bytes);
    assert!(records(&log).into_iter().map(|record| record.payload).eq((0..1).map(payload)));
}

#[test]
fn the_damaged_segment_of_version_1_is_refused_and_left_as_it_is() {
    let folder = fixture("damaged");
    let path = folder.path().join(GOOD);
    let before = std::fs::read(&path).unwrap();
    for error in [verify(folder.path(), &OsDisk).err().unwrap(), open_fixture(&folder).err().unwrap()] {
        assert!(matches!(error.kind(), ErrorKind::Corrupt { file, byte: 112 } if *file == path), "{error}");
    }
    assert_eq!(std::fs::read(&path).unwrap(), before);
}

/// A new version's fixtures are written by the first run; those that are there stay.
#[test]
fn what_is_written_today_is_byte_for_byte_what_version_1_wrote() {
    let disk = SimDisk::new();
    let options = LocalOptions { segment_bytes_max: 100_000, ..options() };
    let (log, _) = LocalLog::open(options, Arc::new(disk.clone())).unwrap();
    append_together(&disk, &log, (1..6).map(payload));
    log.close().unwrap();
    let good = disk.content(&Path::new(DIR).join(GOOD)).unwrap();
    // Without the seal and the end of the last record.
    let torn = good[..good.len() - 48 - 5].to_vec();
    let mut damaged = good.clone();
    // In the payload of the first record, which begins at byte 112.
    damaged[140] ^= 0x20;
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    for (name, bytes) in [("good", good), ("torn", torn), ("damaged", damaged)] {
        let path = folder.join(format!("v1-{name}.seg"));
        if !path.exists() {
            std::fs::write(&path, &bytes).unwrap();
        }
        assert!(std::fs::read(&path).unwrap() == bytes, "{} is something else", path.display());
    }
}
