//! Erasures: hidden at once, gone from every byte in the end, whatever fails in between; and nothing else is touched.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking, its helpers too")]

#[allow(dead_code, unreachable_pub, reason = "shared with other tests")]
mod faulty;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use arrow::util::display::{ArrayFormatter, FormatOptions};
use eye_event::{BatchHeader, EventRef, Problems, RejectionRef, Timestamp};
use eye_log::disk::OsDisk;
use eye_log::local::{LocalLog, LocalOptions};
use eye_log::memory::MemoryLog;
use eye_log::{PartitionId, SharedLog};
use eye_store::table::{TableLocation, location, verify};
use eye_store::{
    Columns, Counts, DedupRecall, ErasureState, Kind, Outcome, Position, Request, Selection, Snapshot, Store,
    StoreSettings, StoredEvent, Table, TableKind, TableOptions,
};
use faulty::FaultyStore;
use object_store::ObjectStore;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use tokio::runtime::{Builder, Runtime};

const PARTITIONS: u16 = 2;
const PATIENCE: Duration = Duration::from_secs(60);
/// 2026-11-23.
const DAY: i64 = 86_400_000_000;
const START: i64 = 20_780 * DAY;
const SESSIONS: u64 = 7;
/// Stands in every event and rejection that is to be erased, and nowhere else.
const CANARY: &str = "canary-7f3a9c51d2e8";

/// Where logs and tables lie.
enum Ground {
    Folder(tempfile::TempDir),
    Memory { logs: Vec<SharedLog>, objects: Arc<FaultyStore> },
}

struct Node {
    runtime: Runtime,
    ground: Ground,
}

impl Node {
    fn new(ground: Ground) -> Self {
        Self { runtime: Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap(), ground }
    }

    fn in_folder() -> Self {
        Self::new(Ground::Folder(tempfile::tempdir().unwrap()))
    }

    fn in_memory() -> Self {
        let logs = (0..PARTITIONS).map(|_| Arc::new(MemoryLog::new()) as SharedLog).collect();
        Self::new(Ground::Memory { logs, objects: Arc::default() })
    }

    fn objects(&self) -> &FaultyStore {
        match &self.ground {
            Ground::Memory { objects, .. } => objects,
            Ground::Folder(_) => panic!("it lies in a folder"),
        }
    }

    /// Rises with every record.
    fn log_end(&self) -> u64 {
        match &self.ground {
            Ground::Memory { logs, .. } => logs.iter().map(|log| log.end().0).sum(),
            Ground::Folder(_) => panic!("it lies in a folder"),
        }
    }

    fn folder(&self) -> &Path {
        match &self.ground {
            Ground::Folder(folder) => folder.path(),
            Ground::Memory { .. } => panic!("it lies in memory"),
        }
    }

    fn table(&self, kind: TableKind) -> Table {
        let options = TableOptions {
            row_group_rows: 32,
            page_rows: 8,
            block_bytes: 1024,
            partitions: PARTITIONS,
            ..TableOptions::new(kind, Timestamp::from_micros(START))
        };
        let (objects, place): (Arc<dyn ObjectStore>, TableLocation) = match &self.ground {
            Ground::Folder(folder) => {
                let path = folder.path().join("table").display().to_string();
                let (objects, place) = location::resolve(&path, &BTreeMap::new()).unwrap();
                (objects, place.child(kind.name()).unwrap())
            }
            Ground::Memory { objects, .. } => {
                (objects.clone(), TableLocation::remote(&format!("memory:///{}", kind.name())).unwrap())
            }
        };
        Table::open(objects, place, options, self.runtime.handle().clone()).unwrap().0
    }

    fn open(&self, change: impl FnOnce(&mut StoreSettings)) -> Store {
        let mut settings = StoreSettings {
            partitions: PARTITIONS,
            flush_by_itself: false,
            log_keep_commits: 20,
            checkpoint_commits: 5,
            compaction_period: Duration::ZERO,
            compaction_disk_reserve: 0,
            ..StoreSettings::default()
        };
        change(&mut settings);
        let logs = match &self.ground {
            Ground::Memory { logs, .. } => logs.clone(),
            Ground::Folder(folder) => (0..PARTITIONS)
                .map(|id| {
                    let dir = folder.path().join("log").join(id.to_string());
                    let options = LocalOptions::new(dir, PartitionId(id));
                    Arc::new(LocalLog::open(options, Arc::new(OsDisk)).unwrap().0) as SharedLog
                })
                .collect(),
        };
        let (events, rejections) = (self.table(TableKind::Events), self.table(TableKind::Rejections));
        Store::open(settings, logs, events, rejections, Timestamp::now, &mut |_, _| {}).unwrap().0
    }

    /// Sends events of numbers from `from`, and a rejection; every third belongs to whoever is to be erased.
    fn ingest(&self, store: &Store, from: u64, count: u64) -> usize {
        let received_at = Timestamp::from_micros(START + from.cast_signed() * 1_000);
        let mut request = Request::new(&BatchHeader { application: "web", token: "t", received_at }, PARTITIONS, 0);
        for number in from..from + count {
            let is_canary = number.is_multiple_of(3);
            request.push_event(&EventRef {
                event_id: &format!("event-{number}-{}", if is_canary { CANARY } else { "x" }),
                session_id: &format!("session-{}-{}", number % SESSIONS, if is_canary { CANARY } else { "x" }),
                category: "c",
                name: "view",
                timestamp: Timestamp::from_micros(
                    received_at.micros() - (number * 7_919 % 1_009).cast_signed() * 1_000,
                ),
                timestamp_raw: is_canary.then_some(CANARY),
                sent_at: None,
                user_id: Some(if is_canary { CANARY } else { "somebody" }),
                anonymous_id: is_canary.then_some(CANARY),
                data: &format!("{{\"n\":{number},\"of\":\"{}\"}}", if is_canary { CANARY } else { "" }),
                context: is_canary.then_some("{\"of\":\"canary-7f3a9c51d2e8\"}"),
                problems: Problems::NONE,
            });
        }
        let sample = if from.is_multiple_of(2) { format!("{{{CANARY}") } else { "{".to_owned() };
        request.push_rejection(&RejectionRef { code: "not_json", field: "", message: "m", sample: &sample });
        let outcomes = self.runtime.block_on(store.ingest(request)).unwrap();
        outcomes.iter().filter(|outcome| matches!(outcome, Outcome::Stored { .. })).count()
    }

    /// Flushes, duplicates, compactions, and rows that are not flushed.
    fn fill(&self, store: &Store) {
        for flush in 0..5 {
            assert_eq!(self.ingest(store, flush * 21, 21), 21);
            store.flush_blocking().unwrap();
        }
        store.compact_blocking(Duration::MAX).unwrap();
        assert_eq!(self.ingest(store, 0, 21), 0, "duplicates");
        assert_eq!(self.ingest(store, 105, 21), 21);
        store.flush_blocking().unwrap();
        assert_eq!(self.ingest(store, 126, 20), 20);
    }

    fn is_sound(&self) {
        for kind in [TableKind::Events, TableKind::Rejections] {
            let report = verify(&self.table(kind), true, &mut |_| {}).unwrap();
            assert!(report.is_sound(), "{:?}", report.findings);
        }
    }
}

const EVENTS: u64 = 146;

fn is_canary(number: u64) -> bool {
    number.is_multiple_of(3)
}

fn erase(store: &Store) -> eye_store::Result<eye_store::Erasure> {
    store.erase(&Selection {
        id: eye_store::Erasure::fresh_id(),
        criteria: vec!["user_id".to_owned()],
        columns: Columns::USER_ID,
        session_id: None,
        event: &|event| event.event.user_id == Some(CANARY),
        rejection: &|rejection| rejection.rejection.sample.contains(CANARY),
    })
}

/// Carries out what is accepted, again and again while it must wait.
fn run_to_the_end(store: &Store) {
    let begun = Instant::now();
    while !store.run_erasures_blocking().unwrap() {
        assert!(begun.elapsed() < PATIENCE, "{:?}", store.erasures());
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// The numbers of all events that a snapshot shows, by every way of asking, and its rejections.
fn numbers(snapshot: &Snapshot) -> (Vec<u64>, usize) {
    let number = |data: &str| data["{\"n\":".len()..].split(',').next().unwrap().parse::<u64>().unwrap();
    let (mut visited, mut batched, mut kept, mut fetched, mut sessions) = <[Vec<u64>; 5]>::default().into();
    for slice in snapshot.slices(None, None).unwrap() {
        let mut of_slice = Vec::new();
        slice.visit(Columns::DATA, &mut |at, row| of_slice.push((at, number(row.event.data)))).unwrap();
        // Every second row, by its number.
        let wanted: Vec<u32> = of_slice.iter().map(|(at, _)| *at).step_by(2).collect();
        let mut found = Vec::new();
        slice.fetch(&wanted, Columns::DATA, &mut |row| found.push(number(row.event.data))).unwrap();
        assert_eq!(found, of_slice.iter().map(|(_, number)| *number).step_by(2).collect::<Vec<_>>());
        fetched.extend(found);
        for (read, into) in [
            (slice.batch(Columns::DATA, &[]).unwrap(), &mut batched),
            (slice.batch_kept(Columns::DATA).unwrap(), &mut kept),
        ] {
            let Some(batch) = read else {
                into.extend(of_slice.iter().map(|(_, number)| *number));
                continue;
            };
            let column = batch.column_by_name("data").unwrap();
            let format = FormatOptions::default();
            let text = ArrayFormatter::try_new(column, &format).unwrap();
            let of_batch: Vec<u64> = (0..batch.num_rows()).map(|row| number(&text.value(row).to_string())).collect();
            assert_eq!(of_batch, of_slice.iter().map(|(_, number)| *number).collect::<Vec<_>>());
            into.extend(of_batch);
        }
        visited.extend(of_slice.into_iter().map(|(_, number)| number));
    }
    for session in 0..SESSIONS {
        for of in [CANARY, "x"] {
            let session = format!("session-{session}-{of}");
            snapshot.session(&session, Columns::DATA, &mut |row| sessions.push(number(row.event.data))).unwrap();
        }
    }
    assert!(fetched.len() <= visited.len());
    let mut rejections = 0;
    snapshot.rejections(&mut |_| rejections += 1).unwrap();
    for numbers in [&mut visited, &mut batched, &mut kept, &mut sessions] {
        numbers.sort_unstable();
    }
    assert_eq!((&visited, &visited, &visited), (&batched, &kept, &sessions));
    (visited, rejections)
}

/// Everybody else, exactly once.
fn others() -> Vec<u64> {
    (0..EVENTS).filter(|number| !is_canary(*number)).collect()
}

/// Files below a folder that hold the canary: as bytes, or in any value of a Parquet file when it is read.
fn holding(folder: &Path, found: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let path = entry.path();
        if entry.file_type().unwrap().is_dir() {
            holding(&path, found);
            continue;
        }
        let bytes = fs::read(&path).unwrap();
        let mut holds = bytes.windows(CANARY.len()).any(|window| window == CANARY.as_bytes())
            || path.to_string_lossy().contains(CANARY);
        if path.extension().is_some_and(|extension| extension == "parquet") {
            let reader = ParquetRecordBatchReaderBuilder::try_new(fs::File::open(&path).unwrap()).unwrap();
            for batch in reader.build().unwrap().map(Result::unwrap) {
                holds |= format!("{batch:?}").contains(CANARY);
                for column in batch.columns() {
                    let format = FormatOptions::default();
                    let text = ArrayFormatter::try_new(column, &format).unwrap();
                    holds |= (0..batch.num_rows()).any(|row| text.value(row).to_string().contains(CANARY));
                }
            }
        }
        if holds {
            found.insert(path.strip_prefix(folder.ancestors().last().unwrap()).unwrap_or(&path).display().to_string());
        }
    }
}

fn canaries(node: &Node) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    holding(node.folder(), &mut found);
    found
}

#[test]
fn what_is_erased_is_hidden_at_once_and_gone_from_every_byte_when_it_is_done() {
    let node = Node::in_folder();
    let store = node.open(|_| {});
    node.fill(&store);
    let (before, rejections) = numbers(&store.snapshot());
    assert_eq!((before, rejections), ((0..EVENTS).collect(), 8));
    let ledger = store.ledger();
    let found = canaries(&node);
    let of = |part: &str| found.iter().filter(|path| path.contains(part)).count();
    assert!(of("/log/") > 0 && of("/table/events/") > 2 && of("/table/rejections/") > 0, "{found:?}");
    // What a crash leaves: a file without a name yet, and the tail of a segment that was cut.
    let day = node.folder().join("table/events/received_date=2026-11-23");
    fs::write(day.join("0-1-2-x.parquet#123"), CANARY).unwrap();
    fs::write(node.folder().join("log/0/00000000000000000001.seg.cut-77"), CANARY).unwrap();

    let held = store.snapshot();
    let erasure = erase(&store).unwrap();
    let erased = (0..EVENTS).filter(|number| is_canary(*number)).count() as u64;
    assert_eq!((erasure.events, erasure.state), (erased, ErasureState::Running));
    assert_eq!(erasure.rejections, 5, "of the batches with even numbers");
    assert_eq!(numbers(&store.snapshot()), (others(), 3), "hidden at once");
    assert_eq!(numbers(&held).0.len() as u64, EVENTS, "who holds an older view goes on");
    assert_eq!(node.ingest(&store, 200, 3), 3, "what arrives later is no part of it");

    assert!(!store.run_erasures_blocking().unwrap(), "somebody still reads the old files");
    assert!(store.erasures()[0].work.old_files_held > 0, "{:?}", store.erasures());
    assert_eq!(numbers(&held).0.len() as u64, EVENTS, "and can");
    drop(held);
    assert!(store.run_erasures_blocking().unwrap());
    let done = store.erasures().remove(0);
    assert_eq!((done.state, done.work.rows, done.last_error), (ErasureState::Done, erased + 5, None));
    assert!(done.work.files_rewritten > 2 && done.work.bytes_after < done.work.bytes_before);
    assert!(done.work.old_files_removed > 2 && done.work.old_files_held == 0);

    // The last events are of after the erasure, and hold the canary in their own right.
    let mut expected = others();
    expected.extend(200..203);
    assert_eq!(numbers(&store.snapshot()), (expected.clone(), 4));
    let later: Counts = Counts { received: 4, stored: 3, duplicate: 0, rejected: 1 };
    let mut counts = ledger[0].1;
    (counts.received, counts.stored, counts.rejected) =
        (counts.received + later.received, counts.stored + later.stored, counts.rejected + later.rejected);
    assert_eq!(store.ledger()[0].1, counts, "the books still say what was received");
    erase(&store).unwrap();
    assert!(store.run_erasures_blocking().unwrap());
    expected.retain(|number| !is_canary(*number));
    assert_eq!(numbers(&store.snapshot()).0, expected);
    assert_eq!(canaries(&node), BTreeSet::new());
    node.is_sound();

    assert_eq!(node.ingest(&store, 0, 21), 0, "ids of erased events are known while the process lives");
    store.close().unwrap();
    drop(store);
    let store = node.open(|_| {});
    assert_eq!(numbers(&store.snapshot()).0, expected);
    assert_eq!(store.erasures().len(), 2);
    let table = node.table(TableKind::Events).current();
    assert_eq!(table.rows() + table.removed_all().erased, store.ledger()[0].1.stored);
    store.abandon();
}

#[test]
fn an_erasure_goes_on_after_a_crash_and_hides_meanwhile() {
    for recall in [DedupRecall::AtOpen, DedupRecall::Background, DedupRecall::OnDemand] {
        let node = Node::in_folder();
        let store = node.open(|_| {});
        node.fill(&store);
        let accepted = erase(&store).unwrap();
        store.abandon();
        drop(store);
        let store = node.open(|settings| settings.dedup_recall = recall);
        assert_eq!(numbers(&store.snapshot()), (others(), 3));
        assert_eq!(store.erasures(), [accepted]);
        run_to_the_end(&store);
        assert_eq!(canaries(&node), BTreeSet::new());
        store.abandon();
        drop(store);
        let store = node.open(|_| {});
        assert_eq!(numbers(&store.snapshot()), (others(), 3));
        assert_eq!(store.erasures()[0].state, ErasureState::Done);
        store.abandon();
        node.is_sound();
    }
}

#[test]
fn a_failure_of_any_write_neither_shows_nor_loses_a_row() {
    let mut failed = 0;
    for after in [false, true] {
        for nth in 0..20 {
            let node = Node::in_memory();
            let store = node.open(|_| {});
            node.fill(&store);
            erase(&store).unwrap();
            node.objects().fail_write(nth, after);
            let result = store.run_erasures_blocking();
            failed += usize::from(result.is_err());
            node.objects().heal();
            assert_eq!(numbers(&store.snapshot()), (others(), 3), "write {nth}, {after}: {result:?}");
            if nth.is_multiple_of(2) {
                assert!(store.run_erasures_blocking().unwrap());
            }
            store.abandon();
            drop(store);
            let store = node.open(|_| {});
            assert_eq!(numbers(&store.snapshot()), (others(), 3), "write {nth}, {after}");
            assert!(store.run_erasures_blocking().unwrap());
            assert_eq!(store.erasures()[0].state, ErasureState::Done);
            assert_eq!(numbers(&store.snapshot()), (others(), 3), "write {nth}, {after}");
            let (events, rejections) =
                (node.table(TableKind::Events).current(), node.table(TableKind::Rejections).current());
            assert_eq!(
                (events.rows(), events.removed_all().erased),
                (others().len() as u64, EVENTS - others().len() as u64)
            );
            assert_eq!((rejections.rows(), rejections.removed_all().erased), (3, 5));
            store.abandon();
            node.is_sound();
        }
    }
    assert!(failed > 8, "{failed}");
}

#[test]
fn what_hides_rows_is_refused_by_name_when_it_is_damaged() {
    let node = Node::in_folder();
    let store = node.open(|_| {});
    node.fill(&store);
    let id = erase(&store).unwrap().id;
    store.abandon();
    drop(store);
    node.is_sound();
    let path = node.folder().join(format!("table/events/_erasures/{id}.wanted"));
    let mut bytes = fs::read(&path).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(&path, &bytes).unwrap();
    let report = verify(&node.table(TableKind::Events), true, &mut |_| {}).unwrap();
    assert!(report.findings.iter().any(|finding| finding.what.contains(&id)), "{:?}", report.findings);
    let logs = (0..PARTITIONS).map(|_| Arc::new(MemoryLog::new()) as SharedLog).collect();
    let settings = StoreSettings { partitions: PARTITIONS, ..StoreSettings::default() };
    let (events, rejections) = (node.table(TableKind::Events), node.table(TableKind::Rejections));
    let refused = Store::open(settings, logs, events, rejections, Timestamp::now, &mut |_, _| {}).err().unwrap();
    assert!(refused.to_string().contains(&id), "{refused}");
}

#[test]
fn an_acceptance_that_fails_shows_every_row() {
    let node = Node::in_memory();
    let store = node.open(|_| {});
    node.fill(&store);
    store.flush_blocking().unwrap();
    node.objects().fail_write(0, false);
    assert!(erase(&store).is_err());
    node.objects().heal();
    assert_eq!(numbers(&store.snapshot()).0.len() as u64, EVENTS);
    assert!(store.erasures().is_empty());
    store.abandon();
    drop(store);
    let store = node.open(|_| {});
    assert_eq!(numbers(&store.snapshot()).0.len() as u64, EVENTS);
    store.abandon();
}

#[test]
fn a_cancelled_erasure_shows_what_it_has_not_taken_out() {
    let node = Node::in_memory();
    let store = node.open(|_| {});
    node.fill(&store);
    let erasure = erase(&store).unwrap();
    assert_eq!(numbers(&store.snapshot()), (others(), 3));
    assert_eq!(store.cancel_erasure("era_nothing").unwrap(), None);
    let cancelled = store.cancel_erasure(&erasure.id).unwrap().unwrap();
    assert_eq!(cancelled.state, ErasureState::Cancelled);
    assert_eq!(numbers(&store.snapshot()).0.len() as u64, EVENTS);
    assert!(store.run_erasures_blocking().unwrap(), "there is nothing to do");
    store.abandon();
    drop(store);
    let store = node.open(|_| {});
    assert_eq!(numbers(&store.snapshot()).0.len() as u64, EVENTS);
    assert_eq!(store.erasures()[0].state, ErasureState::Cancelled);
    let done = erase(&store).unwrap();
    assert!(store.run_erasures_blocking().unwrap());
    assert_eq!(store.cancel_erasure(&done.id).unwrap().unwrap().state, ErasureState::Done, "it is too late");
    assert_eq!(numbers(&store.snapshot()), (others(), 3));
    store.abandon();
}

/// Chooses the events of one session that hold the canary.
fn erase_session(store: &Store, number: u64) -> eye_store::Result<eye_store::Erasure> {
    let session = format!("session-{number}-{CANARY}");
    store.erase(&Selection {
        id: eye_store::Erasure::fresh_id(),
        criteria: vec!["session_id".to_owned()],
        columns: Columns::SESSION_ID,
        session_id: Some(&session),
        event: &|event| event.event.session_id == session,
        rejection: &|_| false,
    })
}

#[test]
fn what_two_erasures_chose_stays_hidden_when_one_of_them_is_cancelled() {
    let node = Node::in_memory();
    let store = node.open(|_| {});
    node.fill(&store);
    let first = erase(&store).unwrap();
    assert_eq!(erase_session(&store, 3).unwrap().events, 0, "counted by the first");
    store.cancel_erasure(&first.id).unwrap();
    let expected: Vec<u64> = (0..EVENTS).filter(|number| !is_canary(*number) || number % SESSIONS != 3).collect();
    assert_eq!(numbers(&store.snapshot()).0, expected);
    assert!(store.run_erasures_blocking().unwrap());
    assert_eq!(numbers(&store.snapshot()).0, expected);
    store.abandon();
    drop(store);
    let store = node.open(|_| {});
    assert_eq!(numbers(&store.snapshot()).0, expected);
    store.abandon();
    node.is_sound();
}

#[test]
fn an_answer_without_rows_that_are_seen_again_is_not_given_again() {
    let node = Node::in_memory();
    let store = node.open(|_| {});
    node.fill(&store);
    let erasure = erase(&store).unwrap();
    let hidden = store.snapshot();
    assert!(hidden.hides_events() && !store.keeps_events_since(hidden.version()).unwrap());
    store.cancel_erasure(&erasure.id).unwrap();
    let shown = store.snapshot();
    assert!(shown.version() > hidden.version(), "what is seen again has a version of its own");
    let are_kept = |store: &Store| [hidden.version(), shown.version()].map(|it| store.keeps_events_since(it).unwrap());
    assert_eq!(are_kept(&store), [false, true]);
    store.abandon();
    drop(store);
    let store = node.open(|_| {});
    assert_eq!(are_kept(&store), [false, true]);
    store.abandon();
}

#[test]
fn a_store_that_ends_with_a_cancelled_erasure_gives_answers_again() {
    let node = Node::in_memory();
    let store = node.open(|_| {});
    node.fill(&store);
    let erasure = erase(&store).unwrap();
    // The first write is of its end; the version behind it does not come to be.
    node.objects().fail_write(1, false);
    store.cancel_erasure(&erasure.id).unwrap();
    node.objects().heal();
    let newest = store.snapshot().version();
    assert!(!store.keeps_events_since(newest).unwrap());
    store.abandon();
    drop(store);
    let store = node.open(|_| {});
    let reopened = store.snapshot().version();
    assert!(reopened > newest && store.keeps_events_since(reopened).unwrap());
    assert_eq!(numbers(&store.snapshot()).0.len() as u64, EVENTS);
    store.abandon();
}

#[test]
fn an_erasure_that_waits_keeps_no_other_from_being_carried_out() {
    let node = Node::in_memory();
    let store = node.open(|_| {});
    node.fill(&store);
    let held = store.snapshot();
    let first = erase_session(&store, 3).unwrap();
    let second = erase_session(&store, 4).unwrap();
    assert!(!store.run_erasures_blocking().unwrap(), "somebody still reads the old files");
    let rows: Vec<u64> = store.erasures().iter().map(|erasure| erasure.work.rows).collect();
    assert_eq!(rows, [second.events, first.events], "of both they are out of the newest version");
    drop(held);
    assert!(store.run_erasures_blocking().unwrap());
    store.abandon();
    node.is_sound();
}

#[test]
fn rows_whose_commit_is_lost_stay_hidden_and_go() {
    let node = Node::in_folder();
    let store = node.open(|_| {});
    node.fill(&store);
    erase(&store).unwrap();
    store.abandon();
    drop(store);
    let log = node.folder().join("table/events/_delta_log");
    let commits = fs::read_dir(log).unwrap().map(|entry| entry.unwrap().path());
    let newest = commits.filter(|path| path.extension().is_some_and(|end| end == "json")).max().unwrap();
    fs::write(&newest, &fs::read(&newest).unwrap()[..100]).unwrap();
    let store = node.open(|_| {});
    assert_eq!(numbers(&store.snapshot()), (others(), 3));
    // What was replayed is what followers are shown.
    let mut shown = 0;
    let visit = &mut |row: &StoredEvent<'_>| {
        shown += 1;
        assert!(!row.event.session_id.contains(CANARY), "{}", row.event.session_id);
    };
    let step = async { store.live().next(&Position::new(Vec::new()), Duration::ZERO, 1_000, visit).await };
    node.runtime.block_on(step).unwrap();
    assert!(shown > 0);
    assert!(store.run_erasures_blocking().unwrap());
    assert_eq!(numbers(&store.snapshot()), (others(), 3));
    store.close().unwrap();
    drop(store);
    // Set aside, and kept for whoever wants to know why: it holds no rows.
    assert_eq!(canaries(&node), BTreeSet::new());
    let store = node.open(|_| {});
    assert_eq!(numbers(&store.snapshot()), (others(), 3));
    store.abandon();
}

#[test]
fn files_that_the_newest_commit_replaced_stay_when_an_erasure_goes_on() {
    let node = Node::in_folder();
    let store = node.open(|_| {});
    node.fill(&store);
    let held = store.snapshot();
    erase(&store).unwrap();
    assert!(!store.run_erasures_blocking().unwrap(), "somebody still reads the old files");
    let versions = |store: &Store| (store.version(), store.erasures()[0].work.old_files_removed);
    let before = versions(&store);
    assert_eq!(before.1, 0, "nothing goes before everything can");
    assert!(!store.run_erasures_blocking().unwrap());
    assert_eq!(versions(&store), before, "nothing is committed while it waits");
    let mut expected = others();
    for from in [300, 310, 320] {
        assert_eq!(node.ingest(&store, from, 3), 3);
        store.flush_blocking().unwrap();
        expected.extend(from..from + 3);
    }
    assert!(store.compact_blocking(Duration::MAX).unwrap().files_in > 0);
    drop(held);
    assert!(store.run_erasures_blocking().unwrap());
    assert_eq!(numbers(&store.snapshot()), (expected.clone(), 6));
    store.abandon();
    drop(store);
    let log = node.folder().join("table/events/_delta_log");
    let commits = fs::read_dir(log).unwrap().map(|entry| entry.unwrap().path());
    let newest = commits.filter(|path| path.extension().is_some_and(|end| end == "json")).max().unwrap();
    let bytes = fs::read(&newest).unwrap();
    fs::write(&newest, &bytes[..bytes.len() / 2]).unwrap();
    let store = node.open(|_| {});
    assert_eq!(numbers(&store.snapshot()), (expected, 6));
    store.abandon();
    drop(store);
    node.is_sound();
}

#[test]
fn the_end_of_an_erasure_whose_answer_was_lost_is_the_one_that_was_written() {
    let node = Node::in_memory();
    let store = node.open(|_| {});
    node.fill(&store);
    let erasure = erase(&store).unwrap();
    node.objects().fail_write(0, true);
    let cancelled = store.cancel_erasure(&erasure.id).unwrap().unwrap();
    node.objects().heal();
    assert_eq!(cancelled.state, ErasureState::Cancelled);
    assert!(store.run_erasures_blocking().unwrap());
    assert_eq!(numbers(&store.snapshot()).0.len() as u64, EVENTS);
    let states = |store: &Store| store.erasures().iter().map(|erasure| erasure.state).collect::<Vec<_>>();
    assert_eq!(states(&store), [ErasureState::Cancelled]);
    store.abandon();
    drop(store);
    let store = node.open(|_| {});
    assert_eq!(states(&store), [ErasureState::Cancelled]);
    assert_eq!(numbers(&store.snapshot()).0.len() as u64, EVENTS);
    store.abandon();
}

/// What work on a thread of its own gives; fails if that takes for ever.
fn in_time<T: Send + 'static>(store: &Store, work: impl FnOnce(&Store) -> T + Send + 'static) -> T {
    let (sender, receiver) = channel();
    let store = store.clone();
    std::thread::spawn(move || sender.send(work(&store)).unwrap());
    receiver.recv_timeout(PATIENCE).expect("it does not wait for ever")
}

fn erase_event(store: &Store, number: u64) -> eye_store::Result<eye_store::Erasure> {
    let start = format!("event-{number}-");
    store.erase(&Selection {
        id: eye_store::Erasure::fresh_id(),
        criteria: vec!["event_id".to_owned()],
        columns: Columns::EVENT_ID,
        session_id: None,
        event: &|event| event.event.event_id.starts_with(&start),
        rejection: &|_| false,
    })
}

#[test]
fn an_erasure_that_waits_for_the_dedup_window_keeps_nobody_waiting() {
    let recalls = [DedupRecall::Background, DedupRecall::OnDemand];
    for (recall, is_apply_stuck) in recalls.into_iter().flat_map(|recall| [(recall, false), (recall, true)]) {
        let node = Node::in_memory();
        let store = node.open(|_| {});
        let files = || -> Vec<String> {
            let table = node.table(TableKind::Events).current();
            table.files.iter().map(|file| file.path.as_str().to_owned()).collect()
        };
        assert_eq!(node.ingest(&store, 0, 21), 21);
        store.flush_blocking().unwrap();
        let before = files();
        assert_eq!(node.ingest(&store, 21, 21), 21);
        store.flush_blocking().unwrap();
        let [first, second] = [3, 6].map(|number| erase_event(&store, number).unwrap().id);
        store.abandon();
        drop(store);

        // They hold nothing that is to be erased.
        let later: Vec<String> = files().into_iter().filter(|path| !before.contains(path)).collect();
        assert!(!later.is_empty());
        node.objects().fail_reads(later);
        let store = node.open(|settings| settings.dedup_recall = recall);
        std::thread::scope(|scope| {
            let end = node.log_end();
            let sent = is_apply_stuck.then(|| scope.spawn(|| node.ingest(&store, 200, 3)));
            while is_apply_stuck && node.log_end() == end {
                std::thread::yield_now();
            }
            let run = in_time(&store, Store::run_erasures_blocking);
            assert!(!matches!(run, Ok(true)), "what is read back is still to come");
            let compacted = in_time(&store, |store| store.compact_blocking(Duration::from_secs(30)));
            assert_ne!(compacted.map_err(|error| error.kind()).err(), Some(Kind::Busy));
            let cancelled = in_time(&store, move |store| store.cancel_erasure(&second)).unwrap().unwrap();
            assert_eq!(cancelled.state, ErasureState::Cancelled);
            assert!(store.erasures().iter().any(|erasure| erasure.id == first && erasure.is_running()));

            node.objects().heal();
            run_to_the_end(&store);
            assert_eq!(sent.map_or(3, |sent| sent.join().unwrap()), 3);
        });
        assert!(!numbers(&store.snapshot()).0.contains(&3));
        assert_eq!(node.ingest(&store, 0, 42), 0, "every id is known");
        store.abandon();
        node.is_sound();
    }
}

#[test]
fn what_is_masked_stays_so_through_flushes_and_compactions() {
    let node = Node::in_memory();
    let store = node.open(|_| {});
    node.fill(&store);
    let preview = store
        .preview_erasure(&Selection {
            id: String::new(),
            criteria: Vec::new(),
            columns: Columns::SESSION_ID,
            session_id: Some("session-3-canary-7f3a9c51d2e8"),
            event: &|event| event.event.session_id == "session-3-canary-7f3a9c51d2e8",
            rejection: &|_| false,
        })
        .unwrap();
    let of_session = (0..EVENTS).filter(|number| is_canary(*number) && number % SESSIONS == 3).count() as u64;
    assert_eq!((preview.events, preview.rejections), (of_session, 0));
    assert!(preview.files > 0 && preview.bytes > 0);
    assert_eq!(numbers(&store.snapshot()).0.len() as u64, EVENTS, "a preview changes nothing");
    erase(&store).unwrap();
    for round in 0..3 {
        assert_eq!(node.ingest(&store, 301 + round * 2, 1), 1);
        store.flush_blocking().unwrap();
        store.compact_blocking(Duration::MAX).unwrap();
        let shown = numbers(&store.snapshot()).0;
        assert!(shown.iter().all(|number| !is_canary(*number) || *number > 300), "{shown:?}");
    }
    let shown = numbers(&store.snapshot());
    assert!(store.run_erasures_blocking().unwrap());
    assert_eq!(numbers(&store.snapshot()), shown);
    store.abandon();
    node.is_sound();
}

#[test]
fn the_store_erases_by_itself() {
    let node = Node::in_folder();
    let store = node.open(|settings| {
        settings.flush_by_itself = true;
        settings.flush_age_max = Duration::from_secs(3600);
    });
    node.fill(&store);
    let id = erase(&store).unwrap().id;
    let begun = Instant::now();
    while store.erasures().iter().any(|erasure| erasure.id == id && erasure.is_running()) {
        assert!(begun.elapsed() < PATIENCE, "{:?}", store.erasures());
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(canaries(&node), BTreeSet::new());
    store.close().unwrap();
}
