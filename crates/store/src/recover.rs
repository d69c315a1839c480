//! What the tables have, before the logs are replayed over it: `flushed`, the ledger, the dedup window.

use eye_fault::{Sabotage, sabotaged};
use eye_log::{Offset, PartitionId, SharedLog};
use serde::{Deserialize, Serialize};

use crate::apply::ApplyState;
use crate::dedup::DedupWindow;
use crate::error::{Error, Kind, Result};
use crate::ledger::Ledger;
use crate::partition::Partition;
use crate::recall::Recall;
use crate::settings::StoreSettings;
use crate::table::{Table, TableVersion};

/// What a commit says besides its rows. Kept under `commitInfo.eye.info`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct CommitInfo {
    /// The ledger of the partition as of the commit's last offset: totals since the data folder was made.
    pub ledger: Ledger,
}

impl CommitInfo {
    pub(crate) fn to_json(&self) -> serde_json::Value {
        // A map of strings to numbers always serialises.
        serde_json::to_value(self).unwrap_or_default()
    }

    /// Reads what a commit said; an empty ledger if the table has no commit of this partition yet.
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
) -> Result<(Vec<Partition>, u64)> {
    let version = events.current();
    let window_micros = i64::try_from(settings.dedup_window.as_micros()).unwrap_or(i64::MAX);
    let (mut partitions, mut rows) = (Vec::new(), 0);
    for (id, log) in (0..settings.partitions).map(PartitionId).zip(logs) {
        let flushed = version.flushed(id);
        check_meeting(id, &log, flushed)?;
        let ledger = match sabotaged(Sabotage::ForgetLedger) {
            true => Ledger::default(),
            false => CommitInfo::of(&version, id)?.ledger,
        };
        let window = DedupWindow::new(window_micros, settings.dedup_ids_max);
        let recall = Recall::new(settings, &version, id).filter(|_| !sabotaged(Sabotage::ForgetDedup));
        rows += recall.as_ref().map_or(0, Recall::rows);
        let state = ApplyState::new(id, flushed, rejections.current().flushed(id), ledger, window, recall);
        partitions.push(Partition::new(id, log, state, settings.live_backlog_rows));
    }
    Ok((partitions, rows))
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
