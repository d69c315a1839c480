//! Vacuum: data files that no version needs any more are removed from the object store.
//!
//! A file goes only if all of this holds: the newest version does not list it; nobody in this process holds it; it was
//! written before the retention, so that it is not of a commit that is under way; it was not removed within the
//! retention, so that readers of older versions have had their time; and it was not removed by one of the newest commits,
//! so that these can be taken back: a power cut may take the newest, people may take some more, and the log keeps what they
//! held as long. When the table's log does not say so far back when files were removed, nothing goes.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use ahash::AHashMap;
use eye_event::Timestamp;
use eye_fault::{CrashPoint, Sabotage, crash_point, sabotaged};

use super::io::Listed;
use super::open::{self, LogFiles};
use super::paths::{self, FilePath};
use super::version::TableVersion;
use super::{Table, actions};
use crate::error::{Error, Kind, Result};

/// Commits read at once.
const COMMITS_AT_ONCE: usize = 64;
/// Commits may be stamped a little out of order: so much older than the retention they must be before no older one is read.
const SLACK_MILLIS: i64 = 3_600_000;

/// Which files a vacuum leaves alone although nobody in this process needs them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VacuumRules {
    /// Those that were written or removed so recently.
    pub retention: Duration,
    /// Those that so many of the newest commits have removed; at least the newest.
    pub keep_commits: u64,
    /// The caller's clock.
    pub now: Timestamp,
}

impl VacuumRules {
    /// What was written or removed before this time, in microseconds, may go.
    fn before(&self) -> i64 {
        let retention = i64::try_from(self.retention.as_micros()).unwrap_or(i64::MAX);
        self.now.micros().saturating_sub(retention)
    }

    fn before_millis(&self) -> i64 {
        self.before().div_euclid(1_000)
    }

    /// Commits up to this one may not be taken back.
    fn settled(&self, newest: u64) -> Option<u64> {
        newest.checked_sub(self.keep_commits.max(1))
    }
}

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
    /// Removes data files that are no part of the table and have not been for as long as the rules say: what
    /// compactions have replaced, and what was written and never committed. Commits may go on meanwhile.
    ///
    /// `goes_on` is asked as soon as there may be something to remove, and before each file.
    ///
    /// # Errors
    /// `Unavailable` if the object store fails, or the log does not reach back far enough: nothing that is needed was
    /// removed; try again later.
    pub fn vacuum(&self, rules: &VacuumRules, goes_on: &dyn Fn() -> bool) -> Result<Vacuumed> {
        let mut tombstones = self.tombstones.lock();
        // The listing first: what is committed after it is not in it.
        let mut old = self.io.list_files("")?;
        old.retain(|file| paths::is_data(&file.path) && file.written_at.micros() < rules.before());
        self.current().drop_listed(&mut old);
        let mut done = Vacuumed::default();
        // Mostly nothing is as old, and to read the log again takes memory.
        if old.is_empty() {
            return Ok(done);
        }
        // A checkpoint that is being written must not look stale to it.
        let newest = {
            let _maintenance = self.maintenance.lock();
            open::reload(&self.io, &self.options)?.0
        };
        for version in [&newest, &*self.current()] {
            version.drop_listed(&mut old);
        }
        // What is learned by a clock that is not believed would be forgotten too early.
        if old.is_empty() || !goes_on() {
            return Ok(done);
        }
        tombstones.learn(self, newest.version, rules)?;
        for Listed { path, bytes, .. } in old {
            let is_held = self.alive.holds(&FilePath::from_log(&path)) && !sabotaged(Sabotage::VacuumListed);
            if is_held || tombstones.protect(&path, newest.version, rules) {
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

impl TableVersion {
    /// Leaves of these files only those that are no part of this version.
    fn drop_listed(&self, files: &mut Vec<Listed>) {
        if !sabotaged(Sabotage::VacuumListed) {
            let listed: HashSet<&str> = self.files.iter().map(|file| file.path.as_str()).collect();
            files.retain(|file| !listed.contains(file.path.as_str()));
        }
    }
}

impl Tombstones {
    /// Reads the commits up to `newest` that are not known yet, newest first, back to those that matter no more.
    fn learn(&mut self, table: &Table, newest: u64, rules: &VacuumRules) -> Result<()> {
        self.by_path.retain(|_, tombstone| tombstone.protects(newest, rules));
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
                // Other programs need not say when they removed a file, nor when they made a commit.
                let made = if commit.timestamp > 0 { commit.timestamp } else { i64::MAX };
                for removed in commit.removes {
                    let tombstone = Tombstone { version: *version, at_millis: removed.at.unwrap_or(made) };
                    fresh.entry(removed.path).or_insert(tombstone);
                }
                let is_old =
                    commit.timestamp > 0 && commit.timestamp < rules.before_millis().saturating_sub(SLACK_MILLIS);
                if is_old && rules.settled(newest).is_some_and(|settled| *version <= settled) {
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
    fn protect(&self, path: &str, newest: u64, rules: &VacuumRules) -> bool {
        self.by_path.get(path).is_some_and(|tombstone| tombstone.protects(newest, rules))
    }
}

impl Tombstone {
    fn protects(&self, newest: u64, rules: &VacuumRules) -> bool {
        self.at_millis >= rules.before_millis() || rules.settled(newest).is_none_or(|settled| self.version > settled)
    }
}

fn unknown(version: u64) -> Error {
    let file = paths::commit(version);
    let detail =
        format!("{file} is not there to say which files were removed: nothing is vacuumed until it is old enough");
    Error::new(Kind::Unavailable, detail)
}
