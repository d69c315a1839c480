//! ClickHouse's engine as a Python package (chDB): the same JSON rows into MergeTree, two threads.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::{Error, server};

/// Rows a second, and the rows in a batch with which it was quickest.
pub(crate) struct Inserted {
    pub(crate) per_second: f64,
    pub(crate) batch_rows: usize,
}

/// Inserts these NDJSON bodies in several sizes of a batch; the best of them.
pub(crate) fn insert(folder: &Path, bodies: &[String]) -> Result<Inserted, Error> {
    let data = server::data_folder(folder)?;
    let rows = data.path().canonicalize()?.join("rows.ndjson");
    std::fs::write(&rows, bodies.concat())?;
    let output = Command::new(super::python()?)
        .arg(super::folder().join("clickhouse.py"))
        .arg(&rows)
        .arg(data.path().join("clickhouse"))
        .stderr(Stdio::inherit())
        .output()?;
    if !output.status.success() {
        return Err(format!("clickhouse.py: {}", output.status).into());
    }
    let parse = |line: &str| {
        let (batch_rows, per_second) = line.split_once(' ')?;
        Some(Inserted { per_second: per_second.parse().ok()?, batch_rows: batch_rows.parse().ok()? })
    };
    let text = String::from_utf8(output.stdout)?;
    let best = text.lines().filter_map(parse).max_by(|a, b| a.per_second.total_cmp(&b.per_second));
    best.ok_or_else(|| "clickhouse.py printed no figure".into())
}
