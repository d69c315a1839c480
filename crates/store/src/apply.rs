//! From log records to the hot buffer: live traffic, recovery and a second node all come through here.
//!
//! One thread per partition reads durable records in order. For each entry it decides what it is (a new event, a
//! duplicate, a rejection), counts it in the ledger, and makes the whole group visible at once. Nothing else ever writes
//! to the hot buffer.

use std::collections::{HashMap, HashSet};

use ahash::RandomState;
use arrow::array::RecordBatch;
use eye_event::{Batch, EncodingError, EntryKey, Timestamp};
use eye_fault::{Sabotage, sabotaged};
use eye_log::{Offset, PartitionId, Record};
use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::buffer::{AppliedRecord, Generation, NewRow};
use crate::dedup::{DedupWindow, Key};
use crate::error::{Error, Result};
use crate::invariants;
use crate::ledger::{Counts, Ledger};
use crate::recall::Recall;
use crate::request::Applied;

/// Identities that are looked up side by side, so that they wait for memory together.
const KEYS_AT_ONCE: usize = 32;

/// Requests that wait for their record to be applied, by the record's first offset.
pub(crate) type Waiters = Mutex<HashMap<Offset, oneshot::Sender<Result<Applied>>, RandomState>>;

/// What one partition's apply knows besides the rows. A pure fold of the log.
#[derive(Debug)]
pub(crate) struct ApplyState {
    partition: PartitionId,
    dedup: DedupWindow,
    /// What of the dedup window is still only in the table.
    recall: Option<Recall>,
    ledger: Ledger,
    applied: Offset,
    /// True while records are decided that nobody sees yet, and for ever after one of them could not be.
    is_ahead: bool,
    /// Rejections up to here are in the table already (their commit came before a crash, the events' did not).
    rejections_flushed: Offset,
    /// Of session ids; the hot buffer's index uses the same.
    hasher: RandomState,
}

/// A group of records, decided but not yet visible.
pub(crate) struct Group {
    pub(crate) records: Vec<AppliedRecord>,
    pub(crate) answers: Answers,
}

impl ApplyState {
    /// The state at `flushed`: the ledger from the table's commit, the window (read back as it is needed) from its rows.
    pub(crate) fn new(
        partition: PartitionId,
        flushed: Offset,
        rejections_flushed: Offset,
        ledger: Ledger,
        dedup: DedupWindow,
        recall: Option<Recall>,
    ) -> Self {
        let (applied, hasher) = (flushed, RandomState::new());
        Self { partition, dedup, recall, ledger, applied, is_ahead: false, rejections_flushed, hasher }
    }

    /// The sessions that these records name and whose ids may still be in the table only.
    ///
    /// # Errors
    /// A record that cannot be decoded.
    pub(crate) fn unknown_sessions(&self, records: &[Record]) -> Result<HashSet<Box<str>, RandomState>> {
        let mut unknown = HashSet::default();
        let Some(recall) = &self.recall else { return Ok(unknown) };
        for record in records {
            for key in Batch::parse(record.payload.clone())?.keys() {
                let (_, EntryKey::Event { session_id, .. }) = key? else { continue };
                let Ok(session_id) = std::str::from_utf8(session_id) else { continue };
                if !recall.knows(session_id) && !unknown.contains(session_id) {
                    unknown.insert(session_id.into());
                }
            }
        }
        Ok(unknown)
    }

    /// Decides a group of records. Every id of their sessions must be known. The state is ahead of what is seen until
    /// [`ApplyState::is_published`]; after an error it stays so, and nothing of it must be flushed.
    ///
    /// # Errors
    /// A record that cannot be decoded, or that does not follow what was applied.
    pub(crate) fn decide(&mut self, records: Vec<Record>) -> Result<Group> {
        self.is_ahead = true;
        let mut group =
            Group { records: Vec::with_capacity(records.len()), answers: Vec::with_capacity(records.len()) };
        for record in records {
            let first = record.offset;
            let (applied, duplicates) = self.decide_record(record)?;
            group.records.push(applied);
            group.answers.push((first, Applied { first, duplicates }));
        }
        Ok(group)
    }

    fn decide_record(&mut self, record: Record) -> Result<(AppliedRecord, Vec<u32>)> {
        let (first, last) = (record.offset, record.next().previous());
        invariants::offsets_rise(self.applied, first)?;
        let partition = self.partition;
        let at = |error: EncodingError| {
            Error::from(error).context(format_args!("log record at offset {first} of partition {partition}"))
        };
        let batch = Batch::parse(record.payload).map_err(at)?;
        let header = batch.header().map_err(at)?;
        let application = self.dedup.application(header.application);
        let mut decided = Decided::new(&batch, first, last);
        let mut keys = (0_u32..).zip(batch.keys());
        let mut events = Vec::with_capacity(KEYS_AT_ONCE.min(batch.count() as usize));
        loop {
            for (index, key) in keys.by_ref().take(KEYS_AT_ONCE) {
                let (position, key) = key.map_err(at)?;
                match key {
                    EntryKey::Event { event_id, session_id, timestamp } => {
                        let key = self.dedup.key(application, session_id, event_id);
                        events.push(Candidate { index, position, timestamp, session_id, key });
                    }
                    EntryKey::Rejection => decided.reject(index, position, self.rejections_flushed),
                }
            }
            if events.is_empty() {
                break;
            }
            self.dedup.fetch(events.iter().map(|event| &event.key));
            for event in events.drain(..) {
                let is_new = self.dedup.insert_key(&event.key, header.received_at) || sabotaged(Sabotage::SkipDedup);
                decided.event(&event, is_new, &self.hasher);
            }
        }
        let Decided { record, duplicates, counts, .. } = decided;
        invariants::nothing_vanishes(counts)?;
        self.ledger.add(header.token, counts);
        self.applied = last;
        Ok((record, duplicates))
    }

    /// What was decided is seen.
    pub(crate) fn is_published(&mut self) {
        self.is_ahead = false;
    }

    /// True if the hot buffer lacks something that is applied.
    pub(crate) fn is_ahead(&self) -> bool {
        self.is_ahead
    }

    pub(crate) fn applied(&self) -> Offset {
        self.applied
    }

    pub(crate) fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    pub(crate) fn hasher(&self) -> RandomState {
        self.hasher.clone()
    }

    pub(crate) fn dedup(&self) -> &DedupWindow {
        &self.dedup
    }

    /// What of the dedup window is still only in the table.
    pub(crate) fn recall(&self) -> Option<&Recall> {
        self.recall.as_ref()
    }

    /// Makes the ids of these rows of the table known.
    ///
    /// # Errors
    /// A column of another type than this program writes.
    pub(crate) fn recall_rows(&mut self, batch: &RecordBatch) -> Result<()> {
        self.recall.as_ref().map_or(Ok(()), |recall| recall.rows_of(batch, &mut self.dedup))
    }

    /// All that the table has of this session is known.
    pub(crate) fn session_is_recalled(&mut self, session_id: &str) {
        if let Some(recall) = &mut self.recall {
            recall.session_is_known(session_id);
        }
    }

    /// The newest file of [`ApplyState::recall`] has been read.
    pub(crate) fn newest_is_recalled(&mut self) {
        if self.recall.as_mut().is_some_and(Recall::newest_is_known) {
            self.recall = None;
        }
    }
}

/// An event whose identity is being looked up.
struct Candidate<'a> {
    index: u32,
    position: u32,
    timestamp: Timestamp,
    session_id: &'a [u8],
    key: Key<'a>,
}

/// One record, entry by entry.
struct Decided {
    first: Offset,
    record: AppliedRecord,
    /// Indexes of entries.
    duplicates: Vec<u32>,
    counts: Counts,
}

impl Decided {
    fn new(batch: &Batch, first: Offset, last: Offset) -> Self {
        let stored = Vec::with_capacity(batch.count() as usize);
        let record = AppliedRecord { batch: batch.clone(), last, stored, rejected: Vec::new() };
        let counts = Counts { received: u64::from(batch.count()), ..Counts::default() };
        Self { first, record, duplicates: Vec::new(), counts }
    }

    fn event(&mut self, event: &Candidate<'_>, is_new: bool, hasher: &RandomState) {
        if !is_new {
            self.counts.duplicate += 1;
            return self.duplicates.push(event.index);
        }
        self.counts.stored += 1;
        let offset = self.first.plus(u64::from(event.index));
        if sabotaged(Sabotage::DropInApply) && offset.0.is_multiple_of(97) {
            return;
        }
        let Candidate { position, timestamp, session_id, .. } = *event;
        self.record.stored.push(NewRow { position, offset, timestamp, session_hash: hasher.hash_one(session_id) });
    }

    fn reject(&mut self, index: u32, position: u32, flushed: Offset) {
        self.counts.rejected += 1;
        let offset = self.first.plus(u64::from(index));
        if offset > flushed {
            self.record.rejected.push((position, offset));
        }
    }
}

/// What each record's sender waits for.
pub(crate) type Answers = Vec<(Offset, Applied)>;

/// Makes a decided group visible, all at once. Answer only afterwards: whoever is answered sees the events.
pub(crate) fn publish(group: Group, generation: &Generation) -> Result<Answers> {
    generation.extend(group.records)?;
    Ok(group.answers)
}

/// Answers who waits for these records.
pub(crate) fn answer(answers: Answers, waiters: &Waiters) {
    let mut waiting = waiters.lock();
    let found: Vec<_> =
        answers.into_iter().filter_map(|(first, applied)| Some((waiting.remove(&first)?, applied))).collect();
    drop(waiting);
    for (waiter, applied) in found {
        // A client that went away does not wait any more; its events are stored all the same.
        let _ = waiter.send(Ok(applied));
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use eye_event::{BatchHeader, BatchWriter, EventRef, Problems, RejectionRef};

    use super::*;

    fn record(offset: u64, ids: &[&str], rejections: u32) -> Record {
        let received_at = Timestamp::from_micros(1_700_000_000_000_000);
        let mut writer = BatchWriter::new(&BatchHeader { application: "web", token: "t", received_at }, 0);
        for id in ids {
            writer.push_event(&EventRef {
                event_id: id,
                session_id: "s",
                category: "c",
                name: "n",
                timestamp: received_at,
                timestamp_raw: None,
                sent_at: None,
                user_id: None,
                anonymous_id: None,
                data: "{}",
                context: None,
                problems: Problems::NONE,
            });
        }
        for _ in 0..rejections {
            writer.push_rejection(&RejectionRef { code: "not_json", field: "", message: "", sample: "" });
        }
        let count = writer.count();
        Record { offset: Offset(offset), count, payload: writer.finish() }
    }

    fn state() -> ApplyState {
        let dedup = DedupWindow::new(3_600_000_000, 1000);
        ApplyState::new(PartitionId(0), Offset::ZERO, Offset(3), Ledger::default(), dedup, None)
    }

    #[test]
    fn entries_are_told_apart_and_counted() {
        let mut state = state();
        let group = state.decide(vec![record(1, &["a", "b", "a"], 0), record(4, &["b", "c"], 2)]).unwrap();
        assert_eq!(group.answers[0].1.duplicates, [2]);
        assert_eq!(group.answers[1].1.duplicates, [0]);
        assert_eq!(group.records[1].rejected.iter().map(|(_, offset)| offset.0).collect::<Vec<_>>(), [6, 7]);
        assert_eq!(state.ledger().total(), Counts { received: 7, stored: 3, duplicate: 2, rejected: 2 });
        assert_eq!(state.applied(), Offset(7));
    }

    #[test]
    fn rejections_that_are_in_the_table_are_not_kept_again() {
        let mut state = state();
        let group = state.decide(vec![record(1, &["a"], 3)]).unwrap();
        assert_eq!(group.records[0].rejected.iter().map(|(_, offset)| offset.0).collect::<Vec<_>>(), [4]);
    }

    #[test]
    fn a_record_that_goes_back_or_cannot_be_read_stops_apply() {
        let mut state = state();
        state.decide(vec![record(1, &["a", "b"], 0)]).unwrap();
        assert!(state.decide(vec![record(2, &["c"], 0)]).is_err());
        let broken = Record { offset: Offset(9), count: 1, payload: Bytes::from_static(b"nonsense") };
        let error = state.decide(vec![broken]).err().unwrap();
        assert!(error.to_string().contains("offset 9"), "{error}");
    }
}
