//! Fuzz targets: what reads the bytes of a stranger, or of a broken disk, is run on bytes that coverage guides.
//!
//! Each module of [`targets`] is one; `fuzz_targets/` only names them for libFuzzer. The rule that every target checks: no input
//! makes it panic, and none makes it use more memory than its length allows. What else must hold is said at its head.
//! `cargo xtask fuzz` builds and runs them with the stable toolchain, `cargo fuzz run <target>` works too. `corpus/`
//! holds inputs that reach all that was ever reached; old findings among them stay mended.
//!
//! eye-store, eye-query and eye-server pull in Arrow, the Delta kernel and the whole HTTP stack, of which the files fuzzed
//! here need nothing: those files are compiled right into this crate, where they find each other under the names that they
//! use, with [`error`] in the place of the crates' errors.

// So files of eye-query call the store.
extern crate self as eye_store;

pub mod error;
pub mod memory;

/// One module a target.
pub mod targets {
    pub mod batch;
    pub mod body;
    pub mod commit;
    pub mod configuration;
    pub mod cursor;
    pub mod import;
    pub mod json;
    pub mod line;
    pub mod log_damage;
    pub mod log_segment;
    pub mod native;
    pub mod postgres;
    pub mod registry;
    pub mod seed;
    pub mod time;
    pub mod token;
}

mod forge;

use eye_event::payload as json;
use query::{condition, cursor, decimal, field, filter, line, reads};
use store::columns::select::Columns;
use store::event::StoredEvent;
use store::table;

#[allow(dead_code, unused_imports, reason = "the crates that the files come from use the rest")]
#[path = "../../crates/store/src"]
mod store {
    pub(crate) mod columns {
        pub(crate) mod select;
    }
    pub(crate) mod event;
    pub(crate) mod table {
        pub(crate) mod actions {
            pub(crate) mod read;
        }
        pub(crate) mod block_sums;
        pub(crate) mod hash;
        pub(crate) mod removed;
        pub(crate) mod stats {
            pub(crate) mod read;
        }
    }
}

#[allow(dead_code, unused_imports, reason = "the crates that the files come from use the rest")]
#[path = "../../crates/query/src"]
mod query {
    pub(crate) mod condition;
    pub(crate) mod cursor;
    pub(crate) mod decimal;
    pub(crate) mod field;
    pub(crate) mod filter;
    pub(crate) mod line;
    pub(crate) mod reads;
}

#[allow(dead_code, unused_imports, reason = "the crates that the files come from use the rest")]
#[path = "../../crates/server/src"]
mod server {
    pub(crate) mod config;
    pub(crate) mod edge {
        pub(crate) mod budget;
        pub(crate) mod decompress;
        pub(crate) mod receive;
    }
    pub(crate) mod postgres {
        pub(crate) mod message;
    }
}

#[allow(dead_code, unused_imports, reason = "the crates that the files come from use the rest")]
#[path = "../../crates/server/src/cli"]
mod cli {
    pub(crate) mod csv;
    pub(crate) mod failure;
    pub(crate) mod import {
        pub(crate) mod shape;
    }
    pub(crate) mod input;
    pub(crate) mod lines;
    pub(crate) mod text;

    /// As the command line has it.
    fn is_stdin(path: Option<&std::path::PathBuf>) -> bool {
        path.is_none_or(|path| path.as_os_str() == "-")
    }
}

/// As the store has it; here everything has the same priority.
fn give_way() {}
