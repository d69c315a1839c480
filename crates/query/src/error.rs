//! Errors of a question, by what the asker must do.

/// The result of a question.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a question has no answer.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// A parameter is wrong: mend it.
    #[error("{message}")]
    Invalid {
        /// The parameter, as the API spells it.
        field: &'static str,
        /// What is wrong and what to send instead.
        message: String,
    },
    /// The answer would need more memory than one question may have: ask for less.
    #[error("{message}")]
    TooMuch {
        /// Which limit was met and how to ask for less.
        message: String,
    },
    /// Nobody waits for the answer any more.
    #[error("cancelled before the answer was ready: ask again if it is still wanted")]
    Cancelled,
    /// A thread of the question panicked: a bug, which its message in the log tells more about.
    #[error("the question could not be answered: the log of the service says more")]
    Panicked,
    /// The store could not be read.
    #[error(transparent)]
    Store(#[from] eye_store::Error),
}

impl Error {
    /// The same error of a parameter with another name, such as a query line that is one of several.
    #[must_use]
    pub fn of(self, field: &'static str) -> Self {
        match self {
            Self::Invalid { message, .. } => Self::Invalid { field, message },
            other => other,
        }
    }

    /// A wrong parameter.
    pub(crate) fn invalid(field: &'static str, message: impl Into<String>) -> Self {
        Self::Invalid { field, message: message.into() }
    }
}

/// `limit` as given, if it is from 1 to `max`.
pub(crate) fn checked_limit(limit: usize, max: usize) -> Result<usize> {
    checked("limit", limit, max)
}

/// A number as given, if it is from 1 to `max`.
pub(crate) fn checked(field: &'static str, number: usize, max: usize) -> Result<usize> {
    if (1..=max).contains(&number) {
        return Ok(number);
    }
    Err(Error::invalid(field, format!("{field} is {number}: send a number from 1 to {max}")))
}
