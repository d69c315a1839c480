//! The one oracle: what the clients know against what can be read.
//!
//! Clients note every event before it is sent and every acknowledgement after it came. What is read back (from the API,
//! the raw log, the table) is held against that. Everything here is a pure function of these notes, so that each
//! violation has a test with made-up observations: an oracle that cannot fail proves nothing.
//!
//! | module | what it holds |
//! |---|---|
//! | `findings` | the violations by name, and what was found |
//! | `row` | an event as some reader sees it |
//! | `views` | what two readers see, against each other |

mod findings;
mod row;
mod views;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

pub use findings::{Finding, Findings, Violation};
pub use row::{Digest, Place, Row};
pub use views::{check_later_view, check_log, check_order, check_table};

/// What is known of one event that was sent.
#[derive(Clone, Debug)]
pub struct Sent {
    /// Its session.
    pub session: Arc<str>,
    /// The client's time.
    pub timestamp: i64,
    /// Category, name and payload.
    pub content: Digest,
    /// True once a client was told that it is there.
    pub is_acknowledged: bool,
    /// Where it lies, if a client was told or a reader saw it.
    pub place: Option<Place>,
}

/// One result of an answer, as the client reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// Stored, and where.
    Stored(Place),
    /// A repeat.
    Duplicate,
    /// Refused.
    Rejected,
}

/// What the clients together know.
#[derive(Debug, Default)]
pub struct Witness {
    events: HashMap<String, Sent>,
    /// Events that are gone on purpose.
    erased: HashSet<String>,
    /// Their sessions.
    erased_sessions: HashSet<String>,
    /// How many of them were there.
    erased_rows: u64,
    /// Those of them that a client was told are there.
    acknowledged: u64,
    /// Things sent, events and bad ones; each time anew.
    pub sent: u64,
    /// Bad ones among them.
    pub sent_bad: u64,
    /// Results that came back, by kind.
    pub told_stored: u64,
    /// Repeats that were told.
    pub told_duplicate: u64,
    /// Rejections that were told.
    pub told_rejected: u64,
    /// Answers to requests for taking events that were no 200, by status.
    pub refused: BTreeMap<u16, u64>,
    /// What was wrong while things ran.
    pub findings: Findings,
}

/// The books of the server, summed over tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Books {
    /// Things received.
    pub received: u64,
    /// Stored as new.
    pub stored: u64,
    /// Repeats.
    pub duplicate: u64,
    /// Refused.
    pub rejected: u64,
}

impl Witness {
    /// Notes an event that is about to be sent for the first time.
    pub fn will_send(&mut self, id: String, session: Arc<str>, timestamp: i64, content: Digest) {
        let sent = Sent { session, timestamp, content, is_acknowledged: false, place: None };
        self.events.insert(id, sent);
    }

    /// Notes one result for a good event. `is_repeat`: the same event was sent before.
    pub fn told(&mut self, id: &str, is_repeat: bool, told: Told) {
        let Some(sent) = self.events.get_mut(id) else {
            self.findings.add(Violation::Invented, format!("an answer names {id}, which was never sent"));
            return;
        };
        match told {
            Told::Stored(place) => {
                self.told_stored += 1;
                if is_repeat && sent.is_acknowledged {
                    let detail = format!("{id} was acknowledged, its repeat was stored at {place}");
                    self.findings.add(Violation::Doubled, detail);
                }
                if let Some(before) = sent.place.filter(|before| *before != place) {
                    let detail = format!("{id} was at {before}, an answer says {place}");
                    self.findings.add(Violation::OffsetChanged, detail);
                }
                sent.place = Some(place);
                self.acknowledged += u64::from(!sent.is_acknowledged);
                sent.is_acknowledged = true;
            }
            Told::Duplicate => {
                self.told_duplicate += 1;
                if !is_repeat {
                    self.findings.add(Violation::Lost, format!("{id} is new, but was taken for a repeat"));
                }
                self.acknowledged += u64::from(!sent.is_acknowledged);
                sent.is_acknowledged = true;
            }
            Told::Rejected => {
                self.told_rejected += 1;
                self.findings.add(Violation::Lost, format!("{id} is good, but was refused"));
            }
        }
    }

    /// Notes what a reader saw: from now on it must stay.
    pub fn saw(&mut self, id: &str, place: Place) {
        let Some(sent) = self.events.get_mut(id) else {
            if self.erased.contains(id) {
                self.findings.add(Violation::NotErased, format!("a reader sees {id} at {place}, which was to go"));
            } else {
                self.findings.add(Violation::Invented, format!("a reader sees {id}, which was never sent"));
            }
            return;
        };
        match sent.place {
            Some(before) if before != place => {
                let detail = format!("{id} was at {before}, a reader sees it at {place}");
                self.findings.add(Violation::OffsetChanged, detail);
            }
            _ => sent.place = Some(place),
        }
    }

    /// Session and time of an event that was sent.
    #[must_use]
    pub fn find(&self, id: &str) -> Option<(Arc<str>, i64)> {
        self.events.get(id).map(|sent| (Arc::clone(&sent.session), sent.timestamp))
    }

    /// Events of these sessions go from now on, on purpose: those that are there and those that may be. `rows`: how many of
    /// them are there. Nobody may be sending to them.
    pub fn erased(&mut self, sessions: &[String], rows: u64) {
        let gone = self.events.extract_if(|_, sent| sessions.iter().any(|session| **session == *sent.session));
        let gone: Vec<(String, Sent)> = gone.collect();
        let there = gone.iter().filter(|(_, sent)| sent.is_acknowledged || sent.place.is_some()).count() as u64;
        if rows < there || rows > gone.len() as u64 {
            let detail = format!("{rows} events of {sessions:?} go: {there} are there, {} were sent", gone.len());
            self.findings.add(Violation::NotErased, detail);
        }
        self.erased.extend(gone.into_iter().map(|(id, _)| id));
        self.erased_sessions.extend(sessions.iter().cloned());
        self.erased_rows += rows;
    }

    /// True if this event, or this session, is gone on purpose.
    #[must_use]
    pub fn is_erased(&self, id: &str) -> bool {
        self.erased.contains(id) || self.erased_sessions.contains(id)
    }

    /// How many events a client was told are there.
    #[must_use]
    pub const fn acknowledged(&self) -> u64 {
        self.acknowledged
    }

    /// Holds everything that was read back against what is known. `sessions`: the rows of each session, as answered.
    #[must_use]
    pub fn check_rows(&self, sessions: &[Vec<Row>]) -> Findings {
        let mut findings = Findings::default();
        let mut found: HashMap<&str, &Row> = HashMap::new();
        let mut places: HashMap<Place, &str> = HashMap::new();
        for rows in sessions {
            check_order(rows, &mut findings);
            for row in rows {
                if found.insert(&row.id, row).is_some() {
                    findings.add(Violation::Doubled, format!("{} is there twice", row.id));
                }
                if let Some(other) = places.insert(row.place, &row.id).filter(|other| *other != row.id) {
                    findings.add(Violation::Doubled, format!("{} and {other} are both at {}", row.id, row.place));
                }
                match self.events.get(&row.id) {
                    Some(sent) => check_row(row, sent, &mut findings),
                    None if self.erased.contains(&row.id) => {
                        findings.add(Violation::NotErased, format!("{} at {} was to go", row.id, row.place));
                    }
                    None => findings.add(Violation::Invented, format!("{} at {} was never sent", row.id, row.place)),
                }
            }
        }
        for (id, sent) in &self.events {
            if found.contains_key(id.as_str()) {
                continue;
            }
            if sent.is_acknowledged {
                let place = sent.place.map(|place| format!(" at {place}")).unwrap_or_default();
                findings.add(Violation::Lost, format!("{id} was acknowledged{place} and is not there"));
            } else if let Some(place) = sent.place {
                findings.add(Violation::Vanished, format!("a reader saw {id} at {place}, and it is not there"));
            }
        }
        findings
    }

    /// Holds the server's books against the clients' and against the rows that are there.
    #[must_use]
    pub fn check_books(&self, books: Books, rows: u64) -> Findings {
        let mut findings = Findings::default();
        let mut wrong = |what: String| findings.add(Violation::LedgerWrong, format!("{what}: {books:?}"));
        if books.received != books.stored + books.duplicate + books.rejected {
            wrong("received is not stored + duplicate + rejected".to_owned());
        }
        if books.stored != rows + self.erased_rows {
            wrong(format!("{rows} events are there, {} are gone on purpose", self.erased_rows));
        }
        if books.received > self.sent {
            wrong(format!("{} things were sent", self.sent));
        }
        if books.rejected > self.sent_bad {
            wrong(format!("{} bad things were sent", self.sent_bad));
        }
        if books.duplicate < self.told_duplicate {
            wrong(format!("{} repeats were told", self.told_duplicate));
        }
        if books.rejected < self.told_rejected {
            wrong(format!("{} rejections were told", self.told_rejected));
        }
        findings
    }
}

/// One row against what was sent.
fn check_row(row: &Row, sent: &Sent, findings: &mut Findings) {
    if row.session != *sent.session || row.timestamp != sent.timestamp || row.content != sent.content {
        findings.add(Violation::Changed, format!("{} at {} is not what was sent", row.id, row.place));
    }
    if let Some(place) = sent.place.filter(|place| *place != row.place) {
        findings.add(Violation::OffsetChanged, format!("{} was at {place} and is at {}", row.id, row.place));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DATA: &str = "{\"n\":1}";

    fn place(offset: u64) -> Place {
        Place { partition: 0, offset }
    }

    fn row(id: &str, timestamp: i64, offset: u64) -> Row {
        let content = Digest::of_event("c", "n", DATA);
        Row { id: id.to_owned(), session: "s".to_owned(), timestamp, place: place(offset), content }
    }

    /// Three events: `a` and `b` acknowledged, `c` sent only.
    fn witness() -> Witness {
        let mut witness = Witness { sent: 3, ..Witness::default() };
        for (id, timestamp) in [("a", 10), ("b", 20), ("c", 30)] {
            witness.will_send(id.to_owned(), "s".into(), timestamp, Digest::of_event("c", "n", DATA));
        }
        witness.told("a", false, Told::Stored(place(1)));
        witness.told("b", false, Told::Stored(place(2)));
        witness
    }

    fn names(findings: &Findings) -> Vec<Violation> {
        findings.counts().keys().copied().collect()
    }

    fn check(rows: &[Row]) -> Vec<Violation> {
        names(&witness().check_rows(&[rows.to_vec()]))
    }

    #[test]
    fn an_event_is_acknowledged_once_however_often_it_is_told() {
        let mut witness = witness();
        witness.told("a", true, Told::Duplicate);
        assert_eq!(witness.acknowledged(), 2);
    }

    #[test]
    fn what_was_not_acknowledged_may_be_there_or_not() {
        assert_eq!(check(&[row("b", 20, 2), row("a", 10, 1)]), []);
        assert_eq!(check(&[row("c", 30, 3), row("b", 20, 2), row("a", 10, 1)]), []);
    }

    #[test]
    fn a_lost_event_is_named() {
        assert_eq!(check(&[row("b", 20, 2)]), [Violation::Lost]);
        let mut witness = witness();
        witness.told("c", false, Told::Duplicate);
        assert_eq!(names(&witness.findings), [Violation::Lost], "a false duplicate");
    }

    #[test]
    fn a_doubled_event_is_named() {
        let rows = [row("b", 20, 3), row("b", 20, 2), row("a", 10, 1)];
        assert_eq!(check(&rows), [Violation::Doubled, Violation::OffsetChanged]);
        assert_eq!(check(&[row("c", 30, 2), row("b", 20, 2), row("a", 10, 1)]), [Violation::Doubled], "one offset");
        let mut witness = witness();
        witness.told("a", true, Told::Stored(place(1)));
        assert_eq!(names(&witness.findings), [Violation::Doubled], "a repeat that was stored again");
    }

    #[test]
    fn an_invented_event_is_named() {
        assert_eq!(check(&[row("b", 20, 2), row("a", 10, 1), row("x", 1, 9)]), [Violation::Invented]);
    }

    #[test]
    fn a_changed_event_is_named() {
        for (category, name, data) in [("c", "n", "{\"n\":2}"), ("d", "n", DATA), ("c", "m", DATA)] {
            let other = Row { content: Digest::of_event(category, name, data), ..row("a", 10, 1) };
            assert_eq!(check(&[row("b", 20, 2), other]), [Violation::Changed]);
        }
        assert_eq!(check(&[row("b", 20, 2), row("a", 11, 1)]), [Violation::Changed]);
    }

    #[test]
    fn a_session_out_of_order_is_named() {
        assert_eq!(check(&[row("a", 10, 1), row("b", 20, 2)]), [Violation::OutOfOrder]);
    }

    #[test]
    fn a_changed_offset_is_named() {
        assert_eq!(check(&[row("b", 20, 5), row("a", 10, 1)]), [Violation::OffsetChanged]);
        let mut witness = witness();
        witness.saw("a", place(7));
        assert_eq!(names(&witness.findings), [Violation::OffsetChanged]);
    }

    #[test]
    fn an_erased_event_that_is_there_is_named() {
        let mut witness = witness();
        witness.will_send("d".to_owned(), "other".into(), 40, Digest::of_event("c", "n", DATA));
        witness.erased(&["s".to_owned()], 2);
        assert_eq!(["b", "s", "d", "other"].map(|id| witness.is_erased(id)), [true, true, false, false]);
        assert_eq!(names(&witness.check_rows(&[vec![]])), []);
        assert_eq!(names(&witness.check_rows(&[vec![row("b", 20, 2)]])), [Violation::NotErased]);
        let books = Books { received: 2, stored: 2, ..Books::default() };
        assert!(witness.check_books(books, 0).is_empty());
        assert_eq!(names(&witness.check_books(books, 2)), [Violation::LedgerWrong]);
        assert!(witness.findings.is_empty());
        witness.saw("b", place(2));
        assert_eq!(names(&witness.findings), [Violation::NotErased]);
    }

    #[test]
    fn an_erasure_of_too_few_or_too_many_is_named() {
        for (rows, is_right) in [(1, false), (2, true), (3, true), (4, false)] {
            let mut witness = witness();
            witness.erased(&["s".to_owned()], rows);
            assert_eq!(witness.findings.is_empty(), is_right, "{rows}");
        }
    }

    #[test]
    fn an_event_that_vanishes_after_it_was_seen_is_named() {
        let mut witness = witness();
        witness.saw("c", place(3));
        let findings = witness.check_rows(&[vec![row("b", 20, 2), row("a", 10, 1)]]);
        assert_eq!(names(&findings), [Violation::Vanished]);
        let earlier = [row("b", 20, 2), row("a", 10, 1)];
        assert_eq!(
            names(&check_later_view(&earlier, &[row("c", 30, 3), row("a", 10, 1)], true)),
            [Violation::Vanished]
        );
        assert!(
            check_later_view(&earlier, &[row("c", 30, 3), row("b", 20, 2)], false).is_empty(),
            "a is on a later page"
        );
        assert_eq!(names(&check_later_view(&earlier, &[row("b", 20, 2)], true)), [Violation::Vanished]);
    }

    #[test]
    fn wrong_books_are_named() {
        let right = Books { received: 2, stored: 2, ..Books::default() };
        assert!(witness().check_books(right, 2).is_empty());
        for wrong in [
            Books { received: 3, ..right },
            Books { stored: 3, received: 3, ..right },
            Books { received: 4, duplicate: 2, ..right },
            Books { received: 3, rejected: 1, ..right },
        ] {
            assert_eq!(names(&witness().check_books(wrong, 2)), [Violation::LedgerWrong], "{wrong:?}");
        }
        let mut told = witness();
        told.told("a", true, Told::Duplicate);
        assert_eq!(names(&told.check_books(right, 2)), [Violation::LedgerWrong], "a repeat is not in the books");
    }

    #[test]
    fn a_table_that_differs_is_named() {
        let api = [row("c", 30, 3), row("b", 20, 2), row("a", 10, 1)];
        let flushed = BTreeMap::from([(0, 2)]);
        assert!(check_table(&api, &[row("a", 10, 1), row("b", 20, 2)], &flushed).is_empty());
        for table in [
            vec![row("a", 10, 1)],
            vec![row("a", 10, 1), row("b", 20, 2), row("c", 30, 3)],
            vec![row("a", 10, 1), row("b", 21, 2)],
            vec![row("a", 10, 1), row("b", 20, 2), row("b", 20, 2)],
        ] {
            assert_eq!(names(&check_table(&api, &table, &flushed)), [Violation::TableDiffers], "{table:?}");
        }
    }

    #[test]
    fn a_log_that_differs_is_named() {
        let api = [row("c", 30, 3), row("b", 20, 2), row("a", 10, 1)];
        let flushed = BTreeMap::from([(0, 1)]);
        assert!(check_log(&api, &[row("b", 20, 2), row("c", 30, 3)], &flushed).is_empty());
        let with_repeat = [row("b", 20, 2), row("c", 30, 3), row("a", 10, 4)];
        assert!(check_log(&api, &with_repeat, &flushed).is_empty(), "a repeat of a flushed event");
        for log in [
            vec![row("b", 20, 2)],
            vec![row("b", 20, 2), row("c", 31, 3)],
            vec![row("b", 20, 2), row("c", 30, 3), row("x", 40, 4)],
        ] {
            assert_eq!(names(&check_log(&api, &log, &flushed)), [Violation::LogDiffers], "{log:?}");
        }
    }
}
