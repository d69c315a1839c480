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

/// The statistics of these rows as Delta's JSON.
///
/// # Errors
/// `Internal` if there is no row or a column is missing.
pub(crate) fn measure(kind: TableKind, slices: &[RecordBatch]) -> Result<String> {
    let (mut low, mut high, mut nulls) = (Map::new(), Map::new(), Map::new());
    let mut put = |name: &str, bounds: (Value, Option<Value>)| {
        low.insert(name.to_owned(), bounds.0);
        high.extend(bounds.1.map(|bound| (name.to_owned(), bound)));
        nulls.insert(name.to_owned(), json!(0));
    };
    for name in kind.time_stats() {
        let (min, max) =
            bounds(slices, name, time_column, |column| Some((compute::min(column)?, compute::max(column)?)))?;
        let text = |micros: i64| json!(Timestamp::from_micros(micros).to_string());
        put(name, (text(min), Some(text(max))));
    }
    let (min, max) =
        bounds(slices, "partition", int_column, |column| Some((compute::min(column)?, compute::max(column)?)))?;
    put("partition", (json!(min), Some(json!(max))));
    let (min, max) =
        bounds(slices, "offset", long_column, |column| Some((compute::min(column)?, compute::max(column)?)))?;
    put("offset", (json!(min), Some(json!(max))));
    for name in kind.text_stats() {
        let (min, max) = bounds(slices, name, text_column, |column| {
            Some((compute::min_string(column)?, compute::max_string(column)?))
        })?;
        put(name, (json!(cut(min).unwrap_or(min)), cut_up(max).map(Value::from)));
    }
    let rows: usize = slices.iter().map(RecordBatch::num_rows).sum();
    Ok(json!({"numRecords": rows, "minValues": low, "maxValues": high, "nullCount": nulls}).to_string())
}

/// The lowest and the highest value of a column over all slices.
fn bounds<'a, C: 'a, T: Ord + Copy>(
    slices: &'a [RecordBatch],
    name: &str,
    find: impl Fn(&'a RecordBatch, &str) -> Result<Option<&'a C>>,
    of_slice: impl Fn(&'a C) -> Option<(T, T)>,
) -> Result<(T, T)> {
    let mut whole: Option<(T, T)> = None;
    for slice in slices {
        let Some((low, high)) = of_slice(required(find(slice, name)?, name)?) else {
            continue;
        };
        whole = Some(whole.map_or((low, high), |(lowest, highest)| (lowest.min(low), highest.max(high))));
    }
    whole.ok_or_else(|| Error::new(Kind::Internal, "a file without rows has no statistics"))
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
    min_values: Bounds,
    max_values: Bounds,
}

#[derive(Deserialize)]
struct Bounds {
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
