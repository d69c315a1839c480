//! What the recordings do not show: the deliberate deviations, hostile bodies, and random ones.

use eye_event::{Limits, Problem, RejectCode, Rejection, check};
use proptest::prelude::*;

use super::*;

const JSON: Option<&str> = Some("application/json");
const LATE: Timestamp = Timestamp::from_micros(2_000_000_000_000_000);

fn with(field: &str, json: &str) -> Vec<u8> {
    let mut body =
        String::from(r#"{"session_id":"s","category":"c","name":"n","data":{},"timestamp":"2022-01-09 09:15:27.5""#);
    body.push_str(&format!(",\"{field}\":{json}}}"));
    body.into_bytes()
}

fn problems(body: &[u8]) -> eye_event::Problems {
    let event = decode_event(body, JSON).unwrap();
    check(&event.draft(), LATE, &Limits::default()).unwrap().event().problems
}

#[test]
fn a_timestamp_that_is_no_time_is_stored_flagged_and_given_back() {
    for (json, echoed) in [
        ("\"nonsense\"", "\"nonsense\""),
        ("\"\"", "\"\""),
        ("true", "\"true\""),
        ("[1, 2]", "\"[1, 2]\""),
        (r#""\ud800""#, r#""\"\\ud800\"""#),
        ("1e999", "\"1e999\""),
    ] {
        let body = with("timestamp", json);
        let echo = decode_event(&body, JSON).unwrap().echo();
        assert!(echo.ends_with(&format!(",\"timestamp\":{echoed}}}")), "{echo}");
        assert!(problems(&body).contains(Problem::TimestampUnreadable), "{json}");
        let event = decode_event(&body, JSON).unwrap();
        let draft = event.draft();
        let checked = check(&draft, LATE, &Limits::default()).unwrap();
        let mut stored = String::new();
        event_json(&mut stored, &checked.event());
        assert_eq!(stored, echo, "the answer to POST and the stored event are one");
    }
}

#[test]
fn readable_timestamps_are_given_back_in_the_seeds_format() {
    for json in ["1641719727.25", "\"2022-01-09T11:15:27.25+02:00\"", "\"1641719727250\""] {
        let body = with("timestamp", json);
        let echo = decode_event(&body, JSON).unwrap().echo();
        assert!(echo.ends_with(",\"timestamp\":\"2022-01-09 09:15:27.250000\"}"), "{echo}");
        assert!(problems(&body).is_empty());
    }
}

#[test]
fn a_string_event_id_is_honoured_and_anything_else_is_an_unknown_field() {
    let event_id = |json: &str| {
        decode_event(&with("event_id", json), JSON).map(|event| event.draft().event_id.map(Cow::into_owned))
    };
    assert_eq!(event_id("\"k-1\""), Ok(Some("k-1".to_owned())));
    for ignored in ["7", "null", "{}", "true"] {
        assert_eq!(event_id(ignored), Ok(None), "{ignored}");
    }
    let body = event_id(r#""\udfff""#).unwrap_err().body;
    assert_eq!(body, r#"{"event_id":["Surrogate characters are not allowed: U+DFFF."]}"#);
}

#[test]
fn payloads_keep_their_numbers_and_their_order() {
    let body = with("data", r#"{"z": 123456789012345678901234567890.10, "a": 1E400, "z": -0}"#);
    let event = decode_event(&body, JSON).unwrap();
    assert_eq!(event.draft().data, Some(r#"{"z": 123456789012345678901234567890.10, "a": 1E400, "z": -0}"#));
    assert!(event.echo().contains(r#""data":{"z":123456789012345678901234567890.10,"a":1E400,"z":-0}"#));
}

#[test]
fn hostile_payloads_are_flagged_not_refused() {
    for data in [r#"{"a":"\u0000"}"#, r#"{"a":"\ud800"}"#, "[1]", "\"x\""] {
        assert!(problems(&with("data", data)).contains(Problem::PayloadUnexpected), "{data}");
    }
    let echo = decode_event(&with("data", r#"{"a":"\uD800"}"#), JSON).unwrap().echo();
    assert!(echo.contains(r#""data":{"a":"\ud800"}"#), "{echo}");
}

#[test]
fn deep_and_large_payloads_are_refused_by_name() {
    let deep = with("data", &format!("{}{}", "[".repeat(100), "]".repeat(100)));
    let rejection = check(&decode_event(&deep, JSON).unwrap().draft(), LATE, &Limits::default()).unwrap_err();
    let error = refused(&rejection);
    assert_eq!(error.status, 400);
    assert_eq!(error.body, r#"{"data":["data is nested deeper than 64 levels: flatten it"]}"#);
    let large = with("data", &format!("\"{}\"", "x".repeat(70_000)));
    let rejection = check(&decode_event(&large, JSON).unwrap().draft(), LATE, &Limits::default()).unwrap_err();
    assert_eq!(refused(&rejection).status, 413);
    let whole = refused(&Rejection::new(RejectCode::NotJson, "", "m"));
    assert_eq!((whole.status, whole.body.as_str()), (400, r#"{"detail":"m"}"#));
}

#[test]
fn a_million_byte_session_id_is_refused() {
    let error = decode_event(&with("session_id", &format!("\"{}\"", "x".repeat(1_000_000))), JSON).unwrap_err();
    assert_eq!(error.body, r#"{"session_id":["Ensure this field has no more than 255 characters."]}"#);
}

#[test]
fn ten_megabytes_of_brackets_cost_no_stack() {
    let open = "[".repeat(10_000_000);
    let error = decode_event(&with("data", &open), JSON).unwrap_err();
    assert!(
        error.body.starts_with(r#"{"detail":"JSON parse error - Expecting value: line 1 column "#),
        "{}",
        error.body
    );
    let closed = format!("{open}{}", "]".repeat(10_000_000));
    assert!(decode_event(&with("unknown", &closed), JSON).is_ok());
}

#[test]
fn text_plain_is_json_and_other_types_are_named() {
    assert!(decode_event(&with("x", "1"), Some("text/plain;charset=UTF-8")).is_ok());
    let error = decode_event(b"{}", Some("text/html")).unwrap_err();
    assert_eq!(
        (error.status, error.body.as_str()),
        (415, r#"{"detail":"Unsupported media type \"text/html\" in request."}"#)
    );
}

proptest! {
    #[test]
    fn random_bytes_never_panic(body in proptest::collection::vec(any::<u8>(), 0..200), content_type in content_types()) {
        let _ = decode_event(&body, Some(content_type)).map(|event| event.echo());
        let _ = decode_args(false, None, &body, Some(content_type)).map(|args| args.range());
        let _ = authorization(Some(&body));
    }

    #[test]
    fn mutated_events_never_panic_and_accepted_ones_echo_as_json(at in 0_usize..100, byte in any::<u8>(), content_type in content_types()) {
        let mut body = with("extra", r#"[{"a": "\ud83d\ude00\n"}]"#);
        body[at] = byte;
        if let Ok(event) = decode_event(&body, Some(content_type)) {
            prop_assert!(serde_json::from_str::<serde_json::Value>(&event.echo()).is_ok(), "{}", event.echo());
        }
    }

    #[test]
    fn accepted_events_say_what_serde_json_reads(session in "\\PC{1,40}", name in "\\PC{1,40}", number in any::<i64>()) {
        prop_assume!(!session.trim().is_empty() && !name.trim().is_empty());
        let sent = serde_json::json!({
            "session_id": session, "category": number, "name": name, "data": {"k": [number, name]}, "timestamp": "x"
        });
        let body = serde_json::to_vec_pretty(&sent).unwrap();
        let echo: serde_json::Value = serde_json::from_str(&decode_event(&body, JSON).unwrap().echo()).unwrap();
        prop_assert_eq!(&echo["session_id"], session.trim());
        prop_assert_eq!(&echo["category"], &number.to_string());
        prop_assert_eq!(&echo["name"], name.trim());
        prop_assert_eq!(&echo["data"], &sent["data"]);
    }

    #[test]
    fn any_query_is_read(query in ".{0,60}") {
        let _ = decode_args(true, Some(&query), b"", None);
        let _ = accepts(Some(&query));
    }
}

fn content_types() -> impl Strategy<Value = &'static str> {
    proptest::sample::select(vec![
        "application/json",
        "application/json; charset=latin-1",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=a",
        "text/plain",
    ])
}
