//! What every handler shares. Cheap to clone: one `Arc`.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use eye_event::Timestamp;
use eye_query::Catalogue;
use eye_registry::Registry;
use eye_store::Store;

use crate::config::Settings;
use crate::edge::budget::BodyBudget;
use crate::edge::decompress::DecodeTurns;
use crate::edge::turns::Turns;
use crate::metrics::Metrics;
use crate::shutdown::Shutdown;

/// The shared state; axum's `State` extractor gives it to handlers.
#[derive(Clone)]
pub(crate) struct AppState(Arc<Shared>);

/// What is behind [`AppState`].
pub(crate) struct Shared {
    /// Ingest and snapshots.
    pub(crate) store: Store,
    /// Statements.
    pub(crate) sql: eye_sql::Engine,
    /// Applications, tokens, users.
    pub(crate) registry: Registry,
    /// The settings in force.
    pub(crate) settings: Settings,
    /// The limits on one event, from the settings.
    pub(crate) limits: eye_event::Limits,
    /// The same for the seed API, which counts characters.
    pub(crate) seed_limits: eye_event::Limits,
    /// Counters and histograms.
    pub(crate) metrics: Metrics,
    /// The edge's clock.
    pub(crate) clock: Clock,
    /// How many bytes of bodies may be in memory at once.
    pub(crate) budget: BodyBudget,
    /// How many bodies may be decompressed at once.
    pub(crate) decompressing: DecodeTurns,
    /// Which categories, names, fields and values there are.
    pub(crate) catalogue: Catalogue,
    /// Whose turn it is to have a large body worked on.
    pub(crate) turns: Turns,
    /// Tells that the process is stopping.
    pub(crate) shutdown: Shutdown,
}

impl AppState {
    /// Wraps what was opened.
    pub(crate) fn new(shared: Shared) -> Self {
        Self(Arc::new(shared))
    }
}

impl Deref for AppState {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.0
    }
}

/// The wall clock, made non-decreasing within the process.
///
/// `received_at` orders what people see in lists; a clock that is set back must not make later requests look earlier.
#[derive(Debug)]
pub(crate) struct Clock {
    last_micros: AtomicI64,
}

impl Clock {
    /// A clock that starts now.
    pub(crate) fn new() -> Self {
        Self { last_micros: AtomicI64::new(i64::MIN) }
    }

    /// Now, never before an earlier answer.
    pub(crate) fn now(&self) -> Timestamp {
        self.at_least(Timestamp::now())
    }

    fn at_least(&self, wall: Timestamp) -> Timestamp {
        let before = self.last_micros.fetch_max(wall.micros(), Ordering::Relaxed);
        Timestamp::from_micros(before.max(wall.micros()))
    }
}

/// A server's state for unit tests.
#[cfg(test)]
pub(crate) mod testing {
    use std::collections::BTreeMap;

    use eye_log::SharedLog;
    use eye_log::memory::MemoryLog;
    use eye_store::table::location;
    use eye_store::{StoreSettings, Table, TableKind, TableOptions};
    use tokio::runtime::Runtime;

    use super::*;

    /// Over this log, and a table in memory. Its threads run until the store is closed or abandoned.
    pub(crate) fn state(runtime: &Runtime, settings: Settings, log: SharedLog) -> AppState {
        let table = |kind: TableKind| {
            let (objects, place) = location::resolve("memory:///table", &BTreeMap::new()).unwrap();
            let options = TableOptions::new(kind, Timestamp::now());
            Table::open(objects, place, options, runtime.handle().clone()).unwrap().0
        };
        let (events, rejections) = (table(TableKind::Events), table(TableKind::Rejections));
        let store_settings = StoreSettings::default();
        let opened = Store::open(store_settings, vec![log], events, rejections, Timestamp::now, &mut |_, _| {});
        let folder = tempfile::tempdir().unwrap();
        let sql = eye_sql::Engine::open(crate::ask::sql_limits(&settings), folder.path(), Arc::new(crate::ask::Bodies))
            .unwrap();
        AppState::new(Shared {
            store: opened.unwrap().0,
            sql,
            registry: Registry::open(Arc::new(MemoryLog::new())).unwrap(),
            limits: settings.limits(),
            seed_limits: eye_protocol::seed::limits(&settings.limits()),
            metrics: Metrics::new().unwrap(),
            clock: Clock::new(),
            budget: BodyBudget::new(settings.body_budget_bytes_max),
            catalogue: Catalogue::new(settings.catalogue_rows_max as u64, settings.catalogue_bytes_max),
            turns: Turns::new(settings.large_bodies_max, settings.ingest_wait_max, runtime.handle().clone()),
            decompressing: DecodeTurns::new(1).unwrap(),
            shutdown: crate::shutdown::pair().1,
            settings,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_set_back_stands_still() {
        let clock = Clock::new();
        assert_eq!(clock.at_least(Timestamp::from_micros(10)).micros(), 10);
        assert_eq!(clock.at_least(Timestamp::from_micros(7)).micros(), 10);
        assert_eq!(clock.at_least(Timestamp::from_micros(11)).micros(), 11);
    }
}
