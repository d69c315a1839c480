//! From rows to Parquet: the layout that makes a session one or two pages and "latest" the first slice.
//!
//! Rows are split by the day they were received. Of each day, they are cut by time into slices, newest slice first; a
//! slice is one row group, sorted by (session, time descending, offset descending). Rejections have no session: their
//! slices are newest first throughout. Order in the file is for speed only; every reader sorts by columns.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use arrow::array::{Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray, UInt32Array};
use arrow::compute::take_record_batch;
use bytes::Bytes;
use eye_event::Timestamp;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::file::properties::{BloomFilterPosition, EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;

use super::TableOptions;
use crate::columns::{TableKind, long_column, required, text_column, time_column};
use crate::error::{Error, Kind, Result};

/// One false positive in a hundred row groups that do not hold the session.
const BLOOM_FALSE_POSITIVES: f64 = 0.01;

/// The rows of one day, in the order of the file.
pub(crate) struct Day {
    /// Days since 1970.
    pub(crate) day: i32,
    /// One batch per row group.
    pub(crate) slices: Vec<RecordBatch>,
}

/// Splits rows by the day they were received and orders each day's rows.
pub(crate) fn arrange(options: &TableOptions, batch: &RecordBatch) -> Result<Vec<Day>> {
    let order = Order::of(options.kind, batch)?;
    let received = required(time_column(batch, "received_at")?, "received_at")?;
    let mut days: BTreeMap<i32, Vec<Place>> = BTreeMap::new();
    for (row, micros) in (0..).zip(received.values()) {
        days.entry(Timestamp::from_micros(*micros).days()).or_default().push(order.place(row));
    }
    let slice_rows = options.row_group_rows.max(1);
    let arrange_day = |(day, mut rows): (i32, Vec<Place>)| {
        rows.sort_unstable();
        let slices = rows.chunks(slice_rows).map(|slice| {
            let rows = order.in_slice(slice);
            take_record_batch(batch, &UInt32Array::from(rows)).map_err(|error| internal(&error))
        });
        Ok(Day { day, slices: slices.collect::<Result<_>>()? })
    };
    days.into_iter().map(arrange_day).collect()
}

/// A row's place in time: what sorts first is newest. Keys stand beside each other in memory, which is what makes sorting
/// quick; `Reverse` holds (timestamp, offset).
type Place = (Reverse<(i64, i64)>, u32);

/// The two orders of rows, by row number.
struct Order<'a> {
    session: Option<&'a StringArray>,
    time: &'a TimestampMicrosecondArray,
    offset: &'a Int64Array,
}

impl<'a> Order<'a> {
    fn of(kind: TableKind, batch: &'a RecordBatch) -> Result<Self> {
        let time = kind.time_column();
        Ok(Self {
            session: text_column(batch, "session_id")?,
            time: required(time_column(batch, time)?, time)?,
            offset: required(long_column(batch, "offset")?, "offset")?,
        })
    }

    fn place(&self, row: u32) -> Place {
        (Reverse((self.time.value(row as usize), self.offset.value(row as usize))), row)
    }

    /// The rows of a slice, which come newest first, sorted by session and inside a session newest first.
    fn in_slice(&self, slice: &[Place]) -> Vec<u32> {
        let Some(sessions) = self.session else {
            return slice.iter().map(|(_, row)| *row).collect();
        };
        let session = |row: u32| sessions.value(row as usize);
        let mut rows: Vec<_> = (0_u32..).zip(slice).map(|(rank, (_, row))| (head(session(*row)), rank, *row)).collect();
        rows.sort_unstable_by(|(a, a_rank, a_row), (b, b_rank, b_row)| {
            let by_session = || session(*a_row).cmp(session(*b_row));
            a.cmp(b).then_with(by_session).then_with(|| a_rank.cmp(b_rank))
        });
        rows.into_iter().map(|(_, _, row)| row).collect()
    }
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
