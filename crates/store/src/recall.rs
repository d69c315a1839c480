//! The dedup window, read back from the table while the store is open.
//!
//! Opening reads none of it, so a start takes no longer as the window grows. The rule: before an event is decided, every
//! id of its session that the window covers is known. So the first event of a session reads that session's ids (blooms,
//! then one or two pages), while a thread reads all the rest, newest files first.
//!
//! What cannot be read for a while is tried again, and what needs it waits. [`Outages`] knows who waits and why: the store
//! says that it is not ready, and nobody who keeps others waiting waits too.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::thread::ThreadId;
use std::time::{Duration, Instant};

use ahash::RandomState;
use arrow::array::RecordBatch;
use eye_event::Timestamp;
use eye_log::PartitionId;
use parking_lot::Mutex;

use crate::columns::{Columns, EventRows};
use crate::dedup::DedupWindow;
use crate::error::{Error, Kind, Result};
use crate::settings::StoreSettings;
use crate::table::{TableFile, TableVersion};

/// `received_at` may be a little out of order; the window is read from this much further back.
const SLACK_MICROS: i64 = 3_600_000_000;
/// A read that has failed for so long makes the store say that it is not ready.
const OUTAGE_SHOWN_AFTER: Duration = Duration::from_secs(5);
/// How often one that goes on failing is logged.
const OUTAGE_LOGGED_EVERY: Duration = Duration::from_secs(10);

/// What of the window is still only in the table. One per partition.
#[derive(Debug)]
pub(crate) struct Recall {
    /// Oldest first.
    files: Arc<[Arc<TableFile>]>,
    /// How many of them, the oldest, are not read yet.
    left: usize,
    /// Earlier rows are outside the window.
    from: Timestamp,
    /// Sessions whose ids are all known already.
    known: HashSet<Box<str>, RandomState>,
}

impl Recall {
    /// The columns that hold an identity.
    pub(crate) fn columns() -> Columns {
        Columns::APPLICATION | Columns::SESSION_ID | Columns::EVENT_ID | Columns::RECEIVED_AT | Columns::PARTITION
    }

    /// Of this version of the table; `None` if the window has nothing of it. No more files than have `dedup_ids_max` rows,
    /// the newest: the window holds no more ids.
    pub(crate) fn new(settings: &StoreSettings, version: &TableVersion, partition: PartitionId) -> Option<Self> {
        let ours = || version.files.iter().filter(|file| file.partition == partition);
        // By the last arrival, not by the latest time: the clock may have been ahead once, and its mistake must not
        // make what came after it look old.
        let newest = ours().max_by_key(|file| file.offset_max)?.received_min;
        let window = i64::try_from(settings.dedup_window.as_micros()).unwrap_or(i64::MAX);
        let from = Timestamp::from_micros(newest.micros().saturating_sub(window).saturating_sub(SLACK_MICROS));
        let mut files: Vec<_> = ours().filter(|file| file.received_max >= from).cloned().collect();
        files.sort_by_key(|file| (file.received_min, file.offset_min));
        let mut rows = 0;
        let newest = files.iter().rev().take_while(|file| {
            let fits = rows < settings.dedup_ids_max as u64;
            rows += file.rows;
            fits
        });
        let old = files.len() - newest.count();
        files.drain(..old);
        (!files.is_empty()).then(|| Self { left: files.len(), files: files.into(), from, known: HashSet::default() })
    }

    /// Rows not read yet.
    pub(crate) fn rows(&self) -> u64 {
        self.files[..self.left].iter().map(|file| file.rows).sum()
    }

    /// True if every id of this session is known.
    pub(crate) fn knows(&self, session_id: &str) -> bool {
        self.known.contains(session_id)
    }

    /// What has to be read to know every id of a session, newest first.
    pub(crate) fn files(&self) -> impl Iterator<Item = Arc<TableFile>> + use<> {
        let (files, left) = (Arc::clone(&self.files), self.left);
        (0..left).rev().map(move |index| Arc::clone(&files[index]))
    }

    /// All that [`Recall::files`] have of this session is known.
    pub(crate) fn session_is_known(&mut self, session_id: &str) {
        self.known.insert(session_id.into());
    }

    /// Makes the ids of these rows known.
    ///
    /// # Errors
    /// A column of another type than this program writes.
    pub(crate) fn rows_of(&self, batch: &RecordBatch, window: &mut DedupWindow) -> Result<()> {
        for row in EventRows::new(batch)?.iter().filter(|row| row.received_at >= self.from) {
            window.recall(row.application, row.event.session_id, row.event.event_id, row.received_at);
        }
        Ok(())
    }

    /// The newest file not read yet.
    pub(crate) fn newest(&self) -> Option<Arc<TableFile>> {
        self.files().next()
    }

    /// The newest file has been read. True if there is none left.
    pub(crate) fn newest_is_known(&mut self) -> bool {
        self.left = self.left.saturating_sub(1);
        self.left == 0
    }
}

/// Reads of the window that fail now and are tried again until they do not: at most one of each thread.
#[derive(Debug, Default)]
pub(crate) struct Outages(Mutex<HashMap<ThreadId, Outage>>);

#[derive(Debug)]
struct Outage {
    since: Instant,
    /// The same for people.
    at: Timestamp,
    logged: Instant,
    error: Error,
}

impl Outages {
    /// The calling thread's read has failed, for the first time or again. The first time is logged, then now and then.
    pub(crate) fn note(&self, error: &Error, at: Timestamp) {
        let now = Instant::now();
        let mut outages = self.0.lock();
        let mut is_new = false;
        let outage = outages.entry(std::thread::current().id()).or_insert_with(|| {
            is_new = true;
            Outage { since: now, at, logged: now, error: error.clone() }
        });
        outage.error = error.clone();
        if is_new || now.duration_since(outage.logged) >= OUTAGE_LOGGED_EVERY {
            outage.logged = now;
            tracing::warn!(%error, since = %outage.at, "the dedup window cannot be read back: trying again");
        }
    }

    /// The calling thread has read what it wanted, or tries no more.
    pub(crate) fn end(&self) {
        self.0.lock().remove(&std::thread::current().id());
    }

    /// True while somebody waits.
    pub(crate) fn is_any(&self) -> bool {
        !self.0.lock().is_empty()
    }

    /// `Unavailable` with the reason if somebody has waited for a while: of a moment nobody needs to know.
    pub(crate) fn none_lasts(&self) -> Result<()> {
        let outages = self.0.lock();
        let Some(outage) = outages.values().min_by_key(|outage| outage.since) else { return Ok(()) };
        if outage.since.elapsed() < OUTAGE_SHOWN_AFTER {
            return Ok(());
        }
        let Outage { at, error, .. } = outage;
        let detail = format!("the dedup window cannot be read back: {error} (tried again and again since {at})");
        Err(Error::new(Kind::Unavailable, detail))
    }
}
