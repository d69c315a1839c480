//! The rows of a Parquet file, each as one JSON object: Arrow's own JSON writer knows every type.

use std::collections::VecDeque;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow::json::LineDelimitedWriter;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};

use crate::cli::failure::{Failure, Result};
use crate::cli::lines::Line;

/// Rows that are read at a time.
const BATCH_ROWS: usize = 1_024;

/// The rows of one file.
pub(super) struct ParquetRows {
    name: String,
    columns: Vec<String>,
    reader: ParquetRecordBatchReader,
    lines: VecDeque<Vec<u8>>,
    number: u64,
    total: u64,
    read: Arc<AtomicU64>,
}

impl ParquetRows {
    /// Opens a file and reads its footer.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let name = path.display().to_string();
        let file = File::open(path).map_err(|error| Failure::file(&name, &error))?;
        let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(|error| strange(&name, &error))?;
        let columns = builder.schema().fields().iter().map(|field| field.name().clone()).collect();
        let total = u64::try_from(builder.metadata().file_metadata().num_rows()).unwrap_or_default();
        let reader = builder.with_batch_size(BATCH_ROWS).build().map_err(|error| strange(&name, &error))?;
        Ok(Self { name, columns, reader, lines: VecDeque::new(), number: 0, total, read: Arc::default() })
    }

    /// The names of its columns.
    pub(super) fn columns(&self) -> Vec<&str> {
        self.columns.iter().map(String::as_str).collect()
    }

    /// How many rows there are, and how many have been read.
    pub(super) fn progress(&self) -> (u64, Arc<AtomicU64>) {
        (self.total, Arc::clone(&self.read))
    }

    /// The next row. A file that is damaged ends everything: what follows would have other numbers.
    pub(super) fn next(&mut self) -> Result<Option<Line>> {
        while self.lines.is_empty() {
            let Some(batch) = self.reader.next() else { return Ok(None) };
            let batch = batch.map_err(|error| strange(&self.name, &format!("after row {}: {error}", self.number)))?;
            let mut text = Vec::new();
            let mut writer = LineDelimitedWriter::new(&mut text);
            let written = writer.write(&batch).and_then(|()| writer.finish());
            written.map_err(|error| strange(&self.name, &format!("after row {}: {error}", self.number)))?;
            // JSON writes no line end inside a row.
            self.lines.extend(text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).map(<[u8]>::to_vec));
        }
        self.number += 1;
        self.read.fetch_add(1, Ordering::Relaxed);
        Ok(self.lines.pop_front().map(|bytes| Line { number: self.number, bytes }))
    }
}

fn strange(name: &str, error: &dyn std::fmt::Display) -> Failure {
    Failure::usage(format!("{name}: {error}"))
}
