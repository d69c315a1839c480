//! Query lines: text and structure say the same, and one event and a frame of events are chosen alike.
#![allow(missing_docs, clippy::unwrap_used, reason = "tests")]

mod common;

use std::sync::Arc;

use common::{Event, Memory, any_events, event};
use eye_event::{Problem, Timestamp};
use eye_query::condition::{Condition, Expr, Literal, Op};
use eye_query::line::{Unit, When};
use eye_query::{Cancel, EventsQuery, Field, Figure, Filter, Interval, Line, ProblemFilter, TrendQuery, events, trend};
use proptest::prelude::*;

fn any_key() -> impl Strategy<Value = String> {
    prop_oneof![4 => "[a-c]", 1 => "[a-z_0-9-]{1,3}", 1 => "[ \"\\\\.é:]{1,3}"]
}

fn any_field() -> impl Strategy<Value = Field> {
    let path = || proptest::collection::vec(any_key(), 1..3);
    let plain = [
        Field::Application,
        Field::SessionId,
        Field::Category,
        Field::Name,
        Field::UserId,
        Field::AnonymousId,
        Field::EventId,
    ];
    prop_oneof![
        3 => proptest::sample::select(plain.to_vec()),
        2 => path().prop_map(Field::Data),
        1 => path().prop_map(Field::Context),
    ]
}

fn any_literal() -> impl Strategy<Value = Literal> {
    prop_oneof![
        "[a-cp-zA-C0-9.+:/-][a-cp-zA-C0-9.+:/=<>~!-]{0,2}".prop_map(Literal::bare),
        "[mnpqxyz]".prop_map(Literal::bare),
        (-3_i32..4).prop_map(|number| Literal::bare(number.to_string())),
        "[ -~é\"\\\\]{0,4}".prop_map(Literal::quoted),
    ]
}

fn any_condition() -> impl Strategy<Value = Condition> {
    let codes = Problem::ALL.map(ProblemFilter::Code);
    let problems = [ProblemFilter::Any, ProblemFilter::Time].into_iter().chain(codes).collect::<Vec<_>>();
    let ops = [Op::Is, Op::Contains, Op::Less, Op::LessOrIs, Op::More, Op::MoreOrIs];
    let compare = (any_field(), proptest::sample::select(ops.to_vec()), proptest::collection::vec(any_literal(), 1..3));
    prop_oneof![
        6 => compare.prop_map(|(field, op, values)| {
            let has_size = field.path().is_some() || matches!(op, Op::Is | Op::Contains);
            Condition::Compare { field, op: if has_size { op } else { Op::Is }, values }
        }),
        1 => any_field().prop_map(Condition::Has),
        1 => proptest::sample::select(problems).prop_map(Condition::Problem),
    ]
}

fn any_expr() -> impl Strategy<Value = Expr> {
    any_condition().prop_map(Expr::Is).prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 2..4).prop_map(Expr::All),
            proptest::collection::vec(inner.clone(), 2..4).prop_map(Expr::Any),
            inner.prop_map(|expr| match expr {
                Expr::Not(inner) => *inner,
                other => Expr::Not(Box::new(other)),
            }),
        ]
    })
}

fn any_when() -> impl Strategy<Value = When> {
    let units = [Unit::Second, Unit::Minute, Unit::Hour, Unit::Day, Unit::Week];
    prop_oneof![
        (any::<u32>(), proptest::sample::select(units.to_vec())).prop_map(|(count, unit)| When::Ago(count, unit)),
        (0..4_000_000_000_000_000_i64).prop_map(|micros| When::At(Timestamp::from_micros(micros))),
    ]
}

fn any_line() -> impl Strategy<Value = Line> {
    let maybe = || proptest::option::weighted(0.3, any_when());
    (proptest::option::weighted(0.9, any_expr()), maybe(), maybe()).prop_map(|(expr, since, until)| Line {
        expr,
        since,
        until,
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    #[test]
    fn what_a_line_prints_as_reads_as_the_same_line(line in any_line()) {
        let text = line.to_string();
        let again: Line = text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
        prop_assert_eq!(again, line, "{}", text);
    }

    #[test]
    fn no_text_makes_the_reader_panic(text in "[a-c:=~<>!,()\"\\\\. ORsinceuntlhasdaté-]{0,40}") {
        if let Ok(line) = text.parse::<Line>() {
            let printed = line.to_string();
            prop_assert_eq!(printed.parse::<Line>().unwrap(), line, "{} became {}", text, printed);
        }
    }

    #[test]
    fn lists_and_counts_choose_the_same_events(
        all in any_events(),
        slice_rows in 1..20_usize,
        expr in any_expr(),
    ) {
        // Values that the events can have.
        let data = |event: &Event| match event.offset % 4 {
            0 => format!("{{\"a\":{},\"b\":\"x\"}}", event.timestamp),
            1 => "{\"a\":\"q\",\"b\":{\"a\":true}}".to_owned(),
            2 => "{\"a\":null,\"c\":[1,\"a\"]}".to_owned(),
            _ => "{}".to_owned(),
        };
        let all: Vec<Event> = all.into_iter().map(|event| Event { data: data(&event), ..event }).collect();
        let line = Line { expr: Some(expr.clone()), since: None, until: None };
        let filter = Filter { line: Some(Arc::new(line.at(Timestamp::from_micros(0)))), ..Filter::default() };
        let memory = Memory::new(&all, slice_rows);
        let by_hand = all.iter().filter(|event| expr.matches(&event.stored())).count();
        let listed = events(&memory, &EventsQuery { filter: filter.clone(), ..EventsQuery::default() }, &Cancel::new());
        prop_assert_eq!(listed.unwrap().events.len(), by_hand);
        let (from, to) = (Timestamp::from_micros(-100), Timestamp::from_micros(100));
        let asked = TrendQuery { interval: Interval::Whole, ..TrendQuery::new(filter, from, to) };
        let counted = trend(&memory, &asked, &Cancel::new()).unwrap().period.series[0].total;
        prop_assert_eq!(counted, Figure::Count(by_hand as u64));
    }
}

#[test]
fn ids_of_many_digits_are_told_apart() {
    let ids = ["1234567890123456700", "1234567890123456789", "1e400", "10e399", "-0"];
    let with_id = |(n, id): (u64, &&str)| Event { data: format!("{{\"id\":{id}}}"), ..event("s", 1, n) };
    let all: Vec<Event> = (1..).zip(&ids).map(with_id).collect();
    let memory = Memory::new(&all, 3);
    for (text, chosen) in [
        ("data.id=1234567890123456789", vec![2_u64]),
        ("data.id=1234567890123456700", vec![1]),
        ("-data.id=1234567890123456789", vec![1, 3, 4, 5]),
        ("data.id!=1234567890123456700", vec![2, 3, 4, 5]),
        ("data.id<1234567890123456789", vec![1, 5]),
        ("data.id<=1234567890123456700", vec![1, 5]),
        ("data.id>1234567890123456700", vec![2, 3, 4]),
        ("-data.id>=1234567890123456789", vec![1, 5]),
        ("data.id=1e400", vec![3, 4]),
        ("data.id>=100e398", vec![3, 4]),
        ("-data.id=0", vec![1, 2, 3, 4]),
    ] {
        let line: Line = text.parse().unwrap();
        let filter = Filter { line: Some(Arc::new(line.at(Timestamp::from_micros(0)))), ..Filter::default() };
        let found = all.iter().filter(|event| filter.matches(&event.stored()));
        let found: Vec<u64> = found.map(|event| event.offset).collect();
        assert_eq!(found, chosen, "{text}");
        let asked = EventsQuery { filter, ..EventsQuery::default() };
        let page = events(&memory, &asked, &Cancel::new()).unwrap();
        assert_eq!(page.events.len(), chosen.len(), "{text}");
    }
}
