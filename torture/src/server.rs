//! The process under test: started on a data folder, killed, stopped, started again.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::Result;

/// Stands in the log before what a start logs.
const START: &str = "== start\n";
/// The last line that every start prints.
const BANNER_END: &str = "API and documentation:";
/// A start or a stop takes no longer unless it hangs.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// How to start it.
#[derive(Clone, Debug)]
pub struct Launch {
    /// The binary.
    pub program: PathBuf,
    /// Run through this, such as `strace …`; the program must end up as the process that was started.
    pub wrapper: Vec<OsString>,
    /// Flags of `eye serve`.
    pub flags: Vec<String>,
    /// Environment variables.
    pub environment: Vec<(String, OsString)>,
    /// The data folder.
    pub data: PathBuf,
    /// A folder that no fault touches: working folder and logs.
    pub work: PathBuf,
    /// A start that takes longer hangs.
    pub patience: Duration,
}

/// A running server.
pub struct Server {
    /// The process.
    pub process: Process,
    /// Where it listens.
    pub address: SocketAddr,
    /// A token that may do everything.
    pub token: String,
}

/// A process that was started: it may not serve yet. Killed when dropped.
pub struct Process(Child);

/// Why there is no server.
#[derive(Debug)]
pub struct NotStarted {
    /// How the process ended; `None` if it hung and was killed.
    pub status: Option<ExitStatus>,
    /// What it logged.
    pub log: String,
}

impl std::fmt::Display for NotStarted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.status {
            Some(status) => write!(f, "the server did not start ({status}): {}", self.log.trim_end()),
            None => write!(f, "the server hung while it started: {}", self.log.trim_end()),
        }
    }
}

impl std::error::Error for NotStarted {}

/// The binary without settings from outside.
#[must_use]
pub fn plain(program: &Path, wrapper: &[OsString], folder: &Path) -> Command {
    let mut command = match wrapper.split_first() {
        Some((wrapper, arguments)) => {
            let mut command = Command::new(wrapper);
            command.args(arguments).arg(program);
            command
        }
        None => Command::new(program),
    };
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("EYE_")) {
        command.env_remove(name);
    }
    command.current_dir(folder).stdin(Stdio::null());
    command
}

impl Launch {
    /// Where its log goes.
    #[must_use]
    pub fn log_path(&self) -> PathBuf {
        self.work.join("stderr.log")
    }

    /// What it logged in all its starts.
    fn whole_log(&self) -> String {
        fs::read(self.log_path()).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    /// What it logged since its last start.
    #[must_use]
    pub fn log(&self) -> String {
        self.whole_log().rsplit(START).next().unwrap_or_default().to_owned()
    }

    /// What it logged of panics, in all its starts.
    #[must_use]
    pub fn panics(&self) -> Vec<String> {
        self.whole_log().lines().filter(|line| line.contains("panicked")).map(str::to_owned).collect()
    }

    /// Forgets what it logged.
    ///
    /// # Errors
    /// The log is there and cannot be removed.
    pub fn forget_log(&self) -> Result<()> {
        match fs::remove_file(self.log_path()) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// Starts it without waiting: it may be anywhere in its start.
    ///
    /// # Errors
    /// The process could not be made.
    pub fn spawn(&self) -> Result<Process> {
        let mut log = File::options().append(true).create(true).open(self.log_path())?;
        log.write_all(START.as_bytes())?;
        let process = plain(&self.program, &self.wrapper, &self.work)
            .arg("serve")
            .arg("--data")
            .arg(&self.data)
            .args(["--listen", "127.0.0.1:0"])
            .args(&self.flags)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()?;
        Ok(Process(process))
    }

    /// Starts it and waits until it serves.
    ///
    /// # Errors
    /// [`NotStarted`], or the process could not be made.
    pub fn start(&self) -> Result<Server> {
        let mut process = self.spawn()?;
        let stdout = process.0.stdout.take().ok_or("the process has no standard output")?;
        let (lines, banner) = mpsc::channel();
        // Reads to the end, or the process would block on a full pipe.
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(std::io::Result::ok) {
                let _ = lines.send(line);
            }
        });
        let mut address = None;
        let deadline = Instant::now() + self.patience;
        loop {
            match banner.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) if line.starts_with(BANNER_END) => break,
                Ok(line) => {
                    let url = line.split_whitespace().find_map(|word| word.strip_prefix("http://"));
                    address = address.or_else(|| url.and_then(|address| address.parse().ok()));
                }
                Err(mpsc::RecvTimeoutError::Timeout) => {
                    process.kill();
                    return Err(NotStarted { status: None, log: self.log() }.into());
                }
                Err(mpsc::RecvTimeoutError::Disconnected) => {
                    let status = process.0.wait()?;
                    return Err(NotStarted { status: Some(status), log: self.log() }.into());
                }
            }
        }
        let address = address.ok_or("the banner names no address")?;
        let token = fs::read_to_string(self.data.join("cli-token"))?.trim().to_owned();
        Ok(Server { process, address, token })
    }
}

impl Process {
    /// `kill -9`. Returns how it had ended by itself before, if it had.
    pub fn kill(&mut self) -> Option<ExitStatus> {
        let before = self.ended();
        let _ = self.0.kill();
        let _ = self.0.wait();
        before
    }

    /// How it ended; `None` while it runs.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.0.try_wait().ok().flatten()
    }

    /// How it ended; `None` if it still runs after this time.
    ///
    /// # Errors
    /// As the system.
    pub fn wait(&mut self, patience: Duration) -> Result<Option<ExitStatus>> {
        let deadline = Instant::now() + patience;
        loop {
            match self.0.try_wait()? {
                Some(status) => return Ok(Some(status)),
                None if Instant::now() >= deadline => return Ok(None),
                None => std::thread::sleep(Duration::from_millis(2)),
            }
        }
    }

    /// Stops every thread of it: when this returns, none runs, and none returns from the kernel.
    ///
    /// # Errors
    /// As the system, or it does not stop.
    pub fn freeze(&self) -> Result<()> {
        self.signal(Signal::STOP)?;
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if self.states()?.bytes().all(|state| matches!(state, b'T' | b'D' | b'Z' | b'X')) {
                return Ok(());
            }
            std::thread::yield_now();
        }
        Err("the process does not stop".into())
    }

    /// A letter for each thread: what the system says it does.
    fn states(&self) -> Result<String> {
        let mut states = String::new();
        for task in fs::read_dir(format!("/proc/{}/task", self.0.id()))? {
            // A thread that ended meanwhile runs no more.
            let stat = fs::read_to_string(task?.path().join("stat")).unwrap_or_default();
            states.extend(stat.rsplit(") ").next().and_then(|rest| rest.chars().next()));
        }
        Ok(states)
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// As the system.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        Ok(kill_process(Pid::from_child(&self.0), signal)?)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Server {
    /// Asks it to stop (SIGTERM) and waits; `None` if it had to be killed.
    ///
    /// # Errors
    /// As the system.
    pub fn stop(&mut self, patience: Duration) -> Result<Option<ExitStatus>> {
        let _ = self.process.signal(Signal::TERM);
        let status = self.process.wait(patience)?;
        if status.is_none() {
            self.process.kill();
        }
        Ok(status)
    }
}
