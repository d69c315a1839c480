//! How it holds up as the store grows: the same figures with one, ten and a hundred million events.
//!
//! Each size has a store of its own, with default settings. It is filled in ten equal parts, so that the rate of the last
//! can stand beside that of the first; then it is brought to rest, started again and asked for sessions of all ages.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::client::{Client, Request};
use crate::load;
use crate::machine;
use crate::options::Options;
use crate::report::{Goal, Report, Series};
use crate::rest;
use crate::server::{self, Server};
use crate::traffic::{self, Fresh, Numbers};
use crate::{Error, query};

/// Sizes unless asked otherwise, in millions of events.
const MILLIONS: [f64; 3] = [1.0, 10.0, 100.0];
const PARTS: usize = 10;
const BATCH_EVENTS: usize = 500;
const CONNECTIONS: usize = 8;
/// Different batches: more rows than a flush takes, so that what is alike lies in different files.
const BATCHES: usize = 1_500;
const STARTS: usize = 3;
/// Sessions that are asked for, after as many others to warm up.
const SESSIONS: usize = 500;
/// Disk that an event takes at most: files of flushes, what they are merged to, and the old ones that still lie there.
const DISK_BYTES: f64 = 130.0;
/// Disk beside the table: the log of the newest commits.
const DISK_BYTES_BESIDE: f64 = 4e9;

/// What one size showed.
struct Size {
    events: usize,
    /// Events a second: all, the first and the last tenth.
    rate: f64,
    first: f64,
    last: f64,
    p50: f64,
    p99: f64,
}

/// Measures every size that the disk has room for.
pub(crate) fn run(arguments: &[&str]) -> Result<(), Error> {
    let options = Options::parse(arguments)?;
    println!("machine: {}", machine::line());
    println!("command: cargo xtask bench scale {}", arguments.join(" "));
    let (mut report, mut sizes) = (Report::default(), Vec::new());
    let bodies = traffic::batches(1, BATCHES, BATCH_EVENTS);
    for millions in options.millions.as_deref().unwrap_or(&MILLIONS) {
        let (room, needed) = (room(&options.folder)?, DISK_BYTES_BESIDE + millions * 1e6 * DISK_BYTES);
        println!(
            "\n{millions} million events may take {:.0} GB of disk; {:.0} are free in {}",
            needed / 1e9,
            room / 1e9,
            options.folder.display()
        );
        if needed > room {
            report.skip(&format!("{millions} million events"), &"there is not enough disk");
            continue;
        }
        sizes.push(measure((millions * 1e6) as usize, &bodies, &options, &mut report)?);
    }
    if let [least, .., most] = sizes.as_slice() {
        compare(least, most, &mut report);
    }
    report.print();
    Ok(())
}

/// Bytes that are free on the disk of a folder.
fn room(folder: &Path) -> Result<f64, Error> {
    let disk = rustix::fs::statvfs(folder)?;
    Ok(disk.f_bavail as f64 * disk.f_frsize as f64)
}

fn measure(events: usize, bodies: &[String], options: &Options, report: &mut Report) -> Result<Size, Error> {
    let name = format!("{} million events", events as f64 / 1e6);
    let data = server::data_folder(&options.folder)?;
    let server = Server::open(data.path(), &[])?;
    let requests = bodies.iter().map(|body| load::request(&server.token, "application/x-ndjson", body)).collect();
    let fresh = Fresh::new(requests, 0..usize::MAX);
    let batches = events / BATCH_EVENTS;
    let (rates, rate) = fill(&server, &fresh, batches)?;
    let rest = rest::bring(&server)?;
    println!("{rest}");
    let rows = server.metric("eye_table_rows")?;
    if rows != (batches * BATCH_EVENTS) as f64 {
        return Err(format!("the table has {rows} events of {}", batches * BATCH_EVENTS).into());
    }
    let (first, last) = (rates[0], rates[PARTS - 1]);
    let mut add = |what: &str, value: f64, unit: &str| {
        report.add(&format!("{name}: {what}"), Some(value), unit, Goal::None);
    };
    add("ingest", rate, "events/s");
    add("ingest, first tenth", first, "events/s");
    add("ingest, last tenth", last, "events/s");
    add("memory while it is filled and compacted, highest", server.peak_mib(), "MiB");
    add("compaction of everything", rest.seconds, "s");
    add("files at rest", server.metric("eye_table_files")?, "");
    add("table at rest", server.metric("eye_table_bytes")? / rows, "B/event");
    server.stop()?;

    let mut series = Series::default();
    for _ in 1..STARTS {
        start(data.path(), &mut series)?.stop()?;
    }
    let server = start(data.path(), &mut series)?;
    server.settle();
    let mut times = sessions(&server, &fresh, batches)?;
    let (p50, p99) = (query::percentile(&mut times, 50), query::percentile(&mut times, 99));
    add("start, until ready", series.median("seconds").unwrap_or_default(), "s");
    add("memory when ready", series.median("memory").unwrap_or_default(), "MiB");
    add("memory after the start, highest, sessions asked", server.peak_mib(), "MiB");
    add("session by id, p50", p50, "ms");
    add("session by id, p99", p99, "ms");
    server.stop()?;
    Ok(Size { events, rate, first, last, p50, p99 })
}

/// Sends so many batches as quickly as they are taken. Events a second of each part, and of all of them.
fn fill(server: &Server, fresh: &Fresh, batches: usize) -> Result<(Vec<f64>, f64), Error> {
    let (mut rates, start) = (Vec::new(), Instant::now());
    for part in 0..PARTS {
        let numbers = batches * part / PARTS..batches * (part + 1) / PARTS;
        let measured = load::run(server.address, fresh.numbered(numbers), CONNECTIONS, Duration::from_secs(3_600))?;
        let rate = measured.per_second() * BATCH_EVENTS as f64;
        println!("  part {:>2} of {PARTS}: {rate:>8.0} events/s, {:>6.0} MiB", part + 1, server.resident_mib());
        rates.push(rate);
    }
    Ok((rates, (batches * BATCH_EVENTS) as f64 / start.elapsed().as_secs_f64()))
}

fn start(data: &Path, series: &mut Series) -> Result<Server, Error> {
    let server = Server::open(data, &[])?;
    series.push("seconds", server.start.as_secs_f64());
    series.push("memory", server.resident_mib());
    Ok(server)
}

/// Milliseconds of sessions that were not asked for before.
fn sessions(server: &Server, fresh: &Fresh, batches: usize) -> Result<Vec<f64>, Error> {
    let (mut numbers, mut client, mut times) = (Numbers::new(13), Client::new(server)?, Vec::new());
    for asked in 0..2 * SESSIONS {
        let batch = usize::try_from(numbers.below(batches as u64))?;
        let id = fresh.session(batch).ok_or("a batch without a session")?;
        let answer = client.ask(&Request::Get(format!("/v1/sessions/{id}")))?;
        if answer.json()?["events"].as_array().is_none_or(Vec::is_empty) {
            return Err(format!("session {id} has no events").into());
        }
        if asked >= SESSIONS {
            times.push(answer.took.as_secs_f64() * 1e3);
        }
    }
    Ok(times)
}

fn compare(least: &Size, most: &Size, report: &mut Report) {
    let name = format!("{} to {} million events", least.events as f64 / 1e6, most.events as f64 / 1e6);
    let mut ratio = |what: &str, value: f64, goal| report.add(&format!("{name}: {what}"), Some(value), "", goal);
    ratio("session by id, p50", most.p50 / least.p50, Goal::AtMost(2.0));
    ratio("session by id, p99", most.p99 / least.p99, Goal::AtMost(2.0));
    ratio("ingest, last tenth to the first, of the largest", most.last / most.first, Goal::AtLeast(0.9));
    ratio("ingest", most.rate / least.rate, Goal::None);
}
