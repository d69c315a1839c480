//! A file's statistics out of the log's JSON.

use eye_event::Timestamp;
use eye_log::{Offset, PartitionId};
use serde::Deserialize;

/// What we need of a file's statistics ourselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FileStats {
    pub(crate) rows: u64,
    pub(crate) timestamp: (Timestamp, Timestamp),
    pub(crate) received: (Timestamp, Timestamp),
    pub(crate) offset: (Offset, Offset),
    pub(crate) partition: (PartitionId, PartitionId),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Written {
    num_records: u64,
    min_values: WrittenBounds,
    max_values: WrittenBounds,
}

#[derive(Deserialize)]
struct WrittenBounds {
    timestamp: Option<Timestamp>,
    received_at: Timestamp,
    partition: u16,
    offset: u64,
}

impl FileStats {
    /// Reads statistics from the log. The error says what is wrong with them.
    pub(crate) fn parse(text: &str) -> std::result::Result<Self, String> {
        let written: Written = serde_json::from_str(text).map_err(|error| error.to_string())?;
        let (low, high) = (written.min_values, written.max_values);
        Ok(Self {
            rows: written.num_records,
            timestamp: (low.timestamp.unwrap_or(low.received_at), high.timestamp.unwrap_or(high.received_at)),
            received: (low.received_at, high.received_at),
            offset: (Offset(low.offset), Offset(high.offset)),
            partition: (PartitionId(low.partition), PartitionId(high.partition)),
        })
    }
}
