//! The bytes of a segment, and nothing else: no files, no locks.
//!
//! ```text
//! segment = segment header (64) , group*
//! group   = group header (48) , record*
//! record  = record header (20) , payload
//! ```
//!
//! All numbers are little endian. Every checksum of a segment is CRC32C and begins with the segment's salt, so that
//! bytes of another segment, left over on the disk, never verify. `docs/log-format.md` describes each byte and holds
//! test vectors; a test here compares them. What is written by version 1 stays readable: change nothing here without
//! a new [`VERSION`].

use crc32c::{crc32c, crc32c_append};

use crate::record::{Offset, PartitionId};

/// The format version that is written.
pub(super) const VERSION: u32 = 1;
/// The first bytes of a segment.
pub(super) const SEGMENT_MAGIC: [u8; 8] = *b"EYE-LOG\n";
/// The first bytes of a group. Read as a length it is beyond every record, so that the two are never mixed up.
pub(super) const GROUP_MAGIC: [u8; 4] = *b"EGRP";
/// Length of the segment header.
pub(super) const SEGMENT_HEADER_BYTES: usize = 64;
/// Length of a group header.
pub(super) const GROUP_HEADER_BYTES: usize = 48;
/// Length of a record header.
pub(super) const RECORD_HEADER_BYTES: usize = 20;

/// The random number of a segment, and the state of CRC32C after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Salt {
    pub(super) value: u64,
    crc: u32,
}

impl Salt {
    pub(super) fn new(value: u64) -> Self {
        Self { value, crc: crc32c(&value.to_le_bytes()) }
    }
}

/// Which log a segment belongs to; random.
pub(super) type LogId = [u8; 16];

/// The first bytes of a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SegmentHeader {
    pub(super) log_id: LogId,
    pub(super) partition: PartitionId,
    pub(super) salt: Salt,
    /// The offset of the first record in it.
    pub(super) first: Offset,
    /// The chain at the end of the segment before; 0 in the first.
    pub(super) chain_before: u32,
}

/// Why a segment header cannot be used, and at which byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HeaderFault {
    /// Fewer bytes than a header has.
    Short,
    /// Another first eight bytes.
    Magic,
    /// A version that we do not know.
    Version(u32),
    /// The checksum does not match.
    Checksum,
}

impl SegmentHeader {
    pub(super) fn encode(&self) -> [u8; SEGMENT_HEADER_BYTES] {
        let mut bytes = [0; SEGMENT_HEADER_BYTES];
        bytes[0..8].copy_from_slice(&SEGMENT_MAGIC);
        bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
        bytes[12..14].copy_from_slice(&self.partition.0.to_le_bytes());
        bytes[16..32].copy_from_slice(&self.log_id);
        bytes[32..40].copy_from_slice(&self.salt.value.to_le_bytes());
        bytes[40..48].copy_from_slice(&self.first.0.to_le_bytes());
        bytes[48..52].copy_from_slice(&self.chain_before.to_le_bytes());
        let crc = crc32c(&bytes[..60]);
        bytes[60..64].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, HeaderFault> {
        let bytes = bytes.first_chunk::<SEGMENT_HEADER_BYTES>().ok_or(HeaderFault::Short)?;
        if bytes[0..8] != SEGMENT_MAGIC {
            return Err(HeaderFault::Magic);
        }
        if crc32c(&bytes[..60]) != u32_at(bytes, 60) {
            return Err(HeaderFault::Checksum);
        }
        if u32_at(bytes, 8) != VERSION {
            return Err(HeaderFault::Version(u32_at(bytes, 8)));
        }
        let mut log_id = LogId::default();
        log_id.copy_from_slice(&bytes[16..32]);
        Ok(Self {
            log_id,
            partition: PartitionId(u16::from_le_bytes([bytes[12], bytes[13]])),
            salt: Salt::new(u64_at(bytes, 32)),
            first: Offset(u64_at(bytes, 40)),
            chain_before: u32_at(bytes, 48),
        })
    }

    /// The chain that the first group of this segment continues.
    pub(super) fn chain(&self) -> u32 {
        crc32c(&self.encode())
    }
}

/// The bytes before the records of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct GroupHeader {
    /// The byte of the segment at which this header stands.
    pub(super) position: u64,
    /// Every byte of the segment below this was durable before this group was written.
    pub(super) watermark: u64,
    /// The offset of the group's first record, or of the next one if it is empty.
    pub(super) first: Offset,
    /// Length of the records that follow.
    pub(super) body_bytes: u32,
    /// How many records follow.
    pub(super) records: u32,
    /// The chain up to the group before.
    pub(super) chain_before: u32,
}

impl GroupHeader {
    pub(super) fn encode(&self, salt: Salt) -> [u8; GROUP_HEADER_BYTES] {
        let mut bytes = [0; GROUP_HEADER_BYTES];
        bytes[0..4].copy_from_slice(&GROUP_MAGIC);
        bytes[8..16].copy_from_slice(&self.position.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.watermark.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.first.0.to_le_bytes());
        bytes[32..36].copy_from_slice(&self.body_bytes.to_le_bytes());
        bytes[36..40].copy_from_slice(&self.records.to_le_bytes());
        bytes[40..44].copy_from_slice(&self.chain_before.to_le_bytes());
        let crc = crc32c_append(salt.crc, &bytes[8..]);
        bytes[4..8].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// The header at the beginning of `bytes`, if its checksum holds.
    pub(super) fn decode(bytes: &[u8], salt: Salt) -> Option<Self> {
        let bytes = bytes.first_chunk::<GROUP_HEADER_BYTES>()?;
        if bytes[0..4] != GROUP_MAGIC || crc32c_append(salt.crc, &bytes[8..]) != u32_at(bytes, 4) {
            return None;
        }
        Some(Self {
            position: u64_at(bytes, 8),
            watermark: u64_at(bytes, 16),
            first: Offset(u64_at(bytes, 24)),
            body_bytes: u32_at(bytes, 32),
            records: u32_at(bytes, 36),
            chain_before: u32_at(bytes, 40),
        })
    }
}

/// The chain begins anew with each group header, which holds the one before, and takes in each record's checksum.
pub(super) fn chain_of(header: &[u8]) -> u32 {
    crc32c(header)
}

/// The chain after one more record.
pub(super) fn chain_after(chain: u32, record_crc: u32) -> u32 {
    crc32c_append(chain, &record_crc.to_le_bytes())
}

/// Bytes that a record with this payload takes.
pub(super) const fn record_bytes(payload: usize) -> usize {
    RECORD_HEADER_BYTES + payload
}

/// Writes one record; returns its checksum.
pub(super) fn put_record(buffer: &mut Vec<u8>, salt: Salt, offset: Offset, count: u32, payload: &[u8]) -> u32 {
    let mut head = [0; RECORD_HEADER_BYTES];
    // Lengths above `RECORD_BYTES_MAX` never get here: `append` refuses them.
    head[0..4].copy_from_slice(&(payload.len() as u32).to_le_bytes());
    head[4..8].copy_from_slice(&count.to_le_bytes());
    head[8..16].copy_from_slice(&offset.0.to_le_bytes());
    let crc = crc32c_append(crc32c_append(salt.crc, &head[..16]), payload);
    head[16..20].copy_from_slice(&crc.to_le_bytes());
    buffer.extend_from_slice(&head);
    buffer.extend_from_slice(payload);
    crc
}

/// What a record's header says. Nothing of it is sure before [`RecordHeader::verifies`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RecordHeader {
    pub(super) payload_bytes: usize,
    pub(super) count: u32,
    pub(super) offset: Offset,
    pub(super) crc: u32,
}

impl RecordHeader {
    /// The header at the beginning of `bytes`, if there are enough.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let bytes = bytes.first_chunk::<RECORD_HEADER_BYTES>()?;
        Some(Self {
            payload_bytes: u32_at(bytes, 0) as usize,
            count: u32_at(bytes, 4),
            offset: Offset(u64_at(bytes, 8)),
            crc: u32_at(bytes, 16),
        })
    }

    /// Header and payload together, in bytes.
    pub(super) fn bytes(&self) -> usize {
        record_bytes(self.payload_bytes)
    }

    /// True if `bytes`, which begin with this header, hold the whole record and its checksum is right.
    pub(super) fn verifies(&self, bytes: &[u8], salt: Salt) -> bool {
        self.count > 0
            && bytes
                .get(RECORD_HEADER_BYTES..self.bytes())
                .is_some_and(|payload| crc32c_append(crc32c_append(salt.crc, &bytes[..16]), payload) == self.crc)
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCUMENT: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/log-format.md"));

    fn header() -> SegmentHeader {
        SegmentHeader {
            log_id: *b"0123456789abcdef",
            partition: PartitionId(3),
            salt: Salt::new(0x0102_0304_0506_0708),
            first: Offset(1),
            chain_before: 0,
        }
    }

    /// The whole example of the document: header, one group of two records, the empty group of a clean close.
    fn example() -> Vec<u8> {
        let header = header();
        let mut bytes = header.encode().to_vec();
        let mut body = Vec::new();
        let first = put_record(&mut body, header.salt, Offset(1), 1, b"hello");
        let second = put_record(&mut body, header.salt, Offset(2), 3, b"eye");
        let group = GroupHeader {
            position: 64,
            watermark: 64,
            first: Offset(1),
            body_bytes: body.len() as u32,
            records: 2,
            chain_before: header.chain(),
        };
        let head = group.encode(header.salt);
        bytes.extend(head);
        bytes.extend(body);
        let end = bytes.len() as u64;
        let chain = chain_after(chain_after(chain_of(&head), first), second);
        let seal = GroupHeader {
            position: end,
            watermark: end,
            first: Offset(5),
            body_bytes: 0,
            records: 0,
            chain_before: chain,
        };
        bytes.extend(seal.encode(header.salt));
        bytes
    }

    /// The hex of every line of the document that looks like `0040  45 47 …`.
    fn documented() -> Vec<u8> {
        let lines = DOCUMENT.lines().filter_map(|line| line.split_once("  "));
        let dump = lines.filter(|(at, _)| at.len() == 4 && u16::from_str_radix(at, 16).is_ok());
        dump.flat_map(|(_, hex)| hex.split("  ").next().unwrap_or_default().split(' '))
            .map(|byte| u8::from_str_radix(byte, 16).unwrap())
            .collect()
    }

    #[test]
    fn the_document_shows_the_bytes_that_are_written() {
        let dump: Vec<String> = example()
            .chunks(16)
            .enumerate()
            .map(|(row, bytes)| {
                let hex: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
                format!("{:04x}  {}", row * 16, hex.join(" "))
            })
            .collect();
        assert_eq!(documented(), example(), "the code writes:\n{}", dump.join("\n"));
    }

    #[test]
    fn headers_and_records_read_back() {
        let header = header();
        assert_eq!(SegmentHeader::decode(&header.encode()), Ok(header.clone()));
        let bytes = example();
        let group = GroupHeader::decode(&bytes[64..], header.salt).unwrap();
        assert_eq!((group.position, group.records, group.first), (64, 2, Offset(1)));
        let record = RecordHeader::decode(&bytes[112..]).unwrap();
        assert_eq!((record.payload_bytes, record.count, record.offset), (5, 1, Offset(1)));
        assert!(record.verifies(&bytes[112..], header.salt));
        assert!(!record.verifies(&bytes[112..], Salt::new(7)));
    }

    #[test]
    fn a_record_that_takes_no_offset_never_verifies() {
        let salt = header().salt;
        for (count, verifies) in [(0, false), (1, true)] {
            let mut bytes = Vec::new();
            put_record(&mut bytes, salt, Offset(1), count, b"hello");
            assert_eq!(RecordHeader::decode(&bytes).unwrap().verifies(&bytes, salt), verifies, "count {count}");
        }
    }

    #[test]
    fn faults_of_a_header_are_told_apart() {
        let good = header().encode();
        let mut newer = good;
        newer[8] = 2;
        let crc = crc32c(&newer[..60]);
        newer[60..64].copy_from_slice(&crc.to_le_bytes());
        assert_eq!(SegmentHeader::decode(&good[..63]), Err(HeaderFault::Short));
        assert_eq!(SegmentHeader::decode(&newer), Err(HeaderFault::Version(2)));
        for at in 0..64 {
            let mut bad = good;
            bad[at] ^= 0x10;
            let fault = if at < 8 { HeaderFault::Magic } else { HeaderFault::Checksum };
            assert_eq!(SegmentHeader::decode(&bad), Err(fault), "byte {at}");
        }
    }

    #[test]
    fn no_record_length_looks_like_a_group() {
        assert!(u32::from_le_bytes(GROUP_MAGIC) as usize > super::super::RECORD_BYTES_MAX);
    }
}
