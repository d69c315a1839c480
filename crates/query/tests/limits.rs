//! What a question refuses, where it stops, and how little it reads.
#![allow(missing_docs, clippy::unwrap_used, reason = "tests")]

mod common;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use common::{Event, Memory, Rejection, event};
use eye_event::Timestamp;
use eye_query::{
    Cancel, Cursor, Direction, Error, EventsQuery, Filter, Order, ProblemsQuery, RejectionsQuery, SessionQuery,
    SessionSort, SessionsQuery, events, problems, rejections, session, sessions,
};
use eye_store::{Columns, Kind};

fn numbered(count: u64, session_id: impl Fn(u64) -> String) -> Vec<Event> {
    (1..=count).map(|offset| event(&session_id(offset), i64::try_from(offset).unwrap(), offset)).collect()
}

#[track_caller]
fn assert_invalid<T>(result: Result<T, Error>, wrong: &str) {
    match result {
        Err(Error::Invalid { field, message }) => assert_eq!(field, wrong, "{message}"),
        Err(other) => panic!("another error: {other}"),
        Ok(_) => panic!("{wrong} was taken"),
    }
}

#[test]
fn limits_out_of_range_are_refused_by_name() {
    let (memory, go) = (Memory::new(&numbered(3, |_| "s".into()), 2), Cancel::new());
    for limit in [0, 10_001] {
        assert_invalid(events(&memory, &EventsQuery { limit, ..EventsQuery::default() }, &go), "limit");
        assert_invalid(session(&memory, &SessionQuery { limit, ..SessionQuery::new("s") }, &go), "limit");
        assert_invalid(sessions(&memory, &SessionsQuery { limit, ..SessionsQuery::default() }, &go), "limit");
        assert_invalid(rejections(&memory, &RejectionsQuery { limit, ..RejectionsQuery::default() }, &go), "limit");
    }
    assert_invalid(problems(&memory, &ProblemsQuery { samples: 21, ..ProblemsQuery::default() }, &go), "samples");
    assert_eq!(memory.reads.load(Ordering::Relaxed), 0, "nothing is read for a question that is refused");
}

#[test]
fn a_cursor_of_another_question_is_refused() {
    let (mut memory, go) = (Memory::new(&numbered(9, |offset| format!("s{}", offset % 3)), 2), Cancel::new());
    memory.rejections = (1..4)
        .map(|offset| Rejection {
            application: "web".into(),
            code: "not_json".into(),
            received_at: 1,
            offset,
            sample: String::new(),
        })
        .collect();
    let by_events = EventsQuery { limit: 1, ..EventsQuery::default() };
    let by_session = SessionQuery { limit: 1, ..SessionQuery::new("s1") };
    let by_sessions = SessionsQuery { limit: 1, ..SessionsQuery::default() };
    let by_rejections = RejectionsQuery { limit: 1, ..RejectionsQuery::default() };
    let ask_events = |query: EventsQuery| events(&memory, &query, &go).map(|page| page.next);
    let ask_session = |query: SessionQuery| session(&memory, &query, &go).map(|page| page.unwrap().next);
    let ask_sessions = |query: SessionsQuery| sessions(&memory, &query, &go).map(|page| page.next);
    let ask_rejections = |query: RejectionsQuery| rejections(&memory, &query, &go).map(|page| page.next);
    let own = [
        ask_events(by_events.clone()).unwrap(),
        ask_session(by_session.clone()).unwrap(),
        ask_sessions(by_sessions.clone()).unwrap(),
        ask_rejections(by_rejections.clone()).unwrap(),
    ];
    let garbage =
        ["", "AQ", "not a cursor", "é", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"].map(|text| Some(Cursor::new(text)));
    for (index, cursor) in own.iter().chain(&garbage).cloned().enumerate() {
        assert!(cursor.is_some());
        let answers = [
            ask_events(EventsQuery { cursor: cursor.clone(), ..by_events.clone() }),
            ask_session(SessionQuery { cursor: cursor.clone(), ..by_session.clone() }),
            ask_sessions(SessionsQuery { cursor: cursor.clone(), ..by_sessions.clone() }),
            ask_rejections(RejectionsQuery { cursor, ..by_rejections.clone() }),
        ];
        for (question, answer) in answers.into_iter().enumerate() {
            if question == index {
                assert!(answer.is_ok(), "the own cursor is taken");
            } else {
                assert_invalid(answer, "cursor");
            }
        }
    }

    let [of_events, of_session, of_sessions, of_rejections] = own;
    let filter = Filter { name: Some("view".into()), ..Filter::default() };
    assert_invalid(
        ask_events(EventsQuery { cursor: of_events.clone(), filter: filter.clone(), ..by_events }),
        "cursor",
    );
    assert_invalid(
        ask_events(EventsQuery { cursor: of_events.clone(), order: Order::Oldest, ..by_events.clone() }),
        "cursor",
    );
    assert!(ask_events(EventsQuery { cursor: of_events, limit: 5, ..by_events }).is_ok(), "the limit may change");
    assert_invalid(ask_session(SessionQuery { cursor: of_session, session_id: "s2".into(), ..by_session }), "cursor");
    let other = [
        SessionsQuery { sort: SessionSort::Events, ..by_sessions.clone() },
        SessionsQuery { direction: Direction::Asc, ..by_sessions.clone() },
        SessionsQuery { filter, ..by_sessions },
    ];
    for query in other {
        assert_invalid(ask_sessions(SessionsQuery { cursor: of_sessions.clone(), ..query }), "cursor");
    }
    let query = RejectionsQuery { cursor: of_rejections, code: Some("not_json".into()), ..by_rejections };
    assert_invalid(ask_rejections(query), "cursor");
}

#[test]
fn a_page_of_the_newest_reads_only_the_newest_slices() {
    let memory = Memory::new(&numbered(100, |offset| format!("s{offset}")), 10);
    let ask = |query: EventsQuery| {
        memory.reads.store(0, Ordering::Relaxed);
        let page = events(&memory, &query, &Cancel::new()).unwrap();
        (
            page.events.iter().map(|event| event.offset).collect::<Vec<_>>(),
            page.next,
            memory.reads.load(Ordering::Relaxed),
        )
    };
    let first = EventsQuery { limit: 5, ..EventsQuery::default() };
    let (offsets, next, reads) = ask(first.clone());
    assert_eq!((offsets, reads), (vec![100, 99, 98, 97, 96], 1));
    let (offsets, _, reads) = ask(EventsQuery { cursor: next, limit: 8, ..first.clone() });
    assert_eq!((offsets, reads), (vec![95, 94, 93, 92, 91, 90, 89, 88], 2));
    let (offsets, _, reads) = ask(EventsQuery { order: Order::Oldest, ..first.clone() });
    assert_eq!((offsets, reads), (vec![1, 2, 3, 4, 5], 1));
    let to = Filter { to: Some(Timestamp::from_micros(21)), ..Filter::default() };
    let (offsets, _, reads) = ask(EventsQuery { filter: to, ..first.clone() });
    assert_eq!((offsets, reads), (vec![20, 19, 18, 17, 16], 1));
    let foreign = Filter { application: Some("web".into()), allowed: Some(vec!["shop".into()]), ..Filter::default() };
    assert_eq!(ask(EventsQuery { filter: foreign, ..first }), (vec![], None, 0));
}

#[test]
fn a_session_is_looked_up_and_never_scanned_for() {
    let memory = Memory::new(&numbered(100, |offset| format!("s{}", offset % 10)), 10);
    let filter = Filter { session_id: Some("s3".into()), ..Filter::default() };
    let page = events(&memory, &EventsQuery { filter, ..EventsQuery::default() }, &Cancel::new()).unwrap();
    assert_eq!((page.events.len(), memory.reads.load(Ordering::Relaxed)), (10, 1));
}

#[test]
fn more_sessions_than_the_limit_are_refused_with_what_to_do() {
    let memory = Memory::new(&numbered(40, |offset| format!("s{}", offset % 20)), 8);
    let ask =
        |sessions_max| sessions(&memory, &SessionsQuery { sessions_max, ..SessionsQuery::default() }, &Cancel::new());
    assert_eq!(ask(20).unwrap().sessions.len(), 20);
    let error = ask(19).unwrap_err();
    assert!(matches!(&error, Error::TooMuch { message } if message.contains("narrow the time range")), "{error}");
}

#[test]
fn of_all_rows_a_list_of_sessions_reads_only_what_its_order_needs() {
    let memory = Memory::new(&numbered(40, |offset| format!("s{}", offset % 8)), 10);
    for (sort, also) in [
        (SessionSort::End, Columns::TIMESTAMP),
        (SessionSort::Start, Columns::TIMESTAMP),
        (SessionSort::Duration, Columns::TIMESTAMP),
        (SessionSort::Events, Columns::NONE),
        (SessionSort::Names, Columns::NAME),
        (SessionSort::Problems, Columns::PROBLEMS),
    ] {
        memory.columns.lock().unwrap().clear();
        let query = SessionsQuery { sort, limit: 3, ..SessionsQuery::default() };
        assert_eq!(sessions(&memory, &query, &Cancel::new()).unwrap().sessions.len(), 3);
        // Ids are not read where runs are at hand, and there nothing at all if no column is needed.
        let read = memory.columns.lock().unwrap();
        let times = |columns| read.iter().filter(|read| **read == columns).count();
        let bare = if also == Columns::NONE { 0 } else { 2 };
        assert_eq!((times(Columns::SESSION_ID | also), times(also), read.len()), (2, bare, 2 + bare), "{sort:?}");
    }
}

#[test]
fn more_names_of_sessions_than_the_limit_are_refused_with_what_to_do() {
    let mut all = numbered(5, |_| "s".into());
    all.iter_mut().for_each(|event| event.name = format!("name {}", event.offset));
    for filter in [Filter::default(), Filter { session_id: Some("s".into()), ..Filter::default() }] {
        let query = SessionsQuery { filter, sessions_max: 1, ..SessionsQuery::default() };
        let within = sessions(&Memory::new(&all[1..], 3), &query, &Cancel::new()).unwrap();
        assert_eq!(within.sessions[0].names, 4);
        let error = sessions(&Memory::new(&all, 3), &query, &Cancel::new()).unwrap_err();
        assert!(matches!(&error, Error::TooMuch { message } if message.contains("names of sessions")), "{error}");
    }
    let by_names = SessionsQuery { sort: SessionSort::Names, sessions_max: 4, ..SessionsQuery::default() };
    let error = sessions(&Memory::new(&all, 3), &by_names, &Cancel::new()).unwrap_err();
    assert!(matches!(error, Error::TooMuch { .. }), "{error}");
}

#[test]
fn more_kinds_of_problem_than_the_limit_are_refused_with_what_to_do() {
    let mut all = numbered(10_001, |_| "s".into());
    for event in &mut all {
        event.name = format!("name {}", event.offset);
        event.problems = 8;
    }
    let query = ProblemsQuery { samples: 0, ..ProblemsQuery::default() };
    let within = problems(&Memory::new(&all[1..], 1000), &query, &Cancel::new()).unwrap();
    assert_eq!(within.problems.len(), 10_000);
    let error = problems(&Memory::new(&all, 1000), &query, &Cancel::new()).unwrap_err();
    assert!(matches!(&error, Error::TooMuch { message } if message.contains("narrow the time range")), "{error}");
}

#[test]
fn pages_of_very_large_events_end_early_and_lose_nothing() {
    let mut all = numbered(30, |_| "s".into());
    for event in &mut all {
        event.data = format!("{{\"text\":\"{}\"}}", "x".repeat(3_000_000));
    }
    let memory = Memory::new(&all, 7);
    let (mut by_list, mut by_session, mut pages) = (Vec::new(), Vec::new(), 0);
    let mut query = EventsQuery::default();
    loop {
        let page = events(&memory, &query, &Cancel::new()).unwrap();
        by_list.extend(page.events.iter().map(|event| event.offset));
        assert!(page.events.len() <= 11 && !page.events.is_empty());
        pages += 1;
        query.cursor = page.next;
        if query.cursor.is_none() {
            break;
        }
    }
    let mut query = SessionQuery::new("s");
    loop {
        let page = session(&memory, &query, &Cancel::new()).unwrap().unwrap();
        by_session.extend(page.events.iter().map(|event| event.offset));
        query.cursor = page.next;
        if query.cursor.is_none() {
            break;
        }
    }
    assert_eq!(by_list, (1..=30).rev().collect::<Vec<u64>>());
    assert_eq!(by_session, by_list);
    assert_eq!(pages, 3);
}

#[test]
fn a_question_stops_at_the_next_slice_once_cancelled() {
    let memory = Memory::new(&numbered(100, |offset| format!("s{offset}")), 10);
    let filter = Filter { category: Some("none".into()), ..Filter::default() };
    let by_events = EventsQuery { filter: filter.clone(), ..EventsQuery::default() };
    let by_sessions = SessionsQuery { filter, ..SessionsQuery::default() };
    let ask = |which: usize| {
        let cancel = Arc::new(Cancel::new());
        let memory = Memory { cancels: Some(Arc::clone(&cancel)), ..memory.clone() };
        memory.reads.store(0, Ordering::Relaxed);
        let error = match which {
            0 => events(&memory, &by_events, &cancel).unwrap_err(),
            1 => sessions(&memory, &by_sessions, &cancel).unwrap_err(),
            _ => problems(&memory, &ProblemsQuery::default(), &cancel).unwrap_err(),
        };
        assert!(matches!(error, Error::Cancelled));
        memory.reads.load(Ordering::Relaxed)
    };
    assert_eq!([ask(0), ask(1), ask(2)], [1, 1, 1]);

    let cancelled = Cancel::new();
    cancelled.cancel();
    memory.reads.store(0, Ordering::Relaxed);
    assert!(matches!(session(&memory, &SessionQuery::new("s1"), &cancelled), Err(Error::Cancelled)));
    assert!(matches!(rejections(&memory, &RejectionsQuery::default(), &cancelled), Err(Error::Cancelled)));
    assert_eq!(memory.reads.load(Ordering::Relaxed), 0);
}

#[test]
fn damage_in_the_store_is_an_error_never_a_shorter_answer() {
    let go = Cancel::new();
    let damaged = Memory { is_damaged: true, ..Memory::new(&numbered(9, |_| "s".into()), 2) };
    let of_session = Filter { session_id: Some("s".into()), ..Filter::default() };
    let errors = [
        events(&damaged, &EventsQuery::default(), &go).unwrap_err(),
        events(&damaged, &EventsQuery { filter: of_session.clone(), ..EventsQuery::default() }, &go).unwrap_err(),
        session(&damaged, &SessionQuery::new("s"), &go).unwrap_err(),
        sessions(&damaged, &SessionsQuery::default(), &go).unwrap_err(),
        sessions(&damaged, &SessionsQuery { filter: of_session, ..SessionsQuery::default() }, &go).unwrap_err(),
        problems(&damaged, &ProblemsQuery::default(), &go).unwrap_err(),
        rejections(&damaged, &RejectionsQuery::default(), &go).unwrap_err(),
    ];
    for error in errors {
        assert!(matches!(&error, Error::Store(error) if error.kind() == Kind::Corrupt), "{error}");
    }
    let forgetful = Memory { forgets_rows: true, is_damaged: false, ..damaged };
    let error = events(&forgetful, &EventsQuery::default(), &go).unwrap_err();
    assert!(matches!(&error, Error::Store(error) if error.kind() == Kind::Internal), "{error}");
    let error = sessions(&forgetful, &SessionsQuery::default(), &go).unwrap_err();
    assert!(matches!(&error, Error::Store(error) if error.kind() == Kind::Internal), "{error}");
}

#[test]
fn the_edges_of_time_are_in_order_and_on_pages() {
    let mut all = numbered(6, |_| "s".into());
    for (event, timestamp) in all.iter_mut().zip([i64::MAX, i64::MIN, 0, i64::MAX, i64::MIN, -1]) {
        event.timestamp = timestamp;
    }
    let memory = Memory::new(&all, 2);
    for (order, expected) in [(Order::Newest, [4, 1, 3, 6, 5, 2]), (Order::Oldest, [2, 5, 6, 3, 1, 4])] {
        let mut query = EventsQuery { order, limit: 1, ..EventsQuery::default() };
        let mut offsets = Vec::new();
        loop {
            let page = events(&memory, &query, &Cancel::new()).unwrap();
            offsets.extend(page.events.iter().map(|event| event.offset));
            query.cursor = page.next;
            if query.cursor.is_none() {
                break;
            }
        }
        assert_eq!(offsets, expected);
    }
}
