//! A data folder with its clients: started, put under load, checked after each fault.
//!
//! Checking is the same everywhere: while it runs, the API against the clients, the books against both, and what each
//! application's token shows against all that is there; then, killed at rest, `eye verify`, the raw log and a second reader
//! of the tables against what the API had shown.

use std::collections::HashSet;
use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};

use tempfile::TempDir;

use crate::Result;
use crate::http::Client;
use crate::load::{self, APPLICATIONS, Notes, Reader, Shape, Tokens, Writer};
use crate::machine::Clock;
use crate::observe::{self, SecondReader, Shown};
use crate::oracle::{Findings, Refusal, Row, Violation, check_log, check_rejections_log, check_table, check_tenant};
use crate::random::Random;
use crate::server::{Launch, NotStarted, PATIENCE, Server};
use crate::steps::{Steps, Watch};

/// What all modes share.
pub struct Ground {
    /// The product.
    pub eye: PathBuf,
    /// The product with faults built in, if it is there.
    pub eye_faults: Option<PathBuf>,
    /// A second reader of the tables, or why there is none.
    pub second: std::result::Result<Mutex<SecondReader>, String>,
    /// Makes everything that happens.
    pub seed: u64,
    /// Folders of runs that found something are kept.
    pub keep: bool,
}

/// Everything that was checked, to be counted.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    /// Faults.
    pub faults: u64,
    /// Checks of a running server.
    pub checks: u64,
    /// Checks of a stopped folder.
    pub stopped_checks: u64,
    /// Those that a second reader of the tables took part in.
    pub second_readings: u64,
    /// Events that were acknowledged.
    pub acknowledged: u64,
    /// Those of them that are of another application, and were there at the last check.
    pub others: u64,
    /// Events that were there at the last check.
    pub stored: u64,
    /// What happened in the folders meanwhile, as far as it was seen.
    pub steps: Steps,
    /// Rejections that were there at the last check.
    pub rejections: u64,
}

impl Tally {
    /// Adds another's.
    pub fn add(&mut self, other: Self) {
        self.faults += other.faults;
        self.checks += other.checks;
        self.stopped_checks += other.stopped_checks;
        self.second_readings += other.second_readings;
        self.acknowledged += other.acknowledged;
        self.others += other.others;
        self.stored += other.stored;
        self.steps.add(other.steps);
        self.rejections += other.rejections;
    }
}

/// A data folder, its clients, and what they know.
pub struct Rig<'a> {
    ground: &'a Ground,
    /// How the server is started.
    pub launch: Launch,
    /// What the clients know.
    pub notes: Arc<Notes>,
    /// Partitions of the log.
    pub partitions: u16,
    shape: Shape,
    /// Sessions beside those of its shape.
    more_sessions: Vec<String>,
    writers: Vec<Writer>,
    readers: Vec<Reader>,
    tokens: Tokens,
    /// What the API showed at the last check.
    shown: Vec<Row>,
    /// What its folder has told so far.
    watch: Watch,
    shown_rejections: Vec<Refusal>,
    /// Sessions that were too old: the log may hold some of them for a few commits more.
    expired: HashSet<String>,
    /// What was checked.
    pub tally: Tally,
    work: Option<TempDir>,
}

impl<'a> Rig<'a> {
    /// A new data folder in `place`, else beside the journal. Settings are drawn at random: small limits, so that little
    /// load reaches every part of the write path.
    ///
    /// # Errors
    /// No folder could be made.
    pub fn new(ground: &'a Ground, shape: Shape, random: &mut Random, place: Option<PathBuf>) -> Result<Self> {
        let work = tempfile::Builder::new().prefix("torture-").tempdir()?;
        let data = place.unwrap_or_else(|| work.path().to_owned()).join("data");
        let partitions = if random.one_in(4) { 2 } else { 1 };
        let flags = vec![
            format!("--partitions={partitions}"),
            format!("--flush-age-max={}ms", 30 + random.below(200)),
            format!("--flush-bytes-max={}KiB", 16 << random.below(6)),
            format!("--log-keep-commits={}", 1 + random.below(3)),
            format!("--log-segment-bytes-max={}KiB", 64 << random.below(4)),
            "--disk-reserve=1MiB".to_owned(),
            "--log-level=info".to_owned(),
        ];
        let launch = Launch {
            program: ground.eye.clone(),
            wrapper: Vec::new(),
            flags,
            environment: Vec::new(),
            data,
            work: work.path().to_owned(),
            patience: PATIENCE,
        };
        let notes = Arc::new(Notes::new(&work.path().join("journal"))?);
        let (writers, readers) = shape.clients(random);
        Ok(Self {
            ground,
            launch,
            notes,
            partitions,
            shape,
            more_sessions: Vec::new(),
            writers,
            readers,
            tokens: Tokens::default(),
            shown: Vec::new(),
            watch: Watch::default(),
            shown_rejections: Vec::new(),
            expired: HashSet::new(),
            tally: Tally::default(),
            work: Some(work),
        })
    }

    /// From the next load on it is another one, with new clients. Sessions of the one before are read with the others.
    pub fn turn_to(&mut self, shape: Shape, random: &Random) {
        self.more_sessions.extend(self.shape.all_sessions());
        (self.writers, self.readers) = shape.clients(random);
        self.shape = shape;
    }

    /// From the next start on the server has a wall clock of its own, which must be set first.
    ///
    /// # Errors
    /// The machine has none.
    pub fn own_clock(&mut self) -> Result<Clock> {
        let clock = Clock::new(&self.launch.work)?;
        for (name, value) in &clock.environment {
            self.set(name, value);
        }
        Ok(clock)
    }

    /// Starts the server. `None` if it does not start, which is a finding.
    ///
    /// # Errors
    /// The tools failed.
    pub fn start(&mut self) -> Result<Option<Server>> {
        match self.launch.start() {
            Ok(server) => Ok(Some(server)),
            Err(error) if error.is::<NotStarted>() => {
                self.find(Violation::NotRecovered, error.to_string());
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Runs the load while `fault` does what it does.
    ///
    /// # Errors
    /// As `fault`.
    pub fn load<T>(&mut self, server: &Server, fault: impl FnOnce() -> Result<T>) -> Result<T> {
        self.tokens.make(&mut Self::client(server), &self.notes);
        let at = (server.address, server.token.as_str(), &self.tokens);
        load::during(&mut self.writers, &mut self.readers, at, &self.notes, fault)
    }

    /// The same, with the server in hand.
    ///
    /// # Errors
    /// As `fault`.
    pub fn load_with<T>(&mut self, server: &mut Server, fault: impl FnOnce(&mut Server) -> Result<T>) -> Result<T> {
        self.tokens.make(&mut Self::client(server), &self.notes);
        let (address, token) = (server.address, server.token.clone());
        let at = (address, token.as_str(), &self.tokens);
        load::during(&mut self.writers, &mut self.readers, at, &self.notes, || fault(server))
    }

    /// One writer's single steps, without threads: the same requests each time.
    pub fn steps(&mut self, server: &Server, count: usize) -> usize {
        let mut client = Client::new(server.address, &server.token);
        let Some(writer) = self.writers.first_mut() else { return 0 };
        (0..count).filter(|_| writer.step(&mut client, &self.notes)).count()
    }

    /// The same writer's new events, each alone in its request. How many were acknowledged.
    pub fn singles(&mut self, server: &Server, count: usize) -> usize {
        let mut client = Self::client(server);
        let Some(writer) = self.writers.first_mut() else { return 0 };
        (0..count).filter(|_| writer.single(&mut client, &self.notes)).count()
    }

    /// The same writer sends again what it keeps of what was acknowledged. False if something of it was not taken.
    pub fn repeat(&mut self, server: &Server) -> bool {
        let mut client = Self::client(server);
        self.writers.first_mut().is_some_and(|writer| writer.repeat(&mut client, &self.notes))
    }

    /// From the next start on these system calls take so many microseconds longer.
    pub fn delay(&mut self, calls: &str, micros: u32) {
        let (trace, inject) = (format!("trace={calls}"), format!("inject={calls}:delay_enter={micros}"));
        let wrapper = ["strace", "-D", "-f", "-qq", "-o", "/dev/null", "-e", &trace, "-e", &inject];
        self.launch.wrapper = wrapper.map(Into::into).into();
    }

    /// A client of the server.
    #[must_use]
    pub fn client(server: &Server) -> Client {
        Client::new(server.address, &server.token)
    }

    /// What all modes share.
    #[must_use]
    pub const fn ground(&self) -> &'a Ground {
        self.ground
    }

    /// What is in every id of its load.
    #[must_use]
    pub fn run(&self) -> &str {
        &self.shape.run
    }

    /// The names of its sessions.
    #[must_use]
    pub fn sessions(&self) -> Vec<String> {
        [self.shape.all_sessions(), self.more_sessions.clone()].concat()
    }

    /// Others write to these sessions too: they are read with the others from now on.
    pub fn reads_too(&mut self, sessions: impl IntoIterator<Item = String>) {
        self.more_sessions.extend(sessions);
    }

    /// Notes a finding.
    pub fn find(&self, violation: Violation, detail: impl Into<String>) {
        self.notes.find(violation, detail);
    }

    /// True if something was found.
    #[must_use]
    pub fn has_findings(&self) -> bool {
        !self.notes.witness().findings.is_empty()
    }

    /// What was found.
    #[must_use]
    pub fn findings(&self) -> Findings {
        self.notes.witness().findings.clone()
    }

    /// Holds what a running server shows against what the clients know. Nobody may be sending.
    pub fn check_running(&mut self, server: &Server) {
        self.tally.checks += 1;
        let mut client = Self::client(server);
        let read =
            observe::shown(&mut client, &self.sessions()).and_then(|shown| Ok((shown, observe::books(&mut client)?)));
        let (Shown { sessions, rejections }, books) = match read {
            Ok(read) => read,
            Err(error) => return self.find(Violation::NotRecovered, format!("it cannot be read: {error}")),
        };
        let mut witness = self.notes.witness();
        let mut findings = witness.check_rows(&sessions);
        findings.extend(witness.refusals.check(&rejections));
        let rows: Vec<Row> = sessions.into_iter().flatten().collect();
        findings.extend(witness.check_books(books, rows.len() as u64, rejections.len() as u64));
        if findings.is_empty() {
            // From now on they must stay.
            rows.iter().for_each(|row| witness.saw(row));
            witness.refusals.saw(&rejections);
        }
        witness.findings.extend(findings);
        self.tally.acknowledged = witness.acknowledged();
        self.tally.others = witness.acknowledged_of(APPLICATIONS[1]);
        self.tally.stored = rows.len() as u64;
        self.tally.rejections = rejections.len() as u64;
        drop(witness);
        (self.shown, self.shown_rejections) = (rows, rejections);
        self.check_tenants(server);
    }

    /// Each application's token shows all of its own, and nothing else.
    fn check_tenants(&self, server: &Server) {
        for (application, token) in self.tokens.iter() {
            let mut client = Client::new(server.address, token);
            if matches!(client.get("/v1/ledger"), Ok(answer) if answer.status == 401) {
                self.find(Violation::Lost, format!("a token of {application} was made, and is not known"));
                continue;
            }
            match observe::shown(&mut client, &self.sessions()) {
                Ok(Shown { sessions, rejections }) => {
                    let rows: Vec<Row> = sessions.into_iter().flatten().collect();
                    let mut findings = check_tenant(application, &self.shown, &rows);
                    findings.extend(check_tenant(application, &self.shown_rejections, &rejections));
                    self.notes.witness().findings.extend(findings);
                }
                Err(error) => {
                    let detail = format!("a token of {application} cannot read: {error}");
                    self.find(Violation::NotRecovered, detail);
                }
            }
        }
    }

    /// What these sessions hold is too old from now on: how many events. Everything must have been checked, and nobody
    /// may be sending.
    pub fn expires(&mut self, sessions: &[String]) -> u64 {
        let rows = self.shown.iter().filter(|row| sessions.contains(&row.session)).count() as u64;
        self.notes.witness().erased(sessions, rows);
        self.expired.extend(sessions.iter().cloned());
        rows
    }

    /// Holds the files of a stopped data folder against what the API showed. Nothing was sent in between.
    pub fn check_stopped(&mut self) {
        self.tally.stopped_checks += 1;
        self.tally.steps = self.watch.look(&self.launch.data, self.partitions);
        self.verify();
        self.check_files();
    }

    /// What `eye verify` finds in a stopped data folder is a finding.
    pub fn verify(&self) {
        match observe::verify(&self.ground.eye, &self.launch.data, &self.launch.work) {
            Ok(None) => {}
            Ok(Some(found)) => self.find(Violation::VerifyFailed, found),
            Err(error) => self.find(Violation::VerifyFailed, format!("it could not be run: {error}")),
        }
    }

    /// The raw log and a second reader of the tables against what the API showed.
    fn check_files(&mut self) {
        let (data, partitions) = (&self.launch.data, self.partitions);
        let flushed = match observe::flushed(data, partitions) {
            Ok(flushed) => flushed,
            Err(error) => return self.find(Violation::TableDiffers, format!("its commits cannot be read: {error}")),
        };
        match observe::raw_log(data, partitions) {
            Ok(mut log) => {
                log.events.retain(|row| !self.expired.contains(&row.session));
                let mut findings = check_log(&self.shown, &log.events, &flushed.events);
                let [shown, logged] = [&self.shown_rejections, &log.rejections].map(|all| self.settled(all));
                findings.extend(check_rejections_log(&shown, &logged, &flushed.rejections));
                self.notes.witness().findings.extend(findings);
            }
            Err(error) => self.find(Violation::LogDiffers, format!("the raw log cannot be read: {error}")),
        }
        let Ok(second) = &self.ground.second else { return };
        self.tally.second_readings += 1;
        let read = second.lock().unwrap_or_else(PoisonError::into_inner).read(data, partitions);
        match read {
            Ok(tables) => {
                if tables.flushed != flushed {
                    let detail = format!("flushed is {flushed:?}, a second reader says {:?}", tables.flushed);
                    self.find(Violation::TableDiffers, detail);
                }
                let mut findings = check_table(&self.shown, &tables.events, &flushed.events);
                let [shown, held] = [&self.shown_rejections, &tables.rejections].map(|all| self.settled(all));
                findings.extend(check_table(&shown, &held, &flushed.rejections));
                self.notes.witness().findings.extend(findings);
            }
            Err(error) => self.find(Violation::TableDiffers, error.to_string()),
        }
    }

    /// Without those rejections that may be on their way out: hidden, and still in files.
    fn settled(&self, rejections: &[Refusal]) -> Vec<Refusal> {
        let witness = self.notes.witness();
        rejections.iter().filter(|rejection| !witness.refusals.may_lack(rejection)).cloned().collect()
    }

    /// Starts, checks, kills at rest and checks the files: after a fault that left no process.
    ///
    /// # Errors
    /// The tools failed.
    pub fn recover_and_check(&mut self) -> Result<()> {
        if let Some(mut server) = self.start()? {
            self.check_running(&server);
            self.notes.judge_end(server.process.kill());
            self.check_stopped();
        }
        Ok(())
    }

    /// Asks the server to stop: that it does not, or not cleanly, is a finding.
    ///
    /// # Errors
    /// The tools failed.
    pub fn stop(&self, server: &mut Server) -> Result<()> {
        match server.stop(PATIENCE)? {
            Some(status) if status.success() => {}
            Some(status) => self.find(Violation::NotRecovered, format!("it stopped ({status}): {}", self.launch.log())),
            None => self.find(Violation::NotRecovered, format!("it does not stop: {}", self.launch.log())),
        }
        Ok(())
    }

    /// Every fault so far may have come before anything was acknowledged: then nothing was tested. Once more, with all the
    /// time that it takes.
    ///
    /// # Errors
    /// The tools failed.
    pub fn demand_acknowledged(&mut self) -> Result<()> {
        if self.has_findings() || self.notes.witness().acknowledged() > 0 {
            return Ok(());
        }
        let Some(mut server) = self.start()? else { return Ok(()) };
        let notes = Arc::clone(&self.notes);
        self.load_with(&mut server, |server| {
            if !notes.await_acknowledged(1) {
                notes.find(Violation::NotTested, "nothing is acknowledged, also without a fault");
            }
            notes.judge_end(server.process.kill());
            Ok(())
        })?;
        self.recover_and_check()
    }

    /// Adds to the environment of the next starts.
    pub fn set(&mut self, name: &str, value: impl Into<OsString>) {
        self.unset(name);
        self.launch.environment.push((name.to_owned(), value.into()));
    }

    /// Takes from the environment of the next starts.
    pub fn unset(&mut self, name: &str) {
        self.launch.environment.retain(|(other, _)| other != name);
    }

    /// Sets a flag for the next starts.
    pub fn flag(&mut self, name: &str, value: &str) {
        let prefix = format!("--{name}=");
        self.launch.flags.retain(|flag| !flag.starts_with(&prefix));
        self.launch.flags.push(format!("{prefix}{value}"));
    }

    /// Ends the run; keeps what is there if something was found.
    #[must_use]
    pub fn finish(mut self) -> (Tally, Findings) {
        for panic in self.launch.panics() {
            self.find(Violation::NotRecovered, format!("a thread of it died: {panic}"));
        }
        let findings = self.findings();
        if let Some(work) = self.work.take()
            && self.ground.keep
            && !findings.is_empty()
        {
            let kept = work.keep();
            let _ = fs::write(kept.join("findings"), format!("{:#?}", findings.kept()));
            if !self.launch.data.starts_with(&kept) {
                // The disk it lies on goes with the run.
                let _ = Command::new("cp").arg("-a").arg(&self.launch.data).arg(kept.join("data")).status();
            }
            println!("  kept: {}", kept.display());
        }
        (self.tally, findings)
    }
}
