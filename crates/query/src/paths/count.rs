//! From runs to paths: the runs of each unit are put together and in order, cut to a path, and equal paths are counted.

use ahash::AHashMap;

use crate::cancel::Cancel;
use crate::error::Result;
use crate::paths::labels::Label;
use crate::paths::steps::{Run, Step, Steps};
use crate::paths::{PATHS_DEPTH_MAX, PathsQuery};
use crate::share::share;

/// The labels of a path, the event that it begins at first; then [`NO_STEP`].
pub(super) type Path = [Label; PATHS_DEPTH_MAX];
/// No label: the path has ended.
pub(super) const NO_STEP: Label = Label::MAX;

/// How many units have which path.
pub(super) type Counts = AHashMap<Path, u64>;

/// Counts the paths of the units whose runs were kept, on top of those that were counted in the pass.
pub(super) fn count(steps: &mut Steps<'_>, cancel: &Cancel) -> Result<Counts> {
    let mut sum = std::mem::take(&mut steps.counts);
    let steps = &*steps;
    let parts = share(steps.buckets.len(), cancel, Counts::new, |counts, bucket| {
        count_bucket(steps, &steps.buckets[bucket], counts);
        Ok(())
    })?;
    for (path, units) in parts.into_iter().flatten() {
        *sum.entry(path).or_default() += units;
    }
    Ok(sum)
}

fn count_bucket(steps: &Steps<'_>, runs: &[Run], counts: &mut Counts) {
    let (mut runs, mut own) = (runs.to_vec(), Vec::new());
    runs.sort_unstable_by_key(|run| run.key);
    for unit in runs.chunk_by(|a, b| a.key == b.key) {
        own.clear();
        unit.iter().for_each(|run| own.extend_from_slice(steps.of(run)));
        count_unit(steps.plan.query, &mut own, counts);
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
