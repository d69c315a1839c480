//! One connection: its token, its statements, and their rows.
//!
//! The rules: the token is looked up anew for every statement, and whenever more of its rows are asked for, so that one
//! that was revoked reads nothing more. A client may stop whatever it waits for, until its last row.

use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;
use eye_sql::{Answer, Ask, Parameter, STATEMENTS_MAX, Spot};
use futures_util::{Sink, SinkExt as _, StreamExt as _, stream};
use parking_lot::Mutex;
use pgwire::api::auth::cleartext::CleartextPasswordAuthStartupHandler;
use pgwire::api::auth::{AuthSource, DefaultServerParameterProvider, LoginInfo, Password, StartupHandler};
use pgwire::api::cancel::{CancelHandler, DefaultCancelHandler};
use pgwire::api::portal::Format;
use pgwire::api::query::{
    ExtendedQueryHandler, SimpleQueryHandler, send_execution_response, send_query_response, send_ready_for_query,
};
use pgwire::api::results::{FieldInfo, QueryResponse, Response, Tag};
use pgwire::api::store::PortalStore;
use pgwire::api::{
    ClientInfo, ClientPortalStore, ConnectionHandle, ConnectionManager, PgWireConnectionState, PgWireServerHandlers,
    Type,
};
use pgwire::error::{ErrorInfo, PgWireError, PgWireResult};
use pgwire::messages::PgWireBackendMessage;
use pgwire::messages::data::DataRow;
use pgwire::messages::response::{EmptyQueryResponse, TransactionStatus};
use pgwire::messages::simplequery::Query;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::encode;
use super::kept::{Kept, Kind};
use super::words::{self, Word};
use crate::auth;
use crate::error::ApiError;
use crate::state::AppState;

/// What one connection needs.
pub(super) struct Handlers {
    session: Arc<Session>,
    manager: Arc<ConnectionManager>,
}

impl Handlers {
    /// A client takes one of `places` with its password; one too many is told so.
    pub(super) fn new(state: AppState, manager: Arc<ConnectionManager>, places: Arc<Semaphore>) -> Self {
        let settings = &state.settings;
        let kept = Mutex::new(Kept::new(settings.postgres_prepared_max, settings.postgres_prepared_bytes_max));
        let session = Session { state, places, place: Mutex::new(None), token: Mutex::new(None), kept };
        Self { session: Arc::new(session), manager }
    }

    /// Whether the client has shown a token that may read.
    pub(super) fn is_logged_in(&self) -> bool {
        self.session.token.lock().is_some()
    }
}

impl PgWireServerHandlers for Handlers {
    fn simple_query_handler(&self) -> Arc<impl SimpleQueryHandler> {
        Arc::clone(&self.session)
    }

    fn extended_query_handler(&self) -> Arc<impl ExtendedQueryHandler> {
        Arc::clone(&self.session)
    }

    fn startup_handler(&self) -> Arc<impl StartupHandler> {
        let mut parameters = DefaultServerParameterProvider::default();
        eye_sql::catalog::SERVER_VERSION.clone_into(&mut parameters.server_version);
        parameters.is_superuser = false;
        parameters.default_transaction_read_only = true;
        "UTC".clone_into(&mut parameters.time_zone);
        let startup = CleartextPasswordAuthStartupHandler::new(Door(Arc::clone(&self.session)), parameters);
        Arc::new(startup.with_connection_manager(Arc::clone(&self.manager)))
    }

    fn cancel_handler(&self) -> Arc<impl CancelHandler> {
        Arc::new(DefaultCancelHandler::new(Arc::clone(&self.manager)))
    }
}

/// Who is connected.
pub(super) struct Session {
    pub(super) state: AppState,
    places: Arc<Semaphore>,
    /// Kept while the client is connected.
    place: Mutex<Option<OwnedSemaphorePermit>>,
    token: Mutex<Option<String>>,
    pub(super) kept: Mutex<Kept>,
}

/// Takes a token for a password.
struct Door(Arc<Session>);

impl Debug for Door {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Door")
    }
}

#[async_trait]
impl AuthSource for Door {
    async fn get_password(&self, _: &LoginInfo) -> PgWireResult<Password> {
        // Only hashes of tokens are kept: there is none to compare with.
        Err(fatal("28000", "the password is a token"))
    }

    async fn verify_password(&self, _: &LoginInfo, password: &[u8]) -> PgWireResult<Option<()>> {
        let session = &self.0;
        let token = std::str::from_utf8(password).unwrap_or_default().trim_end_matches('\0').trim().to_owned();
        session.caller(&token).map_err(|error| fatal("28P01", error.detail()))?;
        // Only now: a stranger takes no place of those who may be here.
        let Ok(place) = Arc::clone(&session.places).try_acquire_owned() else {
            let most = session.state.settings.postgres_connections_max;
            return Err(fatal(
                "53300",
                &format!("{most} clients are connected (postgres_connections_max): try again later"),
            ));
        };
        *session.place.lock() = Some(place);
        *session.token.lock() = Some(token);
        Ok(Some(()))
    }
}

pub(super) fn fatal(code: &str, message: &str) -> PgWireError {
    PgWireError::UserError(Box::new(ErrorInfo::new("FATAL".to_owned(), code.to_owned(), message.to_owned())))
}

pub(super) fn error(code: &str, message: impl Into<String>) -> PgWireError {
    PgWireError::UserError(Box::new(ErrorInfo::new("ERROR".to_owned(), code.to_owned(), message.into())))
}

/// The error as PostgreSQL has it: <https://www.postgresql.org/docs/current/errcodes-appendix.html>.
fn refusal(error: eye_sql::Error, sql: &str) -> PgWireError {
    use eye_sql::Error;
    let (code, spot) = match &error {
        Error::Invalid { spot, .. } => ("42601", *spot),
        Error::Refused(_) => ("25006", None),
        Error::Limit { .. } | Error::TooMuch(_) => ("54000", None),
        Error::Busy { .. } => ("53300", None),
        Error::Cancelled => ("57014", None),
        Error::Store(_) => ("58030", None),
        Error::Internal(_) => ("XX000", None),
    };
    let message = ApiError::from(error).detail().to_owned();
    let mut info = ErrorInfo::new("ERROR".to_owned(), code.to_owned(), message);
    info.position = spot.and_then(|spot| position(sql, spot)).map(|position| position.to_string());
    PgWireError::UserError(Box::new(info))
}

/// A place in a statement, in characters from 1.
fn position(sql: &str, spot: Spot) -> Option<usize> {
    let before = usize::try_from(spot.line.checked_sub(1)?).ok()?;
    let lines: usize = sql.split('\n').take(before).map(|line| line.chars().count() + 1).sum();
    Some(lines + usize::try_from(spot.column).ok()?)
}

impl Session {
    fn caller(&self, token: &str) -> Result<auth::Caller, ApiError> {
        let caller = auth::authenticate(&self.state, token)?;
        auth::check_scope(caller.grant.scopes.read, "read")?;
        Ok(caller)
    }

    /// Who is connected, if they may still read.
    pub(super) fn reader(&self) -> PgWireResult<auth::Caller> {
        let token = self.token.lock().clone().unwrap_or_default();
        self.caller(&token).map_err(|denied| fatal("28000", denied.detail()))
    }

    fn ask_of(&self, sql: &str, parameters: Vec<Parameter>) -> PgWireResult<Ask> {
        let caller = self.reader()?;
        Ok(Ask {
            sql: sql.to_owned(),
            parameters,
            token: caller.grant.token.to_string(),
            allowed: caller.applications(),
        })
    }

    /// Asks one statement. Its rows are made when they are taken; dropping them stops it.
    pub(super) async fn ask(
        &self,
        sql: &str,
        parameters: Vec<Parameter>,
        format: Format,
    ) -> PgWireResult<QueryResponse> {
        let ask = self.ask_of(sql, parameters)?;
        let store = self.state.store.clone();
        let answer = self.state.sql.ask(ask, move || store.snapshot()).await;
        let answer = answer.map_err(|error| refusal(error, sql))?;
        let fields = Arc::new(encode::fields(answer.schema(), &format));
        Ok(QueryResponse::new(fields, rows(answer, format, sql.to_owned())))
    }

    /// Answers the statements of a text one after the other: the turn of each is over when the next one begins, and an
    /// error ends the rest. Rows go out as they come.
    async fn answer<C>(&self, client: &mut C, text: &str) -> PgWireResult<()>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        let is_short = text.len() <= self.state.settings.sql_text_bytes_max;
        let statements = if is_short { eye_sql::statements(text) } else { vec![text.to_owned()] };
        if statements.len() > STATEMENTS_MAX {
            let message = format!("the message has more than {STATEMENTS_MAX} statements: send them apart");
            return Err(error("54000", message));
        }
        for statement in statements {
            if is_empty(&statement) {
                client.feed(PgWireBackendMessage::EmptyQueryResponse(EmptyQueryResponse::new())).await?;
            } else if let Some(word) = words::read(&statement) {
                self.obey(client, word).await?;
            } else {
                let answer = self.ask(&statement, Vec::new(), Format::UnifiedText).await?;
                send_query_response(client, answer, true).await?;
            }
        }
        Ok(())
    }

    /// Does what a word says, and says so.
    pub(super) async fn obey<C>(&self, client: &mut C, word: Word) -> PgWireResult<()>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        let status = client.transaction_status();
        let tag = match word {
            Word::Begin => {
                client.set_transaction_status(status.to_in_transaction_state());
                "BEGIN"
            }
            Word::End(tag) => {
                client.set_transaction_status(status.to_idle_state());
                self.end_portals(client);
                tag
            }
            Word::Forget(name, tag) => {
                self.forget(client, name);
                tag
            }
            Word::Done(tag) => tag,
        };
        send_execution_response(client, Tag::new(tag)).await
    }

    /// Forgets a prepared statement, or all of them.
    fn forget<C>(&self, client: &C, name: Option<String>)
    where
        C: ClientPortalStore,
        C::PortalStore: PortalStore,
    {
        let mut kept = self.kept.lock();
        let names = name.map_or_else(|| kept.statements(), |name| vec![name]);
        for name in names {
            client.portal_store().rm_statement(&name);
            kept.remove(Kind::Statement, &name);
        }
    }

    /// Outside a transaction no portal outlives its message, or its messages up to a Sync. It may hold rows.
    pub(super) fn end_portals<C>(&self, client: &C)
    where
        C: ClientInfo + ClientPortalStore,
        C::PortalStore: PortalStore,
    {
        if client.transaction_status() == TransactionStatus::Idle {
            client.portal_store().clear_portals();
            self.kept.lock().clear_portals();
        }
    }

    /// The columns of one statement, and what its parameters are.
    pub(super) async fn describe(
        &self,
        sql: &str,
        parameters: Vec<Parameter>,
        format: &Format,
    ) -> PgWireResult<(Vec<FieldInfo>, Vec<Type>)> {
        if words::read(sql).is_some() {
            return Ok((Vec::new(), Vec::new()));
        }
        let ask = self.ask_of(sql, parameters)?;
        let store = self.state.store.clone();
        let described = self.state.sql.describe(ask, move || store.snapshot()).await;
        let described = described.map_err(|error| refusal(error, sql))?;
        let parameters =
            described.parameters.iter().map(|kind| kind.as_ref().map_or(Type::TEXT, encode::type_of_parameter));
        Ok((encode::fields(&described.columns, format), parameters.collect()))
    }
}

/// The rows of an answer as they come.
fn rows(answer: Answer, format: Format, sql: String) -> impl futures_util::Stream<Item = PgWireResult<DataRow>> + Send {
    let batches = stream::try_unfold((answer, format, sql), async |(mut answer, format, sql)| {
        let Some(batch) = answer.next().await.map_err(|error| refusal(error, &sql))? else { return Ok(None) };
        let rows = encode::rows(&batch, &format).map_err(|message| error("0A000", message))?;
        Ok::<_, PgWireError>(Some((stream::iter(rows.into_iter().map(Ok)), (answer, format, sql))))
    });
    batches.flat_map(|rows| match rows {
        Ok(rows) => rows.left_stream(),
        Err(error) => stream::iter([Err(error)]).right_stream(),
    })
}

/// What says nothing, as PostgreSQL has it: a comment is not among it.
fn is_empty(statement: &str) -> bool {
    statement.chars().all(|char| char == ';' || char.is_whitespace())
}

#[async_trait]
impl SimpleQueryHandler for Session {
    /// `pgwire` would listen to the client only until the columns are known, before the first row is made.
    async fn on_query<C>(&self, client: &mut C, message: Query) -> PgWireResult<()>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        begin(client)?;
        let stop = cancelled(client.session_extensions().get());
        unless(stop, self.answer(client, &message.query)).await?;
        self.end_portals(client);
        client.set_state(PgWireConnectionState::ReadyForQuery);
        let status = client.transaction_status();
        send_ready_for_query(client, status).await
    }

    async fn do_query<C>(&self, _: &mut C, _: &str) -> PgWireResult<Vec<Response>>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        Err(not_here())
    }
}

/// [`SimpleQueryHandler::on_query`] and [`ExtendedQueryHandler::on_execute`] ask by themselves.
pub(super) fn not_here() -> PgWireError {
    error("XX000", "a statement was asked past its session")
}

/// A statement begins, if none is under way.
pub(super) fn begin(client: &mut impl ClientInfo) -> PgWireResult<()> {
    if !matches!(client.state(), PgWireConnectionState::ReadyForQuery) {
        return Err(PgWireError::NotReadyForQuery);
    }
    client.set_state(PgWireConnectionState::QueryInProgress);
    Ok(())
}

/// What `work` gives, unless it has to stop: then it is dropped, with its turn and its memory.
pub(super) async fn unless<T>(
    stop: impl Future<Output = ()>,
    work: impl Future<Output = PgWireResult<T>>,
) -> PgWireResult<T> {
    tokio::select! {
        // In this order: it must be possible to stop the work before its first rows are seen.
        biased;
        () = stop => Err(PgWireError::QueryCanceled),
        done = work => done,
    }
}

/// Ends once the client asks to stop what begins now. There may be one at a time: the next one ends it too.
#[expect(clippy::redundant_allocation, reason = "so it comes out of the client's extensions")]
pub(super) async fn cancelled(handle: Option<Arc<Arc<ConnectionHandle>>>) {
    match handle {
        Some(handle) => {
            let _ = handle.start_query().await.await;
        }
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_counted_in_characters() {
        assert_eq!(position("SELECT é,\n  x", Spot { line: 2, column: 3 }), Some(13));
        assert_eq!(position("SELECT x", Spot { line: 1, column: 8 }), Some(8));
    }
}
