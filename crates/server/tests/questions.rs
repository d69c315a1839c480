//! Questions, from outside: the real binary over HTTP and on its command line. The two agree, a flush and a restart change
//! nothing, and nobody sees over the wall of an application.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on says where")]

mod common;

use common::{Answer, Server};
use serde_json::{Value, json};

fn post(server: &Server, token: &str, path: &str, body: &Value) -> Answer {
    let authorization = format!("Token {token}");
    let headers = [("authorization", authorization.as_str()), ("content-type", "application/json")];
    common::http("POST", &format!("{}{path}", server.url), &headers, body.to_string().as_bytes()).unwrap()
}

fn ask(server: &Server, token: &str, question: &str, body: &Value) -> Value {
    let answer = post(server, token, &format!("/v1/query/{question}"), body);
    assert_eq!(answer.status, 200, "{question} {body}: {}", answer.text());
    answer.json()
}

fn event(number: u32, session: &str, name: &str, minute: u32, data: &Value) -> Value {
    json!({
        "event_id": format!("e{number}"), "session_id": session, "category": "shop", "name": name, "data": data,
        "user_id": format!("user of {session}"), "timestamp": format!("2022-01-09T09:{minute:02}:00Z"),
    })
}

/// Three sessions: one buys, one stops at the cart, one only looks.
fn shop() -> Value {
    json!([
        event(1, "one", "view", 0, &json!({"plan": "pro"})),
        event(2, "one", "cart", 1, &json!({"plan": "pro"})),
        event(3, "one", "buy", 5, &json!({"plan": "pro", "amount": 12.5})),
        event(4, "two", "view", 2, &json!({"plan": "free"})),
        event(5, "two", "cart", 3, &json!({"plan": "free", "amount": "none"})),
        event(6, "three", "view", 4, &json!({})),
        event(7, "three", "view", 5, &json!({"bot": true})),
    ])
}

const RANGE: [(&str, &str); 2] = [("from", "2022-01-09"), ("to", "2022-01-10")];

/// A question's body over the day of the events.
fn body(fields: &Value) -> Value {
    let mut body = fields.as_object().unwrap().clone();
    body.extend(RANGE.map(|(name, value)| (name.to_owned(), value.into())));
    Value::Object(body)
}

/// What a command prints as JSON, without what a flush changes.
fn figures(mut answer: Value) -> Value {
    answer.as_object_mut().unwrap().remove("version");
    answer
}

fn told(server: &Server, arguments: &[&str]) -> String {
    let range = ["--from", "2022-01-09", "--to", "2022-01-10"];
    let output = server.eye(&[arguments, &range].concat());
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{text}{}", String::from_utf8_lossy(&output.stderr));
    text
}

fn said(server: &Server, arguments: &[&str]) -> Value {
    serde_json::from_str(&told(server, &[arguments, &["--json"]].concat())).unwrap()
}

#[test]
fn questions_have_the_same_answer_everywhere_and_after_a_flush_and_a_restart() {
    let mut server = Server::start();
    let token = server.token();
    assert_eq!(post(&server, &token, "/v1/events", &shop()).status, 200);
    let questions: [(&str, Value, Vec<&str>); 4] = [
        (
            "trend",
            json!({"measure": "sum(data.amount)", "interval": "hour", "breakdown": ["data.plan"], "query": "-data.bot=true"}),
            vec![
                "trend",
                "-data.bot=true",
                "--measure",
                "sum(data.amount)",
                "--interval",
                "hour",
                "--breakdown",
                "data.plan",
            ],
        ),
        (
            "funnel",
            json!({"steps": ["name:view", "name:cart", "name:buy"], "window": "10m"}),
            vec!["funnel", "name:view", "name:cart", "name:buy", "--window", "10m"],
        ),
        (
            "retention",
            json!({"by": "user", "start": "name:view", "return": "name:cart", "cohort": 0, "period": 0}),
            vec![
                "retention",
                "--by",
                "user",
                "--interval",
                "day",
                "--start",
                "name:view",
                "--return",
                "name:cart",
                "--cell",
                "0,0",
            ],
        ),
        ("paths", json!({"start": "name:view", "depth": 3}), vec!["paths", "--start", "name:view", "--depth", "3"]),
    ];
    let answers = |server: &Server| -> Vec<Value> {
        let one = |(question, fields, arguments): &(&str, Value, Vec<&str>)| {
            let answer = ask(server, &token, question, &body(fields));
            assert_eq!(said(server, arguments), answer, "{question}: the command line says something else");
            figures(answer)
        };
        questions.iter().map(one).collect()
    };
    let before = answers(&server);

    assert_eq!(before[0]["series"][0]["breakdown"], json!(["pro"]));
    assert_eq!((&before[0]["series"][0]["total"], &before[0]["without_value"]), (&json!(12.5), &json!(5)));
    let counts: Vec<_> = before[1]["total"].as_array().unwrap().iter().map(|step| step["count"].clone()).collect();
    assert_eq!(counts, [json!(3), json!(2), json!(1)]);
    assert_eq!(before[1]["total"][1]["dropped_samples"], json!(["two"]));
    assert_eq!((&before[2]["cohorts"][0]["size"], &before[2]["cohorts"][0]["cells"]), (&json!(3), &json!([2])));
    assert_eq!(before[2]["cell"]["units"][0], json!({"id": "user of one", "sessions": ["one"]}));
    assert_eq!((&before[3]["units"], &before[3]["children"][0]["ended"]), (&json!(3), &json!(1)));

    assert_eq!(post(&server, &server.admin_token(), "/v1/flush", &json!({})).status, 200);
    assert_eq!(answers(&server), before, "after a flush");
    server.restart();
    assert_eq!(answers(&server), before, "after a restart");
}

#[test]
fn answers_are_readable_and_figures_come_as_csv() {
    let server = Server::start();
    assert_eq!(post(&server, &server.token(), "/v1/events", &shop()).status, 200);
    let trend = told(&server, &["trend", "--interval", "hour", "--time-zone", "Asia/Kolkata"]);
    assert!(trend.contains("2022-01-09 14:00      7  ████"), "{trend}");
    let csv = told(&server, &["trend", "--interval", "whole", "--breakdown", "name", "--csv"]);
    assert_eq!(csv.lines().next(), Some("period,begins,name,rest,events"));
    assert!(csv.contains("\nthis,2022-01-09T00:00:00.000000Z,view,false,4\n"), "{csv}");
    let funnel = told(&server, &["funnel", "name:view", "name:cart"]);
    assert!(funnel.contains("name:cart      2    66.7 %       66.7 %   1 min  1 min"), "{funnel}");
    assert!(funnel.contains("stopped at name:view: three"), "{funnel}");
    let retention = told(&server, &["retention", "--interval", "day", "--csv"]);
    assert_eq!(retention.lines().nth(1), Some("2022-01-09T00:00:00.000000Z,3,0,3"));
    let paths = told(&server, &["paths", "--depth", "2"]);
    let rows: Vec<Vec<_>> = paths.lines().skip(3).map(|line| line.split_whitespace().take(4).collect()).collect();
    assert_eq!(rows[0][..3], ["view", "3", "100.0"], "{paths}");
    assert_eq!(rows[1][..3], ["cart", "2", "66.7"], "{paths}");
    assert_eq!(rows[2][..3], ["(end)", "1", "33.3"], "{paths}");
    let sessions = told(&server, &["sessions", "name:cart", "--sort", "start", "--order", "asc"]);
    let ids: Vec<_> = sessions.lines().skip(1).filter_map(|line| line.split_whitespace().next()).collect();
    assert_eq!(ids, ["one", "two"], "{sessions}");
    let sessions = told(&server, &["sessions", "--sort", "names", "--order", "desc"]);
    let rows: Vec<Vec<_>> = sessions.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[0][3..7], ["events", "names", "problems", "user"], "{sessions}");
    let of_three = rows.iter().find(|row| row[0] == "three").unwrap();
    assert!(of_three.ends_with(&["default", "view", "view"]), "{sessions}");
    assert!(rows[1][0] == "one" && sessions.lines().nth(1).unwrap().contains("user of one"), "{sessions}");
    assert!(told(&server, &["events", "data.plan=free", "--json"]).contains("\"e5\""));
}

#[test]
fn nobody_sees_over_the_wall_of_an_application() {
    let server = Server::start();
    let admin = server.admin_token();
    assert_eq!(post(&server, &server.token(), "/v1/events", &shop()).status, 200);
    assert_eq!(post(&server, &admin, "/v1/applications", &json!({"name": "other"})).status, 201);
    let new = json!({"name": "other reader", "kind": "read", "application": "other"});
    let answer = post(&server, &admin, "/v1/tokens", &new);
    let other = answer.json()["token"].as_str().unwrap().to_owned();
    for fields in [json!({}), json!({"query": "app:default"}), json!({"query": "-app:other OR name:view"})] {
        let trend = ask(&server, &other, "trend", &body(&fields));
        assert_eq!(trend["series"][0]["total"], 0, "{fields}");
        let steps = json!({"steps": ["name:view", "name:cart"], "query": fields["query"]});
        assert_eq!(ask(&server, &other, "funnel", &body(&steps))["total"][0]["count"], 0);
        assert_eq!(ask(&server, &other, "retention", &body(&fields))["cohorts"][0]["size"], 0);
        assert_eq!(ask(&server, &other, "paths", &body(&fields))["units"], 0);
    }
    let nobody = post(&server, "eye_sk_wrong", "/v1/query/trend", &json!({}));
    assert_eq!(nobody.status, 401);
}

#[test]
fn what_a_question_may_hold_changes_no_figure() {
    let answers = |bytes: &str| -> Vec<Value> {
        let server = Server::start_with(&["--question-runs-bytes-max", bytes]);
        let token = server.token();
        assert_eq!(post(&server, &token, "/v1/events", &shop()).status, 200);
        assert_eq!(post(&server, &server.admin_token(), "/v1/flush", &json!({})).status, 200);
        let questions = [
            ("trend", json!({"measure": "sessions", "interval": "hour"})),
            ("funnel", json!({"steps": ["name:view", "name:cart", "name:buy"]})),
            ("retention", json!({"by": "user", "start": "name:view", "return": "name:cart"})),
            ("paths", json!({"start": "name:view", "depth": 3})),
        ];
        let one = |(question, fields): (&str, Value)| figures(ask(&server, &token, question, &body(&fields)));
        questions.into_iter().map(one).collect()
    };
    let held = answers("256MiB");
    assert_eq!((&held[1]["total"][0]["count"], &held[3]["units"]), (&json!(3), &json!(3)));
    assert_eq!(answers("0B"), held);
}

#[test]
fn wrong_questions_are_refused_by_name() {
    let server = Server::start();
    let token = server.token();
    for (question, fields, wrong) in [
        ("trend", json!({"query": "checkout"}), "query"),
        ("trend", json!({"measure": "median(data.a)"}), "measure"),
        ("trend", json!({"interval": "year"}), "interval"),
        ("trend", json!({"breakdown": ["nothing"]}), "breakdown"),
        ("trend", json!({"breakdown": ["name", "category", "data.a"]}), "breakdown"),
        ("trend", json!({"time_zone": "Mars/Olympus"}), "time_zone"),
        ("trend", json!({"from": "2022-01-11"}), "from"),
        ("trend", json!({"nothing": 1}), "nothing"),
        ("funnel", json!({}), "steps"),
        ("funnel", json!({"steps": ["name:a"]}), "steps"),
        ("funnel", json!({"steps": ["name:a", "name"]}), "steps"),
        ("funnel", json!({"steps": ["name:a", "since:1h name:b"]}), "steps"),
        ("funnel", json!({"steps": ["name:a", "name:b"], "window": "soon"}), "window"),
        ("retention", json!({"interval": "hour"}), "interval"),
        ("retention", json!({"cohort": 1}), "period"),
        ("retention", json!({"return": "name"}), "return"),
        ("paths", json!({"start": "name:a", "end": "name:b"}), "end"),
        ("paths", json!({"step": "nothing"}), "step"),
    ] {
        let mut sent = fields.as_object().unwrap().clone();
        sent.entry("to").or_insert_with(|| "2022-01-10".into());
        let answer = post(&server, &token, &format!("/v1/query/{question}"), &Value::Object(sent));
        let problem = answer.json();
        assert_eq!((answer.status, problem["field"].as_str()), (400, Some(wrong)), "{question} {fields}: {problem}");
        assert!(!problem["detail"].as_str().unwrap().is_empty());
    }
    let list = common::http(
        "GET",
        &format!("{}/v1/events?query=name%3Aa+foo", server.url),
        &[("authorization", &format!("Token {token}"))],
        b"",
    );
    let problem = list.unwrap().json();
    assert!(problem["detail"].as_str().unwrap().contains("(at character 8: name:a ⟨here⟩foo)"), "{problem}");
}
