//! A commit as bytes: written whole, checked whole.
//!
//! ```text
//! {"commitInfo":{"eyeSha256":"<64 hex digits>", ... "eye":{...}}}     always the first line
//! {"txn":{"appId":"eye-<partition>","version":<last offset>}}
//! {"add":{...}}                                                       one line per file
//! ```
//!
//! A compaction has `eyeMaintenance` instead of `eye`, the transaction `eye-maintenance` with the next number, and a
//! `remove` for each file that its `add`s take the place of; all with `dataChange: false`, so that whoever follows the
//! table sees no new rows. An erasure and retention look the same, but for `dataChange: true`: rows are gone. How many
//! rows went that way since the table was made stands in every commit of ours, so that the newest one always says.
//!
//! `eyeSha256` is the hash of the whole file with 64 zeros in its place, so a commit that is cut (even between two
//! lines, where it still reads as JSON) or has one bit turned is known as damaged. Commits of other programs have no
//! such hash; they must at least be whole JSON lines.

mod read;

use std::sync::Arc;

use eye_event::Timestamp;
use eye_log::PartitionId;
use serde::Serialize;
use serde_json::{Value, json};
use uuid::Uuid;

pub(crate) use self::read::{EyeInfo, MAINTENANCE_TXN, MaintenanceInfo, ParsedCommit, hinted, parse};
use self::read::{HASH_DIGITS, HASH_PREFIX, TXN_PREFIX};
use super::hash::FileHash;
use super::version::{NewFile, TableFile};
use crate::columns::{RECEIVED_DATE, TableKind};
use crate::error::{Error, Kind, Result};
use crate::table::paths::date_text;

/// The tag of an Add that holds the file's hash.
pub(crate) const HASH_TAG: &str = "eye.sha256";
/// The tag of an Add that holds the checksums of the file's blocks.
pub(crate) const SUMS_TAG: &str = "eye.crc32c";

/// What kind of maintenance a commit is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Maintenance {
    /// The same rows in other files.
    Compaction,
    /// Fewer rows.
    Removal,
}

/// Whose commit it is.
#[derive(Clone, Copy, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Note<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    eye: Option<&'a EyeInfo>,
    #[serde(skip_serializing_if = "Option::is_none")]
    eye_maintenance: Option<&'a MaintenanceInfo>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct CommitInfo<'a> {
    eye_sha256: &'a str,
    timestamp: i64,
    operation: &'a str,
    operation_parameters: Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    read_version: Option<u64>,
    isolation_level: &'a str,
    is_blind_append: bool,
    engine_info: String,
    #[serde(flatten)]
    note: Note<'a>,
}

/// The name of a partition's application transaction.
pub(crate) fn txn_name(partition: PartitionId) -> String {
    format!("{TXN_PREFIX}{partition}")
}

/// The commit that creates a table.
pub(crate) fn creation(kind: TableKind, now: Timestamp) -> Result<Vec<u8>> {
    let stats: Vec<&str> =
        ["partition", "offset"].iter().chain(kind.time_stats()).chain(kind.text_stats()).copied().collect();
    let protocol = json!({"protocol": {"minReaderVersion": 1, "minWriterVersion": 2}});
    let metadata = json!({"metaData": {
        "id": Uuid::new_v4().to_string(),
        "name": kind.name(),
        "format": {"provider": "parquet", "options": {}},
        "schemaString": kind.delta_schema().to_string(),
        "partitionColumns": [RECEIVED_DATE],
        "createdTime": millis(now),
        "configuration": {
            "delta.isolationLevel": "writeSerializable",
            "delta.dataSkippingStatsColumns": stats.join(","),
        },
    }});
    encode("CREATE TABLE", json!({}), None, now, Note::default(), &[protocol, metadata])
}

/// A commit that adds files and moves its partition's transaction.
pub(crate) fn append(eye: &EyeInfo, read_version: u64, files: &[NewFile], now: Timestamp) -> Result<Vec<u8>> {
    let txn = json!({"txn": {
        "appId": txn_name(PartitionId(eye.partition)),
        "version": eye.last,
        "lastUpdated": millis(now),
    }});
    let adds = files.iter().map(|file| add(&file.file, &file.stats, true, now));
    let lines: Vec<Value> = std::iter::once(txn).chain(adds).collect();
    let parameters = json!({"mode": "Append", "partitionBy": format!("[\"{RECEIVED_DATE}\"]")});
    encode("WRITE", parameters, Some(read_version), now, Note { eye: Some(eye), ..Note::default() }, &lines)
}

/// A commit that puts files in the place of others that have the same rows, or more.
pub(crate) fn maintenance(
    kind: Maintenance,
    info: &MaintenanceInfo,
    read_version: u64,
    removed: &[Arc<TableFile>],
    added: &[NewFile],
    now: Timestamp,
) -> Result<Vec<u8>> {
    let txn = json!({"txn": {"appId": MAINTENANCE_TXN, "version": info.number, "lastUpdated": millis(now)}});
    let data_change = kind == Maintenance::Removal;
    let removes = removed.iter().map(|file| remove(file, data_change, now));
    let adds = added.iter().map(|file| add(&file.file, &file.stats, data_change, now));
    let lines: Vec<Value> = std::iter::once(txn).chain(removes).chain(adds).collect();
    let note = Note { eye_maintenance: Some(info), ..Note::default() };
    // No predicate: appends beside it never conflict with it.
    let operation = if data_change { "DELETE" } else { "OPTIMIZE" };
    encode(operation, json!({"predicate": "[]"}), Some(read_version), now, note, &lines)
}

fn remove(file: &TableFile, data_change: bool, now: Timestamp) -> Value {
    json!({"remove": {
        "path": file.path.as_str(),
        "deletionTimestamp": millis(now),
        "dataChange": data_change,
        "extendedFileMetadata": true,
        "partitionValues": {RECEIVED_DATE: date_text(file.received_date)},
        "size": file.bytes,
    }})
}

fn add(file: &TableFile, stats: &str, data_change: bool, now: Timestamp) -> Value {
    let hash = file.sha256.map(|hash| hash.to_string()).unwrap_or_default();
    let sums = file.sums.as_ref().map(ToString::to_string).unwrap_or_default();
    json!({"add": {
        "path": file.path.as_str(),
        "partitionValues": {RECEIVED_DATE: date_text(file.received_date)},
        "size": file.bytes,
        "modificationTime": millis(now),
        "dataChange": data_change,
        "stats": stats,
        "tags": {HASH_TAG: hash, SUMS_TAG: sums},
    }})
}

fn encode(
    operation: &str,
    operation_parameters: Value,
    read_version: Option<u64>,
    now: Timestamp,
    note: Note<'_>,
    lines: &[Value],
) -> Result<Vec<u8>> {
    let info = CommitInfo {
        eye_sha256: &"0".repeat(HASH_DIGITS),
        timestamp: millis(now),
        operation,
        operation_parameters,
        read_version,
        isolation_level: "WriteSerializable",
        is_blind_append: note.eye_maintenance.is_none(),
        engine_info: format!("eye/{}", env!("CARGO_PKG_VERSION")),
        note,
    };
    let internal = |error: serde_json::Error| Error::new(Kind::Internal, format!("cannot write a commit: {error}"));
    let mut bytes = br#"{"commitInfo":"#.to_vec();
    serde_json::to_writer(&mut bytes, &info).map_err(internal)?;
    bytes.extend_from_slice(b"}\n");
    for line in lines {
        serde_json::to_writer(&mut bytes, line).map_err(internal)?;
        bytes.push(b'\n');
    }
    let hash = FileHash::of(&bytes).to_string();
    bytes[HASH_PREFIX.len()..HASH_PREFIX.len() + HASH_DIGITS].copy_from_slice(hash.as_bytes());
    Ok(bytes)
}

fn millis(time: Timestamp) -> i64 {
    time.micros().div_euclid(1_000)
}

#[cfg(test)]
mod tests {
    use eye_log::Offset;

    use super::read::RemovedFile;
    use super::*;
    use crate::table::removed::{Removed, RemovedRows};

    fn commit() -> Vec<u8> {
        let info = json!({"stored": 3});
        let eye =
            EyeInfo { id: "x".into(), partition: 2, first: 4, last: 6, rows: 3, info, removed: RemovedRows::new() };
        append(&eye, 7, &[], Timestamp::from_micros(1_500)).unwrap()
    }

    #[test]
    fn what_is_written_is_read() {
        let parsed = parse(&commit()).unwrap();
        assert_eq!(parsed.txns, [(PartitionId(2), Offset(6))]);
        assert_eq!((parsed.timestamp, parsed.adds.len(), parsed.hashed), (1, 0, true));
        let eye = parsed.eye.unwrap();
        assert_eq!((eye.first, eye.last, eye.rows, &eye.info["stored"]), (4, 6, 3, &json!(3)));
        assert!(parse(&creation(TableKind::Events, Timestamp::from_micros(0)).unwrap()).unwrap().hashed);
    }

    #[test]
    fn a_compaction_is_read_and_is_no_partitions_commit() {
        let removed = RemovedRows::from([(1, Removed { erased: 2, expired: 0 })]);
        let info = MaintenanceInfo { id: "x".into(), number: 3, rows: 9, taken: 2, removed };
        let bytes = maintenance(Maintenance::Removal, &info, 7, &[], &[], Timestamp::from_micros(1_500)).unwrap();
        assert!(std::str::from_utf8(&bytes).unwrap().contains(r#""operation":"DELETE""#));
        let parsed = parse(&bytes).unwrap();
        assert_eq!((parsed.maintenance, parsed.maintenance_txn, parsed.eye), (Some(info), Some(3), None));
        assert_eq!((parsed.txns, parsed.hashed), (Vec::new(), true));
        for at in 0..bytes.len() {
            let mut turned = bytes.clone();
            turned[at] ^= 1;
            assert!(parse(&turned).is_err(), "byte {at}");
        }
        let removed = parse(b"{\"remove\":{\"path\":\"a\",\"deletionTimestamp\":5}}\n").unwrap().removes;
        assert_eq!(removed, [RemovedFile { path: "a".into(), at: Some(5), data_change: true }]);
    }

    #[test]
    fn every_cut_is_damage() {
        let bytes = commit();
        for cut in 0..bytes.len() {
            assert!(parse(&bytes[..cut]).is_err(), "cut at {cut} of {}", bytes.len());
        }
    }

    #[test]
    fn every_turned_bit_is_damage() {
        let bytes = commit();
        for at in 0..bytes.len() {
            let mut turned = bytes.clone();
            turned[at] ^= 1;
            assert!(parse(&turned).is_err(), "byte {at}");
        }
    }

    #[test]
    fn commits_of_others_must_be_whole_json() {
        let parsed = parse(b"{\"commitInfo\":{\"timestamp\":5}}\n{\"add\":{}}\n").unwrap();
        assert_eq!((parsed.adds.len(), parsed.hashed, parsed.timestamp), (1, false, 5));
        for bad in ["", "\n", "{\"add\":{", "[]", "\0\0\0"] {
            assert!(parse(bad.as_bytes()).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_hint_names_a_version_or_none() {
        assert_eq!(hinted(br#"{"version":7,"size":3}"#), Some(7));
        for none in ["", "{}", "[7]", "7", "{\"version\":-7}", "{\"version\":\"7\"}", "{\"version\":7"] {
            assert_eq!(hinted(none.as_bytes()), None, "{none}");
        }
    }
}
