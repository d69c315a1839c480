//! Checkpoints: the state in one file, so that opening need not read every commit. Maintenance, never in the hot path.

use std::collections::BTreeSet;

use eye_fault::{CrashPoint, crash_point};

use super::kernel::Kernel;
use super::version::{TableFile, TableVersion};
use super::{FileHash, FilePath, Table, paths};
use crate::error::{Error, Kind, Result};

impl Table {
    /// Writes a checkpoint of the current version and proves it: the table loaded from it must have the same files,
    /// rows and `flushed` offsets. Its hash is kept, so that rot in it is noticed. Commits may go on meanwhile.
    ///
    /// # Errors
    /// `Corrupt` if the checkpoint differs from the state it was made of; it is then moved to `_quarantine`.
    /// `Unavailable` if the object store fails: try again later.
    pub fn checkpoint(&self) -> Result<()> {
        let _maintenance = self.maintenance.lock();
        let before = self.current();
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
        self.io.put(&paths::checkpoint_hash(before.version), hash.into())
    }
}

/// Invariant: two loads of one version are the same table.
fn assert_same(before: &TableVersion, after: &TableVersion) -> Result<()> {
    let what = match () {
        () if before.flushed != after.flushed => "flushed offsets",
        () if before.rows() != after.rows() => "rows",
        () if !before.files.iter().map(|file| key(file)).eq(after.files.iter().map(|file| key(file))) => "files",
        () => return Ok(()),
    };
    Err(Error::new(Kind::Corrupt, format!("the checkpoint of version {} has other {what}", before.version)))
}

fn key(file: &TableFile) -> (&FilePath, u64, u64, Option<FileHash>) {
    (&file.path, file.bytes, file.rows, file.sha256)
}
