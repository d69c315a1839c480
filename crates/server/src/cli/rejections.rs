//! `eye rejections`: what was refused, why, and how its bytes began.

use serde::Deserialize;

use super::Context;
use super::failure::Result;
use super::view;
use eye_event::Timestamp;

pub(crate) const EXAMPLES: &str = "\
Examples:
  eye rejections
  eye rejections --code missing_field --limit 20
  eye rejections --json | jq '.rejections[].sample'";

const PAGE_MAX: usize = 1_000;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only this application
    #[arg(long, value_name = "NAME")]
    application: Option<String>,
    /// Only this reason
    #[arg(long, value_name = "CODE")]
    code: Option<String>,
    /// How many?
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: usize,
}

#[derive(Deserialize)]
struct Rejection {
    received_at: Timestamp,
    application: String,
    token: String,
    code: String,
    message: String,
    sample: String,
}

pub(crate) fn run(context: &Context<'_>, args: &Args) -> Result<()> {
    let optional = [("application", &args.application), ("code", &args.code)];
    let query: Vec<(&str, String)> =
        optional.into_iter().filter_map(|(name, value)| value.clone().map(|value| (name, value))).collect();
    let list = view::list(&context.client()?, "/v1/rejections", &query, "rejections", PAGE_MAX, Some(args.limit))?;
    context.output.answer(&list.document("", "rejections")?, || {
        let rejections: Vec<Rejection> = list.views()?;
        if rejections.is_empty() {
            return Ok("nothing was refused".to_owned());
        }
        let rows = rejections.into_iter().map(|rejection| {
            vec![
                rejection.received_at.to_seed_string(),
                rejection.application,
                rejection.token,
                rejection.code,
                rejection.message,
                rejection.sample,
            ]
        });
        let mut shown =
            context.output.table(&["received", "application", "token", "code", "why", "began with"], &[], rows);
        if list.next.is_some() {
            shown.push_str("\n\nthere are more: raise --limit");
        }
        Ok(shown)
    })
}
