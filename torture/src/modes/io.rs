//! The N-th call of a kind fails, for every N: fsync, fdatasync, write, rename, link and their kin, with EIO and ENOSPC,
//! and with EIO the unlink that trims the log; in a first start and in a start over what a killed process left. Every second
//! run ends with kill -9, the others with an orderly stop.
//!
//! The rule: a failed call never becomes an acknowledgement. The process may stop, refuse or get over it; after a clean
//! start everything that was acknowledged is there. What is left on the disk cannot tell of a sync that failed, for the
//! bytes are there all the same: where syncs fail, the order of all calls is held against the rules of [`crate::trace`].

use std::collections::{BTreeSet, HashMap};
use std::ffi::OsString;
use std::fs;
use std::path::Path;
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
use crate::server::{self, NotStarted};
use crate::steps::Step;
use crate::trace::{self, Call};

/// Calls that change files. Those in one row fail together: they are one step of the write path by different names.
const CALLS: [&str; 9] = [
    "fdatasync",
    "fsync",
    "pwrite64",
    "write",
    "rename,renameat,renameat2",
    "link,linkat",
    "ftruncate",
    "mkdir,mkdirat",
    UNLINK,
];
/// Of these only those that trim the log. Nothing that takes away finds no space.
const UNLINK: &str = "unlink,unlinkat";
/// A write that finds no space and then cannot be undone.
const UNDO: &str = "pwrite64+fdatasync";
/// An answer takes no longer unless it hangs.
const ANSWER_PATIENCE: Duration = Duration::from_secs(25);
/// Nor does a start or a stop.
const PATIENCE: Duration = Duration::from_secs(20);
/// Runs at once.
const WORKERS: usize = 2;
/// So many of each kind must come to everything that they stand for.
const DEMANDED_AT: u64 = 12;

/// What fails, how, and in which start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Series {
    call: &'static str,
    error: &'static str,
    is_first_start: bool,
}

impl Series {
    /// The calls that are counted: those that fail, but of an undo the write that it follows.
    fn names(self) -> Vec<&'static str> {
        self.call.split('+').next().unwrap_or_default().split(',').collect()
    }

    fn is_of_syncs(self) -> bool {
        matches!(self.call, "fdatasync" | "fsync")
    }

    /// True for a call that is to fail.
    fn is_meant(self, call: &Call) -> bool {
        self.call != UNLINK || call.arguments.contains(".seg")
    }

    /// True if nothing of it may happen: a later start can find every folder made.
    fn may_be_empty(self) -> bool {
        self.call.starts_with("mkdir") && !self.is_first_start
    }
}

/// How a run ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Stop,
    Kill,
}

/// What one run did.
struct Run {
    /// Calls about our files that failed.
    injected: usize,
    /// Which calls of a thread were about our files.
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
    let (mut report, errors) = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    report.demand_steps(nth_max >= DEMANDED_AT, &[Step::Roll, Step::Commit, Step::Trim]);
    errors.into_iter().next().map_or(Ok(report), Err)
}

fn all_series() -> Vec<Series> {
    let mut series = Vec::new();
    for is_first_start in [true, false] {
        for call in CALLS {
            let errors: &[&'static str] = if call == UNLINK { &["EIO"] } else { &["EIO", "ENOSPC"] };
            series.extend(errors.iter().map(|&error| Series { call, error, is_first_start }));
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
    let first = one_run(ground, series, None, End::Stop)?;
    let all: Vec<u64> = first.calls.iter().copied().collect();
    let mut runs = vec![first];
    // At least one, however late the first of ours comes.
    let chosen: Vec<u64> =
        all.iter().enumerate().filter(|(index, nth)| *index == 0 || **nth <= nth_max).map(|(_, nth)| *nth).collect();
    for (index, nth) in chosen.iter().enumerate() {
        if runs.iter().any(|run| !run.findings.is_empty()) {
            return Ok((runs, false));
        }
        // What ends with a stop after EIO ends with a kill after ENOSPC.
        let is_killed = (index + usize::from(series.error == "ENOSPC")) % 2 == 1;
        let run = one_run(ground, series, Some(*nth), if is_killed { End::Kill } else { End::Stop })?;
        let is_missed = is_killed && run.injected == 0;
        runs.push(run);
        if is_missed {
            // It is a call of the stop.
            runs.push(one_run(ground, series, Some(*nth), End::Stop)?);
        }
    }
    let is_tested = runs.iter().any(|run| run.injected > 0) || chosen.is_empty() && series.may_be_empty();
    if !is_tested && let Some(run) = runs.first_mut() {
        run.findings.add(Violation::NotTested, format!("{series:?}: no call failed"));
    }
    Ok((runs, chosen.len() == all.len()))
}

/// Without an N nothing fails, and the calls are counted.
fn one_run(ground: &Ground, series: Series, nth: Option<u64>, end: End) -> Result<Run> {
    let mut rig = prepared(ground, nth)?;
    if !series.is_first_start {
        let Some(mut server) = rig.start()? else { return Ok(over(rig, 0, BTreeSet::new())) };
        rig.steps(&server, 6);
        Rig::client(&server).post("/v1/flush", "application/json", b"{}")?;
        rig.steps(&server, 6);
        rig.notes.judge_end(server.process.kill());
    }
    let before = rig.notes.witness().acknowledged();
    let path = rig.launch.work.join("trace");
    rig.launch.wrapper = wrapper(series, nth, &path.display().to_string());
    rig.notes.set_disk_fails(nth.is_some());
    let hang = faulty(&mut rig, end)?;
    rig.notes.set_disk_fails(false);
    rig.launch.wrapper.clear();
    let calls = trace::parse(&await_trace(&path)?);
    let ours = rig.launch.data.display().to_string();
    let is_ours =
        |call: &Call| call.arguments.contains(&ours) || Some(Path::new(call.file())) == rig.launch.data.parent();
    let (injected, elsewhere): (Vec<&Call>, Vec<&Call>) =
        calls.iter().filter(|call| call.is_injected()).partition(|call| is_ours(call));
    let injected = injected.iter().filter(|call| series.is_meant(call)).count();
    let own_calls = own_calls(&calls, &series.names(), |call| is_ours(call) && series.is_meant(call));
    // A disk does not fail a pipe: what such a failure does to a runtime is not asked here.
    if !elsewhere.is_empty() {
        rig.launch.forget_log()?;
    } else if let Some(what) = hang {
        rig.find(Violation::NotRecovered, format!("{series:?} {nth:?}: {what}"));
    }
    if nth.is_none() && rig.notes.witness().acknowledged() == before {
        rig.find(Violation::NotTested, format!("{series:?}: nothing is acknowledged, and nothing failed"));
    }
    if series.is_of_syncs() {
        let (checked, findings) = trace::check(&calls, &ours);
        rig.notes.witness().findings.extend(findings);
        if nth.is_none() && checked.acknowledgements == 0 {
            rig.find(Violation::NotTested, format!("{series:?}: the trace shows no acknowledgement"));
        }
    }
    rig.tally.faults += u64::from(injected > 0);
    if !rig.has_findings() {
        rig.recover_and_check()?;
    }
    Ok(over(rig, injected, own_calls))
}

/// A folder with a small load. The same for all of a series: only the N changes.
fn prepared(ground: &Ground, nth: Option<u64>) -> Result<Rig<'_>> {
    let mut random = Random::new(ground.seed).fork(4);
    let mut shape = Shape::new(format!("io{}", nth.unwrap_or_default()));
    (shape.writers, shape.readers, shape.sessions) = (1, 0, 3);
    // Large payloads fill segments: some are begun and removed.
    shape.large_one_in = 2;
    let mut rig = Rig::new(ground, shape, &mut random, None)?;
    // One flush thread decides when; here it is asked to.
    rig.flag("flush-age-max", "60s");
    rig.flag("flush-bytes-max", "1MiB");
    rig.flag("log-keep-commits", "1");
    rig.flag("shutdown-timeout", "2s");
    // Small segments; and a trace holds them, and the room in them, in full.
    rig.flag("log-segment-bytes-max", "64KiB");
    rig.launch.patience = PATIENCE;
    Ok(rig)
}

fn over(rig: Rig<'_>, injected: usize, calls: BTreeSet<u64>) -> Run {
    let (tally, findings) = rig.finish();
    Run { injected, calls, tally, findings }
}

/// Which calls of a thread (the first, the second…) were about files of ours. strace counts by thread and by call, and so
/// do we.
fn own_calls(calls: &[Call], names: &[&str], is_ours: impl Fn(&Call) -> bool) -> BTreeSet<u64> {
    let mut counts: HashMap<(&str, &str), u64> = HashMap::new();
    let mut own = BTreeSet::new();
    for call in calls.iter().filter(|call| call.is(names)) {
        let count = counts.entry((&call.thread, &call.name)).or_default();
        *count += 1;
        if is_ours(call) {
            own.insert(*count);
        }
    }
    own
}

fn wrapper(series: Series, nth: Option<u64>, trace: &str) -> Vec<OsString> {
    let Series { call, error, .. } = series;
    let failing = call.replace('+', ",");
    // Answers and contents are in a trace that is held against the rules.
    let (traced, bytes) = match (series.is_of_syncs(), nth) {
        (true, _) => (trace::CALLS.to_owned(), "400000"),
        (false, None) => (series.names().join(","), "300"),
        (false, Some(_)) => (failing.clone(), "300"),
    };
    let mut words: Vec<String> =
        ["strace", "-D", "-f", "-y", "-qq", "-e", "signal=none", "-s", bytes, "-o", trace].map(str::to_owned).into();
    words.extend(["-e".to_owned(), format!("trace={traced}")]);
    let faults = match nth {
        None => Vec::new(),
        Some(nth) if call == UNDO => {
            vec![format!("inject=pwrite64:error={error}:when={nth}"), format!("inject=fdatasync:error=EIO:when={nth}")]
        }
        Some(nth) => vec![format!("inject={failing}:error={error}:when={nth}")],
    };
    words.extend(faults.into_iter().flat_map(|fault| ["-e".to_owned(), fault]));
    words.into_iter().map(Into::into).collect()
}

/// The same short life each time: requests, a flush, requests, a flush, requests, a flush, the end. Says what hung.
fn faulty(rig: &mut Rig<'_>, end: End) -> Result<Option<String>> {
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
    if end == End::Kill {
        // It may have ended by itself: that is what the fault is for.
        server.process.kill();
    } else if server.stop(PATIENCE)?.is_none() {
        hang = Some(format!("it does not stop: {}", rig.launch.log()));
    }
    Ok(hang)
}

/// The trace, once strace has written all of it: it runs apart, as `-D` says, and ends after what it traces.
///
/// # Errors
/// The tracer does not end, or its trace cannot be read.
pub fn await_trace(path: &Path) -> Result<String> {
    let start = Instant::now();
    while is_argument(path)? {
        if start.elapsed() > server::PATIENCE {
            return Err("the tracer does not end".into());
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    Ok(String::from_utf8_lossy(&fs::read(path)?).into_owned())
}

/// True while a process runs that was given this path.
fn is_argument(path: &Path) -> Result<bool> {
    let wanted = path.as_os_str().as_encoded_bytes();
    for entry in fs::read_dir("/proc")? {
        // A process may end meanwhile.
        let words = fs::read(entry?.path().join("cmdline")).unwrap_or_default();
        if words.split(|byte| *byte == 0).any(|word| word == wanted) {
            return Ok(true);
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    const TRACE: &str = r#"10 fdatasync(9</d/data/1.seg> <unfinished ...>
11 fdatasync(4</other>) = 0
10 <... fdatasync resumed>) = -1 EIO (Input/output error) (INJECTED)
11 fdatasync(9</d/data/1.seg>) = 0
11 fsync(9</d/data>) = 0
12 fdatasync(9</d/data/1.seg> <unfinished ...>
"#;

    #[test]
    fn a_call_in_two_halves_is_known_by_its_file() {
        let calls = trace::parse(TRACE);
        let injected: Vec<&str> = calls.iter().filter(|call| call.is_injected()).map(Call::file).collect();
        assert_eq!(injected, ["/d/data/1.seg"]);
    }

    #[test]
    fn calls_are_counted_by_thread_and_name() {
        let own = own_calls(&trace::parse(TRACE), &["fdatasync", "fsync"], |call| call.file().starts_with("/d/data"));
        assert_eq!(own, BTreeSet::from([1, 2]));
        let own = own_calls(&trace::parse(TRACE), &["fsync"], |call| call.file().starts_with("/d/data"));
        assert_eq!(own, BTreeSet::from([1]));
    }

    #[test]
    fn a_process_is_known_by_its_arguments() {
        let path = Path::new("/torture/no-such-trace");
        assert!(!is_argument(path).unwrap());
        let mut process = Command::new("sh").args(["-c", "read line"]).arg(path).stdin(Stdio::piped()).spawn().unwrap();
        // Its arguments can be read a moment after it was started. It does not end before it is told.
        while !is_argument(path).unwrap() {
            assert!(process.try_wait().unwrap().is_none());
            std::thread::yield_now();
        }
        drop(process.stdin.take());
        process.wait().unwrap();
        assert!(!is_argument(path).unwrap());
    }
}
