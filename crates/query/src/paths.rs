//! The ways people take: a tree of what comes after an event, or of what came before one.
//!
//! | module | what it does |
//! |---|---|
//! | `paths` | the question and its answer |
//! | `steps` | one pass that keeps a few bytes of each event, neighbours of one unit together |
//! | `labels` | the values of the steps as numbers |
//! | `count` | the events of each unit put in order and cut to a path; equal paths counted |
//! | `tree` | the counted paths as a tree |
//!
//! The rule: what the pass keeps is a set of events with their places in the order of all events, so the answer does not
//! depend on how they were cut into slices and threads.

use std::sync::Arc;

use eye_event::Timestamp;
use eye_store::Columns;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::cancel::Cancel;
use crate::error::{Error, Result, checked};
use crate::field::Field;
use crate::filter::Filter;
use crate::line::Asked;
use crate::mask::Demand;
use crate::paths::steps::{Plan, Steps};
use crate::paths::tree::Tree;
use crate::reads::Reads;
use crate::scan::{Needs, scan};
use crate::source::Source;
use crate::unit::By;

mod count;
mod labels;
mod steps;
mod tree;

pub use labels::{PATHS_LABEL_BYTES_MAX, PATHS_LABELS_MAX};
pub use tree::PATHS_NODES_MAX;

/// How many steps a path has unless asked otherwise.
pub const PATHS_DEPTH: usize = 4;
/// How many steps a path may have.
pub const PATHS_DEPTH_MAX: usize = 10;
/// How many children of a step are shown unless asked otherwise.
pub const PATHS_TOP: usize = 5;
/// How many children of a step may be shown.
pub const PATHS_TOP_MAX: usize = 20;
/// Over how many events one question may run unless asked otherwise: about a gigabyte of memory.
pub const PATHS_EVENTS_MAX: usize = 40_000_000;

/// Which paths, and how much of them.
#[derive(Clone, Debug)]
pub struct PathsQuery {
    /// Which events are steps.
    pub filter: Filter,
    /// Whose events belong together.
    pub by: By,
    /// A path begins at the first of these and goes on; if there is no `end` either, at the first event of all.
    pub start: Option<Arc<Asked>>,
    /// A path goes back from the last of these. Only without `start`.
    pub end: Option<Arc<Asked>>,
    /// What a step shows of its event.
    pub step: Field,
    /// At most so many steps: 1 to [`PATHS_DEPTH_MAX`].
    pub depth: usize,
    /// At most so many children of a step are shown: 1 to [`PATHS_TOP_MAX`].
    pub top: usize,
    /// Neighbours that show the same are one step.
    pub merge_repeats: bool,
    /// Over how many events the question may run; beyond it there is no answer.
    pub events_max: usize,
}

impl Default for PathsQuery {
    fn default() -> Self {
        Self {
            filter: Filter::default(),
            by: By::default(),
            start: None,
            end: None,
            step: Field::Name,
            depth: PATHS_DEPTH,
            top: PATHS_TOP,
            merge_repeats: true,
            events_max: PATHS_EVENTS_MAX,
        }
    }
}

/// A step that paths have in common, with all steps before it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PathNodeOut {
    /// What it shows; null if its events have no such value.
    pub label: Option<String>,
    /// How many units have it on their paths.
    pub units: u64,
    /// How many of them have no step after it. 0 at the last step that was asked for: nobody looked further.
    pub ended: u64,
    /// The steps after it, those of the most units first.
    #[schema(no_recursion)]
    pub children: Vec<PathNodeOut>,
    /// How many units take a step after it that is not shown.
    pub rest: u64,
}

/// The ways people take.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PathsOut {
    /// How many units have a path.
    pub units: u64,
    /// The steps at which they begin, those of the most units first.
    pub children: Vec<PathNodeOut>,
    /// How many units begin with a step that is not shown.
    pub rest: u64,
    /// The beginning of the range; null if it is open.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub from: Option<Timestamp>,
    /// Its end; null if it is open.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub to: Option<Timestamp>,
    /// The version of the table that the answer saw.
    pub version: u64,
    /// What the answer has seen of the log.
    pub offset: String,
}

/// The ways people take.
///
/// # Errors
/// `Invalid` for a parameter out of range, both a start and an end, or one of them with times; `TooMuch` beyond
/// `events_max`, [`PATHS_LABELS_MAX`] or [`PATHS_NODES_MAX`]; `Cancelled`; those of the store.
pub fn paths<S>(source: &S, query: &PathsQuery, cancel: &Cancel) -> Result<PathsOut>
where
    S: Source,
    S::Slice: Sync + Send,
{
    let plan = plan(query)?;
    let reads = Reads::field(&query.step) | Columns::SORT_KEY | plan.anchor.reads();
    let needs = Needs::new(reads).units_alone(query.by);
    let (mut steps, _) = scan(source, &query.filter, &needs, cancel, || Steps::new(&plan))?;
    let counts = count::count(&mut steps, cancel)?;
    let level = Tree::new(query, &steps.labels).whole(counts)?;
    Ok(PathsOut {
        units: level.units,
        children: level.children,
        rest: level.rest,
        from: query.filter.from(),
        to: query.filter.to(),
        version: source.version(),
        offset: source.position().to_string(),
    })
}

fn plan(query: &PathsQuery) -> Result<Plan<'_>> {
    checked("depth", query.depth, PATHS_DEPTH_MAX)?;
    checked("top", query.top, PATHS_TOP_MAX)?;
    let (start, end) = (Demand::new("start", query.start.as_deref())?, Demand::new("end", query.end.as_deref())?);
    if query.start.is_some() && query.end.is_some() {
        return Err(Error::invalid("end", "paths have either a start or an end: leave one of them out"));
    }
    Ok(Plan::new(query, if query.end.is_some() { end } else { start }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schema_of_a_tree_ends() {
        let mut schemas = Vec::new();
        <PathsOut as ToSchema>::schemas(&mut schemas);
        assert!(schemas.iter().any(|(name, _)| name == "PathNodeOut"));
    }
}
