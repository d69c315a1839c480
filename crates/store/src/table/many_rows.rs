//! Rows of several batches, to be written as one file.

use arrow::array::{Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::compute::interleave_record_batch;
use eye_event::Timestamp;
use eye_log::PartitionId;

use super::encode::{RowKey, RowSource};
use crate::columns::{TableKind, int_column, long_column, offset_at, partition_at, required, text_column, time_column};
use crate::error::{Error, Kind, Result};

/// Batches of one of our tables and of one partition as a source of rows. They are never joined: only what is written next
/// is copied, a few pages at a time.
pub(crate) struct ManyRows {
    kind: TableKind,
    partition: PartitionId,
    batches: Vec<RecordBatch>,
    keys: Vec<Keys>,
    /// The number of each batch's first row.
    starts: Vec<u32>,
    rows: u32,
}

/// What rows of one batch are ordered by.
struct Keys {
    session: Option<StringArray>,
    received: TimestampMicrosecondArray,
    time: TimestampMicrosecondArray,
    offset: Int64Array,
}

impl Keys {
    fn new(kind: TableKind, batch: &RecordBatch) -> Result<Self> {
        let time = kind.time_column();
        Ok(Self {
            session: text_column(batch, "session_id")?.cloned(),
            received: required(time_column(batch, "received_at")?, "received_at")?.clone(),
            time: required(time_column(batch, time)?, time)?.clone(),
            offset: required(long_column(batch, "offset")?, "offset")?.clone(),
        })
    }
}

impl ManyRows {
    /// No rows yet, of this partition.
    pub(crate) fn new(kind: TableKind, partition: PartitionId) -> Self {
        Self { kind, partition, batches: Vec::new(), keys: Vec::new(), starts: Vec::new(), rows: 0 }
    }

    /// Takes in the rows of a batch with all columns of the table.
    ///
    /// # Errors
    /// `Corrupt` if its columns are not the table's, or its rows of another partition.
    pub(crate) fn push(&mut self, batch: &RecordBatch) -> Result<()> {
        // A file does not keep all that the schema says; what matters is that the types are the same.
        let batch = RecordBatch::try_new(self.kind.schema(), batch.columns().to_vec())
            .map_err(|error| Error::new(Kind::Corrupt, format!("these rows are not of the table: {error}")))?;
        let partitions = required(int_column(&batch, "partition")?, "partition")?;
        if (0..batch.num_rows()).any(|row| partition_at(Some(partitions), row) != self.partition) {
            return Err(Error::new(Kind::Corrupt, format!("a row is not of partition {}", self.partition)));
        }
        let rows = u32::try_from(batch.num_rows()).ok().and_then(|rows| self.rows.checked_add(rows));
        let rows = rows.ok_or_else(|| Error::new(Kind::Invalid, "too many rows for one file"))?;
        self.keys.push(Keys::new(self.kind, &batch)?);
        self.starts.push(self.rows);
        self.batches.push(batch);
        self.rows = rows;
        Ok(())
    }

    /// The batch of a row, and its place there.
    fn place(&self, row: u32) -> (usize, usize) {
        let batch = self.starts.partition_point(|start| *start <= row).saturating_sub(1);
        (batch, (row - self.starts[batch]) as usize)
    }
}

impl RowSource for ManyRows {
    fn kind(&self) -> TableKind {
        self.kind
    }

    fn partition(&self) -> Result<PartitionId> {
        Ok(self.partition)
    }

    fn len(&self) -> usize {
        self.rows as usize
    }

    fn key(&self, row: u32) -> Result<RowKey> {
        let (batch, row) = self.place(row);
        let keys = &self.keys[batch];
        Ok(RowKey {
            received_at: Timestamp::from_micros(keys.received.value(row)),
            timestamp: Timestamp::from_micros(keys.time.value(row)),
            offset: offset_at(Some(&keys.offset), row),
        })
    }

    fn session(&self, row: u32) -> Result<Option<&[u8]>> {
        let (batch, row) = self.place(row);
        Ok(self.keys[batch].session.as_ref().map(|session| session.value(row).as_bytes()))
    }

    fn take(&self, rows: &[u32]) -> Result<RecordBatch> {
        let places: Vec<_> = rows.iter().map(|row| self.place(*row)).collect();
        let batches: Vec<&RecordBatch> = self.batches.iter().collect();
        interleave_record_batch(&batches, &places)
            .map_err(|error| Error::new(Kind::Internal, format!("cannot bring rows together: {error}")))
    }
}
