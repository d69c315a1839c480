//! `kill -9` at random moments under load: before, in and after flushes, in start-up, in an orderly stop; and when a table
//! gets a checkpoint, which is rare: some folders are brought to just before one.

use std::sync::Arc;
use std::time::Duration;

use rustix::process::Signal;

use crate::Result;
use crate::load::Shape;
use crate::modes::checkpoint::{self, Awaited, CHECKPOINT_ONE_IN, Sign};
use crate::oracle::Findings;
use crate::random::Random;
use crate::report::Report;
use crate::rig::{Ground, Rig, Tally};
use crate::steps::Step;

/// A new data folder after so many kills: reading all of it back takes longer and longer.
const KILLS_PER_FOLDER: u64 = 10;
/// So many kills must come to everything that they stand for.
const DEMANDED_AT: u64 = 100;

/// Kills so often.
///
/// # Errors
/// The tools failed.
pub fn run(ground: &Ground, kills: u64) -> Result<Report> {
    let mut report = Report::new("kill", ground.seed);
    let random = Random::new(ground.seed).fork(1);
    let mut folder = 0;
    while report.tally.faults < kills && report.is_good() {
        let count = KILLS_PER_FOLDER.min(kills - report.tally.faults);
        report.add(one_folder(ground, random.fork(folder), folder, count)?);
        folder += 1;
    }
    report.demand(kills >= DEMANDED_AT, &[Step::Roll, Step::Commit, Step::Trim, Step::Checkpoint]);
    Ok(report)
}

fn one_folder(ground: &Ground, mut random: Random, folder: u64, kills: u64) -> Result<(Tally, Findings)> {
    let mut rig = Rig::new(ground, Shape::new(format!("k{folder}")), &mut random, None)?;
    let notes = Arc::clone(&rig.notes);
    let mut awaited = None;
    if folder.is_multiple_of(CHECKPOINT_ONE_IN) {
        checkpoint::come_near(&mut rig)?;
        let sign = if folder.is_multiple_of(2 * CHECKPOINT_ONE_IN) { Sign::Checkpoint } else { Sign::Commit };
        awaited = Some(Awaited::new(&rig, sign));
    }
    while rig.tally.faults < kills && !rig.has_findings() {
        let Some(mut server) = rig.start()? else { break };
        let moment = Duration::from_millis(random.below(400));
        let stops_first = random.one_in(6);
        let stopping = Duration::from_millis(random.below(30));
        rig.load_with(&mut server, |server| {
            match awaited.take() {
                Some(awaited) => awaited.sleep(moment / 10),
                None => std::thread::sleep(moment),
            }
            if stops_first {
                server.process.signal(Signal::TERM)?;
                std::thread::sleep(stopping);
            }
            // An orderly stop may have come to its end before.
            let ended = server.process.kill();
            notes.judge_end(ended.filter(|status| !stops_first || !status.success()));
            Ok(())
        })?;
        rig.tally.faults += 1;
        while rig.tally.faults < kills && random.one_in(3) {
            // Again while it starts.
            let mut starting = rig.launch.spawn()?;
            std::thread::sleep(Duration::from_micros(random.below(40_000)));
            notes.judge_end(starting.kill());
            rig.tally.faults += 1;
        }
        rig.recover_and_check()?;
    }
    rig.demand_acknowledged()?;
    Ok(rig.finish())
}
