//! Where a reader stands in every partition of the log: what an answer has seen, what `at_least` waits for.

use std::fmt;
use std::str::FromStr;

use eye_log::{Offset, PartitionId};

/// One offset per partition: everything up to and including it has been seen.
///
/// As text: the offsets in partition order, with commas (`57`, or `57,12` with two partitions).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Position(Vec<Offset>);

impl Position {
    /// From one offset per partition, in order.
    #[must_use]
    pub fn new(offsets: Vec<Offset>) -> Self {
        Self(offsets)
    }

    /// How far this partition was seen; zero for one that is not known.
    #[must_use]
    pub fn of(&self, partition: PartitionId) -> Offset {
        self.0.get(usize::from(partition.0)).copied().unwrap_or_default()
    }

    /// True if everything `other` has seen was seen here too.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        other.iter().all(|(partition, offset)| self.of(partition) >= offset)
    }

    /// Each partition with its offset.
    pub fn iter(&self) -> impl Iterator<Item = (PartitionId, Offset)> {
        (0..).map(PartitionId).zip(self.0.iter().copied())
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, offset) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str(",")?;
            }
            write!(f, "{offset}")?;
        }
        Ok(())
    }
}

/// A text that is no position.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "not an offset: send a number such as 57, or one per partition such as 57,12, or partition:offset such as 1:57"
)]
pub struct ParsePositionError;

impl FromStr for Position {
    type Err = ParsePositionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let number = |text: &str| text.trim().parse().map(Offset).map_err(|_| ParsePositionError);
        if let Some((partition, offset)) = text.split_once(':') {
            let partition: u16 = partition.trim().parse().map_err(|_| ParsePositionError)?;
            let mut offsets = vec![Offset::ZERO; usize::from(partition) + 1];
            offsets[usize::from(partition)] = number(offset)?;
            return Ok(Self(offsets));
        }
        text.split(',').map(number).collect::<Result<_, _>>().map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_read_and_written() {
        let two: Position = "57,12".parse().unwrap();
        assert_eq!(two.to_string(), "57,12");
        assert_eq!(two.of(PartitionId(1)), Offset(12));
        assert_eq!(two.of(PartitionId(9)), Offset::ZERO);
        let one: Position = "1:13".parse().unwrap();
        assert!(!two.covers(&one));
        assert!(two.covers(&"57".parse().unwrap()));
        for bad in ["", "x", "1:", "1,,2", "-1"] {
            assert!(bad.parse::<Position>().is_err(), "{bad}");
        }
    }
}
