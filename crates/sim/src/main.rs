//! `sim --seeds N [--from S] [--steps K]` runs many seeds; `sim --seed S [--steps K] [--trace]` one.

use std::process::ExitCode;
use std::time::Instant;

use eye_sim::{STEPS, run};

const USAGE: &str = "usage: sim --seeds N [--from S] [--steps K] [--seconds T] | --seed S [--steps K] [--trace]";

struct Arguments {
    from: u64,
    seeds: u64,
    steps: usize,
    seconds: u64,
    trace: bool,
}

fn parse() -> Option<Arguments> {
    let mut parsed = Arguments { from: 0, seeds: 0, steps: STEPS, seconds: u64::MAX, trace: false };
    let mut arguments = std::env::args().skip(1);
    while let Some(name) = arguments.next() {
        let mut number = || arguments.next()?.parse::<u64>().ok();
        match name.as_str() {
            "--seeds" => parsed.seeds = number()?,
            "--from" => parsed.from = number()?,
            "--seed" => (parsed.from, parsed.seeds) = (number()?, 1),
            "--steps" => parsed.steps = usize::try_from(number()?).ok()?,
            "--seconds" => parsed.seconds = number()?,
            "--trace" => parsed.trace = true,
            _ => return None,
        }
    }
    (parsed.seeds > 0).then_some(parsed)
}

fn main() -> ExitCode {
    let Some(arguments) = parse() else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    let start = Instant::now();
    let (mut done, mut failed) = (0_u64, 0_u64);
    for seed in arguments.from..arguments.from.saturating_add(arguments.seeds) {
        if start.elapsed().as_secs() >= arguments.seconds {
            break;
        }
        match run(seed, arguments.steps) {
            Ok(trace) => {
                if arguments.trace {
                    trace.lines().iter().for_each(|line| println!("  {line}"));
                    println!("seed {seed}: trace {:016x}", trace.hash());
                }
            }
            Err(failure) => {
                println!("{failure}");
                failed += 1;
            }
        }
        done += 1;
        if done.is_multiple_of(100) {
            println!("{done} seeds, {failed} failed, {:.0} s", start.elapsed().as_secs_f64());
        }
    }
    let steps = done * arguments.steps as u64;
    println!(
        "{done} seeds from {}, {steps} steps, {failed} failed, {:.0} s",
        arguments.from,
        start.elapsed().as_secs_f64()
    );
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
