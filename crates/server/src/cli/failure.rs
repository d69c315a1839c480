//! How a command ends when it does not end well: one kind per exit code, and a message that says what to do.
//!
//! | code | meaning |
//! |---|---|
//! | 0 | done |
//! | 1 | the answer is bad news: rejected events, a session that is not there, damage found by `verify` |
//! | 2 | the command is wrong: an argument, a file, a value that the server refused |
//! | 3 | the server cannot be reached or cannot answer now; the data folder is in use |
//! | 4 | not allowed: no token, a wrong token, a token that may not do this |

use std::fmt;
use std::io;
use std::process::ExitCode;

use super::text::safe;

/// What every help text says about exit codes.
pub(crate) const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  the answer is bad news (rejected events, no such session, damage found)
  2  the command is wrong (an argument, a file, a refused value)
  3  the server cannot be reached or cannot answer now, or the data folder is in use
  4  not allowed (no token, a wrong one, or one that may not do this)";

/// Why a command did not do what it was asked.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The answer is bad news; everything worth saying has been printed, or is said here.
    BadNews(String),
    /// The command is wrong: mend it.
    Usage(String),
    /// The server cannot be reached or cannot answer now.
    Unreachable(String),
    /// Not allowed.
    NotAllowed(String),
    /// Whoever read our output has gone: nothing to say, nothing wrong.
    OutputClosed,
}

/// The result of a command.
pub(crate) type Result<T> = std::result::Result<T, Failure>;

impl Failure {
    /// A wrong command.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::Usage(message.into())
    }

    /// A local file that could not be read or written.
    pub(crate) fn file(path: impl fmt::Display, error: &io::Error) -> Self {
        Self::Usage(format!("{path}: {error}"))
    }

    /// The code this ends the process with.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::OutputClosed => 0,
            Self::BadNews(_) => 1,
            Self::Usage(_) => 2,
            Self::Unreachable(_) => 3,
            Self::NotAllowed(_) => 4,
        }
    }

    /// Says it on stderr and gives the exit code.
    pub(crate) fn report(&self) -> ExitCode {
        let message = self.to_string();
        if !message.is_empty() {
            // A closed stderr leaves nobody to tell.
            let _ = io::Write::write_all(&mut io::stderr(), format!("error: {message}\n").as_bytes());
        }
        ExitCode::from(self.exit_code())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let message = match self {
            Self::BadNews(message) | Self::Usage(message) | Self::Unreachable(message) | Self::NotAllowed(message) => {
                message
            }
            Self::OutputClosed => return Ok(()),
        };
        let mut lines = message.lines();
        f.write_str(&safe(lines.next().unwrap_or_default()))?;
        lines.try_for_each(|line| write!(f, "\n       {}", safe(line)))
    }
}
