//! The simulation of a product with a bug: is it awake? Each bug is switched on in a process of its own, and some seed
//! must fail by a question that was asked. `crates/fault` says how. Without a bug the same seeds hold.
//!
//! The rule: that a broken product dies catches nothing.

use std::process::{Command, ExitCode};

use eye_fault::Sabotage;
use eye_sim::{STEPS, run};

/// What a process is told by: the bug of its product, as `eye-fault` reads it, and that it is to run seeds.
const BUG: &str = "EYE_SABOTAGE";
const SEEDS: &str = "seeds";
/// Seeds that are tried.
const SEEDS_MAX: u64 = 20;
/// How a process ends in which a seed has failed. That of one that panics is another.
const FAILED: u8 = 10;

/// Of the bugs those that a simulated node comes to: its tables lie in memory, and it has no edge.
const BUGS: [Sabotage; 2] = [Sabotage::DropOnReplay, Sabotage::CommitTwice];

fn main() -> ExitCode {
    if std::env::args().nth(1).as_deref() == Some(SEEDS) {
        return seeds();
    }
    let is_right = |bug: Option<Sabotage>| match try_bug(bug) {
        Ok(code) => code == if bug.is_some() { Some(FAILED.into()) } else { Some(0) },
        Err(error) => {
            eprintln!("sim-faults: {error}");
            false
        }
    };
    let mut is_good = is_right(None);
    for bug in BUGS {
        if !is_right(Some(bug)) {
            println!("{}: no seed notices: {}", bug.name(), bug.about());
            is_good = false;
        }
    }
    println!("sim-faults: {}", if is_good { "every bug is noticed" } else { "NOT AWAKE" });
    if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Runs the seeds of a product with this bug, or without one. The code with which that process ends.
fn try_bug(bug: Option<Sabotage>) -> std::io::Result<Option<i32>> {
    let name = bug.map_or("", Sabotage::name);
    println!("{}", if name.is_empty() { "without a bug" } else { name });
    let mut command = Command::new(std::env::current_exe()?);
    Ok(command.arg(SEEDS).env(BUG, name).status()?.code())
}

/// Runs seeds until one fails.
fn seeds() -> ExitCode {
    for seed in 0..SEEDS_MAX {
        if let Err(failure) = run(seed, STEPS) {
            println!("  seed {seed} failed at step {}: {}", failure.step, failure.wrong);
            return FAILED.into();
        }
    }
    println!("  {SEEDS_MAX} seeds hold");
    ExitCode::SUCCESS
}
