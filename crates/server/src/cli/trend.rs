//! `eye trend`: a measure by interval, as bars, and by values, as a table with a small line for each.

use eye_event::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use super::Context;
use super::chart::{BAR_CHARS, bar, csv_figure, csv_line, figure, spark};
use super::failure::Result;
use super::question::{Body, Clock, Range, Seen, Zone, line, range_of};
use super::text::safe;
use super::view;

pub(crate) const EXAMPLES: &str = "\
Measures: events, sessions, users, anonymous, or distinct, sum, avg, min, max, p50, p90, p95, p99 of a field.
Without times it looks at the 30 days before now.

Examples:
  eye trend 'since:7d' --interval hour
  eye trend 'category:checkout' --measure 'sum(data.amount)' --breakdown data.plan --time-zone Europe/Berlin
  eye trend --measure sessions --interval week --compare --csv > sessions.csv";

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Which events? A query line, such as 'name~buy data.plan=pro since:24h'; all, if absent
    #[arg(allow_hyphen_values = true, value_parser = line)]
    query: Option<String>,
    /// What is measured?
    #[arg(long, value_name = "MEASURE", default_value = "events")]
    measure: String,
    /// How long is one interval? minute, hour, day, week, month, or whole
    #[arg(long, value_name = "INTERVAL", default_value = "day")]
    interval: String,
    /// A series for each value of this field; twice for pairs
    #[arg(long, value_name = "FIELD")]
    breakdown: Vec<String>,
    /// How many series?
    #[arg(long, value_name = "N", default_value_t = 10)]
    top: usize,
    /// Show the period before too
    #[arg(long)]
    compare: bool,
    #[command(flatten)]
    range: Range,
    #[command(flatten)]
    zone: Zone,
    /// Print CSV
    #[arg(long, conflicts_with = "json")]
    csv: bool,
}

#[derive(Deserialize)]
struct Trend {
    measure: String,
    interval: String,
    time_zone: String,
    breakdown: Vec<String>,
    #[serde(flatten)]
    period: Period,
    previous: Option<Period>,
}

#[derive(Deserialize)]
struct Period {
    #[serde(flatten)]
    range: Seen,
    times: Vec<Timestamp>,
    series: Vec<Series>,
    without_value: u64,
}

#[derive(Deserialize)]
struct Series {
    breakdown: Vec<Option<String>>,
    rest: bool,
    total: Value,
    values: Vec<Value>,
}

impl Series {
    /// What people call it.
    fn name(&self) -> String {
        let values = self.breakdown.iter().map(|value| value.as_deref().unwrap_or("(none)"));
        if self.rest { "(rest)".to_owned() } else { values.collect::<Vec<_>>().join(" · ") }
    }
}

pub(crate) fn run(context: &Context<'_>, args: &Args) -> Result<()> {
    let mut body = Body::new();
    body.text("query", args.query.as_deref())
        .text("measure", Some(&args.measure))
        .text("interval", Some(&args.interval))
        .list("breakdown", &args.breakdown)
        .number("top", args.top)
        .flag("compare", args.compare);
    args.range.add(&mut body);
    args.zone.add(&mut body);
    let answer = body.ask(context, "/v1/query/trend")?;
    if args.csv {
        return context.output.line(&csv(&view::read(&answer)?));
    }
    context.output.answer(&answer, || Ok(show(context, &view::read(&answer)?)))
}

fn show(context: &Context<'_>, trend: &Trend) -> String {
    let period = &trend.period;
    let mut shown = format!(
        "{} by {} {}, cut by the clock of {}\n\n",
        safe(&trend.measure),
        safe(&trend.interval),
        range_of(&period.range),
        safe(&trend.time_zone)
    );
    shown.push_str(&match trend.breakdown.is_empty() {
        true => by_time(context, trend),
        false => by_value(context, trend),
    });
    if period.without_value > 0 {
        shown.push_str(&format!(
            "\n\n{} without a value that could be measured",
            super::text::counted(period.without_value, "matching event")
        ));
    }
    shown
}

/// One line an interval, with a bar.
fn by_time(context: &Context<'_>, trend: &Trend) -> String {
    let Some(series) = trend.period.series.first() else { return "nothing".to_owned() };
    let before = trend.previous.as_ref().and_then(|period| period.series.first());
    let all = series.values.iter().chain(before.iter().flat_map(|before| &before.values));
    let largest = all.filter_map(Value::as_f64).fold(0.0, f64::max);
    let header: &[&str] = if before.is_some() { &["begins", "value", "before", ""] } else { &["begins", "value", ""] };
    let clock = Clock::new(&trend.time_zone, &trend.interval);
    let rows = trend.period.times.iter().zip(&series.values).enumerate().map(|(index, (time, value))| {
        let mut row = vec![clock.show(*time), figure(value)];
        row.extend(before.map(|before| before.values.get(index).map_or_else(String::new, figure)));
        row.push(bar(value.as_f64(), largest, BAR_CHARS));
        row
    });
    let table = context.output.table(header, &["value", "before"], rows);
    let was = before.map_or_else(String::new, |before| format!(", {} in the period before", figure(&before.total)));
    format!("{table}\n\n{} in all{was}", figure(&series.total))
}

/// One line a series, with a small line of its values.
fn by_value(context: &Context<'_>, trend: &Trend) -> String {
    let period = &trend.period;
    if period.series.is_empty() {
        return "no such events".to_owned();
    }
    let largest = period.series.iter().filter_map(|series| series.total.as_f64()).fold(0.0, f64::max);
    let before = |series: &Series| {
        let found = trend.previous.as_ref()?.series.iter();
        found.into_iter().find(|one| one.rest == series.rest && one.breakdown == series.breakdown)
    };
    let name = trend.breakdown.join(" · ");
    let header: Vec<&str> = match trend.previous {
        Some(_) => vec![&name, "total", "before", "", "over time"],
        None => vec![&name, "total", "", "over time"],
    };
    let rows = period.series.iter().map(|series| {
        let mut row = vec![series.name(), figure(&series.total)];
        if trend.previous.is_some() {
            row.push(before(series).map_or_else(|| "–".to_owned(), |before| figure(&before.total)));
        }
        row.push(bar(series.total.as_f64(), largest, BAR_CHARS / 2));
        row.push(spark(&series.values.iter().map(Value::as_f64).collect::<Vec<_>>()));
        row
    });
    context.output.table(&header, &["total", "before"], rows)
}

/// A line for each series and interval: when it begins, the values, whether it is the rest, the figure.
fn csv(trend: &Trend) -> String {
    let fields = trend.breakdown.iter().map(String::as_str);
    let header = ["period", "begins"].into_iter().chain(fields).chain(["rest", trend.measure.as_str()]);
    let mut lines = vec![csv_line(header)];
    let periods = [("this", Some(&trend.period)), ("previous", trend.previous.as_ref())];
    for (name, period) in periods.into_iter().filter_map(|(name, period)| Some((name, period?))) {
        for series in &period.series {
            for (time, value) in period.times.iter().zip(&series.values) {
                let values = series.breakdown.iter().map(|value| value.clone().unwrap_or_default());
                let cells = [name.to_owned(), time.to_string()].into_iter().chain(values);
                lines.push(csv_line(cells.chain([series.rest.to_string(), csv_figure(value)])));
            }
        }
    }
    lines.join("\n")
}
