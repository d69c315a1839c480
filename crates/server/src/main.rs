//! The binary `eye`. Everything is in the library, so that tests can reach its parts.

use std::process::ExitCode;

/// A request makes some dozens of small allocations that another thread frees, which is what this allocator is good at:
/// `docs/benchmarks.md` has what it gained.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const _: () = assert!(!eye_fault::ON, "build eye without the feature faults: eye-faults is the binary that has it");

fn main() -> ExitCode {
    eye_server::run()
}
