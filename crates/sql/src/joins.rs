//! Joins that can be stopped.
//!
//! The engine gives way where rows are read and where they are handed on. Between the two a join may look at a hundred
//! million pairs and find none that fits; its thread would be gone for hours, whatever the limits say, and with as many
//! such statements as there are threads nothing would be answered any more. So what a join asks of each batch of pairs
//! asks first whether there is time, and joins that find many give way with each batch.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::datatypes::{DataType, FieldRef, Schema};
use arrow::record_batch::RecordBatch;
use datafusion::common::Result as PlanResult;
use datafusion::common::tree_node::{Transformed, TreeNode as _};
use datafusion::logical_expr::ColumnarValue;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::physical_plan::joins::utils::JoinFilter;
use datafusion::physical_plan::joins::{CrossJoinExec, HashJoinExec, NestedLoopJoinExec, NestedLoopJoinExecBuilder};
use eye_query::Cancel;

use crate::error::Error;

/// Until when a statement may work.
#[derive(Clone, Debug)]
pub(crate) struct Stop {
    cancel: Arc<Cancel>,
    begun: Instant,
    time: Duration,
}

impl Stop {
    /// It has so much time from now on, unless it is cancelled.
    pub(crate) fn new(cancel: Arc<Cancel>, time: Duration) -> Self {
        Self { cancel, begun: Instant::now(), time }
    }

    fn check(&self) -> Result<(), Error> {
        self.cancel.check()?;
        if self.begun.elapsed() > self.time { Err(Error::out_of_time(self.time)) } else { Ok(()) }
    }
}

/// The same plan, whose joins stop.
///
/// # Errors
/// Those of the engine.
pub(crate) fn stoppable(plan: Arc<dyn ExecutionPlan>, stop: &Stop) -> PlanResult<Arc<dyn ExecutionPlan>> {
    let with_stop = |filter: &JoinFilter| {
        let condition = Arc::new(Condition { condition: Arc::clone(filter.expression()), stop: stop.clone() });
        JoinFilter::new(condition, filter.column_indices().to_vec(), Arc::clone(filter.schema()))
    };
    let wrap = |node: Arc<dyn ExecutionPlan>| -> PlanResult<Transformed<Arc<dyn ExecutionPlan>>> {
        let join: Arc<dyn ExecutionPlan> = if let Some(join) = node.downcast_ref::<HashJoinExec>() {
            match join.filter() {
                Some(filter) => join.builder().with_filter(Some(with_stop(filter))).build_exec()?,
                None => node,
            }
        } else if let Some(join) = node.downcast_ref::<NestedLoopJoinExec>() {
            let filter = join.filter().map(with_stop);
            Arc::new(NestedLoopJoinExecBuilder::from(join).with_filter(filter).build()?)
        } else if node.is::<CrossJoinExec>() {
            node
        } else {
            return Ok(Transformed::no(node));
        };
        Ok(Transformed::yes(Arc::new(CooperativeExec::new(join))))
    };
    Ok(plan.transform_up(wrap)?.data)
}

/// A condition that is not asked when there is no time left.
#[derive(Clone, Debug)]
struct Condition {
    condition: Arc<dyn PhysicalExpr>,
    stop: Stop,
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.condition.fmt(f)
    }
}

impl PartialEq for Condition {
    fn eq(&self, other: &Self) -> bool {
        self.condition.eq(&other.condition)
    }
}

impl Eq for Condition {}

impl Hash for Condition {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.condition.hash(state);
    }
}

impl PhysicalExpr for Condition {
    fn data_type(&self, schema: &Schema) -> PlanResult<DataType> {
        self.condition.data_type(schema)
    }

    fn nullable(&self, schema: &Schema) -> PlanResult<bool> {
        self.condition.nullable(schema)
    }

    fn evaluate(&self, batch: &RecordBatch) -> PlanResult<ColumnarValue> {
        self.stop.check()?;
        self.condition.evaluate(batch)
    }

    fn return_field(&self, schema: &Schema) -> PlanResult<FieldRef> {
        self.condition.return_field(schema)
    }

    fn children(&self) -> Vec<&Arc<dyn PhysicalExpr>> {
        vec![&self.condition]
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn PhysicalExpr>>) -> PlanResult<Arc<dyn PhysicalExpr>> {
        let [condition] = <[_; 1]>::try_from(children)
            .map_err(|_| datafusion::common::exec_datafusion_err!("a condition has one expression"))?;
        Ok(Arc::new(Self { condition, stop: self.stop.clone() }))
    }

    fn fmt_sql(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.condition.fmt_sql(f)
    }
}
