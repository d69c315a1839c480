//! Functions of PostgreSQL that look something up by an oid or a name.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type};
use datafusion::common::{Result, exec_err, plan_err};
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};
use datafusion::scalar::ScalarValue;

use super::{setting, tables};

/// From what to what.
#[derive(Clone, Copy, Debug)]
enum Map {
    OidToText(fn(i64) -> Option<String>),
    TextToOid(fn(&str) -> Option<i64>),
    TextToText(fn(&str) -> Option<String>),
}

/// A function of one argument; those behind it are passed over.
#[derive(Clone, Debug)]
struct Lookup {
    name: &'static str,
    map: Map,
    signature: Signature,
}

impl PartialEq for Lookup {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Lookup {}

impl Hash for Lookup {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

/// The functions. Those that end in `_name` stand for casts, such as `oid::regclass`.
pub(crate) fn functions() -> impl Iterator<Item = Arc<ScalarUDF>> {
    let functions = [
        ("format_type", Map::OidToText(tables::type_of_oid)),
        ("regclass_name", Map::OidToText(tables::relation_of_oid)),
        ("regproc_name", Map::OidToText(tables::function_of_oid)),
        ("regnamespace_name", Map::OidToText(tables::schema_of_oid)),
        ("obj_description", Map::OidToText(tables::about)),
        ("pg_get_viewdef", Map::OidToText(tables::definition)),
        ("to_regclass", Map::TextToOid(tables::oid_of_relation)),
        ("to_regtype", Map::TextToOid(tables::oid_of_type)),
        ("to_regproc", Map::TextToOid(tables::oid_of_function)),
        ("to_regnamespace", Map::TextToOid(tables::oid_of_schema)),
        ("quote_ident", Map::TextToText(|name| Some(quoted(name)))),
        ("current_setting", Map::TextToText(|name| setting(name).map(|(_, value)| value.to_owned()))),
    ];
    functions.into_iter().map(|(name, map)| {
        let signature = Signature::user_defined(Volatility::Immutable);
        Arc::new(ScalarUDF::new_from_impl(Lookup { name, map, signature }))
    })
}

/// A name as it has to be written: in quotes if it is a word of SQL, or has letters that are folded.
pub(super) fn quoted(name: &str) -> String {
    const WORDS: [&str; 4] = ["end", "offset", "partition", "timestamp"];
    let is_plain = |char: char| char.is_ascii_lowercase() || char.is_ascii_digit() || char == '_';
    let is_bare = name.chars().all(is_plain) && !name.starts_with(|char: char| char.is_ascii_digit());
    if is_bare && !name.is_empty() && !WORDS.contains(&name) {
        return name.to_owned();
    }
    format!("\"{}\"", name.replace('"', "\"\""))
}

impl ScalarUDFImpl for Lookup {
    fn name(&self) -> &'static str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, kinds: &[DataType]) -> Result<Vec<DataType>> {
        let takes = match self.map {
            Map::OidToText(_) => DataType::Int64,
            Map::TextToOid(_) | Map::TextToText(_) => DataType::Utf8,
        };
        match kinds {
            [] => plan_err!("{} takes an argument", self.name),
            [_, more @ ..] => Ok([&[takes], more].concat()),
        }
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(match self.map {
            Map::TextToOid(_) => DataType::Int64,
            Map::OidToText(_) | Map::TextToText(_) => DataType::Utf8,
        })
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let Some(argument) = args.args.into_iter().next() else { return exec_err!("{} has no argument", self.name) };
        let is_scalar = matches!(argument, ColumnarValue::Scalar(_));
        let argument = argument.into_array(if is_scalar { 1 } else { args.number_rows })?;
        let found: ArrayRef = match self.map {
            Map::OidToText(map) => {
                let oids = cast(&argument, &DataType::Int64)?;
                Arc::new(oids.as_primitive::<Int64Type>().iter().map(|oid| map(oid?)).collect::<StringArray>())
            }
            Map::TextToOid(map) => {
                let texts = cast(&argument, &DataType::Utf8)?;
                Arc::new(texts.as_string::<i32>().iter().map(|text| map(text?)).collect::<Int64Array>())
            }
            Map::TextToText(map) => {
                let texts = cast(&argument, &DataType::Utf8)?;
                Arc::new(texts.as_string::<i32>().iter().map(|text| map(text?)).collect::<StringArray>())
            }
        };
        match is_scalar {
            true => Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&found, 0)?)),
            false => Ok(ColumnarValue::Array(found)),
        }
    }
}
