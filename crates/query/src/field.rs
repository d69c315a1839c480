//! [`Field`]: what a condition, a breakdown or a measure looks at. One spelling everywhere.

use std::borrow::Cow;
use std::fmt;

use eye_store::{Columns, StoredEvent};

use crate::json;

/// Keys in one path: deeper payloads are refused when they are collected.
const PATH_KEYS_MAX: usize = 100;

/// Something of an event that has a value.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Field {
    /// Who sent it.
    Application,
    /// Which session.
    SessionId,
    /// What happened, coarse.
    Category,
    /// What happened, fine.
    Name,
    /// Who.
    UserId,
    /// Who, before they were known.
    AnonymousId,
    /// The client's idempotency key.
    EventId,
    /// A value in the payload, by its path.
    Data(Vec<String>),
    /// A value of what the SDK added, by its path.
    Context(Vec<String>),
}

impl Field {
    const WORDS: [(&'static str, Self); 7] = [
        ("application", Self::Application),
        ("session_id", Self::SessionId),
        ("category", Self::Category),
        ("name", Self::Name),
        ("user_id", Self::UserId),
        ("anonymous_id", Self::AnonymousId),
        ("event_id", Self::EventId),
    ];
    /// Shorter spellings of the same.
    const SHORT: [(&'static str, Self); 4] = [
        ("app", Self::Application),
        ("session", Self::SessionId),
        ("user", Self::UserId),
        ("anonymous", Self::AnonymousId),
    ];

    /// Every spelling, for messages.
    pub(crate) const SPELLINGS: &'static str =
        "application, session_id, category, name, user_id, anonymous_id, event_id, data.PATH, context.PATH";

    /// The field that a word without a path names.
    pub(crate) fn of_word(word: &str) -> Option<Self> {
        Self::WORDS.iter().chain(&Self::SHORT).find(|(name, _)| *name == word).map(|(_, field)| field.clone())
    }

    /// A field as it is spelt; `None` if it is none.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut rest = text;
        let word = crate::line::scan::word(&mut rest);
        let path = crate::line::scan::path(&mut rest).ok()?;
        if !rest.is_empty() {
            return None;
        }
        Self::with_path(word, path)
    }

    /// The field of a word and the path behind it.
    pub(crate) fn with_path(word: &str, path: Vec<String>) -> Option<Self> {
        match word {
            "data" if (1..=PATH_KEYS_MAX).contains(&path.len()) => Some(Self::Data(path)),
            "context" if (1..=PATH_KEYS_MAX).contains(&path.len()) => Some(Self::Context(path)),
            _ if path.is_empty() => Self::of_word(word),
            _ => None,
        }
    }

    /// The column that it lies in.
    #[must_use]
    pub fn column(&self) -> Columns {
        match self {
            Self::Application => Columns::APPLICATION,
            Self::SessionId => Columns::SESSION_ID,
            Self::Category => Columns::CATEGORY,
            Self::Name => Columns::NAME,
            Self::UserId => Columns::USER_ID,
            Self::AnonymousId => Columns::ANONYMOUS_ID,
            Self::EventId => Columns::EVENT_ID,
            Self::Data(_) => Columns::DATA,
            Self::Context(_) => Columns::CONTEXT,
        }
    }

    /// The path inside the column, if it is JSON.
    #[must_use]
    pub fn path(&self) -> Option<&[String]> {
        match self {
            Self::Data(path) | Self::Context(path) => Some(path),
            _ => None,
        }
    }

    /// The column's text: a payload whole.
    pub(crate) fn text<'a>(&self, stored: &StoredEvent<'a>) -> Option<&'a str> {
        let event = &stored.event;
        match self {
            Self::Application => Some(stored.application),
            Self::SessionId => Some(event.session_id),
            Self::Category => Some(event.category),
            Self::Name => Some(event.name),
            Self::UserId => event.user_id,
            Self::AnonymousId => event.anonymous_id,
            Self::EventId => Some(event.event_id),
            Self::Data(_) => Some(event.data),
            Self::Context(_) => event.context,
        }
    }

    /// Its value out of its column's text, as a text: see [`json::plain`].
    pub(crate) fn value<'a>(&self, column: &'a str) -> Option<Cow<'a, str>> {
        match self.path() {
            None => Some(Cow::Borrowed(column)),
            Some(path) => json::plain(json::find(column, path)?),
        }
    }
}

/// As it is spelt: what [`Field::parse`] reads.
impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Data(_) => f.write_str("data")?,
            Self::Context(_) => f.write_str("context")?,
            plain => {
                let word = Self::WORDS.iter().find(|(_, field)| field == plain).map_or("", |(word, _)| word);
                return f.write_str(word);
            }
        }
        self.path().unwrap_or_default().iter().try_for_each(|key| write!(f, ".{}", crate::line::print::key(key)))
    }
}
