//! From the hot buffer to the table, and only then away from the log.
//!
//! The order is the promise: Parquet files durable → rejections committed → events committed, with `flushed` in the same
//! commit, read back → the view swapped → the log trimmed, some commits behind. A crash between any two steps leaves
//! state = table ∪ log intact: what was not committed is replayed, and an unreferenced file is only garbage.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use eye_fault::{CrashPoint, Sabotage, crash_point, sabotaged};
use eye_log::{ErrorKind, Offset, PartitionId};
use parking_lot::{Mutex, MutexGuard};

use crate::buffer::{Generation, GenerationView};
use crate::columns::RejectionColumns;
use crate::error::{Error, Kind, Result};
use crate::hot_rows::HotRows;
use crate::invariants;
use crate::partition::{FlushState, Partition, Rest, Sealed, Written};
use crate::recover::CommitInfo;
use crate::store::{Hot, Shared};
use crate::table::{Commit, NewFile, TableVersion};

/// What one partition's flush wrote.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Flushed {
    pub(crate) rows: usize,
    pub(crate) rejections: usize,
}

impl Shared {
    /// Flushes every partition whose hot buffer is large or old enough. Failures are reported and tried again, less and less
    /// often.
    pub(crate) fn flush_due(&self) {
        for partition in &self.partitions {
            if !self.is_due(partition) {
                continue;
            }
            if let Err(error) = self.flush_partition(partition) {
                tracing::error!(partition = partition.id.0, error = %error, "flush failed: it will be tried again");
            }
        }
    }

    /// Moves everything that is applied to the table.
    pub(crate) fn flush_all(&self) -> Result<Flushed> {
        let mut all = Flushed::default();
        for partition in &self.partitions {
            // What a flush that failed has kept goes first, and what came after it next.
            let times = if partition.flush.lock().sealed.is_some() { 2 } else { 1 };
            for _ in 0..times {
                let flushed = self.flush_partition(partition)?;
                all.rows += flushed.rows;
                all.rejections += flushed.rejections;
            }
        }
        Ok(all)
    }

    /// Of rows that a running erasure hides the table had some, and has them no more: the commit that they came with was
    /// damaged, and they were replayed. Hidden are rows of the table only, so they go there before anybody looks.
    pub(crate) fn flush_what_is_masked(&self) -> Result<()> {
        let (mask, current) = (Arc::clone(&self.view.read().mask), self.events.current());
        let is_behind = |partition: &Partition| {
            let flushed = current.flushed(partition.id);
            [&mask.events, &mask.rejections].iter().any(|offsets| offsets.reach_beyond(partition.id, flushed))
        };
        if self.partitions.iter().any(is_behind) {
            self.flush_all()?;
        }
        // Always: a flush during the replay may have brought them to the table already.
        if mask.events.len() > 0 {
            self.partitions.iter().for_each(|partition| partition.backlog.lock().forget(&mask.events));
        }
        Ok(())
    }

    fn is_due(&self, partition: &Partition) -> bool {
        let active = Arc::clone(&self.view.read().hot[usize::from(partition.id.0)].active);
        let mut state = partition.flush.lock();
        if state.rest.is_some_and(|rest| !rest.is_over()) && !self.is_ending() {
            return false;
        }
        if state.sealed.is_some() {
            return true;
        }
        // Of a store that has failed nothing is tried that cannot come to pass any more.
        let is_stuck = || self.failed.get().is_some() && partition.state.lock().is_ahead();
        if active.applied() <= self.events.current().flushed(partition.id) || is_stuck() {
            state.waiting_since = None;
            return false;
        }
        let since = *state.waiting_since.get_or_insert_with(Instant::now);
        let is_crowded = self.hot_bytes.load(Ordering::Acquire) > self.settings.hot_bytes_max;
        active.bytes() >= self.settings.flush_bytes_max
            || active.len() >= self.settings.flush_rows_max
            || since.elapsed() >= self.settings.flush_age_max
            || is_crowded && active.bytes() > 0
    }

    /// Flushes one partition now, even while it rests after a failure; does nothing if the table has everything already.
    ///
    /// If another writer has moved the partition on, what apply decided after that is not what the table holds: the store
    /// fails, and opening it again heals it.
    pub(crate) fn flush_partition(&self, partition: &Partition) -> Result<Flushed> {
        let flushed = self.try_flush(partition);
        if let Err(error) = &flushed
            && error.kind() == Kind::Conflict
        {
            self.fail(error.clone());
        }
        let why = flushed.as_ref().err().map(ToString::to_string);
        self.flush_errors.lock()[usize::from(partition.id.0)] = why;
        let mut state = partition.flush.lock();
        let rest = flushed.is_err().then(|| Rest::after(state.rest));
        state.rest = rest;
        drop(state);
        flushed
    }

    fn try_flush(&self, partition: &Partition) -> Result<Flushed> {
        let mut state = partition.flush.lock();
        let Some(sealed) = self.seal(partition, &mut state)? else {
            return Ok(Flushed::default());
        };
        let view = sealed.generation.view();
        crash_point(CrashPoint::FlushSealed);
        if sabotaged(Sabotage::TrimBeforeCommit) {
            drop(partition.log.trim(sealed.last.plus(1)));
        }
        let rejections = self.commit_rejections(partition, &sealed, &view)?;
        crash_point(CrashPoint::FlushRejectionsCommitted);
        let events = self.commit_events(partition, &sealed, &view)?;
        crash_point(CrashPoint::FlushBeforeSwap);
        self.publish(Some(partition.id), events)?;
        self.hot_bytes.fetch_sub(sealed.generation.bytes(), Ordering::AcqRel);
        self.flushes.fetch_add(1, Ordering::AcqRel);
        self.moved();
        crash_point(CrashPoint::FlushBeforeTrim);
        state.sealed = None;
        state.waiting_since = None;
        state.commits.push_back(sealed.last);
        self.trim(partition, &mut state)?;
        crash_point(CrashPoint::FlushAfterTrim);
        drop(state);
        self.checkpoint_if_due();
        Ok(Flushed { rows: view.rows(), rejections })
    }

    /// The generation to flush: one that failed before, or the active one, which takes no more rows from now on. `None` if
    /// the table has everything.
    ///
    /// # Errors
    /// Why a record could not be applied, if one could not: what came before it in its group is not there to be flushed.
    fn seal(&self, partition: &Partition, state: &mut MutexGuard<'_, FlushState>) -> Result<Option<Sealed>> {
        if state.sealed.is_none() {
            let apply = partition.state.lock();
            if apply.is_ahead() {
                // It is known for sure in a moment.
                self.healthy()?;
                return Err(Error::new(Kind::Unavailable, "a log record could not be applied: open the store again"));
            }
            if apply.applied() <= self.events.current().flushed(partition.id) {
                return Ok(None);
            }
            let next = Arc::new(Generation::new(partition.id, apply.applied(), apply.hasher()));
            let mut view = self.view.write();
            let hot = &mut view.hot[usize::from(partition.id.0)];
            let generation = std::mem::replace(&mut hot.active, next);
            hot.flushing = (!sabotaged(Sabotage::HideFlushing)).then(|| Arc::clone(&generation));
            state.sealed = Some(Sealed {
                generation,
                ledger: apply.ledger().clone(),
                last: apply.applied(),
                events: Arc::default(),
                rejections: Arc::default(),
            });
        }
        Ok(state.sealed.clone())
    }

    /// Rejections go first: if the events' commit fails after it, replay skips the rejections that are there already.
    fn commit_rejections(&self, partition: &Partition, sealed: &Sealed, view: &GenerationView) -> Result<usize> {
        let flushed = self.rejections.current().flushed(partition.id);
        let mut rows = view.rejections();
        rows.retain(|row| row.offset() > flushed);
        if rows.is_empty() || flushed >= sealed.last {
            return Ok(rows.len());
        }
        let files = written_once(&sealed.rejections, flushed, |files| {
            let mut columns = RejectionColumns::new(rows.len());
            for row in &rows {
                columns.push(&row.rejection(partition.id)?);
            }
            self.rejections.write_rest_of_batch(&columns.finish()?, files)
        })?;
        let commit = self.commit(partition, flushed, sealed, files, serde_json::Value::Null);
        self.rejections.commit(commit)?;
        Ok(rows.len())
    }

    fn commit_events(
        &self,
        partition: &Partition,
        sealed: &Sealed,
        view: &GenerationView,
    ) -> Result<Arc<TableVersion>> {
        let current = self.events.current();
        let flushed = current.flushed(partition.id);
        if flushed == sealed.last {
            // Its answer was lost, and another partition's flush has found it meanwhile.
            return Ok(current);
        }
        if let Some(first) = view.first_offset().filter(|first| *first <= flushed) {
            return Err(moved_on(partition.id, flushed, first));
        }
        invariants::exactly_one_place(flushed, view.first_offset())?;
        invariants::moved_together(flushed, flushed.plus(1), sealed.last)?;
        invariants::nothing_vanishes(sealed.ledger.total())?;
        let write = |files: &mut Vec<NewFile>| self.events.write_rest(&HotRows::new(view), files);
        let mut files = written_once(&sealed.events, flushed, write)?;
        if sabotaged(Sabotage::FlushTwice) {
            files.extend(self.events.write_files(&HotRows::new(view))?);
        }
        crash_point(CrashPoint::FlushFilesWritten);
        let info = CommitInfo { ledger: sealed.ledger.clone(), dedup: partition.dedup.clone() }.to_json();
        self.events.commit(self.commit(partition, flushed, sealed, files, info))
    }

    fn commit(
        &self,
        partition: &Partition,
        flushed: Offset,
        sealed: &Sealed,
        files: Vec<NewFile>,
        info: serde_json::Value,
    ) -> Commit {
        Commit {
            partition: partition.id,
            first: flushed.plus(1),
            last: sealed.last.plus(u64::from(sabotaged(Sabotage::FlushedTooHigh))),
            expected_flushed: flushed,
            files,
            info,
            now: (self.now)(),
        }
    }

    /// The rows change places in one step: no reader sees them twice or not at all.
    ///
    /// The version may hold commits of other partitions than `of`, whose answers were lost: their rows
    /// change places here. The flush lock of `of` must be held; without one (a compaction), that of every partition.
    pub(crate) fn publish(&self, of: Option<PartitionId>, events: Arc<TableVersion>) -> Result<()> {
        let is_flushed = |hot: &Hot, flushed| hot.flushing.as_ref().is_some_and(|rows| rows.applied() == flushed);
        let mut view = self.view.write();
        for (other, hot) in self.partitions.iter().zip(&view.hot).filter(|(other, _)| Some(other.id) != of) {
            let flushed = events.flushed(other.id);
            let flushing = hot.flushing.iter().filter(|_| !is_flushed(hot, flushed));
            let first = flushing.chain([&hot.active]).find_map(|rows| rows.view().first_offset());
            if let Some(first) = first.filter(|first| *first <= flushed) {
                return Err(moved_on(other.id, flushed, first));
            }
        }
        for (one, hot) in self.partitions.iter().zip(&mut view.hot) {
            if Some(one.id) == of || is_flushed(hot, events.flushed(one.id)) {
                hot.flushing = None;
            }
        }
        // Another partition's flush may have published a later version, which has these rows too.
        if events.version > view.events.version {
            view.events = events;
        }
        view.rejections = self.rejections.current();
        Ok(())
    }

    /// Forgets log records that lie more than `log_keep_commits` commits behind.
    fn trim(&self, partition: &Partition, state: &mut FlushState) -> Result<()> {
        let flushed = self.events.current().flushed(partition.id);
        while state.commits.len() > self.settings.log_keep_commits {
            let Some(last) = state.commits.pop_front() else { break };
            invariants::trim_follows_flush(flushed, last.plus(1))?;
            let before = if sabotaged(Sabotage::TrimUnflushed) { partition.log.end() } else { last.plus(1) };
            match partition.log.trim(before) {
                // While stopping: the next start trims.
                Err(error) if matches!(error.kind(), ErrorKind::Closed) => {}
                trimmed => trimmed?,
            }
        }
        Ok(())
    }

    /// Checkpoints are maintenance: one that fails costs a slower start, nothing else.
    pub(crate) fn checkpoint_if_due(&self) {
        let every = self.settings.checkpoint_commits.max(1);
        for table in [&self.events, &self.rejections] {
            let version = table.current().version;
            if table.is_checkpoint_due(every)
                && let Err(error) = table.checkpoint()
            {
                tracing::warn!(version, error = %error, "the table's checkpoint failed: the next one will do");
            }
        }
    }
}

/// The files that tries before this one have written, if the table still ends where it did; what they have not is written
/// now, and kept even if not all of it can be.
fn written_once(
    written: &Mutex<Option<Written>>,
    behind: Offset,
    write: impl FnOnce(&mut Vec<NewFile>) -> Result<()>,
) -> Result<Vec<NewFile>> {
    let mut written = written.lock();
    let earlier = written.take().filter(|earlier| earlier.behind == behind);
    let now = written.insert(earlier.unwrap_or_else(|| Written { behind, files: Vec::new(), is_whole: false }));
    if !now.is_whole {
        write(&mut now.files)?;
        now.is_whole = true;
    }
    Ok(now.files.clone())
}

/// The error for rows that are in the hot buffer and, by another writer's commit, in the table.
fn moved_on(partition: PartitionId, flushed: Offset, first: Offset) -> Error {
    let detail = format!(
        "partition {partition} is flushed to {flushed} by another writer, and the hot buffer begins with {first}: open the \
         store again"
    );
    Error::new(Kind::Conflict, detail)
}

#[cfg(test)]
mod tests;
