//! Every question against the plainest way to answer it, over events in which everything ties.
#![allow(missing_docs, clippy::unwrap_used, reason = "tests")]

mod common;

use std::collections::{BTreeMap, BTreeSet};

use common::{Event, Memory, Rejection, any_events, any_filter};
use eye_event::Problem;
use eye_log::Offset;
use eye_query::{
    At, Cancel, Cursor, Direction, EventOut, EventsQuery, Filter, Order, ProblemsQuery, RejectionsQuery, SESSIONS_MAX,
    SessionOut, SessionQuery, SessionSort, SessionsQuery, events, problems, rejections, session, sessions,
};
use eye_store::Position;
use proptest::prelude::*;

/// Asks page after page until there is none, and checks that no page is empty that has one after it.
fn all_pages<T>(mut page: impl FnMut(Option<Cursor>) -> (Vec<T>, Option<Cursor>)) -> Vec<T> {
    let (mut all, mut cursor) = (Vec::new(), None);
    loop {
        let (rows, next) = page(cursor);
        assert!(next.is_none() || !rows.is_empty(), "an empty page has nothing after it");
        all.extend(rows);
        match next {
            Some(next) => cursor = Some(next),
            None => return all,
        }
    }
}

/// The offsets of the events that the filter chooses, in order.
fn expected(all: &[Event], filter: &Filter, order: Order) -> Vec<u64> {
    let mut chosen: Vec<&Event> = all.iter().filter(|event| event.is_chosen(filter)).collect();
    chosen.sort_by_key(|event| event.key());
    if order == Order::Newest {
        chosen.reverse();
    }
    chosen.iter().map(|event| event.offset).collect()
}

fn offsets(events: &[EventOut]) -> Vec<u64> {
    events.iter().map(|event| event.offset).collect()
}

fn any_order() -> impl Strategy<Value = Order> {
    prop_oneof![Just(Order::Newest), Just(Order::Oldest)]
}

fn any_sort() -> impl Strategy<Value = SessionSort> {
    proptest::sample::select(SessionSort::ALL.to_vec())
}

fn any_direction() -> impl Strategy<Value = Direction> {
    prop_oneof![Just(Direction::Desc), Just(Direction::Asc)]
}

/// Sessions as somebody would count them by hand.
fn expected_sessions(all: &[Event], query: &SessionsQuery) -> Vec<SessionOut> {
    let mut by_id: BTreeMap<&str, Vec<&Event>> = BTreeMap::new();
    for event in all.iter().filter(|event| event.is_chosen(&query.filter)) {
        by_id.entry(&event.session_id).or_default().push(event);
    }
    let mut sessions: Vec<(i64, SessionOut)> = by_id
        .into_iter()
        .map(|(session_id, mut events)| {
            events.sort_by_key(|event| event.key());
            let (first, last) = (events[0], events[events.len() - 1]);
            let applications: BTreeSet<String> = events.iter().map(|event| event.application.clone()).collect();
            let names: BTreeSet<&str> = events.iter().map(|event| &*event.name).collect();
            let problems = events.iter().filter(|event| event.problems != 0).count();
            let value = match query.sort {
                SessionSort::End => last.timestamp,
                SessionSort::Start => first.timestamp,
                SessionSort::Duration => last.timestamp - first.timestamp,
                SessionSort::Events => i64::try_from(events.len()).unwrap(),
                SessionSort::Names => i64::try_from(names.len()).unwrap(),
                SessionSort::Problems => i64::try_from(problems).unwrap(),
            };
            let out = SessionOut {
                session_id: session_id.to_owned(),
                start: first.key().timestamp,
                end: last.key().timestamp,
                duration_ms: (last.timestamp - first.timestamp) / 1000,
                events: events.len() as u64,
                names: names.len() as u64,
                first_name: first.name.clone(),
                last_name: last.name.clone(),
                applications: applications.into_iter().collect(),
                user_id: events.iter().rev().find_map(|event| event.user_id.clone()),
                problems: problems as u64,
            };
            (value, out)
        })
        .collect();
    sessions.sort_by(|a, b| (a.0, &a.1.session_id).cmp(&(b.0, &b.1.session_id)));
    if query.direction == Direction::Desc {
        sessions.reverse();
    }
    sessions.into_iter().map(|(_, session)| session).collect()
}

type Kind = (u64, &'static str, String, String, Vec<u64>);

/// Problems as somebody would count them by hand: count, code, application, name, offsets of the samples.
fn expected_problems(all: &[Event], filter: &Filter, samples: usize) -> Vec<Kind> {
    let mut kinds: BTreeMap<(&str, &str, &str), Vec<&Event>> = BTreeMap::new();
    for event in all.iter().filter(|event| event.is_chosen(filter)) {
        for problem in Problem::ALL.into_iter().filter(|problem| event.problems & (1 << *problem as u32) != 0) {
            kinds.entry((problem.code(), &event.application, &event.name)).or_default().push(event);
        }
    }
    let mut kinds: Vec<_> = kinds
        .into_iter()
        .map(|((code, application, name), mut events)| {
            events.sort_by_key(|event| std::cmp::Reverse(event.key()));
            let code = Problem::from_code(code).unwrap().code();
            let newest = events.iter().take(samples).map(|event| event.offset).collect();
            (events.len() as u64, code, application.to_owned(), name.to_owned(), newest)
        })
        .collect();
    kinds.sort_by_key(|kind| std::cmp::Reverse(kind.0));
    kinds
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn pages_of_events_are_the_sorted_list(
        all in any_events(),
        filter in any_filter(),
        order in any_order(),
        limit in 1_usize..9,
        slice_rows in 1_usize..12,
    ) {
        let memory = Memory::new(&all, slice_rows);
        let expected = expected(&all, &filter, order);
        let paged = all_pages(|cursor| {
            let query = EventsQuery { filter: filter.clone(), order, limit, cursor };
            let page = events(&memory, &query, &Cancel::new()).unwrap();
            assert!(page.events.len() <= limit);
            (page.events, page.next)
        });
        prop_assert_eq!(offsets(&paged), &expected[..]);

        let query = EventsQuery { filter, order, limit: 10_000, cursor: None };
        let whole = events(&memory, &query, &Cancel::new()).unwrap();
        prop_assert_eq!(offsets(&whole.events), expected);
        prop_assert_eq!((whole.next, whole.version), (None, 7));
        for (page, whole) in paged.iter().zip(&whole.events) {
            prop_assert_eq!(serde_json::to_string(page).unwrap(), serde_json::to_string(whole).unwrap());
        }
    }

    #[test]
    fn what_is_written_meanwhile_neither_hides_nor_doubles_an_event(
        all in any_events(), cut in any::<prop::sample::Index>(), order in any_order(), limit in 1_usize..9,
    ) {
        let cut = cut.index(all.len() + 1);
        let filter = Filter::default();
        let mut memories = [Memory::new(&all[..cut], 5), Memory::new(&all, 4)].into_iter();
        let mut memory = memories.next().unwrap();
        let paged = all_pages(|cursor| {
            let query = EventsQuery { filter: filter.clone(), order, limit, cursor };
            let page = events(&memory, &query, &Cancel::new()).unwrap();
            memory = memories.next().unwrap_or_else(|| memory.clone());
            (page.events, page.next)
        });
        let mut before = offsets(&paged);
        before.retain(|offset| *offset <= cut as u64);
        prop_assert_eq!(before, self::expected(&all[..cut], &filter, order));
    }

    #[test]
    fn pages_of_a_session_are_its_events_newest_first(
        all in any_events(), session_id in "(s|s1|s10|s2|zz)", allowed in any_filter(), limit in 1_usize..9,
    ) {
        let memory = Memory::new(&all, 5);
        let allowed = allowed.allowed;
        let filter = Filter { session_id: Some(session_id.clone()), allowed: allowed.clone(), ..Filter::default() };
        let expected = expected(&all, &filter, Order::Newest);
        let ask = |cursor| {
            let query = SessionQuery { session_id: session_id.clone(), allowed: allowed.clone(), limit, cursor };
            session(&memory, &query, &Cancel::new()).unwrap()
        };
        prop_assert_eq!(ask(None).is_none(), expected.is_empty());
        if !expected.is_empty() {
            let paged = all_pages(|cursor| {
                let page = ask(cursor).unwrap();
                assert_eq!(page.session_id, session_id);
                (page.events, page.next)
            });
            prop_assert_eq!(offsets(&paged), expected);
        }
    }

    #[test]
    fn pages_of_sessions_are_the_counted_list(
        all in any_events(),
        filter in any_filter(),
        sort in any_sort(),
        direction in any_direction(),
        limit in 1_usize..4,
        slice_rows in 1_usize..12,
        // There are five sessions: with room for no more, where their rows lie is soon forgotten.
        sessions_max in prop_oneof![Just(5), Just(SESSIONS_MAX)],
    ) {
        let memory = Memory::new(&all, slice_rows);
        let query = SessionsQuery { filter, sort, direction, limit, sessions_max, cursor: None };
        let expected = expected_sessions(&all, &query);
        let paged = all_pages(|cursor| {
            let page = sessions(&memory, &SessionsQuery { cursor, ..query.clone() }, &Cancel::new()).unwrap();
            assert!(page.sessions.len() <= limit);
            (page.sessions, page.next)
        });
        prop_assert_eq!(&paged, &expected);
        let whole = sessions(&memory, &SessionsQuery { limit: 1000, ..query }, &Cancel::new()).unwrap();
        prop_assert_eq!(whole.sessions, expected);
        prop_assert_eq!(whole.next, None);
    }

    #[test]
    fn what_is_written_meanwhile_neither_hides_nor_doubles_a_session_that_it_leaves_alone(
        all in any_events(),
        cut in any::<prop::sample::Index>(),
        filter in any_filter(),
        sort in any_sort(),
        direction in any_direction(),
        limit in 1_usize..4,
    ) {
        let cut = cut.index(all.len() + 1);
        let query = SessionsQuery { filter, sort, direction, limit, ..SessionsQuery::default() };
        let (before, after) = (Memory::new(&all[..cut], 5), Memory::new(&all, 4));
        let expected = expected_sessions(&all[..cut], &query);
        let paged = |next: &dyn Fn(&SessionsQuery) -> eye_query::SessionsPage| {
            let mut is_first = true;
            all_pages(|cursor| {
                let query = SessionsQuery { cursor, ..query.clone() };
                let is_first = std::mem::take(&mut is_first);
                let page = if is_first { sessions(&before, &query, &Cancel::new()).unwrap() } else { next(&query) };
                (page.sessions, page.next)
            })
        };
        let grown: BTreeSet<&String> =
            all[cut..].iter().filter(|event| event.is_chosen(&query.filter)).map(|event| &event.session_id).collect();
        let left_alone = |mut list: Vec<SessionOut>| {
            list.retain(|session| !grown.contains(&session.session_id));
            list
        };
        let now = paged(&|query| sessions(&after, query, &Cancel::new()).unwrap());
        prop_assert_eq!(left_alone(now), left_alone(expected.clone()));
        // As of the first page nothing was written.
        let seen = Position::new(vec![Offset(cut as u64); 2]);
        let as_of_then = At::seen(after, 7, seen);
        let then = paged(&|query| sessions(&as_of_then, query, &Cancel::new()).unwrap());
        prop_assert_eq!(then, expected);
    }

    #[test]
    fn problems_are_counted_by_code_application_and_name(
        all in any_events(), filter in any_filter(), samples in 0_usize..5, slice_rows in 1_usize..12,
    ) {
        let memory = Memory::new(&all, slice_rows);
        let Filter { allowed, application, from, to, .. } = filter;
        let filter = Filter { allowed, application, from, to, ..Filter::default() };
        let query = ProblemsQuery {
            allowed: filter.allowed.clone(),
            application: filter.application.clone(),
            from,
            to,
            samples,
        };
        let page = problems(&memory, &query, &Cancel::new()).unwrap();
        let expected = expected_problems(&all, &filter, samples);
        prop_assert_eq!(page.problems.len(), expected.len());
        for (found, (count, code, application, name, newest)) in page.problems.iter().zip(expected) {
            prop_assert_eq!((&*found.code, &found.application, &found.name), (code, &application, &name));
            prop_assert_eq!((found.count, offsets(&found.samples)), (count, newest));
        }
    }

    #[test]
    fn pages_of_rejections_are_the_sorted_list(
        all in proptest::collection::vec(("[abc]", "(not_json|too_long)", 0_i64..5), 0..40),
        filter in any_filter(),
        code in proptest::option::of("(not_json|too_long|other)"),
        limit in 1_usize..9,
    ) {
        let mut memory = Memory::new(&[], 1);
        memory.rejections = (1..).zip(all).map(|(offset, (application, code, received_at))| {
            Rejection { application, code, received_at, offset, sample: "{".into() }
        }).collect();
        let Filter { allowed, application, .. } = filter;
        let query = RejectionsQuery { allowed, application, code, limit, cursor: None };
        let mut expected: Vec<&Rejection> = memory.rejections.iter().filter(|rejection| {
            query.allowed.as_ref().is_none_or(|allowed| allowed.contains(&rejection.application))
                && query.application.as_ref().is_none_or(|application| *application == rejection.application)
                && query.code.as_ref().is_none_or(|code| *code == rejection.code)
        }).collect();
        expected.sort_by_key(|rejection| std::cmp::Reverse((rejection.received_at, rejection.offset)));
        let paged = all_pages(|cursor| {
            let page = rejections(&memory, &RejectionsQuery { cursor, ..query.clone() }, &Cancel::new()).unwrap();
            assert!(page.rejections.len() <= limit);
            (page.rejections, page.next)
        });
        let facts = paged.iter().map(|row| (row.offset, &*row.code, &*row.application));
        prop_assert!(facts.eq(expected.iter().map(|row| (row.offset, &*row.code, &*row.application))));
    }
}
