//! One node: its disks, its object store, and the store that runs on them while it is up.

use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use eye_event::Timestamp;
use eye_log::disk::sim::SimDisk;
use eye_log::local::{LocalLog, LocalOptions};
use eye_log::{PartitionId, SharedLog};
use eye_store::table::TableLocation;
use eye_store::{
    DedupRecall, Error, Kind, Result, RetentionRule, Store, StoreSettings, Table, TableKind, TableOptions,
};
use tokio::runtime::Runtime;

use crate::model::{DAYS, PARTITIONS, REJECTION_DAYS, SHORT_DAYS, SHORT_LIVED, WINDOW_SECONDS};
use crate::objects::Objects;

/// Commits that the log keeps behind `flushed`.
pub const LOG_KEEP_COMMITS: usize = 2;
/// How long replaced files stay.
pub const VACUUM_RETENTION_SECONDS: i64 = 1800;

thread_local! {
    static NOW: Cell<i64> = const { Cell::new(0) };
}

/// Sets the clock of nodes driven from this thread, in microseconds since 1970.
pub fn set_now(micros: i64) {
    NOW.set(micros);
}

fn now() -> Timestamp {
    Timestamp::from_micros(NOW.get())
}

/// Disks and objects outlive the process; [`Up`] does not.
pub struct Node {
    /// Runs what the table's store needs.
    pub runtime: Runtime,
    /// One disk per partition, so that each has its own order of calls.
    pub disks: Vec<SimDisk>,
    /// Where the tables lie.
    pub objects: Objects,
    /// The running process.
    pub up: Option<Up>,
    opened: u64,
}

/// A running process.
pub struct Up {
    /// Its store.
    pub store: Store,
    /// Its logs.
    pub logs: Vec<SharedLog>,
}

impl Node {
    /// A node with empty disks, not running.
    ///
    /// # Errors
    /// No runtime could be made.
    pub fn new() -> std::io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let disks = (0..PARTITIONS).map(|_| SimDisk::new()).collect();
        Ok(Self { runtime, disks, objects: Objects::default(), up: None, opened: 0 })
    }

    /// Starts the process, as the server does: logs, tables, store.
    ///
    /// # Errors
    /// What did not open.
    pub fn open(&mut self) -> Result<()> {
        self.opened += 1;
        let mut logs: Vec<SharedLog> = Vec::new();
        for (id, disk) in (0..PARTITIONS).zip(&self.disks) {
            let mut options = LocalOptions::new(format!("log/{id}"), PartitionId(id));
            options.segment_bytes_max = 6000;
            options.recent_bytes_max = 4000;
            options.reserve_bytes = 0;
            options.salt_seed = Some(self.opened);
            logs.push(Arc::new(LocalLog::open(options, Arc::new(disk.clone()))?.0));
        }
        let (events, rejections) = (self.table(TableKind::Events)?, self.table(TableKind::Rejections)?);
        let settings = StoreSettings {
            partitions: PARTITIONS,
            flush_by_itself: false,
            dedup_window: Duration::from_secs(WINDOW_SECONDS.unsigned_abs()),
            // By turns: answers must not depend on it.
            dedup_recall: if self.opened.is_multiple_of(2) { DedupRecall::OnDemand } else { DedupRecall::AtOpen },
            log_keep_commits: LOG_KEEP_COMMITS,
            checkpoint_commits: 3,
            // Some groups are cut by the size of a file, some by memory.
            compaction_files_min: 3,
            compaction_file_bytes: 64 * 1024,
            compaction_memory_bytes: 48 * 1024,
            retention: vec![
                RetentionRule { application: Some(SHORT_LIVED.to_owned()), category: None, days: SHORT_DAYS },
                RetentionRule { application: None, category: None, days: DAYS },
            ],
            rejection_days: Some(REJECTION_DAYS),
            vacuum_retention: Duration::from_secs(VACUUM_RETENTION_SECONDS.unsigned_abs()),
            ..StoreSettings::default()
        };
        let (store, _) = Store::open(settings, logs.clone(), events, rejections, now, &mut |_, _| {})?;
        self.up = Some(Up { store, logs });
        Ok(())
    }

    /// Another handle to a table, as another program would have it.
    ///
    /// # Errors
    /// As [`Table::open`].
    pub fn table(&self, kind: TableKind) -> Result<Table> {
        let location = TableLocation::remote(&format!("memory:///{}", kind.name()))?;
        let options =
            TableOptions { row_group_rows: 64, page_rows: 8, partitions: PARTITIONS, ..TableOptions::new(kind, now()) };
        let handle = self.runtime.handle().clone();
        Ok(Table::open(Arc::new(self.objects.clone()), location, options, handle)?.0)
    }

    /// The running process.
    ///
    /// # Errors
    /// It is not running.
    pub fn up(&self) -> Result<&Up> {
        self.up.as_ref().ok_or_else(|| Error::new(Kind::Unavailable, "the node is down"))
    }

    /// The process dies: with the power (what was not synced is lost, kept or torn by this seed) or alone.
    pub fn crash(&mut self, power: Option<u64>) {
        for (partition, disk) in (0_u64..).zip(&self.disks) {
            match power {
                Some(seed) => disk.crash(seed.wrapping_add(partition)),
                None => disk.kill(),
            }
            disk.release_syncs();
        }
        if let Some(up) = self.up.take() {
            up.store.abandon();
        }
        self.objects.heal();
    }

    /// The process stops in order.
    ///
    /// # Errors
    /// As [`Store::close`].
    pub fn stop(&mut self) -> Result<()> {
        self.up.take().map_or(Ok(()), |up| up.store.close())
    }
}
