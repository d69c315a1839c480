//! The units behind one cell, found by a second pass over the cell's period alone: everybody in the cell has a return
//! there, so their ids need not be kept until somebody asks for them.
//!
//! The rule: only the first few ids in order are kept, so memory does not depend on how many there are.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::cancel::Cancel;
use crate::error::Result;
use crate::field::Field;
use crate::filter::Filter;
use crate::retention::{Plan, Units};
use crate::scan::{Needs, Part, State, scan};
use crate::source::Source;
use crate::unit::KeySet;

/// How many sessions each unit of a cell is listed with.
pub const RETENTION_SESSIONS: usize = 3;

/// The units behind one cell.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CellOut {
    /// The place of the cohort, counted from 0.
    pub cohort: usize,
    /// How many periods after it.
    pub period: usize,
    /// How many units there are in all.
    pub total: u64,
    /// The first of them, by id.
    pub units: Vec<CellUnitOut>,
}

/// A session or a person behind a cell.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CellUnitOut {
    /// Its id.
    pub id: String,
    /// The first sessions, by id, in which it returned in the cell's period: at most [`RETENTION_SESSIONS`].
    pub sessions: Vec<String>,
}

/// The units behind a cell that is in the answer.
pub(super) fn list<S>(
    source: &S,
    plan: &Plan<'_>,
    units: &Units<'_>,
    cohort: usize,
    period: usize,
    cancel: &Cancel,
) -> Result<CellOut>
where
    S: Source,
    S::Slice: Sync + Send,
{
    let (cohort_bit, return_bit) = (1_u128 << cohort, 1_u128 << (cohort + period));
    let is_in = |sets: &super::Sets| sets.cohorts(plan.query.mode) & cohort_bit != 0 && sets.returns & return_bit != 0;
    let members: KeySet = units.sets.iter().filter(|(_, sets)| is_in(sets)).map(|(key, _)| *key).collect();
    let filter = period_of(plan, cohort + period);
    let reads = plan.back.reads() | plan.query.by.column() | Field::SessionId.column();
    let needs = Needs::new(reads).units(plan.query.by);
    let make = || Ids { plan, members: &members, found: BTreeMap::new() };
    // A cell that is empty needs no second pass.
    let found = if members.is_empty() { make() } else { scan(source, &filter, &needs, cancel, make)?.0 };
    let unit = |(id, sessions): (Box<str>, BTreeSet<Box<str>>)| CellUnitOut {
        id: id.into(),
        sessions: sessions.into_iter().map(String::from).collect(),
    };
    let total = u64::try_from(members.len()).unwrap_or(u64::MAX);
    Ok(CellOut { cohort, period, total, units: found.found.into_iter().map(unit).collect() })
}

/// What the filter chooses of one period.
fn period_of(plan: &Plan<'_>, place: usize) -> Filter {
    let starts = plan.calendar.starts();
    let mut filter = plan.filter.clone();
    filter.from = filter.from.max(starts.get(place).copied());
    filter.to = [filter.to, starts.get(place + 1).copied()].into_iter().flatten().min();
    filter
}

/// The first ids of a cell, each with its first sessions.
struct Ids<'p> {
    plan: &'p Plan<'p>,
    members: &'p KeySet,
    found: BTreeMap<Box<str>, BTreeSet<Box<str>>>,
}

impl Ids<'_> {
    fn offer(&mut self, id: &str, session: &str) {
        let limit = self.plan.query.limit;
        if !self.found.contains_key(id) {
            let is_behind = |last: &str| id > last;
            if self.found.len() == limit && self.found.last_key_value().is_some_and(|(last, _)| is_behind(last)) {
                return;
            }
            self.found.insert(id.into(), BTreeSet::new());
            if self.found.len() > limit {
                self.found.pop_last();
            }
        }
        let Some(sessions) = self.found.get_mut(id) else { return };
        if !sessions.contains(session) {
            sessions.insert(session.into());
            if sessions.len() > RETENTION_SESSIONS {
                sessions.pop_last();
            }
        }
    }
}

impl State for Ids<'_> {
    fn add(&mut self, part: &Part<'_>) -> Result<()> {
        let (plan, frame) = (self.plan, part.frame);
        let returns = plan.back.narrow(frame, part.mask);
        let (ids, sessions) = (frame.texts(&plan.query.by.field()), frame.texts(&Field::SessionId));
        for run in part.runs().filter(|run| self.members.contains(&run.key)) {
            for row in run.rows.filter(|row| returns[*row]) {
                if let (Some(id), Some(session)) = (ids.get(row), sessions.get(row)) {
                    self.offer(id, session);
                }
            }
        }
        Ok(())
    }

    fn merge(&mut self, other: Self) -> Result<()> {
        for (id, sessions) in &other.found {
            sessions.iter().for_each(|session| self.offer(id, session));
        }
        Ok(())
    }
}
