//! The N-th call of a kind fails, for every N: fsync, fdatasync, write, rename, link and their kin, with EIO and ENOSPC,
//! in a first start and in a start over what a killed process left.
//!
//! The rule: a failed call never becomes an acknowledgement. The process may stop, refuse or get over it; after a clean
//! start everything that was acknowledged is there.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::Result;
use crate::load::Shape;
use crate::machine::cannot_strace;
use crate::oracle::{Findings, Violation};
use crate::random::Random;
use crate::report::Report;
use crate::rig::{Ground, Rig, Tally};
use crate::server::NotStarted;

/// Calls that change files. Those in one row fail together: they are one step of the write path by different names.
const CALLS: [&str; 8] = [
    "fdatasync",
    "fsync",
    "pwrite64",
    "write",
    "rename,renameat,renameat2",
    "link,linkat",
    "ftruncate",
    "mkdir,mkdirat",
];
/// A write that finds no space and then cannot be undone.
const UNDO: &str = "pwrite64+fdatasync";
/// An answer takes no longer unless it hangs.
const ANSWER_PATIENCE: Duration = Duration::from_secs(25);
/// Nor does a start or a stop.
const PATIENCE: Duration = Duration::from_secs(20);
/// Runs at once.
const WORKERS: usize = 2;

/// What fails, how, and in which start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Series {
    call: &'static str,
    error: &'static str,
    is_first_start: bool,
}

/// What one run did.
struct Run {
    injected: usize,
    calls: BTreeSet<u64>,
    tally: Tally,
    findings: Findings,
}

/// Fails each call from the first to the one that no run reaches any more, `nth_max` at most.
///
/// # Errors
/// The tools failed.
pub fn run(ground: &Ground, nth_max: u64) -> Result<Report> {
    let mut report = Report::new("io", ground.seed);
    if let Some(why) = cannot_strace() {
        report.skip(format!("failing system calls, because {why}"));
        return Ok(report);
    }
    let series: Vec<Series> = all_series();
    let next = AtomicUsize::new(0);
    let done = Mutex::new((report, Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| {
                while let Some(series) = series.get(next.fetch_add(1, Ordering::SeqCst)) {
                    let result = one_series(ground, *series, nth_max);
                    let mut done = done.lock().unwrap_or_else(PoisonError::into_inner);
                    match result {
                        Ok((runs, is_exhausted)) => add(&mut done.0, *series, runs, is_exhausted),
                        Err(error) => done.1.push(error),
                    }
                }
            });
        }
    });
    let (report, errors) = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    errors.into_iter().next().map_or(Ok(report), Err)
}

fn all_series() -> Vec<Series> {
    let mut series = Vec::new();
    for is_first_start in [true, false] {
        for call in CALLS {
            series.extend(["EIO", "ENOSPC"].map(|error| Series { call, error, is_first_start }));
        }
    }
    series.push(Series { call: UNDO, error: "ENOSPC", is_first_start: false });
    series
}

fn add(report: &mut Report, series: Series, runs: Vec<Run>, is_exhausted: bool) {
    let injected = runs.iter().filter(|run| run.injected > 0).count();
    let start = if series.is_first_start { "first start" } else { "later start" };
    let end = if is_exhausted { "all" } else { "bounded" };
    report.details.push(format!("{} {} in a {start}: {injected} ({end})", series.call, series.error));
    for run in runs {
        report.add((run.tally, run.findings));
    }
}

/// The runs, and whether they were all there are. A run without a fault says first which calls there are.
fn one_series(ground: &Ground, series: Series, nth_max: u64) -> Result<(Vec<Run>, bool)> {
    let mut runs = Vec::new();
    let all = one_run(ground, series, None)?.calls;
    let chosen: Vec<u64> = all.iter().copied().filter(|nth| *nth <= nth_max).collect();
    for nth in &chosen {
        let run = one_run(ground, series, Some(*nth))?;
        let is_bad = !run.findings.is_empty();
        runs.push(run);
        if is_bad {
            return Ok((runs, false));
        }
    }
    Ok((runs, chosen.len() == all.len()))
}

/// Without an N nothing fails, and the calls are counted.
fn one_run(ground: &Ground, series: Series, nth: Option<u64>) -> Result<Run> {
    // The same for all of a series: only the N changes.
    let mut random = Random::new(ground.seed).fork(4);
    let mut shape = Shape::new(format!("io{}", nth.unwrap_or_default()));
    (shape.writers, shape.readers, shape.sessions) = (1, 0, 3);
    let mut rig = Rig::new(ground, shape, &mut random, None)?;
    // One flush thread decides when; here it is asked to.
    rig.flag("flush-age-max", "60s");
    rig.flag("flush-bytes-max", "1MiB");
    rig.flag("log-keep-commits", "1");
    rig.flag("shutdown-timeout", "2s");
    rig.launch.patience = PATIENCE;
    if !series.is_first_start {
        let Some(mut server) = rig.start()? else { return Ok(over(rig, 0, BTreeSet::new())) };
        rig.steps(&server, 6);
        Rig::client(&server).post("/v1/flush", "application/json", b"{}")?;
        rig.steps(&server, 6);
        server.process.kill();
    }
    let trace = rig.launch.work.join("trace");
    rig.launch.wrapper = wrapper(series, nth, &trace.display().to_string());
    let hang = faulty(&mut rig)?;
    rig.launch.wrapper.clear();
    let trace = await_trace(&trace)?;
    let ours = rig.launch.data.display().to_string();
    let (injected, elsewhere): (Vec<&str>, Vec<&str>) =
        trace.lines().filter(|line| line.contains("(INJECTED)")).partition(|line| line.contains(&ours));
    // A disk does not fail a pipe: what such a failure does to a runtime is not asked here.
    if let Some(what) = hang.filter(|_| elsewhere.is_empty()) {
        rig.find(Violation::NotRecovered, format!("{series:?} {nth:?}: {what}"));
    }
    rig.tally.faults += u64::from(!injected.is_empty());
    if !rig.has_findings() {
        rig.recover_and_check()?;
    }
    Ok(over(rig, injected.len(), calls_of(&trace, &ours)))
}

fn over(rig: Rig<'_>, injected: usize, calls: BTreeSet<u64>) -> Run {
    let (tally, findings) = rig.finish();
    Run { injected, calls, tally, findings }
}

/// Which calls of a thread (the first, the second…) were about files of ours. strace counts by thread, and so do we.
fn calls_of(trace: &str, ours: &str) -> BTreeSet<u64> {
    let mut counts: HashMap<&str, u64> = HashMap::new();
    let mut calls = BTreeSet::new();
    for line in trace.lines().filter(|line| !line.contains(" resumed>")) {
        let Some((thread, _)) = line.split_once(' ') else { continue };
        let count = counts.entry(thread).or_default();
        *count += 1;
        if line.contains(ours) {
            calls.insert(*count);
        }
    }
    calls
}

fn wrapper(series: Series, nth: Option<u64>, trace: &str) -> Vec<std::ffi::OsString> {
    let Series { call, error, .. } = series;
    let mut arguments: Vec<String> =
        ["strace", "-D", "-f", "-y", "-qq", "-s", "300", "-o", trace].map(str::to_owned).into();
    let calls = call.replace('+', ",");
    // Counted is what the undo follows.
    let counted = if call == UNDO && nth.is_none() { "pwrite64" } else { &calls };
    arguments.extend(["-e".to_owned(), format!("trace={counted}")]);
    let Some(nth) = nth else { return arguments.into_iter().map(Into::into).collect() };
    if call == UNDO {
        arguments.extend(["-e".to_owned(), format!("inject=pwrite64:error={error}:when={nth}")]);
        arguments.extend(["-e".to_owned(), format!("inject=fdatasync:error=EIO:when={nth}")]);
    } else {
        arguments.extend(["-e".to_owned(), format!("inject={calls}:error={error}:when={nth}")]);
    }
    arguments.into_iter().map(Into::into).collect()
}

/// The same short life each time: requests, a flush, requests, a flush, requests, an orderly stop. Says what hung.
fn faulty(rig: &mut Rig<'_>) -> Result<Option<String>> {
    let mut server = match rig.launch.start() {
        Ok(server) => server,
        Err(error) => {
            return Ok(match error.downcast_ref::<NotStarted>() {
                Some(NotStarted { status: None, log }) => Some(format!("the start hangs: {log}")),
                // It stopped and said so, or its files or its words did not come through: that is allowed.
                _ => None,
            });
        }
    };
    let mut hang = None;
    for _ in 0..3 {
        let start = Instant::now();
        rig.steps(&server, 3);
        let _ = Rig::client(&server).post("/v1/flush", "application/json", b"{}");
        if start.elapsed() > ANSWER_PATIENCE {
            hang = Some("an answer did not come".to_owned());
        }
    }
    if server.stop(PATIENCE)?.is_none() {
        hang = Some(format!("it does not stop: {}", rig.launch.log()));
    }
    Ok(hang)
}

/// The trace, once strace has written all of it.
///
/// # Errors
/// It cannot be read.
pub fn await_trace(path: &std::path::Path) -> Result<String> {
    let mut last = usize::MAX;
    for _ in 0..200 {
        let text = fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
        if text.len() == last {
            return Ok(text);
        }
        last = text.len();
        std::thread::sleep(Duration::from_millis(10));
    }
    Err("the trace does not end".into())
}
