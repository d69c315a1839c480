//! Ingest beside its floors: single events and batches, acknowledged when durable.

use std::path::PathBuf;
use std::time::Duration;

use crate::load::{self, Measured, Plan};
use crate::machine::{self, median};
use crate::server::Server;
use crate::{Error, floor, traffic};

const CONNECTIONS: usize = 64;
const BATCH_EVENTS: usize = 500;
const BATCH_CONNECTIONS: usize = 8;

struct Options {
    seconds: u64,
    runs: u64,
    folder: PathBuf,
}

/// Runs everything and prints it.
pub(crate) fn run(arguments: &[&str]) -> Result<(), Error> {
    let options = options(arguments)?;
    println!("machine: {}", machine::line());
    println!("command: cargo xtask bench ingest --seconds {} --runs {}", options.seconds, options.runs);
    println!("medians of {} runs, product and floor in turn; the load runs on the same machine\n", options.runs);
    single(&options)?;
    batches(&options)
}

fn options(arguments: &[&str]) -> Result<Options, Error> {
    let mut options = Options { seconds: 5, runs: 5, folder: std::env::current_dir()?.join("target") };
    for pair in arguments.chunks(2) {
        match pair {
            ["--seconds", value] => options.seconds = value.parse()?,
            ["--runs", value] => options.runs = value.parse()?,
            ["--folder", value] => options.folder = PathBuf::from(value),
            other => return Err(format!("unknown option {other:?}: use --seconds N, --runs N, --folder DIR").into()),
        }
    }
    Ok(options)
}

/// Single-event POSTs over 64 connections, beside a bare handler that reads the body and answers.
fn single(options: &Options) -> Result<(), Error> {
    let (mut product, mut bare, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    let (mut p50, mut p99, mut cpu) = (Vec::new(), Vec::new(), Vec::new());
    for run in 0..options.runs {
        let server = Server::floor()?;
        let floor = singles(&server, run, options)?;
        drop(server);
        let server = Server::product(&options.folder)?;
        let before = server.cpu_seconds();
        let eye = singles(&server, run, options)?;
        cpu.push((server.cpu_seconds() - before) / eye.requests as f64 * 1e6);
        product.push(eye.per_second());
        bare.push(floor.per_second());
        ratios.push(eye.per_second() / floor.per_second());
        p50.push(eye.percentile_ms(50));
        p99.push(eye.percentile_ms(99));
    }
    println!("single-event POST, durable acknowledgement, {CONNECTIONS} connections");
    println!("  the eye            {:>10.0} requests/s", median(&mut product));
    println!("  bare axum handler  {:>10.0} requests/s", median(&mut bare));
    println!("  ratio              {:>10.2}   (to reach: 0.50)", median(&mut ratios));
    println!("  acknowledgement    {:>10.2} ms p50, {:.2} ms p99", median(&mut p50), median(&mut p99));
    println!("  server CPU         {:>10.1} µs an event\n", median(&mut cpu));
    Ok(())
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

/// NDJSON batches of 500, beside the JSON parser alone on the same bytes.
fn batches(options: &Options) -> Result<(), Error> {
    let (mut product, mut parser, mut bare, mut ratios) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let (mut p99, mut cpu, mut memory) = (Vec::new(), Vec::new(), Vec::new());
    for run in 0..options.runs {
        let bodies = traffic::batches(run + 1, 1_500, BATCH_EVENTS);
        let alone = floor::parse(&bodies)?;
        let server = Server::floor()?;
        let floor = send(&server, &bodies)?;
        drop(server);
        let server = Server::product(&options.folder)?;
        let before = server.cpu_seconds();
        let eye = send(&server, &bodies)?;
        let events = eye.per_second() * BATCH_EVENTS as f64;
        cpu.push((server.cpu_seconds() - before) / (eye.requests * BATCH_EVENTS) as f64 * 1e6);
        memory.push(server.peak_mib());
        product.push(events);
        parser.push(alone);
        bare.push(floor.per_second() * BATCH_EVENTS as f64);
        ratios.push(events / alone);
        p99.push(eye.percentile_ms(99));
    }
    println!("NDJSON batches of {BATCH_EVENTS}, durable acknowledgement, {BATCH_CONNECTIONS} connections");
    println!("  the eye            {:>10.0} events/s", median(&mut product));
    println!("  JSON parser alone  {:>10.0} events/s (one core, same bytes)", median(&mut parser));
    println!("  ratio              {:>10.2}   (to reach: 0.35)", median(&mut ratios));
    println!("  bare axum handler  {:>10.0} events/s (reads the body and answers)", median(&mut bare));
    println!("  acknowledgement    {:>10.2} ms p99 of a batch", median(&mut p99));
    println!("  server CPU         {:>10.2} µs an event, flushing included", median(&mut cpu));
    println!("  server memory      {:>10.0} MiB at its highest", median(&mut memory));
    Ok(())
}

fn send(server: &Server, bodies: &[String]) -> Result<Measured, Error> {
    let requests = bodies.iter().map(|body| load::request(&server.token, "application/x-ndjson", body)).collect();
    load::run(server.address, Plan { requests, repeat: false }, BATCH_CONNECTIONS, Duration::from_secs(120))
}
