//! Compaction and vacuum: fewer files, the same answers by every way of asking, whatever fails in between; and nothing
//! that anybody needs is ever removed.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking, its helpers too")]

#[allow(dead_code, unreachable_pub, reason = "shared with other tests")]
mod faulty;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use eye_event::{BatchHeader, EventRef, Problems, RejectionRef, Timestamp};
use eye_log::memory::MemoryLog;
use eye_log::{PartitionId, SharedLog};
use eye_store::table::{
    Commit, Compaction, CompactionRules, TableFile, TableLocation, TableVersion, VacuumRules, Vacuumed, verify,
};
use eye_store::{
    Columns, CompactReport, DedupRecall, Kind, Origin, Outcome, Request, Runs, Snapshot, Store, StoreSettings,
    StoredEvent, Table, TableKind, TableOptions,
};
use faulty::FaultyStore;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt as _};
use tokio::runtime::{Builder, Runtime};

const PARTITIONS: u16 = 2;
/// 2026-11-23.
const DAY: i64 = 86_400_000_000;
const START: i64 = 20_780 * DAY;
const SESSIONS: u64 = 7;
const NO_LIMIT: Duration = Duration::MAX;

/// What the clock says to a store whose own threads ask it: of one test only.
static CLOCK: AtomicI64 = AtomicI64::new(START);

fn clock() -> Timestamp {
    Timestamp::from_micros(CLOCK.load(Ordering::SeqCst))
}

/// A node whose logs and objects live in memory.
struct Node {
    runtime: Runtime,
    logs: Vec<SharedLog>,
    objects: Arc<FaultyStore>,
}

impl Node {
    fn new() -> Self {
        Self {
            runtime: Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap(),
            logs: (0..PARTITIONS).map(|_| Arc::new(MemoryLog::new()) as SharedLog).collect(),
            objects: Arc::new(FaultyStore::default()),
        }
    }

    fn table(&self, kind: TableKind) -> Table {
        let location = TableLocation::remote(&format!("memory:///{}", kind.name())).unwrap();
        let options = TableOptions {
            row_group_rows: 32,
            page_rows: 8,
            block_bytes: 1024,
            partitions: PARTITIONS,
            ..TableOptions::new(kind, Timestamp::from_micros(START))
        };
        let objects: Arc<dyn ObjectStore> = self.objects.clone();
        Table::open(objects, location, options, self.runtime.handle().clone()).unwrap().0
    }

    fn open(&self, change: impl FnOnce(&mut StoreSettings)) -> Store {
        self.open_by(Timestamp::now, change)
    }

    fn open_by(&self, now: fn() -> Timestamp, change: impl FnOnce(&mut StoreSettings)) -> Store {
        let mut settings = StoreSettings {
            partitions: PARTITIONS,
            flush_age_max: Duration::from_secs(3600),
            log_keep_commits: 1,
            checkpoint_commits: 5,
            compaction_period: Duration::ZERO,
            vacuum_retention: Duration::ZERO,
            ..StoreSettings::default()
        };
        change(&mut settings);
        let (events, rejections) = (self.table(TableKind::Events), self.table(TableKind::Rejections));
        Store::open(settings, self.logs.clone(), events, rejections, now, &mut |_, _| {}).unwrap().0
    }

    /// Every data file that lies in the object store.
    fn data_files(&self) -> BTreeSet<String> {
        use futures_util::TryStreamExt as _;
        let listed: Vec<_> = self.runtime.block_on(self.objects.list(None).try_collect()).unwrap();
        let paths = listed.into_iter().map(|meta| meta.location.to_string());
        paths.filter(|path| path.contains("received_date=")).collect()
    }

    fn remove(&self, path: &str) {
        self.runtime.block_on(self.objects.delete(&Path::from(path))).unwrap();
    }

    fn change(&self, path: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let path = Path::from(path);
        let mut bytes =
            self.runtime.block_on(async { self.objects.get(&path).await.unwrap().bytes().await }).unwrap().to_vec();
        change(&mut bytes);
        self.runtime.block_on(self.objects.put(&path, bytes.into())).unwrap();
    }

    fn is_sound(&self) {
        for kind in [TableKind::Events, TableKind::Rejections] {
            let report = verify(&self.table(kind), true, &mut |_| {}).unwrap();
            assert!(report.is_sound(), "{:?}", report.findings);
        }
    }

    /// Sends `count` events and a rejection, of numbers from `from`; the events that were stored.
    fn ingest(&self, store: &Store, from: u64, count: u64) -> usize {
        self.ingest_on(store, 0, from, count)
    }

    fn ingest_on(&self, store: &Store, day: i64, from: u64, count: u64) -> usize {
        let received_at = Timestamp::from_micros(START + day * DAY + from.cast_signed() * 1_000);
        let mut request = Request::new(&BatchHeader { application: "web", token: "t", received_at }, PARTITIONS, 0);
        for number in from..from + count {
            let late = (number * 7_919 % 1_009).cast_signed() * 1_000;
            request.push_event(&EventRef {
                event_id: &format!("event-{number}"),
                session_id: &format!("session-{}", number % SESSIONS),
                category: "c",
                name: if number.is_multiple_of(3) { "view" } else { "größer" },
                timestamp: Timestamp::from_micros(received_at.micros() - late),
                timestamp_raw: number.is_multiple_of(5).then_some("yesterday"),
                sent_at: None,
                user_id: number.is_multiple_of(2).then_some("user"),
                anonymous_id: None,
                data: &format!("{{\"n\":{number}}}"),
                context: None,
                problems: Problems::NONE,
            });
        }
        request.push_rejection(&RejectionRef { code: "not_json", field: "", message: "m", sample: "{" });
        let outcomes = self.runtime.block_on(store.ingest(request)).unwrap();
        outcomes.iter().filter(|outcome| matches!(outcome, Outcome::Stored { .. })).count()
    }

    /// Many small flushes, of rows that all differ.
    fn fill(&self, store: &Store, flushes: u64, rows: u64) {
        for flush in 0..flushes {
            assert_eq!(self.ingest(store, flush * rows, rows) as u64, rows);
            store.flush_blocking().unwrap();
        }
    }
}

/// What is in a checkpoint is not set aside.
fn without_checkpoints(settings: &mut StoreSettings) {
    settings.checkpoint_commits = 1000;
}

fn compact(store: &Store) -> CompactReport {
    store.compact_blocking(NO_LIMIT).unwrap()
}

/// Everything that a snapshot answers, by every way of asking.
fn answers(snapshot: &Snapshot) -> [Vec<String>; 4] {
    let (mut rows, mut coded, mut sessions, mut rejections) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for slice in snapshot.slices(None, None).unwrap() {
        slice.visit(Columns::ALL, &mut |_, row| rows.push(format!("{row:?}"))).unwrap();
        if let Some(batch) = slice.batch(Columns::ALL, &[]).unwrap() {
            coded.push(batch.num_rows().to_string());
        }
    }
    let read: usize = coded.iter().map(|rows| rows.parse::<usize>().unwrap()).sum();
    for session in 0..SESSIONS {
        let session = format!("session-{session}");
        snapshot.session(&session, Columns::ALL, &mut |row| sessions.push(format!("{row:?}"))).unwrap();
    }
    snapshot.rejections(&mut |rejection| rejections.push(format!("{rejection:?}"))).unwrap();
    rows.sort();
    sessions.sort();
    rejections.sort();
    assert_eq!(rows, sessions, "sessions have every row");
    [rows, vec![read.to_string()], sessions, rejections]
}

fn rules() -> CompactionRules {
    CompactionRules { file_bytes: 1 << 20, memory_bytes: 1 << 24, files_min: 2, today: i32::MAX }
}

fn rewrite(table: &Table) -> Compaction {
    let group = table.compactable(&rules(), &table.current()).remove(0);
    table.rewrite(&group, &rules(), &|| true).unwrap().unwrap()
}

fn vacuum(table: &Table, retention: Duration, keep_commits: u64) -> Vacuumed {
    let now = Timestamp::from_micros(Timestamp::now().micros() + 1_000_000);
    table.vacuum(&VacuumRules { retention, keep_commits, now }, &|| true).unwrap()
}

fn paths(version: &TableVersion) -> BTreeSet<String> {
    version.files.iter().map(|file| format!("events/{}", file.path)).collect()
}

#[test]
fn files_become_fewer_and_every_answer_stays() {
    let node = Node::new();
    let store = node.open(|_| {});
    node.fill(&store, 12, 20);
    node.ingest(&store, 240, 10);
    let held = store.snapshot();
    let (before, ledger, files) = (answers(&held), store.ledger(), store.status().table_files);
    assert_eq!((before[0].len(), files), (250, 24));
    let done = compact(&store);
    assert_eq!((done.files_before, done.files_after), (24 + 12, 2 + 1), "one file for each partition and table");
    assert_eq!((done.rows, done.is_complete), (240 + 12, true));
    assert!(done.bytes_out < done.bytes_in, "{done:?}");
    let after = store.snapshot();
    assert!(after.version() > held.version());
    assert_eq!((after.position(), after.flushed()), (held.position(), held.flushed()));
    assert_eq!(answers(&after), before);
    assert_eq!(answers(&held), before, "what was held goes on");
    assert_eq!(store.ledger(), ledger);
    node.is_sound();
    assert_eq!(compact(&store).files_in, 0, "and then it rests");
    store.flush_blocking().unwrap();
    assert_eq!(answers(&store.snapshot())[0], before[0]);
    store.abandon();
    for recall in [DedupRecall::AtOpen, DedupRecall::Background, DedupRecall::OnDemand] {
        let store = node.open(|settings| settings.dedup_recall = recall);
        assert_eq!(answers(&store.snapshot())[0], before[0]);
        assert_eq!(node.ingest(&store, 0, 250), 0, "every id is still known: {recall:?}");
        store.abandon();
    }
    node.is_sound();
}

/// Every slice of the table says of whom its runs are as its rows do; how many slices there are.
fn check_runs(snapshot: &Snapshot) -> usize {
    let mut slices = 0;
    for slice in snapshot.slices(None, None).unwrap() {
        for column in [Columns::SESSION_ID, Columns::USER_ID, Columns::ANONYMOUS_ID] {
            let mut ids = Vec::new();
            let id = |event: &StoredEvent<'_>| match column {
                Columns::SESSION_ID => Some(event.event.session_id.to_owned()),
                Columns::USER_ID => event.event.user_id.map(str::to_owned),
                _ => event.event.anonymous_id.map(str::to_owned),
            };
            slice.visit(column, &mut |_, event| ids.push(id(event))).unwrap();
            let Some(runs) = slice.runs(column).unwrap() else {
                assert!(matches!(slice.origin(), Origin::Hot { .. }));
                continue;
            };
            assert_eq!(*runs, Runs::of(ids.iter().map(Option::as_deref)), "{column:?}");
            assert!(Arc::ptr_eq(&runs, &slice.runs(column).unwrap().unwrap()), "they are kept");
            let rows: usize = runs.iter().map(|(rows, _)| rows.len()).sum();
            assert_eq!(rows, slice.rows());
            slices += 1;
        }
    }
    slices
}

#[test]
fn runs_are_those_of_the_rows_in_files_of_flushes_and_of_compactions() {
    let node = Node::new();
    let store = node.open(|_| {});
    node.fill(&store, 6, 40);
    node.ingest(&store, 10_000, 5);
    let flushed = check_runs(&store.snapshot());
    let before = store.snapshot();
    compact(&store);
    let merged = check_runs(&store.snapshot());
    assert!(0 < merged && merged < flushed, "{merged} slices of {flushed}");
    assert_eq!(check_runs(&before), flushed, "and those of older versions");
    store.close().unwrap();
}

#[test]
fn what_a_snapshot_or_the_recall_holds_is_not_vacuumed() {
    let node = Node::new();
    let store = node.open(|_| {});
    node.fill(&store, 6, 20);
    store.abandon();
    let store = node.open(|settings| settings.dedup_recall = DedupRecall::OnDemand);
    let held = store.snapshot();
    let (before, files) = (answers(&held), paths(&node.table(TableKind::Events).current()));
    // The second makes the first one's removals settled.
    compact(&store);
    node.fill_more(&store);
    compact(&store);
    assert!(files.is_subset(&node.data_files()), "the snapshot and the recall hold them");
    assert_eq!(answers(&held), before);
    assert_eq!(node.ingest(&store, 0, 120), 0, "ids are read back from files that are no part of the table any more");
    drop(held);
    store.abandon();
    drop(store);
    let store = node.open(|_| {});
    node.fill_more(&store);
    let expected = answers(&store.snapshot());
    let gone = compact(&store).vacuumed_files;
    assert!(gone > 10, "{gone} files");
    assert_eq!(answers(&store.snapshot()), expected);
    let events = node.table(TableKind::Events);
    let there = node.data_files();
    assert!(paths(&events.current()).is_subset(&there));
    node.is_sound();
}

impl Node {
    /// A flush and a compaction more, of rows that are new.
    fn fill_more(&self, store: &Store) {
        let from = store.position().iter().map(|(_, offset)| offset.0).sum::<u64>() + 10_000;
        for flush in 0..2 {
            self.ingest(store, from + flush * 20, 20);
            store.flush_blocking().unwrap();
        }
    }
}

#[test]
fn flushes_ingest_and_reads_go_on_meanwhile() {
    let node = Node::new();
    let store = node.open(|settings| settings.compaction_files_min = 3);
    let ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let compacting = scope.spawn(|| {
            let mut merged = 0;
            while !ended.load(Ordering::Acquire) {
                merged += compact(&store).files_in;
            }
            merged
        });
        let reading = scope.spawn(|| {
            let (mut rows, mut version, mut kept) = (0, 0, None);
            while !ended.load(Ordering::Acquire) {
                let snapshot = store.snapshot();
                let found = answers(&snapshot)[0].len();
                assert!(found >= rows && snapshot.version() >= version, "{found} after {rows}");
                (rows, version) = (found, snapshot.version());
                kept.get_or_insert((snapshot, found));
            }
            let (snapshot, found) = kept.unwrap();
            assert_eq!(answers(&snapshot)[0].len(), found);
        });
        node.fill(&store, 60, 10);
        ended.store(true, Ordering::Release);
        reading.join().unwrap();
        assert!(compacting.join().unwrap() > 60);
    });
    assert_eq!(answers(&store.snapshot())[0].len(), 600);
    store.abandon();
    node.is_sound();
    let store = node.open(|_| {});
    assert_eq!(answers(&store.snapshot())[0].len(), 600);
}

#[test]
fn a_compaction_ends_while_flushes_go_on() {
    let node = Node::new();
    let store = node.open(|_| {});
    node.fill(&store, 3, 10);
    let ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for from in (0..).step_by(10).skip(3).take_while(|_| !ended.load(Ordering::Acquire)) {
                node.ingest(&store, from, 10);
                store.flush_blocking().unwrap();
            }
        });
        let merged = compact(&store);
        ended.store(true, Ordering::Release);
        let commits = merged.files_out;
        assert!(commits <= 3, "{merged:?}: each partition of the events and the rejections once, as of when it began");
    });
    compact(&store);
    assert_eq!(store.status().table_files, 2, "what came meanwhile is for the next one");
    store.abandon();
    node.is_sound();
}

#[test]
fn the_store_compacts_by_itself_and_stops_at_once() {
    let node = Node::new();
    let store = node.open(|settings| {
        settings.compaction_period = Duration::from_millis(50);
        settings.compaction_files_min = 4;
    });
    node.fill(&store, 8, 10);
    let begun = std::time::Instant::now();
    while store.status().compaction.files_in < 16 {
        assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", store.status().compaction);
        std::thread::sleep(Duration::from_millis(10));
    }
    let status = store.status();
    assert!(status.compaction.last_success.is_some() && status.compaction.runs > 0);
    assert!(status.table_files < 8, "{}", status.table_files);
    store.close().unwrap();
}

#[test]
fn a_failure_of_any_write_loses_nothing_and_is_mended_next_time() {
    for after in [false, true] {
        for nth in 0..8 {
            let node = Node::new();
            let store = node.open(|_| {});
            node.fill(&store, 5, 20);
            node.ingest(&store, 100, 10);
            let before = answers(&store.snapshot());
            node.objects.fail_write(nth, after);
            let failed = store.compact_blocking(NO_LIMIT);
            node.objects.heal();
            assert_eq!(answers(&store.snapshot()), before, "write {nth}, {after}: {failed:?}");
            // The commit that was not answered, then the next flush on top of it.
            store.flush_blocking().unwrap();
            node.ingest(&store, 200, 10);
            store.flush_blocking().unwrap();
            compact(&store);
            assert!(store.status().last_flush_error.is_none() && store.ready().is_ok());
            assert_eq!(store.status().table_files, 2);
            let last = answers(&store.snapshot());
            assert_eq!(last[0].len(), 120);
            store.abandon();
            assert_eq!(answers(&node.open(|_| {}).snapshot()), last);
            node.is_sound();
        }
    }
}

#[test]
fn a_flush_that_succeeds_takes_back_the_error_of_the_one_before() {
    let node = Node::new();
    let store = node.open(|settings| settings.flush_by_itself = false);
    node.ingest(&store, 0, 10);
    node.objects.fail_write(0, false);
    assert!(store.flush_blocking().is_err());
    assert!(store.status().last_flush_error.is_some());
    node.objects.heal();
    store.flush_blocking().unwrap();
    assert_eq!(store.status().last_flush_error, None);
    store.abandon();
}

#[test]
fn two_compactions_never_both_win() {
    let node = Node::new();
    let store = node.open(|_| {});
    node.fill(&store, 6, 20);
    store.abandon();
    let rows = answers(&store.snapshot())[0].clone();
    let (ours, theirs) = (node.table(TableKind::Events), node.table(TableKind::Events));
    let now = Timestamp::from_micros(START);
    // Of the same files, of a partition each, and of one that began before the other won.
    let (first, second) = (rewrite(&ours), rewrite(&theirs));
    ours.commit_maintenance(&first, now).unwrap();
    let lost = theirs.commit_maintenance(&second, now).unwrap_err();
    assert_eq!(lost.kind(), Kind::Conflict, "{lost}");
    let groups = theirs.compactable(&rules(), &theirs.current());
    assert_eq!(groups.len(), 1, "the other partition is left");
    let (again, late) = (rewrite(&theirs), rewrite(&ours));
    theirs.commit_maintenance(&again, now).unwrap();
    assert_eq!(ours.commit_maintenance(&late, now).unwrap_err().kind(), Kind::Conflict);
    // Handed in twice, it does nothing twice.
    assert_eq!(theirs.commit_maintenance(&again, now).unwrap_err().kind(), Kind::Conflict);
    assert_eq!(ours.refresh().unwrap().rows(), rows.len() as u64);
    node.is_sound();
    let store = node.open(|_| {});
    assert_eq!(answers(&store.snapshot())[0], rows);
}

#[test]
fn a_flush_of_another_writer_in_between_is_no_conflict() {
    let node = Node::new();
    let store = node.open(|_| {});
    node.fill(&store, 3, 20);
    store.abandon();
    let (ours, theirs) = (node.table(TableKind::Events), node.table(TableKind::Events));
    let merged = rewrite(&ours);
    let flushed = theirs.current().flushed(PartitionId(0));
    let commit = Commit {
        partition: PartitionId(0),
        first: flushed.plus(1),
        last: flushed.plus(5),
        expected_flushed: flushed,
        files: Vec::new(),
        info: serde_json::to_value(eye_store::CommitInfo::of(&theirs.current(), PartitionId(0)).unwrap()).unwrap(),
        now: Timestamp::from_micros(START),
    };
    let version = theirs.commit(commit).unwrap().version;
    let done = ours.commit_maintenance(&merged, Timestamp::from_micros(START)).unwrap();
    assert_eq!((done.version, done.flushed(PartitionId(0))), (version + 1, flushed.plus(5)));
    assert_eq!(done.rows(), 60);
    assert!(verify(&node.table(TableKind::Events), true, &mut |_| {}).unwrap().is_sound());
}

#[test]
fn what_was_written_and_never_committed_goes_and_what_is_under_way_stays() {
    let node = Node::new();
    let store = node.open(|_| {});
    node.fill(&store, 4, 20);
    store.abandon();
    let table = node.table(TableKind::Events);
    let there = node.data_files();
    let merged = rewrite(&table);
    assert_eq!(node.data_files().len(), there.len() + 1);
    assert_eq!(vacuum(&table, Duration::ZERO, 0), Vacuumed::default(), "it may still be committed");
    drop(merged);
    // Whoever wrote it died: it is of no version.
    assert_eq!(vacuum(&table, Duration::from_secs(3600), 0), Vacuumed::default(), "it is young");
    assert_eq!(vacuum(&table, Duration::ZERO, 0).files, 1);
    assert_eq!(node.data_files(), there, "every listed file is still there");
    node.is_sound();
}

#[test]
fn removed_files_stay_for_the_retention_and_for_commits_that_can_be_taken_back() {
    let node = Node::new();
    let store = node.open(|_| {});
    node.fill(&store, 4, 20);
    store.abandon();
    let table = node.table(TableKind::Events);
    let merged = rewrite(&table);
    let removed: BTreeSet<String> = merged.removed().iter().map(|file| format!("events/{}", file.path)).collect();
    table.commit_maintenance(&merged, Timestamp::now()).unwrap();
    drop((merged, table, store));
    // Another process knows it from the log alone.
    let table = node.table(TableKind::Events);
    assert_eq!(vacuum(&table, Duration::ZERO, 0), Vacuumed::default(), "a power cut may take the newest commit");
    let other = rewrite(&table);
    table.commit_maintenance(&other, Timestamp::now()).unwrap();
    drop(other);
    assert_eq!(vacuum(&table, Duration::ZERO, 2), Vacuumed::default(), "two commits can be taken back");
    assert_eq!(vacuum(&table, Duration::from_secs(60), 1), Vacuumed::default(), "it was removed a moment ago");
    assert!(removed.is_subset(&node.data_files()));
    assert_eq!(vacuum(&table, Duration::ZERO, 1).files as usize, removed.len());
    assert!(removed.is_disjoint(&node.data_files()));
    assert!(paths(&table.current()).is_subset(&node.data_files()));
    node.is_sound();
}

#[test]
fn a_vacuum_with_nothing_to_remove_reads_no_log() {
    let node = Node::new();
    let store = node.open(without_checkpoints);
    node.fill(&store, 4, 20);
    let table = node.table(TableKind::Events);
    let first = format!("events/_delta_log/{:020}.json", 0);
    node.remove(&first);
    for retention in [Duration::ZERO, Duration::from_secs(3600)] {
        assert_eq!(vacuum(&table, retention, 1), Vacuumed::default());
    }
    let rules = VacuumRules { retention: Duration::ZERO, keep_commits: 1, now: Timestamp::now() };
    table.commit_maintenance(&rewrite(&table), Timestamp::now()).unwrap();
    assert!(table.vacuum(&rules, &|| true).is_err(), "it reads the log for what it removes");
    store.abandon();
}

#[test]
fn a_vacuum_that_may_not_go_on_forgets_nothing_by_its_clock() {
    let node = Node::new();
    let store = node.open(|_| {});
    node.fill(&store, 4, 20);
    store.abandon();
    let table = node.table(TableKind::Events);
    let removed_at = Timestamp::now().micros() + 3_600_000_000;
    for _ in 0..2 {
        table.commit_maintenance(&rewrite(&table), Timestamp::from_micros(removed_at)).unwrap();
    }
    drop(store);
    let there = node.data_files();
    let vacuum = |now: i64, goes_on: bool| {
        let now = Timestamp::from_micros(now);
        let rules = VacuumRules { retention: Duration::from_secs(60), keep_commits: 1, now };
        table.vacuum(&rules, &|| goes_on).unwrap()
    };
    for _ in 0..3 {
        assert_eq!(vacuum(removed_at + 3653 * DAY, false), Vacuumed::default());
    }
    assert_eq!(vacuum(removed_at + 30_000_000, true), Vacuumed::default(), "they were removed half a minute ago");
    assert_eq!(node.data_files(), there);
    assert!(vacuum(removed_at + 90_000_000, true).files > 0);
    node.is_sound();
}

#[test]
fn nothing_is_vacuumed_when_the_log_does_not_say_what_was_removed() {
    let node = Node::new();
    let store = node.open(|_| {});
    node.fill(&store, 4, 20);
    store.abandon();
    let table = node.table(TableKind::Events);
    let merged = rewrite(&table);
    let version = table.commit_maintenance(&merged, Timestamp::now()).unwrap().version;
    table.checkpoint().unwrap();
    drop((merged, table, store));
    // Older than the newest note of each partition, which is needed to open it.
    node.remove(&format!("events/_delta_log/{:020}.json", version - 3));
    let table = node.table(TableKind::Events);
    let there = node.data_files();
    let now = Timestamp::from_micros(Timestamp::now().micros() + 1_000_000);
    let rules = VacuumRules { retention: Duration::ZERO, keep_commits: 0, now };
    assert_eq!(table.vacuum(&rules, &|| true).unwrap_err().kind(), Kind::Unavailable);
    assert_eq!(node.data_files(), there);
    // Later all that the log still has is older than the retention.
    let now = Timestamp::from_micros(now.micros() + DAY);
    assert_eq!(
        table.vacuum(&VacuumRules { now, ..rules }, &|| true).unwrap(),
        Vacuumed::default(),
        "the newest commit"
    );
    table.commit_maintenance(&rewrite(&table), Timestamp::now()).unwrap();
    assert!(table.vacuum(&VacuumRules { now, ..rules }, &|| true).unwrap().files > 0);
    assert!(paths(&table.current()).is_subset(&node.data_files()));
}

#[test]
fn a_torn_compaction_is_set_aside_and_its_files_are_still_there() {
    let node = Node::new();
    let store = node.open(without_checkpoints);
    node.fill(&store, 2, 20);
    let before = answers(&store.snapshot());
    let version = compact(&store).version;
    assert_eq!(compact(&store).vacuumed_files, 0);
    store.abandon();
    drop(store);
    node.change(&format!("events/_delta_log/{version:020}.json"), |bytes| bytes.truncate(bytes.len() / 2));
    let store = node.open(without_checkpoints);
    assert_eq!(answers(&store.snapshot()), before);
    assert_eq!(compact(&store).version, version);
    assert_eq!(answers(&store.snapshot()), before);
    node.is_sound();
}

#[test]
fn a_checkpoint_keeps_the_number_of_the_last_compaction() {
    let node = Node::new();
    let store = node.open(|_| {});
    node.fill(&store, 4, 20);
    store.abandon();
    let table = node.table(TableKind::Events);
    for _ in 0..2 {
        table.commit_maintenance(&rewrite(&table), Timestamp::now()).unwrap();
    }
    table.checkpoint().unwrap();
    let version = table.current().version;
    (0..=version).for_each(|version| node.remove(&format!("events/_delta_log/{version:020}.json")));
    let table = node.table(TableKind::Events);
    assert_eq!((table.current().rows(), table.current().files.len()), (80, 2));
    let store = node.open(|settings| settings.vacuum_retention = Duration::from_secs(3600));
    node.fill_more(&store);
    assert!(compact(&store).files_in > 0, "the next number is free");
    assert!(verify(&node.table(TableKind::Events), true, &mut |_| {}).unwrap().is_sound());
}

#[test]
fn a_damaged_file_is_named_and_keeps_nothing_else_from_being_merged() {
    let node = Node::new();
    let store = node.open(|settings| settings.partitions = PARTITIONS);
    for day in 0..3 {
        for flush in 0..3 {
            node.ingest_on(&store, day, day.cast_unsigned() * 100 + flush * 20, 20);
            store.flush_blocking().unwrap();
        }
    }
    let damaged: Arc<TableFile> = Arc::clone(&node.table(TableKind::Events).current().files[0]);
    node.change(&format!("events/{}", damaged.path), |bytes| bytes[100] ^= 1);
    let error = store.compact_blocking(NO_LIMIT).unwrap_err();
    assert_eq!(error.kind(), Kind::Corrupt);
    assert!(error.to_string().contains(damaged.path.as_str()), "{error}");
    assert_eq!(store.status().table_files, 2 + 5, "its neighbours, the other partition, and the other days");
    assert_eq!(store.status().compaction.failures, 1);
    assert!(store.ready().is_ok(), "nothing waits for a compaction");
    assert_eq!(compact(&store).files_in, 0, "it is not tried again");
    node.change(&format!("events/{}", damaged.path), |bytes| bytes[100] ^= 1);
    store.close().unwrap();
    drop(store);
    let store = node.open(|settings| settings.partitions = PARTITIONS);
    compact(&store);
    assert_eq!(store.status().table_files, 6, "days and partitions stay apart");
    assert_eq!(answers(&store.snapshot())[0].len(), 180);
    node.is_sound();
}

/// Three days of three flushes each: of every day and partition three files.
fn three_days(node: &Node, store: &Store) {
    for day in 0..3 {
        for flush in 0..3 {
            node.ingest_on(store, day, day.cast_unsigned() * 100 + flush * 20, 20);
            store.flush_blocking().unwrap();
        }
    }
}

#[test]
fn what_cannot_be_read_now_keeps_nothing_else_from_being_merged() {
    let node = Node::new();
    let store = node.open(|_| {});
    three_days(&node, &store);
    let before = answers(&store.snapshot());
    let unreadable = node.table(TableKind::Events).current().files[0].path.clone();
    node.objects.fail_reads([&unreadable]);
    for failures in 1..3 {
        let error = store.compact_blocking(NO_LIMIT).unwrap_err();
        assert_eq!(error.kind(), Kind::Unavailable);
        assert!(error.to_string().contains(unreadable.as_str()), "{error}");
        assert_eq!(store.status().table_files, 2 + 5, "its neighbours, the other partition, and the other days");
        assert_eq!(store.status().compaction.failures, failures, "as long as it cannot be read");
    }
    assert!(store.ready().is_ok(), "nothing waits for a compaction");
    node.objects.heal();
    assert_eq!(compact(&store).files_in, 2, "it is tried again");
    assert_eq!((store.status().table_files, store.status().compaction.last_error), (6, None));
    assert_eq!(answers(&store.snapshot()), before);
    node.is_sound();
}

#[test]
fn a_store_that_is_away_is_asked_for_a_few_files_only() {
    let node = Node::new();
    let store = node.open(|_| {});
    three_days(&node, &store);
    let before = answers(&store.snapshot());
    node.objects.refused();
    node.objects.fail_reads(["events/"]);
    assert_eq!(store.compact_blocking(NO_LIMIT).unwrap_err().kind(), Kind::Unavailable);
    assert_eq!((node.objects.refused(), store.status().table_files), (3, 18));
    // Now only some are: more than a run tries, and they come before all others.
    let first_of_each = node.table(TableKind::Events).current().files.clone().into_iter().step_by(3);
    let unreadable: Vec<_> = first_of_each.take(4).map(|file| file.path.clone()).collect();
    node.objects.fail_reads(&unreadable);
    for _ in 0..2 {
        assert_eq!(store.compact_blocking(NO_LIMIT).unwrap_err().kind(), Kind::Unavailable);
        assert!(node.objects.refused() <= 3);
    }
    assert_eq!(store.status().table_files, 4 * 2 + 2, "nothing else is left as it was");
    node.objects.heal();
    while compact(&store).files_in > 0 {}
    assert_eq!(store.status().table_files, 6);
    assert_eq!(answers(&store.snapshot()), before);
    node.is_sound();
}

#[test]
fn a_clock_that_leaps_removes_no_file_until_it_is_confirmed() {
    let node = Node::new();
    let today = Timestamp::now().micros().div_euclid(DAY) - START / DAY;
    let set_clock = |days: i64| CLOCK.store(Timestamp::now().micros() + days * DAY, Ordering::SeqCst);
    let store = node.open(|settings| settings.vacuum_retention = Duration::from_secs(7 * 86_400));
    for round in 0..3 {
        for flush in 0..2 {
            node.ingest_on(&store, today, round * 100 + flush * 20, 20);
            store.flush_blocking().unwrap();
        }
        assert!(compact(&store).files_in > 0);
    }
    store.abandon();
    drop(store);
    let there = node.data_files();
    let open = || {
        node.open_by(clock, |settings| {
            settings.vacuum_retention = Duration::from_secs(3600);
            settings.compaction_period = Duration::from_millis(5);
        })
    };
    let wait = |store: &Store, is_so: &dyn Fn(&Store) -> bool| {
        let begun = std::time::Instant::now();
        while !is_so(store) {
            assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", store.status().compaction);
            std::thread::sleep(Duration::from_millis(5));
        }
    };
    set_clock(3653);
    let store = open();
    wait(&store, &|store| store.status().compaction.runs > 1);
    assert_eq!((store.status().compaction.vacuumed_files, store.status().compaction.last_error), (0, None));
    assert_eq!(node.data_files(), there);
    store.abandon();
    drop(store);
    // What the rows confirm.
    set_clock(3);
    let store = open();
    wait(&store, &|store| store.status().compaction.vacuumed_files > 0);
    assert!(node.data_files().len() < there.len());
    store.abandon();
    node.is_sound();
}

#[test]
fn no_more_is_read_at_once_than_memory_allows() {
    let node = Node::new();
    let store = node.open(|settings| settings.compaction_memory_bytes = 15_000);
    node.fill(&store, 24, 20);
    let before = answers(&store.snapshot());
    let done = compact(&store);
    let files = store.status().table_files;
    assert!(files > 2 && files < 24, "{files} files: {done:?}");
    assert_eq!(answers(&store.snapshot()), before);
    assert_eq!(compact(&store).files_in, 0);
    let store_of_less = store.compact_blocking(Duration::ZERO).unwrap();
    assert!(!store_of_less.is_complete && store_of_less.files_in == 0, "no time, nothing is begun");
    node.is_sound();
}
