//! [`Kept`]: slices that were decoded whole a moment ago.
//!
//! Rows of a slice stand in session order, so the hundred rows of a page of a list lie on nearly all of its pages. The next
//! page of the list wants the same slice, and so does everybody who looks at the newest events. The rule: a slice is kept
//! when it is asked for the second time, so that what is looked at once pushes nothing out; only a few are kept, those used
//! last, within [`BYTES_MAX`]; none that would take more than half of it.

use std::collections::VecDeque;

use arrow::array::RecordBatch;
use parking_lot::Mutex;

use crate::columns::Columns;

/// Bytes of decoded slices that one table keeps.
const BYTES_MAX: usize = 64 * 1024 * 1024;
/// Bytes of the largest slice that is kept.
pub(crate) const SLICE_BYTES_MAX: usize = BYTES_MAX / 2;

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

/// The slices.
#[derive(Default)]
pub(crate) struct Kept(Mutex<Slices>);

#[derive(Default)]
struct Slices {
    /// Those that are kept, the one used last in front.
    kept: VecDeque<(Key, RecordBatch)>,
    /// Those that were asked for and not kept, the last in front.
    asked: VecDeque<Key>,
}

impl Kept {
    /// Asks for a slice.
    pub(crate) fn ask(&self, key: &Key) -> Asked {
        let Slices { kept, asked } = &mut *self.0.lock();
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
        *self.0.lock() = Slices::default();
    }

    /// Keeps a slice, unless it is too large.
    pub(crate) fn keep(&self, key: Key, batch: RecordBatch) {
        if batch.get_array_memory_size() > SLICE_BYTES_MAX {
            return;
        }
        let Slices { kept, asked } = &mut *self.0.lock();
        asked.retain(|known| *known != key);
        // Two may have decoded it at once: nobody waits for a file while others are served.
        kept.retain(|(known, _)| *known != key);
        kept.push_front((key, batch));
        let mut bytes = 0;
        kept.retain(|(_, batch)| {
            bytes += batch.get_array_memory_size();
            bytes <= BYTES_MAX
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
        let (kept, third) = (Kept::default(), BYTES_MAX / 8 / 3);
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
        let kept = Kept::default();
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
