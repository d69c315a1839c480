//! `eye send`: events from a file or standard input to a server.

use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::time::Instant;

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use super::Context;
use super::failure::{Failure, Result};
use super::lines::{Line, Lines};
use super::output::{Tone, note};
use super::sender::{Plan, Tally, send_all};
use super::text::{counted, safe, thousands};

pub(crate) const EXAMPLES: &str = "\
A line without event_id gets one before it is sent, so that a repeated try never stores it twice.
Gzip and zstd are recognised by themselves.

Examples:
  eye send events.ndjson
  zcat events.ndjson.gz | eye send
  eye send events.ndjson.gz --url https://eye.example.com --token eye_wk_… --json";

/// Rejections shown to people; `--json` lists more.
const REJECTIONS_SHOWN: usize = 10;

/// How much at once, and how stubborn.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct Pace {
    /// How many events in a request?
    #[arg(long, value_name = "N", default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    batch: u32,
    /// How many requests in flight?
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=64))]
    in_flight: u32,
    /// How many tries per request, with growing pauses, before giving up?
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    tries: u32,
}

impl Pace {
    /// As the sender takes it.
    pub(crate) fn plan(self) -> Plan {
        Plan { batch_events: self.batch as usize, in_flight: self.in_flight as usize, tries_max: self.tries }
    }
}

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Which file? Standard input if absent or `-`
    file: Option<PathBuf>,
    #[command(flatten)]
    pace: Pace,
}

pub(crate) fn run(context: &Context<'_>, args: &Args) -> Result<()> {
    let mut lines = Lines::open(args.file.as_ref())?;
    let (total, read) = (lines.bytes_total(), lines.bytes_read());
    let bar = progress_bar(context, total);
    let tally = send(context, args.pace.plan(), &bar, &mut || lines.next(), &|bar| {
        bar.set_position(read.load(Ordering::Relaxed));
    })?;
    if tally.rejected > 0 {
        return Err(Failure::BadNews(format!("{} refused, see above", counted(tally.rejected, "event"))));
    }
    Ok(())
}

/// Sends, shows progress, prints the summary; an error only if something has no answer.
pub(crate) fn send(
    context: &Context<'_>,
    plan: Plan,
    bar: &ProgressBar,
    next: &mut dyn FnMut() -> Result<Option<Line>>,
    position: &(dyn Fn(&ProgressBar) + Sync),
) -> Result<Tally> {
    let client = context.client()?;
    client.check_reachable()?;
    let started = Instant::now();
    let (tally, sent) = send_all(&client, plan, next, &|tally: &Tally| {
        bar.set_message(short(tally));
        position(bar);
    });
    bar.finish_and_clear();
    let seconds = started.elapsed().as_secs_f64();
    if context.output.is_json() {
        context.output.document(&summary_json(&tally, sent.is_ok(), seconds).to_string())?;
    } else {
        context.output.line(&summary(context, &tally, seconds))?;
    }
    if let Err(Failure::Unreachable(message)) = sent {
        return Err(Failure::Unreachable(format!(
            "{message}\nwhat is counted above is safe. Send the same input again: events with an event_id of their own are not stored twice"
        )));
    }
    sent.map(|()| tally)
}

/// A bar on stderr for a person; nothing in a pipe (indicatif looks at stderr) or for a program.
pub(crate) fn progress_bar(context: &Context<'_>, total: Option<u64>) -> ProgressBar {
    if context.output.is_json() {
        return ProgressBar::hidden();
    }
    let (bar, template) = match total {
        Some(total) => (ProgressBar::new(total), "{bar:30} {percent:>3} %  {msg}  {eta} left"),
        None => (ProgressBar::new_spinner(), "{spinner} {msg}  {elapsed}"),
    };
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

/// The three counts.
pub(crate) fn short(tally: &Tally) -> String {
    format!(
        "{} stored, {} duplicate, {} rejected",
        thousands(tally.stored),
        thousands(tally.duplicate),
        thousands(tally.rejected)
    )
}

/// What became of everything, for people.
pub(crate) fn summary(context: &Context<'_>, tally: &Tally, seconds: f64) -> String {
    let output = context.output;
    let mut lines = Vec::new();
    for rejection in tally.rejections.iter().take(REJECTIONS_SHOWN) {
        let place = format!("line {}:", rejection.line);
        lines.push(format!(
            "{} {} ({})",
            output.tone(Tone::Bad, &place),
            safe(&rejection.message),
            safe(&rejection.code)
        ));
    }
    let hidden = tally.rejected.saturating_sub(REJECTIONS_SHOWN as u64);
    if hidden > 0 {
        lines.push(format!("… and {} more; --json or \"eye rejections\" shows them", thousands(hidden)));
    }
    let retries =
        if tally.retries > 0 { format!(", {}", counted(tally.retries, "repeated request")) } else { String::new() };
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "for people"
    )]
    let rate = (tally.answered() as f64 / seconds.max(0.001)) as u64;
    let tone = if tally.rejected > 0 { Tone::Warning } else { Tone::Good };
    lines.push(format!(
        "{} in {seconds:.1} s ({} events/s{retries})",
        output.tone(tone, &short(tally)),
        thousands(rate)
    ));
    lines.join("\n")
}

fn summary_json(tally: &Tally, is_complete: bool, seconds: f64) -> serde_json::Value {
    let offset: Vec<String> = tally.offset.iter().map(u64::to_string).collect();
    json!({
        "stored": tally.stored,
        "duplicate": tally.duplicate,
        "rejected": tally.rejected,
        "complete": is_complete,
        "retries": tally.retries,
        "offset": offset.join(","),
        "seconds": (seconds * 1000.0).round() / 1000.0,
        "rejections": tally.rejections,
    })
}

/// Says where a person can look next.
pub(crate) fn hint(context: &Context<'_>, text: &str) {
    if context.output.is_terminal() && !context.output.is_json() {
        note(&context.output.tone(Tone::Quiet, text));
    }
}
