//! From rows to Parquet: the layout that makes a session one or two pages and "latest" the first slice.
//!
//! Rows are split by the day they were received. Of each day, they are cut by time into slices, newest slice first; a
//! slice is one row group, sorted by (session, time descending, offset descending). Rejections have no session: their
//! slices are newest first throughout. Order in the file is for speed only; every reader sorts by columns.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use arrow::array::RecordBatch;
use bytes::Bytes;
use eye_event::Timestamp;
use eye_log::{Offset, PartitionId};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::file::properties::{BloomFilterPosition, EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;

use super::TableOptions;
use crate::columns::TableKind;
use crate::error::{Error, Kind, Result};

/// One false positive in a hundred row groups that do not hold the session.
const BLOOM_FALSE_POSITIVES: f64 = 0.01;

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
    fn session(&self, row: u32) -> Result<Option<&str>>;

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

/// The rows of one day, in the order of the file.
pub(crate) struct Day {
    /// Days since 1970.
    pub(crate) day: i32,
    /// One batch per row group.
    pub(crate) slices: Vec<RecordBatch>,
}

/// A row's place in time: what sorts first is newest. Keys stand beside each other in memory, which is what makes sorting
/// quick; `Reverse` holds (timestamp, offset).
type Place = (Reverse<(Timestamp, Offset)>, u32);

/// Splits rows by the day they were received and orders each day's rows.
pub(crate) fn arrange(options: &TableOptions, source: &dyn RowSource) -> Result<Vec<Day>> {
    let mut days: BTreeMap<i32, Vec<Place>> = BTreeMap::new();
    for (row, _) in (0_u32..).zip(0..source.len()) {
        let key = source.key(row)?;
        days.entry(key.received_at.days()).or_default().push((Reverse((key.timestamp, key.offset)), row));
    }
    let slice_rows = options.row_group_rows.max(1);
    let arrange_day = |(day, mut rows): (i32, Vec<Place>)| {
        rows.sort_unstable();
        let slices = rows.chunks(slice_rows).map(|slice| source.take(&in_slice(source, slice)?));
        Ok(Day { day, slices: slices.collect::<Result<_>>()? })
    };
    days.into_iter().map(arrange_day).collect()
}

/// The rows of a slice, which come newest first, sorted by session and inside a session newest first.
fn in_slice(source: &dyn RowSource, slice: &[Place]) -> Result<Vec<u32>> {
    let mut rows = Vec::with_capacity(slice.len());
    for (rank, (_, row)) in (0_u32..).zip(slice) {
        let Some(session) = source.session(*row)? else {
            return Ok(slice.iter().map(|(_, row)| *row).collect());
        };
        rows.push((head(session), session, rank, *row));
    }
    rows.sort_unstable_by(|(a_head, a, a_rank, _), (b_head, b, b_rank, _)| {
        a_head.cmp(b_head).then_with(|| a.cmp(b)).then_with(|| a_rank.cmp(b_rank))
    });
    Ok(rows.into_iter().map(|(_, _, _, row)| row).collect())
}

/// The first 16 bytes of a text as a number that sorts as the text does; equal for texts that differ later.
fn head(text: &str) -> u128 {
    let mut bytes = [0; 16];
    let length = text.len().min(16);
    bytes[..length].copy_from_slice(&text.as_bytes()[..length]);
    u128::from_be_bytes(bytes)
}

/// Encodes slices, each as one row group.
pub(crate) fn encode(options: &TableOptions, slices: &[RecordBatch]) -> Result<Bytes> {
    let properties = properties(options)?;
    // Without the Arrow schema in the footer, which no other reader needs and every open would parse.
    let writer_options = ArrowWriterOptions::new().with_properties(properties).with_skip_arrow_metadata(true);
    let failed = |error: parquet::errors::ParquetError| internal(&error);
    let mut writer =
        ArrowWriter::try_new_with_options(Vec::new(), options.kind.schema(), writer_options).map_err(failed)?;
    for slice in slices {
        writer.write(slice).map_err(failed)?;
        writer.flush().map_err(failed)?;
    }
    writer.into_inner().map(Bytes::from).map_err(failed)
}

fn properties(options: &TableOptions) -> Result<WriterProperties> {
    let level = ZstdLevel::try_new(options.zstd_level)
        .map_err(|error| Error::new(Kind::Invalid, format!("zstd level {}: {error}", options.zstd_level)))?;
    let page_rows = options.page_rows.max(1);
    let mut builder = WriterProperties::builder()
        .set_created_by(format!("eye {}", env!("CARGO_PKG_VERSION")))
        .set_compression(Compression::ZSTD(level))
        .set_encoding(Encoding::PLAIN)
        .set_dictionary_enabled(false)
        .set_data_page_row_count_limit(page_rows)
        .set_write_batch_size(page_rows.min(1_024))
        .set_max_row_group_row_count(Some(options.row_group_rows.max(1)))
        .set_bloom_filter_position(BloomFilterPosition::End)
        .set_statistics_enabled(EnabledStatistics::None);
    for name in options.kind.dictionary_columns() {
        builder = builder.set_column_dictionary_enabled(column_path(name), true);
    }
    let texts = options.kind.text_stats().iter().chain(options.kind.time_stats());
    for name in texts.chain(&["partition", "offset"]) {
        builder = builder.set_column_statistics_enabled(column_path(name), EnabledStatistics::Page);
    }
    if options.kind == TableKind::Events {
        let session = column_path("session_id");
        builder = builder
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
