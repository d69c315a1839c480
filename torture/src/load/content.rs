//! What a writer sends: events with all fields of the native API, absent ones and odd ones among them, and items that must
//! be refused.
//!
//! The rule: what an event is follows from its writer and its number, whoever sends it and whenever: so the same id is in
//! the same session in every application. Only the application's name in the payload tells them apart.

use eye_event::{Problem, Problems, Timestamp};
use serde_json::Value;

use super::Shape;
use crate::oracle::{Said, Sent};
use crate::random::Random;

/// The user of every item that must be refused, and of no event: what is erased by it is rejections only.
pub const NOBODY: &str = "nobody";

/// 2024-05-01T10:00:00Z: the middle of the clients' times.
const MIDDLE_MICROS: i64 = 1_714_557_600_000_000;
/// How far from it they lie.
const SPREAD_MICROS: u64 = 3_600_000_000;

/// Timestamps that are no times, as JSON and as they are kept.
const NO_TIMES: [(&str, &str); 6] = [
    (r#""gestern um fünf""#, "gestern um fünf"),
    (r#""2024-02-30T10:00:00Z""#, "2024-02-30T10:00:00Z"),
    (r#""\"five\" \u006f'clock""#, "\"five\" o'clock"),
    ("99999999999999999999", "99999999999999999999"),
    (r#"{"at": 5}"#, r#"{"at": 5}"#),
    ("true", "true"),
];
/// Users. An empty one is none.
const USERS: [Option<&str>; 6] = [None, None, Some(""), Some("u-17"), Some("4711"), Some("ü \"眼\" \\ ' /")];
/// What is added to payloads. One that is no object is a problem.
const CONTEXTS: [Option<&str>; 8] = [
    None,
    None,
    None,
    None,
    Some(r#"{"library":{"name":"torture","version":"1.0"},"n":1.50}"#),
    Some(r#"{"library":{"name":"torture","version":"1.0"},"n":2e0}"#),
    Some(r#"{"locale":"de-DE", "text":"\u00fc 眼 \"\\"}"#),
    Some(r#"["no object"]"#),
];
/// Items that must be refused: what follows the fields that all have, the code, the field. The last one is no JSON: only a
/// line may hold it, for anywhere else nothing of its request could be read.
const BAD: [(&str, &str, &str); 5] = [
    (r#""name":"n"}"#, "missing_field", "session_id"),
    (r#""session_id":"nowhere","name":""}"#, "empty_field", "name"),
    (r#""session_id":"nowhere","name":5}"#, "wrong_type", "name"),
    (r#""session_id":"nowhere","name":"n","name":"n"}"#, "duplicate_field", "name"),
    (r#""session_id":"nowhere","name""#, "not_json", ""),
];

/// An event that is about to be sent.
pub(super) struct Event {
    /// Its JSON.
    pub(super) json: String,
    /// As the witness knows it.
    pub(super) sent: Sent,
}

/// Who sends an event, and in what.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sender<'a> {
    pub(super) shape: &'a Shape,
    pub(super) application: &'a str,
    /// When the envelope was sent that it lies in, if there is one: so were all that do not say otherwise.
    pub(super) sent_at: Option<i64>,
}

/// The fields of an event, each as JSON.
type Fields = Vec<(&'static str, String)>;

impl Event {
    /// The event of this id. `random` is its own.
    pub(super) fn new(sender: Sender<'_>, id: &str, mut random: Random) -> Self {
        let Sender { shape, application, sent_at } = sender;
        let session = shape.session(if random.one_in(2) { 0 } else { random.below(shape.sessions) });
        let (category, name) = (format!("c{}", random.below(5)), format!("n{}", random.below(7)));
        let names = [("event_id", id), ("session_id", &*session), ("category", &*category), ("name", &*name)];
        let mut fields: Fields = names.map(|(field, text)| (field, quoted(text))).into();
        let mut problems = Problems::NONE;
        let (timestamp, timestamp_raw) = timestamp(&mut fields, &mut problems, &mut random);
        let sent_at = own_sent_at(&mut fields, &mut random).or(sent_at);
        let [user_id, anonymous_id] = ["user_id", "anonymous_id"].map(|field| {
            let text = *random.of(&USERS);
            fields.extend(text.map(|text| (field, quoted(text))));
            text.filter(|text| !text.is_empty())
        });
        let (data, context) = payloads(shape, application, id, &mut random);
        if data.iter().chain(&context).any(|json| !json.starts_with('{')) {
            problems = problems.with(Problem::PayloadUnexpected);
        }
        let said = Said {
            category: &category,
            name: &name,
            timestamp_raw,
            sent_at,
            user_id,
            anonymous_id,
            data: data.as_deref().unwrap_or("{}"),
            context: context.as_deref(),
        };
        let sent = Sent::new(&session, timestamp, problems, said.digest());
        fields.extend(data.map(|json| ("data", json)));
        fields.extend(context.map(|json| ("context", json)));
        let fields: Vec<String> = fields.iter().map(|(field, json)| format!("\"{field}\":{json}")).collect();
        Self { json: format!("{{{}}}", fields.join(",")), sent }
    }
}

/// The time that can be read, and the text that cannot.
fn timestamp(fields: &mut Fields, problems: &mut Problems, random: &mut Random) -> (Option<i64>, Option<&'static str>) {
    match random.below(24) {
        0 => {
            *problems = problems.with(Problem::TimestampMissing);
            (None, None)
        }
        1 => {
            *problems = problems.with(Problem::TimestampUnreadable);
            let (json, raw) = *random.of(&NO_TIMES);
            fields.push(("timestamp", json.to_owned()));
            (None, Some(raw))
        }
        _ => {
            let at = time(random);
            fields.push(("timestamp", quoted(&Timestamp::from_micros(at).to_string())));
            (Some(at), None)
        }
    }
}

/// When an event says that it was sent, if it does. What is no time says nothing.
fn own_sent_at(fields: &mut Fields, random: &mut Random) -> Option<i64> {
    let at = match random.below(8) {
        0 | 1 => Some(time(random)),
        2 => None,
        _ => return None,
    };
    let text = at.map_or_else(|| "soon".to_owned(), |at| Timestamp::from_micros(at).to_string());
    fields.push(("sent_at", quoted(&text)));
    at
}

/// The payload and what is added to it. The id stands in one of them: by it a trace knows the record that holds it.
fn payloads(shape: &Shape, application: &str, id: &str, random: &mut Random) -> (Option<String>, Option<String>) {
    let object = payload(shape, application, id, random);
    let context = random.of(&CONTEXTS).map(str::to_owned);
    match random.below(24) {
        0 => (None, Some(format!(r#"{{"id":"{id}","application":"{application}"}}"#))),
        1 => (Some(format!("[{object}]")), context),
        _ => (Some(object), context),
    }
}

/// An item that must be refused; its code and its field.
pub(super) fn bad(
    application: &str,
    id: &str,
    is_line: bool,
    random: &mut Random,
) -> (String, (&'static str, &'static str)) {
    let kinds = BAD.len() - usize::from(!is_line);
    let (end, code, field) = *random.of(&BAD[..kinds]);
    (format!(r#"{{"event_id":"{id}","user_id":"{NOBODY}","category":"{application}",{end}"#), (code, field))
}

/// A client's time.
pub(super) fn time(random: &mut Random) -> i64 {
    let mut lateness = random.below(SPREAD_MICROS);
    if random.one_in(4) {
        // The same microsecond for many: offsets decide.
        lateness -= lateness % (SPREAD_MICROS / 8);
    }
    MIDDLE_MICROS - lateness as i64
}

fn payload(shape: &Shape, application: &str, id: &str, random: &mut Random) -> String {
    const LETTERS: [&str; 20] = [
        "a", "e", "i", "o", "u", "n", "r", "s", "t", "-", " ", "0", "1", "9", "\\n", "\\\"", "ü", "眼", "\\u0041", "/",
    ];
    let length = if random.one_in(shape.large_one_in) { 2_000 + random.below(20_000) } else { random.below(200) };
    let text: String = (0..length).map(|_| *random.of(&LETTERS)).collect();
    let number = random.below(1_000);
    format!(r#"{{"id":"{id}","application":"{application}","n":{number}.50,"text":"{text}"}}"#)
}

fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use eye_event::RejectCode;
    use serde_json::value::RawValue;

    use super::*;

    fn event(application: &str, number: u64) -> Event {
        let shape = Shape::new("r");
        Event::new(Sender { shape: &shape, application, sent_at: None }, "r-0-1", Random::new(1).fork(number))
    }

    #[test]
    fn every_event_is_json_and_what_is_to_be_there_sometimes_is() {
        let mut seen = BTreeMap::new();
        for number in 0..500 {
            let Event { json, .. } = event("default", number);
            let fields: BTreeMap<String, &RawValue> = serde_json::from_str(&json).unwrap();
            assert!(json.contains(r#"{"id":"r-0-1""#), "{json}");
            fields.into_keys().for_each(|field| *seen.entry(field).or_insert(0) += 1);
        }
        let always = ["event_id", "session_id", "category", "name"];
        assert!(always.iter().all(|field| seen.remove(*field) == Some(500)));
        let sometimes = ["anonymous_id", "context", "data", "sent_at", "timestamp", "user_id"];
        assert_eq!(seen.keys().collect::<Vec<_>>(), sometimes.iter().collect::<Vec<_>>());
        assert!(seen.values().all(|count| (50..500).contains(count)), "{seen:?}");
    }

    #[test]
    fn an_event_is_the_same_in_every_application_but_for_its_name() {
        for number in 0..100 {
            let [one, other] = ["default", "other"].map(|application| event(application, number).json);
            assert_ne!(one, other);
            assert_eq!(one.replace(r#""application":"default""#, r#""application":"other""#), other);
        }
    }

    #[test]
    fn what_is_no_time_is_none() {
        for (json, raw) in NO_TIMES {
            let value: Value = serde_json::from_str(json).unwrap();
            assert_eq!(value.as_str().unwrap_or(json), raw);
            assert_eq!(Timestamp::parse(raw), None);
        }
    }

    #[test]
    fn codes_of_bad_items_are_those_of_the_product() {
        for (end, code, _) in BAD {
            assert!(RejectCode::from_code(code).is_some());
            let json = format!(r#"{{"category":"c",{end}"#);
            assert_eq!(serde_json::from_str::<&RawValue>(&json).is_ok(), code != "not_json", "{json}");
        }
    }
}
