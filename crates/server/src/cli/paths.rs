//! `eye paths`: which ways people take, as a tree.

use serde::Deserialize;

use super::Context;
use super::chart::{BAR_CHARS, bar, csv_line, percent};
use super::failure::Result;
use super::output::Tone;
use super::question::{Body, Range, line, range_of};
use super::text::{cut, safe, thousands};
use super::view;

pub(crate) const EXAMPLES: &str = "\
Without times it looks at the 30 days before now.

Examples:
  eye paths --start name:login --depth 5
  eye paths --end name:purchase --step data.path --by user
  eye paths 'app:web since:7d' --top 3 --json";

/// Characters of a step's value that people are shown; `--json` and `--csv` have all of it.
const LABEL_CHARS_MAX: usize = 60;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Which events are steps? A query line; all, if absent
    #[arg(allow_hyphen_values = true, value_parser = line)]
    query: Option<String>,
    /// Begin at the first event that this query line chooses
    #[arg(long, value_name = "QUERY", conflicts_with = "end", allow_hyphen_values = true)]
    start: Option<String>,
    /// Go back from the last event that this query line chooses
    #[arg(long, value_name = "QUERY", allow_hyphen_values = true)]
    end: Option<String>,
    /// Whose events belong together? session, user, or anonymous
    #[arg(long, value_name = "WHO", default_value = "session")]
    by: String,
    /// What does a step show? A field
    #[arg(long, value_name = "FIELD", default_value = "name")]
    step: String,
    /// How many steps?
    #[arg(long, value_name = "N", default_value_t = 4)]
    depth: usize,
    /// How many steps after each are shown?
    #[arg(long, value_name = "N", default_value_t = 5)]
    top: usize,
    /// Show neighbours with the same value as steps of their own
    #[arg(long)]
    keep_repeats: bool,
    #[command(flatten)]
    range: Range,
    /// Print CSV
    #[arg(long, conflicts_with = "json")]
    csv: bool,
}

#[derive(Deserialize)]
struct Paths {
    #[serde(flatten)]
    range: super::question::Seen,
    units: u64,
    children: Vec<Node>,
    rest: u64,
}

#[derive(Deserialize)]
struct Node {
    label: Option<String>,
    units: u64,
    ended: u64,
    children: Vec<Node>,
    rest: u64,
}

pub(crate) fn run(context: &Context<'_>, args: &Args) -> Result<()> {
    let mut body = Body::new();
    body.text("query", args.query.as_deref())
        .text("start", args.start.as_deref())
        .text("end", args.end.as_deref())
        .text("by", Some(&args.by))
        .text("step", Some(&args.step))
        .number("depth", args.depth)
        .number("top", args.top)
        .flag("merge_repeats", !args.keep_repeats);
    args.range.add(&mut body);
    let answer = body.ask(context, "/v1/query/paths")?;
    if args.csv {
        return context.output.line(&csv(&view::read(&answer)?));
    }
    context.output.answer(&answer, || Ok(show(context, args, &view::read(&answer)?)))
}

fn show(context: &Context<'_>, args: &Args, paths: &Paths) -> String {
    let mut rows = Vec::new();
    lines(&paths.children, paths.rest, 0, 0, &mut rows);
    #[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^53")]
    let real = |units: u64| units as f64;
    let all = real(paths.units);
    let rows = rows.into_iter().map(|(step, units)| {
        let share = (paths.units > 0).then(|| real(units) / all);
        vec![step, thousands(units), percent(share), bar(Some(real(units)), all, BAR_CHARS / 2)]
    });
    let unit = format!("{}s", args.by);
    let table = context.output.table(&["step", &unit, "of all", ""], &[&unit, "of all"], rows);
    let headline = format!("{} {} {}", thousands(paths.units), safe(&unit), range_of(&paths.range));
    format!("{}\n\n{table}", context.output.tone(Tone::Strong, &headline))
}

/// One line a step, deeper ones further to the right.
fn lines(children: &[Node], rest: u64, ended: u64, depth: usize, rows: &mut Vec<(String, u64)>) {
    let indent = "  ".repeat(depth);
    for node in children {
        let label = cut(node.label.as_deref().unwrap_or("(none)"), LABEL_CHARS_MAX);
        rows.push((format!("{indent}{label}"), node.units));
        lines(&node.children, node.rest, node.ended, depth + 1, rows);
    }
    rows.extend((rest > 0).then(|| (format!("{indent}(others)"), rest)));
    rows.extend((ended > 0).then(|| (format!("{indent}(end)"), ended)));
}

fn csv(paths: &Paths) -> String {
    let mut lines = vec![csv_line(["depth", "path", "units", "ended", "rest"])];
    let mut stack: Vec<(String, usize, &Node)> =
        paths.children.iter().rev().map(|node| (String::new(), 1, node)).collect();
    while let Some((before, depth, node)) = stack.pop() {
        let label = node.label.as_deref().unwrap_or("(none)");
        let path = if before.is_empty() { label.to_owned() } else { format!("{before} > {label}") };
        lines.push(csv_line([
            depth.to_string(),
            path.clone(),
            node.units.to_string(),
            node.ended.to_string(),
            node.rest.to_string(),
        ]));
        stack.extend(node.children.iter().rev().map(|child| (path.clone(), depth + 1, child)));
    }
    lines.join("\n")
}
