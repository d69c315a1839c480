//! SQL over a snapshot: the only crate that knows DataFusion.
//!
//! Statements only read, from four tables and a few functions, and only what their asker may see. They run on threads of
//! their own within limits of memory, disk, time and rows; one that meets a limit stops alone.
//!
//! | module | what it holds |
//! |---|---|
//! | [`engine`] | [`Engine`]: turns, limits, from a statement to an [`Answer`] |
//! | `guard` | what may be asked at all |
//! | `split` | where statements end |
//! | `joins` | joins that stop when there is no time left |
//! | `session` | what one statement is planned in |
//! | [`catalog`] | `pg_catalog` and `information_schema` of our tables, for clients of PostgreSQL |
//! | `tables` | `events`, `sessions`, `problems`, `rejections`, and the questions as tables |
//! | `bounded` | functions that stop before they have made too much |
//! | `truncate` | `date_trunc` of every time that can be stored |
//! | `json` | `->`, `->>` and the functions behind them |
//! | [`questions`] | how the table functions read their text |
//! | [`rows`] | rows in types that every reader knows |
//! | [`format`](mod@format) | answers as bytes |
//! | [`error`] | errors, by what the asker must do |

mod bounded;
pub mod catalog;
pub mod engine;
pub mod error;
pub mod format;
mod guard;
mod joins;
mod json;
pub mod questions;
pub mod rows;
mod session;
mod split;
mod tables;
mod truncate;

pub use engine::{Answer, Ask, Described, Engine, Limits, Parameter};
pub use error::{Error, Result, Spot};
pub use format::{Encoder, Format};
pub use questions::Questions;
pub use split::{STATEMENTS_MAX, is_whole, statements};
