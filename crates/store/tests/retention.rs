//! Retention by age: what is too old goes by the day it was received, everything else stays, whatever fails in between.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking, its helpers too")]

#[allow(dead_code, unreachable_pub, reason = "shared with other tests")]
mod faulty;

use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use eye_event::{BatchHeader, EventRef, Problems, RejectionRef, Timestamp};
use eye_log::SharedLog;
use eye_log::memory::MemoryLog;
use eye_store::table::{TableLocation, verify};
use eye_store::{
    Columns, Outcome, Request, RetentionRule, Snapshot, Store, StoreSettings, Table, TableKind, TableOptions,
};
use faulty::FaultyStore;
use object_store::ObjectStore;
use tokio::runtime::{Builder, Runtime};

const DAY: i64 = 86_400_000_000;
/// 2026-11-23.
const START: i64 = 20_780 * DAY;
const APPLICATIONS: [&str; 2] = ["web", "shop"];
const CATEGORIES: [&str; 3] = ["page", "debug", "order"];

thread_local! {
    static NOW: Cell<i64> = const { Cell::new(START) };
}

fn now() -> Timestamp {
    Timestamp::from_micros(NOW.get())
}

struct Node {
    runtime: Runtime,
    log: SharedLog,
    objects: Arc<FaultyStore>,
}

/// An event as it is told apart: the day on which it was received, its application, its category, its number.
type Seen = (i64, &'static str, &'static str, u64);

impl Node {
    fn new() -> Self {
        NOW.set(START);
        Self {
            runtime: Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap(),
            log: Arc::new(MemoryLog::new()),
            objects: Arc::default(),
        }
    }

    fn table(&self, kind: TableKind) -> Table {
        let location = TableLocation::remote(&format!("memory:///{}", kind.name())).unwrap();
        let options = TableOptions { row_group_rows: 16, page_rows: 8, ..TableOptions::new(kind, now()) };
        let objects: Arc<dyn ObjectStore> = self.objects.clone();
        Table::open(objects, location, options, self.runtime.handle().clone()).unwrap().0
    }

    fn open(&self, rules: &[RetentionRule], rejection_days: Option<u32>) -> Store {
        let settings = StoreSettings {
            flush_by_itself: false,
            compaction_period: Duration::ZERO,
            retention: rules.to_vec(),
            rejection_days,
            ..StoreSettings::default()
        };
        let (events, rejections) = (self.table(TableKind::Events), self.table(TableKind::Rejections));
        Store::open(settings, vec![Arc::clone(&self.log)], events, rejections, now, &mut |_, _| {}).unwrap().0
    }

    /// Ten days of events of every application and category, two flushes a day, and a rejection in each.
    fn fill(&self, store: &Store) -> Vec<Seen> {
        let mut sent = Vec::new();
        for day in 0_i64..10 {
            NOW.set(START + day * DAY);
            for half in 0_i64..2 {
                for application in APPLICATIONS {
                    let received_at = Timestamp::from_micros(START + day * DAY + half * DAY / 2);
                    let mut request = Request::new(&BatchHeader { application, token: "t", received_at }, 1, 0);
                    for category in CATEGORIES {
                        for number in 0_u64..4 {
                            let id = format!("{day}-{half}-{number}-{category}");
                            request.push_event(&EventRef {
                                event_id: &id,
                                session_id: "s",
                                category,
                                name: "n",
                                // The client's clock has no say.
                                timestamp: Timestamp::from_micros(number.cast_signed() * DAY),
                                timestamp_raw: None,
                                sent_at: None,
                                user_id: None,
                                anonymous_id: None,
                                data: &format!("{}", half.cast_unsigned() * 10 + number),
                                context: None,
                                problems: Problems::NONE,
                            });
                            sent.push((day, application, category, half.cast_unsigned() * 10 + number));
                        }
                    }
                    request.push_rejection(&RejectionRef { code: "not_json", field: "", message: "m", sample: "{" });
                    let outcomes = self.runtime.block_on(store.ingest(request)).unwrap();
                    assert_eq!(outcomes.iter().filter(|outcome| matches!(outcome, Outcome::Stored { .. })).count(), 12);
                }
                store.flush_blocking().unwrap();
            }
        }
        sent.sort();
        sent
    }

    fn is_sound(&self) {
        for kind in [TableKind::Events, TableKind::Rejections] {
            let report = verify(&self.table(kind), true, &mut |_| {}).unwrap();
            assert!(report.is_sound(), "{:?}", report.findings);
        }
    }
}

fn rule(application: &str, category: &str, days: u32) -> RetentionRule {
    let name = |name: &str| (name != "*").then(|| name.to_owned());
    RetentionRule { application: name(application), category: name(category), days }
}

fn seen(snapshot: &Snapshot) -> Vec<Seen> {
    let mut found = Vec::new();
    for slice in snapshot.slices(None, None).unwrap() {
        let visit = &mut |_, row: &eye_store::StoredEvent<'_>| {
            let application = APPLICATIONS.into_iter().find(|name| *name == row.application).unwrap();
            let category = CATEGORIES.into_iter().find(|name| *name == row.event.category).unwrap();
            let day = (row.received_at.micros() - START).div_euclid(DAY);
            found.push((day, application, category, row.event.data.parse().unwrap()));
        };
        slice.visit(Columns::ALL, visit).unwrap();
    }
    found.sort();
    found
}

fn rejections(snapshot: &Snapshot) -> usize {
    let mut count = 0;
    snapshot.rejections(&mut |_| count += 1).unwrap();
    count
}

/// What is left of what was sent when it is this day, said another way than the product does.
fn left(sent: &[Seen], rules: &[RetentionRule], today: i64) -> Vec<Seen> {
    let is_kept = |(day, application, category, _): &&Seen| {
        for rule in rules {
            let is_meant = rule.application.as_deref().unwrap_or(application) == *application
                && rule.category.as_deref().unwrap_or(category) == *category;
            if is_meant {
                return today - day <= i64::from(rule.days);
            }
        }
        true
    };
    sent.iter().filter(is_kept).copied().collect()
}

#[test]
fn what_is_too_old_goes_by_rule_and_everything_else_stays() {
    let all_rules: [&[RetentionRule]; 5] = [
        &[],
        &[rule("*", "*", 3)],
        &[rule("web", "debug", 2), rule("web", "*", 6)],
        &[rule("*", "order", 9), rule("shop", "*", 1)],
        &[rule("web", "*", 30), rule("*", "debug", 0), rule("*", "*", 5)],
    ];
    for rules in all_rules {
        let node = Node::new();
        let store = node.open(rules, Some(4));
        let sent = node.fill(&store);
        let ledger = store.ledger();
        for today in [9, 10, 12, 40] {
            NOW.set(START + today * DAY + DAY / 3);
            let held = store.snapshot();
            let before = seen(&held);
            let done = store.expire_blocking().unwrap();
            let expected = left(&sent, rules, today);
            assert_eq!(seen(&store.snapshot()), expected, "{rules:?} on day {today}");
            assert_eq!(done.events as usize, before.len() - expected.len());
            assert_eq!(seen(&held), before, "who holds an older view goes on");
            let days = (0_i64..10).filter(|day| today - day <= 4).count();
            assert_eq!(rejections(&store.snapshot()), days * 4);
            let again = store.expire_blocking().unwrap();
            assert_eq!((again.events, again.rejections, again.files_rewritten, again.is_complete), (0, 0, 0, true));
            if today == 10 {
                store.compact_blocking(Duration::MAX).unwrap();
                assert_eq!(seen(&store.snapshot()), expected);
            }
        }
        assert_eq!(store.ledger(), ledger);
        let removed = store.status().removed;
        let table = node.table(TableKind::Events).current();
        assert_eq!(table.rows() + table.removed_all().expired, sent.len() as u64);
        assert_eq!((removed.erased, removed.expired), (0, table.removed_all().expired + 40));
        store.abandon();
        let store = node.open(&[], None);
        assert_eq!(seen(&store.snapshot()), left(&sent, rules, 40));
        store.abandon();
        node.is_sound();
    }
}

#[test]
fn a_file_that_goes_whole_is_not_read() {
    let node = Node::new();
    let store = node.open(&[rule("*", "*", 3)], None);
    node.fill(&store);
    store.abandon();
    let store = node.open(&[rule("*", "*", 3)], None);
    let events = node.table(TableKind::Events);
    NOW.set(START + 30 * DAY);
    let done = store.expire_blocking().unwrap();
    assert_eq!((done.files_dropped, done.files_rewritten, done.events), (20, 0, 480));
    assert_eq!(events.refresh().unwrap().files.len(), 0);
    store.abandon();
    node.is_sound();
}

#[test]
fn a_file_that_cannot_be_read_keeps_no_other_from_going() {
    let node = Node::new();
    let rules = [rule("web", "debug", 2), rule("shop", "*", 5)];
    let store = node.open(&rules, Some(4));
    let sent = node.fill(&store);
    store.abandon();
    drop(store);
    // The first half of the first day: its numbers are below 10.
    let files = node.table(TableKind::Events).current().files.clone();
    let file = files.iter().min_by_key(|file| file.offset_min).unwrap();
    let path = object_store::path::Path::parse(format!("events/{}", file.path.as_str())).unwrap();
    let garbage = vec![7; usize::try_from(file.bytes).unwrap()];
    node.runtime.block_on(node.objects.put_opts(&path, garbage.into(), object_store::PutOptions::default())).unwrap();
    let store = node.open(&rules, Some(4));
    NOW.set(START + 12 * DAY);
    let error = store.expire_blocking().unwrap_err();
    assert!(error.kind() == eye_store::Kind::Corrupt && error.to_string().contains(file.path.as_str()), "{error}");
    let stays = left(&sent, &rules, 12).iter().filter(|(day, _, _, number)| *day > 0 || *number >= 10).count();
    let rows: u64 = node.table(TableKind::Events).current().files.iter().map(|file| file.rows).sum();
    assert_eq!(rows, file.rows + stays as u64, "of every other file only what may stay is left");
    let of_rejections = node.table(TableKind::Rejections).current();
    assert!(of_rejections.files.iter().all(|file| i64::from(file.received_date) >= START / DAY + 8), "they go too");
    store.abandon();
}

#[test]
fn a_failure_of_any_write_loses_nothing_and_is_mended_next_time() {
    let rules = [rule("web", "debug", 2), rule("shop", "*", 5)];
    for after in [false, true] {
        for nth in 0..10 {
            let node = Node::new();
            let store = node.open(&rules, Some(4));
            let sent = node.fill(&store);
            NOW.set(START + 12 * DAY);
            node.objects.fail_write(nth, after);
            let result = store.expire_blocking();
            node.objects.heal();
            let (shown, expected) = (seen(&store.snapshot()), left(&sent, &rules, 12));
            assert!(expected.iter().all(|event| shown.contains(event)), "write {nth}, {after}: {result:?}");
            store.flush_blocking().unwrap();
            store.expire_blocking().unwrap();
            assert_eq!(seen(&store.snapshot()), expected, "write {nth}, {after}");
            store.abandon();
            let store = node.open(&rules, Some(4));
            assert_eq!(seen(&store.snapshot()), expected);
            store.abandon();
            node.is_sound();
        }
    }
}
