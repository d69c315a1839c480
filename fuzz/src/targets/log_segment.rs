//! Segments in which every checksum may hold and any field may lie: a log opens, or names the damage; it never panics,
//! never skips, and what it read once it reads again after a crash.

use arbitrary::{Arbitrary, Unstructured};
use bytes::Bytes;
use eye_log::disk::sim::SimDisk;

use crate::forge::{Forge, Twist, put, survive};

#[derive(Debug, Arbitrary)]
enum Piece<'a> {
    /// A group of records of these offsets and payloads.
    Group(Vec<(u8, &'a [u8])>, Twist),
    /// A record that no group counts.
    Record { count: u32, payload: &'a [u8], lie: i32 },
    /// Anything.
    Bytes(&'a [u8]),
    /// A sector that never reached the disk.
    Zeros(u16),
    /// The next segment begins.
    Next,
}

#[derive(Debug, Arbitrary)]
struct Plan<'a> {
    salt: u64,
    first: Option<u64>,
    chain_before: Option<u32>,
    version: Option<u32>,
    crash: u64,
    pieces: Vec<Piece<'a>>,
}

/// Runs the target on one input. If it begins with `EYE-LOG` it is a segment itself, else a plan for some.
pub fn run(data: &[u8]) {
    let disk = SimDisk::new();
    if data.starts_with(b"EYE-LOG") {
        put(&disk, 1, data.to_vec());
        survive(&disk, 1);
        return;
    }
    let Ok(plan) = Plan::arbitrary_take_rest(Unstructured::new(data)) else { return };
    // No log lives so long that its offsets end.
    let mut first = plan.first.map_or(1, |first| first % (1 << 62));
    let mut forge = Forge::new(plan.salt, first, plan.chain_before.unwrap_or(0), plan.version.unwrap_or(1));
    for piece in plan.pieces {
        match piece {
            Piece::Group(records, twist) => {
                let records: Vec<_> =
                    records.iter().map(|(count, payload)| ((*count).into(), Bytes::copy_from_slice(payload))).collect();
                forge.group(&records, twist);
            }
            Piece::Record { count, payload, lie } => forge.record(count, payload, lie),
            Piece::Bytes(bytes) => forge.bytes.extend_from_slice(bytes),
            Piece::Zeros(count) => forge.bytes.resize(forge.bytes.len() + usize::from(count % 2048), 0),
            Piece::Next => {
                let next = forge.following(plan.salt ^ first);
                put(&disk, first, std::mem::replace(&mut forge, next).bytes);
                first = forge.next;
            }
        }
    }
    put(&disk, first, forge.bytes);
    survive(&disk, plan.crash);
}
