//! The seed's design: Django REST framework and SQLite under gunicorn. Its code is in `bench/peers/seed/`.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::{Error, server};

/// The quickest of 2 to 4 workers, with and without threads, on two cores.
const GUNICORN: [&str; 9] =
    ["--no-control-socket", "--workers", "2", "--worker-class", "gthread", "--threads", "4", "--keep-alive", "60"];
const START_MAX: Duration = Duration::from_secs(60);

/// The running service on an empty database; ends with the value.
pub(crate) struct Seed {
    process: Child,
    pub(crate) address: SocketAddr,
    pub(crate) token: String,
    _folder: TempDir,
}

impl Drop for Seed {
    fn drop(&mut self) {
        // Its workers end with it, if it is asked; it may have ended by itself.
        let _ = server::terminate(&self.process);
        let _ = self.process.wait();
    }
}

impl Seed {
    /// Makes the database and starts the service.
    pub(crate) fn start(folder: &Path) -> Result<Self, Error> {
        let folder = server::data_folder(folder)?;
        let database = folder.path().canonicalize()?.join("seed.sqlite3");
        let python = |module: &str| -> Result<Command, Error> {
            let mut python = Command::new(super::python()?);
            python.current_dir(super::folder()).env("SEED_DATABASE", &database).args(["-B", "-m", module]);
            Ok(python)
        };
        let prepared = python("seed.prepare")?.stderr(Stdio::inherit()).output()?;
        if !prepared.status.success() {
            return Err(format!("seed.prepare: {}", prepared.status).into());
        }
        let token = String::from_utf8(prepared.stdout)?.trim().to_owned();
        let log = folder.path().canonicalize()?.join("gunicorn.log");
        let mut gunicorn = python("gunicorn")?;
        gunicorn.args(["--bind", "127.0.0.1:0", "--error-logfile"]).arg(&log).args(GUNICORN).arg("seed.wsgi");
        let process = gunicorn.stdout(Stdio::null()).spawn()?;
        let address = ([127, 0, 0, 1], 0).into();
        let mut seed = Self { process, address, token, _folder: folder };
        let start = Instant::now();
        loop {
            let text = std::fs::read_to_string(&log).unwrap_or_default();
            if let Some(address) = listening(&text) {
                seed.address = address;
                return Ok(seed);
            }
            if start.elapsed() > START_MAX || seed.process.try_wait()?.is_some() {
                return Err(format!("gunicorn did not start: {text}").into());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// The address in gunicorn's log: `… Listening at: http://127.0.0.1:33333 (1234)`.
fn listening(log: &str) -> Option<SocketAddr> {
    let (_, rest) = log.split_once("Listening at: http://")?;
    rest.split_whitespace().next()?.parse().ok()
}
