//! What strangers send for a token, an id or a name: a secret opens only what was made with it, an id that is read is
//! written the same, and a refusal never repeats what was sent.

use std::sync::{Arc, OnceLock};

use eye_event::Timestamp;
use eye_log::memory::MemoryLog;
use eye_registry::{Actor, ApplicationName, NewToken, Registry, Scopes, Secret, TokenId, TokenKind, UserId};

use crate::memory::within;

const NOW: Timestamp = Timestamp::from_micros(1_700_000_000_000_000);

/// Runs the target on one input, a text.
pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    read::<TokenId>(text);
    read::<UserId>(text);
    read::<ApplicationName>(text);
    read::<Actor>(text);
    if let Ok(kind) = text.parse::<TokenKind>() {
        assert_eq!(kind.name(), text);
    }
    if let Ok(scopes) = serde_json::from_str::<Scopes>(text) {
        let written = serde_json::to_string(&scopes).expect("scopes are written");
        assert_eq!(serde_json::from_str::<Scopes>(&written).expect("and read"), scopes);
    }
    let (registry, secret) = registry();
    let granted = within(4096, || registry.authenticate(text, NOW)).is_ok();
    assert_eq!(granted, text == secret.reveal(), "a stranger got in");
    for kind in [TokenKind::Secret, TokenKind::Write, TokenKind::Read] {
        import(text, kind);
    }
}

fn read<T: std::str::FromStr<Err = eye_registry::Error> + ToString>(text: &str) {
    match text.parse::<T>() {
        Ok(id) => assert_eq!(id.to_string(), text),
        Err(error) => check_silence(text, &error),
    }
}

/// What was sent may be a secret.
fn check_silence(text: &str, error: &eye_registry::Error) {
    // Shorter texts, or several words, can stand in the message itself.
    let is_telling = text.len() > 20 && !text.contains(' ');
    assert!(!is_telling || !error.to_string().contains(text), "{error}");
}

/// A registry that knows one token.
fn registry() -> &'static (Registry, Secret) {
    static ONE: OnceLock<(Registry, Secret)> = OnceLock::new();
    ONE.get_or_init(|| {
        let registry = empty();
        let new = NewToken::new("one", TokenKind::Secret);
        let (_, secret) = registry.create_token(&Actor::System, NOW, new).expect("a token");
        (registry, secret)
    })
}

fn empty() -> Registry {
    let registry = Registry::open(Arc::new(MemoryLog::new())).expect("an empty registry");
    registry.create_application(&Actor::System, NOW, "web", None).expect("an application");
    registry
}

/// A text that clients hold already: refused, or it opens the token that it was imported for.
fn import(text: &str, kind: TokenKind) {
    let registry = empty();
    let new = NewToken { import: Some(text.to_owned()), ..NewToken::new("old", kind) };
    match registry.create_token(&Actor::System, NOW, new) {
        Ok((token, secret)) => {
            assert_eq!(secret.reveal(), text);
            assert!(!format!("{secret:?} {secret} {token:?}").contains(text), "a secret is shown");
            let grant = registry.authenticate(text, NOW).expect("an imported token opens what it should");
            assert_eq!(grant.token, token.id);
            assert!(kind.scopes_max().covers(grant.scopes));
        }
        Err(error) => check_silence(text, &error),
    }
}
