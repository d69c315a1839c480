//! The vocabulary of The Eye: what an event is, what can be wrong with it, and how it is written to the log.
//!
//! Everything here is pure: no clock, no I/O, no globals. Time is always an argument.
//!
//! | module | what it holds |
//! |---|---|
//! | [`event`] | [`Draft`] (what a client said), [`Event`] (what is stored) |
//! | [`mod@check`] | the one function that turns a draft into an event or a rejection |
//! | [`time`] | [`Timestamp`]: UTC microseconds, read and written without loss |
//! | [`payload`] | values out of a payload, by their paths |
//! | [`json`] | small questions about JSON text |
//! | [`limits`] | every limit on one event, named |
//! | [`problem`] | what may be wrong with an event that is stored all the same |
//! | [`rejection`] | why a thing is no event, by name |
//! | [`batch`] | the log encoding of one request's events and rejections |

pub mod batch;
pub mod check;
pub mod event;
pub mod json;
pub mod limits;
pub mod payload;
pub mod problem;
pub mod rejection;
pub mod time;

pub use batch::{Batch, BatchHeader, BatchWriter, EncodingError, Entry, EntryKey, Header, RawHeader, event_bytes};
pub use check::{Checked, check};
pub use event::{Draft, Event, EventRef, RawEvent, RawTime, partition_of};
pub use limits::Limits;
pub use problem::{Problem, Problems};
pub use rejection::{RejectCode, Rejection, RejectionRef};
pub use time::Timestamp;
