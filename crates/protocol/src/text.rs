//! JSON strings and JSON text: unescaping, and writing back the way Django REST framework's renderer does.
//!
//! Only for text that has been scanned. The rule: what cannot stand in a Rust string (half of a surrogate pair) is
//! reported when a string is read, and kept as its escape when JSON is written back.

use std::borrow::Cow;
use std::fmt::Write as _;

use memchr::{memchr, memchr2};

/// A JSON string, unescaped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unescaped<'a> {
    /// The text; each lone surrogate stands as U+FFFD.
    pub(crate) text: Cow<'a, str>,
    /// The first lone surrogate, if there is one.
    pub(crate) lone_surrogate: Option<u32>,
}

/// Unescapes a scanned JSON string, given with its quotes. Borrows unless something is escaped.
pub(crate) fn unescape(json: &str) -> Unescaped<'_> {
    let inner = json.get(1..json.len().saturating_sub(1)).unwrap_or_default();
    if memchr(b'\\', inner.as_bytes()).is_none() {
        return Unescaped { text: Cow::Borrowed(inner), lone_surrogate: None };
    }
    let mut text = String::with_capacity(inner.len());
    let mut lone_surrogate = None;
    for piece in (Pieces { rest: inner }) {
        match piece {
            Piece::Plain(plain) => text.push_str(plain),
            Piece::Char(character) => text.push(character),
            Piece::LoneSurrogate(code) => {
                lone_surrogate.get_or_insert(code);
                text.push(char::REPLACEMENT_CHARACTER);
            }
        }
    }
    Unescaped { text: Cow::Owned(text), lone_surrogate }
}

/// Writes JSON text without whitespace, strings escaped as [`push_string`] does; numbers and order stay as they are.
pub(crate) fn push_compact(out: &mut String, json: &str) {
    let mut rest = json;
    while let Some(open) = memchr(b'"', rest.as_bytes()) {
        push_without_whitespace(out, &rest[..open]);
        let string = &rest[open + 1..];
        let close = string_end(string);
        out.push('"');
        for piece in (Pieces { rest: &string[..close] }) {
            match piece {
                Piece::Plain(plain) => push_escaped(out, plain),
                Piece::Char(character) => push_escaped(out, character.encode_utf8(&mut [0; 4])),
                // Writing to a string cannot fail.
                Piece::LoneSurrogate(code) => _ = write!(out, "\\u{code:04x}"),
            }
        }
        out.push('"');
        rest = string.get(close + 1..).unwrap_or_default();
    }
    push_without_whitespace(out, rest);
}

/// Writes a text as a JSON string: non-ASCII as it is, but U+2028 and U+2029 escaped.
pub(crate) fn push_string(out: &mut String, text: &str) {
    out.push('"');
    push_escaped(out, text);
    out.push('"');
}

fn push_escaped(out: &mut String, text: &str) {
    let mut copied = 0;
    for (at, character) in text.char_indices() {
        let short = match character {
            '"' => "\\\"",
            '\\' => "\\\\",
            '\n' => "\\n",
            '\r' => "\\r",
            '\t' => "\\t",
            '\u{8}' => "\\b",
            '\u{c}' => "\\f",
            '\0'..='\u{1f}' | '\u{2028}' | '\u{2029}' => "",
            _ => continue,
        };
        out.push_str(&text[copied..at]);
        out.push_str(short);
        if short.is_empty() {
            _ = write!(out, "\\u{:04x}", u32::from(character));
        }
        copied = at + character.len_utf8();
    }
    out.push_str(&text[copied..]);
}

fn push_without_whitespace(out: &mut String, json: &str) {
    out.extend(json.split([' ', '\t', '\n', '\r']));
}

/// The index of the closing quote, or the end of the text.
fn string_end(text: &str) -> usize {
    let mut at = 0;
    while let Some(found) = text.as_bytes().get(at..).and_then(|rest| memchr2(b'"', b'\\', rest)) {
        at += found;
        if text.as_bytes()[at] == b'"' {
            return at;
        }
        at += 2;
    }
    text.len()
}

enum Piece<'a> {
    Plain(&'a str),
    Char(char),
    LoneSurrogate(u32),
}

/// The inside of a JSON string, cut at its escapes. What is no escape is passed through.
struct Pieces<'a> {
    rest: &'a str,
}

impl<'a> Iterator for Pieces<'a> {
    type Item = Piece<'a>;

    fn next(&mut self) -> Option<Piece<'a>> {
        let bytes = self.rest.as_bytes();
        let (piece, length) = match memchr(b'\\', bytes) {
            None if bytes.is_empty() => return None,
            None => (Piece::Plain(self.rest), bytes.len()),
            Some(0) => escaped(bytes).unwrap_or((Piece::Plain("\\"), 1)),
            Some(plain) => (Piece::Plain(&self.rest[..plain]), plain),
        };
        self.rest = self.rest.get(length..).unwrap_or_default();
        Some(piece)
    }
}

/// The escape that the bytes start with, and its length.
fn escaped<'a>(bytes: &[u8]) -> Option<(Piece<'a>, usize)> {
    let character = match bytes.get(1)? {
        b'b' => '\u{8}',
        b'f' => '\u{c}',
        b'n' => '\n',
        b'r' => '\r',
        b't' => '\t',
        byte @ (b'"' | b'\\' | b'/') => char::from(*byte),
        b'u' => return unicode_escape(bytes),
        _ => return None,
    };
    Some((Piece::Char(character), 2))
}

fn unicode_escape<'a>(bytes: &[u8]) -> Option<(Piece<'a>, usize)> {
    let first = hex4(bytes, 2)?;
    if let Some(character) = char::from_u32(first) {
        return Some((Piece::Char(character), 6));
    }
    let second = if bytes.get(6..8) == Some(b"\\u") { hex4(bytes, 8) } else { None };
    Some(match (first, second) {
        (0xD800..=0xDBFF, Some(low @ 0xDC00..=0xDFFF)) => {
            let code = 0x1_0000 + ((first - 0xD800) << 10) + (low - 0xDC00);
            (Piece::Char(char::from_u32(code)?), 12)
        }
        _ => (Piece::LoneSurrogate(first), 6),
    })
}

fn hex4(bytes: &[u8], at: usize) -> Option<u32> {
    let digits = bytes.get(at..at + 4)?;
    digits.iter().try_fold(0, |value, digit| Some(value << 4 | char::from(*digit).to_digit(16)?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn compact(json: &str) -> String {
        let mut out = String::new();
        push_compact(&mut out, json);
        out
    }

    #[test]
    fn escapes_are_read() {
        assert_eq!(unescape(r#""a\"\\\/\b\f\n\r\té\u00e9\ud83d\ude00""#).text, "a\"\\/\u{8}\u{c}\n\r\téé😀");
        assert!(matches!(unescape("\"plain\"").text, Cow::Borrowed("plain")));
        let lone = unescape(r#""a\udc00\ud800b""#);
        assert_eq!((&*lone.text, lone.lone_surrogate), ("a\u{fffd}\u{fffd}b", Some(0xdc00)));
    }

    #[test]
    fn compact_json_is_written_as_the_seed_writes_it() {
        assert_eq!(compact(" { \"a\" : [ 1.50 , 1e400 ] }\n"), r#"{"a":[1.50,1e400]}"#);
        assert_eq!(compact(r#""\u00e9\/ \u001F\u0000\u2028 \\ \ud83d\ude00""#), "\"é/ \\u001f\\u0000\\u2028 \\\\ 😀\"");
        assert_eq!(compact("\"\u{2028}\u{7f}\""), "\"\\u2028\u{7f}\"");
        assert_eq!(compact(r#"{"a":"\uD800x"}"#), r#"{"a":"\ud800x"}"#);
    }

    proptest! {
        #[test]
        fn strings_round_trip(text in any::<String>()) {
            let mut out = String::new();
            push_string(&mut out, &text);
            prop_assert_eq!(&*unescape(&out).text, &text);
            prop_assert_eq!(serde_json::from_str::<String>(&out).unwrap(), text);
            prop_assert_eq!(compact(&out), out);
        }

        #[test]
        fn compacting_anything_never_panics(text in r#"["\\u0-9a-f{}\[\] é]{0,40}"#) {
            let _ = compact(&text);
            let _ = unescape(&text);
        }
    }
}
