//! Clients under load: writers that note what they send and what they are told, readers that watch a session.
//!
//! The rule: an event is noted, in memory and in the journal, before its first byte is sent, and an acknowledgement after
//! its last byte was read. Writers and readers live on over faults, with what they know.
//!
//! | module | what it holds |
//! |---|---|
//! | `notes` | what all clients share |
//! | `writer` | a writer |
//! | `reader` | a reader |

mod notes;
mod reader;
mod writer;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

pub use notes::Notes;
pub use reader::Reader;
pub use writer::Writer;

use crate::Result;

/// What the load looks like.
#[derive(Clone, Debug)]
pub struct Shape {
    /// In every id: nothing of another run is taken for ours.
    pub run: String,
    /// Writers.
    pub writers: u16,
    /// Readers.
    pub readers: u16,
    /// Sessions; the first one gets half of everything.
    pub sessions: u64,
    /// One event in so many is large.
    pub large_one_in: u64,
    /// A pause after each answer.
    pub pause: Duration,
    /// Send requests again that were not answered, and some that were. Not where the dedup window may close in between.
    pub repeats: bool,
}

impl Shape {
    /// The usual load.
    #[must_use]
    pub fn new(run: impl Into<String>) -> Self {
        Self {
            run: run.into(),
            writers: 6,
            readers: 2,
            sessions: 8,
            large_one_in: 60,
            pause: Duration::from_millis(2),
            repeats: true,
        }
    }

    /// The name of a session.
    #[must_use]
    pub fn session(&self, number: u64) -> String {
        format!("{}-s{number}", self.run)
    }

    /// All of them.
    #[must_use]
    pub fn all_sessions(&self) -> Vec<String> {
        (0..self.sessions).map(|number| self.session(number)).collect()
    }
}

/// Writers and readers at work while `fault` runs; they stop when it returns.
///
/// # Errors
/// As `fault`.
pub fn during<T>(
    writers: &mut [Writer],
    readers: &mut [Reader],
    (address, token): (SocketAddr, &str),
    notes: &Arc<Notes>,
    fault: impl FnOnce() -> Result<T>,
) -> Result<T> {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for writer in writers {
            scope.spawn(|| writer.run(address, token, notes, &stop));
        }
        for reader in readers {
            scope.spawn(|| reader.run(address, token, notes, &stop));
        }
        let result = fault();
        stop.store(true, Ordering::Relaxed);
        result
    })
}
