//! `cargo xtask sim`: seeds of the simulation, as many as asked for; or seeds of products with a bug.

use crate::Error;
use crate::run::{cargo, command, run as run_command, target};
use crate::torture;

/// Builds and runs the simulation; the arguments are its own (`--seeds N [--from S] [--steps K] [--seconds T]`, or
/// `--seed S [--trace]`). `--sabotage`: is it awake?
pub(crate) fn run(arguments: &[&str]) -> Result<(), Error> {
    if arguments == ["--sabotage"] {
        run_command(torture::faults()?)?;
        return sabotage();
    }
    let mut all = vec!["run", "--quiet", "--release", "--locked", "--package", "eye-sim", "--bin", "sim", "--"];
    all.extend(arguments);
    cargo(&all)
}

/// Runs the simulation of products with a bug, which is built with the other programs that can be broken.
pub(crate) fn sabotage() -> Result<(), Error> {
    run_command(command(target()?.join("release").join("sim-faults"), &[])?)
}
