//! Bytes in and out of one table, for blocking callers.
//!
//! A folder of this machine is read with plain positioned reads in the calling thread; everything else goes through the
//! object store on the runtime. Callers are blocking threads, never the runtime's own workers: those would deadlock. The
//! rule: nothing of a request is done by the caller's thread. Threads that the runtime starts for it are the runtime's own,
//! and must not take over that the caller gives way to others.

use std::fs::File;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use eye_event::Timestamp;
use futures_util::{StreamExt as _, TryStreamExt as _};
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt as _, PutMode, PutOptions, PutPayload};
use rustix::buffer::spare_capacity;
use tokio::runtime::Handle;

use super::footers::Footers;
use super::kept::Kept;
use super::local_store;
use super::location::TableLocation;
use super::runs::KeptRuns;
use crate::columns::RECEIVED_DATE;
use crate::error::{Error, Kind, Result};

/// Commits read at once when a table is opened.
const READS_AT_ONCE: usize = 16;

/// What was read from data files so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IoCounts {
    /// Ranges read.
    pub reads: u64,
    /// Bytes read.
    pub bytes: u64,
}

/// A file as a listing shows it.
#[derive(Clone, Debug)]
pub(crate) struct Listed {
    /// Inside the table.
    pub(crate) path: String,
    pub(crate) bytes: u64,
    /// By the object store's clock.
    pub(crate) written_at: Timestamp,
}

/// One table's way to its bytes. All paths are inside the table.
pub(crate) struct TableIo {
    store: Arc<dyn ObjectStore>,
    location: TableLocation,
    handle: Handle,
    reads: AtomicU64,
    bytes: AtomicU64,
    /// What was decoded a moment ago.
    pub(crate) kept: Kept,
    /// Whose rows slices are made of, as far as it was asked for.
    pub(crate) runs: KeptRuns,
    /// What data files say of themselves.
    pub(crate) footers: Footers,
}

impl TableIo {
    /// Nothing is kept yet, and never more than these.
    pub(crate) fn new(
        store: Arc<dyn ObjectStore>,
        location: TableLocation,
        handle: Handle,
        kept: Kept,
        runs: KeptRuns,
        footers: Footers,
    ) -> Self {
        let (reads, bytes) = (AtomicU64::new(0), AtomicU64::new(0));
        Self { store, location, handle, reads, bytes, kept, runs, footers }
    }

    pub(crate) fn location(&self) -> &TableLocation {
        &self.location
    }

    pub(crate) fn store(&self) -> &Arc<dyn ObjectStore> {
        &self.store
    }

    pub(crate) fn handle(&self) -> &Handle {
        &self.handle
    }

    pub(crate) fn counts(&self) -> IoCounts {
        IoCounts { reads: self.reads.load(Ordering::Relaxed), bytes: self.bytes.load(Ordering::Relaxed) }
    }

    /// A whole small file; `None` if it is not there.
    pub(crate) fn get(&self, path: &str) -> Result<Option<Bytes>> {
        let (store, full) = (Arc::clone(&self.store), self.full(path)?);
        found(self.on_runtime(async move { store.get(&full).await?.bytes().await })).map_err(|e| failed(path, &e))
    }

    /// Whole small files, several at a time, in the order asked for.
    pub(crate) fn get_all(&self, paths: &[String]) -> Result<Vec<Option<Bytes>>> {
        let full = paths.iter().map(|path| self.full(path)).collect::<Result<Vec<_>>>()?;
        let store = Arc::clone(&self.store);
        let reads = full.into_iter().map(move |path| {
            let store = Arc::clone(&store);
            async move {
                found(async { store.get(&path).await?.bytes().await }.await).map_err(|e| failed(path.as_ref(), &e))
            }
        });
        let all = futures_util::stream::iter(reads).buffered(READS_AT_ONCE).try_collect();
        let root = || self.location.root().as_ref();
        self.on_runtime(async move { Ok(all.await) }).map_err(|error| failed(root(), &error))?
    }

    /// The file's size; `None` if it is not there.
    pub(crate) fn size(&self, path: &str) -> Result<Option<u64>> {
        let (store, full) = (Arc::clone(&self.store), self.full(path)?);
        let meta = found(self.on_runtime(async move { store.head(&full).await }));
        let meta = meta.map_err(|error| failed(path, &error))?;
        Ok(meta.map(|meta| meta.size))
    }

    /// Ranges of a data file.
    pub(crate) fn ranges(&self, path: &str, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.reads.fetch_add(ranges.len() as u64, Ordering::Relaxed);
        self.bytes.fetch_add(ranges.iter().map(|range| range.end - range.start).sum(), Ordering::Relaxed);
        if let Some(folder) = self.location.folder() {
            return read_local(&folder.join(path), ranges).map_err(|error| local_failed(path, &error));
        }
        let (store, full, ranges) = (Arc::clone(&self.store), self.full(path)?, ranges.to_vec());
        let read = self.on_runtime(async move { store.get_ranges(&full, &ranges).await });
        read.map_err(|error| failed(path, &error))
    }

    /// Writes a data file whose name nobody else uses. Durable when it returns.
    pub(crate) fn put(&self, path: &str, bytes: PutPayload) -> Result<()> {
        let (store, full) = (Arc::clone(&self.store), self.full(path)?);
        let written = self.on_runtime(async move { store.put(&full, bytes).await });
        written.map(drop).map_err(|error| failed(path, &error))
    }

    /// Writes a file that must not exist. Durable when it returns; after an error it may be there or not.
    pub(crate) fn create(&self, path: &str, bytes: Bytes) -> Result<std::result::Result<(), object_store::Error>> {
        let (store, full) = (Arc::clone(&self.store), self.full(path)?);
        let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        Ok(self.on_runtime(async move { store.put_opts(&full, bytes.into(), options).await }).map(drop))
    }

    /// Moves a file.
    pub(crate) fn rename(&self, from: &str, to: &str) -> Result<()> {
        let (store, full_from, full_to) = (Arc::clone(&self.store), self.full(from)?, self.full(to)?);
        let moved = self.on_runtime(async move { store.rename(&full_from, &full_to).await });
        moved.map_err(|error| failed(from, &error))
    }

    /// Removes a file; one that is not there is no error.
    pub(crate) fn remove(&self, path: &str) -> Result<()> {
        let (store, full) = (Arc::clone(&self.store), self.full(path)?);
        let removed = found(self.on_runtime(async move { store.delete(&full).await }));
        removed.map(drop).map_err(|error| failed(path, &error))
    }

    /// Makes it durable that files are gone from where data files lie. On object storage it is at once.
    pub(crate) fn sync_data_folders(&self) -> Result<()> {
        let sync = |folder: &std::path::Path| File::open(folder)?.sync_all();
        self.data_folders()?
            .iter()
            .try_for_each(|folder| sync(folder).map_err(|error| local_failed(&folder.display().to_string(), &error)))
    }

    /// Removes files without a name yet, whose writing ended halfway, from where data files lie; how many there were.
    /// Nobody may be writing one.
    pub(crate) fn remove_staged(&self) -> Result<u64> {
        let mut removed = 0;
        for folder in self.data_folders()? {
            let failed = |error: std::io::Error| local_failed(&folder.display().to_string(), &error);
            for entry in std::fs::read_dir(&folder).map_err(failed)? {
                let entry = entry.map_err(failed)?;
                if local_store::is_staged(&entry.file_name().to_string_lossy()) {
                    std::fs::remove_file(entry.path()).map_err(failed)?;
                    removed += 1;
                }
            }
            if removed > 0 {
                File::open(&folder).and_then(|folder| folder.sync_all()).map_err(failed)?;
            }
        }
        Ok(removed)
    }

    /// The folders of data files; none on object storage.
    fn data_folders(&self) -> Result<Vec<std::path::PathBuf>> {
        let Some(root) = self.location.folder() else { return Ok(Vec::new()) };
        let failed = |error: std::io::Error| local_failed(&root.display().to_string(), &error);
        let mut folders = Vec::new();
        for entry in std::fs::read_dir(root).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let is_folder = entry.file_type().map_err(failed)?.is_dir();
            if is_folder && entry.file_name().to_string_lossy().starts_with(RECEIVED_DATE) {
                folders.push(entry.path());
            }
        }
        Ok(folders)
    }

    /// Every file below `folder` (the whole table if empty), as paths inside the table.
    pub(crate) fn list(&self, folder: &str) -> Result<Vec<String>> {
        Ok(self.list_files(folder)?.into_iter().map(|file| file.path).collect())
    }

    /// [`TableIo::list`], with what the object store knows of each file.
    pub(crate) fn list_files(&self, folder: &str) -> Result<Vec<Listed>> {
        let prefix = if folder.is_empty() { self.location.root().clone() } else { self.full(folder)? };
        let (store, root) = (Arc::clone(&self.store), self.location.root());
        let listed = self.on_runtime(async move { store.list(Some(&prefix)).try_collect().await });
        let listed: Vec<ObjectMeta> = listed.map_err(|error| failed(folder, &error))?;
        let relative = |meta: ObjectMeta| {
            let parts: Vec<_> = meta.location.prefix_match(root)?.map(|part| part.as_ref().to_owned()).collect();
            let written_at = Timestamp::from_micros(meta.last_modified.timestamp_micros());
            Some(Listed { path: parts.join("/"), bytes: meta.size, written_at })
        };
        Ok(listed.into_iter().filter_map(relative).collect())
    }

    /// Waits for a request that the runtime carries out: see the module.
    fn on_runtime<T: Send + 'static>(
        &self,
        request: impl Future<Output = object_store::Result<T>> + Send + 'static,
    ) -> object_store::Result<T> {
        self.handle.block_on(self.handle.spawn(request))?
    }

    fn full(&self, path: &str) -> Result<Path> {
        let root = self.location.root().as_ref();
        let full = if root.is_empty() { path.to_owned() } else { format!("{root}/{path}") };
        Path::parse(&full).map_err(|error| Error::new(Kind::Corrupt, format!("{path} is no path of a table: {error}")))
    }
}

fn read_local(path: &std::path::Path, ranges: &[Range<u64>]) -> std::io::Result<Vec<Bytes>> {
    let file = File::open(path)?;
    let read = |range: &Range<u64>| {
        let length = usize::try_from(range.end.saturating_sub(range.start)).unwrap_or(usize::MAX);
        // Into memory that nobody has filled: zeros would be written over at once.
        let mut bytes = Vec::with_capacity(length);
        while bytes.len() < length {
            let at = range.start + bytes.len() as u64;
            match rustix::io::pread(&file, spare_capacity(&mut bytes), at) {
                Ok(0) => return Err(std::io::ErrorKind::UnexpectedEof.into()),
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        bytes.truncate(length);
        Ok(Bytes::from(bytes))
    };
    ranges.iter().map(read).collect()
}

fn found<T>(result: object_store::Result<T>) -> object_store::Result<Option<T>> {
    match result {
        Ok(found) => Ok(Some(found)),
        Err(object_store::Error::NotFound { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

fn local_failed(path: &str, error: &std::io::Error) -> Error {
    use std::io::ErrorKind;
    match error.kind() {
        ErrorKind::NotFound => Error::new(Kind::Corrupt, format!("{path} is missing")),
        ErrorKind::UnexpectedEof => Error::new(Kind::Corrupt, format!("{path} is shorter than the table says")),
        _ => Error::new(Kind::Unavailable, format!("cannot read {path}: {error}")),
    }
}

/// What an object store's error means for the caller.
pub(crate) fn failed(path: &str, error: &object_store::Error) -> Error {
    if is_full(error) {
        return Error::new(Kind::Full, format!("no space left for {path}: make room"));
    }
    match error {
        object_store::Error::NotFound { .. } => Error::new(Kind::Corrupt, format!("{path} is missing")),
        // It panicked: tried again it would do so again.
        object_store::Error::JoinError { .. } => {
            Error::new(Kind::Internal, format!("a request for {path} failed: {error}"))
        }
        _ => Error::new(Kind::Unavailable, format!("object store failed on {path}: {error}")),
    }
}

fn is_full(error: &object_store::Error) -> bool {
    let mut source: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = source {
        if let Some(io) = error.downcast_ref::<std::io::Error>()
            && matches!(io.kind(), std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded)
        {
            return true;
        }
        source = error.source();
    }
    false
}

#[cfg(test)]
mod tests;
