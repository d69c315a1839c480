//! [`Contents`]: what retention knows of the events' files: under which rules their rows fall, and what it cannot read.
//!
//! A file never changes, and the rules do not while the store is open: each file is read once. What is kept of it is a
//! mark for each rule, however many applications and categories its rows have.

use std::sync::Arc;

use ahash::{AHashMap, AHashSet};
use arrow::array::RecordBatch;

use super::RetentionRule;
use crate::columns::{Columns, EventRows};
use crate::error::{Error, Kind, Result};
use crate::table::{FilePath, TableFile, Unread};

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Contents {
    known: AHashMap<FilePath, Marks>,
    pub(super) unread: Unread,
}

/// Which rules the rows of a file fall under: a mark for each rule, and one for no rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Marks(Box<[bool]>);

impl Contents {
    /// What is known of a file.
    pub(super) fn of(&self, file: &FilePath) -> Option<&Marks> {
        self.known.get(file)
    }

    /// It was read.
    pub(super) fn learn(&mut self, file: &FilePath, marks: Marks) {
        self.unread.forget(file);
        self.known.insert(file.clone(), marks);
    }

    /// Forgets all files but these.
    pub(super) fn keep(&mut self, files: &[Arc<TableFile>]) {
        let listed: AHashSet<&FilePath> = files.iter().map(|file| &file.path).collect();
        self.known.retain(|file, _| listed.contains(file));
        self.unread.retain(|file| listed.contains(file));
    }
}

impl Marks {
    /// Reads a file; `None` if `goes_on`, which is asked before each slice, says no.
    pub(super) fn of(rules: &[RetentionRule], file: &TableFile, goes_on: &dyn Fn() -> bool) -> Result<Option<Self>> {
        let mut marks = vec![false; rules.len() + 1];
        for group in file.row_groups()? {
            if !goes_on() {
                return Ok(None);
            }
            let batch = file.read(group.index, Columns::APPLICATION | Columns::CATEGORY, None)?;
            for rule in rules_of(rules, &batch)? {
                marks[rule] = true;
            }
        }
        if !marks.contains(&true) {
            return Err(Error::new(Kind::Corrupt, format!("{} has no rows", file.path)));
        }
        Ok(Some(Self(marks.into_boxed_slice())))
    }

    /// True if a row falls under a rule that `over` says this of.
    pub(super) fn meet(&self, over: &[bool], is_over: bool) -> bool {
        self.0.iter().zip(over).any(|(is_there, over)| *is_there && *over == is_over)
    }
}

/// The place of the rule that counts for each row; the number of rules if none does.
pub(super) fn rules_of(rules: &[RetentionRule], batch: &RecordBatch) -> Result<Vec<usize>> {
    let mut found = Vec::with_capacity(batch.num_rows());
    let mut last: Option<((&str, &str), usize)> = None;
    for row in EventRows::new(batch)?.iter() {
        let kind = (row.application, row.event.category);
        let rule = match last {
            // Neighbours are often alike.
            Some((known, rule)) if known == kind => rule,
            _ => rules.iter().position(|rule| rule.fits(kind.0, kind.1)).unwrap_or(rules.len()),
        };
        last = Some((kind, rule));
        found.push(rule);
    }
    Ok(found)
}
