//! The order of acknowledgement: a run under strace, held against the rules of [`crate::trace`]. Beside the load, which
//! sends some of it again, others ask for what else is acknowledged: events over the seed's API, tokens, an erasure. Some
//! events are sent twice at the same moment: then a repeat may come while the first one is not yet synced. Files are
//! merged too, and what was replaced goes at once.
//!
//! The rule: an id is that of one event, also of all applications together. A trace does not say whose it is.

use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use eye_event::{Problems, Timestamp};

use crate::Result;
use crate::erasures::Erasures;
use crate::http::Client;
use crate::load::{APPLICATIONS, Notes, Shape, Writer};
use crate::machine::cannot_strace;
use crate::modes::io::await_trace;
use crate::modes::upkeep::await_erased;
use crate::observe;
use crate::oracle::{Findings, Said, Sent, Told, Violation};
use crate::random::Random;
use crate::report::Report;
use crate::rig::{Ground, Rig, Tally};
use crate::server::{NotStarted, PATIENCE, Server};
use crate::trace::{self, Checked};

/// So many acknowledgements must show every rule at work.
const DEMANDED_AT: u64 = 2_000;
/// A run that is refused so often is over.
const REFUSED_MAX: u64 = 50;
/// A run takes no longer than this, however slow the machine.
const LONGEST: Duration = Duration::from_secs(40);
/// An erasure takes no longer unless it is never done.
const ERASURE_PATIENCE: Duration = Duration::from_secs(30);
/// One request beside the load in so many is for a token.
const TOKEN_ONE_IN: u64 = 8;
/// One request beside the load in so many is for a compaction.
const COMPACTION_ONE_IN: u64 = 5;
/// One event beside the load in so many is sent twice at the same moment.
const TWICE_ONE_IN: u64 = 3;
/// 2024-05-01T12:00:00Z: the first time of events beside the load.
const FIRST_MICROS: i64 = 1_714_564_800_000_000;

/// Traces runs until so many acknowledgements were checked.
///
/// # Errors
/// The tools failed.
pub fn run(ground: &Ground, acknowledgements: u64) -> Result<Report> {
    let mut report = Report::new("acks", ground.seed);
    if let Some(why) = cannot_strace() {
        report.skip(format!("the order of acknowledgement, because {why}"));
        return Ok(report);
    }
    let random = Random::new(ground.seed).fork(5);
    let mut all = Checked::default();
    let mut runs = 0;
    while all.acknowledgements < acknowledgements && report.is_good() {
        let mut rig = Rig::new(ground, shape(runs), &mut random.fork(runs), None)?;
        let checked = traced(&mut rig, acknowledgements - all.acknowledgements, None)?;
        all.add(checked);
        // The last run may be short; all of them together must show every rule at work.
        let is_demanded = acknowledgements >= DEMANDED_AT && all.acknowledgements >= acknowledgements;
        if checked.acknowledgements == 0 || is_demanded && all.lacks_some() {
            rig.find(Violation::NotTested, format!("the traced runs show too little: {all:?}"));
        }
        report.add(rig.finish());
        runs += 1;
    }
    report.notes.push(format!("{runs} traces: {all} in order"));
    report.demand_load();
    Ok(report)
}

fn shape(run: u64) -> Shape {
    Shape { large_one_in: 200, shares_ids: false, ..Shape::new(format!("a{run}")) }
}

/// One run under strace and its check, for the sabotages; perhaps with a call that fails.
///
/// # Errors
/// The tools failed.
pub fn one_run(
    ground: &Ground,
    run: u64,
    inject: Option<&str>,
    prepare: impl FnOnce(&mut Rig<'_>),
) -> Result<(Tally, Findings)> {
    let mut rig = Rig::new(ground, shape(run), &mut Random::new(ground.seed).fork(5).fork(run), None)?;
    prepare(&mut rig);
    rig.tally.faults += u64::from(inject.is_some());
    let _ = traced(&mut rig, 1_500, inject)?;
    Ok(rig.finish())
}

/// Load under strace until about so many events are acknowledged, an orderly stop, the rules.
fn traced(rig: &mut Rig<'_>, acknowledgements: u64, inject: Option<&str>) -> Result<Checked> {
    let path = rig.launch.work.join("trace");
    // The smallest segments, and many flushes: many segments are made and removed.
    rig.flag("log-segment-bytes-max", "64KiB");
    rig.flag("log-keep-commits", "1");
    rig.flag("flush-age-max", "60ms");
    // Compactions when asked for.
    rig.flag("compaction-period", "0s");
    rig.flag("vacuum-retention", "0s");
    let text = path.display().to_string();
    let calls = format!("trace={}", trace::CALLS);
    let wrapper = ["strace", "-D", "-f", "-y", "-qq", "-s", "400000", "-e", &calls, "-e", "signal=none", "-o", &text];
    rig.launch.wrapper = wrapper.map(Into::into).into();
    rig.launch.wrapper.extend(inject.iter().flat_map(|inject| ["-e".into(), format!("inject={inject}").into()]));
    rig.notes.set_disk_fails(inject.is_some());
    let mut server = match (rig.launch.start(), inject) {
        (Ok(server), _) => server,
        // It may refuse to start: that is what the fault is for.
        (Err(error), Some(_)) if error.is::<NotStarted>() => {
            rig.launch.wrapper.clear();
            rig.notes.set_disk_fails(false);
            rig.recover_and_check()?;
            return Ok(Checked::default());
        }
        (Err(error), None) if error.is::<NotStarted>() => {
            rig.find(Violation::NotRecovered, error.to_string());
            return Ok(Checked::default());
        }
        (Err(error), _) => return Err(error),
    };
    let notes = Arc::clone(&rig.notes);
    let wanted = acknowledgements.min(4_000);
    // What else is asked for has no excuse for a disk that fails.
    let mut beside = inject.is_none().then(|| Beside::new(&server, &notes, rig.run()));
    rig.load(&server, || {
        let start = Instant::now();
        let is_on = || {
            let witness = notes.witness();
            // Refused so often: the fault has come.
            witness.acknowledged() < wanted && witness.refused.values().sum::<u64>() < REFUSED_MAX
        };
        while is_on() && start.elapsed() < LONGEST {
            if let Some(beside) = &mut beside {
                beside.step();
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    })?;
    let mut erasures = None;
    if let Some(beside) = beside {
        rig.reads_too([beside.session.clone()]);
        beside.look(&server);
        erasures = Some(erase(rig, &server));
    }
    match inject {
        // It may have to be killed: that is what the fault is for.
        Some(_) => {
            let _ = server.stop(PATIENCE)?;
        }
        None => rig.stop(&mut server)?,
    }
    rig.launch.wrapper.clear();
    rig.notes.set_disk_fails(false);
    let calls = trace::parse(&await_trace(&path)?);
    let (checked, findings) = trace::check(&calls, &rig.launch.data.display().to_string());
    rig.notes.witness().findings.extend(findings);
    recover_and_check(rig, erasures)?;
    Ok(checked)
}

/// As the rig's own. Of an erasure that was not answered with 200 only this start tells what became of it.
fn recover_and_check(rig: &mut Rig<'_>, erasures: Option<Erasures>) -> Result<()> {
    let Some(mut server) = rig.start()? else { return Ok(()) };
    if let Some(mut erasures) = erasures
        && let Err(error) = await_erased(rig, &server, &mut erasures)
    {
        rig.find(Violation::NotRecovered, format!("the erasures cannot be read: {error}"));
    }
    rig.check_running(&server);
    rig.notes.judge_end(server.process.kill());
    rig.check_stopped();
    Ok(())
}

/// Who asks for tokens and compactions, and sends events over the seed's API.
struct Beside<'a> {
    notes: &'a Notes,
    clients: [Client; 2],
    session: String,
    next: u64,
    /// Events that were taken.
    taken: Vec<String>,
}

impl<'a> Beside<'a> {
    fn new(server: &Server, notes: &'a Notes, run: &str) -> Self {
        let clients = [Rig::client(server), Rig::client(server)];
        Self { notes, clients, session: format!("{run}-seed"), next: 0, taken: Vec::new() }
    }

    fn step(&mut self) {
        if self.next.is_multiple_of(TOKEN_ONE_IN) {
            let body = format!(
                r#"{{"name":"beside the load {}","kind":"secret","application":"{}"}}"#,
                self.next, APPLICATIONS[0]
            );
            ask(&mut self.clients[0], self.notes, "/v1/tokens", &body);
        }
        if self.next.is_multiple_of(COMPACTION_ONE_IN) {
            ask(&mut self.clients[0], self.notes, "/v1/compact", "{}");
        }
        let id = format!("{}-{}", self.session, self.next);
        let timestamp = FIRST_MICROS + self.next as i64;
        let data = format!(r#"{{"id":"{id}"}}"#);
        let said = Said { category: "seed", name: "beside", data: &data, ..Said::default() };
        let sent = Sent::new(&self.session, Some(timestamp), Problems::NONE, said.digest());
        self.notes.witness().will_send(APPLICATIONS[0], id.clone(), sent);
        let (session, time) = (&self.session, Timestamp::from_micros(timestamp));
        let body = format!(
            r#"{{"event_id":"{id}","session_id":"{session}","category":"seed","name":"beside","data":{data},"timestamp":"{time}"}}"#
        );
        let is_twice = self.next.is_multiple_of(TWICE_ONE_IN);
        self.notes.witness().sent += if is_twice { 2 } else { 1 };
        self.notes.write(&format!("send {id}{}", if is_twice { " twice" } else { "" }));
        let is_taken = match is_twice {
            true => self.ask_both(&body),
            false => ask(&mut self.clients[0], self.notes, "/eye/collector", &body),
        };
        self.taken.extend(is_taken.then_some(id));
        self.next += 1;
    }

    /// The same event by both ways at the same moment: whichever comes second is the repeat, and it may come before the
    /// first one is synced. True if one of them was taken.
    fn ask_both(&mut self, body: &str) -> bool {
        let (notes, start) = (self.notes, Barrier::new(2));
        let [one, other] = &mut self.clients;
        std::thread::scope(|scope| {
            let collected = scope.spawn(|| {
                start.wait();
                ask(one, notes, "/eye/collector", body)
            });
            start.wait();
            let is_taken = ask(other, notes, "/v1/events", body);
            collected.join().unwrap_or_default() || is_taken
        })
    }

    /// The seed's API does not say where an event lies: from now on it must stay where it is.
    fn look(&self, server: &Server) {
        let read = observe::shown(&mut Rig::client(server), std::slice::from_ref(&self.session));
        let rows = match read {
            Ok(shown) => shown.sessions.concat(),
            Err(error) => return self.notes.find(Violation::NotRecovered, format!("it cannot be read: {error}")),
        };
        let mut witness = self.notes.witness();
        for id in &self.taken {
            match rows.iter().find(|row| row.id == *id) {
                Some(row) => witness.told(APPLICATIONS[0], id, false, Told::Stored(row.place)),
                None => witness.findings.add(Violation::Lost, format!("{id} was taken and is not there")),
            }
        }
    }
}

/// True if it was taken: it is made, or an answer says what became of the event. That it is too busy at the moment is right
/// too.
fn ask(client: &mut Client, notes: &Notes, path: &str, body: &str) -> bool {
    let what = match client.post(path, "application/json", body.as_bytes()) {
        Ok(answer) if matches!(answer.status, 200 | 201) => return true,
        Ok(answer) if answer.status == 503 => return false,
        Ok(answer) => format!("{path} is answered with {}: {}", answer.status, answer.text()),
        Err(error) => format!("{path} is not answered: {error}"),
    };
    notes.find(Violation::NotRecovered, what);
    false
}

/// Writes to a session of its own and erases it, up to the end. What is known of it then.
fn erase(rig: &mut Rig<'_>, server: &Server) -> Erasures {
    let shape = Shape { sessions: 1, repeats: false, ..Shape::new(format!("{}e", rig.run())) };
    let (notes, mut client) = (Arc::clone(&rig.notes), Rig::client(server));
    let mut writer = Writer::new(&shape, 0, &Random::new(rig.ground().seed).fork(31));
    for _ in 0..3 {
        writer.step(&mut client, &notes);
    }
    rig.reads_too(shape.all_sessions());
    let mut erasures = Erasures::default();
    if let Err(error) = erase_session(rig, &mut client, &mut erasures, &shape.session(0)) {
        notes.find(Violation::NotRecovered, format!("an erasure is not answered: {error}"));
    }
    erasures
}

/// Asks until it is accepted, as the answer or the list says, and waits until it is done. That it is refused all the time is
/// no finding here.
fn erase_session(rig: &Rig<'_>, client: &mut Client, erasures: &mut Erasures, session: &str) -> Result<()> {
    let begun = Instant::now();
    while !erasures.ask(client, &rig.notes, session)? {
        if rig.has_findings() || begun.elapsed() > ERASURE_PATIENCE {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(50));
        erasures.look(client, &rig.notes)?;
        if !erasures.is_unknown() {
            break;
        }
    }
    while !erasures.look(client, &rig.notes)? {
        if begun.elapsed() > ERASURE_PATIENCE {
            rig.find(Violation::NotErased, "an erasure is never done");
            break;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}
