//! [`BackupFiles`]: the files of one moment, which together are a copy of the store, while it goes on.
//!
//! The order is the promise: erasures are read → with every flush held back, for an instant: the version of both tables, and
//! the files of the logs → which of the erasures were cancelled meanwhile. So an erasure in the copy hides only rows that
//! its table has, and none that was called off; no offset lies between its table and its logs; and the rejections' table is
//! never behind the events'. From there nobody is held up. Data files stay because somebody holds their version (a vacuum
//! leaves them, an erasure waits), commits because nothing removes one, and the files of the logs because they are open.

use std::sync::Arc;

use bytes::Bytes;
use eye_log::LogFile;

use crate::error::{Error, Kind, Result};
use crate::invariants;
use crate::position::Position;
use crate::store::{Shared, Store};
use crate::table::{CopiedFile, FileHash, Table, TableVersion};

/// See the module. Whoever holds it keeps its files from being removed.
pub struct BackupFiles {
    files: Vec<BackupFile>,
    version: u64,
    position: Position,
    _held: [Arc<TableVersion>; 2],
}

/// One file of a copy.
pub struct BackupFile {
    path: String,
    place: Place,
}

/// Where the bytes are.
enum Place {
    Memory(Bytes),
    Log(LogFile),
    Table(CopiedFile),
}

impl Store {
    /// The files that are a copy of the store: everything acknowledged before this call is in them, once. Blocks for the
    /// flush that is under way, and for the listing of the tables' logs.
    ///
    /// # Errors
    /// `Unavailable` if the object store fails; `Internal` if the logs lie in no files.
    pub fn backup_files(&self) -> Result<BackupFiles> {
        self.shared.backup_files()
    }
}

impl Shared {
    fn backup_files(&self) -> Result<BackupFiles> {
        let folder = |table: &Table, path: &str| format!("table/{}/{path}", table.kind().name());
        let noted = |(path, bytes): (String, Bytes)| BackupFile::in_memory(folder(&self.events, &path), bytes);
        let erasures = self.events.erasure_files()?;
        let mut files: Vec<BackupFile> = Vec::new();
        let flushes: Vec<_> = self.partitions.iter().map(|partition| partition.flush.lock()).collect();
        // Rejections are committed first, so they are looked at last.
        let versions = [self.events.current(), self.rejections.current()];
        let mut ends = Vec::new();
        for partition in &self.partitions {
            let end = partition.log.end();
            invariants::trim_follows_flush(versions[0].flushed(partition.id), partition.log.start())?;
            let folder = format!("log/{}", partition.id);
            files.extend(partition.log.files()?.into_iter().map(|file| BackupFile::of_log(&folder, file)));
            ends.push(end.previous());
        }
        drop(flushes);
        // Whoever was told of a cancellation before the versions were taken finds it in the copy.
        let cancelled = self.events.cancelled_since(&erasures)?;
        files.extend(erasures.into_iter().chain(cancelled).map(noted));
        for (table, version) in [&self.events, &self.rejections].into_iter().zip(&versions) {
            let copied = |file: CopiedFile| BackupFile { path: folder(table, &file.path), place: Place::Table(file) };
            files.extend(table.files_of(version)?.into_iter().map(copied));
        }
        Ok(BackupFiles { files, version: versions[0].version, position: Position::new(ends), _held: versions })
    }
}

impl BackupFiles {
    /// The files. Those of the logs come before those of the tables.
    #[must_use]
    pub fn files(&self) -> &[BackupFile] {
        &self.files
    }

    /// The version of the events' table.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Everything up to here is in the copy.
    #[must_use]
    pub fn position(&self) -> &Position {
        &self.position
    }

    /// Adds files that are no part of the store.
    pub fn extend(&mut self, files: impl IntoIterator<Item = BackupFile>) {
        self.files.extend(files);
    }
}

impl BackupFile {
    /// A file that is made of these bytes.
    #[must_use]
    pub fn in_memory(path: String, bytes: Bytes) -> Self {
        Self { path, place: Place::Memory(bytes) }
    }

    /// A file of a log, which lies in `folder`.
    #[must_use]
    pub fn of_log(folder: &str, file: LogFile) -> Self {
        Self { path: format!("{folder}/{}", file.name()), place: Place::Log(file) }
    }

    /// Its path inside a data folder, with slashes.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Its length.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        match &self.place {
            Place::Memory(bytes) => bytes.len() as u64,
            Place::Log(file) => file.bytes(),
            Place::Table(file) => file.bytes,
        }
    }

    /// What its bytes must be, where that is written down.
    #[must_use]
    pub fn hash(&self) -> Option<FileHash> {
        match &self.place {
            Place::Table(file) => file.hash,
            Place::Memory(_) | Place::Log(_) => None,
        }
    }

    /// A part of it, at most `bytes_max` from `position` on; empty at its end. Nothing is verified. Blocks.
    ///
    /// # Errors
    /// `Corrupt` if it is shorter than it was or gone; `Unavailable` or `Internal` if it cannot be read.
    pub fn read(&self, position: u64, bytes_max: usize) -> Result<Bytes> {
        let length = (bytes_max as u64).min(self.bytes().saturating_sub(position));
        if length == 0 {
            return Ok(Bytes::new());
        }
        match &self.place {
            Place::Table(file) => file.read(position, length).map_err(|error| error.context(&self.path)),
            Place::Memory(bytes) => {
                let from = usize::try_from(position).unwrap_or(usize::MAX).min(bytes.len());
                Ok(bytes.slice(from..bytes.len().min(from.saturating_add(bytes_max))))
            }
            Place::Log(file) => {
                let length = usize::try_from(length).map_err(|_| Error::new(Kind::Internal, "a part is too long"))?;
                let mut bytes = vec![0; length];
                file.read_exact_at(&mut bytes, position).map_err(|error| Error::from(error).context(&self.path))?;
                Ok(bytes.into())
            }
        }
    }
}
