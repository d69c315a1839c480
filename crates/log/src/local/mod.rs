//! The log in files of one machine: segments, group commit, recovery.
//!
//! | file | what it holds |
//! |---|---|
//! | `format` | the bytes of a segment |
//! | `segment` | one segment file: name, handle, index |
//! | `queue` | records on their way to the writer |
//! | `writer` | the thread that writes, syncs and acknowledges |
//! | `shared` | what writer and readers share |
//! | `reader` | reads, from memory or files |
//! | `scan` | verifies segments, tells torn from damaged |
//! | `recovery` | opens what a process left behind |
//! | `verify` | the same check, offline, read only |
//!
//! The rules that must hold:
//!
//! 1. A record is acknowledged after `fdatasync` of the group that holds it has returned without error, in a segment
//!    whose name is durable.
//! 2. A failed write or sync poisons the log. No sync is tried again. Reads go on.
//! 3. What does not verify is a torn tail only in the last group of the newest segment; a torn tail is kept beside the
//!    segment before it is cut. Everything else is damage and named.
//! 4. Records are refused before the disk is full, and taken again when there is space.

mod format;
mod queue;
mod reader;
mod recovery;
mod scan;
mod segment;
mod shared;
mod verify;
mod writer;

use std::path::PathBuf;
use std::sync::Arc;
use std::thread::{JoinHandle, ThreadId};
use std::time::Duration;

use eye_fault::{CrashPoint, crash_point};
use parking_lot::Mutex;

use self::queue::Queue;
pub use self::recovery::{Cut, RecoveryReport};
use self::recovery::{Recovered, recover};
use self::segment::Segment;
use self::shared::Shared;
pub use self::verify::{TornTail, VerifyReport, verify};
use self::writer::Writer;
use crate::Log;
use crate::disk::Disk;
use crate::error::{Error, ErrorKind, Result};
use crate::files::LogFile;
use crate::record::{NewRecord, Offset, PartitionId, Record};

/// The largest payload that the format takes, in bytes, whatever the options say.
pub const RECORD_BYTES_MAX: usize = 512 * 1024 * 1024;

/// Where a local log lives, and its limits.
#[derive(Clone, Debug)]
pub struct LocalOptions {
    /// The folder of this partition; created if it is not there. Nothing else may write into it.
    pub dir: PathBuf,
    /// Which partition it is; written into each segment and checked.
    pub partition: PartitionId,
    /// A segment that would grow beyond this is followed by a new one. A larger record gets a segment of its own.
    pub segment_bytes_max: u64,
    /// The largest payload that is taken; at most [`RECORD_BYTES_MAX`].
    pub record_bytes_max: usize,
    /// How much may be on its way to the disk, in bytes of memory; beyond it `Busy`. One record always may.
    pub queue_bytes_max: usize,
    /// What is left free on the file system; beyond it `Full`.
    pub reserve_bytes: u64,
    /// How many zeros a small group that grows its segment brings with it, for the groups after it to be written over: a
    /// sync that grows no file is several times quicker. Groups above a sixteenth of this bring none.
    pub room_bytes: usize,
    /// How much of the newest records is kept in memory for readers.
    pub recent_bytes_max: usize,
    /// For simulation and fixtures: log id and salts are made from this number. Else they are random, as they must be
    /// for a log on a real disk.
    pub salt_seed: Option<u64>,
}

impl LocalOptions {
    /// The defaults: segments of 64 MiB, records up to 32 MiB, 64 MiB on their way, 64 MiB kept free, 1 MiB of room,
    /// 32 MiB recent.
    #[must_use]
    pub fn new(dir: impl Into<PathBuf>, partition: PartitionId) -> Self {
        const MIB: usize = 1024 * 1024;
        Self {
            dir: dir.into(),
            partition,
            segment_bytes_max: 64 * MIB as u64,
            record_bytes_max: 32 * MIB,
            queue_bytes_max: 64 * MIB,
            reserve_bytes: 64 * MIB as u64,
            room_bytes: MIB,
            recent_bytes_max: 32 * MIB,
            salt_seed: None,
        }
    }
}

/// One partition of a log in local files.
///
/// Dropping it closes it; errors are then lost, so call [`Log::close`]. Reads go on after closing, from what was open.
pub struct LocalLog {
    shared: Arc<Shared>,
    disk: Arc<dyn Disk>,
    options: LocalOptions,
    writer_id: ThreadId,
    /// `None` once closed. Held while trimming, so that no file is removed after the folder is given up.
    writer: Mutex<Option<JoinHandle<()>>>,
}

impl LocalLog {
    /// Opens the log in `options.dir`, or begins one there, and verifies all of it.
    ///
    /// When this returns, everything that can be read is durable.
    ///
    /// # Errors
    /// `Locked` if another handle holds the folder; `Corrupt` with file and byte if anything but the torn end of the
    /// last write does not verify; `Full` if there is no space to keep a torn tail; `Io` if the operating system
    /// refused. Nothing is changed after `Locked` and `Corrupt`.
    pub fn open(mut options: LocalOptions, disk: Arc<dyn Disk>) -> Result<(Self, RecoveryReport)> {
        options.record_bytes_max = options.record_bytes_max.min(RECORD_BYTES_MAX);
        let dir = options.dir.as_path();
        disk.create_dir_all(dir).map_err(|error| Error::io("create", dir, &error))?;
        let folder = disk.lock_dir(dir).map_err(|error| Error::io("lock", dir, &error))?.ok_or_else(|| {
            let detail = format!("{} is open in another process: stop that one first", dir.display());
            Error::new(ErrorKind::Locked, detail)
        })?;
        let Recovered { segments, active, report } = recover(&options, &*disk, &*folder)?;
        let queue = Queue::new(options.queue_bytes_max);
        let shared = Arc::new(Shared::new(queue, segments, active.next, options.recent_bytes_max));
        let mut writer = Writer {
            shared: Arc::clone(&shared),
            disk: Arc::clone(&disk),
            options: options.clone(),
            active,
            buffer: Vec::new(),
            folder,
        };
        writer.seal()?;
        let thread = std::thread::Builder::new()
            .name(format!("log-{}", options.partition))
            .spawn(move || writer.run())
            .map_err(|error| Error::new(ErrorKind::Io, format!("cannot start the log's writer: {error}")))?;
        let writer_id = thread.thread().id();
        Ok((Self { shared, disk, options, writer_id, writer: Mutex::new(Some(thread)) }, report))
    }

    /// Removes the oldest segment if it lies wholly below `before`. False if it does not.
    fn trim_one(&self, before: Offset) -> Result<bool> {
        let (path, next) = match &self.shared.segments.read()[..] {
            [oldest, second, ..] if second.first <= before => (oldest.path.clone(), second.first),
            _ => return Ok(false),
        };
        let dir = &self.options.dir;
        crash_point(CrashPoint::TrimBeforeRemove);
        match self.disk.remove(&path) {
            // An earlier try removed it and failed afterwards.
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(Error::io("remove", &path, &error));
            }
            _ => {}
        }
        crash_point(CrashPoint::TrimRemoved);
        // One by one, so that no crash can leave a hole between segments.
        self.disk.sync_dir(dir).map_err(|error| Error::io("sync", dir, &error))?;
        crash_point(CrashPoint::TrimSynced);
        self.shared.set_start(next);
        self.shared.segments.write().remove(0);
        Ok(true)
    }
}

impl LocalLog {
    /// Removes what recovery has kept beside segments.
    fn remove_kept_tails(&self) -> Result<()> {
        let dir = &self.options.dir;
        let names = self.disk.list(dir).map_err(|error| Error::io("list", dir, &error))?;
        let kept: Vec<_> =
            names.iter().filter(|name| recovery::is_kept_tail(name)).map(|name| dir.join(name)).collect();
        for path in &kept {
            match self.disk.remove(path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(Error::io("remove", path, &error));
                }
                _ => {}
            }
        }
        if !kept.is_empty() {
            self.disk.sync_dir(dir).map_err(|error| Error::io("sync", dir, &error))?;
        }
        Ok(())
    }
}

impl Log for LocalLog {
    fn append(&self, record: NewRecord) {
        let (bytes, bytes_max) = (record.payload.len(), self.options.record_bytes_max);
        if bytes > bytes_max {
            let detail = format!("a record of {bytes} bytes is larger than {bytes_max}: send less at once");
            return (record.on_durable)(Err(Error::new(ErrorKind::TooLarge, detail)));
        }
        if let Err((on_durable, error)) = self.shared.queue.push(record) {
            on_durable(Err(error));
        }
    }

    fn read(&self, from: Offset, bytes_max: usize) -> Result<Vec<Record>> {
        self.shared.read(from, bytes_max)
    }

    fn wait_past(&self, offset: Offset, timeout: Duration) -> Result<Offset> {
        self.shared.wait_past(offset, timeout)
    }

    fn start(&self) -> Offset {
        self.shared.start()
    }

    fn end(&self) -> Offset {
        self.shared.end()
    }

    fn trim(&self, before: Offset) -> Result<()> {
        let writer = self.writer.lock();
        if writer.is_none() {
            return Err(Error::closed());
        }
        while self.trim_one(before)? {}
        Ok(())
    }

    fn cut(&self) -> Result<Offset> {
        let (sender, receiver) = std::sync::mpsc::sync_channel(1);
        self.shared.queue.push_cutter(sender)?;
        let gone = |_| Err(self.health().err().unwrap_or_else(Error::closed));
        let first = receiver.recv().unwrap_or_else(gone)?;
        let writer = self.writer.lock();
        if writer.is_none() {
            return Err(Error::closed());
        }
        self.remove_kept_tails()?;
        Ok(first)
    }

    fn files(&self) -> Result<Vec<LogFile>> {
        // Under the lock, so that no segment goes or comes between two of them.
        let segments = self.shared.segments.read();
        let file = |segment: &Arc<Segment>| LogFile {
            name: segment.path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            bytes: segment.durable_bytes(),
            file: Arc::clone(&segment.file),
        };
        Ok(segments.iter().map(file).collect())
    }

    fn close(&self) -> Result<()> {
        self.shared.queue.refuse(Error::closed());
        // A callback may hold the last handle: the writer cannot wait for itself.
        if std::thread::current().id() != self.writer_id {
            let mut writer = self.writer.lock();
            if let Some(thread) = writer.take() {
                // A panic has poisoned the log: `health` says so.
                drop(thread.join());
            }
        }
        self.health()
    }

    fn bytes_on_disk(&self) -> u64 {
        self.shared.segments.read().iter().map(|segment| segment.durable_bytes()).sum()
    }

    fn health(&self) -> Result<()> {
        self.shared.health()
    }
}

impl Drop for LocalLog {
    fn drop(&mut self) {
        drop(self.close());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limits_are_the_documented_ones() {
        assert_eq!(RECORD_BYTES_MAX, 536_870_912);
        let options = LocalOptions::new("log", PartitionId(3));
        assert_eq!(options.segment_bytes_max, 67_108_864);
        assert_eq!(options.record_bytes_max, 33_554_432);
        assert_eq!(options.queue_bytes_max, 67_108_864);
        assert_eq!(options.reserve_bytes, 67_108_864);
        assert_eq!(options.room_bytes, 1_048_576);
        assert_eq!(options.recent_bytes_max, 33_554_432);
    }
}
