//! Trends: a measure of the events that match, by interval of time and by the values of up to two fields.
//!
//! One pass fills one cell per series and interval; the series with the largest totals are shown, the others together as
//! the rest. `docs/questions.md` has the exact meaning of every measure.

mod cells;
mod measure;
mod series;

use std::sync::Arc;

use eye_event::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ObjectBuilder, Schema, SchemaType, Type};
use utoipa::{PartialSchema, ToSchema};

use crate::calendar::{Calendar, Cut, Interval, WeekStart};
use crate::cancel::Cancel;
use crate::error::{Error, Result, checked};
use crate::field::Field;
use crate::filter::Filter;
use crate::reads::Reads;
use crate::scan::{Needs, Part, State, scan};
use crate::source::Source;

use cells::{Cells, Seen, make_room};
pub use measure::{Measure, Statistic};
use series::{Column, Series};

/// Series shown unless asked otherwise.
pub const TOP: usize = 10;
/// Series that may be shown.
pub const TOP_MAX: usize = 1_000;
/// Fields in one breakdown.
pub const BREAKDOWN_MAX: usize = 2;

/// What is measured, of which events, cut how.
#[derive(Clone, Debug)]
pub struct TrendQuery {
    /// Which events.
    pub filter: Filter,
    /// From when on.
    pub from: Timestamp,
    /// Until before when.
    pub to: Timestamp,
    /// What is measured.
    pub measure: Measure,
    /// How time is cut.
    pub interval: Interval,
    /// On which day weeks begin.
    pub week_start: WeekStart,
    /// Whose clock: a name of the IANA database.
    pub time_zone: String,
    /// A series for each value, or pair of values, of these: up to [`BREAKDOWN_MAX`].
    pub breakdown: Vec<Field>,
    /// So many series are shown, at most [`TOP_MAX`]; the others together.
    pub top: usize,
    /// True to have the same of the period before, which is as long.
    pub compare: bool,
}

impl TrendQuery {
    /// The number of events by day in UTC.
    #[must_use]
    pub fn new(filter: Filter, from: Timestamp, to: Timestamp) -> Self {
        Self {
            filter,
            from,
            to,
            measure: Measure::Events,
            interval: Interval::Day,
            week_start: WeekStart::default(),
            time_zone: "UTC".to_owned(),
            breakdown: Vec::new(),
            top: TOP,
            compare: false,
        }
    }
}

/// A trend.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Trend {
    /// What is measured.
    pub measure: String,
    /// How time is cut.
    pub interval: Interval,
    /// Whose clock.
    pub time_zone: String,
    /// The fields of the breakdown.
    pub breakdown: Vec<String>,
    /// The figures.
    #[serde(flatten)]
    pub period: Period,
    /// The figures of the period before, if they were asked for; of the same series.
    pub previous: Option<Period>,
    /// The version of the table that the answer saw.
    pub version: u64,
    /// What the answer has seen of the log.
    pub offset: String,
}

/// The figures of one range of time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Period {
    /// From when on.
    #[schema(value_type = String, format = DateTime)]
    pub from: Timestamp,
    /// Until before when.
    #[schema(value_type = String, format = DateTime)]
    pub to: Timestamp,
    /// When each interval begins. The first may begin before `from`; only what lies in the range counts.
    #[schema(value_type = Vec<String>)]
    pub times: Vec<Timestamp>,
    /// The series, the largest total first, the rest last.
    pub series: Vec<SeriesOut>,
    /// Events that match but have no value that could be measured, such as a text where a number is summed.
    pub without_value: u64,
}

/// One series.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SeriesOut {
    /// The value of each field of the breakdown; null where the events have none.
    pub breakdown: Vec<Option<String>>,
    /// True if this is all that is not shown on its own.
    pub rest: bool,
    /// The measure over the whole range: of distinct things no sum of the values.
    pub total: Figure,
    /// The measure in each interval.
    pub values: Vec<Figure>,
}

/// A number of an answer: whole if it counts, null if there is nothing to measure.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Figure {
    /// How many.
    Count(u64),
    /// A measured number.
    Real(f64),
    /// Nothing was there to be measured.
    Nothing(()),
}

/// Derived, it would be one of two kinds of numbers, and a whole number is both.
impl PartialSchema for Figure {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(SchemaType::Array(vec![Type::Number, Type::Null]))
            .description(Some("A number of an answer: whole if it counts, null if there is nothing to measure."))
            .into()
    }
}

impl ToSchema for Figure {}

/// A trend.
///
/// # Errors
/// `Invalid` by the name of the field; `TooMuch` beyond the limits of cells and series; `Cancelled`; those of the
/// store.
pub fn trend<S>(source: &S, query: &TrendQuery, cancel: &Cancel) -> Result<Trend>
where
    S: Source,
    S::Slice: Sync + Send,
{
    let top = checked("top", query.top, TOP_MAX)?;
    if query.breakdown.len() > BREAKDOWN_MAX {
        let message = format!("breakdown has {} fields: send at most {BREAKDOWN_MAX}", query.breakdown.len());
        return Err(Error::invalid("breakdown", message));
    }
    let cut = Cut::new(query.interval, query.week_start, &query.time_zone)?;
    let now = pass(source, query, &cut, (query.from, query.to), cancel)?;
    // Without a breakdown there is one series, and no need to know its total twice.
    let totals = match query.breakdown.is_empty() {
        true => Vec::new(),
        false => now.cells.totals(&query.measure, now.series.len()),
    };
    let shown = now.series.top(&totals, top);
    let values = now.series.values(&shown);
    let previous = if query.compare {
        let length = query.to.micros().saturating_sub(query.from.micros());
        let from = Timestamp::from_micros(query.from.micros().saturating_sub(length));
        let before = pass(source, query, &cut, (from, query.from), cancel)?;
        Some(before.period(&values, &before.series.places(&now.series, &shown)))
    } else {
        None
    };
    let places: Vec<_> = shown.into_iter().map(Some).collect();
    Ok(Trend {
        measure: query.measure.to_string(),
        interval: query.interval,
        time_zone: query.time_zone.clone(),
        breakdown: query.breakdown.iter().map(ToString::to_string).collect(),
        period: now.period(&values, &places),
        previous,
        version: source.version(),
        offset: source.position().to_string(),
    })
}

/// One pass over one range.
fn pass<'q, S>(
    source: &S,
    query: &'q TrendQuery,
    cut: &Cut,
    (from, to): (Timestamp, Timestamp),
    cancel: &Cancel,
) -> Result<Pass<'q>>
where
    S: Source,
    S::Slice: Sync + Send,
{
    let calendar = Calendar::new(cut, from, to)?;
    // The times of the line say no more than `from` and `to`, and nothing of the period before.
    let line = query.filter.line.as_deref().map(|line| Arc::new(line.clone().without_times()));
    let filter = Filter { from: Some(from), to: Some(to), line, ..query.filter.clone() };
    let reads = query.breakdown.iter().fold(query.measure.reads(), |reads, field| reads | Reads::field(field));
    // Where all rows lie in one interval their times do not matter.
    let is_cut = |times| calendar.only(times).is_none();
    let needs = Needs::new(reads).times_where(&is_cut);
    let needs = match query.measure {
        Measure::Units(by) => needs.units_alone(by),
        _ => needs,
    };
    let make = || Pass {
        query,
        series: Series::new(query.breakdown.len()),
        cells: Cells::new(&query.measure, calendar.len()),
        without_value: 0,
        calendar: calendar.clone(),
    };
    scan(source, &filter, &needs, cancel, make).map(|(pass, _)| pass)
}

/// What one pass has seen.
struct Pass<'q> {
    query: &'q TrendQuery,
    calendar: Calendar,
    series: Series,
    cells: Cells,
    without_value: u64,
}

impl Pass<'_> {
    /// The figures of the series with these values, which stand at these places; `None` is nowhere.
    fn period(&self, values: &[Vec<Option<String>>], places: &[Option<usize>]) -> Period {
        let show = |breakdown: Vec<Option<String>>, rest: bool, series: &[usize]| {
            let (total, values) = self.cells.figures(&self.query.measure, series);
            SeriesOut { breakdown, rest, total, values }
        };
        let fields = self.query.breakdown.len();
        let mut series = Vec::with_capacity(values.len() + 1);
        if fields == 0 {
            let all: Vec<usize> = (0..self.series.len()).collect();
            series.push(show(Vec::new(), false, &all));
        } else {
            for (value, place) in values.iter().zip(places) {
                series.push(show(value.clone(), false, place.as_slice()));
            }
            let others: Vec<usize> = (0..self.series.len()).filter(|one| !places.contains(&Some(*one))).collect();
            if !others.is_empty() {
                series.push(show(vec![None; fields], true, &others));
            }
        }
        let (from, to) = self.calendar.range();
        Period { from, to, times: self.calendar.starts(), series, without_value: self.without_value }
    }
}

impl Pass<'_> {
    /// Counts rows that one column with few texts breaks down; false if that is not what is asked for.
    fn count_rows(&mut self, part: &Part<'_>, columns: &mut [Column<'_>]) -> Result<bool> {
        let (Some(numbers), Some(counts)) = (Series::numbers(columns), self.cells.counts()) else { return Ok(false) };
        let (intervals, mut cutter) = (self.calendar.len(), part.cut(&self.calendar));
        // The first cell of each text's series, and behind them that of rows without a text.
        let mut firsts: Vec<Option<usize>> = vec![None; columns[0].texts() + 1];
        let without = firsts.len() - 1;
        for (row, (_, number)) in part.mask.iter().zip(numbers).enumerate().filter(|(_, (is_chosen, _))| **is_chosen) {
            let Some(interval) = cutter.interval(row) else { continue };
            let place = usize::try_from(*number).unwrap_or(without);
            let first = match firsts[place] {
                Some(first) => first,
                None => {
                    let series = self.series.place(columns, row)?;
                    make_room(counts, series, intervals)?;
                    *firsts[place].insert(series * intervals)
                }
            };
            counts[first + interval] += 1;
        }
        Ok(true)
    }

    /// Adds rows one by one.
    fn add_rows(&mut self, part: &Part<'_>) -> Result<()> {
        let mut columns = Series::columns(part.frame, &self.query.breakdown);
        if self.count_rows(part, &mut columns)? {
            return Ok(());
        }
        let mut seen = Seen::new(part.frame, &self.query.measure);
        let mut cutter = part.cut(&self.calendar);
        // What is counted once need not be looked at again for the next row of the same session.
        let is_once = self.cells.are_keys();
        let mut before = None;
        for row in (0..part.mask.len()).filter(|row| part.mask[*row]) {
            let Some(interval) = cutter.interval(row) else { continue };
            let series = self.series.place(&mut columns, row)?;
            if is_once {
                let this = seen.code(row).map(|code| (series, interval, code));
                if this.is_some() && this == before {
                    continue;
                }
                before = this;
            }
            if !self.cells.add(series, interval, row, &mut seen)? {
                self.without_value += 1;
                before = None;
            }
        }
        Ok(())
    }

    /// Adds whom the rows belong to.
    fn add_units(&mut self, part: &Part<'_>) -> Result<()> {
        let mut columns = Series::columns(part.frame, &self.query.breakdown);
        let mut cutter = part.cut(&self.calendar);
        let is_one_cell = columns.is_empty() && cutter.is_one();
        for run in part.runs() {
            let mut rows = run.rows.clone().filter(|row| part.mask[*row]);
            if run.is_nobody() {
                for row in rows.filter(|row| cutter.interval(*row).is_some()) {
                    // Their series is there, be it without anybody.
                    self.series.place(&mut columns, row)?;
                    self.without_value += 1;
                }
                continue;
            }
            let first = rows.find_map(|row| Some((row, cutter.interval(row)?)));
            let Some((first, interval)) = first else { continue };
            let mut last = (self.series.place(&mut columns, first)?, interval);
            let mut is_alone = part.is_alone(run.key);
            if !is_one_cell {
                for row in rows {
                    let Some(interval) = cutter.interval(row) else { continue };
                    let cell = (self.series.place(&mut columns, row)?, interval);
                    if cell != last {
                        self.cells.add_unit(last, run.key, false)?;
                        (last, is_alone) = (cell, false);
                    }
                }
            }
            self.cells.add_unit(last, run.key, is_alone)?;
        }
        Ok(())
    }
}

impl State for Pass<'_> {
    fn add(&mut self, part: &Part<'_>) -> Result<()> {
        match self.query.measure {
            Measure::Units(_) => self.add_units(part)?,
            _ => self.add_rows(part)?,
        }
        self.cells.checked()
    }

    fn merge(&mut self, other: Self) -> Result<()> {
        self.without_value += other.without_value;
        let places = self.series.merge(&other.series)?;
        self.cells.merge(other.cells, &places)?;
        self.cells.checked()
    }
}
