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
use super::content::{self, Event, Sender};
use super::notes::{Notes, READ_STATUSES, WRITE_STATUSES};
use super::tenants::APPLICATIONS;
use crate::http::{Answer, Client};
use crate::observe::Page;
use crate::oracle::{Place, Reason, Row, Told, Violation, Witness};
use crate::random::Random;

/// Events in a request, at most.
const EVENTS_MAX: u64 = 20;
/// In one request of so many is an item that must be refused.
const BAD_ONE_IN: u64 = 8;
/// Requests without an answer that a writer keeps to send again.
const PENDING_MAX: usize = 32;
/// Acknowledged requests that a writer keeps to send again.
const ANSWERED_MAX: usize = 16;

/// A request as it was sent: to be sent again with the same bytes.
#[derive(Clone, Debug)]
struct Request {
    items: Vec<Item>,
    content_type: &'static str,
    body: Vec<u8>,
}

#[derive(Clone, Debug)]
enum Item {
    /// By its id.
    Event(String),
    /// By its bytes.
    Bad(String),
}

impl Item {
    fn id(&self) -> Option<&str> {
        match self {
            Self::Event(id) => Some(id),
            Self::Bad(_) => None,
        }
    }
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
    code: Option<String>,
    field: Option<String>,
    message: Option<String>,
}

/// One writer.
#[derive(Debug)]
pub struct Writer {
    shape: Shape,
    /// The application whose token it has.
    pub(super) application: &'static str,
    /// Stands in its ids. Where applications share ids, the writer of another one has the same.
    name: u16,
    /// No other has it.
    number: u16,
    next: u64,
    next_bad: u64,
    /// Makes its choices.
    random: Random,
    /// Makes what its events say.
    contents: Random,
    pending: Vec<Request>,
    answered: Vec<Request>,
    /// The last offset acknowledged in each partition.
    last: HashMap<u16, u64>,
}

impl Writer {
    /// A writer that has sent nothing. The applications have them by turns, the first one that of number 0.
    #[must_use]
    pub fn new(shape: &Shape, number: u16, random: &Random) -> Self {
        let applications = APPLICATIONS.len() as u16;
        let name = if shape.shares_ids { number / applications } else { number };
        Self {
            shape: shape.clone(),
            application: APPLICATIONS[usize::from(number % applications)],
            name,
            number,
            next: 0,
            next_bad: 0,
            random: random.fork(u64::from(number)),
            contents: random.fork(u64::from(name)).fork(1),
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

    /// Sends a new event, alone in its request. False if it was not answered with 200.
    pub fn single(&mut self, client: &mut Client, notes: &Notes) -> bool {
        let request = self.alone(notes);
        let is_taken = self.send(client, notes, &request, false);
        if is_taken {
            self.keep(request);
        }
        is_taken
    }

    /// Sends what it keeps of acknowledged requests again. False if one was not answered with 200.
    pub fn repeat(&mut self, client: &mut Client, notes: &Notes) -> bool {
        let kept = self.answered.clone();
        kept.iter().all(|request| self.send(client, notes, request, true))
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
        {
            let mut witness = notes.witness();
            witness.sent += request.items.len() as u64;
            for item in &request.items {
                if let Item::Bad(json) = item {
                    witness.sent_bad += 1;
                    witness.refusals.sends(json);
                }
            }
        }
        let ids: Vec<&str> = request.items.iter().map(|item| item.id().unwrap_or("-")).collect();
        let again = if is_repeat { "again " } else { "" };
        notes.write(&format!("send {} {again}{}", self.application, ids.join(" ")));
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
            self.read_own_write(client, notes, request);
        }
        true
    }

    fn take(&mut self, notes: &Notes, request: &Request, answer: &Answer, is_repeat: bool) {
        let mut witness = notes.witness();
        let results = match serde_json::from_slice::<Results<'_>>(&answer.body) {
            Ok(answer) if answer.results.len() == request.items.len() => answer.results,
            _ => {
                let detail = format!("an answer of another shape: {}", answer.text());
                witness.findings.add(Violation::Invented, detail);
                return;
            }
        };
        let mut line = format!("told {}", self.application);
        for (item, result) in request.items.iter().zip(&results) {
            let place = result.partition.zip(result.offset).map(|(partition, offset)| Place { partition, offset });
            line.push_str(&format!(" {}={}", item.id().unwrap_or("-"), result.offset.unwrap_or_default()));
            let told = match (result.status, place) {
                ("stored", Some(place)) => Told::Stored(place),
                ("duplicate", _) => Told::Duplicate,
                ("rejected", _) => Told::Rejected,
                (status, _) => {
                    witness.findings.add(Violation::Invented, format!("an answer says {status:?} without a place"));
                    continue;
                }
            };
            let id = match item {
                Item::Event(id) => id,
                Item::Bad(json) => {
                    take_bad(&mut witness, json, told, result);
                    continue;
                }
            };
            if result.event_id.is_some_and(|told| told != id) {
                witness.findings.add(Violation::Changed, format!("the answer for {id} names {:?}", result.event_id));
            }
            witness.told(self.application, id, is_repeat, told);
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

    /// A new request: one event, or up to [`EVENTS_MAX`] in lines or in an envelope, sometimes a bad one among them.
    fn compose(&mut self, notes: &Notes) -> Request {
        let form = self.random.below(3);
        if form == 0 {
            return self.alone(notes);
        }
        let sent_at = if form == 1 { Some(content::time(&mut self.random)) } else { None };
        let count = 1 + self.random.below(EVENTS_MAX);
        let bad = if self.random.one_in(BAD_ONE_IN) { Some(self.random.below(count)) } else { None };
        let (mut items, mut texts) = (Vec::new(), Vec::new());
        for index in 0..count {
            if bad == Some(index) {
                let json = self.bad(notes, sent_at.is_none());
                items.push(Item::Bad(json.clone()));
                texts.push(json);
            }
            let (id, json) = self.event(notes, sent_at);
            items.push(Item::Event(id));
            texts.push(json);
        }
        let (content_type, body) = match sent_at.map(Timestamp::from_micros) {
            Some(sent_at) => {
                ("application/json", format!(r#"{{"sent_at":"{sent_at}","events":[{}]}}"#, texts.join(",")))
            }
            None => ("application/x-ndjson", texts.join("\n") + "\n"),
        };
        Request { items, content_type, body: body.into_bytes() }
    }

    /// A new request of one event.
    fn alone(&mut self, notes: &Notes) -> Request {
        let (id, json) = self.event(notes, None);
        Request { items: vec![Item::Event(id)], content_type: "application/json", body: json.into_bytes() }
    }

    /// A new event, noted: its id and its JSON. `sent_at`: of its envelope.
    fn event(&mut self, notes: &Notes, sent_at: Option<i64>) -> (String, String) {
        let id = format!("{}-{}-{}", self.shape.run, self.name, self.next);
        let random = self.contents.fork(self.next);
        self.next += 1;
        let sender = Sender { shape: &self.shape, application: self.application, sent_at };
        let Event { json, sent } = Event::new(sender, &id, random);
        notes.witness().will_send(self.application, id.clone(), sent);
        (id, json)
    }

    /// A new item that must be refused, noted. Its id is one that no event has, in no application.
    fn bad(&mut self, notes: &Notes, is_line: bool) -> String {
        let id = format!("{}-{}-x{}", self.shape.run, self.number, self.next_bad);
        self.next_bad += 1;
        let (json, reason) = content::bad(self.application, &id, is_line, &mut self.random);
        notes.witness().refusals.will_send(json.clone(), self.application, reason);
        json
    }

    /// Whoever was acknowledged sees the event in the next answer.
    fn read_own_write(&self, client: &mut Client, notes: &Notes, request: &Request) {
        let mut ids = request.items.iter().filter_map(Item::id);
        // One whose time is its own.
        let found = ids.find_map(|id| Some((id, notes.witness().find(self.application, id)?)));
        let Some((id, (session, timestamp))) = found else { return };
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
            notes.find(Violation::Changed, detail);
            return;
        };
        let is_it = |row: &Row| row.id == id && row.application == self.application;
        if page.next.is_none() && !page.rows.iter().any(is_it) {
            notes.find(Violation::Vanished, format!("{id} was acknowledged, the next answer lacks it"));
        }
    }
}

/// What became of an item that must be refused.
fn take_bad(witness: &mut Witness, json: &str, told: Told, result: &OneResult<'_>) {
    if told != Told::Rejected {
        return witness.findings.add(Violation::Invented, format!("{json} was taken"));
    }
    witness.told_rejected += 1;
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let [code, field, message] = [&result.code, &result.field, &result.message].map(text);
    let findings = witness.refusals.told(json, Reason { code: &code, field: &field, message: &message });
    witness.findings.extend(findings);
}
