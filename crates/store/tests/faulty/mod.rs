//! An object store in memory whose n-th write fails, before or after it took effect.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

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
}

impl Default for FaultyStore {
    fn default() -> Self {
        Self { inner: InMemory::new(), left: AtomicI64::new(-1), after: AtomicBool::new(false) }
    }
}

impl FaultyStore {
    /// Makes the `nth` write from now fail; with `after`, it takes effect all the same.
    pub(crate) fn fail_write(&self, nth: u8, after: bool) {
        self.after.store(after, Ordering::SeqCst);
        self.left.store(i64::from(nth), Ordering::SeqCst);
    }

    /// No more failures.
    pub(crate) fn heal(&self) {
        self.left.store(-1, Ordering::SeqCst);
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
        let fails = self.left.load(Ordering::SeqCst) >= 0 && self.left.fetch_sub(1, Ordering::SeqCst) == 0;
        if fails && !self.after.load(Ordering::SeqCst) {
            return Err(timeout());
        }
        let done = self.inner.put_opts(path, payload, options).await;
        if fails { Err(timeout()) } else { done }
    }

    async fn put_multipart_opts(&self, path: &Path, options: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(path, options).await
    }

    async fn get_opts(&self, path: &Path, options: GetOptions) -> Result<GetResult> {
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
