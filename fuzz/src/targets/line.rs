//! The query line: what is read prints as a line that reads the same; a refusal marks its place; and whatever is asked of an
//! event, no column is looked at but those that were named.

use std::sync::Arc;

use eye_event::json::is_deeper_than;
use eye_event::{EventRef, Limits, Problem, Problems, Timestamp};
use eye_log::{Offset, PartitionId};
use serde_json::value::RawValue;

use crate::error::Error;
use crate::field::Field;
use crate::filter::Filter;
use crate::line::{LINE_BYTES_MAX, Line};
use crate::memory::within;
use crate::{Columns, StoredEvent};

const NOW: Timestamp = Timestamp::from_micros(1_700_000_000_000_000);

/// Runs the target on one input: a line, then perhaps after a NUL the payload of an event.
pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (text, payload) = text.split_once('\0').unwrap_or((text, "{}"));
    // A value of one byte and its comma are a literal, kept in two spellings.
    let memory_max = 16 * 1024 + 256 * text.len();
    if let Some(field) = within(memory_max, || Field::parse(text)) {
        assert_eq!(Field::parse(&field.to_string()).as_ref(), Some(&field), "a field reads differently");
    }
    match within(memory_max, || text.parse::<Line>()) {
        Ok(line) => {
            read_again(&line);
            ask(line, payload);
        }
        Err(error) => check_refusal(text, &error),
    }
}

/// What a line prints as, reads as the same line. It may be longer, and deeper by the parentheses of a part of an OR: then it
/// may be past a limit.
fn read_again(line: &Line) {
    let printed = line.to_string();
    match printed.parse::<Line>() {
        Ok(again) => assert_eq!(again, *line, "{printed}"),
        Err(error) => {
            let is_too_much = printed.len() > LINE_BYTES_MAX || error.message.contains("nested deeper");
            assert!(is_too_much, "{printed}: {error}");
        }
    }
}

fn check_refusal(text: &str, error: &Error) {
    assert_eq!(error.field, "query");
    assert!(text.len() > LINE_BYTES_MAX || error.message.contains("⟨here⟩"), "{error}");
}

/// Asks about an event with this payload, if there can be one.
fn ask(line: Line, payload: &str) {
    let Ok(raw) = serde_json::from_str::<&RawValue>(payload) else { return };
    let data = raw.get();
    if is_deeper_than(data, Limits::default().depth_max) {
        return;
    }
    let filter = Filter { line: Some(Arc::new(line.at(NOW))), ..Filter::default() };
    let is_met = within(4096 + 16 * data.len(), || filter.matches(&event(Columns::ALL, data)));
    assert_eq!(filter.matches(&event(filter.columns(), data)), is_met, "a column was looked at that was not named");
}

/// An event of which these columns are read: others are empty.
fn event(columns: Columns, data: &str) -> StoredEvent<'_> {
    let text = |column, text| if columns.contains(column) { text } else { "" };
    let optional = |column, text| columns.contains(column).then_some(text);
    let is_flagged = columns.contains(Columns::PROBLEMS);
    StoredEvent {
        application: text(Columns::APPLICATION, "web"),
        received_at: NOW,
        partition: PartitionId(0),
        offset: Offset(1),
        event: EventRef {
            event_id: text(Columns::EVENT_ID, "e"),
            session_id: text(Columns::SESSION_ID, "s"),
            category: text(Columns::CATEGORY, "page"),
            name: text(Columns::NAME, "view"),
            timestamp: if columns.contains(Columns::TIMESTAMP) { NOW } else { Timestamp::from_micros(0) },
            timestamp_raw: None,
            sent_at: None,
            user_id: optional(Columns::USER_ID, "u"),
            anonymous_id: optional(Columns::ANONYMOUS_ID, "Ä"),
            data: text(Columns::DATA, data),
            context: optional(Columns::CONTEXT, data),
            problems: if is_flagged { Problems::NONE.with(Problem::PayloadUnexpected) } else { Problems::NONE },
        },
    }
}
