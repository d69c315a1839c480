//! [`Frame`]: the rows of a slice as columns, which is how questions over many events read them.
//!
//! Of application, category and name each row has a number, and each text stands once: a condition on one of them looks at
//! a few texts, not at 65,536 rows. Columns that were not asked for have no values.

use std::borrow::Cow;
use std::sync::Arc;

use ahash::AHashMap;
use arrow::array::{Array, AsArray, RecordBatch, StringArray, StringBuilder, StringViewArray};
use arrow::buffer::ScalarBuffer;
use arrow::datatypes::{Int32Type, Int64Type, TimestampMicrosecondType};
use eye_event::{Problems, Timestamp};
use eye_log::{Offset, PartitionId};
use eye_store::{Columns, Error, Kind, Result, Runs, SortKey, StoredEvent};

use crate::field::Field;
use crate::json;

/// The rows of one slice, column by column.
#[derive(Default)]
pub struct Frame {
    rows: usize,
    texts: [Texts; TEXT_COLUMNS.len()],
    timestamps: ScalarBuffer<i64>,
    partitions: ScalarBuffer<i32>,
    offsets: ScalarBuffer<i64>,
    problems: Vec<Problems>,
    /// The JSON texts of values inside `data`, by their paths: those that lie in columns of their own.
    apart: Vec<(Vec<String>, Texts)>,
}

/// The text columns of a frame, by their places in [`Frame::texts`].
const TEXT_COLUMNS: [Columns; 9] = [
    Columns::APPLICATION,
    Columns::CATEGORY,
    Columns::NAME,
    Columns::SESSION_ID,
    Columns::USER_ID,
    Columns::ANONYMOUS_ID,
    Columns::EVENT_ID,
    Columns::DATA,
    Columns::CONTEXT,
];
/// So many of them, from the front, have few different texts.
const CODED: usize = 3;

/// The values of a text column.
#[derive(Clone, Default)]
pub(crate) enum Texts {
    /// No row has one.
    #[default]
    None,
    /// Each row its own.
    Plain(StringArray),
    /// Each row its own, where it was read.
    Viewed(StringViewArray),
    /// Each row the number of one, which is below 0 in a row without.
    Coded(ScalarBuffer<i32>, StringArray),
}

/// Where the value of a field lies in a frame.
#[derive(Clone, Copy)]
pub(crate) struct Place<'f> {
    texts: &'f Texts,
    /// How to find it in the text of a row; `None` if that is all of it.
    path: Option<&'f [String]>,
    is_json: bool,
}

impl<'f> Place<'f> {
    /// The texts that the values lie in.
    pub(crate) fn texts(&self) -> &'f Texts {
        self.texts
    }

    /// True of a value inside a payload that has a column of its own: its texts are the values' JSON.
    pub(crate) fn is_apart(&self) -> bool {
        self.is_json && self.path.is_none()
    }

    /// The JSON of the value in one of the texts; `None` if there is none, or the field is no JSON.
    pub(crate) fn json<'t>(&self, text: &'t str) -> Option<&'t str> {
        match self.path {
            Some(path) => json::find(text, path),
            None => self.is_json.then_some(text),
        }
    }

    /// The value in one of the texts, as a text: see [`json::plain`].
    pub(crate) fn value<'t>(&self, text: &'t str) -> Option<Cow<'t, str>> {
        if self.is_json { json::plain(self.json(text)?) } else { Some(Cow::Borrowed(text)) }
    }
}

impl Texts {
    /// The text of a row.
    pub(crate) fn get(&self, row: usize) -> Option<&str> {
        match self {
            Self::None => None,
            Self::Plain(texts) => texts.is_valid(row).then(|| texts.value(row)),
            Self::Viewed(texts) => texts.is_valid(row).then(|| texts.value(row)),
            Self::Coded(codes, texts) => Some(texts.value(usize::try_from(codes[row]).ok()?)),
        }
    }

    /// How many different numbers rows may have; none of texts without numbers.
    pub(crate) fn codes(&self) -> usize {
        if let Self::Coded(_, texts) = self { texts.len() } else { 0 }
    }

    /// The numbers of all rows' texts, below 0 in a row without; none of texts without numbers.
    pub(crate) fn numbers(&self) -> &[i32] {
        if let Self::Coded(codes, _) = self { codes } else { &[] }
    }

    /// The number of a row's text.
    #[inline]
    pub(crate) fn code(&self, row: usize) -> Option<usize> {
        if let Self::Coded(codes, _) = self { usize::try_from(codes[row]).ok() } else { None }
    }
}

impl Frame {
    /// A frame of so many rows, of which nothing was read.
    pub(crate) fn of_rows(rows: usize) -> Self {
        Self { rows, ..Self::default() }
    }

    /// The runs of rows with the same value of a field that is a column of ids.
    pub(crate) fn runs(&self, field: &Field) -> Runs {
        let texts = self.texts(field);
        Runs::of((0..self.rows).map(|row| texts.get(row)))
    }

    /// How many rows there are.
    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    /// The text column of a field: a payload whole.
    pub(crate) fn texts(&self, field: &Field) -> &Texts {
        let column = field.column();
        let place = TEXT_COLUMNS.iter().position(|known| *known == column);
        place.map_or(&Texts::None, |place| &self.texts[place])
    }

    /// Where the value of a field lies.
    pub(crate) fn place<'f>(&'f self, field: &'f Field) -> Place<'f> {
        if let Field::Data(path) = field
            && let Some((_, texts)) = self.apart.iter().find(|(known, _)| known == path)
        {
            return Place { texts, path: None, is_json: true };
        }
        Place { texts: self.texts(field), path: field.path(), is_json: field.path().is_some() }
    }

    /// When each row's event occurred, in microseconds.
    pub(crate) fn timestamps(&self) -> &[i64] {
        &self.timestamps
    }

    /// What is wrong with each row's event.
    pub(crate) fn problems(&self) -> &[Problems] {
        &self.problems
    }

    /// A row's place in the order of all events.
    pub(crate) fn key(&self, row: usize) -> SortKey {
        SortKey {
            timestamp: Timestamp::from_micros(self.timestamps[row]),
            partition: PartitionId(u16::try_from(self.partitions[row]).unwrap_or(u16::MAX)),
            offset: Offset(u64::try_from(self.offsets[row]).unwrap_or_default()),
        }
    }

    /// A frame of a batch of the table, which was read with these paths.
    pub(crate) fn of(batch: &RecordBatch, paths: &[Vec<String>]) -> Result<Self> {
        let mut frame = Self { rows: batch.num_rows(), ..Self::default() };
        for (place, column) in TEXT_COLUMNS.iter().enumerate() {
            let name = column.names().next().unwrap_or_default();
            let Some(array) = batch.column_by_name(name) else { continue };
            frame.texts[place] = texts_of(array.as_ref()).ok_or_else(|| strange(name))?;
        }
        if let Some(array) = batch.column_by_name("timestamp") {
            let array = array.as_primitive_opt::<TimestampMicrosecondType>().ok_or_else(|| strange("timestamp"))?;
            frame.timestamps = array.values().clone();
        }
        if let Some(array) = batch.column_by_name("partition") {
            frame.partitions =
                array.as_primitive_opt::<Int32Type>().ok_or_else(|| strange("partition"))?.values().clone();
        }
        if let Some(array) = batch.column_by_name("offset") {
            frame.offsets = array.as_primitive_opt::<Int64Type>().ok_or_else(|| strange("offset"))?.values().clone();
        }
        for path in paths {
            let Some(name) = eye_store::data_column(path) else { continue };
            let Some(array) = batch.column_by_name(&name) else { continue };
            frame.apart.push((path.clone(), texts_of(array.as_ref()).ok_or_else(|| strange(&name))?));
        }
        frame.problems = eye_store::columns::problems_of(batch)?.unwrap_or_default();
        Ok(frame)
    }

    /// A frame of rows that are visited one by one.
    pub(crate) fn gather(
        columns: Columns,
        visit: impl FnOnce(&mut dyn FnMut(u32, &StoredEvent<'_>)) -> Result<()>,
    ) -> Result<Self> {
        let mut rows = Gathered::new(columns);
        visit(&mut |_, event| rows.push(event))?;
        Ok(rows.finish())
    }
}

fn strange(name: &str) -> Error {
    Error::new(Kind::Corrupt, format!("column {name} has a type that no version of this program writes"))
}

fn texts_of(array: &dyn Array) -> Option<Texts> {
    if let Some(texts) = array.as_string_opt::<i32>() {
        return Some(Texts::Plain(texts.clone()));
    }
    if let Some(texts) = array.as_string_view_opt() {
        return Some(Texts::Viewed(texts.clone()));
    }
    let coded = array.as_dictionary_opt::<Int32Type>()?;
    let codes = coded.keys().values();
    let codes = match coded.nulls().filter(|nulls| nulls.null_count() > 0) {
        None => codes.clone(),
        Some(nulls) => codes.iter().zip(nulls).map(|(code, is_there)| if is_there { *code } else { -1 }).collect(),
    };
    Some(Texts::Coded(codes, coded.values().as_string_opt::<i32>()?.clone()))
}

/// Rows on their way to a frame.
struct Gathered {
    columns: Columns,
    coded: [Codes; CODED],
    plain: [StringBuilder; TEXT_COLUMNS.len() - CODED],
    timestamps: Vec<i64>,
    partitions: Vec<i32>,
    offsets: Vec<i64>,
    problems: Vec<Problems>,
    rows: usize,
}

#[derive(Default)]
struct Codes {
    numbers: AHashMap<Arc<str>, i32>,
    texts: Vec<Arc<str>>,
    rows: Vec<i32>,
}

impl Codes {
    fn push(&mut self, text: &str) {
        // Neighbours are often the same.
        if let Some(last) = self.rows.last().copied()
            && self.texts.get(usize::try_from(last).unwrap_or_default()).is_some_and(|known| **known == *text)
        {
            self.rows.push(last);
            return;
        }
        let next = i32::try_from(self.texts.len()).unwrap_or(i32::MAX);
        let number = self.numbers.get(text).copied().unwrap_or_else(|| {
            let text: Arc<str> = text.into();
            self.numbers.insert(Arc::clone(&text), next);
            self.texts.push(text);
            next
        });
        self.rows.push(number);
    }
}

impl Gathered {
    fn new(columns: Columns) -> Self {
        Self {
            columns,
            coded: Default::default(),
            plain: Default::default(),
            timestamps: Vec::new(),
            partitions: Vec::new(),
            offsets: Vec::new(),
            problems: Vec::new(),
            rows: 0,
        }
    }

    fn push(&mut self, stored: &StoredEvent<'_>) {
        let event = &stored.event;
        self.rows += 1;
        let texts = [
            Some(stored.application),
            Some(event.category),
            Some(event.name),
            Some(event.session_id),
            event.user_id,
            event.anonymous_id,
            Some(event.event_id),
            Some(event.data),
            event.context,
        ];
        for (place, (column, text)) in TEXT_COLUMNS.iter().zip(texts).enumerate() {
            if !self.columns.contains(*column) {
                continue;
            }
            match self.coded.get_mut(place) {
                Some(codes) => codes.push(text.unwrap_or_default()),
                None => self.plain[place - CODED].append_option(text),
            }
        }
        if self.columns.contains(Columns::TIMESTAMP) {
            self.timestamps.push(event.timestamp.micros());
        }
        if self.columns.contains(Columns::PARTITION) {
            self.partitions.push(stored.partition.0.into());
        }
        if self.columns.contains(Columns::OFFSET) {
            self.offsets.push(i64::try_from(stored.offset.0).unwrap_or(i64::MAX));
        }
        if self.columns.contains(Columns::PROBLEMS) {
            self.problems.push(event.problems);
        }
    }

    fn finish(mut self) -> Frame {
        let mut texts: [Texts; TEXT_COLUMNS.len()] = Default::default();
        for (place, column) in TEXT_COLUMNS.iter().enumerate() {
            if !self.columns.contains(*column) {
                continue;
            }
            texts[place] = match self.coded.get_mut(place) {
                Some(codes) => {
                    let values = StringArray::from_iter_values(codes.texts.iter().map(AsRef::as_ref));
                    Texts::Coded(std::mem::take(&mut codes.rows).into(), values)
                }
                None => Texts::Plain(self.plain[place - CODED].finish()),
            };
        }
        Frame {
            rows: self.rows,
            texts,
            timestamps: self.timestamps.into(),
            partitions: self.partitions.into(),
            offsets: self.offsets.into(),
            problems: self.problems,
            apart: Vec::new(),
        }
    }
}
