//! [`PageIndex`]: where the pages of a file's columns lie, and which sessions lie on which.
//!
//! What the page index of the file says (`PageIndex.md` of the Parquet format), as far as anybody asks, in less than half of
//! the memory that the library takes for it: of most columns it keeps bounds that nobody looks at, and of each page four
//! numbers of 64 bits.

use std::ops::Range;

use parquet::file::metadata::ParquetMetaData;
use parquet::file::page_index::column_index::ColumnIndexMetaData;
use parquet::file::page_index::offset_index::PageLocation;

/// The page index of one file.
pub(super) struct PageIndex {
    groups: Vec<Group>,
}

/// Of one slice.
struct Group {
    columns: Box<[Column]>,
    /// Of the pages of the session column; `None` if the file does not say.
    sessions: Option<Bounds>,
}

/// Where the pages of one column lie.
struct Column {
    /// Where the first one begins in the file.
    start: i64,
    pages: Box<[Page]>,
}

struct Page {
    /// From the first one on.
    offset: u32,
    bytes: i32,
    first_row: u32,
}

/// The least and the greatest text of each page, one after the other.
struct Bounds {
    bytes: Box<[u8]>,
    /// Where each text ends.
    ends: Box<[u32]>,
}

impl PageIndex {
    /// What a file says of its pages; `None` if it says nothing, or has numbers larger than any file of this program.
    pub(super) fn of(metadata: &ParquetMetaData, session_column: Option<usize>) -> Option<Self> {
        let offsets = metadata.offset_index()?;
        let sessions = |group: usize| Bounds::of(metadata.column_index()?.get(group)?.get(session_column?)?);
        let groups = offsets.iter().enumerate().map(|(group, columns)| {
            let columns = columns.iter().map(|column| Column::of(column.page_locations())).collect::<Option<_>>()?;
            Some(Group { columns, sessions: sessions(group) })
        });
        Some(Self { groups: groups.collect::<Option<_>>()? })
    }

    /// Where the pages of a column lie, as the library wants it.
    pub(super) fn locations(&self, row_group: usize, column: usize) -> Option<Vec<PageLocation>> {
        Some(self.column(row_group, column)?.locations())
    }

    /// The row ranges of the pages of the session column whose bounds enclose the session, of a slice of so many rows; `None`
    /// if there are no bounds.
    pub(super) fn session_pages(
        &self,
        row_group: usize,
        session_column: usize,
        session_id: &[u8],
        rows: usize,
    ) -> Option<Vec<Range<usize>>> {
        let bounds = self.groups.get(row_group)?.sessions.as_ref()?;
        let pages = &self.column(row_group, session_column)?.pages;
        let start = |page: &Page| usize::try_from(page.first_row).ok();
        let mut found = Vec::new();
        for (number, page) in pages.iter().enumerate() {
            let (low, high) = bounds.of_page(number)?;
            if low <= session_id && session_id <= high {
                let end = pages.get(number + 1).map_or(Some(rows), start)?;
                found.push(start(page)?..end);
            }
        }
        Some(found)
    }

    /// What it takes in memory.
    pub(super) fn memory_size(&self) -> usize {
        let column = |column: &Column| size_of::<Column>() + size_of_val(&*column.pages);
        let bounds = |bounds: &Bounds| bounds.bytes.len() + size_of_val(&*bounds.ends);
        let group = |group: &Group| {
            size_of::<Group>()
                + group.columns.iter().map(column).sum::<usize>()
                + group.sessions.as_ref().map_or(0, bounds)
        };
        self.groups.iter().map(group).sum()
    }

    fn column(&self, row_group: usize, column: usize) -> Option<&Column> {
        self.groups.get(row_group)?.columns.get(column)
    }
}

impl Column {
    fn of(locations: &[PageLocation]) -> Option<Self> {
        let start = locations.first().map_or(0, |first| first.offset);
        let page = |location: &PageLocation| {
            Some(Page {
                offset: u32::try_from(location.offset.checked_sub(start)?).ok()?,
                bytes: location.compressed_page_size,
                first_row: u32::try_from(location.first_row_index).ok()?,
            })
        };
        Some(Self { start, pages: locations.iter().map(page).collect::<Option<_>>()? })
    }

    fn locations(&self) -> Vec<PageLocation> {
        let location = |page: &Page| PageLocation {
            offset: self.start + i64::from(page.offset),
            compressed_page_size: page.bytes,
            first_row_index: i64::from(page.first_row),
        };
        self.pages.iter().map(location).collect()
    }
}

impl Bounds {
    fn of(index: &ColumnIndexMetaData) -> Option<Self> {
        let ColumnIndexMetaData::BYTE_ARRAY(index) = index else { return None };
        let (mut bytes, mut ends) = (Vec::new(), Vec::new());
        for (low, high) in index.min_values_iter().zip(index.max_values_iter()) {
            for text in [low?, high?] {
                bytes.extend_from_slice(text);
                ends.push(u32::try_from(bytes.len()).ok()?);
            }
        }
        Some(Self { bytes: bytes.into(), ends: ends.into() })
    }

    /// The bounds of the page of this number.
    fn of_page(&self, page: usize) -> Option<(&[u8], &[u8])> {
        let end = |place: usize| self.ends.get(place).and_then(|end| usize::try_from(*end).ok());
        let before = (2 * page).checked_sub(1).map_or(Some(0), end)?;
        let (low, high) = (end(2 * page)?, end(2 * page + 1)?);
        Some((self.bytes.get(before..low)?, self.bytes.get(low..high)?))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
    use bytes::Bytes;
    use parquet::arrow::ArrowWriter;
    use parquet::file::metadata::{PageIndexPolicy, ParquetMetaDataReader};
    use parquet::file::properties::{EnabledStatistics, WriterProperties};

    use super::*;

    const ROWS: usize = 1_000;

    /// Two slices of 500 rows, ten rows a page: sessions, three rows each, and numbers.
    fn file(statistics: EnabledStatistics) -> ParquetMetaData {
        let sessions = StringArray::from_iter_values((0..ROWS).map(|row| format!("session-{:04}", row / 3)));
        let numbers = Int64Array::from_iter_values(0..ROWS as i64);
        let columns = [("session_id", Arc::new(sessions) as ArrayRef), ("number", Arc::new(numbers))];
        let batch = RecordBatch::try_from_iter(columns).unwrap();
        let properties = WriterProperties::builder()
            .set_data_page_row_count_limit(10)
            .set_write_batch_size(10)
            .set_max_row_group_row_count(Some(ROWS / 2))
            .set_statistics_enabled(statistics)
            .build();
        let mut bytes = Vec::new();
        let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), Some(properties)).unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
        let mut reader = ParquetMetaDataReader::new().with_page_index_policy(PageIndexPolicy::Required);
        reader.try_parse(&Bytes::from(bytes)).unwrap();
        reader.finish().unwrap()
    }

    #[test]
    fn it_says_what_the_library_says_in_less_memory() {
        let metadata = file(EnabledStatistics::Page);
        let index = PageIndex::of(&metadata, Some(0)).unwrap();
        for (group, columns) in metadata.offset_index().unwrap().iter().enumerate() {
            for (column, pages) in columns.iter().enumerate() {
                assert!(pages.page_locations().len() >= 50);
                assert_eq!(index.locations(group, column).as_ref(), Some(pages.page_locations()));
            }
        }
        assert_eq!(
            (index.locations(0, 2), index.locations(2, 0)),
            (None, None),
            "there is no such column, no such slice"
        );
        let whole = metadata.memory_size();
        let rest = metadata.into_builder().set_column_index(None).set_offset_index(None).build().memory_size();
        assert!(2 * index.memory_size() < whole - rest, "{} of {}", index.memory_size(), whole - rest);
    }

    #[test]
    fn a_session_is_on_the_pages_whose_bounds_enclose_it() {
        let metadata = file(EnabledStatistics::Page);
        let index = PageIndex::of(&metadata, Some(0)).unwrap();
        let pages = |group, session: &str| index.session_pages(group, 0, session.as_bytes(), ROWS / 2).unwrap();
        for row in 0..ROWS {
            let (group, place) = (row / (ROWS / 2), row % (ROWS / 2));
            let found = pages(group, &format!("session-{:04}", row / 3));
            assert!(found.iter().any(|rows| rows.contains(&place)), "row {row}: {found:?}");
            assert!(found.len() <= 2 && found.iter().all(|rows| rows.len() == 10), "{found:?}");
        }
        assert!(pages(1, "session-0000").is_empty(), "it lies in the other slice");
        assert!(pages(0, "").is_empty() && pages(1, "x").is_empty());
        assert_eq!(index.session_pages(2, 0, b"session-0000", 10), None, "there is no such slice");
        let unknown = PageIndex::of(&file(EnabledStatistics::None), Some(0)).unwrap();
        assert_eq!(unknown.session_pages(0, 0, b"session-0000", ROWS / 2), None, "the file does not say");
    }
}
