//! What has become of an answer since: the events that came, and how many went.

use axum::extract::{RawQuery, State};
use axum::response::Response;
use axum::{Extension, Router, routing::get};
use eye_query::{DiffQuery, Seen};
use eye_store::{Removal, Store, StoredEvent};

use super::desk::{Desk, catch_up, named, still_whole, write};
use super::params::Params;
use super::{cursor, event_json, filter_at_any_time, tables, write_page};
use crate::auth::Reader;
use crate::error::{ApiError, ApiResult, Code};
use crate::state::AppState;

/// The routes of this file.
pub(super) fn routes() -> Router<AppState> {
    Router::new().route("/v1/diff", get(diff))
}

async fn diff(
    State(state): State<AppState>,
    Extension(desk): Extension<Desk>,
    Reader(caller): Reader,
    RawQuery(query): RawQuery,
) -> ApiResult<Response> {
    let params = Params::read(query.as_deref(), tables::DIFF)?;
    let answer = |field| params.text(field).map(|text| seen(field, text)).transpose();
    let missing = || {
        let detail = "from is missing: send the version and the offset of the earlier answer, such as 17:9120334";
        ApiError::invalid_parameter("from", detail)
    };
    let (from, to) = (answer("from")?.ok_or_else(missing)?, answer("to")?);
    let filter = filter_at_any_time(&caller, &params)?;
    let (only, order) = (params.choice("only")?.parse()?, params.choice("order")?.parse()?);
    let (limit, cursor) = (params.number("limit")?, cursor(&params));
    let at_least = params.position("at_least")?;
    catch_up(&state, Some(from.position.clone()), "from").await?;
    catch_up(&state, to.as_ref().map(|to| to.position.clone()), "to").await?;
    let (store, sees_all) = (state.store.clone(), caller.applications().is_none());
    desk.ask(&state, at_least, move |view, cancel| {
        if let Some(to) = &to {
            still_whole(&store, view.version(), to.version, "to")?;
        }
        let to = to.unwrap_or_else(|| Seen { version: view.version(), position: view.position().clone() });
        let query = DiffQuery { from, to, filter, only, order, limit, cursor };
        let removals = removals(&store, &query)?;
        let found = eye_query::diff(view, &query, cancel, late_event_json)?;
        let summary = if sees_all { found.summary.with(&removals) } else { found.summary };
        let mut body = write(&summary)?;
        // The summary and the page are one object.
        body.pop();
        body.push(b',');
        write_page(body, &found.rows, query.to.version, &query.to.position)
    })
    .await
}

fn seen(field: &'static str, text: &str) -> ApiResult<Seen> {
    let (version, position) = named(field, text)?;
    Ok(Seen { version, position })
}

/// What went between the answers. Refuses those of which that cannot be told. Blocks.
fn removals(store: &Store, query: &DiffQuery) -> ApiResult<Vec<Removal>> {
    let version = query.from.version;
    store.events_removed(version, query.to.version)?.ok_or_else(|| {
        let detail = format!(
            "what was removed since version {version} cannot be told any more: another program removed events, or a commit \
             of the table's log is gone; send a later answer"
        );
        ApiError::new(Code::Gone, detail).field("from")
    })
}

fn late_event_json(event: &StoredEvent<'_>, is_late: bool) -> Vec<u8> {
    let mut json = event_json(event);
    json.pop();
    json.extend_from_slice(if is_late { b",\"late\":true}" } else { b",\"late\":false}" });
    json
}
