//! A source in memory, as strict as the contract allows: it blanks every column that was not asked for, gives sessions
//! and slices in an order of no meaning, and counts what is read.
#![allow(dead_code, unreachable_pub, missing_docs, clippy::unwrap_used, reason = "each test file uses its own part")]

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use eye_event::{EventRef, Problems, RejectionRef, Timestamp};
use eye_log::{Offset, PartitionId};
use eye_query::{Cancel, Filter, ProblemFilter, Source, SourceSlice};
use eye_store::{Columns, Error, Kind, Origin, Position, Result, Runs, SortKey, StoredEvent, StoredRejection};
use proptest::prelude::*;

/// An event that owns its texts.
#[derive(Clone, Debug)]
pub struct Event {
    pub application: String,
    pub session_id: String,
    pub category: String,
    pub name: String,
    pub user_id: Option<String>,
    pub timestamp: i64,
    pub problems: u32,
    pub data: String,
    pub offset: u64,
}

impl Event {
    pub fn stored(&self) -> StoredEvent<'_> {
        StoredEvent {
            application: &self.application,
            received_at: Timestamp::from_micros(1_700_000_000_000_000),
            partition: self.partition(),
            offset: Offset(self.offset),
            event: EventRef {
                event_id: "id",
                session_id: &self.session_id,
                category: &self.category,
                name: &self.name,
                timestamp: Timestamp::from_micros(self.timestamp),
                timestamp_raw: None,
                sent_at: None,
                user_id: self.user_id.as_deref(),
                anonymous_id: None,
                data: &self.data,
                context: None,
                problems: Problems::from_bits(self.problems),
            },
        }
    }

    pub fn key(&self) -> SortKey {
        self.stored().sort_key()
    }

    fn partition(&self) -> PartitionId {
        PartitionId(eye_event::partition_of(&self.session_id, 2))
    }

    /// What the filter says, written down a second time.
    pub fn is_chosen(&self, filter: &Filter) -> bool {
        let same = |wanted: &Option<String>, found: &str| wanted.is_none() || wanted.as_deref() == Some(found);
        let bits = match filter.problem {
            None => u32::MAX,
            Some(ProblemFilter::Any) => 0b1111,
            Some(ProblemFilter::Time) => 0b0111,
            Some(ProblemFilter::Code(problem)) => 1 << problem as u32,
        };
        let in_range = (filter.from.map_or(i64::MIN, Timestamp::micros)..filter.to.map_or(i64::MAX, Timestamp::micros))
            .contains(&self.timestamp);
        let is_allowed = filter.allowed.as_ref().is_none_or(|allowed| allowed.contains(&self.application));
        in_range
            && is_allowed
            && (filter.problem.is_none() || self.problems & bits != 0)
            && same(&filter.session_id, &self.session_id)
            && same(&filter.application, &self.application)
            && same(&filter.category, &self.category)
            && same(&filter.name, &self.name)
            && (filter.user_id.is_none() || filter.user_id == self.user_id)
    }
}

/// The event with nothing but these columns.
fn project<'a>(stored: &StoredEvent<'a>, columns: Columns) -> StoredEvent<'a> {
    fn keep<T: Default>(columns: Columns, column: Columns, value: T) -> T {
        if columns.contains(column) { value } else { T::default() }
    }
    let event = &stored.event;
    StoredEvent {
        application: keep(columns, Columns::APPLICATION, stored.application),
        received_at: keep(columns, Columns::RECEIVED_AT, stored.received_at),
        partition: keep(columns, Columns::PARTITION, stored.partition),
        offset: keep(columns, Columns::OFFSET, stored.offset),
        event: EventRef {
            event_id: keep(columns, Columns::EVENT_ID, event.event_id),
            session_id: keep(columns, Columns::SESSION_ID, event.session_id),
            category: keep(columns, Columns::CATEGORY, event.category),
            name: keep(columns, Columns::NAME, event.name),
            timestamp: keep(columns, Columns::TIMESTAMP, event.timestamp),
            timestamp_raw: keep(columns, Columns::TIMESTAMP_RAW, event.timestamp_raw),
            sent_at: keep(columns, Columns::SENT_AT, event.sent_at),
            user_id: keep(columns, Columns::USER_ID, event.user_id),
            anonymous_id: keep(columns, Columns::ANONYMOUS_ID, event.anonymous_id),
            data: keep(columns, Columns::DATA, event.data),
            context: keep(columns, Columns::CONTEXT, event.context),
            problems: keep(columns, Columns::PROBLEMS, event.problems),
        },
    }
}

/// A rejection that owns its texts.
#[derive(Clone, Debug)]
pub struct Rejection {
    pub application: String,
    pub code: String,
    pub received_at: i64,
    pub offset: u64,
    pub sample: String,
}

/// Everything stored, cut into slices.
#[derive(Clone, Default)]
pub struct Memory {
    pub slices: Vec<Arc<Vec<Event>>>,
    pub rejections: Vec<Rejection>,
    pub position: Position,
    /// How many times a slice or a session was read.
    pub reads: Arc<AtomicUsize>,
    /// Which columns of all rows of a slice were read.
    pub columns: Arc<Mutex<Vec<Columns>>>,
    /// Stops this question as soon as something has been read.
    pub cancels: Option<Arc<Cancel>>,
    /// Every read fails.
    pub is_damaged: bool,
    /// Rows that are asked for by number do not come back.
    pub forgets_rows: bool,
}

impl Memory {
    /// The events in slices of so many, later ones first.
    pub fn new(events: &[Event], slice_rows: usize) -> Self {
        let slices = events.chunks(slice_rows).rev().map(|slice| Arc::new(slice.to_vec())).collect();
        let last = events.iter().map(|event| event.offset).max().unwrap_or_default();
        Self { slices, position: Position::new(vec![Offset(last)]), ..Self::default() }
    }

    fn read(&self) -> Result<()> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        if let Some(cancel) = &self.cancels {
            cancel.cancel();
        }
        if self.is_damaged { Err(Error::new(Kind::Corrupt, "events.parquet is damaged")) } else { Ok(()) }
    }
}

impl Source for Memory {
    type Slice = MemorySlice;

    fn version(&self) -> u64 {
        7
    }

    fn position(&self) -> &Position {
        &self.position
    }

    fn session(&self, session_id: &str, columns: Columns, visit: &mut dyn FnMut(&StoredEvent<'_>)) -> Result<()> {
        self.read()?;
        for event in self.slices.iter().flat_map(|slice| slice.iter()).filter(|event| event.session_id == session_id) {
            visit(&project(&event.stored(), columns));
        }
        Ok(())
    }

    fn slices(&self, from: Option<Timestamp>, to: Option<Timestamp>) -> Result<Vec<MemorySlice>> {
        let all = (0..self.slices.len()).map(|index| MemorySlice { memory: self.clone(), index });
        Ok(all
            .filter(|slice| {
                let (earliest, latest) = slice.timestamps();
                from.is_none_or(|from| latest >= from) && to.is_none_or(|to| earliest < to)
            })
            .collect())
    }

    fn received_until(&self, position: &Position) -> Result<Option<Timestamp>> {
        let all = self.slices.iter().flat_map(|slice| slice.iter());
        let seen = all.filter(|event| Offset(event.offset) <= position.of(event.partition()));
        Ok(seen.map(|event| event.stored().received_at).max())
    }

    fn rejections(&self, visit: &mut dyn FnMut(&StoredRejection<'_>)) -> Result<()> {
        self.read()?;
        for rejection in &self.rejections {
            let Rejection { application, code, received_at, offset, sample } = rejection;
            visit(&StoredRejection {
                application,
                token: "t1",
                received_at: Timestamp::from_micros(*received_at),
                partition: PartitionId(0),
                offset: Offset(*offset),
                rejection: RejectionRef { code, field: "name", message: "name is required", sample },
            });
        }
        Ok(())
    }
}

/// One slice of a [`Memory`].
pub struct MemorySlice {
    memory: Memory,
    index: usize,
}

impl MemorySlice {
    fn events(&self) -> &[Event] {
        &self.memory.slices[self.index]
    }
}

impl SourceSlice for MemorySlice {
    fn runs(&self, column: Columns) -> Result<Option<Arc<Runs>>> {
        // Every other slice has them at hand, as those of the table have and those of the hot buffer have not.
        if self.index % 2 == 1 {
            return Ok(None);
        }
        let id = |event: &'_ Event| match column {
            Columns::SESSION_ID => Some(event.session_id.clone()),
            Columns::USER_ID => event.user_id.clone(),
            _ => None,
        };
        let ids: Vec<Option<String>> = self.events().iter().map(id).collect();
        Ok(Some(Arc::new(Runs::of(ids.iter().map(Option::as_deref)))))
    }

    fn origin(&self) -> Origin {
        // A slice is made once and shared: its address is its name.
        Origin::File { path: format!("{:p}", self.memory.slices[self.index]).into(), mask: 0 }
    }

    fn rows(&self) -> usize {
        self.events().len()
    }

    fn is_within(&self, position: &Position) -> bool {
        self.events().iter().all(|event| Offset(event.offset) <= position.of(event.partition()))
    }

    fn timestamps(&self) -> (Timestamp, Timestamp) {
        let timestamps = || self.events().iter().map(|event| event.timestamp);
        let (earliest, latest) = (timestamps().min().unwrap(), timestamps().max().unwrap());
        (Timestamp::from_micros(earliest), Timestamp::from_micros(latest))
    }

    fn visit(&self, columns: Columns, visit: &mut dyn FnMut(u32, &StoredEvent<'_>)) -> Result<()> {
        self.memory.read()?;
        self.memory.columns.lock().unwrap().push(columns);
        for (row, event) in (0..).zip(self.events()) {
            visit(row, &project(&event.stored(), columns));
        }
        Ok(())
    }

    fn fetch(&self, rows: &[u32], columns: Columns, visit: &mut dyn FnMut(&StoredEvent<'_>)) -> Result<()> {
        assert!(rows.is_sorted_by(|a, b| a < b), "rows must rise: {rows:?}");
        for row in rows.iter().skip(usize::from(self.memory.forgets_rows)) {
            visit(&project(&self.events()[*row as usize].stored(), columns));
        }
        Ok(())
    }
}

/// One plain event.
pub fn event(session_id: &str, timestamp: i64, offset: u64) -> Event {
    Event {
        application: "web".into(),
        session_id: session_id.into(),
        category: "page".into(),
        name: "view".into(),
        user_id: None,
        timestamp,
        problems: 0,
        data: format!("{{\"n\":{offset}}}"),
        offset,
    }
}

/// Events with few distinct values, so that everything ties and collides.
pub fn any_events() -> impl Strategy<Value = Vec<Event>> {
    // Session ids of several lengths: their order must be that of their bytes.
    let texts = ("[abc]", "(s|s1|s10|s2|é)", "[pq]", "[xyz]", proptest::option::of("[mn]"));
    let one = (texts, -4_i64..5, prop_oneof![3 => Just(0_u32), 1 => 0_u32..16]);
    proptest::collection::vec(one, 0..60).prop_map(|events| {
        let numbered = (1..).zip(events);
        let owned = numbered.map(|(offset, (texts, timestamp, problems))| {
            let (application, session_id, category, name, user_id) = texts;
            Event { application, category, name, user_id, problems, ..event(&session_id, timestamp, offset) }
        });
        owned.collect()
    })
}

/// Every mix of conditions.
pub fn any_filter() -> impl Strategy<Value = Filter> {
    fn maybe(pattern: &'static str) -> impl Strategy<Value = Option<String>> {
        proptest::option::weighted(0.25, pattern)
    }
    let time = || proptest::option::weighted(0.25, (-5_i64..6).prop_map(Timestamp::from_micros));
    let codes = eye_event::Problem::ALL.map(ProblemFilter::Code);
    let problems = [ProblemFilter::Any, ProblemFilter::Time].into_iter().chain(codes).collect::<Vec<_>>();
    let problem = proptest::option::weighted(0.25, proptest::sample::select(problems));
    let allowed = proptest::option::weighted(0.25, proptest::collection::vec("[abc]", 0..3));
    let texts = (maybe("(s|s1|s2|zz)"), maybe("[abc]"), maybe("[pq]"), maybe("[xyz]"), maybe("[mn]"));
    (texts, time(), time(), problem, allowed).prop_map(|(texts, from, to, problem, allowed)| {
        let (session_id, application, category, name, user_id) = texts;
        Filter { allowed, session_id, application, category, name, user_id, from, to, problem, line: None }
    })
}
