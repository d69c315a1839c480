//! `->`, `->>`, `#>`, `#>>` and the functions behind them: values out of `data` and `context`, as PostgreSQL spells them.
//!
//! They read as the query line does ([`eye_query::json`]): the last of keys that stand twice, numbers as they were sent.
//! A chain such as `data->'cart'->'items'->>0` is one walk.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float64Builder, StringViewBuilder};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use datafusion::common::{DFSchema, Result, exec_err, plan_err};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawBinaryExpr};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ExpressionPlacement, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use datafusion::scalar::ScalarValue;
use datafusion::sql::sqlparser::ast::BinaryOperator;
use eye_query::json;

/// What is made of the value that was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum As {
    /// Its JSON.
    Json,
    /// A text: a string without its quotes, anything else as it was sent; JSON's null is no value.
    Text,
    /// A number; anything else is no value.
    Number,
}

impl As {
    const fn name(self) -> &'static str {
        match self {
            Self::Json => "json_get",
            Self::Text => "json_get_text",
            Self::Number => "json_get_number",
        }
    }

    const fn kind(self) -> DataType {
        match self {
            Self::Json | Self::Text => DataType::Utf8View,
            Self::Number => DataType::Float64,
        }
    }
}

/// The functions.
pub(crate) fn functions() -> [Arc<ScalarUDF>; 3] {
    [As::Json, As::Text, As::Number].map(|form| function(form, false))
}

fn function(form: As, is_apart: bool) -> Arc<ScalarUDF> {
    let signature = Signature::user_defined(Volatility::Immutable);
    Arc::new(ScalarUDF::new_from_impl(Get { form, is_apart, signature }))
}

/// `json_get(json, key, …)` and its sisters: each key a text, or a place in an array counted from 0.
#[derive(Clone, Debug)]
pub(crate) struct Get {
    form: As,
    /// The value lies in a column of its own: to be looked for where the table is read.
    is_apart: bool,
    signature: Signature,
}

/// Where the value lies makes no other function: what a statement may say must not depend on it.
impl PartialEq for Get {
    fn eq(&self, other: &Self) -> bool {
        self.form == other.form
    }
}

impl Eq for Get {}

impl Hash for Get {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.form.hash(state);
    }
}

impl ScalarUDFImpl for Get {
    fn name(&self) -> &'static str {
        self.form.name()
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, kinds: &[DataType]) -> Result<Vec<DataType>> {
        let name = self.form.name();
        if kinds.len() < 2 {
            return plan_err!("{name} takes a JSON text and at least one key");
        }
        let coerced = kinds.iter().enumerate().map(|(place, kind)| match kind {
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::Null => Ok(DataType::Utf8View),
            DataType::Dictionary(_, inner) if inner.is_string() => Ok(DataType::Utf8View),
            kind if kind.is_integer() && place > 0 => Ok(DataType::Int64),
            other if place == 0 => plan_err!("{name} takes a JSON text such as data, not {other}"),
            other => plan_err!("a key of {name} is {other}: send a text, or a whole number for a place in an array"),
        });
        coerced.collect()
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(self.form.kind())
    }

    fn placement(&self, args: &[ExpressionPlacement]) -> ExpressionPlacement {
        let is_plain = args.split_first().is_some_and(|(text, keys)| {
            *text == ExpressionPlacement::Column && keys.iter().all(|key| *key == ExpressionPlacement::Literal)
        });
        if self.is_apart && is_plain {
            ExpressionPlacement::MoveTowardsLeafNodes
        } else {
            ExpressionPlacement::KeepInPlace
        }
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let mut arguments = args.args.into_iter();
        let Some(texts) = arguments.next() else { return exec_err!("{} was called without a JSON text", self.name()) };
        let is_scalar = matches!(texts, ColumnarValue::Scalar(_));
        let arguments: Vec<ColumnarValue> = arguments.collect();
        let constant: Option<Option<Vec<String>>> = arguments
            .iter()
            .map(|argument| match argument {
                ColumnarValue::Scalar(key) => Some(key_of(key)),
                ColumnarValue::Array(_) => None,
            })
            .collect::<Option<Vec<_>>>()
            .map(|keys| keys.into_iter().collect());
        let rows = if is_scalar && constant.is_some() { 1 } else { args.number_rows };
        let texts = texts.into_array(rows)?;
        let found = match constant {
            Some(path) => self.find_all(&texts, |_| path.as_deref()),
            None => {
                let columns = arguments.into_iter().map(|argument| argument.into_array(rows));
                let columns: Vec<ArrayRef> = columns.collect::<Result<_>>()?;
                let paths: Vec<Option<Vec<String>>> = (0..rows)
                    .map(|row| {
                        columns.iter().map(|keys| key_of(&ScalarValue::try_from_array(keys, row).ok()?)).collect()
                    })
                    .collect();
                self.find_all(&texts, |row| paths[row].as_deref())
            }
        }?;
        match rows == 1 && is_scalar {
            true => Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&found, 0)?)),
            false => Ok(ColumnarValue::Array(found)),
        }
    }
}

/// A key as a path has it. A place that is negative is nowhere.
pub(crate) fn key_of(key: &ScalarValue) -> Option<String> {
    match key {
        ScalarValue::Int64(place) => place.filter(|place| *place >= 0).map(|place| place.to_string()),
        other => other.try_as_str().flatten().map(str::to_owned),
    }
}

impl Get {
    /// What is made of the value at each row's path.
    ///
    /// # Errors
    /// `Internal`, if `texts` are none.
    pub(crate) fn find_all<'p>(
        &self,
        texts: &ArrayRef,
        path: impl Fn(usize) -> Option<&'p [String]>,
    ) -> Result<ArrayRef> {
        let texts = match texts.data_type() {
            DataType::Utf8View => Arc::clone(texts),
            _ => cast(texts, &DataType::Utf8View)?,
        };
        let texts = texts.as_string_view();
        let values = (0..texts.len()).map(|row| {
            let text = texts.is_valid(row).then(|| texts.value(row))?;
            json::find(text, path(row)?)
        });
        Ok(self.made(values, texts.len()))
    }

    /// What is made of values, each the JSON text that was found; about so many.
    pub(crate) fn made<'v>(&self, values: impl Iterator<Item = Option<&'v str>>, count: usize) -> ArrayRef {
        match self.form {
            As::Json => {
                let mut out = StringViewBuilder::with_capacity(count);
                values.for_each(|value| out.append_option(value));
                Arc::new(out.finish())
            }
            As::Text => {
                let mut out = StringViewBuilder::with_capacity(count);
                values.for_each(|value| out.append_option(value.and_then(json::plain)));
                Arc::new(out.finish())
            }
            As::Number => {
                let mut out = Float64Builder::with_capacity(count);
                values.for_each(|value| out.append_option(value.and_then(json::number)));
                Arc::new(out.finish())
            }
        }
    }
}

/// Turns the operators into the functions.
#[derive(Debug)]
pub(crate) struct Operators {
    /// The paths of `data` whose values mostly lie in columns of their own.
    pub(crate) apart: Vec<Vec<String>>,
}

impl Operators {
    fn is_apart(&self, args: &[Expr]) -> bool {
        let [Expr::Column(column), keys @ ..] = args else { return false };
        let key = |key: &Expr| if let Expr::Literal(key, _) = key { key_of(key) } else { None };
        let path: Option<Vec<String>> = keys.iter().map(key).collect();
        column.name == "data" && path.is_some_and(|path| self.apart.contains(&path))
    }
}

impl ExprPlanner for Operators {
    fn plan_binary_op(&self, raw: RawBinaryExpr, _: &DFSchema) -> Result<PlannerResult<RawBinaryExpr>> {
        let (form, keys) = match raw.op {
            BinaryOperator::Arrow => (As::Json, vec![raw.right]),
            BinaryOperator::LongArrow => (As::Text, vec![raw.right]),
            BinaryOperator::HashArrow => (As::Json, keys_of(&raw.right)?),
            BinaryOperator::HashLongArrow => (As::Text, keys_of(&raw.right)?),
            _ => return Ok(PlannerResult::Original(raw)),
        };
        let mut args = match raw.left {
            // The next step of a walk.
            Expr::ScalarFunction(ScalarFunction { func, args }) if func.name() == As::Json.name() => args,
            other => vec![other],
        };
        args.extend(keys);
        let func = function(form, self.is_apart(&args));
        Ok(PlannerResult::Planned(Expr::ScalarFunction(ScalarFunction { func, args })))
    }
}

/// The keys of a path as PostgreSQL writes an array: `'{cart,items,0}'`.
fn keys_of(path: &Expr) -> Result<Vec<Expr>> {
    let text = match path {
        Expr::Literal(text, _) => text.try_as_str().flatten(),
        _ => None,
    };
    let inner = text.and_then(|text| text.strip_prefix('{')?.strip_suffix('}')).filter(|inner| !inner.is_empty());
    match inner {
        Some(inner) if !inner.contains(['"', '\\']) => {
            Ok(inner.split(',').map(|key| Expr::Literal(ScalarValue::from(key.trim()), None)).collect())
        }
        _ => plan_err!(
            "the path of #> and #>> is a text such as '{{cart,items,0}}'; keys with quotes: write -> for each"
        ),
    }
}
