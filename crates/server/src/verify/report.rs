//! What a verification found: the invariants by name, damage by file and byte, and what was counted on the way.

use serde::Serialize;

/// The invariants, in the order of the architecture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Invariant {
    /// What was acknowledged is there and is what was written.
    AcknowledgedMeansDurable,
    /// Offsets rise and are never used twice.
    OffsetsRise,
    /// An event is in the table or in the log behind it, never both, never neither.
    ExactlyOnePlace,
    /// `flushed` moved with the rows, commit by commit.
    MovedTogether,
    /// The log still has everything that the table does not.
    TrimFollowsFlush,
    /// received = stored + duplicate + rejected.
    NothingVanishes,
    /// (application, session, event id) is stored once within the window.
    OneIdentity,
}

impl Invariant {
    /// Every invariant that files can show. Reading one's writes needs a running server.
    pub(crate) const ALL: [Self; 7] = [
        Self::AcknowledgedMeansDurable,
        Self::OffsetsRise,
        Self::ExactlyOnePlace,
        Self::MovedTogether,
        Self::TrimFollowsFlush,
        Self::NothingVanishes,
        Self::OneIdentity,
    ];

    /// The stable name, and the rule in words.
    pub(crate) const fn texts(self) -> (&'static str, &'static str) {
        match self {
            Self::AcknowledgedMeansDurable => {
                ("acknowledged_means_durable", "every record and every file is there and is what was written")
            }
            Self::OffsetsRise => ("offsets_rise", "offsets rise and are never used twice"),
            Self::ExactlyOnePlace => ("exactly_one_place", "every event is in the table or in the log behind it"),
            Self::MovedTogether => ("moved_together", "commits follow each other without a gap"),
            Self::TrimFollowsFlush => ("trim_follows_flush", "the log has everything that the table does not"),
            Self::NothingVanishes => ("nothing_vanishes", "received = stored + duplicate + rejected, per token"),
            Self::OneIdentity => ("one_identity", "no event is stored twice within the window"),
        }
    }
}

/// What is known of an invariant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Verdict {
    /// Checked, and it holds.
    Holds,
    /// Checked, and it does not hold.
    Violated,
    /// Damage kept it from being checked.
    Unchecked,
}

/// One invariant's result.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Check {
    /// The stable name.
    pub(crate) name: &'static str,
    /// The rule in words.
    pub(crate) rule: &'static str,
    /// What is known.
    pub(crate) verdict: Verdict,
}

/// Something that does not hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Finding {
    /// The invariant it violates.
    pub(crate) invariant: &'static str,
    /// The file to blame, if it is one file.
    pub(crate) file: Option<String>,
    /// The byte in it at which the damage begins, where that is known.
    pub(crate) byte: Option<u64>,
    /// What is wrong.
    pub(crate) what: String,
}

/// One token's books.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct LedgerLine {
    /// The token's id.
    pub(crate) token: String,
    /// Things received.
    pub(crate) received: u64,
    /// Stored as new events.
    pub(crate) stored: u64,
    /// Repeats.
    pub(crate) duplicate: u64,
    /// Refused.
    pub(crate) rejected: u64,
}

/// What was read.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct Counts {
    /// Segments of all logs.
    pub(crate) segments: u64,
    /// Records whose checksums hold.
    pub(crate) records: u64,
    /// Bytes of the logs that verify.
    pub(crate) log_bytes: u64,
    /// Commits of both tables.
    pub(crate) commits: u64,
    /// Data files of both tables.
    pub(crate) files: u64,
    /// Bytes of these files.
    pub(crate) table_bytes: u64,
    /// Events in the table.
    pub(crate) events_in_table: u64,
    /// Rejections in the table.
    pub(crate) rejections_in_table: u64,
    /// Rows of both that were erased since the data folder was made.
    pub(crate) rows_erased: u64,
    /// Rows of both that became too old since then.
    pub(crate) rows_expired: u64,
    /// Entries of the log behind the table: events, repeats, rejections.
    pub(crate) entries_behind_table: u64,
}

/// Everything that was found.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    /// True if every invariant was checked and holds.
    pub(crate) sound: bool,
    /// The invariants.
    pub(crate) checks: Vec<Check>,
    /// What does not hold.
    pub(crate) findings: Vec<Finding>,
    /// What is harmless but worth knowing.
    pub(crate) notices: Vec<String>,
    /// The books, as of the end of the log.
    pub(crate) ledger: Vec<LedgerLine>,
    /// What was read.
    pub(crate) counts: Counts,
}

/// A report in the making.
#[derive(Debug, Default)]
pub(crate) struct Draft {
    pub(crate) findings: Vec<Finding>,
    pub(crate) notices: Vec<String>,
    pub(crate) ledger: Vec<LedgerLine>,
    pub(crate) counts: Counts,
    unchecked: Vec<Invariant>,
}

impl Draft {
    /// Adds something that does not hold.
    pub(crate) fn find(
        &mut self,
        invariant: Invariant,
        file: Option<String>,
        byte: Option<u64>,
        what: impl Into<String>,
    ) {
        self.findings.push(Finding { invariant: invariant.texts().0, file, byte, what: what.into() });
    }

    /// True if something does not hold.
    pub(crate) fn is_damaged(&self) -> bool {
        !self.findings.is_empty()
    }

    /// Says that these could not be checked.
    pub(crate) fn skip(&mut self, invariants: &[Invariant]) {
        self.unchecked.extend(invariants);
    }

    /// The report.
    pub(crate) fn finish(self) -> Report {
        let verdict = |invariant: Invariant| {
            if self.findings.iter().any(|finding| finding.invariant == invariant.texts().0) {
                Verdict::Violated
            } else if self.unchecked.contains(&invariant) {
                Verdict::Unchecked
            } else {
                Verdict::Holds
            }
        };
        let checks: Vec<Check> = Invariant::ALL
            .into_iter()
            .map(|invariant| {
                let (name, rule) = invariant.texts();
                Check { name, rule, verdict: verdict(invariant) }
            })
            .collect();
        Report {
            sound: checks.iter().all(|check| check.verdict == Verdict::Holds),
            checks,
            findings: self.findings,
            notices: self.notices,
            ledger: self.ledger,
            counts: self.counts,
        }
    }
}
