//! The product's questions beside DuckDB, ClickHouse's engine and PostgreSQL, on the same rows, in the same run.
//!
//! Answers are compared, not only timed: a figure that is not the peers' is an error of one of them, and the table says so.

mod data;
mod dialect;
mod one_by_one;
mod questions;
mod store;

use crate::client::Client;
use crate::machine::{self, median};
use crate::options::Options;
use crate::report::{Goal, Report};
use crate::server::Server;
use crate::{Error, peers};

use dialect::Dialect;
use questions::Question;
use store::Peer;

pub(crate) use questions::long;
pub(crate) use store::Place;

/// How many events unless asked otherwise.
const EVENTS: usize = 20_000_000;
/// How long one question may take of a peer, all its runs together.
const PEER_SECONDS: u64 = 20;

/// Asks everything, or the question asked for, and prints it.
pub(crate) fn run(arguments: &[&str]) -> Result<(), Error> {
    let options = Options::parse(arguments)?;
    println!("machine: {}", machine::line());
    println!("command: cargo xtask bench query {}", arguments.join(" "));
    let place = Place::new(&options, options.events.unwrap_or(EVENTS))?;
    let server = place.product(options.compaction)?;
    let mut report = Report::default();
    let mut peers = if options.peers { start_peers(&place, &mut report) } else { Vec::new() };
    for peer in &peers {
        println!("peer: {}", peer.version);
    }
    println!(
        "{} events of {} sessions in {} days; medians of {} warm runs, over HTTP, product and peers in turn\n",
        place.events,
        data::sessions(place.events),
        data::DAYS,
        options.runs
    );
    let mut table = Table::new(&peers);
    if options.wants("session") {
        one_by_one::sessions(&place).ask(&server, &mut peers, &mut table)?;
    }
    if options.wants("hours-once") {
        one_by_one::hours().ask(&server, &mut peers, &mut table)?;
    }
    for question in questions::all(&server)?.iter().filter(|question| options.wants(question.key)) {
        ask(question, &server, &mut peers, options.runs, &mut table)?;
    }
    table.finish(&mut report);
    on_disk(&place, &server, &mut peers, &mut report)?;
    report.add("server memory at its highest", Some(server.peak_mib()), "MiB", Goal::None);
    report.print();
    server.stop()
}

/// Those that can be started; the others are skipped and say why.
fn start_peers(place: &Place, report: &mut Report) -> Vec<Peer> {
    let mut started = Vec::new();
    for (dialect, name) in
        [(Dialect::DuckDb, "DuckDB"), (Dialect::ClickHouse, "ClickHouse's engine"), (Dialect::Postgres, "PostgreSQL")]
    {
        match peers::python().and_then(|_| place.peer(dialect)) {
            Ok(peer) => started.push(peer),
            Err(why) => report.skip(name, &why),
        }
    }
    started
}

fn ask(question: &Question, server: &Server, peers: &mut [Peer], runs: u64, table: &mut Table) -> Result<(), Error> {
    // The server closes a connection on which nothing is asked while the peers are.
    let mut client = Client::new(server)?;
    let (mut times, mut rows, mut before) = (Vec::new(), Vec::new(), 0.0);
    for run in 0..=runs {
        if run == 1 {
            before = server.cpu_seconds();
        }
        let answer = client.ask(&question.request).map_err(|error| format!("{}: {error}", question.name))?;
        let body = answer.json().map_err(|error| format!("{}: {error}", question.name))?;
        if run > 0 {
            times.push(answer.took.as_secs_f64() * 1e3);
        }
        rows = (question.rows)(&body);
    }
    rows.sort();
    let mut line = Line::new(question.name, question.ratio_max, question.milliseconds_max);
    line.eye = median(&mut times);
    line.cpu = Some((server.cpu_seconds() - before) / runs as f64 * 1e3);
    for peer in peers {
        let mut best: Option<(f64, bool)> = None;
        for name in peer.tables {
            let sql = (question.sql)(peer.dialect).replace("{events}", name);
            match peer.engine.ask(&sql, runs, PEER_SECONDS) {
                Ok(mut answer) => {
                    let equal = is_equal(&rows, &answer.rows, question.compared);
                    let took = median(&mut answer.milliseconds);
                    best = Some(best.map_or((took, equal), |(best, all)| (took.min(best), all && equal)));
                }
                Err(error) => println!("{}: {}: {error}", question.name, peer.version),
            }
        }
        line.peers.push(best);
        if let Some(sql) = question.parted.as_ref().filter(|_| peer.dialect == Dialect::ClickHouse) {
            match peer.engine.ask(sql, runs, PEER_SECONDS) {
                Ok(mut answer) => line.parted = Some(median(&mut answer.milliseconds)),
                Err(error) => println!("{}: {error}", question.name),
            }
        }
    }
    table.add(line);
    Ok(())
}

/// True if these are the same rows, in any order; the first difference is told.
fn is_equal(ours: &[String], theirs: &[Vec<String>], compared: usize) -> bool {
    let mut theirs: Vec<String> = theirs.iter().map(|row| row[..compared].join("|")).collect();
    theirs.sort();
    if ours != theirs {
        let first = ours.iter().zip(&theirs).find(|(ours, theirs)| ours != theirs);
        println!("not equal: {} rows and {}, first {first:?}", ours.len(), theirs.len());
    }
    ours == theirs
}

/// The time that so many percent are at most.
pub(crate) fn percentile(times: &mut [f64], percent: usize) -> f64 {
    times.sort_by(f64::total_cmp);
    times.get((times.len() * percent / 100).min(times.len().saturating_sub(1))).copied().unwrap_or_default()
}

/// One question's figures, in milliseconds.
struct Line {
    name: &'static str,
    eye: f64,
    /// The server's time on all cores: what does not depend on who else is busy.
    cpu: Option<f64>,
    /// Of each peer its time, and whether its answer was the same.
    peers: Vec<Option<(f64, bool)>>,
    /// ClickHouse's, where JSON is taken apart.
    parted: Option<f64>,
    ratio_max: f64,
    milliseconds_max: Option<f64>,
}

impl Line {
    fn new(name: &'static str, ratio_max: f64, milliseconds_max: Option<f64>) -> Self {
        Self { name, eye: 0.0, cpu: None, peers: Vec::new(), parted: None, ratio_max, milliseconds_max }
    }

    fn ratio(&self) -> Option<f64> {
        let best = self.peers.iter().flatten().map(|(took, _)| *took).reduce(f64::min)?;
        Some(self.eye / best)
    }
}

/// The table of questions, printed line by line as they are answered.
struct Table(Vec<Line>);

impl Table {
    fn new(peers: &[Peer]) -> Self {
        print!("{:<52}{:>10}{:>10}", "milliseconds", "The Eye", "its CPU");
        for peer in peers {
            print!("{:>12}", peer.version.split(' ').next().unwrap_or_default());
        }
        println!("{:>9}  answers", "ratio");
        Self(Vec::new())
    }

    fn add(&mut self, line: Line) {
        let cpu = line.cpu.map_or_else(String::new, |cpu| format!("{cpu:.0}"));
        print!("{:<52}{:>10.2}{cpu:>10}", line.name, line.eye);
        for peer in &line.peers {
            match peer {
                Some((took, _)) => print!("{took:>12.2}"),
                None => print!("{:>12}", "–"),
            }
        }
        let answers = match line.peers.iter().flatten().all(|(_, equal)| *equal) {
            _ if line.peers.is_empty() => "",
            true => "equal",
            false => "NOT EQUAL",
        };
        let ratio = line.ratio().map_or_else(String::new, |ratio| format!("{ratio:.2}"));
        print!("{ratio:>9}  {answers}");
        match line.parted {
            Some(parted) => println!("  (ClickHouse's JSON type, not as it was sent: {parted:.2})"),
            None => println!(),
        }
        self.0.push(line);
    }

    fn finish(&self, report: &mut Report) {
        for line in &self.0 {
            report.add(
                &format!("{}: ratio to the best peer", line.name),
                line.ratio(),
                "",
                Goal::AtMost(line.ratio_max),
            );
            if let Some(most) = line.milliseconds_max {
                report.add(line.name, Some(line.eye), "ms", Goal::AtMost(most));
            }
        }
        let ratios: Vec<f64> = self.0.iter().filter_map(Line::ratio).collect();
        if !ratios.is_empty() {
            let mean = (ratios.iter().map(|ratio| ratio.ln()).sum::<f64>() / ratios.len() as f64).exp();
            report.add("geometric mean of the ratios", Some(mean), "", Goal::None);
        }
    }
}

fn on_disk(place: &Place, server: &Server, peers: &mut [Peer], report: &mut Report) -> Result<(), Error> {
    let each = |bytes: u64| Some(bytes as f64 / place.events as f64);
    let table = server.metric("eye_table_bytes")? / place.events as f64;
    report.add("on disk: The Eye's table", Some(table), "B/event", Goal::None);
    report.add("on disk: The Eye's table", Some(server.metric("eye_table_files")?), "files", Goal::None);
    for peer in peers {
        for (table, bytes) in peer.engine.bytes()? {
            report.add(&format!("on disk: {}, {table}", peer.version), each(bytes), "B/event", Goal::None);
        }
    }
    Ok(())
}
