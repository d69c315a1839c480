//! The rows of a sealed generation on their way to the table: read where they lie, in the log records, and copied once.

use std::sync::Arc;

use arrow::array::RecordBatch;
use eye_log::PartitionId;

use crate::buffer::{CHUNK_ROWS, Chunk, GenerationView};
use crate::columns::{EventColumns, TableKind};
use crate::error::{Error, Kind, Result};
use crate::table::{RowKey, RowSource};

/// Rows that are fetched side by side: in the order of sessions each lies elsewhere, and would be waited for alone.
const ROWS_AT_ONCE: usize = 32;

/// The visible rows of a generation, numbered in the order of arrival.
pub(crate) struct HotRows {
    partition: PartitionId,
    chunks: Vec<Arc<Chunk>>,
    rows: usize,
}

impl HotRows {
    pub(crate) fn new(view: &GenerationView) -> Self {
        Self { partition: view.partition(), chunks: view.chunks().to_vec(), rows: view.rows() }
    }

    fn place(&self, row: u32) -> (&Chunk, usize) {
        (&self.chunks[row as usize / CHUNK_ROWS], row as usize % CHUNK_ROWS)
    }
}

impl RowSource for HotRows {
    fn kind(&self) -> TableKind {
        TableKind::Events
    }

    fn partition(&self) -> Result<PartitionId> {
        Ok(self.partition)
    }

    fn len(&self) -> usize {
        self.rows
    }

    fn key(&self, row: u32) -> Result<RowKey> {
        let (chunk, index) = self.place(row);
        let (received_at, timestamp, offset) = chunk.key(index)?;
        Ok(RowKey { received_at, timestamp, offset })
    }

    fn session(&self, row: u32) -> Result<Option<&[u8]>> {
        let (chunk, index) = self.place(row);
        let missing = || Error::new(Kind::Internal, "the hot buffer points at no event");
        chunk.session(index).map(Some).ok_or_else(missing)
    }

    fn session_number(&self, row: u32) -> Option<u32> {
        let (chunk, index) = self.place(row);
        Some(chunk.session_number(index))
    }

    fn take(&self, rows: &[u32]) -> Result<RecordBatch> {
        let mut columns = EventColumns::new(rows.len());
        for rows in rows.chunks(ROWS_AT_ONCE) {
            let places = rows.iter().map(|row| self.place(*row));
            places.clone().for_each(|(chunk, index)| chunk.fetch(index));
            for (chunk, index) in places {
                columns.push(&chunk.raw_event(index)?);
            }
        }
        columns.finish()
    }
}
