//! `eye verify`: what the offline check found, for people and programs.

use indicatif::ProgressStyle;

use super::Context;
use super::failure::{Failure, Result};
use super::output::{Output, Tone};
use super::text::{counted, safe, thousands};
use crate::verify::report::{Finding, Report, Verdict};
use crate::verify::{Refusal, verify};

pub(crate) const EXAMPLES: &str = "\
Stop the server first: its data folder is locked. Nothing is written. Exit code 1 if something does not hold.

Examples:
  eye verify
  eye verify --data /var/lib/eye --json | jq '.findings'";

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Check sizes, hashes and offsets, but do not decode every row of the table
    #[arg(long)]
    quick: bool,
}

pub(crate) fn run(context: &Context<'_>, args: &Args) -> Result<()> {
    let output = context.output;
    let bar = super::send::progress_bar(context, Some(1));
    if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos}/{len}  {msg}") {
        bar.set_style(style);
    }
    let verified = verify(context.settings, !args.quick, &mut |what, done, total| {
        bar.set_message(what.to_owned());
        bar.set_length(total);
        bar.set_position(done);
    });
    bar.finish_and_clear();
    let report = verified.map_err(|refusal| match refusal {
        Refusal::Nothing(message) => Failure::Usage(message),
        Refusal::Away(message) => Failure::Unreachable(message),
    })?;
    let json = serde_json::to_string(&report).map_err(|error| super::strange_answer(&error))?;
    output.answer(&json, || Ok(human(output, &report)))?;
    if report.sound {
        return Ok(());
    }
    Err(Failure::BadNews(
        "something does not hold, see above; copy the data folder before anything is mended".to_owned(),
    ))
}

fn human(output: Output, report: &Report) -> String {
    let mut lines = Vec::new();
    for check in &report.checks {
        let (mark, tone) = match check.verdict {
            Verdict::Holds => ("✓", Tone::Good),
            Verdict::Violated => ("✗", Tone::Bad),
            Verdict::Unchecked => ("?", Tone::Warning),
        };
        let note = if check.verdict == Verdict::Unchecked { "  (damage kept it from being checked)" } else { "" };
        lines.push(format!("{} {:27} {}{note}", output.tone(tone, mark), check.name, check.rule));
    }
    lines.extend(report.findings.iter().map(|found| format!("  {}", output.tone(Tone::Bad, &finding(found)))));
    lines.extend(report.notices.iter().map(|notice| format!("  {}", output.tone(Tone::Quiet, &safe(notice)))));
    lines.push(String::new());
    lines.push(read(report));
    for line in &report.ledger {
        lines.push(format!(
            "token {}: {} received = {} stored + {} duplicate + {} rejected",
            safe(&line.token),
            thousands(line.received),
            thousands(line.stored),
            thousands(line.duplicate),
            thousands(line.rejected)
        ));
    }
    lines.join("\n")
}

fn finding(found: &Finding) -> String {
    let file = found.file.as_deref().map(|file| format!("{}, ", safe(file))).unwrap_or_default();
    let byte = found.byte.map(|byte| format!("byte {byte}: ")).unwrap_or_default();
    let separator = if byte.is_empty() && !file.is_empty() { ": " } else { "" };
    let file = if separator.is_empty() { file } else { file.trim_end_matches(", ").to_owned() };
    format!("{file}{separator}{byte}{} ({})", safe(&found.what), found.invariant)
}

fn read(report: &Report) -> String {
    let counts = report.counts;
    format!(
        "read {} in {} of the logs, {} and {} of the tables: {} and {} in the table, {} in the log behind it",
        counted(counts.records, "record"),
        counted(counts.segments, "segment"),
        counted(counts.commits, "commit"),
        counted(counts.files, "file"),
        counted(counts.events_in_table, "event"),
        counted(counts.rejections_in_table, "rejection"),
        thousands(counts.entries_behind_table)
    )
}
