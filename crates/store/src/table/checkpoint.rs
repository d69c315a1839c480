//! Checkpoints: the state in one file, so that opening need not read every commit. Maintenance, never in the hot path.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

use eye_fault::{CrashPoint, crash_point};

use super::kernel::Kernel;
use super::version::{TableFile, TableVersion};
use super::{FileHash, Table, paths};
use crate::error::{Error, Kind, Result};

impl Table {
    /// True if a multiple of `every` versions was reached since the last checkpoint that was tried, or since the table was
    /// opened: a version that several commits stepped over counts.
    pub(crate) fn is_checkpoint_due(&self, every: u64) -> bool {
        self.current().version / every > self.checkpointed.load(Ordering::Acquire) / every
    }

    /// Writes a checkpoint of the current version and proves it: the table loaded from it must have the same files,
    /// rows and `flushed` offsets. Its hash is kept, so that rot in it is noticed. Commits may go on meanwhile. One that is
    /// proven already is left as it is: its hash says what it was, whatever it is by now.
    ///
    /// # Errors
    /// `Corrupt` if the checkpoint differs from the state it was made of; it is then moved to `_quarantine`.
    /// `Unavailable` if the object store fails: try again later.
    pub fn checkpoint(&self) -> Result<()> {
        let _maintenance = self.maintenance.lock();
        let before = self.current();
        self.checkpointed.store(before.version, Ordering::Release);
        let proof = paths::checkpoint_hash(before.version);
        if self.io.get(&proof)?.is_some() {
            return Ok(());
        }
        let partitions: BTreeSet<_> = before.flushed.keys().copied().collect();
        let kernel = Kernel::new(&self.io, self.options.kind);
        crash_point(CrashPoint::CheckpointBeforeWrite);
        kernel.checkpoint(before.version)?;
        crash_point(CrashPoint::CheckpointWritten);
        let after = kernel.load(before.version, &partitions).and_then(|after| assert_same(&before, &after));
        if let Err(error) = after {
            let from = paths::checkpoint(before.version);
            self.io.remove(&paths::last_checkpoint())?;
            self.io.rename(&from, &paths::quarantined(&from))?;
            return Err(error.context(format!("checkpoint {from} was set aside")));
        }
        crash_point(CrashPoint::CheckpointProven);
        let path = paths::checkpoint(before.version);
        let bytes = self.io.get(&path)?.ok_or_else(|| Error::new(Kind::Corrupt, format!("{path} is missing")))?;
        let hash = FileHash::of(&bytes).to_string();
        self.io.put(&proof, hash.into())
    }
}

/// Invariant: two loads of one version are the same table.
fn assert_same(before: &TableVersion, after: &TableVersion) -> Result<()> {
    let what = match () {
        () if before.flushed != after.flushed => "flushed offsets",
        () if before.maintenance != after.maintenance => "compactions",
        () if before.rows() != after.rows() => "rows",
        () if !before.files.iter().map(|file| entry(file)).eq(after.files.iter().map(|file| entry(file))) => "files",
        () => return Ok(()),
    };
    Err(Error::new(Kind::Corrupt, format!("the checkpoint of version {} has other {what}", before.version)))
}

/// All that the log says of a file.
fn entry(file: &TableFile) -> impl PartialEq + use<'_> {
    let TableFile { path, bytes, rows, received_date, partition, sha256, sums, .. } = file;
    let times = (file.timestamp_min, file.timestamp_max, file.received_min, file.received_max);
    let offsets = (file.offset_min, file.offset_max);
    ((path, bytes, rows, received_date), (partition, times, offsets), (sha256, sums))
}
