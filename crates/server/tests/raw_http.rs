//! Bytes that no proper client sends, on raw sockets: what is not plainly one request is refused or cut off, nothing of
//! it is stored, and what hides behind a request is never taken for the next one.
//!
//! Each case has a session of its own, so that what was stored of it is asked for afterwards, through the API.

#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use common::{Server, connect, http};

/// One event of this session.
fn event(session: &str) -> String {
    format!(r#"{{"event_id":"e","session_id":"{session}","category":"c","name":"n","timestamp":1,"data":{{}}}}"#)
}

/// The head of a POST of events, up to and without the empty line; `more` are whole lines.
fn head(server: &Server, more: &str) -> String {
    format!("POST /v1/events HTTP/1.1\r\nHost: x\r\nAuthorization: Token {}\r\n{more}", server.token())
}

/// A whole and proper POST of one event.
fn proper(server: &Server, session: &str) -> String {
    let body = event(session);
    format!("{}\r\n{body}", head(server, &format!("Content-Length: {}\r\n", body.len())))
}

fn chunk(text: &str) -> String {
    format!("{:x}\r\n{text}\r\n", text.len())
}

/// What is sent after everything else: it is answered if the connection is still in step, and ends it.
const LAST: &str = "GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";

/// Sends these bytes and one more request, and reads until the server closes; all answers but that to the last request.
fn exchange(server: &Server, bytes: &[u8]) -> String {
    let answer = send(server, &[bytes, LAST.as_bytes()].concat(), false);
    match answer.rfind("HTTP/1.1 200 OK") {
        Some(last) if answer[last..].ends_with("\r\n\r\nok\n") => answer[..last].to_owned(),
        _ => answer,
    }
}

/// Sends these bytes, says that no more will come, and reads until the server closes.
fn cut_off(server: &Server, bytes: &[u8]) -> String {
    send(server, bytes, true)
}

/// A server that has refused may reset the connection while it is still being sent to: what it said before counts.
fn send(server: &Server, bytes: &[u8], and_end: bool) -> String {
    let mut stream = connect(&server.url).unwrap();
    let mut answer = Vec::new();
    let mut reader = stream.try_clone().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut buffer = [0; 4096];
            loop {
                match reader.read(&mut buffer) {
                    Ok(0) => break,
                    Ok(read) => answer.extend_from_slice(&buffer[..read]),
                    Err(error) if error.kind() == ErrorKind::ConnectionReset => break,
                    Err(error) => panic!("the server neither answers nor closes: {error}"),
                }
            }
        });
        if stream.write_all(bytes).is_ok() && and_end {
            // The server may have closed already.
            let _ = stream.shutdown(Shutdown::Write);
        }
    });
    String::from_utf8_lossy(&answer).into_owned()
}

/// The statuses of all answers on one connection.
fn statuses(text: &str) -> Vec<u16> {
    let lines = text.match_indices("HTTP/1.").map(|(at, _)| &text[at..]);
    lines.filter_map(|line| line.split(' ').nth(1)?.parse().ok()).collect()
}

/// How many events this session has.
fn stored(server: &Server, session: &str) -> usize {
    let authorization = format!("Token {}", server.token());
    let url = format!("{}/v1/sessions/{session}", server.url);
    let answer = http("GET", &url, &[("Authorization", &authorization)], b"").unwrap();
    match answer.status {
        404 => 0,
        200 => answer.json()["events"].as_array().unwrap().len(),
        status => panic!("{status}: {}", answer.text()),
    }
}

/// A good client is acknowledged and reads what it wrote.
fn still_serves(server: &Server, session: &str) {
    let answer = exchange(server, proper(server, session).as_bytes());
    assert_eq!(statuses(&answer), [200], "{answer}");
    assert_eq!(stored(server, session), 1);
}

fn metric(server: &Server, name: &str) -> u64 {
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

/// Sends each case, whose `SESSION` is replaced by one of its own; it must be refused and leave nothing behind.
fn refused(server: &Server, name: &str, cases: &[(String, &[u16])]) {
    for (index, (bytes, expected)) in cases.iter().enumerate() {
        let session = format!("{name}-{index}");
        let bytes = bytes.replace("SESSION", &session);
        let shown: String = bytes.chars().take(300).collect();
        let answer = exchange(server, bytes.as_bytes());
        assert_eq!(statuses(&answer), *expected, "{shown:?}: {answer}");
        assert!(expected.iter().all(|status| *status >= 400));
        assert_eq!(stored(server, &session), 0, "{shown:?}");
    }
    still_serves(server, &format!("{name}-after"));
}

/// `bytes` with everything of this length in place of `SESSION` counted.
fn with_length(server: &Server, more: &str) -> String {
    let body = event("SESSION");
    // Every case's session is one character longer or shorter than the word it replaces: spaces make up for it.
    format!("{}\r\n{body}          ", head(server, more))
}

#[test]
fn a_length_that_is_not_one_plain_number_is_refused() {
    let server = Server::start();
    let lengths = [
        "Content-Length: 10\r\nContent-Length: 90\r\n",
        "Content-Length: 90, 90\r\n",
        "Content-Length: +90\r\n",
        "Content-Length: -90\r\n",
        "Content-Length: 0x5a\r\n",
        "Content-Length: 9 0\r\n",
        "Content-Length: \r\n",
        "Content-Length: 99999999999999999999999\r\n",
        "Content-Length : 90\r\n",
        "Transfer-Encoding: xchunked\r\n",
        "Transfer-Encoding: chunked, identity\r\n",
        "Transfer-Encoding: identity\r\nContent-Length: 90\r\n",
        "Transfer-Encoding: gzip\r\n",
        "Transfer-Encoding : chunked\r\n",
        "Transfer-Encoding: \u{b}chunked\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
    ];
    let cases: Vec<_> = lengths.iter().map(|more| (with_length(&server, more), &[400][..])).collect();
    refused(&server, "length", &cases);
}

#[test]
fn a_head_that_two_parsers_could_read_differently_is_refused() {
    let server = Server::start();
    let body = event("SESSION");
    let heads = [
        // Folded lines.
        "X-Folded: a\r\n b\r\n",
        "Content-Length:\r\n 90\r\n",
        "Transfer-Encoding:\r\n\tchunked\r\n",
        // A carriage return alone, a NUL, a control character.
        "X-Bare: a\rContent-Length: 90\r\n",
        "X-Nul: a\0b\r\n",
        "X-Nul\0: a\r\n",
        "X-Control: a\u{1}b\r\n",
        // No name, no colon, a name that is no token.
        ": a\r\n",
        "X-No-Colon\r\n",
        "X Space: a\r\n",
        "X-(Paren): a\r\n",
        " X-Leading: a\r\n",
        // Who is meant?
        "Host: y\r\n",
    ];
    let mut cases: Vec<(String, &[u16])> =
        heads.iter().map(|more| (with_length(&server, &format!("{more}Content-Length: 90\r\n")), &[400][..])).collect();
    let token = server.token();
    let rest = format!("Authorization: Token {token}\r\nContent-Length: 90\r\n\r\n{body}          ");
    for line in [
        "POST /v1/events HTTP/1.1\r\n",
        "POST /v1/ev\0ents HTTP/1.1\r\nHost: x\r\n",
        "POST /v1/events\u{1} HTTP/1.1\r\nHost: x\r\n",
        "POST  /v1/events HTTP/1.1\r\nHost: x\r\n",
        "POST /v1/events  HTTP/1.1\r\nHost: x\r\n",
        "POST /v1/events HTTP/1.1 \r\nHost: x\r\n",
        "POST\t/v1/events HTTP/1.1\r\nHost: x\r\n",
        "POST /v1/events HTTP/1.9\r\nHost: x\r\n",
        "POST /v1/events HTTP/2.0\r\nHost: x\r\n",
        "POST /v1/events HTP/1.1\r\nHost: x\r\n",
        "POST /v1/events\r\nHost: x\r\n",
        "POST v1/events HTTP/1.1\r\nHost: x\r\n",
        "P(ST /v1/events HTTP/1.1\r\nHost: x\r\n",
    ] {
        cases.push((format!("{line}{rest}"), &[400]));
    }
    let http_10 =
        format!("POST /v1/events HTTP/1.0\r\nAuthorization: Token {token}\r\nTransfer-Encoding: chunked\r\n\r\n");
    cases.push((http_10 + &chunk(&body) + "0\r\n\r\n", &[400]));
    refused(&server, "head", &cases);
}

#[test]
fn chunks_that_are_not_well_formed_are_refused() {
    let server = Server::start();
    let begin = head(&server, "Transfer-Encoding: chunked\r\n\r\n");
    // The session has as many characters as the word it replaces, so that the sizes fit.
    let body = event("chunks-0");
    let size = format!("{:x}", body.len());
    let large = "x".repeat(20_000);
    let broken = [
        format!("G\r\n{body}\r\n0\r\n\r\n"),
        format!("-{size}\r\n{body}\r\n0\r\n\r\n"),
        format!("+{size}\r\n{body}\r\n0\r\n\r\n"),
        format!("0x{size}\r\n{body}\r\n0\r\n\r\n"),
        format!("\r\n{body}\r\n0\r\n\r\n"),
        format!("FFFFFFFFFFFFFFFFF{size}\r\n{body}\r\n0\r\n\r\n"),
        format!("{size}\n{body}\r\n0\r\n\r\n"),
        format!("{size}\r{body}\r\n0\r\n\r\n"),
        format!("{size}\r\n{body}0\r\n\r\n"),
        format!("{size}\r\n{body}\n0\r\n\r\n"),
        format!("{size}\r\n{body}xx\r\n0\r\n\r\n"),
        format!("{size};a=\nb\r\n{body}\r\n0\r\n\r\n"),
        format!("{size};{large}\r\n{body}\r\n0\r\n\r\n"),
        format!("{size}\r\n{body}\r\n0\r\nX-Trailer: {large}\r\n\r\n"),
    ];
    // All there but the end: what came is not the whole.
    let unfinished =
        [format!("{size}\r\n{body}\r\n"), format!("{size}\r\n{body}\r\n0\r\n"), format!("{size}\r\n{}", &body[..20])];
    let answers = broken.iter().map(|bytes| (bytes, exchange(&server, format!("{begin}{bytes}").as_bytes())));
    let cut = unfinished.iter().map(|bytes| (bytes, cut_off(&server, format!("{begin}{bytes}").as_bytes())));
    for (bytes, answer) in answers.chain(cut) {
        let shown: String = bytes.chars().take(200).collect();
        assert!(statuses(&answer).iter().all(|status| *status == 400), "{shown:?}: {answer}");
        assert!(statuses(&answer).len() <= 1, "{shown:?}: {answer}");
        assert_eq!(stored(&server, "chunks-0"), 0, "{shown:?}");
    }
    // What the grammar allows is taken: extensions, leading zeros, trailers; a trailer means nothing here.
    let allowed = [
        format!("{size};name=\"value\";b\r\n{body}\r\n0;end\r\n\r\n"),
        format!("000{}\r\n{body}\r\n000\r\n\r\n", size.to_uppercase()),
        format!("{size}\r\n{body}\r\n0\r\nContent-Length: 3\r\nAuthorization: Token no\r\n\r\n"),
    ];
    for (index, bytes) in allowed.iter().enumerate() {
        let session = format!("chunks-{}", index + 1);
        let answer = exchange(&server, format!("{begin}{}", bytes.replace("chunks-0", &session)).as_bytes());
        assert_eq!(statuses(&answer), [200], "{answer}");
        assert_eq!(stored(&server, &session), 1);
    }
}

#[test]
fn a_body_with_two_lengths_ends_its_connection() {
    let server = Server::start();
    let hidden = proper(&server, "hidden");
    for (index, lengths) in [
        "Content-Length: LEN\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: LEN\r\n",
        "Content-Length: LEN\r\nTransfer-Encoding: chunked\r\nConnection: keep-alive\r\n",
    ]
    .into_iter()
    .enumerate()
    {
        // One parser sees an event and then another request, the other one body that holds both.
        let session = format!("two-lengths-{index}");
        let body = format!("{}0\r\n\r\n{hidden}", chunk(&event(&session)));
        let lengths = lengths.replace("LEN", &body.len().to_string());
        let answer = exchange(&server, format!("{}\r\n{body}", head(&server, &lengths)).as_bytes());
        assert_eq!(statuses(&answer), [200], "{answer}");
        assert!(answer.to_lowercase().contains("connection: close"), "{answer}");
        assert_eq!((stored(&server, &session), stored(&server, "hidden")), (1, 0));
    }
}

#[test]
fn the_body_of_a_refused_request_is_never_the_next_request() {
    let server = Server::start();
    let hidden = proper(&server, "hidden");
    let length = format!("Content-Length: {}\r\n\r\n{hidden}", hidden.len());
    let token = server.token();
    let none = format!("POST /v1/events HTTP/1.1\r\nHost: x\r\n{length}");
    let unknown = format!("POST /v1/events HTTP/1.1\r\nHost: x\r\nAuthorization: Token nobody\r\n{length}");
    let nowhere = format!("POST /nowhere HTTP/1.1\r\nHost: x\r\nAuthorization: Token {token}\r\n{length}");
    let with_get = format!("GET /healthz HTTP/1.1\r\nHost: x\r\n{length}");
    let deleted = format!("DELETE /v1/events HTTP/1.1\r\nHost: x\r\nAuthorization: Token {token}\r\n{length}");
    let encoded = format!("{}Content-Encoding: nonsense\r\n{length}", head(&server, ""));
    let seed = format!("POST /eye/collector HTTP/1.1\r\nHost: x\r\n{length}");
    for (bytes, expected) in [
        (none, 401),
        (unknown, 401),
        (nowhere, 404),
        (with_get, 200),
        (deleted, 405),
        (encoded, 415),
        (seed, 401),
        (proper(&server, "a").replace("\"data\":{}}", "\"data\":{]}"), 400),
    ] {
        let answer = exchange(&server, bytes.as_bytes());
        assert_eq!(statuses(&answer), [expected], "{bytes}: {answer}");
        assert_eq!(stored(&server, "hidden"), 0, "{bytes}");
    }
    still_serves(&server, "after");
}

#[test]
fn pipelined_requests_are_answered_in_order_up_to_the_first_that_is_none() {
    let server = Server::start();
    let [first, second, third] = ["first", "second", "third"].map(|session| proper(&server, session));
    let wrong = proper(&server, "wrong").replace("\"data\":{}}", "\"data\":{]}");
    let answer = exchange(&server, format!("{first}{wrong}{second}").as_bytes());
    assert_eq!(statuses(&answer), [200, 400, 200], "{answer}");
    let answer = exchange(&server, format!("{third}nonsense\r\n\r\n{}", proper(&server, "never")).as_bytes());
    assert_eq!(statuses(&answer), [200, 400], "{answer}");
    let counts = ["first", "second", "third", "wrong", "never"].map(|session| stored(&server, session));
    assert_eq!(counts, [1, 1, 1, 0, 0]);
}

#[test]
fn what_the_standard_allows_is_taken() {
    let server = Server::start();
    let whole = proper(&server, "SESSION");
    let cases = [
        whole.replace("HTTP/1.1\r\nHost: x\r\n", "HTTP/1.0\r\n"),
        whole.replace("POST /v1/events", "POST http://x/v1/events"),
        whole.replace("Host: x", "hOsT:x"),
        whole.replace("\r\n\r\n", "\r\nExpect: 100-continue\r\n\r\n"),
        whole
            .replace("\r\n\r\n", "\r\nUpgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: \r\n\r\n"),
        format!("\r\n{whole}"),
    ];
    for (index, bytes) in cases.iter().enumerate() {
        // As long as the word that it replaces.
        let session = format!("whole-{index}");
        let answer = exchange(&server, bytes.replace("SESSION", &session).as_bytes());
        assert_eq!(statuses(&answer).last(), Some(&200), "{bytes}: {answer}");
        assert_eq!(stored(&server, &session), 1);
    }
}

#[test]
fn methods_and_targets_that_mean_nothing_here_are_refused() {
    let server = Server::start();
    for (line, expected) in [
        ("TRACE /v1/events", 405),
        ("CONNECT x:443", 404),
        ("OPTIONS *", 404),
        ("post /v1/events", 405),
        ("BREW /v1/events", 405),
        ("POST /v1/events/", 404),
        ("POST //v1/events", 404),
        ("POST /v1/%65vents", 404),
        ("POST /v1/../v1/events", 404),
        ("GET /v1/sessions/%00%ff", 401),
    ] {
        let answer = exchange(&server, format!("{line} HTTP/1.1\r\nHost: x\r\nX-Echo: secret\r\n\r\n").as_bytes());
        assert_eq!(statuses(&answer), [expected], "{line}: {answer}");
        assert!(!answer.contains("secret"), "{answer}");
    }
}

#[test]
fn what_is_not_http_is_closed() {
    let server = Server::start();
    let hello: &[u8] = b"\x16\x03\x01\x00\xc8\x01\x00\x00\xc4\x03\x03";
    let hello = [hello, &[7; 200]].concat();
    let mut state: u64 = 0x9e37_79b9_7f4a_7c15;
    let garbage: Vec<u8> = (0..200_000)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()[3]
        })
        .collect();
    for bytes in [&hello[..], b"GET /healthz\r\n", b"GET /healthz\r\n\r\n", b"\0\0\0\0", b"\r\n\r\n\r\n", &garbage] {
        let answer = exchange(&server, bytes);
        assert!(statuses(&answer).iter().all(|status| *status == 400), "{answer}");
        assert!(statuses(&answer).len() <= 1, "{answer}");
    }
    for start in (0..garbage.len()).step_by(4_000) {
        let answer = exchange(&server, &garbage[start..start + 4_000]);
        assert!(statuses(&answer).iter().all(|status| *status == 400), "{answer}");
    }
    still_serves(&server, "after");
}

#[test]
fn floods_of_head_are_cut_off_and_take_no_memory() {
    let server = Server::start();
    still_serves(&server, "before");
    let before = peak_memory(&server);
    let begin = head(&server, "");
    let many: String = (0..100_000).map(|number| format!("X-{number}: y\r\n")).collect();
    let floods = [
        (format!("{begin}{many}\r\n"), 431),
        (format!("{begin}X-Long: {}\r\n\r\n", "y".repeat(16 << 20)), 431),
        (format!("POST /{} HTTP/1.1\r\nHost: x\r\n\r\n", "y".repeat(16 << 20)), 431),
        (format!("POST /{} HTTP/1.1\r\nHost: x\r\n\r\n", "y".repeat(20_000)), 404),
        (format!("{} / HTTP/1.1\r\nHost: x\r\n\r\n", "Y".repeat(16 << 20)), 431),
    ];
    for (bytes, expected) in floods {
        let answer = exchange(&server, bytes.as_bytes());
        let shown: String = bytes.chars().take(60).collect();
        // A reset overtakes the answer if the client is still sending.
        let seen = statuses(&answer);
        assert!(seen == [expected] || seen.is_empty() && bytes.len() > 1 << 20, "{shown}: {answer}");
    }
    let grown = peak_memory(&server).saturating_sub(before);
    assert!(grown < 8 << 20, "{} MiB", grown >> 20);
    still_serves(&server, "after");
}

#[test]
fn a_request_that_stops_half_way_leaves_nothing_behind() {
    let server = Server::start_with(&["--header-timeout", "500ms", "--body-idle-timeout", "500ms"]);
    let whole = proper(&server, "half");
    let lines = format!("{}\n{}\n", event("half"), event("half"));
    let more = head(&server, &format!("Content-Type: application/x-ndjson\r\nContent-Length: {}\r\n", lines.len() + 9));
    let ndjson = format!("{more}\r\n{lines}");
    // At every byte of a request: the client goes away.
    for end in 0..whole.len() {
        let mut stream = connect(&server.url).unwrap();
        stream.write_all(&whole.as_bytes()[..end]).unwrap();
    }
    for bytes in [ndjson.as_bytes(), &whole.as_bytes()[..whole.len() - 1]] {
        let answer = cut_off(&server, bytes);
        assert!(statuses(&answer).iter().all(|status| *status == 400), "{answer}");
    }
    // Or it stays and is silent: it is told, or closed.
    let silent_before = metric(&server, "eye_connections_silent_total");
    let mut open: Vec<TcpStream> = [0, 1, 10, 60, whole.len() - 90]
        .into_iter()
        .map(|end| {
            let mut stream = connect(&server.url).unwrap();
            stream.write_all(&whole.as_bytes()[..end]).unwrap();
            stream
        })
        .collect();
    for stream in &mut open {
        let mut rest = Vec::new();
        if let Err(error) = stream.read_to_end(&mut rest) {
            assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{error}");
        }
        let rest = String::from_utf8_lossy(&rest).into_owned();
        assert!(statuses(&rest).iter().all(|status| *status == 408), "{rest}");
    }
    assert!(metric(&server, "eye_connections_silent_total") > silent_before);
    assert_eq!(stored(&server, "half"), 0);
    still_serves(&server, "after");
}

#[test]
fn an_answer_that_nobody_reads_ends_its_connection() {
    let server = Server::start_with(&["--answer-idle-timeout", "1s"]);
    // More than the buffers between the two hold.
    let sql = format!("SELECT value, '{}' FROM generate_series(1, 900000)", "x".repeat(100));
    let body = format!(r#"{{"sql":"{sql}"}}"#);
    let (token, length) = (server.token(), body.len());
    let head =
        format!("POST /v1/sql HTTP/1.1\r\nHost: x\r\nAuthorization: Token {token}\r\nContent-Length: {length}\r\n");
    let mut stream = connect(&server.url).unwrap();
    stream.write_all(format!("{head}\r\n{body}").as_bytes()).unwrap();
    let is_given_up = (0..1_200).any(|_| {
        let is_given_up = metric(&server, "eye_answers_stalled_total") > 0;
        if !is_given_up {
            std::thread::sleep(Duration::from_millis(25));
        }
        is_given_up
    });
    assert!(is_given_up, "the answer waits for its client");
    let mut taken = Vec::new();
    if let Err(error) = stream.read_to_end(&mut taken) {
        assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{error}");
    }
    assert!(taken.starts_with(b"HTTP/1.1 200 OK\r\n"), "{}", String::from_utf8_lossy(&taken[..taken.len().min(300)]));
    assert!(!taken.ends_with(b"0\r\n\r\n"), "a part of an answer must not look whole");
    still_serves(&server, "after");
}
