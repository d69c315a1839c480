//! [`Source`]: what a question reads. The store's snapshot is one; tests bring another that lives in memory.
//!
//! The rule: a source never changes while it is asked. Same source, same question, same bytes.

use std::sync::Arc;

use eye_event::Timestamp;
use eye_store::{Columns, Origin, Position, Result, Runs, Snapshot, StoredEvent, StoredRejection};

use crate::frame::Frame;
use crate::reads::Reads;

/// Of a source that does not say otherwise.
const QUESTION_RUNS_BYTES_MAX: usize = 256 * 1024 * 1024;

/// An immutable view of everything stored. Reads block.
pub trait Source {
    /// A part of it that can be read on its own.
    type Slice: SourceSlice;

    /// The version of the table it sees.
    fn version(&self) -> u64;

    /// What it has seen of the log.
    fn position(&self) -> &Position;

    /// Visits every event of one session with at least `columns` filled, in no particular order.
    ///
    /// # Errors
    /// Those of the store.
    fn session(&self, session_id: &str, columns: Columns, visit: &mut dyn FnMut(&StoredEvent<'_>)) -> Result<()>;

    /// The slices that may hold timestamps in `from..to` (`None`: open).
    ///
    /// # Errors
    /// Those of the store.
    fn slices(&self, from: Option<Timestamp>, to: Option<Timestamp>) -> Result<Vec<Self::Slice>>;

    /// The latest time at which an event up to this position was received; `None` if there is none.
    ///
    /// # Errors
    /// Those of the store.
    fn received_until(&self, position: &Position) -> Result<Option<Timestamp>>;

    /// Visits every rejection, in no particular order.
    ///
    /// # Errors
    /// Those of the store.
    fn rejections(&self, visit: &mut dyn FnMut(&StoredRejection<'_>)) -> Result<()>;

    /// Bytes of runs that one question may hold between its look at them and the rows; the others it looks up again.
    fn question_runs_bytes_max(&self) -> usize {
        QUESTION_RUNS_BYTES_MAX
    }
}

/// A part of a source: a row group of the table or a chunk of the hot buffer.
pub trait SourceSlice {
    /// All rows as columns, with at least what is read.
    ///
    /// # Errors
    /// Those of the store.
    fn frame(&self, reads: &Reads) -> Result<Frame> {
        let columns = reads.in_columns();
        Frame::gather(columns, |visit| self.visit(columns, visit))
    }

    /// The same, for a question that will soon be asked again: the next page of a list.
    ///
    /// # Errors
    /// Those of the store.
    fn frame_kept(&self, columns: Columns) -> Result<Frame> {
        self.frame(&columns.into())
    }

    /// The runs of rows with the same id in a column of ids, if they are at hand without reading it row by row: then no row is
    /// hidden.
    ///
    /// # Errors
    /// Those of the store.
    fn runs(&self, _column: Columns) -> Result<Option<Arc<Runs>>> {
        Ok(None)
    }

    /// What it is a part of: the same origin always means the same rows.
    fn origin(&self) -> Origin;

    /// How many rows it has.
    fn rows(&self) -> usize;

    /// True if this position has seen every row of it.
    fn is_within(&self, position: &Position) -> bool;

    /// The earliest and the latest timestamp in it, both inclusive.
    fn timestamps(&self) -> (Timestamp, Timestamp);

    /// Visits every row, with its number, with at least `columns` filled.
    ///
    /// # Errors
    /// Those of the store.
    fn visit(&self, columns: Columns, visit: &mut dyn FnMut(u32, &StoredEvent<'_>)) -> Result<()>;

    /// Visits the rows with these numbers (rising), with at least `columns` filled.
    ///
    /// # Errors
    /// Those of the store.
    fn fetch(&self, rows: &[u32], columns: Columns, visit: &mut dyn FnMut(&StoredEvent<'_>)) -> Result<()>;
}

impl Source for Snapshot {
    type Slice = eye_store::Slice;

    fn version(&self) -> u64 {
        Self::version(self)
    }

    fn position(&self) -> &Position {
        Self::position(self)
    }

    fn session(&self, session_id: &str, columns: Columns, visit: &mut dyn FnMut(&StoredEvent<'_>)) -> Result<()> {
        Self::session(self, session_id, columns, visit)
    }

    fn slices(&self, from: Option<Timestamp>, to: Option<Timestamp>) -> Result<Vec<Self::Slice>> {
        Self::slices(self, from, to)
    }

    fn received_until(&self, position: &Position) -> Result<Option<Timestamp>> {
        Self::received_until(self, position)
    }

    fn rejections(&self, visit: &mut dyn FnMut(&StoredRejection<'_>)) -> Result<()> {
        Self::rejections(self, visit)
    }

    fn question_runs_bytes_max(&self) -> usize {
        Self::question_runs_bytes_max(self)
    }
}

impl SourceSlice for eye_store::Slice {
    fn frame(&self, reads: &Reads) -> Result<Frame> {
        if let Some(batch) = self.batch(reads.columns(), reads.paths())? {
            return Frame::of(&batch, reads.paths());
        }
        let columns = reads.in_columns();
        Frame::gather(columns, |visit| self.visit(columns, visit))
    }

    fn frame_kept(&self, columns: Columns) -> Result<Frame> {
        match self.batch_kept(columns)? {
            Some(batch) => Frame::of(&batch, &[]),
            None => self.frame(&columns.into()),
        }
    }

    fn runs(&self, column: Columns) -> Result<Option<Arc<Runs>>> {
        Self::runs(self, column)
    }

    fn origin(&self) -> Origin {
        Self::origin(self)
    }

    fn rows(&self) -> usize {
        Self::rows(self)
    }

    fn is_within(&self, position: &Position) -> bool {
        Self::is_within(self, position)
    }

    fn timestamps(&self) -> (Timestamp, Timestamp) {
        Self::timestamps(self)
    }

    fn visit(&self, columns: Columns, visit: &mut dyn FnMut(u32, &StoredEvent<'_>)) -> Result<()> {
        Self::visit(self, columns, visit)
    }

    fn fetch(&self, rows: &[u32], columns: Columns, visit: &mut dyn FnMut(&StoredEvent<'_>)) -> Result<()> {
        Self::fetch(self, rows, columns, visit)
    }
}
