//! One session: all its events, newest first. The fast path: no scan, one lookup.

use eye_store::{Columns, StoredEvent};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::cancel::Cancel;
use crate::cursor::{Cursor, Question};
use crate::error::{Result, checked_limit};
use crate::events::Rows;
use crate::filter::allows;
use crate::order::{Order, Rank};
use crate::output::{EventOut, weight};
use crate::source::Source;
use crate::top::{PAGE_BYTES_MAX, Top};

/// How many events a page holds, at most and unless asked otherwise.
pub const SESSION_LIMIT_MAX: usize = 5_000;

/// Which session, how much of it.
#[derive(Clone, Debug)]
pub struct SessionQuery {
    /// Which.
    pub session_id: String,
    /// The applications that the asker may see; `None` is all of them.
    pub allowed: Option<Vec<String>>,
    /// At most so many events: 1 to [`SESSION_LIMIT_MAX`]. A page of very large events may end earlier, with a cursor.
    pub limit: usize,
    /// Where the page before ended.
    pub cursor: Option<Cursor>,
}

impl SessionQuery {
    /// The first page of a session, for an asker who may see everything.
    pub fn new(session_id: impl Into<String>) -> Self {
        Self { session_id: session_id.into(), allowed: None, limit: SESSION_LIMIT_MAX, cursor: None }
    }
}

/// A page of one session.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct SessionPage {
    /// Which session.
    pub session_id: String,
    /// Its events, newest first; of two at the same microsecond the later arrival first.
    pub events: Vec<EventOut>,
    /// The cursor of the next page; null on the last.
    pub next: Option<Cursor>,
    /// The version of the table that the answer saw.
    pub version: u64,
    /// What the answer has seen of the log.
    pub offset: String,
}

/// A page of a session, newest first. `None` if there is no such session, or nothing of it may be seen.
///
/// # Errors
/// `Invalid` for a limit out of range or a foreign cursor; `Cancelled`; those of the store.
pub fn session<S: Source>(source: &S, query: &SessionQuery, cancel: &Cancel) -> Result<Option<SessionPage>> {
    let rows = session_with(source, query, cancel, |event| EventOut::from(event))?;
    Ok(rows.map(|Rows { rows, next }| SessionPage {
        session_id: query.session_id.clone(),
        events: rows,
        next,
        version: source.version(),
        offset: source.position().to_string(),
    }))
}

/// The same page, each event in the form that `make` gives it. Events that fall out of the page later may be made too.
///
/// # Errors
/// As [`session`].
pub fn session_with<S: Source, T>(
    source: &S,
    query: &SessionQuery,
    cancel: &Cancel,
    mut make: impl FnMut(&StoredEvent<'_>) -> T,
) -> Result<Option<Rows<T>>> {
    let limit = checked_limit(query.limit, SESSION_LIMIT_MAX)?;
    let question = Question::new("session").text(Some(&query.session_id));
    let after = Rank::after(query.cursor.as_ref(), question)?;
    cancel.check()?;
    let mut is_there = false;
    let mut top = Top::new(limit, PAGE_BYTES_MAX);
    source.session(&query.session_id, Columns::ALL, &mut |event| {
        if !allows(query.allowed.as_deref(), event.application) {
            return;
        }
        is_there = true;
        let rank = Order::Newest.rank(event.sort_key());
        if after.is_none_or(|after| rank > after) {
            top.offer(rank, weight(event), || make(event));
        }
    })?;
    Ok(is_there.then(|| Rows::new(top.finish(), question)))
}
