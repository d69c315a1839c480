//! [`TableVersion`]: the table at one commit, immutable; [`TableFile`]: one data file and what is known of it.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::sync::{Arc, OnceLock};

use eye_event::Timestamp;
use eye_log::{Offset, PartitionId};
use serde_json::Value;

use super::block_sums::BlockSums;
use super::footers::FileNumber;
use super::hash::FileHash;
use super::io::TableIo;
use super::paths::FilePath;
use super::read::{Blooms, Outline};
use super::removed::{Removed, RemovedRows};

/// The table as of one commit. Immutable; readers keep it as long as they like.
#[derive(Clone, Debug, Default)]
pub struct TableVersion {
    /// The Delta version.
    pub version: u64,
    /// Every data file, ordered by (received date, partition, first offset).
    pub files: Vec<Arc<TableFile>>,
    pub(crate) flushed: BTreeMap<PartitionId, Offset>,
    pub(crate) infos: BTreeMap<PartitionId, CommitNote>,
    /// The number of the last maintenance commit (compaction, erasure, retention); 0 if there was none.
    pub(crate) maintenance: u64,
    pub(crate) removed: RemovedRows,
}

/// What the newest commit of a partition said about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommitNote {
    /// The Delta version of that commit.
    pub version: u64,
    /// The first offset it covers.
    pub first: Offset,
    /// The last offset it covers: the partition's `flushed`.
    pub last: Offset,
    /// Rows it added.
    pub rows: u64,
    /// What the committer gave: [`Commit::info`](super::Commit::info).
    pub info: Value,
}

impl TableVersion {
    /// The last offset of this partition that is in the table; zero if none is.
    #[must_use]
    pub fn flushed(&self, partition: PartitionId) -> Offset {
        self.flushed.get(&partition).copied().unwrap_or_default()
    }

    /// Every partition that was ever flushed, with its last offset.
    pub fn flushed_all(&self) -> impl Iterator<Item = (PartitionId, Offset)> {
        self.flushed.iter().map(|(partition, offset)| (*partition, *offset))
    }

    /// What the newest commit of this partition said. `None` if there is none, or its entry of the log is gone.
    #[must_use]
    pub fn info(&self, partition: PartitionId) -> Option<&CommitNote> {
        self.infos.get(&partition)
    }

    /// The rows of this partition that were taken out on purpose, since the table was made.
    #[must_use]
    pub fn removed(&self, partition: PartitionId) -> Removed {
        self.removed.get(&partition.0).copied().unwrap_or_default()
    }

    /// The same of all partitions.
    #[must_use]
    pub fn removed_all(&self) -> Removed {
        self.removed.values().fold(Removed::default(), |sum, rows| sum.and(*rows))
    }

    /// Rows in all files.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.files.iter().map(|file| file.rows).sum()
    }

    /// Bytes of all files.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }

    /// This version with one more commit.
    pub(crate) fn with(
        &self,
        version: u64,
        partition: PartitionId,
        note: CommitNote,
        files: Vec<Arc<TableFile>>,
    ) -> Self {
        let mut next = self.clone();
        next.version = version;
        next.flushed.insert(partition, note.last);
        next.infos.insert(partition, note);
        next.files.extend(files);
        next.sort();
        next
    }

    /// This version with one more maintenance commit: `added` stand in the place of `removed`.
    pub(crate) fn with_maintenance(
        &self,
        (version, number): (u64, u64),
        removed: &[Arc<TableFile>],
        added: Vec<Arc<TableFile>>,
        rows: RemovedRows,
    ) -> Self {
        let gone: HashSet<&FilePath> = removed.iter().map(|file| &file.path).collect();
        let mut next = self.clone();
        next.version = version;
        next.maintenance = number;
        next.removed = rows;
        next.files.retain(|file| !gone.contains(&file.path));
        next.files.extend(added);
        next.sort();
        next
    }

    /// Orders the files; the same for a version built up commit by commit and for one that was loaded.
    pub(crate) fn sort(&mut self) {
        self.files.sort_by(|a, b| a.order().cmp(&b.order()));
    }

    /// Takes over the files of `known` with what was cached of them.
    pub(crate) fn keep_cached(&mut self, known: &Self) {
        let cached: ahash::AHashMap<&str, &Arc<TableFile>> =
            known.files.iter().map(|file| (file.path.as_str(), file)).collect();
        for file in &mut self.files {
            if let Some(known) = cached.get(file.path.as_str()).filter(|known| known.sha256 == file.sha256) {
                *file = Arc::clone(known);
            }
        }
    }
}

/// One data file: what the log says of it, and a way to its rows.
pub struct TableFile {
    /// Where it lies inside the table.
    pub path: FilePath,
    /// Its size.
    pub bytes: u64,
    /// Its rows.
    pub rows: u64,
    /// The UTC day its rows were received on, in days since 1970.
    pub received_date: i32,
    /// The partition of the log its rows came through.
    pub partition: PartitionId,
    /// The earliest row's time (of rejections: `received_at`).
    pub timestamp_min: Timestamp,
    /// The latest row's time (of rejections: `received_at`).
    pub timestamp_max: Timestamp,
    /// The first row received.
    pub received_min: Timestamp,
    /// The last row received.
    pub received_max: Timestamp,
    /// The lowest offset in it.
    pub offset_min: Offset,
    /// The highest offset in it.
    pub offset_max: Offset,
    /// The hash of its bytes; `None` if another program wrote it.
    pub sha256: Option<FileHash>,
    /// Checked before anything is decoded; `None` if another program wrote it.
    pub(crate) sums: Option<BlockSums>,
    pub(crate) io: Arc<TableIo>,
    pub(crate) number: FileNumber,
    pub(crate) outline: OnceLock<Outline>,
    pub(crate) blooms: OnceLock<Blooms>,
}

impl Drop for TableFile {
    fn drop(&mut self) {
        self.io.footers.forget(self.number);
    }
}

impl TableFile {
    fn order(&self) -> (i32, PartitionId, Offset, &FilePath) {
        (self.received_date, self.partition, self.offset_min, &self.path)
    }
}

impl fmt::Debug for TableFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TableFile").field("path", &self.path).field("rows", &self.rows).finish_non_exhaustive()
    }
}

/// A file that is durable but not yet part of the table.
#[derive(Clone, Debug)]
pub struct NewFile {
    pub(crate) file: Arc<TableFile>,
    pub(crate) stats: String,
}

impl NewFile {
    /// The file, as it will stand in the table.
    #[must_use]
    pub fn file(&self) -> &Arc<TableFile> {
        &self.file
    }
}
