//! [`Footers`]: what data files say of themselves, kept within a limit.
//!
//! A footer with its page index takes about half a mebibyte a million rows, so those of a large table do not all fit into
//! memory. The rule: those used again and again stay, whatever is looked at once; what is asked of a file first (its slices
//! and their times, [`super::read::Outline`]) stays with the file.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use quick_cache::sync::{Cache, DefaultLifecycle};
use quick_cache::{DefaultHashBuilder, OptionsBuilder, Weighter};

use super::read::Footer;
use crate::error::{Error, Kind, Result};

/// What a footer takes, roughly: it is only guessed from this how many there will be.
const FOOTER_BYTES: usize = 128 * 1024;

/// Tells one open file of a table from all others, for as long as the process lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct FileNumber(u64);

/// The footers that one table keeps.
pub(crate) struct Footers {
    next: AtomicU64,
    kept: Cache<FileNumber, Arc<Footer>, Bytes>,
}

#[derive(Clone)]
struct Bytes;

impl Weighter<FileNumber, Arc<Footer>> for Bytes {
    fn weight(&self, _file: &FileNumber, footer: &Arc<Footer>) -> u64 {
        footer.bytes
    }
}

impl Footers {
    /// None yet, and never more bytes than this.
    ///
    /// # Errors
    /// `Internal`: none that is known.
    pub(crate) fn new(bytes_max: usize) -> Result<Self> {
        // In one piece: each of several would keep none that is larger than its part of the limit.
        let options = OptionsBuilder::new()
            .shards(1)
            .estimated_items_capacity(bytes_max / FOOTER_BYTES)
            .weight_capacity(bytes_max as u64)
            .build()
            .map_err(|error| Error::new(Kind::Internal, format!("footers cannot be kept: {error}")))?;
        let kept = Cache::with_options(options, Bytes, DefaultHashBuilder::default(), DefaultLifecycle::default());
        Ok(Self { next: AtomicU64::new(0), kept })
    }

    /// The number of one more file.
    pub(crate) fn number(&self) -> FileNumber {
        FileNumber(self.next.fetch_add(1, Ordering::Relaxed))
    }

    pub(super) fn get(&self, file: FileNumber) -> Option<Arc<Footer>> {
        self.kept.get(&file)
    }

    /// Keeps a footer, unless it is too large.
    pub(super) fn keep(&self, file: FileNumber, footer: Arc<Footer>) {
        self.kept.insert(file, footer);
    }

    /// The file is gone.
    pub(super) fn forget(&self, file: FileNumber) {
        self.kept.remove(&file);
    }

    /// What is kept, in bytes.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> u64 {
        self.kept.weight()
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::UInt32Array;
    use arrow::compute::take_record_batch;
    use eye_event::Timestamp;
    use object_store::memory::InMemory;
    use tokio::runtime::Runtime;

    use super::*;
    use crate::columns::{Columns, TableKind};
    use crate::table::extra::tests::rows;
    use crate::table::{Table, TableFile, TableLocation, TableOptions};

    const FILES: usize = 40;

    fn table(runtime: &Runtime, footers_bytes_max: usize) -> (Table, Vec<Arc<TableFile>>) {
        let options =
            TableOptions { footers_bytes_max, ..TableOptions::new(TableKind::Events, Timestamp::from_micros(0)) };
        let location = TableLocation::remote("memory:///events").unwrap();
        let table = Table::open(Arc::new(InMemory::new()), location, options, runtime.handle().clone()).unwrap().0;
        let written = rows("{}", "s", None);
        let files = (0..FILES).flat_map(|_| table.write_batch(&written).unwrap());
        let files = files.map(|new| Arc::clone(new.file())).collect();
        (table, files)
    }

    /// Reads all files, whose rows must be those written; returns how many reads that took.
    fn read_all(table: &Table, files: &[Arc<TableFile>]) -> u64 {
        let before = table.io_counts().reads;
        for file in files {
            // Newest first.
            let sent = take_record_batch(&rows("{}", "s", None), &UInt32Array::from(vec![1, 0])).unwrap();
            assert_eq!(file.read_all(0).unwrap(), sent);
            assert_eq!(file.session("s", Columns::ALL).unwrap().len(), 1);
        }
        table.io_counts().reads - before
    }

    #[test]
    fn footers_are_kept_within_the_limit_and_read_again_beyond_it() {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
        let (table_of_all, files) = table(&runtime, usize::MAX);
        let footers = &table_of_all.io.footers;
        let (first, again) = (read_all(&table_of_all, &files), read_all(&table_of_all, &files));
        assert_eq!(again + 2 * FILES as u64, first, "its footer and its bloom are read once");
        let one = footers.bytes() / FILES as u64;
        assert!(one > 1_000, "a footer takes {one} bytes");
        drop(files);
        assert_eq!(footers.bytes(), 0, "nobody reads them any more");

        for some in [0, 1, 4, 39] {
            let limit = some * one + one / 2;
            let (table_of_some, files) = table(&runtime, usize::try_from(limit).unwrap());
            assert!(read_all(&table_of_some, &files) >= first);
            let kept = table_of_some.io.footers.bytes();
            assert!(kept <= limit && (some == 0) == (kept == 0), "{kept} of {limit} bytes");
            let before = table_of_some.io_counts();
            files.iter().for_each(|file| assert_eq!(file.row_groups().unwrap()[0].rows, 2));
            assert_eq!(table_of_some.io_counts(), before, "what every question asks stays");
            assert!(read_all(&table_of_some, &files) > again, "what did not fit is read again");
        }
    }
}
