//! An immutable read view: the table at a version, and the hot buffers at an offset.
//!
//! A row is in exactly one of the two: the table has everything up to `flushed`, the hot buffer what lies past it.
//! Reads block (on files, or on object storage): call them from threads that may.

use std::sync::Arc;

use arrow::array::RecordBatch;
use eye_event::Timestamp;
use eye_log::{Offset, PartitionId};

use crate::buffer::{Chunk, GenerationView};
use crate::columns::{Columns, EventRows, RejectionRows};
use crate::error::Result;
use crate::event::{StoredEvent, StoredRejection};
use crate::position::Position;
use crate::table::{RowGroupInfo, TableFile, TableVersion};

/// A read view. Cheap to clone; what it shows never changes.
#[derive(Clone)]
pub struct Snapshot {
    pub(crate) events: Arc<TableVersion>,
    pub(crate) rejections: Arc<TableVersion>,
    pub(crate) hot: Vec<GenerationView>,
    pub(crate) position: Position,
    pub(crate) flushed: Position,
}

impl Snapshot {
    /// The table's version.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.events.version
    }

    /// What this view has seen of the log.
    #[must_use]
    pub fn position(&self) -> &Position {
        &self.position
    }

    /// What of that is in the table.
    #[must_use]
    pub fn flushed(&self) -> &Position {
        &self.flushed
    }

    /// Visits every event of one session, in no particular order, with at least `columns` filled.
    ///
    /// The direct path: session index in the hot buffer; in the table bloom filters, then the page index.
    ///
    /// # Errors
    /// A file that is away or damaged.
    pub fn session(&self, session_id: &str, columns: Columns, visit: &mut dyn FnMut(&StoredEvent<'_>)) -> Result<()> {
        for view in &self.hot {
            view.session(session_id, visit)?;
        }
        for file in &self.events.files {
            for batch in file.session(session_id, columns)? {
                let rows = EventRows::new(&batch)?;
                (0..rows.len()).for_each(|index| visit(&rows.row(index)));
            }
        }
        Ok(())
    }

    /// Every slice that may hold events of `[from, to)`.
    ///
    /// # Errors
    /// A file whose footer cannot be read.
    pub fn slices(&self, from: Option<Timestamp>, to: Option<Timestamp>) -> Result<Vec<Slice>> {
        let touches =
            |(min, max): (Timestamp, Timestamp)| from.is_none_or(|from| max >= from) && to.is_none_or(|to| min < to);
        let mut slices = Vec::new();
        for view in &self.hot {
            slices.extend(view.chunks().into_iter().filter(|chunk| touches(chunk.timestamps())).map(Slice::hot));
        }
        for file in &self.events.files {
            if !touches((file.timestamp_min, file.timestamp_max)) {
                continue;
            }
            let groups = file.row_groups()?.into_iter();
            let groups = groups.filter(|group| touches((group.timestamp_min, group.timestamp_max)));
            slices.extend(groups.map(|group| Slice::table(file, group)));
        }
        Ok(slices)
    }

    /// Visits every rejection, newest source first, in no particular order within one.
    ///
    /// # Errors
    /// A file that is away or damaged.
    pub fn rejections(&self, visit: &mut dyn FnMut(&StoredRejection<'_>)) -> Result<()> {
        for view in &self.hot {
            let flushed = self.rejections.flushed(view.partition());
            for row in view.rejections().iter().rev() {
                let rejection = row.rejection(view.partition())?;
                // Rejections are committed before events: after a failure in between, the table has them already.
                if rejection.offset > flushed {
                    visit(&rejection);
                }
            }
        }
        for file in self.rejections.files.iter().rev() {
            for group in file.row_groups()? {
                let batch = file.read_all(group.index)?;
                let rows = RejectionRows::new(&batch)?;
                (0..rows.len()).for_each(|index| visit(&rows.row(index)));
            }
        }
        Ok(())
    }
}

/// A piece of a snapshot that is read as a whole: a chunk of the hot buffer, or a row group of a file.
#[derive(Clone)]
pub struct Slice(Place);

/// What a slice is a part of. The same origin always means the same rows, in every snapshot: who hides rows of a file has
/// to give it another name here.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Origin {
    /// Rows of the hot buffer.
    Hot {
        /// Their partition.
        partition: PartitionId,
        /// The first one's offset.
        first: Offset,
        /// How many they are.
        rows: usize,
    },
    /// A file of the table, by its path.
    File(Arc<str>),
}

#[derive(Clone)]
enum Place {
    Hot(Arc<Chunk>),
    Table(Arc<TableFile>, RowGroupInfo),
}

impl Slice {
    fn hot(chunk: Arc<Chunk>) -> Self {
        Self(Place::Hot(chunk))
    }

    fn table(file: &Arc<TableFile>, group: RowGroupInfo) -> Self {
        Self(Place::Table(Arc::clone(file), group))
    }

    /// The earliest and the latest timestamp in it.
    #[must_use]
    pub fn timestamps(&self) -> (Timestamp, Timestamp) {
        match &self.0 {
            Place::Hot(chunk) => chunk.timestamps(),
            Place::Table(_, group) => (group.timestamp_min, group.timestamp_max),
        }
    }

    /// What it is a part of.
    #[must_use]
    pub fn origin(&self) -> Origin {
        match &self.0 {
            Place::Hot(chunk) => {
                Origin::Hot { partition: chunk.partition(), first: chunk.first_offset(), rows: chunk.len() }
            }
            Place::Table(file, ..) => Origin::File(file.path.as_str().into()),
        }
    }

    /// True if this position has seen every row of it.
    #[must_use]
    pub fn is_within(&self, position: &Position) -> bool {
        match &self.0 {
            Place::Hot(chunk) => chunk.last_offset() <= position.of(chunk.partition()),
            Place::Table(file, ..) => file.offset_max <= position.of(file.partition),
        }
    }

    /// How many rows it has.
    #[must_use]
    pub fn rows(&self) -> usize {
        match &self.0 {
            Place::Hot(chunk) => chunk.len(),
            Place::Table(_, group) => group.rows,
        }
    }

    /// Visits every row with its number, with at least `columns` filled.
    ///
    /// # Errors
    /// A file that is away or damaged.
    pub fn visit(&self, columns: Columns, visit: &mut dyn FnMut(u32, &StoredEvent<'_>)) -> Result<()> {
        match &self.0 {
            Place::Hot(chunk) => {
                for (number, index) in (0_u32..).zip(0..chunk.len()) {
                    visit(number, &chunk.event(index)?);
                }
            }
            Place::Table(file, group) => {
                let batch = file.read(group.index, columns, None)?;
                let rows = EventRows::new(&batch)?;
                (0_u32..).zip(0..rows.len()).for_each(|(number, index)| visit(number, &rows.row(index)));
            }
        }
        Ok(())
    }

    /// The rows as columns, with at least `columns` filled; application, category and name as dictionaries (`Int32` to
    /// `Utf8`), ids and payloads as `Utf8View`. `None` of a chunk of the hot buffer, whose rows lie one by one.
    ///
    /// # Errors
    /// A file that is away or damaged.
    pub fn batch(&self, columns: Columns) -> Result<Option<RecordBatch>> {
        match &self.0 {
            Place::Hot(_) => Ok(None),
            Place::Table(file, group) => file.read_coded(group.index, columns).map(Some),
        }
    }

    /// The same, kept for a while if it is asked for again: for lists, whose next page looks at the same slices.
    ///
    /// # Errors
    /// A file that is away or damaged.
    pub fn batch_kept(&self, columns: Columns) -> Result<Option<RecordBatch>> {
        match &self.0 {
            Place::Hot(_) => Ok(None),
            Place::Table(file, group) => file.read_coded_kept(group.index, columns).map(Some),
        }
    }

    /// Visits the rows with these numbers (ascending), with at least `columns` filled.
    ///
    /// # Errors
    /// A file that is away or damaged.
    pub fn fetch(&self, rows: &[u32], columns: Columns, visit: &mut dyn FnMut(&StoredEvent<'_>)) -> Result<()> {
        match &self.0 {
            Place::Hot(chunk) => {
                for number in rows {
                    visit(&chunk.event(*number as usize)?);
                }
            }
            Place::Table(file, group) => {
                let batch = file.read_scattered(group.index, columns, rows)?;
                let rows = EventRows::new(&batch)?;
                (0..rows.len()).for_each(|index| visit(&rows.row(index)));
            }
        }
        Ok(())
    }
}
