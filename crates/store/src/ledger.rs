//! The ledger: received = stored + duplicate + rejected, per token, since the data folder was made.
//!
//! It is a fold of the log like everything else. The totals at `flushed` travel inside the table's commit, so that they
//! survive the trimming of the log.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What became of everything one token sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Things received: events and what was no event.
    pub received: u64,
    /// Stored as new events.
    pub stored: u64,
    /// Recognised as repeats.
    pub duplicate: u64,
    /// Refused by name.
    pub rejected: u64,
}

impl Counts {
    /// Adds another count.
    pub fn add(&mut self, other: Self) {
        self.received += other.received;
        self.stored += other.stored;
        self.duplicate += other.duplicate;
        self.rejected += other.rejected;
    }
}

/// Counts per token id.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Ledger(BTreeMap<String, Counts>);

impl Ledger {
    /// Adds to a token's counts.
    pub fn add(&mut self, token: &str, counts: Counts) {
        match self.0.get_mut(token) {
            Some(sum) => sum.add(counts),
            None => drop(self.0.insert(token.to_owned(), counts)),
        }
    }

    /// Adds another ledger.
    pub fn merge(&mut self, other: &Self) {
        for (token, counts) in &other.0 {
            self.add(token, *counts);
        }
    }

    /// Each token's counts, by token id.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Counts)> {
        self.0.iter().map(|(token, counts)| (token.as_str(), *counts))
    }

    /// The sum over all tokens.
    #[must_use]
    pub fn total(&self) -> Counts {
        self.0.values().fold(Counts::default(), |mut sum, counts| {
            sum.add(*counts);
            sum
        })
    }
}
