//! One process: what it believes, and how far its flush is.

use crate::Answer;
use crate::world::Commit;

/// A generation of the hot buffer that takes no more rows: the batches after `from` up to `last`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Sealed {
    /// The last batch before it.
    pub from: u8,
    /// Its last batch.
    pub last: u8,
}

/// How far a flush is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Doing {
    /// No flush is under way.
    Nothing,
    /// The files are written; this commit is to be put at this version.
    Sending(u8, Commit),
    /// The commit can be seen and is not durable.
    Linked(u8),
    /// The commit is answered and not read back.
    Answered(u8),
    /// The answer was an error. The version if the commit is there all the same, which only a look can tell.
    Asking(Answer, Option<u8>),
    /// The commit is in the table; readers still see the hot buffer.
    Committed,
    /// Readers see the new version; the log is not trimmed.
    Published,
}

/// A running process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Process {
    /// Commits of the table that it knows of.
    pub known: u8,
    /// Commits of the table that its readers see.
    pub view: u8,
    /// Batches applied.
    pub applied: u8,
    /// The active generation holds the batches after this one.
    pub active_from: u8,
    /// The generation on its way to the table.
    pub sealed: Option<Sealed>,
    /// How far its flush is.
    pub doing: Doing,
    /// Its next trim goes up to this batch.
    pub may_trim: u8,
    /// True once a commit of its own was read back.
    pub has_committed: bool,
}

impl Process {
    /// A process that has just opened the table at `version`, with everything up to `flushed` in it.
    pub(crate) const fn opened(version: u8, flushed: u8) -> Self {
        Self {
            known: version,
            view: version,
            applied: flushed,
            active_from: flushed,
            sealed: None,
            doing: Doing::Nothing,
            may_trim: 0,
            has_committed: false,
        }
    }

    /// The batches in its hot buffer, as bits.
    pub(crate) fn hot(&self) -> u8 {
        let sealed = self.sealed.map_or(0, |sealed| bits(sealed.from, sealed.last));
        sealed | bits(self.active_from, self.applied)
    }
}

/// The batches after `from` up to `last`, as bits.
pub(crate) fn bits(from: u8, last: u8) -> u8 {
    (from..last).fold(0, |bits, batch| bits | 1 << batch)
}
