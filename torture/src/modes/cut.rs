//! Power cuts: the data folder lies on a file system of its own, which is shut down without writing back what was not
//! synced. Under load, in start-up, in recovery from the cut before; and when a table gets a checkpoint, which is rare: some
//! folders are brought to just before one. Only the journal is elsewhere.

use std::time::Duration;

use rustix::process::Signal;

use crate::Result;
use crate::load::Shape;
use crate::machine::{FileSystem, Mount, cannot_cut};
use crate::modes::checkpoint::{self, Awaited, CHECKPOINT_ONE_IN, Sign};
use crate::oracle::Findings;
use crate::random::Random;
use crate::report::Report;
use crate::rig::{Ground, Rig, Tally};
use crate::steps::Step;

/// A new data folder after so many cuts.
const CUTS_PER_FOLDER: u64 = 10;
/// So many cuts must come to everything that they stand for.
const DEMANDED_AT: u64 = 150;

/// Cuts so often on one file system.
///
/// # Errors
/// The tools failed.
pub fn run(ground: &Ground, system: FileSystem, cuts: u64) -> Result<Report> {
    let mut report = Report::new(format!("cut {}", system.name()), ground.seed);
    if let Some(why) = cannot_cut(system) {
        report.skip(format!("power cuts on {}, because {why}", system.name()));
        return Ok(report);
    }
    let random = Random::new(ground.seed).fork(2 + system as u64);
    let mut folder = 0;
    while report.tally.faults < cuts && report.is_good() {
        let count = CUTS_PER_FOLDER.min(cuts - report.tally.faults);
        report.add(one_folder(ground, system, random.fork(folder), folder, count)?);
        folder += 1;
    }
    report.demand(cuts >= DEMANDED_AT, &[Step::Roll, Step::Commit, Step::Trim, Step::Checkpoint]);
    Ok(report)
}

fn one_folder(
    ground: &Ground,
    system: FileSystem,
    mut random: Random,
    folder: u64,
    cuts: u64,
) -> Result<(Tally, Findings)> {
    let mount = Mount::new(system)?;
    let run = format!("c{}{folder}", system.name());
    let mut rig = Rig::new(ground, Shape::new(run), &mut random, Some(mount.point.clone()))?;
    let mut awaited = None;
    if folder.is_multiple_of(CHECKPOINT_ONE_IN) {
        checkpoint::come_near(&mut rig)?;
        // A cut may take a checkpoint away again, but none that is proven: the first folder comes to one for sure.
        let sign = [Sign::Proof, Sign::Commit, Sign::Checkpoint][(folder / CHECKPOINT_ONE_IN % 3) as usize];
        awaited = Some(Awaited::new(&rig, sign));
    }
    while rig.tally.faults < cuts && !rig.has_findings() {
        one_cut(&mut rig, &mount, &mut random, awaited.take())?;
        while rig.tally.faults < cuts && random.one_in(3) {
            // Again while it starts: in recovery, or in the first start.
            let mut starting = rig.launch.spawn()?;
            std::thread::sleep(Duration::from_micros(random.below(40_000)));
            rig.notes.judge_end(starting.ended());
            mount.cut()?;
            starting.kill();
            mount.restore()?;
            rig.tally.faults += 1;
        }
        rig.recover_and_check()?;
    }
    rig.demand_acknowledged()?;
    Ok(rig.finish())
}

/// Load, cut, perhaps only when something that is awaited has happened, restore: nothing is started or checked after it.
///
/// The process is frozen in the instant before. The kernel's shutdown is no perfect power cut: an fdatasync that is
/// under way may return success though nothing was written. Behind a real cut nobody is left to be told so.
///
/// # Errors
/// The tools failed.
pub(super) fn one_cut(rig: &mut Rig<'_>, mount: &Mount, random: &mut Random, awaited: Option<Awaited>) -> Result<()> {
    let Some(mut server) = rig.start()? else { return Ok(()) };
    let moment = Duration::from_millis(random.below(300));
    // Once in four times it runs on without a disk: what it says then does not count, what it does to the disk would.
    let runs_on = random.one_in(4).then(|| Duration::from_millis(1 + random.below(40)));
    let notes = std::sync::Arc::clone(&rig.notes);
    rig.load_with(&mut server, |server| {
        match awaited {
            Some(awaited) => awaited.sleep(moment / 10),
            None => std::thread::sleep(moment),
        }
        server.process.freeze()?;
        notes.judge_end(server.process.ended());
        notes.set_dark(true);
        mount.cut()?;
        if let Some(time) = runs_on {
            server.process.signal(Signal::CONT)?;
            std::thread::sleep(time);
        }
        server.process.kill();
        Ok(())
    })?;
    mount.restore()?;
    rig.notes.set_dark(false);
    rig.tally.faults += 1;
    Ok(())
}
