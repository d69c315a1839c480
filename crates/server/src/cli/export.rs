//! `eye export`: everything that a query line chooses, into one file.
//!
//! The export is one moment: the first answer says what it has seen of the log, and events that came later are left out,
//! however long the rest takes. A file has its name only when it is whole.

mod sink;

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;

use super::client::{Client, Trouble};
use super::events::Filters;
use super::failure::{Failure, Result};
use super::output::note;
use super::sender::{FIRST_PAUSE, PAUSE_MAX, jittered};
use super::text::counted;
use super::{Context, send, view};
use sink::{Format, Sink};

pub(crate) use sink::write_record;

pub(crate) const EXAMPLES: &str = "\
Oldest events first. What is sent while the export runs is not in it.

Examples:
  eye export --out events.ndjson
  eye export 'category:checkout since:30d' --out checkout.parquet
  eye export --application web --format csv --out - | head
  eye export --out - | zstd > events.ndjson.zst";

const PAGE_MAX: usize = 10_000;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    filters: Filters,
    /// Only at or after this time
    #[arg(long, value_name = "TIME")]
    from: Option<String>,
    /// Only before this time
    #[arg(long, value_name = "TIME")]
    to: Option<String>,
    /// In which format? By the file's name, if absent; else ndjson
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// Into which file? It is replaced when the export is whole. Standard output if absent or `-`
    #[arg(long, value_name = "FILE", default_value = "-")]
    out: PathBuf,
    /// How many tries per page, with growing pauses, before giving up?
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    tries: u32,
    /// Wait until the server has seen this offset
    #[arg(long, value_name = "OFFSET")]
    at_least: Option<String>,
}

#[derive(Deserialize)]
struct Page<'a> {
    #[serde(borrow)]
    events: Vec<&'a RawValue>,
    next: Option<String>,
    version: u64,
    offset: String,
}

/// An event's place in the log.
#[derive(Deserialize)]
struct Place {
    partition: u16,
    offset: u64,
}

/// What the first answer has seen: one offset per partition.
struct Cut(Vec<u64>);

impl Cut {
    fn new(offset: &str) -> Self {
        Self(offset.split(',').map(|offset| offset.parse().unwrap_or(u64::MAX)).collect())
    }

    fn has(&self, event: &RawValue) -> Result<bool> {
        let place: Place = view::read(event.get())?;
        Ok(self.0.get(usize::from(place.partition)).is_some_and(|seen| place.offset <= *seen))
    }
}

pub(crate) fn run(context: &Context<'_>, args: &Args) -> Result<()> {
    let format = args.format.unwrap_or_else(|| Format::of(&args.out));
    let client = context.client()?;
    let mut query = args.filters.query();
    query.extend([("order", "oldest".to_owned()), ("limit", PAGE_MAX.to_string())]);
    let optional = [("from", &args.from), ("to", &args.to), ("at_least", &args.at_least)];
    query.extend(optional.into_iter().filter_map(|(name, value)| value.clone().map(|value| (name, value))));
    let bar = send::progress_bar(context, None);
    let (mut count, mut cursor) = (0_u64, None::<String>);
    // The first page is asked for before a file is made: a wrong question leaves none.
    let mut answer = page(&client, &query, cursor.as_ref(), args.tries)?;
    let first: Page<'_> = view::read(&answer)?;
    let (version, offset, cut) = (first.version, first.offset.clone(), Cut::new(&first.offset));
    let mut sink = Sink::open(&args.out, format)?;
    loop {
        let read: Page<'_> = view::read(&answer)?;
        for event in read.events {
            if cut.has(event)? {
                sink.event(event.get())?;
                count += 1;
            }
        }
        bar.set_message(counted(count, "event"));
        bar.tick();
        cursor = read.next;
        if cursor.is_none() {
            break;
        }
        answer = page(&client, &query, cursor.as_ref(), args.tries)?;
    }
    sink.finish()?;
    bar.finish_and_clear();
    let said = format!("{} exported; version {version}, offset {offset}", counted(count, "event"));
    match args.out.as_os_str() == "-" {
        true => note(&said),
        false if context.output.is_json() => {
            let file = args.out.display().to_string();
            let document =
                json!({"events": count, "file": file, "format": format.name(), "version": version, "offset": offset});
            context.output.document(&document.to_string())?;
        }
        false => context.output.line(&format!("{}: {said}", args.out.display()))?,
    }
    Ok(())
}

/// One page, however often it must be asked for.
fn page(client: &Client, query: &[(&str, String)], cursor: Option<&String>, tries_max: u32) -> Result<String> {
    let mut query = query.to_vec();
    query.extend(cursor.map(|cursor| ("cursor", cursor.clone())));
    let mut pause = FIRST_PAUSE;
    let mut tries_left = tries_max;
    loop {
        tries_left = tries_left.saturating_sub(1);
        let trouble = match client.try_get("/v1/events", &query) {
            Ok(answer) => return Ok(answer),
            Err(trouble) => trouble,
        };
        let wait: Option<Duration> = match &trouble {
            Trouble::Network(_) => None,
            Trouble::Refused(refusal) => match refusal.status {
                408 | 429 | 500.. => refusal.retry_after,
                _ => return Err(client.failure(trouble)),
            },
        };
        // Nobody is waited for who was never there.
        if tries_left == 0 || (cursor.is_none() && matches!(trouble, Trouble::Network(_))) {
            return Err(given_up(client.failure(trouble)));
        }
        std::thread::sleep(wait.unwrap_or_else(|| jittered(pause)).min(PAUSE_MAX));
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

fn given_up(failure: Failure) -> Failure {
    match failure {
        Failure::Unreachable(message) => {
            Failure::Unreachable(format!("{message}\nthe export is not whole, and no file was made: run it again"))
        }
        other => other,
    }
}
