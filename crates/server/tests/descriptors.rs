//! Out of file descriptors: what is acknowledged meanwhile is there afterwards, and the server goes on when there are some.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod common;

use std::io::{Read as _, Write as _};
use std::time::{Duration, Instant};

use common::{Server, connect, http, read_answer};
use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};

/// Lets the server have so many; what it has already stays. How many it could have before.
fn limit(server: &Server, descriptors: Option<u64>) -> Option<u64> {
    let wanted = Rlimit { current: descriptors, maximum: getrlimit(Resource::Nofile).maximum };
    let pid = Pid::from_raw(i32::try_from(server.id()).unwrap()).unwrap();
    prlimit(Some(pid), Resource::Nofile, wanted).unwrap().current
}

fn ids(server: &Server) -> usize {
    let token = format!("Token {}", server.admin_token());
    let url = format!("{}/v1/events?limit=1000", server.url);
    http("GET", &url, &[("Authorization", &token)], b"").unwrap().json()["events"].as_array().unwrap().len()
}

#[test]
fn events_that_are_acknowledged_without_file_descriptors_are_there_when_there_are_some() {
    let mut server = Server::start_with(&["--flush-age-max", "50ms"]);
    let (token, admin) = (server.token(), server.admin_token());
    let mut next = 0;
    // On a connection that is there already.
    let mut stream = connect(&server.url).unwrap();
    let mut send = |stream: &mut std::net::TcpStream| {
        let body = format!(r#"{{"event_id":"e{next}","session_id":"s","category":"c","name":"n"}}"#);
        let head = format!(
            "POST /v1/events HTTP/1.1\r\nHost: eye\r\nAuthorization: Token {token}\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(head.as_bytes()).unwrap();
        next += 1;
        let answer = read_answer(stream, false).unwrap();
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
    assert_eq!(ids(&server), count);
    server.kill();
    common::verify(&server.data());
    server.restart();
    assert_eq!(ids(&server), count);
    server.stop();
    common::verify(&server.data());
}
