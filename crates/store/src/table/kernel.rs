//! The table as the Delta kernel reads it: the one reader of the protocol, used at open, after a lost race and after a
//! checkpoint, never in the hot path.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock};

use arrow::array::{Array, AsArray, Int64Array, MapArray, RecordBatch, StringArray, StructArray};
use arrow::datatypes::Int64Type;
use delta_kernel::engine::arrow_data::ArrowEngineData;
use delta_kernel::{KernelError, Snapshot, SnapshotRef};
use delta_kernel_default_engine::executor::tokio::TokioMultiThreadExecutor;
use delta_kernel_default_engine::{DefaultEngine, DefaultEngineBuilder};
use eye_log::{Offset, PartitionId};

use super::actions::{HASH_TAG, MAINTENANCE_TXN, SUMS_TAG, txn_name};
use super::io::TableIo;
use super::paths::{FilePath, day_of};
use super::stats::FileStats;
use super::version::{TableFile, TableVersion};
use crate::columns::{RECEIVED_DATE, TableKind};
use crate::error::{Error, Kind, Result};

/// The kernel over one table.
pub(crate) struct Kernel {
    engine: DefaultEngine<TokioMultiThreadExecutor>,
    io: Arc<TableIo>,
    kind: TableKind,
}

impl Kernel {
    pub(crate) fn new(io: &Arc<TableIo>, kind: TableKind) -> Self {
        let executor = Arc::new(TokioMultiThreadExecutor::new(io.handle().clone()));
        let engine = DefaultEngineBuilder::new(Arc::clone(io.store())).with_task_executor(executor).build();
        Self { engine, io: Arc::clone(io), kind }
    }

    /// The table at one version, without notes. `partitions` are looked for beside those that have files.
    pub(crate) fn load(&self, version: u64, partitions: &BTreeSet<PartitionId>) -> Result<TableVersion> {
        let snapshot = self.snapshot(version)?;
        self.assert_ours(&snapshot)?;
        let files = self.files(&snapshot)?;
        let mut all: BTreeSet<PartitionId> = files.iter().map(|file| file.partition).collect();
        all.extend(partitions);
        let transaction = |name: &str| {
            let last = snapshot.get_app_id_version(name, &self.engine);
            let last = last.map_err(|error| self.failed("read the transactions", &error))?;
            Ok::<_, Error>(last.and_then(|last| u64::try_from(last).ok()))
        };
        let mut flushed = BTreeMap::new();
        for partition in all {
            if let Some(last) = transaction(&txn_name(partition))? {
                flushed.insert(partition, Offset(last));
            }
        }
        let maintenance = transaction(MAINTENANCE_TXN)?.unwrap_or_default();
        let mut loaded =
            TableVersion { version, files, flushed, infos: BTreeMap::new(), maintenance, removed: BTreeMap::new() };
        loaded.sort();
        Ok(loaded)
    }

    /// Writes a checkpoint of one version.
    pub(crate) fn checkpoint(&self, version: u64) -> Result<()> {
        let snapshot = self.snapshot(version)?;
        snapshot.checkpoint(&self.engine, None).map(drop).map_err(|error| self.failed("write a checkpoint", &error))
    }

    fn snapshot(&self, version: u64) -> Result<SnapshotRef> {
        Snapshot::builder_for(self.io.location().url().as_str())
            .at_version(version)
            .build(&self.engine)
            .map_err(|error| self.failed("read the log", &error))
    }

    /// The schema and the properties that the rest of the program relies on.
    fn assert_ours(&self, snapshot: &SnapshotRef) -> Result<()> {
        let refuse = |what: &str| {
            let detail = format!("table {} {what}: it was not made or was changed by another program", self.shown());
            Err(Error::new(Kind::Invalid, detail))
        };
        let schema = serde_json::to_value(snapshot.schema().as_ref())
            .map_err(|error| Error::new(Kind::Internal, format!("cannot read the schema: {error}")))?;
        if schema != self.kind.delta_schema() {
            return refuse("has not the columns this version writes");
        }
        let properties = snapshot.table_properties();
        if properties.set_transaction_retention_duration.is_some() {
            // An expired transaction would let rows be written twice.
            return refuse("sets delta.setTransactionRetentionDuration, which must stay unset");
        }
        if properties.enable_deletion_vectors == Some(true) {
            return refuse("has deletion vectors switched on");
        }
        Ok(())
    }

    fn files(&self, snapshot: &SnapshotRef) -> Result<Vec<Arc<TableFile>>> {
        let failed = |error: KernelError| self.failed("list the files", &error);
        let scan = Arc::clone(snapshot).scan_builder().build().map_err(failed)?;
        let mut files = Vec::new();
        for metadata in scan.scan_metadata(&self.engine).map_err(failed)? {
            let (data, selected) = metadata.map_err(failed)?.scan_files.into_parts();
            let data = ArrowEngineData::try_from_engine_data(data).map_err(failed)?;
            let batch = data.record_batch();
            let rows = AddRows::new(batch)
                .ok_or_else(|| Error::new(Kind::Internal, "the kernel lists files in an unknown shape"))?;
            // The kernel may leave out the end of the selection: what it does not name is selected.
            for row in (0..batch.num_rows()).filter(|row| selected.get(*row).copied().unwrap_or(true)) {
                files.push(Arc::new(self.file(&rows, row)?));
            }
        }
        Ok(files)
    }

    fn file(&self, rows: &AddRows<'_>, row: usize) -> Result<TableFile> {
        let path = rows.path.value(row);
        let unusable = |why: &str| Error::new(Kind::Corrupt, format!("the log's entry of {path} is unusable: {why}"));
        if rows.deletion_vector.is_valid(row) {
            return Err(unusable("it has a deletion vector"));
        }
        let stats = rows.stats.is_valid(row).then(|| rows.stats.value(row));
        let stats = FileStats::parse(stats.ok_or_else(|| unusable("it has no statistics"))?)
            .map_err(|why| unusable(&format!("its statistics are not ours: {why}")))?;
        if stats.partition.0 != stats.partition.1 {
            return Err(unusable("it holds rows of several partitions"));
        }
        let date = map_value(rows.partition_values, row, RECEIVED_DATE);
        let received_date = date.as_deref().and_then(day_of).ok_or_else(|| unusable("it has no received_date"))?;
        // Other programs write none; one that is there and cannot be read has rotted.
        let tag = |name| map_value(rows.tags, row, name).filter(|value| !value.is_empty());
        let rotten = |name: &str| unusable(&format!("its tag {name} cannot be read"));
        Ok(TableFile {
            path: FilePath::from_log(path),
            bytes: u64::try_from(rows.size.value(row)).map_err(|_| unusable("its size is negative"))?,
            rows: stats.rows,
            received_date,
            partition: stats.partition.0,
            timestamp_min: stats.timestamp.0,
            timestamp_max: stats.timestamp.1,
            received_min: stats.received.0,
            received_max: stats.received.1,
            offset_min: stats.offset.0,
            offset_max: stats.offset.1,
            sha256: tag(HASH_TAG).map(|hash| hash.parse()).transpose().map_err(|_| rotten(HASH_TAG))?,
            sums: tag(SUMS_TAG).map(|sums| sums.parse()).transpose().map_err(|_| rotten(SUMS_TAG))?,
            io: Arc::clone(&self.io),
            number: self.io.footers.number(),
            outline: OnceLock::new(),
            blooms: OnceLock::new(),
        })
    }

    fn shown(&self) -> &str {
        self.io.location().url().as_str()
    }

    fn failed(&self, doing: &str, error: &KernelError) -> Error {
        let kind = if is_away(error) { Kind::Unavailable } else { Kind::Corrupt };
        Error::new(kind, format!("cannot {doing} of {}: {error}", self.shown()))
    }
}

/// True if something could not be read or written, however deep in another error that lies: it says nothing of what is
/// stored.
fn is_away(error: &KernelError) -> bool {
    let is_of_store = |error: &(dyn std::error::Error + 'static)| {
        // What an upload fails of lies in an error of input and output, which does not name it as its source.
        let held = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        error.is::<object_store::Error>() || held.is_some_and(|held| held.is::<object_store::Error>())
    };
    let mut sources = std::iter::successors(std::error::Error::source(error), |error| error.source());
    matches!(error, KernelError::ObjectStore(_) | KernelError::IOError(_)) || sources.any(is_of_store)
}

/// The kernel's list of files, typed.
struct AddRows<'a> {
    path: &'a StringArray,
    size: &'a Int64Array,
    stats: &'a StringArray,
    deletion_vector: &'a StructArray,
    partition_values: &'a MapArray,
    tags: &'a MapArray,
}

impl<'a> AddRows<'a> {
    fn new(batch: &'a RecordBatch) -> Option<Self> {
        let constants = batch.column_by_name("fileConstantValues")?.as_struct_opt()?;
        Some(Self {
            path: batch.column_by_name("path")?.as_string_opt()?,
            size: batch.column_by_name("size")?.as_primitive_opt::<Int64Type>()?,
            stats: batch.column_by_name("stats")?.as_string_opt()?,
            deletion_vector: batch.column_by_name("deletionVector")?.as_struct_opt()?,
            partition_values: constants.column_by_name("partitionValues")?.as_map_opt()?,
            tags: constants.column_by_name("tags")?.as_map_opt()?,
        })
    }
}

fn map_value(map: &MapArray, row: usize, key: &str) -> Option<String> {
    if map.is_null(row) {
        return None;
    }
    let entries = map.value(row);
    let (keys, values) = (entries.column(0).as_string_opt::<i32>()?, entries.column(1).as_string_opt::<i32>()?);
    let at = keys.iter().position(|found| found == Some(key))?;
    values.is_valid(at).then(|| values.value(at).to_owned())
}
