//! Query strings, read by the table that documents them.
//!
//! The rule: nothing is ignored. An unknown parameter, one that is there twice or an empty one is refused by name, with
//! what to send instead; a typing error never widens a question without a word.

use axum::extract::{FromRequestParts, Path};
use eye_event::Timestamp;
use eye_store::Position;
use http::request::Parts;

use crate::error::{ApiError, ApiResult};
use crate::openapi::{Kind, Param, Place};
use crate::state::AppState;

/// The one parameter in the path, unescaped.
#[derive(Debug)]
pub(crate) struct Segment(pub(crate) String);

impl FromRequestParts<AppState> for Segment {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> ApiResult<Self> {
        let Path(segment) = Path::<String>::from_request_parts(parts, state).await.map_err(|_| {
            ApiError::invalid_parameter("path", "the path is not UTF-8 once it is unescaped: escape it as UTF-8")
        })?;
        Ok(Self(segment))
    }
}

/// The parameters of one request, each known and not empty.
#[derive(Debug)]
pub(crate) struct Params {
    known: &'static [Param],
    given: Vec<(&'static str, String)>,
}

impl Params {
    /// Reads a query string.
    pub(crate) fn read(query: Option<&str>, known: &'static [Param]) -> ApiResult<Self> {
        let mut given: Vec<(&'static str, String)> = Vec::new();
        for (name, value) in url::form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
            let param = in_query(known).find(|param| param.name == name).ok_or_else(|| unknown(&name, known))?;
            if given.iter().any(|(earlier, _)| *earlier == param.name) {
                return Err(wrong(param.name, "is there twice: send it once"));
            }
            if value.is_empty() {
                return Err(wrong(param.name, "is empty: leave it out, or send a value"));
            }
            given.push((param.name, value.into_owned()));
        }
        Ok(Self { known, given })
    }

    /// A text, if it was sent.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.given.iter().find(|(given, _)| *given == name).map(|(_, value)| value.as_str())
    }

    /// The same, owned.
    pub(crate) fn owned(&self, name: &str) -> Option<String> {
        self.text(name).map(str::to_owned)
    }

    /// A number within the bounds of the table, or the table's default.
    pub(crate) fn number(&self, name: &'static str) -> ApiResult<usize> {
        let Some(Kind::Number { min, max, default }) = self.kind(name) else {
            return Err(undocumented(name));
        };
        let number = match self.text(name) {
            None => default.unwrap_or(max),
            Some(text) => text
                .parse::<u64>()
                .ok()
                .filter(|number| (min..=max).contains(number))
                .ok_or_else(|| wrong(name, &format!("is {}: send a number from {min} to {max}", quote(text))))?,
        };
        usize::try_from(number).map_err(|_| wrong(name, "is too large"))
    }

    /// A number from the first to the last, if it was sent.
    pub(crate) fn optional_number(&self, name: &'static str) -> ApiResult<Option<u64>> {
        let Some(text) = self.text(name) else {
            return Ok(None);
        };
        let refuse = || wrong(name, &format!("is {}: send a whole number", quote(text)));
        text.parse().map(Some).map_err(|_| refuse())
    }

    /// One of the table's words; the first if it was left out.
    pub(crate) fn choice(&self, name: &'static str) -> ApiResult<&'static str> {
        let Some(Kind::Choice(words)) = self.kind(name) else {
            return Err(undocumented(name));
        };
        let Some(text) = self.text(name) else {
            return words.first().copied().ok_or_else(|| undocumented(name));
        };
        let refuse = || wrong(name, &format!("is {}: send one of {}", quote(text), words.join(", ")));
        words.iter().find(|word| **word == text).copied().ok_or_else(refuse)
    }

    /// A moment, if it was sent.
    ///
    /// A plus sign that was not escaped arrives as a space: `…T09:15:27 02:00` is read as `…T09:15:27+02:00`.
    pub(crate) fn time(&self, name: &'static str) -> ApiResult<Option<Timestamp>> {
        let Some(text) = self.text(name) else {
            return Ok(None);
        };
        let with_plus = || {
            let (time, zone) = text.rsplit_once(' ')?;
            let is_zone = zone.len() == 5 && zone.contains(':') && time.contains(['T', 't', ' ']);
            is_zone.then(|| Timestamp::parse(&format!("{time}+{zone}"))).flatten()
        };
        let refuse = || wrong(name, &format!("is {}: send a time such as 2022-01-09T09:15:27Z", quote(text)));
        Timestamp::parse_bound(text).or_else(with_plus).map(Some).ok_or_else(refuse)
    }

    /// A place in the log, if it was sent.
    pub(crate) fn position(&self, name: &'static str) -> ApiResult<Option<Position>> {
        let Some(text) = self.text(name) else {
            return Ok(None);
        };
        text.parse().map(Some).map_err(|error| wrong(name, &format!("is {}: {error}", quote(text))))
    }

    fn kind(&self, name: &str) -> Option<Kind> {
        self.known.iter().find(|param| param.name == name).map(|param| param.kind)
    }
}

fn in_query(known: &'static [Param]) -> impl Iterator<Item = &'static Param> {
    known.iter().filter(|param| param.place == Place::Query)
}

fn wrong(name: &'static str, what: &str) -> ApiError {
    ApiError::invalid_parameter(name, format!("{name} {what}"))
}

fn unknown(name: &str, known: &'static [Param]) -> ApiError {
    let names: Vec<_> = in_query(known).map(|param| param.name).collect();
    let what = match names.is_empty() {
        true => "this path takes no parameters".to_owned(),
        false => format!("this path knows {}", names.join(", ")),
    };
    let name = shorten(name);
    let detail = format!("there is no parameter {name:?}: {what}");
    ApiError::invalid_parameter(name, detail)
}

fn undocumented(name: &'static str) -> ApiError {
    ApiError::internal(&format!("the parameter {name} is read, but not in the table of its path"))
}

/// What was sent, fit for a message.
fn quote(text: &str) -> String {
    format!("{:?}", shorten(text))
}

fn shorten(text: &str) -> String {
    const CHARACTERS_MAX: usize = 60;
    match text.char_indices().nth(CHARACTERS_MAX) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", &text[..end]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Code;

    const KNOWN: &[Param] = &[
        Param::path("id", "Which."),
        Param::query("category", Kind::Text, "Which category."),
        Param::query("limit", Kind::Number { min: 1, max: 10, default: Some(5) }, "How many."),
        Param::query("order", Kind::Choice(&["newest", "oldest"]), "Which way."),
        Param::query("from", Kind::Time, "From."),
        Param::query("at_least", Kind::Offset, "Wait."),
    ];

    fn read(query: &str) -> ApiResult<Params> {
        Params::read(Some(query), KNOWN)
    }

    fn refused(result: ApiResult<impl std::fmt::Debug>) -> String {
        let error = result.unwrap_err();
        assert_eq!(error.code(), Code::InvalidParameter);
        error.detail().to_owned()
    }

    #[test]
    fn unknown_parameters_are_refused_with_the_known_ones() {
        let detail = refused(read("categroy=x"));
        assert!(detail.contains("\"categroy\"") && detail.contains("category, limit, order, from, at_least"));
        assert!(refused(read("id=1")).contains("\"id\""), "what stands in the path is not read from the query");
        assert!(refused(Params::read(Some("x=1"), &[])).contains("takes no parameters"));
        assert!(refused(read(&"x".repeat(100_000))).len() < 300, "what was sent is cut");
    }

    #[test]
    fn parameters_sent_twice_or_empty_are_refused() {
        assert!(refused(read("category=a&category=a")).contains("category is there twice"));
        assert!(refused(read("category=")).contains("category is empty"));
    }

    #[test]
    fn numbers_keep_to_their_bounds_and_have_a_default() {
        assert_eq!(read("").unwrap().number("limit").unwrap(), 5);
        assert_eq!(read("limit=10").unwrap().number("limit").unwrap(), 10);
        for bad in ["0", "11", "-1", "1.5", "x", "99999999999999999999"] {
            let detail = refused(read(&format!("limit={bad}")).unwrap().number("limit"));
            assert!(detail.contains("send a number from 1 to 10"), "{detail}");
        }
    }

    #[test]
    fn choices_are_words_of_the_table() {
        assert_eq!(read("").unwrap().choice("order").unwrap(), "newest");
        assert_eq!(read("order=oldest").unwrap().choice("order").unwrap(), "oldest");
        assert!(refused(read("order=up").unwrap().choice("order")).contains("newest, oldest"));
    }

    #[test]
    fn times_survive_a_plus_sign_that_was_not_escaped() {
        let want = Timestamp::parse("2022-01-09T09:15:27+02:00");
        for query in ["from=2022-01-09T09:15:27%2B02:00", "from=2022-01-09T09:15:27+02:00"] {
            assert_eq!(read(query).unwrap().time("from").unwrap(), want, "{query}");
        }
        assert!(refused(read("from=yesterday").unwrap().time("from")).contains("from is \"yesterday\""));
    }

    #[test]
    fn positions_are_read() {
        assert_eq!(read("at_least=57,12").unwrap().position("at_least").unwrap().unwrap().to_string(), "57,12");
        assert!(read("at_least=x").unwrap().position("at_least").is_err());
    }
}
