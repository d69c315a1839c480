//! The order of acknowledgement: a run under strace, held against the rules of [`crate::trace`]. Beside the load, which
//! sends some of it again, others ask for what else is acknowledged: events over the seed's API, tokens, an erasure.

use std::sync::Arc;
use std::time::{Duration, Instant};

use eye_event::{Problems, Timestamp};

use crate::Result;
use crate::erasures::Erasures;
use crate::http::Client;
use crate::load::{APPLICATIONS, Notes, Shape, Writer};
use crate::machine::cannot_strace;
use crate::modes::io::await_trace;
use crate::observe;
use crate::oracle::{Findings, Said, Sent, Told, Violation};
use crate::random::Random;
use crate::report::Report;
use crate::rig::{Ground, Rig, Tally};
use crate::server::{NotStarted, PATIENCE, Server};
use crate::trace::{self, Checked};

/// A run that is refused so often is over.
const REFUSED_MAX: u64 = 50;
/// A run takes no longer than this, however slow the machine.
const LONGEST: Duration = Duration::from_secs(40);
/// An erasure takes no longer unless it is never done.
const ERASURE_PATIENCE: Duration = Duration::from_secs(30);
/// One request beside the load in so many is for a token.
const TOKEN_ONE_IN: u64 = 8;
/// One event beside the load in so many is sent twice.
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
        let Checked { duplicates, collected, tokens, erasures, names, commits, files, trims, .. } = all;
        let counts = [duplicates, collected, tokens, erasures, names, commits, files, trims];
        let is_last = all.acknowledgements >= acknowledgements;
        if checked.acknowledgements == 0 || is_last && counts.contains(&0) {
            rig.find(Violation::NotTested, format!("the traced runs show too little: {all:?}"));
        }
        report.add(rig.finish());
        runs += 1;
    }
    let Checked { acknowledgements, duplicates, collected, tokens, erasures, names, commits, files, trims } = all;
    report.notes.push(format!(
        "{runs} traces: {acknowledgements} acknowledgements, {duplicates} duplicates, {collected} of the seed's API, \
         {tokens} tokens, {erasures} erasures, {names} names, {commits} commits, {files} files, {trims} trims in order"
    ));
    Ok(report)
}

fn shape(run: u64) -> Shape {
    Shape { large_one_in: 200, ..Shape::new(format!("a{run}")) }
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
    if let Some(beside) = beside {
        rig.reads_too([beside.session.clone()]);
        beside.look(&server);
        erase(rig, &server);
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
    rig.recover_and_check()?;
    Ok(checked)
}

/// Who asks for tokens, and sends events over the seed's API.
struct Beside<'a> {
    notes: &'a Notes,
    client: Client,
    session: String,
    next: u64,
    /// Events that were taken.
    taken: Vec<String>,
}

impl<'a> Beside<'a> {
    fn new(server: &Server, notes: &'a Notes, run: &str) -> Self {
        Self { notes, client: Rig::client(server), session: format!("{run}-seed"), next: 0, taken: Vec::new() }
    }

    fn step(&mut self) {
        if self.next.is_multiple_of(TOKEN_ONE_IN) {
            let body = format!(r#"{{"name":"beside the load {}","kind":"secret"}}"#, self.next);
            self.ask("/v1/tokens", &body);
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
        let times = if self.next.is_multiple_of(TWICE_ONE_IN) { 2 } else { 1 };
        let mut is_taken = false;
        for _ in 0..times {
            self.notes.witness().sent += 1;
            self.notes.write(&format!("send {id}"));
            is_taken |= self.ask("/eye/collector", &body);
        }
        self.taken.extend(is_taken.then_some(id));
        self.next += 1;
    }

    /// True if it was answered with 201. That it is too busy at the moment is right too.
    fn ask(&mut self, path: &str, body: &str) -> bool {
        let what = match self.client.post(path, "application/json", body.as_bytes()) {
            Ok(answer) if answer.status == 201 => return true,
            Ok(answer) if answer.status == 503 => return false,
            Ok(answer) => format!("{path} is answered with {}: {}", answer.status, answer.text()),
            Err(error) => format!("{path} is not answered: {error}"),
        };
        self.notes.find(Violation::NotRecovered, what);
        false
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
                None => witness.findings.add(Violation::Lost, format!("{id} was answered with 201 and is not there")),
            }
        }
    }
}

/// Writes to a session of its own and erases it, up to the end.
fn erase(rig: &mut Rig<'_>, server: &Server) {
    let shape = Shape { sessions: 1, repeats: false, ..Shape::new(format!("{}e", rig.run())) };
    let (notes, mut client) = (Arc::clone(&rig.notes), Rig::client(server));
    let mut writer = Writer::new(&shape, 0, &Random::new(rig.ground().seed).fork(31));
    for _ in 0..3 {
        writer.step(&mut client, &notes);
    }
    rig.reads_too(shape.all_sessions());
    let (mut erasures, begun) = (Erasures::default(), Instant::now());
    let mut done = erasures.ask(&mut client, &notes, &shape.session(0)).and_then(|is_accepted| {
        // Of one that was not accepted nothing is known before the next start.
        if is_accepted { erasures.look(&mut client, &notes) } else { Ok(true) }
    });
    while matches!(done, Ok(false)) && begun.elapsed() < ERASURE_PATIENCE {
        std::thread::sleep(Duration::from_millis(5));
        done = erasures.look(&mut client, &notes);
    }
    match done {
        Ok(true) => {}
        Ok(false) => notes.find(Violation::NotErased, "an erasure is never done"),
        Err(error) => notes.find(Violation::NotRecovered, format!("an erasure is not answered: {error}")),
    }
}
