//! How an event looks in an answer: [`EventOut`], and the same JSON written straight from the store.
//!
//! The rule: [`write_event_json`] writes the very bytes that [`EventOut`] serialises to, and neither holds a line break,
//! so that an event is one line of NDJSON or of an event stream. Line breaks between the tokens of a payload become
//! spaces; JSON cannot have them anywhere else.

use std::io::Write;

use eye_event::{Problem, Timestamp};
use eye_store::StoredEvent;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

/// One stored event, in full.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct EventOut {
    /// The idempotency key: the client's own, or made by the service.
    pub event_id: String,
    /// Who sent it.
    pub application: String,
    /// Which session.
    pub session_id: String,
    /// What happened, coarse.
    pub category: String,
    /// What happened, fine.
    pub name: String,
    /// When it occurred, as the client says; `received_at` if that could not be read.
    #[schema(value_type = String, format = DateTime)]
    pub timestamp: Timestamp,
    /// The client's own text, where it could not be read as a time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub timestamp_raw: Option<String>,
    /// The service's clock.
    #[schema(value_type = String, format = DateTime)]
    pub received_at: Timestamp,
    /// The client's clock when it was sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime, nullable = false)]
    pub sent_at: Option<Timestamp>,
    /// `received_at` − `sent_at`, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub skew_ms: Option<i64>,
    /// Who.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub user_id: Option<String>,
    /// Who, before they were known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub anonymous_id: Option<String>,
    /// The payload, as sent.
    #[schema(value_type = serde_json::Value)]
    pub data: Box<RawValue>,
    /// What the SDK added, as sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<serde_json::Value>)]
    pub context: Option<Box<RawValue>>,
    /// The codes of what is wrong with it.
    pub problems: Vec<String>,
    /// The partition of the log it came through.
    pub partition: u16,
    /// Its place in that partition.
    pub offset: u64,
}

impl From<&StoredEvent<'_>> for EventOut {
    fn from(stored: &StoredEvent<'_>) -> Self {
        let event = &stored.event;
        Self {
            event_id: event.event_id.into(),
            application: stored.application.into(),
            session_id: event.session_id.into(),
            category: event.category.into(),
            name: event.name.into(),
            timestamp: event.timestamp,
            timestamp_raw: event.timestamp_raw.map(Into::into),
            received_at: stored.received_at,
            sent_at: event.sent_at,
            skew_ms: event.sent_at.map(|sent_at| millis_between(sent_at, stored.received_at)),
            user_id: event.user_id.map(Into::into),
            anonymous_id: event.anonymous_id.map(Into::into),
            data: raw_json(event.data),
            context: event.context.map(raw_json),
            problems: event.problems.iter().map(|problem| problem.code().into()).collect(),
            partition: stored.partition.0,
            offset: stored.offset.0,
        }
    }
}

/// Writes the event as JSON: the bytes of [`EventOut`], without one in between. The payload is not read again: it was
/// checked to be JSON before it was stored.
pub fn write_event_json(stored: &StoredEvent<'_>, out: &mut Vec<u8>) {
    let event = &stored.event;
    write_text(out, "{\"event_id\":", event.event_id);
    write_text(out, ",\"application\":", stored.application);
    write_text(out, ",\"session_id\":", event.session_id);
    write_text(out, ",\"category\":", event.category);
    write_text(out, ",\"name\":", event.name);
    write_plain(out, format_args!(",\"timestamp\":\"{}\"", event.timestamp));
    if let Some(raw) = event.timestamp_raw {
        write_text(out, ",\"timestamp_raw\":", raw);
    }
    write_plain(out, format_args!(",\"received_at\":\"{}\"", stored.received_at));
    if let Some(sent_at) = event.sent_at {
        let skew_ms = millis_between(sent_at, stored.received_at);
        write_plain(out, format_args!(",\"sent_at\":\"{sent_at}\",\"skew_ms\":{skew_ms}"));
    }
    if let Some(user_id) = event.user_id {
        write_text(out, ",\"user_id\":", user_id);
    }
    if let Some(anonymous_id) = event.anonymous_id {
        write_text(out, ",\"anonymous_id\":", anonymous_id);
    }
    write_json(out, ",\"data\":", event.data);
    if let Some(context) = event.context {
        write_json(out, ",\"context\":", context);
    }
    out.extend_from_slice(b",\"problems\":[");
    for (index, problem) in event.problems.iter().enumerate() {
        write_text(out, if index == 0 { "" } else { "," }, Problem::code(problem));
    }
    write_plain(out, format_args!("],\"partition\":{},\"offset\":{}}}", stored.partition, stored.offset));
}

/// About how many bytes the event takes in an answer.
pub(crate) fn weight(stored: &StoredEvent<'_>) -> usize {
    /// The struct, the allocator's share of each text, the fixed fields.
    const FIXED: usize = 512;
    let event = &stored.event;
    let texts = [stored.application, event.event_id, event.session_id, event.category, event.name, event.data];
    let optional = [event.timestamp_raw, event.user_id, event.anonymous_id, event.context];
    FIXED + texts.into_iter().chain(optional.into_iter().flatten()).map(str::len).sum::<usize>()
}

/// Whole milliseconds from one moment to another, cut towards zero.
pub(crate) fn millis_between(from: Timestamp, to: Timestamp) -> i64 {
    to.micros().saturating_sub(from.micros()) / 1_000
}

/// The text as JSON on one line. A text that is no JSON becomes a JSON string: an answer is never broken by its content.
fn raw_json(text: &str) -> Box<RawValue> {
    let mut line = Vec::with_capacity(text.len());
    push_line(&mut line, text);
    String::from_utf8(line)
        .ok()
        .and_then(|line| RawValue::from_string(line).ok())
        .or_else(|| serde_json::value::to_raw_value(text).ok())
        .unwrap_or_else(|| RawValue::NULL.to_owned())
}

fn write_json(out: &mut Vec<u8>, label: &str, json: &str) {
    if json.is_empty() {
        return write_text(out, label, json);
    }
    out.extend_from_slice(label.as_bytes());
    push_line(out, json);
}

/// Adds JSON text without the blanks around it, line breaks as spaces.
fn push_line(out: &mut Vec<u8>, json: &str) {
    let text = json.trim_matches([' ', '\t', '\n', '\r']);
    out.extend(text.bytes().map(|byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { byte }));
}

fn write_text(out: &mut Vec<u8>, label: &str, text: &str) {
    out.extend_from_slice(label.as_bytes());
    let written = serde_json::to_writer(out, text);
    debug_assert!(written.is_ok(), "a text always fits into memory");
}

fn write_plain(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    let written = out.write_fmt(text);
    debug_assert!(written.is_ok(), "a text always fits into memory");
}

#[cfg(test)]
mod tests {
    use eye_event::{EventRef, Problems};
    use eye_log::{Offset, PartitionId};
    use proptest::prelude::*;

    use super::*;

    fn stored<'a>(text: &'a str, optional: Option<&'a str>, data: &'a str) -> StoredEvent<'a> {
        StoredEvent {
            application: text,
            received_at: Timestamp::from_micros(1_641_719_728_000_001),
            partition: PartitionId(3),
            offset: Offset(57),
            event: EventRef {
                event_id: text,
                session_id: text,
                category: "page",
                name: text,
                timestamp: Timestamp::from_micros(1_641_719_727_243_860),
                timestamp_raw: optional,
                sent_at: optional.map(|_| Timestamp::from_micros(1_641_719_729_500_000)),
                user_id: optional,
                anonymous_id: optional,
                data,
                context: optional.map(|_| data),
                problems: Problems::NONE,
            },
        }
    }

    fn written(stored: &StoredEvent<'_>) -> String {
        let mut out = Vec::new();
        write_event_json(stored, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn an_event_is_written_as_documented() {
        let plain = stored("a", None, "{\"n\": 1.50}");
        assert_eq!(
            written(&plain),
            [
                r#"{"event_id":"a","application":"a","session_id":"a","category":"page","name":"a","#,
                r#""timestamp":"2022-01-09T09:15:27.243860Z","received_at":"2022-01-09T09:15:28.000001Z","#,
                r#""data":{"n": 1.50},"problems":[],"partition":3,"offset":57}"#,
            ]
            .concat()
        );
        let mut full = stored("a", Some("é"), "[]");
        full.event.problems = Problems::NONE.with(Problem::TimestampMissing).with(Problem::PayloadUnexpected);
        assert_eq!(
            written(&full),
            [
                r#"{"event_id":"a","application":"a","session_id":"a","category":"page","name":"a","#,
                r#""timestamp":"2022-01-09T09:15:27.243860Z","timestamp_raw":"é","#,
                r#""received_at":"2022-01-09T09:15:28.000001Z","sent_at":"2022-01-09T09:15:29.500000Z","#,
                r#""skew_ms":-1499,"user_id":"é","anonymous_id":"é","data":[],"context":[],"#,
                r#""problems":["timestamp_missing","payload_unexpected"],"partition":3,"offset":57}"#,
            ]
            .concat()
        );
    }

    #[test]
    fn an_event_is_one_line_whatever_its_payload_looks_like() {
        let line = written(&stored("a\nb", None, " {\r\n\t\"a\":\n\"\\n\"}\n"));
        assert!(!line.contains(['\r', '\n']));
        assert!(line.contains("\"data\":{  \t\"a\": \"\\n\"},"), "{line}");
    }

    #[test]
    fn what_other_systems_cannot_hold_is_given_back_as_sent() {
        let deepest = format!("{}{}", "[".repeat(64), "]".repeat(64));
        let hostile = r#"{"a":"\u0000","b":"\ud800","c":1e999,"c":123456789012345678901234567890.10,"d":"\u00e9"}"#;
        for data in [hostile, &deepest, "null", "\"x\"", "-0"] {
            let stored = stored("a", None, data);
            assert_eq!(EventOut::from(&stored).data.get(), data);
            assert!(written(&stored).contains(&format!(",\"data\":{data},")));
        }
    }

    #[test]
    fn what_is_no_json_is_shown_as_text() {
        for text in ["", "{", "{} {}", "nul"] {
            let out = EventOut::from(&stored("a", None, text));
            assert_eq!(serde_json::from_str::<String>(out.data.get()).unwrap(), text);
        }
    }

    proptest! {
        #[test]
        fn both_ways_give_the_same_bytes(
            text in any::<String>(),
            optional in any::<Option<String>>(),
            value in "[ \n\r\t]?[{]\"[a-z\u{e9}\u{1f600}]{0,9}\"[ \n]:[ \r][1-9][0-9]{0,20}[.]5[}]\n?",
            bits in 0_u32..16,
        ) {
            let mut stored = stored(&text, optional.as_deref(), &value);
            stored.event.problems = Problems::from_bits(bits);
            let out = EventOut::from(&stored);
            let json = serde_json::to_string(&out).unwrap();
            prop_assert_eq!(&written(&stored), &json);
            let back: EventOut = serde_json::from_str(&json).unwrap();
            prop_assert_eq!(serde_json::to_string(&back).unwrap(), json);
        }
    }
}
