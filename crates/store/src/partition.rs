//! One partition at work: its log, what apply knows, and its share of the hot buffer.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use eye_log::{Offset, PartitionId, SharedLog};
use parking_lot::Mutex;

use crate::apply::{ApplyState, Waiters};
use crate::buffer::Generation;
use crate::dedup::DedupHistory;
use crate::ledger::Ledger;
use crate::live::Backlog;
use crate::table::NewFile;

/// How long a flush that failed rests at first; each failure doubles it.
const REST_MIN: Duration = Duration::from_millis(100);
/// How long it rests at most: what was wrong may be mended, and the hot buffer is full.
const REST_MAX: Duration = Duration::from_secs(5);

/// One partition's parts. Locks are taken in the order `flush`, `state`, the store's view.
pub(crate) struct Partition {
    pub(crate) id: PartitionId,
    pub(crate) log: SharedLog,
    pub(crate) state: Mutex<ApplyState>,
    /// Under which settings events were told from repeats, those of now last. Every commit says it.
    pub(crate) dedup: DedupHistory,
    pub(crate) waiters: Waiters,
    pub(crate) backlog: Mutex<Backlog>,
    pub(crate) flush: Mutex<FlushState>,
    /// Mirror of the applied offset, for waiting without locks.
    applied: AtomicU64,
}

/// What the flusher knows of a partition.
#[derive(Default)]
pub(crate) struct FlushState {
    /// A generation on its way to the table; kept when a flush fails, and tried again.
    pub(crate) sealed: Option<Sealed>,
    /// The last offsets of recent commits, oldest first: how far the log may be trimmed.
    pub(crate) commits: VecDeque<Offset>,
    /// Since when the active generation has had something to flush.
    pub(crate) waiting_since: Option<Instant>,
    /// After a failure: until when nothing is tried but what somebody has asked for.
    pub(crate) rest: Option<Rest>,
}

/// The time between a flush that failed and the next try. Each costs as much as one that succeeds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rest {
    since: Instant,
    pub(crate) length: Duration,
}

impl Rest {
    /// After one more failure.
    pub(crate) fn after(earlier: Option<Self>) -> Self {
        let length = earlier.map_or(REST_MIN, |earlier| (earlier.length * 2).min(REST_MAX));
        Self { since: Instant::now(), length }
    }

    pub(crate) fn is_over(self) -> bool {
        self.since.elapsed() >= self.length
    }
}

/// A generation that takes no more rows, with the ledger as of its last offset.
#[derive(Clone)]
pub(crate) struct Sealed {
    pub(crate) generation: Arc<Generation>,
    pub(crate) ledger: Ledger,
    pub(crate) last: Offset,
    /// Its events, once they are written.
    pub(crate) events: Arc<Mutex<Option<Written>>>,
    /// Its rejections, once they are written.
    pub(crate) rejections: Arc<Mutex<Option<Written>>>,
}

/// Durable files whose commit failed, or has not been tried yet: the next try commits the same ones.
pub(crate) struct Written {
    /// Where the table ended when they were written: they hold what comes behind it.
    pub(crate) behind: Offset,
    /// One for each day.
    pub(crate) files: Vec<NewFile>,
    /// False while some days are still to be written.
    pub(crate) is_whole: bool,
}

impl Partition {
    pub(crate) fn new(
        id: PartitionId,
        log: SharedLog,
        state: ApplyState,
        dedup: DedupHistory,
        backlog_rows: usize,
    ) -> Self {
        let applied = state.applied();
        Self {
            id,
            log,
            state: Mutex::new(state),
            dedup,
            waiters: Waiters::default(),
            backlog: Mutex::new(Backlog::new(id, backlog_rows, applied)),
            flush: Mutex::new(FlushState::default()),
            applied: AtomicU64::new(applied.0),
        }
    }

    pub(crate) fn applied(&self) -> Offset {
        Offset(self.applied.load(Ordering::Acquire))
    }

    pub(crate) fn set_applied(&self, applied: Offset) {
        self.applied.store(applied.0, Ordering::Release);
    }
}
