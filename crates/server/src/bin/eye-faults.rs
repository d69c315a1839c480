//! The binary `eye-faults`: the product with its crash points and sabotages switched on, for the tests that break it.
//! `crates/fault` says how. Never for use: whoever sets its environment decides what it loses.

use std::process::ExitCode;

use eye_fault::{CrashPoint, Sabotage};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    if std::env::args().nth(1).as_deref() == Some("--list-faults") {
        for point in CrashPoint::ALL {
            println!("crash_point {}: {}", point.name(), point.about());
        }
        for bug in Sabotage::ALL {
            println!("sabotage {}: {}", bug.name(), bug.about());
        }
        return ExitCode::SUCCESS;
    }
    eye_server::run()
}
