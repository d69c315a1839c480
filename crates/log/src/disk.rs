//! The few file operations the log needs, as a trait, so that faults can be injected.
//!
//! [`OsDisk`] is the real one. [`sim::SimDisk`] keeps files in memory, knows which bytes and which names were synced,
//! and can crash. The rule: the log reaches files through this trait only.

pub mod sim;

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use rustix::io::Errno;

/// A folder that stays open, and locked until this is dropped.
pub trait LockedFolder: Send + Sync {
    /// Makes the names in it durable, as [`Disk::sync_dir`] does, and needs no file descriptor for it.
    ///
    /// # Errors
    /// As there.
    fn sync(&self) -> io::Result<()>;
}

/// Keeps a folder locked until it is dropped.
pub type FolderLock = Box<dyn LockedFolder>;

/// Where files live.
pub trait Disk: Send + Sync + 'static {
    /// Creates the folder and its parents, durably. Fine if it is there.
    ///
    /// # Errors
    /// As the operating system.
    fn create_dir_all(&self, dir: &Path) -> io::Result<()>;

    /// The names of the files in this folder, in no order.
    ///
    /// # Errors
    /// As the operating system.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;

    /// Creates a new, empty file. Its name is durable after [`Disk::sync_dir`] only.
    ///
    /// # Errors
    /// `AlreadyExists` if it is there; else as the operating system.
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;

    /// Opens an existing file for reading and, if `write`, for writing.
    ///
    /// # Errors
    /// `NotFound` if it is not there; else as the operating system.
    fn open(&self, path: &Path, write: bool) -> io::Result<Arc<dyn DiskFile>>;

    /// Removes a file. Durable after [`Disk::sync_dir`] only; open handles go on reading.
    ///
    /// # Errors
    /// As the operating system.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Makes the names in this folder durable.
    ///
    /// # Errors
    /// As the operating system; what is durable is then unknown.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;

    /// Locks the folder for this handle alone. `None` if somebody else holds it.
    ///
    /// # Errors
    /// As the operating system.
    fn lock_dir(&self, dir: &Path) -> io::Result<Option<FolderLock>>;

    /// Bytes still free to us on the file system of this folder.
    ///
    /// # Errors
    /// As the operating system.
    fn free_bytes(&self, dir: &Path) -> io::Result<u64>;
}

/// An open file.
pub trait DiskFile: Send + Sync {
    /// Writes all of `bytes` at `position`. After an error any part of them may be there.
    ///
    /// # Errors
    /// As the operating system.
    fn write_all_at(&self, bytes: &[u8], position: u64) -> io::Result<()>;

    /// Fills `bytes` from `position`.
    ///
    /// # Errors
    /// `UnexpectedEof` if the file ends before; else as the operating system.
    fn read_exact_at(&self, bytes: &mut [u8], position: u64) -> io::Result<()>;

    /// Its length in bytes.
    ///
    /// # Errors
    /// As the operating system.
    fn byte_len(&self) -> io::Result<u64>;

    /// Cuts it to `length` bytes. Durable after [`DiskFile::sync_data`].
    ///
    /// # Errors
    /// As the operating system.
    fn truncate(&self, length: u64) -> io::Result<()>;

    /// Makes content and length durable (`fdatasync`).
    ///
    /// # Errors
    /// As the operating system. Never call it again after an error: the kernel may have forgotten the lost pages and
    /// answer that all is well.
    fn sync_data(&self) -> io::Result<()>;
}

/// True if the disk or the quota is full.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// True if this process, or the machine, has no file descriptor left.
pub(crate) fn is_out_of_descriptors(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::MFILE | Errno::NFILE))
}

/// True if a folder that this process did not make cannot be synced by it: it may not, or the file system cannot.
#[must_use]
pub fn is_out_of_reach(error: &io::Error) -> bool {
    use io::ErrorKind::{InvalidInput, PermissionDenied, ReadOnlyFilesystem, Unsupported};
    matches!(error.kind(), InvalidInput | PermissionDenied | ReadOnlyFilesystem | Unsupported)
}

/// Reads a whole file.
pub(crate) fn read_all(file: &dyn DiskFile) -> io::Result<Vec<u8>> {
    let length = usize::try_from(file.byte_len()?).map_err(|_| io::ErrorKind::FileTooLarge)?;
    let mut bytes = vec![0; length];
    file.read_exact_at(&mut bytes, 0)?;
    Ok(bytes)
}

/// The operating system's files.
#[derive(Clone, Copy, Debug, Default)]
pub struct OsDisk;

impl Disk for OsDisk {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        if dir.as_os_str().is_empty() {
            return Ok(());
        }
        let parent = dir.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        if dir.is_dir() {
            // Whoever made it may have died before its name was durable.
            return match self.sync_dir(parent) {
                Err(error) if !is_out_of_reach(&error) => Err(error),
                _ => Ok(()),
            };
        }
        self.create_dir_all(parent)?;
        match std::fs::create_dir(dir) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
            _ => self.sync_dir(parent),
        }
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(dir)? {
            // A name that is not UTF-8 is not one of ours.
            names.extend(entry?.file_name().into_string().ok());
        }
        Ok(names)
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(OsFile(OpenOptions::new().read(true).write(true).create_new(true).open(path)?)))
    }

    fn open(&self, path: &Path, write: bool) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(OsFile(OpenOptions::new().read(true).write(write).open(path)?)))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_file(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(dir)?.sync_all()
    }

    fn lock_dir(&self, dir: &Path) -> io::Result<Option<FolderLock>> {
        let folder = File::open(dir)?;
        match folder.try_lock() {
            Ok(()) => Ok(Some(Box::new(folder))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    fn free_bytes(&self, dir: &Path) -> io::Result<u64> {
        let stat = rustix::fs::statvfs(dir)?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }
}

impl LockedFolder for File {
    fn sync(&self) -> io::Result<()> {
        self.sync_all()
    }
}

struct OsFile(File);

impl DiskFile for OsFile {
    fn write_all_at(&self, bytes: &[u8], position: u64) -> io::Result<()> {
        self.0.write_all_at(bytes, position)
    }

    fn read_exact_at(&self, bytes: &mut [u8], position: u64) -> io::Result<()> {
        self.0.read_exact_at(bytes, position)
    }

    fn byte_len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        self.0.set_len(length)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_of_others_are_out_of_reach_and_broken_disks_are_not() {
        use io::ErrorKind::{InvalidInput, NotFound, PermissionDenied, ReadOnlyFilesystem, StorageFull, Unsupported};
        for kind in [InvalidInput, PermissionDenied, ReadOnlyFilesystem, Unsupported] {
            assert!(is_out_of_reach(&kind.into()), "{kind}");
        }
        for error in [io::Error::other("input/output error"), StorageFull.into(), NotFound.into()] {
            assert!(!is_out_of_reach(&error), "{error}");
        }
    }

    /// Files of `/proc` cannot be synced: whoever says that they were has not asked.
    #[test]
    fn a_real_disk_asks_the_operating_system_to_sync() {
        let refused = OsDisk.open(Path::new("/proc/self/status"), false).unwrap().sync_data().unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::InvalidInput);
        let refused = OsDisk.sync_dir(Path::new("/proc/self")).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::InvalidInput);
    }

    #[test]
    fn a_folder_that_is_there_is_fine_though_nobody_can_sync_the_one_above() {
        OsDisk.create_dir_all(Path::new("/proc/self/task")).unwrap();
    }

    #[test]
    fn a_folder_named_by_way_of_a_new_one_is_created() {
        let folder = tempfile::tempdir().unwrap();
        OsDisk.create_dir_all(&folder.path().join("new/../other")).unwrap();
        assert!(folder.path().join("other").is_dir());
    }

    #[test]
    fn a_folder_inside_a_file_is_refused() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let refused = OsDisk.create_dir_all(&file.path().join("folder")).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::NotADirectory);
    }
}
