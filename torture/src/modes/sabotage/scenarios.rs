//! The scenarios: each with a bug, or without one.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use eye_fault::Sabotage;

use crate::Result;
use crate::load::{APPLICATIONS, Notes, Shape};
use crate::machine::{FileSystem, Mount};
use crate::modes::{acks, cut, retention, upkeep};
use crate::observe;
use crate::oracle::{Findings, Violation, Witness};
use crate::random::Random;
use crate::rig::{Ground, Rig, Tally};

/// So many events of each application are acknowledged before a bug is looked for.
const EVENTS_MIN: u64 = 150;
/// So many events are sent alone.
const SINGLES: usize = 4;

/// What was done, and what was found; the number tells runs of one scenario apart.
pub(super) type Scenario = fn(&Ground, Option<Sabotage>, u64) -> Result<(Tally, Findings)>;

/// Uses the product that can be broken, and breaks it.
fn break_it(rig: &mut Rig<'_>, bug: Option<Sabotage>) {
    if let Some(program) = &rig.ground().eye_faults {
        rig.launch.program.clone_from(program);
    }
    if let Some(bug) = bug {
        rig.set("EYE_SABOTAGE", bug.name());
    }
}

fn rig(ground: &Ground, bug: Option<Sabotage>, round: u64, fork: u64) -> Result<(Rig<'_>, Random)> {
    let mut random = Random::new(ground.seed).fork(fork).fork(round);
    let mut rig = Rig::new(ground, Shape::new(format!("s{round}")), &mut random, None)?;
    break_it(&mut rig, bug);
    Ok((rig, random))
}

/// Load, a kill, recovery; three times.
pub(super) fn kill(ground: &Ground, bug: Option<Sabotage>, round: u64) -> Result<(Tally, Findings)> {
    let (mut rig, mut random) = rig(ground, bug, round, 20)?;
    rig.flag("flush-age-max", "60ms");
    for _ in 0..3 {
        if rig.has_findings() {
            break;
        }
        let Some(mut server) = rig.start()? else { break };
        let moment = Duration::from_millis(200 + random.below(300));
        let notes = Arc::clone(&rig.notes);
        rig.load_with(&mut server, |server| {
            std::thread::sleep(moment);
            notes.judge_end(server.process.kill());
            Ok(())
        })?;
        rig.tally.faults += 1;
        rig.recover_and_check()?;
    }
    if bug.is_none() {
        rig.demand_acknowledged()?;
    }
    Ok(rig.finish())
}

/// Load, a flush, more events one by one, a kill; then what was acknowledged is sent again. No moment matters.
///
/// The last record before the flush and those behind it hold an event each: a commit that ends where no record does keeps the
/// next start from serving, and that says nothing of what would be lost.
pub(super) fn flush(ground: &Ground, bug: Option<Sabotage>, round: u64) -> Result<(Tally, Findings)> {
    let (mut rig, _) = rig(ground, bug, round, 28)?;
    one_partition(&mut rig);
    let Some(mut server) = rig.start()? else { return Ok(rig.finish()) };
    let notes = Arc::clone(&rig.notes);
    rig.load(&server, || {
        await_enough(&notes);
        Ok(())
    })?;
    let before = rig.singles(&server, SINGLES);
    upkeep::demand(&mut Rig::client(&server), &notes, "/v1/flush");
    let behind = rig.singles(&server, SINGLES);
    notes.judge_end(server.process.kill());
    rig.tally.faults += 1;
    if before < SINGLES || behind < SINGLES {
        rig.find(
            Violation::NotTested,
            format!("of {SINGLES} events {before} are taken before a flush, {behind} behind it"),
        );
    }
    rig.recover_and_check()?;
    if rig.has_findings() {
        return Ok(rig.finish());
    }
    let Some(mut server) = rig.start()? else { return Ok(rig.finish()) };
    if !rig.repeat(&server) {
        rig.find(Violation::NotTested, "repeats are not taken");
    }
    rig.check_running(&server);
    notes.judge_end(server.process.kill());
    rig.check_stopped();
    Ok(rig.finish())
}

/// One partition, of which nothing is flushed but when asked for.
fn one_partition(rig: &mut Rig<'_>) {
    rig.flag("partitions", "1");
    rig.partitions = 1;
    upkeep::by_hand(rig);
}

/// Waits until events of each application and a rejection are acknowledged, or something is found.
fn await_enough(notes: &Notes) {
    let is_enough = |witness: &Witness| {
        let has_events = |application: &&str| witness.acknowledged_of(application) >= EVENTS_MIN;
        !witness.findings.is_empty() || witness.told_rejected > 0 && APPLICATIONS.iter().all(has_events)
    };
    if !notes.await_that(is_enough) {
        notes.find(Violation::NotTested, "too little is acknowledged");
    }
}

/// Readers look while flushes take long: syncs of files do, those of the log's records do not.
pub(super) fn slow_flush(ground: &Ground, bug: Option<Sabotage>, round: u64) -> Result<(Tally, Findings)> {
    let (mut rig, _) = rig(ground, bug, round, 29)?;
    rig.flag("flush-age-max", "60ms");
    rig.delay("fsync", 50_000);
    let Some(mut server) = rig.start()? else { return Ok(rig.finish()) };
    let notes = Arc::clone(&rig.notes);
    rig.load_with(&mut server, |server| {
        await_enough(&notes);
        std::thread::sleep(Duration::from_secs(1));
        notes.judge_end(server.process.kill());
        Ok(())
    })?;
    rig.tally.faults += 1;
    rig.launch.wrapper.clear();
    rig.recover_and_check()?;
    Ok(rig.finish())
}

/// The order of system calls.
pub(super) fn order(ground: &Ground, bug: Option<Sabotage>, round: u64) -> Result<(Tally, Findings)> {
    acks::one_run(ground, 100 + round, None, |rig| break_it(rig, bug))
}

/// The same with syncs that fail from some moment on.
pub(super) fn sync_error(ground: &Ground, bug: Option<Sabotage>, round: u64) -> Result<(Tally, Findings)> {
    acks::one_run(ground, 200 + round, Some("fdatasync:error=EIO:when=12+"), |rig| break_it(rig, bug))
}

/// The same with writes that fail from some moment on.
pub(super) fn write_error(ground: &Ground, bug: Option<Sabotage>, round: u64) -> Result<(Tally, Findings)> {
    acks::one_run(ground, 300 + round, Some("pwrite64:error=EIO:when=12+"), |rig| break_it(rig, bug))
}

/// A byte in the middle of the log changes: the start must refuse, or everything must be there all the same.
pub(super) fn damage(ground: &Ground, bug: Option<Sabotage>, round: u64) -> Result<(Tally, Findings)> {
    let (mut rig, mut random) = rig(ground, bug, round, 21)?;
    // One segment, and all of it matters: nothing is in the table.
    one_partition(&mut rig);
    rig.flag("log-segment-bytes-max", "64MiB");
    let Some(mut server) = rig.start()? else { return Ok(rig.finish()) };
    let notes = Arc::clone(&rig.notes);
    rig.load_with(&mut server, |server| {
        await_enough(&notes);
        notes.judge_end(server.process.kill());
        Ok(())
    })?;
    let segment = observe::segments(&rig.launch.data, 0)?.into_iter().next().ok_or("no segment")?;
    let whole = fs::read(&segment)?;
    let mut damaged = whole.clone();
    // Behind what was written lies room, which is nothing to damage.
    let written = whole.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    let at = written / 4 + random.below(written as u64 / 4) as usize;
    damaged[at] ^= 0x20;
    fs::write(&segment, damaged)?;
    rig.tally.faults += 1;
    if let Ok(mut server) = rig.launch.start() {
        rig.check_running(&server);
        server.process.kill();
    }
    if !rig.has_findings() {
        fs::write(&segment, whole)?;
        rig.recover_and_check()?;
    }
    Ok(rig.finish())
}

/// A token that was made works after a kill.
pub(super) fn token(ground: &Ground, bug: Option<Sabotage>, round: u64) -> Result<(Tally, Findings)> {
    let (mut rig, _) = rig(ground, bug, round, 22)?;
    let Some(mut server) = rig.start()? else { return Ok(rig.finish()) };
    let body = br#"{"name":"made under torture","kind":"secret"}"#;
    let answer = Rig::client(&server).post("/v1/tokens", "application/json", body)?;
    let made: serde_json::Value = serde_json::from_slice(&answer.body)?;
    let secret = made["token"].as_str().ok_or_else(|| format!("no token was made: {}", answer.text()))?.to_owned();
    rig.notes.judge_end(server.process.kill());
    rig.tally.faults += 1;
    let Some(mut server) = rig.start()? else { return Ok(rig.finish()) };
    let answer = crate::http::Client::new(server.address, &secret).get("/v1/events?limit=1")?;
    if answer.status != 200 {
        rig.find(Violation::Lost, format!("a token that was made is answered with {}", answer.status));
    }
    rig.stop(&mut server)?;
    Ok(rig.finish())
}

/// Files are merged and old ones removed under load.
pub(super) fn compaction(ground: &Ground, bug: Option<Sabotage>, round: u64) -> Result<(Tally, Findings)> {
    let (mut rig, _) = rig(ground, bug, round, 24)?;
    upkeep::compaction(&mut rig)?;
    Ok(rig.finish())
}

/// Sessions are erased.
pub(super) fn erasure(ground: &Ground, bug: Option<Sabotage>, round: u64) -> Result<(Tally, Findings)> {
    let (mut rig, _) = rig(ground, bug, round, 25)?;
    upkeep::erasure(&mut rig)?;
    Ok(rig.finish())
}

/// Days go by.
pub(super) fn retention(ground: &Ground, bug: Option<Sabotage>, round: u64) -> Result<(Tally, Findings)> {
    let (mut rig, _) = rig(ground, bug, round, 26)?;
    retention::between_kills(&mut rig)?;
    Ok(rig.finish())
}

/// Power cuts.
pub(super) fn power_cut(ground: &Ground, bug: Option<Sabotage>, round: u64) -> Result<(Tally, Findings)> {
    let mut random = Random::new(ground.seed).fork(23).fork(round);
    let mount = Mount::new(FileSystem::Ext4)?;
    let mut rig = Rig::new(ground, Shape::new(format!("s{round}")), &mut random, Some(mount.point.clone()))?;
    break_it(&mut rig, bug);
    for _ in 0..3 {
        if rig.has_findings() {
            break;
        }
        cut::one_cut(&mut rig, &mount, &mut random, None)?;
        rig.recover_and_check()?;
    }
    if bug.is_none() {
        rig.demand_acknowledged()?;
    }
    Ok(rig.finish())
}
