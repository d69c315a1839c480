//! The file of refused rows: `FILE.rejected.ndjson`, one object a line with the row's number, the reason and its text.
//!
//! What cannot be read again, standard input or a pipe, never replaces what an earlier import refused: its file has the
//! next name that is free, `stdin.rejected.2.ndjson` and so on.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use parking_lot::Mutex;
use serde::Deserialize;
use serde_json::json;

use super::rows::is_file;
use crate::cli::failure::{Failure, Result};
use crate::cli::is_stdin;
use crate::cli::sender::LineRejection;

/// Takes refused rows; the file is made with the first.
pub(super) struct Rejects {
    /// What its name begins with.
    base: OsString,
    /// True if the input can be read again.
    is_file: bool,
    file: Mutex<Option<(PathBuf, File)>>,
}

#[derive(Deserialize)]
struct Kept {
    row: u64,
}

impl Rejects {
    /// Beside the input; what an earlier import of a file wrote of rows up to `done` stays, anything else goes.
    pub(super) fn open(input: &Path, done: u64) -> Result<Self> {
        let is_file = is_file(input)?;
        let base = if is_stdin(Some(&input.to_owned())) { OsStr::new("stdin") } else { input.as_os_str() };
        let rejects = Self { base: base.to_owned(), is_file, file: Mutex::default() };
        if !is_file {
            return Ok(rejects);
        }
        let path = rejects.path(1);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(Failure::file(path.display(), &error)),
        };
        let kept: String = text.lines().filter(|line| is_done(line, done)).map(|line| format!("{line}\n")).collect();
        let written = match kept.is_empty() {
            true => fs::remove_file(&path).or_else(|error| match error.kind() {
                io::ErrorKind::NotFound => Ok(()),
                _ => Err(error),
            }),
            false if kept == text => Ok(()),
            false => replace(&path, &kept),
        };
        written.map_err(|error| Failure::file(path.display(), &error))?;
        Ok(rejects)
    }

    /// The file's name, if so many have been tried.
    fn path(&self, number: u64) -> PathBuf {
        let mut path = self.base.clone();
        match number {
            1 => path.push(".rejected.ndjson"),
            _ => path.push(format!(".rejected.{number}.ndjson")),
        }
        PathBuf::from(path)
    }

    fn make(&self) -> Result<(PathBuf, File)> {
        let mut number = 1;
        loop {
            let path = self.path(number);
            let mut options = OpenOptions::new();
            match options.append(true).create(true).create_new(!self.is_file).open(&path) {
                Ok(file) => return Ok((path, file)),
                Err(error) if !self.is_file && error.kind() == io::ErrorKind::AlreadyExists => number += 1,
                Err(error) => return Err(Failure::file(path.display(), &error)),
            }
        }
    }

    /// Writes one.
    pub(super) fn add(&self, rejection: &LineRejection, text: &[u8]) -> Result<()> {
        let LineRejection { line, code, field, message } = rejection;
        let text = String::from_utf8_lossy(text);
        let json = json!({"row": line, "code": code, "field": field, "message": message, "text": text});
        let mut file = self.file.lock();
        if file.is_none() {
            *file = Some(self.make()?);
        }
        let Some((path, file)) = &mut *file else { return Ok(()) };
        file.write_all(format!("{json}\n").as_bytes()).map_err(|error| Failure::file(path.display(), &error))
    }

    /// Makes durable what it has taken.
    pub(super) fn sync(&self) -> Result<()> {
        let made = self.file.lock();
        let Some((path, file)) = &*made else { return Ok(()) };
        file.sync_all().map_err(|error| Failure::file(path.display(), &error))
    }

    /// The file, durable, if there is one.
    pub(super) fn finish(&self) -> Result<Option<PathBuf>> {
        self.sync()?;
        let made = self.file.lock().as_ref().map(|(path, _)| path.clone());
        // An earlier import of the same file may have made it.
        Ok(made.or_else(|| Some(self.path(1)).filter(|path| self.is_file && path.exists())))
    }
}

/// Writes it anew, whole or not at all: the state says already that these rows are done.
fn replace(path: &Path, text: &str) -> io::Result<()> {
    let mut partial = path.as_os_str().to_owned();
    partial.push(".partial");
    let mut file = File::create(&partial)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&partial, path)
}

fn is_done(line: &str, done: u64) -> bool {
    serde_json::from_str(line).is_ok_and(|Kept { row }| row <= done)
}
