//! Secrets from a person or a pipe: never from an argument, where every process on the machine could read them.

use std::io::{self, BufRead, IsTerminal as _, Write as _};

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

use super::failure::{Failure, Result};

const SECRET_BYTES_MAX: u64 = 8 << 10;

/// Asks for a new password: twice on a terminal, else the first line of standard input.
pub(crate) fn new_password() -> Result<String> {
    if !io::stdin().is_terminal() {
        return first_line("the password");
    }
    let first = ask("new password: ")?;
    if first != ask("again: ")? {
        return Err(Failure::usage("the two passwords differ: try again"));
    }
    Ok(first)
}

/// Asks for one secret.
pub(crate) fn secret(what: &str) -> Result<String> {
    if io::stdin().is_terminal() { ask(&format!("{what}: ")) } else { first_line(what) }
}

fn first_line(what: &str) -> Result<String> {
    let mut line = String::new();
    let stdin = io::stdin().lock();
    io::Read::take(stdin, SECRET_BYTES_MAX)
        .read_line(&mut line)
        .map_err(|error| Failure::file("standard input", &error))?;
    let line = line.trim_end_matches(['\n', '\r']);
    if line.is_empty() {
        return Err(Failure::usage(format!("standard input is empty: give {what} as its first line")));
    }
    Ok(line.to_owned())
}

/// Reads a line from the terminal without showing it.
fn ask(prompt: &str) -> Result<String> {
    let mut stderr = io::stderr();
    let shown = stderr.write_all(prompt.as_bytes()).and_then(|()| stderr.flush());
    shown.map_err(|error| Failure::file("standard error", &error))?;
    let silent = Silent::start();
    let line = first_line("the secret");
    drop(silent);
    // The line end that was typed was not shown either.
    let _ = stderr.write_all(b"\n");
    line
}

/// The terminal does not show what is typed while this lives.
struct Silent(Option<Termios>);

impl Silent {
    fn start() -> Self {
        let stdin = io::stdin();
        let Ok(before) = tcgetattr(&stdin) else {
            return Self(None);
        };
        let mut silent = before.clone();
        silent.local_modes.remove(LocalModes::ECHO);
        let is_silent = tcsetattr(&stdin, OptionalActions::Flush, &silent).is_ok();
        Self(is_silent.then_some(before))
    }
}

impl Drop for Silent {
    fn drop(&mut self) {
        if let Some(before) = &self.0 {
            // Nothing better can be done with a terminal that refuses.
            let _ = tcsetattr(io::stdin(), OptionalActions::Now, before);
        }
    }
}
