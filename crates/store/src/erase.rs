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

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use arrow::array::RecordBatch;
use eye_fault::{CrashPoint, Sabotage, crash_point, sabotaged};
use eye_log::{Offset, PartitionId};

use crate::columns::{Columns, EventRows, RejectionRows};
use crate::error::{Error, Kind, Result};
use crate::event::{StoredEvent, StoredRejection};
use crate::invariants;
use crate::mask::{Mask, Offsets};
use crate::snapshot::Snapshot;
use crate::store::{Shared, Store};
use crate::table::{Cleared, Compaction, Erasure, ErasureState, ErasureWork, Table, Why};

/// How often a change of the table begins anew because another writer was quicker.
const CONFLICTS_MAX: usize = 8;
/// Files that are written again in one commit.
const FILES_AT_ONCE: usize = 16;
/// Between two looks at whether apply has come far enough.
const TICK: Duration = Duration::from_millis(1);

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
    /// read by somebody, or the store ends. Blocks.
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

    /// A run of the store's own thread. A failure is reported and tried again.
    pub(crate) fn erase_due(&self) -> Result<bool> {
        self.run_erasures().inspect_err(|error| tracing::error!(%error, "an erasure failed: it will be tried again"))
    }

    /// Each in its turn: one that fails, or waits for somebody, keeps no other from being carried out.
    fn run_erasures(&self) -> Result<bool> {
        let running: Vec<(String, Arc<Mask>)> = {
            let jobs = self.erasures.lock();
            let running = jobs.iter().filter(|job| job.erasure.is_running());
            running.map(|job| (job.erasure.id.clone(), Arc::clone(&job.mask))).collect()
        };
        let mut failed = None;
        for (id, mask) in running {
            let error = self.run_erasure(&id, &mask).err();
            let text = error.as_ref().map(ToString::to_string);
            self.note(&id, |job| job.erasure.last_error = text);
            failed = failed.or(error);
        }
        match failed {
            Some(error) => Err(error),
            None => Ok(self.running_erasures().is_empty()),
        }
    }

    pub(crate) fn running_erasures(&self) -> Vec<Erasure> {
        let jobs = self.erasures.lock();
        jobs.iter().filter(|job| job.erasure.is_running()).map(|job| job.erasure.clone()).collect()
    }

    fn note(&self, id: &str, change: impl FnOnce(&mut Job)) {
        if let Some(job) = self.erasures.lock().iter_mut().find(|job| job.erasure.id == id) {
            change(job);
        }
    }

    fn goes_on(&self) -> bool {
        !self.is_ending() && self.cancelling.load(Ordering::Acquire) == 0
    }

    /// True if it is done; false if it must wait, or stop.
    fn run_erasure(&self, id: &str, mask: &Mask) -> Result<bool> {
        let _one = self.compacting.lock();
        let Some(mut erasure) = self.erasure(id).filter(Erasure::is_running) else { return Ok(true) };
        let is_rewritten = self.erasures.lock().iter().any(|job| job.erasure.id == id && job.cuts.is_some());
        if !is_rewritten {
            let mut conflicts = 0;
            loop {
                match self.rewrite_erased(id, mask) {
                    Ok(true) => break,
                    Ok(false) => return Ok(false),
                    // An earlier try whose answer was lost has taken effect: what is left is looked for anew.
                    Err(error) if error.kind() == Kind::Conflict && conflicts < CONFLICTS_MAX => {
                        self.healthy()?;
                        conflicts += 1;
                    }
                    Err(error) => return Err(error),
                }
            }
            crash_point(CrashPoint::EraseRewritten);
            let Some(cuts) = self.cut_logs()? else { return Ok(false) };
            self.trim_to(&cuts)?;
            crash_point(CrashPoint::EraseTrimmed);
            self.note(id, |job| job.cuts = Some(cuts));
        }
        if !self.clear_old_versions(id)? {
            return Ok(false);
        }
        crash_point(CrashPoint::EraseBeforeDone);
        erasure.work = self.erasure(id).map(|erasure| erasure.work).unwrap_or_default();
        erasure.state = ErasureState::Done;
        self.end_erasure(&mut erasure)?;
        tracing::info!(id, events = erasure.events, rejections = erasure.rejections, "an erasure is done");
        Ok(true)
    }

    /// Takes the rows out of the newest version of both tables. False if it must stop.
    fn rewrite_erased(&self, id: &str, mask: &Mask) -> Result<bool> {
        let files = self.events.current().files.len() + self.rejections.current().files.len();
        self.note(id, |job| {
            (job.erasure.work.files, job.erasure.work.files_looked_at) = (files as u64, 0);
        });
        for (table, offsets) in [(&self.events, &mask.events), (&self.rejections, &mask.rejections)] {
            let done = |change: &Compaction| {
                self.note(id, |job| {
                    let work = &mut job.erasure.work;
                    work.rows += change.rows_taken();
                    work.files_rewritten += change.removed().len() as u64;
                    work.bytes_before += change.removed().iter().map(|file| file.bytes).sum::<u64>();
                    work.bytes_after += change.added().iter().map(|new| new.file().bytes).sum::<u64>();
                });
            };
            let looked = || self.note(id, |job| job.erasure.work.files_looked_at += 1);
            let mut batch: Option<Compaction> = None;
            let current = table.current();
            let skipped = usize::from(sabotaged(Sabotage::EraseSkipsNewest));
            for file in &current.files[..current.files.len().saturating_sub(skipped)] {
                if !self.goes_on() {
                    return Ok(false);
                }
                if file.holds(offsets)? {
                    self.room_for(table)?;
                    let goes = |rows: &RecordBatch| offsets.choose(file.partition, rows);
                    let Some(change) = table.without(file, Why::Erased, &goes, &|| self.goes_on())? else {
                        return Ok(false);
                    };
                    let all = match batch.take() {
                        Some(earlier) => earlier.and(change),
                        None => change,
                    };
                    if all.removed().len() >= FILES_AT_ONCE {
                        self.take_out(table, &all)?;
                        done(&all);
                    } else {
                        batch = Some(all);
                    }
                }
                looked();
            }
            if let Some(all) = batch {
                self.take_out(table, &all)?;
                done(&all);
            }
        }
        Ok(true)
    }

    /// Commits a change of rows and shows it.
    pub(crate) fn take_out(&self, table: &Table, change: &Compaction) -> Result<()> {
        crash_point(CrashPoint::RemovalFilesWritten);
        if self.put_in_place(table, change, CrashPoint::RemovalBeforeSwap)? {
            return Ok(());
        }
        Err(Error::new(Kind::Unavailable, "the service is stopping"))
    }

    /// `Full` if there is not enough room to write files again.
    pub(crate) fn room_for(&self, table: &Table) -> Result<()> {
        match table.free_bytes().filter(|free| *free < self.settings.compaction_disk_reserve) {
            None => Ok(()),
            Some(free) => Err(Error::new(
                Kind::Full,
                format!(
                    "only {free} bytes are free where the table lies: no file is written again until there is room"
                ),
            )),
        }
    }

    /// Cuts the logs and flushes up to the cuts, then makes one more commit: the newest one holds nothing then that would
    /// have to come from the log again. `None` if it must stop.
    fn cut_logs(&self) -> Result<Option<Vec<Offset>>> {
        let cuts = self.partitions.iter().map(|partition| Ok(partition.log.cut()?)).collect::<Result<Vec<_>>>()?;
        for (partition, cut) in self.partitions.iter().zip(&cuts) {
            while partition.applied() < cut.previous() {
                self.healthy()?;
                if !self.goes_on() {
                    return Ok(None);
                }
                std::thread::sleep(TICK);
            }
        }
        self.flush_all()?;
        for table in [&self.events, &self.rejections] {
            if !self.commit_nothing(table)? {
                return Ok(None);
            }
        }
        Ok(Some(cuts))
    }

    /// Makes a version with the rows of the one before. False if the store ends.
    fn commit_nothing(&self, table: &Table) -> Result<bool> {
        let mut tries = 0;
        loop {
            let nothing = Compaction::nothing(table.current().maintenance);
            match self.put_in_place(table, &nothing, CrashPoint::RemovalBeforeSwap) {
                Err(error) if error.kind() == Kind::Conflict && tries < CONFLICTS_MAX => tries += 1,
                done => return done,
            }
        }
    }

    fn trim_to(&self, cuts: &[Offset]) -> Result<()> {
        for (partition, cut) in self.partitions.iter().zip(cuts) {
            if sabotaged(Sabotage::EraseKeepsLog) {
                break;
            }
            let flushed = self.events.current().flushed(partition.id);
            invariants::trim_follows_flush(flushed, *cut)?;
            partition.log.trim(*cut)?;
        }
        Ok(())
    }

    /// Removes what older versions hold. False if somebody still reads some of it.
    fn clear_old_versions(&self, id: &str) -> Result<bool> {
        // What of the dedup window is not in memory yet is still to be read from the files of an older version.
        self.recall_window()?;
        let bounds: Vec<Offset> =
            self.partitions.iter().map(|partition| self.events.current().flushed(partition.id)).collect();
        let bound = |partition: PartitionId| bounds.get(usize::from(partition.0)).copied().unwrap_or_default();
        let tables = [&self.events, &self.rejections];
        let held: u64 = tables.iter().map(|table| table.count_held(&bound)).sum();
        self.note(id, |job| job.erasure.work.old_files_held = held);
        if held > 0 {
            return Ok(false);
        }
        // The newest commit may be of a compaction, or one whose answer was lost may land: files that it replaced must stay
        // for as long as it may be lost itself. What follows here replaces none, and takes the number of a late one.
        for table in tables {
            if !self.commit_nothing(table)? {
                return Ok(false);
            }
        }
        let mut cleared = Cleared::default();
        for table in tables {
            let Cleared { files, bytes, held } = table.clear_unlisted(&bound)?;
            cleared.files += files;
            cleared.bytes += bytes;
            cleared.held += held;
        }
        self.note(id, |job| {
            job.erasure.work.old_files_removed += cleared.files;
            job.erasure.work.old_files_held = cleared.held;
        });
        if cleared.held > 0 {
            return Ok(false);
        }
        // Of older versions too, which nobody has any more.
        tables.iter().for_each(|table| table.forget_kept());
        // While nobody writes a file.
        let flushes: Vec<_> = self.partitions.iter().map(|partition| partition.flush.lock()).collect();
        for table in [&self.events, &self.rejections] {
            table.clear_staged()?;
        }
        drop(flushes);
        Ok(true)
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
