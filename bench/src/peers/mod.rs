//! The peers: what people would use instead, on the same machine, in the same run, fed with the same events.
//!
//! A peer that cannot be started is skipped and says why. Wherever there is a choice, it is made in the peer's favour.

pub(crate) mod clickhouse;
pub(crate) mod engine;
pub(crate) mod postgres;
pub(crate) mod seed;

use std::path::{Path, PathBuf};

use crate::Error;

/// A Python with the packages of `bench/peers/requirements.txt`: `cargo xtask bench` makes it and names it here.
pub(crate) fn python() -> Result<PathBuf, Error> {
    let program = std::env::var_os("BENCH_PYTHON").ok_or("there is no Python with their packages")?;
    Ok(PathBuf::from(program))
}

/// Where the peers' own programs are.
pub(crate) fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("peers")
}
