//! Good clients while others misbehave: how long they wait, how much memory it takes, how soon it is over.
//!
//! Good clients send single events at a fixed rate over connections they keep; a request's time counts from when it was
//! to be sent. Beside them, in turn: nobody, sockets that are opened and left alone, decompression bombs, and more load
//! than the server can take. All of it shares this machine's cores with the server; those who misbehave have machines of
//! their own in the world, so here their threads get what the server and the good clients leave of the cores.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{scope, sleep};
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setpriority_process, setrlimit};
use rustix::thread::gettid;

use crate::load::{Measured, Requests as _, request};
use crate::options::Options;
use crate::report::{Goal, Report};
use crate::server::Server;
use crate::traffic::{Fresh, Numbers, batches, event};
use crate::{Error, machine};

/// Good clients, and how many requests a second all of them send.
const CLIENTS: usize = 8;
const RATE: f64 = 200.0;
const IDLE: usize = 10_000;
const BOMBS: usize = 200;
/// Connections that send batches of so many events, as fast as they are answered.
const OVERLOAD: usize = 256;
const BATCH_EVENTS: usize = 500;
/// So many answers in a row, as quick as before, and it is over.
const CALM_ANSWERS: usize = 50;
/// The lowest priority there is.
const ELSEWHERE_NICENESS: i32 = 19;
const PATIENCE: Duration = Duration::from_secs(60);

/// Runs everything and prints it.
pub(crate) fn run(arguments: &[&str]) -> Result<(), Error> {
    let options = Options::parse(arguments)?;
    let span = Duration::from_secs(options.seconds);
    // The server inherits it.
    raise_file_limit()?;
    println!("machine: {}", machine::line());
    println!("command: cargo xtask bench abuse {}", arguments.join(" "));
    println!("{CLIENTS} good clients, {RATE} single events a second, {} seconds each\n", options.seconds);
    let server = Server::product(&options.folder)?;
    let mut report = Report::default();
    good(&server, 0, Duration::from_secs(1))?;
    let quiet = good(&server, 1, span)?;
    let p99 = quiet.p99();
    report.add("quiet: p99", Some(p99), "ms", Goal::None);
    report.add("quiet: peak memory", Some(server.peak_mib()), "MiB", Goal::None);
    idle(&server, span, p99, &mut report)?;
    bombs(&server, span, p99, &mut report)?;
    overload(&server, span, p99, &mut report)?;
    report.print();
    Ok(())
}

/// The calling thread takes no core from whom it bothers.
fn be_elsewhere() {
    let _ = setpriority_process(Some(gettid()), ELSEWHERE_NICENESS);
}

/// Opens as many files as the system allows: the usual limit is a tenth of the sockets here.
fn raise_file_limit() -> Result<(), Error> {
    let most = getrlimit(Resource::Nofile).maximum;
    Ok(setrlimit(Resource::Nofile, Rlimit { current: most, maximum: most })?)
}

fn idle(server: &Server, span: Duration, p99: f64, report: &mut Report) -> Result<(), Error> {
    let mut sockets = Vec::new();
    while sockets.len() < IDLE {
        match TcpStream::connect(server.address) {
            Ok(socket) => sockets.push(socket),
            Err(error) => {
                report.skip("idle sockets", &format!("only {} could be opened: {error}", sockets.len()));
                return Ok(());
            }
        }
    }
    let name = format!("{} idle sockets", sockets.len());
    good(server, 2, span)?.report(&name, p99, server, report);
    Ok(())
}

fn bombs(server: &Server, span: Duration, p99: f64, report: &mut Report) -> Result<(), Error> {
    let bomb = bomb(&server.token);
    let (is_over, refused) = (AtomicBool::new(false), AtomicUsize::new(0));
    let measured = scope(|scope| {
        for _ in 0..BOMBS {
            scope.spawn(|| {
                be_elsewhere();
                while !is_over.load(Ordering::Relaxed) {
                    if matches!(once(server.address, &bomb), Ok(413 | 503)) {
                        refused.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
        let measured = good(server, 3, span);
        is_over.store(true, Ordering::Relaxed);
        measured
    })?;
    println!("bombs refused: {}", refused.into_inner());
    measured.report(&format!("{BOMBS} bombs at a time"), p99, server, report);
    Ok(())
}

fn overload(server: &Server, span: Duration, p99: f64, report: &mut Report) -> Result<(), Error> {
    let is_over = AtomicBool::new(false);
    let [next, taken, refused] = [(); 3].map(|()| AtomicUsize::new(0));
    let bodies = batches(9, 64, BATCH_EVENTS);
    let bodies = bodies.iter().map(|body| request(&server.token, "application/x-ndjson", body)).collect();
    let fresh = Fresh::new(bodies, 0..usize::MAX);
    let measured = scope(|scope| {
        for _ in 0..OVERLOAD {
            scope.spawn(|| {
                be_elsewhere();
                while !is_over.load(Ordering::Relaxed) {
                    let Some(whole) = fresh.get(next.fetch_add(1, Ordering::Relaxed)) else { break };
                    match once(server.address, &whole) {
                        Ok(200) => taken.fetch_add(1, Ordering::Relaxed),
                        _ => refused.fetch_add(1, Ordering::Relaxed),
                    };
                }
            });
        }
        let measured = good(server, 4, span);
        is_over.store(true, Ordering::Relaxed);
        measured
    });
    let over = Instant::now();
    let recovery = recover(server, p99, over)?;
    println!("batches of {OVERLOAD} clients: {} taken, {} refused", taken.into_inner(), refused.into_inner());
    measured?.report(&format!("overload by {OVERLOAD} clients"), p99, server, report);
    report.add("after overload: as quick as before within", Some(recovery), "s", Goal::AtMost(10.0));
    Ok(())
}

/// Seconds until the answers are as quick again as they were: within twice the quiet p99, or 10 ms.
fn recover(server: &Server, p99: f64, over: Instant) -> Result<f64, Error> {
    let limit = Duration::from_secs_f64((2.0 * p99).max(10.0) / 1_000.0);
    let (mut calm, mut since, mut numbers) = (0, over.elapsed(), Numbers::new(77));
    while calm < CALM_ANSWERS {
        let whole = request(&server.token, "application/json", &event(&mut numbers, "recovery"));
        let begun = Instant::now();
        let status = once(server.address, &whole)?;
        if status == 200 && begun.elapsed() <= limit {
            calm += 1;
        } else {
            (calm, since) = (0, over.elapsed());
        }
        if over.elapsed() > PATIENCE {
            return Err("the server has not recovered within a minute".into());
        }
    }
    Ok(since.as_secs_f64())
}

/// What good clients met.
struct Good {
    answered: Measured,
    /// Answers other than 200.
    refused: usize,
    /// Connections that were closed on them.
    closed: usize,
}

impl Good {
    fn p99(&self) -> f64 {
        self.answered.percentile_ms(99)
    }

    fn report(&self, name: &str, quiet: f64, server: &Server, report: &mut Report) {
        println!("{name}: {} answered, {} refused, {} closed", self.answered.requests, self.refused, self.closed);
        report.add(&format!("{name}: p99"), Some(self.p99()), "ms", Goal::None);
        report.add(&format!("{name}: p99, to quiet"), Some(self.p99() / quiet), "", Goal::AtMost(2.0));
        let lost = (self.refused + self.closed) as f64 / self.answered.requests.max(1) as f64 * 100.0;
        report.add(&format!("{name}: good requests refused or closed"), Some(lost), "%", Goal::None);
        report.add(&format!("{name}: peak memory"), Some(server.peak_mib()), "MiB", Goal::AtMost(512.0));
    }
}

/// Sends single events at the fixed rate for so long.
fn good(server: &Server, seed: u64, span: Duration) -> Result<Good, Error> {
    let start = Instant::now();
    let clients: Vec<_> = scope(|scope| {
        let all: Vec<_> =
            (0..CLIENTS).map(|client| scope.spawn(move || good_client(server, seed, client, start, span))).collect();
        all.into_iter().map(std::thread::ScopedJoinHandle::join).collect()
    });
    let mut good = Good {
        answered: Measured { requests: 0, seconds: span.as_secs_f64(), latencies: Vec::new() },
        refused: 0,
        closed: 0,
    };
    for client in clients {
        let (latencies, refused, closed) = client.map_err(|_| "a good client panicked")??;
        good.answered.latencies.extend(latencies);
        good.refused += refused;
        good.closed += closed;
    }
    good.answered.latencies.sort_unstable();
    good.answered.requests = good.answered.latencies.len();
    Ok(good)
}

/// One of them: its times in microseconds, and how often it was refused or closed.
fn good_client(
    server: &Server,
    seed: u64,
    client: usize,
    start: Instant,
    span: Duration,
) -> Result<(Vec<u64>, usize, usize), Error> {
    let mut numbers = Numbers::new(seed * 1_000 + client as u64 + 1);
    let (mut latencies, mut refused, mut closed) = (Vec::new(), 0, 0);
    let mut stream = connect(server.address)?;
    for number in 0.. {
        let due = start + Duration::from_secs_f64((number * CLIENTS + client) as f64 / RATE);
        if due >= start + span {
            break;
        }
        sleep(due.saturating_duration_since(Instant::now()));
        let session = numbers.uuid();
        let whole = request(&server.token, "application/json", &event(&mut numbers, &session));
        match exchange(&mut stream, &whole) {
            Ok(200) => latencies.push(u64::try_from(due.elapsed().as_micros())?),
            Ok(_) => refused += 1,
            Err(_) => {
                closed += 1;
                stream = connect(server.address)?;
            }
        }
    }
    Ok((latencies, refused, closed))
}

fn connect(address: SocketAddr) -> std::io::Result<TcpStream> {
    let stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// One request on a connection of its own; the status.
fn once(address: SocketAddr, whole: &[u8]) -> std::io::Result<u16> {
    exchange(&mut connect(address)?, whole)
}

/// One request; the status, after the whole answer has come.
fn exchange(stream: &mut TcpStream, whole: &[u8]) -> std::io::Result<u16> {
    // A server that refuses early may close before all is sent: its answer counts.
    let sent = stream.write_all(whole);
    let (mut answer, mut buffer) = (Vec::new(), [0; 16 * 1024]);
    loop {
        let read = stream.read(&mut buffer)?;
        if read == 0 {
            return Err(sent.err().unwrap_or_else(|| ErrorKind::UnexpectedEof.into()));
        }
        answer.extend_from_slice(&buffer[..read]);
        if let Some(status) = whole_answer(&answer) {
            return Ok(status);
        }
    }
}

/// The status, if the head and as many bytes as it says are there.
fn whole_answer(answer: &[u8]) -> Option<u16> {
    let head = answer.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let text = std::str::from_utf8(&answer[..head]).ok()?;
    let mut fields = text.lines().filter_map(|line| line.split_once(':'));
    let (_, length) = fields.find(|(name, _)| name.eq_ignore_ascii_case("content-length"))?;
    let length: usize = length.trim().parse().ok()?;
    (answer.len() >= head + length).then(|| text.split(' ').nth(1)?.parse().ok()).flatten()
}

/// 2 KB of zstd that become 64 MiB: blocks of one repeated byte (RFC 8878), 128 KiB each.
fn bomb(token: &str) -> Vec<u8> {
    const BLOCKS: u32 = 512;
    // The magic number, no checksum and no size, a window of 8 MiB.
    let mut body = vec![0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x68];
    for block in 0..BLOCKS {
        let header = ((128 * 1024) << 3) | (1 << 1) | u32::from(block + 1 == BLOCKS);
        body.extend_from_slice(&header.to_le_bytes()[..3]);
        body.push(0);
    }
    let head = format!(
        "POST /v1/events HTTP/1.1\r\nHost: bench\r\nAuthorization: Token {token}\r\nContent-Encoding: zstd\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    [head.into_bytes(), body].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_whole_when_its_length_says_so() {
        let answer = b"HTTP/1.1 413 x\r\nContent-Length: 2\r\n\r\nok";
        assert_eq!(whole_answer(answer), Some(413));
        assert_eq!(whole_answer(&answer[..answer.len() - 1]), None);
        assert_eq!(whole_answer(b"HTTP/1.1 200 OK\r\n"), None);
    }

    #[test]
    fn a_bomb_says_its_own_length() {
        let bomb = bomb("t");
        let head = bomb.windows(4).position(|window| window == b"\r\n\r\n").unwrap() + 4;
        let text = std::str::from_utf8(&bomb[..head]).unwrap();
        assert!(text.contains(&format!("Content-Length: {}\r\n", bomb.len() - head)));
        assert_eq!(bomb.len() - head, 6 + 512 * 4);
    }
}
