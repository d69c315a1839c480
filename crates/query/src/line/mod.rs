//! [`Line`]: the query line, one way to say which events, for the API, the command line and the console.
//!
//! ```text
//! app:web category:"page interaction" name~buy data.plan=pro -data.bot=true since:24h
//! ```
//!
//! `docs/query-language.md` has the grammar. The rule: what a line prints as, reads as the same line.

mod parse;
pub(crate) mod print;
pub(crate) mod scan;

use std::str::FromStr;

use eye_event::Timestamp;

use crate::condition::Expr;
use crate::error::Error;

/// Bytes in one line.
pub const LINE_BYTES_MAX: usize = 8 * 1024;
/// Conditions in one line.
pub const LINE_CONDITIONS_MAX: usize = 256;
/// Parentheses inside parentheses.
pub const LINE_DEPTH_MAX: usize = 16;

/// A query line: which events, and between which times.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Line {
    /// What must hold; `None` is everything.
    pub expr: Option<Expr>,
    /// At this time or later.
    pub since: Option<When>,
    /// Before this time.
    pub until: Option<When>,
}

/// A moment, as a line says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// This one.
    At(Timestamp),
    /// So long before the question is asked.
    Ago(u32, Unit),
}

/// A unit of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// `s`
    Second,
    /// `m`
    Minute,
    /// `h`
    Hour,
    /// `d`: 24 hours.
    Day,
    /// `w`: 7 days.
    Week,
}

impl Unit {
    pub(crate) const ALL: [(char, Self); 5] =
        [('s', Self::Second), ('m', Self::Minute), ('h', Self::Hour), ('d', Self::Day), ('w', Self::Week)];

    /// Its length in microseconds.
    #[must_use]
    pub const fn micros(self) -> i64 {
        match self {
            Self::Second => 1_000_000,
            Self::Minute => 60 * 1_000_000,
            Self::Hour => 3_600 * 1_000_000,
            Self::Day => 86_400 * 1_000_000,
            Self::Week => 7 * 86_400 * 1_000_000,
        }
    }

    /// A length of time such as `30m`; `None` if it is none.
    #[must_use]
    pub fn length(text: &str) -> Option<(u32, Self)> {
        let letter = text.chars().next_back()?;
        let (_, unit) = Self::ALL.into_iter().find(|(known, _)| *known == letter)?;
        let digits = &text[..text.len() - letter.len_utf8()];
        let count = digits.bytes().all(|digit| digit.is_ascii_digit()).then(|| digits.parse().ok())??;
        Some((count, unit))
    }
}

impl When {
    /// The moment, for a question that is asked at `now`.
    #[must_use]
    pub fn resolve(self, now: Timestamp) -> Timestamp {
        match self {
            Self::At(at) => at,
            Self::Ago(count, unit) => {
                Timestamp::from_micros(now.micros().saturating_sub(unit.micros().saturating_mul(count.into())))
            }
        }
    }
}

impl Line {
    /// The line as a question of this moment asks it.
    #[must_use]
    pub fn at(self, now: Timestamp) -> Asked {
        let resolve = |when: Option<When>| when.map(|when| when.resolve(now));
        Asked { from: resolve(self.since), to: resolve(self.until), line: self }
    }
}

/// Reads a line.
///
/// # Errors
/// `Invalid` with the field `query`; the message marks the place.
impl FromStr for Line {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        parse::parse(text)
    }
}

/// A line whose moments are known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    pub(crate) line: Line,
    pub(crate) from: Option<Timestamp>,
    pub(crate) to: Option<Timestamp>,
}

impl Asked {
    /// The line as it was asked.
    #[must_use]
    pub const fn line(&self) -> &Line {
        &self.line
    }

    /// From when on, if the line says so.
    #[must_use]
    pub const fn from(&self) -> Option<Timestamp> {
        self.from
    }

    /// Until before when, if the line says so.
    #[must_use]
    pub const fn to(&self) -> Option<Timestamp> {
        self.to
    }

    /// The same at any time.
    pub(crate) fn without_times(self) -> Self {
        Self { line: Line { since: None, until: None, ..self.line }, from: None, to: None }
    }
}
