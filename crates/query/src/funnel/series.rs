//! A breakdown: the most frequent values at the first step, and the rest.

use std::cmp::Reverse;

use crate::funnel::FunnelQuery;
use crate::funnel::tally::Tally;
use crate::funnel::values::{NO_VALUE, Values};

/// What those leave whose first step has one value.
pub(super) struct Series {
    /// The value; `None` if there is none, and for the rest.
    pub(super) value: Option<String>,
    /// True if these are all the others.
    pub(super) is_rest: bool,
    pub(super) tally: Tally,
}

/// Everybody's tally, and the series of a breakdown in the order of the answer. `tallies` are those of every value, by its
/// number, and behind them that of no value.
pub(super) fn divide(query: &FunnelQuery, values: &Values, mut tallies: Vec<Tally>) -> (Tally, Vec<Series>) {
    if query.breakdown.is_none() {
        return (tallies.pop().unwrap_or_default(), Vec::new());
    }
    let total = sum(&tallies, query.samples);
    let numbers = (0..).take(values.len()).chain([NO_VALUE]);
    let mut found: Vec<(Option<&str>, Tally)> = numbers
        .zip(tallies)
        .filter(|(_, tally)| tally.count() > 0)
        .map(|(number, tally)| (values.text(number), tally))
        .collect();
    found.sort_by_key(|(value, tally)| (Reverse(tally.count()), *value));
    let others: Vec<Tally> = found.drain(query.top.min(found.len())..).map(|(_, tally)| tally).collect();
    let own = |(value, tally): (Option<&str>, Tally)| Series { value: value.map(str::to_owned), is_rest: false, tally };
    let mut series: Vec<Series> = found.into_iter().map(own).collect();
    if !others.is_empty() {
        series.push(Series { value: None, is_rest: true, tally: sum(&others, query.samples) });
    }
    (total, series)
}

fn sum(tallies: &[Tally], samples: usize) -> Tally {
    let mut sum = Tally::default();
    tallies.iter().for_each(|tally| sum.merge(tally, samples));
    sum
}
