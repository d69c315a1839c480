//! The audit: every decision once, newest first, with who made it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use eye_log::memory::MemoryLog;
use eye_log::{Log, NewRecord, Offset, Record};
use eye_registry::{Actor, Error, Registry, Role};

use crate::support::{CLI, at, everything, new_user, open, payloads, secret_token, with_shop};

#[test]
fn every_change_writes_exactly_one_audit_record() {
    let all = everything();
    let audit = all.registry.audit(None, 1_000).unwrap();
    let kinds: Vec<_> = audit.iter().rev().map(|record| record.kind).collect();
    assert_eq!(kinds, all.kinds);
    assert_eq!(payloads(&all.log).len(), kinds.len() + 1, "and the note of the last uses, which is not shown");
    for (record, seconds) in audit.iter().rev().zip(0..) {
        assert_eq!(record.at, at(seconds));
    }
}

#[test]
fn an_audit_record_says_who_did_what() {
    let (registry, _log) = with_shop();
    let (ada, _, _) = registry.create_user(&CLI, at(1), new_user("ada", Role::Admin)).unwrap();
    let by = Actor::User(ada.id.clone());
    let (token, _) = registry.create_token(&by, at(2), secret_token("a")).unwrap();
    registry.revoke_token(&Actor::Token(token.id.clone()), at(3), &token.id).unwrap();
    let audit = registry.audit(None, 2).unwrap();
    assert_eq!((audit[0].kind, &audit[0].by), ("token_revoked", &Actor::Token(token.id.clone())));
    assert_eq!(audit[0].details["id"], token.id.as_str());
    assert_eq!((audit[1].kind, &audit[1].by, audit[1].at), ("token_created", &by, at(2)));
    assert_eq!(audit[1].details["name"], "a");
    assert_eq!(audit[1].details["scopes"], serde_json::json!(["write", "read"]));
    let json = serde_json::to_value(&audit[1]).unwrap();
    assert_eq!((&json["type"], &json["offset"]), (&"token_created".into(), &3.into()));
    assert_eq!(json["by"], format!("user:{}", ada.id));
}

#[test]
fn what_was_refused_is_not_in_the_audit() {
    let (registry, _log) = with_shop();
    assert!(registry.create_application(&CLI, at(1), "shop", None).is_err());
    assert!(registry.create_token(&CLI, at(1), secret_token("")).is_err());
    assert!(matches!(registry.redeem_setup_code(at(1), "x", new_user("eve", Role::Admin)), Err(Error::Denied { .. })));
    assert_eq!(registry.audit(None, 10).unwrap().len(), 1);
}

#[test]
fn pages_cover_everything_once() {
    let all = everything();
    let whole = all.registry.audit(None, 1_000).unwrap();
    for registry in [&all.registry, &open(&all.log)] {
        for size in 1..=whole.len() {
            let mut pages = Vec::new();
            let mut before = None;
            loop {
                let page = registry.audit(before, size).unwrap();
                assert!(page.len() <= size);
                let Some(last) = page.last() else { break };
                before = Some(last.offset);
                pages.extend(page);
            }
            assert_eq!(pages, whole, "pages of {size}");
        }
    }
    assert!(all.registry.audit(None, 0).unwrap().is_empty());
    assert!(all.registry.audit(Some(Offset::ZERO), 10).unwrap().is_empty());
    assert_eq!(all.registry.audit(Some(Offset(u64::MAX)), 1_000).unwrap(), whole);
}

#[test]
fn a_long_trail_is_read_in_few_pieces() {
    let (registry, log) = with_shop();
    let title = "t".repeat(100);
    for number in 0..600 {
        registry.create_application(&CLI, at(number), &format!("shop-{number}"), Some(&title)).unwrap();
    }
    let counted = Arc::new(CountedReads { log, reads: AtomicUsize::new(0) });
    let registry = Registry::open(Arc::<CountedReads>::clone(&counted)).unwrap();
    let before = counted.reads.load(Ordering::Relaxed);
    let audit = registry.audit(None, 500).unwrap();
    let names: Vec<_> = audit.iter().map(|record| record.details["name"].as_str().unwrap().to_owned()).collect();
    let expected: Vec<_> = (100..600).rev().map(|number| format!("shop-{number}")).collect();
    assert_eq!(names, expected);
    assert!(counted.reads.load(Ordering::Relaxed) - before < 5);
}

/// A log that counts how often it is read.
struct CountedReads {
    log: Arc<MemoryLog>,
    reads: AtomicUsize,
}

impl Log for CountedReads {
    fn append(&self, record: NewRecord) {
        self.log.append(record);
    }

    fn read(&self, from: Offset, bytes_max: usize) -> eye_log::Result<Vec<Record>> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        self.log.read(from, bytes_max)
    }

    fn wait_past(&self, offset: Offset, timeout: Duration) -> eye_log::Result<Offset> {
        self.log.wait_past(offset, timeout)
    }

    fn start(&self) -> Offset {
        self.log.start()
    }

    fn end(&self) -> Offset {
        self.log.end()
    }

    fn trim(&self, before: Offset) -> eye_log::Result<()> {
        self.log.trim(before)
    }

    fn close(&self) -> eye_log::Result<()> {
        self.log.close()
    }

    fn bytes_on_disk(&self) -> u64 {
        self.log.bytes_on_disk()
    }

    fn health(&self) -> eye_log::Result<()> {
        self.log.health()
    }
}
