use std::fmt;

use async_trait::async_trait;
use futures_util::stream::{self, BoxStream};
use object_store::memory::InMemory;
use object_store::{CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, PutMultipartOptions, PutResult};
use parking_lot::Mutex;
use rustix::process::getpriority_process;
use rustix::thread::gettid;
use tokio::runtime::{Builder, Runtime};

use super::*;

/// An object store that starts a thread of the runtime for each request, and notes the niceness of that thread and of
/// whoever started it.
#[derive(Clone, Debug, Default)]
struct Noting {
    inner: Arc<InMemory>,
    seen: Arc<Mutex<Vec<i32>>>,
}

impl Noting {
    async fn note(&self) {
        let started = tokio::task::spawn_blocking(niceness).await.unwrap();
        self.seen.lock().extend([niceness(), started]);
    }

    fn noted<T: Send + 'static>(&self, answers: BoxStream<'static, T>) -> BoxStream<'static, T> {
        let this = self.clone();
        stream::once(async move { this.note().await }).flat_map(|()| stream::empty()).chain(answers).boxed()
    }
}

impl fmt::Display for Noting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("noting store")
    }
}

#[async_trait]
impl ObjectStore for Noting {
    async fn put_opts(&self, path: &Path, payload: PutPayload, options: PutOptions) -> object_store::Result<PutResult> {
        self.note().await;
        self.inner.put_opts(path, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        path: &Path,
        options: PutMultipartOptions,
    ) -> object_store::Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(path, options).await
    }

    async fn get_opts(&self, path: &Path, options: GetOptions) -> object_store::Result<GetResult> {
        self.note().await;
        self.inner.get_opts(path, options).await
    }

    fn delete_stream(
        &self,
        paths: BoxStream<'static, object_store::Result<Path>>,
    ) -> BoxStream<'static, object_store::Result<Path>> {
        self.noted(self.inner.delete_stream(paths))
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, object_store::Result<ObjectMeta>> {
        self.noted(self.inner.list(prefix))
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> object_store::Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> object_store::Result<()> {
        self.note().await;
        self.inner.copy_opts(from, to, options).await
    }
}

fn niceness() -> i32 {
    getpriority_process(Some(gettid())).unwrap()
}

fn runtime() -> Runtime {
    Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

fn io(store: &Noting, runtime: &Runtime) -> TableIo {
    let location = TableLocation::remote("memory:///table").unwrap();
    let (kept, runs, footers) = (Kept::new(0), KeptRuns::new(0), Footers::new(0).unwrap());
    TableIo::new(Arc::new(store.clone()), location, runtime.handle().clone(), kept, runs, footers)
}

#[test]
fn no_thread_of_the_runtime_takes_over_that_a_caller_gives_way() {
    type Call = fn(&TableIo);
    let calls: [(&str, Call); 9] = [
        ("get", |io| assert!(io.get("a").unwrap().is_some())),
        ("get_all", |io| assert_eq!(io.get_all(&["a".to_owned(), "no".to_owned()]).unwrap()[1], None)),
        ("size", |io| assert_eq!(io.size("a").unwrap(), Some(3))),
        ("ranges", |io| assert_eq!(io.ranges("a", std::slice::from_ref(&(1..3))).unwrap(), [&b"bc"[..]])),
        ("put", |io| io.put("b", PutPayload::from_static(b"d")).unwrap()),
        ("create", |io| assert!(io.create("a", Bytes::new()).unwrap().is_err(), "it is there")),
        ("rename", |io| io.rename("a", "c").unwrap()),
        ("remove", |io| io.remove("a").unwrap()),
        ("list", |io| assert_eq!(io.list("").unwrap(), ["a"])),
    ];
    let usual = niceness();
    for (name, call) in calls {
        // A runtime of its own: its threads are started by this call.
        let (store, runtime) = (Noting::default(), runtime());
        runtime.block_on(store.inner.put(&Path::from("table/a"), PutPayload::from_static(b"abc"))).unwrap();
        let io = io(&store, &runtime);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                crate::give_way();
                call(&io);
            });
        });
        let seen = std::mem::take(&mut *store.seen.lock());
        assert!(!seen.is_empty() && seen.iter().all(|niceness| *niceness == usual), "{name}: {seen:?}, not {usual}");
    }
}

#[test]
fn a_request_that_panics_is_an_error_and_none_that_is_tried_again() {
    let runtime = runtime();
    let io = io(&Noting::default(), &runtime);
    let panicked = io.on_runtime::<()>(async { panic!("a test") }).unwrap_err();
    assert_eq!(failed("a", &panicked).kind(), Kind::Internal);
}
