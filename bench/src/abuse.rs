//! Good clients while others misbehave: how long they wait, how much memory it takes, how soon it is over.
//!
//! Good clients send single events at a fixed rate over connections they keep; a request's time counts from when it was
//! to be sent. Beside them, in turn: nobody, sockets that are opened and left alone, decompression bombs, and ten times
//! overload. All of it shares this machine's cores with the server; those who misbehave have machines of their own in
//! the world, so here their threads get what the server and the good clients leave of the cores.
//!
//! Ten times overload is ten times as many requests in flight as saturate the server: [`SATURATING`] connections that
//! send batches as fast as they are answered give its top rate (what twice as many bring is measured beside it), and ten
//! times as many clients are the overload. Ten times that rate would be more bytes than the machine could send, let
//! alone take; how much was offered, taken and refused is told.
//!
//! In the end everything that was answered with 200 must be there, once: else the bench fails.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{scope, sleep};
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setpriority_process, setrlimit};
use rustix::thread::gettid;
use serde_json::json;

use crate::client::{Client, Request};
use crate::load::{self, Measured, Requests as _, request};
use crate::options::Options;
use crate::report::{Goal, Report};
use crate::server::Server;
use crate::traffic::{Fresh, Numbers, batches, event};
use crate::{Error, machine};

/// Good clients, and how many requests a second all of them send.
const CLIENTS: usize = 8;
const RATE: f64 = 200.0;
const IDLE: usize = 10_000;
/// How long they have been left alone when the good clients come, and have been closed when the next part begins,
/// which is not to wait for ten thousand ends.
const IDLE_TIME: Duration = Duration::from_secs(1);
const BOMBS: usize = 200;
/// Connections that send batches of so many events, as fast as they are answered: the server is busy all the time.
const SATURATING: usize = 32;
const BATCH_EVENTS: usize = 500;
/// How long the top rate is measured.
const TOP_TIME: Duration = Duration::from_secs(2);
/// More batches than are sent in that time, so that none is sent twice.
const BATCHES_APART: usize = 1_000_000;
/// Clients that send such batches: ten times overload.
const OVERLOAD: usize = 10 * SATURATING;
/// Counting all events in the end may take its time and room. Nothing else is asked by SQL.
const FLAGS: [&str; 6] = ["--sql-time-max", "10m", "--sql-memory-bytes-max", "1GiB", "--sql-spill-bytes-max", "16GiB"];
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
    let (mut report, mut sent) = (Report::default(), Sent::default());
    let top = top_rate(&options, &mut report)?;
    let server = Server::product_with(&options.folder, &FLAGS)?;
    sent.add(&good(&server, 0, Duration::from_secs(1))?);
    let quiet = good(&server, 1, span)?;
    sent.add(&quiet);
    let usual = Usual { server: &server, span, p99: quiet.p99() };
    report.add("quiet: p99", Some(usual.p99), "ms", Goal::None);
    report.add("quiet: peak memory", Some(server.peak_mib()), "MiB", Goal::None);
    idle(&usual, &mut sent, &mut report)?;
    bombs(&usual, &mut sent, &mut report)?;
    let fresh = overloading(&server);
    let taken = overload(&usual, &fresh, top, &mut sent, &mut report)?;
    let checked = check(&server, &fresh, &taken, sent);
    report.print();
    checked
}

/// What every part is held against.
struct Usual<'a> {
    server: &'a Server,
    /// How long a part takes.
    span: Duration,
    /// Of the good clients alone, in milliseconds.
    p99: f64,
}

/// Events, by their answers.
#[derive(Clone, Copy, Default)]
struct Sent {
    /// Answered with 200: they must be there.
    acknowledged: usize,
    /// Answered otherwise or not at all: they may be there.
    unsure: usize,
}

impl Sent {
    fn add(&mut self, good: &Good) {
        self.acknowledged += good.answered.requests;
        self.unsure += good.refused + good.closed;
    }
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

fn idle(usual: &Usual<'_>, sent: &mut Sent, report: &mut Report) -> Result<(), Error> {
    let mut sockets = Vec::new();
    while sockets.len() < IDLE {
        match TcpStream::connect(usual.server.address) {
            Ok(socket) => sockets.push(socket),
            Err(error) => {
                report.skip("idle sockets", &format!("only {} could be opened: {error}", sockets.len()));
                return Ok(());
            }
        }
    }
    // The sockets are idle by now. Before that whoever comes when all places are taken waits for one of them to be so.
    sleep(IDLE_TIME);
    let measured = good(usual.server, 2, usual.span)?;
    sent.add(&measured);
    measured.report(&format!("{} idle sockets", sockets.len()), usual, report);
    drop(sockets);
    sleep(IDLE_TIME);
    Ok(())
}

fn bombs(usual: &Usual<'_>, sent: &mut Sent, report: &mut Report) -> Result<(), Error> {
    let server = usual.server;
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
        let measured = good(server, 3, usual.span);
        is_over.store(true, Ordering::Relaxed);
        measured
    })?;
    println!("bombs refused: {}", refused.into_inner());
    sent.add(&measured);
    measured.report(&format!("{BOMBS} bombs at a time"), usual, report);
    Ok(())
}

/// Batches without an end.
fn overloading(server: &Server) -> Fresh {
    let bodies = batches(9, 64, BATCH_EVENTS);
    let requests = bodies.iter().map(|body| request(&server.token, "application/x-ndjson", body)).collect();
    Fresh::new(requests, 0..usize::MAX)
}

/// Batches a second that are taken when there are always more. On a server of its own, for what is remembered of them
/// would count as memory of the other one.
fn top_rate(options: &Options, report: &mut Report) -> Result<f64, Error> {
    let server = Server::product(&options.folder)?;
    let fresh = overloading(&server);
    let rate = |connections, numbers| {
        let measured = load::run(server.address, fresh.numbered(numbers), connections, TOP_TIME)?;
        Ok::<_, Error>(measured.per_second())
    };
    let top = rate(SATURATING, 0..BATCHES_APART)?;
    let twice = rate(2 * SATURATING, BATCHES_APART..usize::MAX)?;
    report.add(&format!("top rate: batches of {BATCH_EVENTS}, {SATURATING} connections"), Some(top), "/s", Goal::None);
    report.add("top rate: with twice as many connections, to it", Some(twice / top), "", Goal::None);
    Ok(top)
}

/// What came of the overload, of one client or all of them.
#[derive(Default)]
struct Offered {
    /// The numbers of the batches that were answered with 200.
    taken: Vec<usize>,
    /// Other answers.
    refused: usize,
    /// Requests without an answer.
    unanswered: usize,
    /// How long a request was in flight, all of them together.
    in_flight: Duration,
}

impl Offered {
    fn add(&mut self, other: Self) {
        self.taken.extend(other.taken);
        self.refused += other.refused;
        self.unanswered += other.unanswered;
        self.in_flight += other.in_flight;
    }

    /// Tells it, in rates over so many seconds.
    fn report(&self, top: f64, seconds: f64, report: &mut Report) {
        let rate = |batches: usize| batches as f64 / seconds;
        let (taken, refused, unanswered) = (self.taken.len(), self.refused, self.unanswered);
        let offered = rate(taken + refused + unanswered);
        let in_flight = self.in_flight.as_secs_f64() / seconds;
        println!(
            "overload by {OVERLOAD} clients: {in_flight:.0} requests in flight; of a top rate of {top:.0} batches/s \
             {offered:.0} were offered, {:.0} taken, {:.0} refused ({taken}, {refused}, and {unanswered} not answered)",
            rate(taken),
            rate(refused)
        );
        let in_flight = in_flight / SATURATING as f64;
        report.add("overload: requests in flight, to what saturates", Some(in_flight), "", Goal::None);
        report.add("overload: batches offered", Some(offered), "/s", Goal::None);
        report.add("overload: batches taken", Some(rate(taken)), "/s", Goal::None);
        report.add("overload: batches refused", Some(rate(refused)), "/s", Goal::None);
    }
}

/// The numbers of the batches that were taken.
fn overload(
    usual: &Usual<'_>,
    fresh: &Fresh,
    top: f64,
    sent: &mut Sent,
    report: &mut Report,
) -> Result<Vec<usize>, Error> {
    let server = usual.server;
    let (is_over, next, begun) = (AtomicBool::new(false), AtomicUsize::new(0), Instant::now());
    let (measured, offered) = scope(|scope| {
        let mut clients = Vec::new();
        for _ in 0..OVERLOAD {
            clients.push(scope.spawn(|| offer(server.address, fresh, &next, &is_over)));
        }
        let measured = good(server, 4, usual.span);
        is_over.store(true, Ordering::Relaxed);
        let mut offered = Offered::default();
        for client in clients {
            offered.add(client.join().map_err(|_| "a client of the overload panicked")?);
        }
        Ok::<_, Error>((measured?, offered))
    })?;
    let over = Instant::now();
    let seconds = over.duration_since(begun).as_secs_f64();
    let recovery = recover(usual, over, sent)?;
    offered.report(top, seconds, report);
    sent.add(&measured);
    sent.acknowledged += offered.taken.len() * BATCH_EVENTS;
    sent.unsure += (offered.refused + offered.unanswered) * BATCH_EVENTS;
    measured.report(&format!("ten times overload, {OVERLOAD} clients"), usual, report);
    report.add("after overload: as quick as before within", Some(recovery), "s", Goal::AtMost(10.0));
    Ok(offered.taken)
}

/// One client: a batch after the other.
fn offer(address: SocketAddr, fresh: &Fresh, next: &AtomicUsize, is_over: &AtomicBool) -> Offered {
    be_elsewhere();
    let mut offered = Offered::default();
    while !is_over.load(Ordering::Relaxed) {
        let number = next.fetch_add(1, Ordering::Relaxed);
        let Some(whole) = fresh.get(number) else { break };
        let begun = Instant::now();
        match once(address, &whole) {
            Ok(200) => offered.taken.push(number),
            Ok(_) => offered.refused += 1,
            Err(_) => offered.unanswered += 1,
        }
        offered.in_flight += begun.elapsed();
    }
    offered
}

/// Seconds until the answers are as quick again as they were: within twice the quiet p99, or 10 ms.
fn recover(usual: &Usual<'_>, over: Instant, sent: &mut Sent) -> Result<f64, Error> {
    let server = usual.server;
    let limit = Duration::from_secs_f64((2.0 * usual.p99).max(10.0) / 1_000.0);
    let (mut calm, mut since, mut numbers) = (0, over.elapsed(), Numbers::new(77));
    while calm < CALM_ANSWERS {
        let whole = request(&server.token, "application/json", &event(&mut numbers, "recovery"));
        let begun = Instant::now();
        let is_taken = once(server.address, &whole)? == 200;
        let took = begun.elapsed();
        sent.acknowledged += usize::from(is_taken);
        sent.unsure += usize::from(!is_taken);
        if is_taken && took <= limit {
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

/// An error unless all that was acknowledged is there, each event once, and nothing that was not sent.
fn check(server: &Server, fresh: &Fresh, taken: &[usize], sent: Sent) -> Result<(), Error> {
    // An answer with 200 may still tell of events that were not stored: here no event is sent twice or wrong.
    let (received, stored) = (server.metric("eye_events_received_total")?, server.metric("eye_events_stored_total")?);
    if received != stored {
        return Err(format!("of {received} events {stored} were stored, the others are duplicates or rejected").into());
    }
    let mut client = Client::new(server)?;
    let mut count = |sql: &str| -> Result<usize, Error> {
        let answer = client.ask(&Request::Post("/v1/sql", json!({"sql": sql})))?.json()?;
        let count = answer["rows"][0][0].as_u64().ok_or_else(|| format!("{sql}: {answer}"))?;
        Ok(usize::try_from(count)?)
    };
    let there = count("SELECT count(*) FROM events")?;
    let different = count("SELECT count(DISTINCT event_id) FROM events")?;
    let Sent { acknowledged, unsure } = sent;
    println!("{acknowledged} events acknowledged, {unsure} more sent; {there} are there, {different} different ones");
    if there != different || !(acknowledged..=acknowledged + unsure).contains(&there) {
        return Err("what is there is not what was acknowledged, each event once".into());
    }
    for number in taken {
        look_up(&mut client, fresh, *number).map_err(|error| format!("batch {number}, acknowledged: {error}"))?;
    }
    println!("the first events of all {} batches that were acknowledged are there, each once", taken.len());
    Ok(())
}

/// An error unless the first event of a batch is there once. A batch is one record of the log: all of it is there, or
/// nothing.
fn look_up(client: &mut Client, fresh: &Fresh, number: usize) -> Result<(), Error> {
    let (Some(session), Some(id)) = (fresh.session(number), fresh.event_id(number)) else {
        return Err("it has no event".into());
    };
    let answer = client.ask(&Request::Get(format!("/v1/sessions/{session}")))?.json()?;
    let events = answer["events"].as_array().ok_or("a session without events")?;
    match events.iter().filter(|event| event["event_id"] == id).count() {
        1 => Ok(()),
        times => Err(format!("its first event is there {times} times").into()),
    }
}

/// What good clients met.
struct Good {
    answered: Measured,
    /// How much too late the clients woke up to send, in microseconds: nothing that waits for a core can be quicker.
    late: Vec<u64>,
    /// Answers other than 200.
    refused: usize,
    /// Connections that were closed on them.
    closed: usize,
}

impl Good {
    fn p99(&self) -> f64 {
        self.answered.percentile_ms(99)
    }

    fn report(&self, name: &str, usual: &Usual<'_>, report: &mut Report) {
        println!("{name}: {} answered, {} refused, {} closed", self.answered.requests, self.refused, self.closed);
        report.add(&format!("{name}: p99"), Some(self.p99()), "ms", Goal::None);
        let late = self.late.get(self.late.len() * 99 / 100).map(|late| *late as f64 / 1_000.0);
        report.add(&format!("{name}: floor, how late a client wakes up to send, p99"), late, "ms", Goal::None);
        report.add(&format!("{name}: p99, to quiet"), Some(self.p99() / usual.p99), "", Goal::AtMost(2.0));
        let lost = (self.refused + self.closed) as f64 / self.answered.requests.max(1) as f64 * 100.0;
        report.add(&format!("{name}: good requests refused or closed"), Some(lost), "%", Goal::None);
        report.add(&format!("{name}: peak memory"), Some(usual.server.peak_mib()), "MiB", Goal::AtMost(512.0));
    }
}

/// Sends single events at the fixed rate for so long, once all clients are connected.
fn good(server: &Server, seed: u64, span: Duration) -> Result<Good, Error> {
    let connected = &Barrier::new(CLIENTS);
    let clients: Vec<_> = scope(|scope| {
        let all: Vec<_> = (0..CLIENTS)
            .map(|client| scope.spawn(move || good_client(server, seed, client, connected, span)))
            .collect();
        all.into_iter().map(std::thread::ScopedJoinHandle::join).collect()
    });
    let mut good = Good {
        answered: Measured { requests: 0, seconds: span.as_secs_f64(), latencies: Vec::new() },
        late: Vec::new(),
        refused: 0,
        closed: 0,
    };
    for client in clients {
        let client = client.map_err(|_| "a good client panicked")??;
        good.answered.latencies.extend(client.latencies);
        good.late.extend(client.late);
        good.refused += client.refused;
        good.closed += client.closed;
    }
    good.late.sort_unstable();
    good.answered.latencies.sort_unstable();
    good.answered.requests = good.answered.latencies.len();
    Ok(good)
}

/// What one of them met: its times in microseconds, and how often it was refused or closed.
#[derive(Default)]
struct Met {
    latencies: Vec<u64>,
    late: Vec<u64>,
    refused: usize,
    closed: usize,
}

fn good_client(server: &Server, seed: u64, client: usize, connected: &Barrier, span: Duration) -> Result<Met, Error> {
    let mut numbers = Numbers::new(seed * 1_000 + client as u64 + 1);
    let mut met = Met::default();
    let stream = connect(server.address);
    connected.wait();
    let (mut stream, start) = (stream?, Instant::now());
    for number in 0.. {
        let due = start + Duration::from_secs_f64((number * CLIENTS + client) as f64 / RATE);
        if due >= start + span {
            break;
        }
        let pause = due.saturating_duration_since(Instant::now());
        sleep(pause);
        if !pause.is_zero() {
            met.late.push(u64::try_from(due.elapsed().as_micros())?);
        }
        let session = numbers.uuid();
        let whole = request(&server.token, "application/json", &event(&mut numbers, &session));
        match exchange(&mut stream, &whole) {
            Ok(200) => met.latencies.push(u64::try_from(due.elapsed().as_micros())?),
            Ok(_) => met.refused += 1,
            Err(_) => {
                met.closed += 1;
                stream = connect(server.address)?;
            }
        }
    }
    Ok(met)
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
