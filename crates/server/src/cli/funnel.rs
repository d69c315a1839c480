//! `eye funnel`: how many take step after step, as bars.

use serde::Deserialize;
use serde_json::Value;

use super::Context;
use super::chart::{BAR_CHARS, bar, csv_figure, csv_line, percent};
use super::failure::Result;
use super::question::{Body, Range, range_of};
use super::text::{safe, span, thousands};
use super::view;

pub(crate) const EXAMPLES: &str = "\
Each step is a query line. Without times it looks at the 30 days before now.

Examples:
  eye funnel name:view name:add_to_cart name:purchase --window 24h
  eye funnel 'category:page data.path=/pricing' name:signup --by user --breakdown data.plan
  eye funnel name:view name:purchase --where 'app:web since:7d' --json";

const MICROS_PER_MILLI: i64 = 1_000;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The steps, at least two: a query line each
    #[arg(required = true, num_args = 2.., value_name = "STEP")]
    steps: Vec<String>,
    /// Which events are looked at at all? A query line
    #[arg(long = "where", value_name = "QUERY", allow_hyphen_values = true)]
    query: Option<String>,
    /// Whose events belong together? session, user, or anonymous
    #[arg(long, value_name = "WHO", default_value = "session")]
    by: String,
    /// May other events lie between two steps? ordered: yes; strict: no
    #[arg(long, value_name = "ORDER", default_value = "ordered")]
    order: String,
    /// At most how long from the first step to any other? Such as 30m, 24h, 7d
    #[arg(long, value_name = "LENGTH")]
    window: Option<String>,
    /// A funnel for each value of this field at the first step
    #[arg(long, value_name = "FIELD")]
    breakdown: Option<String>,
    /// How many values?
    #[arg(long, value_name = "N", default_value_t = 10)]
    top: usize,
    /// How many ids of those that stop at a step?
    #[arg(long, value_name = "N", default_value_t = 5)]
    samples: usize,
    #[command(flatten)]
    range: Range,
    /// Print CSV
    #[arg(long, conflicts_with = "json")]
    csv: bool,
}

#[derive(Deserialize)]
struct Funnel {
    #[serde(flatten)]
    range: super::question::Seen,
    total: Vec<Step>,
    series: Vec<Series>,
}

#[derive(Deserialize)]
struct Series {
    value: Option<String>,
    rest: bool,
    steps: Vec<Step>,
}

#[derive(Deserialize)]
struct Step {
    line: String,
    count: u64,
    of_first: Option<f64>,
    of_previous: Option<f64>,
    median_ms: Option<i64>,
    p90_ms: Option<i64>,
    dropped: u64,
    dropped_samples: Vec<String>,
}

impl Series {
    fn name(&self) -> &str {
        match &self.value {
            _ if self.rest => "(rest)",
            Some(value) => value,
            None => "(none)",
        }
    }
}

pub(crate) fn run(context: &Context<'_>, args: &Args) -> Result<()> {
    let mut body = Body::new();
    body.list("steps", &args.steps)
        .text("query", args.query.as_deref())
        .text("by", Some(&args.by))
        .text("order", Some(&args.order))
        .text("window", args.window.as_deref())
        .text("breakdown", args.breakdown.as_deref())
        .number("top", args.top)
        .number("samples", args.samples);
    args.range.add(&mut body);
    let answer = body.ask(context, "/v1/query/funnel")?;
    if args.csv {
        return context.output.line(&csv(&view::read(&answer)?));
    }
    context.output.answer(&answer, || Ok(show(context, args, &view::read(&answer)?)))
}

fn show(context: &Context<'_>, args: &Args, funnel: &Funnel) -> String {
    let mut shown = format!("{}s {}\n\n{}", safe(&args.by), range_of(&funnel.range), steps(context, &funnel.total));
    for series in &funnel.series {
        shown.push_str(&format!("\n\n{}\n{}", safe(series.name()), steps(context, &series.steps)));
    }
    let samples = funnel.total.iter().filter(|step| !step.dropped_samples.is_empty());
    for step in samples {
        let ids: Vec<_> = step.dropped_samples.iter().map(|id| safe(id)).collect();
        shown.push_str(&format!("\n\nstopped at {}: {}", safe(&step.line), ids.join(", ")));
    }
    shown
}

fn steps(context: &Context<'_>, steps: &[Step]) -> String {
    let header = ["step", "count", "of first", "of previous", "median", "p90", "stopped", ""];
    #[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^53")]
    let real = |count: u64| count as f64;
    let largest = steps.first().map_or(0.0, |step| real(step.count));
    let time =
        |millis: Option<i64>| millis.map_or_else(String::new, |millis| span(millis.saturating_mul(MICROS_PER_MILLI)));
    let rows = steps.iter().map(|step| {
        vec![
            step.line.clone(),
            thousands(step.count),
            percent(step.of_first),
            step.of_previous.map_or_else(String::new, |share| percent(Some(share))),
            time(step.median_ms),
            time(step.p90_ms),
            thousands(step.dropped),
            bar(Some(real(step.count)), largest, BAR_CHARS),
        ]
    });
    context.output.table(&header, &["count", "of first", "of previous", "median", "p90", "stopped"], rows)
}

fn csv(funnel: &Funnel) -> String {
    let mut lines = vec![csv_line(["value", "rest", "step", "line", "count", "median_ms", "p90_ms", "dropped"])];
    let total = ("", false, &funnel.total);
    let series =
        funnel.series.iter().map(|series| (series.value.as_deref().unwrap_or_default(), series.rest, &series.steps));
    for (value, rest, steps) in std::iter::once(total).chain(series) {
        for (number, step) in (1..).zip(steps) {
            lines.push(csv_line([
                value.to_owned(),
                rest.to_string(),
                usize::to_string(&number),
                step.line.clone(),
                step.count.to_string(),
                csv_figure(&Value::from(step.median_ms)),
                csv_figure(&Value::from(step.p90_ms)),
                step.dropped.to_string(),
            ]));
        }
    }
    lines.join("\n")
}
