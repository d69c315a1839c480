//! Seeded simulation of a whole node: log, apply, dedup, flush, commit, checkpoint, trim, compaction, vacuum, erasure, retention and recovery,
//! on disks and an object store that fail.
//!
//! One seed is one run: random actions drive a real [`eye_store::Store`] over [`eye_log::disk::sim::SimDisk`] and
//! [`objects::Objects`], with a clock of its own. After each action the node is compared with [`model::Model`], which
//! knows what must be there: each acknowledged event once, with its offset and its bytes; each unacknowledged one at
//! most once; dedup, ledger and rejections exact; `flushed` and the version never back; table and log together
//! everything; a snapshot the same for ever.
//!
//! The rule that must hold: the same seed gives the same trace. The store has threads of its own, so each action waits
//! until they rest, faults hit writes that come one after the other, and nothing random of the store (unique names,
//! seeds of hashes) gets into the trace.
//!
//! | module | what it holds |
//! |---|---|
//! | [`world`] | the actions |
//! | [`model`] | the oracle |
//! | [`check`] | the questions asked after every action |
//! | [`node`] | the node under test |
//! | [`objects`] | its object store |
//! | [`trace`] | what happened |

pub mod check;
pub mod model;
pub mod node;
pub mod objects;
pub mod trace;
pub mod world;

pub use trace::{Faults, Trace};
pub use world::World;

/// As in the product; half of a run would else be spent on memory for compression.
#[global_allocator]
static MEMORY: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Actions of a run, unless said otherwise.
pub const STEPS: usize = 40;

/// Seeds that failed once, before there were compactions. Run by the tests for ever, without any.
pub const REGRESSIONS: &[u64] = &[
    // A hint to a checkpoint landed after the checkpoint had been set aside.
    5, 77, 1003, // One partition's commit, whose answer was lost, was published by another's and then refused.
    51, 110, 127, 174,
];

/// A run that broke a promise.
#[derive(Clone, Debug)]
pub struct Failure {
    /// Its seed.
    pub seed: u64,
    /// The action at which it showed, from 0.
    pub step: usize,
    /// What is wrong.
    pub wrong: String,
    /// What happened before.
    pub trace: Trace,
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { seed, step, wrong, trace } = self;
        for line in trace.lines() {
            writeln!(f, "  {line}")?;
        }
        writeln!(f, "seed {seed} failed at step {step}: {wrong}")?;
        write!(f, "again: cargo xtask sim --seed {seed} --steps {}", step + 1)
    }
}

/// Runs one seed.
///
/// # Errors
/// What went wrong, with the trace.
pub fn run(seed: u64, steps: usize) -> Result<Trace, Box<Failure>> {
    run_with(seed, steps, true)
}

/// Runs one seed, as [`run`] does or without any compaction.
///
/// # Errors
/// As [`run`].
pub fn run_with(seed: u64, steps: usize, compacts: bool) -> Result<Trace, Box<Failure>> {
    let fail = |step, wrong, trace| Box::new(Failure { seed, step, wrong, trace });
    let mut world = World::new(seed, compacts).map_err(|wrong| fail(0, wrong, Trace::default()))?;
    for step in 0..steps {
        if let Err(wrong) = world.step(step) {
            return Err(fail(step, wrong, world.into_trace()));
        }
    }
    match world.finish() {
        Ok(()) => Ok(world.into_trace()),
        Err(wrong) => Err(fail(steps, wrong, world.into_trace())),
    }
}
