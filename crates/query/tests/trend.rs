//! Trends against the plainest way to count them.
#![allow(missing_docs, clippy::unwrap_used, reason = "tests")]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use common::{Event, Memory, any_events, event};
use eye_event::Timestamp;
use eye_query::{
    Cancel, Error, Field, Figure, Filter, Interval, Line, Measure, Period, SeriesOut, TrendQuery, WeekStart, trend,
};
use proptest::prelude::*;

const HOUR: i64 = 3_600_000_000;
const DAY: i64 = 24 * HOUR;
/// Berlin's clocks go forward on 29 March 2026.
const BASE: &str = "2026-03-27T00:00:00Z";

fn base() -> i64 {
    Timestamp::parse(BASE).unwrap().micros()
}

/// The small times of the events, spread over days around a change of the clocks.
fn spread(events: Vec<Event>) -> Vec<Event> {
    let at = |event: &Event| base() + (event.timestamp + 4) * 9 * HOUR;
    events.into_iter().map(|event| Event { timestamp: at(&event), ..event }).collect()
}

fn query(measure: &str, breakdown: &[&str]) -> TrendQuery {
    let at = |micros| Timestamp::from_micros(base() + micros);
    TrendQuery {
        measure: measure.parse().unwrap(),
        breakdown: breakdown.iter().map(|field| Field::parse(field).unwrap()).collect(),
        time_zone: "Europe/Berlin".into(),
        ..TrendQuery::new(Filter::default(), at(0), at(4 * DAY))
    }
}

/// The value of a field, written down a second time.
fn value(event: &Event, field: &str) -> Option<String> {
    match field {
        "category" => Some(event.category.clone()),
        "name" => Some(event.name.clone()),
        "session_id" => Some(event.session_id.clone()),
        "user_id" => event.user_id.clone(),
        data => {
            let json: serde_json::Value = serde_json::from_str(&event.data).unwrap();
            match json.get(data.strip_prefix("data.").unwrap())? {
                serde_json::Value::Null => None,
                serde_json::Value::String(text) => Some(text.clone()),
                other => Some(other.to_string()),
            }
        }
    }
}

/// A measure of events, by hand; and how many of them had no value.
fn measured(measure: &Measure, events: &[&Event]) -> (Figure, u64) {
    let text = measure.to_string();
    let field = text.split_once('(').map(|(_, rest)| rest.trim_end_matches(')').to_owned());
    let unit = match text.as_str() {
        "events" => return (Figure::Count(events.len() as u64), 0),
        "sessions" => Some("session_id".to_owned()),
        "users" => Some("user_id".to_owned()),
        _ if text.starts_with("distinct") => field.clone(),
        _ => None,
    };
    if let Some(field) = unit {
        let values: Vec<_> = events.iter().filter_map(|event| value(event, &field)).collect();
        let without = (events.len() - values.len()) as u64;
        return (Figure::Count(values.into_iter().collect::<BTreeSet<_>>().len() as u64), without);
    }
    let field = field.unwrap();
    let json = |event: &&&Event| -> serde_json::Value { serde_json::from_str(&event.data).unwrap() };
    let mut numbers: Vec<f64> =
        events.iter().filter_map(|event| json(&event)[field.strip_prefix("data.").unwrap()].as_f64()).collect();
    numbers.sort_by(f64::total_cmp);
    let without = (events.len() - numbers.len()) as u64;
    // Halves and wholes: every sum is exact.
    let sum = numbers.iter().sum::<f64>() + 0.0;
    let nearest = |percent: usize| numbers.get((numbers.len() * percent).div_ceil(100).max(1) - 1).copied();
    let found = match text.split('(').next().unwrap() {
        "sum" => Some(sum),
        "avg" => (!numbers.is_empty()).then(|| sum / numbers.len() as f64),
        "min" => numbers.first().copied(),
        "max" => numbers.last().copied(),
        percentile => nearest(percentile[1..].parse().unwrap()),
    };
    (found.map_or(Figure::Nothing(()), Figure::Real), without)
}

fn rank(figure: Figure) -> f64 {
    match figure {
        Figure::Count(count) => count as f64,
        Figure::Real(number) => number,
        Figure::Nothing(()) => f64::NEG_INFINITY,
    }
}

/// A period by hand: of these series, or of the largest.
fn expected(all: &[Event], query: &TrendQuery, times: &[Timestamp], only: Option<&[Vec<Option<String>>]>) -> Period {
    let range = query.from.micros()..query.to.micros();
    let in_range: Vec<&Event> =
        all.iter().filter(|event| range.contains(&event.timestamp) && event.is_chosen(&query.filter)).collect();
    let fields: Vec<String> = query.breakdown.iter().map(ToString::to_string).collect();
    let mut groups: BTreeMap<Vec<Option<String>>, Vec<&Event>> = BTreeMap::new();
    for event in &in_range {
        groups.entry(fields.iter().map(|field| value(event, field)).collect()).or_default().push(event);
    }
    let show = |breakdown: Vec<Option<String>>, rest: bool, events: &[&Event]| {
        let end = |index: usize| times.get(index + 1).map_or(i64::MAX, |next| next.micros());
        let inside = |index: usize, event: &Event| (times[index].micros()..end(index)).contains(&event.timestamp);
        let values = (0..times.len()).map(|index| {
            let part: Vec<&Event> = events.iter().copied().filter(|event| inside(index, event)).collect();
            measured(&query.measure, &part).0
        });
        SeriesOut { breakdown, rest, total: measured(&query.measure, events).0, values: values.collect() }
    };
    let mut sorted: Vec<_> = groups.iter().map(|(key, events)| (key.clone(), events.clone())).collect();
    sorted.sort_by(|one, other| {
        let total = |events: &[&Event]| rank(measured(&query.measure, events).0);
        total(&other.1).total_cmp(&total(&one.1)).then_with(|| one.0.cmp(&other.0))
    });
    let shown: Vec<Vec<Option<String>>> = match only {
        Some(only) => only.to_vec(),
        None => sorted.iter().take(query.top).map(|(key, _)| key.clone()).collect(),
    };
    let mut series: Vec<SeriesOut> = if fields.is_empty() {
        vec![show(vec![], false, &in_range)]
    } else {
        let of = |key: &Vec<Option<String>>| groups.get(key).cloned().unwrap_or_default();
        shown.iter().map(|key| show(key.clone(), false, &of(key))).collect()
    };
    let others: Vec<&Event> =
        sorted.iter().filter(|(key, _)| !shown.contains(key)).flat_map(|(_, events)| events.clone()).collect();
    if !fields.is_empty() && !others.is_empty() {
        series.push(show(vec![None; fields.len()], true, &others));
    }
    let without_value = measured(&query.measure, &in_range).1;
    Period { from: query.from, to: query.to, times: times.to_vec(), series, without_value }
}

fn any_data() -> impl Strategy<Value = String> {
    let number = (-4_i32..5).prop_map(|halves| format!("{}", f64::from(halves) / 2.0));
    prop_oneof![
        3 => number.prop_map(|number| format!("{{\"v\":{number}}}")),
        1 => Just("{\"v\":\"text\"}".to_owned()),
        1 => Just("{\"v\":null}".to_owned()),
        1 => Just("{}".to_owned()),
        1 => Just("{\"v\":true}".to_owned()),
    ]
}

fn any_spread_events() -> impl Strategy<Value = Vec<Event>> {
    (any_events(), proptest::collection::vec(any_data(), 60)).prop_map(|(events, data)| {
        spread(events).into_iter().zip(data).map(|(event, data)| Event { data, ..event }).collect()
    })
}

const MEASURES: [&str; 10] = [
    "events",
    "sessions",
    "users",
    "distinct(data.v)",
    "sum(data.v)",
    "avg(data.v)",
    "min(data.v)",
    "max(data.v)",
    "p50(data.v)",
    "p90(data.v)",
];
const BREAKDOWNS: [&[&str]; 6] = [&[], &["category"], &["name"], &["user_id"], &["data.v"], &["name", "data.v"]];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn trends_are_what_one_counts_by_hand(
        all in any_spread_events(),
        slice_rows in 1..20_usize,
        measure in proptest::sample::select(&MEASURES[..]),
        breakdown in proptest::sample::select(&BREAKDOWNS[..]),
        interval in proptest::sample::select(&Interval::ALL[1..]),
        top in 1..4_usize,
        compare in any::<bool>(),
        shift in 0..3_i64,
    ) {
        let memory = Memory::new(&all, slice_rows);
        let begin = Timestamp::from_micros(base() + shift * DAY);
        let asked = TrendQuery { interval, top, compare, from: begin, ..query(measure, breakdown) };
        let found = trend(&memory, &asked, &Cancel::new()).unwrap();
        prop_assert_eq!(&found.period, &expected(&all, &asked, &found.period.times, None));
        prop_assert_eq!(found.previous.is_some(), compare);
        if let Some(previous) = &found.previous {
            let length = asked.to.micros() - asked.from.micros();
            let before = TrendQuery {
                from: Timestamp::from_micros(asked.from.micros() - length), to: asked.from, ..asked.clone()
            };
            let shown: Vec<_> =
                found.period.series.iter().filter(|one| !one.rest).map(|one| one.breakdown.clone()).collect();
            prop_assert_eq!(previous, &expected(&all, &before, &previous.times, Some(&shown)));
        }
        let again = trend(&Memory::new(&all, 60), &asked, &Cancel::new()).unwrap();
        let json = |trend: &eye_query::Trend| serde_json::to_string(trend).unwrap();
        prop_assert_eq!(json(&found), json(&again), "the answer depends on the slices");
    }
}

#[test]
fn days_are_those_of_the_zone() {
    // Berlin is an hour ahead of UTC until the 29th at 01:00, then two.
    let at = |text: &str| Timestamp::parse(text).unwrap().micros();
    let times = ["2026-03-28T22:59:59Z", "2026-03-28T23:00:00Z", "2026-03-29T21:59:59Z", "2026-03-29T22:00:00Z"];
    let all: Vec<Event> = (1..).zip(times).map(|(offset, time)| event("s", at(time), offset)).collect();
    let found = trend(&Memory::new(&all, 2), &query("events", &[]), &Cancel::new()).unwrap();
    let counts: Vec<Figure> = found.period.series[0].values.clone();
    assert_eq!(counts, [0, 1, 2, 1, 0].map(Figure::Count));
    assert_eq!(found.period.times[2].to_string(), "2026-03-28T23:00:00.000000Z");
    let asked = TrendQuery { interval: Interval::Week, week_start: WeekStart::Sunday, ..query("events", &[]) };
    let weeks = trend(&Memory::new(&all, 2), &asked, &Cancel::new()).unwrap();
    assert_eq!(weeks.period.series[0].values, [1, 3].map(Figure::Count));
}

#[test]
fn the_query_line_chooses_the_events() {
    let mut all: Vec<Event> = (1..=6).map(|offset| event("s", base() + offset as i64 * HOUR, offset)).collect();
    all[0].name = "buy".into();
    all[1].data = "{\"plan\":\"pro\",\"bot\":true}".into();
    all[2].data = "{\"plan\":\"pro\"}".into();
    let count = |text: &str| {
        let line: Line = text.parse().unwrap();
        let filter = Filter { line: Some(Arc::new(line.at(Timestamp::from_micros(0)))), ..Filter::default() };
        let asked = TrendQuery { filter, ..query("events", &[]) };
        trend(&Memory::new(&all, 4), &asked, &Cancel::new()).unwrap().period.series[0].total
    };
    assert_eq!(count(""), Figure::Count(6));
    assert_eq!(count("data.plan=pro -data.bot=true"), Figure::Count(1));
    assert_eq!(count("name:buy OR data.plan=pro"), Figure::Count(3));
    assert_eq!(count("name!=buy data.n>4"), Figure::Count(2));
    assert_eq!(count("has:user_id"), Figure::Count(0));
}

#[test]
fn one_slice_with_more_cells_than_the_limit_is_refused() {
    const MINUTE: i64 = 60_000_000;
    let one = |offset: u64| Event {
        user_id: Some(format!("u{offset}")),
        ..event("s", base() + offset as i64 * MINUTE, offset)
    };
    let memory = Memory::new(&(1..=2_000).map(one).collect::<Vec<_>>(), 2_000);
    for breakdown in ["user_id", "data.n"] {
        let to = Timestamp::from_micros(base() + 10_000 * MINUTE);
        let asked = TrendQuery { to, interval: Interval::Minute, ..query("events", &[breakdown]) };
        let error = trend(&memory, &asked, &Cancel::new()).unwrap_err();
        assert!(matches!(&error, Error::TooMuch { message } if message.contains("longer intervals")), "{error}");
    }
}

#[test]
fn wrong_questions_are_refused_by_name() {
    let memory = Memory::new(&[event("s", base(), 1)], 2);
    let refuse = |asked: TrendQuery, wrong: &str| match trend(&memory, &asked, &Cancel::new()) {
        Err(Error::Invalid { field, .. }) => assert_eq!(field, wrong),
        other => panic!("{wrong}: {other:?}"),
    };
    refuse(TrendQuery { top: 0, ..query("events", &[]) }, "top");
    refuse(query("events", &["name", "category", "user_id"]), "breakdown");
    refuse(TrendQuery { time_zone: "Mars".into(), ..query("events", &[]) }, "time_zone");
    refuse(TrendQuery { to: Timestamp::from_micros(base()), ..query("events", &[]) }, "from");
    refuse(
        TrendQuery { from: Timestamp::from_micros(0), interval: Interval::Minute, ..query("events", &[]) },
        "interval",
    );
    let cancel = Cancel::new();
    cancel.cancel();
    assert!(matches!(trend(&memory, &query("events", &[]), &cancel), Err(Error::Cancelled)));
}
