//! The binary `eye`. Everything is in the library, so that tests can reach its parts.

use std::process::ExitCode;

fn main() -> ExitCode {
    eye_server::run()
}
