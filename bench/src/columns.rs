//! Bytes of the table on disk, by column, from the footers of its Parquet files.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use parquet::file::metadata::{PageIndexPolicy, ParquetMetaDataReader};

use crate::Error;

/// What lies in a table's folder.
#[derive(Default)]
pub(crate) struct Bytes {
    pub(crate) rows: u64,
    /// Compressed pages, by column.
    pub(crate) columns: BTreeMap<String, u64>,
    pub(crate) blooms: u64,
    /// Page indexes: where pages lie, and their least and greatest values.
    pub(crate) indexes: u64,
    /// Commits and checkpoints.
    pub(crate) commits: u64,
    /// All Parquet files of rows, whole.
    pub(crate) files: u64,
}

impl Bytes {
    /// Reads every file of rows below a table's folder. Nothing compacts or vacuums during a benchmark: every file is live.
    pub(crate) fn of_table(table: &Path) -> Result<Self, Error> {
        let mut bytes = Self::default();
        for (path, length) in files(table)? {
            if path.components().any(|part| part.as_os_str() == "_delta_log") {
                bytes.commits += length;
            } else if path.extension().is_some_and(|extension| extension == "parquet") {
                bytes.files += length;
                bytes.add(&File::open(&path)?)?;
            }
        }
        Ok(bytes)
    }

    fn add(&mut self, file: &File) -> Result<(), Error> {
        let mut reader = ParquetMetaDataReader::new().with_page_index_policy(PageIndexPolicy::Skip);
        reader.try_parse(file)?;
        for group in reader.finish()?.row_groups() {
            self.rows += u64::try_from(group.num_rows())?;
            for column in group.columns() {
                let of_column = self.columns.entry(column.column_path().string()).or_default();
                *of_column += u64::try_from(column.compressed_size())?;
                let lengths = |lengths: [Option<i32>; 2]| lengths.into_iter().flatten().map(i64::from).sum::<i64>();
                self.blooms += u64::try_from(lengths([column.bloom_filter_length(), None]))?;
                let indexes = lengths([column.column_index_length(), column.offset_index_length()]);
                self.indexes += u64::try_from(indexes)?;
            }
        }
        Ok(())
    }

    /// What is left of the files: footers and magic numbers.
    pub(crate) fn footers(&self) -> u64 {
        self.files - self.columns.values().sum::<u64>() - self.blooms - self.indexes
    }
}

/// Every file below a folder, with its length.
pub(crate) fn files(folder: &Path) -> Result<Vec<(PathBuf, u64)>, Error> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                folders.push(entry.path());
            } else {
                found.push((entry.path(), entry.metadata()?.len()));
            }
        }
    }
    Ok(found)
}
