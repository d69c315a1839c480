//! SQL, from outside: the real binary over HTTP and on its command line. It agrees with the lists and the questions,
//! before and after a flush, a compaction and a restart; and nobody reads, writes or takes more than they may.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod common;

use std::io::{Read as _, Write as _};
use std::process::Stdio;

use common::{Answer, Server};
use serde_json::{Value, json};

fn post(server: &Server, token: &str, path: &str, body: &Value) -> Answer {
    let authorization = format!("Token {token}");
    let headers = [("authorization", authorization.as_str()), ("content-type", "application/json")];
    common::http("POST", &format!("{}{path}", server.url), &headers, body.to_string().as_bytes()).unwrap()
}

fn get(server: &Server, path: &str) -> Value {
    let authorization = format!("Token {}", server.token());
    let headers = [("authorization", authorization.as_str())];
    let answer = common::http("GET", &format!("{}{path}", server.url), &headers, b"").unwrap();
    assert_eq!(answer.status, 200, "{path}: {}", answer.text());
    answer.json()
}

/// The rows of a statement.
fn rows(server: &Server, sql: &str) -> Value {
    let answer = post(server, &server.token(), "/v1/sql", &json!({"sql": sql}));
    assert_eq!(answer.status, 200, "{sql}: {}", answer.text());
    answer.json()["rows"].take()
}

fn problem(server: &Server, sql: &str) -> (u16, Value) {
    let answer = post(server, &server.token(), "/v1/sql", &json!({"sql": sql}));
    (answer.status, answer.json())
}

/// What happened in a few sessions, always the same: made by a small generator (SplitMix64's constants).
fn events(from: u64, count: u64) -> Value {
    let mut state = from;
    let mut pick = move |of: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % of
    };
    let names = ["view", "cart", "buy", "leave"];
    let events = (from..from + count).map(|number| {
        let name = names[usize::try_from(pick(4)).unwrap()];
        json!({
            "event_id": format!("e{number}"),
            "session_id": format!("s{}", pick(30)),
            "category": format!("c{}", pick(3)),
            "name": name,
            "data": {"plan": (["pro", "free"])[usize::try_from(pick(2)).unwrap()], "amount": pick(100)},
            "timestamp": format!("2022-01-09T{:02}:{:02}:{:02}Z", pick(24), pick(60), pick(60)),
        })
    });
    Value::from(events.collect::<Vec<_>>())
}

/// What SQL says and the lists say, of the same things.
fn agree(server: &Server) {
    let total = rows(server, "SELECT count(*) FROM events")[0][0].as_u64().unwrap();
    let listed = get(server, "/v1/events?limit=10000")["events"].take();
    let listed = listed.as_array().unwrap();
    assert_eq!(listed.len() as u64, total);
    let ids: Vec<&str> = listed.iter().map(|event| event["event_id"].as_str().unwrap()).collect();
    let ordered =
        rows(server, "SELECT event_id FROM events ORDER BY \"timestamp\" DESC, \"partition\" DESC, \"offset\" DESC");
    let ordered: Vec<&str> = ordered.as_array().unwrap().iter().map(|row| row[0].as_str().unwrap()).collect();
    assert_eq!(ordered, ids);
    for (path, condition) in [
        ("category=c1", "category = 'c1'"),
        ("session_id=s7", "session_id = 's7'"),
        (
            "from=2022-01-09T06:00:00Z&to=2022-01-09T18:00:00Z",
            "\"timestamp\" >= '2022-01-09T06:00:00Z' AND \"timestamp\" < '2022-01-09T18:00:00Z'",
        ),
        ("query=data.plan%3Dpro+name%3Abuy", "data->>'plan' = 'pro' AND name = 'buy'"),
    ] {
        let listed = get(server, &format!("/v1/events?limit=10000&{path}"))["events"].as_array().unwrap().len();
        let counted = rows(server, &format!("SELECT count(*) FROM events WHERE {condition}"));
        assert_eq!(counted, json!([[listed]]), "{condition}");
    }
    let sessions = get(server, "/v1/sessions?limit=1000&sort=events")["sessions"].take();
    let expected: Vec<Value> = sessions
        .as_array()
        .unwrap()
        .iter()
        .map(|one| {
            json!([
                one["session_id"],
                one["start"],
                one["end"],
                one["duration_ms"],
                one["events"],
                one["names"],
                one["first_name"],
                one["last_name"],
                one["applications"],
                one["user_id"],
                one["problems"]
            ])
        })
        .collect();
    let mut found = rows(server, "SELECT * FROM sessions").as_array().unwrap().clone();
    let key = |row: &Value| row[0].as_str().unwrap().to_owned();
    let mut expected = expected;
    found.sort_by_key(key);
    expected.sort_by_key(key);
    assert_eq!(found, expected);
    questions_agree(server);
}

fn questions_agree(server: &Server) {
    let range = json!({"from": "2022-01-09", "to": "2022-01-10"});
    let body = |fields: Value| {
        let mut body = range.as_object().unwrap().clone();
        body.extend(fields.as_object().unwrap().clone());
        Value::Object(body)
    };
    let ask = |question: &str, fields: &Value| {
        let answer = post(server, &server.token(), &format!("/v1/query/{question}"), fields);
        assert_eq!(answer.status, 200, "{}", answer.text());
        (answer.json(), format!("{question}('{}')", fields.to_string().replace('\'', "''")))
    };
    let (answer, call) = ask(
        "trend",
        &body(json!({
            "measure": "sum(data.amount)", "interval": "hour", "breakdown": ["data.plan"], "query": "-name:leave", "compare": true,
        })),
    );
    let mut expected = Vec::new();
    for (series, before) in
        answer["series"].as_array().unwrap().iter().zip(answer["previous"]["series"].as_array().unwrap())
    {
        for (place, time) in answer["times"].as_array().unwrap().iter().enumerate() {
            let float = |value: &Value| value.as_f64();
            expected.push(json!([
                time,
                series["breakdown"][0],
                series["rest"],
                float(&series["values"][place]),
                float(&before["values"][place])
            ]));
        }
    }
    assert_eq!(rows(server, &format!("SELECT * FROM {call}")), Value::from(expected));
    let (answer, call) =
        ask("funnel", &body(json!({"steps": ["name:view", "name:cart", "name:buy"], "breakdown": "category"})));
    let expected: Vec<Value> = answer["total"]
        .as_array()
        .unwrap()
        .iter()
        .map(|step| json!([step["line"], step["count"], step["of_first"], step["median_ms"], step["dropped"]]))
        .collect();
    let found = rows(
        server,
        &format!("SELECT line, \"count\", of_first, median_ms, dropped FROM {call} WHERE total ORDER BY step"),
    );
    assert_eq!(found, Value::from(expected));
    let series: Vec<Value> = answer["series"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| json!([one["value"], one["steps"][0]["count"]]))
        .collect();
    assert_eq!(
        rows(server, &format!("SELECT value, \"count\" FROM {call} WHERE NOT total AND step = 1")),
        Value::from(series)
    );
    let (answer, call) = ask("retention", &body(json!({"interval": "day"})));
    let cohort = &answer["cohorts"][0];
    let found = rows(server, &format!("SELECT cohort, size, period, \"count\" FROM {call}"));
    assert_eq!(found[0], json!([cohort["start"], cohort["size"], 0, cohort["cells"][0]]));
    let (answer, call) = ask("paths", &body(json!({"depth": 2})));
    let found = rows(server, &format!("SELECT path, units, ended FROM {call} WHERE step = 1"));
    let expected: Vec<Value> = answer["children"]
        .as_array()
        .unwrap()
        .iter()
        .map(|node| json!([[node["label"]], node["units"], node["ended"]]))
        .collect();
    assert_eq!(found, Value::from(expected));
}

#[test]
fn sql_agrees_with_the_lists_wherever_rows_lie() {
    let mut server = Server::start();
    let token = server.token();
    let send = |server: &Server, from, count| {
        assert_eq!(post(server, &token, "/v1/events", &events(from, count)).status, 200);
    };
    send(&server, 0, 400);
    agree(&server);
    for path in ["/v1/flush", "/v1/compact"] {
        send(&server, if path == "/v1/flush" { 400 } else { 700 }, 300);
        assert_eq!(post(&server, &server.admin_token(), "/v1/flush", &json!({})).status, 200);
        assert_eq!(post(&server, &server.admin_token(), path, &json!({})).status, 200);
        agree(&server);
    }
    send(&server, 1_000, 100);
    agree(&server);
    server.restart();
    agree(&server);
}

#[test]
fn nobody_sees_over_the_wall_of_an_application() {
    let server = Server::start();
    let admin = server.admin_token();
    assert_eq!(post(&server, &server.token(), "/v1/events", &events(0, 300)).status, 200);
    let flagged = json!([{"session_id": "s1", "category": "c1", "name": "view", "timestamp": "soon"}]);
    assert_eq!(post(&server, &server.token(), "/v1/events", &flagged).status, 200);
    assert_eq!(post(&server, &server.token(), "/v1/events", &json!([{"session_id": ""}])).status, 200);
    assert_eq!(post(&server, &admin, "/v1/applications", &json!({"name": "other"})).status, 201);
    let token = |kind: &str| {
        let new = json!({"name": format!("other {kind}"), "kind": kind, "application": "other"});
        post(&server, &admin, "/v1/tokens", &new).json()["token"].as_str().unwrap().to_owned()
    };
    let other = token("read");
    for sql in [
        "SELECT count(*) FROM events",
        "SELECT count(*) FROM events WHERE application = 'default'",
        "SELECT count(*) FROM events WHERE application <> 'other' OR true",
        "SELECT count(*) FROM events WHERE session_id = 's1'",
        "SELECT count(*) FROM (SELECT * FROM sessions)",
        "SELECT count(*) FROM problems",
        "SELECT count(*) FROM rejections",
        "SELECT coalesce(sum(value), 0)::bigint FROM trend('{\"from\": \"2022-01-09\", \"to\": \"2022-01-10\", \"query\": \"app:default\"}')",
        "WITH a AS (SELECT * FROM events) SELECT count(*) FROM a, events",
    ] {
        let answer = post(&server, &other, "/v1/sql", &json!({"sql": sql}));
        assert_eq!((answer.status, &answer.json()["rows"]), (200, &json!([[0]])), "{sql}");
        let all = post(&server, &admin, "/v1/sql", &json!({"sql": sql}));
        assert_ne!(all.json()["rows"], json!([[0]]), "{sql} would always be empty");
    }
    assert_eq!(post(&server, &token("write"), "/v1/sql", &json!({"sql": "SELECT 1"})).status, 403);
    assert_eq!(post(&server, "eye_sk_wrong", "/v1/sql", &json!({"sql": "SELECT 1"})).status, 401);
}

#[test]
fn what_is_not_allowed_is_refused_and_changes_nothing() {
    let server = Server::start();
    assert_eq!(post(&server, &server.token(), "/v1/events", &events(0, 20)).status, 200);
    let secret = server.data().join("cli-token").display().to_string();
    for sql in [
        "DROP TABLE events",
        "DELETE FROM events",
        "INSERT INTO events SELECT * FROM events",
        "CREATE TABLE x AS SELECT * FROM events",
        "COPY events TO '/tmp/eye-stolen.csv'",
        "SET datafusion.catalog.information_schema = true",
        "SELECT 1; DROP TABLE events",
        "SELECT * FROM information_schema.df_settings",
        "WITH gone AS (DELETE FROM events RETURNING *) SELECT * FROM gone",
        &format!("CREATE EXTERNAL TABLE t STORED AS CSV LOCATION '{secret}'"),
        &format!("SELECT * FROM \"{secret}\""),
        &format!("SELECT * FROM '{secret}'"),
    ] {
        let (status, problem) = problem(&server, sql);
        assert_eq!(status, 400, "{sql}: {problem}");
        assert!(["refused_sql", "invalid_sql"].contains(&problem["code"].as_str().unwrap()), "{sql}: {problem}");
        assert_eq!(problem["field"], "sql");
    }
    assert!(!std::path::Path::new("/tmp/eye-stolen.csv").exists());
    assert_eq!(rows(&server, "SELECT count(*) FROM events"), json!([[20]]));
    let (status, problem) = problem(&server, "SELECT nme\nFRM events");
    assert_eq!((status, problem["code"].as_str()), (400, Some("invalid_sql")));
    assert!(problem["detail"].as_str().unwrap().contains("line 2"), "{problem}");
    let unknown = post(&server, &server.token(), "/v1/sql", &json!({"sql": "SELECT 1", "form": "csv"}));
    assert_eq!((unknown.status, unknown.json()["field"].as_str()), (400, Some("form")));
}

#[test]
fn answers_come_in_the_form_that_was_asked_for() {
    let server = Server::start();
    assert_eq!(post(&server, &server.token(), "/v1/events", &events(0, 3_000)).status, 200);
    let token = format!("Token {}", server.token());
    let ask = |accept: &str, body: Value| {
        let headers = [("authorization", token.as_str()), ("content-type", "application/json"), ("accept", accept)];
        common::http("POST", &format!("{}/v1/sql", server.url), &headers, body.to_string().as_bytes()).unwrap()
    };
    let sql = "SELECT event_id, data FROM events";
    for (accept, format, media) in [
        ("*/*", None, "application/json"),
        ("text/csv", None, "text/csv"),
        ("application/x-ndjson", None, "application/x-ndjson"),
        ("text/csv", Some("arrow"), "application/vnd.apache.arrow.stream"),
        ("application/vnd.apache.parquet", None, "application/vnd.apache.parquet"),
    ] {
        let answer = ask(accept, json!({"sql": sql, "format": format}));
        assert_eq!((answer.status, answer.header("content-type")), (200, Some(media)), "{}", answer.text());
        assert!(
            answer.header("eye-version").is_some() && answer.header("eye-offset") == Some("3000"),
            "{:?}",
            answer.headers
        );
        match media {
            "application/json" => assert_eq!(answer.json()["rows"].as_array().unwrap().len(), 3_000),
            "text/csv" => assert_eq!(answer.text().lines().count(), 3_001),
            "application/x-ndjson" => assert_eq!(answer.text().lines().count(), 3_000),
            "application/vnd.apache.parquet" => {
                assert!(answer.body.starts_with(b"PAR1") && answer.body.ends_with(b"PAR1"));
            }
            _ => assert!(answer.body.len() > 100_000),
        }
    }
    assert_eq!(ask("text/html", json!({"sql": sql})).status, 406);
}

#[test]
fn a_limit_stops_one_statement_and_a_client_that_leaves_makes_room() {
    let server =
        Server::start_with(&["--sql-time-max", "5s", "--sql-rows-max", "1000", "--sql-queries-per-token-max", "1"]);
    assert_eq!(post(&server, &server.token(), "/v1/events", &events(0, 1_001)).status, 200);
    let (status, problem) = problem(&server, "SELECT 1 FROM events");
    assert_eq!((status, problem["code"].as_str()), (422, Some("limit_reached")));
    assert!(problem["detail"].as_str().unwrap().contains("sql_rows_max"), "{problem}");
    let endless = json!({"sql": "SELECT sum(a.value % 7) FROM generate_series(1, 1000000000000) a"});
    let slow = post(&server, &server.token(), "/v1/sql", &endless);
    assert!(slow.text().contains("sql_time_max"), "{}", slow.text());
    // One that is running takes the token's only place, until its client goes away. The looks take it for a moment too:
    // a statement that came in one is sent again.
    let body = endless.to_string();
    let head = format!(
        "POST /v1/sql HTTP/1.1\r\nHost: x\r\nAuthorization: Token {}\r\nContent-Length: {}\r\n\r\n{body}",
        server.token(),
        body.len()
    );
    let begin = || {
        let mut stream = common::connect(&server.url).unwrap();
        stream.write_all(head.as_bytes()).unwrap();
        std::thread::sleep(std::time::Duration::from_millis(250));
        stream
    };
    let is_busy = || post(&server, &server.token(), "/v1/sql", &json!({"sql": "SELECT 1"})).status == 503;
    let mut stream = begin();
    let is_running = (0..20).any(|_| {
        let is_running = is_busy();
        if !is_running {
            stream = begin();
        }
        is_running
    });
    assert!(is_running);
    let _ = stream.shutdown(std::net::Shutdown::Both);
    let _ = stream.read(&mut [0]);
    drop(stream);
    let is_free = (0..400).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(10));
        !is_busy()
    });
    assert!(is_free);
    assert_eq!(rows(&server, "SELECT count(*) FROM events"), json!([[1001]]));
}

#[test]
fn the_command_line_shows_tables_json_and_csv() {
    let server = Server::start();
    assert_eq!(post(&server, &server.token(), "/v1/events", &events(0, 40)).status, 200);
    let run = |arguments: &[&str]| {
        let output = server.eye(arguments);
        let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        (output.status.code(), text)
    };
    let (code, text) = run(&["sql", "-c", "SELECT name, count(*) AS events FROM events GROUP BY name ORDER BY name"]);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.starts_with("name   events\nbuy"), "{text}");
    assert!(text.ends_with("\n\n4 rows\n"), "{text}");
    let (_, text) = run(&["sql", "-c", "SELECT count(*) FROM events", "--json"]);
    assert_eq!(serde_json::from_str::<Value>(&text).unwrap()["rows"], json!([[40]]));
    let (_, text) = run(&["sql", "-c", "SELECT 1 AS a, 'x,y' AS b", "--csv"]);
    assert_eq!(text, "a,b\n1,\"x,y\"\n");
    let (code, text) = run(&["sql", "-c", "DROP TABLE events"]);
    assert_eq!(code, Some(2), "{text}");
    assert!(text.contains("DROP TABLE is not allowed"), "{text}");
    let mut child = common::eye(server.data().parent().unwrap())
        .args(["sql", "--csv", "--data"])
        .arg(server.data())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"SELECT 2 AS two").unwrap();
    assert_eq!(String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap(), "two\n2\n");
    assert_eq!(run(&["sql"]).0, Some(2), "nothing to ask");
}
