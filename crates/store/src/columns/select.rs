//! [`Columns`]: which event columns a reader wants. What is not asked for is neither read nor decoded.

use std::ops::BitOr;

/// A set of event columns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Columns(u32);

macro_rules! columns {
    ($($constant:ident $name:literal $bit:literal),* $(,)?) => {
        impl Columns {
            $(#[doc = concat!("`", $name, "`.")]
            pub const $constant: Self = Self(1 << $bit);)*

            const NAMES: &'static [(Self, &'static str)] = &[$((Self::$constant, $name)),*];
        }
    };
}

columns! {
    EVENT_ID "event_id" 0,
    APPLICATION "application" 1,
    SESSION_ID "session_id" 2,
    CATEGORY "category" 3,
    NAME "name" 4,
    TIMESTAMP "timestamp" 5,
    TIMESTAMP_RAW "timestamp_raw" 6,
    SENT_AT "sent_at" 7,
    RECEIVED_AT "received_at" 8,
    USER_ID "user_id" 9,
    ANONYMOUS_ID "anonymous_id" 10,
    DATA "data" 11,
    CONTEXT "context" 12,
    PROBLEMS "problems" 13,
    PARTITION "partition" 14,
    OFFSET "offset" 15,
}

impl Columns {
    /// No column.
    pub const NONE: Self = Self(0);
    /// Every column.
    pub const ALL: Self = Self(0xffff);
    /// What every order is made of: `timestamp`, `partition`, `offset`.
    pub const SORT_KEY: Self = Self(Self::TIMESTAMP.0 | Self::PARTITION.0 | Self::OFFSET.0);

    /// True if every column of `other` is in the set.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Both sets together.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Those of this set that are not in the other.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// The same columns in so many sets that weigh about the same, heavy columns first; none is empty.
    pub(crate) fn split(self, sets: usize, weight: impl Fn(&str) -> u64) -> Vec<Self> {
        let mut columns: Vec<(u64, Self)> = Self::NAMES
            .iter()
            .filter(|(column, _)| self.contains(*column))
            .map(|(column, name)| (weight(name), *column))
            .collect();
        columns.sort_by_key(|(weight, _)| std::cmp::Reverse(*weight));
        let mut split = vec![(0, Self::NONE); sets.clamp(1, columns.len().max(1))];
        for (weight, column) in columns {
            if let Some((sum, set)) = split.iter_mut().min_by_key(|(sum, set)| (*sum, set.0.count_ones())) {
                *sum += weight;
                *set = *set | column;
            }
        }
        split.into_iter().map(|(_, set)| set).collect()
    }

    /// The column of this name; none if there is no such column.
    #[must_use]
    pub fn named(name: &str) -> Self {
        let found = Self::NAMES.iter().find(|(_, known)| *known == name);
        found.map_or(Self::NONE, |(column, _)| *column)
    }

    /// The columns' names, in the schema's order.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        Self::NAMES.iter().filter(move |(column, _)| self.contains(*column)).map(|(_, name)| *name)
    }
}

impl BitOr for Columns {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        self.union(other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::columns::TableKind;

    #[test]
    fn names_are_those_of_the_schema_in_its_order() {
        let schema = TableKind::Events.schema();
        let fields: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
        assert_eq!(Columns::ALL.names().collect::<Vec<_>>(), fields);
        assert_eq!((Columns::OFFSET | Columns::NAME).names().collect::<Vec<_>>(), ["name", "offset"]);
        assert_eq!(Columns::NONE.names().count(), 0);
        assert_eq!(Columns::named("offset"), Columns::OFFSET);
        assert_eq!(Columns::named("received_date"), Columns::NONE);
    }

    #[test]
    fn split_columns_weigh_about_the_same() {
        let weight = |name: &str| if name == "data" { 10 } else { u64::from(name == "event_id" || name == "name") * 4 };
        let split = Columns::ALL.split(2, weight);
        assert_eq!(split.len(), 2);
        assert!(split[0].contains(Columns::DATA) && split[1].contains(Columns::EVENT_ID | Columns::NAME));
        assert_eq!(split[0] | split[1], Columns::ALL);
        assert_eq!(split[0].names().count() + split[1].names().count(), Columns::ALL.names().count());
        assert_eq!((Columns::DATA | Columns::NAME).split(8, |_| 0).len(), 2);
        assert_eq!(Columns::NONE.split(2, weight), [Columns::NONE]);
    }
}
