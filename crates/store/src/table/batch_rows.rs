//! Rows that are columns already, to be written.

use arrow::array::{Int32Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray, UInt32Array};
use arrow::compute::take_record_batch;
use eye_event::Timestamp;
use eye_log::PartitionId;

use super::encode::{RowKey, RowSource};
use crate::columns::{TableKind, int_column, long_column, offset_at, partition_at, required, text_column, time_column};
use crate::error::{Error, Kind, Result};

/// A batch of one of our tables as a source of rows.
pub(crate) struct BatchRows<'a> {
    kind: TableKind,
    batch: &'a RecordBatch,
    session: Option<&'a StringArray>,
    received: &'a TimestampMicrosecondArray,
    time: &'a TimestampMicrosecondArray,
    partition: &'a Int32Array,
    offset: &'a Int64Array,
}

impl<'a> BatchRows<'a> {
    /// The rows of a batch; `Invalid` if its columns are not the table's.
    pub(crate) fn new(kind: TableKind, batch: &'a RecordBatch) -> Result<Self> {
        if batch.schema() != kind.schema() {
            return Err(Error::new(Kind::Invalid, format!("these rows are not of the table {}", kind.name())));
        }
        let time = kind.time_column();
        Ok(Self {
            kind,
            batch,
            session: text_column(batch, "session_id")?,
            received: required(time_column(batch, "received_at")?, "received_at")?,
            time: required(time_column(batch, time)?, time)?,
            partition: required(int_column(batch, "partition")?, "partition")?,
            offset: required(long_column(batch, "offset")?, "offset")?,
        })
    }
}

impl RowSource for BatchRows<'_> {
    fn kind(&self) -> TableKind {
        self.kind
    }

    fn partition(&self) -> Result<PartitionId> {
        let first = self.partition.values().first();
        if self.partition.values().iter().any(|partition| Some(partition) != first) {
            return Err(Error::new(Kind::Invalid, "a flush must hold rows of one partition only"));
        }
        Ok(partition_at(Some(self.partition), 0))
    }

    fn len(&self) -> usize {
        self.batch.num_rows()
    }

    fn key(&self, row: u32) -> Result<RowKey> {
        let row = row as usize;
        Ok(RowKey {
            received_at: Timestamp::from_micros(self.received.value(row)),
            timestamp: Timestamp::from_micros(self.time.value(row)),
            offset: offset_at(Some(self.offset), row),
        })
    }

    fn session(&self, row: u32) -> Result<Option<&[u8]>> {
        Ok(self.session.map(|session| session.value(row as usize).as_bytes()))
    }

    fn take(&self, rows: &[u32]) -> Result<RecordBatch> {
        take_record_batch(self.batch, &UInt32Array::from(rows.to_vec()))
            .map_err(|error| Error::new(Kind::Internal, format!("cannot order rows: {error}")))
    }
}
