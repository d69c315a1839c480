//! Columns beside the table's own: what questions would otherwise look for in texts, row after row.
//!
//! Files that are written to stay (by compaction, erasure and retention, not by a flush) have them. They stand in the
//! Parquet file and not in the table's schema, so whoever reads the table does not see them; all that they hold can be made
//! again from the table's columns, and without them a file is only read more slowly.
//!
//! | column | what it holds |
//! |---|---|
//! | `data.PATH` | the JSON text of the value at this path in `data`, as it was sent; null where there is none |
//! | `session_id.first` | the session in the first row of a run of rows of one session; null in the others |
//! | `user_id.first` | the same of users: `+` and the id, or nothing for nobody |
//!
//! Which paths: those that many of the file's rows have, as long as the columns stay small; see [`Extra::observe`]. A value
//! keeps its text, so it does not matter of which type the others at its path are.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use arrow::array::builder::NullBufferBuilder;
use arrow::array::{Array, ArrayRef, DictionaryArray, Int32Array, RecordBatch, StringArray, StringBuilder};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field, Int32Type};
use eye_event::payload::Picker;
use serde_json::Value;

use super::encode::RowSource;
use crate::columns::{TableKind, required, text_column};
use crate::error::{Error, Kind, Result};

/// Values that have a column of their own, in one file.
const PATHS_MAX: usize = 24;
/// Keys in the path of one.
const KEYS_MAX: usize = 4;
/// Rows that are looked at to choose them.
const SAMPLE_ROWS: usize = 8_192;
/// One row in so many must have the value.
const SELDOM: usize = 200;
/// Bytes that all of them may take of a row, roughly, before compression.
const ROW_BYTES_MAX: f64 = 4.0;
/// Bytes of a value, on average: longer ones would take more room than they save time.
const VALUE_BYTES_MAX: usize = 64;
/// Paths that a sample may have: with more the payloads are tables of their own, and none gets a column.
const PATHS_SEEN_MAX: usize = 4_096;
/// A value has few different texts if each stands in so many rows of the sample, on average.
const FEW: usize = 2;

/// What the names of columns with values of `data` begin with.
pub(crate) const DATA_PREFIX: &str = "data.";
/// Columns whose runs are kept, and whether a row may be without.
const RUNS: [(&str, bool); 2] = [("session_id", false), ("user_id", true)];

/// The extra columns of one file.
#[derive(Clone, Debug, Default)]
pub(crate) struct Extra {
    paths: Vec<Vec<String>>,
    /// `None`: none but the table's own columns.
    picker: Option<Picker>,
    /// The text of the row before, of each of [`RUNS`].
    before: [Option<Option<String>>; RUNS.len()],
}

impl Extra {
    /// Those that suit these rows.
    ///
    /// # Errors
    /// A row that cannot be read.
    pub(crate) fn observe(source: &dyn RowSource) -> Result<Self> {
        if source.kind() != TableKind::Events {
            return Ok(Self::default());
        }
        let step = source.len().div_ceil(SAMPLE_ROWS).max(1);
        let rows: Vec<u32> = (0..u32::try_from(source.len()).unwrap_or(u32::MAX)).step_by(step).collect();
        let mut seen = BTreeMap::new();
        for rows in rows.chunks(SAMPLE_ROWS / 8) {
            let batch = source.take(rows)?;
            let payloads = required(text_column(&batch, "data")?, "data")?;
            for payload in payloads.iter().flatten() {
                // Payloads were checked when they were stored; one that cannot be read has no values.
                if let Ok(payload) = serde_json::from_str::<Value>(payload) {
                    look(&payload, &mut Vec::new(), &mut seen);
                }
                if seen.len() > PATHS_SEEN_MAX {
                    return Ok(Self::of_paths(Vec::new()));
                }
            }
        }
        Ok(Self::of_paths(choose(seen, rows.len())))
    }

    /// Those with the values at these paths.
    fn of_paths(paths: Vec<Vec<String>>) -> Self {
        Self { picker: Some(Picker::new(&paths)), paths, before: Default::default() }
    }

    /// Those that a file has, by the names of its columns; `None` if it has none.
    pub(crate) fn of_file<'n>(names: impl Iterator<Item = &'n str> + Clone) -> Option<Self> {
        let has_runs = RUNS.iter().all(|(column, _)| names.clone().any(|name| column_of_runs(name) == Some(column)));
        has_runs.then(|| Self::of_paths(names.filter_map(path_of_column).collect()))
    }

    /// The columns' types, behind those of the table.
    pub(crate) fn fields(&self) -> Vec<Field> {
        if self.picker.is_none() {
            return Vec::new();
        }
        let runs = RUNS.iter().filter_map(|(column, _)| run_column(column));
        let names = self.paths.iter().map(|path| path_column(path)).chain(runs);
        names.map(|name| Field::new(name, DataType::Utf8, true)).collect()
    }

    /// The columns that few different texts are worth a dictionary for.
    pub(crate) fn dictionary_columns(&self) -> impl Iterator<Item = String> {
        self.paths.iter().map(|path| path_column(path))
    }

    /// Their values for the next rows of a slice.
    ///
    /// # Errors
    /// `Internal` if the batch lacks a column.
    pub(crate) fn columns(&mut self, batch: &RecordBatch, is_first_of_slice: bool) -> Result<Vec<ArrayRef>> {
        let Some(picker) = &self.picker else { return Ok(Vec::new()) };
        let mut builders: Vec<StringBuilder> = self.paths.iter().map(|_| StringBuilder::new()).collect();
        let mut found = Vec::new();
        for payload in required(text_column(batch, "data")?, "data")? {
            picker.pick(payload.unwrap_or_default(), &mut found);
            builders.iter_mut().zip(&found).for_each(|(builder, value)| builder.append_option(*value));
        }
        let mut columns: Vec<ArrayRef> =
            builders.into_iter().map(|mut builder| Arc::new(builder.finish()) as ArrayRef).collect();
        for ((column, is_optional), before) in RUNS.iter().zip(&mut self.before) {
            if is_first_of_slice {
                *before = None;
            }
            columns.push(Arc::new(firsts(required(text_column(batch, column)?, column)?, *is_optional, before)));
        }
        Ok(columns)
    }
}

/// The name of a value's column; `None` if values at this path never have one.
pub(crate) fn column_of(path: &[String]) -> Option<String> {
    let is_plain = |key: &String| {
        !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'$'))
    };
    (!path.is_empty() && path.len() <= KEYS_MAX && path.iter().all(is_plain)).then(|| path_column(path))
}

/// The path of a value's column; `None` of any other.
pub(crate) fn path_of_column(name: &str) -> Option<Vec<String>> {
    Some(name.strip_prefix(DATA_PREFIX)?.split('.').map(str::to_owned).collect())
}

fn path_column(path: &[String]) -> String {
    format!("{DATA_PREFIX}{}", path.join("."))
}

/// The name of the column with the runs of a column; `None` if runs of it are not kept.
pub(crate) fn run_column(column: &str) -> Option<String> {
    RUNS.iter().any(|(known, _)| *known == column).then(|| format!("{column}.first"))
}

/// The column that a column with runs is made of; `None` of any other.
pub(crate) fn column_of_runs(name: &str) -> Option<&'static str> {
    RUNS.iter().map(|(column, _)| *column).find(|column| name.strip_prefix(column) == Some(".first"))
}

/// The texts that begin a run.
fn firsts(texts: &StringArray, is_optional: bool, before: &mut Option<Option<String>>) -> StringArray {
    let mut builder = StringBuilder::new();
    let mut text_of_run = String::new();
    for text in texts {
        if before.as_ref().is_some_and(|before| before.as_deref() == text) {
            builder.append_null();
            continue;
        }
        *before = Some(text.map(str::to_owned));
        text_of_run.clear();
        if let Some(text) = text {
            if is_optional {
                text_of_run.push('+');
            }
            text_of_run.push_str(text);
        }
        builder.append_value(&text_of_run);
    }
    builder.finish()
}

fn is_optional(column: &str) -> bool {
    RUNS.iter().any(|(known, is_optional)| *known == column && *is_optional)
}

/// The first row of each run.
fn starts_of(column: &str, firsts: &StringArray) -> std::result::Result<Vec<usize>, String> {
    if !firsts.is_empty() && firsts.is_null(0) {
        return Err(format!("the first row of a slice continues a run of {column}"));
    }
    Ok(match firsts.nulls() {
        Some(nulls) => nulls.valid_indices().collect(),
        None => (0..firsts.len()).collect(),
    })
}

/// The first row of each run, and the text that its rows have, if they have one.
///
/// # Errors
/// What is wrong with the runs.
pub(crate) fn runs_of<'t>(
    column: &str,
    firsts: &'t StringArray,
) -> std::result::Result<impl ExactSizeIterator<Item = (usize, Option<&'t str>)>, String> {
    let is_optional = is_optional(column);
    Ok(starts_of(column, firsts)?.into_iter().map(move |row| {
        let text = firsts.value(row);
        // Before a text that may be missing stands one letter.
        (row, if is_optional { text.get(1..) } else { Some(text) })
    }))
}

/// The column that runs were made of: each row has the number of its run's text.
///
/// # Errors
/// What is wrong with the runs.
pub(crate) fn of_runs(column: &str, firsts: &StringArray) -> std::result::Result<ArrayRef, String> {
    let is_optional = is_optional(column);
    let starts = starts_of(column, firsts)?;
    let ends = starts.iter().skip(1).copied().chain([firsts.len()]);
    let (mut keys, mut nulls) = (Vec::with_capacity(firsts.len()), NullBufferBuilder::new(firsts.len()));
    for (number, (start, end)) in (0_i32..).zip(starts.iter().zip(ends)) {
        match is_optional && firsts.value(*start).is_empty() {
            true => nulls.append_n_nulls(end - start),
            false => nulls.append_n_non_nulls(end - start),
        }
        keys.resize(end, number);
    }
    let values = if is_optional {
        StringArray::from_iter_values(starts.iter().map(|row| firsts.value(*row).get(1..).unwrap_or_default()))
    } else {
        // Rows that begin nothing have texts without bytes: the others' stand side by side.
        let offsets = starts.iter().map(|row| firsts.value_offsets()[*row]);
        let offsets: Vec<i32> = offsets.chain(firsts.value_offsets().last().copied()).collect();
        StringArray::try_new(OffsetBuffer::new(offsets.into()), firsts.values().clone(), None)
            .map_err(|error| error.to_string())?
    };
    let keys = Int32Array::new(keys.into(), nulls.finish());
    let array = DictionaryArray::<Int32Type>::try_new(keys, Arc::new(values)).map_err(|error| error.to_string())?;
    Ok(Arc::new(array))
}

/// What a sample shows of the values at one path.
#[derive(Default)]
struct Seen {
    rows: usize,
    bytes: usize,
    /// Values that are no number.
    others: usize,
    /// True if an array or an object stood there: nobody asks for its text, and it would be kept twice.
    has_parts: bool,
    /// Hashes of the texts.
    texts: HashSet<u64, ahash::RandomState>,
}

/// Takes the values of a payload in.
fn look(value: &Value, path: &mut Vec<String>, seen: &mut BTreeMap<Vec<String>, Seen>) {
    if column_of(path).is_some() {
        let seen = seen.entry(path.clone()).or_default();
        if matches!(value, Value::Object(_) | Value::Array(_)) {
            seen.has_parts = true;
        } else {
            let text = value.to_string();
            seen.rows += 1;
            seen.bytes += text.len();
            seen.others += usize::from(!value.is_number());
            let hash = seen.texts.hasher().hash_one(text);
            seen.texts.insert(hash);
        }
    }
    if let Value::Object(members) = value
        && path.len() < KEYS_MAX
    {
        for (key, value) in members {
            path.push(key.clone());
            look(value, path, seen);
            path.pop();
            if seen.len() > PATHS_SEEN_MAX {
                return;
            }
        }
    }
}

/// The paths that have a column of their own: the most frequent ones that fit.
fn choose(seen: BTreeMap<Vec<String>, Seen>, rows: usize) -> Vec<Vec<String>> {
    #[expect(clippy::cast_precision_loss, reason = "a sample is small")]
    let share = |part: usize| part as f64 / rows.max(1) as f64;
    let cost = |seen: &Seen| {
        let is_few = seen.texts.len() * FEW <= seen.rows;
        if is_few {
            // A number of a dictionary in each row that has it.
            share(seen.rows) * f64::from(seen.texts.len().max(2).ilog2() + 1) / 8.0
        } else {
            share(seen.bytes)
        }
    };
    let is_wanted = |seen: &Seen| {
        let is_few = seen.texts.len() * FEW <= seen.rows;
        // Texts that hardly repeat are identifiers: nobody counts them. Numbers are summed up.
        !seen.has_parts
            && seen.rows * SELDOM >= rows
            && seen.bytes <= seen.rows * VALUE_BYTES_MAX
            && (is_few || seen.others * 100 <= seen.rows)
    };
    let mut wanted: Vec<_> = seen.into_iter().filter(|(_, seen)| is_wanted(seen)).collect();
    wanted.sort_by(|(one, a), (other, b)| b.rows.cmp(&a.rows).then_with(|| one.cmp(other)));
    let mut left = ROW_BYTES_MAX;
    wanted.retain(|(_, seen)| {
        let cost = cost(seen);
        let fits = cost <= left;
        left -= if fits { cost } else { 0.0 };
        fits
    });
    wanted.truncate(PATHS_MAX);
    wanted.into_iter().map(|(path, _)| path).collect()
}

/// A slice's columns in the order of the file, with those of runs given their names and texts.
///
/// # Errors
/// `Corrupt` if the runs are damaged.
pub(crate) fn with_runs(batch: RecordBatch) -> Result<RecordBatch> {
    let schema = batch.schema();
    if !schema.fields().iter().any(|field| column_of_runs(field.name()).is_some()) {
        return Ok(batch);
    }
    let damaged = |why: String| Error::new(Kind::Corrupt, why);
    let columns = schema.fields().iter().zip(batch.columns()).map(|(field, column)| {
        let Some(name) = column_of_runs(field.name()) else {
            return Ok((field.name().clone(), Arc::clone(column), field.is_nullable()));
        };
        let firsts = text_column(&batch, field.name())?;
        let column = of_runs(name, required(firsts, name)?).map_err(damaged)?;
        Ok((name.to_owned(), column, true))
    });
    let columns = columns.collect::<Result<Vec<_>>>()?;
    RecordBatch::try_from_iter_with_nullable(columns).map_err(|error| damaged(error.to_string()))
}

#[cfg(test)]
pub(super) mod tests {
    use arrow::array::AsArray as _;
    use eye_event::{EventRef, Problems, Timestamp};
    use eye_log::{Offset, PartitionId};
    use object_store::memory::InMemory;

    use super::*;
    use crate::columns::EventColumns;
    use crate::event::StoredEvent;
    use crate::table::batch_rows::BatchRows;
    use crate::table::{Table, TableLocation, TableOptions};

    fn path(text: &str) -> Vec<String> {
        text.split('.').map(str::to_owned).collect()
    }

    fn chosen(payloads: &[String]) -> Vec<String> {
        let mut seen = BTreeMap::new();
        for payload in payloads {
            look(&serde_json::from_str(payload).unwrap(), &mut Vec::new(), &mut seen);
        }
        choose(seen, payloads.len()).iter().map(|path| path.join(".")).collect()
    }

    #[test]
    fn frequent_values_have_columns() {
        let payload = |n: usize| {
            let seldom = if n.is_multiple_of(400) { r#","seldom":1"# } else { "" };
            format!(
                r#"{{"plan":"{}","cart":{{"total":{}.50,"list":[1]}},"id":"id-{n}","a key":1,"long":"{}"{seldom}}}"#,
                n % 3,
                n % 400,
                "x".repeat(100)
            )
        };
        let payloads: Vec<String> = (0..1_000).map(payload).collect();
        assert_eq!(chosen(&payloads), ["cart.total", "plan"], "no identifiers, nothing seldom, long, whole or odd");
        assert!(chosen(&[]).is_empty());
    }

    #[test]
    fn columns_stay_small_together() {
        let numbers = |n: usize| {
            let members: Vec<String> = (0..20).map(|key| format!(r#""n{key:02}":{}"#, 1_000 + n * 3 + key)).collect();
            format!("{{{}}}", members.join(","))
        };
        let payloads: Vec<String> = (0..1_000).map(numbers).collect();
        assert_eq!(chosen(&payloads), ["n00"], "of numbers with four digits one fits into four bytes");
        let flags = |n: usize| {
            // Every other row has them.
            let members: Vec<String> = (0..40).map(|key| format!(r#""f{key:02}":{}"#, n.is_multiple_of(4))).collect();
            if n.is_multiple_of(2) { format!("{{{}}}", members.join(",")) } else { "{}".to_owned() }
        };
        assert_eq!(chosen(&(0..1_000).map(flags).collect::<Vec<_>>()).len(), PATHS_MAX);
    }

    #[test]
    fn only_plain_paths_have_names() {
        assert_eq!(column_of(&path("cart.total")).as_deref(), Some("data.cart.total"));
        for none in [vec![], vec![String::new()], vec!["a.b".to_owned()], vec!["é".to_owned()], path("a.b.c.d.e")] {
            assert_eq!(column_of(&none), None, "{none:?}");
        }
        assert_eq!(column_of_runs("user_id.first"), Some("user_id"));
        assert_eq!(column_of_runs("data.first"), None);
    }

    #[test]
    fn runs_are_the_texts_they_were_made_of() {
        let texts = [Some("a"), Some("a"), None, None, Some(""), Some("b"), Some("a")];
        for (column, texts) in [("user_id", &texts[..]), ("session_id", &["x", "x", "", "y"].map(Some)[..])] {
            let is_optional = column == "user_id";
            let mut before = None;
            // As rows come in several batches.
            let parts = texts.chunks(3).map(|part| firsts(&part.iter().collect(), is_optional, &mut before));
            let parts: Vec<StringArray> = parts.collect();
            let whole: StringArray = parts.iter().flatten().collect();
            let array = of_runs(column, &whole).unwrap();
            let array = array.as_dictionary::<Int32Type>();
            let found: Vec<Option<&str>> = array.downcast_dict::<StringArray>().unwrap().into_iter().collect();
            assert_eq!(found, texts, "{column}");
        }
        assert!(of_runs("session_id", &StringArray::from(vec![None, Some("x")])).is_err());
        assert_eq!(of_runs("session_id", &StringArray::from(Vec::<&str>::new())).unwrap().len(), 0);
    }

    /// Two rows of one session, with this payload and this user.
    pub(in crate::table) fn rows(data: &str, session_id: &str, user_id: Option<&str>) -> RecordBatch {
        let mut columns = EventColumns::new(2);
        for offset in 1..=2 {
            columns.push(&StoredEvent {
                application: "web",
                received_at: Timestamp::from_micros(0),
                partition: PartitionId(0),
                offset: Offset(offset),
                event: EventRef {
                    event_id: "e",
                    session_id,
                    category: "c",
                    name: "n",
                    timestamp: Timestamp::from_micros(0),
                    timestamp_raw: None,
                    sent_at: None,
                    user_id,
                    anonymous_id: None,
                    data,
                    context: None,
                    problems: Problems::NONE,
                },
            });
        }
        columns.finish().unwrap()
    }

    #[test]
    fn columns_that_say_something_else_than_their_rows_are_found() {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let table = || {
            let options = TableOptions::new(TableKind::Events, Timestamp::from_micros(0));
            let location = TableLocation::remote("memory:///events").unwrap();
            Table::open(Arc::new(InMemory::new()), location, options, runtime.handle().clone()).unwrap().0
        };
        let written = rows(r#"{"plan":"pro"}"#, "s", None);
        std::thread::scope(|scope| {
            let check = scope.spawn(|| {
                let table = table();
                let source = BatchRows::new(TableKind::Events, &written).unwrap();
                let new = table.write_to_stay(&source).unwrap();
                let file = new[0].file();
                file.check_extra(0, &file.read_all(0).unwrap()).unwrap();
                assert_eq!(file.known_data_paths(), [path("plan")]);
                for other in [
                    rows(r#"{"plan":"free"}"#, "s", None),
                    rows("{}", "s", None),
                    rows(r#"{"plan":"pro"}"#, "t", None),
                    rows(r#"{"plan":"pro"}"#, "s", Some("")),
                ] {
                    assert_eq!(file.check_extra(0, &other).unwrap_err().kind(), Kind::Corrupt);
                }
                let plain = table.write_files(&source).unwrap();
                plain[0].file().check_extra(0, &written).unwrap();
                assert!(plain[0].file().known_data_paths().is_empty(), "a flush writes none");
            });
            check.join().unwrap();
        });
    }
}
