//! Developer commands. `cargo xtask` lists them.
//!
//! Only the standard library, so that it builds in a second and nothing has to be there before it.

mod bench;
mod fuzz;
mod mutants;
mod run;
mod sim;
mod skipped;
mod test;
mod tools;
mod torture;

use std::process::ExitCode;

const USAGE: &str = "\
usage: cargo xtask <command>

  test                 everything a change must pass; installs what the tests need, tells what was skipped
  test fmt|clippy|doc|deny|unit|run|fuzz|torture
                       one step of it
  fuzz                 what reads strangers' bytes, on bytes that coverage guides
                       [--seconds N] [--replay: the kept corpus only | --keep: what was found too] [target…]
  sim                  seeded simulation of a whole node under faults
                       --seeds N [--from S] [--steps K] [--seconds T] | --seed S [--steps K] [--trace]
                       --sabotage: with bugs, of which each must be noticed
  torture              kills, power cuts, failing calls and more against the real binary, judged by one oracle
                       [--seed S] [--keep] [--kill N] [--cut N] [--io N] [--acks N] [--full N] [--slow N] [--stop N]
                       [--clock N] [--upkeep N] [--points] [--sabotage]; without any of them, the slice of a test run
  mutants              bugs put in one by one, which the tests must notice   [log|registry|store|auth…] [--only TEXT]
  bench ingest         ingest beside its floors, and latency   [--seconds N] [--runs N] [--folder DIR]
                       --peers: beside Django, PostgreSQL and ClickHouse's engine too
                       --only single|seed|batches|catalogue|latency|steps
  bench footprint      memory, start-up, bytes on disk         [--minutes N] [--events N] [--log-mib N] [--folder DIR]
                       --only idle|dedup|top|top-few-ids|stored|crash
  bench query          questions beside DuckDB, ClickHouse's engine and PostgreSQL, answers compared
                       [--peers] [--events N] [--runs N] [--only QUESTION,…] [--no-compaction] [--fresh] [--folder DIR]
                       what was loaded is kept in the folder; --fresh loads it anew, of the peers only with --peers
  bench beside         acknowledgements of single events while a long question is asked again and again
                       [--events N] [--rate N] [--seconds N] [--runs N]
                       --only hours,funnel,sql,runaway-time,runaway-spill
  bench scale          ingest, sessions, start-up, memory and files as the store grows, as far as the disk has room
                       [--millions 1,10,100] [--folder DIR]
  bench abuse          good clients beside idle sockets, bombs and ten times overload  [--seconds N] [--folder DIR]
  bench steps          CPU time of each step of the write path
  bench dedup          memory of the dedup window
  bench build          a cold release build: CPU minutes, size of the binary
";

type Error = Box<dyn std::error::Error>;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let result = match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["test", steps @ ..] => test::run(steps),
        ["fuzz", rest @ ..] => fuzz::run(rest),
        ["sim", rest @ ..] => sim::run(rest),
        ["mutants", rest @ ..] => mutants::run(rest),
        ["torture", rest @ ..] => torture::run(rest),
        ["bench", "build"] => bench::build(),
        ["bench", rest @ ..] if !rest.is_empty() => bench::run(rest),
        _ => {
            print!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error}");
            ExitCode::FAILURE
        }
    }
}
