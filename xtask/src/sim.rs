//! `cargo xtask sim`: seeds of the simulation, as many as asked for.

use crate::Error;
use crate::run::cargo;

/// Builds and runs the simulation; the arguments are its own (`--seeds N [--from S] [--steps K] [--seconds T]`, or
/// `--seed S [--trace]`).
pub(crate) fn run(arguments: &[&str]) -> Result<(), Error> {
    let mut all = vec!["run", "--quiet", "--release", "--locked", "--package", "eye-sim", "--bin", "sim", "--"];
    all.extend(arguments);
    cargo(&all)
}
