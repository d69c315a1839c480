//! `rejections`: what was refused, and why.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::Session;
use datafusion::common::Result;
use datafusion::datasource::{TableProvider, TableType};
use datafusion::logical_expr::Expr;
use datafusion::physical_plan::ExecutionPlan;
use eye_query::Source;
use eye_store::TableKind;
use eye_store::columns::RejectionColumns;

use super::View;
use super::produce::{Produced, Sink};
use crate::error::Error;

/// Rows of one batch.
const BATCH_ROWS: usize = 8_192;

/// The table.
#[derive(Debug)]
pub(crate) struct Rejections {
    view: View,
}

impl Rejections {
    pub(crate) fn new(view: View) -> Self {
        Self { view }
    }
}

#[async_trait]
impl TableProvider for Rejections {
    fn schema(&self) -> SchemaRef {
        TableKind::Rejections.schema()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        _: &dyn Session,
        projection: Option<&Vec<usize>>,
        _: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let schema = self.schema();
        let projection = projection.cloned().unwrap_or_else(|| (0..schema.fields().len()).collect());
        let projected = Arc::new(schema.project(&projection)?);
        let view = self.view.clone();
        let produce = move |_: &AtomicUsize, sink: &mut Sink| read(&view, &projection, sink);
        Ok(Arc::new(Produced::new("rejections".to_owned(), projected, 1, limit, None, Arc::new(produce))))
    }
}

fn read(view: &View, projection: &[usize], sink: &mut Sink) -> Result<()> {
    let mut columns = RejectionColumns::new(0);
    let mut outcome = Ok(true);
    let mut flush = |columns: &mut RejectionColumns| -> Result<bool> {
        view.cancel.check().map_err(Error::from)?;
        let batch = columns.finish().map_err(Error::Store)?;
        sink.send(&batch.project(projection)?)
    };
    Source::rejections(&*view.snapshot, &mut |rejection| {
        let is_allowed =
            view.allowed.as_ref().is_none_or(|allowed| allowed.iter().any(|name| name == rejection.application));
        if !is_allowed || !matches!(outcome, Ok(true)) {
            return;
        }
        columns.push(rejection);
        if columns.len() >= BATCH_ROWS {
            outcome = flush(&mut columns);
        }
    })
    .map_err(Error::Store)?;
    if outcome? && !columns.is_empty() {
        flush(&mut columns)?;
    }
    Ok(())
}
