//! What the service says about itself, from outside: the OpenAPI document tells the truth, and the pages ask nobody else
//! for anything.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on says where")]

mod common;

use std::collections::BTreeSet;

use common::{Answer, Server};
use serde_json::Value;

fn http(method: &str, url: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
    common::http(method, url, headers, body).unwrap()
}

fn get(server: &Server, path: &str) -> Answer {
    http("GET", &format!("{}{path}", server.url), &[], b"")
}

#[test]
fn every_documented_operation_is_there_and_no_other_method_is() {
    let server = Server::start();
    let answer = get(&server, "/openapi.json");
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/json")));
    let document: Value = answer.json();
    assert_eq!(document["openapi"], "3.1.0");
    for (path, operations) in document["paths"].as_object().unwrap() {
        let documented: BTreeSet<String> =
            operations.as_object().unwrap().keys().map(|method| method.to_uppercase()).collect();
        let mut url = format!("{}{}", server.url, path.replace("{session_id}", "nobody").replace("{id}", "nothing"));
        if path == "/v1/live" {
            // Refused after the method was looked at: a stream would not end.
            url.push_str("?limit=1");
        }
        for method in ["GET", "POST", "PUT", "PATCH", "DELETE"] {
            // The seed's routes ask for a token before they look at the method, as they always did.
            let authorization = format!("Token {}", server.token());
            let answer = http(method, &url, &[("authorization", &authorization)], b"");
            let is_there = answer.status != 405;
            assert_eq!(is_there, documented.contains(method), "{method} {path}: {}", answer.status);
            if is_there && answer.status == 404 {
                assert!(!answer.text().contains("no such path"), "{method} {path}");
            }
        }
    }
}

#[test]
fn every_reference_of_the_document_leads_somewhere() {
    fn references(value: &Value, found: &mut BTreeSet<String>) {
        match value {
            Value::Object(members) => {
                found.extend(members.get("$ref").and_then(Value::as_str).map(str::to_owned));
                members.values().for_each(|member| references(member, found));
            }
            Value::Array(items) => items.iter().for_each(|item| references(item, found)),
            _ => {}
        }
    }
    let server = Server::start();
    let document = get(&server, "/openapi.json").json();
    let mut found = BTreeSet::new();
    references(&document, &mut found);
    assert!(found.len() > 10, "{found:?}");
    for reference in found {
        assert!(document.pointer(reference.strip_prefix('#').unwrap()).is_some(), "{reference}");
    }
}

#[test]
fn pages_are_served_with_a_strict_policy() {
    let server = Server::start();
    for (path, media) in [
        ("/docs", "text/html; charset=utf-8"),
        ("/setup", "text/html; charset=utf-8"),
        ("/pages/style.css", "text/css; charset=utf-8"),
        ("/pages/setup.js", "text/javascript; charset=utf-8"),
    ] {
        let answer = get(&server, path);
        assert_eq!((answer.status, answer.header("content-type")), (200, Some(media)), "{path}");
        let policy = answer.header("content-security-policy").unwrap();
        assert!(policy.starts_with("default-src 'none'; script-src 'self'; style-src 'self'"), "{policy}");
        assert!(!policy.contains("unsafe") && policy.contains("frame-ancestors 'none'"), "{policy}");
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
    }
}
