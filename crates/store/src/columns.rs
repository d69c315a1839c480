//! Events and rejections as Arrow columns: the table's schema, builders that fill it, readers over any part of it.
//!
//! The hot buffer, the flush and every read of the table share these columns. Readers find columns by name, so a batch
//! may hold any of them in any order. The partition column `received_date` is in the table's schema only: Delta keeps it
//! in the file's path, not in the file.

mod events;
mod rejections;
mod schema;
mod select;

pub use events::{EventColumns, EventRows, problems_of};
pub use rejections::{RejectionColumns, RejectionRows};
pub use schema::{RECEIVED_DATE, TableKind};
pub use select::Columns;

use arrow::array::{Array, AsArray, Int32Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{Int32Type, Int64Type, TimestampMicrosecondType};
use eye_event::Timestamp;
use eye_log::{Offset, PartitionId};

use crate::error::{Error, Kind, Result};

/// A text column of a batch, if the batch has it.
pub(crate) fn text_column<'a>(batch: &'a RecordBatch, name: &str) -> Result<Option<&'a StringArray>> {
    typed(batch, name, |array| array.as_string_opt::<i32>())
}

/// A time column of a batch, if the batch has it.
pub(crate) fn time_column<'a>(batch: &'a RecordBatch, name: &str) -> Result<Option<&'a TimestampMicrosecondArray>> {
    typed(batch, name, |array| array.as_primitive_opt::<TimestampMicrosecondType>())
}

/// An integer column of a batch, if the batch has it.
pub(crate) fn int_column<'a>(batch: &'a RecordBatch, name: &str) -> Result<Option<&'a Int32Array>> {
    typed(batch, name, |array| array.as_primitive_opt::<Int32Type>())
}

/// A long column of a batch, if the batch has it.
pub(crate) fn long_column<'a>(batch: &'a RecordBatch, name: &str) -> Result<Option<&'a Int64Array>> {
    typed(batch, name, |array| array.as_primitive_opt::<Int64Type>())
}

/// What a caller could not do without.
pub(crate) fn required<'a, T: ?Sized>(column: Option<&'a T>, name: &str) -> Result<&'a T> {
    column.ok_or_else(|| Error::new(Kind::Internal, format!("batch lacks the column {name}: ask for it")))
}

fn typed<'a, T: ?Sized>(
    batch: &'a RecordBatch,
    name: &str,
    cast: impl Fn(&'a dyn Array) -> Option<&'a T>,
) -> Result<Option<&'a T>> {
    let Some(column) = batch.column_by_name(name) else {
        return Ok(None);
    };
    let typed = cast(column.as_ref());
    typed.map(Some).ok_or_else(|| {
        let detail = format!("column {name} is {}, which no version of this program writes", column.data_type());
        Error::new(Kind::Corrupt, detail)
    })
}

fn text_at(column: Option<&StringArray>, row: usize) -> &str {
    column.map_or("", |column| column.value(row))
}

fn optional_text_at(column: Option<&StringArray>, row: usize) -> Option<&str> {
    column.filter(|column| column.is_valid(row)).map(|column| column.value(row))
}

fn time_at(column: Option<&TimestampMicrosecondArray>, row: usize) -> Timestamp {
    Timestamp::from_micros(column.map_or(0, |column| column.value(row)))
}

fn optional_time_at(column: Option<&TimestampMicrosecondArray>, row: usize) -> Option<Timestamp> {
    column.filter(|column| column.is_valid(row)).map(|column| Timestamp::from_micros(column.value(row)))
}

pub(crate) fn partition_at(column: Option<&Int32Array>, row: usize) -> PartitionId {
    PartitionId(column.map_or(0, |column| u16::try_from(column.value(row)).unwrap_or(u16::MAX)))
}

pub(crate) fn offset_at(column: Option<&Int64Array>, row: usize) -> Offset {
    Offset(column.map_or(0, |column| u64::try_from(column.value(row)).unwrap_or_default()))
}

/// An offset as the table keeps it. Offsets never come near 2^63.
fn offset_as_long(offset: Offset) -> i64 {
    i64::try_from(offset.0).unwrap_or(i64::MAX)
}
