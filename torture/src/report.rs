//! One line a mode: counts, seed, what was found, what was skipped and why.

use std::fmt;
use std::time::Instant;

use crate::oracle::{Findings, Violation};
use crate::rig::Tally;
use crate::steps::Step;

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
    pub fn demand(&mut self, is_long: bool, steps: &[Step]) {
        if !is_long || !self.is_good() {
            return;
        }
        let seen = self.tally.steps;
        for step in steps.iter().filter(|step| seen.of(**step) == 0) {
            self.findings.add(Violation::NotTested, format!("{step:?} was never seen in the whole run"));
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
