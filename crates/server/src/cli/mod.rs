//! The command line: everything `eye` does besides serving.
//!
//! Each command is one file: its arguments, its request, its way to print. They talk to the server over its public API
//! and see nothing that another client could not see; only `verify` and `restore` read files.
//!
//! | module | what it holds |
//! |---|---|
//! | [`global`], [`client`], [`failure`] | which server, how to talk to it, how a command ends |
//! | [`output`], [`text`], [`view`] | tables, colours, JSON; text made safe for a terminal; answers as read |
//! | [`question`], [`chart`] | what questions share; bars, figures, CSV |
//! | [`input`], [`lines`], [`sender`] | events in: lines with ids, batches, retries, the summary |
//! | [`csv`] | records of CSV, and cells that are no formulas |
//! | the rest | one command each |

mod accounts;
mod backup;
mod chart;
mod client;
mod csv;
mod demo;
mod diff;
mod erase;
mod events;
mod export;
mod failure;
mod funnel;
mod global;
mod import;
mod input;
mod jobs;
mod ledger;
mod lines;
mod output;
mod password;
mod paths;
mod problems;
mod question;
mod rejections;
mod restore;
mod retention;
mod send;
mod sender;
mod session;
mod sessions;
mod sql;
mod tail;
mod text;
mod trend;
mod values;
mod verify;
mod view;

use std::path::PathBuf;
use std::process::ExitCode;

use clap_complete::Shell;

use crate::config::Settings;
use client::Client;
use failure::{EXIT_CODES, Failure, Result};
pub(crate) use global::Global;
use output::Output;

// Every command that is not `serve` or `config`. No doc comment: clap would take it for the description of `eye`.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Make and list applications
    #[command(subcommand, after_help = help(accounts::APP_EXAMPLES))]
    App(accounts::App),
    /// Make, list, rotate and revoke tokens
    #[command(subcommand, after_help = help(accounts::TOKEN_EXAMPLES))]
    Token(accounts::Token),
    /// Make, list and change users
    #[command(subcommand, after_help = help(accounts::USER_EXAMPLES))]
    User(accounts::User),
    /// Send events from a file or standard input, one JSON object a line
    #[command(after_help = help(send::EXAMPLES))]
    Send(send::Args),
    /// Send events from files of other formats: NDJSON, CSV, Parquet
    #[command(after_help = help(import::EXAMPLES))]
    Import(import::Args),
    /// Write everything that a query line chooses into a file: NDJSON, CSV, Parquet
    #[command(after_help = help(export::EXAMPLES))]
    Export(export::Args),
    /// Show one session as a timeline, newest first
    #[command(after_help = help(session::EXAMPLES))]
    Session(session::Args),
    /// List sessions with their figures
    #[command(after_help = help(sessions::EXAMPLES))]
    Sessions(sessions::Args),
    /// Measure events by interval of time and by values
    #[command(after_help = help(trend::EXAMPLES))]
    Trend(trend::Args),
    /// Count who takes step after step, and where the others stop
    #[command(after_help = help(funnel::EXAMPLES))]
    Funnel(funnel::Args),
    /// Show who comes back, period by period
    #[command(after_help = help(retention::EXAMPLES))]
    Retention(retention::Args),
    /// Show which ways people take, from a start or to an end
    #[command(after_help = help(paths::EXAMPLES))]
    Paths(paths::Args),
    /// Ask anything in SQL, over events, sessions, problems and rejections
    #[command(after_help = help(sql::EXAMPLES))]
    Sql(sql::Args),
    /// List events, by any mix of filters
    #[command(after_help = help(events::EXAMPLES))]
    Events(events::Args),
    /// Show what has become of an answer: what came since, how late, how much went
    #[command(after_help = help(diff::EXAMPLES))]
    Diff(diff::Args),
    /// Show which values a field has, or which fields there are
    #[command(after_help = help(values::EXAMPLES))]
    Values(values::Args),
    /// Count what is wrong with stored events, with samples
    #[command(after_help = help(problems::EXAMPLES))]
    Problems(problems::Args),
    /// List what was refused, and why
    #[command(after_help = help(rejections::EXAMPLES))]
    Rejections(rejections::Args),
    /// Watch events as they arrive
    #[command(after_help = help(tail::EXAMPLES))]
    Tail(tail::Args),
    /// Show per token that received = stored + duplicate + rejected
    #[command(after_help = help(ledger::EXAMPLES))]
    Ledger,
    /// Move what is in memory into the table now
    #[command(after_help = help("Examples:\n  eye flush"))]
    Flush,
    /// Merge small files of the table now
    #[command(after_help = help("Examples:\n  eye compact"))]
    Compact,
    /// Show what runs in the background, and how it went
    #[command(after_help = help(jobs::EXAMPLES))]
    Jobs,
    /// Erase what belongs to a user, a session and so on, for ever
    #[command(after_help = help(erase::EXAMPLES))]
    Erase(erase::Args),
    /// Copy everything into a folder while the server runs
    #[command(after_help = help(backup::EXAMPLES))]
    Backup(backup::Args),
    /// Make a data folder out of a backup, or check one
    #[command(after_help = help(restore::EXAMPLES))]
    Restore(restore::Args),
    /// Fill a server with realistic traffic, the same for the same seed
    #[command(after_help = help(demo::EXAMPLES))]
    Demo(demo::Args),
    /// Check a data folder while no server runs: every record, every file, every invariant
    #[command(after_help = help(verify::EXAMPLES))]
    Verify(verify::Args),
    /// Print the completions of a shell
    #[command(after_help = help("Examples:\n  eye completions bash > ~/.local/share/bash-completion/completions/eye\n  eye completions fish > ~/.config/fish/completions/eye.fish"))]
    Completions {
        /// Which shell?
        shell: Shell,
    },
}

/// What a command works with.
struct Context<'a> {
    global: &'a Global,
    settings: &'a Settings,
    output: Output,
}

impl Context<'_> {
    fn client(&self) -> Result<Client> {
        self.global.client(&self.settings.data)
    }
}

/// Runs one command to its end. Blocking; nothing of the server is started.
pub(crate) fn run(global: &Global, settings: &Settings, command: Command) -> ExitCode {
    let context = Context { global, settings, output: global.output() };
    match dispatch(&context, command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

fn dispatch(context: &Context<'_>, command: Command) -> Result<()> {
    match command {
        Command::App(command) => accounts::app(context, command),
        Command::Token(command) => accounts::token(context, command),
        Command::User(command) => accounts::user(context, command),
        Command::Send(args) => send::run(context, &args),
        Command::Import(args) => import::run(context, &args),
        Command::Export(args) => export::run(context, &args),
        Command::Session(args) => session::run(context, &args),
        Command::Sessions(args) => sessions::run(context, &args),
        Command::Trend(args) => trend::run(context, &args),
        Command::Funnel(args) => funnel::run(context, &args),
        Command::Retention(args) => retention::run(context, &args),
        Command::Paths(args) => paths::run(context, &args),
        Command::Sql(args) => sql::run(context, &args),
        Command::Events(args) => events::run(context, &args),
        Command::Diff(args) => diff::run(context, &args),
        Command::Values(args) => values::run(context, &args),
        Command::Problems(args) => problems::run(context, &args),
        Command::Rejections(args) => rejections::run(context, &args),
        Command::Tail(args) => tail::run(context, &args),
        Command::Ledger => ledger::run(context),
        Command::Flush => flush(context),
        Command::Compact => compact(context),
        Command::Jobs => jobs::run(context),
        Command::Erase(args) => erase::run(context, &args),
        Command::Backup(args) => backup::run(context, &args),
        Command::Restore(args) => restore::run(context, &args),
        Command::Demo(args) => demo::run(context, &args),
        Command::Verify(args) => verify::run(context, &args),
        Command::Completions { shell } => completions(context, shell),
    }
}

fn flush(context: &Context<'_>) -> Result<()> {
    let answer = context.client()?.send("POST", "/v1/flush", &serde_json::json!({}))?;
    context.output.answer(&answer, || {
        let flushed: view::Flushed = view::read(&answer)?;
        Ok(format!(
            "{} and {} written; the table is at version {}, offset {}",
            text::counted(flushed.rows, "event"),
            text::counted(flushed.rejections, "rejection"),
            flushed.version,
            flushed.offset
        ))
    })
}

fn compact(context: &Context<'_>) -> Result<()> {
    let answer = context.client()?.send("POST", "/v1/compact", &serde_json::json!({}))?;
    context.output.answer(&answer, || {
        let compacted: view::Compacted = view::read(&answer)?;
        Ok(format!(
            "{} before, {} now; {} written again; {} removed; the table is at version {}{}",
            text::counted(compacted.files_before, "file"),
            text::counted(compacted.files_after, "file"),
            text::counted(compacted.rows, "row"),
            text::counted(compacted.vacuumed_files, "old file"),
            compacted.version,
            if compacted.complete { "" } else { "; there is more to merge: run this again" }
        ))
    })
}

fn completions(context: &Context<'_>, shell: Shell) -> Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut crate::command::command(), "eye", &mut script);
    context.output.line(String::from_utf8_lossy(&script).trim_end())
}

/// What stands below a help text: examples, then the exit codes.
fn help(examples: &str) -> String {
    format!("{examples}\n\n{EXIT_CODES}")
}

/// The path, or `-` for standard input.
fn is_stdin(path: Option<&PathBuf>) -> bool {
    path.is_none_or(|path| path.as_os_str() == "-")
}

/// A limit that a person gave, as a query parameter.
fn text_of(value: impl ToString) -> String {
    value.to_string()
}

/// An answer that does not look like The Eye's.
fn strange_answer(error: &serde_json::Error) -> Failure {
    Failure::Unreachable(format!(
        "the answer cannot be read ({error}); is this an Eye server, and as new as this program?"
    ))
}
