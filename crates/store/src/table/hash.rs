//! [`FileHash`]: SHA-256 of a file. Parquet pages carry no checksum, so the file's hash stands in the log instead.

use std::fmt;
use std::str::FromStr;

use sha2::{Digest as _, Sha256};

/// The SHA-256 of a file's bytes; as text, 64 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FileHash([u8; 32]);

impl FileHash {
    /// The hash of these bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// The hash of a file that is read in parts.
    pub(crate) fn of_reads<E>(parts: impl Iterator<Item = Result<bytes::Bytes, E>>) -> Result<Self, E> {
        let mut hasher = Sha256::new();
        for part in parts {
            hasher.update(&part?);
        }
        Ok(Self(hasher.finalize().into()))
    }

    /// The hash of a file that lies in memory in parts.
    pub(crate) fn of_parts<'a>(parts: impl Iterator<Item = &'a bytes::Bytes>) -> Self {
        let mut hasher = Sha256::new();
        parts.for_each(|part| hasher.update(part));
        Self(hasher.finalize().into())
    }
}

impl fmt::Display for FileHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// A text that is no hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a SHA-256: 64 hexadecimal digits are needed")]
pub struct ParseHashError;

impl FromStr for FileHash {
    type Err = ParseHashError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(ParseHashError);
        }
        let mut hash = [0; 32];
        for (byte, at) in hash.iter_mut().zip((0..).step_by(2)) {
            *byte = u8::from_str_radix(&text[at..at + 2], 16).map_err(|_| ParseHashError)?;
        }
        Ok(Self(hash))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_written_and_read() {
        let hash = FileHash::of(b"abc");
        assert_eq!(hash.to_string(), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert_eq!(hash.to_string().parse(), Ok(hash));
        let parts = [&b"a"[..], b"bc"].map(bytes::Bytes::from);
        assert_eq!(FileHash::of_parts(parts.iter()), hash);
        assert_eq!(FileHash::of_reads(parts.into_iter().map(Ok::<_, ()>)), Ok(hash));
        assert_eq!("ba78".parse::<FileHash>(), Err(ParseHashError));
    }
}
