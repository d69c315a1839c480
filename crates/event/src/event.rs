//! What a client said ([`Draft`]) and what is stored ([`EventRef`]). Both borrow: the hot path copies bytes once, into the log.

use std::borrow::Cow;

use crate::problem::Problems;
use crate::time::Timestamp;

/// A timestamp exactly as the client wrote it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum RawTime<'a> {
    /// Absent or null.
    #[default]
    Missing,
    /// A JSON string, unescaped.
    Text(Cow<'a, str>),
    /// A JSON number, its digits as sent.
    Number(&'a str),
    /// Any other JSON value (its text): never readable as a time.
    Other(&'a str),
}

/// One event as decoded, not yet checked. Every protocol decodes to this.
///
/// Absent fields are `None`. `data` and `context` are the JSON text as sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Draft<'a> {
    /// The client's idempotency key.
    pub event_id: Option<Cow<'a, str>>,
    /// Which session.
    pub session_id: Option<Cow<'a, str>>,
    /// What happened, coarse.
    pub category: Option<Cow<'a, str>>,
    /// What happened, fine.
    pub name: Option<Cow<'a, str>>,
    /// When it occurred, as the client says.
    pub timestamp: RawTime<'a>,
    /// The batch's clock when it was sent.
    pub sent_at: Option<Timestamp>,
    /// Who.
    pub user_id: Option<Cow<'a, str>>,
    /// Who, before they were known.
    pub anonymous_id: Option<Cow<'a, str>>,
    /// The payload: JSON text.
    pub data: Option<&'a str>,
    /// What the SDK adds: JSON text.
    pub context: Option<&'a str>,
}

/// One event as it is stored, borrowed from a draft or from the log.
pub type EventRef<'a> = Event<&'a str>;

/// One event as its bytes lie in the log: its texts are UTF-8 as they were written, not checked again.
pub type RawEvent<'a> = Event<&'a [u8]>;

/// One event as it is stored; `T` is what its texts are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event<T> {
    /// The idempotency key: unique per (application, session).
    pub event_id: T,
    /// Which session.
    pub session_id: T,
    /// What happened, coarse.
    pub category: T,
    /// What happened, fine.
    pub name: T,
    /// When it occurred, as the client says; `received_at` if that could not be read.
    pub timestamp: Timestamp,
    /// The client's own text, kept only when it could not be read as a time.
    pub timestamp_raw: Option<T>,
    /// The batch's clock when it was sent, if the protocol has one.
    pub sent_at: Option<Timestamp>,
    /// Who.
    pub user_id: Option<T>,
    /// Who, before they were known.
    pub anonymous_id: Option<T>,
    /// The payload as sent: JSON text, an object unless flagged `payload_unexpected`.
    pub data: T,
    /// What the SDK added: JSON text.
    pub context: Option<T>,
    /// What is wrong with it.
    pub problems: Problems,
}

/// The partition a session lives in: FNV-1a 64 of the session id, modulo `partitions`.
///
/// The hash is part of the data format: a session never moves.
/// Source: <http://www.isthe.com/chongo/tech/comp/fnv/>.
#[must_use]
pub fn partition_of(session_id: &str, partitions: u16) -> u16 {
    if partitions <= 1 {
        return 0;
    }
    let hash = session_id
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    #[expect(clippy::cast_possible_truncation, reason = "the remainder is below a u16")]
    let partition = (hash % u64::from(partitions)) as u16;
    partition
}
