//! [`DurableLocal`]: a folder of this machine as an object store whose writes are durable when they return.
//!
//! The object store crate's own local store never calls fsync: after a power cut every file may be empty, and an empty
//! newest commit reads as "nothing was committed". Here a put is: missing folders made, each made durable in its
//! parent; the bytes in a staging file of the same folder; fsync of that file; link (create) or rename (overwrite) to
//! its name; fsync of the folder. A failed fsync is never tried again: the staging file goes, the put fails.

use std::collections::HashSet;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Write as _};
use std::path::{Path as FsPath, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use eye_fault::{CrashPoint, Sabotage, crash_point, sabotaged};
use eye_log::disk::is_out_of_reach;
use futures_util::stream::{self, BoxStream, StreamExt as _, TryStreamExt as _};
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMode,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions, Result, UploadPart,
};
use parking_lot::Mutex;

use super::paths::LOG_FOLDER;

/// A large file is synced after every so many bytes. What is written and not synced yet may have to reach the disk before
/// somebody else's sync returns (ext4 orders data before the one journal that all files share), above all the log's.
const SYNC_BYTES: usize = 2 * 1024 * 1024;

/// One step of a write on the disk, in the order they happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// A folder is made.
    MakeFolder,
    /// The bytes are written to the staging file.
    Write,
    /// The file is fsynced.
    SyncFile,
    /// The staging file is linked to its name, which must not be taken.
    Link,
    /// The staging file is renamed to its name, or a file is copied or renamed.
    Rename,
    /// The folder is fsynced.
    SyncFolder,
}

/// Called before each step; an error makes that step fail. For fault injection.
pub type Hook = Arc<dyn Fn(Step, &FsPath) -> io::Result<()> + Send + Sync>;

/// The local file system, durable. Locations are absolute paths.
#[derive(Clone)]
pub struct DurableLocal {
    inner: Arc<LocalFileSystem>,
    hook: Option<Hook>,
    /// Folders whose names are durable: this process made them, or synced their names.
    folders: Arc<Mutex<HashSet<PathBuf>>>,
}

impl DurableLocal {
    /// The local file system from its root.
    #[must_use]
    pub fn new() -> Self {
        Self { inner: Arc::new(LocalFileSystem::new()), hook: None, folders: Arc::default() }
    }

    /// The same, with `hook` called before each step of each write.
    #[must_use]
    pub fn with_hook(hook: Hook) -> Self {
        Self { hook: Some(hook), ..Self::new() }
    }

    fn step(&self, step: Step, path: &FsPath) -> io::Result<()> {
        self.hook.as_ref().map_or(Ok(()), |hook| hook(step, path))
    }

    fn put_durably(&self, path: &FsPath, payload: &PutPayload, create: bool) -> io::Result<()> {
        let folder = parent(path)?;
        self.keep_folder(folder)?;
        let staging = staging_path(path);
        let put = self.write_staged(&staging, payload).and_then(|()| {
            if create {
                self.step(Step::Link, path)?;
                fs::hard_link(&staging, path)
            } else {
                self.step(Step::Rename, path)?;
                fs::rename(&staging, path)
            }
        });
        if create || put.is_err() {
            // What is left behind is hidden from every listing and harms nothing.
            let _ = fs::remove_file(&staging);
        }
        put?;
        passed(path, CrashPoint::CommitNamed, CrashPoint::FileNamed);
        if !(sabotaged(Sabotage::SkipCommitFolderSync) && is_of_log(path)) {
            self.sync_folder(folder)?;
        }
        passed(path, CrashPoint::CommitDurable, CrashPoint::FileDurable);
        Ok(())
    }

    fn write_staged(&self, staging: &FsPath, payload: &PutPayload) -> io::Result<()> {
        self.step(Step::Write, staging)?;
        let mut file = File::options().write(true).create_new(true).open(staging)?;
        let skipped = if is_of_log(staging) { Sabotage::SkipCommitSync } else { Sabotage::SkipFileSync };
        let mut unsynced = 0;
        for piece in payload.iter().flat_map(|bytes| bytes.chunks(SYNC_BYTES)) {
            if unsynced + piece.len() > SYNC_BYTES && !sabotaged(skipped) {
                self.step(Step::SyncFile, staging)?;
                file.sync_data()?;
                unsynced = 0;
            }
            file.write_all(piece)?;
            unsynced += piece.len();
        }
        passed(staging, CrashPoint::CommitStaged, CrashPoint::FileStaged);
        if sabotaged(skipped) {
            return Ok(());
        }
        self.step(Step::SyncFile, staging)?;
        file.sync_all()?;
        passed(staging, CrashPoint::CommitSynced, CrashPoint::FileSynced);
        Ok(())
    }

    /// Makes sure that the folder is there and stays there. A process that died may have made it and not come to sync its
    /// name, so a folder that was there already is synced too, once.
    fn keep_folder(&self, folder: &FsPath) -> io::Result<()> {
        if self.folders.lock().contains(folder) {
            return Ok(());
        }
        if folder.is_dir() {
            self.sync_folder(parent(folder)?)?;
        } else {
            self.make_folders(folder)?;
        }
        self.folders.lock().insert(folder.to_owned());
        Ok(())
    }

    /// Makes the missing folders from the top down, each durable in its parent before the next.
    ///
    /// The lowest that was there already may have been made by a process that died, so its name is synced too. Above it
    /// is what whoever runs this made, and may be closed to us.
    fn make_folders(&self, folder: &FsPath) -> io::Result<()> {
        if folder.is_dir() {
            return match parent(folder).and_then(|above| self.sync_folder(above)) {
                Err(error) if !is_out_of_reach(&error) => Err(error),
                _ => Ok(()),
            };
        }
        let above = parent(folder)?;
        self.make_folders(above)?;
        self.step(Step::MakeFolder, folder)?;
        match fs::create_dir(folder) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(error),
            _ => {
                crash_point(CrashPoint::FolderMade);
                self.sync_folder(above)
            }
        }
    }

    fn sync_folder(&self, folder: &FsPath) -> io::Result<()> {
        self.step(Step::SyncFolder, folder)?;
        File::open(folder)?.sync_all()
    }

    /// After a copy or rename of the inner store: the file and both folders.
    fn sync_moved(&self, from: &FsPath, to: &FsPath) -> io::Result<()> {
        crash_point(CrashPoint::FileMoved);
        self.step(Step::SyncFile, to)?;
        File::open(to)?.sync_all()?;
        self.sync_folder(parent(to)?)?;
        self.sync_folder(parent(from)?)
    }

    async fn after_move(&self, from: &Path, to: &Path) -> Result<()> {
        let (from, to) = (self.inner.path_to_filesystem(from)?, self.inner.path_to_filesystem(to)?);
        let this = self.clone();
        blocking(move || this.sync_moved(&from, &to).map_err(|error| store_error(&to, error))).await
    }

    async fn before_move(&self, to: &Path) -> Result<()> {
        let to = self.inner.path_to_filesystem(to)?;
        let this = self.clone();
        blocking(move || {
            parent(&to)
                .and_then(|folder| this.keep_folder(folder))
                .and_then(|()| this.step(Step::Rename, &to))
                .map_err(|error| store_error(&to, error))
        })
        .await
    }
}

impl Default for DurableLocal {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for DurableLocal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DurableLocal").finish_non_exhaustive()
    }
}

impl fmt::Display for DurableLocal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DurableLocal")
    }
}

#[async_trait]
impl ObjectStore for DurableLocal {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        let create = match options.mode {
            PutMode::Create => true,
            PutMode::Overwrite => false,
            PutMode::Update(_) => {
                return Err(Error::NotImplemented {
                    operation: "conditional update".into(),
                    implementer: self.to_string(),
                });
            }
        };
        let path = self.inner.path_to_filesystem(location)?;
        let this = self.clone();
        blocking(move || {
            this.put_durably(&path, &payload, create).map_err(|error| store_error(&path, error))?;
            Ok(PutResult { e_tag: None, version: None })
        })
        .await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        _options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        Ok(Box::new(BufferedUpload { store: self.clone(), location: location.clone(), parts: Vec::new() }))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.inner.get_opts(location, options).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(locations)
    }

    /// What a listing shows is durable: whoever wrote it may have died, or failed, between the name and the sync.
    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let listed = self.inner.list(prefix);
        let folder = prefix.map(|prefix| self.inner.path_to_filesystem(prefix)).transpose();
        let this = self.clone();
        let durable = async move {
            let listed: Vec<ObjectMeta> = listed.try_collect().await?;
            if let Some(folder) = folder?.filter(|_| !listed.is_empty()) {
                blocking(move || this.sync_folder(&folder).map_err(|error| store_error(&folder, error))).await?;
            }
            Ok::<_, Error>(stream::iter(listed.into_iter().map(Ok)))
        };
        stream::once(durable).try_flatten().boxed()
    }

    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list_with_offset(prefix, offset)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.before_move(to).await?;
        self.inner.copy_opts(from, to, options).await?;
        self.after_move(from, to).await
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        self.before_move(to).await?;
        self.inner.rename_opts(from, to, options).await?;
        self.after_move(from, to).await
    }
}

/// Parts kept in memory until the upload is complete, then one put: an unfinished upload leaves nothing.
#[derive(Debug)]
struct BufferedUpload {
    store: DurableLocal,
    location: Path,
    parts: Vec<PutPayload>,
}

#[async_trait]
impl MultipartUpload for BufferedUpload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        self.parts.push(data);
        Box::pin(std::future::ready(Ok(())))
    }

    async fn complete(&mut self) -> Result<PutResult> {
        let payload = std::mem::take(&mut self.parts).into_iter().flatten().collect();
        self.store.put_opts(&self.location, payload, PutOptions::default()).await
    }

    async fn abort(&mut self) -> Result<()> {
        self.parts.clear();
        Ok(())
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    match tokio::runtime::Handle::try_current() {
        Ok(runtime) => runtime.spawn_blocking(work).await?,
        Err(_) => work(),
    }
}

/// Hidden from listings: the inner store passes over names that end in `#` and digits.
fn staging_path(path: &FsPath) -> PathBuf {
    let (unique, _) = uuid::Uuid::new_v4().as_u64_pair();
    let mut staging = path.as_os_str().to_owned();
    staging.push(format!("#{unique}"));
    PathBuf::from(staging)
}

/// True of what [`staging_path`] names.
pub(crate) fn is_staged(name: &str) -> bool {
    let unique = name.rsplit_once('#').map(|(_, unique)| unique);
    unique.is_some_and(|unique| !unique.is_empty() && unique.bytes().all(|byte| byte.is_ascii_digit()))
}

/// The same step is one crash point for the table's log and another for its data.
fn passed(path: &FsPath, of_log: CrashPoint, of_data: CrashPoint) {
    crash_point(if is_of_log(path) { of_log } else { of_data });
}

/// True for files of the table's log.
fn is_of_log(path: &FsPath) -> bool {
    path.parent().is_some_and(|folder| folder.ends_with(LOG_FOLDER))
}

fn parent(path: &FsPath) -> io::Result<&FsPath> {
    path.parent().ok_or_else(|| io::Error::new(ErrorKind::InvalidInput, "the root folder is missing"))
}

fn store_error(path: &FsPath, error: io::Error) -> Error {
    let shown = path.display().to_string();
    match error.kind() {
        ErrorKind::AlreadyExists => Error::AlreadyExists { path: shown, source: error.into() },
        ErrorKind::NotFound => Error::NotFound { path: shown, source: error.into() },
        ErrorKind::PermissionDenied => Error::PermissionDenied { path: shown, source: error.into() },
        _ => Error::Generic { store: "DurableLocal", source: Box::new(error) },
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use object_store::ObjectStoreExt as _;

    use super::*;

    type Steps = Arc<Mutex<Vec<(Step, String)>>>;

    fn recording(fail_at: Option<usize>) -> (DurableLocal, Steps) {
        let steps: Steps = Arc::default();
        let seen = Arc::clone(&steps);
        let hook: Hook = Arc::new(move |step, path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let name = name.split('#').next().unwrap_or_default().to_owned();
            let mut seen = seen.lock();
            seen.push((step, name));
            if fail_at == Some(seen.len() - 1) { Err(io::Error::other("injected")) } else { Ok(()) }
        });
        (DurableLocal::with_hook(hook), steps)
    }

    fn create() -> PutOptions {
        PutOptions { mode: PutMode::Create, ..PutOptions::default() }
    }

    fn location(folder: &FsPath, name: &str) -> Path {
        Path::from_absolute_path(folder.join(name)).unwrap()
    }

    #[tokio::test]
    async fn file_is_synced_before_its_name_and_folder_after_it() {
        let folder = tempfile::tempdir().unwrap();
        let (store, steps) = recording(None);
        store.put_opts(&location(folder.path(), "a/b/file"), "x".into(), create()).await.unwrap();
        store.put(&location(folder.path(), "a/b/file"), "y".into()).await.unwrap();
        let name = |path: &FsPath| path.file_name().unwrap().to_string_lossy().into_owned();
        let (top, above) = (&*name(folder.path()), &*name(folder.path().parent().unwrap()));
        let expected = [
            (Step::SyncFolder, above),
            (Step::MakeFolder, "a"),
            (Step::SyncFolder, top),
            (Step::MakeFolder, "b"),
            (Step::SyncFolder, "a"),
            (Step::Write, "file"),
            (Step::SyncFile, "file"),
            (Step::Link, "file"),
            (Step::SyncFolder, "b"),
            (Step::Write, "file"),
            (Step::SyncFile, "file"),
            (Step::Rename, "file"),
            (Step::SyncFolder, "b"),
        ];
        let seen = steps.lock().clone();
        assert_eq!(seen, expected.map(|(step, name)| (step, name.to_owned())));
        let read = store.get(&location(folder.path(), "a/b/file")).await.unwrap().bytes().await.unwrap();
        assert_eq!(read, "y");
    }

    #[tokio::test]
    async fn a_large_file_is_synced_as_it_is_written_and_a_failure_on_the_way_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let file = location(folder.path(), "file");
        let bytes: Vec<u8> = (0..=2 * SYNC_BYTES).map(|index| (index % 251) as u8).collect();
        let parts = [&bytes[..1], &bytes[1..=SYNC_BYTES], &bytes[SYNC_BYTES + 1..]];
        let payload = || PutPayload::from_iter(parts.map(Bytes::copy_from_slice));
        let (store, steps) = recording(None);
        store.put_opts(&file, payload(), create()).await.unwrap();
        let syncs: Vec<_> = steps.lock().iter().map(|(step, _)| *step).collect();
        assert_eq!(syncs[1..], [&[Step::Write][..], &[Step::SyncFile; 3], &[Step::Link, Step::SyncFolder]].concat());
        assert_eq!(store.get(&file).await.unwrap().bytes().await.unwrap(), bytes);
        steps.lock().clear();
        store.put(&file, PutPayload::from_iter(["a", "b", "c"].map(Bytes::from))).await.unwrap();
        assert_eq!(steps.lock().iter().filter(|(step, _)| *step == Step::SyncFile).count(), 1, "small parts together");
        for fail_at in 2..5 {
            let folder = tempfile::tempdir().unwrap();
            let (store, steps) = recording(Some(fail_at));
            assert!(store.put_opts(&location(folder.path(), "file"), payload(), create()).await.is_err());
            assert_eq!(steps.lock().last().unwrap().0, Step::SyncFile);
            assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        }
    }

    #[tokio::test]
    async fn create_never_overwrites() {
        let folder = tempfile::tempdir().unwrap();
        let store = DurableLocal::new();
        let file = location(folder.path(), "file");
        store.put_opts(&file, "first".into(), create()).await.unwrap();
        let again = store.put_opts(&file, "second".into(), create()).await;
        assert!(matches!(again, Err(Error::AlreadyExists { .. })), "{again:?}");
        assert_eq!(store.get(&file).await.unwrap().bytes().await.unwrap(), "first");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no staging file is left");
    }

    #[tokio::test]
    async fn every_failing_step_is_an_error_and_leaves_no_part_of_a_file() {
        for fail_at in 0..8 {
            let folder = tempfile::tempdir().unwrap();
            let (store, _) = recording(Some(fail_at));
            let file = location(folder.path(), "a/b/file");
            store.put_opts(&file, "whole".into(), create()).await.unwrap_err();
            match fs::read_to_string(folder.path().join("a/b/file")) {
                Ok(text) => assert_eq!((fail_at, text.as_str()), (7, "whole")),
                Err(error) => assert_eq!(error.kind(), ErrorKind::NotFound),
            }
        }
    }

    /// Whoever made a folder may have died before its name was synced.
    #[tokio::test]
    async fn a_folder_that_was_there_is_synced_once() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("day")).unwrap();
        let (store, steps) = recording(None);
        store.put(&location(folder.path(), "day/one"), "x".into()).await.unwrap();
        store.put(&location(folder.path(), "day/two"), "x".into()).await.unwrap();
        let top = folder.path().file_name().unwrap().to_str().unwrap();
        let seen = steps.lock().clone();
        assert_eq!(seen[0], (Step::SyncFolder, top.to_owned()));
        assert_eq!(seen.iter().filter(|(_, name)| name == top).count(), 1);
    }

    /// A commit that was named and not synced is seen by the next process: it must not go away again.
    #[tokio::test]
    async fn what_a_listing_shows_is_synced_first() {
        let folder = tempfile::tempdir().unwrap();
        let prefix = location(folder.path(), "log");
        let (store, steps) = recording(None);
        assert!(store.list(Some(&prefix)).try_collect::<Vec<_>>().await.unwrap().is_empty());
        store.put(&location(folder.path(), "log/file"), "x".into()).await.unwrap();
        steps.lock().clear();
        assert_eq!(store.list(Some(&prefix)).try_collect::<Vec<_>>().await.unwrap().len(), 1);
        assert_eq!(*steps.lock(), [(Step::SyncFolder, "log".to_owned())]);
        let (failing, _) = recording(Some(0));
        assert!(failing.list(Some(&prefix)).try_collect::<Vec<_>>().await.is_err(), "not synced, not shown");
    }

    #[tokio::test]
    async fn multipart_appears_whole_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let store = DurableLocal::new();
        let file = location(folder.path(), "file");
        let mut upload = store.put_multipart(&file).await.unwrap();
        upload.put_part("one ".into()).await.unwrap();
        assert!(store.head(&file).await.is_err());
        upload.put_part("two".into()).await.unwrap();
        upload.complete().await.unwrap();
        assert_eq!(store.get(&file).await.unwrap().bytes().await.unwrap(), "one two");
    }

    #[tokio::test]
    async fn moves_are_synced_at_both_ends() {
        let folder = tempfile::tempdir().unwrap();
        let (store, steps) = recording(None);
        let (from, to) = (location(folder.path(), "from"), location(folder.path(), "new/to"));
        store.put(&from, "x".into()).await.unwrap();
        steps.lock().clear();
        store.rename(&from, &to).await.unwrap();
        let seen: Vec<Step> = steps.lock().iter().map(|(step, _)| *step).collect();
        use Step::{MakeFolder, Rename, SyncFile, SyncFolder};
        assert_eq!(seen, [SyncFolder, MakeFolder, SyncFolder, Rename, SyncFile, SyncFolder, SyncFolder]);
        assert!(store.head(&from).await.is_err());
    }
}
