//! An event as some reader sees it: where it lies, and what it says in short.
//!
//! The rule: rows of all readers are compared as they are, so whatever is of one reader only has no place here.

use std::fmt;

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

/// The bytes of an event in short: CRC-32 and length. Enough to know others from them, and the same in Python.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Digest {
    crc: u32,
    length: u32,
}

impl Digest {
    /// Of these bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        const TABLE: [u32; 256] = crc_table();
        let crc = bytes.iter().fold(!0_u32, |crc, byte| TABLE[((crc ^ u32::from(*byte)) & 0xff) as usize] ^ (crc >> 8));
        Self { crc: !crc, length: bytes.len() as u32 }
    }

    /// Of what an event says: category, name and payload, with a NUL between, so that no byte can move from one to another.
    #[must_use]
    pub fn of_event(category: &str, name: &str, data: &str) -> Self {
        Self::of([category, name, data].join("\0").as_bytes())
    }

    /// From what another reader computed.
    #[must_use]
    pub const fn from_parts(crc: u32, length: u32) -> Self {
        Self { crc, length }
    }
}

const fn crc_table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut index = 0;
    while index < 256 {
        let mut value = index as u32;
        let mut bit = 0;
        while bit < 8 {
            value = if value & 1 == 1 { 0xedb8_8320 ^ (value >> 1) } else { value >> 1 };
            bit += 1;
        }
        table[index] = value;
        index += 1;
    }
    table
}

/// An event as some reader sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The client's id.
    pub id: String,
    /// Its session.
    pub session: String,
    /// The client's time, in microseconds since 1970.
    pub timestamp: i64,
    /// Where it lies.
    pub place: Place,
    /// Category, name and payload.
    pub content: Digest,
}

#[cfg(test)]
mod tests {
    use super::*;

    const DATA: &str = "{\"n\":1}";

    #[test]
    fn the_digest_is_the_crc_that_python_has_too() {
        assert_eq!(Digest::of(b"123456789"), Digest::from_parts(0xcbf4_3926, 9));
    }

    #[test]
    fn the_digest_knows_category_and_name_and_where_they_end() {
        let others = [("d", "n", DATA), ("c", "m", DATA), ("cn", "", DATA), ("", "cn", DATA), ("c", "n", "{\"n\":2}")];
        for (category, name, data) in others {
            assert_ne!(Digest::of_event(category, name, data), Digest::of_event("c", "n", DATA));
        }
    }
}
