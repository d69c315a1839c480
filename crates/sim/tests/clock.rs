//! Clocks that were wrong: found by seeds, told apart here.

#![allow(clippy::unwrap_used, reason = "tests")]

use eye_event::{Problems, Timestamp};
use eye_sim::model::{Entry, Event, Sent};
use eye_sim::node::{Node, set_now};
use eye_store::Outcome;

const START: i64 = 1_700_000_000_000_000;
const HOUR: i64 = 3_600_000_000;

fn sent(id: &str, at: i64) -> Sent {
    let at = Timestamp::from_micros(at);
    let event = Event {
        event_id: id.into(),
        session_id: "s".into(),
        name: "n".into(),
        timestamp: at,
        timestamp_raw: None,
        sent_at: None,
        user_id: None,
        data: "{}".into(),
        context: None,
        problems: Problems::NONE,
    };
    Sent { application: "web", token: "t", received_at: at, entries: vec![Entry::Event(event)] }
}

/// The window of the simulated node is an hour.
#[test]
fn a_clock_that_was_ahead_makes_a_restart_forget_nothing() {
    set_now(START);
    let mut node = Node::new().unwrap();
    node.open().unwrap();
    let send = |node: &Node, sent: &Sent| {
        let store = node.up().unwrap().store.clone();
        node.runtime.block_on(store.ingest(sent.request())).unwrap()
    };
    send(&node, &sent("ahead", START + 30 * HOUR));
    assert!(matches!(send(&node, &sent("now", START))[..], [Outcome::Stored { .. }]));
    node.up().unwrap().store.flush_blocking().unwrap();
    assert_eq!(send(&node, &sent("now", START + HOUR / 10))[..], [Outcome::Duplicate]);
    let before = node.up().unwrap().store.ledger();
    node.crash(None);
    node.open().unwrap();
    assert_eq!(before, node.up().unwrap().store.ledger(), "the log was replayed with other answers");
}
