//! Suggestions over HTTP and on the command line: right away, after a flush, a compaction and a restart.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on must say where")]

mod common;

use std::time::{Duration, Instant};

use common::Server;
use serde_json::{Value, json};

fn ask(server: &Server, method: &str, path: &str, body: &str) -> (u16, Value) {
    let authorization = format!("Token {}", server.token());
    let headers = [("authorization", authorization.as_str()), ("content-type", "application/json")];
    let answer = common::http(method, &format!("{}{path}", server.url), &headers, body.as_bytes()).unwrap();
    (answer.status, answer.json())
}

fn send(server: &Server, events: &[Value]) {
    let (status, answer) = ask(server, "POST", "/v1/events", &Value::from(events).to_string());
    assert_eq!((status, &answer["stored"]), (200, &json!(events.len())), "{answer}");
}

fn events() -> Vec<Value> {
    let plans = ["free", "pro", "pro", "team"];
    (0..40)
        .map(|n| {
            json!({"event_id": n.to_string(), "session_id": format!("s{n}"), "category": "page", "name": if n < 30 { "view" } else { "Visit" },
                   "timestamp": format!("2022-01-09T09:15:{n:02}Z"), "user_id": format!("u{n}"),
                   "data": {"plan": plans[n % 4], "mail": format!("m{n}@example.com"), "big": {"price": 1.5}}})
        })
        .collect()
}

/// What a catalogue says, without what changes with every answer.
fn catalogue(server: &Server) -> Value {
    let (status, answer) = ask(server, "GET", "/v1/catalogue", "");
    assert_eq!((status, &answer["events_left"]), (200, &json!(0)), "{answer}");
    answer["applications"].clone()
}

#[test]
fn values_are_suggested_before_and_after_flush_compaction_and_restart() {
    let mut server = Server::start();
    let (status, empty) = ask(&server, "GET", "/v1/values?field=name", "");
    assert_eq!((status, &empty["values"], &empty["from_catalogue"]), (200, &json!([]), &json!(true)));
    let events = events();
    for (batch, command) in events.chunks(10).zip([["flush"], ["flush"], ["flush"], ["ledger"]]) {
        send(&server, batch);
        assert!(server.eye(&command).status.success());
    }
    let known = catalogue(&server);
    assert_eq!(known[0]["events"], 40);
    let text = known.to_string();
    assert!(!text.contains("@example.com") && !text.contains("u17"), "who somebody is is not kept: {text}");
    let field =
        |name: &str| known[0]["fields"].as_array().unwrap().iter().find(|field| field["field"] == name).cloned();
    let plan = field("data.plan").unwrap();
    assert_eq!(
        (&plan["events"], &plan["values"], &plan["examples"]),
        (&json!(40), &json!(3), &json!(["pro", "free", "team"]))
    );
    assert_eq!(plan["types"], json!([{"type": "string", "events": 40}]));
    assert_eq!(plan["first_seen"], "2022-01-09T09:15:00.000000Z");
    assert_eq!(field("data.big.price").unwrap()["examples"], json!(["1.5"]));
    assert_eq!(field("data.mail").unwrap()["values"], Value::Null);

    let (_, found) = ask(&server, "GET", "/v1/values?field=name&prefix=vi", "");
    let pairs = |found: &Value| {
        let values = found["values"].as_array().unwrap().iter();
        values
            .map(|value| (value["value"].as_str().unwrap().to_owned(), value["events"].as_u64().unwrap()))
            .collect::<Vec<_>>()
    };
    assert_eq!(pairs(&found), [("view".to_owned(), 30), ("Visit".to_owned(), 10)]);
    let body = json!({"field": "data.plan", "query": "name:Visit", "limit": 1}).to_string();
    let (status, chosen) = ask(&server, "POST", "/v1/query/values", &body);
    assert_eq!((status, &chosen["from_catalogue"], &chosen["more"]), (200, &json!(false), &json!(true)), "{chosen}");
    assert_eq!(pairs(&chosen), [("pro".to_owned(), 5)]);

    for step in ["flush", "compact", "restart", "kill"] {
        match step {
            "restart" => {
                server.stop();
                server.restart();
            }
            "kill" => {
                server.kill();
                server.restart();
            }
            command => assert!(server.eye(&[command]).status.success()),
        }
        assert_eq!(catalogue(&server), known, "after {step}");
    }
    let shown = server.eye(&["values", "name", "--prefix", "vi"]);
    let shown = String::from_utf8(shown.stdout).unwrap();
    assert!(shown.contains("view") && shown.contains("looked at 40 events"), "{shown}");
    let shown = String::from_utf8(server.eye(&["values"]).stdout).unwrap();
    assert!(shown.contains("data.plan") && shown.contains("pro, free, team"), "{shown}");
}

#[test]
fn a_table_of_many_rows_is_read_in_the_background() {
    let server = Server::start_with(&["--events-max", "50000"]);
    let lines: Vec<Value> = (0..40_000)
        .map(|n| json!({"session_id": format!("s{}", n % 100), "category": "c", "name": format!("n{}", n % 7), "data": {"k": n % 5}}))
        .collect();
    send(&server, &lines);
    assert!(server.eye(&["flush"]).status.success());
    let started = Instant::now();
    loop {
        let (_, answer) = ask(&server, "GET", "/v1/values?field=data.k", "");
        let (seen, left) = (answer["events"].as_u64().unwrap(), answer["events_left"].as_u64().unwrap());
        assert_eq!(seen + left, 40_000, "what is not there yet is counted: {answer}");
        if answer["from_catalogue"] == true {
            assert_eq!(left, 0, "{answer}");
            assert_eq!(answer["values"].as_array().unwrap().len(), 5);
            assert!(answer["values"].as_array().unwrap().iter().all(|value| value["events"] == 8_000), "{answer}");
            break;
        }
        assert!(started.elapsed() < Duration::from_secs(60), "the background never came to it: {answer}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn wrong_questions_are_refused_by_name() {
    let server = Server::start();
    for (path, field) in [
        ("/v1/values", "field"),
        ("/v1/values?field=nam", "field"),
        ("/v1/values?field=name&query=nam:x", "query"),
        ("/v1/values?field=name&limit=0", "limit"),
        ("/v1/catalogue?limit=9999", "limit"),
        ("/v1/catalogue?prefx=a", "prefx"),
    ] {
        let (status, answer) = ask(&server, "GET", path, "");
        assert_eq!((status, &answer["field"]), (400, &json!(field)), "{path}: {answer}");
    }
    let (status, answer) = ask(&server, "POST", "/v1/query/values", "{}");
    assert_eq!((status, &answer["field"]), (400, &json!("field")), "{answer}");
    let nobody = common::http("GET", &format!("{}/v1/catalogue", server.url), &[], b"").unwrap();
    assert_eq!(nobody.status, 401);
}

#[test]
fn totals_are_of_the_applications_that_the_token_sees() {
    let server = Server::start();
    send(&server, &events()[..10]);
    assert!(server.eye(&["app", "create", "shop"]).status.success());
    let made = server.eye(&["token", "create", "shop", "--kind", "write", "--application", "shop"]);
    let shop = String::from_utf8(made.stdout).unwrap();
    let ask_as = |token: &str, method: &str, path: &str, body: &str| {
        let authorization = format!("Token {}", token.trim());
        let headers = [("authorization", authorization.as_str()), ("content-type", "application/json")];
        let answer = common::http(method, &format!("{}{path}", server.url), &headers, body.as_bytes()).unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()
    };
    ask_as(&shop, "POST", "/v1/events", &Value::from(&events()[..25]).to_string());
    for path in ["/v1/catalogue", "/v1/values?field=name", "/v1/values?field=user_id"] {
        let answer = ask_as(&server.token(), "GET", path, "");
        assert_eq!((&answer["events"], &answer["events_left"]), (&json!(10), &json!(0)), "{path}: {answer}");
        let answer = ask_as(&server.admin_token(), "GET", path, "");
        assert_eq!((&answer["events"], &answer["events_left"]), (&json!(35), &json!(0)), "{path}: {answer}");
    }
    let shown = String::from_utf8(server.eye(&["values", "--token", &server.token()]).stdout).unwrap();
    assert!(shown.contains("looked at 10 events"), "{shown}");
}
