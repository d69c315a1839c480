//! `eye diff`: what has become of an answer since: events that came, those that changed it, and how many went.

use eye_event::Timestamp;
use eye_query::EventOut;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::csv::COLUMNS;
use super::events::{Filters, Order, row};
use super::export::write_record;
use super::failure::Result;
use super::output::note;
use super::text::{counted, thousands};
use super::view::{self, Event};
use super::{Context, strange_answer};

pub(crate) const EXAMPLES: &str = "\
An answer is named by its version and its offset, as every answer says them: 17:9120334. TO may be `now`.
An event that came is late if it occurred before the latest event that FROM has seen was received.

Examples:
  eye diff 17:9120334 now
  eye diff 17:9120334 19:9120911 'name:purchase' --late
  eye diff 17:9120334 now --csv > came.csv";

const PAGE_MAX: usize = 10_000;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Since which answer? Its version and offset
    #[arg(value_name = "FROM")]
    since: String,
    /// Up to which answer? Its version and offset, or `now`
    #[arg(value_name = "TO")]
    until: String,
    #[command(flatten)]
    filters: Filters,
    /// List late events only
    #[arg(long)]
    late: bool,
    /// Which first?
    #[arg(long, value_enum, default_value_t = Order::Newest)]
    order: Order,
    /// How many events?
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: usize,
    /// Print the events as CSV, with what `eye export` writes and whether each is late
    #[arg(long, conflicts_with = "ndjson")]
    csv: bool,
    /// Print the events one a line, in the server's own JSON
    #[arg(long)]
    ndjson: bool,
}

#[derive(Deserialize)]
struct Page<'a> {
    #[serde(borrow)]
    from: &'a RawValue,
    to: &'a RawValue,
    seen_until: &'a RawValue,
    came: u64,
    late: u64,
    erased: Option<u64>,
    expired: Option<u64>,
    went: &'a RawValue,
    events: Vec<&'a RawValue>,
    next: Option<String>,
    version: u64,
    offset: String,
}

#[derive(Deserialize)]
struct Went {
    version: u64,
    at: Timestamp,
    erased: u64,
    expired: u64,
}

#[derive(Deserialize)]
struct Late {
    late: bool,
}

/// What all pages say, and their events.
struct Diff {
    first: String,
    events: Vec<Box<RawValue>>,
    next: Option<String>,
}

pub(crate) fn run(context: &Context<'_>, args: &Args) -> Result<()> {
    let diff = ask(context, args)?;
    let page: Page<'_> = view::read(&diff.first)?;
    if args.csv || args.ndjson {
        note(&summary(args, &page)?);
        // A line end follows by itself.
        return lines(args, &diff)?.strip_suffix('\n').map_or(Ok(()), |text| context.output.line(text));
    }
    context.output.answer(&document(&page, &diff)?, || {
        let mut shown = summary(args, &page)?;
        if !diff.events.is_empty() {
            shown.push_str("\n\n");
            shown.push_str(&table(context, &diff.events)?);
        }
        if diff.next.is_some() {
            shown.push_str("\n\nthere are more: raise --limit or narrow the filters");
        }
        Ok(shown)
    })
}

/// Every page up to the limit; all of them up to the answer that the first one has named.
fn ask(context: &Context<'_>, args: &Args) -> Result<Diff> {
    let client = context.client()?;
    let mut fixed = args.filters.query();
    fixed.extend([("from", args.since.clone()), ("order", args.order.as_str().to_owned())]);
    fixed.extend(args.late.then(|| ("only", "late".to_owned())));
    let mut to = (args.until != "now").then(|| args.until.clone());
    let (mut first, mut events, mut next) = (None, Vec::new(), None::<String>);
    loop {
        let mut query = fixed.clone();
        query.extend(to.clone().map(|to| ("to", to)));
        query.extend(next.take().map(|cursor| ("cursor", cursor)));
        query.push(("limit", args.limit.saturating_sub(events.len()).min(PAGE_MAX).to_string()));
        let answer = client.get("/v1/diff", &query)?;
        let page: Page<'_> = view::read(&answer)?;
        events.extend(page.events.iter().map(|event| (*event).to_owned()));
        next = page.next;
        to = Some(format!("{}:{}", page.version, page.offset));
        let first = first.get_or_insert_with(|| answer.clone());
        if next.is_none() || events.len() >= args.limit {
            return Ok(Diff { first: std::mem::take(first), events, next });
        }
    }
}

fn summary(args: &Args, page: &Page<'_>) -> Result<String> {
    let seen: Option<Timestamp> = view::read(page.seen_until.get())?;
    let seen =
        seen.map_or_else(|| "nothing".to_owned(), |at| format!("what was received until {}", at.to_seed_string()));
    let mut text = format!("from {}, which saw {seen}\nto   {}:{}\n", args.since, page.version, page.offset);
    text.push_str(&format!("came {}, of which late {}", thousands(page.came), thousands(page.late)));
    let (Some(erased), Some(expired)) = (page.erased, page.expired) else { return Ok(text) };
    text.push_str(&format!("; erased {}; expired {}", thousands(erased), thousands(expired)));
    let went: Option<Vec<Went>> = view::read(page.went.get())?;
    for commit in went.unwrap_or_default() {
        let Went { version, at, erased, expired } = commit;
        let parts = [(erased, "erased"), (expired, "expired")];
        let parts = parts.iter().filter(|(count, _)| *count > 0);
        let what: Vec<String> = parts.map(|(count, what)| format!("{} {what}", counted(*count, "event"))).collect();
        text.push_str(&format!("\n     by version {version}, {}: {}", at.to_seed_string(), what.join(", ")));
    }
    Ok(text)
}

fn is_late(event: &RawValue) -> Result<bool> {
    Ok(view::read::<Late>(event.get())?.late)
}

fn table(context: &Context<'_>, events: &[Box<RawValue>]) -> Result<String> {
    let mut rows = Vec::with_capacity(events.len());
    for event in events {
        let late = if is_late(event)? { "late" } else { "" };
        let event: Event = view::read(event.get())?;
        rows.push(std::iter::once(late.to_owned()).chain(row(&event)).collect());
    }
    let header: Vec<&str> = std::iter::once("late").chain(super::events::HEADER).collect();
    Ok(context.output.table(&header, &[], rows))
}

fn lines(args: &Args, diff: &Diff) -> Result<String> {
    let mut out = Vec::new();
    if args.csv {
        out.extend_from_slice(format!("late,{}\r\n", COLUMNS.join(",")).as_bytes());
    }
    for event in &diff.events {
        if args.csv {
            out.extend_from_slice(if is_late(event)? { b"true," } else { b"false," });
            write_record(&mut out, &view::read::<EventOut>(event.get())?);
        } else {
            out.extend_from_slice(event.get().as_bytes());
            out.push(b'\n');
        }
    }
    Ok(String::from_utf8_lossy(&out).into_owned())
}

/// One document, as if the server had answered everything at once.
fn document(page: &Page<'_>, diff: &Diff) -> Result<String> {
    let events: Vec<&str> = diff.events.iter().map(|event| event.get()).collect();
    let count = |count: Option<u64>| count.map_or_else(|| "null".to_owned(), |count| count.to_string());
    let text = |text: Option<&str>| serde_json::to_string(&text).map_err(|error| strange_answer(&error));
    Ok(format!(
        "{{\"from\":{},\"to\":{},\"seen_until\":{},\"came\":{},\"late\":{},\"erased\":{},\"expired\":{},\"went\":{},\"events\":[{}],\"next\":{},\
         \"version\":{},\"offset\":{}}}",
        page.from.get(),
        page.to.get(),
        page.seen_until.get(),
        page.came,
        page.late,
        count(page.erased),
        count(page.expired),
        page.went.get(),
        events.join(","),
        text(diff.next.as_deref())?,
        page.version,
        text(Some(&page.offset))?,
    ))
}
