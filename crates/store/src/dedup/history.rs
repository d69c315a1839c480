//! [`DedupHistory`]: under which settings of the window events were told from their repeats. It stands in every commit of
//! events, beside the ledger.
//!
//! ```text
//! "dedup":[{"from":1,"window_seconds":86400,"ids_max":50000000},{"from":70412,"window_seconds":172800,"ids_max":50000000}]
//! ```
//!
//! Any start may have other settings, and what was decided stays as it was decided: whoever judges stored events later, as
//! `eye verify` does, needs the window of then. Like the ledger it is of the whole partition, so that the newest commit is
//! enough.
//!
//! The rule: whatever lies behind `flushed` is decided by whoever has the store open, in the replay too. So a rule begins
//! right behind the last offset that the table has when the store is opened. What lies before the first rule was decided
//! under a window that nobody knows: by a program that did not write it down, or more than [`RULES_MAX`] changes ago.

use std::time::Duration;

use eye_log::Offset;
use serde::{Deserialize, Serialize};

use super::MICROS_PER_SECOND;

/// Rules that are kept; the oldest go first.
const RULES_MAX: usize = 50;

/// The settings of the window from an offset on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DedupRule {
    /// The first offset that was decided so.
    from: u64,
    /// How long an id was remembered, in whole seconds as the window counts.
    pub window_seconds: i64,
    /// How many ids were remembered at most.
    pub ids_max: u64,
}

/// The settings of the window, from each offset on with which they changed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DedupHistory(Vec<DedupRule>);

impl DedupHistory {
    /// From this offset on, which lies behind all that was decided before, events are decided under these settings.
    pub fn begin(&mut self, from: Offset, window: Duration, ids_max: usize) {
        let window_micros = i64::try_from(window.as_micros()).unwrap_or(i64::MAX);
        let (window_seconds, ids_max) = (window_micros / MICROS_PER_SECOND, ids_max as u64);
        if self.0.last().is_some_and(|last| (last.window_seconds, last.ids_max) == (window_seconds, ids_max)) {
            return;
        }
        self.0.push(DedupRule { from: from.0, window_seconds, ids_max });
        let beyond = self.0.len().saturating_sub(RULES_MAX);
        self.0.drain(..beyond);
    }

    /// The settings under which this offset was decided; `None` if nobody knows.
    #[must_use]
    pub fn at(&self, offset: Offset) -> Option<DedupRule> {
        let begun = self.0.partition_point(|rule| rule.from <= offset.0);
        self.0[..begun].last().copied()
    }

    /// The newest settings; if there are none, those of no window at all.
    #[must_use]
    pub fn latest(&self) -> DedupRule {
        self.0.last().copied().unwrap_or_default()
    }

    /// The longest window under which this offset or a later one was decided, in seconds.
    #[must_use]
    pub fn longest_seconds(&self, offset: Offset) -> i64 {
        self.from(offset).map(|rule| rule.window_seconds).max().unwrap_or_default()
    }

    /// The most ids that were remembered when this offset or a later one was decided.
    #[must_use]
    pub fn most_ids(&self, offset: Offset) -> u64 {
        self.from(offset).map(|rule| rule.ids_max).max().unwrap_or_default()
    }

    /// The settings of this offset and of later ones.
    fn from(&self, offset: Offset) -> impl Iterator<Item = &DedupRule> {
        let over = self.0.partition_point(|rule| rule.from <= offset.0).saturating_sub(1);
        self.0[over..].iter()
    }

    /// True if nothing is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn history(rules: &[(u64, u64, usize)]) -> DedupHistory {
        let mut history = DedupHistory::default();
        for (from, seconds, ids_max) in rules {
            history.begin(Offset(*from), Duration::from_secs(*seconds), *ids_max);
        }
        history
    }

    #[test]
    fn each_offset_has_the_settings_that_were_in_force() {
        let history = history(&[(10, 3600, 9), (20, 3600, 9), (30, 60, 9), (40, 60, 8)]);
        assert_eq!(history.0.len(), 3, "the same settings again are no change");
        let at = |offset| history.at(Offset(offset)).map(|rule| (rule.window_seconds, rule.ids_max));
        assert_eq!((at(0), at(9)), (None, None));
        assert_eq!((at(10), at(29)), (Some((3600, 9)), Some((3600, 9))));
        assert_eq!((at(30), at(39), at(40)), (Some((60, 9)), Some((60, 9)), Some((60, 8))));
        assert_eq!(at(u64::MAX).unwrap(), (history.latest().window_seconds, history.latest().ids_max));
        let longest = |offset| history.longest_seconds(Offset(offset));
        assert_eq!((longest(0), longest(29), longest(30), longest(99)), (3600, 3600, 60, 60));
        let most = |offset| history.most_ids(Offset(offset));
        assert_eq!((most(0), most(39), most(40)), (9, 9, 8));
        let nothing = DedupHistory::default();
        assert_eq!((nothing.at(Offset(5)), nothing.latest().window_seconds), (None, 0));
        assert_eq!(nothing.longest_seconds(Offset(5)), 0);
    }

    #[test]
    fn the_oldest_changes_go_first_and_long_windows_fit() {
        let mut history = DedupHistory::default();
        for number in 0..RULES_MAX as u64 + 5 {
            history.begin(Offset(number + 1), Duration::from_secs(number), 9);
        }
        assert_eq!((history.0.len(), history.at(Offset(5)), history.0[0].from), (RULES_MAX, None, 6));
        history.begin(Offset(99), Duration::MAX, usize::MAX);
        assert_eq!(history.latest().window_seconds, i64::MAX / MICROS_PER_SECOND);
    }

    #[test]
    fn what_is_written_is_read() {
        let history = history(&[(1, 86_400, 50_000_000), (70_412, 172_800, 50_000_000)]);
        let text = r#"[{"from":1,"window_seconds":86400,"ids_max":50000000},{"from":70412,"window_seconds":172800,"ids_max":50000000}]"#;
        assert_eq!(serde_json::to_string(&history).unwrap(), text);
        assert_eq!(serde_json::from_str::<DedupHistory>(text).unwrap(), history);
    }
}
