//! `date_trunc` over all times: the engine's counts in nanoseconds, which end in 2262, and one time beyond them would
//! stop a statement.
//!
//! Times in microseconds that are UTC or have no zone are cut here; everything else is the engine's.

use std::sync::Arc;

use arrow::array::{Array as _, AsArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, FieldRef, TimeUnit, TimestampMicrosecondType};
use datafusion::common::Result;
use datafusion::logical_expr::sort_properties::{ExprProperties, SortProperties};
use datafusion::logical_expr::{
    ColumnarValue, Documentation, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
};
use datafusion::scalar::ScalarValue;
use jiff::SignedDuration;
use jiff::civil::{Date, date};

const SECOND: i64 = 1_000_000;
const DAY: i64 = 86_400 * SECOND;
/// The day from which days are counted.
const EPOCH: Date = date(1970, 1, 1);
/// The days of 400 years, after which the calendar repeats itself.
const CYCLE_DAYS: i64 = 146_097;

/// The engine's function, and ours in front of it.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Truncating {
    inner: Arc<ScalarUDF>,
}

/// The function, over all times if it is the one that cuts them.
pub(crate) fn truncating(function: Arc<ScalarUDF>) -> Arc<ScalarUDF> {
    match function.name() {
        "date_trunc" => Arc::new(ScalarUDF::new_from_impl(Truncating { inner: function })),
        _ => function,
    }
}

impl ScalarUDFImpl for Truncating {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn aliases(&self) -> &[String] {
        self.inner.aliases()
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn return_type(&self, kinds: &[DataType]) -> Result<DataType> {
        self.inner.return_type(kinds)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        self.inner.return_field_from_args(args)
    }

    fn output_ordering(&self, inputs: &[ExprProperties]) -> Result<SortProperties> {
        self.inner.output_ordering(inputs)
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.inner.documentation()
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        match truncated(&args.args) {
            Some(truncated) => Ok(truncated),
            None => self.inner.invoke_with_args(args),
        }
    }
}

/// What is left of the times; `None` if that is for the engine to say.
fn truncated(args: &[ColumnarValue]) -> Option<ColumnarValue> {
    let [ColumnarValue::Scalar(unit), times] = args else { return None };
    let unit = Unit::named(&unit.try_as_str().flatten()?.to_lowercase())?;
    let is_utc = |zone: &Option<Arc<str>>| zone.as_deref().is_none_or(|zone| zone == "UTC");
    match times {
        ColumnarValue::Scalar(ScalarValue::TimestampMicrosecond(micros, zone)) if is_utc(zone) => {
            let micros = micros.map(|micros| unit.start(micros));
            Some(ColumnarValue::Scalar(ScalarValue::TimestampMicrosecond(micros, zone.clone())))
        }
        ColumnarValue::Array(times) => match times.data_type() {
            DataType::Timestamp(TimeUnit::Microsecond, zone) if is_utc(zone) => {
                let times = times.as_primitive::<TimestampMicrosecondType>();
                let starts: TimestampMicrosecondArray = times.unary(|micros| unit.start(micros));
                Some(ColumnarValue::Array(Arc::new(starts.with_timezone_opt(zone.clone()))))
            }
            _ => None,
        },
        ColumnarValue::Scalar(_) => None,
    }
}

/// What a time is cut to.
#[derive(Clone, Copy)]
enum Unit {
    /// So many microseconds.
    Micros(i64),
    Week,
    /// So many months, which are a whole part of a year.
    Months(i8),
}

impl Unit {
    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "microsecond" => Self::Micros(1),
            "millisecond" => Self::Micros(1_000),
            "second" => Self::Micros(SECOND),
            "minute" => Self::Micros(60 * SECOND),
            "hour" => Self::Micros(3_600 * SECOND),
            "day" => Self::Micros(DAY),
            "week" => Self::Week,
            "month" => Self::Months(1),
            "quarter" => Self::Months(3),
            "year" => Self::Months(12),
            _ => return None,
        })
    }

    /// When the one begins that a time lies in.
    fn start(self, micros: i64) -> i64 {
        let day = micros.div_euclid(DAY);
        match self {
            Self::Micros(size) => micros.saturating_sub(micros.rem_euclid(size)),
            // The first day of all was a Thursday.
            Self::Week => (day - (day + 3).rem_euclid(7)).saturating_mul(DAY),
            Self::Months(count) => {
                // The library's years end with 9999, those of times do not.
                let cycle = day.div_euclid(CYCLE_DAYS) * CYCLE_DAYS;
                let on = EPOCH + SignedDuration::from_hours(24 * (day - cycle));
                let first = date(on.year(), on.month() - (on.month() - 1) % count, 1);
                (cycle + first.duration_since(EPOCH).as_hours() / 24).saturating_mul(DAY)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn months_go_on_where_the_years_of_the_library_end() {
        // A day of 2026, and the same day 10,000 years later.
        let (micros, later) = (1_787_231_655_678_901, 25 * CYCLE_DAYS * DAY);
        for unit in ["month", "quarter", "year"].map(|name| Unit::named(name).unwrap()) {
            assert_eq!(unit.start(micros + later), unit.start(micros) + later);
            // No time is too early or too late.
            assert_eq!(unit.start(i64::MIN), i64::MIN);
            assert!(unit.start(i64::MAX) < i64::MAX);
        }
    }
}
