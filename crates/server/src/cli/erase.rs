//! `eye erase`: events and rejections gone for ever. First it says what would go, then it asks, then it waits.

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};
use std::thread;
use std::time::Duration;

use eye_event::Timestamp;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::Context;
use super::client::{Client, encode};
use super::failure::{Failure, Result};
use super::output::{Tone, note};
use super::text::{counted, safe, thousands};
use super::view;

pub(crate) const EXAMPLES: &str = "\
What is named must hold together. Nobody sees any of it from the moment this is accepted; when it is done, nothing of it
is left in the table, its older versions, the log and the rejections. Backups and exports are elsewhere.

Examples:
  eye erase --user-id ann --dry-run
  eye erase --user-id ann
  eye erase --application old-shop --until 2024-01-01T00:00:00Z --yes
  eye erase --query 'user_id:ann data.plan=pro'
  eye erase list
  eye erase show era_4f0a19c27bd3
  eye erase cancel era_4f0a19c27bd3";

/// Between two looks at how far it is.
const LOOK_EVERY: Duration = Duration::from_millis(200);

#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Option<Which>,
    /// What belongs to this user
    #[arg(long, value_name = "ID")]
    user_id: Option<String>,
    /// What belongs to this anonymous id
    #[arg(long, value_name = "ID")]
    anonymous_id: Option<String>,
    /// What belongs to this session
    #[arg(long, value_name = "ID")]
    session_id: Option<String>,
    /// What this application sent
    #[arg(long, value_name = "NAME")]
    application: Option<String>,
    /// What occurred at or after this time
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// What occurred before this time
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Events that this query line chooses
    #[arg(long, value_name = "LINE", allow_hyphen_values = true)]
    query: Option<String>,
    /// Say what would go, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    /// Do not wait until it is done
    #[arg(long)]
    no_wait: bool,
}

/// What to do with erasures that are there.
#[derive(Debug, clap::Subcommand)]
enum Which {
    /// List erasures, the newest first
    List,
    /// Show how far one is
    Show {
        /// Its id
        id: String,
    },
    /// Stop one: what is not gone yet is seen again
    Cancel {
        /// Its id
        id: String,
    },
}

#[derive(Deserialize)]
struct Erasures {
    erasures: Vec<Erasure>,
}

#[derive(Deserialize)]
struct Erasure {
    id: Option<String>,
    state: String,
    criteria: Vec<String>,
    accepted_at: Option<Timestamp>,
    events: u64,
    rejections: u64,
    files: u64,
    files_looked_at: u64,
    files_rewritten: u64,
    bytes_before: u64,
    old_files_removed: u64,
    version: u64,
    last_error: Option<String>,
    remains: String,
}

pub(crate) fn run(context: &Context<'_>, args: &Args) -> Result<()> {
    let client = context.client()?;
    match &args.command {
        Some(Which::List) => list(context, &client),
        Some(Which::Show { id }) => show(context, &client.get(&path(id), &[])?),
        Some(Which::Cancel { id }) => show(context, &client.call("DELETE", &path(id))?),
        None => erase(context, &client, args),
    }
}

fn path(id: &str) -> String {
    format!("/v1/erasures/{}", encode(id))
}

fn list(context: &Context<'_>, client: &Client) -> Result<()> {
    let answer = client.get("/v1/erasures", &[])?;
    context.output.answer(&answer, || {
        let erasures = view::read::<Erasures>(&answer)?.erasures;
        if erasures.is_empty() {
            return Ok("no erasures".to_owned());
        }
        let rows = erasures.into_iter().map(|erasure| {
            vec![
                erasure.id.unwrap_or_default(),
                erasure.state,
                erasure.accepted_at.map(|at| at.to_string()).unwrap_or_default(),
                thousands(erasure.events),
                thousands(erasure.rejections),
                erasure.criteria.join(", "),
            ]
        });
        let header = ["id", "state", "accepted", "events", "rejections", "by"];
        Ok(context.output.table(&header, &["events", "rejections"], rows))
    })
}

fn show(context: &Context<'_>, answer: &str) -> Result<()> {
    context.output.answer(answer, || Ok(human(context, &view::read(answer)?)))
}

fn human(context: &Context<'_>, erasure: &Erasure) -> String {
    let tone = match erasure.state.as_str() {
        "done" => Tone::Good,
        "running" => Tone::Warning,
        _ => Tone::Quiet,
    };
    let mut lines = vec![format!(
        "{} {}: {} and {}, chosen by {}",
        safe(erasure.id.as_deref().unwrap_or("erasure")),
        context.output.tone(tone, &safe(&erasure.state)),
        counted(erasure.events, "event"),
        counted(erasure.rejections, "rejection"),
        safe(&erasure.criteria.join(", "))
    )];
    if erasure.state == "done" || erasure.files_rewritten > 0 {
        lines.push(format!(
            "{} looked at, {} written again or dropped, {} removed; the table is at version {}",
            counted(erasure.files_looked_at, "file"),
            thousands(erasure.files_rewritten),
            counted(erasure.old_files_removed, "old file"),
            erasure.version
        ));
    }
    lines.extend(erasure.last_error.as_ref().map(|error| format!("the last try failed: {}", safe(error))));
    lines.push(format!("what remains: {}", safe(&erasure.remains)));
    lines.join("\n")
}

fn erase(context: &Context<'_>, client: &Client, args: &Args) -> Result<()> {
    let wanted = body(args)?;
    let with = |dry_run: bool| {
        let mut body = wanted.clone();
        body.insert("dry_run".to_owned(), json!(dry_run));
        client.send("POST", "/v1/erasures", &Value::Object(body))
    };
    if args.dry_run || !args.yes {
        let answer = with(true)?;
        let preview: Erasure = view::read(&answer)?;
        if args.dry_run {
            return context.output.answer(&answer, || Ok(would(&preview)));
        }
        confirm(&preview)?;
    }
    let mut answer = with(false)?;
    let mut erasure: Erasure = view::read(&answer)?;
    let id = erasure.id.clone().unwrap_or_default();
    let is_watched = io::stderr().is_terminal();
    while erasure.state == "running" && !args.no_wait {
        thread::sleep(LOOK_EVERY);
        answer = client.get(&path(&id), &[])?;
        erasure = view::read(&answer)?;
        if is_watched {
            let looked_at = format!("{} of {} files looked at", erasure.files_looked_at, erasure.files);
            // A terminal that is gone leaves nobody to tell.
            let _ = write!(io::stderr(), "\r{looked_at:60}");
        }
    }
    if is_watched && !args.no_wait {
        note("");
    }
    show(context, &answer)
}

/// The body of the request.
fn body(args: &Args) -> Result<Map<String, Value>> {
    let fields = [
        ("user_id", &args.user_id),
        ("anonymous_id", &args.anonymous_id),
        ("session_id", &args.session_id),
        ("application", &args.application),
        ("since", &args.since),
        ("until", &args.until),
        ("query", &args.query),
    ];
    let given = fields.iter().filter_map(|(name, value)| Some(((*name).to_owned(), json!(value.as_ref()?))));
    let body: Map<String, Value> = given.collect();
    if body.is_empty() {
        let flags = fields.map(|(name, _)| format!("--{}", name.replace('_', "-"))).join(", ");
        return Err(Failure::usage(format!("say what to erase: at least one of {flags} (\"eye erase --help\")")));
    }
    Ok(body)
}

fn would(preview: &Erasure) -> String {
    format!(
        "{} and {} would go for ever, from {} ({} bytes); nothing was changed",
        counted(preview.events, "event"),
        counted(preview.rejections, "rejection"),
        counted(preview.files, "file"),
        thousands(preview.bytes_before)
    )
}

/// Asks whether it is meant; only on a terminal.
fn confirm(preview: &Erasure) -> Result<()> {
    let what = format!("{} and {}", counted(preview.events, "event"), counted(preview.rejections, "rejection"));
    if !io::stdin().is_terminal() {
        let message = format!("{what} would go for ever: nothing was erased\nadd --yes if that is what you want");
        return Err(Failure::usage(message));
    }
    let mut stderr = io::stderr();
    let asked = write!(stderr, "Erase {what} for ever? Type yes: ").and_then(|()| stderr.flush());
    asked.map_err(|error| Failure::file("standard error", &error))?;
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line).map_err(|error| Failure::file("standard input", &error))?;
    match line.trim() {
        "yes" => Ok(()),
        _ => Err(Failure::usage("nothing was erased")),
    }
}
