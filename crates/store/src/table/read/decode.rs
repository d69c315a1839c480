//! From bytes of a data file to rows: the pages of the wanted columns that hold the wanted rows are read, checked and
//! decoded.
//!
//! The rule: whatever is decoded is what was written. Files of this program have checksums, which are looked at before
//! anything is decoded.

use std::ops::Range;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use bytes::Bytes;
use parquet::DecodeResult;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ParquetRecordBatchReader, RowSelection};
use parquet::arrow::push_decoder::{ParquetPushDecoder, ParquetPushDecoderBuilder};
use parquet::arrow::{ProjectionMask, parquet_to_arrow_field_levels};
use parquet::errors::ParquetError;

use super::Footer;
use crate::columns::Columns;
use crate::error::{Error, Kind, Result};
use crate::table::pages::Pages;
use crate::table::version::TableFile;

/// Ranges of rows, and the gaps between them, are few if they have so many rows on average: twice as many as the library
/// demands to skip from one range to the next.
const RANGE_ROWS_MIN: usize = 64;

impl TableFile {
    pub(super) fn decode(
        &self,
        row_group: usize,
        columns: Columns,
        rows: Option<Vec<Range<usize>>>,
    ) -> Result<RecordBatch> {
        let footer = self.footer()?;
        self.decode_with((&footer, &footer.reader), row_group, &projection(&footer, columns), rows)
    }

    pub(super) fn decode_with(
        &self,
        (footer, reader): (&Footer, &ArrowReaderMetadata),
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
            true => self.read_pages((footer, reader), row_group, columns, rows, wanted)?,
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
        (footer, reader): (&Footer, &ArrowReaderMetadata),
        row_group: usize,
        columns: ProjectionMask,
        rows: Option<RowSelection>,
        wanted: usize,
    ) -> Result<Vec<RecordBatch>> {
        let damaged = |error: ParquetError| self.damaged(&error);
        let file = (&**reader.metadata(), footer.pages.as_ref());
        let ranges = Pages::ranges(file, row_group, &columns, rows.as_ref());
        let all: Vec<Range<u64>> = ranges.iter().flat_map(|(_, ranges)| ranges).cloned().collect();
        let pages = Pages::new(file, row_group, ranges, self.ranges(&all)?);
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

    /// Parts of the file, checked: whatever is decoded is what was written.
    pub(super) fn ranges(&self, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
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
}

/// Of events the wanted columns, of rejections (which have no sessions) all: their places in the file.
fn projection(footer: &Footer, columns: Columns) -> Vec<usize> {
    let fields = footer.reader.schema().fields();
    if footer.session_column.is_none() {
        return (0..fields.len()).collect();
    }
    columns.names().filter_map(|name| fields.find(name).map(|(index, _)| index)).collect()
}
