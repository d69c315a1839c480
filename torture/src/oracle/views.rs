//! What two readers see, or one at two times, held against each other.
//!
//! The rule: nothing here knows what was sent; that is the witness's.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::{Findings, Place, Placed, Refusal, Row, Violation};

/// A session is (timestamp, offset) descending.
pub fn check_order(rows: &[Row], findings: &mut Findings) {
    for pair in rows.windows(2) {
        let key = |row: &Row| (row.timestamp, row.place.offset);
        if key(&pair[1]) >= key(&pair[0]) {
            let detail = format!("session {}: {} stands after {}", pair[0].session, pair[1].id, pair[0].id);
            findings.add(Violation::OutOfOrder, detail);
        }
    }
}

/// What a token of one application shows: nothing of another's.
#[must_use]
pub fn check_own<T: Placed>(application: &str, own: &[T]) -> Findings {
    let mut findings = Findings::default();
    for row in own.iter().filter(|row| row.application() != application) {
        let detail =
            format!("a token of {application} shows {} at {} of {}", row.name(), row.place(), row.application());
        findings.add(Violation::Leaked, detail);
    }
    findings
}

/// The same against what a token shows that sees all applications: everything of its own, as it is there.
#[must_use]
pub fn check_tenant<T: Placed>(application: &str, all: &[T], own: &[T]) -> Findings {
    let mut findings = check_own(application, own);
    let is_own = |row: &&T| row.application() == application;
    let mut missing: HashMap<Place, &T> = all.iter().filter(is_own).map(|row| (row.place(), row)).collect();
    for row in own.iter().filter(is_own) {
        let (violation, what) = match missing.remove(&row.place()) {
            Some(expected) if expected == row => continue,
            Some(_) => (Violation::Changed, "and there is something else"),
            None => (Violation::Invented, "which is not there, or twice"),
        };
        let detail = format!("a token of {application} shows {} at {}, {what}", row.name(), row.place());
        findings.add(violation, detail);
    }
    for row in missing.values() {
        let detail = format!("a token of {application} does not show {} at {}", row.name(), row.place());
        findings.add(Violation::Vanished, detail);
    }
    findings
}

/// What a second reader of a table sees, and up to where the table says it has the log, against what the API shows.
#[must_use]
pub fn check_table<T: Placed>(api: &[T], table: &[T], flushed: &BTreeMap<u16, u64>) -> Findings {
    let mut findings = Findings::default();
    let expected: HashMap<Place, &T> =
        api.iter().filter(|row| is_flushed(row.place(), flushed)).map(|row| (row.place(), row)).collect();
    let mut seen = HashSet::new();
    for row in table {
        let place = row.place();
        if !seen.insert(place) {
            findings.add(Violation::TableDiffers, format!("the table holds {place} twice"));
        }
        if expected.get(&place).is_none_or(|expected| *expected != row) {
            let detail = format!("the table holds {} at {place}, the API does not", row.name());
            findings.add(Violation::TableDiffers, detail);
        }
    }
    for row in expected.values().filter(|row| !seen.contains(&row.place())) {
        let detail =
            format!("the API shows {} at {}, flushed, but the table does not hold it", row.name(), row.place());
        findings.add(Violation::TableDiffers, detail);
    }
    findings
}

/// The events that lie in the raw log against those that the API shows. Every one of the log is in the API at its own place or
/// is a repeat of one further ahead; every one past `flushed` is in the log. `log` is in the log's order.
#[must_use]
pub fn check_log(api: &[Row], log: &[Row], flushed: &BTreeMap<u16, u64>) -> Findings {
    let stored: HashMap<_, Place> = api.iter().map(|row| (row.identity(), row.place)).collect();
    hold_log(api, log, flushed, |entry| stored.get(&entry.identity()).is_some_and(|place| *place < entry.place))
}

/// The same of rejections: none is ever a repeat.
#[must_use]
pub fn check_rejections_log(api: &[Refusal], log: &[Refusal], flushed: &BTreeMap<u16, u64>) -> Findings {
    hold_log(api, log, flushed, |_| false)
}

fn hold_log<T: Placed>(api: &[T], log: &[T], flushed: &BTreeMap<u16, u64>, is_repeat: impl Fn(&T) -> bool) -> Findings {
    let mut findings = Findings::default();
    let rows: HashMap<Place, &T> = api.iter().map(|row| (row.place(), row)).collect();
    let mut in_log = HashSet::new();
    for entry in log {
        let place = entry.place();
        in_log.insert(place);
        match rows.get(&place) {
            Some(row) if *row == entry => {}
            Some(_) => findings.add(Violation::LogDiffers, format!("{place}: the log holds other bytes")),
            None if is_repeat(entry) => {}
            None => {
                let detail = format!("the log holds {} at {place}, the API does not show it", entry.name());
                findings.add(Violation::LogDiffers, detail);
            }
        }
    }
    for row in api.iter().filter(|row| !is_flushed(row.place(), flushed) && !in_log.contains(&row.place())) {
        let detail =
            format!("the API shows {} at {}, which is in neither the table nor the log", row.name(), row.place());
        findings.add(Violation::LogDiffers, detail);
    }
    findings
}

fn is_flushed(place: Place, flushed: &BTreeMap<u16, u64>) -> bool {
    flushed.get(&place.partition).is_some_and(|flushed| place.offset <= *flushed)
}

/// The next view of a session after an earlier one: within the stretch that both show, nothing is gone. `is_whole`: the
/// later one reaches to the session's end.
#[must_use]
pub fn check_later_view(earlier: &[Row], later: &[Row], is_whole: bool) -> Findings {
    let mut findings = Findings::default();
    check_order(later, &mut findings);
    let key = |row: &Row| (row.timestamp, row.place.offset);
    let end = later.last().map(key);
    let there: HashSet<&str> = later.iter().map(|row| row.id.as_str()).collect();
    for row in earlier.iter().filter(|row| is_whole || end.is_some_and(|end| key(row) >= end)) {
        if !there.contains(row.id.as_str()) {
            let detail = format!("session {}: {} at {} was there a moment ago", row.session, row.id, row.place);
            findings.add(Violation::Vanished, detail);
        }
    }
    findings
}
