//! Rows out of a data file, reading and decoding no more than what is asked for.
//!
//! Footers (with page index) and session blooms are read once and kept with the file. A session's way: bloom filter →
//! row groups; page index → pages whose bounds enclose it; the session column of those pages → exact rows; the wanted
//! columns of those rows. All calls block; see [`TableFile`].

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray, UInt32Array};
use arrow::compute::{concat_batches, take_record_batch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use bytes::Bytes;
use eye_event::Timestamp;
use parquet::DecodeResult;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader, RowSelection};
use parquet::arrow::push_decoder::{ParquetPushDecoder, ParquetPushDecoderBuilder};
use parquet::arrow::{ProjectionMask, parquet_to_arrow_field_levels};
use parquet::errors::ParquetError;
use parquet::file::metadata::{
    ColumnChunkMetaData, PageIndexPolicy, ParquetMetaData, ParquetMetaDataPushDecoder, RowGroupMetaData,
};
use parquet::file::page_index::column_index::ColumnIndexMetaData;
use parquet::file::statistics::Statistics;

use super::bloom::{Bloom, Probe};
use super::extra::{self, Extra};
use super::kept::{Asked, Key};
use super::pages::Pages;
use super::version::TableFile;
use crate::columns::{Columns, required, text_column};
use crate::error::{Error, Kind, Result};

/// The end of a file that is read at once in the hope that footer and page index lie in it.
const TAIL_BYTES: u64 = 64 * 1024;

/// So many groups of rows, each away from the one before, lie on so many pages of their slice that it is decoded whole.
const SCATTERED_GROUPS: usize = 16;
/// Rows so far apart are in different groups: about a page of ids.
const GROUP_DISTANCE: u32 = 512;

/// Ranges of rows, and the gaps between them, are few if they have so many rows on average: twice as many as the library
/// demands to skip from one range to the next.
const RANGE_ROWS_MIN: usize = 64;

/// Columns that [`TableFile::read_coded`] leaves as dictionaries.
const CODED_COLUMNS: [&str; 3] = ["application", "category", "name"];
/// Columns that [`TableFile::read_coded`] leaves where they were decompressed, and only points to.
const VIEWED_COLUMNS: [&str; 6] = ["event_id", "session_id", "user_id", "anonymous_id", "data", "context"];

/// The name of the column in which [`TableFile::read_coded`] gives the values at this path of `data`; `None` if values at
/// it never have one.
#[must_use]
pub fn data_column(path: &[String]) -> Option<String> {
    extra::column_of(path)
}

/// One slice of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RowGroupInfo {
    /// Its place in the file, from 0: newest slice first.
    pub index: usize,
    /// Its rows.
    pub rows: usize,
    /// The earliest row's time (of rejections: `received_at`).
    pub timestamp_min: Timestamp,
    /// The latest row's time (of rejections: `received_at`).
    pub timestamp_max: Timestamp,
}

/// What is kept of a file's footer.
pub(crate) struct Footer {
    reader: ArrowReaderMetadata,
    /// The same, with columns of few texts left as the dictionaries they are, and others not copied.
    coded: ArrowReaderMetadata,
    row_groups: Vec<RowGroupInfo>,
    session_column: Option<usize>,
    /// Whether it has extra columns: another program's file may have any, which mean something else.
    has_extra: bool,
}

impl Footer {
    fn data_paths(&self) -> Vec<Vec<String>> {
        let names = self.reader.schema().fields().iter().map(|field| field.name().as_str());
        names.filter(|_| self.has_extra).filter_map(extra::path_of_column).collect()
    }
}

/// The session bloom of each row group; `None` where there is none.
pub(crate) struct Blooms(Vec<Option<Bloom>>);

/// All calls read files or the object store: make them from threads that may block, never from the runtime's workers.
impl TableFile {
    /// The file's slices, newest first.
    ///
    /// # Errors
    /// `Corrupt` if the file is missing or damaged, `Unavailable` if it cannot be read now.
    pub fn row_groups(&self) -> Result<Vec<RowGroupInfo>> {
        Ok(self.footer()?.row_groups.clone())
    }

    /// What its rows take when they are decoded, without what holds them together.
    ///
    /// # Errors
    /// As [`TableFile::row_groups`].
    pub(crate) fn decoded_bytes(&self) -> Result<u64> {
        let groups = self.footer()?.reader.metadata().row_groups();
        Ok(groups.iter().flat_map(RowGroupMetaData::columns).map(decoded_bytes).sum())
    }

    /// The same of some columns of one slice.
    fn slice_bytes(&self, row_group: usize, columns: Columns) -> Result<u64> {
        let metadata = self.footer()?.reader.metadata();
        Ok(columns.names().map(|name| column_bytes(metadata, row_group, name)).sum())
    }

    /// Rows of one slice, in the order of the file: all of them, or those whose numbers (from 0, rising) are given.
    ///
    /// Only pages that hold such rows of the wanted columns are read. Of rejections all columns are read.
    ///
    /// # Errors
    /// `Invalid` if there is no such slice or row; otherwise as [`TableFile::row_groups`].
    pub fn read(&self, row_group: usize, columns: Columns, selection: Option<&[u32]>) -> Result<RecordBatch> {
        let info = self.row_group(row_group)?;
        let ranges = match selection {
            None => None,
            Some(rows) => Some(consecutive(rows, info.rows).ok_or_else(|| {
                Error::new(Kind::Invalid, format!("rows of {} must rise and lie below {}", self.path, info.rows))
            })?),
        };
        self.decode(row_group, columns, ranges)
    }

    /// The same rows; if they lie all over the slice and it is asked for again, it is decoded whole and kept for a while.
    ///
    /// # Errors
    /// As [`TableFile::read`].
    pub fn read_scattered(&self, row_group: usize, columns: Columns, rows: &[u32]) -> Result<RecordBatch> {
        let info = self.row_group(row_group)?;
        let away = rows.windows(2).filter(|pair| pair[1].saturating_sub(pair[0]) >= GROUP_DISTANCE).count();
        if away + 1 < SCATTERED_GROUPS || rows.last().is_some_and(|last| *last as usize >= info.rows) {
            return self.read(row_group, columns, Some(rows));
        }
        if self.slice_bytes(row_group, columns)? > self.io.kept.slice_bytes_max() as u64 {
            return self.read_shared(row_group, columns, Some(rows));
        }
        let key = Key { path: self.path.as_str().to_owned(), row_group, columns, is_coded: false };
        let whole = match self.io.kept.ask(&key) {
            Asked::New => return self.read_shared(row_group, columns, Some(rows)),
            Asked::Kept(whole) => whole,
            Asked::Again => {
                let whole = self.read_shared(row_group, columns, None)?;
                self.io.kept.keep(key, whole.clone());
                whole
            }
        };
        take_record_batch(&whole, &UInt32Array::from(rows.to_vec()))
            .map_err(|error| Error::new(Kind::Internal, format!("cannot take rows of {}: {error}", self.path)))
    }

    /// The same as [`TableFile::read`], the columns shared among as many threads as there are cores.
    fn read_shared(&self, row_group: usize, columns: Columns, rows: Option<&[u32]>) -> Result<RecordBatch> {
        let footer = self.footer()?;
        let bytes = |name: &str| column_bytes(footer.reader.metadata(), row_group, name);
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let sets = columns.split(threads, bytes);
        let parts: Vec<_> = std::thread::scope(|scope| {
            let (mine, others) = sets.split_first().map_or((Columns::NONE, &[][..]), |(mine, others)| (*mine, others));
            let others: Vec<_> = others.iter().map(|set| scope.spawn(|| self.read(row_group, *set, rows))).collect();
            let mine = self.read(row_group, mine, rows);
            std::iter::once(Ok(mine)).chain(others.into_iter().map(std::thread::ScopedJoinHandle::join)).collect()
        });
        let panicked = |_| Error::new(Kind::Internal, format!("reading {} panicked", self.path));
        let parts = parts.into_iter().map(|part| part.map_err(panicked)?).collect::<Result<Vec<_>>>()?;
        let fields = columns.names().filter_map(|name| {
            let is_nullable = footer.reader.schema().field_with_name(name).is_ok_and(|field| field.is_nullable());
            parts.iter().find_map(|part| Some((name, Arc::clone(part.column_by_name(name)?), is_nullable)))
        });
        let whole = RecordBatch::try_from_iter_with_nullable(fields);
        whole.map_err(|error| {
            Error::new(Kind::Internal, format!("cannot put columns of {} together: {error}", self.path))
        })
    }

    /// Every row of one slice; application, category and name as dictionaries (`Int32` to `Utf8`), ids and payloads as
    /// `Utf8View`, or, in a file that was written to stay, sessions and users as dictionaries too.
    ///
    /// With the JSON texts of the values at these paths of `data`, as dictionaries in columns named as [`data_column`]
    /// says: those that have a column of their own in this file. If one has none, `data` is read too.
    ///
    /// # Errors
    /// As [`TableFile::read`].
    pub fn read_coded(&self, row_group: usize, columns: Columns, paths: &[Vec<String>]) -> Result<RecordBatch> {
        let footer = self.footer()?;
        let schema = footer.coded.schema();
        let place = |name: &str| schema.fields().find(name).map(|(place, _)| place);
        let beside = |name: Option<String>| place(&name.filter(|_| footer.has_extra)?);
        let apart: Option<Vec<usize>> = paths.iter().map(|path| beside(extra::column_of(path))).collect();
        let columns = if apart.is_some() { columns } else { columns | Columns::DATA };
        let whole = columns.names().filter_map(|name| beside(extra::run_column(name)).or_else(|| place(name)));
        let mut fields: Vec<usize> = whole.chain(apart.into_iter().flatten()).collect();
        fields.sort_unstable();
        fields.dedup();
        let batch = self.decode_with(&footer.coded, row_group, &fields, None)?;
        extra::with_runs(batch).map_err(|error| error.context(&self.path))
    }

    /// The column with the runs of a column (see [`extra`]), as the file has it; `None` if it has none.
    pub(super) fn read_firsts(&self, row_group: usize, column: &str) -> Result<Option<StringArray>> {
        let footer = self.footer()?;
        let name = extra::run_column(column).filter(|_| footer.has_extra);
        let place = |name: &String| footer.reader.schema().index_of(name).ok();
        let Some((place, name)) = name.and_then(|name| Some((place(&name)?, name))) else { return Ok(None) };
        let batch = self.decode_with(&footer.reader, row_group, &[place], None)?;
        Ok(text_column(&batch, &name)?.cloned())
    }

    /// The paths of `data` whose values have columns of their own, if the footer was read before; none if not.
    pub(crate) fn known_data_paths(&self) -> Vec<Vec<String>> {
        self.footer.get().map(Footer::data_paths).unwrap_or_default()
    }

    /// The extra columns of a slice whose rows, with all columns of the table, are these: they hold what those say.
    ///
    /// # Errors
    /// `Corrupt` if they do not; otherwise as [`TableFile::read`].
    pub(crate) fn check_extra(&self, row_group: usize, rows: &RecordBatch) -> Result<()> {
        let footer = self.footer()?;
        let schema = footer.reader.schema();
        let names = schema.fields().iter().map(|field| field.name().as_str());
        let Some(mut extra) = Extra::of_file(names).filter(|_| footer.has_extra) else { return Ok(()) };
        let (expected, fields) = (extra.columns(rows, true)?, extra.fields());
        let places: Vec<usize> = fields.iter().filter_map(|field| schema.index_of(field.name()).ok()).collect();
        let found = self.decode_with(&footer.reader, row_group, &places, None)?;
        for (field, expected) in fields.iter().zip(expected) {
            if found.column_by_name(field.name()).is_none_or(|found| *found != expected) {
                return Err(self.damaged(&format_args!("{} is not what the rows say", field.name())));
            }
        }
        Ok(())
    }

    /// The same, kept for a while if it is asked for again: of lists, whose next page looks at the same slices.
    ///
    /// # Errors
    /// As [`TableFile::read`].
    pub fn read_coded_kept(&self, row_group: usize, columns: Columns) -> Result<RecordBatch> {
        if self.slice_bytes(row_group, columns)? > self.io.kept.slice_bytes_max() as u64 {
            return self.read_coded(row_group, columns, &[]);
        }
        let key = Key { path: self.path.as_str().to_owned(), row_group, columns, is_coded: true };
        match self.io.kept.ask(&key) {
            Asked::New => self.read_coded(row_group, columns, &[]),
            Asked::Kept(whole) => Ok(whole),
            Asked::Again => {
                let whole = self.read_coded(row_group, columns, &[])?;
                self.io.kept.keep(key, whole.clone());
                Ok(whole)
            }
        }
    }

    /// Every row and every column of one slice, in the order of the file.
    ///
    /// # Errors
    /// As [`TableFile::read`].
    pub fn read_all(&self, row_group: usize) -> Result<RecordBatch> {
        self.read(row_group, Columns::ALL, None)
    }

    /// Every row of this session, one batch per slice that holds some, in the order of the file.
    ///
    /// # Errors
    /// As [`TableFile::row_groups`].
    pub fn session(&self, session_id: &str, columns: Columns) -> Result<Vec<RecordBatch>> {
        let mut found = Vec::new();
        for row_group in self.row_groups_of(session_id)? {
            let rows = self.session_rows(row_group, session_id)?;
            if rows.is_empty() {
                continue;
            }
            // Their ids have been read, and are all the same.
            let batch = self.read(row_group, columns.without(Columns::SESSION_ID), Some(&rows))?;
            found.push(if columns.contains(Columns::SESSION_ID) {
                self.with_session(&batch, session_id)?
            } else {
                batch
            });
        }
        Ok(found)
    }

    /// These rows, all of one session, with its column.
    fn with_session(&self, batch: &RecordBatch, session_id: &str) -> Result<RecordBatch> {
        let ids = StringArray::from_iter_values(std::iter::repeat_n(session_id, batch.num_rows()));
        let field = Arc::new(Field::new("session_id", DataType::Utf8, false));
        let fields = batch.schema().fields().iter().cloned().chain([field]).collect::<Vec<_>>();
        let columns = batch.columns().iter().cloned().chain([Arc::new(ids) as ArrayRef]).collect();
        RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)
            .map_err(|error| Error::new(Kind::Internal, format!("cannot put rows of {} together: {error}", self.path)))
    }

    /// False only if no row of this session is in the file.
    ///
    /// # Errors
    /// As [`TableFile::row_groups`].
    pub fn may_hold_session(&self, session_id: &str) -> Result<bool> {
        Ok(!self.row_groups_of(session_id)?.is_empty())
    }

    /// The row groups whose bloom does not exclude the session. A footer that is not cached yet is read.
    fn row_groups_of(&self, session_id: &str) -> Result<Vec<usize>> {
        let blooms = &self.blooms()?.0;
        let probe = Probe::new(session_id);
        let may_hold = |bloom: &Option<Bloom>| bloom.as_ref().is_none_or(|bloom| bloom.may_hold(&probe));
        Ok((0..).zip(blooms).filter(|(_, bloom)| may_hold(bloom)).map(|(index, _)| index).collect())
    }

    /// The numbers of a session's rows in one row group.
    fn session_rows(&self, row_group: usize, session_id: &str) -> Result<Vec<u32>> {
        let pages = self.session_pages(row_group, session_id)?;
        if pages.is_empty() {
            return Ok(Vec::new());
        }
        let batch = self.decode(row_group, Columns::SESSION_ID, Some(pages.clone()))?;
        let sessions = required(text_column(&batch, "session_id")?, "session_id")?;
        let numbers = pages.into_iter().flatten();
        let rows = numbers.zip(sessions.iter()).filter(|(_, session)| *session == Some(session_id));
        Ok(rows.filter_map(|(row, _)| u32::try_from(row).ok()).collect())
    }

    /// The row ranges of the pages whose bounds enclose the session; the whole row group if it has no page index.
    fn session_pages(&self, row_group: usize, session_id: &str) -> Result<Vec<Range<usize>>> {
        let footer = self.footer()?;
        let whole = 0..self.row_group(row_group)?.rows;
        let metadata = footer.reader.metadata();
        let index = footer.session_column.and_then(|column| page_index(metadata, row_group, column));
        let Some((ColumnIndexMetaData::BYTE_ARRAY(bounds), starts)) = index else {
            return Ok(vec![whole]);
        };
        let ends = starts.iter().skip(1).copied().chain(std::iter::once(whole.end));
        let id = session_id.as_bytes();
        let encloses = |page: usize| {
            bounds.min_value(page).is_none_or(|low| low <= id) && bounds.max_value(page).is_none_or(|high| id <= high)
        };
        let pages = starts.iter().copied().zip(ends).enumerate().filter(|(page, _)| encloses(*page));
        Ok(pages.map(|(_, (start, end))| start..end).collect())
    }

    pub(super) fn row_group(&self, row_group: usize) -> Result<RowGroupInfo> {
        self.footer()?
            .row_groups
            .get(row_group)
            .copied()
            .ok_or_else(|| Error::new(Kind::Invalid, format!("{} has no row group {row_group}", self.path)))
    }

    fn decode(&self, row_group: usize, columns: Columns, rows: Option<Vec<Range<usize>>>) -> Result<RecordBatch> {
        let footer = self.footer()?;
        self.decode_with(&footer.reader, row_group, &projection(footer, columns), rows)
    }

    fn decode_with(
        &self,
        reader: &ArrowReaderMetadata,
        row_group: usize,
        fields: &[usize],
        rows: Option<Vec<Range<usize>>>,
    ) -> Result<RecordBatch> {
        let total = self.row_group(row_group)?.rows;
        let wanted = rows.as_ref().map_or(total, |rows| rows.iter().map(Range::len).sum());
        let columns = ProjectionMask::roots(reader.parquet_schema(), fields.iter().copied());
        // With more ranges the library may decode what lies between them too, which was not read.
        let are_few = rows.as_ref().is_none_or(|rows| (2 * rows.len() + 1) * RANGE_ROWS_MIN <= total);
        let rows = rows.map(|rows| RowSelection::from_consecutive_ranges(rows.into_iter(), total));
        // Files of other programs may be compressed in any way.
        let batches = match self.sums.is_some() && wanted > 0 && are_few {
            true => self.read_pages(reader, row_group, columns, rows, wanted)?,
            false => {
                let builder = ParquetPushDecoderBuilder::new_with_metadata(reader.clone())
                    .with_row_groups(vec![row_group])
                    .with_batch_size(wanted.max(1))
                    .with_projection(columns);
                let builder = rows.into_iter().fold(builder, ParquetPushDecoderBuilder::with_row_selection);
                self.drive(builder.build().map_err(|error| self.damaged(&error))?)?
            }
        };
        let batch = match <[RecordBatch; 1]>::try_from(batches) {
            Ok([batch]) => batch,
            Err(batches) if batches.is_empty() => {
                let schema = reader.schema().project(fields);
                RecordBatch::new_empty(schema.map_err(|error| self.damaged(&error))?.into())
            }
            Err(batches) => concat_batches(&batches[0].schema(), &batches)
                .map_err(|error| Error::new(Kind::Internal, format!("cannot join rows of {}: {error}", self.path)))?,
        };
        if batch.num_rows() == wanted { Ok(batch) } else { Err(self.damaged(&"a row group is short of rows")) }
    }

    fn read_pages(
        &self,
        reader: &ArrowReaderMetadata,
        row_group: usize,
        columns: ProjectionMask,
        rows: Option<RowSelection>,
        wanted: usize,
    ) -> Result<Vec<RecordBatch>> {
        let damaged = |error: ParquetError| self.damaged(&error);
        let metadata = reader.metadata();
        let ranges = Pages::ranges(metadata, row_group, &columns, rows.as_ref());
        let all: Vec<Range<u64>> = ranges.iter().flat_map(|(_, ranges)| ranges).cloned().collect();
        let pages = Pages::new(metadata, row_group, ranges, self.ranges(&all)?);
        let fields = Some(reader.schema().fields());
        let levels = parquet_to_arrow_field_levels(reader.parquet_schema(), columns, fields).map_err(damaged)?;
        let batches =
            ParquetRecordBatchReader::try_new_with_row_groups(&levels, &pages, wanted, rows).map_err(damaged)?;
        batches.collect::<std::result::Result<_, _>>().map_err(|error| self.damaged(&error))
    }

    fn drive(&self, mut decoder: ParquetPushDecoder) -> Result<Vec<RecordBatch>> {
        let mut batches = Vec::new();
        loop {
            match decoder.try_decode().map_err(|error| self.damaged(&error))? {
                DecodeResult::NeedsData(ranges) => {
                    let bytes = self.ranges(&ranges)?;
                    decoder.push_ranges(ranges, bytes).map_err(|error| self.damaged(&error))?;
                }
                DecodeResult::Data(batch) => batches.push(batch),
                DecodeResult::Finished => return Ok(batches),
            }
        }
    }

    fn footer(&self) -> Result<&Footer> {
        if let Some(footer) = self.footer.get() {
            return Ok(footer);
        }
        // Two readers may load it at once: both get the same, one is dropped.
        let loaded = self.load_footer()?;
        Ok(self.footer.get_or_init(|| loaded))
    }

    fn load_footer(&self) -> Result<Footer> {
        let damaged = |error: ParquetError| self.damaged(&error);
        let mut decoder = ParquetMetaDataPushDecoder::try_new(self.bytes)
            .map_err(damaged)?
            .with_page_index_policy(PageIndexPolicy::Optional);
        let tail = self.bytes.saturating_sub(TAIL_BYTES)..self.bytes;
        let mut needed = vec![tail];
        let metadata = loop {
            let bytes = self.ranges(&needed)?;
            decoder.push_ranges(needed, bytes).map_err(damaged)?;
            match decoder.try_decode().map_err(damaged)? {
                DecodeResult::NeedsData(ranges) => needed = ranges,
                DecodeResult::Data(metadata) => break metadata,
                DecodeResult::Finished => return Err(self.damaged(&"its footer ends early")),
            }
        };
        let row_groups = self.describe(&metadata)?;
        let session_column = leaf(&metadata, "session_id");
        let metadata: Arc<ParquetMetaData> = metadata.into();
        let reader = ArrowReaderMetadata::try_new(Arc::clone(&metadata), ArrowReaderOptions::new()).map_err(damaged)?;
        let is_ours = self.sha256.is_some() && self.sums.is_some();
        let has_extra =
            is_ours && Extra::of_file(reader.schema().fields().iter().map(|field| field.name().as_str())).is_some();
        let options = ArrowReaderOptions::new().with_schema(coded_schema(reader.schema(), has_extra));
        let coded = ArrowReaderMetadata::try_new(metadata, options).map_err(damaged)?;
        Ok(Footer { reader, coded, row_groups, session_column, has_extra })
    }

    fn describe(&self, metadata: &ParquetMetaData) -> Result<Vec<RowGroupInfo>> {
        let time = leaf(metadata, "timestamp").or_else(|| leaf(metadata, "received_at"));
        let describe = |(index, group): (usize, &parquet::file::metadata::RowGroupMetaData)| {
            let bounds = match time.and_then(|time| group.column(time).statistics()) {
                Some(Statistics::Int64(bounds)) => bounds.min_opt().copied().zip(bounds.max_opt().copied()),
                _ => None,
            };
            let Some((min, max)) = bounds else {
                return Err(self.damaged(&"a row group has no bounds of its times"));
            };
            Ok(RowGroupInfo {
                index,
                rows: usize::try_from(group.num_rows()).unwrap_or_default(),
                timestamp_min: Timestamp::from_micros(min),
                timestamp_max: Timestamp::from_micros(max),
            })
        };
        metadata.row_groups().iter().enumerate().map(describe).collect()
    }

    fn blooms(&self) -> Result<&Blooms> {
        if let Some(blooms) = self.blooms.get() {
            return Ok(blooms);
        }
        let loaded = self.load_blooms()?;
        Ok(self.blooms.get_or_init(|| loaded))
    }

    fn load_blooms(&self) -> Result<Blooms> {
        let footer = self.footer()?;
        let metadata = footer.reader.metadata();
        let place = |group: &parquet::file::metadata::RowGroupMetaData| {
            let column = group.column(footer.session_column?);
            let start = u64::try_from(column.bloom_filter_offset()?).ok()?;
            let length = u64::try_from(column.bloom_filter_length()?).ok()?;
            Some(start..start.checked_add(length)?)
        };
        let places: Vec<Option<Range<u64>>> = metadata.row_groups().iter().map(place).collect();
        let ranges: Vec<Range<u64>> = places.iter().flatten().cloned().collect();
        let mut bytes = self.ranges(&ranges)?.into_iter();
        let read = |bytes: Bytes| Bloom::from_bytes(&bytes).map_err(|error| self.damaged(&error));
        let blooms = places.iter().map(|place| place.as_ref().and_then(|_| bytes.next()).map(read).transpose());
        blooms.collect::<Result<_>>().map(Blooms)
    }

    /// Parts of the file, checked: whatever is decoded is what was written.
    fn ranges(&self, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        let Some(sums) = &self.sums else { return self.io.ranges(self.path.as_str(), ranges) };
        if ranges.iter().any(|range| range.start > range.end || range.end > self.bytes) {
            return Err(self.damaged(&"a part of it would lie past its end"));
        }
        let blocks = sums.around(ranges, self.bytes);
        let read = self.io.ranges(self.path.as_str(), &blocks)?;
        for (block, bytes) in blocks.iter().zip(&read) {
            let rotten = |byte| self.damaged(&format_args!("what was written from byte {byte} on has changed"));
            sums.check(block.start, bytes).map_err(rotten)?;
        }
        let part = |range: &Range<u64>| {
            let index = blocks.partition_point(|block| block.start <= range.start).saturating_sub(1);
            let start = blocks.get(index).and_then(|block| usize::try_from(range.start - block.start).ok())?;
            let end = start.checked_add(usize::try_from(range.end - range.start).ok()?)?;
            read.get(index).filter(|bytes| end <= bytes.len()).map(|bytes| bytes.slice(start..end))
        };
        let parts: Option<_> = ranges.iter().map(part).collect();
        parts.ok_or_else(|| self.damaged(&"a part of it could not be read"))
    }

    pub(super) fn damaged(&self, why: &dyn std::fmt::Display) -> Error {
        Error::new(Kind::Corrupt, format!("{} is damaged: {why}", self.path))
    }
}

/// Of events the wanted columns, of rejections (which have no sessions) all: their places in the file.
fn projection(footer: &Footer, columns: Columns) -> Vec<usize> {
    let fields = footer.reader.schema().fields();
    if footer.session_column.is_none() {
        return (0..fields.len()).collect();
    }
    columns.names().filter_map(|name| fields.find(name).map(|(index, _)| index)).collect()
}

/// The schema, with columns of few texts as dictionaries and others as views.
fn coded_schema(schema: &Schema, has_extra: bool) -> SchemaRef {
    let fields = schema.fields().iter().map(|field| {
        let name = field.name().as_str();
        let kind = if CODED_COLUMNS.contains(&name) || (has_extra && name.starts_with(extra::DATA_PREFIX)) {
            DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8))
        } else if VIEWED_COLUMNS.contains(&name) {
            DataType::Utf8View
        } else {
            return Arc::clone(field);
        };
        Arc::new(field.as_ref().clone().with_data_type(kind))
    });
    Arc::new(Schema::new_with_metadata(fields.collect::<Vec<_>>(), schema.metadata().clone()))
}

/// What a column of a row group takes when it is decoded; 0 if there is no such column.
fn column_bytes(metadata: &ParquetMetaData, row_group: usize, name: &str) -> u64 {
    let chunk = leaf(metadata, name).and_then(|leaf| Some(metadata.row_groups().get(row_group)?.column(leaf)));
    chunk.map_or(0, decoded_bytes)
}

/// A column whose texts are few lies in the file as numbers: how long its texts are together is said apart.
fn decoded_bytes(chunk: &ColumnChunkMetaData) -> u64 {
    let texts = chunk.unencoded_byte_array_data_bytes().map(|bytes| bytes.saturating_add(4 * chunk.num_values()));
    u64::try_from(chunk.uncompressed_size().max(texts.unwrap_or_default())).unwrap_or_default()
}

/// The leaf column of a top-level field.
fn leaf(metadata: &ParquetMetaData, name: &str) -> Option<usize> {
    let columns = metadata.file_metadata().schema_descr().columns();
    columns.iter().position(|column| column.path().parts() == [name])
}

/// A column's page bounds and the first row of each of its pages.
fn page_index(
    metadata: &ParquetMetaData,
    row_group: usize,
    column: usize,
) -> Option<(&ColumnIndexMetaData, Vec<usize>)> {
    let bounds = metadata.column_index()?.get(row_group)?.get(column)?;
    let pages = metadata.offset_index()?.get(row_group)?.get(column)?.page_locations();
    let starts = pages.iter().map(|page| usize::try_from(page.first_row_index).ok());
    Some((bounds, starts.collect::<Option<_>>()?))
}

/// Row numbers as ranges; `None` if they do not rise or reach `total`.
fn consecutive(rows: &[u32], total: usize) -> Option<Vec<Range<usize>>> {
    let mut ranges: Vec<Range<usize>> = Vec::new();
    for row in rows {
        let row = *row as usize;
        match ranges.last_mut() {
            Some(last) if row == last.end => last.end += 1,
            Some(last) if row < last.end => return None,
            _ => ranges.push(row..row + 1),
        }
    }
    ranges.last().is_none_or(|last| last.end <= total).then_some(ranges)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn row_numbers_become_ranges() {
        assert_eq!(consecutive(&[0, 1, 2, 5, 7, 8], 9), Some(vec![0..3, 5..6, 7..9]));
        assert_eq!(consecutive(&[], 0), Some(vec![]));
        assert_eq!(consecutive(&[3, 3], 9), None);
        assert_eq!(consecutive(&[3, 2], 9), None);
        assert_eq!(consecutive(&[9], 9), None);
    }
}
