//! The built-in pages: `/docs`, the API as a page, and `/setup`, where the first administrator is made.
//!
//! Plain files inside the binary. The rule: a page asks no other host for anything, and its policy says so to the
//! browser. Nothing a stranger wrote is ever on them.

mod docs;

use axum::Router;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;
use http::{HeaderName, HeaderValue, header};

use crate::state::AppState;

/// What a page may load and do: our own style and script, our own API, and nothing else.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
                      connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'; \
                      require-trusted-types-for 'script'; trusted-types 'none'";

/// The paths and methods. What a page loads (`/pages/…`) is no part of the API and not in its document.
#[cfg(test)]
pub(crate) const ROUTES: &[(&str, &[&str])] =
    &[("/docs", &["GET"]), ("/setup", &["GET"]), ("/pages/style.css", &["GET"]), ("/pages/setup.js", &["GET"])];

/// The routes of this file.
pub(crate) fn routes() -> Router<AppState> {
    Router::new()
        .route("/docs", page("text/html; charset=utf-8", docs::page(&crate::openapi::document())))
        .route("/setup", page("text/html; charset=utf-8", include_str!("pages/setup.html")))
        .route("/pages/style.css", page("text/css; charset=utf-8", include_str!("pages/style.css")))
        .route("/pages/setup.js", page("text/javascript; charset=utf-8", include_str!("pages/setup.js")))
}

fn page(media: &'static str, text: impl Into<Bytes>) -> axum::routing::MethodRouter<AppState> {
    let text: Bytes = text.into();
    get(move || std::future::ready(respond(media, text.clone())))
}

fn respond(media: &'static str, text: Bytes) -> Response {
    let mut response = text.into_response();
    let headers: [(HeaderName, &'static str); 6] = [
        (header::CONTENT_TYPE, media),
        // A new version of the binary may bring new pages.
        (header::CACHE_CONTROL, "no-cache"),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    ];
    for (name, value) in headers {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_load_nothing_from_elsewhere_and_hold_no_inline_code() {
        let docs = docs::page(&crate::openapi::document());
        let files = [
            docs.as_str(),
            include_str!("pages/setup.html"),
            include_str!("pages/style.css"),
            include_str!("pages/setup.js"),
        ];
        for file in files {
            for bad in ["src=\"http", "href=\"http", "href=\"//", "@import", "url(", "style=\"", "<style", "innerHTML"]
            {
                assert!(!file.contains(bad), "{bad}");
            }
        }
        for html in &files[..2] {
            assert_eq!(html.matches("<script").count(), html.matches("<script src=\"/pages/").count());
            assert!(html.starts_with("<!doctype html>") && html.contains("lang=\"en\"") && html.contains("viewport"));
        }
    }

    #[test]
    fn every_field_of_the_set_up_page_has_a_label() {
        let html = include_str!("pages/setup.html");
        for field in ["code", "name", "password", "again"] {
            assert!(html.contains(&format!("<label for=\"{field}\">")), "{field}");
            assert!(html.contains(&format!("<input id=\"{field}\"")), "{field}");
            assert!(html.contains(&format!("id=\"{field}-wrong\"")), "{field}");
        }
    }
}
