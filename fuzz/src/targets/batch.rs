//! The log encoding of a request: what is written is read, and whatever else is read never panics and never reads two
//! ways: keys and entries agree, and an entry stands where its position says.

use arbitrary::{Arbitrary, Unstructured};
use bytes::Bytes;
use eye_event::{Batch, BatchHeader, BatchWriter, Entry, EntryKey, EventRef, Problems, RejectionRef, Timestamp};

use crate::memory::within;

#[derive(Debug, Arbitrary)]
struct Request<'a> {
    application: &'a str,
    token: &'a str,
    received_at: i64,
    entries: Vec<New<'a>>,
    /// A byte of the encoding to change afterwards.
    damage: Option<(u16, u8)>,
}

#[derive(Debug, Arbitrary)]
enum New<'a> {
    Event { texts: [&'a str; 5], optional: [Option<&'a str>; 4], timestamp: i64, sent_at: Option<i64>, problems: u32 },
    Rejection([&'a str; 4]),
}

impl<'a> New<'a> {
    fn entry(&self) -> Entry<'a> {
        match *self {
            Self::Event {
                texts: [event_id, session_id, category, name, data],
                optional,
                timestamp,
                sent_at,
                problems,
            } => {
                let [timestamp_raw, user_id, anonymous_id, context] = optional;
                Entry::Event(EventRef {
                    event_id,
                    session_id,
                    category,
                    name,
                    timestamp: Timestamp::from_micros(timestamp),
                    timestamp_raw,
                    sent_at: sent_at.map(Timestamp::from_micros),
                    user_id,
                    anonymous_id,
                    data,
                    context,
                    problems: Problems::from_bits(problems),
                })
            }
            Self::Rejection([code, field, message, sample]) => {
                Entry::Rejection(RejectionRef { code, field, message, sample })
            }
        }
    }
}

/// Runs the target on one input. If it begins with the version's byte it is a batch itself, else a plan for one.
pub fn run(data: &[u8]) {
    if data.first() == Some(&1) {
        let bytes = Bytes::copy_from_slice(data);
        return within(16 * 1024, || read(bytes));
    }
    let Ok(request) = Request::arbitrary_take_rest(Unstructured::new(data)) else { return };
    let received_at = Timestamp::from_micros(request.received_at);
    let header = BatchHeader { application: request.application, token: request.token, received_at };
    let mut writer = BatchWriter::new(&header, 0);
    for new in &request.entries {
        match new.entry() {
            Entry::Event(event) => writer.push_event(&event),
            Entry::Rejection(rejection) => writer.push_rejection(&rejection),
        };
    }
    let mut bytes = writer.finish().to_vec();
    if let Some((at, mask)) = request.damage {
        let at = usize::from(at) % bytes.len();
        bytes[at] ^= mask;
        return within(16 * 1024, || read(Bytes::from(bytes)));
    }
    let batch = Batch::parse(Bytes::from(bytes)).expect("what was written can be read");
    assert_eq!(batch.header(), Ok(header));
    let entries: Vec<_> = batch.entries().map(|entry| entry.expect("every entry can be read").1).collect();
    let written: Vec<_> = request.entries.iter().map(New::entry).collect();
    assert_eq!(entries, written);
    read(batch.bytes().clone());
}

fn read(bytes: Bytes) {
    let Ok(batch) = Batch::parse(bytes) else { return };
    let _ = batch.header().expect("a header that was read once can be read again");
    let mut keys = batch.keys();
    for entry in batch.entries() {
        let key = keys.next().expect("there is a key for each entry");
        let Ok((at, entry)) = entry else { break };
        let (key_at, key) = key.expect("the key of an entry that can be read can be read");
        assert_eq!(key_at, at);
        assert_eq!(key, key_of(&entry));
        assert_eq!(batch.entry_at(at), Ok(entry));
        assert_eq!(batch.key_at(at), Ok(key));
    }
    for at in [0, 1, 7, batch.bytes().len() as u32, u32::MAX] {
        let _ = (batch.entry_at(at), batch.key_at(at));
    }
}

fn key_of<'a>(entry: &Entry<'a>) -> EntryKey<'a> {
    match entry {
        Entry::Event(event) => EntryKey::Event {
            event_id: event.event_id.as_bytes(),
            session_id: event.session_id.as_bytes(),
            timestamp: event.timestamp,
        },
        Entry::Rejection(_) => EntryKey::Rejection,
    }
}
