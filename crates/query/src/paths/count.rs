//! From runs to paths: the runs of each unit are put together and in order, cut to a path, and equal paths are counted.

use std::sync::{Mutex, PoisonError};

use ahash::AHashMap;

use crate::cancel::Cancel;
use crate::error::{Error, Result};
use crate::paths::labels::Label;
use crate::paths::steps::{Run, Step, Steps};
use crate::paths::{PATHS_DEPTH_MAX, PathsQuery};

/// The labels of a path, the event that it begins at first; then [`NO_STEP`].
pub(super) type Path = [Label; PATHS_DEPTH_MAX];
/// No label: the path has ended.
pub(super) const NO_STEP: Label = Label::MAX;

/// How many units have which path.
pub(super) type Counts = AHashMap<Path, u64>;

/// Counts the paths of all units, on top of those that were counted in the pass, on as many threads as there are cores. The runs are used up.
pub(super) fn count(steps: &mut Steps<'_>, cancel: &Cancel) -> Result<Counts> {
    let buckets = Mutex::new(std::mem::take(&mut steps.buckets));
    let mut sum = std::mem::take(&mut steps.counts);
    let steps = &*steps;
    let next = || buckets.lock().unwrap_or_else(PoisonError::into_inner).pop();
    let work = || -> Result<Counts> {
        let (mut counts, mut own) = (Counts::new(), Vec::new());
        while let Some(bucket) = next() {
            cancel.check()?;
            count_bucket(steps, bucket, &mut own, &mut counts);
        }
        Ok(counts)
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let all: Vec<_> = std::thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
        let mine = work();
        std::iter::once(Ok(mine)).chain(others.into_iter().map(std::thread::ScopedJoinHandle::join)).collect()
    });
    for counts in all {
        for (path, units) in counts.map_err(|_| Error::Panicked)?? {
            *sum.entry(path).or_default() += units;
        }
    }
    Ok(sum)
}

fn count_bucket(steps: &Steps<'_>, mut runs: Vec<Run>, own: &mut Vec<Step>, counts: &mut Counts) {
    runs.sort_unstable_by_key(|run| run.key);
    for unit in runs.chunk_by(|a, b| a.key == b.key) {
        own.clear();
        unit.iter().for_each(|run| own.extend_from_slice(steps.of(run)));
        count_unit(steps.plan.query, own, counts);
    }
}

/// Counts the path of a unit, whose steps are these.
pub(super) fn count_unit(query: &PathsQuery, own: &mut [Step], counts: &mut Counts) {
    if !own.is_sorted() {
        own.sort_unstable();
    }
    if let Some(path) = path_of(query, own) {
        *counts.entry(path).or_default() += 1;
    }
}

/// The path of a unit, if it has one.
fn path_of(query: &PathsQuery, own: &[Step]) -> Option<Path> {
    if query.end.is_some() {
        let last = own.iter().rposition(|step| step.is_anchor)?;
        return Some(walk(query, own[..=last].iter().rev()));
    }
    let first = own.iter().position(|step| step.is_anchor)?;
    Some(walk(query, own[first..].iter()))
}

fn walk<'s>(query: &PathsQuery, way: impl Iterator<Item = &'s Step>) -> Path {
    let (mut path, mut count) = ([NO_STEP; PATHS_DEPTH_MAX], 0);
    for step in way {
        if query.merge_repeats && count > 0 && path[count - 1] == step.label {
            continue;
        }
        if count == query.depth {
            break;
        }
        path[count] = step.label;
        count += 1;
    }
    path
}
