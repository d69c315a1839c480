//! From the tables of operations to an OpenAPI 3.1 document.
//!
//! The document says of every operation what it takes, what a success looks like and which error codes it can give.
//! Errors share one shape, the problem document; only the seed API and the readiness check answer in their own.

use std::collections::BTreeMap;

use eye_event::Problem;
use serde_json::{Value, json};
use utoipa::openapi::path::{HttpMethod, OperationBuilder, ParameterBuilder, ParameterIn, PathItem};
use utoipa::openapi::request_body::{RequestBody, RequestBodyBuilder};
use utoipa::openapi::schema::{
    AdditionalProperties, AnyOfBuilder, ArrayBuilder, ComponentsBuilder, ObjectBuilder, SchemaType, Type,
};
use utoipa::openapi::security::{
    ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme,
};
use utoipa::openapi::{
    Components, Content, InfoBuilder, LicenseBuilder, OpenApi, OpenApiBuilder, Paths, PathsBuilder, Ref, RefOr,
    Required, Response, ResponseBuilder, Responses, ResponsesBuilder, Schema, SchemaFormat,
};

use super::{Body, Chapter, Kind, Operation, Param, Place, Schemas, operations};
use crate::error::Code;

/// The media type of errors.
const PROBLEM: &str = "application/problem+json";
/// What a token can be denied for.
const WITH_TOKEN: &[Code] = &[
    Code::MissingToken,
    Code::UnknownToken,
    Code::RevokedToken,
    Code::ExpiredToken,
    Code::InactiveUser,
    Code::MissingScope,
];
/// What the reading of a small JSON body can end in.
const WITH_BODY: &[Code] = &[
    Code::NotJson,
    Code::NotUtf8,
    Code::EmptyBody,
    Code::InvalidBody,
    Code::RequestTimeout,
    Code::BodyTooLarge,
    Code::UnsupportedMediaType,
    Code::Busy,
];

/// RFC 3339, a date, or an epoch number. How long a month is does not fit into a pattern.
const TIME: &str = concat!(
    r"^([12]\d{3}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])([Tt ]([01]\d|2[0-3]):[0-5]\d:[0-5]\d(\.\d{1,9})?",
    r"([Zz]|[+-](0\d|1[0-4]):[0-5]\d)?)?|\d{1,10}(\.\d{1,9})?)$"
);
/// The same, or the beginning of a date.
const SEED_TIME: &str = concat!(
    r"^([12]\d{3}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])[Tt ]([01]\d|2[0-3]):[0-5]\d:[0-5]\d(\.\d{1,9})?",
    r"([Zz]|[+-](0\d|1[0-4]):[0-5]\d)?|\d{1,10}(\.\d{1,9})?|[12]\d{3}(-(0[1-9]|1[0-2])(-(0[1-9]|[12]\d|3[01]))?)?)$"
);
/// Something to see, and no NUL.
const SEED_TEXT: &str = r"^[^\u0000]*[^\s\u0000\u001c-\u001f\u0085][^\u0000]*$";
/// One offset per partition.
const OFFSET: &str = r"^\d{1,18}(,\d{1,18})*$";

/// The document, as JSON.
pub(crate) fn document() -> Value {
    let mut schemas = Schemas::default();
    let mut paths = PathsBuilder::new();
    for operation in operations() {
        paths = paths.path(operation.path, PathItem::new(method(operation.method), describe(operation, &mut schemas)));
    }
    let document = assemble(paths.build(), schemas);
    serde_json::to_value(document).unwrap_or_default()
}

fn assemble(paths: Paths, schemas: Schemas) -> OpenApi {
    let license = LicenseBuilder::new().name("Apache-2.0").identifier(Some("Apache-2.0")).build();
    let info = InfoBuilder::new()
        .title("The Eye")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(
            "Collects events and keeps every session in order. What is acknowledged is durable, stored once, and in \
             every answer from then on.",
        ))
        .license(Some(license))
        .build();
    let tags = Chapter::ALL.into_iter().map(|chapter| {
        let (name, about) = chapter.title();
        utoipa::openapi::tag::TagBuilder::new().name(name).description(Some(about)).build()
    });
    OpenApiBuilder::new().info(info).paths(paths).components(Some(components(schemas))).tags(Some(tags)).build()
}

fn components(schemas: Schemas) -> Components {
    let token = ApiKeyValue::with_description(
        "Authorization",
        "\"Token \" and the token, as in: Authorization: Token eye_sk_…",
    );
    let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some("The same token, as a bearer."));
    ComponentsBuilder::new()
        .schemas_from_iter(schemas.0)
        .schema("Problem", problem())
        .security_scheme("token", SecurityScheme::ApiKey(ApiKey::Header(token)))
        .security_scheme("bearer", SecurityScheme::Http(bearer.build()))
        .build()
}

/// The shape of every error.
fn problem() -> Schema {
    let text = || ObjectBuilder::new().schema_type(Type::String);
    let codes = Code::ALL.iter().map(|code| code.code());
    ObjectBuilder::new()
        .description(Some("What went wrong (RFC 9457)."))
        .property("type", text().description(Some("Where the code is explained.")))
        .required("type")
        .property("title", text().description(Some("The code, for people.")))
        .required("title")
        .property("status", ObjectBuilder::new().schema_type(Type::Integer))
        .required("status")
        .property("detail", text().description(Some("What is wrong and what to do.")))
        .required("detail")
        .property("code", text().enum_values(Some(codes)).description(Some("Stable: programs may rely on it.")))
        .required("code")
        .property("field", text().description(Some("The parameter or field to blame, where there is one.")))
        .examples([json!({
            "type": "/docs#invalid_parameter", "title": "a parameter is wrong", "status": 400,
            "detail": "limit is 0: send a number from 1 to 10000", "code": "invalid_parameter", "field": "limit",
        })])
        .build()
        .into()
}

fn method(name: &str) -> HttpMethod {
    match name {
        "POST" => HttpMethod::Post,
        "PATCH" => HttpMethod::Patch,
        "DELETE" => HttpMethod::Delete,
        _ => HttpMethod::Get,
    }
}

fn describe(operation: &Operation, schemas: &mut Schemas) -> OperationBuilder {
    let mut builder = OperationBuilder::new()
        .operation_id(Some(operation_id(operation)))
        .tag(operation.chapter.title().0)
        .summary(Some(operation.summary))
        .responses(responses(operation, schemas));
    if !operation.description.is_empty() {
        builder = builder.description(Some(operation.description));
    }
    for param in operation.params {
        builder = builder.parameter(parameter(param));
    }
    if let Some(scope) = operation.scope {
        builder = builder.security(SecurityRequirement::new("token", [scope]));
        builder = builder.security(SecurityRequirement::new("bearer", [scope]));
    }
    builder.request_body(request_body(&operation.body, schemas))
}

/// The method and the path as one word: `get_v1_sessions_session_id`.
pub(crate) fn operation_id(operation: &Operation) -> String {
    let path = operation.path.replace(['{', '}'], "").replace(['/', '-', '.'], "_");
    format!("{}{path}", operation.method.to_lowercase())
}

fn parameter(param: &Param) -> ParameterBuilder {
    let place = match param.place {
        Place::Path => ParameterIn::Path,
        Place::Header => ParameterIn::Header,
        Place::Query | Place::Body => ParameterIn::Query,
    };
    let required = if param.required { Required::True } else { Required::False };
    ParameterBuilder::new()
        .name(param.name)
        .parameter_in(place)
        .required(required)
        .description(Some(param.doc))
        .schema(Some(kind(param)))
}

/// The schema of one parameter or field.
fn kind(param: &Param) -> Schema {
    let text = ObjectBuilder::new().schema_type(Type::String);
    let builder = match param.kind {
        Kind::Text => text.min_length(Some(1)),
        Kind::Line => text.format(Some(SchemaFormat::Custom("query-line".to_owned()))),
        Kind::Pattern(pattern) => text.pattern(Some(pattern)),
        Kind::Secret { min, max } => {
            let format = SchemaFormat::Custom("password".to_owned());
            text.min_length(Some(min)).max_length(Some(max)).format(Some(format))
        }
        Kind::Choice(words) => {
            let default = (!param.required).then(|| words.first().copied().map(Value::from)).flatten();
            text.enum_values(Some(words.iter().copied())).default(default)
        }
        Kind::Number { min, max, default } => ObjectBuilder::new()
            .schema_type(Type::Integer)
            .minimum(Some(usize::try_from(min).unwrap_or(usize::MAX)))
            .maximum(Some(usize::try_from(max).unwrap_or(usize::MAX)))
            .default(default.map(Value::from)),
        Kind::Problem => {
            let codes = Problem::ALL.into_iter().map(Problem::code);
            text.enum_values(Some(["any", "time"].into_iter().chain(codes)))
        }
        Kind::Time => text.format(Some(SchemaFormat::Custom("timestamp".to_owned()))).pattern(Some(TIME)),
        Kind::Offset => text.pattern(Some(OFFSET)).examples([json!("0")]),
        Kind::Flag => ObjectBuilder::new().schema_type(Type::Boolean),
        Kind::Words(words) => return list_of(words, is_nullable(param)),
        Kind::Texts { min, max } => return texts(min, max, param),
        Kind::SeedText => seed_type(text, param).max_length(Some(255)).pattern(Some(SEED_TEXT)),
        Kind::SeedTime => {
            seed_type(text, param).format(Some(SchemaFormat::Custom("timestamp".to_owned()))).pattern(Some(SEED_TIME))
        }
    };
    let mut schema = builder.build();
    if is_nullable(param)
        && let SchemaType::Type(one) = &schema.schema_type
    {
        schema.schema_type = SchemaType::Array(vec![one.clone(), Type::Null]);
    }
    schema.into()
}

/// In a body an explicit null is as good as nothing.
fn is_nullable(param: &Param) -> bool {
    param.place == Place::Body && !param.required
}

fn list_of(words: &[&'static str], is_nullable: bool) -> Schema {
    let item = ObjectBuilder::new().schema_type(Type::String).enum_values(Some(words.iter().copied()));
    let list = ArrayBuilder::new().items(RefOr::T(Schema::from(item.build()))).unique_items(true).min_items(Some(1));
    let types = if is_nullable { vec![Type::Array, Type::Null] } else { vec![Type::Array] };
    list.schema_type(SchemaType::Array(types)).build().into()
}

fn texts(min: usize, max: usize, param: &Param) -> Schema {
    let item = ObjectBuilder::new().schema_type(Type::String).build();
    let list = ArrayBuilder::new()
        .items(RefOr::T(Schema::from(item)))
        .min_items((min > 0).then_some(min))
        .max_items(Some(max));
    let types = if is_nullable(param) { vec![Type::Array, Type::Null] } else { vec![Type::Array] };
    list.schema_type(SchemaType::Array(types)).build().into()
}

/// In a JSON body the seed takes numbers for texts.
fn seed_type(builder: ObjectBuilder, param: &Param) -> ObjectBuilder {
    match param.place {
        Place::Body => builder.schema_type(SchemaType::Array(vec![Type::String, Type::Number])),
        _ => builder,
    }
}

/// A text of an event as the seed takes it.
pub(super) fn seed_text() -> Schema {
    kind(&Param::field("", Kind::SeedText, "").required())
}

fn request_body(body: &Body, schemas: &mut Schemas) -> Option<RequestBody> {
    let builder = RequestBodyBuilder::new().required(Some(Required::True));
    match body {
        Body::None => None,
        Body::Fields(fields) => Some(builder.content("application/json", Content::new(Some(object(fields)))).build()),
        Body::OptionalFields(fields) => {
            let builder = builder.required(Some(Required::False));
            Some(builder.content("application/json", Content::new(Some(object(fields)))).build())
        }
        Body::SeedFields(fields) => {
            let is_required = fields.iter().any(|field| field.required);
            let builder = builder.required(Some(if is_required { Required::True } else { Required::False }));
            let schema = Schema::from(properties(fields).build());
            Some(builder.content("application/json", Content::new(Some(schema))).build())
        }
        Body::Event(shape) => Some(builder.content("application/json", Content::new(Some(shape(schemas)))).build()),
        Body::Events(media, shape) => {
            let schema = shape(schemas);
            let content = |media: &str| {
                let one = schema.clone();
                match media.ends_with("ndjson") {
                    true => Content::new(Some(one)),
                    false => Content::new(Some(one_or_many(one))),
                }
            };
            Some(media.iter().fold(builder, |builder, media| builder.content(*media, content(media))).build())
        }
    }
}

/// One event, a list of them, or the envelope.
fn one_or_many(event: RefOr<Schema>) -> Schema {
    let list = || ArrayBuilder::new().items(event.clone()).build();
    let text = || ObjectBuilder::new().schema_type(Type::String);
    let envelope = ObjectBuilder::new()
        .property("token", text().description(Some("Instead of the Authorization header.")))
        .property("sent_at", text().description(Some("The client's clock when it sent this.")))
        .property("events", list())
        .required("events");
    AnyOfBuilder::new().item(event.clone()).item(list()).item(envelope.build()).build().into()
}

fn object(fields: &[Param]) -> Schema {
    properties(fields).additional_properties(Some(AdditionalProperties::FreeForm(false))).build().into()
}

fn properties(fields: &[Param]) -> ObjectBuilder {
    let mut builder = ObjectBuilder::new().schema_type(Type::Object);
    for field in fields {
        let mut schema = kind(field);
        match &mut schema {
            Schema::Object(object) => object.description = Some(field.doc.to_owned()),
            Schema::Array(array) => array.description = Some(field.doc.to_owned()),
            _ => {}
        }
        builder = builder.property(field.name, schema);
        if field.required {
            builder = builder.required(field.name);
        }
    }
    builder
}

fn responses(operation: &Operation, schemas: &mut Schemas) -> Responses {
    let mut success = ResponseBuilder::new().description(operation.answer.doc);
    if let Some((media, shape)) = operation.answer.body {
        let schema = shape.map(|shape| shape(schemas));
        success = success.content(media, Content::new(schema));
    }
    for media in operation.answer.others {
        success = success.content(*media, Content::new(None::<RefOr<Schema>>));
    }
    let mut builder = ResponsesBuilder::new().response(operation.answer.status.to_string(), success.build());
    for (status, codes) in errors(operation) {
        builder = builder.response(status.to_string(), refusal(&codes, operation.chapter));
    }
    builder.build()
}

/// The codes an operation can give, by status.
fn errors(operation: &Operation) -> BTreeMap<u16, Vec<Code>> {
    let mut codes = operation.errors.to_vec();
    if operation.scope.is_some() {
        codes.extend(WITH_TOKEN);
    }
    if !matches!(operation.body, Body::None) {
        codes.extend(WITH_BODY);
    }
    if operation.params.iter().any(|param| param.place == Place::Query) {
        codes.push(Code::InvalidParameter);
    }
    let mut by_status = BTreeMap::<u16, Vec<Code>>::new();
    for code in Code::ALL.iter().filter(|code| codes.contains(code)) {
        by_status.entry(code.row().0).or_default().push(*code);
    }
    by_status
}

fn refusal(codes: &[Code], chapter: Chapter) -> Response {
    let listed: Vec<_> = codes.iter().map(|code| format!("{}: {}", code.code(), code.title())).collect();
    let builder = ResponseBuilder::new().description(listed.join("; "));
    // The seed's clients expect its words; whoever watches over the service reads a reason, not a problem.
    if matches!(chapter, Chapter::Seed | Chapter::Operate) {
        return builder.content("application/json", Content::new(None::<Schema>)).build();
    }
    builder.content(PROBLEM, Content::new(Some(Ref::from_schema_name("Problem")))).build()
}
