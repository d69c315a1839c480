//! The seed API: its requests read, and its answers worded, as Django REST framework does.
//!
//! Existing clients of the seed parse these bodies, so they are the framework's to the byte (recorded cases in
//! `tests/fixtures/drf_probe.jsonl`). Where this differs, it is on purpose:
//!
//! - a timestamp that is present and not null is never refused: it is stored, flagged and listed;
//! - `text/plain` is read as JSON (what a browser's beacon sends);
//! - a string `event_id` is honoured as the idempotency key;
//! - numbers keep their digits: `1.50` comes back as `1.50`, not `1.5`;
//! - whatever `eye_event::check` refuses (deep, large) is a 400 or 413 with the field's name.
//!
//! The order of the edge's checks is the framework's too: path (404), `Accept` (406), token (401), method (405), body
//! (400, 415), fields (400).
//!
//! | module | what it holds |
//! |---|---|
//! | `answer` | every fixed answer, and errors |
//! | `header` | the `Authorization` and `Accept` headers |
//! | `body` | a request's body, in any content type, to named values |
//! | `multipart` | `multipart/form-data` |
//! | `field` | the checks of one value |
//! | `args` | the arguments of the read endpoints |

mod answer;
mod args;
mod body;
mod field;
mod header;
mod multipart;

use std::borrow::Cow;

use eye_event::{Draft, EventRef, Limits, RawTime, Timestamp};

use crate::scan::Kind;
use crate::text::{push_compact, push_string, unescape};
use body::{Body, Value};
use field::FieldErrors;

pub use answer::{
    AuthFailure, SeedError, method_not_allowed, not_acceptable, not_authenticated, not_found, options_body,
    permission_denied, refused, unsupported_media_type,
};
pub use args::{Args, decode_args};
pub use header::{accepts, authorization};

/// The limits to check an event of the seed API with. The framework counts characters, and [`decode_event`] has counted
/// them; a character takes four bytes at most.
#[must_use]
pub fn limits(limits: &Limits) -> Limits {
    Limits { text_bytes_max: limits.text_bytes_max.saturating_mul(4), ..limits.clone() }
}

/// One event of the seed API, its texts trimmed and within their limits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeedEvent<'a> {
    event_id: Option<Cow<'a, str>>,
    session_id: Cow<'a, str>,
    category: Cow<'a, str>,
    name: Cow<'a, str>,
    data: Cow<'a, str>,
    timestamp: Time<'a>,
}

/// As [`RawTime`], but able to own: a form's values are not in the body as they are.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Time<'a> {
    Text(Cow<'a, str>),
    Number(Cow<'a, str>),
    Other(Cow<'a, str>),
}

impl SeedEvent<'_> {
    /// The draft, for [`eye_event::check()`].
    #[must_use]
    pub fn draft(&self) -> Draft<'_> {
        Draft {
            event_id: self.event_id.as_deref().map(Cow::Borrowed),
            session_id: Some(Cow::Borrowed(&self.session_id)),
            category: Some(Cow::Borrowed(&self.category)),
            name: Some(Cow::Borrowed(&self.name)),
            timestamp: match &self.timestamp {
                Time::Text(text) => RawTime::Text(Cow::Borrowed(text)),
                Time::Number(digits) => RawTime::Number(digits),
                Time::Other(json) => RawTime::Other(json),
            },
            data: Some(&self.data),
            ..Draft::default()
        }
    }

    /// The body of the 201 answer: the five fields, the timestamp in the seed's format if it could be read, else as
    /// the client wrote it.
    #[must_use]
    pub fn echo(&self) -> String {
        let (read, raw) = match &self.timestamp {
            Time::Text(text) => (Timestamp::parse(text), text),
            Time::Number(digits) => (Timestamp::parse_epoch(digits), digits),
            Time::Other(json) => (None, json),
        };
        let mut out = String::with_capacity(self.data.len() + 160);
        let timestamp = read.map(Timestamp::to_seed_string);
        let texts = [&*self.session_id, &*self.category, &*self.name];
        push_event(&mut out, texts, &self.data, timestamp.as_deref().unwrap_or(raw));
        out
    }
}

/// Reads the body of `POST /eye/collector`, already decompressed.
///
/// # Errors
/// The framework's answer: 400 for a body or fields that are wrong, 415 for a content type it does not read.
pub fn decode_event<'a>(body: &'a [u8], content_type: Option<&str>) -> Result<SeedEvent<'a>, SeedError> {
    let mut body = Body::read(body, content_type)?;
    let mut errors = FieldErrors::default();
    let session_id = errors.keep("session_id", field::text(body.take("session_id")));
    let category = errors.keep("category", field::text(body.take("category")));
    let name = errors.keep("name", field::text(body.take("name")));
    let data = errors.keep("data", field::json(body.take("data")));
    let timestamp = errors.keep("timestamp", timestamp(body.take("timestamp")));
    let event_id = errors.keep("event_id", event_id(body.take("event_id")));
    match (session_id, category, name, data, timestamp, event_id) {
        (Some(session_id), Some(category), Some(name), Some(data), Some(timestamp), Some(event_id)) => {
            Ok(SeedEvent { event_id, session_id, category, name, data, timestamp })
        }
        _ => Err(errors.into_answer()),
    }
}

fn timestamp(value: Option<Value<'_>>) -> Result<Time<'_>, Vec<String>> {
    match value {
        None => Err(vec![field::REQUIRED.to_owned()]),
        Some(Value::Form(text)) => Ok(Time::Text(text)),
        Some(Value::File) => Ok(Time::Other(Cow::Borrowed("file"))),
        Some(Value::Json(json)) => match Kind::of(&json) {
            Kind::Null => Err(vec![field::NULL.to_owned()]),
            Kind::Integer | Kind::Float => Ok(Time::Number(json)),
            Kind::Bool | Kind::Array | Kind::Object => Ok(Time::Other(json)),
            Kind::String => match unescape(&json).lone_surrogate {
                Some(_) => Ok(Time::Other(json)),
                None => Ok(Time::Text(body::unescape_cow(json))),
            },
        },
    }
}

/// The idempotency key: a string, or nothing. Other types are an unknown field to the seed's clients: ignored.
fn event_id(value: Option<Value<'_>>) -> Result<Option<Cow<'_, str>>, Vec<String>> {
    match value {
        Some(Value::Form(text)) => Ok(Some(text)),
        Some(Value::Json(json)) if Kind::of(&json) == Kind::String => match unescape(&json).lone_surrogate {
            Some(code) => Err(vec![field::surrogate(code)]),
            None => Ok(Some(body::unescape_cow(json))),
        },
        _ => Ok(None),
    }
}

/// Writes one stored event as the seed API returns it.
pub fn event_json(out: &mut String, event: &EventRef<'_>) {
    let texts = [event.session_id, event.category, event.name];
    match event.timestamp_raw {
        Some(raw) => push_event(out, texts, event.data, raw),
        None => push_event(out, texts, event.data, &event.timestamp.to_seed_string()),
    }
}

fn push_event(out: &mut String, texts: [&str; 3], data: &str, timestamp: &str) {
    for (prefix, text) in ["{\"session_id\":", ",\"category\":", ",\"name\":"].into_iter().zip(texts) {
        out.push_str(prefix);
        push_string(out, text);
    }
    out.push_str(",\"data\":");
    push_compact(out, data);
    out.push_str(",\"timestamp\":");
    push_string(out, timestamp);
    out.push('}');
}

#[cfg(test)]
mod tests;
