//! In the place of the errors of eye-query and eye-server: as much as the files compiled into this crate need. Those of
//! eye-store need none.

use std::borrow::Cow;
use std::fmt::{self, Display};

/// The result of a question.
pub type Result<T> = std::result::Result<T, Error>;

/// A parameter that is wrong.
#[derive(Debug)]
pub struct Error {
    /// The parameter.
    pub field: &'static str,
    /// What is wrong with it.
    pub message: String,
}

impl Error {
    pub(crate) fn invalid(field: &'static str, message: impl Into<String>) -> Self {
        Self { field, message: message.into() }
    }
}

impl Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// The result of a handler.
pub(crate) type ApiResult<T> = std::result::Result<T, ApiError>;

/// Why a request failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Code {
    InvalidBody,
    RequestTimeout,
    BodyTooLarge,
    UnsupportedMediaType,
    Busy,
    Internal,
}

/// An error on its way to the client.
#[derive(Clone, Debug)]
pub(crate) struct ApiError {
    code: Code,
    detail: Cow<'static, str>,
}

impl ApiError {
    pub(crate) fn new(code: Code, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { code, detail: detail.into() }
    }

    pub(crate) fn invalid_body(_field: &'static str, detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Code::InvalidBody, detail)
    }

    pub(crate) fn internal(detail: &dyn Display) -> Self {
        Self::new(Code::Internal, detail.to_string())
    }

    pub(crate) fn code(&self) -> Code {
        self.code
    }

    pub(crate) fn detail(&self) -> &str {
        &self.detail
    }
}
