//! Work shared among threads: as many as there are cores, each taking the next piece that nobody has.
//!
//! The rule: as with a scan, the outcome must not depend on who did which piece.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::cancel::Cancel;
use crate::error::{Error, Result};

/// Does `pieces` pieces of work, by number, and gives what each thread has made of its own.
///
/// # Errors
/// `Cancelled`, looked at before every piece; those of the work.
pub(crate) fn share<T: Send>(
    pieces: usize,
    cancel: &Cancel,
    make: impl Fn() -> T + Sync,
    work: impl Fn(&mut T, usize) -> Result<()> + Sync,
) -> Result<Vec<T>> {
    let next = AtomicUsize::new(0);
    let run = || -> Result<T> {
        let mut made = make();
        loop {
            let piece = next.fetch_add(1, Ordering::Relaxed);
            if piece >= pieces {
                return Ok(made);
            }
            cancel.check()?;
            work(&mut made, piece)?;
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(pieces).max(1);
    std::thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(run)).collect();
        let mine = run();
        let others = others.into_iter().map(|other| other.join().map_err(|_| Error::Panicked).flatten());
        std::iter::once(mine).chain(others).collect()
    })
}
