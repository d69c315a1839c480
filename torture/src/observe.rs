//! Everything that can be read, by four ways that know nothing of each other: the public API, the raw log, a second
//! reader of the table, `eye verify`.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;

use eye_event::{Batch, Entry, Timestamp};
use eye_log::disk::OsDisk;
use eye_log::local::{LocalLog, LocalOptions};
use eye_log::{Log, PartitionId};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::Result;
use crate::http::Client;
use crate::oracle::{Books, Digest, Place, Row};
use crate::server;

/// Rows asked for at once.
const PAGE_ROWS: usize = 5000;
/// How much of the log is in memory at a time.
const READ_BYTES: usize = 4 << 20;

/// One page of events.
#[derive(Debug, Default)]
pub struct Page {
    /// In the order of the answer.
    pub rows: Vec<Row>,
    /// Where the next page begins.
    pub next: Option<String>,
}

#[derive(Deserialize)]
struct RawPage<'a> {
    #[serde(borrow)]
    events: Vec<RawEvent<'a>>,
    next: Option<String>,
}

#[derive(Deserialize)]
struct RawEvent<'a> {
    #[serde(borrow)]
    event_id: Cow<'a, str>,
    #[serde(borrow)]
    session_id: Cow<'a, str>,
    #[serde(borrow)]
    category: Cow<'a, str>,
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(borrow)]
    timestamp: Cow<'a, str>,
    #[serde(borrow)]
    data: &'a RawValue,
    partition: u16,
    offset: u64,
}

impl Page {
    /// From the body of an answer.
    ///
    /// # Errors
    /// It is no page.
    pub fn read(body: &[u8]) -> Result<Self> {
        let raw: RawPage<'_> = serde_json::from_slice(body)?;
        let rows: Result<Vec<Row>> = raw.events.into_iter().map(row).collect();
        Ok(Self { rows: rows?, next: raw.next })
    }
}

fn row(event: RawEvent<'_>) -> Result<Row> {
    let timestamp = Timestamp::parse(&event.timestamp).ok_or_else(|| format!("{} is no time", event.timestamp))?;
    Ok(Row {
        id: event.event_id.into_owned(),
        session: event.session_id.into_owned(),
        timestamp: timestamp.micros(),
        place: Place { partition: event.partition, offset: event.offset },
        content: Digest::of_event(&event.category, &event.name, event.data.get()),
    })
}

/// The path of a session's page.
#[must_use]
pub fn session_path(session: &str, limit: usize, cursor: Option<&str>) -> String {
    let cursor = cursor.map(|cursor| format!("&cursor={cursor}")).unwrap_or_default();
    format!("/v1/sessions/{session}?limit={limit}{cursor}")
}

/// All events of these sessions over the public API, session by session.
///
/// # Errors
/// An answer is no page.
pub fn sessions(client: &mut Client, names: &[String]) -> Result<Vec<Vec<Row>>> {
    names.iter().map(|name| session(client, name)).collect()
}

fn session(client: &mut Client, name: &str) -> Result<Vec<Row>> {
    let (mut rows, mut cursor) = (Vec::new(), None::<String>);
    loop {
        let path = session_path(name, PAGE_ROWS, cursor.as_deref());
        let answer = client.get(&path)?;
        match answer.status {
            200 => {}
            404 if cursor.is_none() => return Ok(rows),
            status => return Err(format!("{path} is answered with {status}: {}", answer.text()).into()),
        }
        let page = Page::read(&answer.body)?;
        rows.extend(page.rows);
        match page.next {
            Some(next) => cursor = Some(next),
            None => return Ok(rows),
        }
    }
}

#[derive(Deserialize)]
struct RawBooks {
    tokens: Vec<RawToken>,
}

#[derive(Deserialize)]
struct RawToken {
    received: u64,
    stored: u64,
    duplicate: u64,
    rejected: u64,
}

/// The server's books, summed over tokens.
///
/// # Errors
/// The answer is no ledger.
pub fn books(client: &mut Client) -> Result<Books> {
    let answer = client.get("/v1/ledger")?;
    if answer.status != 200 {
        return Err(format!("the ledger is answered with {}: {}", answer.status, answer.text()).into());
    }
    let raw: RawBooks = serde_json::from_slice(&answer.body)?;
    let sum = |field: fn(&RawToken) -> u64| raw.tokens.iter().map(field).sum();
    Ok(Books {
        received: sum(|token| token.received),
        stored: sum(|token| token.stored),
        duplicate: sum(|token| token.duplicate),
        rejected: sum(|token| token.rejected),
    })
}

/// Every event of the raw log of a stopped data folder, in order. Reads a copy: opening a log writes to it.
///
/// # Errors
/// The log does not open or does not read.
pub fn raw_log(data: &Path, partitions: u16) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for partition in 0..partitions {
        let copy = tempfile::tempdir()?;
        let log = open_copy(data, partition, copy.path())?;
        read_log(&log, partition, &mut rows)?;
    }
    Ok(rows)
}

/// The offset that the next record of a stopped log gets. Reads a copy.
///
/// # Errors
/// The log does not open.
pub fn log_end(data: &Path, partition: u16) -> Result<u64> {
    let copy = tempfile::tempdir()?;
    Ok(open_copy(data, partition, copy.path())?.end().0)
}

fn open_copy(data: &Path, partition: u16, copy: &Path) -> Result<LocalLog> {
    for path in segments(data, partition)? {
        if let Some(name) = path.file_name() {
            fs::copy(&path, copy.join(name))?;
        }
    }
    let mut options = LocalOptions::new(copy, PartitionId(partition));
    options.reserve_bytes = 0;
    Ok(LocalLog::open(options, Arc::new(OsDisk))?.0)
}

/// Words of letters, digits and dashes that begin so, in any file of a data folder as it is: those that are wanted, and where.
///
/// # Errors
/// A file cannot be read.
pub fn words(data: &Path, start: &str, is_wanted: impl Fn(&str) -> bool) -> Result<Vec<(PathBuf, String)>> {
    let (mut found, mut folders) = (Vec::new(), vec![data.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let bytes = fs::read(&path)?;
            let starts = bytes.windows(start.len()).enumerate().filter(|(_, window)| *window == start.as_bytes());
            for (at, _) in starts {
                let is_of_word = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'-';
                let word: Vec<u8> = bytes[at..].iter().copied().take_while(is_of_word).collect();
                let word = String::from_utf8_lossy(&word);
                if is_wanted(&word) {
                    found.push((path.clone(), word.into_owned()));
                }
            }
        }
    }
    Ok(found)
}

/// The newest segment of a partition's stopped log, and the byte at which its last group ends: behind it may lie room.
///
/// # Errors
/// The log does not verify.
pub fn written_end(data: &Path, partition: u16) -> Result<(PathBuf, u64)> {
    let mut segments = segments(data, partition)?;
    let newest = segments.pop().ok_or("there is no segment")?;
    let mut end = eye_log::local::verify(&data.join("log").join(partition.to_string()), &OsDisk)?.bytes;
    for older in segments {
        end = end.saturating_sub(fs::metadata(older)?.len());
    }
    Ok((newest, end))
}

/// The segments of a partition's log, oldest first.
///
/// # Errors
/// The folder cannot be read.
pub fn segments(data: &Path, partition: u16) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(data.join("log").join(partition.to_string()))? {
        let path = entry?.path();
        if path.extension().is_some_and(|end| end == "seg") {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

fn read_log(log: &dyn Log, partition: u16, rows: &mut Vec<Row>) -> Result<()> {
    let mut at = log.start();
    while at < log.end() {
        let records = log.read(at, READ_BYTES)?;
        if records.is_empty() {
            return Err(format!("nothing can be read at offset {at}").into());
        }
        for record in records {
            if record.offset != at {
                return Err(format!("offset {} follows where {at} should", record.offset).into());
            }
            at = record.next();
            let batch = Batch::parse(record.payload.clone())?;
            for (index, entry) in (0_u64..).zip(batch.entries()) {
                if let (_, Entry::Event(event)) = entry? {
                    rows.push(Row {
                        id: event.event_id.to_owned(),
                        session: event.session_id.to_owned(),
                        timestamp: event.timestamp.micros(),
                        place: Place { partition, offset: record.offset.plus(index).0 },
                        content: Digest::of_event(event.category, event.name, event.data),
                    });
                }
            }
        }
    }
    Ok(())
}

/// The commits of the events, oldest first.
///
/// # Errors
/// The folder cannot be read.
pub fn commits(data: &Path) -> Result<Vec<PathBuf>> {
    let mut commits: Vec<PathBuf> = Vec::new();
    for entry in fs::read_dir(data.join("table/events/_delta_log"))? {
        let path = entry?.path();
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        if name.strip_suffix(".json").is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_digit())) {
            commits.push(path);
        }
    }
    commits.sort();
    Ok(commits)
}

/// Up to where the table has each partition's log, as its commits say: the newest transaction of each.
///
/// # Errors
/// The newest commits cannot be read.
pub fn flushed(data: &Path, partitions: u16) -> Result<BTreeMap<u16, u64>> {
    #[derive(Deserialize)]
    struct Line {
        txn: Option<Transaction>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Transaction {
        app_id: String,
        version: u64,
    }
    let commits = commits(data)?;
    let mut flushed: BTreeMap<u16, u64> = BTreeMap::new();
    for path in commits.iter().rev() {
        for line in fs::read_to_string(path)?.lines() {
            let line: Line = serde_json::from_str(line).map_err(|error| format!("{}: {error}", path.display()))?;
            let Some(txn) = line.txn else { continue };
            if let Some(partition) = txn.app_id.strip_prefix("eye-").and_then(|digits| digits.parse().ok()) {
                flushed.entry(partition).or_insert(txn.version);
            }
        }
        if flushed.len() >= usize::from(partitions) {
            break;
        }
    }
    Ok(flushed)
}

/// `eye verify` on a stopped data folder: what it found, if anything.
///
/// # Errors
/// It could not be run.
pub fn verify(eye: &Path, data: &Path, work: &Path) -> Result<Option<String>> {
    let output = server::plain(eye, &[], work).arg("verify").arg("--data").arg(data).output()?;
    if output.status.success() {
        return Ok(None);
    }
    let text = [output.stdout, output.stderr].concat();
    Ok(Some(format!("{}: {}", output.status, String::from_utf8_lossy(&text).trim())))
}

/// Another program that reads the table: Python with deltalake, kept running.
pub struct SecondReader {
    process: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

#[derive(Deserialize)]
struct Reading {
    error: Option<String>,
    #[serde(default)]
    flushed: BTreeMap<u16, u64>,
    #[serde(default)]
    rows: Vec<(String, String, i64, u16, u64, u32, u32)>,
}

impl SecondReader {
    /// Starts it, if there is a Python with what it takes (`XTASK_PYTHON`).
    ///
    /// # Errors
    /// Why there is none.
    pub fn start() -> Result<Self> {
        let python = std::env::var_os("XTASK_PYTHON").ok_or("XTASK_PYTHON names no Python")?;
        let script = include_str!("read_rows.py");
        let mut process =
            Command::new(python).args(["-c", script]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let input = process.stdin.take().ok_or("no standard input")?;
        let output = BufReader::new(process.stdout.take().ok_or("no standard output")?);
        Ok(Self { process, input, output })
    }

    /// The rows of the table of a data folder, and up to where the table has the log.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn read(&mut self, data: &Path, partitions: u16) -> Result<(Vec<Row>, BTreeMap<u16, u64>)> {
        writeln!(self.input, "{partitions} {}", data.join("table/events").display())?;
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        let reading: Reading = serde_json::from_str(&line)?;
        if let Some(error) = reading.error {
            return Err(format!("the second reader cannot read the table: {error}").into());
        }
        let rows = reading.rows.into_iter().map(|(id, session, timestamp, partition, offset, crc, length)| Row {
            id,
            session,
            timestamp,
            place: Place { partition, offset },
            content: Digest::from_parts(crc, length),
        });
        let flushed = reading.flushed.into_iter().filter(|(_, offset)| *offset > 0);
        Ok((rows.collect(), flushed.collect()))
    }
}

impl Drop for SecondReader {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
