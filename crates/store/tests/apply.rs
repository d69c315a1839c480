//! Apply when it has to wait, when a record cannot be applied, and when the settings of the dedup window change: what is
//! flushed is what was seen, and says how it was decided.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking, its helpers too")]

#[allow(dead_code, unreachable_pub, reason = "shared with other tests")]
mod faulty;

use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use bytes::Bytes;
use eye_event::{BatchHeader, BatchWriter, EventRef, Problems, Timestamp};
use eye_log::memory::MemoryLog;
use eye_log::{Offset, PartitionId, SharedLog, append_blocking};
use eye_store::table::{Commit, TableLocation};
use eye_store::{
    Columns, CommitInfo, DedupRecall, Erasure, Kind, Outcome, Request, Selection, Store, StoreSettings, Table,
    TableKind, TableOptions,
};
use faulty::FaultyStore;
use tokio::runtime::{Builder, Runtime};

const START: Timestamp = Timestamp::from_micros(1_764_000_000_000_000);

struct Node {
    runtime: Runtime,
    log: SharedLog,
    objects: Arc<FaultyStore>,
}

impl Node {
    fn new() -> Self {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        Self { runtime, log: Arc::new(MemoryLog::new()), objects: Arc::default() }
    }

    /// A store whose hot buffer is full with the first event, so that apply waits before it looks at the next records; it
    /// flushes only when it is told to.
    fn open(&self) -> Store {
        self.open_with(StoreSettings::default())
    }

    fn open_with(&self, settings: StoreSettings) -> Store {
        self.open_as(StoreSettings { hot_bytes_max: 4, ..settings })
    }

    fn open_as(&self, settings: StoreSettings) -> Store {
        let settings = StoreSettings { flush_by_itself: false, ..settings };
        let (events, rejections) = (self.table(TableKind::Events), self.table(TableKind::Rejections));
        let logs = vec![Arc::clone(&self.log)];
        Store::open(settings, logs, events, rejections, Timestamp::now, &mut |_, _| {}).unwrap().0
    }

    fn table(&self, kind: TableKind) -> Table {
        let location = TableLocation::remote(&format!("memory:///{}", kind.name())).unwrap();
        let options = TableOptions::new(kind, START);
        Table::open(self.objects.clone(), location, options, self.runtime.handle().clone()).unwrap().0
    }

    fn ingest(&self, store: &Store, id: &str) {
        self.runtime.block_on(store.ingest(request(id))).unwrap();
    }

    /// Puts a record into the log past the store's door.
    fn append(&self, payload: Bytes) -> Offset {
        append_blocking(&*self.log, payload, 1).unwrap()
    }
}

fn header() -> BatchHeader<'static> {
    BatchHeader { application: "web", token: "t", received_at: START }
}

fn event(id: &str) -> EventRef<'_> {
    EventRef {
        event_id: id,
        session_id: "s",
        category: "c",
        name: "n",
        timestamp: START,
        timestamp_raw: None,
        sent_at: None,
        user_id: None,
        anonymous_id: None,
        data: "{}",
        context: None,
        problems: Problems::NONE,
    }
}

fn request(id: &str) -> Request {
    let mut request = Request::new(&header(), 1, 0);
    request.push_event(&event(id));
    request
}

fn record(id: &str) -> Bytes {
    let mut writer = BatchWriter::new(&header(), 0);
    writer.push_event(&event(id));
    writer.finish()
}

fn ids(store: &Store) -> Vec<String> {
    let mut ids = Vec::new();
    store.snapshot().session("s", Columns::ALL, &mut |row| ids.push(row.event.event_id.to_owned())).unwrap();
    ids.sort();
    ids
}

#[test]
fn a_record_that_cannot_be_applied_lets_nothing_be_flushed_that_was_decided_with_it() {
    let node = Node::new();
    let store = node.open();
    node.ingest(&store, "first");
    let second = node.append(record("second"));
    node.append(Bytes::from_static(b"nonsense"));
    // There is room now, and both records are one group.
    store.flush_blocking().unwrap();
    let begun = Instant::now();
    while store.ready().is_ok() {
        assert!(begun.elapsed() < Duration::from_secs(60), "apply goes on past what it cannot read");
        std::thread::sleep(Duration::from_millis(1));
    }
    assert!(store.flush_blocking().is_err(), "what is acknowledged is not all in the table");
    let selection = Selection {
        id: Erasure::fresh_id(),
        criteria: vec!["session_id".to_owned()],
        columns: Columns::SESSION_ID,
        session_id: Some("s"),
        event: &|event| event.event.session_id == "s",
        rejection: &|_| false,
    };
    assert!(store.erase(&selection).is_err() && store.preview_erasure(&selection).is_err());
    assert!(store.erasures().is_empty());
    let flushed = store.snapshot().flushed().of(PartitionId(0));
    assert!(flushed < second, "{flushed}: the replay would not look at {second} any more");
    assert_eq!(ids(&store), ["first"]);
    store.abandon();
}

#[test]
fn small_requests_have_room_in_the_hot_buffer_that_large_ones_do_not_take() {
    const SMALL: usize = 60 * 1024;
    let node = Node::new();
    let store = node.open_as(StoreSettings {
        hot_bytes_max: 16 * SMALL,
        ingest_wait_max: Duration::from_secs(1),
        ..StoreSettings::default()
    });
    let mut number = 0;
    let mut take = |bytes: usize| {
        number += 1;
        let (id, data) = (format!("{number}"), format!("{{\"a\":\"{}\"}}", "x".repeat(bytes)));
        let mut request = Request::new(&header(), 1, 0);
        request.push_event(&EventRef { data: &data, ..event(&id) });
        node.runtime.block_on(store.ingest(request)).map(drop).map_err(|error| error.kind())
    };
    for _ in 0..8 {
        assert_eq!(take(2 * SMALL), Ok(()));
    }
    // The eighth was let in while there was room, and took a little more.
    assert_eq!(take(2 * SMALL), Err(Kind::Busy));
    for _ in 0..2 {
        assert_eq!(take(SMALL), Ok(()), "an eighth more, for small ones");
    }
    assert_eq!((take(2 * SMALL), take(SMALL)), (Err(Kind::Busy), Err(Kind::Busy)));
    store.flush_blocking().unwrap();
    assert_eq!((take(2 * SMALL), take(SMALL)), (Ok(()), Ok(())));
    store.abandon();
}

#[test]
fn a_store_with_a_full_hot_buffer_closes() {
    let node = Node::new();
    let store = node.open();
    node.ingest(&store, "first");
    node.append(record("second"));
    let (sender, receiver) = channel();
    let closing = store.clone();
    std::thread::spawn(move || sender.send(closing.close()).unwrap());
    receiver.recv_timeout(Duration::from_secs(60)).expect("it closes").unwrap();
    assert_eq!(ids(&store), ["first", "second"]);
    assert_eq!(store.snapshot().flushed().of(PartitionId(0)), node.log.end().previous());
}

#[test]
fn every_commit_says_under_which_window_events_were_decided() {
    const HOUR: Duration = Duration::from_secs(3600);
    let node = Node::new();
    let flush = |id: &str, dedup_window: Duration| {
        let store = node.open_with(StoreSettings { dedup_window, dedup_ids_max: 9, ..StoreSettings::default() });
        node.ingest(&store, id);
        store.flush_blocking().unwrap();
        store.abandon();
    };
    let seconds = |offsets: std::ops::Range<u64>| -> Vec<Option<i64>> {
        let dedup = CommitInfo::of(&node.table(TableKind::Events).current(), PartitionId(0)).unwrap().dedup;
        assert_eq!(dedup.latest().ids_max, 9);
        offsets.map(|offset| dedup.at(Offset(offset)).map(|rule| rule.window_seconds)).collect()
    };
    flush("first", HOUR);
    flush("second", HOUR);
    flush("third", 2 * HOUR);
    assert_eq!(seconds(0..5), [None, Some(3600), Some(3600), Some(7200), Some(7200)]);

    // A program that does not write it down has the table for a while.
    let last = node.append(record("fourth"));
    let commit = Commit {
        partition: PartitionId(0),
        first: last,
        last,
        expected_flushed: last.previous(),
        files: Vec::new(),
        info: serde_json::json!({"ledger": {}}),
        now: START,
    };
    node.table(TableKind::Events).commit(commit).unwrap();
    flush("fifth", 2 * HOUR);
    assert_eq!(seconds(3..6), [None, None, Some(7200)]);
}

#[test]
fn a_store_that_cannot_tell_repeats_for_a_while_says_that_it_is_not_ready_until_it_can() {
    let node = Node::new();
    let store = node.open();
    node.ingest(&store, "first");
    store.flush_blocking().unwrap();
    store.abandon();
    drop(store);
    let store = node.open_with(StoreSettings { dedup_recall: DedupRecall::OnDemand, ..StoreSettings::default() });
    node.objects.fail_reads(["received_date=".to_owned()]);
    let (begun, ingesting) = (Instant::now(), store.clone());
    let answer = node.runtime.spawn(async move { ingesting.ingest(request("first")).await });
    let error = loop {
        match store.ready() {
            Err(error) => break error,
            Ok(()) => assert!(begun.elapsed() < Duration::from_secs(60), "it waits and says that it is ready"),
        }
        std::thread::sleep(Duration::from_millis(10));
    };
    assert!(begun.elapsed() >= Duration::from_secs(5), "nobody needs to know of a moment");
    assert_eq!(error.kind(), Kind::Unavailable);
    let text = error.to_string();
    assert!(text.contains("the dedup window cannot be read back: ") && text.contains("timed out"), "{text}");
    node.objects.heal();
    assert_eq!(node.runtime.block_on(answer).unwrap().unwrap(), [Outcome::Duplicate]);
    store.ready().unwrap();
    store.abandon();
}
