//! Out of file descriptors: what is acknowledged meanwhile is there afterwards, and the server goes on when there are some.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod common;

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use common::{Answer, Server, connect, http, read_answer};
use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};

/// Lets the server have so many; what it has already stays. How many it could have before.
fn limit(server: &Server, descriptors: Option<u64>) -> Option<u64> {
    let wanted = Rlimit { current: descriptors, maximum: getrlimit(Resource::Nofile).maximum };
    let pid = Pid::from_raw(i32::try_from(server.id()).unwrap()).unwrap();
    prlimit(Some(pid), Resource::Nofile, wanted).unwrap().current
}

/// How many events there are; each once.
fn count_of(server: &Server) -> usize {
    let token = format!("Token {}", server.admin_token());
    let url = format!("{}/v1/events?limit=10000", server.url);
    let answer = http("GET", &url, &[("Authorization", &token)], b"").unwrap().json();
    assert!(answer["next"].is_null(), "one page holds them all");
    let all: Vec<&str> = answer["events"].as_array().unwrap().iter().map(|e| e["event_id"].as_str().unwrap()).collect();
    assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), all.len(), "each is there once");
    all.len()
}

#[test]
fn events_that_are_acknowledged_without_file_descriptors_are_there_when_there_are_some() {
    let mut server = Server::start_with(&["--flush-age-max", "50ms"]);
    let (token, admin) = (server.token(), server.admin_token());
    let mut next = 0;
    // On a connection that is there already.
    let mut stream = connect(&server.url).unwrap();
    let mut send = |stream: &mut std::net::TcpStream| {
        let answer = ask(stream, "/v1/events", &token, &event(next, 0));
        next += 1;
        assert_eq!((answer.status, answer.json()["stored"].as_u64()), (200, Some(1)), "{}", answer.text());
    };
    send(&mut stream);
    // There is none more: not for a connection, not for a file of the table.
    let before = limit(&server, Some(3));
    let mut waiting = connect(&server.url).unwrap();
    waiting.write_all(format!("POST /v1/flush HTTP/1.1\r\nHost: eye\r\nAuthorization: Token {admin}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").as_bytes()).unwrap();
    let begun = Instant::now();
    let mut count = 1;
    while !server.log().contains("flush failed") {
        send(&mut stream);
        count += 1;
        assert!(begun.elapsed() < Duration::from_secs(60), "no flush failed: {}", server.log());
        std::thread::sleep(Duration::from_millis(20));
    }
    for _ in 0..20 {
        send(&mut stream);
        count += 1;
    }
    limit(&server, before);
    // Whoever waited to be let in is answered, and what could not be flushed is.
    let mut answer = String::new();
    waiting.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert_eq!(count_of(&server), count);
    server.kill();
    common::verify(&server.data());
    server.restart();
    assert_eq!(count_of(&server), count);
    server.stop();
    common::verify(&server.data());
}

/// One request on a connection that is there already.
fn ask(stream: &mut TcpStream, path: &str, token: &str, body: &str) -> Answer {
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: eye\r\nAuthorization: Token {token}\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    read_answer(stream, false).unwrap()
}

fn event(number: usize, data_bytes: usize) -> String {
    // Nothing that can be packed.
    let mut state = number as u64;
    let mut letter = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        char::from(b'a' + (state >> 60) as u8)
    };
    let text: String = (0..data_bytes).map(|_| letter()).collect();
    format!(r#"{{"event_id":"e{number}","session_id":"s","category":"c","name":"n","data":{{"text":"{text}"}}}}"#)
}

#[test]
fn file_descriptors_that_come_and_go_at_any_step_of_a_flush_lose_and_double_nothing() {
    let mut server = Server::start_with(&["--flush-age-max", "10ms", "--log-keep-commits", "1"]);
    let (token, mut stream) = (server.token(), connect(&server.url).unwrap());
    let (begun, mut count) = (Instant::now(), 0);
    let has_failed = |server: &Server| {
        let log = server.log();
        let failed: Vec<&str> = log.lines().filter(|line| line.contains("flush failed")).collect();
        let is_of_commit = |line: &&str| line.contains("_delta_log");
        failed.iter().any(is_of_commit) && !failed.iter().all(is_of_commit)
    };
    // Until a commit has failed, and a data file.
    while !has_failed(&server) {
        assert!(begun.elapsed() < Duration::from_secs(120), "not both have failed: {}", server.log());
        let before = limit(&server, Some(3));
        for pause in [0, 1, 3] {
            let answer = ask(&mut stream, "/v1/events", &token, &event(count, 50));
            assert_eq!((answer.status, answer.json()["stored"].as_u64()), (200, Some(1)), "{}", answer.text());
            count += 1;
            std::thread::sleep(Duration::from_millis(pause));
        }
        limit(&server, before);
        std::thread::sleep(Duration::from_micros((count as u64 * 7_919) % 30_000));
    }
    assert_eq!(count_of(&server), count);
    server.kill();
    common::verify(&server.data());
    server.restart();
    assert_eq!(count_of(&server), count);
    server.stop();
    common::verify(&server.data());
}

#[test]
fn a_segment_that_finds_no_file_descriptor_is_refused_until_there_is_one() {
    let mut server = Server::start_with(&["--log-segment-bytes-max", "64KiB"]);
    let (token, mut stream) = (server.token(), connect(&server.url).unwrap());
    // Whoever is answered is served: the server has set its own limit by then.
    assert_eq!(ask(&mut stream, "/v1/events", &token, &event(0, 2_000)).status, 200);
    let before = limit(&server, Some(3));
    let mut count = 1;
    loop {
        let answer = ask(&mut stream, "/v1/events", &token, &event(count, 2_000));
        if answer.status != 200 {
            assert_eq!(answer.status, 503, "{}", answer.text());
            break;
        }
        count += 1;
        assert!(count < 1_000, "the segment holds it all");
    }
    assert!(count > 10, "some came before: {count}");
    limit(&server, before);
    assert_eq!(count_of(&server), count, "what was refused is not there");
    for number in 0..100 {
        assert_eq!(ask(&mut stream, "/v1/events", &token, &event(1_000 + number, 2_000)).status, 200);
    }
    assert_eq!(count_of(&server), count + 100);
    server.kill();
    server.restart();
    assert_eq!(count_of(&server), count + 100);
    server.stop();
    common::verify(&server.data());
}

#[test]
fn tokens_that_are_made_without_file_descriptors_work_after_a_restart() {
    let mut server = Server::start();
    let (admin, mut stream) = (server.admin_token(), connect(&server.url).unwrap());
    assert_eq!(ask(&mut stream, "/v1/flush", &admin, "{}").status, 200);
    let before = limit(&server, Some(3));
    let mut made = Vec::new();
    for number in 0..20 {
        let body = format!(r#"{{"name":"number {number}","kind":"secret"}}"#);
        let answer = ask(&mut stream, "/v1/tokens", &admin, &body);
        assert!(matches!(answer.status, 200 | 201 | 503), "{}", answer.text());
        if answer.status != 503 {
            made.push(answer.json()["token"].as_str().unwrap().to_owned());
        }
    }
    let works = |server: &Server, token: &str| {
        let url = format!("{}/v1/events?limit=1", server.url);
        http("GET", &url, &[("Authorization", &format!("Token {token}"))], b"").unwrap().status == 200
    };
    limit(&server, before);
    assert!(!made.is_empty(), "none was made");
    assert!(made.iter().all(|token| works(&server, token)));
    server.kill();
    server.restart();
    assert!(made.iter().all(|token| works(&server, token)));
    server.stop();
    common::verify(&server.data());
}

/// How a start with so few file descriptors ends: whether it serves, and what it says. It is killed then.
fn start_with_few(server: &Server, flags: &[&str], descriptors: usize) -> (bool, String) {
    let mut starting = Command::new("sh")
        .args(["-c", "ulimit -n \"$0\" && exec \"$@\"", &descriptors.to_string(), env!("CARGO_BIN_EXE_eye")])
        .args(["serve", "--listen", "127.0.0.1:0", "--data"])
        .arg(server.data())
        .args(flags)
        .current_dir(server.data().parent().unwrap())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let (stdout, mut stderr) = (starting.stdout.take().unwrap(), starting.stderr.take().unwrap());
    let (sender, served) = mpsc::channel();
    std::thread::spawn(move || {
        let mut lines = BufReader::new(stdout).lines().map_while(Result::ok);
        let _ = sender.send(lines.any(|line| line.starts_with("API and documentation:")));
    });
    let is_served = served.recv_timeout(Duration::from_secs(60));
    let _ = starting.kill();
    let _ = starting.wait();
    let mut log = String::new();
    let _ = stderr.read_to_string(&mut log);
    (is_served.unwrap_or_else(|_| panic!("the start hangs with {descriptors} descriptors: {log}")), log)
}

#[test]
fn a_start_that_finds_too_few_file_descriptors_refuses_and_harms_nothing() {
    let flags = ["--log-segment-bytes-max", "64KiB", "--flush-age-max", "60s", "--partitions", "2"];
    let mut server = Server::start_with(&flags);
    let (token, admin, mut stream) = (server.token(), server.admin_token(), connect(&server.url).unwrap());
    let mut count = 0;
    for _ in 0..3 {
        for _ in 0..50 {
            assert_eq!(ask(&mut stream, "/v1/events", &token, &event(count, 2_000)).status, 200);
            count += 1;
        }
        if count < 150 {
            assert_eq!(ask(&mut stream, "/v1/flush", &admin, "{}").status, 200);
        }
    }
    server.kill();
    // From the first that it cannot open on, one more each time, until it starts a few times.
    let (mut refused, mut served) = (0, 0);
    for descriptors in 4.. {
        let (is_served, log) = start_with_few(&server, &flags, descriptors);
        // The runtime panics if it gets none for itself, before anything is opened.
        assert!(!log.contains("panicked at crates/"), "{descriptors}: {log}");
        refused += usize::from(!is_served);
        served += usize::from(is_served);
        if served == 3 {
            break;
        }
        assert!(descriptors < 300, "it never starts: {log}");
        if descriptors % 4 == 0 {
            common::verify(&server.data());
        }
    }
    assert!(refused >= 10, "{refused}");
    server.restart();
    assert_eq!(count_of(&server), count);
    server.stop();
    common::verify(&server.data());
}
