//! How long an acknowledgement takes at half of the top rate: quiet, with the default flushes, and while flushing always.
//!
//! The rate is fixed and a request's time counts from when it was to be sent, so that no stall is hidden.

use std::time::Duration;

use crate::Error;
use crate::ingest::CONNECTIONS;
use crate::load::{self, Measured};
use crate::options::Options;
use crate::report::{Goal, Report, Series};
use crate::server::Server;
use crate::traffic::{Fresh, Numbers, event};

/// Nothing is flushed before the end.
pub(crate) const NEVER_FLUSH: [&str; 8] = [
    "--flush-bytes-max",
    "1536MiB",
    "--flush-rows-max",
    "1000000000",
    "--flush-age-max",
    "24h",
    "--hot-bytes-max",
    "1536MiB",
];
/// As soon as one flush is done, the next is due.
const ALWAYS_FLUSH: [&str; 2] = ["--flush-rows-max", "2000"];
/// Different requests, each sent many times with fresh ids.
const REQUESTS: usize = 20_000;

/// Measures the three in turn. `top` is the top rate, in requests a second.
pub(crate) fn run(options: &Options, top: f64, report: &mut Report) -> Result<(), Error> {
    let rate = top / 2.0;
    let mut series = Series::default();
    for _ in 0..options.runs {
        let quiet = paced(options, rate, &NEVER_FLUSH, &mut series, "flushes, quiet")?;
        let usual = paced(options, rate, &[], &mut series, "flushes, default settings")?;
        let flushing = paced(options, rate, &ALWAYS_FLUSH, &mut series, "flushes, flushing always")?;
        series.push("p50, quiet", quiet.percentile_ms(50));
        series.push("p99, quiet", quiet.percentile_ms(99));
        series.push("p99, default settings", usual.percentile_ms(99));
        series.push("p99, flushing always", flushing.percentile_ms(99));
        series.push("flushing ratio", flushing.percentile_ms(99) / quiet.percentile_ms(99));
        series.push("default ratio", usual.percentile_ms(99) / quiet.percentile_ms(99));
    }
    println!("\nacknowledgement at {rate:.0} requests/s, half of the top rate, from when each was to be sent");
    for name in ["p50, quiet", "p99, quiet", "p99, default settings", "p99, flushing always"] {
        series.print(name, "ms");
    }
    for name in ["flushes, quiet", "flushes, default settings", "flushes, flushing always"] {
        series.print(name, "");
    }
    report.add("half the top rate: p99, quiet", series.median("p99, quiet"), "ms", Goal::AtMost(10.0));
    report.add("half the top rate: p99, default settings", series.median("p99, default settings"), "ms", Goal::None);
    report.add("half the top rate: p99, flushing always", series.median("p99, flushing always"), "ms", Goal::None);
    report.add("half the top rate: default settings, to quiet", series.median("default ratio"), "", Goal::AtMost(3.0));
    report.add("half the top rate: flushing always, to quiet", series.median("flushing ratio"), "", Goal::AtMost(3.0));
    Ok(())
}

fn paced(
    options: &Options,
    rate: f64,
    flags: &[&str],
    series: &mut Series,
    flushes: &'static str,
) -> Result<Measured, Error> {
    let server = Server::product_with(&options.folder, flags)?;
    let requests = Fresh::new(singles(&server.token), 0..usize::MAX);
    let limit = Duration::from_secs(options.seconds);
    let measured = load::run_paced(server.address, requests, CONNECTIONS, limit, rate)?;
    series.push(flushes, server.metric("eye_flushes")?);
    Ok(measured)
}

/// Requests of one event each, eight events a session.
pub(crate) fn singles(token: &str) -> Vec<Vec<u8>> {
    let mut numbers = Numbers::new(1);
    let mut session = String::new();
    let requests = (0..REQUESTS).map(|index| {
        if index % 8 == 0 {
            session = numbers.uuid();
        }
        load::request(token, "application/json", &event(&mut numbers, &session))
    });
    requests.collect()
}
