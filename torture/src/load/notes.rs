//! [`Notes`]: what all clients share, and the statuses that are right.
//!
//! The rule: what is noted is in the journal too, a line a request and a line an answer. The journal is for people, who look
//! into a finding when this process is gone. Nobody judges by it and nobody syncs it: no fault touches this process, and
//! what it knows it holds in memory.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::process::ExitStatus;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::Result;
use crate::http::Answer;
use crate::oracle::{Violation, Witness};
use crate::server::PATIENCE;

/// What may be answered to events: taken, or not at the moment.
pub(super) const WRITE_STATUSES: &[u16] = &[200, 503, 507];
/// What may be answered to questions.
pub(super) const READ_STATUSES: &[u16] = &[200, 404, 503];

/// What all clients share: what they know together, and the journal of it.
pub struct Notes {
    witness: Mutex<Witness>,
    journal: Mutex<File>,
    /// From here on answers do not count: there is no power, so nobody could have got them.
    is_dark: AtomicBool,
    /// The disk fails: the server may say that something is wrong with it.
    disk_fails: AtomicBool,
}

impl Notes {
    /// Empty notes, with their journal in this file.
    ///
    /// # Errors
    /// The file cannot be made.
    pub fn new(journal: &Path) -> Result<Self> {
        let journal = Mutex::new(File::create(journal)?);
        let [is_dark, disk_fails] = [false; 2].map(AtomicBool::new);
        Ok(Self { witness: Mutex::default(), journal, is_dark, disk_fails })
    }

    /// The power goes or comes: see [`Notes`].
    pub fn set_dark(&self, is_dark: bool) {
        self.is_dark.store(is_dark, Ordering::SeqCst);
        self.write(if is_dark { "dark" } else { "light" });
    }

    pub(super) fn is_dark(&self) -> bool {
        self.is_dark.load(Ordering::SeqCst)
    }

    /// The disk begins or ceases to fail: while it does, an answer of 500 is right.
    pub fn set_disk_fails(&self, disk_fails: bool) {
        self.disk_fails.store(disk_fails, Ordering::SeqCst);
    }

    /// Notes a finding.
    pub fn find(&self, violation: Violation, detail: impl Into<String>) {
        self.witness().findings.add(violation, detail);
    }

    /// Waits until so many more events are acknowledged; false if that takes too long.
    #[must_use]
    pub fn await_acknowledged(&self, more: u64) -> bool {
        let wanted = self.witness().acknowledged() + more;
        self.await_that(|witness| witness.acknowledged() >= wanted)
    }

    /// Waits until this is true of what is known; false if that takes too long.
    #[must_use]
    pub fn await_that(&self, is_true: impl Fn(&Witness) -> bool) -> bool {
        let start = Instant::now();
        while !is_true(&self.witness()) {
            if start.elapsed() > PATIENCE {
                return false;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        true
    }

    /// A process that should run until it is killed: how it had ended before, if it had, is a finding.
    pub fn judge_end(&self, ended: Option<ExitStatus>) {
        if let Some(status) = ended {
            self.find(Violation::NotRecovered, format!("it ended by itself ({status}) before it was killed"));
        }
    }

    /// An answer of another status than those that are right is a finding.
    pub(super) fn judge_status(&self, path: &str, answer: &Answer, right: &[u16]) {
        let is_excused = answer.status == 500 && self.disk_fails.load(Ordering::SeqCst);
        if !is_excused && !right.contains(&answer.status) {
            let detail = format!("{path} is answered with {}: {}", answer.status, answer.text());
            // Who asks has a token, which somebody was told is made.
            self.find(if answer.status == 401 { Violation::Lost } else { Violation::NotRecovered }, detail);
        }
    }

    /// What is known.
    pub fn witness(&self) -> MutexGuard<'_, Witness> {
        self.witness.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a line to the journal.
    pub fn write(&self, line: &str) {
        let mut journal = self.journal.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = writeln!(journal, "{line}") {
            eprintln!("torture: the journal takes nothing: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_is_not_right_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let notes = Notes::new(&folder.path().join("journal")).unwrap();
        let judge = |status, right| {
            notes.judge_status("/", &Answer { status, body: Vec::new() }, right);
            std::mem::take(&mut notes.witness().findings).names()
        };
        for status in [200, 503, 507] {
            assert_eq!(judge(status, WRITE_STATUSES), "");
        }
        for status in [400, 404, 413, 500] {
            assert_eq!(judge(status, WRITE_STATUSES), "NotRecovered 1", "{status}");
        }
        assert_eq!(judge(401, WRITE_STATUSES), "Lost 1", "a token that was made");
        assert_eq!((judge(404, READ_STATUSES).as_str(), judge(507, READ_STATUSES).as_str()), ("", "NotRecovered 1"));
        notes.set_disk_fails(true);
        assert_eq!((judge(500, READ_STATUSES).as_str(), judge(400, READ_STATUSES).as_str()), ("", "NotRecovered 1"));
    }
}
