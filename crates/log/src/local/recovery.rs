//! Opens what a process left behind, however it ended.
//!
//! 1. Every byte is verified. Damage is an error that names file and byte; nothing is changed then.
//! 2. A torn tail is copied to `<segment>.cut-<byte>` beside it, made durable there, and only then cut. Zeros behind the
//!    last group are room that was made for groups that never came: they are cut and not kept.
//! 3. What was written last is written again and synced. The process before may have died of a failed sync: such pages
//!    read well from memory, count as clean, and are not on the disk.
//!
//! Each step may be interrupted and done again.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use eye_fault::{CrashPoint, crash_point};

use super::LocalOptions;
use super::format::SEGMENT_HEADER_BYTES;
use super::scan::{Scan, Walk, walk, written_end};
use super::segment::{self, Failure, Identity, Index, Segment};
use super::writer::Active;
use crate::disk::{Disk, DiskFile, LockedFolder, read_all};
use crate::error::{Error, Result};
use crate::record::Offset;

/// A torn tail that was cut off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    /// The segment that it was cut from.
    pub segment: PathBuf,
    /// The byte at which it began.
    pub byte: u64,
    /// Its length.
    pub bytes: u64,
    /// Where it is kept. The log never reads it again; remove it when nobody wants to look at it any more.
    pub kept_in: PathBuf,
}

/// What opening a log found and did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecoveryReport {
    /// Segment files.
    pub segments: u64,
    /// Records in them, each verified.
    pub records: u64,
    /// Bytes of the segments.
    pub bytes: u64,
    /// The first offset.
    pub start: Offset,
    /// One past the last offset.
    pub end: Offset,
    /// True if the log was closed, or is new; false after a crash.
    pub clean: bool,
    /// What was cut: nothing, unless a crash interrupted a write.
    pub cuts: Vec<Cut>,
}

/// A log ready to be written.
pub(super) struct Recovered {
    pub(super) segments: Vec<Arc<Segment>>,
    pub(super) active: Active,
    pub(super) report: RecoveryReport,
}

pub(super) fn recover(options: &LocalOptions, disk: &dyn Disk, folder: &dyn LockedFolder) -> Result<Recovered> {
    let dir = &options.dir;
    let Walk { segments: found, unfinished } = walk(disk, dir)?;
    crash_point(CrashPoint::RecoveryVerified);
    let mut report = report_of(&found, unfinished.is_none());
    if let Some(path) = unfinished {
        report.cuts.extend(keep(disk, dir, &path, 0)?);
        let removed = disk.remove(&path).and_then(|()| {
            crash_point(CrashPoint::RecoveryUnfinishedRemoved);
            disk.sync_dir(dir)
        });
        removed.map_err(|error| Error::io("remove the unfinished", &path, &error))?;
    }
    let Some(last) = found.last() else { return first_segment(options, disk, folder, report) };
    if last.header.partition != options.partition {
        let what = format!("it belongs to partition {}, not to {}", last.header.partition, options.partition);
        return Err(Error::corrupt(&last.path, 12, what));
    }
    if last.end < last.tail_end {
        report.cuts.extend(keep(disk, dir, &last.path, last.end)?);
    }
    write_again(disk, dir, last)?;
    for cut in &report.cuts {
        let Cut { segment, byte, bytes, kept_in } = cut;
        tracing::warn!(
            segment = %segment.display(), byte, bytes, kept_in = %kept_in.display(),
            "cut a torn tail off the log: it was never acknowledged, and is kept beside it"
        );
    }
    let active = |segment| Active {
        segment,
        identity: Identity { log_id: last.header.log_id, partition: last.header.partition, seed: options.salt_seed },
        position: last.end,
        file_bytes: last.end,
        next: last.next,
        chain: last.chain,
        sealed: last.last_group.is_none_or(|(_, empty)| empty),
    };
    let segments = found.iter().map(|scan| open(disk, scan)).collect::<Result<Vec<_>>>()?;
    let active = active(Arc::clone(&segments[segments.len() - 1]));
    Ok(Recovered { active, segments, report })
}

fn report_of(found: &[Scan], complete: bool) -> RecoveryReport {
    let last = found.last();
    RecoveryReport {
        segments: found.len() as u64,
        records: found.iter().map(|scan| scan.records).sum(),
        bytes: found.iter().map(|scan| scan.end).sum(),
        start: found.first().map_or(Offset::FIRST, |scan| scan.header.first),
        end: last.map_or(Offset::FIRST, |scan| scan.next),
        clean: complete
            && last.is_none_or(|last| last.end >= last.tail_end && last.last_group.is_none_or(|(_, empty)| empty)),
        cuts: Vec::new(),
    }
}

fn first_segment(
    options: &LocalOptions,
    disk: &dyn Disk,
    folder: &dyn LockedFolder,
    mut report: RecoveryReport,
) -> Result<Recovered> {
    let identity = Identity::new(options.partition, options.salt_seed);
    let header = identity.header(Offset::FIRST, 0);
    let (path, file) = segment::create(disk, folder, &options.dir, &header).map_err(|failure| {
        let (Failure::Passing(error) | Failure::Broken(error)) = failure;
        Error::io("create the first segment in", &options.dir, &error)
    })?;
    let position = SEGMENT_HEADER_BYTES as u64;
    let segment = Arc::new(Segment::new(path, &header, file, position, Index::default()));
    report.segments = 1;
    report.bytes = position;
    let active = Active {
        segment: Arc::clone(&segment),
        identity,
        position,
        file_bytes: position,
        next: Offset::FIRST,
        chain: header.chain(),
        sealed: true,
    };
    Ok(Recovered { segments: vec![segment], active, report })
}

fn open(disk: &dyn Disk, scan: &Scan) -> Result<Arc<Segment>> {
    let file = disk.open(&scan.path, true).map_err(|error| Error::io("open", &scan.path, &error))?;
    Ok(Arc::new(Segment::new(scan.path.clone(), &scan.header, file, scan.end, scan.index.clone())))
}

/// Copies a file from `byte` to its last byte that is not zero to a file of its own, durably. Nothing to do if nothing is there.
fn keep(disk: &dyn Disk, dir: &Path, path: &Path, byte: u64) -> Result<Option<Cut>> {
    let failed = |error| Error::io("keep the torn tail of", path, &error);
    let all = disk.open(path, false).and_then(|file| read_all(&*file)).map_err(failed)?;
    let tail = all[..written_end(&all)].get(byte as usize..).unwrap_or_default();
    if tail.is_empty() {
        return Ok(None);
    }
    let kept_in = free_name(disk, dir, path, byte).map_err(failed)?;
    let file = disk.create(&kept_in).map_err(failed)?;
    file.write_all_at(tail, 0).map_err(failed)?;
    crash_point(CrashPoint::RecoveryTailCopied);
    file.sync_data().and_then(|()| disk.sync_dir(dir)).map_err(failed)?;
    crash_point(CrashPoint::RecoveryTailKept);
    Ok(Some(Cut { segment: path.to_owned(), byte, bytes: tail.len() as u64, kept_in }))
}

/// Stands between a segment's name and the byte at which its tail was cut off.
const KEPT_TAIL: &str = ".cut-";

/// True of what [`keep`] names.
pub(super) fn is_kept_tail(name: &str) -> bool {
    name.contains(KEPT_TAIL)
}

/// `<segment>.cut-<byte>`, with `-2`, `-3` and so on if that is taken.
fn free_name(disk: &dyn Disk, dir: &Path, path: &Path, byte: u64) -> std::io::Result<PathBuf> {
    let taken = disk.list(dir)?;
    let base = format!("{}{KEPT_TAIL}{byte}", path.file_name().unwrap_or_default().to_string_lossy());
    let mut name = base.clone();
    for number in 2.. {
        if !taken.contains(&name) {
            break;
        }
        name = format!("{base}-{number}");
    }
    Ok(dir.join(name))
}

/// Cuts tail and room, writes header and last group again, syncs file and folder.
fn write_again(disk: &dyn Disk, dir: &Path, last: &Scan) -> Result<()> {
    let written = || {
        let file = disk.open(&last.path, true)?;
        if last.end < last.file_bytes {
            file.truncate(last.end)?;
            crash_point(CrashPoint::RecoveryTailCut);
        }
        copy_onto_itself(&*file, 0, SEGMENT_HEADER_BYTES as u64)?;
        if let Some((group, _)) = last.last_group {
            copy_onto_itself(&*file, group, last.end)?;
        }
        crash_point(CrashPoint::RecoveryRewritten);
        file.sync_data()?;
        disk.sync_dir(dir)?;
        crash_point(CrashPoint::RecoverySynced);
        Ok(())
    };
    written().map_err(|error| Error::io("write again the end of", &last.path, &error))
}

fn copy_onto_itself(file: &dyn DiskFile, from: u64, to: u64) -> std::io::Result<()> {
    let mut bytes = vec![0; (to - from) as usize];
    file.read_exact_at(&mut bytes, from)?;
    file.write_all_at(&bytes, from)
}
