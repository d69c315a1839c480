//! [`Summary`]: what the events of one origin hold: fields, their types, their values, how often and when.
//!
//! The rule: a figure that is there is exact. What does not fit is left out as a whole and counted, never cut: a field with
//! more than [`FIELD_VALUES_MAX`] different values has none, and no value longer than [`FIELD_VALUE_BYTES_MAX`] is kept.
//!
//! Values that say who somebody is are not kept: those of `user_id`, `anonymous_id`, `session_id` and `event_id`, of fields
//! that hold anything like an e-mail address, and of fields that are nearly unique, as identifiers are.

use std::borrow::Cow;

use ahash::AHashMap;
use eye_event::Timestamp;
use eye_store::Columns;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::field::Field;
use crate::frame::Frame;
use crate::json;
use crate::line::print;

/// Fields of one application in one summary; occurrences of others are counted.
pub const CATALOGUE_FIELDS_MAX: usize = 1_000;
/// Pairs of category and name of one application in one summary; events of others are counted.
pub const CATALOGUE_NAMES_MAX: usize = 1_000;
/// Different values of one field; a field with more has none. Of `category` and `name` it is [`CATALOGUE_NAMES_MAX`].
pub const FIELD_VALUES_MAX: usize = 200;
/// Longer values, in bytes, are counted and not kept.
pub const FIELD_VALUE_BYTES_MAX: usize = 100;
/// Keys in the path of a field; what lies deeper is an object.
pub const FIELD_DEPTH_MAX: usize = 8;
/// The text of a field, in bytes; occurrences of longer ones are counted.
const FIELD_BYTES_MAX: usize = 255;
/// A field with more different values than this, and more than half as many as events, is taken for an identifier.
const UNIQUE_VALUES_MIN: usize = 20;
/// What an entry of a map takes beside its texts, roughly, in bytes.
const ENTRY_BYTES: usize = 64;

/// Columns that a summary is made of.
pub(super) fn columns() -> Columns {
    [
        Columns::APPLICATION,
        Columns::CATEGORY,
        Columns::NAME,
        Columns::TIMESTAMP,
        Columns::USER_ID,
        Columns::ANONYMOUS_ID,
        Columns::DATA,
        Columns::CONTEXT,
    ]
    .into_iter()
    .fold(Columns::NONE, |all, column| all | column)
}

/// How often, and when by the events' own time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) events: u64,
    pub(super) first: Timestamp,
    pub(super) last: Timestamp,
}

impl Seen {
    /// Never.
    pub(super) const NONE: Self =
        Self { events: 0, first: Timestamp::from_micros(i64::MAX), last: Timestamp::from_micros(i64::MIN) };

    pub(super) fn add(&mut self, at: Timestamp) {
        self.merge(&Self { events: 1, first: at, last: at });
    }

    pub(super) fn merge(&mut self, other: &Self) {
        self.events += other.events;
        self.first = self.first.min(other.first);
        self.last = self.last.max(other.last);
    }
}

/// What a value is in JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Type {
    String,
    Number,
    Boolean,
    Null,
    Array,
    Object,
}

impl Type {
    pub(super) const ALL: [Self; 6] =
        [Self::String, Self::Number, Self::Boolean, Self::Null, Self::Array, Self::Object];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::String => "string",
            Self::Number => "number",
            Self::Boolean => "boolean",
            Self::Null => "null",
            Self::Array => "array",
            Self::Object => "object",
        }
    }

    fn of(json: &str) -> Self {
        match json.as_bytes().first() {
            Some(b'"') => Self::String,
            Some(b't' | b'f') => Self::Boolean,
            Some(b'[') => Self::Array,
            Some(b'{') => Self::Object,
            Some(b'n') | None => Self::Null,
            Some(_) => Self::Number,
        }
    }
}

/// One field of one application.
#[derive(Clone, Debug)]
pub(super) struct FieldSummary {
    pub(super) seen: Seen,
    /// Events by [`Type::ALL`].
    pub(super) types: [u64; Type::ALL.len()],
    /// Each value; `None` if they are too many, or not to be kept.
    pub(super) values: Option<AHashMap<Box<str>, Seen>>,
    values_max: usize,
    /// Events whose value is too long to be kept.
    pub(super) long: u64,
}

impl FieldSummary {
    fn of(field: &str) -> Self {
        let values_max = match field {
            "category" | "name" => CATALOGUE_NAMES_MAX,
            _ => FIELD_VALUES_MAX,
        };
        let values = (!matches!(field, "user_id" | "anonymous_id")).then(AHashMap::new);
        Self { seen: Seen::NONE, types: [0; Type::ALL.len()], values, values_max, long: 0 }
    }

    fn add(&mut self, kind: Type, value: Option<&str>, at: Timestamp) {
        self.seen.add(at);
        self.types[kind as usize] += 1;
        let (Some(values), Some(value)) = (&mut self.values, value) else { return };
        if let Some(seen) = values.get_mut(value) {
            return seen.add(at);
        }
        if value.len() > FIELD_VALUE_BYTES_MAX {
            self.long += 1;
        } else if values.len() >= self.values_max || is_like_an_address(value) {
            self.values = None;
        } else {
            values.insert(value.into(), Seen { events: 1, first: at, last: at });
        }
    }

    /// Takes another summary's figures of the same field.
    pub(super) fn merge(&mut self, other: &Self) {
        self.seen.merge(&other.seen);
        self.long += other.long;
        self.types.iter_mut().zip(other.types).for_each(|(mine, other)| *mine += other);
        let (Some(mine), Some(others)) = (&mut self.values, &other.values) else {
            self.values = None;
            return;
        };
        for (value, seen) in others {
            match mine.get_mut(value) {
                Some(mine) => mine.merge(seen),
                None => drop(mine.insert(value.clone(), *seen)),
            }
        }
        if mine.len() > self.values_max {
            self.values = None;
        }
    }

    /// True if some event has such a value.
    pub(super) fn has(&self, kind: Type) -> bool {
        self.types[kind as usize] > 0
    }

    fn forget_identifiers(&mut self) {
        let is_unique = |values: &AHashMap<Box<str>, Seen>| {
            values.len() > UNIQUE_VALUES_MIN && values.len() as u64 * 2 > self.seen.events
        };
        if self.values.as_ref().is_some_and(is_unique) {
            self.values = None;
        }
    }
}

/// True for anything like `ann@example.com`.
fn is_like_an_address(value: &str) -> bool {
    value.split_once('@').is_some_and(|(name, host)| !name.is_empty() && host.contains('.'))
}

/// One application's events.
#[derive(Clone, Debug)]
pub(super) struct Application {
    pub(super) seen: Seen,
    /// By the text that names the field in a query line.
    pub(super) fields: AHashMap<Box<str>, FieldSummary>,
    /// By category, then by name.
    pub(super) names: AHashMap<Box<str>, AHashMap<Box<str>, Seen>>,
    names_count: usize,
    /// Values of fields beyond the limit.
    pub(super) fields_left: u64,
    /// Events with names beyond the limit.
    pub(super) names_left: u64,
}

impl Application {
    pub(super) fn new() -> Self {
        Self {
            seen: Seen::NONE,
            fields: AHashMap::new(),
            names: AHashMap::new(),
            names_count: 0,
            fields_left: 0,
            names_left: 0,
        }
    }

    fn add(&mut self, field: &str, kind: Type, value: Option<&str>, at: Timestamp) {
        if let Some(known) = self.fields.get_mut(field) {
            return known.add(kind, value, at);
        }
        if self.fields.len() >= CATALOGUE_FIELDS_MAX || field.len() > FIELD_BYTES_MAX {
            self.fields_left += 1;
            return;
        }
        let mut new = FieldSummary::of(field);
        new.add(kind, value, at);
        self.fields.insert(field.into(), new);
    }

    fn add_name(&mut self, category: &str, name: &str, seen: &Seen) {
        if let Some(known) = self.names.get_mut(category).and_then(|names| names.get_mut(name)) {
            return known.merge(seen);
        }
        if self.names_count >= CATALOGUE_NAMES_MAX {
            self.names_left += seen.events;
            return;
        }
        self.names_count += 1;
        self.names.entry(category.into()).or_default().insert(name.into(), *seen);
    }

    /// Takes another summary's figures of the same application.
    pub(super) fn merge(&mut self, other: &Self) {
        self.seen.merge(&other.seen);
        self.fields_left += other.fields_left;
        self.names_left += other.names_left;
        for (field, summary) in &other.fields {
            if let Some(known) = self.fields.get_mut(field) {
                known.merge(summary);
            } else if self.fields.len() < CATALOGUE_FIELDS_MAX {
                self.fields.insert(field.clone(), summary.clone());
            } else {
                self.fields_left += summary.seen.events;
            }
        }
        for (category, names) in &other.names {
            names.iter().for_each(|(name, seen)| self.add_name(category, name, seen));
        }
    }
}

/// What the events of one origin hold.
#[derive(Debug, Default)]
pub(super) struct Summary {
    pub(super) applications: AHashMap<Box<str>, Application>,
}

impl Summary {
    /// Takes the rows of a slice.
    pub(super) fn add(&mut self, frame: &Frame) {
        let texts = |field: Field| frame.texts(&field);
        let (applications, categories, names) = (texts(Field::Application), texts(Field::Category), texts(Field::Name));
        let (users, anonymous) = (texts(Field::UserId), texts(Field::AnonymousId));
        let payloads = [("data", texts(Field::Data(Vec::new()))), ("context", texts(Field::Context(Vec::new())))];
        let mut path = String::new();
        for row in 0..frame.rows() {
            let at = Timestamp::from_micros(frame.timestamps().get(row).copied().unwrap_or_default());
            let application = self.application(applications.get(row).unwrap_or_default());
            application.seen.add(at);
            for (field, texts) in
                [("category", categories), ("name", names), ("user_id", users), ("anonymous_id", anonymous)]
            {
                if let Some(text) = texts.get(row) {
                    application.add(field, Type::String, Some(text), at);
                }
            }
            if let (Some(category), Some(name)) = (categories.get(row), names.get(row)) {
                application.add_name(category, name, &Seen { events: 1, first: at, last: at });
            }
            for (field, texts) in payloads {
                if let Some(json) = texts.get(row).filter(|json| json.starts_with('{')) {
                    path.clear();
                    path.push_str(field);
                    walk(json, &mut path, 1, &mut |field, kind, value| application.add(field, kind, value, at));
                }
            }
        }
    }

    fn application(&mut self, name: &str) -> &mut Application {
        if !self.applications.contains_key(name) {
            self.applications.insert(name.into(), Application::new());
        }
        self.applications.entry(name.into()).or_insert_with(Application::new)
    }

    /// Nothing more comes: identifiers are told by how many of their values there are.
    pub(super) fn finish(mut self) -> Self {
        let applications = self.applications.values_mut();
        let fields = applications.flat_map(|application| application.fields.iter_mut());
        fields.filter(|(name, _)| name.contains('.')).for_each(|(_, field)| field.forget_identifiers());
        self
    }

    /// About how many bytes of memory it takes.
    pub(super) fn bytes(&self) -> usize {
        let of_field = |name: &str, field: &FieldSummary| {
            let values = field.values.iter().flatten().map(|(value, _)| value.len() + ENTRY_BYTES);
            name.len() + 2 * ENTRY_BYTES + values.sum::<usize>()
        };
        let application = |application: &Application| {
            let names = application.names.values().flatten().map(|(name, _)| name.len() + ENTRY_BYTES);
            let fields = application.fields.iter().map(|(name, field)| of_field(name, field));
            fields.sum::<usize>() + names.sum::<usize>()
        };
        self.applications.values().map(application).sum::<usize>() + ENTRY_BYTES
    }
}

/// Visits every value of an object that is no object with something in it, with the text of its field.
fn walk(json: &str, path: &mut String, depth: usize, visit: &mut dyn FnMut(&str, Type, Option<&str>)) {
    let mut deserializer = serde_json::Deserializer::from_str(json);
    // A payload was checked to be JSON before it was stored.
    let _ = deserializer.deserialize_map(Members { path, depth, visit });
}

struct Members<'v> {
    path: &'v mut String,
    depth: usize,
    visit: &'v mut dyn FnMut(&str, Type, Option<&str>),
}

impl<'de> Visitor<'de> for Members<'_> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut members = Vec::new();
        while let Some((Key(key), json)) = map.next_entry::<Key<'de>, &'de RawValue>()? {
            members.extend(key.map(|key| (key, json)));
        }
        // Of keys that stand twice the last counts: equal ones keep their order.
        members.sort_by(|(one, _), (other, _)| one.cmp(other));
        let length = self.path.len();
        for (place, (key, json)) in members.iter().enumerate() {
            if members.get(place + 1).is_some_and(|(next, _)| next == key) {
                continue;
            }
            self.path.push('.');
            self.path.push_str(&print::key(key));
            let (json, kind) = (json.get(), Type::of(json.get()));
            let is_empty = || json.get(1..).is_some_and(|rest| rest.trim_start().starts_with('}'));
            match kind {
                Type::Object if self.depth < FIELD_DEPTH_MAX && !is_empty() => {
                    walk(json, self.path, self.depth + 1, self.visit);
                }
                Type::Object | Type::Array | Type::Null => (self.visit)(self.path, kind, None),
                Type::String | Type::Number | Type::Boolean => {
                    (self.visit)(self.path, kind, json::plain(json).as_deref());
                }
            }
            self.path.truncate(length);
        }
        Ok(())
    }
}

/// A key, borrowed if it holds no escapes. One with half a surrogate pair is no text: no query line can name it.
struct Key<'a>(Option<Cow<'a, str>>);

impl<'de: 'a, 'a> Deserialize<'de> for Key<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl<'de> Visitor<'de> for Text {
            type Value = Key<'de>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a key")
            }

            fn visit_borrowed_bytes<E>(self, text: &'de [u8]) -> Result<Self::Value, E> {
                Ok(Key(std::str::from_utf8(text).ok().map(Cow::Borrowed)))
            }

            fn visit_bytes<E>(self, text: &[u8]) -> Result<Self::Value, E> {
                Ok(Key(std::str::from_utf8(text).ok().map(|text| Cow::Owned(text.to_owned()))))
            }
        }
        // As a text, half a surrogate pair would be an error that ends the whole object.
        deserializer.deserialize_bytes(Text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(json: &str) -> Vec<(String, Type, Option<String>)> {
        let (mut found, mut path) = (Vec::new(), "data".to_owned());
        walk(json, &mut path, 1, &mut |field, kind, value| {
            found.push((field.to_owned(), kind, value.map(str::to_owned)));
        });
        found
    }

    #[test]
    fn every_value_has_the_text_that_a_query_line_names_it_by() {
        let json = r#"{"a":1.0,"b c":{"\u0064":"x\ny","e":{}},"f":[{"g":1}],"h":null,"i":false}"#;
        let found = fields(json);
        let one = |field: &str, kind, value: Option<&str>| (field.to_owned(), kind, value.map(str::to_owned));
        assert_eq!(
            found,
            [
                one("data.a", Type::Number, Some("1.0")),
                one("data.\"b c\".d", Type::String, Some("x\ny")),
                one("data.\"b c\".e", Type::Object, None),
                one("data.f", Type::Array, None),
                one("data.h", Type::Null, None),
                one("data.i", Type::Boolean, Some("false")),
            ]
        );
        for (field, ..) in found {
            assert_eq!(Field::parse(&field).unwrap().to_string(), field);
        }
        let deep = format!("{}1{}", "{\"k\":".repeat(20), "}".repeat(20));
        assert_eq!(fields(&deep), [one(&format!("data{}", ".k".repeat(FIELD_DEPTH_MAX)), Type::Object, None)]);
    }

    #[test]
    fn of_keys_that_stand_twice_the_last_counts() {
        let one = |field: &str, kind, value: Option<&str>| (field.to_owned(), kind, value.map(str::to_owned));
        assert_eq!(fields(r#"{"a":1,"a":2}"#), [one("data.a", Type::Number, Some("2"))]);
        let last = [one("data.a", Type::Null, None), one("data.c", Type::String, Some("x"))];
        assert_eq!(fields(r#"{"a":{"b":1},"c":"x","a":2,"\u0061":null}"#), last);
        assert_eq!(fields(r#"{"a":1,"a":{"b":1,"b":true}}"#), [one("data.a.b", Type::Boolean, Some("true"))]);
    }

    #[test]
    fn half_a_surrogate_pair_hides_no_other_key() {
        let plan = ("data.plan".to_owned(), Type::String, Some("pro".to_owned()));
        for json in [r#"{"\ud83d":1,"plan":"pro"}"#, r#"{"plan":"pro","\ud83d":1}"#] {
            assert_eq!(fields(json), std::slice::from_ref(&plan), "{json}");
        }
    }

    #[test]
    fn what_says_who_somebody_is_is_not_kept() {
        let at = Timestamp::from_micros(1);
        let kept = |values: &[&str]| {
            let mut field = FieldSummary::of("data.x");
            values.iter().for_each(|value| field.add(Type::String, Some(value), at));
            field.forget_identifiers();
            field.values.map(|values| values.len())
        };
        assert_eq!(kept(&["a", "b", "a"]), Some(2));
        assert_eq!(kept(&["a", "ann@example.com", "b"]), None);
        assert_eq!(kept(&["@handle", "5@home"]), Some(2));
        let many: Vec<String> = (0..=UNIQUE_VALUES_MIN).map(|number| number.to_string()).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert_eq!(kept(&many), None, "each is there once");
        assert_eq!(kept(&[&many[..], &many[..], &many[..]].concat()), Some(many.len()));
        let too_many: Vec<String> = (0..=FIELD_VALUES_MAX).map(|number| number.to_string()).collect();
        let too_many: Vec<&str> = too_many.iter().map(String::as_str).collect();
        assert_eq!(kept(&too_many.repeat(9)), None);
        let long = "x".repeat(FIELD_VALUE_BYTES_MAX + 1);
        assert_eq!(kept(&[&long, "a"]), Some(1));
    }
}
