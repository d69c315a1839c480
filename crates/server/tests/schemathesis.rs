//! The API is what its OpenAPI document says: schemathesis makes requests from it, well and badly formed, alone and in
//! sequences, and checks every answer.
//!
//! Needs Python with the packages of `tests/requirements.txt`: `cargo xtask test` installs it and names it in
//! `XTASK_PYTHON`. `SCHEMATHESIS_SEED` and `SCHEMATHESIS_EXAMPLES` give other and more requests than usual.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

mod common;

use std::process::Command;

use common::{Server, http};

fn setting(name: &str, default: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| default.to_owned())
}

/// How often requests were answered with this status, by the server's own count.
fn answered(metrics: &str, status: u16) -> u64 {
    let wanted = format!("status=\"{status}\"}} ");
    let lines = metrics.lines().filter(|line| line.starts_with("eye_requests_total{"));
    lines.filter_map(|line| line.split_once(&wanted)?.1.trim().parse::<u64>().ok()).sum()
}

#[test]
#[ignore = "needs Python: cargo xtask test runs it"]
fn answers_are_what_the_document_says() {
    let python = std::env::var_os("XTASK_PYTHON").expect("XTASK_PYTHON is not set: run this through cargo xtask test");
    // An offset that was never reached is waited for: not here, a thousand times.
    let server = Server::start_with(&["--at-least-wait-max", "1ms"]);
    let authorization = format!("Token {}", server.admin_token());
    let tokens =
        || http("GET", &format!("{}/v1/tokens", server.url), &[("Authorization", &authorization)], b"").unwrap();
    let known = tokens().json();
    let own = known["tokens"].as_array().unwrap().iter().find(|token| token["name"] == "command line").unwrap();
    let reports = tempfile::tempdir().unwrap();
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/schemathesis");
    let output = Command::new(python)
        .args(["-B", "-m", "schemathesis.cli"])
        .args(["--config-file", &format!("{folder}/schemathesis.toml")])
        .args(["run", &format!("{}/openapi.json", server.url)])
        .args(["--header", &format!("Authorization: {authorization}")])
        .args(["--max-examples", &setting("SCHEMATHESIS_EXAMPLES", "40")])
        .args(["--seed", &setting("SCHEMATHESIS_SEED", "20260101")])
        .current_dir(reports.path())
        .env("SCHEMATHESIS_HOOKS", "hooks")
        .env("PYTHONPATH", folder)
        .env("KEPT_TOKEN", own["id"].as_str().unwrap())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    println!("{text}");
    assert!(output.status.success(), "schemathesis found differences");
    assert_eq!(tokens().status, 200, "the requests were made with a token that works");
    let metrics = http("GET", &format!("{}/metrics", server.url), &[], b"").unwrap().text();
    assert!(answered(&metrics, 200) > 100, "{metrics}");
    assert_eq!(answered(&metrics, 500), 0, "{metrics}");
    assert!(!server.log().contains("panicked"), "{}", server.log());
}
