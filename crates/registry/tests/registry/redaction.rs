//! Secrets stay secret: planted ones are looked for wherever text comes out.

use eye_registry::{NewToken, Role, TokenKind};

use crate::support::{CLI, IMPORTED, NEW_PASSWORD, PASSWORD, at, everything, new_user, payloads, with_shop};

/// Every secret and password, and the random part of each secret alone.
fn planted(all: &crate::support::Everything) -> Vec<String> {
    let whole = all.secrets.iter().map(|secret| secret.reveal().to_owned());
    let random = all.secrets.iter().filter_map(|secret| secret.reveal().get(7..39).map(str::to_owned));
    whole.chain(random).chain([PASSWORD.to_owned(), NEW_PASSWORD.to_owned()]).collect()
}

#[test]
fn what_is_printed_holds_no_secret() {
    let all = everything();
    assert!(all.printed.contains("seed client") && all.printed.contains("…redacted"), "it is the text we mean");
    for secret in planted(&all) {
        assert!(!all.printed.contains(&secret), "{secret}");
    }
}

#[test]
fn what_is_logged_holds_no_secret() {
    let all = everything();
    let log = String::from_utf8(payloads(&all.log).concat()).unwrap();
    assert!(log.contains("seed client"));
    for secret in planted(&all) {
        assert!(!log.contains(&secret), "{secret}");
    }
}

#[test]
fn no_hash_leaves_the_log() {
    let all = everything();
    let mut hashes = Vec::new();
    for payload in payloads(&all.log) {
        collect_hashes(&serde_json::from_slice(&payload).unwrap(), &mut hashes);
    }
    assert_eq!(hashes.len(), all.secrets.len() + 3, "one for each secret, two users' passwords and a changed one");
    let state = all.registry.state();
    let mut shown = all.printed.clone();
    for record in all.registry.audit(None, 100).unwrap() {
        shown.push_str(&format!("{record:?} {}", serde_json::to_string(&record).unwrap()));
    }
    state.users().iter().for_each(|user| shown.push_str(&serde_json::to_string(&**user).unwrap()));
    state.tokens().iter().for_each(|token| shown.push_str(&serde_json::to_string(&**token).unwrap()));
    state.applications().iter().for_each(|one| shown.push_str(&serde_json::to_string(&**one).unwrap()));
    for hidden in hashes.into_iter().chain(planted(&all)) {
        assert!(!shown.contains(&hidden), "{hidden}");
    }
}

fn collect_hashes(value: &serde_json::Value, hashes: &mut Vec<String>) {
    for (key, value) in value.as_object().into_iter().flatten() {
        match value.as_str() {
            Some(text) if key.contains("hash") => hashes.push(text.to_owned()),
            _ => collect_hashes(value, hashes),
        }
    }
}

#[test]
fn errors_do_not_repeat_what_was_sent() {
    let (registry, _log) = with_shop();
    let import = |name: &str| NewToken { import: Some(IMPORTED.to_owned()), ..NewToken::new(name, TokenKind::Secret) };
    registry.create_token(&CLI, at(1), import("a")).unwrap();
    let with_secret_as = |text: &str| NewToken { application: Some(text.to_owned()), ..import("b") };
    let password = eye_registry::NewUser { password: Some("planted".to_owned()), ..new_user("ada", Role::Admin) };
    let errors = [
        registry.create_token(&CLI, at(2), import("b")).map(drop).unwrap_err(),
        registry.create_token(&CLI, at(2), with_secret_as(IMPORTED)).map(drop).unwrap_err(),
        registry
            .create_token(&CLI, at(2), NewToken { user: Some(IMPORTED.to_owned()), ..import("c") })
            .map(drop)
            .unwrap_err(),
        registry.create_application(&CLI, at(2), &IMPORTED.to_uppercase(), None).map(drop).unwrap_err(),
        registry.create_user(&CLI, at(2), password).map(drop).unwrap_err(),
        registry.redeem_setup_code(at(2), IMPORTED, new_user("ada", Role::Admin)).map(drop).unwrap_err(),
    ];
    for error in errors {
        let text = format!("{error} {error:?}").to_lowercase();
        assert!(!text.contains(IMPORTED) && !text.contains("planted"), "{text}");
    }
}
