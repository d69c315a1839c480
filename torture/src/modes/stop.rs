//! The process stands still for a while (SIGSTOP, SIGCONT), as under a debugger, a paused container or a machine that
//! swaps. Nothing may be lost, and it goes on by itself: with acknowledgements, commits and segments.

use std::sync::Arc;
use std::time::Duration;

use rustix::process::Signal;

use crate::Result;
use crate::load::Shape;
use crate::modes::until;
use crate::oracle::Violation;
use crate::random::Random;
use crate::report::Report;
use crate::rig::{Ground, Rig};
use crate::server::PATIENCE;
use crate::steps::{Step, Watch};

/// So many stops must come to everything that they stand for.
const DEMANDED_AT: u64 = 4;
/// So often it must go on then.
const RESUMED_MIN: u64 = 2;
/// One stop in so many ends in a kill: it never goes on.
const KILL_ONE_IN: u64 = 3;
/// Events that are acknowledged once it goes on.
const RESUMED_EVENTS: u64 = 20;

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
    let mut resumed = 0;
    while rig.tally.faults < stops && !rig.has_findings() {
        let Some(mut server) = rig.start()? else { break };
        let [before, still] = [300, 2_000].map(|most| Duration::from_millis(random.below(most)));
        let goes_on = rig.tally.faults % KILL_ONE_IN != KILL_ONE_IN - 1;
        let (notes, data, partitions) = (Arc::clone(&rig.notes), rig.launch.data.clone(), rig.partitions);
        rig.load_with(&mut server, |server| {
            std::thread::sleep(before);
            server.process.freeze()?;
            notes.judge_end(server.process.ended());
            std::thread::sleep(Duration::from_millis(1_000) + still);
            if goes_on {
                let mut watch = Watch::default();
                let seen = watch.look(&data, partitions);
                server.process.signal(Signal::CONT)?;
                let writes = || {
                    let now = watch.look(&data, partitions);
                    now.commits > seen.commits && now.rolls > seen.rolls
                };
                if !(notes.await_acknowledged(RESUMED_EVENTS) && until(PATIENCE, writes)) {
                    notes.find(Violation::NotRecovered, "it does not go on after it stood still");
                }
            }
            notes.judge_end(server.process.kill());
            Ok(())
        })?;
        rig.tally.faults += 1;
        resumed += u64::from(goes_on);
        rig.recover_and_check()?;
    }
    rig.demand_acknowledged()?;
    report.add(rig.finish());
    report.notes.push(format!("{resumed} of them went on"));
    report.demand(stops >= DEMANDED_AT, &[Step::Roll, Step::Commit, Step::Trim]);
    if report.is_good() && stops >= DEMANDED_AT && resumed < RESUMED_MIN {
        report.findings.add(Violation::NotTested, format!("it went on {resumed} times after it stood still"));
    }
    Ok(report)
}
