//! Reads that fail: every read of a table's data files, commits and checkpoint, one at a time, when it is opened and when it
//! is asked. What cannot be read is away, never damaged: nothing is set aside, no other row is shown, and when it can be read
//! again everything is as before.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use eye_event::{EventRef, Problems, Timestamp};
use eye_log::{Offset, PartitionId};
use eye_store::columns::{Columns, EventColumns, EventRows};
use eye_store::table::{Commit, Table, TableLocation, TableOptions};
use eye_store::table::{CompactionRules, VacuumRules, verify};
use eye_store::{Error, Kind, Result, StoredEvent, TableKind};
use futures_util::TryStreamExt as _;
use futures_util::stream::BoxStream;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMultipartOptions,
    PutOptions, PutPayload, PutResult,
};
use serde_json::json;
use tokio::runtime::{Builder, Runtime};

/// 2026-11-23.
const NOW: Timestamp = Timestamp::from_micros(20_780 * 86_400_000_000);
const P0: PartitionId = PartitionId(0);

/// An object store in memory whose n-th read fails.
#[derive(Debug)]
struct Unreadable {
    inner: InMemory,
    /// Reads left before the one that fails; negative: none fails.
    left: AtomicI64,
}

impl Unreadable {
    fn read(&self) -> object_store::Result<()> {
        let fails = self.left.load(Ordering::SeqCst) >= 0 && self.left.fetch_sub(1, Ordering::SeqCst) == 0;
        if fails {
            let source = std::io::Error::from_raw_os_error(5).into();
            return Err(object_store::Error::Generic { store: "unreadable", source });
        }
        Ok(())
    }

    /// True if the read that was to fail was never made.
    fn heal(&self) -> bool {
        self.left.swap(-1, Ordering::SeqCst) >= 0
    }
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("unreadable store")
    }
}

#[async_trait]
impl ObjectStore for Unreadable {
    async fn put_opts(&self, path: &Path, payload: PutPayload, options: PutOptions) -> object_store::Result<PutResult> {
        self.inner.put_opts(path, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        path: &Path,
        options: PutMultipartOptions,
    ) -> object_store::Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(path, options).await
    }

    async fn get_opts(&self, path: &Path, options: GetOptions) -> object_store::Result<GetResult> {
        // One that is not there costs no read.
        let found = self.inner.get_opts(path, options).await?;
        self.read()?;
        Ok(found)
    }

    async fn get_ranges(&self, path: &Path, ranges: &[Range<u64>]) -> object_store::Result<Vec<Bytes>> {
        self.read()?;
        self.inner.get_ranges(path, ranges).await
    }

    fn delete_stream(
        &self,
        paths: BoxStream<'static, object_store::Result<Path>>,
    ) -> BoxStream<'static, object_store::Result<Path>> {
        self.inner.delete_stream(paths)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, object_store::Result<ObjectMeta>> {
        match self.read() {
            Ok(()) => self.inner.list(prefix),
            Err(error) => Box::pin(futures_util::stream::iter([Err(error)])),
        }
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> object_store::Result<ListResult> {
        self.read()?;
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> object_store::Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

struct Fixture {
    runtime: Runtime,
    store: Arc<Unreadable>,
}

impl Fixture {
    /// Four commits; the third has a checkpoint.
    fn new() -> Self {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let fixture =
            Self { runtime, store: Arc::new(Unreadable { inner: InMemory::new(), left: AtomicI64::new(-1) }) };
        let table = fixture.open().unwrap();
        for number in 0..4 {
            let first = number * 10 + 1;
            let files = table.write_batch(&events(first..first + 10).finish().unwrap()).unwrap();
            let commit = Commit {
                partition: P0,
                first: Offset(first),
                last: Offset(first + 9),
                expected_flushed: Offset(first - 1),
                files,
                info: json!({"ledger": {}}),
                now: NOW,
            };
            table.commit(commit).unwrap();
            if number == 2 {
                table.checkpoint().unwrap();
            }
        }
        fixture
    }

    fn open(&self) -> Result<Table> {
        let location = TableLocation::remote("memory:///events").unwrap();
        let options = TableOptions {
            row_group_rows: 8,
            page_rows: 4,
            block_bytes: 512,
            ..TableOptions::new(TableKind::Events, NOW)
        };
        let store = Arc::<Unreadable>::clone(&self.store);
        let (table, report) = Table::open(store, location, options, self.runtime.handle().clone())?;
        assert!(report.quarantined.is_none(), "a commit that cannot be read is taken for damage");
        Ok(table)
    }

    /// Every file, by name and length.
    fn files(&self) -> Vec<(String, u64)> {
        let listed: Vec<ObjectMeta> = self.runtime.block_on(self.store.inner.list(None).try_collect()).unwrap();
        let mut files: Vec<_> = listed.into_iter().map(|meta| (meta.location.to_string(), meta.size)).collect();
        files.sort();
        files
    }

    /// Does it with the first read failing, then with the second, until none is left to fail; how many there were. Nothing
    /// but an error may come of it.
    fn each_read_fails<T: PartialEq + fmt::Debug>(&self, expected: &T, act: impl Fn(&Self) -> Result<T>) -> i64 {
        let before = self.files();
        for nth in 0.. {
            self.store.left.store(nth, Ordering::SeqCst);
            let done = act(self);
            let is_over = self.store.heal();
            match done {
                Ok(done) => assert_eq!(done, *expected, "read {nth}"),
                Err(error) => assert_away(&error, nth),
            }
            assert_eq!(self.files(), before, "read {nth}: files were made or moved");
            assert_eq!(act(self).unwrap(), *expected, "after read {nth} could not be read");
            if is_over {
                return nth;
            }
        }
        unreachable!("there are so many reads")
    }
}

fn assert_away(error: &Error, nth: i64) {
    assert_eq!(error.kind(), Kind::Unavailable, "read {nth}: {error}");
}

fn events(offsets: Range<u64>) -> EventColumns {
    let mut columns = EventColumns::new(0);
    for offset in offsets {
        let (event_id, session_id) = (format!("event-{offset}"), format!("session-{}", offset % 3));
        let data = format!("{{\"n\":{offset}}}");
        columns.push(&StoredEvent {
            application: "web",
            received_at: Timestamp::from_micros(NOW.micros() + offset.cast_signed()),
            partition: P0,
            offset: Offset(offset),
            event: EventRef {
                event_id: &event_id,
                session_id: &session_id,
                category: "shop",
                name: "view",
                timestamp: NOW,
                timestamp_raw: None,
                sent_at: None,
                user_id: Some("user"),
                anonymous_id: None,
                data: &data,
                context: None,
                problems: Problems::NONE,
            },
        });
    }
    columns
}

/// Everything that can be read of a table: all rows, each session.
fn read(table: &Table) -> Result<Vec<String>> {
    let mut seen = vec![format!("{} {}", table.current().version, table.current().flushed(P0))];
    for file in &table.current().files {
        for group in file.row_groups()? {
            let batch = file.read_all(group.index)?;
            seen.extend(EventRows::new(&batch)?.iter().map(|row| format!("{row:?}")));
        }
        for session in 0..3 {
            for batch in file.session(&format!("session-{session}"), Columns::ALL)? {
                seen.extend(EventRows::new(&batch)?.iter().map(|row| format!("{session}: {row:?}")));
            }
        }
    }
    Ok(seen)
}

#[test]
fn what_cannot_be_read_when_a_table_is_opened_or_asked_is_away_and_not_damaged() {
    let fixture = Fixture::new();
    let expected = read(&fixture.open().unwrap()).unwrap();
    assert_eq!(expected.len(), 1 + 40 + 40);
    let opened = fixture.each_read_fails(&(), |fixture| fixture.open().map(drop));
    assert!(opened >= 5, "listing, checkpoint, its proof, commits: {opened}");
    // Every read of rows on an open table, whose footers are in memory after the first time.
    let asked = fixture.each_read_fails(&expected, |fixture| {
        let left = fixture.store.left.swap(-1, Ordering::SeqCst);
        let table = fixture.open().unwrap();
        fixture.store.left.store(left, Ordering::SeqCst);
        read(&table)
    });
    assert!(asked >= 8, "two reads of each file at least: {asked}");
    println!("reads that failed: {opened} at open, {asked} of rows");
}

#[test]
fn maintenance_that_cannot_read_changes_nothing() {
    let fixture = Fixture::new();
    let table = fixture.open().unwrap();
    let rows = read(&table).unwrap();
    let rules = CompactionRules { file_bytes: 1 << 20, memory_bytes: 1 << 20, files_min: 2, today: i32::MAX };
    let group = table.compactable(&rules, &table.current()).remove(0);
    let failed = fixture.each_read_fails(&(), |fixture| {
        // What was written and not committed is no part of the table: it is taken away again, so that files can be compared.
        let before = fixture.files();
        let merged = table.rewrite(&group, &rules, &|| true).map(drop);
        for (path, _) in fixture.files().into_iter().filter(|file| !before.contains(file)) {
            let path = Path::from(path);
            fixture
                .runtime
                .block_on(async { object_store::ObjectStoreExt::delete(&*fixture.store, &path).await })
                .unwrap();
        }
        merged
    });
    assert!(failed >= 4, "every file is read: {failed}");
    let vacuum = VacuumRules { retention: Duration::ZERO, keep_commits: 0, now: Timestamp::from_micros(i64::MAX / 4) };
    // What was written and not committed might go: whether it may, only the log tells.
    let _uncommitted = table.rewrite(&group, &rules, &|| true).unwrap().unwrap();
    let failed = fixture.each_read_fails(&0, |_| table.vacuum(&vacuum, &|| true).map(|done| done.files));
    assert!(failed >= 3, "listing, reloading: {failed}");
    let sound = fixture.each_read_fails(&true, |fixture| {
        let left = fixture.store.left.swap(-1, Ordering::SeqCst);
        let table = fixture.open().unwrap();
        fixture.store.left.store(left, Ordering::SeqCst);
        verify(&table, true, &mut |_| {}).map(|report| report.is_sound())
    });
    assert!(sound >= 8, "{sound}");
    assert_eq!(read(&fixture.open().unwrap()).unwrap(), rows);
}
