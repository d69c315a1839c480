//! The hot buffer: the rows of one partition since the last flush, with a session index.
//!
//! A row is a pointer into the log record it came in, so applying an event copies nothing. Rows lie in chunks; full
//! chunks are immutable and shared, so a reader holds the lock only for as long as it takes to copy the last chunk's
//! row pointers.
//!
//! ```text
//! chunk 0 (full, shared)      chunk 1 (full, shared)      tail (under the lock)
//! rows  0 … 4095              rows 4096 … 8191            rows 8192 …
//! row = batch number, position in the batch, offset, timestamp, previous row of the same session
//! session index: hash of session_id -> newest row; rows of a session are a chain of `previous`
//! ```

use std::sync::{Arc, OnceLock};

use ahash::RandomState;
use eye_event::{Batch, Entry, EntryKey, RejectionRef, Timestamp};
use eye_log::{Offset, PartitionId};
use hashbrown::HashTable;
use hashbrown::hash_table::Entry as Slot;
use parking_lot::RwLock;

use crate::error::{Error, Kind, Result};
use crate::event::{RawStoredEvent, StoredEvent, StoredRejection};

/// Rows in a full chunk.
pub(crate) const CHUNK_ROWS: usize = 4096;
/// What most events take in a log record.
const EVENT_BYTES_USUAL: usize = 320;
const CACHE_LINE_BYTES: usize = 64;
const NO_ROW: u32 = u32::MAX;
/// Rows in one generation; flushes come long before.
const ROWS_MAX: usize = NO_ROW as usize;

/// Where one event lies.
#[derive(Clone, Copy, Debug)]
struct Row {
    offset: Offset,
    timestamp: Timestamp,
    batch: u32,
    position: u32,
    previous: u32,
    /// The session's number in this generation: counted in the order in which they were first seen.
    session: u32,
}

/// Up to [`CHUNK_ROWS`] rows and the batches they point into.
#[derive(Clone, Debug)]
pub(crate) struct Chunk {
    partition: PartitionId,
    batches: Vec<Batch>,
    rows: Vec<Row>,
    timestamp_min: Timestamp,
    timestamp_max: Timestamp,
}

impl Chunk {
    fn new(partition: PartitionId) -> Self {
        Self {
            partition,
            batches: Vec::new(),
            rows: Vec::new(),
            timestamp_min: Timestamp::from_micros(i64::MAX),
            timestamp_max: Timestamp::from_micros(i64::MIN),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    pub(crate) fn timestamps(&self) -> (Timestamp, Timestamp) {
        (self.timestamp_min, self.timestamp_max)
    }

    /// The partition of its rows.
    pub(crate) fn partition(&self) -> PartitionId {
        self.partition
    }

    /// The offset of its first row; zero if it has none.
    pub(crate) fn first_offset(&self) -> Offset {
        self.rows.first().map_or(Offset::default(), |row| row.offset)
    }

    /// The offset of its last row, which is its highest.
    pub(crate) fn last_offset(&self) -> Offset {
        self.rows.last().map_or(Offset::default(), |row| row.offset)
    }

    /// The event of a row of this chunk.
    pub(crate) fn event(&self, index: usize) -> Result<StoredEvent<'_>> {
        let row = &self.rows[index];
        event_at(&self.batches[row.batch as usize], row.position, row.offset, self.partition)
    }

    /// Fetches an event that is read soon into the processor's cache: reads a byte of each line and waits for none.
    pub(crate) fn fetch(&self, index: usize) {
        let Row { batch, position, .. } = self.rows[index];
        let bytes = self.batches[batch as usize].bytes();
        let line = |at: usize| bytes.get(position as usize + at).copied().unwrap_or_default();
        std::hint::black_box((0..EVENT_BYTES_USUAL).step_by(CACHE_LINE_BYTES).fold(0, |all, at| all ^ line(at)));
    }

    /// [`Chunk::event`] for whoever checks many texts at once.
    pub(crate) fn raw_event(&self, index: usize) -> Result<RawStoredEvent<'_>> {
        let Row { offset, batch, position, .. } = self.rows[index];
        let batch = &self.batches[batch as usize];
        let header = batch.raw_header()?;
        let event = batch.raw_event_at(position)?.ok_or_else(|| no_event(offset))?;
        let (application, received_at) = (header.application, header.received_at);
        Ok(RawStoredEvent { application, received_at, partition: self.partition, offset, event })
    }

    /// What a row of this chunk is ordered by: when it was received, its time, its offset.
    pub(crate) fn key(&self, index: usize) -> Result<(Timestamp, Timestamp, Offset)> {
        let row = &self.rows[index];
        let received_at = self.batches[row.batch as usize].raw_header()?.received_at;
        Ok((received_at, row.timestamp, row.offset))
    }

    /// The number of a row's session: the same for all rows of one session in a generation, and for no others.
    pub(crate) fn session_number(&self, index: usize) -> u32 {
        self.rows[index].session
    }

    /// The session of a row of this chunk.
    pub(crate) fn session(&self, index: usize) -> Option<&[u8]> {
        let row = &self.rows[index];
        session_at(&self.batches[row.batch as usize], row.position)
    }

    fn push(&mut self, row: Row) {
        self.timestamp_min = self.timestamp_min.min(row.timestamp);
        self.timestamp_max = self.timestamp_max.max(row.timestamp);
        self.rows.push(row);
    }

    /// The first `rows` rows; bounds are recomputed, for a later row may have stretched them.
    fn prefix(&self, rows: usize) -> Self {
        let mut prefix = Self::new(self.partition);
        let batches = self.rows[..rows].last().map_or(0, |row| row.batch as usize + 1);
        prefix.batches.extend_from_slice(&self.batches[..batches]);
        self.rows[..rows].iter().for_each(|row| prefix.push(*row));
        prefix
    }
}

/// The event at a position of a batch.
pub(crate) fn event_at(
    batch: &Batch,
    position: u32,
    offset: Offset,
    partition: PartitionId,
) -> Result<StoredEvent<'_>> {
    let header = batch.header()?;
    let Entry::Event(event) = batch.entry_at(position)? else {
        return Err(no_event(offset));
    };
    Ok(StoredEvent { application: header.application, received_at: header.received_at, partition, offset, event })
}

fn no_event(offset: Offset) -> Error {
    Error::new(Kind::Internal, format!("the hot buffer points at no event (offset {offset})"))
}

/// A rejection on its way to the table.
#[derive(Clone, Debug)]
pub(crate) struct RejectionRow {
    batch: Batch,
    position: u32,
    offset: Offset,
}

impl RejectionRow {
    pub(crate) fn new(batch: Batch, position: u32, offset: Offset) -> Self {
        Self { batch, position, offset }
    }

    pub(crate) fn offset(&self) -> Offset {
        self.offset
    }

    pub(crate) fn rejection(&self, partition: PartitionId) -> Result<StoredRejection<'_>> {
        let header = self.batch.header()?;
        let Entry::Rejection(rejection) = self.batch.entry_at(self.position)? else {
            return Err(Error::new(Kind::Internal, "the hot buffer points at no rejection"));
        };
        let rejection: RejectionRef<'_> = rejection;
        Ok(StoredRejection {
            application: header.application,
            token: header.token,
            received_at: header.received_at,
            partition,
            offset: self.offset,
            rejection,
        })
    }
}

/// A new event of an applied record.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NewRow {
    /// Where it lies in the batch.
    pub(crate) position: u32,
    pub(crate) offset: Offset,
    pub(crate) timestamp: Timestamp,
    /// Spreads sessions over the index; chosen by apply, the same for one session always.
    pub(crate) session_hash: u64,
}

/// One applied record, ready to be made visible: which of its events are new, and its rejections.
#[derive(Debug)]
pub(crate) struct AppliedRecord {
    pub(crate) batch: Batch,
    /// The record's last offset.
    pub(crate) last: Offset,
    /// The new events, in order.
    pub(crate) stored: Vec<NewRow>,
    /// Position and offset of each rejection.
    pub(crate) rejected: Vec<(u32, Offset)>,
}

/// Rows between two flushes. Written by apply alone, read by anybody.
#[derive(Debug)]
pub(crate) struct Generation {
    partition: PartitionId,
    /// Of session ids: apply's.
    hasher: RandomState,
    inner: RwLock<Rows>,
}

#[derive(Debug)]
struct Rows {
    chunks: Vec<Arc<Chunk>>,
    tail: Chunk,
    rejections: Vec<RejectionRow>,
    sessions: HashTable<SessionHead>,
    /// Everything up to here is applied.
    applied: Offset,
    bytes: usize,
}

#[derive(Clone, Copy, Debug)]
struct SessionHead {
    hash: u64,
    newest: u32,
    number: u32,
}

/// What a snapshot sees of a generation: its first rows.
#[derive(Clone, Debug)]
pub(crate) struct GenerationView {
    generation: Arc<Generation>,
    rows: usize,
    rejections: usize,
    pub(crate) applied: Offset,
    /// The rows, once they were asked for.
    chunks: OnceLock<Vec<Arc<Chunk>>>,
}

impl Generation {
    /// An empty generation that follows `applied`.
    pub(crate) fn new(partition: PartitionId, applied: Offset, hasher: RandomState) -> Self {
        let rows = Rows {
            chunks: Vec::new(),
            tail: Chunk::new(partition),
            rejections: Vec::new(),
            sessions: HashTable::new(),
            applied,
            bytes: 0,
        };
        Self { partition, hasher, inner: RwLock::new(rows) }
    }

    /// Makes applied records visible, all at once.
    pub(crate) fn extend(&self, records: Vec<AppliedRecord>) -> Result<()> {
        let mut rows = self.inner.write();
        for record in records {
            rows.push(record)?;
        }
        Ok(())
    }

    pub(crate) fn len(&self) -> usize {
        self.inner.read().len()
    }

    /// Bytes of the log records held.
    pub(crate) fn bytes(&self) -> usize {
        self.inner.read().bytes
    }

    pub(crate) fn applied(&self) -> Offset {
        self.inner.read().applied
    }

    pub(crate) fn view(self: &Arc<Self>) -> GenerationView {
        let rows = self.inner.read();
        GenerationView {
            generation: Arc::clone(self),
            rows: rows.len(),
            rejections: rows.rejections.len(),
            applied: rows.applied,
            chunks: OnceLock::new(),
        }
    }
}

impl Rows {
    fn len(&self) -> usize {
        self.chunks.len() * CHUNK_ROWS + self.tail.len()
    }

    fn push(&mut self, record: AppliedRecord) -> Result<()> {
        if !record.stored.is_empty() || !record.rejected.is_empty() {
            self.bytes += record.batch.bytes().len();
        }
        self.applied = record.last;
        for (position, offset) in record.rejected {
            self.rejections.push(RejectionRow::new(record.batch.clone(), position, offset));
        }
        let mut batch = None;
        for row in record.stored {
            if self.len() == ROWS_MAX {
                return Err(Error::new(Kind::Internal, "the hot buffer is full: 4 billion rows without a flush"));
            }
            let number = match batch {
                Some(number) if self.tail.len() > 0 => number,
                _ => self.add_batch(record.batch.clone()),
            };
            batch = Some(number);
            self.push_row(number, row);
            if self.tail.len() == CHUNK_ROWS {
                let empty = Chunk::new(self.tail.partition);
                let full = std::mem::replace(&mut self.tail, empty);
                self.chunks.push(Arc::new(full));
            }
        }
        Ok(())
    }

    fn add_batch(&mut self, batch: Batch) -> u32 {
        self.tail.batches.push(batch);
        #[expect(clippy::cast_possible_truncation, reason = "a chunk has at most CHUNK_ROWS batches")]
        let number = self.tail.batches.len() as u32 - 1;
        number
    }

    fn push_row(&mut self, batch: u32, row: NewRow) {
        #[expect(clippy::cast_possible_truncation, reason = "below ROWS_MAX")]
        let number = self.len() as u32;
        let (chunks, tail) = (&self.chunks, &self.tail);
        #[expect(clippy::cast_possible_truncation, reason = "no more sessions than rows")]
        let sessions = self.sessions.len() as u32;
        let is_session = |head: &SessionHead| {
            head.hash == row.session_hash
                && session_of(chunks, tail, head.newest) == session_at(&tail.batches[batch as usize], row.position)
        };
        let (previous, session) = match self.sessions.entry(row.session_hash, is_session, |head| head.hash) {
            Slot::Occupied(mut slot) => {
                let head = slot.get_mut();
                (std::mem::replace(&mut head.newest, number), head.number)
            }
            Slot::Vacant(slot) => {
                slot.insert(SessionHead { hash: row.session_hash, newest: number, number: sessions });
                (NO_ROW, sessions)
            }
        };
        let NewRow { position, offset, timestamp, .. } = row;
        self.tail.push(Row { offset, timestamp, batch, position, previous, session });
    }
}

fn chunk_of<'a>(chunks: &'a [Arc<Chunk>], tail: &'a Chunk, number: u32) -> &'a Chunk {
    chunks.get(number as usize / CHUNK_ROWS).map_or(tail, |chunk| chunk.as_ref())
}

fn session_of<'a>(chunks: &'a [Arc<Chunk>], tail: &'a Chunk, number: u32) -> Option<&'a [u8]> {
    chunk_of(chunks, tail, number).session(number as usize % CHUNK_ROWS)
}

/// The session of an entry; `None` cannot happen, for apply has read the same key.
fn session_at(batch: &Batch, position: u32) -> Option<&[u8]> {
    match batch.key_at(position) {
        Ok(EntryKey::Event { session_id, .. }) => Some(session_id),
        _ => None,
    }
}

impl GenerationView {
    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    /// The visible rows as chunks: full ones shared, the last one copied. Only the first time takes the lock.
    pub(crate) fn chunks(&self) -> &[Arc<Chunk>] {
        self.chunks.get_or_init(|| self.copied())
    }

    fn copied(&self) -> Vec<Arc<Chunk>> {
        let rows = self.generation.inner.read();
        let full = self.rows / CHUNK_ROWS;
        let mut chunks = rows.chunks[..full].to_vec();
        let rest = self.rows % CHUNK_ROWS;
        if rest > 0 {
            let last = rows.chunks.get(full).map_or(&rows.tail, |chunk| chunk.as_ref());
            chunks.push(Arc::new(last.prefix(rest)));
        }
        chunks
    }

    /// Visits the events of one session, newest offset first.
    pub(crate) fn session(&self, session_id: &str, visit: &mut dyn FnMut(&StoredEvent<'_>)) -> Result<()> {
        for (batch, position, offset) in self.session_rows(session_id) {
            visit(&event_at(&batch, position, offset, self.generation.partition)?);
        }
        Ok(())
    }

    /// The rows of a session; the lock is held only to collect them.
    fn session_rows(&self, session_id: &str) -> Vec<(Batch, u32, Offset)> {
        let rows = self.generation.inner.read();
        let session_id = session_id.as_bytes();
        let hash = self.generation.hasher.hash_one(session_id);
        let is_session = |head: &SessionHead| {
            head.hash == hash && session_of(&rows.chunks, &rows.tail, head.newest) == Some(session_id)
        };
        let mut found = Vec::new();
        let mut number = rows.sessions.find(hash, is_session).map_or(NO_ROW, |head| head.newest);
        while number != NO_ROW {
            let chunk = chunk_of(&rows.chunks, &rows.tail, number);
            let row = chunk.rows[number as usize % CHUNK_ROWS];
            if (number as usize) < self.rows {
                found.push((chunk.batches[row.batch as usize].clone(), row.position, row.offset));
            }
            number = row.previous;
        }
        found
    }

    /// The visible rejections, oldest first.
    pub(crate) fn rejections(&self) -> Vec<RejectionRow> {
        self.generation.inner.read().rejections[..self.rejections].to_vec()
    }

    pub(crate) fn partition(&self) -> PartitionId {
        self.generation.partition
    }

    /// The offset of the first visible row.
    pub(crate) fn first_offset(&self) -> Option<Offset> {
        let rows = self.generation.inner.read();
        (self.rows > 0).then(|| chunk_of(&rows.chunks, &rows.tail, 0).rows[0].offset)
    }
}
