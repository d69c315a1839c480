//! PostgreSQL with its defaults for durability: `COPY` into a table that can answer what The Eye answers.
//!
//! A cluster of its own, in a temporary folder or in one that is kept, on a Unix socket; `initdb` refuses root, so that root runs it as another
//! user. Memory and WAL limits are raised in its favour; `fsync` and `synchronous_commit` stay on.

use std::fmt::Write as _;
use std::os::unix::fs::{MetadataExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use tempfile::TempDir;

use crate::floor::Event;
use crate::{Error, server};

/// Clients that copy at once.
const CONNECTIONS: usize = 2;
const OPTIONS: &str = "-c listen_addresses= -c shared_buffers=1GB -c max_wal_size=8GB -c fsync=on";
const TABLE: &str =
    "drop table if exists events; create table events (event_id uuid primary key, session_id uuid not null,
    category text not null, name text not null, timestamp timestamptz not null, data jsonb not null);
    create index on events (session_id); create index on events (category); create index on events (timestamp);
    checkpoint;";

/// For questions: more memory for sorting and hashing, and both cores for building indexes.
const OPTIONS_OF_QUESTIONS: &str = "-c work_mem=256MB -c maintenance_work_mem=1GB -c timezone=UTC";

/// A running cluster; stops with the value.
pub(crate) struct Postgres {
    programs: PathBuf,
    folder: PathBuf,
    /// Removes the folder with the value, if it is not kept.
    temporary: Option<TempDir>,
    /// Whom it runs as, if not as this process.
    user: Option<&'static str>,
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // A temporary folder goes too: nothing is lost if it ended by itself.
        let how = if self.temporary.is_some() { "-m immediate" } else { "-w -m fast" };
        let _ = self.control("stop", how);
    }
}

impl Postgres {
    /// Makes a cluster under `folder` (of root: under `/var/tmp`) and starts it.
    pub(crate) fn start(folder: &Path) -> Result<Self, Error> {
        let programs = programs()?;
        let is_root = std::fs::metadata("/proc/self")?.uid() == 0;
        // Another user may not come to a folder of root's.
        let folder = if is_root { Path::new("/var/tmp") } else { folder };
        let temporary = server::data_folder(&folder.canonicalize()?)?;
        let folder = temporary.path().to_owned();
        let user = if is_root { Some(hand_over(&folder)?) } else { None };
        let postgres = Self { programs, folder, temporary: Some(temporary), user };
        postgres.init()?;
        postgres.serve("")?;
        Ok(postgres)
    }

    /// A cluster for questions whose folder, named `name` under `folder` (of root: under `/var/tmp`), stays: a new one if
    /// there is none yet or if it is to be made anew.
    pub(crate) fn open(folder: &Path, name: &str, fresh: bool) -> Result<Self, Error> {
        let programs = programs()?;
        let is_root = std::fs::metadata("/proc/self")?.uid() == 0;
        let folder = if is_root { Path::new("/var/tmp") } else { folder }.canonicalize()?.join(name);
        if fresh && folder.exists() {
            std::fs::remove_dir_all(&folder)?;
        }
        let is_new = !folder.exists();
        std::fs::create_dir_all(&folder)?;
        let user = if is_root { Some(hand_over(&folder)?) } else { None };
        let postgres = Self { programs, folder, temporary: None, user };
        if is_new {
            postgres.init()?;
        } else if postgres.folder.join("data").join("postmaster.pid").exists() {
            // Left by a run that was killed. It may not be there any more.
            let _ = postgres.control("stop", "-m immediate");
        }
        postgres.serve(OPTIONS_OF_QUESTIONS)?;
        Ok(postgres)
    }

    fn init(&self) -> Result<(), Error> {
        self.run("initdb", &format!("-D {} -U bench -A trust -E UTF8 --no-locale --no-sync", self.data()))
    }

    fn serve(&self, more: &str) -> Result<(), Error> {
        let data = self.data();
        let options = format!("{OPTIONS} {more} -c unix_socket_directories={data}");
        self.control("start", &format!("-w -t 600 -l {data}/output -o '{options}'"))
    }

    /// Where a client finds it.
    pub(crate) fn address(&self) -> String {
        format!("host={} user=bench dbname=postgres", self.data())
    }

    /// Rows a second of copying these NDJSON bodies, `batch_rows` rows a transaction, over [`CONNECTIONS`] connections.
    pub(crate) fn copy(&self, bodies: &[String], batch_rows: usize) -> Result<f64, Error> {
        self.ask(TABLE)?;
        let lines: Vec<&str> = bodies.iter().flat_map(|body| body.lines()).collect();
        let mut scripts = Vec::new();
        for (number, part) in lines.chunks(lines.len().div_ceil(CONNECTIONS)).enumerate() {
            let path = self.folder.join(format!("copy-{number}.sql"));
            std::fs::write(&path, script(part, batch_rows)?)?;
            scripts.push(path);
        }
        let start = Instant::now();
        let clients = scripts.iter().map(|path| self.psql().arg("-f").arg(path).spawn());
        for mut client in clients.collect::<Result<Vec<_>, _>>()? {
            let status = client.wait()?;
            if !status.success() {
                return Err(format!("psql: {status}").into());
            }
        }
        let seconds = start.elapsed().as_secs_f64();
        let stored: usize = self.ask("select count(*) from events")?.trim().parse()?;
        if stored != lines.len() {
            return Err(format!("{stored} rows of {} are there", lines.len()).into());
        }
        Ok(stored as f64 / seconds)
    }

    fn data(&self) -> String {
        self.folder.join("data").display().to_string()
    }

    fn control(&self, verb: &str, arguments: &str) -> Result<(), Error> {
        self.run("pg_ctl", &format!("{verb} -D {} -s {arguments}", self.data()))
    }

    /// One of its programs, as its user.
    fn run(&self, program: &str, arguments: &str) -> Result<(), Error> {
        let line = format!("{} {arguments}", self.programs.join(program).display());
        let mut command = Command::new(if self.user.is_some() { "runuser" } else { "sh" });
        if let Some(user) = self.user {
            command.args(["-u", user, "--", "sh"]);
        }
        command.args(["-c", &line]).current_dir(&self.folder).stdin(Stdio::null()).stdout(Stdio::null());
        let status = command.status()?;
        if status.success() { Ok(()) } else { Err(format!("{program}: {status}").into()) }
    }

    fn psql(&self) -> Command {
        let mut psql = Command::new(self.programs.join("psql"));
        psql.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-U", "bench", "-d", "postgres", "-h"]);
        psql.arg(self.data());
        psql
    }

    fn ask(&self, sql: &str) -> Result<String, Error> {
        let output = self.psql().args(["-c", sql]).stderr(Stdio::null()).output()?;
        if !output.status.success() {
            return Err(format!("psql: {}", output.status).into());
        }
        Ok(String::from_utf8(output.stdout)?)
    }
}

/// The newest installed version's programs.
fn programs() -> Result<PathBuf, Error> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").map_err(|_| "/usr/lib/postgresql is not there")?;
    let mut folders: Vec<PathBuf> = versions.filter_map(|entry| Some(entry.ok()?.path().join("bin"))).collect();
    folders.retain(|folder| folder.join("initdb").exists());
    folders.sort();
    folders.pop().ok_or_else(|| "there is no initdb below /usr/lib/postgresql".into())
}

/// Gives the folder to a user that is not root.
fn hand_over(folder: &Path) -> Result<&'static str, Error> {
    let users = std::fs::read_to_string("/etc/passwd")?;
    for user in ["postgres", "nobody"] {
        let Some(line) = users.lines().find(|line| line.split(':').next() == Some(user)) else { continue };
        let mut ids = line.split(':').skip(2).map(str::parse);
        if let (Some(Ok(user_id)), Some(Ok(group_id))) = (ids.next(), ids.next()) {
            chown(folder, Some(user_id), Some(group_id))?;
            return Ok(user);
        }
    }
    Err("there is no user but root".into())
}

/// A `COPY` of each batch, each a transaction.
fn script(lines: &[&str], batch_rows: usize) -> Result<String, Error> {
    let mut script = String::new();
    for batch in lines.chunks(batch_rows) {
        script.push_str("copy events from stdin with (format csv);\n");
        for line in batch {
            let event: Event<'_> = serde_json::from_str(line)?;
            let Event { event_id, session_id, category, name, timestamp, data } = event;
            let data = data.get().replace('"', "\"\"");
            writeln!(script, "{event_id},{session_id},{category},{name},{timestamp},\"{data}\"")?;
        }
        script.push_str("\\.\n");
    }
    Ok(script)
}
