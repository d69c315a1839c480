//! How answers are printed: tables and colours for people, plain columns in a pipe, JSON for programs.

use std::io::{self, IsTerminal as _, Write as _};

use comfy_table::{Attribute, Cell, CellAlignment, ContentArrangement, Table, presets};

use super::failure::{Failure, Result};
use super::text::{cut, safe, safe_json};

/// The last column of a table keeps this much, however narrow the terminal is.
const LAST_COLUMN_CHARS_MIN: usize = 32;

/// Where the answer goes and how it may look.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Output {
    is_json: bool,
    is_terminal: bool,
    has_colour: bool,
}

/// What a piece of text means; colours follow from it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Tone {
    /// All is well.
    Good,
    /// Look here.
    Warning,
    /// Something is wrong.
    Bad,
    /// Less important.
    Quiet,
    /// More important.
    Strong,
}

impl Output {
    /// Looks at stdout and `NO_COLOR`.
    pub(crate) fn new(is_json: bool, no_color: bool) -> Self {
        let is_terminal = io::stdout().is_terminal();
        let is_plain = no_color || std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let is_dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        Self { is_json, is_terminal, has_colour: is_terminal && !is_plain && !is_dumb }
    }

    /// True if a program reads the answer.
    pub(crate) fn is_json(self) -> bool {
        self.is_json
    }

    /// True if a person looks at it right now.
    pub(crate) fn is_terminal(self) -> bool {
        self.is_terminal
    }

    /// Prints text as it is, with a line end.
    pub(crate) fn line(self, text: &str) -> Result<()> {
        write_out(text.as_bytes(), b"\n")
    }

    /// Prints one JSON document and a line end; made safe if a person looks.
    pub(crate) fn document(self, json: &str) -> Result<()> {
        let json = json.trim_end();
        if self.is_terminal { self.line(&safe_json(json)) } else { self.line(json) }
    }

    /// Prints the JSON document for programs, or what `human` makes for people.
    pub(crate) fn answer(self, json: &str, human: impl FnOnce() -> Result<String>) -> Result<()> {
        if self.is_json { self.document(json) } else { self.line(&human()?) }
    }

    /// The text in the colour of its tone, where colours may be used. The text must be safe.
    pub(crate) fn tone(self, tone: Tone, text: &str) -> String {
        if !self.has_colour || text.is_empty() {
            return text.to_owned();
        }
        let code = match tone {
            Tone::Good => "32",
            Tone::Warning => "33",
            Tone::Bad => "31",
            Tone::Quiet => "2",
            Tone::Strong => "1",
        };
        format!("\u{1b}[{code}m{text}\u{1b}[0m")
    }

    /// A table. Every cell is made safe here. Columns named in `numbers` stand to the right. On a terminal the last column
    /// is cut to what is left of the line; nothing is cut in a pipe.
    pub(crate) fn table(
        self,
        header: &[&str],
        numbers: &[&str],
        rows: impl IntoIterator<Item = Vec<String>>,
    ) -> String {
        let mut rows: Vec<Vec<String>> =
            rows.into_iter().map(|row| row.iter().map(|text| safe(text).into_owned()).collect()).collect();
        if self.is_terminal {
            cut_last_column(header, &mut rows, terminal_width());
        }
        let mut table = Table::new();
        table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
        if !self.has_colour {
            table.force_no_tty();
        }
        table.set_header(header.iter().map(|name| Cell::new(name).add_attribute(Attribute::Bold)));
        for row in rows {
            table.add_row(row);
        }
        for (index, name) in header.iter().enumerate() {
            if let Some(column) = table.column_mut(index) {
                column.set_padding((0, 2));
                if numbers.contains(name) {
                    column.set_cell_alignment(CellAlignment::Right);
                }
            }
        }
        table.lines().map(|line| line.trim_end().to_owned()).collect::<Vec<_>>().join("\n")
    }
}

fn terminal_width() -> usize {
    let width = rustix::termios::tcgetwinsize(io::stdout()).map_or(0, |size| usize::from(size.ws_col));
    // Some terminals do not know how wide they are.
    if width == 0 { 100 } else { width }
}

/// Cuts the last column so that lines fit, but never below a readable width.
fn cut_last_column(header: &[&str], rows: &mut [Vec<String>], width: usize) {
    let Some(last) = header.len().checked_sub(1) else {
        return;
    };
    let widest = |column: usize| {
        let cells = rows.iter().filter_map(|row| Some(row.get(column)?.chars().count()));
        cells.chain([header[column].len()]).max().unwrap_or(0)
    };
    let others: usize = (0..last).map(|column| widest(column) + 2).sum();
    let left = width.saturating_sub(others + 1).max(LAST_COLUMN_CHARS_MIN);
    for cell in rows.iter_mut().filter_map(|row| row.get_mut(last)) {
        *cell = cut(cell, left).into_owned();
    }
}

fn write_out(text: &[u8], end: &[u8]) -> Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text).and_then(|()| out.write_all(end)).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(Failure::OutputClosed),
        Err(error) => Err(Failure::file("standard output", &error)),
        Ok(()) => Ok(()),
    }
}

/// Prints a line on stderr: what a person should know beside the answer.
pub(crate) fn note(text: &str) {
    // A closed stderr leaves nobody to tell.
    let _ = writeln!(io::stderr(), "{text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn on_a_terminal_the_last_column_fits_and_the_others_stay_whole() {
        let mut rows = vec![vec!["i".repeat(40), "x".repeat(500)], vec!["short".to_owned(), "y".to_owned()]];
        cut_last_column(&["id", "data"], &mut rows, 100);
        assert_eq!((rows[0][0].len(), rows[0][1].chars().count(), rows[1][1].as_str()), (40, 58, "y"));
        cut_last_column(&["id", "data"], &mut rows, 10);
        assert_eq!(rows[0][1].chars().count(), LAST_COLUMN_CHARS_MIN + 1);
    }

    #[test]
    fn in_a_pipe_a_table_is_whole_plain_and_safe() {
        let output = Output { is_json: false, is_terminal: false, has_colour: false };
        let long = "x".repeat(300);
        let table = output.table(
            &["a", "n"],
            &["n"],
            [vec!["\u{1b}[2J".to_owned(), long.clone()], vec!["b".into(), "7".into()]],
        );
        assert!(table.contains("\\u{1b}[2J") && table.contains(&long), "{table}");
        assert!(!table.contains('\u{1b}') && table.lines().count() == 3, "{table}");
        assert!(table.ends_with(" 7"), "numbers stand to the right:\n{table}");
    }
}
