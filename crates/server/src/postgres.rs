//! The PostgreSQL protocol on a port of its own, for `psql`, drivers and tools: SQL with the same walls and limits.
//!
//! The password is a token; the user name and the database do not matter. The protocol is read by `pgwire`; what a
//! statement is, and may do, is [`eye_sql`]'s alone. There is no TLS: a token on its way is only as safe as the network.
//!
//! | module | what it does |
//! |---|---|
//! | `session` | one connection: who it is, statements in, rows out |
//! | `extended` | the same of statements that are prepared first |
//! | `message` | whether a message is well formed, before `pgwire` reads it |
//! | `kept` | how much a connection keeps: prepared statements, portals |
//! | `parameters` | the values that a client binds |
//! | `words` | what drivers say that is no question: `BEGIN`, `SET application_name` |
//! | `encode` | columns of Arrow as values of PostgreSQL |

mod encode;
mod extended;
mod kept;
mod message;
mod parameters;
mod session;
mod words;

use std::net::SocketAddr;
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf as _, BytesMut};
use pgwire::api::{ClientInfo as _, ConnectionManager, PgWireConnectionState, PgWireServerHandlers as _};
use pgwire::error::{PgWireError, PgWireResult};
use pgwire::messages::{DecodeContext, PgWireFrontendMessage, ProtocolVersion};
use pgwire::tokio::server::{MaybeTls, negotiate_tls, process_error, process_message};
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::codec::Framed;

use crate::config::Settings;
use crate::edge::stream::ClientStream;
use crate::shutdown::Shutdown;
use crate::state::AppState;
use message::Problem;
use session::{Handlers, fatal};

/// How often it is looked whether a client that waits is still there.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// A pause after the system had no socket left to give.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// As many clients as may be connected may log in at once, and never fewer than this, if `postgres_logins_max` does not
/// say. More are closed.
const LOGINS_MIN: usize = 16;
/// Room that is made for each read.
const READ_BYTES: usize = 8 * 1024;
/// A client that is silent for so long is asked whether it is still there.
const KEEPALIVE_AFTER: Duration = Duration::from_secs(60);
/// And again after so long, so many times.
const KEEPALIVE_EVERY: Duration = Duration::from_secs(10);
const KEEPALIVE_TIMES: u32 = 6;

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
    let most = state.settings.postgres_connections_max;
    let places = Arc::new(Semaphore::new(most.min(Semaphore::MAX_PERMITS)));
    let logins = match state.settings.postgres_logins_max {
        0 => most.max(LOGINS_MIN),
        logins => logins,
    };
    let logins = Arc::new(Semaphore::new(logins.min(Semaphore::MAX_PERMITS)));
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
        // A stranger too many is closed at once: it costs nothing more.
        let Ok(login) = Arc::clone(&logins).try_acquire_owned() else { continue };
        if let Err(error) = keep_alive(&stream) {
            tracing::debug!(%error, "a connection of a PostgreSQL client is not watched by the system");
        }
        let handlers = Handlers::new(state.clone(), Arc::clone(&manager), Arc::clone(&places));
        let state = state.clone();
        connections.spawn(async move {
            if let Err(error) = connection(stream, &state, handlers, login).await {
                tracing::debug!(%error, "a connection of a PostgreSQL client ended");
            }
        });
    }
    connections.shutdown().await;
}

/// A client that has gone without a word is noticed by the system.
fn keep_alive(stream: &TcpStream) -> std::io::Result<()> {
    let often = TcpKeepalive::new().with_time(KEEPALIVE_AFTER).with_interval(KEEPALIVE_EVERY);
    SockRef::from(stream).set_tcp_keepalive(&often.with_retries(KEEPALIVE_TIMES))
}

/// One connection, until it is over or its client has gone, even in the middle of a statement.
///
/// As `pgwire::tokio::process_socket`, but for [`Input`], for [`ClientStream`] and for a login that fails: it is over,
/// whatever failed.
async fn connection(
    stream: TcpStream,
    state: &AppState,
    handlers: Handlers,
    login: OwnedSemaphorePermit,
) -> std::io::Result<()> {
    let mut login = Some(login);
    let deadline = Instant::now() + state.settings.postgres_login_timeout;
    let Ok(negotiated) = tokio::time::timeout_at(deadline, negotiate_tls(stream, None)).await else { return Ok(()) };
    let Some(negotiated) = negotiated? else { return Ok(()) };
    let parts = negotiated.into_parts();
    let MaybeTls::Plain(tcp) = parts.io else { return Ok(()) };
    // What was answered until now is sent: only what was read may be left.
    let mut input = Input::new(parts.read_buf, &state.settings);
    let stream = ClientStream::new(tcp, state.settings.answer_idle_timeout, state.metrics.clone());
    let mut socket = Framed::new(stream, parts.codec);
    let startup = handlers.startup_handler();
    let simple = handlers.simple_query_handler();
    let extended = handlers.extended_query_handler();
    let copy = handlers.copy_handler();
    let cancel = handlers.cancel_handler();
    let mut watched = None;
    loop {
        let is_login = !handlers.is_logged_in();
        let (state, version) = (socket.state(), socket.protocol_version());
        let next = input.next(socket.get_mut(), state, version, is_login);
        let next = if is_login {
            let Ok(next) = tokio::time::timeout_at(deadline, next).await else { return Ok(()) };
            next
        } else {
            next.await
        };
        let message = match next {
            Ok(None | Some(PgWireFrontendMessage::Terminate(_))) => return Ok(()),
            Ok(Some(message)) => message,
            // `true`, so that it is not told that it may ask: it is closed.
            Err(error) => return process_error(&mut socket, error, true).await,
        };
        let is_extended = message.is_extended_query();
        let is_cancel = matches!(message, PgWireFrontendMessage::CancelRequest(_));
        let step = async {
            let done = process_message(
                message,
                &mut socket,
                Arc::clone(&startup),
                Arc::clone(&simple),
                Arc::clone(&extended),
                Arc::clone(&copy),
                Arc::clone(&cancel),
            );
            let Err(error) = done.await else { return Ok(!is_cancel) };
            let goes_on = !error.is_fatal() && handlers.is_logged_in();
            process_error(&mut socket, error, is_extended).await?;
            Ok::<_, std::io::Error>(goes_on)
        };
        let goes_on = match &watched {
            Some(watched) => tokio::select! {
                goes_on = step => goes_on?,
                () = gone(watched) => false,
            },
            None => step.await?,
        };
        if !goes_on {
            return Ok(());
        }
        if login.is_some() && handlers.is_logged_in() {
            login = None;
            watched = Some(twin(socket.get_ref().tcp())?);
        }
    }
}

/// The same socket once more, to look at it while it is in use.
fn twin(stream: &TcpStream) -> std::io::Result<TcpStream> {
    let twin = std::net::TcpStream::from(stream.as_fd().try_clone_to_owned()?);
    TcpStream::from_std(twin)
}

/// What may come between the start-up message and the end of the login: a password, and the end of the connection.
const LOGIN_MESSAGES: &[u8] = b"pX";

/// What a client has sent and is no whole message yet. `pgwire` would keep up to a gigabyte of it.
struct Input {
    bytes: BytesMut,
    /// How many bytes have come in all.
    total: usize,
    login_bytes_max: usize,
    message_bytes_max: usize,
}

impl Input {
    fn new(bytes: BytesMut, settings: &Settings) -> Self {
        Self {
            total: bytes.len(),
            bytes,
            login_bytes_max: settings.postgres_login_bytes_max,
            message_bytes_max: settings.postgres_message_bytes_max,
        }
    }

    /// The next message; `None` once the client has closed.
    async fn next(
        &mut self,
        stream: &mut (impl AsyncRead + Unpin),
        state: PgWireConnectionState,
        version: ProtocolVersion,
        is_login: bool,
    ) -> PgWireResult<Option<PgWireFrontendMessage>> {
        let mut context = DecodeContext::new(version);
        context.awaiting_frontend_ssl = false;
        context.awaiting_frontend_startup = matches!(state, PgWireConnectionState::AwaitingStartup);
        loop {
            if let Some(mut message) = self.take(context.awaiting_frontend_startup, is_login)? {
                return PgWireFrontendMessage::decode(&mut message, &context);
            }
            self.bytes.reserve(READ_BYTES);
            let count = stream.read_buf(&mut self.bytes).await?;
            if count == 0 {
                return Ok(None);
            }
            self.total = self.total.saturating_add(count);
        }
    }

    /// The message that has begun, once all of it is there, if it may come and is well formed. Only the first one of a
    /// client has no type before its length.
    fn take(&mut self, is_first: bool, is_login: bool) -> PgWireResult<Option<BytesMut>> {
        let login_most = self.login_bytes_max;
        if is_login && self.total > login_most {
            let before = "bytes came before the login was done (postgres_login_bytes_max)";
            return Err(fatal("54000", &format!("more than {login_most} {before}")));
        }
        let start = usize::from(!is_first);
        let kind = self.bytes.first().copied().filter(|_| !is_first);
        match kind {
            Some(kind) if is_login && !LOGIN_MESSAGES.contains(&kind) => {
                return Err(fatal("08P01", "a password is expected before anything else"));
            }
            Some(kind @ b'p') if !is_login => return Err(violation(Problem::Unknown { kind })),
            Some(kind) => message::name(kind).map(drop).map_err(violation)?,
            None => {}
        }
        let Some(mut length) = self.bytes.get(start..start + 4) else { return Ok(None) };
        let length = usize::try_from(length.get_u32()).unwrap_or(usize::MAX);
        let (most, setting) = match is_login {
            true => (login_most, "postgres_login_bytes_max"),
            false => (self.message_bytes_max, "postgres_message_bytes_max"),
        };
        if length > most {
            return Err(fatal("54000", &format!("a message may have {most} bytes ({setting}), not {length}")));
        }
        if length < 4 {
            return Err(fatal("08P01", "a message has at least the four bytes of its length"));
        }
        let Some(body) = self.bytes.get(start + 4..start + length) else { return Ok(None) };
        let found = match kind {
            Some(kind) => message::check(kind, body),
            None => message::check_first(body),
        };
        found.map_err(violation)?;
        Ok(Some(self.bytes.split_to(start + length)))
    }
}

fn violation(problem: Problem) -> PgWireError {
    fatal("08P01", &problem.to_string())
}

/// Returns once the other end has closed the connection.
async fn gone(stream: &TcpStream) {
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        // Anything else is bytes that wait to be read, or none.
        if let Ok(Ok(0) | Err(_)) = tokio::time::timeout(Duration::ZERO, stream.peek(&mut [0])).await {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn input(bytes: &[u8]) -> Input {
        Input::new(BytesMut::from(bytes), &Settings::defaults().unwrap())
    }

    fn is_taken(bytes: &[u8], is_first: bool, is_login: bool) -> bool {
        input(bytes).take(is_first, is_login).is_ok()
    }

    #[test]
    fn what_may_be_read_has_an_end() {
        assert!(is_taken(b"", true, true) && is_taken(b"p\0\0\0", false, true));
        assert!(!is_taken(b"H\0\0\0\x04", false, true) && is_taken(b"H\0\0\0\x04", false, false));
        assert!(is_taken(b"\0\0\x80\0", true, true) && !is_taken(b"\0\0\x80\x01", true, true));
        assert!(is_taken(b"p\0\0\x80\0", false, true) && !is_taken(b"p\0\0\x80\x01", false, true));
        assert!(is_taken(b"Q\0\x10\0\0", false, false) && !is_taken(b"Q\0\x10\0\x01", false, false));
        assert!(!is_taken(b"p\x3f\xff\xff\xfd", false, true) && !is_taken(b"Q\xff\xff\xff\xff", false, false));
        assert!(!is_taken(b"Q\0\0\0\x03", false, false));
        // Small messages count together until the login is done.
        let many = b"X\0\0\0\x04".repeat(32 * 1024);
        assert!(!is_taken(&many, false, true) && is_taken(&many, false, false));
    }

    #[test]
    fn messages_come_one_by_one_and_are_well_formed() {
        let mut several = input(b"H\0\0\0\x04C\0\0\0\x06S\0Q\0\0");
        assert_eq!(several.take(false, false).unwrap().unwrap(), &b"H\0\0\0\x04"[..]);
        assert_eq!(several.take(false, false).unwrap().unwrap(), &b"C\0\0\0\x06S\0"[..]);
        assert_eq!(several.take(false, false).unwrap(), None);
        let refused = |bytes: &[u8], is_first, is_login| match input(bytes).take(is_first, is_login) {
            Err(PgWireError::UserError(info)) => (info.severity, info.code, info.message),
            other => panic!("{other:?}"),
        };
        for (bytes, is_first, is_login, message) in [
            (&b"C\0\0\0\x05SC\0\0\0\x06S\0"[..], false, false, "invalid Close message: it ends within its name"),
            (b"p\0\0\0\x04X\0\0\0\x04", false, true, "invalid Password message: it ends within its text"),
            (b"\0\0\0\x04", true, true, "invalid Startup message: it ends within its version"),
            (b"p", false, false, "invalid frontend message type 112"),
            (b"!", false, false, "invalid frontend message type 33"),
        ] {
            let expected = ("FATAL".to_owned(), "08P01".to_owned(), message.to_owned());
            assert_eq!(refused(bytes, is_first, is_login), expected);
        }
    }
}
