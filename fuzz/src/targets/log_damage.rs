//! A valid log, damaged: every record that is read was written, in one run without a gap, beginning where a segment
//! begins; and one flipped byte costs at most the records of the very last group, which a crash could have torn.

use arbitrary::{Arbitrary, Unstructured};
use bytes::Bytes;
use eye_log::disk::sim::SimDisk;
use eye_log::{Offset, Record};

use crate::forge::{Forge, Twist, put, survive};

#[derive(Debug, Arbitrary)]
enum Damage {
    Flip { segment: u8, byte: u16, mask: u8 },
    Cut { segment: u8, byte: u16 },
    Zero { segment: u8, from: u16, length: u16 },
    Copy { segment: u8, from: u16, to: u16, length: u16 },
    Insert { segment: u8, at: u16, byte: u8, length: u8 },
    Remove { segment: u8 },
}

#[derive(Debug, Arbitrary)]
struct Small {
    count: u8,
    length: u16,
    fill: u8,
}

#[derive(Debug, Arbitrary)]
struct Plan {
    salt: u64,
    crash: u64,
    damages: Vec<Damage>,
    segments: Vec<Vec<Vec<Small>>>,
}

struct Written {
    records: Vec<Record>,
    /// The first offset and the bytes of each segment.
    segments: Vec<(u64, Vec<u8>)>,
    /// How many records come before the last group.
    before_last_group: usize,
}

/// Runs the target on one input, the plan of a log and of its damage.
pub fn run(data: &[u8]) {
    let Ok(mut plan) = Plan::arbitrary_take_rest(Unstructured::new(data)) else { return };
    plan.damages.truncate(4);
    let mut written = write(&plan);
    let is_one_flip = matches!(plan.damages[..], [Damage::Flip { mask: 1.., .. }]);
    for damage in &plan.damages {
        apply(damage, &mut written.segments);
    }
    let disk = SimDisk::new();
    for (first, bytes) in &written.segments {
        put(&disk, *first, bytes.clone());
    }
    let Some(read) = survive(&disk, plan.crash) else {
        assert!(!plan.damages.is_empty(), "a log that nobody damaged is refused");
        return;
    };
    let start = match read.first() {
        None => 0,
        Some(first) => {
            assert!(written.segments.iter().any(|(begin, _)| *begin == first.offset.0), "{first:?} begins no segment");
            written.records.iter().position(|record| record.offset == first.offset).expect("it was written")
        }
    };
    assert_eq!(written.records.get(start..start + read.len()), Some(&read[..]), "something that was never written");
    if plan.damages.is_empty() {
        assert_eq!(read, written.records);
    }
    if is_one_flip && !read.is_empty() {
        assert_eq!(start, 0);
        assert!(read.len() >= written.before_last_group, "acknowledged records are gone, and nobody says so");
    }
}

fn write(plan: &Plan) -> Written {
    let mut written = Written { records: Vec::new(), segments: Vec::new(), before_last_group: 0 };
    let mut forge = Forge::new(plan.salt, 1, 0, 1);
    let mut first = 1;
    for (index, groups) in plan.segments.iter().take(4).enumerate() {
        if index > 0 && forge.next > first {
            let next = forge.following(plan.salt ^ index as u64);
            written.segments.push((first, std::mem::replace(&mut forge, next).bytes));
            first = forge.next;
        }
        for group in groups.iter().take(8) {
            written.before_last_group = written.records.len();
            let records: Vec<_> =
                group.iter().take(8).map(|small| (u32::from(small.count) + 1, payload(small))).collect();
            let mut offset = forge.next;
            for (count, payload) in &records {
                written.records.push(Record { offset: Offset(offset), count: *count, payload: payload.clone() });
                offset += u64::from(*count);
            }
            forge.group(&records, Twist::default());
        }
    }
    written.segments.push((first, forge.bytes));
    written
}

/// Payloads that look like parts of a log are among them.
fn payload(small: &Small) -> Bytes {
    let length = usize::from(small.length % 700);
    match small.fill {
        0 => Bytes::from(b"EGRP".repeat(length / 4)),
        1 => Bytes::from(vec![0; length]),
        fill => (0..length).map(|at| (at as u8).wrapping_mul(fill)).collect(),
    }
}

fn apply(damage: &Damage, segments: &mut Vec<(u64, Vec<u8>)>) {
    let count = segments.len();
    let (Damage::Flip { segment, .. }
    | Damage::Cut { segment, .. }
    | Damage::Zero { segment, .. }
    | Damage::Copy { segment, .. }
    | Damage::Insert { segment, .. }
    | Damage::Remove { segment }) = damage;
    let segment = usize::from(*segment) % count;
    let bytes = &mut segments[segment].1;
    let place = |at: u16| usize::from(at) % (bytes.len() + 1);
    match *damage {
        Damage::Flip { byte, mask, .. } => {
            let at = usize::from(byte) % bytes.len().max(1);
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= mask;
            }
        }
        Damage::Cut { byte, .. } => bytes.truncate(place(byte)),
        Damage::Zero { from, length, .. } => {
            let from = place(from);
            let to = (from + usize::from(length)).min(bytes.len());
            bytes[from..to].fill(0);
        }
        Damage::Copy { from, to, length, .. } => {
            let (from, to) = (place(from), place(to));
            let length = usize::from(length).min(bytes.len() - from.max(to));
            bytes.copy_within(from..from + length, to);
        }
        Damage::Insert { at, byte, length, .. } => {
            let at = place(at);
            bytes.splice(at..at, std::iter::repeat_n(byte, length.into()));
        }
        Damage::Remove { .. } if count > 1 => drop(segments.remove(segment)),
        Damage::Remove { .. } => {}
    }
}
