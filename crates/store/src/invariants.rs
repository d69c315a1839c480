//! What must always hold, as named predicates. Run before every commit and trim, by the tests, and offline by
//! `eye verify`. A violation is a bug or damage: the caller stops instead of going on.

use eye_log::Offset;

use crate::error::{Error, Kind};
use crate::ledger::Counts;

/// An invariant that does not hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invariant {name} is violated: {detail}")]
pub struct Violation {
    /// The invariant's name.
    pub name: &'static str,
    /// What was found.
    pub detail: String,
}

impl From<Violation> for Error {
    fn from(violation: Violation) -> Self {
        Self::new(Kind::Internal, violation.to_string())
    }
}

fn require(holds: bool, name: &'static str, detail: impl FnOnce() -> String) -> Result<(), Violation> {
    if holds { Ok(()) } else { Err(Violation { name, detail: detail() }) }
}

/// *Offsets rise*: a record begins after everything applied before it.
///
/// # Errors
/// The record begins at or before `applied`.
pub fn offsets_rise(applied: Offset, record_first: Offset) -> Result<(), Violation> {
    require(record_first > applied, "offsets_rise", || {
        format!("a record at offset {record_first} follows offset {applied}")
    })
}

/// *Exactly one place*: the hot buffer begins right after what the table holds.
///
/// # Errors
/// A row of the hot buffer is in the table too.
pub fn exactly_one_place(flushed: Offset, hot_first: Option<Offset>) -> Result<(), Violation> {
    require(hot_first.is_none_or(|first| first > flushed), "exactly_one_place", || {
        format!(
            "the hot buffer holds offset {} but the table has everything up to {flushed}",
            hot_first.unwrap_or_default()
        )
    })
}

/// *Moved together*: a commit takes `flushed` from exactly where it stands to its own last offset.
///
/// # Errors
/// The commit would leave a hole or go back.
pub fn moved_together(flushed: Offset, first: Offset, last: Offset) -> Result<(), Violation> {
    require(first == flushed.plus(1) && last >= first, "moved_together", || {
        format!("a commit of offsets {first} to {last} on a table that has everything up to {flushed}")
    })
}

/// *Trim follows flush*: the log forgets nothing past `flushed`.
///
/// # Errors
/// The trim would remove something that is not in the table.
pub fn trim_follows_flush(flushed: Offset, trim_before: Offset) -> Result<(), Violation> {
    require(trim_before <= flushed.plus(1), "trim_follows_flush", || {
        format!("trimming before offset {trim_before} while only offsets up to {flushed} are in the table")
    })
}

/// *Nothing vanishes*: received = stored + duplicate + rejected.
///
/// # Errors
/// The counts do not add up.
pub fn nothing_vanishes(counts: Counts) -> Result<(), Violation> {
    require(counts.received == counts.stored + counts.duplicate + counts.rejected, "nothing_vanishes", || {
        format!(
            "{} received, but {} stored + {} duplicate + {} rejected",
            counts.received, counts.stored, counts.duplicate, counts.rejected
        )
    })
}

/// *Maintenance keeps rows*: what takes the place of files has as many rows as they had, but for those that are taken out
/// on purpose (erased, or too old).
///
/// # Errors
/// Other rows would come or go.
pub fn maintenance_keeps_rows(before: u64, after: u64, taken: u64) -> Result<(), Violation> {
    require(after.checked_add(taken) == Some(before), "maintenance_keeps_rows", || {
        format!("{after} rows in the place of {before}, and {taken} taken out")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_invariant_can_fail() {
        assert!(offsets_rise(Offset(5), Offset(6)).is_ok() && offsets_rise(Offset(5), Offset(5)).is_err());
        assert!(exactly_one_place(Offset(5), Some(Offset(6))).is_ok());
        assert!(exactly_one_place(Offset(5), Some(Offset(5))).is_err());
        assert!(moved_together(Offset(5), Offset(6), Offset(6)).is_ok());
        assert!(moved_together(Offset(5), Offset(7), Offset(9)).is_err(), "a hole");
        assert!(moved_together(Offset(5), Offset(5), Offset(9)).is_err(), "twice");
        assert!(trim_follows_flush(Offset(5), Offset(6)).is_ok() && trim_follows_flush(Offset(5), Offset(7)).is_err());
        let counts = Counts { received: 3, stored: 1, duplicate: 1, rejected: 1 };
        assert!(nothing_vanishes(counts).is_ok());
        assert!(nothing_vanishes(Counts { rejected: 0, ..counts }).is_err());
        assert!(maintenance_keeps_rows(5, 5, 0).is_ok() && maintenance_keeps_rows(5, 4, 0).is_err());
        assert!(maintenance_keeps_rows(5, 2, 3).is_ok() && maintenance_keeps_rows(5, 2, 2).is_err());
    }
}
