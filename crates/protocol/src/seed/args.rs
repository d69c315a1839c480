//! The arguments of the read endpoints: from the query of a GET, from the body of a POST (or else its query).

use std::borrow::Cow;

use eye_event::Timestamp;

use super::answer::SeedError;
use super::body::Body;
use super::field::{self, FieldErrors};

const WRONG_TIME: &str = "Datetime has wrong format. Use one of these formats instead: YYYY-MM-DD hh:mm:ss.uuuuuu.";

/// What a read endpoint was asked. An argument that is absent or null is `None`; texts are trimmed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Args {
    /// Which session.
    pub session_id: Option<String>,
    /// Which category.
    pub category: Option<String>,
    /// The start of a range, as sent (`start`, or `from`).
    pub start: Option<String>,
    /// The end of a range, as sent (`end`, or `to`).
    pub end: Option<String>,
}

impl Args {
    /// The session asked for.
    ///
    /// # Errors
    /// 400 if there is none.
    pub fn session_id(&self) -> Result<&str, SeedError> {
        required("session_id", self.session_id.as_deref())
    }

    /// The category asked for.
    ///
    /// # Errors
    /// 400 if there is none.
    pub fn category(&self) -> Result<&str, SeedError> {
        required("category", self.category.as_deref())
    }

    /// The range asked for, both ends included. A year, a month or a day stands for its first moment.
    ///
    /// # Errors
    /// 400 that names each bound that is absent or no time.
    pub fn range(&self) -> Result<(Timestamp, Timestamp), SeedError> {
        let mut errors = FieldErrors::default();
        let start = errors.keep("start", bound(self.start.as_deref()));
        let end = errors.keep("end", bound(self.end.as_deref()));
        match (start, end) {
            (Some(start), Some(end)) => Ok((start, end)),
            _ => Err(errors.into_answer()),
        }
    }
}

/// Reads the arguments of a read endpoint. `is_get` is true for GET and HEAD, whose body is not looked at.
///
/// # Errors
/// As for an event's body: 400 or 415; and 400 for an argument that is blank, too long, or of a wrong type.
pub fn decode_args(
    is_get: bool,
    query: Option<&str>,
    body: &[u8],
    content_type: Option<&str>,
) -> Result<Args, SeedError> {
    let mut values = Body::from_query(query.unwrap_or_default());
    if !is_get {
        values.override_with(Body::read(body, content_type)?);
    }
    let mut errors = FieldErrors::default();
    let mut take = |name: &'static str, alias: &str| {
        let value = values.take(name).or_else(|| values.take(alias)).filter(|value| !value.is_null())?;
        errors.keep(name, field::text(Some(value))).map(Cow::into_owned)
    };
    let args = Args {
        session_id: take("session_id", "session_id"),
        category: take("category", "category"),
        start: take("start", "from"),
        end: take("end", "to"),
    };
    errors.into_result(args)
}

fn required<'a>(name: &'static str, value: Option<&'a str>) -> Result<&'a str, SeedError> {
    value.ok_or_else(|| SeedError::fields(&[(name, vec![field::REQUIRED.to_owned()])]))
}

fn bound(text: Option<&str>) -> Result<Timestamp, Vec<String>> {
    let text = text.ok_or_else(|| vec![field::REQUIRED.to_owned()])?;
    let first_moment = match text.len() {
        4 => Timestamp::parse(&format!("{text}-01-01 00:00:00")),
        7 => Timestamp::parse(&format!("{text}-01 00:00:00")),
        10 => Timestamp::parse(&format!("{text} 00:00:00")),
        _ => None,
    };
    first_moment.or_else(|| Timestamp::parse(text)).ok_or_else(|| vec![WRONG_TIME.to_owned()])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn get(query: &str) -> Result<Args, SeedError> {
        decode_args(true, Some(query), b"ignored", None)
    }

    #[test]
    fn arguments_come_from_the_query_or_the_body() {
        assert_eq!(get("session_id=a+b").unwrap().session_id().unwrap(), "a b");
        let json = Some("application/json");
        let post = decode_args(false, Some("session_id=q&category=c"), br#"{"session_id": 12}"#, json).unwrap();
        assert_eq!((post.session_id().unwrap(), post.category().unwrap()), ("12", "c"));
        assert_eq!(decode_args(false, None, b"", json).unwrap(), Args::default());
        assert_eq!(decode_args(false, None, b"[]", json).unwrap_err().status, 400);
        assert_eq!(decode_args(false, None, b"{}", None).unwrap_err().status, 415);
        assert_eq!(
            decode_args(false, None, b"category=x", Some("application/x-www-form-urlencoded"))
                .unwrap()
                .category()
                .unwrap(),
            "x"
        );
    }

    #[test]
    fn a_missing_argument_is_named() {
        let args = get("").unwrap();
        assert_eq!(args.session_id().unwrap_err().body, r#"{"session_id":["This field is required."]}"#);
        assert_eq!(
            args.range().unwrap_err().body,
            r#"{"start":["This field is required."],"end":["This field is required."]}"#
        );
        assert_eq!(get("session_id=").unwrap_err().body, r#"{"session_id":["This field may not be blank."]}"#);
    }

    #[test]
    fn bounds_are_a_year_a_day_or_a_time() {
        let range = |query: &str| get(query).unwrap().range().map(|(start, end)| format!("{start} {end}"));
        assert_eq!(range("start=2030&end=2031").unwrap(), "2030-01-01T00:00:00.000000Z 2031-01-01T00:00:00.000000Z");
        assert_eq!(
            range("from=2022-01-09&to=2022-01-09+09:15:27.5").unwrap(),
            "2022-01-09T00:00:00.000000Z 2022-01-09T09:15:27.500000Z"
        );
        assert_eq!(
            range("start=2022-02&end=2022-01-09T11:15:27%2B02:00").unwrap(),
            "2022-02-01T00:00:00.000000Z 2022-01-09T09:15:27.000000Z"
        );
        let error = range("start=2022-02-30&end=2031").unwrap_err();
        assert_eq!(error.body, format!("{{\"start\":[\"{WRONG_TIME}\"]}}"));
    }
}
