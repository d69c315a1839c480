//! Everything a change must pass. The steps run in this order, the quick ones first; in the end it is told what was
//! skipped.
//!
//! The last two run at the same time: torture waits most of the time, and what it leaves of the processor is enough to fuzz,
//! which gives way to it.

use std::time::Instant;

use crate::Error;
use crate::fuzz;
use crate::run::{cargo, command, run as run_command, together};
use crate::skipped;
use crate::tools;
use crate::torture;

type Step = (&'static str, fn() -> Result<(), Error>);

/// Those of one group run at the same time.
const STEPS: [&[Step]; 7] = [
    &[("fmt", fmt)],
    &[("clippy", clippy)],
    &[("doc", doc)],
    &[("deny", deny)],
    &[("unit", unit)],
    &[("run", start)],
    &[("fuzz", fuzz), ("torture", torture::slice)],
];

/// Runs the named steps, or all of them. Tells what was skipped, also after a step that failed.
pub(crate) fn run(names: &[&str]) -> Result<(), Error> {
    let known: Vec<&str> = STEPS.into_iter().flatten().map(|(step, _)| *step).collect();
    if let Some(unknown) = names.iter().find(|name| !known.contains(name)) {
        return Err(format!("there is no step {unknown}: use {}", known.join(", ")).into());
    }
    skipped::begin()?;
    let result = run_steps(names);
    let told = skipped::tell();
    result.and(told)
}

fn run_steps(names: &[&str]) -> Result<(), Error> {
    for group in STEPS {
        let wanted: Vec<&Step> = group.iter().filter(|(name, _)| names.is_empty() || names.contains(name)).collect();
        together(&wanted, |step| run_step(step))?;
    }
    Ok(())
}

fn run_step((name, step): &Step) -> Result<(), Error> {
    let start = Instant::now();
    println!("\n== {name}");
    let result = step().map_err(|error| Error::from(format!("{name}: {error}")));
    let seconds = start.elapsed().as_secs_f64();
    match &result {
        Ok(()) => println!("== {name}: ok after {seconds:.0} s"),
        // Of two that fail at the same time the end tells one only.
        Err(error) => println!("== {name}: FAILED after {seconds:.0} s: {error}"),
    }
    result
}

fn fmt() -> Result<(), Error> {
    cargo(&["fmt", "--all", "--check"])
}

/// In the release profile, like everything else here: one set of built dependencies serves clippy and doc, one the tests.
fn clippy() -> Result<(), Error> {
    cargo(&["clippy", "--release", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"])
}

fn doc() -> Result<(), Error> {
    let mut doc = command(env!("CARGO"), &["doc", "--release", "--workspace", "--no-deps", "--locked"])?;
    doc.env("RUSTDOCFLAGS", "-D warnings");
    run_command(doc)
}

/// Licences, sources and bans always; advisories only where their database can be fetched.
fn deny() -> Result<(), Error> {
    let program = tools::cargo_tool("cargo-deny", "0.20.2")?;
    run_command(command(&program, &["deny", "--locked", "check", "licenses", "bans", "sources"])?)?;
    let advisories = run_command(command(&program, &["deny", "--locked", "check", "advisories"])?);
    if let Err(error) = advisories {
        let can_fetch = command("git", &["ls-remote", "--heads", "https://github.com/rustsec/advisory-db"])?
            .env("GIT_TERMINAL_PROMPT", "0")
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .status()
            .is_ok_and(|status| status.success());
        if can_fetch {
            return Err(error);
        }
        skipped::skip("advisories", "the advisory database cannot be reached from here")?;
    }
    Ok(())
}

/// All tests of the workspace, against the release binary; those that need other programs too.
fn unit() -> Result<(), Error> {
    let python = tools::python()?;
    tools::debian("psql", "postgresql-client");
    let program = tools::cargo_tool("cargo-nextest", "0.9.143")?;
    let mut tests =
        command(&program, &["nextest", "run", "--release", "--workspace", "--locked", "--run-ignored", "all"])?;
    tests.env("XTASK_PYTHON", python).env(skipped::LIST, skipped::path()?);
    run_command(tests)
}

/// What the README tells a newcomer to type starts the product, not another binary of the package.
fn start() -> Result<(), Error> {
    cargo(&["run", "--release", "--locked", "--", "--version"])
}

/// A minute for each target, after its corpus.
fn fuzz() -> Result<(), Error> {
    fuzz::run(&[])
}
