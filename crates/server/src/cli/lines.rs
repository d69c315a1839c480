//! Events as lines: read from a file, standard input or a generator, plain or gzip, each with an id before it is sent.
//!
//! The rule that must hold: a line has its `event_id` before the first try, so that every later try says the same and
//! the server can tell a repeat from a new event.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use flate2::bufread::MultiGzDecoder;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use uuid::Uuid;

use super::failure::{Failure, Result};
use super::is_stdin;

/// Longer lines are refused: no server takes a body this large, and memory stays bounded.
const LINE_BYTES_MAX: u64 = 32 << 20;
const BUFFER_BYTES: usize = 256 << 10;
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

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
    name: String,
    input: Box<dyn BufRead + Send>,
    number: u64,
    bytes_total: Option<u64>,
    bytes_read: Arc<AtomicU64>,
}

impl Lines {
    /// Opens a file, or standard input for `-` or nothing. Gzip is known by its first two bytes.
    pub(crate) fn open(path: Option<&PathBuf>) -> Result<Self> {
        let Some(path) = path.filter(|path| !is_stdin(Some(path))) else {
            return Self::over("standard input".to_owned(), io::stdin(), None);
        };
        let open = |path: &Path| -> io::Result<(File, u64)> {
            let file = File::open(path)?;
            let bytes = file.metadata()?.len();
            Ok((file, bytes))
        };
        let (file, bytes) = open(path).map_err(|error| Failure::file(path.display(), &error))?;
        Self::over(path.display().to_string(), file, Some(bytes).filter(|bytes| *bytes > 0))
    }

    /// Over any bytes.
    pub(crate) fn over(name: String, input: impl Read + Send + 'static, bytes_total: Option<u64>) -> Result<Self> {
        let bytes_read = Arc::new(AtomicU64::new(0));
        let counted = Counted { input, bytes: Arc::clone(&bytes_read) };
        let mut plain = BufReader::with_capacity(BUFFER_BYTES, counted);
        let start = plain.fill_buf().map_err(|error| Failure::file(&name, &error))?;
        let input: Box<dyn BufRead + Send> = if start.starts_with(&GZIP_MAGIC) {
            Box::new(BufReader::with_capacity(BUFFER_BYTES, MultiGzDecoder::new(plain)))
        } else {
            Box::new(plain)
        };
        Ok(Self { name, input, number: 0, bytes_total, bytes_read })
    }

    /// How large the input is, if that is known.
    pub(crate) fn bytes_total(&self) -> Option<u64> {
        self.bytes_total
    }

    /// How much of the input has been read; shared with whoever shows progress.
    pub(crate) fn bytes_read(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.bytes_read)
    }

    /// The next line that is not blank, with an id.
    pub(crate) fn next(&mut self) -> Result<Option<Line>> {
        loop {
            let mut bytes = Vec::new();
            let read = (&mut self.input).take(LINE_BYTES_MAX).read_until(b'\n', &mut bytes);
            if read.map_err(|error| Failure::file(format!("{}, after line {}", self.name, self.number), &error))? == 0 {
                return Ok(None);
            }
            self.number += 1;
            if bytes.last() != Some(&b'\n') && bytes.len() as u64 == LINE_BYTES_MAX {
                return Err(Failure::usage(format!(
                    "{}, line {}: longer than {} MiB: is this one JSON object a line?",
                    self.name,
                    self.number,
                    LINE_BYTES_MAX >> 20
                )));
            }
            let text = bytes.trim_ascii();
            if !text.is_empty() {
                return Ok(Some(Line { number: self.number, bytes: with_id(text, new_id) }));
            }
        }
    }
}

struct Counted<R> {
    input: R,
    bytes: Arc<AtomicU64>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.input.read(buffer)?;
        self.bytes.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
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

/// The line with an id. A line that is no JSON object is left alone: the server says what is wrong with it.
fn with_id(line: &[u8], new_id: impl FnOnce() -> String) -> Vec<u8> {
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
        Ok(Identity { event_id: Some(id) }) if id.get() == "null" => {
            // The raw value borrows from the line: the distance of the two is its place.
            let at = id.get().as_ptr() as usize - line.as_ptr() as usize;
            [&line[..at], b"\"", new_id().as_bytes(), b"\"", &line[at + id.get().len()..]].concat()
        }
        Ok(_) | Err(_) => line.to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn all(bytes: &[u8]) -> Vec<Line> {
        let mut lines = Lines::over("test".to_owned(), io::Cursor::new(bytes.to_vec()), None).unwrap();
        std::iter::from_fn(|| lines.next().unwrap()).collect()
    }

    #[test]
    fn a_line_gets_an_id_only_if_it_has_none() {
        for (line, sent) in [
            (r#"{"event_id":"a","x":1}"#, r#"{"event_id":"a","x":1}"#),
            (r#"{"x":{"event_id":"inner"}}"#, r#"{"event_id":"ID","x":{"event_id":"inner"}}"#),
            (r#"{"x":1, "event_id" : null}"#, r#"{"x":1, "event_id" : "ID"}"#),
            ("{ }", r#"{"event_id":"ID" }"#),
            (r#"{"event_id":7}"#, r#"{"event_id":7}"#),
            (r#"{"event_id":"a","event_id":"b"}"#, r#"{"event_id":"a","event_id":"b"}"#),
            ("[1]", "[1]"),
            ("{broken", "{broken"),
        ] {
            assert_eq!(String::from_utf8(with_id(line.as_bytes(), || "ID".to_owned())).unwrap(), sent);
        }
    }

    #[test]
    fn gzip_in_several_members_reads_like_plain() {
        let text = b"{\"event_id\":\"1\"}\r\n\n  \n{\"event_id\":\"2\"}";
        let plain = all(text);
        assert_eq!(plain.iter().map(|line| line.number).collect::<Vec<_>>(), [1, 4]);
        assert_eq!(plain[0].bytes, b"{\"event_id\":\"1\"}");
        let mut zipped = Vec::new();
        for part in text.chunks(7) {
            let mut member = GzEncoder::new(Vec::new(), Compression::fast());
            member.write_all(part).unwrap();
            zipped.extend(member.finish().unwrap());
        }
        assert_eq!(all(&zipped), plain);
    }

    #[test]
    fn a_torn_gzip_file_is_an_error_and_not_an_end() {
        let mut zipped = GzEncoder::new(Vec::new(), Compression::fast());
        zipped.write_all(&b"{\"event_id\":\"1\"}\n".repeat(1000)).unwrap();
        let mut zipped = zipped.finish().unwrap();
        zipped.truncate(zipped.len() - 9);
        let mut lines = Lines::over("test".to_owned(), io::Cursor::new(zipped), None).unwrap();
        let failure = std::iter::from_fn(|| lines.next().transpose()).find_map(Result::err).unwrap();
        assert!(failure.to_string().contains("test, after line"), "{failure}");
    }
}
