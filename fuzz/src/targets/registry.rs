//! The registry's log: records fold into a state or are refused without repeating a hash; what was read once is read
//! again as the same, also after a change was made.

use std::sync::Arc;

use bytes::Bytes;
use eye_event::Timestamp;
use eye_log::memory::MemoryLog;
use eye_log::{SharedLog, append_blocking};
use eye_registry::{Actor, Error, NewToken, Registry, TokenKind};

use crate::memory::within;

/// Runs the target on one input: records, one a line.
pub fn run(data: &[u8]) {
    let log: SharedLog = Arc::new(MemoryLog::new());
    for line in data.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).take(64) {
        append_blocking(&*log, Bytes::copy_from_slice(line), 1).expect("memory takes records");
    }
    // An object of five bytes is a node of a map.
    let opened = within(64 * 1024 + 512 * data.len(), || Registry::open(Arc::clone(&log)));
    let registry = match opened {
        Ok(registry) => registry,
        Err(error) => {
            assert!(matches!(error, Error::Corrupt { .. }), "{error}");
            let message = error.to_string();
            assert!(!repeats_hash(data, &message), "a hash is repeated: {message}");
            return;
        }
    };
    let state = registry.state();
    assert_eq!(*Registry::open(Arc::clone(&log)).expect("it opens again").state(), *state);
    assert!(!repeats_hash(data, &format!("{state:?}")), "a hash is shown");
    for token in state.tokens() {
        assert_eq!(state.token(&token.id).map(|found| &found.id), Some(&token.id));
    }
    for user in state.users() {
        assert_eq!(state.find_user(user.id.as_str()).map(|found| &found.id), Some(&user.id));
    }
    change(&registry);
    let again = Registry::open(log).expect("a registry that took a change opens");
    assert_eq!(*again.state(), *registry.state());
}

/// A change to whatever there is. It may be refused; it must not leave what cannot be opened.
fn change(registry: &Registry) {
    let now = Timestamp::from_micros(1_700_000_000_000_000);
    let state = registry.state();
    let _ = registry.create_application(&Actor::System, now, "fuzz", None);
    let secret = "0123456789abcdef0123456789abcdef";
    let new = NewToken {
        application: Some("fuzz".to_owned()),
        import: Some(secret.to_owned()),
        ..NewToken::new("a new one", TokenKind::Write)
    };
    if registry.create_token(&Actor::LocalCli, now, new).is_ok() {
        let grant = registry.authenticate(secret, now).expect("a new token opens what it should");
        assert!(grant.scopes.write && !grant.scopes.read && !grant.scopes.admin);
    }
    for token in state.tokens().iter().take(3) {
        let _ = registry.rotate_token(&Actor::System, now, &token.id, std::time::Duration::from_secs(60));
        registry.note_used(&token.id, now);
    }
    registry.persist_last_used(now).expect("uses can be kept");
}

/// True if the text says a hash of the records that stands nowhere else in them: a name may look like anything.
fn repeats_hash(records: &[u8], text: &str) -> bool {
    let records = String::from_utf8_lossy(records);
    let values = records.match_indices("hash\":\"").filter_map(|(at, key)| records[at + key.len()..].split('"').next());
    let mut hashes = values.filter(|value| value.len() >= 64);
    hashes.any(|hash| {
        text.contains(hash) && records.matches(hash).count() == records.matches(&format!("hash\":\"{hash}")).count()
    })
}
