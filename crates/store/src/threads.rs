//! The store's threads: apply (one for each partition), flush, compact, erase, retain, and for a while after opening recall.
//!
//! The rule: a thread that ends with an error or a panic fails the store, so that no write is taken that nobody would carry
//! on. They end when the store stops. Nothing waits for a compaction, so one that fails or panics is only tried again.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use eye_fault::{CrashPoint, Sabotage, crash_point, sabotaged};
use eye_log::{ErrorKind, Offset, Record};

use crate::apply;
use crate::error::{Error, Kind, Result};
use crate::partition::Partition;
use crate::recall::Recall;
use crate::store::Shared;

/// How long a thread sleeps at most before it looks whether it should stop.
const TICK: Duration = Duration::from_millis(100);
/// How long an erasure that failed, or waits for somebody, rests at most before it is tried again.
const ERASE_PAUSE_MAX: Duration = Duration::from_secs(10);
/// Added to the niceness of threads that nobody waits for.
const BACKGROUND_NICENESS: i32 = 5;
/// The same of threads that work on large requests.
const LARGE_NICENESS: i32 = 3;
/// The same of threads of questions that take long.
const QUESTION_NICENESS: i32 = 10;
/// How much of the log apply reads at a time: what is read together is seen and answered together.
const APPLY_BYTES: usize = 256 * 1024;
/// The same of what nobody waits for, when the log is replayed.
const REPLAY_BYTES: usize = 4 * 1024 * 1024;
/// Rows of the dedup window that are taken in while apply waits.
const RECALL_ROWS: usize = 4096;

impl Shared {
    pub(crate) fn start_threads(self: &Arc<Self>) -> Result<()> {
        let mut threads = self.threads.lock();
        for index in 0..self.partitions.len() {
            let shared = Arc::clone(self);
            threads
                .push(spawn(format!("apply-{index}"), move || guard(&shared, "apply", || shared.apply_loop(index)))?);
        }
        if self.settings.flush_by_itself {
            let shared = Arc::clone(self);
            threads.push(spawn("flush".to_owned(), move || guard(&shared, "flush", || shared.flush_loop()))?);
        }
        if self.settings.flush_by_itself {
            let shared = Arc::clone(self);
            threads.push(spawn("erase".to_owned(), move || guard(&shared, "erase", || shared.erase_loop()))?);
        }
        let has_rules = !self.settings.retention.is_empty() || self.settings.rejection_days.is_some();
        if self.settings.flush_by_itself && has_rules && !self.settings.retention_period.is_zero() {
            let shared = Arc::clone(self);
            let run = move || {
                let period = shared.settings.retention_period;
                guard(&shared, "retain", || shared.every(period, &|| shared.expire_due()))
            };
            threads.push(spawn("retain".to_owned(), run)?);
        }
        if self.settings.flush_by_itself && !self.settings.compaction_period.is_zero() {
            let shared = Arc::clone(self);
            let run = move || {
                let period = shared.settings.compaction_period;
                guard(&shared, "compact", || shared.every(period, &|| shared.compact_due()))
            };
            threads.push(spawn("compact".to_owned(), run)?);
        }
        Ok(())
    }

    /// Reads the dedup window back beside everything else. Only after the replay, whose answers were given before: they
    /// must not depend on how far a thread has come.
    pub(crate) fn start_recall(self: &Arc<Self>) -> Result<()> {
        let shared = Arc::clone(self);
        let run = move || {
            be_nice();
            shared.recall_window()
        };
        let shared = Arc::clone(self);
        self.threads.lock().push(spawn("recall".to_owned(), move || guard(&shared, "recall", run))?);
        Ok(())
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
            let bytes_max = if applied.plus(1) < replay_end { REPLAY_BYTES } else { APPLY_BYTES };
            let mut records = partition.log.read(applied.plus(1), bytes_max)?;
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

    fn apply_group(&self, partition: &Partition, index: usize, records: Vec<Record>) -> Result<Offset> {
        self.recall_sessions(partition, &records)?;
        let mut state = partition.state.lock();
        let group = state.decide(records)?;
        let applied = state.applied();
        let active = Arc::clone(&self.view.read().hot[index].active);
        let before = active.bytes();
        partition.backlog.lock().extend(&group.records);
        crash_point(CrashPoint::ApplyBeforePublish);
        let answers = apply::publish(group, &active)?;
        state.is_published();
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
        // While the store ends, only what the log's queue held is left to apply.
        while self.hot_bytes.load(Ordering::Acquire) > hot_bytes_max && !self.is_ending() {
            self.want_flush();
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Reads back what the table has of these records' sessions. Files are read while nobody is kept from the state.
    fn recall_sessions(&self, partition: &Partition, records: &[Record]) -> Result<()> {
        let unknown = partition.state.lock().unknown_sessions(records)?;
        for session in unknown {
            let files = partition.state.lock().recall().map(Recall::files);
            for file in files.into_iter().flatten() {
                for batch in self.patiently(|| file.session(&session, Recall::columns()))? {
                    partition.state.lock().recall_rows(&batch)?;
                }
            }
            partition.state.lock().session_is_recalled(&session);
        }
        Ok(())
    }

    /// Reads the dedup window back from the table, newest files first. Apply goes on meanwhile.
    pub(crate) fn recall_window(&self) -> Result<()> {
        let _one = self.recalling.lock();
        self.recall_files(true, &|| !self.stopping.load(Ordering::Acquire)).map(drop)
    }

    /// The same for whoever keeps others waiting: it waits neither for somebody who is at it already nor for a disk that is
    /// away. False if somebody is, or `goes_on` says no.
    pub(crate) fn recall_window_now(&self, goes_on: &dyn Fn() -> bool) -> Result<bool> {
        let Some(_one) = self.recalling.try_lock() else { return Ok(false) };
        self.recall_files(false, goes_on)
    }

    /// False if `goes_on` says no before all is read. `recalling` must be held.
    fn recall_files(&self, is_patient: bool, goes_on: &dyn Fn() -> bool) -> Result<bool> {
        for partition in &self.partitions {
            let next = || partition.state.lock().recall().and_then(Recall::newest);
            while let Some(file) = next() {
                let groups = || file.row_groups();
                for group in if is_patient { self.patiently(groups) } else { groups() }? {
                    let rows = || file.read(group.index, Recall::columns(), None);
                    let batch = if is_patient { self.patiently(rows) } else { rows() }?;
                    for start in (0..batch.num_rows()).step_by(RECALL_ROWS) {
                        if !goes_on() {
                            return Ok(false);
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
        Ok(true)
    }

    /// Reads again what cannot be read now, until it can or the store closes: a disk or an object store that is away for
    /// a while must not end a store that has read it before. While opening, the first error is the answer. Whoever waits
    /// here holds nothing that others need but `recalling`.
    fn patiently<T>(&self, read: impl Fn() -> Result<T>) -> Result<T> {
        let mut done = read();
        while let Err(error) = &done
            && error.kind() == Kind::Unavailable
            && !self.is_ending()
            && !self.opening.load(Ordering::Acquire)
        {
            self.outages.note(error, (self.now)());
            std::thread::sleep(TICK);
            done = read();
        }
        self.outages.end();
        done
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

impl Shared {
    /// Carries out erasures. One that fails, panics or waits for somebody is tried again, less and less often; one that was
    /// accepted since does not wait for that.
    fn erase_loop(&self) -> Result<()> {
        be_nice();
        // None is ever taken out of them, so their number says whether there is a new one.
        let accepted = || self.erasures.lock().len();
        let (mut pause, mut known) = (TICK, accepted());
        while !self.is_ending() {
            let since = Instant::now();
            while since.elapsed() < pause && !self.is_ending() {
                std::thread::sleep(TICK);
                if accepted() != known {
                    pause = TICK;
                }
            }
            // Not while the log is replayed: what is to be flushed is not applied yet.
            if self.opening.load(Ordering::Acquire) {
                continue;
            }
            // Before the run, which may not see one that is accepted meanwhile.
            known = accepted();
            let run = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.erase_due()));
            pause = if matches!(run, Ok(Ok(true))) { TICK } else { (pause * 2).min(ERASE_PAUSE_MAX) };
        }
        Ok(())
    }

    /// Does something again and again, a period after it has ended.
    fn every(&self, period: Duration, run: &dyn Fn()) -> Result<()> {
        be_nice();
        let mut last = Instant::now();
        while !self.is_ending() {
            if last.elapsed() < period {
                std::thread::sleep(TICK);
                continue;
            }
            // A panic is no reason to take no more events: it is tried again.
            let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(run));
            last = Instant::now();
        }
        Ok(())
    }
}

/// Whoever waits for an acknowledgement goes first; ingest waits for flushes only when the hot buffer is full.
fn be_nice() {
    be_nicer(BACKGROUND_NICENESS);
}

/// Lets ingest go before the calling thread, which answers a question that takes long, and before all threads that it
/// starts from now on. Once is enough: a second time changes nothing.
pub fn give_way() {
    be_nicer(QUESTION_NICENESS);
}

/// Lets small requests go before the calling thread, which works on large ones, and before all threads that it starts.
pub fn give_way_to_small() {
    be_nicer(LARGE_NICENESS);
}

/// Nicer than the process by so much, whoever started the thread. Where this is not allowed, the thread works all the
/// same.
fn be_nicer(by: i32) {
    use rustix::process::{getpid, getpriority_process, setpriority_process};
    let _ = getpriority_process(Some(getpid()))
        .and_then(|niceness| setpriority_process(Some(rustix::thread::gettid()), niceness + by));
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
