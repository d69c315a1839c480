//! The questions asked after every step. Each compares the node with the model, and names what is wrong.

use std::collections::{BTreeMap, BTreeSet};

use eye_event::{Batch, Entry as LogEntry};
use eye_log::{Offset, PartitionId};
use eye_store::columns::{EventRows, RejectionRows};
use eye_store::table::verify;
use eye_store::{Columns, Counts, Snapshot, StoredEvent, TableKind, invariants};

use crate::model::{Model, PARTITIONS};
use crate::node::{Node, Up};

/// What is wrong, in a sentence.
pub type Wrong = String;

pub(crate) fn wrong(error: impl std::fmt::Display) -> Wrong {
    error.to_string()
}

pub(crate) fn require(holds: bool, what: impl FnOnce() -> Wrong) -> Result<(), Wrong> {
    if holds { Ok(()) } else { Err(what()) }
}

/// A snapshot shows exactly the model's rows up to its position, now and whenever it is asked again.
///
/// # Errors
/// What it shows instead.
pub fn snapshot(model: &Model, snapshot: &Snapshot) -> Result<(), Wrong> {
    let position = snapshot.position();
    let is_seen = |place: &(u16, u64)| place.1 <= position.of(PartitionId(place.0)).0;
    let mut rows = Rows::new(model);
    for slice in snapshot.slices(None, None).map_err(wrong)? {
        slice.visit(Columns::ALL, &mut |_, event| rows.see(event)).map_err(wrong)?;
    }
    rows.are_exactly(model.rows.keys().copied().filter(is_seen))?;
    let mut rejections = BTreeMap::new();
    let mut twice = None;
    snapshot
        .rejections(&mut |found| {
            let place = (found.partition.0, found.offset.0);
            if rejections.insert(place, found.rejection.sample.to_owned()).is_some() {
                twice = Some(place);
            }
        })
        .map_err(wrong)?;
    require(twice.is_none(), || format!("rejection {twice:?} is in two places"))?;
    let expected: BTreeMap<_, _> = model
        .rejections
        .iter()
        .filter(|(place, _)| {
            is_seen(place) && (rejections.contains_key(*place) || !model.rejection_may_be_gone(**place))
        })
        .map(|(place, text)| (*place, text.clone()))
        .collect();
    require(rejections == expected, || {
        format!("the rejections are at {:?} and must be at {:?}", rejections.keys(), expected.keys())
    })
}

/// One session by the direct path.
///
/// # Errors
/// What it shows instead.
pub fn session(model: &Model, snapshot: &Snapshot, session_id: &str) -> Result<(), Wrong> {
    let position = snapshot.position();
    let mut rows = Rows::new(model);
    snapshot.session(session_id, Columns::ALL, &mut |event| rows.see(event)).map_err(wrong)?;
    let expected = model
        .rows
        .iter()
        .filter(|(place, row)| Model::session_of(row) == session_id && place.1 <= position.of(PartitionId(place.0)).0);
    rows.are_exactly(expected.map(|(place, _)| *place)).map_err(|what| format!("session {session_id}: {what}"))
}

/// Where the node stands: positions, ledger, and how log and table meet.
///
/// # Errors
/// What is wrong.
pub fn standing(model: &Model, up: &Up) -> Result<(), Wrong> {
    let snapshot = up.store.snapshot();
    for partition in 0..PARTITIONS {
        let id = PartitionId(partition);
        let (applied, flushed) = (snapshot.position().of(id), snapshot.flushed().of(id));
        let log = &up.logs[usize::from(partition)];
        require(applied.0 == model.last(partition), || {
            format!("partition {id} has applied {applied} and must have applied {}", model.last(partition))
        })?;
        require(flushed <= applied, || format!("partition {id} is flushed to {flushed} and applied to {applied}"))?;
        require(log.end() == applied.plus(1), || {
            format!("the log of {id} ends at {}, not after {applied}", log.end())
        })?;
        invariants::trim_follows_flush(flushed, log.start()).map_err(wrong)?;
    }
    let ledger: BTreeMap<String, Counts> = up.store.ledger().into_iter().collect();
    for counts in ledger.values() {
        invariants::nothing_vanishes(*counts).map_err(wrong)?;
    }
    require(ledger == model.ledger, || format!("the ledger is {ledger:?} and must be {:?}", model.ledger))
}

/// The table as another program sees it, and the log behind it: together everything, each row in one of them.
///
/// # Errors
/// What is wrong.
pub fn table_and_log(model: &Model, node: &Node) -> Result<(), Wrong> {
    let events = node.table(TableKind::Events).map_err(wrong)?;
    let version = events.current();
    let flushed: Vec<Offset> = (0..PARTITIONS).map(|partition| version.flushed(PartitionId(partition))).collect();
    let is_flushed = |place: &(u16, u64)| place.1 <= flushed[usize::from(place.0)].0;
    let mut rows = Rows::new(model);
    for file in &version.files {
        for group in file.row_groups().map_err(wrong)? {
            let batch = file.read(group.index, Columns::ALL, None).map_err(wrong)?;
            EventRows::new(&batch).map_err(wrong)?.iter().for_each(|row| rows.see(&row));
        }
    }
    rows.are_exactly(model.rows.keys().copied().filter(is_flushed)).map_err(|what| format!("in the table: {what}"))?;
    let up = node.up().map_err(wrong)?;
    for (partition, log) in (0..PARTITIONS).zip(&up.logs) {
        let mut next = flushed[usize::from(partition)].plus(1);
        while next < log.end() {
            for record in log.read(next, 100_000).map_err(wrong)? {
                require(record.offset <= next, || format!("the log of {partition} jumps to {}", record.offset))?;
                log_record(model, partition, &record)?;
                next = record.next();
            }
        }
    }
    let rejections = node.table(TableKind::Rejections).map_err(wrong)?;
    let mut places = BTreeSet::new();
    for file in &rejections.current().files {
        for group in file.row_groups().map_err(wrong)? {
            let batch = file.read_all(group.index).map_err(wrong)?;
            for row in RejectionRows::new(&batch).map_err(wrong)?.iter() {
                let place = (row.partition.0, row.offset.0);
                require(places.insert(place), || format!("rejection {place:?} is in the table twice"))?;
                require(model.rejections.contains_key(&place), || format!("rejection {place:?} was never made"))?;
            }
        }
    }
    if let Some(missing) = model
        .rejections
        .keys()
        .filter(|place| is_flushed(place) && !model.rejection_may_be_gone(**place))
        .find(|place| !places.contains(place))
    {
        return Err(format!("rejection {missing:?} is neither in the table nor in the log"));
    }
    for table in [&events, &rejections] {
        let report = verify(table, true, &mut |_| {}).map_err(wrong)?;
        require(report.is_sound(), || format!("table {}: {:?}", table.kind().name(), report.findings))?;
    }
    Ok(())
}

/// The entries of a record are what the model has in their places.
fn log_record(model: &Model, partition: u16, record: &eye_log::Record) -> Result<(), Wrong> {
    let batch = Batch::parse(record.payload.clone()).map_err(wrong)?;
    let header = batch.header().map_err(wrong)?;
    for (index, entry) in (0_u64..).zip(batch.entries()) {
        let offset = record.offset.plus(index);
        let place = (partition, offset.0);
        match entry.map_err(wrong)?.1 {
            LogEntry::Rejection(_) => {
                require(model.rejections.contains_key(&place), || format!("{place:?} of the log is no rejection"))?;
            }
            LogEntry::Event(event) if model.rows.contains_key(&place) => {
                let (application, received_at) = (header.application, header.received_at);
                let found = StoredEvent { application, received_at, partition: PartitionId(partition), offset, event };
                model.compare(&found)?;
            }
            // A duplicate.
            LogEntry::Event(_) => {}
        }
    }
    Ok(())
}

/// Rows as they are found: each compared, none twice.
struct Rows<'a> {
    model: &'a Model,
    found: BTreeSet<(u16, u64)>,
    wrong: Option<Wrong>,
}

impl<'a> Rows<'a> {
    fn new(model: &'a Model) -> Self {
        Self { model, found: BTreeSet::new(), wrong: None }
    }

    fn see(&mut self, event: &StoredEvent<'_>) {
        if self.wrong.is_some() {
            return;
        }
        match self.model.compare(event) {
            Ok(place) if self.found.insert(place) => {}
            Ok(place) => self.wrong = Some(format!("{place:?} is in two places")),
            Err(what) => self.wrong = Some(what),
        }
    }

    fn are_exactly(self, expected: impl Iterator<Item = (u16, u64)>) -> Result<(), Wrong> {
        if let Some(wrong) = self.wrong {
            return Err(wrong);
        }
        let mut left = self.found;
        for place in expected {
            require(left.remove(&place) || self.model.may_be_gone(place), || format!("{place:?} is lost"))?;
        }
        require(left.is_empty(), || format!("{left:?} are there and must not be"))
    }
}
