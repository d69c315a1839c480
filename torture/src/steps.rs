//! What has happened in a data folder, as far as the names that lie in it tell: segments of the log begun and removed,
//! commits, checkpoints. A mode that stands for such a step in `docs/reliability.md` must have seen it.
//!
//! The rule: never too much. What came and went between two looks is not counted.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use crate::observe;

/// A step of the write path that leaves a name, or takes one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// A segment of the log is begun behind another.
    Roll,
    /// The table of events gets a commit.
    Commit,
    /// A segment of the log is removed.
    Trim,
    /// A table gets a checkpoint, perhaps half of one.
    Checkpoint,
}

/// How often each happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Steps {
    /// [`Step::Roll`].
    pub rolls: u64,
    /// [`Step::Commit`].
    pub commits: u64,
    /// [`Step::Trim`].
    pub trims: u64,
    /// [`Step::Checkpoint`].
    pub checkpoints: u64,
}

impl Steps {
    /// How often this one happened.
    #[must_use]
    pub const fn of(self, step: Step) -> u64 {
        match step {
            Step::Roll => self.rolls,
            Step::Commit => self.commits,
            Step::Trim => self.trims,
            Step::Checkpoint => self.checkpoints,
        }
    }

    /// Adds another folder's.
    pub const fn add(&mut self, other: Self) {
        self.rolls += other.rolls;
        self.commits += other.commits;
        self.trims += other.trims;
        self.checkpoints += other.checkpoints;
    }
}

impl fmt::Display for Steps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rolls, commits, trims, checkpoints } = self;
        write!(f, "{rolls} segments begun, {trims} removed, {commits} commits, {checkpoints} checkpoints")
    }
}

/// What was seen in one folder so far.
#[derive(Debug, Default)]
pub struct Watch {
    segments: BTreeSet<PathBuf>,
    checkpoints: BTreeSet<String>,
    commits: u64,
}

impl Watch {
    /// Looks into a stopped folder: all that has happened in it so far.
    pub fn look(&mut self, data: &Path, partitions: u16) -> Steps {
        let (mut logs, mut there) = (0, 0);
        for partition in 0..partitions {
            let found = observe::segments(data, partition).unwrap_or_default();
            if found.is_empty() {
                continue;
            }
            // Every log began with it, whether anybody saw it or not.
            let first = data.join("log").join(partition.to_string()).join(format!("{:020}.seg", 1));
            logs += 1;
            there += found.len() as u64;
            self.segments.insert(first);
            self.segments.extend(found);
        }
        let newest = observe::commits(data).unwrap_or_default().pop();
        let version = newest.and_then(|path| path.file_stem()?.to_str()?.parse().ok());
        self.commits = self.commits.max(version.unwrap_or_default());
        for table in ["events", "rejections"] {
            // One that was never proven is set aside by the next start.
            for folder in ["_delta_log", "_quarantine"] {
                let folder = data.join("table").join(table).join(folder);
                let names = names(&folder).into_iter().filter(|name| name.contains(".checkpoint.parquet"));
                self.checkpoints.extend(names.filter_map(|name| Some(format!("{table} {}", name.split_once('.')?.0))));
            }
        }
        let segments = self.segments.len() as u64;
        Steps {
            rolls: segments.saturating_sub(logs),
            commits: self.commits,
            trims: segments.saturating_sub(there),
            checkpoints: self.checkpoints.len() as u64,
        }
    }
}

/// The names in a folder; none if it is not there.
#[must_use]
pub fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    entries.filter_map(|entry| Some(entry.ok()?.file_name().to_string_lossy().into_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_what_has_happened() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path();
        let (log, commits) = (data.join("log/0"), data.join("table/events/_delta_log"));
        let set_aside = data.join("table/events/_quarantine");
        let mut watch = Watch::default();
        assert_eq!(watch.look(data, 1), Steps::default(), "nothing is there");
        for folder in [&log, &commits, &set_aside] {
            fs::create_dir_all(folder).unwrap();
        }
        let segment = |first: u64| log.join(format!("{first:020}.seg"));
        let make = |path: PathBuf| fs::write(path, "").unwrap();
        make(segment(1));
        make(commits.join(format!("{:020}.json", 0)));
        assert_eq!(watch.look(data, 1), Steps::default(), "a first start");
        make(segment(5));
        make(segment(9));
        fs::remove_file(segment(1)).unwrap();
        make(commits.join(format!("{:020}.json", 3)));
        make(commits.join(format!("{:020}.checkpoint.parquet", 2)));
        let steps = Steps { rolls: 2, commits: 3, trims: 1, checkpoints: 1 };
        assert_eq!(watch.look(data, 1), steps);
        fs::remove_file(segment(5)).unwrap();
        make(set_aside.join(format!("{:020}.checkpoint.parquet.1a", 2)));
        assert_eq!(watch.look(data, 1), Steps { trims: 2, ..steps }, "what went is remembered, what moved counts once");
        assert_eq!(Watch::default().look(data, 1), Steps { rolls: 1, trims: 1, commits: 3, checkpoints: 1 });
    }
}
