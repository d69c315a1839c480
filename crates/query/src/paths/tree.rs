//! Counted paths as a tree of which the most frequent part is shown.

use std::cmp::Reverse;

use crate::error::{Error, Result};
use crate::paths::count::{Counts, NO_STEP, Path};
use crate::paths::labels::{Label, Labels};
use crate::paths::{PathNodeOut, PathsQuery};

/// How many steps one answer may show.
pub const PATHS_NODES_MAX: usize = 20_000;

/// The tree of an answer.
pub(super) struct Tree<'a> {
    query: &'a PathsQuery,
    labels: &'a Labels,
    nodes: usize,
}

/// What is below a step.
#[derive(Default)]
pub(super) struct Level {
    pub(super) units: u64,
    pub(super) ended: u64,
    pub(super) children: Vec<PathNodeOut>,
    pub(super) rest: u64,
}

/// Paths with the same beginning, and how many units have them.
struct Branch<'c> {
    label: Label,
    paths: &'c [(Path, u64)],
    units: u64,
}

impl<'a> Tree<'a> {
    pub(super) fn new(query: &'a PathsQuery, labels: &'a Labels) -> Self {
        Self { query, labels, nodes: 0 }
    }

    /// The tree of all paths.
    ///
    /// # Errors
    /// `TooMuch`, if it has too many nodes.
    pub(super) fn whole(mut self, counts: Counts) -> Result<Level> {
        let mut paths: Vec<(Path, u64)> = counts.into_iter().collect();
        paths.sort_unstable();
        self.level(&paths, 0)
    }

    /// What is below the step before `depth`, out of the sorted paths that have it.
    fn level(&mut self, paths: &[(Path, u64)], depth: usize) -> Result<Level> {
        let mut level = Level { units: sum(paths), ..Level::default() };
        if depth == self.query.depth {
            return Ok(level);
        }
        let mut branches = Vec::new();
        for paths in paths.chunk_by(|(a, _), (b, _)| a[depth] == b[depth]) {
            match paths.first().map_or(NO_STEP, |(path, _)| path[depth]) {
                NO_STEP => level.ended = sum(paths),
                label => branches.push(Branch { label, paths, units: sum(paths) }),
            }
        }
        branches.sort_unstable_by_key(|branch| (Reverse(branch.units), self.labels.text(branch.label)));
        let shown = branches.len().min(self.query.top);
        level.rest = branches[shown..].iter().map(|branch| branch.units).sum();
        for branch in &branches[..shown] {
            level.children.push(self.node(branch, depth + 1)?);
        }
        Ok(level)
    }

    fn node(&mut self, branch: &Branch<'_>, depth: usize) -> Result<PathNodeOut> {
        self.nodes += 1;
        if self.nodes > PATHS_NODES_MAX {
            let message = format!("the tree has more than {PATHS_NODES_MAX} steps: send a smaller depth or top");
            return Err(Error::TooMuch { message });
        }
        let Level { units, ended, children, rest } = self.level(branch.paths, depth)?;
        let label = self.labels.text(branch.label).map(str::to_owned);
        Ok(PathNodeOut { label, units, ended, children, rest })
    }
}

fn sum(paths: &[(Path, u64)]) -> u64 {
    paths.iter().map(|(_, units)| units).sum()
}
