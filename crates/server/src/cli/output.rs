//! How answers are printed: tables and colours for people, plain columns in a pipe, JSON for programs.

use std::io::{self, IsTerminal as _, Write as _};

use comfy_table::{Attribute, Cell, CellAlignment, ContentArrangement, Table, presets};

use super::failure::{Failure, Result};
use super::text::{safe, safe_json};

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

    /// A table. Every cell is made safe here. Columns named in `numbers` stand to the right.
    pub(crate) fn table(
        self,
        header: &[&str],
        numbers: &[&str],
        rows: impl IntoIterator<Item = Vec<String>>,
    ) -> String {
        let mut table = Table::new();
        table.load_style(presets::NOTHING);
        if self.is_terminal {
            table.set_content_arrangement(ContentArrangement::Dynamic);
        } else {
            table.force_no_tty().set_content_arrangement(ContentArrangement::Disabled);
        }
        table.set_header(header.iter().map(|name| {
            let cell = Cell::new(name);
            if self.has_colour { cell.add_attribute(Attribute::Bold) } else { cell }
        }));
        for row in rows {
            table.add_row(row.iter().map(|text| Cell::new(safe(text))));
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
