//! Compaction: many small files of one day to a larger one with the same rows.
//!
//! Every flush makes a file, so a trickle makes more than a thousand a day, and each is one more footer and bloom to look
//! at. Files of one day and partition that lie side by side in the order of their offsets are read, sorted into the
//! table's layout again and written as one; a commit then puts it in their place. No row is changed, removed or moved to
//! another day, so nothing that is asked is answered differently. The old files stay where they are until a vacuum, for
//! whoever still reads them.
//!
//! While a day lasts, a file waits until about as much has come after it as it holds itself: so a row is written again a few
//! times only, the logarithm of a day's flushes, and not with every run. When the day is over its files are merged for good.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::row::{RowConverter, SortField};
use eye_log::PartitionId;

use super::Table;
use super::many_rows::ManyRows;
use super::paths::FilePath;
use super::removed::Why;
use super::version::{NewFile, TableFile, TableVersion};
use crate::columns::{long_column, required};
use crate::error::{Error, Kind, Result};
use crate::invariants;

/// Files that are merged at once at most: each is an entry of the commit.
const FILES_AT_ONCE_MAX: usize = 1024;
/// Below this part of the file size that is aimed at, files need not be alike to be merged.
const ALIKE_BELOW: u64 = 64;

/// Which files are merged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CompactionRules {
    /// What is read at once, and so the size of a file that is aimed at; larger ones are left alone.
    pub file_bytes: u64,
    /// What the rows that are read at once may take in memory, roughly.
    pub memory_bytes: u64,
    /// So many files are merged at least, while their day lasts.
    pub files_min: usize,
    /// The day that lasts, in days since 1970; later ones do too. All others are over.
    pub today: i32,
}

/// A file that is to take the place of others. Durable, and not yet part of the table.
#[derive(Clone, Debug)]
pub struct Compaction {
    pub(crate) removed: Vec<Arc<TableFile>>,
    pub(crate) added: Vec<NewFile>,
    /// The number of the last maintenance commit when this one was begun.
    pub(crate) expected: u64,
    /// Rows that are in no file any more, and why.
    pub(crate) taken: Vec<(PartitionId, Why, u64)>,
    /// True if rows are taken out, or could have been.
    pub(crate) is_removal: bool,
}

impl Compaction {
    /// The files that go.
    #[must_use]
    pub fn removed(&self) -> &[Arc<TableFile>] {
        &self.removed
    }

    /// The files that come.
    #[must_use]
    pub fn added(&self) -> &[NewFile] {
        &self.added
    }
}

impl Table {
    /// Groups of files, each to be merged by [`Table::rewrite`]: of one day and partition, side by side in the order of
    /// their offsets. Only files of what was flushed as of `begun`, so that a run that looks again and again ends while
    /// flushes go on. Files of other programs are left alone, those that were damaged when they were to be rewritten,
    /// and those that could not be read.
    #[must_use]
    pub fn compactable(&self, rules: &CompactionRules, begun: &TableVersion) -> Vec<Vec<Arc<TableFile>>> {
        let current = self.current();
        let days = current
            .files
            .chunk_by(|one, other| (one.received_date, one.partition) == (other.received_date, other.partition));
        let (damaged, unread) = (self.damaged.lock(), self.unread.lock());
        let is_ours = |file: &TableFile| {
            let is_readable = !damaged.contains(&file.path) && !unread.contains(&file.path);
            let is_of_then = file.offset_max <= begun.flushed(file.partition);
            file.sha256.is_some() && file.sums.is_some() && is_readable && is_of_then
        };
        let mut found = Vec::new();
        for run in days.flat_map(|files| files.chunk_by(move |one, other| is_ours(one) == is_ours(other))) {
            let Some(first) = run.first().filter(|file| is_ours(file)) else { continue };
            let sizes: Vec<u64> = run.iter().map(|file| file.bytes).collect();
            let is_over = first.received_date < rules.today;
            found.extend(groups(&sizes, rules, is_over).into_iter().map(|group| run[group].to_vec()));
        }
        found
    }

    /// Reads the files of a group and writes their rows as one, as many of them as memory allows; what is left over is
    /// for the next time. `None` if there is nothing to merge, or `goes_on` says no.
    ///
    /// The new file is read back, all of it: it has every row of the old ones as it was.
    ///
    /// # Errors
    /// `Corrupt` if a file is damaged: it is in no group from now on. `Unavailable` if one cannot be read now: it is in
    /// none until it is tried again. `Full` or `Unavailable` if the object store fails. Nothing is changed then; a file
    /// that was written is no part of the table and harms nothing.
    pub fn rewrite(
        &self,
        group: &[Arc<TableFile>],
        rules: &CompactionRules,
        goes_on: &dyn Fn() -> bool,
    ) -> Result<Option<Compaction>> {
        let expected = self.current().maintenance;
        let mut removed = self.fitting(group, rules, goes_on)?;
        let Some(first) = removed.first().filter(|_| removed.len() > 1) else { return Ok(None) };
        let mut rows = ManyRows::new(self.kind(), first.partition);
        let (mut before, mut held) = (Vec::new(), 0);
        for (index, file) in removed.iter().enumerate() {
            // What was planned is a guess; this is what it takes.
            if index > 1 && held > rules.memory_bytes {
                removed = &removed[..index];
                break;
            }
            let known = before.len() as u64;
            match self.read_into(file, &mut rows, &mut before, goes_on) {
                Ok(Some(bytes)) => held += bytes,
                Ok(None) => return Ok(None),
                Err(error) => return Err(self.noted(file, error)),
            }
            invariants::maintenance_keeps_rows(file.rows, before.len() as u64 - known, 0)?;
        }
        let added = self.write_to_stay(&rows)?;
        if !goes_on() {
            return Ok(None);
        }
        if added.iter().any(|file| file.file.received_date != first.received_date) {
            let detail = format!("{} and its neighbours have rows of another day than theirs", first.path);
            return Err(Error::new(Kind::Corrupt, detail));
        }
        drop(rows);
        assert_same_rows(before, &added)?;
        Ok(Some(Compaction { removed: removed.to_vec(), added, expected, taken: Vec::new(), is_removal: false }))
    }

    /// Reads all rows of a file and says how many bytes they take in memory; nothing if `goes_on` says no.
    fn read_into(
        &self,
        file: &TableFile,
        rows: &mut ManyRows,
        sums: &mut Vec<RowSum>,
        goes_on: &dyn Fn() -> bool,
    ) -> Result<Option<u64>> {
        let mut bytes = 0;
        for group in file.row_groups()? {
            if !goes_on() {
                return Ok(None);
            }
            let batch = file.read_all(group.index)?;
            bytes += batch.get_array_memory_size() as u64;
            add_sums(&batch, sums).map_err(|error| error.context(&file.path))?;
            rows.push(&batch).map_err(|error| error.context(&file.path))?;
        }
        Ok(Some(bytes))
    }

    /// The longest part of a group that fits into memory; the first files that are too large for it are passed over.
    fn fitting<'a>(
        &self,
        group: &'a [Arc<TableFile>],
        rules: &CompactionRules,
        goes_on: &dyn Fn() -> bool,
    ) -> Result<&'a [Arc<TableFile>]> {
        let (mut start, mut bytes) = (0, 0);
        for (index, file) in group.iter().enumerate() {
            if !goes_on() {
                return Ok(&[]);
            }
            let more = file.decoded_bytes().map_err(|error| self.noted(file, error))?;
            if bytes + more > rules.memory_bytes {
                if index - start > 1 {
                    return Ok(&group[start..index]);
                }
                (start, bytes) = (index, 0);
            }
            bytes += more;
        }
        Ok(&group[start..])
    }

    /// Remembers a file that cannot be read, so that it does not keep its neighbours from being merged.
    fn noted(&self, file: &TableFile, error: Error) -> Error {
        match error.kind() {
            Kind::Corrupt => drop(self.damaged.lock().insert(file.path.clone())),
            Kind::Unavailable => self.unread.lock().note(&file.path),
            _ => {}
        }
        error
    }

    /// Files that could not be read when they were to be merged: those whose turn it is to be tried again.
    pub(crate) fn unread(&self) -> Vec<FilePath> {
        self.unread.lock().first()
    }

    /// Puts them into groups again.
    pub(crate) fn try_again(&self, files: &[FilePath]) {
        let mut unread = self.unread.lock();
        files.iter().for_each(|file| unread.forget(file));
    }

    /// True if one of them could not be read.
    pub(crate) fn has_unread(&self, group: &[Arc<TableFile>]) -> bool {
        let unread = self.unread.lock();
        group.iter().any(|file| unread.contains(&file.path))
    }
}

/// A row: its offset, and a hash of all that it has.
pub(super) type RowSum = (i64, u64);

/// The sums of all rows of a batch.
pub(super) fn add_sums(batch: &RecordBatch, sums: &mut Vec<RowSum>) -> Result<()> {
    let unreadable = |error| Error::new(Kind::Internal, format!("cannot compare rows: {error}"));
    let fields = batch.schema().fields().iter().map(|field| SortField::new(field.data_type().clone())).collect();
    let rows = RowConverter::new(fields).and_then(|rows| rows.convert_columns(batch.columns())).map_err(unreadable)?;
    let offsets = required(long_column(batch, "offset")?, "offset")?;
    let hashes = ahash::RandomState::with_seeds(1, 2, 3, 4);
    sums.extend(offsets.values().iter().zip(&rows).map(|(offset, row)| (*offset, hashes.hash_one(row.as_ref()))));
    Ok(())
}

/// Invariant: the new files, as they are read from where they lie now, have every row of the old ones, as it was, and no
/// other.
pub(super) fn assert_same_rows(mut before: Vec<RowSum>, added: &[NewFile]) -> Result<()> {
    let mut after = Vec::with_capacity(before.len());
    for file in added.iter().map(NewFile::file) {
        for group in file.row_groups()? {
            add_sums(&file.read_all(group.index)?, &mut after)?;
        }
    }
    before.sort_unstable();
    after.sort_unstable();
    if before == after {
        return Ok(());
    }
    Err(Error::new(Kind::Internal, "the rows of a new file are not those that it was made of"))
}

/// Which neighbours of a run of files, oldest first, are merged.
fn groups(sizes: &[u64], rules: &CompactionRules, is_over: bool) -> Vec<Range<usize>> {
    let files_min = if is_over { 2 } else { rules.files_min.max(2) };
    let alike_below = rules.file_bytes / ALIKE_BELOW;
    let (mut found, mut end, mut bytes) = (Vec::new(), sizes.len(), 0);
    // From the newest back.
    for (index, size) in sizes.iter().copied().enumerate().rev() {
        let is_too_much = bytes + size > rules.file_bytes || end - index > FILES_AT_ONCE_MAX;
        // An older, larger one waits until as much has come after it.
        let must_wait = !is_over && bytes > 0 && size > bytes.max(alike_below);
        if is_too_much || must_wait {
            found.push(index + 1..end);
            (end, bytes) = (index + 1, 0);
        }
        bytes += size;
    }
    found.push(0..end);
    found.retain(|group| group.len() >= files_min);
    found.reverse();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: CompactionRules = CompactionRules { file_bytes: 6400, memory_bytes: u64::MAX, files_min: 4, today: 0 };

    /// The first and the last file of each group.
    fn ends(sizes: &[u64], is_over: bool) -> Vec<(usize, usize)> {
        groups(sizes, &RULES, is_over).iter().map(|group| (group.start, group.end - 1)).collect()
    }

    #[test]
    fn small_neighbours_are_merged_when_there_are_enough() {
        assert_eq!(ends(&[], false), []);
        assert_eq!(ends(&[5, 90, 7], false), [], "too few");
        assert_eq!(ends(&[5, 90, 7], true), [(0, 2)], "their day is over");
        assert_eq!(ends(&[5, 90, 7, 1], false), [(0, 3)], "all are small");
        assert_eq!(ends(&[1, 1, 1, 1, 9000, 1, 1, 1, 1], false), [(0, 3), (5, 8)], "a large one is left alone");
        assert_eq!(ends(&[9000, 9000], true), []);
    }

    #[test]
    fn no_group_is_larger_than_a_file_may_be() {
        assert_eq!(ends(&[3000, 3000, 3000, 3000, 3000], true), [(1, 2), (3, 4)]);
        assert_eq!(ends(&[1; 2500], true), [(0, 451), (452, 1475), (1476, 2499)]);
    }

    #[test]
    fn a_larger_file_waits_until_as_much_has_come_after_it() {
        assert_eq!(ends(&[2000, 300, 300, 300], false), []);
        assert_eq!(ends(&[2000, 300, 300, 300, 300], false), [(1, 4)]);
        assert_eq!(ends(&[1200, 300, 300, 300, 300], false), [(0, 4)]);
    }

    /// A day of flushes of the same size: few files at any time, and each row is written again a few times only.
    #[test]
    fn a_day_of_flushes_is_few_files_and_little_work() {
        let rules = CompactionRules { file_bytes: 1_000_000, files_min: 10, ..RULES };
        let (mut sizes, mut written, mut most) = (Vec::new(), 0, 0);
        for _ in 0..1440 {
            sizes.push(1_000);
            for group in groups(&sizes, &rules, false).into_iter().rev() {
                let merged: u64 = sizes[group.clone()].iter().sum();
                written += merged;
                sizes.splice(group, [merged]);
            }
            most = most.max(sizes.len());
        }
        assert!(most < 40, "{most} files");
        assert!(written < 12 * 1_440_000, "{written} bytes written again");
        for group in groups(&sizes, &rules, true).into_iter().rev() {
            let merged: u64 = sizes[group.clone()].iter().sum();
            sizes.splice(group, [merged]);
        }
        assert!(sizes.len() <= 3, "{sizes:?}");
        assert!(groups(&sizes, &rules, true).is_empty(), "and then it rests");
    }
}
