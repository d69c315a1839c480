//! Serving connections, and the life of one.
//!
//! A ready-made `serve` leaves half-sent requests and silent connections open for ever, so this one is our own:
//!
//! - at `connections_max` a new connection takes the place of the one that is silent for longest (see
//!   [`super::slots`]); if none is, new ones wait in the system's backlog until one ends;
//! - a connection whose first request has not begun within `header_timeout` is closed, whatever was sent on it;
//! - a request's head has `header_timeout`, on HTTP/1 the pause between two requests counts to it;
//! - a connection without a new request for [`IDLE_MAX`] is told to finish (requests in flight and live tails go on);
//! - a client that does not take its answer is cut off (see [`super::stream`]); over HTTP/2 that answer alone, if what
//!   else there is can go on (see [`super::answer`]).

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::future::RouteFuture;
use futures_util::TryFutureExt as _;
use futures_util::future::{Either, MapOk};
use http::{HeaderValue, Request, Version, header};
use hyper::body::Incoming;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep};

use super::answer::{Answer, Answers, given};
use super::door::{Door, Guest};
use super::slots::Life;
use super::stream::ClientStream;
use crate::collect;
use crate::config::Settings;
use crate::error::ApiError;
use crate::metrics::Metrics;
use crate::shutdown::Shutdown;
use crate::state::AppState;

/// A connection without a new request for this long is told to finish.
const IDLE_MAX: Duration = Duration::from_secs(60);
/// Requests at once on one HTTP/2 connection.
const STREAMS_MAX: u32 = 128;
/// Streams that a client may open and reset before we look at them (rapid reset).
const RESETS_MAX: usize = 20;
/// A silent HTTP/2 peer is asked for a sign of life this often.
const PING_EVERY: Duration = Duration::from_secs(20);

/// Accepts and serves connections until `shutdown`; then finishes what is in flight, for at most `shutdown_timeout`
/// or until `hurry` is done.
pub(crate) async fn serve(
    listener: TcpListener,
    router: Router,
    state: &AppState,
    shutdown: Shutdown,
    hurry: impl Future<Output = ()>,
) {
    let (settings, metrics) = (&state.settings, &state.metrics);
    let server = Arc::new(Server {
        builder: builder(settings, metrics),
        header_timeout: settings.header_timeout,
        state: state.clone(),
        metrics: metrics.clone(),
        shutdown: shutdown.clone(),
    });
    let mut door = Door::new(listener, settings, metrics.clone());
    let mut stopping = pin!(shutdown.wait());
    loop {
        let guest = tokio::select! {
            biased;
            () = &mut stopping => break,
            guest = door.next() => guest,
        };
        let Guest { tcp, peer, life, room } = guest;
        let (server, router) = (Arc::clone(&server), router.clone());
        door.open.spawn(async move {
            server.connection(tcp, peer, router, life).await;
            drop(room);
        });
    }
    let mut connections = door.close();
    let finished = async { while connections.join_next().await.is_some() {} };
    tokio::select! {
        () = finished => tracing::info!("all requests are finished"),
        () = sleep(settings.shutdown_timeout) => tracing::warn!("requests still in flight are cut off: shutdown_timeout is over"),
        () = hurry => tracing::warn!("requests still in flight are cut off: a second signal came"),
    }
}

fn builder(settings: &Settings, metrics: &Metrics) -> Builder<Answers> {
    let mut builder = Builder::new(Answers::new(settings.answer_idle_timeout, metrics.clone()));
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(settings.header_timeout)
        .max_headers(settings.headers_max)
        .max_buf_size(settings.header_bytes_max);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(u32::try_from(settings.header_bytes_max).unwrap_or(u32::MAX))
        .max_pending_accept_reset_streams(RESETS_MAX)
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_EVERY);
    builder
}

/// What all connections share.
struct Server {
    builder: Builder<Answers>,
    header_timeout: Duration,
    state: AppState,
    metrics: Metrics,
    shutdown: Shutdown,
}

impl Server {
    /// Serves one connection to its end.
    async fn connection(&self, tcp: TcpStream, peer: SocketAddr, router: Router, life: Arc<Life>) {
        let _open = self.metrics.connection_opened();
        if let Err(error) = tcp.set_nodelay(true) {
            tracing::debug!(%error, "no TCP_NODELAY");
        }
        let service = Requests { state: self.state.clone(), router, life: Arc::clone(&life) };
        let idle_max = self.state.settings.answer_idle_timeout;
        let io = TokioIo::new(ClientStream::new(tcp, idle_max, self.metrics.clone()));
        let mut connection = pin!(self.builder.serve_connection(io, service));
        let mut stopping = pin!(self.shutdown.wait());
        let mut is_told = false;
        let mut watch = pin!(sleep(self.header_timeout));
        let mut begun_before = 0;
        loop {
            tokio::select! {
                biased;
                ended = connection.as_mut() => {
                    if let Err(error) = ended {
                        tracing::debug!(%error, %peer, "connection ended");
                    }
                    return;
                }
                () = &mut stopping, if !is_told => {
                    is_told = true;
                    connection.as_mut().graceful_shutdown();
                }
                () = life.is_to_leave() => {
                    self.metrics.connections_silent.inc();
                    return;
                }
                () = &mut watch => {
                    let begun = life.begun();
                    if begun == 0 {
                        self.metrics.connections_silent.inc();
                        return;
                    }
                    if begun == begun_before {
                        connection.as_mut().graceful_shutdown();
                    }
                    begun_before = begun;
                    watch.as_mut().reset(Instant::now() + IDLE_MAX);
                }
            }
        }
    }
}

/// hyper's view of the service: counts the requests of one connection. The hot route does not go through the router: no
/// path match and no extensions for it.
struct Requests {
    state: AppState,
    router: Router,
    life: Arc<Life>,
}

impl hyper::service::Service<Request<Incoming>> for Requests {
    type Response = Answer;
    type Error = Infallible;
    type Future = Either<
        MapOk<RouteFuture<Infallible>, fn(Response) -> Answer>,
        Pin<Box<dyn Future<Output = Result<Answer, Infallible>> + Send>>,
    >;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        self.life.begin();
        let give = given(request.version());
        if !names_one_host(&request) {
            self.state.metrics.answered("none", 400);
            return Either::Right(Box::pin(async move { Ok(give(no_host())) }));
        }
        let request = request.map(Body::new);
        if collect::is_events(&request) {
            let state = self.state.clone();
            return Either::Right(Box::pin(async move { Ok(give(collect::events(State(state), request).await)) }));
        }
        let answer: RouteFuture<Infallible> = tower::Service::call(&mut self.router.clone(), request);
        Either::Left(answer.map_ok(give))
    }
}

/// True if the request says once for whom it is, as RFC 9112 wants it: one that does not may be meant for somebody else.
/// Later versions and HTTP/1.0 have other rules.
fn names_one_host<B>(request: &Request<B>) -> bool {
    request.version() != Version::HTTP_11 || request.headers().get_all(header::HOST).iter().count() == 1
}

/// The answer to the others, and the end of their connection.
fn no_host() -> Response {
    let detail = "an HTTP/1.1 request needs one Host header: send it once";
    let mut response = ApiError::invalid_parameter("Host", detail).into_response();
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}
