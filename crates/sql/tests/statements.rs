//! What statements give: JSON operators, forms of the answer, errors.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

mod common;

use arrow::ipc::reader::StreamReader;
use arrow::record_batch::RecordBatch;
use common::{Made, World, limits};
use eye_sql::{Error, Format};
use parquet::arrow::arrow_reader::ParquetRecordBatchReader;
use serde_json::{Value, json};

fn made(session: u8, second: u16, data: &str) -> Made {
    Made {
        application: "web",
        session,
        category: "c",
        name: "n",
        second,
        user: None,
        data: data.to_owned(),
        problems: 0,
    }
}

fn world() -> World {
    let mut world = World::new(limits());
    let data = [
        r#"{"plan":"pro","a":{"b":[10,{"c":"x\ty"}]},"n":1.50,"a.b":"dotted","0":"zero"}"#,
        r#"{"plan":null,"n":"7","a":{"b":2},"a":{"b":3}}"#,
        "{}",
    ];
    let events: Vec<Made> = (0..).zip(data).map(|(second, data)| made(1, second, data)).collect();
    world.ingest(&events);
    world
}

#[test]
fn json_operators_are_those_of_postgres() {
    let world = world();
    let column = |expr: &str| -> Vec<Value> {
        let rows = world.rows(&format!("SELECT {expr} FROM events ORDER BY \"timestamp\""));
        rows.into_iter().map(|row| row[0].clone()).collect()
    };
    for (expr, expected) in [
        ("data->>'plan'", json!(["pro", null, null])),
        ("data->'plan'", json!(["\"pro\"", "null", null])),
        ("data->'a'->'b'->0", json!(["10", null, null])),
        ("data->'a'->'b'->1->>'c'", json!(["x\ty", null, null])),
        ("data#>>'{a,b,1,c}'", json!(["x\ty", null, null])),
        ("data#>'{a,b}'", json!(["[10,{\"c\":\"x\\ty\"}]", "3", null])),
        ("data->>'a.b'", json!(["dotted", null, null])),
        ("data->>'n'", json!(["1.50", "7", null])),
        ("(data->>'n')::double", json!([1.5, 7.0, null])),
        ("json_get_number(data, 'n')", json!([1.5, null, null])),
        ("json_get_text(data, 'a', 'b')", json!(["[10,{\"c\":\"x\\ty\"}]", "3", null])),
        ("data->'a'->'b'-> -1", json!([null, null, null])),
        ("data->(CASE WHEN data->>'n' = '7' THEN 'n' ELSE 'plan' END)", json!(["\"pro\"", "\"7\"", null])),
        ("'{\"k\": [1,2]}'->'k'->>1", json!(["2", "2", "2"])),
        ("data->>NULL", json!([null, null, null])),
        ("coalesce(data->>'plan', 'none')", json!(["pro", "none", "none"])),
    ] {
        assert_eq!(Value::from(column(expr)), expected, "{expr}");
    }
    // The operators bind closer than the comparison.
    assert_eq!(
        world.rows("SELECT count(*) FROM events WHERE data->>'plan' = 'pro' AND data->'a'->>'b' <> 'x'"),
        [json!([1])]
    );
    for (expr, words) in
        [("data->1.5", "a key of json_get"), ("\"offset\"->'a'", "a JSON text"), ("data#>>'a'", "path of #>")]
    {
        let Error::Invalid { message, .. } = world.error(&format!("SELECT {expr} FROM events")) else {
            panic!("{expr}")
        };
        assert!(message.contains(words), "{expr}: {message}");
    }
}

fn batches(reader: impl Iterator<Item = Result<RecordBatch, arrow::error::ArrowError>>) -> RecordBatch {
    let batches: Vec<RecordBatch> = reader.collect::<Result<_, _>>().unwrap();
    arrow::compute::concat_batches(&batches[0].schema(), &batches).unwrap()
}

#[test]
fn every_form_says_the_same() {
    let world = world();
    let sql = "SELECT event_id, \"timestamp\", \"offset\", data->>'plan' AS plan, problems, 1.5 AS x, NULL AS nothing, \
               true AS yes, session_id FROM events ORDER BY \"timestamp\"";
    let bytes = |format| world.bytes(world.ask(sql), format).unwrap();
    let json: Value = serde_json::from_slice(&bytes(Format::Json)).unwrap();
    let names: Vec<&str> =
        json["columns"].as_array().unwrap().iter().map(|column| column["name"].as_str().unwrap()).collect();
    let kinds: Vec<&str> =
        json["columns"].as_array().unwrap().iter().map(|column| column["type"].as_str().unwrap()).collect();
    assert_eq!(names, ["event_id", "timestamp", "offset", "plan", "problems", "x", "nothing", "yes", "session_id"]);
    assert_eq!(
        kinds,
        ["text", "timestamptz", "bigint", "text", "text[]", "double precision", "text", "boolean", "text"]
    );
    assert_eq!(json["version"], world.store.snapshot().version());
    assert_eq!(json["offset"], world.store.snapshot().position().to_string());
    let rows = json["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 3);
    assert_eq!(rows[1][1], "2023-11-14T22:13:21.000000Z");

    let lines = String::from_utf8(bytes(Format::Ndjson)).unwrap();
    let objects: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    for (object, row) in objects.iter().zip(rows) {
        let values: Vec<Value> = names.iter().map(|name| object[*name].clone()).collect();
        assert_eq!(&Value::from(values), row);
    }
    assert_eq!(objects.len(), 3);

    let csv = String::from_utf8(bytes(Format::Csv)).unwrap();
    let mut csv = csv.lines();
    assert_eq!(csv.next().unwrap(), names.join(","));
    let first = format!(
        "{},2023-11-14T22:13:20.000000Z,{},pro,[],1.5,,true,session-1",
        rows[0][0].as_str().unwrap(),
        rows[0][2]
    );
    assert_eq!(csv.next().unwrap(), first);
    assert_eq!(csv.count(), 2);

    let arrow = batches(StreamReader::try_new(bytes(Format::Arrow).as_slice(), None).unwrap());
    let parquet = bytes::Bytes::from(bytes(Format::Parquet));
    let parquet = batches(ParquetRecordBatchReader::try_new(parquet, 1024).unwrap());
    assert_eq!(arrow.columns(), parquet.columns());
    assert_eq!(arrow.num_rows(), 3);
    let back = serde_json::to_value(as_rows(&arrow)).unwrap();
    assert_eq!(&back, &json["rows"]);
}

/// Rows of a batch through the one encoder that was compared by hand.
fn as_rows(batch: &RecordBatch) -> Value {
    let schema = batch.schema();
    let (mut encoder, mut bytes) = eye_sql::Encoder::new(Format::Json, &schema, 0, "0").unwrap();
    bytes.extend(encoder.batch(batch).unwrap());
    bytes.extend(encoder.finish().unwrap());
    serde_json::from_slice::<Value>(&bytes).unwrap()["rows"].take()
}

#[test]
fn an_answer_without_rows_has_a_form_too() {
    let world = world();
    let ask = || world.ask("SELECT name, \"timestamp\" FROM events WHERE name = 'none'");
    for format in Format::ALL {
        let bytes = world.bytes(ask(), format).unwrap();
        match format {
            Format::Json => assert_eq!(serde_json::from_slice::<Value>(&bytes).unwrap()["rows"], json!([])),
            Format::Ndjson => assert!(bytes.is_empty()),
            Format::Csv => assert_eq!(bytes, b"name,timestamp\n"),
            Format::Arrow => assert_eq!(StreamReader::try_new(bytes.as_slice(), None).unwrap().count(), 0),
            Format::Parquet => {
                assert_eq!(ParquetRecordBatchReader::try_new(bytes::Bytes::from(bytes), 9).unwrap().count(), 0);
            }
        }
    }
}

#[test]
fn odd_types_have_a_form_in_json_and_csv() {
    let world = world();
    let sql = "SELECT interval '1 day' AS i, DATE '2026-01-02' AS d, 'NaN'::double AS n, CAST(1.25 AS DECIMAL(5,2)) AS m, \
               named_struct('a', 1) AS s, [1, NULL] AS l, now() - now() AS t, arrow_cast('x', 'Dictionary(Int32, Utf8)') AS k";
    for format in Format::ALL {
        match (format, world.bytes(world.ask(sql), format)) {
            (_, Ok(bytes)) => assert!(!bytes.is_empty(), "{format:?}"),
            // Parquet has no intervals of this kind.
            (Format::Parquet, Err(Error::Invalid { .. })) => {}
            (_, Err(error)) => panic!("{format:?}: {error}"),
        }
    }
    let now = world.rows("SELECT now() > '2026-01-01', now() - interval '1 day'");
    assert!(now[0][0] == true && now[0][1].as_str().unwrap().ends_with('Z'), "{now:?}");
    assert_eq!(
        world.rows("SELECT 'NaN'::double, 1.0/0, CAST(1.25 AS DECIMAL(5,2)), DATE '2026-01-02'")[0][0],
        Value::Null
    );
}

#[test]
fn shown_is_what_there_is() {
    let world = world();
    let tables: Vec<Value> = world.rows("SHOW TABLES").into_iter().map(|row| row[0].clone()).collect();
    assert_eq!(Value::from(tables), json!(["events", "sessions", "problems", "rejections"]));
    let columns = world.rows("DESCRIBE events");
    assert_eq!(columns.len(), 16);
    assert_eq!(world.rows("SHOW COLUMNS FROM sessions").len(), 11);
    let plan =
        world.rows("EXPLAIN SELECT count(name) FROM events WHERE category = 'x' AND \"timestamp\" > '2026-01-01'");
    let plan = Value::from(plan).to_string();
    assert!(plan.contains("category=") && plan.contains("from=2026-01-01") && !plan.contains("FilterExec"), "{plan}");
}

#[test]
fn errors_say_what_to_mend() {
    let world = world();
    for (sql, words) in [
        ("SELECT nme FROM events", "nme"),
        ("SELECT * FROM event", "events, sessions"),
        ("SELECT nofunction(1)", "nofunction"),
        ("SELECT 'x'::bigint", "x"),
        ("SELECT 1 +", "Expected"),
        ("SELECT * FROM funnel('{}')", "steps is required"),
        ("SELECT * FROM trend('{}', 1)", "one text"),
        ("SELECT * FROM trend(name) FROM events", ""),
        ("SELECT repeat('x', 1000000000)", "repeat"),
        ("SELECT range(1, 1000000000)", "range"),
        ("SELECT $1", ""),
    ] {
        let error = world.error(sql);
        let Error::Invalid { message, .. } = &error else { panic!("{sql}: {error:?}") };
        assert!(message.contains(words), "{sql}: {message}");
    }
    let Error::Invalid { spot, .. } = world.error("SELECT name,\n       nofunction(1)\nFROM events") else {
        panic!("no error")
    };
    assert_eq!(spot.map(|spot| (spot.line, spot.column)), Some((2, 8)));
    // A long chain is planned and dropped, not overflowed.
    assert_eq!(world.rows(&format!("SELECT 1{}", "+1".repeat(900))), [json!([901])]);
    let either = vec!["category = 'c'"; 400].join(" OR ");
    assert_eq!(world.rows(&format!("SELECT count(*) FROM events WHERE {either}")), [json!([3])]);
}
