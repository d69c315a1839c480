//! Functions of the engine that make more out of a text than it was: they stop before they have made too much.
//!
//! Calls in calls multiply, and the engine counts the memory of a single call only when it is kept. So what a call can make
//! of a batch is reckoned first; where it may be too much, the batch is halved until it is not.

use std::sync::Arc;

use arrow::array::{Array as _, ArrayRef, AsArray};
use arrow::compute::{cast, concat};
use arrow::datatypes::DataType;
use datafusion::common::{Result, exec_err};
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature};

/// Bytes that one call may make of a batch.
const MADE_BYTES_MAX: usize = 64 * 1024 * 1024;

/// A function that stops before it has made too much.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Bounded {
    inner: Arc<ScalarUDF>,
}

/// The function, within bounds if it is one that needs them.
pub(crate) fn bounded(function: Arc<ScalarUDF>) -> Arc<ScalarUDF> {
    match function.name() {
        "replace" | "regexp_replace" => Arc::new(ScalarUDF::new_from_impl(Bounded { inner: function })),
        _ => function,
    }
}

impl Bounded {
    /// The most bytes that it can make of these.
    fn made(&self, args: &[ColumnarValue]) -> Result<usize> {
        let texts = args.iter().map(texts).collect::<Result<Vec<_>>>()?;
        let text = |place: usize, row: usize| {
            let texts = texts.get(place)?.as_string_view();
            let row = if texts.len() == 1 { 0 } else { row };
            (row < texts.len() && texts.is_valid(row)).then(|| texts.value(row))
        };
        let rows = texts.iter().map(|texts| texts.len()).max().unwrap_or_default();
        let made = (0..rows).map(|row| {
            let bytes = text(0, row).map_or(0, str::len);
            let (from, to) = (text(1, row).unwrap_or_default(), text(2, row).unwrap_or_default());
            match self.inner.name() {
                "replace" => bytes.saturating_add((bytes / from.len().max(1) + 1).saturating_mul(to.len())),
                // What was found may stand in the replacement too.
                _ => {
                    let copies = to.matches(['\\', '$']).count() + 1;
                    bytes.saturating_mul(copies).saturating_add((bytes + 1).saturating_mul(to.len()))
                }
            }
        });
        Ok(made.fold(0, usize::saturating_add))
    }

    fn halved(&self, args: &ScalarFunctionArgs) -> Result<ColumnarValue> {
        let half = args.number_rows / 2;
        let part = |from: usize, rows: usize| {
            let slice = |value: &ColumnarValue| match value {
                ColumnarValue::Array(array) => ColumnarValue::Array(array.slice(from, rows)),
                ColumnarValue::Scalar(scalar) => ColumnarValue::Scalar(scalar.clone()),
            };
            let part =
                ScalarFunctionArgs { args: args.args.iter().map(slice).collect(), number_rows: rows, ..args.clone() };
            self.invoke_with_args(part)?.into_array(rows)
        };
        let parts = [part(0, half)?, part(half, args.number_rows - half)?];
        let lengths = |part: &ArrayRef| -> Result<usize> {
            let texts = cast(part, &DataType::Utf8View)?;
            Ok(texts.as_string_view().iter().flatten().map(str::len).sum())
        };
        if lengths(&parts[0])? + lengths(&parts[1])? > MADE_BYTES_MAX {
            return self.too_much();
        }
        Ok(ColumnarValue::Array(concat(&[parts[0].as_ref(), parts[1].as_ref()])?))
    }

    fn too_much(&self) -> Result<ColumnarValue> {
        exec_err!("{} would make more than {MADE_BYTES_MAX} bytes at once: let it make less", self.name())
    }
}

fn texts(value: &ColumnarValue) -> Result<ArrayRef> {
    let array = match value {
        ColumnarValue::Array(array) => Arc::clone(array),
        ColumnarValue::Scalar(scalar) => scalar.to_array()?,
    };
    Ok(cast(&array, &DataType::Utf8View)?)
}

impl ScalarUDFImpl for Bounded {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn aliases(&self) -> &[String] {
        self.inner.aliases()
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn return_type(&self, kinds: &[DataType]) -> Result<DataType> {
        self.inner.return_type(kinds)
    }

    fn coerce_types(&self, kinds: &[DataType]) -> Result<Vec<DataType>> {
        self.inner.coerce_types(kinds)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        if self.made(&args.args)? <= MADE_BYTES_MAX {
            return self.inner.invoke_with_args(args);
        }
        let is_many = args.args.iter().any(|value| matches!(value, ColumnarValue::Array(_)));
        if is_many && args.number_rows > 1 { self.halved(&args) } else { self.too_much() }
    }
}
