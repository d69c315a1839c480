//! [`Token`], and [`Grant`]: what a token allows.
//!
//! What a token may do is never more than its kind allows and never more than its user's role allows, at any moment:
//! when the role changes, its tokens change with it. A token that may write always has an application.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use eye_event::Timestamp;
use serde::{Deserialize, Serialize, Serializer};

use crate::error::Error;
use crate::id::{Actor, ApplicationName, TokenId, UserId};
use crate::secret::SecretHash;
use crate::user::Role;

/// Tokens one registry holds, the revoked ones included.
pub(crate) const TOKENS_MAX: usize = 100_000;

/// Where a token may stand, and so what it may do at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TokenKind {
    /// `eye_sk_`: kept on servers; writes and reads, or whatever its scopes say.
    Secret,
    /// `eye_wk_`: stands in public pages; writes, and nothing else, ever.
    Write,
    /// `eye_rk_`: reads, and nothing else.
    Read,
}

impl TokenKind {
    /// How its text begins.
    #[must_use]
    pub const fn prefix(self) -> &'static str {
        match self {
            Self::Secret => "eye_sk_",
            Self::Write => "eye_wk_",
            Self::Read => "eye_rk_",
        }
    }

    /// `secret`, `write` or `read`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Secret => "secret",
            Self::Write => "write",
            Self::Read => "read",
        }
    }

    /// The most a token of this kind may do.
    #[must_use]
    pub const fn scopes_max(self) -> Scopes {
        match self {
            Self::Secret => Scopes::ALL,
            Self::Write => Scopes::WRITE,
            Self::Read => Scopes::READ,
        }
    }

    /// What a token of this kind may do if nobody says.
    #[must_use]
    pub const fn scopes_default(self) -> Scopes {
        match self {
            Self::Secret => Scopes { write: true, read: true, admin: false },
            Self::Write => Scopes::WRITE,
            Self::Read => Scopes::READ,
        }
    }
}

impl fmt::Display for TokenKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for TokenKind {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        [Self::Secret, Self::Write, Self::Read]
            .into_iter()
            .find(|kind| kind.name() == text)
            .ok_or_else(|| Error::invalid("kind", "send secret, write or read"))
    }
}

/// What may be done. As JSON: an array of `write`, `read`, `admin`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "Vec<Scope>", try_from = "Vec<Scope>")]
pub struct Scopes {
    /// Send events.
    pub write: bool,
    /// Ask.
    pub read: bool,
    /// Manage applications, tokens and users.
    pub admin: bool,
}

impl Scopes {
    /// Nothing.
    pub const NONE: Self = Self { write: false, read: false, admin: false };
    /// Send events only.
    pub const WRITE: Self = Self { write: true, read: false, admin: false };
    /// Ask only.
    pub const READ: Self = Self { write: false, read: true, admin: false };
    /// Everything.
    pub const ALL: Self = Self { write: true, read: true, admin: true };

    /// What both allow.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self { write: self.write && other.write, read: self.read && other.read, admin: self.admin && other.admin }
    }

    /// True if everything `other` allows is allowed here.
    #[must_use]
    pub fn covers(self, other: Self) -> bool {
        self.and(other) == other
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Scope {
    Write,
    Read,
    Admin,
}

impl From<Scopes> for Vec<Scope> {
    fn from(scopes: Scopes) -> Self {
        [(scopes.write, Scope::Write), (scopes.read, Scope::Read), (scopes.admin, Scope::Admin)]
            .into_iter()
            .filter_map(|(allowed, scope)| allowed.then_some(scope))
            .collect()
    }
}

impl TryFrom<Vec<Scope>> for Scopes {
    type Error = &'static str;

    fn try_from(list: Vec<Scope>) -> Result<Self, Self::Error> {
        let has = |scope| list.contains(&scope);
        let scopes = Self { write: has(Scope::Write), read: has(Scope::Read), admin: has(Scope::Admin) };
        if Vec::from(scopes).len() == list.len() { Ok(scopes) } else { Err("a scope is there twice") }
    }
}

/// What to make a token of. Its `Debug` shows everything but `import`.
#[derive(Clone)]
pub struct NewToken {
    /// What people call it; unique among the tokens that are neither revoked nor rotated away.
    pub name: String,
    /// Where it may stand.
    pub kind: TokenKind,
    /// The application it writes to, and reads unless `reads_all`. If absent: the only one there is.
    pub application: Option<String>,
    /// What it may do. If absent: what its kind does, or for a user's secret token what the user's role allows.
    pub scopes: Option<Scopes>,
    /// True if it reads every application.
    pub reads_all: bool,
    /// From when on it opens nothing; never, if absent.
    pub expires_at: Option<Timestamp>,
    /// The user it acts for: id or name.
    pub user: Option<String>,
    /// The text that clients hold already, such as a token of the seed: 32 to 256 printable ASCII characters.
    pub import: Option<String>,
}

impl NewToken {
    /// A token of this name and kind, everything else as by default.
    pub fn new(name: impl Into<String>, kind: TokenKind) -> Self {
        Self {
            name: name.into(),
            kind,
            application: None,
            scopes: None,
            reads_all: false,
            expires_at: None,
            user: None,
            import: None,
        }
    }
}

impl fmt::Debug for NewToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewToken")
            .field("name", &self.name)
            .field("kind", &self.kind)
            .field("application", &self.application)
            .field("scopes", &self.scopes)
            .field("reads_all", &self.reads_all)
            .field("expires_at", &self.expires_at)
            .field("user", &self.user)
            .field("import", &self.import.as_ref().map(|_| "…redacted"))
            .finish()
    }
}

/// A token as it is known: everything but its text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Token {
    /// Names it without opening anything.
    pub id: TokenId,
    /// What people call it.
    pub name: String,
    /// Where it may stand.
    pub kind: TokenKind,
    /// The application it writes to, and reads unless `reads_all`.
    pub application: Option<ApplicationName>,
    /// What it may do now: what it was given, as far as its user's role allows.
    pub scopes: Scopes,
    /// True if it reads every application.
    pub reads_all: bool,
    /// The user it acts for.
    pub user: Option<UserId>,
    /// True if its text came from elsewhere.
    pub imported: bool,
    /// When it was made.
    pub created_at: Timestamp,
    /// Who made it.
    pub created_by: Actor,
    /// From when on it opens nothing.
    pub expires_at: Option<Timestamp>,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
    /// The token that took its place.
    pub replaced_by: Option<TokenId>,
    /// The token whose place it took.
    pub replaces: Option<TokenId>,
    /// What it was given; absent if it follows its user's role.
    #[serde(skip)]
    pub(crate) granted: Option<Scopes>,
    #[serde(skip)]
    pub(crate) hash: SecretHash,
    /// The last use that the log knows.
    #[serde(skip)]
    pub(crate) last_used_saved: Option<Timestamp>,
    #[serde(rename = "last_used_at")]
    pub(crate) last_used: LastUsed,
}

impl Token {
    /// When it last opened something, as far as was noted.
    #[must_use]
    pub fn last_used_at(&self) -> Option<Timestamp> {
        self.last_used.get()
    }

    /// True if it opens something at this moment, as far as the token alone decides (its user may be inactive).
    #[must_use]
    pub fn is_live(&self, now: Timestamp) -> bool {
        self.revoked_at.is_none() && self.expires_at.is_none_or(|end| now < end)
    }
}

/// The last use, shared by every snapshot so that noting one takes no lock and no new state.
#[derive(Clone)]
pub(crate) struct LastUsed(Arc<AtomicI64>);

impl LastUsed {
    const NEVER: i64 = i64::MIN;

    pub(crate) fn never() -> Self {
        Self(Arc::new(AtomicI64::new(Self::NEVER)))
    }

    pub(crate) fn note(&self, now: Timestamp) {
        self.0.fetch_max(now.micros(), Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> Option<Timestamp> {
        let micros = self.0.load(Ordering::Relaxed);
        (micros != Self::NEVER).then(|| Timestamp::from_micros(micros))
    }
}

impl fmt::Debug for LastUsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.get().fmt(f)
    }
}

impl PartialEq for LastUsed {
    fn eq(&self, other: &Self) -> bool {
        self.get() == other.get()
    }
}

impl Eq for LastUsed {}

impl Serialize for LastUsed {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.get().serialize(serializer)
    }
}

/// What the holder of a token may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The token.
    pub token: TokenId,
    /// Its name.
    pub name: Arc<str>,
    /// The application it writes to; always there if `scopes.write`.
    pub application: Option<Arc<str>>,
    /// What it may do.
    pub scopes: Scopes,
    /// True if it reads every application.
    pub reads_all: bool,
    /// The user it acts for.
    pub user: Option<UserId>,
    /// That user's role.
    pub role: Option<Role>,
}

impl Grant {
    /// True if it may read this application.
    #[must_use]
    pub fn may_read(&self, application: &str) -> bool {
        self.scopes.read && (self.reads_all || self.application.as_deref() == Some(application))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_are_read_and_written() {
        let text = serde_json::to_string(&Scopes::ALL).unwrap();
        assert_eq!(text, r#"["write","read","admin"]"#);
        assert_eq!(serde_json::from_str::<Scopes>(&text).unwrap(), Scopes::ALL);
        assert_eq!(serde_json::from_str::<Scopes>("[]").unwrap(), Scopes::NONE);
        for bad in [r#"["root"]"#, r#"["read","read"]"#, r#""read""#] {
            assert!(serde_json::from_str::<Scopes>(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_public_kind_covers_writing_only() {
        assert!(TokenKind::Write.scopes_max().covers(Scopes::WRITE));
        assert!(!TokenKind::Write.scopes_max().covers(Scopes::READ));
        assert!(!TokenKind::Read.scopes_max().covers(Scopes::WRITE));
        for kind in [TokenKind::Secret, TokenKind::Write, TokenKind::Read] {
            assert!(kind.scopes_max().covers(kind.scopes_default()));
            assert_eq!(kind.name().parse::<TokenKind>().unwrap(), kind);
        }
    }

    #[test]
    fn a_kind_prints_its_name() {
        assert_eq!(TokenKind::Secret.to_string(), "secret");
    }

    #[test]
    fn what_a_token_is_made_of_prints_all_but_the_imported_text() {
        let new = NewToken { import: Some("planted text".to_owned()), ..NewToken::new("a name", TokenKind::Read) };
        let printed = format!("{new:?}");
        assert!(
            printed.contains("\"a name\"") && printed.contains("Read") && printed.contains("…redacted"),
            "{printed}"
        );
        assert!(!printed.contains("planted"), "{printed}");
    }

    #[test]
    fn last_uses_are_the_same_if_their_times_are() {
        let (one, other) = (LastUsed::never(), LastUsed::never());
        assert_eq!(one, other);
        one.note(Timestamp::from_micros(5));
        assert_ne!(one, other);
        other.note(Timestamp::from_micros(5));
        assert_eq!(one, other);
        assert_eq!(format!("{one:?}"), format!("{:?}", Some(Timestamp::from_micros(5))));
    }

    #[test]
    fn the_last_use_never_goes_back() {
        let used = LastUsed::never();
        assert_eq!(used.get(), None);
        used.note(Timestamp::from_micros(5));
        used.note(Timestamp::from_micros(3));
        assert_eq!(used.get(), Some(Timestamp::from_micros(5)));
    }
}
