//! An event, and a rejection, as some reader sees it: where it lies, and everything that it says.
//!
//! The rule: rows of all readers are compared as they are, so whatever is of one reader only has no place here.

use std::fmt;

use eye_event::Problems;
use sha2::{Digest as _, Sha256};

/// A place in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place {
    /// The partition.
    pub partition: u16,
    /// The offset in it.
    pub offset: u64,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.partition, self.offset)
    }
}

/// What lies at a place of the log, as some reader sees it.
pub trait Placed: PartialEq {
    /// Where it lies.
    fn place(&self) -> Place;
    /// Whose it is.
    fn application(&self) -> &str;
    /// What people know it by.
    fn name(&self) -> &str;
}

/// SHA-256 of fields: those that are equal are equal to the byte. The same in Python.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digest([u8; 32]);

impl Digest {
    /// Of these fields. Before each stands whether it is there and how long it is, so that no byte can move from one to
    /// another.
    #[must_use]
    pub fn of(fields: &[Option<&str>]) -> Self {
        let mut hasher = Sha256::new();
        for field in fields {
            match field {
                Some(text) => {
                    hasher.update([1_u8]);
                    hasher.update((text.len() as u64).to_le_bytes());
                    hasher.update(text.as_bytes());
                }
                None => hasher.update([0_u8]),
            }
        }
        Self(hasher.finalize().into())
    }

    /// From what another reader computed: 64 hexadecimal digits.
    #[must_use]
    pub fn from_hex(text: &str) -> Option<Self> {
        let mut bytes = [0_u8; 32];
        if text.len() != 2 * bytes.len() {
            return None;
        }
        for (index, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(text.get(2 * index..2 * index + 2)?, 16).ok()?;
        }
        Some(Self(bytes))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0[..4].iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// What an event says beside its ids, its time and its problems, which rows hold as they are.
#[derive(Clone, Copy, Debug, Default)]
pub struct Said<'a> {
    /// What happened, coarse.
    pub category: &'a str,
    /// What happened, fine.
    pub name: &'a str,
    /// The client's own text, if it is no time.
    pub timestamp_raw: Option<&'a str>,
    /// When it was sent, in microseconds since 1970.
    pub sent_at: Option<i64>,
    /// Who.
    pub user_id: Option<&'a str>,
    /// Who, before they were known.
    pub anonymous_id: Option<&'a str>,
    /// The payload: JSON as it was sent.
    pub data: &'a str,
    /// What was added to it: JSON as it was sent.
    pub context: Option<&'a str>,
}

impl Said<'_> {
    /// All of it. The second reader has the same fields in the same order.
    #[must_use]
    pub fn digest(&self) -> Digest {
        let sent_at = self.sent_at.map(|micros| micros.to_string());
        Digest::of(&[
            Some(self.category),
            Some(self.name),
            self.timestamp_raw,
            sent_at.as_deref(),
            self.user_id,
            self.anonymous_id,
            Some(self.data),
            self.context,
        ])
    }
}

/// An event as some reader sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Whose it is.
    pub application: String,
    /// The client's id.
    pub id: String,
    /// Its session.
    pub session: String,
    /// The client's time, in microseconds since 1970.
    pub timestamp: i64,
    /// The server's time when it came.
    pub received_at: i64,
    /// What is wrong with it.
    pub problems: Problems,
    /// Where it lies.
    pub place: Place,
    /// Everything else: [`Said`].
    pub content: Digest,
}

impl Row {
    /// What makes it the same event: an id is one of its session and its application only.
    pub(super) fn identity(&self) -> [&str; 3] {
        [&self.application, &self.session, &self.id]
    }
}

impl Placed for Row {
    fn place(&self) -> Place {
        self.place
    }

    fn application(&self) -> &str {
        &self.application
    }

    fn name(&self) -> &str {
        &self.id
    }
}

/// A rejection as some reader sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Whose it is.
    pub application: String,
    /// The id of the token that it came with.
    pub token: String,
    /// The server's time when it came.
    pub received_at: i64,
    /// Where it lies.
    pub place: Place,
    /// Why it was refused.
    pub code: String,
    /// The field that is to blame, or nothing.
    pub field: String,
    /// The same for people.
    pub message: String,
    /// The start of what was sent: all of it, as long as ours are.
    pub sample: String,
}

impl Placed for Refusal {
    fn place(&self) -> Place {
        self.place
    }

    fn application(&self) -> &str {
        &self.application
    }

    fn name(&self) -> &str {
        &self.sample
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_is_the_one_that_python_has_too() {
        // python3 -c 'import read_rows; print(read_rows.digest(["a", None, "ü"]))'
        let hex = "b70ce83f02e66ad70c65b6f95bbac1c1be3e92b9628797a841003926b532518f";
        assert_eq!(Digest::from_hex(hex), Some(Digest::of(&[Some("a"), None, Some("ü")])));
        assert_eq!(Digest::from_hex(&hex[1..]), None);
        assert_eq!(Digest::from_hex(&hex.replace('0', "g")), None);
    }

    #[test]
    fn the_digest_knows_every_field_and_where_it_ends() {
        let said = Said { category: "c", name: "n", data: "{\"n\":1}", ..Said::default() };
        let others = [
            Said { category: "d", ..said },
            Said { name: "m", ..said },
            Said { category: "cn", name: "", ..said },
            Said { category: "", name: "cn", ..said },
            Said { timestamp_raw: Some("x"), ..said },
            Said { sent_at: Some(1), ..said },
            Said { user_id: Some("x"), ..said },
            Said { user_id: Some(""), ..said },
            Said { anonymous_id: Some("x"), ..said },
            Said { data: "{\"n\":2}", ..said },
            Said { context: Some("{}"), ..said },
        ];
        for (index, one) in others.iter().enumerate() {
            assert_ne!(one.digest(), said.digest(), "{one:?}");
            assert!(others[..index].iter().all(|other| other.digest() != one.digest()), "{one:?}");
        }
    }
}
