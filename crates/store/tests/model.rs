//! The store against a plain map: random interleavings of ingest, flush, compaction, crash, restart, late and duplicate
//! events, and an object store that fails. After every step the store must answer as the map does.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use eye_event::{BatchHeader, EventRef, Problems, RejectionRef, Timestamp};
use eye_log::memory::MemoryLog;
use eye_log::{PartitionId, SharedLog};
use eye_store::table::TableLocation;
use eye_store::{
    Columns, DedupRecall, Outcome, Position, Request, Store, StoreSettings, Table, TableKind, TableOptions,
};
use proptest::prelude::*;

#[allow(dead_code, unreachable_pub, reason = "shared with other tests")]
mod faulty;
use faulty::FaultyStore;

const PARTITIONS: u16 = 2;
const START: i64 = 1_700_000_000_000_000;

#[derive(Clone, Debug)]
enum Action {
    /// Events as (session, id, seconds of lateness), and rejections.
    Ingest(Vec<(u8, u8, u16)>, u8),
    Flush,
    /// A flush whose n-th write to the object store fails, before or after it took effect.
    FailingFlush(u8, bool),
    /// Small files are merged.
    Compact,
    /// A compaction whose n-th write fails, as with a flush.
    FailingCompact(u8, bool),
    /// The process dies; what was durable is there.
    Crash,
    /// The process stops in order.
    Restart,
    /// Time passes, in seconds.
    Wait(u32),
}

fn actions() -> impl Strategy<Value = Vec<Action>> {
    let events = proptest::collection::vec((0..6_u8, 0..40_u8, 0..600_u16), 0..20);
    let action = prop_oneof![
        8 => (events, 0..3_u8).prop_map(|(events, rejections)| Action::Ingest(events, rejections)),
        2 => Just(Action::Flush),
        2 => (0..4_u8, any::<bool>()).prop_map(|(nth, after)| Action::FailingFlush(nth, after)),
        1 => Just(Action::Compact),
        1 => (0..6_u8, any::<bool>()).prop_map(|(nth, after)| Action::FailingCompact(nth, after)),
        1 => Just(Action::Crash),
        1 => Just(Action::Restart),
        1 => (0..5_000_u32).prop_map(Action::Wait),
    ];
    proptest::collection::vec(action, 1..25)
}

/// Session -> sort key -> event id, and what the identity window knows.
#[derive(Default)]
struct Model {
    sessions: BTreeMap<String, BTreeMap<(i64, u16, u64), String>>,
    identities: BTreeMap<(String, String), i64>,
    rejections: usize,
    received: u64,
    duplicates: u64,
}

struct World {
    runtime: tokio::runtime::Runtime,
    logs: Vec<SharedLog>,
    objects: Arc<FaultyStore>,
    store: Option<Store>,
    now: i64,
    recall: DedupRecall,
    model: Model,
}

impl World {
    fn new(recall: DedupRecall) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let logs = (0..PARTITIONS).map(|_| Arc::new(MemoryLog::new()) as SharedLog).collect();
        let mut world = Self {
            runtime,
            logs,
            objects: Arc::new(FaultyStore::default()),
            store: None,
            now: START,
            recall,
            model: Model::default(),
        };
        world.open();
        world
    }

    fn open(&mut self) {
        let table = |kind: TableKind| {
            let location = TableLocation::remote(&format!("memory:///{}", kind.name())).unwrap();
            let options = TableOptions {
                row_group_rows: 16,
                page_rows: 4,
                partitions: PARTITIONS,
                ..TableOptions::new(kind, Timestamp::from_micros(START))
            };
            let objects = Arc::clone(&self.objects);
            Table::open(objects, location, options, self.runtime.handle().clone()).unwrap().0
        };
        let settings = StoreSettings {
            partitions: PARTITIONS,
            flush_age_max: Duration::from_secs(3600),
            dedup_window: Duration::from_secs(3600),
            dedup_recall: self.recall,
            log_keep_commits: 2,
            checkpoint_commits: 3,
            ..StoreSettings::default()
        };
        let (events, rejections) = (table(TableKind::Events), table(TableKind::Rejections));
        let now = || Timestamp::from_micros(START);
        let opened = Store::open(settings, self.logs.clone(), events, rejections, now, &mut |_, _| {});
        self.store = Some(opened.unwrap().0);
    }

    fn store(&self) -> &Store {
        self.store.as_ref().unwrap()
    }

    fn act(&mut self, action: &Action) {
        match action {
            Action::Ingest(events, rejections) => self.ingest(events, *rejections),
            Action::Flush => drop(self.store().flush_blocking().unwrap()),
            Action::FailingFlush(nth, after) => {
                self.objects.fail_write(*nth, *after);
                // A write that failed may or may not have taken effect: either way nothing may be lost or doubled.
                let _ = self.store().flush_blocking();
                self.objects.heal();
            }
            Action::Compact => drop(self.store().compact_blocking(Duration::MAX).unwrap()),
            Action::FailingCompact(nth, after) => {
                self.objects.fail_write(*nth, *after);
                let _ = self.store().compact_blocking(Duration::MAX);
                self.objects.heal();
            }
            Action::Crash => {
                self.store.take().unwrap().abandon();
                self.open();
            }
            Action::Restart => {
                let store = self.store.take().unwrap();
                store.flush_blocking().unwrap();
                store.abandon();
                self.open();
            }
            Action::Wait(seconds) => self.now += i64::from(*seconds) * 1_000_000,
        }
    }

    fn ingest(&mut self, events: &[(u8, u8, u16)], rejections: u8) {
        self.now += 1_000_000;
        let header = BatchHeader { application: "web", token: "t", received_at: Timestamp::from_micros(self.now) };
        let mut request = Request::new(&header, PARTITIONS, 0);
        for (session, id, late) in events {
            let timestamp = Timestamp::from_micros(self.now - i64::from(*late) * 1_000_000);
            request.push_event(&EventRef {
                event_id: &format!("event-{id}"),
                session_id: &format!("session-{session}"),
                category: "c",
                name: "n",
                timestamp,
                timestamp_raw: None,
                sent_at: None,
                user_id: None,
                anonymous_id: None,
                data: r#"{"a":1}"#,
                context: None,
                problems: Problems::NONE,
            });
        }
        for _ in 0..rejections {
            request.push_rejection(&RejectionRef { code: "not_json", field: "", message: "m", sample: "{" });
        }
        let outcomes = if request.is_empty() {
            Vec::new()
        } else {
            self.runtime.block_on(self.store.as_ref().unwrap().ingest(request)).unwrap()
        };
        assert_eq!(outcomes.len(), events.len() + usize::from(rejections));
        self.model.received += outcomes.len() as u64;
        self.model.rejections += usize::from(rejections);
        for ((session, id, late), outcome) in events.iter().zip(outcomes) {
            let key = (format!("session-{session}"), format!("event-{id}"));
            let seconds = self.now / 1_000_000;
            let is_new = self.model.identities.get(&key).is_none_or(|stored| seconds - stored >= 3600);
            let Outcome::Stored { partition, offset } = outcome else {
                assert!(!is_new, "{key:?} was called a duplicate");
                self.model.duplicates += 1;
                continue;
            };
            assert!(is_new, "{key:?} was stored twice");
            self.model.identities.insert(key.clone(), seconds);
            let timestamp = self.now - i64::from(*late) * 1_000_000;
            let session = self.model.sessions.entry(key.0).or_default();
            assert!(session.insert((timestamp, partition.0, offset.0), key.1).is_none(), "an offset was used twice");
        }
    }

    fn check(&self) {
        let snapshot = self.store().snapshot();
        let mut all = BTreeMap::new();
        for slice in snapshot.slices(None, None).unwrap() {
            let mut rows = 0;
            slice
                .visit(Columns::ALL, &mut |_, event| {
                    rows += 1;
                    let key = (event.event.timestamp.micros(), event.partition.0, event.offset.0);
                    let value = (event.event.session_id.to_owned(), event.event.event_id.to_owned());
                    assert!(all.insert(key, value).is_none(), "a row is in two places: {key:?}");
                    assert_eq!((event.application, event.event.data), ("web", r#"{"a":1}"#));
                })
                .unwrap();
            assert_eq!(rows, slice.rows());
        }
        let expected: BTreeMap<_, _> = self
            .model
            .sessions
            .iter()
            .flat_map(|(session, events)| events.iter().map(|(key, id)| (*key, (session.clone(), id.clone()))))
            .collect();
        assert_eq!(all, expected);
        for (session, events) in &self.model.sessions {
            let mut found = BTreeMap::new();
            snapshot
                .session(session, Columns::ALL, &mut |event| {
                    let key = (event.event.timestamp.micros(), event.partition.0, event.offset.0);
                    assert!(found.insert(key, event.event.event_id.to_owned()).is_none());
                })
                .unwrap();
            assert_eq!(&found, events, "{session}");
        }
        let mut rejections = 0;
        snapshot.rejections(&mut |_| rejections += 1).unwrap();
        assert_eq!(rejections, self.model.rejections);
        if let Some((_, counts)) = self.store().ledger().first() {
            assert_eq!(counts.received, self.model.received);
            assert_eq!(counts.duplicate, self.model.duplicates);
            assert_eq!(counts.stored, expected.len() as u64);
        }
        for partition in (0..PARTITIONS).map(PartitionId) {
            assert!(snapshot.flushed().of(partition) <= snapshot.position().of(partition));
        }
    }
}

fn recall() -> impl Strategy<Value = DedupRecall> {
    prop_oneof![Just(DedupRecall::AtOpen), Just(DedupRecall::Background), Just(DedupRecall::OnDemand)]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn the_store_answers_as_a_plain_map(recall in recall(), actions in actions()) {
        let mut world = World::new(recall);
        for action in &actions {
            world.act(action);
            world.check();
        }
        world.store().close().unwrap();
    }
}

#[test]
fn a_follower_sees_every_event_once_and_is_told_of_a_gap() {
    let mut world = World::new(DedupRecall::AtOpen);
    world.ingest(&[(0, 1, 0), (1, 2, 0), (2, 3, 0)], 1);
    let store = world.store().clone();
    let mut seen = Vec::new();
    let step = world.runtime.block_on(async {
        let mut tail = store.live();
        let start: Position = "0,0".parse().unwrap();
        tail.next(&start, Duration::from_secs(5), 100, &mut |event| seen.push(event.event.event_id.to_owned())).await
    });
    let step = step.unwrap();
    seen.sort();
    assert_eq!(seen, ["event-1", "event-2", "event-3"]);
    assert_eq!((step.gap, step.position), (None, store.position()));
    world.act(&Action::Restart);
    let store = world.store().clone();
    let step = world.runtime.block_on(async {
        let start: Position = "0,0".parse().unwrap();
        store.live().next(&start, Duration::from_secs(5), 100, &mut |_| panic!("the backlog is empty")).await
    });
    assert_eq!(step.unwrap().gap.unwrap().to, store.position(), "what was flushed before the restart is announced");
}

#[test]
fn a_follower_with_little_room_misses_no_partition() {
    let mut world = World::new(DedupRecall::AtOpen);
    let events: Vec<_> = (0..60).map(|n| (n % 6, n % 40, 0)).collect();
    world.ingest(&events, 2);
    let store = world.store().clone();
    let mut seen = Vec::new();
    world.runtime.block_on(async {
        let mut tail = store.live();
        let mut position: Position = "0,0".parse().unwrap();
        while position != store.position() {
            let visit = &mut |event: &eye_store::StoredEvent<'_>| seen.push((event.partition, event.offset));
            let step = tail.next(&position, Duration::from_secs(5), 1, visit).await.unwrap();
            assert_eq!(step.gap, None);
            position = step.position;
        }
    });
    let stored: usize = world.model.sessions.values().map(BTreeMap::len).sum();
    seen.sort();
    let all = seen.len();
    seen.dedup();
    assert_eq!((all, seen.len()), (stored, stored), "every stored event once");
}
