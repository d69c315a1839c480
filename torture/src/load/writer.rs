//! One writer: what it sends, what it sends again, and what it makes of the answers.
//!
//! The rule: a request is sent again with the same bytes, whatever became of it.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use eye_event::Timestamp;
use serde::Deserialize;

use super::Shape;
use super::notes::{Notes, READ_STATUSES, WRITE_STATUSES};
use crate::http::{Answer, Client};
use crate::observe::Page;
use crate::oracle::{Digest, Place, Told, Violation};
use crate::random::Random;

/// Events in a request, at most.
const EVENTS_MAX: u64 = 20;
/// Requests without an answer that a writer keeps to send again.
const PENDING_MAX: usize = 32;
/// Acknowledged requests that a writer keeps to send again.
const ANSWERED_MAX: usize = 16;
/// 2024-05-01T10:00:00Z: the middle of the clients' times.
const MIDDLE_MICROS: i64 = 1_714_557_600_000_000;
/// How far from it they lie.
const SPREAD_MICROS: u64 = 3_600_000_000;

/// A request as it was sent: to be sent again with the same bytes.
#[derive(Clone, Debug)]
struct Request {
    /// Ids in order; `None` for a bad line.
    ids: Vec<Option<String>>,
    content_type: &'static str,
    body: Vec<u8>,
}

#[derive(Deserialize)]
struct Results<'a> {
    #[serde(borrow)]
    results: Vec<OneResult<'a>>,
}

#[derive(Deserialize)]
struct OneResult<'a> {
    status: &'a str,
    event_id: Option<&'a str>,
    partition: Option<u16>,
    offset: Option<u64>,
}

/// One writer.
#[derive(Debug)]
pub struct Writer {
    shape: Shape,
    number: u16,
    next: u64,
    random: Random,
    pending: Vec<Request>,
    answered: Vec<Request>,
    /// The last offset acknowledged in each partition.
    last: HashMap<u16, u64>,
}

impl Writer {
    /// A writer that has sent nothing.
    #[must_use]
    pub fn new(shape: &Shape, number: u16, random: &Random) -> Self {
        let random = random.fork(u64::from(number));
        Self {
            shape: shape.clone(),
            number,
            next: 0,
            random,
            pending: Vec::new(),
            answered: Vec::new(),
            last: HashMap::new(),
        }
    }

    /// Sends until told to stop.
    pub fn run(&mut self, address: SocketAddr, token: &str, notes: &Notes, stop: &AtomicBool) {
        let mut client = Client::new(address, token);
        while !stop.load(Ordering::Relaxed) {
            if !self.step(&mut client, notes) {
                std::thread::sleep(Duration::from_millis(5));
            }
            if !self.shape.pause.is_zero() {
                std::thread::sleep(self.shape.pause);
            }
        }
    }

    /// Sends one request. False if it was not answered with 200.
    pub fn step(&mut self, client: &mut Client, notes: &Notes) -> bool {
        let is_repeat = self.shape.repeats && !self.pending.is_empty() && self.random.one_in(2);
        let request = if is_repeat {
            let index = self.random.below(self.pending.len() as u64) as usize;
            self.pending.swap_remove(index)
        } else {
            self.compose(notes)
        };
        if !self.send(client, notes, &request, is_repeat) {
            // One in four is given up.
            if self.pending.len() < PENDING_MAX && !self.random.one_in(4) {
                self.pending.push(request);
            }
            return false;
        }
        if self.shape.repeats {
            self.keep(request);
            if self.random.one_in(20) {
                let old = self.answered.swap_remove(self.random.below(self.answered.len() as u64) as usize);
                return self.send(client, notes, &old, true);
            }
        }
        true
    }

    /// Keeps some acknowledged requests, old ones too, to send them again: all of them must be known.
    fn keep(&mut self, request: Request) {
        if self.answered.len() < ANSWERED_MAX {
            self.answered.push(request);
        } else if self.random.one_in(8) {
            let index = self.random.below(self.answered.len() as u64) as usize;
            self.answered[index] = request;
        }
    }

    /// True if all of it was acknowledged.
    fn send(&mut self, client: &mut Client, notes: &Notes, request: &Request, is_repeat: bool) -> bool {
        let bad = request.ids.iter().filter(|id| id.is_none()).count() as u64;
        {
            let mut witness = notes.witness();
            witness.sent += request.ids.len() as u64;
            witness.sent_bad += bad;
        }
        let ids: Vec<&str> = request.ids.iter().map(|id| id.as_deref().unwrap_or("-")).collect();
        notes.write(&format!("send {}{}", if is_repeat { "again " } else { "" }, ids.join(" ")));
        let Ok(answer) = client.post("/v1/events", request.content_type, &request.body) else {
            return false;
        };
        if notes.is_dark() {
            return false;
        }
        notes.judge_status("a request of events", &answer, WRITE_STATUSES);
        if answer.status != 200 {
            *notes.witness().refused.entry(answer.status).or_default() += 1;
            return false;
        }
        self.take(notes, request, &answer, is_repeat);
        if self.random.one_in(16) {
            read_own_write(client, notes, request);
        }
        true
    }

    fn take(&mut self, notes: &Notes, request: &Request, answer: &Answer, is_repeat: bool) {
        let mut witness = notes.witness();
        let results = match serde_json::from_slice::<Results<'_>>(&answer.body) {
            Ok(answer) if answer.results.len() == request.ids.len() => answer.results,
            _ => {
                let detail = format!("an answer of another shape: {}", answer.text());
                witness.findings.add(Violation::Invented, detail);
                return;
            }
        };
        let mut line = String::from("told");
        for (id, result) in request.ids.iter().zip(&results) {
            let place = result.partition.zip(result.offset).map(|(partition, offset)| Place { partition, offset });
            line.push_str(&format!(" {}={}", id.as_deref().unwrap_or("-"), result.offset.unwrap_or_default()));
            let told = match (result.status, place) {
                ("stored", Some(place)) => Told::Stored(place),
                ("duplicate", _) => Told::Duplicate,
                ("rejected", _) => Told::Rejected,
                (status, _) => {
                    witness.findings.add(Violation::Invented, format!("an answer says {status:?} without a place"));
                    continue;
                }
            };
            let Some(id) = id else {
                match told {
                    Told::Rejected => witness.told_rejected += 1,
                    _ => witness.findings.add(Violation::Invented, "a bad event was taken"),
                }
                continue;
            };
            if result.event_id.is_some_and(|told| told != id) {
                witness.findings.add(Violation::Changed, format!("the answer for {id} names {:?}", result.event_id));
            }
            witness.told(id, is_repeat, told);
            if let (Told::Stored(place), false) = (told, is_repeat) {
                let last = self.last.entry(place.partition).or_default();
                if place.offset <= *last {
                    let detail = format!("{id} got {place} after the same writer had got {last}");
                    witness.findings.add(Violation::OutOfOrder, detail);
                }
                *last = place.offset;
            }
        }
        drop(witness);
        notes.write(&line);
    }

    /// A new request: one event, or lines of up to [`EVENTS_MAX`], sometimes a bad one among them.
    fn compose(&mut self, notes: &Notes) -> Request {
        if self.random.one_in(3) {
            let (id, line) = self.event(notes);
            return Request { ids: vec![Some(id)], content_type: "application/json", body: line.into_bytes() };
        }
        let mut request = Request { ids: Vec::new(), content_type: "application/x-ndjson", body: Vec::new() };
        let count = 1 + self.random.below(EVENTS_MAX);
        let bad = if self.random.one_in(12) { Some(self.random.below(count)) } else { None };
        for index in 0..count {
            if bad == Some(index) {
                request.ids.push(None);
                request.body.extend_from_slice(b"{\"category\":\"bad\",\"name\":\"no session\"}\n");
            }
            let (id, line) = self.event(notes);
            request.ids.push(Some(id));
            request.body.extend_from_slice(line.as_bytes());
            request.body.push(b'\n');
        }
        request
    }

    /// A new event, noted.
    fn event(&mut self, notes: &Notes) -> (String, String) {
        let id = format!("{}-{}-{}", self.shape.run, self.number, self.next);
        self.next += 1;
        let number = if self.random.one_in(2) { 0 } else { self.random.below(self.shape.sessions) };
        let session = self.shape.session(number);
        let mut lateness = self.random.below(SPREAD_MICROS);
        if self.random.one_in(4) {
            // The same microsecond for many: offsets decide.
            lateness -= lateness % (SPREAD_MICROS / 8);
        }
        let timestamp = MIDDLE_MICROS - lateness as i64;
        let data = self.payload(&id);
        let (category, name) = (format!("c{}", self.next % 5), format!("n{}", self.next % 7));
        let content = Digest::of_event(&category, &name, &data);
        notes.witness().will_send(id.clone(), session.as_str().into(), timestamp, content);
        let time = Timestamp::from_micros(timestamp);
        let line = format!(
            r#"{{"event_id":"{id}","session_id":"{session}","category":"{category}","name":"{name}","timestamp":"{time}","data":{data}}}"#
        );
        (id, line)
    }

    fn payload(&mut self, id: &str) -> String {
        let is_large = self.random.one_in(self.shape.large_one_in);
        let length = if is_large { 2_000 + self.random.below(20_000) } else { self.random.below(200) };
        const LETTERS: [&str; 20] = [
            "a", "e", "i", "o", "u", "n", "r", "s", "t", "-", " ", "0", "1", "9", "\\n", "\\\"", "ü", "眼", "\\u0041",
            "/",
        ];
        let text: String = (0..length).map(|_| *self.random.of(&LETTERS)).collect();
        format!(r#"{{"id":"{id}","n":{}.50,"text":"{text}"}}"#, self.next)
    }
}

/// Whoever was acknowledged sees the event in the next answer.
fn read_own_write(client: &mut Client, notes: &Notes, request: &Request) {
    let Some(id) = request.ids.iter().flatten().next() else { return };
    let Some((session, timestamp)) = notes.witness().find(id) else { return };
    let (from, to) = (Timestamp::from_micros(timestamp), Timestamp::from_micros(timestamp + 1));
    let path = format!("/v1/events?session_id={session}&from={from}&to={to}&limit=10000");
    let Ok(answer) = client.get(&path) else { return };
    if notes.is_dark() {
        return;
    }
    notes.judge_status(&path, &answer, READ_STATUSES);
    if answer.status != 200 {
        return;
    }
    let Ok(page) = Page::read(&answer.body) else {
        let detail = format!("{path} is answered with {}", answer.text());
        notes.witness().findings.add(Violation::Changed, detail);
        return;
    };
    if page.next.is_none() && page.rows.iter().all(|row| row.id != *id) {
        notes.witness().findings.add(Violation::Vanished, format!("{id} was acknowledged, the next answer lacks it"));
    }
}
