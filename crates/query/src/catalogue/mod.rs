//! The catalogue: every category, name and field that was seen, with types, values, volume and times.
//!
//! It is made of summaries, one for each file of the table and each chunk of the hot buffer. A summary is a view of what
//! it is made of and of nothing else: it is kept in memory under its origin's name, goes when a snapshot no longer has the
//! origin (after a compaction, an erasure, a retention), and is made again after a start. So there is nothing to keep
//! consistent and nothing to erase.
//!
//! Files are read in the background ([`Catalogue::advance`]); a question makes up for at most [`CATCH_UP_ROWS`] rows
//! itself. What no summary covers is counted in every answer (`events_left`), but to who may see only some applications:
//! whose events they are, only a summary would tell.

mod answer;
mod summary;

use std::sync::Arc;

use ahash::AHashMap;
use eye_store::Origin;
use parking_lot::Mutex;

use crate::cancel::Cancel;
use crate::error::Result;
use crate::source::{Source, SourceSlice};
use summary::Summary;

pub use answer::{
    CATALOGUE_EXAMPLES, CATALOGUE_LIMIT, CATALOGUE_LIMIT_MAX, CatalogueApplicationOut, CatalogueFieldOut,
    CatalogueNameOut, CatalogueOut, CatalogueQuery, TypeOut, VALUES_LIMIT, VALUES_LIMIT_MAX, VALUES_ROWS_MAX,
    VALUES_SCANNED_MAX, ValueOut, ValuesOut, ValuesQuery,
};
pub use summary::{
    CATALOGUE_FIELDS_MAX, CATALOGUE_NAMES_MAX, FIELD_DEPTH_MAX, FIELD_VALUE_BYTES_MAX, FIELD_VALUES_MAX,
};

/// Rows that one question summarises itself, newest first.
const CATCH_UP_ROWS: usize = 16_384;

/// Summaries of everything that was looked at. Shared by all questions.
#[derive(Debug)]
pub struct Catalogue {
    rows_max: u64,
    bytes_max: usize,
    kept: Mutex<AHashMap<Origin, Kept>>,
    /// The file that the background is at, and how far.
    underway: Mutex<Option<Underway>>,
}

#[derive(Debug)]
struct Kept {
    summary: Arc<Summary>,
    bytes: usize,
}

#[derive(Debug)]
struct Underway {
    origin: Origin,
    slices_done: usize,
    summary: Summary,
}

/// One origin of a snapshot, with its slices.
struct Part<L> {
    origin: Origin,
    slices: Vec<L>,
    rows: u64,
}

/// What a question sees.
struct View {
    summaries: Vec<Arc<Summary>>,
    /// Events without a summary.
    events_left: u64,
}

impl Catalogue {
    /// An empty catalogue that looks at the newest `rows_max` events and takes about `bytes_max` bytes of memory.
    #[must_use]
    pub fn new(rows_max: u64, bytes_max: usize) -> Self {
        Self { rows_max, bytes_max, kept: Mutex::default(), underway: Mutex::default() }
    }

    /// Summarises the next slice of a file that has no summary yet, newest file first. False if there is none.
    ///
    /// # Errors
    /// Those of the store.
    pub fn advance<S: Source>(&self, source: &S) -> Result<bool> {
        let parts = parts(source)?;
        self.forget(&parts);
        let mut underway = self.underway.lock();
        let mut rows = 0;
        let next = parts.iter().position(|part| {
            rows += part.rows;
            rows <= self.rows_max && matches!(part.origin, Origin::File { .. }) && self.get(&part.origin).is_none()
        });
        let Some((part, older)) = next.and_then(|next| parts[next..].split_first()) else {
            *underway = None;
            return Ok(false);
        };
        if !self.make_room(older) {
            return Ok(false);
        }
        let at = match underway.take().filter(|at| at.origin == part.origin) {
            Some(at) => at,
            None => Underway { origin: part.origin.clone(), slices_done: 0, summary: Summary::default() },
        };
        let Underway { origin, slices_done, mut summary } = at;
        if let Some(slice) = part.slices.get(slices_done) {
            summary.add(&slice.frame(&summary::columns().into())?);
        }
        if slices_done + 1 < part.slices.len() {
            *underway = Some(Underway { origin, slices_done: slices_done + 1, summary });
        } else {
            self.keep(origin, summary);
        }
        Ok(true)
    }

    fn get(&self, origin: &Origin) -> Option<Arc<Summary>> {
        self.kept.lock().get(origin).map(|kept| Arc::clone(&kept.summary))
    }

    fn keep(&self, origin: Origin, summary: Summary) -> Arc<Summary> {
        let summary = Arc::new(summary.finish());
        let mut kept = self.kept.lock();
        if !self.is_full(&kept) {
            kept.insert(origin, Kept { bytes: summary.bytes(), summary: Arc::clone(&summary) });
        }
        summary
    }

    fn is_full(&self, kept: &AHashMap<Origin, Kept>) -> bool {
        kept.values().map(|kept| kept.bytes).sum::<usize>() >= self.bytes_max
    }

    /// True if there is room for another summary, now that the oldest of these have gone.
    fn make_room<L>(&self, older: &[Part<L>]) -> bool {
        let mut kept = self.kept.lock();
        let mut oldest = older.iter().rev();
        while self.is_full(&kept) {
            match oldest.next() {
                Some(part) => drop(kept.remove(&part.origin)),
                None => return false,
            }
        }
        true
    }

    /// Drops what the source does not have.
    fn forget<L>(&self, parts: &[Part<L>]) {
        let there: ahash::AHashSet<&Origin> = parts.iter().map(|part| &part.origin).collect();
        self.kept.lock().retain(|origin, _| there.contains(origin));
    }

    /// Every summary of the source that there is, or that can be made quickly.
    fn view<S: Source>(&self, source: &S, cancel: &Cancel) -> Result<View> {
        let parts = parts(source)?;
        self.forget(&parts);
        let mut view = View { summaries: Vec::with_capacity(parts.len()), events_left: 0 };
        let (mut rows, mut budget) = (0, CATCH_UP_ROWS as u64);
        for part in parts {
            cancel.check()?;
            rows += part.rows;
            if let Some(summary) = self.get(&part.origin) {
                view.summaries.push(summary);
            } else if rows <= self.rows_max.max(CATCH_UP_ROWS as u64) && part.rows <= budget {
                budget -= part.rows;
                let mut summary = Summary::default();
                for slice in &part.slices {
                    summary.add(&slice.frame(&summary::columns().into())?);
                }
                view.summaries.push(self.keep(part.origin, summary));
            } else {
                view.events_left += part.rows;
            }
        }
        Ok(view)
    }
}

/// The origins of a source: the hot buffer first, then the newest file first.
fn parts<S: Source>(source: &S) -> Result<Vec<Part<S::Slice>>> {
    let (mut parts, mut places): (Vec<Part<S::Slice>>, AHashMap<Origin, usize>) = Default::default();
    for slice in source.slices(None, None)? {
        let (origin, rows) = (slice.origin(), slice.rows() as u64);
        let place = *places.entry(origin.clone()).or_insert_with(|| {
            parts.push(Part { origin, slices: Vec::new(), rows: 0 });
            parts.len() - 1
        });
        parts[place].rows += rows;
        parts[place].slices.push(slice);
    }
    // Files come ordered by the day they were received, and chunks by their offsets: the newest are the last of each.
    let (mut hot, mut files): (Vec<_>, Vec<_>) =
        parts.into_iter().partition(|part| matches!(part.origin, Origin::Hot { .. }));
    hot.reverse();
    files.reverse();
    hot.append(&mut files);
    Ok(hot)
}
