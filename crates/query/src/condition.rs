//! Conditions of a query line, as a structure, and whether one event meets them.
//!
//! What a comparison with a payload means, depends on what stands in the payload and on how the value was written:
//!
//! | value | the payload has | equal if |
//! |---|---|---|
//! | `10` | a number | the numbers are equal |
//! | `10`, `pro`, `true` | anything else | the texts are equal |
//! | `"10"` | a string | the texts are equal |
//! | `"10"` | no string | never |
//!
//! `<` and its like compare a number with numbers alone, and any other value with strings alone, by their bytes. Numbers
//! are compared exactly, however many digits they have.

use std::cmp::Ordering;
use std::hash::{Hash, Hasher};

use eye_store::{Columns, StoredEvent};

use crate::decimal;
use crate::field::Field;
use crate::filter::ProblemFilter;
use crate::json;
use crate::reads::Reads;

/// What must hold.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Expr {
    /// All of them; there are at least two.
    All(Vec<Self>),
    /// At least one of them; there are at least two.
    Any(Vec<Self>),
    /// The opposite; never of another opposite.
    Not(Box<Self>),
    /// This.
    Is(Condition),
}

/// One condition.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Condition {
    /// The field has a value, and it compares so with at least one of these. A field without a value never does.
    Compare {
        /// What is compared.
        field: Field,
        /// How.
        op: Op,
        /// With what; at least one.
        values: Vec<Literal>,
    },
    /// The field has a value.
    Has(Field),
    /// The event has this problem.
    Problem(ProblemFilter),
}

/// How a value is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Op {
    /// It is the same.
    Is,
    /// It contains this text, in any case of its letters.
    Contains,
    /// It is smaller.
    Less,
    /// It is smaller or the same.
    LessOrIs,
    /// It is larger.
    More,
    /// It is larger or the same.
    MoreOrIs,
}

/// A value as a line says it.
#[derive(Clone, Debug)]
pub struct Literal {
    text: String,
    lower: String,
    is_quoted: bool,
    /// What it is nearest to, if it is a number; infinite if it is too large.
    number: Option<f64>,
}

impl Literal {
    /// A value in quotes: a text.
    #[must_use]
    pub fn quoted(text: impl Into<String>) -> Self {
        let text = text.into();
        Self { lower: text.to_lowercase(), text, is_quoted: true, number: None }
    }

    /// A value without quotes: a number if it can be read as one.
    #[must_use]
    pub fn bare(text: impl Into<String>) -> Self {
        let text = text.into();
        Self { lower: text.to_lowercase(), number: json::rounded(&text), text, is_quoted: false }
    }

    /// Its text.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// True if it was written in quotes.
    #[must_use]
    pub const fn is_quoted(&self) -> bool {
        self.is_quoted
    }
}

impl PartialEq for Literal {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text && self.is_quoted == other.is_quoted
    }
}

impl Eq for Literal {}

impl Hash for Literal {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (&self.text, self.is_quoted).hash(state);
    }
}

impl Expr {
    /// True if the event meets it.
    #[must_use]
    pub fn matches(&self, stored: &StoredEvent<'_>) -> bool {
        match self {
            Self::All(all) => all.iter().all(|expr| expr.matches(stored)),
            Self::Any(any) => any.iter().any(|expr| expr.matches(stored)),
            Self::Not(expr) => !expr.matches(stored),
            Self::Is(condition) => condition.matches(stored),
        }
    }

    /// The columns that [`Expr::matches`] reads.
    #[must_use]
    pub fn columns(&self) -> Columns {
        self.reads().in_columns()
    }

    /// What it looks at.
    pub(crate) fn reads(&self) -> Reads {
        match self {
            Self::All(exprs) | Self::Any(exprs) => {
                exprs.iter().fold(Reads::default(), |reads, expr| reads | expr.reads())
            }
            Self::Not(expr) => expr.reads(),
            Self::Is(Condition::Problem(_)) => Columns::PROBLEMS.into(),
            Self::Is(Condition::Compare { field, .. } | Condition::Has(field)) => Reads::field(field),
        }
    }

    /// The one text that this field must have, if the expression says so plainly.
    pub(crate) fn only(&self, wanted: &Field) -> Option<&str> {
        match self {
            Self::All(all) => all.iter().find_map(|expr| expr.only(wanted)),
            Self::Is(Condition::Compare { field, op: Op::Is, values }) if field == wanted => match &values[..] {
                [value] => Some(value.text()),
                _ => None,
            },
            _ => None,
        }
    }
}

impl Condition {
    fn matches(&self, stored: &StoredEvent<'_>) -> bool {
        match self {
            Self::Problem(problem) => problem.matches(stored.event.problems),
            Self::Compare { field, .. } | Self::Has(field) => self.meets(field.text(stored)),
        }
    }

    /// True if a row meets it whose column has this text. Not for problems.
    pub(crate) fn meets(&self, column: Option<&str>) -> bool {
        let (Some(column), Self::Compare { field, .. } | Self::Has(field)) = (column, self) else { return false };
        match field.path() {
            Some(path) => json::find(column, path).is_some_and(|found| self.meets_json(found)),
            None => match self {
                Self::Compare { op, values, .. } => values.iter().any(|value| text_meets(*op, column, value)),
                _ => true,
            },
        }
    }

    /// The same of the JSON text of the value that the field leads to.
    pub(crate) fn meets_json(&self, found: &str) -> bool {
        match self {
            Self::Problem(_) => false,
            Self::Has(_) => json::plain(found).is_some(),
            Self::Compare { op, values, .. } => values.iter().any(|value| json_meets(*op, found, value)),
        }
    }
}

fn text_meets(op: Op, text: &str, value: &Literal) -> bool {
    match op {
        Op::Is => text == value.text,
        Op::Contains => contains(text, value),
        Op::Less | Op::LessOrIs | Op::More | Op::MoreOrIs => is_order(op, text.cmp(&value.text)),
    }
}

/// The rule of this file's header.
fn json_meets(op: Op, found: &str, value: &Literal) -> bool {
    let is_string = json::is_string(found);
    if let (Some(wanted), Some(number)) = (value.number, json::rounded(found)) {
        return match op {
            Op::Contains => contains(found, value),
            _ => is_order(op, number_order((number, found), (wanted, value.text.as_str()))),
        };
    }
    let Some(text) = json::plain(found) else { return false };
    match op {
        Op::Is => (is_string || !value.is_quoted) && text == value.text,
        Op::Contains => contains(&text, value),
        _ => is_string && value.number.is_none() && is_order(op, (*text).cmp(value.text.as_str())),
    }
}

/// How two numbers compare, each rounded and as a text. Rounding keeps their order, but may make them equal.
fn number_order((one, one_text): (f64, &str), (other, other_text): (f64, &str)) -> Ordering {
    match one.partial_cmp(&other) {
        Some(order) if order.is_ne() => order,
        _ => decimal::compare(one_text, other_text),
    }
}

fn contains(text: &str, value: &Literal) -> bool {
    if text.is_ascii() && value.lower.is_ascii() {
        let (text, wanted) = (text.as_bytes(), value.lower.as_bytes());
        return wanted.is_empty() || text.windows(wanted.len()).any(|part| part.eq_ignore_ascii_case(wanted));
    }
    text.to_lowercase().contains(&value.lower)
}

const fn is_order(op: Op, order: Ordering) -> bool {
    match op {
        Op::Less => order.is_lt(),
        Op::LessOrIs => order.is_le(),
        Op::More => order.is_gt(),
        Op::MoreOrIs => order.is_ge(),
        Op::Is | Op::Contains => order.is_eq(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payloads_compare_as_the_table_says() {
        let meets = |op: Op, found: &str, value: Literal| json_meets(op, found, &value);
        for (found, value, is_met) in [
            ("10", Literal::bare("10"), true),
            ("10.0", Literal::bare("10"), true),
            ("1e1", Literal::bare("10"), true),
            ("\"10\"", Literal::bare("10"), true),
            ("\"10.0\"", Literal::bare("10"), false),
            ("\"10\"", Literal::quoted("10"), true),
            ("10", Literal::quoted("10"), false),
            ("true", Literal::bare("true"), true),
            ("true", Literal::quoted("true"), false),
            ("null", Literal::bare("null"), false),
            ("\"a\\u00e9\"", Literal::bare("aé"), true),
        ] {
            assert_eq!(meets(Op::Is, found, value.clone()), is_met, "{found} {value:?}");
        }
        assert!(meets(Op::Less, "9", Literal::bare("10")) && !meets(Op::Less, "\"9\"", Literal::bare("10")));
        assert!(meets(Op::MoreOrIs, "\"b\"", Literal::bare("b")) && !meets(Op::More, "true", Literal::bare("a")));
        assert!(meets(Op::Contains, "\"Buy NOW\"", Literal::bare("buy n")));
        assert!(meets(Op::Contains, "\"ÉTÉ\"", Literal::bare("été")));
    }

    #[test]
    fn numbers_compare_to_the_last_digit() {
        let ops = [Op::Is, Op::Less, Op::LessOrIs, Op::More, Op::MoreOrIs];
        for (found, value, order) in [
            ("9007199254740992", "9007199254740993", Ordering::Less),
            ("9007199254740993", "9007199254740992", Ordering::Greater),
            ("1234567890123456789", "1234567890123456700", Ordering::Greater),
            ("1234567890123456789", "1234567890123456789", Ordering::Equal),
            ("-1234567890123456789", "-1234567890123456700", Ordering::Less),
            ("10", "10.0", Ordering::Equal),
            ("10.0", "1e1", Ordering::Equal),
            ("1e1", "10", Ordering::Equal),
            ("9", "1e1", Ordering::Less),
            ("-0", "0", Ordering::Equal),
            ("0.0", "-0", Ordering::Equal),
            ("1e400", "10e399", Ordering::Equal),
            ("1e400", "1.1e400", Ordering::Less),
            ("-1e400", "1e400", Ordering::Less),
            ("1e400", "5", Ordering::Greater),
            ("5", "1e400", Ordering::Less),
            ("1e-400", "0", Ordering::Greater),
        ] {
            let value = Literal::bare(value);
            let found_so = ops.map(|op| json_meets(op, found, &value));
            let wanted = [order.is_eq(), order.is_lt(), order.is_le(), order.is_gt(), order.is_ge()];
            assert_eq!(found_so, wanted, "{found} {value:?}");
        }
        // A text is no number, however large.
        assert!(!json_meets(Op::Is, "\"10e399\"", &Literal::bare("1e400")));
        assert!(json_meets(Op::Is, "\"-inf\"", &Literal::bare("-inf")));
    }
}
