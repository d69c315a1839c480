//! One session's rows in a data file.
//!
//! Its way: bloom filter → row groups; page index → pages whose bounds enclose it; the session column of those pages →
//! exact rows; the wanted columns of those rows. Each step may only leave out what holds no row of the session.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema};

use crate::columns::{Columns, required, text_column};
use crate::error::{Error, Kind, Result};
use crate::table::bloom::{Bloom, Probe};
use crate::table::version::TableFile;

/// As all calls of a file: make them from threads that may block.
impl TableFile {
    /// Every row of this session, one batch per slice that holds some, in the order of the file.
    ///
    /// # Errors
    /// As [`TableFile::row_groups`].
    pub fn session(&self, session_id: &str, columns: Columns) -> Result<Vec<RecordBatch>> {
        let mut found = Vec::new();
        for row_group in self.row_groups_of(session_id)? {
            let rows = self.session_rows(row_group, session_id)?;
            if rows.is_empty() {
                continue;
            }
            // Their ids have been read, and are all the same.
            let batch = self.read(row_group, columns.without(Columns::SESSION_ID), Some(&rows))?;
            found.push(if columns.contains(Columns::SESSION_ID) {
                self.with_session(&batch, session_id)?
            } else {
                batch
            });
        }
        Ok(found)
    }

    /// These rows, all of one session, with its column.
    fn with_session(&self, batch: &RecordBatch, session_id: &str) -> Result<RecordBatch> {
        let ids = StringArray::from_iter_values(std::iter::repeat_n(session_id, batch.num_rows()));
        let field = Arc::new(Field::new("session_id", DataType::Utf8, false));
        let fields = batch.schema().fields().iter().cloned().chain([field]).collect::<Vec<_>>();
        let columns = batch.columns().iter().cloned().chain([Arc::new(ids) as ArrayRef]).collect();
        RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)
            .map_err(|error| Error::new(Kind::Internal, format!("cannot put rows of {} together: {error}", self.path)))
    }

    /// False only if no row of this session is in the file.
    ///
    /// # Errors
    /// As [`TableFile::row_groups`].
    pub fn may_hold_session(&self, session_id: &str) -> Result<bool> {
        Ok(!self.row_groups_of(session_id)?.is_empty())
    }

    /// The row groups whose bloom does not exclude the session. A footer that is not cached yet is read.
    fn row_groups_of(&self, session_id: &str) -> Result<Vec<usize>> {
        let blooms = &self.blooms()?.0;
        let probe = Probe::new(session_id);
        let may_hold = |bloom: &Option<Bloom>| bloom.as_ref().is_none_or(|bloom| bloom.may_hold(&probe));
        Ok((0..).zip(blooms).filter(|(_, bloom)| may_hold(bloom)).map(|(index, _)| index).collect())
    }

    /// The numbers of a session's rows in one row group.
    fn session_rows(&self, row_group: usize, session_id: &str) -> Result<Vec<u32>> {
        let pages = self.session_pages(row_group, session_id)?;
        if pages.is_empty() {
            return Ok(Vec::new());
        }
        let batch = self.decode(row_group, Columns::SESSION_ID, Some(pages.clone()))?;
        let sessions = required(text_column(&batch, "session_id")?, "session_id")?;
        let numbers = pages.into_iter().flatten();
        let rows = numbers.zip(sessions.iter()).filter(|(_, session)| *session == Some(session_id));
        Ok(rows.filter_map(|(row, _)| u32::try_from(row).ok()).collect())
    }

    /// The row ranges of the pages whose bounds enclose the session; the whole row group if it has no page index.
    fn session_pages(&self, row_group: usize, session_id: &str) -> Result<Vec<Range<usize>>> {
        let footer = self.footer()?;
        let rows = self.row_group(row_group)?.rows;
        let pages = footer
            .pages
            .as_ref()
            .zip(footer.session_column)
            .and_then(|(pages, column)| pages.session_pages(row_group, column, session_id.as_bytes(), rows));
        Ok(pages.unwrap_or_else(|| std::iter::once(0..rows).collect()))
    }
}
