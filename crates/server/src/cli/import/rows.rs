//! The rows of a file, whatever its format, each as the line that is sent for it.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use serde::de::{Deserializer as _, MapAccess, Visitor};
use serde_json::value::RawValue;
use sha2::{Digest as _, Sha256};

use super::open;
use super::parquet::ParquetRows;
use super::shape::{Cell, Misfit, Shape};
use crate::cli::csv::{BOM, COLUMNS, Records, unguarded};
use crate::cli::failure::{Failure, Result};
use crate::cli::is_stdin;
use crate::cli::lines::{Line, Lines, with_id};
use crate::cli::sender::LineRejection;

/// <https://parquet.apache.org/docs/file-format/>
const PARQUET_MAGIC: [u8; 4] = *b"PAR1";

/// What a file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// By its first bytes
    Auto,
    /// One JSON object a line
    Ndjson,
    /// A header, then one record a row
    Csv,
    /// Apache Parquet
    Parquet,
}

/// One row.
pub(crate) struct Row {
    /// Its number, rising: the line it begins on, or the row of a Parquet file; from 1.
    pub(crate) number: u64,
    /// Its text, for messages about it.
    pub(crate) text: Vec<u8>,
    /// The application that it says it is of.
    pub(crate) application: Option<String>,
    /// What is sent, with an id; or why it cannot be.
    pub(crate) line: std::result::Result<Vec<u8>, LineRejection>,
}

/// The rows of one file.
pub(crate) struct Rows {
    source: Source,
    shape: Shape,
    total: Option<u64>,
    read: Arc<AtomicU64>,
}

enum Source {
    Lines(Lines),
    Csv(Table),
    Parquet(Box<ParquetRows>),
}

struct Table {
    records: Records,
    header: Vec<String>,
    /// True for the header of an export: its cells are guarded against formulas.
    is_export: bool,
}

impl Rows {
    /// Opens a file and looks at its head.
    pub(crate) fn open(path: &Path, format: Format, shape: Shape) -> Result<Self> {
        let name = path.display().to_string();
        let is_file = is_file(path)?;
        let format = if format == Format::Auto && is_file { guess(path)? } else { format };
        if format == Format::Parquet {
            if !is_file {
                return Err(parquet_in_a_stream());
            }
            let rows = ParquetRows::open(path)?;
            shape.check_columns(&rows.columns(), &name)?;
            let (total, read) = rows.progress();
            return Ok(Self { source: Source::Parquet(Box::new(rows)), shape, total: Some(total), read });
        }
        let mut input = open(path)?;
        let (mut total, read) = (input.bytes_total, Arc::clone(&input.bytes_read));
        let mut format = format;
        if format == Format::Auto {
            // Packed, or a stream: what is inside tells.
            let start = input.reader.fill_buf().map_err(|error| Failure::file(&name, &error))?;
            if !is_file && start.starts_with(&PARQUET_MAGIC) {
                return Err(parquet_in_a_stream());
            }
            format = match first_text_byte(start) {
                Some(b'[') => return Err(array(&name)),
                Some(b'{') | None => Format::Ndjson,
                Some(_) => Format::Csv,
            };
        }
        let source = match format {
            Format::Csv => Source::Csv(Table::open(Records::new(input)?, &shape)?),
            _ => Source::Lines(Lines::new(input)),
        };
        total = total.filter(|total| *total > 0);
        Ok(Self { source, shape, total, read })
    }

    /// How much there is, if that is known, and how much of it has been read.
    pub(crate) fn progress(&self) -> (Option<u64>, Arc<AtomicU64>) {
        (self.total, Arc::clone(&self.read))
    }

    /// The next row.
    pub(crate) fn next(&mut self) -> Result<Option<Row>> {
        let shape = &self.shape;
        Ok(match &mut self.source {
            Source::Lines(lines) => lines.next_as_it_is()?.map(|line| of_json(line, shape, false)),
            Source::Parquet(rows) => rows.next()?.map(|line| of_json(line, shape, true)),
            Source::Csv(table) => table.next(shape)?,
        })
    }
}

/// True if it can be read more than once: no standard input, no pipe.
pub(super) fn is_file(path: &Path) -> Result<bool> {
    if is_stdin(Some(&path.to_owned())) {
        return Ok(false);
    }
    path.metadata().map(|metadata| metadata.is_file()).map_err(|error| Failure::file(path.display(), &error))
}

fn parquet_in_a_stream() -> Failure {
    Failure::usage("Parquet cannot be read from standard input or a pipe: give a file")
}

/// By the first bytes of the file itself; `Auto` where they do not tell.
fn guess(path: &Path) -> Result<Format> {
    let mut start = [0; PARQUET_MAGIC.len()];
    let mut file = File::open(path).map_err(|error| Failure::file(path.display(), &error))?;
    // Too short a file is no Parquet; what else is wrong with it is said by who reads it.
    let is_parquet = file.read_exact(&mut start).is_ok() && start == PARQUET_MAGIC;
    Ok(if is_parquet { Format::Parquet } else { Format::Auto })
}

fn first_text_byte(bytes: &[u8]) -> Option<u8> {
    let bytes = bytes.strip_prefix(BOM).unwrap_or(bytes);
    bytes.iter().copied().find(|byte| !byte.is_ascii_whitespace())
}

fn array(name: &str) -> Failure {
    Failure::usage(format!("{name} is a JSON array: write one object a line, for example with jq -c '.[]'"))
}

impl Table {
    fn open(mut records: Records, shape: &Shape) -> Result<Self> {
        let name = records.name().to_owned();
        let Some(record) = records.next()? else {
            return Err(Failure::usage(format!("{name} is empty: a CSV file begins with the names of its columns")));
        };
        let header =
            record.fields.map_err(|problem| Failure::usage(format!("{name}, line {}: {problem}", record.line)))?;
        let header: Vec<String> = header.iter().map(|column| column.trim().to_owned()).collect();
        let mut seen = BTreeSet::new();
        if let Some(twice) = header.iter().find(|column| !seen.insert(column.as_str())) {
            let what = if twice.is_empty() { "has columns without a name" } else { "has a column twice" };
            return Err(Failure::usage(format!(
                "{name} {what} ({twice:?}): give each column of the header its own name"
            )));
        }
        shape.check_columns(&header.iter().map(String::as_str).collect::<Vec<_>>(), &name)?;
        let is_export = header == COLUMNS;
        Ok(Self { records, header, is_export })
    }

    fn next(&mut self, shape: &Shape) -> Result<Option<Row>> {
        let Some(record) = self.records.next()? else { return Ok(None) };
        let number = record.line;
        let (mut application, mut text) = (None, Cow::Borrowed(&record.raw[..]));
        let line = match &record.fields {
            Err(problem) => Err(misfit("", problem.clone())),
            Ok(fields) if fields.len() != self.header.len() => {
                let problem = format!("{} fields where the header has {}", fields.len(), self.header.len());
                Err(misfit("", problem))
            }
            Ok(fields) => {
                let cell = |text| if self.is_export { unguarded(text) } else { text };
                let cells: Vec<_> =
                    self.header.iter().zip(fields).map(|(name, field)| (name.as_str(), cell(field))).collect();
                application = cells.iter().find(|(name, _)| *name == "application").map(|(_, text)| (*text).to_owned());
                shape.line(cells.into_iter().map(|(name, field)| (name, Cell::Text(Cow::Borrowed(field)))))
            }
        };
        // An id is made of the row as it stands in the file, whatever becomes of its columns.
        let line = line.map(|line| with_id(&line, || row_id(number, &record.raw)));
        Ok(Some(Row {
            number,
            application: application.filter(|name: &String| !name.is_empty()),
            line: line.map_err(|misfit| rejection(number, "unreadable_row", misfit)),
            text: std::mem::take(&mut text).into_owned(),
        }))
    }
}

fn misfit(field: &str, message: String) -> Misfit {
    Misfit { field: field.to_owned(), message }
}

fn rejection(line: u64, code: &str, misfit: Misfit) -> LineRejection {
    LineRejection { line, code: code.to_owned(), field: misfit.field, message: misfit.message }
}

/// A row that is JSON. One that is no object is sent as it is: the server says what is wrong with it.
fn of_json(line: Line, shape: &Shape, is_table: bool) -> Row {
    let Line { number, bytes } = line;
    let id = || row_id(number, &bytes);
    let members = members(&bytes);
    let application = members.iter().flatten().find(|(key, _)| key == "application");
    let application = application.and_then(|(_, json)| serde_json::from_str(json.get()).ok());
    let line = match &members {
        Some(members) if is_table || !shape.is_event(members.iter().map(|(key, _)| key.as_str())) => {
            let cells = members.iter().map(|(key, json)| (key.as_str(), cell(json, is_table && shape.is_payload(key))));
            shape.line(cells).map(|line| with_id(&line, id))
        }
        _ => Ok(with_id(&bytes, id)),
    };
    let line = line.map_err(|misfit| rejection(number, "unreadable_row", misfit));
    Row { number, application, line, text: bytes }
}

/// A member as a cell. In a table, a text in a column of JSON is that JSON.
fn cell(json: &RawValue, is_text_json: bool) -> Cell<'_> {
    match json.get() {
        "null" => Cell::Null,
        text if is_text_json && text.starts_with('"') => match serde_json::from_str::<String>(text) {
            Ok(text) => Cell::Text(Cow::Owned(text)),
            Err(_) => Cell::Json(Cow::Borrowed(text)),
        },
        other => Cell::Json(Cow::Borrowed(other)),
    }
}

/// The members of an object, in their order; `None` if it is no object.
fn members(line: &[u8]) -> Option<Vec<(String, &RawValue)>> {
    struct Members;
    impl<'de> Visitor<'de> for Members {
        type Value = Vec<(String, &'de RawValue)>;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("a JSON object")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Self::Value, A::Error> {
            let mut members = Vec::with_capacity(16);
            while let Some(member) = map.next_entry()? {
                members.push(member);
            }
            Ok(members)
        }
    }
    let mut deserializer = serde_json::Deserializer::from_slice(line);
    let members = deserializer.deserialize_map(Members).ok()?;
    deserializer.end().ok().map(|()| members)
}

/// The id of a row that has none: a UUID (RFC 9562, version 8) of the first 16 bytes of the SHA-256 of its number and its
/// bytes. The same row at the same place always has the same.
pub(super) fn row_id(number: u64, text: &[u8]) -> String {
    let hash = Sha256::new().chain_update(number.to_le_bytes()).chain_update(text).finalize();
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hash[..16]);
    uuid::Builder::from_custom_bytes(bytes).into_uuid().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_has_its_id_by_its_bytes_and_its_place() {
        assert_eq!(row_id(7, b"a"), row_id(7, b"a"));
        assert_ne!(row_id(7, b"a"), row_id(8, b"a"));
        assert_ne!(row_id(7, b"a"), row_id(7, b"b"));
        // printf '\7\0\0\0\0\0\0\0a' | sha256sum, with version 8 and variant 0b10 set.
        assert_eq!(row_id(7, b"a"), "b88bc082-04d4-8730-8b30-67ec2b7a0d45");
    }

    #[test]
    fn a_pipe_with_a_name_is_read_from_its_first_byte() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
        let (own, text) = (path.clone(), "timestamp,session_id,category,name\n2022-01-09T09:15:27Z,s,c,n\n");
        let writer = std::thread::spawn(move || std::fs::write(own, text));
        let mut rows = Rows::open(&path, Format::Auto, Shape::new(&[], &[]).unwrap()).unwrap();
        let row = rows.next().unwrap().unwrap();
        let event: serde_json::Value = serde_json::from_slice(&row.line.unwrap()).unwrap();
        for (field, value) in
            [("timestamp", "2022-01-09T09:15:27Z"), ("session_id", "s"), ("category", "c"), ("name", "n")]
        {
            assert_eq!(event[field], value, "{event}");
        }
        assert!(rows.next().unwrap().is_none());
        writer.join().unwrap().unwrap();
        let refused = Rows::open(&path, Format::Parquet, Shape::new(&[], &[]).unwrap()).err().unwrap().to_string();
        assert!(refused.contains("a pipe: give a file"), "{refused}");
    }

    #[test]
    fn a_file_with_a_mark_at_its_beginning_loses_no_row() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rows.ndjson");
        std::fs::write(&path, "\u{feff}{\"who\":\"ann\",\"application\":\"web\"}\n").unwrap();
        let shape = Shape::new(&["who=user_id".parse().unwrap()], &["category=page".parse().unwrap()]).unwrap();
        let row = Rows::open(&path, Format::Auto, shape).unwrap().next().unwrap().unwrap();
        assert_eq!((row.number, row.application.as_deref()), (1, Some("web")));
        let event: serde_json::Value = serde_json::from_slice(&row.line.unwrap()).unwrap();
        assert_eq!((&event["user_id"], &event["category"]), (&"ann".into(), &"page".into()), "{event}");
        assert_eq!(event["event_id"], row_id(1, &row.text));
    }

    #[test]
    fn an_event_is_sent_as_it_stands_and_unknown_keys_are_kept() {
        let shape = Shape::new(&[], &[]).unwrap();
        let sent = |text: &str| {
            let row = of_json(Line { number: 1, bytes: text.into() }, &shape, false);
            (String::from_utf8(row.line.unwrap()).unwrap(), row.application)
        };
        let own = r#"{ "event_id":"e","application":"web","session_id":"s","data":{"a":1.0},"offset":9 }"#;
        assert_eq!(sent(own), (own.to_owned(), Some("web".to_owned())));
        assert_eq!(sent(r#"{"event_id":"e","page":"/"}"#).0, r#"{"event_id":"e","data":{"page":"/"}}"#);
        assert_eq!(sent("[1]").0, "[1]");
        assert_eq!(sent("{broken").0, "{broken");
        assert!(sent("{}").0.contains(&row_id(1, b"{}")));
    }
}
