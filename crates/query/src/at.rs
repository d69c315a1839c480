//! [`At`]: a source as it was when an older answer saw it, or what of it came between two answers.
//!
//! What an answer has seen is everything up to its offset, in each partition. Offsets rise and rows never change, so the
//! same rows can be told apart in any later source, in whatever files they lie by then: those whose offset is not behind
//! it. Flush, compaction and restart do not matter. What does is rows that were taken away since: who makes one of these
//! has to know that there are none.

use std::sync::Arc;

use eye_event::Timestamp;
use eye_log::{Offset, PartitionId};
use eye_store::{Columns, Origin, Position, Result, Runs, StoredEvent, StoredRejection};

use crate::frame::Frame;
use crate::reads::Reads;
use crate::source::{Source, SourceSlice};

/// A source, whole or as of an older answer, or what came between two.
#[derive(Clone, Debug)]
pub struct At<S> {
    source: S,
    seen: Option<Seen>,
}

/// What an answer has seen.
#[derive(Clone, Debug)]
struct Seen {
    version: u64,
    position: Position,
    /// But for what this one has seen.
    after: Option<Position>,
}

impl Seen {
    fn has(&self, partition: PartitionId, offset: Offset) -> bool {
        let is_new = self.after.as_ref().is_none_or(|after| offset > after.of(partition));
        is_new && offset <= self.position.of(partition)
    }

    /// True if all rows of a slice are seen.
    fn has_all<L: SourceSlice>(&self, slice: &L) -> bool {
        self.after.is_none() && slice.is_within(&self.position)
    }

    /// True if none of them are.
    fn has_none<L: SourceSlice>(&self, slice: &L) -> bool {
        self.after.as_ref().is_some_and(|after| slice.is_within(after))
    }
}

impl<S: Source> At<S> {
    /// All of it.
    pub fn whole(source: S) -> Self {
        Self { source, seen: None }
    }

    /// What an answer that named this version and this position has seen. The source has to cover the position.
    pub fn seen(source: S, version: u64, position: Position) -> Self {
        Self { source, seen: Some(Seen { version, position, after: None }) }
    }

    /// What an answer that named this version and this position has seen and one at `after` has not. The source has to
    /// cover the position.
    pub fn between(source: S, after: Position, version: u64, position: Position) -> Self {
        Self { source, seen: Some(Seen { version, position, after: Some(after) }) }
    }

    /// What it is of.
    pub fn source(&self) -> &S {
        &self.source
    }

    /// The version of the table that answers name.
    pub fn version(&self) -> u64 {
        self.seen.as_ref().map_or_else(|| self.source.version(), |seen| seen.version)
    }

    /// What of the log answers have seen.
    pub fn position(&self) -> &Position {
        self.seen.as_ref().map_or_else(|| self.source.position(), |seen| &seen.position)
    }
}

impl<S: Source> Source for At<S> {
    type Slice = AtSlice<S::Slice>;

    fn version(&self) -> u64 {
        Self::version(self)
    }

    fn position(&self) -> &Position {
        Self::position(self)
    }

    fn session(&self, session_id: &str, columns: Columns, visit: &mut dyn FnMut(&StoredEvent<'_>)) -> Result<()> {
        let Some(seen) = &self.seen else { return self.source.session(session_id, columns, visit) };
        self.source.session(session_id, columns | places(), &mut |event| {
            if seen.has(event.partition, event.offset) {
                visit(event);
            }
        })
    }

    fn slices(&self, from: Option<Timestamp>, to: Option<Timestamp>) -> Result<Vec<Self::Slice>> {
        let mut slices = Vec::new();
        for slice in self.source.slices(from, to)? {
            let kept = match &self.seen {
                Some(seen) if seen.has_none(&slice) => continue,
                Some(seen) if !seen.has_all(&slice) => {
                    let (mut kept, mut rows) = (Vec::new(), 0);
                    slice.visit(places(), &mut |row, event| {
                        rows += 1;
                        if seen.has(event.partition, event.offset) {
                            kept.push(row);
                        }
                    })?;
                    (kept.len() < rows).then_some(kept)
                }
                _ => None,
            };
            if kept.as_ref().is_none_or(|kept| !kept.is_empty()) {
                slices.push(AtSlice { slice, kept });
            }
        }
        Ok(slices)
    }

    /// Of the source: what is left out of it was received all the same.
    fn received_until(&self, position: &Position) -> Result<Option<Timestamp>> {
        self.source.received_until(position)
    }

    fn rejections(&self, visit: &mut dyn FnMut(&StoredRejection<'_>)) -> Result<()> {
        let Some(seen) = &self.seen else { return self.source.rejections(visit) };
        self.source.rejections(&mut |rejection| {
            if seen.has(rejection.partition, rejection.offset) {
                visit(rejection);
            }
        })
    }

    fn question_runs_bytes_max(&self) -> usize {
        self.source.question_runs_bytes_max()
    }
}

/// Where a row lies in the log.
fn places() -> Columns {
    Columns::PARTITION | Columns::OFFSET
}

/// A slice, or those of its rows that were seen, numbered anew.
#[derive(Clone, Debug)]
pub struct AtSlice<L> {
    slice: L,
    /// The numbers of its rows in the slice; `None` for all.
    kept: Option<Vec<u32>>,
}

impl<L: SourceSlice> AtSlice<L> {
    fn fetch_kept(&self, rows: &[u32], columns: Columns, visit: &mut dyn FnMut(u32, &StoredEvent<'_>)) -> Result<()> {
        let mut number = 0;
        self.slice.fetch(rows, columns, &mut |event| {
            visit(number, event);
            number += 1;
        })
    }
}

impl<L: SourceSlice> SourceSlice for AtSlice<L> {
    fn frame(&self, reads: &Reads) -> Result<Frame> {
        let columns = reads.in_columns();
        match &self.kept {
            None => self.slice.frame(reads),
            Some(kept) if columns == Columns::NONE => Ok(Frame::of_rows(kept.len())),
            Some(kept) => Frame::gather(columns, |visit| self.fetch_kept(kept, columns, visit)),
        }
    }

    fn frame_kept(&self, columns: Columns) -> Result<Frame> {
        match &self.kept {
            None => self.slice.frame_kept(columns),
            Some(_) => self.frame(&columns.into()),
        }
    }

    fn runs(&self, column: Columns) -> Result<Option<Arc<Runs>>> {
        match &self.kept {
            None => self.slice.runs(column),
            Some(_) => Ok(None),
        }
    }

    fn origin(&self) -> Origin {
        self.slice.origin()
    }

    fn rows(&self) -> usize {
        self.kept.as_ref().map_or_else(|| self.slice.rows(), Vec::len)
    }

    fn is_within(&self, position: &Position) -> bool {
        self.slice.is_within(position)
    }

    /// Those of the whole slice: nothing lies outside them.
    fn timestamps(&self) -> (Timestamp, Timestamp) {
        self.slice.timestamps()
    }

    fn visit(&self, columns: Columns, visit: &mut dyn FnMut(u32, &StoredEvent<'_>)) -> Result<()> {
        match &self.kept {
            None => self.slice.visit(columns, visit),
            Some(kept) => self.fetch_kept(kept, columns, visit),
        }
    }

    fn fetch(&self, rows: &[u32], columns: Columns, visit: &mut dyn FnMut(&StoredEvent<'_>)) -> Result<()> {
        let Some(kept) = &self.kept else { return self.slice.fetch(rows, columns, visit) };
        let rows: Vec<u32> = rows.iter().filter_map(|row| kept.get(*row as usize).copied()).collect();
        self.slice.fetch(&rows, columns, visit)
    }
}
