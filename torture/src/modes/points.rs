//! A crash at every named point, at its first hit and at a later one, and again while it recovers.
//!
//! Each scene is a short life of the product over a prepared folder. A run of it without a crash says which points it
//! comes to; then it is lived again for each of them. A point that no scene comes to is an error of this file.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use eye_fault::CrashPoint;

use crate::Result;
use crate::load::Shape;
use crate::observe;
use crate::oracle::{Findings, Violation};
use crate::random::Random;
use crate::report::Report;
use crate::rig::{Ground, Rig, Tally};
use crate::server::{NotStarted, PATIENCE, Server};

/// The later hit.
const LATER: u64 = 3;
/// Scenes in which a point is tried at its first hit.
const SCENES_MAX: usize = 2;
/// Crashes in a row, the later ones in recovery.
const DEPTH: u64 = 3;
/// Commits after which the table gets a checkpoint.
const CHECKPOINT_COMMITS: usize = 101;
/// Runs at once.
const WORKERS: usize = 2;

/// What lies in the folder before the life that crashes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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

/// One crash to make.
#[derive(Clone, Copy, Debug)]
struct Plan {
    scene: Scene,
    point: CrashPoint,
    hit: u64,
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
    let next = AtomicUsize::new(0);
    let crashed: Mutex<BTreeSet<&str>> = Mutex::default();
    let shared = Mutex::new((report, None));
    std::thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::SeqCst);
                    let Some(plan) = plans.get(number) else { break };
                    let result = one_crash(ground, *plan, number as u64);
                    let mut shared = shared.lock().unwrap_or_else(PoisonError::into_inner);
                    match result {
                        Ok((has_crashed, run)) => {
                            if has_crashed {
                                crashed.lock().unwrap_or_else(PoisonError::into_inner).insert(plan.point.name());
                            }
                            shared.0.add(run);
                        }
                        Err(error) => shared.1 = Some(error),
                    }
                }
            });
        }
    });
    let (mut report, error) = shared.into_inner().unwrap_or_else(PoisonError::into_inner);
    if let Some(error) = error {
        return Err(error);
    }
    let crashed = crashed.into_inner().unwrap_or_else(PoisonError::into_inner);
    report.notes.push(format!("{} of {} points, depth {DEPTH}", crashed.len(), CrashPoint::ALL.len()));
    let missed: Vec<&str> =
        CrashPoint::ALL.iter().map(|point| point.name()).filter(|name| !crashed.contains(name)).collect();
    for name in missed {
        report.findings.add(Violation::NotTested, format!("no run died at {name}"));
    }
    Ok(report)
}

/// Lives every scene once without a crash, to see where it comes along.
fn plans(ground: &Ground, report: &mut Report) -> Result<Vec<Plan>> {
    let mut scenes: BTreeMap<&str, Vec<Scene>> = BTreeMap::new();
    for (number, scene) in SCENES.into_iter().enumerate() {
        let mut rig = rig(ground, scene, number as u64)?;
        let trace = rig.launch.work.join("points");
        prepare(&mut rig, scene)?;
        rig.set("EYE_CRASH_TRACE", trace.as_os_str());
        let _ = live(&mut rig)?;
        rig.unset("EYE_CRASH_TRACE");
        rig.recover_and_check()?;
        let reached = fs::read_to_string(&trace).unwrap_or_default();
        for point in CrashPoint::ALL {
            if reached.lines().any(|line| line == point.name()) {
                scenes.entry(point.name()).or_default().push(scene);
            }
        }
        report.add(rig.finish());
    }
    let unreached: Vec<&str> =
        CrashPoint::ALL.iter().map(|point| point.name()).filter(|name| !scenes.contains_key(name)).collect();
    if !unreached.is_empty() {
        report.details.push(format!("no scene comes to: {}", unreached.join(", ")));
    }
    let mut plans = Vec::new();
    for point in CrashPoint::ALL {
        let Some(scenes) = scenes.get(point.name()) else { continue };
        // The rarest scenes last: they are the ones made for a point.
        plans.extend(scenes.iter().rev().take(SCENES_MAX).map(|scene| Plan { scene: *scene, point: *point, hit: 1 }));
        plans.extend(scenes.first().map(|scene| Plan { scene: *scene, point: *point, hit: LATER }));
    }
    // The long scene is for its own points only.
    plans.retain(|plan| plan.scene != Scene::Checkpoint || plan.point.name().starts_with("checkpoint"));
    Ok(plans)
}

fn rig(ground: &Ground, scene: Scene, number: u64) -> Result<Rig<'_>> {
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

/// A short life: start, requests and flushes, an orderly stop. True if it died on the way.
fn live(rig: &mut Rig<'_>) -> Result<bool> {
    let mut server = match rig.launch.start() {
        Ok(server) => server,
        Err(error) => match error.downcast_ref::<NotStarted>() {
            Some(NotStarted { status: Some(status), log }) => {
                if status.code().is_some() {
                    rig.find(Violation::NotRecovered, format!("it refuses to start ({status}): {log}"));
                }
                return Ok(true);
            }
            _ => return Err(error),
        },
    };
    for round in 0..5 {
        rig.steps(&server, 4);
        let _ = Rig::client(&server).post("/v1/flush", "application/json", b"{}");
        if round % 2 == 1 {
            let _ = Rig::client(&server).post("/v1/compact", "application/json", b"{}");
        }
        if round == 3 {
            erase_rejections(&server);
        }
    }
    match server.stop(PATIENCE)? {
        Some(status) => Ok(!status.success()),
        None => {
            rig.find(Violation::NotRecovered, format!("it does not stop: {}", rig.launch.log()));
            Ok(true)
        }
    }
}

/// Erases what was refused so far, which nobody counts on, and waits for the end: of the erasure, or of the process. The
/// events' own times lie long before.
fn erase_rejections(server: &Server) {
    let mut client = Rig::client(server);
    let _ = client.post("/v1/erasures", "application/json", br#"{"since":"2026-01-01T00:00:00Z"}"#);
    let begun = Instant::now();
    while begun.elapsed() < PATIENCE {
        match client.get("/v1/erasures") {
            Ok(answer) if String::from_utf8_lossy(&answer.body).contains(r#""state":"running""#) => {}
            _ => break,
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn one_crash(ground: &Ground, plan: Plan, number: u64) -> Result<(bool, (Tally, Findings))> {
    let mut random = Random::new(ground.seed).fork(7).fork(number);
    let mut rig = rig(ground, plan.scene, 100 + number)?;
    prepare(&mut rig, plan.scene)?;
    rig.set("EYE_CRASH_AT", format!("{}:{}", plan.point.name(), plan.hit));
    let has_crashed = live(&mut rig)?;
    rig.tally.faults += u64::from(has_crashed);
    // Again and again, at the same point or at one of recovery.
    let in_recovery: Vec<&str> =
        CrashPoint::ALL.iter().map(|point| point.name()).filter(|name| is_recovery(name)).collect();
    for depth in 1..DEPTH {
        let name =
            if depth == 1 && is_recovery(plan.point.name()) { plan.point.name() } else { *random.of(&in_recovery) };
        rig.set("EYE_CRASH_AT", name);
        let has_crashed = live(&mut rig)?;
        rig.tally.faults += u64::from(has_crashed);
    }
    rig.unset("EYE_CRASH_AT");
    rig.recover_and_check()?;
    if rig.has_findings() {
        println!("  at {} hit {} after {:?}", plan.point.name(), plan.hit, plan.scene);
    }
    Ok((has_crashed, rig.finish()))
}

/// True for points that a start may come to.
fn is_recovery(name: &str) -> bool {
    ["start.", "recovery.", "replay.", "repair.", "table."].iter().any(|start| name.starts_with(start))
}
