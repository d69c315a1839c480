//! Clients under load: writers that note what they send and what they are told, readers that watch a session.
//!
//! The rule: an event is noted, in memory and in the journal, before its first byte is sent, and an acknowledgement after
//! its last byte was read. Writers and readers live on over faults, with what they know. Each belongs to one of two
//! applications and has a token of it; sessions and most ids are the same in both.
//!
//! | module | what it holds |
//! |---|---|
//! | `notes` | what all clients share |
//! | `tenants` | the applications and their tokens |
//! | `content` | what writers send |
//! | `writer` | a writer |
//! | `reader` | a reader |

mod content;
mod notes;
mod reader;
mod tenants;
mod writer;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

pub use content::NOBODY;
pub use notes::Notes;
pub use reader::Reader;
pub use tenants::{APPLICATIONS, Tokens};
pub use writer::Writer;

use crate::Result;
use crate::random::Random;

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
    /// Use an id in every application. Not where an id has to be that of one event.
    pub shares_ids: bool,
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
            shares_ids: true,
        }
    }

    /// The name of a session.
    #[must_use]
    pub fn session(&self, number: u64) -> String {
        format!("{}-s{number}", self.run)
    }

    /// Its writers and readers. `random` makes what the writers do.
    #[must_use]
    pub fn clients(&self, random: &Random) -> (Vec<Writer>, Vec<Reader>) {
        let writers = (0..self.writers).map(|number| Writer::new(self, number, random));
        let readers = (0..self.readers).map(|number| Reader::new(self.session(u64::from(number)), number));
        (writers.collect(), readers.collect())
    }

    /// All of them.
    #[must_use]
    pub fn all_sessions(&self) -> Vec<String> {
        (0..self.sessions).map(|number| self.session(number)).collect()
    }
}

/// Writers and readers at work while `fault` runs; they stop when it returns. Those of an application without a token rest;
/// but writers of the first one can do with the command line's.
///
/// # Errors
/// As `fault`.
pub fn during<T>(
    writers: &mut [Writer],
    readers: &mut [Reader],
    (address, token, tokens): (SocketAddr, &str, &Tokens),
    notes: &Notes,
    fault: impl FnOnce() -> Result<T>,
) -> Result<T> {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let stop = &stop;
        for writer in writers {
            let any = (writer.application == APPLICATIONS[0]).then_some(token);
            if let Some(token) = tokens.of(writer.application).or(any) {
                scope.spawn(move || writer.run(address, token, notes, stop));
            }
        }
        for reader in readers {
            if let Some(token) = tokens.of(reader.application) {
                scope.spawn(move || reader.run(address, token, notes, stop));
            }
        }
        let result = fault();
        stop.store(true, Ordering::Relaxed);
        result
    })
}
