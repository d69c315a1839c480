//! What the tables have, before the logs are replayed over it: `flushed`, the ledger, the dedup window.

use eye_event::Timestamp;
use eye_log::{Offset, PartitionId, SharedLog};
use serde::{Deserialize, Serialize};

use crate::apply::ApplyState;
use crate::columns::{Columns, EventRows};
use crate::dedup::DedupWindow;
use crate::error::{Error, Kind, Result};
use crate::ledger::Ledger;
use crate::partition::Partition;
use crate::settings::StoreSettings;
use crate::table::{Table, TableVersion};

/// `received_at` may be a little out of order; the window is read from this much further back.
const SLACK_MICROS: i64 = 3_600_000_000;

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

/// The partitions as the tables have them, ready for replay; and how many identities they remember.
pub(crate) fn partitions(
    settings: &StoreSettings,
    logs: Vec<SharedLog>,
    events: &Table,
    rejections: &Table,
) -> Result<(Vec<Partition>, usize)> {
    let version = events.current();
    let mut windows = dedup_windows(settings, &version)?;
    let ids = windows.iter().map(DedupWindow::len).sum();
    let mut partitions = Vec::new();
    for (id, log) in (0..settings.partitions).map(PartitionId).zip(logs) {
        let flushed = version.flushed(id);
        check_meeting(id, &log, flushed)?;
        let ledger = CommitInfo::of(&version, id)?.ledger;
        let state = ApplyState::new(id, flushed, rejections.current().flushed(id), ledger, windows.remove(0));
        partitions.push(Partition::new(id, log, state, settings.live_backlog_rows));
    }
    Ok((partitions, ids))
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

/// Reads the identities of the newest window of events back from the table.
fn dedup_windows(settings: &StoreSettings, version: &TableVersion) -> Result<Vec<DedupWindow>> {
    let window_micros = i64::try_from(settings.dedup_window.as_micros()).unwrap_or(i64::MAX);
    let new = || DedupWindow::new(window_micros, settings.dedup_ids_max);
    let mut windows: Vec<_> = (0..settings.partitions).map(|_| new()).collect();
    let newest = version.files.iter().map(|file| file.received_max).max().unwrap_or_default();
    let from = Timestamp::from_micros(newest.micros().saturating_sub(window_micros).saturating_sub(SLACK_MICROS));
    let mut files: Vec<_> = version.files.iter().filter(|file| file.received_max >= from).collect();
    files.sort_by_key(|file| (file.received_min, file.offset_min));
    let columns =
        Columns::APPLICATION | Columns::SESSION_ID | Columns::EVENT_ID | Columns::RECEIVED_AT | Columns::PARTITION;
    for file in files {
        for group in file.row_groups()? {
            let batch = file.read(group.index, columns, None)?;
            let rows = EventRows::new(&batch)?;
            for row in (0..rows.len()).map(|index| rows.row(index)).filter(|row| row.received_at >= from) {
                if let Some(window) = windows.get_mut(usize::from(row.partition.0)) {
                    window.insert(row.application, row.event.session_id, row.event.event_id, row.received_at);
                }
            }
        }
    }
    Ok(windows)
}
