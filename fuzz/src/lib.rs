//! Fuzz targets: what reads the bytes of a stranger, or of a broken disk, is run on bytes that coverage guides.
//!
//! Each module of [`targets`] is one; `fuzz_targets/` only names them for libFuzzer. The rule that every target checks: no input
//! makes it panic, and none makes it use more memory than its length allows. What else must hold is said at its head.
//! `cargo xtask fuzz` builds and runs them with the stable toolchain, `cargo fuzz run <target>` works too. `corpus/`
//! holds inputs that reach all that was ever reached; old findings among them stay mended.
//!
//! eye-query and eye-server pull in Arrow and the whole HTTP stack, of which the files fuzzed here need nothing: those
//! files are compiled right into this crate, with [`error`] in the place of the two crates' errors.

pub mod error;
pub mod memory;

/// One module a target.
pub mod targets {
    pub mod batch;
    pub mod body;
    pub mod configuration;
    pub mod cursor;
    pub mod json;
    pub mod log_damage;
    pub mod log_segment;
    pub mod native;
    pub mod registry;
    pub mod seed;
    pub mod time;
    pub mod token;
}

mod forge;

#[allow(dead_code, unused_imports, reason = "the crates that the files come from use the rest")]
#[path = "../../crates/query/src"]
mod query {
    pub(crate) mod cursor;
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
}
