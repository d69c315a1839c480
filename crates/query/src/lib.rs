//! Questions over a snapshot: plain values in, plain values out.
//!
//! Every question runs on one immutable [`Source`] and its answer names it (`version`, `offset`): the same source and the
//! same question give the same bytes. Lists page by keyset cursors. Everything is bounded: rows by `limit`, bytes by
//! page, sessions and kinds of problem by named limits. Questions block: run them on threads that may.
//!
//! | module | what it answers |
//! |---|---|
//! | `session` | one session, newest first: the fast path |
//! | `events` | events that match a filter |
//! | `sessions` | sessions with their figures |
//! | [`diff`](fn@diff) | what has become of an answer since |
//! | [`trend`](fn@trend) | a measure by interval and by values |
//! | `funnel` | how many take step after step, and where the others stop |
//! | `problems` | what is wrong with stored events |
//! | `rejections` | what was refused |
//! | `retention` | who comes back, period by period |
//! | `paths` | which ways people take |
//! | `catalogue` | which categories, names, fields and values there are |
//! | [`line`](mod@line), [`condition`], [`field`] | the query line: its text, what it demands, what it looks at |
//! | [`json`] | one value out of a payload |
//! | `filter` | which events a question is about |
//! | `choose` | which rows of a slice a filter chooses |
//! | `reads`, `frame`, `mask`, `scan` | what is read, slices as columns, the rows that are chosen, one pass over all of them |
//! | `share` | pieces of work on all cores |
//! | `calendar`, `unit` | time cut into intervals, whose events belong together |
//! | `exact` | sums that do not depend on the order |
//! | `decimal` | numbers as texts, compared to the last digit |
//! | `order`, `top`, `names` | places in an order, the first few of many, texts as numbers |
//! | `cursor` | where a page ended |
//! | `output` | how an event looks in an answer |
//! | `source`, `at` | what a question reads; the same as an older answer saw it |
//! | `cancel` | how a question is stopped |

mod at;
mod calendar;
mod cancel;
mod catalogue;
mod choose;
pub mod condition;
mod cursor;
mod decimal;
mod diff;
mod error;
mod events;
mod exact;
pub mod field;
mod filter;
mod frame;
mod funnel;
pub mod line;
mod mask;
mod names;
mod order;
mod output;
mod paths;
mod problems;
mod reads;
mod rejections;
mod retention;
mod scan;
mod session;
mod sessions;
mod share;
mod source;
mod top;
mod trend;
mod unit;

pub use at::{At, AtSlice};
pub use calendar::{INTERVALS_MAX, Interval, WeekStart};
pub use cancel::Cancel;
pub use catalogue::{
    CATALOGUE_EXAMPLES, CATALOGUE_FIELDS_MAX, CATALOGUE_LIMIT, CATALOGUE_LIMIT_MAX, CATALOGUE_NAMES_MAX, Catalogue,
    CatalogueApplicationOut, CatalogueFieldOut, CatalogueNameOut, CatalogueOut, CatalogueQuery, FIELD_DEPTH_MAX,
    FIELD_VALUE_BYTES_MAX, FIELD_VALUES_MAX, TypeOut, VALUES_LIMIT, VALUES_LIMIT_MAX, VALUES_ROWS_MAX,
    VALUES_SCANNED_MAX, ValueOut, ValuesOut, ValuesQuery,
};
pub use choose::chosen;
pub use cursor::Cursor;
pub use diff::{AnswerOut, Diff, DiffEventOut, DiffPage, DiffQuery, DiffSummary, Only, Seen, WentOut, diff};
pub use error::{Error, Result};
pub use events::{EVENTS_LIMIT, EVENTS_LIMIT_MAX, EventsPage, EventsQuery, Rows, events, events_with};
pub use eye_event::payload as json;
pub use field::Field;
pub use filter::{Filter, ProblemFilter};
pub use frame::Frame;
pub use funnel::{
    FUNNEL_MATCHES_MAX, FUNNEL_SAMPLES, FUNNEL_SAMPLES_MAX, FUNNEL_STEPS_MAX, FUNNEL_STEPS_MIN, FUNNEL_TOP,
    FUNNEL_TOP_MAX, FUNNEL_VALUES_BYTES_MAX, FUNNEL_VALUES_MAX, FunnelAnswer, FunnelOrder, FunnelQuery,
    FunnelSeriesOut, FunnelStepOut, funnel,
};
pub use line::{Asked, Line};
pub use order::Order;
pub use output::{EventOut, write_event_json};
pub use paths::{
    PATHS_DEPTH, PATHS_DEPTH_MAX, PATHS_EVENTS_MAX, PATHS_LABEL_BYTES_MAX, PATHS_LABELS_MAX, PATHS_NODES_MAX,
    PATHS_TOP, PATHS_TOP_MAX, PathNodeOut, PathsOut, PathsQuery, paths,
};
pub use problems::{PROBLEM_KINDS_MAX, ProblemOut, ProblemsPage, ProblemsQuery, SAMPLES, SAMPLES_MAX, problems};
pub use reads::Reads;
pub use rejections::{
    REJECTIONS_LIMIT, REJECTIONS_LIMIT_MAX, RejectionOut, RejectionsPage, RejectionsQuery, rejections,
};
pub use retention::{
    CellOut, CellUnitOut, CohortOut, RETENTION_LIMIT, RETENTION_LIMIT_MAX, RETENTION_PERIODS, RETENTION_PERIODS_MAX,
    RETENTION_SESSIONS, RETENTION_UNITS_MAX, RetentionMode, RetentionOut, RetentionQuery, retention,
};
pub use session::{SESSION_LIMIT_MAX, SessionPage, SessionQuery, session, session_with};
pub use sessions::{
    Direction, SESSIONS_LIMIT, SESSIONS_LIMIT_MAX, SESSIONS_MAX, SessionOut, SessionSort, SessionsPage, SessionsQuery,
    sessions,
};
pub use source::{Source, SourceSlice};
pub use trend::{BREAKDOWN_MAX, Figure, Measure, Period, SeriesOut, Statistic, TOP, TOP_MAX, Trend, TrendQuery, trend};
pub use unit::By;
