//! `eye backup` beside a running server and `eye restore`, on the real binary: what was acknowledged before is there, once,
//! whatever the server does meanwhile; what is no whole backup is refused by name.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use common::{Answer, Server, eye, http};
use serde_json::{Value, json};

const FLAGS: [&str; 4] = ["--partitions", "2", "--log-keep-commits", "1"];

fn ask(server: &Server, method: &str, path: &str, token: &str, body: &Value) -> Answer {
    let token = format!("Token {token}");
    let headers = [("Authorization", token.as_str()), ("Content-Type", "application/json")];
    let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
    http(method, &format!("{}{path}", server.url), &headers, &body).unwrap()
}

fn admin(server: &Server, method: &str, path: &str, body: &Value) -> Value {
    let answer = ask(server, method, path, &server.admin_token(), body);
    assert!(answer.status < 300, "{method} {path}: {}", answer.text());
    answer.json()
}

/// Events `from..to` of a user, in seven sessions.
fn events(from: usize, to: usize, user: &str) -> Value {
    let event = |id: usize| {
        json!({
            "event_id": format!("e{id:05}"), "session_id": format!("s{}", id % 7), "category": "page", "name": "view",
            "timestamp": "2024-05-01T10:00:00Z", "user_id": user, "data": {"n": id},
        })
    };
    Value::Array((from..to).map(event).collect())
}

/// Sends them; every one is stored.
fn send(server: &Server, token: &str, events: &Value) {
    let answer = ask(server, "POST", "/v1/events", token, events);
    assert_eq!((answer.status, answer.json()["stored"].as_u64()), (200, Some(events.as_array().unwrap().len() as u64)));
}

/// The ids of all events of this test, as often as they are there.
fn ids(server: &Server) -> Vec<String> {
    let list = admin(server, "GET", "/v1/events?limit=10000", &Value::Null);
    list["events"].as_array().unwrap().iter().map(|event| event["event_id"].as_str().unwrap().to_owned()).collect()
}

fn expected(range: std::ops::Range<usize>) -> BTreeSet<String> {
    range.map(|id| format!("e{id:05}")).collect()
}

/// All of `ids`, and none twice.
fn once(ids: Vec<String>) -> BTreeSet<String> {
    let count = ids.len();
    let set: BTreeSet<String> = ids.into_iter().collect();
    assert_eq!(set.len(), count, "an event is there twice");
    set
}

fn said(output: &Output) -> String {
    String::from_utf8([&output.stdout[..], &output.stderr].concat()).unwrap()
}

fn eye_in(folder: &Path, arguments: &[&str], code: i32) -> String {
    let output = eye(folder).args(arguments).output().unwrap();
    let said = said(&output);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
    said
}

/// A server on what `backup` holds.
fn restored(backup: &Path) -> Server {
    let mut server = Server::start_with(&FLAGS);
    server.stop();
    fs::remove_dir_all(server.data()).unwrap();
    eye_in(backup, &["restore", backup.to_str().unwrap(), server.data().to_str().unwrap()], 0);
    common::verify(&server.data());
    server.restart();
    server
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn what_was_acknowledged_before_a_backup_is_there_once_after_a_restore() {
    let server = Server::start_with(&FLAGS);
    let folder = tempfile::tempdir().unwrap();
    let backup = folder.path().join("backup");
    let made = admin(&server, "POST", "/v1/tokens", &json!({"name": "shop", "kind": "secret"}));
    let token = made["token"].as_str().unwrap();
    // In compacted files, in a file of a flush, and in the log only.
    for part in 0..4 {
        send(&server, token, &events(part * 100, part * 100 + 100, "bob"));
        admin(&server, "POST", "/v1/flush", &Value::Null);
    }
    admin(&server, "POST", "/v1/compact", &Value::Null);
    send(&server, token, &events(400, 500, "ann"));
    admin(&server, "POST", "/v1/flush", &Value::Null);
    let early = admin(&server, "POST", "/v1/erasures", &json!({"query": "data.n>=490 data.n<500"}));
    send(&server, token, &events(500, 600, "bob"));

    // Somebody sends all the time.
    let ends = AtomicBool::new(false);
    let mut sent = 600;
    thread::scope(|scope| {
        let loader = scope.spawn(|| {
            let mut next = 600;
            while !ends.load(Ordering::Acquire) && next < 8_000 {
                send(&server, token, &events(next, next + 10, "bob"));
                next += 10;
            }
            next
        });
        let output = server.eye(&["backup", text(&backup)]);
        ends.store(true, Ordering::Release);
        assert!(output.status.success(), "{}", said(&output));
        sent = loader.join().unwrap();
    });
    assert!(server.eye(&["restore", text(&backup), "--check"]).status.success());

    // And what comes later is not in it.
    send(&server, token, &events(20_000, 20_100, "bob"));
    admin(&server, "POST", "/v1/flush", &Value::Null);
    admin(&server, "POST", "/v1/compact", &Value::Null);
    let late = admin(&server, "POST", "/v1/erasures", &json!({"user_id": "ann"}));
    let after = admin(&server, "POST", "/v1/tokens", &json!({"name": "late", "kind": "secret"}));

    let mut again = restored(&backup);
    let before: BTreeSet<String> = expected(0..490).union(&expected(500..600)).cloned().collect();
    let meanwhile = expected(600..sent);
    let there = once(ids(&again));
    assert!(before.is_subset(&there), "lost: {:?}", before.difference(&there).collect::<Vec<_>>());
    let beside: Vec<_> = there.difference(&before).filter(|id| !meanwhile.contains(*id)).collect();
    assert!(beside.is_empty(), "they came later, or were erased before: {beside:?}");

    // Repeats are known, the token works, one that came later does not.
    let answer = ask(&again, "POST", "/v1/events", token, &events(0, 480, "bob")).json();
    assert_eq!(answer["duplicate"], 480, "{answer}");
    send(&again, token, &events(30_000, 30_010, "bob"));
    let answer = ask(&again, "POST", "/v1/events", after["token"].as_str().unwrap(), &events(0, 1, "bob"));
    assert_eq!(answer.status, 401);
    // What was erased before the backup stays erased; what was erased after it is there, and the newer folder says so.
    let erasures = |server: &Server| -> Vec<Value> {
        let list = admin(server, "GET", "/v1/erasures", &Value::Null);
        list["erasures"].as_array().unwrap().iter().map(|erasure| erasure["id"].clone()).collect()
    };
    assert_eq!(erasures(&again), [early["id"].clone()]);
    assert_eq!(erasures(&server), [late["id"].clone(), early["id"].clone()]);
    assert!(!once(ids(&server)).contains("e00400") && there.contains("e00400"));
    again.stop();
    common::verify(&again.data());
}

/// A connection in the middle: the answer's beginning has come, and the rest is let through when told.
struct Gate {
    url: String,
    begun: Receiver<()>,
    goes_on: Sender<()>,
}

impl Gate {
    fn before(server: &Server) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let upstream = server.url.strip_prefix("http://").unwrap().to_owned();
        let (has_begun, begun) = channel();
        let (goes_on, may_go_on) = channel();
        thread::spawn(move || {
            let (mut client, _) = listener.accept().unwrap();
            let mut server = TcpStream::connect(upstream).unwrap();
            let mut head = [0; 4096];
            let length = client.read(&mut head).unwrap();
            server.write_all(&head[..length]).unwrap();
            let mut first = [0; 16];
            server.read_exact(&mut first).unwrap();
            has_begun.send(()).unwrap();
            may_go_on.recv().unwrap();
            client.write_all(&first).unwrap();
            drop(io::copy(&mut server, &mut client));
        });
        Self { url, begun, goes_on }
    }
}

#[test]
fn a_slow_backup_is_of_its_beginning_whatever_goes_on() {
    let server = Server::start_with(&[&FLAGS[..], &["--log-segment-bytes-max", "4MiB"]].concat());
    let folder = tempfile::tempdir().unwrap();
    let backup = folder.path().join("backup");
    // More than lies between two sockets.
    let demo = |seed: &str| assert!(server.eye(&["demo", "--events", "30000", "--seed", seed]).status.success());
    demo("1");
    send(&server, &server.token(), &events(0, 100, "ann"));
    admin(&server, "POST", "/v1/flush", &Value::Null);
    demo("2");
    send(&server, &server.token(), &events(100, 200, "bob"));

    let gate = Gate::before(&server);
    let token = server.admin_token();
    let child = eye(folder.path())
        .args(["backup", text(&backup), "--url", &gate.url, "--token", &token])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    gate.begun.recv().unwrap();
    // One at a time.
    let busy = ask(&server, "GET", "/v1/backup", &token, &Value::Null);
    assert_eq!((busy.status, &busy.json()["code"]), (503, &json!("busy")), "{}", busy.text());
    // The log is trimmed, files are replaced, and old ones want to go.
    for part in 0..4 {
        send(&server, &server.token(), &events(200 + part, 201 + part, "bob"));
        admin(&server, "POST", "/v1/flush", &Value::Null);
    }
    admin(&server, "POST", "/v1/compact", &Value::Null);
    let erasure = admin(&server, "POST", "/v1/erasures", &json!({"user_id": "ann"}));
    let path = format!("/v1/erasures/{}", erasure["id"].as_str().unwrap());
    // It has done all but what the backup still reads.
    let begun = Instant::now();
    while admin(&server, "GET", &path, &Value::Null)["old_files_held"] == 0 {
        assert!(begun.elapsed() < Duration::from_secs(60), "the erasure did not come so far");
        thread::sleep(Duration::from_millis(20));
    }
    gate.goes_on.send(()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    while admin(&server, "GET", &path, &Value::Null)["state"] != "done" {
        assert!(begun.elapsed() < Duration::from_secs(60), "the erasure waits for a backup that is done");
        thread::sleep(Duration::from_millis(20));
    }

    let mut again = restored(&backup);
    let list = |session: usize| {
        let path = format!("/v1/events?session_id=s{session}&limit=1000");
        let list = admin(&again, "GET", &path, &Value::Null);
        list["events"].as_array().unwrap().iter().map(|event| event["event_id"].as_str().unwrap().to_owned()).collect()
    };
    let there = once((0..7).flat_map(|session| -> Vec<String> { list(session) }).collect());
    assert_eq!(there, expected(0..200));
    again.stop();
    common::verify(&again.data());
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        match entry.file_type().unwrap().is_dir() {
            true => found.extend(files(&entry.path())),
            false => found.push(entry.path()),
        }
    }
    found.sort();
    found
}

#[test]
fn what_is_no_whole_backup_is_refused_by_name() {
    let server = Server::start_with(&FLAGS);
    let folder = tempfile::tempdir().unwrap();
    let (backup, target) = (folder.path().join("backup"), folder.path().join("new"));
    send(&server, &server.token(), &events(0, 50, "bob"));
    admin(&server, "POST", "/v1/flush", &Value::Null);
    send(&server, &server.token(), &events(50, 60, "bob"));
    assert!(server.eye(&["backup", text(&backup)]).status.success());
    assert!(said(&server.eye(&["backup", text(&backup)])).contains("is not empty"));

    let all = files(&backup);
    assert!(all.iter().all(|file| !text(file).contains("cli-token")), "a token has no place in it");
    for part in ["data/partitions", "data/log/0/", "data/log/1/", "data/registry/", ".json", ".parquet", "manifest"] {
        assert!(all.iter().any(|file| text(file).contains(part)), "{part}: {all:?}");
    }
    for file in &all {
        let bytes = fs::read(file).unwrap();
        let name = file.file_name().unwrap().to_str().unwrap();
        let refused = |what: &str| {
            for arguments in [&["restore", text(&backup), text(&target)][..], &["restore", text(&backup), "--check"]] {
                let said = eye_in(folder.path(), arguments, 1);
                assert!(said.contains(name), "{what} {name}: {said}");
            }
            // What was begun is no data folder.
            if target.exists() {
                let serve = ["serve", "--data", text(&target), "--listen", "127.0.0.1:0", "--partitions", "2"];
                assert!(eye_in(folder.path(), &serve, 1).contains("was not finished"), "{what} {name}");
                fs::remove_dir_all(&target).unwrap();
            }
        };
        for at in [0, bytes.len() / 2, bytes.len() - 2] {
            let mut turned = bytes.clone();
            turned[at] ^= 4;
            fs::write(file, turned).unwrap();
            refused("turned");
        }
        fs::write(file, &bytes[..bytes.len() - 1]).unwrap();
        refused("cut");
        fs::remove_file(file).unwrap();
        refused("missing");
        fs::write(file, bytes).unwrap();
    }
    fs::create_dir(&target).unwrap();
    fs::write(target.join("mine"), "").unwrap();
    assert!(eye_in(folder.path(), &["restore", text(&backup), text(&target)], 2).contains("is not empty"));
    assert_eq!(files(&target), [target.join("mine")]);
    fs::remove_file(target.join("mine")).unwrap();
    eye_in(folder.path(), &["restore", text(&backup), text(&target)], 0);
    common::verify(&target);
}

#[test]
fn rot_is_not_copied_but_named() {
    let server = Server::start_with(&FLAGS);
    let folder = tempfile::tempdir().unwrap();
    send(&server, &server.token(), &events(0, 50, "bob"));
    admin(&server, "POST", "/v1/flush", &Value::Null);
    let table = files(&server.data().join("table").join("events"));
    let file = table.iter().find(|file| text(file).contains("received_date")).unwrap();
    let whole = fs::read(file).unwrap();
    let mut turned = whole.clone();
    turned[whole.len() / 2] ^= 4;
    fs::write(file, turned).unwrap();
    let output = server.eye(&["backup", text(&folder.path().join("one"))]);
    assert_eq!(output.status.code(), Some(3), "{}", said(&output));
    assert!(said(&output).contains(file.file_name().unwrap().to_str().unwrap()), "{}", said(&output));
    assert!(!folder.path().join("one").join("manifest").exists());
    fs::write(file, whole).unwrap();
    assert!(server.eye(&["backup", text(&folder.path().join("two"))]).status.success());
    let reader = admin(&server, "POST", "/v1/tokens", &json!({"name": "r", "kind": "read", "reads_all": true}));
    let denied = ask(&server, "GET", "/v1/backup", reader["token"].as_str().unwrap(), &Value::Null);
    assert_eq!(denied.status, 403, "it holds more than any reader may see");
}
