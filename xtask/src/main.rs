//! Developer commands. `cargo xtask` lists them.
//!
//! Only the standard library, so that it builds in a second and nothing has to be there before it.

mod bench;
mod run;
mod test;
mod tools;

use std::process::ExitCode;

const USAGE: &str = "\
usage: cargo xtask <command>

  test                 everything a change must pass; installs what the tests need
  test fmt|clippy|doc|deny|unit
                       one step of it
  bench ingest         ingest beside its floors        [--seconds N] [--runs N] [--folder DIR]
  bench steps          CPU time of each step of the write path
  bench dedup          memory of the dedup window
  bench build          a cold release build: CPU minutes, size of the binary
";

type Error = Box<dyn std::error::Error>;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let result = match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["test", steps @ ..] => test::run(steps),
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
