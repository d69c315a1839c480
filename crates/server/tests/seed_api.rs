//! The seed API over HTTP against every recorded answer of Django REST framework, and what the recordings leave open.

#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use std::collections::BTreeMap;

use common::{Answer, Server, http};
use serde::Deserialize;
use serde_json::{Value, json};

const TOKEN: &str = "eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee";
const INACTIVE: &str = "dddddddddddddddddddddddddddddddddddddddd";

#[derive(Deserialize)]
struct Recorded {
    case: String,
    method: String,
    path: String,
    headers: BTreeMap<String, String>,
    body: String,
    status: u16,
    resp_headers: BTreeMap<String, String>,
    resp_body: String,
}

#[derive(Deserialize)]
struct Deviation {
    status: u16,
    body: Option<String>,
}

fn fixture(name: &str) -> String {
    let path = format!("{}/../protocol/tests/fixtures/{name}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(path).unwrap()
}

fn manage(server: &Server, method: &str, path: &str, body: &Value) -> Value {
    let authorization = format!("Token {}", server.admin_token());
    let headers = [("Authorization", authorization.as_str()), ("Content-Type", "application/json")];
    let answer = http(method, &format!("{}{path}", server.url), &headers, body.to_string().as_bytes()).unwrap();
    assert!(answer.status < 300, "{} {}", answer.status, answer.text());
    answer.json()
}

/// A server that knows the recorded tokens: one of an application, one of a user who may no longer log in.
fn seeded(arguments: &[&str]) -> Server {
    let server = Server::start_with(arguments);
    let new = json!({"name": "seed", "kind": "secret", "application": "default", "import": TOKEN});
    manage(&server, "POST", "/v1/tokens", &new);
    server
}

fn unhex(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

fn body_of(case: &Recorded, bodies: &BTreeMap<String, String>) -> Vec<u8> {
    if case.case == "3 MB JSON body" {
        let long = "y".repeat(3_000_000);
        let body = json!({"session_id": "probe", "category": "c", "name": "n", "data": {"x": long}, "timestamp": "x"});
        return body.to_string().into_bytes();
    }
    bodies.get(&case.case).map_or_else(|| case.body.clone().into_bytes(), |hex| unhex(hex))
}

fn send(server: &Server, method: &str, path: &str, headers: &BTreeMap<String, String>, body: &[u8]) -> Answer {
    let headers: Vec<_> = headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    http(method, &format!("{}{path}", server.url), &headers, body).unwrap()
}

fn post(server: &Server, path: &str, body: &Value) -> Answer {
    let headers = [("Authorization", format!("Token {TOKEN}")), ("Content-Type", "application/json".to_owned())];
    let headers = headers.map(|(name, value)| (name.to_owned(), value)).into();
    send(server, "POST", path, &headers, body.to_string().as_bytes())
}

fn get(server: &Server, path: &str) -> Answer {
    let headers = BTreeMap::from([("Authorization".to_owned(), format!("Token {TOKEN}"))]);
    send(server, "GET", path, &headers, b"")
}

#[test]
fn every_recorded_case_is_answered_as_recorded_or_as_decided() {
    let server = seeded(&["--body-bytes-max", "2500KB"]);
    let user =
        manage(&server, "POST", "/v1/users", &json!({"name": "gone", "role": "analyst", "application": "default"}));
    let id = user["user"]["id"].as_str().unwrap();
    manage(&server, "PATCH", &format!("/v1/users/{id}"), &json!({"active": false}));
    let bodies: BTreeMap<String, String> = serde_json::from_str(&fixture("drf_bodies.json")).unwrap();
    let deviations: BTreeMap<String, Deviation> = serde_json::from_str(&fixture("drf_deviations.json")).unwrap();
    let mut compared = 0;
    for line in fixture("drf_probe.jsonl").lines() {
        let mut case: Recorded = serde_json::from_str(line).unwrap();
        if case.headers.get("Authorization").is_some_and(|header| header.ends_with(INACTIVE)) {
            // A user's token is made here, never brought along: the inactive user's own stands in for the recorded one.
            let own = format!("Token {}", user["token"]["token"].as_str().unwrap());
            case.headers.insert("Authorization".to_owned(), own);
        }
        let answer = send(&server, &case.method, &case.path, &case.headers, &body_of(&case, &bodies));
        let deviation = deviations.get(&case.case);
        let status = deviation.map_or(case.status, |deviation| deviation.status);
        assert_eq!(answer.status, status, "{}: {}", case.case, answer.text());
        let expected = match deviation {
            Some(deviation) => deviation.body.clone(),
            // These list what the cases before stored: more of them are stored here.
            None if ["event", "invalid-time"].contains(&case.case.as_str()) => None,
            None => Some(case.resp_body.clone()),
        };
        if let Some(expected) = expected.filter(|_| case.method != "HEAD") {
            assert_eq!(answer.text(), expected, "{}", case.case);
        }
        assert_eq!(answer.header("content-type"), Some("application/json"), "{}", case.case);
        if deviation.is_none() {
            for name in ["WWW-Authenticate", "Allow"] {
                let recorded = case.resp_headers.get(name).map(String::as_str);
                assert_eq!(answer.header(name), recorded, "{}: {name}", case.case);
            }
        }
        compared += 1;
    }
    assert_eq!(compared, 101);
}

fn seed_event(session: &str, name: &str, timestamp: &str) -> Value {
    json!({"session_id": session, "category": "page", "name": name, "data": {"n": 1.50, "a": [1, 2]}, "timestamp": timestamp})
}

#[test]
fn a_session_reads_back_newest_first_however_it_arrived() {
    let server = seeded(&[]);
    for minute in [3, 1, 4, 2] {
        let event = seed_event("s", &format!("n{minute}"), &format!("2022-01-09 09:0{minute}:00.000000"));
        let answer = post(&server, "/eye/collector", &event);
        assert_eq!((answer.status, answer.json()), (201, event));
    }
    let by_post = post(&server, "/eye/event", &json!({"session_id": "s"}));
    let by_get = get(&server, "/eye/event?session_id=s");
    assert_eq!((by_post.status, by_get.status), (200, 200));
    assert_eq!(by_post.text(), by_get.text());
    let names: Vec<_> = by_get.json().as_array().unwrap().iter().map(|event| event["name"].clone()).collect();
    assert_eq!(names, ["n4", "n3", "n2", "n1"]);
    let missing = get(&server, "/eye/event?session_id=other");
    assert_eq!((missing.status, missing.text().as_str()), (404, r#"{"detail":"Not found."}"#));
    let unnamed = get(&server, "/eye/event");
    assert_eq!((unnamed.status, unnamed.text().as_str()), (400, r#"{"session_id":["This field is required."]}"#));
}

#[test]
fn lists_by_category_range_and_wrong_time() {
    let server = seeded(&[]);
    for (name, timestamp) in
        [("old", "2021-12-31 23:59:59.999999"), ("new", "2022-01-01 00:00:00.000000"), ("odd", "yesterday")]
    {
        assert_eq!(post(&server, "/eye/collector", &seed_event("s", name, timestamp)).status, 201);
    }
    let names = |answer: Answer| -> Vec<String> {
        assert_eq!(answer.status, 200, "{}", answer.text());
        let mut names: Vec<_> =
            answer.json().as_array().unwrap().iter().map(|event| event["name"].as_str().unwrap().to_owned()).collect();
        names.sort();
        names
    };
    assert_eq!(names(get(&server, "/eye/category-events?category=page")), ["new", "odd", "old"]);
    assert_eq!(names(get(&server, "/eye/category-events?category=none")), [""; 0]);
    assert_eq!(names(get(&server, "/eye/range-events?start=2021&end=2022")), ["new", "old"]);
    let range = json!({"start": "2022-01-01 00:00:00.000000", "end": "2022-01-01 00:00:00.000000"});
    assert_eq!(names(post(&server, "/eye/range-events", &range)), ["new"]);
    let invalid = get(&server, "/eye/invalid-time");
    assert_eq!(invalid.json()[0]["timestamp"], "yesterday");
    assert_eq!(names(invalid), ["odd"]);
}

#[test]
fn a_long_session_is_given_whole() {
    let server = seeded(&[]);
    let lines: Vec<_> = (0..12_000)
        .map(|n| json!({"event_id": format!("e{n}"), "session_id": "long", "category": "c", "name": format!("n{n}"), "timestamp": n, "data": {}}).to_string())
        .collect();
    for part in lines.chunks(6_000) {
        let headers = [("Authorization".to_owned(), format!("Token {TOKEN}"))].into();
        let answer = send(&server, "POST", "/v1/events", &headers, part.join("\n").as_bytes());
        assert_eq!(answer.json()["stored"], 6_000, "{}", answer.status);
    }
    let session = get(&server, "/eye/event?session_id=long").json();
    let names: Vec<_> = session.as_array().unwrap().iter().map(|event| event["name"].as_str().unwrap()).collect();
    let expected: Vec<_> = (0..12_000).rev().map(|n| format!("n{n}")).collect();
    assert_eq!(names, expected);
}

#[test]
fn a_repeated_event_id_is_answered_like_the_first_and_stored_once() {
    let server = seeded(&[]);
    let mut event = seed_event("s", "n", "2022-01-09 09:15:27.243860");
    event["event_id"] = json!("key");
    let (first, second) = (post(&server, "/eye/collector", &event), post(&server, "/eye/collector", &event));
    assert_eq!((first.status, second.status), (201, 201));
    assert_eq!(first.text(), second.text());
    assert_eq!(get(&server, "/eye/event?session_id=s").json().as_array().unwrap().len(), 1);
}

#[test]
fn refused_posts_are_kept_and_the_ledger_adds_up() {
    let server = seeded(&[]);
    let event = seed_event("s", "n", "2022-01-09 09:15:27.243860");
    assert_eq!(post(&server, "/eye/collector", &event).status, 201);
    assert_eq!(post(&server, "/eye/collector", &json!({"session_id": "s"})).status, 400);
    assert_eq!(post(&server, "/eye/collector", &json!([])).status, 400);
    let rejections = get(&server, "/v1/rejections").json()["rejections"].clone();
    let codes: Vec<_> = rejections.as_array().unwrap().iter().map(|rejection| rejection["code"].clone()).collect();
    assert_eq!(codes, ["not_an_object", "missing_field"]);
    assert_eq!(rejections[1]["sample"], r#"{"session_id":"s"}"#);
    let ledger = get(&server, "/v1/ledger").json();
    let seed = ledger["tokens"].as_array().unwrap().iter().find(|token| token["name"] == "seed").unwrap().clone();
    assert_eq!(
        (&seed["received"], &seed["stored"], &seed["duplicate"], &seed["rejected"]),
        (&json!(3), &json!(1), &json!(0), &json!(2))
    );
}

#[test]
fn a_token_sees_its_own_application_and_does_what_its_scopes_say() {
    let server = seeded(&[]);
    manage(&server, "POST", "/v1/applications", &json!({"name": "shop"}));
    let made = |kind: &str| {
        let new = json!({"name": format!("shop {kind}"), "kind": kind, "application": "shop"});
        manage(&server, "POST", "/v1/tokens", &new)["token"].as_str().unwrap().to_owned()
    };
    let (write, read) = (made("write"), made("read"));
    assert_eq!(post(&server, "/eye/collector", &seed_event("s", "mine", "2022-01-09 09:00:00.000000")).status, 201);
    let ask = |token: &str, path: &str| {
        let headers = BTreeMap::from([("Authorization".to_owned(), format!("Token {token}"))]);
        send(&server, "GET", path, &headers, b"")
    };
    assert_eq!(ask(&read, "/eye/event?session_id=s").status, 404);
    assert_eq!(ask(&read, "/eye/category-events?category=page").text(), "[]");
    let forbidden = r#"{"detail":"You do not have permission to perform this action."}"#;
    let refused = ask(&write, "/eye/event?session_id=s");
    assert_eq!((refused.status, refused.text().as_str()), (403, forbidden));
    let headers = BTreeMap::from([
        ("Authorization".to_owned(), format!("Token {read}")),
        ("Content-Type".to_owned(), "application/json".to_owned()),
    ]);
    let body = seed_event("s", "x", "2022-01-09 09:00:00.000000").to_string();
    assert_eq!(send(&server, "POST", "/eye/collector", &headers, body.as_bytes()).status, 403);
}
