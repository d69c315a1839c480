//! Expressions of a parsed statement: what they say, and new ones.

use datafusion::sql::sqlparser::ast::{
    Array, CastKind, DataType, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentList, FunctionArguments,
    Ident, ObjectName, Value,
};

use super::tables;
use crate::guard::folded;

/// The elements of a list that is written out.
pub(super) fn elements(expr: &Expr) -> Option<Vec<Expr>> {
    match expr {
        Expr::Array(list) => Some(list.elem.clone()),
        Expr::Nested(inner) => elements(inner),
        other => {
            let said = literal(other)?;
            let inner = said.strip_prefix('{')?.strip_suffix('}')?;
            Some(inner.split(',').filter(|part| !part.is_empty()).map(|part| text(part.trim_matches('"'))).collect())
        }
    }
}

pub(super) fn is_list(expr: &Expr) -> bool {
    match expr {
        Expr::Identifier(name) => tables::is_list(&folded(name)),
        Expr::CompoundIdentifier(parts) => parts.last().is_some_and(|name| tables::is_list(&folded(name))),
        _ => false,
    }
}

pub(super) fn argument(argument: &FunctionArg) -> Option<&Expr> {
    match argument {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr),
        _ => None,
    }
}

/// The text that is written here.
pub(super) fn literal(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Value(value) => match &value.value {
            Value::SingleQuotedString(text) | Value::EscapedStringLiteral(text) => Some(text.clone()),
            _ => None,
        },
        Expr::Cast { expr, .. } | Expr::Nested(expr) => literal(expr),
        _ => None,
    }
}

/// Takes the schemas of PostgreSQL from before a name.
pub(super) fn strip(name: &mut ObjectName) {
    let is_theirs = |schema: &Ident| ["pg_catalog", "information_schema"].contains(&folded(schema).as_str());
    if name.0.len() == 2 && name.0.first().and_then(|part| part.as_ident()).is_some_and(is_theirs) {
        name.0.remove(0);
    }
}

pub(super) fn last(name: &ObjectName) -> String {
    name.0.last().and_then(|part| part.as_ident()).map(|name| name.value.to_lowercase()).unwrap_or_default()
}

pub(super) fn null() -> Expr {
    Expr::value(Value::Null)
}

pub(super) fn text(text: impl Into<String>) -> Expr {
    Expr::value(Value::SingleQuotedString(text.into()))
}

pub(super) fn boolean(value: bool) -> Expr {
    Expr::value(Value::Boolean(value))
}

pub(super) fn number(number: impl ToString) -> Expr {
    Expr::value(Value::Number(number.to_string(), false))
}

pub(super) fn array(elem: Vec<Expr>) -> Expr {
    Expr::Array(Array { elem, named: true })
}

pub(super) fn typed(expr: Expr, data_type: DataType) -> Expr {
    Expr::Cast { kind: CastKind::Cast, expr: Box::new(expr), data_type, array: false, format: None }
}

pub(super) fn call(name: &str, arguments: Vec<Expr>) -> Expr {
    let args = arguments.into_iter().map(|argument| FunctionArg::Unnamed(FunctionArgExpr::Expr(argument))).collect();
    Expr::Function(Function {
        name: ObjectName::from(vec![Ident::new(name)]),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(FunctionArgumentList { duplicate_treatment: None, args, clauses: Vec::new() }),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: Vec::new(),
    })
}

pub(super) fn is_placeholder(expr: &Expr) -> bool {
    matches!(expr, Expr::Value(value) if matches!(value.value, Value::Placeholder(_)))
}
