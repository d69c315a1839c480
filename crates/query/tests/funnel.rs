//! Funnels against the plainest way to count them: every chain of every unit is tried. Then the edges.
#![allow(missing_docs, clippy::unwrap_used, reason = "tests")]

mod common;

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use common::{Event, Memory, any_events, any_filter, event};
use eye_event::Timestamp;
use eye_query::{
    By, Cancel, Error, FUNNEL_VALUES_MAX, Field, Filter, FunnelAnswer, FunnelOrder, FunnelQuery, FunnelSeriesOut,
    FunnelStepOut, Line, funnel,
};
use eye_store::Kind;
use proptest::prelude::*;

/// So many microseconds are one tick of the random events' clock: neither whole nor even milliseconds.
const TICK: i64 = 1_300;

fn line(text: &str) -> Line {
    text.parse().unwrap()
}

fn ask(memory: &Memory, query: &FunnelQuery) -> Result<FunnelAnswer, Error> {
    funnel(memory, query, &Cancel::new())
}

/// What the lines of [`any_query`] say, written down a second time.
fn is_step(line: &Line, event: &Event) -> bool {
    match line.to_string().as_str() {
        "" => true,
        "name:x" => event.name == "x",
        "name:y" => event.name == "y",
        "name:z" => event.name == "z",
        "category:p" => event.category == "p",
        "-application:a name:y" => event.application != "a" && event.name == "y",
        "has:user_id" => event.user_id.is_some(),
        "data.n<20" => event.offset < 20,
        other => panic!("no such line: {other}"),
    }
}

fn value(field: &Field, event: &Event) -> Option<String> {
    match field.to_string().as_str() {
        "application" => Some(event.application.clone()),
        "name" => Some(event.name.clone()),
        "user_id" => event.user_id.clone(),
        "data.n" => Some(event.offset.to_string()),
        "data.none" => None,
        other => panic!("no such field: {other}"),
    }
}

fn any_query() -> impl Strategy<Value = FunnelQuery> {
    const LINES: [&str; 9] =
        ["", "name:x", "name:x", "name:y", "name:z", "category:p", "-app:a name:y", "has:user_id", "data.n<20"];
    let steps = proptest::collection::vec(proptest::sample::select(&LINES[..]), 2..5);
    let field = proptest::sample::select(&["application", "name", "user_id", "data.n", "data.none"][..]);
    let window = proptest::option::of((0..12_i64).prop_map(|halves| halves * TICK / 2));
    let by = prop_oneof![3 => Just(By::Session), 2 => Just(By::User), 1 => Just(By::Anonymous)];
    let order = prop_oneof![Just(FunnelOrder::Ordered), Just(FunnelOrder::Strict)];
    let filter = prop_oneof![2 => Just(Filter::default()), 1 => any_filter()];
    (filter, steps, by, order, window, proptest::option::of(field), 1..5_usize, 0..4_usize).prop_map(
        |(mut filter, steps, by, order, window, field, top, samples)| {
            for bound in [&mut filter.from, &mut filter.to] {
                *bound = bound.map(|at| Timestamp::from_micros(at.micros() * TICK));
            }
            FunnelQuery {
                filter,
                steps: steps.into_iter().map(line).collect(),
                by,
                order,
                window: window.map(|micros| Duration::from_micros(micros.try_into().unwrap())),
                breakdown: field.map(|field| Field::parse(field).unwrap()),
                top,
                samples,
                ..FunnelQuery::default()
            }
        },
    )
}

/// Every chain of a unit's events, as places in it.
fn chains(query: &FunnelQuery, events: &[&Event], chain: &mut Vec<usize>, visit: &mut dyn FnMut(&[usize])) {
    visit(chain);
    let Some(step) = query.steps.get(chain.len()) else { return };
    for place in 0..events.len() {
        let follows = match (chain.last(), query.order) {
            (None, _) => true,
            (Some(last), FunnelOrder::Ordered) => *last < place,
            (Some(last), FunnelOrder::Strict) => *last + 1 == place,
        };
        let start = events[chain.first().copied().unwrap_or(place)].timestamp;
        let took = Duration::from_micros((events[place].timestamp - start).try_into().unwrap_or(u64::MAX));
        if follows && query.window.is_none_or(|window| took <= window) && is_step(step, events[place]) {
            chain.push(place);
            chains(query, events, chain, visit);
            chain.pop();
        }
    }
}

/// Of the deepest chains the one that ends first; of those the one whose step before is latest, and so on.
fn counted(query: &FunnelQuery, events: &[&Event]) -> Vec<usize> {
    let order = |chain: &[usize]| {
        let mut backwards: Vec<usize> = chain.iter().rev().copied().collect();
        if let Some(last) = backwards.first_mut() {
            *last = events.len() - *last;
        }
        (chain.len(), backwards)
    };
    let mut best = Vec::new();
    chains(query, events, &mut Vec::new(), &mut |chain| {
        if order(chain) > order(&best) {
            best = chain.to_vec();
        }
    });
    best
}

/// A unit that took the first step: its id, and the events of its counted chain.
type Taken<'a> = (&'a str, Vec<&'a Event>);

fn percentile(units: &[&Taken<'_>], step: usize, part: f64) -> Option<i64> {
    let chains = units.iter().map(|(_, chain)| chain).filter(|chain| step > 0 && chain.len() > step);
    let mut times: Vec<i64> = chains.map(|chain| chain[step].timestamp - chain[step - 1].timestamp).collect();
    times.sort_unstable();
    let enough = |time: &&i64| times.iter().filter(|other| other <= time).count() as f64 >= times.len() as f64 * part;
    times.iter().find(enough).map(|micros| micros / 1_000)
}

fn steps_of(query: &FunnelQuery, units: &[&Taken<'_>]) -> Vec<FunnelStepOut> {
    let count = |depth: usize| units.iter().filter(|(_, chain)| chain.len() >= depth).count() as u64;
    let share = |count: u64, base: u64| (base > 0).then(|| count as f64 / base as f64);
    let step = |(step, line): (usize, &Line)| {
        let is_last = step + 1 == query.steps.len();
        let mut dropped: Vec<&Taken<'_>> =
            units.iter().copied().filter(|(_, chain)| chain.len() == step + 1 && !is_last).collect();
        dropped.sort_by_key(|(_, chain)| Reverse(chain[step].key()));
        FunnelStepOut {
            line: line.to_string(),
            count: count(step + 1),
            of_first: share(count(step + 1), count(1)),
            of_previous: if step == 0 { None } else { share(count(step + 1), count(step)) },
            median_ms: percentile(units, step, 0.5),
            p90_ms: percentile(units, step, 0.9),
            dropped: dropped.len() as u64,
            dropped_samples: dropped.iter().take(query.samples).map(|(id, _)| (*id).to_owned()).collect(),
        }
    };
    query.steps.iter().enumerate().map(step).collect()
}

fn series_of(query: &FunnelQuery, units: &[Taken<'_>]) -> Vec<FunnelSeriesOut> {
    let Some(field) = &query.breakdown else { return Vec::new() };
    let mut by_value: BTreeMap<Option<String>, Vec<&Taken<'_>>> = BTreeMap::new();
    for unit in units {
        by_value.entry(value(field, unit.1[0])).or_default().push(unit);
    }
    let mut all: Vec<_> = by_value.into_iter().collect();
    // In the order of the values where as many took the first step.
    all.sort_by_key(|(_, units)| Reverse(units.len()));
    let rest: Vec<_> = all.split_off(query.top.min(all.len())).into_iter().flat_map(|(_, units)| units).collect();
    let own = |(value, units): (Option<String>, Vec<_>)| FunnelSeriesOut {
        value,
        rest: false,
        steps: steps_of(query, &units),
    };
    let mut series: Vec<_> = all.into_iter().map(own).collect();
    if !rest.is_empty() {
        series.push(FunnelSeriesOut { value: None, rest: true, steps: steps_of(query, &rest) });
    }
    series
}

fn expected(all: &[Event], query: &FunnelQuery, memory: &Memory) -> FunnelAnswer {
    let mut by_id: BTreeMap<&str, Vec<&Event>> = BTreeMap::new();
    for event in all.iter().filter(|event| event.is_chosen(&query.filter)) {
        let id = match query.by {
            By::Session => Some(event.session_id.as_str()),
            By::User => event.user_id.as_deref(),
            By::Anonymous => None,
        };
        if let Some(id) = id {
            by_id.entry(id).or_default().push(event);
        }
    }
    let mut units: Vec<Taken<'_>> = Vec::new();
    for (id, mut events) in by_id {
        events.sort_by_key(|event| event.key());
        let chain: Vec<&Event> = counted(query, &events).into_iter().map(|place| events[place]).collect();
        if !chain.is_empty() {
            units.push((id, chain));
        }
    }
    FunnelAnswer {
        from: query.filter.from,
        to: query.filter.to,
        total: steps_of(query, &units.iter().collect::<Vec<_>>()),
        series: series_of(query, &units),
        version: 7,
        offset: memory.position.to_string(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn funnels_are_what_trying_every_chain_finds(
        mut all in any_events(),
        query in any_query(),
        is_sorted in any::<bool>(),
        slice_rows in 1..70_usize,
    ) {
        for event in &mut all {
            event.timestamp *= TICK;
        }
        if is_sorted {
            // As the table has them.
            all.sort_by(|a, b| a.session_id.cmp(&b.session_id).then(b.key().cmp(&a.key())));
        }
        let memory = Memory::new(&all, slice_rows);
        let answer = ask(&memory, &query).unwrap();
        prop_assert_eq!(&answer, &expected(&all, &query, &memory));

        let whole = ask(&Memory::new(&all, 100), &query).unwrap();
        prop_assert_eq!(serde_json::to_string(&answer).unwrap(), serde_json::to_string(&whole).unwrap());
    }
}

/// One session's events with these names, one a second.
fn session(id: &str, names: &[&str]) -> Vec<Event> {
    let named = (1_u64..).zip(names).map(|(number, name)| Event {
        name: (*name).into(),
        ..event(id, i64::try_from(number).unwrap() * 1_000_000, number)
    });
    named.collect()
}

/// A funnel of these steps.
fn steps(lines: &[&str]) -> FunnelQuery {
    FunnelQuery { steps: lines.iter().copied().map(line).collect(), ..FunnelQuery::default() }
}

fn counts(memory: &Memory, query: &FunnelQuery) -> Vec<u64> {
    ask(memory, query).unwrap().total.iter().map(|step| step.count).collect()
}

#[test]
fn no_events_are_zeros_and_nulls() {
    let query = FunnelQuery { breakdown: Some(Field::Name), ..steps(&["name:a", "name:b"]) };
    let answer = ask(&Memory::new(&[], 1), &query).unwrap();
    let zero = |line: &str| FunnelStepOut {
        line: line.into(),
        count: 0,
        of_first: None,
        of_previous: None,
        median_ms: None,
        p90_ms: None,
        dropped: 0,
        dropped_samples: vec![],
    };
    assert_eq!((answer.total, answer.series), (vec![zero("name:a"), zero("name:b")], vec![]));
    let mut foreign = query;
    foreign.filter = Filter { allowed: Some(vec![]), ..Filter::default() };
    assert_eq!(counts(&Memory::new(&session("s", &["a", "b"]), 1), &foreign), [0, 0]);
}

#[test]
fn an_answer_is_this_json() {
    let mut all = session("s1", &["a", "b"]);
    all.extend(session("s2", &["a", "c"]).into_iter().map(|event| Event { offset: event.offset + 2, ..event }));
    let query = FunnelQuery { breakdown: Some(Field::Category), ..steps(&["name:a", "name:b"]) };
    let answer = ask(&Memory::new(&all, 3), &query).unwrap();
    let steps = r#"[{"line":"name:a","count":2,"of_first":1.0,"of_previous":null,"median_ms":null,"p90_ms":null,"dropped":1,"dropped_samples":["s2"]},{"line":"name:b","count":1,"of_first":0.5,"of_previous":0.5,"median_ms":1000,"p90_ms":1000,"dropped":0,"dropped_samples":[]}]"#;
    let json = format!(
        r#"{{"from":null,"to":null,"total":{steps},"series":[{{"value":"page","rest":false,"steps":{steps}}}],"version":7,"offset":"{}"}}"#,
        answer.offset
    );
    assert_eq!(serde_json::to_string(&answer).unwrap(), json);
}

#[test]
fn one_event_is_never_two_steps() {
    let query = steps(&["name:a", "name:a", "category:page"]);
    for (names, expected) in [
        (&["a"][..], [1, 0, 0]),
        (&["a", "a"], [1, 1, 0]),
        (&["a", "a", "a"], [1, 1, 1]),
        (&["a", "b", "a"], [1, 1, 0]),
    ] {
        assert_eq!(counts(&Memory::new(&session("s", names), 1), &query), expected, "{names:?}");
    }
}

#[test]
fn a_window_includes_its_end_and_begins_at_the_first_step() {
    let memory = Memory::new(&session("s", &["a", "b", "c"]), 2);
    let ask = |micros| {
        let window = Some(Duration::from_micros(micros));
        counts(&memory, &FunnelQuery { window, ..steps(&["name:a", "name:b", "name:c"]) })
    };
    assert_eq!(ask(2_000_000), [1, 1, 1]);
    assert_eq!(ask(1_999_999), [1, 1, 0]);
    assert_eq!(ask(1_000_000), [1, 1, 0]);
    assert_eq!(ask(999_999), [1, 0, 0]);
    let endless = FunnelQuery { window: Some(Duration::MAX), ..steps(&["name:a", "name:b", "name:c"]) };
    assert_eq!(counts(&memory, &endless), [1, 1, 1]);
}

#[test]
fn a_strict_funnel_minds_only_what_the_filter_chooses() {
    let mut all = session("s", &["a", "noise", "b"]);
    let strict = FunnelQuery { order: FunnelOrder::Strict, ..steps(&["name:a", "name:b"]) };
    assert_eq!(counts(&Memory::new(&all, 1), &strict), [1, 0]);
    assert_eq!(counts(&Memory::new(&all, 1), &steps(&["name:a", "name:b"])), [1, 1]);
    all[1].application = "other".into();
    let filter = Filter { application: Some("web".into()), ..Filter::default() };
    assert_eq!(counts(&Memory::new(&all, 1), &FunnelQuery { filter, ..strict }), [1, 1]);
}

#[track_caller]
fn assert_refused(query: &FunnelQuery, wrong: &str, says: &str) {
    let memory = Memory::new(&session("s", &["a"]), 1);
    match ask(&memory, query) {
        Err(Error::Invalid { field, message }) => {
            assert_eq!(field, wrong);
            assert!(message.contains(says), "{message}");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(memory.reads.load(Ordering::Relaxed), 0, "nothing is read for a question that is refused");
}

#[test]
fn what_is_out_of_range_is_refused_by_name() {
    let good = || steps(&["name:a", "name:b"]);
    assert_refused(&steps(&["name:a"]), "steps", "there are 1 steps: send from 2 to 12");
    assert_refused(&steps(&["name:a"; 13]), "steps", "there are 13 steps");
    assert_refused(&steps(&["name:a", "name:b since:24h"]), "steps", "step 2 has since or until");
    assert_refused(&steps(&["until:2026-01-01", "name:b"]), "steps", "step 1 has since or until");
    assert_refused(&FunnelQuery { top: 0, ..good() }, "top", "from 1 to 100");
    assert_refused(&FunnelQuery { top: 101, ..good() }, "top", "from 1 to 100");
    assert_refused(&FunnelQuery { samples: 21, ..good() }, "samples", "from 0 to 20");
    let widest = FunnelQuery { top: 100, samples: 20, ..steps(&["name:a"; 12]) };
    assert_eq!(counts(&Memory::new(&session("s", &["a"; 20]), 7), &widest), [1; 12]);
}

#[test]
fn more_matches_than_the_limit_are_refused_with_what_to_do() {
    let memory = Memory::new(&session("s", &["a", "noise", "b", "a", "b"]), 2);
    let ask =
        |matches_max, order| completed(&memory, &FunnelQuery { matches_max, order, ..steps(&["name:a", "name:b"]) });
    assert_eq!(ask(4, FunnelOrder::Ordered), Ok(1));
    assert!(ask(3, FunnelOrder::Ordered).unwrap_err().contains("more than 3 events match a step"));
    assert_eq!(ask(5, FunnelOrder::Strict), Ok(1));
    let error = ask(4, FunnelOrder::Strict).unwrap_err();
    assert!(error.contains("more than 4 events are chosen") && error.contains("narrow the time range"), "{error}");
}

/// How many took every step, or what is too much.
fn completed(memory: &Memory, query: &FunnelQuery) -> Result<u64, String> {
    match ask(memory, query) {
        Ok(answer) => Ok(answer.total.last().unwrap().count),
        Err(Error::TooMuch { message }) => Err(message),
        Err(other) => panic!("{other:?}"),
    }
}

#[test]
fn more_values_than_the_limit_are_refused_with_what_to_do() {
    let count = i64::try_from(FUNNEL_VALUES_MAX).unwrap() + 1;
    let all: Vec<Event> = (1..=count).map(|number| event("s", number, number.try_into().unwrap())).collect();
    let query = FunnelQuery { breakdown: Field::parse("event_id"), ..steps(&["name:view", "name:view"]) };
    assert_eq!(completed(&Memory::new(&all, 10_000), &query), Ok(1), "one value, however often");
    let query = FunnelQuery { breakdown: Field::parse("data.n"), ..query };
    // Each thread may have seen fewer than the limit: it is about all of them together.
    let error = completed(&Memory::new(&all, 10_000), &query).unwrap_err();
    assert!(error.contains("more than 100000 distinct values") && error.contains("narrow the time range"), "{error}");
}

#[test]
fn a_funnel_stops_when_it_is_cancelled() {
    let cancel = Arc::new(Cancel::new());
    let memory = Memory::new(&session("s", &["a", "b"]), 2);
    let memory = Memory { cancels: Some(Arc::clone(&cancel)), ..memory };
    // The only slice is read before the switch is on: what comes after it stops.
    assert!(matches!(funnel(&memory, &steps(&["name:a", "name:b"]), &cancel), Err(Error::Cancelled)));
    assert_eq!(memory.reads.load(Ordering::Relaxed), 1);
}

#[test]
fn damage_in_the_store_is_an_error_never_a_shorter_answer() {
    let query = steps(&["name:a", "name:b"]);
    let damaged = Memory { is_damaged: true, ..Memory::new(&session("s", &["a", "c"]), 2) };
    let error = ask(&damaged, &query).unwrap_err();
    assert!(matches!(&error, Error::Store(error) if error.kind() == Kind::Corrupt), "{error}");
    let forgetful = Memory { forgets_rows: true, is_damaged: false, ..damaged };
    let error = ask(&forgetful, &query).unwrap_err();
    assert!(matches!(&error, Error::Store(error) if error.kind() == Kind::Internal), "{error}");
}
