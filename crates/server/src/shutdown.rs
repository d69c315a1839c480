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

/// Waits for SIGTERM or SIGINT; the name of the one that came.
///
/// # Errors
/// The operating system refused to install the handler.
pub(crate) async fn signal() -> std::io::Result<&'static str> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = terminate.recv() => Ok("SIGTERM"),
        _ = interrupt.recv() => Ok("SIGINT"),
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
