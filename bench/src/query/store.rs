//! What questions are asked about, kept between runs: The Eye's data folder, and each peer's own.

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::data::{self, Events, Sending};
use super::dialect::Dialect;
use crate::Error;
use crate::columns::Bytes;
use crate::load;
use crate::options::Options;
use crate::peers::engine::Engine;
use crate::peers::postgres::Postgres;
use crate::server::Server;

/// How many events unless asked otherwise.
pub(super) const EVENTS: usize = 20_000_000;
const BATCH_EVENTS: usize = 1_000;
const CONNECTIONS: usize = 4;
/// How long a server may be busy with itself after its start.
const SETTLE_SECONDS_MAX: u64 = 180;
/// No identities are needed after loading.
const FLAGS: [&str; 2] = ["--dedup-window", "1m"];

/// Where everything of this size and version lies.
pub(super) struct Place {
    folder: PathBuf,
    name: String,
    pub(super) events: usize,
    fresh: bool,
}

impl Place {
    pub(super) fn new(options: &Options) -> Result<Self, Error> {
        let events = options.events.unwrap_or(EVENTS);
        let name = format!("bench-query-{events}-v{}", data::VERSION);
        let folder = options.folder.join(&name);
        std::fs::create_dir_all(&folder)?;
        Ok(Self { folder: folder.canonicalize()?, name, events, fresh: options.fresh })
    }

    /// True if it is made whole. If not, or if it is to be made anew, it is away now.
    fn is_ready(&self, name: &str) -> Result<bool, Error> {
        let (folder, done) = (self.folder.join(name), self.done(name));
        if done.exists() && !self.fresh {
            return Ok(true);
        }
        for path in [&done, &folder] {
            match path.is_dir() {
                true => std::fs::remove_dir_all(path)?,
                false if path.exists() => std::fs::remove_file(path)?,
                false => {}
            }
        }
        Ok(false)
    }

    fn done(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.done"))
    }

    pub(super) fn table(&self) -> PathBuf {
        self.folder.join("eye").join("table").join("events")
    }

    /// The product with all events in its table, sent to it if need be.
    pub(super) fn product(&self) -> Result<Server, Error> {
        let data = self.folder.join("eye");
        if !self.is_ready("eye")? {
            std::fs::create_dir_all(&data)?;
            let server = Server::open(&data, &FLAGS)?;
            let start = Instant::now();
            let events = Mutex::new(Events::new(self.events));
            let sending = Sending { token: server.token.clone(), events, batch_events: BATCH_EVENTS };
            load::run(server.address, sending, CONNECTIONS, Duration::from_secs(7_200))?;
            println!("sent {} events in {:.0} s", self.events, start.elapsed().as_secs_f64());
            server.stop()?;
            let rows = Bytes::of_table(&self.table())?.rows;
            if rows != self.events as u64 {
                return Err(format!("the table has {rows} events of {}", self.events).into());
            }
            std::fs::write(self.done("eye"), [])?;
        }
        let server = Server::open(&data, &FLAGS)?;
        settle(&server);
        Ok(server)
    }

    /// A peer with the same rows, out of The Eye's own Parquet files if need be.
    pub(super) fn peer(&self, dialect: Dialect) -> Result<Peer, Error> {
        let (name, tables) = match dialect {
            Dialect::DuckDb => ("duckdb", &["events"][..]),
            Dialect::ClickHouse => ("clickhouse", &["by_session", "by_time"][..]),
            Dialect::Postgres => ("postgres", &["events"][..]),
        };
        let is_ready = self.is_ready(name)?;
        let (cluster, place) = match dialect {
            Dialect::Postgres => {
                let cluster = Postgres::open(&self.folder, &format!("eye-{}", self.name), !is_ready)?;
                let address = cluster.address();
                (Some(cluster), address)
            }
            _ => (None, self.folder.join(name).display().to_string()),
        };
        let mut engine = Engine::start(name, &place)?;
        if !is_ready {
            let start = Instant::now();
            let rows = engine.load(&self.table())?;
            if rows != self.events as u64 {
                return Err(format!("{name} has {rows} rows of {}", self.events).into());
            }
            println!("loaded {rows} rows into {name} in {:.0} s", start.elapsed().as_secs_f64());
            std::fs::write(self.done(name), [])?;
        }
        let version = engine.version()?;
        Ok(Peer { dialect, tables, version, engine, _cluster: cluster })
    }

    /// Bytes of all rows in The Eye's table.
    pub(super) fn table_bytes(&self) -> Result<u64, Error> {
        Ok(Bytes::of_table(Path::new(&self.table()))?.files)
    }
}

/// Waits until the server does nothing by itself any more: after a start it reads back the identities of the last rows.
fn settle(server: &Server) {
    let mut before = server.cpu_seconds();
    for _ in 0..SETTLE_SECONDS_MAX {
        std::thread::sleep(Duration::from_secs(1));
        let now = server.cpu_seconds();
        if now - before < 0.02 {
            return;
        }
        before = now;
    }
    println!("the server is still busy with itself {SETTLE_SECONDS_MAX} seconds after its start");
}

/// A peer that is ready to be asked.
pub(super) struct Peer {
    pub(super) dialect: Dialect,
    /// The same rows in several orders: the better one counts.
    pub(super) tables: &'static [&'static str],
    pub(super) version: String,
    // Ends before its cluster does.
    pub(super) engine: Engine,
    _cluster: Option<Postgres>,
}
