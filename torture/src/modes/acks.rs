//! The order of acknowledgement: a run under strace, held against the rules of [`crate::trace`].

use std::time::{Duration, Instant};

use crate::Result;
use crate::load::Shape;
use crate::machine::cannot_strace;
use crate::modes::io::await_trace;
use crate::oracle::{Findings, Violation};
use crate::random::Random;
use crate::report::Report;
use crate::rig::{Ground, Rig, Tally};
use crate::server::{NotStarted, PATIENCE};
use crate::trace::{self, Checked};

/// A run that is refused so often is over.
const REFUSED_MAX: u64 = 50;
/// A run takes no longer than this, however slow the machine.
const LONGEST: Duration = Duration::from_secs(40);

/// Traces runs until so many acknowledgements were checked.
///
/// # Errors
/// The tools failed.
pub fn run(ground: &Ground, acknowledgements: u64) -> Result<Report> {
    let mut report = Report::new("acks", ground.seed);
    if let Some(why) = cannot_strace() {
        report.skip(format!("the order of acknowledgement, because {why}"));
        return Ok(report);
    }
    let random = Random::new(ground.seed).fork(5);
    let mut all = Checked::default();
    let mut runs = 0;
    while all.acknowledgements < acknowledgements && report.is_good() {
        let mut rig = Rig::new(ground, shape(runs), &mut random.fork(runs), None)?;
        let checked = traced(&mut rig, acknowledgements - all.acknowledgements, None)?;
        all.acknowledgements += checked.acknowledgements;
        all.names += checked.names;
        all.commits += checked.commits;
        all.files += checked.files;
        all.trims += checked.trims;
        // The last run may be short; all of them together must show every rule at work.
        let is_last = all.acknowledgements >= acknowledgements;
        if checked.acknowledgements == 0 || is_last && (all.commits == 0 || all.files == 0 || all.trims == 0) {
            rig.find(Violation::NotTested, format!("the traced runs show too little: {all:?}"));
        }
        report.add(rig.finish());
        runs += 1;
    }
    let Checked { acknowledgements, names, commits, files, trims } = all;
    report.notes.push(format!(
        "{runs} traces: {acknowledgements} acknowledgements, {names} names, {commits} commits, {files} files, {trims} \
         trims in order"
    ));
    Ok(report)
}

fn shape(run: u64) -> Shape {
    // A repeat of an event is written again: the first write is the one that counts.
    Shape { repeats: false, large_one_in: 200, ..Shape::new(format!("a{run}")) }
}

/// One run under strace and its check, for the sabotages; perhaps with a call that fails.
///
/// # Errors
/// The tools failed.
pub fn one_run(
    ground: &Ground,
    run: u64,
    inject: Option<&str>,
    prepare: impl FnOnce(&mut Rig<'_>),
) -> Result<(Tally, Findings)> {
    let mut rig = Rig::new(ground, shape(run), &mut Random::new(ground.seed).fork(5).fork(run), None)?;
    prepare(&mut rig);
    rig.tally.faults += u64::from(inject.is_some());
    let _ = traced(&mut rig, 1_500, inject)?;
    Ok(rig.finish())
}

/// Load under strace until about so many events are acknowledged, an orderly stop, the rules.
fn traced(rig: &mut Rig<'_>, acknowledgements: u64, inject: Option<&str>) -> Result<Checked> {
    let path = rig.launch.work.join("trace");
    // The smallest segments, and many flushes: many segments are made and removed.
    rig.flag("log-segment-bytes-max", "64KiB");
    rig.flag("log-keep-commits", "1");
    rig.flag("flush-age-max", "60ms");
    let text = path.display().to_string();
    let calls = format!("trace={}", trace::CALLS);
    let wrapper = ["strace", "-D", "-f", "-y", "-qq", "-s", "400000", "-e", &calls, "-e", "signal=none", "-o", &text];
    rig.launch.wrapper = wrapper.map(Into::into).into();
    rig.launch.wrapper.extend(inject.iter().flat_map(|inject| ["-e".into(), format!("inject={inject}").into()]));
    rig.notes.set_disk_fails(inject.is_some());
    let mut server = match (rig.launch.start(), inject) {
        (Ok(server), _) => server,
        // It may refuse to start: that is what the fault is for.
        (Err(error), Some(_)) if error.is::<NotStarted>() => {
            rig.launch.wrapper.clear();
            rig.notes.set_disk_fails(false);
            rig.recover_and_check()?;
            return Ok(Checked::default());
        }
        (Err(error), None) if error.is::<NotStarted>() => {
            rig.find(Violation::NotRecovered, error.to_string());
            return Ok(Checked::default());
        }
        (Err(error), _) => return Err(error),
    };
    let notes = std::sync::Arc::clone(&rig.notes);
    let wanted = acknowledgements.min(4_000);
    rig.load(&server, || {
        let start = Instant::now();
        let is_on = || {
            let witness = notes.witness();
            // Refused so often: the fault has come.
            witness.acknowledged() < wanted && witness.refused.values().sum::<u64>() < REFUSED_MAX
        };
        while is_on() && start.elapsed() < LONGEST {
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    })?;
    match inject {
        // It may have to be killed: that is what the fault is for.
        Some(_) => {
            let _ = server.stop(PATIENCE)?;
        }
        None => rig.stop(&mut server)?,
    }
    rig.launch.wrapper.clear();
    rig.notes.set_disk_fails(false);
    let calls = trace::parse(&await_trace(&path)?);
    let (checked, findings) = trace::check(&calls, &rig.launch.data.display().to_string());
    rig.notes.witness().findings.extend(findings);
    rig.recover_and_check()?;
    Ok(checked)
}
