//! Who is let in: connections are accepted, counted by address and given room, one after another.
//!
//! Whoever was accepted waits here until there is room, everybody behind in the system's backlog. The rule: nothing is
//! kept of a connection that has ended, however many are at the door.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::limits::{Counted, PerAddress, connections_under_file_limit};
use super::slots::{Life, Slots};
use crate::config::Settings;
use crate::metrics::Metrics;

/// The pause after the system refused a connection (too many open files, no memory).
const REFUSED_PAUSE: Duration = Duration::from_millis(100);

/// The way in, and the connections that came through it.
pub(super) struct Door {
    listener: TcpListener,
    slots: Slots,
    addresses: PerAddress,
    per_address_max: usize,
    metrics: Metrics,
    /// The connections that are served.
    pub(super) open: JoinSet<()>,
}

/// A connection that was let in; no request has begun on it.
pub(super) struct Guest {
    pub(super) tcp: TcpStream,
    pub(super) peer: SocketAddr,
    pub(super) life: Arc<Life>,
    /// To be dropped after the connection.
    pub(super) room: Room,
}

/// The place of a connection; free again when dropped.
pub(super) struct Room {
    _counted: Option<Counted>,
    _slot: Option<OwnedSemaphorePermit>,
}

impl Door {
    /// A door with the room that the settings and the system allow.
    pub(super) fn new(listener: TcpListener, settings: &Settings, metrics: Metrics) -> Self {
        Self {
            listener,
            slots: Slots::new(connections_under_file_limit(settings.connections_max)),
            addresses: PerAddress::default(),
            per_address_max: settings.connections_per_ip_max,
            metrics,
            open: JoinSet::new(),
        }
    }

    /// The next connection, when there is room for it.
    pub(super) async fn next(&mut self) -> Guest {
        loop {
            let (tcp, peer) = tokio::select! {
                biased;
                accepted = accept(&self.listener) => accepted,
                Some(_) = self.open.join_next(), if !self.open.is_empty() => continue,
            };
            // While the backlog is not empty the branch above never gets its turn.
            while self.open.try_join_next().is_some() {}
            let counted = match self.per_address_max {
                0 => None,
                max => match self.addresses.admit(peer.ip(), max) {
                    Some(counted) => Some(counted),
                    None => {
                        self.metrics.connections_refused.inc();
                        continue;
                    }
                },
            };
            // Not beside `join_next`: that would begin the search for room anew with every connection that ends.
            let slot = self.slots.take().await;
            let life = Arc::new(Life::default());
            self.slots.note_silent(&life);
            return Guest { tcp, peer, life, room: Room { _counted: counted, _slot: slot } };
        }
    }

    /// Nobody else is let in; the connections that are still served.
    pub(super) fn close(self) -> JoinSet<()> {
        self.open
    }
}

async fn accept(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok(accepted) => return accepted,
            Err(error) if is_about_one_connection(&error) => {}
            Err(error) => {
                tracing::warn!(%error, "the system refuses new connections");
                sleep(REFUSED_PAUSE).await;
            }
        }
    }
}

fn is_about_one_connection(error: &std::io::Error) -> bool {
    use std::io::ErrorKind;
    matches!(
        error.kind(),
        ErrorKind::ConnectionAborted
            | ErrorKind::ConnectionReset
            | ErrorKind::ConnectionRefused
            | ErrorKind::Interrupted
    )
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// A door with room for this many, and where it is.
    async fn door(connections_max: usize) -> (Door, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let settings = Settings { connections_max, ..Settings::defaults().unwrap() };
        (Door::new(listener, &settings, Metrics::new().unwrap()), address)
    }

    #[tokio::test]
    async fn nothing_is_kept_of_connections_that_have_ended() {
        let (mut door, address) = door(1_000).await;
        let mut kept_max = 0;
        for _ in 0..4 {
            // As many as every system's backlog takes, so that it is not empty while they are let in.
            let mut clients = Vec::new();
            for _ in 0..60 {
                clients.push(TcpStream::connect(address).await.unwrap());
            }
            for _ in &clients {
                let guest = door.next().await;
                kept_max = kept_max.max(door.open.len());
                door.open.spawn(async move { drop(guest) });
                tokio::task::yield_now().await;
            }
        }
        assert!(kept_max < 20, "{kept_max} are kept");
    }

    #[tokio::test]
    async fn connections_that_end_meanwhile_make_nobody_else_leave() {
        let (mut door, address) = door(3).await;
        let told = Arc::new(AtomicUsize::new(0));
        let mut clients = Vec::new();
        for _ in 0..3 {
            clients.push(TcpStream::connect(address).await.unwrap());
            let guest = door.next().await;
            let told = Arc::clone(&told);
            door.open.spawn(async move {
                guest.life.is_to_leave().await;
                told.fetch_add(1, Ordering::Relaxed);
                sleep(Duration::from_millis(50)).await;
                drop(guest);
            });
        }
        // Some of these end while the one that was told to leave is on its way out.
        for number in 0..200 {
            door.open.spawn(sleep(Duration::from_millis(10 * number)));
        }
        clients.push(TcpStream::connect(address).await.unwrap());
        let _guest = door.next().await;
        assert_eq!(told.load(Ordering::Relaxed), 1);
    }
}
