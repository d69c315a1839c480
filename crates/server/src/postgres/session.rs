//! One connection: its token, its statements, and their rows.
//!
//! The rule: the token is looked up anew for every statement, so that one that was revoked reads nothing more.

use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;
use eye_sql::{Answer, Ask, Parameter, STATEMENTS_MAX, Spot};
use futures_util::{Sink, StreamExt as _, stream};
use parking_lot::Mutex;
use pgwire::api::auth::cleartext::CleartextPasswordAuthStartupHandler;
use pgwire::api::auth::{AuthSource, DefaultServerParameterProvider, LoginInfo, Password, StartupHandler};
use pgwire::api::cancel::{CancelHandler, DefaultCancelHandler};
use pgwire::api::portal::{Format, Portal, PortalExecutionState};
use pgwire::api::query::{ExtendedQueryHandler, SimpleQueryHandler, send_partial_query_response};
use pgwire::api::results::{
    DescribePortalResponse, DescribeStatementResponse, FieldInfo, QueryResponse, Response, Tag,
};
use pgwire::api::stmt::{QueryParser, StoredStatement};
use pgwire::api::store::{Entry, PortalStore};
use pgwire::api::{
    ClientInfo, ClientPortalStore, ConnectionHandle, ConnectionManager, DEFAULT_NAME, PgWireConnectionState,
    PgWireServerHandlers, Type,
};
use pgwire::error::{ErrorInfo, PgWireError, PgWireResult};
use pgwire::messages::PgWireBackendMessage;
use pgwire::messages::data::DataRow;
use pgwire::messages::extendedquery::Execute;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::encode;
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
        let session = Session { state, places, place: Mutex::new(None), token: Mutex::new(None) };
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
struct Session {
    state: AppState,
    places: Arc<Semaphore>,
    /// Kept while the client is connected.
    place: Mutex<Option<OwnedSemaphorePermit>>,
    token: Mutex<Option<String>>,
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

fn error(code: &str, message: impl Into<String>) -> PgWireError {
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

    fn ask_of(&self, sql: &str, parameters: Vec<Parameter>) -> PgWireResult<Ask> {
        let token = self.token.lock().clone().unwrap_or_default();
        let caller = self.caller(&token).map_err(|denied| fatal("28000", denied.detail()))?;
        Ok(Ask {
            sql: sql.to_owned(),
            parameters,
            token: caller.grant.token.to_string(),
            allowed: caller.applications(),
        })
    }

    /// The response to one statement.
    async fn respond(&self, sql: &str, parameters: Vec<Parameter>, format: Format) -> PgWireResult<Response> {
        let ask = match words::read(sql) {
            Some(Word::Begin) => return Ok(Response::TransactionStart(Tag::new("BEGIN"))),
            Some(Word::End(tag)) => return Ok(Response::TransactionEnd(Tag::new(tag))),
            Some(Word::Done(tag)) => return Ok(Response::Execution(Tag::new(tag))),
            None => self.ask_of(sql, parameters)?,
        };
        let store = self.state.store.clone();
        let answer = self.state.sql.ask(ask, move || store.snapshot()).await;
        let answer = answer.map_err(|error| refusal(error, sql))?;
        let fields = Arc::new(encode::fields(answer.schema(), &format));
        Ok(Response::Query(QueryResponse::new(fields, rows(answer, format, sql.to_owned()))))
    }

    /// The response to one statement of several, with all its rows: its turn is over when the next one begins.
    async fn gather(&self, sql: &str, rows_left: &mut usize, bytes_left: &mut usize) -> PgWireResult<Response> {
        let mut answer = match self.respond(sql, Vec::new(), Format::UnifiedText).await? {
            Response::Query(answer) => answer,
            other => return Ok(other),
        };
        let mut rows = Vec::new();
        while let Some(row) = answer.data_rows.next().await {
            let row = row?;
            let bytes = row.data.len().saturating_add(size_of::<DataRow>());
            rows.push(row);
            *bytes_left = bytes_left.checked_sub(bytes).ok_or_else(|| {
                let most = self.state.settings.sql_memory_bytes_max;
                error(
                    "54000",
                    format!(
                        "the message gives more than {most} bytes (sql_memory_bytes_max): send its statements apart"
                    ),
                )
            })?;
            *rows_left = rows_left.checked_sub(1).ok_or_else(|| {
                let most = self.state.settings.sql_rows_max;
                error(
                    "54000",
                    format!("the message gives more than {most} rows (sql_rows_max): send its statements apart"),
                )
            })?;
        }
        Ok(Response::Query(QueryResponse::new(answer.row_schema, stream::iter(rows.into_iter().map(Ok)))))
    }

    /// The columns of one statement, and what its parameters are.
    async fn describe(
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

#[async_trait]
impl SimpleQueryHandler for Session {
    async fn do_query<C>(&self, _: &mut C, query: &str) -> PgWireResult<Vec<Response>>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        let is_short = query.len() <= self.state.settings.sql_text_bytes_max;
        let statements = if is_short { eye_sql::statements(query) } else { vec![query.to_owned()] };
        if let [statement] = statements.as_slice() {
            return Ok(vec![self.respond(statement, Vec::new(), Format::UnifiedText).await?]);
        }
        if statements.len() > STATEMENTS_MAX {
            let message = format!("the message has more than {STATEMENTS_MAX} statements: send them apart");
            return Err(error("54000", message));
        }
        let mut rows_left = self.state.settings.sql_rows_max;
        let mut bytes_left = self.state.settings.sql_memory_bytes_max;
        let mut responses = Vec::new();
        for statement in statements {
            match self.gather(&statement, &mut rows_left, &mut bytes_left).await {
                Ok(response) => responses.push(response),
                // What came before it has been answered, what comes after it is not asked.
                Err(PgWireError::UserError(info)) if info.severity == "ERROR" => {
                    responses.push(Response::Error(info));
                    break;
                }
                Err(other) => return Err(other),
            }
        }
        Ok(responses)
    }
}

/// Statements are kept as they were sent: each is planned anew, on what is stored then.
pub(super) struct AsSent;

#[async_trait]
impl QueryParser for AsSent {
    type Statement = String;

    async fn parse_sql<C>(&self, _: &C, sql: &str, _: &[Option<Type>]) -> PgWireResult<Option<String>>
    where
        C: ClientInfo + Unpin + Send + Sync,
    {
        Ok(Some(sql.to_owned()))
    }

    fn get_parameter_types(&self, _: &String) -> PgWireResult<Vec<Type>> {
        Ok(Vec::new())
    }

    fn get_result_schema(&self, _: &String, _: Option<&Format>) -> PgWireResult<Vec<FieldInfo>> {
        Ok(Vec::new())
    }
}

#[async_trait]
impl ExtendedQueryHandler for Session {
    type Statement = String;
    type QueryParser = AsSent;

    fn query_parser(&self) -> Arc<AsSent> {
        Arc::new(AsSent)
    }

    async fn do_query<C>(&self, _: &mut C, portal: &Portal<String>, _: usize) -> PgWireResult<Response>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore<Statement = String>,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        let format = portal.result_column_format.clone();
        self.respond(&portal.statement.statement, parameters(portal)?, format).await
    }

    /// Rows go out as they come. `pgwire` would gather them first, with room for as many as the client may take.
    async fn on_execute<C>(&self, client: &mut C, mut message: Execute) -> PgWireResult<()>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore<Statement = String>,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        let portal = client.portal_store().get_portal(message.name.as_deref().unwrap_or(DEFAULT_NAME));
        let portal = match portal {
            Some(Entry::Value(portal)) if words::read(&portal.statement.statement).is_none() => portal,
            // What has no rows.
            _ => {
                message.max_rows = 0;
                return self._on_execute(client, message).await;
            }
        };
        if !matches!(client.state(), PgWireConnectionState::ReadyForQuery) {
            return Err(PgWireError::NotReadyForQuery);
        }
        client.set_state(PgWireConnectionState::QueryInProgress);
        let rows_max = rows_asked_for(message.max_rows, self.state.settings.sql_rows_max);
        let state = portal.state();
        let mut state = state.lock().await;
        // A portal whose statement fails keeps nothing of it.
        let mut answer = match std::mem::take(&mut *state) {
            PortalExecutionState::Suspended(answer) => answer,
            PortalExecutionState::Finished => QueryResponse::new(Arc::new(Vec::new()), stream::empty()),
            PortalExecutionState::Initial => {
                let format = portal.result_column_format.clone();
                let values = parameters(&portal)?;
                let handle = client.session_extensions().get::<Arc<ConnectionHandle>>();
                let response = tokio::select! {
                    response = self.respond(&portal.statement.statement, values, format) => response?,
                    () = cancelled(handle) => return Err(PgWireError::QueryCanceled),
                };
                let Response::Query(answer) = response else {
                    return Err(error("XX000", "a statement was answered without rows"));
                };
                answer
            }
        };
        let has_more = send_partial_query_response(client, &mut answer, rows_max).await?;
        *state = if has_more { PortalExecutionState::Suspended(answer) } else { PortalExecutionState::Finished };
        client.set_state(PgWireConnectionState::ReadyForQuery);
        Ok(())
    }

    async fn do_describe_statement<C>(
        &self,
        _: &mut C,
        target: &StoredStatement<String>,
    ) -> PgWireResult<DescribeStatementResponse>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore<Statement = String>,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        let (fields, mut parameters) = self.describe(&target.statement, Vec::new(), &Format::UnifiedText).await?;
        for (place, kind) in target.parameter_types.iter().enumerate() {
            match (parameters.get_mut(place), kind) {
                (Some(known), Some(kind)) if *kind != Type::UNKNOWN => *known = kind.clone(),
                (None, kind) => parameters.push(kind.clone().unwrap_or(Type::TEXT)),
                _ => {}
            }
        }
        Ok(DescribeStatementResponse::new(parameters, fields))
    }

    async fn do_describe_portal<C>(&self, _: &mut C, portal: &Portal<String>) -> PgWireResult<DescribePortalResponse>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore<Statement = String>,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        let sql = &portal.statement.statement;
        let (fields, _) = self.describe(sql, parameters(portal)?, &portal.result_column_format).await?;
        Ok(DescribePortalResponse::new(fields))
    }
}

/// How many rows an Execute gets at most; 0 is all of them.
fn rows_asked_for(asked: i32, most: usize) -> usize {
    usize::try_from(asked).ok().filter(|asked| *asked <= most).unwrap_or_default()
}

/// Ends once the client asks to stop the statement that begins now.
#[expect(clippy::redundant_allocation, reason = "so it comes out of the client's extensions")]
async fn cancelled(handle: Option<Arc<Arc<ConnectionHandle>>>) {
    match handle {
        Some(handle) => {
            let _ = handle.start_query().await.await;
        }
        None => std::future::pending().await,
    }
}

/// The values that a client has bound.
fn parameters(portal: &Portal<String>) -> PgWireResult<Vec<Parameter>> {
    let value = |(place, bytes): (usize, &Option<bytes::Bytes>)| {
        let Some(bytes) = bytes else { return Ok(Parameter::Null) };
        let kind = portal.statement.parameter_types.get(place).cloned().flatten().unwrap_or(Type::UNKNOWN);
        let is_binary = match &portal.parameter_format {
            Format::Individual(codes) => codes.get(place).is_some_and(|code| *code == 1),
            other => other.is_binary(place),
        };
        let read = if is_binary { binary(&kind, bytes) } else { text(&kind, bytes) };
        read.ok_or_else(|| {
            error("22P03", format!("the value of ${} cannot be read as {}: send it as a text", place + 1, kind.name()))
        })
    };
    portal.parameters.iter().enumerate().map(value).collect()
}

fn text(kind: &Type, bytes: &[u8]) -> Option<Parameter> {
    let text = std::str::from_utf8(bytes).ok()?;
    Some(match *kind {
        Type::BOOL => Parameter::Bool(match text.trim().to_ascii_lowercase().as_str() {
            "t" | "true" | "y" | "yes" | "on" | "1" => true,
            "f" | "false" | "n" | "no" | "off" | "0" => false,
            _ => return None,
        }),
        Type::INT2 | Type::INT4 | Type::INT8 => Parameter::Int(text.trim().parse().ok()?),
        Type::FLOAT4 | Type::FLOAT8 => Parameter::Float(text.trim().parse().ok()?),
        _ => Parameter::Text(text.to_owned()),
    })
}

fn binary(kind: &Type, bytes: &[u8]) -> Option<Parameter> {
    Some(match *kind {
        Type::BOOL => Parameter::Bool(*bytes.first()? != 0),
        Type::INT2 => Parameter::Int(i16::from_be_bytes(bytes.try_into().ok()?).into()),
        Type::INT4 => Parameter::Int(i32::from_be_bytes(bytes.try_into().ok()?).into()),
        Type::INT8 => Parameter::Int(i64::from_be_bytes(bytes.try_into().ok()?)),
        Type::FLOAT4 => Parameter::Float(f32::from_be_bytes(bytes.try_into().ok()?).into()),
        Type::FLOAT8 => Parameter::Float(f64::from_be_bytes(bytes.try_into().ok()?)),
        Type::TEXT | Type::VARCHAR | Type::BPCHAR | Type::NAME | Type::UNKNOWN | Type::JSON | Type::UUID => {
            Parameter::Text(std::str::from_utf8(bytes).ok()?.to_owned())
        }
        Type::TIMESTAMPTZ | Type::TIMESTAMP => {
            let micros = i64::from_be_bytes(bytes.try_into().ok()?).checked_add(encode::EPOCH_MICROS)?;
            Parameter::Text(eye_event::Timestamp::from_micros(micros).to_string())
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_counted_in_characters() {
        assert_eq!(position("SELECT é,\n  x", Spot { line: 2, column: 3 }), Some(13));
        assert_eq!(position("SELECT x", Spot { line: 1, column: 8 }), Some(8));
    }

    #[test]
    fn a_limit_that_is_none_is_none() {
        for (asked, rows) in [(0, 0), (-1, 0), (i32::MIN, 0), (i32::MAX, 0), (11, 0), (10, 10), (1, 1)] {
            assert_eq!(rows_asked_for(asked, 10), rows, "{asked}");
        }
    }

    #[test]
    fn a_boolean_is_read_in_every_spelling() {
        for (spellings, expected) in [
            (["t", "true", "y", "yes", "on", "1", "TRUE", "True", " tRuE\t", "ON"], Some(true)),
            (["f", "false", "n", "no", "off", "0", "FALSE", "False", " fAlSe\t", "OFF"], Some(false)),
            (["", " ", "2", "tr", "yess", "null", "-1", "1.0", "t f", "wahr"], None),
        ] {
            for spelling in spellings {
                let read = match text(&Type::BOOL, spelling.as_bytes()) {
                    Some(Parameter::Bool(read)) => Some(read),
                    None => None,
                    Some(_) => panic!("{spelling:?} is no boolean"),
                };
                assert_eq!(read, expected, "{spelling:?}");
            }
        }
    }
}
