//! Benchmarks: builds what is measured, then measures.

use std::time::Instant;

use crate::Error;
use crate::run::{cargo, command, run as run_command, target};
use crate::tools;

/// Builds the product and the benchmark, and hands over to it.
pub(crate) fn run(arguments: &[&str]) -> Result<(), Error> {
    cargo(&["build", "--release", "--locked", "--package", "eye-server", "--package", "bench"])?;
    let mut bench = command(target()?.join("release").join("bench"), arguments)?;
    if arguments.contains(&"--peers") {
        match tools::peers_python() {
            Ok(python) => drop(bench.env("BENCH_PYTHON", python)),
            // Those that need it say that they are skipped.
            Err(error) => println!("the Python packages of the peers cannot be installed: {error}"),
        }
    }
    run_command(bench)
}

/// A cold `cargo build --release` in a folder of its own: CPU minutes and the size of the binary.
pub(crate) fn build() -> Result<(), Error> {
    let folder = target()?.join("bench-build");
    // It may not be there.
    let _ = std::fs::remove_dir_all(&folder);
    let before = children_cpu_seconds()?;
    let start = Instant::now();
    let mut build = command(env!("CARGO"), &["build", "--release", "--locked", "--target-dir"])?;
    build.arg(&folder);
    run_command(build)?;
    let (wall, cpu) = (start.elapsed().as_secs_f64(), children_cpu_seconds()? - before);
    let size = std::fs::metadata(folder.join("release").join("eye"))?.len();
    println!("\ncommand: cargo xtask bench build");
    println!("cold release build: {:.1} CPU minutes, {:.1} minutes on the clock", cpu / 60.0, wall / 60.0);
    println!("size of the binary: {:.1} MiB", size as f64 / 1_048_576.0);
    std::fs::remove_dir_all(&folder)?;
    Ok(())
}

/// User and system time of all children that have ended, from /proc (100 ticks a second on Linux).
fn children_cpu_seconds() -> Result<f64, Error> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |index: usize| fields.get(index).and_then(|field| field.parse::<f64>().ok()).unwrap_or_default();
    Ok((ticks(13) + ticks(14)) / 100.0)
}
