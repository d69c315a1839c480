//! What a test binary starts is gone when whoever runs it is.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

/// What the guard runs: it starts a process that outlives it, and waits for it.
const SCRIPT: &str = "#!/bin/sh\nsleep 600 &\necho $!\nwait\n";

#[test]
fn the_guard_kills_all_when_its_standard_input_ends() {
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("script");
    std::fs::write(&script, SCRIPT).unwrap();
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    let mut guard = Command::new(env!("CARGO_BIN_EXE_mutants"));
    guard.arg("guard").arg(&script).process_group(0).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut guard = guard.spawn().unwrap();
    let mut lines = BufReader::new(guard.stdout.take().unwrap()).lines();
    let sleeper = lines.next().unwrap().unwrap();
    let is_there = || Command::new("kill").args(["-0", &sleeper]).stderr(Stdio::null()).status().unwrap().success();
    assert!(is_there());
    drop(guard.stdin.take());
    assert!(!guard.wait().unwrap().success());
    // Its output ends when the last process that holds it does.
    assert!(lines.next().is_none());
}

#[test]
fn the_guard_ends_as_what_it_runs() {
    for (program, has_passed) in [("true", true), ("false", false)] {
        let mut guard = Command::new(env!("CARGO_BIN_EXE_mutants"));
        let mut guard = guard.args(["guard", program]).process_group(0).stdin(Stdio::piped()).spawn().unwrap();
        let input = guard.stdin.take();
        assert_eq!(guard.wait().unwrap().success(), has_passed);
        drop(input);
    }
}

#[test]
fn a_guard_that_would_kill_others_too_does_not_start() {
    let mut guard = Command::new(env!("CARGO_BIN_EXE_mutants"));
    let status = guard.args(["guard", "true"]).stdin(Stdio::null()).status().unwrap();
    assert_eq!(status.code(), Some(1));
}
