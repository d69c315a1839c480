//! Passwords: argon2id with 19 MiB, 2 passes, 1 lane (what OWASP asks for at least), and a gate, so that a crowd that
//! signs in cannot take the memory that collecting needs.
//!
//! An unknown user costs the same work as a known one: who guesses learns nothing from the time.

use std::fmt;

use argon2::password_hash::phc;
use argon2::{Algorithm, Argon2, Params, PasswordHasher, PasswordVerifier, Version};
use parking_lot::{Condvar, Mutex};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

const MEMORY_KIB: u32 = 19 * 1024;
const PASSES: u32 = 2;
const LANES: u32 = 1;
/// Hashes computed at once; more wait. Memory is this many times 19 MiB.
const AT_ONCE_MAX: usize = 4;
const LENGTH_MIN: usize = 8;
const LENGTH_MAX: usize = 1024;
/// Compared with for users who do not exist. No password has it: the result is thrown away besides.
const NOBODY: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// A password's argon2id hash in PHC form. Never printed, never in the audit.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct PasswordHash(String);

impl PasswordHash {
    /// True if it can be compared with; a record holding another is damaged.
    pub(crate) fn is_readable(&self) -> bool {
        phc::PasswordHash::new(&self.0).is_ok()
    }
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordHash(…)")
    }
}

/// Refuses what is too short to be safe or too long to be a password. No rule about what it is made of.
pub(crate) fn check(password: &str) -> Result<()> {
    let length = password.chars().count();
    if (LENGTH_MIN..=LENGTH_MAX).contains(&length) {
        return Ok(());
    }
    Err(Error::invalid("password", format!("send {LENGTH_MIN} to {LENGTH_MAX} characters")))
}

/// Computes and compares hashes, [`AT_ONCE_MAX`] at a time. Blocks: tens of milliseconds each.
#[derive(Default)]
pub(crate) struct Passwords {
    running: Mutex<usize>,
    freed: Condvar,
}

impl Passwords {
    pub(crate) fn hash(&self, password: &str) -> Result<PasswordHash> {
        let argon2 = argon2id()?;
        let _place = self.enter();
        let hash: phc::PasswordHash = argon2
            .hash_password(password.as_bytes())
            .map_err(|error| Error::internal(format!("the password could not be hashed: {error}")))?;
        Ok(PasswordHash(hash.to_string()))
    }

    /// True if the password has this hash. Without a hash the same work is done, for nothing.
    pub(crate) fn verify(&self, password: &str, hash: Option<&PasswordHash>) -> bool {
        if password.chars().count() > LENGTH_MAX {
            return false;
        }
        let (Ok(argon2), Ok(parsed)) = (argon2id(), phc::PasswordHash::new(hash.map_or(NOBODY, |hash| &hash.0))) else {
            return false;
        };
        let _place = self.enter();
        let matches = argon2.verify_password(password.as_bytes(), &parsed).is_ok();
        matches && hash.is_some()
    }

    fn enter(&self) -> Place<'_> {
        let mut running = self.running.lock();
        while *running >= AT_ONCE_MAX {
            self.freed.wait(&mut running);
        }
        *running += 1;
        Place(self)
    }
}

/// One of the places at the gate; free again when dropped.
struct Place<'a>(&'a Passwords);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        *self.0.running.lock() -= 1;
        self.0.freed.notify_one();
    }
}

fn argon2id() -> Result<Argon2<'static>> {
    let params = Params::new(MEMORY_KIB, PASSES, LANES, None)
        .map_err(|error| Error::internal(format!("argon2 refuses its parameters: {error}")))?;
    Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_verified() {
        let passwords = Passwords::default();
        let hash = passwords.hash("correct horse").unwrap();
        assert!(hash.is_readable());
        assert!(hash.0.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{}", hash.0);
        assert!(passwords.verify("correct horse", Some(&hash)));
        assert!(!passwords.verify("correct horsf", Some(&hash)));
        assert!(!passwords.verify("", Some(&hash)));
        assert!(!passwords.verify("correct horse", None));
        assert_ne!(passwords.hash("correct horse").unwrap(), hash, "the salt differs");
        assert_eq!(*passwords.running.lock(), 0);
    }

    #[test]
    fn no_password_is_too_long_that_may_be_set_and_a_longer_one_is_none() {
        let passwords = Passwords::default();
        for (length, is_right) in [(LENGTH_MAX, true), (LENGTH_MAX + 1, false)] {
            let password = "ä".repeat(length);
            let hash = passwords.hash(&password).unwrap();
            assert_eq!(passwords.verify(&password, Some(&hash)), is_right, "{length}");
        }
        assert!(!PasswordHash("plain".to_owned()).is_readable());
    }

    #[test]
    fn nobody_costs_the_same_work_as_somebody() {
        let real = phc::PasswordHash::new(&Passwords::default().hash("12345678").unwrap().0).unwrap();
        let nobody = phc::PasswordHash::new(NOBODY).unwrap();
        assert_eq!(nobody.algorithm, real.algorithm);
        assert_eq!(nobody.version, real.version);
        assert_eq!(nobody.params, real.params);
        assert_eq!(nobody.salt.map(|salt| salt.as_ref().len()), real.salt.map(|salt| salt.as_ref().len()));
        assert_eq!(nobody.hash.map(|hash| hash.len()), real.hash.map(|hash| hash.len()));
    }

    #[test]
    fn lengths_count_characters() {
        for good in ["12345678", "ääääääää", &"ä".repeat(1024)] {
            assert!(check(good).is_ok());
        }
        for bad in ["", "1234567", "äääääää", &"x".repeat(1025)] {
            assert!(check(bad).is_err());
        }
    }

    #[test]
    fn a_full_gate_lets_the_next_in_when_one_leaves() {
        let passwords = Passwords::default();
        let mut places: Vec<_> = (0..AT_ONCE_MAX).map(|_| passwords.enter()).collect();
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| drop(passwords.enter()));
            assert_eq!(*passwords.running.lock(), AT_ONCE_MAX);
            places.pop();
            waiting.join().unwrap();
        });
        assert_eq!(*passwords.running.lock(), AT_ONCE_MAX - 1);
    }
}
