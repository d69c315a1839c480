//! SQL and the lists agree on the same snapshot, whatever was stored and wherever it lies: hot, flushed, merged.

use std::time::Duration;

use eye_event::Timestamp;
use eye_query::{
    Cancel, EventsQuery, Field, Figure, Filter, Order, ProblemsQuery, RejectionsQuery, SessionsQuery, TrendQuery,
    events, problems, rejections, sessions, trend,
};
use eye_store::{Columns, Erasure, Selection};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::common::{Made, START, World, by_category, limits};

fn made() -> impl Strategy<Value = Made> {
    let fields = (
        prop_oneof![Just("web"), Just("shop")],
        0..5_u8,
        prop_oneof![Just("page"), Just("cart"), Just("it's")],
        prop_oneof![Just("view"), Just("buy"), Just("é")],
        0..200_u16,
        prop_oneof![Just(None), Just(Some("ann")), Just(Some("bob"))],
        prop_oneof![
            Just(r#"{"plan":"pro","n":1.50}"#),
            Just(r#"{"plan":null,"list":[1,{"a":"x"}]}"#),
            Just(r#"{"first":true,"coupon":"X17","session_id":"s","plan":""}"#),
            Just(r#"{"n":"7","plan":"fr\u0065e"}"#),
            Just(r#"{ "n" : 2e0 , "n": 3, "plan" : {"a":1} }"#),
            Just("{}")
        ],
        0..4_u8,
    );
    fields.prop_map(|(application, session, category, name, second, user, data, problems)| {
        let data = data.to_owned();
        Made { application, session, category, name, second, user, data, problems }
    })
}

/// Where rows lie when SQL is asked.
#[derive(Clone, Copy, Debug)]
enum Stage {
    Hot,
    Flushed,
    Both,
    Merged,
    /// A session is hidden by an erasure that has not begun.
    Hidden,
    Erased,
}

const EVENTS: &str = r#"SELECT event_id, application, session_id, category, name, "timestamp", received_at, user_id, data,
    problems, "partition", "offset" FROM events"#;
const ORDER: &str = r#"ORDER BY "timestamp" DESC, "partition" DESC, "offset" DESC"#;

/// The rows of a list as SQL would give them.
fn listed(world: &World, filter: Filter) -> Vec<Value> {
    let query = EventsQuery { filter, order: Order::Newest, limit: 10_000, cursor: None };
    let page = events(&world.store.snapshot(), &query, &Cancel::new()).unwrap();
    let row = |event: eye_query::EventOut| {
        json!([
            event.event_id,
            event.application,
            event.session_id,
            event.category,
            event.name,
            event.timestamp,
            event.received_at,
            event.user_id,
            event.data.get(),
            event.problems,
            event.partition,
            event.offset,
        ])
    };
    page.events.into_iter().map(row).collect()
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_micros(START + second * 1_000_000)
}

fn erase_session_1(world: &World) {
    let wanted = Selection {
        id: Erasure::fresh_id(),
        criteria: vec!["session_id".to_owned()],
        columns: Columns::SESSION_ID,
        session_id: Some("session-1"),
        event: &|event| event.event.session_id == "session-1",
        rejection: &|_| false,
    };
    world.store.erase(&wanted).unwrap();
    assert_eq!(world.rows("SELECT count(*) FROM events WHERE session_id LIKE '%-1'"), [json!([0])]);
}

fn events_agree(world: &World) {
    let text = |text: &str| Some(text.to_owned());
    let (from, to) = (at(50), at(120));
    for (condition, filter) in [
        ("true".to_owned(), Filter::default()),
        ("application = 'web'".to_owned(), Filter { application: text("web"), ..Filter::default() }),
        ("category = 'it''s'".to_owned(), Filter { category: text("it's"), ..Filter::default() }),
        ("'é' = name".to_owned(), Filter { name: text("é"), ..Filter::default() }),
        ("user_id = 'ann'".to_owned(), Filter { user_id: text("ann"), ..Filter::default() }),
        ("session_id = 'session-1'".to_owned(), Filter { session_id: text("session-1"), ..Filter::default() }),
        (
            format!("session_id = 'session-2' AND name = 'buy' AND \"timestamp\" < '{to}'"),
            Filter { session_id: text("session-2"), name: text("buy"), to: Some(to), ..Filter::default() },
        ),
        (
            format!("\"timestamp\" >= '{from}' AND \"timestamp\" < '{to}'"),
            Filter { from: Some(from), to: Some(to), ..Filter::default() },
        ),
        (
            format!("\"timestamp\" BETWEEN '{from}' AND '{to}'"),
            Filter { from: Some(from), to: Some(Timestamp::from_micros(to.micros() + 1)), ..Filter::default() },
        ),
        (
            "category = 'page' AND category = 'cart'".to_owned(),
            Filter { application: text("none"), ..Filter::default() },
        ),
        ("category = 'none'".to_owned(), Filter { category: text("none"), ..Filter::default() }),
    ] {
        let expected = listed(world, filter.clone());
        assert_eq!(world.rows(&format!("{EVENTS} WHERE {condition} {ORDER}")), expected, "{condition}");
        let count = world.rows(&format!("SELECT count(*) FROM events WHERE {condition}"));
        assert_eq!(count, [json!([expected.len()])], "{condition}");
        let limited = world.rows(&format!("SELECT event_id FROM events WHERE {condition} LIMIT 3"));
        assert_eq!(limited.len(), expected.len().min(3), "{condition}");
        // Behind the wall.
        let allowed = Filter { allowed: Some(vec!["shop".to_owned()]), ..filter };
        let expected = listed(world, allowed);
        assert_eq!(world.rows_of("shop", &format!("{EVENTS} WHERE {condition} {ORDER}")), expected, "{condition}");
        let count = world.rows_of("shop", &format!("SELECT count(*) FROM events WHERE {condition}"));
        assert_eq!(count, [json!([expected.len()])], "{condition}");
    }
}

fn others_agree(world: &World) {
    let snapshot = world.store.snapshot();
    for allowed in [None, Some(vec!["web".to_owned()])] {
        let ask = |sql: &str| match &allowed {
            None => world.rows(sql),
            Some(allowed) => world.rows_of(&allowed[0], sql),
        };
        let filter = Filter { allowed: allowed.clone(), ..Filter::default() };
        let page = sessions(&snapshot, &SessionsQuery { filter, ..SessionsQuery::default() }, &Cancel::new()).unwrap();
        let expected: Vec<Value> = page
            .sessions
            .into_iter()
            .map(|one| {
                json!([
                    one.session_id,
                    one.start,
                    one.end,
                    one.duration_ms,
                    one.events,
                    one.names,
                    one.first_name,
                    one.last_name,
                    one.applications,
                    one.user_id,
                    one.problems
                ])
            })
            .collect();
        assert_eq!(ask("SELECT * FROM sessions ORDER BY \"end\" DESC, session_id DESC"), sorted_as(&expected));
        let query = ProblemsQuery { allowed: allowed.clone(), ..ProblemsQuery::default() };
        let page = problems(&snapshot, &query, &Cancel::new()).unwrap();
        let mut expected: Vec<Value> =
            page.problems.into_iter().map(|kind| json!([kind.code, kind.application, kind.name, kind.count])).collect();
        expected.sort_by_key(ToString::to_string);
        let mut found = ask("SELECT code, application, name, \"count\" FROM problems");
        found.sort_by_key(ToString::to_string);
        assert_eq!(found, expected);
        let query = RejectionsQuery { allowed: allowed.clone(), limit: 1_000, ..RejectionsQuery::default() };
        let page = rejections(&snapshot, &query, &Cancel::new()).unwrap();
        let mut expected: Vec<Value> = page
            .rejections
            .into_iter()
            .map(|one| json!([one.application, one.received_at, one.code, one.offset]))
            .collect();
        expected.sort_by_key(ToString::to_string);
        let mut found = ask("SELECT application, received_at, code, \"offset\" FROM rejections");
        found.sort_by_key(ToString::to_string);
        assert_eq!(found, expected);
        trends_agree(world, allowed.clone(), &ask);
    }
}

/// Sessions that end at the same moment: by id, as SQL was asked to.
fn sorted_as(rows: &[Value]) -> Vec<Value> {
    let mut rows = rows.to_vec();
    rows.sort_by_key(|row| std::cmp::Reverse((row[2].to_string(), row[0].to_string())));
    rows
}

fn trends_agree(world: &World, allowed: Option<Vec<String>>, ask: &dyn Fn(&str) -> Vec<Value>) {
    let answer = trend(&world.store.snapshot(), &by_category(allowed), &Cancel::new()).unwrap();
    let mut expected = Vec::new();
    for series in &answer.period.series {
        for (time, value) in answer.period.times.iter().zip(&series.values) {
            let Figure::Count(count) = value else { panic!("{value:?}") };
            expected.push(json!([time, series.breakdown[0], series.rest, *count as f64]));
        }
    }
    assert_eq!(ask("SELECT * FROM trend('{}')"), expected);
    // The same figures by hand.
    let by_hand = ask("SELECT category, count(*)::double FROM events GROUP BY category ORDER BY category");
    let by_trend = ask("SELECT category, sum(value) FROM trend('{}') GROUP BY category ORDER BY category");
    assert_eq!(by_hand, by_trend);
}

/// Values of payloads, which some files have in columns of their own: questions say what SQL finds in `data` itself.
fn payloads_agree(world: &World) {
    // What may be said does not depend on where values lie, nor does the answer.
    let by_operator =
        "SELECT json_get_text(data, 'plan'), count(*), min(data->>'coupon') FROM events GROUP BY data->>'plan'";
    let by_hand = "SELECT json_get_text(data || '', 'plan') AS plan, count(*), min(json_get_text(data || '', 'coupon'))
        FROM events GROUP BY plan";
    let (mut by_operator, mut by_hand) = (world.rows(by_operator), world.rows(by_hand));
    by_operator.sort_by_key(ToString::to_string);
    by_hand.sort_by_key(ToString::to_string);
    assert_eq!(by_operator, by_hand);
    let pair = "SELECT event_id, data->>'plan', data->'n', json_get_number(data, 'n') FROM events WHERE name <> 'buy'";
    let apart = "SELECT event_id, json_get_text(data || '', 'plan'), json_get(data || '', 'n'), json_get_number(data || '', 'n')
        FROM events WHERE name <> 'buy'";
    assert_eq!(world.rows(&format!("{pair} ORDER BY 1 LIMIT 30")), world.rows(&format!("{apart} ORDER BY 1 LIMIT 30")));
    for (line, condition) in [
        ("", "true"),
        ("data.plan=pro", "json_get_text(data || '', 'plan') = 'pro'"),
        ("-data.plan=pro", "(json_get_text(data || '', 'plan') = 'pro') IS NOT TRUE"),
        ("has:data.plan", "json_get_text(data || '', 'plan') IS NOT NULL"),
        ("data.n>1 user_id:ann", "json_get_number(data || '', 'n') > 1 AND user_id = 'ann'"),
        ("data.coupon=X17", "json_get_text(data || '', 'coupon') = 'X17'"),
        ("data.first=true -data.session_id=t", "json_get_text(data || '', 'first') = 'true'"),
        ("data.list.1.a=x", "json_get_text(data || '', 'list', 1, 'a') = 'x'"),
        (
            "(data.plan=free OR session_id:session-1)",
            "json_get_text(data || '', 'plan') = 'free' OR session_id = 'session-1'",
        ),
    ] {
        let line: eye_query::Line = line.parse().unwrap();
        let filter = Filter { line: Some(line.at(at(0)).into()), ..Filter::default() };
        let events = world.rows(&format!("{EVENTS} WHERE {condition} {ORDER}"));
        assert_eq!(listed(world, filter.clone()), events, "{condition}");
        for (measure, figure) in [
            ("events", "count(*)"),
            ("sessions", "count(DISTINCT session_id)"),
            ("users", "count(DISTINCT user_id)"),
            ("sum(data.n)", "coalesce(sum(json_get_number(data || '', 'n')), 0)"),
            ("distinct(data.n)", "count(DISTINCT json_get_text(data || '', 'n'))"),
        ] {
            let query = TrendQuery {
                filter: filter.clone(),
                measure: measure.parse().unwrap(),
                breakdown: vec![Field::parse("data.plan").unwrap()],
                ..by_category(None)
            };
            let answer = trend(&world.store.snapshot(), &query, &Cancel::new()).unwrap();
            let figures = answer.period.series.iter().map(|series| match series.total {
                Figure::Count(count) => json!([series.breakdown[0], count as f64]),
                Figure::Real(number) => json!([series.breakdown[0], number]),
                Figure::Nothing(()) => json!([series.breakdown[0], 0.0]),
            });
            let sql = format!(
                "SELECT json_get_text(data || '', 'plan'), ({figure})::double FROM events WHERE {condition} GROUP BY 1"
            );
            let (mut figures, mut found): (Vec<_>, _) = (figures.collect(), world.rows(&sql));
            figures.sort_by_key(ToString::to_string);
            found.sort_by_key(ToString::to_string);
            assert_eq!(figures, found, "{measure} of {condition}");
        }
    }
}

/// A statement's threads may hold its files a moment longer than its answer takes: files that are read do not go.
fn carry_out_erasures(world: &World) {
    let is_done = (0..1_000).any(|_| {
        let is_done = world.store.run_erasures_blocking().unwrap();
        if !is_done {
            std::thread::sleep(Duration::from_millis(10));
        }
        is_done
    });
    assert!(is_done, "somebody still reads the files of a statement that has ended");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, max_shrink_iters: 100, ..ProptestConfig::default() })]

    #[test]
    fn sql_and_the_lists_agree(
        first in proptest::collection::vec(made(), 1..80),
        second in proptest::collection::vec(made(), 0..40),
    ) {
        let mut world = World::new(limits());
        for stage in [Stage::Hot, Stage::Flushed, Stage::Both, Stage::Merged, Stage::Hidden, Stage::Erased] {
            match stage {
                Stage::Hot => world.ingest(&first),
                Stage::Flushed => drop(world.store.flush_blocking().unwrap()),
                Stage::Both => world.ingest(&second),
                Stage::Merged => {
                    world.store.flush_blocking().unwrap();
                    world.store.compact_blocking(Duration::MAX).unwrap();
                }
                Stage::Hidden => erase_session_1(&world),
                Stage::Erased => carry_out_erasures(&world),
            }
            events_agree(&world);
            others_agree(&world);
            payloads_agree(&world);
        }
    }
}
