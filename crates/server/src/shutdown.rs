//! Stopping, in this order, so that nothing acknowledged is lost and nobody waits for ever:
//!
//! 1. a signal arrives (SIGTERM, SIGINT): [`Shutdown::is_stopping`] turns true and `/readyz` answers 503;
//! 2. no new connection is accepted; idle ones are closed; live tails end;
//! 3. requests in flight are finished, for at most `shutdown_timeout`; then what is left is cut off (it was never
//!    acknowledged);
//! 4. background jobs end; the last-used times of tokens are written;
//! 5. the store closes: queued records become durable, the hot buffer is flushed, the logs close;
//! 6. the registry's log closes, the lock on the data folder is released.
//!
//! A second signal skips the waiting of step 3.

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

/// Tells that the process is stopping. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Shutdown {
    stopping: watch::Receiver<bool>,
}

/// The one who stops it.
#[derive(Debug)]
pub(crate) struct Stopper {
    stopping: watch::Sender<bool>,
}

/// A new pair.
pub(crate) fn pair() -> (Stopper, Shutdown) {
    let (sender, receiver) = watch::channel(false);
    (Stopper { stopping: sender }, Shutdown { stopping: receiver })
}

impl Stopper {
    /// Begins to stop.
    pub(crate) fn stop(&self) {
        self.stopping.send_replace(true);
    }
}

impl Shutdown {
    /// True once stopping has begun.
    pub(crate) fn is_stopping(&self) -> bool {
        *self.stopping.borrow()
    }

    /// Waits until stopping begins. Also returns if the stopper is gone: then there is nothing left to serve.
    pub(crate) async fn wait(&self) {
        let mut stopping = self.stopping.clone();
        let _gone_or_stopping = stopping.wait_for(|stopping| *stopping).await;
    }
}

/// SIGTERM and SIGINT, caught from now on.
#[derive(Debug)]
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Catches them: before anybody is told that the server runs, so that none is missed.
    ///
    /// # Errors
    /// The operating system refused to install the handler.
    pub(crate) fn catch() -> std::io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Waits for the next one; its name.
    pub(crate) async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn everybody_who_waits_is_told() {
        let (stopper, shutdown) = pair();
        assert!(!shutdown.is_stopping());
        let waiting = tokio::spawn({
            let shutdown = shutdown.clone();
            async move { shutdown.wait().await }
        });
        stopper.stop();
        waiting.await.unwrap();
        assert!(shutdown.is_stopping());
        shutdown.wait().await;
    }
}
