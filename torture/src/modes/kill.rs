//! `kill -9` at random moments under load: before, in and after flushes, in start-up, in an orderly stop; and when a table
//! gets a checkpoint, which is rare: some folders are brought to just before one.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::Result;
use crate::load::Shape;
use crate::observe;
use crate::oracle::Findings;
use crate::random::Random;
use crate::report::Report;
use crate::rig::{Ground, Rig, Tally};
use crate::server::PATIENCE;
use crate::steps::{Step, names};

/// A new data folder after so many kills: reading all of it back takes longer and longer.
const KILLS_PER_FOLDER: u64 = 10;
/// One folder in so many comes to a checkpoint.
const CHECKPOINT_ONE_IN: u64 = 5;
/// Commits after which a table gets one.
const CHECKPOINT_COMMITS: usize = 100;
/// So many kills must come to one, and to everything else.
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
    let mut checkpoint = None;
    if folder.is_multiple_of(CHECKPOINT_ONE_IN) {
        come_near_checkpoint(&mut rig)?;
        checkpoint = Some(Awaited::new(&rig, folder.is_multiple_of(2 * CHECKPOINT_ONE_IN)));
    }
    while rig.tally.faults < kills && !rig.has_findings() {
        let Some(mut server) = rig.start()? else { break };
        let moment = Duration::from_millis(random.below(400));
        let stops_first = random.one_in(6);
        let stopping = Duration::from_millis(random.below(30));
        rig.load_with(&mut server, |server| {
            match checkpoint.take() {
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

/// Makes commits, one request each, until a few more bring a checkpoint.
fn come_near_checkpoint(rig: &mut Rig<'_>) -> Result<()> {
    let Some(mut server) = rig.start()? else { return Ok(()) };
    // The first commit makes the table. A flush of two partitions makes two.
    for _ in 0..CHECKPOINT_COMMITS {
        if observe::commits(&rig.launch.data)?.len() > CHECKPOINT_COMMITS - 4 {
            break;
        }
        rig.steps(&server, 1);
        let _ = Rig::client(&server).post("/v1/flush", "application/json", b"{}");
    }
    rig.notes.judge_end(server.process.kill());
    Ok(())
}

/// What a kill waits for: the checkpoint, or the commit before it.
struct Awaited {
    folder: PathBuf,
    /// Of its name.
    end: String,
}

impl Awaited {
    fn new(rig: &Rig<'_>, is_checkpoint: bool) -> Self {
        let commit = format!("{CHECKPOINT_COMMITS:020}.json");
        let end = if is_checkpoint { ".checkpoint.parquet".to_owned() } else { commit };
        Self { folder: rig.launch.data.join("table/events/_delta_log"), end }
    }

    /// Until it has its name, and a little longer.
    fn sleep(self, more: Duration) {
        let start = Instant::now();
        while start.elapsed() < PATIENCE && !names(&self.folder).iter().any(|name| name.ends_with(&self.end)) {
            std::thread::sleep(Duration::from_micros(200));
        }
        std::thread::sleep(more);
    }
}
