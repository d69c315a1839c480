//! Whether rows were taken away since a version: what decides if an old answer can be given again.
//!
//! Everything up to an offset is the same for ever, in whatever files it lies, unless a commit removed a file for good
//! (`remove` with `dataChange: true`). Commits never change, so each is looked at once. A commit that is no longer there
//! cannot tell, and counts as one that took rows away.

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

impl Table {
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
            let names: Vec<String> = versions.iter().map(|version| paths::commit(*version)).collect();
            for (version, bytes) in versions.iter().zip(self.io.get_all(&names)?) {
                let Some(bytes) = bytes else { return Ok(Some(*version)) };
                let commit = actions::parse(&bytes)
                    .map_err(|why| Error::new(Kind::Corrupt, format!("commit {}: {why}", paths::commit(*version))))?;
                if commit.removes.iter().any(|removed| removed.data_change) {
                    return Ok(Some(*version));
                }
            }
            end = start;
        }
        Ok(None)
    }
}
