//! Ingest beside its floors and peers: single events and batches, acknowledged when durable.

use std::time::Duration;

use crate::load::{self, Measured, Plan};
use crate::options::Options;
use crate::peers::postgres::Postgres;
use crate::peers::{self, clickhouse};
use crate::report::{Goal, Report, Series};
use crate::server::Server;
use crate::traffic::Fresh;
use crate::{Error, collector, floor, latency, machine, steps, traffic};

pub(crate) const CONNECTIONS: usize = 64;
const BATCH_EVENTS: usize = 500;
const BATCHES: usize = 3_000;
/// Different batches of traffic without an end, more rows than a flush takes.
const FRESH_BATCHES: usize = 1_000;
const NO_CATALOGUE: [&str; 2] = ["--catalogue-rows-max", "0"];
/// What PostgreSQL gets of them: a smaller table is quicker, which is kind to it.
const POSTGRES_BATCHES: usize = 600;
/// Rows in a transaction: what The Eye gets in a request, and what PostgreSQL likes.
const COPY_ROWS: [(&str, usize); 2] =
    [("COPY, 500 rows a transaction", 500), ("COPY, 50,000 rows a transaction", 50_000)];

/// Runs everything, or the part asked for (`single`, `seed`, `batches`, `catalogue`, `latency`, `steps`), and prints it.
pub(crate) fn run(arguments: &[&str]) -> Result<(), Error> {
    let options = Options::parse(arguments)?;
    println!("machine: {}", machine::line());
    println!("command: cargo xtask bench ingest {}", arguments.join(" "));
    println!("medians of {} runs, product, floors and peers in turn; the load runs on the same machine", options.runs);
    let mut report = Report::default();
    let top = if options.wants("single") || options.wants("latency") { single(&options, &mut report)? } else { 0.0 };
    if options.peers && options.wants("seed") {
        collector::run(&options, &mut report)?;
    }
    if options.wants("batches") {
        batches(&options, &mut report)?;
    }
    if options.wants("catalogue") {
        catalogue(&options, &mut report)?;
    }
    if options.wants("latency") {
        latency::run(&options, top, &mut report)?;
    }
    if options.wants("steps") {
        steps::measure(&options.folder, &mut report)?;
    }
    report.print();
    Ok(())
}

/// Single-event POSTs over 64 connections, beside a bare handler that reads the body and answers. Returns the rate.
fn single(options: &Options, report: &mut Report) -> Result<f64, Error> {
    let mut series = Series::default();
    for run in 0..options.runs {
        let server = Server::floor()?;
        let bare = singles(&server, run, options)?;
        drop(server);
        let server = Server::product(&options.folder)?;
        let before = server.cpu_seconds();
        let eye = singles(&server, run, options)?;
        series.push("server CPU", (server.cpu_seconds() - before) / eye.requests as f64 * 1e6);
        series.push("the eye", eye.per_second());
        series.push("bare axum handler", bare.per_second());
        series.push("ratio", eye.per_second() / bare.per_second());
        series.push("p50", eye.percentile_ms(50));
        series.push("p99", eye.percentile_ms(99));
    }
    println!("\nsingle-event POST, durable acknowledgement, {CONNECTIONS} connections");
    series.print("the eye", "requests/s");
    series.print("bare axum handler", "requests/s");
    series.print("p50", "ms");
    series.print("p99", "ms");
    series.print("server CPU", "µs an event, flushes meanwhile included");
    let measure = |name: &str| series.median(name);
    report.add("single events: the eye", measure("the eye"), "requests/s", Goal::None);
    report.add("single events: bare axum handler", measure("bare axum handler"), "requests/s", Goal::None);
    report.add("single events: ratio to the handler", measure("ratio"), "", Goal::AtLeast(0.5));
    report.add("single events: acknowledgement p99 at the top rate", measure("p99"), "ms", Goal::None);
    report.add("single events: server CPU, flushes meanwhile included", measure("server CPU"), "µs", Goal::None);
    Ok(measure("the eye").unwrap_or_default())
}

/// Single events a second, as quickly as they are taken; the median of three short runs.
pub(crate) fn top_rate(options: &Options) -> Result<f64, Error> {
    let measure = |run| Ok(singles(&Server::product(&options.folder)?, run, options)?.per_second());
    Ok(machine::median(&mut (0..3).map(measure).collect::<Result<Vec<_>, Error>>()?))
}

fn singles(server: &Server, run: u64, options: &Options) -> Result<Measured, Error> {
    let mut numbers = traffic::Numbers::new(run + 1);
    // Far more than can be sent, so that no event is sent twice.
    let count = 100_000 * usize::try_from(options.seconds)?;
    let mut session = numbers.uuid();
    let requests = (0..count).map(|index| {
        if index % 8 == 0 {
            session = numbers.uuid();
        }
        load::request(&server.token, "application/json", &traffic::event(&mut numbers, &session))
    });
    let plan = Plan { requests: requests.collect(), repeat: false };
    load::run(server.address, plan, CONNECTIONS, Duration::from_secs(options.seconds))
}

/// NDJSON batches of 500, beside the JSON parser alone on the same bytes and, if wanted, PostgreSQL and ClickHouse.
fn batches(options: &Options, report: &mut Report) -> Result<(), Error> {
    let mut series = Series::default();
    let mut skipped = Skipped::default();
    for run in 0..options.runs {
        let bodies = traffic::batches(run + 1, BATCHES, BATCH_EVENTS);
        let alone = floor::parse(&bodies)?;
        let server = Server::floor()?;
        let bare = send(&server, &bodies, options)?;
        drop(server);
        let server = Server::product(&options.folder)?;
        let before = (server.cpu_seconds(), machine::busy_seconds());
        let eye = send(&server, &bodies, options)?;
        let events = eye.per_second() * BATCH_EVENTS as f64;
        series.push("server CPU", (server.cpu_seconds() - before.0) / (eye.requests * BATCH_EVENTS) as f64 * 1e6);
        series.push("cores busy", (machine::busy_seconds() - before.1) / eye.seconds);
        series.push("memory", server.peak_mib());
        series.push("the eye", events);
        series.push("JSON parser alone", alone);
        series.push("bare axum handler", bare.per_second() * BATCH_EVENTS as f64);
        series.push("ratio to the parser", events / alone);
        series.push("p99", eye.percentile_ms(99));
        drop(server);
        if options.peers {
            batch_peers(options, &bodies, events, &mut series, &mut skipped);
        }
    }
    println!("\nNDJSON batches of {BATCH_EVENTS}, durable acknowledgement, {} connections", options.connections);
    series.print("the eye", "events/s");
    series.print("JSON parser alone", "events/s (one core, same bytes)");
    series.print("bare axum handler", "events/s (reads the body and answers)");
    for (name, _) in COPY_ROWS {
        series.print(name, "rows/s (PostgreSQL)");
    }
    series.print("ClickHouse", "rows/s (its engine; no HTTP, fsync or dedup)");
    series.print("ClickHouse's best batch", "rows");
    series.print("p99", "ms of a batch");
    series.print("server CPU", "µs an event, flushes meanwhile included");
    series.print("cores busy", "of the machine, the load included");
    series.print("memory", "MiB of the server at its highest");
    let measure = |name: &str| series.median(name);
    report.add("batches of 500: the eye", measure("the eye"), "events/s", Goal::None);
    report.add("batches of 500: ratio to the JSON parser", measure("ratio to the parser"), "", Goal::AtLeast(0.4));
    report.add("batches of 500: ratio to PostgreSQL COPY", measure("ratio to PostgreSQL"), "", Goal::AtLeast(8.0));
    report.add("batches of 500: ratio to ClickHouse's engine", measure("ratio to ClickHouse"), "", Goal::AtLeast(1.0));
    report.add("batches of 500: acknowledgement p99 at the top rate", measure("p99"), "ms", Goal::None);
    report.add("batches of 500: server CPU, flushes meanwhile included", measure("server CPU"), "µs", Goal::None);
    skipped.tell(report);
    Ok(())
}

fn send(server: &Server, bodies: &[String], options: &Options) -> Result<Measured, Error> {
    let requests = bodies.iter().map(|body| load::request(&server.token, "application/x-ndjson", body)).collect();
    load::run(server.address, Plan { requests, repeat: false }, options.connections, Duration::from_secs(120))
}

/// Batches as quickly as they are taken, with the catalogue's background job and without it: what it costs ingest.
fn catalogue(options: &Options, report: &mut Report) -> Result<(), Error> {
    let mut series = Series::default();
    let bodies = traffic::batches(1, FRESH_BATCHES, BATCH_EVENTS);
    let mut measure = |flags: &[&str], cpu, rate| {
        let server = Server::product_with(&options.folder, flags)?;
        let requests = bodies.iter().map(|body| load::request(&server.token, "application/x-ndjson", body)).collect();
        let (fresh, limit) = (Fresh::new(requests, 0..usize::MAX), Duration::from_secs(options.seconds));
        let before = server.cpu_seconds();
        let measured = load::run(server.address, fresh, options.connections, limit)?;
        let events = (measured.requests * BATCH_EVENTS) as f64;
        let used = (server.cpu_seconds() - before) / events * 1e6;
        series.push(cpu, used);
        series.push(rate, events / measured.seconds);
        Ok::<_, Error>((used, events / measured.seconds))
    };
    let (mut more, mut slower) = (Vec::new(), Vec::new());
    for run in 0..options.runs {
        let (mut with, mut without) = ((0.0, 0.0), (0.0, 0.0));
        // Whoever comes second does not always come second.
        for turn in 0..2 {
            match (run + turn) % 2 {
                0 => with = measure(&[], "server CPU, with the catalogue", "with the catalogue")?,
                _ => without = measure(&NO_CATALOGUE, "server CPU, without it", "without it")?,
            }
        }
        more.push(with.0 - without.0);
        slower.push(with.1 / without.1);
    }
    println!("\nNDJSON batches of {BATCH_EVENTS} for {} s, and the catalogue's background job", options.seconds);
    series.print("with the catalogue", "events/s");
    series.print("without it", "events/s");
    series.print("server CPU, with the catalogue", "µs an event");
    series.print("server CPU, without it", "µs an event");
    report.add("catalogue: server CPU more", Some(machine::median(&mut more)), "µs an event", Goal::None);
    report.add("catalogue: ingest, to ingest without it", Some(machine::median(&mut slower)), "", Goal::None);
    Ok(())
}

/// Why a peer was not measured.
#[derive(Default)]
struct Skipped {
    postgres: Option<Error>,
    clickhouse: Option<Error>,
}

impl Skipped {
    fn tell(&self, report: &mut Report) {
        for (name, why) in [("PostgreSQL", &self.postgres), ("ClickHouse's engine", &self.clickhouse)] {
            if let Some(why) = why {
                report.skip(name, why);
            }
        }
    }
}

fn batch_peers(options: &Options, bodies: &[String], events: f64, series: &mut Series, skipped: &mut Skipped) {
    match copy(options, bodies, series) {
        Ok(best) => series.push("ratio to PostgreSQL", events / best),
        Err(why) => skipped.postgres = Some(why),
    }
    let inserted = peers::python().and_then(|_| clickhouse::insert(&options.folder, bodies));
    match inserted {
        Ok(inserted) => {
            series.push("ClickHouse", inserted.per_second);
            series.push("ClickHouse's best batch", inserted.batch_rows as f64);
            series.push("ratio to ClickHouse", events / inserted.per_second);
        }
        Err(why) => skipped.clickhouse = Some(why),
    }
}

/// The quicker of the two ways to copy, in rows a second.
fn copy(options: &Options, bodies: &[String], series: &mut Series) -> Result<f64, Error> {
    let postgres = Postgres::start(&options.folder)?;
    let mut best: f64 = 0.0;
    for (name, rows) in COPY_ROWS {
        let per_second = postgres.copy(&bodies[..POSTGRES_BATCHES.min(bodies.len())], rows)?;
        series.push(name, per_second);
        best = best.max(per_second);
    }
    Ok(best)
}
