//! Reads segments from end to end and judges what does not verify. Read only: recovery and the checker share it.
//!
//! A group is written only after everything before it is durable. So of all groups only the very last one of the
//! newest segment can have been torn by a crash; anything else that does not verify is damage. In that last group:
//!
//! * a valid group later in the file: damage, it could not have been written otherwise;
//! * a valid record later in the group: damage, unless a whole sector between reads as zeros, as a write leaves it
//!   that never reached the disk (sectors reach it in any order);
//! * nothing valid after it: a torn tail.
//!
//! Zeros to the end of the newest segment are neither: they are room that was made for the next groups.

use std::path::{Path, PathBuf};

use eye_fault::{Sabotage, sabotaged};

use super::format::{
    GROUP_HEADER_BYTES, GROUP_MAGIC, GroupHeader, HeaderFault, RECORD_HEADER_BYTES, RecordHeader, SEGMENT_HEADER_BYTES,
    SegmentHeader, VERSION, chain_after, chain_of,
};
use super::segment::{self, Index};
use crate::disk::{Disk, DiskFile, read_all};
use crate::error::{Error, Result};
use crate::record::Offset;

/// The least a disk loses at once.
const SECTOR_BYTES: usize = 512;
/// How much is checksummed at most in search of a valid record in a torn tail, so that no payload can slow it down.
const SEARCH_BYTES_MAX: usize = 256 * 1024 * 1024;

/// What was found in one segment.
pub(super) struct Scan {
    pub(super) path: PathBuf,
    pub(super) header: SegmentHeader,
    /// Everything below verifies.
    pub(super) end: u64,
    /// Length of the file; more than `end` if the tail is torn, or if room was made for groups that never came.
    pub(super) file_bytes: u64,
    /// The byte after the last one that is not zero; more than `end` if the tail is torn.
    pub(super) tail_end: u64,
    /// The offset after the last record.
    pub(super) next: Offset,
    pub(super) chain: u32,
    pub(super) records: u64,
    /// Where the last group begins, and whether it is empty.
    pub(super) last_group: Option<(u64, bool)>,
    pub(super) index: Index,
}

/// What was found in a folder.
#[derive(Default)]
pub(super) struct Walk {
    pub(super) segments: Vec<Scan>,
    /// A newest segment whose creation a crash interrupted: it holds no records.
    pub(super) unfinished: Option<PathBuf>,
}

/// Verifies every segment in the folder and that they follow each other.
pub(super) fn walk(disk: &dyn Disk, dir: &Path) -> Result<Walk> {
    let mut paths = segment::list(disk, dir).map_err(|error| Error::io("list", dir, &error))?;
    let unfinished = take_unfinished(disk, &mut paths)?;
    let mut segments: Vec<Scan> = Vec::with_capacity(paths.len());
    let count = paths.len();
    for (index, (first, path)) in paths.into_iter().enumerate() {
        let may_be_torn = index + 1 == count && unfinished.is_none();
        let file = open(disk, &path)?;
        let bytes = read_all(&*file).map_err(|error| Error::io("read", &path, &error))?;
        let header = check_header(&bytes, &path, first)?;
        if let Some(before) = segments.last() {
            check_order(before, &header, &path)?;
        }
        segments.push(scan(&bytes, path, header, may_be_torn)?);
    }
    Ok(Walk { segments, unfinished })
}

/// Opens a file that exists.
fn open(disk: &dyn Disk, path: &Path) -> Result<std::sync::Arc<dyn DiskFile>> {
    disk.open(path, false).map_err(|error| Error::io("open", path, &error))
}

/// Takes the newest segment off the list if it has not even a whole header.
fn take_unfinished(disk: &dyn Disk, paths: &mut Vec<(Offset, PathBuf)>) -> Result<Option<PathBuf>> {
    let Some((first, path)) = paths.last() else { return Ok(None) };
    let file = open(disk, path)?;
    let length = file.byte_len().map_err(|error| Error::io("measure", path, &error))?;
    if length > SEGMENT_HEADER_BYTES as u64 {
        return Ok(None);
    }
    let bytes = read_all(&*file).map_err(|error| Error::io("read", path, &error))?;
    match SegmentHeader::decode(&bytes) {
        Ok(_) | Err(HeaderFault::Version(_)) => Ok(None),
        // Others are only removed once this one is complete, so it was: continuing without it would reuse offsets.
        Err(_) if paths.len() == 1 && *first != Offset::FIRST => {
            Err(Error::corrupt(path, 0, "the header of the only segment does not verify"))
        }
        Err(_) => Ok(paths.pop().map(|(_, path)| path)),
    }
}

fn check_header(bytes: &[u8], path: &Path, first: Offset) -> Result<SegmentHeader> {
    let header = SegmentHeader::decode(bytes).map_err(|fault| match fault {
        HeaderFault::Short => Error::corrupt(path, 0, "the segment header is cut short"),
        HeaderFault::Magic => Error::corrupt(path, 0, "this is not a segment of a log"),
        HeaderFault::Checksum => Error::corrupt(path, 0, "the checksum of the segment header does not match"),
        HeaderFault::Version(version) => Error::corrupt(
            path,
            8,
            format!("format version {version} is unknown, this program reads {VERSION}: use a newer program"),
        ),
    })?;
    if header.first == first {
        return Ok(header);
    }
    let what = format!("the header says that it begins with offset {}, the name says {first}", header.first);
    Err(Error::corrupt(path, 40, what))
}

fn check_order(before: &Scan, header: &SegmentHeader, path: &Path) -> Result<()> {
    if header.log_id != before.header.log_id {
        return Err(Error::corrupt(path, 16, "this segment belongs to another log"));
    }
    if header.partition != before.header.partition {
        return Err(Error::corrupt(path, 12, "this segment belongs to another partition"));
    }
    if header.first == before.next && header.chain_before == before.chain {
        return Ok(());
    }
    let what = format!(
        "it ends before offset {}, the next segment begins with {}: its end, or a segment between, is missing",
        before.next, header.first
    );
    Err(Error::corrupt(&before.path, before.end, what))
}

/// Where a group stopped verifying.
struct Bad {
    byte: usize,
    /// The offset that was expected there.
    next: Offset,
    what: &'static str,
}

/// Verifies one segment.
fn scan(bytes: &[u8], path: PathBuf, header: SegmentHeader, may_be_torn: bool) -> Result<Scan> {
    let mut found = Scan {
        path,
        end: SEGMENT_HEADER_BYTES as u64,
        file_bytes: bytes.len() as u64,
        // Only the newest segment has room behind its last group.
        tail_end: if may_be_torn { written_end(bytes) } else { bytes.len() } as u64,
        next: header.first,
        chain: header.chain(),
        header,
        records: 0,
        last_group: None,
        index: Index::default(),
    };
    while found.end < found.tail_end {
        let (group, marks) = (found.end as usize, found.index.len());
        let Err(bad) = take_group(bytes, &mut found) else { continue };
        found.index.truncate(marks);
        let what = if may_be_torn { damage(bytes, group, &bad, &found.header) } else { Some(bad.what) };
        match what {
            Some(what) if !sabotaged(Sabotage::CutDamage) => {
                return Err(Error::corrupt(&found.path, bad.byte as u64, what));
            }
            _ => break,
        }
    }
    Ok(found)
}

/// The byte after the last one that is not zero.
pub(super) fn written_end(bytes: &[u8]) -> usize {
    bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1)
}

/// Verifies the group at `found.end` and moves past it.
fn take_group(bytes: &[u8], found: &mut Scan) -> std::result::Result<(), Bad> {
    let (salt, start) = (found.header.salt, found.end as usize);
    let bad = |byte, next, what| Err(Bad { byte, next, what });
    let Some(group) = GroupHeader::decode(&bytes[start..], salt) else {
        return bad(start, found.next, "the checksum of the group header does not match");
    };
    let continues = group.position == found.end
        && group.watermark <= found.end
        && group.first == found.next
        && group.chain_before == found.chain;
    if !continues {
        return bad(start, found.next, "the group does not continue the one before");
    }
    let mut at = start + GROUP_HEADER_BYTES;
    let end = at + group.body_bytes as usize;
    let mut next = group.first;
    let mut chain = chain_of(&bytes[start..at]);
    for _ in 0..group.records {
        let record = bytes.get(at..).and_then(RecordHeader::decode);
        let Some(record) = record.filter(|record| record.offset == next && record.verifies(&bytes[at..], salt)) else {
            return bad(at.min(bytes.len()), next, "the checksum of the record does not match");
        };
        found.index.note(next, at as u64);
        chain = chain_after(chain, record.crc);
        next = next.plus(u64::from(record.count));
        at += record.bytes();
    }
    if at != end {
        return bad(start, found.next, "the records do not fill the group");
    }
    found.last_group = Some((found.end, group.records == 0));
    found.records += u64::from(group.records);
    (found.end, found.next, found.chain) = (end as u64, next, chain);
    Ok(())
}

/// Why what does not verify in the last group is damage; `None` if it is a torn tail.
fn damage(bytes: &[u8], group: usize, bad: &Bad, header: &SegmentHeader) -> Option<&'static str> {
    if later_group(bytes, group + 1, header) {
        return Some("it does not verify, and groups written after it do");
    }
    let record = later_record(bytes, bad, header)?;
    (!lost_sector(bytes, group, bad.byte, record)).then_some("it does not verify, and records after it do")
}

fn later_group(bytes: &[u8], from: usize, header: &SegmentHeader) -> bool {
    let tail = bytes.get(from..).unwrap_or_default();
    tail.windows(GROUP_HEADER_BYTES).enumerate().filter(|(_, window)| window[..4] == GROUP_MAGIC).any(|(at, window)| {
        GroupHeader::decode(window, header.salt).is_some_and(|group| group.position == (from + at) as u64)
    })
}

/// Where the next valid record after the bad place begins.
fn later_record(bytes: &[u8], bad: &Bad, header: &SegmentHeader) -> Option<usize> {
    let mut budget = SEARCH_BYTES_MAX;
    for at in bad.byte + 1..bytes.len().saturating_sub(RECORD_HEADER_BYTES - 1) {
        let rest = &bytes[at..];
        let record = RecordHeader::decode(rest)?;
        let plausible = record.bytes() <= rest.len()
            && record.offset >= bad.next
            && record.offset.0 - bad.next.0 <= u64::from(u32::MAX) * bytes.len() as u64;
        if !plausible {
            continue;
        }
        if record.verifies(rest, header.salt) {
            return Some(at);
        }
        budget = budget.checked_sub(record.bytes())?;
    }
    None
}

/// True if between the bad place and the valid record a whole sector of the group is zero.
fn lost_sector(bytes: &[u8], group: usize, bad: usize, record: usize) -> bool {
    let mut sector = bad / SECTOR_BYTES * SECTOR_BYTES;
    while sector + SECTOR_BYTES <= record {
        let mine = &bytes[sector.max(group)..sector + SECTOR_BYTES];
        if mine.iter().all(|byte| *byte == 0) {
            return true;
        }
        sector += SECTOR_BYTES;
    }
    false
}

#[cfg(test)]
mod tests {
    use super::super::format::{Salt, put_record};
    use super::*;
    use crate::error::ErrorKind;
    use crate::record::PartitionId;

    /// A segment as it grows.
    struct Growing {
        header: SegmentHeader,
        bytes: Vec<u8>,
        next: Offset,
        chain: u32,
    }

    impl Growing {
        fn from(first: u64) -> Self {
            let header = SegmentHeader {
                log_id: *b"0123456789abcdef",
                partition: PartitionId(1),
                salt: Salt::new(7),
                first: Offset(first),
                chain_before: 0,
            };
            Self { bytes: header.encode().to_vec(), next: header.first, chain: header.chain(), header }
        }

        /// Adds a group of records of these counts and payloads, with a changed header. Where it and its records begin.
        fn add(&mut self, records: &[(u32, &[u8])], change: impl FnOnce(&mut GroupHeader)) -> (usize, Vec<usize>) {
            let start = self.bytes.len();
            let (mut body, mut places, mut checksums) = (Vec::new(), Vec::new(), Vec::new());
            let first = self.next;
            for (count, payload) in records {
                places.push(start + GROUP_HEADER_BYTES + body.len());
                checksums.push(put_record(&mut body, self.header.salt, self.next, *count, payload));
                self.next = self.next.plus(u64::from(*count));
            }
            let mut group = GroupHeader {
                position: start as u64,
                watermark: start as u64,
                first,
                body_bytes: body.len() as u32,
                records: records.len() as u32,
                chain_before: self.chain,
            };
            change(&mut group);
            let head = group.encode(self.header.salt);
            self.chain = checksums.into_iter().fold(chain_of(&head), chain_after);
            self.bytes.extend(head);
            self.bytes.extend(body);
            (start, places)
        }

        fn scan(&self, may_be_torn: bool) -> Result<Scan> {
            scan(&self.bytes, PathBuf::from("segment"), self.header.clone(), may_be_torn)
        }

        /// Where the newest segment of a log is damaged; `None` if its end only looks torn.
        fn damage(&self) -> Option<u64> {
            match self.scan(true).map_err(|error| error.kind().clone()) {
                Ok(_) => None,
                Err(ErrorKind::Corrupt { byte, .. }) => Some(byte),
                Err(other) => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn a_group_that_does_not_continue_the_one_before_is_damage() {
        type Change = fn(&mut GroupHeader);
        let changes: [(&str, Change); 5] = [
            ("nothing", |_| {}),
            ("position", |group| group.position += 1),
            ("watermark", |group| group.watermark += 1),
            ("first", |group| group.first.0 += 1),
            ("chain", |group| group.chain_before ^= 1),
        ];
        for (what, change) in changes {
            let mut segment = Growing::from(1);
            segment.add(&[(1, b"one")], |_| {});
            let (start, _) = segment.add(&[(1, b"two")], change);
            match segment.scan(false).map_err(|error| error.kind().clone()) {
                Ok(found) => assert_eq!((what, found.records), ("nothing", 2)),
                Err(ErrorKind::Corrupt { byte, .. }) => assert_ne!((what, byte), ("nothing", start as u64)),
                Err(other) => panic!("{what}: {other:?}"),
            }
        }
    }

    #[test]
    fn an_empty_record_at_the_very_end_shows_that_the_one_before_it_is_damaged() {
        let mut segment = Growing::from(1);
        let (_, records) = segment.add(&[(1, b"one"), (1, b"")], |_| {});
        segment.bytes[records[0] + RECORD_HEADER_BYTES] ^= 1;
        assert_eq!(segment.damage(), Some(records[0] as u64));
        segment.bytes.pop();
        assert_eq!(segment.damage(), None);
    }

    #[test]
    fn a_record_shows_damage_before_it_however_many_offsets_lie_between() {
        let mut segment = Growing::from(1 << 60);
        let (_, records) = segment.add(&[(u32::MAX, b"one"), (u32::MAX, b"two"), (1, b"three")], |_| {});
        for record in &records[..2] {
            segment.bytes[record + RECORD_HEADER_BYTES] ^= 1;
        }
        assert_eq!(segment.damage(), Some(records[0] as u64));
    }

    /// Its payload holds what could be the header of a record of two mebibytes.
    #[test]
    fn a_payload_that_looks_like_a_record_does_not_hide_the_valid_one_behind_it() {
        const SIZE: u32 = 2 * 1024 * 1024;
        let mut payload = vec![1; SIZE as usize + RECORD_HEADER_BYTES];
        payload[0..4].copy_from_slice(&SIZE.to_le_bytes());
        payload[4..8].copy_from_slice(&1_u32.to_le_bytes());
        payload[8..16].copy_from_slice(&2_u64.to_le_bytes());
        let mut segment = Growing::from(1);
        let (_, records) = segment.add(&[(1, &payload), (1, b"valid")], |_| {});
        segment.bytes[records[1] - 1] ^= 1;
        assert_eq!(segment.damage(), Some(records[0] as u64));
    }

    #[test]
    fn only_a_whole_sector_of_zeros_between_the_bad_place_and_the_record_was_lost() {
        let lost = |zeros: std::ops::Range<usize>, group, bad, record| {
            let mut bytes = vec![1; 4 * SECTOR_BYTES];
            bytes[zeros].fill(0);
            lost_sector(&bytes, group, bad, record)
        };
        assert!(!lost(0..0, 100, 700, 2000));
        assert!(lost(1024..1536, 100, 700, 2000));
        assert!(!lost(1025..1537, 100, 700, 2000), "no whole sector");
        assert!(lost(512..1024, 100, 700, 2000), "the sector of the bad place");
        assert!(!lost(0..512, 100, 700, 2000), "before the bad place");
        assert!(!lost(1536..2000, 100, 700, 2000), "the record begins in it");
        assert!(lost(1536..2048, 100, 700, 2048));
        assert!(lost(600..1024, 600, 650, 2000), "what lies before the group does not count");
        assert!(!lost(600..1024, 599, 650, 2000));
    }
}
