//! A commit out of bytes, and the hint that names the newest checkpoint: the one place that reads the log's JSON as it lies
//! on the disk.
//!
//! Whatever the bytes are, reading them ends in what they say or in what is wrong with them.

use eye_log::{Offset, PartitionId};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::table::hash::FileHash;
use crate::table::removed::RemovedRows;

/// What a commit with a hash begins with: the digits follow.
pub(crate) const HASH_PREFIX: &[u8] = br#"{"commitInfo":{"eyeSha256":""#;
pub(crate) const HASH_DIGITS: usize = 64;
/// What the names of application transactions of ours begin with.
pub(crate) const TXN_PREFIX: &str = "eye-";
/// The application transaction of compactions, erasures and retention: each takes the number after the one before it.
pub(crate) const MAINTENANCE_TXN: &str = "eye-maintenance";

/// What we say about a commit of ours: the proof that offsets follow each other without a gap.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct EyeInfo {
    /// Unique: how a commit is found again when its outcome is not known.
    pub(crate) id: String,
    pub(crate) partition: u16,
    pub(crate) first: u64,
    pub(crate) last: u64,
    pub(crate) rows: u64,
    /// Of whoever asked for the commit.
    pub(crate) info: Value,
    /// Rows that were taken out of the table before this commit.
    #[serde(default, skip_serializing_if = "RemovedRows::is_empty")]
    pub(crate) removed: RemovedRows,
}

/// What we say about a compaction, an erasure or retention.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MaintenanceInfo {
    /// Unique: how a commit is found again when its outcome is not known.
    pub(crate) id: String,
    /// One more than that of the maintenance commit before it.
    pub(crate) number: u64,
    /// Rows in the added files.
    pub(crate) rows: u64,
    /// Rows of the removed files that are in none of the added ones.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(crate) taken: u64,
    /// Rows that were taken out of the table since it was made, those of this commit too.
    #[serde(default, skip_serializing_if = "RemovedRows::is_empty")]
    pub(crate) removed: RemovedRows,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde wants it so")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// The partition of an application transaction, if it is one of ours.
fn txn_partition(name: &str) -> Option<PartitionId> {
    name.strip_prefix(TXN_PREFIX)?.parse().ok().map(PartitionId)
}

/// What a commit says, as far as we need it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ParsedCommit {
    /// Ours, if it is a commit of ours that adds rows.
    pub(crate) eye: Option<EyeInfo>,
    /// Ours, if it is a compaction, an erasure or retention of ours.
    pub(crate) maintenance: Option<MaintenanceInfo>,
    /// When it was made, in milliseconds.
    pub(crate) timestamp: i64,
    /// Each partition's transaction version it sets.
    pub(crate) txns: Vec<(PartitionId, Offset)>,
    /// The compaction's number, as its transaction has it.
    pub(crate) maintenance_txn: Option<u64>,
    /// Files it adds.
    pub(crate) adds: Vec<AddedFile>,
    /// Files it removes.
    pub(crate) removes: Vec<RemovedFile>,
    /// True if its hash proves it whole.
    pub(crate) hashed: bool,
}

/// A file that a commit adds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AddedFile {
    pub(crate) path: String,
    /// Its rows; `None` if its statistics do not say.
    pub(crate) rows: Option<u64>,
}

/// A file that a commit removes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RemovedFile {
    pub(crate) path: String,
    /// When, in milliseconds, if the commit says so.
    pub(crate) at: Option<i64>,
    /// False if its rows stand in other files.
    pub(crate) data_change: bool,
}

/// Reads and checks a commit. The error says what is wrong with the bytes.
pub(crate) fn parse(bytes: &[u8]) -> std::result::Result<ParsedCommit, String> {
    if bytes.is_empty() {
        return Err("it is empty".to_owned());
    }
    let hashed = check_hash(bytes)?;
    let mut parsed = ParsedCommit { hashed, ..ParsedCommit::default() };
    let mut actions = 0_usize;
    for (number, line) in bytes.split(|byte| *byte == b'\n').enumerate().filter(|(_, line)| !line.is_empty()) {
        let action: Value =
            serde_json::from_slice(line).map_err(|error| format!("line {} is no JSON: {error}", number + 1))?;
        let Value::Object(action) = action else {
            return Err(format!("line {} is no action", number + 1));
        };
        actions += 1;
        for (name, body) in &action {
            parsed.take(name, body).map_err(|why| format!("line {}: {why}", number + 1))?;
        }
    }
    match () {
        () if actions == 0 => Err("it holds no action".to_owned()),
        // Rot in the first bytes must not turn a commit of ours into a stranger's.
        () if !hashed && parsed.is_ours() => Err("it is of this program but has no hash".to_owned()),
        () => Ok(parsed),
    }
}

impl ParsedCommit {
    fn is_ours(&self) -> bool {
        let notes = self.eye.is_some() || self.maintenance.is_some();
        notes || !self.txns.is_empty() || self.maintenance_txn.is_some()
    }

    fn take(&mut self, name: &str, body: &Value) -> std::result::Result<(), String> {
        match name {
            "commitInfo" => {
                self.timestamp = body["timestamp"].as_i64().unwrap_or_default();
                if let Some(eye) = body.get("eye") {
                    let eye = EyeInfo::deserialize(eye).map_err(|error| format!("commitInfo.eye: {error}"))?;
                    self.eye = Some(eye);
                }
                if let Some(note) = body.get("eyeMaintenance") {
                    let note = MaintenanceInfo::deserialize(note);
                    self.maintenance = Some(note.map_err(|error| format!("commitInfo.eyeMaintenance: {error}"))?);
                }
            }
            "txn" => {
                let version = body["version"].as_u64().ok_or("txn without a version")?;
                let name = body["appId"].as_str().unwrap_or_default();
                if name == MAINTENANCE_TXN {
                    self.maintenance_txn = Some(version);
                }
                let partition = txn_partition(name);
                self.txns.extend(partition.map(|partition| (partition, Offset(version))));
            }
            "add" => self.adds.push(AddedFile { path: path_of(body), rows: rows_of(body) }),
            "remove" => {
                let at = body["deletionTimestamp"].as_i64();
                // The protocol's default is true.
                let data_change = body["dataChange"].as_bool().unwrap_or(true);
                self.removes.push(RemovedFile { path: path_of(body), at, data_change });
            }
            _ => {}
        }
        Ok(())
    }
}

fn path_of(action: &Value) -> String {
    action["path"].as_str().unwrap_or_default().to_owned()
}

fn rows_of(add: &Value) -> Option<u64> {
    let stats: Value = serde_json::from_str(add["stats"].as_str()?).ok()?;
    stats["numRecords"].as_u64()
}

/// True if the commit has a hash and the hash is right, false if it has none.
fn check_hash(bytes: &[u8]) -> std::result::Result<bool, String> {
    let end = HASH_PREFIX.len() + HASH_DIGITS;
    if !bytes.starts_with(HASH_PREFIX) {
        return Ok(false);
    }
    let Some(written) = bytes.get(HASH_PREFIX.len()..end) else {
        return Err("it is cut short".to_owned());
    };
    let written = written.to_vec();
    let mut zeroed = bytes.to_vec();
    zeroed[HASH_PREFIX.len()..end].fill(b'0');
    if FileHash::of(&zeroed).to_string().as_bytes() == written {
        Ok(true)
    } else {
        Err("its hash does not match: it was cut or changed".to_owned())
    }
}

/// The version that the hint names; `None` if it names none.
pub(crate) fn hinted(hint: &[u8]) -> Option<u64> {
    serde_json::from_slice::<Value>(hint).ok()?["version"].as_u64()
}
