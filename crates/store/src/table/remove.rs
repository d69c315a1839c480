//! Rows are taken out of the table: a file that holds some is written again without them, or goes if nothing is left; and
//! what earlier versions held is removed from where the table lies.
//!
//! Nothing is changed in place. The rows that stay are read back from the new file before a commit puts it in the place of
//! the old one. How many rows went, and why, stands in the commit.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::{BooleanArray, RecordBatch};
use eye_fault::{CrashPoint, crash_point};
use eye_log::{Offset, PartitionId};

use super::compact::{Compaction, add_sums, assert_same_rows};
use super::encode::RowSource as _;
use super::io::Listed;
use super::many_rows::ManyRows;
use super::paths::{self, FilePath};
use super::removed::Why;
use super::version::{NewFile, TableFile};
use super::{Table, open};
use crate::columns::Columns;
use crate::error::{Error, Kind, Result};
use crate::invariants;
use crate::mask::{Offsets, without};

/// Which rows of a batch with all columns go.
pub(crate) type Goes<'a> = &'a dyn Fn(&RecordBatch) -> Result<BooleanArray>;

/// What became of files that are no part of the table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cleared {
    /// Files that were removed.
    pub(crate) files: u64,
    /// Their bytes.
    pub(crate) bytes: u64,
    /// Files that somebody in this process still needs.
    pub(crate) held: u64,
}

impl Compaction {
    /// One commit that changes nothing.
    pub(crate) fn nothing(expected: u64) -> Self {
        Self { removed: Vec::new(), added: Vec::new(), expected, taken: Vec::new(), is_removal: true }
    }

    /// Both in one commit.
    pub(crate) fn and(mut self, other: Self) -> Self {
        self.removed.extend(other.removed);
        self.added.extend(other.added);
        self.taken.extend(other.taken);
        self
    }

    /// Rows that go.
    pub(crate) fn rows_taken(&self) -> u64 {
        self.taken.iter().map(|(_, _, rows)| rows).sum()
    }
}

impl Table {
    /// A file without the rows that go; `None` if none does, or `goes_on` says no. The new file is durable and read back, and
    /// is no part of the table yet.
    ///
    /// # Errors
    /// `Corrupt` if the file is damaged; `Full` or `Unavailable` if the object store fails. Nothing is changed then.
    pub(crate) fn without(
        &self,
        file: &Arc<TableFile>,
        why: Why,
        goes: Goes<'_>,
        goes_on: &dyn Fn() -> bool,
    ) -> Result<Option<Compaction>> {
        let expected = self.current().maintenance;
        let mut rows = ManyRows::new(self.kind(), file.partition);
        let (mut taken, mut before) = (0, Vec::new());
        for group in file.row_groups()? {
            if !goes_on() {
                return Ok(None);
            }
            let batch = file.read_all(group.index)?;
            let gone = goes(&batch)?;
            taken += gone.true_count() as u64;
            let kept = without(&batch, &gone)?;
            if kept.num_rows() > 0 {
                add_sums(&kept, &mut before).map_err(|error| error.context(&file.path))?;
                rows.push(&kept).map_err(|error| error.context(&file.path))?;
            }
        }
        if taken == 0 {
            return Ok(None);
        }
        invariants::maintenance_keeps_rows(file.rows, rows.len() as u64, taken)?;
        let added = self.write_to_stay(&rows)?;
        if added.iter().any(|new| new.file().received_date != file.received_date) {
            let detail = format!("{} has rows of another day than its own", file.path);
            return Err(Error::new(Kind::Corrupt, detail));
        }
        assert_same_rows(before, &added)?;
        let (removed, taken) = (vec![Arc::clone(file)], vec![(file.partition, why, taken)]);
        Ok(Some(Compaction { removed, added, expected, taken, is_removal: true }))
    }

    /// The same for a file of which no row stays: nothing has to be read.
    pub(crate) fn drop_file(&self, file: &Arc<TableFile>, why: Why) -> Compaction {
        let (removed, taken) = (vec![Arc::clone(file)], vec![(file.partition, why, file.rows)]);
        Compaction {
            removed,
            added: Vec::<NewFile>::new(),
            expected: self.current().maintenance,
            taken,
            is_removal: true,
        }
    }

    /// Files with rows up to `bound` that are no part of the table's newest version and that somebody in this process still
    /// needs: [`Table::clear_unlisted`] would leave them. Nothing is listed or read.
    pub(crate) fn count_held(&self, bound: &dyn Fn(PartitionId) -> Offset) -> u64 {
        let current = self.current();
        let listed: HashSet<&FilePath> = current.files.iter().map(|file| &file.path).collect();
        self.alive.count_held(|path| is_up_to(path.as_str(), bound) && !listed.contains(path))
    }

    /// Removes every data file with rows up to `bound` that is no part of the table's newest version: replaced ones, and
    /// those that never became part of it. No older version can be read any more. Commits may go on meanwhile, but none
    /// whose answer was lost may be younger than the newest version, and that one must not have replaced files itself:
    /// if it is lost, the version before it lists them.
    ///
    /// # Errors
    /// `Unavailable` if the object store fails: try again later.
    pub(crate) fn clear_unlisted(&self, bound: &dyn Fn(PartitionId) -> Offset) -> Result<Cleared> {
        // Not together with a vacuum.
        let _tombstones = self.tombstones.lock();
        // The listing first: what is committed after it is not in it.
        let mut old = self.io.list_files("")?;
        old.retain(|file| paths::is_data(&file.path) && is_up_to(&file.path, bound));
        let (newest, _) = open::reload(&self.io, &self.options)?;
        let known = self.current();
        let listed: HashSet<&str> = newest.files.iter().chain(&known.files).map(|file| file.path.as_str()).collect();
        let mut done = Cleared::default();
        for Listed { path, bytes, .. } in old.into_iter().filter(|file| !listed.contains(file.path.as_str())) {
            if self.alive.holds(&FilePath::from_log(&path)) {
                done.held += 1;
                continue;
            }
            self.io.remove(&path)?;
            crash_point(CrashPoint::EraseFileRemoved);
            done.files += 1;
            done.bytes += bytes;
        }
        // Always: a file may have been removed by a try before this one.
        self.io.sync_data_folders()?;
        Ok(done)
    }

    /// Removes what writes of data files have left behind that did not end. Nothing may be writing any.
    ///
    /// # Errors
    /// `Unavailable` if the folder cannot be read or changed.
    pub(crate) fn clear_staged(&self) -> Result<u64> {
        let _maintenance = self.maintenance.lock();
        self.io.remove_staged()
    }

    /// Forgets what is kept between questions.
    pub(crate) fn forget_kept(&self) {
        self.io.kept.clear();
        self.io.runs.clear();
    }
}

/// True if the file of this name begins with a row up to `bound`, or may.
fn is_up_to(path: &str, bound: &dyn Fn(PartitionId) -> Offset) -> bool {
    paths::first_row(path).is_none_or(|(partition, first)| first <= bound(partition))
}

impl TableFile {
    /// True if one of these rows is in the file.
    ///
    /// # Errors
    /// As [`TableFile::read`].
    pub(crate) fn holds(&self, offsets: &Offsets) -> Result<bool> {
        if !offsets.touch(self) {
            return Ok(false);
        }
        for group in self.row_groups()? {
            let batch = self.read(group.index, Columns::OFFSET, None)?;
            if offsets.choose(self.partition, &batch)?.true_count() > 0 {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
