//! More than the server can take: idle sockets by the thousand, more load than its limits allow. Good clients get
//! through, whoever is refused is told when to come back, what was acknowledged is there once, memory stays bounded.
//!
//! How long good clients wait meanwhile is measured by `cargo xtask bench abuse`: nothing here is timed.

#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use std::collections::HashSet;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::sync::{Barrier, Mutex};
use std::time::Duration;

use common::{Answer, Server, connect, http};

/// Sockets that are opened and left alone.
const IDLE: usize = 10_000;

/// Raises the limit on open files; false if it is too low on this machine, and this is skipped.
fn may_open(files: u64, what: &str) -> bool {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum }).unwrap();
    let most = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    if most < files {
        common::skip(what, &format!("the system allows {most} open files"));
    }
    most >= files
}

fn event(session: &str, id: usize) -> String {
    format!(
        r#"{{"event_id":"{id}","session_id":"{session}","category":"c","name":"n","timestamp":1,"data":{{"id":{id}}}}}"#
    )
}

fn post(server: &Server, body: &str) -> Answer {
    let authorization = format!("Token {}", server.token());
    let headers = [("Authorization", authorization.as_str()), ("Content-Type", "application/x-ndjson")];
    http("POST", &format!("{}/v1/events", server.url), &headers, body.as_bytes()).unwrap()
}

/// Sends an event on a connection that is then kept; it must be acknowledged.
fn stay(server: &Server, body: &str) -> TcpStream {
    let mut stream = connect(&server.url).unwrap();
    let head = format!(
        "POST /v1/events HTTP/1.1\r\nHost: x\r\nAuthorization: Token {}\r\nContent-Length: {}\r\n\r\n",
        server.token(),
        body.len()
    );
    stream.write_all(format!("{head}{body}").as_bytes()).unwrap();
    let answer = common::read_answer(&mut stream, false).unwrap();
    assert_eq!((answer.status, answer.json()["stored"].as_u64()), (200, Some(1)), "{}", answer.text());
    stream
}

/// The ids of all events of a session.
fn ids(server: &Server, session: &str) -> Vec<String> {
    let authorization = format!("Token {}", server.token());
    let url = format!("{}/v1/sessions/{session}", server.url);
    let answer = http("GET", &url, &[("Authorization", &authorization)], b"").unwrap();
    if answer.status == 404 {
        return Vec::new();
    }
    assert_eq!(answer.status, 200, "{}", answer.text());
    let text = |event: &serde_json::Value| event["event_id"].as_str().unwrap().to_owned();
    answer.json()["events"].as_array().unwrap().iter().map(text).collect()
}

fn metric(server: &Server, name: &str) -> usize {
    let text = http("GET", &format!("{}/metrics", server.url), &[], b"").unwrap().text();
    let line = text.lines().find(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(' ')));
    line.and_then(|line| line.split(' ').nth(1)?.parse().ok()).unwrap()
}

/// Resident memory at its highest, in bytes.
fn peak_memory(server: &Server) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.id())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 1024
}

/// Opens them all; every second one has begun a head and says no more.
fn open_idle(server: &Server) -> Vec<TcpStream> {
    (0..IDLE)
        .map(|number| {
            let mut stream = connect(&server.url).unwrap();
            if number % 2 == 1 {
                stream.write_all(b"POST /v1/events HTTP/1.1\r\nHost: x\r\n").unwrap();
            }
            stream
        })
        .collect()
}

#[test]
fn ten_thousand_idle_sockets_keep_nobody_out() {
    if !may_open(IDLE as u64 + 1_000, "room for good clients beside 10,000 idle sockets") {
        return;
    }
    // They take all the room there is, for far longer than the good clients here would wait.
    let server = Server::start_with(&["--header-timeout", "1h", "--connections-max", &IDLE.to_string()]);
    assert_eq!(post(&server, &event("before", 0)).status, 200);
    let before = peak_memory(&server);
    let idle = open_idle(&server);
    // Each good client stays, so that each needs room of its own.
    let good: Vec<_> = (0..50).map(|number| stay(&server, &event("good", number))).collect();
    let read: HashSet<_> = ids(&server, "good").into_iter().collect();
    assert_eq!(read, (0..good.len()).map(|number| number.to_string()).collect());
    let open = metric(&server, "eye_connections");
    assert!((IDLE - 100..=IDLE).contains(&open), "{open} connections are open");
    let closed = metric(&server, "eye_connections_silent_total");
    assert!((good.len()..good.len() + 10).contains(&closed), "{closed} made room");
    let grown = peak_memory(&server).saturating_sub(before);
    println!(
        "{} sockets opened, {open} of them open, {closed} made room, {} KiB each",
        idle.len(),
        (grown / IDLE) >> 10
    );
    assert!(grown < IDLE * 24 * 1024, "{} MiB", grown >> 20);
}

#[test]
fn all_idle_sockets_are_closed_in_the_end() {
    if !may_open(IDLE as u64 + 1_000, "the end of 10,000 idle sockets") {
        return;
    }
    let server = Server::start_with(&["--header-timeout", "3s", "--connections-max", &(IDLE + 500).to_string()]);
    let idle = open_idle(&server);
    let count = idle.len();
    for mut stream in idle {
        let mut rest = Vec::new();
        if let Err(error) = stream.read_to_end(&mut rest) {
            assert_eq!(error.kind(), ErrorKind::ConnectionReset, "a socket is still open: {error}");
        }
    }
    let closed = metric(&server, "eye_connections_silent_total");
    println!("{count} sockets opened, all closed by the server, {closed} of them because they were silent");
    assert!(closed > 0);
    // The server counts a connection until it has noticed its end.
    let mut open = metric(&server, "eye_connections");
    for _ in 0..600 {
        if open <= 1 {
            break;
        }
        std::thread::sleep(Duration::from_millis(100));
        open = metric(&server, "eye_connections");
    }
    assert!(open <= 1, "{open} connections are still counted");
    assert_eq!(post(&server, &event("after", 0)).status, 200);
}

#[test]
fn strangers_that_send_a_body_byte_by_byte_have_no_more_time_than_for_a_head() {
    let server = Server::start_with(&["--header-timeout", "1s", "--body-timeout", "1h", "--body-idle-timeout", "1h"]);
    let mut slow = connect(&server.url).unwrap();
    slow.write_all(b"POST /v1/events HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{").unwrap();
    let answer = common::read_answer(&mut slow, false).unwrap();
    assert_eq!((answer.status, answer.json()["code"].as_str()), (408, Some("request_timeout")));
}

/// What one batch ended in.
enum End {
    Stored,
    Refused,
    /// Closed, or reset, before an answer came.
    Unknown,
    /// An answer that is not right, or no connection.
    Wrong(String),
}

#[test]
fn overload_refuses_and_loses_nothing() {
    const CLIENTS: usize = 64;
    const ROUNDS: usize = 8;
    const EVENTS: usize = 300;
    let mut server = Server::start_with(&[
        "--body-budget-bytes-max",
        "2MiB",
        "--body-bytes-max",
        "2MiB",
        "--hot-bytes-max",
        "4MiB",
        "--flush-bytes-max",
        "2MiB",
        "--ingest-wait-max",
        "100ms",
    ]);
    assert_eq!(post(&server, &event("before", 0)).status, 200);
    let before = peak_memory(&server);
    // Each round 64 clients have half a body on its way before any of them sends the rest: ten times what may be in
    // flight.
    let padding = "x".repeat(1_000);
    let (ends, half_way) = (Mutex::new(Vec::new()), Barrier::new(CLIENTS));
    std::thread::scope(|scope| {
        for client in 0..CLIENTS {
            let (server, padding, ends, half_way) = (&server, &padding, &ends, &half_way);
            scope.spawn(move || {
                for round in 0..ROUNDS {
                    let batch = round * CLIENTS + client;
                    let padded =
                        |id| event(&format!("s{batch}"), id).replace(":{", &format!(":{{\"p\":\"{padding}\","));
                    let body: String = (0..EVENTS).map(|id| padded(id) + "\n").collect();
                    let end = offer(server, &body, half_way);
                    ends.lock().unwrap().push((batch, end));
                }
            });
        }
    });
    let grown = peak_memory(&server).saturating_sub(before);
    let ends = ends.into_inner().unwrap();
    for (batch, end) in &ends {
        if let End::Wrong(what) = end {
            panic!("batch {batch}: {what}");
        }
    }
    assert_eq!(ends.len(), CLIENTS * ROUNDS);
    let stored: Vec<_> = ends.iter().filter(|(_, end)| matches!(end, End::Stored)).map(|(batch, _)| *batch).collect();
    let refused = ends.iter().filter(|(_, end)| matches!(end, End::Refused)).count();
    println!(
        "{} batches: {} acknowledged, {refused} refused, {} without an answer, memory grew by {} MiB",
        ends.len(),
        stored.len(),
        ends.len() - stored.len() - refused,
        grown >> 20
    );
    assert!(refused > 0 && !stored.is_empty());
    assert!(grown < 160 << 20, "{} MiB", grown >> 20);
    // It is over: events are taken again.
    let mut after = post(&server, &event("after", 0));
    for _ in 0..100 {
        if after.status == 200 {
            break;
        }
        std::thread::sleep(Duration::from_millis(100));
        after = post(&server, &event("after", 0));
    }
    assert_eq!(after.status, 200, "{}", after.text());
    server.stop();
    common::verify(&server.data());
    server.restart_with(&[]);
    for (batch, end) in &ends {
        let found = ids(&server, &format!("s{batch}"));
        let distinct: HashSet<_> = found.iter().collect();
        assert_eq!(distinct.len(), found.len(), "batch {batch}: stored twice");
        match end {
            End::Stored => assert_eq!(found.len(), EVENTS, "batch {batch} was acknowledged"),
            End::Refused | End::Unknown | End::Wrong(_) => {
                assert!(matches!(found.len(), 0 | EVENTS), "batch {batch}: a part of it")
            }
        }
    }
}

/// Sends a batch once, in two halves. Every client comes to the barrier, whatever happens to it: the others wait there.
fn offer(server: &Server, body: &str, half_way: &Barrier) -> End {
    let head = format!(
        "POST /v1/events HTTP/1.1\r\nHost: x\r\nAuthorization: Token {}\r\nContent-Type: application/x-ndjson\r\nContent-Length: {}\r\n\r\n",
        server.token(),
        body.len()
    );
    let (first, second) = body.as_bytes().split_at(body.len() / 2);
    let begun = connect(&server.url).map(|mut stream| {
        // A server that refuses early may close before all is sent: its answer counts.
        let is_sent = stream.write_all(&[head.as_bytes(), first].concat()).is_ok();
        (stream, is_sent)
    });
    half_way.wait();
    match begun {
        Ok((mut stream, is_sent)) => {
            if is_sent {
                let _ = stream.write_all(second);
            }
            common::read_answer(&mut stream, false).map_or(End::Unknown, |answer| judge(&answer))
        }
        Err(error) => End::Wrong(format!("it cannot connect: {error}")),
    }
}

/// A refusal must say when to come back.
fn judge(answer: &Answer) -> End {
    let later = answer.header("retry-after").and_then(|seconds| seconds.parse().ok()).unwrap_or(0);
    let json: Option<serde_json::Value> = serde_json::from_slice(&answer.body).ok();
    match (answer.status, later, json) {
        (200, _, Some(json)) if json["rejected"] == 0 => End::Stored,
        (429 | 503 | 507, 1_u32.., _) => End::Refused,
        _ => End::Wrong(format!("{} {:?}: {}", answer.status, answer.headers, answer.text())),
    }
}
