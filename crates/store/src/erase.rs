//! Erasures: what somebody wants gone is hidden at once, and then taken out of everything that holds it.
//!
//! The order is the promise: everything acknowledged so far is flushed → the rows are chosen, by their offsets → the choice
//! is durable → readers see them no more, and the erasure is accepted. From there it goes on whatever happens: files are
//! written again without the rows → the log is cut and flushed up to the cut → one more commit, so that the newest one may
//! be lost without harm → the log is trimmed up to the cut → files of older versions are removed, as soon as nobody in this
//! process reads them → it is written down that it is done. Every step may be done twice; after a crash all of them are.
//!
//! What arrives after the flush is not chosen. The dedup window goes on knowing the ids of erased events until they are too
//! old or the process ends: a client that sends one again meanwhile does not bring it back. Nothing of that is on a disk.
//!
//! Here erasures are accepted and cancelled; `run` carries them out.

mod run;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use arrow::array::RecordBatch;
use eye_fault::{CrashPoint, Sabotage, crash_point, sabotaged};
use eye_log::Offset;

use crate::columns::{Columns, EventRows, RejectionRows};
use crate::error::{Error, Kind, Result};
use crate::event::{StoredEvent, StoredRejection};
use crate::mask::{Mask, Offsets};
use crate::snapshot::Snapshot;
use crate::store::{Shared, Store};
use crate::table::{Erasure, ErasureState, ErasureWork};

/// Which rows are to be erased.
pub struct Selection<'a> {
    /// Names the erasure: [`Erasure::fresh_id`].
    pub id: String,
    /// By what they are chosen, for people: names of fields, never their values.
    pub criteria: Vec<String>,
    /// The columns that `event` reads.
    pub columns: Columns,
    /// If all of them are of one session: which.
    pub session_id: Option<&'a str>,
    /// Chooses an event.
    pub event: &'a dyn Fn(&StoredEvent<'_>) -> bool,
    /// Chooses a rejection.
    pub rejection: &'a dyn Fn(&StoredRejection<'_>) -> bool,
}

/// What an erasure would choose.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ErasurePreview {
    /// Events.
    pub events: u64,
    /// Rejections.
    pub rejections: u64,
    /// Files of the tables that hold some of them.
    pub files: u64,
    /// Bytes of these files: what has to be written again at most.
    pub bytes: u64,
}

/// An erasure of this process.
pub(crate) struct Job {
    erasure: Erasure,
    mask: Arc<Mask>,
    /// Where the log was cut, once the newest version and the log hold nothing any more.
    cuts: Option<Vec<Offset>>,
}

impl Job {
    pub(crate) fn new(erasure: Erasure, mask: Mask) -> Self {
        Self { erasure, mask: Arc::new(mask), cuts: None }
    }

    pub(crate) fn mask(&self) -> &Mask {
        &self.mask
    }

    /// The newest version whose answers may lack rows that are seen again; `None` of an erasure that was not cancelled.
    pub(crate) fn shown_again_after(&self) -> Option<u64> {
        (self.erasure.state == ErasureState::Cancelled).then_some(self.erasure.work.version)
    }
}

impl Store {
    /// Accepts an erasure: when this returns, nobody sees what it chose, and it will be carried out whatever happens.
    /// Everything acknowledged before the call is looked at; what arrives later is not. Blocks for a flush and a look at
    /// every row that may be meant.
    ///
    /// # Errors
    /// `Busy`, `Full`, `Unavailable`: it is not accepted, unless its write was carried out and only the answer was lost; the
    /// next start then finds it.
    pub fn erase(&self, selection: &Selection<'_>) -> Result<Erasure> {
        self.shared.accept_erasure(selection)
    }

    /// What [`Store::erase`] would choose now. Changes nothing but that the hot buffer is flushed.
    ///
    /// # Errors
    /// As there.
    pub fn preview_erasure(&self, selection: &Selection<'_>) -> Result<ErasurePreview> {
        self.shared.flush_all()?;
        let snapshot = self.snapshot();
        let mask = choose(&snapshot, selection)?;
        let (events, rejections) = mask.rows_without(&snapshot.mask);
        let mut preview = ErasurePreview { events, rejections, ..ErasurePreview::default() };
        for (version, offsets) in [(&snapshot.events, &mask.events), (&snapshot.rejections, &mask.rejections)] {
            for file in &version.files {
                if file.holds(offsets)? {
                    preview.files += 1;
                    preview.bytes += file.bytes;
                }
            }
        }
        Ok(preview)
    }

    /// Every erasure, the newest first.
    #[must_use]
    pub fn erasures(&self) -> Vec<Erasure> {
        self.shared.erasures.lock().iter().rev().map(|job| job.erasure.clone()).collect()
    }

    /// Stops an erasure: rows that are not taken out yet are seen again. `None` if there is none of this id. One that is at
    /// its end stays as it is.
    ///
    /// # Errors
    /// `Full` or `Unavailable` if it cannot be written down: it goes on.
    pub fn cancel_erasure(&self, id: &str) -> Result<Option<Erasure>> {
        self.shared.cancel_erasure(id)
    }

    /// Carries out what is accepted, as the store's own thread does. True if nothing is left to do; false if files are still
    /// read by somebody, the dedup window is still being read back, or the store ends. Blocks, but for nothing that may take
    /// for ever.
    ///
    /// # Errors
    /// Why it failed; it is tried again by whoever calls next.
    pub fn run_erasures_blocking(&self) -> Result<bool> {
        self.shared.run_erasures()
    }
}

impl Shared {
    fn accept_erasure(&self, selection: &Selection<'_>) -> Result<Erasure> {
        self.healthy()?;
        if self.is_ending() {
            return Err(Error::new(Kind::Unavailable, "the service is stopping: send this again in a moment"));
        }
        // So that no row is counted by two. It is hidden by both: either may be cancelled.
        let _one = self.accepting.lock();
        // Whoever was before may have taken long.
        self.healthy()?;
        self.flush_all()?;
        let snapshot = self.snapshot();
        let mask = choose(&snapshot, selection)?;
        let (events, rejections) = mask.rows_without(&snapshot.mask);
        let erasure = Erasure {
            id: selection.id.clone(),
            accepted_at: (self.now)(),
            criteria: selection.criteria.clone(),
            bound: snapshot.flushed().to_string(),
            events,
            rejections,
            state: ErasureState::Running,
            finished_at: None,
            work: ErasureWork::default(),
            last_error: None,
        };
        if !sabotaged(Sabotage::EraseNotNoted) {
            self.events.want_erasure(&erasure, &mask)?;
        }
        crash_point(CrashPoint::EraseAccepted);
        for partition in &self.partitions {
            partition.backlog.lock().forget(&mask.events);
        }
        let mut jobs = self.erasures.lock();
        jobs.push(Job::new(erasure.clone(), mask));
        if !sabotaged(Sabotage::EraseHidesLate) {
            self.show_mask(&jobs);
        }
        Ok(erasure)
    }

    /// From now on readers see no row of an erasure that is not done.
    fn show_mask(&self, jobs: &[Job]) {
        let running = jobs.iter().filter(|job| job.erasure.is_running());
        let mask = Mask::of_all(running.map(|job| &*job.mask));
        self.view.write().mask = Arc::new(mask);
    }

    fn cancel_erasure(&self, id: &str) -> Result<Option<Erasure>> {
        if self.erasure(id).is_none() {
            return Ok(None);
        }
        // Asked first, so that it stops soon; then nothing of it is under way.
        self.cancelling.fetch_add(1, Ordering::AcqRel);
        let _one = self.compacting.lock();
        self.cancelling.fetch_sub(1, Ordering::AcqRel);
        let Some(mut erasure) = self.erasure(id) else { return Ok(None) };
        if erasure.is_running() {
            erasure.state = ErasureState::Cancelled;
            // From reading the version until the rows are seen no flush may publish one: its answers would lack the rows.
            let flushes: Vec<_> = self.partitions.iter().map(|partition| partition.flush.lock()).collect();
            let ended = self.end_erasure(&mut erasure);
            drop(flushes);
            self.pass_hidden_versions();
            ended?;
        }
        Ok(Some(erasure))
    }

    /// Answers that lack rows which are seen again name versions up to one: the newest is to be behind it. Not being able to
    /// is no failure: until it is, answers cannot be given again. The lock of maintenance must be held.
    fn pass_hidden_versions(&self) {
        let shown_again = self.erasures.lock().iter().filter_map(Job::shown_again_after).max();
        if shown_again.is_none_or(|version| version < self.events.current().version) {
            return;
        }
        match self.commit_nothing(&self.events) {
            Ok(true) => {}
            Ok(false) => tracing::warn!("no version after a cancelled erasure: the store ends"),
            Err(error) => {
                tracing::warn!(%error, "no version after a cancelled erasure: answers cannot be given again until there is one")
            }
        }
    }

    /// [`Shared::pass_hidden_versions`] of a store that was just opened.
    pub(crate) fn pass_hidden_versions_at_open(&self) {
        let _one = self.compacting.lock();
        self.pass_hidden_versions();
    }

    fn erasure(&self, id: &str) -> Option<Erasure> {
        self.erasures.lock().iter().find(|job| job.erasure.id == id).map(|job| job.erasure.clone())
    }

    /// Writes down that an erasure is at its end.
    fn end_erasure(&self, erasure: &mut Erasure) -> Result<()> {
        erasure.finished_at = Some((self.now)());
        erasure.last_error = None;
        let version = self.view.read().events.version;
        erasure.work.version = version;
        *erasure = self.events.finish_erasure(erasure)?;
        // Of an earlier try it is the version of then, and rows were hidden until now.
        erasure.work.version = erasure.work.version.max(version);
        crash_point(CrashPoint::EraseNoted);
        let mut jobs = self.erasures.lock();
        if let Some(job) = jobs.iter_mut().find(|job| job.erasure.id == erasure.id) {
            job.erasure = erasure.clone();
            job.mask = Arc::default();
        }
        self.show_mask(&jobs);
        drop(jobs);
        self.events.forget_wanted(&erasure.id)
    }

    pub(crate) fn running_erasures(&self) -> Vec<Erasure> {
        let jobs = self.erasures.lock();
        jobs.iter().filter(|job| job.erasure.is_running()).map(|job| job.erasure.clone()).collect()
    }
}

/// The rows of the tables that are chosen, those too that are hidden already. The hot buffer is not looked at.
fn choose(snapshot: &Snapshot, selection: &Selection<'_>) -> Result<Mask> {
    let mut mask = Mask::default();
    let columns = selection.columns | Columns::OFFSET | Columns::PARTITION;
    for file in &snapshot.events.files {
        let batches: Vec<_> = match selection.session_id {
            Some(session_id) => file.session(session_id, columns | Columns::SESSION_ID)?.into_iter().map(Ok).collect(),
            None => Vec::new(),
        };
        let groups = if selection.session_id.is_some() { Vec::new() } else { file.row_groups()? };
        let batches = batches.into_iter().chain(groups.iter().map(|group| file.read(group.index, columns, None)));
        for batch in batches {
            take_events(&batch?, selection, &mut mask.events)?;
        }
    }
    for file in &snapshot.rejections.files {
        for group in file.row_groups()? {
            let batch = file.read_all(group.index)?;
            for row in RejectionRows::new(&batch)?.iter() {
                if (selection.rejection)(&row) {
                    mask.rejections.insert(row.partition, row.offset);
                }
            }
        }
    }
    Ok(mask)
}

fn take_events(batch: &RecordBatch, selection: &Selection<'_>, chosen: &mut Offsets) -> Result<()> {
    let rows = EventRows::new(batch)?;
    for row in (0..rows.len()).map(|index| rows.row(index)) {
        if (selection.event)(&row) {
            chosen.insert(row.partition, row.offset);
            if sabotaged(Sabotage::EraseOneTooMany) {
                chosen.insert(row.partition, row.offset.plus(1));
            }
        }
    }
    Ok(())
}
