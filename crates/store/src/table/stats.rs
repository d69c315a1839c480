//! A file's statistics as they stand in the log: what lets readers pass over it.
//!
//! Bounds of long texts are cut: the lower bound to a prefix, the upper bound to a prefix rounded up, or left out where
//! nothing is higher. Times keep all their microseconds. Personal columns have no bounds here.

mod read;

use eye_event::Timestamp;
use parquet::data_type::ByteArray;
use parquet::file::metadata::RowGroupMetaData;
use parquet::file::statistics::Statistics;
use serde_json::{Map, Value, json};

pub(crate) use self::read::FileStats;
use crate::columns::TableKind;
use crate::error::{Error, Kind, Result};

/// Characters of a text's bound.
const TEXT_CHARACTERS_MAX: usize = 32;

/// The lowest and highest values of a file's columns. Texts may be bounds only: Parquet cuts long ones as we do.
pub(crate) struct Bounds {
    kind: TableKind,
    rows: i64,
    /// In the order of [`TableKind::time_stats`].
    times: Vec<(i64, i64)>,
    partition: (i64, i64),
    offset: (i64, i64),
    /// In the order of [`TableKind::text_stats`].
    texts: Vec<(String, String)>,
}

impl Bounds {
    /// Of all rows of a file: what its writer has seen already.
    ///
    /// # Errors
    /// `Internal` if a column has no statistics, or if there is no row.
    pub(crate) fn of(kind: TableKind, row_groups: &[RowGroupMetaData]) -> Result<Self> {
        let numbers = |name: &&str| bounds_of(row_groups, name, number_bounds);
        Ok(Self {
            kind,
            rows: row_groups.iter().map(RowGroupMetaData::num_rows).sum(),
            times: kind.time_stats().iter().map(numbers).collect::<Result<_>>()?,
            partition: numbers(&"partition")?,
            offset: numbers(&"offset")?,
            texts: kind
                .text_stats()
                .iter()
                .map(|name| bounds_of(row_groups, name, text_bounds))
                .collect::<Result<_>>()?,
        })
    }

    /// The file's statistics as Delta's JSON.
    pub(crate) fn to_json(&self) -> String {
        let (mut low, mut high, mut nulls) = (Map::new(), Map::new(), Map::new());
        let mut put = |name: &str, least: Value, most: Option<Value>| {
            low.insert(name.to_owned(), least);
            high.extend(most.map(|bound| (name.to_owned(), bound)));
            nulls.insert(name.to_owned(), json!(0));
        };
        let time = |micros: i64| json!(Timestamp::from_micros(micros).to_string());
        for ((min, max), name) in self.times.iter().zip(self.kind.time_stats()) {
            put(name, time(*min), Some(time(*max)));
        }
        for ((min, max), name) in [(self.partition, "partition"), (self.offset, "offset")] {
            put(name, json!(min), Some(json!(max)));
        }
        for ((min, max), name) in self.texts.iter().zip(self.kind.text_stats()) {
            put(name, json!(cut(min).unwrap_or(min)), cut_up(max).map(Value::from));
        }
        json!({"numRecords": self.rows, "minValues": low, "maxValues": high, "nullCount": nulls}).to_string()
    }
}

/// A column's bounds over all row groups.
fn bounds_of<T: Ord>(
    row_groups: &[RowGroupMetaData],
    name: &str,
    read: impl Fn(&Statistics) -> Option<(T, T)>,
) -> Result<(T, T)> {
    let missing = || Error::new(Kind::Internal, format!("the written column {name} has no statistics"));
    let of_group = |group: &RowGroupMetaData| {
        let column = group.columns().iter().find(|column| column.column_path().string() == name);
        column.and_then(|column| read(column.statistics()?)).ok_or_else(missing)
    };
    let widen = |(low, high): (T, T), (lower, higher): (T, T)| (low.min(lower), high.max(higher));
    row_groups.iter().map(of_group).reduce(|bounds, more| Ok(widen(bounds?, more?))).ok_or_else(missing)?
}

fn number_bounds(statistics: &Statistics) -> Option<(i64, i64)> {
    match statistics {
        Statistics::Int32(bounds) => Some((i64::from(*bounds.min_opt()?), i64::from(*bounds.max_opt()?))),
        Statistics::Int64(bounds) => Some((*bounds.min_opt()?, *bounds.max_opt()?)),
        _ => None,
    }
}

fn text_bounds(statistics: &Statistics) -> Option<(String, String)> {
    let Statistics::ByteArray(bounds) = statistics else { return None };
    let text = |bound: &ByteArray| bound.as_utf8().ok().map(str::to_owned);
    Some((text(bounds.min_opt()?)?, text(bounds.max_opt()?)?))
}

/// The prefix of a text that is too long.
fn cut(text: &str) -> Option<&str> {
    text.char_indices().nth(TEXT_CHARACTERS_MAX).map(|(end, _)| &text[..end])
}

/// A short text that is no lower than `text`: itself, or its prefix with the last character that can be raised, raised.
fn cut_up(text: &str) -> Option<String> {
    let Some(prefix) = cut(text) else {
        return Some(text.to_owned());
    };
    let mut characters: Vec<char> = prefix.chars().collect();
    while let Some(last) = characters.pop() {
        if let Some(next) = next_char(last) {
            characters.push(next);
            return Some(characters.into_iter().collect());
        }
    }
    None
}

fn next_char(character: char) -> Option<char> {
    // The surrogates are no characters: step over them.
    (u32::from(character) + 1..=u32::from(char::MAX)).find_map(char::from_u32)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn bounds_of_long_texts_are_cut_the_right_way() {
        assert_eq!(cut_up("short").as_deref(), Some("short"));
        let long = "a".repeat(40);
        assert_eq!(cut(&long), Some("a".repeat(32).as_str()));
        assert_eq!(cut_up(&long), Some("a".repeat(31) + "b"));
        assert_eq!(cut_up(&"\u{10ffff}".repeat(40)), None);
        assert_eq!(next_char('\u{d7ff}'), Some('\u{e000}'));
    }

    proptest! {
        #[test]
        fn bounds_enclose_every_text(text in "\\PC{0,80}") {
            prop_assert!(cut(&text).unwrap_or(&text) <= text.as_str());
            if let Some(high) = cut_up(&text) {
                prop_assert!(high.as_str() >= text.as_str());
                prop_assert!(high.chars().count() <= TEXT_CHARACTERS_MAX);
            }
        }
    }
}
