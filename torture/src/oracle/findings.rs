//! The violations by name, and what was found of each.
//!
//! The rule: every violation is counted, also those of which nothing is kept in words.

use std::collections::BTreeMap;
use std::fmt;

/// Findings of one kind that are kept; the others are as bad.
const KEPT_MAX: usize = 5;

/// What can be wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Violation {
    /// An acknowledged event is not there, or a good one was refused or taken for a repeat; or a token that was made is not
    /// known.
    Lost,
    /// An event is there twice, a repeat was stored again, or an offset was used twice.
    Doubled,
    /// Something is there that nobody sent.
    Invented,
    /// An event is there with other bytes in any of its fields, another time, other problems or in another session.
    Changed,
    /// A session is not in order, or offsets do not rise with acknowledgements.
    OutOfOrder,
    /// An event has another offset than the one that was acknowledged.
    OffsetChanged,
    /// A reader saw an event, or was told of it, and later did not see it.
    Vanished,
    /// A token of one application shows what is another's.
    Leaked,
    /// Rejections are not those that were told: one is not there, is there too often, is of nothing that was sent, or is for
    /// another reason.
    RejectionsDiffer,
    /// received = stored + duplicate + rejected does not hold, or does not agree with the clients.
    LedgerWrong,
    /// A second reader of the table sees other rows than the API.
    TableDiffers,
    /// The raw log does not hold what the API shows.
    LogDiffers,
    /// `eye verify` found something.
    VerifyFailed,
    /// The server does not start, stop or answer as it should, or ended by itself.
    NotRecovered,
    /// An answer was sent before a sync had made it durable.
    AckedEarly,
    /// Something was relied on before it was durable: a file, a name, a commit before a trim.
    NotDurable,
    /// What was erased, or was too old, is there again or still.
    NotErased,
    /// A test did not test what it is there for: a sabotage that nobody noticed, a crash point that nobody came to, a load
    /// of which nothing was taken.
    NotTested,
}

/// A violation, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Which.
    pub violation: Violation,
    /// What exactly.
    pub detail: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.violation, self.detail)
    }
}

/// Findings, the first few of each kind in words and all of them counted.
#[derive(Clone, Debug, Default)]
pub struct Findings {
    kept: Vec<Finding>,
    counts: BTreeMap<Violation, u64>,
}

impl Findings {
    /// Adds one.
    pub fn add(&mut self, violation: Violation, detail: impl Into<String>) {
        let count = self.counts.entry(violation).or_default();
        *count += 1;
        if *count <= KEPT_MAX as u64 {
            self.kept.push(Finding { violation, detail: detail.into() });
        }
    }

    /// Adds all of another.
    pub fn extend(&mut self, other: Self) {
        for (violation, count) in &other.counts {
            let kept = other.kept.iter().filter(|finding| finding.violation == *violation);
            let kept: Vec<_> = kept.map(|finding| finding.detail.clone()).collect();
            let rest = count.saturating_sub(kept.len() as u64);
            kept.into_iter().for_each(|detail| self.add(*violation, detail));
            *self.counts.entry(*violation).or_default() += rest;
        }
    }

    /// True if nothing is wrong.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.counts.is_empty()
    }

    /// How often each violation was found.
    #[must_use]
    pub const fn counts(&self) -> &BTreeMap<Violation, u64> {
        &self.counts
    }

    /// The first few in words.
    #[must_use]
    pub fn kept(&self) -> &[Finding] {
        &self.kept
    }

    /// The names of the violations, such as `Lost 3, Doubled 1`.
    #[must_use]
    pub fn names(&self) -> String {
        let names: Vec<String> =
            self.counts.iter().map(|(violation, count)| format!("{violation:?} {count}")).collect();
        names.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn findings_are_counted_beyond_those_kept() {
        let mut findings = Findings::default();
        (0..9).for_each(|n| findings.add(Violation::Lost, n.to_string()));
        let mut all = Findings::default();
        all.add(Violation::Doubled, "x");
        all.extend(findings);
        assert_eq!(all.names(), "Lost 9, Doubled 1");
        assert_eq!(all.kept().len(), 1 + KEPT_MAX);
    }
}
