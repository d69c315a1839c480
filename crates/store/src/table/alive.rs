//! [`Alive`]: files that a vacuum must leave alone although the newest version does not list them, because somebody in
//! this process still needs them: written and not yet committed, or removed and still read by a snapshot.
//!
//! Whoever needs a file holds it, so a weak handle is enough to know. Other processes are given time instead.

use std::collections::HashSet;
use std::sync::{Arc, Weak};

use ahash::AHashMap;
use parking_lot::Mutex;

use super::paths::FilePath;
use super::version::{TableFile, TableVersion};

/// See the module.
#[derive(Default)]
pub(crate) struct Alive(Mutex<Files>);

#[derive(Default)]
struct Files {
    by_path: AHashMap<FilePath, Weak<TableFile>>,
    /// How many there may be before those that nobody holds are forgotten.
    prune_at: usize,
}

/// Handles below which none is looked for that nobody holds.
const PRUNE_AT_LEAST: usize = 1024;

impl Alive {
    /// These files are needed for as long as somebody holds them.
    pub(crate) fn keep(&self, files: &[Arc<TableFile>]) {
        let mut kept = self.0.lock();
        kept.by_path.extend(files.iter().map(|file| (file.path.clone(), Arc::downgrade(file))));
        if kept.by_path.len() > kept.prune_at.max(PRUNE_AT_LEAST) {
            kept.by_path.retain(|_, file| file.strong_count() > 0);
            kept.prune_at = kept.by_path.len() * 2;
        }
    }

    /// Keeps what `before` lists and `after` does not.
    pub(crate) fn keep_removed(&self, before: &TableVersion, after: &TableVersion) {
        let listed: HashSet<&FilePath> = after.files.iter().map(|file| &file.path).collect();
        let removed = before.files.iter().filter(|file| !listed.contains(&file.path));
        self.keep(&removed.cloned().collect::<Vec<_>>());
    }

    /// How many of the files that are meant somebody holds.
    pub(crate) fn count_held(&self, is_meant: impl Fn(&FilePath) -> bool) -> u64 {
        let kept = self.0.lock();
        kept.by_path.iter().filter(|(path, file)| file.strong_count() > 0 && is_meant(path)).count() as u64
    }

    /// True if somebody holds the file.
    pub(crate) fn holds(&self, path: &FilePath) -> bool {
        self.0.lock().by_path.get(path).is_some_and(|file| file.strong_count() > 0)
    }
}
