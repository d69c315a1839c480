//! What stands for the functions, casts and operators of PostgreSQL.

use datafusion::sql::sqlparser::ast::{
    ArrayElemTypeDef, BinaryOperator, DataType, Expr, Function, FunctionArguments, TimezoneInfo, Value,
};

use super::exprs::{
    argument, array, boolean, call, elements, is_list, is_placeholder, last, literal, null, number, text, typed,
};
use super::{ROLE, SERVER_VERSION, is_harmless, setting, tables};
use crate::error::{Error, Result};
use crate::guard::{CATALOG, SCHEMA};

/// Functions about things that there are none of.
const NO_TEXT: [&str; 17] = [
    "col_description",
    "inet_client_addr",
    "inet_server_addr",
    "pg_get_constraintdef",
    "pg_get_expr",
    "pg_get_function_arguments",
    "pg_get_function_identity_arguments",
    "pg_get_function_result",
    "pg_get_functiondef",
    "pg_get_indexdef",
    "pg_get_partkeydef",
    "pg_get_ruledef",
    "pg_get_serial_sequence",
    "pg_get_triggerdef",
    "pg_size_pretty",
    "pg_tablespace_location",
    "shobj_description",
];
/// Functions that give sizes, which a table that is half in memory does not have.
const NO_SIZE: [&str; 5] =
    ["pg_database_size", "pg_indexes_size", "pg_relation_size", "pg_table_size", "pg_total_relation_size"];

/// The answer of a function that has one, whatever the rows are.
///
/// # Errors
/// `Refused` for a setting that would change an answer.
pub(super) fn answer(name: &str, arguments: &[&Expr]) -> Result<Option<Expr>> {
    let word = |place: usize| arguments.get(place).and_then(|argument| literal(argument));
    Ok(Some(match name {
        "version" => text(format!("PostgreSQL {SERVER_VERSION}")),
        "current_schema" => text(SCHEMA),
        "current_database" | "current_catalog" => text(CATALOG),
        "current_user" | "session_user" | "user" | "current_role" | "pg_get_userbyid" => text(ROLE),
        "current_schemas" => {
            let is_all = matches!(arguments.first(), Some(Expr::Value(value)) if value.value == Value::Boolean(true));
            let schemas = if is_all { &["pg_catalog", SCHEMA][..] } else { &[SCHEMA] };
            array(schemas.iter().map(|schema| text(*schema)).collect())
        }
        "current_setting" => {
            return Ok(word(0).map(|name| setting(&name).map_or_else(null, |(_, value)| text(value))));
        }
        "set_config" => {
            let name = word(0).unwrap_or_default().to_lowercase();
            if !is_harmless(&name) {
                return Err(Error::refused(format!("set_config of {name} is not allowed: SQL here only reads")));
            }
            return Ok(arguments.get(1).map(|value| (*value).clone()));
        }
        "pg_encoding_to_char" | "pg_client_encoding" | "getdatabaseencoding" => text("UTF8"),
        "pg_has_role" => boolean(true),
        "pg_is_in_recovery" | "pg_is_other_temp_schema" | "pg_relation_is_publishable" => boolean(false),
        "pg_backend_pid" | "pg_my_temp_schema" | "txid_current" | "pg_relation_is_updatable" => bigint(0),
        "pg_char_to_encoding" => bigint(6),
        "pg_postmaster_start_time" | "pg_conf_load_time" => {
            typed(null(), DataType::Timestamp(None, TimezoneInfo::WithTimeZone))
        }
        name if NO_TEXT.contains(&name) => typed(null(), DataType::Text),
        name if NO_SIZE.contains(&name) || name.starts_with("pg_stat_get_") => typed(null(), DataType::BigInt(None)),
        name if name.starts_with("pg_") && name.ends_with("_is_visible") => boolean(true),
        name if name.starts_with("has_") && name.ends_with("_privilege") => {
            let asked = arguments.last().and_then(|asked| literal(asked)).unwrap_or_default().to_lowercase();
            boolean(["select", "usage", "connect", "execute"].iter().any(|right| asked.contains(right)))
        }
        _ => return Ok(None),
    }))
}

/// The answer of a function about lists, all of which are known in the catalogue.
pub(super) fn list_answer(name: &str, arguments: &[&Expr]) -> Option<Expr> {
    let word = |place: usize| arguments.get(place).and_then(|argument| literal(argument));
    match (name, arguments) {
        ("array_lower", [Expr::Array(_), ..]) => Some(number(1)),
        ("array_upper" | "array_length", [Expr::Array(list), ..]) => Some(number(list.elem.len())),
        ("array_to_string", [list, ..]) => match list {
            Expr::BinaryOp { left, .. } if is_list(left) => Some(text("")),
            Expr::Array(list) if list.elem.is_empty() => Some(text("")),
            list => is_list(list).then(|| typed(null(), DataType::Text)),
        },
        ("string_to_array", _) => {
            let (list, between) = (word(0)?, word(1)?);
            Some(array(list.split(&between).map(text).collect()))
        }
        ("parse_ident", _) => Some(array(word(0)?.split('.').map(|part| text(part.trim_matches('"'))).collect())),
        ("format", [_, values @ ..]) => {
            let pattern = word(0)?;
            let mut pieces = pattern.split('%');
            let mut parts = vec![text(pieces.next().unwrap_or_default())];
            let mut values = values.iter().map(|value| (*value).clone());
            for piece in pieces.map(|piece| piece.starts_with(['s', 'I']).then_some(piece)) {
                let (piece, value) = (piece?, values.next()?);
                parts.push(if piece.starts_with('I') { call("quote_ident", vec![value]) } else { value });
                parts.push(text(piece.get(1..)?));
            }
            Some(call("concat", parts))
        }
        _ => None,
    }
}

/// A number that is no place of a column, as a bare one in `ORDER BY` is.
fn bigint(value: i64) -> Expr {
    typed(number(value), DataType::BigInt(None))
}

/// Functions that stand for casts: from a name to an oid, and back.
const CASTS: [(&str, &str); 4] = [
    ("to_regclass", "regclass_name"),
    ("to_regtype", "format_type"),
    ("to_regproc", "regproc_name"),
    ("to_regnamespace", "regnamespace_name"),
];

/// The oid behind a name that a cast makes of it.
pub(super) fn oid_of(expr: &Expr) -> Option<&Expr> {
    match expr {
        Expr::Nested(inner) => oid_of(inner),
        Expr::Function(Function { name, args: FunctionArguments::List(list), .. }) => match list.args.as_slice() {
            [oid] if CASTS.iter().any(|(_, from)| last(name) == *from) => argument(oid),
            _ => None,
        },
        _ => None,
    }
}

/// The name of what a cast has made an oid of, `'events'::regclass::text`.
fn name_again(expr: &Expr) -> Option<Expr> {
    match expr {
        Expr::Nested(inner) => name_again(inner),
        Expr::Function(Function { name, .. }) => {
            let (_, from) = CASTS.into_iter().find(|(to, _)| last(name) == *to)?;
            Some(call(from, vec![expr.clone()]))
        }
        _ => None,
    }
}

/// What stands for a cast to a type of PostgreSQL.
pub(super) fn cast(expr: &mut Expr, kind: &mut DataType, is_catalog: bool) -> Result<Option<Expr>> {
    if let DataType::Array(ArrayElemTypeDef::SquareBracket(element, _)) = kind {
        if is_catalog && let Some(list) = elements(expr) {
            return Ok(Some(array(list)));
        }
        if let Some(plain) = plain_type(element) {
            **element = plain;
        }
        return Ok(None);
    }
    let name = match kind {
        DataType::Text | DataType::Varchar(_) => return Ok(name_again(expr)),
        DataType::Regclass => "regclass".to_owned(),
        DataType::Custom(name, _) => last(name),
        _ => return Ok(None),
    };
    let (lookup, to, from): (fn(&str) -> Option<i64>, _, _) = match name.as_str() {
        "regclass" => (tables::oid_of_relation, "to_regclass", "regclass_name"),
        "regtype" => (tables::oid_of_type, "to_regtype", "format_type"),
        "regproc" | "regprocedure" => (tables::oid_of_function, "to_regproc", "regproc_name"),
        "regnamespace" => (tables::oid_of_schema, "to_regnamespace", "regnamespace_name"),
        "regrole" => return Ok(Some(text(ROLE))),
        _ => {
            if let Some(plain) = plain_type(kind) {
                *kind = plain;
            }
            return Ok(name_again(expr).filter(|_| matches!(kind, DataType::Text)));
        }
    };
    let mut inner = std::mem::replace(expr, null());
    if let Some(said) = literal(&inner) {
        let oid = said.parse::<i64>().ok().or_else(|| lookup(&said));
        let oid = oid.ok_or_else(|| Error::invalid(format!("there is no {name} {said}")))?;
        return Ok(Some(call(to, vec![text(oid.to_string())])));
    }
    while let Expr::Nested(nested) = inner {
        inner = *nested;
    }
    let is_oid = match &inner {
        Expr::Identifier(_) | Expr::CompoundIdentifier(_) | Expr::Value(_) => !is_placeholder(&inner),
        Expr::Cast { data_type: DataType::BigInt(_), .. } => true,
        _ => false,
    };
    Ok(Some(if is_oid { call(from, vec![inner]) } else { call(to, vec![typed(inner, DataType::Text)]) }))
}

/// The type of the engine for one that only PostgreSQL has.
fn plain_type(kind: &DataType) -> Option<DataType> {
    let DataType::Custom(name, _) = kind else { return None };
    Some(match last(name).as_str() {
        "oid" | "xid" | "cid" | "int8" => DataType::BigInt(None),
        "int4" | "cardinal_number" => DataType::Integer(None),
        "int2" => DataType::SmallInt(None),
        "bool" => DataType::Boolean,
        "float8" => DataType::DoublePrecision,
        "name" | "text" | "char" | "varchar" | "bpchar" | "sql_identifier" | "character_data" | "yes_or_no" => {
            DataType::Text
        }
        _ => return None,
    })
}

/// The operator of the engine for `OPERATOR(pg_catalog.~)` and the like.
pub(super) fn operator(name: &str) -> Option<BinaryOperator> {
    use BinaryOperator as Op;
    Some(match name {
        "~" => Op::PGRegexMatch,
        "!~" => Op::PGRegexNotMatch,
        "~*" => Op::PGRegexIMatch,
        "!~*" => Op::PGRegexNotIMatch,
        "~~" => Op::PGLikeMatch,
        "!~~" => Op::PGNotLikeMatch,
        "=" => Op::Eq,
        "<>" => Op::NotEq,
        "<" => Op::Lt,
        "<=" => Op::LtEq,
        ">" => Op::Gt,
        ">=" => Op::GtEq,
        "+" => Op::Plus,
        "-" => Op::Minus,
        "||" => Op::StringConcat,
        _ => return None,
    })
}
