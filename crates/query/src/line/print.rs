//! A line as text. What is printed reads as the same line.

use std::borrow::Cow;
use std::fmt::{self, Display};

use super::scan::{is_bare, is_word};
use super::{Line, Unit, When};
use crate::condition::{Condition, Expr, Literal, Op};
use crate::filter::ProblemFilter;

/// A key of a path, in quotes if it needs them.
pub(crate) fn key(key: &str) -> Cow<'_, str> {
    if !key.is_empty() && key.chars().all(is_word) { Cow::Borrowed(key) } else { Cow::Owned(quote(key)) }
}

fn quote(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

impl Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut terms = Vec::new();
        match &self.expr {
            Some(Expr::All(all)) => terms.extend(all.iter().map(term)),
            // Behind an "or" without parentheses nothing else can stand.
            Some(any @ Expr::Any(_)) if self.since.is_none() && self.until.is_none() => terms.push(any.to_string()),
            Some(other) => terms.push(term(other)),
            None => {}
        }
        terms.extend(self.since.map(|when| format!("since:{when}")));
        terms.extend(self.until.map(|when| format!("until:{when}")));
        f.write_str(&terms.join(" "))
    }
}

/// An expression among others that must all hold.
fn term(expr: &Expr) -> String {
    match expr {
        Expr::All(_) | Expr::Any(_) => format!("({expr})"),
        Expr::Not(inner) => format!("-{}", term(inner)),
        Expr::Is(condition) => condition.to_string(),
    }
}

impl Display for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let join = |exprs: &[Self], between: &str| exprs.iter().map(term).collect::<Vec<_>>().join(between);
        match self {
            Self::All(all) => f.write_str(&join(all, " ")),
            Self::Any(any) => f.write_str(&join(any, " OR ")),
            Self::Not(_) | Self::Is(_) => f.write_str(&term(self)),
        }
    }
}

impl Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Problem(problem) => write!(f, "problem:{}", ProblemFilter::as_str(*problem)),
            Self::Has(field) => write!(f, "has:{field}"),
            Self::Compare { field, op, values } => {
                let op = match op {
                    Op::Is if field.path().is_none() => ":",
                    Op::Is => "=",
                    Op::Contains => "~",
                    Op::Less => "<",
                    Op::LessOrIs => "<=",
                    Op::More => ">",
                    Op::MoreOrIs => ">=",
                };
                let values: Vec<String> = values.iter().map(Literal::to_string).collect();
                write!(f, "{field}{op}{}", values.join(","))
            }
        }
    }
}

impl Display for Literal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_plain = !self.is_quoted() && !self.text().is_empty() && self.text().chars().all(is_bare);
        if is_plain { f.write_str(self.text()) } else { f.write_str(&quote(self.text())) }
    }
}

impl Display for When {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::At(at) => write!(f, "{at}"),
            Self::Ago(count, unit) => {
                let letter = Unit::ALL.iter().find(|(_, known)| known == unit).map_or('s', |(letter, _)| *letter);
                write!(f, "{count}{letter}")
            }
        }
    }
}
