//! What the tests share: logs in memory, times, and one of every change.

use std::sync::Arc;
use std::time::Duration;

use eye_event::Timestamp;
use eye_log::memory::MemoryLog;
use eye_log::{ErrorKind, Log, Offset, append_blocking};
use eye_registry::{Actor, NewToken, NewUser, Registry, Role, Secret, TokenKind, UserChange};

/// Planted wherever a password is taken.
pub(crate) const PASSWORD: &str = "planted password 1";
pub(crate) const NEW_PASSWORD: &str = "planted password 2";
/// Planted as an imported token: 40 hexadecimal digits, as the seed made them.
pub(crate) const IMPORTED: &str = "9944b09199c62bcf9418ad846dd0e4bbdfc6ee4b";
pub(crate) const CLI: Actor = Actor::LocalCli;

/// A log that holds these payloads.
pub(crate) fn log_of(payloads: &[impl AsRef<[u8]>]) -> Arc<MemoryLog> {
    let log = MemoryLog::new();
    for payload in payloads {
        append_blocking(&log, payload.as_ref().to_vec().into(), 1).unwrap();
    }
    Arc::new(log)
}

/// Everything the log holds.
pub(crate) fn payloads(log: &MemoryLog) -> Vec<Vec<u8>> {
    log.read(Offset::FIRST, usize::MAX).unwrap().iter().map(|record| record.payload.to_vec()).collect()
}

/// The next append finds no space.
pub(crate) fn fill_up(log: &MemoryLog) {
    log.fail_next_append(eye_log::Error::new(ErrorKind::Full, "no space is left: free some"));
}

/// This many seconds after the tests' beginning of time.
pub(crate) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_micros((1_700_000_000 + seconds) * 1_000_000)
}

pub(crate) fn open(log: &Arc<MemoryLog>) -> Registry {
    Registry::open(Arc::<MemoryLog>::clone(log)).unwrap()
}

/// An empty registry with its log.
pub(crate) fn empty() -> (Registry, Arc<MemoryLog>) {
    let log = Arc::new(MemoryLog::new());
    (open(&log), log)
}

/// A registry with one application, `shop`.
pub(crate) fn with_shop() -> (Registry, Arc<MemoryLog>) {
    let (registry, log) = empty();
    registry.create_application(&CLI, at(0), "shop", Some("The Shop")).unwrap();
    (registry, log)
}

pub(crate) fn secret_token(name: &str) -> NewToken {
    NewToken::new(name, TokenKind::Secret)
}

pub(crate) fn new_user(name: &str, role: Role) -> NewUser {
    NewUser { name: name.to_owned(), password: None, role, application: None }
}

/// One of every change there is; what it made, and how many records of the audit it wrote.
pub(crate) struct Everything {
    pub(crate) registry: Registry,
    pub(crate) log: Arc<MemoryLog>,
    pub(crate) secrets: Vec<Secret>,
    pub(crate) kinds: Vec<&'static str>,
    /// `Debug`, `Display` and JSON of everything that was sent or returned.
    pub(crate) printed: String,
}

pub(crate) fn everything() -> Everything {
    let (registry, log) = with_shop();
    let mut printed = String::new();
    let mut secrets = Vec::new();
    let mut print = |text: String| printed.push_str(&text);

    let setup = registry.create_setup_code(at(1)).unwrap();
    let admin = NewUser { password: Some(PASSWORD.to_owned()), ..new_user("Ada", Role::Admin) };
    print(format!("{setup} {setup:?} {admin:?}"));
    let (ada, ada_token, secret) = registry.redeem_setup_code(at(2), setup.reveal(), admin).unwrap();
    print(format!("{ada:?} {ada_token:?} {secret} {secret:?} {}", serde_json::to_string(&ada).unwrap()));
    secrets.extend([setup, secret]);

    let by = Actor::User(ada.id);
    let import = NewToken { import: Some(IMPORTED.to_owned()), ..secret_token("seed client") };
    print(format!("{import:?}"));
    let (imported, secret) = registry.create_token(&by, at(3), import).unwrap();
    print(format!("{imported:?} {secret} {secret:?} {}", serde_json::to_string(&imported).unwrap()));
    secrets.push(secret);

    let lasting = NewToken { expires_at: Some(at(1_000)), ..NewToken::new("page", TokenKind::Write) };
    let (page, secret) = registry.create_token(&by, at(4), lasting).unwrap();
    secrets.push(secret);
    let (rotated, secret) = registry.rotate_token(&by, at(5), &page.id, Duration::from_secs(60)).unwrap();
    print(format!("{rotated:?} {secret:?}"));
    secrets.push(secret);
    let (doomed, secret) = registry.create_token(&by, at(6), secret_token("doomed")).unwrap();
    secrets.push(secret);
    print(format!("{:?}", registry.revoke_token(&by, at(7), &doomed.id).unwrap()));

    let vera = NewUser { password: Some(PASSWORD.to_owned()), ..new_user("vera", Role::Viewer) };
    let (vera, _, secret) = registry.create_user(&by, at(8), vera).unwrap();
    secrets.push(secret);
    let change = UserChange { active: Some(false), role: Some(Role::Analyst), password: Some(NEW_PASSWORD.to_owned()) };
    print(format!("{change:?}"));
    print(format!("{:?}", registry.update_user(&by, at(9), &vera.id, change).unwrap()));

    registry.note_used(&imported.id, at(10));
    assert_eq!(registry.persist_last_used(at(11)).unwrap(), 1);
    for secret in &secrets {
        print(format!("{:?}", registry.authenticate(secret.reveal(), at(12))));
    }
    print(format!("{registry:?} {:?}", registry.state()));
    let kinds = vec![
        "application_created",
        "setup_code_created",
        "setup_code_redeemed",
        "token_created",
        "token_created",
        "token_rotated",
        "token_created",
        "token_revoked",
        "user_created",
        "user_updated",
    ];
    Everything { registry, log, secrets, kinds, printed }
}
