//! Asking, from outside: the real binary over HTTP. Lists, filters, pages, walls between applications, and the promise
//! that a session reads back whole and in order before a flush, after it, and after a restart.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on says where")]

mod common;

use std::collections::BTreeSet;

use common::{Answer, Server};
use serde_json::{Value, json};

fn http(method: &str, url: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
    common::http(method, url, headers, body).unwrap()
}

fn get(server: &Server, token: &str, path: &str) -> Answer {
    http("GET", &format!("{}{path}", server.url), &[("authorization", &format!("Token {token}"))], b"")
}

fn post(server: &Server, token: &str, path: &str, body: &Value) -> Answer {
    let authorization = format!("Token {token}");
    let headers = [("authorization", authorization.as_str()), ("content-type", "application/json")];
    http("POST", &format!("{}{path}", server.url), &headers, body.to_string().as_bytes())
}

fn send(server: &Server, token: &str, events: &Value) -> Value {
    let answer = post(server, token, "/v1/events", events);
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

/// The answer to a question that must succeed.
fn ask(server: &Server, token: &str, path: &str) -> Value {
    let answer = get(server, token, path);
    assert_eq!(answer.status, 200, "{path}: {}", answer.text());
    answer.json()
}

/// The status and the code of a question that must fail.
fn refusal(server: &Server, token: &str, path: &str) -> (u16, Value) {
    let answer = get(server, token, path);
    assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{path}");
    (answer.status, answer.json())
}

/// Makes an application with a secret token.
fn application(server: &Server, name: &str) -> String {
    let admin = server.admin_token();
    assert_eq!(post(server, &admin, "/v1/applications", &json!({ "name": name })).status, 201);
    token(server, &json!({ "name": format!("{name} token"), "kind": "secret", "application": name }))
}

fn token(server: &Server, new: &Value) -> String {
    let answer = post(server, &server.admin_token(), "/v1/tokens", new);
    assert_eq!(answer.status, 201, "{}", answer.text());
    answer.json()["token"].as_str().unwrap().to_owned()
}

fn event(id: &str, session: &str, category: &str, name: &str, second: u32) -> Value {
    json!({
        "event_id": id, "session_id": session, "category": category, "name": name, "user_id": format!("user-{}", second % 3),
        "timestamp": format!("2022-01-09T09:{:02}:{:02}.243860Z", second / 60, second % 60), "data": {"n": second},
    })
}

fn ids(list: &Value) -> Vec<&str> {
    list.as_array().unwrap().iter().map(|event| event["event_id"].as_str().unwrap()).collect()
}

/// Every page of a list, by following `next`.
fn pages(server: &Server, token: &str, path: &str, key: &str) -> Vec<Value> {
    let mut rows = Vec::new();
    let mut cursor = String::new();
    for _ in 0..1_000 {
        let page = ask(server, token, &format!("{path}{cursor}"));
        rows.extend(page[key].as_array().unwrap().iter().cloned());
        match page["next"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return rows,
        }
    }
    panic!("the pages do not end");
}

#[test]
fn sixty_four_writers_into_one_session_read_back_whole_and_in_order() {
    const WRITERS: u32 = 64;
    const EVENTS: u32 = 20;
    let mut server = Server::start();
    let token = server.token();
    std::thread::scope(|scope| {
        for writer in 0..WRITERS {
            let (server, token) = (&server, &token);
            scope.spawn(move || {
                for number in 0..EVENTS {
                    // Shuffled over a minute, with ties on purpose: 64 x 20 events on 60 moments.
                    let second = (writer * 7 + number * 13) % 60;
                    send(server, token, &event(&format!("{writer}-{number}"), "busy", "load", "tick", second));
                }
            });
        }
    });
    let session = ask(&server, &token, "/v1/sessions/busy");
    let events = session["events"].as_array().unwrap();
    let sent: BTreeSet<String> =
        (0..WRITERS).flat_map(|writer| (0..EVENTS).map(move |number| format!("{writer}-{number}"))).collect();
    let read: BTreeSet<String> = ids(&session["events"]).into_iter().map(str::to_owned).collect();
    assert_eq!(read, sent, "complete");
    assert_eq!(events.len(), sent.len(), "each once");
    let places: Vec<_> =
        events.iter().map(|event| (event["timestamp"].as_str().unwrap(), event["offset"].as_u64().unwrap())).collect();
    assert!(places.is_sorted_by(|newer, older| newer > older), "newest first, the later arrival first in a tie");

    assert_eq!(post(&server, &server.admin_token(), "/v1/flush", &json!({})).status, 200);
    let flushed = ask(&server, &token, "/v1/sessions/busy");
    assert_eq!(flushed["events"], session["events"], "identical after the flush");
    assert_eq!(flushed["offset"], session["offset"]);
    assert!(flushed["version"].as_u64() > session["version"].as_u64(), "the table has moved");
    server.restart();
    let restarted = ask(&server, &token, "/v1/sessions/busy");
    assert_eq!(restarted["events"], session["events"], "identical after a restart");
    server.stop();
}

#[test]
fn pages_give_every_event_once_in_both_orders_across_a_flush() {
    let server = Server::start();
    let token = server.token();
    let batch = |from: u32| -> Value {
        (from..from + 30).map(|n| event(&format!("e{n:02}"), &format!("s{}", n % 4), "page", "view", n / 2)).collect()
    };
    send(&server, &token, &batch(0));
    assert_eq!(post(&server, &server.admin_token(), "/v1/flush", &json!({})).status, 200);
    send(&server, &token, &batch(30));
    for (path, key) in [
        ("/v1/events?limit=7&order=newest", "events"),
        ("/v1/events?limit=7&order=oldest", "events"),
        ("/v1/events?limit=7&session_id=s1", "events"),
        ("/v1/sessions/s1?limit=4", "events"),
        ("/v1/sessions?limit=3&sort=events&order=asc", "sessions"),
    ] {
        let all = ask(
            &server,
            &token,
            &path.replace("limit=7", "limit=1000").replace("limit=3", "limit=1000").replace("limit=4", "limit=5000"),
        );
        assert!(all["next"].is_null());
        assert_eq!(Value::from(pages(&server, &token, path, key)), all[key], "{path}");
    }
    let newest = ask(&server, &token, "/v1/events?limit=1000");
    let mut oldest = ask(&server, &token, "/v1/events?limit=1000&order=oldest")["events"].as_array().unwrap().clone();
    oldest.reverse();
    assert_eq!(newest["events"], Value::from(oldest));
    assert_eq!(ids(&newest["events"]).len(), 60);

    let page = ask(&server, &token, "/v1/events?limit=7");
    let next = page["next"].as_str().unwrap();
    let (status, problem) = refusal(&server, &token, &format!("/v1/events?limit=7&order=oldest&cursor={next}"));
    assert_eq!((status, &problem["field"]), (400, &json!("cursor")), "a cursor of another question");
}

#[test]
fn filters_choose_events_and_sessions() {
    let server = Server::start();
    let token = server.token();
    let mut events: Vec<Value> = (0..12)
        .map(|n| {
            event(&format!("e{n}"), &format!("s{}", n % 2), ["page", "shop"][n as usize % 2], &format!("n{}", n % 3), n)
        })
        .collect();
    events.push(json!({"event_id": "bad", "session_id": "s0", "category": "page", "name": "n0", "timestamp": "yesterday", "data": {}}));
    send(&server, &token, &Value::from(events));
    let count = |query: &str| ids(&ask(&server, &token, &format!("/v1/events?{query}"))["events"]).len();
    assert_eq!(count(""), 13);
    assert_eq!(count("session_id=s0"), 7);
    assert_eq!(count("category=shop"), 6);
    assert_eq!(count("category=shop&name=n1"), 2);
    assert_eq!(count("user_id=user-1"), 4);
    assert_eq!(count("problem=any"), 1);
    assert_eq!(count("problem=time"), 1);
    assert_eq!(count("problem=timestamp_unreadable"), 1);
    assert_eq!(count("problem=payload_unexpected"), 0);
    assert_eq!(count("from=2022-01-09T09:00:03.243860Z&to=2022-01-09T09:00:05.243860Z"), 2, "from is in, to is not");
    assert_eq!(count("from=2022-01-09T11:00:03.243860+02:00&to=2022-01-09T09:00:05.243860Z"), 2, "any zone");
    assert_eq!(count("application=nobody"), 0);

    let sessions = ask(&server, &token, "/v1/sessions?category=shop");
    assert_eq!(sessions["sessions"].as_array().unwrap().len(), 1);
    let session = &sessions["sessions"][0];
    let want = json!({
        "session_id": "s1", "start": "2022-01-09T09:00:01.243860Z", "end": "2022-01-09T09:00:11.243860Z",
        "duration_ms": 10_000, "events": 6, "names": 3, "first_name": "n1", "last_name": "n2", "applications": ["default"],
        "user_id": "user-2", "problems": 0,
    });
    assert_eq!(session, &want);
}

#[test]
fn an_event_reads_back_as_it_was_sent() {
    let server = Server::start();
    let token = server.token();
    let data = r#"{"z":1,"a":12345678901234567890123,"price":1.10,"text":"é\u0041"}"#;
    let body = format!(
        r#"{{"sent_at":"2022-01-09T09:15:28Z","events":[{{"event_id":"e","session_id":"a/b ü?#%","category":"c","name":"n",
           "timestamp":"2022-01-09T09:15:27.243860Z","data":{data},"context":{{"page":"/"}},"anonymous_id":"anon"}}]}}"#
    );
    let authorization = format!("Bearer {token}");
    let answer =
        http("POST", &format!("{}/v1/events", server.url), &[("authorization", &authorization)], body.as_bytes());
    assert_eq!(answer.status, 200, "{}", answer.text());
    let answer = get(&server, &token, "/v1/sessions/a%2Fb%20%C3%BC%3F%23%25");
    assert_eq!(answer.status, 200);
    assert!(answer.text().contains(&format!("\"data\":{data}")), "lossless: {}", answer.text());
    let session = answer.json();
    let event = &session["events"][0];
    assert_eq!(session["session_id"], "a/b ü?#%");
    for (field, want) in [
        ("event_id", "e"),
        ("application", "default"),
        ("session_id", "a/b ü?#%"),
        ("timestamp", "2022-01-09T09:15:27.243860Z"),
        ("sent_at", "2022-01-09T09:15:28.000000Z"),
        ("anonymous_id", "anon"),
    ] {
        assert_eq!(event[field], want, "{field}");
    }
    assert_eq!(event["context"], json!({"page": "/"}));
    assert_eq!(event["problems"], json!([]));
    assert!(event["skew_ms"].as_i64().unwrap() > 0);
    assert!(event.get("user_id").is_none() && event.get("timestamp_raw").is_none());
    assert!(session["version"].is_u64() && session["offset"].is_string() && session["next"].is_null());
}

#[test]
fn what_cannot_be_asked_is_refused_by_name() {
    let server = Server::start();
    let token = server.token();
    for (path, field) in [
        ("/v1/events?limit=0", "limit"),
        ("/v1/events?limit=10001", "limit"),
        ("/v1/events?categroy=x", "categroy"),
        ("/v1/events?category=", "category"),
        ("/v1/events?category=a&category=b", "category"),
        ("/v1/events?order=up", "order"),
        ("/v1/events?from=yesterday", "from"),
        ("/v1/events?problem=nonsense", "problem"),
        ("/v1/events?cursor=nonsense", "cursor"),
        ("/v1/events?at_least=nonsense", "at_least"),
        ("/v1/events?token=x", "token"),
        ("/v1/sessions?sort=size", "sort"),
        ("/v1/sessions/s1?limit=5001", "limit"),
        ("/v1/sessions/%ff", "path"),
        ("/v1/problems?samples=21", "samples"),
        ("/v1/rejections?limit=1001", "limit"),
        ("/v1/ledger?limit=1", "limit"),
    ] {
        let (status, problem) = refusal(&server, &token, path);
        assert_eq!(status, 400, "{path}: {problem}");
        assert_eq!(problem["code"], "invalid_parameter", "{path}");
        assert_eq!(problem["field"], field, "{path}");
        assert_eq!(problem["type"], "/docs#invalid_parameter", "{path}");
    }
    let (status, problem) = refusal(&server, &token, "/v1/sessions/nobody");
    assert_eq!((status, &problem["code"]), (404, &json!("session_not_found")));
    let (status, problem) = refusal(&server, &token, "/v1/nothing");
    assert_eq!((status, &problem["code"]), (404, &json!("not_found")));
}

#[test]
fn at_least_sees_what_was_acknowledged_and_says_so_if_it_cannot() {
    let server = Server::start_with(&["--at-least-wait-max", "100ms"]);
    let token = server.token();
    let stored = send(&server, &token, &event("e", "s", "c", "n", 1));
    let offset = stored["offset"].as_str().unwrap();
    let session = ask(&server, &token, &format!("/v1/sessions/s?at_least={offset}"));
    assert_eq!(ids(&session["events"]), ["e"]);
    assert_eq!(session["offset"], offset);
    let (status, problem) = refusal(&server, &token, "/v1/events?at_least=1000000");
    assert_eq!((status, &problem["code"]), (503, &json!("not_caught_up")));
    assert_eq!(get(&server, &token, "/v1/events?at_least=1000000").header("retry-after"), Some("1"));
}

#[test]
fn another_applications_data_does_not_exist() {
    let server = Server::start();
    let (web, shop) = (server.token(), application(&server, "shop"));
    send(&server, &web, &event("w", "shared", "page", "view", 1));
    send(&server, &web, &event("w2", "private", "page", "view", 2));
    send(
        &server,
        &web,
        &json!([{"session_id": "x", "category": "c", "data": {}}, {"session_id": "x", "category": "c", "name": "n", "timestamp": "??"}]),
    );
    send(&server, &shop, &event("s", "shared", "cart", "add", 3));

    assert_eq!(ids(&ask(&server, &shop, "/v1/sessions/shared")["events"]), ["s"]);
    assert_eq!(ids(&ask(&server, &shop, "/v1/events")["events"]), ["s"]);
    assert_eq!(ids(&ask(&server, &shop, "/v1/events?application=default")["events"]), [""; 0]);
    let foreign = refusal(&server, &shop, "/v1/sessions/private");
    let missing = refusal(&server, &shop, "/v1/sessions/nobody");
    assert_eq!(foreign, missing, "a foreign session looks like none");
    assert_eq!(ask(&server, &shop, "/v1/sessions")["sessions"][0]["applications"], json!(["shop"]));
    assert_eq!(ask(&server, &shop, "/v1/problems")["problems"], json!([]));
    assert_eq!(ask(&server, &shop, "/v1/rejections")["rejections"], json!([]));
    let ledger = ask(&server, &shop, "/v1/ledger");
    assert_eq!(ledger["tokens"].as_array().unwrap().len(), 1);
    assert_eq!(ledger["tokens"][0]["application"], "shop");

    let everything = token(&server, &json!({"name": "all", "kind": "read", "reads_all": true}));
    assert_eq!(ids(&ask(&server, &everything, "/v1/sessions/shared")["events"]), ["s", "w"], "one timeline");
    let write = token(&server, &json!({"name": "page", "kind": "write", "application": "shop"}));
    for path in [
        "/v1/events",
        "/v1/sessions",
        "/v1/sessions/shared",
        "/v1/problems",
        "/v1/rejections",
        "/v1/ledger",
        "/v1/live",
    ] {
        let (status, problem) = refusal(&server, &write, path);
        assert_eq!((status, &problem["code"]), (403, &json!("missing_scope")), "{path}");
    }
}

#[test]
fn problems_rejections_and_the_ledger_account_for_everything() {
    let server = Server::start();
    let token = server.token();
    let good = event("e1", "s", "c", "n", 1);
    let late =
        json!({"event_id": "e2", "session_id": "s", "category": "c", "name": "n", "timestamp": "never", "data": {}});
    let none = json!({"event_id": "e3", "session_id": "s", "category": "c", "name": "n", "data": [1]});
    let answer =
        send(&server, &token, &json!([good, late, none, good, {"session_id": "", "category": "c", "name": "n"}, 7]));
    assert_eq!((&answer["stored"], &answer["duplicate"], &answer["rejected"]), (&json!(3), &json!(1), &json!(2)));
    let check = || {
        let problems = ask(&server, &token, "/v1/problems?samples=1");
        let codes: BTreeSet<_> =
            problems["problems"].as_array().unwrap().iter().map(|one| one["code"].as_str().unwrap()).collect();
        assert_eq!(codes, BTreeSet::from(["payload_unexpected", "timestamp_missing", "timestamp_unreadable"]));
        for one in problems["problems"].as_array().unwrap() {
            assert_eq!((&one["count"], one["samples"].as_array().unwrap().len()), (&json!(1), 1));
        }
        assert_eq!(ask(&server, &token, "/v1/problems?samples=0")["problems"][0]["samples"], json!([]));
        let rejections = ask(&server, &token, "/v1/rejections");
        let codes: Vec<_> =
            rejections["rejections"].as_array().unwrap().iter().map(|one| one["code"].clone()).collect();
        assert_eq!(codes, ["not_an_object", "empty_field"], "newest first");
        assert_eq!(rejections["rejections"][1]["field"], "session_id");
        assert_eq!(rejections["rejections"][0]["sample"], "7");
        assert_eq!(ask(&server, &token, "/v1/rejections?code=empty_field")["rejections"].as_array().unwrap().len(), 1);
        assert_eq!(pages(&server, &token, "/v1/rejections?limit=1", "rejections").len(), 2);
        let ledger = ask(&server, &token, "/v1/ledger");
        let line = &ledger["tokens"][0];
        let counts = ["received", "stored", "duplicate", "rejected"].map(|key| line[key].as_u64().unwrap());
        assert_eq!(counts, [6, 3, 1, 2]);
    };
    check();
    assert_eq!(post(&server, &server.admin_token(), "/v1/flush", &json!({})).status, 200);
    check();
}
