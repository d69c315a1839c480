//! The catalogue against a naive count of the same events.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on must say where")]

mod common;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use common::{Event, Memory, any_events, event};
use eye_event::Timestamp;
use eye_query::{
    CATALOGUE_FIELDS_MAX, Cancel, Catalogue, CatalogueQuery, FIELD_VALUES_MAX, Field, Filter, Line, VALUES_LIMIT_MAX,
    VALUES_ROWS_MAX, ValueOut, ValuesOut, ValuesQuery,
};
use proptest::prelude::*;

fn catalogue() -> Catalogue {
    Catalogue::new(1_000_000, 64 << 20)
}

fn asked(field: &str) -> ValuesQuery {
    ValuesQuery {
        filter: Filter::default(),
        field: Field::parse(field).unwrap(),
        prefix: String::new(),
        limit: VALUES_LIMIT_MAX,
    }
}

fn values(catalogue: &Catalogue, source: &Memory, query: &ValuesQuery) -> ValuesOut {
    catalogue.values(source, query, &Cancel::new()).unwrap()
}

fn whole(allowed: Option<Vec<String>>) -> CatalogueQuery {
    CatalogueQuery { allowed, application: None, prefix: String::new(), limit: 1_000 }
}

/// Values of events, counted one by one.
fn naive<'a>(events: impl Iterator<Item = &'a Event>, value: impl Fn(&Event) -> Option<String>) -> Vec<ValueOut> {
    let mut found: BTreeMap<String, ValueOut> = BTreeMap::new();
    for event in events {
        let Some(value) = value(event) else { continue };
        let at = Timestamp::from_micros(event.timestamp);
        let seen = found.entry(value.clone());
        let seen = seen.or_insert(ValueOut { value, events: 0, first_seen: at, last_seen: at });
        seen.events += 1;
        seen.first_seen = seen.first_seen.min(at);
        seen.last_seen = seen.last_seen.max(at);
    }
    let mut found: Vec<_> = found.into_values().collect();
    found.sort_by(|a, b| b.events.cmp(&a.events).then_with(|| a.value.cmp(&b.value)));
    found
}

proptest! {
    #[test]
    fn figures_are_those_of_a_naive_count(
        events in any_events(), slice_rows in 1_usize..9, application in "[abc]", warm in any::<bool>(),
    ) {
        let events: Vec<Event> =
            events.into_iter().map(|event| Event { data: format!("{{\"k\":{{\"n\":{}}}}}", event.offset % 3), ..event }).collect();
        let source = Memory::new(&events, slice_rows);
        let catalogue = catalogue();
        while warm && catalogue.advance(&source).unwrap() {}
        for only in [None, Some(application)] {
            let chosen = || events.iter().filter(|event| only.as_ref().is_none_or(|only| *only == event.application));
            let filter = Filter { application: only.clone(), ..Filter::default() };
            let ask = |field| values(&catalogue, &source, &ValuesQuery { filter: filter.clone(), ..asked(field) });
            for (field, value) in [
                ("category", (|event| Some(event.category.clone())) as fn(&Event) -> Option<String>),
                ("name", |event| Some(event.name.clone())),
                ("application", |event| Some(event.application.clone())),
                ("data.k.n", |event| Some((event.offset % 3).to_string())),
            ] {
                let found = ask(field);
                prop_assert_eq!(&found.values, &naive(chosen(), value), "{}", field);
                prop_assert!(found.from_catalogue && found.events_left == Some(0) && !found.more);
                prop_assert_eq!(found.events, chosen().count() as u64);
            }
            // Objects and ids are looked up, not kept.
            let objects = ask("data.k");
            prop_assert_eq!(objects.values, naive(chosen(), |event| Some(format!("{{\"n\":{}}}", event.offset % 3))));
            prop_assert_eq!(objects.from_catalogue, chosen().count() == 0);
            let users = ask("user_id");
            prop_assert_eq!(users.values, naive(chosen(), |event| event.user_id.clone()));
            prop_assert!(!users.from_catalogue);
        }
        let known = catalogue.catalogue(&source, &whole(None), &Cancel::new()).unwrap();
        prop_assert_eq!(known.events, events.len() as u64);
        prop_assert_eq!(known.applications.iter().map(|known| known.events).sum::<u64>(), events.len() as u64);
        for known in known.applications {
            let names = naive(events.iter().filter(|event| event.application == known.application), |event| {
                Some(format!("{} {}", event.category, event.name))
            });
            let found: Vec<_> = known.names.iter().map(|name| (format!("{} {}", name.category, name.name), name.events)).collect();
            prop_assert_eq!(found, names.into_iter().map(|name| (name.value, name.events)).collect::<Vec<_>>());
        }
    }
}

#[test]
fn nobody_sees_behind_the_wall() {
    let mut events: Vec<Event> = (1..20).map(|n| event("s", n, n.unsigned_abs())).collect();
    for event in &mut events[10..] {
        event.application = "secret".into();
        event.category = "hidden".into();
        event.data = "{\"hush\":\"hush\"}".into();
    }
    let (source, catalogue) = (Memory::new(&events, 4), catalogue());
    let allowed = Some(vec!["web".to_owned()]);
    let known = catalogue.catalogue(&source, &whole(allowed.clone()), &Cancel::new()).unwrap();
    let text = serde_json::to_string(&known.applications).unwrap();
    assert!(text.contains("\"web\"") && !text.contains("secret") && !text.contains("hush"), "{text}");
    assert_eq!((known.events, known.events_left), (10, Some(0)), "of 19");
    for field in ["application", "category", "data.hush", "user_id"] {
        let filter = Filter { allowed: allowed.clone(), ..Filter::default() };
        let found = values(&catalogue, &source, &ValuesQuery { filter, ..asked(field) });
        let text = serde_json::to_string(&found.values).unwrap();
        assert!(!text.contains("secret") && !text.contains("hidden") && !text.contains("hush"), "{text}");
        assert_eq!((found.events, found.events_left), (10, Some(0)), "{field}: of 19");
    }
    let filter = Filter { allowed, application: Some("secret".into()), ..Filter::default() };
    assert!(values(&catalogue, &source, &ValuesQuery { filter, ..asked("name") }).values.is_empty());
}

#[test]
fn totals_are_of_what_the_asker_may_see() {
    let mut events: Vec<Event> = (1..=20_000).map(|n| event("s", n, n.unsigned_abs())).collect();
    events.iter_mut().step_by(5).for_each(|event| event.application = "secret".into());
    let source = Memory::new(&events, 5_000);
    let allowed = |names: &[&str]| Some(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>());
    let totals = |catalogue: &Catalogue, allowed: Option<Vec<String>>| {
        let found = catalogue.catalogue(&source, &whole(allowed), &Cancel::new()).unwrap();
        (found.events, found.events_left)
    };
    // One question alone does not come to the last of four slices.
    assert_eq!(totals(&catalogue(), None), (15_000, Some(5_000)));
    assert_eq!(totals(&catalogue(), allowed(&["web"])), (12_000, None), "nobody knows whose the others are");
    assert_eq!(totals(&catalogue(), allowed(&[])), (0, None));
    let read = catalogue();
    while read.advance(&source).unwrap() {}
    assert_eq!(totals(&read, None), (20_000, Some(0)));
    assert_eq!(totals(&read, allowed(&["web"])), (16_000, Some(0)));
    assert_eq!(totals(&read, allowed(&["web", "secret"])), (20_000, Some(0)));
    assert_eq!(totals(&read, allowed(&[])), (0, Some(0)));

    // Values out of the catalogue, and out of the newest events.
    let ask = |catalogue: &Catalogue, field: &str| {
        let filter = Filter { allowed: allowed(&["web"]), ..Filter::default() };
        let found = values(catalogue, &source, &ValuesQuery { filter, ..asked(field) });
        (found.from_catalogue, found.events, found.events_left)
    };
    assert_eq!(ask(&read, "name"), (true, 16_000, Some(0)));
    assert_eq!(ask(&read, "user_id"), (false, 16_000, Some(0)));
    assert_eq!(ask(&catalogue(), "name"), (true, 12_000, None));
}

#[test]
fn a_summary_goes_with_what_it_is_made_of() {
    let events: Vec<Event> = (1..=12).map(|n| event("s", n, n.unsigned_abs())).collect();
    let (mut source, catalogue) = (Memory::new(&events, 4), catalogue());
    assert_eq!(values(&catalogue, &source, &asked("name")).values[0].events, 12);
    let reads = source.reads.load(Ordering::Relaxed);
    assert_eq!(values(&catalogue, &source, &asked("category")).values[0].events, 12);
    assert_eq!(source.reads.load(Ordering::Relaxed), reads, "the second question reads nothing");
    // An erasure writes a slice anew without what was erased.
    let without: Vec<Event> = source.slices[1].iter().filter(|event| event.offset != 6).cloned().collect();
    source.slices[1] = Arc::new(without);
    let found = values(&catalogue, &source, &asked("name"));
    assert_eq!((found.values[0].events, found.events), (11, 11));
}

#[test]
fn what_is_beyond_a_limit_is_counted() {
    let events: Vec<Event> = (1..=30).map(|n| event("s", n, n.unsigned_abs())).collect();
    let source = Memory::new(&events, 10);
    // Files older than the newest ten events are left out by the background; a question reads what is small itself.
    let few = Catalogue::new(10, 64 << 20);
    while few.advance(&source).unwrap() {}
    let full = Catalogue::new(1_000, 0);
    assert!(!full.advance(&source).unwrap(), "no room for any");
    assert_eq!(values(&full, &source, &asked("name")).events, 30);

    let many: Vec<Event> = (0..=FIELD_VALUES_MAX as u64 + 50)
        .flat_map(|n| (0..3).map(move |copy| (n, copy)))
        .map(|(n, copy)| Event { data: format!("{{\"v\":\"v{n:03}\"}}"), ..event("s", 1, n * 3 + copy + 1) })
        .collect();
    let source = Memory::new(&many, 100);
    let found = values(&catalogue(), &source, &asked("data.v"));
    assert!(!found.from_catalogue, "more values than are kept: the newest events tell");
    assert_eq!(found.values.len(), FIELD_VALUES_MAX + 51);
    assert!(found.values.iter().all(|value| value.events == 3));
    let short = ValuesQuery { prefix: "V01".into(), limit: 4, ..asked("data.v") };
    let found = values(&catalogue(), &source, &short);
    let texts: Vec<_> = found.values.iter().map(|value| value.value.as_str()).collect();
    assert_eq!((texts, found.more), (vec!["v010", "v011", "v012", "v013"], true));
}

#[test]
fn values_that_the_catalogue_cannot_have_are_those_of_the_newest_events() {
    let ask = |data: &[&str], field: &str| {
        let numbered = (1_u64..).zip(data);
        let events: Vec<Event> =
            numbered.map(|(n, data)| Event { data: (*data).to_owned(), ..event("s", 1, n) }).collect();
        let source = Memory::new(&events, 3);
        let found = values(&catalogue(), &source, &asked(field));
        let counted: Vec<(String, u64)> = found.values.into_iter().map(|value| (value.value, value.events)).collect();
        (counted, found.from_catalogue)
    };
    let counts = |counts: &[(&str, u64)]| -> Vec<(String, u64)> {
        counts.iter().map(|(value, events)| ((*value).to_owned(), *events)).collect()
    };
    // Inside arrays, and deeper than the catalogue goes.
    let objects = r#"{"items":{"0":{"sku":"c"}}}"#;
    let items = [r#"{"items":[{"sku":"a"},{"sku":"b"}]}"#, r#"{"items":[{"sku":"a"}]}"#, objects];
    assert_eq!(ask(&items, "data.items.0.sku"), (counts(&[("a", 2), ("c", 1)]), false));
    assert_eq!(ask(&items[2..], "data.items.0.sku"), (counts(&[("c", 1)]), true));
    assert_eq!(ask(&["[7,8]"], "data.0"), (counts(&[("7", 1)]), false));
    let deep = format!("{}1{}", "{\"k\":".repeat(9), "}".repeat(9));
    assert_eq!(ask(&[deep.as_str()], &format!("data{}", ".k".repeat(9))), (counts(&[("1", 1)]), false));
    // Arrays and objects.
    let mixed = [r#"{"v":[1]}"#, r#"{"v":{"x":1}}"#, r#"{"v":{}}"#, r#"{"v":"t"}"#];
    for (place, value) in ["[1]", "{\"x\":1}", "{}"].into_iter().enumerate() {
        assert_eq!(ask(&mixed[place..=place], "data.v"), (counts(&[(value, 1)]), false));
    }
    assert_eq!(ask(&mixed, "data.v").0.len(), 4);
    assert_eq!(ask(&mixed[3..], "data.v"), (counts(&[("t", 1)]), true));
    // A field that may have been left out, as others took its room.
    let others: Vec<String> = (0..CATALOGUE_FIELDS_MAX).map(|n| format!("\"f{n}\":{n}")).collect();
    let full = format!("{{{}}}", others.join(","));
    let late = [full.as_str(), full.as_str(), full.as_str(), r#"{"late":"x"}"#, r#"{"late":"x"}"#];
    assert_eq!(ask(&late, "data.late"), (counts(&[("x", 2)]), false));
    assert_eq!(ask(&late, "data.f0"), (counts(&[("0", 3)]), true));
    assert_eq!(ask(&late, "name"), (counts(&[("view", 5)]), true));
    assert_eq!(ask(&late[3..], "data.late"), (counts(&[("x", 2)]), true));
}

#[test]
fn a_query_line_chooses_among_the_newest_events() {
    let mut events: Vec<Event> = (1..=40).map(|n| event("s", n, n.unsigned_abs())).collect();
    events[35].name = "buy".into();
    let source = Memory::new(&events, 10);
    let line: Line = "name:buy".parse().unwrap();
    let filter = Filter { line: Some(Arc::new(line.at(Timestamp::from_micros(0)))), ..Filter::default() };
    let found = values(&catalogue(), &source, &ValuesQuery { filter, ..asked("data.n") });
    assert_eq!(found.values.iter().map(|value| value.value.as_str()).collect::<Vec<_>>(), ["36"]);
    assert!(!found.from_catalogue && found.events == 40 && found.events_left == Some(0));

    let slices = VALUES_ROWS_MAX / 1_000 + 2;
    let long: Vec<Event> = (0..slices as u64 * 1_000)
        .map(|n| Event { user_id: Some(format!("u{}", n / 1_000)), ..event("s", i64::try_from(n).unwrap(), n + 1) })
        .collect();
    let source = Memory::new(&long, 1_000);
    let found = values(&catalogue(), &source, &asked("user_id"));
    let left = found.events_left.unwrap();
    assert_eq!(found.events + left, long.len() as u64);
    assert!(found.events <= VALUES_ROWS_MAX as u64 && left > 0);
    let newest = format!("u{}", slices - 1);
    assert!(found.values.iter().any(|value| value.value == newest));
    assert!(!found.values.iter().any(|value| value.value == "u0"), "the oldest are not looked at");
}
