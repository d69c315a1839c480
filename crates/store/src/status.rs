//! Figures for operators: what `/metrics`, `/readyz` and `/v1/jobs` are made of.

use std::sync::atomic::Ordering;

use crate::compact::CompactionFigures;
use crate::position::Position;
use crate::retention::RetentionFigures;
use crate::store::Shared;
use crate::table::Removed;

/// The store's figures at one moment.
#[derive(Clone, Debug)]
pub struct Status {
    /// The table's version.
    pub version: u64,
    /// What is applied.
    pub position: Position,
    /// What is in the table.
    pub flushed: Position,
    /// Rows in the hot buffers.
    pub hot_rows: usize,
    /// Bytes of log records in the hot buffers.
    pub hot_bytes: usize,
    /// Identities in memory.
    pub dedup_ids: usize,
    /// Rows of the table that the dedup window covers and that are not in memory yet.
    pub dedup_rows_left: u64,
    /// Memory they take, in bytes.
    pub dedup_bytes: usize,
    /// The dedup window really covered, in seconds: the configured one unless ids were forgotten early.
    pub dedup_window_seconds: i64,
    /// Identities forgotten before their time.
    pub dedup_forgotten_early: u64,
    /// What the logs take on disk, in bytes.
    pub log_bytes: u64,
    /// What the table's files take, in bytes.
    pub table_bytes: u64,
    /// The table's files.
    pub table_files: usize,
    /// The table's rows.
    pub table_rows: u64,
    /// Flushes since the start.
    pub flushes: u64,
    /// Why the last flush failed, if it did.
    pub last_flush_error: Option<String>,
    /// Rows of both tables that were taken out on purpose since they were made.
    pub removed: Removed,
    /// Erasures that are not done.
    pub erasures_running: usize,
    /// Those of them whose last try failed.
    pub erasures_failing: usize,
    /// What has become of what was too old since the start.
    pub retention: RetentionFigures,
    /// What compactions have done since the start.
    pub compaction: CompactionFigures,
}

impl Status {
    pub(crate) fn of(shared: &Shared) -> Self {
        let snapshot = shared.snapshot();
        let (events, rejections) = (snapshot.events.removed_all(), snapshot.rejections.removed_all());
        let running = shared.running_erasures();
        let mut status = Self {
            version: snapshot.version(),
            position: snapshot.position().clone(),
            flushed: snapshot.flushed().clone(),
            hot_rows: snapshot.hot.iter().map(crate::buffer::GenerationView::rows).sum(),
            hot_bytes: shared.hot_bytes.load(Ordering::Acquire),
            dedup_ids: 0,
            dedup_rows_left: 0,
            dedup_bytes: 0,
            dedup_window_seconds: i64::MAX,
            dedup_forgotten_early: 0,
            log_bytes: 0,
            table_bytes: snapshot.events.bytes(),
            table_files: snapshot.events.files.len(),
            table_rows: snapshot.events.rows(),
            flushes: shared.flushes.load(Ordering::Acquire),
            last_flush_error: shared.flush_errors.lock().iter().flatten().next().cloned(),
            removed: Removed {
                erased: events.erased + rejections.erased,
                expired: events.expired + rejections.expired,
            },
            erasures_running: running.len(),
            erasures_failing: running.iter().filter(|erasure| erasure.last_error.is_some()).count(),
            retention: shared.retention.lock().clone(),
            compaction: shared.compaction.lock().clone(),
        };
        for partition in &shared.partitions {
            let state = partition.state.lock();
            status.dedup_ids += state.dedup().len();
            status.dedup_rows_left += state.recall().map_or(0, crate::recall::Recall::rows);
            status.dedup_bytes += state.dedup().bytes();
            status.dedup_window_seconds = status.dedup_window_seconds.min(state.dedup().effective_seconds());
            status.dedup_forgotten_early += state.dedup().forgotten_early();
            status.log_bytes += partition.log.bytes_on_disk();
        }
        status
    }
}
