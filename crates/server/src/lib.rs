//! The server of The Eye: the only crate that knows HTTP, flags and signals.
//!
//! | module | what it holds |
//! |---|---|
//! | `config` | one table of settings: flags, environment, file |
//! | `serve` | start-up in order, and the way down |
//! | `edge` | the accept loop, reading and decompressing bodies, limits |
//! | `router` | every route, put together |
//! | `collect`, `seed` | events in: the native API and the seed's |
//! | `ask`, `live` | events out |
//! | `postgres` | SQL for PostgreSQL clients |
//! | `manage` | applications, tokens, users, audit; flush, compaction, erasures, backup, jobs |
//! | `auth`, `fields`, `error`, `state` | who asks, bodies and parameters, errors, what handlers share |
//! | `command`, `first_start`, `jobs`, `shutdown` | the flags; the first start; the background; the way down |
//! | `priority` | who goes first |
//! | `health`, `metrics` | how it is doing |
//! | `openapi`, `pages` | what it says about itself |
//! | `cli`, `verify` | the command line, and the check of a data folder |
//!
//! Everything is private to the crate but [`run`]: the product is the binary.

mod ask;
mod auth;
mod cli;
mod collect;
mod command;
mod config;
mod edge;
mod error;
mod fields;
mod first_start;
mod health;
mod jobs;
mod live;
mod manage;
mod metrics;
mod openapi;
mod pages;
mod postgres;
mod priority;
mod router;
mod seed;
mod serve;
mod shutdown;
mod state;
mod verify;

pub use command::run;
