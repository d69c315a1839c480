//! What clients know of the items that must be refused, against the rejections that are shown.
//!
//! A rejection has no id, and an item that is sent again is refused again. But each item is told from all others by its
//! bytes, which its rejection keeps. So it is there at least as often as a client was told, and at most as often as it
//! was sent.

use std::collections::{HashMap, HashSet};

use super::{Findings, Refusal, Violation};

/// Why an item is refused, as an answer says it.
#[derive(Clone, Copy, Debug)]
pub struct Reason<'a> {
    /// The code.
    pub code: &'a str,
    /// The field that is to blame, or nothing.
    pub field: &'a str,
    /// The same for people.
    pub message: &'a str,
}

/// What is known of one item.
#[derive(Clone, Debug)]
struct Known {
    application: String,
    code: &'static str,
    field: &'static str,
    /// As it was told.
    message: Option<String>,
    /// Times that it was sent, and that a client was told.
    sent: u64,
    told: u64,
    /// So many of its rejections a reader saw.
    seen: u64,
    /// They may be gone, on purpose.
    may_lack: bool,
}

/// What is known of all of them.
#[derive(Debug, Default)]
pub struct Refusals {
    /// By their bytes.
    items: HashMap<String, Known>,
    may_lack: bool,
}

impl Refusals {
    /// Notes an item that is about to be sent for the first time, and as what it must be refused.
    pub fn will_send(&mut self, item: String, application: &str, (code, field): (&'static str, &'static str)) {
        let application = application.to_owned();
        let known = Known { application, code, field, message: None, sent: 0, told: 0, seen: 0, may_lack: false };
        self.items.insert(item, known);
    }

    /// Notes that it is sent, each time anew.
    pub fn sends(&mut self, item: &str) {
        if let Some(known) = self.items.get_mut(item) {
            known.sent += 1;
        }
    }

    /// Notes that a client was told.
    #[must_use]
    pub fn told(&mut self, item: &str, reason: Reason<'_>) -> Findings {
        let mut findings = Findings::default();
        let Some(known) = self.items.get_mut(item) else { return findings };
        known.told += 1;
        let Reason { code, field, message } = reason;
        let is_as_before = known.message.as_deref().is_none_or(|before| before == message);
        if (code, field) != (known.code, known.field) || !is_as_before {
            let detail = format!("{item} was refused as {code} of {field:?} ({message}), and is {known:?}");
            findings.add(Violation::RejectionsDiffer, detail);
        }
        known.message.get_or_insert_with(|| message.to_owned());
        findings
    }

    /// All that were sent so far may be gone from now on, on purpose. Nobody may be sending.
    pub fn may_go(&mut self) {
        self.may_lack = true;
        self.items.values_mut().for_each(|known| known.may_lack = true);
    }

    /// True if this one may be gone, or on its way: in some files, and in others not.
    #[must_use]
    pub fn may_lack(&self, rejection: &Refusal) -> bool {
        self.items.get(&rejection.sample).is_some_and(|known| known.may_lack)
    }

    /// True if there may be fewer than the server counted.
    #[must_use]
    pub const fn may_lack_some(&self) -> bool {
        self.may_lack
    }

    /// Notes what a reader saw of all of them: from now on it must stay.
    pub fn saw(&mut self, shown: &[Refusal]) {
        let counts = counts(shown);
        for (item, known) in &mut self.items {
            known.seen = known.seen.max(counts.get(item.as_str()).copied().unwrap_or_default());
        }
    }

    /// Holds the rejections that are shown against what is known.
    #[must_use]
    pub fn check(&self, shown: &[Refusal]) -> Findings {
        let mut findings = Findings::default();
        let mut wrong = |detail: String| findings.add(Violation::RejectionsDiffer, detail);
        let mut places = HashSet::new();
        for rejection in shown {
            let Refusal { application, place, code, field, message, sample, .. } = rejection;
            if !places.insert(*place) {
                wrong(format!("two rejections are at {place}"));
            }
            let Some(known) = self.items.get(sample) else {
                wrong(format!("a rejection at {place} is of {sample}, which was never sent"));
                continue;
            };
            let is_as_told = known.message.as_ref().is_none_or(|told| told == message);
            let is_as_sent = *application == known.application && code == known.code && field == known.field;
            if !is_as_told || !is_as_sent {
                wrong(format!("{rejection:?} is {known:?}"));
            }
        }
        let counts = counts(shown);
        for (item, known) in &self.items {
            let there = counts.get(item.as_str()).copied().unwrap_or_default();
            let least = if known.may_lack { 0 } else { known.told.max(known.seen) };
            if there < least || there > known.sent {
                let Known { sent, told, seen, .. } = known;
                wrong(format!("{item} was sent {sent} times, refused {told}, seen {seen}: {there} rejections"));
            }
        }
        findings
    }
}

/// How many there are of each item.
fn counts(shown: &[Refusal]) -> HashMap<&str, u64> {
    let mut counts: HashMap<&str, u64> = HashMap::new();
    for rejection in shown {
        *counts.entry(rejection.sample.as_str()).or_default() += 1;
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::Place;

    const REASON: Reason<'_> = Reason { code: "missing_field", field: "session_id", message: "send one" };

    fn rejection(sample: &str, offset: u64) -> Refusal {
        Refusal {
            application: "default".to_owned(),
            token: "t".to_owned(),
            received_at: 5,
            place: Place { partition: 0, offset },
            code: REASON.code.to_owned(),
            field: REASON.field.to_owned(),
            message: REASON.message.to_owned(),
            sample: sample.to_owned(),
        }
    }

    /// Two items: `a` was sent twice and refused once as far as is known, `b` was sent only.
    fn refusals() -> Refusals {
        let mut refusals = Refusals::default();
        for (item, times) in [("a", 2), ("b", 1)] {
            refusals.will_send(item.to_owned(), "default", (REASON.code, REASON.field));
            (0..times).for_each(|_| refusals.sends(item));
        }
        assert_eq!(refusals.told("a", REASON).names(), "");
        refusals
    }

    #[test]
    fn what_was_refused_is_there_as_often_as_it_was_told_or_sent() {
        for right in [&[("a", 1)][..], &[("a", 1), ("a", 2)], &[("b", 1), ("a", 2)]] {
            let shown: Vec<Refusal> = right.iter().map(|(item, offset)| rejection(item, *offset)).collect();
            assert_eq!(refusals().check(&shown).names(), "", "{right:?}");
        }
    }

    #[test]
    fn a_rejection_that_is_lost_doubled_or_invented_is_named() {
        for wrong in [
            &[("b", 1)][..],
            &[],
            &[("a", 1), ("a", 2), ("a", 3)],
            &[("a", 1), ("b", 2), ("b", 3)],
            &[("a", 1), ("x", 2)],
            &[("a", 1), ("b", 1)],
        ] {
            let shown: Vec<Refusal> = wrong.iter().map(|(item, offset)| rejection(item, *offset)).collect();
            assert_eq!(refusals().check(&shown).names(), "RejectionsDiffer 1", "{wrong:?}");
        }
    }

    #[test]
    fn a_rejection_for_another_reason_is_named() {
        let right = rejection("a", 1);
        for wrong in [
            Refusal { application: "other".to_owned(), ..right.clone() },
            Refusal { code: "not_json".to_owned(), ..right.clone() },
            Refusal { field: "name".to_owned(), ..right.clone() },
            Refusal { message: "send two".to_owned(), ..right },
        ] {
            assert_eq!(refusals().check(std::slice::from_ref(&wrong)).names(), "RejectionsDiffer 1", "{wrong:?}");
        }
        for wrong in [
            Reason { code: "not_json", ..REASON },
            Reason { field: "name", ..REASON },
            Reason { message: "send two", ..REASON },
        ] {
            assert_eq!(refusals().told("a", wrong).names(), "RejectionsDiffer 1", "{wrong:?}");
        }
    }

    #[test]
    fn a_rejection_that_was_seen_stays() {
        let mut refusals = refusals();
        refusals.saw(&[rejection("a", 1), rejection("a", 2), rejection("b", 3)]);
        assert_eq!(refusals.check(&[rejection("a", 1)]).names(), "RejectionsDiffer 2");
    }

    #[test]
    fn a_rejection_that_may_go_may_be_there_and_may_not() {
        let mut refusals = refusals();
        refusals.may_go();
        refusals.will_send("c".to_owned(), "default", (REASON.code, REASON.field));
        refusals.sends("c");
        assert_eq!(refusals.told("c", REASON).names(), "");
        assert_eq!(refusals.check(&[rejection("c", 3)]).names(), "");
        assert_eq!(refusals.check(&[rejection("a", 1), rejection("c", 3)]).names(), "");
        assert_eq!(refusals.check(&[rejection("a", 1)]).names(), "RejectionsDiffer 1", "what came later stays");
        assert_eq!(["a", "b", "c", "x"].map(|item| refusals.may_lack(&rejection(item, 1))), [true, true, false, false]);
    }
}
