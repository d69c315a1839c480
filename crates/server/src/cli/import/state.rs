//! How far an import has come: `FILE.import.json`, for `--resume`.
//!
//! It names the last row up to which the server has answered for every row, the file by a fingerprint, and the server.
//! It may be behind after a crash, never ahead: rows that are sent again have the same ids.

use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::cli::failure::{Failure, Result};

/// Between two writes of the file.
const SAVE_PERIOD: Duration = Duration::from_secs(1);
/// Bytes at each end of the input that its fingerprint is made of.
const ENDS_BYTES: u64 = 1 << 20;

/// What the file holds.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct State {
    /// The input's size and the SHA-256 of its two ends.
    fingerprint: String,
    /// What the columns were taken for.
    settings: String,
    /// Where it was sent.
    server: String,
    /// Every row up to this one has its answer.
    pub(super) rows: u64,
    /// True if that was all.
    pub(super) complete: bool,
    #[serde(skip)]
    path: PathBuf,
    #[serde(skip)]
    saved_at: Option<Instant>,
}

impl State {
    /// What an earlier import has left, or a beginning.
    pub(super) fn load(input: &Path, server: &str, settings: &str) -> Result<Self> {
        let mut path = input.as_os_str().to_owned();
        path.push(".import.json");
        let path = PathBuf::from(path);
        let fingerprint = fingerprint(input).map_err(|error| Failure::file(input.display(), &error))?;
        let new = Self {
            fingerprint,
            settings: settings.to_owned(),
            server: server.to_owned(),
            rows: 0,
            complete: false,
            path: path.clone(),
            saved_at: None,
        };
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(new),
            Err(error) => return Err(Failure::file(path.display(), &error)),
        };
        let refuse = |why: &str| {
            Failure::usage(format!(
                "{}: {why}; remove it to import everything again, or leave --resume out",
                path.display()
            ))
        };
        let found: Self = serde_json::from_str(&text).map_err(|error| refuse(&format!("cannot be read ({error})")))?;
        if found.fingerprint != new.fingerprint {
            return Err(refuse("the input has changed since"));
        }
        if found.server != new.server {
            return Err(refuse(&format!("it is about the server at {}", found.server)));
        }
        if found.settings != new.settings {
            return Err(refuse("--map, --set or --application were others then"));
        }
        Ok(Self { rows: found.rows, complete: found.complete, ..new })
    }

    /// Everything up to this row has its answer; written down from time to time, after what must be durable first.
    pub(super) fn advance(&mut self, rows: u64, first: impl FnOnce() -> Result<()>) -> Result<()> {
        self.rows = self.rows.max(rows);
        if self.saved_at.is_some_and(|at| at.elapsed() < SAVE_PERIOD) {
            return Ok(());
        }
        self.saved_at = Some(Instant::now());
        first()?;
        self.save()
    }

    /// Writes it down: whole or not at all.
    pub(super) fn save(&self) -> Result<()> {
        let mut partial = self.path.as_os_str().to_owned();
        partial.push(".partial");
        let partial = PathBuf::from(partial);
        let write = || -> io::Result<()> {
            let mut file = File::create(&partial)?;
            serde_json::to_writer(&mut file, self)?;
            file.write_all(b"\n")?;
            file.sync_all()?;
            fs::rename(&partial, &self.path)
        };
        write().map_err(|error| Failure::file(self.path.display(), &error))
    }
}

fn fingerprint(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let bytes = file.metadata()?.len();
    let mut ends = Vec::new();
    (&mut file).take(ENDS_BYTES).read_to_end(&mut ends)?;
    file.seek(SeekFrom::Start(bytes.saturating_sub(ENDS_BYTES)))?;
    file.take(ENDS_BYTES).read_to_end(&mut ends)?;
    let hash: String = Sha256::digest(&ends).iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(format!("{bytes} bytes, {hash}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_said_to_be_done_before_its_refused_rows_are_durable() {
        let folder = tempfile::tempdir().unwrap();
        let input = folder.path().join("rows.ndjson");
        fs::write(&input, "{}\n").unwrap();
        let load = || State::load(&input, "http://localhost", "").unwrap();
        let failed = load().advance(3, || Err(Failure::usage("the disk is full")));
        assert!(failed.is_err());
        assert_eq!(load().rows, 0);
        load().advance(3, || Ok(())).unwrap();
        assert_eq!(load().rows, 3);
    }
}
