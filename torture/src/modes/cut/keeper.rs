//! [`Keeper`]: what goes on beside the load in some folders when the power is cut. Files are merged, replaced ones removed,
//! sessions erased.
//!
//! What is erased are sessions of the keeper's own, two at a time: nobody sends to them any more, and the second one, whose
//! events lie among those of the first, must stay.

use std::time::Duration;

use serde_json::Value;

use crate::Result;
use crate::erasures::Erasures;
use crate::http::Client;
use crate::load::{Notes, Shape, Writer};
use crate::modes::upkeep::await_erased;
use crate::observe;
use crate::oracle::Violation;
use crate::random::Random;
use crate::rig::Rig;

/// What was done while power was there.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Done {
    pub(super) merged_rows: u64,
    pub(super) removed_files: u64,
    /// Erasures that were accepted.
    pub(super) erasures: u64,
    /// How many a start found accepted and not done.
    pub(super) taken_up: u64,
}

impl Done {
    pub(super) const fn add(&mut self, other: Self) {
        self.merged_rows += other.merged_rows;
        self.removed_files += other.removed_files;
        self.erasures += other.erasures;
        self.taken_up += other.taken_up;
    }
}

/// Who merges, removes and erases in one folder.
pub(super) struct Keeper {
    run: String,
    random: Random,
    erasures: Erasures,
    /// Pairs of sessions that were written.
    pairs: u64,
    /// Those of them that are read with the others.
    read: u64,
    done: Done,
}

impl Keeper {
    /// From the next start on files are merged by themselves too, and what was replaced goes at once.
    pub(super) fn new(rig: &mut Rig<'_>, random: &Random) -> Self {
        // A compaction that was asked for goes on as long as there are new files.
        rig.flag("flush-age-max", "100ms");
        rig.flag("flush-bytes-max", "4MiB");
        rig.flag("compaction-period", "100ms");
        rig.flag("compaction-files-min", "2");
        rig.flag("vacuum-retention", "0s");
        let (run, random, erasures) = (rig.run().to_owned(), random.fork(99), Erasures::default());
        Self { run, random, erasures, pairs: 0, read: 0, done: Done::default() }
    }

    /// Two sessions, of which one gets three events in four.
    fn shape(&self, pair: u64) -> Shape {
        Shape { sessions: 2, repeats: false, ..Shape::new(format!("{}v{pair}", self.run)) }
    }

    /// Goes on until there is no answer. Every answer counts: none may come after a cut.
    pub(super) fn keep(&mut self, client: &mut Client, notes: &Notes) {
        while let Ok(()) = self.round(client, notes) {}
    }

    /// Merges what lives before this one have left, for there may be little time; writes two sessions, erases one of them.
    fn round(&mut self, client: &mut Client, notes: &Notes) -> Result<()> {
        let shape = self.shape(self.pairs);
        self.pairs += 1;
        if self.random.one_in(2) {
            let done = act(client, notes, "/v1/compact")?;
            self.done.merged_rows += done["rows"].as_u64().unwrap_or_default();
            self.done.removed_files += done["vacuumed_files"].as_u64().unwrap_or_default();
        }
        let mut writer = Writer::new(&shape, 0, &self.random.fork(self.pairs));
        for _ in 0..1 + self.random.below(3) {
            writer.step(client, notes);
            if self.random.one_in(2) {
                act(client, notes, "/v1/flush")?;
            }
        }
        if self.erasures.is_unknown() || !self.erasures.ask(client, notes, &shape.session(0))? {
            return Ok(());
        }
        while self.random.one_in(2) && !self.erasures.look(client, notes)? {
            std::thread::sleep(Duration::from_millis(2));
        }
        Ok(())
    }

    /// After a cut, before the next start: what the server logged of its own compactions, and which sessions there are now.
    pub(super) fn look(&mut self, rig: &mut Rig<'_>) {
        for line in rig.launch.log().lines().filter(|line| line.contains("compacted")) {
            self.done.merged_rows += figure(line, "rows=");
            self.done.removed_files += figure(line, "vacuumed=");
        }
        rig.reads_too((self.read..self.pairs).flat_map(|pair| self.shape(pair).all_sessions()));
        self.read = self.pairs;
    }

    /// As [`Rig::recover_and_check`]; and what was to go is gone.
    ///
    /// # Errors
    /// The tools failed.
    pub(super) fn recover_and_check(&mut self, rig: &mut Rig<'_>) -> Result<()> {
        let Some(mut server) = rig.start()? else { return Ok(()) };
        await_erased(rig, &server, &mut self.erasures)?;
        rig.check_running(&server);
        rig.notes.judge_end(server.process.kill());
        rig.check_stopped();
        let witness = rig.notes.witness();
        let held = observe::words(&rig.launch.data, rig.run(), |word| witness.is_erased(word))?;
        drop(witness);
        for (path, word) in held {
            rig.find(Violation::NotErased, format!("{} holds {word}", path.display()));
        }
        Ok(())
    }

    pub(super) fn done(&self) -> Done {
        Done { erasures: self.erasures.accepted(), taken_up: self.erasures.taken_up, ..self.done }
    }
}

/// An administrator's request. What it did: null if it is too busy at the moment.
fn act(client: &mut Client, notes: &Notes, path: &str) -> Result<Value> {
    let answer = client.post(path, "application/json", b"{}")?;
    match answer.status {
        200 => Ok(serde_json::from_slice(&answer.body)?),
        503 => Ok(Value::Null),
        status => {
            let detail = format!("{path} is answered with {status}: {}", answer.text());
            notes.find(Violation::NotRecovered, detail.clone());
            Err(detail.into())
        }
    }
}

/// The number behind this name in a line of the log; 0 if there is none.
fn figure(line: &str, name: &str) -> u64 {
    let digits = line.split_whitespace().find_map(|word| word.strip_prefix(name));
    digits.and_then(|digits| digits.parse().ok()).unwrap_or_default()
}
