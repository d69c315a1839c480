//! Errors of the registry, by what the caller must do. No message repeats what was sent: it may be a secret.

use eye_log::Offset;

/// The result of a registry operation.
pub type Result<T> = std::result::Result<T, Error>;

/// What went wrong, by what the caller must do.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// The request is wrong: mend this field.
    #[error("{field}: {message}")]
    Invalid {
        /// The field that is wrong.
        field: &'static str,
        /// What is wrong with it and what to send.
        message: String,
    },
    /// What was named is not there.
    #[error("there is no such {what}: look it up in the list")]
    NotFound {
        /// `application`, `token` or `user`.
        what: &'static str,
    },
    /// The name is taken.
    #[error("{what} exists already: choose another name, or use the one that is there")]
    Exists {
        /// What is there already, such as `an application with this name`.
        what: &'static str,
    },
    /// The rules do not allow it.
    #[error("{message}")]
    Denied {
        /// Why, and what to do instead.
        message: &'static str,
    },
    /// The log did not take it, or could not be read. Nothing that is seen has changed.
    #[error("the registry's log: {0}")]
    Log(#[from] eye_log::Error),
    /// A record cannot be read, or contradicts the ones before it. Never skipped: restore a backup, or open it with
    /// the version that wrote it.
    #[error("the registry's record {offset}: {message}")]
    Corrupt {
        /// Which record.
        offset: Offset,
        /// What is wrong and what to do.
        message: String,
    },
    /// A bug, or the operating system refused something it never should. Nothing has changed.
    #[error("{message}")]
    Internal {
        /// What happened.
        message: String,
    },
}

impl Error {
    pub(crate) fn invalid(field: &'static str, message: impl Into<String>) -> Self {
        Self::Invalid { field, message: message.into() }
    }

    pub(crate) fn internal(message: impl Into<String>) -> Self {
        Self::Internal { message: message.into() }
    }
}

/// Why a token or a password opens nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// Nobody knows it; for a password: the name or the password is wrong.
    #[error("not known")]
    Unknown,
    /// The token was revoked.
    #[error("revoked")]
    Revoked,
    /// The token's time is over.
    #[error("expired")]
    Expired,
    /// The user is switched off.
    #[error("the user is inactive")]
    UserInactive,
}
