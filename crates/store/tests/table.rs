//! The open table over real folders and over stores that fail: what was committed is there once, damage is named.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

#[allow(dead_code, unreachable_pub, reason = "shared with other tests")]
mod faulty;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use arrow::array::RecordBatch;
use eye_event::{EventRef, Problems, RejectionRef, Timestamp};
use eye_log::{Offset, PartitionId};
use eye_store::columns::{Columns, EventColumns, EventRows, RejectionColumns, RejectionRows};
use eye_store::table::local_store::{DurableLocal, Hook};
use eye_store::table::{
    Commit, OpenReport, Table, TableFile, TableKind, TableLocation, TableOptions, TableVersion, VerifyReport, verify,
};
use eye_store::{Kind, StoredEvent, StoredRejection};
use object_store::ObjectStore;
use serde_json::{Value, json};
use tokio::runtime::{Builder, Runtime};

use faulty::FaultyStore;

const DAY: i64 = 86_400_000_000;
/// 2026-11-23.
const NOW: Timestamp = Timestamp::from_micros(20_780 * DAY);
const P0: PartitionId = PartitionId(0);

fn runtime() -> Runtime {
    Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

fn options() -> TableOptions {
    TableOptions { row_group_rows: 100, page_rows: 10, block_bytes: 256, ..TableOptions::new(TableKind::Events, NOW) }
}

/// A table in a folder of its own.
struct Local {
    runtime: Runtime,
    folder: tempfile::TempDir,
}

impl Local {
    fn new() -> Self {
        Self { runtime: runtime(), folder: tempfile::tempdir().unwrap() }
    }

    fn try_open(&self) -> eye_store::Result<(Table, OpenReport)> {
        self.try_open_with(options())
    }

    fn try_open_with(&self, options: TableOptions) -> eye_store::Result<(Table, OpenReport)> {
        let location = TableLocation::local(self.path("events")).unwrap();
        Table::open(Arc::new(DurableLocal::new()), location, options, self.runtime.handle().clone())
    }

    fn open(&self) -> Table {
        self.try_open().unwrap().0
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn commit_file(&self, version: u64) -> PathBuf {
        self.path(&format!("events/_delta_log/{version:020}.json"))
    }

    fn data_file(&self, file: &TableFile) -> PathBuf {
        self.path("events").join(file.path.as_str())
    }
}

/// Row `offset`: its session, time and day follow from the offset.
struct Spec {
    session: String,
    category: String,
    timestamp: Timestamp,
    received_at: Timestamp,
}

fn spec(offset: u64) -> Spec {
    let shuffled = i64::try_from(offset * 7_919 % 1_009).unwrap();
    Spec {
        session: format!("session-{}", offset % 40),
        category: "shop".to_owned(),
        timestamp: Timestamp::from_micros(NOW.micros() - shuffled * 1_000),
        received_at: NOW,
    }
}

fn events(offsets: impl IntoIterator<Item = u64>, spec: impl Fn(u64) -> Spec) -> RecordBatch {
    let mut columns = EventColumns::new(0);
    for offset in offsets {
        let Spec { session, category, timestamp, received_at } = spec(offset);
        let event_id = format!("event-{offset}");
        let data = format!("{{\"n\":{offset}}}");
        columns.push(&StoredEvent {
            application: "web",
            received_at,
            partition: P0,
            offset: Offset(offset),
            event: EventRef {
                event_id: &event_id,
                session_id: &session,
                category: &category,
                name: if offset.is_multiple_of(2) { "view" } else { "buy" },
                timestamp,
                timestamp_raw: None,
                sent_at: None,
                user_id: Some("secret-user"),
                anonymous_id: None,
                data: &data,
                context: None,
                problems: Problems::NONE,
            },
        });
    }
    columns.finish().unwrap()
}

fn commit_of(table: &Table, first: u64, last: u64, batch: &RecordBatch) -> Commit {
    Commit {
        partition: P0,
        first: Offset(first),
        last: Offset(last),
        expected_flushed: Offset(first - 1),
        files: table.write_batch(batch).unwrap(),
        info: json!({"upto": last}),
        now: NOW,
    }
}

fn flush(table: &Table, first: u64, last: u64) -> Arc<TableVersion> {
    let commit = commit_of(table, first, last, &events(first..=last, spec));
    table.commit(commit).unwrap()
}

fn offsets(version: &TableVersion) -> Vec<u64> {
    let mut all = Vec::new();
    for file in &version.files {
        for group in file.row_groups().unwrap() {
            let batch = file.read(group.index, Columns::SORT_KEY, None).unwrap();
            all.extend(EventRows::new(&batch).unwrap().iter().map(|row| row.offset.0));
        }
    }
    all.sort_unstable();
    all
}

fn verified(table: &Table) -> VerifyReport {
    let mut steps = 0;
    let report = verify(table, true, &mut |_| steps += 1).unwrap();
    assert_eq!(steps, report.files + report.commits);
    report
}

fn assert_finding(report: &VerifyReport, file: &str, what: &str) {
    let found = report.findings.iter().any(|finding| finding.file.contains(file) && finding.what.contains(what));
    assert!(found, "no finding about {file}: {what} in {:?}", report.findings);
}

fn damage(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).unwrap();
    change(&mut bytes);
    fs::write(path, bytes).unwrap();
}

#[test]
fn committed_rows_are_there_after_reopening() {
    let local = Local::new();
    let (table, report) = local.try_open().unwrap();
    assert!(report.created);
    flush(&table, 1, 250);
    let before = flush(&table, 251, 300);
    assert_eq!((before.version, before.flushed(P0), before.rows()), (2, Offset(300), 300));
    drop(table);
    let (table, report) = local.try_open().unwrap();
    assert_eq!(report, OpenReport::default());
    let after = table.current();
    assert_eq!((after.version, after.flushed(P0), after.rows()), (2, Offset(300), 300));
    assert_eq!(offsets(&after), (1..=300).collect::<Vec<_>>());
    let note = after.info(P0).unwrap();
    assert_eq!((note.first, note.last, note.rows, &note.info), (Offset(251), Offset(300), 50, &json!({"upto": 300})));
    let described = |version: &TableVersion| -> Vec<String> {
        version
            .files
            .iter()
            .map(|f| {
                let times = (f.timestamp_min, f.timestamp_max, f.received_min, f.received_max);
                format!(
                    "{f:?} {} {} {times:?} {} {} {:?}",
                    f.bytes, f.received_date, f.offset_min, f.offset_max, f.sha256
                )
            })
            .collect()
    };
    assert_eq!(described(&after), described(&before));
    assert!(verified(&table).is_sound());
}

#[test]
fn every_column_comes_back_as_it_was() {
    let local = Local::new();
    let table = local.open();
    let batch = events(1..=30, spec);
    let version = table.commit(commit_of(&table, 1, 30, &batch)).unwrap();
    let read = version.files[0].read_all(0).unwrap();
    let mut rows: Vec<_> = EventRows::new(&read).unwrap().iter().collect();
    rows.sort_by_key(|row| row.offset);
    assert_eq!(rows, EventRows::new(&batch).unwrap().iter().collect::<Vec<_>>());
}

#[test]
fn the_same_commit_twice_changes_nothing() {
    let local = Local::new();
    let table = local.open();
    let commit = commit_of(&table, 1, 20, &events(1..=20, spec));
    let once = table.commit(commit.clone()).unwrap();
    let twice = table.commit(commit).unwrap();
    assert_eq!((once.version, twice.version, twice.rows()), (1, 1, 20));
    assert!(!local.commit_file(2).exists());
}

#[test]
fn a_commit_on_a_stale_position_is_a_conflict() {
    let local = Local::new();
    let table = local.open();
    flush(&table, 1, 20);
    let gap = commit_of(&table, 31, 40, &events(31..=40, spec));
    assert_eq!(table.commit(gap).unwrap_err().kind(), Kind::Conflict);
    let overlap = commit_of(&table, 11, 40, &events(11..=40, spec));
    assert_eq!(table.commit(overlap).unwrap_err().kind(), Kind::Conflict);
    let mut outside = commit_of(&table, 21, 40, &events(21..=40, spec));
    outside.last = Offset(39);
    assert_eq!(table.commit(outside).unwrap_err().kind(), Kind::Invalid);
    assert_eq!(table.current().version, 1);
}

#[test]
fn a_commit_without_rows_moves_flushed() {
    let local = Local::new();
    let table = local.open();
    let commit = commit_of(&table, 1, 9, &events([], spec));
    assert_eq!(table.commit(commit).unwrap().flushed(P0), Offset(9));
    drop(table);
    assert_eq!(local.open().current().flushed(P0), Offset(9));
}

#[test]
fn a_lost_race_for_the_version_is_run_again_or_found_out() {
    let local = Local::new();
    let (ours, theirs) = (local.open(), local.open());
    let other = Commit { partition: PartitionId(1), files: Vec::new(), ..commit_of(&theirs, 1, 5, &events([], spec)) };
    theirs.commit(other).unwrap();
    assert_eq!(flush(&ours, 1, 20).version, 2, "another partition's commit is no conflict");
    let stale = commit_of(&theirs, 1, 30, &events(1..=30, spec));
    assert_eq!(theirs.commit(stale).unwrap_err().kind(), Kind::Conflict);
    assert_eq!(offsets(&theirs.current()), (1..=20).collect::<Vec<_>>());
    let repeated = commit_of(&theirs, 1, 20, &events(1..=20, spec));
    assert_eq!(theirs.commit(repeated).unwrap().rows(), 20, "the same offsets are there already");
    flush(&ours, 21, 30);
    assert_eq!(theirs.refresh().unwrap().flushed(P0), Offset(30));
    let passed = commit_of(&theirs, 1, 20, &events(1..=20, spec));
    assert_eq!(theirs.commit(passed).unwrap_err().kind(), Kind::Conflict, "a version with more is not published");
    assert!(verified(&theirs).is_sound());
}

#[test]
fn a_commit_whose_answer_was_lost_is_found() {
    let runtime = runtime();
    let store = Arc::new(FaultyStore::default());
    let open = || {
        let store: Arc<dyn ObjectStore> = store.clone();
        let location = TableLocation::remote("memory:///events").unwrap();
        Table::open(store, location, options(), runtime.handle().clone()).unwrap().0
    };
    let table = open();
    let commit = commit_of(&table, 1, 20, &events(1..=20, spec));
    store.fail_write(0, true);
    let done = table.commit(commit).unwrap();
    assert_eq!((done.version, done.flushed(P0), done.rows()), (1, Offset(20), 20));

    let commit = commit_of(&table, 21, 40, &events(21..=40, spec));
    store.fail_write(0, false);
    assert_eq!(table.commit(commit.clone()).unwrap_err().kind(), Kind::Unavailable);
    assert_eq!(table.current().flushed(P0), Offset(20));
    store.heal();
    assert_eq!(table.commit(commit).unwrap().version, 2);
    assert_eq!(offsets(&open().current()), (1..=40).collect::<Vec<_>>());
    assert!(verified(&table).is_sound());
}

#[test]
fn a_damaged_newest_commit_is_set_aside_and_reported() {
    type Change = fn(&mut Vec<u8>);
    let changes: [Change; 5] = [
        |bytes| bytes.clear(),
        |bytes| bytes.truncate(bytes.len() / 2),
        |bytes| {
            let last_line = bytes[..bytes.len() - 1].iter().rposition(|byte| *byte == b'\n').unwrap();
            bytes.truncate(last_line + 1);
        },
        |bytes| bytes.fill(0),
        |bytes| *bytes.iter_mut().rfind(|byte| byte.is_ascii_digit()).unwrap() ^= 1,
    ];
    for change in changes {
        let local = Local::new();
        let table = local.open();
        flush(&table, 1, 20);
        flush(&table, 21, 40);
        drop(table);
        damage(&local.commit_file(2), change);
        let (table, report) = local.try_open().unwrap();
        let quarantined = report.quarantined.unwrap();
        assert_eq!(quarantined.version, 2);
        assert!(local.path("events").join(&quarantined.moved_to).exists(), "{}", quarantined.moved_to);
        assert_eq!(table.current().flushed(P0), Offset(20));
        flush(&table, 21, 45);
        assert_eq!(offsets(&local.open().current()), (1..=45).collect::<Vec<_>>());
        let report = verified(&table);
        assert!(report.is_sound(), "{:?}", report.findings);
        assert_eq!(report.orphans, 1, "the file of the lost commit is kept");
    }
}

#[test]
fn a_torn_first_commit_is_made_again() {
    let local = Local::new();
    drop(local.open());
    damage(&local.commit_file(0), Vec::clear);
    let (table, report) = local.try_open().unwrap();
    assert!(report.created && report.quarantined.is_some());
    flush(&table, 1, 5);
}

#[test]
fn damage_before_the_newest_commit_is_refused_by_name() {
    let local = Local::new();
    let table = local.open();
    (0..3).for_each(|n| drop(flush(&table, n * 10 + 1, n * 10 + 10)));
    drop(table);
    let whole = fs::read(local.commit_file(2)).unwrap();
    damage(&local.commit_file(2), Vec::clear);
    let error = local.try_open().unwrap_err();
    assert_eq!(error.kind(), Kind::Corrupt);
    assert!(error.to_string().contains("00000000000000000002.json"), "{error}");
    fs::remove_file(local.commit_file(2)).unwrap();
    let error = local.try_open().unwrap_err();
    assert_eq!(error.kind(), Kind::Corrupt);
    assert!(error.to_string().contains("00000000000000000002.json is missing"), "{error}");
    fs::write(local.commit_file(2), whole).unwrap();
    assert_eq!(offsets(&local.open().current()).len(), 30);
}

#[test]
fn data_without_a_log_is_never_taken_for_a_new_table() {
    let local = Local::new();
    let table = local.open();
    flush(&table, 1, 5);
    drop(table);
    fs::remove_dir_all(local.path("events/_delta_log")).unwrap();
    assert_eq!(local.try_open().unwrap_err().kind(), Kind::Corrupt);
}

#[test]
fn a_table_of_another_schema_or_with_expiring_transactions_is_refused() {
    let local = Local::new();
    drop(local.open());
    let location = TableLocation::local(local.path("events")).unwrap();
    let rejections = TableOptions::new(TableKind::Rejections, NOW);
    let store = Arc::new(DurableLocal::new());
    let error = Table::open(store, location, rejections, local.runtime.handle().clone()).unwrap_err();
    assert_eq!(error.kind(), Kind::Invalid);

    let lines = fs::read_to_string(local.commit_file(0)).unwrap();
    let metadata = lines.lines().find(|line| line.contains("metaData")).unwrap();
    let property = "\"configuration\":{\"delta.setTransactionRetentionDuration\":\"interval 1 days\",";
    fs::write(local.commit_file(1), metadata.replace("\"configuration\":{", property) + "\n").unwrap();
    let error = local.try_open().unwrap_err();
    assert_eq!(error.kind(), Kind::Invalid);
    assert!(error.to_string().contains("setTransactionRetentionDuration"), "{error}");
}

#[test]
fn verify_names_a_file_that_is_gone_and_one_with_a_turned_bit() {
    let local = Local::new();
    let table = local.open();
    flush(&table, 1, 20);
    let version = flush(&table, 21, 40);
    let [first, second] = [&version.files[0], &version.files[1]];
    let path = local.data_file(second);
    let middle = fs::metadata(&path).unwrap().len() as usize / 2;
    damage(&path, |bytes| bytes[middle] ^= 1);
    let report = verified(&table);
    assert_eq!(report.findings.len(), 1, "{:?}", report.findings);
    assert_finding(&report, second.path.as_str(), "its bytes changed");
    fs::remove_file(local.data_file(first)).unwrap();
    assert_finding(&verified(&table), first.path.as_str(), "missing");
    damage(&path, |bytes| bytes.truncate(middle));
    assert_finding(&verified(&table), second.path.as_str(), "bytes, the table says");
}

#[test]
fn verify_names_a_break_in_the_chain_of_commits() {
    let local = Local::new();
    let table = local.open();
    (0..3).for_each(|n| drop(flush(&table, n * 10 + 1, n * 10 + 10)));
    damage(&local.commit_file(1), Vec::clear);
    assert_finding(&verified(&table), "00000000000000000001.json", "empty");
    fs::remove_file(local.commit_file(1)).unwrap();
    let report = verified(&table);
    assert_finding(&report, "00000000000000000002.json", "the commit before it is missing");
    assert_finding(&report, "00000000000000000002.json", "goes on at offset 11 after 0");
}

#[test]
fn verify_names_an_offset_that_is_there_twice() {
    let local = Local::new();
    let table = local.open();
    let mut commit = commit_of(&table, 1, 10, &events(1..=10, spec));
    commit.files.extend(table.write_batch(&events([7], spec)).unwrap());
    table.commit(commit).unwrap();
    assert_finding(&verified(&table), "received_date=", "offset 7 is also in");
}

#[test]
fn a_session_is_found_whole_and_nothing_else_is() {
    let local = Local::new();
    let table = local.open();
    flush(&table, 1, 1_000);
    let version = flush(&table, 1_001, 1_200);
    for number in [0, 7, 39] {
        let session = format!("session-{number}");
        let mut found = Vec::new();
        for file in &version.files {
            for batch in file.session(&session, Columns::SESSION_ID | Columns::SORT_KEY).unwrap() {
                let rows = EventRows::new(&batch).unwrap();
                assert!(rows.iter().all(|row| row.event.session_id == session));
                let keys: Vec<_> = rows.iter().map(|row| (row.event.timestamp, row.offset)).collect();
                assert!(keys.is_sorted_by(|a, b| a > b), "newest first inside a slice");
                found.extend(rows.iter().map(|row| row.offset.0));
            }
        }
        found.sort_unstable();
        let expected: Vec<u64> = (1..=1_200).filter(|offset| offset % 40 == number).collect();
        assert_eq!(found, expected);
    }
}

#[test]
fn a_session_that_is_not_there_costs_no_read_once_blooms_are_cached() {
    let local = Local::new();
    let table = local.open();
    let version = flush(&table, 1, 1_000);
    let file = &version.files[0];
    assert_eq!(file.row_groups().unwrap().len(), 10);
    assert!(file.may_hold_session("session-3").unwrap());
    let before = table.io_counts();
    let absent = (0..200).filter(|n| !file.may_hold_session(&format!("absent-{n}")).unwrap()).count();
    assert!(absent > 150, "{absent} of 200 are excluded");
    assert_eq!(table.io_counts(), before);
    assert!(file.session("before-all-others", Columns::ALL).unwrap().is_empty());
}

#[test]
fn a_session_in_one_slice_reads_a_few_pages_only() {
    let local = Local::new();
    let table = local.open();
    let lonely = |offset: u64| {
        let session = if (500..505).contains(&offset) { "lonely".to_owned() } else { format!("other-{offset}") };
        Spec {
            session,
            category: "shop".to_owned(),
            timestamp: Timestamp::from_micros(offset.cast_signed() * 1_000),
            received_at: NOW,
        }
    };
    let version = table.commit(commit_of(&table, 1, 1_000, &events(1..=1_000, lonely))).unwrap();
    let file = &version.files[0];
    assert!(file.may_hold_session("lonely").unwrap());
    let before = table.io_counts();
    let found = file.session("lonely", Columns::SORT_KEY).unwrap();
    assert_eq!(found.iter().map(RecordBatch::num_rows).sum::<usize>(), 5);
    let read = table.io_counts().bytes - before.bytes;
    assert!(read * 10 < file.bytes, "{read} of {} bytes", file.bytes);
}

#[test]
fn a_session_in_a_large_slice_reads_one_or_two_pages_of_ids() {
    let local = Local::new();
    let options = TableOptions { row_group_rows: 10_000, ..options() };
    let location = TableLocation::local(local.path("large")).unwrap();
    let objects = Arc::new(DurableLocal::new());
    let table = Table::open(objects, location, options, local.runtime.handle().clone()).unwrap().0;
    let one_each = |offset: u64| Spec { session: format!("session-{offset:05}"), ..spec(offset) };
    let version = table.commit(commit_of(&table, 1, 5_000, &events(1..=5_000, one_each))).unwrap();
    let file = &version.files[0];
    assert!(file.may_hold_session("session-02500").unwrap());
    let bytes = |read: &dyn Fn()| {
        let before = table.io_counts().bytes;
        read();
        table.io_counts().bytes - before
    };
    let whole = bytes(&|| assert_eq!(file.read(0, Columns::SESSION_ID, None).unwrap().num_rows(), 5_000));
    let found = bytes(&|| assert_eq!(file.session("session-02500", Columns::SESSION_ID).unwrap()[0].num_rows(), 1));
    assert!(found * 10 < whole, "{found} of {whole} bytes");
}

#[test]
fn chosen_rows_and_columns_are_all_that_is_returned() {
    let local = Local::new();
    let table = local.open();
    let file = Arc::clone(&flush(&table, 1, 100).files[0]);
    let all = file.read(0, Columns::OFFSET | Columns::NAME, None).unwrap();
    let some = file.read(0, Columns::OFFSET | Columns::NAME, Some(&[0, 1, 50, 99])).unwrap();
    let names: Vec<_> = some.schema().fields().iter().map(|field| field.name().clone()).collect();
    assert_eq!(names, ["name", "offset"]);
    let (all, some) = (EventRows::new(&all).unwrap(), EventRows::new(&some).unwrap());
    assert_eq!(some.iter().collect::<Vec<_>>(), [0, 1, 50, 99].map(|row| all.row(row)));
    assert_eq!(file.read(0, Columns::ALL, Some(&[])).unwrap().num_rows(), 0);
    assert_eq!(file.read(0, Columns::NONE, None).unwrap().num_rows(), 100);
    assert_eq!(file.read(0, Columns::ALL, Some(&[100])).unwrap_err().kind(), Kind::Invalid);
    assert_eq!(file.read(9, Columns::ALL, None).unwrap_err().kind(), Kind::Invalid);
}

#[test]
fn rows_come_back_however_far_they_lie_from_each_other() {
    let local = Local::new();
    let table = local.try_open_with(TableOptions { row_group_rows: 4_096, page_rows: 8, ..options() }).unwrap().0;
    let file = Arc::clone(&flush(&table, 1, 4_096).files[0]);
    let all = file.read(0, Columns::ALL, None).unwrap();
    let all = EventRows::new(&all).unwrap();
    // Close ones, some in each page, and some with many pages in between that are not read.
    for distance in [1, 2, 7, 8, 9, 31, 32, 33, 63, 64, 65, 66, 100, 127, 128, 129, 130, 500, 2_000] {
        for few in [2, 20, 40, 4_096] {
            let rows: Vec<u32> = (3..4_096).step_by(distance).take(few).collect();
            for some in [file.read(0, Columns::ALL, Some(&rows)), file.read_scattered(0, Columns::ALL, &rows)] {
                let some = some.unwrap();
                let some = EventRows::new(&some).unwrap();
                let expected: Vec<_> = rows.iter().map(|row| all.row(*row as usize)).collect();
                assert!(some.iter().collect::<Vec<_>>() == expected, "{few} rows every {distance}");
            }
        }
    }
}

#[test]
fn slices_are_newest_first_and_sorted_by_session_inside() {
    let local = Local::new();
    let table = local.open();
    let version = flush(&table, 1, 1_000);
    let file = &version.files[0];
    let mut oldest = None;
    for group in file.row_groups().unwrap() {
        assert_eq!(group.rows, 100);
        let batch = file.read(group.index, Columns::SORT_KEY | Columns::SESSION_ID, None).unwrap();
        let rows: Vec<_> = EventRows::new(&batch).unwrap().iter().collect();
        let order = |row: &StoredEvent<'_>| {
            (row.event.session_id.to_owned(), std::cmp::Reverse((row.event.timestamp, row.offset)))
        };
        assert!(rows.is_sorted_by_key(order));
        let times = rows.iter().map(|row| row.event.timestamp);
        assert_eq!((times.clone().min(), times.clone().max()), (Some(group.timestamp_min), Some(group.timestamp_max)));
        assert!(oldest.is_none_or(|oldest| group.timestamp_max <= oldest));
        oldest = Some(group.timestamp_min);
    }
}

#[test]
fn each_day_of_receipt_has_a_file_and_odd_times_make_no_more() {
    let local = Local::new();
    let table = local.open();
    let ends = [Timestamp::parse("0001-01-01T00:00:00Z"), Timestamp::parse("9999-12-31T23:59:59.999999Z")];
    let odd = |offset: u64| {
        let timestamp = ends[usize::from(offset.is_multiple_of(2))].unwrap();
        let received_at = Timestamp::from_micros(NOW.micros() - (offset / 5).cast_signed() * DAY);
        Spec { timestamp, received_at, ..spec(offset) }
    };
    table.commit(commit_of(&table, 1, 9, &events(1..=9, odd))).unwrap();
    drop(table);
    let table = local.open();
    let version = table.current();
    let days: Vec<i32> = version.files.iter().map(|file| file.received_date).collect();
    assert_eq!(days, [20_779, 20_780]);
    for file in &version.files {
        assert_eq!([Some(file.timestamp_min), Some(file.timestamp_max)], ends);
        let name = if file.received_date == 20_780 { "2026-11-23/0-1-4-" } else { "2026-11-22/0-5-9-" };
        assert!(file.path.as_str().starts_with(&format!("received_date={name}")), "{}", file.path);
    }
    assert!(verified(&table).is_sound());
}

#[test]
fn a_checkpoint_is_the_same_table() {
    let local = Local::new();
    let table = local.open();
    (0..5).for_each(|n| drop(flush(&table, n * 10 + 1, n * 10 + 10)));
    table.checkpoint().unwrap();
    table.checkpoint().unwrap();
    flush(&table, 51, 60);
    let before = table.current();
    // Only what lies after the checkpoint may still be needed.
    (0..=4).for_each(|version| fs::remove_file(local.commit_file(version)).unwrap());
    let after = local.open().current();
    assert_eq!(offsets(&after), (1..=60).collect::<Vec<_>>());
    assert_eq!((after.version, after.flushed(P0)), (6, Offset(60)));
    let hashes = |version: &TableVersion| version.files.iter().map(|file| file.sha256.unwrap()).collect::<Vec<_>>();
    assert_eq!(hashes(&after), hashes(&before));
    let report = verified(&local.open());
    assert!(report.is_sound(), "{:?}", report.findings);
}

/// Whatever step of it fails, of whatever: a checkpoint is only ever in the way of nothing.
#[test]
fn a_checkpoint_that_fails_at_any_step_harms_nothing_and_is_made_later() {
    const EIO: i32 = 5;
    const ENOSPC: i32 = 28;
    for errno in [EIO, ENOSPC] {
        let mut failed = Vec::new();
        for nth in 0.. {
            let local = Local::new();
            let left = Arc::new(Mutex::new(None::<usize>));
            let (counted, seen) = (Arc::clone(&left), Arc::new(Mutex::new(None)));
            let injected = Arc::clone(&seen);
            let hook: Hook = Arc::new(move |step, path| {
                let mut left = counted.lock().unwrap();
                let fails = *left == Some(0);
                *left = left.and_then(|left| left.checked_sub(1));
                if fails {
                    *injected.lock().unwrap() = Some((step, path.to_owned()));
                    return Err(std::io::Error::from_raw_os_error(errno));
                }
                Ok(())
            });
            let location = TableLocation::local(local.path("events")).unwrap();
            let store = Arc::new(DurableLocal::with_hook(hook));
            let (table, _) = Table::open(store, location, options(), local.runtime.handle().clone()).unwrap();
            (0..3).for_each(|n| drop(flush(&table, n * 10 + 1, n * 10 + 10)));
            *left.lock().unwrap() = Some(nth);
            let made = table.checkpoint();
            *left.lock().unwrap() = None;
            let Some(step) = seen.lock().unwrap().take() else {
                made.unwrap();
                break;
            };
            let error = made.expect_err(&format!("{step:?}"));
            assert!(matches!(error.kind(), Kind::Unavailable | Kind::Full), "{step:?}: {error}");
            failed.push(step);
            // Commits go on, and what is opened over it is the same.
            flush(&table, 31, 40);
            assert_eq!(offsets(&table.current()), (1..=40).collect::<Vec<_>>());
            drop(table);
            let table = local.open();
            assert_eq!(offsets(&table.current()), (1..=40).collect::<Vec<_>>(), "{failed:?}");
            table.checkpoint().unwrap();
            flush(&table, 41, 50);
            let report = verified(&table);
            assert!(report.is_sound(), "{failed:?}: {:?}", report.findings);
            // The later one is whole: nothing before it is needed.
            (0..=3).for_each(|version| fs::remove_file(local.commit_file(version)).unwrap());
            assert_eq!(offsets(&local.open().current()), (1..=50).collect::<Vec<_>>(), "{failed:?}");
        }
        let of = |name: &str| failed.iter().filter(|(_, path)| path.to_string_lossy().contains(name)).count();
        assert!(of(".checkpoint.parquet") >= 3 && of("_last_checkpoint") >= 3, "{failed:?}");
        assert!(failed.len() >= 12, "{failed:?}");
    }
}

#[test]
fn the_last_note_of_each_partition_is_found_behind_a_checkpoint() {
    let local = Local::new();
    let table = local.open();
    let other = Commit { partition: PartitionId(3), files: Vec::new(), ..commit_of(&table, 1, 7, &events([], spec)) };
    table.commit(other).unwrap();
    flush(&table, 1, 10);
    table.checkpoint().unwrap();
    flush(&table, 11, 20);
    drop(table);
    let location = TableLocation::local(local.path("events")).unwrap();
    let four = TableOptions { partitions: 4, ..options() };
    let (table, _) =
        Table::open(Arc::new(DurableLocal::new()), location, four, local.runtime.handle().clone()).unwrap();
    let version = table.current();
    assert_eq!(version.flushed(PartitionId(3)), Offset(7));
    assert_eq!(version.info(PartitionId(3)).unwrap().info, json!({"upto": 7}));
    assert_eq!(version.info(P0).unwrap().last, Offset(20));
}

#[test]
fn personal_fields_have_no_bounds_in_the_log() {
    let local = Local::new();
    let table = local.open();
    flush(&table, 1, 10);
    let commit = fs::read_to_string(local.commit_file(1)).unwrap();
    assert!(commit.contains("shop") && commit.contains("view"), "{commit}");
    assert!(!commit.contains("session-1") && !commit.contains("secret-user"), "{commit}");
}

#[test]
fn bounds_in_the_log_enclose_the_rows_of_every_row_group() {
    let local = Local::new();
    let table = local.open();
    // Longer than any bound, so that both are cut; each of "é" takes two bytes.
    let long = |offset| Spec { category: format!("{}{offset}", "é".repeat(60)), ..spec(offset) };
    table.commit(commit_of(&table, 1, 250, &events(1..=250, long))).unwrap();
    let version = table.current();
    assert!(version.files[0].row_groups().unwrap().len() > 1);
    let commit = fs::read_to_string(local.commit_file(1)).unwrap();
    let add = commit.lines().find_map(|line| serde_json::from_str::<Value>(line).ok()?.get("add").cloned()).unwrap();
    let stats: Value = serde_json::from_str(add["stats"].as_str().unwrap()).unwrap();
    let (low, high) = (&stats["minValues"], &stats["maxValues"]);
    assert_eq!((&stats["numRecords"], &low["offset"], &high["offset"]), (&json!(250), &json!(1), &json!(250)));
    assert_eq!((&low["name"], &high["name"], &low["partition"]), (&json!("buy"), &json!("view"), &json!(0)));
    let (low, high) = (low["category"].as_str().unwrap(), high["category"].as_str().unwrap());
    assert!(low.chars().count() <= 32 && high.chars().count() <= 32, "{low} {high}");
    assert!((1..=250).all(|offset| low <= long(offset).category.as_str() && long(offset).category.as_str() <= high));
}

#[test]
fn rows_of_two_partitions_or_of_another_table_are_refused() {
    let local = Local::new();
    let table = local.open();
    let mut columns = EventColumns::new(2);
    let batch = events([1], spec);
    let row = EventRows::new(&batch).unwrap().row(0);
    columns.push(&row);
    columns.push(&StoredEvent { partition: PartitionId(1), ..row });
    assert_eq!(table.write_batch(&columns.finish().unwrap()).unwrap_err().kind(), Kind::Invalid);
    let foreign = RejectionColumns::new(0).finish().unwrap();
    assert!(table.write_batch(&foreign).unwrap().is_empty(), "no rows, no file");
    assert_eq!(table.write_batch(&batch.project(&[0, 1]).unwrap()).unwrap_err().kind(), Kind::Invalid);
}

#[test]
fn rejections_have_a_table_of_their_own() {
    let local = Local::new();
    let open = || {
        let location = TableLocation::local(local.path("rejections")).unwrap();
        let options = TableOptions { row_group_rows: 10, ..TableOptions::new(TableKind::Rejections, NOW) };
        Table::open(Arc::new(DurableLocal::new()), location, options, local.runtime.handle().clone()).unwrap().0
    };
    let table = open();
    let mut columns = RejectionColumns::new(25);
    for offset in 1..=25 {
        columns.push(&StoredRejection {
            application: "web",
            token: "t1",
            received_at: Timestamp::from_micros(NOW.micros() + i64::try_from(offset).unwrap()),
            partition: P0,
            offset: Offset(offset),
            rejection: RejectionRef { code: "not_json", field: "", message: "mend it", sample: "{" },
        });
    }
    table.commit(commit_of(&table, 1, 25, &columns.finish().unwrap())).unwrap();
    let version = open().current();
    let mut read = Vec::new();
    for group in version.files[0].row_groups().unwrap() {
        let batch = version.files[0].read_all(group.index).unwrap();
        read.extend(
            RejectionRows::new(&batch).unwrap().iter().map(|row| (row.offset.0, row.rejection.code.to_owned())),
        );
    }
    let expected: Vec<_> = (1..=25).rev().map(|offset| (offset, "not_json".to_owned())).collect();
    assert_eq!(read, expected, "newest first throughout");
    assert!(verified(&table).is_sound());
}
