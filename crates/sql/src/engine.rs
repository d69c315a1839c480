//! [`Engine`]: takes statements, runs them on threads of its own within limits, gives their rows as they come.
//!
//! The way of a statement: a turn, the guard, a plan over one snapshot, a second check of the plan, batches. Each has its
//! own memory and its own share of the disk, so that one that asks for too much stops alone. It stops at its time limit,
//! and when its [`Answer`] is dropped.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::{DataType, SchemaRef};
use arrow::record_batch::RecordBatch;
use datafusion::execution::SessionState;
use datafusion::execution::context::SQLOptions;
use datafusion::logical_expr::{LogicalPlan, ScalarUDF};
use datafusion::physical_plan::execute_stream;
use datafusion::scalar::ScalarValue;
use eye_query::Cancel;
use eye_store::Snapshot;
use futures_util::StreamExt as _;
use parking_lot::Mutex;
use tokio::runtime::Runtime;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::task::AbortHandle;

use crate::error::{self, Error, Result};
use crate::guard;
use crate::joins;
use crate::questions::Questions;
use crate::rows::{plain_batch, plain_schema};
use crate::session;
use crate::tables::View;

/// Batches on their way to the asker.
const BATCHES_AHEAD: usize = 2;
/// How long a statement waits for its turn before it is refused.
const TURN_WAIT_MAX: Duration = Duration::from_secs(5);
/// How much longer than its time a statement may be waited for: planning cannot be interrupted.
const GRACE: Duration = Duration::from_secs(1);
/// How many parameters a statement may have.
const PARAMETERS_MAX: usize = 1_000;
/// A statement's plan is a tree that is walked by recursion, see [`guard::OPERATORS_MAX`].
const STACK_BYTES: usize = 16 * 1024 * 1024;

/// What statements may use. Each is a setting of the server.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Bytes of one statement's text.
    pub text_bytes_max: usize,
    /// How long one statement may take, from its turn to its last row.
    pub time_max: Duration,
    /// Rows of one answer.
    pub rows_max: usize,
    /// Memory of one statement; joins, sorts and groups beyond it go to disk.
    pub memory_bytes_max: usize,
    /// Disk of one statement.
    pub spill_bytes_max: u64,
    /// Statements at once.
    pub queries_max: usize,
    /// Statements of one token at once.
    pub queries_per_token_max: usize,
    /// Threads for all statements.
    pub threads: usize,
}

/// A value for a `$1` in a statement. It is taken for what stands there: a text for a time, say.
#[derive(Clone, Debug, PartialEq)]
pub enum Parameter {
    /// No value.
    Null,
    /// True or false.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// Any number.
    Float(f64),
    /// A text, or anything as a text.
    Text(String),
}

/// A statement, and who asks.
#[derive(Clone, Debug)]
pub struct Ask {
    /// The statement.
    pub sql: String,
    /// The values of `$1`, `$2` and so on.
    pub parameters: Vec<Parameter>,
    /// Who asks, for the limit of each.
    pub token: String,
    /// The applications that they may see; `None` is all of them.
    pub allowed: Option<Vec<String>>,
}

/// Takes statements. Cheap to clone.
#[derive(Clone)]
pub struct Engine(Arc<Inner>);

struct Inner {
    limits: Limits,
    folder: PathBuf,
    functions: Vec<Arc<ScalarUDF>>,
    questions: Arc<dyn Questions>,
    turns: Arc<Semaphore>,
    tokens: Arc<Mutex<HashMap<String, usize>>>,
    runtime: Threads,
}

/// A runtime that may be dropped anywhere.
struct Threads(Option<Runtime>);

impl Drop for Threads {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// The permission to run.
struct Turn {
    _turn: OwnedSemaphorePermit,
    tokens: Arc<Mutex<HashMap<String, usize>>>,
    token: String,
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut tokens = self.tokens.lock();
        if let Some(count) = tokens.get_mut(&self.token) {
            *count -= 1;
            if *count == 0 {
                tokens.remove(&self.token);
            }
        }
    }
}

/// What a statement takes and gives.
#[derive(Clone, Debug)]
pub struct Described {
    /// The columns, as an [`Answer`] has them.
    pub columns: SchemaRef,
    /// What `$1`, `$2` and so on are; `None` where nothing says it.
    pub parameters: Vec<Option<DataType>>,
}

/// The rows of a statement, as they come. Dropping it stops the statement.
pub struct Answer {
    schema: SchemaRef,
    version: u64,
    offset: String,
    rows: mpsc::Receiver<Result<Option<RecordBatch>>>,
    is_over: bool,
    _stop: Stop,
}

/// Stops a statement.
struct Stop {
    cancel: Arc<Cancel>,
    task: AbortHandle,
}

impl Drop for Stop {
    fn drop(&mut self) {
        self.cancel.cancel();
        self.task.abort();
    }
}

impl Answer {
    /// The columns. Texts are `Utf8`, whatever they were on the way.
    #[must_use]
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// The version of the table that the answer sees.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version
    }

    /// What the answer has seen of the log.
    #[must_use]
    pub fn offset(&self) -> &str {
        &self.offset
    }

    /// The next rows; `None` after the last.
    ///
    /// # Errors
    /// What stopped the statement. There are no rows after an error.
    pub async fn next(&mut self) -> Result<Option<RecordBatch>> {
        if self.is_over {
            return Ok(None);
        }
        let next = match self.rows.recv().await {
            Some(next) => next,
            // A statement that ends well says so.
            None => Err(Error::Internal("its thread panicked".to_owned())),
        };
        self.is_over = !matches!(next, Ok(Some(_)));
        next
    }
}

impl Engine {
    /// An engine that keeps what does not fit into memory in `folder`, which is its own: what lies there is removed.
    ///
    /// # Errors
    /// If the folder cannot be emptied, or threads cannot be started.
    pub fn open(limits: Limits, folder: &Path, questions: Arc<dyn Questions>) -> std::io::Result<Self> {
        match std::fs::remove_dir_all(folder) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        std::fs::create_dir_all(folder)?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(limits.threads.max(1))
            .thread_name("eye-sql")
            .thread_stack_size(STACK_BYTES)
            .on_thread_start(eye_store::give_way)
            .enable_time()
            .build()?;
        Ok(Self(Arc::new(Inner {
            turns: Arc::new(Semaphore::new(limits.queries_max)),
            tokens: Arc::default(),
            functions: session::scalar_functions(),
            folder: folder.to_owned(),
            runtime: Threads(Some(runtime)),
            questions,
            limits,
        })))
    }

    /// Runs a statement on a snapshot. `snapshot` is called once it is its turn.
    ///
    /// # Errors
    /// `Busy`, `Invalid`, `Refused`, `Limit`; those of the store.
    pub async fn ask(&self, ask: Ask, snapshot: impl FnOnce() -> Snapshot) -> Result<Answer> {
        let running = self.begin(ask, snapshot).await?;
        let (version, offset) = (running.view.snapshot.version(), running.view.snapshot.position().to_string());
        let cancel = Arc::clone(&running.view.cancel);
        let (head, schema) = oneshot::channel();
        let (tail, rows) = mpsc::channel(BATCHES_AHEAD);
        let task = self.runtime()?.spawn(running.run(head, tail));
        let stop = Stop { cancel, task: task.abort_handle() };
        let schema = self.wait_for(schema).await?;
        Ok(Answer { schema, version, offset, rows, is_over: false, _stop: stop })
    }

    /// What a statement takes and gives, without running it.
    ///
    /// # Errors
    /// As [`Engine::ask`].
    pub async fn describe(&self, ask: Ask, snapshot: impl FnOnce() -> Snapshot) -> Result<Described> {
        let running = self.begin(ask, snapshot).await?;
        let (to, described) = oneshot::channel();
        self.runtime()?.spawn(running.describe(to));
        self.wait_for(described).await
    }

    async fn begin(&self, ask: Ask, snapshot: impl FnOnce() -> Snapshot) -> Result<Running> {
        let bytes_max = self.0.limits.text_bytes_max;
        if ask.sql.len() > bytes_max {
            let message = format!("the statement has more than {bytes_max} bytes: write it shorter");
            return Err(Error::Limit { limit: error::TEXT_MAX, message });
        }
        let turn = self.turn(&ask.token).await?;
        let cancel = Arc::new(Cancel::new());
        let snapshot = Arc::new(snapshot());
        // Here, for the threads that work on the statement give way to ingest.
        snapshot.take_hot();
        let view = View { snapshot, allowed: ask.allowed, cancel };
        Ok(Running { engine: self.clone(), view, sql: ask.sql, parameters: ask.parameters, turn })
    }

    fn runtime(&self) -> Result<&Runtime> {
        self.0.runtime.0.as_ref().ok_or(Error::Cancelled)
    }

    async fn wait_for<T>(&self, outcome: oneshot::Receiver<Result<T>>) -> Result<T> {
        let time = self.0.limits.time_max;
        let outcome = tokio::time::timeout(time.saturating_add(GRACE), outcome).await;
        outcome.map_err(|_| Error::out_of_time(time))?.map_err(|_| Error::Internal("its thread panicked".to_owned()))?
    }

    async fn turn(&self, token: &str) -> Result<Turn> {
        let limits = &self.0.limits;
        {
            let mut tokens = self.0.tokens.lock();
            let count = tokens.entry(token.to_owned()).or_default();
            if *count >= limits.queries_per_token_max {
                let message = format!("this token has {count} statements running: wait for one of them");
                return Err(Error::Busy { limit: error::TOKEN_MAX, message });
            }
            *count += 1;
        }
        let place = Place { tokens: &self.0.tokens, token: Some(token.to_owned()) };
        let turn = tokio::time::timeout(TURN_WAIT_MAX, Arc::clone(&self.0.turns).acquire_owned()).await;
        let busy = || {
            let message = format!("{} statements are running: ask again after a moment", limits.queries_max);
            Error::Busy { limit: error::QUERIES_MAX, message }
        };
        let turn = turn.map_err(|_| busy())?.map_err(|_| busy())?;
        Ok(place.take(turn))
    }
}

/// A place in a token's count that is given back unless a turn comes of it.
struct Place<'a> {
    tokens: &'a Arc<Mutex<HashMap<String, usize>>>,
    token: Option<String>,
}

impl Place<'_> {
    fn take(mut self, turn: OwnedSemaphorePermit) -> Turn {
        Turn { _turn: turn, tokens: Arc::clone(self.tokens), token: self.token.take().unwrap_or_default() }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if let Some(token) = self.token.take()
            && let Some(count) = self.tokens.lock().get_mut(&token)
        {
            *count -= 1;
        }
    }
}

/// A statement that has its turn.
struct Running {
    engine: Engine,
    view: View,
    sql: String,
    parameters: Vec<Parameter>,
    turn: Turn,
}

/// Where the columns go, until they are known.
type Head = Option<oneshot::Sender<Result<SchemaRef>>>;
/// Where the rows go; `None` is the end.
type Tail = mpsc::Sender<Result<Option<RecordBatch>>>;

impl Running {
    async fn run(self, head: oneshot::Sender<Result<SchemaRef>>, tail: Tail) {
        let mut head = Some(head);
        let outcome = self.within_time(self.answer(&mut head, &tail)).await;
        // Whoever has the end of the answer may ask again at once, and nothing is held for one who does not take it.
        let Self { turn, view, .. } = self;
        drop((turn, view));
        // Whoever does not listen any more does not want to know.
        match (outcome, head) {
            (Err(error), Some(head)) => drop(head.send(Err(error))),
            (outcome, _) => drop(tail.send(outcome.map(|()| None)).await),
        }
    }

    async fn describe(self, to: oneshot::Sender<Result<Described>>) {
        let described = self.within_time(async {
            let (state, plan) = self.plan().await?;
            let parameters = parameter_types(&plan)?;
            // What a plan gives is certain only once its types have been put right.
            let plan = state.optimize(&plan)?;
            Ok(Described { columns: plain_schema(plan.schema().as_arrow()), parameters })
        });
        let described = described.await;
        drop(self.turn);
        drop(to.send(described));
    }

    async fn within_time<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        let time = self.engine.0.limits.time_max;
        match tokio::time::timeout(time, work).await {
            Ok(outcome) => outcome,
            Err(_) => {
                self.view.cancel.cancel();
                Err(Error::out_of_time(time))
            }
        }
    }

    async fn answer(&self, head: &mut Head, tail: &Tail) -> Result<()> {
        let (state, plan) = self.plan().await?;
        let stop = joins::Stop::new(Arc::clone(&self.view.cancel), self.engine.0.limits.time_max);
        let physical = joins::stoppable(state.create_physical_plan(&plan).await?, &stop)?;
        let schema = plain_schema(&physical.schema());
        if let Some(head) = head.take() {
            drop(head.send(Ok(Arc::clone(&schema))));
        }
        let mut batches = execute_stream(physical, state.task_ctx())?;
        let rows_max = self.engine.0.limits.rows_max;
        let mut rows = 0;
        while let Some(batch) = batches.next().await {
            let batch = plain_batch(&batch?, &schema)?;
            rows += batch.num_rows();
            if rows > rows_max {
                return Err(Error::too_many_rows(rows_max));
            }
            if batch.num_rows() > 0 && tail.send(Ok(Some(batch))).await.is_err() {
                return Err(Error::Cancelled);
            }
        }
        Ok(())
    }

    async fn plan(&self) -> Result<(SessionState, LogicalPlan)> {
        let Inner { limits, folder, functions, questions, .. } = &*self.engine.0;
        let checked = guard::check(&self.sql)?;
        let state = session::open(&self.view, questions, functions.clone(), &checked, limits, folder).await?;
        let plan = state.statement_to_plan(checked.statement).await?;
        let only_reads = SQLOptions::new().with_allow_ddl(false).with_allow_dml(false).with_allow_statements(false);
        only_reads.verify_plan(&plan).map_err(|error| Error::Refused(error.strip_backtrace()))?;
        if self.parameters.is_empty() {
            return Ok((state, plan));
        }
        let values = values(&self.parameters, &parameter_types(&plan)?)?;
        Ok((state, plan.with_param_values(values)?))
    }
}

/// What `$1`, `$2` and so on are, as far as the statement says it.
fn parameter_types(plan: &LogicalPlan) -> Result<Vec<Option<DataType>>> {
    let mut types = Vec::new();
    for (name, kind) in plan.get_parameter_types()? {
        let place =
            name.trim_start_matches('$').parse::<usize>().ok().filter(|place| (1..=PARAMETERS_MAX).contains(place));
        let place =
            place.ok_or_else(|| Error::invalid(format!("{name} is no parameter: write $1 to ${PARAMETERS_MAX}")))?;
        if types.len() < place {
            types.resize(place, None);
        }
        types[place - 1] = kind;
    }
    Ok(types)
}

/// The values of parameters, as what stands in the statement.
fn values(parameters: &[Parameter], types: &[Option<DataType>]) -> Result<Vec<ScalarValue>> {
    let value = |(place, parameter): (usize, &Parameter)| {
        let value = match parameter {
            Parameter::Null => ScalarValue::Null,
            Parameter::Bool(value) => ScalarValue::from(*value),
            Parameter::Int(value) => ScalarValue::from(*value),
            Parameter::Float(value) => ScalarValue::from(*value),
            Parameter::Text(value) => ScalarValue::from(value.as_str()),
        };
        match types.get(place).and_then(Option::as_ref) {
            Some(kind) => {
                let wrong =
                    || Error::invalid(format!("the value of ${} is no {}", place + 1, crate::rows::type_name(kind)));
                // The engine would cut it off.
                let has_fraction = matches!(parameter, Parameter::Float(value) if value.fract() != 0.0);
                if has_fraction && kind.is_integer() {
                    return Err(wrong());
                }
                value.cast_to(kind).map_err(|_| wrong())
            }
            None => Ok(value),
        }
    };
    parameters.iter().enumerate().map(value).collect()
}
