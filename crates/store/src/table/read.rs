//! Rows out of a data file, reading and decoding no more than what is asked for.
//!
//! Here is what may be asked; how it is done lies below. All calls block; see [`TableFile`].
//!
//! | module | what it holds |
//! |---|---|
//! | `footer` | what a file says of itself |
//! | `session` | one session's rows |
//! | `decode` | from bytes, checked, to rows |

mod decode;
mod footer;
mod session;

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{RecordBatch, StringArray, UInt32Array};
use arrow::compute::take_record_batch;
use eye_event::Timestamp;
use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData};

pub(super) use footer::{Blooms, Footer, Outline};

use super::extra::{self, Extra};
use super::kept::{Asked, Key};
use super::version::TableFile;
use crate::columns::{Columns, text_column};
use crate::error::{Error, Kind, Result};
use footer::leaf;

/// So many groups of rows, each away from the one before, lie on so many pages of their slice that it is decoded whole.
const SCATTERED_GROUPS: usize = 16;
/// Rows so far apart are in different groups: about a page of ids.
const GROUP_DISTANCE: u32 = 512;

/// The name of the column in which [`TableFile::read_coded`] gives the values at this path of `data`; `None` if values at
/// it never have one.
#[must_use]
pub fn data_column(path: &[String]) -> Option<String> {
    extra::column_of(path)
}

/// One slice of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RowGroupInfo {
    /// Its place in the file, from 0: newest slice first.
    pub index: usize,
    /// Its rows.
    pub rows: usize,
    /// The earliest row's time (of rejections: `received_at`).
    pub timestamp_min: Timestamp,
    /// The latest row's time (of rejections: `received_at`).
    pub timestamp_max: Timestamp,
}

/// All calls read files or the object store: make them from threads that may block, never from the runtime's workers.
impl TableFile {
    /// The file's slices, newest first.
    ///
    /// # Errors
    /// `Corrupt` if the file is missing or damaged, `Unavailable` if it cannot be read now.
    pub fn row_groups(&self) -> Result<Vec<RowGroupInfo>> {
        Ok(self.outline()?.row_groups.clone())
    }

    /// What its rows take when they are decoded, without what holds them together.
    ///
    /// # Errors
    /// As [`TableFile::row_groups`].
    pub(crate) fn decoded_bytes(&self) -> Result<u64> {
        Ok(self.outline()?.decoded_bytes)
    }

    /// True if these columns of one slice are not too large to be kept decoded.
    fn may_be_kept(&self, row_group: usize, columns: Columns) -> Result<bool> {
        let footer = self.footer()?;
        let bytes: u64 = columns.names().map(|name| column_bytes(footer.reader.metadata(), row_group, name)).sum();
        Ok(bytes <= self.io.kept.slice_bytes_max() as u64)
    }

    /// Rows of one slice, in the order of the file: all of them, or those whose numbers (from 0, rising) are given.
    ///
    /// Only pages that hold such rows of the wanted columns are read. Of rejections all columns are read.
    ///
    /// # Errors
    /// `Invalid` if there is no such slice or row; otherwise as [`TableFile::row_groups`].
    pub fn read(&self, row_group: usize, columns: Columns, selection: Option<&[u32]>) -> Result<RecordBatch> {
        let info = self.row_group(row_group)?;
        let ranges = match selection {
            None => None,
            Some(rows) => Some(consecutive(rows, info.rows).ok_or_else(|| {
                Error::new(Kind::Invalid, format!("rows of {} must rise and lie below {}", self.path, info.rows))
            })?),
        };
        self.decode(row_group, columns, ranges)
    }

    /// The same rows; if they lie all over the slice and it is asked for again, it is decoded whole and kept for a while.
    ///
    /// # Errors
    /// As [`TableFile::read`].
    pub fn read_scattered(&self, row_group: usize, columns: Columns, rows: &[u32]) -> Result<RecordBatch> {
        let info = self.row_group(row_group)?;
        let away = rows.windows(2).filter(|pair| pair[1].saturating_sub(pair[0]) >= GROUP_DISTANCE).count();
        if away + 1 < SCATTERED_GROUPS || rows.last().is_some_and(|last| *last as usize >= info.rows) {
            return self.read(row_group, columns, Some(rows));
        }
        let key = Key { path: self.path.as_str().to_owned(), row_group, columns, is_coded: false };
        let whole = match self.io.kept.ask(&key) {
            Asked::Kept(whole) => whole,
            Asked::New => return self.read_shared(row_group, columns, Some(rows)),
            Asked::Again if !self.may_be_kept(row_group, columns)? => {
                return self.read_shared(row_group, columns, Some(rows));
            }
            Asked::Again => {
                let whole = self.read_shared(row_group, columns, None)?;
                self.io.kept.keep(key, whole.clone());
                whole
            }
        };
        take_record_batch(&whole, &UInt32Array::from(rows.to_vec()))
            .map_err(|error| Error::new(Kind::Internal, format!("cannot take rows of {}: {error}", self.path)))
    }

    /// The same as [`TableFile::read`], the columns shared among as many threads as there are cores.
    fn read_shared(&self, row_group: usize, columns: Columns, rows: Option<&[u32]>) -> Result<RecordBatch> {
        let footer = self.footer()?;
        let bytes = |name: &str| column_bytes(footer.reader.metadata(), row_group, name);
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let sets = columns.split(threads, bytes);
        let parts: Vec<_> = std::thread::scope(|scope| {
            let (mine, others) = sets.split_first().map_or((Columns::NONE, &[][..]), |(mine, others)| (*mine, others));
            let others: Vec<_> = others.iter().map(|set| scope.spawn(|| self.read(row_group, *set, rows))).collect();
            let mine = self.read(row_group, mine, rows);
            std::iter::once(Ok(mine)).chain(others.into_iter().map(std::thread::ScopedJoinHandle::join)).collect()
        });
        let panicked = |_| Error::new(Kind::Internal, format!("reading {} panicked", self.path));
        let parts = parts.into_iter().map(|part| part.map_err(panicked)?).collect::<Result<Vec<_>>>()?;
        let fields = columns.names().filter_map(|name| {
            let is_nullable = footer.reader.schema().field_with_name(name).is_ok_and(|field| field.is_nullable());
            parts.iter().find_map(|part| Some((name, Arc::clone(part.column_by_name(name)?), is_nullable)))
        });
        let whole = RecordBatch::try_from_iter_with_nullable(fields);
        whole.map_err(|error| {
            Error::new(Kind::Internal, format!("cannot put columns of {} together: {error}", self.path))
        })
    }

    /// Every row of one slice; application, category and name as dictionaries (`Int32` to `Utf8`), ids and payloads as
    /// `Utf8View`, or, in a file that was written to stay, sessions and users as dictionaries too.
    ///
    /// With the JSON texts of the values at these paths of `data`, as dictionaries in columns named as [`data_column`]
    /// says: those that have a column of their own in this file. If one has none, `data` is read too.
    ///
    /// # Errors
    /// As [`TableFile::read`].
    pub fn read_coded(&self, row_group: usize, columns: Columns, paths: &[Vec<String>]) -> Result<RecordBatch> {
        let footer = self.footer()?;
        let schema = footer.coded.schema();
        let place = |name: &str| schema.fields().find(name).map(|(place, _)| place);
        let beside = |name: Option<String>| place(&name.filter(|_| footer.has_extra)?);
        let apart: Option<Vec<usize>> = paths.iter().map(|path| beside(extra::column_of(path))).collect();
        let columns = if apart.is_some() { columns } else { columns | Columns::DATA };
        let whole = columns.names().filter_map(|name| beside(extra::run_column(name)).or_else(|| place(name)));
        let mut fields: Vec<usize> = whole.chain(apart.into_iter().flatten()).collect();
        fields.sort_unstable();
        fields.dedup();
        let batch = self.decode_with((&footer, &footer.coded), row_group, &fields, None)?;
        extra::with_runs(batch).map_err(|error| error.context(&self.path))
    }

    /// The column with the runs of a column (see [`extra`]), as the file has it; `None` if it has none.
    pub(super) fn read_firsts(&self, row_group: usize, column: &str) -> Result<Option<StringArray>> {
        let footer = self.footer()?;
        let name = extra::run_column(column).filter(|_| footer.has_extra);
        let place = |name: &String| footer.reader.schema().index_of(name).ok();
        let Some((place, name)) = name.and_then(|name| Some((place(&name)?, name))) else { return Ok(None) };
        let batch = self.decode_with((&footer, &footer.reader), row_group, &[place], None)?;
        Ok(text_column(&batch, &name)?.cloned())
    }

    /// The paths of `data` whose values have columns of their own, if the footer was read before; none if not.
    pub(crate) fn known_data_paths(&self) -> Vec<Vec<String>> {
        self.outline.get().map(|outline| outline.data_paths.clone()).unwrap_or_default()
    }

    /// The extra columns of a slice whose rows, with all columns of the table, are these: they hold what those say.
    ///
    /// # Errors
    /// `Corrupt` if they do not; otherwise as [`TableFile::read`].
    pub(crate) fn check_extra(&self, row_group: usize, rows: &RecordBatch) -> Result<()> {
        let footer = self.footer()?;
        let schema = footer.reader.schema();
        let names = schema.fields().iter().map(|field| field.name().as_str());
        let Some(mut extra) = Extra::of_file(names).filter(|_| footer.has_extra) else { return Ok(()) };
        let (expected, fields) = (extra.columns(rows, true)?, extra.fields());
        let places: Vec<usize> = fields.iter().filter_map(|field| schema.index_of(field.name()).ok()).collect();
        let found = self.decode_with((&footer, &footer.reader), row_group, &places, None)?;
        for (field, expected) in fields.iter().zip(expected) {
            if found.column_by_name(field.name()).is_none_or(|found| *found != expected) {
                return Err(self.damaged(&format_args!("{} is not what the rows say", field.name())));
            }
        }
        Ok(())
    }

    /// The same, kept for a while if it is asked for again: of lists, whose next page looks at the same slices.
    ///
    /// # Errors
    /// As [`TableFile::read`].
    pub fn read_coded_kept(&self, row_group: usize, columns: Columns) -> Result<RecordBatch> {
        let key = Key { path: self.path.as_str().to_owned(), row_group, columns, is_coded: true };
        match self.io.kept.ask(&key) {
            Asked::Kept(whole) => Ok(whole),
            Asked::New => self.read_coded(row_group, columns, &[]),
            Asked::Again if !self.may_be_kept(row_group, columns)? => self.read_coded(row_group, columns, &[]),
            Asked::Again => {
                let whole = self.read_coded(row_group, columns, &[])?;
                self.io.kept.keep(key, whole.clone());
                Ok(whole)
            }
        }
    }

    /// Every row and every column of one slice, in the order of the file.
    ///
    /// # Errors
    /// As [`TableFile::read`].
    pub fn read_all(&self, row_group: usize) -> Result<RecordBatch> {
        self.read(row_group, Columns::ALL, None)
    }

    pub(super) fn row_group(&self, row_group: usize) -> Result<RowGroupInfo> {
        self.outline()?
            .row_groups
            .get(row_group)
            .copied()
            .ok_or_else(|| Error::new(Kind::Invalid, format!("{} has no row group {row_group}", self.path)))
    }

    pub(super) fn damaged(&self, why: &dyn std::fmt::Display) -> Error {
        Error::new(Kind::Corrupt, format!("{} is damaged: {why}", self.path))
    }
}

/// What a column of a row group takes when it is decoded; 0 if there is no such column.
fn column_bytes(metadata: &ParquetMetaData, row_group: usize, name: &str) -> u64 {
    let chunk = leaf(metadata, name).and_then(|leaf| Some(metadata.row_groups().get(row_group)?.column(leaf)));
    chunk.map_or(0, decoded_bytes)
}

/// A column whose texts are few lies in the file as numbers: how long its texts are together is said apart.
fn decoded_bytes(chunk: &ColumnChunkMetaData) -> u64 {
    let texts = chunk.unencoded_byte_array_data_bytes().map(|bytes| bytes.saturating_add(4 * chunk.num_values()));
    u64::try_from(chunk.uncompressed_size().max(texts.unwrap_or_default())).unwrap_or_default()
}

/// Row numbers as ranges; `None` if they do not rise or reach `total`.
fn consecutive(rows: &[u32], total: usize) -> Option<Vec<Range<usize>>> {
    let mut ranges: Vec<Range<usize>> = Vec::new();
    for row in rows {
        let row = *row as usize;
        match ranges.last_mut() {
            Some(last) if row == last.end => last.end += 1,
            Some(last) if row < last.end => return None,
            _ => ranges.push(row..row + 1),
        }
    }
    ranges.last().is_none_or(|last| last.end <= total).then_some(ranges)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn row_numbers_become_ranges() {
        assert_eq!(consecutive(&[0, 1, 2, 5, 7, 8], 9), Some(vec![0..3, 5..6, 7..9]));
        assert_eq!(consecutive(&[], 0), Some(vec![]));
        assert_eq!(consecutive(&[3, 3], 9), None);
        assert_eq!(consecutive(&[3, 2], 9), None);
        assert_eq!(consecutive(&[9], 9), None);
    }
}
