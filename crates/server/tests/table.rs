//! The table is open: other people's readers see the same rows while the service runs, on a folder and on S3.
//!
//! These tests need Python with the packages of `tests/requirements.txt`: `cargo xtask test` installs it and names it in
//! `XTASK_PYTHON`.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod common;

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use common::{Server, http};

fn post(server: &Server, from: usize, to: usize) {
    let line = |n: usize| {
        format!(
            r#"{{"event_id":"e{n}","session_id":"s{}","category":"c","name":"n","timestamp":"2024-05-01T10:{:02}:00Z","data":{{"n":{n}}}}}"#,
            n % 7,
            n % 60
        )
    };
    let body = (from..to).map(line).collect::<Vec<_>>().join("\n");
    let token = format!("Token {}", server.token());
    let headers = [("Authorization", token.as_str()), ("Content-Type", "application/x-ndjson")];
    let answer = http("POST", &format!("{}/v1/events", server.url), &headers, body.as_bytes()).unwrap();
    assert_eq!((answer.status, answer.json()["stored"].as_u64()), (200, Some((to - from) as u64)), "{}", answer.text());
}

fn flush(server: &Server) {
    let token = format!("Token {}", server.admin_token());
    let answer = http("POST", &format!("{}/v1/flush", server.url), &[("Authorization", &token)], b"").unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
}

/// What the API says: (session, event, offset) of everything.
fn by_api(server: &Server) -> Vec<(String, String, u64)> {
    let token = format!("Token {}", server.admin_token());
    let url = format!("{}/v1/events?limit=10000", server.url);
    let answer = http("GET", &url, &[("Authorization", &token)], b"").unwrap().json();
    let text = |event: &serde_json::Value, field: &str| event[field].as_str().unwrap().to_owned();
    let mut rows: Vec<_> = answer["events"]
        .as_array()
        .unwrap()
        .iter()
        .map(|event| (text(event, "session_id"), text(event, "event_id"), event["offset"].as_u64().unwrap()))
        .collect();
    rows.sort_by_key(|(_, _, offset)| *offset);
    rows
}

fn by_readers(table: &str, options: Option<&str>) -> Vec<(String, String, u64)> {
    let answer =
        common::read_table(table, options).expect("XTASK_PYTHON is not set: run this through cargo xtask test");
    let row = |row: &serde_json::Value| {
        (row[0].as_str().unwrap().to_owned(), row[1].as_str().unwrap().to_owned(), row[4].as_u64().unwrap())
    };
    answer["events"].as_array().unwrap().iter().map(row).collect()
}

#[test]
#[ignore = "needs Python readers: cargo xtask test runs it"]
fn other_readers_see_the_same_rows_while_the_service_runs() {
    let server = Server::start_with(&[]);
    let table = server.data().join("table").join("events").display().to_string();
    post(&server, 0, 500);
    flush(&server);
    assert_eq!(by_readers(&table, None), by_api(&server));
    post(&server, 500, 600);
    flush(&server);
    let rows = by_readers(&table, None);
    assert_eq!(rows.len(), 600);
    assert_eq!(rows, by_api(&server));
}

#[test]
#[ignore = "needs Python readers: cargo xtask test runs it"]
fn other_readers_see_the_same_rows_after_compactions() {
    let server = Server::start_with(&[]);
    let table = server.data().join("table").join("events").display().to_string();
    for round in 0..2 {
        for flushed in 0..5 {
            let from = round * 500 + flushed * 100;
            post(&server, from, from + 100);
            flush(&server);
        }
        let before = by_readers(&table, None);
        let token = format!("Token {}", server.admin_token());
        let answer = http("POST", &format!("{}/v1/compact", server.url), &[("Authorization", &token)], b"").unwrap();
        assert!(answer.status == 200 && answer.json()["rows"].as_u64() >= Some(500), "{}", answer.text());
        let rows = by_readers(&table, None);
        assert_eq!(rows.len(), (round + 1) * 500);
        assert_eq!(rows, before);
        assert_eq!(rows, by_api(&server));
    }
}

/// An S3-speaking server from PyPI.
struct S3 {
    process: Child,
    endpoint: String,
}

impl Drop for S3 {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl S3 {
    fn start() -> Self {
        let python = std::env::var("XTASK_PYTHON").expect("XTASK_PYTHON is not set: run this through cargo xtask test");
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut process = Command::new(python)
            .args(["-u", "-m", "moto.server", "-H", "127.0.0.1", "-p", &port.to_string()])
            .stderr(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stderr.take().unwrap()).lines();
        let running = lines.by_ref().map_while(Result::ok).any(|line| line.contains("Running on"));
        assert!(running, "the S3 server did not start");
        // Keep reading, or it blocks on a full pipe.
        std::thread::spawn(move || lines.for_each(drop));
        let endpoint = format!("http://127.0.0.1:{port}");
        let bucket = http("PUT", &format!("{endpoint}/eye"), &[], b"").unwrap();
        assert_eq!(bucket.status, 200, "{}", bucket.text());
        Self { process, endpoint }
    }
}

#[test]
#[ignore = "needs an S3 server from PyPI: cargo xtask test runs it"]
fn the_table_lies_on_s3_and_survives_kill() {
    let s3 = S3::start();
    let environment = [
        ("AWS_ENDPOINT_URL", s3.endpoint.as_str()),
        ("AWS_ACCESS_KEY_ID", "test"),
        ("AWS_SECRET_ACCESS_KEY", "test"),
        ("AWS_REGION", "us-east-1"),
        ("AWS_ALLOW_HTTP", "true"),
    ];
    let mut server = Server::start_in(&["--table", "s3://eye/tables"], &environment);
    post(&server, 0, 300);
    flush(&server);
    post(&server, 300, 350);
    let before = by_api(&server);
    assert_eq!(before.len(), 350);
    server.kill();
    server.restart();
    assert_eq!(by_api(&server), before);
    flush(&server);
    let options = format!(
        r#"{{"AWS_ENDPOINT_URL":"{}","AWS_ACCESS_KEY_ID":"test","AWS_SECRET_ACCESS_KEY":"test","AWS_REGION":"us-east-1","AWS_ALLOW_HTTP":"true"}}"#,
        s3.endpoint
    );
    assert_eq!(by_readers("s3://eye/tables/events", Some(&options)), before);
}
