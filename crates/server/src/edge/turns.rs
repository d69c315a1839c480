//! Whose turn it is to have a large body worked on.
//!
//! Many large bodies at once are not done sooner than few: they only stand before each other, and before everybody else's
//! small ones, in every queue from here to the disk. So a few are worked on, the others wait for their turn, in the order
//! in which they came whole. The rule: a small body never waits here, and a turn is taken only for a body that is there, so
//! that no client holds one by sending slowly.

use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;

use crate::error::{ApiError, ApiResult, Code};

/// Bodies above this wait for their turn.
const LARGE_BYTES: usize = 64 * 1024;
/// Turns of each core, unless the settings say otherwise: enough to keep it busy while others wait for the disk.
const TURNS_OF_A_CORE: usize = 3;

/// The turns there are.
#[derive(Debug)]
pub(crate) struct Turns {
    free: Semaphore,
    wait_max: Duration,
}

impl Turns {
    /// `at_once` turns, or three for each core if it is 0; nobody waits longer than `wait_max`.
    pub(crate) fn new(at_once: usize, wait_max: Duration) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let at_once = if at_once == 0 { TURNS_OF_A_CORE * cores } else { at_once };
        Self { free: Semaphore::new(at_once.min(Semaphore::MAX_PERMITS)), wait_max }
    }

    /// Waits for the turn of a body of so many bytes; `None` if it is small. It ends when the permit is dropped.
    ///
    /// # Errors
    /// `Busy` if it has not come in time.
    pub(crate) async fn take(&self, bytes: usize) -> ApiResult<Option<SemaphorePermit<'_>>> {
        if bytes <= LARGE_BYTES {
            return Ok(None);
        }
        match timeout(self.wait_max, self.free.acquire()).await {
            // It is never closed.
            Ok(turn) => Ok(turn.ok()),
            Err(_) => Err(ApiError::new(Code::Busy, "too many large requests are in flight: try again in a moment")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn large_bodies_wait_for_their_turn_and_small_ones_do_not() {
        let turns = Turns::new(2, Duration::from_millis(10));
        let held = [turns.take(LARGE_BYTES + 1).await.unwrap(), turns.take(usize::MAX).await.unwrap()];
        assert!(held.iter().all(Option::is_some));
        assert!(turns.take(LARGE_BYTES).await.unwrap().is_none(), "a small body needs no turn");
        assert_eq!(turns.take(LARGE_BYTES + 1).await.unwrap_err().code(), Code::Busy);
        drop(held);
        assert!(turns.take(LARGE_BYTES + 1).await.unwrap().is_some());
    }
}
