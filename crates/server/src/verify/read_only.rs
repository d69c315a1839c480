//! An object store that is only read: opening a table may make or repair it, `eye verify` must not.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::{self, BoxStream};
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions, Result,
};
use parking_lot::Mutex;

/// Reads pass through; a write is refused and remembered.
#[derive(Debug)]
pub(crate) struct ReadOnly {
    inner: Arc<dyn ObjectStore>,
    refused: Arc<Mutex<Vec<Refused>>>,
}

/// A write that opening wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// A new file: there is no table.
    Make(String),
    /// A file that was to be set aside: it is damaged.
    SetAside(String),
}

impl ReadOnly {
    /// Over `inner`; the list fills with what was refused.
    pub(crate) fn new(inner: Arc<dyn ObjectStore>) -> (Self, Arc<Mutex<Vec<Refused>>>) {
        let refused = Arc::<Mutex<Vec<Refused>>>::default();
        (Self { inner, refused: Arc::clone(&refused) }, refused)
    }

    fn refuse<T>(&self, what: Refused) -> Result<T> {
        self.refused.lock().push(what);
        Err(refusal())
    }
}

fn refusal() -> Error {
    Error::NotSupported { source: "the table is opened for reading only".into() }
}

impl fmt::Display for ReadOnly {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ReadOnly({})", self.inner)
    }
}

#[async_trait]
impl ObjectStore for ReadOnly {
    async fn put_opts(&self, location: &Path, _payload: PutPayload, _options: PutOptions) -> Result<PutResult> {
        self.refuse(Refused::Make(location.to_string()))
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        _options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.refuse(Refused::Make(location.to_string()))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.inner.get_opts(location, options).await
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.inner.get_ranges(location, ranges).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        stream::once(async move {
            drop(locations);
            Err(refusal())
        })
        .boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list_with_offset(prefix, offset)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, _to: &Path, _options: CopyOptions) -> Result<()> {
        self.refuse(Refused::SetAside(from.to_string()))
    }

    async fn rename_opts(&self, from: &Path, _to: &Path, _options: RenameOptions) -> Result<()> {
        self.refuse(Refused::SetAside(from.to_string()))
    }
}
