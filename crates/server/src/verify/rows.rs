//! The table's rows in the order in which they arrived: where each offset lies, and whether an event is stored twice.
//!
//! This does not use the store's own window: a check that shares code with what it checks proves little.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher as _, RandomState};

use eye_event::Timestamp;
use eye_log::{Offset, PartitionId};
use eye_store::columns::{EventRows, RejectionRows};
use eye_store::table::TableVersion;
use eye_store::{Columns, Result};

/// `received_at` of neighbours may be a little out of order.
const SLACK_MICROS: i64 = 3_600_000_000;
const MICROS_PER_SECOND: i64 = 1_000_000;

/// When an identity was stored last.
#[derive(Clone, Copy, Debug)]
struct Seen {
    received_at: Timestamp,
    offset: Offset,
}

/// The identities of a partition within the window, by a 128-bit hash: enough to tell that two are equal.
pub(crate) struct Identities {
    window_micros: i64,
    ids_max: usize,
    hashers: [RandomState; 2],
    seen: HashMap<u128, Seen>,
    /// Identities received before were forgotten.
    pub(crate) known_from: Timestamp,
    /// More identities than the window may hold: nothing is certain from there on.
    pub(crate) is_overfull: bool,
    next_prune: usize,
}

impl Identities {
    /// An empty window.
    pub(crate) fn new(window_micros: i64, ids_max: usize) -> Self {
        Self {
            window_micros,
            ids_max,
            hashers: [RandomState::new(), RandomState::new()],
            seen: HashMap::new(),
            known_from: Timestamp::from_micros(i64::MIN),
            is_overfull: false,
            next_prune: 1 << 16,
        }
    }

    fn key(&self, application: &str, session_id: &str, event_id: &str) -> u128 {
        let [high, low] = self.hashers.each_ref().map(|hasher| hasher.hash_one((application, session_id, event_id)));
        u128::from(high) << 64 | u128::from(low)
    }

    /// Notes that an event is stored. The offset of an equal one less than the window before it, if there is one.
    pub(crate) fn store(
        &mut self,
        (application, session_id, event_id): (&str, &str, &str),
        received_at: Timestamp,
        offset: Offset,
    ) -> Option<Offset> {
        if self.seen.len() >= self.next_prune {
            self.prune(received_at);
        }
        let key = self.key(application, session_id, event_id);
        let before = self.seen.insert(key, Seen { received_at, offset });
        before.filter(|seen| self.is_within(*seen, received_at)).map(|seen| seen.offset)
    }

    /// True if an equal event is stored less than the window before.
    pub(crate) fn is_repeat(&self, identity: (&str, &str, &str), received_at: Timestamp) -> bool {
        let key = self.key(identity.0, identity.1, identity.2);
        self.seen.get(&key).is_some_and(|seen| self.is_within(*seen, received_at))
    }

    /// The window is kept in whole seconds.
    fn is_within(&self, seen: Seen, received_at: Timestamp) -> bool {
        let seconds = |time: Timestamp| time.micros().div_euclid(MICROS_PER_SECOND);
        seconds(received_at) - seconds(seen.received_at) < self.window_micros / MICROS_PER_SECOND
    }

    /// True if a repeat received at this time would be known.
    pub(crate) fn knows(&self, received_at: Timestamp) -> bool {
        let from = received_at.micros().saturating_sub(self.window_micros).saturating_sub(SLACK_MICROS);
        from >= self.known_from.micros() && !self.is_overfull
    }

    fn prune(&mut self, now: Timestamp) {
        let from = now.micros().saturating_sub(self.window_micros).saturating_sub(SLACK_MICROS);
        self.seen.retain(|_, seen| seen.received_at.micros() >= from);
        self.known_from = Timestamp::from_micros(from);
        self.is_overfull |= self.seen.len() >= self.ids_max;
        self.next_prune = (self.seen.len() * 2).max(1 << 16);
    }
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
                let first = self.identities.store(identity, row.received_at, row.offset);
                if let Some(first) = first.filter(|_| !self.identities.is_overfull && self.repeats.len() < KEPT_MAX) {
                    self.repeats.push((file.path.to_string(), row.offset, first));
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
    use super::*;

    #[test]
    fn a_repeat_is_seen_within_the_window_and_never_across_applications() {
        let second = |second: i64| Timestamp::from_micros(second * MICROS_PER_SECOND);
        let mut identities = Identities::new(10 * MICROS_PER_SECOND, 1_000);
        assert_eq!(identities.store(("web", "s", "a"), second(100), Offset(1)), None);
        assert_eq!(identities.store(("app", "s", "a"), second(100), Offset(2)), None);
        assert!(identities.is_repeat(("web", "s", "a"), second(109)));
        assert!(!identities.is_repeat(("web", "s", "a"), second(110)));
        assert_eq!(identities.store(("web", "s", "a"), second(105), Offset(3)), Some(Offset(1)));
        assert!(identities.knows(second(0)));
        for id in 0..(1 << 17) {
            identities.store(("web", "s", &id.to_string()), second(5_000_000), Offset(4));
        }
        assert!(identities.is_overfull && !identities.knows(second(5_000_000)));
    }
}
