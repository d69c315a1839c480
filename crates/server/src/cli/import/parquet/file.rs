//! A Parquet file of others, looked at before the library decodes it.
//!
//! The library reserves what a file asks for, and what cannot be reserved ends the process. So every length that it takes
//! on trust is held against a limit first: in the footer, in the head of each page, and before values in a delta encoding.
//! <https://parquet.apache.org/docs/file-format/>

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use bytes::buf::Reader;
use bytes::{Buf as _, Bytes};
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ParquetRecordBatchReader, RowGroups};
use parquet::arrow::{FieldLevels, ProjectionMask, parquet_to_arrow_field_levels};
use parquet::column::page::{Page, PageIterator, PageMetadata, PageReader};
use parquet::errors::{ParquetError, Result};
use parquet::file::metadata::{FooterTail, ParquetMetaData, ParquetMetaDataReader, RowGroupMetaData};
use parquet::file::reader::{ChunkReader, Length};
use parquet::file::serialized_reader::SerializedPageReader;

use super::delta;
use super::thrift::{self, Stop};

/// The length of the footer, and the magic.
const TAIL_BYTES: u64 = 8;
/// Columns that hold others, nested or not: the library calls itself for each level.
const SCHEMA_GROUPS_MAX: usize = 500;
/// The longest value of a column whose values have one length.
const FIXED_BYTES_MAX: i64 = 64 << 10;
/// The largest page when it is decompressed. DuckDB writes up to 100 MB, most others 1 MiB.
const PAGE_BYTES_MAX: i64 = 256 << 20;
/// Values in a page, those in lists counted one by one.
const PAGE_VALUES_MAX: i64 = 16 << 20;
/// So much is read for the head of a page: first the one, then, for those with long statistics, the other.
const PAGE_HEAD_BYTES: [u64; 2] = [512, 1 << 20];

/// The file, and what its footer says.
pub(super) struct ParquetFile {
    file: Arc<Source>,
    metadata: ArrowReaderMetadata,
    levels: FieldLevels,
    /// Rows up to the end of each row group.
    ends: Vec<u64>,
}

impl ParquetFile {
    /// Reads the footer of a file.
    pub(super) fn open(file: File) -> Result<Self> {
        let file = Source { length: file.metadata()?.len(), file: Arc::new(file) };
        let metadata = ArrowReaderMetadata::try_new(Arc::new(file.footer()?), Default::default())?;
        let fields = Some(metadata.schema().fields());
        let levels = parquet_to_arrow_field_levels(metadata.parquet_schema(), ProjectionMask::all(), fields)?;
        let ends = ends(metadata.metadata())?;
        Ok(Self { file: Arc::new(file), metadata, levels, ends })
    }

    /// The names of its columns.
    pub(super) fn columns(&self) -> Vec<&str> {
        self.metadata.schema().fields().iter().map(|field| field.name().as_str()).collect()
    }

    /// How many row groups there are.
    pub(super) fn groups(&self) -> usize {
        self.ends.len()
    }

    /// How many rows there are up to the end of a row group.
    pub(super) fn rows_to(&self, group: usize) -> u64 {
        self.ends[group]
    }

    /// How many rows there are.
    pub(super) fn rows(&self) -> u64 {
        self.ends.last().copied().unwrap_or_default()
    }

    /// The rows of a row group.
    pub(super) fn group(&self, number: usize, batch_rows: usize) -> Result<ParquetRecordBatchReader> {
        let group = Group { file: &self.file, metadata: self.metadata.metadata(), number };
        ParquetRecordBatchReader::try_new_with_row_groups(&self.levels, &group, batch_rows, None)
    }

    /// Where the first page of a row group begins.
    #[cfg(test)]
    pub(super) fn start_of(&self, group: usize) -> usize {
        usize::try_from(self.metadata.metadata().row_group(group).column(0).byte_range().0).unwrap()
    }
}

/// Fails if the row groups do not have the rows that the file says it has.
fn ends(metadata: &ParquetMetaData) -> Result<Vec<u64>> {
    let mut rows = 0_u64;
    let ends = metadata.row_groups().iter().map(|group| {
        rows = u64::try_from(group.num_rows()).ok().and_then(|more| rows.checked_add(more))?;
        Some(rows)
    });
    let ends = ends.collect::<Option<Vec<_>>>();
    let said = metadata.file_metadata().num_rows();
    let ends = ends.filter(|ends| u64::try_from(said) == Ok(ends.last().copied().unwrap_or_default()));
    ends.ok_or_else(|| refused(format!("its footer says that it has {said} rows, and its row groups have others")))
}

fn refused(message: impl Into<String>) -> ParquetError {
    ParquetError::General(message.into())
}

/// The bytes of the file: the library asks for pages only, head and body.
#[derive(Clone)]
struct Source {
    file: Arc<File>,
    length: u64,
}

impl Source {
    fn read(&self, start: u64, length: u64) -> Result<Bytes> {
        if start.checked_add(length).is_none_or(|end| end > self.length) {
            return Err(refused(format!("{length} bytes from byte {start} on lie behind its end")));
        }
        let mut bytes = vec![0; usize::try_from(length)?];
        self.file.read_exact_at(&mut bytes, start)?;
        Ok(bytes.into())
    }

    fn footer(&self) -> Result<ParquetMetaData> {
        let tail_start = self.length.checked_sub(TAIL_BYTES).ok_or_else(|| refused("it is cut short"))?;
        let tail = FooterTail::try_from(&*self.read(tail_start, TAIL_BYTES)?)?;
        if tail.is_encrypted_footer() {
            return Err(refused("it is encrypted"));
        }
        let length = tail.metadata_length() as u64;
        let start = tail_start.checked_sub(length).ok_or_else(|| refused("its footer is longer than the file"))?;
        let footer = self.read(start, length)?;
        check_footer(&footer).map_err(|stop| stopped("its footer", stop))?;
        ParquetMetaDataReader::decode_metadata(&footer)
    }

    fn page_head(&self, start: u64) -> Result<Bytes> {
        let mut stop = Stop::Short;
        for bytes in PAGE_HEAD_BYTES {
            let head = self.read(start, bytes.min(self.length.saturating_sub(start)))?;
            match check_page_head(&head) {
                Ok(()) => return Ok(head),
                Err(Stop::Short) => {}
                Err(refused) => {
                    stop = refused;
                    break;
                }
            }
        }
        Err(stopped(&format!("the page at byte {start}"), stop))
    }
}

fn stopped(what: &str, stop: Stop) -> ParquetError {
    match stop {
        Stop::Short => refused(format!("{what} is cut short")),
        Stop::Refused(why) => refused(format!("{what} has {why}")),
    }
}

/// Field 2 is the list of the schema's elements: their field 2 is a length, their field 5 the number of their children.
fn check_footer(footer: &[u8]) -> std::result::Result<(), Stop> {
    let (mut groups, mut children) = (0, 0_i64);
    thrift::walk(footer, &mut |path, value| {
        if let [2, 5] = path {
            groups += usize::from(value != 0);
            children = children.saturating_add(value);
        }
        match path {
            [2, 2] if value > FIXED_BYTES_MAX => Err(Stop::Refused(format!("values of {value} bytes"))),
            [2, 5] if value < 0 || children > footer.len() as i64 => {
                Err(Stop::Refused("more columns than there is room for".to_owned()))
            }
            [2, 5] if groups > SCHEMA_GROUPS_MAX => {
                Err(Stop::Refused(format!("more than {SCHEMA_GROUPS_MAX} columns that hold others")))
            }
            _ => Ok(()),
        }
    })
}

/// Field 2 is the decompressed size; fields 5, 7 and 8 are the three kinds of pages, with their number of values first.
fn check_page_head(head: &[u8]) -> std::result::Result<(), Stop> {
    thrift::walk(head, &mut |path, value| match path {
        [2] if value > PAGE_BYTES_MAX => {
            Err(Stop::Refused(format!("{value} bytes; {PAGE_BYTES_MAX} are the most that are read")))
        }
        [5 | 7 | 8, 1] if value > PAGE_VALUES_MAX => {
            Err(Stop::Refused(format!("{value} values; {PAGE_VALUES_MAX} are the most that are read")))
        }
        _ => Ok(()),
    })
}

impl Length for Source {
    fn len(&self) -> u64 {
        self.length
    }
}

impl ChunkReader for Source {
    type T = Head;

    fn get_read(&self, start: u64) -> Result<Self::T> {
        Ok(Head { source: self.clone(), start, bytes: None })
    }

    /// The body of a page.
    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes> {
        self.read(start, length as u64)
    }
}

/// The head of a page, looked at when it is read: the library also asks for what lies behind a head that it has, and then
/// does not read it.
struct Head {
    source: Source,
    start: u64,
    bytes: Option<Reader<Bytes>>,
}

impl Read for Head {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let bytes = match &mut self.bytes {
            Some(bytes) => bytes,
            None => self.bytes.insert(self.source.page_head(self.start).map_err(io::Error::other)?.reader()),
        };
        bytes.read(buffer)
    }
}

/// One row group, as the library asks for it.
struct Group<'f> {
    file: &'f Arc<Source>,
    metadata: &'f ParquetMetaData,
    number: usize,
}

impl RowGroups for Group<'_> {
    fn num_rows(&self) -> usize {
        usize::try_from(self.metadata.row_group(self.number).num_rows()).unwrap_or_default()
    }

    fn column_chunks(&self, column: usize) -> Result<Box<dyn PageIterator>> {
        let chunk = self.metadata.row_group(self.number).column(column);
        let raw = SerializedPageReader::new(Arc::clone(self.file), chunk, self.num_rows(), None)?;
        let levels = [chunk.column_descr().max_rep_level(), chunk.column_descr().max_def_level()];
        Ok(Box::new(Once(Some(Box::new(Pages { raw, levels })))))
    }

    fn row_groups(&self) -> Box<dyn Iterator<Item = &RowGroupMetaData> + '_> {
        Box::new(std::iter::once(self.metadata.row_group(self.number)))
    }

    fn metadata(&self) -> &ParquetMetaData {
        self.metadata
    }
}

/// The pages of one column of one row group.
struct Once(Option<Box<dyn PageReader>>);

impl Iterator for Once {
    type Item = Result<Box<dyn PageReader>>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.take().map(Ok)
    }
}

impl PageIterator for Once {}

struct Pages {
    raw: SerializedPageReader<Source>,
    /// The highest levels of repetition and of definition.
    levels: [i16; 2],
}

impl PageReader for Pages {
    fn get_next_page(&mut self) -> Result<Option<Page>> {
        let page = self.raw.get_next_page()?;
        page.iter().try_for_each(|page| delta::check(page, self.levels)).map_err(refused)?;
        Ok(page)
    }

    fn peek_next_page(&mut self) -> Result<Option<PageMetadata>> {
        self.raw.peek_next_page()
    }

    fn skip_next_page(&mut self) -> Result<()> {
        self.raw.skip_next_page()
    }
}

impl Iterator for Pages {
    type Item = Result<Page>;

    fn next(&mut self) -> Option<Self::Item> {
        self.get_next_page().transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(checked: std::result::Result<(), Stop>) -> String {
        match checked {
            Err(Stop::Refused(why)) => why,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_page_that_would_fill_the_memory_is_refused_by_its_head() {
        // 1: 0, 2: 2^31 - 1, 3: 5, 5: {1: 20}
        let head = [0x15, 0x00, 0x15, 0xfe, 0xff, 0xff, 0xff, 0x0f, 0x15, 0x0a, 0x2c, 0x15, 0x28, 0x00, 0x00];
        assert!(refusal(check_page_head(&head)).starts_with("2147483647 bytes"));
        let head = [0x15, 0x00, 0x15, 0x0a, 0x15, 0x0a, 0x2c, 0x15, 0xfe, 0xff, 0xff, 0xff, 0x0f, 0x00, 0x00];
        assert!(refusal(check_page_head(&head)).starts_with("2147483647 values"));
        assert_eq!(check_page_head(&[0x15, 0x00, 0x15, 0x0a, 0x15, 0x0a, 0x2c, 0x15, 0x28, 0x00, 0x00]), Ok(()));
    }

    #[test]
    fn a_schema_without_end_is_refused() {
        // 2: [{5: 2^31 - 1}], and [{2: 2^31 - 1}]
        for field in [0x55, 0x25] {
            let footer = [0x29, 0x1c, field, 0xfe, 0xff, 0xff, 0xff, 0x0f, 0x00, 0x00];
            refusal(check_footer(&footer));
        }
        // Elements that hold one other each.
        let elements = SCHEMA_GROUPS_MAX + 1;
        let mut footer = vec![0x29, 0xfc, (elements & 0x7f) as u8 | 0x80, (elements >> 7) as u8];
        footer.extend([0x55, 0x02, 0x00].repeat(elements));
        footer.push(0);
        assert!(refusal(check_footer(&footer)).contains("hold others"));
    }
}
