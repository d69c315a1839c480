//! The load: connections that send requests and wait for the whole answer.
//!
//! In closed loop each connection sends its next request when the last answer is there ([`run`]); paced, requests have
//! times at which they are to be sent ([`run_paced`]). Written on the bare socket, so that the client costs as little as
//! a client can on a machine it shares with the server.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::Error;

/// What one run measured.
pub(crate) struct Measured {
    pub(crate) requests: usize,
    pub(crate) seconds: f64,
    /// Sorted, in microseconds.
    pub(crate) latencies: Vec<u64>,
}

impl Measured {
    pub(crate) fn per_second(&self) -> f64 {
        self.requests as f64 / self.seconds
    }

    pub(crate) fn percentile_ms(&self, percent: usize) -> f64 {
        let at = (self.latencies.len() * percent / 100).min(self.latencies.len().saturating_sub(1));
        self.latencies.get(at).map_or(0.0, |micros| *micros as f64 / 1000.0)
    }
}

/// Whole HTTP/1.1 requests, by number.
pub(crate) trait Requests: Send + Sync + 'static {
    /// The request of this number; `None` when there are no more.
    fn get(&self, number: usize) -> Option<Cow<'_, [u8]>>;
}

/// Requests that were made before.
pub(crate) struct Plan {
    pub(crate) requests: Vec<Vec<u8>>,
    /// True: the requests are sent over and over until the time is up. False: each is sent once.
    pub(crate) repeat: bool,
}

impl Requests for Plan {
    fn get(&self, number: usize) -> Option<Cow<'_, [u8]>> {
        let number = if self.repeat { number % self.requests.len() } else { number };
        self.requests.get(number).map(|request| Cow::Borrowed(request.as_slice()))
    }
}

/// A whole request to `/v1/events`.
pub(crate) fn request(token: &str, content_type: &str, body: &str) -> Vec<u8> {
    request_to("/v1/events", token, content_type, body)
}

/// A whole request.
pub(crate) fn request_to(path: &str, token: &str, content_type: &str, body: &str) -> Vec<u8> {
    format!(
        "POST {path} HTTP/1.1\r\nHost: bench\r\nAuthorization: Token {token}\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// In closed loop over `connections` connections for at most `limit`. Any answer but 200 and 201 is an error.
pub(crate) fn run(
    address: SocketAddr,
    requests: impl Requests,
    connections: usize,
    limit: Duration,
) -> Result<Measured, Error> {
    drive(address, requests, connections, limit, None)
}

/// At `rate` requests a second, whatever the server does: a request's time counts from when it was to be sent, so that
/// a slow answer is not hidden by sending less. Times are rounded up to the timer's millisecond, which counts too.
pub(crate) fn run_paced(
    address: SocketAddr,
    requests: impl Requests,
    connections: usize,
    limit: Duration,
    rate: f64,
) -> Result<Measured, Error> {
    drive(address, requests, connections, limit, Some(rate))
}

/// What the connections share.
struct Load<R> {
    address: SocketAddr,
    requests: R,
    next: AtomicUsize,
    start: Instant,
    deadline: Instant,
    rate: Option<f64>,
}

impl<R: Requests> Load<R> {
    /// When the request of this number is to be sent; `None` in closed loop.
    fn due(&self, number: usize) -> Option<Instant> {
        self.rate.map(|rate| self.start + Duration::from_secs_f64(number as f64 / rate))
    }
}

fn drive(
    address: SocketAddr,
    requests: impl Requests,
    connections: usize,
    limit: Duration,
    rate: Option<f64>,
) -> Result<Measured, Error> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let start = Instant::now();
        let load = Load { address, requests, next: AtomicUsize::new(0), start, deadline: start + limit, rate };
        let load = Arc::new(load);
        let tasks: Vec<_> = (0..connections).map(|_| tokio::spawn(connection(Arc::clone(&load)))).collect();
        let mut latencies = Vec::new();
        for task in tasks {
            latencies.extend(task.await??);
        }
        let seconds = start.elapsed().as_secs_f64();
        latencies.sort_unstable();
        Ok(Measured { requests: latencies.len(), seconds, latencies })
    })
}

async fn connection(load: Arc<Load<impl Requests>>) -> Result<Vec<u64>, Error> {
    let mut stream = None;
    let mut latencies = Vec::new();
    let mut buffer = vec![0; 128 * 1024];
    loop {
        let number = load.next.fetch_add(1, Ordering::Relaxed);
        let begin = load.due(number).unwrap_or_else(Instant::now);
        let Some(request) = load.requests.get(number) else { return Ok(latencies) };
        if begin >= load.deadline {
            return Ok(latencies);
        }
        if load.rate.is_some() {
            tokio::time::sleep_until(begin.into()).await;
        }
        let mut open = match stream.take() {
            Some(open) => open,
            None => connect(load.address).await?,
        };
        open.write_all(&request).await?;
        if read_answer(&mut open, &mut buffer).await? {
            stream = Some(open);
        }
        latencies.push(u64::try_from(begin.elapsed().as_micros())?);
    }
}

async fn connect(address: SocketAddr) -> Result<TcpStream, Error> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Reads a whole answer. True if the connection stays open.
async fn read_answer(stream: &mut TcpStream, buffer: &mut [u8]) -> Result<bool, Error> {
    let mut filled = 0;
    let head = loop {
        let read = stream.read(&mut buffer[filled..]).await?;
        if read == 0 {
            return Err("the server closed the connection".into());
        }
        filled += read;
        if let Some(end) = buffer[..filled].windows(4).position(|window| window == b"\r\n\r\n") {
            break end + 4;
        }
    };
    let text = std::str::from_utf8(&buffer[..head])?;
    if !text.starts_with("HTTP/1.1 200") && !text.starts_with("HTTP/1.1 201") {
        return Err(format!("unexpected answer: {}", String::from_utf8_lossy(&buffer[..filled])).into());
    }
    let field = |wanted: &str| {
        let mut fields = text.lines().filter_map(|line| line.split_once(':'));
        fields.find(|(name, _)| name.eq_ignore_ascii_case(wanted)).map(|(_, value)| value.trim())
    };
    let length: usize = field("content-length").ok_or("an answer without a length")?.parse()?;
    let stays = !field("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
    let mut left = (head + length).saturating_sub(filled);
    while left > 0 {
        let most = left.min(buffer.len());
        let read = stream.read(&mut buffer[..most]).await?;
        if read == 0 {
            return Err("the server closed the connection inside an answer".into());
        }
        left -= read;
    }
    Ok(stays)
}
