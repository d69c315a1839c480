//! Starting and stopping the real binary: what it prints works when pasted, what is wrong is named, what is in flight
//! is finished.

#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use common::{Server, connect, eye, http, read_answer};
use rustix::process::Signal;

fn run(folder: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    eye(folder).args(arguments).envs(environment.iter().copied()).output().unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn the_printed_commands_work_when_pasted() {
    let server = Server::start();
    let lines: Vec<_> = server.banner.lines().collect();
    let start = lines.iter().position(|line| line.trim_start().starts_with("curl ")).unwrap();
    let end = start + lines[start..].iter().position(|line| line.is_empty()).unwrap();
    let curl = lines[start..end].join("\n");
    let sent = Command::new("sh").args(["-c", &curl]).output().unwrap();
    assert!(stdout(&sent).contains(r#""stored":1"#), "{curl}\n{}{}", stdout(&sent), stderr(&sent));
    let see = lines.iter().find(|line| line.contains(" session first-visit")).unwrap();
    let seen = Command::new("sh").args(["-c", see]).output().unwrap();
    assert!(seen.status.success(), "{see}\n{}", stderr(&seen));
    assert!(stdout(&seen).contains("view"), "{}", stdout(&seen));
    assert!(!stdout(&seen).contains("timestamp_missing"), "{}", stdout(&seen));
}

#[test]
fn secrets_are_shown_once_and_kept_nowhere_but_in_the_owners_file() {
    use std::os::unix::fs::PermissionsExt as _;
    let mut server = Server::start();
    let token = server.token();
    let setup = server.banner.split("/setup#").nth(1).unwrap().split_whitespace().next().unwrap().to_owned();
    let mode = std::fs::metadata(server.data().join("cli-token")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let admin = server.admin_token();
    server.stop();
    assert!(!server.data().join("address").exists());
    for secret in [token.as_str(), setup.as_str(), admin.as_str()] {
        assert!(!server.log().contains(secret), "{}", server.log());
        let found = Command::new("grep").args(["-rla", secret]).arg(server.data()).output().unwrap();
        let files = stdout(&found);
        assert!(files.lines().all(|file| file.ends_with("cli-token")), "{files}");
    }
    server.restart();
    assert!(!server.banner.contains("eye_sk_") && !server.banner.contains("/setup"), "{}", server.banner);
    assert_eq!(server.admin_token(), admin, "the command line's token lasts");
}

#[test]
fn a_lost_cli_token_is_made_anew_and_the_old_one_opens_nothing() {
    let mut server = Server::start();
    let old = server.admin_token();
    server.stop();
    std::fs::remove_file(server.data().join("cli-token")).unwrap();
    server.restart();
    let status = |token: &str| {
        let authorization = format!("Token {token}");
        http("GET", &format!("{}/v1/tokens", server.url), &[("Authorization", &authorization)], b"").unwrap().status
    };
    assert_eq!(status(&server.admin_token()), 200);
    assert_eq!(status(&old), 401);
}

#[test]
fn a_data_folder_is_opened_by_one_process() {
    let server = Server::start();
    let second = server.eye(&["serve", "--listen", "127.0.0.1:0"]);
    assert_eq!(second.status.code(), Some(1));
    let error = stderr(&second);
    assert!(error.contains(&format!("process {}", server.id())) && error.contains("stop it first"), "{error}");
}

#[test]
fn an_address_in_use_is_named() {
    let server = Server::start();
    let folder = tempfile::tempdir().unwrap();
    let address = server.url.strip_prefix("http://").unwrap();
    let second = run(folder.path(), &["--listen", address], &[]);
    assert_eq!(second.status.code(), Some(1));
    assert!(stderr(&second).contains(address) && stderr(&second).contains("--listen"), "{}", stderr(&second));
}

#[test]
fn a_first_start_that_fails_does_not_use_up_its_secrets() {
    let folder = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let serve = ["serve", "--data", "data", "--listen", "127.0.0.1:0"];
    let failed = run(folder.path(), &[&serve[..], &["--postgres-listen", address.as_str()]].concat(), &[]);
    assert_eq!(failed.status.code(), Some(1));
    assert!(stderr(&failed).contains(&address), "{}", stderr(&failed));
    assert!(!stdout(&failed).contains("eye_sk_"), "{}", stdout(&failed));
    let mut process = eye(folder.path()).args(serve).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let lines = BufReader::new(process.stdout.take().unwrap()).lines().map_while(Result::ok);
    let banner: Vec<_> = lines.take_while(|line| !line.starts_with("API and documentation:")).collect();
    process.kill().unwrap();
    process.wait().unwrap();
    let banner = banner.join("\n");
    assert!(banner.contains("Authorization: Token eye_sk_") && banner.contains("/setup#"), "{banner}");
}

/// Flags, environment, and what the error must say.
type Case<'a> = (&'a [&'a str], &'a [(&'a str, &'a str)], &'a str);

#[test]
fn unknown_and_wrong_settings_stop_the_start_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let cases: [Case<'_>; 6] = [
        (&["--flush-age", "1s"], &[], "--flush-age-max"),
        (&["--flush-age-max", "soon"], &[], "--flush-age-max is \"soon\""),
        (&[], &[("EYE_FLUSH_AGE", "1s")], "did you mean EYE_FLUSH_AGE_MAX?"),
        (&[], &[("EYE_PARTITIONS", "0")], "partitions must be"),
        (&["--config", "nowhere.toml"], &[], "nowhere.toml"),
        (&["--log-level", "loud,=x"], &[], "log_level"),
    ];
    for (arguments, environment, says) in cases {
        let output = run(folder.path(), arguments, environment);
        assert!(!output.status.success(), "{arguments:?}");
        assert!(stderr(&output).contains(says), "{says}: {}", stderr(&output));
    }
    std::fs::write(folder.path().join("eye.toml"), "lisen = \"127.0.0.1:0\"\n").unwrap();
    let output = run(folder.path(), &["config"], &[]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("did you mean listen?"), "{}", stderr(&output));
}

#[test]
fn config_says_what_is_in_force_and_where_it_comes_from() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(
        folder.path().join("eye.toml"),
        "events_max = 77\n[table_option]\naws_secret_access_key = \"hush\"\n",
    )
    .unwrap();
    let environment = [("EYE_FLUSH_AGE_MAX", "7s"), ("EYE_TOKEN", "eye_sk_hush")];
    let text = stdout(&run(folder.path(), &["config", "--listen", "127.0.0.1:1"], &environment));
    let line = |name: &str| text.lines().find(|line| line.starts_with(&format!("{name} "))).unwrap().to_owned();
    assert!(line("events_max").contains("77") && line("events_max").contains("# file eye.toml"), "{text}");
    assert!(line("flush_age_max").contains("\"7s\"") && line("flush_age_max").contains("EYE_FLUSH_AGE_MAX"), "{text}");
    assert!(line("listen").contains("flag --listen"), "{text}");
    assert!(line("dedup_window").contains("# default"), "{text}");
    assert!(!text.contains("hush"), "{text}");
    let json = stdout(&run(folder.path(), &["config", "--json"], &environment));
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    let events = json["settings"].as_array().unwrap().iter().find(|setting| setting["name"] == "events_max").unwrap();
    assert_eq!((&events["value"], &events["origin"]), (&"77".into(), &"file".into()));
}

#[test]
fn the_number_of_partitions_never_changes() {
    let mut server = Server::start_with(&["--partitions", "3"]);
    server.stop();
    let again = server.eye(&["serve", "--listen", "127.0.0.1:0", "--partitions", "2"]);
    assert_eq!(again.status.code(), Some(1));
    assert!(stderr(&again).contains("made with 3"), "{}", stderr(&again));
    server.restart();
    let body: Vec<_> = (0..30)
        .map(|n| serde_json::json!({"session_id": format!("s{n}"), "category": "c", "name": "n", "timestamp": 1, "data": {}}))
        .collect();
    let authorization = format!("Token {}", server.token());
    let body = serde_json::Value::from(body).to_string();
    let url = format!("{}/v1/events", server.url);
    let answer = http("POST", &url, &[("Authorization", &authorization)], body.as_bytes()).unwrap().json();
    assert_eq!(answer["stored"], 30);
    assert_eq!(answer["offset"].as_str().unwrap().split(',').count(), 3);
}

#[test]
fn sigterm_finishes_what_is_in_flight() {
    let mut server = Server::start();
    let body = r#"{"event_id":"last","session_id":"s","category":"c","name":"n","timestamp":1,"data":{}}"#;
    let head = format!(
        "POST /v1/events HTTP/1.1\r\nHost: x\r\nAuthorization: Token {}\r\nExpect: 100-continue\r\nContent-Length: {}\r\n\r\n",
        server.token(),
        body.len()
    );
    let mut stream = connect(&server.url).unwrap();
    stream.write_all(head.as_bytes()).unwrap();
    let mut go_on = [0; 25];
    stream.read_exact(&mut go_on).unwrap();
    assert!(go_on.starts_with(b"HTTP/1.1 100"));
    server.signal(Signal::TERM);
    while connect(&server.url).is_ok() {
        std::thread::yield_now();
    }
    stream.write_all(body.as_bytes()).unwrap();
    let answer = read_answer(&mut stream, false).unwrap();
    assert_eq!((answer.status, &answer.json()["stored"]), (200, &1.into()));
    server.stop();
    server.restart();
    let authorization = format!("Token {}", server.token());
    let session = http("GET", &format!("{}/v1/sessions/s", server.url), &[("Authorization", &authorization)], b"");
    assert_eq!(session.unwrap().json()["events"][0]["event_id"], "last");
}

#[test]
fn a_second_signal_does_not_wait_for_slow_clients() {
    let mut server =
        Server::start_with(&["--shutdown-timeout", "1h", "--body-idle-timeout", "1h", "--body-timeout", "1h"]);
    let head = format!(
        "POST /v1/events HTTP/1.1\r\nHost: x\r\nAuthorization: Token {}\r\nExpect: 100-continue\r\nContent-Length: 10\r\n\r\n",
        server.token()
    );
    let mut stream = connect(&server.url).unwrap();
    stream.write_all(head.as_bytes()).unwrap();
    stream.read_exact(&mut [0; 25]).unwrap();
    server.signal(Signal::TERM);
    while connect(&server.url).is_ok() {
        std::thread::yield_now();
    }
    server.stop();
}

#[test]
fn help_and_version_are_there() {
    let folder = tempfile::tempdir().unwrap();
    let help = stdout(&run(folder.path(), &["--help"], &[]));
    assert!(help.contains("--flush-age-max") && help.contains("serve") && help.contains("[default: 60s]"), "{help}");
    let short = stdout(&run(folder.path(), &["-h"], &[]));
    assert!(!short.contains("--flush-age-max") && short.contains("--listen"), "{short}");
    assert!(stdout(&run(folder.path(), &["--version"], &[])).starts_with("eye "));
}
