//! What Python's `json` says about text that is not JSON: the words of the seed API's 400 answers.
//!
//! The parser is [`scan`](crate::scan); this turns its errors into `json.JSONDecodeError` as Python 3.12 and older word
//! it. Positions count characters, lines end at `\n`. A UTF-8 sequence cut off by the end of the body is dropped, as
//! Python's incremental reader does.

use std::borrow::Cow;

use crate::scan::{self, Member, ScanError, What};

/// The encodings a body may declare; anything else is read as UTF-8.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Charset {
    Utf8,
    Latin1,
    Ascii,
}

impl Charset {
    /// The encoding with this name, in any of Python's spellings.
    pub(crate) fn named(name: &str) -> Self {
        match name.to_ascii_lowercase().replace('_', "-").as_str() {
            "latin-1" | "latin1" | "latin" | "l1" | "iso-8859-1" | "iso8859-1" | "8859" | "cp819" => Self::Latin1,
            "ascii" | "us-ascii" | "646" => Self::Ascii,
            _ => Self::Utf8,
        }
    }

    /// Reads bytes as text.
    ///
    /// # Errors
    /// Python's `UnicodeDecodeError`, as text.
    pub(crate) fn decode(self, bytes: &[u8]) -> Result<Cow<'_, str>, String> {
        match self {
            Self::Utf8 => utf8(bytes).map(Cow::Borrowed),
            Self::Latin1 => Ok(self.decode_lossy(bytes)),
            Self::Ascii => match bytes.iter().position(|byte| !byte.is_ascii()) {
                None => Ok(self.decode_lossy(bytes)),
                Some(at) => Err(format!(
                    "'ascii' codec can't decode byte 0x{:02x} in position {at}: ordinal not in range(128)",
                    bytes[at]
                )),
            },
        }
    }

    /// Reads bytes as text; what is no text becomes U+FFFD.
    pub(crate) fn decode_lossy(self, bytes: &[u8]) -> Cow<'_, str> {
        match self {
            Self::Latin1 if !bytes.is_ascii() => Cow::Owned(bytes.iter().map(|byte| char::from(*byte)).collect()),
            _ => String::from_utf8_lossy(bytes),
        }
    }
}

fn utf8(bytes: &[u8]) -> Result<&str, String> {
    let error = match std::str::from_utf8(bytes) {
        Ok(text) => return Ok(text),
        Err(error) => error,
    };
    let start = error.valid_up_to();
    let Some(length) = error.error_len() else {
        return Ok(std::str::from_utf8(&bytes[..start]).unwrap_or_default());
    };
    let first = bytes[start];
    let reason = match first {
        0xc2..=0xf4 => "invalid continuation byte",
        _ => "invalid start byte",
    };
    Err(match length {
        1 => format!("'utf-8' codec can't decode byte 0x{first:02x} in position {start}: {reason}"),
        _ => format!("'utf-8' codec can't decode bytes in position {start}-{}: {reason}", start + length - 1),
    })
}

/// Scans a document; returns the value's text.
///
/// # Errors
/// What Python's `json.loads` would say, with constants such as `NaN` refused.
pub(crate) fn document<'a>(text: &'a str, on_member: impl FnMut(Member<'a>)) -> Result<&'a str, String> {
    if text.starts_with('\u{feff}') {
        return Err("Unexpected UTF-8 BOM (decode using utf-8-sig): line 1 column 1 (char 0)".to_owned());
    }
    scan::document(text, on_member).map_err(|error| message(text, error))
}

fn message(text: &str, error: ScanError) -> String {
    let what = match error.what {
        What::PropertyName => "Expecting property name enclosed in double quotes",
        What::Colon => "Expecting ':' delimiter",
        What::Comma => "Expecting ',' delimiter",
        What::Value => "Expecting value",
        What::UnterminatedString => "Unterminated string starting at",
        What::ControlCharacter => "Invalid control character at",
        What::Escape => "Invalid \\escape",
        What::UnicodeEscape => "Invalid \\uXXXX escape",
        What::ExtraData => "Extra data",
        What::Constant(name) => return format!("Out of range float values are not JSON compliant: '{name}'"),
    };
    let before = text.get(..error.at).unwrap_or(text);
    let line = 1 + before.bytes().filter(|byte| *byte == b'\n').count();
    let column = 1 + before.rsplit('\n').next().map_or(0, |last| last.chars().count());
    format!("{what}: line {line} column {column} (char {})", before.chars().count())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One line of `python_json.jsonl`: bytes in hexadecimal, and what Python said of them (null: it read them).
    #[derive(serde::Deserialize)]
    struct Recorded {
        bytes: String,
        message: Option<String>,
    }

    fn unhex(hex: &str) -> Vec<u8> {
        (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
    }

    #[test]
    fn says_what_python_says() {
        let recorded = include_str!("../tests/fixtures/python_json.jsonl");
        assert!(recorded.lines().count() > 500);
        for line in recorded.lines() {
            let Recorded { bytes, message } = serde_json::from_str(line).unwrap();
            let bytes = unhex(&bytes);
            let said = Charset::Utf8.decode(&bytes).and_then(|text| document(&text, drop).map(str::to_owned)).err();
            assert_eq!(said, message, "{:?}", String::from_utf8_lossy(&bytes));
        }
    }

    #[test]
    fn charsets_are_known_by_their_names() {
        assert_eq!(Charset::named("ISO_8859-1"), Charset::Latin1);
        assert_eq!(Charset::named("utf-8"), Charset::Utf8);
        assert_eq!(Charset::Latin1.decode(b"\xe9").as_deref(), Ok("é"));
        assert_eq!(
            Charset::Ascii.decode(b"a\xe9").unwrap_err(),
            "'ascii' codec can't decode byte 0xe9 in position 1: ordinal not in range(128)"
        );
    }
}
