//! An object store in memory whose n-th write fails, before or after it took effect, or all of them, and whose data files
//! can be made unreadable or slow to read.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::stream::BoxStream;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMultipartOptions,
    PutOptions, PutPayload, PutResult, Result,
};

/// See the module.
#[derive(Debug)]
pub(crate) struct FaultyStore {
    inner: InMemory,
    /// Writes left before the one that fails; negative: none fails.
    left: AtomicI64,
    after: AtomicBool,
    /// No write has any effect.
    is_full: AtomicBool,
    /// Writes that were tried.
    writes: AtomicU64,
    /// Data files that hold one of these in their paths cannot be read.
    unreadable: Mutex<Vec<String>>,
    /// What a read of a data file takes longer, in milliseconds.
    slower: AtomicU64,
    /// Reads of data files, those that were refused too.
    reads: AtomicU64,
    /// Files of which a read was refused.
    refused: Mutex<BTreeSet<String>>,
}

impl Default for FaultyStore {
    fn default() -> Self {
        Self {
            inner: InMemory::new(),
            left: AtomicI64::new(-1),
            after: AtomicBool::new(false),
            is_full: AtomicBool::new(false),
            writes: AtomicU64::new(0),
            unreadable: Mutex::default(),
            slower: AtomicU64::new(0),
            reads: AtomicU64::new(0),
            refused: Mutex::default(),
        }
    }
}

impl FaultyStore {
    /// Makes the `nth` write from now fail; with `after`, it takes effect all the same.
    pub(crate) fn fail_write(&self, nth: u8, after: bool) {
        self.after.store(after, Ordering::SeqCst);
        self.left.store(i64::from(nth), Ordering::SeqCst);
    }

    /// Makes reads of data files fail that hold one of these in their paths.
    pub(crate) fn fail_reads<T: ToString>(&self, paths: impl IntoIterator<Item = T>) {
        *self.unreadable.lock().unwrap() = paths.into_iter().map(|path| path.to_string()).collect();
    }

    /// Makes every write fail.
    pub(crate) fn fail_writes(&self) {
        self.is_full.store(true, Ordering::SeqCst);
    }

    /// Writes that were tried so far.
    pub(crate) fn writes(&self) -> u64 {
        self.writes.load(Ordering::SeqCst)
    }

    /// Makes each read of a data file take so much longer.
    pub(crate) fn slow_down(&self, by: Duration) {
        self.slower.store(u64::try_from(by.as_millis()).unwrap(), Ordering::SeqCst);
    }

    /// Reads of data files so far.
    pub(crate) fn reads(&self) -> u64 {
        self.reads.load(Ordering::SeqCst)
    }

    /// Of how many files a read was refused since this was asked last.
    pub(crate) fn refused(&self) -> usize {
        std::mem::take(&mut *self.refused.lock().unwrap()).len()
    }

    /// No more failures.
    pub(crate) fn heal(&self) {
        self.left.store(-1, Ordering::SeqCst);
        self.is_full.store(false, Ordering::SeqCst);
        self.unreadable.lock().unwrap().clear();
        self.slower.store(0, Ordering::SeqCst);
    }

    /// A read of this file begins.
    async fn read(&self, path: &Path) -> Result<()> {
        if !path.as_ref().contains("received_date=") {
            return Ok(());
        }
        self.reads.fetch_add(1, Ordering::SeqCst);
        if self.unreadable.lock().unwrap().iter().any(|part| path.as_ref().contains(part)) {
            self.refused.lock().unwrap().insert(path.to_string());
            return Err(timeout());
        }
        let slower = self.slower.load(Ordering::SeqCst);
        if slower > 0 {
            tokio::time::sleep(Duration::from_millis(slower)).await;
        }
        Ok(())
    }
}

impl fmt::Display for FaultyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("faulty store")
    }
}

fn timeout() -> object_store::Error {
    object_store::Error::Generic { store: "faulty", source: "timed out".into() }
}

#[async_trait]
impl ObjectStore for FaultyStore {
    async fn put_opts(&self, path: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        self.writes.fetch_add(1, Ordering::SeqCst);
        let fails = self.left.load(Ordering::SeqCst) >= 0 && self.left.fetch_sub(1, Ordering::SeqCst) == 0;
        if fails && !self.after.load(Ordering::SeqCst) || self.is_full.load(Ordering::SeqCst) {
            return Err(timeout());
        }
        let done = self.inner.put_opts(path, payload, options).await;
        if fails { Err(timeout()) } else { done }
    }

    async fn put_multipart_opts(&self, path: &Path, options: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(path, options).await
    }

    async fn get_opts(&self, path: &Path, options: GetOptions) -> Result<GetResult> {
        self.read(path).await?;
        self.inner.get_opts(path, options).await
    }

    fn delete_stream(&self, paths: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(paths)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}
