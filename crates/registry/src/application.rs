//! [`Application`]: who sends events. Its name stands in every event, so it is never changed and never removed.

use eye_event::Timestamp;
use serde::Serialize;

use crate::error::{Error, Result};
use crate::id::{Actor, ApplicationName};

/// Characters of a title or of a token's name.
pub(crate) const TITLE_LENGTH_MAX: usize = 200;
/// Applications one registry holds.
pub(crate) const APPLICATIONS_MAX: usize = 10_000;

/// A sender of events.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Application {
    /// Its name and id.
    pub name: ApplicationName,
    /// What people call it.
    pub title: Option<String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// Who made it.
    pub created_by: Actor,
}

/// A text for people: something to see, on one line.
pub(crate) fn check_label(field: &'static str, text: &str) -> Result<()> {
    let is_readable = text.trim() == text && !text.is_empty() && !text.chars().any(char::is_control);
    if is_readable && text.chars().count() <= TITLE_LENGTH_MAX {
        return Ok(());
    }
    Err(Error::invalid(
        field,
        format!("send 1 to {TITLE_LENGTH_MAX} characters on one line, without spaces at its ends"),
    ))
}
