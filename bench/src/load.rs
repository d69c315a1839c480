//! The load: connections in closed loop, each sends its next request when the last answer is whole.
//!
//! Written on the bare socket, so that the client costs as little as a client can on a machine it shares with the server.

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

/// What to send: whole HTTP/1.1 requests.
pub(crate) struct Plan {
    pub(crate) requests: Vec<Vec<u8>>,
    /// True: the requests are sent over and over until the time is up. False: each is sent once.
    pub(crate) repeat: bool,
}

/// A whole request with a JSON body.
pub(crate) fn request(token: &str, content_type: &str, body: &str) -> Vec<u8> {
    format!(
        "POST /v1/events HTTP/1.1\r\nHost: bench\r\nAuthorization: Token {token}\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// Runs a plan over `connections` connections for at most `limit`. Any answer but 200 is an error.
pub(crate) fn run(address: SocketAddr, plan: Plan, connections: usize, limit: Duration) -> Result<Measured, Error> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let plan = Arc::new(plan);
        let next = Arc::new(AtomicUsize::new(0));
        let start = Instant::now();
        let tasks: Vec<_> = (0..connections)
            .map(|_| tokio::spawn(connection(address, Arc::clone(&plan), Arc::clone(&next), start + limit)))
            .collect();
        let mut latencies = Vec::new();
        for task in tasks {
            latencies.extend(task.await??);
        }
        let seconds = start.elapsed().as_secs_f64();
        latencies.sort_unstable();
        Ok(Measured { requests: latencies.len(), seconds, latencies })
    })
}

async fn connection(
    address: SocketAddr,
    plan: Arc<Plan>,
    next: Arc<AtomicUsize>,
    deadline: Instant,
) -> Result<Vec<u64>, Error> {
    let mut stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let mut latencies = Vec::new();
    let mut buffer = vec![0; 128 * 1024];
    loop {
        let number = next.fetch_add(1, Ordering::Relaxed);
        let is_over = Instant::now() >= deadline || !plan.repeat && number >= plan.requests.len();
        if is_over {
            return Ok(latencies);
        }
        let sent = Instant::now();
        stream.write_all(&plan.requests[number % plan.requests.len()]).await?;
        read_answer(&mut stream, &mut buffer).await?;
        latencies.push(u64::try_from(sent.elapsed().as_micros())?);
    }
}

async fn read_answer(stream: &mut TcpStream, buffer: &mut [u8]) -> Result<(), Error> {
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
    if !text.starts_with("HTTP/1.1 200") {
        return Err(format!("unexpected answer: {}", String::from_utf8_lossy(&buffer[..filled])).into());
    }
    let length = text
        .lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .ok_or("an answer without a length")?;
    let mut left = (head + length.1.trim().parse::<usize>()?).saturating_sub(filled);
    while left > 0 {
        let most = left.min(buffer.len());
        let read = stream.read(&mut buffer[..most]).await?;
        if read == 0 {
            return Err("the server closed the connection inside an answer".into());
        }
        left -= read;
    }
    Ok(())
}
