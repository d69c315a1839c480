//! Rejections as columns: [`RejectionColumns`] fills them, [`RejectionRows`] reads them.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, Int32Array, Int32Builder, Int64Array, Int64Builder, RecordBatch, StringArray, StringBuilder,
    TimestampMicrosecondArray, TimestampMicrosecondBuilder,
};
use eye_event::RejectionRef;
use eye_fault::{Sabotage, sabotaged};

use super::{
    TableKind, int_column, long_column, offset_as_long, offset_at, partition_at, text_at, text_column, time_at,
    time_column,
};
use crate::error::{Error, Kind, Result};
use crate::event::StoredRejection;

/// Rejections on their way to a file, column by column.
#[derive(Debug)]
pub struct RejectionColumns {
    application: StringBuilder,
    token: StringBuilder,
    received_at: TimestampMicrosecondBuilder,
    partition: Int32Builder,
    offset: Int64Builder,
    code: StringBuilder,
    field: StringBuilder,
    message: StringBuilder,
    sample: StringBuilder,
}

impl RejectionColumns {
    /// Empty columns with room for `capacity` rows.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        let text = |bytes: usize| StringBuilder::with_capacity(capacity, capacity * bytes);
        Self {
            application: text(8),
            token: text(16),
            received_at: TimestampMicrosecondBuilder::with_capacity(capacity).with_timezone("UTC"),
            partition: Int32Builder::with_capacity(capacity),
            offset: Int64Builder::with_capacity(capacity),
            code: text(16),
            field: text(8),
            message: text(64),
            sample: text(256),
        }
    }

    /// Adds a row.
    pub fn push(&mut self, stored: &StoredRejection<'_>) {
        self.application.append_value(stored.application);
        self.token.append_value(stored.token);
        self.received_at.append_value(stored.received_at.micros());
        self.partition.append_value(i32::from(stored.partition.0));
        self.offset.append_value(offset_as_long(stored.offset));
        self.code.append_value(stored.rejection.code);
        self.field.append_value(stored.rejection.field);
        let is_lost = sabotaged(Sabotage::ForgetRejectionMessage);
        self.message.append_value(if is_lost { "" } else { stored.rejection.message });
        self.sample.append_value(stored.rejection.sample);
    }

    /// Rows so far.
    #[must_use]
    pub fn len(&self) -> usize {
        use arrow::array::ArrayBuilder as _;
        self.offset.len()
    }

    /// True if there is no row.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The rows as one batch in the table's order of columns; the builder is empty afterwards.
    ///
    /// # Errors
    /// Never in practice: only if the columns did not match the schema.
    pub fn finish(&mut self) -> Result<RecordBatch> {
        let columns: Vec<ArrayRef> = vec![
            Arc::new(self.application.finish()),
            Arc::new(self.token.finish()),
            Arc::new(self.received_at.finish()),
            Arc::new(self.partition.finish()),
            Arc::new(self.offset.finish()),
            Arc::new(self.code.finish()),
            Arc::new(self.field.finish()),
            Arc::new(self.message.finish()),
            Arc::new(self.sample.finish()),
        ];
        RecordBatch::try_new(TableKind::Rejections.schema(), columns)
            .map_err(|error| Error::new(Kind::Internal, format!("cannot make a batch of rejections: {error}")))
    }
}

/// Rejections of a batch, row by row. Columns that are not there read as empty.
#[derive(Clone, Copy, Debug)]
pub struct RejectionRows<'a> {
    rows: usize,
    application: Option<&'a StringArray>,
    token: Option<&'a StringArray>,
    received_at: Option<&'a TimestampMicrosecondArray>,
    partition: Option<&'a Int32Array>,
    offset: Option<&'a Int64Array>,
    code: Option<&'a StringArray>,
    field: Option<&'a StringArray>,
    message: Option<&'a StringArray>,
    sample: Option<&'a StringArray>,
}

impl<'a> RejectionRows<'a> {
    /// A reader over any projection of the rejections' columns.
    ///
    /// # Errors
    /// `Corrupt` if a column has another type than this program writes.
    pub fn new(batch: &'a RecordBatch) -> Result<Self> {
        Ok(Self {
            rows: batch.num_rows(),
            application: text_column(batch, "application")?,
            token: text_column(batch, "token")?,
            received_at: time_column(batch, "received_at")?,
            partition: int_column(batch, "partition")?,
            offset: long_column(batch, "offset")?,
            code: text_column(batch, "code")?,
            field: text_column(batch, "field")?,
            message: text_column(batch, "message")?,
            sample: text_column(batch, "sample")?,
        })
    }

    /// Rows in the batch.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows
    }

    /// True if there is no row.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// The row at `row`, below [`RejectionRows::len`].
    ///
    /// # Panics
    /// If `row` is not below the length.
    #[must_use]
    pub fn row(&self, row: usize) -> StoredRejection<'a> {
        StoredRejection {
            application: text_at(self.application, row),
            token: text_at(self.token, row),
            received_at: time_at(self.received_at, row),
            partition: partition_at(self.partition, row),
            offset: offset_at(self.offset, row),
            rejection: RejectionRef {
                code: text_at(self.code, row),
                field: text_at(self.field, row),
                message: text_at(self.message, row),
                sample: text_at(self.sample, row),
            },
        }
    }

    /// Every row, in the batch's order.
    pub fn iter(self) -> impl Iterator<Item = StoredRejection<'a>> {
        (0..self.rows).map(move |row| self.row(row))
    }
}

#[cfg(test)]
mod tests {
    use eye_event::Timestamp;
    use eye_log::{Offset, PartitionId};

    use super::*;

    #[test]
    fn what_is_pushed_is_read() {
        let row = StoredRejection {
            application: "web",
            token: "t1",
            received_at: Timestamp::from_micros(5),
            partition: PartitionId(1),
            offset: Offset(9),
            rejection: RejectionRef { code: "not_json", field: "", message: "m", sample: "{" },
        };
        let mut columns = RejectionColumns::new(1);
        columns.push(&row);
        let batch = columns.finish().unwrap();
        assert_eq!(RejectionRows::new(&batch).unwrap().iter().collect::<Vec<_>>(), [row]);
    }
}
