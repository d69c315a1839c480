//! What may be asked at all: one statement that only reads, from the tables and functions that are known by name.
//!
//! The first wall. It stands on the parsed statement, before anything is planned, and names what it refuses. Behind it
//! stand others: the plan is checked again, no object store is registered, and nothing but queries is ever executed.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use datafusion::sql::parser::{DFParserBuilder, ExplainStatement, Statement};
use datafusion::sql::sqlparser::ast::{
    Ident, ObjectName, Query, SetExpr, ShowStatementIn, Statement as Ast, TableFactor, Visit, Visitor,
};
use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Token, Tokenizer};

use crate::catalog;
use crate::error::{Error, Result, Spot};
use crate::tables::TABLES;

/// The schema that the tables are in, for those who spell it out.
pub(crate) const SCHEMA: &str = "public";
/// The catalog that the schema is in.
pub(crate) const CATALOG: &str = "eye";
/// How deeply parentheses, subqueries and operators may be nested.
pub(crate) const DEPTH_MAX: usize = 50;

/// How many operators one statement may have: each may be one more level of a tree, and trees are walked by recursion.
pub(crate) const OPERATORS_MAX: usize = 1_000;
/// How many tables a statement may read, each counted as often as it is read once WITH is written out.
pub(crate) const RELATIONS_MAX: u64 = 64;

/// Functions that may stand where a table stands.
const TABLE_FUNCTIONS: [&str; 7] = ["trend", "funnel", "retention", "paths", "generate_series", "range", "unnest"];

/// A statement that may be planned.
#[derive(Clone, Debug)]
pub(crate) struct Checked {
    pub(crate) statement: Statement,
    /// The tables that it names.
    pub(crate) tables: BTreeSet<String>,
    /// The tables of `pg_catalog` and `information_schema` that it names.
    pub(crate) catalog: Vec<&'static catalog::tables::Table>,
}

/// Parses and checks.
///
/// # Errors
/// `Invalid` for what is no SQL, `Refused` for what is not allowed.
pub(crate) fn check(sql: &str) -> Result<Checked> {
    let statement = only(parse(sql)?)?;
    let mut statement = match statement {
        Statement::Statement(ast) => match shown(&ast)? {
            Some(instead) => only(parse(&instead)?)?,
            None => Statement::Statement(ast),
        },
        other => other,
    };
    catalog::rewrite(&mut statement)?;
    let mut walk = Walk::default();
    walk_statement(&statement, &mut walk)?;
    if walk.relations() > RELATIONS_MAX {
        let message =
            format!("the statement reads more than {RELATIONS_MAX} tables, WITH written out: read each fewer times");
        return Err(Error::refused(message));
    }
    let (mut tables, mut catalog) = (BTreeSet::new(), Vec::new());
    for name in walk.names {
        match catalog::tables::named(&name).filter(|_| !is_part(&name, &walk.ctes)) {
            Some(table) => catalog.push(table),
            None => tables.extend(table_of(&name, &walk.ctes)?),
        }
    }
    Ok(Checked { statement, tables, catalog })
}

fn parse(sql: &str) -> Result<Vec<Statement>> {
    let dialect = PostgreSqlDialect {};
    let tokens = Tokenizer::new(&dialect, sql).tokenize().map_err(|error| {
        let spot = Spot { line: error.location.line, column: error.location.column };
        Error::Invalid { message: error.message, spot: Some(spot) }
    })?;
    if tokens.iter().filter(|token| is_operator(token)).count() > OPERATORS_MAX {
        let message =
            format!("the statement has more than {OPERATORS_MAX} operators: write a list with IN instead of many OR");
        return Err(Error::refused(message));
    }
    let parser = DFParserBuilder::new(sql).with_dialect(&dialect).with_recursion_limit(DEPTH_MAX).build();
    Ok(parser.and_then(|mut parser| parser.parse_statements())?.into())
}

/// True for what joins two parts of a statement. Commas do not: lists are flat.
fn is_operator(token: &Token) -> bool {
    match token {
        Token::Word(word) => matches!(
            word.keyword,
            Keyword::AND
                | Keyword::OR
                | Keyword::NOT
                | Keyword::UNION
                | Keyword::EXCEPT
                | Keyword::INTERSECT
                | Keyword::JOIN
                | Keyword::IS
                | Keyword::LIKE
                | Keyword::ILIKE
                | Keyword::COLLATE
                | Keyword::AT
                | Keyword::CASE
                | Keyword::WHEN
        ),
        Token::EOF | Token::Number(..) | Token::Char(_) | Token::Whitespace(_) | Token::Comma | Token::SemiColon => {
            false
        }
        Token::SingleQuotedString(_) | Token::DoubleQuotedString(_) | Token::EscapedStringLiteral(_) => false,
        Token::DollarQuotedString(_) | Token::NationalStringLiteral(_) | Token::HexStringLiteral(_) => false,
        Token::LParen | Token::RParen | Token::Placeholder(_) => false,
        _ => true,
    }
}

fn only(statements: Vec<Statement>) -> Result<Statement> {
    let count = statements.len();
    let mut statements = statements.into_iter();
    match (statements.next(), count) {
        (Some(statement), 1) => Ok(statement),
        (None, _) => Err(Error::invalid("there is no statement: send one, such as SELECT count(*) FROM events")),
        _ => Err(Error::refused(format!("there are {count} statements: send one at a time"))),
    }
}

/// What a `SHOW` asks, as a query.
fn shown(ast: &Ast) -> Result<Option<String>> {
    match ast {
        Ast::ShowTables { .. } => {
            let rows: Vec<String> = TABLES.iter().map(|table| format!("('{table}')")).collect();
            Ok(Some(format!("SELECT column1 AS table_name FROM (VALUES {})", rows.join(", "))))
        }
        Ast::ShowColumns { show_options, .. } => {
            let name =
                show_options.show_in.as_ref().and_then(|ShowStatementIn { parent_name, .. }| parent_name.as_ref());
            let name = name.ok_or_else(|| Error::invalid("SHOW COLUMNS needs a table: SHOW COLUMNS FROM events"))?;
            Ok(Some(format!("DESCRIBE {name}")))
        }
        Ast::ShowVariable { variable } => {
            let words: Vec<String> = variable.iter().map(|word| word.value.to_lowercase()).collect();
            let name = match words.join(" ").as_str() {
                "transaction isolation level" => "transaction_isolation".to_owned(),
                "time zone" => "TimeZone".to_owned(),
                name => name.to_owned(),
            };
            Ok(catalog::setting(&name).map(|(name, value)| format!("SELECT '{value}' AS \"{name}\"")))
        }
        _ => Ok(None),
    }
}

fn walk_statement(statement: &Statement, walk: &mut Walk) -> Result<()> {
    match statement {
        Statement::Explain(ExplainStatement { statement, .. }) => match &**statement {
            Statement::Explain(_) => Err(Error::refused("EXPLAIN of an EXPLAIN is not possible")),
            inner => walk_statement(inner, walk),
        },
        Statement::CreateExternalTable(_) => Err(read_only("CREATE EXTERNAL TABLE")),
        Statement::CopyTo(_) => Err(read_only("COPY")),
        Statement::Reset(_) => Err(read_only("RESET")),
        Statement::Statement(ast) => match &**ast {
            Ast::Query(query) => walk_query(query, walk),
            Ast::Explain { statement, .. } => match &**statement {
                Ast::Query(query) => walk_query(query, walk),
                other => Err(read_only(&verb(other))),
            },
            Ast::ExplainTable { table_name, .. } => {
                walk.names.push(table_name.clone());
                Ok(())
            }
            other => Err(read_only(&verb(other))),
        },
    }
}

fn walk_query(query: &Query, walk: &mut Walk) -> Result<()> {
    match query.visit(walk) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(error) => Err(error),
    }
}

fn read_only(verb: &str) -> Error {
    Error::refused(format!(
        "{verb} is not allowed: SQL here only reads; send SELECT, WITH, VALUES, EXPLAIN, SHOW TABLES or DESCRIBE"
    ))
}

/// The words that a statement begins with, for messages.
fn verb(ast: &Ast) -> String {
    let text = ast.to_string();
    let words: Vec<&str> = text.split_whitespace().take(2).collect();
    let is_pair = matches!(words.first(), Some(&("CREATE" | "DROP" | "ALTER" | "SHOW" | "SET" | "START")));
    words.into_iter().take(if is_pair { 2 } else { 1 }).collect::<Vec<_>>().join(" ")
}

/// Goes through a query and keeps the names of its relations.
#[derive(Default)]
struct Walk {
    names: Vec<ObjectName>,
    ctes: BTreeSet<String>,
    /// The queries of WITH, by where they lie, and their names.
    parts: BTreeMap<usize, String>,
    /// How many tables each of them reads.
    weights: BTreeMap<String, u64>,
    /// How many the queries read that the walk is in, the innermost last.
    open: Vec<u64>,
    /// The same of those that it has left.
    closed: u64,
}

impl Walk {
    fn relations(&self) -> u64 {
        self.closed.saturating_add(self.open.iter().sum())
    }

    fn count(&mut self, relations: u64) {
        let sum = self.open.last_mut().unwrap_or(&mut self.closed);
        *sum = sum.saturating_add(relations);
    }
}

/// Where a query lies, which tells it from every other while the statement is walked.
fn place(query: &Query) -> usize {
    std::ptr::from_ref(query).addr()
}

impl Visitor for Walk {
    type Break = Error;

    fn pre_visit_statement(&mut self, ast: &Ast) -> ControlFlow<Error> {
        // A statement inside a query: WITH gone AS (DELETE …) and the like.
        match ast {
            Ast::Query(_) => ControlFlow::Continue(()),
            other => ControlFlow::Break(read_only(&verb(other))),
        }
    }

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<Error> {
        for cte in query.with.iter().flat_map(|with| &with.cte_tables) {
            self.ctes.insert(folded(&cte.alias.name));
            self.parts.insert(place(&cte.query), folded(&cte.alias.name));
        }
        self.open.push(0);
        if !query.locks.is_empty() {
            return ControlFlow::Break(read_only("SELECT … FOR UPDATE"));
        }
        if let Some(clause) = query.for_clause.as_ref().map(|_| "FOR XML, JSON or BROWSE") {
            return ControlFlow::Break(read_only(clause));
        }
        if query.format_clause.is_some() || query.settings.is_some() {
            return ControlFlow::Break(read_only("SETTINGS or FORMAT"));
        }
        match set_table(&query.body) {
            true => ControlFlow::Break(Error::refused("TABLE name is not possible: write SELECT * FROM name")),
            false => ControlFlow::Continue(()),
        }
    }

    fn post_visit_query(&mut self, query: &Query) -> ControlFlow<Error> {
        let relations = self.open.pop().unwrap_or_default();
        match self.parts.get(&place(query)) {
            Some(name) => _ = self.weights.insert(name.clone(), relations),
            None => self.count(relations),
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &datafusion::sql::sqlparser::ast::Select) -> ControlFlow<Error> {
        match select.into.is_some() {
            true => ControlFlow::Break(read_only("SELECT INTO")),
            false => ControlFlow::Continue(()),
        }
    }

    fn pre_visit_relation(&mut self, name: &ObjectName) -> ControlFlow<Error> {
        let part = name.0.last().and_then(|part| part.as_ident()).map(folded).filter(|_| name.0.len() == 1);
        let relations = part.and_then(|part| self.weights.get(&part).copied()).unwrap_or(1);
        self.count(relations);
        self.names.push(name.clone());
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<Error> {
        if let Some(addition) = addition(factor) {
            let message = format!("{addition} is not possible behind a table: leave it out");
            return ControlFlow::Break(Error::refused(message));
        }
        match factor {
            TableFactor::Table { .. }
            | TableFactor::Derived { .. }
            | TableFactor::UNNEST { .. }
            | TableFactor::NestedJoin { .. } => ControlFlow::Continue(()),
            TableFactor::Function { name, .. } => {
                self.names.push(name.clone());
                ControlFlow::Continue(())
            }
            other => {
                let text: String = other.to_string().chars().take(40).collect();
                ControlFlow::Break(Error::refused(format!("{text} is no table that can be read here")))
            }
        }
    }
}

/// What stands behind a table that the engine would pass over, by its name.
fn addition(factor: &TableFactor) -> Option<&'static str> {
    match factor {
        TableFactor::Table {
            with_hints, version, with_ordinality, partitions, json_path, sample, index_hints, ..
        } => {
            let additions = [
                (sample.is_some(), "TABLESAMPLE"),
                (*with_ordinality, "WITH ORDINALITY"),
                (version.is_some(), "a version"),
                (json_path.is_some(), "a path"),
                (!partitions.is_empty(), "PARTITION"),
                (!with_hints.is_empty() || !index_hints.is_empty(), "a hint"),
            ];
            additions.into_iter().find_map(|(is_there, name)| is_there.then_some(name))
        }
        TableFactor::Derived { sample: Some(_), .. } => Some("TABLESAMPLE"),
        TableFactor::Function { with_ordinality: true, .. } | TableFactor::UNNEST { with_ordinality: true, .. } => {
            Some("WITH ORDINALITY")
        }
        _ => None,
    }
}

fn set_table(body: &SetExpr) -> bool {
    match body {
        SetExpr::Table(_) => true,
        SetExpr::SetOperation { left, right, .. } => set_table(left) || set_table(right),
        _ => false,
    }
}

/// A name as it is looked up: in lower case unless it was quoted.
pub(crate) fn folded(ident: &Ident) -> String {
    if ident.quote_style.is_some() { ident.value.clone() } else { ident.value.to_lowercase() }
}

/// True for the name of a part of the query.
fn is_part(name: &ObjectName, ctes: &BTreeSet<String>) -> bool {
    matches!(name.0.as_slice(), [part] if part.as_ident().is_some_and(|part| ctes.contains(&folded(part))))
}

/// The table of this name; `None` if it is a part of the query or a function.
fn table_of(name: &ObjectName, ctes: &BTreeSet<String>) -> Result<Option<String>> {
    let parts: Option<Vec<String>> = name.0.iter().map(|part| part.as_ident().map(folded)).collect();
    let parts = parts.ok_or_else(|| Error::refused(format!("{name} is no table that can be read here")))?;
    let table = match parts.as_slice() {
        [table] => table,
        [schema, table] if schema == SCHEMA => table,
        [catalog, schema, table] if catalog == CATALOG && schema == SCHEMA => table,
        [.., schema, _] if schema == "information_schema" || schema == "pg_catalog" => {
            let message = format!(
                "{name} is not there: of {schema} there is only what describes the tables, such as information_schema.columns"
            );
            return Err(Error::refused(message));
        }
        _ => return Err(unknown(name)),
    };
    if TABLES.contains(&table.as_str()) && (parts.len() > 1 || !ctes.contains(table)) {
        return Ok(Some(table.clone()));
    }
    let is_known = parts.len() == 1 && (ctes.contains(table) || TABLE_FUNCTIONS.contains(&table.as_str()));
    if is_known { Ok(None) } else { Err(unknown(name)) }
}

fn unknown(name: &ObjectName) -> Error {
    let is_path = |text: &str| text.contains(['/', '\\', '.', ':', '*']);
    let name = name.to_string();
    let shown: String = name.chars().take(60).collect();
    if is_path(name.trim_matches(['"', '\''])) && name.contains(['"', '\'']) {
        return Error::refused(format!("{shown} looks like a file or an address: nothing but the tables can be read"));
    }
    Error::invalid(format!(
        "there is no table {shown}: there are {}, and the functions {}",
        TABLES.join(", "),
        TABLE_FUNCTIONS.join(", ")
    ))
}

#[cfg(test)]
mod tests;
