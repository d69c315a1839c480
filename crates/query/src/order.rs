//! Orders of events, and [`Rank`]: a row's place in one of them.

use std::str::FromStr;

use eye_event::Timestamp;
use eye_store::SortKey;

use crate::cursor::{Cursor, Question};
use crate::error::{Error, Result};

/// The order of a list of events, by (timestamp, partition, offset).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// The latest first.
    #[default]
    Newest,
    /// The earliest first.
    Oldest,
}

impl Order {
    /// As the API spells it: what [`FromStr`] reads.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Newest => "newest",
            Self::Oldest => "oldest",
        }
    }

    /// Where the row stands in this order.
    pub(crate) fn rank(self, key: SortKey) -> Rank {
        let (timestamp, partition, offset) = (key.timestamp.micros(), key.partition.0, key.offset.0);
        match self {
            Self::Newest => Rank { timestamp: !timestamp, partition: !partition, offset: !offset },
            Self::Oldest => Rank { timestamp, partition, offset },
        }
    }

    /// The lowest rank that a row between these two moments (both inclusive) can have.
    pub(crate) fn best(self, (earliest, latest): (Timestamp, Timestamp)) -> Rank {
        let timestamp = match self {
            Self::Newest => !latest.micros(),
            Self::Oldest => earliest.micros(),
        };
        Rank { timestamp, partition: 0, offset: 0 }
    }

    /// The moment of a rank.
    pub(crate) fn timestamp(self, rank: Rank) -> Timestamp {
        Timestamp::from_micros(match self {
            Self::Newest => !rank.timestamp,
            Self::Oldest => rank.timestamp,
        })
    }
}

impl FromStr for Order {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "newest" => Ok(Self::Newest),
            "oldest" => Ok(Self::Oldest),
            _ => Err(Error::invalid("order", "order is none of these: newest, oldest")),
        }
    }
}

/// A row's place in an order: the lower, the earlier in the answer. Bitwise not turns an order round.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Rank {
    timestamp: i64,
    partition: u16,
    offset: u64,
}

const RANK_BYTES: usize = 18;

impl Rank {
    /// The cursor of `question` behind this rank.
    pub(crate) fn cursor(self, question: Question) -> Cursor {
        let mut key = Vec::with_capacity(RANK_BYTES);
        key.extend_from_slice(&self.timestamp.to_be_bytes());
        key.extend_from_slice(&self.partition.to_be_bytes());
        key.extend_from_slice(&self.offset.to_be_bytes());
        Cursor::write(question, &key)
    }

    /// The rank behind which the page begins.
    pub(crate) fn after(cursor: Option<&Cursor>, question: Question) -> Result<Option<Self>> {
        let Some(cursor) = cursor else { return Ok(None) };
        let key = cursor.read(question)?;
        Self::from_bytes(&key).map(Some).ok_or_else(Cursor::foreign)
    }

    fn from_bytes(key: &[u8]) -> Option<Self> {
        let (timestamp, rest) = key.split_first_chunk()?;
        let (partition, rest) = rest.split_first_chunk()?;
        Some(Self {
            timestamp: i64::from_be_bytes(*timestamp),
            partition: u16::from_be_bytes(*partition),
            offset: u64::from_be_bytes(rest.try_into().ok()?),
        })
    }
}
