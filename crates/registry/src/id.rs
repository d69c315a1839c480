//! Who and what: [`ApplicationName`], [`TokenId`], [`UserId`], and [`Actor`], who made a change.
//!
//! Ids are short, readable and public: they open nothing. Cloning one is cheap. A text that is no id is refused
//! without being repeated, because people paste secrets where an id belongs.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::{Error, Result};
use crate::secret::random_base62;

/// Random characters of an id: 71 bits.
const ID_LENGTH: usize = 12;
/// Characters of an application's name.
const SLUG_LENGTH_MAX: usize = 63;

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident, $field:literal, $is_valid:expr, $rule:literal) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Arc<str>);

        impl $name {
            /// As text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// As shared text, without a copy.
            #[must_use]
            pub fn to_shared(&self) -> Arc<str> {
                Arc::clone(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = Error;

            fn from_str(text: &str) -> Result<Self> {
                let is_valid: fn(&str) -> bool = $is_valid;
                if is_valid(text) { Ok(Self(text.into())) } else { Err(Error::invalid($field, $rule)) }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl PartialEq<str> for $name {
            fn eq(&self, other: &str) -> bool {
                &*self.0 == other
            }
        }

        impl PartialEq<&str> for $name {
            fn eq(&self, other: &&str) -> bool {
                &*self.0 == *other
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

text_id! {
    /// An application's name: its id everywhere, in events too. Never renamed, never used twice.
    ApplicationName, "name", is_slug,
    "not a name for an application: use 1 to 63 of a-z, 0-9, - and _, beginning with a letter or digit"
}

text_id! {
    /// Names a token (`tok_` and 12 letters or digits) without opening anything.
    TokenId, "token", |text| is_id(text, "tok_"),
    "not a token id: send one such as tok_4fKq0ZbT7xWm (the id, never the secret)"
}

text_id! {
    /// Names a user (`usr_` and 12 letters or digits).
    UserId, "user", |text| is_id(text, "usr_"),
    "not a user id: send one such as usr_4fKq0ZbT7xWm"
}

impl TokenId {
    pub(crate) fn generate() -> Result<Self> {
        Ok(Self(format!("tok_{}", random_base62(ID_LENGTH)?).into()))
    }
}

impl UserId {
    pub(crate) fn generate() -> Result<Self> {
        Ok(Self(format!("usr_{}", random_base62(ID_LENGTH)?).into()))
    }
}

fn is_slug(text: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let begins_plain = text.bytes().next().is_some_and(is_plain);
    begins_plain
        && text.len() <= SLUG_LENGTH_MAX
        && text.bytes().all(|byte| is_plain(byte) || matches!(byte, b'-' | b'_'))
}

fn is_id(text: &str, prefix: &str) -> bool {
    text.strip_prefix(prefix)
        .is_some_and(|rest| rest.len() == ID_LENGTH && rest.bytes().all(|byte| byte.is_ascii_alphanumeric()))
}

/// Who made a change. As text: `system`, `local_cli`, `user:usr_…`, `token:tok_…`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Actor {
    /// The service itself.
    System,
    /// Somebody with access to the data folder.
    LocalCli,
    /// A user who signed in.
    User(UserId),
    /// Whoever holds this token.
    Token(TokenId),
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::System => f.write_str("system"),
            Self::LocalCli => f.write_str("local_cli"),
            Self::User(id) => write!(f, "user:{id}"),
            Self::Token(id) => write!(f, "token:{id}"),
        }
    }
}

impl FromStr for Actor {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text.split_once(':') {
            None if text == "system" => Ok(Self::System),
            None if text == "local_cli" => Ok(Self::LocalCli),
            Some(("user", id)) => id.parse().map(Self::User),
            Some(("token", id)) => id.parse().map(Self::Token),
            _ => Err(Error::invalid("by", "not an actor: system, local_cli, user:<id> or token:<id>")),
        }
    }
}

impl Serialize for Actor {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Actor {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn application_names_are_slugs() {
        for good in ["a", "0", "web-shop", "web_shop-2", &"a".repeat(63)] {
            assert!(good.parse::<ApplicationName>().is_ok(), "{good}");
        }
        for bad in ["", "-a", "_a", "Web", "a b", "ä", "a/b", "a\0", "a\n", &"a".repeat(64)] {
            assert!(bad.parse::<ApplicationName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn ids_are_short_and_read_back() {
        let id = TokenId::generate().unwrap();
        assert_eq!(id.as_str().len(), 16);
        assert_eq!(id.as_str().parse::<TokenId>().unwrap(), id);
        assert!(id.as_str().parse::<UserId>().is_err());
    }

    #[test]
    fn a_secret_sent_as_an_id_is_not_repeated() {
        let error = "eye_sk_planted".parse::<TokenId>().unwrap_err();
        assert!(!error.to_string().contains("planted"));
        assert!(!format!("{error:?}").contains("planted"));
    }

    #[test]
    fn actors_are_read_and_written() {
        for text in ["system", "local_cli", "user:usr_0123456789ab", "token:tok_0123456789ab"] {
            assert_eq!(text.parse::<Actor>().unwrap().to_string(), text);
        }
        for bad in ["", "root", "system:", "user:", "user:tok_0123456789ab"] {
            assert!(bad.parse::<Actor>().is_err(), "{bad}");
        }
    }
}
