//! `events`: slices of the snapshot, streamed; each row exactly once, as the snapshot has it.
//!
//! Conditions that a [`Filter`] can hold (times, application, category, name, user_id, session_id) are taken over by the
//! table and chosen by the same code as everywhere else; so is what the asker may see. A condition on one session goes
//! the direct way.

mod conditions;
mod values;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arrow::array::{ArrayRef, UInt32Array};
use arrow::compute::{cast, take_record_batch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use async_trait::async_trait;
use datafusion::catalog::Session;
use datafusion::common::Result;
use datafusion::datasource::{TableProvider, TableType};
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::projection::ProjectionExec;
use eye_query::{Filter, chosen};
use eye_store::columns::EventColumns;
use eye_store::{Columns, Slice, TableKind};

use super::View;
use super::produce::{Produce, Produced, Sink};
use crate::error::Error;
use conditions::absorb;
use values::Output;

/// If fewer than one in so many rows of a slice are chosen, only these are fetched.
const SPARSE: usize = 8;
/// Rows of one batch of a session.
const SESSION_ROWS: usize = 65_536;

/// The columns with their types: texts are views, whatever they are in a file.
pub(crate) fn schema() -> SchemaRef {
    let stored = TableKind::Events.schema();
    let fields = stored.fields().iter().map(|field| match field.data_type() {
        DataType::Utf8 => Field::new(field.name(), DataType::Utf8View, field.is_nullable()),
        _ => field.as_ref().clone(),
    });
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

/// The table.
#[derive(Debug)]
pub(crate) struct Events {
    view: View,
    schema: SchemaRef,
}

impl Events {
    pub(crate) fn new(view: View) -> Self {
        Self { view, schema: schema() }
    }
}

#[async_trait]
impl TableProvider for Events {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        let (_, absorbed) = absorb(filters);
        let answer = |is_absorbed| match is_absorbed {
            true => TableProviderFilterPushDown::Exact,
            false => TableProviderFilterPushDown::Unsupported,
        };
        Ok(absorbed.into_iter().map(answer).collect())
    }

    async fn scan(
        &self,
        session: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let schema = match projection {
            Some(projection) => Arc::new(self.schema.project(projection)?),
            None => Arc::clone(&self.schema),
        };
        let (filter, absorbed) = absorb(&filters.iter().collect::<Vec<_>>());
        if let Some((condition, _)) = filters.iter().zip(absorbed).find(|(_, is_absorbed)| !is_absorbed) {
            // Nobody else asks it any more.
            return Err(Error::Internal(format!("events cannot hold {condition}, which was left to it")).into());
        }
        let filter = Filter { allowed: self.view.allowed.clone(), ..filter };
        let what = format!("events {}", conditions::shown(&filter));
        let outputs = values::plain(&schema);
        let reader = Reader::new(&schema, outputs, filter, self.view.clone());
        if reader.filter.session_id.is_some() {
            let produce = move |_: &AtomicUsize, sink: &mut Sink| reader.read_session(sink);
            return Ok(Arc::new(Produced::new(what, schema, 1, limit, None, Arc::new(produce))));
        }
        let (view, from, to) = (self.view.clone(), reader.filter.from(), reader.filter.to());
        let slices = tokio::task::spawn_blocking(move || view.snapshot.slices(from, to)).await;
        let slices = slices.map_err(|error| Error::internal(&error))?.map_err(Error::Store)?;
        let is_known = reader.filter == Filter::default() && !slices.iter().any(Slice::may_hide_rows);
        let rows = is_known.then(|| slices.iter().map(Slice::rows).sum());
        let partitions = session.config().target_partitions().min(slices.len());
        let (slices, scanned) = (Arc::new(slices), Arc::clone(&schema));
        let narrowed = (reader.clone(), Arc::clone(&slices));
        let narrow = move |projection: &ProjectionExec| {
            let (schema, outputs) = values::absorb(projection, &scanned)?;
            let (reader, slices) = &narrowed;
            let reader = Reader::new(&schema, outputs, reader.filter.clone(), reader.view.clone());
            Some((schema, produce(reader, Arc::clone(slices))))
        };
        let leaf = Produced::new(what, schema, partitions, limit, rows, produce(reader, slices));
        Ok(Arc::new(leaf.with_narrow(Arc::new(narrow))))
    }
}

/// All partitions of a plan take slices from one row.
fn produce(reader: Reader, slices: Arc<Vec<Slice>>) -> Arc<Produce> {
    Arc::new(move |next: &AtomicUsize, sink: &mut Sink| reader.read_slices(&slices, next, sink))
}

/// Reads batches of one form.
#[derive(Clone)]
struct Reader {
    view: View,
    filter: Filter,
    columns: Columns,
    /// Values inside `data` that are read besides, by their paths.
    paths: Vec<Vec<String>>,
    outputs: Vec<Output>,
    schema: SchemaRef,
}

impl Reader {
    fn new(schema: &SchemaRef, outputs: Vec<Output>, filter: Filter, view: View) -> Self {
        let columns = outputs.iter().fold(Columns::NONE, |columns, output| match output {
            Output::Column(name) => columns | Columns::named(name),
            Output::Value(..) => columns,
        });
        Self { view, filter, columns, paths: values::paths(&outputs), outputs, schema: Arc::clone(schema) }
    }

    /// The columns that everything is in.
    fn in_columns(&self) -> Columns {
        if self.paths.is_empty() { self.columns } else { self.columns | Columns::DATA }
    }

    /// Takes slice after slice until none is left; others may take too.
    fn read_slices(&self, slices: &[Slice], next: &AtomicUsize, sink: &mut Sink) -> Result<()> {
        while let Some(slice) = slices.get(next.fetch_add(1, Ordering::Relaxed)) {
            self.view.cancel.check().map_err(Error::from)?;
            let Some(batch) = self.read_slice(slice)? else { continue };
            if !sink.send(&batch)? {
                break;
            }
        }
        Ok(())
    }

    fn read_slice(&self, slice: &Slice) -> Result<Option<RecordBatch>> {
        let rows = chosen(slice, &self.filter).map_err(Error::from)?;
        let count = match &rows {
            Some(rows) => rows.len(),
            None => slice.count().map_err(Error::Store)?,
        };
        if count == 0 {
            return Ok(None);
        }
        if self.schema.fields().is_empty() {
            return self.counted(count).map(Some);
        }
        let batch = match rows {
            Some(rows) if rows.len() < slice.rows() / SPARSE => {
                let mut columns = EventColumns::new(0);
                slice.fetch(&rows, self.in_columns(), &mut |event| columns.push(event)).map_err(Error::Store)?;
                columns.finish().map_err(Error::Store)?
            }
            rows => {
                let whole = match slice.batch(self.columns, &self.paths).map_err(Error::Store)? {
                    Some(batch) => batch,
                    None => {
                        let mut columns = EventColumns::new(0);
                        slice.visit(self.in_columns(), &mut |_, event| columns.push(event)).map_err(Error::Store)?;
                        columns.finish().map_err(Error::Store)?
                    }
                };
                match rows {
                    Some(rows) if rows.len() < whole.num_rows() => take_record_batch(&whole, &UInt32Array::from(rows))?,
                    _ => whole,
                }
            }
        };
        self.conform(&batch).map(Some)
    }

    fn read_session(&self, sink: &mut Sink) -> Result<()> {
        let Some(session_id) = self.filter.session_id.as_deref() else { return Ok(()) };
        let mut columns = EventColumns::new(0);
        let mut outcome = Ok(true);
        let mut flush = |columns: &mut EventColumns| -> Result<bool> {
            self.view.cancel.check().map_err(Error::from)?;
            let batch = columns.finish().map_err(Error::Store)?;
            sink.send(&self.conform(&batch)?)
        };
        let read = self.columns | self.filter.columns();
        let visited = self.view.snapshot.session(session_id, read, &mut |event| {
            if matches!(outcome, Ok(true)) && self.filter.matches(event) {
                columns.push(event);
                if columns.len() >= SESSION_ROWS {
                    outcome = flush(&mut columns);
                }
            }
        });
        visited.map_err(Error::Store)?;
        if outcome? && !columns.is_empty() {
            flush(&mut columns)?;
        }
        Ok(())
    }

    /// A batch of so many rows without a column.
    fn counted(&self, rows: usize) -> Result<RecordBatch> {
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        Ok(RecordBatch::try_new_with_options(Arc::clone(&self.schema), Vec::new(), &options)?)
    }

    /// The same rows with the columns of the schema, in its types.
    fn conform(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        if self.schema.fields().is_empty() {
            return self.counted(batch.num_rows());
        }
        let columns = self.schema.fields().iter().zip(&self.outputs).map(|(field, output)| -> Result<ArrayRef> {
            let name = match output {
                Output::Column(name) => name,
                Output::Value(get, path) => return values::value(batch, get, path),
            };
            let column = batch.column_by_name(name);
            let column = column.ok_or_else(|| Error::Internal(format!("no column {name} was read")))?;
            match column.data_type() == field.data_type() {
                true => Ok(Arc::clone(column)),
                false => Ok(cast(column, field.data_type())?),
            }
        });
        Ok(RecordBatch::try_new(Arc::clone(&self.schema), columns.collect::<Result<_>>()?)?)
    }
}
