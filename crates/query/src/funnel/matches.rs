//! [`Matches`]: the events that a funnel keeps of one pass, and [`Units`], the same by whom they belong to.
//!
//! Rows of a table's slice stand in session order, so the events of a session are one *run* of rows. What tells sessions
//! apart (16 bytes) is kept once a run; each event is 24 bytes of numbers. Keys lie in buckets by their first bits, so that
//! all the runs of one unit are in one bucket, and buckets can be worked on at the same time. They only say which runs
//! belong together: nearly all units have one run, and are looked at in the order of memory, which is several times as fast
//! as in the order of keys.

use std::borrow::Cow;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use eye_event::Timestamp;
use eye_log::{Offset, PartitionId};
use eye_store::{Columns, SortKey};

use crate::condition::{Condition, Expr};
use crate::error::{Error, Result};
use crate::filter::Filter;
use crate::frame::{Frame, Place, Texts};
use crate::funnel::values::{FrameValues, NO_VALUE, Values};
use crate::funnel::{FunnelOrder, FunnelQuery};
use crate::mask::{Chooser, Mask, keep_expr};
use crate::reads::Reads;
use crate::scan::State;
use crate::unit::{Key, Keys};

/// So many bits of a key say its bucket.
const BUCKET_BITS: u32 = 8;
/// How many buckets there are.
pub(super) const BUCKETS: usize = 1 << BUCKET_BITS;
/// Texts are few if each stands in so many rows, on average.
const TEXTS_FEW: usize = 8;
/// So many runs are worked on at a time.
const PIECE_RUNS: usize = 8_192;

/// A set of steps, one bit each.
pub(super) type Steps = u16;

/// What every thread of the pass needs to know.
pub(super) struct Plan<'q> {
    query: &'q FunnelQuery,
    steps: Vec<Chooser<'q>>,
    reads: Reads,
    keys: Keys,
    /// How many events all threads keep together.
    kept: AtomicUsize,
}

impl<'q> Plan<'q> {
    /// `steps` are the steps as filters.
    pub(super) fn new(query: &'q FunnelQuery, steps: &'q [Filter]) -> Self {
        let breakdown = query.breakdown.as_ref().map_or_else(Reads::default, Reads::field);
        let own = breakdown | Columns::SORT_KEY | query.by.column();
        Self {
            query,
            steps: steps.iter().map(Chooser::new).collect(),
            reads: steps.iter().fold(own, |reads, step| reads | step.reads()),
            keys: Keys::new(),
            kept: AtomicUsize::new(0),
        }
    }

    /// What the pass reads beyond what the filter does.
    pub(super) fn reads(&self) -> Reads {
        self.reads.clone()
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
            for (row, steps) in steps.iter_mut().enumerate() {
                *steps &= *texts.code(row).and_then(|code| allowed.get(code)).unwrap_or(without);
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
    /// A row that tells the unit's id.
    slice: u32,
    row: u32,
    /// Where its events are among those of its part.
    first: u32,
    count: u32,
}

/// Whose run it is.
#[derive(Clone, Copy)]
struct Owner {
    /// Halves of a key, as a whole one would leave a gap in every owner.
    key: [u64; 2],
    /// The number of the run in its part.
    run: u32,
}

/// What one thread keeps.
struct Part {
    /// In the order of their events.
    runs: Vec<Run>,
    kept: Vec<Kept>,
    /// The owners of the runs, by bucket.
    owners: Vec<Vec<Owner>>,
    values: Values,
}

impl Part {
    fn new() -> Self {
        Self { runs: Vec::new(), kept: Vec::new(), owners: vec![Vec::new(); BUCKETS], values: Values::default() }
    }

    /// The events of a run.
    fn events(&self, run: &Run) -> &[Kept] {
        let first = run.first as usize;
        self.kept.get(first..first + run.count as usize).unwrap_or_default()
    }

    /// Adds an event behind the last one; `is_same` if it belongs to the same run.
    fn push(&mut self, (slice, row): (u32, usize), key: Key, is_same: bool, event: Kept) {
        let first = number(self.kept.len());
        self.kept.push(event);
        if let Some(run) = self.runs.last_mut().filter(|_| is_same) {
            run.count += 1;
            return;
        }
        let [high, low] = [key >> 64, key].map(|half| (half & u128::from(u64::MAX)) as u64);
        if let Some(owners) = self.owners.get_mut((high >> (u64::BITS - BUCKET_BITS)) as usize) {
            owners.push(Owner { key: [high, low], run: number(self.runs.len()) });
        }
        self.runs.push(Run { slice, row: number(row), first, count: 1 });
    }
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
}

impl<'q> Matches<'q> {
    pub(super) fn new(plan: &'q Plan<'q>) -> Self {
        Self { plan, mine: Part::new(), others: Vec::new() }
    }

    /// Everything kept, with one numbering of values.
    ///
    /// # Errors
    /// `TooMuch`, if there are too many values.
    pub(super) fn finish(self) -> Result<Units> {
        let (mut values, mut parts) = (Values::default(), Vec::new());
        for part in std::iter::once(self.mine).chain(self.others) {
            let numbers = values.merge(&part.values)?;
            let is_joined = part.runs.iter().map(|_| AtomicBool::new(false)).collect();
            parts.push(Numbered { part, numbers, is_joined });
        }
        Ok(Units { parts, values })
    }
}

impl State for Matches<'_> {
    fn add(&mut self, frame: &Frame, mask: &[bool], slice: u32) -> Result<()> {
        let (plan, part) = (self.plan, &mut self.mine);
        let query = plan.query;
        let steps = plan.steps_of(frame, mask);
        let wanted = match query.order {
            FunnelOrder::Ordered => Cow::Owned(steps.iter().map(|steps| *steps != 0).collect()),
            // What matches no step still stands between two that do.
            FunnelOrder::Strict => Cow::Borrowed(mask),
        };
        let mut values = query.breakdown.as_ref().map(|field| FrameValues::new(field, frame));
        let (before, mut last) = (part.kept.len(), None);
        plan.keys.each(frame, query.by, &wanted, |row, key| {
            let (at, steps) = (frame.key(row), steps[row]);
            let value = match &mut values {
                Some(values) if steps & 1 != 0 => values.number(row, &mut part.values),
                _ => NO_VALUE,
            };
            let event =
                Kept { timestamp: at.timestamp.micros(), offset: at.offset.0, value, partition: at.partition.0, steps };
            part.push((slice, row), key, last == Some(key), event);
            last = Some(key);
        });
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
    /// For each run whether its unit has others.
    is_joined: Vec<AtomicBool>,
}

impl Numbered {
    /// Adds the events of a run.
    fn push_events(&self, run: &Run, events: &mut Vec<Kept>) {
        let own = |value: u32| self.numbers.get(value as usize).copied().unwrap_or(NO_VALUE);
        // A slice of the table has the latest first: turned round, the events are nearly always in order.
        events.extend(self.part.events(run).iter().rev().map(|event| Kept { value: own(event.value), ..*event }));
    }
}

/// Everything that was kept, ready to be looked at unit by unit: first those of several runs, bucket by bucket, then those
/// of one run, which nearly all have, in the order of memory.
pub(super) struct Units {
    parts: Vec<Numbered>,
    /// The values of the breakdown.
    pub(super) values: Values,
}

/// A row that tells a unit's id: its slice, and its number there.
pub(super) type RowPlace = (u32, u32);

impl Units {
    /// Visits every unit of a bucket that has several runs, with its events in order, and remembers the runs.
    pub(super) fn each_joined(&self, bucket: usize, mut visit: impl FnMut(RowPlace, &[Kept])) {
        let of = |part: &'_ Numbered| part.part.owners.get(bucket).cloned().unwrap_or_default();
        let mut owners: Vec<(Owner, &Numbered)> =
            self.parts.iter().flat_map(|part| of(part).into_iter().map(move |owner| (owner, part))).collect();
        owners.sort_unstable_by_key(|(owner, _)| owner.key);
        let mut events = Vec::new();
        for unit in owners.chunk_by(|(one, _), (next, _)| one.key == next.key).filter(|unit| unit.len() > 1) {
            events.clear();
            let mut place = (0, 0);
            for (owner, part) in unit {
                let run = owner.run as usize;
                let (Some(is_joined), Some(run)) = (part.is_joined.get(run), part.part.runs.get(run)) else { continue };
                is_joined.store(true, Ordering::Relaxed);
                part.push_events(run, &mut events);
                place = (run.slice, run.row);
            }
            in_order(&mut events);
            visit(place, &events);
        }
    }

    /// How many pieces the runs are cut into for [`Units::each_alone`].
    pub(super) fn pieces(&self) -> usize {
        self.parts.iter().map(|part| part.part.runs.len().div_ceil(PIECE_RUNS)).sum()
    }

    /// Visits every unit of a piece that has but one run, with its events in order. [`Units::each_joined`] must have
    /// visited all the others.
    pub(super) fn each_alone(&self, mut piece: usize, mut visit: impl FnMut(RowPlace, &[Kept])) {
        let mut events = Vec::new();
        for part in &self.parts {
            let pieces = part.part.runs.len().div_ceil(PIECE_RUNS);
            if piece >= pieces {
                piece -= pieces;
                continue;
            }
            let runs = part.part.runs.iter().zip(&part.is_joined).skip(piece * PIECE_RUNS).take(PIECE_RUNS);
            for (run, _) in runs.filter(|(_, is_joined)| !is_joined.load(Ordering::Relaxed)) {
                events.clear();
                part.push_events(run, &mut events);
                in_order(&mut events);
                visit((run.slice, run.row), &events);
            }
            return;
        }
    }
}

fn in_order(events: &mut [Kept]) {
    if !events.is_sorted_by(|one, next| one.key() < next.key()) {
        events.sort_unstable_by_key(Kept::key);
    }
}
