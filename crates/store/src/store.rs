//! [`Store`]: the parts together. Ingest in, snapshots out; two kinds of threads in between.
//!
//! ```text
//! ingest ──append──▶ log ──durable──▶ apply thread (one per partition) ──▶ hot buffer ──▶ snapshots, live
//!    ▲                                      │                                  │
//!    └────────────── outcome ◀──────────────┘             flush thread (one) ──▶ table, then trim the log
//!                                                          compact thread (one) ──▶ table: larger files
//!                                                          erase, retain (one each) ──▶ table, log: fewer rows
//! ```
//!
//! A thread that fails or panics stops writes: the store then refuses ingest, and says why, until it is opened again.
//! What threads and callers have in common is in `shared`.

mod shared;

use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use eye_event::Timestamp;
use eye_fault::{CrashPoint, crash_point};
use eye_log::{NewRecord, SharedLog};
use parking_lot::{Condvar, Mutex, RwLock};
use tokio::sync::{oneshot, watch};

pub(crate) use shared::{Hot, Shared};

use crate::believed::Clock;
use crate::buffer::Generation;
use crate::compact::{CompactReport, Eagerness};
use crate::erase::Job;
use crate::error::{Error, Kind, Result};
use crate::flush::Flushed;
use crate::ledger::{Counts, Ledger};
use crate::live::LiveTail;
use crate::mask::Mask;
use crate::position::Position;
use crate::recall::Outages;
use crate::recover;
use crate::request::{Applied, Outcome, Request};
use crate::settings::{DedupRecall, StoreSettings};
use crate::snapshot::Snapshot;
use crate::status::Status;
use crate::table::{Found, Removal, Table};
use shared::View;

/// The store. Cheap to clone; the last clone to go does not close it: call [`Store::close`].
#[derive(Clone)]
pub struct Store {
    pub(crate) shared: Arc<Shared>,
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
        let found = events.erasures()?;
        for left_over in found.iter().filter(|found| found.is_left_over) {
            events.forget_wanted(&left_over.erasure.id)?;
        }
        let jobs = found.into_iter().map(|Found { mut erasure, mask, is_left_over }| {
            if is_left_over {
                // Whoever ended it may not have known, and have hidden its rows until the end.
                erasure.work.version = erasure.work.version.max(events.current().version);
            }
            Job::new(erasure, mask.unwrap_or_default())
        });
        let jobs: Vec<_> = jobs.collect();
        let mask = Mask::of_all(jobs.iter().map(Job::mask));
        let (partitions, dedup_rows) = recover::partitions(&settings, logs, &events, &rejections, now)?;
        let hot = partitions.iter().map(|partition| Hot {
            flushing: None,
            active: Arc::new(Generation::new(partition.id, partition.applied(), partition.state.lock().hasher())),
        });
        let view = View {
            events: events.current(),
            rejections: rejections.current(),
            mask: Arc::new(mask),
            hot: hot.collect(),
        };
        let flush_errors = Mutex::new(vec![None; partitions.len()]);
        let shared = Arc::new(Shared {
            settings,
            now,
            clock: Clock::new(now()),
            partitions,
            events,
            rejections,
            view: RwLock::new(view),
            hot_bytes: AtomicUsize::new(0),
            tick: watch::Sender::new(0),
            flush_wanted: (Mutex::new(false), Condvar::new()),
            flushes: AtomicU64::new(0),
            flush_errors,
            compacting: Mutex::new(()),
            compaction: Mutex::default(),
            retention: Mutex::default(),
            contents: Mutex::default(),
            erasures: Mutex::new(jobs),
            accepting: Mutex::new(()),
            cancelling: AtomicUsize::new(0),
            recalling: Mutex::new(()),
            outages: Outages::default(),
            failed: OnceLock::new(),
            opening: AtomicBool::new(true),
            closing: AtomicBool::new(false),
            stopping: AtomicBool::new(false),
            threads: Mutex::new(Vec::new()),
        });
        let store = Self { shared };
        if store.shared.settings.dedup_recall == DedupRecall::AtOpen {
            store.shared.recall_window()?;
        }
        crash_point(CrashPoint::ReplayStart);
        store.shared.start_threads()?;
        let replayed = store.replay(progress).and_then(|records| {
            store.shared.flush_what_is_masked()?;
            Ok(records)
        });
        let replayed_records = replayed.inspect_err(|_| store.abandon())?;
        store.shared.pass_hidden_versions_at_open();
        crash_point(CrashPoint::ReplayEnd);
        store.shared.opening.store(false, Ordering::Release);
        if store.shared.settings.dedup_recall == DedupRecall::Background {
            store.shared.start_recall()?;
        }
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
        self.admit(request.bytes_len()).await?;
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

    /// True if every event of this version of the table is still seen: then an answer that named it can be given again.
    /// False while an erasure hides some, and of versions up to the one at which an erasure that did so was cancelled. Blocks.
    ///
    /// # Errors
    /// Those of the object store; a commit that is damaged.
    pub fn keeps_events_since(&self, version: u64) -> Result<bool> {
        let hidden = self.shared.view.read().mask.events.len();
        let shown_again = self.shared.erasures.lock().iter().filter_map(Job::shown_again_after).max();
        let is_before = shown_again.is_some_and(|shown_again| version <= shown_again);
        Ok(hidden == 0 && !is_before && self.shared.events.keeps_rows_since(version)?)
    }

    /// The events that were taken away behind the version `from` of the table, up to and including `to`, by the commits that
    /// took them, the oldest first. `None` if that cannot be told any more. Blocks.
    ///
    /// # Errors
    /// As [`Store::keeps_events_since`].
    pub fn events_removed(&self, from: u64, to: u64) -> Result<Option<Vec<Removal>>> {
        self.shared.events.removals(from, to)
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
        let Flushed { rows, rejections } = self.shared.flush_all()?;
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

    /// Merges small files of the table now, those of a day that lasts too, and removes files that nobody needs any more;
    /// begins nothing new when `limit` is over. Blocks; flushes, ingest and reads go on meanwhile.
    ///
    /// # Errors
    /// Why it failed; no row is lost, hidden or doubled, and what was merged before stays merged.
    pub fn compact_blocking(&self, limit: Duration) -> Result<CompactReport> {
        self.shared.healthy()?;
        self.shared.compact(Eagerness::Everything, limit)
    }

    /// [`Store::compact_blocking`] without blocking the caller's thread.
    ///
    /// # Errors
    /// As there.
    pub async fn compact(&self, limit: Duration) -> Result<CompactReport> {
        let store = self.clone();
        let joined = tokio::task::spawn_blocking(move || store.compact_blocking(limit)).await;
        joined.unwrap_or_else(|error| Err(Error::new(Kind::Internal, format!("the compaction panicked: {error}"))))
    }

    /// Merges files as the store's own thread does: those of a day that lasts only when there are enough of them. For
    /// simulations.
    ///
    /// # Errors
    /// As [`Store::compact_blocking`].
    pub fn compact_due_blocking(&self) -> Result<CompactReport> {
        self.shared.compact(Eagerness::WhatIsDue, Duration::MAX)
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

    /// `Err` with the reason if the store takes no events, or has some wait that it cannot tell from repeats for now. Never
    /// waits for apply.
    ///
    /// # Errors
    /// That reason.
    pub fn ready(&self) -> Result<()> {
        self.shared.ready()
    }

    /// Figures for operators.
    #[must_use]
    pub fn status(&self) -> Status {
        Status::of(&self.shared)
    }

    /// A follower of stored events.
    #[must_use]
    pub fn live(&self) -> LiveTail {
        LiveTail::new(&self.shared)
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

    /// Refuses or delays a request of so many bytes while the store cannot take it.
    async fn admit(&self, bytes: usize) -> Result<()> {
        self.shared.healthy()?;
        if self.shared.closing.load(Ordering::Acquire) {
            return Err(Error::new(Kind::Unavailable, "the service is stopping: send this again in a moment"));
        }
        if !self.shared.is_crowded_for(bytes) {
            return Ok(());
        }
        self.shared.want_flush();
        let mut ticks = self.shared.tick.subscribe();
        let room = async {
            while self.shared.is_crowded_for(bytes) {
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
