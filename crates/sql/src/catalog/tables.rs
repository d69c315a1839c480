//! The tables of the catalogue, out of `tables.txt` and `types.txt`, with a row for each of our tables and columns.

use std::collections::HashSet;
use std::sync::{Arc, LazyLock};

use arrow::array::{ArrayRef, ListBuilder, StringArray, StringBuilder};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use datafusion::datasource::MemTable;
use datafusion::sql::sqlparser::ast::ObjectName;

use super::SETTINGS;
use crate::error::Result;
use crate::guard::{CATALOG, folded};
use crate::rows::type_name;
use crate::tables::{PROBLEMS, SESSIONS};

/// One of our tables.
struct Ours {
    name: &'static str,
    oid: i64,
    about: &'static str,
    /// The statement behind a view.
    definition: Option<&'static str>,
}

const OURS: [Ours; 4] = [
    Ours { name: "events", oid: 16_384, about: "Events, each once", definition: None },
    Ours { name: "sessions", oid: 16_385, about: "Sessions with their figures", definition: Some(SESSIONS) },
    Ours { name: "problems", oid: 16_386, about: "Kinds of problems, and how often", definition: Some(PROBLEMS) },
    Ours { name: "rejections", oid: 16_387, about: "What was refused, and why", definition: None },
];

/// Tables with rows that depend on our tables, on the types or on the settings.
const FILLED: [&str; 10] = [
    "pg_class",
    "pg_attribute",
    "pg_type",
    "pg_description",
    "pg_settings",
    "pg_tables",
    "pg_views",
    "tables",
    "columns",
    "views",
];

/// What a row says, column by column.
type Row = Vec<(&'static str, String)>;

/// A table of the catalogue.
#[derive(Debug)]
pub(crate) struct Table {
    pub(crate) schema: &'static str,
    pub(crate) name: &'static str,
    oid: i64,
    columns: Vec<Column>,
    rows: Vec<Row>,
}

#[derive(Debug)]
struct Column {
    name: &'static str,
    kind: &'static str,
    default: Option<&'static str>,
}

/// A type of PostgreSQL.
struct Type {
    oid: i64,
    name: String,
    length: &'static str,
    by_value: &'static str,
    kind: &'static str,
    category: &'static str,
    element: i64,
    array: i64,
    input: &'static str,
    receive: &'static str,
    shown: String,
}

static TABLES: LazyLock<Vec<Table>> = LazyLock::new(|| {
    let mut tables: Vec<Table> = Vec::new();
    for line in lines(include_str!("tables.txt")) {
        let mut words = line.split_whitespace();
        match (words.next(), tables.last_mut()) {
            (Some("+"), Some(table)) => {
                let cells = words.filter_map(|cell| cell.split_once('='));
                table.rows.push(cells.map(|(name, value)| (name, value.to_owned())).collect());
            }
            (Some(name), _) => {
                let (schema, name) = name.split_once('.').unwrap_or(("", name));
                let (name, oid) = name.split_once('@').unwrap_or((name, ""));
                let columns = words.map(column).collect();
                tables.push(Table { schema, name, oid: oid.parse().unwrap_or_default(), columns, rows: Vec::new() });
            }
            (None, _) => {}
        }
    }
    tables
});

static TYPES: LazyLock<Vec<Type>> = LazyLock::new(|| {
    let mut types = Vec::new();
    for line in lines(include_str!("types.txt")) {
        let words: Vec<&'static str> = line.splitn(10, ' ').collect();
        let &[oid, name, length, by_value, kind, category, array, input, receive, shown] = words.as_slice() else {
            continue;
        };
        let (oid, array) = (oid.parse().unwrap_or_default(), array.parse().unwrap_or_default());
        let (name, shown) = (name.to_owned(), shown.to_owned());
        if array != 0 {
            let (name, shown) = (format!("_{name}"), format!("{shown}[]"));
            let (length, by_value, kind, category, input, receive) = ("-1", "f", "b", "A", "750", "2400");
            let element = oid;
            types.push(Type {
                oid: array,
                name,
                length,
                by_value,
                kind,
                category,
                element,
                array: 0,
                input,
                receive,
                shown,
            });
        }
        types.push(Type { oid, name, length, by_value, kind, category, element: 0, array, input, receive, shown });
    }
    types.sort_by_key(|kind| kind.oid);
    types
});

fn lines(text: &'static str) -> impl Iterator<Item = &'static str> {
    text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'))
}

fn column(word: &'static str) -> Column {
    let (name, kind) = word.split_once(':').unwrap_or((word, "text"));
    let (kind, default) = kind.split_once('=').map_or((kind, None), |(kind, default)| (kind, Some(default)));
    Column { name, kind, default }
}

/// The table of the catalogue with this name; those of `pg_catalog` need no schema.
pub(crate) fn named(name: &ObjectName) -> Option<&'static Table> {
    let parts: Vec<String> = name.0.iter().map(|part| part.as_ident().map(folded)).collect::<Option<_>>()?;
    let (schema, name) = match parts.as_slice() {
        [name] => ("pg_catalog", name),
        [schema, name] => (schema.as_str(), name),
        [catalog, schema, name] if catalog == CATALOG => (schema.as_str(), name),
        _ => return None,
    };
    TABLES.iter().find(|table| table.schema == schema && table.name == name)
}

/// True for a column of the catalogue that is a list, and so always NULL.
pub(super) fn is_list(column: &str) -> bool {
    TABLES
        .iter()
        .flat_map(|table| &table.columns)
        .any(|known| known.kind == "list" && known.default.is_none() && known.name == column)
}

/// True for the name of a column of the catalogue.
pub(super) fn is_column(name: &str) -> bool {
    static NAMES: LazyLock<HashSet<&str>> =
        LazyLock::new(|| TABLES.iter().flat_map(|table| &table.columns).map(|column| column.name).collect());
    NAMES.contains(name)
}

/// The columns of one of our tables.
pub(crate) type Columns<'a> = &'a dyn Fn(&str) -> Option<SchemaRef>;

impl Table {
    /// True if it never has a row.
    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty() && !FILLED.contains(&self.name)
    }

    /// The table with its rows.
    ///
    /// # Errors
    /// `Internal`, if its text is wrong.
    pub(crate) fn provider(&self, columns: Columns<'_>) -> Result<MemTable> {
        let mut rows = self.rows.clone();
        match self.name {
            "pg_type" => rows.extend(TYPES.iter().map(type_row)),
            "pg_settings" => rows.extend(SETTINGS.iter().map(|(name, value)| {
                let value = |column| (column, (*value).to_owned());
                vec![("name", (*name).to_owned()), value("setting"), value("boot_val"), value("reset_val")]
            })),
            name => rows.extend(OURS.iter().flat_map(|ours| ours.rows(name, columns))),
        }
        let arrays = self.columns.iter().map(|column| column.array(&rows)).collect::<Result<Vec<_>>>()?;
        let fields = self.columns.iter().zip(&arrays).map(|(column, array)| {
            let is_nullable = column.default.is_none();
            Field::new(column.name, array.data_type().clone(), is_nullable)
        });
        let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        let batch = RecordBatch::try_new(Arc::clone(&schema), arrays)?;
        Ok(MemTable::try_new(schema, vec![vec![batch]])?)
    }
}

impl Column {
    fn array(&self, rows: &[Row]) -> Result<ArrayRef> {
        let cell = |row: &'_ Row| {
            let said = row.iter().find(|(name, _)| *name == self.name).map(|(_, value)| value.clone());
            said.or_else(|| self.default.map(str::to_owned))
        };
        let texts = rows.iter().map(cell);
        let kind = match self.kind {
            "oid" => DataType::Int64,
            "int4" => DataType::Int32,
            "int2" => DataType::Int16,
            "real" => DataType::Float32,
            "bool" => DataType::Boolean,
            "list" => {
                let mut lists = ListBuilder::new(StringBuilder::new());
                texts.for_each(|text| lists.append_option(text.map(|text| [Some(text)])));
                return Ok(Arc::new(lists.finish()));
            }
            _ => DataType::Utf8,
        };
        Ok(cast(&texts.collect::<StringArray>(), &kind)?)
    }
}

impl Ours {
    /// Its rows in a table of the catalogue.
    fn rows(&self, table: &str, columns: Columns<'_>) -> Vec<Row> {
        let name = |column| (column, self.name.to_owned());
        let oid = |column| (column, self.oid.to_string());
        let schema = columns(self.name);
        let fields = schema.iter().flat_map(|schema| schema.fields()).enumerate();
        let definition = |column: (&'static str, &'static str)| {
            self.definition.map(|text| vec![name(column.0), (column.1, text.trim().to_owned())])
        };
        match table {
            "pg_class" => {
                let (kind, method) = if self.definition.is_some() { ("v", "0") } else { ("r", "2") };
                let more = [("relkind", kind.to_owned()), ("relam", method.to_owned())];
                vec![
                    [oid("oid"), name("relname"), ("relnatts", fields.count().to_string())]
                        .into_iter()
                        .chain(more)
                        .collect(),
                ]
            }
            "pg_attribute" => {
                fields.map(|(place, field)| [vec![oid("attrelid")], attribute(place, field)].concat()).collect()
            }
            "pg_description" => vec![vec![oid("objoid"), ("description", self.about.to_owned())]],
            "pg_tables" if self.definition.is_none() => vec![vec![name("tablename")]],
            "pg_views" => definition(("viewname", "definition")).into_iter().collect(),
            "tables" => {
                let kind = if self.definition.is_some() { "VIEW" } else { "BASE TABLE" };
                vec![vec![name("table_name"), ("table_type", kind.to_owned())]]
            }
            "columns" => {
                fields.map(|(place, field)| [vec![name("table_name")], column_of(place, field)].concat()).collect()
            }
            "views" => definition(("table_name", "view_definition")).into_iter().collect(),
            _ => Vec::new(),
        }
    }
}

/// A column in `pg_attribute`.
fn attribute(place: usize, field: &Field) -> Row {
    let kind = type_of(field.data_type());
    vec![
        ("attname", field.name().clone()),
        ("atttypid", kind.map_or(0, |kind| kind.oid).to_string()),
        ("attlen", kind.map_or("-1", |kind| kind.length).to_owned()),
        ("attbyval", kind.map_or("f", |kind| kind.by_value).to_owned()),
        ("attnum", (place + 1).to_string()),
        ("attnotnull", (!field.is_nullable()).to_string()),
    ]
}

/// A column in `information_schema.columns`.
fn column_of(place: usize, field: &Field) -> Row {
    let kind = type_of(field.data_type());
    let shown = kind.map_or("text", |kind| if kind.element == 0 { kind.shown.as_str() } else { "ARRAY" });
    let mut row = vec![
        ("column_name", field.name().clone()),
        ("ordinal_position", (place + 1).to_string()),
        ("dtd_identifier", (place + 1).to_string()),
        ("is_nullable", if field.is_nullable() { "YES" } else { "NO" }.to_owned()),
        ("data_type", shown.to_owned()),
        ("udt_name", kind.map_or("text", |kind| kind.name.as_str()).to_owned()),
    ];
    let bits = match shown {
        "smallint" => 16,
        "integer" => 32,
        "bigint" => 64,
        _ => 0,
    };
    if bits > 0 {
        row.extend([("numeric_precision", bits.to_string()), ("numeric_precision_radix", "2".to_owned())]);
        row.push(("numeric_scale", "0".to_owned()));
    }
    if shown.starts_with("timestamp") {
        row.push(("datetime_precision", "6".to_owned()));
    }
    row
}

fn type_row(kind: &Type) -> Row {
    vec![
        ("oid", kind.oid.to_string()),
        ("typname", kind.name.clone()),
        ("typlen", kind.length.to_owned()),
        ("typbyval", kind.by_value.to_owned()),
        ("typtype", kind.kind.to_owned()),
        ("typcategory", kind.category.to_owned()),
        ("typelem", kind.element.to_string()),
        ("typarray", kind.array.to_string()),
        ("typinput", kind.input.to_owned()),
        ("typreceive", kind.receive.to_owned()),
    ]
}

fn type_of(kind: &DataType) -> Option<&'static Type> {
    let name = type_name(kind);
    TYPES.iter().find(|kind| kind.shown == name || kind.name == name)
}

/// A name without its quotes, and without its schema unless that is another's.
fn bare(name: &str) -> Option<String> {
    let parts: Vec<&str> = name.split('.').map(|part| part.trim_matches('"')).collect();
    match parts.as_slice() {
        [name] | ["public" | "pg_catalog" | "information_schema", name] => Some((*name).to_owned()),
        _ => None,
    }
}

pub(super) fn oid_of_relation(name: &str) -> Option<i64> {
    let name = bare(name)?;
    let ours = OURS.iter().find(|ours| ours.name == name).map(|ours| ours.oid);
    ours.or_else(|| TABLES.iter().find(|table| table.name == name).map(|table| table.oid))
}

pub(super) fn relation_of_oid(oid: i64) -> Option<String> {
    let ours = OURS.iter().find(|ours| ours.oid == oid).map(|ours| ours.name);
    let name = ours.or_else(|| TABLES.iter().find(|table| table.oid == oid).map(|table| table.name));
    Some(name.map_or_else(|| oid.to_string(), str::to_owned))
}

pub(super) fn oid_of_type(name: &str) -> Option<i64> {
    let name = bare(name)?;
    TYPES.iter().find(|kind| kind.name == name || kind.shown == name).map(|kind| kind.oid)
}

pub(super) fn type_of_oid(oid: i64) -> Option<String> {
    match TYPES.iter().find(|kind| kind.oid == oid) {
        Some(kind) => Some(kind.shown.clone()),
        None => Some(if oid == 0 { "-".to_owned() } else { "???".to_owned() }),
    }
}

/// An oid by a name, in a table with rows that are always there.
fn oid_in(table: &str, column: &str, name: &str) -> Option<i64> {
    let name = bare(name)?;
    let rows = &TABLES.iter().find(|known| known.name == table)?.rows;
    let row = rows.iter().find(|row| row.iter().any(|(key, value)| *key == column && *value == name))?;
    row.iter().find(|(key, _)| *key == "oid")?.1.parse().ok()
}

/// A name by an oid, in such a table.
fn name_in(table: &str, column: &str, oid: i64) -> Option<String> {
    let (rows, oid) = (&TABLES.iter().find(|known| known.name == table)?.rows, oid.to_string());
    let row = rows.iter().find(|row| row.iter().any(|(key, value)| *key == "oid" && *value == oid));
    row.and_then(|row| row.iter().find(|(key, _)| *key == column)).map_or(Some(oid), |(_, name)| Some(name.clone()))
}

pub(super) fn oid_of_function(name: &str) -> Option<i64> {
    oid_in("pg_proc", "proname", name)
}

pub(super) fn function_of_oid(oid: i64) -> Option<String> {
    name_in("pg_proc", "proname", oid)
}

pub(super) fn oid_of_schema(name: &str) -> Option<i64> {
    oid_in("pg_namespace", "nspname", name)
}

pub(super) fn schema_of_oid(oid: i64) -> Option<String> {
    name_in("pg_namespace", "nspname", oid)
}

pub(super) fn about(oid: i64) -> Option<String> {
    OURS.iter().find(|ours| ours.oid == oid).map(|ours| ours.about.to_owned())
}

pub(super) fn definition(oid: i64) -> Option<String> {
    OURS.iter().find(|ours| ours.oid == oid)?.definition.map(|text| text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_text_is_read_whole() {
        for table in TABLES.iter() {
            assert!(["pg_catalog", "information_schema"].contains(&table.schema) && table.oid > 0, "{}", table.name);
            assert!(
                table
                    .columns
                    .iter()
                    .all(|column| { ["oid", "int4", "int2", "real", "bool", "list", "text"].contains(&column.kind) })
            );
            let names: Vec<&str> = table.columns.iter().map(|column| column.name).collect();
            assert!(table.rows.iter().flatten().all(|(name, _)| names.contains(name)), "{}", table.name);
            let same = TABLES.iter().filter(|other| other.oid == table.oid).count();
            assert_eq!(same, 1, "{}", table.name);
            let columns = |_: &str| Some(Arc::new(Schema::new(vec![Field::new("x", DataType::Int64, true)])));
            table.provider(&columns).unwrap_or_else(|error| panic!("{}: {error}", table.name));
        }
        assert!(FILLED.iter().all(|name| TABLES.iter().any(|table| table.name == *name)));
        assert_eq!(OURS.map(|ours| ours.name), crate::tables::TABLES);
        assert_eq!(TYPES.len(), lines(include_str!("types.txt")).count() * 2 - 3);
    }

    #[test]
    fn types_are_those_of_the_wire() {
        let list = DataType::List(Arc::new(Field::new("item", DataType::Utf8View, true)));
        for (kind, oid) in [(DataType::Utf8View, 25), (list, 1009), (DataType::Int64, 20), (DataType::UInt16, 23)] {
            assert_eq!(type_of(&kind).map(|kind| kind.oid), Some(oid), "{kind}");
        }
    }
}
