//! The seed API against what Django REST framework was recorded to answer. What needs a server (routes, methods, state)
//! is checked here as far as the decoder decides it; the server runs all cases over HTTP.

#![allow(missing_docs, clippy::unwrap_used, reason = "a test")]

use std::collections::{BTreeMap, BTreeSet};

use eye_event::{Limits, Timestamp, check};
use eye_protocol::seed::{self, AuthFailure, SeedError};
use serde::Deserialize;

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
    why: String,
}

#[derive(Deserialize)]
struct Further {
    case: String,
    content_type: String,
    body: String,
    status: u16,
    resp_body: String,
}

fn lines<T: for<'de> Deserialize<'de>>(text: &str) -> Vec<T> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn recorded() -> Vec<Recorded> {
    lines(include_str!("fixtures/drf_probe.jsonl"))
}

fn deviations() -> BTreeMap<String, Deviation> {
    serde_json::from_str(include_str!("fixtures/drf_deviations.json")).unwrap()
}

fn unhex(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

/// The true bytes of a case's body.
fn body(case: &Recorded, bodies: &BTreeMap<String, String>) -> Vec<u8> {
    match case.case.as_str() {
        "3 MB JSON body" => {
            let long = "y".repeat(3_000_000);
            format!(r#"{{"session_id":"probe","category":"c","name":"n","data":{{"x":"{long}"}},"timestamp":"x"}}"#)
                .into_bytes()
        }
        name => bodies.get(name).map_or_else(|| case.body.clone().into_bytes(), |hex| unhex(hex)),
    }
}

/// What the edge does with `POST /eye/collector`, minus the store.
fn collect(body: &[u8], content_type: Option<&str>) -> Result<String, SeedError> {
    let event = seed::decode_event(body, content_type)?;
    let received_at = Timestamp::parse("2026-01-01T00:00:00Z").unwrap();
    check(&event.draft(), received_at, &seed::limits(&Limits::default()))
        .map_err(|rejection| seed::refused(&rejection))?;
    Ok(event.echo())
}

/// The edge's order: path, `Accept`, token, method, body. `None` where the answer depends on the server's state.
fn answer(case: &Recorded, body: &[u8]) -> Option<(u16, String)> {
    let (path, query) = case.path.split_once('?').unwrap_or((&case.path, ""));
    let of = |error: SeedError| Some((error.status, error.body));
    if !["/eye/collector", "/eye/event", "/eye/category-events", "/eye/range-events", "/eye/invalid-time"]
        .contains(&path)
    {
        return of(seed::not_found());
    }
    if !seed::accepts(case.headers.get("Accept").map(String::as_str)) {
        return of(seed::not_acceptable());
    }
    if case.method == "OPTIONS" {
        return Some((200, seed::options_body("Collector")));
    }
    // The recording shows header bytes as latin-1.
    let header = |name: &str| case.headers.get(name).map(|value| value.chars().map(|c| c as u8).collect::<Vec<u8>>());
    match seed::authorization(header("Authorization").as_deref()) {
        Err(error) => return of(error),
        Ok(token) if token == "d".repeat(40) => return of(seed::not_authenticated(AuthFailure::Inactive)),
        Ok(token) if token != "e".repeat(40) => return of(seed::not_authenticated(AuthFailure::InvalidToken)),
        Ok(_) => {}
    }
    let content_type = case.headers.get("Content-Type").map(String::as_str);
    match (path, case.method.as_str()) {
        ("/eye/collector", "POST") => match collect(body, content_type) {
            Ok(echo) => Some((201, echo)),
            Err(error) => of(error),
        },
        ("/eye/collector", method) => of(seed::method_not_allowed(method)),
        (_, method) => {
            let args = seed::decode_args(method != "POST", Some(query), body, content_type).unwrap();
            match path {
                "/eye/event" => assert!(args.session_id().is_ok()),
                "/eye/category-events" => assert!(args.category().is_ok()),
                "/eye/range-events" => assert!(args.range().is_ok()),
                _ => assert_eq!(args, seed::Args::default()),
            }
            None
        }
    }
}

#[test]
fn every_recorded_case_is_answered_as_recorded_or_as_decided() {
    let bodies: BTreeMap<String, String> = serde_json::from_str(include_str!("fixtures/drf_bodies.json")).unwrap();
    let deviations = deviations();
    let mut decided = 0;
    for case in recorded() {
        // Decompression is the server's.
        if case.headers.contains_key("Content-Encoding") {
            continue;
        }
        let Some((status, answered)) = answer(&case, &body(&case, &bodies)) else { continue };
        decided += 1;
        let (expected_status, expected) = match deviations.get(&case.case) {
            Some(deviation) => (deviation.status, deviation.body.as_ref()),
            None => (case.status, Some(&case.resp_body)),
        };
        assert_eq!(status, expected_status, "{}: {answered}", case.case);
        // An answer to HEAD has no body.
        if let Some(expected) = expected.filter(|_| case.method != "HEAD") {
            assert_eq!(&answered, expected, "{}", case.case);
        }
        let error = SeedError { status, body: answered };
        if !deviations.contains_key(&case.case) {
            let recorded = case.resp_headers.get("WWW-Authenticate").map(String::as_str);
            assert_eq!(error.www_authenticate(), recorded, "{}", case.case);
        }
    }
    assert_eq!(decided, 95);
}

#[test]
fn a_compressed_body_that_nobody_decompressed_is_no_json() {
    let bodies: BTreeMap<String, String> = serde_json::from_str(include_str!("fixtures/drf_bodies.json")).unwrap();
    let case = recorded().into_iter().find(|case| case.headers.contains_key("Content-Encoding")).unwrap();
    let error = collect(&body(&case, &bodies), Some("application/json")).unwrap_err();
    assert_eq!((error.status, error.body), (case.status, case.resp_body));
}

#[test]
fn every_deviation_is_of_a_recorded_case_and_says_why() {
    let cases: BTreeSet<String> = recorded().into_iter().map(|case| case.case).collect();
    for (case, deviation) in deviations() {
        assert!(cases.contains(&case), "{case}");
        assert!(!deviation.why.is_empty(), "{case}");
    }
}

#[test]
fn further_bodies_are_answered_as_the_framework_answers_them() {
    for Further { case, content_type, body, status, resp_body } in lines(include_str!("fixtures/drf_more.jsonl")) {
        let answered = collect(&unhex(&body), Some(&content_type));
        let answered = answered.map_or_else(|error| (error.status, error.body), |echo| (201, echo));
        assert_eq!(answered, (status, resp_body), "{case}");
    }
}
