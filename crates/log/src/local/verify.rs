//! Checks a log that nobody has open, and changes nothing.

use std::path::{Path, PathBuf};

use super::scan::{Scan, walk};
use crate::disk::Disk;
use crate::error::{Error, Result};
use crate::record::{Offset, PartitionId};

/// A tail that the next opening will cut: what a crash interrupted, never acknowledged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TornTail {
    /// The segment.
    pub segment: PathBuf,
    /// The byte at which it begins.
    pub byte: u64,
    /// Its length.
    pub bytes: u64,
}

/// What a check found: all of it verifies.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VerifyReport {
    /// The partition that the segments name; `None` if there are none.
    pub partition: Option<PartitionId>,
    /// Segment files.
    pub segments: u64,
    /// Records whose checksums hold.
    pub records: u64,
    /// Bytes that verify.
    pub bytes: u64,
    /// The first offset; equal to `end` if there is no record.
    pub start: Offset,
    /// One past the last offset.
    pub end: Offset,
    /// A notice, not an error.
    pub torn_tail: Option<TornTail>,
}

/// Reads every byte of the log in `dir` and verifies it. Reads only. The log must not be open: a write in flight looks
/// like a torn tail.
///
/// # Errors
/// `Corrupt` with file and byte of the first damage; `Io` if something cannot be read.
pub fn verify(dir: &Path, disk: &dyn Disk) -> Result<VerifyReport> {
    let found = walk(disk, dir)?;
    let last = found.segments.last();
    let torn_tail = match &found.unfinished {
        Some(path) => {
            let length = disk.open(path, false).and_then(|file| file.byte_len());
            let bytes = length.map_err(|error| Error::io("measure", path, &error))?;
            Some(TornTail { segment: path.clone(), byte: 0, bytes })
        }
        None => last.filter(|last| last.end < last.tail_end).map(|last| TornTail {
            segment: last.path.clone(),
            byte: last.end,
            bytes: last.tail_end - last.end,
        }),
    };
    Ok(VerifyReport {
        partition: last.map(|last| last.header.partition),
        segments: found.segments.len() as u64 + u64::from(found.unfinished.is_some()),
        records: found.segments.iter().map(|scan| scan.records).sum(),
        bytes: found.segments.iter().map(|scan: &Scan| scan.end).sum(),
        start: found.segments.first().map_or(Offset::FIRST, |scan| scan.header.first),
        end: last.map_or(Offset::FIRST, |scan| scan.next),
        torn_tail,
    })
}
