//! [`Kept`]: slices that were decoded whole a moment ago.
//!
//! Rows of a slice stand in session order, so the hundred rows of a page of a list lie on nearly all of its pages. The next
//! page of the list wants the same slice, and so does everybody who looks at the newest events. The rule: a slice is kept
//! when it is asked for the second time, so that what is looked at once pushes nothing out; only a few are kept, those used
//! last, within a limit; none that would take more than half of it.

use std::collections::VecDeque;

use arrow::array::RecordBatch;
use parking_lot::Mutex;

use crate::columns::Columns;

/// How many slices are remembered that were asked for once.
const ASKED_MAX: usize = 16;

/// Which slice of which file, and what of it in which form.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Key {
    pub(crate) path: String,
    pub(crate) row_group: usize,
    pub(crate) columns: Columns,
    /// As [`super::TableFile::read_coded`] gives it.
    pub(crate) is_coded: bool,
}

/// What is known of a slice that is asked for.
pub(crate) enum Asked {
    /// Here it is.
    Kept(RecordBatch),
    /// It was asked for before: keep it.
    Again,
    /// It was not asked for lately.
    New,
}

/// The slices that one table keeps.
pub(crate) struct Kept {
    bytes_max: usize,
    slices: Mutex<Slices>,
}

#[derive(Default)]
struct Slices {
    /// Those that are kept, the one used last in front.
    kept: VecDeque<(Key, RecordBatch)>,
    /// Those that were asked for and not kept, the last in front.
    asked: VecDeque<Key>,
}

impl Kept {
    /// None yet, and never more bytes than this.
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self { bytes_max, slices: Mutex::default() }
    }

    /// Bytes of the largest slice that is kept.
    pub(crate) fn slice_bytes_max(&self) -> usize {
        self.bytes_max / 2
    }

    /// Asks for a slice.
    pub(crate) fn ask(&self, key: &Key) -> Asked {
        let Slices { kept, asked } = &mut *self.slices.lock();
        if let Some(place) = kept.iter().position(|(known, _)| known == key)
            && let Some(found) = kept.remove(place)
        {
            let batch = found.1.clone();
            kept.push_front(found);
            return Asked::Kept(batch);
        }
        if asked.contains(key) {
            return Asked::Again;
        }
        asked.push_front(key.clone());
        asked.truncate(ASKED_MAX);
        Asked::New
    }

    /// Forgets all of them.
    pub(crate) fn clear(&self) {
        *self.slices.lock() = Slices::default();
    }

    /// Keeps a slice, unless it is too large.
    pub(crate) fn keep(&self, key: Key, batch: RecordBatch) {
        if batch.get_array_memory_size() > self.slice_bytes_max() {
            return;
        }
        let Slices { kept, asked } = &mut *self.slices.lock();
        asked.retain(|known| *known != key);
        // Two may have decoded it at once: nobody waits for a file while others are served.
        kept.retain(|(known, _)| *known != key);
        kept.push_front((key, batch));
        let mut bytes = 0;
        kept.retain(|(_, batch)| {
            bytes += batch.get_array_memory_size();
            bytes <= self.bytes_max
        });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Array, Int64Array};

    use super::*;

    fn batch(rows: usize) -> RecordBatch {
        let column: Arc<dyn Array> = Arc::new(Int64Array::from(vec![7; rows]));
        RecordBatch::try_from_iter([("n", column)]).unwrap()
    }

    fn key(row_group: usize) -> Key {
        Key { path: "f".to_owned(), row_group, columns: Columns::ALL, is_coded: false }
    }

    fn is_kept(kept: &Kept, row_group: usize) -> bool {
        matches!(kept.ask(&key(row_group)), Asked::Kept(_))
    }

    #[test]
    fn the_slices_used_last_are_kept_within_the_limit() {
        let (kept, third) = (Kept::new(1 << 20), (1 << 20) / 8 / 3);
        kept.keep(key(0), batch(third));
        kept.keep(key(1), batch(third));
        assert!(is_kept(&kept, 0));
        kept.keep(key(2), batch(third));
        assert!(is_kept(&kept, 0) && is_kept(&kept, 2), "there is room for two and a bit");
        assert!(!is_kept(&kept, 1), "it was used longest ago");
        kept.keep(key(3), batch(2 * third));
        assert!(!is_kept(&kept, 3), "it is too large");
        assert!(is_kept(&kept, 0) && is_kept(&kept, 2), "and pushes nothing out");
    }

    #[test]
    fn a_slice_is_to_be_kept_when_it_is_asked_for_again() {
        let kept = Kept::new(1 << 20);
        assert!(matches!(kept.ask(&key(0)), Asked::New));
        assert!(matches!(kept.ask(&key(1)), Asked::New));
        assert!(matches!(kept.ask(&key(0)), Asked::Again));
        kept.keep(key(0), batch(1));
        assert!(is_kept(&kept, 0) && !is_kept(&kept, 1));
        for many in 2..=ASKED_MAX + 1 {
            assert!(matches!(kept.ask(&key(many)), Asked::New));
        }
        assert!(matches!(kept.ask(&key(1)), Asked::New), "it was too long ago");
    }
}
