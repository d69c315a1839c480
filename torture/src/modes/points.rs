//! A crash at every named point: at its first hit, at a later one if it has one, and again while it recovers.
//!
//! Each scene is a short life of the product over a prepared folder. A run of it without a crash says which points it
//! comes to, and how often; then it is lived again for each of them, with the same requests. What a recovery comes to is
//! seen on a copy of the folder that the crash left, with the erasures that it takes up; then one of these points is where
//! the recovery itself dies, and so does the recovery from that.
//!
//! The rule: only what was reached is claimed, and all that is claimed must have happened. A point that no scene comes to
//! is an error of this file. Of recoveries that is what every one of a scene comes to before it serves; what only some come
//! to, or threads that run beside, is tried and counted, and not demanded.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use eye_fault::CrashPoint;

use crate::http::Client;
use crate::load::{NOBODY, Shape};
use crate::observe;
use crate::oracle::{Findings, Violation};
use crate::random::Random;
use crate::report::Report;
use crate::rig::{Ground, Rig, Tally};
use crate::server::{NotStarted, PATIENCE, Server};
use crate::{Error, Result};

/// The later hit.
const LATER: u64 = 3;
/// Scenes in which a point is tried at its first hit.
const SCENES_MAX: usize = 2;
/// Crashes in a row, the later ones in recovery.
const DEPTH: usize = 3;
/// So many times at least that depth must be reached.
const DEEPEST_MIN: u64 = 50;
/// What did not come to pass is tried so often: when a thread comes to a point is not always the same.
const ROUNDS: usize = 3;
/// Commits after which the table gets a checkpoint.
const CHECKPOINT_COMMITS: usize = 101;
/// How long a start that serves may take to come to where it is to die: what it takes up, it takes up beside.
const TAKE_UP: Duration = Duration::from_secs(2);
/// Runs at once.
const WORKERS: usize = 2;

/// What lies in the folder before the life that crashes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Scene {
    /// Nothing.
    First,
    /// What a killed process left.
    Killed,
    /// The same, with a torn end of the log.
    Torn,
    /// The same, with a segment that has no whole header.
    Unfinished,
    /// The same, with half a newest commit.
    HalfCommit,
    /// A table that is about to get a checkpoint.
    Checkpoint,
}

const SCENES: [Scene; 6] =
    [Scene::First, Scene::Killed, Scene::Torn, Scene::Unfinished, Scene::HalfCommit, Scene::Checkpoint];

/// The points that a process came to, and how often.
type Hits = BTreeMap<&'static str, u64>;

/// One crash to make.
#[derive(Clone, Copy, Debug)]
struct Plan {
    scene: Scene,
    point: CrashPoint,
    hit: u64,
    /// Where the recovery from it is to die; else where it was tried least.
    then: Option<&'static str>,
}

/// The points that one recovery comes to.
#[derive(Debug, Default)]
struct Reached {
    /// Before it serves.
    at_start: BTreeSet<&'static str>,
    /// The same, and until what it takes up is done.
    all: Vec<&'static str>,
}

/// A point that the recoveries of a scene come to.
#[derive(Clone, Copy, Debug)]
struct Recovery {
    /// The crash that leads there.
    plan: Plan,
    /// How many of them come to it before they serve.
    at_start: u64,
    tried: u64,
    has_died: bool,
}

/// What has come to pass, in all runs together.
#[derive(Debug, Default)]
struct Seen {
    /// Points at which a process died, and at which hit.
    crashed: BTreeSet<(&'static str, u64)>,
    in_recovery: BTreeMap<(Scene, &'static str), Recovery>,
    /// Recoveries of each scene of which it was seen where they come.
    traced: BTreeMap<Scene, u64>,
    deepest: u64,
}

impl Seen {
    fn has_crashed(&self, plan: &Plan) -> bool {
        self.crashed.contains(&(plan.point.name(), plan.hit))
    }

    /// True if every recovery of this scene comes to it before it serves.
    fn is_always(&self, scene: Scene, recovery: &Recovery) -> bool {
        self.traced.get(&scene) == Some(&recovery.at_start)
    }

    /// Where the recovery from this crash is to die, of what it comes to; or where it is told to, even if its copy did not
    /// come there: the next one may.
    fn choose(&mut self, plan: Plan, reached: &Reached) -> Option<&'static str> {
        *self.traced.entry(plan.scene).or_default() += 1;
        for name in &reached.all {
            let recovery = Recovery { plan, at_start: 0, tried: 0, has_died: false };
            let recovery = self.in_recovery.entry((plan.scene, *name)).or_insert(recovery);
            recovery.at_start += u64::from(reached.at_start.contains(name));
        }
        let tried = |name: &&'static str| self.in_recovery.get(&(plan.scene, *name)).map(|recovery| recovery.tried);
        let least = reached.all.iter().copied().min_by_key(tried);
        let chosen = plan.then.or(least)?;
        if let Some(recovery) = self.in_recovery.get_mut(&(plan.scene, chosen)) {
            recovery.tried += 1;
        }
        Some(chosen)
    }

    /// A recovery died at this point, the second crash in a row or the last.
    fn died(&mut self, scene: Scene, name: &'static str, depth: usize) {
        if depth == DEPTH {
            self.deepest += 1;
        } else if let Some(recovery) = self.in_recovery.get_mut(&(scene, name)) {
            recovery.has_died = true;
        }
    }

    /// What has not come to pass yet, of what is demanded and of what is only tried.
    fn missing(&self, plans: &[Plan]) -> Vec<Plan> {
        let mut missing: Vec<Plan> = plans.iter().filter(|plan| !self.has_crashed(plan)).copied().collect();
        let not_yet = self.in_recovery.iter().filter(|(_, recovery)| !recovery.has_died);
        missing.extend(not_yet.map(|((_, name), recovery)| Plan { then: Some(*name), ..recovery.plan }));
        missing
    }
}

/// Crashes at every point.
///
/// # Errors
/// The tools failed.
pub fn run(ground: &Ground) -> Result<Report> {
    let mut report = Report::new("points", ground.seed);
    if ground.eye_faults.is_none() {
        report.skip(
            "crash points, because there is no eye-faults (cargo build --release --features faults --bin eye-faults)",
        );
        return Ok(report);
    }
    let plans = plans(ground, &mut report)?;
    let seen = Mutex::default();
    let mut next = plans.clone();
    for _ in 0..ROUNDS {
        report = crash_all(ground, &next, &seen, report)?;
        next = locked(&seen).missing(&plans);
        if next.is_empty() || !report.is_good() {
            break;
        }
    }
    judge(&plans, &locked(&seen), &mut report);
    Ok(report)
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn crash_all(ground: &Ground, plans: &[Plan], seen: &Mutex<Seen>, report: Report) -> Result<Report> {
    let next = AtomicUsize::new(0);
    let shared = Mutex::new((report, None));
    std::thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::SeqCst);
                    let Some(plan) = plans.get(number) else { break };
                    let result = one_crash(ground, *plan, number as u64, seen);
                    let mut shared = locked(&shared);
                    match result {
                        Ok(run) => shared.0.add(run),
                        Err(error) => shared.1 = Some(error),
                    }
                }
            });
        }
    });
    let (report, error): (Report, Option<Error>) = shared.into_inner().unwrap_or_else(PoisonError::into_inner);
    error.map_or(Ok(report), Err)
}

/// Counts what came to pass. What was to and did not is a finding, by name.
fn judge(plans: &[Plan], seen: &Seen, report: &mut Report) {
    let has_crashed = |name: &'static str, hit: u64| seen.crashed.contains(&(name, hit));
    let mut missing = Vec::new();
    let names = CrashPoint::ALL.iter().map(|point| point.name());
    let never: Vec<&str> = names.filter(|&name| !has_crashed(name, 1)).collect();
    missing.extend(never.iter().map(|name| format!("no run died at {name}")));
    let names: BTreeSet<&'static str> =
        plans.iter().filter(|plan| plan.hit == LATER).map(|plan| plan.point.name()).collect();
    let not_later: Vec<&str> = names.iter().copied().filter(|&name| !has_crashed(name, LATER)).collect();
    missing.extend(not_later.iter().map(|name| format!("no run died at {name}, hit {LATER}")));
    let (always, sometimes): (Vec<_>, Vec<_>) =
        seen.in_recovery.iter().partition(|((scene, _), recovery)| seen.is_always(*scene, recovery));
    let recoveries = always.iter().filter(|(_, recovery)| !recovery.has_died);
    let alive: Vec<String> =
        recoveries.map(|((scene, name), _)| format!("no recovery of {scene:?} died at {name}")).collect();
    let points: BTreeSet<&str> = seen.in_recovery.keys().map(|(_, name)| *name).collect();
    report.notes.push(format!(
        "{} of {} points at their first hit, {} of {} at hit {LATER}, {} of {} that every recovery of a scene comes to, {} \
         of {} that some come to ({} points), {} crashes {DEPTH} deep",
        CrashPoint::ALL.len() - never.len(),
        CrashPoint::ALL.len(),
        names.len() - not_later.len(),
        names.len(),
        always.len() - alive.len(),
        always.len(),
        sometimes.iter().filter(|(_, recovery)| recovery.has_died).count(),
        sometimes.len(),
        points.len(),
        seen.deepest,
    ));
    missing.extend(alive);
    if seen.deepest < DEEPEST_MIN {
        missing.push(format!("only {} crashes came {DEPTH} deep, not {DEEPEST_MIN}", seen.deepest));
    }
    // After another finding it was not gone on with.
    if report.is_good() {
        missing.into_iter().for_each(|what| report.findings.add(Violation::NotTested, what));
    }
}

/// Lives every scene once without a crash, to see where it comes along.
fn plans(ground: &Ground, report: &mut Report) -> Result<Vec<Plan>> {
    let mut lives: Vec<(Scene, Hits)> = Vec::new();
    for scene in SCENES {
        let mut rig = rig(ground, scene)?;
        let trace = rig.launch.work.join("points");
        prepare(&mut rig, scene)?;
        rig.set("EYE_CRASH_TRACE", trace.as_os_str());
        live(&mut rig)?;
        rig.unset("EYE_CRASH_TRACE");
        rig.recover_and_check()?;
        lives.push((scene, hits(&trace)));
        report.add(rig.finish());
    }
    let mut plans = Vec::new();
    for point in CrashPoint::ALL {
        // The long scene is for its own points only.
        let is_for = |scene: Scene| scene != Scene::Checkpoint || point.name().starts_with("checkpoint");
        let lives = lives.iter().filter(|(scene, _)| is_for(*scene));
        let scenes: Vec<(Scene, u64)> =
            lives.filter_map(|(scene, hits)| Some((*scene, *hits.get(point.name())?))).collect();
        let plan = |scene: Scene, hit: u64| Plan { scene, point: *point, hit, then: None };
        // The rarest scenes last: they are the ones made for a point.
        plans.extend(scenes.iter().rev().take(SCENES_MAX).map(|(scene, _)| plan(*scene, 1)));
        let most = scenes.iter().max_by_key(|(_, hits)| *hits).filter(|(_, hits)| *hits >= LATER);
        plans.extend(most.map(|(scene, _)| plan(*scene, LATER)));
    }
    Ok(plans)
}

/// What a trace says.
fn hits(trace: &Path) -> Hits {
    let text = fs::read_to_string(trace).unwrap_or_default();
    let mut hits = Hits::new();
    for point in text.lines().filter_map(CrashPoint::from_name) {
        *hits.entry(point.name()).or_default() += 1;
    }
    hits
}

/// The same for all runs of a scene.
fn rig(ground: &Ground, scene: Scene) -> Result<Rig<'_>> {
    let number = scene as u64;
    let mut shape = Shape::new(format!("p{number}"));
    (shape.writers, shape.readers, shape.sessions) = (1, 0, 3);
    // Large payloads fill segments.
    shape.large_one_in = if scene == Scene::Checkpoint { 100 } else { 4 };
    let mut rig = Rig::new(ground, shape, &mut Random::new(ground.seed).fork(6).fork(number), None)?;
    rig.flag("flush-age-max", "60s");
    rig.flag("flush-bytes-max", "16MiB");
    rig.flag("log-keep-commits", "1");
    rig.flag("log-segment-bytes-max", "64KiB");
    // Asked for, and never by itself: the same each time.
    rig.flag("compaction-period", "0s");
    rig.flag("vacuum-retention", "0s");
    rig.flag("partitions", "1");
    rig.partitions = 1;
    if let Some(program) = &ground.eye_faults {
        rig.launch.program.clone_from(program);
    }
    Ok(rig)
}

/// Makes the folder what the scene wants.
fn prepare(rig: &mut Rig<'_>, scene: Scene) -> Result<()> {
    if scene == Scene::First {
        return Ok(());
    }
    let Some(mut server) = rig.start()? else { return Ok(()) };
    let rounds = if scene == Scene::Checkpoint { CHECKPOINT_COMMITS - 4 } else { 2 };
    for _ in 0..rounds {
        rig.steps(&server, if scene == Scene::Checkpoint { 1 } else { 6 });
        let _ = Rig::client(&server).post("/v1/flush", "application/json", b"{}");
    }
    rig.steps(&server, 6);
    rig.notes.judge_end(server.process.kill());
    let data = rig.launch.data.clone();
    match scene {
        Scene::Torn => {
            let (newest, end) = observe::written_end(&data, 0)?;
            // The beginning of a group that never came to an end.
            OpenOptions::new().write(true).open(newest)?.write_all_at(&[b'E'; 100], end)?;
        }
        Scene::Unfinished => {
            // No segment is begun before the room of the one before is cut off.
            let (newest, written) = observe::written_end(&data, 0)?;
            OpenOptions::new().write(true).open(newest)?.set_len(written)?;
            let end = observe::log_end(&data, 0)?;
            File::create(data.join("log/0").join(format!("{end:020}.seg")))?.write_all(b"EYE-LOG\n")?;
        }
        Scene::HalfCommit => {
            let newest = observe::commits(&data)?.pop().ok_or("no commit")?;
            let length = fs::metadata(&newest)?.len();
            OpenOptions::new().write(true).open(newest)?.set_len(length / 2)?;
        }
        Scene::First | Scene::Killed | Scene::Checkpoint => {}
    }
    Ok(())
}

/// A short life: start, requests and flushes, an orderly stop. It may die on the way, and not end otherwise.
fn live(rig: &mut Rig<'_>) -> Result<()> {
    let mut server = match rig.launch.start() {
        Ok(server) => server,
        Err(error) => return judge_start(rig, error),
    };
    for round in 0..5 {
        rig.steps(&server, 4);
        let _ = Rig::client(&server).post("/v1/flush", "application/json", b"{}");
        if round % 2 == 1 {
            let _ = Rig::client(&server).post("/v1/compact", "application/json", b"{}");
        }
        if round == 3 {
            erase_rejections(rig, &server);
        }
    }
    match server.stop(PATIENCE)? {
        Some(status) if status.success() || status.code().is_none() => {}
        Some(status) => rig.find(Violation::NotRecovered, format!("it stopped ({status}): {}", rig.launch.log())),
        None => rig.find(Violation::NotRecovered, format!("it does not stop: {}", rig.launch.log())),
    }
    Ok(())
}

/// A start that came to nothing died, as it was asked to, or else that is a finding.
fn judge_start(rig: &Rig<'_>, error: Error) -> Result<()> {
    match error.downcast_ref::<NotStarted>() {
        Some(NotStarted { status: Some(status), .. }) if status.code().is_none() => Ok(()),
        Some(not_started) => {
            rig.find(Violation::NotRecovered, not_started.to_string());
            Ok(())
        }
        None => Err(error),
    }
}

/// True if the last life died where it was asked to.
fn has_died(rig: &Rig<'_>, name: &str) -> bool {
    rig.launch.log().lines().any(|line| line.strip_prefix("eye-fault: crash at ") == Some(name))
}

/// Erases what was refused so far, which no client counts on any more, and waits for the end: of the erasure, or of the
/// process. The user is that of no event.
fn erase_rejections(rig: &Rig<'_>, server: &Server) {
    let mut client = Rig::client(server);
    rig.notes.witness().refusals.may_go();
    let _ = client.post("/v1/erasures", "application/json", format!(r#"{{"user_id":"{NOBODY}"}}"#).as_bytes());
    await_erasures(&mut client, PATIENCE);
}

/// Until no erasure is under way, or there is no answer.
fn await_erasures(client: &mut Client, patience: Duration) {
    let begun = Instant::now();
    while begun.elapsed() < patience {
        match client.get("/v1/erasures") {
            Ok(answer) if String::from_utf8_lossy(&answer.body).contains(r#""state":"running""#) => {}
            _ => break,
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The crash, crashes in the recovery from it, and what is there afterwards.
fn one_crash(ground: &Ground, plan: Plan, number: u64, seen: &Mutex<Seen>) -> Result<(Tally, Findings)> {
    let mut random = Random::new(ground.seed).fork(7).fork(number);
    let mut rig = rig(ground, plan.scene)?;
    prepare(&mut rig, plan.scene)?;
    rig.set("EYE_CRASH_AT", format!("{}:{}", plan.point.name(), plan.hit));
    live(&mut rig)?;
    if has_died(&rig, plan.point.name()) {
        rig.tally.faults += 1;
        locked(seen).crashed.insert((plan.point.name(), plan.hit));
        crash_in_recovery(&mut rig, plan, &mut random, seen)?;
    }
    rig.unset("EYE_CRASH_AT");
    rig.recover_and_check()?;
    if rig.has_findings() {
        println!("  at {} hit {} after {:?}", plan.point.name(), plan.hit, plan.scene);
    }
    Ok(rig.finish())
}

/// The recovery dies too, and so does the recovery from that.
fn crash_in_recovery(rig: &mut Rig<'_>, plan: Plan, random: &mut Random, seen: &Mutex<Seen>) -> Result<()> {
    for depth in 2..=DEPTH {
        let reached = reached_in_recovery(rig)?;
        let chosen = match depth {
            2 => locked(seen).choose(plan, &reached),
            _ if reached.all.is_empty() => None,
            _ => Some(*random.of(&reached.all)),
        };
        let Some(name) = chosen else { break };
        rig.set("EYE_CRASH_AT", name);
        match rig.launch.start() {
            Ok(mut server) => {
                let _ = server.process.wait(TAKE_UP)?;
                server.process.kill();
            }
            Err(error) => judge_start(rig, error)?,
        }
        if !has_died(rig, name) {
            break;
        }
        rig.tally.faults += 1;
        locked(seen).died(plan.scene, name, depth);
    }
    Ok(())
}

/// The points that a start over this folder comes to, seen on a copy.
fn reached_in_recovery(rig: &Rig<'_>) -> Result<Reached> {
    let copy = tempfile::Builder::new().prefix("torture-copy-").tempdir()?;
    let mut launch = rig.launch.clone();
    (launch.data, launch.work) = (copy.path().join("data"), copy.path().to_owned());
    let copied = Command::new("cp").arg("-a").arg(&rig.launch.data).arg(&launch.data).status()?;
    if !copied.success() {
        return Err(format!("{} cannot be copied", rig.launch.data.display()).into());
    }
    let trace = copy.path().join("points");
    launch.environment.retain(|(name, _)| name != "EYE_CRASH_AT");
    launch.environment.push(("EYE_CRASH_TRACE".to_owned(), trace.clone().into()));
    match launch.start() {
        Ok(mut server) => {
            let at_start = hits(&trace).into_keys().collect();
            await_erasures(&mut Rig::client(&server), TAKE_UP);
            let all = hits(&trace).into_keys().collect();
            server.process.kill();
            Ok(Reached { at_start, all })
        }
        Err(error) if error.is::<NotStarted>() => {
            rig.find(Violation::NotRecovered, error.to_string());
            Ok(Reached::default())
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAN: Plan = Plan { scene: Scene::Killed, point: CrashPoint::LogAfterSync, hit: 1, then: None };

    /// At the start `names`, and `later` beside it.
    fn reached(names: &[&'static str], later: &[&'static str]) -> Reached {
        Reached { at_start: names.iter().copied().collect(), all: [names, later].concat() }
    }

    #[test]
    fn a_recovery_dies_where_it_was_tried_least_or_where_it_is_told_to() {
        let mut seen = Seen::default();
        let mut choose = |then, names: &[&'static str]| seen.choose(Plan { then, ..PLAN }, &reached(names, &[]));
        assert_eq!(choose(None, &["a", "b"]), Some("a"));
        assert_eq!(choose(None, &["a", "b"]), Some("b"));
        assert_eq!(choose(Some("b"), &["a", "b"]), Some("b"));
        assert_eq!(choose(None, &["a", "b"]), Some("a"));
        assert_eq!(choose(Some("c"), &["b"]), Some("c"), "its copy did not come there");
        assert_eq!(choose(None, &[]), None);
    }

    #[test]
    fn what_every_recovery_comes_to_before_it_serves_is_demanded() {
        let mut seen = Seen::default();
        let _ = seen.choose(PLAN, &reached(&["a", "b", "c"], &["d"]));
        let _ = seen.choose(PLAN, &reached(&["a", "b"], &["c", "d"]));
        let _ = seen.choose(PLAN, &reached(&["a"], &["d"]));
        let _ = seen.choose(Plan { scene: Scene::Torn, ..PLAN }, &reached(&[], &["a"]));
        let demanded = seen.in_recovery.iter().filter(|((scene, _), recovery)| seen.is_always(*scene, recovery));
        assert_eq!(demanded.map(|(key, _)| *key).collect::<Vec<_>>(), [(Scene::Killed, "a")]);
    }

    #[test]
    fn what_did_not_come_to_pass_is_named() {
        let mut seen = Seen::default();
        let plans = [PLAN, Plan { hit: LATER, ..PLAN }];
        assert_eq!(seen.missing(&plans).len(), 2);
        seen.crashed.insert((PLAN.point.name(), 1));
        let _ = seen.choose(PLAN, &reached(&["a", "b"], &[]));
        seen.died(Scene::Killed, "a", 2);
        let missing: Vec<_> = seen.missing(&plans).iter().map(|plan| (plan.hit, plan.then)).collect();
        assert_eq!(missing, [(LATER, None), (1, Some("b"))]);
        seen.died(Scene::Killed, "b", DEPTH);
        assert_eq!((seen.missing(&plans).len(), seen.deepest), (2, 1), "three deep is another matter");
    }
}
