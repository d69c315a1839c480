//! An object store that is only read: opening a table may make or repair it, `eye verify` must not.
//!
//! A checkpoint says nothing that the commits do not say, so one that opening sets aside is only hidden from whoever opens:
//! a process that died while it wrote one has left a sound table.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;
use futures_util::{StreamExt as _, TryStreamExt as _};
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
    /// Checkpoints, and hints to them, that opening has no use for.
    hidden: Hidden,
}

/// Files that are there and are not shown.
pub(crate) type Hidden = Arc<Mutex<BTreeSet<String>>>;

/// A write that opening wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// A new file: there is no table.
    Make(String),
    /// A file that was to be set aside: it is damaged.
    SetAside(String),
}

impl ReadOnly {
    /// Over `inner`; the lists fill with what was refused, and with what is hidden.
    pub(crate) fn new(inner: Arc<dyn ObjectStore>) -> (Self, Arc<Mutex<Vec<Refused>>>, Hidden) {
        let (refused, hidden) = (Arc::<Mutex<Vec<Refused>>>::default(), Hidden::default());
        (Self { inner, refused: Arc::clone(&refused), hidden: Arc::clone(&hidden) }, refused, hidden)
    }

    /// True if the file is one that the commits make up for; it is hidden then.
    fn hide(hidden: &Hidden, path: &Path) -> bool {
        let is_of_checkpoint = path.filename().is_some_and(|name| name.contains("checkpoint"));
        if is_of_checkpoint {
            hidden.lock().insert(path.to_string());
        }
        is_of_checkpoint
    }

    fn shown(&self, path: &Path) -> Result<()> {
        if self.hidden.lock().contains(path.as_ref()) {
            return Err(Error::NotFound { path: path.to_string(), source: "it would be set aside".into() });
        }
        Ok(())
    }

    fn without_hidden(&self, listed: BoxStream<'static, Result<ObjectMeta>>) -> BoxStream<'static, Result<ObjectMeta>> {
        let hidden = Arc::clone(&self.hidden);
        let is_shown = move |found: &ObjectMeta| !hidden.lock().contains(found.location.as_ref());
        listed.try_filter(move |found| std::future::ready(is_shown(found))).boxed()
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
        self.shown(location)?;
        self.inner.get_opts(location, options).await
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.shown(location)?;
        self.inner.get_ranges(location, ranges).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let hidden = Arc::clone(&self.hidden);
        locations
            .and_then(move |path| {
                let is_hidden = Self::hide(&hidden, &path);
                std::future::ready(if is_hidden { Ok(path) } else { Err(refusal()) })
            })
            .boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.without_hidden(self.inner.list(prefix))
    }

    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
        self.without_hidden(self.inner.list_with_offset(prefix, offset))
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let mut listed = self.inner.list_with_delimiter(prefix).await?;
        let hidden = self.hidden.lock();
        listed.objects.retain(|found| !hidden.contains(found.location.as_ref()));
        drop(hidden);
        Ok(listed)
    }

    async fn copy_opts(&self, from: &Path, _to: &Path, _options: CopyOptions) -> Result<()> {
        self.refuse(Refused::SetAside(from.to_string()))
    }

    async fn rename_opts(&self, from: &Path, _to: &Path, _options: RenameOptions) -> Result<()> {
        if Self::hide(&self.hidden, from) {
            return Ok(());
        }
        self.refuse(Refused::SetAside(from.to_string()))
    }
}
