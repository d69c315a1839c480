//! One stored row, wherever it lies: the same view over the hot buffer and the table.

use eye_event::{Event, RejectionRef, Timestamp};
use eye_log::{Offset, PartitionId};

/// A stored event, borrowed. Columns that were not asked for are empty.
pub type StoredEvent<'a> = Stored<&'a str>;

/// A stored event as its bytes lie in the log: texts are not checked again.
pub(crate) type RawStoredEvent<'a> = Stored<&'a [u8]>;

/// A stored event; `T` is what its texts are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stored<T> {
    /// Who sent it.
    pub application: T,
    /// The edge's clock.
    pub received_at: Timestamp,
    /// The partition of the log it came through.
    pub partition: PartitionId,
    /// Its place in that partition.
    pub offset: Offset,
    /// What was said.
    pub event: Event<T>,
}

/// Where an event stands in every order: (timestamp, partition, offset). Unique.
///
/// Sessions live in one partition, so inside a session this is (timestamp, offset).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SortKey {
    /// When it occurred.
    pub timestamp: Timestamp,
    /// The partition.
    pub partition: PartitionId,
    /// The place in it.
    pub offset: Offset,
}

impl StoredEvent<'_> {
    /// Where it stands.
    #[must_use]
    pub fn sort_key(&self) -> SortKey {
        SortKey { timestamp: self.event.timestamp, partition: self.partition, offset: self.offset }
    }
}

/// A stored rejection, borrowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoredRejection<'a> {
    /// Who sent it.
    pub application: &'a str,
    /// The id of the token it came with.
    pub token: &'a str,
    /// The edge's clock.
    pub received_at: Timestamp,
    /// The partition of the log it came through.
    pub partition: PartitionId,
    /// Its place in that partition.
    pub offset: Offset,
    /// What was refused, and why.
    pub rejection: RejectionRef<'a>,
}
