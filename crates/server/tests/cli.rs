//! The command line as people and scripts use it: the real binary against a running server.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on must say where")]

mod common;

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::process::{Output, Stdio};

use common::{Server, eye};
use serde_json::Value;

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// The human answer of a command that must end with this code.
fn ends(output: &Output, code: i32) -> String {
    assert_eq!(output.status.code(), Some(code), "stdout: {}\nstderr: {}", out(output), err(output));
    out(output)
}

fn json(output: &Output, code: i32) -> Value {
    let text = ends(output, code);
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// Runs a command with something on standard input.
fn feed(server: &Server, arguments: &[&str], input: &[u8]) -> Output {
    let mut command = eye(&server.data());
    command.args(arguments).arg("--data").arg(server.data());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut process = command.spawn().unwrap();
    process.stdin.take().unwrap().write_all(input).unwrap();
    process.wait_with_output().unwrap()
}

fn event(id: &str, session: &str, name: &str, timestamp: &str) -> String {
    format!(
        "{{\"event_id\":\"{id}\",\"session_id\":\"{session}\",\"category\":\"page\",\"name\":\"{name}\",\
         \"timestamp\":\"{timestamp}\",\"data\":{{\"big\":123456789012345678901234567890}}}}\n"
    )
}

#[test]
fn sent_lines_are_stored_once_and_counted() {
    let server = Server::start();
    let mut lines: String = (0..1_200)
        .map(|n| event(&format!("e{n}"), &format!("s{}", n % 7), "view", "2022-01-09T09:15:27.243860Z"))
        .collect();
    let first = json(&feed(&server, &["send", "--json"], lines.as_bytes()), 0);
    assert_eq!((&first["stored"], &first["duplicate"], &first["offset"]), (&1_200.into(), &0.into(), &"1200".into()));
    let again = json(&feed(&server, &["send", "-", "--json", "--batch", "7", "--in-flight", "9"], lines.as_bytes()), 0);
    assert_eq!((&again["stored"], &again["duplicate"]), (&0.into(), &1_200.into()));

    lines = format!("\n{{\"session_id\":\"x\"}}\r\nnot json\n{}", event("new", "s0", "view", "2022-01-09"));
    let mixed = json(&feed(&server, &["send", "--json"], lines.as_bytes()), 1);
    assert_eq!((&mixed["stored"], &mixed["rejected"], &mixed["complete"]), (&1.into(), &2.into(), &true.into()));
    let places: Vec<_> = mixed["rejections"].as_array().unwrap().iter().map(|line| line["line"].as_u64()).collect();
    assert_eq!(places, [Some(2), Some(3)]);
    let human = feed(&server, &["send"], lines.as_bytes());
    let shown = ends(&human, 1);
    assert!(shown.contains("line 2: ") && shown.contains("(missing_field)"), "{shown}");
    assert!(shown.contains("0 stored, 1 duplicate, 2 rejected"), "{shown}");
    assert!(err(&human).contains("2 events refused"));

    let ledger = json(&server.eye(&["ledger", "--json"]), 0);
    let total: u64 = ledger["tokens"].as_array().unwrap().iter().map(|token| token["received"].as_u64().unwrap()).sum();
    assert_eq!(total, 2_406);
    assert!(ends(&server.eye(&["ledger"]), 0).contains("2,406"));
    let rejections = json(&server.eye(&["rejections", "--json", "--code", "not_json"]), 0);
    assert_eq!(rejections["rejections"].as_array().unwrap().len(), 2);
    assert!(ends(&server.eye(&["rejections"]), 0).contains("missing_field"));
}

#[test]
fn files_and_gzip_are_sent_and_a_missing_file_is_named() {
    let server = Server::start();
    let path = server.data().join("events.ndjson.gz");
    let mut gzip = flate2::write::GzEncoder::new(std::fs::File::create(&path).unwrap(), flate2::Compression::fast());
    // No event ids: each line gets its own.
    for _ in 0..10 {
        gzip.write_all(b"{\"session_id\":\"s\",\"category\":\"c\",\"name\":\"n\"}\n").unwrap();
    }
    gzip.finish().unwrap();
    let path = path.to_str().unwrap();
    assert_eq!(json(&server.eye(&["send", path, "--json"]), 0)["stored"], 10);
    assert_eq!(json(&server.eye(&["send", path, "--json"]), 0)["stored"], 10);
    let missing = server.eye(&["send", "no-such-file"]);
    ends(&missing, 2);
    assert!(err(&missing).contains("no-such-file"));
}

#[test]
fn a_session_is_a_timeline_without_anything_hostile() {
    let server = Server::start();
    let lines = [
        event("1", "a/b ?#%\u{e9}", "hello", "2022-01-09T09:00:00Z"),
        event("2", "a/b ?#%\u{e9}", "\\u001b[31mred\u{202e}", "2022-01-09T09:12:30Z"),
        event("3", "a/b ?#%\u{e9}", "odd", "yesterday"),
    ];
    ends(&feed(&server, &["send"], lines.concat().as_bytes()), 0);
    let shown = ends(&server.eye(&["session", "a/b ?#%\u{e9}"]), 0);
    assert!(shown.contains("… 12 min 30 s …") && shown.contains("3 events"), "{shown}");
    assert!(shown.contains("timestamp_unreadable, sent as \"yesterday\""), "{shown}");
    assert!(!shown.contains('\u{1b}') && !shown.contains('\u{202e}'), "{shown}");
    let at = |text: &str| shown.find(text).unwrap();
    assert!(at("odd") < at("red") && at("red") < at("hello"), "newest first:\n{shown}");

    let text = ends(&server.eye(&["session", "a/b ?#%\u{e9}", "--json"]), 0);
    assert!(text.contains("123456789012345678901234567890"), "numbers keep their digits: {text}");
    let document: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(document["events"].as_array().unwrap().len(), 3);
    assert!(document["offset"].is_string() && document["next"].is_null(), "{document}");

    let missing = server.eye(&["session", "nobody"]);
    assert_eq!(ends(&missing, 1), "");
    assert!(err(&missing).contains("eye events"), "{}", err(&missing));
}

#[test]
fn lists_are_filtered_paged_and_flushed() {
    let server = Server::start();
    let lines: String = (0..25)
        .map(|n| {
            event(
                &format!("{n}"),
                "s",
                if n % 5 == 0 { "fifth" } else { "other" },
                &format!("2022-01-09T09:15:{n:02}Z"),
            )
        })
        .collect();
    ends(&feed(&server, &["send"], format!("{lines}{}", event("x", "s", "odd", "nonsense")).as_bytes()), 0);
    let events = json(&server.eye(&["events", "--name", "fifth", "--order", "oldest", "--limit", "3", "--json"]), 0);
    let ids: Vec<_> = events["events"].as_array().unwrap().iter().map(|event| event["event_id"].clone()).collect();
    assert_eq!(ids, ["0", "5", "10"]);
    assert!(events["next"].is_string());
    let table = ends(&server.eye(&["events", "--to", "2022-01-09T09:15:02Z", "--from", "2022-01-09T09:15:01Z"]), 0);
    assert_eq!(table.lines().count(), 2, "{table}");
    assert!(table.starts_with("timestamp") && table.contains("09:15:01.000000"), "{table}");
    assert_eq!(ends(&server.eye(&["events", "--name", "nothing"]), 0), "no such events\n");
    let problems = json(&server.eye(&["problems", "--json"]), 0);
    assert_eq!(problems["problems"][0]["code"], "timestamp_unreadable");
    assert!(ends(&server.eye(&["problems"]), 0).contains("(nonsense)"));
    let flushed = json(&server.eye(&["flush", "--json"]), 0);
    assert_eq!(flushed["rows"], 26);
    assert!(ends(&server.eye(&["flush"]), 0).starts_with("0 events"));
    let wrong = server.eye(&["events", "--from", "soon"]);
    ends(&wrong, 2);
    assert!(err(&wrong).contains("from"), "{}", err(&wrong));
}

#[test]
fn tail_shows_what_arrives_from_an_offset_on() {
    let mut server = Server::start();
    ends(&feed(&server, &["send"], event("1", "s", "one", "2022-01-09").as_bytes()), 0);
    let mut command = eye(&server.data());
    command.args(["tail", "--json", "--after", "0", "--count", "3", "--data"]).arg(server.data());
    let mut process = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    ends(
        &feed(
            &server,
            &["send"],
            [event("2", "s", "two", "2022"), event("3", "t", "three", "2022")].concat().as_bytes(),
        ),
        0,
    );
    let mut lines = String::new();
    process.stdout.take().unwrap().read_to_string(&mut lines).unwrap();
    assert!(process.wait().unwrap().success());
    let names: Vec<_> = lines
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["name"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(names, ["one", "two", "three"]);
    let human = ends(&server.eye(&["tail", "--after", "0", "--count", "1", "--session-id", "t"]), 0);
    assert!(human.contains("page three"), "{human}");
    server.stop();
    ends(&server.eye(&["tail"]), 3);
}

/// A server that answers each connection with one of `answers`, in order; the requests it got, head and body.
fn scripted(answers: Vec<String>) -> (String, std::thread::JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let server = std::thread::spawn(move || {
        let answer = |answer: String| {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = Vec::new();
            let mut buffer = [0; 4096];
            loop {
                let read = stream.read(&mut buffer).unwrap();
                request.extend_from_slice(&buffer[..read]);
                let text = String::from_utf8_lossy(&request);
                let body = text.split_once("\r\n\r\n").map(|(_, body)| body.len());
                let length = text
                    .to_lowercase()
                    .split_once("content-length: ")
                    .map_or(0, |(_, rest)| rest.split('\r').next().unwrap().parse::<usize>().unwrap());
                if read == 0 || body.is_some_and(|body| body >= length) {
                    break;
                }
            }
            stream.write_all(answer.as_bytes()).unwrap();
            String::from_utf8(request).unwrap()
        };
        answers.into_iter().map(answer).collect()
    });
    (url, server)
}

fn answer(status: &str, headers: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {}\r\n{headers}\r\n{body}", body.len())
}

#[test]
fn a_refused_request_is_tried_again_with_the_same_ids() {
    let stored =
        r#"{"results":[{"status":"stored"},{"status":"stored"}],"stored":2,"duplicate":0,"rejected":0,"offset":"2"}"#;
    let (url, server) = scripted(vec![
        answer("200 OK", "", "ok"),
        answer("503 Service Unavailable", "Retry-After: 0\r\n", r#"{"code":"busy","detail":"too much at once"}"#),
        String::new(),
        answer("507 Insufficient Storage", "Retry-After: 0\r\n", ""),
        answer("200 OK", "", stored),
    ]);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("events");
    std::fs::write(&path, "{\"session_id\":\"s\"}\n{\"session_id\":\"t\",\"event_id\":null}\n").unwrap();
    let path = path.to_str().unwrap();
    let sent = eye(folder.path()).args(["send", path, "--json", "--token", "t", "--url", &url]).output().unwrap();
    let sent = json(&sent, 0);
    assert_eq!((&sent["stored"], &sent["retries"]), (&2.into(), &3.into()));
    let requests = server.join().unwrap();
    let bodies: Vec<_> = requests[1..].iter().map(|request| request.split_once("\r\n\r\n").unwrap().1).collect();
    assert!(
        bodies.iter().all(|body| *body == bodies[0]) && bodies[0].matches("\"event_id\":\"").count() == 2,
        "{bodies:?}"
    );
}

#[test]
fn giving_up_is_said_and_nothing_is_called_safe_that_is_not() {
    let busy = || answer("503 Service Unavailable", "Retry-After: 0\r\n", r#"{"detail":"too much at once"}"#);
    let (url, server) = scripted(vec![answer("200 OK", "", "ok"), busy(), busy()]);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("events");
    std::fs::write(&path, "{}\n").unwrap();
    let arguments = ["send", path.to_str().unwrap(), "--json", "--token", "t", "--tries", "2", "--url", &url];
    let output = eye(folder.path()).args(arguments).output().unwrap();
    let summary = json(&output, 3);
    assert_eq!((&summary["complete"], &summary["stored"]), (&false.into(), &0.into()));
    assert!(err(&output).contains("too much at once") && err(&output).contains("same input again"), "{}", err(&output));
    server.join().unwrap();
}

#[test]
fn tail_takes_up_a_broken_stream_where_it_broke_and_announces_gaps() {
    let message = |id: u32| {
        let time = "2022-01-09T09:15:27Z";
        format!(
            "id: 0:{id}\nevent: event\ndata: {{\"application\":\"web\",\"session_id\":\"s\",\"category\":\"c\",\
             \"name\":\"n{id}\",\"timestamp\":\"{time}\",\"received_at\":\"{time}\"}}\n\n"
        )
    };
    let stream =
        |body: String| format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: text/event-stream\r\n\r\n{body}");
    let gap = "event: gap\ndata: {\"from\":\"0:5\",\"to\":\"0:8\"}\n\n";
    let (url, server) = scripted(vec![
        stream(format!(": hello\n\n{}id: 0:5\nevent: event\nda", message(4))),
        answer("503 Service Unavailable", "", ""),
        stream(format!("{gap}{}", message(9))),
    ]);
    let folder = tempfile::tempdir().unwrap();
    let output = eye(folder.path()).args(["tail", "--count", "2", "--token", "t", "--url", &url]).output().unwrap();
    let shown = ends(&output, 0);
    assert!(shown.contains("c n4") && shown.contains("c n9") && shown.lines().count() == 2, "{shown}");
    assert!(err(&output).contains("0:5 and 0:8 were not resent"), "{}", err(&output));
    let requests: Vec<_> = server.join().unwrap().iter().map(|request| request.to_lowercase()).collect();
    assert!(!requests[0].contains("last-event-id"));
    assert!(requests[1..].iter().all(|request| request.contains("last-event-id: 0:4")), "{requests:?}");
}

#[test]
fn applications_tokens_and_users_are_managed() {
    let server = Server::start();
    ends(&server.eye(&["app", "create", "shop", "--title", "The shop"]), 0);
    assert!(ends(&server.eye(&["app", "list"]), 0).contains("The shop"));
    ends(&server.eye(&["app", "create", "shop"]), 2);

    let made = server.eye(&["token", "create", "web", "--kind", "write", "--application", "shop"]);
    let secret = ends(&made, 0).trim().to_owned();
    assert!(secret.starts_with("eye_wk_") && err(&made).contains("shown once"), "{secret} {}", err(&made));
    ends(&feed(&server, &["send", "--token", &secret], event("1", "s", "n", "2022").as_bytes()), 0);
    let refused = server.eye(&["events", "--token", &secret]);
    ends(&refused, 4);
    assert!(err(&refused).contains("eye token list"), "{}", err(&refused));

    let old = "0123456789abcdef0123456789abcdef01234567";
    ends(
        &feed(&server, &["token", "create", "old", "--application", "shop", "--import"], format!("{old}\n").as_bytes()),
        0,
    );
    ends(&server.eye(&["events", "--token", old]), 0);
    let tokens = json(&server.eye(&["token", "list", "--json"]), 0);
    let id = |name: &str| {
        let tokens = tokens["tokens"].as_array().unwrap();
        tokens.iter().find(|token| token["name"] == name).unwrap()["id"].as_str().unwrap().to_owned()
    };
    let rotated = ends(&server.eye(&["token", "rotate", &id("web"), "--overlap-seconds", "0"]), 0).trim().to_owned();
    assert_ne!(rotated, secret);
    ends(&server.eye(&["token", "revoke", &id("old")]), 0);
    let revoked = server.eye(&["events", "--token", old]);
    ends(&revoked, 4);
    assert!(err(&revoked).contains("eye token create"), "{}", err(&revoked));
    assert!(!ends(&server.eye(&["token", "list"]), 0).contains(&rotated));

    let user = feed(&server, &["user", "create", "Ann", "--role", "admin"], b"a good password\n");
    let token = ends(&user, 0).trim().to_owned();
    ends(&server.eye(&["user", "list", "--token", &token]), 0);
    ends(&server.eye(&["user", "create", "ci", "--no-password", "--json"]), 0);
    ends(&server.eye(&["user", "create", "boss", "--role", "admin", "--no-password"]), 0);
    ends(&server.eye(&["user", "role", "ci", "analyst"]), 0);
    ends(&feed(&server, &["user", "password", "ci"], b"another password\n"), 0);
    ends(&server.eye(&["user", "deactivate", "ann"]), 0);
    ends(&server.eye(&["user", "list", "--token", &token]), 4);
    ends(&server.eye(&["user", "activate", "ann"]), 0);
    ends(&server.eye(&["user", "list", "--token", &token]), 0);
    ends(&server.eye(&["user", "role", "nobody", "viewer"]), 1);
    let silent = feed(&server, &["user", "create", "eve"], b"");
    ends(&silent, 2);
    assert!(err(&silent).contains("password"), "{}", err(&silent));
}

#[test]
fn every_way_to_fail_says_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", nobody.local_addr().unwrap());
    drop(nobody);
    let run = |arguments: &[&str]| eye(folder.path()).args(arguments).output().unwrap();
    let unreachable = run(&["send", "--url", &address]);
    ends(&unreachable, 3);
    assert!(err(&unreachable).contains("eye serve") && err(&unreachable).contains(&address), "{}", err(&unreachable));
    ends(&run(&["events", "--url", "ftp://x"]), 2);
    ends(&run(&["events", "--no-such-flag"]), 2);
    ends(&run(&["session"]), 2);
    ends(&run(&["verify"]), 2);

    let server = Server::start();
    let stranger = run(&["events", "--url", &server.url]);
    ends(&stranger, 4);
    assert!(err(&stranger).contains("--token"), "{}", err(&stranger));
    ends(&run(&["events", "--url", &server.url, "--token", "eye_sk_nonsense"]), 4);
    ends(
        &eye(folder.path())
            .args(["events", "--json"])
            .env("EYE_URL", &server.url)
            .env("EYE_TOKEN", server.token())
            .output()
            .unwrap(),
        0,
    );
    let locked = server.eye(&["verify"]);
    ends(&locked, 3);
    assert!(err(&locked).contains(&server.id().to_string()), "{}", err(&locked));
}

#[test]
fn the_demo_is_the_same_for_the_same_seed() {
    let server = Server::start();
    let shape = ["--events", "3000", "--seed", "7", "--until", "2026-01-01T00:00:00Z"];
    let print = |extra: &[&str]| ends(&server.eye(&[&["demo", "--print"], &shape[..], extra].concat()), 0);
    let first = print(&[]);
    assert_eq!(first.lines().count(), 3_000);
    assert_eq!(first, print(&[]));
    assert_ne!(first, print(&["--days", "3"]));
    let sent = json(&server.eye(&[&["demo", "--json"], &shape[..]].concat()), 0);
    let count = |field: &str| sent[field].as_u64().unwrap();
    assert_eq!(count("stored") + count("duplicate") + count("rejected"), 3_000);
    assert!(count("duplicate") > 5 && count("rejected") > 1, "{sent}");
    let again = json(&feed(&server, &["send", "--json"], first.as_bytes()), 1);
    assert_eq!(again["stored"], 0);
}

#[test]
fn every_command_has_help_with_examples_and_completions_cover_it() {
    let folder = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str]| ends(&eye(folder.path()).args(arguments).output().unwrap(), 0);
    let script = run(&["completions", "bash"]);
    for command in [
        "app",
        "token",
        "user",
        "send",
        "import",
        "export",
        "session",
        "sessions",
        "events",
        "trend",
        "funnel",
        "retention",
        "paths",
        "diff",
        "values",
        "problems",
        "rejections",
        "tail",
        "ledger",
        "flush",
        "compact",
        "erase",
        "jobs",
        "demo",
        "verify",
        "completions",
    ] {
        let help = run(&[command, "--help"]);
        assert!(help.contains("Examples:") && help.contains("Exit codes:"), "{command}:\n{help}");
        assert!(
            script.contains(&format!("eye__subcmd__{command}")) || script.contains(&format!("eye__{command}")),
            "{command}"
        );
    }
    let manual = include_str!("../../../docs/cli.md");
    for line in
        run(&["--help"]).lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty())
    {
        let command = line.split_whitespace().next().unwrap();
        assert!(command == "help" || manual.contains(&format!("`eye {command}")), "docs/cli.md is silent on {command}");
    }
}
