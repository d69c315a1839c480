//! The checks of one value, in the framework's order and words.

use std::borrow::Cow;

use super::answer::SeedError;
use super::body::{Value, unescape_cow};
use crate::scan::{self, Kind};
use crate::text::{Unescaped, unescape};

pub(super) const REQUIRED: &str = "This field is required.";
pub(super) const NULL: &str = "This field may not be null.";
const BLANK: &str = "This field may not be blank.";
const NOT_A_STRING: &str = "Not a valid string.";
const NOT_JSON: &str = "Value must be valid JSON.";
const CHARS_MAX: usize = 255;

/// The errors of a body's fields, in the order of the fields.
#[derive(Debug, Default)]
pub(super) struct FieldErrors {
    errors: Vec<(&'static str, Vec<String>)>,
}

impl FieldErrors {
    /// The value, or nothing and its errors kept.
    pub(super) fn keep<T>(&mut self, field: &'static str, checked: Result<T, Vec<String>>) -> Option<T> {
        match checked {
            Ok(value) => Some(value),
            Err(messages) => {
                self.errors.push((field, messages));
                None
            }
        }
    }

    /// The value, if no field was wrong; else the 400 answer.
    pub(super) fn into_result<T>(self, value: T) -> Result<T, SeedError> {
        if self.errors.is_empty() { Ok(value) } else { Err(self.into_answer()) }
    }

    /// The 400 answer.
    pub(super) fn into_answer(self) -> SeedError {
        SeedError::fields(&self.errors)
    }
}

/// The message about a lone surrogate.
pub(super) fn surrogate(code: u32) -> String {
    format!("Surrogate characters are not allowed: U+{code:04X}.")
}

/// A required text: trimmed, not blank; a number becomes its digits as sent.
///
/// # Errors
/// Every message the framework would give.
pub(super) fn text(value: Option<Value<'_>>) -> Result<Cow<'_, str>, Vec<String>> {
    match value {
        None => Err(vec![REQUIRED.to_owned()]),
        Some(Value::File) => Err(vec![NOT_A_STRING.to_owned()]),
        Some(Value::Form(text)) => checked(Unescaped { text, lone_surrogate: None }),
        Some(Value::Json(json)) => match Kind::of(&json) {
            Kind::Null => Err(vec![NULL.to_owned()]),
            Kind::Integer | Kind::Float => checked(Unescaped { text: json, lone_surrogate: None }),
            Kind::Bool | Kind::Array | Kind::Object => Err(vec![NOT_A_STRING.to_owned()]),
            Kind::String => {
                let lone_surrogate = unescape(&json).lone_surrogate;
                checked(Unescaped { text: unescape_cow(json), lone_surrogate })
            }
        },
    }
}

fn checked(value: Unescaped<'_>) -> Result<Cow<'_, str>, Vec<String>> {
    let text = trim(value.text);
    if text.is_empty() {
        return Err(vec![BLANK.to_owned()]);
    }
    let mut messages = Vec::new();
    if text.len() > CHARS_MAX && text.chars().count() > CHARS_MAX {
        messages.push(format!("Ensure this field has no more than {CHARS_MAX} characters."));
    }
    if text.contains('\0') {
        messages.push("Null characters are not allowed.".to_owned());
    }
    messages.extend(value.lone_surrogate.map(surrogate));
    if messages.is_empty() { Ok(text) } else { Err(messages) }
}

/// Python's `str.strip`: Unicode white space and the four separators U+001C to U+001F.
fn trim(text: Cow<'_, str>) -> Cow<'_, str> {
    let is_space = |character: char| character.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&character);
    match text {
        Cow::Borrowed(text) => Cow::Borrowed(text.trim_matches(is_space)),
        Cow::Owned(text) => match text.trim_matches(is_space) {
            trimmed if trimmed.len() == text.len() => Cow::Owned(text),
            trimmed => Cow::Owned(trimmed.to_owned()),
        },
    }
}

/// A required JSON value; in a form it is JSON text.
///
/// # Errors
/// The framework's message: absent, null, or text that is not JSON.
pub(super) fn json(value: Option<Value<'_>>) -> Result<Cow<'_, str>, Vec<String>> {
    match value {
        None => Err(vec![REQUIRED.to_owned()]),
        Some(Value::File) => Err(vec![NOT_JSON.to_owned()]),
        Some(Value::Json(json)) if Kind::of(&json) == Kind::Null => Err(vec![NULL.to_owned()]),
        Some(Value::Json(json)) => Ok(json),
        Some(Value::Form(text)) => match scan::document(&text, drop) {
            Ok(json) => Ok(Cow::Owned(json.to_owned())),
            Err(_) => Err(vec![NOT_JSON.to_owned()]),
        },
    }
}
