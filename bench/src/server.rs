//! Starting what is measured: the product, or the floor.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::Error;

/// A server must be ready within this, replay of a long log included.
const START_MAX: Duration = Duration::from_secs(180);
/// How long a server may be busy with itself after its start.
const SETTLE_SECONDS_MAX: u64 = 180;
/// How often a starting server is looked at: what start-up times are exact to.
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// A server process; ends with the value.
pub(crate) struct Server {
    process: Child,
    pub(crate) address: SocketAddr,
    pub(crate) token: String,
    /// From starting the process to its first 200 from `/readyz`.
    pub(crate) start: Duration,
    _data: Option<tempfile::TempDir>,
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Server {
    /// The floor server: this program again.
    pub(crate) fn floor() -> Result<Self, Error> {
        let begun = Instant::now();
        let mut process = Command::new(std::env::current_exe()?).arg("floor-server").stdout(Stdio::piped()).spawn()?;
        let mut line = String::new();
        BufReader::new(process.stdout.take().ok_or("no output")?).read_line(&mut line)?;
        let address = line.trim().parse()?;
        Ok(Self { process, address, token: "none".to_owned(), start: begun.elapsed(), _data: None })
    }

    /// The product, beside this program, on an empty data folder under `folder`.
    pub(crate) fn product(folder: &Path) -> Result<Self, Error> {
        Self::product_with(folder, &[])
    }

    /// The product with flags, on an empty data folder under `folder` that goes with the value.
    pub(crate) fn product_with(folder: &Path, flags: &[&str]) -> Result<Self, Error> {
        let data = data_folder(folder)?;
        let mut server = Self::open(data.path(), flags)?;
        server._data = Some(data);
        Ok(server)
    }

    /// The product with flags, on this data folder, which stays.
    pub(crate) fn open(data: &Path, flags: &[&str]) -> Result<Self, Error> {
        let (address_path, token_path) = (data.join("address"), data.join("cli-token"));
        if address_path.exists() {
            // Left by a server that was killed.
            std::fs::remove_file(&address_path)?;
        }
        let begun = Instant::now();
        let process = Command::new(product_path()?)
            .args(["serve", "--log-level", "warn", "--listen", "127.0.0.1:0", "--data"])
            .arg(data)
            .args(flags)
            .stdout(Stdio::null())
            .stderr(Stdio::inherit())
            .spawn()?;
        let address = ([127, 0, 0, 1], 0).into();
        let mut server = Self { process, address, token: String::new(), start: Duration::ZERO, _data: None };
        let read = |path: &Path| std::fs::read_to_string(path).unwrap_or_default();
        loop {
            if let Some(Ok(address)) = read(&address_path).trim().strip_prefix("http://").map(str::parse) {
                server.address = address;
                if server.get("/readyz").is_ok() {
                    break;
                }
            }
            if let Some(status) = server.process.try_wait()? {
                return Err(format!("the server ended while starting: {status}").into());
            }
            if begun.elapsed() > START_MAX {
                return Err(format!("the server did not start within {} seconds", START_MAX.as_secs()).into());
            }
            std::thread::sleep(LOOK_EVERY);
        }
        server.start = begun.elapsed();
        server.token = read(&token_path).trim().to_owned();
        Ok(server)
    }

    /// Waits until it does nothing by itself any more: after a start it reads back the identities of the last rows.
    pub(crate) fn settle(&self) {
        let mut before = self.cpu_seconds();
        for _ in 0..SETTLE_SECONDS_MAX {
            std::thread::sleep(Duration::from_secs(1));
            let now = self.cpu_seconds();
            if now - before < 0.02 {
                return;
            }
            before = now;
        }
        println!("the server is still busy with itself {SETTLE_SECONDS_MAX} seconds after its start");
    }

    /// Asks it to stop, as an operator would, and waits until it has.
    pub(crate) fn stop(mut self) -> Result<(), Error> {
        terminate(&self.process)?;
        let status = self.process.wait()?;
        if status.success() { Ok(()) } else { Err(format!("the server did not stop cleanly: {status}").into()) }
    }

    /// The body of a GET; an error if the status is not 200.
    pub(crate) fn get(&self, path: &str) -> Result<String, Error> {
        let mut stream = TcpStream::connect(self.address)?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let (head, body) = answer.split_once("\r\n\r\n").ok_or("half an answer")?;
        if !head.starts_with("HTTP/1.1 200") {
            return Err(format!("{path}: {}", head.lines().next().unwrap_or_default()).into());
        }
        Ok(body.to_owned())
    }

    /// A figure of `/metrics`.
    pub(crate) fn metric(&self, name: &str) -> Result<f64, Error> {
        let text = self.get("/metrics")?;
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
        value.ok_or_else(|| format!("there is no metric {name}").into())
    }

    /// CPU seconds (user and system) the process has used.
    pub(crate) fn cpu_seconds(&self) -> f64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.process.id())).unwrap_or_default();
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let ticks = |index: usize| fields.get(index).and_then(|field| field.parse::<f64>().ok()).unwrap_or_default();
        (ticks(11) + ticks(12)) / 100.0
    }

    /// Resident memory at its highest, in MiB.
    pub(crate) fn peak_mib(&self) -> f64 {
        resident_mib(self.process.id(), "VmHWM:")
    }

    /// Resident memory now, in MiB.
    pub(crate) fn resident_mib(&self) -> f64 {
        resident_mib(self.process.id(), "VmRSS:")
    }

    pub(crate) fn process_id(&self) -> u32 {
        self.process.id()
    }
}

/// An empty folder under `folder`, removed with the value.
pub(crate) fn data_folder(folder: &Path) -> Result<tempfile::TempDir, Error> {
    Ok(tempfile::Builder::new().prefix("eye-bench-").tempdir_in(folder)?)
}

/// A figure of a process's memory, in MiB.
pub(crate) fn resident_mib(process: u32, field: &str) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap_or_default();
    line.trim().trim_end_matches(" kB").trim().parse::<f64>().unwrap_or_default() / 1024.0
}

/// Asks a process that this one started to stop.
pub(crate) fn terminate(process: &Child) -> Result<(), Error> {
    let asked = Command::new("sh").arg("-c").arg(format!("kill -TERM {}", process.id())).status()?;
    if asked.success() { Ok(()) } else { Err("the process is not there any more".into()) }
}

/// The product, beside this program.
pub(crate) fn product_path() -> Result<PathBuf, Error> {
    let path = std::env::current_exe()?.with_file_name("eye");
    if path.exists() { Ok(path) } else { Err("build the product first: cargo xtask bench ingest does".into()) }
}
