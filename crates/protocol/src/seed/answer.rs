//! The seed API's answers other than events: bodies to the byte, compact JSON.

use eye_event::{RejectCode, Rejection};

use crate::text::push_string;

/// An answer that is an error. The content type is `application/json`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{status}: {body}")]
pub struct SeedError {
    /// The HTTP status.
    pub status: u16,
    /// The body, ready to send.
    pub body: String,
}

impl SeedError {
    /// The value of the `WWW-Authenticate` header that goes with this answer: every 401 has one.
    #[must_use]
    pub fn www_authenticate(&self) -> Option<&'static str> {
        (self.status == 401).then_some("Token")
    }

    /// `{"detail": ...}`.
    pub(super) fn detail(status: u16, detail: &str) -> Self {
        let mut body = String::from("{\"detail\":");
        push_string(&mut body, detail);
        body.push('}');
        Self { status, body }
    }

    /// `{"<field>": ["<message>", ...], ...}` with status 400.
    pub(super) fn fields(errors: &[(&str, Vec<String>)]) -> Self {
        let mut body = String::from("{");
        for (at, (field, messages)) in errors.iter().enumerate() {
            if at > 0 {
                body.push(',');
            }
            push_string(&mut body, field);
            body.push(':');
            for (at, message) in messages.iter().enumerate() {
                body.push(if at == 0 { '[' } else { ',' });
                push_string(&mut body, message);
            }
            body.push(']');
        }
        body.push('}');
        Self { status: 400, body }
    }
}

/// Why a request has no valid token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthFailure {
    /// No `Authorization` header, or one with another keyword than `Token`.
    NotProvided,
    /// The keyword and nothing else.
    NoCredentials,
    /// More than one word after the keyword.
    Spaces,
    /// A token that is not UTF-8.
    InvalidCharacters,
    /// A token nobody has.
    InvalidToken,
    /// The token of a user that may no longer log in.
    Inactive,
}

/// 401 in the words for this failure.
#[must_use]
pub fn not_authenticated(failure: AuthFailure) -> SeedError {
    let detail = match failure {
        AuthFailure::NotProvided => "Authentication credentials were not provided.",
        AuthFailure::NoCredentials => "Invalid token header. No credentials provided.",
        AuthFailure::Spaces => "Invalid token header. Token string should not contain spaces.",
        AuthFailure::InvalidCharacters => "Invalid token header. Token string should not contain invalid characters.",
        AuthFailure::InvalidToken => "Invalid token.",
        AuthFailure::Inactive => "User inactive or deleted.",
    };
    SeedError::detail(401, detail)
}

/// 403: a valid token without the scope.
#[must_use]
pub fn permission_denied() -> SeedError {
    SeedError::detail(403, "You do not have permission to perform this action.")
}

/// 404: an unknown path, or a session without events.
#[must_use]
pub fn not_found() -> SeedError {
    SeedError::detail(404, "Not found.")
}

/// 405. The edge adds `Allow`.
#[must_use]
pub fn method_not_allowed(method: &str) -> SeedError {
    SeedError::detail(405, &format!("Method \"{method}\" not allowed."))
}

/// 406: the client accepts neither JSON nor HTML.
#[must_use]
pub fn not_acceptable() -> SeedError {
    SeedError::detail(406, "Could not satisfy the request Accept header.")
}

/// 415, naming the content type as it was sent (empty if there was none).
#[must_use]
pub fn unsupported_media_type(content_type: &str) -> SeedError {
    SeedError::detail(415, &format!("Unsupported media type \"{content_type}\" in request."))
}

/// The answer for an event that `eye_event::check` refused: 413 if it is too large, else 400.
#[must_use]
pub fn refused(rejection: &Rejection) -> SeedError {
    let status = if rejection.code == RejectCode::TooLarge { 413 } else { 400 };
    if rejection.field.is_empty() {
        return SeedError::detail(status, &rejection.message);
    }
    SeedError { status, ..SeedError::fields(&[(&*rejection.field, vec![rejection.message.clone()])]) }
}

/// The body of the 200 answer to OPTIONS; `view` is the view's name, such as `Collector`.
#[must_use]
pub fn options_body(view: &str) -> String {
    let mut body = String::from("{\"name\":");
    push_string(&mut body, view);
    body.push_str(concat!(
        ",\"description\":\"\",\"renders\":[\"application/json\",\"text/html\"],\"parses\":[\"application/json\",",
        "\"application/x-www-form-urlencoded\",\"multipart/form-data\"]}"
    ));
    body
}
