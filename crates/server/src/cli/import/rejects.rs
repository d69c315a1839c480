//! The file of refused rows: `FILE.rejected.ndjson`, one object a line with the row's number, the reason and its text.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use parking_lot::Mutex;
use serde::Deserialize;
use serde_json::json;

use crate::cli::failure::{Failure, Result};
use crate::cli::is_stdin;
use crate::cli::sender::LineRejection;

/// Takes refused rows; the file is made with the first.
pub(super) struct Rejects {
    path: PathBuf,
    file: Mutex<Option<File>>,
}

#[derive(Deserialize)]
struct Kept {
    row: u64,
}

impl Rejects {
    /// Beside the input; what an earlier import wrote of rows up to `done` stays, anything else goes.
    pub(super) fn open(input: &Path, done: u64) -> Result<Self> {
        let base = if is_stdin(Some(&input.to_owned())) { Path::new("stdin") } else { input };
        let mut path = base.as_os_str().to_owned();
        path.push(".rejected.ndjson");
        let path = PathBuf::from(path);
        let kept = match fs::read_to_string(&path) {
            Ok(text) => text.lines().filter(|line| is_done(line, done)).map(|line| format!("{line}\n")).collect(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(Failure::file(path.display(), &error)),
        };
        let written = match kept.is_empty() {
            true => fs::remove_file(&path).or_else(|error| match error.kind() {
                io::ErrorKind::NotFound => Ok(()),
                _ => Err(error),
            }),
            false => fs::write(&path, &kept),
        };
        written.map_err(|error| Failure::file(path.display(), &error))?;
        Ok(Self { path, file: Mutex::default() })
    }

    /// Writes one.
    pub(super) fn add(&self, rejection: &LineRejection, text: &[u8]) -> Result<()> {
        let LineRejection { line, code, field, message } = rejection;
        let text = String::from_utf8_lossy(text);
        let json = json!({"row": line, "code": code, "field": field, "message": message, "text": text});
        let mut file = self.file.lock();
        let mut write = || -> io::Result<()> {
            if file.is_none() {
                *file = Some(OpenOptions::new().create(true).append(true).open(&self.path)?);
            }
            file.as_mut().map_or(Ok(()), |file| file.write_all(format!("{json}\n").as_bytes()))
        };
        write().map_err(|error| Failure::file(self.path.display(), &error))
    }

    /// The file, durable, if there is one.
    pub(super) fn finish(&self) -> Result<Option<PathBuf>> {
        if let Some(file) = &*self.file.lock() {
            file.sync_all().map_err(|error| Failure::file(self.path.display(), &error))?;
        }
        Ok(self.path.exists().then(|| self.path.clone()))
    }
}

fn is_done(line: &str, done: u64) -> bool {
    serde_json::from_str(line).is_ok_and(|Kept { row }| row <= done)
}
