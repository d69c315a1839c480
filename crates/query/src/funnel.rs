//! Funnels: how many take the first step, how many of them the second, and where the others stop.
//!
//! One pass over the events keeps those that match a step, as numbers and by whom they belong to; then each session or
//! person (a *unit*) is looked at alone. A *chain* is a choice of its events, one a step, that follow one another; the
//! deepest chain says how far the unit came. `docs/questions.md` has the whole definition.
//!
//! | module | what it does |
//! |---|---|
//! | `matches` | the pass: which events are kept, and how |
//! | `values` | what the funnel is broken down by |
//! | `chain` | the counted chain of one unit |
//! | `tally` | counts, times and samples of many units |
//! | `series` | the most frequent values, and the rest |
//!
//! The rule: memory is bounded by the number of events that match a step, never by how many there are of all.

use std::time::Duration;

use eye_event::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::cancel::Cancel;
use crate::error::{Error, Result};
use crate::field::Field;
use crate::filter::Filter;
use crate::funnel::matches::{Matches, Plan};
use crate::line::Line;
use crate::scan::scan;
use crate::source::Source;
use crate::unit::By;

mod chain;
mod matches;
mod series;
mod tally;
mod values;

/// How few steps a funnel may have.
pub const FUNNEL_STEPS_MIN: usize = 2;
/// How many steps a funnel may have.
pub const FUNNEL_STEPS_MAX: usize = 12;
/// How many series a breakdown has unless asked otherwise, not counting the rest.
pub const FUNNEL_TOP: usize = 10;
/// How many series a breakdown may have, not counting the rest.
pub const FUNNEL_TOP_MAX: usize = 100;
/// How many ids each step shows unless asked otherwise.
pub const FUNNEL_SAMPLES: usize = 5;
/// How many ids each step may show.
pub const FUNNEL_SAMPLES_MAX: usize = 20;
/// How many events that match a step one question may keep unless asked otherwise: half a gigabyte of memory, three
/// times that if most sessions have but one.
pub const FUNNEL_MATCHES_MAX: usize = 20_000_000;
/// How many distinct values a breakdown may have among the events of the first step.
pub const FUNNEL_VALUES_MAX: usize = 100_000;
/// How many bytes these values may have together.
pub const FUNNEL_VALUES_BYTES_MAX: usize = 64 * 1024 * 1024;

/// What may happen between two steps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum FunnelOrder {
    /// Anything.
    #[default]
    Ordered,
    /// Nothing: each step is the very next event among those that the filter chooses.
    Strict,
}

/// Which steps, whose, how fast, broken down by what.
#[derive(Clone, Debug)]
pub struct FunnelQuery {
    /// Which events are looked at.
    pub filter: Filter,
    /// What each step is: [`FUNNEL_STEPS_MIN`] to [`FUNNEL_STEPS_MAX`] lines without times.
    pub steps: Vec<Line>,
    /// Whose events belong together.
    pub by: By,
    /// What may happen between two steps.
    pub order: FunnelOrder,
    /// At most so long from the first step to any other; `None` is any time. Fractions of a microsecond are cut off.
    pub window: Option<Duration>,
    /// One series for each value of this field at the first step.
    pub breakdown: Option<Field>,
    /// The most frequent values that have a series of their own: 1 to [`FUNNEL_TOP_MAX`].
    pub top: usize,
    /// How many ids of those that stop at a step to show: 0 to [`FUNNEL_SAMPLES_MAX`].
    pub samples: usize,
    /// How many events that match a step (in a strict funnel: that the filter chooses) may be kept; beyond it there is no
    /// answer.
    pub matches_max: usize,
}

impl Default for FunnelQuery {
    fn default() -> Self {
        Self {
            filter: Filter::default(),
            steps: Vec::new(),
            by: By::default(),
            order: FunnelOrder::default(),
            window: None,
            breakdown: None,
            top: FUNNEL_TOP,
            samples: FUNNEL_SAMPLES,
            matches_max: FUNNEL_MATCHES_MAX,
        }
    }
}

/// One step of a funnel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct FunnelStepOut {
    /// The step's query line.
    pub line: String,
    /// How many came at least so far.
    pub count: u64,
    /// `count` as a share of the first step's; null if that is 0.
    pub of_first: Option<f64>,
    /// `count` as a share of the previous step's; null if that is 0, and at the first step.
    pub of_previous: Option<f64>,
    /// Half of those who came here took at most so many milliseconds from the previous step; null if there are none.
    pub median_ms: Option<i64>,
    /// Nine of ten of those who came here took at most so many milliseconds from the previous step; null if there are
    /// none.
    pub p90_ms: Option<i64>,
    /// How many came here and not to the next step; 0 at the last.
    pub dropped: u64,
    /// Ids of some of them: those whose chain ended latest, the latest first.
    pub dropped_samples: Vec<String>,
}

/// The funnel of those whose first step has one value.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct FunnelSeriesOut {
    /// The value; null if the first step has none, and for the rest.
    pub value: Option<String>,
    /// True if these are all the values that have no series of their own.
    pub rest: bool,
    /// The steps.
    pub steps: Vec<FunnelStepOut>,
}

/// A funnel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct FunnelAnswer {
    /// Only events at this time or later were looked at; null if there is no such bound.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub from: Option<Timestamp>,
    /// Only events before this time were looked at; null if there is no such bound.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub to: Option<Timestamp>,
    /// The steps over everybody.
    pub total: Vec<FunnelStepOut>,
    /// With a breakdown: the most frequent values at the first step, the most frequent first, then the rest.
    pub series: Vec<FunnelSeriesOut>,
    /// The version of the table that the answer saw.
    pub version: u64,
    /// What the answer has seen of the log.
    pub offset: String,
}

/// A funnel.
///
/// # Errors
/// `Invalid` for steps, a top or samples out of range, and for a step that has times; `TooMuch` beyond `matches_max`,
/// [`FUNNEL_VALUES_MAX`] or [`FUNNEL_VALUES_BYTES_MAX`]; `Cancelled`; those of the store.
pub fn funnel<S>(source: &S, query: &FunnelQuery, cancel: &Cancel) -> Result<FunnelAnswer>
where
    S: Source,
    S::Slice: Sync + Send,
{
    check(query)?;
    let steps: Vec<Filter> = query.steps.iter().map(step_filter).collect();
    let plan = Plan::new(query, &steps);
    let (matches, slices) = scan(source, &query.filter, &plan.needs(), cancel, || Matches::new(&plan))?;
    cancel.check()?;
    let (units, tallies) = matches.finish()?;
    let tallies = tally::tally(query, &units, tallies, cancel)?;
    let (total, series) = series::divide(query, &units.values, tallies);
    let ids = tally::fetch_ids(&slices, query.by, series.iter().map(|one| &one.tally).chain([&total]), cancel)?;
    let show = |one: series::Series| FunnelSeriesOut {
        value: one.value,
        rest: one.is_rest,
        steps: one.tally.show(&query.steps, &ids),
    };
    Ok(FunnelAnswer {
        from: query.filter.from(),
        to: query.filter.to(),
        total: total.show(&query.steps, &ids),
        series: series.into_iter().map(show).collect(),
        version: source.version(),
        offset: source.position().to_string(),
    })
}

/// The first thing that is wrong with a query.
fn check(query: &FunnelQuery) -> Result<()> {
    let FunnelQuery { steps, top, samples, .. } = query;
    if !(FUNNEL_STEPS_MIN..=FUNNEL_STEPS_MAX).contains(&steps.len()) {
        let message =
            format!("there are {} steps: send from {FUNNEL_STEPS_MIN} to {FUNNEL_STEPS_MAX} query lines", steps.len());
        return Err(Error::invalid("steps", message));
    }
    if let Some(timed) = steps.iter().position(|step| step.since.is_some() || step.until.is_some()) {
        let message = format!("step {} has since or until: send times for the whole question", timed + 1);
        return Err(Error::invalid("steps", message));
    }
    if !(1..=FUNNEL_TOP_MAX).contains(top) {
        return Err(Error::invalid("top", format!("top is {top}: send a number from 1 to {FUNNEL_TOP_MAX}")));
    }
    if *samples > FUNNEL_SAMPLES_MAX {
        let message = format!("samples is {samples}: send a number from 0 to {FUNNEL_SAMPLES_MAX}");
        return Err(Error::invalid("samples", message));
    }
    Ok(())
}

/// The step as a filter. It has no times, so no moment matters.
fn step_filter(step: &Line) -> Filter {
    let asked = step.clone().at(Timestamp::from_micros(0));
    Filter { line: Some(asked.into()), ..Filter::default() }
}
