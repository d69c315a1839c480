//! The one sequence of commits: files and their partition's `flushed` offset become part of the table together.
//!
//! An error of the object store never means "not committed": the request may have done its work and only the answer was
//! lost. So every error is answered by looking: is our commit (found by its id) in the log, has the partition moved past
//! it, or is it really absent? Files are never removed after an error.

use std::collections::HashSet;
use std::sync::Arc;

use bytes::Bytes;
use eye_event::Timestamp;
use eye_fault::{CrashPoint, Sabotage, crash_point, sabotaged};
use eye_log::{Offset, PartitionId};
use serde_json::Value;
use uuid::Uuid;

use super::actions::{self, EyeInfo, Maintenance, MaintenanceInfo, ParsedCommit};
use super::compact::Compaction;
use super::removed::RemovedRows;
use super::version::{CommitNote, NewFile, TableFile, TableVersion};
use super::{FilePath, Table, io, paths};
use crate::error::{Error, Kind, Result};
use crate::invariants;

/// How often a lost race for the version number is run again.
const RACES_MAX: usize = 32;

/// What became of a commit that was written.
enum Written {
    /// It is in the table, and so is [`Table::current`].
    InTable,
    /// Another commit took its version number.
    Raced,
    /// It was looked for and is not there.
    Absent(object_store::Error),
}

/// Rows to commit, and the offsets they cover.
#[derive(Clone, Debug)]
pub struct Commit {
    /// The partition of the log.
    pub partition: PartitionId,
    /// The first offset covered: the one after `expected_flushed`.
    pub first: Offset,
    /// The last offset covered: the partition's `flushed` afterwards.
    pub last: Offset,
    /// Where the caller believes the partition is flushed to.
    pub expected_flushed: Offset,
    /// What [`Table::write_files`] gave. May be empty: `flushed` moves all the same.
    pub files: Vec<NewFile>,
    /// Kept with the commit and given back by [`TableVersion::info`].
    pub info: Value,
    /// The caller's clock.
    pub now: Timestamp,
}

impl Table {
    /// Makes files part of the table and moves the partition's `flushed` to `commit.last`, in one Delta commit.
    ///
    /// When it returns, the commit is durable and was read back: the log may be trimmed behind `last`. A commit whose
    /// offsets are in the table already is no error and changes nothing.
    ///
    /// # Errors
    /// `Conflict` if the partition is not flushed to `expected_flushed`, or is flushed past `last`: reload, look, decide
    /// again. `Invalid` if files and offsets do not belong together. `Full` or `Unavailable`: the outcome was looked up
    /// and the commit is not there, or could not be looked up; the same commit may be tried again either way. `Corrupt`
    /// if what was read back is not what was written.
    pub fn commit(&self, commit: Commit) -> Result<Arc<TableVersion>> {
        let _writer = self.writer.lock();
        assert_whole(&commit)?;
        let eye = EyeInfo {
            id: Uuid::new_v4().to_string(),
            partition: commit.partition.0,
            first: commit.first.0,
            last: commit.last.0 - u64::from(sabotaged(Sabotage::FlushedTooLow)),
            rows: commit.files.iter().map(|file| file.file.rows).sum(),
            info: commit.info.clone(),
            removed: RemovedRows::new(),
        };
        for _ in 0..RACES_MAX {
            let current = self.current();
            if is_done(&current, &commit)? || self.try_commit(&current, &commit, &eye)? {
                return assert_not_passed(self.current(), &commit);
            }
        }
        Err(Error::new(Kind::Busy, "other writers of the table are always quicker: try again"))
    }

    /// True if the commit is in the table, false if another commit took its version number.
    fn try_commit(&self, current: &TableVersion, commit: &Commit, eye: &EyeInfo) -> Result<bool> {
        let eye = &EyeInfo { removed: current.removed.clone(), ..eye.clone() };
        let bytes = actions::append(eye, current.version, &commit.files, commit.now)?;
        let is_ours = |found: &ParsedCommit| found.eye.as_ref().is_some_and(|found| found.id == eye.id);
        let written = self.write_commit(current.version + 1, bytes, is_ours, |version| {
            let files = commit.files.iter().map(|file| Arc::clone(&file.file)).collect();
            current.with(version, commit.partition, note(eye, version), files)
        })?;
        match written {
            Written::InTable => Ok(true),
            Written::Raced => Ok(false),
            Written::Absent(error) if self.current().flushed(commit.partition) >= commit.last => {
                tracing::info!(%error, "another writer had committed the same offsets");
                Ok(true)
            }
            Written::Absent(error) => Err(io::failed(&paths::commit(current.version + 1), &error)),
        }
    }

    /// Puts files in the place of others that have the same rows (or more, if rows are to be taken out), in one Delta commit
    /// with the next number of the application transaction of maintenance. When it returns, the commit is durable and was
    /// read back.
    ///
    /// # Errors
    /// `Conflict` if another maintenance commit was quicker, or one of the files is no longer in the table: nothing was changed,
    /// plan again. `Internal` if the rows are not as many. Everything else as of [`Table::commit`].
    pub fn commit_maintenance(&self, compaction: &Compaction, now: Timestamp) -> Result<Arc<TableVersion>> {
        let _writer = self.writer.lock();
        let (mut removed, mut added) = (&compaction.removed[..], &compaction.added[..]);
        let rows = |files: &mut dyn Iterator<Item = &Arc<TableFile>>| files.map(|file| file.rows).sum();
        let (before, after): (u64, u64) = (rows(&mut removed.iter()), rows(&mut added.iter().map(NewFile::file)));
        let taken: u64 = compaction.taken.iter().map(|(_, _, rows)| rows).sum();
        invariants::maintenance_keeps_rows(before, after, taken)?;
        let kind = if compaction.is_removal { Maintenance::Removal } else { Maintenance::Compaction };
        // Once only: what is merged again and again would grow without end.
        if !compaction.is_removal && compaction.expected == 0 && sabotaged(Sabotage::CompactKeepsOld) {
            removed = &[];
        }
        if !compaction.is_removal && sabotaged(Sabotage::CompactLosesNew) {
            added = &[];
        }
        let (id, number) = (Uuid::new_v4().to_string(), compaction.expected + 1);
        for _ in 0..RACES_MAX {
            let current = self.current();
            assert_unchanged(&current, compaction)?;
            let mut rows = current.removed.clone();
            for (partition, why, taken) in &compaction.taken {
                rows.entry(partition.0).or_default().count(*why, *taken);
            }
            let info = MaintenanceInfo { id: id.clone(), number, rows: after, taken, removed: rows.clone() };
            let bytes = actions::maintenance(kind, &info, current.version, removed, added, now)?;
            let is_ours = |found: &ParsedCommit| found.maintenance.as_ref().is_some_and(|found| found.id == id);
            let written = self.write_commit(current.version + 1, bytes, is_ours, |version| {
                let files = added.iter().map(|file| Arc::clone(&file.file)).collect();
                current.with_maintenance((version, number), removed, files, rows)
            })?;
            match written {
                Written::InTable => {
                    self.alive.keep(removed);
                    return Ok(self.current());
                }
                Written::Raced => {}
                Written::Absent(error) => return Err(io::failed(&paths::commit(current.version + 1), &error)),
            }
        }
        Err(Error::new(Kind::Busy, "other writers of the table are always quicker: try again"))
    }

    /// Writes one commit and reads it back, or finds out what became of it.
    ///
    /// # Errors
    /// The outcome could not be looked up, or what was read back is not what was written.
    fn write_commit(
        &self,
        version: u64,
        bytes: Vec<u8>,
        is_ours: impl Fn(&ParsedCommit) -> bool,
        next: impl FnOnce(u64) -> TableVersion,
    ) -> Result<Written> {
        let (path, bytes) = (paths::commit(version), Bytes::from(bytes));
        crash_point(CrashPoint::CommitBeforeWrite);
        let error = match self.io.create(&path, bytes.clone())? {
            Ok(()) => {
                crash_point(CrashPoint::CommitWritten);
                if sabotaged(Sabotage::CommitTwice) {
                    drop(self.io.create(&paths::commit(version + 1), bytes.clone()));
                }
                self.assert_read_back(&path, &bytes)?;
                crash_point(CrashPoint::CommitVerified);
                self.current.store(Arc::new(next(version)));
                return Ok(Written::InTable);
            }
            Err(error) => error,
        };
        let tail = self.reload().map_err(|reload| {
            reload.context(format!("the outcome of {path} is unknown ({error}) and could not be looked up"))
        })?;
        if let Some((found, _)) = tail.commits.iter().rev().find(|(_, commit)| is_ours(commit)) {
            tracing::info!(version = found, %error, "commit was found in the table although its answer was an error");
            return Ok(Written::InTable);
        }
        match error {
            object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. } => Ok(Written::Raced),
            error => Ok(Written::Absent(error)),
        }
    }

    /// The log is trimmed behind a commit, so it must be there as it was written.
    fn assert_read_back(&self, path: &str, written: &Bytes) -> Result<()> {
        match self.io.get(path)? {
            Some(read) if read == *written => Ok(()),
            Some(_) => Err(Error::new(Kind::Corrupt, format!("{path} does not read back as it was written"))),
            None => Err(Error::new(Kind::Corrupt, format!("{path} was written but is not there"))),
        }
    }
}

/// Invariant: a commit covers whole, rising offsets right after what was flushed, and its files lie inside them.
fn assert_whole(commit: &Commit) -> Result<()> {
    let refuse = |what: String| Err(Error::new(Kind::Invalid, format!("this commit cannot be: {what}")));
    if commit.first != commit.expected_flushed.plus(1) || commit.last < commit.first {
        let Commit { first, last, expected_flushed, .. } = commit;
        return refuse(format!("offsets {first} to {last} do not follow {expected_flushed}"));
    }
    for file in commit.files.iter().map(NewFile::file) {
        if file.partition != commit.partition || file.offset_min < commit.first || file.offset_max > commit.last {
            return refuse(format!("{} holds rows of other offsets or of another partition", file.path));
        }
    }
    Ok(())
}

/// True if the table has these offsets already.
fn is_done(current: &TableVersion, commit: &Commit) -> Result<bool> {
    let flushed = current.flushed(commit.partition);
    if commit.last <= flushed {
        return Ok(true);
    }
    if flushed == commit.expected_flushed {
        return Ok(false);
    }
    let Commit { partition, expected_flushed, .. } = commit;
    let detail = format!("partition {partition} is flushed to {flushed}, not to {expected_flushed}: reload and look");
    Err(Error::new(Kind::Conflict, detail))
}

/// A version with more than the commit is never published: the caller still holds those rows in its hot buffer, and
/// its readers would see them twice.
fn assert_not_passed(current: Arc<TableVersion>, commit: &Commit) -> Result<Arc<TableVersion>> {
    let flushed = current.flushed(commit.partition);
    if flushed <= commit.last {
        return Ok(current);
    }
    let Commit { partition, last, .. } = commit;
    let detail = format!("partition {partition} is flushed to {flushed} by another writer, past {last}: open it again");
    Err(Error::new(Kind::Conflict, detail))
}

/// Invariant: whatever a maintenance commit removes is in the table, and no other was committed since it was begun.
fn assert_unchanged(current: &TableVersion, compaction: &Compaction) -> Result<()> {
    let conflict = |what: String| Err(Error::new(Kind::Conflict, format!("{what}: plan it again")));
    if current.maintenance != compaction.expected {
        return conflict(format!(
            "maintenance commit {} is in the table, not {}",
            current.maintenance, compaction.expected
        ));
    }
    let listed: HashSet<&FilePath> = current.files.iter().map(|file| &file.path).collect();
    match compaction.removed.iter().find(|file| !listed.contains(&file.path)) {
        Some(gone) => conflict(format!("{} is no longer in the table", gone.path)),
        None => Ok(()),
    }
}

fn note(eye: &EyeInfo, version: u64) -> CommitNote {
    let EyeInfo { first, last, rows, .. } = *eye;
    CommitNote { version, first: Offset(first), last: Offset(last), rows, info: eye.info.clone() }
}
