//! What `eye import` reads: CSV, lines, and columns that become events. A record has its bytes as they stand in the file; a
//! cell that was written is no formula and comes back; a line that gets an id says what it said before; and what a row
//! becomes is an event in JSON.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::{Cursor, Read as _};

use serde_json::value::RawValue;

use crate::cli::csv::{BOM, Records, unguarded, write_cell};
use crate::cli::failure::{Failure, Result};
use crate::cli::import::shape::{Assignment, Cell, Shape};
use crate::cli::input::Input;
use crate::cli::lines::{Lines, with_id};
use crate::memory::within;

/// So much of a packed file is read.
const UNPACKED_BYTES_MAX: usize = 64 * 1024;
const FIELDS: [&str; 10] = [
    "event_id",
    "session_id",
    "category",
    "name",
    "timestamp",
    "sent_at",
    "user_id",
    "anonymous_id",
    "data",
    "context",
];

/// Runs the target on one input: a byte that says what to read, then a file. Before a table may stand, as lines and with a
/// NUL behind them, what is given for `--map` and, behind a plus sign, for `--set`.
pub fn run(data: &[u8]) {
    let [mode, rest @ ..] = data else { return };
    let read = match mode % 3 {
        0 => table(rest),
        1 => within(memory_max(rest), || lines(rest)),
        _ => cells(rest),
    };
    if let Err(failure) = read {
        check_failure(&failure);
    }
}

fn is_packed(file: &[u8]) -> bool {
    file.starts_with(&[0x1f, 0x8b]) || file.starts_with(&[0x28, 0xb5, 0x2f, 0xfd])
}

/// How long the file is when it is unpacked, as far as it is read.
fn plain_bytes_max(file: &[u8]) -> usize {
    if is_packed(file) { UNPACKED_BYTES_MAX } else { file.len() }
}

/// Two buffers and an unpacker; and a comma is a field, as bytes and then as a text.
fn memory_max(file: &[u8]) -> usize {
    1024 * 1024 + 256 * plain_bytes_max(file)
}

/// The file as it is opened.
fn input(file: &[u8]) -> Result<Input> {
    let Input { name, reader, bytes_total, bytes_read } =
        Input::over("file".to_owned(), Cursor::new(file.to_vec()), None)?;
    let reader = Box::new(reader.take(plain_bytes_max(file) as u64));
    Ok(Input { name, reader, bytes_total, bytes_read })
}

fn table(data: &[u8]) -> Result<()> {
    let at = data.iter().position(|byte| *byte == 0);
    let (options, file) = at.map_or((&[][..], data), |at| (&data[..at], &data[at + 1..]));
    let options = String::from_utf8_lossy(options);
    let (set, map): (Vec<&str>, Vec<&str>) = options.lines().partition(|line| line.starts_with('+'));
    let (Ok(map), Ok(set)) = (assignments(&map), assignments(&set)) else { return Ok(()) };
    within(memory_max(file) + 256 * options.len(), || rows(file, &map, &set))
}

fn assignments(lines: &[&str]) -> std::result::Result<Vec<Assignment>, String> {
    lines.iter().map(|line| line.trim_start_matches('+').parse()).collect()
}

/// The records, and the events that they become if the columns can be events.
fn rows(file: &[u8], map: &[Assignment], set: &[Assignment]) -> Result<()> {
    let shape = Shape::new(map, set)?;
    let mut records = Records::new(input(file)?)?;
    let Some(header) = records.next()? else { return Ok(()) };
    let mut left = after(file, &header.raw);
    let mut line_before = header.line;
    let columns = header.fields.unwrap_or_default();
    let columns: Vec<&str> = columns.iter().map(|column| column.trim()).collect();
    let checked = shape.check_columns(&columns, "file");
    while let Some(record) = records.next()? {
        assert!(record.line > line_before, "line {} comes after {line_before}", record.line);
        line_before = record.line;
        left = after(left, &record.raw);
        let Some(fields) = record.fields.ok().filter(|fields| checked.is_ok() && fields.len() == columns.len()) else {
            continue;
        };
        let cells = columns.iter().zip(&fields);
        let cells = cells.map(|(name, field)| (*name, Cell::Text(Cow::Borrowed(unguarded(field)))));
        match shape.line(cells) {
            Ok(line) => {
                assert!(members(&line).keys().all(|field| FIELDS.contains(&field.as_str())), "a field of its own");
                check_id(&line);
            }
            Err(misfit) => assert!(!misfit.message.is_empty()),
        }
    }
    checked
}

/// What stands in the file behind these bytes of it. Of a packed file nothing is known.
fn after<'a>(file: &'a [u8], raw: &[u8]) -> &'a [u8] {
    if is_packed(file) {
        return file;
    }
    let at = file.windows(raw.len()).position(|window| window == raw).expect("a record stands in the file");
    &file[at + raw.len()..]
}

fn lines(file: &[u8]) -> Result<()> {
    let mut lines = Lines::new(input(file)?);
    let expected = file.strip_prefix(BOM).unwrap_or(file).split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    let mut expected = expected.filter(|line| !line.is_empty());
    let mut number_before = 0;
    while let Some(line) = lines.next_as_it_is()? {
        assert!(line.number > number_before, "line {} comes after {number_before}", line.number);
        number_before = line.number;
        assert!(is_packed(file) || expected.next() == Some(&line.bytes[..]), "line {} is another", line.number);
        check_id(&line.bytes);
    }
    assert!(is_packed(file) || expected.next().is_none(), "a line is passed over");
    Ok(())
}

/// A line that gets an id says what it said before; any other is left alone.
fn check_id(line: &[u8]) {
    let sent = with_id(line, || "ID".to_owned());
    // Whoever adds the id does not look into texts that say nothing of it.
    if sent == line || std::str::from_utf8(line).is_err() {
        return;
    }
    let (mut before, mut after) = (members(line), members(&sent));
    assert_eq!(after.remove("event_id"), Some("\"ID\""));
    before.remove("event_id");
    assert_eq!(after, before, "a line says something else with an id");
}

fn members(line: &[u8]) -> BTreeMap<String, &str> {
    let members: BTreeMap<String, &RawValue> = serde_json::from_slice(line).expect("it is a JSON object");
    members.into_iter().map(|(key, value)| (key, value.get())).collect()
}

/// Texts with NULs between them, each in a cell: no cell is a formula, and each comes back.
fn cells(data: &[u8]) -> Result<()> {
    let Ok(text) = std::str::from_utf8(data) else { return Ok(()) };
    let texts: Vec<&str> = text.split('\0').collect();
    let mut file = b"first".to_vec();
    texts.iter().for_each(|_| file.extend_from_slice(b",next"));
    file.push(b'\n');
    let start = file.len();
    file.push(b'x');
    for text in &texts {
        let mut cell = Vec::new();
        write_cell(&mut cell, text);
        let shown = std::str::from_utf8(&cell).expect("a text stays a text");
        let shown = shown.strip_prefix('"').unwrap_or(shown);
        assert!(!shown.starts_with(['=', '+', '-', '@', '\t', '\r', '\n', '＝', '＋', '－', '＠']), "{shown:?}");
        file.push(b',');
        file.extend_from_slice(&cell);
    }
    let end = file.len();
    file.push(b'\n');
    within(memory_max(&file), || {
        let mut records = Records::new(input(&file)?)?;
        records.next()?.expect("a header");
        let record = records.next()?.expect("a row");
        assert_eq!((record.line, &record.raw[..]), (2, &file[start..end]));
        let fields = record.fields.expect("what was written is read");
        assert!(fields.iter().skip(1).map(|field| unguarded(field)).eq(texts.iter().copied()), "{fields:?}");
        assert!(records.next()?.is_none());
        Ok(())
    })
}

/// What strangers wrote does not reach the terminal as it is.
fn check_failure(failure: &Failure) {
    let message = failure.to_string();
    assert!(!message.is_empty());
    assert!(!message.contains(|character: char| character.is_control() && character != '\n'), "{message:?}");
}
