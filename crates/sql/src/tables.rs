//! The tables, as statements see them: one immutable snapshot, and of it only what the asker may see.
//!
//! | table | what a row is | where its rows come from |
//! |---|---|---|
//! | `events` | an event | slices of the snapshot, streamed ([`events`]) |
//! | `sessions` | a session with its figures | a view over `events` |
//! | `problems` | a kind of problem with its count | a view over `events` |
//! | `rejections` | what was refused, and why | the snapshot's rejections ([`rejections`]) |

pub(crate) mod events;
pub(crate) mod produce;
pub(crate) mod questions;
pub(crate) mod rejections;

use std::sync::Arc;

use eye_query::Cancel;
use eye_store::Snapshot;

/// Every table.
pub(crate) const TABLES: [&str; 4] = ["events", "sessions", "problems", "rejections"];

/// A session with the figures of `GET /v1/sessions`.
pub(crate) const SESSIONS: &str = r#"
SELECT
    session_id,
    min("timestamp") AS start,
    max("timestamp") AS "end",
    (CAST(max("timestamp") AS BIGINT) - CAST(min("timestamp") AS BIGINT)) / 1000 AS duration_ms,
    count(*) AS events,
    count(DISTINCT "name") AS names,
    first_value("name" ORDER BY "timestamp", "partition", "offset") AS first_name,
    last_value("name" ORDER BY "timestamp", "partition", "offset") AS last_name,
    array_sort(array_agg(DISTINCT application)) AS applications,
    last_value(user_id ORDER BY "timestamp", "partition", "offset") FILTER (WHERE user_id IS NOT NULL) AS user_id,
    count(*) FILTER (WHERE NOT empty(problems)) AS problems
FROM events
GROUP BY session_id"#;

/// A kind of problem as in `GET /v1/problems`, with when it was seen.
pub(crate) const PROBLEMS: &str = r#"
SELECT
    code,
    application,
    "name",
    count(*) AS "count",
    min("timestamp") AS first_timestamp,
    max("timestamp") AS last_timestamp
FROM (SELECT unnest(problems) AS code, application, "name", "timestamp" FROM events WHERE NOT empty(problems))
GROUP BY code, application, "name""#;

/// What tables read.
#[derive(Clone)]
pub(crate) struct View {
    pub(crate) snapshot: Arc<Snapshot>,
    /// The applications that the asker may see; `None` is all of them.
    pub(crate) allowed: Option<Vec<String>>,
    /// Stops reading.
    pub(crate) cancel: Arc<Cancel>,
}

impl View {
    /// The paths of `data` whose values mostly lie in columns of their own.
    pub(crate) fn data_paths(&self) -> Vec<Vec<String>> {
        self.snapshot.data_paths()
    }
}

impl std::fmt::Debug for View {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("View").field("version", &self.snapshot.version()).field("allowed", &self.allowed).finish()
    }
}
