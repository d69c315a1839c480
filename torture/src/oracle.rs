//! The one oracle: what the clients know against what can be read.
//!
//! Clients note every event before it is sent and every acknowledgement after it came. What is read back (from the API,
//! the raw log, the tables) is held against that. Everything here is a pure function of these notes, so that each
//! violation has a test with made-up observations: an oracle that cannot fail proves nothing.
//!
//! An event is known by its application and its id. The same id stands for another event in another application; it is in
//! the same session there.
//!
//! | module | what it holds |
//! |---|---|
//! | `findings` | the violations by name, and what was found |
//! | `refusals` | items that must be refused, and their rejections |
//! | `row` | an event, and a rejection, as some reader sees it |
//! | `views` | what two readers see, against each other |

mod findings;
mod refusals;
mod row;
mod views;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use eye_event::{Problem, Problems};

pub use findings::{Finding, Findings, Violation};
pub use refusals::{Reason, Refusals};
pub use row::{Digest, Place, Placed, Refusal, Row, Said};
pub use views::{check_later_view, check_log, check_order, check_own, check_rejections_log, check_table, check_tenant};

/// So far ahead of the server's clock a time may lie before that is a problem: five minutes, unless set otherwise.
const FUTURE_MICROS: i64 = 5 * 60 * 1_000_000;

/// What is known of one event that was sent.
#[derive(Clone, Debug)]
pub struct Sent {
    session: Arc<str>,
    /// The client's time; `None` if it says none that can be read: then it is that of its arrival.
    timestamp: Option<i64>,
    /// What is wrong with it whenever it arrives.
    problems: Problems,
    /// Everything else that it says.
    content: Digest,
    /// True once a client was told that it is there.
    is_acknowledged: bool,
    /// Where it lies, if a client was told or a reader saw it.
    place: Option<Place>,
    /// When it arrived, if a reader saw it.
    received_at: Option<i64>,
}

impl Sent {
    /// An event that is about to be sent.
    #[must_use]
    pub fn new(session: &str, timestamp: Option<i64>, problems: Problems, content: Digest) -> Self {
        let session = session.into();
        Self { session, timestamp, problems, content, is_acknowledged: false, place: None, received_at: None }
    }

    /// True if this row is it, but for where it lies. Only the server knows when it arrived.
    fn is(&self, row: &Row) -> bool {
        let timestamp = self.timestamp.unwrap_or(row.received_at);
        let problems = match timestamp > row.received_at.saturating_add(FUTURE_MICROS) {
            true => self.problems.with(Problem::TimestampInFuture),
            false => self.problems,
        };
        *self.session == row.session
            && timestamp == row.timestamp
            && problems == row.problems
            && self.content == row.content
            && self.received_at.is_none_or(|before| before == row.received_at)
    }
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
    /// By application and id.
    events: HashMap<String, HashMap<String, Sent>>,
    /// Items that must be refused.
    pub refusals: Refusals,
    /// Events that are gone on purpose, in all applications.
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
    pub fn will_send(&mut self, application: &str, id: String, sent: Sent) {
        self.events.entry(application.to_owned()).or_default().insert(id, sent);
    }

    /// Notes one result for a good event. `is_repeat`: the same event was sent before.
    pub fn told(&mut self, application: &str, id: &str, is_repeat: bool, told: Told) {
        let Some(sent) = self.events.get_mut(application).and_then(|events| events.get_mut(id)) else {
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
    pub fn saw(&mut self, row: &Row) {
        let Row { application, id, place, .. } = row;
        let Some(sent) = self.events.get_mut(application).and_then(|events| events.get_mut(id)) else {
            if self.erased.contains(id) {
                self.findings.add(Violation::NotErased, format!("a reader sees {id} at {place}, which was to go"));
            } else {
                self.findings.add(Violation::Invented, format!("a reader sees {id}, which was never sent"));
            }
            return;
        };
        check_row(row, sent, &mut self.findings);
        sent.place.get_or_insert(*place);
        sent.received_at.get_or_insert(row.received_at);
    }

    /// Session and time of an event that was sent, if it has a time of its own.
    #[must_use]
    pub fn find(&self, application: &str, id: &str) -> Option<(Arc<str>, i64)> {
        let sent = self.events.get(application)?.get(id)?;
        Some((Arc::clone(&sent.session), sent.timestamp?))
    }

    /// Events of these sessions go from now on, on purpose, those of all applications: those that are there and those that
    /// may be. `rows`: how many of them are there. Nobody may be sending to them.
    pub fn erased(&mut self, sessions: &[String], rows: u64) {
        let mut gone: Vec<(String, Sent)> = Vec::new();
        for events in self.events.values_mut() {
            gone.extend(events.extract_if(|_, sent| sessions.iter().any(|session| **session == *sent.session)));
        }
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

    /// How many of those that are to be there are of this application.
    #[must_use]
    pub fn acknowledged_of(&self, application: &str) -> u64 {
        let events = self.events.get(application).into_iter().flat_map(HashMap::values);
        events.filter(|sent| sent.is_acknowledged).count() as u64
    }

    /// Holds everything that was read back against what is known. `sessions`: the rows of each session, as answered.
    #[must_use]
    pub fn check_rows(&self, sessions: &[Vec<Row>]) -> Findings {
        let mut findings = Findings::default();
        let mut found: HashSet<[&str; 2]> = HashSet::new();
        let mut places: HashMap<Place, [&str; 2]> = HashMap::new();
        for rows in sessions {
            check_order(rows, &mut findings);
            for row in rows {
                let name = [row.application.as_str(), row.id.as_str()];
                if !found.insert(name) {
                    findings.add(Violation::Doubled, format!("{} of {} is there twice", row.id, row.application));
                }
                if let Some([_, other]) = places.insert(row.place, name).filter(|other| *other != name) {
                    findings.add(Violation::Doubled, format!("{} and {other} are both at {}", row.id, row.place));
                }
                match self.events.get(&row.application).and_then(|events| events.get(&row.id)) {
                    Some(sent) => check_row(row, sent, &mut findings),
                    None if self.erased.contains(&row.id) => {
                        findings.add(Violation::NotErased, format!("{} at {} was to go", row.id, row.place));
                    }
                    None => findings.add(Violation::Invented, format!("{} at {} was never sent", row.id, row.place)),
                }
            }
        }
        for (application, events) in &self.events {
            for (id, sent) in events.iter().filter(|(id, _)| !found.contains(&[application.as_str(), id.as_str()])) {
                if sent.is_acknowledged {
                    let place = sent.place.map(|place| format!(" at {place}")).unwrap_or_default();
                    let detail = format!("{id} of {application} was acknowledged{place} and is not there");
                    findings.add(Violation::Lost, detail);
                } else if let Some(place) = sent.place {
                    findings.add(Violation::Vanished, format!("a reader saw {id} at {place}, and it is not there"));
                }
            }
        }
        findings
    }

    /// Holds the server's books against the clients' and against the rows and rejections that are there.
    #[must_use]
    pub fn check_books(&self, books: Books, rows: u64, rejections: u64) -> Findings {
        let mut findings = Findings::default();
        let mut wrong = |what: String| findings.add(Violation::LedgerWrong, format!("{what}: {books:?}"));
        if books.received != books.stored + books.duplicate + books.rejected {
            wrong("received is not stored + duplicate + rejected".to_owned());
        }
        if books.stored != rows + self.erased_rows {
            wrong(format!("{rows} events are there, {} are gone on purpose", self.erased_rows));
        }
        if books.rejected < rejections || books.rejected > rejections && !self.refusals.may_lack_some() {
            wrong(format!("{rejections} rejections are there"));
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
    if !sent.is(row) {
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
    const WHOSE: &str = "default";

    fn place(offset: u64) -> Place {
        Place { partition: 0, offset }
    }

    fn content(data: &str) -> Digest {
        Said { category: "c", name: "n", data, ..Said::default() }.digest()
    }

    fn row(id: &str, timestamp: i64, offset: u64) -> Row {
        Row {
            application: WHOSE.to_owned(),
            id: id.to_owned(),
            session: "s".to_owned(),
            timestamp,
            received_at: 100,
            problems: Problems::NONE,
            place: place(offset),
            content: content(DATA),
        }
    }

    fn of(application: &str, row: Row) -> Row {
        Row { application: application.to_owned(), ..row }
    }

    fn sent(session: &str, timestamp: i64) -> Sent {
        Sent::new(session, Some(timestamp), Problems::NONE, content(DATA))
    }

    /// Three events: `a` and `b` acknowledged, `c` sent only.
    fn witness() -> Witness {
        let mut witness = Witness { sent: 3, ..Witness::default() };
        for (id, timestamp) in [("a", 10), ("b", 20), ("c", 30)] {
            witness.will_send(WHOSE, id.to_owned(), sent("s", timestamp));
        }
        witness.told(WHOSE, "a", false, Told::Stored(place(1)));
        witness.told(WHOSE, "b", false, Told::Stored(place(2)));
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
        witness.told(WHOSE, "a", true, Told::Duplicate);
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
        witness.told(WHOSE, "c", false, Told::Duplicate);
        assert_eq!(names(&witness.findings), [Violation::Lost], "a false duplicate");
    }

    #[test]
    fn a_doubled_event_is_named() {
        let rows = [row("b", 20, 3), row("b", 20, 2), row("a", 10, 1)];
        assert_eq!(check(&rows), [Violation::Doubled, Violation::OffsetChanged]);
        assert_eq!(check(&[row("c", 30, 2), row("b", 20, 2), row("a", 10, 1)]), [Violation::Doubled], "one offset");
        let mut witness = witness();
        witness.told(WHOSE, "a", true, Told::Stored(place(1)));
        assert_eq!(names(&witness.findings), [Violation::Doubled], "a repeat that was stored again");
    }

    #[test]
    fn an_invented_event_is_named() {
        assert_eq!(check(&[row("b", 20, 2), row("a", 10, 1), row("x", 1, 9)]), [Violation::Invented]);
    }

    #[test]
    fn a_changed_event_is_named() {
        let a = row("a", 10, 1);
        for changed in [
            Row { content: content("{\"n\":2}"), ..a.clone() },
            Row { timestamp: 11, ..a.clone() },
            Row { problems: Problems::NONE.with(Problem::PayloadUnexpected), ..a.clone() },
            Row { session: "other".to_owned(), ..a },
        ] {
            assert_eq!(check(&[row("b", 20, 2), changed.clone()]), [Violation::Changed], "{changed:?}");
        }
    }

    #[test]
    fn a_time_of_arrival_that_changes_is_named() {
        let mut witness = witness();
        witness.saw(&row("a", 10, 1));
        assert!(witness.findings.is_empty());
        let rows = vec![row("b", 20, 2), Row { received_at: 101, ..row("a", 10, 1) }];
        assert_eq!(names(&witness.check_rows(&[rows])), [Violation::Changed]);
    }

    #[test]
    fn an_event_whose_time_is_none_has_that_of_its_arrival() {
        let mut witness = witness();
        let problems = Problems::NONE.with(Problem::TimestampUnreadable);
        witness.will_send(WHOSE, "d".to_owned(), Sent::new("s", None, problems, content(DATA)));
        let found = |row: Row| {
            let rows = [row, self::row("b", 20, 2), self::row("a", 10, 1)];
            names(&witness.check_rows(&[rows.to_vec()]))
        };
        let right = Row { problems, ..row("d", 100, 4) };
        assert_eq!(found(right.clone()), []);
        for wrong in [Row { timestamp: 99, ..right.clone() }, Row { problems: Problems::NONE, ..right }] {
            assert_eq!(found(wrong), [Violation::Changed]);
        }
    }

    #[test]
    fn a_time_far_ahead_of_its_arrival_is_a_problem() {
        let mut witness = witness();
        witness.will_send(WHOSE, "d".to_owned(), sent("s", 100 + FUTURE_MICROS + 1));
        let late = row("d", 100 + FUTURE_MICROS + 1, 4);
        let flagged = Row { problems: Problems::NONE.with(Problem::TimestampInFuture), ..late.clone() };
        let in_time = Row { received_at: 101, ..late.clone() };
        for (row, expected) in [(flagged, vec![]), (in_time, vec![]), (late, vec![Violation::Changed])] {
            let rows = vec![row, self::row("b", 20, 2), self::row("a", 10, 1)];
            assert_eq!(names(&witness.check_rows(&[rows])), expected);
        }
    }

    #[test]
    fn the_same_id_in_another_application_is_another_event() {
        let mut witness = witness();
        witness.will_send("other", "a".to_owned(), sent("s", 10));
        witness.told("other", "a", false, Told::Stored(place(3)));
        assert!(witness.findings.is_empty());
        assert_eq!([WHOSE, "other", "no"].map(|application| witness.acknowledged_of(application)), [2, 1, 0]);
        let both = [row("b", 20, 2), of("other", row("a", 10, 3)), row("a", 10, 1)];
        assert_eq!(names(&witness.check_rows(&[both.to_vec()])), []);
        assert_eq!(names(&witness.check_rows(&[vec![row("b", 20, 2), row("a", 10, 1)]])), [Violation::Lost]);
        let twice = [row("b", 20, 2), row("a", 10, 3), row("a", 10, 1)];
        let expected = [Violation::Lost, Violation::Doubled, Violation::OffsetChanged];
        assert_eq!(names(&witness.check_rows(&[twice.to_vec()])), expected, "stored as the first one's");
        witness.will_send("other", "b".to_owned(), sent("s", 20));
        witness.told("other", "b", false, Told::Duplicate);
        assert_eq!(names(&witness.findings), [Violation::Lost], "taken for a repeat of the first one's");
    }

    #[test]
    fn an_event_of_an_application_that_never_sent_it_is_named() {
        let rows = [row("b", 20, 2), row("a", 10, 1), of("other", row("c", 5, 3))];
        assert_eq!(check(&rows), [Violation::Invented]);
    }

    #[test]
    fn what_another_application_sees_is_named() {
        let all = [row("b", 20, 2), of("other", row("a", 10, 3)), row("a", 10, 1)];
        let own = [row("b", 20, 2), row("a", 10, 1)];
        assert_eq!(names(&check_tenant(WHOSE, &all, &own)), []);
        assert_eq!(names(&check_tenant("other", &all, &all[1..2])), []);
        assert_eq!(names(&check_tenant("other", &all, &own)), [Violation::Vanished, Violation::Leaked]);
        assert_eq!(names(&check_tenant(WHOSE, &all, &all)), [Violation::Leaked]);
        assert_eq!(names(&check_own("other", &all)), [Violation::Leaked]);
        assert_eq!(names(&check_tenant(WHOSE, &all, &own[..1])), [Violation::Vanished]);
        let twice = [own[0].clone(), own[1].clone(), own[1].clone()];
        assert_eq!(names(&check_tenant(WHOSE, &all, &twice)), [Violation::Invented]);
        let otherwise = [own[0].clone(), Row { timestamp: 11, ..own[1].clone() }];
        assert_eq!(names(&check_tenant(WHOSE, &all, &otherwise)), [Violation::Changed]);
    }

    #[test]
    fn a_session_out_of_order_is_named() {
        assert_eq!(check(&[row("a", 10, 1), row("b", 20, 2)]), [Violation::OutOfOrder]);
    }

    #[test]
    fn a_changed_offset_is_named() {
        assert_eq!(check(&[row("b", 20, 5), row("a", 10, 1)]), [Violation::OffsetChanged]);
        let mut witness = witness();
        witness.saw(&row("a", 10, 7));
        assert_eq!(names(&witness.findings), [Violation::OffsetChanged]);
    }

    #[test]
    fn an_erased_event_that_is_there_is_named() {
        let mut witness = witness();
        witness.will_send(WHOSE, "d".to_owned(), sent("other", 40));
        witness.will_send("other", "a".to_owned(), sent("s", 10));
        witness.erased(&["s".to_owned()], 2);
        assert_eq!(["b", "s", "d", "other"].map(|id| witness.is_erased(id)), [true, true, false, false]);
        assert_eq!(names(&witness.check_rows(&[vec![]])), []);
        assert_eq!(names(&witness.check_rows(&[vec![row("b", 20, 2)]])), [Violation::NotErased]);
        let others = of("other", row("a", 10, 3));
        assert_eq!(names(&witness.check_rows(&[vec![others]])), [Violation::NotErased], "of another application");
        let books = Books { received: 2, stored: 2, ..Books::default() };
        assert!(witness.check_books(books, 0, 0).is_empty());
        assert_eq!(names(&witness.check_books(books, 2, 0)), [Violation::LedgerWrong]);
        assert!(witness.findings.is_empty());
        witness.saw(&row("b", 20, 2));
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
        witness.saw(&row("c", 30, 3));
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
        assert!(witness().check_books(right, 2, 0).is_empty());
        for wrong in [
            Books { received: 3, ..right },
            Books { stored: 3, received: 3, ..right },
            Books { received: 4, duplicate: 2, ..right },
            Books { received: 3, rejected: 1, ..right },
        ] {
            assert_eq!(names(&witness().check_books(wrong, 2, 0)), [Violation::LedgerWrong], "{wrong:?}");
        }
        let mut told = witness();
        told.told(WHOSE, "a", true, Told::Duplicate);
        assert_eq!(names(&told.check_books(right, 2, 0)), [Violation::LedgerWrong], "a repeat is not in the books");
    }

    #[test]
    fn books_without_a_rejection_that_is_there_or_with_one_that_is_not_are_named() {
        let mut witness = Witness { sent: 4, sent_bad: 1, ..witness() };
        let books = Books { received: 3, stored: 2, rejected: 1, ..Books::default() };
        for (rejections, is_right) in [(0, false), (1, true), (2, false)] {
            assert_eq!(witness.check_books(books, 2, rejections).is_empty(), is_right, "{rejections}");
        }
        witness.refusals.may_go();
        for (rejections, is_right) in [(0, true), (1, true), (2, false)] {
            assert_eq!(witness.check_books(books, 2, rejections).is_empty(), is_right, "{rejections} after an erasure");
        }
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
            vec![row("a", 10, 1), of("other", row("b", 20, 2))],
            vec![row("a", 10, 1), Row { received_at: 101, ..row("b", 20, 2) }],
            vec![row("a", 10, 1), Row { problems: Problems::TIME, ..row("b", 20, 2) }],
            vec![row("a", 10, 1), Row { content: content("{}"), ..row("b", 20, 2) }],
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
            vec![row("b", 20, 2), Row { received_at: 101, ..row("c", 30, 3) }],
            vec![row("b", 20, 2), row("c", 30, 3), of("other", row("a", 10, 4))],
        ] {
            assert_eq!(names(&check_log(&api, &log, &flushed)), [Violation::LogDiffers], "{log:?}");
        }
    }

    #[test]
    fn rejections_in_a_table_or_a_log_that_differ_are_named() {
        let refusal = |sample: &str, offset| Refusal {
            application: WHOSE.to_owned(),
            token: "t".to_owned(),
            received_at: 100,
            place: place(offset),
            code: "not_json".to_owned(),
            field: String::new(),
            message: "m".to_owned(),
            sample: sample.to_owned(),
        };
        let api = [refusal("b", 2), refusal("a", 1)];
        let flushed = BTreeMap::from([(0, 1)]);
        assert!(check_table(&api, &[refusal("a", 1)], &flushed).is_empty());
        assert!(check_rejections_log(&api, &[refusal("b", 2)], &flushed).is_empty());
        assert!(check_rejections_log(&api, &[refusal("a", 1), refusal("b", 2)], &flushed).is_empty());
        let changed = Refusal { token: "u".to_owned(), ..refusal("a", 1) };
        for table in [vec![], vec![changed], vec![refusal("a", 1), refusal("a", 1)]] {
            assert_eq!(names(&check_table(&api, &table, &flushed)), [Violation::TableDiffers], "{table:?}");
        }
        let changed = Refusal { received_at: 101, ..refusal("b", 2) };
        for log in [vec![], vec![changed], vec![refusal("b", 2), refusal("a", 3)]] {
            let findings = check_rejections_log(&api, &log, &flushed);
            assert_eq!(names(&findings), [Violation::LogDiffers], "{log:?}");
        }
    }
}
