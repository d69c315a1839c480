//! The records of the registry's log, version 1.
//!
//! One record is one JSON object and one offset:
//! ```json
//! {"v":1,"at":"2026-11-23T18:00:00.000000Z","by":"local_cli","type":"application_created","name":"web-shop"}
//! ```
//! A record is a fact for ever, so reading is strict: an unknown version, type or field was written by a newer version
//! and is refused, never skipped. A new kind of fact is a new type; a type's fields never change their meaning. Every
//! record is read back before it is appended, so that nothing is written that could not be opened.

use std::collections::BTreeMap;

use bytes::Bytes;
use eye_event::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::error::{Error, Result};
use crate::id::{Actor, ApplicationName, TokenId, UserId};
use crate::password::PasswordHash;
use crate::secret::SecretHash;
use crate::token::{Scopes, TokenKind};
use crate::user::Role;

const VERSION: u64 = 1;
/// Every type there is, to tell a newer version's from a damaged one.
const TYPES: [&str; 11] = [
    "application_created",
    "token_created",
    "token_rotated",
    "token_revoked",
    "user_created",
    "user_updated",
    "setup_code_created",
    "setup_code_redeemed",
    "tokens_used",
    "erasure_requested",
    "erasure_cancelled",
];

/// One change: when, by whom, what.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Record {
    pub(crate) at: Timestamp,
    pub(crate) by: Actor,
    pub(crate) fact: Fact,
}

/// What changed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum Fact {
    ApplicationCreated(ApplicationCreated),
    TokenCreated(TokenFacts),
    TokenRotated(TokenRotated),
    TokenRevoked(TokenRevoked),
    UserCreated(UserCreated),
    UserUpdated(UserUpdated),
    SetupCodeCreated(SetupCodeCreated),
    SetupCodeRedeemed(UserCreated),
    TokensUsed(TokensUsed),
    ErasureRequested(ErasureRequested),
    ErasureCancelled(ErasureCancelled),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ApplicationCreated {
    pub(crate) name: ApplicationName,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) title: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TokenFacts {
    pub(crate) id: TokenId,
    pub(crate) name: String,
    pub(crate) kind: TokenKind,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) application: Option<ApplicationName>,
    /// Absent: follows the user's role.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) scopes: Option<Scopes>,
    pub(crate) reads_all: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) user: Option<UserId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) expires_at: Option<Timestamp>,
    pub(crate) imported: bool,
    pub(crate) hash: SecretHash,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TokenRotated {
    pub(crate) old: TokenId,
    pub(crate) old_expires_at: Timestamp,
    pub(crate) token: TokenFacts,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TokenRevoked {
    pub(crate) id: TokenId,
}

/// A user and the token made with it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct UserCreated {
    pub(crate) user: UserFacts,
    pub(crate) token: TokenFacts,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct UserFacts {
    pub(crate) id: UserId,
    pub(crate) name: String,
    pub(crate) role: Role,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) password_hash: Option<PasswordHash>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct UserUpdated {
    pub(crate) id: UserId,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) active: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) role: Option<Role>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) password_hash: Option<PasswordHash>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SetupCodeCreated {
    pub(crate) hash: SecretHash,
    pub(crate) expires_at: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TokensUsed {
    /// Each token's last use.
    pub(crate) tokens: BTreeMap<TokenId, Timestamp>,
}

/// Somebody wants events gone. Never holds a value that they were chosen by: it would outlive them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ErasureRequested {
    pub(crate) id: String,
    /// Names of fields.
    pub(crate) criteria: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ErasureCancelled {
    pub(crate) id: String,
}

impl Fact {
    /// Its name in the log.
    pub(crate) fn type_name(&self) -> &'static str {
        let index = match self {
            Self::ApplicationCreated(_) => 0,
            Self::TokenCreated(_) => 1,
            Self::TokenRotated(_) => 2,
            Self::TokenRevoked(_) => 3,
            Self::UserCreated(_) => 4,
            Self::UserUpdated(_) => 5,
            Self::SetupCodeCreated(_) => 6,
            Self::SetupCodeRedeemed(_) => 7,
            Self::TokensUsed(_) => 8,
            Self::ErasureRequested(_) => 9,
            Self::ErasureCancelled(_) => 10,
        };
        TYPES[index]
    }

    /// False for what is bookkeeping and nobody's decision.
    pub(crate) fn is_audited(&self) -> bool {
        !matches!(self, Self::TokensUsed(_))
    }
}

#[derive(Serialize)]
struct Envelope<'a> {
    v: u64,
    at: Timestamp,
    by: &'a Actor,
    #[serde(flatten)]
    fact: &'a Fact,
}

impl Record {
    /// The bytes for the log, after reading them back.
    pub(crate) fn encode(&self) -> Result<Bytes> {
        let envelope = Envelope { v: VERSION, at: self.at, by: &self.by, fact: &self.fact };
        let bytes = serde_json::to_vec(&envelope)
            .map_err(|_| Error::internal("a registry record could not be written as JSON"))?;
        match Self::decode(&bytes) {
            Ok(read) if read == *self => Ok(bytes.into()),
            _ => Err(Error::internal("a registry record would not read back as it was written: is the clock right?")),
        }
    }

    /// Reads one record; the error says what is wrong and what to do, without repeating any value.
    pub(crate) fn decode(bytes: &[u8]) -> std::result::Result<Self, String> {
        let Ok(Value::Object(mut fields)) = serde_json::from_slice(bytes) else {
            return Err("not a JSON object: restore a backup".to_owned());
        };
        match fields.remove("v").and_then(|version| version.as_u64()) {
            Some(VERSION) => {}
            Some(version) => {
                return Err(format!(
                    "format version {version} is not known here: open it with the version that wrote it"
                ));
            }
            None => return Err("no format version: restore a backup".to_owned()),
        }
        check_type(&fields)?;
        let at = field(&mut fields, "at")?;
        let by = field(&mut fields, "by")?;
        let fact = Fact::deserialize(Value::Object(fields)).map_err(|error| explain(&error.to_string()))?;
        Ok(Self { at, by, fact })
    }
}

fn check_type(fields: &Map<String, Value>) -> std::result::Result<(), String> {
    match fields.get("type").and_then(Value::as_str) {
        Some(name) if TYPES.contains(&name) => Ok(()),
        Some(name) => Err(format!(
            "type {:?} is not known here: it was written by a newer version, open it with that one",
            name.chars().take(64).collect::<String>()
        )),
        None => Err("no type: restore a backup".to_owned()),
    }
}

fn field<T: for<'de> Deserialize<'de>>(fields: &mut Map<String, Value>, name: &str) -> std::result::Result<T, String> {
    let value = fields.remove(name).ok_or_else(|| format!("no {name:?}: restore a backup"))?;
    T::deserialize(value).map_err(|_| format!("{name:?} cannot be read: restore a backup"))
}

/// serde names fields, which is of use, and quotes values, which may be hashes.
fn explain(error: &str) -> String {
    let names_a_field = error.starts_with("unknown field") || error.starts_with("missing field");
    let what = if names_a_field { error } else { "a field holds something else than it should" };
    format!("{what}: open it with the version that wrote it, or restore a backup")
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[test]
    fn records_are_written_in_reading_order() {
        let text =
            r#"{"v":1,"at":"2026-11-23T18:00:00.000000Z","by":"local_cli","type":"application_created","name":"shop"}"#;
        let record = Record::decode(text.as_bytes()).unwrap();
        assert_eq!(record.encode().unwrap(), text.as_bytes());
        assert_eq!(record.fact.type_name(), "application_created");
    }

    #[test]
    fn every_type_of_version_1_is_written_as_it_was() {
        let records = include_str!("../tests/fixtures/records-v1.ndjson");
        let mut seen = Vec::new();
        for line in records.lines() {
            let record = Record::decode(line.as_bytes()).unwrap();
            assert_eq!(record.encode().unwrap(), line.as_bytes());
            seen.push(record.fact.type_name());
        }
        for name in TYPES {
            assert!(seen.contains(&name), "{name}");
        }
    }

    #[test]
    fn newer_records_are_refused_by_name() {
        let head = r#""at":"2026-11-23T18:00:00Z","by":"system""#;
        for (text, says) in [
            (format!(r#"{{"v":2,{head},"type":"token_revoked","id":"tok_0123456789ab"}}"#), "format version 2"),
            (format!(r#"{{"v":1,{head},"type":"contract_added"}}"#), "contract_added"),
            (
                format!(r#"{{"v":1,{head},"type":"token_revoked","id":"tok_0123456789ab","why":"x"}}"#),
                "unknown field `why`",
            ),
            (format!(r#"{{"v":1,{head},"type":"token_revoked"}}"#), "missing field `id`"),
        ] {
            let message = Record::decode(text.as_bytes()).unwrap_err();
            assert!(
                message.contains(says) && message.contains("the version that wrote it") || message.contains("newer"),
                "{message}"
            );
        }
    }

    #[test]
    fn damaged_records_are_refused_without_repeating_values() {
        for text in [
            String::new(),
            "{".to_owned(),
            "[]".to_owned(),
            "{}".to_owned(),
            r#"{"v":1}"#.to_owned(),
            r#"{"v":1,"type":"token_revoked"}"#.to_owned(),
            r#"{"v":1,"at":"never","by":"system","type":"token_revoked","id":"tok_0123456789ab"}"#.to_owned(),
            r#"{"v":1,"at":"2026-11-23T18:00:00Z","by":"root","type":"token_revoked","id":"tok_0123456789ab"}"#
                .to_owned(),
            format!(r#"{{"v":1,"at":"2026-11-23T18:00:00Z","by":"system","type":"token_revoked","id":"{HASH}"}}"#),
            format!(
                r#"{{"v":1,"at":"2026-11-23T18:00:00Z","by":"system","type":"setup_code_created","hash":"{HASH}0","expires_at":"x"}}"#
            ),
        ] {
            let message = Record::decode(text.as_bytes()).unwrap_err();
            assert!(!message.contains(HASH), "{message}");
            assert!(message.contains("backup"), "{message}");
        }
    }

    #[test]
    fn a_time_that_cannot_be_read_back_is_never_written() {
        let fact = Fact::TokenRevoked(TokenRevoked { id: "tok_0123456789ab".parse().unwrap() });
        let record = Record { at: Timestamp::from_micros(i64::MAX), by: Actor::System, fact };
        assert!(matches!(record.encode(), Err(Error::Internal { .. })));
    }
}
