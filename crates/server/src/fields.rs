//! JSON bodies of requests, read by the tables that document them.
//!
//! The rule: nothing is ignored. An unknown field, one that is there twice or one of the wrong type is refused by name.
//! No message repeats a value: it may be a secret.

use std::fmt;

use axum::body::Body;
use eye_event::Timestamp;
use eye_store::Position;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::edge::body::read_json;
use crate::error::{ApiError, ApiResult, Code};
use crate::openapi::{Kind, Param};
use crate::state::AppState;

/// The members of one JSON object, as they were sent.
struct Members(Vec<(String, Value)>);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;

        impl<'de> Visitor<'de> for Collect {
            type Value = Members;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(Collect)
    }
}

/// A number that is whole in spite of its fraction: to JSON, 10.0 is 10.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "in these bounds the number is itself")]
fn whole(number: f64) -> Option<u64> {
    (number.fract() == 0.0 && (0.0..=9_007_199_254_740_992.0).contains(&number)).then_some(number as u64)
}

/// The fields of one body, each known and there at most once.
pub(crate) struct Fields {
    known: &'static [Param],
    given: Vec<(&'static str, Value)>,
}

impl Fields {
    /// Reads a body.
    pub(crate) async fn read(state: &AppState, body: Body, known: &'static [Param]) -> ApiResult<Self> {
        Self::new(read_json(state, body).await?, known)
    }

    /// Reads what is no body but looks like one.
    pub(crate) fn of_text(text: &str, known: &'static [Param]) -> ApiResult<Self> {
        let members = serde_json::from_str(text).map_err(|error| ApiError::invalid_body("", error.to_string()))?;
        Self::new(members, known)
    }

    /// Reads a body that may be absent.
    pub(crate) async fn read_optional(state: &AppState, body: Body, known: &'static [Param]) -> ApiResult<Self> {
        match read_json(state, body).await {
            Err(error) if error.code() == Code::EmptyBody => Self::new(Members(Vec::new()), known),
            members => Self::new(members?, known),
        }
    }

    fn new(Members(members): Members, known: &'static [Param]) -> ApiResult<Self> {
        let mut given: Vec<(&'static str, Value)> = Vec::with_capacity(members.len());
        for (name, value) in members {
            let Some(param) = known.iter().find(|param| param.name == name) else {
                let names: Vec<_> = known.iter().map(|param| param.name).collect();
                let name: String = name.chars().take(60).collect();
                let detail = format!("there is no field {name:?}: this body knows {}", names.join(", "));
                return Err(ApiError::invalid_body(name, detail));
            };
            if given.iter().any(|(earlier, _)| *earlier == param.name) {
                return Err(wrong(param.name, "is there twice: send it once"));
            }
            // An explicit null is as good as nothing.
            if !value.is_null() {
                given.push((param.name, value));
            }
        }
        let fields = Self { known, given };
        match known.iter().find(|param| param.required && fields.value(param.name).is_none()) {
            Some(missing) => Err(wrong(missing.name, "is required")),
            None => Ok(fields),
        }
    }

    /// True if the field was sent.
    pub(crate) fn is_given(&self, name: &str) -> bool {
        self.value(name).is_some()
    }

    fn value(&self, name: &str) -> Option<&Value> {
        self.given.iter().find(|(given, _)| *given == name).map(|(_, value)| value)
    }

    /// A text, if it was sent. The registry says what it may hold.
    pub(crate) fn text(&self, name: &'static str) -> ApiResult<Option<&str>> {
        match self.value(name) {
            None => Ok(None),
            Some(value) => value.as_str().map(Some).ok_or_else(|| wrong(name, "is no text: send a JSON string")),
        }
    }

    /// The same, owned.
    pub(crate) fn owned(&self, name: &'static str) -> ApiResult<Option<String>> {
        Ok(self.text(name)?.map(str::to_owned))
    }

    /// A text that must be there.
    pub(crate) fn required(&self, name: &'static str) -> ApiResult<String> {
        self.owned(name)?.ok_or_else(|| wrong(name, "is required"))
    }

    /// True or false, if it was sent.
    pub(crate) fn flag(&self, name: &'static str) -> ApiResult<Option<bool>> {
        match self.value(name) {
            None => Ok(None),
            Some(value) => value.as_bool().map(Some).ok_or_else(|| wrong(name, "is neither true nor false")),
        }
    }

    /// A number within the bounds of the table, or the table's default.
    pub(crate) fn number(&self, name: &'static str) -> ApiResult<u64> {
        let kind = self.known.iter().find(|param| param.name == name).map(|param| param.kind);
        let Some(Kind::Number { min, max, default }) = kind else {
            return Err(ApiError::internal(&format!("the field {name} is no number of its table")));
        };
        let Some(value) = self.value(name) else {
            return Ok(default.unwrap_or(max));
        };
        let number = value.as_u64().or_else(|| whole(value.as_f64()?)).filter(|number| (min..=max).contains(number));
        number.ok_or_else(|| wrong(name, &format!("is not a whole number from {min} to {max}")))
    }

    /// One of the table's words; the first if it was left out.
    pub(crate) fn choice(&self, name: &'static str) -> ApiResult<&'static str> {
        let kind = self.known.iter().find(|param| param.name == name).map(|param| param.kind);
        let Some(Kind::Choice(words)) = kind else {
            return Err(ApiError::internal(&format!("the field {name} is no choice of its table")));
        };
        let Some(text) = self.text(name)? else {
            return Ok(words.first().copied().unwrap_or_default());
        };
        let refuse = || wrong(name, &format!("is none of these: {}", words.join(", ")));
        words.iter().find(|word| **word == text).copied().ok_or_else(refuse)
    }

    /// A list of texts; empty if it was left out.
    pub(crate) fn texts(&self, name: &'static str) -> ApiResult<Vec<String>> {
        let kind = self.known.iter().find(|param| param.name == name).map(|param| param.kind);
        let Some(Kind::Texts { min, max }) = kind else {
            return Err(ApiError::internal(&format!("the field {name} is no list of its table")));
        };
        let texts: Vec<String> = self.parsed(name, "a list of texts")?.unwrap_or_default();
        match texts.len() {
            few if few < min => Err(wrong(name, &format!("has {few} entries: send at least {min}"))),
            many if many > max => Err(wrong(name, &format!("has {many} entries: send at most {max}"))),
            _ => Ok(texts),
        }
    }

    /// A place in the log, if it was sent.
    pub(crate) fn position(&self, name: &'static str) -> ApiResult<Option<Position>> {
        let Some(text) = self.text(name)? else { return Ok(None) };
        text.parse().map(Some).map_err(|error| wrong(name, &format!("is wrong: {error}")))
    }

    /// A moment, if it was sent.
    pub(crate) fn time(&self, name: &'static str) -> ApiResult<Option<Timestamp>> {
        let refuse = || wrong(name, "is not a time: send one such as 2030-01-09T09:15:27Z");
        let Some(text) = self.text(name)? else {
            return Ok(None);
        };
        Timestamp::parse_bound(text).map(Some).ok_or_else(refuse)
    }

    /// What a text or a list of texts stands for, if it was sent. `hint` says what may be sent.
    pub(crate) fn parsed<T: serde::de::DeserializeOwned>(
        &self,
        name: &'static str,
        hint: &str,
    ) -> ApiResult<Option<T>> {
        let refuse = |_| wrong(name, &format!("is wrong: send {hint}"));
        self.value(name).map(|value| T::deserialize(value).map_err(refuse)).transpose()
    }
}

fn wrong(name: &'static str, what: &str) -> ApiError {
    ApiError::invalid_body(name, format!("{name} {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: &[Param] = &[
        Param::field("name", Kind::Text, "A name.").required(),
        Param::field("active", Kind::Flag, "On or off."),
        Param::field("overlap", Kind::Number { min: 0, max: 9, default: Some(3) }, "How long."),
        Param::field("expires_at", Kind::Time, "When."),
        Param::field("scopes", Kind::Words(&["read"]), "What."),
    ];

    fn fields(json: &str) -> ApiResult<Fields> {
        Fields::new(serde_json::from_str(json).unwrap(), KNOWN)
    }

    fn detail<T>(result: ApiResult<T>) -> String {
        let Err(error) = result else { panic!("accepted") };
        assert_eq!(error.code(), Code::InvalidBody);
        error.detail().to_owned()
    }

    #[test]
    fn unknown_missing_and_repeated_fields_are_refused_by_name() {
        assert!(detail(fields(r#"{"nmae":"a"}"#)).contains("name, active, overlap, expires_at, scopes"));
        assert_eq!(detail(fields("{}")), "name is required");
        assert_eq!(detail(fields(r#"{"name":null}"#)), "name is required");
        assert_eq!(detail(fields(r#"{"name":"a","name":"b"}"#)), "name is there twice: send it once");
        assert!(serde_json::from_str::<Members>("[1]").is_err());
    }

    #[test]
    fn wrong_types_are_refused_without_repeating_the_value() {
        let body =
            r#"{"name":["planted"],"active":"planted","overlap":"planted","expires_at":"planted","scopes":"planted"}"#;
        let fields = fields(body).unwrap();
        let details = [
            detail(fields.text("name")),
            detail(fields.flag("active")),
            detail(fields.number("overlap")),
            detail(fields.time("expires_at")),
            detail(fields.parsed::<Vec<String>>("scopes", "a list")),
        ];
        for (detail, param) in details.iter().zip(KNOWN) {
            assert!(detail.starts_with(param.name) && !detail.contains("planted"), "{detail}");
        }
    }

    #[test]
    fn what_is_left_out_has_its_default() {
        let fields = fields(r#"{"name":"a","active":null}"#).unwrap();
        assert_eq!(fields.required("name").unwrap(), "a");
        assert_eq!(fields.flag("active").unwrap(), None);
        assert_eq!(fields.number("overlap").unwrap(), 3);
        assert_eq!(fields.time("expires_at").unwrap(), None);
    }
}
