//! Compaction, vacuum, erasure and retention, with kills in between: what must stay stays, what must go is gone.
//!
//! The oracle learns what goes: from then on it must not be there, in no reader and in no file. Nothing is sent after an
//! erasure, for a repeat of an erased event is a new one some day.

use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::Result;
use crate::load::{Notes, Shape};
use crate::machine::faketime;
use crate::oracle::Violation;
use crate::random::Random;
use crate::report::Report;
use crate::rig::{Ground, Rig};
use crate::server::{PATIENCE, Server};

/// Compactions under load before a kill.
const COMPACTIONS: u64 = 3;
/// How long the load runs.
const LOAD: Duration = Duration::from_millis(250);
const DAY_SECONDS: i64 = 86_400;

/// Lives through all three so often.
///
/// # Errors
/// The tools failed.
pub fn run(ground: &Ground, rounds: u64) -> Result<Report> {
    let mut report = Report::new("upkeep", ground.seed);
    let has_clock = faketime();
    if let Err(why) = &has_clock {
        report.skip(format!("retention, because {why}"));
    }
    let (mut number, mut events) = (0, 0);
    for round in 0..rounds {
        for scenario in [compaction, erasure, retention].iter().take(if has_clock.is_ok() { 3 } else { 2 }) {
            number += 1;
            let mut random = Random::new(ground.seed).fork(27).fork(number);
            let mut rig = Rig::new(ground, Shape::new(format!("u{round}")), &mut random, None)?;
            scenario(&mut rig)?;
            rig.demand_acknowledged()?;
            let run = rig.finish();
            events += run.0.acknowledged;
            report.add(run);
        }
    }
    report.notes.push(format!("{number} lives, {events} events acknowledged"));
    Ok(report)
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
            for _ in 0..COMPACTIONS {
                for _ in 0..2 {
                    std::thread::sleep(LOAD / 4);
                    act(&notes, server, "/v1/flush", "{}");
                }
                act(&notes, server, "/v1/compact", "{}");
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
    let notes = Arc::clone(&rig.notes);
    rig.load_with(&mut server, |server| {
        for _ in 0..3 {
            std::thread::sleep(LOAD / 2);
            act(&notes, server, "/v1/flush", "{}");
        }
        act(&notes, server, "/v1/compact", "{}");
        Ok(())
    })?;
    rig.check_running(&server);
    for (number, is_killed_at_once) in [(0, true), (1, false)] {
        if rig.has_findings() {
            break;
        }
        let session = rig.sessions().swap_remove(number);
        act(&notes, &server, "/v1/erasures", &format!(r#"{{"session_id":"{session}"}}"#));
        rig.goes(&[session]);
        if is_killed_at_once {
            rig.notes.judge_end(server.process.kill());
            rig.tally.faults += 1;
            let Some(again) = rig.start()? else { return Ok(()) };
            server = again;
        } else {
            // Hidden from the first answer on.
            rig.check_running(&server);
        }
        await_quiet(rig, &server, "/v1/erasures", |list| {
            list["erasures"].as_array().is_some_and(|all| all.iter().all(|erasure| erasure["state"] == "done"))
        })?;
        rig.check_running(&server);
    }
    rig.notes.judge_end(server.process.kill());
    rig.check_stopped();
    rig.recover_and_check()
}

/// What was received is kept for two days: it is there when two days have gone by, and gone after the third.
///
/// # Errors
/// The tools failed.
pub fn retention(rig: &mut Rig<'_>) -> Result<()> {
    by_hand(rig);
    rig.flag("retention", "*/*=2d");
    rig.flag("retention-period", "20ms");
    rig.flag("log-keep-commits", "1");
    let clock = rig.launch.work.join("clock");
    rig.set("LD_PRELOAD", faketime()?.as_os_str());
    rig.set("FAKETIME_TIMESTAMP_FILE", clock.as_os_str());
    rig.set("FAKETIME_NO_CACHE", "1");
    rig.set("FAKETIME_DONT_FAKE_MONOTONIC", "1");
    // It is noon, so that no midnight comes in between.
    let now = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs())?;
    let noon = DAY_SECONDS / 2 - now % DAY_SECONDS;
    let set = |days: i64| fs::write(&clock, format!("{:+}s", noon + days * DAY_SECONDS));
    set(0)?;
    let Some(mut server) = rig.start()? else { return Ok(()) };
    let notes = Arc::clone(&rig.notes);
    rig.load_with(&mut server, |server| {
        std::thread::sleep(LOAD);
        act(&notes, server, "/v1/flush", "{}");
        std::thread::sleep(LOAD / 4);
        Ok(())
    })?;
    act(&notes, &server, "/v1/flush", "{}");
    rig.check_running(&server);
    for day in [1, 2, 3] {
        if rig.has_findings() {
            break;
        }
        rig.notes.judge_end(server.process.kill());
        rig.tally.faults += 1;
        set(day)?;
        if day == 3 {
            rig.goes(&rig.sessions());
        }
        let Some(again) = rig.start()? else { return Ok(()) };
        server = again;
        // The first look may have begun before everything was ready.
        await_quiet(rig, &server, "/v1/jobs", |list| {
            let jobs = list["jobs"].as_array();
            jobs.is_some_and(|all| all.iter().any(|job| job["name"] == "retention" && job["runs"].as_u64() >= Some(2)))
        })?;
        rig.check_running(&server);
    }
    rig.notes.judge_end(server.process.kill());
    // The log may hold some of it for a few commits more.
    rig.verify();
    Ok(())
}

/// Nothing is flushed, merged or removed but when asked for: a compaction goes on as long as load makes new files.
fn by_hand(rig: &mut Rig<'_>) {
    rig.flag("flush-age-max", "60s");
    rig.flag("flush-bytes-max", "16MiB");
    rig.flag("compaction-period", "0s");
    rig.flag("vacuum-retention", "0s");
}

/// An administrator's request. That it is not taken is a finding; what it does is judged by others.
fn act(notes: &Notes, server: &Server, path: &str, body: &str) {
    match Rig::client(server).post(path, "application/json", body.as_bytes()) {
        Ok(answer) if matches!(answer.status, 200 | 503) => {}
        Ok(answer) => {
            let detail = format!("{path} is answered with {}: {}", answer.status, answer.text());
            notes.find(Violation::NotRecovered, detail);
        }
        Err(error) => notes.find(Violation::NotRecovered, format!("{path} is not answered: {error}")),
    }
}

/// Looks until this is so; that it never is, is a finding.
fn await_quiet(rig: &Rig<'_>, server: &Server, path: &str, is_so: impl Fn(&serde_json::Value) -> bool) -> Result<()> {
    let (mut client, begun) = (Rig::client(server), Instant::now());
    while begun.elapsed() < PATIENCE {
        let Ok(answer) = client.get(path) else { break };
        if answer.status == 200 && is_so(&serde_json::from_slice(&answer.body)?) {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    rig.find(Violation::NotRecovered, format!("{path} stays as it is"));
    Ok(())
}
