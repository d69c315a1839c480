//! The one function that turns a draft into an event or a rejection. Each event is checked alone.

use std::borrow::Cow;

use crate::event::{Draft, EventRef, RawTime};
use crate::json::{has_hostile_escape, is_deeper_than};
use crate::limits::Limits;
use crate::problem::{Problem, Problems};
use crate::rejection::{RejectCode, Rejection};
use crate::time::Timestamp;

/// A checked event: owns what had to be made (an id, a timestamp's text), borrows the rest from its draft.
#[derive(Clone, Debug)]
pub struct Checked<'a> {
    event_id: Cow<'a, str>,
    session_id: &'a str,
    category: &'a str,
    name: &'a str,
    timestamp: Timestamp,
    timestamp_raw: Option<&'a str>,
    sent_at: Option<Timestamp>,
    user_id: Option<&'a str>,
    anonymous_id: Option<&'a str>,
    data: &'a str,
    context: Option<&'a str>,
    problems: Problems,
}

impl Checked<'_> {
    /// The event, ready for the log.
    #[must_use]
    pub fn event(&self) -> EventRef<'_> {
        EventRef {
            event_id: &self.event_id,
            session_id: self.session_id,
            category: self.category,
            name: self.name,
            timestamp: self.timestamp,
            timestamp_raw: self.timestamp_raw,
            sent_at: self.sent_at,
            user_id: self.user_id,
            anonymous_id: self.anonymous_id,
            data: self.data,
            context: self.context,
            problems: self.problems,
        }
    }
}

/// Checks one draft.
///
/// A wrong time or payload is flagged, never refused. A draft without an `event_id` gets a UUIDv7 (RFC 9562).
///
/// # Errors
/// The first thing that makes it no event: a required text absent, empty, too long or with a NUL; `data` or `context`
/// too large or too deep.
pub fn check<'a>(draft: &'a Draft<'a>, received_at: Timestamp, limits: &Limits) -> Result<Checked<'a>, Rejection> {
    let session_id = required(draft.session_id.as_deref(), "session_id", limits)?;
    let category = required(draft.category.as_deref(), "category", limits)?;
    let name = required(draft.name.as_deref(), "name", limits)?;
    let event_id = match optional(draft.event_id.as_deref(), "event_id", limits)? {
        Some(id) => Cow::Borrowed(id),
        None => Cow::Owned(uuid::Uuid::now_v7().to_string()),
    };
    let user_id = optional(draft.user_id.as_deref(), "user_id", limits)?;
    let anonymous_id = optional(draft.anonymous_id.as_deref(), "anonymous_id", limits)?;
    let mut problems = Problems::NONE;
    let data = payload(draft.data.unwrap_or("{}"), "data", limits.data_bytes_max, limits)?;
    if !data.starts_with('{') || has_hostile_escape(data) {
        problems = problems.with(Problem::PayloadUnexpected);
    }
    let context = match draft.context {
        Some(context) => Some(payload(context, "context", limits.context_bytes_max, limits)?),
        None => None,
    };
    if context.is_some_and(|context| !context.starts_with('{')) {
        problems = problems.with(Problem::PayloadUnexpected);
    }
    let (timestamp, timestamp_raw) = time(draft, received_at, limits, &mut problems)?;
    Ok(Checked {
        event_id,
        session_id,
        category,
        name,
        timestamp,
        timestamp_raw,
        sent_at: draft.sent_at,
        user_id,
        anonymous_id,
        data,
        context,
        problems,
    })
}

fn required<'a>(value: Option<&'a str>, field: &'static str, limits: &Limits) -> Result<&'a str, Rejection> {
    let Some(text) = value else {
        let message = format!("{field} is required: send a non-empty string");
        return Err(Rejection::new(RejectCode::MissingField, field, message));
    };
    if text.is_empty() {
        let message = format!("{field} is empty: send a non-empty string");
        return Err(Rejection::new(RejectCode::EmptyField, field, message));
    }
    text_within_limits(text, field, limits)
}

/// Empty means absent: several SDKs send `""` for an id they do not have.
fn optional<'a>(value: Option<&'a str>, field: &'static str, limits: &Limits) -> Result<Option<&'a str>, Rejection> {
    value.filter(|text| !text.is_empty()).map(|text| text_within_limits(text, field, limits)).transpose()
}

fn text_within_limits<'a>(text: &'a str, field: &'static str, limits: &Limits) -> Result<&'a str, Rejection> {
    if text.len() > limits.text_bytes_max {
        let message = format!("{field} is {} bytes long: the limit is {}", text.len(), limits.text_bytes_max);
        return Err(Rejection::new(RejectCode::TooLong, field, message));
    }
    if memchr::memchr(0, text.as_bytes()).is_some() {
        let message = format!("{field} holds a NUL character: remove it");
        return Err(Rejection::new(RejectCode::NulCharacter, field, message));
    }
    Ok(text)
}

fn payload<'a>(json: &'a str, field: &'static str, bytes_max: usize, limits: &Limits) -> Result<&'a str, Rejection> {
    if json.len() > bytes_max {
        let message = format!("{field} is {} bytes of JSON: the limit is {bytes_max}", json.len());
        return Err(Rejection::new(RejectCode::TooLarge, field, message));
    }
    if is_deeper_than(json, limits.depth_max) {
        let message = format!("{field} is nested deeper than {} levels: flatten it", limits.depth_max);
        return Err(Rejection::new(RejectCode::TooDeep, field, message));
    }
    Ok(json)
}

fn time<'a>(
    draft: &'a Draft<'a>,
    received_at: Timestamp,
    limits: &Limits,
    problems: &mut Problems,
) -> Result<(Timestamp, Option<&'a str>), Rejection> {
    let (read, raw) = match &draft.timestamp {
        RawTime::Missing => {
            *problems = problems.with(Problem::TimestampMissing);
            return Ok((received_at, None));
        }
        RawTime::Text(text) => (Timestamp::parse(text), text.as_ref()),
        RawTime::Number(digits) => (Timestamp::parse_epoch(digits), *digits),
        RawTime::Other(json) => (None, *json),
    };
    if let Some(timestamp) = read {
        if timestamp.micros() > received_at.micros().saturating_add(limits.future_micros_max) {
            *problems = problems.with(Problem::TimestampInFuture);
        }
        return Ok((timestamp, None));
    }
    if raw.len() > limits.timestamp_raw_bytes_max {
        let max = limits.timestamp_raw_bytes_max;
        let message = format!("timestamp is {} bytes of text that is no time: the limit is {max}", raw.len());
        return Err(Rejection::new(RejectCode::TooLong, "timestamp", message));
    }
    *problems = problems.with(Problem::TimestampUnreadable);
    Ok((received_at, Some(raw)))
}

#[cfg(test)]
mod tests;
