//! CSV as RFC 4180 has it: records out of any bytes, and cells that no spreadsheet takes for a formula.
//!
//! Events are written by strangers, and spreadsheets run a cell that begins with `=`, `+`, `-`, `@`, a tab or a line end
//! as a formula (OWASP, "CSV Injection"). Such a cell is written with an apostrophe in front. So is a cell that begins
//! with apostrophes and then one of these characters: taking one apostrophe away gives back exactly what was there.

use std::io::{BufRead as _, Read as _};

use super::failure::{Failure, Result};
use super::input::Input;

/// A record may be this long: far above what an event may be.
const RECORD_BYTES_MAX: usize = 4 << 20;
/// What some programs write before the first line of UTF-8.
pub(crate) const BOM: &[u8] = b"\xef\xbb\xbf";

/// The columns of an export.
pub(crate) const COLUMNS: [&str; 16] = [
    "event_id",
    "application",
    "session_id",
    "category",
    "name",
    "timestamp",
    "timestamp_raw",
    "sent_at",
    "received_at",
    "user_id",
    "anonymous_id",
    "data",
    "context",
    "problems",
    "partition",
    "offset",
];

fn is_dangerous(text: &str) -> bool {
    text.trim_start_matches('\'').starts_with(['=', '+', '-', '@', '\t', '\r', '\n', '＝', '＋', '－', '＠'])
}

/// Writes a cell, in quotes if it must be, and never as a formula.
pub(crate) fn write_cell(out: &mut Vec<u8>, text: &str) {
    let apostrophe: &[u8] = if is_dangerous(text) { b"'" } else { b"" };
    if !text.contains(['"', ',', '\n', '\r', ';', '\t']) {
        out.extend_from_slice(apostrophe);
        return out.extend_from_slice(text.as_bytes());
    }
    out.push(b'"');
    out.extend_from_slice(apostrophe);
    out.extend_from_slice(text.replace('"', "\"\"").as_bytes());
    out.push(b'"');
}

/// What [`write_cell`] was given.
pub(crate) fn unguarded(text: &str) -> &str {
    text.strip_prefix('\'').filter(|_| is_dangerous(text)).unwrap_or(text)
}

/// One record.
#[derive(Debug)]
pub(crate) struct Record {
    /// The line on which it begins, from 1.
    pub(crate) line: u64,
    /// Its bytes as they are in the file, without the last line end.
    pub(crate) raw: Vec<u8>,
    /// Its fields, or what is wrong with it.
    pub(crate) fields: std::result::Result<Vec<String>, String>,
}

/// Records, one after another.
pub(crate) struct Records {
    input: Input,
    delimiter: u8,
    line: u64,
}

impl Records {
    /// Over an input. Fields end at commas, semicolons or tabs: whichever the first line has most of.
    pub(crate) fn new(mut input: Input) -> Result<Self> {
        let broken = |name: &str, error: std::io::Error| Failure::file(name, &error);
        let start = input.reader.fill_buf().map_err(|error| broken(&input.name, error))?;
        if start.starts_with(BOM) {
            input.reader.consume(BOM.len());
        }
        let start = input.reader.fill_buf().map_err(|error| broken(&input.name, error))?;
        let first = start.split(|byte| *byte == b'\n').next().unwrap_or_default();
        let count = |delimiter: u8| first.iter().filter(|byte| **byte == delimiter).count();
        let delimiter = [b'\t', b';', b','].into_iter().max_by_key(|byte| count(*byte)).unwrap_or(b',');
        Ok(Self { input, delimiter, line: 0 })
    }

    /// What messages call the input.
    pub(crate) fn name(&self) -> &str {
        &self.input.name
    }

    /// The next record; blank lines are none.
    pub(crate) fn next(&mut self) -> Result<Option<Record>> {
        let mut raw = Vec::new();
        let mut scan = Scan::new(self.delimiter);
        let first_line = loop {
            let begin = raw.len();
            if self.read_line(&mut raw)? == 0 {
                return Ok(None);
            }
            if raw.iter().any(|byte| !byte.is_ascii_whitespace() || *byte == self.delimiter) {
                scan.line(&raw[begin..]);
                break self.line;
            }
            raw.clear();
        };
        while scan.is_open() {
            let begin = raw.len();
            if self.read_line(&mut raw)? == 0 {
                scan.problem.get_or_insert("a quote is opened and never closed");
                break;
            }
            scan.line(&raw[begin..]);
            if raw.len() > RECORD_BYTES_MAX {
                return Err(Failure::usage(format!(
                    "{}: the record that begins on line {first_line} is longer than {} MiB: is a quote never closed there?",
                    self.input.name,
                    RECORD_BYTES_MAX >> 20
                )));
            }
        }
        raw.truncate(line_end(&raw));
        Ok(Some(Record { line: first_line, raw, fields: scan.finish() }))
    }

    fn read_line(&mut self, raw: &mut Vec<u8>) -> Result<usize> {
        let limit = (RECORD_BYTES_MAX + 1) as u64;
        let read = (&mut self.input.reader).take(limit).read_until(b'\n', raw);
        let read =
            read.map_err(|error| Failure::file(format!("{}, after line {}", self.input.name, self.line), &error))?;
        if read as u64 == limit && raw.last() != Some(&b'\n') {
            return Err(Failure::usage(format!(
                "{}, line {}: longer than {} MiB: is this CSV?",
                self.input.name,
                self.line + 1,
                RECORD_BYTES_MAX >> 20
            )));
        }
        self.line += u64::from(read > 0);
        Ok(read)
    }
}

/// Where the line end of these bytes begins.
fn line_end(bytes: &[u8]) -> usize {
    let end = bytes.strip_suffix(b"\n").map_or(bytes.len(), |rest| rest.strip_suffix(b"\r").unwrap_or(rest).len());
    end.min(bytes.len())
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// Before a field.
    Start,
    /// In a field without quotes.
    Plain,
    /// Between quotes.
    Quoted,
    /// Behind a quote that may have been the last.
    Closed,
}

struct Scan {
    delimiter: u8,
    state: State,
    field: Vec<u8>,
    fields: Vec<Vec<u8>>,
    problem: Option<&'static str>,
}

impl Scan {
    fn new(delimiter: u8) -> Self {
        Self { delimiter, state: State::Start, field: Vec::new(), fields: Vec::new(), problem: None }
    }

    fn is_open(&self) -> bool {
        self.state == State::Quoted
    }

    /// Takes a line with its end, which is text if a quote is open.
    fn line(&mut self, line: &[u8]) {
        let end = line_end(line);
        line[..end].iter().for_each(|byte| self.byte(*byte));
        if self.is_open() {
            self.field.extend_from_slice(&line[end..]);
        }
    }

    fn byte(&mut self, byte: u8) {
        self.state = match (self.state, byte) {
            (State::Start, b'"') => State::Quoted,
            (State::Quoted, b'"') => State::Closed,
            (State::Closed, b'"') => {
                self.field.push(b'"');
                State::Quoted
            }
            (State::Quoted, _) => {
                self.field.push(byte);
                State::Quoted
            }
            (_, byte) if byte == self.delimiter => {
                self.fields.push(std::mem::take(&mut self.field));
                State::Start
            }
            (state, _) => {
                if state == State::Closed {
                    self.problem
                        .get_or_insert("there is text behind a closing quote: double the quotes inside a field");
                }
                self.field.push(byte);
                State::Plain
            }
        };
    }

    fn finish(mut self) -> std::result::Result<Vec<String>, String> {
        if let Some(problem) = self.problem {
            return Err(problem.to_owned());
        }
        self.fields.push(self.field);
        let fields = self.fields.into_iter().map(String::from_utf8).collect::<std::result::Result<_, _>>();
        fields.map_err(|_| "it is not UTF-8: convert the file to UTF-8".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records(bytes: &[u8]) -> Vec<Record> {
        let input = Input::over("test".to_owned(), std::io::Cursor::new(bytes.to_vec()), None).unwrap();
        let mut records = Records::new(input).unwrap();
        std::iter::from_fn(|| records.next().unwrap()).collect()
    }

    fn fields(bytes: &[u8]) -> Vec<(u64, Vec<String>)> {
        records(bytes).into_iter().map(|record| (record.line, record.fields.unwrap())).collect()
    }

    fn row(line: u64, fields: &[&str]) -> (u64, Vec<String>) {
        (line, fields.iter().map(|&field| field.to_owned()).collect())
    }

    #[test]
    fn odd_records_are_read_as_rfc_4180_has_them() {
        let text = b"\xef\xbb\xbfa,b,c\r\n\r\n1,\"two\r\nlines, \"\"quoted\"\"\",\n\"\",5\" pipe, x \n,,";
        assert_eq!(
            fields(text),
            [
                row(1, &["a", "b", "c"]),
                row(3, &["1", "two\r\nlines, \"quoted\"", ""]),
                row(5, &["", "5\" pipe", " x "]),
                row(6, &["", "", ""]),
            ]
        );
        assert_eq!(fields(b"a;b,b;c\n1;2,5;3\n"), [row(1, &["a", "b,b", "c"]), row(2, &["1", "2,5", "3"])]);
        assert_eq!(fields(b"a\tb\n\t\n"), [row(1, &["a", "b"]), row(2, &["", ""])]);
    }

    #[test]
    fn a_bad_record_is_named_and_its_neighbours_are_read() {
        let read = records(b"a,b\n\"x\"y,1\nz\xff,2\nok,3\n\"open,4\nmore\n");
        let problems: Vec<_> = read.iter().map(|record| (record.line, record.fields.clone().err())).collect();
        assert!(problems[1].1.as_ref().unwrap().contains("closing quote"), "{problems:?}");
        assert!(problems[2].1.as_ref().unwrap().contains("UTF-8"), "{problems:?}");
        assert_eq!(problems[3], (4, None));
        assert!(problems[4].0 == 5 && problems[4].1.as_ref().unwrap().contains("never closed"), "{problems:?}");
        assert_eq!(read[4].raw, b"\"open,4\nmore");
    }

    #[test]
    fn no_cell_is_a_formula_and_every_cell_comes_back() {
        for text in [
            "=1+1",
            "+1",
            "-1",
            "@SUM(A1)",
            "\tx",
            "\rx",
            "\n=x",
            "'=x",
            "''-x",
            "＝1",
            "'plain",
            "plain",
            "",
            "a,b\"c\n",
            "O'Hara",
            "{\"a\":1}",
        ] {
            let mut cell = Vec::new();
            write_cell(&mut cell, text);
            let inner = String::from_utf8(cell.clone()).unwrap().trim_start_matches('"').to_owned();
            assert!(!inner.starts_with(['=', '+', '-', '@', '\t', '\r', '\n', '＝']), "{inner:?}");
            let read = fields(&[b"a,b\n1,", &cell[..], b"\n"].concat());
            assert_eq!(unguarded(&read[1].1[1]), text);
        }
    }
}
