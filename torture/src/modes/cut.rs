//! Power cuts: the data folder lies on a file system of its own, which is shut down without writing back what was not
//! synced. Under load, in start-up, in recovery from the cut before; and when a table gets a checkpoint, which is rare:
//! some folders are brought to just before one. In one folder of three a keeper merges files, removes old ones and
//! erases sessions meanwhile; in one of six each cut is on another day, and what is too old goes. Only the journal is
//! elsewhere.

mod keeper;

use std::sync::Arc;
use std::time::Duration;

use rustix::process::Signal;

use crate::Result;
use crate::load::{Notes, Shape};
use crate::machine::{FileSystem, Mount, cannot_cut, faketime};
use crate::modes::checkpoint::{self, Awaited, CHECKPOINT_ONE_IN, Sign};
use crate::modes::retention::{self, Expired};
use crate::oracle::{Findings, Violation};
use crate::random::Random;
use crate::report::Report;
use crate::rig::{Ground, Rig, Tally};
use crate::server::Server;
use crate::steps::Step;
use keeper::{Done, Keeper};

/// A new data folder after so many cuts.
const CUTS_PER_FOLDER: u64 = 10;
/// So many cuts must come to everything that they stand for.
const DEMANDED_AT: u64 = 150;
/// In one folder of so many there is a keeper.
const KEEPER_ONE_IN: u64 = 3;
/// In one of so many the days go by, and nothing else is done beside the load.
const RETENTION_ONE_IN: u64 = 6;

/// What was done beside the cuts.
#[derive(Clone, Copy, Debug, Default)]
struct Beside {
    kept: Done,
    expired: Expired,
}

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
    let has_clock = faketime();
    if let Err(why) = &has_clock {
        report.skip(format!("retention beside power cuts on {}, because {why}", system.name()));
    }
    let random = Random::new(ground.seed).fork(2 + system as u64);
    let (mut folder, mut beside) = (0, Beside::default());
    while report.tally.faults < cuts && report.is_good() {
        let count = CUTS_PER_FOLDER.min(cuts - report.tally.faults);
        report.add(one_folder(ground, system, random.fork(folder), folder, count, &mut beside)?);
        folder += 1;
    }
    report.demand(cuts >= DEMANDED_AT, &[Step::Roll, Step::Commit, Step::Trim, Step::Checkpoint]);
    let ([kept, old], is_long) = (beside.told(), report.is_good() && cuts >= DEMANDED_AT);
    let demanded = [Some(&kept), has_clock.is_ok().then_some(&old)];
    for (note, _) in demanded.into_iter().flatten().filter(|(_, is_missing)| is_long && *is_missing) {
        report.findings.add(Violation::NotTested, format!("beside the cuts there were too few of these: {note}"));
    }
    report.notes.extend([kept.0, old.0]);
    Ok(report)
}

impl Beside {
    /// What the keeper did and what was too old, and whether anything is missing of what a long run must come to.
    fn told(self) -> [(String, bool); 2] {
        let Done { merged_rows, removed_files, erasures, taken_up } = self.kept;
        let kept = format!(
            "{merged_rows} rows merged, {removed_files} files removed, {erasures} erasures, {taken_up} taken up by a start"
        );
        let Expired { events, cuts_before, cuts_after } = self.expired;
        let old =
            format!("{events} events too old, cut {cuts_before} times before they had gone and {cuts_after} after");
        [
            (kept, [merged_rows, removed_files, erasures, taken_up].contains(&0)),
            (old, [events, cuts_before, cuts_after].contains(&0)),
        ]
    }
}

fn one_folder(
    ground: &Ground,
    system: FileSystem,
    mut random: Random,
    folder: u64,
    cuts: u64,
    beside: &mut Beside,
) -> Result<(Tally, Findings)> {
    let mount = Mount::new(system)?;
    let run = format!("c{}{folder}", system.name());
    let mut rig = Rig::new(ground, Shape::new(run), &mut random, Some(mount.point.clone()))?;
    if folder % RETENTION_ONE_IN == 2 && faketime().is_ok() {
        beside.expired.add(retention::beside_cuts(&mut rig, &mount, &mut random, cuts)?);
        rig.demand_acknowledged()?;
        return Ok(rig.finish());
    }
    let mut awaited = None;
    if folder.is_multiple_of(CHECKPOINT_ONE_IN) {
        checkpoint::come_near(&mut rig)?;
        // A cut may take a checkpoint away again, but none that is proven: the first folder comes to one for sure.
        let sign = [Sign::Proof, Sign::Commit, Sign::Checkpoint][(folder / CHECKPOINT_ONE_IN % 3) as usize];
        awaited = Some(Awaited::new(&rig, sign));
    }
    let mut keeper = (folder % KEEPER_ONE_IN == 1).then(|| Keeper::new(&mut rig, &random));
    while rig.tally.faults < cuts && !rig.has_findings() {
        cut_beside(&mut rig, &mount, &mut random, awaited.take(), keeper.as_mut())?;
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
        match &mut keeper {
            Some(keeper) => keeper.recover_and_check(&mut rig)?,
            None => rig.recover_and_check()?,
        }
    }
    rig.demand_acknowledged()?;
    beside.kept.add(keeper.as_ref().map(Keeper::done).unwrap_or_default());
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
    cut_beside(rig, mount, random, awaited, None)
}

/// The same, perhaps beside a keeper.
fn cut_beside(
    rig: &mut Rig<'_>,
    mount: &Mount,
    random: &mut Random,
    awaited: Option<Awaited>,
    mut keeper: Option<&mut Keeper>,
) -> Result<()> {
    let Some(mut server) = rig.start()? else { return Ok(()) };
    let moment = Duration::from_millis(random.below(if keeper.is_some() { 600 } else { 300 }));
    // Once in four times it runs on without a disk: what it says then does not count, what it does to the disk would.
    // Not beside a keeper, who takes every answer for one that counts.
    let runs_on = random.one_in(4).then(|| Duration::from_millis(1 + random.below(40))).filter(|_| keeper.is_none());
    let notes = Arc::clone(&rig.notes);
    rig.load_with(&mut server, |server| {
        std::thread::scope(|scope| {
            if let Some(keeper) = keeper.as_deref_mut() {
                let (mut client, notes) = (Rig::client(server), &notes);
                scope.spawn(move || keeper.keep(&mut client, notes));
            }
            match awaited {
                Some(awaited) => awaited.sleep(moment / 10),
                None => std::thread::sleep(moment),
            }
            let is_cut = cut(server, mount, &notes, runs_on);
            // Also if it could not be cut: a keeper goes on until nobody answers.
            server.process.kill();
            is_cut
        })
    })?;
    if let Some(keeper) = keeper {
        keeper.look(rig);
    }
    mount.restore()?;
    rig.notes.set_dark(false);
    rig.tally.faults += 1;
    Ok(())
}

/// Freezes the process and cuts. Perhaps it runs on for a while then.
///
/// # Errors
/// The tools failed.
pub(super) fn cut(server: &mut Server, mount: &Mount, notes: &Notes, runs_on: Option<Duration>) -> Result<()> {
    server.process.freeze()?;
    notes.judge_end(server.process.ended());
    notes.set_dark(true);
    mount.cut()?;
    if let Some(time) = runs_on {
        server.process.signal(Signal::CONT)?;
        std::thread::sleep(time);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_run_that_never_met_one_of_what_goes_on_beside_the_cuts_has_tested_too_little() {
        let kept = Done { merged_rows: 1, removed_files: 1, erasures: 1, taken_up: 1 };
        let expired = Expired { events: 1, cuts_before: 1, cuts_after: 1 };
        let missing = |kept, expired| Beside { kept, expired }.told().map(|(_, is_missing)| is_missing);
        assert_eq!(missing(kept, expired), [false, false]);
        for less in [
            Done { merged_rows: 0, ..kept },
            Done { removed_files: 0, ..kept },
            Done { erasures: 0, ..kept },
            Done { taken_up: 0, ..kept },
        ] {
            assert_eq!(missing(less, expired), [true, false], "{less:?}");
        }
        for less in [
            Expired { events: 0, ..expired },
            Expired { cuts_before: 0, ..expired },
            Expired { cuts_after: 0, ..expired },
        ] {
            assert_eq!(missing(kept, less), [false, true], "{less:?}");
        }
    }
}
