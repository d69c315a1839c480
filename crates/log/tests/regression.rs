//! One test for each bug that was found.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking, its helpers too")]

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use eye_log::disk::Disk;
use eye_log::disk::sim::SimDisk;
use eye_log::local::{LocalLog, LocalOptions};
use eye_log::{Log, Offset, PartitionId, append_blocking};

fn open(disk: &SimDisk) -> LocalLog {
    let mut options = LocalOptions::new("log", PartitionId(0));
    options.segment_bytes_max = 1000;
    options.reserve_bytes = 0;
    LocalLog::open(options, Arc::new(disk.clone())).unwrap().0
}

/// The seal went to a new segment without records. The next record did not fit there, and the segment after it would
/// have had the same name: the log was poisoned.
#[test]
fn a_seal_never_begins_a_segment() {
    let disk = SimDisk::new();
    let nearly_full = Bytes::from(vec![1; 1000 - 64 - 48 - 20 - 10]);
    let log = open(&disk);
    append_blocking(&log, nearly_full.clone(), 1).unwrap();
    log.close().unwrap();
    drop(log);
    assert_eq!(disk.list(Path::new("log")).unwrap().len(), 1);
    let log = open(&disk);
    assert_eq!(append_blocking(&log, nearly_full, 1).unwrap(), Offset(2));
    log.close().unwrap();
    assert_eq!(disk.list(Path::new("log")).unwrap().len(), 2);
}

/// A segment that holds seals only takes the next record, however large: its name is taken.
#[test]
fn a_segment_of_seals_takes_a_record_that_exceeds_its_limit() {
    let disk = SimDisk::new();
    let log = open(&disk);
    for offset in 1..4 {
        assert_eq!(append_blocking(&log, Bytes::from(vec![1; 5000]), 1).unwrap(), Offset(offset));
    }
    log.close().unwrap();
    drop(log);
    assert_eq!(open(&disk).end(), Offset(4));
}
