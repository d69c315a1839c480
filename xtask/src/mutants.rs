//! `cargo xtask mutants`: bugs put in one by one; the tests must notice each (the crate `mutants`).

use crate::Error;
use crate::run::{cargo, command, root, run as run_command, target};
use crate::tools;

/// `[part…] [--only TEXT]`: all parts without one.
pub(crate) fn run(arguments: &[&str]) -> Result<(), Error> {
    let lister = tools::cargo_tool("cargo-mutants", "27.1.0")?;
    cargo(&["build", "--release", "--locked", "-p", "mutants"])?;
    let mut mutants = command(target()?.join("release").join("mutants"), &[])?;
    mutants.arg(lister).arg(root()?).arg(target()?).args(arguments);
    run_command(mutants)
}
