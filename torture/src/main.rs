//! The command line of the torture: which faults, how many, from which seed.

use std::fs::File;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Mutex;

use torture::machine::FileSystem;
use torture::observe::SecondReader;
use torture::report::Report;
use torture::rig::Ground;
use torture::{Result, modes};

const USAGE: &str = "\
usage: torture [--seed S] [--keep] MODE[=N]...

  kill=N      kill -9 at random moments under load
  cut=N       power cuts, so many on ext4 and as many on XFS
  io=N        the first to the N-th fsync, fdatasync, write, rename, link … fails
  acks=N      the order of writes, syncs and answers in a system-call trace, for N acknowledgements
  full=N      disks that get full and are freed again
  slow=N      syncs that take long
  stop=N      the process stands still for a while
  clock=N     the wall clock jumps
  upkeep=N    kill -9 during compaction, vacuum and erasures, and while days go by
  points      a crash at every named point, and again in recovery
  sabotage    builds with a bug: the oracle must name each
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&arguments) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("torture: {error}");
            ExitCode::from(2)
        }
    }
}

/// True if nothing was violated.
fn run(arguments: &[String]) -> Result<bool> {
    let (mut seed, mut keep, mut wanted) = (1, false, Vec::new());
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--seed" => seed = arguments.next().ok_or("--seed takes a number")?.parse()?,
            "--keep" => keep = true,
            mode => {
                let (name, count) = mode.split_once('=').unwrap_or((mode, ""));
                let count: Option<u64> = if count.is_empty() { None } else { Some(count.parse()?) };
                wanted.push((name, count));
            }
        }
    }
    if wanted.is_empty() {
        print!("{USAGE}");
        return Ok(false);
    }
    let ground = ground(seed, keep)?;
    let (mut is_good, mut reports, mut skipped) = (true, 0, usize::from(ground.second.is_err()));
    for (name, count) in wanted {
        for report in mode(&ground, name, count)? {
            is_good &= report.is_good();
            reports += 1;
            skipped += report.skipped.len();
            println!("{report}");
            for what in &report.skipped {
                list(what)?;
            }
        }
    }
    println!("torture: {reports} reports, {}, {skipped} skipped", if is_good { "0 violations" } else { "VIOLATED" });
    Ok(is_good)
}

fn mode(ground: &Ground, name: &str, count: Option<u64>) -> Result<Vec<Report>> {
    Ok(match name {
        "kill" => vec![modes::kill::run(ground, count.unwrap_or(100))?],
        "cut" => [FileSystem::Ext4, FileSystem::Xfs]
            .into_iter()
            .map(|system| modes::cut::run(ground, system, count.unwrap_or(150)))
            .collect::<Result<_>>()?,
        "io" => vec![modes::io::run(ground, count.unwrap_or(100))?],
        "acks" => vec![modes::acks::run(ground, count.unwrap_or(10_000))?],
        "full" => vec![modes::full::run(ground, count.unwrap_or(16))?],
        "slow" => vec![modes::slow::run(ground, count.unwrap_or(3))?],
        "stop" => vec![modes::stop::run(ground, count.unwrap_or(6))?],
        "clock" => vec![modes::clock::run(ground, count.unwrap_or(20))?],
        "upkeep" => vec![modes::upkeep::run(ground, count.unwrap_or(24))?],
        "points" => vec![modes::points::run(ground)?],
        "sabotage" => vec![modes::sabotage::run(ground)?],
        _ => return Err(format!("there is no mode {name}\n{USAGE}").into()),
    })
}

/// Puts what was skipped on the list of a test run, if this is a part of one (`cargo xtask test`).
fn list(what: &str) -> Result<()> {
    let Some(path) = std::env::var_os("XTASK_SKIPPED") else { return Ok(()) };
    // A line for each: what programs say may have several.
    let line = what.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut file = File::options().create(true).append(true).open(path)?;
    Ok(file.write_all(format!("torture: {line}\n").as_bytes())?)
}

/// The binaries: named by the environment, else those that were built into the same folder as this one.
fn ground(seed: u64, keep: bool) -> Result<Ground> {
    let this = std::env::current_exe()?;
    let built = this.parent().ok_or("this program lies in no folder")?;
    let program = |variable: &str, name: &str| {
        let path = std::env::var_os(variable).map_or_else(|| built.join(name), PathBuf::from);
        path.canonicalize().map_err(|error| format!("{}: {error}", path.display()))
    };
    let second = SecondReader::start().map(Mutex::new).map_err(|error| error.to_string());
    if let Err(why) = &second {
        println!("skipped: the second reader of the table, because {why}");
        list(&format!("the second reader of the table, because {why}"))?;
    }
    Ok(Ground {
        eye: program("TORTURE_EYE", "eye")?,
        eye_faults: program("TORTURE_EYE_FAULTS", "eye-faults").ok(),
        second,
        seed,
        keep,
    })
}
