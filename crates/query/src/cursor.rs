//! [`Cursor`]: where a page ended, as opaque text.
//!
//! A cursor names the last row of a page, not a count of rows: pages stay whole while events are being written.
//!
//! ```text
//! base64url( version u8 = 1 | key … | check u64, big endian )
//! ```
//!
//! `check` is FNV-1a 64 over the question (its name, filter and order) and the key. So a cursor fits only the question
//! it came from, and a damaged one is refused. It is no secret: what may be seen is decided by the token, every time.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::error::{Error, Result};

const VERSION: u8 = 1;
const CHECK_BYTES: usize = 8;
const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// Where a page ended. Send it back with the same parameters to get the next page.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(transparent)]
pub struct Cursor(String);

impl Cursor {
    /// A cursor as somebody sent it. It is checked when a question uses it.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text to send.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The cursor of `question` behind the row with this key.
    pub(crate) fn write(question: Question, key: &[u8]) -> Self {
        let mut bytes = Vec::with_capacity(1 + key.len() + CHECK_BYTES);
        bytes.push(VERSION);
        bytes.extend_from_slice(key);
        bytes.extend_from_slice(&question.bytes(key).0.to_be_bytes());
        Self(encode(&bytes))
    }

    /// The key in this cursor, if it belongs to `question`.
    pub(crate) fn read(&self, question: Question) -> Result<Vec<u8>> {
        self.key(question).ok_or_else(Self::foreign)
    }

    /// The error for a text that is no cursor of the question at hand.
    pub(crate) fn foreign() -> Error {
        Error::invalid(
            "cursor",
            "cursor is not from this list: send `next` of the page before, with the same parameters",
        )
    }

    fn key(&self, question: Question) -> Option<Vec<u8>> {
        let bytes = decode(&self.0)?;
        let (body, check) = bytes.split_last_chunk::<CHECK_BYTES>()?;
        let (version, key) = body.split_first()?;
        let fits = *version == VERSION && question.bytes(key).0 == u64::from_be_bytes(*check);
        fits.then(|| key.to_vec())
    }
}

/// What a cursor belongs to: a running FNV-1a 64 of the question. The same on every node and after every restart.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Question(u64);

impl Question {
    pub(crate) fn new(name: &str) -> Self {
        Self(0xcbf2_9ce4_8422_2325).text(Some(name))
    }

    /// Adds a text; absent and empty differ.
    pub(crate) fn text(self, text: Option<&str>) -> Self {
        match text {
            None => self.bytes(&[0]),
            Some(text) => self.bytes(&[1]).bytes(&(text.len() as u64).to_be_bytes()).bytes(text.as_bytes()),
        }
    }

    /// Adds a number; absent and zero differ.
    pub(crate) fn number(self, number: Option<i64>) -> Self {
        match number {
            None => self.bytes(&[0]),
            Some(number) => self.bytes(&[2]).bytes(&number.to_be_bytes()),
        }
    }

    fn bytes(self, bytes: &[u8]) -> Self {
        Self(bytes.iter().fold(self.0, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)))
    }
}

/// Base64url without padding (RFC 4648 section 5).
fn encode(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let group =
            chunk.iter().fold(0_usize, |group, byte| group << 8 | usize::from(*byte)) << (8 * (3 - chunk.len()));
        for place in 0..=chunk.len() {
            text.push(char::from(ALPHABET[group >> (18 - 6 * place) & 63]));
        }
    }
    text
}

/// The bytes of such a text; `None` unless it is exactly what [`encode`] writes.
fn decode(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3 + 2);
    for chunk in text.as_bytes().chunks(4) {
        let mut group = 0_u32;
        for place in 0..4 {
            let digit = chunk.get(place).map_or(Some(0), |byte| ALPHABET.iter().position(|letter| letter == byte))?;
            group = group << 6 | u32::try_from(digit).ok()?;
        }
        bytes.extend_from_slice(&group.to_be_bytes()[1..chunk.len().max(1)]);
    }
    (encode(&bytes) == text).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn base64url_is_as_the_standard_says() {
        for (bytes, text) in
            [("", ""), ("f", "Zg"), ("fo", "Zm8"), ("foo", "Zm9v"), ("foob", "Zm9vYg"), ("fooba", "Zm9vYmE")]
        {
            assert_eq!(encode(bytes.as_bytes()), text);
            assert_eq!(decode(text).unwrap(), bytes.as_bytes());
        }
        assert_eq!(encode(&[0xfb, 0xff]), "-_8");
        for bad in ["Z", "Zh", "Zg==", "Z g", "Zm9vY", "+/8", "é"] {
            assert_eq!(decode(bad), None, "{bad}");
        }
    }

    #[test]
    fn absent_empty_and_zero_are_three_questions() {
        let question = Question::new("events");
        let all = [question.text(None), question.text(Some("")), question.number(Some(0)), question];
        for (index, one) in all.iter().enumerate() {
            assert!(all[index + 1..].iter().all(|other| other.0 != one.0));
        }
        assert_ne!(question.text(Some("ab")).text(Some("c")).0, question.text(Some("a")).text(Some("bc")).0);
    }

    proptest! {
        #[test]
        fn only_the_own_question_reads_a_cursor(key in proptest::collection::vec(any::<u8>(), 0..60)) {
            let (mine, other) = (Question::new("events").text(Some("a")), Question::new("events").text(Some("b")));
            let cursor = Cursor::write(mine, &key);
            prop_assert_eq!(cursor.read(mine).unwrap(), key);
            let is_refused = matches!(cursor.read(other), Err(Error::Invalid { field: "cursor", .. }));
            prop_assert!(is_refused);
        }

        #[test]
        fn a_damaged_cursor_is_refused(
            key in proptest::collection::vec(any::<u8>(), 0..40),
            at in any::<prop::sample::Index>(),
            with in "[A-Za-z0-9_-]",
        ) {
            let question = Question::new("sessions");
            let cursor = Cursor::write(question, &key);
            let at = at.index(cursor.0.len());
            let mut damaged = cursor.0.clone();
            damaged.replace_range(at..=at, &with);
            prop_assume!(damaged != cursor.0);
            prop_assert!(Cursor::new(damaged).read(question).is_err());
        }

        #[test]
        fn any_text_is_read_without_panic(text in ".{0,40}") {
            prop_assert!(Cursor::new(text).read(Question::new("events")).is_err());
        }
    }
}
