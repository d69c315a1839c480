//! [`By`]: whose events belong together, sessions or people, and what tells them apart.
//!
//! Sessions and people are counted by keys, which are hashes: see [`eye_store::id_key`]. Texts that an answer shows are read
//! back from their rows.

use std::collections::HashSet;
use std::hash::{BuildHasherDefault, Hasher};
use std::ops::Range;

use eye_store::{Columns, IdKey, NOBODY};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::field::Field;

/// Whose events belong together. Events without such an id belong to nobody, and do not count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum By {
    /// Those of one session.
    #[default]
    Session,
    /// Those of one user.
    User,
    /// Those of one anonymous id.
    Anonymous,
}

impl By {
    /// The field of its id.
    #[must_use]
    pub const fn field(self) -> Field {
        match self {
            Self::Session => Field::SessionId,
            Self::User => Field::UserId,
            Self::Anonymous => Field::AnonymousId,
        }
    }

    /// The column of its id.
    #[must_use]
    pub fn column(self) -> Columns {
        self.field().column()
    }
}

/// One session or person, or any text that is only counted.
pub(crate) type Key = IdKey;

/// Tables of keys: a key is a hash already, and is not hashed again.
pub(crate) type BuildKeyHasher = BuildHasherDefault<KeyHasher>;
/// A set of keys.
pub(crate) type KeySet = HashSet<Key, BuildKeyHasher>;

/// Half of a key.
#[derive(Clone, Copy, Default)]
pub(crate) struct KeyHasher(u64);

impl Hasher for KeyHasher {
    fn write_u128(&mut self, key: Key) {
        self.0 = (key & u128::from(u64::MAX)) as u64;
    }

    fn write(&mut self, bytes: &[u8]) {
        // Only keys are hashed; anything else would still be told apart, slowly.
        bytes.iter().for_each(|byte| self.0 = self.0.rotate_left(8) ^ u64::from(*byte));
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// Rows of one slice that stand together and belong to one session or person, or to nobody.
pub(crate) struct UnitRun {
    pub(crate) rows: Range<usize>,
    pub(crate) key: Key,
}

impl UnitRun {
    /// True if the rows have no such id.
    pub(crate) fn is_nobody(&self) -> bool {
        self.key == NOBODY
    }
}
