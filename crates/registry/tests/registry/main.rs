//! The registry through its public face, over a log in memory that fails and waits when told to.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod audit;
mod fixture;
mod redaction;
mod reopen;
mod support;
mod tokens;
mod users;
