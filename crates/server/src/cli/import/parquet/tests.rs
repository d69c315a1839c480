//! Small files with a bit of every other byte turned, and cut at each length: rows or an error by name, never a panic.
//!
//! Their pages are plain or of a dictionary: the library reserves what a delta encoding asks for, and one byte of it can ask
//! for gigabytes.
//!
//! The counts are printed. `EYE_ROT_BITS=8` turns all bits of each byte, one after the other, and sets it to 0 and to 255.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Decimal128Array, FixedSizeBinaryArray, Float64Array, Int64Array, ListBuilder, RecordBatch,
    StringArray, StringBuilder, StructArray, TimestampNanosecondArray,
};
use arrow::datatypes::{DataType, Field};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::file::properties::{WriterProperties, WriterVersion};

use super::*;

const ROWS: i64 = 24;
const GROUP_ROWS: usize = 12;
const PAGE_ROWS: usize = 6;

/// Every kind of column that other programs write events in.
fn batch() -> RecordBatch {
    let rows = 0..ROWS;
    let texts = |text: &dyn Fn(i64) -> Option<String>| Arc::new(rows.clone().map(text).collect::<StringArray>()) as _;
    let mut tags = ListBuilder::new(StringBuilder::new());
    for row in rows.clone() {
        (0..row % 4).for_each(|tag| tags.values().append_value(format!("tag {tag}")));
        tags.append(row % 5 != 0);
    }
    let city: ArrayRef = texts(&|row| (row % 3 != 0).then(|| format!("Bonn {}", row % 2)));
    let times: TimestampNanosecondArray = rows.clone().map(|row| Some(1_641_719_727_243_860_123 + row)).collect();
    let amounts: Decimal128Array = rows.clone().map(|row| Some(i128::from(row))).collect();
    let raw = FixedSizeBinaryArray::try_from_iter(rows.clone().map(i64::to_be_bytes)).unwrap();
    let columns: Vec<(&str, ArrayRef, bool)> = vec![
        ("event_id", texts(&|row| Some(format!("event-{row}"))), false),
        ("session_id", Arc::new(rows.clone().map(|row| row % 3).collect::<Int64Array>()), true),
        ("name", texts(&|row| Some(["view", "buy"][usize::from(row % 2 == 1)].to_owned())), true),
        ("timestamp", Arc::new(times.with_timezone("UTC")), true),
        (
            "price",
            Arc::new(rows.clone().map(|row| (row % 4 != 0).then_some(row as f64)).collect::<Float64Array>()),
            true,
        ),
        ("new", Arc::new(rows.clone().map(|row| Some(row % 2 == 0)).collect::<BooleanArray>()), true),
        ("raw", Arc::new(raw), true),
        ("amount", Arc::new(amounts.with_precision_and_scale(20, 2).unwrap()), true),
        ("tags", Arc::new(tags.finish()), true),
        ("place", Arc::new(StructArray::from(vec![(Arc::new(Field::new("city", DataType::Utf8, true)), city)])), true),
    ];
    RecordBatch::try_from_iter_with_nullable(columns).unwrap()
}

/// A file, and the rows that are in it.
struct Fixture {
    path: PathBuf,
    bytes: Vec<u8>,
    rows: Vec<Vec<u8>>,
    _folder: tempfile::TempDir,
}

impl Fixture {
    fn new(compression: Compression, is_dictionary: bool, version: WriterVersion) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("others.parquet");
        let properties = WriterProperties::builder()
            .set_compression(compression)
            .set_dictionary_enabled(is_dictionary)
            .set_encoding(Encoding::PLAIN)
            .set_writer_version(version)
            .set_max_row_group_row_count(Some(GROUP_ROWS))
            .set_data_page_row_count_limit(PAGE_ROWS)
            .set_write_batch_size(PAGE_ROWS)
            .build();
        let options = ArrowWriterOptions::new().with_properties(properties).with_skip_arrow_metadata(true);
        let batch = batch();
        let file = File::create(&path).unwrap();
        let mut writer = ArrowWriter::try_new_with_options(file, batch.schema(), options).unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
        let rows = rows(&path).unwrap();
        assert_eq!(rows.len() as i64, ROWS);
        Self { bytes: fs::read(&path).unwrap(), path, rows, _folder: folder }
    }

    fn all() -> impl Iterator<Item = Self> {
        [
            (Compression::UNCOMPRESSED, true, WriterVersion::PARQUET_1_0),
            (Compression::UNCOMPRESSED, false, WriterVersion::PARQUET_1_0),
            (Compression::UNCOMPRESSED, false, WriterVersion::PARQUET_2_0),
            (Compression::SNAPPY, true, WriterVersion::PARQUET_2_0),
            (Compression::ZSTD(ZstdLevel::default()), true, WriterVersion::PARQUET_1_0),
        ]
        .into_iter()
        .map(|(compression, is_dictionary, version)| Self::new(compression, is_dictionary, version))
    }

    /// Reads the file with these bytes in it; `None` if it is refused by its name.
    fn with(&self, bytes: &[u8], what: &str) -> Option<Vec<Vec<u8>>> {
        fs::write(&self.path, bytes).unwrap();
        // A panic that is not contained fails the test.
        match rows(&self.path) {
            Ok(rows) => {
                assert_eq!(rows.len() as i64, ROWS, "{what}");
                Some(rows)
            }
            Err(failure) => {
                let message = failure.to_string();
                assert!(message.contains("others.parquet"), "{what}: {message}");
                None
            }
        }
    }
}

fn rows(path: &Path) -> Result<Vec<Vec<u8>>> {
    let mut rows = ParquetRows::open(path)?;
    let mut found = Vec::new();
    while let Some(line) = rows.next()? {
        found.push(line.bytes);
    }
    Ok(found)
}

#[test]
fn a_damaged_file_gives_its_rows_or_an_error_that_names_it() {
    let is_thorough = std::env::var("EYE_ROT_BITS").is_ok_and(|bits| bits == "8");
    let (mut refused, mut whole, mut changed) = (0, 0, 0);
    for fixture in Fixture::all() {
        for at in (0..fixture.bytes.len()).step_by(if is_thorough { 1 } else { 2 }) {
            let byte = fixture.bytes[at];
            let values = match is_thorough {
                true => (0..8).map(|bit| byte ^ (1 << bit)).chain([0, 0xff]).collect(),
                false => vec![byte ^ (1 << (at / 2 % 8))],
            };
            for value in values {
                let mut bytes = fixture.bytes.clone();
                bytes[at] = value;
                match fixture.with(&bytes, &format!("byte {at} is {value:#x}")) {
                    None => refused += 1,
                    Some(rows) if rows == fixture.rows => whole += 1,
                    // Nothing in the file tells that a value is not what was written.
                    Some(_) => changed += 1,
                }
            }
        }
    }
    println!("{refused} refused, {whole} whole, {changed} with other values");
    assert!(refused > 0 && whole > 0);
}

#[test]
fn a_file_cut_short_is_refused() {
    let fixture = Fixture::new(Compression::SNAPPY, true, WriterVersion::PARQUET_2_0);
    for length in 0..fixture.bytes.len() {
        assert_eq!(fixture.with(&fixture.bytes[..length], &format!("{length} bytes")), None, "{length} bytes");
    }
}

#[test]
fn what_comes_before_the_damage_is_read_and_the_error_says_where_it_is() {
    let fixture = Fixture::new(Compression::SNAPPY, true, WriterVersion::PARQUET_1_0);
    let footer = ParquetRows::open(&fixture.path).unwrap().footer;
    let start = usize::try_from(footer.metadata().row_group(1).column(0).byte_range().0).unwrap();
    let mut bytes = fixture.bytes.clone();
    bytes[start..start + 16].fill(0xff);
    fs::write(&fixture.path, &bytes).unwrap();
    let mut rows = ParquetRows::open(&fixture.path).unwrap();
    for (index, row) in fixture.rows.iter().enumerate().take(GROUP_ROWS) {
        let line = rows.next().unwrap().unwrap();
        assert_eq!((line.number, &line.bytes), (index as u64 + 1, row));
    }
    let refused = rows.next().err().unwrap().to_string();
    assert!(refused.contains("others.parquet, row group 2 of 2, after row 12: "), "{refused}");
}
