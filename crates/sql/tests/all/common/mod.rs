//! A store in memory with an engine over it.

#![allow(dead_code, unreachable_pub, reason = "no test uses all of it")]

use std::sync::Arc;
use std::time::Duration;

use eye_event::{BatchHeader, EventRef, Problem, Problems, RejectionRef, Timestamp};
use eye_log::SharedLog;
use eye_log::memory::MemoryLog;
use eye_query::{Field, Filter, FunnelQuery, Interval, Measure, PathsQuery, RetentionQuery, TrendQuery};
use eye_sql::{Ask, Encoder, Engine, Error, Format, Limits, Questions};
use eye_store::table::TableLocation;
use eye_store::{Request, Store, StoreSettings, Table, TableKind, TableOptions};
use serde_json::Value;

pub const START: i64 = 1_700_000_000_000_000;
const PARTITIONS: u16 = 2;

/// One event, as the tests make them.
#[derive(Clone, Debug)]
pub struct Made {
    pub application: &'static str,
    pub session: u8,
    pub category: &'static str,
    pub name: &'static str,
    /// Seconds after [`START`].
    pub second: u16,
    pub user: Option<&'static str>,
    pub data: String,
    pub problems: u8,
}

impl Made {
    pub fn problems(&self) -> Problems {
        let set = |bit: u8, problem| (self.problems & bit > 0).then_some(problem);
        [set(1, Problem::TimestampInFuture), set(2, Problem::PayloadUnexpected)].into_iter().flatten().collect()
    }
}

/// A store, its runtime, and an engine.
pub struct World {
    pub runtime: tokio::runtime::Runtime,
    pub store: Store,
    pub engine: Engine,
    pub folder: tempfile::TempDir,
    made: u32,
}

pub fn limits() -> Limits {
    Limits {
        text_bytes_max: 64 * 1024,
        time_max: Duration::from_secs(60),
        rows_max: 1_000_000,
        memory_bytes_max: 64 * 1024 * 1024,
        spill_bytes_max: 1 << 30,
        queries_max: 4,
        queries_per_token_max: 2,
        threads: 2,
    }
}

impl World {
    pub fn new(limits: Limits) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let table = |kind: TableKind| {
            let location = TableLocation::remote(&format!("memory:///{}", kind.name())).unwrap();
            let options = TableOptions {
                row_group_rows: 16,
                page_rows: 4,
                partitions: PARTITIONS,
                ..TableOptions::new(kind, Timestamp::from_micros(START))
            };
            let objects = Arc::new(object_store::memory::InMemory::new());
            Table::open(objects, location, options, runtime.handle().clone()).unwrap().0
        };
        let settings = StoreSettings { partitions: PARTITIONS, flush_by_itself: false, ..StoreSettings::default() };
        let logs = (0..PARTITIONS).map(|_| Arc::new(MemoryLog::new()) as SharedLog).collect();
        let (events, rejections) = (table(TableKind::Events), table(TableKind::Rejections));
        let now = || Timestamp::from_micros(START);
        let store = Store::open(settings, logs, events, rejections, now, &mut |_, _| {}).unwrap().0;
        let folder = tempfile::tempdir().unwrap();
        let engine = Engine::open(limits, &folder.path().join("spill"), Arc::new(Plain)).unwrap();
        Self { runtime, store, engine, folder, made: 0 }
    }

    /// Stores events, and a rejection of each application.
    pub fn ingest(&mut self, events: &[Made]) {
        for application in ["web", "shop"] {
            self.made += 1;
            let received_at = Timestamp::from_micros(START + i64::from(self.made) * 1_000_000);
            let header = BatchHeader { application, token: "t", received_at };
            let mut request = Request::new(&header, PARTITIONS, 0);
            for event in events.iter().filter(|event| event.application == application) {
                self.made += 1;
                request.push_event(&EventRef {
                    event_id: &format!("event-{}", self.made),
                    session_id: &format!("session-{}", event.session),
                    category: event.category,
                    name: event.name,
                    timestamp: Timestamp::from_micros(START + i64::from(event.second) * 1_000_000),
                    timestamp_raw: None,
                    sent_at: None,
                    user_id: event.user,
                    anonymous_id: None,
                    data: &event.data,
                    context: None,
                    problems: event.problems(),
                });
            }
            request.push_rejection(&RejectionRef { code: "not_json", field: "", message: "m", sample: "{" });
            self.runtime.block_on(self.store.ingest(request)).unwrap();
        }
    }

    /// Stores one event of the application "web".
    pub fn ingest_at(&mut self, micros: i64, event_id: &str, category: &str, data: &str) {
        self.made += 1;
        let received_at = Timestamp::from_micros(START + i64::from(self.made) * 1_000_000);
        let header = BatchHeader { application: "web", token: "t", received_at };
        let mut request = Request::new(&header, PARTITIONS, 0);
        request.push_event(&EventRef {
            event_id,
            session_id: "session-1",
            category,
            name: "n",
            timestamp: Timestamp::from_micros(micros),
            timestamp_raw: None,
            sent_at: None,
            user_id: None,
            anonymous_id: None,
            data,
            context: None,
            problems: Problems::default(),
        });
        self.runtime.block_on(self.store.ingest(request)).unwrap();
    }

    pub fn ask(&self, sql: &str) -> Ask {
        Ask { sql: sql.to_owned(), parameters: Vec::new(), token: "t".to_owned(), allowed: None }
    }

    /// The whole answer in one form.
    pub fn bytes(&self, ask: Ask, format: Format) -> Result<Vec<u8>, Error> {
        self.runtime.block_on(async {
            let mut answer = self.engine.ask(ask, || self.store.snapshot()).await?;
            let schema = Arc::clone(answer.schema());
            let (mut encoder, mut bytes) = Encoder::new(format, &schema, answer.version(), answer.offset())?;
            while let Some(batch) = answer.next().await? {
                bytes.extend(encoder.batch(&batch)?);
            }
            bytes.extend(encoder.finish()?);
            Ok(bytes)
        })
    }

    pub fn try_rows(&self, ask: Ask) -> Result<Vec<Value>, Error> {
        let bytes = self.bytes(ask, Format::Json)?;
        let answer: Value = serde_json::from_slice(&bytes).unwrap();
        Ok(answer["rows"].as_array().unwrap().clone())
    }

    /// Each row an array.
    pub fn rows(&self, sql: &str) -> Vec<Value> {
        self.try_rows(self.ask(sql)).unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    /// The same for somebody who may see one application.
    pub fn rows_of(&self, application: &str, sql: &str) -> Vec<Value> {
        let ask = Ask { allowed: Some(vec![application.to_owned()]), ..self.ask(sql) };
        self.try_rows(ask).unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    pub fn error(&self, sql: &str) -> Error {
        self.try_rows(self.ask(sql)).expect_err(sql)
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.store.abandon();
    }
}

/// The range of everything.
pub fn everything() -> (Timestamp, Timestamp) {
    (Timestamp::from_micros(START), Timestamp::from_micros(START + 86_400_000_000))
}

/// A trend of everything by category, whatever is asked.
pub fn by_category(allowed: Option<Vec<String>>) -> TrendQuery {
    let (from, to) = everything();
    let filter = Filter { allowed, ..Filter::default() };
    TrendQuery { breakdown: vec![Field::Category], ..TrendQuery::new(filter, from, to) }
}

struct Plain;

impl Questions for Plain {
    /// By category, within other times and by other intervals if that is asked.
    fn trend(&self, body: &str, allowed: Option<Vec<String>>) -> Result<TrendQuery, String> {
        let asked: Value = serde_json::from_str(body).map_err(|error| error.to_string())?;
        let mut query = by_category(allowed);
        let time = |name: &str| asked[name].as_i64().map(Timestamp::from_micros);
        query.from = time("from").unwrap_or(query.from);
        query.to = time("to").unwrap_or(query.to);
        query.compare = asked["compare"] == true;
        if asked["top"] == 1 {
            query.top = 1;
        }
        if asked["interval"] == "month" {
            query.interval = Interval::Month;
        }
        if let Some(measure) = asked["measure"].as_str() {
            query.measure = measure.parse::<Measure>().map_err(|_| format!("{measure} is no measure"))?;
        }
        Ok(query)
    }

    fn funnel(&self, _: &str, _: Option<Vec<String>>) -> Result<FunnelQuery, String> {
        Err("steps is required".to_owned())
    }

    fn retention(&self, _: &str, _: Option<Vec<String>>) -> Result<RetentionQuery, String> {
        Err("not here".to_owned())
    }

    fn paths(&self, _: &str, _: Option<Vec<String>>) -> Result<PathsQuery, String> {
        Err("not here".to_owned())
    }
}
