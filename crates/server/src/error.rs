//! Every error this server answers with: one table from code to status and title.
//!
//! Inner layers know nothing of HTTP; their error kinds are turned into codes here and nowhere else. The answer is a
//! problem document (RFC 9457). What a person reads (`detail`) says what to do; internal details go to the log only.

use std::borrow::Cow;

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};

/// The result of a handler.
pub(crate) type ApiResult<T> = Result<T, ApiError>;

/// How long a client should wait before it tries again, in seconds, where nothing better is known.
const RETRY_AFTER_SECONDS: u32 = 1;

macro_rules! codes {
    ($($name:ident $status:literal $code:literal $title:literal,)*) => {
        /// Why a request failed. Codes are stable and part of the API.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Code {
            $(#[doc = $title] $name,)*
        }

        impl Code {
            /// Every code, in the order of the table.
            pub(crate) const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The status, the stable code and the title.
            pub(crate) const fn row(self) -> (u16, &'static str, &'static str) {
                match self {
                    $(Self::$name => ($status, $code, $title),)*
                }
            }
        }
    };
}

codes! {
    NotJson 400 "not_json" "the body is not JSON",
    NotUtf8 400 "not_utf8" "the body is not UTF-8",
    EmptyBody 400 "empty_body" "the body is empty",
    InvalidParameter 400 "invalid_parameter" "a parameter is wrong",
    InvalidBody 400 "invalid_body" "the body is wrong",
    InvalidSql 400 "invalid_sql" "the statement is wrong",
    RefusedSql 400 "refused_sql" "the statement is not allowed",
    MissingToken 401 "missing_token" "a token is needed",
    UnknownToken 401 "unknown_token" "this token is not known",
    RevokedToken 401 "revoked_token" "this token was revoked",
    ExpiredToken 401 "expired_token" "this token has expired",
    InactiveUser 401 "inactive_user" "the user of this token is not active",
    MissingScope 403 "missing_scope" "this token may not do that",
    NotFound 404 "not_found" "there is nothing here",
    SessionNotFound 404 "session_not_found" "there is no such session",
    MethodNotAllowed 405 "method_not_allowed" "the method is not allowed here",
    NotAcceptable 406 "not_acceptable" "no acceptable form of the answer",
    RequestTimeout 408 "request_timeout" "the request came too slowly",
    Denied 409 "denied" "the rules do not allow this now",
    Exists 409 "exists" "this exists already",
    Gone 410 "gone" "this is no longer there",
    BodyTooLarge 413 "body_too_large" "the body is too large",
    TooManyEvents 413 "too_many_events" "too many events in one request",
    UnsupportedMediaType 415 "unsupported_media_type" "the content type or encoding is not supported",
    LimitReached 422 "limit_reached" "the question met a limit",
    TooManyAttempts 429 "too_many_attempts" "too many attempts",
    Internal 500 "internal" "something went wrong here",
    Busy 503 "busy" "too busy at the moment",
    Unavailable 503 "unavailable" "not available at the moment",
    NotCaughtUp 503 "not_caught_up" "the wanted offset has not been reached",
    Full 507 "full" "the disk is nearly full",
}

impl Code {
    /// The HTTP status.
    pub(crate) fn status(self) -> StatusCode {
        StatusCode::from_u16(self.row().0).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// The stable code.
    pub(crate) const fn code(self) -> &'static str {
        self.row().1
    }

    /// For people, the same for every error of this code.
    pub(crate) const fn title(self) -> &'static str {
        self.row().2
    }

    /// True if the client should try again later, and is told when.
    const fn is_temporary(self) -> bool {
        matches!(self.row().0, 429 | 503 | 507)
    }
}

/// An error on its way to the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ApiError {
    code: Code,
    detail: Cow<'static, str>,
    field: Option<Cow<'static, str>>,
    retry_after: Option<u32>,
}

impl ApiError {
    /// An error of this code; `detail` says what is wrong and what to do, in lower case.
    pub(crate) fn new(code: Code, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { code, detail: detail.into(), field: None, retry_after: None }
    }

    /// The same, naming the parameter or field it is about.
    #[must_use]
    pub(crate) fn field(mut self, field: impl Into<Cow<'static, str>>) -> Self {
        self.field = Some(field.into());
        self
    }

    /// The same, with when to try again (temporary errors say 1 second if nothing else is said).
    #[must_use]
    pub(crate) fn retry_after(mut self, seconds: u32) -> Self {
        self.retry_after = Some(seconds);
        self
    }

    /// A parameter that is wrong.
    pub(crate) fn invalid_parameter(field: impl Into<Cow<'static, str>>, detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Code::InvalidParameter, detail).field(field)
    }

    /// A body whose JSON is wrong; `field` is empty where no single field is to blame.
    pub(crate) fn invalid_body(field: impl Into<Cow<'static, str>>, detail: impl Into<Cow<'static, str>>) -> Self {
        let error = Self::new(Code::InvalidBody, detail);
        let field = field.into();
        if field.is_empty() { error } else { error.field(field) }
    }

    /// No route here.
    pub(crate) fn no_route() -> Self {
        Self::new(Code::NotFound, "there is no such path: /docs lists what there is")
    }

    /// Something nobody expects. The detail goes to the log; the client learns only that it was our fault.
    pub(crate) fn internal(detail: &dyn std::fmt::Display) -> Self {
        tracing::error!(%detail, "internal error");
        Self::new(Code::Internal, "this is our fault, not yours: the server's log says more")
    }

    /// Why.
    pub(crate) fn code(&self) -> Code {
        self.code
    }

    /// What is wrong and what to do.
    pub(crate) fn detail(&self) -> &str {
        &self.detail
    }

    /// The problem document.
    pub(crate) fn body(&self) -> Vec<u8> {
        let mut document = serde_json::json!({
            "type": format!("/docs#{}", self.code.code()),
            "title": self.code.title(),
            "status": self.code.row().0,
            "detail": self.detail,
            "code": self.code.code(),
        });
        if let Some(field) = &self.field {
            document["field"] = serde_json::Value::from(field.as_ref());
        }
        document.to_string().into_bytes()
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = (self.code.status(), self.body()).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if self.code.is_temporary() {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(self.retry_after.unwrap_or(RETRY_AFTER_SECONDS)));
        }
        if self.code.row().0 == 401 {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Token"));
        }
        response
    }
}

impl From<eye_store::Error> for ApiError {
    fn from(error: eye_store::Error) -> Self {
        use eye_store::Kind;
        let code = match error.kind() {
            Kind::Invalid => Code::InvalidParameter,
            Kind::Busy => Code::Busy,
            Kind::Full => Code::Full,
            Kind::Unavailable | Kind::Conflict => Code::Unavailable,
            Kind::Corrupt | Kind::Internal => return Self::internal(&error),
        };
        Self::new(code, error.to_string())
    }
}

impl From<eye_sql::Error> for ApiError {
    fn from(error: eye_sql::Error) -> Self {
        use eye_sql::Error;
        let code = match error {
            Error::Invalid { .. } => Code::InvalidSql,
            Error::Refused(_) => Code::RefusedSql,
            Error::Limit { .. } | Error::TooMuch(_) => Code::LimitReached,
            Error::Busy { .. } | Error::Cancelled => Code::Busy,
            Error::Store(error) => return error.into(),
            Error::Internal(_) => return Self::internal(&error),
        };
        let is_mendable = matches!(code, Code::InvalidSql | Code::RefusedSql);
        let error = Self::new(code, error.to_string());
        if is_mendable { error.field("sql") } else { error }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique_and_statuses_are_errors() {
        let mut codes: Vec<_> = Code::ALL.iter().map(|code| code.code()).collect();
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes.len(), Code::ALL.len());
        for code in Code::ALL {
            assert!(code.status().is_client_error() || code.status().is_server_error(), "{code:?}");
        }
    }

    #[test]
    fn a_problem_document_names_the_field_and_the_code() {
        let error = ApiError::invalid_parameter("limit", "limit is 0: send a number from 1 to 10000");
        let document: serde_json::Value = serde_json::from_slice(&error.body()).unwrap();
        assert_eq!(document["type"], "/docs#invalid_parameter");
        assert_eq!(document["status"], 400);
        assert_eq!(document["field"], "limit");
        let response = error.into_response();
        assert_eq!(response.headers()["content-type"], "application/problem+json");
    }

    #[test]
    fn temporary_errors_say_when_to_try_again() {
        let response = ApiError::new(Code::Busy, "x").into_response();
        assert_eq!(response.headers()["retry-after"], "1");
        let response = ApiError::new(Code::Full, "x").retry_after(30).into_response();
        assert_eq!(response.headers()["retry-after"], "30");
    }
}
