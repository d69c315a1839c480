//! Users: signing in, their tokens, and the first administrator.

use eye_registry::{Actor, Denied, Error, NewUser, Role, Scopes, UserChange};

use crate::support::{CLI, NEW_PASSWORD, PASSWORD, at, empty, log_of, new_user, open, payloads, with_shop};

fn with_password(name: &str, role: Role) -> NewUser {
    NewUser { password: Some(PASSWORD.to_owned()), ..new_user(name, role) }
}

#[test]
fn making_a_user_makes_a_token_for_it() {
    let (registry, _log) = with_shop();
    for (name, role) in [("ada", Role::Admin), ("ann", Role::Analyst), ("vera", Role::Viewer)] {
        let (user, token, secret) = registry.create_user(&CLI, at(1), new_user(name, role)).unwrap();
        assert_eq!((token.user.as_ref(), token.name.as_str()), (Some(&user.id), name));
        let grant = registry.authenticate(secret.reveal(), at(1)).unwrap();
        assert_eq!((grant.scopes, grant.role, grant.reads_all), (role.scopes(), Some(role), true));
        assert_eq!(grant.application.as_deref(), Some("shop"));
        assert_eq!(grant.user, Some(user.id));
    }
}

#[test]
fn a_users_token_writes_to_the_first_application_or_the_one_given() {
    let (registry, _log) = empty();
    let (_, _, secret) = registry.create_user(&CLI, at(0), new_user("early", Role::Admin)).unwrap();
    let grant = registry.authenticate(secret.reveal(), at(0)).unwrap();
    assert_eq!(grant.scopes, Scopes { write: false, ..Scopes::ALL }, "nowhere to write to");
    registry.create_application(&CLI, at(1), "z-first", None).unwrap();
    registry.create_application(&CLI, at(1), "a-second", None).unwrap();
    let on =
        |name, application: &str| NewUser { application: Some(application.to_owned()), ..new_user(name, Role::Admin) };
    assert_eq!(
        registry.create_user(&CLI, at(2), new_user("a", Role::Admin)).unwrap().1.application.unwrap(),
        "z-first"
    );
    assert_eq!(registry.create_user(&CLI, at(2), on("b", "a-second")).unwrap().1.application.unwrap(), "a-second");
    let nowhere = registry.create_user(&CLI, at(2), on("c", "nowhere"));
    assert!(matches!(nowhere, Err(Error::NotFound { what: "application" })));
}

#[test]
fn user_names_are_unique_in_upper_and_lower_case() {
    let (registry, _log) = with_shop();
    registry.create_user(&CLI, at(1), new_user("Jürgen", Role::Viewer)).unwrap();
    for same in ["Jürgen", "jürgen", "JÜRGEN"] {
        let again = registry.create_user(&CLI, at(2), new_user(same, Role::Viewer));
        assert!(matches!(again, Err(Error::Exists { .. })), "{same}");
        assert_eq!(registry.state().user_named(same).unwrap().name, "Jürgen");
    }
}

#[test]
fn a_users_token_finds_a_free_name() {
    let (registry, _log) = with_shop();
    for (taken, expected) in [("ada", "ada-2"), ("bob-2", "bob")] {
        registry.create_token(&CLI, at(1), crate::support::secret_token(taken)).unwrap();
        let user = new_user(&expected[..3], Role::Viewer);
        assert_eq!(registry.create_user(&CLI, at(2), user).unwrap().1.name, expected);
    }
}

#[test]
fn signing_in_tells_nothing_but_yes_or_no() {
    let (registry, log) = with_shop();
    let (ada, _, _) = registry.create_user(&CLI, at(1), with_password("Ada", Role::Admin)).unwrap();
    registry.create_user(&CLI, at(1), new_user("tokenonly", Role::Admin)).unwrap();
    assert_eq!(registry.verify_password("aDA", PASSWORD).unwrap(), ada);
    assert_eq!(open(&log).verify_password("Ada", PASSWORD).unwrap(), ada);
    for (name, password) in [("Ada", "wrong"), ("Ada", ""), ("Nobody", PASSWORD), ("tokenonly", ""), ("", "")] {
        assert_eq!(registry.verify_password(name, password).unwrap_err(), Denied::Unknown, "{name}");
    }
    registry.update_user(&CLI, at(2), &ada.id, UserChange { active: Some(false), ..UserChange::default() }).unwrap();
    assert_eq!(registry.verify_password("Ada", PASSWORD).unwrap_err(), Denied::UserInactive);
    assert_eq!(registry.verify_password("Ada", "wrong").unwrap_err(), Denied::Unknown, "only who knows it learns it");
}

#[test]
fn a_changed_password_replaces_the_old_one() {
    let (registry, log) = with_shop();
    let (ada, _, _) = registry.create_user(&CLI, at(1), with_password("Ada", Role::Admin)).unwrap();
    registry.create_user(&CLI, at(1), new_user("other", Role::Admin)).unwrap();
    let change = |password: &str| UserChange { password: Some(password.to_owned()), ..UserChange::default() };
    registry.update_user(&CLI, at(2), &ada.id, change(NEW_PASSWORD)).unwrap();
    for registry in [&registry, &open(&log)] {
        assert!(registry.verify_password("Ada", NEW_PASSWORD).is_ok());
        assert_eq!(registry.verify_password("Ada", PASSWORD).unwrap_err(), Denied::Unknown);
    }
    let role_only = UserChange { role: Some(Role::Viewer), ..UserChange::default() };
    registry.update_user(&CLI, at(3), &ada.id, role_only).unwrap();
    assert!(registry.verify_password("Ada", NEW_PASSWORD).is_ok(), "another change leaves it alone");
    for bad in ["", "1234567", &"x".repeat(1025)] {
        let short = registry.update_user(&CLI, at(4), &ada.id, change(bad));
        assert!(matches!(short, Err(Error::Invalid { field: "password", .. })));
        let new = NewUser { password: Some(bad.to_owned()), ..new_user("bob", Role::Viewer) };
        assert!(matches!(registry.create_user(&CLI, at(4), new), Err(Error::Invalid { field: "password", .. })));
    }
    let nothing = registry.update_user(&CLI, at(5), &ada.id, UserChange::default());
    assert!(matches!(nothing, Err(Error::Invalid { field: "user", .. })));
    let stranger = "usr_000000000000".parse().unwrap();
    let nobody = registry.update_user(&CLI, at(5), &stranger, change(NEW_PASSWORD));
    assert!(matches!(nobody, Err(Error::NotFound { what: "user" })));
}

#[test]
fn an_inactive_users_tokens_open_nothing_until_the_user_is_back() {
    let (registry, log) = with_shop();
    let (user, token, secret) = registry.create_user(&CLI, at(1), new_user("ann", Role::Analyst)).unwrap();
    let switch = |active| UserChange { active: Some(active), ..UserChange::default() };
    assert!(!registry.update_user(&CLI, at(2), &user.id, switch(false)).unwrap().active);
    assert_eq!(registry.authenticate(secret.reveal(), at(2)).unwrap_err(), Denied::UserInactive);
    assert_eq!(open(&log).authenticate(secret.reveal(), at(2)).unwrap_err(), Denied::UserInactive);
    let (_, fresh) = registry.rotate_token(&CLI, at(3), &token.id, std::time::Duration::from_secs(9)).unwrap();
    assert_eq!(registry.authenticate(fresh.reveal(), at(3)).unwrap_err(), Denied::UserInactive);
    registry.update_user(&CLI, at(4), &user.id, switch(true)).unwrap();
    assert!(registry.authenticate(secret.reveal(), at(4)).is_ok());
    assert_eq!(registry.authenticate(secret.reveal(), at(12)).unwrap_err(), Denied::Expired);
    assert!(registry.authenticate(fresh.reveal(), at(12)).is_ok());
}

#[test]
fn a_setup_code_makes_one_administrator() {
    let (registry, log) = with_shop();
    let code = registry.create_setup_code(at(1)).unwrap();
    assert!(code.reveal().starts_with("eye_su_"));
    assert_eq!(registry.authenticate(code.reveal(), at(1)).unwrap_err(), Denied::Unknown, "it is no token");
    let registry = open(&log);
    let wrong_role = registry.redeem_setup_code(at(2), code.reveal(), with_password("ada", Role::Viewer));
    assert!(matches!(wrong_role, Err(Error::Invalid { field: "role", .. })));
    for wrong in ["", "eye_su_", &code.reveal().to_uppercase()] {
        let result = registry.redeem_setup_code(at(2), wrong, with_password("ada", Role::Admin));
        assert!(matches!(result, Err(Error::Denied { .. })));
    }
    let (ada, _, secret) = registry.redeem_setup_code(at(2), code.reveal(), with_password("ada", Role::Admin)).unwrap();
    assert!(registry.authenticate(secret.reveal(), at(2)).unwrap().scopes.admin);
    assert_eq!(ada.created_by, Actor::User(ada.id.clone()));
    for registry in [&registry, &open(&log)] {
        let again = registry.redeem_setup_code(at(3), code.reveal(), with_password("eve", Role::Admin));
        assert!(matches!(again, Err(Error::Denied { .. })), "used");
        assert!(matches!(registry.create_setup_code(at(3)), Err(Error::Denied { .. })), "an administrator exists");
    }
}

#[test]
fn of_many_who_redeem_one_code_one_wins() {
    let (registry, _log) = with_shop();
    let code = registry.create_setup_code(at(1)).unwrap();
    let won = std::thread::scope(|scope| {
        let redeem =
            |n| registry.redeem_setup_code(at(2), code.reveal(), with_password(&format!("u{n}"), Role::Admin)).is_ok();
        let all: Vec<_> = (0..6).map(|n| scope.spawn(move || redeem(n))).collect();
        all.into_iter().map(|one| one.join().unwrap()).filter(|won| *won).count()
    });
    assert_eq!((won, registry.state().users().len()), (1, 1));
}

#[test]
fn a_setup_code_ends_after_a_day_or_with_the_next() {
    let (registry, _log) = with_shop();
    let first = registry.create_setup_code(at(0)).unwrap();
    let second = registry.create_setup_code(at(10)).unwrap();
    let redeem = |seconds, code: &str| registry.redeem_setup_code(at(seconds), code, new_user("ada", Role::Admin));
    assert!(matches!(redeem(11, first.reveal()), Err(Error::Denied { .. })), "replaced");
    assert!(matches!(redeem(10 + 86_400, second.reveal()), Err(Error::Denied { .. })), "too old");
    assert!(redeem(10 + 86_399, second.reveal()).is_ok());
}

#[test]
fn an_unused_setup_code_never_comes_to_life_again() {
    let (registry, log) = with_shop();
    let code = registry.create_setup_code(at(1)).unwrap();
    let (ada, _, _) = registry.create_user(&CLI, at(2), new_user("ada", Role::Admin)).unwrap();
    // Written before the last administrator was kept.
    let demotion = format!(
        r#"{{"v":1,"at":"{}","by":"local_cli","type":"user_updated","id":"{}","role":"viewer"}}"#,
        at(3),
        ada.id
    );
    let payloads = [payloads(&log), vec![demotion.into_bytes()]].concat();
    let registry = open(&log_of(&payloads));
    assert!(!registry.state().has_admin());
    let eve = registry.redeem_setup_code(at(4), code.reveal(), new_user("eve", Role::Admin));
    assert!(matches!(eve, Err(Error::Denied { .. })));
}

#[test]
fn only_an_administrator_voids_a_setup_code() {
    let (registry, log) = with_shop();
    let code = registry.create_setup_code(at(1)).unwrap();
    let (vera, _, _) = registry.create_user(&CLI, at(2), new_user("vera", Role::Viewer)).unwrap();
    let change = |active, role| UserChange { active, role, password: None };
    registry.update_user(&CLI, at(3), &vera.id, change(Some(false), None)).unwrap();
    let before = payloads(&log);
    assert!(open(&log).redeem_setup_code(at(4), code.reveal(), new_user("ada", Role::Admin)).is_ok());

    let registry = open(&log_of(&before));
    registry.update_user(&CLI, at(5), &vera.id, change(Some(true), Some(Role::Admin))).unwrap();
    assert!(registry.create_setup_code(at(6)).is_err(), "there is an administrator");
    let demotion = format!(
        r#"{{"v":1,"at":"{}","by":"local_cli","type":"user_updated","id":"{}","role":"viewer"}}"#,
        at(6),
        vera.id
    );
    let promotion = demotion.replace("viewer", "admin");
    let all = [before, vec![promotion.into_bytes(), demotion.into_bytes()]].concat();
    let eve = open(&log_of(&all)).redeem_setup_code(at(7), code.reveal(), new_user("eve", Role::Admin));
    assert!(matches!(eve, Err(Error::Denied { .. })), "it comes to life again");
}

#[test]
fn the_last_active_administrator_stays() {
    let (registry, log) = with_shop();
    let (ada, _, _) = registry.create_user(&CLI, at(1), new_user("ada", Role::Admin)).unwrap();
    let (eve, _, _) = registry.create_user(&CLI, at(2), new_user("eve", Role::Viewer)).unwrap();
    let role = |role| UserChange { role: Some(role), ..UserChange::default() };
    let active = |active| UserChange { active: Some(active), ..UserChange::default() };
    let both = UserChange { active: Some(false), role: Some(Role::Admin), ..UserChange::default() };
    for change in [role(Role::Viewer), role(Role::Analyst), active(false), both] {
        let refused = registry.update_user(&CLI, at(3), &ada.id, change);
        assert!(matches!(refused, Err(Error::Denied { message }) if message.contains("another")), "{refused:?}");
    }
    assert_eq!(payloads(&log).len(), 3, "a refusal writes nothing");
    registry.update_user(&CLI, at(4), &ada.id, role(Role::Admin)).unwrap();
    registry.update_user(&CLI, at(5), &eve.id, role(Role::Admin)).unwrap();
    registry.update_user(&CLI, at(6), &eve.id, active(false)).unwrap();
    let refused = registry.update_user(&CLI, at(7), &ada.id, role(Role::Viewer));
    assert!(matches!(refused, Err(Error::Denied { .. })), "an administrator who is switched off does not count");
    registry.update_user(&CLI, at(8), &eve.id, active(true)).unwrap();
    registry.update_user(&CLI, at(9), &ada.id, role(Role::Viewer)).unwrap();
    assert!(registry.update_user(&CLI, at(10), &eve.id, active(false)).is_err());
}

#[test]
fn of_two_administrators_who_demote_each_other_one_stays() {
    let (registry, _log) = with_shop();
    for round in 0..20 {
        let admin = |name: &str| {
            let name = format!("{name}{round}");
            registry.create_user(&CLI, at(1), new_user(&name, Role::Admin)).unwrap().0.id
        };
        let ids = [admin("a"), admin("b")];
        // What is left of the round before makes a third one: it goes first.
        let demote = || UserChange { role: Some(Role::Viewer), ..UserChange::default() };
        let old = registry.state().users().iter().find(|u| u.role == Role::Admin && !ids.contains(&u.id)).cloned();
        if let Some(old) = old {
            registry.update_user(&CLI, at(2), &old.id, demote()).unwrap();
        }
        let done = std::thread::scope(|scope| {
            let demoted = |id| registry.update_user(&CLI, at(3), id, demote()).is_ok();
            let both: Vec<_> = ids.iter().map(|id| scope.spawn(move || demoted(id))).collect();
            both.into_iter().map(|one| one.join().unwrap()).filter(|done| *done).count()
        });
        assert_eq!(done, 1);
    }
}
