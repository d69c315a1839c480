//! Pages of a slice's columns in memory, decompressed by one context a thread.
//!
//! The Parquet library makes a context for decompression, and one for compression, for each column of each slice that is
//! read; each asks the processor for its features three times, which on a virtual machine costs some microseconds each. For
//! one session that was a quarter of the time. Here the library is told that columns are not compressed, and what it reads
//! is decompressed on its way out. Only files that this program wrote are read like this: the Zstandard frame of each page
//! says its size (RFC 8878, section 3.1.1.1).

use std::cell::RefCell;
use std::ops::Range;
use std::sync::Arc;

use bytes::{Buf as _, Bytes};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{RowGroups, RowSelection};
use parquet::basic::Compression;
use parquet::column::page::{Page, PageIterator, PageMetadata, PageReader};
use parquet::errors::{ParquetError, Result};
use parquet::file::metadata::{ParquetMetaData, RowGroupMetaData};
use parquet::file::reader::{ChunkReader, Length};
use parquet::file::serialized_reader::SerializedPageReader;
use zstd::bulk::Decompressor;

use super::page_index::PageIndex;

/// The largest page that is decompressed, in bytes: far more than is ever written.
const PAGE_BYTES_MAX: u64 = 1 << 31;

/// Columns of one slice, or those of their pages that hold certain rows.
pub(super) struct Pages<'f> {
    metadata: &'f ParquetMetaData,
    index: Option<&'f PageIndex>,
    row_group: usize,
    columns: Vec<Option<Arc<Column>>>,
}

/// Parts of one column.
#[derive(Default)]
struct Column {
    bytes: u64,
    /// Where each lies in the file, rising.
    parts: Vec<(u64, Bytes)>,
}

impl<'f> Pages<'f> {
    /// The parts of the file that hold these columns of these rows (`None`: of all), by column.
    pub(super) fn ranges(
        (metadata, index): (&ParquetMetaData, Option<&PageIndex>),
        row_group: usize,
        columns: &ProjectionMask,
        rows: Option<&RowSelection>,
    ) -> Vec<(usize, Vec<Range<u64>>)> {
        let group = metadata.row_group(row_group);
        let locations = |column: usize| index?.locations(row_group, column);
        let wanted = (0..group.num_columns()).filter(|column| columns.leaf_included(*column));
        let ranges = wanted.map(|column| {
            let (start, length) = group.column(column).byte_range();
            let Some((rows, pages)) = rows.and_then(|rows| Some((rows, locations(column)?))) else {
                return (column, std::iter::once(start..start + length).collect());
            };
            // Before the first page there may be a dictionary.
            let first = pages.first().and_then(|first| u64::try_from(first.offset).ok());
            let dictionary = first.filter(|first| *first > start).map(|first| start..first);
            (column, dictionary.into_iter().chain(rows.scan_ranges(&pages)).collect())
        });
        ranges.collect()
    }

    /// Those columns, with the bytes of their ranges in the same order.
    pub(super) fn new(
        (metadata, index): (&'f ParquetMetaData, Option<&'f PageIndex>),
        row_group: usize,
        ranges: Vec<(usize, Vec<Range<u64>>)>,
        bytes: impl IntoIterator<Item = Bytes>,
    ) -> Self {
        let group = metadata.row_group(row_group);
        let (mut bytes, mut columns) = (bytes.into_iter(), vec![None; group.num_columns()]);
        for (place, ranges) in ranges {
            let parts = ranges.into_iter().map(|range| range.start).zip(bytes.by_ref()).collect();
            columns[place] = Some(Arc::new(Column { bytes: group.column(place).byte_range().1, parts }));
        }
        Self { metadata, index, row_group, columns }
    }

    fn group(&self) -> &RowGroupMetaData {
        self.metadata.row_group(self.row_group)
    }
}

impl RowGroups for Pages<'_> {
    fn num_rows(&self) -> usize {
        usize::try_from(self.group().num_rows()).unwrap_or_default()
    }

    fn column_chunks(&self, column: usize) -> Result<Box<dyn PageIterator>> {
        let parts = self.columns.get(column).and_then(Option::as_ref);
        let parts = parts.ok_or_else(|| ParquetError::General(format!("column {column} was not read")))?;
        let chunk = self.group().column(column);
        let locations = self.index.and_then(|index| index.locations(self.row_group, column));
        let is_compressed = matches!(chunk.compression(), Compression::ZSTD(_));
        let chunk = match is_compressed {
            true => &chunk.clone().into_builder().set_compression(Compression::UNCOMPRESSED).build()?,
            false => chunk,
        };
        let raw = SerializedPageReader::new(Arc::clone(parts), chunk, self.num_rows(), locations)?;
        let pages: Box<dyn PageReader> = if is_compressed { Box::new(Compressed(raw)) } else { Box::new(raw) };
        Ok(Box::new(Once(Some(pages))))
    }

    fn row_groups(&self) -> Box<dyn Iterator<Item = &RowGroupMetaData> + '_> {
        Box::new(std::iter::once(self.group()))
    }

    fn metadata(&self) -> &ParquetMetaData {
        self.metadata
    }
}

/// The pages of one column of one slice.
struct Once(Option<Box<dyn PageReader>>);

impl Iterator for Once {
    type Item = Result<Box<dyn PageReader>>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.take().map(Ok)
    }
}

impl PageIterator for Once {}

impl Column {
    /// What was read from this place on.
    fn from(&self, start: u64) -> Result<Bytes> {
        let missing = || ParquetError::General(format!("nothing was read at byte {start}"));
        let place = self.parts.partition_point(|(first, _)| *first <= start).checked_sub(1).ok_or_else(missing)?;
        let (first, bytes) = &self.parts[place];
        let skipped =
            usize::try_from(start - first).ok().filter(|skipped| *skipped < bytes.len()).ok_or_else(missing)?;
        Ok(bytes.slice(skipped..))
    }
}

impl Length for Column {
    fn len(&self) -> u64 {
        self.bytes
    }
}

impl ChunkReader for Column {
    type T = bytes::buf::Reader<Bytes>;

    fn get_read(&self, start: u64) -> Result<Self::T> {
        Ok(self.from(start)?.reader())
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes> {
        let bytes = self.from(start)?;
        match length <= bytes.len() {
            true => Ok(bytes.slice(..length)),
            false => Err(ParquetError::General(format!("a page at byte {start} is longer than what was read"))),
        }
    }
}

/// Pages that come as they lie in the file, each one Zstandard frame.
struct Compressed(SerializedPageReader<Column>);

impl PageReader for Compressed {
    fn get_next_page(&mut self) -> Result<Option<Page>> {
        self.0.get_next_page()?.map(decompressed).transpose()
    }

    fn peek_next_page(&mut self) -> Result<Option<PageMetadata>> {
        self.0.peek_next_page()
    }

    fn skip_next_page(&mut self) -> Result<()> {
        self.0.skip_next_page()
    }
}

impl Iterator for Compressed {
    type Item = Result<Page>;

    fn next(&mut self) -> Option<Self::Item> {
        self.get_next_page().transpose()
    }
}

fn decompressed(mut page: Page) -> Result<Page> {
    match &mut page {
        Page::DataPage { buf, .. } | Page::DictionaryPage { buf, .. } => *buf = decompress(buf)?,
        // Only a part of such a page is compressed. None was ever written.
        Page::DataPageV2 { .. } => return Err(ParquetError::NYI("pages of version 2".to_owned())),
    }
    Ok(page)
}

fn decompress(frame: &[u8]) -> Result<Bytes> {
    thread_local! {
        static CONTEXT: RefCell<Option<Decompressor<'static>>> = const { RefCell::new(None) };
    }
    let failed = |error: std::io::Error| ParquetError::General(format!("a page cannot be decompressed: {error}"));
    let size = zstd::zstd_safe::get_frame_content_size(frame).ok().flatten().filter(|size| *size <= PAGE_BYTES_MAX);
    let size = size.and_then(|size| usize::try_from(size).ok());
    let size = size.ok_or_else(|| ParquetError::General("a page does not say how long it is".to_owned()))?;
    CONTEXT.with_borrow_mut(|context| {
        let context = match context {
            Some(context) => context,
            None => context.insert(Decompressor::new().map_err(failed)?),
        };
        context.decompress(frame, size).map(Bytes::from).map_err(failed)
    })
}
