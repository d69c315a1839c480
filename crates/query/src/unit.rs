//! [`By`]: whose events belong together, sessions or people, and [`Keys`], which tells them apart.
//!
//! Sessions and people are counted by a keyed hash of 128 bits (SipHash-1-3, <https://www.aumasson.jp/siphash/>), whose
//! key is new for every question: of a billion ids two are taken for one once in 10^20 questions, and nobody can make it
//! happen. Texts that an answer shows are read back from their rows.

use std::collections::HashSet;
use std::hash::{BuildHasher, BuildHasherDefault, Hasher, RandomState};

use eye_store::Columns;
use serde::{Deserialize, Serialize};
use siphasher::sip128::{Hash128, Hasher128 as _, SipHasher13};
use utoipa::ToSchema;

use crate::field::Field;
use crate::frame::{Frame, Texts};

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

    /// The same, to be kept as long as one likes.
    pub(crate) fn as_field(self) -> &'static Field {
        match self {
            Self::Session => &Field::SessionId,
            Self::User => &Field::UserId,
            Self::Anonymous => &Field::AnonymousId,
        }
    }

    /// The column of its id.
    #[must_use]
    pub fn column(self) -> Columns {
        self.field().column()
    }
}

/// One session or person, or any text that is only counted.
pub(crate) type Key = u128;

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

/// The key of one question.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Keys(u64, u64);

impl Keys {
    /// A new key, from the operating system's randomness.
    pub(crate) fn new() -> Self {
        let random = || RandomState::new().build_hasher().finish();
        Self(random(), random())
    }

    pub(crate) fn of(self, text: &str) -> Key {
        let mut hasher = SipHasher13::new_with_keys(self.0, self.1);
        hasher.write(text.as_bytes());
        let Hash128 { h1, h2 } = hasher.finish128();
        u128::from(h1) << 64 | u128::from(h2)
    }

    /// Visits the chosen rows of a frame that belong to somebody. Rows of a table's slice stand in session order, so a
    /// session is hashed once, not once a row.
    pub(crate) fn each(self, frame: &Frame, by: By, mask: &[bool], mut visit: impl FnMut(usize, Key)) {
        self.each_text(frame.texts(&by.field()), mask, &mut visit);
    }

    fn each_text(self, texts: &Texts, mask: &[bool], visit: &mut impl FnMut(usize, Key)) {
        if let Texts::Coded(..) = texts {
            return self.each_code(texts, mask, visit);
        }
        let mut last: Option<(&str, Key)> = None;
        for row in (0..mask.len()).filter(|row| mask[*row]) {
            let Some(text) = texts.get(row) else { continue };
            let key = match last {
                Some((known, key)) if known == text => key,
                _ => self.of(text),
            };
            last = Some((text, key));
            visit(row, key);
        }
    }

    /// The same of texts with numbers: each is hashed once.
    fn each_code(self, texts: &Texts, mask: &[bool], visit: &mut impl FnMut(usize, Key)) {
        let mut keys: Vec<Option<Key>> = vec![None; texts.codes()];
        for row in (0..mask.len()).filter(|row| mask[*row]) {
            let Some(known) = texts.code(row).and_then(|code| keys.get_mut(code)) else { continue };
            let key = match known {
                Some(key) => *key,
                None => {
                    let Some(text) = texts.get(row) else { continue };
                    *known.insert(self.of(text))
                }
            };
            visit(row, key);
        }
    }
}
