//! [`Matches`]: the events that a funnel keeps of one pass, and [`Units`], the same by whom they belong to.
//!
//! Rows of a table's slice stand in session order, so the events of a session are one *run* of rows. A unit that has but one
//! run, as nearly all do, is looked at and forgotten. Of the others what tells them apart is kept once a run, and 24 bytes of
//! numbers each event; runs lie in buckets by the first bits of their keys, so that all the runs of one unit are in one
//! bucket, and buckets can be worked on at the same time.

use std::sync::atomic::{AtomicUsize, Ordering};

use eye_event::Timestamp;
use eye_log::{Offset, PartitionId};
use eye_store::{Columns, SortKey};

use crate::condition::{Condition, Expr};
use crate::error::{Error, Result};
use crate::filter::Filter;
use crate::frame::{Frame, Place, Texts};
use crate::funnel::tally::Tallies;
use crate::funnel::values::{FrameValues, NO_VALUE, Values};
use crate::funnel::{FunnelOrder, FunnelQuery};
use crate::mask::{Chooser, Mask, keep_expr};
use crate::reads::Reads;
use crate::scan::{self, Needs, State};
use crate::unit::Key;

/// So many bits of a key say its bucket.
const BUCKET_BITS: u32 = 8;
/// How many buckets there are.
pub(super) const BUCKETS: usize = 1 << BUCKET_BITS;
/// Texts are few if each stands in so many rows, on average.
const TEXTS_FEW: usize = 8;

/// A set of steps, one bit each.
pub(super) type Steps = u16;

/// What every thread of the pass needs to know.
pub(super) struct Plan<'q> {
    query: &'q FunnelQuery,
    steps: Vec<Chooser<'q>>,
    reads: Reads,
    /// How many events all threads keep together.
    kept: AtomicUsize,
}

impl<'q> Plan<'q> {
    /// `steps` are the steps as filters.
    pub(super) fn new(query: &'q FunnelQuery, steps: &'q [Filter]) -> Self {
        let breakdown = query.breakdown.as_ref().map_or_else(Reads::default, Reads::field);
        let own = breakdown | Columns::SORT_KEY;
        Self {
            query,
            steps: steps.iter().map(Chooser::new).collect(),
            reads: steps.iter().fold(own, |reads, step| reads | step.reads()),
            kept: AtomicUsize::new(0),
        }
    }

    /// What the pass needs beyond what the filter reads.
    pub(super) fn needs(&self) -> Needs<'static> {
        Needs::new(self.reads.clone()).units_alone(self.query.by)
    }

    /// Which steps each of the chosen rows matches.
    fn steps_of(&self, frame: &Frame, mask: &[bool]) -> Vec<Steps> {
        let all = (1 << self.steps.len()) - 1;
        let mut steps: Vec<Steps> = mask.iter().map(|is_chosen| if *is_chosen { all } else { 0 }).collect();
        // Which steps each text of a column with few texts allows: one pass for all steps together.
        let mut by_code: Vec<ByCode<'_>> = Vec::new();
        let mut others = Vec::new();
        for (number, chooser) in self.steps.iter().enumerate() {
            let step = 1 << number;
            for expr in chooser.exprs() {
                let Some((place, meets)) = by_text(frame, expr) else {
                    others.push((step, *expr));
                    continue;
                };
                let known = by_code.iter().position(|known| std::ptr::eq(known.texts, place.texts()));
                let at = known.unwrap_or_else(|| {
                    by_code.push(ByCode { texts: place.texts(), allowed: vec![all; meets.len()], without: all });
                    by_code.len() - 1
                });
                let column = &mut by_code[at];
                // Who has no text meets no condition on it.
                column.without &= !step;
                for (steps, _) in column.allowed.iter_mut().zip(meets).filter(|(_, is_met)| !is_met) {
                    *steps &= !step;
                }
            }
        }
        for ByCode { texts, allowed, without } in &by_code {
            for (steps, code) in steps.iter_mut().zip(texts.numbers()) {
                // A row without a text has a number below 0, which is past the end.
                *steps &= *allowed.get(*code as usize).unwrap_or(without);
            }
        }
        for (step, expr) in others {
            let mut met: Mask = steps.iter().map(|steps| steps & step != 0).collect();
            keep_expr(&mut met, frame, expr);
            steps.iter_mut().zip(met).filter(|(_, is_met)| !is_met).for_each(|(steps, _)| *steps &= !step);
        }
        steps
    }

    /// Counts events that are kept.
    fn keep(&self, count: usize) -> Result<()> {
        // A place in a thread's events has 32 bits.
        let kept_max = self.query.matches_max.min(u32::MAX as usize / 2);
        if self.kept.fetch_add(count, Ordering::Relaxed) + count <= kept_max {
            return Ok(());
        }
        let what = match self.query.order {
            FunnelOrder::Ordered => "match a step",
            FunnelOrder::Strict => "are chosen",
        };
        let message = format!(
            "more than {kept_max} events {what}, which is more than one funnel may keep: \
             narrow the time range with from and to, or filter"
        );
        Err(Error::TooMuch { message })
    }
}

/// The steps that each text of a column allows, and those that rows without a text are allowed.
struct ByCode<'f> {
    texts: &'f Texts,
    allowed: Vec<Steps>,
    without: Steps,
}

/// Which texts of a column with few texts meet a condition; `None` if it is not about one.
fn by_text<'f>(frame: &'f Frame, expr: &'f Expr) -> Option<(Place<'f>, Vec<bool>)> {
    let Expr::Is(condition @ (Condition::Compare { field, .. } | Condition::Has(field))) = expr else { return None };
    let place = frame.place(field);
    let Texts::Coded(_, texts) = place.texts() else { return None };
    // Of texts that are nearly as many as rows only those are looked at that rows have which are chosen.
    if texts.iter().len() * TEXTS_FEW > frame.rows() {
        return None;
    }
    let meets = |text: &str| if place.is_apart() { condition.meets_json(text) } else { condition.meets(Some(text)) };
    Some((place, texts.iter().map(|text| text.is_some_and(&meets)).collect()))
}

/// An event that is kept.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kept {
    pub(super) timestamp: i64,
    pub(super) offset: u64,
    /// The number of its value, if it matches the first step.
    pub(super) value: u32,
    pub(super) partition: u16,
    /// The steps that it matches; none only in a strict funnel.
    pub(super) steps: Steps,
}

impl Kept {
    /// Its place in the order of all events.
    pub(super) fn key(&self) -> SortKey {
        SortKey {
            timestamp: Timestamp::from_micros(self.timestamp),
            partition: PartitionId(self.partition),
            offset: Offset(self.offset),
        }
    }
}

/// Events of one unit that were found one after the other in one slice.
#[derive(Clone, Copy)]
struct Run {
    key: Key,
    /// A row that tells the unit's id.
    place: RowPlace,
    /// Where its events are among those of its part.
    first: u32,
    count: u32,
}

/// A row that tells a unit's id: its slice, and its number there.
pub(super) type RowPlace = (u32, u32);

/// What one thread keeps.
struct Part {
    kept: Vec<Kept>,
    /// By bucket.
    runs: Vec<Vec<Run>>,
    values: Values,
    /// Of the units that are done with, by these values.
    tallies: Tallies,
}

impl Part {
    fn new(query: &FunnelQuery) -> Self {
        let runs = vec![Vec::new(); BUCKETS];
        Self { kept: Vec::new(), runs, values: Values::default(), tallies: Tallies::new(query) }
    }

    /// The events of a run.
    fn events(&self, run: &Run) -> &[Kept] {
        let first = run.first as usize;
        self.kept.get(first..first + run.count as usize).unwrap_or_default()
    }

    /// Keeps the events of a run, which are one at least.
    fn push(&mut self, key: Key, place: RowPlace, events: &[Kept]) {
        let run = Run { key, place, first: number(self.kept.len()), count: number(events.len()) };
        self.kept.extend_from_slice(events);
        if let Some(runs) = self.runs.get_mut(bucket_of(key)) {
            runs.push(run);
        }
    }
}

/// The bucket of a key: its first bits.
fn bucket_of(key: Key) -> usize {
    usize::try_from(key >> (Key::BITS - BUCKET_BITS)).unwrap_or_default()
}

/// A place as it is kept: [`Plan::keep`] sees to it that it fits.
fn number(place: usize) -> u32 {
    u32::try_from(place).unwrap_or(u32::MAX)
}

/// What the pass has kept so far.
pub(super) struct Matches<'q> {
    plan: &'q Plan<'q>,
    mine: Part,
    others: Vec<Part>,
    /// Room for the numbers of one slice's rows.
    rows: Vec<u32>,
}

impl<'q> Matches<'q> {
    pub(super) fn new(plan: &'q Plan<'q>) -> Self {
        Self { plan, mine: Part::new(plan.query), others: Vec::new(), rows: Vec::new() }
    }

    /// Everything kept, with one numbering of values; and the tallies of the units that are done with.
    ///
    /// # Errors
    /// `TooMuch`, if there are too many values.
    pub(super) fn finish(self) -> Result<(Units, Tallies)> {
        let (mut values, mut parts, mut tallies) = (Values::default(), Vec::new(), Tallies::new(self.plan.query));
        for part in std::iter::once(self.mine).chain(self.others) {
            let numbers = values.merge(&part.values)?;
            tallies.merge(&part.tallies, |value| numbers.get(value as usize).copied().unwrap_or(NO_VALUE));
            parts.push(Numbered { part, numbers });
        }
        Ok((Units { parts, values }, tallies))
    }
}

impl State for Matches<'_> {
    fn add(&mut self, scanned: &scan::Part<'_>) -> Result<()> {
        let frame = scanned.frame;
        let (plan, part) = (self.plan, &mut self.mine);
        let query = plan.query;
        let steps = plan.steps_of(frame, scanned.mask);
        // What matches no step still stands, in a strict funnel, between two that do.
        let is_strict = query.order == FunnelOrder::Strict;
        let is_kept = steps.iter().zip(scanned.mask).map(|(steps, is_chosen)| *steps != 0 || is_strict && *is_chosen);
        let mut rows = numbers_where(is_kept, &mut self.rows);
        let mut values = query.breakdown.as_ref().map(|field| FrameValues::new(field, frame));
        let (before, mut events) = (part.kept.len(), Vec::new());
        for run in scanned.runs() {
            let count = rows.iter().take_while(|row| (**row as usize) < run.rows.end).count();
            let (own, others) = rows.split_at(count);
            rows = others;
            if own.is_empty() || run.is_nobody() {
                continue;
            }
            events.clear();
            // A slice of the table has the latest first: turned round, the events are nearly always in order.
            events.extend(own.iter().rev().map(|row| {
                let row = *row as usize;
                let (at, steps) = (frame.key(row), steps[row]);
                let value = match &mut values {
                    Some(values) if steps & 1 != 0 => values.number(row, &mut part.values),
                    _ => NO_VALUE,
                };
                let (timestamp, offset) = (at.timestamp.micros(), at.offset.0);
                Kept { timestamp, offset, value, partition: at.partition.0, steps }
            }));
            let place = (scanned.slice, number(run.rows.start));
            if scanned.is_alone(run.key) {
                in_order(&mut events);
                part.tallies.add(place, &events);
            } else {
                part.push(run.key, place, &events);
            }
        }
        part.values.check()?;
        plan.keep(part.kept.len() - before)
    }

    fn merge(&mut self, other: Self) -> Result<()> {
        self.others.push(other.mine);
        self.others.extend(other.others);
        Ok(())
    }
}

/// A part whose values have numbers that are the same in all parts.
struct Numbered {
    part: Part,
    /// The numbers, by the part's own.
    numbers: Vec<u32>,
}

impl Numbered {
    /// Adds the events of a run.
    fn push_events(&self, run: &Run, events: &mut Vec<Kept>) {
        let own = |value: u32| self.numbers.get(value as usize).copied().unwrap_or(NO_VALUE);
        events.extend(self.part.events(run).iter().map(|event| Kept { value: own(event.value), ..*event }));
    }
}

/// Everything that was kept, ready to be looked at unit by unit.
pub(super) struct Units {
    parts: Vec<Numbered>,
    /// The values of the breakdown.
    pub(super) values: Values,
}

impl Units {
    /// Visits every unit of a bucket, with its events in order.
    pub(super) fn each(&self, bucket: usize, mut visit: impl FnMut(RowPlace, &[Kept])) {
        let mut runs: Vec<(&Run, &Numbered)> = Vec::new();
        for part in &self.parts {
            runs.extend(part.part.runs.get(bucket).into_iter().flatten().map(|run| (run, part)));
        }
        runs.sort_unstable_by_key(|(run, _)| run.key);
        let mut events = Vec::new();
        for unit in runs.chunk_by(|(one, _), (next, _)| one.key == next.key) {
            events.clear();
            let mut place = (0, 0);
            for (run, part) in unit {
                part.push_events(run, &mut events);
                place = run.place;
            }
            in_order(&mut events);
            visit(place, &events);
        }
    }
}

/// The numbers of the rows where it is true, in `room`. A number is written for each row and stays where it counts: nothing
/// is guessed, and so nothing is guessed wrong.
fn numbers_where(is_true: impl ExactSizeIterator<Item = bool>, room: &mut Vec<u32>) -> &[u32] {
    room.resize(room.len().max(is_true.len()), 0);
    let mut count = 0;
    for (row, is_true) in (0..).zip(is_true) {
        room[count] = row;
        count += usize::from(is_true);
    }
    &room[..count]
}

fn in_order(events: &mut [Kept]) {
    if !events.is_sorted_by(|one, next| one.key() < next.key()) {
        events.sort_unstable_by_key(Kept::key);
    }
}
