//! Tokens: what opens what, until when.

use std::time::Duration;

use eye_event::Timestamp;
use eye_registry::{Denied, Error, NewToken, Role, Scopes, Secret, TokenKind, UserChange};

use crate::support::{CLI, IMPORTED, at, empty, new_user, open, payloads, secret_token, with_shop};

fn is_invalid<T>(result: Result<T, Error>, field: &str) -> bool {
    matches!(result, Err(Error::Invalid { field: wrong, .. }) if wrong == field)
}

#[test]
fn each_kind_opens_what_it_should() {
    let (registry, _log) = with_shop();
    let writes_and_reads = Scopes { write: true, read: true, admin: false };
    for (kind, prefix, scopes) in [
        (TokenKind::Secret, "eye_sk_", writes_and_reads),
        (TokenKind::Write, "eye_wk_", Scopes::WRITE),
        (TokenKind::Read, "eye_rk_", Scopes::READ),
    ] {
        let (token, secret) = registry.create_token(&CLI, at(1), NewToken::new(kind.name(), kind)).unwrap();
        assert!(secret.reveal().starts_with(prefix));
        let grant = registry.authenticate(secret.reveal(), at(1)).unwrap();
        assert_eq!((&grant.token, grant.scopes, grant.reads_all), (&token.id, scopes, false));
        assert_eq!(grant.application.as_deref(), Some("shop"));
        assert_eq!(token.scopes, scopes);
        assert_eq!(grant.may_read("shop"), scopes.read);
        assert!(!grant.may_read("other"));
    }
}

#[test]
fn strangers_are_unknown() {
    let (registry, _log) = with_shop();
    let (_, secret) = registry.create_token(&CLI, at(1), secret_token("a")).unwrap();
    let upper = secret.reveal().to_uppercase();
    let cut = &secret.reveal()[..44];
    for text in ["", " ", "eye_sk_", &upper, cut, &format!("{} ", secret.reveal()), &"x".repeat(1_000_000)] {
        assert_eq!(registry.authenticate(text, at(1)).unwrap_err(), Denied::Unknown);
    }
}

#[test]
fn a_token_expires_at_its_end_and_not_before() {
    let (registry, _log) = with_shop();
    let new = NewToken { expires_at: Some(at(10)), ..secret_token("a") };
    let (_, secret) = registry.create_token(&CLI, at(1), new).unwrap();
    let just_before = Timestamp::from_micros(at(10).micros() - 1);
    assert!(registry.authenticate(secret.reveal(), just_before).is_ok());
    assert_eq!(registry.authenticate(secret.reveal(), at(10)).unwrap_err(), Denied::Expired);
    for end in [at(0), at(1)] {
        let past = NewToken { expires_at: Some(end), ..secret_token("b") };
        assert!(is_invalid(registry.create_token(&CLI, at(1), past), "expires_at"));
    }
    let never = NewToken { expires_at: Some(Timestamp::from_micros(i64::MAX)), ..secret_token("b") };
    assert!(is_invalid(registry.create_token(&CLI, at(1), never), "expires_at"));
}

#[test]
fn a_revoked_token_stays_revoked() {
    let (registry, log) = with_shop();
    let (token, secret) = registry.create_token(&CLI, at(1), secret_token("a")).unwrap();
    let revoked = registry.revoke_token(&CLI, at(2), &token.id).unwrap();
    assert_eq!(revoked.revoked_at, Some(at(2)));
    assert_eq!(registry.authenticate(secret.reveal(), at(2)).unwrap_err(), Denied::Revoked);
    let written = payloads(&log).len();
    assert_eq!(registry.revoke_token(&CLI, at(3), &token.id).unwrap(), revoked, "the first time counts");
    assert_eq!(payloads(&log).len(), written);
    assert!(is_invalid(registry.rotate_token(&CLI, at(3), &token.id, Duration::ZERO), "token"));
    assert_eq!(open(&log).authenticate(secret.reveal(), at(0)).unwrap_err(), Denied::Revoked);
    let stranger = "tok_000000000000".parse().unwrap();
    assert!(matches!(registry.revoke_token(&CLI, at(3), &stranger), Err(Error::NotFound { what: "token" })));
}

#[test]
fn both_tokens_work_during_the_overlap() {
    let (registry, _log) = with_shop();
    let (old, old_secret) = registry.create_token(&CLI, at(1), secret_token("a")).unwrap();
    let (new, new_secret) = registry.rotate_token(&CLI, at(10), &old.id, Duration::from_secs(60)).unwrap();
    assert_eq!(
        (&new.name, new.kind, new.scopes, &new.application),
        (&old.name, old.kind, old.scopes, &old.application)
    );
    assert_eq!(new.replaces, Some(old.id.clone()));
    for now in [at(10), at(69)] {
        assert!(registry.authenticate(old_secret.reveal(), now).is_ok());
        assert!(registry.authenticate(new_secret.reveal(), now).is_ok());
    }
    assert_eq!(registry.authenticate(old_secret.reveal(), at(70)).unwrap_err(), Denied::Expired);
    assert!(registry.authenticate(new_secret.reveal(), at(70)).is_ok());
    let state = registry.state();
    assert_eq!(state.token(&old.id).unwrap().replaced_by, Some(new.id.clone()));
    assert_eq!(state.find_token("a").unwrap().id, new.id, "the name goes on to the new one");
    assert!(is_invalid(registry.rotate_token(&CLI, at(20), &old.id, Duration::ZERO), "token"), "rotated before");
}

#[test]
fn rotating_never_lengthens_the_old_token_and_renews_the_new() {
    let (registry, _log) = with_shop();
    let new = NewToken { expires_at: Some(at(100)), ..secret_token("a") };
    let (old, old_secret) = registry.create_token(&CLI, at(0), new).unwrap();
    let (new, _) = registry.rotate_token(&CLI, at(90), &old.id, Duration::from_secs(3_600)).unwrap();
    assert_eq!(registry.authenticate(old_secret.reveal(), at(100)).unwrap_err(), Denied::Expired);
    assert_eq!(new.expires_at, Some(at(190)), "the same 100 seconds, from now");
    assert!(is_invalid(registry.rotate_token(&CLI, at(190), &new.id, Duration::ZERO), "token"), "expired");
    let forever = Duration::from_secs(u64::MAX);
    assert!(is_invalid(registry.rotate_token(&CLI, at(95), &new.id, forever), "overlap"));
}

#[test]
fn tokens_overlap_for_a_year_at_most() {
    const YEAR: u64 = 31_536_000;
    let (registry, _log) = with_shop();
    let (old, old_secret) = registry.create_token(&CLI, at(0), secret_token("a")).unwrap();
    let longer = Duration::new(YEAR, 1);
    assert!(is_invalid(registry.rotate_token(&CLI, at(0), &old.id, longer), "overlap"));
    registry.rotate_token(&CLI, at(0), &old.id, Duration::from_secs(YEAR)).unwrap();
    assert!(registry.authenticate(old_secret.reveal(), at(YEAR as i64 - 1)).is_ok());
    assert_eq!(registry.authenticate(old_secret.reveal(), at(YEAR as i64)).unwrap_err(), Denied::Expired);
}

#[test]
fn an_old_token_revoked_during_the_overlap_leaves_the_new_one_alone() {
    let (registry, log) = with_shop();
    let (old, old_secret) = registry.create_token(&CLI, at(1), secret_token("a")).unwrap();
    let (new, new_secret) = registry.rotate_token(&CLI, at(2), &old.id, Duration::from_secs(60)).unwrap();
    registry.revoke_token(&CLI, at(3), &old.id).unwrap();
    assert_eq!(registry.authenticate(old_secret.reveal(), at(4)).unwrap_err(), Denied::Revoked);
    assert!(registry.authenticate(new_secret.reveal(), at(4)).is_ok());
    assert_eq!(open(&log).state().find_token("a").unwrap().id, new.id);
}

#[test]
fn a_token_of_the_seed_goes_on_working() {
    let (registry, log) = with_shop();
    let import = |name| NewToken { import: Some(IMPORTED.to_owned()), ..secret_token(name) };
    let (token, secret) = registry.create_token(&CLI, at(1), import("seed")).unwrap();
    assert!(token.imported);
    assert_eq!(secret.reveal(), IMPORTED);
    assert_eq!(open(&log).authenticate(IMPORTED, at(2)).unwrap().token, token.id);
    assert!(matches!(registry.create_token(&CLI, at(2), import("again")), Err(Error::Exists { .. })));
    registry.revoke_token(&CLI, at(3), &token.id).unwrap();
    let again = registry.create_token(&CLI, at(4), import("again"));
    assert!(matches!(again, Err(Error::Exists { .. })), "what leaked once is not taken again");
    let short = NewToken { import: Some("short".to_owned()), ..secret_token("short") };
    assert!(is_invalid(registry.create_token(&CLI, at(4), short), "import"));
}

#[test]
fn scopes_never_go_beyond_the_kind() {
    let (registry, _log) = with_shop();
    for (kind, scopes) in [
        (TokenKind::Write, Scopes::READ),
        (TokenKind::Write, Scopes::ALL),
        (TokenKind::Write, Scopes { write: true, read: false, admin: true }),
        (TokenKind::Read, Scopes::WRITE),
        (TokenKind::Read, Scopes { write: false, read: true, admin: true }),
        (TokenKind::Secret, Scopes::NONE),
    ] {
        let new = NewToken { scopes: Some(scopes), ..NewToken::new("a", kind) };
        assert!(is_invalid(registry.create_token(&CLI, at(1), new), "scopes"), "{kind} {scopes:?}");
    }
    let public = NewToken { reads_all: true, ..NewToken::new("a", TokenKind::Write) };
    assert!(is_invalid(registry.create_token(&CLI, at(1), public), "reads_all"));
    let admin = NewToken { scopes: Some(Scopes::ALL), ..secret_token("a") };
    assert!(registry.create_token(&CLI, at(1), admin).unwrap().0.scopes.admin);
}

#[test]
fn a_token_that_needs_an_application_has_one() {
    let (registry, _log) = empty();
    let none_yet = registry.create_token(&CLI, at(0), secret_token("a"));
    assert!(none_yet.as_ref().unwrap_err().to_string().contains("make one first"));
    assert!(is_invalid(none_yet, "application"), "none yet");
    let reads_all = NewToken { reads_all: true, ..NewToken::new("reader", TokenKind::Read) };
    let (token, secret) = registry.create_token(&CLI, at(0), reads_all).unwrap();
    assert_eq!(token.application, None);
    assert!(registry.authenticate(secret.reveal(), at(0)).unwrap().may_read("anything"));
    let manages = NewToken { scopes: Some(Scopes { admin: true, ..Scopes::NONE }), ..secret_token("manager") };
    assert_eq!(registry.create_token(&CLI, at(0), manages).unwrap().0.application, None);
    registry.create_application(&CLI, at(1), "one", None).unwrap();
    assert_eq!(registry.create_token(&CLI, at(2), secret_token("a")).unwrap().0.application.unwrap(), "one");
    registry.create_application(&CLI, at(3), "two", None).unwrap();
    assert!(is_invalid(registry.create_token(&CLI, at(4), secret_token("b")), "application"), "several");
    let on = |application: &str| NewToken { application: Some(application.to_owned()), ..secret_token("b") };
    assert!(matches!(registry.create_token(&CLI, at(4), on("three")), Err(Error::NotFound { what: "application" })));
    assert_eq!(registry.create_token(&CLI, at(4), on("two")).unwrap().0.application.unwrap(), "two");
}

#[test]
fn token_names_are_unique_until_they_are_free_again() {
    let (registry, log) = with_shop();
    let (token, _) = registry.create_token(&CLI, at(1), secret_token("a")).unwrap();
    assert!(matches!(registry.create_token(&CLI, at(2), secret_token("a")), Err(Error::Exists { .. })));
    registry.revoke_token(&CLI, at(3), &token.id).unwrap();
    let (again, _) = registry.create_token(&CLI, at(4), secret_token("a")).unwrap();
    assert_eq!(open(&log).state().find_token("a").unwrap().id, again.id);
    for bad in ["", " a", "a ", "a\nb", &"x".repeat(201)] {
        assert!(is_invalid(registry.create_token(&CLI, at(5), secret_token(bad)), "name"), "{bad}");
    }
}

#[test]
fn a_users_token_is_capped_by_the_role_at_every_moment() {
    let (registry, log) = with_shop();
    registry.create_user(&CLI, at(1), new_user("boss", Role::Admin)).unwrap();
    let (user, _, _) = registry.create_user(&CLI, at(1), new_user("ann", Role::Analyst)).unwrap();
    let of_ann = |name: &str, scopes| NewToken { scopes, user: Some("ANN".to_owned()), ..secret_token(name) };
    assert!(is_invalid(registry.create_token(&CLI, at(2), of_ann("a", Some(Scopes::ALL))), "scopes"));
    let (_, follows) = registry.create_token(&CLI, at(2), of_ann("follows", None)).unwrap();
    let (_, writes) = registry.create_token(&CLI, at(2), of_ann("writes", Some(Scopes::WRITE))).unwrap();
    let scopes = |secret: &Secret| registry.authenticate(secret.reveal(), at(3)).unwrap().scopes;
    for (role, followed, written) in [
        (Role::Viewer, Scopes::READ, Scopes::NONE),
        (Role::Admin, Scopes::ALL, Scopes::WRITE),
        (Role::Analyst, Role::Analyst.scopes(), Scopes::WRITE),
    ] {
        registry.update_user(&CLI, at(3), &user.id, UserChange { role: Some(role), ..UserChange::default() }).unwrap();
        assert_eq!((scopes(&follows), scopes(&writes)), (followed, written), "{role}");
        assert_eq!(registry.authenticate(follows.reveal(), at(3)).unwrap().role, Some(role));
        assert_eq!(*open(&log).state(), *registry.state());
    }
    let nobody = NewToken { user: Some("nobody".to_owned()), ..secret_token("n") };
    assert!(matches!(registry.create_token(&CLI, at(4), nobody), Err(Error::NotFound { what: "user" })));
}

#[test]
fn the_last_use_is_kept_when_it_is_persisted() {
    let (registry, log) = with_shop();
    let (token, _) = registry.create_token(&CLI, at(1), secret_token("a")).unwrap();
    let last_used = |registry: &eye_registry::Registry| registry.state().token(&token.id).unwrap().last_used_at();
    assert_eq!(last_used(&registry), None);
    assert_eq!(registry.persist_last_used(at(2)).unwrap(), 0);
    registry.note_used(&token.id, at(5));
    registry.note_used(&token.id, at(4));
    registry.note_used(&"tok_000000000000".parse().unwrap(), at(9));
    assert_eq!(last_used(&registry), Some(at(5)));
    assert_eq!(last_used(&open(&log)), None, "in memory only so far");
    assert_eq!(registry.persist_last_used(at(6)).unwrap(), 1);
    assert_eq!(registry.persist_last_used(at(7)).unwrap(), 0, "nothing new, nothing written");
    assert_eq!(last_used(&open(&log)), Some(at(5)));
    registry.note_used(&token.id, at(8));
    registry.create_token(&CLI, at(9), secret_token("b")).unwrap();
    assert_eq!(last_used(&registry), Some(at(8)), "a change does not forget it");
    assert_eq!(payloads(&log).len(), 4);
}

#[test]
fn a_token_that_is_used_all_day_is_written_down_once_a_day() {
    let (registry, log) = with_shop();
    let (token, _) = registry.create_token(&CLI, at(1), secret_token("a")).unwrap();
    let last_used = |registry: &eye_registry::Registry| registry.state().token(&token.id).unwrap().last_used_at();
    let before = payloads(&log).len();
    let minutes = 24 * 60;
    for minute in 0..=minutes {
        registry.note_used(&token.id, at(60 * minute));
        registry.persist_last_used_daily(at(60 * minute)).unwrap();
    }
    assert_eq!(payloads(&log).len() - before, 2, "the first use, and the one a day later");
    let last = at(60 * minutes + 1);
    registry.note_used(&token.id, last);
    assert_eq!(registry.persist_last_used_daily(last).unwrap(), 0);
    assert_eq!(last_used(&registry), Some(last), "exact while it is open");
    assert_eq!(last_used(&open(&log)), Some(at(60 * minutes)));
    assert_eq!(registry.persist_last_used(last).unwrap(), 1);
    assert_eq!(last_used(&open(&log)), Some(last), "and after it has stopped");
}

#[test]
fn applications_are_checked() {
    let (registry, _log) = with_shop();
    assert!(is_invalid(registry.create_application(&CLI, at(1), "The Shop", None), "name"));
    assert!(is_invalid(registry.create_application(&CLI, at(1), "other", Some(" ")), "title"));
    assert!(matches!(registry.create_application(&CLI, at(1), "shop", None), Err(Error::Exists { .. })));
    let shop = registry.state().application("shop").cloned().unwrap();
    assert_eq!((shop.title.as_deref(), shop.created_at, &shop.created_by), (Some("The Shop"), at(0), &CLI));
}
