//! The one thread that writes a partition.
//!
//! It takes everything that waits, writes it as one group with one call, syncs once, and only then speaks: callbacks
//! first, then the new end, then whoever waits for it. While it syncs, the next group gathers by itself.
//!
//! A failed write or sync ends it: nothing more is acknowledged, and no sync is tried again. A full disk is no failure:
//! it is noticed before writing, the records are refused, and the next group tries anew. Nor is a new segment that finds no
//! file descriptor.

use std::collections::VecDeque;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use eye_fault::{CrashPoint, Sabotage, crash_point, sabotaged};

use super::LocalOptions;
use super::format::{
    GROUP_HEADER_BYTES, GroupHeader, SEGMENT_HEADER_BYTES, chain_after, chain_of, put_record, record_bytes,
};
use super::queue::weight;
use super::segment::{self, Failure, Identity, Index, Segment};
use super::shared::Shared;
use crate::disk::{Disk, FolderLock, is_full};
use crate::error::{Error, ErrorKind, Result};
use crate::record::{NewRecord, Offset, OnDurable, Record};

/// The most that is written and synced at once, unless one record alone is larger.
const GROUP_BYTES_MAX: usize = 16 * 1024 * 1024;
/// A group smaller than this may wait a moment for more.
const SMALL_GROUP_BYTES: usize = 64 * 1024;
/// So many small groups after a large one do not wait.
const CALM_GROUPS: u32 = 16;
/// A group larger than this part of the room brings no room with it: growing the file costs it little.
const ROOM_PART: usize = 16;

/// Where the next group goes.
pub(super) struct Active {
    pub(super) segment: Arc<Segment>,
    pub(super) identity: Identity,
    pub(super) position: u64,
    /// The file's length; between `position` and it lie zeros, the room for the next groups.
    pub(super) file_bytes: u64,
    pub(super) next: Offset,
    pub(super) chain: u32,
    /// True if what is on the disk ends with an empty group, or holds none.
    pub(super) sealed: bool,
}

pub(super) struct Writer {
    pub(super) shared: Arc<Shared>,
    pub(super) disk: Arc<dyn Disk>,
    pub(super) options: LocalOptions,
    pub(super) active: Active,
    /// The group being written; kept for its memory.
    pub(super) buffer: Vec<u8>,
    /// Nobody else writes here until the writer is gone.
    pub(super) folder: FolderLock,
}

impl Writer {
    /// Writes until the queue is closed and empty, then seals the log.
    pub(super) fn run(mut self) {
        // Dropped last, also by a panic: nobody must wait for a writer that is gone.
        let _guard = StopGuard(Arc::clone(&self.shared));
        let mut pending = VecDeque::new();
        let mut pace = Pace::default();
        while self.shared.queue.take(&mut pending) {
            if pace.may_wait(pending.iter().map(|record| record.payload.len()).sum()) {
                std::thread::yield_now();
            }
            // Before the records: those that were queued before a cut was asked for are then taken now at the latest.
            let cutters = self.shared.queue.take_cutters();
            self.shared.queue.take_more(&mut pending);
            while !pending.is_empty() {
                let records = self.gather(&mut pending);
                self.commit(records);
            }
            for cutter in cutters {
                // Whoever gave up waiting has no less.
                let _ = cutter.send(self.cut());
            }
        }
        if self.shared.health().is_ok() {
            drop(self.seal().and_then(|()| self.give_room_back()));
        }
    }

    /// The records of the next group: as many as fit, at least one.
    fn gather(&self, pending: &mut VecDeque<NewRecord>) -> Vec<NewRecord> {
        let first = pending.front().map_or(0, |record| record_bytes(record.payload.len()));
        let used =
            if self.fits(GROUP_HEADER_BYTES + first) { self.active.position } else { SEGMENT_HEADER_BYTES as u64 };
        let room = self.options.segment_bytes_max.saturating_sub(used) as usize;
        let bytes_max = room.min(GROUP_BYTES_MAX);
        let mut bytes = GROUP_HEADER_BYTES;
        let taken = pending.iter().take_while(|record| {
            bytes += record_bytes(record.payload.len());
            bytes <= bytes_max
        });
        let count = taken.count().max(1);
        pending.drain(..count).collect()
    }

    /// Writes the records as one group and tells their callers.
    fn commit(&mut self, records: Vec<NewRecord>) {
        let weight = records.iter().map(weight).sum();
        let first = self.active.next;
        match self.write(&records) {
            Ok(position) => {
                let durable = acknowledge(first, records, &self.shared);
                crash_point(CrashPoint::LogBeforePublish);
                let Active { segment, position: end, next, .. } = &self.active;
                self.shared.publish(segment, position, *end, durable, *next);
                crash_point(CrashPoint::LogAfterPublish);
            }
            Err(error) => {
                for record in records {
                    call(record.on_durable, Err(error.clone()), &self.shared);
                }
            }
        }
        self.shared.queue.release(weight);
    }

    /// When this returns without error, the records are durable; they begin at the byte that it returns.
    fn write(&mut self, records: &[NewRecord]) -> Result<u64> {
        self.shared.health()?;
        let body: usize = records.iter().map(|record| record_bytes(record.payload.len())).sum();
        let bytes = GROUP_HEADER_BYTES + body;
        let spare = self.spare_bytes(bytes)?;
        // A seal belongs to the segment that it seals, whatever its length.
        if !records.is_empty() && !self.fits(bytes) {
            self.rotate()?;
        }
        let (next, chain) = self.frame(records);
        if !records.is_empty() {
            self.make_room(spare);
        }
        self.put()?;
        let position = self.active.position;
        self.active.position += bytes as u64;
        self.active.next = next;
        self.active.chain = chain;
        self.active.sealed = records.is_empty();
        Ok(position)
    }

    /// True if the segment has room for this, or has no record yet: the next one would have the same name.
    fn fits(&self, bytes: usize) -> bool {
        let Active { segment, position, next, .. } = &self.active;
        segment.first == *next || position + bytes as u64 <= self.options.segment_bytes_max
    }

    /// How much space may be taken beside `bytes`. Refuses early, so that the disk never gets quite full.
    fn spare_bytes(&self, bytes: usize) -> Result<u64> {
        let dir = &self.options.dir;
        let free = self.disk.free_bytes(dir).map_err(|error| Error::io("measure the free space of", dir, &error))?;
        let reserve = self.options.reserve_bytes;
        if let Some(spare) = free.checked_sub(reserve.saturating_add((bytes + SEGMENT_HEADER_BYTES) as u64)) {
            return Ok(spare);
        }
        let detail = format!(
            "{free} bytes are free at {}, and {reserve} are kept in reserve: free some, writing goes on by itself",
            dir.display()
        );
        Err(Error::new(ErrorKind::Full, detail))
    }

    /// Puts zeros behind a small group that grows the file. The groups after it are written over them, and syncing those
    /// is one write to the disk: no length and no place of new blocks have to be written down too.
    fn make_room(&mut self, spare: u64) {
        let Active { position, file_bytes, .. } = self.active;
        let end = position + self.buffer.len() as u64;
        if end <= file_bytes || self.buffer.len() > self.options.room_bytes / ROOM_PART {
            return;
        }
        let left = self.options.segment_bytes_max.saturating_sub(end).min(spare);
        let room = usize::try_from(left).unwrap_or(usize::MAX).min(self.options.room_bytes);
        self.buffer.resize(self.buffer.len() + room, 0);
    }

    /// Cuts what room is left off the segment, durably: whatever stands behind its last group then is damage.
    fn give_room_back(&mut self) -> Result<()> {
        let Active { segment, position, file_bytes, .. } = &self.active;
        if file_bytes <= position {
            return Ok(());
        }
        crash_point(CrashPoint::SegmentBeforeCut);
        let cut = segment.file.truncate(*position).and_then(|()| segment.file.sync_data());
        cut.map_err(|error| self.failed("cut the room off the end of", Failure::Broken(error)))?;
        self.active.file_bytes = self.active.position;
        crash_point(CrashPoint::SegmentCut);
        Ok(())
    }

    /// Begins a new segment, unless the newest has no record yet. Its first offset.
    fn cut(&mut self) -> Result<Offset> {
        self.shared.health()?;
        if self.active.segment.first < self.active.next {
            self.spare_bytes(0)?;
            self.rotate()?;
        }
        Ok(self.active.next)
    }

    /// Begins a new segment; its header and name are durable when this returns.
    fn rotate(&mut self) -> Result<()> {
        self.give_room_back()?;
        let header = self.active.identity.header(self.active.next, self.active.chain);
        let (path, file) = segment::create(&*self.disk, &*self.folder, &self.options.dir, &header)
            .map_err(|failure| self.failed("create the segment after", failure))?;
        let position = SEGMENT_HEADER_BYTES as u64;
        let segment = Arc::new(Segment::new(path, &header, file, position, Index::default()));
        self.shared.segments.write().push(Arc::clone(&segment));
        self.active.segment = segment;
        self.active.position = position;
        self.active.file_bytes = position;
        self.active.chain = header.chain();
        // The new header covers all that came before it.
        self.active.sealed = true;
        Ok(())
    }

    /// Puts the group's bytes into the buffer. Returns the offset and the chain after it.
    fn frame(&mut self, records: &[NewRecord]) -> (Offset, u32) {
        let Active { segment, position, next, chain, .. } = &self.active;
        let mut checksums = Vec::with_capacity(records.len());
        let mut offset = *next;
        self.buffer.clear();
        self.buffer.resize(GROUP_HEADER_BYTES, 0);
        for record in records {
            let count = record.count.max(1);
            checksums.push(put_record(&mut self.buffer, segment.salt, offset, count, &record.payload));
            offset = offset.plus(u64::from(count));
        }
        let header = GroupHeader {
            position: *position,
            watermark: *position,
            first: *next,
            body_bytes: (self.buffer.len() - GROUP_HEADER_BYTES) as u32,
            records: records.len() as u32,
            chain_before: *chain,
        };
        let head = header.encode(segment.salt);
        self.buffer[..GROUP_HEADER_BYTES].copy_from_slice(&head);
        (offset, checksums.into_iter().fold(chain_of(&head), chain_after))
    }

    /// Writes the buffer at the end of the segment and syncs it.
    fn put(&mut self) -> Result<()> {
        let written = self.put_or_undo();
        self.active.file_bytes = match &written {
            Ok(()) => self.active.file_bytes.max(self.active.position + self.buffer.len() as u64),
            Err(_) => self.active.position,
        };
        self.buffer.shrink_to(GROUP_BYTES_MAX);
        written.map_err(|failure| self.failed("write to", failure))
    }

    fn put_or_undo(&self) -> std::result::Result<(), Failure> {
        let Active { segment, position, .. } = &self.active;
        if sabotaged(Sabotage::AcknowledgeBeforeSync) {
            drop(segment.file.sync_data());
        }
        crash_point(CrashPoint::LogBeforeWrite);
        match segment.file.write_all_at(&self.buffer, *position) {
            Ok(()) => self.sync(),
            Err(_) if sabotaged(Sabotage::IgnoreWriteError) => Ok(()),
            Err(error) if is_full(&error) => {
                self.undo().map_err(Failure::Broken)?;
                Err(Failure::Passing(error))
            }
            Err(error) => Err(Failure::Broken(error)),
        }
    }

    /// When this returns without error, what was written is durable.
    fn sync(&self) -> std::result::Result<(), Failure> {
        crash_point(CrashPoint::LogBeforeSync);
        if sabotaged(Sabotage::SkipLogSync) || sabotaged(Sabotage::AcknowledgeBeforeSync) {
            return Ok(());
        }
        match self.active.segment.file.sync_data() {
            Err(error) if !sabotaged(Sabotage::IgnoreSyncError) => return Err(Failure::Broken(error)),
            _ => {}
        }
        crash_point(CrashPoint::LogAfterSync);
        Ok(())
    }

    /// Takes back a write that found no space: the segment ends where it did, for sure.
    fn undo(&self) -> io::Result<()> {
        let Active { segment, position, .. } = &self.active;
        segment.file.truncate(*position)?;
        segment.file.sync_data()?;
        if segment.file.byte_len()? == *position { Ok(()) } else { Err(io::Error::other("the file kept its length")) }
    }

    /// The error for a failure. If it broke the log, the log stops.
    fn failed(&self, what: &str, failure: Failure) -> Error {
        let path = &self.active.segment.path;
        match failure {
            Failure::Passing(error) => Error::io(what, path, &error),
            Failure::Broken(error) => {
                let detail = format!(
                    "cannot {what} {}: {error}; what is on the disk is unknown now: check the disk, restart the process",
                    path.display()
                );
                tracing::error!(file = %path.display(), %error, "the log is poisoned: it takes nothing more");
                let poison = Error::new(ErrorKind::Poisoned, detail);
                self.shared.stop(poison.clone());
                poison
            }
        }
    }

    /// Writes an empty group, so that its watermark covers everything before it. Nothing to do if one is there.
    ///
    /// A full disk is no error here: the seal only makes later damage easier to tell.
    pub(super) fn seal(&mut self) -> Result<()> {
        if self.active.sealed {
            return Ok(());
        }
        crash_point(CrashPoint::LogBeforeSeal);
        match self.write(&[]) {
            Ok(position) => {
                let Active { segment, position: end, next, .. } = &self.active;
                self.shared.publish(segment, position, *end, Vec::new(), *next);
                crash_point(CrashPoint::LogAfterSeal);
                Ok(())
            }
            Err(error) if *error.kind() == ErrorKind::Full => {
                tracing::warn!(%error, "the log is left without a seal");
                Ok(())
            }
            Err(error) => Err(error),
        }
    }
}

/// Whether the next group waits a moment for more.
///
/// Small records are many, and whoever is about to append one gets to: a group of more costs no more. Large ones gain
/// nothing by it, nor do small ones beside them: whoever works on large ones keeps the core for milliseconds.
#[derive(Default)]
struct Pace {
    /// How many small groups are still not to wait, after a large one.
    restless: u32,
}

impl Pace {
    /// True if a group of so many bytes, the next one, may wait.
    fn may_wait(&mut self, bytes: usize) -> bool {
        if bytes >= SMALL_GROUP_BYTES {
            self.restless = CALM_GROUPS;
            return false;
        }
        let is_calm = self.restless == 0;
        self.restless = self.restless.saturating_sub(1);
        is_calm
    }
}

/// Calls every callback, in order. Returns the records for their readers.
fn acknowledge(first: Offset, records: Vec<NewRecord>, shared: &Shared) -> Vec<Record> {
    let mut offset = first;
    let mut durable = Vec::with_capacity(records.len());
    for NewRecord { payload, count, on_durable } in records {
        let record = Record { offset, count: count.max(1), payload };
        offset = record.next();
        call(on_durable, Ok(record.offset), shared);
        durable.push(record);
    }
    durable
}

/// Calls a callback. One that panics stops the log, but not the callbacks after it.
fn call(on_durable: OnDurable, result: Result<Offset>, shared: &Shared) {
    if catch_unwind(AssertUnwindSafe(|| on_durable(result))).is_err() {
        tracing::error!("a callback of the log panicked: the log takes nothing more");
        let detail = "a callback of the log panicked: report it, restart the process";
        shared.stop(Error::new(ErrorKind::Poisoned, detail));
    }
}

/// Stops the log when the writer ends, whatever ended it.
struct StopGuard(Arc<Shared>);

impl Drop for StopGuard {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.stop(Error::new(ErrorKind::Poisoned, "the writer of the log panicked: restart the process"));
        } else {
            self.0.stop(Error::closed());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_groups_wait_for_more_until_a_large_one_comes_and_again_when_it_is_long_ago() {
        let mut pace = Pace::default();
        assert!(pace.may_wait(0) && pace.may_wait(SMALL_GROUP_BYTES - 1));
        for _ in 0..2 {
            assert!(!pace.may_wait(SMALL_GROUP_BYTES));
            for _ in 0..CALM_GROUPS {
                assert!(!pace.may_wait(1));
            }
            assert!(pace.may_wait(1) && pace.may_wait(1));
        }
        assert!(!pace.may_wait(usize::MAX) && !pace.may_wait(1) && !pace.may_wait(usize::MAX));
        assert_eq!((1..=CALM_GROUPS).filter(|_| pace.may_wait(1)).count(), 0, "counted from the last one");
        assert!(pace.may_wait(1));
    }
}
