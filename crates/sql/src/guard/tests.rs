use super::*;

fn refused(sql: &str) -> String {
    match check(sql) {
        Err(Error::Refused(message)) => message,
        other => panic!("{sql} is not refused: {other:?}"),
    }
}

fn invalid(sql: &str) -> String {
    match check(sql) {
        Err(Error::Invalid { message, .. }) => message,
        other => panic!("{sql} is not invalid: {other:?}"),
    }
}

#[test]
fn what_only_reads_is_let_through() {
    for sql in [
        "SELECT 1",
        "select count(*) from events;",
        "SELECT * FROM public.events",
        "SELECT * FROM eye.public.events",
        "SELECT * FROM EVENTS",
        "WITH a AS (SELECT * FROM events) SELECT * FROM a JOIN sessions USING (session_id)",
        "WITH RECURSIVE n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n WHERE i < 5) SELECT * FROM n",
        "VALUES (1, 'a'), (2, 'b')",
        "EXPLAIN SELECT * FROM problems",
        "EXPLAIN ANALYZE SELECT * FROM rejections",
        "SHOW TABLES",
        "SHOW COLUMNS FROM events",
        "DESCRIBE sessions",
        "SELECT * FROM trend('{}')",
        "SELECT * FROM events e, unnest(e.problems)",
        "SELECT * FROM generate_series(1, 3)",
        "SELECT (SELECT max(\"timestamp\") FROM events) FROM (SELECT 1)",
        "SELECT data->>'a' FROM events WHERE data#>>'{a,b}' = 'x' AND name LIKE 'drop table%'",
        "SELECT 'COPY events TO ''x''' AS text",
        "SELECT * FROM information_schema.tables",
        "SELECT * FROM eye.information_schema.columns",
        "SELECT * FROM pg_catalog.pg_class c, pg_type",
        "DESCRIBE pg_catalog.pg_class",
        "SHOW server_version",
    ] {
        check(sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
    }
}

#[test]
fn what_writes_is_refused_by_name() {
    for (sql, verb) in [
        ("INSERT INTO events VALUES (1)", "INSERT"),
        ("UPDATE events SET name = 'x'", "UPDATE"),
        ("DELETE FROM events", "DELETE"),
        ("MERGE INTO events USING sessions ON true WHEN MATCHED THEN DELETE", "MERGE"),
        ("TRUNCATE TABLE events", "TRUNCATE"),
        ("DROP TABLE events", "DROP TABLE"),
        ("DROP SCHEMA public CASCADE", "DROP SCHEMA"),
        ("CREATE TABLE t (a int)", "CREATE TABLE"),
        ("CREATE TABLE t AS SELECT * FROM events", "CREATE TABLE"),
        ("CREATE VIEW v AS SELECT * FROM events", "CREATE VIEW"),
        ("CREATE SCHEMA s", "CREATE SCHEMA"),
        ("CREATE DATABASE d", "CREATE DATABASE"),
        ("CREATE FUNCTION f() RETURNS int AS 'select 1' LANGUAGE sql", "CREATE FUNCTION"),
        ("CREATE EXTERNAL TABLE t STORED AS CSV LOCATION '/etc/passwd'", "CREATE EXTERNAL TABLE"),
        ("ALTER TABLE events ADD COLUMN x int", "ALTER TABLE"),
        ("COPY events TO '/tmp/x.csv'", "COPY"),
        ("COPY (SELECT 1) TO 's3://bucket/x.parquet' STORED AS PARQUET", "COPY"),
        ("EXPLAIN DELETE FROM events", "DELETE"),
        ("EXPLAIN ANALYZE INSERT INTO events VALUES (1)", "INSERT"),
        ("EXPLAIN COPY events TO '/tmp/x'", "COPY"),
        ("SET datafusion.execution.batch_size = 1", "SET"),
        ("RESET datafusion.execution.batch_size", "RESET"),
        ("SHOW ALL", "SHOW"),
        ("SHOW datafusion.execution.batch_size", "SHOW"),
        ("BEGIN", "BEGIN"),
        ("COMMIT", "COMMIT"),
        ("ROLLBACK", "ROLLBACK"),
        ("PREPARE p AS SELECT 1", "PREPARE"),
        ("EXECUTE p", "EXECUTE"),
        ("DEALLOCATE p", "DEALLOCATE"),
        ("GRANT SELECT ON events TO x", "GRANT"),
        ("REVOKE SELECT ON events FROM x", "REVOKE"),
        ("CALL x()", "CALL"),
        ("DECLARE c CURSOR FOR SELECT 1", "DECLARE"),
        ("LISTEN x", "LISTEN"),
        ("VACUUM", "VACUUM"),
        ("ANALYZE events", "ANALYZE"),
        ("WITH gone AS (DELETE FROM events RETURNING *) SELECT * FROM gone", "DELETE"),
        ("WITH new AS (INSERT INTO events VALUES (1) RETURNING *) SELECT * FROM new", "INSERT"),
        ("SELECT * INTO copied FROM events", "SELECT INTO"),
        ("SELECT * FROM events FOR UPDATE", "SELECT … FOR UPDATE"),
    ] {
        // What this dialect cannot even read is refused too, without its name.
        match check(sql) {
            Err(Error::Refused(message)) => assert!(message.starts_with(verb), "{sql}: {message}"),
            Err(Error::Invalid { .. }) => {}
            other => panic!("{sql}: {other:?}"),
        }
    }
}

#[test]
fn what_would_be_passed_over_is_refused_by_name() {
    for (sql, name) in [
        ("SELECT count(*) FROM events TABLESAMPLE BERNOULLI (10)", "TABLESAMPLE"),
        ("SELECT count(*) FROM events e TABLESAMPLE SYSTEM (10) REPEATABLE (1)", "TABLESAMPLE"),
        ("SELECT * FROM sessions JOIN events TABLESAMPLE SYSTEM (10) USING (session_id)", "TABLESAMPLE"),
        ("SELECT * FROM generate_series(1, 3) WITH ORDINALITY", "WITH ORDINALITY"),
        ("SELECT * FROM generate_series(1, 3) WITH ORDINALITY AS t(a, b)", "WITH ORDINALITY"),
        ("SELECT * FROM events e, LATERAL generate_series(1, 3) WITH ORDINALITY", "WITH ORDINALITY"),
    ] {
        let message = refused(sql);
        assert!(message.starts_with(name), "{sql}: {message}");
    }
}

#[test]
fn files_and_foreign_tables_are_not_there() {
    for sql in [
        "SELECT * FROM '/etc/passwd'",
        "SELECT * FROM \"/etc/passwd\"",
        "SELECT * FROM '../registry'",
        "SELECT * FROM 'file.csv'",
        "SELECT * FROM \"data.parquet\"",
        "SELECT * FROM 'https://example.com/x.json'",
        "SELECT * FROM \"s3://bucket/key\"",
        "SELECT * FROM information_schema.df_settings",
        "SELECT * FROM eye.information_schema.secrets",
        "SELECT * FROM other.information_schema.columns",
        "SELECT * FROM pg_catalog.pg_shadow",
        "SELECT * FROM datafusion.public.events",
        "SELECT * FROM other.events",
        "SELECT * FROM tokens",
        "SELECT * FROM read_csv('/etc/passwd')",
        "SELECT * FROM read_parquet('x')",
        "SELECT * FROM glob('/**')",
        "SELECT * FROM pg_read_file('/etc/passwd')",
        "SELECT * FROM parquet_metadata('x.parquet')",
        "SELECT (SELECT count(*) FROM secrets)",
        "SELECT 1 WHERE EXISTS (SELECT * FROM secrets)",
        "SELECT 1 UNION ALL SELECT * FROM secrets",
        "WITH a AS (SELECT * FROM secrets) SELECT 1",
        "DESCRIBE secrets",
        "SHOW COLUMNS FROM secrets",
        "EXPLAIN SELECT * FROM secrets",
        "TABLE events",
    ] {
        assert!(matches!(check(sql), Err(Error::Refused(_) | Error::Invalid { .. })), "{sql}: {:?}", check(sql));
    }
    let message = refused("SELECT * FROM information_schema.df_settings");
    assert!(message.contains("information_schema.df_settings is not there"), "{message}");
    assert!(refused("SELECT * FROM \"/etc/passwd\"").contains("looks like a file"));
    assert!(invalid("SELECT * FROM tokens").contains("events, sessions, problems, rejections"));
}

#[test]
fn what_is_planned_of_the_catalogue_is_what_was_checked() {
    let tables = |sql: &str| check(sql).unwrap().catalog.iter().map(|table| table.name).collect::<Vec<_>>();
    assert_eq!(tables("SELECT * FROM pg_class, information_schema.tables"), ["pg_class", "tables"]);
    // A part of the query goes before the catalogue, and an ordinary statement has nothing of it.
    assert!(tables("WITH pg_class AS (SELECT 1) SELECT * FROM pg_class").is_empty());
    assert!(tables("SELECT * FROM events").is_empty());
    for sql in [
        "SELECT * FROM pg_class, secrets",
        "SELECT (SELECT max(x) FROM secrets) FROM pg_class",
        "SELECT * FROM pg_class WHERE relname IN (SELECT x FROM '/etc/passwd')",
        "SELECT * FROM pg_catalog.read_csv('/etc/passwd'), pg_class",
        "WITH gone AS (DELETE FROM events RETURNING *) SELECT * FROM pg_class",
    ] {
        assert!(matches!(check(sql), Err(Error::Refused(_) | Error::Invalid { .. })), "{sql}: {:?}", check(sql));
    }
}

#[test]
fn one_statement_at_a_time() {
    assert!(refused("SELECT 1; SELECT 2").contains("2 statements"));
    assert!(refused("SELECT 1; DROP TABLE events").contains("2 statements"));
    assert!(invalid("").contains("no statement"));
    assert!(invalid(" ; -- nothing").contains("no statement"));
}

#[test]
fn statements_that_grow_without_bound_are_refused_before_they_are_planned() {
    let chain = |count: usize| format!("SELECT 1{}", "+1".repeat(count));
    assert!(refused(&chain(OPERATORS_MAX + 1)).contains("operators"));
    check(&chain(OPERATORS_MAX - 1)).unwrap();
    // Each part reads the one before twice: 2^30 tables.
    let parts: Vec<String> =
        (1..30).map(|part| format!("a{part} AS (SELECT * FROM a{0} UNION ALL SELECT * FROM a{0})", part - 1)).collect();
    let sql = format!("WITH a0 AS (SELECT * FROM events), {} SELECT * FROM a29", parts.join(", "));
    assert!(refused(&sql).contains("tables"));
    let inner = format!("SELECT * FROM (WITH a0 AS (SELECT * FROM events), {} SELECT * FROM a29)", parts.join(", "));
    assert!(refused(&inner).contains("tables"));
    let joins = format!("SELECT * FROM {}", vec!["events"; 70].join(", "));
    assert!(refused(&joins).contains("tables"));
    for (open, close) in
        [("(", ")"), ("NOT ", ""), ("-", ""), ("(SELECT ", ")"), ("CASE WHEN true THEN ", " END"), ("[", "]")]
    {
        let sql = format!("SELECT {}1{}", open.repeat(1_000), close.repeat(1_000));
        assert!(check(&sql).is_err(), "{open}");
    }
}

#[test]
fn errors_say_where() {
    let Err(Error::Invalid { spot: Some(spot), .. }) = check("SELECT *\nFRM events") else { panic!("no place") };
    assert_eq!(spot.line, 2);
    let Err(Error::Invalid { spot: Some(spot), .. }) = check("SELECT 'open") else { panic!("no place") };
    assert_eq!((spot.line, spot.column), (1, 8));
}
