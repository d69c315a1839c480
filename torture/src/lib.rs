//! Faults against the real binary, and the one oracle that judges what is left.
//!
//! Clients write down what they send before they send it and what was acknowledged after they were told. Then something
//! breaks: the process, the disk, the clock. After recovery everything that can be read is held against what the clients
//! know. The rule: a mode makes faults, only [`oracle`] judges.
//!
//! | module | what it holds |
//! |---|---|
//! | [`oracle`] | what clients know, what was found, the violations by name |
//! | [`load`] | writers that remember, readers that watch |
//! | [`erasures`] | erasures that were asked for, and one of which nobody knows |
//! | [`observe`] | the public API, the raw log, a second reader of the table, `eye verify` |
//! | [`rig`] | a data folder with its clients: start, load, check |
//! | [`server`], [`http`] | the process under test; a plain client |
//! | [`machine`] | mounts, strace and what else the machine lends, or a reason why not |
//! | [`trace`] | a system-call trace, and the order that durability asks of it |
//! | [`steps`] | what has happened in a data folder, as its names tell |
//! | [`modes`] | one file a kind of fault |
//! | [`report`] | one line a mode |

pub mod erasures;
pub mod http;
pub mod load;
pub mod machine;
pub mod modes;
pub mod observe;
pub mod oracle;
pub mod random;
pub mod report;
pub mod rig;
pub mod server;
pub mod steps;
pub mod trace;

/// What goes wrong with the tools, not with the product.
pub type Error = Box<dyn std::error::Error + Send + Sync>;
/// The result of a tool.
pub type Result<T> = std::result::Result<T, Error>;
