//! The native API's body: one object, an array, NDJSON, or the envelope `{"token"?, "sent_at"?, "events": [...]}`.
//!
//! A body is read once, into drafts that borrow from it. Each item stands alone: it becomes a draft or a rejection that
//! names the field to blame (`item`), and its neighbours never notice. What fails the whole body is text that cannot be
//! cut into items: a syntax error in an array or an envelope. In NDJSON every line is cut already, so a bad line is one
//! rejection.
//!
//! NDJSON is known by its content type, or by its first line: a whole object, with more lines after it. An unlabelled
//! body may also hold objects one after another with other whitespace, or none, between them.

mod item;

use std::borrow::Cow;

use eye_event::{Draft, RejectCode, Rejection, Timestamp};
use memchr::memchr;

use crate::scan::{self, Kind, ScanError, What};
use item::Envelope;

const BOM: &[u8] = b"\xef\xbb\xbf";

/// Limits on one body. The limits on one event are [`eye_event::Limits`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NativeLimits {
    /// Events in one body.
    pub events_max: usize,
}

impl Default for NativeLimits {
    fn default() -> Self {
        Self { events_max: 10_000 }
    }
}

/// A body, cut into items.
#[derive(Clone, Debug, PartialEq)]
pub struct Decoded<'a> {
    /// The envelope's `sent_at`; every draft without its own has it too.
    pub sent_at: Option<Timestamp>,
    /// The envelope's `token`.
    pub token: Option<Cow<'a, str>>,
    /// The items, in the order of the body.
    pub items: Vec<Item<'a>>,
}

/// One item of a body.
#[derive(Clone, Debug, PartialEq)]
pub struct Item<'a> {
    /// The item's own bytes, without whitespace around them.
    pub bytes: &'a [u8],
    /// What it says, or why it is no event.
    pub draft: Result<Draft<'a>, Rejection>,
}

/// What is wrong with a whole body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyErrorKind {
    /// Nothing but whitespace.
    Empty,
    /// Not JSON, at this byte of the body.
    NotJson {
        /// Index of the byte, from 0.
        byte: usize,
    },
    /// Not UTF-8, at this byte of the body.
    NotUtf8 {
        /// Index of the byte, from 0.
        byte: usize,
    },
    /// More events than one body may hold.
    TooManyEvents {
        /// The limit.
        max: usize,
    },
    /// JSON that is no object, no array and no envelope.
    NotAnEvent,
}

/// A body that cannot be cut into items: nothing in it is stored.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct BodyError {
    /// What is wrong.
    pub kind: BodyErrorKind,
    /// For people: what is wrong and what to send instead.
    pub message: String,
}

/// Cuts a body into items. Whether an item is an event is decided later, by [`eye_event::check()`].
///
/// # Errors
/// A body that is empty, not JSON, not UTF-8, no event at all, or holds more than `limits.events_max` items.
pub fn decode<'a>(body: &'a [u8], content_type: Option<&str>, limits: &NativeLimits) -> Result<Decoded<'a>, BodyError> {
    let skipped = if body.starts_with(BOM) { BOM.len() } else { 0 };
    let start = scan::skip_whitespace(body, skipped);
    if start == body.len() {
        return Err(body_error(BodyErrorKind::Empty, "the body is empty: send an event as a JSON object".to_owned()));
    }
    let max = limits.events_max;
    if content_type.is_some_and(is_ndjson) || first_line_is_an_object(&body[start..]) {
        return lines(&body[start..], max);
    }
    let text = std::str::from_utf8(body).map_err(|error| not_utf8(error.valid_up_to()))?;
    match body[start] {
        b'{' => object(text, start, max),
        b'[' => array(text, start, None, max).and_then(|(items, end)| match scan::skip_whitespace(body, end) {
            end if end == body.len() => Ok(Decoded { sent_at: None, token: None, items }),
            byte => Err(not_json(ScanError { at: byte, what: What::ExtraData })),
        }),
        _ => Err(scalar(text, start)),
    }
}

fn is_ndjson(content_type: &str) -> bool {
    let media_type = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    matches!(media_type.as_str(), "application/x-ndjson" | "application/ndjson" | "application/jsonl")
}

/// True if the first line is one whole object and something follows it.
fn first_line_is_an_object(body: &[u8]) -> bool {
    let Some(end) = memchr(b'\n', body).filter(|_| body.first() == Some(&b'{')) else { return false };
    let Ok(line) = std::str::from_utf8(&body[..end]) else { return false };
    scan::document(line, drop).is_ok() && scan::skip_whitespace(body, end) < body.len()
}

/// NDJSON: each line that is not blank is one item.
fn lines(body: &[u8], max: usize) -> Result<Decoded<'_>, BodyError> {
    // Checking the whole body once is far cheaper than each line; only a bad body pays twice.
    let whole = std::str::from_utf8(body).ok();
    let mut items = Vec::with_capacity(expected_items(body.len(), max));
    let mut at = 0;
    while at < body.len() {
        let end = memchr(b'\n', &body[at..]).map_or(body.len(), |length| at + length);
        let bytes = body[at..end].trim_ascii();
        if !bytes.is_empty() {
            check_count(items.len(), max)?;
            let draft = match whole {
                Some(text) => line(text[at..end].trim_ascii()),
                None => match std::str::from_utf8(bytes) {
                    Ok(text) => line(text),
                    Err(error) => Err(line_not_utf8(error.valid_up_to())),
                },
            };
            items.push(Item { bytes, draft });
        }
        at = end + 1;
    }
    Ok(Decoded { sent_at: None, token: None, items })
}

fn line(text: &str) -> Result<Draft<'_>, Rejection> {
    let not_json = |error: ScanError| {
        let message = format!("not JSON at byte {} of the line: {error}; send one JSON object a line", error.at);
        Rejection::new(RejectCode::NotJson, "", message)
    };
    let (draft, end) = item::take(text, 0, drop).map_err(not_json)?;
    let after = scan::skip_whitespace(text.as_bytes(), end);
    if after < text.len() {
        return Err(not_json(ScanError { at: after, what: What::ExtraData }));
    }
    draft
}

fn line_not_utf8(byte: usize) -> Rejection {
    Rejection::new(RejectCode::NotUtf8, "", format!("not UTF-8 at byte {byte} of the line: send UTF-8"))
}

/// A body that starts with an object: one event, an envelope, or several objects.
fn object(text: &str, start: usize, max: usize) -> Result<Decoded<'_>, BodyError> {
    let mut envelope = Envelope::default();
    let (draft, end) = item::take(text, start, |member| envelope.member(member)).map_err(not_json)?;
    let after = scan::skip_whitespace(text.as_bytes(), end);
    if after < text.len() {
        return match text.as_bytes()[after] {
            b'{' => objects(text, start, max),
            _ => Err(not_json(ScanError { at: after, what: What::ExtraData })),
        };
    }
    if let Some(events) = envelope.events()? {
        let sent_at = envelope.sent_at();
        let (items, _) = array(events, 0, sent_at, max)?;
        return Ok(Decoded { sent_at, token: envelope.token(), items });
    }
    check_count(0, max)?;
    Ok(Decoded { sent_at: None, token: None, items: vec![Item { bytes: &text.as_bytes()[start..end], draft }] })
}

/// Objects one after another.
fn objects(text: &str, start: usize, max: usize) -> Result<Decoded<'_>, BodyError> {
    let mut items = Vec::with_capacity(expected_items(text.len(), max));
    let mut at = start;
    while at < text.len() {
        check_count(items.len(), max)?;
        let end = push_item(&mut items, text, at, None)?;
        at = scan::skip_whitespace(text.as_bytes(), end);
    }
    Ok(Decoded { sent_at: None, token: None, items })
}

/// The array that opens at byte `open`: its items and its end.
fn array(text: &str, open: usize, sent_at: Option<Timestamp>, max: usize) -> Result<(Vec<Item<'_>>, usize), BodyError> {
    let bytes = text.as_bytes();
    let mut items = Vec::with_capacity(expected_items(text.len() - open, max));
    let mut at = scan::skip_whitespace(bytes, open + 1);
    if bytes.get(at) == Some(&b']') {
        return Ok((items, at + 1));
    }
    loop {
        check_count(items.len(), max)?;
        at = push_item(&mut items, text, at, sent_at)?;
        at = scan::skip_whitespace(bytes, at);
        match bytes.get(at) {
            Some(b',') => at = scan::skip_whitespace(bytes, at + 1),
            Some(b']') => return Ok((items, at + 1)),
            _ => return Err(not_json(ScanError { at, what: What::Comma })),
        }
    }
}

fn push_item<'a>(
    items: &mut Vec<Item<'a>>,
    text: &'a str,
    at: usize,
    sent_at: Option<Timestamp>,
) -> Result<usize, BodyError> {
    let (mut draft, end) = item::take(text, at, drop).map_err(not_json)?;
    if let Ok(draft) = &mut draft {
        draft.sent_at = draft.sent_at.or(sent_at);
    }
    items.push(Item { bytes: &text.as_bytes()[at..end], draft });
    Ok(end)
}

/// A guess that seldom has to grow and never reserves much for a body of nothing but commas.
fn expected_items(bytes: usize, max: usize) -> usize {
    (bytes / 256 + 1).min(max)
}

fn check_count(count: usize, max: usize) -> Result<(), BodyError> {
    if count < max {
        return Ok(());
    }
    let message = format!("more than {max} events in one request: send them in several");
    Err(body_error(BodyErrorKind::TooManyEvents { max }, message))
}

fn scalar(text: &str, start: usize) -> BodyError {
    match scan::document(&text[start..], drop) {
        Ok(json) => {
            let kind = Kind::of(json).with_article();
            let message = format!("the body is {kind}: send a JSON object, an array of them, or one a line");
            body_error(BodyErrorKind::NotAnEvent, message)
        }
        Err(error) => not_json(ScanError { at: start + error.at, ..error }),
    }
}

fn not_json(error: ScanError) -> BodyError {
    let message = format!("the body is not JSON at byte {}: {error}", error.at);
    body_error(BodyErrorKind::NotJson { byte: error.at }, message)
}

fn not_utf8(byte: usize) -> BodyError {
    body_error(BodyErrorKind::NotUtf8 { byte }, format!("the body is not UTF-8 at byte {byte}: send UTF-8"))
}

fn body_error(kind: BodyErrorKind, message: String) -> BodyError {
    BodyError { kind, message }
}

#[cfg(test)]
mod tests;
