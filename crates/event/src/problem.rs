//! What can be wrong with an event that is stored all the same.
//!
//! A problem never drops an event: it flags it, so that people can list it. Codes are stable and part of the API.

use std::fmt;

/// One thing that is wrong with a stored event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Problem {
    /// The timestamp was there but could not be read; `timestamp` is then `received_at` and `timestamp_raw` keeps the text.
    TimestampUnreadable = 0,
    /// No timestamp was sent; `timestamp` is then `received_at`.
    TimestampMissing = 1,
    /// The timestamp lies further ahead of `received_at` than the configured tolerance.
    TimestampInFuture = 2,
    /// The payload is not a JSON object, or holds text that other systems cannot (NUL, lone surrogates).
    PayloadUnexpected = 3,
}

impl Problem {
    /// Every problem, in the order of its bit.
    pub const ALL: [Self; 4] =
        [Self::TimestampUnreadable, Self::TimestampMissing, Self::TimestampInFuture, Self::PayloadUnexpected];

    /// The stable code, as the API and the table spell it.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::TimestampUnreadable => "timestamp_unreadable",
            Self::TimestampMissing => "timestamp_missing",
            Self::TimestampInFuture => "timestamp_in_future",
            Self::PayloadUnexpected => "payload_unexpected",
        }
    }

    /// The problem with this code, if there is one.
    #[must_use]
    pub fn from_code(code: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|problem| problem.code() == code)
    }

    /// True for the three problems of the event's time.
    #[must_use]
    pub const fn is_about_time(self) -> bool {
        matches!(self, Self::TimestampUnreadable | Self::TimestampMissing | Self::TimestampInFuture)
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

/// The set of problems of one event, one bit each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Problems(u32);

impl Problems {
    /// No problem at all.
    pub const NONE: Self = Self(0);
    /// The three problems of the event's time: what `/eye/invalid-time` lists.
    pub const TIME: Self = Self(0b111);

    /// Adds one problem.
    #[must_use]
    pub const fn with(self, problem: Problem) -> Self {
        Self(self.0 | 1 << problem as u8)
    }

    /// True if this problem is in the set.
    #[must_use]
    pub const fn contains(self, problem: Problem) -> bool {
        self.0 & (1 << problem as u8) != 0
    }

    /// True if the two sets share a problem.
    #[must_use]
    pub const fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// True if nothing is wrong.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The problems, in the order of their bits.
    pub fn iter(self) -> impl Iterator<Item = Problem> {
        Problem::ALL.into_iter().filter(move |problem| self.contains(*problem))
    }

    /// The set as bits: bit n is `Problem::ALL[n]`. Stored in the log.
    #[must_use]
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// The set with these bits. Unknown bits are kept, so that an older reader loses nothing.
    #[must_use]
    pub const fn from_bits(bits: u32) -> Self {
        Self(bits)
    }
}

impl FromIterator<Problem> for Problems {
    fn from_iter<I: IntoIterator<Item = Problem>>(problems: I) -> Self {
        problems.into_iter().fold(Self::NONE, Self::with)
    }
}
