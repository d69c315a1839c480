//! Benchmarks beside floors and peers, in the same run: medians and ratios, with the machine and the command printed.
//!
//! `cargo xtask bench ingest` builds everything and runs this. A single absolute figure says little on a shared machine;
//! the ratio to a floor or peer measured in turn with it says more.

mod abuse;
mod beside;
mod client;
mod collector;
mod columns;
mod floor;
mod footprint;
mod ingest;
mod latency;
mod load;
mod machine;
mod memory;
mod options;
mod peers;
mod query;
mod report;
mod rest;
mod scale;
mod server;
mod steps;
mod traffic;

use std::process::ExitCode;

/// The product's: what is measured beside it must not lose for another allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

type Error = Box<dyn std::error::Error + Send + Sync>;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let result = match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["ingest", rest @ ..] => ingest::run(rest),
        ["footprint", rest @ ..] => footprint::run(rest),
        ["abuse", rest @ ..] => abuse::run(rest),
        ["query", rest @ ..] => query::run(rest),
        ["beside", rest @ ..] => beside::run(rest),
        ["scale", rest @ ..] => scale::run(rest),
        ["dedup"] => memory::dedup(),
        ["steps"] => steps::run(),
        ["floor-server"] => floor::serve(),
        _ => {
            Err("usage: bench ingest | footprint | abuse | query | beside | scale | dedup | steps [--option value]..."
                .into())
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}
