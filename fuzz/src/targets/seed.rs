//! The requests of the seed API, in every content type: an event that was read is echoed as JSON that reads the same
//! again, everything else is an answer in JSON with a status of the framework's.

use std::collections::BTreeMap;

use eye_event::{Limits, Timestamp, check};
use eye_protocol::seed::{SeedError, SeedEvent, accepts, authorization, decode_args, decode_event, limits, refused};
use serde_json::value::RawValue;

use crate::memory::within;

const CONTENT_TYPES: [&str; 8] = [
    "application/json",
    "application/json; charset=latin-1",
    "application/json; charset=\"us-ascii\"",
    "application/x-www-form-urlencoded",
    "application/x-www-form-urlencoded; charset=iso-8859-1",
    "multipart/form-data; boundary=b",
    "text/plain",
    "*/*",
];

/// Runs the target on one input: a byte that says what to read, then perhaps a line with a header, then the body.
pub fn run(data: &[u8]) {
    let [mode, rest @ ..] = data else { return };
    let mode = usize::from(*mode);
    if let Some(content_type) = CONTENT_TYPES.get(mode % 16) {
        return event(rest, Some(content_type));
    }
    let line = rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len());
    let (header, body) = (&rest[..line], rest.get(line + 1..).unwrap_or_default());
    let text = String::from_utf8_lossy(header);
    match mode % 16 {
        8 | 9 => event(body, Some(&text)),
        10 => event(body, None),
        11 | 12 => arguments(decode_args(true, Some(&text), body, None)),
        13 => arguments(decode_args(false, Some(&text), body, Some(CONTENT_TYPES[mode / 16 % CONTENT_TYPES.len()]))),
        14 => {
            let _ = accepts(Some(&text));
        }
        _ => match authorization(Some(header)) {
            Ok(token) => assert!(!token.is_empty() && header.ends_with(b" ") | !token.contains(' ')),
            Err(error) => check_answer(&error, &[401]),
        },
    }
}

fn event(body: &[u8], content_type: Option<&str>) {
    let read =
        within(16 * 1024 + 64 * (body.len() + content_type.map_or(0, str::len)), || decode_event(body, content_type));
    match read {
        Ok(event) => stored(&event),
        Err(error) => check_answer(&error, &[400, 415]),
    }
}

fn stored(event: &SeedEvent<'_>) {
    let echo = event.echo();
    let fields: BTreeMap<String, &RawValue> = serde_json::from_str(&echo).expect("the echo is a JSON object");
    assert_eq!(fields.len(), 5);
    match decode_event(echo.as_bytes(), Some("application/json")) {
        Ok(again) => assert_eq!(again.echo(), echo, "an echo reads differently"),
        // A form can hold a null, JSON cannot.
        Err(error) => assert_eq!(fields["data"].get(), "null", "{error}"),
    }
    let now = Timestamp::from_micros(1_700_000_000_000_000);
    match check(&event.draft(), now, &limits(&Limits::default())) {
        Ok(checked) => {
            let mut out = String::new();
            eye_protocol::seed::event_json(&mut out, &checked.event());
            assert_eq!(out, echo, "what is stored is not what was echoed");
        }
        Err(rejection) => check_answer(&refused(&rejection), &[400, 413]),
    }
}

fn arguments(read: Result<eye_protocol::seed::Args, SeedError>) {
    let args = match read {
        Ok(args) => args,
        Err(error) => return check_answer(&error, &[400, 415]),
    };
    for error in [args.session_id().err(), args.category().err(), args.range().err()].into_iter().flatten() {
        check_answer(&error, &[400]);
    }
}

fn check_answer(error: &SeedError, statuses: &[u16]) {
    assert!(statuses.contains(&error.status), "{error}");
    let _: BTreeMap<String, &RawValue> = serde_json::from_str(&error.body).expect("an answer is a JSON object");
}
