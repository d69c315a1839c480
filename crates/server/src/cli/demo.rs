//! `eye demo`: realistic traffic, the same for the same seed, sent the way `eye send` sends.

mod rng;
mod traffic;

use std::thread;
use std::time::{Duration, Instant};

use eye_event::Timestamp;

use super::Context;
use super::failure::{Failure, Result};
use super::lines::Line;
use super::send::{self, Pace};
use traffic::{Shape, Traffic};

pub(crate) const EXAMPLES: &str = "\
Visitors of a shop look at pages, search, fill forms and buy. A few events come late, twice, with an unreadable, missing or
future time, and a few are no events at all: what the service does with them can be seen in \"eye problems\" and
\"eye rejections\". Event ids follow from the seed, so that a second run stores nothing twice.

Examples:
  eye demo
  eye demo --events 200000 --seed 7
  eye demo --print --events 1000 --until 2026-01-01T00:00:00Z > events.ndjson";

const MICROS_PER_DAY: i64 = 86_400_000_000;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How many events?
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    events: u64,
    /// Which traffic? The same seed gives the same bytes
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Over how many days?
    #[arg(long, value_name = "N", default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..=3650))]
    days: u32,
    /// Until when? The start of today (UTC) if absent
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// How many events a second at most? As fast as the server takes them if absent
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    rate: Option<u32>,
    /// Print the events, one a line, and send nothing
    #[arg(long)]
    print: bool,
    #[command(flatten)]
    pace: Pace,
}

pub(crate) fn run(context: &Context<'_>, args: &Args) -> Result<()> {
    let until = match &args.until {
        None => Timestamp::from_micros(i64::from(Timestamp::now().days()) * MICROS_PER_DAY),
        Some(text) => Timestamp::parse(text)
            .ok_or_else(|| Failure::usage(format!("--until {text} is no time: write 2026-01-01T00:00:00Z")))?,
    };
    let mut traffic = Traffic::new(Shape { seed: args.seed, events: args.events, days: args.days, until });
    if args.print {
        return print(context, traffic);
    }
    let bar = send::progress_bar(context, Some(args.events));
    let started = Instant::now();
    let mut number = 0;
    let mut next = || {
        let Some(bytes) = traffic.next() else {
            return Ok(None);
        };
        if let Some(rate) = args.rate {
            // Pacing, not waiting for something: each event has its own moment.
            let due = started + Duration::from_secs(1).mul_f64(number_as_f64(number) / f64::from(rate));
            thread::sleep(due.saturating_duration_since(Instant::now()));
        }
        number += 1;
        Ok(Some(Line { number, bytes: bytes.into_bytes() }))
    };
    let mut plan = args.pace.plan();
    if let Some(rate) = args.rate {
        // A slow stream shows up at once, not when a large batch is full.
        plan.batch_events = plan.batch_events.min((rate / 4).max(1) as usize);
    }
    // Refused events are part of the show, not bad news.
    let tally = send::send(context, plan, &bar, &mut next, &|bar| bar.inc(0))?;
    bar.set_position(tally.answered());
    send::hint(context, "look around: eye events · eye problems · eye rejections · eye ledger");
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "a pace needs no exact number")]
fn number_as_f64(number: u64) -> f64 {
    number as f64
}

fn print(context: &Context<'_>, traffic: Traffic) -> Result<()> {
    const CHUNK_BYTES: usize = 64 << 10;
    let mut chunk = String::with_capacity(CHUNK_BYTES * 2);
    for line in traffic {
        if !chunk.is_empty() {
            chunk.push('\n');
        }
        chunk.push_str(&line);
        if chunk.len() >= CHUNK_BYTES {
            context.output.line(&chunk)?;
            chunk.clear();
        }
    }
    if chunk.is_empty() { Ok(()) } else { context.output.line(&chunk) }
}
