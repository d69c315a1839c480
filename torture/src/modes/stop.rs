//! The process stands still for a while (SIGSTOP, SIGCONT), as under a debugger, a paused container or a machine that
//! swaps. Nothing may be lost, and it goes on by itself.

use std::sync::Arc;
use std::time::Duration;

use rustix::process::Signal;

use crate::Result;
use crate::load::Shape;
use crate::oracle::Violation;
use crate::random::Random;
use crate::report::Report;
use crate::rig::{Ground, Rig};
use crate::steps::Step;

/// So many stops must come to everything that they stand for.
const DEMANDED_AT: u64 = 4;

/// Stops it so often.
///
/// # Errors
/// The tools failed.
pub fn run(ground: &Ground, stops: u64) -> Result<Report> {
    let mut report = Report::new("stop", ground.seed);
    let mut random = Random::new(ground.seed).fork(10);
    let mut rig = Rig::new(ground, Shape::new("t"), &mut random, None)?;
    // Few lives, so in each of them much is to happen.
    rig.flag("flush-age-max", "50ms");
    rig.flag("log-keep-commits", "1");
    rig.flag("log-segment-bytes-max", "64KiB");
    while rig.tally.faults < stops && !rig.has_findings() {
        let Some(mut server) = rig.start()? else { break };
        let [before, still, after] = [300, 2_000, 700].map(|most| Duration::from_millis(random.below(most)));
        let kills_still = random.one_in(3);
        let notes = Arc::clone(&rig.notes);
        rig.load_with(&mut server, |server| {
            std::thread::sleep(before);
            server.process.freeze()?;
            notes.judge_end(server.process.ended());
            std::thread::sleep(Duration::from_millis(1_000) + still);
            if !kills_still {
                server.process.signal(Signal::CONT)?;
                if !notes.await_acknowledged(1) {
                    notes.find(Violation::NotRecovered, "it does not go on after it stood still");
                }
                std::thread::sleep(after);
            }
            notes.judge_end(server.process.kill());
            Ok(())
        })?;
        rig.tally.faults += 1;
        rig.recover_and_check()?;
    }
    rig.demand_acknowledged()?;
    report.add(rig.finish());
    report.demand(stops >= DEMANDED_AT, &[Step::Roll, Step::Commit, Step::Trim]);
    Ok(report)
}
