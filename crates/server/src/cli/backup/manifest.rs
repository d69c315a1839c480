//! The manifest of a backup: written last, so that a backup without one was never finished.
//!
//! ```text
//! {"format":1,"offset":"4711","version":97,"made_at":"2026-11-28T18:00:00Z"}
//! {"path":"partitions","bytes":2,"sha256":"4355a4…"}      one line a file
//! {"files":214,"bytes":88124077,"sha256":"9f86d0…"}       the end: the hash of all lines before
//! ```

use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::cli::failure::{Failure, Result};

/// Its name in the folder of the backup.
pub(crate) const NAME: &str = "manifest";
/// The folder with the files beside it.
pub(crate) const FILES: &str = "data";
/// Raised when an older program could not restore the backup.
const FORMAT: u32 = 1;

/// See the module.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Manifest {
    pub(crate) head: Head,
    pub(crate) files: Vec<Entry>,
}

/// What the backup holds.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Head {
    format: u32,
    /// Everything up to here is in it.
    pub(crate) offset: String,
    /// The version of the events' table.
    pub(crate) version: u64,
    /// By the server's clock.
    pub(crate) made_at: String,
}

/// One file.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Entry {
    /// Inside the data folder, with slashes.
    pub(crate) path: String,
    pub(crate) bytes: u64,
    pub(crate) sha256: String,
}

#[derive(Serialize, Deserialize)]
struct End {
    files: usize,
    bytes: u64,
    sha256: String,
}

impl Head {
    pub(crate) fn new(offset: String, version: u64, made_at: String) -> Self {
        Self { format: FORMAT, offset, version, made_at }
    }
}

impl Manifest {
    /// Bytes of all files.
    pub(crate) fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }

    /// Writes it into the folder of the backup. Durable when this returns; until then there is none.
    pub(crate) fn write(&self, folder: &Path) -> Result<()> {
        let path = folder.join(NAME);
        let new = path.with_extension("new");
        let text = self.text().map_err(|error| Failure::usage(format!("{}: {error}", path.display())))?;
        let written = File::create(&new).and_then(|mut file| {
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            fs::rename(&new, &path)?;
            File::open(folder)?.sync_all()
        });
        written.map_err(|error| Failure::file(path.display(), &error))
    }

    /// Reads it and checks it against itself.
    pub(crate) fn read(folder: &Path) -> Result<Self> {
        let path = folder.join(NAME);
        let text = fs::read(&path).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => Failure::BadNews(format!(
                "{} is not there: this is no backup, or one that was never finished",
                path.display()
            )),
            _ => Failure::file(path.display(), &error),
        })?;
        Self::parse(&text).map_err(|why| Failure::BadNews(format!("{}: {why}", path.display())))
    }

    fn text(&self) -> serde_json::Result<String> {
        let mut text = serde_json::to_string(&self.head)? + "\n";
        for file in &self.files {
            text += &serde_json::to_string(file)?;
            text.push('\n');
        }
        let end = End { files: self.files.len(), bytes: self.bytes(), sha256: hash(text.as_bytes()) };
        Ok(text + &serde_json::to_string(&end)? + "\n")
    }

    fn parse(text: &[u8]) -> std::result::Result<Self, String> {
        let damaged = || "it is damaged, or cut off: use another backup".to_owned();
        let lines = text.strip_suffix(b"\n").ok_or_else(damaged)?;
        let last = lines.iter().rposition(|byte| *byte == b'\n').ok_or_else(damaged)? + 1;
        let end: End = serde_json::from_slice(&lines[last..]).map_err(|_| damaged())?;
        if hash(&text[..last]) != end.sha256 {
            return Err(damaged());
        }
        let mut lines = text[..last - 1].split(|byte| *byte == b'\n');
        let head = lines.next().and_then(|head| serde_json::from_slice::<Head>(head).ok()).ok_or_else(damaged)?;
        if head.format != FORMAT {
            return Err(format!(
                "its format {} is not known here: restore it with the version that made it",
                head.format
            ));
        }
        let files: Vec<Entry> =
            lines.map(serde_json::from_slice).collect::<std::result::Result<_, _>>().map_err(|_| damaged())?;
        if let Some(file) = files.iter().find(|file| !is_inside(&file.path)) {
            return Err(format!("{} is no path inside a data folder", file.path));
        }
        let manifest = Self { head, files };
        if (end.files, end.bytes) != (manifest.files.len(), manifest.bytes()) {
            return Err(damaged());
        }
        Ok(manifest)
    }
}

/// True for a path that leads nowhere but into the folder that it is joined to.
pub(crate) fn is_inside(path: &str) -> bool {
    let is_name = |name: &str| !name.is_empty() && !matches!(name, "." | "..");
    path.split('/').all(is_name) && !path.contains(['\0', '\\', '\n'])
}

fn hash(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// Bytes as hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_any_damage_is_seen() {
        let entry = |path: &str| Entry { path: path.to_owned(), bytes: 2, sha256: hash(path.as_bytes()) };
        let manifest = Manifest {
            head: Head::new("7,0".to_owned(), 3, "2026-11-28T18:00:00Z".to_owned()),
            files: vec![entry("partitions"), entry("log/0/1.log")],
        };
        let text = manifest.text().unwrap().into_bytes();
        assert_eq!(Manifest::parse(&text).unwrap(), manifest);
        for at in 0..text.len() {
            assert!(Manifest::parse(&text[..at]).is_err(), "cut at {at}");
            let mut turned = text.clone();
            turned[at] ^= 1;
            assert!(Manifest::parse(&turned).is_err(), "byte {at}");
        }
    }

    #[test]
    fn no_path_leads_out_of_the_folder() {
        assert!(is_inside("table/events/received_date=2026-11-23/0-1-2-f.parquet"));
        for path in ["", "/etc/passwd", "a//b", "../a", "a/../b", "a/.", "a\\b", "a/"] {
            assert!(!is_inside(path), "{path}");
        }
    }
}
