//! The wall clock jumps, by an hour or ten years, forwards and back, or stands still, at restarts and while it runs. Nothing
//! is lost or doubled, and a session's order, which is the clients' time, stays.
//!
//! Nothing is sent twice here: how long a repeat is known is a matter of the clock by definition.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use crate::Result;
use crate::load::Shape;
use crate::machine::faketime;
use crate::random::Random;
use crate::report::Report;
use crate::rig::{Ground, Rig};
use crate::steps::Step;

/// Where the clock goes, relative to the real one; or where it stands still.
const JUMPS: [&str; 8] = ["+0", "+1h", "-1h", "+10y", "-10y", "+1d", "-1d", "2026-06-01 12:00:00"];
/// So many jumps must come to everything that they stand for.
const DEMANDED_AT: u64 = 12;

/// Lets it jump so often.
///
/// # Errors
/// The tools failed.
pub fn run(ground: &Ground, jumps: u64) -> Result<Report> {
    let mut report = Report::new("clock", ground.seed);
    let library = match faketime() {
        Ok(library) => library,
        Err(why) => {
            report.skip(format!("clock jumps, because {why}"));
            return Ok(report);
        }
    };
    let mut random = Random::new(ground.seed).fork(11);
    let shape = Shape { repeats: false, shares_ids: false, ..Shape::new("j") };
    let mut rig = Rig::new(ground, shape, &mut random, None)?;
    let notes = Arc::clone(&rig.notes);
    let clock = rig.launch.work.join("clock");
    rig.set("LD_PRELOAD", library.as_os_str());
    rig.set("FAKETIME_TIMESTAMP_FILE", clock.as_os_str());
    rig.set("FAKETIME_NO_CACHE", "1");
    rig.set("FAKETIME_DONT_FAKE_MONOTONIC", "1");
    while rig.tally.faults < jumps && !rig.has_findings() {
        fs::write(&clock, random.of(&JUMPS))?;
        let Some(mut server) = rig.start()? else { break };
        let [first, second] = [(); 2].map(|()| Duration::from_millis(150 + random.below(200)));
        let during = *random.of(&JUMPS);
        let kills = random.one_in(2);
        rig.load_with(&mut server, |server| {
            std::thread::sleep(first);
            // Written beside and renamed: it is read at any moment.
            let new = clock.with_extension("new");
            fs::write(&new, during)?;
            fs::rename(&new, &clock)?;
            std::thread::sleep(second);
            if kills {
                notes.judge_end(server.process.kill());
            }
            Ok(())
        })?;
        if !kills {
            rig.check_running(&server);
            rig.stop(&mut server)?;
        }
        rig.tally.faults += 2;
        fs::write(&clock, random.of(&JUMPS))?;
        rig.recover_and_check()?;
    }
    rig.demand_acknowledged()?;
    report.add(rig.finish());
    report.demand(jumps >= DEMANDED_AT, &[Step::Commit]);
    Ok(report)
}
