//! Errors of the store, by what the caller must do.

use std::fmt;

/// The result of a store operation.
pub type Result<T> = std::result::Result<T, Error>;

/// What the caller must do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The request is wrong: mend it.
    Invalid,
    /// Too much at once: try again after a moment. Nothing was acknowledged.
    Busy,
    /// No space is left for writes; reads go on.
    Full,
    /// The store cannot take or answer this now (closing, poisoned, object store away): try again later.
    Unavailable,
    /// What is stored does not verify. Never skipped.
    Corrupt,
    /// Somebody else moved the table: reload, look, decide again.
    Conflict,
    /// A bug, or a failure nobody expects.
    Internal,
}

/// An error of the store: its kind for the caller, its detail for people.
#[derive(Clone, Debug, thiserror::Error)]
pub struct Error {
    kind: Kind,
    detail: String,
}

impl Error {
    /// An error of this kind; `detail` says what happened and what to do, in lower case.
    pub fn new(kind: Kind, detail: impl Into<String>) -> Self {
        Self { kind, detail: detail.into() }
    }

    /// What the caller must do.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The same error, with what was being done in front.
    #[must_use]
    pub fn context(self, doing: impl fmt::Display) -> Self {
        Self { kind: self.kind, detail: format!("{doing}: {}", self.detail) }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail)
    }
}

impl From<eye_log::Error> for Error {
    fn from(error: eye_log::Error) -> Self {
        use eye_log::ErrorKind;
        let kind = match error.kind() {
            ErrorKind::Full => Kind::Full,
            ErrorKind::Busy => Kind::Busy,
            ErrorKind::Corrupt { .. } => Kind::Corrupt,
            ErrorKind::TooLarge => Kind::Invalid,
            ErrorKind::Closed | ErrorKind::Poisoned | ErrorKind::Locked => Kind::Unavailable,
            ErrorKind::Trimmed { .. } | ErrorKind::Io => Kind::Internal,
        };
        Self::new(kind, error.to_string())
    }
}

impl From<eye_event::EncodingError> for Error {
    fn from(error: eye_event::EncodingError) -> Self {
        Self::new(Kind::Corrupt, error.to_string())
    }
}
