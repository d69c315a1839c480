//! One segment file: its name, its handle, how far it is durable, and where in it an offset begins.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use eye_fault::{CrashPoint, Sabotage, crash_point, sabotaged};
use parking_lot::RwLock;

use super::format::{GROUP_HEADER_BYTES, LogId, SEGMENT_HEADER_BYTES, Salt, SegmentHeader, record_bytes};
use crate::disk::{Disk, DiskFile, LockedFolder, is_full, is_out_of_descriptors};
use crate::record::{Offset, PartitionId, Record};

/// One mark in the index for about this many bytes.
const INDEX_STEP_BYTES: u64 = 64 * 1024;

/// A segment as readers see it.
pub(super) struct Segment {
    pub(super) path: PathBuf,
    pub(super) first: Offset,
    pub(super) salt: Salt,
    pub(super) file: Arc<dyn DiskFile>,
    /// Readers go up to here; moved after the callbacks of what lies below.
    durable_bytes: AtomicU64,
    index: RwLock<Index>,
}

impl Segment {
    pub(super) fn new(
        path: PathBuf,
        header: &SegmentHeader,
        file: Arc<dyn DiskFile>,
        durable_bytes: u64,
        index: Index,
    ) -> Self {
        let durable_bytes = AtomicU64::new(durable_bytes);
        Self { path, first: header.first, salt: header.salt, file, durable_bytes, index: RwLock::new(index) }
    }

    pub(super) fn durable_bytes(&self) -> u64 {
        self.durable_bytes.load(Ordering::Acquire)
    }

    /// Lets readers see what lies below `durable_bytes`. The group of these records begins at `position`.
    pub(super) fn publish(&self, position: u64, records: &[Record], durable_bytes: u64) {
        let mut index = self.index.write();
        let mut position = position + GROUP_HEADER_BYTES as u64;
        for record in records {
            index.note(record.offset, position);
            position += record_bytes(record.payload.len()) as u64;
        }
        drop(index);
        self.durable_bytes.store(durable_bytes, Ordering::Release);
    }

    /// An offset and the byte at which its record, or the group before it, begins: at or before the record that holds `offset`.
    pub(super) fn seek(&self, offset: Offset) -> (Offset, u64) {
        self.index.read().seek(offset).unwrap_or((self.first, SEGMENT_HEADER_BYTES as u64))
    }
}

/// Where some of the records of a segment begin, in order.
#[derive(Clone, Debug, Default)]
pub(super) struct Index(Vec<(Offset, u64)>);

impl Index {
    /// Remembers this place if the last one is far enough behind.
    pub(super) fn note(&mut self, offset: Offset, position: u64) {
        let last = self.0.last().map_or(0, |(_, position)| *position);
        if position >= last + INDEX_STEP_BYTES {
            self.0.push((offset, position));
        }
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Forgets all but the first `marks`.
    pub(super) fn truncate(&mut self, marks: usize) {
        self.0.truncate(marks);
    }

    fn seek(&self, offset: Offset) -> Option<(Offset, u64)> {
        let after = self.0.partition_point(|(first, _)| *first <= offset);
        self.0.get(after.checked_sub(1)?).copied()
    }
}

/// Why a write did not happen.
#[derive(Debug)]
pub(super) enum Failure {
    /// The disk is full, or no file descriptor is left, and everything is as it was before.
    Passing(io::Error),
    /// Anything else: what is on the disk is unknown.
    Broken(io::Error),
}

/// Creates a segment. When this returns, its header and its name are durable.
pub(super) fn create(
    disk: &dyn Disk,
    folder: &dyn LockedFolder,
    dir: &Path,
    header: &SegmentHeader,
) -> Result<(PathBuf, Arc<dyn DiskFile>), Failure> {
    let path = dir.join(name(header.first));
    let file = match disk.create(&path) {
        Ok(file) => file,
        Err(error) if is_full(&error) || is_out_of_descriptors(&error) => return Err(Failure::Passing(error)),
        Err(error) => return Err(Failure::Broken(error)),
    };
    crash_point(CrashPoint::SegmentCreated);
    match file.write_all_at(&header.encode(), 0) {
        Ok(()) => crash_point(CrashPoint::SegmentWritten),
        Err(error) if is_full(&error) => {
            disk.remove(&path).and_then(|()| folder.sync()).map_err(Failure::Broken)?;
            return Err(Failure::Passing(error));
        }
        Err(error) => return Err(Failure::Broken(error)),
    }
    file.sync_data().map_err(Failure::Broken)?;
    crash_point(CrashPoint::SegmentSynced);
    if !sabotaged(Sabotage::SkipSegmentFolderSync) {
        folder.sync().map_err(Failure::Broken)?;
    }
    crash_point(CrashPoint::SegmentNamed);
    Ok((path, file))
}

/// The name of the segment that begins with this offset.
pub(super) fn name(first: Offset) -> String {
    format!("{:020}.seg", first.0)
}

/// The offset in a segment's name; `None` for other files.
pub(super) fn first_of(name: &str) -> Option<Offset> {
    let digits = name.strip_suffix(".seg").filter(|digits| digits.len() == 20)?;
    digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok().map(Offset))?
}

/// The segments in a folder, in order.
pub(super) fn list(disk: &dyn Disk, dir: &Path) -> io::Result<Vec<(Offset, PathBuf)>> {
    let names = disk.list(dir)?;
    let mut found: Vec<_> = names.iter().filter_map(|name| Some((first_of(name)?, dir.join(name)))).collect();
    found.sort();
    Ok(found)
}

/// Which log this is, and where its salts come from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Identity {
    pub(super) log_id: LogId,
    pub(super) partition: PartitionId,
    pub(super) seed: Option<u64>,
}

impl Identity {
    /// Of a log that does not exist yet.
    pub(super) fn new(partition: PartitionId, seed: Option<u64>) -> Self {
        let id = seed.map_or_else(rand::random, |seed| {
            u128::from(mix(seed)) | u128::from(mix(seed ^ u64::from(partition.0))) << 64
        });
        Self { log_id: id.to_le_bytes(), partition, seed }
    }

    /// The header of a new segment.
    pub(super) fn header(&self, first: Offset, chain_before: u32) -> SegmentHeader {
        let salt = self.seed.map_or_else(rand::random, |seed| mix(seed.wrapping_add(first.0)));
        let Self { log_id, partition, .. } = *self;
        SegmentHeader { log_id, partition, salt: Salt::new(salt), first, chain_before }
    }
}

/// SplitMix64: spreads a seed over all bits, the same on every machine and version.
fn mix(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_hold_the_first_offset_and_sort() {
        assert_eq!(name(Offset(57)), "00000000000000000057.seg");
        assert_eq!(first_of(&name(Offset(57))), Some(Offset(57)));
        for other in
            ["57.seg", "00000000000000000057.seg.cut-9", "0000000000000000005x.seg", "+0000000000000000057.seg"]
        {
            assert_eq!(first_of(other), None, "{other}");
        }
    }

    #[test]
    fn index_finds_the_mark_before() {
        let mut index = Index::default();
        for (offset, position) in [(1, 64), (10, 70_000), (11, 70_100), (30, 200_000)] {
            index.note(Offset(offset), position);
        }
        assert_eq!(index.seek(Offset(9)), None);
        assert_eq!(index.seek(Offset(29)), Some((Offset(10), 70_000)));
        assert_eq!(index.seek(Offset(30)), Some((Offset(30), 200_000)));
    }

    /// The published numbers of SplitMix64, seed 0: logs made from a seed look the same for ever.
    #[test]
    fn a_seed_gives_the_same_numbers_everywhere() {
        assert_eq!(mix(0), 0xe220_a839_7b1d_cdaf);
        assert_eq!(mix(0x9e37_79b9_7f4a_7c15), 0x6e78_9e6a_a1b9_65f4);
        assert_eq!(mix(0x3c6e_f372_fe94_f82a), 0x06c4_5d18_8009_454f);
    }
}
