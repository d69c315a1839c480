//! What statements give: JSON operators, forms of the answer, errors.

use arrow::ipc::reader::StreamReader;
use arrow::record_batch::RecordBatch;
use eye_sql::{Ask, Error, Format, Parameter};
use parquet::arrow::arrow_reader::ParquetRecordBatchReader;
use serde_json::{Value, json};

use crate::common::{Made, START, World, limits};

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

#[test]
fn conditions_that_come_later_are_held_too() {
    let mut world = World::new(limits());
    for (place, category) in ["a", "page", "cart", "bc"].into_iter().enumerate() {
        world.ingest_at(START, &format!("event-{place}"), category, "{}");
    }
    let joined = "SELECT count(*) FROM (SELECT r.category AS c FROM events l LEFT JOIN
        (SELECT * FROM events WHERE category = 'page') r ON l.session_id = r.session_id) t WHERE t.c = ";
    assert_eq!(world.rows(&format!("{joined}'cart'")), [json!([0])]);
    assert_eq!(world.rows(&format!("{joined}'page'")), [json!([4])]);
    let folded = "SELECT count(*) FROM (SELECT *, 'b' AS k FROM events WHERE category = ";
    assert_eq!(world.rows(&format!("{folded}'a') t WHERE category = k || 'c'")), [json!([0])]);
    assert_eq!(world.rows(&format!("{folded}'bc') t WHERE category = k || 'c'")), [json!([1])]);
    let session = "SELECT count(*) FROM (SELECT *, 'session' AS k FROM events WHERE session_id = 'session-1') t
        WHERE session_id = k || ";
    assert_eq!(world.rows(&format!("{session}'-2'")), [json!([0])]);
    assert_eq!(world.rows(&format!("{session}'-1'")), [json!([4])]);
}

#[test]
fn times_of_every_zone_are_given_in_utc() {
    let mut world = World::new(limits());
    // 2026-07-01T10:00:00Z
    world.ingest_at(1_782_900_000_000_000, "event", "c", "{}");
    let day = "date_trunc('day', \"timestamp\" AT TIME ZONE 'Europe/Berlin')";
    let ask = || world.ask(&format!("SELECT {day} AS day FROM events"));
    let text = |format| String::from_utf8(world.bytes(ask(), format).unwrap()).unwrap();
    assert_eq!(world.try_rows(ask()).unwrap(), [json!(["2026-06-30T22:00:00.000000Z"])]);
    assert_eq!(text(Format::Ndjson), "{\"day\":\"2026-06-30T22:00:00.000000Z\"}\n");
    assert_eq!(text(Format::Csv), "day\n2026-06-30T22:00:00.000000Z\n");
    assert_eq!(
        world.rows(&format!("SELECT [{day}], named_struct('day', {day}) FROM events")),
        [json!([["2026-06-30T22:00:00.000000Z"], {"day": "2026-06-30T22:00:00.000000Z"}])]
    );
}

#[test]
fn a_trend_and_the_period_before_lose_no_series() {
    let mut world = World::new(limits());
    let day: i64 = 86_400_000_000;
    // 2026-03-01T00:00:00Z
    let march: i64 = 1_772_323_200_000_000;
    for (place, (days, category)) in
        [(-30_i64, "cart"), (-1, "page"), (0, "page"), (0, "page"), (0, "cart"), (1, "page")].into_iter().enumerate()
    {
        world.ingest_at(march + days * day + day / 2, &format!("event-{place}"), category, r#"{"n":3}"#);
    }
    let trend = |from: i64, days: i64, more: &str| {
        let body = format!("{{\"from\": {from}, \"to\": {}, \"compare\": true{more}}}", from + days * day);
        world.rows(&format!("SELECT * FROM trend('{body}')"))
    };
    let (first, second) = ("2026-03-01T00:00:00.000000Z", "2026-03-02T00:00:00.000000Z");
    // Only the one period has a rest, then only the one before it.
    assert_eq!(
        trend(march, 1, ", \"top\": 1"),
        [json!([first, "page", false, 2.0, 1.0]), json!([first, null, true, 1.0, 0.0])]
    );
    assert_eq!(
        trend(march + day, 1, ", \"top\": 1"),
        [json!([second, "page", false, 1.0, 2.0]), json!([second, null, true, 0.0, 1.0])]
    );
    // What is measured of nothing is nothing, unless it counts or sums.
    for (measure, value, nothing) in
        [("sum(data.n)", 3.0, json!(0.0)), ("max(data.n)", 3.0, json!(null)), ("sessions", 1.0, json!(0.0))]
    {
        let rows = trend(march + day, 1, &format!(", \"top\": 1, \"measure\": \"{measure}\""));
        assert_eq!(rows[1], json!([second, null, true, nothing, value]), "{measure}");
    }
    // March has one month, and as many days before it lie in two.
    assert_eq!(
        trend(march, 31, ", \"interval\": \"month\""),
        [
            json!([null, "page", false, null, 0.0]),
            json!([first, "page", false, 3.0, 1.0]),
            json!([null, "cart", false, null, 1.0]),
            json!([first, "cart", false, 1.0, 0.0]),
        ]
    );
    // Two days in two months, and two days before them in one.
    let february = "2026-02-01T00:00:00.000000Z";
    assert_eq!(
        trend(march - day, 2, ", \"interval\": \"month\""),
        [
            json!([february, "page", false, 1.0, null]),
            json!([first, "page", false, 2.0, 0.0]),
            json!([february, "cart", false, 0.0, null]),
            json!([first, "cart", false, 1.0, 0.0]),
        ]
    );
}

#[test]
fn a_recursion_reads_everything_each_time() {
    let mut world = World::new(limits());
    for (id, data) in
        [("a", r#"{"next":"b"}"#), ("b", r#"{"next":"c"}"#), ("c", r#"{"next":"d"}"#), ("d", "{}"), ("x", "{}")]
    {
        world.ingest_at(START, id, "c", data);
    }
    let chain = "WITH RECURSIVE c(id, n) AS (SELECT 'a', 0 UNION ALL
        SELECT e.data->>'next', n + 1 FROM c JOIN events e ON e.event_id = c.id WHERE n < 10)";
    // The last has no next, which is a row too.
    let expected = [json!(["a", 0]), json!(["b", 1]), json!(["c", 2]), json!(["d", 3]), json!([null, 4])];
    assert_eq!(world.rows(&format!("{chain} SELECT id, n FROM c ORDER BY n")), expected);
    assert_eq!(world.rows(&format!("{chain} SELECT max(n) FROM c WHERE id IS NOT NULL")), [json!([3])]);
    world.store.flush_blocking().unwrap();
    assert_eq!(world.rows(&format!("{chain} SELECT id, n FROM c ORDER BY n")), expected);
}

#[test]
fn every_time_can_be_truncated() {
    let mut world = World::new(limits());
    let times = [-62_123_835_354_321_099, 1_787_231_655_678_901, 32_500_915_200_000_001, 253_402_300_799_999_999];
    for (place, micros) in times.into_iter().enumerate() {
        world.ingest_at(micros, &format!("event-{place}"), "c", "{}");
    }
    let whole = |starts: [&str; 4]| starts.map(|start| json!([format!("{start}Z")]));
    for (unit, starts) in [
        (
            "microsecond",
            [
                "0001-05-17T03:04:05.678901",
                "2026-08-20T13:14:15.678901",
                "2999-11-30T00:00:00.000001",
                "9999-12-31T23:59:59.999999",
            ],
        ),
        (
            "millisecond",
            [
                "0001-05-17T03:04:05.678000",
                "2026-08-20T13:14:15.678000",
                "2999-11-30T00:00:00.000000",
                "9999-12-31T23:59:59.999000",
            ],
        ),
        (
            "second",
            [
                "0001-05-17T03:04:05.000000",
                "2026-08-20T13:14:15.000000",
                "2999-11-30T00:00:00.000000",
                "9999-12-31T23:59:59.000000",
            ],
        ),
        (
            "minute",
            [
                "0001-05-17T03:04:00.000000",
                "2026-08-20T13:14:00.000000",
                "2999-11-30T00:00:00.000000",
                "9999-12-31T23:59:00.000000",
            ],
        ),
        (
            "hour",
            [
                "0001-05-17T03:00:00.000000",
                "2026-08-20T13:00:00.000000",
                "2999-11-30T00:00:00.000000",
                "9999-12-31T23:00:00.000000",
            ],
        ),
        (
            "DAY",
            [
                "0001-05-17T00:00:00.000000",
                "2026-08-20T00:00:00.000000",
                "2999-11-30T00:00:00.000000",
                "9999-12-31T00:00:00.000000",
            ],
        ),
        (
            "week",
            [
                "0001-05-14T00:00:00.000000",
                "2026-08-17T00:00:00.000000",
                "2999-11-25T00:00:00.000000",
                "9999-12-27T00:00:00.000000",
            ],
        ),
        (
            "month",
            [
                "0001-05-01T00:00:00.000000",
                "2026-08-01T00:00:00.000000",
                "2999-11-01T00:00:00.000000",
                "9999-12-01T00:00:00.000000",
            ],
        ),
        (
            "quarter",
            [
                "0001-04-01T00:00:00.000000",
                "2026-07-01T00:00:00.000000",
                "2999-10-01T00:00:00.000000",
                "9999-10-01T00:00:00.000000",
            ],
        ),
        (
            "year",
            [
                "0001-01-01T00:00:00.000000",
                "2026-01-01T00:00:00.000000",
                "2999-01-01T00:00:00.000000",
                "9999-01-01T00:00:00.000000",
            ],
        ),
    ] {
        let rows =
            world.rows(&format!("SELECT date_trunc('{unit}', \"timestamp\") FROM events ORDER BY \"timestamp\""));
        assert_eq!(rows, whole(starts), "{unit}");
        let local = "arrow_cast(\"timestamp\", 'Timestamp(Microsecond, None)')";
        let rows = world.rows(&format!("SELECT date_trunc('{unit}', {local}) FROM events ORDER BY \"timestamp\""));
        assert_eq!(rows, starts.map(|start| json!([start])), "{unit}");
    }
    // Everything else is the engine's: other types, and what is wrong.
    assert_eq!(
        world.rows("SELECT date_trunc('month', DATE '2026-08-20'), date_trunc('year', NULL::timestamp)"),
        [json!(["2026-08-01T00:00:00.000000", null])]
    );
    let Error::Invalid { message, .. } = world.error("SELECT date_trunc('era', \"timestamp\") FROM events") else {
        panic!("no error")
    };
    assert!(message.contains("era"), "{message}");
}

#[test]
fn a_fraction_is_no_whole_number() {
    let world = world();
    let ask = |parameter| Ask {
        parameters: vec![parameter],
        ..world.ask("SELECT name, count(*) FROM events GROUP BY name HAVING count(*) >= $1")
    };
    for parameter in [2.5, -0.1, f64::NAN, f64::INFINITY, 1e300] {
        let error = world.try_rows(ask(Parameter::Float(parameter))).unwrap_err();
        let Error::Invalid { message, .. } = &error else { panic!("{parameter}: {error:?}") };
        assert!(message.contains("$1"), "{parameter}: {message}");
    }
    assert_eq!(world.try_rows(ask(Parameter::Float(3.0))).unwrap(), [json!(["n", 3])]);
    assert!(world.try_rows(ask(Parameter::Int(4))).unwrap().is_empty());
}
