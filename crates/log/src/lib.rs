//! The durable log: an ordered sequence of opaque records, the single source of truth of everything else.
//!
//! One [`Log`] is one partition. A record takes `count` consecutive offsets, so that each event inside it has an
//! offset of its own without the log knowing what an event is.
//!
//! | module | what it holds |
//! |---|---|
//! | [`record`] | [`Offset`], [`Record`], [`NewRecord`] |
//! | [`local`] | segment files, group commit, recovery |
//! | [`memory`] | the same contract without a disk, for tests and simulation |
//! | [`disk`] | the few file operations `local` needs, so that faults can be injected |
//! | `files` | the files of a log at one moment, for a copy |
//! | [`conformance`] | the contract, as tests that run over every backend |

pub mod conformance;
pub mod disk;
pub mod error;
mod files;
pub mod local;
pub mod memory;
pub mod record;

use std::sync::Arc;

pub use error::{Error, ErrorKind, Result};
pub use files::LogFile;
pub use record::{NewRecord, Offset, OnDurable, PartitionId, Record};

/// One partition of a durable log.
///
/// Offsets rise strictly and are never used twice, across restarts too. Readers see durable records only, whole and in
/// order; damage below the durable end is an error, never a gap.
pub trait Log: Send + Sync + 'static {
    /// Queues one record. Returns at once; never blocks on the disk.
    ///
    /// `record.on_durable` is called exactly once: with the record's first offset when it is durable (locally: written
    /// and `fdatasync`ed together with everything before it), and *before* any reader can see it; or with an error, in
    /// which case the record may or may not be there after a restart, and is never visible before one.
    fn append(&self, record: NewRecord);

    /// Durable records from the one that holds `from`, in order, up to about `bytes_max` bytes (always at least one if
    /// there is one). Empty if `from` is past the end. 0 reads from offset 1.
    ///
    /// # Errors
    /// `Trimmed` if `from` lies before [`Log::start`]; `Corrupt` with file and byte if what is stored does not verify.
    fn read(&self, from: Offset, bytes_max: usize) -> Result<Vec<Record>>;

    /// Blocks until [`Log::end`] passes `offset`, or `timeout` is over, or the log is closed or poisoned.
    /// Returns the end, passed or not.
    ///
    /// # Errors
    /// If the end has not passed `offset` and never will: `Closed`, or the error that poisoned the log.
    fn wait_past(&self, offset: Offset, timeout: std::time::Duration) -> Result<Offset>;

    /// The first offset still there. Equal to [`Log::end`] if the log is empty.
    fn start(&self) -> Offset;

    /// One past the last durable offset: the offset the next record gets.
    fn end(&self) -> Offset;

    /// Forgets records whose offsets are all below `before`; may keep more (whole segments). Idempotent.
    ///
    /// # Errors
    /// `Io` if a file could not be removed; nothing at or past `before` is ever touched. `Closed` after closing.
    fn trim(&self, before: Offset) -> Result<()>;

    /// Sees to it that everything before the offset that it returns can be trimmed to the last byte: the next record
    /// begins a file of its own, and what recovery once kept aside is removed. Waits for the records queued before.
    ///
    /// # Errors
    /// `Io` or `Full` if no file could be made or removed; `Closed` after closing; the error that poisoned the log.
    fn cut(&self) -> Result<Offset> {
        Ok(self.end())
    }

    /// Its files as they are now, oldest first: a folder with a copy of them opens as this log, with every record before
    /// the [`Log::end`] of this moment, and perhaps more.
    ///
    /// # Errors
    /// `Io` if it has no files.
    fn files(&self) -> Result<Vec<LogFile>> {
        Err(Error::new(ErrorKind::Io, "this log lies in no files that could be copied"))
    }

    /// Stops taking records, makes the queued ones durable, closes. Later appends fail with `Closed`.
    ///
    /// # Errors
    /// The error that poisoned the log, if one did.
    fn close(&self) -> Result<()>;

    /// What it takes on disk now, in bytes (0 for backends without a disk).
    fn bytes_on_disk(&self) -> u64;

    /// `Err` once an append has failed: the log takes nothing more until it is opened again.
    fn health(&self) -> Result<()>;
}

/// A shared handle to a log.
pub type SharedLog = Arc<dyn Log>;

/// Appends and waits until the record is durable: [`Log::append`] for callers that can block.
///
/// # Errors
/// As the callback of [`Log::append`].
pub fn append_blocking(log: &dyn Log, payload: bytes::Bytes, count: u32) -> Result<Offset> {
    let (sender, receiver) = std::sync::mpsc::sync_channel(1);
    log.append(NewRecord::new(payload, count, move |result| drop(sender.send(result))));
    receiver.recv().unwrap_or_else(|_| Err(Error::closed()))
}
