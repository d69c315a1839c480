//! Bringing the table to rest: all that is in memory flushed, all files merged that can be.

use std::fmt;
use std::time::Instant;

use serde::Deserialize;
use serde_json::json;

use crate::Error;
use crate::client::{Client, Request};
use crate::server::Server;

/// What it took.
pub(crate) struct Rest {
    pub(crate) seconds: f64,
    /// Files and bytes of the table of events, before and after.
    files: (f64, f64),
    bytes: (f64, f64),
    /// Rows that were written again.
    rows: u64,
}

/// What of an answer of `POST /v1/compact` matters here.
#[derive(Deserialize)]
struct Compacted {
    rows: u64,
    complete: bool,
}

/// Moves what is in memory into the table.
pub(crate) fn flush(server: &Server) -> Result<(), Error> {
    Client::new(server)?.ask(&Request::Post("/v1/flush", json!({})))?.json().map(drop)
}

/// Flushes, and merges until there is nothing left to merge.
pub(crate) fn bring(server: &Server) -> Result<Rest, Error> {
    flush(server)?;
    let look = || Ok::<_, Error>((server.metric("eye_table_files")?, server.metric("eye_table_bytes")?));
    let (before, start, mut rows) = (look()?, Instant::now(), 0);
    loop {
        let answer = Client::new(server)?.ask(&Request::Post("/v1/compact", json!({})))?.json()?;
        let done: Compacted = serde_json::from_value(answer)?;
        rows += done.rows;
        if done.complete {
            break;
        }
    }
    let (seconds, after) = (start.elapsed().as_secs_f64(), look()?);
    Ok(Rest { seconds, files: (before.0, after.0), bytes: (before.1, after.1), rows })
}

impl fmt::Display for Rest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seconds, files, bytes, rows } = self;
        let mib = |bytes: f64| bytes / 1_048_576.0;
        write!(
            f,
            "compaction: {} files became {} in {seconds:.0} s, {rows} rows written again, {:.0} MiB became {:.0} MiB",
            files.0,
            files.1,
            mib(bytes.0),
            mib(bytes.1)
        )
    }
}
