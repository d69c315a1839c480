//! One run of a test binary: what it says about a mutant, and that nothing of it is left behind.
//!
//! It runs under a guard, this program again, in a process group of its own. Whoever ends the run kills the group, with
//! all that the tests started. If this program itself ends, in whatever way, the guard's standard input does, and the guard
//! kills the group.

use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, ExitStatus, Stdio};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, getpgrp, getpid, kill_process_group};

use crate::Error;

/// The first argument with which this program is a guard; the second is what to run.
pub(crate) const GUARD: &str = "guard";
/// How the copy's `__mutant` is told which mutant is chosen, and where to write which ones are come to. Not `EYE_…`: tests
/// take such variables away, and the product refuses those it does not know.
pub(crate) const CHOSEN: &str = "MUTANT";
/// See [`CHOSEN`].
pub(crate) const REACHED: &str = "MUTANTS_REACHED";

/// A test binary.
pub(crate) struct Test {
    pub name: String,
    pub program: PathBuf,
    /// Of its package; tests run there.
    pub folder: PathBuf,
    /// A copy of this program: cargo may build it anew while tests run.
    pub guard: PathBuf,
}

/// The guard's exit status if it cannot start the test binary: that says nothing about a mutant.
const NOT_STARTED: u8 = 125;

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum End {
    Passed,
    /// A test failed; this is what was printed.
    Failed(String),
    OutOfTime,
}

enum Event {
    Line(String),
    Exit(ExitStatus),
}

impl Test {
    /// Runs it with a variable in its environment, until it ends, a test fails or time is over.
    pub(crate) fn run(&self, variable: (&str, OsString), limit: Duration) -> Result<(End, Duration), Error> {
        // Tests that are killed leave their files behind.
        let files = std::env::temp_dir().join(format!("mutants-{}", std::process::id()));
        std::fs::create_dir_all(&files)?;
        let mut command = Command::new(&self.guard);
        command.arg(GUARD).arg(&self.program).current_dir(&self.folder).process_group(0);
        command.env("CARGO_MANIFEST_DIR", &self.folder).env("TMPDIR", &files).env(variable.0, variable.1);
        // The first failure is enough, and is not kept for the next mutant.
        command.env("PROPTEST_MAX_SHRINK_ITERS", "0").env("PROPTEST_DISABLE_FAILURE_PERSISTENCE", "true");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let start = Instant::now();
        let mut child = command.spawn()?;
        let (_alive, stdout) = (child.stdin.take(), child.stdout.take());
        let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw).ok_or("a process has no id")?;
        let (events, received) = channel();
        let lines = events.clone();
        thread::spawn(move || stdout.map(|stdout| read(stdout, &lines)));
        let waiter = thread::spawn(move || {
            // Nobody listens when the run was ended.
            let _ = child.wait().map(|status| events.send(Event::Exit(status)));
        });
        let mut printed = String::new();
        let end = loop {
            // What is printed without an end does not keep it going.
            if start.elapsed() >= limit {
                break End::OutOfTime;
            }
            match received.recv_timeout(limit.saturating_sub(start.elapsed())) {
                Ok(Event::Line(line)) => {
                    printed.push_str(&line);
                    printed.push('\n');
                    if line.starts_with("test ") && line.ends_with("FAILED") {
                        break End::Failed(printed);
                    }
                }
                Ok(Event::Exit(status)) if status.code() == Some(NOT_STARTED.into()) => {
                    return Err(format!("{} cannot be started", self.program.display()).into());
                }
                Ok(Event::Exit(status)) if status.success() => break End::Passed,
                Ok(Event::Exit(_)) => break End::Failed(printed),
                Err(RecvTimeoutError::Timeout) => break End::OutOfTime,
                Err(RecvTimeoutError::Disconnected) => return Err("a test's end was not seen".into()),
            }
        };
        let took = start.elapsed();
        // Nobody may be left in the group.
        let _ = kill_process_group(group, Signal::KILL);
        waiter.join().map_err(|_| "waiting for a test panicked")?;
        // Who was killed may not be gone yet; the next run takes away what is left.
        let _ = std::fs::remove_dir_all(&files);
        Ok((end, took))
    }
}

fn read(stdout: impl Read, lines: &Sender<Event>) {
    for line in BufReader::new(stdout).lines().map_while(Result::ok) {
        if lines.send(Event::Line(line)).is_err() {
            return;
        }
    }
}

/// Runs a test binary, and kills it with all it started when whoever started this is gone.
///
/// Only as the first of a process group: the group is what it kills.
pub(crate) fn guard(program: &Path) -> ExitCode {
    if getpgrp() != getpid() {
        eprintln!("mutants: a guard has a process group of its own");
        return ExitCode::FAILURE;
    }
    thread::spawn(|| {
        let mut byte = [0];
        // There is nothing to read: it ends when the other side does.
        let _ = std::io::stdin().read(&mut byte);
        let _ = kill_process_group(getpgrp(), Signal::KILL);
    });
    match Command::new(program).stdin(Stdio::null()).status() {
        Ok(status) if status.success() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(_) => ExitCode::from(NOT_STARTED),
    }
}
