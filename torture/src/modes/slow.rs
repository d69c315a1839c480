//! A slow disk: every sync takes long. Acknowledgements come late, and none is wrong.
//!
//! The rule: an event that is sent alone is answered after its sync, which begins after it was sent. Its answer takes
//! as long as a sync at least, or the disk was not slow.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::Result;
use crate::load::Shape;
use crate::machine::cannot_strace;
use crate::oracle::Violation;
use crate::random::Random;
use crate::report::Report;
use crate::rig::{Ground, Rig};
use crate::server::Server;
use crate::steps::Step;

/// How long a sync takes, in microseconds.
const DELAYS: [u32; 3] = [5_000, 40_000, 250_000];
/// Events that are sent alone, one after the other, before the load.
const SINGLES: u32 = 3;

/// Slows the disk so often.
///
/// # Errors
/// The tools failed.
pub fn run(ground: &Ground, runs: u64) -> Result<Report> {
    let mut report = Report::new("slow", ground.seed);
    if let Some(why) = cannot_strace() {
        report.skip(format!("slow disks, because {why}"));
        return Ok(report);
    }
    let random = Random::new(ground.seed).fork(9);
    let mut answers = Vec::new();
    for number in 0..runs {
        let mut random = random.fork(number);
        let mut rig = Rig::new(ground, Shape::new(format!("w{number}")), &mut random, None)?;
        let delay = DELAYS[number as usize % DELAYS.len()];
        rig.delay("fsync,fdatasync", delay);
        let Some(mut server) = rig.start()? else {
            report.add(rig.finish());
            break;
        };
        answers.push(format!("{} of {}", await_singles(&mut rig, &server, delay).as_millis(), delay / 1_000));
        let notes = Arc::clone(&rig.notes);
        rig.load_with(&mut server, |server| {
            if !notes.await_acknowledged(1) {
                let detail = format!("nothing is acknowledged when a sync takes {delay} µs");
                notes.find(Violation::NotRecovered, detail);
            }
            std::thread::sleep(Duration::from_millis(2_000 + random.below(500)));
            notes.judge_end(server.process.kill());
            Ok(())
        })?;
        rig.tally.faults += 1;
        rig.launch.wrapper.clear();
        rig.recover_and_check()?;
        report.add(rig.finish());
        if !report.is_good() {
            break;
        }
    }
    report.notes.push(format!("ms of an answer and of a sync: {}", answers.join(", ")));
    report.demand(runs >= DELAYS.len() as u64, &[Step::Commit]);
    Ok(report)
}

/// Sends events alone. How long an answer took: that it took less than a sync is a finding.
fn await_singles(rig: &mut Rig<'_>, server: &Server, delay: u32) -> Duration {
    let begun = Instant::now();
    let taken = rig.singles(server, SINGLES as usize);
    let answer = begun.elapsed() / SINGLES;
    if taken < SINGLES as usize {
        rig.find(
            Violation::NotRecovered,
            format!("of {SINGLES} events {taken} are taken when a sync takes {delay} µs"),
        );
    } else if answer < Duration::from_micros(delay.into()) {
        rig.find(Violation::NotTested, format!("a sync is to take {delay} µs, and an answer takes {answer:?}"));
    }
    answer
}
