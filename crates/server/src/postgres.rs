//! The PostgreSQL protocol on a port of its own, for `psql`, drivers and tools: SQL with the same walls and limits.
//!
//! The password is a token; the user name and the database do not matter. The protocol is read by `pgwire`; what a
//! statement is, and may do, is [`eye_sql`]'s alone. There is no TLS: a token on its way is only as safe as the network.
//!
//! | module | what it does |
//! |---|---|
//! | `session` | one connection: who it is, statements in, rows out |
//! | `words` | what drivers say that is no question: `BEGIN`, `SET application_name` |
//! | `encode` | columns of Arrow as values of PostgreSQL |

mod encode;
mod session;
mod words;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use pgwire::api::ConnectionManager;
use pgwire::tokio::process_socket;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::shutdown::Shutdown;
use crate::state::AppState;
use session::Handlers;

/// How often it is looked whether a client that waits is still there.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// A pause after the system had no socket left to give.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Binds the port.
///
/// # Errors
/// Why it cannot be had, and what to do.
pub(crate) async fn bind(address: SocketAddr) -> Result<TcpListener, String> {
    TcpListener::bind(address).await.map_err(|error| {
        format!(
            "cannot listen on {address} for PostgreSQL clients: {error} (choose another address with --postgres-listen)"
        )
    })
}

/// Serves until the process stops. Statements that run then are stopped.
pub(crate) async fn serve(listener: TcpListener, state: AppState, shutdown: Shutdown) {
    let places = Arc::new(Semaphore::new(state.settings.postgres_connections_max));
    let manager = Arc::new(ConnectionManager::new());
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = shutdown.wait() => break,
        };
        while connections.try_join_next().is_some() {}
        let Ok((stream, _)) = accepted else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let place = Arc::clone(&places).try_acquire_owned().ok();
        let handlers = Handlers::new(state.clone(), Arc::clone(&manager), place.is_some());
        connections.spawn(async move {
            let _place = place;
            if let Err(error) = connection(stream, handlers).await {
                tracing::debug!(%error, "a connection of a PostgreSQL client ended");
            }
        });
    }
    connections.shutdown().await;
}

/// One connection, until it is over or its client has gone, even in the middle of a statement.
async fn connection(stream: TcpStream, handlers: Handlers) -> std::io::Result<()> {
    let stream = stream.into_std()?;
    let watched = TcpStream::from_std(stream.try_clone()?)?;
    tokio::select! {
        done = process_socket(TcpStream::from_std(stream)?, None, Arc::new(handlers)) => done,
        () = gone(watched) => Ok(()),
    }
}

/// Returns once the other end has closed the connection.
async fn gone(stream: TcpStream) {
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        // Anything else is bytes that wait to be read, or none.
        if let Ok(Ok(0) | Err(_)) = tokio::time::timeout(Duration::ZERO, stream.peek(&mut [0])).await {
            return;
        }
    }
}
