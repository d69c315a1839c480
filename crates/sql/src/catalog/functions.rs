//! Functions of PostgreSQL that look something up by an oid or a name, or write a text in another way.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type};
use datafusion::common::{Result, exec_err, plan_err};
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};
use datafusion::scalar::ScalarValue;

use super::{setting, tables};

/// Bytes of a text that may be written in another way, which can double it: calls in calls would make gigabytes.
const TEXT_BYTES_MAX: usize = 64 * 1024;

/// Words that PostgreSQL writes in quotes where they are names, and `partition`, which the engine's parser wants so.
const WORDS: &str = "all analyse analyze and any array as asc asymmetric authorization between bigint binary bit boolean \
    both case cast char character check coalesce collate collation column concurrently constraint create cross \
    current_catalog current_date current_role current_schema current_time current_timestamp current_user dec decimal \
    default deferrable desc distinct do else end except exists extract false fetch float for foreign freeze from full \
    grant greatest group grouping having ilike in initially inner inout int integer intersect interval into is isnull join \
    lateral leading least left like limit localtime localtimestamp national natural nchar none normalize not notnull null \
    nullif numeric offset on only or order out outer overlaps overlay partition placing position precision primary real \
    references returning right row select session_user setof similar smallint some substring symmetric system_user table \
    tablesample then time timestamp to trailing treat trim true union unique user using values varchar variadic verbose \
    when where window with";

/// From what to what.
#[derive(Clone, Copy, Debug)]
enum Map {
    OidToText(fn(i64) -> Option<String>),
    TextToOid(fn(&str) -> Option<i64>),
    TextToText(fn(&str) -> Option<String>),
    TextsToText(fn(&str, &str) -> Result<String>),
}

/// A function of one argument, or two; those behind are passed over.
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
        (LIKE_PATTERN, Map::TextsToText(like_pattern)),
        ("current_setting", Map::TextToText(|name| setting(name).map(|(_, value)| value.to_owned()))),
    ];
    functions.into_iter().map(|(name, map)| {
        let signature = Signature::user_defined(Volatility::Immutable);
        Arc::new(ScalarUDF::new_from_impl(Lookup { name, map, signature }))
    })
}

/// What makes the pattern of a `LIKE` with an `ESCAPE` that is no literal.
pub(super) const LIKE_PATTERN: &str = "like_pattern";

/// The pattern of a `LIKE` with this character for an escape, or none, as one whose escape is the backslash.
///
/// # Errors
/// The escape is more than one character, or ends the pattern.
pub(super) fn like_pattern(pattern: &str, escape: &str) -> Result<String> {
    let mut escapes = escape.chars();
    let (escape, None) = (escapes.next(), escapes.next()) else {
        return exec_err!("the ESCAPE of a LIKE must be one character");
    };
    let mut written = String::with_capacity(pattern.len());
    let mut chars = pattern.chars();
    while let Some(char) = chars.next() {
        let (char, is_escaped) = match Some(char) == escape {
            true => match chars.next() {
                Some(next) => (next, ['%', '_', '\\'].contains(&next)),
                None => return exec_err!("the pattern of a LIKE must not end with its ESCAPE"),
            },
            false => (char, char == '\\'),
        };
        if is_escaped {
            written.push('\\');
        }
        written.push(char);
    }
    Ok(written)
}

/// A name as it has to be written: in quotes if it is a word of SQL, or has letters that are folded.
fn quoted(name: &str) -> String {
    let is_plain = |char: char| char.is_ascii_lowercase() || char.is_ascii_digit() || char == '_';
    let is_bare = name.chars().all(is_plain) && !name.starts_with(|char: char| char.is_ascii_digit());
    if is_bare && !name.is_empty() && WORDS.split_whitespace().all(|word| word != name) {
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
            Map::OidToText(_) => vec![DataType::Int64],
            Map::TextToOid(_) | Map::TextToText(_) => vec![DataType::Utf8],
            Map::TextsToText(_) => vec![DataType::Utf8; 2],
        };
        match kinds.get(takes.len()..) {
            None => plan_err!("{} takes {} arguments or more", self.name, takes.len()),
            Some(more) => Ok([takes.as_slice(), more].concat()),
        }
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(match self.map {
            Map::TextToOid(_) => DataType::Int64,
            Map::OidToText(_) | Map::TextToText(_) | Map::TextsToText(_) => DataType::Utf8,
        })
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let is_scalar = args.args.iter().all(|argument| matches!(argument, ColumnarValue::Scalar(_)));
        let rows = if is_scalar { 1 } else { args.number_rows };
        let argument = |place: usize, kind| match args.args.get(place) {
            Some(argument) => Ok(cast(&argument.clone().into_array(rows)?, kind)?),
            None => exec_err!("{} has too few arguments", self.name),
        };
        let found: ArrayRef = match self.map {
            Map::OidToText(map) => {
                let oids = argument(0, &DataType::Int64)?;
                Arc::new(oids.as_primitive::<Int64Type>().iter().map(|oid| map(oid?)).collect::<StringArray>())
            }
            Map::TextToOid(map) => {
                let texts = argument(0, &DataType::Utf8)?;
                // An oid may be written as a text.
                let oid = |text: &str| text.parse().ok().or_else(|| map(text));
                Arc::new(texts.as_string::<i32>().iter().map(|text| oid(text?)).collect::<Int64Array>())
            }
            Map::TextToText(map) => {
                let texts = argument(0, &DataType::Utf8)?;
                let texts = texts.as_string::<i32>().iter().map(|text| text.map(|text| self.short(text)).transpose());
                Arc::new(texts.map(|text| text.map(|text| text.and_then(map))).collect::<Result<StringArray>>()?)
            }
            Map::TextsToText(map) => {
                let (texts, others) = (argument(0, &DataType::Utf8)?, argument(1, &DataType::Utf8)?);
                let pairs = texts.as_string::<i32>().iter().zip(others.as_string::<i32>().iter());
                let written = pairs.map(|(text, other)| match (text, other) {
                    (Some(text), Some(other)) => map(self.short(text)?, other).map(Some),
                    _ => Ok(None),
                });
                Arc::new(written.collect::<Result<StringArray>>()?)
            }
        };
        match is_scalar {
            true => Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&found, 0)?)),
            false => Ok(ColumnarValue::Array(found)),
        }
    }
}

impl Lookup {
    /// The text, unless it is too long to be written in another way.
    fn short<'a>(&self, text: &'a str) -> Result<&'a str> {
        match text.len() > TEXT_BYTES_MAX {
            true => exec_err!("{} takes no text of more than {TEXT_BYTES_MAX} bytes", self.name),
            false => Ok(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_mean_the_same_with_a_backslash() {
        for (pattern, escape, written) in [
            ("a//b/%c/_%", "/", r"a/b\%c\_%"),
            (r"a\b", "!", r"a\\b"),
            (r"a!\b", "!", r"a\\b"),
            (r"a\%", "", r"a\\%"),
            (r"a\%b", "\\", r"a\%b"),
            ("a%%b", "%", r"a\%b"),
        ] {
            assert_eq!(like_pattern(pattern, escape).unwrap(), written, "{pattern} {escape}");
        }
        assert!(like_pattern("a", "ab").is_err() && like_pattern("a/", "/").is_err());
    }
}
