//! Events as columns: [`EventColumns`] fills them, [`EventRows`] reads them.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, AsArray, BinaryBuilder, Int32Array, Int32Builder, Int64Array, Int64Builder, ListArray, ListBuilder,
    RecordBatch, StringArray, StringBuilder, TimestampMicrosecondArray, TimestampMicrosecondBuilder,
};
use eye_event::{EventRef, Problem, Problems};
use eye_fault::{Sabotage, sabotaged};

use super::schema::list_element;
use super::{
    TableKind, int_column, long_column, offset_as_long, offset_at, optional_text_at, optional_time_at, partition_at,
    text_at, text_column, time_at, time_column,
};
use crate::error::{Error, Kind, Result};
use crate::event::{Stored, StoredEvent};

/// Events on their way to a file, column by column. Texts are taken as bytes: each column is checked as a whole.
///
/// One batch holds at most 2 GiB of text in each column, which is Arrow's bound: finish it long before.
#[derive(Debug)]
pub struct EventColumns {
    event_id: BinaryBuilder,
    application: BinaryBuilder,
    session_id: BinaryBuilder,
    category: BinaryBuilder,
    name: BinaryBuilder,
    timestamp: TimestampMicrosecondBuilder,
    timestamp_raw: BinaryBuilder,
    sent_at: TimestampMicrosecondBuilder,
    received_at: TimestampMicrosecondBuilder,
    user_id: BinaryBuilder,
    anonymous_id: BinaryBuilder,
    data: BinaryBuilder,
    context: BinaryBuilder,
    problems: ListBuilder<StringBuilder>,
    partition: Int32Builder,
    offset: Int64Builder,
}

impl EventColumns {
    /// Empty columns with room for `capacity` rows.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        let text = |bytes: usize| BinaryBuilder::with_capacity(capacity, capacity * bytes);
        let time = || TimestampMicrosecondBuilder::with_capacity(capacity).with_timezone("UTC");
        Self {
            event_id: text(36),
            application: text(8),
            session_id: text(36),
            category: text(16),
            name: text(16),
            timestamp: time(),
            timestamp_raw: text(0),
            sent_at: time(),
            received_at: time(),
            user_id: text(0),
            anonymous_id: text(0),
            data: text(256),
            context: text(0),
            problems: ListBuilder::with_capacity(StringBuilder::new(), capacity).with_field(list_element()),
            partition: Int32Builder::with_capacity(capacity),
            offset: Int64Builder::with_capacity(capacity),
        }
    }

    /// Adds a row.
    pub fn push<T: AsRef<[u8]> + Copy>(&mut self, stored: &Stored<T>) {
        let event = &stored.event;
        self.event_id.append_value(event.event_id);
        self.application.append_value(stored.application);
        self.session_id.append_value(event.session_id);
        self.category.append_value(event.category);
        self.name.append_value(event.name);
        let lost = if sabotaged(Sabotage::TruncateTimes) { event.timestamp.micros() % 1_000 } else { 0 };
        self.timestamp.append_value(event.timestamp.micros() - lost);
        self.timestamp_raw.append_option(event.timestamp_raw);
        self.sent_at.append_option(event.sent_at.map(|time| time.micros()));
        self.received_at.append_value(stored.received_at.micros());
        self.user_id.append_option(event.user_id);
        self.anonymous_id.append_option(event.anonymous_id);
        self.data.append_value(event.data);
        self.context.append_option(event.context);
        for problem in event.problems.iter() {
            self.problems.values().append_value(problem.code());
        }
        self.problems.append(true);
        self.partition.append_value(i32::from(stored.partition.0));
        self.offset.append_value(offset_as_long(stored.offset));
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
    /// `Corrupt` if a text is not UTF-8. Otherwise never in practice: only if the columns did not match the schema.
    pub fn finish(&mut self) -> Result<RecordBatch> {
        let columns: Vec<ArrayRef> = vec![
            texts("event_id", &mut self.event_id)?,
            texts("application", &mut self.application)?,
            texts("session_id", &mut self.session_id)?,
            texts("category", &mut self.category)?,
            texts("name", &mut self.name)?,
            Arc::new(self.timestamp.finish()),
            texts("timestamp_raw", &mut self.timestamp_raw)?,
            Arc::new(self.sent_at.finish()),
            Arc::new(self.received_at.finish()),
            texts("user_id", &mut self.user_id)?,
            texts("anonymous_id", &mut self.anonymous_id)?,
            texts("data", &mut self.data)?,
            texts("context", &mut self.context)?,
            Arc::new(self.problems.finish()),
            Arc::new(self.partition.finish()),
            Arc::new(self.offset.finish()),
        ];
        RecordBatch::try_new(TableKind::Events.schema(), columns)
            .map_err(|error| Error::new(Kind::Internal, format!("cannot make a batch of events: {error}")))
    }
}

/// A column of texts, checked.
fn texts(name: &str, column: &mut BinaryBuilder) -> Result<ArrayRef> {
    let checked = StringArray::try_from_binary(column.finish());
    let checked = checked.map_err(|error| Error::new(Kind::Corrupt, format!("{name} of an event: {error}")))?;
    Ok(Arc::new(checked))
}

/// Events of a batch, row by row. Columns that are not there read as empty.
#[derive(Clone, Copy, Debug)]
pub struct EventRows<'a> {
    rows: usize,
    event_id: Option<&'a StringArray>,
    application: Option<&'a StringArray>,
    session_id: Option<&'a StringArray>,
    category: Option<&'a StringArray>,
    name: Option<&'a StringArray>,
    timestamp: Option<&'a TimestampMicrosecondArray>,
    timestamp_raw: Option<&'a StringArray>,
    sent_at: Option<&'a TimestampMicrosecondArray>,
    received_at: Option<&'a TimestampMicrosecondArray>,
    user_id: Option<&'a StringArray>,
    anonymous_id: Option<&'a StringArray>,
    data: Option<&'a StringArray>,
    context: Option<&'a StringArray>,
    problems: Option<&'a ListArray>,
    partition: Option<&'a Int32Array>,
    offset: Option<&'a Int64Array>,
}

impl<'a> EventRows<'a> {
    /// A reader over any projection of the events' columns.
    ///
    /// # Errors
    /// `Corrupt` if a column has another type than this program writes.
    pub fn new(batch: &'a RecordBatch) -> Result<Self> {
        Ok(Self {
            rows: batch.num_rows(),
            event_id: text_column(batch, "event_id")?,
            application: text_column(batch, "application")?,
            session_id: text_column(batch, "session_id")?,
            category: text_column(batch, "category")?,
            name: text_column(batch, "name")?,
            timestamp: time_column(batch, "timestamp")?,
            timestamp_raw: text_column(batch, "timestamp_raw")?,
            sent_at: time_column(batch, "sent_at")?,
            received_at: time_column(batch, "received_at")?,
            user_id: text_column(batch, "user_id")?,
            anonymous_id: text_column(batch, "anonymous_id")?,
            data: text_column(batch, "data")?,
            context: text_column(batch, "context")?,
            problems: super::typed(batch, "problems", |array| array.as_list_opt::<i32>())?,
            partition: int_column(batch, "partition")?,
            offset: long_column(batch, "offset")?,
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

    /// The row at `row`, below [`EventRows::len`].
    ///
    /// # Panics
    /// If `row` is not below the length.
    #[must_use]
    pub fn row(&self, row: usize) -> StoredEvent<'a> {
        StoredEvent {
            application: text_at(self.application, row),
            received_at: time_at(self.received_at, row),
            partition: partition_at(self.partition, row),
            offset: offset_at(self.offset, row),
            event: EventRef {
                event_id: text_at(self.event_id, row),
                session_id: text_at(self.session_id, row),
                category: text_at(self.category, row),
                name: text_at(self.name, row),
                timestamp: time_at(self.timestamp, row),
                timestamp_raw: optional_text_at(self.timestamp_raw, row),
                sent_at: optional_time_at(self.sent_at, row),
                user_id: optional_text_at(self.user_id, row),
                anonymous_id: optional_text_at(self.anonymous_id, row),
                data: text_at(self.data, row),
                context: optional_text_at(self.context, row),
                problems: self.problems.map_or(Problems::NONE, |column| problems_at(column, row)),
            },
        }
    }

    /// Every row, in the batch's order.
    pub fn iter(self) -> impl Iterator<Item = StoredEvent<'a>> {
        (0..self.rows).map(move |row| self.row(row))
    }
}

/// The problems of every row of a batch; `None` if the batch does not have the column.
///
/// # Errors
/// `Corrupt` if the column has another type than this program writes.
pub fn problems_of(batch: &RecordBatch) -> Result<Option<Vec<Problems>>> {
    let column = super::typed(batch, "problems", |array| array.as_list_opt::<i32>())?;
    Ok(column.map(|column| (0..batch.num_rows()).map(|row| problems_at(column, row)).collect()))
}

/// Codes of newer versions are passed over: this version cannot name them.
fn problems_at(column: &ListArray, row: usize) -> Problems {
    if column.value_length(row) == 0 {
        return Problems::NONE;
    }
    let codes = column.value(row);
    let Some(codes) = codes.as_string_opt::<i32>() else {
        return Problems::NONE;
    };
    codes.iter().flatten().filter_map(Problem::from_code).collect()
}

#[cfg(test)]
mod tests {
    use eye_event::Timestamp;
    use eye_log::{Offset, PartitionId};

    use super::*;

    fn event<'a>(optional: Option<&'a str>, problems: Problems) -> StoredEvent<'a> {
        StoredEvent {
            application: "web",
            received_at: Timestamp::from_micros(5),
            partition: PartitionId(3),
            offset: Offset(77),
            event: EventRef {
                event_id: "e",
                session_id: "s",
                category: "c",
                name: "n",
                timestamp: Timestamp::from_micros(-62_135_596_800_000_000),
                timestamp_raw: optional,
                sent_at: optional.map(|_| Timestamp::from_micros(9)),
                user_id: optional,
                anonymous_id: optional,
                data: "{\"a\":1.0}",
                context: optional,
                problems,
            },
        }
    }

    #[test]
    fn what_is_pushed_is_read() {
        let rows = [event(None, Problems::NONE), event(Some("x"), Problems::TIME), event(Some(""), Problems::NONE)];
        let mut columns = EventColumns::new(0);
        rows.iter().for_each(|row| columns.push(row));
        assert_eq!(columns.len(), 3);
        let batch = columns.finish().unwrap();
        assert!(columns.is_empty());
        let read: Vec<_> = EventRows::new(&batch).unwrap().iter().collect();
        assert_eq!(read, rows);
    }

    #[test]
    fn a_text_that_is_not_utf_8_is_corrupt() {
        let good = event(None, Problems::NONE);
        // Together they would be one character: each text is looked at, not only the column.
        for data in [&b"\xff"[..], &b"\xc3"[..]] {
            let raw = eye_event::RawEvent {
                event_id: b"e",
                session_id: b"s",
                category: b"c",
                name: b"n",
                timestamp: good.event.timestamp,
                timestamp_raw: None,
                sent_at: None,
                user_id: None,
                anonymous_id: None,
                data,
                context: None,
                problems: Problems::NONE,
            };
            let mut columns = EventColumns::new(2);
            let row = |event| Stored {
                application: &b"web"[..],
                received_at: good.received_at,
                partition: good.partition,
                offset: good.offset,
                event,
            };
            columns.push(&row(raw));
            columns.push(&row(eye_event::RawEvent { data: b"\xa9", ..raw }));
            assert_eq!(columns.finish().unwrap_err().kind(), Kind::Corrupt);
        }
    }

    #[test]
    fn columns_that_are_not_there_are_empty() {
        let mut columns = EventColumns::new(1);
        columns.push(&event(Some("x"), Problems::TIME));
        let batch = columns.finish().unwrap().project(&[15, 4]).unwrap();
        let row = EventRows::new(&batch).unwrap().row(0);
        assert_eq!((row.offset, row.event.name), (Offset(77), "n"));
        assert_eq!((row.event.data, row.event.user_id, row.event.problems), ("", None, Problems::NONE));
    }

    #[test]
    fn a_column_of_another_type_is_corrupt() {
        let batch =
            RecordBatch::try_from_iter([("offset", Arc::new(StringArray::from(vec!["7"])) as ArrayRef)]).unwrap();
        assert_eq!(EventRows::new(&batch).unwrap_err().kind(), Kind::Corrupt);
    }
}
