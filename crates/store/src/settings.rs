//! The store's settings: plain values, each with its default. Where they come from is the server's business.

use std::time::Duration;

use crate::retention::RetentionRule;

/// How the store behaves. Durations are of monotonic time unless said otherwise.
#[derive(Clone, Debug)]
pub struct StoreSettings {
    /// Partitions of the log. Fixed when the data folder is made: a session never moves.
    pub partitions: u16,
    /// Flushes and compactions begin by themselves, in threads of their own. If not, nothing is flushed but by
    /// [`Store::flush_blocking`](crate::Store::flush_blocking): for simulations, whose every step must be their own.
    pub flush_by_itself: bool,
    /// A flush begins at this many rows in the hot buffer of a partition.
    pub flush_rows_max: usize,
    /// A flush begins at this many bytes of log records in the hot buffer of a partition.
    pub flush_bytes_max: usize,
    /// A flush begins when the oldest row is this old.
    pub flush_age_max: Duration,
    /// Above this many bytes in all hot buffers together, ingest waits for a flush; requests of at most 64 KiB above an eighth
    /// more.
    pub hot_bytes_max: usize,
    /// How long one request waits for room, and for being applied, before it is answered `Busy`.
    pub ingest_wait_max: Duration,
    /// How long an event's identity is remembered, by `received_at`.
    pub dedup_window: Duration,
    /// How many identities are remembered at most, per partition; the oldest are forgotten first, counted.
    pub dedup_ids_max: usize,
    /// When the identities of before are read back from the table.
    pub dedup_recall: DedupRecall,
    /// Bytes of runs that one question over a snapshot may hold at once: see
    /// [`Snapshot::question_runs_bytes_max`](crate::Snapshot::question_runs_bytes_max).
    pub question_runs_bytes_max: usize,
    /// How many of the newest events a live follower can be resent, per partition; fewer if the log records that they came
    /// in are larger than 16 MiB together.
    pub live_backlog_rows: usize,
    /// The log keeps the records of this many commits behind `flushed`.
    pub log_keep_commits: usize,
    /// A checkpoint of the table's log is written every this many commits.
    pub checkpoint_commits: u64,
    /// How often small files of the table are merged; zero: only by [`Store::compact_blocking`](crate::Store::compact_blocking).
    pub compaction_period: Duration,
    /// So many files of a day are merged at least, while the day lasts.
    pub compaction_files_min: usize,
    /// What is merged at once, and so the size of a file that is aimed at, in bytes; larger files are left alone.
    pub compaction_file_bytes: usize,
    /// What rows that are merged at once may take in memory, roughly, in bytes.
    pub compaction_memory_bytes: usize,
    /// With less free space than this where the table lies, in bytes, nothing is merged: the log needs it.
    pub compaction_disk_reserve: u64,
    /// How long events are kept; empty: for ever.
    pub retention: Vec<RetentionRule>,
    /// How many whole days rejections are kept after the one on which they were received; `None`: for ever.
    pub rejection_days: Option<u32>,
    /// How often it is looked for what is too old; zero: only by [`Store::expire_blocking`](crate::Store::expire_blocking).
    pub retention_period: Duration,
    /// How long files stay after they were replaced, for readers of older versions; and after they were written, if they
    /// never became part of the table. A commit whose answer was lost must not take effect later than this.
    pub vacuum_retention: Duration,
}

/// When the identities of before are read back from the table. Answers are the same; only the waiting differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DedupRecall {
    /// While opening: best where the table is far away, for then reading one session takes long.
    AtOpen,
    /// By a thread of its own after opening; a session that an event names before goes first.
    Background,
    /// Only those of sessions that events name.
    OnDemand,
}

impl Default for StoreSettings {
    fn default() -> Self {
        Self {
            partitions: 1,
            flush_by_itself: true,
            flush_rows_max: 500_000,
            flush_bytes_max: 64 * 1024 * 1024,
            flush_age_max: Duration::from_secs(60),
            hot_bytes_max: 128 * 1024 * 1024,
            ingest_wait_max: Duration::from_secs(5),
            dedup_window: Duration::from_secs(24 * 60 * 60),
            dedup_ids_max: 50_000_000,
            dedup_recall: DedupRecall::AtOpen,
            question_runs_bytes_max: 256 * 1024 * 1024,
            live_backlog_rows: 10_000,
            log_keep_commits: 10,
            checkpoint_commits: 100,
            compaction_period: Duration::from_secs(10 * 60),
            compaction_files_min: 10,
            compaction_file_bytes: 32 * 1024 * 1024,
            compaction_memory_bytes: 256 * 1024 * 1024,
            compaction_disk_reserve: 512 * 1024 * 1024,
            retention: Vec::new(),
            rejection_days: None,
            retention_period: Duration::from_secs(60 * 60),
            vacuum_retention: Duration::from_secs(7 * 24 * 60 * 60),
        }
    }
}
