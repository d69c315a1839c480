//! `at`: an answer that names its version and offset is given again, byte for byte.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on must say where")]

mod common;

use common::Server;
use serde_json::{Value, json};

fn http(server: &Server, method: &str, path: &str, body: &str) -> (u16, String) {
    let authorization = format!("Token {}", server.token());
    let headers = [("authorization", authorization.as_str()), ("content-type", "application/json")];
    let answer = common::http(method, &format!("{}{path}", server.url), &headers, body.as_bytes()).unwrap();
    (answer.status, answer.text())
}

fn send(server: &Server, from: usize, to: usize) {
    let names = ["a", "b"];
    let event = |n: usize| {
        json!({"event_id": n.to_string(), "session_id": format!("s{}", n % 3), "category": "c", "name": names[n % 2],
               // Later events are older than earlier ones, and between them.
               "timestamp": format!("2022-01-09T09:{:02}:{:02}Z", 59 - n % 60, n % 7), "data": {"n": n}})
    };
    let events: Vec<Value> = (from..to).map(event).collect();
    let (status, answer) = http(server, "POST", "/v1/events", &Value::from(events).to_string());
    assert_eq!(status, 200, "{answer}");
}

/// Asked now, or as of `at`.
fn answers(server: &Server, at: Option<&str>) -> Vec<String> {
    let lists = [
        "/v1/events?limit=50",
        "/v1/events?order=oldest&query=name:a&limit=5",
        "/v1/sessions/s1?limit=4",
        "/v1/sessions?sort=events",
        "/v1/problems?samples=3",
    ];
    let range = json!({"from": "2022-01-09", "to": "2022-01-10"});
    let questions = [
        ("trend", json!({"interval": "hour", "breakdown": ["name"], "measure": "p50(data.n)"})),
        ("trend", json!({})),
        ("trend", json!({"measure": "sessions"})),
        ("funnel", json!({"steps": ["name:a", "name:b"]})),
        ("retention", json!({})),
        ("paths", json!({"depth": 3})),
    ];
    let mut found = Vec::new();
    for path in lists {
        let path = at.map_or_else(
            || path.to_owned(),
            |at| format!("{path}{}at={at}", if path.contains('?') { '&' } else { '?' }),
        );
        found.push(http(server, "GET", &path, ""));
    }
    for (name, mut body) in questions {
        body.as_object_mut().unwrap().extend(range.as_object().unwrap().clone());
        if let Some(at) = at {
            body["at"] = at.into();
        }
        found.push(http(server, "POST", &format!("/v1/query/{name}"), &body.to_string()));
    }
    for (status, body) in &found {
        assert_eq!(*status, 200, "{body}");
    }
    found.into_iter().map(|(_, body)| body).collect()
}

fn named(answer: &str) -> String {
    let answer: Value = serde_json::from_str(answer).unwrap();
    format!("{}:{}", answer["version"], answer["offset"].as_str().unwrap())
}

#[test]
fn an_answer_is_given_again_after_flush_compaction_restart_and_kill() {
    let mut server = Server::start();
    send(&server, 0, 20);
    assert!(server.eye(&["flush"]).status.success());
    send(&server, 20, 45);
    // Some of it is in the table, some is not.
    let first = answers(&server, None);
    let at = named(&first[0]);
    assert_eq!(answers(&server, Some(&at)), first);
    send(&server, 45, 90);
    assert_ne!(answers(&server, None), first);
    for step in ["nothing", "flush", "compact", "restart", "kill"] {
        match step {
            "nothing" => {}
            "restart" => {
                server.stop();
                server.restart();
            }
            "kill" => {
                send(&server, 90, 95);
                server.kill();
                server.restart();
            }
            command => assert!(server.eye(&[command]).status.success()),
        }
        assert_eq!(answers(&server, Some(&at)), first, "after {step}");
    }
    // Pages go on as of the same moment.
    let page: Value =
        serde_json::from_str(&http(&server, "GET", &format!("/v1/events?limit=30&at={at}"), "").1).unwrap();
    let cursor = page["next"].as_str().unwrap();
    let rest = http(&server, "GET", &format!("/v1/events?limit=30&at={at}&cursor={cursor}"), "").1;
    let rest: Value = serde_json::from_str(&rest).unwrap();
    assert_eq!((rest["events"].as_array().unwrap().len(), &rest["next"]), (15, &Value::Null));
}

#[test]
fn an_answer_whose_events_were_removed_is_gone() {
    let mut server = Server::start();
    send(&server, 0, 20);
    assert!(server.eye(&["flush"]).status.success());
    let before = named(&http(&server, "GET", "/v1/events", "").1);
    server.stop();
    // Another program deletes a file of the table.
    let log = server.data().join("table/events/_delta_log");
    let log = if log.exists() { log } else { find_log(&server.data().join("table")) };
    let commits = || {
        let names = std::fs::read_dir(&log).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<_> = names.filter(|name| name.len() == 25 && name.ends_with(".json")).collect();
        names.sort();
        names
    };
    let newest = commits().pop().unwrap();
    let text = std::fs::read_to_string(log.join(&newest)).unwrap();
    let add = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .find(|action| action.get("add").is_some());
    let add = add.unwrap()["add"].clone();
    let version: u64 = newest.trim_end_matches(".json").parse().unwrap();
    let remove = json!({"remove": {"path": add["path"], "deletionTimestamp": 1_700_000_000_000_u64, "dataChange": true,
                        "extendedFileMetadata": true, "partitionValues": add["partitionValues"], "size": add["size"]}});
    let info = json!({"commitInfo": {"timestamp": 1_700_000_000_000_u64, "operation": "DELETE"}});
    std::fs::write(log.join(format!("{:020}.json", version + 1)), format!("{info}\n{remove}\n")).unwrap();
    server.restart();
    send(&server, 20, 30);
    let (status, gone) = http(&server, "GET", &format!("/v1/events?at={before}"), "");
    let gone: Value = serde_json::from_str(&gone).unwrap();
    assert_eq!((status, &gone["code"], &gone["field"]), (410, &json!("gone"), &json!("at")), "{gone}");
    // How many they were cannot be told.
    let (status, gone) = http(&server, "GET", &format!("/v1/diff?from={before}"), "");
    let gone: Value = serde_json::from_str(&gone).unwrap();
    assert_eq!((status, &gone["code"], &gone["field"]), (410, &json!("gone"), &json!("from")), "{gone}");
    // What is answered from then on can be asked for again.
    let after = http(&server, "GET", "/v1/events", "").1;
    send(&server, 30, 40);
    assert!(server.eye(&["flush"]).status.success());
    assert_eq!(http(&server, "GET", &format!("/v1/events?at={}", named(&after)), "").1, after);
}

/// The log of the events' table, wherever it lies.
fn find_log(folder: &std::path::Path) -> std::path::PathBuf {
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap().map(Result::unwrap).filter(|entry| entry.path().is_dir()) {
            if entry.file_name() == "_delta_log" && !folder.ends_with("rejections") {
                return entry.path();
            }
            folders.push(entry.path());
        }
    }
    panic!("no log in {}", folder.display());
}

#[test]
fn what_names_no_answer_is_refused() {
    let server = Server::start_with(&["--at-least-wait-max", "100ms"]);
    send(&server, 0, 3);
    for (at, status) in [("x", 400), ("1", 400), (":", 400), ("0:x", 400), ("0:0:1", 400), ("99:1", 400), ("0:4", 503)]
    {
        let (found, body) = http(&server, "GET", &format!("/v1/events?at={at}"), "");
        let body: Value = serde_json::from_str(&body).unwrap();
        assert_eq!((found, &body["field"]), (status, &json!("at")), "{at}: {body}");
    }
    let (status, empty) = http(&server, "GET", "/v1/events?at=0:0", "");
    assert_eq!((status, &serde_json::from_str::<Value>(&empty).unwrap()["events"]), (200, &json!([])));
}
