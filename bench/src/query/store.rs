//! What questions are asked about, kept between runs: The Eye's data folder as it was loaded, the same at rest, and each
//! peer's own.

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant, SystemTime};

use super::data::{self, Events, Sending};
use super::dialect::Dialect;
use crate::Error;
use crate::load;
use crate::options::Options;
use crate::peers::engine::Engine;
use crate::peers::postgres::Postgres;
use crate::rest;
use crate::server::{self, Server};

const BATCH_EVENTS: usize = 1_000;
const CONNECTIONS: usize = 4;
/// Where all events lie in the files of the flushes; the same after compaction.
const LOADED: &str = "eye";
const AT_REST: &str = "eye-at-rest";
/// Nothing happens by itself: no identities are needed after loading, files are merged when it is asked for, and nobody
/// asks for suggestions.
const FLAGS: [&str; 6] = ["--dedup-window", "1m", "--compaction-period", "0s", "--catalogue-rows-max", "0"];
/// Of the log, which would be copied with the rest, and of replaced files as little as may be is kept.
const KEEP_LITTLE: [&str; 4] = ["--log-keep-commits", "1", "--vacuum-retention", "0s"];

/// Where everything of this size and version lies.
pub(crate) struct Place {
    folder: PathBuf,
    name: String,
    pub(crate) events: usize,
    fresh: bool,
}

impl Place {
    pub(crate) fn new(options: &Options, events: usize) -> Result<Self, Error> {
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

    /// The product with all events in its table, sent to it if need be; at rest, or as flushes have left it.
    pub(super) fn product(&self, at_rest: bool) -> Result<Server, Error> {
        self.load()?;
        let name = if at_rest { AT_REST } else { LOADED };
        if at_rest {
            self.bring_to_rest()?;
        }
        self.tell(name)?;
        let server = Server::open(&self.folder.join(name), &FLAGS)?;
        server.settle();
        Ok(server)
    }

    /// A copy of a data folder at rest with all events, for a server that changes it.
    pub(crate) fn copy_at_rest(&self, to: &Path) -> Result<(), Error> {
        self.load()?;
        self.bring_to_rest()?;
        self.tell(AT_REST)?;
        copy(&self.folder.join(AT_REST), to)
    }

    /// Sends all events, unless it has been done.
    fn load(&self) -> Result<(), Error> {
        if self.is_ready(LOADED)? {
            return Ok(());
        }
        let data = self.folder.join(LOADED);
        std::fs::create_dir_all(&data)?;
        let server = Server::open(&data, &[&FLAGS[..], &KEEP_LITTLE].concat())?;
        let start = Instant::now();
        let events = Mutex::new(Events::new(self.events));
        let sending = Sending { token: server.token.clone(), events, batch_events: BATCH_EVENTS };
        load::run(server.address, sending, CONNECTIONS, Duration::from_secs(7_200))?;
        let seconds = start.elapsed().as_secs_f64();
        rest::flush(&server)?;
        let (rows, files) = (server.metric("eye_table_rows")?, server.metric("eye_table_files")?);
        server.stop()?;
        if rows != self.events as f64 {
            return Err(format!("the table has {rows} events of {}", self.events).into());
        }
        let done = format!("sent {} events in {seconds:.0} s, {files} files", self.events);
        Ok(std::fs::write(self.done(LOADED), done)?)
    }

    /// Merges what there is to merge in a copy of what was loaded, unless it has been done since.
    fn bring_to_rest(&self) -> Result<(), Error> {
        let written = |name| std::fs::metadata(self.done(name)).and_then(|done| done.modified());
        if written(AT_REST).is_ok_and(|at| written(LOADED).is_ok_and(|loaded| loaded > at)) {
            std::fs::remove_file(self.done(AT_REST))?;
        }
        if self.is_ready(AT_REST)? {
            return Ok(());
        }
        let data = self.folder.join(AT_REST);
        copy(&self.folder.join(LOADED), &data)?;
        let server = Server::open(&data, &[&FLAGS[..], &KEEP_LITTLE].concat())?;
        let done = rest::bring(&server)?.to_string();
        server.stop()?;
        Ok(std::fs::write(self.done(AT_REST), done)?)
    }

    /// Prints how the kept data came to be, and whether another build wrote it.
    fn tell(&self, name: &str) -> Result<(), Error> {
        let names = [LOADED, name];
        for name in if name == LOADED { &names[..1] } else { &names[..] } {
            println!("{}", std::fs::read_to_string(self.done(name))?);
        }
        let built: SystemTime = std::fs::metadata(server::product_path()?)?.modified()?;
        if std::fs::metadata(self.done(LOADED))?.modified()? < built {
            println!("the files were written by an older build than the one that is asked; --fresh writes them anew");
        }
        Ok(())
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
            let rows = engine.load(&self.folder.join(LOADED).join("table").join("events"))?;
            if rows != self.events as u64 {
                return Err(format!("{name} has {rows} rows of {}", self.events).into());
            }
            println!("loaded {rows} rows into {name} in {:.0} s", start.elapsed().as_secs_f64());
            std::fs::write(self.done(name), [])?;
        }
        let version = engine.version()?;
        Ok(Peer { dialect, tables, version, engine, _cluster: cluster })
    }
}

/// A folder and all that lies in it.
fn copy(from: &Path, to: &Path) -> Result<(), Error> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let to = to.join(entry.file_name());
        match entry.file_type()?.is_dir() {
            true => copy(&entry.path(), &to)?,
            false => drop(std::fs::copy(entry.path(), to)?),
        }
    }
    Ok(())
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
