//! What a data file says of itself: its footer with the page index, and the blooms of its sessions.
//!
//! All of it is read when something is first asked of the file; a file never changes. What every question asks and the
//! blooms stay with the file, the footer as long as there is room for it ([`Footers`](crate::table::footers::Footers)).

use std::ops::Range;
use std::sync::Arc;

use arrow::datatypes::{DataType, Schema, SchemaRef};
use bytes::Bytes;
use eye_event::Timestamp;
use parquet::DecodeResult;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions};
use parquet::errors::ParquetError;
use parquet::file::metadata::{PageIndexPolicy, ParquetMetaData, ParquetMetaDataPushDecoder, RowGroupMetaData};
use parquet::file::statistics::Statistics;

use super::{RowGroupInfo, decoded_bytes};
use crate::error::Result;
use crate::table::bloom::Bloom;
use crate::table::extra::{self, Extra};
use crate::table::page_index::PageIndex;
use crate::table::version::TableFile;

/// The end of a file that is read at once in the hope that footer and page index lie in it.
const TAIL_BYTES: u64 = 64 * 1024;

/// What a field of a schema takes in memory, roughly.
const FIELD_BYTES: usize = 512;

/// Columns that [`TableFile::read_coded`] leaves as dictionaries.
const CODED_COLUMNS: [&str; 3] = ["application", "category", "name"];
/// Columns that [`TableFile::read_coded`] leaves where they were decompressed, and only points to.
const VIEWED_COLUMNS: [&str; 6] = ["event_id", "session_id", "user_id", "anonymous_id", "data", "context"];

/// The little of a footer that stays with its file.
pub(crate) struct Outline {
    pub(super) row_groups: Vec<RowGroupInfo>,
    /// The paths of `data` whose values have columns of their own.
    pub(super) data_paths: Vec<Vec<String>>,
    /// What all rows take when they are decoded.
    pub(super) decoded_bytes: u64,
}

/// A file's footer with its page index, as readers want it.
pub(crate) struct Footer {
    pub(super) reader: ArrowReaderMetadata,
    /// The same, with columns of few texts left as the dictionaries they are, and others not copied.
    pub(super) coded: ArrowReaderMetadata,
    pub(super) session_column: Option<usize>,
    /// Where pages lie, if the file says so. Of files of this program nothing else does.
    pub(super) pages: Option<PageIndex>,
    /// Whether it has extra columns: another program's file may have any, which mean something else.
    pub(super) has_extra: bool,
    /// What it takes in memory, roughly.
    pub(crate) bytes: u64,
}

/// The session bloom of each row group; `None` where there is none.
pub(crate) struct Blooms(pub(super) Vec<Option<Bloom>>);

impl TableFile {
    pub(super) fn outline(&self) -> Result<&Outline> {
        match self.outline.get() {
            Some(outline) => Ok(outline),
            None => Ok(self.load()?.0),
        }
    }

    pub(super) fn footer(&self) -> Result<Arc<Footer>> {
        match self.io.footers.get(self.number) {
            Some(footer) => Ok(footer),
            None => Ok(self.load()?.1),
        }
    }

    /// Two readers may do so at once: both get the same, one is dropped.
    fn load(&self) -> Result<(&Outline, Arc<Footer>)> {
        let (outline, footer) = self.read_footer()?;
        let (outline, footer) = (self.outline.get_or_init(|| outline), Arc::new(footer));
        self.io.footers.keep(self.number, Arc::clone(&footer));
        Ok((outline, footer))
    }

    fn read_footer(&self) -> Result<(Outline, Footer)> {
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
        let decoded = metadata.row_groups().iter().flat_map(RowGroupMetaData::columns).map(decoded_bytes).sum();
        let session_column = leaf(&metadata, "session_id");
        let is_ours = self.sha256.is_some() && self.sums.is_some();
        let pages = PageIndex::of(&metadata, session_column);
        // Files of other programs are read by the library, which wants its own.
        let metadata: Arc<ParquetMetaData> = match is_ours && pages.is_some() {
            true => metadata.into_builder().set_column_index(None).set_offset_index(None).build().into(),
            false => metadata.into(),
        };
        let reader = ArrowReaderMetadata::try_new(Arc::clone(&metadata), ArrowReaderOptions::new()).map_err(damaged)?;
        let names = || reader.schema().fields().iter().map(|field| field.name().as_str());
        let has_extra = is_ours && Extra::of_file(names()).is_some();
        let data_paths = names().filter(|_| has_extra).filter_map(extra::path_of_column).collect();
        let options = ArrowReaderOptions::new().with_schema(coded_schema(reader.schema(), has_extra));
        let coded = ArrowReaderMetadata::try_new(metadata, options).map_err(damaged)?;
        let outline = Outline { row_groups, data_paths, decoded_bytes: decoded };
        let bytes = reader.metadata().memory_size()
            + pages.as_ref().map_or(0, PageIndex::memory_size)
            + 2 * FIELD_BYTES * reader.schema().fields().len();
        Ok((outline, Footer { reader, coded, session_column, pages, has_extra, bytes: bytes as u64 }))
    }

    fn describe(&self, metadata: &ParquetMetaData) -> Result<Vec<RowGroupInfo>> {
        let time = leaf(metadata, "timestamp").or_else(|| leaf(metadata, "received_at"));
        let describe = |(index, group): (usize, &RowGroupMetaData)| {
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

    pub(super) fn blooms(&self) -> Result<&Blooms> {
        if let Some(blooms) = self.blooms.get() {
            return Ok(blooms);
        }
        let loaded = self.load_blooms()?;
        Ok(self.blooms.get_or_init(|| loaded))
    }

    fn load_blooms(&self) -> Result<Blooms> {
        let footer = self.footer()?;
        let metadata = footer.reader.metadata();
        let place = |group: &RowGroupMetaData| {
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

/// The leaf column of a top-level field.
pub(super) fn leaf(metadata: &ParquetMetaData, name: &str) -> Option<usize> {
    let columns = metadata.file_metadata().schema_descr().columns();
    columns.iter().position(|column| column.path().parts() == [name])
}
