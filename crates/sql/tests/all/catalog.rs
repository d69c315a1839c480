//! What clients of PostgreSQL ask before they ask for rows, as they send it, and what they are answered.
//!
//! The texts lie in `catalog/`, one file for each client. Behind a statement stand its parameters (`--$`, separated by
//! `|`) and the rows that it gives (`-->`), each as `psql -A -t` shows it.

use eye_sql::{Ask, Error, Parameter};
use serde_json::{Value, json};

use crate::common::{World, limits};

/// A statement of a client.
#[derive(Default)]
struct Asked {
    sql: String,
    parameters: Vec<Parameter>,
    rows: Vec<String>,
}

fn asked(text: &str) -> Vec<Asked> {
    let mut all: Vec<Asked> = Vec::new();
    let mut is_over = true;
    for line in text.lines().filter(|line| !line.starts_with("-- ")) {
        if let Some(row) = line.strip_prefix("-->") {
            all.last_mut().unwrap().rows.push(row.strip_prefix(' ').unwrap_or(row).to_owned());
        } else if let Some(parameters) = line.strip_prefix("--$ ") {
            all.last_mut().unwrap().parameters =
                parameters.split('|').map(|value| Parameter::Text(value.to_owned())).collect();
        } else if !line.is_empty() {
            if is_over {
                all.push(Asked::default());
            }
            let sql = &mut all.last_mut().unwrap().sql;
            sql.push_str(line);
            sql.push('\n');
            is_over = line.ends_with(';');
        }
    }
    all
}

fn shown(row: &Value) -> String {
    let cell = |cell: &Value| match cell {
        Value::Null => String::new(),
        Value::String(text) => text.replace('\n', "\\n"),
        other => other.to_string(),
    };
    row.as_array().unwrap().iter().map(cell).collect::<Vec<_>>().join("|")
}

fn check(text: &str) {
    let world = World::new(limits());
    for Asked { sql, parameters, rows } in asked(text) {
        let ask = Ask { parameters, ..world.ask(&sql) };
        // As drivers ask it: first what it gives, then the rows.
        let described = world.runtime.block_on(world.engine.describe(ask.clone(), || world.store.snapshot()));
        let columns = described.unwrap_or_else(|error| panic!("{sql}{error}")).columns.fields().len();
        let given = world.try_rows(ask).unwrap_or_else(|error| panic!("{sql}{error}"));
        assert!(given.iter().all(|row| row.as_array().unwrap().len() == columns), "{sql}");
        let (mut given, mut rows): (Vec<String>, _) = (given.iter().map(shown).collect(), rows);
        if !sql.contains("ORDER BY") {
            given.sort();
            rows.sort();
        }
        assert_eq!(given, rows, "{sql}");
    }
}

#[test]
fn psql_is_answered() {
    check(include_str!("catalog/psql.sql"));
}

#[test]
fn sqlalchemy_is_answered() {
    check(include_str!("catalog/sqlalchemy.sql"));
}

#[test]
fn jdbc_is_answered() {
    check(include_str!("catalog/jdbc.sql"));
}

#[test]
fn tools_are_answered() {
    check(include_str!("catalog/tools.sql"));
}

#[test]
fn functions_of_postgres_have_their_names_and_answers() {
    let world = World::new(limits());
    for (sql, row) in [
        ("SELECT version() LIKE 'PostgreSQL %'", json!([true])),
        (
            "SELECT pg_catalog.current_schema(), current_database(), current_user, session_user",
            json!(["public", "eye", "eye", "eye"]),
        ),
        ("SELECT (current_schemas(true))[1], 'public' = ANY(current_schemas(false))", json!(["pg_catalog", true])),
        ("SELECT current_setting('server_version_num')::int / 100 AS version", json!([1600])),
        ("SELECT set_config('search_path', 'public', false)", json!(["public"])),
        ("SELECT 'events'::regclass::oid = to_regclass('public.events'), to_regclass('nothing')", json!([true, null])),
        (
            "SELECT 'int4'::regtype::oid, to_regtype('text[]'), format_type(1184, NULL)",
            json!([23, 1009, "timestamp with time zone"]),
        ),
        (
            "SELECT quote_ident('end'), quote_ident('name'), quote_ident('A\"b')",
            json!(["\"end\"", "name", "\"A\"\"b\""]),
        ),
        (
            "SELECT has_table_privilege('events', 'SELECT'), has_table_privilege('events', 'INSERT')",
            json!([true, false]),
        ),
        ("SELECT 'abc' OPERATOR(pg_catalog.~) '^a' COLLATE pg_catalog.default", json!([true])),
        ("SHOW server_version_num", json!(["160000"])),
        ("SHOW TRANSACTION ISOLATION LEVEL", json!(["read committed"])),
        ("SELECT count(*) FROM pg_class WHERE oid = 'events'::regclass", json!([1])),
        ("WITH pg_index AS (SELECT 1 AS x) SELECT x FROM pg_index, pg_am", json!([1])),
        ("SELECT count(*), count(c.relname) FROM pg_index i, pg_class c", json!([0, 0])),
        ("SELECT count(*) FROM (SELECT median(indexrelid) FROM pg_index)", json!([1])),
        ("SELECT count(*) FROM (SELECT 1 FROM pg_index HAVING count(*) = 0)", json!([1])),
        (
            "SELECT quote_ident('select'), quote_ident('user'), quote_ident('kind')",
            json!(["\"select\"", "\"user\"", "kind"]),
        ),
        // An oid and the name of what has it.
        ("SELECT 'events'::regclass::text, to_regclass('16384')", json!(["events", 16_384])),
        (
            "SELECT (oid)::regclass, (oid)::regclass::text FROM pg_class WHERE oid::regclass = 'events'::regclass",
            json!(["events", "events"]),
        ),
        ("SELECT count(*) FROM pg_class WHERE oid::regclass = 16384 AND oid::regclass = 'events'", json!([1])),
        // A number is no place of a column.
        ("SELECT amname FROM pg_am ORDER BY pg_char_to_encoding('UTF8')", json!(["heap"])),
    ] {
        assert_eq!(world.rows(sql), [row], "{sql}");
    }
    let names = |sql: &str| {
        let bytes = world.bytes(world.ask(sql), eye_sql::Format::Csv).unwrap();
        String::from_utf8(bytes).unwrap().lines().next().unwrap().to_owned()
    };
    assert_eq!(names("SELECT version(), current_schema(), current_user"), "version,current_schema,current_user");
    assert_eq!(names("SHOW timezone"), "TimeZone");
    assert_eq!(
        names("SELECT NULL, NULL, oid::text, c.* FROM pg_am c").split(",amname").next().unwrap(),
        "?column?,?column?_2,oid_2,oid"
    );
    // Drivers send values of LIMIT as texts too.
    let parameters = vec![Parameter::Text("1".to_owned()), Parameter::Text("2".to_owned())];
    let ask = Ask { parameters, ..world.ask("SELECT value FROM generate_series(1, 9) ORDER BY 1 LIMIT $1 OFFSET $2") };
    assert_eq!(world.try_rows(ask).unwrap(), [json!([3])]);
    // Other statements keep the names that they had.
    assert_eq!(names("SELECT count(*) FROM events"), "count(*)");
}

#[test]
fn patterns_have_the_escape_that_they_name() {
    let world = World::new(limits());
    for (sql, row) in [
        ("SELECT 'a/b' LIKE 'a//b' ESCAPE '/', 'a\\b' LIKE 'a//b' ESCAPE '/'", json!([true, false])),
        ("SELECT 'a\\b' LIKE 'a\\b' ESCAPE '!', 'ab' LIKE 'a\\b' ESCAPE '!'", json!([true, false])),
        ("SELECT 'a%b' LIKE 'a/%b' ESCAPE '/', 'axb' NOT LIKE 'a/%b' ESCAPE '/'", json!([true, true])),
        ("SELECT 'A_B' ILIKE 'a!_b' ESCAPE '!', 'AxB' ILIKE 'a!_b' ESCAPE '!'", json!([true, false])),
        ("SELECT 'a\\b' LIKE 'a\\b' ESCAPE '', 'a\\b' LIKE 'a' || '\\' || '%' ESCAPE ''", json!([true, true])),
    ] {
        assert_eq!(world.rows(sql), [row], "{sql}");
    }
    // As SQLAlchemy asks whether a text holds another.
    let sql = "SELECT v FROM (VALUES ('a/checkout/50%'), ('a/checkout/500'), ('a\\checkout\\50%')) t (v) WHERE v LIKE '%' || $1 || '%' ESCAPE '/'";
    let ask = Ask { parameters: vec![Parameter::Text("//checkout//50/%".to_owned())], ..world.ask(sql) };
    assert_eq!(world.try_rows(ask).unwrap(), [json!(["a/checkout/50%"])]);
    let ask =
        Ask { parameters: vec![Parameter::Text("a//%".to_owned())], ..world.ask("SELECT 'a/b' LIKE $1 ESCAPE '/'") };
    assert_eq!(world.try_rows(ask).unwrap(), [json!([true])]);
    for sql in
        ["SELECT 'a' LIKE 'a' ESCAPE 'ab'", "SELECT 'a' LIKE 'a/' ESCAPE '/'", "SELECT 'a' LIKE 'a' || '/' ESCAPE '/'"]
    {
        assert!(matches!(world.error(sql), Error::Invalid { .. }), "{sql}");
    }
}

#[test]
fn what_cannot_be_written_anew_is_refused() {
    let world = World::new(limits());
    for sql in [
        "SELECT ARRAY(SELECT oid FROM pg_am LIMIT 1)",
        "SELECT format('%1$s', amname) FROM pg_am",
        "SELECT format('%%', amname) FROM pg_am",
        "SELECT 'b' IN (SELECT part FROM string_to_array('a,b', ',') AS s (part) WHERE part = 'a') FROM pg_am",
    ] {
        let error = world.error(sql);
        assert!(matches!(error, Error::Refused(_) | Error::Invalid { .. }), "{sql}: {error:?}");
    }
}

#[test]
fn the_catalogue_shows_our_tables_and_nothing_else() {
    let world = World::new(limits());
    let tables = world.rows("SELECT table_schema, table_name, table_type FROM information_schema.tables ORDER BY 2");
    let expected = [("events", "BASE TABLE"), ("problems", "VIEW"), ("rejections", "BASE TABLE"), ("sessions", "VIEW")];
    assert_eq!(tables, expected.map(|(name, kind)| json!(["public", name, kind])));
    // What is said of the columns is what the tables have.
    for table in ["events", "sessions", "problems", "rejections"] {
        let said = world.rows(&format!(
            "SELECT column_name, data_type FROM information_schema.columns WHERE table_name = '{table}' ORDER BY ordinal_position"
        ));
        let had = world.rows(&format!("DESCRIBE {table}"));
        let name = |row: &Value| row[0].clone();
        assert_eq!(said.iter().map(name).collect::<Vec<_>>(), had.iter().map(name).collect::<Vec<_>>());
        assert!(said.iter().all(|row| row[1].is_string()), "{said:?}");
    }
    for sql in [
        "SELECT * FROM information_schema.df_settings",
        "SELECT * FROM information_schema.secrets",
        "SELECT * FROM pg_catalog.pg_shadow",
        "SELECT * FROM pg_catalog.pg_file_settings",
        "SELECT * FROM pg_catalog.events",
        "SELECT * FROM other.pg_catalog.pg_class",
        "SELECT set_config('datafusion.execution.batch_size', '1', false)",
        "SHOW datafusion.execution.batch_size",
        "SHOW ALL",
        "SELECT pg_read_file('/etc/passwd')",
        "SELECT 'secrets'::regclass",
        "DELETE FROM pg_catalog.pg_class",
    ] {
        let error = world.error(sql);
        assert!(matches!(error, Error::Refused(_) | Error::Invalid { .. }), "{sql}: {error:?}");
    }
}
