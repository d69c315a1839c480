//! `eye problems`: what is wrong with stored events, counted, with samples.

use serde::Deserialize;

use super::failure::Result;
use super::text::{cut, thousands};
use super::view::{self, Event};
use super::{Context, text_of};

pub(crate) const EXAMPLES: &str = "\
These events are stored and shown; nothing was dropped. \"eye rejections\" lists what was refused.

Examples:
  eye problems
  eye problems --application web --from 2022-01-09T00:00:00Z --samples 5";

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only this application
    #[arg(long, value_name = "NAME")]
    application: Option<String>,
    /// Only at or after this time
    #[arg(long, value_name = "TIME")]
    from: Option<String>,
    /// Only before this time
    #[arg(long, value_name = "TIME")]
    to: Option<String>,
    /// How many samples of each?
    #[arg(long, value_name = "N", default_value_t = 3)]
    samples: u32,
}

#[derive(Deserialize)]
struct Answer {
    problems: Vec<Group>,
}

#[derive(Deserialize)]
struct Group {
    code: String,
    application: String,
    name: String,
    count: u64,
    samples: Vec<Event>,
}

pub(crate) fn run(context: &Context<'_>, args: &Args) -> Result<()> {
    let optional = [("application", &args.application), ("from", &args.from), ("to", &args.to)];
    let mut query: Vec<(&str, String)> =
        optional.into_iter().filter_map(|(name, value)| value.clone().map(|value| (name, value))).collect();
    query.push(("samples", text_of(args.samples)));
    let answer = context.client()?.get("/v1/problems", &query)?;
    context.output.answer(&answer, || {
        let groups = view::read::<Answer>(&answer)?.problems;
        if groups.is_empty() {
            return Ok("no problems".to_owned());
        }
        let rows = groups.iter().map(|group| {
            let samples: Vec<_> = group.samples.iter().map(sample).collect();
            vec![
                group.code.clone(),
                group.application.clone(),
                group.name.clone(),
                thousands(group.count),
                samples.join("  "),
            ]
        });
        Ok(context.output.table(&["problem", "application", "name", "count", "samples"], &["count"], rows))
    })
}

/// Where to look, and what was sent instead of a time.
fn sample(event: &Event) -> String {
    match &event.timestamp_raw {
        Some(raw) => format!("{} ({})", event.session_id, cut(raw, 32)),
        None => event.session_id.clone(),
    }
}
