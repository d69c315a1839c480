//! Managing, from outside: who may do what, tokens and users through their lives, the audit trail, the first
//! administrator.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on says where")]

mod common;

use common::{Answer, Server};
use serde_json::{Value, json};

fn http(method: &str, url: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
    common::http(method, url, headers, body).unwrap()
}

fn call(server: &Server, token: Option<&str>, method: &str, path: &str, body: &Value) -> Answer {
    let authorization = token.map(|token| format!("Token {token}"));
    let headers: Vec<_> = authorization.iter().map(|value| ("authorization", value.as_str())).collect();
    let body = if body.is_null() { String::new() } else { body.to_string() };
    http(method, &format!("{}{path}", server.url), &headers, body.as_bytes())
}

fn admin(server: &Server, method: &str, path: &str, body: &Value) -> Answer {
    call(server, Some(&server.admin_token()), method, path, body)
}

fn made(server: &Server, path: &str, body: &Value) -> Value {
    let answer = admin(server, "POST", path, body);
    assert_eq!(answer.status, 201, "{path}: {}", answer.text());
    answer.json()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

/// The status and code of what this token gets for a list of events.
fn reading(server: &Server, token: &Value) -> (u16, Value) {
    let answer = call(server, Some(text(token)), "GET", "/v1/events", &Value::Null);
    (answer.status, answer.json()["code"].clone())
}

#[test]
fn every_route_asks_every_kind_of_token_for_its_scope() {
    let server = Server::start();
    let write = made(&server, "/v1/tokens", &json!({"name": "w", "kind": "write"}));
    let read = made(&server, "/v1/tokens", &json!({"name": "r", "kind": "read"}));
    let analyst = made(&server, "/v1/users", &json!({"name": "ann", "role": "analyst"}));
    let viewer = made(&server, "/v1/users", &json!({"name": "vic", "role": "viewer"}));
    let boss = made(&server, "/v1/users", &json!({"name": "bo", "role": "admin"}));
    let (secret, cli) = (server.token(), server.admin_token());
    let tokens = [
        (None, ""),
        (Some("eye_sk_nobody"), ""),
        (Some(text(&write["token"])), "write"),
        (Some(text(&read["token"])), "read"),
        (Some(secret.as_str()), "write read"),
        (Some(text(&viewer["token"]["token"])), "read"),
        (Some(text(&analyst["token"]["token"])), "write read"),
        (Some(text(&boss["token"]["token"])), "write read admin"),
        (Some(cli.as_str()), "write read admin"),
    ];
    let routes = [
        ("POST", "/v1/events", "write"),
        ("GET", "/v1/events", "read"),
        ("GET", "/v1/sessions", "read"),
        ("GET", "/v1/sessions/nobody", "read"),
        ("GET", "/v1/diff?from=0:0", "read"),
        ("GET", "/v1/problems", "read"),
        ("GET", "/v1/rejections", "read"),
        ("GET", "/v1/ledger", "read"),
        ("GET", "/v1/live?limit=refused-after-the-token", "read"),
        ("GET", "/v1/applications", "admin"),
        ("POST", "/v1/applications", "admin"),
        ("GET", "/v1/tokens", "admin"),
        ("POST", "/v1/tokens", "admin"),
        ("POST", "/v1/tokens/tok_000000000000/rotate", "admin"),
        ("DELETE", "/v1/tokens/tok_000000000000", "admin"),
        ("GET", "/v1/users", "admin"),
        ("POST", "/v1/users", "admin"),
        ("PATCH", "/v1/users/usr_000000000000", "admin"),
        ("GET", "/v1/audit", "admin"),
        ("POST", "/v1/flush", "admin"),
        ("POST", "/v1/compact", "admin"),
        ("GET", "/v1/erasures", "admin"),
        ("GET", "/v1/jobs", "admin"),
        ("POST", "/v1/erasures", "admin"),
        ("GET", "/v1/erasures/era_000000000000", "admin"),
        ("DELETE", "/v1/erasures/era_000000000000", "admin"),
    ];
    for (method, path, scope) in routes {
        for (token, scopes) in tokens {
            let answer = call(&server, token, method, path, &Value::Null);
            let label = format!("{method} {path} with a token that may {scopes:?}: {}", answer.text());
            match (token, scopes) {
                (None, _) => {
                    assert_eq!((answer.status, &answer.json()["code"]), (401, &json!("missing_token")), "{label}")
                }
                (_, "") => {
                    assert_eq!((answer.status, &answer.json()["code"]), (401, &json!("unknown_token")), "{label}")
                }
                (_, scopes) if !scopes.contains(scope) => {
                    assert_eq!((answer.status, &answer.json()["code"]), (403, &json!("missing_scope")), "{label}");
                }
                _ => assert!(![401, 403, 405, 500].contains(&answer.status), "{label}"),
            }
        }
    }
}

#[test]
fn a_token_is_shown_once_rotated_and_revoked() {
    let server = Server::start();
    let token =
        made(&server, "/v1/tokens", &json!({"name": "site", "kind": "secret", "expires_at": "2099-01-01T00:00:00Z"}));
    let secret = text(&token["token"]);
    assert!(secret.starts_with("eye_sk_"));
    assert_eq!(token["scopes"], json!(["write", "read"]));
    assert_eq!(token["application"], "default");
    assert_eq!(token["expires_at"], "2099-01-01T00:00:00.000000Z");
    assert_eq!(reading(&server, &token["token"]).0, 200);
    let list = admin(&server, "GET", "/v1/tokens", &Value::Null);
    assert!(!list.text().contains(secret), "never shown again");
    let list = list.json();
    let listed = list["tokens"].as_array().unwrap().iter().find(|one| one["id"] == token["id"]).unwrap();
    assert!(listed["last_used_at"].is_string() && listed.get("token").is_none());

    let path = format!("/v1/tokens/{}", text(&token["id"]));
    let next = made(&server, &format!("{path}/rotate"), &json!({"overlap_seconds": 3600}));
    assert_ne!(next["token"], token["token"]);
    assert_eq!(reading(&server, &token["token"]).0, 200, "the old one works for a while");
    assert_eq!(reading(&server, &next["token"]).0, 200);
    let path = format!("/v1/tokens/{}", text(&next["id"]));
    let last = made(&server, &format!("{path}/rotate"), &json!({"overlap_seconds": 0}));
    assert_eq!(reading(&server, &next["token"]), (401, json!("expired_token")));
    let path = format!("/v1/tokens/{}", text(&last["id"]));
    for _ in 0..2 {
        let answer = admin(&server, "DELETE", &path, &Value::Null);
        assert_eq!(answer.status, 200, "once more changes nothing");
        assert!(answer.json()["revoked_at"].is_string());
    }
    assert_eq!(reading(&server, &last["token"]), (401, json!("revoked_token")));

    let imported = "0123456789abcdef0123456789abcdef01234567";
    made(&server, "/v1/tokens", &json!({"name": "seed", "kind": "secret", "import": imported}));
    assert_eq!(reading(&server, &json!(imported)).0, 200);
}

#[test]
fn the_last_administrator_can_neither_be_demoted_nor_switched_off() {
    let server = Server::start();
    let boss = made(&server, "/v1/users", &json!({"name": "boss", "role": "admin"}));
    let path = format!("/v1/users/{}", text(&boss["user"]["id"]));
    for change in [json!({"role": "viewer"}), json!({"active": false})] {
        let refused = admin(&server, "PATCH", &path, &change);
        assert_eq!((refused.status, &refused.json()["code"]), (409, &json!("denied")), "{}", refused.text());
        assert!(refused.json()["detail"].as_str().unwrap().contains("another user"), "{}", refused.text());
    }
    let other = made(&server, "/v1/users", &json!({"name": "other", "role": "admin"}));
    assert_eq!(admin(&server, "PATCH", &path, &json!({"role": "viewer"})).status, 200);
    let other = format!("/v1/users/{}", text(&other["user"]["id"]));
    assert_eq!(admin(&server, "PATCH", &other, &json!({"active": false})).status, 409);
}

#[test]
fn a_user_gets_a_token_that_follows_the_role() {
    let server = Server::start();
    made(&server, "/v1/users", &json!({"name": "boss", "role": "admin"}));
    let new = made(&server, "/v1/users", &json!({"name": "Ann", "role": "viewer", "password": "correct horse"}));
    let (user, token) = (&new["user"], &new["token"]);
    assert_eq!((&user["name"], &user["role"], &user["active"]), (&json!("Ann"), &json!("viewer"), &json!(true)));
    assert_eq!((&token["scopes"], &token["reads_all"], &token["user"]), (&json!(["read"]), &json!(true), &user["id"]));
    let path = format!("/v1/users/{}", text(&user["id"]));
    let list = |token: &Value| call(&server, Some(text(token)), "GET", "/v1/users", &Value::Null).status;
    assert_eq!(list(&token["token"]), 403);
    assert_eq!(admin(&server, "PATCH", &path, &json!({"role": "admin"})).json()["role"], "admin");
    assert_eq!(list(&token["token"]), 200, "the token follows the role");
    assert_eq!(admin(&server, "PATCH", &path, &json!({"active": false})).json()["active"], false);
    assert_eq!(reading(&server, &token["token"]), (401, json!("inactive_user")));
    assert_eq!(admin(&server, "PATCH", &path, &json!({"active": true, "password": "another one"})).status, 200);
    assert_eq!(reading(&server, &token["token"]).0, 200);
    let taken = admin(&server, "POST", "/v1/users", &json!({"name": "ANN", "role": "viewer"}));
    assert_eq!((taken.status, &taken.json()["code"]), (409, &json!("exists")), "upper and lower case alike");
}

#[test]
fn what_is_wrong_with_a_body_is_named() {
    let server = Server::start();
    let id = text(&made(&server, "/v1/users", &json!({"name": "u", "role": "viewer"}))["user"]["id"]).to_owned();
    let user = format!("/v1/users/{id}");
    for (method, path, body, status, field) in [
        ("POST", "/v1/applications", json!({}), 400, "name"),
        ("POST", "/v1/applications", json!({"name": "No Slug"}), 400, "name"),
        ("POST", "/v1/applications", json!({"name": "a", "titel": "b"}), 400, "titel"),
        ("POST", "/v1/applications", json!({"name": "a", "title": 5}), 400, "title"),
        ("POST", "/v1/tokens", json!({"name": "t", "kind": "root"}), 400, "kind"),
        ("POST", "/v1/tokens", json!({"name": "t", "kind": "write", "scopes": ["write", "admin"]}), 400, "scopes"),
        ("POST", "/v1/tokens", json!({"name": "t", "kind": "read", "scopes": "read"}), 400, "scopes"),
        ("POST", "/v1/tokens", json!({"name": "t", "kind": "read", "expires_at": "soon"}), 400, "expires_at"),
        ("POST", "/v1/tokens", json!({"name": "t", "kind": "secret", "import": "short"}), 400, "import"),
        ("POST", "/v1/users", json!({"name": "a b", "role": "admin"}), 400, "name"),
        ("POST", "/v1/users", json!({"name": "a", "role": "root"}), 400, "role"),
        ("POST", "/v1/users", json!({"name": "a", "role": "admin", "password": "short"}), 400, "password"),
        ("PATCH", user.as_str(), json!({"active": "yes"}), 400, "active"),
        ("POST", "/v1/tokens/tok_000000000000/rotate", json!({"overlap_seconds": -1}), 400, "overlap_seconds"),
    ] {
        let answer = admin(&server, method, path, &body);
        let problem = answer.json();
        assert_eq!(answer.status, status, "{path} {body}: {problem}");
        assert_eq!(problem["field"], field, "{path} {body}: {problem}");
        assert_eq!(problem["code"], "invalid_body", "{path} {body}");
    }
    for (method, path, body) in [
        ("POST", "/v1/tokens/tok_000000000000/rotate", json!({})),
        ("DELETE", "/v1/tokens/nonsense", Value::Null),
        ("PATCH", "/v1/users/usr_000000000000", json!({"active": true})),
        ("POST", "/v1/tokens", json!({"name": "t", "kind": "read", "application": "nobody"})),
    ] {
        assert_eq!(admin(&server, method, path, &body).status, 404, "{path}");
    }
    let twice = http(
        "POST",
        &format!("{}/v1/applications", server.url),
        &[("authorization", &format!("Token {}", server.admin_token()))],
        br#"{"name":"a","name":"b"}"#,
    );
    assert_eq!((twice.status, &twice.json()["field"]), (400, &json!("name")));
    for (body, code) in [("", "empty_body"), ("{", "not_json"), ("[]", "invalid_body")] {
        let authorization = format!("Token {}", server.admin_token());
        let answer = http(
            "POST",
            &format!("{}/v1/applications", server.url),
            &[("authorization", &authorization)],
            body.as_bytes(),
        );
        assert_eq!((answer.status, &answer.json()["code"]), (400, &json!(code)), "{body:?}");
    }
}

#[test]
fn every_change_is_in_the_audit_trail_without_secrets() {
    let server = Server::start();
    let newest = || admin(&server, "GET", "/v1/audit?limit=1", &Value::Null).json()["records"][0].clone();
    let before = newest()["offset"].as_u64().unwrap();
    made(&server, "/v1/applications", &json!({"name": "shop", "title": "Shop"}));
    let token = made(&server, "/v1/tokens", &json!({"name": "t", "kind": "secret", "application": "shop"}));
    let id = text(&token["id"]).to_owned();
    let rotated = made(&server, &format!("/v1/tokens/{id}/rotate"), &Value::Null);
    admin(&server, "DELETE", &format!("/v1/tokens/{id}"), &Value::Null);
    let user = made(&server, "/v1/users", &json!({"name": "u", "role": "viewer", "password": "planted password"}));
    admin(
        &server,
        "PATCH",
        &format!("/v1/users/{}", text(&user["user"]["id"])),
        &json!({"role": "analyst", "password": "planted again"}),
    );
    // None of these is a change.
    admin(&server, "POST", "/v1/applications", &json!({"name": "shop"}));
    admin(&server, "POST", "/v1/tokens", &json!({"name": "t2", "kind": "nonsense"}));

    let answer = admin(&server, "GET", "/v1/audit", &Value::Null);
    let audit = answer.json();
    let records: Vec<_> =
        audit["records"].as_array().unwrap().iter().filter(|one| one["offset"].as_u64() > Some(before)).collect();
    let kinds: Vec<_> = records.iter().map(|record| text(&record["type"])).collect();
    assert_eq!(
        kinds,
        ["user_updated", "user_created", "token_revoked", "token_rotated", "token_created", "application_created"]
    );
    for record in &records {
        assert!(text(&record["by"]).starts_with("token:tok_"), "{record}");
        assert!(text(&record["at"]).ends_with('Z') && record["details"].is_object(), "{record}");
    }
    for secret in [&token["token"], &rotated["token"], &user["token"]["token"], &json!("planted")] {
        assert!(!answer.text().contains(text(secret)));
    }
    let offset = records[1]["offset"].as_u64().unwrap();
    let page = admin(&server, "GET", &format!("/v1/audit?before={offset}&limit=2"), &Value::Null).json();
    assert_eq!(page["records"], json!([records[2], records[3]]));
}

#[test]
fn the_first_administrator_is_made_once() {
    let server = Server::start();
    let code = server.banner.split("/setup#").nth(1).unwrap().split_whitespace().next().unwrap().to_owned();
    let setup = |code: &str, name: &str, password: &str| {
        call(&server, None, "POST", "/v1/setup", &json!({"code": code, "name": name, "password": password}))
    };
    let wrong = setup("eye_su_wrong", "ada", "correct horse");
    assert_eq!((wrong.status, &wrong.json()["field"]), (400, &json!("code")));
    let short = setup(&code, "ada", "short");
    assert_eq!((short.status, &short.json()["field"]), (400, &json!("password")), "the code can be used again");
    let made = setup(&code, "ada", "correct horse");
    assert_eq!(made.status, 201, "{}", made.text());
    assert_eq!(made.header("cache-control"), Some("no-store"));
    let made = made.json();
    assert_eq!(made["user"]["role"], "admin");
    let answer = call(&server, Some(text(&made["token"]["token"])), "GET", "/v1/users", &Value::Null);
    assert_eq!(answer.status, 200);
    let again = setup(&code, "eve", "correct horse");
    assert_eq!(again.json(), wrong.json(), "a used code looks like a wrong one");
    let fifth = setup("eye_su_wrong", "eve", "correct horse");
    assert_eq!(fifth.json(), wrong.json());
    let limited = setup("eye_su_wrong", "eve", "correct horse");
    assert_eq!((limited.status, &limited.json()["code"]), (429, &json!("too_many_attempts")));
    assert!(limited.header("retry-after").unwrap().parse::<u32>().unwrap() <= 10);
}

#[test]
fn a_flush_moves_what_was_sent_into_the_table() {
    let server = Server::start();
    let event = json!({"session_id": "s", "category": "c", "name": "n", "data": {}});
    let sent = call(&server, Some(&server.token()), "POST", "/v1/events", &json!([event, {"name": 1}])).json();
    let flushed = admin(&server, "POST", "/v1/flush", &Value::Null);
    assert_eq!(flushed.status, 200);
    let flushed = flushed.json();
    assert_eq!((&flushed["rows"], &flushed["rejections"], &flushed["offset"]), (&json!(1), &json!(1), &sent["offset"]));
    assert!(flushed["version"].as_u64() > sent["version"].as_u64());
}

#[test]
fn a_compaction_makes_one_file_of_many_and_changes_no_answer() {
    let mut server = Server::start();
    let send = |server: &Server, number: u32| {
        let event =
            json!({"event_id": number.to_string(), "session_id": "s", "category": "c", "name": "n", "data": {}});
        call(server, Some(&server.token()), "POST", "/v1/events", &json!([event, {"name": 1}])).json()
    };
    for number in 0..4 {
        assert_eq!(send(&server, number)["stored"], 1);
        admin(&server, "POST", "/v1/flush", &Value::Null);
    }
    let events = |server: &Server| admin(server, "GET", "/v1/events", &Value::Null).json()["events"].clone();
    let before = events(&server);
    let compacted = admin(&server, "POST", "/v1/compact", &Value::Null);
    assert_eq!(compacted.status, 200);
    let compacted = compacted.json();
    // Events and rejections; two days if it is midnight.
    assert_eq!((&compacted["files_before"], &compacted["rows"]), (&json!(8), &json!(8)), "{compacted}");
    assert!(compacted["files_after"].as_u64() <= Some(4) && compacted["complete"] == true, "{compacted}");
    assert_eq!(compacted["vacuumed_files"], 0, "they stay for seven days");
    assert_eq!(events(&server), before);
    let metrics = common::http("GET", &format!("{}/metrics", server.url), &[], b"").unwrap().text();
    assert!(
        metrics.contains("\neye_compactions 1\n") && metrics.contains("\neye_compaction_files_in 8\n"),
        "{metrics}"
    );
    let said = server.eye(&["compact"]);
    let said = String::from_utf8(said.stdout).unwrap();
    assert!(said.contains("0 rows written again"), "{said}");
    server.kill();
    common::verify(&server.data());
    server.restart();
    assert_eq!(send(&server, 2)["duplicate"], 1);
    assert_eq!(events(&server), before);
}
