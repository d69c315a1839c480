//! Statements over stores in memory. One program: each would take minutes to link with the engine.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

mod agreement;
mod catalog;
mod common;
mod limits;
mod statements;
