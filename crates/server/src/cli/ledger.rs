//! `eye ledger`: received = stored + duplicate + rejected, per token.

use serde::Deserialize;

use super::Context;
use super::failure::{Failure, Result};
use super::text::thousands;
use super::view;

pub(crate) const EXAMPLES: &str = "\
Exit code 1 if the books do not balance.

Examples:
  eye ledger
  eye ledger --json | jq '.tokens[] | {name, received}'";

#[derive(Deserialize)]
struct Answer {
    tokens: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    token: String,
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    application: Option<String>,
    received: u64,
    stored: u64,
    duplicate: u64,
    rejected: u64,
}

pub(crate) fn run(context: &Context<'_>) -> Result<()> {
    let answer = context.client()?.get("/v1/ledger", &[])?;
    let entries = view::read::<Answer>(&answer)?.tokens;
    context.output.answer(&answer, || Ok(table(context, &entries)))?;
    let wrong: Vec<_> = entries
        .iter()
        .filter(|entry| entry.received != entry.stored + entry.duplicate + entry.rejected)
        .map(|entry| entry.token.as_str())
        .collect();
    if wrong.is_empty() {
        return Ok(());
    }
    Err(Failure::BadNews(format!(
        "the books do not balance for {}: stop the server and run \"eye verify\"",
        wrong.join(", ")
    )))
}

fn table(context: &Context<'_>, entries: &[Entry]) -> String {
    if entries.is_empty() {
        return "nothing received yet".to_owned();
    }
    let numbers = ["received", "stored", "duplicate", "rejected"];
    let header = ["token", "name", "application", "received", "stored", "duplicate", "rejected"];
    context.output.table(
        &header,
        &numbers,
        entries.iter().map(|entry| {
            let text = |text: &Option<String>| text.clone().unwrap_or_default();
            let mut row = vec![entry.token.clone(), text(&entry.name), text(&entry.application)];
            row.extend([entry.received, entry.stored, entry.duplicate, entry.rejected].map(thousands));
            row
        }),
    )
}
