//! [`Store`]: the parts together. Ingest in, snapshots out; two kinds of threads in between.
//!
//! ```text
//! ingest ──append──▶ log ──durable──▶ apply thread (one per partition) ──▶ hot buffer ──▶ snapshots, live
//!    ▲                                      │                                  │
//!    └────────────── outcome ◀──────────────┘             flush thread (one) ──▶ table, then trim the log
//! ```
//!
//! A thread that fails or panics stops writes: the store then refuses ingest, and says why, until it is opened again.

use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use eye_event::Timestamp;
use eye_fault::{CrashPoint, Sabotage, crash_point, sabotaged};
use eye_log::{ErrorKind, NewRecord, SharedLog};
use parking_lot::{Condvar, Mutex, RwLock};
use tokio::sync::{oneshot, watch};

use crate::apply;
use crate::buffer::Generation;
use crate::error::{Error, Kind, Result};
use crate::ledger::{Counts, Ledger};
use crate::live::{Gap, LiveStep};
use crate::partition::Partition;
use crate::position::Position;
use crate::recall::Recall;
use crate::recover;
use crate::request::{Applied, Outcome, Request};
use crate::settings::{DedupRecall, StoreSettings};
use crate::snapshot::Snapshot;
use crate::status::Status;
use crate::table::{Table, TableVersion};

/// How long a thread sleeps at most before it looks whether it should stop.
const TICK: Duration = Duration::from_millis(100);
/// Added to the niceness of threads that nobody waits for.
const BACKGROUND_NICENESS: i32 = 5;
/// How much of the log apply reads at a time.
const APPLY_BYTES: usize = 4 * 1024 * 1024;
/// Rows of the dedup window that are taken in while apply waits.
const RECALL_ROWS: usize = 4096;

/// The store. Cheap to clone; the last clone to go does not close it: call [`Store::close`].
#[derive(Clone)]
pub struct Store {
    pub(crate) shared: Arc<Shared>,
}

pub(crate) struct Shared {
    pub(crate) settings: StoreSettings,
    pub(crate) now: fn() -> Timestamp,
    pub(crate) partitions: Vec<Partition>,
    pub(crate) events: Table,
    pub(crate) rejections: Table,
    pub(crate) view: RwLock<View>,
    /// Bytes of log records in all hot buffers.
    pub(crate) hot_bytes: AtomicUsize,
    /// Rises whenever something was applied or flushed.
    tick: watch::Sender<u64>,
    /// The flush thread sleeps on it.
    pub(crate) flush_wanted: (Mutex<bool>, Condvar),
    pub(crate) flushes: AtomicU64,
    pub(crate) last_flush_error: Mutex<Option<String>>,
    failed: OnceLock<Error>,
    closing: AtomicBool,
    stopping: AtomicBool,
    threads: Mutex<Vec<std::thread::JoinHandle<()>>>,
}

/// What snapshots are made of. Changed as a whole, so that every row is in exactly one place.
pub(crate) struct View {
    pub(crate) events: Arc<TableVersion>,
    pub(crate) rejections: Arc<TableVersion>,
    pub(crate) hot: Vec<Hot>,
}

/// The hot buffer of one partition: what is being flushed, and what takes new rows.
pub(crate) struct Hot {
    pub(crate) flushing: Option<Arc<Generation>>,
    pub(crate) active: Arc<Generation>,
}

/// What opening found.
#[derive(Clone, Debug, Default)]
pub struct OpenReport {
    /// Log records replayed over the table.
    pub replayed_records: u64,
    /// Rows of the table that the dedup window covers.
    pub dedup_rows: u64,
}

/// What a flush did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlushReport {
    /// The table's version afterwards.
    pub version: u64,
    /// What of the log is in the table now.
    pub position: Position,
    /// Events written.
    pub rows: usize,
    /// Rejections written.
    pub rejections: usize,
}

impl Store {
    /// Opens the store: reads what the tables have, replays the logs after it, starts the threads. Blocks.
    ///
    /// `progress` is told the offsets replayed and the offsets to replay, now and then.
    ///
    /// # Errors
    /// `Corrupt` if the log and the table do not meet, or either does not verify; `Invalid` if there is not one log per
    /// partition.
    pub fn open(
        settings: StoreSettings,
        logs: Vec<SharedLog>,
        events: Table,
        rejections: Table,
        now: fn() -> Timestamp,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<(Self, OpenReport)> {
        if logs.len() != usize::from(settings.partitions) {
            let detail = format!("{} logs for {} partitions", logs.len(), settings.partitions);
            return Err(Error::new(Kind::Invalid, detail));
        }
        let (partitions, dedup_rows) = recover::partitions(&settings, logs, &events, &rejections)?;
        let hot = partitions.iter().map(|partition| Hot {
            flushing: None,
            active: Arc::new(Generation::new(partition.id, partition.applied(), partition.state.lock().hasher())),
        });
        let view = View { events: events.current(), rejections: rejections.current(), hot: hot.collect() };
        let shared = Arc::new(Shared {
            settings,
            now,
            partitions,
            events,
            rejections,
            view: RwLock::new(view),
            hot_bytes: AtomicUsize::new(0),
            tick: watch::Sender::new(0),
            flush_wanted: (Mutex::new(false), Condvar::new()),
            flushes: AtomicU64::new(0),
            last_flush_error: Mutex::new(None),
            failed: OnceLock::new(),
            closing: AtomicBool::new(false),
            stopping: AtomicBool::new(false),
            threads: Mutex::new(Vec::new()),
        });
        let store = Self { shared };
        if store.shared.settings.dedup_recall == DedupRecall::AtOpen {
            store.shared.recall_window()?;
        }
        crash_point(CrashPoint::ReplayStart);
        store.start_threads()?;
        let replayed_records = store.replay(progress)?;
        crash_point(CrashPoint::ReplayEnd);
        Ok((store, OpenReport { replayed_records, dedup_rows }))
    }

    /// Takes one request. When this returns, every entry's outcome is final: what is stored is durable, and in every
    /// snapshot from now on.
    ///
    /// # Errors
    /// `Busy`: too much at once, or not durable in time. `Full`: no space. `Unavailable`: closing, or failed before.
    /// After an error nothing is acknowledged, though some of it may turn out to be stored: send it again with the same
    /// event ids.
    pub async fn ingest(&self, request: Request) -> Result<Vec<Outcome>> {
        self.admit().await?;
        let (records, places) = request.into_records();
        let mut waiting = Vec::with_capacity(records.len());
        for (id, payload, count) in records {
            let (sender, receiver) = oneshot::channel();
            let shared = Arc::clone(&self.shared);
            let partition = &self.shared.partitions[usize::from(id.0)];
            partition.log.append(NewRecord::new(payload, count, move |durable| match durable {
                Ok(first) => {
                    let partition = &shared.partitions[usize::from(id.0)];
                    partition.waiters.lock().insert(first, sender);
                    shared.fail_waiters_if_failed();
                }
                Err(error) => drop(sender.send(Err(error.into()))),
            }));
            waiting.push((id, receiver));
        }
        let mut applied = Vec::with_capacity(waiting.len());
        for (id, receiver) in waiting {
            applied.push((id, self.outcome(receiver).await?));
        }
        Ok(places.outcomes(&applied))
    }

    /// A read view of this moment.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        self.shared.snapshot()
    }

    /// The table's version now.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.shared.view.read().events.version
    }

    /// What is applied now.
    #[must_use]
    pub fn position(&self) -> Position {
        self.shared.position()
    }

    /// Waits until everything up to `position` is applied.
    ///
    /// # Errors
    /// `Busy` when `timeout` is over; `Invalid` if it names a partition that is not there; `Unavailable` if the store
    /// failed.
    pub async fn wait_for(&self, position: &Position, timeout: Duration) -> Result<()> {
        let known = self.shared.partitions.len();
        if let Some((partition, _)) = position.iter().find(|(id, offset)| usize::from(id.0) >= known && offset.0 > 0) {
            return Err(Error::new(Kind::Invalid, format!("there is no partition {partition}: there are {known}")));
        }
        let mut ticks = self.shared.tick.subscribe();
        let caught_up = async {
            while !self.position().covers(position) {
                self.shared.healthy()?;
                if ticks.changed().await.is_err() {
                    return Err(Error::new(Kind::Unavailable, "the store is closed"));
                }
            }
            Ok(())
        };
        tokio::time::timeout(timeout, caught_up).await.unwrap_or_else(|_| {
            let detail = format!("offset {position} is not applied yet, only {}: try again", self.position());
            Err(Error::new(Kind::Busy, detail))
        })
    }

    /// Moves the hot buffers to the table now. Blocks until committed.
    ///
    /// # Errors
    /// Why a flush failed; nothing is lost, it is tried again.
    pub fn flush_blocking(&self) -> Result<FlushReport> {
        let (mut rows, mut rejections) = (0, 0);
        for partition in &self.shared.partitions {
            let flushed = self.shared.flush_partition(partition)?;
            rows += flushed.rows;
            rejections += flushed.rejections;
        }
        let snapshot = self.snapshot();
        Ok(FlushReport { version: snapshot.version(), position: snapshot.flushed, rows, rejections })
    }

    /// [`Store::flush_blocking`] without blocking the caller's thread.
    ///
    /// # Errors
    /// As there.
    pub async fn flush(&self) -> Result<FlushReport> {
        let store = self.clone();
        let joined = tokio::task::spawn_blocking(move || store.flush_blocking()).await;
        joined.unwrap_or_else(|error| Err(Error::new(Kind::Internal, format!("the flush panicked: {error}"))))
    }

    /// What became of everything each token sent, since the data folder was made.
    #[must_use]
    pub fn ledger(&self) -> Vec<(String, Counts)> {
        let mut sum = Ledger::default();
        for partition in &self.shared.partitions {
            sum.merge(partition.state.lock().ledger());
        }
        sum.iter().map(|(token, counts)| (token.to_owned(), counts)).collect()
    }

    /// Figures for operators.
    #[must_use]
    pub fn status(&self) -> Status {
        Status::of(&self.shared)
    }

    /// A follower of stored events.
    #[must_use]
    pub fn live(&self) -> LiveTail {
        LiveTail { shared: Arc::clone(&self.shared), ticks: self.shared.tick.subscribe() }
    }

    /// Stops ingest, makes what was taken durable, applies it, flushes, ends the threads. Blocks.
    ///
    /// # Errors
    /// The first step that failed; what was acknowledged is durable in the log all the same.
    pub fn close(&self) -> Result<()> {
        self.shared.closing.store(true, Ordering::Release);
        let mut result = Ok(());
        for partition in &self.shared.partitions {
            result = result.and(partition.log.close().map_err(Error::from));
        }
        while self.shared.failed.get().is_none() && self.shared.is_behind() {
            std::thread::sleep(Duration::from_millis(1));
        }
        if self.shared.failed.get().is_none() {
            result = result.and(self.flush_blocking().map(drop));
        }
        crash_point(CrashPoint::StopFlushed);
        self.stop_threads();
        result.and(self.shared.healthy())
    }

    /// Ends the threads and nothing else: what a crash leaves behind, for tests and simulations. Blocks.
    pub fn abandon(&self) {
        self.shared.closing.store(true, Ordering::Release);
        self.stop_threads();
    }

    fn stop_threads(&self) {
        self.shared.stopping.store(true, Ordering::Release);
        self.shared.flush_wanted.1.notify_all();
        self.shared.moved();
        for thread in std::mem::take(&mut *self.shared.threads.lock()) {
            // A panic was recorded as a failure when it happened.
            let _ = thread.join();
        }
    }

    /// Refuses or delays a request while the store cannot take it.
    async fn admit(&self) -> Result<()> {
        self.shared.healthy()?;
        if self.shared.closing.load(Ordering::Acquire) {
            return Err(Error::new(Kind::Unavailable, "the service is stopping: send this again in a moment"));
        }
        if !self.shared.is_crowded() {
            return Ok(());
        }
        self.shared.want_flush();
        let mut ticks = self.shared.tick.subscribe();
        let room = async {
            while self.shared.is_crowded() {
                self.shared.healthy()?;
                let _ = ticks.changed().await;
            }
            Ok(())
        };
        tokio::time::timeout(self.shared.settings.ingest_wait_max, room)
            .await
            .unwrap_or_else(|_| Err(Error::new(Kind::Busy, "more events arrive than can be written: try again")))
    }

    async fn outcome(&self, receiver: oneshot::Receiver<Result<Applied>>) -> Result<Applied> {
        // Longer than admission: the record is queued, and an answer is worth more than a quick refusal.
        let patience = self.shared.settings.ingest_wait_max * 6;
        match tokio::time::timeout(patience, receiver).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(Error::new(Kind::Unavailable, "the store stopped before the events were durable")),
            Err(_) => Err(Error::new(Kind::Busy, "the events are not durable yet: send them again with the same ids")),
        }
    }

    fn start_threads(&self) -> Result<()> {
        let mut threads = self.shared.threads.lock();
        for index in 0..self.shared.partitions.len() {
            let shared = Arc::clone(&self.shared);
            threads
                .push(spawn(format!("apply-{index}"), move || guard(&shared, "apply", || shared.apply_loop(index)))?);
        }
        if self.shared.settings.flush_by_itself {
            let shared = Arc::clone(&self.shared);
            threads.push(spawn("flush".to_owned(), move || guard(&shared, "flush", || shared.flush_loop()))?);
        }
        if self.shared.settings.dedup_recall == DedupRecall::Background {
            let shared = Arc::clone(&self.shared);
            let run = move || {
                be_nice();
                shared.recall_window()
            };
            let shared = Arc::clone(&self.shared);
            threads.push(spawn("recall".to_owned(), move || guard(&shared, "recall", run))?);
        }
        Ok(())
    }

    /// Waits until apply has caught up with what the logs held when they were opened.
    fn replay(&self, progress: &mut dyn FnMut(u64, u64)) -> Result<u64> {
        let ends: Vec<_> = self.shared.partitions.iter().map(|partition| partition.log.end().previous()).collect();
        let starts: Vec<_> =
            self.shared.partitions.iter().map(|partition| self.shared.events.current().flushed(partition.id)).collect();
        let total: u64 = ends.iter().zip(&starts).map(|(end, start)| end.0.saturating_sub(start.0)).sum();
        let end = Position::new(ends);
        while !self.position().covers(&end) {
            self.shared.healthy()?;
            let applied = self.position();
            let done = starts.iter().zip(applied.iter()).map(|(start, (_, offset))| offset.0.saturating_sub(start.0));
            progress(done.sum(), total);
            std::thread::sleep(Duration::from_millis(2));
        }
        progress(total, total);
        Ok(total)
    }
}

/// Follows stored events as they are applied.
pub struct LiveTail {
    shared: Arc<Shared>,
    ticks: watch::Receiver<u64>,
}

impl LiveTail {
    /// Waits until something past `after` is applied (at most `timeout`), then visits up to `max` events past it, in
    /// order within each partition.
    ///
    /// # Errors
    /// `Unavailable` if the store failed or closed.
    pub async fn next(
        &mut self,
        after: &Position,
        timeout: Duration,
        max: usize,
        visit: &mut (dyn FnMut(&crate::StoredEvent<'_>) + Send),
    ) -> Result<LiveStep> {
        let ticks = &mut self.ticks;
        let shared = &self.shared;
        let moved = async {
            while after.covers(&shared.position()) && !shared.stopping.load(Ordering::Acquire) {
                if ticks.changed().await.is_err() {
                    break;
                }
            }
        };
        // Nothing new in time is no error: the caller sends a heartbeat.
        let _ = tokio::time::timeout(timeout, moved).await;
        shared.healthy()?;
        if shared.stopping.load(Ordering::Acquire) {
            return Err(Error::new(Kind::Unavailable, "the service is stopping"));
        }
        let mut left = max;
        let (mut seen, mut gone, mut is_gap) = (Vec::new(), Vec::new(), false);
        for partition in &shared.partitions {
            let taken = partition.backlog.lock().take(after.of(partition.id), left);
            left -= taken.len();
            is_gap |= taken.gone.is_some();
            gone.push(taken.gone.unwrap_or(after.of(partition.id)));
            seen.push(taken.seen);
            taken.visit(visit)?;
        }
        let gap = is_gap.then(|| Gap { from: after.clone(), to: Position::new(gone) });
        Ok(LiveStep { position: Position::new(seen), gap })
    }
}

impl Shared {
    pub(crate) fn snapshot(&self) -> Snapshot {
        let view = self.view.read();
        let hot: Vec<_> = view
            .hot
            .iter()
            .flat_map(|hot| hot.flushing.iter().chain(std::iter::once(&hot.active)))
            .map(Generation::view)
            .collect();
        let flushed = self.partitions.iter().map(|partition| view.events.flushed(partition.id)).collect();
        // The last view of a partition is its active generation's, which has applied the most.
        let applied = self.partitions.iter().map(|partition| {
            let views = hot.iter().filter(|view| view.partition() == partition.id);
            views.map(|view| view.applied).max().unwrap_or_default()
        });
        Snapshot {
            events: Arc::clone(&view.events),
            rejections: Arc::clone(&view.rejections),
            position: Position::new(applied.collect()),
            flushed: Position::new(flushed),
            hot,
        }
    }

    pub(crate) fn position(&self) -> Position {
        Position::new(self.partitions.iter().map(Partition::applied).collect())
    }

    /// `Err` once a thread failed or a log was poisoned.
    pub(crate) fn healthy(&self) -> Result<()> {
        match self.failed.get() {
            Some(error) => Err(error.clone()),
            None => Ok(()),
        }
    }

    /// The logs' health too: for readiness, not for every request.
    pub(crate) fn ready(&self) -> Result<()> {
        self.healthy()?;
        if self.closing.load(Ordering::Acquire) {
            return Err(Error::new(Kind::Unavailable, "the service is stopping"));
        }
        self.partitions.iter().try_for_each(|partition| partition.log.health().map_err(Error::from))
    }

    pub(crate) fn want_flush(&self) {
        *self.flush_wanted.0.lock() = true;
        self.flush_wanted.1.notify_all();
    }

    pub(crate) fn moved(&self) {
        self.tick.send_modify(|tick| *tick = tick.wrapping_add(1));
    }

    fn is_crowded(&self) -> bool {
        self.hot_bytes.load(Ordering::Acquire) > self.settings.hot_bytes_max
    }

    fn is_behind(&self) -> bool {
        self.partitions.iter().any(|partition| partition.applied() < partition.log.end().previous())
    }

    fn fail(&self, error: Error) {
        tracing::error!(error = %error, "the store has failed: it takes no more events until it is opened again");
        let _ = self.failed.set(error);
        self.fail_waiters_if_failed();
        self.moved();
    }

    /// Answers who waits for a record that will never be applied.
    fn fail_waiters_if_failed(&self) {
        let Some(error) = self.failed.get() else { return };
        for partition in &self.partitions {
            for (_, waiter) in partition.waiters.lock().drain() {
                let _ = waiter.send(Err(error.clone()));
            }
        }
    }

    fn apply_loop(&self, index: usize) -> Result<()> {
        let partition = &self.partitions[index];
        let mut applied = partition.applied();
        let replay_end = partition.log.end();
        while !self.stopping.load(Ordering::Acquire) {
            match partition.log.wait_past(applied.plus(1), TICK) {
                Ok(end) if end > applied.plus(1) => {}
                Ok(_) => continue,
                // There will be nothing more to apply; the log's health says why. Reads go on.
                Err(error) if matches!(error.kind(), ErrorKind::Closed | ErrorKind::Poisoned) => {
                    std::thread::sleep(TICK);
                    continue;
                }
                Err(error) => return Err(error.into()),
            }
            self.wait_for_room();
            let mut records = partition.log.read(applied.plus(1), APPLY_BYTES)?;
            if sabotaged(Sabotage::DropOnReplay) && applied.plus(1) < replay_end && records.len() > 1 {
                records.remove(records.len() - 2);
            }
            if !records.is_empty() {
                applied = self.apply_group(partition, index, records)?;
            }
            if applied < replay_end {
                crash_point(CrashPoint::ReplayGroup);
            }
        }
        Ok(())
    }

    fn apply_group(
        &self,
        partition: &Partition,
        index: usize,
        records: Vec<eye_log::Record>,
    ) -> Result<eye_log::Offset> {
        let mut state = partition.state.lock();
        let group = state.decide(records)?;
        let applied = state.applied();
        let active = Arc::clone(&self.view.read().hot[index].active);
        let before = active.bytes();
        partition.backlog.lock().extend(&group.records);
        crash_point(CrashPoint::ApplyBeforePublish);
        let answers = apply::publish(group, &active)?;
        partition.set_applied(applied);
        let grown = active.bytes() - before;
        let hot = self.hot_bytes.fetch_add(grown, Ordering::AcqRel) + grown;
        let is_due = active.bytes() >= self.settings.flush_bytes_max || active.len() >= self.settings.flush_rows_max;
        drop(state);
        crash_point(CrashPoint::ApplyBeforeAnswer);
        apply::answer(answers, &partition.waiters);
        crash_point(CrashPoint::ApplyAfterAnswer);
        self.moved();
        if is_due || hot > self.settings.hot_bytes_max {
            self.want_flush();
        }
        Ok(applied)
    }

    /// Holds apply back (at start-up above all) while flushing is behind. Ingest is held back earlier.
    fn wait_for_room(&self) {
        let hot_bytes_max = self.settings.hot_bytes_max / 4 * 5;
        while self.hot_bytes.load(Ordering::Acquire) > hot_bytes_max && !self.stopping.load(Ordering::Acquire) {
            self.want_flush();
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Reads the dedup window back from the table, newest files first. Apply goes on meanwhile.
    fn recall_window(&self) -> Result<()> {
        for partition in &self.partitions {
            let next = || partition.state.lock().recall().and_then(Recall::newest);
            while let Some(file) = next() {
                for group in file.row_groups()? {
                    let batch = file.read(group.index, Recall::columns(), None)?;
                    for start in (0..batch.num_rows()).step_by(RECALL_ROWS) {
                        if self.stopping.load(Ordering::Acquire) {
                            return Ok(());
                        }
                        let rows = batch.slice(start, RECALL_ROWS.min(batch.num_rows() - start));
                        partition.state.lock().recall_rows(&rows)?;
                    }
                }
                partition.state.lock().newest_is_recalled();
            }
            let ids = partition.state.lock().dedup().len();
            tracing::info!(partition = partition.id.0, ids, "the dedup window is in memory");
        }
        Ok(())
    }

    fn flush_loop(&self) -> Result<()> {
        be_nice();
        while !self.stopping.load(Ordering::Acquire) {
            {
                let mut wanted = self.flush_wanted.0.lock();
                if !*wanted {
                    self.flush_wanted.1.wait_for(&mut wanted, TICK);
                }
                *wanted = false;
            }
            self.flush_due();
        }
        Ok(())
    }
}

/// Whoever waits for an acknowledgement goes first; ingest waits for flushes only when the hot buffer is full.
/// Where this is not allowed, the thread works all the same.
fn be_nice() {
    let _ = rustix::process::setpriority_process(Some(rustix::thread::gettid()), BACKGROUND_NICENESS);
}

fn spawn(name: String, run: impl FnOnce() + Send + 'static) -> Result<std::thread::JoinHandle<()>> {
    let spawned = std::thread::Builder::new().name(name).spawn(run);
    spawned.map_err(|error| Error::new(Kind::Internal, format!("a thread could not be started: {error}")))
}

/// Runs a thread's loop; an error or a panic stops writes.
fn guard(shared: &Shared, name: &str, run: impl FnOnce() -> Result<()>) {
    match std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)) {
        Ok(Ok(())) => {}
        Ok(Err(error)) => shared.fail(error.context(format_args!("{name} stopped"))),
        Err(panic) => {
            let message = panic.downcast_ref::<&str>().map(ToString::to_string);
            let message = message.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
            shared.fail(Error::new(Kind::Internal, format!("{name} panicked: {message}")));
        }
    }
}
