//! [`Shared`]: what the store's threads, its callers and its snapshots have in common.
//!
//! The rule: [`View`] changes as a whole, under its lock, so that every row is in exactly one place; and once `failed` is
//! set it stays, and whoever waits is told.

use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use eye_event::Timestamp;
use parking_lot::{Condvar, Mutex, RwLock};
use tokio::sync::watch;

use crate::believed::Clock;
use crate::buffer::Generation;
use crate::compact::CompactionFigures;
use crate::erase::Job;
use crate::error::{Error, Kind, Result};
use crate::mask::Mask;
use crate::partition::Partition;
use crate::position::Position;
use crate::recall::Outages;
use crate::retention::{Contents, RetentionFigures};
use crate::settings::StoreSettings;
use crate::snapshot::Snapshot;
use crate::table::{Table, TableVersion};

/// Requests of so many bytes are small.
const SMALL_BYTES: usize = 64 * 1024;
/// This part of the hot buffer's limit lies above it and is for small requests alone.
const SMALL_SHARE: usize = 8;

/// The parts, and what is going on.
pub(crate) struct Shared {
    pub(crate) settings: StoreSettings,
    pub(crate) now: fn() -> Timestamp,
    /// Asked before something goes because of its age.
    pub(crate) clock: Clock,
    pub(crate) partitions: Vec<Partition>,
    pub(crate) events: Table,
    pub(crate) rejections: Table,
    pub(crate) view: RwLock<View>,
    /// Bytes of log records in all hot buffers.
    pub(crate) hot_bytes: AtomicUsize,
    /// Rises whenever something was applied or flushed.
    pub(crate) tick: watch::Sender<u64>,
    /// The flush thread sleeps on it.
    pub(crate) flush_wanted: (Mutex<bool>, Condvar),
    pub(crate) flushes: AtomicU64,
    /// Why the last flush of each partition failed, if it did.
    pub(crate) flush_errors: Mutex<Vec<Option<String>>>,
    /// Held by whoever compacts, vacuums or takes rows out: one at a time.
    pub(crate) compacting: Mutex<()>,
    pub(crate) compaction: Mutex<CompactionFigures>,
    pub(crate) retention: Mutex<RetentionFigures>,
    /// What retention knows of the events' files.
    pub(crate) contents: Mutex<Contents>,
    /// Every erasure, the oldest first.
    pub(crate) erasures: Mutex<Vec<Job>>,
    /// Held by whoever accepts an erasure.
    pub(crate) accepting: Mutex<()>,
    /// So many wait for an erasure to stop soon.
    pub(crate) cancelling: AtomicUsize,
    /// Held by whoever reads the dedup window back.
    pub(crate) recalling: Mutex<()>,
    /// What of the dedup window cannot be read now.
    pub(crate) outages: Outages,
    pub(crate) failed: OnceLock<Error>,
    pub(crate) opening: AtomicBool,
    pub(crate) closing: AtomicBool,
    pub(crate) stopping: AtomicBool,
    pub(crate) threads: Mutex<Vec<std::thread::JoinHandle<()>>>,
}

/// What snapshots are made of. Changed as a whole, so that every row is in exactly one place.
pub(crate) struct View {
    pub(crate) events: Arc<TableVersion>,
    pub(crate) rejections: Arc<TableVersion>,
    /// Rows of both that nobody sees any more.
    pub(crate) mask: Arc<Mask>,
    pub(crate) hot: Vec<Hot>,
}

/// The hot buffer of one partition: what is being flushed, and what takes new rows.
pub(crate) struct Hot {
    pub(crate) flushing: Option<Arc<Generation>>,
    pub(crate) active: Arc<Generation>,
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
            mask: Arc::clone(&view.mask),
            position: Position::new(applied.collect()),
            flushed: Position::new(flushed),
            hot,
            question_runs_bytes_max: self.settings.question_runs_bytes_max,
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

    /// The logs' health too, and that events can be decided: for readiness, not for every request.
    pub(crate) fn ready(&self) -> Result<()> {
        self.healthy()?;
        if self.closing.load(Ordering::Acquire) {
            return Err(Error::new(Kind::Unavailable, "the service is stopping"));
        }
        self.partitions.iter().try_for_each(|partition| partition.log.health().map_err(Error::from))?;
        self.outages.none_lasts()
    }

    pub(crate) fn want_flush(&self) {
        *self.flush_wanted.0.lock() = true;
        self.flush_wanted.1.notify_all();
    }

    pub(crate) fn moved(&self) {
        self.tick.send_modify(|tick| *tick = tick.wrapping_add(1));
    }

    /// True if the hot buffer has no room for a request of so many bytes. Small ones may fill it a little further, so that
    /// they do not wait for a flush whenever large ones come quicker than they are flushed.
    pub(super) fn is_crowded_for(&self, bytes: usize) -> bool {
        let max = self.settings.hot_bytes_max;
        let further = if bytes <= SMALL_BYTES { max / SMALL_SHARE } else { 0 };
        self.hot_bytes.load(Ordering::Acquire) > max + further
    }

    pub(super) fn is_behind(&self) -> bool {
        self.partitions.iter().any(|partition| partition.applied() < partition.log.end().previous())
    }

    pub(crate) fn fail(&self, error: Error) {
        tracing::error!(error = %error, "the store has failed: it takes no more events until it is opened again");
        let _ = self.failed.set(error);
        self.fail_waiters_if_failed();
        self.moved();
    }

    /// Answers who waits for a record that will never be applied.
    pub(super) fn fail_waiters_if_failed(&self) {
        let Some(error) = self.failed.get() else { return };
        for partition in &self.partitions {
            for (_, waiter) in partition.waiters.lock().drain() {
                let _ = waiter.send(Err(error.clone()));
            }
        }
    }
}
