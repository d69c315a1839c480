//! [`Filter`]: which events a question is about. One definition for lists, live tails and sessions.
//!
//! The rule: [`Filter::matches`] reads no column that [`Filter::columns`] does not name.

use std::str::FromStr;
use std::sync::Arc;

use eye_event::{Problem, Problems, Timestamp};
use eye_store::{Columns, StoredEvent};

use crate::condition::Expr;
use crate::cursor::Question;
use crate::error::Error;
use crate::field::Field;
use crate::line::Asked;
use crate::reads::Reads;

/// Which events. Every condition must hold; an absent one always does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// The applications that the asker may see; `None` is all of them. Not a wish of the asker: a wall.
    pub allowed: Option<Vec<String>>,
    /// Only this session.
    pub session_id: Option<String>,
    /// Only what this application sent.
    pub application: Option<String>,
    /// Only this category.
    pub category: Option<String>,
    /// Only this name.
    pub name: Option<String>,
    /// Only this user.
    pub user_id: Option<String>,
    /// At this time or later.
    pub from: Option<Timestamp>,
    /// Before this time.
    pub to: Option<Timestamp>,
    /// Only what has a problem.
    pub problem: Option<ProblemFilter>,
    /// Only what this query line chooses.
    pub line: Option<Arc<Asked>>,
}

/// Which problem an event must have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ProblemFilter {
    /// Any at all.
    Any,
    /// One of the three problems of the event's time.
    Time,
    /// This one.
    Code(Problem),
}

impl ProblemFilter {
    /// True if these problems are what is asked for.
    #[must_use]
    pub fn matches(self, problems: Problems) -> bool {
        match self {
            Self::Any => !problems.is_empty(),
            Self::Time => problems.intersects(Problems::TIME),
            Self::Code(problem) => problems.contains(problem),
        }
    }

    /// As the API spells it: what [`FromStr`] reads.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Any => "any",
            Self::Time => "time",
            Self::Code(problem) => problem.code(),
        }
    }
}

impl FromStr for ProblemFilter {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        match text {
            "any" => return Ok(Self::Any),
            "time" => return Ok(Self::Time),
            _ => {}
        }
        Problem::from_code(text).map(Self::Code).ok_or_else(|| {
            let codes = Problem::ALL.map(Problem::code).join(", ");
            Error::invalid("problem", format!("problem is none of these: any, time, {codes}"))
        })
    }
}

impl Filter {
    /// From when on: the later of what is asked for.
    #[must_use]
    pub fn from(&self) -> Option<Timestamp> {
        self.from.max(self.line.as_ref().and_then(|line| line.from))
    }

    /// Until when: the earlier of what is asked for.
    #[must_use]
    pub fn to(&self) -> Option<Timestamp> {
        [self.to, self.line.as_ref().and_then(|line| line.to)].into_iter().flatten().min()
    }

    /// The one session that can match, if there is but one.
    #[must_use]
    pub fn only_session(&self) -> Option<&str> {
        self.session_id.as_deref().or_else(|| self.expr()?.only(&Field::SessionId))
    }

    /// What the query line demands, but for its times.
    pub(crate) fn expr(&self) -> Option<&Expr> {
        self.line.as_ref()?.line.expr.as_ref()
    }

    /// True if the event is asked for and may be seen.
    #[must_use]
    pub fn matches(&self, stored: &StoredEvent<'_>) -> bool {
        let event = &stored.event;
        self.from().is_none_or(|from| from <= event.timestamp)
            && self.to().is_none_or(|to| event.timestamp < to)
            && self.problem.is_none_or(|problem| problem.matches(event.problems))
            && is(&self.application, stored.application)
            && is(&self.category, event.category)
            && is(&self.name, event.name)
            && is(&self.session_id, event.session_id)
            && self.user_id.as_deref().is_none_or(|user_id| event.user_id == Some(user_id))
            && allows(self.allowed.as_deref(), stored.application)
            && self.expr().is_none_or(|expr| expr.matches(stored))
    }

    /// The columns that [`Filter::matches`] reads.
    #[must_use]
    pub fn columns(&self) -> Columns {
        self.reads().in_columns()
    }

    /// What it looks at.
    pub(crate) fn reads(&self) -> Reads {
        let is_timed = self.from().is_some() || self.to().is_some();
        self.reads_untimed() | if is_timed { Columns::TIMESTAMP } else { Columns::NONE }
    }

    /// What it looks at of rows whose times lie between these, both inclusive.
    pub(crate) fn reads_within(&self, times: (Timestamp, Timestamp)) -> Reads {
        self.reads_untimed() | if self.cuts(times) { Columns::TIMESTAMP } else { Columns::NONE }
    }

    /// True if rows whose times lie between these, both inclusive, may be outside its range.
    pub(crate) fn cuts(&self, (earliest, latest): (Timestamp, Timestamp)) -> bool {
        self.from().is_some_and(|from| earliest < from) || self.to().is_some_and(|to| latest >= to)
    }

    fn reads_untimed(&self) -> Reads {
        [
            (self.problem.is_some(), Columns::PROBLEMS),
            (self.application.is_some() || self.allowed.is_some(), Columns::APPLICATION),
            (self.category.is_some(), Columns::CATEGORY),
            (self.name.is_some(), Columns::NAME),
            (self.session_id.is_some(), Columns::SESSION_ID),
            (self.user_id.is_some(), Columns::USER_ID),
        ]
        .into_iter()
        .filter(|(is_read, _)| *is_read)
        .fold(self.expr().map_or_else(Reads::default, Expr::reads), |reads, (_, column)| reads | column)
    }

    /// False if no event with a timestamp from `earliest` to `latest` (both inclusive) can match.
    #[must_use]
    pub fn slice_can_match(&self, (earliest, latest): (Timestamp, Timestamp)) -> bool {
        !self.is_impossible()
            && self.from().is_none_or(|from| from <= latest)
            && self.to().is_none_or(|to| earliest < to)
    }

    /// True if every event matches, whatever it is.
    pub(crate) fn is_free(&self) -> bool {
        self.columns() == Columns::NONE && !self.is_impossible()
    }

    /// True if no event at all can match: the time range is empty, or the application may not be seen.
    pub(crate) fn is_impossible(&self) -> bool {
        let is_range_empty = self.from().zip(self.to()).is_some_and(|(from, to)| from >= to);
        is_range_empty
            || self.application.as_deref().is_some_and(|application| !allows(self.allowed.as_deref(), application))
    }

    /// Adds what is asked for to a question's identity. `allowed` is left out: it is not part of what was asked.
    pub(crate) fn identify(&self, question: Question) -> Question {
        [&self.session_id, &self.application, &self.category, &self.name, &self.user_id]
            .into_iter()
            .fold(question, |question, text| question.text(text.as_deref()))
            .number(self.from.map(Timestamp::micros))
            .number(self.to.map(Timestamp::micros))
            .text(self.problem.map(ProblemFilter::as_str))
            // As it was asked: "24 hours ago" is the same question on the next page.
            .text(self.line.as_ref().map(|line| line.line.to_string()).as_deref())
    }
}

fn is(wanted: &Option<String>, found: &str) -> bool {
    wanted.as_deref().is_none_or(|wanted| wanted == found)
}

/// True if an asker who may see `allowed` may see this application.
pub(crate) fn allows(allowed: Option<&[String]>, application: &str) -> bool {
    allowed.is_none_or(|allowed| allowed.iter().any(|name| name == application))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn problem_filters_are_read_as_they_are_written() {
        let codes = Problem::ALL.map(ProblemFilter::Code);
        for filter in [ProblemFilter::Any, ProblemFilter::Time].into_iter().chain(codes) {
            assert_eq!(filter.as_str().parse::<ProblemFilter>().unwrap(), filter);
        }
        let error = "timestamps".parse::<ProblemFilter>().unwrap_err();
        assert!(matches!(error, Error::Invalid { field: "problem", .. }));
        assert!(error.to_string().contains("payload_unexpected"));
    }

    #[test]
    fn problem_filters_choose_by_bits() {
        let payload = Problems::NONE.with(Problem::PayloadUnexpected);
        let future = Problems::NONE.with(Problem::TimestampInFuture);
        let matches = |filter: ProblemFilter| [Problems::NONE, payload, future].map(|set| filter.matches(set));
        assert_eq!(matches(ProblemFilter::Any), [false, true, true]);
        assert_eq!(matches(ProblemFilter::Time), [false, false, true]);
        assert_eq!(matches(ProblemFilter::Code(Problem::PayloadUnexpected)), [false, true, false]);
    }

    #[test]
    fn slices_outside_the_range_cannot_match() {
        let at = Timestamp::from_micros;
        let filter = Filter { from: Some(at(10)), to: Some(at(20)), ..Filter::default() };
        let can_match = |earliest, latest| filter.slice_can_match((at(earliest), at(latest)));
        assert!(can_match(0, 10) && can_match(19, 30) && can_match(0, 99));
        assert!(!can_match(0, 9) && !can_match(20, 30));
    }

    #[test]
    fn a_foreign_application_is_impossible() {
        let filter =
            Filter { allowed: Some(vec!["web".into()]), application: Some("shop".into()), ..Filter::default() };
        assert!(filter.is_impossible());
        assert!(!Filter { application: Some("web".into()), ..filter }.is_impossible());
    }
}
