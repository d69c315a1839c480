//! Peers that are asked questions in SQL: DuckDB, ClickHouse's engine and PostgreSQL, each behind a Python program
//! (`query.py`) that takes a line of JSON and gives one back. The clock runs there, around the engine alone.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

use serde::Deserialize;
use serde_json::{Value, json};

use crate::Error;

/// A running engine; ends with the value.
pub(crate) struct Engine {
    process: Child,
    output: BufReader<ChildStdout>,
}

/// What a statement gave.
#[derive(Deserialize)]
pub(crate) struct Answer {
    /// The last run's rows, each column a text.
    pub(crate) rows: Vec<Vec<String>>,
    /// Of each run but the first.
    pub(crate) milliseconds: Vec<f64>,
}

impl Drop for Engine {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Engine {
    /// Starts `duckdb`, `clickhouse` or `postgres` on what is stored at `place`.
    pub(crate) fn start(name: &str, place: &str) -> Result<Self, Error> {
        let mut process = Command::new(super::python()?)
            .arg(super::folder().join("query.py"))
            .args([name, place])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let output = BufReader::new(process.stdout.take().ok_or("no output")?);
        Ok(Self { process, output })
    }

    /// Loads these Parquet files; how many rows it has then.
    pub(crate) fn load(&mut self, table: &Path) -> Result<u64, Error> {
        Ok(serde_json::from_value(self.command(&json!({"load": table}))?)?)
    }

    pub(crate) fn version(&mut self) -> Result<String, Error> {
        Ok(serde_json::from_value(self.command(&json!({"version": true}))?)?)
    }

    /// Bytes on disk, of each of its tables.
    pub(crate) fn bytes(&mut self) -> Result<Vec<(String, u64)>, Error> {
        Ok(serde_json::from_value(self.command(&json!({"bytes": true}))?)?)
    }

    /// Runs a statement once, then `runs` times or until `seconds` are over, once at least.
    pub(crate) fn ask(&mut self, sql: &str, runs: u64, seconds: u64) -> Result<Answer, Error> {
        Ok(serde_json::from_value(self.command(&json!({"sql": sql, "runs": runs, "seconds": seconds}))?)?)
    }

    /// Runs each of these statements once, after the first few as a warm-up; the rows of all have their first column.
    pub(crate) fn each(&mut self, statements: &[String], warm_up: usize) -> Result<Answer, Error> {
        Ok(serde_json::from_value(self.command(&json!({"each": statements, "warm_up": warm_up}))?)?)
    }

    fn command(&mut self, command: &Value) -> Result<Value, Error> {
        let mut input = self.process.stdin.as_ref().ok_or("no input")?;
        writeln!(input, "{command}")?;
        let mut line = String::new();
        if self.output.read_line(&mut line)? == 0 {
            return Err(format!("query.py ended: {}", self.process.wait()?).into());
        }
        let mut answer: Value = serde_json::from_str(&line)?;
        match answer.get_mut("ok") {
            Some(ok) => Ok(ok.take()),
            None => Err(answer["error"].as_str().unwrap_or("no answer").to_owned().into()),
        }
    }
}
