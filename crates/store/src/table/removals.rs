//! Whether rows were taken away since a version: what decides if an old answer can be given again. And how many, by which
//! commits: what has become of an answer since.
//!
//! Everything up to an offset is the same for ever, in whatever files it lies, unless a commit removed a file for good
//! (`remove` with `dataChange: true`). Commits never change, so each is looked at once. A commit that is no longer there
//! cannot tell, and counts as one that took rows away.

use eye_event::Timestamp;

use super::actions::ParsedCommit;
use super::removed::Removed;
use super::{Table, actions, paths};
use crate::error::{Error, Kind, Result};

/// Commits read at once.
const COMMITS_AT_ONCE: u64 = 64;

/// What is known of the commits behind `from`, up to and including `to`.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Removals {
    from: u64,
    to: u64,
    /// The newest of them that took rows away.
    newest: Option<u64>,
}

/// Rows that one commit took away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Removal {
    /// The version that it made.
    pub version: u64,
    /// When, to the millisecond.
    pub at: Timestamp,
    /// How many, and why.
    pub rows: Removed,
}

impl Table {
    /// What was taken away behind the version `from`, up to and including `to`, the oldest first. `None` if that cannot be
    /// told: a commit is no longer there, or another program took rows away.
    ///
    /// # Errors
    /// `Unavailable` if the object store fails; `Corrupt` for a commit that is damaged.
    pub fn removals(&self, from: u64, to: u64) -> Result<Option<Vec<Removal>>> {
        if from >= to || self.keeps_rows_since(from)? {
            return Ok(Some(Vec::new()));
        }
        let mut removals = Vec::new();
        // What was taken away before; a table that was just made has lost nothing.
        let mut before = (from == 0).then(Removed::default);
        let mut start = from;
        while start <= to {
            let end = start.saturating_add(COMMITS_AT_ONCE - 1).min(to);
            let versions: Vec<u64> = (start..=end).collect();
            for (version, commit) in versions.iter().zip(self.commits(&versions)?) {
                let Some(commit) = commit else { return Ok(None) };
                let takes_rows = *version > from && commit.takes_rows();
                match (commit.removed_all(), before) {
                    (None, _) | (_, None) if takes_rows => return Ok(None),
                    (Some(all), Some(before)) if takes_rows => {
                        let rows = all.without(before);
                        let at = Timestamp::from_micros(commit.timestamp.saturating_mul(1_000));
                        removals.extend((rows.total() > 0).then_some(Removal { version: *version, at, rows }));
                    }
                    _ => {}
                }
                before = commit.removed_all().or(before);
            }
            start = end.saturating_add(1);
        }
        Ok(Some(removals))
    }

    /// These commits, read at once; `None` where there is none any more.
    fn commits(&self, versions: &[u64]) -> Result<Vec<Option<ParsedCommit>>> {
        let names: Vec<String> = versions.iter().map(|version| paths::commit(*version)).collect();
        let all = names.iter().zip(self.io.get_all(&names)?);
        all.map(|(name, bytes)| {
            let Some(bytes) = bytes else { return Ok(None) };
            let commit =
                actions::parse(&bytes).map_err(|why| Error::new(Kind::Corrupt, format!("commit {name}: {why}")))?;
            Ok(Some(commit))
        })
        .collect()
    }

    /// True if every row of this version is in the newest one too. False for a version that is not there yet.
    ///
    /// # Errors
    /// `Unavailable` if the object store fails; `Corrupt` for a commit that is damaged.
    pub fn keeps_rows_since(&self, version: u64) -> Result<bool> {
        let newest = self.current().version;
        if version > newest {
            return Ok(false);
        }
        let mut known = self.removals.lock();
        if known.to == 0 {
            *known = Removals { from: newest, to: newest, newest: None };
        }
        // What is new, then what is older than all that was looked at.
        let upwards = self.newest_removal(known.to, newest)?;
        *known = Removals { to: newest, newest: upwards.or(known.newest), ..*known };
        if known.newest.is_none() && version < known.from {
            let removal = self.newest_removal(version, known.from)?;
            *known = Removals { from: version, newest: removal, ..*known };
        }
        Ok(known.newest.is_none_or(|removal| removal <= version))
    }

    /// The newest commit behind `from`, up to and including `to`, that took rows away.
    fn newest_removal(&self, from: u64, to: u64) -> Result<Option<u64>> {
        let mut end = to;
        while end > from {
            let start = end.saturating_sub(COMMITS_AT_ONCE).max(from);
            let versions: Vec<u64> = (start + 1..=end).rev().collect();
            for (version, commit) in versions.iter().zip(self.commits(&versions)?) {
                if commit.is_none_or(|commit| commit.takes_rows()) {
                    return Ok(Some(*version));
                }
            }
            end = start;
        }
        Ok(None)
    }
}

impl ParsedCommit {
    /// True if it takes rows away.
    fn takes_rows(&self) -> bool {
        self.removes.iter().any(|removed| removed.data_change)
    }

    /// What was taken away since the table was made, up to and including this commit; `None` if it is not ours.
    fn removed_all(&self) -> Option<Removed> {
        let of_flush = self.eye.as_ref().map(|eye| &eye.removed);
        let rows = self.maintenance.as_ref().map(|maintenance| &maintenance.removed).or(of_flush)?;
        Some(rows.values().fold(Removed::default(), |sum, rows| sum.and(*rows)))
    }
}
