//! `eye sql`: a statement, and its rows as a table, as JSON or as CSV; on a terminal a prompt for many.

mod prompt;

use std::io::{IsTerminal as _, Read as _};

use serde::Deserialize;
use serde_json::Value;

use super::Context;
use super::client::Client;
use super::failure::{Failure, Result};
use super::text::{counted, safe};
use super::view;

pub(crate) const EXAMPLES: &str = "\
Tables: events, sessions, problems, rejections. docs/sql.md says what they hold and what may be asked.

Examples:
  eye sql -c 'SELECT category, count(*) FROM events GROUP BY category ORDER BY 2 DESC'
  eye sql -c \"SELECT data->>'plan' AS plan, count(DISTINCT session_id) FROM events GROUP BY 1\"
  eye sql --csv < report.sql > report.csv
  eye sql                                    a prompt, with history, completion and \\d";

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The statement; read from standard input, if absent. On a terminal: a prompt
    #[arg(short, long, value_name = "SQL")]
    command: Option<String>,
    /// Wait until the server has seen this offset
    #[arg(long, value_name = "OFFSET")]
    at_least: Option<String>,
    /// Print CSV
    #[arg(long, conflicts_with = "json")]
    csv: bool,
}

#[derive(Deserialize)]
struct Answer {
    columns: Vec<Column>,
    rows: Vec<Vec<Value>>,
}

#[derive(Deserialize)]
struct Column {
    name: String,
    r#type: String,
}

pub(crate) fn run(context: &Context<'_>, args: &Args) -> Result<()> {
    let statement = match &args.command {
        Some(statement) => statement.clone(),
        None if is_at_a_terminal(context) && !args.csv && !context.output.is_json() => return prompted(context, args),
        None => {
            let mut text = String::new();
            let read = std::io::stdin().lock().read_to_string(&mut text);
            read.map_err(|error| Failure::file("standard input", &error))?;
            text
        }
    };
    if statement.trim().is_empty() {
        return Err(Failure::usage("there is no statement: give one with -c, or on standard input"));
    }
    let answer = ask(&context.client()?, args, &statement)?;
    if args.csv {
        return context.output.line(answer.trim_end_matches('\n'));
    }
    context.output.answer(&answer, || {
        let answer: Answer = view::read(&answer)?;
        Ok(show(context, &answer))
    })
}

fn ask(client: &Client, args: &Args, statement: &str) -> Result<String> {
    let mut body = serde_json::json!({"sql": statement, "format": if args.csv { "csv" } else { "json" }});
    if let Some(at_least) = &args.at_least {
        body["at_least"] = at_least.as_str().into();
    }
    client.send("POST", "/v1/sql", &body)
}

fn is_at_a_terminal(context: &Context<'_>) -> bool {
    std::io::stdin().is_terminal() && context.output.is_terminal()
}

/// Many statements, one after the other.
fn prompted(context: &Context<'_>, args: &Args) -> Result<()> {
    let client = context.client()?;
    let ask = |statement: &str| view::read(&ask(&client, args, statement)?);
    prompt::run(&ask, &|answer| context.output.line(&show(context, answer)), &|text| context.output.line(text))
}

fn show(context: &Context<'_>, answer: &Answer) -> String {
    let names: Vec<String> = answer.columns.iter().map(|column| safe(&column.name).into_owned()).collect();
    let header: Vec<&str> = names.iter().map(String::as_str).collect();
    let numbers: Vec<&str> = answer
        .columns
        .iter()
        .zip(&header)
        .filter(|(column, _)| is_number(&column.r#type))
        .map(|(_, name)| *name)
        .collect();
    let rows = answer.rows.iter().map(|row| row.iter().map(cell).collect());
    let table = context.output.table(&header, &numbers, rows);
    format!("{table}\n\n{}", counted(answer.rows.len() as u64, "row"))
}

fn is_number(kind: &str) -> bool {
    ["smallint", "integer", "bigint", "numeric", "real", "double precision"].contains(&kind)
}

fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
