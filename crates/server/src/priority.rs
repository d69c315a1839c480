//! Who goes first: small requests before questions that take long, and before bodies that look like bombs.

use crate::error::{ApiError, ApiResult};

/// Works on a thread of its own, of this name, that gives way to ingest, as all threads do that it starts. Blocks.
///
/// # Errors
/// What the work gives; an internal error if the thread could not be started.
pub(crate) fn giving_way<T: Send>(name: &str, work: impl FnOnce() -> ApiResult<T> + Send) -> ApiResult<T> {
    std::thread::scope(|scope| {
        let run = || {
            eye_store::give_way();
            work()
        };
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn_scoped(scope, run);
        let thread = thread.map_err(|error| ApiError::internal(&error))?;
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

#[cfg(test)]
mod tests {
    use rustix::process::getpriority_process;
    use rustix::thread::gettid;

    use super::*;

    #[test]
    fn all_threads_of_what_gives_way_give_way_by_as_much_and_whoever_asks_does_not() {
        let niceness = || getpriority_process(Some(gettid())).unwrap();
        let started = |start: fn()| {
            let run = move || {
                start();
                niceness()
            };
            std::thread::scope(|scope| scope.spawn(run).join().unwrap())
        };
        let before = niceness();
        let seen = giving_way("test", || Ok((niceness(), started(|| {}), started(eye_store::give_way)))).unwrap();
        let given = (before + 10).min(19);
        assert_eq!((seen, niceness()), ((given, given, given), before));
    }
}
