//! The one oracle: what the clients know against what can be read.
//!
//! Clients note every event before it is sent and every acknowledgement after it came. What is read back (from the API,
//! the raw log, the table) is held against that. Everything here is a pure function of these notes, so that each
//! violation has a test with made-up observations: an oracle that cannot fail proves nothing.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::sync::Arc;

/// Findings of one kind that are kept; the others are as bad.
const KEPT_MAX: usize = 5;

/// What can be wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Violation {
    /// An acknowledged event is not there, or a good one was refused or taken for a repeat.
    Lost,
    /// An event is there twice, a repeat was stored again, or an offset was used twice.
    Doubled,
    /// Something is there that nobody sent.
    Invented,
    /// An event is there with other bytes, another time or in another session.
    Changed,
    /// A session is not in order, or offsets do not rise with acknowledgements.
    OutOfOrder,
    /// An event has another offset than the one that was acknowledged.
    OffsetChanged,
    /// A reader saw an event, or was told of it, and later did not see it.
    Vanished,
    /// received = stored + duplicate + rejected does not hold, or does not agree with the clients.
    LedgerWrong,
    /// A second reader of the table sees other rows than the API.
    TableDiffers,
    /// The raw log does not hold what the API shows.
    LogDiffers,
    /// `eye verify` found something.
    VerifyFailed,
    /// The server does not start, stop or answer as it should, or ended by itself.
    NotRecovered,
    /// An answer was sent before a sync had made it durable.
    AckedEarly,
    /// Something was relied on before it was durable: a file, a name, a commit before a trim.
    NotDurable,
    /// What was erased, or was too old, is there again or still.
    NotErased,
    /// A test did not test what it is there for: a sabotage that nobody noticed, a crash point that nobody came to, a load
    /// of which nothing was taken.
    NotTested,
}

/// A violation, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Which.
    pub violation: Violation,
    /// What exactly.
    pub detail: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.violation, self.detail)
    }
}

/// Findings, the first few of each kind in words and all of them counted.
#[derive(Clone, Debug, Default)]
pub struct Findings {
    kept: Vec<Finding>,
    counts: BTreeMap<Violation, u64>,
}

impl Findings {
    /// Adds one.
    pub fn add(&mut self, violation: Violation, detail: impl Into<String>) {
        let count = self.counts.entry(violation).or_default();
        *count += 1;
        if *count <= KEPT_MAX as u64 {
            self.kept.push(Finding { violation, detail: detail.into() });
        }
    }

    /// Adds all of another.
    pub fn extend(&mut self, other: Self) {
        for (violation, count) in &other.counts {
            let kept = other.kept.iter().filter(|finding| finding.violation == *violation);
            let kept: Vec<_> = kept.map(|finding| finding.detail.clone()).collect();
            let rest = count.saturating_sub(kept.len() as u64);
            kept.into_iter().for_each(|detail| self.add(*violation, detail));
            *self.counts.entry(*violation).or_default() += rest;
        }
    }

    /// True if nothing is wrong.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.counts.is_empty()
    }

    /// How often each violation was found.
    #[must_use]
    pub const fn counts(&self) -> &BTreeMap<Violation, u64> {
        &self.counts
    }

    /// The first few in words.
    #[must_use]
    pub fn kept(&self) -> &[Finding] {
        &self.kept
    }

    /// The names of the violations, such as `Lost 3, Doubled 1`.
    #[must_use]
    pub fn names(&self) -> String {
        let names: Vec<String> =
            self.counts.iter().map(|(violation, count)| format!("{violation:?} {count}")).collect();
        names.join(", ")
    }
}

/// A place in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place {
    /// The partition.
    pub partition: u16,
    /// The offset in it.
    pub offset: u64,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.partition, self.offset)
    }
}

/// The bytes of an event in short: CRC-32 and length. Enough to know others from them, and the same in Python.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Digest {
    crc: u32,
    length: u32,
}

impl Digest {
    /// Of these bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        const TABLE: [u32; 256] = crc_table();
        let crc = bytes.iter().fold(!0_u32, |crc, byte| TABLE[((crc ^ u32::from(*byte)) & 0xff) as usize] ^ (crc >> 8));
        Self { crc: !crc, length: bytes.len() as u32 }
    }

    /// Of what an event says: category, name and payload, with a NUL between, so that no byte can move from one to another.
    #[must_use]
    pub fn of_event(category: &str, name: &str, data: &str) -> Self {
        Self::of([category, name, data].join("\0").as_bytes())
    }

    /// From what another reader computed.
    #[must_use]
    pub const fn from_parts(crc: u32, length: u32) -> Self {
        Self { crc, length }
    }
}

const fn crc_table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut index = 0;
    while index < 256 {
        let mut value = index as u32;
        let mut bit = 0;
        while bit < 8 {
            value = if value & 1 == 1 { 0xedb8_8320 ^ (value >> 1) } else { value >> 1 };
            bit += 1;
        }
        table[index] = value;
        index += 1;
    }
    table
}

/// An event as some reader sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The client's id.
    pub id: String,
    /// Its session.
    pub session: String,
    /// The client's time, in microseconds since 1970.
    pub timestamp: i64,
    /// Where it lies.
    pub place: Place,
    /// Category, name and payload.
    pub content: Digest,
}

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
    fn the_digest_is_the_crc_that_python_has_too() {
        assert_eq!(Digest::of(b"123456789"), Digest::from_parts(0xcbf4_3926, 9));
    }

    #[test]
    fn the_digest_knows_category_and_name_and_where_they_end() {
        let others = [("d", "n", DATA), ("c", "m", DATA), ("cn", "", DATA), ("", "cn", DATA), ("c", "n", "{\"n\":2}")];
        for (category, name, data) in others {
            assert_ne!(Digest::of_event(category, name, data), Digest::of_event("c", "n", DATA));
        }
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

    #[test]
    fn findings_are_counted_beyond_those_kept() {
        let mut findings = Findings::default();
        (0..9).for_each(|n| findings.add(Violation::Lost, n.to_string()));
        let mut all = Findings::default();
        all.add(Violation::Doubled, "x");
        all.extend(findings);
        assert_eq!(all.names(), "Lost 9, Doubled 1");
        assert_eq!(all.kept().len(), 1 + KEPT_MAX);
    }
}
