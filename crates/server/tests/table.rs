//! The table is open: other people's readers see the same rows while the service runs, on a folder and on S3.
//!
//! These tests need Python with the packages of `tests/requirements.txt`: `cargo xtask test` installs it and names it in
//! `XTASK_PYTHON`.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod common;

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use common::{Server, http};
use eye_event::Timestamp;
use serde_json::{Value, json};

fn post(server: &Server, from: usize, to: usize) {
    let line = |n: usize| {
        format!(
            r#"{{"event_id":"e{n}","session_id":"s{}","category":"c{}","name":"näme","timestamp":"2024-05-01T10:{:02}:00Z","user_id":"u{}","data":{{"n":{n},"t":"ü\n"}}}}"#,
            n % 7,
            n % 3,
            n % 60,
            n % 5
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

/// A row as the readers give it, from the API's JSON.
fn row(event: &Value) -> Value {
    let at = Timestamp::parse(event["timestamp"].as_str().unwrap()).unwrap().micros();
    let [session, id, application, category, name, user] =
        ["session_id", "event_id", "application", "category", "name", "user_id"].map(|field| event[field].clone());
    json!([session, id, at, event["partition"], event["offset"], application, category, name, user, event["data"]])
}

/// By offset: there is one partition.
fn sorted(mut rows: Vec<Value>) -> Vec<Value> {
    rows.sort_by_key(|row| row[4].as_u64());
    rows
}

/// What the API says of everything.
fn by_api(server: &Server) -> Vec<Value> {
    let token = format!("Token {}", server.admin_token());
    let url = format!("{}/v1/events?limit=10000", server.url);
    let answer = http("GET", &url, &[("Authorization", &token)], b"").unwrap().json();
    sorted(answer["events"].as_array().unwrap().iter().map(row).collect())
}

/// What an export holds.
fn by_export(server: &Server) -> Vec<Value> {
    let output = server.eye(&["export"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    sorted(text.lines().map(|line| row(&serde_json::from_str(line).unwrap())).collect())
}

/// What deltalake, Polars and DuckDB see, which must be the same.
fn by_readers(table: &str, options: Option<&str>) -> Vec<Value> {
    let answer =
        common::read_table(table, options).expect("XTASK_PYTHON is not set: run this through cargo xtask test");
    let parsed = |row: &Value| {
        let mut row = row.clone();
        row[9] = serde_json::from_str(row[9].as_str().unwrap()).unwrap();
        row
    };
    answer["events"].as_array().unwrap().iter().map(parsed).collect()
}

/// Threads that a checkpoint of a hundred commits may start.
const CHECKPOINT_THREADS_MAX: usize = 8;

#[test]
fn a_checkpoint_starts_few_threads_however_many_commits_it_reads() {
    let server = Server::start_with(&[]);
    let threads = || std::fs::read_dir(format!("/proc/{}/task", server.id())).unwrap().count();
    let log = server.data().join("table").join("events").join("_delta_log");
    let is_checkpointed = || log.join("_last_checkpoint").exists();
    post(&server, 0, 1);
    flush(&server);
    let (before, mut commits) = (threads(), 1);
    while !is_checkpointed() {
        assert!(commits < 1_000, "no checkpoint after {commits} commits");
        post(&server, commits, commits + 1);
        flush(&server);
        commits += 1;
    }
    assert!(commits >= 50, "a checkpoint of {commits} commits shows nothing");
    let more = threads().saturating_sub(before);
    assert!(more <= CHECKPOINT_THREADS_MAX, "{more} threads more, of {before}");
    assert_eq!(by_api(&server).len(), commits);
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

#[test]
#[ignore = "needs Python readers: cargo xtask test runs it"]
fn other_readers_see_the_same_rows_after_a_compaction_and_erasures() {
    let server = Server::start_with(&[]);
    let table = server.data().join("table").join("events").display().to_string();
    let token = format!("Token {}", server.admin_token());
    let headers = [("Authorization", token.as_str()), ("Content-Type", "application/json")];
    let ask = |method: &str, path: &str, body: &str| {
        let answer = http(method, &format!("{}{path}", server.url), &headers, body.as_bytes()).unwrap();
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        answer.json()
    };
    let erase = |what: &str| {
        let id = ask("POST", "/v1/erasures", what)["id"].as_str().unwrap().to_owned();
        let begun = std::time::Instant::now();
        while ask("GET", &format!("/v1/erasures/{id}"), "")["state"] != "done" {
            assert!(begun.elapsed() < std::time::Duration::from_secs(60), "the erasure does not come to its end");
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    };
    for part in 0..5 {
        post(&server, part * 100, part * 100 + 100);
        flush(&server);
    }
    ask("POST", "/v1/compact", "");
    post(&server, 500, 600);
    // In the merged file and in one that is still to be flushed.
    erase(r#"{"user_id":"u3"}"#);
    let rows = by_readers(&table, None);
    assert_eq!(rows.len(), 480);
    assert!(rows.iter().all(|row| row[8] != "u3"));
    assert_eq!(rows, by_api(&server));
    assert_eq!(rows, by_export(&server));
    // A whole session, and once more what was merged, rewritten and flushed since.
    erase(r#"{"session_id":"s2"}"#);
    post(&server, 600, 700);
    flush(&server);
    ask("POST", "/v1/compact", "");
    let rows = by_readers(&table, None);
    assert_eq!(rows.len(), by_api(&server).len());
    assert!(rows.iter().all(|row| row[0] != "s2" || row[4].as_u64() > Some(600)));
    assert_eq!(rows, by_api(&server));
    assert_eq!(rows, by_export(&server));
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
