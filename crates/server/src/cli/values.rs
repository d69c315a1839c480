//! `eye values`: which values a field has; without a field, which fields there are.

use eye_event::Timestamp;
use serde::Deserialize;

use super::Context;
use super::failure::Result;
use super::question::line;
use super::text::{counted, thousands};
use super::view;

pub(crate) const EXAMPLES: &str = "\
Without a field it lists the categories, names and fields that there are.

Examples:
  eye values
  eye values name --prefix check
  eye values data.plan 'category:checkout since:24h' --limit 5";

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Of which field? name, category, data.plan, …; all fields are listed, if absent
    field: Option<String>,
    /// Of which events? A query line; they are looked up in the newest events then
    #[arg(allow_hyphen_values = true, value_parser = line, requires = "field")]
    query: Option<String>,
    /// Only what begins so, in any case of letters
    #[arg(long, value_name = "TEXT")]
    prefix: Option<String>,
    /// Only what this application sent
    #[arg(long, value_name = "NAME")]
    application: Option<String>,
    /// How many?
    #[arg(long, value_name = "N", default_value_t = 20)]
    limit: usize,
    /// Wait until the server has seen this offset
    #[arg(long, value_name = "OFFSET")]
    at_least: Option<String>,
}

#[derive(Deserialize)]
struct Values {
    values: Vec<Value>,
    more: bool,
    from_catalogue: bool,
    events: u64,
    events_left: Option<u64>,
}

#[derive(Deserialize)]
struct Value {
    value: String,
    events: u64,
    last_seen: Timestamp,
}

#[derive(Deserialize)]
struct Catalogue {
    applications: Vec<Application>,
    events: u64,
    events_left: Option<u64>,
}

#[derive(Deserialize)]
struct Application {
    application: String,
    names: Vec<Name>,
    fields: Vec<Field>,
}

#[derive(Deserialize)]
struct Name {
    category: String,
    name: String,
    events: u64,
    last_seen: Timestamp,
}

#[derive(Deserialize)]
struct Field {
    field: String,
    events: u64,
    types: Vec<Type>,
    last_seen: Timestamp,
    examples: Vec<String>,
}

#[derive(Deserialize)]
struct Type {
    r#type: String,
}

pub(crate) fn run(context: &Context<'_>, args: &Args) -> Result<()> {
    let optional = [
        ("field", &args.field),
        ("query", &args.query),
        ("prefix", &args.prefix),
        ("application", &args.application),
        ("at_least", &args.at_least),
    ];
    let mut query: Vec<_> = optional.into_iter().filter_map(|(name, value)| Some((name, value.clone()?))).collect();
    query.push(("limit", args.limit.to_string()));
    let client = context.client()?;
    if args.field.is_some() {
        let answer = client.get("/v1/values", &query)?;
        return context.output.answer(&answer, || Ok(values(context, &view::read(&answer)?)));
    }
    let answer = client.get("/v1/catalogue", &query)?;
    context.output.answer(&answer, || Ok(catalogue(context, &view::read(&answer)?)))
}

fn values(context: &Context<'_>, found: &Values) -> String {
    let mut said = match found.values.is_empty() {
        true => "no such values".to_owned(),
        false => context.output.table(
            &["value", "events", "last seen"],
            &["events"],
            found.values.iter().map(|Value { value, events, last_seen }| {
                vec![value.clone(), thousands(*events), last_seen.to_seed_string()]
            }),
        ),
    };
    if found.more {
        said.push_str("\n\nthere are more: raise --limit or give a longer --prefix");
    }
    let newest = if found.from_catalogue { "" } else { "the newest " };
    said + &looked_at(newest, found.events, found.events_left)
}

fn catalogue(context: &Context<'_>, found: &Catalogue) -> String {
    let (mut names, mut fields) = (Vec::new(), Vec::new());
    for Application { application, names: of_names, fields: of_fields } in &found.applications {
        names.extend(of_names.iter().map(|Name { category, name, events, last_seen }| {
            let (category, name) = (category.clone(), name.clone());
            vec![application.clone(), category, name, thousands(*events), last_seen.to_seed_string()]
        }));
        fields.extend(of_fields.iter().map(|Field { field, events, types, last_seen, examples }| {
            let types: Vec<_> = types.iter().map(|kind| kind.r#type.as_str()).collect();
            let (types, last_seen) = (types.join(", "), last_seen.to_seed_string());
            vec![application.clone(), field.clone(), types, thousands(*events), last_seen, examples.join(", ")]
        }));
    }
    if names.is_empty() && fields.is_empty() {
        return "nothing was seen yet".to_owned() + &looked_at("", found.events, found.events_left);
    }
    let names = context.output.table(&["application", "category", "name", "events", "last seen"], &["events"], names);
    let header = ["application", "field", "types", "events", "last seen", "examples"];
    let fields = context.output.table(&header, &["events"], fields);
    format!("{names}\n\n{fields}{}", looked_at("", found.events, found.events_left))
}

/// `left` is none if there are others and the token may not know how many.
fn looked_at(newest: &str, events: u64, left: Option<u64>) -> String {
    let left = match left {
        Some(0) => String::new(),
        Some(left) => format!(", not at {} others", thousands(left)),
        None => ", not at some that are too many or not yet read".to_owned(),
    };
    format!("\n\nlooked at {newest}{}{left}", counted(events, "event"))
}
