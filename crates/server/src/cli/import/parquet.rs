//! The rows of a Parquet file, each as one JSON object: Arrow's own JSON writer knows every type.
//!
//! The file may be damaged, or not what it says it is. The library that decodes it panics on much of that, and ends the
//! process where it cannot have the memory that a file asks for. So lengths are looked at before ([`file`]), a panic is
//! an error ([`panics`]), and a row group must give the rows that the footer says it has. A bit that rotted in a value is
//! not noticed: pages have no checksum that is looked at.

mod delta;
mod file;
mod panics;
mod thrift;

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow::json::LineDelimitedWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReader;

use crate::cli::failure::{Failure, Result};
use crate::cli::lines::Line;
use file::ParquetFile;
use panics::contained;

/// Rows that are read at a time.
const BATCH_ROWS: usize = 1_024;

/// The rows of one file.
pub(super) struct ParquetRows {
    name: String,
    file: ParquetFile,
    /// The row group that is read.
    group: usize,
    batches: Option<ParquetRecordBatchReader>,
    lines: VecDeque<Vec<u8>>,
    decoded: u64,
    number: u64,
    read: Arc<AtomicU64>,
}

impl ParquetRows {
    /// Opens a file and reads its footer.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let name = path.display().to_string();
        let file = File::open(path).map_err(|error| Failure::file(&name, &error))?;
        let file = contained(|| ParquetFile::open(file).map_err(text));
        let file = file.map_err(|problem| Failure::usage(format!("{name}: {problem}")))?;
        let lines = VecDeque::new();
        Ok(Self { name, file, group: 0, batches: None, lines, decoded: 0, number: 0, read: Arc::default() })
    }

    /// The names of its columns.
    pub(super) fn columns(&self) -> Vec<&str> {
        self.file.columns()
    }

    /// How many rows there are, and how many have been read.
    pub(super) fn progress(&self) -> (u64, Arc<AtomicU64>) {
        (self.file.rows(), Arc::clone(&self.read))
    }

    /// The next row. A file that is damaged ends everything: what follows would have other numbers.
    pub(super) fn next(&mut self) -> Result<Option<Line>> {
        while self.lines.is_empty() {
            match contained(|| self.decode()) {
                Ok(true) => {}
                Ok(false) => return Ok(None),
                Err(problem) => return Err(self.damaged(&problem)),
            }
        }
        self.number += 1;
        self.read.fetch_add(1, Ordering::Relaxed);
        Ok(self.lines.pop_front().map(|bytes| Line { number: self.number, bytes }))
    }

    /// Decodes some rows more; false if there are none.
    fn decode(&mut self) -> std::result::Result<bool, String> {
        if self.group == self.file.groups() {
            return Ok(false);
        }
        let batches = match &mut self.batches {
            Some(batches) => batches,
            None => self.batches.insert(self.file.group(self.group, BATCH_ROWS).map_err(text)?),
        };
        let Some(batch) = batches.next().transpose().map_err(text)? else {
            self.check_count(self.decoded == self.file.rows_to(self.group))?;
            self.batches = None;
            self.group += 1;
            return Ok(true);
        };
        self.decoded += batch.num_rows() as u64;
        self.check_count(self.decoded <= self.file.rows_to(self.group))?;
        let mut json = Vec::new();
        let mut writer = LineDelimitedWriter::new(&mut json);
        writer.write(&batch).and_then(|()| writer.finish()).map_err(text)?;
        // JSON writes no line end inside a row.
        self.lines.extend(json.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).map(<[u8]>::to_vec));
        Ok(true)
    }

    fn check_count(&self, is_right: bool) -> std::result::Result<(), String> {
        let wrong = || format!("{} rows up to here, the footer says {}", self.decoded, self.file.rows_to(self.group));
        if is_right { Ok(()) } else { Err(wrong()) }
    }

    fn damaged(&self, problem: &str) -> Failure {
        let Self { name, group, number, .. } = self;
        let (group, groups) = (group + 1, self.file.groups());
        Failure::usage(format!("{name}, row group {group} of {groups}, after row {number}: {problem}"))
    }
}

/// What an error says, without the layers that it came through.
fn text(error: impl std::fmt::Display) -> String {
    let text = error.to_string();
    let layers = ["Parquet argument error: ", "External: ", "Parquet error: "];
    layers.iter().fold(&*text, |text, layer| text.strip_prefix(layer).unwrap_or(text)).to_owned()
}
