//! The contract of [`Log`], as tests that run over every backend.
//!
//! Each property is a function with a name that says it. A backend passes if [`run`] returns.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "these are tests; they live in the library so that every backend's crate can run them"
)]

use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Barrier};
use std::time::Duration;

use bytes::Bytes;

use crate::error::{ErrorKind, Result};
use crate::record::{NewRecord, Offset, Record};
use crate::{Log, SharedLog, append_blocking};

/// Enough for everything that is written here.
const ALL: usize = 1 << 30;
/// Longer than any test waits for what must come.
const LONG: Duration = Duration::from_secs(60);

/// A backend under test.
pub struct Backend<'a> {
    /// Makes a new, empty log.
    pub fresh: &'a dyn Fn() -> SharedLog,
    /// Opens a closed log again, if the backend persists.
    pub reopen: Option<&'a dyn Fn(SharedLog) -> SharedLog>,
    /// The largest payload that it takes.
    pub record_bytes_max: usize,
}

/// A named part of the contract.
pub type Property = (&'static str, fn(&Backend<'_>));

/// The contract.
pub const PROPERTIES: &[Property] = &[
    ("offsets_start_at_one_and_rise", offsets_start_at_one_and_rise),
    ("a_record_takes_count_offsets", a_record_takes_count_offsets),
    ("an_empty_payload_is_a_record", an_empty_payload_is_a_record),
    ("callbacks_come_once_before_visibility", callbacks_come_once_before_visibility),
    ("appends_of_one_thread_keep_their_order", appends_of_one_thread_keep_their_order),
    ("concurrent_appends_get_their_own_offsets", concurrent_appends_get_their_own_offsets),
    ("reads_are_bounded_and_never_empty_before_the_end", reads_are_bounded_and_never_empty_before_the_end),
    ("a_callback_may_append", a_callback_may_append),
    ("wait_past_returns_the_end", wait_past_returns_the_end),
    ("wait_past_wakes_on_append", wait_past_wakes_on_append),
    ("close_wakes_who_waits", close_wakes_who_waits),
    ("trim_forgets_nothing_at_or_past_its_bound", trim_forgets_nothing_at_or_past_its_bound),
    ("trimmed_offsets_are_named", trimmed_offsets_are_named),
    ("what_lies_before_a_cut_is_trimmed_to_the_last_record", what_lies_before_a_cut_is_trimmed_to_the_last_record),
    ("close_makes_queued_records_durable", close_makes_queued_records_durable),
    ("too_large_records_are_refused_alone", too_large_records_are_refused_alone),
    ("a_reopened_log_goes_on", a_reopened_log_goes_on),
    ("a_trimmed_log_goes_on_after_reopening", a_trimmed_log_goes_on_after_reopening),
];

/// Checks every property.
///
/// # Panics
/// If one does not hold.
pub fn run(backend: &Backend<'_>) {
    for (_, property) in PROPERTIES {
        property(backend);
    }
}

fn payload(number: u64) -> Bytes {
    Bytes::from(format!("record {number} {}", "x".repeat(number as usize % 97)))
}

/// Appends `numbers` and waits for each.
fn fill(log: &dyn Log, numbers: std::ops::Range<u64>) -> Vec<Record> {
    numbers
        .map(|number| {
            let count = number as u32 % 4 + 1;
            let offset = append_blocking(log, payload(number), count).expect("the append succeeds");
            Record { offset, count, payload: payload(number) }
        })
        .collect()
}

/// Appends without waiting.
fn send(log: &dyn Log, payload: Bytes, count: u32) -> Receiver<Result<Offset>> {
    let (sender, receiver) = channel();
    log.append(NewRecord::new(payload, count, move |result| drop(sender.send(result))));
    receiver
}

/// Everything from `from`, by many small reads.
fn read_all(log: &dyn Log, mut from: Offset) -> Vec<Record> {
    let mut all = Vec::new();
    while from < log.end() {
        let some = log.read(from, 1000).expect("the read succeeds");
        from = some.last().expect("a read before the end finds something").next();
        all.extend(some);
    }
    all
}

/// Waits until readers see what lies below `end`: callbacks come before.
fn visible(log: &dyn Log, end: Offset) {
    assert!(log.wait_past(end.previous(), LONG).expect("the log is open") >= end);
}

fn offsets_start_at_one_and_rise(backend: &Backend<'_>) {
    let log = (backend.fresh)();
    assert_eq!((log.start(), log.end()), (Offset::FIRST, Offset::FIRST));
    assert_eq!(log.read(Offset::FIRST, ALL).unwrap(), []);
    let records = fill(&*log, 0..100);
    assert_eq!(records[0].offset, Offset::FIRST);
    assert!(records.windows(2).all(|pair| pair[0].next() == pair[1].offset));
    visible(&*log, records[99].next());
    assert_eq!(log.end(), records[99].next());
    assert_eq!(log.start(), Offset::FIRST);
    assert_eq!(log.read(Offset::ZERO, ALL).unwrap(), records);
    assert_eq!(log.read(log.end(), ALL).unwrap(), []);
    assert_eq!(log.read(log.end().plus(1000), ALL).unwrap(), []);
}

fn a_record_takes_count_offsets(backend: &Backend<'_>) {
    let log = (backend.fresh)();
    append_blocking(&*log, payload(1), 10).unwrap();
    assert_eq!(append_blocking(&*log, payload(2), 1).unwrap(), Offset(11));
    visible(&*log, Offset(12));
    for inside in 1..=10 {
        let first = &log.read(Offset(inside), 1).unwrap()[0];
        assert_eq!((first.offset, first.count, &first.payload), (Offset(1), 10, &payload(1)));
    }
    assert_eq!(log.read(Offset(11), ALL).unwrap()[0].payload, payload(2));
}

fn an_empty_payload_is_a_record(backend: &Backend<'_>) {
    let log = (backend.fresh)();
    append_blocking(&*log, Bytes::new(), 1).unwrap();
    visible(&*log, Offset(2));
    assert_eq!(log.read(Offset(1), 0).unwrap(), [Record { offset: Offset(1), count: 1, payload: Bytes::new() }]);
}

fn callbacks_come_once_before_visibility(backend: &Backend<'_>) {
    let log = (backend.fresh)();
    let (sender, receiver) = channel();
    for number in 0..50 {
        let (sender, reader) = (sender.clone(), Arc::downgrade(&log));
        log.append(NewRecord::new(payload(number), 2, move |result| {
            let offset = result.unwrap();
            let reader = reader.upgrade().unwrap();
            let seen = (reader.end(), reader.read(offset, ALL).unwrap());
            sender.send((offset, seen)).unwrap();
        }));
    }
    drop(sender);
    let calls: Vec<_> = receiver.iter().collect();
    assert_eq!(calls.len(), 50);
    for (index, (offset, (end, records))) in calls.into_iter().enumerate() {
        assert_eq!(offset, Offset(1 + 2 * index as u64), "in order");
        assert!(end <= offset, "the end had passed {offset} already");
        assert_eq!(records, [], "{offset} was readable before its callback");
    }
}

fn appends_of_one_thread_keep_their_order(backend: &Backend<'_>) {
    let log = (backend.fresh)();
    let sent: Vec<_> = (0..500).map(|number| send(&*log, payload(number), 1)).collect();
    for (index, receiver) in sent.into_iter().enumerate() {
        assert_eq!(receiver.recv().unwrap().unwrap(), Offset(index as u64 + 1));
    }
    visible(&*log, Offset(501));
    let read = read_all(&*log, Offset::FIRST);
    assert!(read.iter().map(|record| record.payload.clone()).eq((0..500).map(payload)));
}

fn concurrent_appends_get_their_own_offsets(backend: &Backend<'_>) {
    let log = (backend.fresh)();
    let barrier = Barrier::new(8);
    let mut records: Vec<Record> = std::thread::scope(|scope| {
        let writer = |thread: u64| {
            let (log, barrier) = (&log, &barrier);
            move || {
                barrier.wait();
                fill(&**log, thread * 100..thread * 100 + 50)
            }
        };
        let threads: Vec<_> = (0..8).map(|thread| scope.spawn(writer(thread))).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    records.sort_by_key(|record| record.offset);
    visible(&*log, records[399].next());
    assert_eq!(read_all(&*log, Offset::FIRST), records);
}

fn reads_are_bounded_and_never_empty_before_the_end(backend: &Backend<'_>) {
    let log = (backend.fresh)();
    for _ in 0..20 {
        append_blocking(&*log, Bytes::from(vec![7; 1000]), 1).unwrap();
    }
    visible(&*log, Offset(21));
    assert_eq!(log.read(Offset(5), 0).unwrap().len(), 1);
    assert_eq!(log.read(Offset(5), 1).unwrap().len(), 1);
    let some = log.read(Offset(5), 5500).unwrap();
    assert!((4..=6).contains(&some.len()), "{} records of 1000 bytes for 5500", some.len());
    assert_eq!(log.read(Offset(20), ALL).unwrap().len(), 1);
}

fn a_callback_may_append(backend: &Backend<'_>) {
    let log = (backend.fresh)();
    let (sender, receiver) = channel();
    let inner = Arc::downgrade(&log);
    log.append(NewRecord::new(payload(1), 1, move |_| {
        let second = NewRecord::new(payload(2), 1, move |result| sender.send(result).unwrap());
        inner.upgrade().unwrap().append(second);
    }));
    assert_eq!(receiver.recv().unwrap().unwrap(), Offset(2));
    visible(&*log, Offset(3));
}

fn wait_past_returns_the_end(backend: &Backend<'_>) {
    let log = (backend.fresh)();
    assert_eq!(log.wait_past(Offset::FIRST, Duration::ZERO).unwrap(), Offset::FIRST);
    append_blocking(&*log, payload(1), 3).unwrap();
    assert_eq!(log.wait_past(Offset(3), LONG).unwrap(), Offset(4));
    assert_eq!(log.wait_past(Offset(4), Duration::ZERO).unwrap(), Offset(4));
}

fn wait_past_wakes_on_append(backend: &Backend<'_>) {
    let log = (backend.fresh)();
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| log.wait_past(Offset(1), LONG));
        append_blocking(&*log, payload(1), 1).unwrap();
        assert_eq!(waiter.join().unwrap().unwrap(), Offset(2));
    });
}

fn close_wakes_who_waits(backend: &Backend<'_>) {
    let log = (backend.fresh)();
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| log.wait_past(Offset(1), LONG));
        log.close().unwrap();
        assert_eq!(*waiter.join().unwrap().unwrap_err().kind(), ErrorKind::Closed);
    });
}

fn trim_forgets_nothing_at_or_past_its_bound(backend: &Backend<'_>) {
    let log = (backend.fresh)();
    let records = fill(&*log, 0..200);
    visible(&*log, records[199].next());
    let mut trimmed = 0;
    for keep in [0, 1, 57, 57, 120, 30, 199] {
        log.trim(records[keep].offset).unwrap();
        trimmed = trimmed.max(keep);
        assert!(log.start() <= records[trimmed].offset);
        assert_eq!(read_all(&*log, records[trimmed].offset), records[trimmed..]);
    }
    log.trim(log.end().plus(5)).unwrap();
    assert!(log.start() <= log.end());
    assert_eq!(append_blocking(&*log, payload(1), 1).unwrap(), records[199].next());
}

fn trimmed_offsets_are_named(backend: &Backend<'_>) {
    let log = (backend.fresh)();
    let records = fill(&*log, 0..200);
    visible(&*log, records[199].next());
    log.trim(records[199].offset).unwrap();
    let start = log.start();
    assert!(start > Offset::FIRST, "make the segments of this backend small enough that something is trimmed");
    for gone in [Offset::ZERO, Offset::FIRST, start.previous()] {
        assert_eq!(*log.read(gone, ALL).unwrap_err().kind(), ErrorKind::Trimmed { start });
    }
    assert_eq!(read_all(&*log, start).last(), records.last());
}

fn what_lies_before_a_cut_is_trimmed_to_the_last_record(backend: &Backend<'_>) {
    let mut log = (backend.fresh)();
    assert_eq!(log.cut().unwrap(), Offset::FIRST, "there is nothing to cut");
    for round in 0..3 {
        let records = fill(&*log, 0..7);
        let cut = log.cut().unwrap();
        assert_eq!(cut, records[6].next());
        assert_eq!(log.cut().unwrap(), cut, "once more changes nothing");
        visible(&*log, cut);
        log.trim(cut).unwrap();
        assert_eq!((log.start(), log.end()), (cut, cut));
        if round == 1
            && let Some(reopen) = backend.reopen
        {
            log.close().unwrap();
            log = reopen(log);
            assert_eq!((log.start(), log.end()), (cut, cut));
        }
    }
    log.close().unwrap();
    if backend.reopen.is_some() {
        assert_eq!(*log.cut().unwrap_err().kind(), ErrorKind::Closed);
    }
}

fn close_makes_queued_records_durable(backend: &Backend<'_>) {
    let log = (backend.fresh)();
    let sent: Vec<_> = (0..100).map(|number| send(&*log, payload(number), 1)).collect();
    log.close().unwrap();
    for receiver in sent {
        assert!(receiver.try_recv().expect("the callback came before close returned").is_ok());
    }
    assert_eq!(log.end(), Offset(101));
    assert_eq!(*append_blocking(&*log, payload(1), 1).unwrap_err().kind(), ErrorKind::Closed);
    assert_eq!(*log.trim(Offset(50)).unwrap_err().kind(), ErrorKind::Closed);
    log.close().expect("closing twice is fine");
    assert_eq!(log.end(), Offset(101));
}

fn too_large_records_are_refused_alone(backend: &Backend<'_>) {
    let log = (backend.fresh)();
    let too_large = Bytes::from(vec![0; backend.record_bytes_max + 1]);
    assert_eq!(*append_blocking(&*log, too_large.clone(), 1).unwrap_err().kind(), ErrorKind::TooLarge);
    let largest = too_large.slice(1..);
    assert_eq!(append_blocking(&*log, largest.clone(), 1).unwrap(), Offset(1));
    visible(&*log, Offset(2));
    assert_eq!(log.read(Offset(1), 1).unwrap()[0].payload, largest);
    log.health().unwrap();
}

fn a_reopened_log_goes_on(backend: &Backend<'_>) {
    let Some(reopen) = backend.reopen else { return };
    let log = (backend.fresh)();
    let mut records = fill(&*log, 0..100);
    log.close().unwrap();
    let log = reopen(log);
    assert_eq!((log.start(), log.end()), (Offset::FIRST, records[99].next()));
    assert_eq!(read_all(&*log, Offset::FIRST), records);
    let more = fill(&*log, 100..150);
    assert_eq!(more[0].offset, records[99].next());
    records.extend(more);
    visible(&*log, records[149].next());
    assert_eq!(read_all(&*log, Offset::FIRST), records);
}

fn a_trimmed_log_goes_on_after_reopening(backend: &Backend<'_>) {
    let Some(reopen) = backend.reopen else { return };
    let log = (backend.fresh)();
    let records = fill(&*log, 0..200);
    visible(&*log, records[199].next());
    log.trim(records[199].next()).unwrap();
    let start = log.start();
    log.close().unwrap();
    let log = reopen(log);
    assert_eq!((log.start(), log.end()), (start, records[199].next()));
    assert_eq!(append_blocking(&*log, payload(1), 1).unwrap(), records[199].next());
}
