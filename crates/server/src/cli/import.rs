//! `eye import`: events out of files of any shape: NDJSON, CSV, Parquet.
//!
//! Every row has an event id before it is sent, its own or one made from the row and its number, so that a row that is
//! sent again is the same event. What was refused is written to a file beside the input. With `--resume` another small
//! file says how far the server has answered.

mod parquet;
mod rejects;
mod rows;
mod shape;
mod state;

use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::Instant;

use indicatif::ProgressBar;
use parking_lot::Mutex;
use serde_json::{Value, json};

use super::client::Client;
use super::failure::{Failure, Result};
use super::input::Input;
use super::lines::Line;
use super::output::note;
use super::send::{Pace, progress_bar, short, summary};
use super::sender::{LineRejection, Tally, Watch, send_all};
use super::text::{counted, safe, thousands};
use super::{Context, is_stdin};
use rejects::Rejects;
use rows::{Format, Row, Rows};
use shape::{Assignment, Shape};
use state::State;

pub(crate) const EXAMPLES: &str = "\
Known by their content: NDJSON (what \"eye export\" and POST /v1/events speak), CSV with a header, Parquet; NDJSON and CSV
also in gzip or zstd. A column or key that is no field of an event goes into data under its own name.

Examples:
  eye import events.ndjson.zst
  eye import old.csv --map time=timestamp --map visitor=session_id --set category=page --set name=view
  eye import 2024-*.parquet --resume
  eye import shop-and-web.ndjson --application web";

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Which files? `-` is standard input
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// In which format? auto looks at the first bytes
    #[arg(long, value_enum, default_value_t = Format::Auto)]
    format: Format,
    /// Which column is which field? session_id, category, name, timestamp, sent_at, user_id, anonymous_id, event_id, data,
    /// context, data.KEY, context.KEY; nothing behind the equals sign leaves the column out
    #[arg(long, value_name = "COLUMN=FIELD")]
    map: Vec<Assignment>,
    /// Which value has a field where the row has none?
    #[arg(long, value_name = "FIELD=VALUE")]
    set: Vec<Assignment>,
    /// Only rows of this application, by their column application
    #[arg(long, value_name = "NAME", conflicts_with = "merge_applications")]
    application: Option<String>,
    /// Take rows of several applications as events of the token's own
    #[arg(long)]
    merge_applications: bool,
    /// Remember in FILE.import.json how far the server has answered, and go on from there
    #[arg(long)]
    resume: bool,
    #[command(flatten)]
    pace: Pace,
}

/// What became of one file.
struct Imported {
    file: String,
    tally: Tally,
    /// Rows that an earlier import had done.
    skipped: u64,
    /// Rows of other applications.
    others: u64,
    rejected_file: Option<PathBuf>,
    is_complete: bool,
}

pub(crate) fn run(context: &Context<'_>, args: &Args) -> Result<()> {
    if args.resume && args.files.iter().any(|file| is_stdin(Some(file))) {
        return Err(Failure::usage("--resume cannot go back in standard input: give a file"));
    }
    let client = context.client()?;
    client.check_reachable()?;
    let (mut all, mut end) = (Vec::new(), Ok(()));
    for file in &args.files {
        let started = Instant::now();
        let (imported, result) = match import(context, args, &client, file) {
            Ok(imported) => imported,
            Err(failure) => {
                end = Err(failure);
                break;
            }
        };
        if !context.output.is_json() {
            print(context, args, &imported, started.elapsed().as_secs_f64())?;
        }
        all.push(imported);
        end = result;
        if end.is_err() {
            break;
        }
    }
    if context.output.is_json() {
        let files: Vec<Value> = all.iter().map(document).collect();
        context.output.document(&json!({ "files": files }).to_string())?;
    }
    if let Err(Failure::Unreachable(message)) = end {
        return Err(Failure::Unreachable(format!(
            "{message}\nwhat is counted above is safe. Run the same command again: rows keep their ids, so nothing is stored twice \
             within the server's dedup_window"
        )));
    }
    end?;
    let rejected: u64 = all.iter().map(|imported| imported.tally.rejected).sum();
    match rejected {
        0 => Ok(()),
        _ => Err(Failure::BadNews(format!("{} refused, see above", counted(rejected, "row")))),
    }
}

/// One file. The inner result is how sending ended; the outer error came before anything was sent.
fn import(context: &Context<'_>, args: &Args, client: &Client, file: &Path) -> Result<(Imported, Result<()>)> {
    let shape = Shape::new(&args.map, &args.set)?;
    let state = if args.resume { Some(State::load(file, client.base(), &settings(args))?) } else { None };
    let done = state.as_ref().map_or(0, |state| state.rows);
    let mut imported = Imported {
        file: file.display().to_string(),
        tally: Tally::default(),
        skipped: done,
        others: 0,
        rejected_file: None,
        is_complete: true,
    };
    if state.as_ref().is_some_and(|state| state.complete) {
        imported.rejected_file = Rejects::open(file, done)?.finish()?;
        return Ok((imported, Ok(())));
    }
    let mut rows = Rows::open(file, args.format, shape)?;
    // What an earlier import refused goes only if this one begins.
    let rejects = Rejects::open(file, done)?;
    let (total, read) = rows.progress();
    let bar = progress_bar(context, total);
    let watcher = Watcher { bar: &bar, read: &read, rejects: &rejects, state: Mutex::new(state) };
    let mut refused_here = Vec::new();
    let mut applications = Applications::new(args);
    let mut last = done;
    let mut next = || -> Result<Option<Line>> {
        loop {
            let Some(Row { number, text, application, line }) = rows.next()? else { return Ok(None) };
            if number <= done {
                continue;
            }
            last = number;
            match line {
                _ if !applications.has(application.as_deref())? => {}
                Ok(bytes) => return Ok(Some(Line { number, bytes })),
                Err(rejection) => {
                    watcher.refused(&rejection, &text)?;
                    refused_here.push(rejection);
                }
            }
        }
    };
    let (mut tally, mut result) = send_all(client, args.pace.plan(), &mut next, &watcher);
    bar.finish_and_clear();
    refused_here.into_iter().for_each(|rejection| tally.reject(rejection));
    tally.rejections.sort_by_key(|rejection| rejection.line);
    // Before the state, which may never be ahead of it.
    imported.rejected_file = rejects.finish()?;
    let state = watcher.state.into_inner();
    if let Some(mut state) = state {
        state.complete = result.is_ok();
        state.rows = if state.complete { last } else { state.rows.max(tally.answered_to) };
        result = result.and(state.save());
    }
    imported.is_complete = result.is_ok();
    imported.others = applications.others;
    imported.tally = tally;
    Ok((imported, result))
}

/// What a state file must agree with besides the file's bytes.
fn settings(args: &Args) -> String {
    format!("{:?} {:?} {:?} {:?}", args.map, args.set, args.application, args.merge_applications)
}

/// Watches the sender: progress, refused rows, the state file.
struct Watcher<'a> {
    bar: &'a ProgressBar,
    read: &'a std::sync::atomic::AtomicU64,
    rejects: &'a Rejects,
    state: Mutex<Option<State>>,
}

impl Watch for Watcher<'_> {
    fn answered(&self, tally: &Tally) {
        self.bar.set_message(short(tally));
        self.bar.set_position(self.read.load(Ordering::Relaxed));
        if let Some(state) = self.state.lock().as_mut()
            && let Err(failure) = state.advance(tally.answered_to, || self.rejects.sync())
        {
            note(&format!("warning: {failure}"));
        }
    }

    fn refused(&self, rejection: &LineRejection, line: &[u8]) -> Result<()> {
        self.rejects.add(rejection, line)
    }
}

/// Whose rows are taken. A token writes for one application, so rows of several are nobody's business by accident.
struct Applications<'a> {
    wanted: Option<&'a str>,
    is_any: bool,
    first: Option<String>,
    others: u64,
}

impl<'a> Applications<'a> {
    fn new(args: &'a Args) -> Self {
        Self { wanted: args.application.as_deref(), is_any: args.merge_applications, first: None, others: 0 }
    }

    fn has(&mut self, application: Option<&str>) -> Result<bool> {
        if let Some(wanted) = self.wanted {
            let is_wanted = application == Some(wanted);
            self.others += u64::from(!is_wanted);
            return Ok(is_wanted);
        }
        let (false, Some(application)) = (self.is_any, application) else { return Ok(true) };
        let first = self.first.get_or_insert_with(|| application.to_owned());
        if first == application {
            return Ok(true);
        }
        Err(Failure::usage(format!(
            "the file has rows of the applications {first} and {application}, and a token writes for one: import each with \
             --application NAME and its token, or all into one with --merge-applications"
        )))
    }
}

fn document(imported: &Imported) -> Value {
    let Imported { file, tally, skipped, others, rejected_file, is_complete } = imported;
    let offset: Vec<String> = tally.offset.iter().map(u64::to_string).collect();
    json!({
        "file": file,
        "stored": tally.stored,
        "duplicate": tally.duplicate,
        "rejected": tally.rejected,
        "done_before": skipped,
        "other_applications": others,
        "complete": is_complete,
        "retries": tally.retries,
        "offset": offset.join(","),
        "rejected_file": rejected_file.as_ref().map(|path| path.display().to_string()),
        "rejections": tally.rejections,
    })
}

fn print(context: &Context<'_>, args: &Args, imported: &Imported, seconds: f64) -> Result<()> {
    let mut said = Vec::new();
    if args.files.len() > 1 {
        said.push(format!("{}:", safe(&imported.file)));
    }
    if imported.skipped > 0 {
        let done = if imported.tally.answered() == 0 && imported.is_complete { "all done before" } else { "goes on" };
        said.push(format!("{done}: {} were answered by an earlier import", up_to(imported.skipped)));
    }
    said.push(summary(context, &imported.tally, seconds));
    if imported.others > 0 {
        said.push(format!("{} of other applications left out", counted(imported.others, "row")));
    }
    if let Some(path) = &imported.rejected_file {
        said.push(format!("refused rows, with their reasons: {}", safe(&path.display().to_string())));
    }
    context.output.line(&said.join("\n"))
}

fn up_to(row: u64) -> String {
    format!("rows up to {}", thousands(row))
}

/// The input's own rows, for the other files here.
fn open(file: &Path) -> Result<Input> {
    Input::open(Some(&file.to_owned()))
}
