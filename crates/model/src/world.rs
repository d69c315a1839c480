//! Everything there is: the log, the table, two processes, and what may still go wrong.

use crate::process::{Doing, Process, Sealed, bits};
use crate::{Answer, BATCHES, Mutation, PROCESSES, Protocol, Step};

/// A commit of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Commit {
    /// The first batch that it covers.
    pub first: u8,
    /// The table's `flushed` from then on.
    pub last: u8,
    /// The batches that its files hold, as bits.
    pub rows: u8,
}

/// A state of the model.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct World {
    /// Batches in the log: durable and acknowledged.
    pub appended: u8,
    /// Batches that the log has forgotten.
    pub trimmed: u8,
    /// The table, by version.
    pub commits: Vec<Commit>,
    /// How many of them a power cut leaves.
    pub durable: u8,
    /// Writes whose writer has given up, with their versions.
    pub late: Vec<(u8, Commit)>,
    /// The processes; `None` is not running.
    pub processes: [Option<Process>; PROCESSES],
    /// The highest `flushed` that a process was shown at open.
    pub shown: u8,
    /// What each process remembers of `flushed` without asking the table. Used by one mutation.
    pub remembered: [u8; PROCESSES],
    /// Crashes left.
    pub crashes: u8,
    /// Faults left.
    pub faults: u8,
}

fn flushed_of(commits: &[Commit]) -> u8 {
    commits.last().map_or(0, |commit| commit.last)
}

fn number(length: usize) -> u8 {
    u8::try_from(length).unwrap_or(u8::MAX)
}

impl World {
    /// Nothing has happened.
    pub(crate) fn new(protocol: &Protocol) -> Self {
        Self {
            appended: 0,
            trimmed: 0,
            commits: Vec::new(),
            durable: 0,
            late: Vec::new(),
            processes: [None; PROCESSES],
            shown: 0,
            remembered: [0; PROCESSES],
            crashes: protocol.crashes,
            faults: protocol.faults,
        }
    }

    /// The last batch that is in the table.
    pub(crate) fn flushed(&self) -> u8 {
        flushed_of(&self.commits)
    }

    fn durable_commits(&self) -> &[Commit] {
        &self.commits[..usize::from(self.durable)]
    }

    fn known(&self, process: &Process) -> u8 {
        flushed_of(&self.commits[..usize::from(process.known)])
    }

    // What must hold.

    pub(crate) fn nothing_is_lost(&self) -> bool {
        let kept = self.durable_commits().iter().fold(bits(self.trimmed, self.appended), |kept, c| kept | c.rows);
        kept & bits(0, self.appended) == bits(0, self.appended)
    }

    pub(crate) fn nothing_is_twice(&self) -> bool {
        let rows: u32 = self.commits.iter().map(|commit| commit.rows.count_ones()).sum();
        rows == self.commits.iter().fold(0, |all, commit| all | commit.rows).count_ones()
    }

    pub(crate) fn flushed_moves_with_rows(&self) -> bool {
        let mut flushed = 0;
        self.commits.iter().all(|commit| {
            let follows = commit.first == flushed + 1 && commit.last >= commit.first;
            let has_its_rows = commit.rows == bits(flushed, commit.last);
            flushed = commit.last;
            follows && has_its_rows
        })
    }

    pub(crate) fn trim_is_safe(&self) -> bool {
        self.trimmed <= flushed_of(self.durable_commits())
    }

    pub(crate) fn what_was_shown_stays(&self) -> bool {
        self.shown <= flushed_of(self.durable_commits())
    }

    pub(crate) fn readers_are_exact(&self) -> bool {
        self.processes.iter().flatten().all(|process| {
            let table = self.commits[..usize::from(process.view)].iter().fold(0, |rows, commit| rows | commit.rows);
            table & process.hot() == 0 && table | process.hot() == bits(0, process.applied)
        })
    }

    // What may happen next.

    pub(crate) fn steps(&self, protocol: &Protocol, steps: &mut Vec<Step>) {
        if self.appended < BATCHES {
            steps.push(Step::Append);
        }
        for (index, process) in self.processes.iter().enumerate() {
            match process {
                None => steps.push(Step::Open(index)),
                Some(process) => self.steps_of(protocol, index, process, steps),
            }
        }
        if self.crashes > 0 && self.processes.iter().any(Option::is_some) {
            steps.push(Step::PowerCut);
        }
        steps.extend((0..self.late.len()).map(Step::LandLate));
    }

    fn steps_of(&self, protocol: &Protocol, index: usize, process: &Process, steps: &mut Vec<Step>) {
        if self.crashes > 0 {
            steps.push(Step::Kill(index));
        }
        // What is trimmed cannot be applied any more: the store has failed until it is opened again.
        if process.applied < self.appended && process.applied >= self.trimmed {
            steps.push(Step::Apply(index));
        }
        match process.doing {
            Doing::Nothing if self.can_seal(protocol, process) => steps.push(Step::Seal(index)),
            Doing::Nothing if process.sealed.is_some() || process.applied < self.trimmed => {
                steps.push(Step::Reopen(index));
            }
            Doing::Nothing => {}
            Doing::Sending(version, _) if usize::from(version) < self.commits.len() => {
                steps.push(Step::Put(index, Answer::Exists));
            }
            Doing::Sending(..) => {
                steps.push(Step::Put(index, Answer::Done));
                if self.faults > 0 {
                    steps.extend([Answer::Lost, Answer::Refused, Answer::Late].map(|how| Step::Put(index, how)));
                }
            }
            Doing::Linked(_) => steps.push(Step::SyncFolder(index)),
            Doing::Answered(_) => steps.push(Step::ReadBack(index)),
            Doing::Asking(..) => steps.push(Step::Look(index)),
            Doing::Committed => steps.push(Step::Publish(index)),
            Doing::Published => steps.push(Step::Trim(index)),
        }
    }

    /// There is something to flush, and `exactly_one_place` holds for it.
    fn can_seal(&self, protocol: &Protocol, process: &Process) -> bool {
        let flushed = self.known(process);
        match process.sealed {
            Some(_) if protocol.lacks(Mutation::NoTransactionCheck) => true,
            Some(sealed) => sealed.from >= flushed,
            None => process.applied > flushed,
        }
    }

    // What each step does.

    pub(crate) fn take(&mut self, protocol: &Protocol, step: Step) {
        match step {
            Step::Append => self.appended += 1,
            Step::Open(index) => self.open(protocol, index),
            Step::Kill(index) => {
                self.crashes -= 1;
                self.end(index);
            }
            Step::Reopen(index) => self.end(index),
            Step::PowerCut => self.power_cut(),
            Step::LandLate(which) => {
                let (version, commit) = self.late.remove(which);
                if usize::from(version) == self.commits.len() {
                    self.commits.push(commit);
                    self.durable = number(self.commits.len());
                }
            }
            Step::Apply(index)
            | Step::Seal(index)
            | Step::Put(index, _)
            | Step::SyncFolder(index)
            | Step::ReadBack(index)
            | Step::Look(index)
            | Step::Publish(index)
            | Step::Trim(index) => {
                let Some(mut process) = self.processes[index] else { return };
                self.work(protocol, &mut process, step);
                self.processes[index] = Some(process);
                if protocol.lacks(Mutation::RememberedFlushed) {
                    self.remembered[index] = flushed_of(&self.commits[..usize::from(process.view)]);
                }
            }
        }
    }

    fn open(&mut self, protocol: &Protocol, index: usize) {
        if !protocol.lacks(Mutation::ListNotSynced) && !protocol.lacks(Mutation::CommitNotSynced) {
            self.durable = number(self.commits.len());
        }
        self.shown = self.shown.max(self.flushed());
        let flushed = match protocol.lacks(Mutation::RememberedFlushed) {
            true => self.remembered[index].max(self.trimmed),
            false => self.flushed(),
        };
        self.processes[index] = Some(Process::opened(number(self.commits.len()), flushed));
    }

    /// A process is gone. What it had sent may still land.
    fn end(&mut self, index: usize) {
        if let Some(Process { doing: Doing::Sending(version, commit), .. }) = self.processes[index]
            && self.faults > 0
        {
            self.faults -= 1;
            self.late.push((version, commit));
        }
        self.processes[index] = None;
    }

    fn power_cut(&mut self) {
        self.crashes -= 1;
        self.processes = [None; PROCESSES];
        self.late.clear();
        self.commits.truncate(usize::from(self.durable));
    }

    fn work(&mut self, protocol: &Protocol, process: &mut Process, step: Step) {
        match step {
            Step::Apply(_) => process.applied += 1,
            Step::Seal(_) => self.seal(protocol, process),
            Step::Put(_, answer) => self.put(protocol, process, answer),
            Step::SyncFolder(_) => {
                let Doing::Linked(version) = process.doing else { return };
                if !protocol.lacks(Mutation::CommitNotSynced) {
                    self.durable = number(self.commits.len());
                }
                process.doing = Doing::Answered(version);
            }
            Step::ReadBack(_) => self.read_back(protocol, process),
            Step::Look(_) => self.look(protocol, process),
            Step::Publish(_) => {
                process.view = process.known;
                process.may_trim = process.sealed.take().map_or(0, |sealed| sealed.last);
                process.doing = Doing::Published;
            }
            Step::Trim(_) => {
                self.trimmed = self.trimmed.max(process.may_trim);
                process.doing = Doing::Nothing;
            }
            _ => {}
        }
    }

    fn seal(&self, protocol: &Protocol, process: &mut Process) {
        if process.sealed.is_none() {
            process.sealed = Some(Sealed { from: process.active_from, last: process.applied });
            process.active_from = process.applied;
        }
        let Some(sealed) = process.sealed else { return };
        let flushed = self.known(process);
        let last = if protocol.lacks(Mutation::FlushedApart) { flushed } else { sealed.last };
        let commit = Commit { first: flushed + 1, last, rows: bits(sealed.from, sealed.last) };
        process.doing = Doing::Sending(process.known, commit);
    }

    fn put(&mut self, protocol: &Protocol, process: &mut Process, answer: Answer) {
        let Doing::Sending(version, commit) = process.doing else { return };
        if protocol.lacks(Mutation::TrimBeforeReadBack) {
            self.trimmed = self.trimmed.max(commit.last);
        }
        if matches!(answer, Answer::Lost | Answer::Refused | Answer::Late) {
            self.faults -= 1;
        }
        let has_landed = matches!(answer, Answer::Done | Answer::Lost);
        if has_landed {
            self.commits.push(commit);
        }
        if answer == Answer::Late {
            self.late.push((version, commit));
        }
        process.doing = match answer {
            Answer::Done => Doing::Linked(version),
            _ => Doing::Asking(answer, has_landed.then_some(version)),
        };
    }

    fn read_back(&self, protocol: &Protocol, process: &mut Process) {
        let Doing::Answered(version) = process.doing else { return };
        process.known = version + 1;
        process.has_committed = true;
        process.doing = Doing::Committed;
        let Some(sealed) = process.sealed else { return };
        if protocol.lacks(Mutation::FlushedApart) && self.known(process) < sealed.last {
            let commit = Commit { first: self.known(process) + 1, last: sealed.last, rows: 0 };
            process.doing = Doing::Sending(process.known, commit);
        }
    }

    /// An error says nothing: the table is read again, and then it is decided.
    fn look(&mut self, protocol: &Protocol, process: &mut Process) {
        let (Doing::Asking(answer, landed), Some(sealed)) = (process.doing, process.sealed) else { return };
        let before = self.known(process);
        if protocol.lacks(Mutation::ErrorMeansDone) && answer != Answer::Exists {
            process.doing = Doing::Committed;
            return;
        }
        if protocol.lacks(Mutation::RetryWithoutLooking) {
            let commit = Commit { first: before + 1, last: sealed.last, rows: bits(sealed.from, sealed.last) };
            process.known = number(self.commits.len());
            process.doing = Doing::Sending(process.known, commit);
            return;
        }
        if !protocol.lacks(Mutation::ListNotSynced) && !protocol.lacks(Mutation::CommitNotSynced) {
            self.durable = number(self.commits.len());
        }
        process.known = number(self.commits.len());
        let flushed = self.known(process);
        let is_passed = flushed > sealed.last && !protocol.lacks(Mutation::PassedIsPublished);
        process.doing = if flushed >= sealed.last && !is_passed {
            process.has_committed |= landed.is_some();
            Doing::Committed
        } else if answer == Answer::Exists && protocol.lacks(Mutation::NoTransactionCheck) {
            let commit = Commit { first: flushed + 1, last: sealed.last, rows: bits(sealed.from, sealed.last) };
            Doing::Sending(process.known, commit)
        } else {
            // Not there, or a conflict: the flush has failed and is tried again.
            Doing::Nothing
        };
    }
}
