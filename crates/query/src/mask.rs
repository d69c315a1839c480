//! Which rows of a frame a filter chooses: [`Filter::matches`] over columns.

use eye_event::{Problems, Timestamp};
use eye_store::Columns;

use crate::condition::{Condition, Expr};
use crate::error::{Error, Result};
use crate::field::Field;
use crate::filter::{Filter, allows};
use crate::frame::{Frame, Texts};
use crate::line::Asked;
use crate::reads::Reads;

/// One flag a row.
pub(crate) type Mask = Vec<bool>;

/// A filter made ready for frames: the cheapest condition first, the payload last.
pub(crate) struct Chooser<'f> {
    filter: &'f Filter,
    /// Conditions of columns with few texts, then of other columns, then of payloads.
    exprs: Vec<&'f Expr>,
}

impl<'f> Chooser<'f> {
    pub(crate) fn new(filter: &'f Filter) -> Self {
        Self { filter, exprs: cheapest_first(filter.expr()) }
    }

    /// What the query line demands, the cheapest first: all of it must hold.
    pub(crate) fn exprs(&self) -> &[&'f Expr] {
        &self.exprs
    }

    /// The rows that the filter chooses, of a frame whose times lie between these, both inclusive.
    pub(crate) fn choose(&self, frame: &Frame, times: (Timestamp, Timestamp)) -> Mask {
        let mut mask = vec![true; frame.rows()];
        if self.filter.cuts(times) {
            self.keep_times(frame, &mut mask);
        }
        self.keep_others(frame, &mut mask);
        mask
    }

    /// Without times.
    fn keep_others(&self, frame: &Frame, mask: &mut Mask) {
        let Filter { allowed, session_id, application, category, name, user_id, problem, .. } = self.filter;
        if let Some(problem) = problem {
            let problems = frame.problems();
            keep(mask, |row| problem.matches(problems.get(row).copied().unwrap_or(Problems::NONE)));
        }
        if let Some(allowed) = allowed {
            let texts = frame.texts(&Field::Application);
            keep_texts(mask, texts, |text| text.is_some_and(|text| allows(Some(allowed), text)));
        }
        for (field, wanted) in [
            (Field::Application, application),
            (Field::Category, category),
            (Field::Name, name),
            (Field::SessionId, session_id),
            (Field::UserId, user_id),
        ] {
            if let Some(wanted) = wanted {
                keep_texts(mask, frame.texts(&field), |text| text == Some(wanted));
            }
        }
        for expr in &self.exprs {
            keep_expr(mask, frame, expr);
        }
    }

    fn keep_times(&self, frame: &Frame, mask: &mut Mask) {
        let (from, to) = (self.filter.from(), self.filter.to());
        if from.is_none() && to.is_none() {
            return;
        }
        let from = from.map_or(i64::MIN, |from| from.micros());
        let to = to.map(|to| to.micros());
        let times = frame.timestamps();
        for (chosen, time) in mask.iter_mut().zip(times) {
            *chosen &= from <= *time && to.is_none_or(|to| *time < to);
        }
    }
}

/// What a query line demands of rows that a filter has chosen already.
pub(crate) struct Demand<'l> {
    exprs: Vec<&'l Expr>,
}

impl<'l> Demand<'l> {
    /// The demand of the parameter `field`; no line demands nothing.
    ///
    /// # Errors
    /// `Invalid` for a line with times: the range of a question is its filter's.
    pub(crate) fn new(field: &'static str, line: Option<&'l Asked>) -> Result<Self> {
        if line.is_some_and(|line| line.from.is_some() || line.to.is_some()) {
            let message = format!("{field} has since or until: leave them out, and send from and to for the range");
            return Err(Error::invalid(field, message));
        }
        Ok(Self { exprs: cheapest_first(line.and_then(|line| line.line.expr.as_ref())) })
    }

    /// What it looks at.
    pub(crate) fn reads(&self) -> Reads {
        self.exprs.iter().fold(Reads::default(), |reads, expr| reads | expr.reads())
    }

    /// Those of the chosen rows that meet it.
    pub(crate) fn narrow(&self, frame: &Frame, mask: &[bool]) -> Mask {
        let mut mask = mask.to_vec();
        for expr in &self.exprs {
            keep_expr(&mut mask, frame, expr);
        }
        mask
    }
}

/// The parts that must all hold.
fn cheapest_first(expr: Option<&Expr>) -> Vec<&Expr> {
    let mut exprs: Vec<&Expr> = match expr {
        None => Vec::new(),
        Some(Expr::All(all)) => all.iter().collect(),
        Some(other) => vec![other],
    };
    exprs.sort_by_key(|expr| cost(expr.columns()));
    exprs
}

fn cost(columns: Columns) -> u8 {
    let is_in = |all: &[Columns]| all.iter().any(|column| columns.contains(*column));
    match () {
        () if is_in(&[Columns::DATA, Columns::CONTEXT]) => 2,
        () if is_in(&[Columns::SESSION_ID, Columns::USER_ID, Columns::ANONYMOUS_ID, Columns::EVENT_ID]) => 1,
        () => 0,
    }
}

fn keep(mask: &mut Mask, mut is_met: impl FnMut(usize) -> bool) {
    for (row, chosen) in mask.iter_mut().enumerate() {
        *chosen = *chosen && is_met(row);
    }
}

/// Keeps rows whose text meets it. Of a column with few texts each is looked at once.
fn keep_texts(mask: &mut Mask, texts: &Texts, is_met: impl Fn(Option<&str>) -> bool) {
    match texts {
        Texts::None => {
            if !is_met(None) {
                mask.fill(false);
            }
        }
        Texts::Plain(_) | Texts::Viewed(_) => keep(mask, |row| is_met(texts.get(row))),
        Texts::Coded(codes, values) => {
            // A text is looked at when a row that is chosen has it: there may be nearly as many as rows.
            let mut meets: Vec<Option<bool>> = vec![None; texts.codes()];
            let without = is_met(None);
            for (chosen, code) in mask.iter_mut().zip(codes).filter(|(chosen, _)| **chosen) {
                let code = usize::try_from(*code).ok();
                *chosen = match code.and_then(|code| Some((code, meets.get_mut(code)?))) {
                    Some((code, met)) => *met.get_or_insert_with(|| is_met(Some(values.value(code)))),
                    None => without,
                };
            }
        }
    }
}

/// Keeps rows that meet it.
pub(crate) fn keep_expr(mask: &mut Mask, frame: &Frame, expr: &Expr) {
    match expr {
        Expr::All(all) => all.iter().for_each(|expr| keep_expr(mask, frame, expr)),
        Expr::Any(any) => {
            // Rows that are chosen already need not be looked at again.
            let mut left = mask.clone();
            for expr in any {
                let mut met = left.clone();
                keep_expr(&mut met, frame, expr);
                for (left, met) in left.iter_mut().zip(met) {
                    *left &= !met;
                }
            }
            for (chosen, left) in mask.iter_mut().zip(left) {
                *chosen &= !left;
            }
        }
        Expr::Not(inner) => {
            let mut met = mask.clone();
            keep_expr(&mut met, frame, inner);
            for (chosen, met) in mask.iter_mut().zip(met) {
                *chosen &= !met;
            }
        }
        Expr::Is(Condition::Problem(problem)) => {
            let problems = frame.problems();
            keep(mask, |row| problem.matches(problems.get(row).copied().unwrap_or(Problems::NONE)));
        }
        Expr::Is(condition @ (Condition::Compare { field, .. } | Condition::Has(field))) => {
            let place = frame.place(field);
            match place.is_apart() {
                true => keep_texts(mask, place.texts(), |text| text.is_some_and(|found| condition.meets_json(found))),
                false => keep_texts(mask, place.texts(), |text| condition.meets(text)),
            }
        }
    }
}
