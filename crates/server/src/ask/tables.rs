//! What the routes of [`crate::ask`] take and give.

use eye_query::{
    CatalogueOut, DiffPage, EventsPage, FunnelAnswer, PathsOut, ProblemsPage, RejectionsPage, RetentionOut,
    SessionPage, SessionsPage, Trend, ValuesOut,
};

use super::{Ledger, questions, sql, values};
use crate::error::Code;
use crate::openapi::{Answer, Body, Chapter, Kind, Operation, Param, Shape, shape};

/// The paths and methods.
#[cfg(test)]
pub(crate) const ROUTES: &[(&str, &[&str])] = &[
    ("/v1/sessions/{session_id}", &["GET"]),
    ("/v1/sessions", &["GET"]),
    ("/v1/events", &["GET"]),
    ("/v1/diff", &["GET"]),
    ("/v1/problems", &["GET"]),
    ("/v1/rejections", &["GET"]),
    ("/v1/ledger", &["GET"]),
    ("/v1/query/trend", &["POST"]),
    ("/v1/query/funnel", &["POST"]),
    ("/v1/query/retention", &["POST"]),
    ("/v1/query/paths", &["POST"]),
    ("/v1/query/values", &["POST"]),
    ("/v1/values", &["GET"]),
    ("/v1/catalogue", &["GET"]),
    ("/v1/sql", &["POST"]),
];

pub(super) const APPLICATION: Param = Param::query("application", Kind::Text, "Only what this application sent.");
const CATEGORY: Param = Param::query("category", Kind::Text, "Only this category.");
const NAME: Param = Param::query("name", Kind::Text, "Only this name.");
const USER_ID: Param = Param::query("user_id", Kind::Text, "Only this user.");
const SESSION_ID: Param = Param::query("session_id", Kind::Text, "Only this session.");
const PROBLEM: Param = Param::query(
    "problem",
    Kind::Problem,
    "Only what has a problem: a code, any, or time (any of the three codes about time).",
);
const FROM: Param = Param::query("from", Kind::Time, "Only what occurred at this time or later.");
const TO: Param = Param::query("to", Kind::Time, "Only what occurred before this time.");
pub(super) const QUERY: Param =
    Param::query("query", Kind::Line, "Only what this query line chooses, such as name~buy data.plan=pro since:24h.");
const CURSOR: Param = Param::query("cursor", Kind::Text, "The next page: what the page before gave as next.");
pub(super) const AT_LEAST: Param = Param::query(
    "at_least",
    Kind::Offset,
    "Wait until the answer sees this offset, such as one that a write has answered with.",
);

/// Version and offset, as answers name them.
pub(super) const AT_PATTERN: Kind = Kind::Pattern("^[0-9]+:[0-9]+(,[0-9]+)*$");
const AT: Param =
    Param::query("at", AT_PATTERN, "Answer as of an older answer: its version and its offset, such as 17:9120334.");

const fn limit(max: u64, default: u64) -> Param {
    Param::query("limit", Kind::Number { min: 1, max, default: Some(default) }, "How many, at most.")
}

/// `GET /v1/sessions/{session_id}`.
pub(super) const SESSION: &[Param] =
    &[Param::path("session_id", "Which session, percent-encoded."), limit(5000, 5000), CURSOR, AT_LEAST, AT];

/// `GET /v1/sessions`.
pub(super) const SESSIONS: &[Param] = &[
    QUERY,
    APPLICATION,
    CATEGORY,
    NAME,
    USER_ID,
    PROBLEM,
    FROM,
    TO,
    Param::query(
        "sort",
        Kind::Choice(&["end", "start", "duration", "events", "names", "problems"]),
        "By what the list is sorted; equal ones by the bytes of their ids, in the same direction.",
    ),
    Param::query("order", Kind::Choice(&["desc", "asc"]), "Which end comes first."),
    limit(1000, 100),
    CURSOR,
    AT_LEAST,
    AT,
];

/// `GET /v1/events`.
pub(super) const EVENTS: &[Param] = &[
    QUERY,
    SESSION_ID,
    APPLICATION,
    CATEGORY,
    NAME,
    USER_ID,
    FROM,
    TO,
    PROBLEM,
    Param::query("order", Kind::Choice(&["newest", "oldest"]), "Which end comes first."),
    limit(10_000, 100),
    CURSOR,
    AT_LEAST,
    AT,
];

/// `GET /v1/diff`.
pub(super) const DIFF: &[Param] = &[
    Param::query("from", AT_PATTERN, "The earlier answer: its version and its offset, such as 17:9120334.").required(),
    Param::query("to", AT_PATTERN, "The later answer; if absent, one of now."),
    QUERY,
    SESSION_ID,
    APPLICATION,
    CATEGORY,
    NAME,
    USER_ID,
    PROBLEM,
    Param::query(
        "only",
        Kind::Choice(&["came", "late"]),
        "Which events are listed: all that came, or those that are late.",
    ),
    Param::query("order", Kind::Choice(&["newest", "oldest"]), "Which end comes first."),
    limit(10_000, 100),
    CURSOR,
    AT_LEAST,
];

/// `GET /v1/problems`.
pub(super) const PROBLEMS: &[Param] = &[
    APPLICATION,
    FROM,
    TO,
    Param::query("samples", Kind::Number { min: 0, max: 20, default: Some(3) }, "Events shown per kind of problem."),
    AT_LEAST,
    AT,
];

/// `GET /v1/rejections`.
pub(super) const REJECTIONS: &[Param] = &[
    APPLICATION,
    Param::query("code", Kind::Text, "Only what was refused with this code."),
    limit(1000, 100),
    CURSOR,
    AT_LEAST,
];

/// `GET /v1/ledger`.
pub(super) const LEDGER: &[Param] = &[AT_LEAST];

/// `GET /v1/live`: the filters of a list, without its times.
pub(crate) const LIVE: &[Param] = &[
    QUERY,
    SESSION_ID,
    APPLICATION,
    CATEGORY,
    NAME,
    USER_ID,
    PROBLEM,
    Param::header("Last-Event-ID", Kind::Offset, "Go on after this offset: the id of the last event that arrived."),
];

const QUESTION_ERRORS: &[Code] =
    &[Code::InvalidParameter, Code::Gone, Code::Busy, Code::Unavailable, Code::NotCaughtUp];
const ERRORS: &[Code] = &[Code::Gone, Code::Busy, Code::Unavailable, Code::NotCaughtUp];

const fn ask(
    path: &'static str,
    summary: &'static str,
    description: &'static str,
    params: &'static [Param],
    shape: Shape,
    errors: &'static [Code],
) -> Operation {
    Operation {
        method: "GET",
        path,
        chapter: Chapter::Ask,
        scope: Some("read"),
        summary,
        description,
        params,
        body: Body::None,
        answer: Answer::json(200, "The answer, and what it has seen.", shape),
        errors,
    }
}

const fn question(
    path: &'static str,
    summary: &'static str,
    description: &'static str,
    fields: &'static [Param],
    shape: Shape,
) -> Operation {
    Operation {
        method: "POST",
        body: Body::Fields(fields),
        ..ask(path, summary, description, &[], shape, QUESTION_ERRORS)
    }
}

/// The operations.
pub(crate) const OPERATIONS: &[Operation] = &[
    ask(
        "/v1/sessions/{session_id}",
        "One session, newest event first",
        "Of two events at the same microsecond the later arrival comes first: the order is total, and the same on \
         every node and after every restart.",
        SESSION,
        shape::<SessionPage>,
        &[Code::SessionNotFound, Code::Gone, Code::Busy, Code::Unavailable, Code::NotCaughtUp],
    ),
    ask(
        "/v1/sessions",
        "Sessions, with start, end, size, names and user",
        "The filters choose events; a session is listed, with all its figures over the chosen events, if any event \
         matches. A session that nothing is added to is on exactly one page; with at, as the first page names it, every \
         session is.",
        SESSIONS,
        shape::<SessionsPage>,
        ERRORS,
    ),
    ask(
        "/v1/events",
        "Events, by any mix of filters",
        "Pages are stable while events are being written: a cursor names the last event of a page, not a count.",
        EVENTS,
        shape::<EventsPage>,
        ERRORS,
    ),
    ask(
        "/v1/diff",
        "What has become of an answer since",
        "Lists the events that a later answer has seen and an earlier one has not, and says which of them are late: they \
         occurred before what the earlier answer had seen already. Of what was erased or was too old it says how much, and \
         when, to who may see all applications.",
        DIFF,
        shape::<DiffPage>,
        QUESTION_ERRORS,
    ),
    ask(
        "/v1/problems",
        "What is wrong with stored events",
        "Counted by code, application and name, with samples. An event with a problem is stored all the same.",
        PROBLEMS,
        shape::<ProblemsPage>,
        ERRORS,
    ),
    ask(
        "/v1/rejections",
        "What was refused, and why",
        "Newest first, with the start of the refused bytes.",
        REJECTIONS,
        shape::<RejectionsPage>,
        ERRORS,
    ),
    ask(
        "/v1/ledger",
        "What became of everything that was sent",
        "Per token, always: received = stored + duplicate + rejected.",
        LEDGER,
        shape::<Ledger>,
        ERRORS,
    ),
    question(
        "/v1/query/trend",
        "A measure of events, by interval of time and by values",
        "Without from it begins 30 days before to; without to it ends now. The answer says both.",
        questions::TREND,
        shape::<Trend>,
    ),
    question(
        "/v1/query/funnel",
        "How many take step after step, and where the others stop",
        "Each session, user or anonymous id counts once, as far as it came. The range is that of a trend.",
        questions::FUNNEL,
        shape::<FunnelAnswer>,
    ),
    question(
        "/v1/query/retention",
        "Of those who started in one period, how many came back in the next ones",
        "With cohort and period it lists who is behind a cell. The range is that of a trend.",
        questions::RETENTION,
        shape::<RetentionOut>,
    ),
    question(
        "/v1/query/paths",
        "Which ways people take, from a start or to an end",
        "A tree of steps with how many take each. The range is that of a trend.",
        questions::PATHS,
        shape::<PathsOut>,
    ),
    question(
        "/v1/query/values",
        "Which values a field has",
        "The same as GET /v1/values.",
        values::FIELDS,
        shape::<ValuesOut>,
    ),
    ask(
        "/v1/values",
        "Which values a field has",
        "Those of most events first. Out of the catalogue if it has them (from_catalogue), else out of the newest events.",
        values::VALUES,
        shape::<ValuesOut>,
        QUESTION_ERRORS,
    ),
    ask(
        "/v1/catalogue",
        "Which categories, names and fields there are",
        "With types, times, how many events have each, and examples of values. Values that say who somebody is are not \
         kept: those of ids, of fields that hold anything like an e-mail address, and of fields that are nearly unique.",
        values::CATALOGUE,
        shape::<CatalogueOut>,
        QUESTION_ERRORS,
    ),
    Operation {
        errors: &[
            Code::InvalidSql,
            Code::RefusedSql,
            Code::LimitReached,
            Code::NotAcceptable,
            Code::Busy,
            Code::Unavailable,
            Code::NotCaughtUp,
        ],
        answer: Answer::json(200, "The rows, and what they were taken from.", shape::<sql::SqlOut>).or(sql::FORMS),
        ..question(
            "/v1/sql",
            "Any question, in SQL",
            "One statement that only reads, over the tables events, sessions, problems and rejections. The form of the \
             answer is that of format, else of Accept: JSON, NDJSON, CSV, an Arrow IPC stream or a Parquet file. Every \
             form says in the headers Eye-Version and Eye-Offset what it has seen. An answer that breaks off has met an \
             error on its way.",
            sql::SQL,
            shape::<sql::SqlOut>,
        )
    },
];
