use super::*;

const NOW: Timestamp = Timestamp::from_micros(1_700_000_000_000_000);

fn draft<'a>() -> Draft<'a> {
    Draft {
        session_id: Some("s".into()),
        category: Some("c".into()),
        name: Some("n".into()),
        data: Some("{}"),
        timestamp: RawTime::Text("2022-01-09 09:15:27.243860".into()),
        ..Draft::default()
    }
}

fn refusal(draft: &Draft<'_>) -> (RejectCode, String) {
    let rejection = check(draft, NOW, &Limits::default()).unwrap_err();
    (rejection.code, rejection.field.into_owned())
}

#[test]
fn a_good_event_has_no_problems_and_an_id() {
    let draft = draft();
    let checked = check(&draft, NOW, &Limits::default()).unwrap();
    let event = checked.event();
    assert!(event.problems.is_empty());
    assert_eq!(event.timestamp.to_string(), "2022-01-09T09:15:27.243860Z");
    assert_eq!(uuid::Uuid::parse_str(event.event_id).unwrap().get_version_num(), 7);
}

#[test]
fn a_wrong_time_is_flagged_and_kept() {
    for (time, problem, raw) in [
        (RawTime::Missing, Problem::TimestampMissing, None),
        (RawTime::Text("nonsense".into()), Problem::TimestampUnreadable, Some("nonsense")),
        (RawTime::Text("".into()), Problem::TimestampUnreadable, Some("")),
        (RawTime::Other("true"), Problem::TimestampUnreadable, Some("true")),
        (RawTime::Text("2999-01-01 00:00:00.000000".into()), Problem::TimestampInFuture, None),
    ] {
        let draft = Draft { timestamp: time, ..draft() };
        let checked = check(&draft, NOW, &Limits::default()).unwrap();
        assert_eq!(checked.event().problems, Problems::NONE.with(problem));
        assert_eq!(checked.event().timestamp_raw, raw);
        if problem != Problem::TimestampInFuture {
            assert_eq!(checked.event().timestamp, NOW);
        }
    }
}

#[test]
fn the_future_begins_after_the_tolerance() {
    let limits = Limits::default();
    for (ahead, flagged) in [(limits.future_micros_max, false), (limits.future_micros_max + 1, true)] {
        let digits = (NOW.micros() + ahead).to_string();
        let draft = Draft { timestamp: RawTime::Number(&digits), ..draft() };
        let problems = check(&draft, NOW, &limits).unwrap().event().problems;
        assert_eq!(problems.contains(Problem::TimestampInFuture), flagged);
    }
}

#[test]
fn an_odd_payload_is_flagged_and_kept() {
    for data in ["[1]", "\"x\"", "null", r#"{"a":"\u0000"}"#, r#"{"a":"\ud800"}"#] {
        let draft = Draft { data: Some(data), ..draft() };
        let checked = check(&draft, NOW, &Limits::default()).unwrap();
        assert!(checked.event().problems.contains(Problem::PayloadUnexpected), "{data}");
        assert_eq!(checked.event().data, data);
    }
}

#[test]
fn what_is_no_event_is_refused_by_name() {
    let long = "x".repeat(256);
    let big = format!("{{\"a\":\"{}\"}}", "x".repeat(65_536));
    let deep = "[".repeat(100) + &"]".repeat(100);
    assert_eq!(refusal(&Draft { session_id: None, ..draft() }), (RejectCode::MissingField, "session_id".into()));
    assert_eq!(refusal(&Draft { name: Some("".into()), ..draft() }), (RejectCode::EmptyField, "name".into()));
    assert_eq!(
        refusal(&Draft { category: Some(long.as_str().into()), ..draft() }),
        (RejectCode::TooLong, "category".into())
    );
    assert_eq!(
        refusal(&Draft { user_id: Some("a\0".into()), ..draft() }),
        (RejectCode::NulCharacter, "user_id".into())
    );
    assert_eq!(refusal(&Draft { data: Some(&big), ..draft() }), (RejectCode::TooLarge, "data".into()));
    assert_eq!(refusal(&Draft { data: Some(&deep), ..draft() }), (RejectCode::TooDeep, "data".into()));
}

#[test]
fn an_empty_optional_id_is_an_absent_one() {
    let draft = Draft { user_id: Some("".into()), event_id: Some("".into()), ..draft() };
    let checked = check(&draft, NOW, &Limits::default()).unwrap();
    assert_eq!(checked.event().user_id, None);
    assert!(!checked.event().event_id.is_empty());
}
