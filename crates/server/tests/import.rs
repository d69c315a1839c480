//! `eye import` from what cannot be read again.

#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use std::io::Write as _;
use std::process::Stdio;

use common::{Server, eye};
use serde_json::{Value, json};

/// What `--json` says of rows on standard input; some are refused.
fn import(server: &Server, rows: &str) -> Value {
    let mut command = eye(&server.data());
    command.args(["import", "-", "--json", "--data"]).arg(server.data());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut process = command.spawn().unwrap();
    process.stdin.take().unwrap().write_all(rows.as_bytes()).unwrap();
    let output = process.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stderr));
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    document["files"][0].clone()
}

#[test]
fn rows_refused_from_standard_input_stay_when_others_are_refused() {
    let server = Server::start();
    for (session, file) in [("first", "stdin.rejected.ndjson"), ("second", "stdin.rejected.2.ndjson")] {
        let imported = import(&server, &format!("{{\"session_id\":\"{session}\"}}\n"));
        assert_eq!((&imported["rejected"], &imported["rejected_file"]), (&json!(1), &json!(file)), "{imported}");
    }
    for (session, file) in [("first", "stdin.rejected.ndjson"), ("second", "stdin.rejected.2.ndjson")] {
        let kept = std::fs::read_to_string(server.data().join(file)).unwrap();
        assert!(kept.lines().count() == 1 && kept.contains(session), "{kept}");
    }
}
