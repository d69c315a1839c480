//! Vacuum: data files that no version needs any more are removed from the object store.
//!
//! A file goes only if all of this holds: the newest version does not list it; nobody in this process holds it; it was
//! written before the retention, so that it is not of a commit that is under way; it was not removed within the
//! retention, so that readers of older versions have had their time; and it was not removed by the newest commit, which a
//! power cut may still take away. When the log does not say so far back when files were removed, nothing goes.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use ahash::AHashMap;
use eye_event::Timestamp;
use eye_fault::{CrashPoint, crash_point};

use super::io::Listed;
use super::open::{self, LogFiles};
use super::paths::{self, FilePath};
use super::{Table, actions};
use crate::error::{Error, Kind, Result};

/// Commits read at once.
const COMMITS_AT_ONCE: usize = 64;
/// Commits may be stamped a little out of order: so much older than the retention they must be before no older one is read.
const SLACK_MILLIS: i64 = 3_600_000;

/// What a vacuum removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Vacuumed {
    /// Files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// When files were removed from the table, as far back as it matters.
#[derive(Debug, Default)]
pub(crate) struct Tombstones {
    /// Commits up to this one are known.
    upto: Option<u64>,
    by_path: AHashMap<String, Tombstone>,
}

#[derive(Clone, Copy, Debug)]
struct Tombstone {
    version: u64,
    at_millis: i64,
}

impl Table {
    /// Removes data files that are no part of the table and have not been for `retention`: what compactions have replaced,
    /// and what was written and never committed. Commits may go on meanwhile.
    ///
    /// `goes_on` is asked before each file.
    ///
    /// # Errors
    /// `Unavailable` if the object store fails, or the log does not reach back far enough: nothing that is needed was
    /// removed; try again later.
    pub fn vacuum(&self, now: Timestamp, retention: Duration, goes_on: &dyn Fn() -> bool) -> Result<Vacuumed> {
        let mut tombstones = self.tombstones.lock();
        let retention = i64::try_from(retention.as_micros()).unwrap_or(i64::MAX);
        let before = Timestamp::from_micros(now.micros().saturating_sub(retention));
        // The listing first: what is committed after it is not in it.
        let mut old = self.io.list_files("")?;
        old.retain(|file| paths::is_data(&file.path) && file.written_at < before);
        let (newest, _) = open::reload(&self.io, &self.options)?;
        let known = self.current();
        let listed: HashSet<&str> = newest.files.iter().chain(&known.files).map(|file| file.path.as_str()).collect();
        old.retain(|file| !listed.contains(file.path.as_str()));
        let mut done = Vacuumed::default();
        if old.is_empty() {
            return Ok(done);
        }
        tombstones.learn(self, newest.version, before.micros().div_euclid(1_000))?;
        for Listed { path, bytes, .. } in old {
            let is_needed = self.alive.holds(&FilePath::from_log(&path))
                || tombstones.protect(&path, newest.version, before.micros().div_euclid(1_000));
            if is_needed {
                continue;
            }
            if !goes_on() {
                break;
            }
            crash_point(CrashPoint::VacuumBeforeRemove);
            self.io.remove(&path)?;
            crash_point(CrashPoint::VacuumRemoved);
            done.files += 1;
            done.bytes += bytes;
        }
        Ok(done)
    }
}

impl Tombstones {
    /// Reads the commits up to `newest` that are not known yet, newest first, back to those before the retention.
    fn learn(&mut self, table: &Table, newest: u64, before_millis: i64) -> Result<()> {
        self.by_path
            .retain(|_, tombstone| tombstone.at_millis >= before_millis || Some(tombstone.version) == self.upto);
        let from = self.upto.map_or(0, |upto| upto + 1);
        let log = LogFiles::list(&table.io)?;
        let mut fresh = BTreeMap::new();
        let mut next = newest;
        'log: while next >= from {
            let oldest = from.max((next + 1).saturating_sub(COMMITS_AT_ONCE as u64));
            let there: Vec<u64> = (oldest..=next).rev().take_while(|version| log.commits.contains(version)).collect();
            let names: Vec<String> = there.iter().map(|version| paths::commit(*version)).collect();
            for (version, bytes) in there.iter().zip(table.io.get_all(&names)?) {
                let Some(bytes) = bytes else { return Err(unknown(*version)) };
                let commit = actions::parse(&bytes)
                    .map_err(|why| Error::new(Kind::Corrupt, format!("commit {}: {why}", paths::commit(*version))))?;
                for removed in commit.removes {
                    let tombstone = Tombstone { version: *version, at_millis: removed.at };
                    fresh.entry(removed.path).or_insert(tombstone);
                }
                // Other programs' commits may not say when they were made.
                if commit.timestamp > 0 && commit.timestamp < before_millis.saturating_sub(SLACK_MILLIS) {
                    break 'log;
                }
            }
            if let Some(missing) = (oldest..=next).rev().nth(there.len()) {
                return Err(unknown(missing));
            }
            let Some(older) = oldest.checked_sub(1) else { break };
            next = older;
        }
        self.by_path.extend(fresh);
        self.upto = Some(newest);
        Ok(())
    }

    /// True if the file was removed too recently.
    fn protect(&self, path: &str, newest: u64, before_millis: i64) -> bool {
        let tombstone = self.by_path.get(path);
        tombstone.is_some_and(|tombstone| tombstone.at_millis >= before_millis || tombstone.version >= newest)
    }
}

fn unknown(version: u64) -> Error {
    let file = paths::commit(version);
    let detail =
        format!("{file} is not there to say which files were removed: nothing is vacuumed until it is old enough");
    Error::new(Kind::Unavailable, detail)
}
