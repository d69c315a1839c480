//! Every name inside a table's folder, typed.
//!
//! ```text
//! <table>/_delta_log/00000000000000000042.json                    a commit
//! <table>/_delta_log/00000000000000000042.checkpoint.parquet      a checkpoint
//! <table>/_checksums/00000000000000000042.checkpoint.sha256       what the checkpoint's bytes must be
//! <table>/_quarantine/00000000000000000042.json.<unique>          a damaged commit, kept for people
//! <table>/_erasures/era_4fKq0ZbT7xWm.wanted                       offsets that an erasure hides; `.done` when they are gone
//! <table>/received_date=2026-11-23/0-101-200-<unique>.parquet     partition, first and last offset of its commit
//! ```

use std::fmt;

use eye_event::Timestamp;
use eye_log::{Offset, PartitionId};
use uuid::Uuid;

use crate::columns::RECEIVED_DATE;

/// Where the commits lie.
pub(crate) const LOG_FOLDER: &str = "_delta_log";
/// Where the proofs of checkpoints lie.
pub(crate) const CHECKSUM_FOLDER: &str = "_checksums";
/// Where erasures are kept.
pub(crate) const ERASURES_FOLDER: &str = "_erasures";
/// Where damaged files of the log lie.
pub(crate) const QUARANTINE_FOLDER: &str = "_quarantine";
const MICROS_PER_DAY: i64 = 86_400_000_000;

/// A data file's path inside its table: what an Add action calls it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FilePath(String);

impl FilePath {
    /// A fresh path for rows received on this day (since 1970) in a commit of `first..=last`.
    pub(crate) fn fresh(day: i32, partition: PartitionId, first: Offset, last: Offset) -> Self {
        let unique = Uuid::new_v4().simple();
        Self(format!("{RECEIVED_DATE}={}/{partition}-{first}-{last}-{unique}.parquet", date_text(day)))
    }

    /// A path as an Add action gives it.
    pub(crate) fn from_log(path: &str) -> Self {
        Self(path.to_owned())
    }

    /// The path as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for FilePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// True of what [`FilePath::fresh`] names: a data file, of the table or left over.
pub(crate) fn is_data(path: &str) -> bool {
    let folder = path.strip_prefix(RECEIVED_DATE).and_then(|rest| rest.strip_prefix('='));
    folder.is_some() && path.ends_with(".parquet")
}

/// The partition and the first offset in the name of a data file; `None` if another program named it.
pub(crate) fn first_row(path: &str) -> Option<(PartitionId, Offset)> {
    let mut parts = path.rsplit('/').next()?.split('-');
    let partition = parts.next()?.parse().ok().map(PartitionId)?;
    parts.next()?.parse().ok().map(|first| (partition, Offset(first)))
}

/// The path of what is to be erased.
pub(crate) fn erasure(id: &str) -> String {
    format!("{ERASURES_FOLDER}/{id}.wanted")
}

/// The path of what an erasure has done.
pub(crate) fn erasure_done(id: &str) -> String {
    format!("{ERASURES_FOLDER}/{id}.done")
}

/// The date of a day since 1970: `YYYY-MM-DD`.
pub(crate) fn date_text(day: i32) -> String {
    Timestamp::from_micros(i64::from(day) * MICROS_PER_DAY).to_date_string()
}

/// The day since 1970 of a date text.
pub(crate) fn day_of(date: &str) -> Option<i32> {
    Timestamp::parse(&format!("{date} 00:00:00")).map(Timestamp::days)
}

/// The path of a commit.
pub(crate) fn commit(version: u64) -> String {
    format!("{LOG_FOLDER}/{version:020}.json")
}

/// The path of a checkpoint.
pub(crate) fn checkpoint(version: u64) -> String {
    format!("{LOG_FOLDER}/{version:020}.checkpoint.parquet")
}

/// The path of the hash of a checkpoint.
pub(crate) fn checkpoint_hash(version: u64) -> String {
    format!("{CHECKSUM_FOLDER}/{version:020}.checkpoint.sha256")
}

/// The path of the hint that names the newest checkpoint.
pub(crate) fn last_checkpoint() -> String {
    format!("{LOG_FOLDER}/_last_checkpoint")
}

/// Where a damaged file of the log goes.
pub(crate) fn quarantined(file: &str) -> String {
    let name = file.rsplit('/').next().unwrap_or(file);
    format!("{QUARANTINE_FOLDER}/{name}.{}", Uuid::new_v4().simple())
}

/// The version of the commit that lies here after it was set aside; `None` of any other file.
pub(crate) fn quarantined_commit(path: &str) -> Option<u64> {
    let (name, _) = path.rsplit('/').next()?.rsplit_once('.')?;
    match LogFile::parse(name) {
        LogFile::Commit(version) => Some(version),
        LogFile::Checkpoint(_) | LogFile::Other => None,
    }
}

/// What a file of the log is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LogFile {
    Commit(u64),
    Checkpoint(u64),
    Other,
}

impl LogFile {
    /// Reads a file name (without folder).
    pub(crate) fn parse(name: &str) -> Self {
        let version = |digits: &str| if digits.len() == 20 { digits.parse().ok() } else { None };
        match name.split_once('.') {
            Some((digits, "json")) => version(digits).map_or(Self::Other, Self::Commit),
            Some((digits, "checkpoint.parquet")) => version(digits).map_or(Self::Other, Self::Checkpoint),
            _ => Self::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_files_are_told_apart() {
        assert_eq!(LogFile::parse("00000000000000000042.json"), LogFile::Commit(42));
        assert_eq!(LogFile::parse("00000000000000000042.checkpoint.parquet"), LogFile::Checkpoint(42));
        for other in ["_last_checkpoint", "42.json", "00000000000000000042.crc", "0000000000000000004x.json", ""] {
            assert_eq!(LogFile::parse(other), LogFile::Other, "{other}");
        }
        assert_eq!(commit(42), "_delta_log/00000000000000000042.json");
    }

    #[test]
    fn dates_come_back() {
        for day in [-719_162, -1, 0, 20_780, 2_932_896] {
            assert_eq!(day_of(&date_text(day)), Some(day));
        }
        let path = FilePath::fresh(20_780, PartitionId(3), Offset(7), Offset(9));
        assert!(path.as_str().starts_with("received_date=2026-11-23/3-7-9-"), "{path}");
        assert_eq!(first_row(path.as_str()), Some((PartitionId(3), Offset(7))));
        assert_eq!(first_row("received_date=2026-11-23/part-0.parquet"), None);
    }
}
