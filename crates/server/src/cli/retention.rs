//! `eye retention`: who comes back, as a triangle of shares.

use eye_event::Timestamp;
use serde::Deserialize;

use super::Context;
use super::chart::{csv_line, percent};
use super::failure::Result;
use super::question::{Body, Clock, Range, Zone, line, range_of};
use super::text::{counted, safe, thousands};
use super::view;

pub(crate) const EXAMPLES: &str = "\
Of those who start in one period: how many come back in the same one, in the next, and so on.
Without times it looks at the 30 days before now.

Examples:
  eye retention --by user --interval week --from 2026-09-01
  eye retention --start name:signup --return name:purchase --by user --interval month
  eye retention --interval day --cell 0,3";

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Which events count at all? A query line; all, if absent
    #[arg(allow_hyphen_values = true, value_parser = line)]
    query: Option<String>,
    /// Which events start? A query line; any, if absent
    #[arg(long, value_name = "QUERY", allow_hyphen_values = true)]
    start: Option<String>,
    /// Which events are a return? A query line; any, if absent
    #[arg(long = "return", value_name = "QUERY", allow_hyphen_values = true)]
    back: Option<String>,
    /// Whose events belong together? session, user, or anonymous
    #[arg(long, value_name = "WHO", default_value = "user")]
    by: String,
    /// first: each is in the cohort of its first start; recurring: in one for each period with a start
    #[arg(long, value_name = "MODE", default_value = "first")]
    mode: String,
    /// How long is one period? day, week, or month
    #[arg(long, value_name = "INTERVAL", default_value = "week")]
    interval: String,
    /// How many periods after the first?
    #[arg(long, value_name = "N", default_value_t = 12)]
    periods: usize,
    /// List who is behind this cell: its cohort and its period, both counted from 0
    #[arg(long, value_name = "COHORT,PERIOD", value_delimiter = ',', num_args = 1)]
    cell: Vec<usize>,
    /// How many of those behind the cell?
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: usize,
    #[command(flatten)]
    range: Range,
    #[command(flatten)]
    zone: Zone,
    /// Print CSV
    #[arg(long, conflicts_with = "json")]
    csv: bool,
}

#[derive(Deserialize)]
struct Retention {
    #[serde(flatten)]
    range: super::question::Seen,
    interval: String,
    cohorts: Vec<Cohort>,
    summary: Vec<Option<f64>>,
    cell: Option<Cell>,
}

#[derive(Deserialize)]
struct Cohort {
    start: Timestamp,
    size: u64,
    cells: Vec<u64>,
}

#[derive(Deserialize)]
struct Cell {
    total: u64,
    units: Vec<Unit>,
}

#[derive(Deserialize)]
struct Unit {
    id: String,
    sessions: Vec<String>,
}

pub(crate) fn run(context: &Context<'_>, args: &Args) -> Result<()> {
    let mut body = Body::new();
    body.text("query", args.query.as_deref())
        .text("start", args.start.as_deref())
        .text("return", args.back.as_deref())
        .text("by", Some(&args.by))
        .text("mode", Some(&args.mode))
        .text("interval", Some(&args.interval))
        .number("periods", args.periods)
        .number("limit", args.limit);
    for (name, number) in ["cohort", "period"].into_iter().zip(&args.cell) {
        body.number(name, *number);
    }
    args.range.add(&mut body);
    args.zone.add(&mut body);
    let answer = body.ask(context, "/v1/query/retention")?;
    if args.csv {
        return context.output.line(&csv(&view::read(&answer)?));
    }
    context.output.answer(&answer, || Ok(show(context, args, &view::read(&answer)?)))
}

fn show(context: &Context<'_>, args: &Args, retention: &Retention) -> String {
    let clock = Clock::new(args.zone.name(), &retention.interval);
    let numbers: Vec<String> = (0..retention.summary.len()).map(|period| period.to_string()).collect();
    let mut header = vec!["begins", "size"];
    header.extend(numbers.iter().map(String::as_str));
    let mut rows: Vec<Vec<String>> = vec![vec!["all".to_owned(), String::new()]];
    rows[0].extend(retention.summary.iter().map(|share| percent(*share)));
    for cohort in &retention.cohorts {
        #[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^53")]
        let share = |cell: &u64| percent((cohort.size > 0).then(|| *cell as f64 / cohort.size as f64));
        let mut row = vec![clock.show(cohort.start), thousands(cohort.size)];
        row.extend(cohort.cells.iter().map(share));
        row.resize(header.len(), String::new());
        rows.push(row);
    }
    let table = context.output.table(&header, &header[1..], rows);
    let mut shown =
        format!("{}s by {} {}\n\n{table}", safe(&args.by), safe(&retention.interval), range_of(&retention.range));
    if let Some(cell) = &retention.cell {
        shown.push_str(&format!("\n\nbehind this cell: {}\n", counted(cell.total, &args.by)));
        if cell.units.is_empty() {
            return shown.trim_end().to_owned();
        }
        let rows = cell.units.iter().map(|unit| vec![unit.id.clone(), unit.sessions.join(", ")]);
        shown.push_str(&context.output.table(&[&args.by, "sessions"], &[], rows));
    }
    shown
}

fn csv(retention: &Retention) -> String {
    let mut lines = vec![csv_line(["cohort", "size", "period", "count"])];
    for cohort in &retention.cohorts {
        for (period, count) in cohort.cells.iter().enumerate() {
            let cells = [cohort.start.to_string(), cohort.size.to_string(), period.to_string(), count.to_string()];
            lines.push(csv_line(cells));
        }
    }
    lines.join("\n")
}
