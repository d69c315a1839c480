//! What each step of the write path costs an event, one thread, without HTTP: where the time goes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use eye_event::{BatchHeader, Limits, Timestamp, check};
use eye_log::SharedLog;
use eye_log::memory::MemoryLog;
use eye_protocol::native::{self, NativeLimits};
use eye_store::table::location;
use eye_store::{Request, Store, StoreSettings, Table, TableKind, TableOptions};

use crate::{Error, floor, machine, traffic};

const BATCHES: usize = 400;
const BATCH_EVENTS: usize = 500;
const RECEIVED: Timestamp = Timestamp::from_micros(1_795_000_000_000_000);

/// Prints microseconds an event, step by step.
pub(crate) fn run() -> Result<(), Error> {
    println!("machine: {}", machine::line());
    println!("command: cargo xtask bench steps\n");
    let bodies = traffic::batches(1, BATCHES, BATCH_EVENTS);
    let events = (BATCHES * BATCH_EVENTS) as f64;
    let print =
        |name: &str, elapsed: Duration| println!("  {name:<34}{:>7.3} µs", elapsed.as_secs_f64() * 1e6 / events);

    println!("  {:<34}{:>7.3} µs", "(JSON parser alone)", 1e6 / floor::parse(&bodies)?);
    let limits = NativeLimits::default();
    let start = Instant::now();
    for body in &bodies {
        std::hint::black_box(native::decode(body.as_bytes(), Some("application/x-ndjson"), &limits)?);
    }
    let decode = start.elapsed();
    print("decode", decode);

    let start = Instant::now();
    let requests = bodies.iter().map(|body| request(body)).collect::<Result<Vec<_>, Error>>()?;
    print("check, encode", start.elapsed().saturating_sub(decode));

    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let folder = tempfile::Builder::new().prefix("eye-bench-").tempdir_in("target")?;
    let store = open(&runtime, folder.path())?;
    let start = Instant::now();
    for request in requests {
        runtime.block_on(store.ingest(request))?;
    }
    print("apply (log in memory)", start.elapsed());
    let start = Instant::now();
    store.flush_blocking()?;
    print("flush (Parquet, commit)", start.elapsed());
    store.abandon();
    Ok(())
}

fn request(body: &str) -> Result<Request, Error> {
    let limits = Limits::default();
    let decoded = native::decode(body.as_bytes(), Some("application/x-ndjson"), &NativeLimits::default())?;
    let header = BatchHeader { application: "web", token: "tok", received_at: RECEIVED };
    let mut request = Request::new(&header, 1, body.len());
    for item in &decoded.items {
        let draft = item.draft.as_ref().map_err(|refused| refused.message.clone())?;
        let checked = check(draft, RECEIVED, &limits).map_err(|refused| refused.message)?;
        request.push_event(&checked.event());
    }
    Ok(request)
}

fn open(runtime: &tokio::runtime::Runtime, folder: &std::path::Path) -> Result<Store, Error> {
    let table = |kind: TableKind| -> Result<Table, Error> {
        let url = folder.join(kind.name()).display().to_string();
        let (objects, location) = location::resolve(&url, &std::collections::BTreeMap::new())?;
        Ok(Table::open(objects, location, TableOptions::new(kind, RECEIVED), runtime.handle().clone())?.0)
    };
    let settings = StoreSettings {
        flush_age_max: Duration::from_secs(3600),
        flush_bytes_max: usize::MAX,
        flush_rows_max: usize::MAX,
        hot_bytes_max: usize::MAX / 4,
        ..StoreSettings::default()
    };
    let log: SharedLog = Arc::new(MemoryLog::new());
    let (events, rejections) = (table(TableKind::Events)?, table(TableKind::Rejections)?);
    Ok(Store::open(settings, vec![log], events, rejections, || RECEIVED, &mut |_, _| {})?.0)
}
