//! Everything that clients do wrong, by mistake or on purpose: a clear error (or a flag), counted, nothing else harmed,
//! memory bounded. On raw sockets where a proper client could not do it.

#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;

use common::{Answer, Server, connect, http, read_answer};
use serde_json::{Value, json};

fn post_as(server: &Server, token: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
    let authorization = format!("Token {token}");
    let mut all = vec![("Authorization", authorization.as_str())];
    all.extend_from_slice(headers);
    http("POST", &format!("{}/v1/events", server.url), &all, body).unwrap()
}

fn post(server: &Server, body: &[u8]) -> Answer {
    post_as(server, &server.token(), &[], body)
}

/// The status and the code of a refusal, which must be a problem document that says something.
fn refusal(answer: &Answer) -> (u16, String) {
    assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{}", answer.text());
    let problem = answer.json();
    assert!(problem["detail"].as_str().unwrap().len() > 10, "{problem}");
    assert_eq!(problem["status"], answer.status);
    (answer.status, problem["code"].as_str().unwrap().to_owned())
}

/// The one result of a body with one event.
fn result(server: &Server, body: &str) -> Value {
    let answer = post(server, body.as_bytes());
    assert_eq!(answer.status, 200, "{body}: {}", answer.text());
    answer.json()["results"][0].clone()
}

fn good(id: &str) -> String {
    format!(
        r#"{{"event_id":"{id}","session_id":"s","category":"c","name":"n","timestamp":"2022-01-09T09:15:27Z","data":{{}}}}"#
    )
}

fn still_serves(server: &Server) {
    let id = format!("check-{}", std::process::id());
    let answer = post(server, good(&id).as_bytes());
    assert_eq!(answer.status, 200, "{}", answer.text());
}

fn manage(server: &Server, method: &str, path: &str, body: &Value) -> Value {
    let authorization = format!("Token {}", server.admin_token());
    let url = format!("{}{path}", server.url);
    let answer = http(method, &url, &[("Authorization", &authorization)], body.to_string().as_bytes()).unwrap();
    assert!(answer.status < 300, "{}", answer.text());
    answer.json()
}

#[test]
fn who_may_not_write_is_told_why_and_counted() {
    let server = Server::start();
    let new = |name: &str, kind: &str, more: Value| {
        let mut body = json!({"name": name, "kind": kind, "application": "default"});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        manage(&server, "POST", "/v1/tokens", &body)
    };
    let text = |token: &Value| token["token"].as_str().unwrap().to_owned();
    let revoked = new("revoked", "secret", json!({}));
    manage(&server, "DELETE", &format!("/v1/tokens/{}", revoked["id"].as_str().unwrap()), &json!({}));
    let reading = new("reading", "read", json!({}));
    let url = format!("{}/v1/events", server.url);
    let none = http("POST", &url, &[], good("x").as_bytes()).unwrap();
    assert_eq!(refusal(&none), (401, "missing_token".to_owned()));
    assert_eq!(none.header("www-authenticate"), Some("Token"));
    for (token, status, code) in [
        ("eye_sk_doesnotexist".to_owned(), 401, "unknown_token"),
        (text(&revoked), 401, "revoked_token"),
        (text(&reading), 403, "missing_scope"),
    ] {
        assert_eq!(refusal(&post_as(&server, &token, &[], good("x").as_bytes())), (status, code.to_owned()));
    }
    let in_url = http("POST", &format!("{url}?token={}", server.token()), &[], good("x").as_bytes()).unwrap();
    assert_eq!(in_url.status, 401, "a token in a URL opens nothing");
    let writing = text(&new("writing", "write", json!({})));
    let read = http("GET", &url, &[("Authorization", &format!("Token {writing}"))], b"").unwrap();
    assert_eq!(refusal(&read), (403, "missing_scope".to_owned()));
    let metrics = http("GET", &format!("{}/metrics", server.url), &[], b"").unwrap().text();
    for reason in ["missing_token", "unknown_token", "revoked_token"] {
        assert!(metrics.contains(&format!("eye_requests_unauthenticated_total{{reason=\"{reason}\"}}")), "{metrics}");
    }
}

#[test]
fn a_body_that_is_no_json_is_a_400_that_says_at_which_byte() {
    let server = Server::start();
    let mut not_utf8 = good("x").into_bytes();
    not_utf8[20] = 0xff;
    for (body, code, says) in [
        (&b"hello"[..], "not_json", "byte 0"),
        (b"[{\"a\":1},]", "not_json", "byte 9"),
        (b"", "empty_body", "empty"),
        (b" \n", "empty_body", "empty"),
        (b"\"text\"", "invalid_body", "object"),
        (&not_utf8, "not_utf8", "byte 20"),
    ] {
        let answer = post(&server, body);
        assert_eq!(refusal(&answer), (400, code.to_owned()), "{}", String::from_utf8_lossy(body));
        let detail = answer.json()["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains(says), "{detail}");
    }
    still_serves(&server);
}

#[test]
fn what_is_no_event_is_refused_by_name() {
    let server = Server::start();
    let with = |field: &str, value: &str| {
        let fields = ["session_id", "category", "name"].map(|name| {
            let value = if name == field { value.to_owned() } else { format!("\"{name}\"") };
            format!("\"{name}\":{value}")
        });
        format!("{{{},\"data\":{}}}", fields.join(","), if field == "data" { value } else { "{}" })
    };
    let megabyte = format!("\"{}\"", "s".repeat(1 << 20));
    let deep = format!("{}{}", "{\"a\":".repeat(100) + "1", "}".repeat(100));
    let large = format!("{{\"a\":\"{}\"}}", "x".repeat(70_000));
    for (field, value, code) in [
        ("session_id", "null", "missing_field"),
        ("name", "\"\"", "empty_field"),
        ("category", "true", "wrong_type"),
        ("name", "{}", "wrong_type"),
        ("session_id", megabyte.as_str(), "too_long"),
        ("name", "\"a\\u0000b\"", "nul_character"),
        ("name", "\"\\ud800\"", "lone_surrogate"),
        ("data", deep.as_str(), "too_deep"),
        ("data", large.as_str(), "too_large"),
    ] {
        let result = result(&server, &with(field, value));
        assert_eq!((&result["status"], &result["code"]), (&json!("rejected"), &json!(code)), "{field}: {result}");
        assert_eq!(result["field"], field, "{result}");
    }
    let twice = r#"{"session_id":"s","name":"n","category":"c","name":"m","data":{}}"#;
    assert_eq!(result(&server, twice)["code"], "duplicate_field");
    let missing = result(&server, r#"{"session_id":"s","category":"c","data":{}}"#);
    assert_eq!((&missing["code"], &missing["field"]), (&json!("missing_field"), &json!("name")));
    let authorization = format!("Token {}", server.token());
    let url = format!("{}/v1/rejections?limit=100", server.url);
    let kept = http("GET", &url, &[("Authorization", &authorization)], b"").unwrap().json();
    assert_eq!(kept["rejections"].as_array().unwrap().len(), 11);
    assert!(kept["rejections"].as_array().unwrap().iter().all(|one| one["sample"].as_str().unwrap().len() <= 1024));
}

#[test]
fn odd_payloads_are_kept_as_they_are_and_flagged_where_they_must_be() {
    let server = Server::start();
    let numbers = r#"{"big":123456789012345678901234567890,"exact":1.10,"tiny":1e-400,"negative":-0}"#;
    let event = |id: &str, data: &str| {
        format!(r#"{{"event_id":"{id}","session_id":"odd","category":"c","name":"n","timestamp":1,"data":{data}}}"#)
    };
    assert_eq!(result(&server, &event("numbers", numbers))["status"], "stored");
    assert_eq!(result(&server, &event("nul", r#"{"a":"\u0000"}"#))["status"], "stored");
    assert_eq!(result(&server, &event("list", "[1]"))["status"], "stored");
    // Half of a surrogate pair is JSON, though many parsers refuse it: it stands alone here.
    let lone = event("surrogate", r#"{"a":"\ud800"}"#).replace("\"odd\"", "\"lone\"");
    assert_eq!(result(&server, &lone)["status"], "stored");
    let nan = post(&server, event("nan", r#"{"a":NaN}"#).as_bytes());
    assert_eq!(refusal(&nan), (400, "not_json".to_owned()));
    let authorization = format!("Token {}", server.token());
    let session = http("GET", &format!("{}/v1/sessions/odd", server.url), &[("Authorization", &authorization)], b"");
    let session = session.unwrap();
    assert!(session.text().contains(numbers), "{}", session.text());
    let lone = http("GET", &format!("{}/v1/sessions/lone", server.url), &[("Authorization", &authorization)], b"");
    let lone = lone.unwrap().text();
    assert!(lone.contains(r#"{"a":"\ud800"}"#) && lone.contains("payload_unexpected"), "{lone}");
    for event in session.json()["events"].as_array().unwrap() {
        let flagged = event["problems"].as_array().unwrap().iter().any(|problem| problem == "payload_unexpected");
        assert_eq!(flagged, event["event_id"] != "numbers", "{event}");
    }
}

#[test]
fn ten_megabytes_of_brackets_harm_nobody() {
    let server = Server::start();
    let brackets = "[".repeat(10 << 20);
    for body in
        [brackets.clone(), format!("{{\"unknown\":{brackets}"), format!("{{\"session_id\":\"s\",\"data\":{brackets}")]
    {
        assert_eq!(refusal(&post(&server, body.as_bytes())), (400, "not_json".to_owned()));
    }
    still_serves(&server);
}

#[test]
fn a_body_above_the_limit_is_a_413_whether_it_says_so_or_not() {
    let server = Server::start_with(&["--body-bytes-max", "1MiB"]);
    let body = vec![b' '; (1 << 20) + 1];
    assert_eq!(refusal(&post(&server, &body)), (413, "body_too_large".to_owned()));
    let lying = post_as(&server, &server.token(), &[("Content-Length", "99999999999")], b"{}");
    assert_eq!(refusal(&lying), (413, "body_too_large".to_owned()));
    let mut chunked = Vec::new();
    for _ in 0..3 {
        chunked.extend_from_slice(b"80000\r\n");
        chunked.extend(vec![b' '; 0x80000]);
        chunked.extend_from_slice(b"\r\n");
    }
    chunked.extend_from_slice(b"0\r\n\r\n");
    let answer = post_as(&server, &server.token(), &[("Transfer-Encoding", "chunked")], &chunked);
    assert_eq!(refusal(&answer), (413, "body_too_large".to_owned()));
    still_serves(&server);
}

/// The most memory the process ever had, in bytes.
fn peak_memory(server: &Server) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.id())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 1024
}

#[test]
fn two_hundred_bombs_are_refused_and_memory_stays_bounded() {
    let server = Server::start();
    let zeros = vec![0; 64 << 20];
    let zstd = zstd::encode_all(&zeros[..], 19).unwrap();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    gzip.write_all(&zeros).unwrap();
    let gzip = gzip.finish().unwrap();
    drop(zeros);
    still_serves(&server);
    let before = peak_memory(&server);
    std::thread::scope(|scope| {
        for number in 0..200 {
            let (server, zstd, gzip) = (&server, &zstd, &gzip);
            scope.spawn(move || {
                let (encoding, body) = if number % 2 == 0 { ("zstd", zstd) } else { ("gzip", gzip) };
                let answer = post_as(server, &server.token(), &[("Content-Encoding", encoding)], body);
                let (status, code) = refusal(&answer);
                assert!(
                    (status, code.as_str()) == (413, "body_too_large") || (status, code.as_str()) == (503, "busy"),
                    "{status} {code}"
                );
            });
        }
    });
    let grown = peak_memory(&server).saturating_sub(before);
    // As many are unpacked at once as there are cores, each with a window of its own.
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    assert!(grown < (48 + 16 * cores) << 20, "200 bombs took {} MiB on {cores} cores", grown >> 20);
    still_serves(&server);
}

#[test]
fn an_encoding_that_is_not_known_or_not_true_is_refused() {
    let server = Server::start();
    for (encoding, status, code) in [
        ("compress", 415, "unsupported_media_type"),
        ("gzip, gzip", 415, "unsupported_media_type"),
        ("gzip", 400, "invalid_body"),
        ("zstd", 400, "invalid_body"),
        ("br", 400, "invalid_body"),
    ] {
        let answer = post_as(&server, &server.token(), &[("Content-Encoding", encoding)], good("x").as_bytes());
        assert_eq!(refusal(&answer), (status, code.to_owned()), "{encoding}");
    }
    let mut trailing = zstd::encode_all(good("x").as_bytes(), 1).unwrap();
    trailing.extend_from_slice(b"more");
    let answer = post_as(&server, &server.token(), &[("Content-Encoding", "zstd")], &trailing);
    assert_eq!(refusal(&answer), (400, "invalid_body".to_owned()));
}

/// True once the server has closed the connection.
fn is_closed(stream: &mut TcpStream) -> bool {
    let mut rest = Vec::new();
    match stream.read_to_end(&mut rest) {
        Ok(_) => true,
        Err(error) => error.kind() == ErrorKind::ConnectionReset,
    }
}

#[test]
fn silent_and_half_sent_requests_are_closed_while_others_are_served() {
    let server = Server::start_with(&["--header-timeout", "300ms"]);
    let begin = |bytes: &[u8]| {
        let mut stream = connect(&server.url).unwrap();
        stream.write_all(bytes).unwrap();
        stream
    };
    let mut waiting = vec![
        begin(b""),
        begin(b"P"),
        begin(b"PRI * HTTP/2.0\r\n"),
        begin(b"POST /v1/events HTTP/1.1\r\nHost: x\r\n"),
        begin(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    ];
    still_serves(&server);
    for stream in &mut waiting {
        assert!(is_closed(stream));
    }
    still_serves(&server);
}

#[test]
fn a_body_that_never_comes_is_a_408() {
    let server = Server::start_with(&["--body-idle-timeout", "300ms"]);
    let head = format!(
        "POST /v1/events HTTP/1.1\r\nHost: x\r\nAuthorization: Token {}\r\nContent-Length: 100\r\n\r\n{{\"session",
        server.token()
    );
    let mut stream = connect(&server.url).unwrap();
    stream.write_all(head.as_bytes()).unwrap();
    still_serves(&server);
    assert_eq!(refusal(&read_answer(&mut stream, false).unwrap()), (408, "request_timeout".to_owned()));
    let mut gone = connect(&server.url).unwrap();
    gone.write_all(head.as_bytes()).unwrap();
    drop(gone);
    still_serves(&server);
}

#[test]
fn a_stranger_is_refused_before_the_body_is_read() {
    let server = Server::start();
    let mut stream = connect(&server.url).unwrap();
    let head = "POST /v1/events HTTP/1.1\r\nHost: x\r\nAuthorization: Token nobody\r\nContent-Length: 20000000\r\n\r\n";
    stream.write_all(head.as_bytes()).unwrap();
    let answer = read_answer(&mut stream, false).unwrap();
    assert_eq!(refusal(&answer), (401, "unknown_token".to_owned()));
}

#[test]
fn a_head_that_is_too_large_or_too_long_is_refused() {
    let server = Server::start();
    let token = server.token();
    let long = "x".repeat(40_000);
    let many: Vec<_> = (0..100).map(|n| (format!("X-{n}"), "y".to_owned())).collect();
    let many: Vec<_> = many.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    for headers in [&[("X-Long", long.as_str())][..], &many] {
        assert_eq!(post_as(&server, &token, headers, good("x").as_bytes()).status, 431);
    }
    for head in [
        "POST /v1/events HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n{}",
        "POST /v1/events HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        "POST /v1/events HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n",
        "POST /v1/events HTTP/1.1\r\nX\0Y: x\r\n\r\n",
        "nonsense\r\n\r\n",
    ] {
        let mut stream = connect(&server.url).unwrap();
        stream.write_all(head.as_bytes()).unwrap();
        assert_eq!(read_answer(&mut stream, false).unwrap().status, 400, "{head}");
    }
    still_serves(&server);
}

#[test]
fn at_the_connection_limit_newcomers_wait_and_are_served() {
    let server = Server::start_with(&["--connections-max", "2", "--header-timeout", "300ms"]);
    let _silent = [connect(&server.url).unwrap(), connect(&server.url).unwrap()];
    still_serves(&server);
}

#[test]
fn one_address_cannot_hold_all_connections() {
    let server = Server::start_with(&["--connections-per-ip-max", "1"]);
    let mut first = connect(&server.url).unwrap();
    first.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    assert_eq!(read_answer(&mut first, false).unwrap().status, 200);
    let mut second = connect(&server.url).unwrap();
    assert!(is_closed(&mut second));
}

#[test]
fn too_many_bytes_in_flight_are_a_503_that_says_when_to_come_back() {
    let server =
        Server::start_with(&["--body-bytes-max", "1MiB", "--body-budget-bytes-max", "1MiB", "--body-timeout", "30s"]);
    let head = format!(
        "POST /v1/events HTTP/1.1\r\nHost: x\r\nAuthorization: Token {}\r\nExpect: 100-continue\r\nContent-Length: 1048576\r\n\r\n",
        server.token()
    );
    let mut holder = connect(&server.url).unwrap();
    holder.write_all(head.as_bytes()).unwrap();
    let mut go_on = [0; 25];
    holder.read_exact(&mut go_on).unwrap();
    holder.write_all(&vec![b' '; 1_048_000]).unwrap();
    let used = || {
        let metrics = http("GET", &format!("{}/metrics", server.url), &[], b"").unwrap().text();
        let line = metrics.lines().find(|line| line.starts_with("eye_body_budget_used_bytes ")).unwrap().to_owned();
        line.split(' ').nth(1).unwrap().parse::<usize>().unwrap()
    };
    while used() < 1_048_000 {
        std::thread::yield_now();
    }
    let answer = post(&server, &vec![b' '; 10_000]);
    assert_eq!(refusal(&answer), (503, "busy".to_owned()));
    assert_eq!(answer.header("retry-after"), Some("1"));
    drop(holder);
    while used() > 0 {
        std::thread::yield_now();
    }
    still_serves(&server);
}

#[test]
fn a_full_disk_refuses_writes_and_goes_on_reading() {
    let mut server = Server::start();
    assert_eq!(post(&server, good("before").as_bytes()).status, 200);
    server.stop();
    server.restart_with(&["--disk-reserve", "1000TiB"]);
    let answer = post(&server, good("during").as_bytes());
    assert_eq!(refusal(&answer), (507, "full".to_owned()));
    assert!(answer.header("retry-after").is_some());
    let authorization = format!("Token {}", server.token());
    let session = http("GET", &format!("{}/v1/sessions/s", server.url), &[("Authorization", &authorization)], b"");
    assert_eq!(session.unwrap().json()["events"].as_array().unwrap().len(), 1);
    server.restart_with(&["--disk-reserve", "1MiB"]);
    assert_eq!(post(&server, good("after").as_bytes()).json()["stored"], 1);
}
