//! Questions over a snapshot: plain values in, plain values out.
//!
//! Every question runs on one immutable [`Source`] and its answer names it (`version`, `offset`): the same source and the
//! same question give the same bytes. Lists page by keyset cursors. Everything is bounded: rows by `limit`, bytes by
//! page, sessions and kinds of problem by named limits. Questions block: run them on threads that may.
//!
//! | module | what it answers |
//! |---|---|
//! | `session` | one session, newest first: the fast path |
//! | `events` | events that match a filter |
//! | `sessions` | sessions with their figures |
//! | `problems` | what is wrong with stored events |
//! | `rejections` | what was refused |
//! | `filter` | which events a question is about |
//! | `order`, `top`, `names` | places in an order, the first few of many, texts as numbers |
//! | `cursor` | where a page ended |
//! | `output` | how an event looks in an answer |
//! | `source` | what a question reads |
//! | `cancel` | how a question is stopped |

mod cancel;
mod cursor;
mod error;
mod events;
mod filter;
mod names;
mod order;
mod output;
mod problems;
mod rejections;
mod session;
mod sessions;
mod source;
mod top;

pub use cancel::Cancel;
pub use cursor::Cursor;
pub use error::{Error, Result};
pub use events::{EVENTS_LIMIT, EVENTS_LIMIT_MAX, EventsPage, EventsQuery, Rows, events, events_with};
pub use filter::{Filter, ProblemFilter};
pub use order::Order;
pub use output::{EventOut, write_event_json};
pub use problems::{PROBLEM_KINDS_MAX, ProblemOut, ProblemsPage, ProblemsQuery, SAMPLES, SAMPLES_MAX, problems};
pub use rejections::{
    REJECTIONS_LIMIT, REJECTIONS_LIMIT_MAX, RejectionOut, RejectionsPage, RejectionsQuery, rejections,
};
pub use session::{SESSION_LIMIT_MAX, SessionPage, SessionQuery, session, session_with};
pub use sessions::{
    Direction, SESSIONS_LIMIT, SESSIONS_LIMIT_MAX, SESSIONS_MAX, SessionOut, SessionSort, SessionsPage, SessionsQuery,
    sessions,
};
pub use source::{Source, SourceSlice};
