//! `cargo xtask torture`: faults against the real binary, judged by the one oracle (the crate `torture`).

use std::process::Command;

use crate::Error;
use crate::run::{cargo, command, root, run as run_command, target, together};
use crate::sim;
use crate::skipped;
use crate::tools;

/// What a test run takes: a slice, some ten minutes on two cores. More is a matter of patience, not of another command.
///
/// In parts that run at the same time, for each waits most of the time: for disks, for processes that start, on purpose.
const SLICE: [&[&str]; 2] = [
    &["cut=150", "kill=100", "full=8", "slow=3", "stop=4", "upkeep=24"],
    &["io=12", "points", "acks=5000", "clock=12", "sabotage"],
];
/// The seed of a test run.
const SEED: &str = "1";
/// Programs of the machine, and the Debian packages that have them.
const PROGRAMS: [(&str, &str); 5] = [
    ("strace", "strace"),
    ("xfs_io", "xfsprogs"),
    ("mkfs.xfs", "xfsprogs"),
    ("mkfs.ext4", "e2fsprogs"),
    ("faketime", "faketime"),
];

/// The slice of a test run, and whether the simulation is awake.
pub(crate) fn slice() -> Result<(), Error> {
    torture(&SLICE.map(|part| [part, &["--seed", SEED]].concat()))?;
    sim::sabotage()
}

/// What was asked for: `--kill N` becomes `kill=N`, `--points` becomes `points`. Without any mode, the slice.
pub(crate) fn run(arguments: &[&str]) -> Result<(), Error> {
    let (mut words, mut settings) = (Vec::new(), Vec::new());
    let mut arguments = arguments.iter().peekable();
    while let Some(argument) = arguments.next() {
        let name =
            argument.strip_prefix("--").ok_or_else(|| format!("{argument}: write --kill N, --points, --seed S …"))?;
        let value = arguments.next_if(|next| !next.starts_with("--")).map(|value| (*value).to_owned());
        match (name, value) {
            ("seed", Some(seed)) => settings.extend(["--seed".to_owned(), seed]),
            ("keep", None) => settings.push("--keep".to_owned()),
            (mode, value) => words.push(value.map_or_else(|| mode.to_owned(), |value| format!("{mode}={value}"))),
        }
    }
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let parts = if words.is_empty() { SLICE.to_vec() } else { vec![words.as_slice()] };
    let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
    torture(&parts.into_iter().map(|part| [part, &settings].concat()).collect::<Vec<_>>())
}

/// Each part with its arguments, all of them at the same time.
fn torture(parts: &[Vec<&str>]) -> Result<(), Error> {
    // Of the workspace, as the tests are: of itself it would have what it is made of built anew.
    cargo(&["build", "--release", "--locked", "--workspace", "--bin", "eye", "--bin", "torture"])?;
    run_command(faults()?)?;
    for (program, package) in PROGRAMS {
        tools::debian(program, package);
    }
    let (program, python, skipped) = (target()?.join("release").join("torture"), tools::python()?, skipped::path()?);
    together(parts, |words| {
        let mut torture = command(&program, words)?;
        torture.env("XTASK_PYTHON", &python).env(skipped::LIST, &skipped);
        run_command(torture)
    })
}

/// The builds that can be broken, of the product and of the simulation. Our own crates are built a second time for them, so
/// quickly rather than to run quickly; what they depend on is that of the product.
pub(crate) fn faults() -> Result<Command, Error> {
    let mut arguments = vec!["build", "--release", "--locked", "-p", "eye-server", "-p", "eye-sim"];
    arguments.extend(["--features", "eye-server/faults,eye-sim/faults", "--bin", "eye-faults", "--bin", "sim-faults"]);
    let mut build = command(env!("CARGO"), &arguments)?;
    for entry in std::fs::read_dir(root()?.join("crates"))? {
        let name = entry?.file_name();
        for setting in ["opt-level=1", "codegen-units=16"] {
            build.arg("--config").arg(format!("profile.release.package.eye-{}.{setting}", name.to_string_lossy()));
        }
    }
    Ok(build)
}
