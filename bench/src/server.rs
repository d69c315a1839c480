//! Starting what is measured: the product on an empty data folder, or the floor.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::Error;

/// A server process; ends with the value.
pub(crate) struct Server {
    process: Child,
    pub(crate) address: SocketAddr,
    pub(crate) token: String,
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
        let mut process = Command::new(std::env::current_exe()?).arg("floor-server").stdout(Stdio::piped()).spawn()?;
        let mut line = String::new();
        BufReader::new(process.stdout.take().ok_or("no output")?).read_line(&mut line)?;
        Ok(Self { process, address: line.trim().parse()?, token: "none".to_owned(), _data: None })
    }

    /// The product, beside this program, on an empty data folder under `folder`.
    pub(crate) fn product(folder: &Path) -> Result<Self, Error> {
        let data = tempfile::Builder::new().prefix("eye-bench-").tempdir_in(folder)?;
        let process = Command::new(product_path()?)
            .args(["serve", "--listen", "127.0.0.1:0", "--data"])
            .arg(data.path())
            .stdout(Stdio::null())
            .stderr(Stdio::inherit())
            .spawn()?;
        let mut server = Self { process, address: ([127, 0, 0, 1], 0).into(), token: String::new(), _data: None };
        let start = Instant::now();
        while server.token.is_empty() {
            if start.elapsed() > Duration::from_secs(30) {
                return Err("the server did not start within 30 seconds".into());
            }
            std::thread::sleep(Duration::from_millis(20));
            let read = |name: &str| std::fs::read_to_string(data.path().join(name)).unwrap_or_default();
            let (address, token) = (read("address"), read("cli-token"));
            if let Some(Ok(address)) = address.trim().strip_prefix("http://").map(str::parse) {
                server.address = address;
                server.token = token.trim().to_owned();
            }
        }
        server._data = Some(data);
        Ok(server)
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
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or_default();
        line.trim().trim_end_matches(" kB").trim().parse::<f64>().unwrap_or_default() / 1024.0
    }
}

fn product_path() -> Result<PathBuf, Error> {
    let path = std::env::current_exe()?.with_file_name("eye");
    if path.exists() { Ok(path) } else { Err("build the product first: cargo xtask bench ingest does".into()) }
}
