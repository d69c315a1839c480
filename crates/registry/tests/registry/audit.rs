//! The audit: every decision once, newest first, with who made it.

use eye_log::Offset;
use eye_registry::{Actor, Error, Role};

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
