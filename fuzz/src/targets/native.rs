//! A body of the native API: it is cut into items that lie in it in order; each item says alone what it says among its
//! neighbours; an array is read exactly if serde_json reads it.

use eye_event::{Limits, Timestamp, check};
use eye_protocol::native::{BodyErrorKind, Decoded, NativeLimits, decode};
use serde_json::value::RawValue;

use crate::memory::within;

const NDJSON: &str = "application/x-ndjson; charset=utf-8";
const CONTENT_TYPES: [Option<&str>; 4] = [None, Some(NDJSON), Some("application/json"), Some("text/plain")];

/// Runs the target on one input: a byte for the content type, one for the number of events, then the body.
pub fn run(data: &[u8]) {
    let [content_type, events_max, body @ ..] = data else { return };
    let content_type = CONTENT_TYPES[usize::from(*content_type) % CONTENT_TYPES.len()];
    let limits = NativeLimits { events_max: usize::from(*events_max) };
    // An item of two bytes may cost a draft, and its rejection a message.
    let decoded = within(16 * 1024 + 1024 * body.len(), || decode(body, content_type, &limits));
    match decoded {
        Ok(decoded) => {
            assert!(decoded.items.len() <= limits.events_max);
            check_items(body, &decoded);
        }
        Err(error) => {
            assert!(!error.message.is_empty());
            if let BodyErrorKind::NotJson { byte } | BodyErrorKind::NotUtf8 { byte } = error.kind {
                assert!(byte <= body.len(), "byte {byte} of {}", body.len());
            }
        }
    }
    if content_type != Some(NDJSON) && body.trim_ascii_start().first() == Some(&b'[') {
        compare_array(body, content_type);
    }
}

fn check_items(body: &[u8], decoded: &Decoded<'_>) {
    let limits = Limits::default();
    let mut behind = 0;
    for item in &decoded.items {
        let at = (item.bytes.as_ptr() as usize).checked_sub(body.as_ptr() as usize).expect("an item lies in the body");
        assert!(at >= behind && at + item.bytes.len() <= body.len(), "items overlap, or leave the body");
        behind = at + item.bytes.len();
        match &item.draft {
            Ok(draft) => match check(draft, Timestamp::from_micros(1_700_000_000_000_000), &limits) {
                Ok(checked) => assert_eq!(checked.event().data, draft.data.unwrap_or("{}")),
                Err(rejection) => assert!(!rejection.message.is_empty()),
            },
            Err(rejection) => assert!(!rejection.message.is_empty() && rejection.message.len() < 1000),
        }
        if !item.bytes.contains(&b'\n') && !item.bytes.starts_with(b"\xef\xbb\xbf") {
            let alone = decode(item.bytes, Some(NDJSON), &NativeLimits::default()).expect("a line is one item");
            let [alone] = &alone.items[..] else { panic!("a line is one item") };
            let mut draft = alone.draft.clone();
            if let Ok(draft) = &mut draft {
                draft.sent_at = draft.sent_at.or(decoded.sent_at);
            }
            assert_eq!(draft, item.draft, "an item says something else among its neighbours");
        }
    }
}

fn compare_array(body: &[u8], content_type: Option<&str>) {
    let theirs = serde_json::from_slice::<Vec<&RawValue>>(body);
    let ours = decode(body, content_type, &NativeLimits { events_max: usize::MAX });
    assert_eq!(ours.is_ok(), theirs.is_ok(), "{ours:?}, {theirs:?}");
    if let (Ok(ours), Ok(theirs)) = (ours, theirs) {
        let ours: Vec<_> = ours.items.iter().map(|item| item.bytes).collect();
        let theirs: Vec<_> = theirs.iter().map(|raw| raw.get().as_bytes()).collect();
        assert_eq!(ours, theirs);
    }
}
