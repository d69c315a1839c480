//! Paths against the plainest way to follow them: lists of labels, and a tree of maps.
#![allow(missing_docs, clippy::unwrap_used, reason = "tests")]

mod common;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use common::{Event, Memory, any_events, any_filter, event};
use eye_event::Timestamp;
use eye_query::{
    Asked, By, Cancel, Error, Field, Filter, Line, PATHS_LABELS_MAX, PATHS_NODES_MAX, PathNodeOut, PathsOut,
    PathsQuery, paths,
};
use proptest::prelude::*;

type IsMet = fn(&Event) -> bool;
type Label = fn(&Event) -> Option<String>;
type Labels = Vec<Option<String>>;

/// Lines, and what they say written down a second time.
const LINES: [(&str, IsMet); 4] = [
    ("name:x", |event| event.name == "x"),
    ("-category:p (app:a OR app:b)", |event| event.category != "p" && event.application != "c"),
    ("data.k:1", |event| event.data.contains(":1")),
    ("", |_| true),
];

/// Fields of a step, and their values written down a second time.
const STEPS: [(&str, Label); 5] = [
    ("name", |event| Some(event.name.clone())),
    ("application", |event| Some(event.application.clone())),
    ("user_id", |event| event.user_id.clone()),
    ("data.k", |event| (event.offset % 4).checked_sub(2).map(|k| k.to_string())),
    ("context.k", |_| None),
];

fn line(text: &str) -> Option<Arc<Asked>> {
    Some(Arc::new(text.parse::<Line>().unwrap().at(Timestamp::from_micros(0))))
}

fn ask(all: &[Event], slice_rows: usize, query: &PathsQuery) -> Result<PathsOut, Error> {
    paths(&Memory::new(all, slice_rows), query, &Cancel::new())
}

/// Which events begin a path: none given, a start, or an end.
#[derive(Clone, Copy, Debug)]
enum Anchor {
    First,
    Start(usize),
    End(usize),
}

/// The path of a unit's sorted events.
fn path(own: &[&Event], query: &PathsQuery, anchor: Anchor, label: Label) -> Option<Labels> {
    let mut way: Vec<&Event> = own.to_vec();
    if let Anchor::End(_) = anchor {
        way.reverse();
    }
    let is_anchor = match anchor {
        Anchor::First => |_: &Event| true,
        Anchor::Start(line) | Anchor::End(line) => LINES[line].1,
    };
    let begin = way.iter().position(|event| is_anchor(event))?;
    let mut labels: Labels = way[begin..].iter().map(|event| label(event)).collect();
    if query.merge_repeats {
        labels.dedup();
    }
    labels.truncate(query.depth);
    Some(labels)
}

/// The level below the steps that all these paths have in common: its children, and what is not shown.
fn level(paths: &[Labels], at: usize, query: &PathsQuery) -> (Vec<PathNodeOut>, u64) {
    let mut by_label: BTreeMap<&Option<String>, Vec<Labels>> = BTreeMap::new();
    for path in paths.iter().filter(|path| path.len() > at) {
        by_label.entry(&path[at]).or_default().push(path.clone());
    }
    let mut nodes: Vec<PathNodeOut> = by_label
        .into_iter()
        .map(|(label, paths)| {
            let (children, rest) = level(&paths, at + 1, query);
            let ended = paths.iter().filter(|path| path.len() == at + 1 && at + 1 < query.depth).count() as u64;
            PathNodeOut { label: label.clone(), units: paths.len() as u64, ended, children, rest }
        })
        .collect();
    // The sort is stable: equal ones stay in the order of their labels.
    nodes.sort_by_key(|node| std::cmp::Reverse(node.units));
    let hidden = nodes.split_off(query.top.min(nodes.len()));
    (nodes, hidden.iter().map(|node| node.units).sum())
}

fn expected(all: &[Event], query: &PathsQuery, anchor: Anchor, label: Label) -> PathsOut {
    let mut units: BTreeMap<&str, Vec<&Event>> = BTreeMap::new();
    for event in all.iter().filter(|event| event.is_chosen(&query.filter)) {
        let id = match query.by {
            By::Session => Some(event.session_id.as_str()),
            By::User => event.user_id.as_deref(),
            By::Anonymous => None,
        };
        if let Some(id) = id {
            units.entry(id).or_default().push(event);
        }
    }
    let paths: Vec<Labels> = units
        .into_values()
        .filter_map(|mut own| {
            own.sort_by_key(|event| event.key());
            path(&own, query, anchor, label)
        })
        .collect();
    let (children, rest) = level(&paths, 0, query);
    PathsOut {
        units: paths.len() as u64,
        children,
        rest,
        from: query.filter.from,
        to: query.filter.to,
        version: 7,
        offset: all.iter().map(|event| event.offset).max().unwrap_or_default().to_string(),
    }
}

/// Events whose payload has a number, a text, null or nothing under `k`, and of more sessions if wanted.
fn any_steps() -> impl Strategy<Value = Vec<Event>> {
    (any_events(), 1_u64..8).prop_map(|(mut events, many)| {
        for event in &mut events {
            event.data = ["{}", "{\"k\":null}", "{\"k\":\"0\"}", "{\"k\":1}"][(event.offset % 4) as usize].into();
            event.session_id = format!("{}{}", event.session_id, event.offset / 3 % many);
        }
        events
    })
}

fn any_anchor() -> impl Strategy<Value = Anchor> {
    let lines = || 0..LINES.len();
    prop_oneof![Just(Anchor::First), lines().prop_map(Anchor::Start), lines().prop_map(Anchor::End)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn the_tree_is_that_of_the_paths_that_are_followed_by_hand(
        all in any_steps(),
        filter in any_filter(),
        is_filtered in prop::bool::weighted(0.3),
        by in prop_oneof![4 => Just(By::Session), 4 => Just(By::User), 1 => Just(By::Anonymous)],
        anchor in any_anchor(),
        step in 0..STEPS.len(),
        (depth, top, merge_repeats) in (1_usize..=10, 1_usize..4, any::<bool>()),
        slice_rows in 1_usize..20,
    ) {
        let (start, end) = match anchor {
            Anchor::First => (None, None),
            Anchor::Start(number) => (line(LINES[number].0), None),
            Anchor::End(number) => (None, line(LINES[number].0)),
        };
        let query = PathsQuery {
            filter: if is_filtered { filter } else { Filter::default() },
            by,
            start,
            end,
            step: Field::parse(STEPS[step].0).unwrap(),
            depth,
            top,
            merge_repeats,
            ..PathsQuery::default()
        };
        prop_assert_eq!(ask(&all, slice_rows, &query).unwrap(), expected(&all, &query, anchor, STEPS[step].1));
    }
}

/// Sessions with an event for each letter, in this order.
fn walks(ways: &[&str]) -> Vec<Event> {
    let letters = (0..).zip(ways).flat_map(|(unit, way)| (0..).zip(way.chars()).map(move |step| (unit, step)));
    let events = (1..).zip(letters).map(|(offset, (unit, (time, letter)))| Event {
        name: letter.to_string(),
        ..event(&format!("s{unit}"), time, offset)
    });
    events.collect()
}

/// A tree on one line: `label units/ended(children)+rest`.
fn draw(nodes: &[PathNodeOut], rest: u64) -> String {
    let node = |node: &PathNodeOut| {
        let below = draw(&node.children, node.rest);
        let label = node.label.as_deref().unwrap_or("null");
        format!("{label} {}/{}{}", node.units, node.ended, if below.is_empty() { below } else { format!("({below})") })
    };
    let rest = (rest > 0).then(|| format!("+{rest}"));
    nodes.iter().map(node).chain(rest).collect::<Vec<_>>().join(" ")
}

fn drawn(ways: &[&str], query: &PathsQuery) -> String {
    let out = ask(&walks(ways), 3, query).unwrap();
    format!("{}: {}", out.units, draw(&out.children, out.rest))
}

#[test]
fn paths_go_on_from_a_start_and_back_from_an_end() {
    let ways = ["vabx", "vaab", "ava", "vb", "xx"];
    let query = PathsQuery { depth: 3, ..PathsQuery::default() };
    let from_v = PathsQuery { start: line("name:v"), ..query.clone() };
    assert_eq!(drawn(&ways, &from_v), "4: v 4/0(a 3/1(b 2/0) b 1/1)");
    assert_eq!(drawn(&ways, &query), "5: v 3/0(a 2/0(b 2/0) b 1/1) a 1/0(v 1/0(a 1/0)) x 1/1");
    let each = PathsQuery { merge_repeats: false, ..from_v };
    assert_eq!(drawn(&ways, &each), "4: v 4/0(a 3/1(a 1/0 b 1/0) b 1/1)");
    let to_a = PathsQuery { end: line("name:a"), ..query.clone() };
    assert_eq!(drawn(&ways, &to_a), "3: a 3/0(v 3/2(a 1/0))");
    let shown = PathsQuery { top: 1, depth: 2, ..query };
    assert_eq!(drawn(&ways, &shown), "5: v 3/0(a 2/0 +1) +2");
    assert_eq!(drawn(&[], &shown), "0: ");
}

#[test]
fn an_anchor_that_repeats_is_one_step_and_the_first_or_last_counts() {
    let start = PathsQuery { start: line("name:v"), ..PathsQuery::default() };
    assert_eq!(drawn(&["xvvav"], &start), "1: v 1/0(a 1/0(v 1/1))");
    let end = PathsQuery { end: line("name:v"), ..PathsQuery::default() };
    assert_eq!(drawn(&["vavvx"], &end), "1: v 1/0(a 1/0(v 1/1))");
}

#[test]
fn the_answer_is_json_with_null_for_what_is_not_there() {
    let query = PathsQuery { step: Field::UserId, depth: 1, ..PathsQuery::default() };
    let json = serde_json::to_string(&ask(&walks(&["v"]), 1, &query).unwrap()).unwrap();
    let expected = r#"{"units":1,"children":[{"label":null,"units":1,"ended":0,"children":[],"rest":0}],"rest":0,"from":null,"to":null,"version":7,"offset":"1"}"#;
    assert_eq!(json, expected);
}

#[test]
fn what_cannot_be_followed_is_refused_by_name() {
    let query = PathsQuery { start: line("name:v"), ..PathsQuery::default() };
    let end = PathsQuery { start: None, end: line("name:v since:1h"), ..query.clone() };
    for (query, wrong) in [
        (PathsQuery { end: line("name:x"), ..query.clone() }, "end"),
        (end, "end"),
        (PathsQuery { start: line("until:1h"), ..query.clone() }, "start"),
        (PathsQuery { depth: 0, ..query.clone() }, "depth"),
        (PathsQuery { depth: 11, ..query.clone() }, "depth"),
        (PathsQuery { top: 0, ..query.clone() }, "top"),
        (PathsQuery { top: 21, ..query }, "top"),
    ] {
        let memory = Memory::new(&walks(&["vax"]), 2);
        match paths(&memory, &query, &Cancel::new()) {
            Err(Error::Invalid { field, message }) => assert_eq!(field, wrong, "{message}"),
            other => panic!("{wrong} was taken: {other:?}"),
        }
        assert_eq!(memory.reads.load(Ordering::Relaxed), 0, "nothing is read for a question that is refused");
    }
}

#[track_caller]
fn assert_too_much(answer: Result<PathsOut, Error>, advice: &str) {
    match answer {
        Err(Error::TooMuch { message }) => assert!(message.contains(advice), "{message}"),
        other => panic!("{advice}: another answer: {:?}", other.map(|out| out.units)),
    }
}

#[test]
fn more_events_than_the_limit_are_refused_with_what_to_do() {
    let all = walks(&["abc", "def", "ghi"]);
    let query = |events_max| PathsQuery { events_max, ..PathsQuery::default() };
    assert_eq!(ask(&all, 2, &query(9)).unwrap().units, 3);
    assert_too_much(ask(&all, 2, &query(8)), "narrow the time range");
}

#[test]
fn more_labels_than_the_limit_are_refused_with_what_to_do() {
    let mut all: Vec<Event> = (0..=PATHS_LABELS_MAX as u64).map(|offset| event("s", 0, offset)).collect();
    for event in &mut all {
        event.name = event.offset.to_string();
    }
    let query = PathsQuery::default();
    assert_eq!(ask(&all[1..], 10_000, &query).unwrap().units, 1);
    assert_too_much(ask(&all, 10_000, &query), "choose another step");
}

#[test]
fn more_nodes_than_the_limit_are_refused_with_what_to_do() {
    // All ways of four steps out of twelve letters.
    let letters: Vec<char> = ('a'..='l').collect();
    let letter = |number: usize, place: u32| letters[number / 12_usize.pow(place) % 12];
    let ways: Vec<String> = (0..12_usize.pow(4)).map(|number| (0..4).map(|at| letter(number, at)).collect()).collect();
    let ways: Vec<&str> = ways.iter().map(String::as_str).collect();
    let all = walks(&ways);
    let query = PathsQuery { merge_repeats: false, top: 12, ..PathsQuery::default() };
    assert!(12 + 12 * 12 + 12_usize.pow(3) + 12_usize.pow(4) > PATHS_NODES_MAX);
    assert_too_much(ask(&all, 10_000, &query), "smaller depth or top");
    assert_eq!(ask(&all, 10_000, &PathsQuery { top: 11, ..query }).unwrap().rest, 12_u64.pow(3));
}

#[test]
fn a_question_stops_once_cancelled_and_damage_is_an_error() {
    let (all, query) = (walks(&["abc", "def"]), PathsQuery::default());
    let cancel = Arc::new(Cancel::new());
    let memory = Memory { cancels: Some(Arc::clone(&cancel)), ..Memory::new(&all, 1) };
    assert!(matches!(paths(&memory, &query, &cancel), Err(Error::Cancelled)));
    let damaged = Memory { is_damaged: true, ..Memory::new(&all, 1) };
    assert!(matches!(paths(&damaged, &query, &Cancel::new()), Err(Error::Store(_))));
}
