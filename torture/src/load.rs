//! Clients under load: writers that note what they send and what they are told, readers that watch a session.
//!
//! The rule: an event is noted, in memory and in the journal, before its first byte is sent, and an acknowledgement after
//! its last byte was read. Writers and readers live on over faults, with what they know.

use std::collections::HashMap;
use std::fs::File;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitStatus;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use eye_event::Timestamp;
use serde::Deserialize;

use crate::Result;
use crate::http::{Answer, Client};
use crate::observe::{self, Page};
use crate::oracle::{Digest, Place, Row, Told, Violation, Witness, check_later_view};
use crate::random::Random;
use crate::server::PATIENCE;

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
/// How much of a session a reader asks for.
const VIEW_ROWS: usize = 200;
/// What may be answered to events: taken, or not at the moment.
const WRITE_STATUSES: &[u16] = &[200, 503, 507];
/// What may be answered to questions.
const READ_STATUSES: &[u16] = &[200, 404, 503];

/// What all clients share: what they know together, and the journal of it.
pub struct Notes {
    witness: Mutex<Witness>,
    journal: Mutex<File>,
    /// From here on answers do not count: there is no power, so nobody could have got them.
    is_dark: AtomicBool,
    /// The disk fails: the server may say that something is wrong with it.
    disk_fails: AtomicBool,
}

impl Notes {
    /// Empty notes, with their journal in this file.
    ///
    /// # Errors
    /// The file cannot be made.
    pub fn new(journal: &Path) -> Result<Self> {
        let journal = Mutex::new(File::create(journal)?);
        let [is_dark, disk_fails] = [false; 2].map(AtomicBool::new);
        Ok(Self { witness: Mutex::default(), journal, is_dark, disk_fails })
    }

    /// The power goes or comes: see [`Notes`].
    pub fn set_dark(&self, is_dark: bool) {
        self.is_dark.store(is_dark, Ordering::SeqCst);
        self.write(if is_dark { "dark" } else { "light" });
    }

    fn is_dark(&self) -> bool {
        self.is_dark.load(Ordering::SeqCst)
    }

    /// The disk begins or ceases to fail: while it does, an answer of 500 is right.
    pub fn set_disk_fails(&self, disk_fails: bool) {
        self.disk_fails.store(disk_fails, Ordering::SeqCst);
    }

    /// Notes a finding.
    pub fn find(&self, violation: Violation, detail: impl Into<String>) {
        self.witness().findings.add(violation, detail);
    }

    /// Waits until so many more events are acknowledged; false if that takes too long.
    #[must_use]
    pub fn await_acknowledged(&self, more: u64) -> bool {
        let (start, wanted) = (Instant::now(), self.witness().acknowledged() + more);
        while self.witness().acknowledged() < wanted {
            if start.elapsed() > PATIENCE {
                return false;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        true
    }

    /// A process that should run until it is killed: how it had ended before, if it had, is a finding.
    pub fn judge_end(&self, ended: Option<ExitStatus>) {
        if let Some(status) = ended {
            self.find(Violation::NotRecovered, format!("it ended by itself ({status}) before it was killed"));
        }
    }

    /// An answer of another status than those that are right is a finding.
    fn judge_status(&self, path: &str, answer: &Answer, right: &[u16]) {
        let is_excused = answer.status == 500 && self.disk_fails.load(Ordering::SeqCst);
        if !is_excused && !right.contains(&answer.status) {
            let detail = format!("{path} is answered with {}: {}", answer.status, answer.text());
            self.find(Violation::NotRecovered, detail);
        }
    }

    /// What is known.
    pub fn witness(&self) -> MutexGuard<'_, Witness> {
        self.witness.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a line to the journal.
    pub fn write(&self, line: &str) {
        let mut journal = self.journal.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = writeln!(journal, "{line}") {
            eprintln!("torture: the journal takes nothing: {error}");
        }
    }
}

/// What the load looks like.
#[derive(Clone, Debug)]
pub struct Shape {
    /// In every id: nothing of another run is taken for ours.
    pub run: String,
    /// Writers.
    pub writers: u16,
    /// Readers.
    pub readers: u16,
    /// Sessions; the first one gets half of everything.
    pub sessions: u64,
    /// One event in so many is large.
    pub large_one_in: u64,
    /// A pause after each answer.
    pub pause: Duration,
    /// Send requests again that were not answered, and some that were. Not where the dedup window may close in between.
    pub repeats: bool,
}

impl Shape {
    /// The usual load.
    #[must_use]
    pub fn new(run: impl Into<String>) -> Self {
        Self {
            run: run.into(),
            writers: 6,
            readers: 2,
            sessions: 8,
            large_one_in: 60,
            pause: Duration::from_millis(2),
            repeats: true,
        }
    }

    /// The name of a session.
    #[must_use]
    pub fn session(&self, number: u64) -> String {
        format!("{}-s{number}", self.run)
    }

    /// All of them.
    #[must_use]
    pub fn all_sessions(&self) -> Vec<String> {
        (0..self.sessions).map(|number| self.session(number)).collect()
    }
}

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

/// One reader of one session.
#[derive(Debug)]
pub struct Reader {
    session: String,
    view: Vec<Row>,
}

impl Reader {
    /// A reader that has seen nothing.
    #[must_use]
    pub fn new(session: String) -> Self {
        Self { session, view: Vec::new() }
    }

    /// Watches until told to stop.
    pub fn run(&mut self, address: SocketAddr, token: &str, notes: &Notes, stop: &AtomicBool) {
        let mut client = Client::new(address, token);
        while !stop.load(Ordering::Relaxed) {
            self.look(&mut client, notes);
            std::thread::sleep(Duration::from_millis(15));
        }
    }

    fn look(&mut self, client: &mut Client, notes: &Notes) {
        let path = observe::session_path(&self.session, VIEW_ROWS, None);
        let Ok(answer) = client.get(&path) else { return };
        if notes.is_dark() {
            return;
        }
        notes.judge_status(&path, &answer, READ_STATUSES);
        let page = match answer.status {
            200 => match Page::read(&answer.body) {
                Ok(page) => page,
                Err(error) => {
                    notes.witness().findings.add(Violation::Changed, format!("{path}: {error}"));
                    return;
                }
            },
            404 => Page::default(),
            _ => return,
        };
        let mut witness = notes.witness();
        witness.findings.extend(check_later_view(&self.view, &page.rows, page.next.is_none()));
        page.rows.iter().for_each(|row| witness.saw(&row.id, row.place));
        drop(witness);
        self.view = page.rows;
    }
}

/// Writers and readers at work while `fault` runs; they stop when it returns.
///
/// # Errors
/// As `fault`.
pub fn during<T>(
    writers: &mut [Writer],
    readers: &mut [Reader],
    (address, token): (SocketAddr, &str),
    notes: &Arc<Notes>,
    fault: impl FnOnce() -> Result<T>,
) -> Result<T> {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for writer in writers {
            scope.spawn(|| writer.run(address, token, notes, &stop));
        }
        for reader in readers {
            scope.spawn(|| reader.run(address, token, notes, &stop));
        }
        let result = fault();
        stop.store(true, Ordering::Relaxed);
        result
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_is_not_right_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let notes = Notes::new(&folder.path().join("journal")).unwrap();
        let judge = |status, right| {
            notes.judge_status("/", &Answer { status, body: Vec::new() }, right);
            std::mem::take(&mut notes.witness().findings).names()
        };
        for status in [200, 503, 507] {
            assert_eq!(judge(status, WRITE_STATUSES), "");
        }
        for status in [400, 401, 404, 413, 500] {
            assert_eq!(judge(status, WRITE_STATUSES), "NotRecovered 1", "{status}");
        }
        assert_eq!((judge(404, READ_STATUSES).as_str(), judge(507, READ_STATUSES).as_str()), ("", "NotRecovered 1"));
        notes.set_disk_fails(true);
        assert_eq!((judge(500, READ_STATUSES).as_str(), judge(400, READ_STATUSES).as_str()), ("", "NotRecovered 1"));
    }
}
