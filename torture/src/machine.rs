//! What the machine lends: file systems in a file, strace, libfaketime. Each is there or says why not: a mode that cannot
//! run is skipped by name, never silently.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use crate::Result;

/// A kind of file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileSystem {
    /// ext4, as mkfs makes it.
    Ext4,
    /// XFS, as mkfs makes it.
    Xfs,
}

impl FileSystem {
    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ext4 => "ext4",
            Self::Xfs => "xfs",
        }
    }

    const fn make(self) -> &'static [&'static str] {
        match self {
            Self::Ext4 => &["mkfs.ext4", "-q", "-F"],
            Self::Xfs => &["mkfs.xfs", "-q", "-f"],
        }
    }
}

/// A file system of its own, in a file, mounted. Unmounted when dropped.
pub struct Mount {
    image: PathBuf,
    /// Where it is mounted.
    pub point: PathBuf,
    system: FileSystem,
    _folder: TempDir,
}

/// Large enough for every file system that is made today; sparse, so it takes what is written.
const IMAGE_BYTES: u64 = 512 << 20;

impl Mount {
    /// Makes and mounts one.
    ///
    /// # Errors
    /// Why the machine does not let us.
    pub fn new(system: FileSystem) -> Result<Self> {
        Self::of_size(system, IMAGE_BYTES)
    }

    /// The same of this size, in bytes.
    ///
    /// # Errors
    /// Why the machine does not let us.
    pub fn of_size(system: FileSystem, bytes: u64) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("torture-disk-").tempdir_in(images())?;
        let (image, point) = (folder.path().join("image"), folder.path().join("mount"));
        File::create(&image)?.set_len(bytes)?;
        fs::create_dir(&point)?;
        let (program, arguments) = system.make().split_first().ok_or("no program")?;
        call(program, arguments, &[&image])?;
        let mount = Self { image, point, system, _folder: folder };
        mount.mount()?;
        Ok(mount)
    }

    fn mount(&self) -> Result<()> {
        call("mount", &["-o", "loop", "-t", self.system.name()], &[&self.image, &self.point])
    }

    /// The power goes: what was not synced is gone, every later call fails until [`Mount::restore`].
    ///
    /// # Errors
    /// The file system could not be shut down.
    pub fn cut(&self) -> Result<()> {
        call("xfs_io", &["-x", "-c", "shutdown"], &[&self.point])
    }

    /// The power comes back. Nobody may have a file open.
    ///
    /// # Errors
    /// It cannot be mounted again.
    pub fn restore(&self) -> Result<()> {
        unmount(&self.point)?;
        self.mount()
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        if let Err(error) = unmount(&self.point) {
            eprintln!("torture: {} stays mounted: {error}", self.point.display());
        }
    }
}

/// A small file system in memory. Unmounted when dropped.
pub struct MemoryDisk {
    /// Where it is mounted.
    pub point: PathBuf,
    _folder: TempDir,
}

impl MemoryDisk {
    /// Mounts one of this size.
    ///
    /// # Errors
    /// Why the machine does not let us.
    pub fn new(bytes: u64) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("torture-tmpfs-").tempdir()?;
        let point = folder.path().join("mount");
        fs::create_dir(&point)?;
        call("mount", &["-t", "tmpfs", "-o", &format!("size={bytes}"), "torture"], &[&point])?;
        Ok(Self { point, _folder: folder })
    }
}

impl Drop for MemoryDisk {
    fn drop(&mut self) {
        if let Err(error) = unmount(&self.point) {
            eprintln!("torture: {} stays mounted: {error}", self.point.display());
        }
    }
}

/// Where images lie: in memory if there is room. What is tested is the file system above, not the disk below.
fn images() -> PathBuf {
    let memory = Path::new("/dev/shm");
    let free = rustix::fs::statvfs(memory).map_or(0, |stat| stat.f_bavail.saturating_mul(stat.f_frsize));
    if free > 4 * IMAGE_BYTES { memory.to_owned() } else { std::env::temp_dir() }
}

/// A process that was killed a moment ago may still hold a file.
fn unmount(point: &Path) -> Result<()> {
    let mut result = Ok(());
    for _ in 0..100 {
        result = call("umount", &[], &[point]);
        if result.is_ok() {
            break;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    result
}

fn call(program: &str, arguments: &[&str], paths: &[&Path]) -> Result<()> {
    let output = Command::new(program)
        .args(arguments)
        .args(paths)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("{program}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{program}: {}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim()).into())
}

/// Why power cuts cannot be made on this file system here, if so.
#[must_use]
pub fn cannot_cut(system: FileSystem) -> Option<String> {
    // Made and cut once: whatever is missing says so.
    let tried = Mount::new(system).and_then(|mount| try_cut(&mount));
    tried.err().map(|error| error.to_string())
}

/// What was synced is there after a cut, and what was not is gone, its name too: a cut that wrote everything back would
/// be no more than a kill.
fn try_cut(mount: &Mount) -> Result<()> {
    let content = [0x5a; 64 << 10];
    let [synced, unsynced] = ["synced", "unsynced"].map(|name| mount.point.join(name));
    {
        let mut file = File::create(&synced)?;
        file.write_all(&content)?;
        file.sync_all()?;
    }
    File::open(&mount.point)?.sync_all()?;
    fs::write(&unsynced, content)?;
    mount.cut()?;
    mount.restore()?;
    if fs::read(&synced).ok().as_deref() != Some(&content) {
        return Err("a file that was synced is gone after a cut".into());
    }
    if unsynced.exists() {
        return Err("a file that was not synced is there after a cut".into());
    }
    Ok(())
}

/// Why strace cannot inject faults here, if so.
#[must_use]
pub fn cannot_strace() -> Option<String> {
    let inject = ["-f", "-o", "/dev/null", "-e", "inject=fsync:error=EIO", "true"];
    call("strace", &inject, &[]).err().map(|error| error.to_string())
}

/// The wall clock of processes that have `environment`, set at any moment while they run. Their monotonic clock stays.
pub struct Clock {
    file: PathBuf,
    /// What makes it theirs.
    pub environment: [(&'static str, PathBuf); 4],
}

impl Clock {
    /// One that is not set yet, kept in this folder.
    ///
    /// # Errors
    /// There is no library for it.
    pub fn new(folder: &Path) -> Result<Self> {
        let (library, file) = (faketime()?, folder.join("clock"));
        let environment = [
            ("LD_PRELOAD", library),
            ("FAKETIME_TIMESTAMP_FILE", file.clone()),
            ("FAKETIME_NO_CACHE", "1".into()),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".into()),
        ];
        Ok(Self { file, environment })
    }

    /// Sets it, in the words of libfaketime: `+1d`.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn set(&self, time: &str) -> Result<()> {
        // Written beside and renamed: it is read at any moment.
        let new = self.file.with_extension("new");
        fs::write(&new, time)?;
        Ok(fs::rename(&new, &self.file)?)
    }
}

/// The library that tells programs another time, or why there is none.
///
/// # Errors
/// It is not installed.
pub fn faketime() -> Result<PathBuf> {
    let folders = ["/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib64", "/usr/lib"];
    let found =
        folders.iter().map(|folder| Path::new(folder).join("faketime/libfaketimeMT.so.1")).find(|path| path.exists());
    found.ok_or_else(|| "libfaketime is not installed".into())
}
