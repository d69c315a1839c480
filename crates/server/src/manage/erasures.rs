//! Erasures: events and rejections that somebody wants gone for ever.
//!
//! What is chosen is decided here, by the same filter as everywhere; from then on only offsets are known. The audit trail
//! says who asked and by which fields, never by which values.

use axum::Router;
use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::response::Response;
use axum::routing::get;
use eye_event::Timestamp;
use eye_query::condition::{Condition, Expr, Literal, Op};
use eye_query::{Field, Filter, Line};
use eye_store::{Columns, Erasure, Selection, StoredRejection};
use http::StatusCode;

use super::views::{ErasureList, ErasureOut};
use super::{answer, blocking, change, tables};
use crate::ask::params::{Params, Segment};
use crate::auth::Admin;
use crate::error::{ApiError, ApiResult, Code};
use crate::fields::Fields;
use crate::state::AppState;

/// What can be erased by, as people spell it.
const CRITERIA: [&str; 7] = ["user_id", "anonymous_id", "session_id", "application", "since", "until", "query"];

/// The routes of this file.
pub(super) fn routes() -> Router<AppState> {
    Router::new().route("/v1/erasures", get(list).post(erase)).route("/v1/erasures/{id}", get(show).delete(cancel))
}

/// What somebody wants erased.
struct Wanted {
    criteria: Vec<String>,
    /// Which events.
    filter: Filter,
    /// The user and so on, which a rejection may hold anywhere.
    ids: Vec<String>,
    /// A line says what an event has; a rejection is none.
    has_line: bool,
}

async fn list(State(state): State<AppState>, _: Admin, RawQuery(query): RawQuery) -> ApiResult<Response> {
    Params::read(query.as_deref(), &[])?;
    let erasures = state.store.erasures().iter().map(ErasureOut::from).collect();
    answer(StatusCode::OK, &ErasureList { erasures })
}

async fn erase(State(state): State<AppState>, Admin(caller): Admin, body: Body) -> ApiResult<Response> {
    let fields = Fields::read(&state, body, tables::ERASURE).await?;
    let wanted = Wanted::read(&fields, state.clock.now())?;
    let store = state.store.clone();
    if fields.flag("dry_run")?.unwrap_or_default() {
        let criteria = wanted.criteria.clone();
        let preview = blocking(move || wanted.select(String::new(), |selection| store.preview_erasure(selection)));
        return answer(StatusCode::OK, &ErasureOut::dry_run(preview.await??, criteria));
    }
    let id = Erasure::fresh_id();
    let (noted, criteria) = (id.clone(), wanted.criteria.clone());
    change(&state, caller.actor(), move |registry, actor, now| registry.note_erasure(&actor, now, &noted, &criteria))
        .await?;
    let erasure = blocking(move || wanted.select(id, |selection| store.erase(selection))).await??;
    answer(StatusCode::OK, &ErasureOut::from(&erasure))
}

async fn show(State(state): State<AppState>, _: Admin, Segment(id): Segment) -> ApiResult<Response> {
    let found = state.store.erasures().into_iter().find(|erasure| erasure.id == id);
    answer(StatusCode::OK, &ErasureOut::from(&found.ok_or_else(unknown)?))
}

async fn cancel(State(state): State<AppState>, Admin(caller): Admin, Segment(id): Segment) -> ApiResult<Response> {
    let found = state.store.erasures().into_iter().find(|erasure| erasure.id == id).ok_or_else(unknown)?;
    if found.is_running() {
        let noted = id.clone();
        let note = change(&state, caller.actor(), move |registry, actor, now| {
            registry.note_erasure_cancelled(&actor, now, &noted)
        });
        note.await?;
    }
    let store = state.store.clone();
    let cancelled = blocking(move || store.cancel_erasure(&id)).await??.ok_or_else(unknown)?;
    answer(StatusCode::OK, &ErasureOut::from(&cancelled))
}

fn unknown() -> ApiError {
    ApiError::new(Code::NotFound, "there is no such erasure: GET /v1/erasures lists them")
}

impl Wanted {
    fn read(fields: &Fields, now: Timestamp) -> ApiResult<Self> {
        let criteria: Vec<String> =
            CRITERIA.iter().filter(|name| fields.is_given(name)).map(|name| (*name).to_owned()).collect();
        if criteria.is_empty() {
            let detail = format!("say what to erase: name at least one of {}", CRITERIA.join(", "));
            return Err(ApiError::invalid_body("", detail));
        }
        let text = |name: &'static str| {
            let text = fields.owned(name)?;
            if text.as_deref().is_some_and(str::is_empty) {
                return Err(ApiError::invalid_body(name, format!("{name} is empty: name one, or leave it out")));
            }
            Ok(text)
        };
        let (user_id, anonymous_id, session_id) = (text("user_id")?, text("anonymous_id")?, text("session_id")?);
        let (from, to) = (fields.time("since")?, fields.time("until")?);
        if let (Some(since), Some(until)) = (from, to)
            && since >= until
        {
            let detail = format!("since ({since}) is not before until ({until})");
            return Err(ApiError::invalid_body("since", detail));
        }
        let mut line = match text("query")? {
            Some(text) => text.parse::<Line>().map_err(|error| match error {
                eye_query::Error::Invalid { message, .. } => ApiError::invalid_body("query", message),
                error => error.into(),
            })?,
            None => Line::default(),
        };
        let has_line = fields.is_given("query");
        if let Some(id) = &anonymous_id {
            let values = vec![Literal::quoted(id.clone())];
            let is_theirs = Expr::Is(Condition::Compare { field: Field::AnonymousId, op: Op::Is, values });
            line.expr = Some(match line.expr {
                Some(Expr::All(all)) => Expr::All([all, vec![is_theirs]].concat()),
                Some(expr) => Expr::All(vec![expr, is_theirs]),
                None => is_theirs,
            });
        }
        let ids = [&user_id, &anonymous_id, &session_id].into_iter().flatten().cloned().collect();
        let filter = Filter {
            user_id,
            session_id,
            application: text("application")?,
            from,
            to,
            line: Some(line.at(now).into()),
            ..Filter::default()
        };
        Ok(Self { criteria, filter, ids, has_line })
    }

    /// Does something with what is chosen.
    fn select<T>(&self, id: String, work: impl FnOnce(&Selection<'_>) -> T) -> T {
        work(&Selection {
            id,
            criteria: self.criteria.clone(),
            columns: self.filter.columns() | Columns::TIMESTAMP,
            session_id: self.filter.only_session(),
            event: &|event| self.filter.matches(event),
            rejection: &|rejection| self.chooses(rejection),
        })
    }

    /// A rejection is not known to belong to anybody: it goes if the ids stand in it somewhere.
    fn chooses(&self, stored: &StoredRejection<'_>) -> bool {
        let Filter { application, from, to, .. } = &self.filter;
        let texts = [stored.rejection.sample, stored.rejection.message, stored.rejection.field];
        let holds = |id: &String| {
            let escaped = serde_json::to_string(id).unwrap_or_default();
            let quoted = escaped.strip_prefix('"').and_then(|escaped| escaped.strip_suffix('"'));
            let escaped = quoted.unwrap_or(id.as_str());
            let is_in = |text: &str| text.contains(id.as_str()) || text.contains(escaped);
            texts.iter().any(|text| {
                let decoded = form_decoded(text);
                is_in(text) || is_in(&unescaped(text)) || is_in(&decoded) || is_in(&unescaped(&decoded))
            })
        };
        !self.has_line
            && application.as_deref().is_none_or(|name| name == stored.application)
            && from.is_none_or(|from| from <= stored.received_at)
            && to.is_none_or(|to| stored.received_at < to)
            && self.ids.iter().all(holds)
    }
}

/// A text with JSON's escapes undone, wherever they stand. What is no escape stays as it is: a sample may be broken.
fn unescaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        let (char, bytes) = escape(&rest[at..]).unwrap_or(('\\', 1));
        out.push(char);
        rest = &rest[at + bytes..];
    }
    out.push_str(rest);
    out
}

/// What the escape at the beginning of this text says, and how long it is.
fn escape(text: &str) -> Option<(char, usize)> {
    let char = match *text.as_bytes().get(1)? {
        b'b' => '\u{8}',
        b'f' => '\u{c}',
        b'n' => '\n',
        b'r' => '\r',
        b't' => '\t',
        byte @ (b'"' | b'\\' | b'/') => char::from(byte),
        b'u' => {
            let first = code_unit(text.get(2..6)?)?;
            if let Some(char) = char::from_u32(u32::from(first)) {
                return Some((char, 6));
            }
            let second = code_unit(text.get(6..12)?.strip_prefix("\\u")?)?;
            return char::decode_utf16([first, second]).next()?.ok().map(|char| (char, 12));
        }
        _ => return None,
    };
    Some((char, 2))
}

/// Four hexadecimal digits.
fn code_unit(digits: &str) -> Option<u16> {
    let is_hex = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    u16::from_str_radix(digits, 16).ok().filter(|_| is_hex)
}

/// A text as a form would be read: percent signs decoded, and a plus is a space.
fn form_decoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for part in text.split_inclusive(['&', '=']) {
        let (coded, end) = part.split_at(part.trim_end_matches(['&', '=']).len());
        // With neither sign in it, it is one name.
        out.extend(url::form_urlencoded::parse(coded.as_bytes()).map(|(name, _)| name));
        out.push_str(end);
    }
    out
}

#[cfg(test)]
mod tests {
    use eye_event::RejectionRef;
    use eye_log::{Offset, PartitionId};

    use super::*;

    fn wanted(ids: &[&str]) -> Wanted {
        let filter = Filter { application: Some("web".to_owned()), ..Filter::default() };
        Wanted { criteria: Vec::new(), filter, ids: ids.iter().map(|id| (*id).to_owned()).collect(), has_line: false }
    }

    #[test]
    fn what_is_no_escape_stays_as_it_is() {
        for text in ["", "ü\\", r"\x\u12", r"\u+123", r"\ude00", r"\u00fü"] {
            assert_eq!(unescaped(text), text);
        }
        assert_eq!(unescaped(r"\\n\n\u0041"), "\\n\nA");
        assert_eq!(form_decoded("100%&a%4=%&&==b%3d+"), "100%&a%4=%&&==b= ");
    }

    #[test]
    fn a_rejection_is_chosen_if_the_ids_stand_in_it_in_whatever_spelling() {
        let chooses = |wanted: &Wanted, sample: &str| {
            wanted.chooses(&StoredRejection {
                application: "web",
                token: "t",
                received_at: Timestamp::from_micros(5),
                partition: PartitionId(0),
                offset: Offset(1),
                rejection: RejectionRef { code: "not_json", field: "", message: "", sample },
            })
        };
        assert!(chooses(&wanted(&["ann"]), r#"{"user":"ann""#));
        assert!(!chooses(&wanted(&["ann", "s-1"]), r#"{"user":"ann""#), "both must be there");
        assert!(chooses(&wanted(&["a\"b"]), r#"{"user":"a\"b""#));
        for sample in
            [r#"{"user":"m\u00fcller"}"#, r#"{"user":"m\u00FCller"#, "user=m%C3%BCller&x=1", "user=%22m%5Cu00fcller%22"]
        {
            assert!(chooses(&wanted(&["müller"]), sample), "{sample}");
            assert!(!chooses(&wanted(&["maier"]), sample), "{sample}");
        }
        assert!(chooses(&wanted(&["a/b"]), r#"{"user":"a\/b"}"#));
        assert!(chooses(&wanted(&["a@b"]), "session_id=a%40b"));
        assert!(chooses(&wanted(&["a b"]), "x=1&session_id=a+b"));
        assert!(chooses(&wanted(&["a😀"]), r#"{"user":"a\ud83d\ude00"}"#));
        assert!(!chooses(&wanted(&["\""]), r"x\ny"), "a backslash is no quote");
        assert!(!chooses(&wanted(&["a\""]), r#"{"p":"x:\a\b"}"#), "a backslash is no quote");
        assert!(chooses(&wanted(&["a\""]), r#"{"p":"a\""}"#));
        assert!(chooses(&wanted(&[]), "anything of the application"));
        assert!(!chooses(&Wanted { has_line: true, ..wanted(&["ann"]) }, "ann"));
        let filter = Filter { to: Some(Timestamp::from_micros(5)), ..Filter::default() };
        assert!(!chooses(&Wanted { filter, ..wanted(&["ann"]) }, "ann"), "it came too late");
    }
}
