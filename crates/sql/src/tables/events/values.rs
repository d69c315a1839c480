//! Values inside `data` that a statement wants and files have in columns of their own: `data` itself need not be read then.
//!
//! The planner moves `data->>'path'` down to the table where most rows have such a column ([`crate::json::Operators`]); the
//! table takes a projection over itself if it is made of columns and such values only.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::take;
use arrow::datatypes::{Field, Int32Type, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use datafusion::common::Result;
use datafusion::physical_expr::expressions::{Column, Literal};
use datafusion::physical_expr::{PhysicalExpr, ScalarFunctionExpr};
use datafusion::physical_plan::projection::ProjectionExec;

use crate::error::Error;
use crate::json::Get;

/// What a column of a scan is.
#[derive(Clone, Debug)]
pub(super) enum Output {
    /// A column of the table.
    Column(String),
    /// What a function makes of the value at a path of `data`.
    Value(Get, Vec<String>),
}

/// The columns of a scan of the whole table's columns.
pub(super) fn plain(schema: &Schema) -> Vec<Output> {
    schema.fields().iter().map(|field| Output::Column(field.name().clone())).collect()
}

/// The paths of the values.
pub(super) fn paths(outputs: &[Output]) -> Vec<Vec<String>> {
    let mut paths: Vec<Vec<String>> = Vec::new();
    for output in outputs {
        if let Output::Value(_, path) = output
            && !paths.contains(path)
        {
            paths.push(path.clone());
        }
    }
    paths
}

/// The columns of a projection over a scan with this schema, and its schema; `None` if it is made of anything else.
pub(super) fn absorb(projection: &ProjectionExec, schema: &Schema) -> Option<(SchemaRef, Vec<Output>)> {
    let (mut fields, mut outputs) = (Vec::new(), Vec::new());
    for projected in projection.expr() {
        let output = output(&projected.expr, schema)?;
        let kind = projected.expr.data_type(schema).ok()?;
        let is_nullable = projected.expr.nullable(schema).ok()?;
        fields.push(Field::new(&projected.alias, kind, is_nullable));
        outputs.push(output);
    }
    let has_values = outputs.iter().any(|output| matches!(output, Output::Value(..)));
    has_values.then(|| (Arc::new(Schema::new(fields)) as SchemaRef, outputs))
}

fn output(expr: &Arc<dyn PhysicalExpr>, schema: &Schema) -> Option<Output> {
    let name = |expr: &Arc<dyn PhysicalExpr>| {
        Some(schema.fields().get(expr.downcast_ref::<Column>()?.index())?.name().clone())
    };
    if let Some(name) = name(expr) {
        return Some(Output::Column(name));
    }
    let function = expr.downcast_ref::<ScalarFunctionExpr>()?;
    let get = function.fun().inner().downcast_ref::<Get>()?;
    let (text, keys) = function.args().split_first()?;
    if name(text)? != "data" {
        return None;
    }
    let path = keys.iter().map(|key| crate::json::key_of(key.downcast_ref::<Literal>()?.value()));
    Some(Output::Value(get.clone(), path.collect::<Option<_>>()?))
}

/// A value's column for each row of a batch that was read with its path.
pub(super) fn value(batch: &RecordBatch, get: &Get, path: &[String]) -> Result<ArrayRef> {
    let apart = eye_store::data_column(path).and_then(|name| batch.column_by_name(&name));
    let Some(coded) = apart.and_then(|apart| apart.as_dictionary_opt::<Int32Type>()) else {
        let data = batch.column_by_name("data");
        let data = data.ok_or_else(|| Error::Internal("neither data nor its value was read".to_owned()))?;
        return get.find_all(data, |_| Some(path));
    };
    let texts = coded.values().as_string::<i32>();
    let values = get.made((0..texts.len()).map(|row| texts.is_valid(row).then(|| texts.value(row))), texts.len());
    Ok(take(&values, coded.keys(), None)?)
}
