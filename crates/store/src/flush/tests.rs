use std::time::Duration;

use eye_event::{BatchHeader, BatchWriter, EventRef, Problems, RejectionRef, Timestamp};
use eye_log::memory::MemoryLog;
use eye_log::{SharedLog, append_blocking};
use futures_util::TryStreamExt as _;
use object_store::path::Path;
use object_store::{ObjectStore as _, ObjectStoreExt as _};
use tokio::runtime::{Builder, Runtime};

use super::*;
use crate::columns::{Columns, TableKind};
use crate::settings::StoreSettings;
use crate::store::Store;
use crate::table::{Table, TableLocation, TableOptions};

#[allow(dead_code, reason = "shared with other tests")]
#[path = "../../tests/faulty/mod.rs"]
mod faulty;

use faulty::FaultyStore;

const NOW: Timestamp = Timestamp::from_micros(1_764_000_000_000_000);
const DAY_MICROS: i64 = 86_400_000_000;
const HOUR: Duration = Duration::from_secs(3600);

struct Node {
    runtime: Runtime,
    logs: Vec<SharedLog>,
    objects: Arc<FaultyStore>,
}

impl Node {
    fn new(partitions: usize) -> Self {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let logs = (0..partitions).map(|_| Arc::new(MemoryLog::new()) as SharedLog).collect();
        Self { runtime, logs, objects: Arc::default() }
    }

    /// A store that flushes only when it is told to.
    fn open(&self, change: impl FnOnce(&mut StoreSettings)) -> Store {
        let partitions = u16::try_from(self.logs.len()).unwrap();
        let mut settings =
            StoreSettings { partitions, flush_by_itself: false, flush_age_max: HOUR, ..StoreSettings::default() };
        change(&mut settings);
        let (events, rejections) = (self.table(TableKind::Events), self.table(TableKind::Rejections));
        Store::open(settings, self.logs.clone(), events, rejections, || NOW, &mut |_, _| {}).unwrap().0
    }

    fn table(&self, kind: TableKind) -> Table {
        let location = TableLocation::remote(&format!("memory:///{}", kind.name())).unwrap();
        let options = TableOptions::new(kind, NOW);
        Table::open(self.objects.clone(), location, options, self.runtime.handle().clone()).unwrap().0
    }

    /// Puts a record into a partition's log; returns when it is applied.
    fn put(&self, store: &Store, partition: usize, ids: &[&str], rejections: u32) {
        self.put_at(store, partition, ids, rejections, NOW);
    }

    fn put_at(&self, store: &Store, partition: usize, ids: &[&str], rejections: u32, received_at: Timestamp) {
        let mut writer = BatchWriter::new(&BatchHeader { application: "web", token: "t", received_at }, 0);
        for id in ids {
            writer.push_event(&event(id));
        }
        for _ in 0..rejections {
            writer.push_rejection(&RejectionRef { code: "not_json", field: "", message: "", sample: "" });
        }
        let count = writer.count();
        let first = append_blocking(&*self.logs[partition], writer.finish(), count).unwrap();
        let last = first.plus(u64::from(count) - 1);
        while store.shared.partitions[partition].applied() < last {
            std::thread::sleep(Duration::from_millis(1));
        }
        // Apply holds it until its bytes are counted too.
        drop(store.shared.partitions[partition].state.lock());
    }

    /// Every data file that lies there, part of the table or not.
    fn data_files(&self, kind: TableKind) -> Vec<String> {
        let listed = self.objects.list(Some(&Path::from(kind.name())));
        let listed: Vec<_> = self.runtime.block_on(listed.try_collect()).unwrap();
        let paths = listed.into_iter().map(|file| file.location.to_string());
        paths.filter(|path| path.ends_with(".parquet") && !path.contains("/_")).collect()
    }

    fn has(&self, path: &str) -> bool {
        self.runtime.block_on(self.objects.head(&Path::from(path))).is_ok()
    }
}

fn event(id: &str) -> EventRef<'_> {
    EventRef {
        event_id: id,
        session_id: "s",
        category: "c",
        name: "n",
        timestamp: NOW,
        timestamp_raw: None,
        sent_at: None,
        user_id: None,
        anonymous_id: None,
        data: "{}",
        context: None,
        problems: Problems::NONE,
    }
}

/// What a reader sees.
fn ids(store: &Store) -> Vec<String> {
    let mut ids = Vec::new();
    store.snapshot().session("s", Columns::ALL, &mut |row| ids.push(row.event.event_id.to_owned())).unwrap();
    ids.sort();
    ids
}

fn is_due(store: &Store, partition: usize) -> bool {
    store.shared.is_due(&store.shared.partitions[partition])
}

#[test]
fn a_partition_is_due_when_it_has_many_rows() {
    let node = Node::new(1);
    let store = node.open(|settings| settings.flush_rows_max = 3);
    assert!(!is_due(&store, 0));
    node.put(&store, 0, &["a", "b"], 0);
    assert!(!is_due(&store, 0));
    node.put(&store, 0, &["c"], 0);
    assert!(is_due(&store, 0));
    store.flush_blocking().unwrap();
    assert!(!is_due(&store, 0));
    store.abandon();
}

#[test]
fn a_partition_is_due_when_it_has_many_bytes_or_all_together_have() {
    let node = Node::new(2);
    let store = node.open(|_| {});
    node.put(&store, 0, &["a"], 0);
    let record_bytes = store.shared.view.read().hot[0].active.bytes();
    assert!(!is_due(&store, 0));
    store.abandon();

    let node = Node::new(2);
    let store = node.open(|settings| settings.flush_bytes_max = 2 * record_bytes);
    node.put(&store, 0, &["a"], 0);
    assert!(!is_due(&store, 0));
    node.put(&store, 0, &["b"], 0);
    assert!(is_due(&store, 0));
    store.abandon();

    let node = Node::new(2);
    let store = node.open(|settings| settings.hot_bytes_max = 2 * record_bytes);
    node.put(&store, 1, &["a"], 0);
    store.flush_blocking().unwrap();
    // A repeat is decided, and there is nothing of it to be written.
    node.put(&store, 1, &["a"], 0);
    for id in ["b", "c"] {
        node.put(&store, 0, &[id], 0);
        assert!(!is_due(&store, 0), "there is room for what {id} takes");
    }
    node.put(&store, 0, &["d"], 0);
    assert!(is_due(&store, 0));
    assert!(!is_due(&store, 1), "flushing it would make no room");
    store.abandon();
}

#[test]
fn a_partition_is_due_when_its_rows_are_old_and_never_without_any() {
    let node = Node::new(1);
    let store = node.open(|settings| settings.flush_age_max = Duration::ZERO);
    assert!(!is_due(&store, 0));
    node.put(&store, 0, &["a"], 0);
    assert!(is_due(&store, 0));
    store.flush_blocking().unwrap();
    assert!(!is_due(&store, 0));
    // What was decided before a store failed is flushed all the same.
    node.put(&store, 0, &["b"], 0);
    store.shared.fail(Error::new(Kind::Unavailable, "the log is gone"));
    assert!(is_due(&store, 0));
    store.abandon();
}

#[test]
fn a_flush_says_what_it_wrote_and_rejections_alone_are_committed() {
    let node = Node::new(2);
    let store = node.open(|_| {});
    let flushed = |store: &Store| {
        let report = store.flush_blocking().unwrap();
        (report.rows, report.rejections)
    };
    let rejections = || node.table(TableKind::Rejections).current();
    node.put(&store, 0, &["a", "b"], 0);
    node.put(&store, 1, &["c"], 0);
    assert_eq!(flushed(&store), (3, 0));
    assert_eq!(rejections().version, 0, "there was no rejection");
    node.put(&store, 0, &["d"], 3);
    node.put(&store, 1, &[], 2);
    assert_eq!(flushed(&store), (1, 5));
    let of = |partition| rejections().flushed(PartitionId(partition));
    assert_eq!((of(0), of(1)), (Offset(6), Offset(3)));
    assert_eq!(flushed(&store), (0, 0));
    let rows = |kind| node.table(kind).current().rows();
    assert_eq!((rows(TableKind::Events), rows(TableKind::Rejections)), (4, 5));
    store.abandon();
}

#[test]
fn the_log_is_trimmed_so_many_commits_behind_and_checkpoints_come_after_so_many() {
    let node = Node::new(1);
    let store = node.open(|settings| (settings.log_keep_commits, settings.checkpoint_commits) = (2, 3));
    let checkpoint = "events/_delta_log/00000000000000000003.checkpoint.parquet";
    for (id, start) in [("a", 1), ("b", 1), ("c", 2), ("d", 3)] {
        assert!(!node.has(checkpoint) || id == "d", "before {id}");
        node.put(&store, 0, &[id], 0);
        store.flush_blocking().unwrap();
        assert_eq!(node.logs[0].start(), Offset(start), "after {id}");
    }
    assert!(node.has(checkpoint));
    store.abandon();
}

#[test]
fn a_flush_succeeds_though_its_log_is_closed_and_cannot_be_trimmed() {
    let node = Node::new(1);
    let store = node.open(|settings| settings.log_keep_commits = 0);
    node.put(&store, 0, &["a"], 0);
    node.logs[0].close().unwrap();
    assert_eq!(store.flush_blocking().unwrap().rows, 1);
    store.abandon();
}

#[test]
fn what_is_due_is_flushed() {
    let node = Node::new(2);
    let store = node.open(|settings| settings.flush_rows_max = 2);
    node.put(&store, 0, &["a"], 0);
    node.put(&store, 1, &["b", "c"], 0);
    store.shared.flush_due();
    let current = node.table(TableKind::Events).current();
    assert_eq!([0, 1].map(|partition| current.flushed(PartitionId(partition))), [Offset(0), Offset(2)]);
    store.abandon();
}

#[test]
fn a_commit_without_an_answer_that_another_partitions_flush_finds_is_seen_once() {
    let node = Node::new(2);
    let store = node.open(|_| {});
    node.put(&store, 0, &["a"], 0);
    node.put(&store, 1, &["b"], 0);
    let (shared, other) = (&store.shared, &store.shared.partitions[1]);
    let sealed = shared.seal(other, &mut other.flush.lock()).unwrap().unwrap();
    shared.commit_events(other, &sealed, &sealed.generation.view()).unwrap();
    node.put(&store, 1, &["c"], 0);
    shared.flush_partition(&shared.partitions[0]).unwrap();
    assert_eq!(ids(&store), ["a", "b", "c"]);
    store.flush_blocking().unwrap();
    assert_eq!(ids(&store), ["a", "b", "c"]);
    store.abandon();
}

#[test]
fn rows_whose_flush_has_failed_are_seen_while_others_are_flushed() {
    let node = Node::new(2);
    let store = node.open(|_| {});
    node.put(&store, 0, &["a"], 0);
    node.put(&store, 1, &["b"], 0);
    let (shared, other) = (&store.shared, &store.shared.partitions[1]);
    shared.seal(other, &mut other.flush.lock()).unwrap().unwrap();
    shared.flush_partition(&shared.partitions[0]).unwrap();
    assert_eq!(ids(&store), ["a", "b"]);
    assert!(is_due(&store, 1), "it is tried again");
    store.flush_blocking().unwrap();
    assert_eq!(ids(&store), ["a", "b"]);
    store.abandon();
}

#[test]
fn rows_that_another_writer_has_committed_end_the_store_whoever_finds_them() {
    let node = Node::new(2);
    let store = node.open(|_| {});
    node.put(&store, 0, &["a"], 0);
    node.put(&store, 1, &["b"], 0);
    let last = Offset(1);
    let commit = Commit {
        partition: PartitionId(1),
        first: last,
        last,
        expected_flushed: last.previous(),
        files: Vec::new(),
        info: serde_json::json!({"ledger": {}}),
        now: NOW,
    };
    node.table(TableKind::Events).commit(commit).unwrap();
    let error = store.shared.flush_partition(&store.shared.partitions[0]).unwrap_err();
    assert_eq!(error.kind(), Kind::Conflict);
    assert!(error.to_string().contains("partition 1 is flushed to 1 by another writer"), "{error}");
    assert!(store.ready().is_err());
    store.abandon();
}

#[test]
fn files_are_written_once_for_what_comes_behind_one_offset() {
    let (written, mut times) = (Mutex::new(None), 0);
    for (behind, expected) in [(3, 1), (3, 1), (4, 2), (4, 2)] {
        let mut write = |_: &mut Vec<NewFile>| {
            times += 1;
            Ok(())
        };
        written_once(&written, Offset(behind), &mut write).unwrap();
        assert_eq!(times, expected, "behind {behind}");
    }
}

#[test]
fn a_day_that_is_written_is_not_written_again_when_the_next_one_fails() {
    let node = Node::new(1);
    let store = node.open(|_| {});
    let tomorrow = Timestamp::from_micros(NOW.micros() + DAY_MICROS);
    node.put(&store, 0, &["a"], 1);
    node.put_at(&store, 0, &["b"], 1, tomorrow);
    // The second file of the rejections, three times; then theirs and their commit go well, and the second of the events does
    // not, three times.
    for nth in [1, 0, 0, 3, 0, 0] {
        node.objects.fail_write(nth, false);
        store.flush_blocking().unwrap_err();
    }
    node.objects.heal();
    store.flush_blocking().unwrap();
    for kind in [TableKind::Rejections, TableKind::Events] {
        assert_eq!(node.table(kind).current().files.len(), 2);
        assert_eq!(node.data_files(kind).len(), 2, "{kind:?}: {:?}", node.data_files(kind));
    }
    assert_eq!(ids(&store), ["a", "b"]);
    store.abandon();
}

#[test]
fn a_flush_that_fails_again_and_again_rests_longer_each_time_and_one_that_is_asked_for_is_tried_at_once() {
    let node = Node::new(2);
    let store = node.open(|settings| settings.flush_rows_max = 1);
    node.put(&store, 0, &["a"], 0);
    node.objects.fail_writes();
    let before = node.objects.writes();
    assert!(is_due(&store, 0));
    for (tried, milliseconds) in (1..).zip([100, 200, 400, 800, 1600, 3200, 5000, 5000]) {
        store.flush_blocking().unwrap_err();
        assert_eq!(node.objects.writes() - before, tried, "whoever asks does not wait");
        let rest = store.shared.partitions[0].flush.lock().rest.unwrap();
        assert_eq!(rest.length, Duration::from_millis(milliseconds));
    }
    let tried = node.objects.writes();
    store.shared.want_flush();
    store.shared.flush_due();
    assert!(!is_due(&store, 0) && node.objects.writes() == tried, "it rests");
    node.objects.heal();
    node.put(&store, 1, &["b"], 0);
    assert!(is_due(&store, 1), "another partition has not failed");
    store.flush_blocking().unwrap();
    node.put(&store, 0, &["c"], 0);
    assert!(is_due(&store, 0), "after one that succeeds nothing rests");
    store.abandon();
}

#[test]
fn a_store_that_cannot_flush_tries_now_and_then_and_goes_on_when_it_can() {
    let node = Node::new(1);
    let store = node.open(|settings| (settings.flush_by_itself, settings.hot_bytes_max) = (true, 1));
    node.objects.fail_writes();
    let before = node.objects.writes();
    node.put(&store, 0, &["a"], 0);
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(2) {
        store.shared.want_flush();
        std::thread::sleep(Duration::from_millis(1));
    }
    let tried = node.objects.writes() - before;
    assert!((1..=6).contains(&tried), "tried {tried} times in two seconds");
    node.objects.heal();
    let healed = Instant::now();
    while store.status().last_flush_error.is_some() {
        assert!(healed.elapsed() < Duration::from_secs(10), "it goes on too late");
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(node.table(TableKind::Events).current().flushed(PartitionId(0)), Offset(1));
    store.close().unwrap();
}
