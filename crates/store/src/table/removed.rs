//! [`Removed`]: how many rows were taken out of a table on purpose, and why: as commits say it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Rows that were taken out of a table on purpose, since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Removed {
    /// Because somebody asked for it: [`Store::erase`](crate::Store::erase).
    pub erased: u64,
    /// Because they were too old: [`StoreSettings::retention`](crate::StoreSettings::retention).
    pub expired: u64,
}

impl Removed {
    /// Both together.
    #[must_use]
    pub const fn total(self) -> u64 {
        self.erased + self.expired
    }

    /// Those of both.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self { erased: self.erased + other.erased, expired: self.expired + other.expired }
    }

    /// What is more than in an earlier count.
    #[must_use]
    pub const fn without(self, earlier: Self) -> Self {
        Self {
            erased: self.erased.saturating_sub(earlier.erased),
            expired: self.expired.saturating_sub(earlier.expired),
        }
    }

    /// Counts rows.
    pub(crate) fn count(&mut self, why: Why, rows: u64) {
        match why {
            Why::Erased => self.erased += rows,
            Why::Expired => self.expired += rows,
        }
    }
}

/// Why rows are taken out of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Why {
    Erased,
    Expired,
}

/// By the number of the partition.
pub(crate) type RemovedRows = BTreeMap<u16, Removed>;
