//! Small files of the table are merged, and files that nobody needs any more go; beside everything else.
//!
//! The order is the promise: the merged file is durable and read back → one commit puts it in the place of the old files →
//! the view is swapped → much later a vacuum removes the old ones. A crash between any two steps leaves the table as it
//! was or as it is to be; an unreferenced file is only garbage. Files are read and written without any lock; only for
//! the commit itself flushes wait, because the view must not get a version whose rows are still in the hot buffer.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use eye_event::Timestamp;
use eye_fault::{CrashPoint, crash_point};

use crate::error::{Error, Kind, Result};
use crate::store::Shared;
use crate::table::{Compaction, CompactionRules, Table, TableFile, TableVersion, UNREAD_MAX, VacuumRules, Vacuumed};

/// The least time between two vacuums of the store's own thread: each lists the whole table.
pub const VACUUM_EVERY: Duration = Duration::from_secs(60 * 60);
/// How often a run begins anew because another writer has compacted meanwhile.
const CONFLICTS_MAX: usize = 8;
/// How often a run looks again what has become mergeable by what it merged.
const PASSES_MAX: usize = 64;

/// Asked between two steps: whether there is time for one more.
type GoesOn<'a> = &'a dyn Fn() -> bool;

/// How much is merged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Eagerness {
    /// What the settings say.
    WhatIsDue,
    /// All that can be, as if every day were over.
    Everything,
}

/// What a compaction did, of events and rejections together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CompactReport {
    /// The events table's version afterwards.
    pub version: u64,
    /// Files of the tables before.
    pub files_before: u64,
    /// Files of the tables afterwards.
    pub files_after: u64,
    /// Rows that were written again.
    pub rows: u64,
    /// Files that were replaced.
    pub files_in: u64,
    /// Files that took their place.
    pub files_out: u64,
    /// Bytes of the files that were replaced.
    pub bytes_in: u64,
    /// Bytes of the files that took their place.
    pub bytes_out: u64,
    /// Files that nobody needed any more and that were removed.
    pub vacuumed_files: u64,
    /// Their bytes.
    pub vacuumed_bytes: u64,
    /// False if time was over, or the store ends, before everything was looked at: there may be more to do.
    pub is_complete: bool,
}

impl CompactReport {
    fn add(&mut self, done: &Compaction) {
        self.rows += done.removed().iter().map(|file| file.rows).sum::<u64>();
        self.files_in += done.removed().len() as u64;
        self.files_out += done.added().len() as u64;
        self.bytes_in += done.removed().iter().map(|file| file.bytes).sum::<u64>();
        self.bytes_out += done.added().iter().map(|file| file.file().bytes).sum::<u64>();
    }
}

/// What compactions have done since the start.
#[derive(Clone, Debug, Default)]
pub struct CompactionFigures {
    /// Runs that ended well, those that found nothing to do too.
    pub runs: u64,
    /// Runs that failed.
    pub failures: u64,
    /// Files that were replaced.
    pub files_in: u64,
    /// Files that took their place.
    pub files_out: u64,
    /// Bytes of the files that were replaced.
    pub bytes_in: u64,
    /// Bytes of the files that took their place.
    pub bytes_out: u64,
    /// Files that nobody needed any more and that were removed.
    pub vacuumed_files: u64,
    /// When a run ended well last.
    pub last_success: Option<Timestamp>,
    /// Why the last run failed, if it did.
    pub last_error: Option<String>,
    vacuumed: Option<Instant>,
}

/// What has gone wrong with single files in a run over one table, and did not end it.
#[derive(Default)]
struct Setbacks {
    /// The first of it.
    error: Option<Error>,
    /// Files that could not be read, though nothing says that they are damaged.
    unread: usize,
    conflicts: usize,
}

/// Counts a run as failed unless it ends, so that a panic is counted too.
struct Run<'a> {
    shared: &'a Shared,
    report: CompactReport,
    result: Result<()>,
}

impl Drop for Run<'_> {
    fn drop(&mut self) {
        let mut figures = self.shared.compaction.lock();
        figures.files_in += self.report.files_in;
        figures.files_out += self.report.files_out;
        figures.bytes_in += self.report.bytes_in;
        figures.bytes_out += self.report.bytes_out;
        figures.vacuumed_files += self.report.vacuumed_files;
        match &self.result {
            Ok(()) => {
                figures.runs += 1;
                figures.last_success = Some((self.shared.now)());
            }
            Err(_) => figures.failures += 1,
        }
        figures.last_error = self.result.as_ref().err().map(ToString::to_string);
    }
}

impl Shared {
    /// A run of the store's own thread. A failure is reported and tried again next time.
    pub(crate) fn compact_due(&self) {
        match self.compact(Eagerness::WhatIsDue, Duration::MAX) {
            Ok(done) if done.files_in + done.vacuumed_files > 0 => tracing::info!(
                files_in = done.files_in,
                files_out = done.files_out,
                rows = done.rows,
                vacuumed = done.vacuumed_files,
                "compacted"
            ),
            Ok(_) => {}
            Err(error) => tracing::error!(%error, "compaction failed: it will be tried again"),
        }
    }

    /// Merges what there is to merge, then removes what nobody needs. Ends early when the store does or `limit` is over.
    pub(crate) fn compact(&self, how: Eagerness, limit: Duration) -> Result<CompactReport> {
        self.healthy()?;
        let until = Instant::now().checked_add(limit);
        let goes_on = || !self.is_ending() && until.is_none_or(|until| Instant::now() < until);
        let Some(_one) = self.compacting.try_lock_for(limit) else {
            return Err(Error::new(Kind::Busy, "a compaction is under way already: try again later"));
        };
        let panicked = Err(Error::new(Kind::Internal, "it panicked"));
        let mut run = Run { shared: self, report: CompactReport::default(), result: panicked };
        run.report.files_before = self.table_files();
        let result = self.compact_and_vacuum(how, &goes_on, &mut run.report);
        run.report.is_complete = result.is_ok() && goes_on();
        run.report.files_after = self.table_files();
        run.report.version = self.view.read().events.version;
        run.result.clone_from(&result);
        result.map(|()| run.report)
    }

    fn compact_and_vacuum(&self, how: Eagerness, goes_on: GoesOn<'_>, report: &mut CompactReport) -> Result<()> {
        let mut result = Ok(());
        for table in [&self.events, &self.rejections] {
            // What cannot be merged must not keep the rest from it.
            result = result.and(self.compact_table(table, how, goes_on, report));
        }
        self.checkpoint_if_due();
        let vacuumed = self.compaction.lock().vacuumed;
        let is_due = how == Eagerness::Everything || vacuumed.is_none_or(|last| last.elapsed() >= VACUUM_EVERY);
        if is_due && goes_on() {
            result = result.and(self.vacuum(how, goes_on, report));
        }
        result
    }

    fn compact_table(
        &self,
        table: &Table,
        how: Eagerness,
        goes_on: GoesOn<'_>,
        report: &mut CompactReport,
    ) -> Result<()> {
        let mut setbacks = Setbacks::default();
        // What is flushed from now on is for the next run: this one must end however fast files come.
        let plan = (self.rules(how), table.current());
        // What could not be read the last time comes last: it must not keep the rest from being merged.
        let again = table.unread();
        let mut result = self.merge_all(table, &plan, goes_on, report, &mut setbacks);
        if result.is_ok() && setbacks.unread < UNREAD_MAX && !again.is_empty() {
            table.try_again(&again);
            result = self.merge_all(table, &plan, goes_on, report, &mut setbacks);
        }
        result.and(setbacks.error.map_or(Ok(()), Err))
    }

    /// Merges what there is to merge, without the files that cannot be read: those are setbacks. An error ends it.
    fn merge_all(
        &self,
        table: &Table,
        (rules, begun): &(CompactionRules, Arc<TableVersion>),
        goes_on: GoesOn<'_>,
        report: &mut CompactReport,
        setbacks: &mut Setbacks,
    ) -> Result<()> {
        // Again and again: what did not fit into memory at once, and files that are neighbours only now.
        for _ in 0..PASSES_MAX {
            let mut has_changed = false;
            for group in &table.compactable(rules, begun) {
                match self.compact_group(table, group, rules, goes_on) {
                    Ok(Some(done)) => {
                        report.add(&done);
                        has_changed = true;
                    }
                    Ok(None) => {}
                    Err(error) if error.kind() == Kind::Conflict && setbacks.conflicts < CONFLICTS_MAX => {
                        self.healthy()?;
                        setbacks.conflicts += 1;
                        has_changed = true;
                        break;
                    }
                    Err(error) if error.kind() == Kind::Corrupt => {
                        setbacks.error.get_or_insert(error);
                    }
                    Err(error) if error.kind() == Kind::Unavailable && table.has_unread(group) => {
                        setbacks.error.get_or_insert(error);
                        setbacks.unread += 1;
                        if setbacks.unread >= UNREAD_MAX {
                            return Ok(());
                        }
                        // Its neighbours are groups without it now.
                        has_changed = true;
                    }
                    Err(error) => return Err(error),
                }
            }
            if !has_changed || !goes_on() {
                break;
            }
        }
        Ok(())
    }

    fn rules(&self, how: Eagerness) -> CompactionRules {
        let settings = &self.settings;
        CompactionRules {
            file_bytes: settings.compaction_file_bytes as u64,
            memory_bytes: settings.compaction_memory_bytes as u64,
            files_min: settings.compaction_files_min,
            today: if how == Eagerness::Everything { i32::MAX } else { (self.now)().days() },
        }
    }

    fn compact_group(
        &self,
        table: &Table,
        group: &[Arc<TableFile>],
        rules: &CompactionRules,
        goes_on: GoesOn<'_>,
    ) -> Result<Option<Compaction>> {
        self.room_for(table)?;
        let Some(merged) = table.rewrite(group, rules, goes_on)? else { return Ok(None) };
        crash_point(CrashPoint::CompactFilesWritten);
        if !self.put_in_place(table, &merged, CrashPoint::CompactBeforeSwap)? {
            return Ok(None);
        }
        crash_point(CrashPoint::CompactSwapped);
        Ok(Some(merged))
    }

    /// Commits other files and shows them. False if the store ends. Whoever calls holds `compacting`.
    pub(crate) fn put_in_place(&self, table: &Table, change: &Compaction, before_swap: CrashPoint) -> Result<bool> {
        // From here to the swap no flush may commit: its rows would be in the table and still in the hot buffer.
        let flushes: Vec<_> = self.partitions.iter().map(|partition| partition.flush.lock()).collect();
        if self.stopping.load(Ordering::Acquire) {
            return Ok(false);
        }
        // A store that has failed, because the table is another writer's now, must not change it.
        self.healthy()?;
        let committed = table.commit_maintenance(change, (self.now)());
        if committed.as_ref().is_err_and(|error| error.kind() == Kind::Conflict) {
            // Perhaps by an earlier try whose answer was lost: then what it did must be seen.
            self.publish(None, self.events.current()).inspect_err(|error| self.fail(error.clone()))?;
        }
        committed?;
        crash_point(before_swap);
        // What a flush does that finds another writer's rows.
        self.publish(None, self.events.current()).inspect_err(|error| self.fail(error.clone()))?;
        drop(flushes);
        self.moved();
        Ok(true)
    }

    /// Removes files that nobody needs any more. By itself, and if it matters how old they are, only if the clock is
    /// believed: else the vacuum is passed over.
    fn vacuum(&self, how: Eagerness, goes_on: GoesOn<'_>, report: &mut CompactReport) -> Result<()> {
        self.compaction.lock().vacuumed = Some(Instant::now());
        let now = (self.now)();
        let asks_no_clock = how == Eagerness::Everything || self.settings.vacuum_retention.is_zero();
        let doubt = if asks_no_clock { None } else { self.doubt(now) };
        let is_passed_over = Cell::new(false);
        let goes_on = || {
            is_passed_over.set(doubt.is_some());
            doubt.is_none() && goes_on()
        };
        let rules = VacuumRules {
            retention: self.settings.vacuum_retention,
            // As the log does: with both, that many commits can be taken back.
            keep_commits: self.settings.log_keep_commits as u64,
            now,
        };
        for table in [&self.events, &self.rejections] {
            let Vacuumed { files, bytes } = table.vacuum(&rules, &goes_on)?;
            report.vacuumed_files += files;
            report.vacuumed_bytes += bytes;
        }
        if let Some(doubt) = doubt.filter(|_| is_passed_over.get()) {
            tracing::warn!(why = %doubt, "replaced files are not removed");
        }
        Ok(())
    }

    /// Files of both tables.
    fn table_files(&self) -> u64 {
        (self.events.current().files.len() + self.rejections.current().files.len()) as u64
    }

    /// True when the store is being closed: whatever can be left for the next start is left.
    pub(crate) fn is_ending(&self) -> bool {
        self.closing.load(Ordering::Acquire) || self.stopping.load(Ordering::Acquire)
    }
}
