//! Who comes back: of those who started in one period of time, how many returned in the periods after it.
//!
//! Of each unit (a session or a person) two sets of periods are kept, those in which it started and those in which it
//! returned, as 128 bits each; everything else follows from them. The rule: memory is bounded by the number of units,
//! never by the number of events.

use std::collections::HashMap;
use std::str::FromStr;
use std::sync::Arc;

use eye_event::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::calendar::{Calendar, Cut, Interval, WeekStart};
use crate::cancel::Cancel;
use crate::error::{Error, Result, checked, checked_limit};
use crate::filter::Filter;
use crate::line::Asked;
use crate::mask::Demand;
use crate::scan::{Needs, Part, State, scan};
use crate::source::Source;
use crate::unit::{BuildKeyHasher, By, Key};

mod cell;

pub use cell::{CellOut, CellUnitOut, RETENTION_SESSIONS};

/// How many periods a range may have, and an answer columns.
pub const RETENTION_PERIODS_MAX: usize = 128;
/// How many columns an answer has unless asked otherwise.
pub const RETENTION_PERIODS: usize = 12;
/// How many units of a cell are listed unless asked otherwise.
pub const RETENTION_LIMIT: usize = 100;
/// How many units of a cell may be listed.
pub const RETENTION_LIMIT_MAX: usize = 1_000;
/// Over how many units one question may run unless asked otherwise: about a gigabyte of memory.
pub const RETENTION_UNITS_MAX: usize = 10_000_000;

/// To which cohorts a unit belongs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RetentionMode {
    /// To that of the first period in which it started.
    #[default]
    First,
    /// To that of every period in which it started.
    Recurring,
}

impl RetentionMode {
    /// As the API spells it: what [`FromStr`] reads.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::First => "first",
            Self::Recurring => "recurring",
        }
    }
}

impl FromStr for RetentionMode {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let found = [Self::First, Self::Recurring].into_iter().find(|mode| mode.as_str() == text);
        found.ok_or_else(|| Error::invalid("mode", "mode is none of these: first, recurring"))
    }
}

/// Who counts as started and as returned, and how time is cut.
#[derive(Clone, Debug)]
pub struct RetentionQuery {
    /// Which events count at all. Its range, if it has one, narrows `from` and `to`.
    pub filter: Filter,
    /// Which of them start; `None` is any.
    pub start: Option<Arc<Asked>>,
    /// Which of them are a return; `None` is any.
    pub back: Option<Arc<Asked>>,
    /// Whose events belong together.
    pub by: By,
    /// To which cohorts a unit belongs.
    pub mode: RetentionMode,
    /// How long a period is: a day, a week or a month.
    pub interval: Interval,
    /// On which day weeks begin.
    pub week_start: WeekStart,
    /// Whose clock cuts the periods: a name of the IANA database.
    pub time_zone: String,
    /// The beginning of the range.
    pub from: Timestamp,
    /// Its end, which is not in it.
    pub to: Timestamp,
    /// How many cells a cohort has at most: 1 to [`RETENTION_PERIODS_MAX`].
    pub periods: usize,
    /// The cell whose units are listed: its cohort, and how many periods after it; both counted from 0.
    pub cell: Option<(usize, usize)>,
    /// At most so many of them: 1 to [`RETENTION_LIMIT_MAX`].
    pub limit: usize,
    /// Over how many units the question may run; beyond it there is no answer.
    pub units_max: usize,
}

impl RetentionQuery {
    /// Any event starts and any event is a return, session by session, in days of UTC.
    #[must_use]
    pub fn new(from: Timestamp, to: Timestamp) -> Self {
        Self {
            filter: Filter::default(),
            start: None,
            back: None,
            by: By::default(),
            mode: RetentionMode::default(),
            interval: Interval::Day,
            week_start: WeekStart::default(),
            time_zone: "UTC".into(),
            from,
            to,
            periods: RETENTION_PERIODS,
            cell: None,
            limit: RETENTION_LIMIT,
            units_max: RETENTION_UNITS_MAX,
        }
    }
}

/// Those who started in one period.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CohortOut {
    /// When the period begins. The first may begin before `from`, the events before which do not count.
    #[schema(value_type = String, format = DateTime)]
    pub start: Timestamp,
    /// How many units started in it.
    pub size: u64,
    /// How many of them returned in it, in the period after it, and so on.
    pub cells: Vec<u64>,
}

/// Who came back.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RetentionOut {
    /// One for each period of the range, the earliest first.
    pub cohorts: Vec<CohortOut>,
    /// For each column, the share of units that returned, over all cohorts that have the column; null if they are empty.
    pub summary: Vec<Option<f64>>,
    /// The units behind the cell that was asked for.
    pub cell: Option<CellOut>,
    /// The beginning of the range.
    #[schema(value_type = String, format = DateTime)]
    pub from: Timestamp,
    /// Its end.
    #[schema(value_type = String, format = DateTime)]
    pub to: Timestamp,
    /// How long a period is.
    pub interval: Interval,
    /// Whose clock cut the periods.
    pub time_zone: String,
    /// The version of the table that the answer saw.
    pub version: u64,
    /// What the answer has seen of the log.
    pub offset: String,
}

/// Who came back.
///
/// # Errors
/// `Invalid` for a parameter out of range, an interval that is no day, week or month, a range of too many periods, a start
/// or return line with times, or a cell that is not in the answer; `TooMuch` beyond `units_max`; `Cancelled`; those of the
/// store.
pub fn retention<S>(source: &S, query: &RetentionQuery, cancel: &Cancel) -> Result<RetentionOut>
where
    S: Source,
    S::Slice: Sync + Send,
{
    let plan = Plan::new(query)?;
    // Where all rows lie in one period their times do not matter.
    let is_cut = |times| plan.calendar.only(times).is_none();
    let needs = Needs::new(plan.start.reads() | plan.back.reads()).units(query.by).times_where(&is_cut);
    let (units, _) = scan(source, &plan.filter, &needs, cancel, || Units { plan: &plan, sets: HashMap::default() })?;
    let cohorts = cohorts(&plan, &units);
    let cell = query.cell.map(|(cohort, period)| cell::list(source, &plan, &units, cohort, period, cancel));
    Ok(RetentionOut {
        summary: summary(&cohorts, plan.periods()),
        cohorts,
        cell: cell.transpose()?,
        from: query.from,
        to: query.to,
        interval: query.interval,
        time_zone: query.time_zone.clone(),
        version: source.version(),
        offset: source.position().to_string(),
    })
}

/// A question that was found to be in order.
struct Plan<'q> {
    query: &'q RetentionQuery,
    filter: Filter,
    start: Demand<'q>,
    back: Demand<'q>,
    calendar: Calendar,
}

impl<'q> Plan<'q> {
    fn new(query: &'q RetentionQuery) -> Result<Self> {
        if !matches!(query.interval, Interval::Day | Interval::Week | Interval::Month) {
            return Err(Error::invalid("interval", "interval of retention is none of these: day, week, month"));
        }
        checked("periods", query.periods, RETENTION_PERIODS_MAX)?;
        checked_limit(query.limit, RETENTION_LIMIT_MAX)?;
        let cut = Cut::new(query.interval, query.week_start, &query.time_zone)?;
        let calendar = Calendar::new(&cut, query.from, query.to)?;
        if calendar.len() > RETENTION_PERIODS_MAX {
            let message = format!(
                "{} to {} has {} periods of a {}: send a longer interval, or a range of at most {RETENTION_PERIODS_MAX}",
                query.from,
                query.to,
                calendar.len(),
                query.interval.as_str()
            );
            return Err(Error::invalid("interval", message));
        }
        let mut filter = query.filter.clone();
        filter.from = filter.from.max(Some(query.from));
        filter.to = Some(filter.to.map_or(query.to, |to| to.min(query.to)));
        let (start, back) =
            (Demand::new("start", query.start.as_deref())?, Demand::new("return", query.back.as_deref())?);
        let plan = Self { query, filter, start, back, calendar };
        plan.check_cell()?;
        Ok(plan)
    }

    fn check_cell(&self) -> Result<()> {
        let Some((cohort, period)) = self.query.cell else { return Ok(()) };
        let cells = self.calendar.len().saturating_sub(cohort).min(self.query.periods);
        if period < cells {
            return Ok(());
        }
        let message = format!(
            "there is no cell {cohort},{period}: the answer has {} cohorts, and the one asked for has {cells} cells; both count from 0",
            self.calendar.len()
        );
        Err(Error::invalid("cell", message))
    }

    /// How many columns the answer has.
    fn periods(&self) -> usize {
        self.query.periods.min(self.calendar.len())
    }
}

/// The periods in which a unit started, and those in which it returned: one bit each.
#[derive(Clone, Copy, Default)]
struct Sets {
    starts: u128,
    returns: u128,
}

impl Sets {
    fn add(&mut self, other: Self) {
        self.starts |= other.starts;
        self.returns |= other.returns;
    }

    /// The cohorts that it belongs to.
    fn cohorts(self, mode: RetentionMode) -> u128 {
        match mode {
            // Its lowest bit.
            RetentionMode::First => self.starts & self.starts.wrapping_neg(),
            RetentionMode::Recurring => self.starts,
        }
    }
}

/// The places of the bits that are set, from the lowest on.
fn places(mut set: u128) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let place = usize::try_from(set.trailing_zeros()).ok().filter(|_| set != 0)?;
        set &= set - 1;
        Some(place)
    })
}

/// Everybody who started or returned.
struct Units<'p> {
    plan: &'p Plan<'p>,
    sets: HashMap<Key, Sets, BuildKeyHasher>,
}

impl Units<'_> {
    fn checked(&self) -> Result<()> {
        let max = self.plan.query.units_max;
        if self.sets.len() <= max {
            return Ok(());
        }
        Err(Error::TooMuch {
            message: format!("more than {max} sessions or people match: narrow the time range or filter further"),
        })
    }
}

impl State for Units<'_> {
    fn add(&mut self, part: &Part<'_>) -> Result<()> {
        let plan = self.plan;
        let (starts, returns) = (plan.start.narrow(part.frame, part.mask), plan.back.narrow(part.frame, part.mask));
        let mut cutter = part.cut(&plan.calendar);
        for run in part.runs().filter(|run| !run.is_nobody()) {
            let mut sets = Sets::default();
            for row in run.rows.filter(|row| starts[*row] | returns[*row]) {
                let Some(place) = cutter.interval(row) else { continue };
                let bit = |is_one: bool| u128::from(is_one) << place;
                sets.add(Sets { starts: bit(starts[row]), returns: bit(returns[row]) });
            }
            if sets.starts | sets.returns != 0 {
                self.sets.entry(run.key).or_default().add(sets);
            }
        }
        self.checked()
    }

    fn merge(&mut self, other: Self) -> Result<()> {
        let (mut large, mut small) = (std::mem::take(&mut self.sets), other.sets);
        if large.len() < small.len() {
            std::mem::swap(&mut large, &mut small);
        }
        // Both tables order their keys alike: without room for all, the first ones would crowd its beginning.
        large.reserve(small.len());
        for (key, sets) in small {
            large.entry(key).or_default().add(sets);
        }
        self.sets = large;
        self.checked()
    }
}

fn cohorts(plan: &Plan<'_>, units: &Units<'_>) -> Vec<CohortOut> {
    let (count, periods) = (plan.calendar.len(), plan.query.periods);
    let cells = |cohort: usize| vec![0; periods.min(count - cohort)];
    let starts = plan.calendar.starts().into_iter().enumerate();
    let mut cohorts: Vec<_> =
        starts.map(|(cohort, start)| CohortOut { start, size: 0, cells: cells(cohort) }).collect();
    for sets in units.sets.values() {
        for place in places(sets.cohorts(plan.query.mode)) {
            let cohort = &mut cohorts[place];
            cohort.size += 1;
            for cell in places(sets.returns >> place).take_while(|cell| *cell < periods) {
                cohort.cells[cell] += 1;
            }
        }
    }
    cohorts
}

/// The share of those who returned, for each column over the cohorts that have it.
fn summary(cohorts: &[CohortOut], periods: usize) -> Vec<Option<f64>> {
    let share = |period: usize| {
        let pairs = cohorts.iter().filter_map(|cohort| Some((*cohort.cells.get(period)?, cohort.size)));
        let (back, all) = pairs.fold((0, 0), |(back, all): (u64, u64), pair| (back + pair.0, all + pair.1));
        (all > 0).then(|| back as f64 / all as f64)
    };
    (0..periods).map(share).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_are_places_up_to_the_last() {
        assert_eq!(places(0).count(), 0);
        assert_eq!(places(1 | 1 << 5 | 1 << 127).collect::<Vec<_>>(), [0, 5, 127]);
        assert_eq!(places(u128::MAX).count(), 128);
    }

    #[test]
    fn modes_are_read_as_they_are_written() {
        for mode in [RetentionMode::First, RetentionMode::Recurring] {
            assert_eq!(mode.as_str().parse::<RetentionMode>().unwrap(), mode);
        }
        assert!(matches!("last".parse::<RetentionMode>(), Err(Error::Invalid { field: "mode", .. })));
    }
}
