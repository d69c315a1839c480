//! What is accepted is carried out: everything is written again without the rows, and whatever held them goes.
//!
//! The order is the promise of the module above. The rule: every step may be done twice, because after a crash, or after an
//! answer that was lost, all of them are. And whoever carries one out keeps all other maintenance waiting, so it does not
//! wait itself for what may take for ever (a reader, a disk that is away): it stops, and is tried again.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use arrow::array::RecordBatch;
use eye_fault::{CrashPoint, Sabotage, crash_point, sabotaged};
use eye_log::{Offset, PartitionId};

use super::Job;
use crate::error::{Error, Kind, Result};
use crate::invariants;
use crate::mask::Mask;
use crate::store::Shared;
use crate::table::{Cleared, Compaction, Erasure, ErasureState, Table, Why};

/// How often a change of the table begins anew because another writer was quicker.
const CONFLICTS_MAX: usize = 8;
/// Files that are written again in one commit.
const FILES_AT_ONCE: usize = 16;
/// Between two looks at whether apply has come far enough.
const TICK: Duration = Duration::from_millis(1);

impl Shared {
    /// A run of the store's own thread. A failure is reported and tried again.
    pub(crate) fn erase_due(&self) -> Result<bool> {
        self.run_erasures().inspect_err(|error| tracing::error!(%error, "an erasure failed: it will be tried again"))
    }

    /// Each in its turn: one that fails, or waits for somebody, keeps no other from being carried out.
    pub(super) fn run_erasures(&self) -> Result<bool> {
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
    /// have to come from the log again. `None` if it must stop, or apply waits for a disk that is away.
    fn cut_logs(&self) -> Result<Option<Vec<Offset>>> {
        let cuts = self.partitions.iter().map(|partition| Ok(partition.log.cut()?)).collect::<Result<Vec<_>>>()?;
        for (partition, cut) in self.partitions.iter().zip(&cuts) {
            while partition.applied() < cut.previous() {
                self.healthy()?;
                if !self.goes_on() || self.outages.is_any() {
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
    pub(super) fn commit_nothing(&self, table: &Table) -> Result<bool> {
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
        let is_recalled = self.recall_window_now(&|| self.goes_on())?;
        let bounds: Vec<Offset> =
            self.partitions.iter().map(|partition| self.events.current().flushed(partition.id)).collect();
        let bound = |partition: PartitionId| bounds.get(usize::from(partition.0)).copied().unwrap_or_default();
        let tables = [&self.events, &self.rejections];
        let held: u64 = tables.iter().map(|table| table.count_held(&bound)).sum();
        self.note(id, |job| job.erasure.work.old_files_held = held);
        if held > 0 || !is_recalled {
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
