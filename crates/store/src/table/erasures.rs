//! Erasures as they lie beside the table: what is wanted, before anybody is told that it is accepted; and what was done.
//!
//! ```text
//! era_4fKq0ZbT7xWm.wanted    <64 hex digits: SHA-256 of the rest>\n{...}\n<offsets of events><offsets of rejections>
//! era_4fKq0ZbT7xWm.done      <64 hex digits: SHA-256 of the rest>\n{...}\n
//! ```
//!
//! Both are written once and never changed; one that is done needs no `.wanted` any more. What was asked for by value (a user,
//! a session) stands in neither: only which rows it chose.

use eye_event::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::hash::FileHash;
use super::{Table, io, paths};
use crate::error::{Error, Kind, Result};
use crate::mask::{Mask, Offsets};

const VERSION: u32 = 1;
/// Characters of an id behind its prefix.
const ID_CHARACTERS: usize = 12;
const HASH_DIGITS: usize = 64;

/// An erasure: what it chose, and how far it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Erasure {
    /// Names it.
    pub id: String,
    /// When it was accepted: from then on nobody sees what it chose.
    pub accepted_at: Timestamp,
    /// By what it chose: names of fields, never their values.
    pub criteria: Vec<String>,
    /// It chose nothing that lies past this place of the log.
    pub bound: String,
    /// Events that it chose.
    pub events: u64,
    /// Rejections that it chose.
    pub rejections: u64,
    /// How far it is.
    pub state: ErasureState,
    /// When it came to its end.
    pub finished_at: Option<Timestamp>,
    /// What it has done since the last start.
    pub work: ErasureWork,
    /// Why its last try failed, if it did; it is tried again.
    pub last_error: Option<String>,
}

/// How far an erasure is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErasureState {
    /// Accepted: nobody sees the rows. Files of the table, or of its older versions, or of the log still hold some.
    Running,
    /// Nothing holds any of the rows.
    Done,
    /// Somebody stopped it: what was not yet taken out is seen again.
    Cancelled,
}

/// What an erasure has done since the last start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErasureWork {
    /// Files of the table to look at.
    pub files: u64,
    /// Files looked at.
    pub files_looked_at: u64,
    /// Files that held some of the rows, written again without them or dropped.
    pub files_rewritten: u64,
    /// Their bytes.
    pub bytes_before: u64,
    /// Bytes of what took their place.
    pub bytes_after: u64,
    /// Rows taken out of the tables.
    pub rows: u64,
    /// Files of older versions, and left-over ones, that were removed.
    pub old_files_removed: u64,
    /// Files of older versions that a question under way still reads: they are waited for.
    pub old_files_held: u64,
    /// The version of the table of events afterwards.
    pub version: u64,
}

impl Erasure {
    /// An id that no other erasure has.
    #[must_use]
    pub fn fresh_id() -> String {
        let unique = Uuid::new_v4().simple().to_string();
        format!("era_{}", &unique[..ID_CHARACTERS])
    }

    /// True while something is left to do.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.state == ErasureState::Running
    }
}

/// An erasure as it lies beside the table; `mask` only of one that is not at its end.
pub(crate) struct Found {
    pub(crate) erasure: Erasure,
    pub(crate) mask: Option<Mask>,
    /// True if it is at its end, and what it wanted is still there.
    pub(crate) is_left_over: bool,
}

#[derive(Serialize, Deserialize)]
struct Head {
    v: u32,
    erasure: Erasure,
    /// Bytes of the offsets of events; those of rejections are the rest.
    events_bytes: usize,
}

impl Table {
    /// Writes down what an erasure wants. Durable when this returns.
    ///
    /// # Errors
    /// `Full` or `Unavailable` if the object store fails. If it was written all the same, the next start carries it out.
    pub(crate) fn want_erasure(&self, erasure: &Erasure, mask: &Mask) -> Result<()> {
        self.write_erasure(&paths::erasure(&erasure.id), erasure, mask)
    }

    /// Writes down that an erasure is at its end, and gives what is written: of an earlier try whose answer was lost it may
    /// be another end. Durable when this returns.
    ///
    /// # Errors
    /// `Full` or `Unavailable` if the object store fails and nothing is written.
    pub(crate) fn finish_erasure(&self, erasure: &Erasure) -> Result<Erasure> {
        let path = paths::erasure_done(&erasure.id);
        let written = self.write_erasure(&path, erasure, &Mask::default());
        match self.io.get(&path) {
            Ok(Some(bytes)) => Ok(read(&bytes).map_err(|error| error.context(&path))?.0),
            Ok(None) | Err(_) => written.map(|()| erasure.clone()),
        }
    }

    /// Removes what an erasure wanted that is at its end.
    ///
    /// # Errors
    /// `Unavailable` if the object store fails.
    pub(crate) fn forget_wanted(&self, id: &str) -> Result<()> {
        self.io.remove(&paths::erasure(id))
    }

    fn write_erasure(&self, path: &str, erasure: &Erasure, mask: &Mask) -> Result<()> {
        let bytes = bytes_of(erasure, mask)?;
        match self.io.create(path, bytes.into())? {
            // Of an earlier try whose answer was lost.
            Ok(()) | Err(object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. }) => {
                Ok(())
            }
            Err(error) => Err(io::failed(path, &error)),
        }
    }

    /// Every erasure, the oldest first. Changes nothing.
    ///
    /// # Errors
    /// `Corrupt` with the name of a file that is not what was written; `Unavailable` if the object store fails.
    pub(crate) fn erasures(&self) -> Result<Vec<Found>> {
        let listed = self.io.list(paths::ERASURES_FOLDER)?;
        let mut found = Vec::new();
        for path in &listed {
            let is_done = path.ends_with(".done");
            let is_over = |id: &str| listed.iter().any(|other| other.strip_suffix(".done") == Some(id));
            if path.strip_suffix(".wanted").is_some_and(is_over) {
                continue;
            }
            let bytes = self.io.get(path)?.ok_or_else(|| Error::new(Kind::Corrupt, format!("{path} is missing")))?;
            let (erasure, mask) = read(&bytes).map_err(|error| error.context(path))?;
            let is_left_over = is_done && listed.contains(&paths::erasure(&erasure.id));
            found.push(Found { erasure, mask: (!is_done).then_some(mask), is_left_over });
        }
        found.sort_by(|a, b| (a.erasure.accepted_at, &a.erasure.id).cmp(&(b.erasure.accepted_at, &b.erasure.id)));
        Ok(found)
    }
}

/// True if this is what [`Table::finish_erasure`] has written of an erasure that was cancelled.
pub(super) fn is_cancelled(note: &[u8]) -> Result<bool> {
    Ok(read(note)?.0.state == ErasureState::Cancelled)
}

fn bytes_of(erasure: &Erasure, mask: &Mask) -> Result<Vec<u8>> {
    let (events, rejections) = (mask.events.to_bytes()?, mask.rejections.to_bytes()?);
    let head = Head { v: VERSION, erasure: erasure.clone(), events_bytes: events.len() };
    let head = serde_json::to_vec(&head)
        .map_err(|error| Error::new(Kind::Internal, format!("an erasure cannot be written: {error}")))?;
    let body = [&head[..], b"\n", &events, &rejections].concat();
    Ok([FileHash::of(&body).to_string().as_bytes(), b"\n", &body].concat())
}

fn read(bytes: &[u8]) -> Result<(Erasure, Mask)> {
    let damaged = || Error::new(Kind::Corrupt, "it is damaged: restore it, for it says what nobody may see any more");
    let (hash, rest) = bytes.split_at_checked(HASH_DIGITS).ok_or_else(damaged)?;
    let body = rest.strip_prefix(b"\n").ok_or_else(damaged)?;
    if FileHash::of(body).to_string().as_bytes() != hash {
        return Err(damaged());
    }
    let end = body.iter().position(|byte| *byte == b'\n').ok_or_else(damaged)?;
    let head: Head = serde_json::from_slice(&body[..end]).map_err(|error| {
        Error::new(Kind::Corrupt, format!("it cannot be read ({error}): open it with the version that wrote it"))
    })?;
    if head.v != VERSION {
        let detail = format!("its format {} is not known here: open it with the version that wrote it", head.v);
        return Err(Error::new(Kind::Corrupt, detail));
    }
    let (events, rejections) = body[end + 1..].split_at_checked(head.events_bytes).ok_or_else(damaged)?;
    let mask = Mask { number: 0, events: Offsets::from_bytes(events)?, rejections: Offsets::from_bytes(rejections)? };
    Ok((head.erasure, mask))
}

#[cfg(test)]
mod tests {
    use eye_log::{Offset, PartitionId};

    use super::*;

    #[test]
    fn what_is_written_is_read_and_any_damage_is_seen() {
        let erasure = Erasure {
            id: "era_1".to_owned(),
            accepted_at: Timestamp::from_micros(5),
            criteria: vec!["user_id".to_owned()],
            bound: "9,0".to_owned(),
            events: 2,
            rejections: 1,
            state: ErasureState::Running,
            finished_at: None,
            work: ErasureWork::default(),
            last_error: None,
        };
        let mut mask = Mask::default();
        mask.events.insert(PartitionId(0), Offset(4));
        mask.events.insert(PartitionId(1), Offset(1 << 40));
        mask.rejections.insert(PartitionId(0), Offset(9));
        let bytes = bytes_of(&erasure, &mask).unwrap();
        assert_eq!(read(&bytes).unwrap(), (erasure, mask));
        for at in 0..bytes.len() {
            let mut turned = bytes.clone();
            turned[at] ^= 1;
            assert!(read(&turned).is_err(), "byte {at}");
            assert!(read(&bytes[..at]).is_err(), "cut at {at}");
        }
    }
}
