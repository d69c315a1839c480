//! An older answer again: a source with more in it, cut in other slices, answers as the one before did.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on must say where")]

mod common;

use common::{Event, Memory, any_events, any_filter, event};
use eye_event::Timestamp;
use eye_log::Offset;
use eye_query::{
    At, Cancel, EventsQuery, Filter, FunnelQuery, Order, PathsQuery, ProblemsQuery, RetentionQuery, SessionQuery,
    SessionsQuery, Source, TrendQuery,
};
use eye_store::Position;
use proptest::prelude::*;

/// Every kind of answer, as its bytes.
fn answers<S>(source: &S, filter: &Filter) -> Vec<String>
where
    S: Source,
    S::Slice: Sync + Send,
{
    let cancel = Cancel::new();
    let (from, to) = (Timestamp::from_micros(-10), Timestamp::from_micros(10));
    let mut answers = Vec::new();
    let mut put = |answer: serde_json::Result<String>| answers.push(answer.unwrap());
    for order in [Order::Newest, Order::Oldest] {
        let query = EventsQuery { filter: filter.clone(), order, limit: 7, cursor: None };
        let page = eye_query::events(source, &query, &cancel).unwrap();
        let next = EventsQuery { cursor: page.next.clone(), ..query };
        put(serde_json::to_string(&page));
        if next.cursor.is_some() {
            put(serde_json::to_string(&eye_query::events(source, &next, &cancel).unwrap()));
        }
    }
    for session_id in ["s", "s1", "é"] {
        let page = eye_query::session(source, &SessionQuery::new(session_id), &cancel).unwrap();
        put(serde_json::to_string(&page));
    }
    let sessions = SessionsQuery { filter: filter.clone(), ..SessionsQuery::default() };
    put(serde_json::to_string(&eye_query::sessions(source, &sessions, &cancel).unwrap()));
    let problems = ProblemsQuery { samples: 2, ..ProblemsQuery::default() };
    put(serde_json::to_string(&eye_query::problems(source, &problems, &cancel).unwrap()));
    let trend = TrendQuery::new(Filter { from: Some(from), to: Some(to), ..filter.clone() }, from, to);
    put(serde_json::to_string(&eye_query::trend(source, &trend, &cancel).unwrap()));
    let steps = ["name:x", "name:y"].map(|line| line.parse().unwrap()).to_vec();
    let funnel = FunnelQuery { filter: filter.clone(), steps, ..FunnelQuery::default() };
    put(serde_json::to_string(&eye_query::funnel(source, &funnel, &cancel).unwrap()));
    let retention = RetentionQuery { filter: filter.clone(), ..RetentionQuery::new(from, to) };
    put(serde_json::to_string(&eye_query::retention(source, &retention, &cancel).unwrap()));
    let paths = PathsQuery { filter: filter.clone(), ..PathsQuery::default() };
    put(serde_json::to_string(&eye_query::paths(source, &paths, &cancel).unwrap()));
    answers
}

fn position(offset: u64) -> Position {
    Position::new(vec![Offset(offset); 2])
}

proptest! {
    #[test]
    fn answers_are_the_same_bytes_as_before(
        events in any_events(), filter in any_filter(), then in 1_usize..9, now in 1_usize..9, share in 0_usize..=100,
    ) {
        let seen = events.len() * share / 100;
        let older = Memory { position: position(seen as u64), ..Memory::new(&events[..seen], then) };
        let newer = Memory { position: position(events.len() as u64), ..Memory::new(&events, now) };
        let again = At::seen(newer.clone(), older.version(), position(seen as u64));
        prop_assert_eq!(answers(&older, &filter), answers(&again, &filter));
        let whole = At::whole(newer.clone());
        prop_assert_eq!(answers(&newer, &filter), answers(&whole, &filter));
    }
}

#[test]
fn each_partition_is_seen_as_far_as_the_answer_saw_it() {
    // Sessions of both partitions.
    let mut sessions = ["s", "s1", "s2", "s10"].map(|id| (id, eye_event::partition_of(id, 2)));
    sessions.sort_by_key(|(_, partition)| *partition);
    let (first, second) = (sessions[0], sessions[3]);
    assert_eq!((first.1, second.1), (0, 1));
    let events: Vec<Event> =
        (1..=10).map(|n| event(if n % 2 == 0 { first.0 } else { second.0 }, n, n.unsigned_abs())).collect();
    let seen = Position::new(vec![Offset(4), Offset(7)]);
    let source = At::seen(Memory { position: position(10), ..Memory::new(&events, 3) }, 5, seen);
    let page = eye_query::events(&source, &EventsQuery::default(), &Cancel::new()).unwrap();
    let offsets: Vec<_> = page.events.iter().map(|event| event.offset).collect();
    assert_eq!(offsets, [7, 5, 4, 3, 2, 1]);
    assert_eq!((page.version, page.offset.as_str()), (5, "4,7"));
}
