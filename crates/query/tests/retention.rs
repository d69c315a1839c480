//! Retention against the plainest way to count it: sets of civil dates.
#![allow(missing_docs, clippy::unwrap_used, reason = "tests")]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use common::{Event, Memory, any_events, any_filter, event};
use eye_event::Timestamp;
use eye_query::{
    Asked, By, Cancel, CellOut, CellUnitOut, CohortOut, Error, Filter, Interval, Line, RETENTION_PERIODS_MAX,
    RETENTION_SESSIONS, RetentionMode, RetentionOut, RetentionQuery, WeekStart, retention,
};
use jiff::ToSpan;
use jiff::civil::{Date, Weekday};
use jiff::tz::TimeZone;
use proptest::prelude::*;

type IsMet = fn(&Event) -> bool;

/// Lines, and what they say written down a second time.
const LINES: [(&str, IsMet); 5] = [
    ("", |_| true),
    ("name:x", |event| event.name == "x"),
    ("-category:p app:a", |event| event.category != "p" && event.application == "a"),
    ("has:user", |event| event.user_id.is_some()),
    ("name:x OR data.n<20", |event| event.name == "x" || event.offset < 20),
];

fn at(text: &str) -> Timestamp {
    Timestamp::parse_bound(text).unwrap()
}

fn line(text: &str) -> Option<Arc<Asked>> {
    Some(Arc::new(text.parse::<Line>().unwrap().at(at("2026-11-25"))))
}

fn ask(all: &[Event], slice_rows: usize, query: &RetentionQuery) -> Result<RetentionOut, Error> {
    retention(&Memory::new(all, slice_rows), query, &Cancel::new())
}

fn id(event: &Event, by: By) -> Option<&str> {
    match by {
        By::Session => Some(&event.session_id),
        By::User => event.user_id.as_deref(),
        By::Anonymous => None,
    }
}

/// The first date of the period of a date.
fn first_date(date: Date, query: &RetentionQuery) -> Date {
    let first = match query.week_start {
        WeekStart::Monday => Weekday::Monday,
        WeekStart::Sunday => Weekday::Sunday,
        WeekStart::Saturday => Weekday::Saturday,
    };
    match query.interval {
        Interval::Week => (0..7).map(|back| date - back.days()).find(|date| date.weekday() == first).unwrap(),
        Interval::Month => date.first_of_month(),
        _ => date,
    }
}

/// Retention as somebody would count it by hand, with the dates on a calendar.
fn expected(all: &[Event], query: &RetentionQuery, start: IsMet, back: IsMet) -> RetentionOut {
    let zone = TimeZone::get(&query.time_zone).unwrap();
    let date = |micros| jiff::Timestamp::from_microsecond(micros).unwrap().to_zoned(zone.clone()).date();
    let period = |micros| first_date(date(micros), query);
    let mut dates: Vec<Date> = vec![period(query.from.micros())];
    let mut day = date(query.from.micros());
    while day < date(query.to.micros() - 1) {
        day += 1.day();
        if first_date(day, query) != dates[dates.len() - 1] {
            dates.push(first_date(day, query));
        }
    }
    let range = query.from.micros()..query.to.micros();
    let counts = |event: &&Event| event.is_chosen(&query.filter) && range.contains(&event.timestamp);
    let (mut starts, mut returns) = (BTreeMap::<&str, BTreeSet<usize>>::new(), BTreeSet::new());
    for event in all.iter().filter(counts) {
        let Some(id) = id(event, query.by) else { continue };
        let place = dates.iter().position(|date| *date == period(event.timestamp)).unwrap();
        if start(event) {
            starts.entry(id).or_default().insert(place);
        }
        if back(event) {
            returns.insert((id, place, event.session_id.as_str()));
        }
    }
    let cohort_of = |cohort: usize| {
        starts.iter().filter(move |(_, places)| match query.mode {
            RetentionMode::First => places.first() == Some(&cohort),
            RetentionMode::Recurring => places.contains(&cohort),
        })
    };
    let sessions = |id: &str, place: usize| -> Vec<String> {
        let found = returns.iter().filter(|(unit, period, _)| *unit == id && *period == place);
        found.map(|(_, _, session)| (*session).to_owned()).collect()
    };
    let behind = |cohort: usize, period: usize| {
        cohort_of(cohort).map(|(id, _)| *id).filter(move |id| !sessions(id, cohort + period).is_empty())
    };
    let cells = |cohort: usize| 0..query.periods.min(dates.len() - cohort);
    let cohorts: Vec<CohortOut> = (0..dates.len())
        .map(|cohort| CohortOut {
            start: Timestamp::from_micros(dates[cohort].to_zoned(zone.clone()).unwrap().timestamp().as_microsecond()),
            size: cohort_of(cohort).count() as u64,
            cells: cells(cohort).map(|period| behind(cohort, period).count() as u64).collect(),
        })
        .collect();
    let summary = cells(0).map(|period| {
        let with = || cohorts.iter().filter(|cohort| cohort.cells.len() > period);
        let (back, all): (u64, u64) =
            (with().map(|cohort| cohort.cells[period]).sum(), with().map(|cohort| cohort.size).sum());
        if all == 0 { None } else { Some(back as f64 / all as f64) }
    });
    let cell = query.cell.map(|(cohort, period)| CellOut {
        cohort,
        period,
        total: behind(cohort, period).count() as u64,
        units: behind(cohort, period)
            .take(query.limit)
            .map(|id| {
                let mut sessions = sessions(id, cohort + period);
                sessions.truncate(RETENTION_SESSIONS);
                CellUnitOut { id: id.to_owned(), sessions }
            })
            .collect(),
    });
    RetentionOut {
        summary: summary.collect(),
        cell,
        cohorts: cohorts.clone(),
        from: query.from,
        to: query.to,
        interval: query.interval,
        time_zone: query.time_zone.clone(),
        version: 7,
        offset: all.iter().map(|event| event.offset).max().unwrap_or_default().to_string(),
    }
}

/// Events some hours apart, around the night in which Berlin's clocks change.
fn spread_events() -> impl Strategy<Value = Vec<Event>> {
    let nights = prop_oneof![Just("2026-03-29T00:30:00Z"), Just("2026-10-25T00:30:00Z")];
    (any_events(), nights, prop_oneof![Just(1_i64), Just(11), Just(50), Just(400)]).prop_map(
        |(mut events, night, hours)| {
            for event in &mut events {
                event.timestamp = at(night).micros() + event.timestamp * hours * 3_600_000_000;
            }
            events
        },
    )
}

/// A question about these events; its cell is one of those that there are.
fn any_query() -> impl Strategy<Value = RetentionQuery> {
    let by = prop_oneof![4 => Just(By::Session), 4 => Just(By::User), 1 => Just(By::Anonymous)];
    let mode = prop_oneof![Just(RetentionMode::First), Just(RetentionMode::Recurring)];
    let interval = prop_oneof![Just(Interval::Day), Just(Interval::Week), Just(Interval::Month)];
    let week_start = prop_oneof![Just(WeekStart::Monday), Just(WeekStart::Sunday), Just(WeekStart::Saturday)];
    let zone = prop_oneof![Just("UTC"), Just("Europe/Berlin"), Just("America/New_York"), Just("Asia/Kolkata")];
    let cuts = (interval, week_start, zone);
    let range = prop_oneof![
        Just(("2026-03-27T10:00:00Z", "2026-04-02T00:00:00Z")),
        Just(("2026-03-28T23:00:00Z", "2026-03-29T22:00:00Z")),
        Just(("2026-02-10T00:00:00Z", "2026-05-20T07:00:00Z")),
        Just(("2026-10-23T00:00:00Z", "2026-10-28T00:00:00Z")),
        Just(("2026-08-01T00:00:00Z", "2026-11-30T23:00:00Z")),
    ];
    (any_filter(), by, mode, cuts, range, 1_usize..9, 1_usize..5).prop_map(
        |(filter, by, mode, (interval, week_start, zone), (from, to), periods, limit)| RetentionQuery {
            filter: Filter { from: None, to: None, problem: None, ..filter },
            by,
            mode,
            interval,
            week_start,
            time_zone: zone.into(),
            periods,
            limit,
            ..RetentionQuery::new(at(from), at(to))
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn cohorts_and_cells_are_those_that_are_counted_by_hand(
        all in spread_events(),
        query in any_query(),
        is_filtered in prop::bool::weighted(0.2),
        (start, back) in (0..LINES.len(), 0..LINES.len()),
        (cohort, period) in (any::<prop::sample::Index>(), any::<prop::sample::Index>()),
        slice_rows in 1_usize..12,
    ) {
        let filter = if is_filtered { query.filter.clone() } else { Filter::default() };
        let mut query = RetentionQuery { filter, start: line(LINES[start].0), back: line(LINES[back].0), ..query };
        let plain = expected(&all, &query, LINES[start].1, LINES[back].1);
        prop_assert_eq!(&ask(&all, slice_rows, &query).unwrap(), &plain);

        let cohort = cohort.index(plain.cohorts.len());
        query.cell = Some((cohort, period.index(plain.cohorts[cohort].cells.len())));
        let with_cell = expected(&all, &query, LINES[start].1, LINES[back].1);
        prop_assert_eq!(ask(&all, slice_rows, &query).unwrap(), with_cell);
    }
}

/// Two units over three days: `a` starts on the first and the second day, `b` on the second.
fn three_days() -> (Vec<Event>, RetentionQuery) {
    let on = |session: &str, text: &str, name: &str, offset| Event {
        name: name.into(),
        ..event(session, at(text).micros(), offset)
    };
    let all = vec![
        on("a", "2026-03-01T08:00:00Z", "visit", 1),
        on("a", "2026-03-01T07:00:00Z", "buy", 2),
        on("a", "2026-03-02T08:00:00Z", "visit", 3),
        on("b", "2026-03-02T09:00:00Z", "visit", 4),
        on("b", "2026-03-03T23:59:59Z", "buy", 5),
        on("a", "2026-03-03T00:00:00Z", "buy", 6),
        on("a", "2026-03-04T00:00:00Z", "buy", 7),
    ];
    let query = RetentionQuery {
        start: line("name:visit"),
        back: line("name:buy"),
        ..RetentionQuery::new(at("2026-03-01"), at("2026-03-04"))
    };
    (all, query)
}

fn table(out: &RetentionOut) -> Vec<(u64, Vec<u64>)> {
    out.cohorts.iter().map(|cohort| (cohort.size, cohort.cells.clone())).collect()
}

#[test]
fn a_unit_belongs_to_its_first_cohort_or_to_each() {
    let (all, query) = three_days();
    let out = ask(&all, 2, &query).unwrap();
    // What was bought before the visit of the day counts too, and the end of the range does not.
    assert_eq!(table(&out), [(1, vec![1, 0, 1]), (1, vec![0, 1]), (0, vec![0])]);
    assert_eq!(out.summary, [Some(0.5), Some(0.5), Some(1.0)]);
    let recurring = RetentionQuery { mode: RetentionMode::Recurring, ..query };
    assert_eq!(table(&ask(&all, 2, &recurring).unwrap()), [(1, vec![1, 0, 1]), (2, vec![0, 2]), (0, vec![0])]);
    let few = RetentionQuery { periods: 1, ..recurring };
    assert_eq!(table(&ask(&all, 2, &few).unwrap()), [(1, vec![1]), (2, vec![0]), (0, vec![0])]);
}

#[test]
fn a_range_of_the_filter_narrows_and_the_answer_is_json() {
    let (all, mut query) = three_days();
    query.filter.to = Some(at("2026-03-02"));
    let out = ask(&all, 2, &query).unwrap();
    assert_eq!(table(&out), [(1, vec![1, 0, 0]), (0, vec![0, 0]), (0, vec![0])]);
    let from = Filter { from: Some(at("2026-03-02T08:30:00Z")), ..Filter::default() };
    let later = ask(&all, 2, &RetentionQuery { filter: from, ..query.clone() }).unwrap();
    assert_eq!(table(&later), [(0, vec![0, 0, 0]), (1, vec![0, 1]), (0, vec![0])]);
    query.to = at("2026-03-02");
    let json = serde_json::to_string(&ask(&all, 2, &query).unwrap()).unwrap();
    let expected = r#"{"cohorts":[{"start":"2026-03-01T00:00:00.000000Z","size":1,"cells":[1]}],"summary":[1.0],"cell":null,"from":"2026-03-01T00:00:00.000000Z","to":"2026-03-02T00:00:00.000000Z","interval":"day","time_zone":"UTC","version":7,"offset":"7"}"#;
    assert_eq!(json, expected);
}

#[test]
fn the_last_of_128_periods_has_a_cell() {
    let day = |day: i64| at("2026-01-01").micros() + day * 86_400_000_000;
    let all = [event("a", day(0), 1), event("a", day(127), 2), event("b", day(127), 3)];
    let query = RetentionQuery {
        periods: RETENTION_PERIODS_MAX,
        cell: Some((0, 127)),
        ..RetentionQuery::new(at("2026-01-01"), Timestamp::from_micros(day(128)))
    };
    let out = ask(&all, 1, &query).unwrap();
    assert_eq!((out.cohorts.len(), out.cohorts[0].cells.len(), out.summary.len()), (128, 128, 128));
    assert_eq!((out.cohorts[0].cells[0], out.cohorts[0].cells[126], out.cohorts[0].cells[127]), (1, 0, 1));
    assert_eq!((out.cohorts[127].size, &out.cohorts[127].cells), (1, &vec![1]));
    let units = vec![CellUnitOut { id: "a".into(), sessions: vec!["a".into()] }];
    assert_eq!(out.cell, Some(CellOut { cohort: 0, period: 127, total: 1, units }));
}

#[track_caller]
fn assert_invalid(query: &RetentionQuery, wrong: &str) {
    let memory = Memory::new(&three_days().0, 2);
    match retention(&memory, query, &Cancel::new()) {
        Err(Error::Invalid { field, message }) => assert_eq!(field, wrong, "{message}"),
        other => panic!("{wrong} was taken: {other:?}"),
    }
    assert_eq!(memory.reads.load(Ordering::Relaxed), 0, "nothing is read for a question that is refused");
}

#[test]
fn what_cannot_be_counted_is_refused_by_name() {
    let query = three_days().1;
    for interval in [Interval::Minute, Interval::Hour, Interval::Whole] {
        assert_invalid(&RetentionQuery { interval, ..query.clone() }, "interval");
    }
    assert_invalid(&RetentionQuery { to: at("2026-07-08"), ..query.clone() }, "interval");
    assert_invalid(&RetentionQuery { to: at("2126-03-01"), ..query.clone() }, "interval");
    assert_invalid(&RetentionQuery { to: query.from, ..query.clone() }, "from");
    assert_invalid(&RetentionQuery { time_zone: "Berlin".into(), ..query.clone() }, "time_zone");
    for number in [0, 129] {
        assert_invalid(&RetentionQuery { periods: number, ..query.clone() }, "periods");
    }
    for limit in [0, 1001] {
        assert_invalid(&RetentionQuery { limit, ..query.clone() }, "limit");
    }
    for cell in [(3, 0), (0, 3), (2, 1), (usize::MAX, usize::MAX)] {
        assert_invalid(&RetentionQuery { cell: Some(cell), ..query.clone() }, "cell");
    }
    assert_invalid(&RetentionQuery { periods: 1, cell: Some((0, 1)), ..query.clone() }, "cell");
    for times in ["since:24h", "name:x until:2026-01-01"] {
        assert_invalid(&RetentionQuery { start: line(times), ..query.clone() }, "start");
        assert_invalid(&RetentionQuery { back: line(times), ..query.clone() }, "return");
    }
}

#[test]
fn more_units_than_the_limit_are_refused_with_what_to_do() {
    let all: Vec<Event> = (1..=20).map(|offset| event(&format!("s{offset}"), 1, offset)).collect();
    let ask = |units_max| {
        let range = RetentionQuery::new(Timestamp::from_micros(0), Timestamp::from_micros(9));
        ask(&all, 3, &RetentionQuery { units_max, ..range })
    };
    assert_eq!(ask(20).unwrap().cohorts[0].size, 20);
    let error = ask(19).unwrap_err();
    assert!(matches!(&error, Error::TooMuch { message } if message.contains("narrow the time range")), "{error}");
}

#[test]
fn a_question_stops_once_cancelled_and_damage_is_an_error() {
    let (all, query) = three_days();
    let cancel = Arc::new(Cancel::new());
    let memory = Memory { cancels: Some(Arc::clone(&cancel)), ..Memory::new(&all, 1) };
    assert!(matches!(retention(&memory, &query, &cancel), Err(Error::Cancelled)));
    let damaged = Memory { is_damaged: true, ..Memory::new(&all, 1) };
    assert!(matches!(retention(&damaged, &query, &Cancel::new()), Err(Error::Store(_))));
}
