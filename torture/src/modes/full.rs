//! A full disk: filled while the product runs, once up to its reserve and once to the last byte. Collecting answers 507 or
//! 503, reads go on, and when there is space again it takes events again, soon and without a restart. A disk without a
//! reserve stays full until a flush has failed, and what that could not write is flushed when there is space.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::Result;
use crate::load::{Notes, Shape};
use crate::machine::{FileSystem, MemoryDisk, Mount};
use crate::modes::until;
use crate::modes::upkeep::demand;
use crate::observe;
use crate::oracle::{Findings, Violation};
use crate::random::Random;
use crate::report::Report;
use crate::rig::{Ground, Rig, Tally};
use crate::server::Launch;
use crate::steps::Step;

/// The disk.
const DISK_BYTES: u64 = 96 << 20;
/// Longer than this is never.
const PATIENCE: Duration = Duration::from_secs(30);
/// A flush of what is there comes sooner.
const FLUSH_MAX: Duration = Duration::from_secs(2);
/// From there being space again to events that are taken.
const RESUME_MAX: Duration = Duration::from_secs(5);
/// Fills of one folder: few, so that a short run has every kind of folder.
const FILLS_PER_FOLDER: u64 = 2;
/// So many fills must come to a commit, and to a new segment.
const DEMANDED_AT: u64 = 8;

/// A disk of any kind, unmounted when dropped.
enum Disk {
    Memory(MemoryDisk),
    Loop(Mount),
}

impl Disk {
    fn point(&self) -> &Path {
        match self {
            Self::Memory(disk) => &disk.point,
            Self::Loop(mount) => &mount.point,
        }
    }
}

/// Fills disks so often.
///
/// # Errors
/// The tools failed.
pub fn run(ground: &Ground, fills: u64) -> Result<Report> {
    let mut report = Report::new("full", ground.seed);
    let random = Random::new(ground.seed).fork(8);
    let (mut folder, mut longest) = (0, Duration::ZERO);
    while report.tally.faults < fills && report.is_good() {
        let disk = if folder % 2 == 0 {
            MemoryDisk::new(DISK_BYTES).map(Disk::Memory)
        } else {
            Mount::of_size(FileSystem::Ext4, DISK_BYTES).map(Disk::Loop)
        };
        match disk {
            Ok(disk) => {
                let count = FILLS_PER_FOLDER.min(fills - report.tally.faults);
                report.add(one_folder(ground, &disk, random.fork(folder), folder, count, &mut longest)?);
            }
            Err(error) => {
                report.skip(format!("full disks, because {error}"));
                return Ok(report);
            }
        }
        folder += 1;
    }
    report.notes.push(format!("events are taken {} ms after there is space again at most", longest.as_millis()));
    report.demand(fills >= DEMANDED_AT, &[Step::Roll, Step::Commit]);
    Ok(report)
}

fn one_folder(
    ground: &Ground,
    disk: &Disk,
    mut random: Random,
    folder: u64,
    fills: u64,
    longest: &mut Duration,
) -> Result<(Tally, Findings)> {
    let place = disk.point().to_owned();
    let mut rig = Rig::new(ground, Shape::new(format!("f{folder}")), &mut random, Some(place.clone()))?;
    // Of each kind of disk every second has no reserve: every write finds the end of the disk by itself.
    let has_reserve = (folder / 2).is_multiple_of(2);
    rig.flag("disk-reserve", if has_reserve { "8MiB" } else { "0B" });
    let Some(mut server) = rig.start()? else { return Ok(rig.finish()) };
    let session = observe::session_path(&rig.sessions()[0], 10, None);
    let (notes, launch) = (Arc::clone(&rig.notes), rig.launch.clone());
    for _ in 0..fills {
        if rig.has_findings() {
            break;
        }
        rig.load(&server, || {
            std::thread::sleep(Duration::from_millis(100 + random.below(200)));
            let failed = failed_flushes(&launch);
            let ballast = fill(&place, if has_reserve { 4 << 20 } else { 0 })?;
            let before = refused(&notes);
            if !until(PATIENCE, || refused(&notes) > before + 5) {
                notes.find(Violation::NotRecovered, "the disk is full, and nothing is refused");
            }
            // A client of its own: the server closes connections that are silent for long.
            match Rig::client(&server).get(&session) {
                Ok(answer) if matches!(answer.status, 200 | 404) => {}
                answer => {
                    let detail =
                        format!("the disk is full, and a read ends in {:?}", answer.map(|answer| answer.status));
                    notes.find(Violation::NotRecovered, detail);
                }
            }
            if !has_reserve && !stays_full_until(&place, || failed_flushes(&launch) > failed)? {
                notes.find(Violation::NotTested, "the disk is full, and no flush fails");
            }
            fs::remove_file(ballast)?;
            let freed = Instant::now();
            // Not only one that was under way.
            let is_taken = notes.await_acknowledged(20);
            let waited = freed.elapsed();
            *longest = waited.max(*longest);
            if !is_taken || waited > RESUME_MAX {
                let detail = format!("there is space again, and nothing is taken for {waited:?}");
                notes.find(Violation::NotRecovered, detail);
            }
            demand(&mut Rig::client(&server), &notes, "/v1/flush");
            Ok(())
        })?;
        rig.tally.faults += 1;
        rig.check_running(&server);
    }
    notes.judge_end(server.process.kill());
    rig.recover_and_check()?;
    Ok(rig.finish())
}

fn refused(notes: &Notes) -> u64 {
    notes.witness().refused.values().sum()
}

/// How many flushes have failed since the start.
fn failed_flushes(launch: &Launch) -> usize {
    launch.log().matches("flush failed").count()
}

/// Keeps the disk full until this holds; false if it does not for too long. If everything was flushed just before the
/// disk got full, no flush comes: it is filled anew, and meanwhile there are new events.
fn stays_full_until(place: &Path, holds: impl Fn() -> bool) -> Result<bool> {
    let start = Instant::now();
    while !until(FLUSH_MAX, &holds) {
        if start.elapsed() > PATIENCE {
            return Ok(false);
        }
        fill(place, 0)?;
    }
    Ok(true)
}

/// Fills the disk until so much is left: with 0, until it takes not a byte more, what is kept for root included.
fn fill(place: &Path, left: u64) -> Result<PathBuf> {
    let path = place.join("ballast");
    let mut file = File::create(&path)?;
    let block = vec![0x5a; 64 << 10];
    loop {
        let stat = rustix::fs::statvfs(place)?;
        if left > 0 && stat.f_bavail.saturating_mul(stat.f_frsize) <= left {
            break;
        }
        // The last bytes may go to the product: then it is full too.
        if file.write_all(&block).is_err() {
            break;
        }
        file.sync_data().or_else(|_| file.sync_all()).ok();
    }
    Ok(path)
}
