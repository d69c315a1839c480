//! An immutable read view: the table at a version, and the hot buffers at an offset.
//!
//! A row is in exactly one of the two: the table has everything up to `flushed`, the hot buffer what lies past it.
//! Reads block (on files, or on object storage): call them from threads that may.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use eye_event::Timestamp;
use eye_log::{Offset, PartitionId};

use crate::buffer::{Chunk, GenerationView};
use crate::columns::{Columns, EventRows, RejectionRows};
use crate::error::{Error, Kind, Result};
use crate::event::{StoredEvent, StoredRejection};
use crate::mask::Mask;
use crate::position::Position;
use crate::table::{RowGroupInfo, Runs, TableFile, TableVersion};

/// A read view. Cheap to clone; what it shows never changes.
#[derive(Clone)]
pub struct Snapshot {
    pub(crate) events: Arc<TableVersion>,
    pub(crate) rejections: Arc<TableVersion>,
    /// Rows of both that nobody sees any more.
    pub(crate) mask: Arc<Mask>,
    pub(crate) hot: Vec<GenerationView>,
    pub(crate) position: Position,
    pub(crate) flushed: Position,
    pub(crate) question_runs_bytes_max: usize,
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

    /// Bytes of [`Runs`] that one question over this view may hold at once.
    #[must_use]
    pub fn question_runs_bytes_max(&self) -> usize {
        self.question_runs_bytes_max
    }

    /// True if an erasure that is not done hides events of the table.
    #[must_use]
    pub fn hides_events(&self) -> bool {
        self.mask.events.len() > 0
    }

    /// Takes over the newest rows now: slices that are asked for later, perhaps by a thread that gives way to ingest, take no
    /// lock that ingest waits for.
    pub fn take_hot(&self) {
        self.hot.iter().for_each(|view| _ = view.chunks());
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
            let mask = self.mask_of(file);
            let columns = if mask.is_some() { columns | Columns::OFFSET } else { columns };
            for batch in file.session(session_id, columns)? {
                let batch = visible(mask.as_deref(), file, batch)?;
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
            slices.extend(view.chunks().iter().filter(|chunk| touches(chunk.timestamps())).cloned().map(Slice::hot));
        }
        for file in &self.events.files {
            if !touches((file.timestamp_min, file.timestamp_max)) {
                continue;
            }
            let groups = file.row_groups()?.into_iter();
            let groups = groups.filter(|group| touches((group.timestamp_min, group.timestamp_max)));
            let mask = self.mask_of(file);
            slices.extend(groups.map(|group| Slice(Place::Table(Arc::clone(file), group, mask.clone()))));
        }
        Ok(slices)
    }

    /// The paths of `data` whose values have columns of their own in files with at least half of the rows, as far as their
    /// footers were read before. Reads nothing.
    #[must_use]
    pub fn data_paths(&self) -> Vec<Vec<String>> {
        let hot: usize = self.hot.iter().map(GenerationView::rows).sum();
        let (mut all, mut rows) = (hot as u64, BTreeMap::<Vec<String>, u64>::new());
        for file in &self.events.files {
            all += file.rows;
            for path in file.known_data_paths() {
                *rows.entry(path).or_default() += file.rows;
            }
        }
        rows.into_iter().filter(|(_, rows)| rows * 2 >= all).map(|(path, _)| path).collect()
    }

    /// The latest time at which an event up to this position was received, of those that are still there; `None` if there is
    /// none.
    ///
    /// # Errors
    /// A file that is away or damaged.
    pub fn received_until(&self, position: &Position) -> Result<Option<Timestamp>> {
        let mut latest = None;
        for view in &self.hot {
            let seen = position.of(view.partition());
            for chunk in view.chunks().iter().filter(|chunk| chunk.first_offset() <= seen) {
                for index in 0..chunk.len() {
                    let (received_at, _, offset) = chunk.key(index)?;
                    if offset > seen {
                        break;
                    }
                    latest = latest.max(Some(received_at));
                }
            }
        }
        for file in &self.events.files {
            let seen = position.of(file.partition);
            if file.offset_min > seen || Some(file.received_max) <= latest {
                continue;
            }
            let mask = self.mask_of(file);
            if file.offset_max <= seen && mask.is_none() {
                latest = Some(file.received_max);
                continue;
            }
            for group in file.row_groups()? {
                let batch = file.read(group.index, Columns::OFFSET | Columns::RECEIVED_AT, None)?;
                let batch = visible(mask.as_deref(), file, batch)?;
                for row in EventRows::new(&batch)?.iter().filter(|row| row.offset <= seen) {
                    latest = latest.max(Some(row.received_at));
                }
            }
        }
        Ok(latest)
    }

    /// The mask, if it may hide rows of this file.
    fn mask_of(&self, file: &TableFile) -> Option<Arc<Mask>> {
        self.mask.events.touch(file).then(|| Arc::clone(&self.mask))
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
                let hidden = &self.mask.rejections;
                for row in rows.iter().filter(|row| !hidden.contains(row.partition, row.offset)) {
                    visit(&row);
                }
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
    /// A file of the table.
    File {
        /// Its path.
        path: Arc<str>,
        /// Which rows of it are hidden: the number of the mask, 0 if none are.
        mask: u64,
    },
}

#[derive(Clone)]
enum Place {
    Hot(Arc<Chunk>),
    /// The mask hides some of the file's rows: they count nowhere.
    Table(Arc<TableFile>, RowGroupInfo, Option<Arc<Mask>>),
}

impl Slice {
    fn hot(chunk: Arc<Chunk>) -> Self {
        Self(Place::Hot(chunk))
    }

    /// The earliest and the latest timestamp in it.
    #[must_use]
    pub fn timestamps(&self) -> (Timestamp, Timestamp) {
        match &self.0 {
            Place::Hot(chunk) => chunk.timestamps(),
            Place::Table(_, group, _) => (group.timestamp_min, group.timestamp_max),
        }
    }

    /// What it is a part of.
    #[must_use]
    pub fn origin(&self) -> Origin {
        match &self.0 {
            Place::Hot(chunk) => {
                Origin::Hot { partition: chunk.partition(), first: chunk.first_offset(), rows: chunk.len() }
            }
            Place::Table(file, _, mask) => {
                let mask = mask.as_ref().map_or(0, |mask| mask.number);
                Origin::File { path: file.path.as_str().into(), mask }
            }
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

    /// True if some of its rows may be hidden: then it may have fewer than [`Slice::rows`].
    #[must_use]
    pub fn may_hide_rows(&self) -> bool {
        matches!(&self.0, Place::Table(_, _, Some(_)))
    }

    /// How many rows it has, looked up if some may be hidden.
    ///
    /// # Errors
    /// As [`Slice::visit`].
    pub fn count(&self) -> Result<usize> {
        if !self.may_hide_rows() {
            return Ok(self.rows());
        }
        let mut rows = 0;
        self.visit(Columns::OFFSET, &mut |_, _| rows += 1)?;
        Ok(rows)
    }

    /// How many rows it has, at most: some may be hidden.
    #[must_use]
    pub fn rows(&self) -> usize {
        match &self.0 {
            Place::Hot(chunk) => chunk.len(),
            Place::Table(_, group, _) => group.rows,
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
            Place::Table(file, group, mask) => {
                let batch = file.read(group.index, with_offset(columns, mask), None)?;
                let batch = visible(mask.as_deref(), file, batch)?;
                let rows = EventRows::new(&batch)?;
                (0_u32..).zip(0..rows.len()).for_each(|(number, index)| visit(number, &rows.row(index)));
            }
        }
        Ok(())
    }

    /// The rows as columns, with at least `columns` filled; application, category and name, and sessions and users where
    /// the file says so, as dictionaries (`Int32` to `Utf8`), other ids and payloads as `Utf8View`. `None` of a chunk of the
    /// hot buffer, whose rows lie one by one.
    ///
    /// What is wanted at these paths of `data` stands in the columns that [`crate::data_column`] names, or `data` is filled.
    ///
    /// # Errors
    /// A file that is away or damaged.
    pub fn batch(&self, columns: Columns, paths: &[Vec<String>]) -> Result<Option<RecordBatch>> {
        match &self.0 {
            Place::Hot(_) => Ok(None),
            Place::Table(file, group, mask) => {
                let batch = file.read_coded(group.index, with_offset(columns, mask), paths)?;
                visible(mask.as_deref(), file, batch).map(Some)
            }
        }
    }

    /// The same, kept for a while if it is asked for again: for lists, whose next page looks at the same slices.
    ///
    /// # Errors
    /// A file that is away or damaged.
    pub fn batch_kept(&self, columns: Columns) -> Result<Option<RecordBatch>> {
        match &self.0 {
            Place::Hot(_) => Ok(None),
            Place::Table(file, group, mask) => {
                let batch = file.read_coded_kept(group.index, with_offset(columns, mask))?;
                visible(mask.as_deref(), file, batch).map(Some)
            }
        }
    }

    /// The runs of rows with the same id in one of the columns of ids: kept between questions, read once. `None` where they
    /// are not at hand: of a chunk of the hot buffer, and where rows are hidden.
    ///
    /// # Errors
    /// A file that is away or damaged.
    pub fn runs(&self, column: Columns) -> Result<Option<Arc<Runs>>> {
        match &self.0 {
            Place::Table(file, group, None) => file.runs(group.index, column).map(Some),
            Place::Hot(_) | Place::Table(..) => Ok(None),
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
            Place::Table(file, group, mask) => {
                let rows = match mask {
                    Some(mask) => numbers_in_file(mask, file, group.index, rows)?,
                    None => rows.to_vec(),
                };
                let batch = file.read_scattered(group.index, columns, &rows)?;
                let rows = EventRows::new(&batch)?;
                (0..rows.len()).for_each(|index| visit(&rows.row(index)));
            }
        }
        Ok(())
    }
}

/// What must be read so that hidden rows can be told.
fn with_offset(columns: Columns, mask: &Option<Arc<Mask>>) -> Columns {
    if mask.is_some() { columns | Columns::OFFSET } else { columns }
}

/// The rows of a batch that are not hidden.
fn visible(mask: Option<&Mask>, file: &TableFile, batch: RecordBatch) -> Result<RecordBatch> {
    match mask {
        Some(mask) => mask.events.hide_in(file.partition, &batch),
        None => Ok(batch),
    }
}

/// Numbers of visible rows, as numbers of rows of the file's slice.
fn numbers_in_file(mask: &Mask, file: &TableFile, row_group: usize, rows: &[u32]) -> Result<Vec<u32>> {
    let batch = file.read(row_group, Columns::OFFSET, None)?;
    let hidden = mask.events.choose(file.partition, &batch)?;
    let visible: Vec<u32> =
        (0_u32..).zip(hidden.values()).filter(|(_, is_hidden)| !is_hidden).map(|(row, _)| row).collect();
    let number = |row: &u32| visible.get(*row as usize).copied();
    let numbers: Option<Vec<u32>> = rows.iter().map(number).collect();
    numbers.ok_or_else(|| Error::new(Kind::Invalid, format!("{} has not so many rows in slice {row_group}", file.path)))
}
