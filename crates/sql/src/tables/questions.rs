//! The questions as tables: `SELECT * FROM trend('{"measure": "sessions"}')`. One definition, the same figures.
//!
//! | function | a row |
//! |---|---|
//! | `trend` | a value: `time`, a column for each field of the breakdown, `rest`, `value`, with `compare` also `previous` |
//! | `funnel` | a step of a series: `value`, `rest`, `total`, `step`, `line`, `count`, shares and times |
//! | `retention` | a cell: `cohort`, `size`, `period`, `count` |
//! | `paths` | a step of the tree: `step`, `path`, `label`, `units`, `ended` |

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use arrow::array::{
    ArrayRef, BooleanArray, Float64Array, Int64Array, ListBuilder, StringArray, StringBuilder,
    TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use datafusion::catalog::{Session, TableFunctionArgs, TableFunctionImpl};
use datafusion::common::Result;
use datafusion::datasource::{TableProvider, TableType};
use datafusion::logical_expr::Expr;
use datafusion::physical_plan::ExecutionPlan;
use eye_event::Timestamp;
use eye_query::{Figure, FunnelAnswer, Measure, PathNodeOut, PathsOut, RetentionOut, SeriesOut, Statistic, Trend};

use super::View;
use super::produce::{Produced, Sink};
use crate::error::Error;
use crate::questions::Questions;

/// Which question.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Trend,
    Funnel,
    Retention,
    Paths,
}

/// A question as a function that gives a table.
#[derive(Clone)]
pub(crate) struct Function {
    kind: Kind,
    view: View,
    questions: Arc<dyn Questions>,
}

/// The functions, by name.
pub(crate) fn functions(view: &View, questions: &Arc<dyn Questions>) -> Vec<(&'static str, Function)> {
    let kinds =
        [("trend", Kind::Trend), ("funnel", Kind::Funnel), ("retention", Kind::Retention), ("paths", Kind::Paths)];
    let function = |kind| Function { kind, view: view.clone(), questions: Arc::clone(questions) };
    kinds.into_iter().map(|(name, kind)| (name, function(kind))).collect()
}

impl fmt::Debug for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.kind)
    }
}

impl TableFunctionImpl for Function {
    fn call_with_args(&self, args: TableFunctionArgs<'_, '_>) -> Result<Arc<dyn TableProvider>> {
        let body = match args.exprs() {
            [] => "{}",
            [Expr::Literal(text, _)] => text.try_as_str().flatten().ok_or_else(|| wrong(self.kind))?,
            _ => return Err(wrong(self.kind).into()),
        };
        let (view, allowed) = (self.view.clone(), self.view.allowed.clone());
        let (schema, answer): (Schema, Arc<Answer>) = match self.kind {
            Kind::Trend => {
                let query = self.questions.trend(body, allowed).map_err(Error::invalid)?;
                let names: Vec<String> = query.breakdown.iter().map(ToString::to_string).collect();
                let schema = trend_schema(&names, query.compare);
                let ask = move || {
                    let trend = eye_query::trend(&*view.snapshot, &query, &view.cancel)?;
                    Ok(trend_rows(&trend, nothing_of(&query.measure)))
                };
                (schema, Arc::new(ask))
            }
            Kind::Funnel => {
                let query = self.questions.funnel(body, allowed).map_err(Error::invalid)?;
                let ask = move || Ok(funnel_rows(&eye_query::funnel(&*view.snapshot, &query, &view.cancel)?));
                (funnel_schema(), Arc::new(ask))
            }
            Kind::Retention => {
                let query = self.questions.retention(body, allowed).map_err(Error::invalid)?;
                let ask = move || Ok(retention_rows(&eye_query::retention(&*view.snapshot, &query, &view.cancel)?));
                (retention_schema(), Arc::new(ask))
            }
            Kind::Paths => {
                let query = self.questions.paths(body, allowed).map_err(Error::invalid)?;
                let ask = move || Ok(paths_rows(&eye_query::paths(&*view.snapshot, &query, &view.cancel)?));
                (paths_schema(), Arc::new(ask))
            }
        };
        Ok(Arc::new(Question { kind: self.kind, schema: Arc::new(schema), answer }))
    }
}

fn wrong(kind: Kind) -> Error {
    let name = format!("{kind:?}").to_lowercase();
    Error::invalid(format!("{name} takes one text, the JSON that POST /v1/query/{name} takes: {name}('{{…}}')"))
}

/// Gives the columns of the answer.
type Answer = dyn Fn() -> std::result::Result<Vec<ArrayRef>, eye_query::Error> + Send + Sync;

/// One question that was asked.
struct Question {
    kind: Kind,
    schema: SchemaRef,
    answer: Arc<Answer>,
}

impl fmt::Debug for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.kind)
    }
}

#[async_trait]
impl TableProvider for Question {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Temporary
    }

    async fn scan(
        &self,
        _: &dyn Session,
        projection: Option<&Vec<usize>>,
        _: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let projection = projection.cloned().unwrap_or_else(|| (0..self.schema.fields().len()).collect());
        let projected = Arc::new(self.schema.project(&projection)?);
        let (schema, answer) = (Arc::clone(&self.schema), Arc::clone(&self.answer));
        let produce = move |_: &AtomicUsize, sink: &mut Sink| -> Result<()> {
            let batch = RecordBatch::try_new(Arc::clone(&schema), answer().map_err(Error::from)?)?;
            sink.send(&batch.project(&projection)?)?;
            Ok(())
        };
        let what = format!("{:?}", self.kind).to_lowercase();
        Ok(Arc::new(Produced::new(what, projected, 1, limit, None, Arc::new(produce))))
    }
}

fn time(name: &str) -> Field {
    Field::new(name, DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())), false)
}

fn text(name: &str, is_nullable: bool) -> Field {
    Field::new(name, DataType::Utf8, is_nullable)
}

fn flag(name: &str) -> Field {
    Field::new(name, DataType::Boolean, false)
}

fn whole(name: &str, is_nullable: bool) -> Field {
    Field::new(name, DataType::Int64, is_nullable)
}

fn real(name: &str) -> Field {
    Field::new(name, DataType::Float64, true)
}

fn times(values: impl Iterator<Item = Timestamp>) -> ArrayRef {
    let values = TimestampMicrosecondArray::from_iter_values(values.map(|time| time.micros()));
    Arc::new(values.with_timezone("UTC"))
}

fn counts(values: impl Iterator<Item = u64>) -> ArrayRef {
    Arc::new(Int64Array::from_iter_values(values.map(signed)))
}

fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn texts<T: AsRef<str>>(values: impl Iterator<Item = Option<T>>) -> ArrayRef {
    Arc::new(values.collect::<StringArray>())
}

fn number(figure: Figure) -> Option<f64> {
    match figure {
        Figure::Count(count) => Some(count as f64),
        Figure::Real(real) => Some(real),
        Figure::Nothing(()) => None,
    }
}

fn trend_schema(breakdown: &[String], compare: bool) -> Schema {
    let fields = breakdown.iter().map(|name| text(name, true));
    let previous = compare.then(|| real("previous"));
    Schema::new(
        [time("time").with_nullable(compare)]
            .into_iter()
            .chain(fields)
            .chain([flag("rest"), real("value")])
            .chain(previous)
            .collect::<Vec<_>>(),
    )
}

/// What a measure gives where there are no events.
fn nothing_of(measure: &Measure) -> Figure {
    match measure {
        Measure::Events | Measure::Units(_) | Measure::Of(Statistic::Distinct, _) => Figure::Count(0),
        Measure::Of(Statistic::Sum, _) => Figure::Real(0.0),
        Measure::Of(Statistic::Avg | Statistic::Min | Statistic::Max | Statistic::Percentile(_), _) => {
            Figure::Nothing(())
        }
    }
}

/// A row of a trend.
struct TrendRow<'t> {
    series: &'t SeriesOut,
    /// None where only the period before has an interval.
    time: Option<Timestamp>,
    value: Option<f64>,
    previous: Option<f64>,
}

/// The rows of each series. One that only one of the periods has, such as a rest, is nothing in the other.
///
/// The one period ends where the other begins, so their intervals are beside each other from the last one on.
fn beside<'t>(trend: &'t Trend, nothing: Figure) -> Vec<TrendRow<'t>> {
    let (times, now) = (&trend.period.times, trend.period.series.as_slice());
    let previous = trend.previous.as_ref();
    let before = previous.map(|previous| previous.series.as_slice()).unwrap_or_default();
    let length_before = previous.map_or(0, |previous| previous.times.len());
    let length = times.len().max(length_before);
    let gone = before.iter().filter(|one| find(now, one).is_none());
    let mut rows = Vec::new();
    for series in now.iter().chain(gone) {
        let (mine, other) = (find(now, series), find(before, series));
        for row in 0..length {
            // The place in each period, if it has one here.
            let place = (row + times.len()).checked_sub(length);
            let place_before = (row + length_before).checked_sub(length);
            rows.push(TrendRow {
                series,
                time: place.and_then(|place| times.get(place).copied()),
                value: place.and_then(|place| figure(mine, place, nothing)),
                previous: place_before.and_then(|place| figure(other, place, nothing)),
            });
        }
    }
    rows
}

/// The same series among others.
fn find<'s>(all: &'s [SeriesOut], series: &SeriesOut) -> Option<&'s SeriesOut> {
    all.iter().find(|one| one.rest == series.rest && one.breakdown == series.breakdown)
}

fn figure(series: Option<&SeriesOut>, place: usize, nothing: Figure) -> Option<f64> {
    match series {
        Some(series) => series.values.get(place).copied().and_then(number),
        None => number(nothing),
    }
}

fn trend_rows(trend: &Trend, nothing: Figure) -> Vec<ArrayRef> {
    let rows = beside(trend, nothing);
    let times = rows.iter().map(|row| row.time.map(Timestamp::micros));
    let mut columns: Vec<ArrayRef> = vec![Arc::new(times.collect::<TimestampMicrosecondArray>().with_timezone("UTC"))];
    for field in 0..trend.breakdown.len() {
        columns.push(texts(rows.iter().map(|row| row.series.breakdown.get(field).and_then(Option::as_ref))));
    }
    columns.push(Arc::new(BooleanArray::from_iter(rows.iter().map(|row| Some(row.series.rest)))));
    columns.push(Arc::new(Float64Array::from_iter(rows.iter().map(|row| row.value))));
    if trend.previous.is_some() {
        columns.push(Arc::new(Float64Array::from_iter(rows.iter().map(|row| row.previous))));
    }
    columns
}

fn funnel_schema() -> Schema {
    Schema::new(vec![
        text("value", true),
        flag("rest"),
        flag("total"),
        whole("step", false),
        text("line", false),
        whole("count", false),
        real("of_first"),
        real("of_previous"),
        whole("median_ms", true),
        whole("p90_ms", true),
        whole("dropped", false),
        Field::new("dropped_samples", DataType::List(Arc::new(text("item", true))), false),
    ])
}

fn funnel_rows(answer: &FunnelAnswer) -> Vec<ArrayRef> {
    let total = answer.total.iter().enumerate().map(|step| (None, false, true, step));
    let series = answer
        .series
        .iter()
        .flat_map(|one| one.steps.iter().enumerate().map(|step| (one.value.as_deref(), one.rest, false, step)));
    let rows: Vec<_> = total.chain(series).collect();
    let steps = || rows.iter().map(|(_, _, _, (_, step))| *step);
    let mut samples = ListBuilder::new(StringBuilder::new());
    for step in steps() {
        step.dropped_samples.iter().for_each(|id| samples.values().append_value(id));
        samples.append(true);
    }
    vec![
        texts(rows.iter().map(|(value, ..)| *value)),
        Arc::new(BooleanArray::from_iter(rows.iter().map(|(_, rest, ..)| Some(*rest)))),
        Arc::new(BooleanArray::from_iter(rows.iter().map(|(_, _, total, _)| Some(*total)))),
        counts(rows.iter().map(|(.., (number, _))| *number as u64 + 1)),
        texts(steps().map(|step| Some(&step.line))),
        counts(steps().map(|step| step.count)),
        Arc::new(Float64Array::from_iter(steps().map(|step| step.of_first))),
        Arc::new(Float64Array::from_iter(steps().map(|step| step.of_previous))),
        Arc::new(Int64Array::from_iter(steps().map(|step| step.median_ms))),
        Arc::new(Int64Array::from_iter(steps().map(|step| step.p90_ms))),
        counts(steps().map(|step| step.dropped)),
        Arc::new(samples.finish()),
    ]
}

fn retention_schema() -> Schema {
    Schema::new(vec![time("cohort"), whole("size", false), whole("period", false), whole("count", false)])
}

fn retention_rows(answer: &RetentionOut) -> Vec<ArrayRef> {
    let cells: Vec<_> = answer
        .cohorts
        .iter()
        .flat_map(|cohort| cohort.cells.iter().enumerate().map(move |(period, count)| (cohort, period, *count)))
        .collect();
    vec![
        times(cells.iter().map(|(cohort, ..)| cohort.start)),
        counts(cells.iter().map(|(cohort, ..)| cohort.size)),
        counts(cells.iter().map(|(_, period, _)| *period as u64)),
        counts(cells.iter().map(|(.., count)| *count)),
    ]
}

fn paths_schema() -> Schema {
    Schema::new(vec![
        whole("step", false),
        Field::new("path", DataType::List(Arc::new(text("item", true))), false),
        text("label", true),
        whole("units", false),
        whole("ended", false),
    ])
}

fn paths_rows(answer: &PathsOut) -> Vec<ArrayRef> {
    let mut rows: Vec<(Vec<Option<&str>>, &PathNodeOut)> = Vec::new();
    let mut left: Vec<(Vec<Option<&str>>, &PathNodeOut)> =
        answer.children.iter().rev().map(|root| (Vec::new(), root)).collect();
    while let Some((before, node)) = left.pop() {
        let mut path = before;
        path.push(node.label.as_deref());
        left.extend(node.children.iter().rev().map(|child| (path.clone(), child)));
        rows.push((path, node));
    }
    let mut paths = ListBuilder::new(StringBuilder::new());
    for (path, _) in &rows {
        path.iter().for_each(|label| paths.values().append_option(*label));
        paths.append(true);
    }
    vec![
        counts(rows.iter().map(|(path, _)| path.len() as u64)),
        Arc::new(paths.finish()),
        texts(rows.iter().map(|(_, node)| node.label.as_ref())),
        counts(rows.iter().map(|(_, node)| node.units)),
        counts(rows.iter().map(|(_, node)| node.ended)),
    ]
}
