//! What has become of an answer, against a model that remembers every answer whole: over flushes, compactions, events that
//! come late, erasures and retention.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on must say where")]

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use eye_event::{BatchHeader, EventRef, Problems, Timestamp};
use eye_log::SharedLog;
use eye_log::memory::MemoryLog;
use eye_query::{Cancel, DiffQuery, DiffSummary, Error, EventsQuery, Filter, Only, Order, Seen, diff, events};
use eye_store::table::TableLocation;
use eye_store::{
    Columns, Erasure, Outcome, Position, Request, RetentionRule, Selection, Store, StoreSettings, Table, TableKind,
    TableOptions,
};
use proptest::prelude::*;

const SECOND: i64 = 1_000_000;
const DAY: i64 = 86_400 * SECOND;
/// 2026-11-23.
const START: i64 = 20_780 * DAY;
const PARTITIONS: u16 = 2;

thread_local! {
    static NOW: Cell<i64> = const { Cell::new(START) };
}

fn now() -> Timestamp {
    Timestamp::from_micros(NOW.get())
}

/// Partition and offset.
type Place = (u16, u64);

/// An event as the model knows it.
#[derive(Clone, Debug)]
struct Known {
    session: u8,
    name: &'static str,
    timestamp: i64,
    received: i64,
}

/// What happens.
#[derive(Clone, Debug)]
enum Step {
    /// Events of a session, a name, and how many seconds before or after they are received.
    Send(Vec<(u8, &'static str, i64)>),
    Flush,
    Compact,
    Erase(u8),
    /// What is older than a day goes.
    NextDay,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let name = prop_oneof![Just("x"), Just("y")];
    let sent = proptest::collection::vec((0..4_u8, name, -60_i64..15), 1..8);
    let step = prop_oneof![
        6 => sent.prop_map(Step::Send),
        3 => Just(Step::Flush),
        1 => Just(Step::Compact),
        1 => (0..4_u8).prop_map(Step::Erase),
        1 => Just(Step::NextDay),
    ];
    proptest::collection::vec(step, 1..14)
}

/// An answer as it was given.
struct Answer {
    named: Seen,
    events: BTreeSet<Place>,
    erased: u64,
    expired: u64,
}

struct World {
    runtime: tokio::runtime::Runtime,
    store: Store,
    events: BTreeMap<Place, Known>,
    /// All there ever were.
    sent: u32,
    erased: u64,
    expired: u64,
    answers: Vec<Answer>,
}

impl World {
    fn new() -> Self {
        NOW.set(START);
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let table = |kind: TableKind| {
            let location = TableLocation::remote(&format!("memory:///{}", kind.name())).unwrap();
            let options = TableOptions {
                row_group_rows: 16,
                page_rows: 4,
                partitions: PARTITIONS,
                ..TableOptions::new(kind, now())
            };
            let objects = Arc::new(object_store::memory::InMemory::new());
            Table::open(objects, location, options, runtime.handle().clone()).unwrap().0
        };
        let settings = StoreSettings {
            partitions: PARTITIONS,
            flush_by_itself: false,
            compaction_period: Duration::ZERO,
            retention: vec![RetentionRule { application: None, category: None, days: 1 }],
            ..StoreSettings::default()
        };
        let logs = (0..PARTITIONS).map(|_| Arc::new(MemoryLog::new()) as SharedLog).collect();
        let (events, rejections) = (table(TableKind::Events), table(TableKind::Rejections));
        let store = Store::open(settings, logs, events, rejections, now, &mut |_, _| {}).unwrap().0;
        let events = BTreeMap::new();
        let mut world = Self { runtime, store, events, sent: 0, erased: 0, expired: 0, answers: Vec::new() };
        world.answer();
        world
    }

    fn take(&mut self, step: &Step) {
        NOW.set(NOW.get() + 10 * SECOND);
        match step {
            Step::Send(sent) => sent.iter().for_each(|event| self.send(event)),
            Step::Flush => drop(self.store.flush_blocking().unwrap()),
            Step::Compact => drop(self.store.compact_blocking(Duration::MAX).unwrap()),
            Step::Erase(session) => {
                let id = session_id(*session);
                let selection = Selection {
                    id: Erasure::fresh_id(),
                    criteria: vec!["session_id".to_owned()],
                    columns: Columns::SESSION_ID,
                    session_id: Some(&id),
                    event: &|event| event.event.session_id == id,
                    rejection: &|_| false,
                };
                self.store.erase(&selection).unwrap();
                assert!(self.store.run_erasures_blocking().unwrap());
                self.erased += self.retain(|event| event.session != *session);
            }
            Step::NextDay => {
                self.store.flush_blocking().unwrap();
                NOW.set(NOW.get() + DAY);
                self.store.expire_blocking().unwrap();
                let today = NOW.get().div_euclid(DAY);
                self.expired += self.retain(|event| event.received.div_euclid(DAY) + 1 >= today);
            }
        }
        self.answer();
    }

    fn send(&mut self, (session, name, late): &(u8, &'static str, i64)) {
        NOW.set(NOW.get() + SECOND);
        self.sent += 1;
        let (received, timestamp) = (NOW.get(), NOW.get() + late * SECOND);
        let header = BatchHeader { application: "web", token: "t", received_at: Timestamp::from_micros(received) };
        let mut request = Request::new(&header, PARTITIONS, 0);
        request.push_event(&EventRef {
            event_id: &self.sent.to_string(),
            session_id: &session_id(*session),
            category: "page",
            name,
            timestamp: Timestamp::from_micros(timestamp),
            timestamp_raw: None,
            sent_at: None,
            user_id: None,
            anonymous_id: None,
            data: "{}",
            context: None,
            problems: Problems::NONE,
        });
        let outcomes = self.runtime.block_on(self.store.ingest(request)).unwrap();
        let Outcome::Stored { partition, offset } = outcomes[0] else { panic!("{outcomes:?}") };
        self.events.insert((partition.0, offset.0), Known { session: *session, name, timestamp, received });
    }

    /// How many went.
    fn retain(&mut self, stays: impl Fn(&Known) -> bool) -> u64 {
        let before = self.events.len();
        self.events.retain(|_, event| stays(event));
        (before - self.events.len()) as u64
    }

    fn answer(&mut self) {
        let query = EventsQuery { limit: 10_000, ..EventsQuery::default() };
        let snapshot = self.store.snapshot();
        let page = events(&snapshot, &query, &Cancel::new()).unwrap();
        let events: BTreeSet<Place> = page.events.iter().map(|event| (event.partition, event.offset)).collect();
        assert_eq!(events, self.events.keys().copied().collect::<BTreeSet<_>>());
        let named = Seen { version: page.version, position: page.offset.parse().unwrap() };
        self.answers.push(Answer { named, events, erased: self.erased, expired: self.expired });
    }

    /// Every page of a difference, and what each of them says on top.
    fn ask(&self, query: &DiffQuery) -> (Vec<(Place, bool)>, DiffSummary) {
        let (mut all, mut query) = (Vec::new(), query.clone());
        loop {
            let make = |event: &eye_store::StoredEvent<'_>, late: bool| ((event.partition.0, event.offset.0), late);
            let page = diff(&self.store.snapshot(), &query, &Cancel::new(), make).unwrap();
            assert!(page.rows.rows.len() <= query.limit);
            all.extend(page.rows.rows);
            query.cursor = page.rows.next;
            if query.cursor.is_none() {
                return (all, page.summary);
            }
        }
    }

    /// The difference of two answers as somebody would find it with both of them at hand.
    fn compare(&self, from: &Answer, to: &Answer, name: Option<&str>, order: Order) {
        let is_whole = self.store.keeps_events_since(to.named.version).unwrap();
        assert_eq!(is_whole, (to.erased, to.expired) == (self.erased, self.expired));
        if !is_whole {
            return;
        }
        let removed = self.store.events_removed(from.named.version, to.named.version).unwrap().unwrap();
        assert!(removed.is_sorted_by_key(|removal| removal.version));
        assert!(removed.iter().all(|removal| removal.rows.total() > 0));

        let is_seen =
            |(partition, offset): &Place| *offset <= from.named.position.of(eye_log::PartitionId(*partition)).0;
        let seen = self.events.iter().filter(|(place, _)| is_seen(place));
        let until = seen.map(|(_, event)| event.received).max();
        let is_late = |place: &Place| until.is_some_and(|until| self.events[place].timestamp < until);
        let mut came: Vec<Place> = to.events.difference(&from.events).copied().collect();
        came.retain(|place| name.is_none_or(|name| self.events[place].name == name));
        came.sort_by_key(|place| (self.events[place].timestamp, *place));
        if order == Order::Newest {
            came.reverse();
        }
        let expected: Vec<(Place, bool)> = came.iter().map(|place| (*place, is_late(place))).collect();
        let late: Vec<(Place, bool)> = expected.iter().filter(|(_, late)| *late).copied().collect();

        let query = DiffQuery {
            from: from.named.clone(),
            to: to.named.clone(),
            filter: Filter { name: name.map(str::to_owned), ..Filter::default() },
            only: Only::Came,
            order,
            limit: 3,
            cursor: None,
        };
        let (found, summary) = self.ask(&query);
        assert_eq!(found, expected);
        let summary = summary.with(&removed);
        assert_eq!((summary.came, summary.late), (expected.len() as u64, late.len() as u64));
        assert_eq!(summary.seen_until.map(Timestamp::micros), until);
        assert_eq!(summary.erased, Some(to.erased - from.erased));
        assert_eq!(summary.expired, Some(to.expired - from.expired));
        assert_eq!(self.ask(&DiffQuery { only: Only::Late, ..query }).0, late);
    }
}

fn session_id(number: u8) -> String {
    format!("session-{number}")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn the_difference_of_any_two_answers_is_what_a_reader_of_both_would_find(
        steps in steps(),
        name in proptest::option::of(prop_oneof![Just("x"), Just("y")]),
        order in prop_oneof![Just(Order::Newest), Just(Order::Oldest)],
    ) {
        let mut world = World::new();
        for step in &steps {
            world.take(step);
        }
        for (index, from) in world.answers.iter().enumerate() {
            for to in &world.answers[index..] {
                world.compare(from, to, name, order);
            }
        }
    }
}

#[test]
fn the_later_answer_comes_second_and_a_cursor_belongs_to_both() {
    let mut world = World::new();
    for late in [0, -30, 5, -1] {
        world.take(&Step::Send(vec![(1, "x", late), (2, "y", late)]));
    }
    let [first, .., last] = &world.answers[..] else { panic!("no answers") };
    let query = |from: &Answer, to: &Answer| DiffQuery {
        from: from.named.clone(),
        to: to.named.clone(),
        filter: Filter::default(),
        only: Only::Came,
        order: Order::Newest,
        limit: 3,
        cursor: None,
    };
    let snapshot = world.store.snapshot();
    let ask = |query: &DiffQuery| diff(&snapshot, query, &Cancel::new(), |_, _| ()).map(|found| found.rows.next);
    let error = ask(&query(last, first)).unwrap_err();
    assert!(matches!(error, Error::Invalid { field: "from", .. }), "{error}");
    let crossed = Seen { version: 0, position: Position::new(vec![eye_log::Offset(u64::MAX), eye_log::Offset(0)]) };
    let error = ask(&DiffQuery { from: crossed, ..query(first, last) }).unwrap_err();
    assert!(matches!(error, Error::Invalid { field: "from", .. }), "{error}");

    let cursor = ask(&query(first, last)).unwrap();
    assert!(cursor.is_some());
    assert!(ask(&DiffQuery { cursor: cursor.clone(), ..query(first, last) }).is_ok());
    let others = [
        DiffQuery { cursor: cursor.clone(), ..query(&world.answers[1], last) },
        DiffQuery { cursor: cursor.clone(), only: Only::Late, ..query(first, last) },
        DiffQuery { cursor: cursor.clone(), order: Order::Oldest, ..query(first, last) },
    ];
    for other in others {
        let error = ask(&other).unwrap_err();
        assert!(matches!(error, Error::Invalid { field: "cursor", .. }), "{error}");
    }
    let list = EventsQuery { cursor, limit: 3, ..EventsQuery::default() };
    let error = events(&snapshot, &list, &Cancel::new()).unwrap_err();
    assert!(matches!(error, Error::Invalid { field: "cursor", .. }), "{error}");
}
