//! Errors of the log, by what the caller must do.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use crate::disk::{is_full, is_out_of_descriptors};
use crate::record::Offset;

/// The result of a log operation.
pub type Result<T> = std::result::Result<T, Error>;

/// What the caller must do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// The log is closed: open it again.
    Closed,
    /// An earlier append failed; nothing more is taken. Stop acknowledging, restart the process.
    Poisoned,
    /// No space is left: free some; reads go on and appends work again by themselves.
    Full,
    /// The queue is full, or no file descriptor is left: try again soon.
    Busy,
    /// The offset lies before the first one still there.
    Trimmed {
        /// The first offset still there.
        start: Offset,
    },
    /// What is stored does not verify. Never skipped: restore the file, or a backup.
    Corrupt {
        /// The damaged file.
        file: PathBuf,
        /// The byte in it at which the damage begins.
        byte: u64,
    },
    /// Another process holds the folder.
    Locked,
    /// The record is larger than a log can hold.
    TooLarge,
    /// The operating system refused.
    Io,
}

/// An error of the log: its kind for the caller, its detail for people.
#[derive(Clone, Debug, thiserror::Error)]
pub struct Error {
    kind: ErrorKind,
    detail: String,
}

impl Error {
    /// An error of this kind; `detail` says what happened and what to do, in lower case.
    pub fn new(kind: ErrorKind, detail: impl Into<String>) -> Self {
        Self { kind, detail: detail.into() }
    }

    /// What the caller must do.
    #[must_use]
    pub fn kind(&self) -> &ErrorKind {
        &self.kind
    }

    pub(crate) fn closed() -> Self {
        Self::new(ErrorKind::Closed, "the log is closed: open it again")
    }

    pub(crate) fn trimmed(start: Offset) -> Self {
        Self::new(ErrorKind::Trimmed { start }, format!("trimmed: the first offset still there is {start}"))
    }

    /// Damage in a file: `what` is wrong at `byte`.
    pub(crate) fn corrupt(file: &Path, byte: u64, what: impl fmt::Display) -> Self {
        let detail = format!("{} is damaged at byte {byte}: {what}; restore this file from a backup", file.display());
        Self::new(ErrorKind::Corrupt { file: file.to_owned(), byte }, detail)
    }

    /// The operating system refused to do `what` with a file; what passes gets its own kind.
    pub(crate) fn io(what: &str, file: &Path, error: &io::Error) -> Self {
        let kind = match error {
            error if is_full(error) => ErrorKind::Full,
            error if is_out_of_descriptors(error) => ErrorKind::Busy,
            _ => ErrorKind::Io,
        };
        Self::new(kind, format!("cannot {what} {}: {error}", file.display()))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail)
    }
}
