//! From lines to the server: batches, several in flight, tries again with the same event ids, and one tally at the end.
//!
//! One reader fills a short queue; each worker posts a batch and waits for its answer. What is tried again: no answer,
//! 408, 429, 5xx (nothing of such a request is known to be stored; ids make a repeat harmless). What is cut in half:
//! a batch that the server cannot read or finds too large, until the lines to blame stand alone. What ends everything:
//! a token that may not write.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use parking_lot::Mutex;
use rand::Rng as _;
use serde::Deserialize;

use super::client::{Client, Refusal, Trouble};
use super::failure::{Failure, Result};
use super::lines::Line;
use super::view;

/// Batches are cut at this size, far below what a server takes.
const BATCH_BYTES_MAX: usize = 4 << 20;
pub(crate) const FIRST_PAUSE: Duration = Duration::from_millis(100);
pub(crate) const PAUSE_MAX: Duration = Duration::from_secs(10);
/// Rejections kept for the summary; the others are counted.
const REJECTIONS_KEPT_MAX: usize = 1_000;

/// How to send.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    /// Events in a request.
    pub(crate) batch_events: usize,
    /// Requests in flight.
    pub(crate) in_flight: usize,
    /// Tries per request, the first included.
    pub(crate) tries_max: u32,
}

/// What became of the lines.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// Durable now.
    pub(crate) stored: u64,
    /// Were there already.
    pub(crate) duplicate: u64,
    /// Refused, each by name.
    pub(crate) rejected: u64,
    /// Requests that were tried again.
    pub(crate) retries: u64,
    /// The refused ones, in the order of the input, up to a limit.
    pub(crate) rejections: Vec<LineRejection>,
    /// The furthest place seen, one number per partition: for `at_least`.
    pub(crate) offset: Vec<u64>,
    /// Every line that was handed over, up to and including this number, has its answer.
    pub(crate) answered_to: u64,
}

/// Who is told what becomes of the lines while they are sent.
pub(crate) trait Watch: Sync {
    /// A batch has its answer, and is counted.
    fn answered(&self, tally: &Tally);

    /// A line was refused; it is counted next. An error ends everything.
    fn refused(&self, _rejection: &LineRejection, _line: &[u8]) -> Result<()> {
        Ok(())
    }
}

impl<F: Fn(&Tally) + Sync> Watch for F {
    fn answered(&self, tally: &Tally) {
        self(tally);
    }
}

/// A line that was refused.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub(crate) struct LineRejection {
    /// Its number in the input.
    pub(crate) line: u64,
    /// The stable code.
    pub(crate) code: String,
    /// The field to blame, empty if none.
    pub(crate) field: String,
    /// What to do.
    pub(crate) message: String,
}

impl Tally {
    /// Lines that have an answer.
    pub(crate) fn answered(&self) -> u64 {
        self.stored + self.duplicate + self.rejected
    }

    /// Counts a refused line, and keeps it if there is room.
    pub(crate) fn reject(&mut self, rejection: LineRejection) {
        self.rejected += 1;
        if self.rejections.len() < REJECTIONS_KEPT_MAX {
            self.rejections.push(rejection);
        }
    }

    fn add(&mut self, lines: &[Line], answer: Answer, watch: &dyn Watch) -> Result<()> {
        if answer.results.len() != lines.len() {
            return Err(Failure::Unreachable(format!(
                "the server answered {} results for {} events; is it as new as this program?",
                answer.results.len(),
                lines.len()
            )));
        }
        for (line, result) in lines.iter().zip(answer.results) {
            match result.status.as_str() {
                "stored" => self.stored += 1,
                "duplicate" => self.duplicate += 1,
                _ => {
                    let rejection = LineRejection {
                        line: line.number,
                        code: result.code.unwrap_or_default(),
                        field: result.field.unwrap_or_default(),
                        message: result.message.unwrap_or_default(),
                    };
                    watch.refused(&rejection, &line.bytes)?;
                    self.reject(rejection);
                }
            }
        }
        let seen = answer.offset.split(',').map(|offset| offset.parse().unwrap_or(0));
        for (partition, offset) in seen.enumerate() {
            if self.offset.len() <= partition {
                self.offset.resize(partition + 1, 0);
            }
            self.offset[partition] = self.offset[partition].max(offset);
        }
        Ok(())
    }
}

#[derive(Deserialize)]
struct Answer {
    results: Vec<LineResult>,
    #[serde(default)]
    offset: String,
}

#[derive(Deserialize)]
struct LineResult {
    status: String,
    #[serde(default)]
    code: Option<String>,
    #[serde(default)]
    field: Option<String>,
    #[serde(default)]
    message: Option<String>,
}

struct Shared<'a> {
    client: &'a Client,
    plan: Plan,
    tally: Mutex<Tally>,
    failure: Mutex<Option<Failure>>,
    is_over: AtomicBool,
    open: Mutex<Open>,
    watch: &'a dyn Watch,
}

/// Batches without an answer.
#[derive(Default)]
struct Open {
    /// The number of each one's first line.
    first_lines: BTreeSet<u64>,
    /// The number of the last line that was put into a batch.
    last_line: u64,
}

impl Open {
    fn add(&mut self, batch: &[Line]) {
        self.first_lines.extend(batch.first().map(|line| line.number));
        self.last_line = batch.last().map_or(self.last_line, |line| line.number);
    }

    /// Takes an answered batch away: everything up to this line has its answer now.
    fn remove(&mut self, batch: &[Line]) -> u64 {
        if let Some(first) = batch.first() {
            self.first_lines.remove(&first.number);
        }
        self.first_lines.first().map_or(self.last_line, |first| first.saturating_sub(1))
    }
}

/// Sends every line `next` gives. The tally is right even when sending failed half-way.
pub(crate) fn send_all(
    client: &Client,
    plan: Plan,
    next: &mut dyn FnMut() -> Result<Option<Line>>,
    watch: &dyn Watch,
) -> (Tally, Result<()>) {
    let shared = Shared {
        client,
        plan,
        tally: Mutex::default(),
        failure: Mutex::default(),
        is_over: AtomicBool::new(false),
        open: Mutex::default(),
        watch,
    };
    let (sender, receiver) = sync_channel(plan.in_flight);
    let receiver = Mutex::new(receiver);
    let read = thread::scope(|scope| {
        for _ in 0..plan.in_flight {
            scope.spawn(|| work(&shared, &receiver));
        }
        fill(&shared, sender, next)
    });
    let mut tally = shared.tally.into_inner();
    tally.rejections.sort_by_key(|rejection| rejection.line);
    (tally, shared.failure.into_inner().map_or(read, Err))
}

/// Cuts lines into batches until they end, or a worker has failed.
fn fill(
    shared: &Shared<'_>,
    batches: SyncSender<Vec<Line>>,
    next: &mut dyn FnMut() -> Result<Option<Line>>,
) -> Result<()> {
    let mut batch = Vec::with_capacity(shared.plan.batch_events);
    let mut bytes = 0;
    let end = loop {
        let line = match next() {
            Ok(Some(line)) if !shared.is_over.load(Ordering::Relaxed) => line,
            Ok(_) => break Ok(()),
            Err(failure) => break Err(failure),
        };
        if !batch.is_empty() && (batch.len() >= shared.plan.batch_events || bytes + line.bytes.len() > BATCH_BYTES_MAX)
        {
            bytes = 0;
            let full = std::mem::replace(&mut batch, Vec::with_capacity(shared.plan.batch_events));
            shared.open.lock().add(&full);
            if batches.send(full).is_err() {
                break Ok(());
            }
        }
        bytes += line.bytes.len() + 1;
        batch.push(line);
    };
    if !batch.is_empty() {
        shared.open.lock().add(&batch);
        // Nobody left to take it means that a failure is already known.
        let _ = batches.send(batch);
    }
    end
}

fn work(shared: &Shared<'_>, batches: &Mutex<Receiver<Vec<Line>>>) {
    loop {
        let batch = batches.lock().recv();
        let Ok(batch) = batch else {
            return;
        };
        // After a failure the queue is only emptied, so that the reader is never stuck.
        if shared.is_over.load(Ordering::Relaxed) {
            continue;
        }
        match deliver(shared, &batch) {
            Ok(()) => {
                let answered_to = shared.open.lock().remove(&batch);
                let mut tally = shared.tally.lock();
                tally.answered_to = tally.answered_to.max(answered_to);
            }
            Err(failure) => {
                shared.is_over.store(true, Ordering::Relaxed);
                shared.failure.lock().get_or_insert(failure);
            }
        }
        shared.watch.answered(&shared.tally.lock());
    }
}

/// Sends a batch until it has an answer, in halves if it must be.
fn deliver(shared: &Shared<'_>, lines: &[Line]) -> Result<()> {
    let refusal = match post(shared, lines)? {
        Ok(answer) => return shared.tally.lock().add(lines, answer, shared.watch),
        Err(refusal) => refusal,
    };
    if let [line] = lines {
        let rejection = LineRejection {
            line: line.number,
            code: refusal.code,
            field: refusal.field.unwrap_or_default(),
            message: refusal.detail,
        };
        shared.watch.refused(&rejection, &line.bytes)?;
        shared.tally.lock().reject(rejection);
        return Ok(());
    }
    let (left, right) = lines.split_at(lines.len() / 2);
    deliver(shared, left)?;
    deliver(shared, right)
}

/// Posts a batch until there is an answer that is worth no further try. The inner error blames the body.
fn post(shared: &Shared<'_>, lines: &[Line]) -> Result<std::result::Result<Answer, Refusal>> {
    let mut body = Vec::with_capacity(lines.iter().map(|line| line.bytes.len() + 1).sum());
    for line in lines {
        body.extend_from_slice(&line.bytes);
        body.push(b'\n');
    }
    let mut pause = FIRST_PAUSE;
    for attempt in 1.. {
        let trouble = match shared.client.post_events(&body) {
            Ok(answer) => return view::read(&answer).map(Ok),
            Err(trouble) => trouble,
        };
        let wait = match &trouble {
            Trouble::Network(_) => None,
            Trouble::Refused(refusal) => match refusal.status {
                400 | 413 => return Ok(Err(refusal.clone())),
                408 | 429 | 500.. => refusal.retry_after,
                _ => return Err(shared.client.failure(trouble)),
            },
        };
        if attempt >= shared.plan.tries_max || shared.is_over.load(Ordering::Relaxed) {
            return Err(shared.client.failure(trouble));
        }
        shared.tally.lock().retries += 1;
        thread::sleep(wait.unwrap_or_else(|| jittered(pause)).min(PAUSE_MAX));
        pause = (pause * 2).min(PAUSE_MAX);
    }
    Err(Failure::usage("--tries is 0: give at least 1"))
}

/// Between half and all of the pause, so that workers do not come back in step.
pub(crate) fn jittered(pause: Duration) -> Duration {
    pause.mul_f64(rand::rng().random_range(0.5..1.0))
}
