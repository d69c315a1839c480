//! Our reading of one JSON object beside serde_json's: the same texts are JSON, each field says the same or is refused
//! for the same reason, and the payload is kept to the byte, through the check and the log encoding.

use std::borrow::Cow;
use std::fmt;

use eye_event::json::{has_hostile_escape, is_deeper_than};
use eye_event::{Batch, BatchHeader, BatchWriter, Draft, Entry, Limits, RawTime, RejectCode, Timestamp, check};
use eye_protocol::native::{NativeLimits, decode};
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::memory::within;

/// Levels that are asked about.
const DEPTHS: [usize; 6] = [0, 1, 2, 3, 5, 64];

/// Runs the target on one input, a line of NDJSON.
pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let text = text.replace('\n', " ");
    let line = text.trim_ascii();
    if line.is_empty() || line.starts_with('\u{feff}') {
        return;
    }
    // It is one item, and of it only texts with escapes are copied.
    let decoded = within(16 * 1024 + 16 * line.len(), || {
        decode(line.as_bytes(), Some("application/x-ndjson"), &NativeLimits::default())
    });
    let items = decoded.expect("a line is cut already").items;
    let [item] = &items[..] else { panic!("a line is one item") };
    let raw = serde_json::from_str::<&RawValue>(line);
    let is_refused = matches!(&item.draft, Err(rejection) if rejection.code == RejectCode::NotJson);
    assert_eq!(is_refused, raw.is_err(), "{:?} beside {raw:?}", item.draft);
    let Ok(raw) = raw else { return };
    assert_eq!(item.bytes, raw.get().as_bytes());
    compare_questions(raw.get());
    if !raw.get().starts_with('{') {
        let code = item.draft.as_ref().map(drop).map_err(|rejection| rejection.code);
        assert_eq!(code, Err(RejectCode::NotAnObject));
        return;
    }
    // serde_json cannot name a member whose key holds half of a surrogate pair; that is JSON all the same.
    let Ok(Members(members)) = serde_json::from_str(raw.get()) else { return };
    let ours = item.draft.clone().map_err(|rejection| (rejection.code, rejection.field.into_owned()));
    let theirs = draft_of(&members).map_err(|(code, field)| (code, field.to_owned()));
    assert_eq!(ours, theirs);
    if let Ok(draft) = &ours {
        store(draft);
    }
}

/// The members of an object, in order.
struct Members<'a>(Vec<(Cow<'a, str>, &'a str)>);

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;
        impl<'de> Visitor<'de> for Collect {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(key) = map.next_key::<String>()? {
                    members.push((Cow::Owned(key), map.next_value::<&'de RawValue>()?.get()));
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Collect)
    }
}

/// What the documentation of the native API says about these members.
fn draft_of<'a>(members: &[(Cow<'a, str>, &'a str)]) -> Result<Draft<'a>, (RejectCode, &'static str)> {
    const KNOWN: [&str; 10] = [
        "event_id",
        "session_id",
        "category",
        "name",
        "timestamp",
        "sent_at",
        "user_id",
        "anonymous_id",
        "data",
        "context",
    ];
    let mut draft = Draft::default();
    let mut seen = Vec::new();
    for (key, json) in members {
        let Some(field) = KNOWN.into_iter().find(|known| known == key) else { continue };
        if seen.contains(&field) {
            return Err((RejectCode::DuplicateField, field));
        }
        seen.push(field);
        if *json == "null" {
            continue;
        }
        match field {
            "event_id" => draft.event_id = Some(text(field, json, true)?),
            "session_id" => draft.session_id = Some(text(field, json, true)?),
            "user_id" => draft.user_id = Some(text(field, json, true)?),
            "anonymous_id" => draft.anonymous_id = Some(text(field, json, true)?),
            "category" => draft.category = Some(text(field, json, false)?),
            "name" => draft.name = Some(text(field, json, false)?),
            "timestamp" => draft.timestamp = time(json),
            "sent_at" => {
                draft.sent_at = match time(json) {
                    RawTime::Text(text) => Timestamp::parse(&text),
                    RawTime::Number(digits) => Timestamp::parse_epoch(digits),
                    _ => None,
                }
            }
            "data" => draft.data = Some(json),
            _ => draft.context = Some(json),
        }
    }
    Ok(draft)
}

fn is_number(json: &str) -> bool {
    json.starts_with(|first: char| first == '-' || first.is_ascii_digit())
}

fn text<'a>(field: &'static str, json: &'a str, integers: bool) -> Result<Cow<'a, str>, (RejectCode, &'static str)> {
    if json.starts_with('"') {
        return serde_json::from_str(json).map(Cow::Owned).map_err(|_| (RejectCode::LoneSurrogate, field));
    }
    if integers && is_number(json) && !json.contains(['.', 'e', 'E']) {
        return Ok(Cow::Borrowed(json));
    }
    Err((RejectCode::WrongType, field))
}

fn time(json: &str) -> RawTime<'_> {
    if json.starts_with('"') {
        return serde_json::from_str(json).map_or(RawTime::Other(json), |text| RawTime::Text(Cow::Owned(text)));
    }
    if is_number(json) { RawTime::Number(json) } else { RawTime::Other(json) }
}

/// The two quick questions about JSON text beside a slow walk through it.
fn compare_questions(json: &str) {
    let (mut depth, mut deepest, mut hostile) = (0_usize, 0, false);
    let mut rest = json.char_indices();
    while let Some((at, character)) = rest.next() {
        match character {
            '{' | '[' => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            '}' | ']' => depth -= 1,
            '"' => {
                let mut escaped = false;
                let end = rest.find(|(_, character)| {
                    let ends = *character == '"' && !escaped;
                    escaped = *character == '\\' && !escaped;
                    ends
                });
                let string = &json[at..=end.expect("strings end").0];
                hostile |= serde_json::from_str::<String>(string).map_or(true, |text| text.contains('\0'));
            }
            _ => {}
        }
    }
    let found = within(1024, || (DEPTHS.map(|max| is_deeper_than(json, max)), has_hostile_escape(json)));
    assert_eq!(found, (DEPTHS.map(|max| deepest > max), hostile), "{deepest} levels");
}

/// Through the check into the log's encoding and back.
fn store(draft: &Draft<'_>) {
    let now = Timestamp::from_micros(1_700_000_000_000_000);
    let Ok(checked) = within(16 * 1024, || check(draft, now, &Limits::default())) else { return };
    let event = checked.event();
    assert_eq!((event.data, event.context), (draft.data.unwrap_or("{}"), draft.context));
    assert_eq!((Some(event.name), Some(event.category)), (draft.name.as_deref(), draft.category.as_deref()));
    let header = BatchHeader { application: "web", token: "t", received_at: now };
    let mut writer = BatchWriter::new(&header, 0);
    writer.push_event(&event);
    let batch = Batch::parse(writer.finish()).expect("what was written can be read");
    let (_, entry) = batch.entries().next().expect("one entry").expect("it can be read");
    assert_eq!(entry, Entry::Event(event));
}
