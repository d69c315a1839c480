//! The rows of a Parquet file, each as one JSON object: Arrow's own JSON writer knows every type.
//!
//! The file may be damaged, or not what it says it is. The library that decodes it panics on much of that, so a panic is an
//! error ([`panics`]), and a row group must give the rows that the footer says it has. A bit that rotted in a value is not
//! noticed: pages have no checksum that is looked at. Lengths are taken on trust: a file that asks for more memory than
//! there is ends the process.

mod panics;

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow::json::LineDelimitedWriter;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use parquet::file::metadata::ParquetMetaData;

use crate::cli::failure::{Failure, Result};
use crate::cli::lines::Line;
use panics::contained;

/// Rows that are read at a time.
const BATCH_ROWS: usize = 1_024;

/// The rows of one file.
pub(super) struct ParquetRows {
    name: String,
    file: File,
    footer: ArrowReaderMetadata,
    /// Rows up to the end of each row group.
    ends: Vec<u64>,
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
        let opened = contained(|| {
            let footer = ArrowReaderMetadata::load(&file, Default::default()).map_err(text)?;
            let ends = ends(footer.metadata())?;
            Ok((footer, ends))
        });
        let (footer, ends) = opened.map_err(|problem| Failure::usage(format!("{name}: {problem}")))?;
        let lines = VecDeque::new();
        Ok(Self {
            name,
            file,
            footer,
            ends,
            group: 0,
            batches: None,
            lines,
            decoded: 0,
            number: 0,
            read: Arc::default(),
        })
    }

    /// The names of its columns.
    pub(super) fn columns(&self) -> Vec<&str> {
        self.footer.schema().fields().iter().map(|field| field.name().as_str()).collect()
    }

    /// How many rows there are, and how many have been read.
    pub(super) fn progress(&self) -> (u64, Arc<AtomicU64>) {
        (self.ends.last().copied().unwrap_or_default(), Arc::clone(&self.read))
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
        let Some(end) = self.ends.get(self.group).copied() else { return Ok(false) };
        if self.batches.is_none() {
            self.batches = Some(self.open_group()?);
        }
        let batch = self.batches.as_mut().and_then(Iterator::next).transpose().map_err(text)?;
        self.decoded += batch.as_ref().map_or(0, |batch| batch.num_rows() as u64);
        if self.decoded > end || (batch.is_none() && self.decoded < end) {
            return Err(format!("{} rows up to here, the footer says {end}", self.decoded));
        }
        let Some(batch) = batch else {
            self.batches = None;
            self.group += 1;
            return Ok(true);
        };
        let mut json = Vec::new();
        let mut writer = LineDelimitedWriter::new(&mut json);
        writer.write(&batch).and_then(|()| writer.finish()).map_err(text)?;
        // JSON writes no line end inside a row.
        self.lines.extend(json.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).map(<[u8]>::to_vec));
        Ok(true)
    }

    fn open_group(&self) -> std::result::Result<ParquetRecordBatchReader, String> {
        let file = self.file.try_clone().map_err(text)?;
        let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(file, self.footer.clone());
        builder.with_row_groups(vec![self.group]).with_batch_size(BATCH_ROWS).build().map_err(text)
    }

    fn damaged(&self, problem: &str) -> Failure {
        let Self { name, group, number, .. } = self;
        let (group, groups) = (group + 1, self.ends.len());
        Failure::usage(format!("{name}, row group {group} of {groups}, after row {number}: {problem}"))
    }
}

/// Rows up to the end of each row group; fails if they are not those that the file says it has.
fn ends(footer: &ParquetMetaData) -> std::result::Result<Vec<u64>, String> {
    let mut rows = 0_u64;
    let ends = footer.row_groups().iter().map(|group| {
        rows = u64::try_from(group.num_rows()).ok().and_then(|more| rows.checked_add(more))?;
        Some(rows)
    });
    let ends = ends.collect::<Option<Vec<_>>>();
    let said = footer.file_metadata().num_rows();
    let ends = ends.filter(|ends| u64::try_from(said) == Ok(ends.last().copied().unwrap_or_default()));
    ends.ok_or_else(|| format!("its footer says that it has {said} rows, and its row groups have others"))
}

/// What an error says, without the layers that it came through.
fn text(error: impl std::fmt::Display) -> String {
    let text = error.to_string();
    let layers = ["Parquet argument error: ", "External: ", "Parquet error: "];
    layers.iter().fold(&*text, |text, layer| text.strip_prefix(layer).unwrap_or(text)).to_owned()
}
