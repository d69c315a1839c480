//! `eye restore`: a data folder out of a backup.
//!
//! Everything is put into `restoring` inside the new folder, hashed on the way and made durable, and only then moved to its
//! place. While `restoring` is there no server starts on the folder.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use super::Context;
use super::backup::manifest::{Entry, FILES, Manifest, hex};
use super::backup::{copy, make_empty, say, sync_folders};
use super::failure::{Failure, Result};
use crate::config::Settings;
use crate::serve;

pub(crate) const EXAMPLES: &str = "\
Works without a server. The new folder must be empty or not there; the table lies in it afterwards, wherever it was before.
What was erased after the backup is there again: erase it once more.

Examples:
  eye restore /mnt/backups/2026-11-28 /var/lib/eye
  eye restore /mnt/backups/2026-11-28 --check
  eye verify --data /var/lib/eye";

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The backup: a folder that `eye backup` has made
    #[arg(value_name = "BACKUP")]
    backup: PathBuf,
    /// The data folder to make: empty, or not there yet
    #[arg(value_name = "FOLDER", required_unless_present = "check")]
    folder: Option<PathBuf>,
    /// Only read the backup and compare it with its manifest
    #[arg(long, conflicts_with = "folder")]
    check: bool,
}

pub(crate) fn run(context: &Context<'_>, args: &Args) -> Result<()> {
    let manifest = Manifest::read(&args.backup)?;
    let files = args.backup.join(FILES);
    let Some(folder) = &args.folder else {
        for file in &manifest.files {
            read(&files, file, None)?;
        }
        return say(context, &args.backup, &manifest, "are as they were written");
    };
    make_empty(folder)?;
    let settings = Settings { data: folder.clone(), ..context.settings.clone() };
    let _lock = serve::lock(&settings).map_err(Failure::Unreachable)?;
    let staging = settings.restoring_path();
    let failed = |error: io::Error| Failure::file(folder.display(), &error);
    fs::create_dir(&staging).and_then(|()| File::open(folder)?.sync_all()).map_err(failed)?;
    for file in &manifest.files {
        read(&files, file, Some(&staging))?;
    }
    sync_folders(&staging).and_then(|()| put_in_place(&staging, folder)).map_err(failed)?;
    say(context, folder, &manifest, "restored")
}

/// Reads a file of the backup to its end, and writes it below `into`. Durable then, its name not yet.
fn read(files: &Path, Entry { path: name, bytes, sha256 }: &Entry, into: Option<&Path>) -> Result<()> {
    let path = files.join(name);
    let bad = |why: &str| Failure::BadNews(format!("{} {why}: use another backup", path.display()));
    let mut from = File::open(&path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => bad("is missing"),
        _ => Failure::file(path.display(), &error),
    })?;
    let length = from.metadata().map_err(|error| Failure::file(path.display(), &error))?.len();
    if length != *bytes {
        return Err(bad(&format!("has {length} bytes instead of {bytes}")));
    }
    let target = into.map_or_else(|| PathBuf::from("/dev/null"), |into| into.join(name));
    let failed = |error: io::Error| Failure::file(target.display(), &error);
    let mut to = match into {
        None => File::options().write(true).open(&target).map_err(failed)?,
        Some(into) => {
            fs::create_dir_all(target.parent().unwrap_or(into)).map_err(failed)?;
            File::options().write(true).create_new(true).mode(0o600).open(&target).map_err(failed)?
        }
    };
    let mut hasher = Sha256::new();
    copy(&mut from, &mut to, &mut hasher, *bytes).map_err(failed)?;
    if hex(&hasher.finalize()) != *sha256 {
        return Err(bad("is not what was backed up"));
    }
    match into {
        None => Ok(()),
        Some(_) => to.sync_all().map_err(failed),
    }
}

/// Moves what was staged to where it belongs. Durable then.
fn put_in_place(staging: &Path, folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(staging)? {
        let entry = entry?;
        fs::rename(entry.path(), folder.join(entry.file_name()))?;
    }
    File::open(folder)?.sync_all()?;
    fs::remove_dir(staging)?;
    File::open(folder)?.sync_all()
}
