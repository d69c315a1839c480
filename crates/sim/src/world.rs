//! The actions of a run: what a seed makes of a node's life.
//!
//! | module | what it holds |
//! |---|---|
//! | `traffic` | requests |
//! | `life` | ends and starts |
//! | `upkeep` | compaction, erasure, retention |

mod life;
mod traffic;
mod upkeep;

use eye_log::PartitionId;
use eye_log::disk::sim::{Fault, Operation};
use eye_store::Snapshot;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};

use crate::check::{self, Wrong, require, wrong};
use crate::model::{Model, PARTITIONS, Sent};
use crate::node::{Node, set_now};
use crate::objects::Toxic;
use crate::trace::Trace;
use upkeep::Upkeep;

/// Some evening in November 2023: a run goes over midnight sooner or later.
const START: i64 = 1_700_000_000_000_000;
const SECOND: i64 = 1_000_000;
/// How far the clock may go back. Within the slack of the dedup window, so that the window stays exact.
const BACK_SECONDS: i64 = 50;
const SESSIONS: u8 = 8;
/// Snapshots held at once.
const HELD_MAX: usize = 4;

/// Something that happens to a node.
#[derive(Clone, Debug)]
enum Action {
    /// One request of this many entries.
    Ingest(usize),
    /// Several requests at once, which become few groups of the log.
    IngestTogether(Vec<usize>),
    /// Requests are under way to the disk when the process dies, with the power or alone.
    CrashInIngest(Vec<usize>, Option<u64>),
    /// The nth call of this kind fails while requests arrive at this partition; then the process dies.
    LogFault { partition: u16, operation: Operation, nth: u64, fault: Fault, requests: usize, power: Option<u64> },
    /// The disk of a partition has this much room for a few requests; then there is space again.
    DiskFull { partition: u16, room: u64, requests: usize },
    /// What is hot goes to the table.
    Flush,
    /// The same while a write to the object store is hit, then again without.
    FlushToxic(u64, Toxic),
    /// The same while the object store refuses everything, then again when it is back.
    FlushOutage { reads_too: bool },
    /// The same while the trim of the log fails; then the process dies.
    FlushTrimFault(Operation, u64),
    /// The process dies at a write of the flush.
    CrashInFlush(u64, Toxic, Option<u64>),
    /// What nobody waits for: compaction, erasure, retention.
    Upkeep(Upkeep),
    /// Writes that were given up take effect now.
    LandLate,
    /// The clock moves, in seconds.
    Clock(i64),
    /// The process stops in order and starts again.
    Restart,
    /// The process dies while nothing happens.
    Crash(Option<u64>),
    /// The power fails and the newest commit of the events was not written whole.
    Tear(u64),
    /// A read view is kept.
    Hold,
    /// The oldest kept read view is dropped.
    Release,
    /// Another program reads the table; the log behind it is read too.
    Verify,
}

/// A node, what it must answer, and the seed's random numbers.
pub struct World {
    random: StdRng,
    node: Node,
    model: Model,
    now: i64,
    highest: i64,
    /// Records sent and not acknowledged, by partition, in order: a prefix may be there after the next start.
    unsure: [Vec<Sent>; PARTITIONS as usize],
    held: Vec<Held>,
    version: u64,
    flushed: [u64; PARTITIONS as usize],
    fresh: u64,
    /// Starts so far.
    life: u64,
    /// The lives in which writes were given up that may still land.
    late: Vec<u64>,
    /// A commit of an earlier life has landed that this one does not know of.
    passed: bool,
    /// Whether it compacts: seeds from before it did go on as they were.
    compacts: bool,
    /// Whether something was taken out for being too old.
    has_expired: bool,
    trace: Trace,
}

/// A kept read view.
struct Held {
    snapshot: Snapshot,
    life: u64,
    at: i64,
}

impl World {
    /// A node that has just started for the first time.
    ///
    /// # Errors
    /// It does not start.
    pub fn new(seed: u64, compacts: bool) -> Result<Self, Wrong> {
        set_now(START);
        let mut world = Self {
            random: StdRng::seed_from_u64(seed),
            node: Node::new().map_err(wrong)?,
            model: Model::new(),
            now: START,
            highest: START,
            unsure: std::array::from_fn(|_| Vec::new()),
            held: Vec::new(),
            version: 0,
            flushed: [0; PARTITIONS as usize],
            fresh: 0,
            life: 0,
            late: Vec::new(),
            passed: false,
            compacts,
            has_expired: false,
            trace: Trace::default(),
        };
        world.node.objects.set_now(START);
        world.open()?;
        Ok(world)
    }

    /// What happened so far.
    #[must_use]
    pub fn into_trace(self) -> Trace {
        self.trace
    }

    /// One action, and every question after it.
    ///
    /// # Errors
    /// What is wrong.
    pub fn step(&mut self, number: usize) -> Result<(), Wrong> {
        let action = self.choose();
        self.trace.push(format!("{number} {action:?}"));
        // These change no table: the rows in it are read again one time in three only.
        let is_light = matches!(action, Action::Ingest(_) | Action::Clock(_) | Action::Hold | Action::Release);
        self.act(action)?;
        if is_light && !self.random.random_bool(0.33) { self.check_standing() } else { self.check() }
    }

    /// The end of a run: everything is asked, the node stops and starts, and everything is asked again.
    ///
    /// # Errors
    /// What is wrong.
    pub fn finish(&mut self) -> Result<(), Wrong> {
        self.trace.push("the end".to_owned());
        for restarted in [false, true] {
            if restarted {
                self.restart()?;
            }
            self.check()?;
            for held in &self.held {
                check::snapshot(&self.model, &held.snapshot).map_err(|what| format!("a held snapshot: {what}"))?;
            }
            check::table_and_log(&self.model, &self.node)?;
        }
        Ok(())
    }

    fn choose(&mut self) -> Action {
        let power = if self.random.random_bool(0.6) { Some(self.random.random()) } else { None };
        let partition = self.random.random_range(0..PARTITIONS);
        let nth = self.random.random_range(0..6);
        if self.compacts
            && let Some(upkeep) = self.choose_upkeep(power, nth)
        {
            return Action::Upkeep(upkeep);
        }
        match self.random.random_range(0..100) {
            0..32 => Action::Ingest(self.size()),
            32..40 => Action::IngestTogether(self.sizes()),
            40..46 => Action::CrashInIngest(self.sizes(), power),
            46..51 => Action::LogFault {
                partition,
                operation: self.pick(&[Operation::Write, Operation::Sync, Operation::Create, Operation::SyncDir]),
                nth: nth / 2 + 1,
                fault: self.pick(&[Fault::Io, Fault::NoSpace]),
                requests: self.random.random_range(1..4),
                power,
            },
            51..54 => {
                let (room, requests) = (self.random.random_range(0..1500), self.random.random_range(1..5));
                Action::DiskFull { partition, room, requests }
            }
            54..62 => Action::Flush,
            62..70 => Action::FlushToxic(nth, self.pick(&Toxic::SURVIVED)),
            70..72 => Action::FlushOutage { reads_too: power.is_some() },
            72..74 => Action::FlushTrimFault(self.pick(&[Operation::Remove, Operation::SyncDir]), nth % 2 + 1),
            74..80 => Action::CrashInFlush(nth, self.pick(&[Toxic::DieBefore, Toxic::DieAfter, Toxic::Late]), power),
            80..83 => Action::LandLate,
            83..88 => Action::Clock(match self.random.random_bool(0.3) {
                true => -self.random.random_range(1..=BACK_SECONDS),
                false => self.random.random_range(1..7200),
            }),
            88..90 => Action::Restart,
            90..92 => Action::Crash(power),
            92 => Action::Tear(self.random.random()),
            93..96 => Action::Hold,
            96 => Action::Release,
            _ => Action::Verify,
        }
    }

    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.random.random_range(0..of.len())]
    }

    fn size(&mut self) -> usize {
        match self.random.random_range(0..4) {
            0 => 1,
            1 | 2 => self.random.random_range(1..8),
            _ => self.random.random_range(8..40),
        }
    }

    fn sizes(&mut self) -> Vec<usize> {
        (0..self.random.random_range(1..5)).map(|_| self.size()).collect()
    }

    fn act(&mut self, action: Action) -> Result<(), Wrong> {
        match action {
            Action::Ingest(size) => {
                let sent = self.request(size, None);
                self.send(&sent)
            }
            Action::IngestTogether(sizes) => self.ingest_together(&sizes),
            Action::CrashInIngest(sizes, power) => self.crash_in_ingest(&sizes, power),
            Action::LogFault { partition, operation, nth, fault, requests, power } => {
                self.node.disks[usize::from(partition)].fail(operation, nth, fault);
                self.send_some(partition, requests, true)?;
                let is_met = !self.node.disks[usize::from(partition)].awaits_fault();
                self.trace.fault(format!("log {operation:?} {fault:?}"), is_met);
                self.check()?;
                self.crash(power)
            }
            Action::DiskFull { partition, room, requests } => {
                let disk = self.node.disks[usize::from(partition)].clone();
                disk.set_capacity(Some(disk.used_bytes() + room));
                let is_full = self.send_some(partition, requests, false)?;
                self.trace.fault("disk full".to_owned(), is_full);
                disk.set_capacity(None);
                let sent = self.request(3, Some(partition));
                self.send(&sent)
            }
            Action::Flush => self.flush(),
            Action::FlushToxic(nth, toxic) => {
                self.poisoned("flush", nth, toxic, Self::try_flush)?;
                self.node.objects.heal();
                self.check()?;
                if toxic == Toxic::Dark && !self.passed {
                    // So that another partition commits, and finds what this one does not know of.
                    let sent = self.request(3, None);
                    self.send(&sent)?;
                }
                self.flush()
            }
            Action::FlushOutage { reads_too } => {
                self.node.objects.refuse(true, reads_too);
                self.try_flush()?;
                let kind = if reads_too { "flush without objects" } else { "flush without writes" };
                self.trace.fault(kind.to_owned(), self.node.objects.has_refused());
                self.node.objects.heal();
                self.check()?;
                self.flush()
            }
            Action::FlushTrimFault(operation, nth) => {
                self.node.disks.iter().for_each(|disk| disk.fail(operation, nth, Fault::Io));
                self.try_flush()?;
                let is_met = self.node.disks.iter().any(|disk| !disk.awaits_fault());
                self.trace.fault(format!("trim {operation:?}"), is_met);
                self.check()?;
                self.crash(None)
            }
            Action::CrashInFlush(nth, toxic, power) => {
                self.poisoned("flush", nth, toxic, Self::try_flush)?;
                self.crash(power)
            }
            Action::Upkeep(upkeep) => self.keep_up(upkeep),
            Action::LandLate => {
                let landed = self.node.runtime.block_on(self.node.objects.land_late());
                let late = std::mem::take(&mut self.late);
                self.passed |= landed > 0 && late.iter().any(|life| *life != self.life);
                self.trace.fault("commit lands late".to_owned(), landed > 0);
                Ok(())
            }
            Action::Clock(seconds) => {
                self.now = (self.now + seconds * SECOND).max(self.highest - BACK_SECONDS * SECOND);
                self.highest = self.highest.max(self.now);
                self.tick();
                Ok(())
            }
            Action::Restart => self.restart(),
            Action::Crash(power) => self.crash(power),
            Action::Tear(seed) => self.tear(seed),
            Action::Hold => {
                let snapshot = self.node.up().map_err(wrong)?.store.snapshot();
                if self.held.len() == HELD_MAX {
                    self.held.remove(0);
                }
                self.held.push(Held { snapshot, life: self.life, at: self.now });
                Ok(())
            }
            Action::Release => {
                if !self.held.is_empty() {
                    self.held.remove(0);
                }
                Ok(())
            }
            Action::Verify => check::table_and_log(&self.model, &self.node),
        }
    }

    // Flushes.

    /// A flush that may fail; what it did is looked at later.
    fn try_flush(&mut self) -> Result<(), Wrong> {
        let result = self.node.up().map_err(wrong)?.store.flush_blocking();
        self.trace.push(format!("  flush: {:?}", result.map(|report| report.rows).map_err(|error| error.kind())));
        Ok(())
    }

    /// A flush that must succeed, unless a write of an earlier life has landed meanwhile: then a restart must help.
    fn flush(&mut self) -> Result<(), Wrong> {
        let mut result = self.node.up().map_err(wrong)?.store.flush_blocking();
        if result.is_err() && self.passed {
            self.trace.push("  passed by an earlier life: restart".to_owned());
            self.check()?;
            self.crash(None)?;
            result = self.node.up().map_err(wrong)?.store.flush_blocking();
        }
        let report = result.map_err(|error| format!("the flush fails although nothing is wrong: {error}"))?;
        self.trace.push(format!("  flushed {} rows, version {}", report.rows, report.version));
        for partition in 0..PARTITIONS {
            let (flushed, last) = (report.position.of(PartitionId(partition)).0, self.model.last(partition));
            require(flushed == last, || format!("flushed to {flushed} of partition {partition} and not to {last}"))?;
        }
        Ok(())
    }

    /// The clock of everything is the world's.
    fn tick(&self) {
        set_now(self.now);
        self.node.objects.set_now(self.now);
    }

    // Questions.

    /// Every row, and then [`World::check_standing`].
    fn check(&mut self) -> Result<(), Wrong> {
        let snapshot = self.node.up().map_err(wrong)?.store.snapshot();
        check::snapshot(&self.model, &snapshot)?;
        if let Some(held) = self.held.choose(&mut self.random).filter(|_| self.random.random_bool(0.4)) {
            check::snapshot(&self.model, &held.snapshot).map_err(|what| format!("a held snapshot: {what}"))?;
        }
        self.check_standing()
    }

    /// One session, and where the node stands.
    fn check_standing(&mut self) -> Result<(), Wrong> {
        let up = self.node.up().map_err(wrong)?;
        check::standing(&self.model, up)?;
        let snapshot = up.store.snapshot();
        let session = format!("session-{}", self.random.random_range(0..SESSIONS));
        check::session(&self.model, &snapshot, &session)?;
        require(snapshot.version() >= self.version, || {
            format!("the version went from {} back to {}", self.version, snapshot.version())
        })?;
        self.version = snapshot.version();
        for partition in 0..PARTITIONS {
            let flushed = snapshot.flushed().of(PartitionId(partition)).0;
            let before = std::mem::replace(&mut self.flushed[usize::from(partition)], flushed);
            require(flushed >= before, || format!("flushed of {partition} went from {before} back to {flushed}"))?;
        }
        let starts: Vec<_> = up.logs.iter().map(|log| log.start().0).collect();
        self.trace.push(format!(
            "  version {}, applied {}, flushed {}, logs from {starts:?}, {} rows",
            self.version,
            snapshot.position(),
            snapshot.flushed(),
            self.model.rows.len()
        ));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Row;

    /// A node with rows in the table and in the hot buffer, and a model that agrees.
    fn world() -> World {
        let mut world = World::new(7, true).unwrap();
        for size in [20, 30] {
            let sent = world.request(size, None);
            world.send(&sent).unwrap();
        }
        world.flush().unwrap();
        let sent = world.request(20, None);
        world.send(&sent).unwrap();
        world.act(Action::Hold).unwrap();
        world.check().unwrap();
        check::table_and_log(&world.model, &world.node).unwrap();
        world
    }

    fn misses(what: &str, change: impl FnOnce(&mut World)) {
        let mut world = world();
        change(&mut world);
        let is_noticed = world.check().is_err() || check::table_and_log(&world.model, &world.node).is_err();
        assert!(is_noticed, "{what} is not noticed");
    }

    fn place(world: &World, of: impl Fn(&(u16, u64), &Row) -> bool) -> (u16, u64) {
        *world.model.rows.iter().find(|(place, row)| of(place, row)).unwrap().0
    }

    #[test]
    fn the_oracle_notices_what_is_wrong() {
        misses("a row that was never stored", |world| {
            let place = place(world, |_, _| true);
            world.model.rows.remove(&place);
        });
        misses("a flushed row that is lost", |world| {
            let row = world.model.rows.values().next().unwrap().clone();
            world.model.rows.insert((0, 0), row);
        });
        misses("a hot row that is lost", |world| {
            let (place, row) = world.model.rows.iter().next_back().unwrap();
            let (place, row) = ((place.0, place.1 + 1), row.clone());
            world.model.rows.insert(place, row);
            world.model.next[usize::from(place.0)] += 1;
        });
        misses("rows in each other's places", |world| {
            let mut rows = world.model.rows.iter().map(|(place, row)| (*place, row.clone()));
            let ((one, first), (other, second)) = (rows.next().unwrap(), rows.next().unwrap());
            world.model.rows.extend([(one, second), (other, first)]);
        });
        misses("a lost rejection", |world| drop(world.model.rejections.insert((0, 0), String::new())));
        misses("a wrong ledger", |world| world.model.ledger.values_mut().next().unwrap().duplicate += 1);
        misses("a version that went back", |world| world.version += 1);
        misses("flushed that went back", |world| world.flushed[1] += 1);
        misses("an offset that was skipped", |world| world.model.next[0] += 1);
    }
}
