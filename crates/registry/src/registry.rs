//! [`Registry`]: the handle everybody holds.
//!
//! Readers take an immutable [`State`] and wait for nobody. Writers go one by one: check the rules against the newest
//! state, fold the new record into a copy, append it, wait until it is durable, and only then show the copy. So what
//! anybody has seen survives a crash, and a change that failed was never seen.
//!
//! Every change blocks on the disk, and passwords take tens of milliseconds: call them where blocking is allowed.

mod tokens;
mod users;

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use eye_event::Timestamp;
use eye_fault::{CrashPoint, Sabotage, crash_point, sabotaged};
use eye_log::{LogFile, Offset, SharedLog};
use parking_lot::{Mutex, RwLock};

use crate::application::{APPLICATIONS_MAX, Application, check_label};
use crate::error::{Denied, Error, Result};
use crate::id::{Actor, ApplicationName, TokenId};
use crate::password::Passwords;
use crate::record::{ApplicationCreated, ErasureCancelled, ErasureRequested, Fact, Record, TokensUsed};
use crate::secret::SecretHash;
use crate::state::State;
use crate::token::Grant;

/// Bytes read from the log at a time when it is opened.
const READ_BYTES: usize = 1 << 20;
/// Uses in one record, so that a record stays under a megabyte.
const USES_PER_RECORD: usize = 10_000;
/// A use is written down if it is so much later than the last one that was; when the process stops, any.
const USE_KEPT_AFTER: Duration = Duration::from_secs(24 * 60 * 60);
/// How long a copy waits for readers to see the newest record: no longer than a sync takes.
const FILES_WAIT_MAX: Duration = Duration::from_secs(10);

/// Applications, tokens and users. Cloning it gives another handle to the same registry.
#[derive(Clone)]
pub struct Registry(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) log: SharedLog,
    state: ArcSwap<State>,
    /// Held while a change is checked, appended and shown.
    writer: Mutex<()>,
    /// The offsets of the records the audit shows, rising.
    pub(crate) audited: RwLock<Vec<Offset>>,
    passwords: Passwords,
}

impl Registry {
    /// Reads the whole log and folds it. The log must hold nothing but this registry, and must never be trimmed.
    ///
    /// # Errors
    /// `Corrupt` if a record cannot be read, was written by a newer version, contradicts the ones before it, or if the
    /// log's beginning is gone; `Log` if the log cannot be read.
    pub fn open(log: SharedLog) -> Result<Self> {
        let mut state = State::default();
        let mut audited = Vec::new();
        let mut next = Offset::FIRST;
        if log.start() > next {
            let message = "the records before it are gone: restore a backup".to_owned();
            return Err(Error::Corrupt { offset: log.start(), message });
        }
        while next < log.end() {
            let records = log.read(next, READ_BYTES)?;
            for stored in &records {
                let offset = stored.offset;
                let corrupt = |message: String| Error::Corrupt { offset, message };
                let record = Record::decode(&stored.payload).map_err(corrupt)?;
                state.fold(&record).map_err(|why| corrupt(format!("{why}: restore a backup")))?;
                if record.fact.is_audited() {
                    audited.push(offset);
                }
            }
            next = match records.last() {
                Some(last) if last.next() > next => last.next(),
                _ => {
                    return Err(Error::internal(format!("the registry's log gives nothing at {next}, before its end")));
                }
            };
        }
        tracing::debug!(
            applications = state.applications().len(),
            tokens = state.tokens().len(),
            users = state.users().len(),
            "registry opened"
        );
        Ok(Self(Arc::new(Inner {
            log,
            state: ArcSwap::from_pointee(state),
            writer: Mutex::new(()),
            audited: RwLock::new(audited),
            passwords: Passwords::default(),
        })))
    }

    /// Everything as it is now. Takes no lock; later changes do not show in it, except for the tokens' last use.
    #[must_use]
    pub fn state(&self) -> Arc<State> {
        self.0.state.load_full()
    }

    /// What this secret allows at this moment. Takes no lock: one SHA-256 and one look in a map.
    ///
    /// # Errors
    /// Why it allows nothing: `Unknown`, else `Revoked`, else `Expired`, else `UserInactive`.
    pub fn authenticate(&self, secret: &str, now: Timestamp) -> std::result::Result<Arc<Grant>, Denied> {
        let hash = SecretHash::of_stranger(secret).ok_or(Denied::Unknown)?;
        self.0.state.load().authenticate(&hash, now)
    }

    /// Makes an application. When it returns, it survives a crash.
    ///
    /// # Errors
    /// `Invalid` name or title, or too many applications; `Exists`; `Log`.
    pub fn create_application(
        &self,
        actor: &Actor,
        now: Timestamp,
        name: &str,
        title: Option<&str>,
    ) -> Result<Application> {
        let name: ApplicationName = name.parse()?;
        title.map_or(Ok(()), |title| check_label("title", title))?;
        let state = self.commit(actor, now, |state| {
            if state.application(name.as_str()).is_some() {
                return Err(Error::Exists { what: "an application with this name" });
            }
            check_room("application", state.applications().len(), APPLICATIONS_MAX)?;
            Ok(Fact::ApplicationCreated(ApplicationCreated { name: name.clone(), title: title.map(str::to_owned) }))
        })?;
        made(state.application(name.as_str()))
    }

    /// Notes for the audit who wants events erased, and by which fields they are chosen; never by which values.
    ///
    /// # Errors
    /// `Log`.
    pub fn note_erasure(&self, actor: &Actor, now: Timestamp, id: &str, criteria: &[String]) -> Result<()> {
        let fact = ErasureRequested { id: id.to_owned(), criteria: criteria.to_vec() };
        self.commit(actor, now, |_| Ok(Fact::ErasureRequested(fact))).map(drop)
    }

    /// Notes for the audit who stops an erasure.
    ///
    /// # Errors
    /// `Log`.
    pub fn note_erasure_cancelled(&self, actor: &Actor, now: Timestamp, id: &str) -> Result<()> {
        let fact = ErasureCancelled { id: id.to_owned() };
        self.commit(actor, now, |_| Ok(Fact::ErasureCancelled(fact))).map(drop)
    }

    /// Notes that a token was used. Cheap: one look in a map and one atomic; in memory until
    /// [`Registry::persist_last_used`]. Unknown tokens are passed over.
    pub fn note_used(&self, id: &TokenId, now: Timestamp) {
        if let Some(token) = self.0.state.load().token(id) {
            token.last_used.note(now);
        }
    }

    /// Appends the last uses that the log does not know yet; returns of how many tokens. They survive a crash then.
    /// The audit does not show them.
    ///
    /// # Errors
    /// `Log`; what was not appended is tried again by the next call.
    pub fn persist_last_used(&self, now: Timestamp) -> Result<usize> {
        self.persist_uses(now, Duration::ZERO)
    }

    /// The same for tokens whose last use came a day or more after the one that the log knows: called ever so often, it
    /// writes at most once a day for each token, since nothing is ever taken out of the log.
    ///
    /// # Errors
    /// `Log`; what was not appended is tried again by the next call.
    pub fn persist_last_used_daily(&self, now: Timestamp) -> Result<usize> {
        self.persist_uses(now, USE_KEPT_AFTER)
    }

    fn persist_uses(&self, now: Timestamp, after: Duration) -> Result<usize> {
        let unsaved = self.state().unsaved_uses(after);
        for part in unsaved.chunks(USES_PER_RECORD) {
            let tokens = part.iter().cloned().collect();
            self.commit(&Actor::System, now, |_| Ok(Fact::TokensUsed(TokensUsed { tokens })))?;
        }
        Ok(unsaved.len())
    }

    /// The files of its log, for a copy: every change whose call has returned is in them.
    ///
    /// # Errors
    /// `Log` if the log lies in no files, or does not show what it has made durable.
    pub fn files(&self) -> Result<Vec<LogFile>> {
        // An append returns just before readers see its record.
        let last = self.0.audited.read().last().copied().unwrap_or_default();
        if self.0.log.wait_past(last, FILES_WAIT_MAX)? <= last {
            return Err(Error::internal("the registry's log does not show its newest record: try again"));
        }
        Ok(self.0.log.files()?)
    }

    /// [`Registry::commit_if`] for what is always a change.
    fn commit(&self, by: &Actor, at: Timestamp, decide: impl FnOnce(&State) -> Result<Fact>) -> Result<Arc<State>> {
        self.commit_if(by, at, |state| decide(state).map(Some))
    }

    /// The one way a record gets into the log. `decide` sees the newest state and nobody writes meanwhile; `None`
    /// changes nothing and writes nothing. When it returns, the record is durable and shows in the state returned.
    fn commit_if(
        &self,
        by: &Actor,
        at: Timestamp,
        decide: impl FnOnce(&State) -> Result<Option<Fact>>,
    ) -> Result<Arc<State>> {
        let _writer = self.0.writer.lock();
        let before = self.0.state.load_full();
        let Some(fact) = decide(&before)? else {
            return Ok(before);
        };
        let record = Record { at, by: by.clone(), fact };
        let mut after = State::clone(&before);
        after
            .fold(&record)
            .map_err(|why| Error::internal(format!("a registry record was not written, because {why}: try again")))?;
        crash_point(CrashPoint::RegistryBeforeAppend);
        let offset = match sabotaged(Sabotage::SkipRegistryAppend) {
            true => self.0.log.end(),
            false => eye_log::append_blocking(&*self.0.log, record.encode()?, 1)?,
        };
        crash_point(CrashPoint::RegistryAfterAppend);
        if record.fact.is_audited() {
            self.0.audited.write().push(offset);
        }
        let after = Arc::new(after);
        self.0.state.store(Arc::clone(&after));
        crash_point(CrashPoint::RegistryAfterApply);
        Ok(after)
    }
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let state = self.state();
        f.debug_struct("Registry")
            .field("applications", &state.applications().len())
            .field("tokens", &state.tokens().len())
            .field("users", &state.users().len())
            .finish()
    }
}

/// What a commit has just made.
fn made<T: Clone>(item: Option<&Arc<T>>) -> Result<T> {
    item.map(|item| T::clone(item)).ok_or_else(|| Error::internal("what was just made is not there"))
}

fn check_room(field: &'static str, there: usize, at_most: usize) -> Result<()> {
    if there < at_most {
        return Ok(());
    }
    Err(Error::invalid(field, format!("there are {at_most} already, more are not kept")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::TOKENS_MAX;

    #[test]
    fn there_is_room_for_as_many_as_the_limit_says() {
        for there in [0, 1, TOKENS_MAX - 1] {
            check_room("token", there, TOKENS_MAX).unwrap();
        }
        for there in [TOKENS_MAX, TOKENS_MAX + 1, usize::MAX] {
            let refused = check_room("token", there, TOKENS_MAX).unwrap_err().to_string();
            assert!(refused.contains("token") && refused.contains("100000"), "{refused}");
        }
    }
}
