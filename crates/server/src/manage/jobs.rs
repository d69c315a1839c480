//! What runs in the background, in one list: how often, when last, how it went.

use std::time::Duration;

use axum::Router;
use axum::extract::{RawQuery, State};
use axum::response::Response;
use axum::routing::get;
use eye_event::Timestamp;
use eye_store::{CompactionFigures, Erasure, RetentionFigures, Status, VACUUM_EVERY};
use http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

use super::{answer, blocking};
use crate::ask::params::Params;
use crate::auth::Admin;
use crate::config::Settings;
use crate::error::ApiResult;
use crate::state::AppState;

/// The routes of this file.
pub(super) fn routes() -> Router<AppState> {
    Router::new().route("/v1/jobs", get(jobs))
}

/// Every job.
#[derive(Serialize, ToSchema)]
pub(super) struct JobList {
    /// Always the same ones, in the same order.
    jobs: Vec<JobOut>,
}

/// One job.
#[derive(Serialize, ToSchema)]
#[schema(as = Job)]
struct JobOut {
    /// `flush`, `compaction`, `vacuum`, `retention` or `erasure`.
    name: &'static str,
    /// Between two runs, in seconds; null if it runs only when there is something to do, or never by itself.
    period_seconds: Option<f64>,
    /// Runs that ended well since the start.
    runs: u64,
    /// Runs that failed since the start, where they are counted.
    failures: u64,
    /// When a run ended well last, where it is known.
    #[schema(value_type = Option<String>, format = DateTime)]
    last_success: Option<Timestamp>,
    /// Why the last run failed; null if it did not.
    last_error: Option<String>,
    /// What there is to do, or what was done, in words.
    progress: String,
}

async fn jobs(State(state): State<AppState>, _: Admin, RawQuery(query): RawQuery) -> ApiResult<Response> {
    Params::read(query.as_deref(), &[])?;
    let store = state.store.clone();
    let (status, erasures) = blocking(move || (store.status(), store.erasures())).await?;
    answer(StatusCode::OK, &JobList { jobs: list(&state.settings, &status, &erasures) })
}

fn list(settings: &Settings, status: &Status, erasures: &[Erasure]) -> Vec<JobOut> {
    let every = |period: Duration| (!period.is_zero()).then_some(period.as_secs_f64());
    let CompactionFigures { runs, failures, files_in, files_out, vacuumed_files, last_success, last_error, .. } =
        status.compaction.clone();
    let RetentionFigures {
        runs: looks, failures: failed_looks, last_success: last_look, last_error: look_error, ..
    } = status.retention.clone();
    let has_rules = !settings.retention.is_empty() || !settings.rejection_retention.is_zero();
    let running: Vec<&Erasure> = erasures.iter().filter(|erasure| erasure.is_running()).collect();
    let (to_look_at, looked_at) = running
        .iter()
        .fold((0, 0), |(all, done), erasure| (all + erasure.work.files, done + erasure.work.files_looked_at));
    vec![
        JobOut {
            name: "flush",
            period_seconds: every(settings.flush_age_max),
            runs: status.flushes,
            failures: u64::from(status.last_flush_error.is_some()),
            last_success: None,
            last_error: status.last_flush_error.clone(),
            progress: format!("{} rows are in memory", status.hot_rows),
        },
        JobOut {
            name: "compaction",
            period_seconds: every(settings.compaction_period),
            runs,
            failures,
            last_success,
            last_error: last_error.clone(),
            progress: format!("{files_in} files became {files_out} since the start"),
        },
        JobOut {
            name: "vacuum",
            period_seconds: every(settings.compaction_period).map(|period| period.max(VACUUM_EVERY.as_secs_f64())),
            runs,
            failures,
            last_success,
            last_error,
            progress: format!("{vacuumed_files} old files were removed since the start"),
        },
        JobOut {
            name: "retention",
            period_seconds: every(settings.retention_period).filter(|_| has_rules),
            runs: looks,
            failures: failed_looks,
            last_success: last_look,
            last_error: look_error,
            progress: match has_rules {
                true => format!("{} rows became too old since the folder was made", status.removed.expired),
                false => "everything is kept: set retention to change that".to_owned(),
            },
        },
        JobOut {
            name: "erasure",
            period_seconds: None,
            runs: erasures.iter().filter(|erasure| !erasure.is_running()).count() as u64,
            failures: running.iter().filter(|erasure| erasure.last_error.is_some()).count() as u64,
            last_success: erasures.iter().filter_map(|erasure| erasure.finished_at).max(),
            last_error: running.iter().find_map(|erasure| erasure.last_error.clone()),
            progress: match running.len() {
                0 => "none is under way".to_owned(),
                count => format!("{count} under way: {looked_at} of {to_look_at} files looked at"),
            },
        },
    ]
}
