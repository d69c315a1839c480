//! One line a mode: counts, seed, what was found, what was skipped and why.

use std::fmt;
use std::time::Instant;

use crate::oracle::{Findings, Violation};
use crate::rig::Tally;
use crate::steps::Step;

/// So many acknowledged events of several clients are of both applications, and beside them are rejections: about one
/// for eighty.
const LOAD_DEMANDED_AT: u64 = 2_000;

/// What a mode did.
#[derive(Debug)]
pub struct Report {
    /// The mode.
    pub name: String,
    /// What was checked.
    pub tally: Tally,
    /// What was found.
    pub findings: Findings,
    /// Figures of its own.
    pub notes: Vec<String>,
    /// More of them, a line each.
    pub details: Vec<String>,
    /// Why it was not run, or not all of it.
    pub skipped: Vec<String>,
    seed: u64,
    start: Instant,
}

impl Report {
    /// The beginning of a mode.
    #[must_use]
    pub fn new(name: impl Into<String>, seed: u64) -> Self {
        Self {
            name: name.into(),
            tally: Tally::default(),
            findings: Findings::default(),
            notes: Vec::new(),
            details: Vec::new(),
            skipped: Vec::new(),
            seed,
            start: Instant::now(),
        }
    }

    /// Adds a run.
    pub fn add(&mut self, (tally, findings): (Tally, Findings)) {
        self.tally.add(tally);
        self.findings.extend(findings);
    }

    /// Says why something was not run.
    pub fn skip(&mut self, what: impl Into<String>) {
        self.skipped.push(what.into());
    }

    /// A mode that stands for these steps in `docs/reliability.md` must have seen each, once it ran so long that it must.
    /// Its load must have been that of several clients.
    pub fn demand(&mut self, is_long: bool, steps: &[Step]) {
        self.demand_steps(is_long, steps);
        self.demand_load();
    }

    /// The same of a mode in which one client sends alone.
    pub fn demand_steps(&mut self, is_long: bool, steps: &[Step]) {
        if !is_long || !self.is_good() {
            return;
        }
        let seen = self.tally.steps;
        for step in steps.iter().filter(|step| seen.of(**step) == 0) {
            self.findings.add(Violation::NotTested, format!("{step:?} was never seen in the whole run"));
        }
    }

    /// Events of another application must be there, and rejections, once so much was acknowledged that both must be.
    pub fn demand_load(&mut self) {
        let Tally { acknowledged, others, rejections, .. } = self.tally;
        if acknowledged < LOAD_DEMANDED_AT || !self.is_good() {
            return;
        }
        for (count, what) in [(others, "events of another application"), (rejections, "rejections")] {
            if count == 0 {
                self.findings.add(Violation::NotTested, format!("{acknowledged} are acknowledged, and no {what}"));
            }
        }
    }

    /// True if nothing is wrong.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.findings.is_empty()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Tally { faults, checks, stopped_checks, second_readings, acknowledged, others, stored, rejections, steps } =
            self.tally;
        write!(
            f,
            "{}: {faults} faults, {checks} checks running, {stopped_checks} stopped ({second_readings} with a second \
             reader), {acknowledged} acknowledged ({others} of another application), {stored} stored, {rejections} \
             rejections, {steps}, seed {}, {:.0} s",
            self.name,
            self.seed,
            self.start.elapsed().as_secs_f64()
        )?;
        for note in &self.notes {
            write!(f, ", {note}")?;
        }
        if self.findings.is_empty() {
            write!(f, ": 0 violations")?;
        } else {
            write!(f, ": VIOLATED: {}", self.findings.names())?;
            for finding in self.findings.kept() {
                write!(f, "\n  {finding}")?;
            }
        }
        for detail in &self.details {
            write!(f, "\n  {detail}")?;
        }
        for skipped in &self.skipped {
            write!(f, "\n  skipped: {skipped}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_load_that_lacks_what_it_must_have_is_named() {
        let load = |acknowledged, others, rejections| {
            let mut report = Report::new("r", 1);
            report.add((Tally { acknowledged, others, rejections, ..Tally::default() }, Findings::default()));
            report.demand(false, &[]);
            report.findings.names()
        };
        let all = LOAD_DEMANDED_AT;
        assert_eq!([load(all, 1, 1), load(all - 1, 0, 0)], ["", ""]);
        assert_eq!([load(all, 0, 1), load(all, 1, 0), load(all, 0, 0)], ["NotTested 1", "NotTested 1", "NotTested 2"]);
    }
}
