//! The registry through its public face, over a log in memory that fails and waits when told to, and over one on a disk.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod audit;
mod disk;
mod fixture;
mod redaction;
mod reopen;
mod support;
mod tokens;
mod users;
