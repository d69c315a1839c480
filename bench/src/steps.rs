//! What each step of the write path costs an event in CPU time, without HTTP: where the time goes.
//!
//! CPU time of all threads together, waiting left out. The log's share is what the same requests cost more with the log
//! on disk than with the log in memory.

use std::path::Path;
use std::sync::Arc;

use eye_event::{BatchHeader, Limits, Timestamp, check};
use eye_log::disk::OsDisk;
use eye_log::local::{LocalLog, LocalOptions};
use eye_log::memory::MemoryLog;
use eye_log::{PartitionId, SharedLog};
use eye_protocol::native::{self, NativeLimits};
use eye_store::table::location;
use eye_store::{Request, Store, StoreSettings, Table, TableKind, TableOptions};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

use crate::options::default_folder;
use crate::report::{Goal, Report};
use crate::{Error, floor, machine, server, traffic};

const RECEIVED: Timestamp = Timestamp::from_micros(1_795_000_000_000_000);

/// How requests come.
struct Shape {
    name: &'static str,
    media_type: &'static str,
    requests: usize,
    events: usize,
    at_once: usize,
}

const SHAPES: [Shape; 2] = [
    Shape { name: "single", media_type: "application/json", requests: 100_000, events: 1, at_once: 64 },
    Shape { name: "batches of 500", media_type: "application/x-ndjson", requests: 400, events: 500, at_once: 8 },
];

/// Prints microseconds an event, step by step.
pub(crate) fn run() -> Result<(), Error> {
    println!("machine: {}", machine::line());
    println!("command: cargo xtask bench steps");
    let mut report = Report::default();
    measure(&default_folder()?, &mut report)?;
    report.print();
    Ok(())
}

/// Adds microseconds an event, step by step.
pub(crate) fn measure(folder: &Path, report: &mut Report) -> Result<(), Error> {
    SHAPES.iter().try_for_each(|shape| measure_shape(shape, folder, report))
}

fn measure_shape(shape: &Shape, folder: &Path, report: &mut Report) -> Result<(), Error> {
    let bodies = traffic::batches(1, shape.requests, shape.events);
    let events = (shape.requests * shape.events) as f64;
    let mut add = |step: &str, seconds: f64| {
        report.add(&format!("CPU an event, {}: {step}", shape.name), Some(seconds / events * 1e6), "µs", Goal::None);
    };
    add("(JSON parser alone)", cpu(|| floor::parse(&bodies).map(drop))?);
    let limits = NativeLimits::default();
    let decode = cpu(|| {
        for body in &bodies {
            std::hint::black_box(native::decode(body.as_bytes(), Some(shape.media_type), &limits)?);
        }
        Ok(())
    })?;
    add("parse", decode);
    let mut requests = Vec::new();
    let encode = cpu(|| {
        requests = bodies.iter().map(|body| request(body, shape)).collect::<Result<_, Error>>()?;
        Ok(())
    })?;
    add("check, encode", encode - decode);

    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let folder = server::data_folder(folder)?;
    let (log, _) = LocalLog::open(LocalOptions::new(folder.path().join("log"), PartitionId(0)), Arc::new(OsDisk))?;
    let store = open(&runtime, &folder.path().join("on-disk"), Arc::new(log))?;
    let again = bodies.iter().map(|body| request(body, shape)).collect::<Result<_, Error>>()?;
    let on_disk = cpu(|| runtime.block_on(ingest(&store, again, shape.at_once)))?;
    store.abandon();
    let store = open(&runtime, &folder.path().join("in-memory"), Arc::new(MemoryLog::new()))?;
    let in_memory = cpu(|| runtime.block_on(ingest(&store, requests, shape.at_once)))?;
    let flush = cpu(|| Ok(store.flush_blocking().map(drop)?))?;
    store.abandon();
    add("log", on_disk - in_memory);
    add("apply, hand over", in_memory);
    add("flush", flush);
    Ok(())
}

/// Keeps `at_once` requests on their way.
async fn ingest(store: &Store, requests: Vec<Request>, at_once: usize) -> Result<(), Error> {
    let mut requests = requests.into_iter();
    let mut running = JoinSet::new();
    loop {
        while running.len() < at_once {
            let Some(request) = requests.next() else { break };
            let store = store.clone();
            running.spawn(async move { store.ingest(request).await.map(drop) });
        }
        match running.join_next().await {
            Some(done) => done??,
            None => return Ok(()),
        }
    }
}

fn request(body: &str, shape: &Shape) -> Result<Request, Error> {
    let limits = Limits::default();
    let decoded = native::decode(body.as_bytes(), Some(shape.media_type), &NativeLimits::default())?;
    let header = BatchHeader { application: "web", token: "tok", received_at: RECEIVED };
    let mut request = Request::new(&header, 1, body.len());
    for item in &decoded.items {
        let draft = item.draft.as_ref().map_err(|refused| refused.message.clone())?;
        let checked = check(draft, RECEIVED, &limits).map_err(|refused| refused.message)?;
        request.push_event(&checked.event());
    }
    Ok(request)
}

fn open(runtime: &Runtime, folder: &Path, log: SharedLog) -> Result<Store, Error> {
    let table = |kind: TableKind| -> Result<Table, Error> {
        let url = folder.join(kind.name()).display().to_string();
        let (objects, location) = location::resolve(&url, &std::collections::BTreeMap::new())?;
        Ok(Table::open(objects, location, TableOptions::new(kind, RECEIVED), runtime.handle().clone())?.0)
    };
    let settings = StoreSettings {
        flush_age_max: std::time::Duration::from_secs(3600),
        flush_bytes_max: usize::MAX,
        flush_rows_max: usize::MAX,
        hot_bytes_max: usize::MAX / 4,
        ..StoreSettings::default()
    };
    let (events, rejections) = (table(TableKind::Events)?, table(TableKind::Rejections)?);
    Ok(Store::open(settings, vec![log], events, rejections, || RECEIVED, &mut |_, _| {})?.0)
}

/// CPU seconds that all threads of this process used meanwhile.
fn cpu(work: impl FnOnce() -> Result<(), Error>) -> Result<f64, Error> {
    let before = cpu_seconds()?;
    work()?;
    Ok(cpu_seconds()? - before)
}

/// CPU seconds of the threads that are there. Exact to less than a microsecond, which `/proc/self/stat` is not.
fn cpu_seconds() -> Result<f64, Error> {
    let mut nanoseconds = 0;
    for thread in std::fs::read_dir("/proc/self/task")? {
        // A thread may end meanwhile.
        let text = std::fs::read_to_string(thread?.path().join("schedstat")).unwrap_or_default();
        nanoseconds += text.split_whitespace().next().unwrap_or("0").parse::<u64>()?;
    }
    Ok(nanoseconds as f64 / 1e9)
}
