//! The prompt of `eye sql`: statements over several lines, history, completion, and a few commands as `psql` has them.
//!
//! History lies in `$XDG_STATE_HOME/eye/sql_history` (`~/.local/state/eye/sql_history`), readable by its owner only: what
//! was asked for may name people.

use std::collections::BTreeSet;
use std::fs::DirBuilder;
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::PathBuf;

use rustyline::completion::Completer;
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::FileHistory;
use rustyline::validate::{ValidationContext, ValidationResult, Validator};
use rustyline::{CompletionType, Config, Editor, Helper};

use super::{Answer, cell};
use crate::cli::failure::{Failure, Result};

/// Statements that are remembered.
const HISTORY_MAX: usize = 1_000;
const PROMPT: &str = "eye> ";
const HELP: &str = "\
A statement ends with a semicolon and may take several lines. Tab completes tables, columns and words.

  \\d          tables
  \\d TABLE    the columns of a table
  \\?          this
  \\q          leave (Ctrl-D does too; Ctrl-C drops what is being written)";
/// What statements are made of.
const WORDS: &str = "all and any as asc between by case cast count desc distinct else end except exists explain extract \
    false filter from full group having ilike in inner intersect interval is join last left like limit not null nulls \
    offset on or order outer over partition right rows select show then time trend true union using values when where \
    with within zone funnel retention paths avg sum min max date_trunc now coalesce json_get json_get_text \
    json_get_number approx_percentile_cont approx_distinct row_number lag lead";

/// What was written.
#[derive(Debug, PartialEq, Eq)]
enum Input<'a> {
    Nothing,
    Statement(&'a str),
    Tables,
    Columns(&'a str),
    Help,
    Quit,
    Unknown(&'a str),
}

/// Asks and answers until nothing more is asked. `ask` sends a statement; `show` prints its answer.
///
/// # Errors
/// A terminal that cannot be read. A statement that fails is reported, and the next one asked for.
pub(super) fn run(
    ask: &dyn Fn(&str) -> Result<Answer>,
    show: &dyn Fn(&Answer) -> Result<()>,
    say: &dyn Fn(&str) -> Result<()>,
) -> Result<()> {
    let config = Config::builder().completion_type(CompletionType::List).history_ignore_space(true);
    let config = config.max_history_size(HISTORY_MAX).map_err(|error| terminal(&error))?.build();
    let mut editor: Editor<Words, FileHistory> = Editor::with_config(config).map_err(|error| terminal(&error))?;
    let history = history();
    if let Some(path) = &history {
        // The first time there is none.
        let _ = editor.load_history(path);
    }
    let words = Words::known(ask)?;
    say(&format!("Tables: {}. \\? for help.", words.tables.join(", ")))?;
    editor.set_helper(Some(words));
    loop {
        let line = match editor.readline(PROMPT) {
            Ok(line) => line,
            Err(ReadlineError::Interrupted) => continue,
            Err(ReadlineError::Eof) => return Ok(()),
            Err(ReadlineError::Io(error)) if error.kind() == ErrorKind::InvalidData => {
                say("what was typed is no UTF-8: type it again")?;
                continue;
            }
            Err(error) => return Err(terminal(&error)),
        };
        if !line.trim().is_empty() {
            // A space before it keeps a statement out of the history.
            let is_new = editor.add_history_entry(line.trim_end()).unwrap_or(false);
            if let Some(path) = history.as_ref().filter(|_| is_new) {
                // A prompt without a history is still a prompt.
                let _ = editor.append_history(path);
            }
        }
        let answer = match Input::read(&line) {
            Input::Nothing => continue,
            Input::Quit => return Ok(()),
            Input::Help => {
                say(HELP)?;
                continue;
            }
            Input::Unknown(command) => {
                say(&format!("there is no {command}: \\? shows what there is"))?;
                continue;
            }
            Input::Tables => ask("SHOW TABLES"),
            Input::Columns(table) => ask(&format!("DESCRIBE {table}")),
            Input::Statement(statement) => ask(statement),
        };
        match answer {
            Ok(answer) => show(&answer)?,
            Err(failure) => say(&format!("error: {failure}"))?,
        }
    }
}

fn terminal(error: &dyn std::fmt::Display) -> Failure {
    Failure::usage(format!("the terminal cannot be used: {error}; give the statement with -c"))
}

/// Where statements are remembered; nowhere, if there is no home.
fn history() -> Option<PathBuf> {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let state = set("XDG_STATE_HOME").or_else(|| Some(set("HOME")?.join(".local/state")))?;
    let folder = state.join("eye");
    DirBuilder::new().recursive(true).mode(0o700).create(&folder).ok()?;
    Some(folder.join("sql_history"))
}

impl<'a> Input<'a> {
    fn read(line: &'a str) -> Self {
        let line = line.trim();
        if line.starts_with('\\') {
            let mut words = line.trim_end_matches(';').split_whitespace();
            return match (words.next().unwrap_or_default(), words.next()) {
                ("\\d" | "\\dt", None) => Self::Tables,
                ("\\d", Some(table)) => Self::Columns(table),
                ("\\q", _) => Self::Quit,
                ("\\?" | "\\h", _) => Self::Help,
                (command, _) => Self::Unknown(command),
            };
        }
        match line.trim_end_matches(|end: char| end == ';' || end.is_whitespace()) {
            "" => Self::Nothing,
            "quit" | "exit" => Self::Quit,
            statement => Self::Statement(statement),
        }
    }
}

/// What Tab completes.
struct Words {
    tables: Vec<String>,
    words: BTreeSet<String>,
}

impl Words {
    /// The tables and columns that the server has, and what statements are made of.
    fn known(ask: &dyn Fn(&str) -> Result<Answer>) -> Result<Self> {
        let mut words: BTreeSet<String> = WORDS.split_whitespace().map(str::to_owned).collect();
        let tables = ask("SHOW TABLES")?.column("table_name");
        for table in &tables {
            words.extend(ask(&format!("DESCRIBE {table}"))?.column("column_name"));
        }
        words.extend(tables.iter().cloned());
        Ok(Self { tables, words })
    }

    /// Where the word before the cursor begins, and what it may become.
    fn complete(&self, line: &str, cursor: usize) -> (usize, Vec<String>) {
        let before = line.get(..cursor).unwrap_or(line);
        let is_word = |c: char| c.is_alphanumeric() || c == '_' || c == '\\';
        let start =
            before.rfind(|c| !is_word(c)).map_or(0, |end| end + before[end..].chars().next().map_or(1, char::len_utf8));
        let part = before[start..].to_lowercase();
        if part.is_empty() {
            return (start, Vec::new());
        }
        let is_loud = before[start..].chars().all(char::is_uppercase);
        let found = self.words.iter().filter(|word| word.starts_with(&part));
        let written = |word: &String| match is_loud && WORDS.split_whitespace().any(|known| known == word) {
            true => word.to_uppercase(),
            false => word.clone(),
        };
        (start, found.map(written).collect())
    }
}

impl Answer {
    /// The values of a column.
    fn column(&self, name: &str) -> Vec<String> {
        let place = self.columns.iter().position(|column| column.name == name);
        self.rows.iter().filter_map(|row| Some(cell(row.get(place?)?))).collect()
    }
}

impl Helper for Words {}
impl Hinter for Words {
    type Hint = String;
}
impl Highlighter for Words {}

impl Completer for Words {
    type Candidate = String;

    fn complete(&self, line: &str, pos: usize, _: &rustyline::Context<'_>) -> rustyline::Result<(usize, Vec<String>)> {
        Ok(self.complete(line, pos))
    }
}

impl Validator for Words {
    fn validate(&self, context: &mut ValidationContext<'_>) -> rustyline::Result<ValidationResult> {
        let is_done = match Input::read(context.input()) {
            Input::Statement(_) => eye_sql::is_whole(context.input()),
            _ => true,
        };
        Ok(if is_done { ValidationResult::Valid(None) } else { ValidationResult::Incomplete })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_those_of_psql() {
        for (line, input) in [
            ("  ", Input::Nothing),
            (";", Input::Nothing),
            ("\\d", Input::Tables),
            ("\\d events;", Input::Columns("events")),
            ("\\q", Input::Quit),
            ("exit", Input::Quit),
            ("\\?", Input::Help),
            ("\\x on", Input::Unknown("\\x")),
            (" SELECT 1; ", Input::Statement("SELECT 1")),
        ] {
            assert_eq!(Input::read(line), input, "{line:?}");
        }
    }

    #[test]
    fn words_are_completed_where_the_cursor_is() {
        let words = ["events", "event_id", "end", "explain"].map(str::to_owned).into();
        let words = Words { tables: Vec::new(), words };
        let complete = |line: &str| Words::complete(&words, line, line.len());
        assert_eq!(complete("SELECT * FROM eve"), (14, vec!["event_id".to_owned(), "events".to_owned()]));
        assert_eq!(complete("é(EX"), (3, vec!["EXPLAIN".to_owned()]));
        assert_eq!(complete("x.en").1, ["end"]);
        assert_eq!(complete("SELECT ").1, Vec::<String>::new());
    }
}
