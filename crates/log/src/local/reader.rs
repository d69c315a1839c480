//! Reads durable records: from memory if they are recent, else from the segments, verifying every byte each time.

use std::sync::Arc;

use bytes::Bytes;

use super::RECORD_BYTES_MAX;
use super::format::{GROUP_HEADER_BYTES, GROUP_MAGIC, GroupHeader, RECORD_HEADER_BYTES, RecordHeader};
use super::segment::Segment;
use super::shared::Shared;
use crate::error::{Error, Result};
use crate::record::{Offset, Record};

/// How much is read from a file at once, at least and at most, unless one record is larger.
const CHUNK_BYTES_MIN: usize = 64 * 1024;
const CHUNK_BYTES_MAX: usize = 4 * 1024 * 1024;

impl Shared {
    pub(super) fn read(&self, from: Offset, bytes_max: usize) -> Result<Vec<Record>> {
        let from = from.max(Offset::FIRST);
        let end = self.end();
        if from < self.start() {
            return Err(Error::trimmed(self.start()));
        }
        if from >= end {
            return Ok(Vec::new());
        }
        let recent = self.recent.lock().read(from, bytes_max);
        recent.map_or_else(|| self.read_files(from, end, bytes_max), Ok)
    }

    fn read_files(&self, from: Offset, end: Offset, bytes_max: usize) -> Result<Vec<Record>> {
        let segments: Vec<Arc<Segment>> = {
            let segments = self.segments.read();
            let after = segments.partition_point(|segment| segment.first <= from);
            // The one before was trimmed while we came here.
            let Some(index) = after.checked_sub(1) else { return Err(Error::trimmed(self.start())) };
            segments[index..].to_vec()
        };
        let mut reading = Reading { from, end, bytes_left: bytes_max, records: Vec::new() };
        for segment in segments {
            if reading.done() {
                break;
            }
            reading.read_segment(&segment)?;
        }
        Ok(reading.records)
    }
}

/// A read on its way through the files.
struct Reading {
    from: Offset,
    end: Offset,
    bytes_left: usize,
    records: Vec<Record>,
}

/// What one piece of a chunk turned out to be.
enum Step {
    /// This many bytes are done.
    Past(usize),
    /// The piece is this long; the chunk holds less.
    Needs(usize),
    /// Nothing more is wanted.
    Done,
}

impl Reading {
    fn done(&self) -> bool {
        self.records.last().is_some_and(|last| self.bytes_left == 0 || last.next() >= self.end)
    }

    fn read_segment(&mut self, segment: &Segment) -> Result<()> {
        let durable = segment.durable_bytes();
        let (mut next, mut position) = segment.seek(self.from);
        let mut wanted = self.bytes_left.clamp(CHUNK_BYTES_MIN, CHUNK_BYTES_MAX);
        while position < durable && !self.done() {
            let chunk = read_chunk(segment, position, durable, wanted)?;
            let mut at = 0;
            while at < chunk.len() {
                match self.step(segment, &chunk, at, position, &mut next)? {
                    Step::Past(bytes) => at += bytes,
                    Step::Done => return Ok(()),
                    Step::Needs(bytes) if position + (at + bytes) as u64 > durable => {
                        let what = "it is longer than the segment";
                        return Err(Error::corrupt(&segment.path, position + at as u64, what));
                    }
                    Step::Needs(bytes) => {
                        wanted = bytes.max(CHUNK_BYTES_MIN);
                        break;
                    }
                }
            }
            position += at as u64;
        }
        Ok(())
    }

    /// Verifies the piece of the chunk at `at`, and keeps it if it is a record that is wanted.
    fn step(&mut self, segment: &Segment, chunk: &Bytes, at: usize, position: u64, next: &mut Offset) -> Result<Step> {
        let rest = &chunk[at..];
        let corrupt = |what: &str| Err(Error::corrupt(&segment.path, position + at as u64, what));
        if rest.starts_with(&GROUP_MAGIC) {
            if rest.len() < GROUP_HEADER_BYTES {
                return Ok(Step::Needs(GROUP_HEADER_BYTES));
            }
            return match GroupHeader::decode(rest, segment.salt) {
                Some(group) if group.first == *next => Ok(Step::Past(GROUP_HEADER_BYTES)),
                _ => corrupt("the checksum of the group header does not match"),
            };
        }
        let Some(header) = RecordHeader::decode(rest) else { return Ok(Step::Needs(RECORD_HEADER_BYTES)) };
        if header.payload_bytes > RECORD_BYTES_MAX || header.offset != *next {
            return corrupt("this is not the header of the expected record");
        }
        if header.bytes() > rest.len() {
            return Ok(Step::Needs(header.bytes()));
        }
        if !header.verifies(rest, segment.salt) {
            return corrupt("the checksum of the record does not match");
        }
        let payload = chunk.slice(at + RECORD_HEADER_BYTES..at + header.bytes());
        let record = Record { offset: header.offset, count: header.count, payload };
        *next = record.next();
        Ok(self.keep(record, header.bytes()))
    }

    fn keep(&mut self, record: Record, bytes: usize) -> Step {
        if record.offset >= self.end {
            self.bytes_left = 0;
            return Step::Done;
        }
        if record.next() > self.from {
            if bytes > self.bytes_left && !self.records.is_empty() {
                self.bytes_left = 0;
                return Step::Done;
            }
            self.bytes_left = self.bytes_left.saturating_sub(bytes);
            self.records.push(record);
            if self.done() {
                return Step::Done;
            }
        }
        Step::Past(bytes)
    }
}

fn read_chunk(segment: &Segment, position: u64, durable: u64, wanted: usize) -> Result<Bytes> {
    let length = wanted.min((durable - position) as usize);
    let mut chunk = vec![0; length];
    let read = segment.file.read_exact_at(&mut chunk, position);
    read.map_err(|error| match error.kind() {
        // Shorter than what was durable: somebody cut it.
        std::io::ErrorKind::UnexpectedEof => Error::corrupt(&segment.path, position, "the file ends before its end"),
        _ => Error::io("read", &segment.path, &error),
    })?;
    Ok(Bytes::from(chunk))
}
