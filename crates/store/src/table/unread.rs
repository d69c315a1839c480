//! [`Unread`]: data files that could not be read a moment ago, though nothing says that they are damaged.
//!
//! A disk may fail on one file and read all others; an object store may be away altogether. So what could not be read
//! keeps nothing else from being done: it is tried again last, in turn. And a run ends that has met [`UNREAD_MAX`] of
//! them, so that a store that is away does not cost a timeout for each file.

use super::paths::FilePath;

/// So many files that cannot be read end a run.
pub(crate) const UNREAD_MAX: usize = 3;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Unread {
    /// The one that was tried last comes last.
    files: Vec<FilePath>,
}

impl Unread {
    /// It could not be read just now.
    pub(crate) fn note(&mut self, file: &FilePath) {
        self.forget(file);
        self.files.push(file.clone());
    }

    /// It was read, or is to be treated as any other.
    pub(crate) fn forget(&mut self, file: &FilePath) {
        self.files.retain(|known| known != file);
    }

    /// Those that are no part of the table any more need not be known.
    pub(crate) fn retain(&mut self, is_listed: impl Fn(&FilePath) -> bool) {
        self.files.retain(is_listed);
    }

    pub(crate) fn contains(&self, file: &FilePath) -> bool {
        self.files.contains(file)
    }

    /// When it is its turn among all files: `None`, and so first, if nothing is known against it.
    pub(crate) fn turn(&self, file: &FilePath) -> Option<usize> {
        self.files.iter().position(|known| known == file)
    }

    /// Those whose turn it is, as many as a run tries.
    pub(crate) fn first(&self) -> Vec<FilePath> {
        self.files.iter().take(UNREAD_MAX).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_its_turn_and_the_others_come_before_it() {
        let [one, two, three, four, other] = ["1", "2", "3", "4", "5"].map(FilePath::from_log);
        let mut unread = Unread::default();
        for file in [&one, &two, &three, &four] {
            unread.note(file);
        }
        assert_eq!(unread.first(), [one.clone(), two.clone(), three.clone()]);
        assert!(unread.turn(&other) < unread.turn(&one) && unread.turn(&one) < unread.turn(&four));
        unread.note(&one);
        assert!(unread.turn(&one) > unread.turn(&four), "it was tried again");
        assert_eq!(unread.first(), [two.clone(), three, four.clone()]);
        unread.forget(&two);
        assert!(!unread.contains(&two) && unread.turn(&two).is_none());
        unread.retain(|file| *file == one);
        assert!(unread.contains(&one) && !unread.contains(&four));
    }
}
