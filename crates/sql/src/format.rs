//! Answers as bytes: JSON, NDJSON, CSV, Arrow IPC, Parquet. Each is written batch by batch, none is held whole.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, StringArray};
use arrow::compute::cast;
use arrow::csv::Writer as CsvWriter;
use arrow::csv::WriterBuilder as CsvBuilder;
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use arrow::ipc::writer::StreamWriter;
use arrow::json::writer::{EncoderOptions, NullableEncoder, make_encoder};
use arrow::record_batch::RecordBatch;
use parquet::arrow::ArrowWriter;

use crate::error::{Error, Result};
use crate::rows::type_name;

/// Times as everywhere else in the API: RFC 3339 with six digits.
const TIME_FORMAT: &str = "%Y-%m-%dT%H:%M:%S%.6fZ";
/// Times without a zone.
const LOCAL_TIME_FORMAT: &str = "%Y-%m-%dT%H:%M:%S%.6f";
/// Parquet is written in row groups of about this many bytes.
const ROW_GROUP_BYTES: usize = 16 * 1024 * 1024;

/// The form of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// One object: columns, rows as arrays, and what the answer has seen.
    Json,
    /// An object a row and line.
    Ndjson,
    /// RFC 4180 with a header; lists and records as JSON.
    Csv,
    /// An Arrow IPC stream.
    Arrow,
    /// A Parquet file.
    Parquet,
}

impl Format {
    /// Every form.
    pub const ALL: [Self; 5] = [Self::Json, Self::Ndjson, Self::Csv, Self::Arrow, Self::Parquet];

    /// As the API spells it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Ndjson => "ndjson",
            Self::Csv => "csv",
            Self::Arrow => "arrow",
            Self::Parquet => "parquet",
        }
    }

    /// Its media type.
    #[must_use]
    pub const fn media_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Ndjson => "application/x-ndjson",
            Self::Csv => "text/csv",
            Self::Arrow => "application/vnd.apache.arrow.stream",
            Self::Parquet => "application/vnd.apache.parquet",
        }
    }

    /// The form of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.as_str() == name)
    }
}

/// Writes one answer.
pub struct Encoder {
    schema: SchemaRef,
    form: Form,
}

enum Form {
    Json { is_first: bool, tail: Vec<u8> },
    Ndjson { keys: Vec<Vec<u8>> },
    Csv { builder: CsvBuilder, schema: SchemaRef },
    Arrow(Box<StreamWriter<Vec<u8>>>),
    Parquet(Box<ArrowWriter<Vec<u8>>>),
}

impl Encoder {
    /// An encoder, and the bytes that come before any row.
    ///
    /// # Errors
    /// `Invalid`, if the form has no way to write a column.
    pub fn new(format: Format, schema: &SchemaRef, version: u64, offset: &str) -> Result<(Self, Vec<u8>)> {
        let mut head = Vec::new();
        let form = match format {
            Format::Json => {
                head.extend(b"{\"columns\":");
                let columns = schema
                    .fields()
                    .iter()
                    .map(|field| serde_json::json!({"name": field.name(), "type": type_name(field.data_type())}));
                head.extend(serde_json::Value::from_iter(columns).to_string().bytes());
                head.extend(b",\"rows\":[");
                let tail = format!("],\"version\":{version},\"offset\":{}}}", serde_json::Value::from(offset));
                Form::Json { is_first: true, tail: tail.into_bytes() }
            }
            Format::Ndjson => {
                let key =
                    |field: &FieldRef| format!("{}:", serde_json::Value::from(field.name().as_str())).into_bytes();
                Form::Ndjson { keys: schema.fields().iter().map(key).collect() }
            }
            Format::Csv => {
                let schema = csv_schema(schema);
                let builder = CsvBuilder::new()
                    .with_timestamp_tz_format(TIME_FORMAT.to_owned())
                    .with_timestamp_format(LOCAL_TIME_FORMAT.to_owned());
                let mut names = CsvWriter::new(&mut head);
                names.write(&RecordBatch::new_empty(Arc::clone(&schema)))?;
                drop(names);
                Form::Csv { builder: builder.with_header(false), schema }
            }
            Format::Arrow => {
                let mut writer = StreamWriter::try_new(Vec::new(), schema)?;
                head.append(writer.get_mut());
                Form::Arrow(Box::new(writer))
            }
            Format::Parquet => {
                let writer = ArrowWriter::try_new(Vec::new(), Arc::clone(schema), None);
                Form::Parquet(Box::new(writer.map_err(of_parquet)?))
            }
        };
        Ok((Self { schema: Arc::clone(schema), form }, head))
    }

    /// The bytes of some rows; perhaps none yet.
    ///
    /// # Errors
    /// If a value cannot be written.
    pub fn batch(&mut self, batch: &RecordBatch) -> Result<Vec<u8>> {
        let mut out = Vec::new();
        match &mut self.form {
            Form::Json { is_first, .. } => {
                let is_first = std::mem::take(is_first);
                write_rows(
                    batch,
                    &self.schema,
                    &Layout { open: b"[", keys: &[], close: b"]", between: b"," },
                    &mut out,
                )?;
                if !is_first && !out.is_empty() {
                    out.insert(0, b',');
                }
            }
            Form::Ndjson { keys } => {
                write_rows(batch, &self.schema, &Layout { open: b"{", keys, close: b"}\n", between: b"" }, &mut out)?;
            }
            Form::Csv { builder, schema } => {
                let columns =
                    batch.columns().iter().zip(schema.fields()).map(|(column, field)| match field.data_type() {
                        kind if kind == column.data_type() => Ok(Arc::clone(column)),
                        _ => json_texts(column),
                    });
                let batch = RecordBatch::try_new(Arc::clone(schema), columns.collect::<Result<_>>()?)?;
                builder.clone().build(&mut out).write(&batch)?;
            }
            Form::Arrow(writer) => {
                writer.write(batch)?;
                out.append(writer.get_mut());
            }
            Form::Parquet(writer) => {
                writer.write(batch).map_err(of_parquet)?;
                if writer.in_progress_size() > ROW_GROUP_BYTES {
                    writer.flush().map_err(of_parquet)?;
                }
                out.append(writer.inner_mut());
            }
        }
        Ok(out)
    }

    /// The bytes behind the last row.
    ///
    /// # Errors
    /// If the end cannot be written.
    pub fn finish(self) -> Result<Vec<u8>> {
        match self.form {
            Form::Json { tail, .. } => Ok(tail),
            Form::Ndjson { .. } | Form::Csv { .. } => Ok(Vec::new()),
            Form::Arrow(writer) => Ok(writer.into_inner()?),
            Form::Parquet(writer) => writer.into_inner().map_err(of_parquet),
        }
    }
}

fn of_parquet(error: parquet::errors::ParquetError) -> Error {
    match error {
        parquet::errors::ParquetError::NYI(message) => {
            Error::invalid(format!("Parquet cannot hold a column: {message}"))
        }
        other => Error::internal(&other),
    }
}

fn options() -> EncoderOptions {
    EncoderOptions::default()
        .with_explicit_nulls(true)
        .with_timestamp_tz_format(TIME_FORMAT.to_owned())
        .with_timestamp_format(LOCAL_TIME_FORMAT.to_owned())
}

/// What stands around the values of a row.
struct Layout<'l> {
    open: &'l [u8],
    /// In front of each value; empty if there is nothing.
    keys: &'l [Vec<u8>],
    close: &'l [u8],
    /// Between two rows.
    between: &'l [u8],
}

fn write_rows(batch: &RecordBatch, schema: &Schema, layout: &Layout<'_>, out: &mut Vec<u8>) -> Result<()> {
    let options = options();
    let (columns, fields) = encodable(batch, schema, &options)?;
    let mut encoders = Vec::with_capacity(columns.len());
    for (column, field) in columns.iter().zip(&fields) {
        encoders.push(make_encoder(field, column.as_ref(), &options)?);
    }
    for row in 0..batch.num_rows() {
        if row > 0 {
            out.extend(layout.between);
        }
        out.extend(layout.open);
        for (column, encoder) in encoders.iter_mut().enumerate() {
            if column > 0 {
                out.push(b',');
            }
            out.extend(layout.keys.get(column).into_iter().flatten());
            encode(encoder, row, out);
        }
        out.extend(layout.close);
    }
    Ok(())
}

fn encode(encoder: &mut NullableEncoder<'_>, row: usize, out: &mut Vec<u8>) {
    match encoder.is_null(row) {
        true => out.extend(b"null"),
        false => encoder.encode(row, out),
    }
}

/// The columns, those that have no JSON (such as intervals) as texts.
fn encodable(batch: &RecordBatch, schema: &Schema, options: &EncoderOptions) -> Result<(Vec<ArrayRef>, Vec<FieldRef>)> {
    let columns = batch.columns().iter().zip(schema.fields()).map(|(column, field)| {
        if make_encoder(field, column.as_ref(), options).is_ok() {
            return Ok((Arc::clone(column), Arc::clone(field)));
        }
        let text = Arc::new(Field::new(field.name(), DataType::Utf8, true));
        Ok((cast(column, &DataType::Utf8)?, text))
    });
    columns.collect::<Result<Vec<_>>>().map(|pairs| pairs.into_iter().unzip())
}

/// Columns of CSV: what is no single value is a text.
fn csv_schema(schema: &Schema) -> SchemaRef {
    let fields = schema.fields().iter().map(|field| match field.data_type().is_nested() || is_odd(field.data_type()) {
        true => Arc::new(Field::new(field.name(), DataType::Utf8, true)),
        false => Arc::clone(field),
    });
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

fn is_odd(kind: &DataType) -> bool {
    matches!(kind, DataType::Null)
}

/// Each value as JSON.
fn json_texts(column: &ArrayRef) -> Result<ArrayRef> {
    let field = Arc::new(Field::new("value", column.data_type().clone(), true));
    let options = options();
    let mut encoder = make_encoder(&field, column.as_ref(), &options)?;
    let mut texts = Vec::with_capacity(column.len());
    for row in 0..column.len() {
        if encoder.is_null(row) || column.is_null(row) || matches!(column.data_type(), DataType::Null) {
            texts.push(None);
            continue;
        }
        let mut out = Vec::new();
        encoder.encode(row, &mut out);
        texts.push(Some(String::from_utf8(out).map_err(|error| Error::internal(&error))?));
    }
    Ok(Arc::new(StringArray::from(texts)))
}
