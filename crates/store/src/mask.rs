//! [`Offsets`]: a set of places in the log, small however many; [`Mask`]: rows that nobody may see any more although files
//! of the table still hold them, because an erasure was accepted and is not done.
//!
//! A row is named by its offset, which never changes: a compaction may move it to another file meanwhile, and nothing of
//! what was erased has to be remembered. Only the table is masked: an erasure begins with a flush.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow::array::{BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use eye_log::{Offset, PartitionId};
use roaring::RoaringTreemap;

use crate::columns::{long_column, offset_at, required};
use crate::error::{Error, Kind, Result};
use crate::table::TableFile;

/// Offsets by partition. A set bit each at most: about 12 MB for every second one of 200 million events.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Offsets(BTreeMap<PartitionId, RoaringTreemap>);

static NEXT_NUMBER: AtomicU64 = AtomicU64::new(1);

/// Rows of both tables that are hidden.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Mask {
    /// No other mask of this process has it; 0 hides nothing.
    pub(crate) number: u64,
    pub(crate) events: Offsets,
    pub(crate) rejections: Offsets,
}

impl Offsets {
    pub(crate) fn insert(&mut self, partition: PartitionId, offset: Offset) {
        self.0.entry(partition).or_default().insert(offset.0);
    }

    pub(crate) fn len(&self) -> u64 {
        self.0.values().map(RoaringTreemap::len).sum()
    }

    pub(crate) fn contains(&self, partition: PartitionId, offset: Offset) -> bool {
        self.0.get(&partition).is_some_and(|offsets| offsets.contains(offset.0))
    }

    /// How many of them are not in the other set.
    fn len_without(&self, other: &Self) -> u64 {
        let left = |(partition, offsets): (&PartitionId, &RoaringTreemap)| {
            other.0.get(partition).map_or(offsets.len(), |other| offsets.difference_len(other))
        };
        self.0.iter().map(left).sum()
    }

    /// True if one of them lies behind this offset.
    pub(crate) fn reach_beyond(&self, partition: PartitionId, offset: Offset) -> bool {
        self.0.get(&partition).and_then(RoaringTreemap::max).is_some_and(|last| last > offset.0)
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        for (partition, offsets) in &other.0 {
            *self.0.entry(*partition).or_default() |= offsets;
        }
    }

    /// True if one of them lies where the file's rows lie.
    pub(crate) fn touch(&self, file: &TableFile) -> bool {
        let upto = |offsets: &RoaringTreemap, offset: u64| offsets.rank(offset);
        self.0.get(&file.partition).is_some_and(|offsets| {
            let before = file.offset_min.0.checked_sub(1).map_or(0, |before| upto(offsets, before));
            upto(offsets, file.offset_max.0) > before
        })
    }

    /// Which rows of a batch of this partition are in the set. The batch must have the column `offset`.
    pub(crate) fn choose(&self, partition: PartitionId, batch: &RecordBatch) -> Result<BooleanArray> {
        let Some(offsets) = self.0.get(&partition) else {
            return Ok(BooleanArray::from(vec![false; batch.num_rows()]));
        };
        let column = required(long_column(batch, "offset")?, "offset")?;
        Ok((0..batch.num_rows()).map(|row| Some(offsets.contains(offset_at(Some(column), row).0))).collect())
    }

    /// The rows of a batch that are not in the set.
    pub(crate) fn hide_in(&self, partition: PartitionId, batch: &RecordBatch) -> Result<RecordBatch> {
        without(batch, &self.choose(partition, batch)?)
    }

    /// As bytes; [`Offsets::from_bytes`] reads them.
    pub(crate) fn to_bytes(&self) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        for (partition, offsets) in &self.0 {
            bytes.extend(partition.0.to_le_bytes());
            let written = offsets.serialize_into(&mut bytes);
            written.map_err(|error| Error::new(Kind::Internal, format!("offsets cannot be written: {error}")))?;
        }
        Ok(bytes)
    }

    pub(crate) fn from_bytes(mut bytes: &[u8]) -> Result<Self> {
        let damaged = |what: &str| Error::new(Kind::Corrupt, format!("the offsets are damaged: {what}"));
        let mut all = BTreeMap::new();
        while let Some((partition, rest)) = bytes.split_first_chunk() {
            bytes = rest;
            let offsets = RoaringTreemap::deserialize_from(&mut bytes).map_err(|error| damaged(&error.to_string()))?;
            all.insert(PartitionId(u16::from_le_bytes(*partition)), offsets);
        }
        if bytes.is_empty() { Ok(Self(all)) } else { Err(damaged("they are cut short")) }
    }
}

impl Mask {
    /// How many events and rejections of it the other mask has not.
    pub(crate) fn rows_without(&self, other: &Self) -> (u64, u64) {
        (self.events.len_without(&other.events), self.rejections.len_without(&other.rejections))
    }

    /// Of several masks together.
    pub(crate) fn of_all<'a>(masks: impl Iterator<Item = &'a Self>) -> Self {
        let mut all = Self { number: NEXT_NUMBER.fetch_add(1, Ordering::Relaxed), ..Self::default() };
        for mask in masks {
            all.events.merge(&mask.events);
            all.rejections.merge(&mask.rejections);
        }
        all
    }
}

/// The rows of a batch that are not chosen.
pub(crate) fn without(batch: &RecordBatch, chosen: &BooleanArray) -> Result<RecordBatch> {
    let kept: BooleanArray = chosen.iter().map(|is_chosen| Some(is_chosen != Some(true))).collect();
    filter_record_batch(batch, &kept)
        .map_err(|error| Error::new(Kind::Internal, format!("rows cannot be left out: {error}")))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn of(places: &BTreeSet<(u16, u64)>) -> Offsets {
        let mut offsets = Offsets::default();
        places.iter().for_each(|(partition, offset)| offsets.insert(PartitionId(*partition), Offset(*offset)));
        offsets
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            places in prop::collection::btree_set((0_u16..4, prop_oneof![0_u64..70_000, any::<u64>()]), 0..200),
            more in prop::collection::btree_set((0_u16..4, 0_u64..70_000), 0..50),
        ) {
            let mut offsets = of(&places);
            prop_assert_eq!(offsets.len(), places.len() as u64);
            prop_assert_eq!(offsets.len_without(&of(&more)), places.difference(&more).count() as u64);
            for partition in 0..4 {
                let last = places.iter().filter(|(one, _)| *one == partition).map(|(_, offset)| *offset).max();
                let beyond = |offset| offsets.reach_beyond(PartitionId(partition), Offset(offset));
                prop_assert!(last.map_or(!beyond(0), |last| !beyond(last) && (last == 0 || beyond(last - 1))));
            }
            let bytes = offsets.to_bytes().unwrap();
            prop_assert_eq!(&Offsets::from_bytes(&bytes).unwrap(), &offsets);
            if !bytes.is_empty() {
                prop_assert!(Offsets::from_bytes(&bytes[..bytes.len() - 1]).is_err());
            }
            offsets.merge(&of(&more));
            prop_assert_eq!(offsets, of(&places.union(&more).copied().collect()));
        }

        #[test]
        fn damaged_bytes_are_refused_or_are_another_set(
            places in prop::collection::btree_set((0_u16..4, prop_oneof![0_u64..70_000, any::<u64>()]), 1..200),
            damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        ) {
            let mut bytes = of(&places).to_bytes().unwrap();
            for (at, byte) in damage {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            if let Ok(offsets) = Offsets::from_bytes(&bytes) {
                prop_assert_eq!(Offsets::from_bytes(&offsets.to_bytes().unwrap()).unwrap(), offsets);
            }
        }
    }
}
