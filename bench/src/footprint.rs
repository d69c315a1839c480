//! Memory, disk and time to start: what it takes to have the product running.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::columns::{Bytes, files};
use crate::latency::NEVER_FLUSH;
use crate::load::{self, Measured};
use crate::options::Options;
use crate::report::{Goal, Report, Series};
use crate::server::{self, Server};
use crate::traffic::{self, Fresh, Generated};
use crate::{Error, machine, memory};

const BATCH_EVENTS: usize = 500;
const BATCH_CONNECTIONS: usize = 8;
/// Different batches, each sent many times with fresh ids.
const BATCHES: usize = 200;
/// How many events are stored when start-up is measured.
const EVENTS: usize = 10_000_000;
/// How often memory is looked at, and how often it is printed.
const SAMPLE_EVERY: Duration = Duration::from_secs(1);
const PRINT_EVERY: usize = 30;
/// A million ids at most are remembered, so that what else takes memory is seen.
const FEW_IDS: [&str; 2] = ["--dedup-ids-max", "1000000"];
const SHORT_WINDOW: [&str; 2] = ["--dedup-window", "1m"];

/// Runs everything, or the part asked for (`idle`, `dedup`, `top`, `top-few-ids`, `stored`, `crash`), and prints it.
pub(crate) fn run(arguments: &[&str]) -> Result<(), Error> {
    let options = Options::parse(arguments)?;
    println!("machine: {}", machine::line());
    println!("command: cargo xtask bench footprint {}", arguments.join(" "));
    let mut report = Report::default();
    if options.wants("idle") {
        idle(&options, &mut report)?;
    }
    if options.wants("dedup") {
        memory::measure(&mut report)?;
    }
    if options.wants("top") {
        at_top_rate(&options, &[], "default settings", &mut report)?;
    }
    if options.wants("top-few-ids") {
        at_top_rate(&options, &FEW_IDS, "a million ids", &mut report)?;
    }
    if options.wants("stored") {
        stored(&options, &mut report)?;
    }
    if options.wants("crash") {
        after_a_crash(&options, &mut report)?;
    }
    report.print();
    Ok(())
}

fn idle(options: &Options, report: &mut Report) -> Result<(), Error> {
    let server = Server::product(&options.folder)?;
    std::thread::sleep(Duration::from_secs(3));
    report.add("memory: idle", Some(server.resident_mib()), "MiB", Goal::AtMost(64.0));
    Ok(())
}

/// Memory while batches come as quickly as they are taken.
fn at_top_rate(options: &Options, flags: &[&str], name: &str, report: &mut Report) -> Result<(), Error> {
    println!("\nmemory at the top rate, {name}, {} minutes", options.minutes);
    let server = Server::product_with(&options.folder, flags)?;
    let limit = Duration::from_secs_f64(options.minutes * 60.0);
    let is_over = AtomicBool::new(false);
    let (samples, measured) = std::thread::scope(|scope| {
        let watcher = scope.spawn(|| watch(server.process_id(), &is_over));
        let measured = batches(&server, 0..usize::MAX, limit);
        is_over.store(true, Ordering::Release);
        (watcher.join(), measured)
    });
    let (samples, measured) = (samples.map_err(|_| "watching memory panicked")?, measured?);
    let steady = &samples[samples.len() / 3..];
    report.add(
        &format!("top rate, {name}: events"),
        Some(measured.per_second() * BATCH_EVENTS as f64),
        "events/s",
        Goal::None,
    );
    let what = |what: &str| format!("memory: top rate for {} min, {name}: {what}", options.minutes);
    report.add(&what("highest"), Some(server.peak_mib()), "MiB", Goal::AtMost(512.0));
    report.add(&what("slope"), Some(slope(steady) * 60.0), "MiB/min", Goal::None);
    let millions_a_minute = measured.per_second() * BATCH_EVENTS as f64 * 60.0 / 1e6;
    report.add(&what("slope"), Some(slope(steady) * 60.0 / millions_a_minute), "MiB/million", Goal::None);
    Ok(())
}

/// Seconds and MiB, until it is over.
fn watch(process: u32, is_over: &AtomicBool) -> Vec<(f64, f64)> {
    let start = Instant::now();
    let mut samples = Vec::new();
    while !is_over.load(Ordering::Acquire) {
        let sample = (start.elapsed().as_secs_f64(), server::resident_mib(process, "VmRSS:"));
        if samples.len() % PRINT_EVERY == 0 {
            let highest = server::resident_mib(process, "VmHWM:");
            println!("  after {:>4.0} s {:>6.0} MiB, {highest:.0} at its highest", sample.0, sample.1);
        }
        samples.push(sample);
        std::thread::sleep(SAMPLE_EVERY);
    }
    samples
}

/// The slope of the straight line that fits best.
fn slope(samples: &[(f64, f64)]) -> f64 {
    let count = samples.len().max(1) as f64;
    let mean = |value: fn(&(f64, f64)) -> f64| samples.iter().map(value).sum::<f64>() / count;
    let (x_mean, y_mean) = (mean(|sample| sample.0), mean(|sample| sample.1));
    let together: f64 = samples.iter().map(|(x, y)| (x - x_mean) * (y - y_mean)).sum();
    let alone: f64 = samples.iter().map(|(x, _)| (x - x_mean).powi(2)).sum();
    if alone == 0.0 { 0.0 } else { together / alone }
}

/// Bytes of stored events, and how long it takes to start with them.
fn stored(options: &Options, report: &mut Report) -> Result<(), Error> {
    let events = options.events.unwrap_or(EVENTS);
    println!("\nstarting with {events} stored events");
    let data = server::data_folder(&options.folder)?;
    let server = Server::open(data.path(), &[])?;
    let batches = events.div_ceil(BATCH_EVENTS);
    let generated = Generated { token: server.token.clone(), batches, events: BATCH_EVENTS };
    load::run(server.address, generated, BATCH_CONNECTIONS, Duration::from_secs(3_600))?;
    server.stop()?;
    let bytes = Bytes::of_table(&data.path().join("table").join("events"))?;
    if bytes.rows < events as u64 {
        return Err(format!("the table has {} events of {events}", bytes.rows).into());
    }
    by_column(&bytes, report);
    for (flags, name) in [(&[][..], "dedup window 24h"), (&SHORT_WINDOW[..], "dedup window 1m")] {
        let mut series = Series::default();
        for _ in 0..3 {
            let server = Server::open(data.path(), flags)?;
            series.push("seconds", server.start.as_secs_f64());
            series.push("memory", server.resident_mib());
            server.stop()?;
        }
        let millions = format!("start with {:.1} million events, {name}", events as f64 / 1e6);
        report.add(&format!("{millions}: until ready"), series.median("seconds"), "s", Goal::AtMost(1.0));
        report.add(&format!("{millions}: memory"), series.median("memory"), "MiB", Goal::None);
    }
    Ok(())
}

fn by_column(bytes: &Bytes, report: &mut Report) {
    let each = |bytes: u64, rows: u64| Some(bytes as f64 / rows as f64);
    let parts = [
        ("blooms", bytes.blooms),
        ("page indexes", bytes.indexes),
        ("footers", bytes.footers()),
        ("commits, checkpoints (beside the files)", bytes.commits),
    ];
    let columns = bytes.columns.iter().map(|(name, bytes)| (name.as_str(), *bytes));
    for (name, part) in columns.chain(parts) {
        report.add(&format!("disk: table: {name}"), each(part, bytes.rows), "B/event", Goal::None);
    }
    report.add("disk: table, all files", each(bytes.files, bytes.rows), "B/event", Goal::AtMost(54.0));
}

/// A crash with a long log: nothing was flushed.
fn after_a_crash(options: &Options, report: &mut Report) -> Result<(), Error> {
    println!("\nstarting after a crash with {} MiB of log", options.log_mib);
    let data = server::data_folder(&options.folder)?;
    let mut server = Server::open(data.path(), &NEVER_FLUSH)?;
    let log = data.path().join("log");
    let (mut sent, mut log_bytes) = (0, 0);
    while log_bytes < options.log_mib * 1024 * 1024 {
        sent += batches(&server, sent..sent + BATCHES, Duration::from_secs(600))?.requests;
        log_bytes = files(&log)?.iter().map(|(_, length)| length).sum::<u64>();
    }
    let events = sent * BATCH_EVENTS;
    report.add("disk: log", Some(log_bytes as f64 / events as f64), "B/event", Goal::None);
    for (flags, name) in [(&NEVER_FLUSH[..], "same settings"), (&[][..], "default settings")] {
        // The end of a server is kill -9.
        drop(server);
        server = Server::open(data.path(), flags)?;
        let log = format!("start after kill -9, {:.0} MiB of log, {name}", log_bytes as f64 / 1_048_576.0);
        report.add(&format!("{log}: until ready"), Some(server.start.as_secs_f64()), "s", Goal::AtMost(10.0));
        report.add(&format!("{log}: memory"), Some(server.peak_mib()), "MiB", Goal::None);
    }
    Ok(())
}

/// Batches of these numbers, as quickly as they are taken.
fn batches(server: &Server, numbers: std::ops::Range<usize>, limit: Duration) -> Result<Measured, Error> {
    let bodies = traffic::batches(1, BATCHES, BATCH_EVENTS);
    let requests = bodies.iter().map(|body| load::request(&server.token, "application/x-ndjson", body)).collect();
    load::run(server.address, Fresh::new(requests, numbers), BATCH_CONNECTIONS, limit)
}
