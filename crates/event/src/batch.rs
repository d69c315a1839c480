//! The log encoding of one request's events and rejections, read back without copying.
//!
//! ```text
//! batch     = version(1) received_at(8) application(text) token(text) count(4) entry*
//! entry     = kind(1) length(4) body            kind 1: event, 2: rejection; length counts the body
//! event     = flags(1) timestamp(8) problems(4) [sent_at(8)] event_id session_id category name data
//!             [timestamp_raw] [user_id] [anonymous_id] [context]          (each a text)
//! rejection = code field message sample                                    (each a text)
//! text      = length(LEB128) bytes(UTF-8)
//! ```
//!
//! Numbers are little-endian. A text in `[ ]` is there when its bit of `flags` is set: 1 sent_at, 2 timestamp_raw,
//! 4 user_id, 8 anonymous_id, 16 context. Entry *i* of a batch whose first offset is *o* has the offset *o + i*.
//! A checksum is the log's business, not ours; everything here is checked against its bounds all the same.

use bytes::Bytes;

use crate::event::{Event, EventRef, RawEvent};
use crate::problem::Problems;
use crate::rejection::RejectionRef;
use crate::time::Timestamp;

const VERSION: u8 = 1;
const KIND_EVENT: u8 = 1;
const KIND_REJECTION: u8 = 2;
const ENTRY_HEADER_BYTES: usize = 5;
const NUMBER_BYTES: usize = size_of::<u64>();
/// Version, time and count.
const HEADER_BYTES_MIN: usize = 1 + NUMBER_BYTES + 4;
/// Flags, time and problems.
const EVENT_BYTES_MIN: usize = ENTRY_HEADER_BYTES + 1 + NUMBER_BYTES + 4;
/// A finished batch may take this part of its length more. What JSON takes more than this encoding is within it, so that a
/// guess by the size of a body costs no copy.
const SPARE_DIVISOR: usize = 2;

const SENT_AT: u8 = 1;
const TIMESTAMP_RAW: u8 = 2;
const USER_ID: u8 = 4;
const ANONYMOUS_ID: u8 = 8;
const CONTEXT: u8 = 16;

/// A batch that cannot be read: damage that the log's checksum did not see, or a newer version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncodingError {
    /// Written by a newer version.
    #[error("batch encoding version {0} is newer than this program knows (1)")]
    Version(u8),
    /// The bytes end too early, or a length points past them.
    #[error("batch is cut short at byte {0}")]
    Short(usize),
    /// A text is not UTF-8.
    #[error("text at byte {0} of the batch is not UTF-8")]
    NotUtf8(usize),
    /// An entry of unknown kind.
    #[error("entry of unknown kind {kind} at byte {at} of the batch")]
    Kind {
        /// The kind found.
        kind: u8,
        /// Where.
        at: usize,
    },
}

/// What all entries of a batch share.
pub type BatchHeader<'a> = Header<&'a str>;

/// What all entries of a batch share, its texts not checked again.
pub type RawHeader<'a> = Header<&'a [u8]>;

/// What all entries of a batch share; `T` is what its texts are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header<T> {
    /// The application the token belongs to.
    pub application: T,
    /// The id (never the secret) of the token that sent it: the ledger's key.
    pub token: T,
    /// The edge's clock when the request had been read.
    pub received_at: Timestamp,
}

/// One entry of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry<'a> {
    /// An event.
    Event(EventRef<'a>),
    /// A refused thing.
    Rejection(RejectionRef<'a>),
}

/// What apply needs of an entry; the rest is not looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryKey<'a> {
    /// An event.
    Event {
        /// The idempotency key, as it was written: UTF-8, not checked again.
        event_id: &'a [u8],
        /// Which session, likewise.
        session_id: &'a [u8],
        /// When it occurred.
        timestamp: Timestamp,
    },
    /// A refused thing.
    Rejection,
}

/// What an event takes in a batch, in bytes.
#[must_use]
pub fn event_bytes(event: &EventRef<'_>) -> usize {
    let texts = [event.event_id, event.session_id, event.category, event.name, event.data];
    let optional = [event.timestamp_raw, event.user_id, event.anonymous_id, event.context];
    let texts = texts.into_iter().chain(optional.into_iter().flatten());
    let sent_at = if event.sent_at.is_some() { NUMBER_BYTES } else { 0 };
    EVENT_BYTES_MIN + sent_at + texts.map(text_bytes).sum::<usize>()
}

/// Writes one batch.
#[derive(Debug)]
pub struct BatchWriter {
    bytes: Vec<u8>,
    count_at: usize,
    count: u32,
}

impl BatchWriter {
    /// Starts a batch with room for entries of `entry_bytes` (see [`event_bytes`]); more find room too, but are moved there.
    #[must_use]
    pub fn new(header: &BatchHeader<'_>, entry_bytes: usize) -> Self {
        let header_bytes = HEADER_BYTES_MIN + text_bytes(header.application) + text_bytes(header.token);
        let mut bytes = Vec::with_capacity(header_bytes + entry_bytes);
        bytes.push(VERSION);
        bytes.extend_from_slice(&header.received_at.micros().to_le_bytes());
        push_text(&mut bytes, header.application);
        push_text(&mut bytes, header.token);
        let count_at = bytes.len();
        bytes.extend_from_slice(&0_u32.to_le_bytes());
        Self { bytes, count_at, count: 0 }
    }

    /// Adds an event; returns its index in the batch.
    pub fn push_event(&mut self, event: &EventRef<'_>) -> u32 {
        let optional = [
            (TIMESTAMP_RAW, event.timestamp_raw),
            (USER_ID, event.user_id),
            (ANONYMOUS_ID, event.anonymous_id),
            (CONTEXT, event.context),
        ];
        let start = self.start_entry(KIND_EVENT);
        let flags = optional.iter().filter(|(_, text)| text.is_some()).fold(0, |flags, (bit, _)| flags | bit);
        self.bytes.push(flags | if event.sent_at.is_some() { SENT_AT } else { 0 });
        self.bytes.extend_from_slice(&event.timestamp.micros().to_le_bytes());
        self.bytes.extend_from_slice(&event.problems.bits().to_le_bytes());
        if let Some(sent_at) = event.sent_at {
            self.bytes.extend_from_slice(&sent_at.micros().to_le_bytes());
        }
        for text in [event.event_id, event.session_id, event.category, event.name, event.data] {
            push_text(&mut self.bytes, text);
        }
        for text in optional.into_iter().filter_map(|(_, text)| text) {
            push_text(&mut self.bytes, text);
        }
        self.end_entry(start)
    }

    /// Adds a rejection; returns its index in the batch.
    pub fn push_rejection(&mut self, rejection: &RejectionRef<'_>) -> u32 {
        let start = self.start_entry(KIND_REJECTION);
        for text in [rejection.code, rejection.field, rejection.message, rejection.sample] {
            push_text(&mut self.bytes, text);
        }
        self.end_entry(start)
    }

    /// Entries so far.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.count
    }

    /// Bytes so far.
    #[must_use]
    pub fn bytes_len(&self) -> usize {
        self.bytes.len()
    }

    /// The batch, ready for the log. It takes little more memory than its length, by which limits count it.
    #[must_use]
    pub fn finish(mut self) -> Bytes {
        self.bytes[self.count_at..self.count_at + 4].copy_from_slice(&self.count.to_le_bytes());
        let length = self.bytes.len();
        if self.bytes.capacity() - length > length / SPARE_DIVISOR {
            // Not shrunk: an allocator may leave what it has where it is, all of it.
            return Bytes::copy_from_slice(&self.bytes);
        }
        Bytes::from(self.bytes)
    }

    fn start_entry(&mut self, kind: u8) -> usize {
        self.bytes.push(kind);
        self.bytes.extend_from_slice(&0_u32.to_le_bytes());
        self.bytes.len()
    }

    fn end_entry(&mut self, start: usize) -> u32 {
        let length = u32::try_from(self.bytes.len() - start).unwrap_or(u32::MAX);
        self.bytes[start - 4..start].copy_from_slice(&length.to_le_bytes());
        self.count += 1;
        self.count - 1
    }
}

/// A batch read from the log. Cheap to clone: the bytes are shared.
#[derive(Clone, Debug)]
pub struct Batch {
    bytes: Bytes,
    entries_at: usize,
    count: u32,
}

impl Batch {
    /// Reads the header; entries are read as they are asked for.
    ///
    /// # Errors
    /// A newer version, or a header that is cut short or not UTF-8.
    pub fn parse(bytes: Bytes) -> Result<Self, EncodingError> {
        let mut reader = Reader { bytes: &bytes, at: 0 };
        let _: BatchHeader<'_> = read_header(&mut reader)?;
        let count = reader.u32()?;
        let entries_at = reader.at;
        Ok(Self { bytes, entries_at, count })
    }

    /// What all entries share.
    ///
    /// # Errors
    /// Never after [`Batch::parse`]; kept so that damage can never panic.
    pub fn header(&self) -> Result<BatchHeader<'_>, EncodingError> {
        read_header(&mut Reader { bytes: &self.bytes, at: 0 })
    }

    /// [`Batch::header`] for whoever needs it row by row: texts are not checked again.
    ///
    /// # Errors
    /// As there.
    pub fn raw_header(&self) -> Result<RawHeader<'_>, EncodingError> {
        read_header(&mut Reader { bytes: &self.bytes, at: 0 })
    }

    /// Entries in the batch.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.count
    }

    /// The encoded bytes.
    #[must_use]
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The entries in order, each with its position in the bytes (for [`Batch::entry_at`]).
    pub fn entries(&self) -> impl Iterator<Item = Result<(u32, Entry<'_>), EncodingError>> {
        let mut reader = Reader { bytes: &self.bytes, at: self.entries_at };
        let mut left = self.count;
        std::iter::from_fn(move || {
            left = left.checked_sub(1)?;
            let at = reader.at;
            let entry = read_entry(&mut reader);
            if entry.is_err() {
                left = 0;
            }
            Some(entry.map(|entry| (u32::try_from(at).unwrap_or(u32::MAX), entry)))
        })
    }

    /// The keys of the entries in order, each with the entry's position in the bytes. Cheaper than [`Batch::entries`]:
    /// payloads are stepped over.
    pub fn keys(&self) -> impl Iterator<Item = Result<(u32, EntryKey<'_>), EncodingError>> {
        let mut reader = Reader { bytes: &self.bytes, at: self.entries_at };
        let mut left = self.count;
        std::iter::from_fn(move || {
            left = left.checked_sub(1)?;
            let at = reader.at;
            let key = read_key(&mut reader);
            if key.is_err() {
                left = 0;
            }
            Some(key.map(|key| (u32::try_from(at).unwrap_or(u32::MAX), key)))
        })
    }

    /// The key of the entry at a position that [`Batch::entries`] or [`Batch::keys`] gave.
    ///
    /// # Errors
    /// A position that holds no whole entry.
    pub fn key_at(&self, position: u32) -> Result<EntryKey<'_>, EncodingError> {
        read_key(&mut Reader { bytes: &self.bytes, at: position as usize })
    }

    /// The entry at a position that [`Batch::entries`] gave.
    ///
    /// # Errors
    /// A position that holds no whole entry.
    pub fn entry_at(&self, position: u32) -> Result<Entry<'_>, EncodingError> {
        read_entry(&mut Reader { bytes: &self.bytes, at: position as usize })
    }

    /// The event at a position that [`Batch::entries`] gave, for whoever checks many texts at once; `None` for a rejection.
    ///
    /// # Errors
    /// A position that holds no whole entry.
    pub fn raw_event_at(&self, position: u32) -> Result<Option<RawEvent<'_>>, EncodingError> {
        let (kind, at, mut body) = take_entry(&mut Reader { bytes: &self.bytes, at: position as usize })?;
        match kind {
            KIND_EVENT => read_event(&mut body).map(Some),
            KIND_REJECTION => Ok(None),
            kind => Err(EncodingError::Kind { kind, at }),
        }
    }
}

fn read_header<'a, T: Text<'a>>(reader: &mut Reader<'a>) -> Result<Header<T>, EncodingError> {
    let version = reader.u8()?;
    if version != VERSION {
        return Err(EncodingError::Version(version));
    }
    let received_at = reader.timestamp()?;
    Ok(Header { application: T::read(reader)?, token: T::read(reader)?, received_at })
}

/// Steps over one entry; returns its kind, where it began, and a reader of its body.
fn take_entry<'a>(reader: &mut Reader<'a>) -> Result<(u8, usize, Reader<'a>), EncodingError> {
    let at = reader.at;
    let kind = reader.u8()?;
    let length = reader.u32()? as usize;
    let end = at + ENTRY_HEADER_BYTES + length;
    let Some(bytes) = reader.bytes.get(..end) else {
        return Err(EncodingError::Short(at));
    };
    let body = Reader { bytes, at: reader.at };
    reader.at = end;
    Ok((kind, at, body))
}

fn read_key<'a>(reader: &mut Reader<'a>) -> Result<EntryKey<'a>, EncodingError> {
    let (kind, at, mut body) = take_entry(reader)?;
    match kind {
        KIND_EVENT => {
            let flags = body.u8()?;
            let timestamp = body.timestamp()?;
            let _problems = body.u32()?;
            if flags & SENT_AT != 0 {
                let _sent_at = body.timestamp()?;
            }
            Ok(EntryKey::Event { event_id: body.text_bytes()?, session_id: body.text_bytes()?, timestamp })
        }
        KIND_REJECTION => Ok(EntryKey::Rejection),
        kind => Err(EncodingError::Kind { kind, at }),
    }
}

fn read_entry<'a>(reader: &mut Reader<'a>) -> Result<Entry<'a>, EncodingError> {
    let (kind, at, mut body) = take_entry(reader)?;
    match kind {
        KIND_EVENT => read_event(&mut body).map(Entry::Event),
        KIND_REJECTION => Ok(Entry::Rejection(RejectionRef {
            code: body.text()?,
            field: body.text()?,
            message: body.text()?,
            sample: body.text()?,
        })),
        kind => Err(EncodingError::Kind { kind, at }),
    }
}

fn read_event<'a, T: Text<'a>>(body: &mut Reader<'a>) -> Result<Event<T>, EncodingError> {
    let flags = body.u8()?;
    let timestamp = body.timestamp()?;
    let problems = Problems::from_bits(body.u32()?);
    let sent_at = if flags & SENT_AT != 0 { Some(body.timestamp()?) } else { None };
    let [event_id, session_id, category, name, data] =
        [T::read(body)?, T::read(body)?, T::read(body)?, T::read(body)?, T::read(body)?];
    let mut optional = |bit: u8| if flags & bit != 0 { T::read(body).map(Some) } else { Ok(None) };
    Ok(Event {
        event_id,
        session_id,
        category,
        name,
        timestamp,
        timestamp_raw: optional(TIMESTAMP_RAW)?,
        sent_at,
        user_id: optional(USER_ID)?,
        anonymous_id: optional(ANONYMOUS_ID)?,
        data,
        context: optional(CONTEXT)?,
        problems,
    })
}

/// What a text takes: its length, seven bits a byte, and its bytes.
fn text_bytes(text: &str) -> usize {
    let length_bits = usize::BITS - (text.len() | 1).leading_zeros();
    length_bits.div_ceil(7) as usize + text.len()
}

fn push_text(bytes: &mut Vec<u8>, text: &str) {
    let mut length = text.len();
    while length >= 0x80 {
        #[expect(clippy::cast_possible_truncation, reason = "seven bits")]
        bytes.push((length & 0x7f) as u8 | 0x80);
        length >>= 7;
    }
    #[expect(clippy::cast_possible_truncation, reason = "below 0x80")]
    bytes.push(length as u8);
    bytes.extend_from_slice(text.as_bytes());
}

/// What a text is read as.
trait Text<'a>: Sized {
    fn read(reader: &mut Reader<'a>) -> Result<Self, EncodingError>;
}

/// Checked.
impl<'a> Text<'a> for &'a str {
    fn read(reader: &mut Reader<'a>) -> Result<Self, EncodingError> {
        reader.text()
    }
}

/// Not checked.
impl<'a> Text<'a> for &'a [u8] {
    fn read(reader: &mut Reader<'a>) -> Result<Self, EncodingError> {
        reader.text_bytes()
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], EncodingError> {
        let end = self.at.checked_add(length).ok_or(EncodingError::Short(self.at))?;
        let taken = self.bytes.get(self.at..end).ok_or(EncodingError::Short(self.at))?;
        self.at = end;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], EncodingError> {
        let at = self.at;
        self.take(N)?.try_into().map_err(|_| EncodingError::Short(at))
    }

    fn u8(&mut self) -> Result<u8, EncodingError> {
        self.array::<1>().map(|[byte]| byte)
    }

    fn u32(&mut self) -> Result<u32, EncodingError> {
        self.array().map(u32::from_le_bytes)
    }

    fn timestamp(&mut self) -> Result<Timestamp, EncodingError> {
        self.array().map(i64::from_le_bytes).map(Timestamp::from_micros)
    }

    fn text(&mut self) -> Result<&'a str, EncodingError> {
        let bytes = self.text_bytes()?;
        std::str::from_utf8(bytes).map_err(|_| EncodingError::NotUtf8(self.at - bytes.len()))
    }

    fn text_bytes(&mut self) -> Result<&'a [u8], EncodingError> {
        let mut length = 0_usize;
        for shift in (0..32).step_by(7) {
            let byte = self.u8()?;
            length |= usize::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return self.take(length);
            }
        }
        Err(EncodingError::Short(self.at))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HEADER: BatchHeader<'static> =
        BatchHeader { application: "web", token: "t1", received_at: Timestamp::from_micros(42) };
    /// What it takes, with the number of entries.
    const HEADER_BYTES: usize = 1 + 8 + 4 + 3 + 4;

    fn event<'a>(data: &'a str, optional: Option<&'a str>) -> EventRef<'a> {
        EventRef {
            event_id: "e",
            session_id: "s",
            category: "c",
            name: "n",
            timestamp: Timestamp::from_micros(-7),
            timestamp_raw: optional,
            sent_at: optional.map(|_| Timestamp::from_micros(9)),
            user_id: optional,
            anonymous_id: None,
            data,
            context: optional,
            problems: Problems::TIME,
        }
    }

    fn encoded() -> Bytes {
        let mut writer = BatchWriter::new(&HEADER, 0);
        writer.push_event(&event("{\"a\":1}", Some("x")));
        writer.push_rejection(&RejectionRef { code: "not_json", field: "", message: "m", sample: "{" });
        writer.push_event(&event("{}", None));
        writer.finish()
    }

    #[test]
    fn what_is_written_is_read() {
        let batch = Batch::parse(encoded()).unwrap();
        assert_eq!(batch.header().unwrap(), HEADER);
        let entries: Vec<_> = batch.entries().map(Result::unwrap).collect();
        assert_eq!(entries[0].1, Entry::Event(event("{\"a\":1}", Some("x"))));
        assert!(matches!(entries[1].1, Entry::Rejection(rejection) if rejection.code == "not_json"));
        assert_eq!(entries[2].1, Entry::Event(event("{}", None)));
        assert_eq!(batch.entry_at(entries[2].0).unwrap(), entries[2].1);
        let keys: Vec<_> = batch.keys().map(Result::unwrap).collect();
        let key = EntryKey::Event { event_id: b"e", session_id: b"s", timestamp: Timestamp::from_micros(-7) };
        assert_eq!(keys, [(entries[0].0, key), (entries[1].0, EntryKey::Rejection), (entries[2].0, key)]);
        assert_eq!(batch.key_at(entries[2].0).unwrap(), key);
    }

    #[test]
    fn room_for_what_events_take_is_enough_and_none_is_left() {
        let lengths = [0, 1, 127, 128, 16_383, 16_384, 2_097_151, 2_097_152];
        for (data, optional) in lengths.iter().flat_map(|data| [(*data, None), (*data, Some(*data))]) {
            let (data, optional) = ("x".repeat(data), optional.map(|length| "y".repeat(length)));
            let event = event(&data, optional.as_deref());
            let mut writer = BatchWriter::new(&HEADER, 2 * event_bytes(&event));
            let before = writer.bytes.as_ptr();
            writer.push_event(&event);
            writer.push_event(&event);
            assert_eq!((writer.bytes.len(), writer.bytes.as_ptr()), (writer.bytes.capacity(), before));
        }
    }

    #[test]
    fn what_is_read_unchecked_is_the_same() {
        let batch = Batch::parse(encoded()).unwrap();
        let header = batch.raw_header().unwrap();
        assert_eq!(
            (header.application, header.token, header.received_at),
            (&b"web"[..], &b"t1"[..], HEADER.received_at)
        );
        for (position, entry) in batch.entries().map(Result::unwrap) {
            let raw = batch.raw_event_at(position).unwrap();
            let Entry::Event(event) = entry else {
                assert_eq!(raw, None);
                continue;
            };
            let raw = raw.unwrap();
            assert_eq!((raw.data, raw.context), (event.data.as_bytes(), event.context.map(str::as_bytes)));
            assert_eq!((raw.timestamp, raw.sent_at, raw.problems), (event.timestamp, event.sent_at, event.problems));
        }
    }

    #[test]
    fn the_encoding_is_this_to_the_byte() {
        let mut writer = BatchWriter::new(&HEADER, 0);
        writer.push_event(&event("{}", None));
        let written: String = writer.finish().iter().map(|byte| format!("{byte:02x}")).collect();
        let header = "01 2a00000000000000 03776562 027431 01000000";
        let entry = "01 18000000 00 f9ffffffffffffff 07000000 0165 0173 0163 016e 027b7d";
        assert_eq!(written, [header, entry].concat().replace(' ', ""));
    }

    #[test]
    fn every_cut_is_an_error_and_never_a_panic() {
        let bytes = encoded();
        for cut in 0..bytes.len() {
            let whole = Batch::parse(bytes.slice(..cut))
                .and_then(|batch| batch.entries().map(|entry| entry.map(drop)).collect::<Result<Vec<()>, _>>());
            assert!(whole.is_err(), "cut at {cut}");
        }
    }

    #[test]
    fn a_finished_batch_takes_little_more_than_its_length_however_wrong_the_guess_was() {
        for (capacity, events) in
            [0, 10, 500, 4_000, 100_000].into_iter().flat_map(|capacity| [(capacity, 1), (capacity, 70)])
        {
            let mut writer = BatchWriter::new(&HEADER, capacity);
            for _ in 0..events {
                writer.push_event(&event("{\"a\":1}", Some("x")));
            }
            let (bytes, place) = (writer.bytes.clone(), writer.bytes.as_ptr());
            let is_good_guess = writer.bytes.capacity() <= bytes.len() * 3 / 2;
            let batch = writer.finish();
            assert_eq!((batch.len(), &batch[HEADER_BYTES..]), (bytes.len(), &bytes[HEADER_BYTES..]));
            assert_eq!(batch.as_ptr() == place, is_good_guess, "a good guess costs no copy");
            let held = batch.try_into_mut().unwrap().capacity();
            assert!(
                held <= bytes.len() * 3 / 2,
                "{held} bytes for {} of {events} events after a guess of {capacity}",
                bytes.len()
            );
        }
    }

    proptest! {
        #[test]
        fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), at in any::<u32>()) {
            if let Ok(batch) = Batch::parse(Bytes::from(bytes)) {
                let _ = batch.entries().take(1000).count();
                let _ = batch.keys().take(1000).count();
                let _ = batch.entry_at(at);
                let _ = batch.raw_event_at(at);
            }
        }

        #[test]
        fn long_texts_survive(length in 0_usize..70_000) {
            let data = "x".repeat(length);
            let mut writer = BatchWriter::new(&HEADER, 0);
            writer.push_event(&event(&data, None));
            let batch = Batch::parse(writer.finish()).unwrap();
            let (_, entry) = batch.entries().next().unwrap().unwrap();
            prop_assert_eq!(entry, Entry::Event(event(&data, None)));
        }
    }
}
