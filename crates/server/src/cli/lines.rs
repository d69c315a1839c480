//! Events as lines: read from a file, standard input or a generator, each with an id before it is sent.
//!
//! The rule that must hold: a line has its `event_id` before the first try, so that every later try says the same and
//! the server can tell a repeat from a new event.

use std::io::{BufRead as _, Read as _};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use uuid::Uuid;

use super::csv::BOM;
use super::failure::{Failure, Result};
use super::input::Input;

/// Longer lines are refused: no server takes a body this large, and memory stays bounded.
const LINE_BYTES_MAX: u64 = 32 << 20;

/// One line that is to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    /// Its number in the input, from 1.
    pub(crate) number: u64,
    /// Its bytes, without the line end.
    pub(crate) bytes: Vec<u8>,
}

/// Where lines come from.
pub(crate) struct Lines {
    input: Input,
    number: u64,
}

impl Lines {
    /// Opens a file, or standard input for `-` or nothing.
    pub(crate) fn open(path: Option<&PathBuf>) -> Result<Self> {
        Ok(Self::new(Input::open(path)?))
    }

    /// The lines of an input.
    pub(crate) fn new(input: Input) -> Self {
        Self { input, number: 0 }
    }

    /// How large the input is, if that is known.
    pub(crate) fn bytes_total(&self) -> Option<u64> {
        self.input.bytes_total
    }

    /// How much of the input has been read; shared with whoever shows progress.
    pub(crate) fn bytes_read(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.input.bytes_read)
    }

    /// The next line that is not blank, with an id.
    pub(crate) fn next(&mut self) -> Result<Option<Line>> {
        let line = self.next_as_it_is()?;
        Ok(line.map(|line| Line { bytes: with_id(&line.bytes, new_id), ..line }))
    }

    /// The next line that is not blank, without blanks around it and without the mark that a file may begin with.
    pub(crate) fn next_as_it_is(&mut self) -> Result<Option<Line>> {
        loop {
            let mut bytes = Vec::new();
            let read = (&mut self.input.reader).take(LINE_BYTES_MAX).read_until(b'\n', &mut bytes);
            let name = &self.input.name;
            if read.map_err(|error| Failure::file(format!("{name}, after line {}", self.number), &error))? == 0 {
                return Ok(None);
            }
            self.number += 1;
            if bytes.last() != Some(&b'\n') && bytes.len() as u64 == LINE_BYTES_MAX {
                return Err(Failure::usage(format!(
                    "{name}, line {}: longer than {} MiB: is this one JSON object a line?",
                    self.number,
                    LINE_BYTES_MAX >> 20
                )));
            }
            let marked = bytes.strip_prefix(BOM).filter(|_| self.number == 1);
            let text = marked.unwrap_or(&bytes).trim_ascii();
            if !text.is_empty() {
                return Ok(Some(Line { number: self.number, bytes: text.to_vec() }));
            }
        }
    }
}

fn new_id() -> String {
    Uuid::now_v7().to_string()
}

/// The event id of a line, if the line is an object: `None` absent, else its JSON text.
#[derive(Deserialize)]
struct Identity<'a> {
    #[serde(borrow, default, deserialize_with = "present")]
    event_id: Option<&'a RawValue>,
}

/// `null` is present too.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

/// The line with an id; null and an empty text are none. A line that is no JSON object is left alone: the server says what is wrong with it.
pub(crate) fn with_id(line: &[u8], new_id: impl FnOnce() -> String) -> Vec<u8> {
    // A sequence would be read as a struct too; only objects have fields.
    if line.first() != Some(&b'{') {
        return line.to_vec();
    }
    match serde_json::from_slice::<Identity<'_>>(line) {
        Ok(Identity { event_id: None }) => {
            let is_empty = line.get(1..).is_some_and(|rest| rest.trim_ascii_start().first() == Some(&b'}'));
            let comma = if is_empty { "" } else { "," };
            [b"{\"event_id\":\"", new_id().as_bytes(), b"\"", comma.as_bytes(), &line[1..]].concat()
        }
        Ok(Identity { event_id: Some(id) }) if matches!(id.get(), "null" | "\"\"") => {
            // The raw value borrows from the line: the distance of the two is its place.
            let at = id.get().as_ptr() as usize - line.as_ptr() as usize;
            [&line[..at], b"\"", new_id().as_bytes(), b"\"", &line[at + id.get().len()..]].concat()
        }
        Ok(_) | Err(_) => line.to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mark_at_the_beginning_of_a_file_is_no_part_of_its_first_line() {
        let text = b"\xef\xbb\xbf{\"x\":1}\n\xef\xbb\xbf{}\n";
        let lines = || Lines::new(Input::over("test".to_owned(), std::io::Cursor::new(text.to_vec()), None).unwrap());
        let sent = lines().next().unwrap().unwrap();
        assert_eq!(sent.number, 1);
        assert!(sent.bytes.starts_with(b"{\"event_id\":\"") && sent.bytes.ends_with(b",\"x\":1}"), "{sent:?}");
        let mut lines = lines();
        assert_eq!(lines.next_as_it_is().unwrap(), Some(Line { number: 1, bytes: b"{\"x\":1}".to_vec() }));
        assert_eq!(lines.next_as_it_is().unwrap(), Some(Line { number: 2, bytes: b"\xef\xbb\xbf{}".to_vec() }));
    }

    #[test]
    fn a_line_gets_an_id_only_if_it_has_none() {
        for (line, sent) in [
            (r#"{"event_id":"a","x":1}"#, r#"{"event_id":"a","x":1}"#),
            (r#"{"x":{"event_id":"inner"}}"#, r#"{"event_id":"ID","x":{"event_id":"inner"}}"#),
            (r#"{"x":1, "event_id" : null}"#, r#"{"x":1, "event_id" : "ID"}"#),
            (r#"{"event_id":"","x":1}"#, r#"{"event_id":"ID","x":1}"#),
            ("{ }", r#"{"event_id":"ID" }"#),
            (r#"{"event_id":7}"#, r#"{"event_id":7}"#),
            (r#"{"event_id":"a","event_id":"b"}"#, r#"{"event_id":"a","event_id":"b"}"#),
            ("[1]", "[1]"),
            ("{broken", "{broken"),
        ] {
            assert_eq!(String::from_utf8(with_id(line.as_bytes(), || "ID".to_owned())).unwrap(), sent);
        }
    }
}
