//! The operations that bring events in and that tell how the service is doing.

use utoipa::openapi::schema::{ObjectBuilder, Schema, SchemaType, Type};

use super::document::seed_text;
use super::{Answer, Body, Chapter, Kind, Operation, Param, shape};
use crate::error::Code;

/// What a client sends: one event.
///
/// Only documentation: the decoder reads the bytes without an intermediate form.
#[derive(utoipa::ToSchema)]
#[schema(as = NewEvent)]
#[expect(dead_code, reason = "describes what the decoder reads")]
struct NewEvent {
    /// Your idempotency key; the service makes one if there is none.
    event_id: Option<String>,
    /// Which session. Any text of yours, up to 255 bytes.
    session_id: String,
    /// What happened, coarse.
    category: String,
    /// What happened, fine.
    name: String,
    /// When it occurred: RFC 3339, `YYYY-MM-DD HH:MM:SS.ffffff` in UTC, or an epoch number. Never rewritten.
    timestamp: Option<String>,
    /// When the client sent it, by its own clock; that of the envelope otherwise.
    sent_at: Option<String>,
    /// The payload, kept as sent.
    #[schema(value_type = Option<Object>)]
    data: Option<serde_json::Value>,
    /// Who.
    user_id: Option<String>,
    /// Who, before they were known.
    anonymous_id: Option<String>,
    /// What a library adds: page, device, campaign.
    #[schema(value_type = Option<Object>)]
    context: Option<serde_json::Value>,
}

/// What became of a request's events.
#[derive(utoipa::ToSchema)]
#[expect(dead_code, reason = "describes what is written by hand for speed")]
struct Results {
    /// One per event, in the request's order.
    results: Vec<EventResult>,
    /// How many are stored now.
    stored: u64,
    /// How many were stored before.
    duplicate: u64,
    /// How many were refused.
    rejected: u64,
    /// The version of the table.
    version: u64,
    /// What is behind this: pass it as `at_least` to read your writes on any node.
    offset: String,
}

/// What became of one event.
#[derive(utoipa::ToSchema)]
#[expect(dead_code, reason = "describes what is written by hand for speed")]
struct EventResult {
    /// `stored`, `duplicate` or `rejected`.
    status: String,
    /// Yours, or the one the service made.
    event_id: Option<String>,
    /// Where it is stored.
    partition: Option<u16>,
    /// Where it is stored.
    offset: Option<u64>,
    /// Why it was refused.
    code: Option<String>,
    /// The field to blame.
    field: Option<String>,
    /// What is wrong and what to send instead.
    message: Option<String>,
}

/// An event as the seed API takes it and gives it back.
#[derive(utoipa::ToSchema)]
#[expect(dead_code, reason = "describes what the decoder reads")]
struct SeedEvent {
    /// Which session.
    #[schema(schema_with = seed_text)]
    session_id: String,
    /// What happened, coarse.
    #[schema(schema_with = seed_text)]
    category: String,
    /// What happened, fine.
    #[schema(schema_with = seed_text)]
    name: String,
    /// The payload: any JSON but null.
    #[schema(schema_with = any_but_null)]
    data: serde_json::Value,
    /// When it occurred: `YYYY-MM-DD HH:MM:SS.ffffff`. Anything else but null is kept, and flagged.
    #[schema(schema_with = any_scalar)]
    timestamp: String,
}

/// What is no time may have 1,024 bytes. Lists and objects are taken too, and nobody should send them.
fn any_scalar() -> Schema {
    let types = vec![Type::String, Type::Number, Type::Boolean];
    ObjectBuilder::new().schema_type(SchemaType::Array(types)).max_length(Some(1024)).build().into()
}

fn any_but_null() -> Schema {
    let types = vec![Type::Object, Type::Array, Type::String, Type::Number, Type::Boolean];
    ObjectBuilder::new().schema_type(SchemaType::Array(types)).build().into()
}

const SEED_ERRORS: &[Code] =
    &[Code::InvalidParameter, Code::NotAcceptable, Code::MethodNotAllowed, Code::Busy, Code::Unavailable];

/// One reading operation of the seed API: GET with a query, POST with the same fields in a JSON body.
macro_rules! seed {
    ($path:literal, $summary:literal, $query:expr, $fields:expr, $errors:expr) => {
        [
            Operation {
                method: "GET",
                path: $path,
                chapter: Chapter::Seed,
                scope: Some("read"),
                summary: $summary,
                description: "",
                params: $query,
                body: Body::None,
                answer: Answer::other("The events, newest first.", "application/json"),
                errors: $errors,
            },
            Operation {
                method: "POST",
                path: $path,
                chapter: Chapter::Seed,
                scope: Some("read"),
                summary: $summary,
                description: "The same question with its fields in a JSON body.",
                params: &[],
                body: Body::SeedFields($fields),
                answer: Answer::other("The events, newest first.", "application/json"),
                errors: $errors,
            },
        ]
    };
}

const SESSION: [Operation; 2] = seed!(
    "/eye/event",
    "The events of one session",
    &[Param::query("session_id", Kind::SeedText, "Which session.").required()],
    &[Param::field("session_id", Kind::SeedText, "Which session.").required()],
    &[Code::NotFound, Code::NotAcceptable, Code::Busy, Code::Unavailable]
);
const CATEGORY: [Operation; 2] = seed!(
    "/eye/category-events",
    "The events of one category",
    &[Param::query("category", Kind::SeedText, "Which category.").required()],
    &[Param::field("category", Kind::SeedText, "Which category.").required()],
    SEED_ERRORS
);
const RANGE: [Operation; 2] = seed!(
    "/eye/range-events",
    "The events of a span of time",
    &[
        Param::query("start", Kind::SeedTime, "From here on.").required(),
        Param::query("end", Kind::SeedTime, "Up to here.").required(),
    ],
    &[
        Param::field("start", Kind::SeedTime, "From here on.").required(),
        Param::field("end", Kind::SeedTime, "Up to here.").required(),
    ],
    SEED_ERRORS
);
const INVALID_TIME: [Operation; 2] =
    seed!("/eye/invalid-time", "The events whose time is wrong", &[], &[], SEED_ERRORS);

const COLLECT: Operation = Operation {
    method: "POST",
    path: "/v1/events",
    chapter: Chapter::Collect,
    scope: Some("write"),
    summary: "Send events",
    description: "One event, an array, NDJSON, or an envelope. Content-Encoding may be identity, gzip, zstd, deflate \
                  or br. The answer has one result per event, in order. A request is not a transaction: each result is \
                  true on its own. Send the same event_id again after a failure: what was stored is a duplicate then.",
    params: &[],
    body: Body::Events(&["application/json", "application/x-ndjson"], shape::<NewEvent>),
    answer: Answer::json(200, "What is stored is durable and in every answer from now on.", shape::<Results>),
    errors: &[Code::TooManyEvents, Code::Unavailable, Code::Full],
};

const SEED_COLLECT: Operation = Operation {
    method: "POST",
    path: "/eye/collector",
    chapter: Chapter::Seed,
    scope: Some("write"),
    summary: "Send one event",
    description: "",
    params: &[],
    body: Body::Event(shape::<SeedEvent>),
    answer: Answer::json(201, "The event is durable.", shape::<SeedEvent>),
    errors: &[Code::NotAcceptable, Code::MethodNotAllowed, Code::Unavailable, Code::Full],
};

const fn operate(
    path: &'static str,
    summary: &'static str,
    description: &'static str,
    answer: Answer,
    errors: &'static [Code],
) -> Operation {
    let (method, chapter, scope) = ("GET", Chapter::Operate, None);
    Operation { method, path, chapter, scope, summary, description, params: &[], body: Body::None, answer, errors }
}

/// The operations of collecting, of the seed API and of health.
pub(super) const OPERATIONS: &[Operation] = {
    let [session_get, session_post] = SESSION;
    let [category_get, category_post] = CATEGORY;
    let [range_get, range_post] = RANGE;
    let [invalid_get, invalid_post] = INVALID_TIME;
    &[
        COLLECT,
        SEED_COLLECT,
        session_get,
        session_post,
        category_get,
        category_post,
        range_get,
        range_post,
        invalid_get,
        invalid_post,
        operate("/healthz", "Does the process run?", "", Answer::other("It does.", "text/plain"), &[]),
        operate(
            "/readyz",
            "Does it take and answer?",
            "Says why, if it does not.",
            Answer::other("It does.", "application/json"),
            &[Code::Unavailable],
        ),
        operate("/metrics", "Metrics in Prometheus' text form", "", Answer::other("The metrics.", "text/plain"), &[]),
    ]
};
