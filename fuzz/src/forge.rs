//! Segments of a log, written from `docs/log-format.md` and not with the code under test; and the log opened on a
//! simulated disk that holds them.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use crc32c::{crc32c, crc32c_append};
use eye_log::disk::sim::SimDisk;
use eye_log::local::{LocalLog, LocalOptions, RecoveryReport, verify};
use eye_log::{Error, ErrorKind, Log, Offset, PartitionId, Record, append_blocking};

use crate::memory::within;

pub(crate) const DIR: &str = "log";
pub(crate) const LOG_ID: [u8; 16] = *b"0123456789abcdef";
pub(crate) const PARTITION: u16 = 5;

/// What is written on purpose otherwise than the document says: added to the right value of a field.
#[derive(Clone, Copy, Debug, Default, arbitrary::Arbitrary)]
pub(crate) struct Twist {
    pub(crate) position: i8,
    pub(crate) watermark: i8,
    pub(crate) first: i8,
    pub(crate) body_bytes: i8,
    pub(crate) records: i8,
    pub(crate) chain: i8,
    pub(crate) crc: i8,
}

/// Writes segments one after another, as a log would.
pub(crate) struct Forge {
    pub(crate) bytes: Vec<u8>,
    salt_crc: u32,
    pub(crate) next: u64,
    chain: u32,
}

impl Forge {
    /// The header of a segment that begins with the offset `first`.
    pub(crate) fn new(salt: u64, first: u64, chain_before: u32, version: u32) -> Self {
        let mut bytes = Vec::with_capacity(4096);
        bytes.extend_from_slice(b"EYE-LOG\n");
        bytes.extend_from_slice(&version.to_le_bytes());
        bytes.extend_from_slice(&PARTITION.to_le_bytes());
        bytes.extend_from_slice(&[0; 2]);
        bytes.extend_from_slice(&LOG_ID);
        bytes.extend_from_slice(&salt.to_le_bytes());
        bytes.extend_from_slice(&first.to_le_bytes());
        bytes.extend_from_slice(&chain_before.to_le_bytes());
        bytes.extend_from_slice(&[0; 8]);
        bytes.extend_from_slice(&crc32c(&bytes).to_le_bytes());
        let chain = crc32c(&bytes);
        Self { bytes, salt_crc: crc32c(&salt.to_le_bytes()), next: first, chain }
    }

    /// The segment after this one, empty.
    pub(crate) fn following(&self, salt: u64) -> Self {
        Self::new(salt, self.next, self.chain, 1)
    }

    /// One group: of each record its offsets, and its payload.
    pub(crate) fn group(&mut self, records: &[(u32, Bytes)], twist: Twist) {
        let start = self.bytes.len();
        let body_bytes: usize = records.iter().map(|(_, payload)| 20 + payload.len()).sum();
        let mut header = Vec::with_capacity(48);
        header.extend_from_slice(b"EGRP\0\0\0\0");
        let position = (start as u64).wrapping_add_signed(twist.position.into());
        header.extend_from_slice(&position.to_le_bytes());
        header.extend_from_slice(&(start as u64).wrapping_add_signed(twist.watermark.into()).to_le_bytes());
        header.extend_from_slice(&self.next.wrapping_add_signed(twist.first.into()).to_le_bytes());
        header.extend_from_slice(&(body_bytes as u32).wrapping_add_signed(twist.body_bytes.into()).to_le_bytes());
        header.extend_from_slice(&(records.len() as u32).wrapping_add_signed(twist.records.into()).to_le_bytes());
        header.extend_from_slice(&self.chain.wrapping_add_signed(twist.chain.into()).to_le_bytes());
        header.extend_from_slice(&[0; 4]);
        let crc = crc32c_append(self.salt_crc, &header[8..]).wrapping_add_signed(twist.crc.into());
        header[4..8].copy_from_slice(&crc.to_le_bytes());
        self.chain = crc32c(&header);
        self.bytes.extend_from_slice(&header);
        for (count, payload) in records {
            self.record(*count, payload, 0);
        }
    }

    /// One record, wherever the segment ends now. `lie` is added to its length.
    pub(crate) fn record(&mut self, count: u32, payload: &[u8], lie: i32) {
        let mut head = Vec::with_capacity(20);
        head.extend_from_slice(&(payload.len() as u32).wrapping_add_signed(lie).to_le_bytes());
        head.extend_from_slice(&count.to_le_bytes());
        head.extend_from_slice(&self.next.to_le_bytes());
        let crc = crc32c_append(crc32c_append(self.salt_crc, &head), payload);
        head.extend_from_slice(&crc.to_le_bytes());
        self.bytes.extend_from_slice(&head);
        self.bytes.extend_from_slice(payload);
        self.chain = crc32c_append(self.chain, &crc.to_le_bytes());
        self.next = self.next.saturating_add(count.into());
    }
}

/// Puts a segment on the disk under the name of its first offset.
pub(crate) fn put(disk: &SimDisk, first: u64, bytes: Vec<u8>) {
    disk.put(&Path::new(DIR).join(format!("{first:020}.seg")), bytes);
}

/// What may be needed to read what lies on the disk, whatever it says of its own lengths: a part of a file more than once,
/// and for each segment and record what is known of it.
fn memory_max(disk: &SimDisk) -> usize {
    64 * 1024 + 64 * disk.used_bytes() as usize
}

/// Opens the log, reads all of it from its files.
fn open(disk: &SimDisk) -> Result<(LocalLog, RecoveryReport, Vec<Record>), Error> {
    let mut options = LocalOptions::new(DIR, PartitionId(PARTITION));
    options.segment_bytes_max = 4096;
    options.reserve_bytes = 0;
    options.recent_bytes_max = 0;
    options.salt_seed = Some(7);
    let (log, report, records) = within(memory_max(disk), || {
        let (log, report) = LocalLog::open(options, Arc::new(disk.clone()))?;
        let records = log.read(log.start(), usize::MAX).expect("what was verified can be read");
        Ok::<_, Error>((log, report, records))
    })?;
    check(&log, &report, &records);
    Ok((log, report, records))
}

/// What is read is whole and without a gap, and the report says so.
fn check(log: &LocalLog, report: &RecoveryReport, records: &[Record]) {
    let mut next = log.start();
    for record in records {
        assert_eq!(record.offset, next, "an offset is missing or there twice");
        assert!(record.count > 0);
        next = record.next();
    }
    assert_eq!(next, log.end());
    assert_eq!((report.start, report.end, report.records), (log.start(), log.end(), records.len() as u64));
    // Offsets that near their end saturate: no log lives so long.
    let readable = if next.0 < u64::MAX / 2 { 20 } else { 0 };
    for record in records.iter().take(readable) {
        let from = Offset(record.offset.0 + u64::from(record.count) - 1);
        assert_eq!(log.read(from, 1).expect("a durable offset can be read")[0], *record);
    }
}

/// Opens what lies on the disk, twice, with a crash between, an append and a clean close. What was read once stays.
/// `None` if the damage was named; anything but `Corrupt` is a bug.
pub(crate) fn survive(disk: &SimDisk, seed: u64) -> Option<Vec<Record>> {
    let (log, _, before) = match open(disk) {
        Ok(opened) => opened,
        Err(error) => {
            assert!(matches!(error.kind(), ErrorKind::Corrupt { .. }), "{error}");
            let verified = within(memory_max(disk), || verify(Path::new(DIR), disk));
            let is_missed = verified.is_ok() && !error.to_string().contains("to partition");
            assert!(!is_missed, "the checker sees less than the log: {error}");
            return None;
        }
    };
    disk.crash(seed);
    drop(log);
    let (log, report, again) = open(disk).expect("what was opened once can be opened after a crash");
    assert_eq!(again, before, "a crash after opening changed the log");
    assert!(report.cuts.is_empty(), "what opening left was not durable: {report:?}");
    if log.end().0 > u64::MAX / 2 {
        return Some(before);
    }
    let end = log.end();
    assert_eq!(append_blocking(&log, Bytes::from_static(b"one more"), 3).expect("it takes records"), end);
    log.close().expect("it closes");
    drop(log);
    let found = verify(Path::new(DIR), disk).expect("a closed log verifies");
    assert_eq!((found.records, found.torn_tail), (before.len() as u64 + 1, None));
    let (_, report, again) = open(disk).expect("a closed log opens");
    assert!(report.clean);
    assert_eq!(again[..before.len()], before[..]);
    Some(before)
}
