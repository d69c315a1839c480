//! `kill -9` of the real binary under concurrent writers, at random moments, flush and start-up included.
//!
//! Clients write down what they sent and what was acknowledged. After each kill the service starts again, and at the end
//! the public API, the ledger and the offline check must agree with the clients: every acknowledged event exactly once,
//! in order; nothing that was not sent.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::{Server, http};

const WRITERS: usize = 8;
const SESSIONS: usize = 5;

/// What the clients know: ids they sent, and ids they were told are stored.
#[derive(Default)]
struct Witness {
    sent: BTreeSet<String>,
    acknowledged: BTreeSet<String>,
}

fn cycles() -> usize {
    std::env::var("KILL_CYCLES").ok().and_then(|cycles| cycles.parse().ok()).unwrap_or(25)
}

/// One writer: batches of 1 to 7 events, every failed one sent again with the same ids, as a good client does.
fn write(writer: usize, cycle: usize, url: &str, token: &str, stop: &AtomicBool, witness: &Mutex<Witness>) {
    let mut number = 0;
    while !stop.load(Ordering::Relaxed) {
        let ids: Vec<String> =
            (0..1 + (number + writer) % 7).map(|n| format!("{cycle}-{writer}-{number}-{n}")).collect();
        number += 1;
        let lines: Vec<String> = ids.iter().enumerate().map(|(n, id)| event(id, writer + n + number)).collect();
        witness.lock().unwrap().sent.extend(ids.iter().cloned());
        let headers =
            [("Authorization", format!("Token {token}")), ("Content-Type", "application/x-ndjson".to_owned())];
        let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let answer = http("POST", &format!("{url}/v1/events"), &headers, lines.join("\n").as_bytes());
        // Refused or cut off: not acknowledged, so nothing is promised.
        let Ok(answer) = answer else { continue };
        if answer.status != 200 {
            continue;
        }
        let body = answer.json();
        let results = body["results"].as_array().unwrap();
        assert_eq!(results.len(), ids.len());
        let mut witness = witness.lock().unwrap();
        for (id, result) in ids.into_iter().zip(results) {
            assert_eq!(result["status"], "stored", "{id}: {result}");
            witness.acknowledged.insert(id);
        }
    }
}

fn event(id: &str, spread: usize) -> String {
    let session = format!("session-{}", spread % SESSIONS);
    let second = spread * 37 % 60;
    format!(
        r#"{{"event_id":"{id}","session_id":"{session}","category":"c","name":"n","timestamp":"2024-05-01T10:00:{second:02}Z","data":{{"id":"{id}"}}}}"#
    )
}

/// Every event the API shows, by id; asserts that each session is sorted and that nothing is there twice.
fn read_back(server: &Server) -> BTreeMap<String, u64> {
    let token = format!("Token {}", server.admin_token());
    let mut found = BTreeMap::new();
    for session in 0..SESSIONS {
        let mut cursor = String::new();
        let mut previous: Option<(String, u64)> = None;
        loop {
            let url = format!("{}/v1/sessions/session-{session}?limit=1000{cursor}", server.url);
            let answer = http("GET", &url, &[("Authorization", &token)], b"").unwrap();
            if answer.status == 404 {
                break;
            }
            assert_eq!(answer.status, 200, "{}", answer.text());
            let page = answer.json();
            for event in page["events"].as_array().unwrap() {
                let key = (event["timestamp"].as_str().unwrap().to_owned(), event["offset"].as_u64().unwrap());
                if let Some(previous) = &previous {
                    assert!(&key < previous, "session-{session} is out of order: {key:?} after {previous:?}");
                }
                let id = event["event_id"].as_str().unwrap().to_owned();
                assert_eq!(event["data"]["id"], id.as_str(), "the payload belongs to another event");
                assert!(found.insert(id.clone(), key.1).is_none(), "{id} is there twice");
                previous = Some(key);
            }
            match page["next"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => break,
            }
        }
    }
    found
}

#[test]
fn acknowledged_events_survive_kill_minus_nine() {
    let mut server = Server::start_with(&["--flush-age-max", "150ms", "--flush-bytes-max", "64KiB"]);
    let witness = Arc::new(Mutex::new(Witness::default()));
    let mut random = 0x9e37_79b9_u64;
    for cycle in 0..cycles() {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let stop = Arc::new(AtomicBool::new(false));
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let (stop, witness) = (Arc::clone(&stop), Arc::clone(&witness));
                let (url, token) = (server.url.clone(), server.token());
                std::thread::spawn(move || write(writer, cycle, &url, &token, &stop, &witness))
            })
            .collect();
        // From 0 to about 0.4 s: before the first flush, during one, after several.
        std::thread::sleep(Duration::from_millis((random >> 33) % 400));
        server.kill();
        stop.store(true, Ordering::Relaxed);
        writers.into_iter().for_each(|writer| writer.join().unwrap());
        if cycle % 5 == 4 {
            // Again while it starts.
            server.restart_without_waiting();
            std::thread::sleep(Duration::from_millis((random >> 40) % 60));
            server.kill();
        }
        server.restart();
        let found = read_back(&server);
        let witness = witness.lock().unwrap();
        let lost: Vec<_> = witness.acknowledged.iter().filter(|id| !found.contains_key(*id)).collect();
        assert!(lost.is_empty(), "cycle {cycle}: {} acknowledged events are lost, such as {:?}", lost.len(), lost[0]);
        let invented: Vec<_> = found.keys().filter(|id| !witness.sent.contains(*id)).collect();
        assert!(invented.is_empty(), "cycle {cycle}: {invented:?} were never sent");
    }
    let witness = witness.lock().unwrap();
    assert!(witness.acknowledged.len() > cycles(), "the test acknowledged only {} events", witness.acknowledged.len());
    let found = read_back(&server);
    check_ledger(&server, found.len());
    server.stop();
    check_table(&server, &found);
    common::verify(&server.data());
    println!("{} cycles, {} events acknowledged, {} stored", cycles(), witness.acknowledged.len(), found.len());
}

/// The same rows with other people's readers: after a stop everything is in the table.
fn check_table(server: &Server, found: &BTreeMap<String, u64>) {
    let Some(table) = common::read_table(&server.data().join("table").join("events").display().to_string(), None)
    else {
        return;
    };
    let by_reader: BTreeMap<String, u64> = table["events"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| (row[1].as_str().unwrap().to_owned(), row[4].as_u64().unwrap()))
        .collect();
    assert_eq!(table["rows"].as_u64().unwrap(), found.len() as u64);
    assert_eq!(&by_reader, found, "the second reader of the table sees other rows");
}

fn check_ledger(server: &Server, stored: usize) {
    let token = format!("Token {}", server.admin_token());
    let answer = http("GET", &format!("{}/v1/ledger", server.url), &[("Authorization", &token)], b"").unwrap().json();
    let sum = |name: &str| answer["tokens"].as_array().unwrap().iter().map(|t| t[name].as_u64().unwrap()).sum::<u64>();
    assert_eq!(sum("stored"), stored as u64);
    assert_eq!(sum("received"), sum("stored") + sum("duplicate") + sum("rejected"));
}
