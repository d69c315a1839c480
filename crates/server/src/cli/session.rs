//! `eye session <id>`: one session as a timeline, newest first, with the silence between events.

use eye_event::Timestamp;

use super::client::encode;
use super::failure::{Failure, Result};
use super::output::{Output, Tone};
use super::text::{counted, cut, safe, span};
use super::view::{self, Event};
use super::{Context, text_of};

pub(crate) const EXAMPLES: &str = "\
Newest first; events at the same microsecond in the order of their arrival. `… 12 min …` is silence, `!` marks a problem.

Examples:
  eye session 8e9f0c66-21f1-41f6-9a0d-0c8d3d4a3a55
  eye session cart-4711 --full --json | jq '.events[0].data'";

const PAGE_MAX: usize = 5_000;
const DATA_CHARS_MAX: usize = 100;
const MICROS_PER_SECOND: i64 = 1_000_000;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Which session? The id as your application sent it
    session_id: String,
    /// How many events at most? All, if absent
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// From how many seconds on is silence shown?
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    gap: u32,
    /// Show the whole payload, not its beginning
    #[arg(long)]
    full: bool,
    /// Wait until the server has seen this offset (as `send` and other answers print it)
    #[arg(long, value_name = "OFFSET")]
    at_least: Option<String>,
}

pub(crate) fn run(context: &Context<'_>, args: &Args) -> Result<()> {
    let client = context.client()?;
    let path = format!("/v1/sessions/{}", encode(&args.session_id));
    let query: Vec<_> = args.at_least.iter().map(|offset| ("at_least", text_of(offset))).collect();
    let list = view::list(&client, &path, &query, "events", PAGE_MAX, args.limit).map_err(|failure| match failure {
        Failure::BadNews(_) => Failure::BadNews(format!(
            "no session {:?} that this token may see: \"eye events\" lists what there is",
            args.session_id
        )),
        other => other,
    })?;
    let id = serde_json::to_string(&args.session_id).map_err(|error| super::strange_answer(&error))?;
    let output = context.output;
    output.answer(&list.document(&format!("\"session_id\":{id},"), "events")?, || {
        let events: Vec<Event> = list.views()?;
        let mut shown = timeline(output, args, &events);
        if list.next.is_some() {
            shown.push_str("\n\nthere are more: raise --limit");
        }
        Ok(shown)
    })
}

fn timeline(output: Output, args: &Args, events: &[Event]) -> String {
    let mut lines = vec![headline(output, &args.session_id, events)];
    let width =
        |text: fn(&Event) -> &str| events.iter().map(|event| safe(text(event)).chars().count()).max().unwrap_or(0);
    let (category, name) = (width(|event| &event.category).min(32), width(|event| &event.name).min(32));
    let mut previous: Option<&Event> = None;
    for event in events {
        let date = event.timestamp.to_date_string();
        let silence = previous.map_or(0, |newer| newer.timestamp.micros() - event.timestamp.micros());
        if silence >= i64::from(args.gap) * MICROS_PER_SECOND {
            lines.push(output.tone(Tone::Quiet, &format!("                   … {} …", span(silence))));
        }
        if previous.is_none_or(|newer| newer.timestamp.to_date_string() != date) {
            lines.push(output.tone(Tone::Strong, &date));
        }
        lines.push(event_line(output, args, event, category, name));
        previous = Some(event);
    }
    lines.join("\n")
}

fn headline(output: Output, session_id: &str, events: &[Event]) -> String {
    let mut applications: Vec<&str> = events.iter().map(|event| event.application.as_str()).collect();
    applications.sort_unstable();
    applications.dedup();
    let (Some(newest), Some(oldest)) = (events.first(), events.last()) else {
        return format!("session {}: no events", safe(session_id));
    };
    let lasted = newest.timestamp.micros() - oldest.timestamp.micros();
    let flagged = events.iter().filter(|event| !event.problems.is_empty()).count() as u64;
    let mut facts =
        vec![counted(events.len() as u64, "event"), span(lasted), safe(&applications.join(", ")).into_owned()];
    if flagged > 0 {
        facts.push(output.tone(Tone::Warning, &format!("{flagged} with problems")));
    }
    format!(
        "{}  {}\n{} to {} UTC\n",
        output.tone(Tone::Strong, &format!("session {}", safe(session_id))),
        facts.join(" · "),
        clock(oldest.timestamp, true),
        clock(newest.timestamp, true)
    )
}

fn event_line(output: Output, args: &Args, event: &Event, category: usize, name: usize) -> String {
    let data = safe(event.data_text());
    let data = if args.full { data } else { cut(&data, DATA_CHARS_MAX).into_owned().into() };
    let mark = if event.problems.is_empty() { " ".to_owned() } else { output.tone(Tone::Warning, "!") };
    let head = format!(
        "{mark} {}  {:category$}  {:name$}",
        clock(event.timestamp, false),
        safe(&event.category),
        safe(&event.name)
    );
    let mut line = format!("{head}  {}", output.tone(Tone::Quiet, &data));
    if !event.problems.is_empty() {
        let raw = event.timestamp_raw.as_deref().map(|raw| format!(", sent as {}", safe(&format!("{raw:?}"))));
        let problems = format!("{}{}", safe(&event.problems.join(", ")), raw.unwrap_or_default());
        line.push_str(&format!("\n                   {}", output.tone(Tone::Warning, &problems)));
    }
    line.trim_end().to_owned()
}

/// `09:15:27.243860`, with the date in front if asked for.
fn clock(timestamp: Timestamp, with_date: bool) -> String {
    let text = timestamp.to_seed_string();
    if with_date { text } else { text.split_once(' ').map_or(text.clone(), |(_, time)| time.to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timeline_shows_silence_problems_and_nothing_hostile() {
        let event = |timestamp: &str, name: &str, problems: &str| -> Event {
            let json = serde_json::json!({
                "application": "web", "session_id": "s", "category": "page", "name": name, "timestamp": timestamp,
                "received_at": timestamp, "data": {"a": "\u{202e}"}, "problems": if problems.is_empty() { vec![] } else { vec![problems] },
                "timestamp_raw": "yester\u{1b}[2Jday",
            });
            serde_json::from_str(&json.to_string()).unwrap()
        };
        let events = [
            event("2022-01-10T00:00:01Z", "bye", ""),
            event("2022-01-09T23:48:01Z", "\u{1b}[31mred", "timestamp_unreadable"),
            event("2022-01-09T23:47:30Z", "hello", ""),
        ];
        let args = Args { session_id: "s".to_owned(), limit: None, gap: 60, full: false, at_least: None };
        let shown = timeline(Output::new(false, true), &args, &events);
        assert_eq!(shown.matches('…').count(), 2, "one silence of 12 minutes:\n{shown}");
        assert!(shown.contains("… 12 min …"), "{shown}");
        assert!(shown.contains("! 23:48:01.000000  page"), "{shown}");
        assert!(!shown.contains('\u{1b}') && !shown.contains('\u{202e}'), "{shown}");
        let places: Vec<_> = ["2022-01-10\n", "bye", "2022-01-09\n", "hello"].map(|text| shown.rfind(text)).into();
        assert!(places.is_sorted() && places[0].is_some(), "{shown}");
    }
}
