//! [`AuditRecord`]: who did what, newest first, read from the log itself.
//!
//! What is shown is listed here field by field. A field that a record gains later stays hidden until somebody lists it,
//! so no hash gets out by being forgotten.

use bytes::Bytes;
use eye_event::Timestamp;
use eye_log::{Log, Offset, Record};
use serde::{Serialize, Serializer};
use serde_json::{Value, json};

use crate::error::{Error, Result};
use crate::id::Actor;
use crate::record::{self, Fact, TokenFacts, UserFacts};
use crate::registry::Registry;

/// Records given at once.
const LIMIT_MAX: usize = 1_000;
/// Bytes read from the log at a time.
const READ_BYTES: usize = 256 * 1024;
/// How long a record may take from durable to readable.
const SETTLE: std::time::Duration = std::time::Duration::from_secs(10);

/// One change.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AuditRecord {
    /// Its place in the registry's log.
    #[serde(serialize_with = "as_number")]
    pub offset: Offset,
    /// When.
    pub at: Timestamp,
    /// By whom.
    pub by: Actor,
    /// What kind of change, such as `token_created`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// What changed, as a JSON object. Holds no secret and no hash.
    pub details: Value,
}

impl Registry {
    /// Up to `limit` changes (1,000 at most) before this offset, the newest first; from the newest if `before` is
    /// absent. Reads the log.
    ///
    /// # Errors
    /// `Log` if it cannot be read; `Corrupt` if a record that was readable before is not.
    pub fn audit(&self, before: Option<Offset>, limit: usize) -> Result<Vec<AuditRecord>> {
        let chosen: Vec<Offset> = {
            let audited = self.0.audited.read();
            let end = before.map_or(audited.len(), |before| audited.partition_point(|offset| *offset < before));
            audited[end.saturating_sub(limit.min(LIMIT_MAX))..end].to_vec()
        };
        if let Some(newest) = chosen.last() {
            // A record is durable a moment before the log shows it.
            self.0.log.wait_past(*newest, SETTLE)?;
        }
        let mut reader = Reader { log: &*self.0.log, records: Vec::new() };
        let read = chosen.into_iter().map(|offset| audit_record(offset, &reader.payload(offset)?));
        let mut records = read.collect::<Result<Vec<_>>>()?;
        records.reverse();
        Ok(records)
    }
}

/// Reads records at rising offsets, many at a time.
struct Reader<'a> {
    log: &'a dyn Log,
    /// What was read last.
    records: Vec<Record>,
}

impl Reader<'_> {
    /// The payload of the record at this offset.
    fn payload(&mut self, offset: Offset) -> Result<Bytes> {
        if self.records.last().is_none_or(|last| last.offset < offset) {
            self.records = self.log.read(offset, READ_BYTES)?;
        }
        let found = self.records.binary_search_by_key(&offset, |record| record.offset);
        let gone = || "it is not in the log any more: restore a backup".to_owned();
        let index = found.map_err(|_| Error::Corrupt { offset, message: gone() })?;
        Ok(self.records[index].payload.clone())
    }
}

fn audit_record(offset: Offset, payload: &[u8]) -> Result<AuditRecord> {
    let decoded = record::Record::decode(payload).map_err(|message| Error::Corrupt { offset, message })?;
    let record::Record { at, by, fact } = decoded;
    Ok(AuditRecord { offset, at, by, kind: fact.type_name(), details: details(&fact) })
}

fn details(fact: &Fact) -> Value {
    match fact {
        Fact::ApplicationCreated(new) => json!({ "name": new.name, "title": new.title }),
        Fact::TokenCreated(token) => token_details(token),
        Fact::TokenRotated(rotated) => json!({
            "old": rotated.old,
            "old_expires_at": rotated.old_expires_at,
            "token": token_details(&rotated.token),
        }),
        Fact::TokenRevoked(revoked) => json!({ "id": revoked.id }),
        Fact::UserCreated(created) | Fact::SetupCodeRedeemed(created) => {
            json!({ "user": user_details(&created.user), "token": token_details(&created.token) })
        }
        Fact::UserUpdated(updated) => json!({
            "id": updated.id,
            "active": updated.active,
            "role": updated.role,
            "password_changed": updated.password_hash.is_some(),
        }),
        Fact::SetupCodeCreated(code) => json!({ "expires_at": code.expires_at }),
        Fact::ErasureRequested(erasure) => json!({ "id": erasure.id, "criteria": erasure.criteria }),
        Fact::ErasureCancelled(erasure) => json!({ "id": erasure.id }),
        Fact::TokensUsed(used) => json!({ "tokens": used.tokens }),
    }
}

/// `scopes` is null for a token that follows its user's role.
fn token_details(token: &TokenFacts) -> Value {
    json!({
        "id": token.id,
        "name": token.name,
        "kind": token.kind,
        "application": token.application,
        "scopes": token.scopes,
        "reads_all": token.reads_all,
        "user": token.user,
        "expires_at": token.expires_at,
        "imported": token.imported,
    })
}

fn user_details(user: &UserFacts) -> Value {
    json!({ "id": user.id, "name": user.name, "role": user.role, "has_password": user.password_hash.is_some() })
}

fn as_number<S: Serializer>(offset: &Offset, serializer: S) -> std::result::Result<S::Ok, S::Error> {
    serializer.serialize_u64(offset.0)
}
