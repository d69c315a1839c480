//! One pass over everything that a filter may choose, on as many threads as there are cores.
//!
//! The rule: the answer must not depend on which thread saw which slice, nor in what order. States are put together as
//! sets, sums of integers, or by the order of events; floating-point sums go through [`crate::exact::Sum`].

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::cancel::Cancel;
use crate::error::{Error, Result};
use crate::filter::Filter;
use crate::frame::Frame;
use crate::mask::Chooser;
use crate::reads::Reads;
use crate::source::{Source, SourceSlice};

/// What a pass leaves: made once a thread, fed slice by slice, then put together.
pub(crate) trait State: Send {
    /// Takes the chosen rows of one slice.
    ///
    /// # Errors
    /// `TooMuch`, if a limit is met.
    fn add(&mut self, frame: &Frame, mask: &[bool], slice: u32) -> Result<()>;

    /// Takes what another thread has seen.
    ///
    /// # Errors
    /// `TooMuch`, if a limit is met.
    fn merge(&mut self, other: Self) -> Result<()>;
}

/// Feeds every slice that can match to a state, which reads this beyond what the filter does.
pub(crate) fn scan<S, T>(
    source: &S,
    filter: &Filter,
    reads: impl Into<Reads>,
    cancel: &Cancel,
    make: impl Fn() -> T + Sync,
) -> Result<(T, Vec<S::Slice>)>
where
    S: Source,
    S::Slice: Sync + Send,
    T: State,
{
    let slices = if filter.is_impossible() { Vec::new() } else { source.slices(filter.from(), filter.to())? };
    let reads = reads.into() | filter.reads();
    let chooser = Chooser::new(filter);
    let (next, failure) = (AtomicUsize::new(0), Mutex::new(None));
    let work = || -> Result<T> {
        let mut state = make();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let Some(slice) = slices.get(number) else { return Ok(state) };
            cancel.check()?;
            if !filter.slice_can_match(slice.timestamps()) {
                continue;
            }
            let frame = slice.frame(&reads)?;
            let mask = chooser.choose(&frame, slice.timestamps());
            state.add(&frame, &mask, u32::try_from(number).unwrap_or(u32::MAX))?;
        }
    };
    let guarded = || {
        work().inspect_err(|error| {
            // The others need not go on.
            next.store(slices.len(), Ordering::Relaxed);
            failure.lock().unwrap_or_else(std::sync::PoisonError::into_inner).get_or_insert_with(|| error.clone());
        })
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(slices.len()).max(1);
    let states: Vec<_> = std::thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(guarded)).collect();
        let mine = guarded();
        std::iter::once(Ok(mine)).chain(others.into_iter().map(std::thread::ScopedJoinHandle::join)).collect()
    });
    if let Some(error) = failure.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner) {
        return Err(error);
    }
    let mut all: Option<T> = None;
    for state in states {
        let state = state.map_err(|_| Error::Panicked)??;
        match &mut all {
            None => all = Some(state),
            Some(all) => all.merge(state)?,
        }
    }
    Ok((all.unwrap_or_else(&make), slices))
}
