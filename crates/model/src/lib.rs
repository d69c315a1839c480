//! The protocol of flush, commit, trim and recovery as a model that is checked exhaustively.
//!
//! Three batches are appended to one log; two processes both believe that they own the partition. Each applies, seals,
//! commits, publishes and trims, one step at a time, in every order. Up to two crashes (of one process, or of the whole
//! machine) and two faults of the object store (a lost answer, a refused write, a write that lands after its writer has
//! given up) may strike at any step. The rules that must hold in every state are [`Property`]s; a [`Mutation`] takes one
//! rule of the code away, and the checker must then find a history that breaks a promise.
//!
//! The store of the model is worse than either real one: a commit can be seen before it is durable, as in a folder of
//! this machine, and a write can land late, as in an object store.
//!
//! | step | stands for |
//! |---|---|
//! | [`Step::Append`] | the log's group commit (`log/src/local/writer.rs`, `write`): durable, then acknowledged |
//! | [`Step::Open`] | `Table::open`, `recover::partitions`, `check_meeting` |
//! | [`Step::Apply`] | `Shared::apply_group` |
//! | [`Step::Seal`] | `Shared::seal`, then `commit_events` up to `Table::write_rest` |
//! | [`Step::Put`] | `TableIo::create` inside `Table::try_commit` |
//! | [`Step::SyncFolder`] | `DurableLocal::put_durably`, after the link |
//! | [`Step::ReadBack`] | `Table::assert_read_back`, and the new version taken |
//! | [`Step::Look`] | `Table::reload` after an error; `find`, `is_done` and `assert_not_passed` |
//! | [`Step::Publish`] | `Shared::publish` |
//! | [`Step::Trim`] | `Shared::trim` with nothing kept behind `flushed` |
//! | [`Step::Reopen`] | a process that cannot go on is started again |
//! | [`Step::Kill`], [`Step::PowerCut`] | `kill -9`; everything not synced is gone |
//! | [`Step::LandLate`] | a write of an earlier request reaches the object store |

mod process;
mod world;

pub use process::{Doing, Process, Sealed};
use stateright::{Model, Property};
pub use world::{Commit, World};

/// Batches that are appended.
pub const BATCHES: u8 = 3;
/// Processes that both believe to own the partition.
pub const PROCESSES: usize = 2;

/// A rule of the code that is taken away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutation {
    /// The transaction is not compared with the snapshot that is committed on.
    NoTransactionCheck,
    /// After an error the commit is written again under the next number, without a look.
    RetryWithoutLooking,
    /// An error of the object store is taken for success.
    ErrorMeansDone,
    /// The log is trimmed when the commit is sent, not when it was read back.
    TrimBeforeReadBack,
    /// A commit is not synced.
    CommitNotSynced,
    /// What a listing shows is not made durable first.
    ListNotSynced,
    /// `flushed` moves in a commit of its own, after the one with the rows.
    FlushedApart,
    /// A start takes `flushed` from what the process remembers, not from the table.
    RememberedFlushed,
    /// A version that has more than was sealed is published all the same.
    PassedIsPublished,
}

impl Mutation {
    /// All of them.
    pub const ALL: &[Self] = &[
        Self::NoTransactionCheck,
        Self::RetryWithoutLooking,
        Self::ErrorMeansDone,
        Self::TrimBeforeReadBack,
        Self::CommitNotSynced,
        Self::ListNotSynced,
        Self::FlushedApart,
        Self::RememberedFlushed,
        Self::PassedIsPublished,
    ];
}

/// How a write to the object store ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Answer {
    /// It took effect, and the answer says so.
    Done,
    /// The file is there already.
    Exists,
    /// It took effect, and the answer is lost.
    Lost,
    /// It did not take effect.
    Refused,
    /// The answer is lost; it takes effect later, or never.
    Late,
}

/// What happens next. A number is the process that it happens in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "each is in the table above")]
pub enum Step {
    Append,
    Open(usize),
    Apply(usize),
    Seal(usize),
    Put(usize, Answer),
    SyncFolder(usize),
    ReadBack(usize),
    Look(usize),
    Publish(usize),
    Trim(usize),
    Reopen(usize),
    Kill(usize),
    PowerCut,
    LandLate(usize),
}

/// The protocol, with or without a rule taken away.
#[derive(Clone, Copy, Debug)]
pub struct Protocol {
    /// The rule that is missing.
    pub mutation: Option<Mutation>,
    /// How many crashes there may be.
    pub crashes: u8,
    /// How many faults of the object store there may be.
    pub faults: u8,
}

impl Protocol {
    /// As the code has it: two crashes, two faults.
    #[must_use]
    pub const fn new() -> Self {
        Self { mutation: None, crashes: 2, faults: 2 }
    }

    /// Without one rule.
    #[must_use]
    pub const fn without(mutation: Mutation) -> Self {
        Self { mutation: Some(mutation), ..Self::new() }
    }

    pub(crate) fn lacks(&self, mutation: Mutation) -> bool {
        self.mutation == Some(mutation)
    }
}

impl Default for Protocol {
    fn default() -> Self {
        Self::new()
    }
}

impl Model for Protocol {
    type State = World;
    type Action = Step;

    fn init_states(&self) -> Vec<World> {
        vec![World::new(self)]
    }

    fn actions(&self, world: &World, steps: &mut Vec<Step>) {
        world.steps(self, steps);
    }

    fn next_state(&self, world: &World, step: Step) -> Option<World> {
        let mut next = world.clone();
        next.take(self, step);
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("an acknowledged batch is never lost", |_, world: &World| world.nothing_is_lost()),
            Property::always("no batch is in the table twice", |_, world: &World| world.nothing_is_twice()),
            Property::always("flushed moves with its rows", |_, world: &World| world.flushed_moves_with_rows()),
            Property::always("the log is trimmed behind durable commits", |_, world: &World| world.trim_is_safe()),
            Property::always("what was shown stays", |_, world: &World| world.what_was_shown_stays()),
            Property::always("a reader sees each batch once", |_, world: &World| world.readers_are_exact()),
            Property::sometimes("everything is in the table and trimmed", |_, world: &World| {
                world.flushed() == BATCHES && world.trimmed == BATCHES && world.crashes == 0 && world.faults == 0
            }),
            Property::sometimes("both processes committed", |_, world: &World| {
                world.processes.iter().flatten().filter(|process| process.has_committed).count() == PROCESSES
            }),
        ]
    }
}
