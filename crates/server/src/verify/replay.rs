//! The log over the table, in memory, as a start would do it: what is behind the table is counted, and what the table
//! should have taken is looked up in it.

use eye_event::{Batch, Entry};
use eye_log::{Log, Offset, PartitionId};
use eye_store::{CommitInfo, Counts, Ledger, invariants};

use super::report::{Draft, Invariant};
use super::rows::Rows;

/// How much of the log is in memory at a time.
const READ_BYTES: usize = 4 << 20;
/// Missing entries that are named; the others are as bad.
const NAMED_MAX: usize = 10;

/// One partition, opened.
pub(crate) struct Partition<'a> {
    pub(crate) id: PartitionId,
    pub(crate) log: &'a dyn Log,
    pub(crate) flushed: Offset,
    pub(crate) rejections_flushed: Offset,
    pub(crate) info: CommitInfo,
    /// False if the commit that held the ledger is gone.
    pub(crate) has_ledger: bool,
    /// Events and rejections that were taken out of the tables on purpose.
    pub(crate) removed: (u64, u64),
    pub(crate) rows: Rows,
}

/// Checks one partition; the ledger as of the end of its log.
pub(crate) fn check(partition: &mut Partition<'_>, draft: &mut Draft) -> Ledger {
    check_rows(partition, draft);
    check_meeting(partition, draft);
    check_books(partition, draft);
    let mut ledger = partition.info.ledger.clone();
    if draft.is_damaged() {
        draft.skip(&[Invariant::OffsetsRise, Invariant::ExactlyOnePlace, Invariant::NothingVanishes]);
        return ledger;
    }
    if let Err(what) = walk(partition, &mut ledger, draft) {
        draft.find(Invariant::AcknowledgedMeansDurable, Some(log_name(partition.id)), None, what);
    }
    ledger
}

fn log_name(partition: PartitionId) -> String {
    format!("log/{partition}")
}

fn check_rows(partition: &Partition<'_>, draft: &mut Draft) {
    for (file, offset) in &partition.rows.past_flushed {
        let what = format!("it holds offset {offset}, past the table's flushed offset {}", partition.flushed);
        draft.find(Invariant::ExactlyOnePlace, Some(format!("events/{file}")), None, what);
    }
    for (file, offset, first) in &partition.rows.repeats {
        let what = format!("the event at offset {offset} is the one at offset {first} again");
        draft.find(Invariant::OneIdentity, Some(format!("events/{file}")), None, what);
    }
    if partition.rows.unjudged > 0 {
        draft.notices.push(format!(
            "partition {}: {} events repeat one before them within dedup_window as it is set now; no commit says under which \
             window they were decided, so they are not called doubled",
            partition.id, partition.rows.unjudged
        ));
    }
    if partition.rows.identities.is_overfull || partition.rows.identities.far_apart > 0 {
        draft.notices.push(format!(
            "partition {}: more event ids than dedup_ids_max within the window: repeats beyond it were not looked for",
            partition.id
        ));
    }
}

/// The log begins at or before the first offset that the table does not have, and ends at or after the last it has.
fn check_meeting(partition: &Partition<'_>, draft: &mut Draft) {
    let (start, end, flushed) = (partition.log.start(), partition.log.end(), partition.flushed);
    if let Err(violation) = invariants::trim_follows_flush(flushed, start) {
        let what = format!("the log begins at offset {start}: {}", violation.detail);
        draft.find(Invariant::TrimFollowsFlush, Some(log_name(partition.id)), None, what);
    }
    if end <= flushed {
        let what = format!(
            "the log ends before offset {end}, but the table has offsets up to {flushed}: not the log that fed it"
        );
        draft.find(Invariant::AcknowledgedMeansDurable, Some(log_name(partition.id)), None, what);
    }
}

/// The books at `flushed` agree with the rows.
fn check_books(partition: &Partition<'_>, draft: &mut Draft) {
    for (token, counts) in partition.info.ledger.iter() {
        if let Err(violation) = invariants::nothing_vanishes(counts) {
            draft.find(Invariant::NothingVanishes, None, None, format!("token {token}: {}", violation.detail));
        }
    }
    if !partition.has_ledger {
        if partition.flushed > Offset::ZERO {
            draft
                .notices
                .push(format!("partition {}: the commit with the ledger is gone: the books begin anew", partition.id));
        }
        return;
    }
    let total = partition.info.ledger.total();
    let (rows, removed) = (&partition.rows, partition.removed);
    let books =
        [("stored", total.stored, rows.stored, removed.0), ("rejected", total.rejected, rows.rejected, removed.1)];
    for (what, counted, found, removed) in books {
        if counted != found + removed {
            let id = partition.id;
            let what = format!(
                "partition {id}: the ledger says {counted} {what}, the table holds {found}, and {removed} were erased or too old"
            );
            draft.find(Invariant::NothingVanishes, None, None, what);
        }
    }
}

/// Reads the whole log. Up to `flushed` every entry must be in the table; behind it, entries are counted.
fn walk(partition: &mut Partition<'_>, ledger: &mut Ledger, draft: &mut Draft) -> Result<(), String> {
    let (mut at, end) = (partition.log.start(), partition.log.end());
    let mut missing = Vec::new();
    while at < end {
        let records = partition.log.read(at, READ_BYTES).map_err(|error| error.to_string())?;
        if records.is_empty() {
            return Err(format!("nothing can be read at offset {at}, before the end {end}"));
        }
        for record in records {
            if let Err(violation) = invariants::offsets_rise(at.previous(), record.offset) {
                draft.find(Invariant::OffsetsRise, Some(log_name(partition.id)), None, violation.detail);
            }
            at = record.next();
            take(partition, record, ledger, draft, &mut missing)?;
        }
    }
    let (events, rejections) = partition.removed;
    if events + rejections > 0 && !missing.is_empty() && !partition.has_ledger {
        draft.notices.push(format!(
            "{}: {} of its entries are not in the table: erased, too old, or lost; without the ledger nobody can tell",
            log_name(partition.id),
            missing.len()
        ));
        draft.skip(&[Invariant::ExactlyOnePlace]);
        return Ok(());
    }
    if events + rejections > 0 && !missing.is_empty() {
        // The log may still hold what was erased or was too old, and what repeats it. The books prove that nothing else is
        // missing: each of the stored is counted there.
        draft.notices.push(format!(
            "{}: {} of its entries are not in the table: erased, too old, or repeats of such; the books add up",
            log_name(partition.id),
            missing.len()
        ));
        return Ok(());
    }
    for what in missing.into_iter().take(NAMED_MAX) {
        draft.find(Invariant::ExactlyOnePlace, Some(log_name(partition.id)), None, what);
    }
    Ok(())
}

fn take(
    partition: &mut Partition<'_>,
    record: eye_log::Record,
    ledger: &mut Ledger,
    draft: &mut Draft,
    missing: &mut Vec<String>,
) -> Result<(), String> {
    let first = record.offset;
    let unreadable = |error: eye_event::EncodingError| format!("the record at offset {first} cannot be read: {error}");
    if record.count == 0 {
        return Err(format!("the record at offset {first} takes no offset"));
    }
    let count = record.count;
    let batch = Batch::parse(record.payload).map_err(unreadable)?;
    if batch.count() != count {
        return Err(format!("the record at offset {first} takes {count} offsets and holds {} entries", batch.count()));
    }
    let header = batch.header().map_err(unreadable)?;
    let mut counts = Counts { received: u64::from(count), ..Counts::default() };
    for (index, entry) in (0_u64..).zip(batch.entries()) {
        let (_, entry) = entry.map_err(unreadable)?;
        let offset = first.plus(index);
        let is_behind = offset > partition.flushed;
        match entry {
            Entry::Event(event) => {
                let identity = (header.application, event.session_id, event.event_id);
                let is_stored = if is_behind {
                    // Decided as a start would: a repeat within the window is a duplicate.
                    let is_repeat = partition.rows.identities.is_repeat(identity, header.received_at, offset);
                    if !is_repeat {
                        let _ = partition.rows.identities.store(identity, header.received_at, offset);
                    }
                    !is_repeat
                } else {
                    let is_in_table = partition.rows.events.contains(&offset);
                    let identities = &partition.rows.identities;
                    let is_repeat = || {
                        !identities.knows(header.received_at, offset)
                            || identities.is_repeat(identity, header.received_at, offset)
                    };
                    if !is_in_table && !is_repeat() {
                        missing.push(format!("the event at offset {offset} is flushed, but it is not in the table"));
                    }
                    is_in_table
                };
                *(if is_stored { &mut counts.stored } else { &mut counts.duplicate }) += 1;
            }
            Entry::Rejection(_) => {
                counts.rejected += 1;
                let is_flushed = offset <= partition.rejections_flushed.min(partition.flushed);
                if is_flushed && !partition.rows.rejections.contains(&offset) {
                    missing.push(format!("the rejection at offset {offset} is flushed, but it is not in the table"));
                }
            }
        }
    }
    if first > partition.flushed {
        draft.counts.entries_behind_table += counts.received;
        ledger.add(header.token, counts);
    }
    Ok(())
}
