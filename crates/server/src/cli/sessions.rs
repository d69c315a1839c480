//! `eye sessions`: sessions with their figures.

use eye_event::Timestamp;
use serde::Deserialize;

use super::Context;
use super::failure::Result;
use super::question::{Range, line};
use super::text::{counted, span, thousands};
use super::view;

pub(crate) const EXAMPLES: &str = "\
A session is listed if any of its events matches; its figures are those of the events that match. Its user is that of the
newest of them that names one.

Examples:
  eye sessions 'since:24h' --sort events
  eye sessions 'since:7d' --sort names --order asc
  eye sessions 'name:payment_failed' --sort end --limit 20
  eye sessions 'problem:any' --json | jq -r '.sessions[].session_id'";

const PAGE_MAX: usize = 1_000;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Which events? A query line, such as 'name~buy data.plan=pro since:24h'; all, if absent
    #[arg(allow_hyphen_values = true, value_parser = line)]
    query: Option<String>,
    /// Sort by what? end, start, duration, events, names, or problems
    #[arg(long, value_name = "FIGURE", default_value = "end")]
    sort: String,
    /// Which end first? desc, or asc
    #[arg(long, value_name = "ORDER", default_value = "desc")]
    order: String,
    /// How many sessions?
    #[arg(long, value_name = "N", default_value_t = 50)]
    limit: usize,
    #[command(flatten)]
    range: Range,
}

#[derive(Deserialize)]
struct Session {
    session_id: String,
    start: Timestamp,
    end: Timestamp,
    events: u64,
    #[serde(default)]
    names: u64,
    first_name: String,
    last_name: String,
    applications: Vec<String>,
    #[serde(default)]
    user_id: Option<String>,
    problems: u64,
}

pub(crate) fn run(context: &Context<'_>, args: &Args) -> Result<()> {
    let mut query = args.range.query();
    query.extend(args.query.clone().map(|line| ("query", line)));
    query.extend([("sort", args.sort.clone()), ("order", args.order.clone())]);
    // Sessions move in the list as they go on: all pages are of the moment of the first.
    let list = view::list_at_once(&context.client()?, "/v1/sessions", &query, "sessions", PAGE_MAX, args.limit)?;
    context.output.answer(&list.document("", "sessions")?, || {
        let sessions: Vec<Session> = list.views()?;
        if sessions.is_empty() {
            return Ok("no such sessions".to_owned());
        }
        let header =
            ["session", "start", "lasted", "events", "names", "problems", "user", "applications", "first", "last"];
        let rows = sessions.iter().map(|session| {
            vec![
                session.session_id.clone(),
                session.start.to_seed_string(),
                span(session.end.micros().saturating_sub(session.start.micros())),
                thousands(session.events),
                thousands(session.names),
                thousands(session.problems),
                session.user_id.clone().unwrap_or_default(),
                session.applications.join(", "),
                session.first_name.clone(),
                session.last_name.clone(),
            ]
        });
        let mut shown = context.output.table(&header, &["events", "names", "problems"], rows);
        if list.next.is_some() {
            shown.push_str(&format!(
                "\n\n{} shown, there are more: raise --limit or narrow the query",
                counted(sessions.len() as u64, "session")
            ));
        }
        Ok(shown)
    })
}
