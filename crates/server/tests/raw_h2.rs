//! HTTP/2 abuse with frames written by hand: floods and stalls end their own connection, or cost it its time; nobody
//! else is harmed, memory stays bounded, and nothing half-sent is stored.

#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use common::{Server, connect, http};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;
/// RFC 9113, section 7.
const CANCEL: u32 = 8;
const ENHANCE_YOUR_CALM: u32 = 11;
/// SETTINGS_INITIAL_WINDOW_SIZE 0: answers may have a head and no body until a window opens.
const CLOSED: [u8; 6] = [0, 4, 0, 0, 0, 0];

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut bytes = vec![length[1], length[2], length[3], kind, flags];
    bytes.extend_from_slice(&stream.to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

/// A text as HPACK writes it without Huffman's code. At most 126 bytes.
fn text(text: &str) -> Vec<u8> {
    let mut bytes = vec![u8::try_from(text.len()).ok().filter(|length| *length < 127).unwrap()];
    bytes.extend_from_slice(text.as_bytes());
    bytes
}

/// A field that is not kept in the table: the index of its name in HPACK's table, or its name.
fn field(name: Result<u8, &str>, value: &str) -> Vec<u8> {
    let name = match name {
        Ok(index) if index < 15 => vec![index],
        Ok(index) => vec![15, index - 15],
        Err(name) => [vec![0], text(name)].concat(),
    };
    [name, text(value)].concat()
}

/// The fields of a request.
fn request(server: &Server, method: u8, path: &str) -> Vec<u8> {
    request_of(&server.token(), method, path)
}

/// The same with this token.
fn request_of(token: &str, method: u8, path: &str) -> Vec<u8> {
    let token = format!("Token {token}");
    // 0x82 GET, 0x83 POST, 0x86 http; 4 :path, 1 :authority, 23 authorization.
    [vec![method, 0x86], field(Ok(4), path), field(Ok(1), "x"), field(Ok(23), &token)].concat()
}

fn event(session: &str) -> String {
    format!(r#"{{"event_id":"e","session_id":"{session}","category":"c","name":"n","timestamp":1,"data":{{}}}}"#)
}

fn post(server: &Server, stream: u32, session: &str) -> Vec<u8> {
    let head = frame(HEADERS, END_HEADERS, stream, &request(server, 0x83, "/v1/events"));
    [head, frame(DATA, END_STREAM, stream, event(session).as_bytes())].concat()
}

/// One frame that came.
#[derive(Debug)]
struct Frame {
    kind: u8,
    flags: u8,
    stream: u32,
    payload: Vec<u8>,
}

/// An HTTP/2 connection on which anything can be said.
struct Peer(TcpStream);

impl Peer {
    /// Prior knowledge: the preface and settings.
    fn open(server: &Server, settings: &[u8]) -> Self {
        let mut stream = connect(&server.url).unwrap();
        stream.write_all(PREFACE).unwrap();
        stream.write_all(&frame(SETTINGS, 0, 0, settings)).unwrap();
        Self(stream)
    }

    /// False if the server has closed the connection, or takes no more.
    fn send(&mut self, bytes: &[u8]) -> bool {
        self.0.write_all(bytes).is_ok()
    }

    /// The next frame; `None` when the connection is closed.
    fn next(&mut self) -> Option<Frame> {
        let mut head = [0; 9];
        self.read(&mut head)?;
        let [a, b, c, kind, flags, d, e, f, g] = head;
        let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
        self.read(&mut payload)?;
        Some(Frame { kind, flags, stream: u32::from_be_bytes([d & 0x7f, e, f, g]), payload })
    }

    fn read(&mut self, buffer: &mut [u8]) -> Option<()> {
        match self.0.read_exact(buffer) {
            Ok(()) => Some(()),
            Err(error) if matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset) => None,
            Err(error) => panic!("the server neither answers nor closes: {error}"),
        }
    }

    /// Reads until the connection is closed; the codes of all GOAWAY frames.
    fn goaway_codes(&mut self) -> Vec<u32> {
        let mut codes = Vec::new();
        while let Some(frame) = self.next() {
            if frame.kind == GOAWAY {
                codes.push(u32::from_be_bytes(frame.payload[4..8].try_into().unwrap()));
            }
        }
        codes
    }

    /// The first byte of the fields that answer on this stream: 0x88 is 200.
    fn answer(&mut self, stream: u32) -> Option<u8> {
        loop {
            let frame = self.next()?;
            if frame.kind == HEADERS && frame.stream == stream {
                return frame.payload.first().copied();
            }
            assert!(frame.kind != RST_STREAM || frame.stream != stream, "{frame:?}");
        }
    }

    /// Why this stream is reset, which comes before anything else on it.
    fn reset(&mut self, stream: u32) -> Option<u32> {
        loop {
            let frame = self.next()?;
            if frame.stream == stream {
                assert_eq!(frame.kind, RST_STREAM, "{frame:?}");
                return Some(u32::from_be_bytes(frame.payload[..4].try_into().unwrap()));
            }
        }
    }

    /// Takes what comes on this stream until this is in it, and lets as much more come.
    fn take_until(&mut self, stream: u32, text: &str) {
        let mut taken = String::new();
        while !taken.contains(text) {
            let frame = self.next().unwrap();
            assert!(frame.kind != RST_STREAM || frame.stream != stream, "{taken}");
            if frame.kind == DATA && frame.stream == stream && !frame.payload.is_empty() {
                taken.push_str(&String::from_utf8_lossy(&frame.payload));
                let more = u32::try_from(frame.payload.len()).unwrap().to_be_bytes();
                assert!(self.send(&[frame_of_window(0, more), frame_of_window(stream, more)].concat()));
            }
        }
    }
}

fn frame_of_window(stream: u32, more: [u8; 4]) -> Vec<u8> {
    frame(WINDOW_UPDATE, 0, stream, &more)
}

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

/// A good client, over HTTP/2 too, is acknowledged and reads what it wrote.
fn still_serves(server: &Server, session: &str) {
    let mut peer = Peer::open(server, &[]);
    assert!(peer.send(&post(server, 1, session)));
    assert_eq!(peer.answer(1), Some(0x88));
    assert_eq!(stored(server, session), 1);
}

/// Resident memory at its highest, in bytes.
fn peak_memory(server: &Server) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.id())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 1024
}

/// Runs an attack; memory grows by less than this many MiB, and afterwards others are served.
fn bounded(server: &Server, mebibytes: usize, attack: impl FnOnce()) {
    still_serves(server, "before");
    let before = peak_memory(server);
    attack();
    let grown = peak_memory(server).saturating_sub(before);
    assert!(grown < mebibytes << 20, "{} MiB", grown >> 20);
    still_serves(server, "after");
}

/// Sends this again and again, then reads: the connection must have been ended for this reason, before so many were
/// taken. They must be more than the buffers between the two hold.
fn flood_is_ended(server: &Server, times: usize, code: u32, mut bytes: impl FnMut(usize) -> Vec<u8>) {
    let mut peer = Peer::open(server, &[]);
    let sent = (0..times).take_while(|number| peer.send(&bytes(*number))).count();
    let codes = peer.goaway_codes();
    // A reset may overtake what the server said; then not all could be sent.
    assert!(sent < times || codes.contains(&code), "all {times} were taken, and the connection ended with {codes:?}");
    assert!(codes.is_empty() || codes.contains(&code), "{codes:?}");
}

#[test]
fn a_flood_of_resets_ends_the_connection_and_stores_nothing() {
    let server = Server::start();
    bounded(&server, 16, || {
        flood_is_ended(&server, 200, ENHANCE_YOUR_CALM, |number| {
            let streams = (0..500).map(|index| u32::try_from(number * 500 + index).unwrap() * 2 + 1);
            let one = |stream| {
                let head = frame(HEADERS, END_HEADERS, stream, &request(&server, 0x83, "/v1/events"));
                let body = frame(DATA, 0, stream, event("reset").as_bytes());
                [head, body, frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes())].concat()
            };
            streams.flat_map(one).collect()
        });
    });
    assert_eq!(stored(&server, "reset"), 0, "a body that did not come whole is no body");
}

#[test]
fn a_head_without_an_end_is_cut_off() {
    let server = Server::start();
    bounded(&server, 16, || {
        let part = field(Err("x-part"), &"y".repeat(100)).repeat(100);
        flood_is_ended(&server, 10_000, ENHANCE_YOUR_CALM, |number| match number {
            0 => frame(HEADERS, 0, 1, &request(&server, 0x83, "/v1/events")),
            _ => frame(CONTINUATION, 0, 1, &part),
        });
        // Empty ones cost nothing to send.
        flood_is_ended(&server, 500_000, ENHANCE_YOUR_CALM, |number| match number {
            0 => frame(HEADERS, 0, 1, &request(&server, 0x83, "/v1/events")),
            _ => frame(CONTINUATION, 0, 1, &[]).repeat(10),
        });
    });
}

#[test]
fn a_head_that_unpacks_to_megabytes_is_refused() {
    let server = Server::start();
    bounded(&server, 16, || {
        let mut peer = Peer::open(&server, &[]);
        // A field of 100 bytes goes into the table once (0x40: keep it), and then stands for a byte each (0xbe) time.
        let kept = [vec![0x40], text("x-kept"), text(&"y".repeat(100))].concat();
        let block = [request(&server, 0x83, "/v1/events"), kept, vec![0xbe; 16_000]].concat();
        assert!(block.len() < 16_384);
        assert!(peer.send(&frame(HEADERS, END_HEADERS, 1, &block)));
        assert!(peer.send(&frame(DATA, END_STREAM, 1, event("unpacked").as_bytes())));
        let frame = loop {
            let frame = peer.next().unwrap();
            if frame.stream == 1 || frame.kind == GOAWAY {
                break frame;
            }
        };
        // Refused with 431 (0x48: a literal status), or the stream or the connection is ended.
        assert!(
            matches!((frame.kind, frame.payload.first()), (HEADERS, Some(0x48)) | (RST_STREAM | GOAWAY, _)),
            "{frame:?}"
        );
    });
    assert_eq!(stored(&server, "unpacked"), 0);
}

#[test]
fn a_peer_that_asks_and_never_reads_fills_no_memory() {
    let server = Server::start();
    bounded(&server, 16, || {
        for what in [frame(SETTINGS, 0, 0, &[0, 4, 0, 1, 0, 0]), frame(PING, 0, 0, &[7; 8])] {
            let mut peer = Peer::open(&server, &[]);
            peer.0.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
            let many = what.repeat(1_000);
            // Until the server takes no more, or ends it: 100 MB would be too much to be kept.
            let sent = (0..6_000).take_while(|_| peer.send(&many)).count();
            assert!(sent < 6_000, "all of it was taken, and its answers are kept somewhere");
        }
    });
}

#[test]
fn a_window_that_never_opens_holds_up_its_own_connection_only() {
    let server = Server::start();
    bounded(&server, 16, || {
        let mut peers: Vec<_> = (0..8).map(|_| Peer::open(&server, &CLOSED)).collect();
        for peer in &mut peers {
            for number in 0..200 {
                let asked = frame(HEADERS, END_HEADERS | END_STREAM, number * 2 + 1, &request(&server, 0x82, "/docs"));
                assert!(peer.send(&asked));
            }
        }
        for peer in &mut peers {
            assert_eq!(peer.answer(1), Some(0x88));
        }
        still_serves(&server, "meanwhile");
        // The others are served as soon as the window opens.
        let last = peers.last_mut().unwrap();
        assert!(last.send(&frame(WINDOW_UPDATE, 0, 1, &1_000_000_u32.to_be_bytes())));
        let mut length = 0;
        loop {
            let frame = last.next().unwrap();
            if frame.kind == DATA && frame.stream == 1 {
                length += frame.payload.len();
                if frame.flags & END_STREAM != 0 || length > 60_000 {
                    break;
                }
            }
        }
        assert!(length > 1_000);
    });
}

#[test]
fn an_answer_that_nobody_takes_is_given_up_and_a_live_stream_that_is_read_is_not() {
    let server = Server::start_with(&["--answer-idle-timeout", "1s"]);
    let mut peer = Peer::open(&server, &CLOSED);
    let ask = |stream, path| frame(HEADERS, END_HEADERS | END_STREAM, stream, &request(&server, 0x82, path));
    assert!(peer.send(&[ask(1, "/v1/live"), frame_of_window(1, 1_000_000_u32.to_be_bytes())].concat()));
    peer.take_until(1, "\n\n");
    // Their time begins later than that of the live stream would have, if it had one.
    assert!(peer.send(&[ask(3, "/docs"), ask(5, "/v1/live")].concat()));
    let mut reset = Vec::new();
    while reset.len() < 2 {
        let frame = peer.next().unwrap();
        match (frame.stream, frame.kind) {
            (3 | 5, HEADERS) => assert_eq!(frame.payload.first(), Some(&0x88)),
            (3 | 5, RST_STREAM) => {
                assert_eq!(frame.payload, CANCEL.to_be_bytes());
                reset.push(frame.stream);
            }
            (3 | 5, _) | (1, RST_STREAM) => panic!("{frame:?}"),
            _ => {}
        }
    }
    assert!(reset.contains(&3) && reset.contains(&5), "{reset:?}");
    still_serves(&server, "meanwhile");
    peer.take_until(1, "meanwhile");
    // Others on the connection too.
    assert!(peer.send(&post(&server, 7, "beside")));
    assert_eq!(peer.answer(7), Some(0x88));
    let metrics = http("GET", &format!("{}/metrics", server.url), &[], b"").unwrap().text();
    let given_up = metrics.lines().find_map(|line| line.strip_prefix("eye_answers_stalled_total ")).unwrap();
    assert!(given_up.parse::<u32>().unwrap() >= 2, "{given_up}");
}

#[test]
fn what_an_answer_holds_is_free_when_it_is_given_up() {
    let server = Server::start_with(&["--answer-idle-timeout", "1s"]);
    let mut peer = Peer::open(&server, &CLOSED);
    // One backup is made at a time.
    let token = server.admin_token();
    assert!(peer.send(&frame(HEADERS, END_HEADERS | END_STREAM, 1, &request_of(&token, 0x82, "/v1/backup"))));
    assert_eq!(peer.answer(1), Some(0x88));
    assert_eq!(peer.reset(1), Some(CANCEL));
    // Whoever makes it notices when the next piece is ready.
    let authorization = format!("Token {token}");
    let is_free = (0..400).any(|_| {
        let answer = http("GET", &format!("{}/v1/backup", server.url), &[("Authorization", &authorization)], b"");
        let is_free = answer.unwrap().status == 200;
        if !is_free {
            std::thread::sleep(Duration::from_millis(25));
        }
        is_free
    });
    assert!(is_free, "the backup that nobody takes is still being made");
}

#[test]
fn more_streams_than_allowed_are_refused_one_by_one() {
    let server = Server::start();
    let mut peer = Peer::open(&server, &[]);
    // Bodies that never end hold their streams; the server's settings allow 128.
    let open: Vec<u8> = (0..300)
        .flat_map(|number| frame(HEADERS, END_HEADERS, number * 2 + 1, &request(&server, 0x83, "/v1/events")))
        .collect();
    assert!(peer.send(&open));
    let mut refused = 0;
    while refused < 100 {
        match peer.next() {
            Some(frame) if frame.kind == RST_STREAM => refused += 1,
            Some(_) => {}
            None => break,
        }
    }
    assert!(refused > 0);
    still_serves(&server, "after");
}

#[test]
fn frames_that_break_the_protocol_end_the_connection() {
    let server = Server::start();
    let ask = |stream| frame(HEADERS, END_HEADERS | END_STREAM, stream, &request(&server, 0x82, "/healthz"));
    let head = |block: Vec<u8>| frame(HEADERS, END_HEADERS | END_STREAM, 1, &block);
    let well = request(&server, 0x82, "/healthz");
    for bytes in [
        // Data, a reset and a continuation of nothing; an even stream; a stream that goes back.
        frame(DATA, 0, 1, b"x"),
        frame(RST_STREAM, 0, 1, &[0; 4]),
        frame(CONTINUATION, END_HEADERS, 1, &[]),
        ask(2),
        [ask(5), ask(3)].concat(),
        // Wrong sizes.
        frame(SETTINGS, 0, 0, &[0; 5]),
        frame(SETTINGS, ACK, 0, &[0; 6]),
        frame(PING, 0, 0, &[0; 7]),
        frame(DATA, 0, 1, &[0; 20_000]),
        // Something between HEADERS and its CONTINUATION.
        [frame(HEADERS, 0, 1, &well), frame(PING, 0, 0, &[0; 8])].concat(),
        // An index that is not in the table.
        head([well.clone(), vec![0xfe]].concat()),
        // A window above its maximum.
        frame(SETTINGS, 0, 0, &[0, 4, 0xff, 0xff, 0xff, 0xff]),
    ] {
        let mut peer = Peer::open(&server, &[]);
        assert!(peer.send(&bytes));
        let codes = peer.goaway_codes();
        assert!(codes.iter().any(|code| *code != 0), "{:?}: {codes:?}", &bytes[..bytes.len().min(40)]);
    }
    still_serves(&server, "after");
}

#[test]
fn requests_that_are_malformed_in_http_2_are_refused() {
    let server = Server::start();
    let well = request(&server, 0x83, "/v1/events");
    let length = |value: &str| [well.clone(), field(Ok(28), value)].concat();
    for block in [
        // What belongs to HTTP/1 only, an upper-case name, a pseudo-field after a field, twice, or unknown.
        [well.clone(), field(Err("transfer-encoding"), "chunked")].concat(),
        [well.clone(), field(Err("connection"), "keep-alive")].concat(),
        [well.clone(), field(Err("X-Upper"), "y")].concat(),
        [field(Err("x-first"), "y"), well.clone()].concat(),
        [vec![0x83], well.clone()].concat(),
        [vec![0x83, 0x86], field(Err(":other"), "y")].concat(),
        [well.clone(), field(Err("x-line"), "a\r\nb")].concat(),
        [well.clone(), field(Err("x-nul"), "a\0b")].concat(),
        // A length that is not the body's.
        length("1"),
        length("1000"),
        length("abc"),
    ] {
        let mut peer = Peer::open(&server, &[]);
        let head = frame(HEADERS, END_HEADERS, 1, &block);
        let body = frame(DATA, END_STREAM, 1, event("malformed").as_bytes());
        assert!(peer.send(&[head, body].concat()));
        let outcome = loop {
            match peer.next() {
                Some(frame) if frame.kind == GOAWAY || frame.stream == 1 => break Some(frame),
                Some(_) => {}
                None => break None,
            }
        };
        let is_refused = outcome.as_ref().is_none_or(|frame| match frame.kind {
            RST_STREAM | GOAWAY => true,
            // 0x8c is 400.
            HEADERS => frame.payload.first() == Some(&0x8c),
            _ => false,
        });
        assert!(is_refused, "{block:?}: {outcome:?}");
        assert_eq!(stored(&server, "malformed"), 0, "{block:?}");
    }
    still_serves(&server, "after");
}
