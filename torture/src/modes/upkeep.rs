//! Compaction, vacuum, erasure and retention, with kills in between: what must stay stays, what must go is gone.
//!
//! Beside the usual load a keeper merges files, removes old ones and erases sessions, and the server merges and removes
//! by itself; the process is killed at random moments, in a compaction, as soon as old files were removed, as soon as an
//! erasure is accepted, and as soon as it is done. What is erased are sessions of the keeper's own, two at a time:
//! nobody sends to them any more, and the second one, whose events lie among those of the first, must stay.

use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::{Duration, Instant};

use crate::Result;
use crate::erasures::Erasures;
use crate::http::Client;
use crate::load::{Notes, Shape, Writer};
use crate::machine::faketime;
use crate::modes::retention;
use crate::observe;
use crate::oracle::Violation;
use crate::random::Random;
use crate::report::Report;
use crate::rig::{Ground, Rig};
use crate::server::{PATIENCE, Server};

/// A new data folder after so many kills.
const KILLS_PER_FOLDER: u64 = 8;
/// So many kills must come to files that are merged, to some that a vacuum removes, and to an erasure.
const DEMANDED_AT: u64 = 24;
/// In one folder of so many the days go by too.
const RETENTION_ONE_IN: u64 = 4;
/// A life ends at last.
const LIFE_MAX: Duration = Duration::from_secs(3);
/// Compactions under load before a kill.
const COMPACTIONS: u64 = 3;
/// How long the load runs.
pub(super) const LOAD: Duration = Duration::from_millis(250);

/// What the keeper is about to do, or has done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Compacting,
    Vacuumed,
    Accepted,
    Done,
}

/// When a life ends.
#[derive(Clone, Copy, Debug)]
enum End {
    /// So long after its start.
    At(Duration),
    /// So long after this step.
    After(Step, Duration),
}

/// Who merges, removes and erases.
struct Keeper {
    run: String,
    random: Random,
    erasures: Erasures,
    /// Pairs of sessions that were written.
    pairs: u64,
    done: Work,
}

/// What was done in all lives.
#[derive(Clone, Copy, Debug, Default)]
struct Work {
    /// Compactions that were asked for and answered.
    compactions: u64,
    /// Those that a kill cut off.
    cut_off: u64,
    /// By whomever.
    files: Files,
}

/// What became of files, as the server counts it: in compactions that it makes by itself too.
#[derive(Clone, Copy, Debug, Default)]
struct Files {
    merged: u64,
    vacuumed: u64,
}

impl Files {
    /// Since the server's start. `None` if there is no answer.
    fn ask(client: &mut Client) -> Option<Self> {
        let text = client.get("/metrics").ok().filter(|answer| answer.status == 200)?.text();
        let figure = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
        Some(Self { merged: figure("eye_compaction_files_in ")?, vacuumed: figure("eye_vacuumed_files ")? })
    }

    const fn add(&mut self, other: Self) {
        self.merged += other.merged;
        self.vacuumed += other.vacuumed;
    }
}

impl Work {
    const fn add(&mut self, other: Self) {
        self.compactions += other.compactions;
        self.cut_off += other.cut_off;
        self.files.add(other.files);
    }
}

/// Kills so often.
///
/// # Errors
/// The tools failed.
pub fn run(ground: &Ground, kills: u64) -> Result<Report> {
    let mut report = Report::new("upkeep", ground.seed);
    let has_clock = faketime();
    if let Err(why) = &has_clock {
        report.skip(format!("retention, because {why}"));
    }
    let (mut folder, mut work, mut erased, mut events, mut taken_up, mut told_later) =
        (0, Work::default(), 0, 0, 0, [0; 2]);
    while report.tally.faults < kills && report.is_good() {
        let mut random = Random::new(ground.seed).fork(27).fork(folder);
        // A little load: what is merged and erased beside it is what counts.
        let (writers, pause) = (3, Duration::from_millis(6));
        let shape = Shape { writers, pause, ..Shape::new(format!("u{folder}")) };
        if folder % RETENTION_ONE_IN == 0 && has_clock.is_ok() {
            let mut rig = Rig::new(ground, shape.clone(), &mut random, None)?;
            retention::between_kills(&mut rig)?;
            rig.demand_acknowledged()?;
            report.add(rig.finish());
        }
        let count = KILLS_PER_FOLDER.min(kills.saturating_sub(report.tally.faults));
        let mut rig = Rig::new(ground, shape, &mut random, None)?;
        let keeper = beside_load(&mut rig, random, folder, count)?;
        rig.demand_acknowledged()?;
        report.add(rig.finish());
        work.add(keeper.done);
        erased += keeper.erasures.accepted();
        events += keeper.erasures.events();
        taken_up += keeper.erasures.taken_up;
        told_later = [0, 1].map(|index| told_later[index] + keeper.erasures.told_later[index]);
        folder += 1;
    }
    let Work { compactions, cut_off, files: Files { merged, vacuumed } } = work;
    report.notes.push(format!(
        "{compactions} compactions answered and {cut_off} cut off by a kill, {merged} files merged and {vacuumed} removed \
         by them and by the server's own"
    ));
    report.notes.push(format!(
        "{erased} erasures of {events} events, {taken_up} taken up by a start, {} and {} of those without an answer were \
         accepted and not",
        told_later[0], told_later[1]
    ));
    if kills >= DEMANDED_AT && report.is_good() {
        for (count, what) in [(merged, "merged"), (vacuumed, "removed by a vacuum"), (erased, "erased")] {
            if count == 0 {
                report.findings.add(Violation::NotTested, format!("nothing was {what} in the whole run"));
            }
        }
    }
    report.demand_load();
    Ok(report)
}

/// Lives of one folder.
fn beside_load(rig: &mut Rig<'_>, mut random: Random, folder: u64, kills: u64) -> Result<Keeper> {
    let mut keeper = Keeper::new(format!("u{folder}"), &random);
    let notes = Arc::clone(&rig.notes);
    // A compaction that was asked for goes on as long as there are new files.
    rig.flag("flush-age-max", &format!("{}ms", 200 + random.below(400)));
    rig.flag("flush-bytes-max", "4MiB");
    // By itself too, and what was replaced goes at once.
    rig.flag("compaction-period", "100ms");
    rig.flag("compaction-files-min", "2");
    rig.flag("vacuum-retention", "0s");
    while rig.tally.faults < kills && !rig.has_findings() {
        let Some(mut server) = rig.start()? else { break };
        keeper.erasures.look_after_start(&mut Rig::client(&server), &notes)?;
        let end = match random.below(5) {
            0 => End::At(Duration::from_millis(random.below(500))),
            1 => End::After(Step::Compacting, Duration::from_micros(random.below(60_000))),
            2 => End::After(Step::Vacuumed, Duration::from_micros(random.below(2) * random.below(20_000))),
            3 => End::After(Step::Accepted, Duration::from_micros(random.below(3) * random.below(20_000))),
            _ => End::After(Step::Done, Duration::from_micros(random.below(2) * random.below(1_000))),
        };
        let pairs = keeper.pairs;
        rig.load_with(&mut server, |server| live(server, &mut keeper, &notes, end))?;
        rig.reads_too((pairs..keeper.pairs).flat_map(|pair| keeper.shape(pair).all_sessions()));
        rig.tally.faults += 1;
        while rig.tally.faults < kills && random.one_in(3) {
            // Again while it starts and takes up what was left.
            let mut starting = rig.launch.spawn()?;
            std::thread::sleep(Duration::from_micros(random.below(120_000)));
            notes.judge_end(starting.kill());
            rig.tally.faults += 1;
        }
        let Some(mut server) = rig.start()? else { break };
        await_erased(rig, &server, &mut keeper.erasures)?;
        rig.check_running(&server);
        notes.judge_end(server.process.kill());
        rig.check_stopped();
        check_gone(rig)?;
    }
    Ok(keeper)
}

/// The keeper at work, and the kill.
fn live(server: &mut Server, keeper: &mut Keeper, notes: &Notes, end: End) -> Result<()> {
    let mut client = Rig::client(server);
    let (steps, seen) = mpsc::channel();
    std::thread::scope(|scope| {
        // It goes on until nobody answers.
        scope.spawn(|| keeper.keep(&mut client, notes, steps));
        await_end(end, &seen);
        notes.judge_end(server.process.kill());
    });
    Ok(())
}

fn await_end(end: End, seen: &Receiver<Step>) {
    let begun = Instant::now();
    match end {
        End::At(moment) => std::thread::sleep(moment),
        End::After(step, more) => {
            while let Ok(next) = seen.recv_timeout(LIFE_MAX.saturating_sub(begun.elapsed())) {
                if next == step {
                    std::thread::sleep(more);
                    return;
                }
            }
        }
    }
}

impl Keeper {
    fn new(run: String, random: &Random) -> Self {
        let random = random.fork(99);
        Self { run, random, erasures: Erasures::default(), pairs: 0, done: Work::default() }
    }

    /// Two sessions, of which one gets three events in four.
    fn shape(&self, pair: u64) -> Shape {
        Shape { sessions: 2, repeats: false, ..Shape::new(format!("{}v{pair}", self.run)) }
    }

    /// Goes on until there is no answer.
    fn keep(&mut self, client: &mut Client, notes: &Notes, steps: Sender<Step>) {
        let mut files = Files::default();
        while let Ok(true) = self.round(client, notes, &steps) {
            let Some(now) = Files::ask(client) else { break };
            if now.vacuumed > files.vacuumed {
                let _ = steps.send(Step::Vacuumed);
            }
            files = now;
        }
        self.done.files.add(files);
    }

    /// Writes two sessions, merges, erases one of them. False if there was no answer.
    fn round(&mut self, client: &mut Client, notes: &Notes, steps: &Sender<Step>) -> Result<bool> {
        let shape = self.shape(self.pairs);
        self.pairs += 1;
        let mut writer = Writer::new(&shape, 0, &self.random.fork(self.pairs));
        for _ in 0..1 + self.random.below(3) {
            for _ in 0..1 + self.random.below(4) {
                writer.step(client, notes);
            }
            if self.random.one_in(2) && act(client, notes, "/v1/flush").is_none() {
                return Ok(false);
            }
        }
        if self.random.one_in(2) {
            let _ = steps.send(Step::Compacting);
            self.done.cut_off += 1;
            if act(client, notes, "/v1/compact").is_none() {
                return Ok(false);
            }
            self.done.cut_off -= 1;
            self.done.compactions += 1;
        }
        if self.erasures.is_unknown() || !self.erasures.ask(client, notes, &shape.session(0))? {
            return Ok(true);
        }
        let _ = steps.send(Step::Accepted);
        if self.random.one_in(2) {
            let begun = Instant::now();
            while !self.erasures.look(client, notes)? {
                if begun.elapsed() > PATIENCE {
                    notes.find(Violation::NotRecovered, "an erasure is never done");
                    return Ok(false);
                }
                std::thread::sleep(Duration::from_millis(1));
            }
            let _ = steps.send(Step::Done);
        }
        Ok(true)
    }
}

/// Files are merged, and replaced ones removed, while events arrive; then it is killed. Twice, so that the second life
/// finds what the first has made.
///
/// # Errors
/// The tools failed.
pub fn compaction(rig: &mut Rig<'_>) -> Result<()> {
    by_hand(rig);
    for _ in 0..2 {
        if rig.has_findings() {
            break;
        }
        let Some(mut server) = rig.start()? else { break };
        let notes = Arc::clone(&rig.notes);
        rig.load_with(&mut server, |server| {
            let mut client = Rig::client(server);
            for _ in 0..COMPACTIONS {
                for _ in 0..2 {
                    go_on(&notes, LOAD / 4);
                    demand(&mut client, &notes, "/v1/flush");
                }
                demand(&mut client, &notes, "/v1/compact");
            }
            notes.judge_end(server.process.kill());
            Ok(())
        })?;
        rig.tally.faults += 1;
        rig.recover_and_check()?;
    }
    Ok(())
}

/// Two sessions are erased, one after the other: once it is killed as soon as the erasure is accepted, once it is killed
/// when that is done.
///
/// # Errors
/// The tools failed.
pub fn erasure(rig: &mut Rig<'_>) -> Result<()> {
    by_hand(rig);
    // An erasure empties the log, nothing else does.
    rig.flag("log-keep-commits", "100");
    let Some(mut server) = rig.start()? else { return Ok(()) };
    let (notes, mut erasures) = (Arc::clone(&rig.notes), Erasures::default());
    rig.load_with(&mut server, |server| {
        let mut client = Rig::client(server);
        for _ in 0..3 {
            go_on(&notes, LOAD / 2);
            demand(&mut client, &notes, "/v1/flush");
        }
        demand(&mut client, &notes, "/v1/compact");
        go_on(&notes, LOAD / 4);
        Ok(())
    })?;
    rig.check_running(&server);
    for (number, is_killed_at_once) in [(0, true), (1, false)] {
        let session = rig.sessions().swap_remove(number);
        let begun = Instant::now();
        while !rig.has_findings() && !erasures.ask(&mut Rig::client(&server), &notes, &session)? {
            if begun.elapsed() > PATIENCE {
                rig.find(Violation::NotRecovered, "no erasure is accepted");
            }
            // Only a start tells what became of it.
            notes.judge_end(server.process.kill());
            let Some(again) = rig.start()? else { return Ok(()) };
            server = again;
            erasures.look_after_start(&mut Rig::client(&server), &notes)?;
            if erasures.accepted() > number as u64 {
                break;
            }
        }
        if rig.has_findings() {
            return Ok(());
        }
        if is_killed_at_once {
            notes.judge_end(server.process.kill());
            rig.tally.faults += 1;
            let Some(again) = rig.start()? else { return Ok(()) };
            server = again;
        }
        await_erased(rig, &server, &mut erasures)?;
        rig.check_running(&server);
    }
    notes.judge_end(server.process.kill());
    rig.tally.faults += 1;
    rig.check_stopped();
    check_gone(rig)?;
    rig.recover_and_check()
}

/// Nothing is flushed, merged or removed but when asked for: a compaction goes on as long as load makes new files.
pub(super) fn by_hand(rig: &mut Rig<'_>) {
    rig.flag("flush-age-max", "1h");
    rig.flag("flush-bytes-max", "16MiB");
    rig.flag("compaction-period", "0s");
    rig.flag("vacuum-retention", "0s");
}

/// The load goes on for so long, and until some more of it is acknowledged or something is found.
pub(super) fn go_on(notes: &Notes, time: Duration) {
    let wanted = notes.witness().acknowledged() + 1;
    std::thread::sleep(time);
    if !notes.await_that(|witness| witness.acknowledged() >= wanted || !witness.findings.is_empty()) {
        notes.find(Violation::NotTested, "nothing more is acknowledged");
    }
}

/// An administrator's request. What it did: null if it is too busy at the moment. `None` if there was no answer, or none that
/// is right, which is a finding.
fn act(client: &mut Client, notes: &Notes, path: &str) -> Option<serde_json::Value> {
    let answer = client.post(path, "application/json", b"{}").ok()?;
    match answer.status {
        200 => serde_json::from_slice(&answer.body).ok(),
        503 => Some(serde_json::Value::Null),
        status => {
            notes.find(Violation::NotRecovered, format!("{path} is answered with {status}: {}", answer.text()));
            None
        }
    }
}

/// The same until it is done: that it never is, is a finding.
pub(super) fn demand(client: &mut Client, notes: &Notes, path: &str) {
    let begun = Instant::now();
    while begun.elapsed() < PATIENCE {
        match act(client, notes, path) {
            Some(serde_json::Value::Null) => std::thread::sleep(Duration::from_millis(5)),
            Some(_) => return,
            None => break,
        }
    }
    notes.find(Violation::NotRecovered, format!("{path} is not done"));
}

/// What was accepted before a start is done some time after it.
pub(super) fn await_erased(rig: &Rig<'_>, server: &Server, erasures: &mut Erasures) -> Result<()> {
    let mut client = Rig::client(server);
    erasures.look_after_start(&mut client, &rig.notes)?;
    let begun = Instant::now();
    while !erasures.look(&mut client, &rig.notes)? {
        if begun.elapsed() > PATIENCE {
            rig.find(Violation::NotErased, "an erasure is never done");
            break;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    Ok(())
}

/// No file of a stopped folder holds the name of an erased session, or of an event of it, as it is.
fn check_gone(rig: &Rig<'_>) -> Result<()> {
    let witness = rig.notes.witness();
    let held = observe::words(&rig.launch.data, rig.run(), |word| witness.is_erased(word))?;
    drop(witness);
    for (path, word) in held {
        rig.find(Violation::NotErased, format!("{} holds {word}", path.display()));
    }
    Ok(())
}
