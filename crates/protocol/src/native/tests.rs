//! Every shape of body, every way an item can be wrong, and the decoder against serde_json's own reading.

use eye_event::{Limits, Problem, RawTime, check};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

const NDJSON: Option<&str> = Some("application/x-ndjson; charset=utf-8");

fn read(body: &[u8]) -> Result<Decoded<'_>, BodyError> {
    decode(body, None, &NativeLimits::default())
}

fn only(body: &str) -> Result<Draft<'_>, Rejection> {
    let mut items = read(body.as_bytes()).unwrap().items;
    assert_eq!(items.len(), 1, "{body}");
    items.remove(0).draft
}

/// An event with one more field.
fn with(field: &str, value: &str) -> String {
    format!(r#"{{"category":"c","name":"n","data":{{}},"{field}":{value}}}"#)
}

fn code(refused: Result<Draft<'_>, Rejection>) -> (&'static str, String) {
    let rejection = refused.unwrap_err();
    (rejection.code.code(), rejection.field.into_owned())
}

fn kinds(decoded: &Decoded<'_>) -> Vec<&'static str> {
    decoded.items.iter().map(|item| item.draft.as_ref().map_or_else(|error| error.code.code(), |_| "ok")).collect()
}

#[test]
fn an_event_is_read_whole_and_borrowed() {
    let body = concat!(
        r#" {"event_id":"e","session_id":"s","category":"c","name":"n","timestamp":"2022-01-09T09:15:27Z","#,
        r#""sent_at":1641719728,"user_id":"u","anonymous_id":"a","data": {"x" : 1.0} ,"context":[],"unknown":{"k":[]}} "#
    );
    let draft = only(body).unwrap();
    assert_eq!(
        draft,
        Draft {
            event_id: Some("e".into()),
            session_id: Some("s".into()),
            category: Some("c".into()),
            name: Some("n".into()),
            timestamp: RawTime::Text("2022-01-09T09:15:27Z".into()),
            sent_at: Timestamp::parse("2022-01-09T09:15:28Z"),
            user_id: Some("u".into()),
            anonymous_id: Some("a".into()),
            data: Some(r#"{"x" : 1.0}"#),
            context: Some("[]"),
        }
    );
    assert!(matches!(draft.session_id, Some(Cow::Borrowed(_))));
    assert_eq!(read(body.as_bytes()).unwrap().items[0].bytes, body.trim().as_bytes());
}

#[test]
fn the_four_shapes_give_the_same_events() {
    let [one, two] = [with("session_id", "\"1\""), with("session_id", "\"2\"")];
    let expected = [only(&one).unwrap(), only(&two).unwrap()];
    for body in [
        format!("[{one} ,\n{two}]\n"),
        format!("{one}\n{two}\n"),
        format!("\u{feff}{one}\r\n\r\n  \n{two}"),
        format!("{one}{two}"),
        format!("{one} \t{two} "),
        format!("{}\n{two}", one.replace(',', ",\n")),
        format!(r#"{{"events":[{one},{two}]}}"#),
    ] {
        let decoded = read(body.as_bytes()).unwrap();
        let drafts: Vec<_> = decoded.items.into_iter().map(|item| item.draft.unwrap()).collect();
        assert_eq!(drafts, expected, "{body}");
    }
}

#[test]
fn an_envelope_gives_its_token_and_its_clock() {
    let body = br#"{"token":"t\u006bn","sent_at":"2022-01-09T09:15:27Z","name":5,"events":[{},{"sent_at":0},{"sent_at":"?"}]}"#;
    let decoded = read(body).unwrap();
    let clock = Timestamp::parse("2022-01-09T09:15:27Z");
    assert_eq!((decoded.token.as_deref(), decoded.sent_at), (Some("tkn"), clock));
    let sent_at: Vec<_> = decoded.items.iter().map(|item| item.draft.as_ref().unwrap().sent_at).collect();
    assert_eq!(sent_at, [clock, Some(Timestamp::from_micros(0)), clock]);
    let plain = read(br#"{"token":7,"sent_at":"?","events":[]}"#).unwrap();
    assert_eq!(plain, Decoded { sent_at: None, token: None, items: Vec::new() });
    assert_eq!(read(br#"{"events":[],"events":[]}"#).unwrap_err().kind, BodyErrorKind::NotAnEvent);
    let big = read(br#"{"user_id":100000000000000000000,"token":"t","events":[{}]}"#).unwrap();
    assert_eq!((big.token.as_deref(), big.items.len()), (Some("t"), 1));
    assert!(only(r#"{"name":"n","events":{}}"#).is_ok(), "only an array makes an envelope");
}

#[test]
fn a_bad_item_never_harms_its_neighbours() {
    let good = with("session_id", "\"s\"");
    let array = format!(r#"[{good},5,{{"name":true}},[],null,{good}]"#);
    let expected = ["ok", "not_an_object", "wrong_type", "not_an_object", "not_an_object", "ok"];
    let decoded = read(array.as_bytes()).unwrap();
    assert_eq!(kinds(&decoded), expected);
    assert_eq!(decoded.items[2].bytes, br#"{"name":true}"#);
    let lines = format!("{good}\n5\n{{\"name\":true}}\n[]\n{{\"a\":\n{good} x\n\"\n{good}");
    let decoded = read(lines.as_bytes()).unwrap();
    let expected = ["ok", "not_an_object", "wrong_type", "not_an_object", "not_json", "not_json", "not_json", "ok"];
    assert_eq!(kinds(&decoded), expected);
    assert_eq!(decoded.items[4].bytes, b"{\"a\":");
}

#[test]
fn a_bad_line_says_at_which_byte() {
    let decoded = decode(b"\r\n{\"a\":1,}\r\n", NDJSON, &NativeLimits::default()).unwrap();
    let rejection = decoded.items[0].draft.clone().unwrap_err();
    assert_eq!(
        rejection.message,
        "not JSON at byte 7 of the line: expected a property name in double quotes; send one JSON object a line"
    );
    assert_eq!(decoded.items.len(), 1);
}

#[test]
fn lines_that_are_not_utf8_stand_alone() {
    let body = b"{\"session_id\":\"a\"}\n{\"session_id\":\"\xff\"}\n{\"session_id\":\"b\"}";
    for content_type in [NDJSON, None] {
        let decoded = decode(body, content_type, &NativeLimits::default()).unwrap();
        assert_eq!(kinds(&decoded), ["ok", "not_utf8", "ok"]);
        assert!(decoded.items[1].draft.clone().unwrap_err().message.contains("byte 15 of the line"));
    }
}

#[test]
fn a_body_that_cannot_be_cut_says_why_and_where() {
    for (body, kind) in [
        (&b""[..], BodyErrorKind::Empty),
        (b" \r\n", BodyErrorKind::Empty),
        (b"\xef\xbb\xbf ", BodyErrorKind::Empty),
        (b"hello", BodyErrorKind::NotJson { byte: 0 }),
        (b"  {\"a\":1,}", BodyErrorKind::NotJson { byte: 9 }),
        (b"{\"a\":NaN}", BodyErrorKind::NotJson { byte: 5 }),
        (b"[{},", BodyErrorKind::NotJson { byte: 4 }),
        (b"[{} {}]", BodyErrorKind::NotJson { byte: 4 }),
        (b"[{}] x", BodyErrorKind::NotJson { byte: 5 }),
        (b"[{\"a\" 1}]", BodyErrorKind::NotJson { byte: 6 }),
        (b"{\"events\":[{},]}", BodyErrorKind::NotJson { byte: 14 }),
        (b"{} x", BodyErrorKind::NotJson { byte: 3 }),
        (b"{} {} x", BodyErrorKind::NotJson { byte: 6 }),
        (b"[{\"a\":\"\xff\"}]", BodyErrorKind::NotUtf8 { byte: 7 }),
        (b"5", BodyErrorKind::NotAnEvent),
        (b"\"x\" ", BodyErrorKind::NotAnEvent),
        (b"null", BodyErrorKind::NotAnEvent),
        (b"nul", BodyErrorKind::NotJson { byte: 0 }),
    ] {
        let error = read(body).unwrap_err();
        assert_eq!(error.kind, kind, "{}", String::from_utf8_lossy(body));
        if let BodyErrorKind::NotJson { byte } | BodyErrorKind::NotUtf8 { byte } = kind {
            assert!(error.message.contains(&format!("at byte {byte}")), "{}", error.message);
        }
    }
}

#[test]
fn too_many_events_are_refused_in_every_shape() {
    let limits = NativeLimits { events_max: 2 };
    for (two, three) in [
        ("[{},{}]", "[{},{},{}]"),
        ("{}\n{}", "{}\n{}\n{}"),
        ("{}{}", "{}{}{}"),
        (r#"{"events":[{},{}]}"#, r#"{"events":[{},{},{}]}"#),
    ] {
        assert_eq!(decode(two.as_bytes(), None, &limits).unwrap().items.len(), 2);
        let error = decode(three.as_bytes(), None, &limits).unwrap_err();
        assert_eq!(error.kind, BodyErrorKind::TooManyEvents { max: 2 }, "{three}");
    }
}

#[test]
fn the_field_to_blame_is_named() {
    for (field, json, blamed) in [
        ("session_id", "1.5", "wrong_type"),
        ("session_id", "1e3", "wrong_type"),
        ("session_id", "true", "wrong_type"),
        ("session_id", "{}", "wrong_type"),
        ("event_id", "[]", "wrong_type"),
        ("user_id", "false", "wrong_type"),
        ("anonymous_id", "{\"a\":1}", "wrong_type"),
        ("session_id", r#""\ud800""#, "lone_surrogate"),
        ("user_id", r#""\udc00\ud800""#, "lone_surrogate"),
        ("category", "\"twice\"", "duplicate_field"),
        ("category", "5", "duplicate_field"),
        ("data", "null", "duplicate_field"),
        ("\\u006eame", "null", "duplicate_field"),
    ] {
        let body = with(field, json);
        let (code, named) = code(only(&body));
        assert_eq!(code, blamed, "{body}");
        assert_eq!(named, field.replace("\\u006e", "n"), "{body}");
    }
    assert_eq!(code(only(r#"{"name":5}"#)), ("wrong_type", "name".to_owned()));
    let rejection = only(r#"{"name":5}"#).unwrap_err();
    assert_eq!(rejection.message, "name is a number: send a string");
}

#[test]
fn integers_are_ids_digit_for_digit() {
    for digits in
        ["0", "-0", "12", "-9223372036854775808", "18446744073709551615", "340282366920938463463374607431768211456"]
    {
        for field in ["event_id", "session_id", "user_id", "anonymous_id"] {
            let body = with(field, digits);
            let draft = only(&body).unwrap();
            let ids = [draft.event_id, draft.session_id, draft.user_id, draft.anonymous_id];
            let given: Vec<_> = ids.into_iter().flatten().collect();
            assert_eq!(given, [digits], "{field}");
        }
    }
}

#[test]
fn null_is_absent() {
    let body = r#"{"event_id":null,"session_id":null,"category":null,"name":null,"timestamp":null,"sent_at":null,
        "user_id":null,"anonymous_id":null,"data":null,"context":null}"#;
    assert_eq!(only(body), Ok(Draft::default()));
    // The slow read says the same: a number beyond 64 bits sends it there.
    let slow = only(&body.replace("\"user_id\":null", "\"user_id\":100000000000000000000"))
        .map(|draft| draft.user_id.is_some());
    assert_eq!(slow, Ok(true));
}

#[test]
fn timestamps_are_kept_as_sent() {
    for (json, expected) in [
        ("\"x\"", RawTime::Text("x".into())),
        ("\"\\u0078\"", RawTime::Text("x".into())),
        ("1.50", RawTime::Number("1.50")),
        ("-1e3", RawTime::Number("-1e3")),
        ("true", RawTime::Other("true")),
        ("[ 1 ]", RawTime::Other("[ 1 ]")),
        (r#""\ud800""#, RawTime::Other(r#""\ud800""#)),
    ] {
        assert_eq!(only(&with("timestamp", json)).unwrap().timestamp, expected, "{json}");
    }
}

#[test]
fn payloads_are_lossless() {
    let data = r#"{"n":123456789012345678901234567890.10,"m":1e999,"z":1,"z":"\u00e9\/","s":"\ud800\u0000"}"#;
    let body = format!(r#"{{"session_id":"s","category":"c","name":"n","data": {data} }}"#);
    let draft = only(&body).unwrap();
    assert_eq!(draft.data, Some(data));
    let checked = check(&draft, Timestamp::from_micros(0), &Limits::default()).unwrap();
    assert!(checked.event().problems.contains(Problem::PayloadUnexpected));
}

#[test]
fn what_is_decoded_may_still_be_refused_by_the_check() {
    let deep = format!("{}{}", "[".repeat(100), "]".repeat(100));
    let long = format!("\"{}\"", "x".repeat(1_000_000));
    for (field, json, code) in [
        ("session_id", long.as_str(), "too_long"),
        ("session_id", "\"\"", "empty_field"),
        ("session_id", "\"a\\u0000\"", "nul_character"),
        ("session_id", "null", "missing_field"),
        ("context", deep.as_str(), "too_deep"),
        ("unknown", deep.as_str(), "missing_field"),
    ] {
        let session = if field == "context" { ",\"session_id\":\"s\"}" } else { "}" };
        let body = format!("{}{session}", with(field, json).trim_end_matches('}'));
        let draft = only(&body).unwrap();
        let rejection = check(&draft, Timestamp::from_micros(0), &Limits::default()).unwrap_err();
        assert_eq!(rejection.code.code(), code, "{field}");
    }
}

#[test]
fn ten_megabytes_of_brackets_cost_no_stack() {
    let open = "[".repeat(10_000_000);
    for field in ["data", "unknown", "session_id", "events"] {
        let error = read(with(field, &open).as_bytes()).unwrap_err();
        assert!(matches!(error.kind, BodyErrorKind::NotJson { byte } if byte > 10_000_000), "{field}");
    }
    assert_eq!(read(open.as_bytes()).unwrap_err().kind, BodyErrorKind::NotJson { byte: open.len() });
    let closed = format!("{open}{}", "]".repeat(10_000_000));
    assert!(only(&with("context", &closed)).is_ok());
    assert!(only(&with("unknown", &closed)).is_ok());
    assert_eq!(code(only(&with("session_id", &closed))).0, "wrong_type");
}

fn optional_text() -> impl Strategy<Value = Option<String>> {
    proptest::option::of(".{0,12}")
}

prop_compose! {
    fn event()(
        ids in proptest::collection::vec(optional_text(), 6),
        time in prop_oneof![Just(Value::Null), any::<i64>().prop_map(Value::from), ".{0,12}".prop_map(Value::from)],
        number in any::<f64>(),
        deep in 0_usize..4,
    ) -> Value {
        let data = (0..deep).fold(json!({"n": number}), |inner, level| json!({"k": [inner, level]}));
        json!({
            "event_id": ids[0], "session_id": ids[1], "category": ids[2], "name": ids[3], "user_id": ids[4],
            "anonymous_id": ids[5], "timestamp": time, "data": data,
        })
    }
}

/// A draft against the same event as serde_json's own value: the two must say the same.
fn agrees(draft: &Draft<'_>, value: &Value) {
    let text = |field: &str| value[field].as_str().map(str::to_owned);
    assert_eq!(draft.event_id.as_deref(), text("event_id").as_deref());
    assert_eq!(draft.session_id.as_deref(), text("session_id").as_deref());
    assert_eq!(draft.category.as_deref(), text("category").as_deref());
    assert_eq!(draft.name.as_deref(), text("name").as_deref());
    assert_eq!(draft.user_id.as_deref(), text("user_id").as_deref());
    assert_eq!(draft.anonymous_id.as_deref(), text("anonymous_id").as_deref());
    assert_eq!(draft.data, Some(value["data"].to_string().as_str()));
    let time = match &draft.timestamp {
        RawTime::Missing => Value::Null,
        RawTime::Text(text) => Value::from(text.as_ref()),
        RawTime::Number(json) | RawTime::Other(json) => serde_json::from_str(json).unwrap(),
    };
    assert_eq!(time, value["timestamp"]);
}

proptest! {
    #[test]
    fn ndjson_of_any_events_round_trips(events in proptest::collection::vec(event(), 1..12), crlf in any::<bool>()) {
        let end = if crlf { "\r\n" } else { "\n" };
        let body: String = events.iter().map(|event| format!("{event}{end}")).collect();
        let decoded = decode(body.as_bytes(), NDJSON, &NativeLimits::default()).unwrap();
        prop_assert_eq!(decoded.items.len(), events.len());
        for (item, event) in decoded.items.iter().zip(&events) {
            agrees(item.draft.as_ref().unwrap(), event);
            let line = event.to_string();
            prop_assert_eq!(item.bytes, line.as_bytes());
        }
        let array = Value::from(events).to_string();
        let drafts = |decoded: Decoded<'_>| format!("{:?}", decoded.items.into_iter().map(|item| item.draft).collect::<Vec<_>>());
        prop_assert_eq!(drafts(read(array.as_bytes()).unwrap()), drafts(decoded));
    }

    /// The fast read and the slow one agree: an unknown field sent twice, which only the slow one
    /// lets pass, forces it.
    #[test]
    fn the_slow_read_reads_alike(event in event()) {
        let fast = event.to_string();
        let forced = fast.replacen('{', r#"{"events":1,"events":2,"#, 1);
        prop_assert_eq!(only(&forced), only(&fast));
    }

    #[test]
    fn random_bytes_never_panic(body in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = read(&body);
        let _ = decode(&body, NDJSON, &NativeLimits::default());
    }

    #[test]
    fn json_like_text_never_panics(body in r#"([\[\]{},:"\\ \n0-9a]|"events"|"name"|"session_id"|null|\{"name":1\}){0,30}"#) {
        let _ = read(body.as_bytes());
        let decoded = decode(body.as_bytes(), NDJSON, &NativeLimits::default());
        let lines = body.split('\n').filter(|line| !line.trim().is_empty()).count();
        prop_assert_eq!(decoded.map_or(0, |decoded| decoded.items.len()), lines);
    }

    /// Whatever happens to one line, its neighbours are read.
    #[test]
    fn mutated_lines_never_harm_their_neighbours(event in event(), cut in any::<prop::sample::Index>(), byte in any::<u8>()) {
        prop_assume!(byte != b'\n');
        let mut middle = event.to_string().into_bytes();
        let at = cut.index(middle.len());
        middle[at] = byte;
        let body = [b"{\"name\":\"first\"}\n", middle.as_slice(), b"\n{\"name\":\"last\"}"].concat();
        let decoded = decode(&body, NDJSON, &NativeLimits::default()).unwrap();
        prop_assert_eq!(decoded.items.len(), 3);
        prop_assert!(decoded.items[0].draft.is_ok() && decoded.items[2].draft.is_ok());
    }

    /// A body is refused or every event of it is read as serde_json reads it.
    #[test]
    fn accepted_bodies_are_what_serde_json_reads(event in event(), cut in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut body = event.to_string().into_bytes();
        let at = cut.index(body.len());
        body[at] = byte;
        let value = serde_json::from_slice::<Value>(&body);
        match read(&body) {
            Ok(decoded) if decoded.items.len() == 1 => {
                if let (Ok(draft), Ok(value)) = (&decoded.items[0].draft, value) {
                    prop_assert_eq!(draft.name.as_deref(), value["name"].as_str());
                    prop_assert_eq!(draft.session_id.as_deref().is_some(), !value["session_id"].is_null());
                }
            }
            Ok(_) => {}
            Err(_) => prop_assert!(value.is_err()),
        }
    }
}
