//! The questions: as The Eye is asked, as its peers are asked in SQL, and what of both answers must be equal.

use eye_event::Timestamp;
use serde_json::{Value, json};

use crate::Error;
use crate::client::{Client, Request};
use crate::query::data::{DAY, DAYS, FROM, HOUR, TO};
use crate::query::dialect::Dialect;
use crate::server::Server;

/// All columns, the one that is compared first.
pub(super) const ALL: &str = "event_id, session_id, category, name, timestamp, user_id, anonymous_id, data";

/// One question.
pub(super) struct Question {
    /// What `--only` calls it.
    pub(super) key: &'static str,
    pub(super) name: &'static str,
    pub(super) request: Request,
    /// What is compared, out of The Eye's answer.
    pub(super) rows: fn(&Value) -> Vec<String>,
    /// The same in SQL; `{events}` stands for the table.
    pub(super) sql: Box<dyn Fn(Dialect) -> String>,
    /// How many of the statement's columns are compared.
    pub(super) compared: usize,
    /// The same of ClickHouse's table whose JSON is taken apart.
    pub(super) parted: Option<String>,
    /// The largest ratio to the best peer.
    pub(super) ratio_max: f64,
    pub(super) milliseconds_max: Option<f64>,
}

fn time(micros: i64) -> String {
    Timestamp::from_micros(micros).to_string()
}

/// All but the single session. The second page is known when the first has been read.
pub(super) fn all(server: &Server) -> Result<Vec<Question>, Error> {
    let mut questions = lists(&mut Client::new(server)?)?;
    questions.extend(trends());
    questions.extend(journeys());
    questions.push(sessions_list());
    Ok(questions)
}

/// Questions that read most of what there is, by what `--only` calls them.
pub(crate) fn long() -> Vec<(&'static str, Request)> {
    let all = trends().into_iter().chain(journeys());
    all.filter(|question| matches!(question.key, "hours" | "funnel")).map(|one| (one.key, one.request)).collect()
}

/// The newest hundred.
pub(super) fn page(which: &str) -> String {
    format!("select {ALL} from {{events}} where {which} order by timestamp desc limit 100")
}

fn hour_path(from: i64) -> String {
    format!("/v1/events?from={}&to={}&limit=100", time(from), time(from + HOUR))
}

/// The newest hundred of an hour.
pub(super) fn hour(from: i64) -> Request {
    Request::Get(hour_path(from))
}

/// All events, counted.
pub(super) fn everything() -> Request {
    trend(json!({}), FROM, TO)
}

pub(super) fn event_ids(answer: &Value) -> Vec<String> {
    texts_of(&answer["events"], &["event_id"])
}

fn lists(client: &mut Client) -> Result<Vec<Question>, Error> {
    const CATEGORY: &str = "purchase";
    let from = FROM + DAYS / 2 * DAY + 14 * HOUR;
    let to = from + HOUR;
    let hour = hour_path(from);
    let first = client.ask(&Request::Get(hour.clone()))?.json()?;
    let last = first["events"].as_array().and_then(|events| events.last()).ok_or("the hour has no events")?;
    let last = last["timestamp"].as_str().and_then(Timestamp::parse).ok_or("an event without a time")?.micros();
    let next = first["next"].as_str().ok_or("the hour has no second page")?;
    let list = |key, name, path: String, sql: Box<dyn Fn(Dialect) -> String>| Question {
        key,
        name,
        request: Request::Get(path),
        rows: event_ids,
        sql,
        compared: 1,
        parted: None,
        ratio_max: 1.0,
        milliseconds_max: Some(10.0),
    };
    Ok(vec![
        list(
            "latest",
            "latest 100 events of a category",
            format!("/v1/events?category={CATEGORY}&limit=100"),
            Box::new(move |_| page(&format!("category = '{CATEGORY}'"))),
        ),
        list("hour", "a page of an hour", hour.clone(), Box::new(move |dialect| page(&dialect.range(from, to)))),
        list(
            "next-page",
            "the next page of it",
            format!("{hour}&cursor={next}"),
            Box::new(move |dialect| page(&dialect.range(from, last))),
        ),
    ])
}

fn trend(more: Value, from: i64, to: i64) -> Request {
    let mut body = json!({"from": time(from), "to": time(to)});
    if let (Some(body), Value::Object(more)) = (body.as_object_mut(), more) {
        body.extend(more);
    }
    Request::Post("/v1/query/trend", body)
}

fn trends() -> Vec<Question> {
    let by_hour = Question {
        key: "hours",
        name: "events by hour and category, 30 days",
        request: trend(json!({"interval": "hour", "breakdown": ["category"], "top": 100}), FROM, TO),
        rows: cells,
        sql: Box::new(|dialect| {
            format!(
                "select {}, category, n from (select {} as h, category, count(*) as n from {{events}} where {} group by 1, 2) as t",
                dialect.seconds("h"),
                dialect.cut("hour", "timestamp"),
                dialect.range(FROM, TO)
            )
        }),
        compared: 3,
        parted: None,
        ratio_max: 0.8,
        milliseconds_max: None,
    };
    let by_day = Question {
        key: "distinct",
        name: "distinct sessions by day, 30 days",
        request: trend(json!({"interval": "day", "measure": "sessions"}), FROM, TO),
        rows: cells,
        sql: Box::new(|dialect| {
            format!(
                "select {}, n from (select {} as d, {} as n from {{events}} where {} group by 1) as t",
                dialect.seconds("d"),
                dialect.cut("day", "timestamp"),
                dialect.distinct("session_id"),
                dialect.range(FROM, TO)
            )
        }),
        compared: 2,
        parted: None,
        ratio_max: 0.8,
        milliseconds_max: None,
    };
    let one_day = FROM + 20 * DAY;
    vec![
        by_hour,
        by_day,
        top("top-month", "top 20 data.path of a category, 30 days", FROM, TO),
        top("top-day", "top 20 data.path of a category, one day", one_day, one_day + DAY),
    ]
}

fn top(key: &'static str, name: &'static str, from: i64, to: i64) -> Question {
    let asked = json!({"interval": "whole", "breakdown": ["data.path"], "top": 20, "query": "category:page"});
    let sql = move |dialect: Dialect, events: &str, path: &str| {
        let range = dialect.range(from, to);
        format!(
            "select {path} as v, count(*) as n from {events} where category = 'page' and {range} group by 1 order by n desc, v limit 20"
        )
    };
    Question {
        key,
        name,
        request: trend(asked, from, to),
        rows: |answer| {
            let series = answer["series"].as_array().map_or(&[][..], Vec::as_slice);
            let shown = series.iter().filter(|one| one["rest"] == false);
            shown.map(|one| format!("{}|{}", text(&one["breakdown"][0]), text(&one["total"]))).collect()
        },
        sql: Box::new(move |dialect| sql(dialect, "{events}", &dialect.data("path"))),
        compared: 2,
        parted: Some(sql(Dialect::ClickHouse, "parted", "data.path.:String")),
        ratio_max: 0.5,
        milliseconds_max: None,
    }
}

const STEPS: [&str; 4] = ["query", "add", "begin", "complete"];

fn journeys() -> Vec<Question> {
    let range = json!({"from": time(FROM), "to": time(TO)});
    let ask = |path, more: Value| {
        let mut body = range.clone();
        if let (Some(body), Value::Object(more)) = (body.as_object_mut(), more) {
            body.extend(more);
        }
        Request::Post(path, body)
    };
    let steps: Vec<String> = STEPS.iter().map(|name| format!("name:{name}")).collect();
    let funnel = Question {
        key: "funnel",
        name: "funnel of four steps by session, 30 days",
        request: ask("/v1/query/funnel", json!({"steps": steps})),
        rows: |answer| {
            let steps = answer["total"].as_array().map_or(&[][..], Vec::as_slice);
            vec![steps.iter().map(|step| text(&step["count"])).collect::<Vec<_>>().join("|")]
        },
        sql: Box::new(funnel_sql),
        compared: 4,
        parted: None,
        ratio_max: 0.5,
        milliseconds_max: None,
    };
    let retention = Question {
        key: "retention",
        name: "retention by week of users, 30 days",
        request: ask("/v1/query/retention", json!({"by": "user", "interval": "week"})),
        rows: |answer| {
            let cohorts = answer["cohorts"].as_array().map_or(&[][..], Vec::as_slice);
            let start = |cohort: &Value| seconds(&cohort["start"]);
            let cells = cohorts.iter().flat_map(|cohort| {
                let cells = cohort["cells"].as_array().map_or(&[][..], Vec::as_slice);
                (0_i64..).zip(cells).map(move |(period, cell)| {
                    format!("{}|{}|{}", start(cohort), start(cohort) + period * 7 * 86_400, text(cell))
                })
            });
            cells.filter(|cell| !cell.ends_with("|0")).collect()
        },
        sql: Box::new(|dialect| {
            format!(
                "with w as (select user_id, {} as w from {{events}} where {} and user_id is not null group by 1, 2), \
                 c as (select user_id, min(w) as c from w group by 1) \
                 select {}, {}, n from (select c.c as c, w.w as w, count(*) as n from w join c on w.user_id = c.user_id group by 1, 2) as t",
                dialect.cut("week", "timestamp"),
                dialect.range(FROM, TO),
                dialect.seconds("c"),
                dialect.seconds("w")
            )
        }),
        compared: 3,
        parted: None,
        ratio_max: 0.8,
        milliseconds_max: None,
    };
    let paths = Question {
        key: "paths",
        name: "paths of four categories by session, 30 days",
        request: ask("/v1/query/paths", json!({"depth": 4, "top": 20, "step": "category"})),
        rows: |answer| {
            let mut rows = Vec::new();
            walk(answer, "", &mut rows);
            rows
        },
        sql: Box::new(paths_sql),
        compared: 2,
        parted: None,
        ratio_max: 0.8,
        milliseconds_max: None,
    };
    vec![funnel, retention, paths]
}

fn funnel_sql(dialect: Dialect) -> String {
    let range = dialect.range(FROM, TO);
    if dialect == Dialect::ClickHouse {
        let steps = STEPS.map(|name| format!("name = '{name}'")).join(", ");
        let window = TO - FROM;
        let names = STEPS.map(|name| format!("'{name}'")).join(", ");
        return format!(
            "select countIf(level >= 1), countIf(level >= 2), countIf(level >= 3), countIf(level >= 4) from \
             (select windowFunnel({window})(toUInt64(toUnixTimestamp64Micro(timestamp)), {steps}) as level from {{events}} \
             where {range} and name in ({names}) group by session_id)"
        );
    }
    let mut tables = Vec::new();
    for (number, name) in STEPS.iter().enumerate() {
        tables.push(match number.checked_sub(1) {
            None => format!(
                "s0 as (select session_id, min(timestamp) as at from {{events}} where name = '{name}' and {range} group by 1)"
            ),
            Some(before) => format!(
                "s{number} as (select e.session_id, min(e.timestamp) as at from {{events}} e join s{before} s on e.session_id = s.session_id \
                 and e.timestamp > s.at where e.name = '{name}' and {range} group by 1)"
            ),
        });
    }
    let counts = (0..STEPS.len()).map(|step| format!("(select count(*) from s{step})"));
    format!("with {} select {}", tables.join(", "), counts.collect::<Vec<_>>().join(", "))
}

fn paths_sql(dialect: Dialect) -> String {
    let range = dialect.range(FROM, TO);
    if dialect == Dialect::ClickHouse {
        return format!(
            "select arrayStringConcat(path, '>') as p, count() from (select arraySlice(arrayCompact(arrayMap(x -> x.2, \
             arraySort(groupArray((timestamp, category))))), 1, 4) as path from {{events}} where {range} group by session_id) group by p"
        );
    }
    format!(
        "with e as (select session_id, timestamp, category, lag(category) over (partition by session_id order by timestamp) as before \
         from {{events}} where {range}), \
         k as (select session_id, category, row_number() over (partition by session_id order by timestamp) as step from e \
         where before is distinct from category), \
         p as (select session_id, string_agg(category, '>' order by step) as path from k where step <= 4 group by 1) \
         select path, count(*) from p group by 1"
    )
}

fn sessions_list() -> Question {
    let from = TO - DAY;
    Question {
        key: "sessions",
        name: "sessions of the last 24 hours with the most events",
        request: Request::Get(format!("/v1/sessions?from={}&to={}&sort=events&limit=100", time(from), time(TO))),
        rows: |answer| texts_of(&answer["sessions"], &["session_id", "events", "first_name", "last_name"]),
        sql: Box::new(move |dialect| {
            let range = dialect.range(from, TO);
            let (first, last, id) = match dialect {
                Dialect::DuckDb => ("arg_min(name, timestamp)", "arg_max(name, timestamp)", "session_id"),
                Dialect::ClickHouse => ("argMin(name, timestamp)", "argMax(name, timestamp)", "toString(session_id)"),
                Dialect::Postgres => {
                    return format!(
                        "select s.session_id, s.n, f.name, l.name, s.began, s.ended from (select session_id, count(*) as n, \
                         min(timestamp) as began, max(timestamp) as ended from {{events}} where {range} group by 1 \
                         order by 2 desc, 1 desc limit 100) s \
                         cross join lateral (select name from {{events}} e where e.session_id = s.session_id and e.timestamp = s.began limit 1) f \
                         cross join lateral (select name from {{events}} e where e.session_id = s.session_id and e.timestamp = s.ended limit 1) l \
                         order by 2 desc, 1 desc"
                    );
                }
            };
            format!(
                "select {id} as id, count(*) as n, {first}, {last}, min(timestamp), max(timestamp) from {{events}} \
                 where {range} group by session_id order by n desc, id desc limit 100"
            )
        }),
        compared: 4,
        parted: None,
        ratio_max: 0.8,
        milliseconds_max: None,
    }
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn texts_of(list: &Value, keys: &[&str]) -> Vec<String> {
    let list = list.as_array().map_or(&[][..], Vec::as_slice);
    list.iter().map(|one| keys.iter().map(|key| text(&one[*key])).collect::<Vec<_>>().join("|")).collect()
}

fn seconds(time: &Value) -> i64 {
    time.as_str().and_then(Timestamp::parse).map_or(-1, |time| time.micros() / 1_000_000)
}

/// Of a trend: time, breakdown and number of every cell that is not 0.
fn cells(answer: &Value) -> Vec<String> {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let times: Vec<i64> = list(&answer["times"]).iter().map(seconds).collect();
    let mut rows = Vec::new();
    for series in list(&answer["series"]) {
        let breakdown: String = list(&series["breakdown"]).iter().map(|value| text(value) + "|").collect();
        let values = list(&series["values"]);
        let cells = times.iter().zip(&values).filter(|(_, value)| **value != 0);
        rows.extend(cells.map(|(time, value)| format!("{time}|{breakdown}{}", text(value))));
    }
    rows
}

/// Of a tree of paths: each whole path, and how many took it and nothing more.
fn walk(node: &Value, path: &str, rows: &mut Vec<String>) {
    for child in node["children"].as_array().map_or(&[][..], Vec::as_slice) {
        let here = format!("{path}{}", text(&child["label"]));
        let is_last = here.matches('>').count() == 3;
        let ended = if is_last { &child["units"] } else { &child["ended"] };
        if *ended != 0 {
            rows.push(format!("{here}|{ended}"));
        }
        walk(child, &(here + ">"), rows);
    }
}
