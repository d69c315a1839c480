//! Rot: bits of a small table turned one at a time, and its files cut short: the Parquet file of a flush, the one that
//! several are merged into, the newest commit, the checkpoint and the hint that names it. By every way of reading, what is
//! read is what was written, or the error names the file; a wrong row is never read.
//!
//! The counts are printed. `EYE_ROT_BITS=8` turns all bits of each byte, one after the other, instead of one, and tries
//! every length instead of every eighth and the last ones.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking, its helpers too")]

use std::collections::BTreeMap;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::DataType;
use eye_event::{BatchHeader, EventRef, Problem, Problems, RejectionRef, Timestamp};
use eye_log::memory::MemoryLog;
use eye_log::{Offset, PartitionId, SharedLog};
use eye_store::columns::{Columns, EventColumns, EventRows};
use eye_store::table::local_store::DurableLocal;
use eye_store::table::{
    Commit, CompactionRules, OpenReport, Table, TableFile, TableKind, TableLocation, TableOptions, verify,
};
use eye_store::{Kind, Request, Store, StoreSettings, StoredEvent, data_column};
use object_store::ObjectStoreExt as _;
use object_store::memory::InMemory;
use serde_json::json;
use tokio::runtime::{Builder, Runtime};

/// 2026-11-23.
const NOW: Timestamp = Timestamp::from_micros(20_780 * 86_400_000_000);
const P0: PartitionId = PartitionId(0);
const SESSIONS: u64 = 3;

fn runtime() -> Runtime {
    Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

fn options(kind: TableKind) -> TableOptions {
    TableOptions { row_group_rows: 8, page_rows: 4, block_bytes: 512, ..TableOptions::new(kind, NOW) }
}

/// A table in a folder, and every file of it as it should be.
struct Fixture {
    runtime: Runtime,
    folder: tempfile::TempDir,
    expected: Seen,
}

/// A way to read a file, and what it finds.
type Way = fn(&TableFile) -> eye_store::Result<Vec<String>>;

/// Each is taken for itself: what one of them does not look at may have rotted for it.
const WAYS: [(&str, Way); 6] =
    [("rows", rows), ("sessions", sessions), ("some", some), ("coded", coded), ("apart", apart), ("runs", runs)];
const ROWS: usize = 0;
const IN_SESSIONS: usize = 1;

/// Everything that can be read of a table: what is flushed, and what each way finds.
struct Seen {
    flushed: Offset,
    found: Vec<Vec<String>>,
}

/// What became of one damaged table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Found {
    /// An error names the file.
    Named,
    /// The newest commit was set aside and reported: the table is the one before it, the log has the rest.
    SetAside,
    /// Everything reads as it was.
    Harmless,
}

fn events(offsets: std::ops::RangeInclusive<u64>) -> EventColumns {
    let mut columns = EventColumns::new(0);
    for offset in offsets {
        let (event_id, session_id) = (format!("event-{offset}"), format!("session-{}", offset % SESSIONS));
        let plan = if offset.is_multiple_of(2) { "\"plan\":\"pro\"," } else { "" };
        let text = "ab".repeat(offset as usize % 5);
        let data = format!("{{\"n\":{offset},{plan}\"text\":\"größer \\u0000 {text}\"}}");
        let timestamp = Timestamp::from_micros(NOW.micros() - (offset * 7_919 % 1_009).cast_signed() * 1_001);
        columns.push(&StoredEvent {
            application: "web",
            received_at: Timestamp::from_micros(NOW.micros() + offset.cast_signed()),
            partition: P0,
            offset: Offset(offset),
            event: EventRef {
                event_id: &event_id,
                session_id: &session_id,
                category: "shop",
                name: if offset.is_multiple_of(2) { "view" } else { "buy" },
                timestamp,
                timestamp_raw: offset.is_multiple_of(5).then_some("yesterday"),
                sent_at: offset.is_multiple_of(3).then_some(timestamp),
                user_id: (!offset.is_multiple_of(4)).then_some("user"),
                anonymous_id: None,
                data: &data,
                context: Some("{\"page\":1}"),
                problems: if offset.is_multiple_of(5) {
                    Problems::NONE.with(Problem::TimestampUnreadable)
                } else {
                    Problems::NONE
                },
            },
        });
    }
    columns
}

impl Fixture {
    /// Commits up to these offsets; after the one before the last a checkpoint if asked for.
    fn new(commits: &[u64], checkpoint: bool) -> Self {
        let (runtime, folder) = (runtime(), tempfile::tempdir().unwrap());
        let table = open(folder.path(), &runtime).unwrap().0;
        let mut first = 1;
        for (index, last) in commits.iter().copied().enumerate() {
            let files = table.write_batch(&events(first..=last).finish().unwrap()).unwrap();
            let (commit_first, commit_last) = (Offset(first), Offset(last));
            first = last + 1;
            let info = json!({"ledger": {}});
            let commit = Commit {
                partition: P0,
                first: commit_first,
                last: commit_last,
                expected_flushed: commit_first.previous(),
                files,
                info,
                now: NOW,
            };
            table.commit(commit).unwrap();
            if checkpoint && index + 2 == commits.len() {
                table.checkpoint().unwrap();
            }
        }
        let expected = Seen::of(&table);
        let rows = expected.found[ROWS].len();
        assert_eq!((rows as u64, expected.found[IN_SESSIONS].len()), (first - 1, rows));
        Self { runtime, folder, expected }
    }

    /// The same with all files merged into one, which has columns for questions; and where that lies.
    fn merged(commits: &[u64]) -> (Self, PathBuf) {
        let mut fixture = Self::new(commits, false);
        let table = open(fixture.folder.path(), &fixture.runtime).unwrap().0;
        let rules = CompactionRules { file_bytes: 1 << 20, memory_bytes: 1 << 24, files_min: 2, today: i32::MAX };
        let group = table.compactable(&rules, &table.current()).remove(0);
        let compaction = table.rewrite(&group, &rules, &|| true).unwrap().unwrap();
        let version = table.commit_maintenance(&compaction, NOW).unwrap();
        let [file] = &version.files[..] else { panic!("{:?}", version.files) };
        let batch = file.read_coded(0, Columns::SESSION_ID | Columns::USER_ID, &paths()).unwrap();
        let values = paths().into_iter().map(|path| data_column(&path).unwrap());
        for name in values.chain(["session_id", "user_id"].map(str::to_owned)) {
            let column = batch.column_by_name(&name).unwrap();
            assert!(matches!(column.data_type(), DataType::Dictionary(..)), "{name} is not out of a column of its own");
        }
        let mut before = std::mem::replace(&mut fixture.expected, Seen::of(&table)).found.swap_remove(ROWS);
        let mut after = fixture.expected.found[ROWS].clone();
        before.sort();
        after.sort();
        assert_eq!(before, after);
        let path = fixture.files(".parquet").into_iter().find(|path| path.ends_with(file.path.as_str())).unwrap();
        (fixture, path)
    }

    fn files(&self, ending: &str) -> Vec<PathBuf> {
        fn below(folder: &Path, found: &mut Vec<PathBuf>) {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() { below(&path, found) } else { found.push(path) }
            }
        }
        let mut found = Vec::new();
        below(self.folder.path(), &mut found);
        found.retain(|path| path.to_string_lossy().ends_with(ending));
        found.sort();
        found
    }

    fn name(&self, path: &Path) -> String {
        path.strip_prefix(self.folder.path()).unwrap().to_string_lossy().into_owned()
    }

    /// Opens and reads the table while `path` holds `bytes`; everything is as before afterwards. The error is a violation.
    fn judge(&self, path: &Path, bytes: &[u8]) -> Result<Found, String> {
        let whole = fs::read(path).unwrap();
        let hint = path.parent().unwrap().join("_last_checkpoint");
        let hint = fs::read(&hint).ok().map(|bytes| (hint, bytes));
        fs::write(path, bytes).unwrap();
        let name = self.name(path);
        let found = catch_unwind(AssertUnwindSafe(|| self.judge_damaged(&name)));
        let _ = fs::remove_dir_all(self.folder.path().join("_quarantine"));
        fs::write(path, whole).unwrap();
        if let Some((hint, bytes)) = hint {
            fs::write(hint, bytes).unwrap();
        }
        found.unwrap_or_else(|_| Err("a panic".to_owned()))
    }

    fn judge_damaged(&self, name: &str) -> Result<Found, String> {
        let named = |error: eye_store::Error| match error.to_string().contains(name) {
            true => Ok(Found::Named),
            false => Err(format!("an error about something else: {error}")),
        };
        let (table, report) = match open(self.folder.path(), &self.runtime) {
            Ok(opened) => opened,
            Err(error) => return named(error),
        };
        let checked = verify(&table, true, &mut |_| {}).map_err(|error| format!("the checker fails: {error}"))?;
        let (flushed, found) = read(&table);
        if let Some(aside) = report.quarantined {
            assert!(name.ends_with(&format!("{:020}.json", aside.version)) && !aside.why.is_empty());
            let found = found.into_iter().collect::<eye_store::Result<Vec<_>>>().map_err(|error| error.to_string())?;
            let before = &self.expected.found[ROWS][..flushed.0 as usize];
            let is_before = flushed < self.expected.flushed && found[ROWS] == before;
            let sound = is_before && checked.is_sound();
            return if sound { Ok(Found::SetAside) } else { Err(format!("not the version before: {flushed:?}")) };
        }
        let is_found = checked.findings.iter().any(|finding| finding.file.contains(name));
        let mut is_named = false;
        for ((way, _), (found, expected)) in WAYS.iter().zip(found.into_iter().zip(&self.expected.found)) {
            match found {
                Err(error) => {
                    named(error).map_err(|why| format!("{way}: {why}"))?;
                    is_named = true;
                }
                Ok(found) if flushed == self.expected.flushed && found == *expected => {}
                Ok(_) => return Err(format!("{way}: something else is read; the checker finds it: {is_found}")),
            }
        }
        // Nothing reads the hint but the kernel, and what is before a checkpoint is not read at all.
        if name.ends_with(".parquet") && !name.starts_with('_') && !is_found {
            return Err("the checker passes over it".to_owned());
        }
        Ok(if is_named { Found::Named } else { Found::Harmless })
    }

    /// Turns bits of every byte (or every `step`-th), and cuts the file short. Prints and returns what became of them.
    fn rot(&self, path: &Path, step: usize) -> [BTreeMap<Found, usize>; 2] {
        let whole = fs::read(path).unwrap();
        let name = self.name(path);
        let bits = std::env::var("EYE_ROT_BITS").map_or(1, |bits| bits.parse().unwrap());
        let (mut turned, mut cut, mut violations) = (BTreeMap::new(), BTreeMap::new(), Vec::new());
        let step = if bits > 1 { 1 } else { step };
        let places: Vec<_> =
            (0..whole.len()).step_by(step).flat_map(|at| (0..bits).map(move |bit| (at, bit))).collect();
        for (byte, bit) in places.iter().copied() {
            let mut bytes = whole.clone();
            let bit = (byte / step + bit) % 8;
            bytes[byte] ^= 1 << bit;
            match self.judge(path, &bytes) {
                Ok(found) => *turned.entry(found).or_default() += 1,
                Err(why) => violations.push(format!("bit {bit} of byte {byte} turned: {why}")),
            }
        }
        // The end is where a footer is looked for; before it every length is as good as its neighbours.
        let every = if bits > 1 { 1 } else { 8 * step };
        let lengths: Vec<_> = (0..whole.len()).filter(|at| at % every == 0 || at + 64 > whole.len()).collect();
        for length in lengths.iter().copied() {
            match self.judge(path, &whole[..length]) {
                Ok(found) => *cut.entry(found).or_default() += 1,
                Err(why) => violations.push(format!("cut to {length} bytes: {why}")),
            }
        }
        println!("{name}: {} bytes; turned {turned:?}; cut {cut:?}; {} wrong", whole.len(), violations.len());
        assert!(violations.is_empty(), "{name}: {} violations:\n{}", violations.len(), violations.join("\n"));
        assert_eq!(turned.values().sum::<usize>(), places.len());
        assert_eq!(cut.values().sum::<usize>(), lengths.len());
        [turned, cut]
    }
}

fn open(folder: &Path, runtime: &Runtime) -> eye_store::Result<(Table, OpenReport)> {
    let location = TableLocation::local(folder).unwrap();
    Table::open(Arc::new(DurableLocal::new()), location, options(TableKind::Events), runtime.handle().clone())
}

/// What is flushed, and what each way finds in all files.
fn read(table: &Table) -> (Offset, Vec<eye_store::Result<Vec<String>>>) {
    let version = table.current();
    let by = |way: Way| -> eye_store::Result<Vec<String>> {
        let mut found = Vec::new();
        for file in &version.files {
            found.extend(way(file)?);
        }
        Ok(found)
    };
    (version.flushed(P0), WAYS.iter().map(|(_, way)| by(*way)).collect())
}

impl Seen {
    /// Of a table that is whole.
    fn of(table: &Table) -> Self {
        let (flushed, found) = read(table);
        Self { flushed, found: found.into_iter().map(Result::unwrap).collect() }
    }
}

/// All of its rows.
fn rows(file: &TableFile) -> eye_store::Result<Vec<String>> {
    let mut rows = Vec::new();
    for group in file.row_groups()? {
        rows.extend(shown(&file.read_all(group.index)?)?);
    }
    Ok(rows)
}

/// Each session.
fn sessions(file: &TableFile) -> eye_store::Result<Vec<String>> {
    let mut rows = Vec::new();
    for number in 0..SESSIONS {
        for batch in file.session(&format!("session-{number}"), Columns::ALL)? {
            rows.extend(shown(&batch)?);
        }
    }
    Ok(rows)
}

/// Some columns of some rows.
fn some(file: &TableFile) -> eye_store::Result<Vec<String>> {
    let mut rows = Vec::new();
    for group in file.row_groups()? {
        let last = u32::try_from(group.rows).unwrap() - 1;
        let columns = Columns::OFFSET | Columns::NAME | Columns::DATA;
        rows.extend(shown(&file.read(group.index, columns, Some(&[last]))?)?);
    }
    Ok(rows)
}

/// As questions read it: columns of few texts as dictionaries, others as views, sessions and users out of their runs if the
/// file has them.
fn coded(file: &TableFile) -> eye_store::Result<Vec<String>> {
    coded_columns(file, Columns::ALL)
}

/// The columns that a merged file has for questions, and none of the table's that it needs not.
fn apart(file: &TableFile) -> eye_store::Result<Vec<String>> {
    coded_columns(file, Columns::SESSION_ID | Columns::USER_ID)
}

/// With the values of payloads, out of columns of their own if the file has them.
fn coded_columns(file: &TableFile, columns: Columns) -> eye_store::Result<Vec<String>> {
    let mut slices = Vec::new();
    for group in file.row_groups()? {
        let batch = file.read_coded(group.index, columns, &paths())?;
        // An array shows its first and its last rows only.
        assert!(batch.num_rows() <= 8);
        slices.push(format!("{batch:?}"));
    }
    Ok(slices)
}

/// Whose rows stand together.
fn runs(file: &TableFile) -> eye_store::Result<Vec<String>> {
    let mut slices = Vec::new();
    for group in file.row_groups()? {
        for column in [Columns::SESSION_ID, Columns::USER_ID] {
            slices.push(format!("{:?}", file.runs(group.index, column)?));
        }
    }
    Ok(slices)
}

/// Of the values that get columns when files are merged: all rows have one, half of them have the other.
fn paths() -> Vec<Vec<String>> {
    ["n", "plan"].map(|key| vec![key.to_owned()]).to_vec()
}

fn shown(batch: &arrow::array::RecordBatch) -> eye_store::Result<Vec<String>> {
    Ok(EventRows::new(batch)?.iter().map(|row| format!("{row:?}")).collect())
}

#[test]
fn rot_in_a_parquet_file_is_named_or_harmless() {
    let fixture = Fixture::new(&[6], false);
    let file = fixture.files(".parquet").into_iter().next_back().unwrap();
    let [turned, cut] = fixture.rot(&file, 1);
    assert!(turned.contains_key(&Found::Named) && !turned.contains_key(&Found::SetAside), "{turned:?}");
    assert_eq!(cut.keys().collect::<Vec<_>>(), [&Found::Named], "a shorter file is always named");
}

#[test]
fn rot_in_a_merged_file_is_named_or_harmless_by_every_way_of_reading() {
    let (fixture, file) = Fixture::merged(&[3, 6]);
    let [turned, cut] = fixture.rot(&file, 1);
    assert!(turned.contains_key(&Found::Named) && !turned.contains_key(&Found::SetAside), "{turned:?}");
    assert_eq!(cut.keys().collect::<Vec<_>>(), [&Found::Named], "a shorter file is always named");
}

#[test]
fn rot_in_the_newest_commit_is_set_aside_and_in_an_older_one_named() {
    let fixture = Fixture::new(&[5, 8], false);
    let commits = fixture.files(".json");
    let [turned, cut] = fixture.rot(&commits[2], 1);
    assert_eq!(turned.keys().collect::<Vec<_>>(), [&Found::SetAside]);
    assert_eq!(cut.keys().collect::<Vec<_>>(), [&Found::SetAside]);
    let [turned, cut] = fixture.rot(&commits[1], 1);
    assert_eq!(turned.keys().collect::<Vec<_>>(), [&Found::Named]);
    assert_eq!(cut.keys().collect::<Vec<_>>(), [&Found::Named]);
}

#[test]
fn a_rotten_checkpoint_is_moved_away_and_costs_nothing() {
    let fixture = Fixture::new(&[3, 5], true);
    let file = fixture.files(".checkpoint.parquet").remove(0);
    // Each try moves a file and syncs three times, and one hash covers all bytes: every eighth will do.
    let [turned, cut] = fixture.rot(&file, 8);
    assert!(turned.keys().chain(cut.keys()).all(|found| *found == Found::Harmless), "{turned:?} {cut:?}");
}

#[test]
fn rot_in_the_hint_of_the_checkpoint_is_named_or_harmless() {
    let fixture = Fixture::new(&[3, 5], true);
    let file = fixture.files("_last_checkpoint").remove(0);
    fixture.rot(&file, 1);
}

/// A store whose logs and objects live in memory.
struct Node {
    log: SharedLog,
    objects: Arc<InMemory>,
}

impl Node {
    fn open(&self, runtime: &Runtime) -> eye_store::Result<Store> {
        let table = |kind: TableKind| {
            let location = TableLocation::remote(&format!("memory:///{}", kind.name())).unwrap();
            let objects = Arc::clone(&self.objects);
            Table::open(objects, location, options(kind), runtime.handle().clone()).map(|opened| opened.0)
        };
        let settings = StoreSettings { flush_age_max: Duration::from_secs(3600), ..StoreSettings::default() };
        let (events, rejections) = (table(TableKind::Events)?, table(TableKind::Rejections)?);
        let log = vec![Arc::clone(&self.log)];
        Store::open(settings, log, events, rejections, || NOW, &mut |_, _| {}).map(|opened| opened.0)
    }

    /// The same log, and objects of its own.
    fn fork(&self) -> Self {
        Self { log: Arc::clone(&self.log), objects: Arc::new(self.objects.fork()) }
    }
}

fn ingest(store: &Store, runtime: &Runtime, from: u64) {
    for number in from..from + 5 {
        let header = BatchHeader { application: "web", token: "t", received_at: NOW };
        let mut request = Request::new(&header, 1, 0);
        for part in 0..3 {
            let (event_id, session_id) = (format!("{number}-{part}"), format!("session-{part}"));
            request.push_event(&EventRef {
                event_id: &event_id,
                session_id: &session_id,
                category: "c",
                name: "n",
                timestamp: Timestamp::from_micros(NOW.micros() - number.cast_signed()),
                timestamp_raw: None,
                sent_at: None,
                user_id: None,
                anonymous_id: None,
                data: "{}",
                context: None,
                problems: Problems::NONE,
            });
        }
        request.push_rejection(&RejectionRef { code: "not_json", field: "", message: "", sample: "{" });
        runtime.block_on(store.ingest(request)).unwrap();
    }
}

/// All that the store answers: rows, rejections, ledger, how far it is.
fn view(store: &Store) -> eye_store::Result<(Vec<String>, Vec<String>, String)> {
    let snapshot = store.snapshot();
    let (mut rows, mut rejections) = (Vec::new(), Vec::new());
    for slice in snapshot.slices(None, None)? {
        slice.visit(Columns::ALL, &mut |_, row| rows.push(format!("{row:?}")))?;
    }
    snapshot.rejections(&mut |rejection| rejections.push(format!("{rejection:?}")))?;
    rows.sort();
    rejections.sort();
    Ok((rows, rejections, format!("{:?} {:?}", store.ledger(), store.position())))
}

#[test]
fn a_rotten_newest_commit_costs_the_store_nothing() {
    let runtime = runtime();
    let node = Node { log: Arc::new(MemoryLog::new()), objects: Arc::new(InMemory::new()) };
    let store = node.open(&runtime).unwrap();
    for number in 0..3 {
        ingest(&store, &runtime, number * 10);
        if number < 2 {
            store.flush_blocking().unwrap();
        }
    }
    store.abandon();
    let expected = view(&store).unwrap();
    assert_eq!((expected.0.len(), expected.1.len()), (45, 15));
    // Of the rejections too, although the replay begins where the events end.
    for table in ["events", "rejections"] {
        let (mut tried, mut stopping) = (0, Vec::new());
        let path = commit_path(table, 2);
        let whole = runtime.block_on(async { node.objects.get(&path).await.unwrap().bytes().await.unwrap() });
        // Every byte and length is tried with the table alone, above; here, how the store goes on.
        for place in (0..whole.len()).step_by(5) {
            let mut turned = whole.to_vec();
            turned[place] ^= 1 << (place % 8);
            for damaged in [turned, whole[..place].to_vec()] {
                let rotten = node.fork();
                runtime.block_on(rotten.objects.put(&path, damaged.into())).unwrap();
                let store = rotten.open(&runtime).unwrap();
                assert_eq!(view(&store).unwrap(), expected, "{path} at {place}");
                tried += 1;
                stopping.push(std::thread::spawn(move || store.abandon()));
            }
        }
        println!("newest commit of {table}: damaged {tried} times, the store answered the same each time");
        assert!(tried > 100);
        stopping.into_iter().for_each(|thread| thread.join().unwrap());
    }
}

fn commit_path(table: &str, version: u64) -> object_store::path::Path {
    object_store::path::Path::from(format!("{table}/_delta_log/{version:020}.json"))
}

#[test]
fn a_rotten_newest_commit_of_rejections_that_the_log_has_no_more_is_refused_every_time() {
    let runtime = runtime();
    let node = Node { log: Arc::new(MemoryLog::new()), objects: Arc::new(InMemory::new()) };
    let store = node.open(&runtime).unwrap();
    for number in 0..2 {
        ingest(&store, &runtime, number * 10);
        store.flush_blocking().unwrap();
    }
    store.abandon();
    node.log.trim(node.log.end()).unwrap();
    runtime.block_on(node.objects.put(&commit_path("rejections", 2), b"nonsense".to_vec().into())).unwrap();
    for _ in 0..2 {
        let refused = node.open(&runtime).err().expect("five rejections are gone");
        assert_eq!(refused.kind(), Kind::Corrupt, "{refused}");
        assert!(refused.to_string().contains("10 rejections were counted"), "{refused}");
    }
}
