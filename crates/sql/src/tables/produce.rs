//! [`Produced`]: the one leaf of every plan, a function that gives batches on a thread that may block.
//!
//! What it holds is counted against the statement's memory. It stops as soon as nobody takes its batches any more.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use datafusion::common::stats::Precision;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Result, Statistics};
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{EquivalenceProperties, Partitioning, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType, ReplaceChildrenOptions};
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::stream::RecordBatchReceiverStream;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties};
use tokio::sync::mpsc::Sender;

/// Batches on their way that nobody has taken yet, of each stream.
const BATCHES_AHEAD: usize = 2;

/// Gives the batches of one partition of the plan (not of the log). The number is how many parts of the whole the
/// partitions have taken, 0 at first: what one of them has counted none of the others gives.
pub(crate) type Produce = dyn Fn(&AtomicUsize, &mut Sink) -> Result<()> + Send + Sync;

/// What gives the columns of a projection over a leaf, and their schema; `None` if it cannot.
pub(crate) type Narrow = dyn Fn(&ProjectionExec) -> Option<(SchemaRef, Arc<Produce>)> + Send + Sync;

/// Where batches go.
pub(crate) struct Sink {
    to: Sender<Result<RecordBatch>>,
    rows_max: usize,
    /// Rows that are still wanted, if not all are.
    left: Option<usize>,
    memory: MemoryReservation,
}

impl Sink {
    /// Passes on a batch, in pieces. False once no more is wanted.
    ///
    /// # Errors
    /// `ResourcesExhausted`, if it does not fit into the statement's memory.
    pub(crate) fn send(&mut self, batch: &RecordBatch) -> Result<bool> {
        self.memory.try_resize(batch.get_array_memory_size())?;
        let rows = batch.num_rows().min(self.left.unwrap_or(usize::MAX));
        let mut start = 0;
        while start < rows {
            let piece = batch.slice(start, self.rows_max.min(rows - start));
            start += piece.num_rows();
            if self.to.blocking_send(Ok(piece)).is_err() {
                return Ok(false);
            }
        }
        self.left = self.left.map(|left| left - rows);
        Ok(self.left != Some(0))
    }
}

/// A leaf of a plan.
pub(crate) struct Produced {
    what: String,
    properties: Arc<PlanProperties>,
    limit: Option<usize>,
    rows: Option<usize>,
    produce: Arc<Produce>,
    narrow: Option<Arc<Narrow>>,
    /// How many parts are taken by this leaf. One that begins anew has a number of its own.
    taken: Arc<AtomicUsize>,
}

impl Produced {
    /// `rows` is how many there are in all, if that is known for certain.
    pub(crate) fn new(
        what: String,
        schema: SchemaRef,
        partitions: usize,
        limit: Option<usize>,
        rows: Option<usize>,
        produce: Arc<Produce>,
    ) -> Self {
        let properties = PlanProperties::new(
            EquivalenceProperties::new(schema),
            Partitioning::UnknownPartitioning(partitions.max(1)),
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        Self { what, properties: Arc::new(properties), limit, rows, produce, narrow: None, taken: Arc::default() }
    }

    /// The same leaf, which may take a projection over it upon itself.
    pub(crate) fn with_narrow(mut self, narrow: Arc<Narrow>) -> Self {
        self.narrow = Some(narrow);
        self
    }
}

impl fmt::Debug for Produced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Produced").field("what", &self.what).finish_non_exhaustive()
    }
}

impl DisplayAs for Produced {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        match self.limit {
            Some(limit) => write!(f, ", limit={limit}"),
            None => Ok(()),
        }
    }
}

impl ExecutionPlan for Produced {
    fn name(&self) -> &'static str {
        "Read"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        Vec::new()
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn replace_children(
        self: Arc<Self>,
        _: Vec<Arc<dyn ExecutionPlan>>,
        _: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn with_new_children(self: Arc<Self>, _: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    /// What a recursive query runs again gives everything again.
    fn reset_state(self: Arc<Self>) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(Arc::new(Self {
            what: self.what.clone(),
            properties: Arc::clone(&self.properties),
            limit: self.limit,
            rows: self.rows,
            produce: Arc::clone(&self.produce),
            narrow: self.narrow.clone(),
            taken: Arc::default(),
        }))
    }

    fn try_swapping_with_projection(&self, projection: &ProjectionExec) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        let narrowed = self.narrow.as_ref().and_then(|narrow| narrow(projection));
        Ok(narrowed.map(|(schema, produce)| {
            let partitions = self.properties.partitioning.partition_count();
            let leaf = Self::new(self.what.clone(), schema, partitions, self.limit, self.rows, produce);
            Arc::new(leaf) as Arc<dyn ExecutionPlan>
        }))
    }

    fn execute(&self, _: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let mut stream = RecordBatchReceiverStream::builder(self.schema(), BATCHES_AHEAD);
        let mut sink = Sink {
            to: stream.tx(),
            rows_max: context.session_config().batch_size(),
            left: self.limit,
            memory: MemoryConsumer::new("read").register(context.memory_pool()),
        };
        let (produce, taken) = (Arc::clone(&self.produce), Arc::clone(&self.taken));
        stream.spawn_blocking(move || produce(&taken, &mut sink));
        Ok(stream.build())
    }

    fn partition_statistics(&self, partition: Option<usize>) -> Result<Arc<Statistics>> {
        let mut statistics = Statistics::new_unknown(&self.schema());
        if let (Some(rows), None) = (self.rows, partition) {
            statistics.num_rows = Precision::Exact(rows);
        }
        Ok(Arc::new(statistics))
    }
}
