//! [`Cancel`]: lets whoever asked stop a question that is running. Checked once per slice, so a stop takes milliseconds.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::{Error, Result};

/// A switch shared by the asker and the running question. Once on, it stays on.
#[derive(Debug, Default)]
pub struct Cancel(AtomicBool);

impl Cancel {
    /// A switch that is off.
    #[must_use]
    pub const fn new() -> Self {
        Self(AtomicBool::new(false))
    }

    /// Stops the question at its next check.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Goes on, or stops.
    ///
    /// # Errors
    /// [`Error::Cancelled`] once [`Cancel::cancel`] was called.
    pub fn check(&self) -> Result<()> {
        if self.0.load(Ordering::Relaxed) { Err(Error::Cancelled) } else { Ok(()) }
    }
}
