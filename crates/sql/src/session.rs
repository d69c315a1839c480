//! What one statement is planned and run in: its tables, its functions, its memory, and nothing else.
//!
//! A session lives as long as its statement. There is no object store, no file format, no factory of tables: what is not
//! named here cannot be reached.

use std::path::Path;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::catalog::{
    CatalogProvider, CatalogProviderList, MemoryCatalogProvider, MemoryCatalogProviderList, MemorySchemaProvider,
    SchemaProvider, TableFunction, TableProvider,
};
use datafusion::common::{Result as PlanResult, exec_err};
use datafusion::config::Dialect;
use datafusion::datasource::ViewTable;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::FairSpillPool;
use datafusion::execution::object_store::ObjectStoreRegistry;
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::execution::session_state::SessionStateBuilder;
use datafusion::execution::{SessionState, SessionStateDefaults};
use datafusion::logical_expr::ScalarUDF;
use datafusion::object_store::ObjectStore;
use datafusion::prelude::SessionConfig;
use url::Url;

use crate::bounded::bounded;
use crate::catalog;
use crate::engine::Limits;
use crate::error::{Error, Result};
use crate::guard::{CATALOG, Checked, SCHEMA};
use crate::json;
use crate::questions::Questions;
use crate::rows::plain_schema;
use crate::tables::events::Events;
use crate::tables::rejections::Rejections;
use crate::tables::{self, View};
use crate::truncate::truncating;

/// Functions that make much out of little, before any memory is counted: a few bytes of SQL would be gigabytes.
const GROWING: [&str; 7] = ["repeat", "lpad", "rpad", "array_repeat", "array_resize", "range", "generate_series"];

/// The default functions of the engine, without [`GROWING`], some within bounds, one over all times, and with ours.
pub(crate) fn scalar_functions() -> Vec<Arc<ScalarUDF>> {
    let defaults = SessionStateDefaults::default_scalar_functions();
    let is_growing = |function: &Arc<ScalarUDF>| {
        GROWING.contains(&function.name()) || function.aliases().iter().any(|alias| GROWING.contains(&alias.as_str()))
    };
    defaults
        .into_iter()
        .filter(|function| !is_growing(function))
        .map(bounded)
        .map(truncating)
        .chain(json::functions())
        .chain(catalog::functions::functions())
        .collect()
}

/// A session over a view, with the tables that its statement names.
///
/// # Errors
/// Those of planning the views.
pub(crate) async fn open(
    view: &View,
    questions: &Arc<dyn Questions>,
    functions: Vec<Arc<ScalarUDF>>,
    checked: &Checked,
    limits: &Limits,
    folder: &Path,
) -> Result<SessionState> {
    use SessionStateDefaults as Defaults;
    let wanted = &checked.tables;
    let schema = Arc::new(MemorySchemaProvider::new());
    let catalog = Arc::new(MemoryCatalogProvider::new());
    catalog.register_schema(SCHEMA, Arc::clone(&schema) as Arc<dyn SchemaProvider>)?;
    let catalogs = MemoryCatalogProviderList::new();
    catalogs.register_catalog(CATALOG.to_owned(), Arc::clone(&catalog) as Arc<dyn CatalogProvider>);
    let mut planners = Defaults::default_expr_planners();
    let apart = if wanted.contains("events") { view.data_paths() } else { Vec::new() };
    planners.insert(0, Arc::new(json::Operators { apart }));
    let mut state = SessionStateBuilder::new()
        .with_config(config(limits))
        .with_runtime_env(runtime(limits, folder)?)
        .with_catalog_list(Arc::new(catalogs))
        .with_expr_planners(planners)
        .with_scalar_functions(functions)
        .with_higher_order_functions(Defaults::default_higher_order_functions())
        .with_aggregate_functions(Defaults::default_aggregate_functions())
        .with_window_functions(Defaults::default_window_functions())
        .with_table_function_list(Defaults::default_table_functions())
        .build();
    // What now() is, in the whole statement.
    state.mark_start_execution();
    for (name, function) in tables::questions::functions(view, questions) {
        let function = TableFunction::new(name.to_owned(), Arc::new(function));
        state.register_udtf(name, Arc::clone(function.function()));
    }
    let events = Arc::new(Events::new(view.clone()));
    let rejections = Arc::new(Rejections::new(view.clone()));
    let mut columns = vec![("events", events.schema()), ("rejections", rejections.schema())];
    schema.register_table("events".to_owned(), events)?;
    schema.register_table("rejections".to_owned(), rejections)?;
    for (name, sql) in [("sessions", tables::SESSIONS), ("problems", tables::PROBLEMS)] {
        if wanted.contains(name) || !checked.catalog.is_empty() {
            let plan = state.create_logical_plan(sql).await?;
            let table: Arc<dyn TableProvider> = Arc::new(ViewTable::new(plan, None));
            columns.push((name, table.schema()));
            schema.register_table(name.to_owned(), table)?;
        }
    }
    describe(&catalog, &schema, checked, &columns)?;
    Ok(state)
}

/// Registers what the statement names of `pg_catalog` and `information_schema`.
fn describe(
    catalog: &MemoryCatalogProvider,
    public: &MemorySchemaProvider,
    checked: &Checked,
    columns: &[(&str, SchemaRef)],
) -> Result<()> {
    let columns = |name: &str| columns.iter().find(|(known, _)| *known == name).map(|(_, schema)| plain_schema(schema));
    for table in &checked.catalog {
        let provider: Arc<dyn TableProvider> = Arc::new(table.provider(&columns)?);
        let within = catalog.schema(table.schema).unwrap_or_else(|| Arc::new(MemorySchemaProvider::new()));
        // One that was named twice is there already.
        if !within.table_exist(table.name) {
            within.register_table(table.name.to_owned(), Arc::clone(&provider))?;
        }
        catalog.register_schema(table.schema, within)?;
        if table.schema == "pg_catalog" && !public.table_exist(table.name) {
            public.register_table(table.name.to_owned(), provider)?;
        }
    }
    Ok(())
}

fn config(limits: &Limits) -> SessionConfig {
    let mut config = SessionConfig::new()
        .with_create_default_catalog_and_schema(false)
        .with_default_catalog_and_schema(CATALOG, SCHEMA)
        .with_information_schema(false)
        .with_target_partitions(limits.threads.max(1));
    let options = config.options_mut();
    options.sql_parser.dialect = Dialect::PostgreSQL;
    options.sql_parser.collect_spans = true;
    // Times without a zone are UTC, and now() says so.
    options.execution.time_zone = Some("UTC".to_owned());
    config
}

fn runtime(limits: &Limits, folder: &Path) -> Result<Arc<RuntimeEnv>> {
    let disk = DiskManagerBuilder::default()
        .with_mode(DiskManagerMode::Directories(vec![folder.to_owned()]))
        .with_max_temp_directory_size(limits.spill_bytes_max);
    let runtime = RuntimeEnvBuilder::new()
        .with_memory_pool(Arc::new(FairSpillPool::new(limits.memory_bytes_max)))
        .with_disk_manager_builder(disk)
        .with_object_store_registry(Arc::new(NoStores))
        .build_arc();
    runtime.map_err(|error| Error::internal(&error))
}

/// No store is there, and none can be added.
#[derive(Debug)]
struct NoStores;

impl ObjectStoreRegistry for NoStores {
    fn register_store(&self, _: &Url, _: Arc<dyn ObjectStore>) -> Option<Arc<dyn ObjectStore>> {
        None
    }

    fn get_store(&self, url: &Url) -> PlanResult<Arc<dyn ObjectStore>> {
        exec_err!("{}: nothing but the tables can be read", url.scheme())
    }
}
