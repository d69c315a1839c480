//! What every route takes and gives, as tables: they drive the reading of requests and the OpenAPI document alike.
//!
//! A route file states its operations as [`Operation`]s. Query parameters and body fields are read by the very tables
//! that document them ([`crate::ask`], [`crate::manage`]), so the two cannot drift apart. Answers are described by the
//! types that are serialised. The rule: every route of the router is in the document, and every route of the document
//! is in the router (a test holds it).

mod document;
mod edge;

use axum::Router;
use axum::response::IntoResponse;
use axum::routing::get;
use http::header;
use utoipa::openapi::{Ref, RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use crate::error::Code;
use crate::state::AppState;

pub(crate) use document::{document, operation_id};

/// The paths of this file.
#[cfg(test)]
pub(crate) const ROUTES: &[(&str, &[&str])] = &[("/openapi.json", &["GET"])];

/// The routes of this file.
pub(crate) fn routes() -> Router<AppState> {
    let text = bytes::Bytes::from(document().to_string());
    Router::new().route(
        "/openapi.json",
        get(move || {
            let headers = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-cache")];
            std::future::ready((headers, text.clone()).into_response())
        }),
    )
}

/// One operation: what a method on a path takes and gives.
pub(crate) struct Operation {
    /// The method, in capitals.
    pub(crate) method: &'static str,
    /// The path, with parameters in braces.
    pub(crate) path: &'static str,
    /// The chapter of the documentation it stands in.
    pub(crate) chapter: Chapter,
    /// The scope that the token needs; `None` if no token is needed.
    pub(crate) scope: Option<&'static str>,
    /// What it does, in a few words.
    pub(crate) summary: &'static str,
    /// What there is to know, in plain sentences.
    pub(crate) description: &'static str,
    /// Parameters in the path, the query and the headers.
    pub(crate) params: &'static [Param],
    /// What the body holds.
    pub(crate) body: Body,
    /// What a success looks like.
    pub(crate) answer: Answer,
    /// The errors, beyond those that every operation of its kind can give.
    pub(crate) errors: &'static [Code],
}

/// A chapter of the documentation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Chapter {
    /// Events in.
    Collect,
    /// The collector that this service grew from.
    Seed,
    /// Events out.
    Ask,
    /// Applications, tokens and users.
    Manage,
    /// Health, metrics and documentation.
    Operate,
}

impl Chapter {
    /// Every chapter, in reading order.
    pub(crate) const ALL: [Self; 5] = [Self::Collect, Self::Ask, Self::Manage, Self::Seed, Self::Operate];

    /// Its name and what it is about.
    pub(crate) const fn title(self) -> (&'static str, &'static str) {
        match self {
            Self::Collect => ("Collect", "Send events. An answer of 200 means that what is stored is durable."),
            Self::Ask => {
                ("Ask", "Read sessions, events and what is wrong with them. Every answer says what it has seen.")
            }
            Self::Manage => ("Manage", "Applications, tokens and users. Every change is in the audit trail."),
            Self::Seed => ("Seed API", "The first collector's interface, kept for the clients that use it."),
            Self::Operate => ("Operate", "Health, metrics and documentation. No token is needed."),
        }
    }
}

/// A parameter of a request, or a field of its JSON body.
#[derive(Debug)]
pub(crate) struct Param {
    /// Its name.
    pub(crate) name: &'static str,
    /// Where it stands.
    pub(crate) place: Place,
    /// What it may be.
    pub(crate) kind: Kind,
    /// True if a request without it is refused.
    pub(crate) required: bool,
    /// What it means, in one sentence.
    pub(crate) doc: &'static str,
}

/// Where a parameter stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// In the query string.
    Query,
    /// In the path.
    Path,
    /// In a header.
    Header,
    /// In the JSON body.
    Body,
}

/// What a parameter may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Any text that is not empty.
    Text,
    /// A query line; an empty one says nothing.
    Line,
    /// Text that matches this pattern (ECMA-262, with Unicode).
    Pattern(&'static str),
    /// Text that people keep secret: so many characters.
    Secret {
        /// The least.
        min: usize,
        /// The most.
        max: usize,
    },
    /// One of these words; the first is the default, unless it is required.
    Choice(&'static [&'static str]),
    /// A problem's code, any problem, or those about time.
    Problem,
    /// A whole number in these bounds.
    Number {
        /// The least.
        min: u64,
        /// The most.
        max: u64,
        /// What it is when it is left out.
        default: Option<u64>,
    },
    /// A moment: RFC 3339, a date (its first moment in UTC) or an epoch number.
    Time,
    /// A place in the log: one offset per partition, with commas.
    Offset,
    /// True or false.
    Flag,
    /// A list of these words, each at most once.
    Words(&'static [&'static str]),
    /// A list of texts.
    Texts {
        /// The fewest.
        min: usize,
        /// The most.
        max: usize,
    },
    /// As the seed takes a text: spaces around it do not count, a number is its digits.
    SeedText,
    /// As the seed takes a time: a year, a month or a day will do.
    SeedTime,
}

impl Param {
    /// An optional query parameter.
    pub(crate) const fn query(name: &'static str, kind: Kind, doc: &'static str) -> Self {
        Self { name, place: Place::Query, kind, required: false, doc }
    }

    /// An optional field of the body.
    pub(crate) const fn field(name: &'static str, kind: Kind, doc: &'static str) -> Self {
        Self { name, place: Place::Body, kind, required: false, doc }
    }

    /// A part of the path.
    pub(crate) const fn path(name: &'static str, doc: &'static str) -> Self {
        Self { name, place: Place::Path, kind: Kind::Text, required: true, doc }
    }

    /// A header.
    pub(crate) const fn header(name: &'static str, kind: Kind, doc: &'static str) -> Self {
        Self { name, place: Place::Header, kind, required: false, doc }
    }

    /// The same, required.
    pub(crate) const fn required(self) -> Self {
        Self { required: true, ..self }
    }
}

/// What the body of a request holds.
pub(crate) enum Body {
    /// Nothing.
    None,
    /// A JSON object with these fields and no others.
    Fields(&'static [Param]),
    /// The same, or nothing.
    OptionalFields(&'static [Param]),
    /// A JSON object with these fields; others are passed over, and it may be absent if no field is required.
    SeedFields(&'static [Param]),
    /// One event.
    Event(Shape),
    /// Events in one of these media types.
    Events(&'static [&'static str], Shape),
}

/// What a success looks like.
pub(crate) struct Answer {
    /// The status.
    pub(crate) status: u16,
    /// What it means.
    pub(crate) doc: &'static str,
    /// The media type, and the shape of the body where it is JSON.
    pub(crate) body: Option<(&'static str, Option<Shape>)>,
    /// The media types that it can have instead.
    pub(crate) others: &'static [&'static str],
}

impl Answer {
    /// An answer in JSON.
    pub(crate) const fn json(status: u16, doc: &'static str, shape: Shape) -> Self {
        Self { status, doc, body: Some(("application/json", Some(shape))), others: &[] }
    }

    /// The same, or one of these media types.
    pub(crate) const fn or(self, others: &'static [&'static str]) -> Self {
        Self { others, ..self }
    }

    /// An answer in another media type.
    pub(crate) const fn other(doc: &'static str, media: &'static str) -> Self {
        Self { status: 200, doc, body: Some((media, None)), others: &[] }
    }
}

/// The schemas that the document has met so far, by name.
#[derive(Default)]
pub(crate) struct Schemas(Vec<(String, RefOr<Schema>)>);

/// How a type describes itself: adds what it needs to the schemas and gives a reference.
pub(crate) type Shape = fn(&mut Schemas) -> RefOr<Schema>;

/// The shape of a type.
pub(crate) fn shape<T: ToSchema>(schemas: &mut Schemas) -> RefOr<Schema> {
    T::schemas(&mut schemas.0);
    schemas.0.push((T::name().into_owned(), <T as PartialSchema>::schema()));
    Ref::from_schema_name(T::name()).into()
}

/// Every operation of the service.
pub(crate) fn operations() -> impl Iterator<Item = &'static Operation> {
    [edge::OPERATIONS, crate::ask::OPERATIONS, crate::live::OPERATIONS, crate::manage::OPERATIONS, SELF]
        .into_iter()
        .flatten()
}

/// The operations of this file and of the pages.
const SELF: &[Operation] = &[
    Operation {
        method: "GET",
        path: "/openapi.json",
        chapter: Chapter::Operate,
        scope: None,
        summary: "This document",
        description: "OpenAPI 3.1, made from the code that answers.",
        params: &[],
        body: Body::None,
        answer: Answer::other("The document.", "application/json"),
        errors: &[],
    },
    Operation {
        method: "GET",
        path: "/docs",
        chapter: Chapter::Operate,
        scope: None,
        summary: "This document as a page",
        description: "",
        params: &[],
        body: Body::None,
        answer: Answer::other("The page.", "text/html"),
        errors: &[],
    },
    Operation {
        method: "GET",
        path: "/setup",
        chapter: Chapter::Operate,
        scope: None,
        summary: "The page that makes the first administrator",
        description: "The one-time code stands after the # sign of the printed link and never leaves the browser in an address.",
        params: &[],
        body: Body::None,
        answer: Answer::other("The page.", "text/html"),
        errors: &[],
    },
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_document_and_the_router_name_the_same_routes() {
        let routed: BTreeSet<(String, String)> = crate::router::all_routes()
            .into_iter()
            .filter(|(path, _)| !path.starts_with("/pages/"))
            .flat_map(|(path, methods)| methods.iter().map(move |method| (path.to_owned(), (*method).to_owned())))
            .collect();
        let document = document();
        let paths = document["paths"].as_object().unwrap();
        let documented: BTreeSet<(String, String)> = paths
            .iter()
            .flat_map(|(path, item)| {
                item.as_object().unwrap().keys().map(|method| (path.clone(), method.to_uppercase()))
            })
            .collect();
        assert_eq!(documented, routed);
        assert_eq!(operations().count(), documented.len(), "no operation is stated twice");
    }

    #[test]
    fn every_operation_is_described_and_its_parameters_too() {
        let document = document();
        assert_eq!(document["openapi"], "3.1.0");
        let mut ids = BTreeSet::new();
        for operation in operations() {
            let described = &document["paths"][operation.path][operation.method.to_lowercase()];
            assert!(ids.insert(described["operationId"].as_str().unwrap().to_owned()), "{}", operation.path);
            assert!(!operation.summary.is_empty());
            assert!(described["responses"][operation.answer.status.to_string()].is_object(), "{}", operation.path);
            let names: BTreeSet<_> = operation.params.iter().map(|param| param.name).collect();
            assert_eq!(names.len(), operation.params.len(), "{}", operation.path);
            assert_eq!(described["security"].is_array(), operation.scope.is_some(), "{}", operation.path);
            for part in operation.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}')) {
                assert!(names.contains(part), "{} does not describe {part}", operation.path);
            }
        }
    }

    #[test]
    fn errors_are_problem_documents_but_on_the_seed_api() {
        let document = document();
        let refused = |path: &str, method: &str, status: &str| {
            document["paths"][path][method]["responses"][status]["content"].as_object().unwrap().clone()
        };
        assert!(refused("/v1/events", "post", "413").contains_key("application/problem+json"));
        assert!(refused("/v1/sessions/{session_id}", "get", "404").contains_key("application/problem+json"));
        assert!(refused("/eye/collector", "post", "401").contains_key("application/json"));
    }
}
