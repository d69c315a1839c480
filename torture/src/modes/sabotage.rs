//! Builds with a bug, one at a time: the oracle must name each by what it does. The same scenarios without a bug must pass.
//!
//! The rule: that a broken build dies, or that another violation than those of its bug is found, catches nothing.
//!
//! Each bug is looked for first by the scenario that was made for it. Most of these wait until something has happened, and not
//! for a while: a slow machine comes as far.

mod scenarios;

use std::time::{Duration, Instant};

use eye_fault::Sabotage;

use crate::Result;
use crate::machine::{FileSystem, cannot_cut, cannot_strace, faketime};
use crate::oracle::{Findings, Violation};
use crate::report::Report;
use crate::rig::{Ground, Tally};
use scenarios::Scenario;

/// How often every scenario is tried before a bug counts as not caught.
const ROUNDS: u64 = 3;

/// A way to look for bugs: from cheap to dear.
const SCENARIOS: [(&str, Scenario); 12] = [
    ("kill", scenarios::kill),
    ("flush", scenarios::flush),
    ("slow flush", scenarios::slow_flush),
    ("order", scenarios::order),
    ("sync error", scenarios::sync_error),
    ("write error", scenarios::write_error),
    ("damage", scenarios::damage),
    ("token", scenarios::token),
    ("compaction", scenarios::compaction),
    ("erasure", scenarios::erasure),
    ("retention", scenarios::retention),
    ("cut", scenarios::power_cut),
];

/// Looking for one bug takes no longer.
const BUG_PATIENCE: Duration = Duration::from_secs(180);

/// Tries every bug.
///
/// # Errors
/// The tools failed.
pub fn run(ground: &Ground) -> Result<Report> {
    let mut report = Report::new("sabotage", ground.seed);
    if ground.eye_faults.is_none() {
        report.skip(
            "sabotages, because there is no eye-faults (cargo build --release --features faults --bin eye-faults)",
        );
        return Ok(report);
    }
    let mut missing = Vec::new();
    let scenarios: Vec<_> = SCENARIOS.into_iter().filter(|(name, _)| is_possible(name, &mut missing)).collect();
    report.skipped.extend(missing.iter().map(|why| format!("the scenario {why}")));
    for (name, scenario) in &scenarios {
        let run = scenario(ground, None, 0)?;
        if !run.1.is_empty() {
            println!("  without a sabotage, in {name}");
        }
        report.add(run);
    }
    if !report.is_good() {
        return Ok(report);
    }
    let mut caught = 0;
    for bug in Sabotage::ALL {
        let (by, others) = catch(ground, *bug, &scenarios, &mut report.tally);
        let (name, about) = (bug.name(), bug.about());
        match by {
            Some((scenario, runs, findings)) => {
                caught += 1;
                report.details.push(format!("{name}: {} by {scenario}, run {runs}", findings.names()));
            }
            None => {
                let (names, seen) = (names_of(*bug), others.join("; "));
                let what = format!("{name} is caught by none of {names:?}, but found was: [{seen}]: {about}");
                // What could not be run here may be the one that catches it.
                match &missing[..] {
                    [] => report.findings.add(Violation::NotTested, what),
                    missing => report.skip(format!("the sabotage, without {}: {what}", missing.join("; "))),
                }
            }
        }
    }
    report.notes.push(format!("{caught} of {} sabotages caught", Sabotage::ALL.len()));
    Ok(report)
}

/// False, and a word about it, if this machine cannot run it.
fn is_possible(name: &str, missing: &mut Vec<String>) -> bool {
    let why = match name {
        "slow flush" | "order" | "sync error" | "write error" => cannot_strace(),
        "retention" => faketime().err().map(|why| why.to_string()),
        "cut" => cannot_cut(FileSystem::Ext4),
        _ => None,
    };
    missing.extend(why.iter().map(|why| format!("{name}, because {why}")));
    why.is_none()
}

/// The scenario that is tried first: others come to nothing of these, or only with luck.
const fn made_for(bug: Sabotage) -> &'static str {
    use Sabotage as Bug;
    match bug {
        Bug::DropInApply
        | Bug::DropOnReplay
        | Bug::SkipDedup
        | Bug::ForgetDedup
        | Bug::StoredForDuplicate
        | Bug::AnswerWrongOffset
        | Bug::ForgetLedger
        | Bug::FlushTwice
        | Bug::CommitTwice
        | Bug::FlushedTooHigh
        | Bug::FlushedTooLow
        | Bug::ReorderRows
        | Bug::TruncateTimes
        | Bug::ForgetRejectionMessage
        | Bug::ShowOtherApplications => "flush",
        Bug::HideFlushing => "slow flush",
        Bug::SkipLogSync
        | Bug::AcknowledgeBeforeSync
        | Bug::SkipSegmentFolderSync
        | Bug::TrimUnflushed
        | Bug::TrimBeforeCommit
        | Bug::SkipFileSync
        | Bug::SkipCommitSync
        | Bug::SkipCommitFolderSync => "order",
        Bug::IgnoreSyncError => "sync error",
        Bug::IgnoreWriteError => "write error",
        Bug::CutDamage => "damage",
        Bug::SkipRegistryAppend => "token",
        Bug::CompactKeepsOld | Bug::CompactLosesNew | Bug::VacuumListed => "compaction",
        Bug::EraseHidesLate
        | Bug::EraseNotNoted
        | Bug::EraseKeepsLog
        | Bug::EraseSkipsNewest
        | Bug::EraseOneTooMany => "erasure",
        Bug::RetentionDayTooMany => "retention",
    }
}

/// Of what was acknowledged something is gone.
const GONE: &[Violation] = &[
    Violation::Lost,
    Violation::Vanished,
    Violation::LedgerWrong,
    Violation::TableDiffers,
    Violation::LogDiffers,
    Violation::VerifyFailed,
];
/// The same, or it was relied on too early. What is written over it may take its place.
const UNSAFE: &[Violation] = &[
    Violation::AckedEarly,
    Violation::NotDurable,
    Violation::Lost,
    Violation::Vanished,
    Violation::Doubled,
    Violation::OffsetChanged,
    Violation::LedgerWrong,
    Violation::TableDiffers,
    Violation::LogDiffers,
    Violation::VerifyFailed,
];
/// Something is there more than once.
const DOUBLED: &[Violation] = &[
    Violation::Doubled,
    Violation::OffsetChanged,
    Violation::OutOfOrder,
    Violation::LedgerWrong,
    Violation::TableDiffers,
    Violation::LogDiffers,
    Violation::VerifyFailed,
];
/// What was to go is there, or what was to stay is not.
const ERASED: &[Violation] = &[
    Violation::NotErased,
    Violation::Lost,
    Violation::Vanished,
    Violation::LedgerWrong,
    Violation::TableDiffers,
    Violation::LogDiffers,
    Violation::VerifyFailed,
];

/// The violations by which a bug is caught: those that say what it does.
const fn names_of(bug: Sabotage) -> &'static [Violation] {
    use Sabotage as Bug;
    use Violation as By;
    match bug {
        Bug::SkipLogSync
        | Bug::AcknowledgeBeforeSync
        | Bug::SkipSegmentFolderSync
        | Bug::IgnoreSyncError
        | Bug::IgnoreWriteError
        | Bug::TrimUnflushed
        | Bug::TrimBeforeCommit
        | Bug::SkipFileSync
        | Bug::SkipCommitSync
        | Bug::SkipCommitFolderSync
        | Bug::SkipRegistryAppend => UNSAFE,
        Bug::CutDamage | Bug::DropInApply | Bug::DropOnReplay | Bug::HideFlushing | Bug::CompactLosesNew => GONE,
        // A session of which a file is missing is refused, not shown without it.
        Bug::VacuumListed => &[By::Lost, By::Vanished, By::TableDiffers, By::VerifyFailed, By::NotRecovered],
        Bug::SkipDedup
        | Bug::ForgetDedup
        | Bug::FlushTwice
        | Bug::CommitTwice
        | Bug::FlushedTooLow
        | Bug::CompactKeepsOld => DOUBLED,
        Bug::FlushedTooHigh => {
            &[By::Lost, By::Vanished, By::OffsetChanged, By::TableDiffers, By::LogDiffers, By::VerifyFailed]
        }
        Bug::StoredForDuplicate => &[By::Doubled, By::OffsetChanged, By::OutOfOrder, By::LedgerWrong],
        Bug::AnswerWrongOffset => &[By::OffsetChanged, By::Doubled, By::OutOfOrder],
        Bug::ForgetLedger => &[By::LedgerWrong, By::VerifyFailed],
        Bug::ReorderRows => &[By::OutOfOrder, By::Lost, By::Vanished, By::TableDiffers, By::VerifyFailed],
        Bug::TruncateTimes => &[By::Changed, By::OutOfOrder, By::Vanished, By::TableDiffers, By::VerifyFailed],
        Bug::EraseHidesLate
        | Bug::EraseKeepsLog
        | Bug::EraseSkipsNewest
        | Bug::EraseOneTooMany
        | Bug::RetentionDayTooMany => ERASED,
        Bug::ForgetRejectionMessage => &[By::RejectionsDiffer],
        Bug::ShowOtherApplications => &[By::Leaked],
        Bug::EraseNotNoted => &[By::NotErased, By::AckedEarly, By::NotDurable, By::LedgerWrong],
    }
}

/// The scenario, the number of its run, what it found.
type Caught = (&'static str, u64, Findings);

/// Who caught it; and what else was found, of which none says what the bug does.
fn catch(
    ground: &Ground,
    bug: Sabotage,
    scenarios: &[(&'static str, Scenario)],
    tally: &mut Tally,
) -> (Option<Caught>, Vec<String>) {
    let (mut runs, mut others) = (0, Vec::new());
    let begun = Instant::now();
    let mut scenarios = scenarios.to_vec();
    scenarios.sort_by_key(|(name, _)| *name != made_for(bug));
    for round in 0..ROUNDS {
        for (name, scenario) in &scenarios {
            if begun.elapsed() > BUG_PATIENCE {
                return (None, others);
            }
            runs += 1;
            let (run, findings) = match scenario(ground, Some(bug), 1 + round) {
                Ok(run) => run,
                // What is broken may not answer at all.
                Err(error) => {
                    others.push(format!("{error} in {name}, run {runs}"));
                    continue;
                }
            };
            tally.add(run);
            if findings.counts().keys().any(|violation| names_of(bug).contains(violation)) {
                return (Some((name, runs, findings)), others);
            }
            // A run that tested nothing found nothing.
            if findings.counts().keys().any(|violation| *violation != Violation::NotTested) {
                let first = findings.kept().first().map(ToString::to_string).unwrap_or_default();
                others.push(format!("{} by {name}, run {runs} ({first})", findings.names()));
            }
        }
    }
    (None, others)
}
