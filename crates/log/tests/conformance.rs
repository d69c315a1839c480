//! The contract of the log, over every backend in this crate.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking, its helpers too")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use eye_log::conformance::{Backend, PROPERTIES, run};
use eye_log::disk::{Disk, OsDisk, sim::SimDisk};
use eye_log::local::{LocalLog, LocalOptions};
use eye_log::memory::MemoryLog;
use eye_log::{PartitionId, SharedLog};

const RECORD_BYTES_MAX: usize = 100_000;

fn options(dir: impl Into<std::path::PathBuf>) -> LocalOptions {
    let mut options = LocalOptions::new(dir, PartitionId(2));
    options.segment_bytes_max = 2000;
    options.record_bytes_max = RECORD_BYTES_MAX;
    options.recent_bytes_max = 3000;
    options.reserve_bytes = 0;
    options
}

/// Runs the contract; each log in a folder of its own, reopened there.
fn run_local(disk: &Arc<dyn Disk>, base: &std::path::Path) {
    let number = AtomicU64::new(0);
    let open = |number: u64| -> SharedLog {
        let dir = base.join(number.to_string());
        Arc::new(LocalLog::open(options(dir), Arc::clone(disk)).unwrap().0)
    };
    run(&Backend {
        fresh: &|| open(number.fetch_add(1, Ordering::Relaxed)),
        reopen: Some(&|old| {
            drop(old);
            open(number.load(Ordering::Relaxed) - 1)
        }),
        record_bytes_max: RECORD_BYTES_MAX,
    });
}

#[test]
fn memory_log_keeps_the_contract() {
    run(&Backend {
        fresh: &|| Arc::new(MemoryLog::with_record_bytes_max(RECORD_BYTES_MAX)),
        reopen: None,
        record_bytes_max: RECORD_BYTES_MAX,
    });
}

#[test]
fn local_log_keeps_the_contract_on_a_simulated_disk() {
    let disk: Arc<dyn Disk> = Arc::new(SimDisk::new());
    run_local(&disk, "log".as_ref());
}

#[test]
fn local_log_keeps_the_contract_on_a_real_disk() {
    let folder = tempfile::tempdir().unwrap();
    let disk: Arc<dyn Disk> = Arc::new(OsDisk);
    run_local(&disk, folder.path());
}

#[test]
fn every_property_has_a_name_of_its_own() {
    let mut names: Vec<_> = PROPERTIES.iter().map(|(name, _)| *name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), PROPERTIES.len());
}
