//! Opening a table: make it if there is none, check the commits that make up its state, set a damaged newest one aside.
//!
//! A power cut can leave only the newest commit unwritten: every older one was durable before the next was begun. So a
//! damaged newest commit is moved away (and committed again from the log, which still holds its rows); damage anywhere
//! before it is rot and is refused by name. A checkpoint says nothing that the commits do not say, so a damaged one is
//! moved away.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use eye_fault::{CrashPoint, crash_point};
use eye_log::{Offset, PartitionId};

use super::actions::{self, ParsedCommit};
use super::hash::FileHash;
use super::io::TableIo;
use super::kernel::Kernel;
use super::paths::{self, LogFile};
use super::removed::RemovedRows;
use super::version::{CommitNote, TableVersion};
use super::{OpenReport, Quarantined, TableOptions};
use crate::error::{Error, Kind, Result};

/// What lies in the log's folder.
#[derive(Debug, Default)]
pub(crate) struct LogFiles {
    pub(crate) commits: BTreeSet<u64>,
    pub(crate) checkpoints: BTreeSet<u64>,
}

/// The commits after the newest checkpoint, read and checked.
pub(crate) struct Tail {
    /// The version that the table is at.
    pub(crate) newest: u64,
    pub(crate) commits: BTreeMap<u64, ParsedCommit>,
}

/// A newest commit that is no commit.
struct Damaged {
    version: u64,
    why: String,
}

impl LogFiles {
    pub(crate) fn list(io: &TableIo) -> Result<Self> {
        let mut files = Self::default();
        for path in io.list(paths::LOG_FOLDER)? {
            match LogFile::parse(path.rsplit('/').next().unwrap_or_default()) {
                LogFile::Commit(version) => drop(files.commits.insert(version)),
                LogFile::Checkpoint(version) => drop(files.checkpoints.insert(version)),
                LogFile::Other => {}
            }
        }
        Ok(files)
    }

    fn is_empty(&self) -> bool {
        self.commits.is_empty() && self.checkpoints.is_empty()
    }

    /// True if commits, on top of an older checkpoint or of nothing, say all that this checkpoint says.
    fn replace(&self, checkpoint: u64) -> bool {
        let first = self.checkpoints.range(..checkpoint).last().map_or(0, |older| older + 1);
        (first..=checkpoint).all(|version| self.commits.contains(&version))
    }

    /// The versions whose commits make up the state on top of the newest checkpoint.
    ///
    /// # Errors
    /// `Corrupt` with the name of a commit that is missing between others.
    fn tail(&self) -> Result<Vec<u64>> {
        let first = self.checkpoints.last().map_or(0, |checkpoint| checkpoint + 1);
        let Some(last) = self.commits.last().copied().filter(|last| *last >= first) else {
            return Ok(Vec::new());
        };
        match (first..=last).find(|version| !self.commits.contains(version)) {
            Some(gap) => Err(Error::new(Kind::Corrupt, format!("{} is missing", paths::commit(gap)))),
            None => Ok((first..=last).collect()),
        }
    }
}

/// Opens or makes the table.
pub(crate) fn open(io: &Arc<TableIo>, options: &TableOptions) -> Result<(TableVersion, OpenReport)> {
    let mut report = OpenReport::default();
    loop {
        let files = LogFiles::list(io)?;
        if files.is_empty() {
            crash_point(CrashPoint::TableBeforeCreate);
            create(io, options)?;
            crash_point(CrashPoint::TableCreated);
            report.created = true;
            continue;
        }
        if set_aside_checkpoint(io, &files)? {
            continue;
        }
        drop_stale_hint(io, &files)?;
        match check(io, &files)? {
            Ok(tail) => return Ok((load(io, options, &files, &tail)?, report)),
            Err(damaged) if report.quarantined.is_none() => report.quarantined = Some(set_aside(io, &damaged)?),
            Err(damaged) => return Err(corrupt(&damaged)),
        }
    }
}

/// Loads the table as it is now, with the checked commits after the newest checkpoint. Nothing of it is made or moved.
pub(crate) fn reload(io: &Arc<TableIo>, options: &TableOptions) -> Result<(TableVersion, Tail)> {
    let files = LogFiles::list(io)?;
    drop_stale_hint(io, &files)?;
    match check(io, &files)? {
        Ok(tail) => Ok((load(io, options, &files, &tail)?, tail)),
        Err(damaged) => Err(corrupt(&damaged)),
    }
}

fn create(io: &TableIo, options: &TableOptions) -> Result<()> {
    if let Some(file) = io.list("")?.into_iter().find(|path| path.ends_with(".parquet")) {
        let detail = format!("{} is there but the table's log is gone: restore {}", file, paths::LOG_FOLDER);
        return Err(Error::new(Kind::Corrupt, detail));
    }
    let bytes = Bytes::from(actions::creation(options.kind, options.now)?);
    match io.create(&paths::commit(0), bytes)? {
        // Somebody else was quicker: theirs is as good.
        Ok(()) | Err(object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. }) => Ok(()),
        Err(error) => Err(super::io::failed(&paths::commit(0), &error)),
    }
}

/// Reads and checks the commits after the newest checkpoint. The inner error is a newest commit that is damaged.
fn check(io: &TableIo, files: &LogFiles) -> Result<std::result::Result<Tail, Damaged>> {
    let versions = files.tail()?;
    let names: Vec<String> = versions.iter().map(|version| paths::commit(*version)).collect();
    let mut commits = BTreeMap::new();
    for (version, bytes) in versions.iter().zip(io.get_all(&names)?) {
        let bytes =
            bytes.ok_or_else(|| Error::new(Kind::Corrupt, format!("{} is missing", paths::commit(*version))))?;
        match actions::parse(&bytes) {
            Ok(parsed) => drop(commits.insert(*version, parsed)),
            Err(why) => {
                let damaged = Damaged { version: *version, why };
                let is_newest = versions.last() == Some(version);
                return if is_newest { Ok(Err(damaged)) } else { Err(corrupt(&damaged)) };
            }
        }
    }
    let newest = versions.last().or(files.checkpoints.last()).copied().unwrap_or_default();
    Ok(Ok(Tail { newest, commits }))
}

fn set_aside(io: &TableIo, damaged: &Damaged) -> Result<Quarantined> {
    let from = paths::commit(damaged.version);
    let moved_to = paths::quarantined(&from);
    crash_point(CrashPoint::RepairBeforeMove);
    io.rename(&from, &moved_to)?;
    crash_point(CrashPoint::RepairMoved);
    tracing::warn!(file = %from, %moved_to, why = %damaged.why, "newest commit was damaged and is set aside");
    Ok(Quarantined { version: damaged.version, moved_to, why: damaged.why.clone() })
}

/// Moves the newest checkpoint away if it is not what was written, or was never proven; true if it was moved. The commits
/// say the same, as long as they are all there: else a damaged one is refused by name, and one without a proof (another
/// program wrote it, and removed what it stands for) is trusted.
fn set_aside_checkpoint(io: &TableIo, files: &LogFiles) -> Result<bool> {
    let Some(version) = files.checkpoints.last() else { return Ok(false) };
    let from = paths::checkpoint(*version);
    let Some(bytes) = io.get(&from)? else { return Ok(false) };
    let proof = io.get(&paths::checkpoint_hash(*version))?;
    let is_whole = proof.as_ref().map(|hash| *hash == FileHash::of(&bytes).to_string());
    match (is_whole, files.replace(*version)) {
        (Some(true), _) | (None, false) => return Ok(false),
        (Some(false), false) => {
            let detail = format!("{from} is damaged, and the commits that it stands for are not all there: restore it");
            return Err(Error::new(Kind::Corrupt, detail));
        }
        (_, true) => {}
    }
    let moved_to = paths::quarantined(&from);
    io.remove(&paths::last_checkpoint())?;
    io.rename(&from, &moved_to)?;
    let why = if is_whole.is_some() { "it was damaged" } else { "it was never proven" };
    tracing::warn!(file = %from, %moved_to, why, "the newest checkpoint is set aside");
    Ok(true)
}

/// Removes the hint that names the newest checkpoint if that one is not there: readers would look for it and nothing
/// else. Its write may have been answered with an error, and have landed after the checkpoint was set aside.
fn drop_stale_hint(io: &TableIo, files: &LogFiles) -> Result<()> {
    let Some(hint) = io.get(&paths::last_checkpoint())? else { return Ok(()) };
    let named = actions::hinted(&hint);
    if named.is_some_and(|version| files.checkpoints.contains(&version)) {
        return Ok(());
    }
    tracing::warn!(?named, "the hint to the newest checkpoint names none that is there: it is removed");
    io.remove(&paths::last_checkpoint())
}

fn corrupt(damaged: &Damaged) -> Error {
    let Damaged { version, why } = damaged;
    Error::new(Kind::Corrupt, format!("commit {} is damaged: {why}; restore it", paths::commit(*version)))
}

fn load(io: &Arc<TableIo>, options: &TableOptions, files: &LogFiles, tail: &Tail) -> Result<TableVersion> {
    let mut partitions: BTreeSet<PartitionId> = (0..options.partitions).map(PartitionId).collect();
    partitions.extend(tail.commits.values().flat_map(|commit| &commit.txns).map(|(partition, _)| *partition));
    let mut version = Kernel::new(io, options.kind).load(tail.newest, &partitions)?;
    let mut removed = None;
    for (number, commit) in tail.commits.iter().rev() {
        take_note(&mut version, *number, commit);
        removed = removed.or_else(|| removed_rows(commit));
    }
    let before = tail.commits.keys().next().copied().unwrap_or(tail.newest + 1);
    for number in files.commits.range(..before).rev() {
        let is_complete = version.flushed.keys().all(|partition| version.infos.contains_key(partition));
        if is_complete && removed.is_some() {
            break;
        }
        let name = paths::commit(*number);
        let bytes = io.get(&name)?.ok_or_else(|| Error::new(Kind::Corrupt, format!("{name} is missing")))?;
        let commit = actions::parse(&bytes).map_err(|why| corrupt(&Damaged { version: *number, why }))?;
        take_note(&mut version, *number, &commit);
        removed = removed.or_else(|| removed_rows(&commit));
    }
    version.removed = removed.unwrap_or_default();
    assert_notes_agree(&version)?;
    Ok(version)
}

/// The rows that were taken out of the table, as of a commit of ours.
fn removed_rows(commit: &ParsedCommit) -> Option<RemovedRows> {
    let of_maintenance = commit.maintenance.as_ref().map(|note| &note.removed);
    commit.eye.as_ref().map(|note| &note.removed).or(of_maintenance).cloned()
}

/// Keeps a commit's note unless a newer one of the same partition is known.
fn take_note(version: &mut TableVersion, number: u64, commit: &ParsedCommit) {
    if let Some(eye) = &commit.eye {
        let note = CommitNote {
            version: number,
            first: Offset(eye.first),
            last: Offset(eye.last),
            rows: eye.rows,
            info: eye.info.clone(),
        };
        version.infos.entry(PartitionId(eye.partition)).or_insert(note);
    }
}

/// The transaction and the note of the newest commit are written together, so they must be equal.
fn assert_notes_agree(version: &TableVersion) -> Result<()> {
    for (partition, note) in &version.infos {
        let flushed = version.flushed(*partition);
        if flushed != note.last {
            let file = paths::commit(note.version);
            let detail =
                format!("{file} ends at offset {} but partition {partition} is flushed to {flushed}", note.last);
            return Err(Error::new(Kind::Corrupt, detail));
        }
    }
    Ok(())
}
