//! `eye verify` on data folders that are sound, damaged, and just killed.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on must say where")]

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;

use common::{Server, eye};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

/// Every file below a folder, in order.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}

fn find(data: &Path, folder: &str, end: &str) -> PathBuf {
    let files = files(&data.join(folder));
    files.into_iter().rfind(|path| path.to_str().unwrap().ends_with(end)).unwrap()
}

fn run(data: &Path, extra: &[&str]) -> Output {
    eye(data).arg("verify").arg("--data").arg(data).args(extra).output().unwrap()
}

fn report(data: &Path, code: i32) -> Value {
    let output = run(data, &["--json"]);
    assert_eq!(output.status.code(), Some(code), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn verdict<'a>(report: &'a Value, name: &str) -> &'a str {
    let checks = report["checks"].as_array().unwrap();
    checks.iter().find(|check| check["name"] == name).unwrap()["verdict"].as_str().unwrap()
}

/// A data folder of a killed server: some events in the table, some only in the log.
fn killed() -> Server {
    let mut server = Server::start();
    let demo = |seed: &str| server.eye(&["demo", "--events", "2000", "--seed", seed, "--json"]);
    assert!(demo("1").status.success());
    assert!(server.eye(&["flush"]).status.success());
    assert!(demo("2").status.success());
    server.kill();
    server
}

#[test]
fn a_killed_server_leaves_a_sound_folder_and_verify_changes_no_byte() {
    let server = killed();
    let contents =
        || files(&server.data()).into_iter().map(|path| (fs::read(&path).unwrap(), path)).collect::<Vec<_>>();
    let before = contents();
    let report = report(&server.data(), 0);
    assert_eq!(report["sound"], true, "{report}");
    assert_eq!(report["counts"]["entries_behind_table"], 2_000);
    let books = &report["ledger"][0];
    let count = |field: &str| books[field].as_u64().unwrap();
    assert_eq!(count("received"), 4_000);
    assert_eq!(count("received"), count("stored") + count("duplicate") + count("rejected"));
    assert!(count("duplicate") > 0 && count("rejected") > 0);
    let human = String::from_utf8(run(&server.data(), &["--quick"]).stdout).unwrap();
    assert_eq!(human.matches('✓').count(), 7, "{human}");
    assert!(before == contents(), "verify wrote something");
}

#[test]
fn verify_agrees_with_the_server_about_the_ledger() {
    let mut server = killed();
    let offline = report(&server.data(), 0)["ledger"].clone();
    server.restart();
    let online: Value = serde_json::from_slice(&server.eye(&["ledger", "--json"]).stdout).unwrap();
    for field in ["token", "received", "stored", "duplicate", "rejected"] {
        assert_eq!(offline[0][field], online["tokens"][0][field], "{field}");
    }
}

#[test]
fn a_flipped_byte_in_the_log_is_named_with_file_and_byte() {
    let mut server = killed();
    let segment = find(&server.data(), "log", ".seg");
    let mut bytes = fs::read(&segment).unwrap();
    let at = bytes.len() / 2;
    bytes[at] ^= 0x10;
    fs::write(&segment, bytes).unwrap();
    let report = report(&server.data(), 1);
    let finding = &report["findings"][0];
    let name = segment.strip_prefix(server.data()).unwrap().to_str().unwrap().to_owned();
    assert_eq!(finding["file"], name.as_str());
    assert!(finding["byte"].as_u64().unwrap() <= at as u64, "{finding}");
    assert_eq!(verdict(&report, "acknowledged_means_durable"), "violated");
    assert_eq!(verdict(&report, "nothing_vanishes"), "unchecked");
    let human = String::from_utf8(run(&server.data(), &[]).stdout).unwrap();
    assert!(human.contains(&name) && human.contains("byte "), "{human}");
    server.kill();
}

#[test]
fn a_removed_or_changed_parquet_file_is_named() {
    let server = killed();
    let path = find(&server.data(), "table/events", ".parquet");
    let name = path.strip_prefix(server.data()).unwrap().to_str().unwrap().to_owned();
    let bytes = fs::read(&path).unwrap();
    let mut changed = bytes.clone();
    changed[bytes.len() / 3] ^= 1;
    fs::write(&path, changed).unwrap();
    let flipped = report(&server.data(), 1);
    assert_eq!(flipped["findings"][0]["file"], name.as_str(), "{flipped}");
    fs::remove_file(&path).unwrap();
    let removed = report(&server.data(), 1);
    assert_eq!(removed["findings"][0]["file"], name.as_str());
    assert!(removed["findings"][0]["what"].as_str().unwrap().contains("missing"));
    fs::write(&path, bytes).unwrap();
    assert_eq!(report(&server.data(), 0)["sound"], true);
}

#[test]
fn a_torn_commit_and_a_lost_table_are_named_and_not_mended() {
    let server = killed();
    let commit = find(&server.data(), "table/events/_delta_log", ".json");
    let bytes = fs::read(&commit).unwrap();
    fs::write(&commit, b"").unwrap();
    let torn = report(&server.data(), 1);
    let name = commit.strip_prefix(server.data()).unwrap().to_str().unwrap().to_owned();
    assert_eq!(torn["findings"][0]["file"], name.as_str(), "{torn}");
    assert_eq!(fs::read(&commit).unwrap(), b"", "it is left as it is");
    fs::write(&commit, bytes).unwrap();
    fs::rename(server.data().join("table/events"), server.data().join("elsewhere")).unwrap();
    let lost = report(&server.data(), 1);
    assert_eq!(lost["findings"][0]["file"], "table/events", "{lost}");
    assert!(!server.data().join("table/events").join("_delta_log").exists());
}

/// What a process leaves that dies while it writes a checkpoint, and one that has rotted: the commits say the same.
#[test]
fn a_checkpoint_that_was_never_proven_or_is_damaged_is_no_harm() {
    for is_proven in [false, true] {
        let mut server = killed();
        let commit = find(&server.data(), "table/events/_delta_log", ".json");
        let version: u64 = commit.file_stem().unwrap().to_str().unwrap().parse().unwrap();
        let checkpoint = commit.with_extension("checkpoint.parquet");
        fs::write(&checkpoint, b"PAR1").unwrap();
        let hint = commit.with_file_name("_last_checkpoint");
        fs::write(&hint, format!(r#"{{"version":{version},"size":1}}"#)).unwrap();
        if is_proven {
            let folder = server.data().join("table/events/_checksums");
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join(format!("{version:020}.checkpoint.sha256")), "0".repeat(64)).unwrap();
        }
        let contents =
            || files(&server.data()).into_iter().map(|path| (fs::read(&path).unwrap(), path)).collect::<Vec<_>>();
        let before = contents();
        let found = report(&server.data(), 0);
        assert_eq!((&found["sound"], verdict(&found, "nothing_vanishes")), (&Value::Bool(true), "holds"), "{found}");
        let name = checkpoint.strip_prefix(server.data()).unwrap().to_str().unwrap();
        let notices: Vec<_> = found["notices"].as_array().unwrap().iter().map(|n| n.as_str().unwrap()).collect();
        let notice = notices.iter().find(|notice| notice.contains(name)).unwrap();
        let why = if is_proven { "has rotted: look at the disk" } else { "whose writing did not end" };
        assert!(notice.contains(why), "{notices:?}");
        assert!(contents() == before, "a byte has changed");
        server.restart();
        server.stop();
        assert!(!checkpoint.exists() && !hint.exists(), "the start sets it aside");
        assert_eq!(report(&server.data(), 0)["sound"], true);
    }
}

#[test]
fn a_checkpoint_of_no_use_is_named_though_the_table_does_not_open() {
    let server = killed();
    let commit = find(&server.data(), "table/events/_delta_log", ".json");
    let version: u64 = commit.file_stem().unwrap().to_str().unwrap().parse().unwrap();
    fs::write(commit.with_file_name(format!("{:020}.checkpoint.parquet", version - 1)), b"PAR1").unwrap();
    fs::write(&commit, b"").unwrap();
    let found = report(&server.data(), 1);
    assert!(found["notices"].to_string().contains("checkpoint.parquet"), "{found}");
}

#[test]
fn a_log_that_lost_its_end_violates_the_meeting_of_log_and_table() {
    let server = killed();
    for segment in files(&server.data().join("log/0")) {
        fs::remove_file(segment).unwrap();
    }
    let report = report(&server.data(), 1);
    assert_eq!(verdict(&report, "acknowledged_means_durable"), "violated");
    assert_eq!(verdict(&report, "exactly_one_place"), "unchecked");
    assert!(report["findings"][0]["what"].as_str().unwrap().contains("not the log that fed it"), "{report}");
}

/// Sends an event, always the same: what became of it.
fn send_again(server: &Server) -> Value {
    let authorization = format!("Token {}", server.token());
    let headers = [("authorization", authorization.as_str()), ("content-type", "application/json")];
    let event = json!([{"event_id": "e", "session_id": "s", "category": "c", "name": "n", "data": {}}]);
    let url = format!("{}/v1/events", server.url);
    let answer = common::http("POST", &url, &headers, event.to_string().as_bytes()).unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()["results"][0]["status"].clone()
}

/// A commit with another text has another hash.
fn sealed(commit: &str) -> String {
    const PREFIX: &str = r#"{"commitInfo":{"eyeSha256":""#;
    let rest = commit.strip_prefix(PREFIX).unwrap().get(64..).unwrap();
    let zeros = "0".repeat(64);
    let hash = Sha256::digest(format!("{PREFIX}{zeros}{rest}").as_bytes());
    let hash: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{PREFIX}{hash}{rest}")
}

/// A commit as it was before commits said under which window their events were decided.
fn without_the_window(commit: &str) -> String {
    let start = commit.find(r#""dedup":["#).unwrap();
    let end = start + commit[start..].find(']').unwrap() + 1;
    match commit[end..].strip_prefix(',') {
        Some(rest) => format!("{}{rest}", &commit[..start]),
        None => format!("{}{}", commit[..start].trim_end_matches(','), &commit[end..]),
    }
}

#[test]
fn events_are_judged_by_the_window_under_which_they_were_decided() {
    let second = || std::thread::sleep(Duration::from_millis(1_100));
    let mut server = Server::start_with(&["--dedup-window", "1s"]);
    assert_eq!(send_again(&server), "stored");
    second();
    assert_eq!(send_again(&server), "stored");
    assert!(server.eye(&["flush"]).status.success());
    server.stop();
    // The default is a day.
    assert_eq!(report(&server.data(), 0)["sound"], true);
    server.restart_with(&[]);
    second();
    assert_eq!(send_again(&server), "duplicate");
    assert!(server.eye(&["flush"]).status.success());
    server.stop();
    assert_eq!(report(&server.data(), 0)["sound"], true);
    let mut command = eye(&server.data());
    command.args(["verify", "--json", "--data"]).arg(server.data()).env("EYE_DEDUP_WINDOW", "1s");
    let lowered = command.output().unwrap();
    assert_eq!(lowered.status.code(), Some(0), "{}", String::from_utf8_lossy(&lowered.stdout));

    let path = find(&server.data(), "table/events/_delta_log", ".json");
    let commit = fs::read_to_string(&path).unwrap();
    assert_eq!(sealed(&commit), commit);
    // Had it been a day from the beginning, the second would be the first again.
    let doubled = commit.replace(r#""window_seconds":1"#, r#""window_seconds":86400"#);
    assert_ne!(doubled, commit);
    fs::write(&path, sealed(&doubled)).unwrap();
    let found = report(&server.data(), 1);
    assert_eq!(verdict(&found, "one_identity"), "violated", "{found}");
    // A commit of before says nothing: nobody knows.
    fs::write(&path, sealed(&without_the_window(&commit))).unwrap();
    let found = report(&server.data(), 0);
    assert_eq!(found["sound"], true, "{found}");
    assert!(found["notices"].to_string().contains("not called doubled"), "{found}");
}
