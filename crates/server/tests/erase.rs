//! Erasures over HTTP and on the command line, on the real binary: by every criterion, through `kill -9`, to the last byte.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use common::{Answer, Server, http};
use serde_json::{Value, json};

/// Random enough that no compression hides it and nothing else says it.
const CANARY: &str = "q7Zk2Vx9Lw4NfT8s";

fn admin(server: &Server, method: &str, path: &str, body: &Value) -> Answer {
    let token = format!("Token {}", server.admin_token());
    let headers = [("Authorization", token.as_str()), ("Content-Type", "application/json")];
    let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
    http(method, &format!("{}{path}", server.url), &headers, &body).unwrap()
}

fn send(server: &Server, events: &Value) -> Value {
    let token = format!("Token {}", server.token());
    let headers = [("Authorization", token.as_str()), ("Content-Type", "application/json")];
    http("POST", &format!("{}/v1/events", server.url), &headers, events.to_string().as_bytes()).unwrap().json()
}

fn event(id: usize, session: &str, user: &str, minute: usize) -> Value {
    json!({
        "event_id": format!("e{id}-{user}"), "session_id": session, "category": "page", "name": "view",
        "timestamp": format!("2024-05-01T10:{minute:02}:00Z"), "user_id": user, "anonymous_id": format!("anon-{user}"),
        "data": {"n": id, "of": user},
    })
}

fn ids(server: &Server) -> Vec<String> {
    let list = admin(server, "GET", "/v1/events?limit=1000", &Value::Null).json();
    let mut ids: Vec<String> =
        list["events"].as_array().unwrap().iter().map(|event| event["event_id"].as_str().unwrap().to_owned()).collect();
    ids.sort();
    ids
}

fn wait_done(server: &Server, id: &str) -> Value {
    let begun = Instant::now();
    loop {
        let erasure = admin(server, "GET", &format!("/v1/erasures/{id}"), &Value::Null).json();
        if erasure["state"] == "done" {
            return erasure;
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "{erasure}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Files below a folder that hold the canary as bytes.
fn holding(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        if entry.file_type().unwrap().is_dir() {
            found.extend(holding(&entry.path()));
        } else if fs::read(entry.path()).unwrap().windows(CANARY.len()).any(|bytes| bytes == CANARY.as_bytes()) {
            found.push(entry.path());
        }
    }
    found
}

#[test]
fn an_erased_user_is_gone_at_once_and_to_the_last_byte_through_kills() {
    let mut server = Server::start();
    let others: Vec<String> = (0..40).filter(|id| id % 4 != 0).map(|id| format!("e{id}-bob")).collect();
    for part in 0..4 {
        let events: Vec<Value> = (part * 10..part * 10 + 10)
            .map(|id| event(id, &format!("s{}", id % 3), if id % 4 == 0 { CANARY } else { "bob" }, id))
            .collect();
        assert_eq!(send(&server, &json!(events))["stored"], 10);
        assert_eq!(send(&server, &json!([{"session_id": "s", "category": CANARY}]))["rejected"], 1);
        if part < 3 {
            admin(&server, "POST", "/v1/flush", &Value::Null);
        }
    }
    assert!(holding(&server.data()).len() > 3, "log and table");
    let wanted = json!({"user_id": CANARY});
    let preview = admin(&server, "POST", "/v1/erasures", &json!({"user_id": CANARY, "dry_run": true})).json();
    assert_eq!(
        (&preview["state"], &preview["events"], &preview["rejections"]),
        (&json!("dry_run"), &json!(10), &json!(4))
    );
    assert_eq!(ids(&server).len(), 40, "a dry run changes nothing");

    let answer = admin(&server, "POST", "/v1/erasures", &wanted);
    assert_eq!(answer.status, 200, "{}", answer.text());
    let accepted = answer.json();
    let mut sorted = others;
    sorted.sort();
    assert_eq!(ids(&server), sorted, "hidden at once");
    assert!(!answer.text().contains(CANARY), "no value stands in it: {accepted}");
    server.kill();
    server.restart();
    assert_eq!(ids(&server), sorted, "and after a crash");
    let done = wait_done(&server, accepted["id"].as_str().unwrap());
    assert_eq!((&done["events"], &done["rejections"], &done["criteria"]), (&json!(10), &json!(4), &json!(["user_id"])));
    assert_eq!(holding(&server.data()), Vec::<PathBuf>::new());
    assert_eq!(ids(&server), sorted);
    let rejections = admin(&server, "GET", "/v1/rejections", &Value::Null).json();
    assert_eq!(rejections["rejections"].as_array().unwrap().len(), 0, "{rejections}");
    let audit = admin(&server, "GET", "/v1/audit", &Value::Null).json();
    assert_eq!(
        (&audit["records"][0]["type"], &audit["records"][0]["details"]["criteria"]),
        (&json!("erasure_requested"), &json!(["user_id"]))
    );
    let metrics = http("GET", &format!("{}/metrics", server.url), &[], b"").unwrap().text();
    assert!(metrics.contains("\neye_rows_erased 14\n") && metrics.contains("\neye_erasures_running 0\n"), "{metrics}");
    server.kill();
    common::verify(&server.data());
    server.restart();
    assert_eq!(ids(&server), sorted);
    let listed = admin(&server, "GET", "/v1/erasures", &Value::Null).json();
    assert_eq!((&listed["erasures"][0]["id"], &listed["erasures"][0]["state"]), (&accepted["id"], &json!("done")));
    assert_eq!(send(&server, &json!([event(90, "s1", CANARY, 5)]))["stored"], 1, "what comes later is new");
    server.stop();
    common::verify(&server.data());
}

#[test]
fn every_criterion_chooses_what_it_says() {
    let server = Server::start();
    let events: Vec<Value> =
        (0..12).map(|id| event(id, &format!("s{}", id % 3), if id % 2 == 0 { "ann" } else { "bob" }, id)).collect();
    assert_eq!(send(&server, &json!(events))["stored"], 12);
    let chosen = |body: Value| {
        let mut body = body;
        body["dry_run"] = json!(true);
        admin(&server, "POST", "/v1/erasures", &body).json()["events"].as_u64()
    };
    for (body, count) in [
        (json!({"user_id": "ann"}), 6),
        (json!({"anonymous_id": "anon-bob"}), 6),
        (json!({"session_id": "s1"}), 4),
        (json!({"session_id": "s1", "user_id": "ann"}), 2),
        (json!({"session_id": "s1", "anonymous_id": "anon-ann"}), 2),
        (json!({"application": "default"}), 12),
        (json!({"application": "other"}), 0),
        (json!({"since": "2024-05-01T10:03:00Z", "until": "2024-05-01T10:05:00Z"}), 2),
        (json!({"query": "user:ann data.n>=6"}), 3),
        (json!({"query": "user:ann OR user:bob", "session_id": "s0", "anonymous_id": "anon-ann"}), 2),
        (json!({"query": "since:2024-05-01T10:10:00Z"}), 2),
    ] {
        assert_eq!(chosen(body.clone()), Some(count), "{body}");
    }
    for (body, field) in [
        (json!({}), None),
        (json!({"dry_run": true}), None),
        (json!({"user_id": ""}), Some("user_id")),
        (json!({"user_id": 7}), Some("user_id")),
        (json!({"usr_id": "ann"}), Some("usr_id")),
        (json!({"query": "user:"}), Some("query")),
        (json!({"since": "yesterday"}), Some("since")),
        (json!({"since": "2024-05-02T00:00:00Z", "until": "2024-05-01T00:00:00Z"}), Some("since")),
    ] {
        let answer = admin(&server, "POST", "/v1/erasures", &body);
        assert_eq!((answer.status, answer.json()["field"].as_str()), (400, field), "{body}: {}", answer.text());
    }
    assert_eq!(ids(&server).len(), 12);
    assert_eq!(admin(&server, "GET", "/v1/erasures", &Value::Null).json(), json!({"erasures": []}));
    for method in ["GET", "DELETE"] {
        assert_eq!(admin(&server, method, "/v1/erasures/era_1", &Value::Null).status, 404);
    }
}

#[test]
fn what_is_too_old_is_looked_for_and_every_job_is_listed() {
    let server = Server::start_with(&["--retention", "default/debug=2d, */*=400d", "--retention-period", "50ms"]);
    assert_eq!(send(&server, &json!([event(1, "s", "ann", 1)]))["stored"], 1);
    admin(&server, "POST", "/v1/flush", &Value::Null);
    let job = |name: &str| {
        let jobs = admin(&server, "GET", "/v1/jobs", &Value::Null).json();
        jobs["jobs"].as_array().unwrap().iter().find(|job| job["name"] == name).unwrap().clone()
    };
    let begun = Instant::now();
    while job("retention")["runs"].as_u64() < Some(2) {
        assert!(begun.elapsed() < Duration::from_secs(60), "{}", job("retention"));
        std::thread::sleep(Duration::from_millis(20));
    }
    let retention = job("retention");
    assert_eq!((&retention["period_seconds"], &retention["last_error"]), (&json!(0.05), &Value::Null));
    assert!(retention["last_success"].is_string());
    assert_eq!(job("flush")["runs"], 1);
    assert_eq!(job("erasure")["progress"], "none is under way");
    assert_eq!(ids(&server).len(), 1, "the event's own time is old, but it was received just now");
    let said = String::from_utf8(server.eye(&["jobs"]).stdout).unwrap();
    for name in ["flush", "compaction", "vacuum", "retention", "erasure"] {
        assert!(said.contains(name), "{said}");
    }
}

#[test]
fn the_command_line_asks_says_and_waits() {
    let server = Server::start();
    let events: Vec<Value> = (0..6).map(|id| event(id, "s", if id < 2 { CANARY } else { "bob" }, id)).collect();
    assert_eq!(send(&server, &json!(events))["stored"], 6);
    let run = |arguments: &[&str], code: i32| {
        let output = server.eye(arguments);
        let said = [&output.stdout[..], &output.stderr].concat();
        let said = String::from_utf8(said).unwrap();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
        said
    };
    assert!(run(&["erase"], 2).contains("--user-id"));
    assert!(run(&["erase", "list"], 0).contains("no erasures"));
    assert!(run(&["erase", "--user-id", CANARY, "--dry-run"], 0).contains("2 events and 0 rejections would go"));
    assert!(run(&["erase", "--user-id", CANARY], 2).contains("--yes"), "a pipe cannot be asked");
    assert_eq!(ids(&server).len(), 6);
    let said = run(&["erase", "--user-id", CANARY, "--yes"], 0);
    assert!(said.contains("done: 2 events") && said.contains("nothing here"), "{said}");
    assert_eq!(holding(&server.data()), Vec::<PathBuf>::new());
    let listed: Value = serde_json::from_str(&run(&["erase", "list", "--json"], 0)).unwrap();
    let id = listed["erasures"][0]["id"].as_str().unwrap();
    assert!(run(&["erase", "show", id], 0).contains("done"));
    assert!(run(&["erase", "cancel", id], 0).contains("done"), "it is too late");
    run(&["erase", "show", "era_nothing"], 1);
}
