//! What the benchmarks of ingest, footprint and questions can be told.

use std::path::PathBuf;

use crate::Error;

const USAGE: &str = "use --seconds N, --runs N, --folder DIR, --peers, --only PART; of ingest: --connections N; of footprint: --minutes N, --events N, --log-mib N; of beside: --events N, --rate N; of scale: --millions N,…; of query: --events N, --no-compaction, --fresh";

/// The options, with defaults for a short run.
pub(crate) struct Options {
    /// How long one measurement of a closed loop takes.
    pub(crate) seconds: u64,
    /// How often everything is measured.
    pub(crate) runs: u64,
    /// Where data folders are made.
    pub(crate) folder: PathBuf,
    /// Whether the peers are measured too.
    pub(crate) peers: bool,
    /// The only parts that are measured, between commas.
    pub(crate) only: Option<String>,
    /// Connections that send batches.
    pub(crate) connections: usize,
    /// How long memory is watched at the top rate.
    pub(crate) minutes: f64,
    /// How many events are stored: when start-up is measured, or for the questions.
    pub(crate) events: Option<usize>,
    /// Requests a second, where half the top rate would be measured first.
    pub(crate) rate: Option<f64>,
    /// Sizes of the store, in millions of events.
    pub(crate) millions: Option<Vec<f64>>,
    /// Whether questions are asked of a table at rest; if not, of the files as flushes have left them.
    pub(crate) compaction: bool,
    /// Whether kept data is made anew.
    pub(crate) fresh: bool,
    /// How much log there is at the crash.
    pub(crate) log_mib: u64,
}

impl Options {
    /// Reads them.
    pub(crate) fn parse(arguments: &[&str]) -> Result<Self, Error> {
        let mut options = Self {
            seconds: 5,
            runs: 5,
            folder: default_folder()?,
            peers: false,
            only: None,
            connections: 8,
            minutes: 0.5,
            events: None,
            rate: None,
            millions: None,
            compaction: true,
            fresh: false,
            log_mib: 1_024,
        };
        let mut arguments = arguments.iter();
        while let Some(name) = arguments.next() {
            match *name {
                "--peers" => options.peers = true,
                "--fresh" => options.fresh = true,
                "--no-compaction" => options.compaction = false,
                _ => {}
            }
            if matches!(*name, "--peers" | "--fresh" | "--no-compaction") {
                continue;
            }
            let value = arguments.next().ok_or_else(|| format!("{name} needs a value, or is unknown: {USAGE}"))?;
            match *name {
                "--seconds" => options.seconds = value.parse()?,
                "--runs" => options.runs = value.parse()?,
                "--folder" => options.folder = PathBuf::from(value),
                "--only" => options.only = Some((*value).to_owned()),
                "--connections" => options.connections = value.parse()?,
                "--minutes" => options.minutes = value.parse()?,
                "--events" => options.events = Some(value.parse()?),
                "--rate" => options.rate = Some(value.parse()?),
                "--millions" => options.millions = Some(value.split(',').map(str::parse).collect::<Result<_, _>>()?),
                "--log-mib" => options.log_mib = value.parse()?,
                _ => return Err(format!("unknown option {name}: {USAGE}").into()),
            }
        }
        Ok(options)
    }

    /// True if this part is to be measured.
    pub(crate) fn wants(&self, part: &str) -> bool {
        self.only.as_deref().is_none_or(|only| only.split(',').any(|only| only == part))
    }
}

/// Beside this program: on the disk that is built on.
pub(crate) fn default_folder() -> Result<PathBuf, Error> {
    let program = std::env::current_exe()?;
    Ok(program.parent().ok_or("this program lies in no folder")?.to_owned())
}
