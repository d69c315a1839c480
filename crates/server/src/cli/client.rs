//! The HTTP client of the command line: one place that knows addresses, tokens, time limits and what an answer's status
//! means for the exit code.

use std::io::{BufReader, Read};
use std::time::Duration;

use serde::Deserialize;
use ureq::http::{Request, Response};
use ureq::{Agent, Body};

use super::failure::{Failure, Result};
use super::global::is_loopback;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(90);
/// The server sends a heartbeat every 15 seconds: three missed ones mean a dead connection.
const LIVE_READ_TIMEOUT: Duration = Duration::from_secs(45);
const ANSWER_BYTES_MAX: u64 = 1 << 30;
const PROBLEM_BYTES_MAX: u64 = 1 << 20;

/// A client of one server with one token. Cheap to clone; connections are shared.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    agent: Agent,
    base: String,
    authorization: Option<String>,
}

/// Why one request has no good answer: the sender decides by it whether to try again.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// No answer: the network, or nobody there.
    Network(String),
    /// An answer that is a refusal.
    Refused(Refusal),
}

/// A refusal: status, code and words of a problem document.
#[derive(Clone, Debug, Default)]
pub(crate) struct Refusal {
    /// The HTTP status.
    pub(crate) status: u16,
    /// The stable code, empty if the answer had none.
    pub(crate) code: String,
    /// What the server says.
    pub(crate) detail: String,
    /// The field to blame, if one is.
    pub(crate) field: Option<String>,
    /// How long to wait before trying again, if the server says so.
    pub(crate) retry_after: Option<Duration>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Problem {
    code: String,
    detail: String,
    title: String,
    field: Option<String>,
}

impl Client {
    /// A client; nothing is sent yet.
    pub(crate) fn new(base: String, token: Option<String>) -> Result<Self> {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .timeout_recv_response(Some(ANSWER_TIMEOUT))
            .max_idle_connections_per_host(64)
            .user_agent(concat!("eye/", env!("CARGO_PKG_VERSION")));
        // A proxy from the environment has no business between two programs on one machine.
        let config = if is_loopback(&base) { config.proxy(None) } else { config };
        if token.as_deref().is_some_and(|token| !token.bytes().all(|byte| byte.is_ascii_graphic())) {
            return Err(Failure::usage(
                "the token holds characters that no token has: copy it again, without quotes or spaces",
            ));
        }
        let authorization = token.map(|token| format!("Token {token}"));
        Ok(Self { agent: Agent::new_with_config(config.build()), base, authorization })
    }

    /// The address, without a slash at its end.
    pub(crate) fn base(&self) -> &str {
        &self.base
    }

    /// True if requests carry a token.
    pub(crate) fn has_token(&self) -> bool {
        self.authorization.is_some()
    }

    /// `GET path?query`: the body of a good answer.
    pub(crate) fn get(&self, path: &str, query: &[(&str, String)]) -> Result<String> {
        self.text("GET", &with_query(path, query), None)
    }

    /// The same, once: for who tries again.
    pub(crate) fn try_get(&self, path: &str, query: &[(&str, String)]) -> std::result::Result<String, Trouble> {
        self.try_text("GET", &with_query(path, query), None)
    }

    /// Sends a JSON document: the body of a good answer.
    pub(crate) fn send(&self, method: &str, path: &str, body: &serde_json::Value) -> Result<String> {
        self.text(method, path, Some(("application/json", body.to_string().as_bytes())))
    }

    /// A request without a body.
    pub(crate) fn call(&self, method: &str, path: &str) -> Result<String> {
        self.text(method, path, None)
    }

    /// `POST /v1/events` with NDJSON, once.
    pub(crate) fn post_events(&self, lines: &[u8]) -> std::result::Result<String, Trouble> {
        self.try_text("POST", "/v1/events", Some(("application/x-ndjson", lines)))
    }

    /// Opens the live stream after `last_event_id`.
    pub(crate) fn live(
        &self,
        query: &[(&str, String)],
        last_event_id: Option<&str>,
    ) -> std::result::Result<BufReader<impl Read + use<>>, Trouble> {
        let mut request = self.request("GET", &with_query("/v1/live", query)).header("Accept", "text/event-stream");
        if let Some(id) = last_event_id {
            request = request.header("Last-Event-ID", id);
        }
        let request = request.body(()).map_err(|error| Trouble::Network(error.to_string()))?;
        let request = self.agent.configure_request(request).timeout_per_read(Some(LIVE_READ_TIMEOUT)).build();
        let response = self.agent.run(request).map_err(|error| Trouble::Network(error.to_string()))?;
        let response = good(response)?;
        Ok(BufReader::new(response.into_body().into_with_config().limit(u64::MAX).reader()))
    }

    /// `GET path`: the body of a good answer as it comes, however long it is.
    pub(crate) fn stream(&self, path: &str) -> std::result::Result<BufReader<impl Read + use<>>, Trouble> {
        let request = self.request("GET", path).body(()).map_err(|error| Trouble::Network(error.to_string()))?;
        let request = self.agent.configure_request(request).timeout_per_read(Some(ANSWER_TIMEOUT)).build();
        let response = self.agent.run(request).map_err(|error| Trouble::Network(error.to_string()))?;
        let response = good(response)?;
        Ok(BufReader::new(response.into_body().into_with_config().limit(u64::MAX).reader()))
    }

    /// Asks for nothing but a sign of life.
    pub(crate) fn check_reachable(&self) -> Result<()> {
        match self.try_text("GET", "/healthz", None) {
            Err(Trouble::Network(error)) => Err(self.failure(Trouble::Network(error))),
            _ => Ok(()),
        }
    }

    /// What a person should know about trouble, with the exit code that fits.
    pub(crate) fn failure(&self, trouble: Trouble) -> Failure {
        match trouble {
            Trouble::Network(error) => Failure::Unreachable(format!(
                "cannot reach the server at {}: {error}\nstart it with \"eye serve\", or say where it is with --url or EYE_URL",
                self.base
            )),
            Trouble::Refused(refusal) => self.refused(&refusal),
        }
    }

    fn refused(&self, refusal: &Refusal) -> Failure {
        let said = match &refusal.field {
            Some(field) if !refusal.detail.contains(field.as_str()) => format!("{field}: {}", refusal.detail),
            _ => refusal.detail.clone(),
        };
        match refusal.status {
            401 if !self.has_token() => Failure::NotAllowed(format!(
                "the server at {} asks for a token: give one with --token or EYE_TOKEN\n\
                 \"eye token create\" makes one; on the server's own machine --data <its data folder> is enough",
                self.base
            )),
            401 => Failure::NotAllowed(format!(
                "{said}\nlook at the token in --token or EYE_TOKEN; an administrator makes a new one with \"eye token create\", \
                 and on the server's own machine --data <its data folder> is enough"
            )),
            403 => Failure::NotAllowed(format!(
                "{said}\nuse a token that may do this: \"eye token list\" shows what each one may"
            )),
            404 | 410 => Failure::BadNews(said),
            429 | 500.. => {
                Failure::Unreachable(format!("the server at {} answered {}: {said}", self.base, refusal.status))
            }
            _ => Failure::Usage(said),
        }
    }

    fn text(&self, method: &str, path: &str, body: Option<(&str, &[u8])>) -> Result<String> {
        self.try_text(method, path, body).map_err(|trouble| self.failure(trouble))
    }

    fn try_text(&self, method: &str, path: &str, body: Option<(&str, &[u8])>) -> std::result::Result<String, Trouble> {
        let request = self.request(method, path);
        let answer = match body {
            None => request.body(()).map_err(ureq::Error::from).and_then(|request| self.agent.run(request)),
            Some((content_type, bytes)) => request
                .header("Content-Type", content_type)
                .body(bytes)
                .map_err(ureq::Error::from)
                .and_then(|request| self.agent.run(request)),
        };
        let response = good(answer.map_err(|error| Trouble::Network(error.to_string()))?)?;
        let body = response.into_body().into_with_config().limit(ANSWER_BYTES_MAX).read_to_string();
        body.map_err(|error| Trouble::Network(format!("the answer broke off: {error}")))
    }

    fn request(&self, method: &str, path: &str) -> ureq::http::request::Builder {
        let request = Request::builder().method(method).uri(format!("{}{path}", self.base));
        match &self.authorization {
            Some(authorization) => request.header("Authorization", authorization),
            None => request,
        }
    }
}

/// The answer if its status says it is one, else why not.
fn good(response: Response<Body>) -> std::result::Result<Response<Body>, Trouble> {
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let retry_after = response.headers().get("retry-after").and_then(|value| value.to_str().ok()?.trim().parse().ok());
    let body = response.into_body().into_with_config().limit(PROBLEM_BYTES_MAX).read_to_string().unwrap_or_default();
    let problem: Problem = serde_json::from_str(&body).unwrap_or_default();
    let detail = [problem.detail, problem.title].into_iter().find(|text| !text.is_empty());
    Err(Trouble::Refused(Refusal {
        status: status.as_u16(),
        code: problem.code,
        detail: detail.unwrap_or_else(|| format!("no reason given ({status}); is this an Eye server?")),
        field: problem.field,
        retry_after: retry_after.map(Duration::from_secs),
    }))
}

fn with_query(path: &str, query: &[(&str, String)]) -> String {
    let mut url = path.to_owned();
    for (index, (name, value)) in query.iter().enumerate() {
        url.push(if index == 0 { '?' } else { '&' });
        url.push_str(name);
        url.push('=');
        url.push_str(&encode(value));
    }
    url
}

/// Percent-encodes everything but unreserved characters (RFC 3986, section 2.3).
pub(crate) fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push('%');
            for half in [byte >> 4, byte & 15] {
                encoded.push(char::from_digit(u32::from(half), 16).unwrap_or('0').to_ascii_uppercase());
            }
        }
    }
    // A path segment of dots alone would be taken for a step in the path.
    if matches!(encoded.as_str(), "." | "..") { encoded.replace('.', "%2E") } else { encoded }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_text_travels_in_a_url() {
        assert_eq!(encode("a b/c?d=é&"), "a%20b%2Fc%3Fd%3D%C3%A9%26");
        assert_eq!(encode(".."), "%2E%2E");
        assert_eq!(
            with_query("/v1/events", &[("from", "2022-01-09T00:00:00Z".to_owned()), ("limit", "5".to_owned())]),
            "/v1/events?from=2022-01-09T00%3A00%3A00Z&limit=5"
        );
    }

    #[test]
    fn every_refusal_has_an_exit_code_and_a_next_step() {
        let client = Client::new("http://127.0.0.1:1".to_owned(), Some("eye_sk_x".to_owned())).unwrap();
        for (status, code, word) in [
            (400, 2, "why"),
            (401, 4, "eye token create"),
            (403, 4, "eye token list"),
            (404, 1, "why"),
            (503, 3, "503"),
        ] {
            let failure =
                client.failure(Trouble::Refused(Refusal { status, detail: "why".to_owned(), ..Refusal::default() }));
            assert_eq!(failure.exit_code(), code, "{status}");
            assert!(failure.to_string().contains(word), "{failure}");
        }
        let failure = client.check_reachable().unwrap_err();
        assert_eq!(failure.exit_code(), 3);
        assert!(failure.to_string().contains("eye serve"), "{failure}");
    }

    #[test]
    fn a_token_with_a_line_end_is_refused_before_it_is_sent() {
        assert!(Client::new("http://127.0.0.1:1".to_owned(), Some("a\r\nb".to_owned())).is_err());
    }
}
