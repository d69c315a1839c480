//! `POST /v1/events` from outside: every shape of body, every encoding, every outcome, against the real binary.

#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use std::io::Write as _;

use common::{Answer, Server, http};
use serde_json::{Value, json};

fn post(server: &Server, token: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
    let authorization = format!("Token {token}");
    let mut all = vec![("Authorization", authorization.as_str())];
    all.extend_from_slice(headers);
    http("POST", &format!("{}/v1/events", server.url), &all, body).unwrap()
}

fn get(server: &Server, path: &str) -> Answer {
    let authorization = format!("Token {}", server.token());
    http("GET", &format!("{}{path}", server.url), &[("Authorization", &authorization)], b"").unwrap()
}

fn event(id: &str) -> Value {
    json!({"event_id": id, "session_id": "s", "category": "c", "name": "n", "timestamp": "2022-01-09T09:15:27Z", "data": {}})
}

/// (stored, duplicate, rejected) of a 200.
fn totals(answer: &Answer) -> (u64, u64, u64) {
    assert_eq!(answer.status, 200, "{}", answer.text());
    let body = answer.json();
    let of = |name: &str| body[name].as_u64().unwrap();
    (of("stored"), of("duplicate"), of("rejected"))
}

#[test]
fn every_shape_of_body_is_taken() {
    let server = Server::start();
    let token = server.token();
    let one = event("one").to_string();
    let array = json!([event("a1"), event("a2")]).to_string();
    let lines = format!("{}\n\r\n{}\r\n", event("l1"), event("l2"));
    let envelope = json!({"sent_at": "2022-01-09T09:15:28Z", "events": [event("v1")]}).to_string();
    for (body, content_type, stored) in [
        (&one, "application/json", 1),
        (&array, "application/json", 2),
        (&lines, "application/x-ndjson", 2),
        (&envelope, "text/plain", 1),
    ] {
        let answer = post(&server, &token, &[("Content-Type", content_type)], body.as_bytes());
        assert_eq!(totals(&answer), (stored, 0, 0), "{body}");
    }
    let session = get(&server, "/v1/sessions/s").json();
    assert_eq!(session["events"].as_array().unwrap().len(), 6);
    let sent = session["events"].as_array().unwrap().iter().find(|event| event["event_id"] == "v1").unwrap();
    assert_eq!(sent["sent_at"], "2022-01-09T09:15:28.000000Z");
}

#[test]
fn a_repeat_is_a_duplicate_and_stored_once() {
    let mut server = Server::start();
    let body = json!([event("e1"), event("e2"), event("e1")]).to_string();
    let first = post(&server, &server.token(), &[], body.as_bytes());
    assert_eq!(totals(&first), (2, 1, 0));
    let results = first.json()["results"].clone();
    assert_eq!(
        results[0],
        json!({"status": "stored", "event_id": "e1", "partition": 0, "offset": results[0]["offset"]})
    );
    assert_eq!(results[2], json!({"status": "duplicate", "event_id": "e1"}));
    assert!(results[0]["offset"].as_u64() < results[1]["offset"].as_u64());
    let again = post(&server, &server.token(), &[], body.as_bytes());
    assert_eq!(totals(&again), (0, 3, 0));
    server.stop();
    server.restart();
    assert_eq!(totals(&post(&server, &server.token(), &[], body.as_bytes())), (0, 3, 0));
    assert_eq!(get(&server, "/v1/sessions/s").json()["events"].as_array().unwrap().len(), 2);
}

#[test]
fn one_bad_event_never_fails_its_neighbours() {
    let server = Server::start();
    let mut nameless = event("bad");
    nameless.as_object_mut().unwrap().remove("name");
    let body = json!([event("g1"), nameless, 7, event("g2")]).to_string();
    let answer = post(&server, &server.token(), &[], body.as_bytes());
    assert_eq!(totals(&answer), (2, 0, 2));
    let results = &answer.json()["results"];
    assert_eq!((&results[1]["code"], &results[1]["field"]), (&json!("missing_field"), &json!("name")));
    assert!(results[1]["message"].as_str().unwrap().contains("name is required"));
    assert_eq!(results[2]["code"], "not_an_object");
    let rejections = get(&server, "/v1/rejections").json();
    assert_eq!(rejections["rejections"].as_array().unwrap().len(), 2);
}

#[test]
fn a_made_event_id_is_told_and_works_as_the_key() {
    let server = Server::start();
    let body = json!({"session_id": "s", "category": "c", "name": "n", "data": {}}).to_string();
    let answer = post(&server, &server.token(), &[], body.as_bytes()).json();
    let made = answer["results"][0]["event_id"].as_str().unwrap();
    assert_eq!(made.len(), 36);
    assert_eq!(totals(&post(&server, &server.token(), &[], event(made).to_string().as_bytes())), (0, 1, 0));
}

#[test]
fn every_encoding_is_decoded() {
    let server = Server::start();
    for (encoding, prefix) in [("gzip", "g"), ("deflate", "d"), ("zstd", "z"), ("br", "b"), ("identity", "i")] {
        let events: Vec<_> = (0..500).map(|n| event(&format!("{prefix}{n}"))).collect();
        let body = Value::from(events).to_string().into_bytes();
        let encoded = match encoding {
            "gzip" => {
                let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
                encoder.write_all(&body).unwrap();
                encoder.finish().unwrap()
            }
            "deflate" => {
                let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
                encoder.write_all(&body).unwrap();
                encoder.finish().unwrap()
            }
            "zstd" => zstd::encode_all(&body[..], 1).unwrap(),
            "br" => {
                let mut encoded = Vec::new();
                brotli::CompressorWriter::new(&mut encoded, 4096, 4, 22).write_all(&body).unwrap();
                encoded
            }
            _ => body,
        };
        let answer = post(&server, &server.token(), &[("Content-Encoding", encoding)], &encoded);
        assert_eq!(totals(&answer), (500, 0, 0), "{encoding}");
    }
}

#[test]
fn the_token_may_stand_in_the_envelope() {
    let server = Server::start();
    let send = |token: Value| {
        let body = json!({"token": token, "events": [event("e")]}).to_string();
        http("POST", &format!("{}/v1/events", server.url), &[("Content-Type", "text/plain")], body.as_bytes()).unwrap()
    };
    assert_eq!(totals(&send(server.token().into())), (1, 0, 0));
    for (token, code) in [(json!("eye_sk_wrong"), "unknown_token"), (json!(null), "missing_token")] {
        let answer = send(token);
        assert_eq!((answer.status, &answer.json()["code"]), (401, &json!(code)));
        assert_eq!(answer.header("www-authenticate"), Some("Token"));
    }
}

#[test]
fn a_page_of_another_origin_may_send() {
    let server = Server::start();
    let url = format!("{}/v1/events", server.url);
    let asked = [
        ("Origin", "https://shop.example"),
        ("Access-Control-Request-Method", "POST"),
        ("Access-Control-Request-Headers", "authorization,content-type"),
    ];
    let preflight = http("OPTIONS", &url, &asked, b"").unwrap();
    assert_eq!(preflight.status, 204);
    assert_eq!(preflight.header("access-control-allow-origin"), Some("https://shop.example"));
    assert_eq!(preflight.header("access-control-allow-headers"), Some("authorization,content-type"));
    assert!(preflight.header("access-control-max-age").is_some());
    let origin = [("Origin", "https://shop.example")];
    let good = post(&server, &server.token(), &origin, event("e").to_string().as_bytes());
    let bad = post(&server, "nobody", &origin, event("e").to_string().as_bytes());
    assert_eq!((good.status, bad.status), (200, 401));
    for answer in [good, bad] {
        assert_eq!(answer.header("access-control-allow-origin"), Some("https://shop.example"));
        assert_eq!(answer.header("access-control-expose-headers"), Some("Retry-After"));
        assert_eq!(answer.header("vary"), Some("Origin"));
    }
}

#[test]
fn more_events_than_the_limit_are_refused_as_a_whole() {
    let server = Server::start_with(&["--events-max", "3"]);
    let body: Vec<_> = (0..4).map(|n| event(&format!("e{n}"))).collect();
    let answer = post(&server, &server.token(), &[], Value::from(body).to_string().as_bytes());
    assert_eq!((answer.status, &answer.json()["code"]), (413, &json!("too_many_events")));
    assert_eq!(get(&server, "/v1/sessions/s").status, 404);
}

#[test]
fn metrics_count_what_became_of_everything() {
    let server = Server::start();
    let body = json!([event("e1"), event("e1"), {"session_id": "s"}]).to_string();
    assert_eq!(totals(&post(&server, &server.token(), &[], body.as_bytes())), (1, 1, 1));
    let unknown = post(&server, "nobody", &[], body.as_bytes());
    assert_eq!(unknown.status, 401);
    let metrics = http("GET", &format!("{}/metrics", server.url), &[], b"").unwrap().text();
    for line in [
        "eye_events_received_total 3",
        "eye_events_stored_total 1",
        "eye_events_duplicate_total 1",
        "eye_events_rejected_total{code=\"missing_field\"} 1",
        "eye_requests_unauthenticated_total{reason=\"unknown_token\"} 1",
        "eye_requests_total{route=\"/v1/events\",status=\"200\"} 1",
        "eye_requests_total{route=\"/v1/events\",status=\"401\"} 1",
        "eye_dedup_ids 1",
        "eye_ready 1",
    ] {
        assert!(metrics.lines().any(|found| found == line), "{line} is not in\n{metrics}");
    }
    assert_eq!(http("GET", &format!("{}/readyz", server.url), &[], b"").unwrap().status, 200);
    assert_eq!(http("GET", &format!("{}/healthz", server.url), &[], b"").unwrap().status, 200);
}

#[test]
fn http2_is_spoken_to_those_who_begin_with_it() {
    let server = Server::start();
    let mut stream = common::connect(&server.url).unwrap();
    // The preface and an empty SETTINGS frame (RFC 9113, sections 3.4 and 6.5).
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").unwrap();
    let mut frame = [0; 9];
    std::io::Read::read_exact(&mut stream, &mut frame).unwrap();
    assert_eq!(frame[3], 4, "the first frame of the server is SETTINGS");
}
