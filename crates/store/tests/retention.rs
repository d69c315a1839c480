//! Retention by age: what is too old goes by the day it was received, everything else stays, whatever fails in between.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking, its helpers too")]

#[allow(dead_code, unreachable_pub, reason = "shared with other tests")]
mod faulty;

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use eye_event::{BatchHeader, EventRef, Problems, RejectionRef, Timestamp};
use eye_log::SharedLog;
use eye_log::memory::MemoryLog;
use eye_store::table::{TableFile, TableLocation, verify};
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

/// What the clock says to a store whose own threads ask it: of one test only.
static CLOCK: AtomicI64 = AtomicI64::new(START);

fn clock() -> Timestamp {
    Timestamp::from_micros(CLOCK.load(Ordering::SeqCst))
}

fn set_clock(days: i64) {
    CLOCK.store(START + days * DAY, Ordering::SeqCst);
}

fn wait(for_what: &str, is_so: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < Duration::from_secs(60), "{for_what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

struct Node {
    runtime: Runtime,
    log: SharedLog,
    objects: Arc<FaultyStore>,
    row_group_rows: usize,
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
            row_group_rows: 16,
        }
    }

    fn table(&self, kind: TableKind) -> Table {
        let location = TableLocation::remote(&format!("memory:///{}", kind.name())).unwrap();
        let row_group_rows = self.row_group_rows;
        let page_rows = row_group_rows / 2;
        let options = TableOptions { row_group_rows, page_rows, ..TableOptions::new(kind, now()) };
        let objects: Arc<dyn ObjectStore> = self.objects.clone();
        Table::open(objects, location, options, self.runtime.handle().clone()).unwrap().0
    }

    fn open(&self, rules: &[RetentionRule], rejection_days: Option<u32>) -> Store {
        self.open_with(rules, rejection_days, now, |_| {})
    }

    fn open_with(
        &self,
        rules: &[RetentionRule],
        rejection_days: Option<u32>,
        now: fn() -> Timestamp,
        change: impl FnOnce(&mut StoreSettings),
    ) -> Store {
        let mut settings = StoreSettings {
            flush_by_itself: false,
            compaction_period: Duration::ZERO,
            retention: rules.to_vec(),
            rejection_days,
            ..StoreSettings::default()
        };
        change(&mut settings);
        let (events, rejections) = (self.table(TableKind::Events), self.table(TableKind::Rejections));
        Store::open(settings, vec![Arc::clone(&self.log)], events, rejections, now, &mut |_, _| {}).unwrap().0
    }

    /// Sends events of one application on a day, each with a number and its category.
    fn send(&self, store: &Store, day: i64, application: &str, events: &[(u64, &str)]) {
        let received_at = Timestamp::from_micros(START + day * DAY);
        let mut request = Request::new(&BatchHeader { application, token: "t", received_at }, 1, 0);
        for (number, category) in events {
            request.push_event(&EventRef {
                event_id: &format!("{day}-{number}"),
                session_id: "s",
                category,
                name: "n",
                timestamp: received_at,
                timestamp_raw: None,
                sent_at: None,
                user_id: None,
                anonymous_id: None,
                data: &number.to_string(),
                context: None,
                problems: Problems::NONE,
            });
        }
        let outcomes = self.runtime.block_on(store.ingest(request)).unwrap();
        assert!(outcomes.iter().all(|outcome| matches!(outcome, Outcome::Stored { .. })));
    }

    /// The events' files, the oldest first.
    fn files(&self) -> Vec<Arc<TableFile>> {
        let mut files = self.table(TableKind::Events).current().files.clone();
        files.sort_by_key(|file| file.offset_min);
        files
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
fn what_cannot_be_read_now_keeps_no_other_from_going() {
    let node = Node::new();
    let rules = [rule("web", "debug", 2), rule("shop", "*", 5)];
    let store = node.open(&rules, Some(4));
    let sent = node.fill(&store);
    let files = node.files();
    NOW.set(START + 12 * DAY);
    node.objects.fail_reads([&files[0].path]);
    let error = store.expire_blocking().unwrap_err();
    assert!(
        error.kind() == eye_store::Kind::Unavailable && error.to_string().contains(files[0].path.as_str()),
        "{error}"
    );
    let expected = left(&sent, &rules, 12);
    // The first half of the first day: its numbers are below 10.
    let stays = expected.iter().filter(|(day, _, _, number)| *day > 0 || *number >= 10).count();
    let table = node.table(TableKind::Events).current();
    assert_eq!(table.rows(), files[0].rows + stays as u64, "of every other file only what may stay is left");
    assert_eq!(table.removed_all().expired as usize, sent.len() - files[0].rows as usize - stays);
    let of_rejections = node.table(TableKind::Rejections).current();
    assert!(of_rejections.files.iter().all(|file| i64::from(file.received_date) >= START / DAY + 8), "they go too");
    node.objects.heal();
    store.expire_blocking().unwrap();
    assert_eq!(seen(&store.snapshot()), expected);
    assert_eq!(store.status().retention.last_error, None);
    store.abandon();
    node.is_sound();
}

#[test]
fn a_store_that_is_away_is_asked_for_a_few_files_only() {
    let node = Node::new();
    let rules = [rule("web", "debug", 2), rule("shop", "*", 5)];
    let store = node.open(&rules, None);
    let sent = node.fill(&store);
    NOW.set(START + 12 * DAY);
    node.objects.refused();
    node.objects.fail_reads(["events/"]);
    assert_eq!(store.expire_blocking().unwrap_err().kind(), eye_store::Kind::Unavailable);
    assert_eq!(node.objects.refused(), 3);
    assert_eq!(node.table(TableKind::Events).current().rows(), sent.len() as u64);
    // Now only some are: more than a run tries, and they come before all others.
    let files = node.files();
    node.objects.fail_reads(files[..4].iter().map(|file| &file.path));
    for _ in 0..2 {
        assert_eq!(store.expire_blocking().unwrap_err().kind(), eye_store::Kind::Unavailable);
        assert!(node.objects.refused() <= 3);
    }
    // Two files a day.
    let stays = left(&sent, &rules, 12).iter().filter(|(day, ..)| *day >= 2).count();
    let unread: u64 = files[..4].iter().map(|file| file.rows).sum();
    assert_eq!(node.table(TableKind::Events).current().rows(), unread + stays as u64, "no other is kept from going");
    node.objects.heal();
    store.expire_blocking().unwrap();
    assert_eq!(seen(&store.snapshot()), left(&sent, &rules, 12));
    store.abandon();
    node.is_sound();
}

/// What `*/*` or the last rule wants goes whatever a file holds, and what no rule wants yet stays.
#[test]
fn a_file_that_every_rule_wants_is_not_read() {
    let node = Node::new();
    let rules = [rule("web", "debug", 2), rule("*", "*", 5), rule("shop", "*", 9)];
    let store = node.open(&rules, None);
    let sent = node.fill(&store);
    node.objects.fail_reads(["events/"]);
    NOW.set(START + 40 * DAY);
    let done = store.expire_blocking().unwrap();
    assert_eq!((done.files_dropped, done.files_rewritten, done.events as usize), (20, 0, sent.len()));
    node.objects.heal();
    store.abandon();
    node.is_sound();
}

#[test]
fn a_clock_that_leaps_takes_nothing_out_until_it_is_confirmed() {
    let node = Node::new();
    let rules = [rule("*", "*", 400)];
    let open = || {
        node.open_with(&rules, Some(400), clock, |settings| {
            settings.flush_by_itself = true;
            settings.flush_age_max = Duration::from_secs(3600);
            settings.retention_period = Duration::from_millis(5);
        })
    };
    set_clock(10);
    let store = open();
    let sent = node.fill(&store);
    wait("it looks", || store.status().retention.runs > 0);
    // Ten years, as the process runs and over a restart.
    let mut store = store;
    for is_opened_again in [false, true] {
        set_clock(3653);
        if is_opened_again {
            store.abandon();
            store = open();
        }
        wait("runs fail", || store.status().retention.failures > 2);
        let error = store.status().retention.last_error.unwrap();
        assert!(error.contains("the clock says 2036-11-23") && error.contains("2026-12-02T12:00"), "{error}");
        assert_eq!(seen(&store.snapshot()), sent);
        assert_eq!(rejections(&store.snapshot()), 40);
        assert_eq!(store.status().removed.expired, 0);
        // It is right again: so is everything else.
        set_clock(10);
        wait("a run succeeds", || store.status().retention.last_error.is_none());
    }
    // Events arrive as the days go by: ten years have passed indeed.
    set_clock(3653);
    node.send(&store, 3653, "web", &[(7, "page")]);
    store.flush_blocking().unwrap();
    wait("a run fails", || store.status().retention.last_error.is_some());
    assert_eq!(store.status().removed.expired, 0);
    // The process that has seen the leap hears no rows for a day.
    set_clock(3656);
    let failures = store.status().retention.failures;
    wait("runs fail", || store.status().retention.failures > failures + 2);
    assert_eq!(store.status().removed.expired, 0);
    store.abandon();
    let store = open();
    wait("what is too old goes", || store.status().removed.expired == sent.len() as u64 + 40);
    wait("a run succeeds", || store.status().retention.last_error.is_none());
    assert_eq!(seen(&store.snapshot()), [(3653, "web", "page", 7)]);
    store.abandon();
    node.is_sound();
}

#[test]
fn of_very_many_categories_what_is_old_goes_and_nothing_of_them_is_shown() {
    const EVENTS: u64 = 40_000;
    let mut node = Node::new();
    node.row_group_rows = 8192;
    let store = node.open(&[rule("web", "*", 2)], None);
    for (day, kinds) in [(0, 3), (1, EVENTS)] {
        for first in (0..EVENTS).step_by(500) {
            let names: Vec<String> = (first..first + 500).map(|number| format!("kind-{}", number % kinds)).collect();
            let events: Vec<(u64, &str)> = (first..first + 500).zip(names.iter().map(String::as_str)).collect();
            node.send(&store, day, if first.is_multiple_of(1000) { "web" } else { "shop" }, &events);
        }
        store.flush_blocking().unwrap();
        NOW.set(START + (day + 3) * DAY);
        let done = store.expire_blocking().unwrap();
        assert_eq!((done.events, done.files_rewritten), (EVENTS / 2, 1));
    }
    // Every look at the figures would copy them.
    assert!(!format!("{:?}", store.status()).contains("kind-"));
    store.abandon();
    node.is_sound();
}

#[test]
fn who_reads_what_is_old_keeps_no_compaction_waiting_and_ends_with_the_store() {
    let node = Node::new();
    let store = node.open(&[rule("web", "*", 2)], None);
    for number in 0..80 {
        let events: Vec<(u64, &str)> = (0..20).map(|event| (number * 20 + event, "page")).collect();
        node.send(&store, 0, if number % 2 == 0 { "web" } else { "shop" }, &events);
    }
    store.flush_blocking().unwrap();
    // A hundred slices.
    node.objects.slow_down(Duration::from_millis(25));
    let before = node.objects.reads();
    std::thread::scope(|scope| {
        let expiring = scope.spawn(|| {
            NOW.set(START + 5 * DAY);
            store.expire_blocking()
        });
        wait("it reads", || node.objects.reads() > before + 1);
        store.compact_blocking(Duration::from_millis(200)).unwrap();
        store.abandon();
        let report = expiring.join().unwrap().unwrap();
        assert_eq!((report.events, report.is_complete), (0, false));
        assert!(node.objects.reads() < before + 100, "it reads no more than it has begun");
    });
    node.objects.heal();
    node.is_sound();
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
