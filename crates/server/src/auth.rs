//! Who is asking: from the Authorization header to a grant, and what a grant may do.
//!
//! Tokens are accepted in the Authorization header only (and in the envelope of `POST /v1/events`), never in a URL.
//! Every handler names what it needs in its arguments: [`Reader`] or [`Admin`]; collecting asks for
//! `write` by hand, because its token may stand in the body. A handler without one of
//! them is open to everybody.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use eye_fault::{Sabotage, sabotaged};
use eye_registry::{Actor, Denied, Grant};
use http::request::Parts;
use http::{HeaderMap, header};

use crate::error::{ApiError, ApiResult, Code};
use crate::state::AppState;

/// Somebody with a valid token.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    /// What the token allows.
    pub(crate) grant: Arc<Grant>,
}

/// A caller who may read.
#[derive(Clone, Debug)]
pub(crate) struct Reader(pub(crate) Caller);

/// A caller who may manage.
#[derive(Clone, Debug)]
pub(crate) struct Admin(pub(crate) Caller);

impl Caller {
    /// The applications whose events this caller may see: `None` means all of them.
    pub(crate) fn applications(&self) -> Option<Vec<String>> {
        if self.grant.reads_all || sabotaged(Sabotage::ShowOtherApplications) {
            return None;
        }
        Some(self.grant.application.iter().map(ToString::to_string).collect())
    }

    /// Who the audit trail says did it.
    pub(crate) fn actor(&self) -> Actor {
        match &self.grant.user {
            Some(user) => Actor::User(user.clone()),
            None => Actor::Token(self.grant.token.clone()),
        }
    }

    /// The application that this caller's events belong to.
    pub(crate) fn application(&self) -> ApiResult<&Arc<str>> {
        self.grant.application.as_ref().ok_or_else(|| {
            ApiError::new(Code::MissingScope, "this token belongs to no application: use a token of the application")
        })
    }
}

/// The token in the Authorization header, after `Token` or `Bearer` (any case).
///
/// `Ok(None)` if there is no such header; an error if there is one that holds no token.
pub(crate) fn token_of(headers: &HeaderMap) -> ApiResult<Option<&str>> {
    let Some(value) = headers.get(header::AUTHORIZATION) else {
        return Ok(None);
    };
    let unreadable = || {
        let detail = "the Authorization header holds no token: send \"Authorization: Token <token>\"";
        ApiError::new(Code::MissingToken, detail)
    };
    let text = value.to_str().map_err(|_| unreadable())?.trim();
    let (scheme, token) = text.split_once(' ').ok_or_else(unreadable)?;
    let known = scheme.eq_ignore_ascii_case("token") || scheme.eq_ignore_ascii_case("bearer");
    let token = token.trim();
    if !known || token.is_empty() || token.contains(' ') {
        return Err(unreadable());
    }
    Ok(Some(token))
}

/// The caller with this token. Counts a denial by its reason; notes the use of a token.
pub(crate) fn authenticate(state: &AppState, token: &str) -> ApiResult<Caller> {
    let now = state.clock.now();
    match state.registry.authenticate(token, now) {
        Ok(grant) => {
            state.registry.note_used(&grant.token, now);
            Ok(Caller { grant })
        }
        Err(denied) => Err(deny(state, denied)),
    }
}

/// The caller of a request that must carry a token in its header.
pub(crate) fn require(state: &AppState, headers: &HeaderMap) -> ApiResult<Caller> {
    match token_of(headers) {
        Ok(Some(token)) => authenticate(state, token),
        Ok(None) => {
            state.metrics.unauthenticated("missing_token");
            let detail = "send a token: \"Authorization: Token <token>\" (\"eye token create\" makes one)";
            Err(ApiError::new(Code::MissingToken, detail))
        }
        Err(error) => {
            state.metrics.unauthenticated("missing_token");
            Err(error)
        }
    }
}

/// The error for a denied token, counted.
fn deny(state: &AppState, denied: Denied) -> ApiError {
    let (code, detail) = match denied {
        Denied::Unknown => (Code::UnknownToken, "this token is not known here: check that it was copied whole"),
        Denied::Revoked => (Code::RevokedToken, "this token was revoked: ask an administrator for a new one"),
        Denied::Expired => (Code::ExpiredToken, "this token has expired: ask an administrator for a new one"),
        Denied::UserInactive => (Code::InactiveUser, "the user of this token was deactivated"),
    };
    state.metrics.unauthenticated(code.code());
    ApiError::new(code, detail)
}

/// Refuses a caller whose token lacks a scope.
pub(crate) fn check_scope(has: bool, scope: &'static str) -> ApiResult<()> {
    if has {
        return Ok(());
    }
    let detail = format!("this token has no {scope} scope: use one that has (\"eye token list\" shows them)");
    Err(ApiError::new(Code::MissingScope, detail))
}

macro_rules! extractor {
    ($name:ident, $scope:ident) => {
        impl FromRequestParts<AppState> for $name {
            type Rejection = ApiError;

            async fn from_request_parts(parts: &mut Parts, state: &AppState) -> ApiResult<Self> {
                let caller = require(state, &parts.headers)?;
                check_scope(caller.grant.scopes.$scope, stringify!($scope))?;
                Ok(Self(caller))
            }
        }
    };
}

extractor!(Reader, read);
extractor!(Admin, admin);

#[cfg(test)]
mod tests {
    use super::*;

    fn token(header: &str) -> Result<Option<String>, Code> {
        let mut headers = HeaderMap::new();
        headers.insert("authorization", header.parse().unwrap());
        token_of(&headers).map(|token| token.map(str::to_owned)).map_err(|error| error.code())
    }

    #[test]
    fn token_and_bearer_are_read_in_any_case() {
        for header in ["Token abc", "token abc", "TOKEN   abc", "Bearer abc", "bearer abc "] {
            assert_eq!(token(header), Ok(Some("abc".to_owned())), "{header}");
        }
        assert_eq!(token_of(&HeaderMap::new()), Ok(None));
    }

    #[test]
    fn a_header_without_a_token_is_refused() {
        for header in ["", "Token", "Token ", "Basic dTpw", "abc", "Token a b"] {
            assert_eq!(token(header), Err(Code::MissingToken), "{header}");
        }
    }
}
