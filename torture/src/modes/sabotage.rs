//! Builds with a bug, one at a time: the oracle must name each by what it does. The same scenarios without a bug must pass.
//!
//! The rule: that a broken build dies, or that another violation than those of its bug is found, catches nothing.
//!
//! Each bug is looked for first by the scenario that was made for it. Most of these wait until something has happened, and not
//! for a while: a slow machine comes as far.

use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};

use eye_fault::Sabotage;

use crate::Result;
use crate::load::{APPLICATIONS, Notes, Shape};
use crate::machine::{FileSystem, Mount, cannot_cut, cannot_strace, faketime};
use crate::modes::{acks, cut, upkeep};
use crate::observe;
use crate::oracle::{Findings, Violation, Witness};
use crate::random::Random;
use crate::report::Report;
use crate::rig::{Ground, Rig, Tally};

/// How often every scenario is tried before a bug counts as not caught.
const ROUNDS: u64 = 3;

/// A way to look for bugs: from cheap to dear.
const SCENARIOS: [(&str, Scenario); 12] = [
    ("kill", kill),
    ("flush", flush),
    ("slow flush", slow_flush),
    ("order", order),
    ("sync error", sync_error),
    ("write error", write_error),
    ("damage", damage),
    ("token", token),
    ("compaction", compaction),
    ("erasure", erasure),
    ("retention", retention),
    ("cut", power_cut),
];

/// So many events of each application are acknowledged before a bug is looked for.
const EVENTS_MIN: u64 = 150;
/// So many events are sent alone.
const SINGLES: usize = 4;
/// Looking for one bug takes no longer.
const BUG_PATIENCE: Duration = Duration::from_secs(180);

type Scenario = fn(&Ground, Option<Sabotage>, u64) -> Result<(Tally, Findings)>;

/// Tries every bug.
///
/// # Errors
/// The tools failed.
pub fn run(ground: &Ground) -> Result<Report> {
    let mut report = Report::new("sabotage", ground.seed);
    if ground.eye_faults.is_none() {
        report.skip(
            "sabotages, because there is no eye-faults (cargo build --release --features faults --bin eye-faults)",
        );
        return Ok(report);
    }
    let mut missing = Vec::new();
    let scenarios: Vec<_> = SCENARIOS.into_iter().filter(|(name, _)| is_possible(name, &mut missing)).collect();
    report.skipped.extend(missing.iter().map(|why| format!("the scenario {why}")));
    for (name, scenario) in &scenarios {
        let run = scenario(ground, None, 0)?;
        if !run.1.is_empty() {
            println!("  without a sabotage, in {name}");
        }
        report.add(run);
    }
    if !report.is_good() {
        return Ok(report);
    }
    let mut caught = 0;
    for bug in Sabotage::ALL {
        let (by, others) = catch(ground, *bug, &scenarios, &mut report.tally);
        let (name, about) = (bug.name(), bug.about());
        match by {
            Some((scenario, runs, findings)) => {
                caught += 1;
                report.details.push(format!("{name}: {} by {scenario}, run {runs}", findings.names()));
            }
            None => {
                let (names, seen) = (names_of(*bug), others.join("; "));
                let what = format!("{name} is caught by none of {names:?}, but found was: [{seen}]: {about}");
                // What could not be run here may be the one that catches it.
                match &missing[..] {
                    [] => report.findings.add(Violation::NotTested, what),
                    missing => report.skip(format!("the sabotage, without {}: {what}", missing.join("; "))),
                }
            }
        }
    }
    report.notes.push(format!("{caught} of {} sabotages caught", Sabotage::ALL.len()));
    Ok(report)
}

/// False, and a word about it, if this machine cannot run it.
fn is_possible(name: &str, missing: &mut Vec<String>) -> bool {
    let why = match name {
        "slow flush" | "order" | "sync error" | "write error" => cannot_strace(),
        "retention" => faketime().err().map(|why| why.to_string()),
        "cut" => cannot_cut(FileSystem::Ext4),
        _ => None,
    };
    missing.extend(why.iter().map(|why| format!("{name}, because {why}")));
    why.is_none()
}

/// The scenario that is tried first: others come to nothing of these, or only with luck.
const fn made_for(bug: Sabotage) -> &'static str {
    use Sabotage as Bug;
    match bug {
        Bug::DropInApply
        | Bug::DropOnReplay
        | Bug::SkipDedup
        | Bug::ForgetDedup
        | Bug::StoredForDuplicate
        | Bug::AnswerWrongOffset
        | Bug::ForgetLedger
        | Bug::FlushTwice
        | Bug::CommitTwice
        | Bug::FlushedTooHigh
        | Bug::FlushedTooLow
        | Bug::ReorderRows
        | Bug::TruncateTimes
        | Bug::ForgetRejectionMessage
        | Bug::ShowOtherApplications => "flush",
        Bug::HideFlushing => "slow flush",
        Bug::SkipLogSync
        | Bug::AcknowledgeBeforeSync
        | Bug::SkipSegmentFolderSync
        | Bug::TrimUnflushed
        | Bug::TrimBeforeCommit
        | Bug::SkipFileSync
        | Bug::SkipCommitSync
        | Bug::SkipCommitFolderSync => "order",
        Bug::IgnoreSyncError => "sync error",
        Bug::IgnoreWriteError => "write error",
        Bug::CutDamage => "damage",
        Bug::SkipRegistryAppend => "token",
        Bug::CompactKeepsOld | Bug::CompactLosesNew | Bug::VacuumListed => "compaction",
        Bug::EraseHidesLate
        | Bug::EraseNotNoted
        | Bug::EraseKeepsLog
        | Bug::EraseSkipsNewest
        | Bug::EraseOneTooMany => "erasure",
        Bug::RetentionDayTooMany => "retention",
    }
}

/// Of what was acknowledged something is gone.
const GONE: &[Violation] = &[
    Violation::Lost,
    Violation::Vanished,
    Violation::LedgerWrong,
    Violation::TableDiffers,
    Violation::LogDiffers,
    Violation::VerifyFailed,
];
/// The same, or it was relied on too early. What is written over it may take its place.
const UNSAFE: &[Violation] = &[
    Violation::AckedEarly,
    Violation::NotDurable,
    Violation::Lost,
    Violation::Vanished,
    Violation::Doubled,
    Violation::OffsetChanged,
    Violation::LedgerWrong,
    Violation::TableDiffers,
    Violation::LogDiffers,
    Violation::VerifyFailed,
];
/// Something is there more than once.
const DOUBLED: &[Violation] = &[
    Violation::Doubled,
    Violation::OffsetChanged,
    Violation::OutOfOrder,
    Violation::LedgerWrong,
    Violation::TableDiffers,
    Violation::LogDiffers,
    Violation::VerifyFailed,
];
/// What was to go is there, or what was to stay is not.
const ERASED: &[Violation] = &[
    Violation::NotErased,
    Violation::Lost,
    Violation::Vanished,
    Violation::LedgerWrong,
    Violation::TableDiffers,
    Violation::LogDiffers,
    Violation::VerifyFailed,
];

/// The violations by which a bug is caught: those that say what it does.
const fn names_of(bug: Sabotage) -> &'static [Violation] {
    use Sabotage as Bug;
    use Violation as By;
    match bug {
        Bug::SkipLogSync
        | Bug::AcknowledgeBeforeSync
        | Bug::SkipSegmentFolderSync
        | Bug::IgnoreSyncError
        | Bug::IgnoreWriteError
        | Bug::TrimUnflushed
        | Bug::TrimBeforeCommit
        | Bug::SkipFileSync
        | Bug::SkipCommitSync
        | Bug::SkipCommitFolderSync
        | Bug::SkipRegistryAppend => UNSAFE,
        Bug::CutDamage | Bug::DropInApply | Bug::DropOnReplay | Bug::HideFlushing | Bug::CompactLosesNew => GONE,
        // A session of which a file is missing is refused, not shown without it.
        Bug::VacuumListed => &[By::Lost, By::Vanished, By::TableDiffers, By::VerifyFailed, By::NotRecovered],
        Bug::SkipDedup
        | Bug::ForgetDedup
        | Bug::FlushTwice
        | Bug::CommitTwice
        | Bug::FlushedTooLow
        | Bug::CompactKeepsOld => DOUBLED,
        Bug::FlushedTooHigh => {
            &[By::Lost, By::Vanished, By::OffsetChanged, By::TableDiffers, By::LogDiffers, By::VerifyFailed]
        }
        Bug::StoredForDuplicate => &[By::Doubled, By::OffsetChanged, By::OutOfOrder, By::LedgerWrong],
        Bug::AnswerWrongOffset => &[By::OffsetChanged, By::Doubled, By::OutOfOrder],
        Bug::ForgetLedger => &[By::LedgerWrong, By::VerifyFailed],
        Bug::ReorderRows => &[By::OutOfOrder, By::Lost, By::Vanished, By::TableDiffers, By::VerifyFailed],
        Bug::TruncateTimes => &[By::Changed, By::OutOfOrder, By::Vanished, By::TableDiffers, By::VerifyFailed],
        Bug::EraseHidesLate
        | Bug::EraseKeepsLog
        | Bug::EraseSkipsNewest
        | Bug::EraseOneTooMany
        | Bug::RetentionDayTooMany => ERASED,
        Bug::ForgetRejectionMessage => &[By::RejectionsDiffer],
        Bug::ShowOtherApplications => &[By::Leaked],
        Bug::EraseNotNoted => &[By::NotErased, By::AckedEarly, By::NotDurable, By::LedgerWrong],
    }
}

/// The scenario, the number of its run, what it found.
type Caught = (&'static str, u64, Findings);

/// Who caught it; and what else was found, of which none says what the bug does.
fn catch(
    ground: &Ground,
    bug: Sabotage,
    scenarios: &[(&'static str, Scenario)],
    tally: &mut Tally,
) -> (Option<Caught>, Vec<String>) {
    let (mut runs, mut others) = (0, Vec::new());
    let begun = Instant::now();
    let mut scenarios = scenarios.to_vec();
    scenarios.sort_by_key(|(name, _)| *name != made_for(bug));
    for round in 0..ROUNDS {
        for (name, scenario) in &scenarios {
            if begun.elapsed() > BUG_PATIENCE {
                return (None, others);
            }
            runs += 1;
            let (run, findings) = match scenario(ground, Some(bug), 1 + round) {
                Ok(run) => run,
                // What is broken may not answer at all.
                Err(error) => {
                    others.push(format!("{error} in {name}, run {runs}"));
                    continue;
                }
            };
            tally.add(run);
            if findings.counts().keys().any(|violation| names_of(bug).contains(violation)) {
                return (Some((name, runs, findings)), others);
            }
            // A run that tested nothing found nothing.
            if findings.counts().keys().any(|violation| *violation != Violation::NotTested) {
                let first = findings.kept().first().map(ToString::to_string).unwrap_or_default();
                others.push(format!("{} by {name}, run {runs} ({first})", findings.names()));
            }
        }
    }
    (None, others)
}

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
fn kill(ground: &Ground, bug: Option<Sabotage>, round: u64) -> Result<(Tally, Findings)> {
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
fn flush(ground: &Ground, bug: Option<Sabotage>, round: u64) -> Result<(Tally, Findings)> {
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
fn slow_flush(ground: &Ground, bug: Option<Sabotage>, round: u64) -> Result<(Tally, Findings)> {
    let (mut rig, _) = rig(ground, bug, round, 29)?;
    rig.flag("flush-age-max", "60ms");
    let inject = "inject=fsync:delay_enter=50000";
    let wrapper = ["strace", "-D", "-f", "-qq", "-o", "/dev/null", "-e", "trace=fsync", "-e", inject];
    rig.launch.wrapper = wrapper.map(Into::into).into();
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
fn order(ground: &Ground, bug: Option<Sabotage>, round: u64) -> Result<(Tally, Findings)> {
    acks::one_run(ground, 100 + round, None, |rig| break_it(rig, bug))
}

/// The same with syncs that fail from some moment on.
fn sync_error(ground: &Ground, bug: Option<Sabotage>, round: u64) -> Result<(Tally, Findings)> {
    acks::one_run(ground, 200 + round, Some("fdatasync:error=EIO:when=12+"), |rig| break_it(rig, bug))
}

/// The same with writes that fail from some moment on.
fn write_error(ground: &Ground, bug: Option<Sabotage>, round: u64) -> Result<(Tally, Findings)> {
    acks::one_run(ground, 300 + round, Some("pwrite64:error=EIO:when=12+"), |rig| break_it(rig, bug))
}

/// A byte in the middle of the log changes: the start must refuse, or everything must be there all the same.
fn damage(ground: &Ground, bug: Option<Sabotage>, round: u64) -> Result<(Tally, Findings)> {
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
fn token(ground: &Ground, bug: Option<Sabotage>, round: u64) -> Result<(Tally, Findings)> {
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
fn compaction(ground: &Ground, bug: Option<Sabotage>, round: u64) -> Result<(Tally, Findings)> {
    let (mut rig, _) = rig(ground, bug, round, 24)?;
    upkeep::compaction(&mut rig)?;
    Ok(rig.finish())
}

/// Sessions are erased.
fn erasure(ground: &Ground, bug: Option<Sabotage>, round: u64) -> Result<(Tally, Findings)> {
    let (mut rig, _) = rig(ground, bug, round, 25)?;
    upkeep::erasure(&mut rig)?;
    Ok(rig.finish())
}

/// Days go by.
fn retention(ground: &Ground, bug: Option<Sabotage>, round: u64) -> Result<(Tally, Findings)> {
    let (mut rig, _) = rig(ground, bug, round, 26)?;
    upkeep::retention(&mut rig)?;
    Ok(rig.finish())
}

/// Power cuts.
fn power_cut(ground: &Ground, bug: Option<Sabotage>, round: u64) -> Result<(Tally, Findings)> {
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
