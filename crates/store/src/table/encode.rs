//! From rows to Parquet: the layout that makes a session one or two pages and "latest" the first slice.
//!
//! Rows are split by the day they were received. Of each day, they are cut by time into slices, newest slice first; a
//! slice is one row group, sorted by (session, time descending, offset descending). Rejections have no session: their
//! slices are newest first throughout. Order in the file is for speed only; every reader sorts by columns. Files that are
//! written to stay have columns beside the table's own ([`super::extra`]).

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};
use eye_event::Timestamp;
use eye_fault::{Sabotage, sabotaged};
use eye_log::{Offset, PartitionId};
use object_store::{PutPayload, PutPayloadMut};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::file::properties::{BloomFilterPosition, EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;

use super::TableOptions;
use super::extra::Extra;
use super::stats::Bounds;
use crate::columns::TableKind;
use crate::error::{Error, Kind, Result};

/// One false positive in a thousand row groups that do not hold the session: each costs decompressing a page of ids.
const BLOOM_FALSE_POSITIVES: f64 = 0.001;
/// Bytes of a page of payloads: whoever reads a session, or a few rows of many sessions, decompresses whole pages.
const PAYLOAD_PAGE_BYTES: usize = 32 * 1024;
/// Bytes of a page of ids: some 500 of 36 letters, which hardly get smaller by standing beside others.
const ID_PAGE_BYTES: usize = 16 * 1024;
/// After so many rows it is looked whether a page is full.
const PAGE_ROWS_STEP: usize = 512;
/// Pages that are made columns at a time.
const PAGES_AT_ONCE: usize = 2;
/// Bytes of a block of the file in memory.
const BLOCK_BYTES: usize = 256 * 1024;

/// Rows to be written, in any order, of one partition. Looked at by number, so that they are copied once: into their slice.
pub trait RowSource {
    /// Which table they are rows of.
    fn kind(&self) -> TableKind;

    /// The partition of the log they came through.
    ///
    /// # Errors
    /// `Invalid` if they came through several.
    fn partition(&self) -> Result<PartitionId>;

    /// How many there are.
    fn len(&self) -> usize;

    /// True if there is none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What a row is ordered by.
    ///
    /// # Errors
    /// A row that cannot be read.
    fn key(&self, row: u32) -> Result<RowKey>;

    /// A row's session; `None` in a table without sessions.
    ///
    /// # Errors
    /// A row that cannot be read.
    fn session(&self, row: u32) -> Result<Option<&[u8]>>;

    /// A number that the rows of one session share and no other row has; `None` for every row where that is not known.
    fn session_number(&self, _row: u32) -> Option<u32> {
        None
    }

    /// These rows in this order, in the table's columns.
    ///
    /// # Errors
    /// A row that cannot be read.
    fn take(&self, rows: &[u32]) -> Result<RecordBatch>;
}

/// What a row is ordered by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RowKey {
    /// When it was received.
    pub received_at: Timestamp,
    /// Its time (of rejections: `received_at`).
    pub timestamp: Timestamp,
    /// Its offset.
    pub offset: Offset,
}

/// The rows of one day, newest first.
pub(crate) struct Day {
    /// Days since 1970.
    pub(crate) day: i32,
    rows: Vec<Place>,
}

/// A row's place in time: what sorts first is newest. Keys stand beside each other in memory, which is what makes sorting
/// quick; `Reverse` holds (timestamp, offset).
type Place = (Reverse<(Timestamp, Offset)>, u32);

/// Splits rows by the day they were received, oldest day first.
pub(crate) fn days(source: &dyn RowSource) -> Result<Vec<Day>> {
    let mut days: BTreeMap<i32, Vec<Place>> = BTreeMap::new();
    for (row, _) in (0_u32..).zip(0..source.len()) {
        let key = source.key(row)?;
        days.entry(key.received_at.days()).or_default().push((Reverse((key.timestamp, key.offset)), row));
    }
    let sorted = |(day, mut rows): (i32, Vec<Place>)| {
        rows.sort_unstable();
        Day { day, rows }
    };
    Ok(days.into_iter().map(sorted).collect())
}

/// The rows of a slice, which come newest first, sorted by session and inside a session newest first.
///
/// Rows are first brought together by their session's number, so that each session's text is read and compared once.
fn in_slice(source: &dyn RowSource, slice: &[Place]) -> Result<Vec<u32>> {
    let by_number = |(rank, (_, row)): (u32, &Place)| {
        u64::from(source.session_number(*row).unwrap_or(rank)) << 32 | u64::from(rank)
    };
    let mut places: Vec<u64> = (0_u32..).zip(slice).map(by_number).collect();
    places.sort_unstable();
    #[expect(clippy::cast_possible_truncation, reason = "the low half is the rank in the slice")]
    let row_of = |place: &u64| slice[*place as u32 as usize].1;
    let mut sessions = Vec::new();
    for places in places.chunk_by(|one, other| one >> 32 == other >> 32) {
        let Some(session) = source.session(row_of(&places[0]))? else {
            return Ok(slice.iter().map(|(_, row)| *row).collect());
        };
        sessions.push((head(session), session, places));
    }
    // Stable: without numbers every row stands alone, and rows of one session stay newest first.
    sessions.sort_by(|(a_head, a, _), (b_head, b, _)| a_head.cmp(b_head).then_with(|| a.cmp(b)));
    let mut rows: Vec<u32> = sessions.iter().flat_map(|(_, _, places)| places.iter().map(row_of)).collect();
    if sabotaged(Sabotage::ReorderRows) {
        rows.reverse();
    }
    Ok(rows)
}

/// The first 16 bytes of a text as a number that sorts as the text does; equal for texts that differ later.
fn head(text: &[u8]) -> u128 {
    let mut bytes = [0; 16];
    let length = text.len().min(16);
    bytes[..length].copy_from_slice(&text[..length]);
    u128::from_be_bytes(bytes)
}

/// Encodes a day's rows, slice by slice, each slice as one row group; with the file's statistics.
///
/// Rows become columns a few pages at a time: what is copied is still in the processor's cache when it is encoded, and a
/// flush needs little memory besides its file.
pub(crate) fn encode(
    options: &TableOptions,
    source: &dyn RowSource,
    day: &Day,
    mut extra: Extra,
) -> Result<(PutPayload, Bounds)> {
    let schema = schema(options, &extra);
    let properties = properties(options, &extra)?;
    // Without the Arrow schema in the footer, which no other reader needs and every open would parse.
    let writer_options = ArrowWriterOptions::new().with_properties(properties).with_skip_arrow_metadata(true);
    let failed = |error: parquet::errors::ParquetError| internal(&error);
    let mut writer =
        ArrowWriter::try_new_with_options(Blocks::new(), Arc::clone(&schema), writer_options).map_err(failed)?;
    for slice in day.rows.chunks(options.row_group_rows.max(1)) {
        let mut is_first = true;
        for rows in in_slice(source, slice)?.chunks(options.page_rows.max(1) * PAGES_AT_ONCE) {
            let batch = source.take(rows)?;
            let more = extra.columns(&batch, is_first)?;
            let columns = batch.columns().iter().cloned().chain(more).collect();
            let batch = RecordBatch::try_new(Arc::clone(&schema), columns).map_err(|error| internal(&error))?;
            writer.write(&batch).map_err(failed)?;
            is_first = false;
        }
        writer.flush().map_err(failed)?;
    }
    let bounds = Bounds::of(options.kind, writer.flushed_row_groups())?;
    Ok((writer.into_inner().map_err(failed)?.0.freeze(), bounds))
}

/// A file in memory, block by block: a buffer that grows would be copied each time, into pages never touched before.
struct Blocks(PutPayloadMut);

impl Blocks {
    fn new() -> Self {
        Self(PutPayloadMut::new().with_block_size(BLOCK_BYTES))
    }
}

impl Write for Blocks {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The table's columns, then the extra ones.
fn schema(options: &TableOptions, extra: &Extra) -> SchemaRef {
    let table = options.kind.schema();
    let fields = table.fields().iter().cloned().chain(extra.fields().into_iter().map(Arc::new));
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

fn properties(options: &TableOptions, extra: &Extra) -> Result<WriterProperties> {
    let level = ZstdLevel::try_new(options.zstd_level)
        .map_err(|error| Error::new(Kind::Invalid, format!("zstd level {}: {error}", options.zstd_level)))?;
    let page_rows = options.page_rows.max(1);
    let mut builder = WriterProperties::builder()
        .set_created_by(format!("eye {}", env!("CARGO_PKG_VERSION")))
        .set_compression(Compression::ZSTD(level))
        .set_encoding(Encoding::PLAIN)
        .set_dictionary_enabled(false)
        .set_data_page_row_count_limit(page_rows)
        .set_write_batch_size(page_rows.min(PAGE_ROWS_STEP))
        .set_max_row_group_row_count(Some(options.row_group_rows.max(1)))
        .set_bloom_filter_position(BloomFilterPosition::End)
        .set_statistics_enabled(EnabledStatistics::None);
    for name in options.kind.random_columns() {
        builder = builder.set_column_encoding(column_path(name), Encoding::DELTA_LENGTH_BYTE_ARRAY);
    }
    for name in options.kind.dictionary_columns() {
        builder = builder.set_column_dictionary_enabled(column_path(name), true);
    }
    for name in options.kind.number_columns() {
        builder = builder.set_column_encoding(column_path(name), Encoding::DELTA_BINARY_PACKED);
    }
    for name in options.kind.number_columns().iter().chain(options.kind.constant_columns()) {
        builder = builder.set_column_compression(column_path(name), Compression::UNCOMPRESSED);
    }
    let texts = options.kind.text_stats().iter().chain(options.kind.time_stats());
    for name in texts.chain(&["partition", "offset"]) {
        builder = builder.set_column_statistics_enabled(column_path(name), EnabledStatistics::Page);
    }
    for name in extra.dictionary_columns().map(|name| ColumnPath::new(vec![name])) {
        // To the end of the slice: readers of columns that give up their dictionary halfway make texts of what is null.
        builder = builder
            .set_column_dictionary_enabled(name.clone(), true)
            .set_column_dictionary_page_size_limit(name, usize::MAX);
    }
    if options.kind == TableKind::Events {
        let session = column_path("session_id");
        builder = builder
            .set_column_data_page_size_limit(column_path("data"), PAYLOAD_PAGE_BYTES)
            .set_column_data_page_size_limit(column_path("event_id"), ID_PAGE_BYTES)
            .set_column_data_page_size_limit(session.clone(), ID_PAGE_BYTES)
            // In the file's own page index only, which goes with the file; without it each lookup reads a whole slice's ids.
            .set_column_statistics_enabled(session.clone(), EnabledStatistics::Page)
            .set_column_bloom_filter_enabled(session.clone(), true)
            .set_column_bloom_filter_fpp(session, BLOOM_FALSE_POSITIVES);
    }
    Ok(builder.build())
}

fn column_path(name: &str) -> ColumnPath {
    ColumnPath::new(name.split('.').map(str::to_owned).collect())
}

fn internal(error: &dyn std::fmt::Display) -> Error {
    Error::new(Kind::Internal, format!("cannot encode a file: {error}"))
}
