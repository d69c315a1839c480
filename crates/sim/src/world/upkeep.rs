//! What nobody waits for: compaction and vacuum, erasure, retention; each as it should go, with a faulty write, and with a
//! death at a write.

use std::time::Duration;

use eye_store::{Columns, Erasure, Selection};
use rand::Rng as _;

use super::{BACK_SECONDS, SECOND, World};
use crate::check::{self, Wrong, require, wrong};
use crate::model::Model;
use crate::node::VACUUM_RETENTION_SECONDS;
use crate::objects::Toxic;

const DAY_SECONDS: i64 = 86_400;
/// What a process can die of.
const DEADLY: [Toxic; 3] = [Toxic::DieBefore, Toxic::DieAfter, Toxic::Late];

/// See the module.
#[derive(Clone, Debug)]
pub(super) enum Upkeep {
    /// Small files are merged and old ones go: all that can be, or what is due.
    Compact { all: bool },
    /// The same while a write to the object store is hit, then again without.
    CompactToxic(u64, Toxic),
    /// The process dies at a write of the compaction.
    CrashInCompact(u64, Toxic, Option<u64>),
    /// Somebody is erased.
    Erase(u64),
    /// A write of the erasure is faulty.
    EraseToxic(u64, u64, Toxic),
    /// The process dies at a write of the erasure.
    CrashInErase(u64, u64, Toxic, Option<u64>),
    /// So many days go by, and what is too old goes.
    Expire(i64),
    /// A write of that is faulty.
    ExpireToxic(i64, u64, Toxic),
    /// The process dies at a write of that.
    CrashInExpire(i64, u64, Toxic, Option<u64>),
}

impl World {
    /// One time in some.
    pub(super) fn choose_upkeep(&mut self, power: Option<u64>, nth: u64) -> Option<Upkeep> {
        if self.random.random_bool(0.15) {
            return Some(match self.random.random_range(0..10) {
                0..6 => Upkeep::Compact { all: self.random.random_bool(0.5) },
                6..8 => Upkeep::CompactToxic(nth, self.pick(&Toxic::SURVIVED)),
                _ => Upkeep::CrashInCompact(nth, self.pick(&DEADLY), power),
            });
        }
        if self.random.random_bool(0.04) {
            let (who, nth) = (self.random.random_range(0..7), self.random.random_range(0..10));
            return Some(match self.random.random_range(0..3) {
                0 => Upkeep::Erase(who),
                1 => Upkeep::EraseToxic(who, nth, self.pick(&Toxic::SURVIVED)),
                _ => Upkeep::CrashInErase(who, nth, self.pick(&DEADLY), power),
            });
        }
        if self.random.random_bool(0.05) {
            let days = self.random.random_range(0..3);
            return Some(match self.random.random_range(0..3) {
                0 => Upkeep::Expire(days),
                1 => Upkeep::ExpireToxic(days, nth, self.pick(&Toxic::SURVIVED)),
                _ => Upkeep::CrashInExpire(days, nth, self.pick(&DEADLY), power),
            });
        }
        None
    }

    /// Does it, and sees that in the end everything is as it must be.
    pub(super) fn keep_up(&mut self, upkeep: Upkeep) -> Result<(), Wrong> {
        match upkeep {
            Upkeep::Compact { all } => {
                self.may_vacuum();
                self.compact(all)
            }
            Upkeep::CompactToxic(nth, toxic) => {
                self.may_vacuum();
                self.poisoned("compact", nth, toxic, Self::try_compact)?;
                self.node.objects.heal();
                self.check()?;
                self.compact(true)?;
                self.check()?;
                self.flush()
            }
            Upkeep::CrashInCompact(nth, toxic, power) => {
                self.may_vacuum();
                self.poisoned("compact", nth, toxic, Self::try_compact)?;
                self.crash(power)
            }
            Upkeep::Erase(who) => {
                self.accept_erasure(who)?;
                self.check()?;
                self.finish_erasures()
            }
            Upkeep::EraseToxic(who, nth, toxic) => {
                self.accept_erasure(who)?;
                self.poisoned("erase", nth, toxic, Self::try_erase)?;
                self.node.objects.heal();
                self.check()?;
                self.finish_erasures()?;
                self.check()?;
                self.flush()
            }
            Upkeep::CrashInErase(who, nth, toxic, power) => {
                self.accept_erasure(who)?;
                self.poisoned("erase", nth, toxic, Self::try_erase)?;
                self.crash(power)?;
                self.check()?;
                self.finish_erasures()
            }
            Upkeep::Expire(days) => {
                let expected = self.grow_old(days)?;
                self.check()?;
                self.expire(Some(expected))
            }
            Upkeep::ExpireToxic(days, nth, toxic) => {
                self.grow_old(days)?;
                self.poisoned("expire", nth, toxic, Self::try_expire)?;
                self.node.objects.heal();
                self.check()?;
                self.expire(None)?;
                self.check()?;
                self.flush()
            }
            Upkeep::CrashInExpire(days, nth, toxic, power) => {
                self.grow_old(days)?;
                self.poisoned("expire", nth, toxic, Self::try_expire)?;
                self.crash(power)?;
                self.check()?;
                self.expire(None)
            }
        }
    }

    /// Does something while a write to the object store is hit.
    pub(super) fn poisoned(
        &mut self,
        what: &str,
        nth: u64,
        toxic: Toxic,
        action: impl FnOnce(&mut Self) -> Result<(), Wrong>,
    ) -> Result<(), Wrong> {
        self.node.objects.arm(nth, toxic);
        action(self)?;
        self.trace.fault(format!("{what} {toxic:?}"), !self.node.objects.is_armed());
        if toxic == Toxic::Late {
            self.late.push(self.life);
        }
        Ok(())
    }

    // Compactions.

    /// Views of processes that have ended are promised their files for the retention only; a running one's for ever.
    fn may_vacuum(&mut self) {
        let since = self.now - (VACUUM_RETENTION_SECONDS - 2 * BACK_SECONDS) * SECOND;
        self.held.retain(|held| held.life == self.life || held.at > since);
    }

    /// A compaction that may fail; what it did is looked at later.
    fn try_compact(&mut self) -> Result<(), Wrong> {
        let result = self.node.up().map_err(wrong)?.store.compact_blocking(Duration::MAX);
        self.trace.push(format!("  compact: {:?}", result.map(|report| report.rows).map_err(|error| error.kind())));
        Ok(())
    }

    /// A compaction that must succeed, unless a write of an earlier life has landed meanwhile, as with a flush.
    fn compact(&mut self, all: bool) -> Result<(), Wrong> {
        let compact = |world: &Self| {
            let store = &world.node.up().map_err(wrong)?.store;
            Ok::<_, Wrong>(if all { store.compact_blocking(Duration::MAX) } else { store.compact_due_blocking() })
        };
        let mut result = compact(self)?;
        if result.is_err() && self.passed {
            self.trace.push("  passed by an earlier life: restart".to_owned());
            self.check()?;
            self.crash(None)?;
            result = compact(self)?;
        }
        let done = result.map_err(|error| format!("the compaction fails although nothing is wrong: {error}"))?;
        self.trace.push(format!(
            "  compacted {} files to {}, {} rows; {} are gone",
            done.files_in, done.files_out, done.rows, done.vacuumed_files
        ));
        let again = compact(self)?.map_err(wrong)?;
        require(again.files_in == 0, || format!("a second compaction finds {} files to merge", again.files_in))
    }

    // Erasures.

    /// An erasure that must be accepted, unless a write of an earlier life has landed meanwhile, as with a flush.
    fn accept_erasure(&mut self, who: u64) -> Result<(), Wrong> {
        let accept = |world: &Self| {
            let selection = Selection {
                id: Erasure::fresh_id(),
                criteria: vec!["user_id".to_owned()],
                columns: Columns::USER_ID | Columns::EVENT_ID,
                session_id: None,
                event: &|row| Model::is_of(row.event.event_id, row.event.user_id, who),
                rejection: &|row| Model::is_rejection_of(row.rejection.sample, who),
            };
            Ok::<_, Wrong>(world.node.up().map_err(wrong)?.store.erase(&selection))
        };
        let mut result = accept(self)?;
        if result.is_err() && self.passed {
            self.trace.push("  passed by an earlier life: restart".to_owned());
            self.check()?;
            self.crash(None)?;
            result = accept(self)?;
        }
        let accepted = result.map_err(|error| format!("an erasure is refused although nothing is wrong: {error}"))?;
        let expected = self.model.erase(who);
        self.trace
            .push(format!("  {} events and {} rejections are to be erased", accepted.events, accepted.rejections));
        // What they show is not what anybody else may see now, and the erasure waits for them.
        self.held.clear();
        require((accepted.events, accepted.rejections) == expected, || {
            format!("it chose {accepted:?}, not {expected:?}")
        })
    }

    /// An erasure that may fail; what it did is looked at later.
    fn try_erase(&mut self) -> Result<(), Wrong> {
        let result = self.node.up().map_err(wrong)?.store.run_erasures_blocking();
        self.trace.push(format!("  erase: {:?}", result.map_err(|error| error.kind())));
        Ok(())
    }

    /// Everything that is accepted is carried out, and nothing of it is in the table.
    fn finish_erasures(&mut self) -> Result<(), Wrong> {
        let mut result = self.node.up().map_err(wrong)?.store.run_erasures_blocking();
        if result.is_err() && self.passed {
            self.trace.push("  passed by an earlier life: restart".to_owned());
            self.check()?;
            self.crash(None)?;
            result = self.node.up().map_err(wrong)?.store.run_erasures_blocking();
        }
        let is_done = result.map_err(|error| format!("an erasure fails although nothing is wrong: {error}"))?;
        require(is_done, || "an erasure is not done although nobody reads the old files".to_owned())?;
        check::table_and_log(&self.model, &self.node)
    }

    // Retention.

    /// Days go by, everything is flushed, and what is too old may go from now on: how many events and rejections that is.
    fn grow_old(&mut self, days: i64) -> Result<(u64, u64), Wrong> {
        self.now += days * DAY_SECONDS * SECOND;
        self.highest = self.highest.max(self.now);
        self.tick();
        self.flush()?;
        // What they show is not what anybody else sees from now on.
        self.held.clear();
        self.has_expired = true;
        Ok(self.model.grow_old(self.now))
    }

    /// Retention that may fail; what it did is looked at later.
    fn try_expire(&mut self) -> Result<(), Wrong> {
        let result = self.node.up().map_err(wrong)?.store.expire_blocking();
        self.trace.push(format!("  expire: {:?}", result.map(|report| report.events).map_err(|error| error.kind())));
        Ok(())
    }

    /// Retention that must succeed, unless a write of an earlier life has landed meanwhile, as with a flush.
    fn expire(&mut self, expected: Option<(u64, u64)>) -> Result<(), Wrong> {
        let mut result = self.node.up().map_err(wrong)?.store.expire_blocking();
        if result.is_err() && self.passed {
            self.trace.push("  passed by an earlier life: restart".to_owned());
            self.check()?;
            self.crash(None)?;
            result = self.node.up().map_err(wrong)?.store.expire_blocking();
        }
        let done = result.map_err(|error| format!("retention fails although nothing is wrong: {error}"))?;
        self.trace.push(format!("  {} events and {} rejections were too old", done.events, done.rejections));
        let taken = (done.events, done.rejections);
        require(expected.is_none_or(|expected| expected == taken), || {
            format!("retention took {taken:?} and must take {expected:?}")
        })?;
        self.model.forget_old();
        check::table_and_log(&self.model, &self.node)
    }

    /// The commit that took something out may have been torn: then it is there again, and goes again.
    pub(super) fn expire_again(&mut self) -> Result<(), Wrong> {
        if !self.has_expired {
            return Ok(());
        }
        self.flush()?;
        self.held.clear();
        self.model.grow_old(self.now);
        self.expire(None)
    }
}
