//! What the tables have, before the logs are replayed over it: `flushed`, the ledger, the dedup window.

use eye_event::{Batch, EncodingError, EntryKey, Timestamp};
use eye_fault::{Sabotage, sabotaged};
use eye_log::{Offset, PartitionId, Record, SharedLog};
use serde::{Deserialize, Serialize};

use crate::apply::ApplyState;
use crate::buffer::RejectionRow;
use crate::columns::RejectionColumns;
use crate::dedup::{DedupHistory, DedupWindow};
use crate::error::{Error, Kind, Result};
use crate::ledger::Ledger;
use crate::partition::Partition;
use crate::recall::Recall;
use crate::settings::StoreSettings;
use crate::table::{Commit, Table, TableVersion};

/// How much of the log is read at a time.
const READ_BYTES: usize = 4 * 1024 * 1024;

/// What a commit says besides its rows. Kept under `commitInfo.eye.info`, where other readers of the table pass it over.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct CommitInfo {
    /// The ledger of the partition as of the commit's last offset: totals since the data folder was made.
    pub ledger: Ledger,
    /// Under which settings of the dedup window the partition's events were decided, up to the commit's last offset. Commits
    /// of programs before this one do not say it.
    #[serde(default, skip_serializing_if = "DedupHistory::is_empty")]
    pub dedup: DedupHistory,
}

impl CommitInfo {
    pub(crate) fn to_json(&self) -> serde_json::Value {
        // Texts and numbers always serialise.
        serde_json::to_value(self).unwrap_or_default()
    }

    /// Reads what a commit said; nothing if the table has no commit of this partition yet.
    ///
    /// # Errors
    /// `Corrupt` if it is there and cannot be read.
    pub fn of(version: &TableVersion, partition: PartitionId) -> Result<Self> {
        let Some(note) = version.info(partition) else {
            if version.flushed(partition) > Offset::ZERO {
                tracing::warn!(
                    partition = partition.0,
                    "the table's log no longer says what was received: the ledger begins anew"
                );
            }
            return Ok(Self::default());
        };
        serde_json::from_value(note.info.clone()).map_err(|error| {
            Error::new(Kind::Corrupt, format!("the ledger in the newest commit of partition {partition}: {error}"))
        })
    }
}

/// The partitions as the tables have them, ready for replay; and how many rows the dedup window has in the table.
pub(crate) fn partitions(
    settings: &StoreSettings,
    logs: Vec<SharedLog>,
    events: &Table,
    rejections: &Table,
    now: fn() -> Timestamp,
) -> Result<(Vec<Partition>, u64)> {
    let version = events.current();
    let window_micros = i64::try_from(settings.dedup_window.as_micros()).unwrap_or(i64::MAX);
    let (mut partitions, mut rows) = (Vec::new(), 0);
    for (id, log) in (0..settings.partitions).map(PartitionId).zip(logs) {
        let flushed = version.flushed(id);
        check_meeting(id, &log, flushed)?;
        let CommitInfo { ledger, mut dedup } = CommitInfo::of(&version, id)?;
        let ledger = if sabotaged(Sabotage::ForgetLedger) { Ledger::default() } else { ledger };
        dedup.begin(flushed.plus(1), settings.dedup_window, settings.dedup_ids_max);
        put_rejections_back(id, &log, (flushed, &ledger), rejections, now)?;
        let window = DedupWindow::new(window_micros, settings.dedup_ids_max);
        let recall = Recall::new(settings, &version, id).filter(|_| !sabotaged(Sabotage::ForgetDedup));
        rows += recall.as_ref().map_or(0, Recall::rows);
        let state = ApplyState::new(id, flushed, rejections.current().flushed(id), ledger, window, recall);
        partitions.push(Partition::new(id, log, state, dedup, settings.live_backlog_rows));
    }
    Ok((partitions, rows))
}

/// Rejections are committed before the events of the same records, and the replay begins behind the events. So if the
/// newest commit of the rejections was damaged after the events' commit, and is set aside, only the log's records up to
/// there have what it held: that is committed again.
fn put_rejections_back(
    id: PartitionId,
    log: &SharedLog,
    (last, ledger): (Offset, &Ledger),
    rejections: &Table,
    now: fn() -> Timestamp,
) -> Result<()> {
    let current = rejections.current();
    let flushed = current.flushed(id);
    // Mostly the records between held none, which the books say: then the log is not read.
    let counted = ledger.total().rejected;
    let rows: u64 = current.files.iter().filter(|file| file.partition == id).map(|file| file.rows).sum();
    let known = rows + current.removed(id).total();
    if flushed >= last || known >= counted {
        return Ok(());
    }
    let start = log.start();
    let mut columns = RejectionColumns::new(0);
    let mut at = start.max(flushed.plus(1));
    while at <= last {
        let records = log.read(at, READ_BYTES)?;
        let Some(next) = records.last().map(Record::next) else { break };
        for record in records.into_iter().filter(|record| record.offset <= last) {
            push_rejections(id, record, flushed, &mut columns)?;
        }
        at = next;
    }
    let found = columns.len() as u64;
    if known + found < counted {
        let detail = format!(
            "partition {id}: {counted} rejections were counted up to offset {last}, the table of rejections knows {known}, \
             up to offset {flushed}, and the log, which begins at {start}, has {found} more"
        );
        if start > flushed.plus(1) && rejections.has_lost_its_newest()? {
            let detail = format!("{detail}: its newest commit was damaged. restore the table of rejections");
            return Err(Error::new(Kind::Corrupt, detail));
        }
        tracing::warn!("{detail}");
    }
    if found == 0 {
        return Ok(());
    }
    let files = rejections.write_batch(&columns.finish()?)?;
    rejections.commit(Commit {
        partition: id,
        first: flushed.plus(1),
        last,
        expected_flushed: flushed,
        files,
        info: serde_json::Value::Null,
        now: now(),
    })?;
    tracing::warn!(partition = id.0, found, "rejections that the table had lost are in it again, from the log");
    Ok(())
}

/// Adds the rejections of a record that lie behind an offset.
fn push_rejections(id: PartitionId, record: Record, after: Offset, columns: &mut RejectionColumns) -> Result<()> {
    let first = record.offset;
    let at = |error: EncodingError| {
        Error::from(error).context(format_args!("log record at offset {first} of partition {id}"))
    };
    let batch = Batch::parse(record.payload).map_err(at)?;
    for (index, key) in (0_u64..).zip(batch.keys()) {
        let (position, key) = key.map_err(at)?;
        let offset = first.plus(index);
        if matches!(key, EntryKey::Rejection) && offset > after {
            columns.push(&RejectionRow::new(batch.clone(), position, offset).rejection(id)?);
        }
    }
    Ok(())
}

/// The log must begin at or before the first offset the table does not have, and must not end before the last it has.
fn check_meeting(id: PartitionId, log: &SharedLog, flushed: Offset) -> Result<()> {
    let (start, end) = (log.start(), log.end());
    if start > flushed.plus(1) {
        let detail = format!(
            "partition {id}: the table has offsets up to {flushed}, but the log begins at {start}: the offsets between are \
             missing. restore the log folder, or the table, from the same backup"
        );
        return Err(Error::new(Kind::Corrupt, detail));
    }
    if end < flushed.plus(1) {
        let detail = format!(
            "partition {id}: the table has offsets up to {flushed}, but the log ends before {end}: this is not the log \
             that fed this table. restore the log folder, or the table, from the same backup"
        );
        return Err(Error::new(Kind::Corrupt, detail));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;

    #[test]
    fn commits_without_the_window_are_read_and_it_changes_nothing_else() {
        let old = json!({"ledger": {"t": {"received": 3, "stored": 1, "duplicate": 1, "rejected": 1}}});
        let mut info: CommitInfo = serde_json::from_value(old.clone()).unwrap();
        assert!(info.dedup.is_empty() && info.ledger.total().received == 3);
        assert_eq!(info.to_json(), old);
        info.dedup.begin(Offset(4), Duration::from_secs(60), 9);
        let new = json!({"ledger": old["ledger"], "dedup": [{"from": 4, "window_seconds": 60, "ids_max": 9}]});
        assert_eq!(info.to_json(), new);
        assert_eq!(serde_json::from_value::<CommitInfo>(new).unwrap().dedup, info.dedup);
    }
}
