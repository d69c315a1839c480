//! What goes into the log and what comes out.

use std::fmt;

use bytes::Bytes;

use crate::error::Result;

/// A place in one partition's log. The first is 1; 0 means "before everything".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Offset(pub u64);

impl Offset {
    /// Before every record.
    pub const ZERO: Self = Self(0);
    /// The first offset of a log.
    pub const FIRST: Self = Self(1);

    /// This many places further.
    #[must_use]
    pub const fn plus(self, count: u64) -> Self {
        Self(self.0.saturating_add(count))
    }

    /// The place before, or zero.
    #[must_use]
    pub const fn previous(self) -> Self {
        Self(self.0.saturating_sub(1))
    }
}

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Which partition of the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PartitionId(pub u16);

impl fmt::Display for PartitionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Called once, with the record's first offset when it is durable, or with why it is not.
pub type OnDurable = Box<dyn FnOnce(Result<Offset>) + Send>;

/// A record to append.
pub struct NewRecord {
    /// The bytes, opaque to the log.
    pub payload: Bytes,
    /// How many offsets it takes; at least 1.
    pub count: u32,
    /// See [`crate::Log::append`]. Must be quick: it runs on the log's writer.
    pub on_durable: OnDurable,
}

impl NewRecord {
    /// A record of `count` offsets.
    pub fn new(payload: Bytes, count: u32, on_durable: impl FnOnce(Result<Offset>) + Send + 'static) -> Self {
        Self { payload, count, on_durable: Box::new(on_durable) }
    }
}

impl fmt::Debug for NewRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewRecord").field("bytes", &self.payload.len()).field("count", &self.count).finish()
    }
}

/// A durable record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its first offset.
    pub offset: Offset,
    /// How many offsets it takes.
    pub count: u32,
    /// The bytes.
    pub payload: Bytes,
}

impl Record {
    /// The offset after this record's last.
    #[must_use]
    pub const fn next(&self) -> Offset {
        self.offset.plus(self.count as u64)
    }
}
