//! Whose turn it is to have a large body worked on.
//!
//! Many large bodies at once are not done sooner than few: they only stand before each other, and before everybody else's
//! small ones, in every queue from here to the disk. So a few are worked on, the others wait for their turn, in the order
//! in which they came whole. The rule: a small body never waits here, and a turn is taken only for a body that is there, so
//! that no client holds one by sending slowly. Whose turn it is works on threads that let those of small bodies go first.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::error::{ApiError, ApiResult, Code};

/// Bodies above this wait for their turn.
const LARGE_BYTES: usize = 64 * 1024;
/// Turns of each core, unless the settings say otherwise: enough to keep it busy while others wait for the disk.
const TURNS_OF_A_CORE: usize = 3;

/// The turns there are.
#[derive(Debug)]
pub(crate) struct Turns {
    free: Arc<Semaphore>,
    wait_max: Duration,
    /// Where large bodies are worked on.
    threads: Handle,
}

/// The threads that large bodies are worked on by: one for each core, which let all others of this process go first.
///
/// # Errors
/// What the system says if it has no threads.
pub(crate) fn threads() -> std::io::Result<Runtime> {
    let mut threads = Builder::new_multi_thread();
    threads.thread_name("large-body").on_thread_start(eye_store::give_way_to_small).enable_time().build()
}

impl Turns {
    /// `at_once` turns, or three for each core if it is 0; nobody waits longer than `wait_max`. Large bodies are worked on
    /// by these [`threads`].
    pub(crate) fn new(at_once: usize, wait_max: Duration, threads: Handle) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let at_once = if at_once == 0 { TURNS_OF_A_CORE * cores } else { at_once };
        Self { free: Arc::new(Semaphore::new(at_once.min(Semaphore::MAX_PERMITS))), wait_max, threads }
    }

    /// Works on a body of so many bytes: at once if it is small, else in its turn. What is begun in its turn is ended, also
    /// when nobody waits for it any more.
    ///
    /// # Errors
    /// `Busy` if the turn has not come in time; what the work gives.
    pub(crate) async fn work<T, E>(
        &self,
        bytes: usize,
        work: impl Future<Output = Result<T, E>> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<ApiError> + Send + 'static,
    {
        let Some(turn) = self.take(bytes).await? else { return work.await };
        let task = self.threads.spawn(async move {
            let _turn = turn;
            work.await
        });
        task.await.unwrap_or_else(|error| Err(ApiError::internal(&error).into()))
    }

    /// Waits for the turn of a body of so many bytes; `None` if it is small. It ends when the permit is dropped.
    async fn take(&self, bytes: usize) -> ApiResult<Option<OwnedSemaphorePermit>> {
        if bytes <= LARGE_BYTES {
            return Ok(None);
        }
        match timeout(self.wait_max, Arc::clone(&self.free).acquire_owned()).await {
            // It is never closed.
            Ok(turn) => Ok(turn.ok()),
            Err(_) => Err(ApiError::new(Code::Busy, "too many large requests are in flight: try again in a moment")),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;
    use std::thread;

    use rustix::process::getpriority_process;
    use rustix::thread::gettid;
    use tokio::sync::Notify;

    use super::*;

    /// Longer than any of this takes.
    const PATIENCE: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn large_bodies_wait_for_their_turn_and_small_ones_do_not() {
        let turns = Turns::new(2, Duration::from_millis(10), Handle::current());
        let held = [turns.take(LARGE_BYTES + 1).await.unwrap(), turns.take(usize::MAX).await.unwrap()];
        assert!(held.iter().all(Option::is_some));
        assert!(turns.take(LARGE_BYTES).await.unwrap().is_none(), "a small body needs no turn");
        assert_eq!(turns.take(LARGE_BYTES + 1).await.unwrap_err().code(), Code::Busy);
        drop(held);
        assert!(turns.take(LARGE_BYTES + 1).await.unwrap().is_some());
    }

    #[test]
    fn large_bodies_are_worked_on_by_threads_that_give_way_and_small_ones_at_once() {
        let here = Builder::new_current_thread().enable_time().build().unwrap();
        let threads = threads().unwrap();
        let turns = Turns::new(1, PATIENCE, threads.handle().clone());
        let niceness = || getpriority_process(Some(gettid())).unwrap();
        let who_works = |bytes| {
            let work = async move { Ok::<_, ApiError>((thread::current().id(), niceness())) };
            here.block_on(turns.work(bytes, work)).unwrap()
        };
        assert_eq!(who_works(LARGE_BYTES), (thread::current().id(), niceness()));
        let (thread, nice) = who_works(LARGE_BYTES + 1);
        assert!(thread != thread::current().id() && nice > niceness());
        let panics = || -> Result<(), ApiError> { panic!("in a test") };
        let panicked = here.block_on(turns.work(LARGE_BYTES + 1, async move { panics() }));
        assert_eq!(panicked.unwrap_err().code(), Code::Internal);
        assert_eq!(turns.free.available_permits(), 1);
    }

    #[test]
    fn what_is_begun_ends_though_nobody_waits_for_it_and_its_turn_with_it() {
        let here = Builder::new_current_thread().enable_time().build().unwrap();
        let threads = threads().unwrap();
        let turns = Turns::new(1, PATIENCE, threads.handle().clone());
        let (begun, goes_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let (ended, is_ended) = channel();
        let work = {
            let (begun, goes_on) = (Arc::clone(&begun), Arc::clone(&goes_on));
            async move {
                begun.notify_one();
                goes_on.notified().await;
                ended.send(()).unwrap();
                Ok::<_, ApiError>(())
            }
        };
        here.block_on(async {
            tokio::select! {
                _ = turns.work(LARGE_BYTES + 1, work) => panic!("it ended by itself"),
                () = begun.notified() => {}
            }
        });
        assert_eq!(turns.free.available_permits(), 0, "its turn goes on");
        goes_on.notify_one();
        is_ended.recv_timeout(PATIENCE).unwrap();
        assert!(here.block_on(turns.take(LARGE_BYTES + 1)).unwrap().is_some());
    }
}
