//! A parsed statement in words that the engine can plan.
//!
//! Functions of PostgreSQL with one answer become that answer, casts to its own types become those of the engine or a
//! look-up, `pg_catalog.` before functions and operators goes. Of statements that name the catalogue more is changed:
//! what reads a table that is always empty is empty, which disposes of most that cannot be planned (constraints, indexes,
//! policies); a subquery for one value says that it has one; a column without a name gets PostgreSQL's.
//! The guard looks at what comes out, which is what is planned.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::ops::ControlFlow;
use std::sync::{Arc, LazyLock};

use datafusion::execution::SessionStateDefaults;
use datafusion::logical_expr::AggregateUDF;
use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{
    BinaryOperator, DataType, Expr, Function, FunctionArguments, GroupByExpr, Ident, JoinOperator, LimitClause,
    ObjectName, Query, Select, SelectItem, SelectItemQualifiedWildcardKind, SetExpr, TableFactor, TableWithJoins,
    Value, ValueWithSpan, Visit as _, VisitMut as _, Visitor, VisitorMut, visit_relations,
};

use super::answers::{answer, cast, list_answer, oid_of, operator};
use super::exprs::{
    argument, array, boolean, call, elements, is_list, is_placeholder, last, literal, null, strip, text, typed,
};
use super::functions::{LIKE_PATTERN, like_pattern};
use super::tables;
use crate::error::{Error, Result};
use crate::guard::folded;

/// Writes a statement anew.
///
/// # Errors
/// `Invalid` for a name that is not there, `Refused` for a setting that would change an answer.
pub(crate) fn rewrite(statement: &mut Statement) -> Result<()> {
    match statement {
        Statement::Explain(explain) => rewrite(&mut explain.statement),
        Statement::Statement(ast) => {
            let named = |name: &ObjectName| match tables::named(name) {
                Some(_) => ControlFlow::Break(()),
                None => ControlFlow::Continue(()),
            };
            let is_catalog = visit_relations(&**ast, named).is_break();
            let mut rewriter = Rewriter { is_catalog, parts: BTreeSet::new() };
            match ast.visit(&mut rewriter) {
                ControlFlow::Continue(()) => Ok(()),
                ControlFlow::Break(error) => Err(error),
            }
        }
        _ => Ok(()),
    }
}

struct Rewriter {
    /// It names a table of the catalogue.
    is_catalog: bool,
    /// The names of its WITH.
    parts: BTreeSet<String>,
}

impl VisitorMut for Rewriter {
    type Break = Error;

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<Error> {
        self.parts.extend(query.with.iter().flat_map(|with| &with.cte_tables).map(|part| folded(&part.alias.name)));
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<Error> {
        if let TableFactor::Table { name, args: arguments @ Some(_), .. } = factor {
            strip(name);
            if arguments.as_ref().is_some_and(|list| list.args.is_empty()) && tables::named(name).is_some() {
                *arguments = None;
            }
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<Error> {
        name_columns(select, self.is_catalog);
        ControlFlow::Continue(())
    }

    fn post_visit_select(&mut self, select: &mut Select) -> ControlFlow<Error> {
        let is_plain =
            |item: &SelectItem| matches!(item, SelectItem::UnnamedExpr(_) | SelectItem::ExprWithAlias { .. });
        if self.is_catalog
            && select.from.iter().any(|table| self.is_empty(table))
            && !is_one_row(select)
            && select.projection.iter().all(is_plain)
        {
            empty(select);
        }
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, query: &mut Query) -> ControlFlow<Error> {
        if let Some(LimitClause::LimitOffset { limit, offset, .. }) = &mut query.limit_clause {
            let values = limit.iter_mut().chain(offset.iter_mut().map(|offset| &mut offset.value));
            for value in values.filter(|value| is_placeholder(value)) {
                *value = typed(std::mem::replace(value, null()), DataType::BigInt(None));
            }
        }
        if self.is_catalog && matches!(&*query.body, SetExpr::Select(select) if is_emptied(select)) {
            (query.with, query.order_by, query.limit_clause, query.fetch) = (None, None, None, None);
        }
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Error> {
        match self.instead(expr) {
            Ok(Some(instead)) => *expr = instead,
            Ok(None) => {}
            Err(error) => return ControlFlow::Break(error),
        }
        ControlFlow::Continue(())
    }
}

impl Rewriter {
    /// What stands for an expression, if something else does.
    fn instead(&self, expr: &mut Expr) -> Result<Option<Expr>> {
        Ok(match expr {
            // The one order that there is.
            Expr::Collate { expr, collation } if ["default", "c", "posix"].contains(&last(collation).as_str()) => {
                Some(std::mem::replace(expr, null()))
            }
            Expr::BinaryOp { left, op, right } => {
                if let BinaryOperator::PGCustomBinaryOperator(names) = op
                    && let Some(plain) = names.last().and_then(|name| operator(name))
                {
                    *op = plain;
                }
                if matches!(op, BinaryOperator::Eq | BinaryOperator::NotEq) {
                    compare_oids(left, right);
                }
                None
            }
            Expr::Like { any: false, pattern, escape_char, .. }
            | Expr::ILike { any: false, pattern, escape_char, .. } => {
                escape_with_backslash(pattern, escape_char)?;
                None
            }
            Expr::Cast { expr, data_type, .. } => cast(expr, data_type, self.is_catalog)?,
            Expr::Function(function) => {
                strip(&mut function.name);
                self.answer(function)?
            }
            _ if !self.is_catalog => None,
            Expr::AnyOp { left, compare_op: BinaryOperator::Eq, right, .. } => {
                elements(right).map(|list| Expr::InList { expr: left.clone(), list, negated: false })
            }
            Expr::AllOp { left, compare_op: BinaryOperator::NotEq, right } => {
                elements(right).map(|list| Expr::InList { expr: left.clone(), list, negated: true })
            }
            Expr::Exists { subquery, negated } if is_emptied_query(subquery) => Some(boolean(*negated)),
            Expr::InSubquery { subquery, negated, .. } if is_emptied_query(subquery) => Some(boolean(*negated)),
            // How Grafana asks whether a schema is in the search path.
            Expr::InSubquery { expr, subquery, negated } => {
                listed(subquery).map(|list| Expr::InList { expr: expr.clone(), list, negated: *negated })
            }
            Expr::Subquery(subquery) if is_emptied_query(subquery) => Some(null()),
            Expr::Subquery(subquery) => {
                _ = aggregate(subquery, "max");
                None
            }
            _ => None,
        })
    }

    fn is_empty(&self, table: &TableWithJoins) -> bool {
        use JoinOperator as On;
        let is_inner = |on: &JoinOperator| matches!(on, On::Join(_) | On::Inner(_) | On::CrossJoin(_));
        let is_left = |on: &JoinOperator| matches!(on, On::Left(_) | On::LeftOuter(_));
        let joins = &table.joins;
        joins.iter().all(|join| is_inner(&join.join_operator) || is_left(&join.join_operator))
            && (self.is_empty_factor(&table.relation)
                || joins.iter().any(|join| is_inner(&join.join_operator) && self.is_empty_factor(&join.relation)))
    }

    fn is_empty_factor(&self, factor: &TableFactor) -> bool {
        match factor {
            TableFactor::Table { name, args: None, .. } => {
                let is_part = matches!(name.0.as_slice(), [part] if part.as_ident().is_some_and(|part| self.parts.contains(&folded(part))));
                !is_part && tables::named(name).is_some_and(tables::Table::is_empty)
            }
            TableFactor::Table { name, args: Some(list), .. } => {
                last(name) == "unnest" && list.args.iter().filter_map(argument).any(is_list)
            }
            TableFactor::UNNEST { array_exprs, .. } => array_exprs.iter().any(is_list),
            TableFactor::Derived { subquery, .. } => is_emptied_query(subquery),
            TableFactor::NestedJoin { table_with_joins, .. } => self.is_empty(table_with_joins),
            _ => false,
        }
    }

    /// The answer of a function that has one.
    fn answer(&self, function: &mut Function) -> Result<Option<Expr>> {
        let name = last(&function.name);
        if let FunctionArguments::Subquery(query) = &mut function.args
            && name == "array"
            && self.is_catalog
        {
            if is_emptied_query(query) {
                return Ok(Some(array(Vec::new())));
            }
            return Ok(aggregate(query, "array_agg").then(|| Expr::Subquery(query.clone())));
        }
        let arguments: Vec<&Expr> = match &function.args {
            FunctionArguments::List(list) => list.args.iter().filter_map(argument).collect(),
            _ => Vec::new(),
        };
        match list_answer(&name, &arguments).filter(|_| self.is_catalog) {
            Some(answer) => Ok(Some(answer)),
            None => answer(&name, &arguments),
        }
    }
}

/// Compares a `regclass` with another oid as an oid; with a text as the name that it is.
fn compare_oids(left: &mut Expr, right: &mut Expr) {
    let is_text = |expr: &Expr| literal(expr).is_some() || is_placeholder(expr);
    match (oid_of(left).cloned(), oid_of(right).cloned()) {
        (Some(oid), None) if !is_text(right) => *left = oid,
        (None, Some(oid)) if !is_text(left) => *right = oid,
        _ => {}
    }
}

/// Writes the pattern of a `LIKE` so that its escape is the backslash, which is the only one that the engine knows.
fn escape_with_backslash(pattern: &mut Expr, escape_char: &mut Option<ValueWithSpan>) -> Result<()> {
    let escape = escape_char.as_ref().and_then(|escape| escape.value.clone().into_string());
    // One of more characters is refused by the engine.
    let Some(escape) = escape.filter(|escape| escape != "\\" && escape.chars().count() <= 1) else { return Ok(()) };
    let written = match &*pattern {
        Expr::Value(_) => literal(pattern),
        _ => None,
    };
    *pattern = match written {
        Some(written) => text(like_pattern(&written, &escape)?),
        None => {
            let pattern = typed(std::mem::replace(pattern, null()), DataType::Text);
            call(LIKE_PATTERN, vec![pattern, text(escape)])
        }
    };
    *escape_char = None;
    Ok(())
}

/// Names of columns that are given out once each.
#[derive(Default)]
struct Names {
    taken: BTreeSet<String>,
    /// The last number behind each, so that none is tried twice.
    last: BTreeMap<String, usize>,
}

impl Names {
    /// The name, with a number behind it if it is taken, or `is_other` says that it is another's.
    fn unique(&mut self, name: String, is_other: impl Fn(&str) -> bool) -> String {
        let mut unique = name.clone();
        let count = self.last.entry(name.clone()).or_insert(1);
        if *count > 1 {
            *count += 1;
            unique = format!("{name}_{count}");
        }
        while is_other(&unique) || !self.taken.insert(unique.clone()) {
            *count += 1;
            unique = format!("{name}_{count}");
        }
        unique
    }
}

/// Gives columns without a name the one that PostgreSQL gives them, and columns of one name another each.
fn name_columns(select: &mut Select, is_catalog: bool) {
    let mut wide = BTreeSet::new();
    let mut names = Names::default();
    for item in &select.projection {
        match item {
            SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::ObjectName(name), _) => {
                wide.insert(last(name));
            }
            SelectItem::ExprWithAlias { alias, .. } => {
                names.taken.insert(alias.value.clone());
            }
            SelectItem::UnnamedExpr(expr @ (Expr::Identifier(_) | Expr::CompoundIdentifier(_))) => {
                names.taken.insert(column_name(expr));
            }
            _ => {}
        }
    }
    let is_wide = |item: &SelectItem| matches!(item, SelectItem::QualifiedWildcard(..) | SelectItem::Wildcard(_));
    let is_wide = select.projection.iter().any(is_wide);
    for item in &mut select.projection {
        let SelectItem::UnnamedExpr(expr) = item else { continue };
        let is_wanted = match expr {
            // It comes once more with the rest of its table.
            Expr::CompoundIdentifier(parts) => {
                is_catalog && parts.iter().rev().nth(1).is_some_and(|table| wide.contains(&folded(table)))
            }
            Expr::Identifier(_) => false,
            Expr::Function(function) => is_catalog || is_ours(&function.name),
            _ => is_catalog,
        };
        if !is_wanted {
            continue;
        }
        let unique = names.unique(column_name(expr), |name| is_wide && tables::is_column(name));
        let expr = std::mem::replace(expr, null());
        *item = SelectItem::ExprWithAlias { expr, alias: Ident::with_quote('"', unique) };
    }
}

/// True for a function whose call is not left in the statement as it is.
fn is_ours(name: &ObjectName) -> bool {
    name.0.len() > 1
        || matches!(
            last(name).as_str(),
            "version"
                | "current_schema"
                | "current_database"
                | "current_catalog"
                | "current_user"
                | "session_user"
                | "user"
                | "current_schemas"
                | "current_setting"
                | "set_config"
                | "pg_backend_pid"
                | "pg_is_in_recovery"
        )
}

fn column_name(expr: &Expr) -> String {
    match expr {
        Expr::Identifier(name) => folded(name),
        Expr::CompoundIdentifier(parts) => parts.last().map(folded).unwrap_or_default(),
        Expr::Function(function) => last(&function.name),
        Expr::Cast { expr, .. } | Expr::Nested(expr) | Expr::Collate { expr, .. } => column_name(expr),
        Expr::Case { .. } => "case".to_owned(),
        Expr::Array(_) => "array".to_owned(),
        Expr::Exists { .. } => "exists".to_owned(),
        _ => "?column?".to_owned(),
    }
}

/// Makes a query give no rows, of as many columns.
fn empty(select: &mut Select) {
    let mut names = Names::default();
    for item in &mut select.projection {
        let name = match item {
            SelectItem::ExprWithAlias { alias, .. } => folded(alias),
            SelectItem::UnnamedExpr(expr) => column_name(expr),
            _ => continue,
        };
        let alias = Ident::with_quote('"', names.unique(name, |_| false));
        *item = SelectItem::ExprWithAlias { expr: null(), alias };
    }
    (select.distinct, select.having, select.qualify) = (None, None, None);
    select.from.clear();
    select.group_by = GroupByExpr::Expressions(Vec::new(), Vec::new());
    select.selection = Some(boolean(false));
}

fn is_emptied(select: &Select) -> bool {
    let is_false = matches!(&select.selection, Some(Expr::Value(value)) if value.value == Value::Boolean(false));
    is_false && select.from.is_empty() && !is_one_row(select)
}

fn is_emptied_query(query: &Query) -> bool {
    fn is_emptied_body(body: &SetExpr) -> bool {
        match body {
            SetExpr::Select(select) => is_emptied(select),
            SetExpr::Query(query) => is_emptied_query(query),
            SetExpr::SetOperation { left, right, .. } => is_emptied_body(left) && is_emptied_body(right),
            _ => false,
        }
    }
    is_emptied_body(&query.body)
}

/// True for aggregates over everything: one row, even of none.
fn is_one_row(select: &Select) -> bool {
    let is_whole = matches!(&select.group_by, GroupByExpr::Expressions(by, _) if by.is_empty());
    is_whole && (select.having.is_some() || select.projection.visit(&mut Aggregates { depth: 0 }).is_break())
}

/// Looks for an aggregate that is not one of a subquery.
struct Aggregates {
    depth: usize,
}

impl Visitor for Aggregates {
    type Break = ();

    fn pre_visit_query(&mut self, _: &Query) -> ControlFlow<()> {
        self.depth += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &Query) -> ControlFlow<()> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        static NAMES: LazyLock<HashSet<String>> = LazyLock::new(|| {
            let functions = SessionStateDefaults::default_aggregate_functions();
            let names = |function: &Arc<AggregateUDF>| [&[function.name().to_owned()][..], function.aliases()].concat();
            functions.iter().flat_map(names).collect()
        });
        match expr {
            Expr::Function(function)
                if self.depth == 0 && function.over.is_none() && NAMES.contains(&last(&function.name)) =>
            {
                ControlFlow::Break(())
            }
            _ => ControlFlow::Continue(()),
        }
    }
}

/// Makes a subquery of one column an aggregate of it, which is how the engine knows that it is one value; false if it
/// stays as it is, such as one that reads other tables than those of the catalogue.
fn aggregate(query: &mut Query, function: &str) -> bool {
    let foreign = |name: &ObjectName| match tables::named(name) {
        Some(_) => ControlFlow::Continue(()),
        None => ControlFlow::Break(()),
    };
    if visit_relations(query, foreign).is_break() {
        return false;
    }
    let SetExpr::Select(select) = &mut *query.body else { return false };
    let is_plain = matches!(&select.group_by, GroupByExpr::Expressions(by, _) if by.is_empty());
    if !is_plain || is_one_row(select) || query.limit_clause.is_some() || select.from.is_empty() {
        return false;
    }
    let [SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. }] = select.projection.as_mut_slice()
    else {
        return false;
    };
    let inner = std::mem::replace(expr, null());
    *expr = call(function, vec![inner]);
    query.order_by = None;
    true
}

/// The elements that a query reads out of a list that is written out, and nothing else: `FROM string_to_array('a,b', ',')`
/// beside their places.
fn listed(query: &Query) -> Option<Vec<Expr>> {
    const LISTS: [&str; 3] = ["generate_series", "string_to_array", "parse_ident"];
    let SetExpr::Select(select) = &*query.body else { return None };
    let [SelectItem::UnnamedExpr(of) | SelectItem::ExprWithAlias { expr: of, .. }] = select.projection.as_slice()
    else {
        return None;
    };
    // CASE element WHEN '"$user"' THEN user ELSE element END
    let is_element = matches!(of, Expr::Case { operand: Some(one), else_result: Some(rest), .. } if one == rest);
    let is_all = select.selection.is_none() && select.having.is_none() && query.limit_clause.is_none();
    let list = |table: &TableWithJoins| match &table.relation {
        TableFactor::Table { name, args: Some(list), .. } if table.joins.is_empty() => {
            let name = Some(last(name)).filter(|name| LISTS.contains(&name.as_str()))?;
            Some(list_answer(&name, &list.args.iter().filter_map(argument).collect::<Vec<_>>()))
        }
        _ => None,
    };
    let lists = select.from.iter().map(list).collect::<Option<Vec<_>>>().filter(|_| is_all && is_element)?;
    elements(&lists.into_iter().flatten().next()?)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn many_columns_of_one_name_are_named_at_once() {
        let sql = format!("SELECT {}* FROM pg_am", "1,".repeat(16_000));
        let begin = Instant::now();
        let checked = crate::guard::check(&sql).unwrap();
        assert!(begin.elapsed() < Duration::from_secs(10));
        assert!(checked.statement.to_string().contains("1 AS \"?column?_16000\""));
    }

    #[test]
    fn names_are_given_once() {
        let mut names = Names::default();
        names.taken.insert("a_2".to_owned());
        let mut unique = |name: &str| names.unique(name.to_owned(), |name| name == "b");
        assert_eq!(["a", "a", "a", "b", "a_2"].map(&mut unique), ["a", "a_3", "a_4", "b_2", "a_2_2"]);
    }
}
