//! `POST /v1/setup`: the first administrator, made once with a one-time code and without a token.
//!
//! Whatever is wrong with the code, the answer is the same: a stranger learns neither whether there is an administrator
//! nor whether a code is waiting. Attempts are limited.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use axum::routing::post;
use axum::{Extension, Router};
use eye_registry::{Error, NewUser, Role};
use http::StatusCode;

use super::attempts::Attempts;
use super::views::NewUserOut;
use super::{answer, blocking, tables};
use crate::error::{ApiError, ApiResult};
use crate::fields::Fields;
use crate::state::AppState;

const REFUSED: &str = "code opens nothing: it works once, for a day, and only while there is no administrator; \
                       \"eye user create\" on the server's machine makes one too";

pub(super) fn routes() -> Router<AppState> {
    Router::new().route("/v1/setup", post(setup)).layer(Extension(Arc::new(Attempts::new())))
}

async fn setup(
    State(state): State<AppState>,
    Extension(attempts): Extension<Arc<Attempts>>,
    body: Body,
) -> ApiResult<Response> {
    let now = state.clock.now();
    attempts.take(now)?;
    let fields = Fields::read(&state, body, tables::SETUP).await?;
    let code = fields.required("code")?;
    let new = NewUser {
        name: fields.required("name")?,
        password: Some(fields.required("password")?),
        role: Role::Admin,
        application: None,
    };
    let registry = state.registry.clone();
    let made = blocking(move || registry.redeem_setup_code(now, &code, new)).await?;
    let (user, token, secret) = made.map_err(|error| match error {
        Error::Denied { .. } | Error::NotFound { .. } | Error::Invalid { field: "code", .. } => {
            ApiError::invalid_body("code", REFUSED)
        }
        error => error.into(),
    })?;
    answer(StatusCode::CREATED, &NewUserOut::new(&user, &token, &secret))
}
