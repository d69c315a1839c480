//! What was refused, newest first.

use eye_event::Timestamp;
use eye_store::{SortKey, StoredRejection};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::cancel::Cancel;
use crate::cursor::{Cursor, Question};
use crate::error::{Result, checked_limit};
use crate::events::Rows;
use crate::filter::allows;
use crate::order::{Order, Rank};
use crate::source::Source;
use crate::top::{PAGE_BYTES_MAX, Top};

/// How many rejections a page holds unless asked otherwise.
pub const REJECTIONS_LIMIT: usize = 100;
/// How many rejections a page may hold.
pub const REJECTIONS_LIMIT_MAX: usize = 1_000;

/// Which rejections, how many.
#[derive(Clone, Debug)]
pub struct RejectionsQuery {
    /// The applications that the asker may see; `None` is all of them.
    pub allowed: Option<Vec<String>>,
    /// Only what this application sent.
    pub application: Option<String>,
    /// Only what was refused for this reason.
    pub code: Option<String>,
    /// At most so many: 1 to [`REJECTIONS_LIMIT_MAX`].
    pub limit: usize,
    /// Where the page before ended.
    pub cursor: Option<Cursor>,
}

impl Default for RejectionsQuery {
    fn default() -> Self {
        Self { allowed: None, application: None, code: None, limit: REJECTIONS_LIMIT, cursor: None }
    }
}

/// One rejection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RejectionOut {
    /// The service's clock.
    #[schema(value_type = String, format = DateTime)]
    pub received_at: Timestamp,
    /// Who sent it.
    pub application: String,
    /// The id of the token it came with.
    pub token: String,
    /// Why it was refused.
    pub code: String,
    /// The field that is to blame; empty where no single one is.
    pub field: String,
    /// What was wrong, for people.
    pub message: String,
    /// The start of what was sent.
    pub sample: String,
    /// The partition of the log it came through.
    pub partition: u16,
    /// Its place in that partition.
    pub offset: u64,
}

impl From<&StoredRejection<'_>> for RejectionOut {
    fn from(stored: &StoredRejection<'_>) -> Self {
        let rejection = &stored.rejection;
        Self {
            received_at: stored.received_at,
            application: stored.application.into(),
            token: stored.token.into(),
            code: rejection.code.into(),
            field: rejection.field.into(),
            message: rejection.message.into(),
            sample: rejection.sample.into(),
            partition: stored.partition.0,
            offset: stored.offset.0,
        }
    }
}

/// A page of rejections.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct RejectionsPage {
    /// The rejections, newest first.
    pub rejections: Vec<RejectionOut>,
    /// The cursor of the next page; null on the last.
    pub next: Option<Cursor>,
    /// The version of the table that the answer saw.
    pub version: u64,
    /// What the answer has seen of the log.
    pub offset: String,
}

/// A page of the rejections that match, newest first by (`received_at`, partition, offset).
///
/// # Errors
/// `Invalid` for a limit out of range or a foreign cursor; `Cancelled`; those of the store.
pub fn rejections<S: Source>(source: &S, query: &RejectionsQuery, cancel: &Cancel) -> Result<RejectionsPage> {
    let limit = checked_limit(query.limit, REJECTIONS_LIMIT_MAX)?;
    let question = Question::new("rejections").text(query.application.as_deref()).text(query.code.as_deref());
    let after = Rank::after(query.cursor.as_ref(), question)?;
    cancel.check()?;
    let mut top = Top::new(limit, PAGE_BYTES_MAX);
    source.rejections(&mut |stored| {
        let rank = Order::Newest.rank(received_key(stored));
        if after.is_none_or(|after| rank > after) && matches(query, stored) {
            top.offer(rank, weight(stored), || RejectionOut::from(stored));
        }
    })?;
    let Rows { rows, next } = Rows::new(top.finish(), question);
    Ok(RejectionsPage { rejections: rows, next, version: source.version(), offset: source.position().to_string() })
}

/// Where a rejection stands: it has no time but that of its arrival.
fn received_key(stored: &StoredRejection<'_>) -> SortKey {
    SortKey { timestamp: stored.received_at, partition: stored.partition, offset: stored.offset }
}

fn matches(query: &RejectionsQuery, stored: &StoredRejection<'_>) -> bool {
    query.application.as_deref().is_none_or(|application| application == stored.application)
        && query.code.as_deref().is_none_or(|code| code == stored.rejection.code)
        && allows(query.allowed.as_deref(), stored.application)
}

/// About how many bytes the rejection takes in an answer.
fn weight(stored: &StoredRejection<'_>) -> usize {
    /// The struct, the allocator's share of each text, the fixed fields.
    const FIXED: usize = 384;
    let rejection = &stored.rejection;
    let texts =
        [stored.application, stored.token, rejection.code, rejection.field, rejection.message, rejection.sample];
    FIXED + texts.into_iter().map(str::len).sum::<usize>()
}
