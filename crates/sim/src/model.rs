//! The oracle: what a node must answer, kept in plain maps. It knows the rules and none of the machinery.

use std::collections::{BTreeMap, BTreeSet};

use eye_event::{BatchHeader, EventRef, Problems, RejectionRef, Timestamp, partition_of};
use eye_log::{Offset, PartitionId};
use eye_store::{Counts, Outcome, Request, StoredEvent};

/// Partitions of the log.
pub const PARTITIONS: u16 = 2;
/// The dedup window, in seconds.
pub const WINDOW_SECONDS: i64 = 3600;
/// The application whose events are kept for a shorter time.
pub const SHORT_LIVED: &str = "web";
/// For how many days.
pub const SHORT_DAYS: u32 = 1;
/// For how many days all others are kept.
pub const DAYS: u32 = 3;
/// The same of rejections.
pub const REJECTION_DAYS: u32 = 2;

/// One event, owned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// See [`EventRef`]; so are all of these.
    pub event_id: String,
    /// Which session.
    pub session_id: String,
    /// What happened.
    pub name: String,
    /// When, as the client says.
    pub timestamp: Timestamp,
    /// The client's own text.
    pub timestamp_raw: Option<String>,
    /// The batch's clock.
    pub sent_at: Option<Timestamp>,
    /// Who.
    pub user_id: Option<String>,
    /// The payload.
    pub data: String,
    /// What the SDK added.
    pub context: Option<String>,
    /// What is wrong with it.
    pub problems: Problems,
}

impl Event {
    fn as_ref(&self) -> EventRef<'_> {
        EventRef {
            event_id: &self.event_id,
            session_id: &self.session_id,
            category: "simulated",
            name: &self.name,
            timestamp: self.timestamp,
            timestamp_raw: self.timestamp_raw.as_deref(),
            sent_at: self.sent_at,
            user_id: self.user_id.as_deref(),
            anonymous_id: None,
            data: &self.data,
            context: self.context.as_deref(),
            problems: self.problems,
        }
    }
}

/// One entry of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// An event.
    Event(Event),
    /// A rejection, with its sample.
    Rejection(String),
}

/// A request as a client sends it.
#[derive(Clone, Debug)]
pub struct Sent {
    /// Who.
    pub application: &'static str,
    /// The token's id.
    pub token: &'static str,
    /// The edge's clock.
    pub received_at: Timestamp,
    /// What.
    pub entries: Vec<Entry>,
}

fn rejection(sample: &str) -> RejectionRef<'_> {
    RejectionRef { code: "not_json", field: "", message: "this is not json", sample }
}

impl Sent {
    /// For the store.
    #[must_use]
    pub fn request(&self) -> Request {
        let Self { application, token, received_at, entries } = self;
        let mut request = Request::new(&BatchHeader { application, token, received_at: *received_at }, PARTITIONS, 0);
        for entry in entries {
            match entry {
                Entry::Event(event) => request.push_event(&event.as_ref()),
                Entry::Rejection(sample) => request.push_rejection(&rejection(sample)),
            }
        }
        request
    }

    fn partition_of(entry: &Entry) -> u16 {
        match entry {
            Entry::Event(event) => partition_of(&event.session_id, PARTITIONS),
            Entry::Rejection(_) => 0,
        }
    }

    /// The log record of this partition, if the request touches it.
    #[must_use]
    pub fn record(&self, partition: u16) -> Option<Self> {
        let entries: Vec<_> =
            self.entries.iter().filter(|entry| Self::partition_of(entry) == partition).cloned().collect();
        (!entries.is_empty()).then_some(Self { entries, ..*self })
    }
}

/// A stored event, with what the request said of it.
#[derive(Clone, Debug)]
pub struct Row {
    application: &'static str,
    received_at: Timestamp,
    event: Event,
}

/// Everything that must be there.
#[derive(Debug, Default)]
pub struct Model {
    /// Stored events, by place.
    pub rows: BTreeMap<(u16, u64), Row>,
    /// Rejections, by place: their samples.
    pub rejections: BTreeMap<(u16, u64), String>,
    /// The days on which they were received.
    rejection_days: BTreeMap<(u16, u64), i32>,
    /// What became of everything, by token.
    pub ledger: BTreeMap<String, Counts>,
    /// The offset after the last, by partition.
    pub next: [u64; PARTITIONS as usize],
    /// Those of the events that are too old: there or not.
    going: BTreeSet<(u16, u64)>,
    /// The same of rejections.
    going_rejections: BTreeSet<(u16, u64)>,
    /// When each identity was stored last, in seconds.
    identities: BTreeMap<(&'static str, String, String), i64>,
}

impl Model {
    /// Nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self { next: [1; PARTITIONS as usize], ..Self::default() }
    }

    /// The offset of the last entry of each partition.
    #[must_use]
    pub fn last(&self, partition: u16) -> u64 {
        self.next[usize::from(partition)] - 1
    }

    /// A whole request is in the log: what must be answered.
    pub fn take(&mut self, sent: &Sent) -> Vec<Outcome> {
        let mut outcomes: [std::vec::IntoIter<Outcome>; PARTITIONS as usize] = std::array::from_fn(|partition| {
            let partition = u16::try_from(partition).unwrap_or_default();
            sent.record(partition).map(|record| self.take_record(partition, &record)).unwrap_or_default().into_iter()
        });
        let of = |entry| outcomes[usize::from(Sent::partition_of(entry))].next();
        sent.entries.iter().filter_map(of).collect()
    }

    /// One record is in the log of a partition.
    pub fn take_record(&mut self, partition: u16, record: &Sent) -> Vec<Outcome> {
        let counts = self.ledger.entry(record.token.to_owned()).or_default();
        let seconds = record.received_at.micros().div_euclid(1_000_000);
        let mut outcomes = Vec::with_capacity(record.entries.len());
        for entry in &record.entries {
            let offset = self.next[usize::from(partition)];
            self.next[usize::from(partition)] += 1;
            counts.received += 1;
            let place = (PartitionId(partition), Offset(offset));
            outcomes.push(match entry {
                Entry::Rejection(sample) => {
                    counts.rejected += 1;
                    self.rejections.insert((partition, offset), sample.clone());
                    self.rejection_days.insert((partition, offset), record.received_at.days());
                    Outcome::Rejected { partition: place.0, offset: place.1 }
                }
                Entry::Event(event) => {
                    let identity = (record.application, event.session_id.clone(), event.event_id.clone());
                    let known = self.identities.get(&identity);
                    if known.is_some_and(|stored| seconds - stored < WINDOW_SECONDS) {
                        counts.duplicate += 1;
                        Outcome::Duplicate
                    } else {
                        counts.stored += 1;
                        self.identities.insert(identity, seconds);
                        let Sent { application, received_at, .. } = *record;
                        self.rows.insert((partition, offset), Row { application, received_at, event: event.clone() });
                        Outcome::Stored { partition: place.0, offset: place.1 }
                    }
                }
            });
        }
        outcomes
    }

    /// True of an event that is erased with somebody. Only of those that are never sent again: whether a repeat of what was
    /// erased is known depends on whether the process has ended.
    #[must_use]
    pub fn is_of(event_id: &str, user_id: Option<&str>, who: u64) -> bool {
        event_id.starts_with("0190f3b2") && user_id == Some(format!("user-{who}").as_str())
    }

    /// True of a rejection that is erased with somebody.
    #[must_use]
    pub fn is_rejection_of(sample: &str, who: u64) -> bool {
        sample.ends_with(&who.to_string())
    }

    /// Somebody is erased: how many events and rejections that takes.
    pub fn erase(&mut self, who: u64) -> (u64, u64) {
        let before = (self.rows.len() as u64, self.rejections.len() as u64);
        self.rows.retain(|_, row| !Self::is_of(&row.event.event_id, row.event.user_id.as_deref(), who));
        self.rejections.retain(|_, sample| !Self::is_rejection_of(sample, who));
        (before.0 - self.rows.len() as u64, before.1 - self.rejections.len() as u64)
    }

    /// What is too old at this time may go from now on: how many events and rejections that is.
    pub fn grow_old(&mut self, now: i64) -> (u64, u64) {
        let today = Timestamp::from_micros(now).days();
        let is_old = |received: i32, days: u32| i64::from(received) + i64::from(days) < i64::from(today);
        let days_of = |application: &str| if application == SHORT_LIVED { SHORT_DAYS } else { DAYS };
        let rows = self.rows.iter().filter(|(_, row)| is_old(row.received_at.days(), days_of(row.application)));
        self.going = rows.map(|(place, _)| *place).collect();
        let rejections = self
            .rejections
            .keys()
            .filter(|place| self.rejection_days.get(place).is_some_and(|day| is_old(*day, REJECTION_DAYS)));
        self.going_rejections = rejections.copied().collect();
        (self.going.len() as u64, self.going_rejections.len() as u64)
    }

    /// What was too old is gone.
    pub fn forget_old(&mut self) {
        for place in std::mem::take(&mut self.going) {
            self.rows.remove(&place);
        }
        for place in std::mem::take(&mut self.going_rejections) {
            self.rejections.remove(&place);
        }
    }

    /// True of an event that may be there or not.
    #[must_use]
    pub fn may_be_gone(&self, place: (u16, u64)) -> bool {
        self.going.contains(&place)
    }

    /// True of a rejection that may be there or not.
    #[must_use]
    pub fn rejection_may_be_gone(&self, place: (u16, u64)) -> bool {
        self.going_rejections.contains(&place)
    }

    /// Why this is not the row that stands in this place, if it is not.
    ///
    /// # Errors
    /// What is wrong.
    pub fn compare(&self, found: &StoredEvent<'_>) -> Result<(u16, u64), String> {
        let place = (found.partition.0, found.offset.0);
        let Some(row) = self.rows.get(&place) else { return Err(format!("{place:?} was never stored: {found:?}")) };
        let expected = StoredEvent {
            application: row.application,
            received_at: row.received_at,
            partition: found.partition,
            offset: found.offset,
            event: row.event.as_ref(),
        };
        if expected == *found { Ok(place) } else { Err(format!("{place:?} is {found:?} and must be {expected:?}")) }
    }

    /// The session of a row.
    #[must_use]
    pub fn session_of(row: &Row) -> &str {
        &row.event.session_id
    }
}
