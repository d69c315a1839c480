//! An object store that loses answers, lands writes late or is away: found by readers of the code and by seeds, told apart
//! here.

#![allow(clippy::unwrap_used, reason = "tests")]

use eye_event::{Problems, Timestamp, partition_of};
use eye_sim::model::{Entry, Event, PARTITIONS, Sent};
use eye_sim::node::{Node, set_now};
use eye_sim::objects::Toxic;
use eye_store::{Kind, Outcome};

const NOW: i64 = 1_700_000_000_000_000;
/// A flush writes a data file first, and then the commit.
const COMMIT: u64 = 1;

/// A session of this partition.
fn session(partition: u16) -> String {
    (0..).map(|number| format!("s{number}")).find(|name| partition_of(name, PARTITIONS) == partition).unwrap()
}

fn sent(id: &str, partition: u16) -> Sent {
    let at = Timestamp::from_micros(NOW);
    let event = Event {
        event_id: id.into(),
        session_id: session(partition),
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

fn started() -> Node {
    set_now(NOW);
    let mut node = Node::new().unwrap();
    node.open().unwrap();
    node
}

fn send(node: &Node, sent: &Sent) -> eye_store::Result<Vec<Outcome>> {
    let store = node.up().unwrap().store.clone();
    node.runtime.block_on(store.ingest(sent.request()))
}

fn flush(node: &Node) -> eye_store::Result<()> {
    node.up().unwrap().store.flush_blocking().map(drop)
}

fn rows(node: &Node) -> usize {
    let slices = node.up().unwrap().store.snapshot().slices(None, None).unwrap();
    slices.iter().map(eye_store::Slice::rows).sum()
}

#[test]
fn a_commit_that_another_partitions_flush_finds_is_seen_once() {
    let node = started();
    send(&node, &sent("one", 1)).unwrap();
    node.objects.arm(COMMIT, Toxic::Dark);
    assert!(flush(&node).is_err(), "the outcome cannot be looked up");
    assert_eq!(rows(&node), 1);
    node.objects.heal();
    send(&node, &sent("other", 0)).unwrap();
    flush(&node).unwrap();
    assert_eq!(rows(&node), 2);
    send(&node, &sent("next", 1)).unwrap();
    flush(&node).unwrap();
    assert_eq!(rows(&node), 3);
}

#[test]
fn a_commit_of_an_earlier_life_that_lands_late_ends_the_store_and_opening_heals_it() {
    let mut node = started();
    send(&node, &sent("one", 0)).unwrap();
    node.objects.arm(COMMIT, Toxic::Late);
    flush(&node).unwrap_err();
    node.crash(None);
    node.open().unwrap();
    assert_eq!(node.runtime.block_on(node.objects.land_late()), 1);
    send(&node, &sent("two", 0)).unwrap();
    assert_eq!(flush(&node).unwrap_err().kind(), Kind::Conflict);
    assert!(node.up().unwrap().store.ready().is_err(), "whoever watches it opens it again");
    send(&node, &sent("three", 0)).unwrap_err();
    assert_eq!(rows(&node), 2);
    node.crash(None);
    node.open().unwrap();
    assert_eq!(send(&node, &sent("two", 0)).unwrap(), [Outcome::Duplicate]);
    flush(&node).unwrap();
    assert_eq!(rows(&node), 2);
}

#[test]
fn a_repeat_that_comes_while_the_table_is_away_waits_for_it() {
    let mut node = started();
    send(&node, &sent("one", 0)).unwrap();
    flush(&node).unwrap();
    node.crash(None);
    // The second start reads ids back when they are named.
    node.open().unwrap();
    node.objects.refuse(false, true);
    let store = node.up().unwrap().store.clone();
    let answer = node.runtime.spawn(async move { store.ingest(sent("one", 0).request()).await });
    while node.objects.reads_missed() == 0 {
        std::thread::yield_now();
    }
    node.objects.heal();
    assert_eq!(node.runtime.block_on(answer).unwrap().unwrap(), [Outcome::Duplicate]);
}
