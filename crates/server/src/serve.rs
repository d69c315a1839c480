//! `eye serve`: start-up in order, and the way down ([`crate::shutdown`] has that order).
//!
//! Lock the data folder, open the registry, the logs and the tables, let the store replay, take the addresses, prepare
//! the first start, serve. Whatever cannot be opened stops the start with a message that names it: damage is never
//! skipped.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read as _, Seek as _, Write as _};
use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use eye_event::Timestamp;
use eye_fault::{CrashPoint, crash_point};
use eye_log::disk::{Disk as _, OsDisk};
use eye_log::local::{LocalLog, LocalOptions};
use eye_log::{PartitionId, SharedLog};
use eye_query::Catalogue;
use eye_registry::Registry;
use eye_store::table::location;
use eye_store::{DedupRecall, RetentionRule, Store, StoreSettings, Table, TableKind, TableOptions};
use tokio::net::TcpSocket;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::oneshot;

use crate::ask::{Bodies, sql_limits};
use crate::command::{fail, print};
use crate::config::Settings;
use crate::config::kind::{Format, KeptFor};
use crate::edge::accept;
use crate::edge::budget::BodyBudget;
use crate::edge::decompress::DecodeTurns;
use crate::edge::turns::{self, Turns};
use crate::first_start;
use crate::jobs;
use crate::metrics::Metrics;
use crate::postgres;
use crate::router::router;
use crate::shutdown::{self, Signals, Stopper};
use crate::state::{AppState, Clock, Shared};

/// The server could not start, or not stop cleanly.
const EXIT_FAILED: u8 = 1;
/// Files of the tables that are written, or read for a checkpoint, at once.
const TABLE_THREADS_MAX: usize = 4;
/// The listening queue of the system.
const BACKLOG: u32 = 1024;
/// How often a long replay says how far it is.
const PROGRESS_EVERY: Duration = Duration::from_secs(2);
/// Room in a log record beside the events' own bytes, for each event: ids made here, lengths, a rejection's text.
const RECORD_EXTRA_BYTES: usize = 2048;

/// Serves until a signal says to stop. Blocks.
pub(crate) fn run(settings: &Settings) -> ExitCode {
    match start_logging(settings).and_then(|()| serve(settings)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(EXIT_FAILED, &error),
    }
}

fn serve(settings: &Settings) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("cannot start the runtime: {error}");
    let (runtime, large_bodies) = (Runtime::new().map_err(failed)?, turns::threads().map_err(failed)?);
    let tables = table_threads().map_err(failed)?;
    let opened = Opened::open(settings, &runtime, &tables)?;
    let result = runtime.block_on(opened.serve(settings, large_bodies.handle().clone()));
    // What is left of cut-off requests must not hold up the end.
    for threads in [large_bodies, runtime, tables] {
        threads.shutdown_timeout(Duration::from_secs(1));
    }
    result
}

/// The threads that write the tables' files and commits for whoever waits for them. The work of one never waits for that
/// of another. They are few: each has memory of its own from the allocator, which grew without an end while a checkpoint
/// could start a thread for each commit that it reads, and all of them then took turns.
fn table_threads() -> std::io::Result<Runtime> {
    let mut threads = Builder::new_multi_thread();
    threads.thread_name("table").max_blocking_threads(TABLE_THREADS_MAX).enable_all().build()
}

fn start_logging(settings: &Settings) -> Result<(), String> {
    use std::io::IsTerminal as _;
    let level = settings.log_level.as_deref().unwrap_or("info");
    // A bare level is about this program; the libraries under it have their say with filters.
    let is_bare = level.chars().all(|char| char.is_ascii_alphabetic());
    let filter = if is_bare { format!("warn,eye={level}") } else { level.to_owned() };
    let filter = tracing_subscriber::EnvFilter::try_new(filter)
        .map_err(|error| format!("log_level is \"{level}\": {error}; write error, warn, info, debug or trace"))?;
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let started = match settings.log_format {
        Format::Json => logs.json().try_init(),
        Format::Text => logs.with_ansi(std::io::stderr().is_terminal()).try_init(),
    };
    started.map_err(|error| format!("cannot start logging: {error}"))
}

/// Takes the lock of the data folder, making the folder if it is not there. Held until the file is dropped.
///
/// # Errors
/// Which process holds it, or what the system refused.
pub(crate) fn lock(settings: &Settings) -> Result<File, String> {
    let folder = settings.data.display();
    // Durable in its parent: the rest of what is durable lies in it.
    OsDisk.create_dir_all(&settings.data).map_err(|error| format!("cannot make the data folder {folder}: {error}"))?;
    let path = settings.lock_path();
    let failed = |error: std::io::Error| format!("cannot lock the data folder {folder}: {error}");
    let mut file =
        OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            let _ = file.read_to_string(&mut holder);
            let holder = holder.trim();
            let process = if holder.is_empty() { "another process".to_owned() } else { format!("process {holder}") };
            return Err(format!("{process} has the data folder {folder} open: stop it first, or use another --data"));
        }
        Err(TryLockError::Error(error)) => return Err(failed(error)),
    }
    file.set_len(0).and_then(|()| file.rewind()).map_err(failed)?;
    writeln!(file, "{}", std::process::id()).map_err(failed)?;
    Ok(file)
}

/// Everything that is open while the server runs.
struct Opened {
    _lock: File,
    registry_log: SharedLog,
    registry: Registry,
    store: Store,
    replayed_records: u64,
    socket: TcpSocket,
}

impl Opened {
    fn open(settings: &Settings, runtime: &Runtime, tables: &Runtime) -> Result<Self, String> {
        let lock = lock(settings)?;
        crash_point(CrashPoint::DataFolderMade);
        check_restored(settings)?;
        check_partitions(settings)?;
        let socket = {
            let _runtime = runtime.enter();
            bind(settings.listen)?
        };
        let registry_log = open_log(settings, &settings.registry_path(), PartitionId(0))?;
        let registry = Registry::open(Arc::clone(&registry_log)).map_err(|error| error.to_string())?;
        crash_point(CrashPoint::RegistryOpened);
        let (store, replayed_records) = open_store(settings, tables)?;
        sync_folder(&settings.data)?;
        Ok(Self { _lock: lock, registry_log, registry, store, replayed_records, socket })
    }

    async fn serve(self, settings: &Settings, large_bodies: Handle) -> Result<(), String> {
        let listener = self.socket.listen(BACKLOG).map_err(|error| cannot_listen(settings.listen, &error))?;
        let address = listener.local_addr().map_err(|error| cannot_listen(settings.listen, &error))?;
        let url = settings.public_url.clone().unwrap_or_else(|| local_url(address));
        let metrics = Metrics::new().map_err(|error| format!("cannot make the metrics: {error}"))?;
        let postgres = match settings.postgres_listen {
            Some(address) => Some(postgres::bind(address).await?),
            None => None,
        };
        let folder = settings.sql_spill_path();
        let sql = eye_sql::Engine::open(sql_limits(settings), &folder, Arc::new(Bodies));
        let sql = sql.map_err(|error| format!("cannot prepare the folder {} for SQL: {error}", folder.display()))?;
        let signals = Signals::catch().map_err(|error| format!("cannot catch signals: {error}"))?;
        write_address(settings, &local_url(address))?;
        let (stopper, shutdown) = shutdown::pair();
        let clock = Clock::new();
        // What the first start makes is shown once, and never again: whatever else may fail comes before it.
        let first = first_start::prepare(&self.registry, clock.now()).map_err(|error| error.to_string())?;
        first_start::ensure_cli_token(&self.registry, settings, clock.now())?;
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let decompressing = DecodeTurns::new(cores).map_err(|error| format!("cannot start a thread: {error}"))?;
        let state = AppState::new(Shared {
            store: self.store.clone(),
            sql,
            registry: self.registry,
            limits: settings.limits(),
            seed_limits: eye_protocol::seed::limits(&settings.limits()),
            metrics: metrics.clone(),
            budget: BodyBudget::new(settings.body_budget_bytes_max),
            catalogue: Catalogue::new(settings.catalogue_rows_max as u64, settings.catalogue_bytes_max),
            turns: Turns::new(settings.large_bodies_max, settings.ingest_wait_max, large_bodies),
            decompressing,
            shutdown: shutdown.clone(),
            settings: settings.clone(),
            clock,
        });
        crash_point(CrashPoint::BeforeServing);
        let jobs = jobs::start(&state);
        let (hurry, hurried) = oneshot::channel();
        tokio::spawn(watch_signals(signals, stopper, hurry));
        let text = match &first {
            Some(first) => first_start::welcome(first, settings, &url, state.clock.now()),
            None => first_start::banner(&url, self.replayed_records),
        };
        let postgres_address = postgres.as_ref().and_then(|listener| listener.local_addr().ok());
        print(&with_postgres(text, postgres_address));
        let postgres =
            postgres.map(|listener| tokio::spawn(postgres::serve(listener, state.clone(), shutdown.clone())));
        let hurry = async { drop(hurried.await) };
        accept::serve(listener, router(state.clone()), &state, shutdown, hurry).await;
        if let Some(postgres) = postgres {
            drop(postgres.await);
        }
        stop(settings, state, jobs, self.store, self.registry_log).await
    }
}

/// What is printed at the start, with where PostgreSQL clients connect.
fn with_postgres(text: String, address: Option<SocketAddr>) -> String {
    const LAST: &str = "API and documentation:";
    match address {
        None => text,
        Some(address) => {
            let (host, port) = (address.ip(), address.port());
            let line = format!(
                "PostgreSQL clients: psql \"host={host} port={port} user=eye dbname=eye\" (the password is a token)\n"
            );
            text.replacen(LAST, &(line + LAST), 1)
        }
    }
}

/// The first signal stops, the second hurries.
async fn watch_signals(mut signals: Signals, stopper: Stopper, hurry: oneshot::Sender<()>) {
    let signal = signals.next().await;
    tracing::info!(signal, "stopping");
    stopper.stop();
    signals.next().await;
    // Nobody waits any more if all requests were finished.
    let _ = hurry.send(());
}

/// Steps 4 to 6 of the way down.
async fn stop(
    settings: &Settings,
    state: AppState,
    mut jobs: tokio::task::JoinSet<()>,
    store: Store,
    registry_log: SharedLog,
) -> Result<(), String> {
    while jobs.join_next().await.is_some() {}
    let closed = tokio::task::spawn_blocking(move || {
        if let Err(error) = jobs::persist_last_used(&state) {
            tracing::warn!(error, "the last use of tokens was not written");
        }
        let closed = store.close().map_err(|error| format!("the store did not close cleanly: {error}"));
        crash_point(CrashPoint::StopStoreClosed);
        closed.and(registry_log.close().map_err(|error| format!("the registry did not close cleanly: {error}")))
    });
    let closed = closed.await.map_err(|error| format!("closing panicked: {error}"))?;
    let _ = std::fs::remove_file(settings.address_path());
    if closed.is_ok() {
        tracing::info!("closed");
    }
    closed
}

fn bind(address: SocketAddr) -> Result<TcpSocket, String> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() };
    let bound = socket.and_then(|socket| {
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        Ok(socket)
    });
    bound.map_err(|error| cannot_listen(address, &error))
}

fn cannot_listen(address: SocketAddr, error: &std::io::Error) -> String {
    format!("cannot listen on {address}: {error} (choose another address with --listen)")
}

/// The address under which this machine reaches the server.
fn local_url(address: SocketAddr) -> String {
    let mut reached = address;
    if reached.ip().is_unspecified() {
        reached.set_ip(if reached.is_ipv4() { [127, 0, 0, 1].into() } else { std::net::Ipv6Addr::LOCALHOST.into() });
    }
    format!("http://{reached}")
}

fn write_address(settings: &Settings, url: &str) -> Result<(), String> {
    let path = settings.address_path();
    let new = path.with_extension("new");
    let written = std::fs::write(&new, format!("{url}\n")).and_then(|()| std::fs::rename(&new, &path));
    written.map_err(|error| format!("cannot write {}: {error}", path.display()))
}

/// A data folder that a restore has filled by half is none.
fn check_restored(settings: &Settings) -> Result<(), String> {
    let (folder, staging) = (settings.data.display(), settings.restoring_path());
    match staging.try_exists() {
        Ok(false) => Ok(()),
        Ok(true) => Err(format!(
            "a restore into {folder} was not finished ({} is there): empty the folder and run eye restore again",
            staging.display()
        )),
        Err(error) => Err(format!("cannot look into the data folder {folder}: {error}")),
    }
}

/// A session lives in the partition that its id gives: the number of partitions is a fact of the data folder.
fn check_partitions(settings: &Settings) -> Result<(), String> {
    let path = settings.partitions_path();
    match std::fs::read_to_string(&path) {
        Ok(text) => {
            let shown = path.display();
            let made: u16 = text.trim().parse().map_err(|_| format!("{shown} holds no number of partitions"))?;
            if made == settings.partitions {
                return Ok(());
            }
            let wanted = settings.partitions;
            Err(format!(
                "partitions is {wanted}, but this data folder was made with {made}, for ever: set it to {made}"
            ))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let new = path.with_extension("new");
            let written = File::create(&new)
                .and_then(|mut file| {
                    writeln!(file, "{}", settings.partitions)?;
                    file.sync_all()
                })
                .and_then(|()| {
                    crash_point(CrashPoint::PartitionsStaged);
                    std::fs::rename(&new, &path)
                });
            written.map_err(|error| format!("cannot write {}: {error}", path.display()))?;
            crash_point(CrashPoint::PartitionsNamed);
            sync_folder(&settings.data)
        }
        Err(error) => Err(format!("cannot read {}: {error}", path.display())),
    }
}

fn sync_folder(folder: &Path) -> Result<(), String> {
    let synced = File::open(folder).and_then(|folder| folder.sync_all());
    synced.map_err(|error| format!("cannot make the folder {} durable: {error}", folder.display()))
}

fn open_log(settings: &Settings, folder: &Path, partition: PartitionId) -> Result<SharedLog, String> {
    let mut options = LocalOptions::new(folder, partition);
    // The largest request that is let in must fit into one record.
    let extra = settings.events_max.saturating_mul(RECORD_EXTRA_BYTES);
    let record_bytes = settings.body_bytes_max.saturating_add(extra);
    options.record_bytes_max = options.record_bytes_max.max(record_bytes);
    options.queue_bytes_max = options.queue_bytes_max.max(record_bytes);
    options.reserve_bytes = settings.disk_reserve as u64;
    options.segment_bytes_max = settings.log_segment_bytes_max as u64;
    options.room_bytes = settings.log_room_bytes;
    let (log, report) = LocalLog::open(options, Arc::new(OsDisk)).map_err(|error| error.to_string())?;
    for cut in &report.cuts {
        tracing::warn!(
            segment = %cut.segment.display(), byte = cut.byte, bytes = cut.bytes, kept_in = %cut.kept_in.display(),
            "a torn end of the log was cut off and kept aside: it was never acknowledged"
        );
    }
    Ok(Arc::new(log))
}

fn open_store(settings: &Settings, tables: &Runtime) -> Result<(Store, u64), String> {
    let logs = (0..settings.partitions)
        .map(|partition| open_log(settings, &settings.log_path(partition), PartitionId(partition)))
        .collect::<Result<Vec<_>, _>>()?;
    let events = open_table(settings, tables, TableKind::Events, "events")?;
    let rejections = open_table(settings, tables, TableKind::Rejections, "rejections")?;
    let mut said = Instant::now();
    let mut progress = |done: u64, of: u64| {
        if said.elapsed() >= PROGRESS_EVERY {
            said = Instant::now();
            tracing::info!(done, of, "replaying the log");
        }
    };
    let mut store_settings = store_settings(settings);
    if events.location().folder().is_some() {
        store_settings.dedup_recall = DedupRecall::Background;
    }
    let opened = Store::open(store_settings, logs, events, rejections, Timestamp::now, &mut progress);
    let (store, report) = opened.map_err(|error| error.to_string())?;
    tracing::info!(records = report.replayed_records, dedup_rows = report.dedup_rows, "store open");
    Ok((store, report.replayed_records))
}

fn open_table(settings: &Settings, tables: &Runtime, kind: TableKind, name: &str) -> Result<Table, String> {
    let failed = |error: eye_store::Error| error.to_string();
    let (objects, place) =
        location::resolve(&settings.table_url(), &settings.object_store_options()).map_err(failed)?;
    let place = place.child(name).map_err(failed)?;
    let options = TableOptions {
        partitions: settings.partitions,
        slices_bytes_max: settings.slices_bytes_max,
        footers_bytes_max: settings.footers_bytes_max,
        runs_bytes_max: settings.runs_bytes_max,
        ..TableOptions::new(kind, Timestamp::now())
    };
    let (table, report) = Table::open(objects, place, options, tables.handle().clone()).map_err(failed)?;
    if let Some(damaged) = report.quarantined {
        tracing::warn!(
            table = name,
            version = damaged.version,
            moved_to = damaged.moved_to,
            why = damaged.why,
            "the newest commit was damaged and set aside: its rows come from the log again"
        );
    }
    Ok(table)
}

fn retention_rule(rule: &KeptFor) -> RetentionRule {
    RetentionRule { application: rule.application.clone(), category: rule.category.clone(), days: rule.days }
}

fn store_settings(settings: &Settings) -> StoreSettings {
    StoreSettings {
        partitions: settings.partitions,
        flush_rows_max: settings.flush_rows_max,
        flush_bytes_max: settings.flush_bytes_max,
        flush_age_max: settings.flush_age_max,
        hot_bytes_max: settings.hot_bytes_max,
        ingest_wait_max: settings.ingest_wait_max,
        dedup_window: settings.dedup_window,
        dedup_ids_max: settings.dedup_ids_max,
        question_runs_bytes_max: settings.question_runs_bytes_max,
        live_backlog_rows: settings.live_backlog_rows,
        log_keep_commits: settings.log_keep_commits,
        compaction_period: settings.compaction_period,
        compaction_files_min: settings.compaction_files_min,
        compaction_file_bytes: settings.compaction_file_bytes,
        compaction_memory_bytes: settings.compaction_memory_bytes,
        // Merging stops first: it can wait, what is collected cannot.
        compaction_disk_reserve: (settings.disk_reserve as u64).saturating_mul(2),
        retention: settings.retention.iter().map(retention_rule).collect(),
        rejection_days: u32::try_from(settings.rejection_retention.as_secs() / 86_400).ok().filter(|days| *days > 0),
        retention_period: settings.retention_period,
        vacuum_retention: settings.vacuum_retention,
        ..StoreSettings::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(folder: &Path) -> Settings {
        let mut settings = Settings::defaults().unwrap();
        settings.data = folder.to_owned();
        settings
    }

    #[test]
    fn a_locked_folder_names_the_process_that_has_it() {
        let folder = tempfile::tempdir().unwrap();
        let settings = settings(folder.path());
        let held = lock(&settings).unwrap();
        let error = lock(&settings).unwrap_err();
        assert!(error.contains(&format!("process {}", std::process::id())), "{error}");
        drop(held);
        lock(&settings).unwrap();
    }

    #[test]
    fn the_number_of_partitions_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let mut settings = settings(folder.path());
        check_partitions(&settings).unwrap();
        check_partitions(&settings).unwrap();
        settings.partitions = 2;
        let error = check_partitions(&settings).unwrap_err();
        assert!(error.contains("made with 1"), "{error}");
    }

    #[test]
    fn an_address_that_means_every_interface_is_reached_locally() {
        assert_eq!(local_url("0.0.0.0:7070".parse().unwrap()), "http://127.0.0.1:7070");
        assert_eq!(local_url("[::]:7070".parse().unwrap()), "http://[::1]:7070");
        assert_eq!(local_url("192.0.2.1:80".parse().unwrap()), "http://192.0.2.1:80");
    }
}
