//! The local log when the disk fails, fills up, or is slow; and when two want the same folder.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking, its helpers too")]

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};

use bytes::Bytes;
use eye_log::disk::sim::{Fault, Operation, SimDisk};
use eye_log::disk::{Disk, OsDisk};
use eye_log::local::{LocalLog, LocalOptions, RecoveryReport, verify};
use eye_log::{Error, ErrorKind, Log, NewRecord, Offset, PartitionId, Result, append_blocking};

fn options() -> LocalOptions {
    let mut options = LocalOptions::new("log", PartitionId(0));
    options.reserve_bytes = 0;
    options.room_bytes = 0;
    options.salt_seed = Some(1);
    options
}

fn open_with(disk: &SimDisk, options: LocalOptions) -> Result<(LocalLog, RecoveryReport)> {
    LocalLog::open(options, Arc::new(disk.clone()))
}

fn open(disk: &SimDisk) -> LocalLog {
    open_with(disk, options()).unwrap().0
}

/// Waits until readers see it too: whoever appends is told before.
fn append(log: &dyn Log, text: &str) -> Result<Offset> {
    let offset = append_blocking(log, Bytes::copy_from_slice(text.as_bytes()), 1)?;
    log.wait_past(offset, std::time::Duration::from_secs(60))?;
    Ok(offset)
}

fn send(log: &dyn Log, payload: Bytes) -> Receiver<Result<Offset>> {
    let (sender, receiver) = channel();
    log.append(NewRecord::new(payload, 1, move |result| sender.send(result).unwrap()));
    receiver
}

fn texts(log: &dyn Log) -> Vec<String> {
    let records = log.read(log.start(), usize::MAX).unwrap();
    records.iter().map(|record| String::from_utf8(record.payload.to_vec()).unwrap()).collect()
}

fn kind<T: std::fmt::Debug>(result: Result<T>) -> ErrorKind {
    result.map_err(|error: Error| error.kind().clone()).unwrap_err()
}

#[test]
fn one_sync_serves_everything_that_gathered_meanwhile() {
    let disk = SimDisk::new();
    let log = open(&disk);
    disk.hold_syncs();
    let first = send(&log, "first".into());
    disk.wait_for_held_sync();
    let others: Vec<_> = (0..100).map(|number| send(&log, format!("{number}").into())).collect();
    assert!(first.try_recv().is_err(), "acknowledged before its sync");
    let before = disk.syncs_done();
    disk.release_syncs();
    assert_eq!(first.recv().unwrap().unwrap(), Offset(1));
    assert!(others.into_iter().all(|other| other.recv().unwrap().is_ok()));
    assert_eq!(disk.syncs_done() - before, 2);
}

#[test]
fn a_cut_waits_for_every_record_that_was_queued_before_it() {
    let disk = SimDisk::new();
    let log = Arc::new(open(&disk));
    disk.hold_syncs();
    let first = send(&*log, "first".into());
    disk.wait_for_held_sync();
    let second = send(&*log, "second".into());
    let cutting = Arc::clone(&log);
    let cut = std::thread::spawn(move || cutting.cut());
    // So that it is asked for while the first record waits. If it is not, the answer is the same.
    std::thread::sleep(std::time::Duration::from_millis(100));
    disk.release_syncs();
    assert_eq!(cut.join().unwrap().unwrap(), Offset(3));
    assert_eq!(first.recv().unwrap().unwrap(), Offset(1));
    assert_eq!(second.recv().unwrap().unwrap(), Offset(2));
    log.trim(Offset(3)).unwrap();
    assert_eq!(log.start(), Offset(3), "both lie before the cut");
}

#[test]
fn a_failed_sync_poisons_and_is_never_tried_again() {
    let disk = SimDisk::new();
    let log = open(&disk);
    append(&log, "good").unwrap();
    let syncs = disk.syncs_done();
    disk.fail(Operation::Sync, 1, Fault::Io);
    assert_eq!(kind(append(&log, "bad")), ErrorKind::Poisoned);
    assert_eq!(kind(append(&log, "late")), ErrorKind::Poisoned);
    assert_eq!(kind(log.health()), ErrorKind::Poisoned);
    assert_eq!(kind(log.wait_past(Offset(2), std::time::Duration::from_secs(60))), ErrorKind::Poisoned);
    assert_eq!(texts(&log), ["good"], "reads go on, and show what is durable");
    assert_eq!(kind(log.close()), ErrorKind::Poisoned);
    assert_eq!(disk.syncs_done(), syncs);
}

#[test]
fn what_a_failed_sync_left_in_memory_is_made_durable_before_it_is_shown() {
    let disk = SimDisk::new();
    let log = open(&disk);
    append(&log, "good").unwrap();
    disk.fail(Operation::Sync, 1, Fault::Io);
    append(&log, "unsure").unwrap_err();
    drop(log);
    disk.kill();
    let log = open(&disk);
    assert_eq!(texts(&log), ["good", "unsure"], "the page cache still has it");
    append(&log, "next").unwrap();
    for seed in 0..50 {
        let disk = disk.fork();
        disk.crash(seed);
        assert_eq!(texts(&open(&disk)), ["good", "unsure", "next"], "seed {seed}");
    }
}

#[test]
fn a_failed_write_poisons_and_the_rest_of_it_is_cut_later() {
    let disk = SimDisk::new();
    let log = open(&disk);
    append(&log, "good").unwrap();
    disk.fail(Operation::Write, 1, Fault::Io);
    assert_eq!(kind(append(&log, "bad")), ErrorKind::Poisoned);
    drop(log);
    let torn = verify(Path::new("log"), &disk).unwrap().torn_tail.expect("half a group is there");
    let (log, report) = open_with(&disk, options()).unwrap();
    assert_eq!(texts(&log), ["good"]);
    assert!(!report.clean);
    let cut = &report.cuts[0];
    assert_eq!((&cut.segment, cut.byte, cut.bytes), (&torn.segment, torn.byte, torn.bytes));
    assert_eq!(disk.content(&cut.kept_in).unwrap().len() as u64, cut.bytes);
    assert_eq!(verify(Path::new("log"), &disk).unwrap().torn_tail, None);
}

#[test]
fn a_full_disk_refuses_records_and_works_again_by_itself() {
    let disk = SimDisk::new();
    let mut options = options();
    options.reserve_bytes = 1000;
    let (log, _) = open_with(&disk, options).unwrap();
    append(&log, "before").unwrap();
    disk.set_capacity(Some(disk.used_bytes() + 1000));
    let written = disk.used_bytes();
    assert_eq!(kind(append(&log, "refused")), ErrorKind::Full);
    assert_eq!(disk.used_bytes(), written, "the reserve is not touched");
    log.health().unwrap();
    assert_eq!(texts(&log), ["before"]);
    disk.set_capacity(None);
    assert_eq!(append(&log, "after").unwrap(), Offset(2));
}

#[test]
fn a_write_that_finds_no_space_is_taken_back() {
    let disk = SimDisk::new();
    let log = open(&disk);
    append(&log, "before").unwrap();
    let used = disk.used_bytes();
    disk.fail(Operation::Write, 1, Fault::NoSpace);
    assert_eq!(kind(append(&log, "refused")), ErrorKind::Full);
    assert_eq!(disk.used_bytes(), used);
    assert_eq!(append(&log, "after").unwrap(), Offset(2));
    log.close().unwrap();
    drop(log);
    assert_eq!(texts(&open(&disk)), ["before", "after"]);
}

#[test]
fn a_write_that_cannot_be_taken_back_poisons() {
    let disk = SimDisk::new();
    let log = open(&disk);
    disk.fail(Operation::Write, 1, Fault::NoSpace);
    disk.fail(Operation::Truncate, 1, Fault::Io);
    assert_eq!(kind(append(&log, "refused")), ErrorKind::Poisoned);
    assert_eq!(kind(append(&log, "after")), ErrorKind::Poisoned);
}

#[test]
fn no_space_at_a_sync_poisons() {
    let disk = SimDisk::new();
    let log = open(&disk);
    disk.fail(Operation::Sync, 1, Fault::NoSpace);
    assert_eq!(kind(append(&log, "bad")), ErrorKind::Poisoned);
}

#[test]
fn a_segment_that_finds_no_space_is_created_later() {
    let disk = SimDisk::new();
    let mut options = options();
    options.segment_bytes_max = 150;
    let (log, _) = open_with(&disk, options.clone()).unwrap();
    append(&log, "one").unwrap();
    for (operation, what) in [(Operation::Create, "no name"), (Operation::Write, "no header")] {
        disk.fail(operation, 1, Fault::NoSpace);
        assert_eq!(kind(append(&log, what)), ErrorKind::Full, "{what}");
        assert_eq!(disk.list(Path::new("log")).unwrap().len(), 1, "{what}: nothing is left of it");
    }
    append(&log, "two").unwrap();
    assert_eq!(disk.list(Path::new("log")).unwrap().len(), 2);
    drop(log);
    assert_eq!(texts(&open_with(&disk, options).unwrap().0), ["one", "two"]);
}

#[test]
fn a_segment_that_finds_no_descriptor_is_created_later() {
    let disk = SimDisk::new();
    let options = LocalOptions { segment_bytes_max: 150, ..options() };
    let (log, _) = open_with(&disk, options.clone()).unwrap();
    append(&log, "one").unwrap();
    for refused in ["once", "again"] {
        disk.fail(Operation::Create, 1, Fault::NoDescriptor);
        assert_eq!(kind(append(&log, refused)), ErrorKind::Busy);
        log.health().unwrap();
        assert_eq!(disk.list(Path::new("log")).unwrap().len(), 1, "nothing is left of it");
    }
    append(&log, "two").unwrap();
    assert_eq!(disk.list(Path::new("log")).unwrap().len(), 2);
    drop(log);
    assert_eq!(texts(&open_with(&disk, options).unwrap().0), ["one", "two"]);
}

#[test]
fn a_segment_whose_name_is_not_durable_poisons() {
    let disk = SimDisk::new();
    let mut options = options();
    options.segment_bytes_max = 150;
    let (log, _) = open_with(&disk, options.clone()).unwrap();
    append(&log, "one").unwrap();
    disk.fail(Operation::SyncDir, 1, Fault::Io);
    assert_eq!(kind(append(&log, "two")), ErrorKind::Poisoned);
    drop(log);
    for seed in 0..20 {
        let disk = disk.fork();
        disk.crash(seed);
        assert_eq!(texts(&open_with(&disk, options.clone()).unwrap().0), ["one"], "seed {seed}");
    }
}

#[test]
fn a_segment_that_cannot_be_created_poisons() {
    for operation in [Operation::Create, Operation::Write] {
        let disk = SimDisk::new();
        let (log, _) = open_with(&disk, LocalOptions { segment_bytes_max: 150, ..options() }).unwrap();
        append(&log, "one").unwrap();
        disk.fail(operation, 1, Fault::Io);
        assert_eq!(kind(append(&log, "two")), ErrorKind::Poisoned, "{operation:?}");
        assert_eq!(texts(&log), ["one"], "{operation:?}");
    }
}

#[test]
fn a_full_queue_says_busy_and_takes_records_again() {
    let disk = SimDisk::new();
    let mut options = options();
    options.queue_bytes_max = 1000;
    let (log, _) = open_with(&disk, options).unwrap();
    disk.hold_syncs();
    let in_flight = send(&log, Bytes::from(vec![1; 500]));
    disk.wait_for_held_sync();
    let waiting = send(&log, Bytes::from(vec![2; 200]));
    assert_eq!(kind(append(&log, &"x".repeat(500))), ErrorKind::Busy, "what the writer has in hand counts");
    disk.release_syncs();
    assert_eq!(in_flight.recv().unwrap().unwrap(), Offset(1));
    assert_eq!(waiting.recv().unwrap().unwrap(), Offset(2));
    log.close().unwrap();
    assert_eq!(log.end(), Offset(3));
}

#[test]
fn a_record_larger_than_the_queue_goes_through_alone() {
    let disk = SimDisk::new();
    let mut options = options();
    options.queue_bytes_max = 10;
    let (log, _) = open_with(&disk, options).unwrap();
    append(&log, &"x".repeat(500)).unwrap();
}

#[test]
fn a_callback_that_panics_stops_the_log_and_nobody_waits_for_ever() {
    let disk = SimDisk::new();
    let log = open(&disk);
    disk.hold_syncs();
    let _first = send(&log, "first".into());
    disk.wait_for_held_sync();
    log.append(NewRecord::new("second".into(), 1, |_| panic!("on purpose")));
    let third = send(&log, "third".into());
    disk.release_syncs();
    assert!(third.recv().unwrap().is_ok(), "it was durable all the same");
    assert_eq!(kind(log.close()), ErrorKind::Poisoned);
    assert_eq!(log.end(), Offset(4));
}

#[test]
fn a_log_dropped_by_its_own_callback_lets_go_of_the_folder() {
    let disk = SimDisk::new();
    let log = Arc::new(open(&disk));
    disk.hold_syncs();
    let (sender, receiver) = channel();
    let last = Arc::clone(&log);
    log.append(NewRecord::new("last".into(), 1, move |_| {
        drop(last);
        sender.send(()).unwrap();
    }));
    drop(log);
    disk.release_syncs();
    receiver.recv().unwrap();
    let log = loop {
        match open_with(&disk, options()) {
            Ok((log, _)) => break log,
            Err(error) => assert_eq!(*error.kind(), ErrorKind::Locked),
        }
        std::thread::yield_now();
    };
    assert_eq!(texts(&log), ["last"]);
}

#[test]
fn a_trim_that_failed_can_be_done_again() {
    let disk = SimDisk::new();
    let mut options = options();
    options.segment_bytes_max = 150;
    let (log, _) = open_with(&disk, options.clone()).unwrap();
    for number in 0..10 {
        append(&log, &format!("{number}")).unwrap();
    }
    log.close().unwrap();
    drop(log);
    let (log, _) = open_with(&disk, options.clone()).unwrap();
    disk.fail(Operation::Remove, 2, Fault::Io);
    assert_eq!(kind(log.trim(Offset(9))), ErrorKind::Io);
    disk.fail(Operation::SyncDir, 1, Fault::Io);
    assert_eq!(kind(log.trim(Offset(9))), ErrorKind::Io);
    log.trim(Offset(9)).unwrap();
    assert!(log.start() > Offset(2) && log.start() <= Offset(9));
    let start = log.start();
    drop(log);
    let (log, report) = open_with(&disk, options).unwrap();
    assert_eq!((log.start(), report.start, report.end), (start, start, Offset(11)));
}

#[test]
fn a_crash_while_trimming_leaves_no_hole() {
    let disk = SimDisk::new();
    let mut options = options();
    options.segment_bytes_max = 150;
    let (log, _) = open_with(&disk, options.clone()).unwrap();
    for number in 0..10 {
        append(&log, &format!("{number}")).unwrap();
    }
    for step in 1..6 {
        disk.fail(Operation::SyncDir, step, Fault::Io);
        assert_eq!(kind(log.trim(Offset(10))), ErrorKind::Io);
        for seed in 0..20 {
            let disk = disk.fork();
            disk.crash(seed);
            let (log, _) = open_with(&disk, options.clone()).unwrap();
            assert_eq!(log.end(), Offset(11));
            assert!(texts(&log).ends_with(&["8".to_owned(), "9".to_owned()]));
        }
        if log.start() > Offset(3) {
            break;
        }
    }
}

#[test]
fn two_logs_cannot_hold_one_folder() {
    let folder = tempfile::tempdir().unwrap();
    let mut options = options();
    options.dir = folder.path().join("a/b/log");
    let disk: Arc<dyn Disk> = Arc::new(OsDisk);
    let (log, _) = LocalLog::open(options.clone(), Arc::clone(&disk)).unwrap();
    assert_eq!(LocalLog::open(options.clone(), Arc::clone(&disk)).err().unwrap().kind(), &ErrorKind::Locked);
    log.close().unwrap();
    LocalLog::open(options, disk).unwrap();
}

#[test]
fn a_real_disk_keeps_what_was_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let mut options = options();
    options.dir = folder.path().join("log");
    options.salt_seed = None;
    options.segment_bytes_max = 100_000;
    let disk: Arc<dyn Disk> = Arc::new(OsDisk);
    let (log, report) = LocalLog::open(options.clone(), Arc::clone(&disk)).unwrap();
    assert!(report.clean);
    let sent: Vec<_> = (0..2000).map(|number| send(&log, format!("{number:0>200}").into())).collect();
    for (index, receiver) in sent.into_iter().enumerate() {
        assert_eq!(receiver.recv().unwrap().unwrap(), Offset(index as u64 + 1));
    }
    log.close().unwrap();
    drop(log);
    let checked = verify(&options.dir, &OsDisk).unwrap();
    assert_eq!((checked.records, checked.end), (2000, Offset(2001)));
    let (log, report) = LocalLog::open(options, Arc::clone(&disk)).unwrap();
    assert!(report.clean && report.segments > 3 && report.records == 2000, "{report:?}");
    assert_eq!(texts(&log).len(), 2000);
    log.trim(Offset(1500)).unwrap();
    assert!(log.start() > Offset::FIRST && log.start() <= Offset(1500));
    assert!(log.bytes_on_disk() < report.bytes);
}

/// Small groups bring 4 KiB of room, groups above 256 bytes none.
fn options_with_room() -> LocalOptions {
    LocalOptions { room_bytes: 4096, ..options() }
}

/// The bytes of the only, or newest, segment.
fn newest(disk: &SimDisk) -> Vec<u8> {
    let mut names = disk.list(Path::new("log")).unwrap();
    names.sort();
    disk.content(&Path::new("log").join(names.last().unwrap())).unwrap()
}

#[test]
fn small_groups_are_written_into_room_that_the_first_of_them_made() {
    let disk = SimDisk::new();
    let (log, _) = open_with(&disk, options_with_room()).unwrap();
    append(&log, "one").unwrap();
    let length = newest(&disk).len();
    assert_eq!(length, 64 + 48 + 20 + 3 + 4096);
    for number in 0..20 {
        append(&log, &format!("{number}")).unwrap();
        assert_eq!(newest(&disk).len(), length, "the file does not grow");
    }
    append(&log, &"x".repeat(8000)).unwrap();
    let length = newest(&disk).len();
    assert_eq!(newest(&disk)[length - 1], b'x', "a large group brings no room");
    append(&log, "more").unwrap();
    assert!(newest(&disk).len() >= length + 4096);
}

#[test]
fn room_that_a_killed_process_leaves_is_no_torn_tail() {
    let disk = SimDisk::new();
    let (log, _) = open_with(&disk, options_with_room()).unwrap();
    append(&log, "one").unwrap();
    disk.kill();
    drop(log);
    let checked = verify(Path::new("log"), &disk).unwrap();
    assert_eq!((checked.records, checked.torn_tail), (1, None));
    let (log, report) = open_with(&disk, options_with_room()).unwrap();
    assert_eq!((report.cuts.len(), report.clean), (0, false));
    assert_eq!(newest(&disk).len(), 64 + 48 + 20 + 3 + 48, "the room is gone, a seal is there");
    append(&log, "two").unwrap();
    assert_eq!(texts(&log), ["one", "two"]);
}

#[test]
fn room_is_given_back_when_a_segment_or_the_log_ends() {
    let disk = SimDisk::new();
    let options = LocalOptions { segment_bytes_max: 1000, ..options_with_room() };
    let (log, _) = open_with(&disk, options.clone()).unwrap();
    for number in 0..30 {
        append(&log, &format!("{number}")).unwrap();
        assert!(newest(&disk).len() <= 1000, "room never goes beyond the segment's limit");
    }
    log.close().unwrap();
    let names = disk.list(Path::new("log")).unwrap();
    assert!(names.len() > 2);
    for name in names {
        let content = disk.content(&Path::new("log").join(&name)).unwrap();
        // The last group of each is a record of two digits or the seal, whose last four bytes are zero.
        assert_ne!(content[content.len() - 5..], [0; 5], "{name}");
    }
    drop(log);
    assert!(open_with(&disk, options).unwrap().1.clean);
}

#[test]
fn room_never_takes_the_reserve() {
    let disk = SimDisk::new();
    let (log, _) = open_with(&disk, LocalOptions { reserve_bytes: 1000, ..options_with_room() }).unwrap();
    disk.set_capacity(Some(disk.used_bytes() + 1500));
    append(&log, "one").unwrap();
    assert!(disk.free_bytes(Path::new("log")).unwrap() >= 1000);
    assert_eq!(texts(&log), ["one"]);
}

#[test]
fn room_that_cannot_be_given_back_poisons() {
    for operation in [Operation::Truncate, Operation::Sync] {
        let disk = SimDisk::new();
        let options = LocalOptions { segment_bytes_max: 250, ..options_with_room() };
        let (log, _) = open_with(&disk, options.clone()).unwrap();
        append(&log, "one").unwrap();
        disk.fail(operation, 1, Fault::Io);
        assert_eq!(kind(append(&log, &"two".repeat(40))), ErrorKind::Poisoned, "{operation:?}");
        disk.kill();
        drop(log);
        assert_eq!(texts(&open_with(&disk, options).unwrap().0), ["one"], "{operation:?}");
    }
}

#[test]
fn what_a_log_takes_on_disk_is_what_its_files_hold() {
    let disk = SimDisk::new();
    let (log, _) = open_with(&disk, LocalOptions { segment_bytes_max: 250, ..options() }).unwrap();
    for number in 0..10 {
        append(&log, &format!("{number}")).unwrap();
        assert_eq!(log.bytes_on_disk(), disk.used_bytes());
    }
    log.trim(Offset(8)).unwrap();
    assert_eq!(log.bytes_on_disk(), disk.used_bytes());
}

#[test]
fn a_group_takes_up_to_sixteen_mebibytes() {
    let disk = SimDisk::new();
    let log = open(&disk);
    disk.hold_syncs();
    let mut sent = vec![send(&log, "first".into())];
    disk.wait_for_held_sync();
    // Header of the group, three records, the bound; the next one begins a group.
    let size = (16 * 1024 * 1024 - 48) / 3 - 20;
    sent.extend((0..4).map(|number| send(&log, vec![number; size].into())));
    let before = disk.syncs_done();
    disk.release_syncs();
    assert!(sent.into_iter().all(|sent| sent.recv().unwrap().is_ok()));
    assert_eq!(disk.syncs_done() - before, 3);
}

#[test]
fn records_that_gathered_fill_the_segment_before_the_next_one_begins() {
    let disk = SimDisk::new();
    // One record, then a group of two, to the byte.
    let segment_bytes_max = 64 + (48 + 30) + (48 + 2 * 30);
    let (log, _) = open_with(&disk, LocalOptions { segment_bytes_max, ..options() }).unwrap();
    disk.hold_syncs();
    let mut sent = vec![send(&log, vec![0; 10].into())];
    disk.wait_for_held_sync();
    sent.extend((1..6).map(|number| send(&log, vec![number; 10].into())));
    disk.release_syncs();
    assert!(sent.into_iter().all(|sent| sent.recv().unwrap().is_ok()));
    let mut names = disk.list(Path::new("log")).unwrap();
    names.sort();
    assert_eq!(names, [1, 4].map(|first| format!("{first:020}.seg")));
    assert_eq!(disk.content(&Path::new("log").join(&names[0])).unwrap().len() as u64, segment_bytes_max);
}

#[test]
fn the_reserve_is_kept_to_the_byte() {
    let disk = SimDisk::new();
    let (log, _) = open_with(&disk, LocalOptions { reserve_bytes: 1000, ..options() }).unwrap();
    // A group of one record, and a segment header in case it needs one.
    let needed = 48 + 20 + 5 + 64;
    disk.set_capacity(Some(disk.used_bytes() + 1000 + needed - 1));
    assert_eq!(kind(append(&log, "12345")), ErrorKind::Full);
    disk.set_capacity(Some(disk.used_bytes() + 1000 + needed));
    append(&log, "12345").unwrap();
}

#[test]
fn a_group_of_a_sixteenth_of_the_room_brings_room_and_a_larger_one_none() {
    for (bytes, room) in [(256, 4096), (257, 0)] {
        let disk = SimDisk::new();
        let (log, _) = open_with(&disk, options_with_room()).unwrap();
        append(&log, &"x".repeat(bytes - 48 - 20)).unwrap();
        assert_eq!(newest(&disk).len(), 64 + bytes + room, "a group of {bytes} bytes");
    }
}

/// A log whose process was killed: opening it writes header and last group again and syncs them, then writes a seal.
fn killed_log() -> SimDisk {
    let disk = SimDisk::new();
    let log = open(&disk);
    append(&log, "one").unwrap();
    disk.kill();
    drop(log);
    assert_eq!(newest(&disk).len(), 64 + 48 + 20 + 3, "no seal");
    disk
}

#[test]
fn a_seal_that_fails_at_the_opening_is_an_error() {
    let disk = killed_log();
    disk.fail(Operation::Sync, 2, Fault::Io);
    assert_eq!(kind(open_with(&disk, options()).map(drop)), ErrorKind::Poisoned);
}

#[test]
fn a_log_opens_without_a_seal_that_finds_no_space() {
    let disk = killed_log();
    disk.fail(Operation::Write, 3, Fault::NoSpace);
    let (log, report) = open_with(&disk, options()).unwrap();
    assert!(!report.clean);
    assert_eq!(newest(&disk).len(), 64 + 48 + 20 + 3, "no seal");
    append(&log, "two").unwrap();
    assert_eq!(texts(&log), ["one", "two"]);
}
