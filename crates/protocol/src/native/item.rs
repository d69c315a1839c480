//! One item of a native body: the fast read, and the slow one that finds the field to blame.
//!
//! [`Fields`] is what serde_json reads in one pass, borrowing. It refuses more than it must (a number beyond 64 bits as
//! an id, a lone surrogate in a timestamp) and cannot say which field was wrong; whatever it refuses goes to [`slow`],
//! which is the definition of what is accepted. The rule: both read every item that the fast one accepts alike.

use std::borrow::Cow;
use std::fmt;

use eye_event::{Draft, RawTime, RejectCode, Rejection, Timestamp};
use serde::de::{Deserialize, Deserializer, Error, Visitor};
use serde_json::value::RawValue;

use super::{BodyError, BodyErrorKind};
use crate::scan::{self, Kind, Member, ScanError};
use crate::text::unescape;

/// The known fields of an item, and those of the envelope, so that one read tells which of the two an object is.
#[derive(Debug, Default, serde::Deserialize)]
pub(super) struct Fields<'a> {
    #[serde(borrow)]
    event_id: Option<Id<'a>>,
    #[serde(borrow)]
    session_id: Option<Id<'a>>,
    #[serde(borrow)]
    category: Option<Text<'a>>,
    #[serde(borrow)]
    name: Option<Text<'a>>,
    #[serde(borrow)]
    timestamp: Option<Raw<'a>>,
    #[serde(borrow)]
    sent_at: Option<Raw<'a>>,
    #[serde(borrow)]
    user_id: Option<Id<'a>>,
    #[serde(borrow)]
    anonymous_id: Option<Id<'a>>,
    #[serde(borrow)]
    data: Option<Raw<'a>>,
    #[serde(borrow)]
    context: Option<Raw<'a>>,
    #[serde(borrow)]
    events: Option<Raw<'a>>,
    #[serde(borrow)]
    token: Option<Raw<'a>>,
}

impl<'a> Fields<'a> {
    /// The draft; `sent_at` is the envelope's, for an item that has none.
    pub(super) fn into_draft(self, sent_at: Option<Timestamp>) -> Draft<'a> {
        Draft {
            sent_at: self.sent_at().or(sent_at),
            event_id: self.event_id.map(|id| id.0),
            session_id: self.session_id.map(|id| id.0),
            category: self.category.map(|text| text.0),
            name: self.name.map(|text| text.0),
            timestamp: self.timestamp.map_or(RawTime::Missing, |json| raw_time(json.0)),
            user_id: self.user_id.map(|id| id.0),
            anonymous_id: self.anonymous_id.map(|id| id.0),
            data: self.data.map(|json| json.0),
            context: self.context.map(|json| json.0),
        }
    }

    /// The array `events`, if this is an envelope.
    pub(super) fn events(&self) -> Option<&'a str> {
        self.events.as_ref().map(|json| json.0).filter(|json| Kind::of(json) == Kind::Array)
    }

    /// The envelope's token; anything but a string is no token.
    pub(super) fn token(&self) -> Option<Cow<'a, str>> {
        let json = self.token.as_ref()?.0;
        (Kind::of(json) == Kind::String).then(|| unescape(json).text)
    }

    /// When it was sent; a text that is no time says nothing.
    pub(super) fn sent_at(&self) -> Option<Timestamp> {
        match raw_time(self.sent_at.as_ref()?.0) {
            RawTime::Text(text) => Timestamp::parse(&text),
            RawTime::Number(digits) => Timestamp::parse_epoch(digits),
            RawTime::Missing | RawTime::Other(_) => None,
        }
    }
}

/// A string; borrowed unless it holds escapes.
#[derive(Debug)]
struct Text<'a>(Cow<'a, str>);

/// A string, or an integer kept as its digits.
#[derive(Debug)]
struct Id<'a>(Cow<'a, str>);

/// Any JSON value, as sent.
#[derive(Debug)]
struct Raw<'a>(&'a str);

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(TextVisitor { integers: false }).map(Text)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Id<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TextVisitor { integers: true }).map(Id)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Raw<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        <&'de RawValue>::deserialize(deserializer).map(|raw| Raw(raw.get()))
    }
}

struct TextVisitor {
    integers: bool,
}

impl TextVisitor {
    fn digits<'de, E: Error>(&self, integer: impl fmt::Display) -> Result<Cow<'de, str>, E> {
        if self.integers { Ok(Cow::Owned(integer.to_string())) } else { Err(E::custom("not a string")) }
    }
}

impl<'de> Visitor<'de> for TextVisitor {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(text))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(text.to_owned()))
    }

    fn visit_u64<E: Error>(self, integer: u64) -> Result<Self::Value, E> {
        self.digits(integer)
    }

    fn visit_i64<E: Error>(self, integer: i64) -> Result<Self::Value, E> {
        self.digits(integer)
    }
}

/// One item and the byte where it ends: its fields, or why it is no event.
pub(super) type Taken<'a> = (Result<Fields<'a>, Rejection>, usize);

/// Reads the item that starts at byte `at` (not at whitespace).
///
/// # Errors
/// Text that is not JSON, at its byte of `text`.
pub(super) fn take(text: &str, at: usize) -> Result<Taken<'_>, ScanError> {
    if let Some((fields, end)) = fast(text, at) {
        return Ok((Ok(fields), end));
    }
    slow(text, at)
}

/// Reads the object that starts at byte `at` in one pass, and where it ends; `None` if anything about it is unusual.
pub(super) fn fast(text: &str, at: usize) -> Option<(Fields<'_>, usize)> {
    // Only objects: serde's derived structs would also read an array, by position.
    if text.as_bytes().get(at) != Some(&b'{') {
        return None;
    }
    let mut stream = serde_json::Deserializer::from_str(&text[at..]).into_iter::<Fields<'_>>();
    let fields = stream.next()?.ok()?;
    Some((fields, at + stream.byte_offset()))
}

/// An object that [`fast`] refused, read as an envelope; `None` if it is none.
pub(super) fn envelope<'a>(json: &'a str) -> Option<Result<Fields<'a>, BodyError>> {
    let (mut fields, mut twice) = (Fields::default(), None);
    let on_member = |member: Member<'a>| {
        let (key, slot) = match &*unescape(member.key).text {
            "events" => ("events", &mut fields.events),
            "token" => ("token", &mut fields.token),
            "sent_at" => ("sent_at", &mut fields.sent_at),
            _ => return,
        };
        if slot.replace(Raw(member.value)).is_some() {
            twice = Some(key);
        }
    };
    scan::document(json, on_member).ok()?;
    fields.events()?;
    Some(match twice {
        None => Ok(fields),
        Some(key) => {
            let message = format!("{key} is there twice: send it once");
            Err(BodyError { kind: BodyErrorKind::NotAnEvent, message })
        }
    })
}

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

/// Reads the value that starts at byte `at` field by field; the first field that is wrong is the one to blame.
fn slow(text: &str, at: usize) -> Result<Taken<'_>, ScanError> {
    let mut read: Result<Fields<'_>, Rejection> = Ok(Fields::default());
    let mut seen = [false; KNOWN.len()];
    let on_member = |member| {
        if let Ok(fields) = &mut read
            && let Err(rejection) = read_member(fields, &mut seen, member)
        {
            read = Err(rejection);
        }
    };
    let end = scan::value(text, at, on_member)?;
    let kind = Kind::of(&text[at..end]);
    if kind != Kind::Object {
        let message = format!("an event is a JSON object, this is {}: send an object", kind.with_article());
        read = Err(Rejection::new(RejectCode::NotAnObject, "", message));
    }
    Ok((read, end))
}

fn read_member<'a>(
    fields: &mut Fields<'a>,
    seen: &mut [bool; KNOWN.len()],
    member: Member<'a>,
) -> Result<(), Rejection> {
    let key = unescape(member.key).text;
    let Some(index) = KNOWN.iter().position(|known| *known == key) else { return Ok(()) };
    if std::mem::replace(&mut seen[index], true) {
        let message = format!("{key} is there twice: send it once");
        return Err(Rejection::new(RejectCode::DuplicateField, KNOWN[index], message));
    }
    set(fields, KNOWN[index], member.value)
}

fn set<'a>(fields: &mut Fields<'a>, field: &'static str, json: &'a str) -> Result<(), Rejection> {
    if Kind::of(json) == Kind::Null {
        return Ok(());
    }
    match field {
        "event_id" => fields.event_id = Some(Id(text(field, json, true)?)),
        "session_id" => fields.session_id = Some(Id(text(field, json, true)?)),
        "user_id" => fields.user_id = Some(Id(text(field, json, true)?)),
        "anonymous_id" => fields.anonymous_id = Some(Id(text(field, json, true)?)),
        "category" => fields.category = Some(Text(text(field, json, false)?)),
        "name" => fields.name = Some(Text(text(field, json, false)?)),
        "timestamp" => fields.timestamp = Some(Raw(json)),
        "sent_at" => fields.sent_at = Some(Raw(json)),
        "data" => fields.data = Some(Raw(json)),
        _ => fields.context = Some(Raw(json)),
    }
    Ok(())
}

fn text<'a>(field: &'static str, json: &'a str, integers: bool) -> Result<Cow<'a, str>, Rejection> {
    match Kind::of(json) {
        Kind::String => {
            let unescaped = unescape(json);
            let Some(code) = unescaped.lone_surrogate else { return Ok(unescaped.text) };
            let message = format!("{field} holds half of a surrogate pair (U+{code:04X}): remove it or send the pair");
            Err(Rejection::new(RejectCode::LoneSurrogate, field, message))
        }
        Kind::Integer if integers => Ok(Cow::Borrowed(json)),
        kind => {
            let wanted = if integers { "a string or an integer" } else { "a string" };
            let message = format!("{field} is {}: send {wanted}", kind.with_article());
            Err(Rejection::new(RejectCode::WrongType, field, message))
        }
    }
}

/// A timestamp as sent. A string that holds a lone surrogate is kept as its JSON text: it is no time anyway.
fn raw_time(json: &str) -> RawTime<'_> {
    match Kind::of(json) {
        Kind::Null => RawTime::Missing,
        Kind::String => match unescape(json) {
            unescaped if unescaped.lone_surrogate.is_some() => RawTime::Other(json),
            unescaped => RawTime::Text(unescaped.text),
        },
        Kind::Integer | Kind::Float => RawTime::Number(json),
        Kind::Bool | Kind::Array | Kind::Object => RawTime::Other(json),
    }
}
