//! [`SecondReader`]: another program that reads the tables, Python with deltalake.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde::Deserialize;

use super::{Flushed, RawRejection, problems};
use crate::Result;
use crate::oracle::{Digest, Place, Refusal, Row};

/// Another program that reads the tables: Python with deltalake, kept running.
pub struct SecondReader {
    process: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

/// What it has read.
#[derive(Debug)]
pub struct Tables {
    /// The events.
    pub events: Vec<Row>,
    /// The rejections.
    pub rejections: Vec<Refusal>,
    /// Up to where they have the log.
    pub flushed: Flushed,
}

#[derive(Deserialize)]
struct Reading {
    error: Option<String>,
    #[serde(default)]
    rows: Vec<RawRow>,
    #[serde(default)]
    flushed: BTreeMap<u16, u64>,
    #[serde(default)]
    rejections: Vec<RawRejection<i64>>,
    #[serde(default)]
    rejections_flushed: BTreeMap<u16, u64>,
}

/// An event; its fields come in this order, without names.
#[derive(Deserialize)]
struct RawRow {
    application: String,
    id: String,
    session: String,
    timestamp: i64,
    received_at: i64,
    problems: Vec<String>,
    partition: u16,
    offset: u64,
    content: String,
}

impl RawRow {
    fn read(self) -> Result<Row> {
        Ok(Row {
            application: self.application,
            id: self.id,
            session: self.session,
            timestamp: self.timestamp,
            received_at: self.received_at,
            problems: problems(&self.problems)?,
            place: Place { partition: self.partition, offset: self.offset },
            content: Digest::from_hex(&self.content).ok_or("a digest is none")?,
        })
    }
}

impl SecondReader {
    /// Starts it, if there is a Python with what it takes (`XTASK_PYTHON`).
    ///
    /// # Errors
    /// Why there is none.
    pub fn start() -> Result<Self> {
        let python = std::env::var_os("XTASK_PYTHON").ok_or("XTASK_PYTHON names no Python")?;
        let script = include_str!("../read_rows.py");
        let mut process =
            Command::new(python).args(["-c", script]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let input = process.stdin.take().ok_or("no standard input")?;
        let output = BufReader::new(process.stdout.take().ok_or("no standard output")?);
        Ok(Self { process, input, output })
    }

    /// The tables of a data folder.
    ///
    /// # Errors
    /// They cannot be read.
    pub fn read(&mut self, data: &Path, partitions: u16) -> Result<Tables> {
        writeln!(self.input, "{partitions} {}", data.join("table").display())?;
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        let reading: Reading = serde_json::from_str(&line)?;
        if let Some(error) = reading.error {
            return Err(format!("the second reader cannot read the tables: {error}").into());
        }
        let events: Result<Vec<Row>> = reading.rows.into_iter().map(RawRow::read).collect();
        let known = |flushed: BTreeMap<u16, u64>| -> BTreeMap<u16, u64> {
            flushed.into_iter().filter(|(_, offset)| *offset > 0).collect()
        };
        Ok(Tables {
            events: events?,
            rejections: reading.rejections.into_iter().map(|rejection| rejection.read(|micros| micros)).collect(),
            flushed: Flushed { events: known(reading.flushed), rejections: known(reading.rejections_flushed) },
        })
    }
}

impl Drop for SecondReader {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[cfg(test)]
mod tests {
    use eye_event::{Problem, Problems};

    use super::*;

    #[test]
    fn rows_are_read_by_the_order_of_their_fields() {
        let hex = "0".repeat(63) + "1";
        let line = format!(
            r#"{{"rows": [["a", "e", "s", 1, 2, ["timestamp_missing"], 3, 4, "{hex}"]], "flushed": {{"3": 4}},
                "rejections": [["a", "t", 2, 3, 5, "not_json", "", "m", "{{"]], "rejections_flushed": {{}}}}"#
        );
        let reading: Reading = serde_json::from_str(&line).unwrap();
        assert_eq!(reading.flushed, BTreeMap::from([(3, 4)]));
        let rows: Result<Vec<Row>> = reading.rows.into_iter().map(RawRow::read).collect();
        let expected = Row {
            application: "a".to_owned(),
            id: "e".to_owned(),
            session: "s".to_owned(),
            timestamp: 1,
            received_at: 2,
            problems: Problems::NONE.with(Problem::TimestampMissing),
            place: Place { partition: 3, offset: 4 },
            content: Digest::from_hex(&hex).unwrap(),
        };
        assert_eq!(rows.unwrap(), [expected]);
        let refusals: Vec<Refusal> =
            reading.rejections.into_iter().map(|rejection| rejection.read(|micros| micros)).collect();
        let expected = Refusal {
            application: "a".to_owned(),
            token: "t".to_owned(),
            received_at: 2,
            place: Place { partition: 3, offset: 5 },
            code: "not_json".to_owned(),
            field: String::new(),
            message: "m".to_owned(),
            sample: "{".to_owned(),
        };
        assert_eq!(refusals, [expected]);
    }
}
