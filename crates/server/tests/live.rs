//! The live tail, from outside: what arrives is sent, a broken stream resumes where it broke off, and what cannot be
//! sent any more is announced.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on says where")]

mod common;

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::time::Duration;

use common::{Answer, Server};
use serde_json::{Value, json};

/// One message of a stream.
#[derive(Debug, PartialEq)]
struct Message {
    event: String,
    id: String,
    data: Value,
}

/// A stream that is being read.
struct Stream {
    status: u16,
    headers: String,
    lines: BufReader<TcpStream>,
}

impl Stream {
    /// Connects and reads the head of the answer.
    fn open(server: &Server, token: &str, query: &str, last_event_id: Option<&str>) -> Self {
        let address = server.url.strip_prefix("http://").unwrap();
        let mut socket = TcpStream::connect(address).unwrap();
        // Only so that a broken test ends.
        socket.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let resume = last_event_id.map(|id| format!("last-event-id: {id}\r\n")).unwrap_or_default();
        let request =
            format!("GET /v1/live{query} HTTP/1.1\r\nhost: {address}\r\nauthorization: Token {token}\r\n{resume}\r\n");
        socket.write_all(request.as_bytes()).unwrap();
        let mut lines = BufReader::new(socket);
        let mut headers = String::new();
        while !headers.ends_with("\r\n\r\n") {
            assert_ne!(lines.read_line(&mut headers).unwrap(), 0, "{headers}");
        }
        let status = headers.split(' ').nth(1).unwrap().parse().unwrap();
        Self { status, headers: headers.to_lowercase(), lines }
    }

    /// The next line of the stream; `None` at its end. Lines that end in CR LF frame the chunks, ours end in LF.
    fn line(&mut self) -> Option<String> {
        loop {
            let mut line = String::new();
            if self.lines.read_line(&mut line).unwrap() == 0 || line == "0\r\n" {
                return None;
            }
            if !line.ends_with("\r\n") {
                return Some(line.trim_end().to_owned());
            }
        }
    }

    /// The next message, even one without data; `None` at the end.
    fn any(&mut self) -> Option<Message> {
        let mut message = Message { event: String::new(), id: String::new(), data: Value::Null };
        loop {
            let line = self.line()?;
            match line.split_once(": ") {
                Some(("event", event)) => message.event = event.to_owned(),
                Some(("id", id)) => message.id = id.to_owned(),
                Some(("data", data)) => message.data = serde_json::from_str(data).unwrap(),
                _ if line.is_empty() => return Some(message),
                _ => {}
            }
        }
    }

    /// The next message with data. Gives up when only heartbeats come: what is waited for was sent before.
    fn next(&mut self) -> Message {
        for _ in 0..3 {
            let message = self.any().expect("the stream goes on");
            if !message.event.is_empty() {
                return message;
            }
        }
        panic!("nothing comes any more");
    }

    fn next_ids(&mut self, count: usize) -> Vec<String> {
        (0..count).map(|_| self.next().data["event_id"].as_str().unwrap().to_owned()).collect()
    }
}

fn http(method: &str, url: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
    common::http(method, url, headers, body).unwrap()
}

fn post(server: &Server, token: &str, path: &str, body: &Value) -> Value {
    let authorization = format!("Token {token}");
    let answer = http(
        "POST",
        &format!("{}{path}", server.url),
        &[("authorization", &authorization)],
        body.to_string().as_bytes(),
    );
    assert!(answer.status < 300, "{}", answer.text());
    answer.json()
}

fn send(server: &Server, token: &str, ids: &[&str], category: &str) -> String {
    let events: Vec<_> = ids
        .iter()
        .map(|id| json!({"event_id": id, "session_id": "s", "category": category, "name": "n", "timestamp": "2022-01-09T09:15:27Z", "data": {}}))
        .collect();
    post(server, token, "/v1/events", &Value::from(events))["offset"].as_str().unwrap().to_owned()
}

#[test]
fn a_stream_shows_what_arrives_and_resumes_where_it_broke_off() {
    let mut server = Server::start();
    let token = server.token();
    let before = send(&server, &token, &["old"], "c");
    let mut stream = Stream::open(&server, &token, "", None);
    assert_eq!(stream.status, 200);
    for header in ["content-type: text/event-stream", "x-accel-buffering: no", "cache-control: no-store"] {
        assert!(stream.headers.contains(header), "{}", stream.headers);
    }
    assert_eq!(stream.any().unwrap().id, before, "the place to resume from is known before the first event");
    send(&server, &token, &["a", "b"], "c");
    let first = stream.next();
    assert_eq!((first.event.as_str(), &first.data["event_id"]), ("event", &json!("a")));
    assert_eq!(first.data["timestamp"], "2022-01-09T09:15:27.000000Z");
    assert_eq!(first.id, first.data["offset"].to_string());
    assert_eq!(stream.next_ids(1), ["b"]);
    drop(stream);

    send(&server, &token, &["c"], "c");
    let mut resumed = Stream::open(&server, &token, "", Some(&first.id));
    assert_eq!(resumed.next_ids(2), ["b", "c"]);
    send(&server, &token, &["d"], "c");
    assert_eq!(resumed.next_ids(1), ["d"]);
    drop(resumed);
    server.stop();
    server.restart();
}

#[test]
fn filters_and_walls_hold_for_what_arrives() {
    let server = Server::start();
    let (web, admin) = (server.token(), server.admin_token());
    post(&server, &admin, "/v1/applications", &json!({"name": "shop"}));
    let new = json!({"name": "shop", "kind": "secret", "application": "shop"});
    let shop = post(&server, &admin, "/v1/tokens", &new)["token"].as_str().unwrap().to_owned();
    let mut chosen = Stream::open(&server, &web, "?category=cart&session_id=s", None);
    let mut walled = Stream::open(&server, &shop, "", None);
    chosen.any().unwrap();
    walled.any().unwrap();
    send(&server, &web, &["page"], "page");
    send(&server, &web, &["cart"], "cart");
    send(&server, &shop, &["shop"], "cart");
    send(&server, &web, &["last"], "cart");
    assert_eq!(chosen.next_ids(2), ["cart", "last"]);
    assert_eq!(walled.next_ids(1), ["shop"]);
}

#[test]
fn what_cannot_be_sent_any_more_is_announced() {
    let server = Server::start_with(&["--live-backlog-rows", "10"]);
    let token = server.token();
    let first = send(&server, &token, &["first"], "c");
    let ids: Vec<String> = (0..40).map(|n| format!("e{n}")).collect();
    for id in &ids {
        send(&server, &token, &[id], "c");
    }
    let mut stream = Stream::open(&server, &token, "", Some(&first));
    let gap = stream.next();
    assert_eq!(gap.event, "gap");
    assert_eq!(gap.data["from"], first);
    assert_eq!(gap.data["to"], gap.id);
    assert_eq!(stream.next_ids(10), ids[30..], "what is there still follows the gap");
    let (from, to): (u64, u64) = (first.parse().unwrap(), gap.id.parse().unwrap());
    let answer = http(
        "GET",
        &format!("{}/v1/events?order=oldest", server.url),
        &[("authorization", &format!("Token {token}"))],
        b"",
    );
    let missed = answer.json()["events"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|event| {
            let offset = event["offset"].as_u64().unwrap();
            from < offset && offset <= to
        })
        .count();
    assert_eq!(missed, 30, "what was missed lies inside the gap, and is found in the list");
}

#[test]
fn a_stream_over_several_partitions_misses_nothing() {
    let server = Server::start_with(&["--partitions", "4"]);
    let token = server.token();
    let events: Vec<_> = (0..300)
        .map(|n| json!({"event_id": n.to_string(), "session_id": format!("s{n}"), "category": "c", "name": "n", "data": {}}))
        .collect();
    post(&server, &token, "/v1/events", &Value::from(events));
    let mut stream = Stream::open(&server, &token, "", Some("0,0,0,0"));
    let (first, last) = (stream.next_ids(150), stream.next());
    let mut resumed = Stream::open(&server, &token, "", Some(&last.id));
    let mut seen: Vec<u32> = first.iter().map(|id| id.parse().unwrap()).collect();
    seen.push(last.data["event_id"].as_str().unwrap().parse().unwrap());
    seen.extend(resumed.next_ids(149).iter().map(|id| id.parse::<u32>().unwrap()));
    seen.sort_unstable();
    assert_eq!(seen, (0..300).collect::<Vec<_>>(), "each once, also across the break");
}

#[test]
fn a_stream_ends_when_the_service_stops() {
    let mut server = Server::start();
    let mut stream = Stream::open(&server, &server.token(), "", None);
    stream.any().unwrap();
    server.stop();
    assert_eq!(stream.any(), None);
}

#[test]
fn a_stream_ends_when_its_token_is_revoked() {
    let server = Server::start();
    let admin = server.admin_token();
    let made = post(&server, &admin, "/v1/tokens", &json!({"name": "tail", "kind": "read"}));
    let mut stream = Stream::open(&server, made["token"].as_str().unwrap(), "", None);
    stream.any().unwrap();
    let path = format!("{}/v1/tokens/{}", server.url, made["id"].as_str().unwrap());
    let answer = http("DELETE", &path, &[("authorization", &format!("Token {admin}"))], b"");
    assert_eq!(answer.status, 200);
    send(&server, &server.token(), &["secret"], "c");
    assert_eq!(stream.any(), None, "nothing that arrived later is shown");
}

#[test]
fn a_place_that_does_not_exist_is_refused() {
    let server = Server::start();
    let token = server.token();
    for bad in ["nonsense", "1000000"] {
        assert_eq!(Stream::open(&server, &token, "", Some(bad)).status, 400, "{bad}");
    }
    assert_eq!(Stream::open(&server, &token, "?limit=1", None).status, 400);
    assert_eq!(Stream::open(&server, "eye_sk_nobody", "", None).status, 401);
}
