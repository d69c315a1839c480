//! `POST /v1/sql`: a statement in, rows out as they come.
//!
//! The rule: whoever may read sees what they see everywhere else, and nothing beyond it. The first rows are waited for,
//! so that a statement that fails early answers with a problem document; one that fails later breaks the answer off.

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use axum::routing::post;
use bytes::Bytes;
use eye_query::{FunnelQuery, PathsQuery, RetentionQuery, TrendQuery};
use eye_sql::{Answer, Ask, Encoder, Format, Questions};
use futures_util::stream;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use serde::Serialize;
use utoipa::ToSchema;

use super::desk::catch_up;
use super::questions;
use crate::auth::Reader;
use crate::config::Settings;
use crate::error::{ApiError, ApiResult, Code};
use crate::fields::Fields;
use crate::openapi::{Kind, Param};
use crate::state::AppState;

/// So much of an answer is made before its first byte is sent.
const FIRST_BYTES: usize = 64 * 1024;
/// A piece of an answer has about this many bytes.
const PIECE_BYTES: usize = 64 * 1024;

/// The media types of an answer beside JSON.
pub(super) const FORMS: &[&str] =
    &[Format::Ndjson.media_type(), Format::Csv.media_type(), Format::Arrow.media_type(), Format::Parquet.media_type()];

/// `POST /v1/sql`.
pub(super) const SQL: &[Param] = &[
    Param::field("sql", Kind::Text, "The statement, such as SELECT count(*) FROM events.").required(),
    Param::field(
        "format",
        Kind::Choice(&["json", "ndjson", "csv", "arrow", "parquet"]),
        "The form of the answer; that of the Accept header, if absent.",
    ),
    Param::field("at_least", Kind::Offset, "Wait until the answer sees this offset."),
];

/// What statements may use.
pub(crate) fn sql_limits(settings: &Settings) -> eye_sql::Limits {
    let cores = || std::thread::available_parallelism().map_or(1, usize::from);
    eye_sql::Limits {
        text_bytes_max: settings.sql_text_bytes_max,
        time_max: settings.sql_time_max,
        rows_max: settings.sql_rows_max,
        memory_bytes_max: settings.sql_memory_bytes_max,
        spill_bytes_max: settings.sql_spill_bytes_max as u64,
        queries_max: settings.sql_queries_max,
        queries_per_token_max: settings.sql_queries_per_token_max,
        threads: if settings.sql_threads == 0 { cores() } else { settings.sql_threads },
    }
}

/// An answer in JSON.
#[derive(Serialize, ToSchema)]
pub(super) struct SqlOut {
    /// The columns.
    columns: Vec<SqlColumn>,
    /// The rows, each a value a column.
    rows: Vec<Vec<serde_json::Value>>,
    /// The version of the table that the answer saw.
    version: u64,
    /// What the answer has seen of the log.
    offset: String,
}

/// A column of an answer.
#[derive(Serialize, ToSchema)]
struct SqlColumn {
    /// Its name.
    name: String,
    /// Its type, as PostgreSQL calls it.
    #[serde(rename = "type")]
    kind: String,
}

/// The routes of this file.
pub(super) fn routes() -> Router<AppState> {
    Router::new().route("/v1/sql", post(sql))
}

async fn sql(
    State(state): State<AppState>,
    Reader(caller): Reader,
    headers: HeaderMap,
    body: Body,
) -> ApiResult<Response> {
    let fields = Fields::read(&state, body, SQL).await?;
    let format = match fields.is_given("format") {
        true => Format::named(fields.choice("format")?).unwrap_or(Format::Json),
        false => accepted(&headers)?,
    };
    let ask = Ask {
        sql: fields.required("sql")?,
        parameters: Vec::new(),
        token: caller.grant.token.to_string(),
        allowed: caller.applications(),
    };
    catch_up(&state, fields.position("at_least")?, "at_least").await?;
    let store = state.store.clone();
    let answer = state.sql.ask(ask, move || store.snapshot()).await?;
    respond(answer, format).await
}

/// The form that the Accept header asks for; JSON if there is none.
fn accepted(headers: &HeaderMap) -> ApiResult<Format> {
    let ranges: Vec<&str> = headers
        .get_all(header::ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|range| range.split(';').next().unwrap_or_default().trim())
        .filter(|range| !range.is_empty())
        .collect();
    if ranges.is_empty() {
        return Ok(Format::Json);
    }
    let of_range = |range: &&str| match *range {
        "*/*" | "application/*" => Some(Format::Json),
        "text/*" => Some(Format::Csv),
        media => Format::ALL.into_iter().find(|format| format.media_type().eq_ignore_ascii_case(media)),
    };
    ranges.iter().find_map(of_range).ok_or_else(|| {
        let known = Format::ALL.map(Format::media_type).join(", ");
        ApiError::new(Code::NotAcceptable, format!("no form of the answer is acceptable: accept one of {known}"))
    })
}

async fn respond(answer: Answer, format: Format) -> ApiResult<Response> {
    let (version, offset) = (answer.version(), answer.offset().to_owned());
    let mut pieces = Pieces::new(answer, format)?;
    let mut first = Vec::new();
    while first.len() < FIRST_BYTES
        && let Some(piece) = pieces.next().await?
    {
        first.extend(piece);
    }
    let body = match pieces.is_over() {
        true => Body::from(first),
        false => {
            let rest = stream::try_unfold(pieces, async |mut pieces| {
                let piece = pieces.next().await.map_err(|error| {
                    tracing::warn!(%error, "an answer of SQL broke off");
                    std::io::Error::other(error)
                })?;
                Ok::<_, std::io::Error>(piece.map(|piece| (Bytes::from(piece), pieces)))
            });
            let first = stream::iter([Ok(Bytes::from(first))]);
            Body::from_stream(futures_util::StreamExt::chain(first, rest))
        }
    };
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(format.media_type()));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(HeaderName::from_static("eye-version"), HeaderValue::from(version));
    if let Ok(offset) = HeaderValue::from_str(&offset) {
        headers.insert(HeaderName::from_static("eye-offset"), offset);
    }
    Ok(response)
}

/// An answer as bytes, piece by piece.
struct Pieces {
    answer: Answer,
    encoder: Option<Encoder>,
    head: Vec<u8>,
}

impl Pieces {
    fn new(answer: Answer, format: Format) -> eye_sql::Result<Self> {
        let (encoder, head) = Encoder::new(format, answer.schema(), answer.version(), answer.offset())?;
        Ok(Self { answer, encoder: Some(encoder), head })
    }

    fn is_over(&self) -> bool {
        self.encoder.is_none()
    }

    async fn next(&mut self) -> eye_sql::Result<Option<Vec<u8>>> {
        let Some(encoder) = &mut self.encoder else { return Ok(None) };
        let mut piece = std::mem::take(&mut self.head);
        while piece.len() < PIECE_BYTES {
            match self.answer.next().await? {
                Some(batch) => piece.extend(encoder.batch(&batch)?),
                None => {
                    if let Some(encoder) = self.encoder.take() {
                        piece.extend(encoder.finish()?);
                    }
                    return Ok(Some(piece));
                }
            }
        }
        Ok(Some(piece))
    }
}

/// The questions' bodies, for the table functions of SQL: read by the tables of the API.
pub(crate) struct Bodies;

impl Bodies {
    fn read<T>(body: &str, known: &'static [Param], query: impl FnOnce(&Fields) -> ApiResult<T>) -> Result<T, String> {
        let read = || {
            let fields = Fields::of_text(body, known)?;
            // A statement sees one version, the newest.
            for (name, detail) in [
                ("at_least", "at_least does not belong here: send it beside sql"),
                ("at", "at does not belong here: a statement asks the newest version; ask the question itself"),
            ] {
                if fields.is_given(name) {
                    return Err(ApiError::invalid_parameter(name, detail));
                }
            }
            query(&fields)
        };
        read().map_err(|error| error.detail().to_owned())
    }
}

impl Questions for Bodies {
    fn trend(&self, body: &str, allowed: Option<Vec<String>>) -> Result<TrendQuery, String> {
        Self::read(body, questions::TREND, |fields| questions::trend_query(fields, allowed))
    }

    fn funnel(&self, body: &str, allowed: Option<Vec<String>>) -> Result<FunnelQuery, String> {
        Self::read(body, questions::FUNNEL, |fields| questions::funnel_query(fields, allowed))
    }

    fn retention(&self, body: &str, allowed: Option<Vec<String>>) -> Result<RetentionQuery, String> {
        Self::read(body, questions::RETENTION, |fields| questions::retention_query(fields, allowed))
    }

    fn paths(&self, body: &str, allowed: Option<Vec<String>>) -> Result<PathsQuery, String> {
        Self::read(body, questions::PATHS, |fields| questions::paths_query(fields, allowed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_form_that_is_known_is_taken() {
        let accept = |text: &'static str| {
            let headers = [(header::ACCEPT, HeaderValue::from_static(text))].into_iter().collect();
            accepted(&headers).map_err(|error| error.code())
        };
        assert_eq!(accept("text/html, text/csv;q=0.9, */*"), Ok(Format::Csv));
        assert_eq!(accept("*/*"), Ok(Format::Json));
        assert_eq!(accept("application/vnd.apache.arrow.stream"), Ok(Format::Arrow));
        assert_eq!(accept("text/html"), Err(Code::NotAcceptable));
        assert_eq!(accepted(&HeaderMap::new()), Ok(Format::Json));
    }
}
