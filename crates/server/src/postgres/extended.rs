//! The extended protocol: statements are prepared, bound to values and executed, a few rows at a time if a client likes.
//!
//! The rule: what a connection prepares and binds is counted before it is kept, and what it holds of answers is held of
//! a few statements only.

use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{Sink, SinkExt as _, stream};
use pgwire::api::portal::{Format, Portal, PortalExecutionState};
use pgwire::api::query::{ExtendedQueryHandler, send_partial_query_response, send_ready_for_query};
use pgwire::api::results::{DescribePortalResponse, DescribeStatementResponse, FieldInfo, QueryResponse, Response};
use pgwire::api::stmt::{QueryParser, StoredStatement};
use pgwire::api::store::{Entry, PortalStore};
use pgwire::api::{ClientInfo, ClientPortalStore, DEFAULT_NAME, PgWireConnectionState, Type};
use pgwire::error::{PgWireError, PgWireResult};
use pgwire::messages::PgWireBackendMessage;
use pgwire::messages::extendedquery::{
    Bind, BindComplete, Close, CloseComplete, Execute, Parse, ParseComplete, Sync as PgSync, TARGET_TYPE_BYTE_STATEMENT,
};

use super::kept::Kind;
use super::session::{Session, begin, cancelled, error, not_here, unless};
use super::{parameters, words};

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

    /// What is kept is counted, and no longer than a statement may be.
    async fn on_parse<C>(&self, client: &mut C, message: Parse) -> PgWireResult<()>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore<Statement = String>,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        let most = self.state.settings.sql_text_bytes_max;
        if message.query.len() > most {
            let message = format!("the statement has more than {most} bytes: write it shorter (sql_text_bytes_max)");
            return Err(error("54000", message));
        }
        let name = message.name.as_deref().unwrap_or(DEFAULT_NAME);
        let statement = StoredStatement::parse(client, &message, self.query_parser()).await?;
        self.keep(Kind::Statement, name, statement.as_ref().map_or(0, bytes_of))?;
        match statement {
            Some(statement) => client.portal_store().put_statement(Arc::new(statement)),
            None => client.portal_store().put_empty_statement(name),
        }
        client.send(PgWireBackendMessage::ParseComplete(ParseComplete::new())).await?;
        Ok(())
    }

    /// What is kept is counted, with the statement, which it may outlive.
    async fn on_bind<C>(&self, client: &mut C, mut message: Bind) -> PgWireResult<()>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore<Statement = String>,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        // A value is a piece of what was read, and would keep all of that.
        for value in message.parameters.iter_mut().flatten() {
            *value = Bytes::copy_from_slice(value);
        }
        let name = message.portal_name.as_deref().unwrap_or(DEFAULT_NAME);
        let of = message.statement_name.as_deref().unwrap_or(DEFAULT_NAME);
        match client.portal_store().get_statement(of) {
            Some(Entry::Value(statement)) => {
                self.keep(Kind::Portal, name, bytes_of(&statement).saturating_add(bytes_of_values(&message)))?;
                let portal = Portal::try_new(&message, statement)?;
                client.portal_store().put_portal(Arc::new(portal));
            }
            Some(Entry::Empty) if message.parameters.is_empty() => {
                self.keep(Kind::Portal, name, 0)?;
                client.portal_store().put_empty_portal(name);
            }
            Some(Entry::Empty) => {
                return Err(error("08P01", "an empty statement has no parameters"));
            }
            None => return Err(PgWireError::StatementNotFound(of.to_owned())),
        }
        client.send(PgWireBackendMessage::BindComplete(BindComplete::new())).await?;
        Ok(())
    }

    async fn on_close<C>(&self, client: &mut C, message: Close) -> PgWireResult<()>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore<Statement = String>,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        let name = message.name.as_deref().unwrap_or(DEFAULT_NAME);
        if message.target_type == TARGET_TYPE_BYTE_STATEMENT {
            client.portal_store().rm_statement(name);
            self.kept.lock().remove(Kind::Statement, name);
        } else {
            client.portal_store().rm_portal(name);
            self.kept.lock().remove(Kind::Portal, name);
        }
        client.send(PgWireBackendMessage::CloseComplete(CloseComplete::new())).await?;
        Ok(())
    }

    async fn on_sync<C>(&self, client: &mut C, _: PgSync) -> PgWireResult<()>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore<Statement = String>,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        client.portal_store().rm_portal(DEFAULT_NAME);
        self.kept.lock().remove(Kind::Portal, DEFAULT_NAME);
        self.end_portals(client);
        let status = client.transaction_status();
        send_ready_for_query(client, status).await
    }

    async fn on_execute<C>(&self, client: &mut C, message: Execute) -> PgWireResult<()>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore<Statement = String>,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        let portal = client.portal_store().get_portal(message.name.as_deref().unwrap_or(DEFAULT_NAME));
        let Some(Entry::Value(portal)) = portal else {
            // An empty one is answered, one that is not there refused.
            return self._on_execute(client, message).await;
        };
        begin(client)?;
        match words::read(&portal.statement.statement) {
            Some(word) => self.obey(client, word).await?,
            None => self.give(client, &portal, message.max_rows).await?,
        }
        client.set_state(PgWireConnectionState::ReadyForQuery);
        Ok(())
    }

    async fn do_query<C>(&self, _: &mut C, _: &Portal<String>, _: usize) -> PgWireResult<Response>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore<Statement = String>,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        Err(not_here())
    }

    async fn do_describe_statement<C>(
        &self,
        client: &mut C,
        target: &StoredStatement<String>,
    ) -> PgWireResult<DescribeStatementResponse>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore<Statement = String>,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        let stop = cancelled(client.session_extensions().get());
        let described = self.describe(&target.statement, Vec::new(), &Format::UnifiedText);
        let (fields, mut parameters) = unless(stop, described).await?;
        for (place, kind) in target.parameter_types.iter().enumerate() {
            match (parameters.get_mut(place), kind) {
                (Some(known), Some(kind)) if *kind != Type::UNKNOWN => *known = kind.clone(),
                (None, kind) => parameters.push(kind.clone().unwrap_or(Type::TEXT)),
                _ => {}
            }
        }
        Ok(DescribeStatementResponse::new(parameters, fields))
    }

    async fn do_describe_portal<C>(
        &self,
        client: &mut C,
        portal: &Portal<String>,
    ) -> PgWireResult<DescribePortalResponse>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore<Statement = String>,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        let sql = &portal.statement.statement;
        let stop = cancelled(client.session_extensions().get());
        let described = self.describe(sql, parameters::of(portal)?, &portal.result_column_format);
        let (fields, _) = unless(stop, described).await?;
        Ok(DescribePortalResponse::new(fields))
    }
}

impl Session {
    fn keep(&self, kind: Kind, name: &str, bytes: usize) -> PgWireResult<()> {
        self.kept.lock().put(kind, name, bytes).map_err(|message| error("54000", message))
    }

    /// Gives as many rows of a portal as are asked for, as they come. `pgwire` would gather them first, with room for
    /// as many as the client may take.
    async fn give<C>(&self, client: &mut C, portal: &Portal<String>, rows_asked: i32) -> PgWireResult<()>
    where
        C: ClientInfo + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        let rows_max = rows_asked_for(rows_asked, self.state.settings.sql_rows_max);
        let state = portal.state();
        let mut state = state.lock().await;
        // A portal whose statement fails keeps nothing of it.
        let begun = std::mem::take(&mut *state);
        self.kept.lock().take_up(&portal.name);
        if rows_max > 0 {
            self.may_suspend()?;
        }
        let stop = cancelled(client.session_extensions().get());
        let work = async {
            let mut answer = match begun {
                PortalExecutionState::Suspended(answer) => {
                    self.reader()?;
                    answer
                }
                PortalExecutionState::Finished => QueryResponse::new(Arc::new(Vec::new()), stream::empty()),
                PortalExecutionState::Initial => {
                    let format = portal.result_column_format.clone();
                    self.ask(&portal.statement.statement, parameters::of(portal)?, format).await?
                }
            };
            let has_more = send_partial_query_response(client, &mut answer, rows_max).await?;
            Ok::<_, PgWireError>(has_more.then_some(answer))
        };
        *state = match unless(stop, work).await? {
            Some(answer) => {
                self.kept.lock().suspend(&portal.name);
                PortalExecutionState::Suspended(answer)
            }
            None => PortalExecutionState::Finished,
        };
        Ok(())
    }

    /// Rows that a client leaves for later are held for it: of as many statements as a token may run.
    fn may_suspend(&self) -> PgWireResult<()> {
        let most = self.state.settings.sql_queries_per_token_max;
        if self.kept.lock().suspended() < most {
            return Ok(());
        }
        let message = format!(
            "{most} statements of this connection have rows that were not taken yet (sql_queries_per_token_max): take \
             them, or close their portals"
        );
        Err(error("54000", message))
    }
}

/// How many rows an Execute gets at most; 0 is all of them.
fn rows_asked_for(asked: i32, most: usize) -> usize {
    usize::try_from(asked).ok().filter(|asked| *asked <= most).unwrap_or_default()
}

/// What a statement takes that is kept.
fn bytes_of(statement: &StoredStatement<String>) -> usize {
    statement.statement.len().saturating_add(size_of_val(statement.parameter_types.as_slice()))
}

/// What the values of a portal take that is kept.
fn bytes_of_values(message: &Bind) -> usize {
    let values: usize = message.parameters.iter().flatten().map(Bytes::len).sum();
    values
        .saturating_add(size_of_val(message.parameters.as_slice()))
        .saturating_add(size_of_val(message.parameter_format_codes.as_slice()))
        .saturating_add(size_of_val(message.result_column_format_codes.as_slice()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_that_is_none_is_none() {
        for (asked, rows) in [(0, 0), (-1, 0), (i32::MIN, 0), (i32::MAX, 0), (11, 0), (10, 10), (1, 1)] {
            assert_eq!(rows_asked_for(asked, 10), rows, "{asked}");
        }
    }
}
