//! An object store in memory that fails on demand: before or after a write took effect, with a lost or a wrong answer,
//! late, for a while, or for good as when the process dies.
//!
//! Faults count writes only: reads run side by side, and their number would not be the same in every run.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::stream::{self, BoxStream, StreamExt as _, TryStreamExt as _};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    ObjectStoreExt as _, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result, UploadPart,
};
use parking_lot::Mutex;

use crate::node::VACUUM_RETENTION_SECONDS;

/// How late a write may take effect whose writer has given up: half of what a vacuum counts on.
pub const LATE_MICROS_MAX: i64 = VACUUM_RETENTION_SECONDS * 500_000;

/// What becomes of the write that is hit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Toxic {
    /// It fails and has no effect.
    Before,
    /// It takes effect and the answer is lost.
    After,
    /// It takes effect, and a retry inside the client finds its own file: the answer is "already exists".
    Exists,
    /// It takes effect, the answer is lost, and nothing answers any more until [`Objects::heal`].
    Dark,
    /// The answer is an error; it takes effect when [`Objects::land_late`] is called.
    Late,
    /// The process dies before it.
    DieBefore,
    /// The process dies after it took effect.
    DieAfter,
}

impl Toxic {
    /// Those after which the process goes on.
    pub const SURVIVED: [Self; 5] = [Self::Before, Self::After, Self::Exists, Self::Dark, Self::Late];
    /// Those that end the process.
    pub const DEADLY: [Self; 2] = [Self::DieBefore, Self::DieAfter];
}

/// The store. A clone is another handle to the same one.
#[derive(Clone, Default)]
pub struct Objects {
    inner: Arc<InMemory>,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    /// Writes left before the one that is hit, and how.
    armed: Option<(u64, Toxic)>,
    dead: bool,
    writes_refused: bool,
    reads_refused: bool,
    /// Reads that were refused since the last healing, and writes.
    reads_missed: u64,
    writes_missed: u64,
    late: Vec<Late>,
    /// The simulated time, in microseconds since 1970, and when each file was written.
    now: i64,
    written: HashMap<Path, i64>,
}

/// A write whose writer has given up.
struct Late {
    at: i64,
    path: Path,
    payload: PutPayload,
    options: PutOptions,
}

impl State {
    fn read(&mut self) -> Result<()> {
        if self.dead || self.reads_refused {
            self.reads_missed += 1;
            return Err(unavailable());
        }
        Ok(())
    }

    /// What this write meets.
    fn write(&mut self) -> Result<Option<Toxic>> {
        if self.dead || self.writes_refused {
            self.writes_missed += 1;
            return Err(unavailable());
        }
        let Some((left, toxic)) = &mut self.armed else { return Ok(None) };
        if *left > 0 {
            *left -= 1;
            return Ok(None);
        }
        let toxic = *toxic;
        self.armed = None;
        self.dead = Toxic::DEADLY.contains(&toxic);
        (self.writes_refused, self.reads_refused) = (toxic == Toxic::Dark, toxic == Toxic::Dark);
        Ok(Some(toxic))
    }
}

impl Objects {
    /// Hits the write after `nth` others.
    pub fn arm(&self, nth: u64, toxic: Toxic) {
        self.state.lock().armed = Some((nth, toxic));
    }

    /// True if no write has met what was armed last.
    #[must_use]
    pub fn is_armed(&self) -> bool {
        self.state.lock().armed.is_some()
    }

    /// Refuses all writes, or all writes and reads.
    pub fn refuse(&self, writes: bool, reads: bool) {
        let mut state = self.state.lock();
        state.writes_refused = writes;
        state.reads_refused = reads;
    }

    /// Reads that were refused since the last [`Objects::heal`].
    #[must_use]
    pub fn reads_missed(&self) -> u64 {
        self.state.lock().reads_missed
    }

    /// True if something was refused since the last [`Objects::heal`].
    #[must_use]
    pub fn has_refused(&self) -> bool {
        let state = self.state.lock();
        state.reads_missed + state.writes_missed > 0
    }

    /// No faults from now on; a dead process may be started again.
    pub fn heal(&self) {
        let mut state = self.state.lock();
        let (late, written) = (std::mem::take(&mut state.late), std::mem::take(&mut state.written));
        *state = State { late, written, now: state.now, ..State::default() };
    }

    /// Sets the clock that files are stamped by, in microseconds since 1970.
    pub fn set_now(&self, micros: i64) {
        self.state.lock().now = micros;
    }

    /// Lets the writes take effect whose writers have given up, none longer than [`LATE_MICROS_MAX`] ago. Returns how many
    /// of them were commits.
    pub async fn land_late(&self) -> usize {
        let late = {
            let mut state = self.state.lock();
            let since = state.now - LATE_MICROS_MAX;
            let mut late = std::mem::take(&mut state.late);
            late.retain(|write| write.at > since);
            late
        };
        let mut commits = 0;
        for Late { path, payload, options, .. } in late {
            let is_commit = path.as_ref().contains("_delta_log/") && path.as_ref().ends_with(".json");
            // A file that is there already stays as it is: the write was conditional.
            let has_landed = self.put_now(&path, payload, options).await.is_ok();
            commits += usize::from(is_commit && has_landed);
        }
        commits
    }

    async fn put_now(&self, path: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        let done = self.inner.put_opts(path, payload, options).await?;
        let mut state = self.state.lock();
        let now = state.now;
        state.written.insert(path.clone(), now);
        Ok(done)
    }

    /// The file as the simulated clock stamped it.
    fn stamped(&self, mut meta: ObjectMeta) -> ObjectMeta {
        if let Some(written) = self.state.lock().written.get(&meta.location) {
            let late = meta.last_modified.timestamp_micros().abs_diff(*written);
            meta.last_modified -= Duration::from_micros(late);
        }
        meta
    }

    /// Cuts a file to its first half, as a power failure does to what was not synced. False if it is not there.
    ///
    /// # Errors
    /// As the store in memory.
    pub async fn tear(&self, path: &str) -> Result<bool> {
        let path = Path::from(path);
        let bytes = match self.inner.get(&path).await {
            Ok(found) => found.bytes().await?,
            Err(Error::NotFound { .. }) => return Ok(false),
            Err(error) => return Err(error),
        };
        self.inner.put(&path, bytes.slice(..bytes.len() / 2).into()).await?;
        Ok(true)
    }

    /// True if a write of this file was given up and may still take effect.
    #[must_use]
    pub fn has_late(&self, path: &str) -> bool {
        self.state.lock().late.iter().any(|write| write.path.as_ref() == path)
    }

    /// True if the file is there.
    pub async fn has(&self, path: &str) -> bool {
        self.inner.head(&Path::from(path)).await.is_ok()
    }
}

fn unavailable() -> Error {
    Error::Generic { store: "simulation", source: "503 slow down".into() }
}

fn lost() -> Error {
    Error::Generic { store: "simulation", source: "timed out".into() }
}

impl fmt::Debug for Objects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Objects").finish_non_exhaustive()
    }
}

impl fmt::Display for Objects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("simulated objects")
    }
}

#[async_trait]
impl ObjectStore for Objects {
    async fn put_opts(&self, path: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        let met = self.state.lock().write()?;
        match met {
            None => self.put_now(path, payload, options).await,
            Some(Toxic::Before | Toxic::DieBefore) => Err(lost()),
            Some(Toxic::Late) => {
                let mut state = self.state.lock();
                let at = state.now;
                state.late.push(Late { at, path: path.clone(), payload, options });
                Err(lost())
            }
            Some(toxic) => {
                self.put_now(path, payload, options).await?;
                match toxic {
                    Toxic::Exists => Err(Error::AlreadyExists { path: path.to_string(), source: "412".into() }),
                    _ => Err(lost()),
                }
            }
        }
    }

    async fn put_multipart_opts(&self, path: &Path, _: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        Ok(Box::new(Upload { objects: self.clone(), path: path.clone(), parts: Vec::new() }))
    }

    async fn get_opts(&self, path: &Path, options: GetOptions) -> Result<GetResult> {
        self.state.lock().read()?;
        self.inner.get_opts(path, options).await
    }

    fn delete_stream(&self, paths: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let met = self.state.lock().write();
        match met {
            Ok(None | Some(Toxic::After | Toxic::DieAfter | Toxic::Dark)) => self.inner.delete_stream(paths),
            _ => stream::once(async { Err(lost()) }).boxed(),
        }
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        match self.state.lock().read() {
            Ok(()) => {
                let this = self.clone();
                self.inner.list(prefix).map_ok(move |meta| this.stamped(meta)).boxed()
            }
            Err(error) => stream::once(async { Err(error) }).boxed(),
        }
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.state.lock().read()?;
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        let met = self.state.lock().write()?;
        match met {
            None => self.inner.copy_opts(from, to, options).await,
            Some(Toxic::After | Toxic::DieAfter | Toxic::Exists | Toxic::Dark) => {
                self.inner.copy_opts(from, to, options).await?;
                Err(lost())
            }
            Some(_) => Err(lost()),
        }
    }
}

/// Parts kept until the upload is complete, then one write.
#[derive(Debug)]
struct Upload {
    objects: Objects,
    path: Path,
    parts: Vec<PutPayload>,
}

#[async_trait]
impl MultipartUpload for Upload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        self.parts.push(data);
        Box::pin(std::future::ready(Ok(())))
    }

    async fn complete(&mut self) -> Result<PutResult> {
        let payload = std::mem::take(&mut self.parts).into_iter().flatten().collect();
        self.objects.put_opts(&self.path, payload, PutOptions::default()).await
    }

    async fn abort(&mut self) -> Result<()> {
        self.parts.clear();
        Ok(())
    }
}
