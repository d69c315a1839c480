//! Conditions of a statement that a [`Filter`] can hold.

use datafusion::logical_expr::{BinaryExpr, Expr, Operator};
use datafusion::scalar::ScalarValue;
use eye_event::Timestamp;
use eye_query::Filter;

/// The conditions as a filter, and which of them it holds; all of them must be met.
pub(super) fn absorb(conditions: &[&Expr]) -> (Filter, Vec<bool>) {
    let mut filter = Filter::default();
    let absorbed = conditions.iter().map(|condition| add(&mut filter, condition)).collect();
    (filter, absorbed)
}

/// Adds a condition. False, and nothing changed, if the filter cannot hold it.
fn add(filter: &mut Filter, condition: &Expr) -> bool {
    let Expr::BinaryExpr(BinaryExpr { left, op, right }) = condition else { return false };
    let (column, op, literal) = match (&**left, &**right) {
        (Expr::Column(column), Expr::Literal(literal, _)) => (column, *op, literal),
        (Expr::Literal(literal, _), Expr::Column(column)) => match op.swap() {
            Some(op) => (column, op, literal),
            None => return false,
        },
        _ => return false,
    };
    if column.name == "timestamp" {
        return time_of(literal).is_some_and(|micros| add_time(filter, op, micros));
    }
    let Some(Some(text)) = (op == Operator::Eq).then(|| literal.try_as_str()).flatten() else { return false };
    let place = match column.name.as_str() {
        "application" => &mut filter.application,
        "category" => &mut filter.category,
        "name" => &mut filter.name,
        "session_id" => &mut filter.session_id,
        "user_id" => &mut filter.user_id,
        _ => return false,
    };
    match place {
        None => *place = Some(text.to_owned()),
        Some(known) if known == text => {}
        Some(_) => rule_out(filter),
    }
    true
}

/// No event has two values: the filter's range becomes empty, and no condition makes it wider again.
fn rule_out(filter: &mut Filter) {
    let never = Some(Timestamp::from_micros(0));
    (filter.from, filter.to) = (never, never);
}

fn time_of(literal: &ScalarValue) -> Option<i64> {
    match literal {
        ScalarValue::TimestampMicrosecond(micros, Some(zone)) if zone.as_ref() == "UTC" => *micros,
        _ => None,
    }
}

/// Narrows the range. A filter's range has its beginning and not its end.
fn add_time(filter: &mut Filter, op: Operator, micros: i64) -> bool {
    let after = || micros.checked_add(1).map(Timestamp::from_micros);
    let at = Some(Timestamp::from_micros(micros));
    let (from, to) = match op {
        Operator::GtEq => (at, None),
        Operator::Gt => (after(), None),
        Operator::Lt => (None, at),
        Operator::LtEq => (None, after()),
        Operator::Eq => (at, after()),
        _ => return false,
    };
    if from.is_none() && to.is_none() {
        return false;
    }
    if op == Operator::Eq && to.is_none() {
        return false;
    }
    filter.from = filter.from.max(from);
    filter.to = [filter.to, to].into_iter().flatten().min();
    true
}

/// The filter as a plan shows it.
pub(super) fn shown(filter: &Filter) -> String {
    let texts = [
        ("application", &filter.application),
        ("category", &filter.category),
        ("name", &filter.name),
        ("session_id", &filter.session_id),
        ("user_id", &filter.user_id),
    ];
    let texts = texts.into_iter().filter_map(|(name, text)| Some(format!("{name}={:?}", text.as_ref()?)));
    let from = filter.from.map(|from| format!("from={from}"));
    let to = filter.to.map(|to| format!("to={to}"));
    format!("[{}]", texts.chain(from).chain(to).collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
mod tests {
    use datafusion::prelude::{col, lit};

    use super::*;

    fn at(micros: i64) -> Expr {
        lit(ScalarValue::TimestampMicrosecond(Some(micros), Some("UTC".into())))
    }

    fn held(conditions: &[Expr]) -> (Filter, Vec<bool>) {
        absorb(&conditions.iter().collect::<Vec<_>>())
    }

    #[test]
    fn ranges_are_narrowed_from_both_sides() {
        let time = || col("timestamp");
        let (filter, held) = held(&[time().gt_eq(at(5)), time().gt(at(9)), at(100).gt_eq(time()), time().lt(at(90))]);
        assert_eq!(held, [true; 4]);
        assert_eq!((filter.from.unwrap().micros(), filter.to.unwrap().micros()), (10, 90));
        let (filter, _) = super::absorb(&[&time().eq(at(7))]);
        assert_eq!((filter.from.unwrap().micros(), filter.to.unwrap().micros()), (7, 8));
    }

    #[test]
    fn what_a_filter_cannot_hold_is_left() {
        let (filter, held) = held(&[
            col("category").eq(lit("a")),
            col("name").not_eq(lit("x")),
            col("event_id").eq(lit("x")),
            col("timestamp").eq(lit("2026-01-01")),
            col("category").eq(lit(ScalarValue::Utf8(None))),
            col("timestamp").lt_eq(at(i64::MAX)),
        ]);
        assert_eq!(held, [true, false, false, false, false, false]);
        assert_eq!(filter, Filter { category: Some("a".into()), ..Filter::default() });
    }

    #[test]
    fn two_values_of_one_column_are_held_as_an_empty_range() {
        let either_first = [
            [col("category").eq(lit("a")), col("category").eq(lit("b")), col("timestamp").gt_eq(at(-5))],
            [col("timestamp").lt(at(90)), col("user_id").eq(lit("a")), lit("b").eq(col("user_id"))],
        ];
        for conditions in either_first {
            let (filter, held) = held(&conditions);
            assert_eq!(held, [true; 3]);
            assert!(filter.from.unwrap() >= filter.to.unwrap(), "{filter:?}");
            assert!(!filter.slice_can_match((Timestamp::from_micros(i64::MIN), Timestamp::from_micros(i64::MAX))));
        }
        let (filter, held) = held(&[col("category").eq(lit("a")), col("category").eq(lit("a"))]);
        assert_eq!(held, [true; 2]);
        assert_eq!(filter, Filter { category: Some("a".into()), ..Filter::default() });
    }
}
