//! [`Secret`]: the text that opens something, shown once and never printed by accident.
//!
//! ```text
//! eye_sk_ 0123…(32 base62 characters, 190 bits from the operating system) 4Fq0Zb
//! ^ kind, for secret scanners                                             ^ CRC32C of all before, 6 base62 digits
//! ```
//! The checksum lets a scanner tell a leak from a look-alike without asking us. Kept is the SHA-256 only: the text has
//! so much entropy that a slow hash would add nothing, and looking it up must be quick.

use std::fmt;

use rand::TryRngCore;
use rand::rngs::OsRng;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};

use crate::error::{Error, Result};
use crate::token::TokenKind;

const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const RANDOM_LENGTH: usize = 32;
const CHECKSUM_LENGTH: usize = 6;
/// The shortest text that may be imported: 128 bits if it is hexadecimal.
const IMPORT_LENGTH_MIN: usize = 32;
/// The longest text that can be a secret; longer ones are not even hashed.
const LENGTH_MAX: usize = 256;

/// The prefix of a set-up code.
pub(crate) const SETUP_PREFIX: &str = "eye_su_";
/// Every prefix of ours.
const PREFIXES: [&str; 4] =
    [TokenKind::Secret.prefix(), TokenKind::Write.prefix(), TokenKind::Read.prefix(), SETUP_PREFIX];

/// A token's or set-up code's text. Only [`Secret::reveal`] shows it.
pub struct Secret(String);

impl Secret {
    pub(crate) fn generate(prefix: &str) -> Result<Self> {
        let mut text = format!("{prefix}{}", random_base62(RANDOM_LENGTH)?);
        text.push_str(&checksum(&text));
        Ok(Self(text))
    }

    /// A text that clients hold already. One of ours must be whole, and of the kind it says.
    pub(crate) fn import(text: &str, kind: TokenKind) -> Result<Self> {
        let is_plain = text.bytes().all(|byte| byte.is_ascii_graphic());
        if !is_plain || !(IMPORT_LENGTH_MIN..=LENGTH_MAX).contains(&text.len()) {
            return Err(Error::invalid("import", "send 32 to 256 printable ASCII characters without spaces"));
        }
        if text.starts_with("eye_") && !(text.starts_with(kind.prefix()) && is_well_formed(text)) {
            return Err(Error::invalid(
                "import",
                "not a whole token of this kind: look for a character lost in copying",
            ));
        }
        Ok(Self(text.to_owned()))
    }

    /// The text itself: to be shown once, and never logged.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }

    pub(crate) fn hash(&self) -> SecretHash {
        SecretHash::digest(&self.0)
    }
}

/// Says what kind it is, never what it says.
impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let prefix = PREFIXES.iter().find(|prefix| self.0.starts_with(**prefix)).unwrap_or(&"");
        write!(f, "{prefix}…redacted")
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret({self})")
    }
}

/// SHA-256 of a secret's text: what is kept instead of it. As text: 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct SecretHash([u8; 32]);

impl SecretHash {
    fn digest(text: &str) -> Self {
        Self(Sha256::digest(text.as_bytes()).into())
    }

    /// The hash of what a stranger sent; `None` if it is too long to be a secret.
    pub(crate) fn of_stranger(text: &str) -> Option<Self> {
        (text.len() <= LENGTH_MAX).then(|| Self::digest(text))
    }
}

impl fmt::Debug for SecretHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretHash(…)")
    }
}

impl Serialize for SecretHash {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        let digits = self.0.iter().flat_map(|byte| [byte >> 4, byte & 15]);
        let text: String = digits.filter_map(|digit| char::from_digit(u32::from(digit), 16)).collect();
        serializer.serialize_str(&text)
    }
}

impl<'de> Deserialize<'de> for SecretHash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        from_hex(&text).map(Self).ok_or_else(|| serde::de::Error::custom("a hash is not 64 hexadecimal digits"))
    }
}

fn from_hex(text: &str) -> Option<[u8; 32]> {
    let digits = text.as_bytes();
    if digits.len() != 64 {
        return None;
    }
    let mut bytes = [0; 32];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = nibble(pair[0])? << 4 | nibble(pair[1])?;
    }
    Some(bytes)
}

fn nibble(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

/// Characters from the operating system's generator, each of the 62 as likely as the others.
pub(crate) fn random_base62(count: usize) -> Result<String> {
    // The bytes from 248 on are thrown away: 248 is the largest multiple of 62 in a byte.
    const FAIR_BELOW: u8 = 248;
    let mut text = String::with_capacity(count);
    let mut bytes = [0_u8; 64];
    while text.len() < count {
        OsRng
            .try_fill_bytes(&mut bytes)
            .map_err(|error| Error::internal(format!("the operating system gives no random bytes: {error}")))?;
        let fair = bytes.iter().filter(|byte| **byte < FAIR_BELOW);
        text.extend(fair.take(count - text.len()).map(|byte| char::from(BASE62[usize::from(byte % 62)])));
    }
    Ok(text)
}

/// CRC32C as 6 base62 digits, the highest first.
fn checksum(text: &str) -> String {
    let mut rest = crc32c::crc32c(text.as_bytes());
    let mut digits = [b'0'; CHECKSUM_LENGTH];
    for digit in digits.iter_mut().rev() {
        *digit = BASE62[(rest % 62) as usize];
        rest /= 62;
    }
    digits.iter().copied().map(char::from).collect()
}

/// True for a text of ours whose checksum holds.
fn is_well_formed(text: &str) -> bool {
    let Some(rest) = PREFIXES.iter().find_map(|prefix| text.strip_prefix(prefix)) else {
        return false;
    };
    let is_base62 =
        rest.len() == RANDOM_LENGTH + CHECKSUM_LENGTH && rest.bytes().all(|byte| byte.is_ascii_alphanumeric());
    is_base62 && text.split_at_checked(text.len() - CHECKSUM_LENGTH).is_some_and(|(body, sum)| checksum(body) == sum)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn secrets_are_well_formed_and_differ() {
        let made: HashSet<String> =
            (0..1_000).map(|_| Secret::generate("eye_sk_").unwrap().reveal().to_owned()).collect();
        assert_eq!(made.len(), 1_000);
        for text in &made {
            assert_eq!(text.len(), 7 + 32 + 6);
            assert!(is_well_formed(text), "{text}");
        }
        let used: HashSet<char> = made.iter().flat_map(|text| text[7..39].chars()).collect();
        assert_eq!(used.len(), 62, "32,000 draws show every character");
    }

    #[test]
    fn checksum_is_fixed_for_ever() {
        // CRC32C of "123456789" is 0xE3069283, the check value of the polynomial.
        assert_eq!(checksum("123456789"), "49la9j");
        assert_eq!(checksum(""), "000000");
    }

    #[test]
    fn one_changed_character_is_no_secret() {
        let secret = Secret::generate("eye_rk_").unwrap();
        for place in 7..secret.reveal().len() {
            let mut text = secret.reveal().as_bytes().to_vec();
            text[place] = if text[place] == b'x' { b'y' } else { b'x' };
            assert!(!is_well_formed(std::str::from_utf8(&text).unwrap()), "{place}");
        }
    }

    #[test]
    fn as_many_characters_are_drawn_as_were_asked_for() {
        for count in [0, 1, 32, 64, 1_000] {
            assert_eq!(random_base62(count).unwrap().len(), count);
        }
    }

    #[test]
    fn a_text_of_another_length_or_alphabet_is_no_secret_whatever_its_checksum() {
        for (random, well_formed) in
            [("a".repeat(32), true), ("a".repeat(31), false), ("a".repeat(33), false), ("-".repeat(32), false)]
        {
            let body = format!("eye_sk_{random}");
            assert_eq!(is_well_formed(&format!("{body}{}", checksum(&body))), well_formed, "{body}");
        }
    }

    #[test]
    fn imports_are_checked() {
        let django = "9944b09199c62bcf9418ad846dd0e4bbdfc6ee4b";
        assert_eq!(Secret::import(django, TokenKind::Secret).unwrap().reveal(), django);
        let ours = Secret::generate("eye_wk_").unwrap();
        assert!(Secret::import(ours.reveal(), TokenKind::Write).is_ok());
        assert!(Secret::import(ours.reveal(), TokenKind::Secret).is_err(), "of another kind");
        let cut = &ours.reveal()[..44];
        for bad in ["", "short", &"a".repeat(31), &"a".repeat(257), &"a ".repeat(20), &"ä".repeat(40), cut] {
            let error = Secret::import(bad, TokenKind::Write).unwrap_err().to_string();
            assert!(bad.is_empty() || !error.contains(bad), "{error}");
        }
    }

    #[test]
    fn hashes_are_read_back_as_written() {
        let hash = SecretHash::digest("abc");
        let text = serde_json::to_string(&hash).unwrap();
        assert_eq!(text, "\"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad\"");
        assert_eq!(format!("{hash:?}"), "SecretHash(…)");
        assert_eq!(serde_json::from_str::<SecretHash>(&text).unwrap(), hash);
        for bad in ["\"\"", "\"BA\"", "\"+a7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad\""] {
            assert!(serde_json::from_str::<SecretHash>(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_secret_prints_its_kind_only() {
        let secret = Secret::generate("eye_sk_").unwrap();
        assert_eq!(secret.to_string(), "eye_sk_…redacted");
        assert_eq!(format!("{secret:?}"), "Secret(eye_sk_…redacted)");
        let imported = Secret::import(&"f".repeat(40), TokenKind::Read).unwrap();
        assert_eq!(imported.to_string(), "…redacted");
    }
}
