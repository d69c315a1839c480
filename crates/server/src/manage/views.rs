//! How applications, tokens, users and changes look in an answer. Listed field by field: a field that the registry gains
//! later stays hidden until somebody lists it.

use eye_event::Timestamp;
use eye_registry::{Application, AuditRecord, Scopes, Secret, Token, User};
use eye_store::{Erasure, ErasurePreview, ErasureState};
use serde::Serialize;
use utoipa::ToSchema;

/// Every application.
#[derive(Serialize, ToSchema)]
pub(super) struct ApplicationList {
    /// In the order they were made.
    pub(super) applications: Vec<ApplicationOut>,
}

/// A sender of events.
#[derive(Serialize, ToSchema)]
#[schema(as = Application)]
pub(super) struct ApplicationOut {
    /// Its name and id; never changed.
    name: String,
    /// What people call it.
    title: Option<String>,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
}

impl From<&Application> for ApplicationOut {
    fn from(application: &Application) -> Self {
        Self {
            name: application.name.to_string(),
            title: application.title.clone(),
            created_at: application.created_at,
        }
    }
}

/// Every token, the revoked ones included.
#[derive(Serialize, ToSchema)]
pub(super) struct TokenList {
    /// In the order they were made.
    pub(super) tokens: Vec<TokenOut>,
}

/// A token.
#[derive(Serialize, ToSchema)]
#[schema(as = Token)]
pub(super) struct TokenOut {
    /// Names it without opening anything.
    id: String,
    /// What people call it.
    name: String,
    /// `secret`, `write` or `read`.
    kind: String,
    /// The application it writes to, and reads unless `reads_all`.
    application: Option<String>,
    /// What it may do: a list of `write`, `read` and `admin`.
    #[schema(value_type = Vec<String>)]
    scopes: Scopes,
    /// True if it reads every application.
    reads_all: bool,
    /// The id of the user it acts for.
    user: Option<String>,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// From when on it opens nothing.
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<Timestamp>,
    /// When it was revoked.
    #[schema(value_type = Option<String>, format = DateTime)]
    revoked_at: Option<Timestamp>,
    /// When it last opened something.
    #[schema(value_type = Option<String>, format = DateTime)]
    last_used_at: Option<Timestamp>,
    /// The secret itself: only in the answer that makes it, and never again.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    token: Option<String>,
}

impl From<&Token> for TokenOut {
    fn from(token: &Token) -> Self {
        Self {
            id: token.id.to_string(),
            name: token.name.clone(),
            kind: token.kind.to_string(),
            application: token.application.as_ref().map(ToString::to_string),
            scopes: token.scopes,
            reads_all: token.reads_all,
            user: token.user.as_ref().map(ToString::to_string),
            created_at: token.created_at,
            expires_at: token.expires_at,
            revoked_at: token.revoked_at,
            last_used_at: token.last_used_at(),
            token: None,
        }
    }
}

impl TokenOut {
    /// The token with its secret, for the one answer that shows it.
    pub(super) fn with_secret(token: &Token, secret: &Secret) -> Self {
        Self { token: Some(secret.reveal().to_owned()), ..Self::from(token) }
    }
}

/// Every user.
#[derive(Serialize, ToSchema)]
pub(super) struct UserList {
    /// In the order they were made.
    pub(super) users: Vec<UserOut>,
}

/// A user.
#[derive(Serialize, ToSchema)]
#[schema(as = User)]
pub(super) struct UserOut {
    /// Names the user.
    id: String,
    /// The name to sign in with.
    name: String,
    /// `admin`, `analyst` or `viewer`.
    role: String,
    /// False if the user, and every token of the user, opens nothing.
    active: bool,
    /// When the user was made.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
}

impl From<&User> for UserOut {
    fn from(user: &User) -> Self {
        Self {
            id: user.id.to_string(),
            name: user.name.clone(),
            role: user.role.to_string(),
            active: user.active,
            created_at: user.created_at,
        }
    }
}

/// A new user and the token that was made with it.
#[derive(Serialize, ToSchema)]
#[schema(as = NewUser)]
pub(super) struct NewUserOut {
    /// The user.
    user: UserOut,
    /// The user's token, with its secret.
    token: TokenOut,
}

impl NewUserOut {
    /// The answer that shows the secret.
    pub(super) fn new(user: &User, token: &Token, secret: &Secret) -> Self {
        Self { user: UserOut::from(user), token: TokenOut::with_secret(token, secret) }
    }
}

/// Changes, newest first.
#[derive(Serialize, ToSchema)]
pub(super) struct AuditList {
    /// The changes.
    pub(super) records: Vec<AuditOut>,
}

/// One change.
#[derive(Serialize, ToSchema)]
#[schema(as = AuditRecord)]
pub(super) struct AuditOut {
    /// Its place in the registry's log: pass it as `before` for the next page.
    offset: u64,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    /// Who: `system`, `local_cli`, `user:` or `token:` and an id.
    by: String,
    /// What kind of change, such as `token_created`.
    #[serde(rename = "type")]
    kind: &'static str,
    /// What changed. Holds no secret.
    #[schema(value_type = Object)]
    details: serde_json::Value,
}

impl From<AuditRecord> for AuditOut {
    fn from(record: AuditRecord) -> Self {
        Self {
            offset: record.offset.0,
            at: record.at,
            by: record.by.to_string(),
            kind: record.kind,
            details: record.details,
        }
    }
}

/// What a flush has written.
#[derive(Serialize, ToSchema)]
pub(super) struct Flushed {
    /// The table's version afterwards.
    pub(super) version: u64,
    /// What of the log is in the table now.
    pub(super) offset: String,
    /// Events written.
    pub(super) rows: usize,
    /// Rejections written.
    pub(super) rejections: usize,
}

/// What a compaction has done.
#[derive(Serialize, ToSchema)]
pub(super) struct Compacted {
    /// The version of the table of events afterwards.
    pub(super) version: u64,
    /// Files of events and rejections before.
    pub(super) files_before: u64,
    /// Files of events and rejections afterwards.
    pub(super) files_after: u64,
    /// Rows that were written again; none came or went.
    pub(super) rows: u64,
    /// Bytes of the files that were replaced.
    pub(super) bytes_before: u64,
    /// Bytes of the files that took their place.
    pub(super) bytes_after: u64,
    /// Replaced or left-over files that were old enough to be removed.
    pub(super) vacuumed_files: u64,
    /// False if there was no time for all of it: ask again.
    pub(super) complete: bool,
}

/// Every erasure.
#[derive(Serialize, ToSchema)]
pub(super) struct ErasureList {
    /// The newest first.
    pub(super) erasures: Vec<ErasureOut>,
}

/// Events and rejections that somebody wants gone. No value that they were chosen by stands in it.
#[derive(Default, Serialize, ToSchema)]
#[schema(as = Erasure)]
pub(super) struct ErasureOut {
    /// Names it; null if it was a dry run.
    id: Option<String>,
    /// `running` (nobody sees it, files may still hold it), `done`, `cancelled` or `dry_run`.
    state: &'static str,
    /// By which fields it chose.
    criteria: Vec<String>,
    /// When it was accepted.
    #[schema(value_type = Option<String>, format = DateTime)]
    accepted_at: Option<Timestamp>,
    /// When it was done or cancelled.
    #[schema(value_type = Option<String>, format = DateTime)]
    finished_at: Option<Timestamp>,
    /// It chose nothing past this place of the log.
    offset: Option<String>,
    /// Events that it chose.
    events: u64,
    /// Rejections that it chose.
    rejections: u64,
    /// Rows taken out of the tables since the last start.
    rows: u64,
    /// Files to look at; in a dry run those that hold some of it.
    files: u64,
    /// Files looked at since the last start.
    files_looked_at: u64,
    /// Files that held some of it: written again without it, or dropped, since the last start.
    files_rewritten: u64,
    /// Their bytes.
    bytes_before: u64,
    /// Bytes of the files that took their place.
    bytes_after: u64,
    /// Files of older versions, and left-over ones, removed since the last start.
    old_files_removed: u64,
    /// Files of older versions that are waited for, because a question under way reads them.
    old_files_held: u64,
    /// The version of the table of events without it; 0 until it is done.
    version: u64,
    /// Why the last try failed; it is tried again.
    last_error: Option<String>,
    /// What still holds it.
    remains: &'static str,
}

impl From<&Erasure> for ErasureOut {
    fn from(erasure: &Erasure) -> Self {
        let work = erasure.work;
        let (state, remains) = match erasure.state {
            ErasureState::Running if work.old_files_held > 0 => {
                ("running", "files of older versions that a question under way reads: they go when it ends")
            }
            ErasureState::Running => {
                ("running", "files of the tables, of older versions or of the log; nobody sees it")
            }
            ErasureState::Done => ("done", "nothing here; backups and exports are elsewhere"),
            ErasureState::Cancelled => ("cancelled", "what was not taken out before: it is seen again"),
        };
        Self {
            id: Some(erasure.id.clone()),
            state,
            criteria: erasure.criteria.clone(),
            accepted_at: Some(erasure.accepted_at),
            finished_at: erasure.finished_at,
            offset: Some(erasure.bound.clone()),
            events: erasure.events,
            rejections: erasure.rejections,
            rows: work.rows,
            files: work.files,
            files_looked_at: work.files_looked_at,
            files_rewritten: work.files_rewritten,
            bytes_before: work.bytes_before,
            bytes_after: work.bytes_after,
            old_files_removed: work.old_files_removed,
            old_files_held: work.old_files_held,
            version: work.version,
            last_error: erasure.last_error.clone(),
            remains,
        }
    }
}

impl ErasureOut {
    /// What would be erased.
    pub(super) fn dry_run(preview: ErasurePreview, criteria: Vec<String>) -> Self {
        let ErasurePreview { events, rejections, files, bytes } = preview;
        let (state, remains) = ("dry_run", "everything: nothing was changed");
        Self { state, criteria, events, rejections, files, bytes_before: bytes, remains, ..Self::default() }
    }
}
