//! The open table: Parquet files and Delta commits, durable before anybody is told.
//!
//! One [`Table`] is one Delta table (`events` or `rejections`) that any Delta reader opens as it is. Rows get in by
//! [`Table::write_files`] (durable files, not yet visible) and [`Table::commit`] (the rows and the partition's `flushed`
//! offset in one commit). What must hold: `flushed` of a partition only rises, each commit covers the offsets right
//! after it, and a commit is published only after it was read back.
//!
//! | module | what it holds |
//! |---|---|
//! | [`location`] | from a folder or an address to an object store |
//! | [`local_store`] | an object store of this machine that is durable |
//! | `paths` | every name inside a table |
//! | `open` | making, checking and repairing a table at open |
//! | `kernel` | the protocol's one reader |
//! | `version`, `checkpoint` | the table as of one commit; checkpoints |
//! | `io`, `hash` | objects read and written, and counted; hashes of files |
//! | `batch_rows`, `many_rows` | rows on their way into a file |
//! | `actions` | a commit as bytes |
//! | `commit` | the one sequence of commits |
//! | `encode`, `stats` | rows to Parquet |
//! | `extra` | columns beside the table's own, for questions |
//! | [`compact`] | many small files to a larger one |
//! | `unread` | files that cannot be read at the moment |
//! | `vacuum`, `alive` | files that no version needs any more go |
//! | `removals` | whether, and how many, rows were taken away since a version |
//! | `remove`, `removed` | rows are taken out, and files of older versions go; how many they were |
//! | `erasures` | what is to be erased, and what was |
//! | `copy` | the files of a version, for a backup |
//! | `block_sums` | checksums of the blocks of a file |
//! | `bloom` | whether a slice may hold a session |
//! | `read` | Parquet to rows; sessions |
//! | `page_index` | where pages lie, and which sessions lie on which |
//! | `pages` | pages of columns in memory, decompressed |
//! | `footers` | what files say of themselves, kept within a limit |
//! | `kept` | slices that were decoded a moment ago |
//! | `runs` | whose rows of a slice stand together, as hashes; kept between questions |
//! | [`mod@verify`] | what `eye verify` checks |
//!
//! All calls block on files or the object store: make them from threads that may block, never from the runtime's own
//! workers.

pub mod local_store;
pub mod location;
pub mod verify;

mod actions;
mod alive;
mod batch_rows;
mod block_sums;
mod bloom;
mod checkpoint;
mod commit;
pub mod compact;
mod copy;
mod encode;
mod erasures;
mod extra;
mod footers;
mod hash;
mod io;
mod kept;
mod kernel;
mod many_rows;
mod open;
mod page_index;
mod pages;
mod paths;
mod read;
mod removals;
mod remove;
mod removed;
mod runs;
mod stats;
mod unread;
mod vacuum;
mod version;

use std::collections::HashSet;
use std::fmt;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use arrow::array::RecordBatch;
use eye_event::Timestamp;
use eye_log::PartitionId;
use eye_log::disk::{Disk as _, OsDisk};
use object_store::ObjectStore;
use parking_lot::Mutex;
use tokio::runtime::{Handle, RuntimeFlavor};

pub use crate::columns::TableKind;
pub use commit::Commit;
pub use compact::{Compaction, CompactionRules};
pub(crate) use copy::CopiedFile;
pub use encode::{RowKey, RowSource};
pub(crate) use erasures::Found;
pub use erasures::{Erasure, ErasureState, ErasureWork};
pub use hash::{FileHash, ParseHashError};
pub use io::IoCounts;
pub use location::TableLocation;
pub use paths::FilePath;
pub use read::{RowGroupInfo, data_column};
pub use removals::Removal;
pub(crate) use remove::Cleared;
pub use removed::Removed;
pub(crate) use removed::Why;
pub use runs::{IdKey, NOBODY, Runs, id_key};
pub(crate) use unread::{UNREAD_MAX, Unread};
pub use vacuum::{VacuumRules, Vacuumed};
pub use verify::{Finding, Progress, VerifyReport, verify};
pub use version::{CommitNote, NewFile, TableFile, TableVersion};

use crate::error::{Error, Kind, Result};
use alive::Alive;
use block_sums::BlockSums;
use extra::Extra;
use footers::Footers;
use io::TableIo;
use kept::Kept;
use runs::KeptRuns;
use stats::FileStats;
use vacuum::Tombstones;

/// How a table is opened and written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableOptions {
    /// Which table.
    pub kind: TableKind,
    /// Partitions of the log that may have been flushed to it.
    pub partitions: u16,
    /// Rows of a slice (a row group).
    pub row_group_rows: usize,
    /// Rows of a page.
    pub page_rows: usize,
    /// Bytes of a data file under one checksum: the least that is read of it.
    pub block_bytes: u32,
    /// The compression level, 1 to 22.
    pub zstd_level: i32,
    /// Bytes of slices that are kept decoded because they were asked for twice; none that takes more than half of it.
    pub slices_bytes_max: usize,
    /// Bytes of footers of data files that are kept: about a mebibyte a million rows.
    pub footers_bytes_max: usize,
    /// Bytes that are kept, between questions, of what tells sessions and users of files apart: 20 a session of a slice.
    pub runs_bytes_max: usize,
    /// The caller's clock: stamps the table's creation.
    pub now: Timestamp,
}

impl TableOptions {
    /// The layout that was measured best.
    #[must_use]
    pub const fn new(kind: TableKind, now: Timestamp) -> Self {
        Self {
            kind,
            partitions: 1,
            row_group_rows: 65_536,
            page_rows: 2_048,
            block_bytes: 32 * 1024,
            zstd_level: 1,
            slices_bytes_max: 64 * 1024 * 1024,
            footers_bytes_max: 64 * 1024 * 1024,
            runs_bytes_max: 128 * 1024 * 1024,
            now,
        }
    }
}

/// What opening did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OpenReport {
    /// True if there was no table before.
    pub created: bool,
    /// The newest commit, if it was damaged and set aside: the log must still hold its rows.
    pub quarantined: Option<Quarantined>,
}

/// A damaged newest commit that was set aside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quarantined {
    /// Its Delta version.
    pub version: u64,
    /// Where it lies now, inside the table.
    pub moved_to: String,
    /// What is wrong with it.
    pub why: String,
}

/// One open table. All writers of one process share it.
pub struct Table {
    io: Arc<TableIo>,
    options: TableOptions,
    current: ArcSwap<TableVersion>,
    /// Held by whoever commits or reloads: commits of one process form one sequence.
    writer: Mutex<()>,
    maintenance: Mutex<()>,
    /// The version of the last checkpoint that was tried; first that of the opening.
    checkpointed: AtomicU64,
    removals: Mutex<removals::Removals>,
    /// Files that are no part of the table, or soon will not be, and that this process needs.
    alive: Alive,
    /// Held by whoever vacuums.
    tombstones: Mutex<Tombstones>,
    /// Files that were damaged when they were to be merged.
    damaged: Mutex<HashSet<FilePath>>,
    /// Files that could not be read when they were to be merged.
    unread: Mutex<Unread>,
}

impl Table {
    /// Opens the table at `location`, making it if there is none.
    ///
    /// The commits that make up its state are checked; a damaged newest one is moved to `_quarantine` and reported.
    /// `handle` must be of a multi-threaded runtime, which must outlive the table.
    ///
    /// # Errors
    /// `Corrupt` with the file's name for any other damage; `Invalid` if the table's schema or properties are not ours;
    /// `Unavailable` if the object store cannot be reached.
    pub fn open(
        store: Arc<dyn ObjectStore>,
        location: TableLocation,
        options: TableOptions,
        handle: Handle,
    ) -> Result<(Self, OpenReport)> {
        if handle.runtime_flavor() != RuntimeFlavor::MultiThread {
            return Err(Error::new(Kind::Invalid, "a table needs a multi-threaded runtime"));
        }
        let (kept, runs) = (Kept::new(options.slices_bytes_max), KeptRuns::new(options.runs_bytes_max));
        let footers = Footers::new(options.footers_bytes_max)?;
        let io = Arc::new(TableIo::new(store, location, handle, kept, runs, footers));
        let (version, report) =
            open::open(&io, &options).map_err(|error| error.context(format!("table {}", io.location().url())))?;
        let table = Self {
            io,
            options,
            checkpointed: AtomicU64::new(version.version),
            current: ArcSwap::from_pointee(version),
            writer: Mutex::new(()),
            maintenance: Mutex::new(()),
            removals: Mutex::default(),
            alive: Alive::default(),
            tombstones: Mutex::default(),
            damaged: Mutex::default(),
            unread: Mutex::default(),
        };
        Ok((table, report))
    }

    /// The newest version known here.
    #[must_use]
    pub fn current(&self) -> Arc<TableVersion> {
        self.current.load_full()
    }

    /// True if a commit after the newest version was damaged and is set aside, by this opening or one before it.
    ///
    /// # Errors
    /// `Unavailable` if the object store fails.
    pub(crate) fn has_lost_its_newest(&self) -> Result<bool> {
        let newest = self.current().version;
        let set_aside = self.io.list(paths::QUARANTINE_FOLDER)?;
        Ok(set_aside.iter().filter_map(|path| paths::quarantined_commit(path)).any(|version| version > newest))
    }

    /// Which table this is.
    #[must_use]
    pub fn kind(&self) -> TableKind {
        self.options.kind
    }

    /// Where it lies.
    #[must_use]
    pub fn location(&self) -> &TableLocation {
        self.io.location()
    }

    /// Free space where it lies; `None` on object storage, or where the system does not say.
    pub(crate) fn free_bytes(&self) -> Option<u64> {
        OsDisk.free_bytes(self.location().folder()?).ok()
    }

    /// What was read from its data files since it was opened.
    #[must_use]
    pub fn io_counts(&self) -> IoCounts {
        self.io.counts()
    }

    /// Looks for commits of other processes and returns the newest version.
    ///
    /// # Errors
    /// As [`Table::open`]; a damaged newest commit is `Corrupt` here and is not moved.
    pub fn refresh(&self) -> Result<Arc<TableVersion>> {
        let _writer = self.writer.lock();
        self.reload()?;
        Ok(self.current())
    }

    /// Loads the newest version and publishes it; the writer's lock must be held.
    fn reload(&self) -> Result<open::Tail> {
        let (mut version, tail) = open::reload(&self.io, &self.options)?;
        let known = self.current();
        version.keep_cached(&known);
        // What another writer has removed may still be read here.
        self.alive.keep_removed(&known, &version);
        self.current.store(Arc::new(version));
        Ok(tail)
    }

    /// Writes rows of one partition, in any order, as durable files: one for each day they were received on, oldest
    /// first. None for no rows. They are part of the table only after [`Table::commit`].
    ///
    /// # Errors
    /// `Invalid` if the rows are of several partitions or not this table's; `Full` or `Unavailable` if the store fails:
    /// files already written are then no part of the table and harm nothing.
    pub fn write_files(&self, rows: &dyn RowSource) -> Result<Vec<NewFile>> {
        let mut files = Vec::new();
        self.write_rest(rows, &mut files)?;
        Ok(files)
    }

    /// The same for rows of which some days may be written already: `files` holds theirs, and each other day's as soon as it
    /// is durable, so that whoever tries again after an error writes nothing twice.
    ///
    /// # Errors
    /// As [`Table::write_files`].
    pub(crate) fn write_rest(&self, rows: &dyn RowSource, files: &mut Vec<NewFile>) -> Result<()> {
        self.write_with(rows, Extra::default, files)
    }

    /// The same for rows that will stay where they are written: with columns that questions are answered faster from.
    ///
    /// # Errors
    /// As [`Table::write_files`].
    pub(crate) fn write_to_stay(&self, rows: &dyn RowSource) -> Result<Vec<NewFile>> {
        let extra = Extra::observe(rows)?;
        let mut files = Vec::new();
        self.write_with(rows, || extra.clone(), &mut files)?;
        match files.iter().try_for_each(|new| check_extra(new.file())) {
            Err(error) if error.kind() == Kind::Corrupt => {
                // Nothing that can be left out keeps an erasure from its end.
                tracing::error!(%error, "the columns for questions are not what they should be: written again without them");
                self.write_files(rows)
            }
            checked => checked.map(|()| files),
        }
    }

    fn write_with(&self, rows: &dyn RowSource, extra: impl Fn() -> Extra, files: &mut Vec<NewFile>) -> Result<()> {
        if rows.is_empty() {
            return Ok(());
        }
        if rows.kind() != self.options.kind {
            let detail = format!("these rows are not of the table {}", self.options.kind.name());
            return Err(Error::new(Kind::Invalid, detail));
        }
        let partition = rows.partition()?;
        for day in encode::days(rows)? {
            if files.iter().all(|new| new.file.received_date != day.day) {
                files.push(self.write_day(rows, &day, partition, extra())?);
            }
        }
        Ok(())
    }

    /// [`Table::write_files`] for rows that are columns already.
    ///
    /// # Errors
    /// As there; `Invalid` too if the columns are not the table's.
    pub fn write_batch(&self, batch: &RecordBatch) -> Result<Vec<NewFile>> {
        let mut files = Vec::new();
        self.write_rest_of_batch(batch, &mut files)?;
        Ok(files)
    }

    /// [`Table::write_rest`] for rows that are columns already.
    ///
    /// # Errors
    /// As [`Table::write_batch`].
    pub(crate) fn write_rest_of_batch(&self, batch: &RecordBatch, files: &mut Vec<NewFile>) -> Result<()> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        self.write_rest(&batch_rows::BatchRows::new(self.options.kind, batch)?, files)
    }

    fn write_day(
        &self,
        rows: &dyn RowSource,
        day: &encode::Day,
        partition: PartitionId,
        extra: Extra,
    ) -> Result<NewFile> {
        let (bytes, bounds) = encode::encode(&self.options, rows, day, extra)?;
        let stats = bounds.to_json();
        let of_file = FileStats::parse(&stats).map_err(|why| Error::new(Kind::Internal, why))?;
        let path = FilePath::fresh(day.day, partition, of_file.offset.0, of_file.offset.1);
        let file = Arc::new(TableFile {
            path,
            bytes: bytes.content_length() as u64,
            rows: of_file.rows,
            received_date: day.day,
            partition,
            timestamp_min: of_file.timestamp.0,
            timestamp_max: of_file.timestamp.1,
            received_min: of_file.received.0,
            received_max: of_file.received.1,
            offset_min: of_file.offset.0,
            offset_max: of_file.offset.1,
            sha256: Some(FileHash::of_parts(bytes.iter())),
            sums: Some(BlockSums::of_parts(bytes.iter(), self.options.block_bytes)),
            io: Arc::clone(&self.io),
            number: self.io.footers.number(),
            outline: OnceLock::new(),
            blooms: OnceLock::new(),
        });
        // Before it is there: what is written and not yet committed must not be taken for garbage.
        self.alive.keep(std::slice::from_ref(&file));
        self.io.put(file.path.as_str(), bytes)?;
        Ok(NewFile { file, stats })
    }
}

/// Reads the extra columns of a new file back: they hold what its rows say.
fn check_extra(file: &TableFile) -> Result<()> {
    for group in file.row_groups()? {
        file.check_extra(group.index, &file.read_all(group.index)?)?;
    }
    Ok(())
}

impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Table").field("url", &self.io.location().url().as_str()).finish_non_exhaustive()
    }
}
