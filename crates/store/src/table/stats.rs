//! A file's statistics as they stand in the log: what lets readers pass over it.
//!
//! Bounds of long texts are cut: the lower bound to a prefix, the upper bound to a prefix rounded up, or left out where
//! nothing is higher. Times keep all their microseconds. Personal columns have no bounds here.

use arrow::array::RecordBatch;
use arrow::compute;
use eye_event::Timestamp;
use eye_log::{Offset, PartitionId};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::columns::{TableKind, int_column, long_column, required, text_column, time_column};
use crate::error::{Error, Kind, Result};

/// Characters of a text's bound.
const TEXT_CHARACTERS_MAX: usize = 32;

/// What we need of a file's statistics ourselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FileStats {
    pub(crate) rows: u64,
    pub(crate) timestamp: (Timestamp, Timestamp),
    pub(crate) received: (Timestamp, Timestamp),
    pub(crate) offset: (Offset, Offset),
    pub(crate) partition: (PartitionId, PartitionId),
}

/// The lowest and highest values of a file's columns, added up batch by batch.
pub(crate) struct Bounds {
    kind: TableKind,
    rows: usize,
    /// In the order of [`TableKind::time_stats`].
    times: Vec<Option<(i64, i64)>>,
    partition: Option<(i32, i32)>,
    offset: Option<(i64, i64)>,
    /// In the order of [`TableKind::text_stats`].
    texts: Vec<Option<(String, String)>>,
}

impl Bounds {
    /// Of no row yet.
    pub(crate) fn new(kind: TableKind) -> Self {
        let (times, texts) = (vec![None; kind.time_stats().len()], vec![None; kind.text_stats().len()]);
        Self { kind, rows: 0, times, partition: None, offset: None, texts }
    }

    /// Takes in the rows of a batch.
    ///
    /// # Errors
    /// `Internal` if a column is missing.
    pub(crate) fn add(&mut self, batch: &RecordBatch) -> Result<()> {
        for (bounds, name) in self.times.iter_mut().zip(self.kind.time_stats()) {
            let column = required(time_column(batch, name)?, name)?;
            widen(bounds, compute::min(column).zip(compute::max(column)));
        }
        let column = required(int_column(batch, "partition")?, "partition")?;
        widen(&mut self.partition, compute::min(column).zip(compute::max(column)));
        let column = required(long_column(batch, "offset")?, "offset")?;
        widen(&mut self.offset, compute::min(column).zip(compute::max(column)));
        for (bounds, name) in self.texts.iter_mut().zip(self.kind.text_stats()) {
            let column = required(text_column(batch, name)?, name)?;
            widen_text(bounds, compute::min_string(column).zip(compute::max_string(column)));
        }
        self.rows += batch.num_rows();
        Ok(())
    }

    /// The file's statistics as Delta's JSON.
    ///
    /// # Errors
    /// `Internal` if there was no row.
    pub(crate) fn to_json(&self) -> Result<String> {
        let (mut low, mut high, mut nulls) = (Map::new(), Map::new(), Map::new());
        let mut put = |name: &str, least: Value, most: Option<Value>| {
            low.insert(name.to_owned(), least);
            high.extend(most.map(|bound| (name.to_owned(), bound)));
            nulls.insert(name.to_owned(), json!(0));
        };
        let time = |micros: i64| json!(Timestamp::from_micros(micros).to_string());
        for (bounds, name) in self.times.iter().zip(self.kind.time_stats()) {
            let (min, max) = bounds.ok_or_else(no_rows)?;
            put(name, time(min), Some(time(max)));
        }
        let (min, max) = self.partition.ok_or_else(no_rows)?;
        put("partition", json!(min), Some(json!(max)));
        let (min, max) = self.offset.ok_or_else(no_rows)?;
        put("offset", json!(min), Some(json!(max)));
        for (bounds, name) in self.texts.iter().zip(self.kind.text_stats()) {
            let (min, max) = bounds.as_ref().ok_or_else(no_rows)?;
            put(name, json!(cut(min).unwrap_or(min)), cut_up(max).map(Value::from));
        }
        Ok(json!({"numRecords": self.rows, "minValues": low, "maxValues": high, "nullCount": nulls}).to_string())
    }
}

fn no_rows() -> Error {
    Error::new(Kind::Internal, "a file without rows has no statistics")
}

fn widen<T: Ord + Copy>(bounds: &mut Option<(T, T)>, more: Option<(T, T)>) {
    let Some((low, high)) = more else { return };
    *bounds = Some(bounds.map_or((low, high), |(lowest, highest)| (lowest.min(low), highest.max(high))));
}

fn widen_text(bounds: &mut Option<(String, String)>, more: Option<(&str, &str)>) {
    let Some((low, high)) = more else { return };
    let (lowest, highest) = bounds.get_or_insert_with(|| (low.to_owned(), high.to_owned()));
    if low < lowest.as_str() {
        low.clone_into(lowest);
    }
    if high > highest.as_str() {
        high.clone_into(highest);
    }
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

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Written {
    num_records: u64,
    min_values: WrittenBounds,
    max_values: WrittenBounds,
}

#[derive(Deserialize)]
struct WrittenBounds {
    timestamp: Option<Timestamp>,
    received_at: Timestamp,
    partition: u16,
    offset: u64,
}

impl FileStats {
    /// Reads statistics from the log. The error says what is wrong with them.
    pub(crate) fn parse(text: &str) -> std::result::Result<Self, String> {
        let written: Written = serde_json::from_str(text).map_err(|error| error.to_string())?;
        let (low, high) = (written.min_values, written.max_values);
        Ok(Self {
            rows: written.num_records,
            timestamp: (low.timestamp.unwrap_or(low.received_at), high.timestamp.unwrap_or(high.received_at)),
            received: (low.received_at, high.received_at),
            offset: (Offset(low.offset), Offset(high.offset)),
            partition: (PartitionId(low.partition), PartitionId(high.partition)),
        })
    }
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
