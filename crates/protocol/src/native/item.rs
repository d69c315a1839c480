//! One item of a native body: read in one pass, field by field, borrowing. The first field that is wrong is the one to blame.

use std::borrow::Cow;

use eye_event::{Draft, RawTime, RejectCode, Rejection, Timestamp};

use super::{BodyError, BodyErrorKind};
use crate::scan::{self, Kind, Member, ScanError};
use crate::text::unescape;

/// One item and the byte where it ends: what it says, or why it is no event.
pub(super) type Taken<'a> = (Result<Draft<'a>, Rejection>, usize);

/// Reads the item that starts at byte `at` (not at whitespace). Each member of an object is shown to `on_member`, known or
/// not.
///
/// # Errors
/// Text that is not JSON, at its byte of `text`.
pub(super) fn take<'a>(
    text: &'a str,
    at: usize,
    mut on_member: impl FnMut(Member<'a>),
) -> Result<Taken<'a>, ScanError> {
    let mut reading = Reading::default();
    let end = scan::value(text, at, |member| {
        on_member(member);
        reading.member(member);
    })?;
    let kind = Kind::of(&text[at..end]);
    if kind != Kind::Object {
        let message = format!("an event is a JSON object, this is {}: send an object", kind.with_article());
        return Ok((Err(Rejection::new(RejectCode::NotAnObject, "", message)), end));
    }
    Ok((reading.refused.map_or(Ok(reading.draft), Err), end))
}

/// A known field.
#[derive(Clone, Copy, Debug)]
enum Field {
    EventId,
    SessionId,
    Category,
    Name,
    Timestamp,
    SentAt,
    UserId,
    AnonymousId,
    Data,
    Context,
}

impl Field {
    fn of(key: &str) -> Option<Self> {
        Some(match key {
            "event_id" => Self::EventId,
            "session_id" => Self::SessionId,
            "category" => Self::Category,
            "name" => Self::Name,
            "timestamp" => Self::Timestamp,
            "sent_at" => Self::SentAt,
            "user_id" => Self::UserId,
            "anonymous_id" => Self::AnonymousId,
            "data" => Self::Data,
            "context" => Self::Context,
            _ => return None,
        })
    }

    fn name(self) -> &'static str {
        match self {
            Self::EventId => "event_id",
            Self::SessionId => "session_id",
            Self::Category => "category",
            Self::Name => "name",
            Self::Timestamp => "timestamp",
            Self::SentAt => "sent_at",
            Self::UserId => "user_id",
            Self::AnonymousId => "anonymous_id",
            Self::Data => "data",
            Self::Context => "context",
        }
    }
}

/// An item half read.
#[derive(Default)]
struct Reading<'a> {
    draft: Draft<'a>,
    /// A bit for each [`Field`] that was there.
    seen: u16,
    /// The first thing that was wrong; nothing is looked at after it.
    refused: Option<Rejection>,
}

impl<'a> Reading<'a> {
    fn member(&mut self, member: Member<'a>) {
        if self.refused.is_some() {
            return;
        }
        let key = unescape(member.key).text;
        if let Some(field) = Field::of(&key) {
            self.refused = self.set(field, member.value).err();
        }
    }

    fn set(&mut self, field: Field, json: &'a str) -> Result<(), Rejection> {
        let bit = 1 << field as u16;
        if self.seen & bit != 0 {
            let name = field.name();
            let message = format!("{name} is there twice: send it once");
            return Err(Rejection::new(RejectCode::DuplicateField, name, message));
        }
        self.seen |= bit;
        if Kind::of(json) == Kind::Null {
            return Ok(());
        }
        let draft = &mut self.draft;
        match field {
            Field::EventId => draft.event_id = Some(text(field, json, true)?),
            Field::SessionId => draft.session_id = Some(text(field, json, true)?),
            Field::UserId => draft.user_id = Some(text(field, json, true)?),
            Field::AnonymousId => draft.anonymous_id = Some(text(field, json, true)?),
            Field::Category => draft.category = Some(text(field, json, false)?),
            Field::Name => draft.name = Some(text(field, json, false)?),
            Field::Timestamp => draft.timestamp = raw_time(json),
            Field::SentAt => draft.sent_at = clock(json),
            Field::Data => draft.data = Some(json),
            Field::Context => draft.context = Some(json),
        }
        Ok(())
    }
}

/// A string, or an integer as its digits where `integers` may be.
fn text(field: Field, json: &str, integers: bool) -> Result<Cow<'_, str>, Rejection> {
    match Kind::of(json) {
        Kind::String => {
            let unescaped = unescape(json);
            let Some(code) = unescaped.lone_surrogate else { return Ok(unescaped.text) };
            let name = field.name();
            let message = format!("{name} holds half of a surrogate pair (U+{code:04X}): remove it or send the pair");
            Err(Rejection::new(RejectCode::LoneSurrogate, name, message))
        }
        Kind::Integer if integers => Ok(Cow::Borrowed(json)),
        kind => {
            let (name, wanted) = (field.name(), if integers { "a string or an integer" } else { "a string" });
            let message = format!("{name} is {}: send {wanted}", kind.with_article());
            Err(Rejection::new(RejectCode::WrongType, name, message))
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

/// The time that somebody's clock showed; a text that is no time says nothing.
fn clock(json: &str) -> Option<Timestamp> {
    match raw_time(json) {
        RawTime::Text(text) => Timestamp::parse(&text),
        RawTime::Number(digits) => Timestamp::parse_epoch(digits),
        RawTime::Missing | RawTime::Other(_) => None,
    }
}

/// What an envelope has besides events: gathered of every object that is a whole body, for `events` may come last.
#[derive(Default)]
pub(super) struct Envelope<'a> {
    events: Option<&'a str>,
    token: Option<&'a str>,
    sent_at: Option<&'a str>,
    twice: Option<&'static str>,
}

impl<'a> Envelope<'a> {
    pub(super) fn member(&mut self, member: Member<'a>) {
        let (key, slot) = match &*unescape(member.key).text {
            "events" => ("events", &mut self.events),
            "token" => ("token", &mut self.token),
            "sent_at" => ("sent_at", &mut self.sent_at),
            _ => return,
        };
        if slot.replace(member.value).is_some() {
            self.twice = Some(key);
        }
    }

    /// The array `events`; `None` if this is no envelope.
    ///
    /// # Errors
    /// An envelope that says something twice.
    pub(super) fn events(&self) -> Result<Option<&'a str>, BodyError> {
        let events = self.events.filter(|json| Kind::of(json) == Kind::Array);
        match self.twice.filter(|_| events.is_some()) {
            None => Ok(events),
            Some(key) => {
                let message = format!("{key} is there twice: send it once");
                Err(BodyError { kind: BodyErrorKind::NotAnEvent, message })
            }
        }
    }

    /// The token; anything but a string is no token.
    pub(super) fn token(&self) -> Option<Cow<'a, str>> {
        self.token.filter(|json| Kind::of(json) == Kind::String).map(|json| unescape(json).text)
    }

    /// When it was sent.
    pub(super) fn sent_at(&self) -> Option<Timestamp> {
        self.sent_at.and_then(clock)
    }
}
