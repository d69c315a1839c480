//! What the routes of [`crate::manage`] take and give.

use super::backup;
use super::jobs::JobList;
use super::views::{
    ApplicationList, ApplicationOut, AuditList, Compacted, ErasureList, ErasureOut, Flushed, NewUserOut, TokenList,
    TokenOut, UserList, UserOut,
};
use crate::error::Code;
use crate::openapi::{Answer, Body, Chapter, Kind, Operation, Param, shape};

/// The paths and methods.
#[cfg(test)]
pub(crate) const ROUTES: &[(&str, &[&str])] = &[
    ("/v1/applications", &["GET", "POST"]),
    ("/v1/tokens", &["GET", "POST"]),
    ("/v1/tokens/{id}/rotate", &["POST"]),
    ("/v1/tokens/{id}", &["DELETE"]),
    ("/v1/users", &["GET", "POST"]),
    ("/v1/users/{id}", &["PATCH"]),
    ("/v1/audit", &["GET"]),
    ("/v1/flush", &["POST"]),
    ("/v1/compact", &["POST"]),
    ("/v1/erasures", &["GET", "POST"]),
    ("/v1/erasures/{id}", &["GET", "DELETE"]),
    ("/v1/jobs", &["GET"]),
    ("/v1/backup", &["GET"]),
    ("/v1/setup", &["POST"]),
];

const ROLES: &[&str] = &["admin", "analyst", "viewer"];
const TOKEN_ID: &[Param] = &[Param::path("id", "The token's id, such as tok_4fKq0ZbT7xWm; never its secret.")];
const USER_ID: &[Param] = &[Param::path("id", "The user's id, such as usr_4fKq0ZbT7xWm.")];
/// The longest that a rotated token may go on working: a year.
const OVERLAP_SECONDS_MAX: u64 = 365 * 86_400;

/// Something to see, on one line, without spaces at its ends.
const LABEL: Kind = Kind::Pattern(concat!(
    r"^[^\s\u0000-\u001f\u007f-\u009f]",
    r"([^\u0000-\u001f\u007f-\u009f]{0,198}[^\s\u0000-\u001f\u007f-\u009f])?$"
));
/// As the registry reads the names of applications.
const APPLICATION_NAME: Kind = Kind::Pattern("^[a-z0-9][a-z0-9_-]{0,62}$");
/// As the registry reads the names of users.
const USER_NAME: Kind = Kind::Pattern(r"^[\p{L}\p{N}@.+_-]{1,150}$");
const PASSWORD: Kind = Kind::Secret { min: 8, max: 1024 };

/// `POST /v1/applications`.
pub(super) const NEW_APPLICATION: &[Param] = &[
    Param::field("name", APPLICATION_NAME, "Its name and id: a-z, 0-9, - and _, at most 63. Never changed.").required(),
    Param::field("title", LABEL, "What people call it."),
];

/// `POST /v1/tokens`.
pub(super) const NEW_TOKEN: &[Param] = &[
    Param::field("name", LABEL, "What people call it.").required(),
    Param::field(
        "kind",
        Kind::Choice(&["secret", "write", "read"]),
        "secret: kept on servers. write: may stand in public pages. read: reads only.",
    )
    .required(),
    Param::field("application", Kind::Text, "The application it writes to. If there is only one: that one."),
    Param::field(
        "scopes",
        Kind::Words(&["write", "read", "admin"]),
        "What it may do; never more than its kind. If left out: what its kind does.",
    ),
    Param::field("reads_all", Kind::Flag, "True if it reads every application."),
    Param::field("expires_at", Kind::Time, "From when on it opens nothing."),
    Param::field(
        "import",
        Kind::Pattern("^[!-~]{32,256}$"),
        "A token that clients have already: 32 to 256 printable ASCII characters.",
    ),
];

/// `POST /v1/tokens/{id}/rotate`.
pub(super) const ROTATION: &[Param] = &[Param::field(
    "overlap_seconds",
    Kind::Number { min: 0, max: OVERLAP_SECONDS_MAX, default: Some(86_400) },
    "How long the old token goes on working.",
)];

/// `POST /v1/users`.
pub(super) const NEW_USER: &[Param] = &[
    Param::field("name", USER_NAME, "The name to sign in with: letters, digits and @ . + - _.").required(),
    Param::field("password", PASSWORD, "At least 8 characters. Without one the user has a token only."),
    Param::field("role", Kind::Choice(ROLES), "What the user may do.").required(),
    Param::field("application", Kind::Text, "The application that the user's token writes to."),
];

/// `PATCH /v1/users/{id}`.
pub(super) const USER_CHANGE: &[Param] = &[
    Param::field("active", Kind::Flag, "False: the user and every token of the user opens nothing."),
    Param::field("role", Kind::Pattern("^(admin|analyst|viewer)$"), "Another role. The user's tokens follow it."),
    Param::field("password", PASSWORD, "Another password."),
];

/// `GET /v1/audit`.
pub(super) const AUDIT: &[Param] = &[
    Param::query("before", Kind::Number { min: 0, max: u64::MAX, default: None }, "Only changes before this offset."),
    Param::query("limit", Kind::Number { min: 1, max: 1000, default: Some(100) }, "How many, at most."),
];

const ERASURE_ID: &[Param] = &[Param::path("id", "The erasure's id, such as era_4f0a19c27bd3.")];

/// `POST /v1/erasures`.
pub(super) const ERASURE: &[Param] = &[
    Param::field("user_id", Kind::Text, "What belongs to this user."),
    Param::field("anonymous_id", Kind::Text, "What belongs to this anonymous id."),
    Param::field("session_id", Kind::Text, "What belongs to this session."),
    Param::field("application", Kind::Text, "What this application sent."),
    Param::field("since", Kind::Time, "What occurred at this time or later."),
    Param::field("until", Kind::Time, "What occurred before this time."),
    Param::field("query", Kind::Text, "What this query line chooses, such as user_id:ann data.plan=pro: events only."),
    Param::field("dry_run", Kind::Flag, "True: say what would go, and change nothing."),
];

/// `POST /v1/setup`.
pub(super) const SETUP: &[Param] = &[
    Param::field("code", Kind::Secret { min: 1, max: 256 }, "The one-time code from the printed link.").required(),
    Param::field("name", USER_NAME, "The name to sign in with.").required(),
    Param::field("password", PASSWORD, "At least 8 characters.").required(),
];

const fn get(path: &'static str, summary: &'static str, params: &'static [Param], answer: Answer) -> Operation {
    Operation {
        method: "GET",
        path,
        chapter: Chapter::Manage,
        scope: Some("admin"),
        summary,
        description: "",
        params,
        body: Body::None,
        answer,
        errors: &[],
    }
}

const fn act(
    (method, path): (&'static str, &'static str),
    (summary, description): (&'static str, &'static str),
    params: &'static [Param],
    body: Body,
    answer: Answer,
    errors: &'static [Code],
) -> Operation {
    let (chapter, scope) = (Chapter::Manage, Some("admin"));
    Operation { method, path, chapter, scope, summary, description, params, body, answer, errors }
}

const MAKE: &[Code] = &[Code::NotFound, Code::Exists, Code::Unavailable, Code::Full];
const MEND: &[Code] = &[Code::NotFound, Code::Unavailable, Code::Full];

/// The operations.
pub(crate) const OPERATIONS: &[Operation] = &[
    get("/v1/applications", "Applications", &[], Answer::json(200, "All of them.", shape::<ApplicationList>)),
    act(
        ("POST", "/v1/applications"),
        ("Make an application", ""),
        &[],
        Body::Fields(NEW_APPLICATION),
        Answer::json(201, "The application.", shape::<ApplicationOut>),
        MAKE,
    ),
    get("/v1/tokens", "Tokens", &[], Answer::json(200, "All of them, without their secrets.", shape::<TokenList>)),
    act(
        ("POST", "/v1/tokens"),
        ("Make a token", "The answer holds the secret. It is stored as a hash only: nobody can show it again."),
        &[],
        Body::Fields(NEW_TOKEN),
        Answer::json(201, "The token, with its secret.", shape::<TokenOut>),
        MAKE,
    ),
    act(
        ("POST", "/v1/tokens/{id}/rotate"),
        ("Replace a token", "The old one goes on working for a while, so that clients can be changed one by one."),
        TOKEN_ID,
        Body::OptionalFields(ROTATION),
        Answer::json(201, "The new token, with its secret.", shape::<TokenOut>),
        MEND,
    ),
    act(
        ("DELETE", "/v1/tokens/{id}"),
        ("Revoke a token", "At once and for ever. Once more changes nothing."),
        TOKEN_ID,
        Body::None,
        Answer::json(200, "The revoked token.", shape::<TokenOut>),
        MEND,
    ),
    get("/v1/users", "Users", &[], Answer::json(200, "All of them.", shape::<UserList>)),
    act(
        ("POST", "/v1/users"),
        (
            "Make a user",
            "Making a user makes a token for it, which follows the user's role and reads every application.",
        ),
        &[],
        Body::Fields(NEW_USER),
        Answer::json(201, "The user and its token, with the secret.", shape::<NewUserOut>),
        MAKE,
    ),
    act(
        ("PATCH", "/v1/users/{id}"),
        ("Change a user", "What is left out stays as it is. The last active administrator stays one."),
        USER_ID,
        Body::Fields(USER_CHANGE),
        Answer::json(200, "The user.", shape::<UserOut>),
        &[Code::NotFound, Code::Denied, Code::Unavailable, Code::Full],
    ),
    get("/v1/audit", "Who changed what", AUDIT, Answer::json(200, "Changes, newest first.", shape::<AuditList>)),
    act(
        ("POST", "/v1/flush"),
        ("Write the hot buffer to the table now", "What was sent before is in the table when this answers."),
        &[],
        Body::None,
        Answer::json(200, "What was written.", shape::<Flushed>),
        &[Code::Busy, Code::Unavailable, Code::Full],
    ),
    act(
        ("POST", "/v1/compact"),
        (
            "Merge small files of the table now",
            "No row is changed. Replaced files that are old enough are removed. It happens in the background too.",
        ),
        &[],
        Body::None,
        Answer::json(200, "What was merged.", shape::<Compacted>),
        &[Code::Busy, Code::Unavailable, Code::Full],
    ),
    get("/v1/jobs", "What runs in the background", &[], Answer::json(200, "Every job.", shape::<JobList>)),
    Operation {
        description: "Everything as of now, as one stream of files, while the service goes on. docs/http-api.md says how the \
                      stream is made up; eye backup makes a folder of it. One at a time.",
        errors: &[Code::Busy, Code::Unavailable],
        ..get(
            "/v1/backup",
            "A copy of everything",
            &[],
            Answer::other("The files, and a line at the end.", backup::MEDIA_TYPE),
        )
    },
    get("/v1/erasures", "Erasures", &[], Answer::json(200, "All of them, the newest first.", shape::<ErasureList>)),
    act(
        ("POST", "/v1/erasures"),
        (
            "Erase events and rejections for ever",
            "What is named must hold together. When this answers, nobody sees any of it; the files are written again in the \
             background. What arrives later is not erased.",
        ),
        &[],
        Body::Fields(ERASURE),
        Answer::json(200, "The erasure, or what it would erase.", shape::<ErasureOut>),
        &[Code::Busy, Code::Unavailable, Code::Full],
    ),
    act(
        ("GET", "/v1/erasures/{id}"),
        ("An erasure", "How far it is, and what it has done."),
        ERASURE_ID,
        Body::None,
        Answer::json(200, "The erasure.", shape::<ErasureOut>),
        &[Code::NotFound],
    ),
    act(
        ("DELETE", "/v1/erasures/{id}"),
        ("Stop an erasure", "What is not gone yet is seen again. One that is done stays so."),
        ERASURE_ID,
        Body::None,
        Answer::json(200, "The erasure.", shape::<ErasureOut>),
        &[Code::NotFound, Code::Unavailable, Code::Full],
    ),
    Operation {
        method: "POST",
        path: "/v1/setup",
        chapter: Chapter::Manage,
        scope: None,
        summary: "Make the first administrator",
        description: "Works once, with the code that was printed at the first start, and needs no token.",
        params: &[],
        body: Body::Fields(SETUP),
        answer: Answer::json(201, "The administrator and its token, with the secret.", shape::<NewUserOut>),
        errors: &[Code::TooManyAttempts, Code::Exists, Code::Unavailable, Code::Full],
    },
];
