//! `eye events`: events by any mix of filters. The filters are shared with `tail`.

use super::failure::Result;
use super::question::line;
use super::view::{self, Event};
use super::{Context, text_of};

pub(crate) const EXAMPLES: &str = "\
Times are RFC 3339, `2022-01-09 09:15:27`, a date, or a number of seconds since 1970, in UTC.

Examples:
  eye events --category checkout --from 2022-01-09T00:00:00Z --limit 20
  eye events 'name~buy -data.bot=true since:24h'
  eye events --problem time
  eye events --user-id ann --json | jq '.events[].name'";

const PAGE_MAX: usize = 10_000;

/// Which events.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Filters")]
pub(crate) struct Filters {
    /// Which events? A query line, such as 'name~buy data.plan=pro since:24h'; all, if absent
    #[arg(allow_hyphen_values = true, value_parser = line)]
    query: Option<String>,
    /// Only this session
    #[arg(long, value_name = "ID")]
    session_id: Option<String>,
    /// Only this application
    #[arg(long, value_name = "NAME")]
    application: Option<String>,
    /// Only this category
    #[arg(long, value_name = "TEXT")]
    category: Option<String>,
    /// Only this name
    #[arg(long, value_name = "TEXT")]
    name: Option<String>,
    /// Only this user
    #[arg(long, value_name = "ID")]
    user_id: Option<String>,
    /// Only with this problem: a code, `any`, or `time`
    #[arg(long, value_name = "CODE")]
    problem: Option<String>,
}

impl Filters {
    /// As query parameters.
    pub(crate) fn query(&self) -> Vec<(&'static str, String)> {
        [
            ("query", &self.query),
            ("session_id", &self.session_id),
            ("application", &self.application),
            ("category", &self.category),
            ("name", &self.name),
            ("user_id", &self.user_id),
            ("problem", &self.problem),
        ]
        .into_iter()
        .filter_map(|(name, value)| value.clone().map(|value| (name, value)))
        .collect()
    }
}

/// Which end first?
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(crate) enum Order {
    Newest,
    Oldest,
}

impl Order {
    /// As the API spells it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Newest => "newest",
            Self::Oldest => "oldest",
        }
    }
}

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
    /// Which first?
    #[arg(long, value_enum, default_value_t = Order::Newest)]
    order: Order,
    /// How many events?
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: usize,
    /// Wait until the server has seen this offset
    #[arg(long, value_name = "OFFSET")]
    at_least: Option<String>,
}

pub(crate) fn run(context: &Context<'_>, args: &Args) -> Result<()> {
    let mut query = args.filters.query();
    query.push(("order", args.order.as_str().to_owned()));
    let optional = [("from", &args.from), ("to", &args.to), ("at_least", &args.at_least)];
    query.extend(optional.into_iter().filter_map(|(name, value)| value.as_ref().map(|value| (name, text_of(value)))));
    let client = context.client()?;
    let list = view::list(&client, "/v1/events", &query, "events", PAGE_MAX, Some(args.limit))?;
    context.output.answer(&list.document("", "events")?, || {
        let events: Vec<Event> = list.views()?;
        if events.is_empty() {
            return Ok("no such events".to_owned());
        }
        let mut shown = table(context, &events);
        if list.next.is_some() {
            shown.push_str("\n\nthere are more: raise --limit or narrow the filters");
        }
        Ok(shown)
    })
}

/// The columns of a table of events.
pub(crate) const HEADER: [&str; 8] =
    ["timestamp", "application", "session", "category", "name", "user", "problems", "data"];

/// Events as a table.
pub(crate) fn table(context: &Context<'_>, events: &[Event]) -> String {
    context.output.table(&HEADER, &[], events.iter().map(row))
}

/// An event as a row of one.
pub(crate) fn row(event: &Event) -> Vec<String> {
    vec![
        event.timestamp.to_seed_string(),
        event.application.clone(),
        event.session_id.clone(),
        event.category.clone(),
        event.name.clone(),
        event.user_id.clone().unwrap_or_default(),
        event.problems.join(", "),
        event.data_text().to_owned(),
    ]
}
