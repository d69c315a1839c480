//! The files of one version, for a copy of the table that goes on being written.

use std::sync::Arc;

use bytes::Bytes;

use super::hash::FileHash;
use super::io::{Listed, TableIo};
use super::paths::{self, LogFile};
use super::version::TableVersion;
use super::{Table, erasures};
use crate::error::{Error, Kind, Result};

/// How often erasures are listed anew because one ended between the listing and the reading.
const TRIES: usize = 8;

/// A file of a table that is to be copied.
pub(crate) struct CopiedFile {
    /// Inside the table.
    pub(crate) path: String,
    pub(crate) bytes: u64,
    /// What its bytes must be, if the table says so.
    pub(crate) hash: Option<FileHash>,
    io: Arc<TableIo>,
}

impl CopiedFile {
    /// A part of it, read and not verified.
    pub(crate) fn read(&self, position: u64, bytes: u64) -> Result<Bytes> {
        let read = self.io.ranges(&self.path, std::slice::from_ref(&(position..position + bytes)))?;
        read.into_iter().next().ok_or_else(|| Error::new(Kind::Internal, "a read gave nothing"))
    }
}

impl Table {
    /// Every file that makes up this version: its commits, its newest checkpoint, its data. They stay for as long as the
    /// version is held. The hint to the checkpoint is left out, for readers find it without.
    pub(crate) fn files_of(&self, version: &TableVersion) -> Result<Vec<CopiedFile>> {
        let copied = |path: String, bytes: u64, hash| CopiedFile { path, bytes, hash, io: Arc::clone(&self.io) };
        // The proofs first: a checkpoint that has one is whole.
        let proofs = self.io.list_files(paths::CHECKSUM_FOLDER)?;
        let mut files = Vec::new();
        let (mut commits, mut checkpoints) = (0, Vec::new());
        for Listed { path, bytes, .. } in self.io.list_files(paths::LOG_FOLDER)? {
            match LogFile::parse(path.rsplit('/').next().unwrap_or_default()) {
                LogFile::Commit(number) if number <= version.version => {
                    commits += 1;
                    files.push(copied(path, bytes, None));
                }
                LogFile::Checkpoint(number) if number <= version.version => checkpoints.push((number, path, bytes)),
                _ => {}
            }
        }
        checkpoints.sort();
        let proof = |number: u64| proofs.iter().find(|proof| proof.path == paths::checkpoint_hash(number));
        // Another program may have written one, without a proof, and removed the commits that it stands for.
        let are_all_there = commits == version.version + 1;
        let newest = checkpoints.into_iter().rfind(|(number, ..)| !are_all_there || proof(*number).is_some());
        if let Some((number, path, bytes)) = newest {
            files.extend(proof(number).map(|proof| copied(proof.path.clone(), proof.bytes, None)));
            files.push(copied(path, bytes, None));
        }
        files.extend(version.files.iter().map(|file| copied(file.path.to_string(), file.bytes, file.sha256)));
        Ok(files)
    }

    /// What erasures have written down, as paths inside the table and bytes.
    pub(crate) fn erasure_files(&self) -> Result<Vec<(String, Bytes)>> {
        for _ in 0..TRIES {
            let paths = self.io.list(paths::ERASURES_FOLDER)?;
            let found = self.io.get_all(&paths)?;
            // One that has ended meanwhile has left a note that is not in this listing.
            if let Some(bytes) = found.into_iter().collect::<Option<Vec<_>>>() {
                return Ok(paths.into_iter().zip(bytes).collect());
            }
        }
        Err(Error::new(Kind::Busy, "erasures end faster than they can be listed: try again"))
    }

    /// The notes of erasures that `copied` has as wanted and that were cancelled since: without them a copy would carry on
    /// what somebody was told has stopped. Those that are done since are left out, for the copy has their rows.
    pub(crate) fn cancelled_since(&self, copied: &[(String, Bytes)]) -> Result<Vec<(String, Bytes)>> {
        let mut notes = Vec::new();
        for (path, bytes) in self.erasure_files()? {
            let Some(id) = path.strip_suffix(".done") else { continue };
            let is_wanted = copied.iter().any(|(copied, _)| copied.strip_suffix(".wanted") == Some(id));
            let is_there = copied.iter().any(|(copied, _)| *copied == path);
            if is_wanted && !is_there && erasures::is_cancelled(&bytes).map_err(|error| error.context(&path))? {
                notes.push((path, bytes));
            }
        }
        Ok(notes)
    }
}
