//! A request's body to named values, by its content type: JSON, a form, or multipart.
//!
//! Of several values with one name the last counts, in JSON as in forms.

use std::borrow::Cow;

use super::answer::{SeedError, unsupported_media_type};
use super::header::{matches_part, media_type, parameter};
use super::multipart;
use crate::python_json::{self, Charset};
use crate::scan::{Kind, Member};
use crate::text::unescape;

/// One value, as its format has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value<'a> {
    /// JSON text.
    Json(Cow<'a, str>),
    /// A form's text.
    Form(Cow<'a, str>),
    /// An uploaded file: no field of an event takes one.
    File,
}

/// Every name that any endpoint looks for. Others are not kept: a body of a million fields costs nothing.
const NAMES: [&str; 10] =
    ["session_id", "category", "name", "data", "timestamp", "event_id", "start", "end", "from", "to"];

/// The values of a body that have a known name, at its place in [`NAMES`]; the last of each name.
#[derive(Debug, Default)]
pub(super) struct Body<'a> {
    values: [Option<Value<'a>>; NAMES.len()],
}

impl<'a> Body<'a> {
    /// Reads a body. An empty one has no values, whatever its content type.
    ///
    /// # Errors
    /// 415 for another content type; 400 for a body that is not what its content type says, or JSON but no object.
    pub(super) fn read(body: &'a [u8], content_type: Option<&str>) -> Result<Self, SeedError> {
        if body.is_empty() {
            return Ok(Self::default());
        }
        let content_type = content_type.unwrap_or_default();
        let (main, sub) = media_type(content_type);
        let charset = parameter(content_type, "charset").map_or(Charset::Utf8, |name| Charset::named(&name));
        let is = |our_main: &str, our_sub: &str| matches_part(&main, our_main) && matches_part(&sub, our_sub);
        if is("application", "json") || (main == "text" && sub == "plain") {
            return Self::from_json(body, charset);
        }
        if is("application", "x-www-form-urlencoded") {
            return Ok(Self::from_form(body, charset));
        }
        if is("multipart", "form-data") {
            let boundary = parameter(content_type, "boundary");
            let mut read = Self::default();
            multipart::read(body, boundary.as_deref(), charset, |name, value| read.put(name, value))?;
            return Ok(read);
        }
        Err(unsupported_media_type(content_type))
    }

    /// Reads a query string.
    pub(super) fn from_query(query: &'a str) -> Self {
        Self::from_form(query.as_bytes(), Charset::Utf8)
    }

    /// Removes and returns the value with this name.
    pub(super) fn take(&mut self, name: &str) -> Option<Value<'a>> {
        self.values[NAMES.iter().position(|known| *known == name)?].take()
    }

    /// Takes over every value of `later` that is not null.
    pub(super) fn override_with(&mut self, later: Self) {
        for (value, later) in self.values.iter_mut().zip(later.values) {
            if later.as_ref().is_some_and(|later| !later.is_null()) {
                *value = later;
            }
        }
    }

    fn put(&mut self, name: &str, value: Value<'a>) {
        if let Some(at) = NAMES.iter().position(|known| *known == name) {
            self.values[at] = Some(value);
        }
    }

    fn from_json(body: &'a [u8], charset: Charset) -> Result<Self, SeedError> {
        let mut read = Self::default();
        match charset.decode(body).map_err(|message| parse_error(&message))? {
            Cow::Borrowed(text) => {
                for_each_member(text, |name, json| read.put(name, Value::Json(Cow::Borrowed(json))))?
            }
            Cow::Owned(text) => {
                for_each_member(&text, |name, json| read.put(name, Value::Json(Cow::Owned(json.to_owned()))))?;
            }
        }
        Ok(read)
    }

    fn from_form(body: &'a [u8], charset: Charset) -> Self {
        let mut read = Self::default();
        for pair in body.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty()) {
            let at = memchr::memchr(b'=', pair).unwrap_or(pair.len());
            let value = pair.get(at + 1..).unwrap_or_default();
            read.put(&percent_decode(&pair[..at], charset), Value::Form(percent_decode(value, charset)));
        }
        read
    }
}

impl Value<'_> {
    /// True for JSON's null.
    pub(super) fn is_null(&self) -> bool {
        matches!(self, Value::Json(json) if Kind::of(json) == Kind::Null)
    }
}

/// The unescaped text of a JSON string, borrowed where its JSON is.
pub(super) fn unescape_cow(json: Cow<'_, str>) -> Cow<'_, str> {
    match json {
        Cow::Borrowed(json) => unescape(json).text,
        Cow::Owned(json) => Cow::Owned(unescape(&json).text.into_owned()),
    }
}

fn parse_error(message: &str) -> SeedError {
    SeedError::detail(400, &format!("JSON parse error - {message}"))
}

/// Calls `on_member` with the name and the JSON of each member of an object.
fn for_each_member<'t>(text: &'t str, mut on_member: impl FnMut(&str, &'t str)) -> Result<(), SeedError> {
    let named = |member: Member<'t>| on_member(&unescape(member.key).text, member.value);
    let json = python_json::document(text, named).map_err(|message| parse_error(&message))?;
    let python_type = match Kind::of(json) {
        Kind::Object => return Ok(()),
        Kind::Null => {
            return Err(SeedError::fields(&[("non_field_errors", vec!["No data provided".to_owned()])]));
        }
        Kind::Bool => "bool",
        Kind::Integer => "int",
        Kind::Float => "float",
        Kind::String => "str",
        Kind::Array => "list",
    };
    let message = format!("Invalid data. Expected a dictionary, but got {python_type}.");
    Err(SeedError::fields(&[("non_field_errors", vec![message])]))
}

/// `+` to a space, `%XX` to its byte; what is no escape stays as it is.
fn percent_decode(bytes: &[u8], charset: Charset) -> Cow<'_, str> {
    if memchr::memchr2(b'%', b'+', bytes).is_none() {
        return charset.decode_lossy(bytes);
    }
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let escaped = if *byte == b'%' { hex2(bytes, at + 1) } else { None };
        decoded.push(match byte {
            b'+' => b' ',
            byte => escaped.unwrap_or(*byte),
        });
        at += if escaped.is_some() { 3 } else { 1 };
    }
    Cow::Owned(charset.decode_lossy(&decoded).into_owned())
}

fn hex2(bytes: &[u8], at: usize) -> Option<u8> {
    let digits = bytes.get(at..at + 2)?;
    digits.iter().try_fold(0_u8, |value, digit| Some(value << 4 | u8::try_from(char::from(*digit).to_digit(16)?).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_are_decoded_and_the_last_value_counts() {
        let mut body = Body::from_query("name=1&data=x+y%20z%C3%A9&name=%31%&=&to&%ff=1&s%65ssion_id=%zz");
        assert_eq!(body.take("name"), Some(Value::Form(Cow::Borrowed("1%"))));
        assert_eq!(body.take("data"), Some(Value::Form(Cow::Borrowed("x y zé"))));
        assert_eq!(body.take("to"), Some(Value::Form(Cow::Borrowed(""))));
        assert_eq!(body.take("session_id"), Some(Value::Form(Cow::Borrowed("%zz"))));
        assert_eq!(body.take("end"), None);
    }
}
