//! [`Measure`]: what a trend measures, and how it is spelt.

use std::fmt;
use std::str::FromStr;

use crate::error::Error;
use crate::field::Field;
use crate::reads::Reads;
use crate::unit::By;

/// What is measured of events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Measure {
    /// How many there are.
    Events,
    /// How many sessions or people they are of.
    Units(By),
    /// A statistic of a field's values.
    Of(Statistic, Field),
}

/// A statistic of values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Statistic {
    /// How many different texts.
    Distinct,
    /// The sum of the numbers.
    Sum,
    /// Their mean.
    Avg,
    /// The smallest.
    Min,
    /// The largest.
    Max,
    /// The nearest-rank percentile: the smallest number that at least so many percent are not larger than.
    Percentile(u8),
}

impl Statistic {
    const ALL: [(&'static str, Self); 9] = [
        ("distinct", Self::Distinct),
        ("sum", Self::Sum),
        ("avg", Self::Avg),
        ("min", Self::Min),
        ("max", Self::Max),
        ("p50", Self::Percentile(50)),
        ("p90", Self::Percentile(90)),
        ("p95", Self::Percentile(95)),
        ("p99", Self::Percentile(99)),
    ];
}

impl Measure {
    const UNITS: [(&'static str, Self); 4] = [
        ("events", Self::Events),
        ("sessions", Self::Units(By::Session)),
        ("users", Self::Units(By::User)),
        ("anonymous", Self::Units(By::Anonymous)),
    ];

    /// What it reads, but for whose the rows are.
    pub(crate) fn reads(&self) -> Reads {
        match self {
            Self::Events | Self::Units(_) => Reads::default(),
            Self::Of(_, field) => Reads::field(field),
        }
    }
}

impl FromStr for Measure {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        if let Some((_, measure)) = Self::UNITS.into_iter().find(|(word, _)| *word == text) {
            return Ok(measure);
        }
        let wrong = |what: String| {
            let message = format!(
                "measure {text:?} {what}: send events, sessions, users, anonymous, or distinct, sum, avg, min, max, p50, \
                 p90, p95 or p99 of a field, as in sum(data.amount)"
            );
            Error::invalid("measure", message)
        };
        let inner = text.strip_suffix(')').and_then(|text| text.split_once('('));
        let (word, field) = inner.ok_or_else(|| wrong("is not known".to_owned()))?;
        let statistic = Statistic::ALL.into_iter().find(|(name, _)| *name == word);
        let (_, statistic) = statistic.ok_or_else(|| wrong("is not known".to_owned()))?;
        let field = Field::parse(field).ok_or_else(|| wrong(format!("names no field ({})", Field::SPELLINGS)))?;
        if statistic != Statistic::Distinct && field.path().is_none() {
            return Err(wrong(format!("has no numbers: {field} is a text")));
        }
        Ok(Self::Of(statistic, field))
    }
}

/// As it is spelt: what [`FromStr`] reads.
impl fmt::Display for Measure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Of(statistic, field) => {
                let word = Statistic::ALL.iter().find(|(_, known)| known == statistic).map_or("", |(word, _)| word);
                write!(f, "{word}({field})")
            }
            unit => f.write_str(Self::UNITS.iter().find(|(_, known)| known == unit).map_or("", |(word, _)| word)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn measures_are_read_as_they_are_written() {
        for text in
            ["events", "sessions", "users", "anonymous", "sum(data.amount)", "p99(data.\"a b\".0)", "distinct(name)"]
        {
            assert_eq!(text.parse::<Measure>().unwrap().to_string(), text);
        }
        for (wrong, what) in [
            ("event", "not known"),
            ("sum", "not known"),
            ("p42(data.a)", "not known"),
            ("sum(name)", "has no numbers"),
            ("sum(data)", "names no field"),
            ("distinct(nothing)", "names no field"),
        ] {
            let error = wrong.parse::<Measure>().unwrap_err();
            assert!(matches!(error, Error::Invalid { field: "measure", .. }), "{error:?}");
            assert!(error.to_string().contains(what), "{error}");
        }
    }
}
