//! The table's rows in the order in which they arrived: where each offset lies, and whether an event is stored twice.
//!
//! This does not use the store's own window: a check that shares code with what it checks proves little.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher as _, RandomState};

use eye_event::Timestamp;
use eye_log::{Offset, PartitionId};
use eye_store::columns::{EventRows, RejectionRows};
use eye_store::table::TableVersion;
use eye_store::{Columns, DedupHistory, DedupRule, Result};

/// `received_at` of neighbours may be a little out of order.
const SLACK_MICROS: i64 = 3_600_000_000;
const MICROS_PER_SECOND: i64 = 1_000_000;

/// When an identity was stored last.
#[derive(Clone, Copy, Debug)]
struct Seen {
    received_at: Timestamp,
    offset: Offset,
}

/// An event that is stored although an equal one is, less than the window before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Repeat {
    /// The offset of the equal one.
    pub(crate) first: Offset,
    /// False if no commit says under which window it was decided: it is within the one that is set now.
    pub(crate) is_judged: bool,
}

/// The identities of a partition within the window, by a 128-bit hash: enough to tell that two are equal.
///
/// Each event is judged by the window under which it was decided, as the commits say. One of which they do not say it is
/// never called doubled, and never called missing if an equal one is there.
pub(crate) struct Identities {
    /// What the commits say, and the settings of now for all that lies behind the table.
    history: DedupHistory,
    hashers: [RandomState; 2],
    seen: HashMap<u128, Seen>,
    /// Identities received before were forgotten.
    known_from: Timestamp,
    /// More identities than the window may hold: nothing is certain from there on.
    pub(crate) is_overfull: bool,
    /// Repeats with so much between them that the window may have forgotten the first: nothing is certain of them.
    pub(crate) far_apart: u64,
    next_prune: usize,
}

impl Identities {
    /// Of a partition that was decided under these settings.
    pub(crate) fn new(history: DedupHistory) -> Self {
        Self {
            history,
            hashers: [RandomState::new(), RandomState::new()],
            seen: HashMap::new(),
            known_from: Timestamp::from_micros(i64::MIN),
            is_overfull: false,
            far_apart: 0,
            next_prune: 1 << 16,
        }
    }

    fn key(&self, (application, session_id, event_id): (&str, &str, &str)) -> u128 {
        let [high, low] = self.hashers.each_ref().map(|hasher| hasher.hash_one((application, session_id, event_id)));
        u128::from(high) << 64 | u128::from(low)
    }

    /// The settings under which an offset was decided, and true; those of now and false if nobody knows.
    fn rule(&self, offset: Offset) -> (DedupRule, bool) {
        let known = self.history.at(offset);
        (known.unwrap_or_else(|| self.history.latest()), known.is_some())
    }

    /// Notes that an event is stored. If an equal one is, less than the window before it, it is a repeat.
    pub(crate) fn store(
        &mut self,
        identity: (&str, &str, &str),
        received_at: Timestamp,
        offset: Offset,
    ) -> Option<Repeat> {
        let (rule, is_judged) = self.rule(offset);
        if self.seen.len() >= self.next_prune {
            self.prune(received_at, offset);
        }
        let key = self.key(identity);
        let before = self.seen.insert(key, Seen { received_at, offset })?;
        if self.is_overfull || !is_within(rule.window_seconds, before, received_at) {
            return None;
        }
        // An offset is one id at most: with fewer of them in between it was not forgotten for want of room.
        if offset.0.abs_diff(before.offset.0) >= rule.ids_max {
            self.far_apart += 1;
            return None;
        }
        Some(Repeat { first: before.offset, is_judged })
    }

    /// True if an equal event is stored less than the window before, or ever if nobody knows the window.
    pub(crate) fn is_repeat(&self, identity: (&str, &str, &str), received_at: Timestamp, offset: Offset) -> bool {
        let (rule, is_judged) = self.rule(offset);
        let seen = self.seen.get(&self.key(identity));
        seen.is_some_and(|seen| !is_judged || is_within(rule.window_seconds, *seen, received_at))
    }

    /// True if a repeat received at this time would be known.
    pub(crate) fn knows(&self, received_at: Timestamp, offset: Offset) -> bool {
        let (rule, _) = self.rule(offset);
        back(received_at, rule.window_seconds) >= self.known_from && !self.is_overfull
    }

    /// Forgets what is in no window under which this offset or a later one was decided.
    fn prune(&mut self, now: Timestamp, offset: Offset) {
        let from = back(now, self.history.longest_seconds(offset));
        self.seen.retain(|_, seen| seen.received_at >= from);
        self.known_from = self.known_from.max(from);
        self.is_overfull |= self.seen.len() as u64 >= self.history.most_ids(offset);
        self.next_prune = (self.seen.len() * 2).max(1 << 16);
    }
}

/// The window is kept in whole seconds.
fn is_within(window_seconds: i64, seen: Seen, received_at: Timestamp) -> bool {
    let seconds = |time: Timestamp| time.micros().div_euclid(MICROS_PER_SECOND);
    seconds(received_at) - seconds(seen.received_at) < window_seconds
}

/// When a window begins that ends at this time, and a little before.
fn back(time: Timestamp, window_seconds: i64) -> Timestamp {
    let window_micros = window_seconds.saturating_mul(MICROS_PER_SECOND);
    Timestamp::from_micros(time.micros().saturating_sub(window_micros).saturating_sub(SLACK_MICROS))
}

/// What the table has of one partition.
pub(crate) struct Rows {
    pub(crate) identities: Identities,
    /// Offsets of events at or past the log's start.
    pub(crate) events: HashSet<Offset>,
    /// Offsets of rejections at or past the log's start.
    pub(crate) rejections: HashSet<Offset>,
    /// Events in the table.
    pub(crate) stored: u64,
    /// Rejections in the table, up to where the events are flushed.
    pub(crate) rejected: u64,
    /// Offsets past `flushed`: nothing of a table may lie there.
    pub(crate) past_flushed: Vec<(String, Offset)>,
    /// Events that are stored twice: file, offset, and the offset of the first.
    pub(crate) repeats: Vec<(String, Offset, Offset)>,
    /// Events that would be stored twice under the window that is set now; no commit says under which they were decided.
    pub(crate) unjudged: u64,
}

/// Violations kept of each kind; the first ones say what is wrong.
const KEPT_MAX: usize = 10;

struct Row {
    offset: Offset,
    received_at: Timestamp,
    application: String,
    session_id: String,
    event_id: String,
}

impl Rows {
    /// Reads the rows of a partition. `from`: the log's start.
    pub(crate) fn read(
        identities: Identities,
        events: &TableVersion,
        rejections: &TableVersion,
        partition: PartitionId,
        from: Offset,
    ) -> Result<Self> {
        let mut rows = Self {
            identities,
            events: HashSet::new(),
            rejections: HashSet::new(),
            stored: 0,
            rejected: 0,
            past_flushed: Vec::new(),
            repeats: Vec::new(),
            unjudged: 0,
        };
        let flushed = events.flushed(partition);
        rows.read_events(events, partition, flushed, from)?;
        rows.read_rejections(rejections, partition, flushed, from)?;
        Ok(rows)
    }

    fn read_events(
        &mut self,
        version: &TableVersion,
        partition: PartitionId,
        flushed: Offset,
        from: Offset,
    ) -> Result<()> {
        let columns =
            Columns::SORT_KEY | Columns::APPLICATION | Columns::SESSION_ID | Columns::EVENT_ID | Columns::RECEIVED_AT;
        let mut files: Vec<_> = version.files.iter().filter(|file| file.partition == partition).collect();
        files.sort_by_key(|file| file.offset_min);
        for file in files {
            let mut rows = Vec::new();
            for group in file.row_groups()? {
                let batch = file.read(group.index, columns, None)?;
                rows.extend(EventRows::new(&batch)?.iter().map(|row| Row {
                    offset: row.offset,
                    received_at: row.received_at,
                    application: row.application.to_owned(),
                    session_id: row.event.session_id.to_owned(),
                    event_id: row.event.event_id.to_owned(),
                }));
            }
            rows.sort_unstable_by_key(|row| row.offset);
            for row in rows {
                self.stored += 1;
                if row.offset >= from {
                    self.events.insert(row.offset);
                }
                if row.offset > flushed && self.past_flushed.len() < KEPT_MAX {
                    self.past_flushed.push((file.path.to_string(), row.offset));
                }
                let identity = (row.application.as_str(), row.session_id.as_str(), row.event_id.as_str());
                match self.identities.store(identity, row.received_at, row.offset) {
                    Some(Repeat { is_judged: false, .. }) => self.unjudged += 1,
                    Some(Repeat { first, .. }) if self.repeats.len() < KEPT_MAX => {
                        self.repeats.push((file.path.to_string(), row.offset, first));
                    }
                    _ => {}
                }
            }
        }
        Ok(())
    }

    fn read_rejections(
        &mut self,
        version: &TableVersion,
        partition: PartitionId,
        flushed: Offset,
        from: Offset,
    ) -> Result<()> {
        for file in version.files.iter().filter(|file| file.partition == partition) {
            for group in file.row_groups()? {
                let batch = file.read(group.index, Columns::SORT_KEY, None)?;
                for row in RejectionRows::new(&batch)?.iter() {
                    self.rejected += u64::from(row.offset <= flushed);
                    if row.offset >= from {
                        self.rejections.insert(row.offset);
                    }
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// Each: from which offset on, seconds of the window, ids at most.
    fn identities(rules: &[(u64, u64, usize)]) -> Identities {
        let mut history = DedupHistory::default();
        for (from, seconds, ids_max) in rules {
            history.begin(Offset(*from), Duration::from_secs(*seconds), *ids_max);
        }
        Identities::new(history)
    }

    fn second(second: i64) -> Timestamp {
        Timestamp::from_micros(second * MICROS_PER_SECOND)
    }

    fn of(first: u64) -> Option<Repeat> {
        Some(Repeat { first: Offset(first), is_judged: true })
    }

    #[test]
    fn a_repeat_is_seen_within_the_window_and_never_across_applications() {
        let mut identities = identities(&[(1, 10, 1_000)]);
        assert_eq!(identities.store(("web", "s", "a"), second(100), Offset(1)), None);
        assert_eq!(identities.store(("app", "s", "a"), second(100), Offset(2)), None);
        assert!(identities.is_repeat(("web", "s", "a"), second(109), Offset(3)));
        assert!(!identities.is_repeat(("web", "s", "a"), second(110), Offset(3)));
        assert_eq!(identities.store(("web", "s", "a"), second(105), Offset(3)), of(1));
        assert!(identities.knows(second(0), Offset(3)));
        for id in 0..(1 << 17) {
            identities.store(("web", "s", &id.to_string()), second(5_000_000), Offset(4));
        }
        assert!(identities.is_overfull && !identities.knows(second(5_000_000), Offset(4)));
    }

    #[test]
    fn an_event_is_judged_by_the_window_under_which_it_was_decided() {
        let a = ("web", "s", "a");
        let mut raised = identities(&[(1, 10, 1_000), (3, 100, 1_000)]);
        assert_eq!(raised.store(a, second(100), Offset(1)), None);
        assert_eq!(raised.store(a, second(120), Offset(2)), None, "rightly stored: the window was ten seconds");
        assert_eq!(raised.store(a, second(150), Offset(3)), of(2), "wrongly stored: it was a hundred by then");
        let mut lowered = identities(&[(1, 100, 1_000), (5, 10, 1_000)]);
        assert_eq!(lowered.store(a, second(100), Offset(1)), None);
        assert!(lowered.is_repeat(a, second(150), Offset(2)), "it was a duplicate, and is one to whoever asks now");
        assert!(!lowered.is_repeat(a, second(150), Offset(5)));
        assert_eq!(lowered.store(a, second(160), Offset(4)), of(1), "wrongly stored: ten seconds came later");
        assert_eq!(lowered.store(a, second(180), Offset(5)), None);
    }

    #[test]
    fn an_event_is_not_judged_by_a_window_that_nobody_knows() {
        let a = ("web", "s", "a");
        let mut identities = identities(&[(10, 100, 1_000)]);
        assert_eq!(identities.store(a, second(100), Offset(1)), None);
        let unjudged = Some(Repeat { first: Offset(1), is_judged: false });
        assert_eq!(identities.store(a, second(150), Offset(2)), unjudged);
        assert_eq!(identities.store(a, second(250), Offset(3)), None, "not within the window of now either");
        assert!(identities.is_repeat(a, second(9_000), Offset(9)), "the window may have been as long");
        assert!(!identities.is_repeat(a, second(9_000), Offset(10)));
        assert_eq!(identities.store(a, second(300), Offset(10)), of(3));
    }

    #[test]
    fn what_a_full_window_may_have_forgotten_is_counted_and_not_judged() {
        let mut identities = identities(&[(1, 100, 3), (20, 100, 1_000)]);
        for (offset, id) in (1..).zip(["a", "b", "c", "a", "d", "c"]) {
            identities.store(("web", "s", id), second(100), Offset(offset));
        }
        assert_eq!(identities.far_apart, 2, "a and c, three offsets later");
        assert_eq!(identities.store(("web", "s", "c"), second(100), Offset(8)), of(6));
        assert_eq!(identities.store(("web", "s", "b"), second(100), Offset(20)), of(2), "there was room by then");
        assert_eq!(identities.far_apart, 2);
    }

    #[test]
    fn what_a_later_window_reaches_back_to_is_not_forgotten() {
        // Under the first settings fewer ids were remembered than the second reach back to.
        let mut identities = identities(&[(1, 10, 70_000), (1_000_000, 100_000, 1_000_000)]);
        identities.store(("web", "s", "a"), second(0), Offset(1));
        for id in 0..(1 << 17) {
            identities.store(("web", "s", &id.to_string()), second(50_000), Offset(id + 2));
        }
        assert_eq!(identities.store(("web", "s", "a"), second(60_000), Offset(1_000_000)), of(1));
    }
}
