//! Which rows of a slice a filter chooses: what the lists of this crate do, for readers that want the rows themselves.

use crate::error::Result;
use crate::filter::Filter;
use crate::mask::Chooser;
use crate::source::SourceSlice;

/// The numbers of the rows of a slice that a filter chooses, rising; `None` if it demands nothing and all are chosen.
///
/// Only the columns that the filter looks at are read.
///
/// # Errors
/// Those of the store.
pub fn chosen<L: SourceSlice>(slice: &L, filter: &Filter) -> Result<Option<Vec<u32>>> {
    if !filter.slice_can_match(slice.timestamps()) {
        return Ok(Some(Vec::new()));
    }
    if filter.is_free() {
        return Ok(None);
    }
    let frame = slice.frame(&filter.reads())?;
    let mask = Chooser::new(filter).choose(&frame, slice.timestamps());
    Ok(Some((0_u32..).zip(mask).filter_map(|(row, is_chosen)| is_chosen.then_some(row)).collect()))
}
