//! What has become of an answer, on the real binary: over HTTP and on the command line, across a flush, a restart and an
//! erasure.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on must say where")]

mod common;

use std::time::{Duration, Instant};

use common::Server;
use serde_json::{Value, json};

fn http(server: &Server, token: &str, method: &str, path: &str, body: &Value) -> (u16, Value) {
    let authorization = format!("Token {token}");
    let headers = [("authorization", authorization.as_str()), ("content-type", "application/json")];
    let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
    let answer = common::http(method, &format!("{}{path}", server.url), &headers, &body).unwrap();
    (answer.status, answer.json())
}

fn ask(server: &Server, path: &str) -> Value {
    let (status, answer) = http(server, &server.admin_token(), "GET", path, &Value::Null);
    assert_eq!(status, 200, "{path}: {answer}");
    answer
}

/// Sends one event. Without a time it occurs when it is received, which is never late.
fn send(server: &Server, id: &str, session: &str, name: &str, minute: Option<u32>) {
    let mut event = json!({"event_id": id, "session_id": session, "category": "c", "name": name, "data": {"of": id}});
    if let Some(minute) = minute {
        event["timestamp"] = format!("2022-01-09T09:{minute:02}:00Z").into();
    }
    let (status, answer) = http(server, &server.token(), "POST", "/v1/events", &json!([event]));
    assert_eq!((status, &answer["stored"]), (200, &json!(1)), "{answer}");
}

fn named(answer: &Value) -> String {
    format!("{}:{}", answer["version"], answer["offset"].as_str().unwrap())
}

/// Id and lateness of each event.
fn listed(answer: &Value) -> Vec<(&str, bool)> {
    let one = |event: &'_ Value| event["late"].as_bool().unwrap();
    answer["events"].as_array().unwrap().iter().map(|event| (event["event_id"].as_str().unwrap(), one(event))).collect()
}

fn told(server: &Server, arguments: &[&str]) -> (String, String) {
    let output = server.eye(arguments);
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    let (out, error) = (text(output.stdout), text(output.stderr));
    assert_eq!(output.status.code(), Some(0), "{out}{error}");
    (out, error)
}

#[test]
fn what_came_late_and_what_was_erased_is_told_across_a_flush_and_a_restart() {
    let mut server = Server::start();
    send(&server, "e1", "gone", "secret", Some(1));
    send(&server, "e2", "stays", "view", Some(2));
    assert!(server.eye(&["flush"]).status.success());
    let first = named(&ask(&server, "/v1/events"));
    let nothing = ask(&server, &format!("/v1/diff?from={first}"));
    assert_eq!((&nothing["came"], &nothing["went"], &nothing["events"]), (&json!(0), &json!([]), &json!([])));

    send(&server, "e3", "stays", "view", Some(30));
    send(&server, "e4", "stays", "buy", None);
    send(&server, "e5", "gone", "secret", None);
    let before_flush = ask(&server, &format!("/v1/diff?from={first}&order=oldest"));
    assert_eq!(listed(&before_flush), [("e3", true), ("e4", false), ("e5", false)]);
    assert_eq!((&before_flush["came"], &before_flush["late"]), (&json!(3), &json!(1)));
    assert_eq!((&before_flush["erased"], &before_flush["expired"]), (&json!(0), &json!(0)));
    let list = ask(&server, "/v1/events");
    assert_eq!(named(&before_flush), named(&list), "it names what it has seen");
    let second = named(&list);

    assert!(server.eye(&["flush"]).status.success());
    server.stop();
    server.restart();
    let path = format!("/v1/diff?from={first}&to={second}&order=oldest");
    assert_eq!(ask(&server, &path), before_flush, "the same bytes from other files");
    let page = ask(&server, &format!("{path}&limit=2"));
    let rest = ask(&server, &format!("{path}&limit=2&cursor={}", page["next"].as_str().unwrap()));
    assert_eq!((listed(&page).len(), listed(&rest), &rest["next"]), (2, vec![("e5", false)], &Value::Null));
    let late = ask(&server, &format!("{path}&only=late"));
    assert_eq!((listed(&late), &late["came"]), (vec![("e3", true)], &json!(3)));
    let bought = ask(&server, &format!("{path}&query=name:buy"));
    assert_eq!((listed(&bought), &bought["came"], &bought["late"]), (vec![("e4", false)], &json!(1), &json!(0)));

    let (status, erasure) =
        http(&server, &server.admin_token(), "POST", "/v1/erasures", &json!({"session_id": "gone"}));
    assert_eq!(status, 200, "{erasure}");
    let begun = Instant::now();
    while ask(&server, &format!("/v1/erasures/{}", erasure["id"].as_str().unwrap()))["state"] != "done" {
        assert!(begun.elapsed() < Duration::from_secs(60));
        std::thread::sleep(Duration::from_millis(20));
    }
    let after = ask(&server, &format!("/v1/diff?from={first}&order=oldest"));
    assert_eq!(listed(&after), [("e3", true), ("e4", false)]);
    assert_eq!((&after["erased"], &after["expired"]), (&json!(2), &json!(0)));
    let went = after["went"].as_array().unwrap();
    assert_eq!(went.iter().map(|commit| commit["erased"].as_u64().unwrap()).sum::<u64>(), 2);
    assert!(went.iter().all(|commit| commit["version"].is_u64() && commit["at"].is_string()), "{after}");
    assert!(!after.to_string().contains("secret") && !after.to_string().contains("gone"), "{after}");
    // A token of one application sees its events, and not how much was erased of all.
    let (status, walled) = http(&server, &server.token(), "GET", &format!("/v1/diff?from={first}"), &Value::Null);
    assert_eq!((status, &walled["came"]), (200, &json!(2)), "{walled}");
    assert_eq!((&walled["erased"], &walled["expired"], &walled["went"]), (&Value::Null, &Value::Null, &Value::Null));
    // The second answer cannot be given again.
    let (status, gone) = http(&server, &server.admin_token(), "GET", &path, &Value::Null);
    assert_eq!((status, &gone["code"], &gone["field"]), (410, &json!("gone"), &json!("to")), "{gone}");

    let (shown, _) = told(&server, &["diff", &first, "now", "--order", "oldest"]);
    assert!(shown.contains("came 2, of which late 1; erased 2; expired 0\n     by version"), "{shown}");
    assert!(shown.contains("2 events erased"), "{shown}");
    let rows: Vec<&str> = shown.lines().filter(|line| line.contains("stays")).collect();
    assert!(rows.len() == 2 && rows[0].starts_with("late") && rows[0].contains("e3"), "{shown}");
    let (json, _) = told(&server, &["diff", &first, "now", "--order", "oldest", "--json"]);
    assert_eq!(serde_json::from_str::<Value>(&json).unwrap(), after);
    let (csv, beside) = told(&server, &["diff", &first, "now", "name:buy", "--csv"]);
    let lines: Vec<&str> = csv.lines().collect();
    assert!(lines[0].starts_with("late,event_id,") && lines[1].starts_with("false,e4,default,stays,"), "{csv}");
    assert!(lines.len() == 2 && beside.contains("came 1, of which late 0"), "{csv}{beside}");
    let (ndjson, _) = told(&server, &["diff", &first, "now", "--late", "--ndjson"]);
    assert_eq!(ndjson.lines().count(), 1);
    assert_eq!(serde_json::from_str::<Value>(&ndjson).unwrap()["event_id"], "e3");
    let (none, _) = told(&server, &["diff", &first, "now", "name:nothing", "--ndjson"]);
    assert_eq!(none, "");
}

#[test]
fn the_command_follows_pages_up_to_the_moment_of_the_first() {
    let server = Server::start();
    let first = named(&ask(&server, "/v1/events"));
    for number in 0..7 {
        send(&server, &format!("e{number}"), "s", "view", Some(number));
    }
    let (json, _) = told(&server, &["diff", &first, "now", "--limit", "5", "--json"]);
    let answer: Value = serde_json::from_str(&json).unwrap();
    assert_eq!((listed(&answer).len(), &answer["came"]), (5, &json!(7)));
    assert!(answer["next"].is_string() && answer["seen_until"].is_null(), "{answer}");
    let (shown, _) = told(&server, &["diff", &first, "now", "--limit", "5"]);
    assert!(shown.contains("which saw nothing") && shown.ends_with("raise --limit or narrow the filters\n"), "{shown}");
}

#[test]
fn what_is_no_pair_of_answers_is_refused_by_name() {
    let server = Server::start_with(&["--at-least-wait-max", "100ms"]);
    send(&server, "e1", "s", "view", None);
    let now = named(&ask(&server, "/v1/events"));
    for (query, status, field) in [
        ("", 400, "from"),
        ("from=x", 400, "from"),
        ("from=1", 400, "from"),
        ("from=99:0", 400, "from"),
        ("from=0:99", 503, "from"),
        (&format!("from={now}&to=0:0"), 400, "from"),
        (&format!("from={now}&to=99:1"), 400, "to"),
        (&format!("from={now}&to=0:99"), 503, "to"),
        (&format!("from={now}&to=now"), 400, "to"),
        (&format!("from={now}&only=early"), 400, "only"),
        (&format!("from={now}&only=late&cursor=x"), 400, "cursor"),
        (&format!("from={now}&limit=0"), 400, "limit"),
        (&format!("from={now}&sort=end"), 400, "sort"),
    ] {
        let (found, problem) = http(&server, &server.token(), "GET", &format!("/v1/diff?{query}"), &Value::Null);
        assert_eq!((found, &problem["field"]), (status, &json!(field)), "{query}: {problem}");
    }
    assert_eq!(server.eye(&["diff", "nonsense", "now"]).status.code(), Some(2));
}
