//! Why a thing is no event: refused by name, kept with the start of its bytes so that a developer can see it.

use std::borrow::Cow;
use std::fmt;

/// Why something was refused. Codes are stable and part of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum RejectCode {
    /// The bytes are not JSON.
    NotJson = 1,
    /// The JSON is not an object.
    NotAnObject = 2,
    /// A required field is absent or null.
    MissingField = 3,
    /// A required text is empty.
    EmptyField = 4,
    /// A field has the wrong JSON type.
    WrongType = 5,
    /// A text is longer than its limit.
    TooLong = 6,
    /// A text holds a NUL character.
    NulCharacter = 7,
    /// A text holds half of a surrogate pair.
    LoneSurrogate = 8,
    /// A field is there twice.
    DuplicateField = 9,
    /// `data` or `context` is larger than its limit.
    TooLarge = 10,
    /// `data` or `context` is nested deeper than the limit.
    TooDeep = 11,
    /// The bytes are not UTF-8.
    NotUtf8 = 12,
}

impl RejectCode {
    /// Every code.
    pub const ALL: [Self; 12] = [
        Self::NotJson,
        Self::NotAnObject,
        Self::MissingField,
        Self::EmptyField,
        Self::WrongType,
        Self::TooLong,
        Self::NulCharacter,
        Self::LoneSurrogate,
        Self::DuplicateField,
        Self::TooLarge,
        Self::TooDeep,
        Self::NotUtf8,
    ];

    /// The stable code, as the API and the table spell it.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::NotJson => "not_json",
            Self::NotAnObject => "not_an_object",
            Self::MissingField => "missing_field",
            Self::EmptyField => "empty_field",
            Self::WrongType => "wrong_type",
            Self::TooLong => "too_long",
            Self::NulCharacter => "nul_character",
            Self::LoneSurrogate => "lone_surrogate",
            Self::DuplicateField => "duplicate_field",
            Self::TooLarge => "too_large",
            Self::TooDeep => "too_deep",
            Self::NotUtf8 => "not_utf8",
        }
    }

    /// The code with this name, if there is one.
    #[must_use]
    pub fn from_code(code: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reject| reject.code() == code)
    }
}

impl fmt::Display for RejectCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

/// A refusal: its code, the field it is about (empty if none) and a message that says how to mend it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// Why.
    pub code: RejectCode,
    /// The field, in the client's spelling; empty where no single field is to blame.
    pub field: Cow<'static, str>,
    /// For people: what is wrong and what to send instead.
    pub message: String,
}

impl Rejection {
    /// A refusal about one field.
    pub fn new(code: RejectCode, field: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Self { code, field: field.into(), message: message.into() }
    }
}

/// A rejection as it stands in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RejectionRef<'a> {
    /// The code; text, so that codes of newer versions survive.
    pub code: &'a str,
    /// The field, or empty.
    pub field: &'a str,
    /// What was wrong, for people.
    pub message: &'a str,
    /// The start of the refused bytes (limit: `Limits::sample_bytes_max`), lossily made UTF-8.
    pub sample: &'a str,
}

/// The start of refused bytes as text: at most `max` bytes, cut at a character, broken UTF-8 replaced.
#[must_use]
pub fn sample(bytes: &[u8], max: usize) -> String {
    let head = &bytes[..bytes.len().min(max)];
    let mut text = String::from_utf8_lossy(head).into_owned();
    while text.len() > max {
        text.pop();
    }
    text
}
