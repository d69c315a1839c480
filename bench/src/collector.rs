//! The seed's own request, `POST /eye/collector`, beside the seed's design: eight events a session, and one hot session.

use std::net::SocketAddr;
use std::time::Duration;

use crate::ingest::CONNECTIONS;
use crate::load::{self, Measured, Plan};
use crate::options::Options;
use crate::peers::{self, seed::Seed};
use crate::report::{Goal, Report, Series};
use crate::server::Server;
use crate::{Error, traffic};

const COLLECTOR: &str = "/eye/collector";
/// The same service with a row for each event instead of the seed's list for each session.
const ROWS: &str = "/rows/collector";
/// Before it counts: workers start, connections open.
const WARM_UP: Duration = Duration::from_millis(500);
/// More than the product can take in a second.
const PRODUCT_MOST: usize = 100_000;
/// More than the peer can take in a second.
const PEER_MOST: usize = 10_000;

/// Which sessions the events are of.
#[derive(Clone, Copy)]
enum Sessions {
    Many,
    One,
}

/// Measures both, in turn.
pub(crate) fn run(options: &Options, report: &mut Report) -> Result<(), Error> {
    if let Err(why) = peers::python().and_then(|_| Seed::start(&options.folder)) {
        report.skip("the seed's design", &why);
        return Ok(());
    }
    let mut series = Series::default();
    for run in 0..options.runs {
        many(options, run, &mut series)?;
        one(options, run, &mut series)?;
    }
    println!("\nthe seed's request, {CONNECTIONS} connections, {} s each", options.seconds);
    for name in ["the eye", "the seed's design", "a row for each event"] {
        series.print(name, "requests/s");
    }
    println!("the same, all into one session, which is empty at first");
    for name in ["the eye, one session", "the seed's design, one session", "a row for each event, one session"] {
        series.print(name, "requests/s");
    }
    report.add("seed's request: the eye", series.median("the eye"), "requests/s", Goal::None);
    report.add("seed's request: the seed's design", series.median("the seed's design"), "requests/s", Goal::None);
    report.add("seed's request: ratio", series.median("ratio"), "", Goal::AtLeast(50.0));
    report.add("seed's request: ratio to a row for each event", series.median("ratio to rows"), "", Goal::None);
    report.add("one hot session: ratio", series.median("ratio, one session"), "", Goal::AtLeast(150.0));
    let rows = series.median("ratio to rows, one session");
    report.add("one hot session: ratio to a row for each event", rows, "", Goal::None);
    Ok(())
}

fn many(options: &Options, run: u64, series: &mut Series) -> Result<(), Error> {
    let seed = on_seed(options, run, COLLECTOR, Sessions::Many)?;
    let rows = on_seed(options, run, ROWS, Sessions::Many)?;
    let eye = on_product(options, run, Sessions::Many)?;
    series.push("the eye", eye);
    series.push("the seed's design", seed);
    series.push("a row for each event", rows);
    series.push("ratio", eye / seed);
    series.push("ratio to rows", eye / rows);
    Ok(())
}

fn one(options: &Options, run: u64, series: &mut Series) -> Result<(), Error> {
    let seed = on_seed(options, run, COLLECTOR, Sessions::One)?;
    let rows = on_seed(options, run, ROWS, Sessions::One)?;
    let eye = on_product(options, run, Sessions::One)?;
    series.push("the eye, one session", eye);
    series.push("the seed's design, one session", seed);
    series.push("a row for each event, one session", rows);
    series.push("ratio, one session", eye / seed);
    series.push("ratio to rows, one session", eye / rows);
    Ok(())
}

fn on_seed(options: &Options, run: u64, path: &str, sessions: Sessions) -> Result<f64, Error> {
    let seed = Seed::start(&options.folder)?;
    // Events of sessions of their own.
    let warm = plan(&seed.token, path, run + 1_000, PEER_MOST, Sessions::Many);
    load::run(seed.address, warm, CONNECTIONS, WARM_UP)?;
    let measured = send(seed.address, &seed.token, path, run, sessions, options.seconds, PEER_MOST)?;
    Ok(measured.per_second())
}

fn on_product(options: &Options, run: u64, sessions: Sessions) -> Result<f64, Error> {
    let server = Server::product(&options.folder)?;
    let measured = send(server.address, &server.token, COLLECTOR, run, sessions, options.seconds, PRODUCT_MOST)?;
    Ok(measured.per_second())
}

fn send(
    address: SocketAddr,
    token: &str,
    path: &str,
    run: u64,
    sessions: Sessions,
    seconds: u64,
    most: usize,
) -> Result<Measured, Error> {
    let plan = plan(token, path, run, most * usize::try_from(seconds)?, sessions);
    load::run(address, plan, CONNECTIONS, Duration::from_secs(seconds))
}

/// `count` requests, each with an event of its own.
fn plan(token: &str, path: &str, run: u64, count: usize, sessions: Sessions) -> Plan {
    let mut numbers = traffic::Numbers::new(run + 1);
    let mut session = numbers.uuid();
    let requests = (0..count).map(|index| {
        if matches!(sessions, Sessions::Many) && index % 8 == 0 {
            session = numbers.uuid();
        }
        load::request_to(path, token, "application/json", &traffic::seed_event(&mut numbers, &session))
    });
    Plan { requests: requests.collect(), repeat: false }
}
