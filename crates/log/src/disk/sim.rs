//! A disk in memory that knows what was synced, fails on demand and can crash.
//!
//! Every file has two contents: what a reader sees now, and what is on the platter. `sync_data` copies the changed
//! range from the first to the second, `sync_dir` does the same for names. A crash keeps what was synced and decides
//! by a seed about the rest: kept, lost, cut short, or lost in single sectors, as real disks do.
//!
//! A failed sync behaves as Linux does: the changed range is forgotten, so that a later sync succeeds without having
//! written it.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::{Condvar, Mutex, MutexGuard};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use rustix::io::Errno;

use super::{Disk, DiskFile, FolderLock, LockedFolder};

/// What a disk loses at once in a crash, in bytes.
pub const SECTOR_BYTES: usize = 512;

/// Which calls a fault counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// [`Disk::create`].
    Create,
    /// [`Disk::remove`].
    Remove,
    /// [`Disk::sync_dir`].
    SyncDir,
    /// [`DiskFile::write_all_at`].
    Write,
    /// [`DiskFile::read_exact_at`].
    Read,
    /// [`DiskFile::truncate`].
    Truncate,
    /// [`DiskFile::sync_data`].
    Sync,
}

/// How a call fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// EIO. Of a write, half is done.
    Io,
    /// ENOSPC. Of a write, half is done.
    NoSpace,
    /// EMFILE.
    NoDescriptor,
}

impl Fault {
    fn error(self) -> io::Error {
        match self {
            Self::Io => io::Error::other("simulated input/output error"),
            Self::NoSpace => io::ErrorKind::StorageFull.into(),
            Self::NoDescriptor => Errno::MFILE.into(),
        }
    }
}

/// A disk in memory. A clone is another handle to the same disk.
#[derive(Clone, Default)]
pub struct SimDisk {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    /// Signalled when syncs are no longer held, and when one begins to wait.
    syncs: Condvar,
}

#[derive(Clone, Default)]
struct State {
    /// Handles of an earlier generation are dead: their process has died.
    generation: u64,
    files: BTreeMap<u64, FileState>,
    file_next: u64,
    names: BTreeMap<PathBuf, u64>,
    names_synced: BTreeMap<PathBuf, u64>,
    locked: BTreeSet<PathBuf>,
    faults: Vec<(Operation, u64, Fault)>,
    capacity: Option<u64>,
    syncs_held: bool,
    syncs_waiting: u64,
    syncs_done: u64,
}

#[derive(Clone, Default)]
struct FileState {
    seen: Vec<u8>,
    synced: Vec<u8>,
    changed: Option<Range<usize>>,
}

impl FileState {
    fn change(&mut self, range: Range<usize>) {
        self.changed = Some(match self.changed.take() {
            Some(old) => old.start.min(range.start)..old.end.max(range.end),
            None => range,
        });
    }

    fn sync(&mut self) {
        self.synced.resize(self.seen.len(), 0);
        if let Some(changed) = self.changed.take() {
            let end = changed.end.min(self.seen.len());
            let start = changed.start.min(end);
            self.synced[start..end].copy_from_slice(&self.seen[start..end]);
        }
    }

    /// What is left after a power failure.
    fn crash(&mut self, random: &mut StdRng) {
        self.synced = match random.random_range(0..4) {
            0 => std::mem::take(&mut self.synced),
            1 => self.shortened(random),
            2 => self.with_lost_sectors(random),
            _ => self.with_everything_written(),
        };
        self.seen = self.synced.clone();
        self.changed = None;
    }

    /// As if every change since the last sync had reached the platter. What a failed sync forgot has not.
    fn with_everything_written(&self) -> Vec<u8> {
        let mut all = self.clone();
        all.sync();
        all.synced
    }

    fn shortened(&self, random: &mut StdRng) -> Vec<u8> {
        let mut bytes = self.with_everything_written();
        if bytes.len() > self.synced.len() {
            bytes.truncate(random.random_range(self.synced.len()..=bytes.len()));
        }
        bytes
    }

    fn with_lost_sectors(&self, random: &mut StdRng) -> Vec<u8> {
        let mut bytes = self.with_everything_written();
        let changed = self.changed.clone().unwrap_or(0..0);
        let mut sector = changed.start / SECTOR_BYTES * SECTOR_BYTES;
        while sector < changed.end.min(bytes.len()) {
            if random.random_bool(0.5) {
                for at in sector..(sector + SECTOR_BYTES).min(bytes.len()) {
                    bytes[at] = self.synced.get(at).copied().unwrap_or(0);
                }
            }
            sector += SECTOR_BYTES;
        }
        bytes
    }
}

impl State {
    /// The fault that is due at this call, if any.
    fn fault(&mut self, operation: Operation) -> Option<Fault> {
        let mut due = None;
        self.faults.retain_mut(|(which, left, fault)| {
            if *which != operation {
                return true;
            }
            *left -= 1;
            if *left == 0 {
                due = Some(*fault);
            }
            *left > 0
        });
        due
    }

    fn check(&mut self, operation: Operation) -> io::Result<()> {
        self.fault(operation).map_or(Ok(()), |fault| Err(fault.error()))
    }

    fn used(&self) -> u64 {
        self.names.values().filter_map(|id| self.files.get(id)).map(|file| file.seen.len() as u64).sum()
    }

    fn free(&self) -> u64 {
        self.capacity.map_or(u64::MAX / 2, |capacity| capacity.saturating_sub(self.used()))
    }

    fn file(&mut self, id: u64) -> io::Result<&mut FileState> {
        self.files.get_mut(&id).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn at(&mut self, path: &Path) -> io::Result<&mut FileState> {
        let id = *self.names.get(path).ok_or(io::ErrorKind::NotFound)?;
        self.file(id)
    }

    fn new_process(&mut self) {
        self.generation += 1;
        self.locked.clear();
        self.faults.clear();
    }
}

impl SimDisk {
    /// An empty disk.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A disk of its own with the same content, synced and unsynced.
    #[must_use]
    pub fn fork(&self) -> Self {
        let mut state = self.shared.state.lock().clone();
        state.new_process();
        Self { shared: Arc::new(Shared { state: Mutex::new(state), syncs: Condvar::new() }) }
    }

    /// Power failure: what was not synced is kept, lost or torn as `seed` decides. Open handles are dead.
    ///
    /// The disk itself knows no processes: drop a log that was open before its folder is opened again.
    pub fn crash(&self, seed: u64) {
        let mut random = StdRng::seed_from_u64(seed);
        let mut state = self.shared.state.lock();
        state.new_process();
        let paths: BTreeSet<PathBuf> = state.names.keys().chain(state.names_synced.keys()).cloned().collect();
        for path in paths {
            let (seen, synced) = (state.names.get(&path).copied(), state.names_synced.get(&path).copied());
            let kept = if seen == synced || random.random_bool(0.5) { seen } else { synced };
            match kept {
                Some(id) => state.names_synced.insert(path, id),
                None => state.names_synced.remove(&path),
            };
        }
        state.names = state.names_synced.clone();
        for file in state.files.values_mut() {
            file.crash(&mut random);
        }
        self.shared.syncs.notify_all();
    }

    /// The process dies, the machine does not: nothing is lost, nothing is synced. Open handles are dead.
    pub fn kill(&self) {
        self.shared.state.lock().new_process();
        self.shared.syncs.notify_all();
    }

    /// Fails the `nth` call from now of this kind, once; the first is 1.
    pub fn fail(&self, operation: Operation, nth: u64, fault: Fault) {
        self.shared.state.lock().faults.push((operation, nth.max(1), fault));
    }

    /// True if no call has met a fault that was asked for.
    #[must_use]
    pub fn awaits_fault(&self) -> bool {
        !self.shared.state.lock().faults.is_empty()
    }

    /// Limits the bytes of all files together, or not.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.shared.state.lock().capacity = bytes;
    }

    /// Bytes of all files together.
    #[must_use]
    pub fn used_bytes(&self) -> u64 {
        self.shared.state.lock().used()
    }

    /// Makes every `sync_data` wait until [`SimDisk::release_syncs`].
    pub fn hold_syncs(&self) {
        self.shared.state.lock().syncs_held = true;
    }

    /// Lets the waiting syncs go on.
    pub fn release_syncs(&self) {
        self.shared.state.lock().syncs_held = false;
        self.shared.syncs.notify_all();
    }

    /// Waits until a held sync is waiting.
    pub fn wait_for_held_sync(&self) {
        let mut state = self.shared.state.lock();
        self.shared.syncs.wait_while(&mut state, |state| state.syncs_waiting == 0);
    }

    /// How many `sync_data` have succeeded.
    #[must_use]
    pub fn syncs_done(&self) -> u64 {
        self.shared.state.lock().syncs_done
    }

    /// Inverts the bits of `mask` in one byte, durably, as decay does.
    ///
    /// # Errors
    /// `NotFound` if there is no such file or byte.
    pub fn flip(&self, path: &Path, byte: usize, mask: u8) -> io::Result<()> {
        let mut state = self.shared.state.lock();
        let file = state.at(path)?;
        *file.seen.get_mut(byte).ok_or(io::ErrorKind::NotFound)? ^= mask;
        if let Some(synced) = file.synced.get_mut(byte) {
            *synced ^= mask;
        }
        Ok(())
    }

    /// What a reader sees in this file.
    ///
    /// # Errors
    /// `NotFound` if it is not there.
    pub fn content(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.shared.state.lock().at(path).map(|file| file.seen.clone())
    }

    /// Puts a whole file there, durably.
    pub fn put(&self, path: &Path, bytes: Vec<u8>) {
        let mut state = self.shared.state.lock();
        let id = state.file_next;
        state.file_next += 1;
        state.files.insert(id, FileState { seen: bytes.clone(), synced: bytes, changed: None });
        state.names.insert(path.to_owned(), id);
        state.names_synced.insert(path.to_owned(), id);
    }

    fn handle(&self, state: &State, id: u64) -> Arc<dyn DiskFile> {
        Arc::new(SimFile { disk: self.clone(), id, generation: state.generation })
    }
}

impl Disk for SimDisk {
    fn create_dir_all(&self, _dir: &Path) -> io::Result<()> {
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let state = self.shared.state.lock();
        let inside = state.names.keys().filter(|path| path.parent() == Some(dir));
        Ok(inside.filter_map(|path| Some(path.file_name()?.to_str()?.to_owned())).collect())
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.shared.state.lock();
        state.check(Operation::Create)?;
        if state.names.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let id = state.file_next;
        state.file_next += 1;
        state.files.insert(id, FileState::default());
        state.names.insert(path.to_owned(), id);
        Ok(self.handle(&state, id))
    }

    fn open(&self, path: &Path, _write: bool) -> io::Result<Arc<dyn DiskFile>> {
        let state = self.shared.state.lock();
        let id = *state.names.get(path).ok_or(io::ErrorKind::NotFound)?;
        Ok(self.handle(&state, id))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.shared.state.lock();
        state.check(Operation::Remove)?;
        state.names.remove(path).map(drop).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.shared.state.lock();
        state.check(Operation::SyncDir)?;
        let inside = |path: &PathBuf| path.parent() == Some(dir);
        let State { names, names_synced, .. } = &mut *state;
        names_synced.retain(|path, _| !inside(path));
        names_synced.extend(names.iter().filter(|(path, _)| inside(path)).map(|(path, id)| (path.clone(), *id)));
        Ok(())
    }

    fn lock_dir(&self, dir: &Path) -> io::Result<Option<FolderLock>> {
        let mut state = self.shared.state.lock();
        if !state.locked.insert(dir.to_owned()) {
            return Ok(None);
        }
        Ok(Some(Box::new(SimLock { disk: self.clone(), dir: dir.to_owned(), generation: state.generation })))
    }

    fn free_bytes(&self, _dir: &Path) -> io::Result<u64> {
        Ok(self.shared.state.lock().free())
    }
}

struct SimLock {
    disk: SimDisk,
    dir: PathBuf,
    generation: u64,
}

impl LockedFolder for SimLock {
    fn sync(&self) -> io::Result<()> {
        self.disk.sync_dir(&self.dir)
    }
}

impl Drop for SimLock {
    fn drop(&mut self) {
        let mut state = self.disk.shared.state.lock();
        if state.generation == self.generation {
            state.locked.remove(&self.dir);
        }
    }
}

struct SimFile {
    disk: SimDisk,
    id: u64,
    generation: u64,
}

impl SimFile {
    /// The disk's state, if the process of this handle is still alive.
    fn alive(&self) -> io::Result<MutexGuard<'_, State>> {
        let state = self.disk.shared.state.lock();
        if state.generation == self.generation { Ok(state) } else { Err(io::Error::other("the process has died")) }
    }
}

impl DiskFile for SimFile {
    fn write_all_at(&self, bytes: &[u8], position: u64) -> io::Result<()> {
        let mut state = self.alive()?;
        let start = usize::try_from(position).map_err(|_| io::ErrorKind::FileTooLarge)?;
        let mut fault = state.fault(Operation::Write);
        let growth = (start + bytes.len()).saturating_sub(state.file(self.id)?.seen.len()) as u64;
        if growth > state.free() {
            fault = Some(Fault::NoSpace);
        }
        let done = if fault.is_some() { &bytes[..bytes.len() / 2] } else { bytes };
        let file = state.file(self.id)?;
        let end = start + done.len();
        if file.seen.len() < end {
            file.seen.resize(end, 0);
        }
        file.seen[start..end].copy_from_slice(done);
        file.change(start..end);
        fault.map_or(Ok(()), |fault| Err(fault.error()))
    }

    fn read_exact_at(&self, bytes: &mut [u8], position: u64) -> io::Result<()> {
        let mut state = self.alive()?;
        state.check(Operation::Read)?;
        let start = usize::try_from(position).map_err(|_| io::ErrorKind::UnexpectedEof)?;
        let found = state.file(self.id)?.seen.get(start..start + bytes.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        bytes.copy_from_slice(found);
        Ok(())
    }

    fn byte_len(&self) -> io::Result<u64> {
        Ok(self.alive()?.file(self.id)?.seen.len() as u64)
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        let mut state = self.alive()?;
        state.check(Operation::Truncate)?;
        let file = state.file(self.id)?;
        let length = usize::try_from(length).map_err(|_| io::ErrorKind::FileTooLarge)?;
        let old = file.seen.len();
        file.seen.resize(length, 0);
        file.change(old.min(length)..old.max(length));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.alive()?;
        state.syncs_waiting += 1;
        self.disk.shared.syncs.notify_all();
        self.disk.shared.syncs.wait_while(&mut state, |state| state.syncs_held && state.generation == self.generation);
        state.syncs_waiting -= 1;
        drop(state);
        let mut state = self.alive()?;
        let fault = state.fault(Operation::Sync);
        let file = state.file(self.id)?;
        if let Some(fault) = fault {
            file.changed = None;
            return Err(fault.error());
        }
        file.sync();
        state.syncs_done += 1;
        Ok(())
    }
}
