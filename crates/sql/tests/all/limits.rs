//! Each limit stops one statement, and only that one.

use std::time::Duration;

use eye_sql::{Ask, Error, Limits};
use serde_json::json;

use crate::common::{Made, World, limits};

fn world(limits: Limits, events: u16) -> World {
    let mut world = World::new(limits);
    let made = |second: u16| Made {
        application: "web",
        session: (second % 7) as u8,
        category: "c",
        name: "n",
        second,
        user: None,
        data: format!("{{\"n\":{second}}}"),
        problems: 0,
    };
    world.ingest(&(0..events).map(made).collect::<Vec<_>>());
    world
}

fn limit(world: &World, sql: &str) -> &'static str {
    match world.error(sql) {
        Error::Limit { limit, .. } => limit,
        other => panic!("{sql}: {other:?}"),
    }
}

fn goes_on(world: &World) {
    assert_eq!(world.rows("SELECT count(*) FROM events"), [json!([50])]);
}

#[test]
fn rows_stop_a_statement() {
    let world = world(Limits { rows_max: 40, ..limits() }, 50);
    assert_eq!(limit(&world, "SELECT * FROM events"), "sql_rows_max");
    assert_eq!(world.rows("SELECT * FROM events LIMIT 40").len(), 40);
    goes_on(&world);
}

#[test]
fn time_stops_a_statement() {
    let world = world(Limits { time_max: Duration::from_millis(300), ..limits() }, 50);
    let endless = "WITH RECURSIVE n AS (SELECT 1 AS i UNION ALL SELECT i FROM n) SELECT count(*) FROM n";
    assert_eq!(limit(&world, endless), "sql_time_max");
    let large = "SELECT sum(a.value % 7) FROM generate_series(1, 1000000000000) a";
    assert_eq!(limit(&world, large), "sql_time_max");
    goes_on(&world);
}

/// As many of each as there are threads: one that is not stopped keeps its thread.
#[test]
fn time_stops_joins_that_find_nothing_or_everything() {
    let world = world(Limits { time_max: Duration::from_millis(300), ..limits() }, 50);
    let numbers = "FROM generate_series(1, 1000000) a JOIN generate_series(1, 1000000) b ON";
    let joins = [
        format!("SELECT count(*) {numbers} a.value + b.value < 0"),
        format!("SELECT count(*) {numbers} a.value % 1 = b.value % 1 AND a.value + b.value < 0"),
        format!("SELECT sum(a.value + b.value) {numbers} a.value % 1 = b.value % 1"),
        format!("SELECT sum(a.value + b.value) {numbers} true"),
    ];
    for join in joins {
        for _ in 0..limits().threads {
            assert_eq!(limit(&world, &join), "sql_time_max", "{join}");
        }
        goes_on(&world);
    }
}

#[test]
fn memory_goes_to_disk_and_then_stops_a_statement() {
    let small = Limits { memory_bytes_max: 16 * 1024 * 1024, ..limits() };
    let sorted = "SELECT count(*) FROM (SELECT value, row_number() OVER (ORDER BY -value) AS r FROM \
                  (SELECT value, md5_free FROM (SELECT value, CAST(value AS VARCHAR) || 'some text that takes room' AS md5_free \
                  FROM generate_series(1, 600000))))";
    let world = world(small.clone(), 50);
    assert_eq!(world.rows(sorted), [json!([600_000])]);
    // What cannot go to disk.
    let kept = "SELECT length(string_agg(CAST(value AS VARCHAR), ',')) FROM generate_series(1, 10000000)";
    assert_eq!(limit(&world, kept), "sql_memory_bytes_max");
    goes_on(&world);
    drop(world);
    let world = self::world(Limits { spill_bytes_max: 64 * 1024, threads: 1, ..small }, 50);
    let sorted = "SELECT value, CAST(value AS VARCHAR) || 'some text that takes room' AS t FROM generate_series(1, 900000) \
                  ORDER BY t DESC";
    assert_eq!(limit(&world, sorted), "sql_spill_bytes_max");
    goes_on(&world);
    assert_eq!(std::fs::read_dir(world.folder.path().join("spill")).unwrap().count(), 0, "what was on disk is gone");
}

#[test]
fn what_a_function_makes_stops_a_statement() {
    let world = world(limits(), 50);
    let nested =
        |times: usize, begin: &str, of: &dyn Fn(String) -> String| (0..times).fold(begin.to_owned(), |sql, _| of(sql));
    let more = "a".repeat(100);
    for begin in ["'a'", "CAST(value AS VARCHAR) || 'a'"] {
        for sql in [
            nested(8, begin, &|sql| format!("replace({sql}, 'a', '{more}')")),
            nested(8, begin, &|sql| format!("regexp_replace({sql}, 'a', '{more}', 'g')")),
            nested(20, &begin.replace("'a'", "'\"'"), &|sql| format!("quote_ident({sql})")),
            nested(20, &format!("{begin} || '/\\'"), &|sql| format!("like_pattern({sql}, '!')")),
        ] {
            let error = world.error(&format!("SELECT length({sql}) FROM generate_series(1, 1000)"));
            assert!(
                matches!(&error, Error::Invalid { message, .. } if message.contains("more than")),
                "{sql}: {error:?}"
            );
            goes_on(&world);
        }
    }
    // What may make much of many rows is done in parts.
    let text = "b".repeat(100);
    let sql = format!(
        "SELECT count(*), max(length(replace('{text}' || value, 'a', '{more}'))) FROM generate_series(1, 100000)"
    );
    assert_eq!(world.rows(&sql), [json!([100_000, 106])]);
    assert_eq!(
        world.rows("SELECT replace('a.b', '.', '/'), regexp_replace('ab', '(a)', '\\1\\1')"),
        [json!(["a/b", "aab"])]
    );
}

#[test]
fn text_stops_a_statement() {
    let world = world(Limits { text_bytes_max: 100, ..limits() }, 50);
    assert_eq!(limit(&world, &format!("SELECT '{}'", "x".repeat(100))), "sql_text_bytes_max");
    goes_on(&world);
}

#[test]
fn each_token_has_its_share_and_all_have_an_end() {
    let world = world(limits(), 50);
    let endless = |token: &str| Ask {
        token: token.to_owned(),
        ..world.ask("SELECT a.value FROM generate_series(1, 1000000000000) a")
    };
    let start = |token: &str| world.runtime.block_on(world.engine.ask(endless(token), || world.store.snapshot()));
    let mut running = vec![start("a").unwrap(), start("a").unwrap()];
    let Err(Error::Busy { limit, .. }) = start("a") else { panic!("a third statement of one token") };
    assert_eq!(limit, "sql_queries_per_token_max");
    running.extend([start("b").unwrap(), start("b").unwrap()]);
    let Err(Error::Busy { limit, .. }) = start("c") else { panic!("a fifth statement") };
    assert_eq!(limit, "sql_queries_max");
    // Whoever goes away makes room: the statement stops.
    running.clear();
    goes_on(&world);
    drop(start("a").unwrap());
}
