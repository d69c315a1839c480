//! [`User`]: a person, with a [`Role`] and, to sign in, a password.

use std::fmt;
use std::str::FromStr;

use eye_event::Timestamp;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::id::{Actor, UserId};
use crate::password::PasswordHash;
use crate::token::Scopes;

/// Users one registry holds.
pub(crate) const USERS_MAX: usize = 10_000;
/// Characters of a user's name: as many as the seed took.
const NAME_LENGTH_MAX: usize = 150;

/// What a user may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Everything.
    Admin,
    /// Sends events and asks.
    Analyst,
    /// Asks.
    Viewer,
}

impl Role {
    /// What the role allows.
    #[must_use]
    pub const fn scopes(self) -> Scopes {
        match self {
            Self::Admin => Scopes::ALL,
            Self::Analyst => Scopes { write: true, read: true, admin: false },
            Self::Viewer => Scopes::READ,
        }
    }

    /// `admin`, `analyst` or `viewer`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Analyst => "analyst",
            Self::Viewer => "viewer",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Role {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        [Self::Admin, Self::Analyst, Self::Viewer]
            .into_iter()
            .find(|role| role.name() == text)
            .ok_or_else(|| Error::invalid("role", "send admin, analyst or viewer"))
    }
}

/// What to make a user of. Its `Debug` shows everything but the password.
#[derive(Clone)]
pub struct NewUser {
    /// The name to sign in with; unique, upper and lower case alike.
    pub name: String,
    /// The password; without one the user has a token only.
    pub password: Option<String>,
    /// What the user may do.
    pub role: Role,
    /// The application the user's token writes to. If absent: the first one made.
    pub application: Option<String>,
}

impl fmt::Debug for NewUser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewUser")
            .field("name", &self.name)
            .field("password", &self.password.as_ref().map(|_| "…redacted"))
            .field("role", &self.role)
            .field("application", &self.application)
            .finish()
    }
}

/// What to change about a user; what is absent stays. Its `Debug` shows everything but the password.
#[derive(Clone, Default)]
pub struct UserChange {
    /// Switch the user, and with it the user's tokens, on or off.
    pub active: Option<bool>,
    /// Another role; the user's tokens follow it.
    pub role: Option<Role>,
    /// Another password.
    pub password: Option<String>,
}

impl fmt::Debug for UserChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UserChange")
            .field("active", &self.active)
            .field("role", &self.role)
            .field("password", &self.password.as_ref().map(|_| "…redacted"))
            .finish()
    }
}

/// A user as it is known: everything but the password.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct User {
    /// Names the user.
    pub id: UserId,
    /// The name to sign in with, as it was written.
    pub name: String,
    /// What the user may do.
    pub role: Role,
    /// False if the user, and every token of the user, opens nothing.
    pub active: bool,
    /// When the user was made.
    pub created_at: Timestamp,
    /// Who made it.
    pub created_by: Actor,
    #[serde(skip)]
    pub(crate) password: Option<PasswordHash>,
}

impl User {
    /// True if the user can sign in with a password.
    #[must_use]
    pub fn has_password(&self) -> bool {
        self.password.is_some()
    }
}

/// The name as it is compared: upper and lower case alike.
pub(crate) fn name_key(name: &str) -> String {
    name.to_lowercase()
}

/// Letters, digits and `@ . + - _`, as the seed took them.
pub(crate) fn check_name(name: &str) -> Result<()> {
    let is_plain = |char: char| char.is_alphanumeric() || matches!(char, '@' | '.' | '+' | '-' | '_');
    let length = name.chars().count();
    if (1..=NAME_LENGTH_MAX).contains(&length) && name.chars().all(is_plain) {
        return Ok(());
    }
    Err(Error::invalid("name", format!("use 1 to {NAME_LENGTH_MAX} letters, digits and @ . + - _ without spaces")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_names_are_as_the_seed_took_them() {
        for good in ["consaffair", "a", "jürgen@example.org", "A.b+c-d_e", &"x".repeat(150)] {
            assert!(check_name(good).is_ok(), "{good}");
        }
        for bad in ["", "a b", "a\0", "a\n", "a/b", "a:b", &"x".repeat(151)] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn each_role_covers_the_one_below() {
        assert!(Role::Admin.scopes().covers(Role::Analyst.scopes()));
        assert!(Role::Analyst.scopes().covers(Role::Viewer.scopes()));
        assert!(!Role::Analyst.scopes().admin);
        assert!(!Role::Viewer.scopes().write);
        for role in [Role::Admin, Role::Analyst, Role::Viewer] {
            assert_eq!(role.name().parse::<Role>().unwrap(), role);
        }
    }
}
