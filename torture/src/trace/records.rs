//! What a write to the log holds, by the format that `docs/log-format.md` describes and not by the code that writes it.

use eye_event::{Batch, Entry};

const GROUP_MAGIC: &[u8] = b"EGRP";
const GROUP_HEADER_BYTES: usize = 48;
const RECORD_HEADER_BYTES: usize = 20;

/// The offsets of the rejections in a write: none if it is no group, those that can be read if it is cut short.
pub(super) fn rejections(written: &[u8]) -> Vec<u64> {
    let mut offsets = Vec::new();
    if !written.starts_with(GROUP_MAGIC) || written.len() < GROUP_HEADER_BYTES {
        return offsets;
    }
    let records = u32_at(written, 36);
    let mut rest = &written[GROUP_HEADER_BYTES..];
    for _ in 0..records {
        if rest.len() < RECORD_HEADER_BYTES {
            break;
        }
        let (length, first) = (u32_at(rest, 0) as usize, u64_at(rest, 8));
        let Some(payload) = rest.get(RECORD_HEADER_BYTES..RECORD_HEADER_BYTES + length) else { break };
        let Ok(batch) = Batch::parse(payload.to_vec().into()) else { break };
        let entries = (first..).zip(batch.entries());
        offsets.extend(entries.filter(|(_, entry)| matches!(entry, Ok((_, Entry::Rejection(_))))).map(|(at, _)| at));
        rest = &rest[RECORD_HEADER_BYTES + length..];
    }
    offsets
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}

/// A group of one record with so many rejections.
#[cfg(test)]
pub(super) fn group(first: u64, rejections: u32) -> Vec<u8> {
    use eye_event::{BatchHeader, BatchWriter, RejectionRef, Timestamp};

    let header = BatchHeader { application: "a", token: "t", received_at: Timestamp::from_micros(7) };
    let mut batch = BatchWriter::new(&header, 0);
    for _ in 0..rejections {
        batch.push_rejection(&RejectionRef { code: "not_json", field: "", message: "m", sample: "\"" });
    }
    let payload = batch.finish();
    let mut bytes = GROUP_MAGIC.to_vec();
    bytes.resize(GROUP_HEADER_BYTES, 0);
    bytes[36] = 1;
    bytes.extend((payload.len() as u32).to_le_bytes());
    bytes.extend(rejections.to_le_bytes());
    bytes.extend(first.to_le_bytes());
    bytes.extend([0; 4]);
    bytes.extend(payload);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rejections_are_found_where_they_are() {
        let whole = group(5, 2);
        assert_eq!(rejections(&whole), [5, 6]);
        assert_eq!(rejections(&[&whole[..], &[0; 99]].concat()), [5, 6], "room behind it");
        for cut in 0..whole.len() {
            assert!(rejections(&whole[..cut]).is_empty(), "{cut}");
        }
        assert!(rejections(&[b"EYE-LOG\n", &whole[..]].concat()).is_empty());
    }
}
