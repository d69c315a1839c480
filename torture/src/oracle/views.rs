//! What two readers see, or one at two times, held against each other.
//!
//! The rule: nothing here knows what was sent; that is the witness's.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::{Findings, Place, Row, Violation};

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

/// What a second reader of the table sees, and up to where the table says it has the log, against the API's rows.
#[must_use]
pub fn check_table(api: &[Row], table: &[Row], flushed: &BTreeMap<u16, u64>) -> Findings {
    let mut findings = Findings::default();
    let in_table = |row: &&Row| flushed.get(&row.place.partition).is_some_and(|flushed| row.place.offset <= *flushed);
    let expected: HashMap<Place, &Row> = api.iter().filter(in_table).map(|row| (row.place, row)).collect();
    let mut seen = HashSet::new();
    for row in table {
        if !seen.insert(row.place) {
            findings.add(Violation::TableDiffers, format!("the table holds {} twice", row.place));
        }
        if expected.get(&row.place).is_none_or(|expected| *expected != row) {
            findings
                .add(Violation::TableDiffers, format!("the table holds {} at {}, the API does not", row.id, row.place));
        }
    }
    for row in expected.values().filter(|row| !seen.contains(&row.place)) {
        let detail = format!("the API shows {} at {}, flushed, but the table does not hold it", row.id, row.place);
        findings.add(Violation::TableDiffers, detail);
    }
    findings
}

/// What lies in the raw log against the API's rows. Every event of the log is in the API at its own place or is a repeat
/// of one further ahead; every row past `flushed` is in the log. `log` is in the log's order.
#[must_use]
pub fn check_log(api: &[Row], log: &[Row], flushed: &BTreeMap<u16, u64>) -> Findings {
    let mut findings = Findings::default();
    let rows: HashMap<Place, &Row> = api.iter().map(|row| (row.place, row)).collect();
    let stored: HashMap<(&str, &str), &Row> = api.iter().map(|row| ((&*row.session, &*row.id), row)).collect();
    let mut in_log = HashSet::new();
    for entry in log {
        in_log.insert(entry.place);
        match rows.get(&entry.place) {
            Some(row) if *row == entry => {}
            Some(_) => findings.add(Violation::LogDiffers, format!("{}: the log holds other bytes", entry.place)),
            None => {
                let is_repeat = stored.get(&(&*entry.session, &*entry.id)).is_some_and(|row| row.place < entry.place);
                if !is_repeat {
                    let detail = format!("the log holds {} at {}, the API does not show it", entry.id, entry.place);
                    findings.add(Violation::LogDiffers, detail);
                }
            }
        }
    }
    let is_behind = |row: &&Row| flushed.get(&row.place.partition).is_none_or(|flushed| row.place.offset > *flushed);
    for row in api.iter().filter(is_behind).filter(|row| !in_log.contains(&row.place)) {
        let detail = format!("the API shows {} at {}, which is in neither the table nor the log", row.id, row.place);
        findings.add(Violation::LogDiffers, detail);
    }
    findings
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
