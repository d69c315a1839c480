//! A disk that stands still: reads come from the files, writes stay in memory and are forgotten.
//!
//! Opening a log repairs and seals it. `eye verify` wants what an opening would see without changing a byte, so it opens
//! the log on this disk. Locks are real: nobody else may write meanwhile.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use eye_log::disk::{Disk, DiskFile, FolderLock, OsDisk};
use parking_lot::Mutex;

/// See the module.
#[derive(Default)]
pub(crate) struct StillDisk {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Files that were written or made here.
    changed: BTreeMap<PathBuf, Arc<StillFile>>,
    removed: BTreeSet<PathBuf>,
}

fn not_found() -> io::Error {
    io::ErrorKind::NotFound.into()
}

impl Disk for StillDisk {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        if dir.is_dir() { Ok(()) } else { Err(not_found()) }
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let state = self.state.lock();
        let mut names: BTreeSet<String> = OsDisk.list(dir)?.into_iter().collect();
        names.retain(|name| !state.removed.contains(&dir.join(name)));
        let made = state.changed.keys().filter(|path| path.parent() == Some(dir));
        names.extend(made.filter_map(|path| Some(path.file_name()?.to_str()?.to_owned())));
        Ok(names.into_iter().collect())
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.state.lock();
        let is_there = state.changed.contains_key(path) || (path.exists() && !state.removed.contains(path));
        if is_there {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let file = Arc::new(StillFile { base: None, content: Mutex::default() });
        state.changed.insert(path.to_owned(), Arc::clone(&file));
        Ok(file)
    }

    fn open(&self, path: &Path, write: bool) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.state.lock();
        if let Some(file) = state.changed.get(path) {
            return Ok(Arc::clone(file) as Arc<dyn DiskFile>);
        }
        if state.removed.contains(path) {
            return Err(not_found());
        }
        let base = OsDisk.open(path, false)?;
        if !write {
            return Ok(base);
        }
        let content = Content { kept: base.byte_len()?, tail: Vec::new() };
        let file = Arc::new(StillFile { base: Some(base), content: Mutex::new(content) });
        state.changed.insert(path.to_owned(), Arc::clone(&file));
        Ok(file)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        let was_changed = state.changed.remove(path).is_some();
        if !was_changed && (state.removed.contains(path) || !path.exists()) {
            return Err(not_found());
        }
        state.removed.insert(path.to_owned());
        Ok(())
    }

    fn sync_dir(&self, _dir: &Path) -> io::Result<()> {
        Ok(())
    }

    fn lock_dir(&self, dir: &Path) -> io::Result<Option<FolderLock>> {
        OsDisk.lock_dir(dir)
    }

    fn free_bytes(&self, _dir: &Path) -> io::Result<u64> {
        Ok(u64::MAX)
    }
}

/// The first `kept` bytes of a file, and what was written behind them.
#[derive(Default)]
struct Content {
    kept: u64,
    tail: Vec<u8>,
}

struct StillFile {
    base: Option<Arc<dyn DiskFile>>,
    content: Mutex<Content>,
}

fn size(bytes: u64) -> io::Result<usize> {
    usize::try_from(bytes).map_err(|_| io::ErrorKind::FileTooLarge.into())
}

impl StillFile {
    fn read_base(&self, bytes: &mut [u8], position: u64) -> io::Result<()> {
        match &self.base {
            _ if bytes.is_empty() => Ok(()),
            Some(base) => base.read_exact_at(bytes, position),
            None => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}

impl DiskFile for StillFile {
    fn write_all_at(&self, bytes: &[u8], position: u64) -> io::Result<()> {
        let mut content = self.content.lock();
        if position < content.kept {
            let mut head = vec![0; size(content.kept - position)?];
            self.read_base(&mut head, position)?;
            head.append(&mut content.tail);
            *content = Content { kept: position, tail: head };
        }
        let start = size(position - content.kept)?;
        let end = start + bytes.len();
        if content.tail.len() < end {
            content.tail.resize(end, 0);
        }
        content.tail[start..end].copy_from_slice(bytes);
        Ok(())
    }

    fn read_exact_at(&self, bytes: &mut [u8], position: u64) -> io::Result<()> {
        let content = self.content.lock();
        let from_base = size(content.kept.saturating_sub(position))?.min(bytes.len());
        let (head, rest) = bytes.split_at_mut(from_base);
        self.read_base(head, position)?;
        let start = size((position + head.len() as u64).saturating_sub(content.kept))?;
        let tail = content.tail.get(start..start + rest.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        rest.copy_from_slice(tail);
        Ok(())
    }

    fn byte_len(&self) -> io::Result<u64> {
        let content = self.content.lock();
        Ok(content.kept + content.tail.len() as u64)
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        let mut content = self.content.lock();
        if length <= content.kept {
            *content = Content { kept: length, tail: Vec::new() };
        } else {
            let tail = size(length - content.kept)?;
            content.tail.resize(tail, 0);
        }
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_are_seen_here_and_nowhere_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        std::fs::write(&path, b"0123456789").unwrap();
        let disk = StillDisk::default();
        let file = disk.open(&path, true).unwrap();
        file.write_all_at(b"XY", 8).unwrap();
        file.write_all_at(b"Z", 11).unwrap();
        file.write_all_at(b"_", 4).unwrap();
        let mut bytes = [0; 12];
        disk.open(&path, false).unwrap().read_exact_at(&mut bytes, 0).unwrap();
        assert_eq!(&bytes, b"0123_567XY\0Z");
        assert!(file.read_exact_at(&mut [0; 2], 11).is_err());
        file.truncate(3).unwrap();
        file.write_all_at(b"end", 3).unwrap();
        assert_eq!(file.byte_len().unwrap(), 6);
        disk.create(&folder.path().join("b")).unwrap();
        disk.remove(&path).unwrap();
        assert_eq!(disk.list(folder.path()).unwrap(), ["b"]);
        assert!(disk.open(&path, false).is_err());
        assert_eq!(std::fs::read(&path).unwrap(), b"0123456789");
        assert!(!folder.path().join("b").exists());
    }
}
