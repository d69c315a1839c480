//! `eye backup`: a folder with a copy of everything, made while the server runs.
//!
//! The files come from the server as one stream, each with its hash. They are made durable one by one, the logs among them
//! are read again and checked, and the manifest is written last.

pub(crate) mod manifest;

use std::fs::{self, DirBuilder, File};
use std::io::{self, BufRead, Read, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use eye_log::disk::OsDisk;
use eye_log::local;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use super::Context;
use super::failure::{Failure, Result};
use super::text::{counted, safe, thousands};
use manifest::{Entry, FILES, Head, Manifest, hex, is_inside};

pub(crate) const EXAMPLES: &str = "\
Everything that was acknowledged before is in it. It holds what the data folder holds, hashes of tokens and passwords among
it: keep it as safe. Without its last file, the manifest, it is no backup.

Examples:
  eye backup /mnt/backups/2026-11-28
  eye restore /mnt/backups/2026-11-28 /var/lib/eye
  eye restore /mnt/backups/2026-11-28 --check";

/// A line of the stream is short.
const LINE_BYTES_MAX: u64 = 64 << 10;
const COPY_BYTES: usize = 256 << 10;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Where the backup is made: a folder that is empty, or not there yet
    #[arg(value_name = "FOLDER")]
    folder: PathBuf,
}

/// A line of the stream.
#[derive(Deserialize)]
#[serde(untagged)]
enum Line {
    File { file: String, bytes: u64 },
    Chunk { chunk: u64 },
    Hash { sha256: String },
    End { files: usize, offset: String, version: u64, made_at: String },
    Error { error: String },
}

pub(crate) fn run(context: &Context<'_>, args: &Args) -> Result<()> {
    let client = context.client()?;
    make_empty(&args.folder)?;
    let stream = client.stream("/v1/backup").map_err(|trouble| client.failure(trouble))?;
    let manifest = receive(stream, &args.folder)?;
    check_logs(&args.folder.join(FILES))?;
    sync_folders(&args.folder).map_err(|error| Failure::file(args.folder.display(), &error))?;
    manifest.write(&args.folder)?;
    say(context, &args.folder, &manifest, "backed up")
}

/// Says what is in a backup.
pub(crate) fn say(context: &Context<'_>, folder: &Path, manifest: &Manifest, what: &str) -> Result<()> {
    let Manifest { head, files } = manifest;
    let json = serde_json::json!({
        "folder": folder, "files": files.len(), "bytes": manifest.bytes(), "offset": head.offset, "version": head.version,
        "made_at": head.made_at,
    });
    context.output.answer(&json.to_string(), || {
        Ok(format!(
            "{}: {} with {} bytes {what}, as of {}; version {}, offset {}",
            safe(&folder.display().to_string()),
            counted(files.len() as u64, "file"),
            thousands(manifest.bytes()),
            safe(&head.made_at),
            head.version,
            safe(&head.offset)
        ))
    })
}

/// Makes the folder, for its owner only. One that is there must be empty.
pub(crate) fn make_empty(folder: &Path) -> Result<()> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(folder).and_then(|()| fs::read_dir(folder));
    for entry in made.map_err(|error| Failure::file(folder.display(), &error))? {
        let name = entry.map_err(|error| Failure::file(folder.display(), &error))?.file_name();
        // A file system of its own may have this one.
        if name != "lost+found" {
            let detail = "is not empty: name another folder, or one that is not there yet";
            return Err(Failure::usage(format!("{} {detail}", folder.display())));
        }
    }
    Ok(())
}

/// Takes the stream in; every file is durable then, its name not yet.
fn receive(mut stream: impl BufRead, folder: &Path) -> Result<Manifest> {
    let mut files = Vec::new();
    loop {
        match line(&mut stream)? {
            Line::File { file, bytes } if is_inside(&file) => {
                files.push(receive_file(&mut stream, &folder.join(FILES), file, bytes)?);
            }
            Line::End { files: count, offset, version, made_at } if count == files.len() => {
                return Ok(Manifest { head: Head::new(offset, version, made_at), files });
            }
            Line::Error { error } => return Err(Failure::Unreachable(format!("the backup broke off: {error}"))),
            _ => return Err(strange()),
        }
    }
}

fn receive_file(stream: &mut impl BufRead, folder: &Path, name: String, bytes: u64) -> Result<Entry> {
    let path = folder.join(&name);
    let failed = |error: io::Error| Failure::file(path.display(), &error);
    fs::create_dir_all(path.parent().unwrap_or(folder)).map_err(failed)?;
    // It may hold hashes of tokens and passwords, and the folder may be everybody's.
    let mut file = File::options().write(true).create_new(true).mode(0o600).open(&path).map_err(failed)?;
    let (mut hasher, mut written) = (Sha256::new(), 0);
    let hash = loop {
        match line(stream)? {
            Line::Chunk { chunk } => {
                written += chunk;
                let mut part = stream.by_ref().take(chunk);
                copy(&mut part, &mut file, &mut hasher, chunk).map_err(failed)?;
            }
            Line::Hash { sha256 } => break sha256,
            Line::Error { error } => return Err(Failure::Unreachable(format!("the backup broke off: {error}"))),
            Line::File { .. } | Line::End { .. } => return Err(strange()),
        }
    };
    if written != bytes || hex(&hasher.finalize()) != hash {
        return Err(Failure::Unreachable(format!("{name} did not arrive as it was sent: make the backup again")));
    }
    file.sync_all().map_err(failed)?;
    Ok(Entry { path: name, bytes, sha256: hash })
}

/// Copies so many bytes and hashes them.
///
/// # Errors
/// `UnexpectedEof` if there are fewer; else as the operating system.
pub(crate) fn copy(from: &mut impl Read, to: &mut File, hasher: &mut Sha256, bytes: u64) -> io::Result<()> {
    let mut buffer = vec![0; COPY_BYTES];
    let mut left = bytes;
    while left > 0 {
        let part = usize::try_from(left).unwrap_or(COPY_BYTES).min(COPY_BYTES);
        from.read_exact(&mut buffer[..part])?;
        hasher.update(&buffer[..part]);
        to.write_all(&buffer[..part])?;
        left -= part as u64;
    }
    Ok(())
}

fn line(stream: &mut impl BufRead) -> Result<Line> {
    let mut line = Vec::new();
    let read = stream.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut line);
    read.map_err(|error| Failure::Unreachable(format!("the backup broke off: {error}")))?;
    if line.is_empty() {
        return Err(Failure::Unreachable("the backup broke off: make it again in another folder".to_owned()));
    }
    serde_json::from_slice(&line).map_err(|_| strange())
}

fn strange() -> Failure {
    Failure::Unreachable("the stream cannot be read; is this an Eye server, and as new as this program?".to_owned())
}

/// The table says what its data files must be; what the logs hold says so itself.
fn check_logs(data: &Path) -> Result<()> {
    let failed = |error: io::Error| Failure::file(data.display(), &error);
    let mut logs = vec![data.join("registry")];
    for entry in fs::read_dir(data.join("log")).map_err(failed)? {
        logs.push(entry.map_err(failed)?.path());
    }
    for log in logs {
        local::verify(&log, &OsDisk)
            .map_err(|error| Failure::BadNews(format!("the log is damaged where it was copied from: {error}")))?;
    }
    Ok(())
}

/// Makes the names of everything in the folder durable, and its own.
pub(crate) fn sync_folders(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            sync_folders(&entry.path())?;
        }
    }
    File::open(folder)?.sync_all()
}
