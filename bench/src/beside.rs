//! Acknowledgements while long questions run: each question in turn is asked again and again over some millions of events,
//! beside single events that are sent at a fixed rate.
//!
//! The load and the client of the question run on the same cores as the server, which makes it worse than it is.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::json;

use crate::client::{Client, Request};
use crate::ingest::{self, CONNECTIONS};
use crate::load;
use crate::machine::{self, median};
use crate::options::Options;
use crate::query::{self, Place};
use crate::report::{Goal, Report, Series};
use crate::server::{self, Server};
use crate::traffic::Fresh;
use crate::{Error, latency};

/// How many events are asked about.
const EVENTS: usize = 3_000_000;
/// Requests a second that leave both cores free.
const MODEST: f64 = 1_000.0;
/// Far more requests than are sent in one measurement, so that no event is sent twice.
const REQUESTS_APART: usize = 10_000_000;
/// What stops the runaways; nobody asks for suggestions.
const FLAGS: [&str; 8] =
    ["--sql-time-max", "3s", "--sql-spill-bytes-max", "256MiB", "--dedup-window", "1m", "--catalogue-rows-max", "0"];
/// How often each question is asked alone.
const ALONE: usize = 3;

/// A question that is asked all the time.
struct Asked {
    key: &'static str,
    request: Request,
    /// The status of each answer.
    status: u16,
}

/// Runs everything, or beside the questions asked for (`hours`, `funnel`, `sql`, `runaway-time`, `runaway-spill`).
pub(crate) fn run(arguments: &[&str]) -> Result<(), Error> {
    let options = Options::parse(arguments)?;
    println!("machine: {}", machine::line());
    println!("command: cargo xtask bench beside {}", arguments.join(" "));
    let mut questions = questions();
    questions.retain(|question| options.wants(question.key));
    let place = Place::new(&options, options.events.unwrap_or(EVENTS))?;
    let rate = match options.rate {
        Some(rate) => rate,
        None => ingest::top_rate(&options)? / 2.0,
    };
    println!("{rate:.0} requests/s; questions over {} events", place.events);
    let data = server::data_folder(&options.folder)?;
    place.copy_at_rest(data.path())?;
    let server = Server::open(data.path(), &FLAGS)?;
    server.settle();
    let mut report = Report::default();
    let alone = alone(&server, &questions)?;
    let fresh = Fresh::new(latency::singles(&server.token), 0..usize::MAX);
    let mut begins = (0..).step_by(REQUESTS_APART);
    let mut next = || fresh.numbered(begins.next().unwrap_or_default()..usize::MAX);
    for (rate, name) in
        [(rate, if options.rate.is_some() { "the given rate" } else { "half the top rate" }), (MODEST, "a modest rate")]
    {
        let (mut series, mut times) = (Series::default(), BTreeMap::new());
        for _ in 0..options.runs {
            let limit = Duration::from_secs(options.seconds);
            let send = |fresh: Fresh| load::run_paced(server.address, fresh, CONNECTIONS, limit, rate);
            let quiet = send(next())?;
            series.push("quiet, p50", quiet.percentile_ms(50));
            series.push("quiet", quiet.percentile_ms(99));
            for question in &questions {
                let fresh = next();
                let (measured, took) = beside(&server, question, || send(fresh))?;
                series.push(question.key, measured.percentile_ms(99));
                let ratio = measured.percentile_ms(99) / quiet.percentile_ms(99);
                series.push(ratio_name(question.key), ratio);
                times.entry(question.key).or_insert_with(Vec::new).extend(took);
            }
        }
        println!("\n{name}, {rate:.0} requests/s: p99 of acknowledgements, from when each was to be sent");
        for key in ["quiet, p50", "quiet"].into_iter().chain(questions.iter().map(|question| question.key)) {
            series.print(key, "ms");
        }
        report.add(&format!("{name}: p99, quiet"), series.median("quiet"), "ms", Goal::None);
        for Asked { key, .. } in &questions {
            report.add(&format!("{name}: p99 beside {key}"), series.median(key), "ms", Goal::None);
            let ratio = series.median(ratio_name(key));
            report.add(&format!("{name}: p99 beside {key}, to quiet"), ratio, "", Goal::AtMost(3.0));
            let took = times.get_mut(key).map(|times| median(times));
            report.add(&format!("{name}: {key} itself"), took, "ms", Goal::None);
        }
    }
    for (question, took) in questions.iter().zip(alone) {
        report.add(&format!("nothing else: {} itself", question.key), Some(took), "ms", Goal::None);
    }
    report.add("server memory at its highest", Some(server.peak_mib()), "MiB", Goal::None);
    report.print();
    server.stop()
}

fn questions() -> Vec<Asked> {
    let sql = |key, sql: &str, status| Asked { key, request: Request::Post("/v1/sql", json!({"sql": sql})), status };
    let mut all: Vec<_> = query::long().into_iter().map(|(key, request)| Asked { key, request, status: 200 }).collect();
    all.extend([
        sql("sql", "SELECT count(DISTINCT session_id) FROM events", 200),
        // Finds nothing among millions of millions of pairs: stopped by its time.
        sql(
            "runaway-time",
            "SELECT count(*) FROM generate_series(1, 1000000) a JOIN events b ON a.value + b.offset < 0",
            422,
        ),
        // Does not fit into its memory, and then not onto its disk.
        sql(
            "runaway-spill",
            "SELECT max(place) FROM (SELECT row_number() OVER (ORDER BY data, event_id) AS place FROM events)",
            422,
        ),
    ]);
    all
}

fn ratio_name(key: &str) -> &'static str {
    match key {
        "hours" => "hours, to quiet",
        "funnel" => "funnel, to quiet",
        "sql" => "sql, to quiet",
        "runaway-time" => "runaway-time, to quiet",
        _ => "runaway-spill, to quiet",
    }
}

/// Median milliseconds of each question, while there is nothing else to do.
fn alone(server: &Server, questions: &[Asked]) -> Result<Vec<f64>, Error> {
    let each = |question: &Asked| {
        let mut client = Client::new(server)?;
        ask(&mut client, question)?;
        let mut times = (0..ALONE).map(|_| ask(&mut client, question)).collect::<Result<Vec<_>, _>>()?;
        Ok::<_, Error>(median(&mut times))
    };
    questions.iter().map(each).collect()
}

/// Asks once. Milliseconds.
fn ask(client: &mut Client, question: &Asked) -> Result<f64, Error> {
    let answer = client.ask(&question.request)?;
    // Which limit stopped it does not matter here.
    if answer.status / 100 != question.status / 100 {
        let text = String::from_utf8_lossy(&answer.body);
        return Err(format!("{}: status {}: {text}", question.key, answer.status).into());
    }
    Ok(answer.took.as_secs_f64() * 1e3)
}

/// Does something while a question is asked again and again. What it gave, and how long the answers took that were there
/// by then.
fn beside<T>(
    server: &Server,
    question: &Asked,
    work: impl FnOnce() -> Result<T, Error>,
) -> Result<(T, Vec<f64>), Error> {
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let asking = scope.spawn(|| {
            let (mut client, mut times) = (Client::new(server)?, Vec::new());
            while !is_over.load(Ordering::Acquire) {
                let took = ask(&mut client, question)?;
                if !is_over.load(Ordering::Acquire) || times.is_empty() {
                    times.push(took);
                }
            }
            Ok::<_, Error>(times)
        });
        let done = work();
        is_over.store(true, Ordering::Release);
        let times = asking.join().map_err(|_| "asking panicked")??;
        Ok((done?, times))
    })
}
