//! Columns of Arrow as values of PostgreSQL, as texts or in binary.
//!
//! <https://www.postgresql.org/docs/current/protocol-message-formats.html>. A column is first brought into one of a few
//! types ([`conform`]); what PostgreSQL has no plain type for is a text.

use std::io::Write as _;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::cast;
use arrow::datatypes::{
    DataType, Date32Type, Field, Float32Type, Float64Type, Int16Type, Int32Type, Int64Type, Schema, TimeUnit,
    TimestampMicrosecondType, UInt64Type,
};
use arrow::record_batch::RecordBatch;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use bytes::{BufMut, BytesMut};
use pgwire::api::Type;
use pgwire::api::portal::Format;
use pgwire::api::results::{FieldFormat, FieldInfo};
use pgwire::messages::data::DataRow;

/// PostgreSQL counts from the year 2000.
pub(super) const EPOCH_MICROS: i64 = 946_684_800_000_000;
const EPOCH_DAYS: i32 = 10_957;

/// The columns as PostgreSQL describes them.
pub(super) fn fields(schema: &Schema, format: &Format) -> Vec<FieldInfo> {
    let field = |(place, field): (usize, &Arc<Field>)| {
        FieldInfo::new(
            field.name().clone(),
            None,
            None,
            type_of(&conformed(field.data_type())),
            format_of(format, place),
        )
    };
    schema.fields().iter().enumerate().map(field).collect()
}

/// The form of one column. Clients may give one for all, or one for each.
fn format_of(format: &Format, place: usize) -> FieldFormat {
    match format {
        Format::Individual(codes) => FieldFormat::from(codes.get(place).copied().unwrap_or_default()),
        other => other.format_for(place),
    }
}

/// The type of PostgreSQL that a client is told for a parameter: one of those that it may send in binary too.
pub(super) fn type_of_parameter(kind: &DataType) -> Type {
    match type_of(kind) {
        Type::NUMERIC => Type::TEXT,
        kind => kind,
    }
}

/// The type of PostgreSQL for one of the types that [`conformed`] gives.
pub(super) fn type_of(kind: &DataType) -> Type {
    match kind {
        DataType::Boolean => Type::BOOL,
        DataType::Int16 => Type::INT2,
        DataType::Int32 => Type::INT4,
        DataType::Int64 => Type::INT8,
        // The largest do not fit into an INT8.
        DataType::UInt64 => Type::NUMERIC,
        DataType::Float32 => Type::FLOAT4,
        DataType::Float64 => Type::FLOAT8,
        DataType::Binary => Type::BYTEA,
        DataType::Date32 => Type::DATE,
        DataType::Timestamp(_, Some(_)) => Type::TIMESTAMPTZ,
        DataType::Timestamp(_, None) => Type::TIMESTAMP,
        DataType::List(inner) => match type_of(inner.data_type()) {
            Type::BOOL => Type::BOOL_ARRAY,
            Type::INT2 => Type::INT2_ARRAY,
            Type::INT4 => Type::INT4_ARRAY,
            Type::INT8 => Type::INT8_ARRAY,
            Type::NUMERIC => Type::NUMERIC_ARRAY,
            Type::FLOAT4 => Type::FLOAT4_ARRAY,
            Type::FLOAT8 => Type::FLOAT8_ARRAY,
            Type::DATE => Type::DATE_ARRAY,
            Type::TIMESTAMPTZ => Type::TIMESTAMPTZ_ARRAY,
            Type::TIMESTAMP => Type::TIMESTAMP_ARRAY,
            _ => Type::TEXT_ARRAY,
        },
        _ => Type::TEXT,
    }
}

/// The type that a column is brought into.
fn conformed(kind: &DataType) -> DataType {
    match kind {
        DataType::List(inner) if !inner.data_type().is_nested() => {
            DataType::List(Arc::new(Field::new("item", conformed(inner.data_type()), true)))
        }
        DataType::Boolean
        | DataType::Int16
        | DataType::Int32
        | DataType::Int64
        | DataType::UInt64
        | DataType::Float32
        | DataType::Float64
        | DataType::Binary
        | DataType::Date32 => kind.clone(),
        DataType::Int8 | DataType::UInt8 => DataType::Int16,
        DataType::UInt16 => DataType::Int32,
        DataType::UInt32 => DataType::Int64,
        DataType::Float16 => DataType::Float32,
        DataType::LargeBinary | DataType::FixedSizeBinary(_) => DataType::Binary,
        DataType::Date64 => DataType::Date32,
        DataType::Timestamp(_, zone) => DataType::Timestamp(TimeUnit::Microsecond, zone.clone()),
        _ => DataType::Utf8,
    }
}

/// A column in one of the types that [`type_of`] knows.
fn conform(column: &ArrayRef) -> Result<ArrayRef, String> {
    let kind = conformed(column.data_type());
    if column.data_type() == &kind {
        return Ok(Arc::clone(column));
    }
    if let Ok(column) = cast(column, &kind) {
        return Ok(column);
    }
    // What nothing can be made of but a text.
    let options = FormatOptions::default();
    let shown = ArrayFormatter::try_new(column.as_ref(), &options).map_err(|error| error.to_string())?;
    let texts = (0..column.len()).map(|row| column.is_valid(row).then(|| shown.value(row).to_string()));
    Ok(Arc::new(texts.collect::<arrow::array::StringArray>()))
}

/// Every row of a batch.
pub(super) fn rows(batch: &RecordBatch, format: &Format) -> Result<Vec<DataRow>, String> {
    let columns = batch.columns().iter().map(conform).collect::<Result<Vec<_>, _>>()?;
    let count = i16::try_from(columns.len()).map_err(|_| "an answer has at most 32,767 columns".to_owned())?;
    let mut rows = Vec::with_capacity(batch.num_rows());
    for row in 0..batch.num_rows() {
        let mut out = BytesMut::new();
        for (place, column) in columns.iter().enumerate() {
            let is_binary = format_of(format, place) == FieldFormat::Binary;
            field(column.as_ref(), row, is_binary, &mut out);
        }
        rows.push(DataRow::new(out, count));
    }
    Ok(rows)
}

/// One value behind its length; -1 is NULL.
fn field(column: &dyn Array, row: usize, is_binary: bool, out: &mut BytesMut) {
    let start = out.len();
    out.put_i32(-1);
    if column.is_null(row) || matches!(column.data_type(), DataType::Null) {
        return;
    }
    if is_binary {
        binary(column, row, out);
    } else {
        let mut text = String::new();
        write_text(column, row, &mut text);
        out.put_slice(text.as_bytes());
    }
    let length = i32::try_from(out.len() - start - 4).unwrap_or(i32::MAX);
    out[start..start + 4].copy_from_slice(&length.to_be_bytes());
}

fn binary(column: &dyn Array, row: usize, out: &mut BytesMut) {
    match column.data_type() {
        DataType::Boolean => out.put_u8(u8::from(column.as_boolean().value(row))),
        DataType::Int16 => out.put_i16(column.as_primitive::<Int16Type>().value(row)),
        DataType::Int32 => out.put_i32(column.as_primitive::<Int32Type>().value(row)),
        DataType::Int64 => out.put_i64(column.as_primitive::<Int64Type>().value(row)),
        DataType::UInt64 => numeric(column.as_primitive::<UInt64Type>().value(row), out),
        DataType::Float32 => out.put_f32(column.as_primitive::<Float32Type>().value(row)),
        DataType::Float64 => out.put_f64(column.as_primitive::<Float64Type>().value(row)),
        DataType::Binary => out.put_slice(column.as_binary::<i32>().value(row)),
        DataType::Date32 => out.put_i32(column.as_primitive::<Date32Type>().value(row).saturating_sub(EPOCH_DAYS)),
        DataType::Timestamp(..) => {
            out.put_i64(column.as_primitive::<TimestampMicrosecondType>().value(row).saturating_sub(EPOCH_MICROS));
        }
        DataType::List(inner) => {
            let values = column.as_list::<i32>().value(row);
            let length = |length: usize| i32::try_from(length).unwrap_or(i32::MAX);
            out.put_i32(i32::from(!values.is_empty()));
            out.put_i32(i32::from(values.null_count() > 0));
            out.put_u32(type_of(inner.data_type()).oid());
            if !values.is_empty() {
                out.put_i32(length(values.len()));
                out.put_i32(1);
            }
            (0..values.len()).for_each(|place| field(values.as_ref(), place, true, out));
        }
        _ => out.put_slice(column.as_string_opt::<i32>().map_or("", |texts| texts.value(row)).as_bytes()),
    }
}

/// A NUMERIC in binary: how many digits of base 10,000 there are, the weight of the first, the sign, how many decimal
/// places are shown, and the digits.
fn numeric(value: u64, out: &mut BytesMut) {
    let mut digits = Vec::new();
    let mut left = value;
    while left > 0 {
        digits.push((left % 10_000) as i16);
        left /= 10_000;
    }
    // There are five at most.
    let count = digits.len() as i16;
    out.put_i16(count);
    out.put_i16((count - 1).max(0));
    out.put_i16(0);
    out.put_i16(0);
    digits.iter().rev().for_each(|digit| out.put_i16(*digit));
}

fn write_text(column: &dyn Array, row: usize, out: &mut String) {
    use std::fmt::Write as _;
    // Writing to a string cannot fail.
    let _ = match column.data_type() {
        DataType::Boolean => write!(out, "{}", if column.as_boolean().value(row) { 't' } else { 'f' }),
        DataType::Int16 => write!(out, "{}", column.as_primitive::<Int16Type>().value(row)),
        DataType::Int32 => write!(out, "{}", column.as_primitive::<Int32Type>().value(row)),
        DataType::Int64 => write!(out, "{}", column.as_primitive::<Int64Type>().value(row)),
        DataType::UInt64 => write!(out, "{}", column.as_primitive::<UInt64Type>().value(row)),
        DataType::Float32 => write!(out, "{}", float(f64::from(column.as_primitive::<Float32Type>().value(row)), true)),
        DataType::Float64 => write!(out, "{}", float(column.as_primitive::<Float64Type>().value(row), false)),
        DataType::Binary => {
            out.push_str("\\x");
            column.as_binary::<i32>().value(row).iter().try_for_each(|byte| write!(out, "{byte:02x}"))
        }
        DataType::Timestamp(_, zone) => {
            let at = eye_event::Timestamp::from_micros(column.as_primitive::<TimestampMicrosecondType>().value(row));
            let text = at.to_string().replace('T', " ");
            write!(out, "{}{}", text.trim_end_matches('Z'), if zone.is_some() { "+00" } else { "" })
        }
        DataType::Date32 => {
            let micros = i64::from(column.as_primitive::<Date32Type>().value(row)).saturating_mul(86_400_000_000);
            let text = eye_event::Timestamp::from_micros(micros).to_string();
            out.push_str(text.split('T').next().unwrap_or_default());
            Ok(())
        }
        DataType::List(_) => {
            list(&column.as_list::<i32>().value(row), out);
            Ok(())
        }
        _ => {
            out.push_str(column.as_string_opt::<i32>().map_or("", |texts| texts.value(row)));
            Ok(())
        }
    };
}

/// `{a,"b c",NULL}`.
fn list(values: &ArrayRef, out: &mut String) {
    out.push('{');
    for place in 0..values.len() {
        if place > 0 {
            out.push(',');
        }
        if values.is_null(place) {
            out.push_str("NULL");
            continue;
        }
        let mut text = String::new();
        write_text(values.as_ref(), place, &mut text);
        match matches!(values.data_type(), DataType::Utf8 | DataType::Timestamp(..)) {
            false => out.push_str(&text),
            true => {
                out.push('"');
                text.chars().for_each(|char| {
                    if matches!(char, '"' | '\\') {
                        out.push('\\');
                    }
                    out.push(char);
                });
                out.push('"');
            }
        }
    }
    out.push('}');
}

fn float(value: f64, is_short: bool) -> String {
    let mut text = Vec::new();
    let _ = match value {
        value if value.is_nan() => write!(text, "NaN"),
        value if value.is_infinite() => write!(text, "{}Infinity", if value < 0.0 { "-" } else { "" }),
        value if is_short => write!(text, "{}", value as f32),
        value => write!(text, "{value}"),
    };
    String::from_utf8(text).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use arrow::array::{
        Int64Array, ListBuilder, StringArray, StringBuilder, TimestampMicrosecondArray, UInt64Array, UInt64Builder,
    };

    use super::*;

    fn shown(column: ArrayRef, is_binary: bool) -> Vec<u8> {
        let mut out = BytesMut::new();
        field(conform(&column).unwrap().as_ref(), 0, is_binary, &mut out);
        out.to_vec()
    }

    fn with_length(bytes: &[u8]) -> Vec<u8> {
        [&u32::try_from(bytes.len()).unwrap().to_be_bytes(), bytes].concat()
    }

    #[test]
    fn values_are_written_as_postgres_writes_them() {
        let time = TimestampMicrosecondArray::from(vec![EPOCH_MICROS + 1]).with_timezone("UTC");
        assert_eq!(shown(Arc::new(time.clone()), false), with_length(b"2000-01-01 00:00:00.000001+00"));
        assert_eq!(shown(Arc::new(time), true), with_length(&1_i64.to_be_bytes()));
        assert_eq!(shown(Arc::new(Int64Array::from(vec![-7])), false), with_length(b"-7"));
        assert_eq!(shown(Arc::new(StringArray::from(vec![None::<&str>])), false), (-1_i32).to_be_bytes());
        let mut texts = ListBuilder::new(StringBuilder::new());
        texts.append_value([Some("a\"b"), None, Some("")]);
        let texts: ArrayRef = Arc::new(texts.finish());
        assert_eq!(shown(Arc::clone(&texts), false), with_length(br#"{"a\"b",NULL,""}"#));
        let binary = [1, 1, 25, 3, 1_i32].map(i32::to_be_bytes).concat();
        let elements = [with_length(b"a\"b"), (-1_i32).to_be_bytes().to_vec(), with_length(b"")].concat();
        assert_eq!(shown(texts, true), with_length(&[binary, elements].concat()));
    }

    #[test]
    fn large_counts_are_no_nulls() {
        let numeric =
            |parts: &[i16]| with_length(&parts.iter().flat_map(|part| part.to_be_bytes()).collect::<Vec<_>>());
        for (value, text, binary) in [
            (0, "0", numeric(&[0, 0, 0, 0])),
            (7, "7", numeric(&[1, 0, 0, 0, 7])),
            (10_000, "10000", numeric(&[2, 1, 0, 0, 1, 0])),
            (1_u64 << 63, "9223372036854775808", numeric(&[5, 4, 0, 0, 922, 3372, 368, 5477, 5808])),
            (u64::MAX, "18446744073709551615", numeric(&[5, 4, 0, 0, 1844, 6744, 737, 955, 1615])),
        ] {
            let column: ArrayRef = Arc::new(UInt64Array::from(vec![value]));
            assert_eq!(type_of(&conformed(column.data_type())), Type::NUMERIC);
            assert_eq!(shown(Arc::clone(&column), false), with_length(text.as_bytes()));
            assert_eq!(shown(column, true), binary, "{value}");
        }
        let mut list = ListBuilder::new(UInt64Builder::new());
        list.append_value([Some(u64::MAX), None]);
        let list: ArrayRef = Arc::new(list.finish());
        assert_eq!(type_of(&conformed(list.data_type())), Type::NUMERIC_ARRAY);
        assert_eq!(shown(list, false), with_length(b"{18446744073709551615,NULL}"));
        assert_eq!(type_of_parameter(&DataType::UInt64), Type::TEXT);
    }
}
