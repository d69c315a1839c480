//! [`Top`]: the first few of many, by key, in bounded memory.
//!
//! The rule: what [`Top::finish`] gives is always a prefix of everything that was offered, in rising order of keys.
//! Once a key has been let go, nothing at or above it is taken any more, even if there were room again.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

/// What the rows of one answer may take in memory, in bytes. A page that reaches it ends early; its cursor goes on.
pub(crate) const PAGE_BYTES_MAX: usize = 32 * 1024 * 1024;

/// The rows with the smallest keys: at most `limit`, and one more in hand to know whether there are more.
pub(crate) struct Top<K, T> {
    heap: BinaryHeap<Item<K, T>>,
    limit: usize,
    bytes_max: usize,
    bytes: usize,
    /// The smallest key that was let go.
    bound: Option<K>,
}

struct Item<K, T> {
    key: K,
    bytes: usize,
    row: T,
}

impl<K: Ord + Copy, T> Top<K, T> {
    /// The first `limit` rows, as long as they weigh no more than `bytes_max` together; always one, if there is one.
    pub(crate) fn new(limit: usize, bytes_max: usize) -> Self {
        Self { heap: BinaryHeap::new(), limit, bytes_max, bytes: 0, bound: None }
    }

    /// Takes the row if it is one of the first so far; makes it only then.
    pub(crate) fn offer(&mut self, key: K, bytes: usize, make: impl FnOnce() -> T) {
        if self.is_closed_to(key) {
            return;
        }
        self.heap.push(Item { key, bytes, row: make() });
        self.bytes += bytes;
        while self.heap.len() > self.limit + 1 || (self.bytes > self.bytes_max && self.heap.len() > 1) {
            let Some(item) = self.heap.pop() else { return };
            self.bytes -= item.bytes;
            self.bound = Some(item.key);
        }
    }

    /// True if a row with this key, or a larger one, would not be taken.
    pub(crate) fn is_closed_to(&self, key: K) -> bool {
        self.bound.is_some_and(|bound| key >= bound)
            || (self.heap.len() > self.limit && self.heap.peek().is_some_and(|worst| key > worst.key))
    }

    /// The rows in rising order of keys, and whether there are more behind them.
    pub(crate) fn finish(self) -> (Vec<(K, T)>, bool) {
        let has_more = self.heap.len() > self.limit || self.bound.is_some();
        let mut rows: Vec<_> = self.heap.into_sorted_vec().into_iter().map(|item| (item.key, item.row)).collect();
        rows.truncate(self.limit);
        (rows, has_more)
    }
}

impl<K: Ord, T> Ord for Item<K, T> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.key.cmp(&other.key)
    }
}

impl<K: Ord, T> PartialOrd for Item<K, T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<K: Ord, T> PartialEq for Item<K, T> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl<K: Ord, T> Eq for Item<K, T> {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The keys in an order that has nothing to do with theirs.
    fn shuffled(keys: impl Iterator<Item = u16>) -> Vec<u16> {
        let mut keys: Vec<u16> = keys.collect();
        keys.sort_by_key(|key| key.wrapping_mul(40_503).reverse_bits());
        keys
    }

    proptest! {
        #[test]
        fn gives_the_longest_prefix_within_both_limits(
            weights in proptest::collection::btree_map(any::<u16>(), 0_usize..20, 0..60),
            limit in 1_usize..20,
            bytes_max in 0_usize..200,
        ) {
            let mut top = Top::new(limit, bytes_max);
            for key in shuffled(weights.keys().copied()) {
                top.offer(key, weights[&key], || key);
            }
            let (kept, has_more) = top.finish();
            let mut bytes = 0;
            let fits = |(index, (_, weight)): &(usize, (&u16, &usize))| {
                bytes += **weight;
                *index == 0 || (*index < limit && bytes <= bytes_max)
            };
            let expected: Vec<u16> = weights.iter().enumerate().take_while(fits).map(|(_, (key, _))| *key).collect();
            prop_assert!(kept.iter().map(|(key, _)| key).eq(&expected));
            prop_assert_eq!(has_more, expected.len() < weights.len());
        }
    }
}
