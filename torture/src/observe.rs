//! Everything that can be read, in four ways: the public API, the raw log, a second reader of the tables, `eye verify`.
//!
//! They are not equally far from each other. The second reader (Python, deltalake, pyarrow) shares nothing with the product
//! but what it reads. The raw log is read by the product's own crate `eye-log` and decoded by `eye-event`, and so it is by
//! `eye verify`, which has code of its own for the rest but reads tables with `eye-store`. What these crates read wrongly, and
//! alike, the log and `eye verify` do not show: the API against what clients sent, and the second reader, do.

mod second;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use eye_event::{Batch, BatchHeader, Entry, EventRef, Problem, Problems, Timestamp};
use eye_log::disk::OsDisk;
use eye_log::local::{LocalLog, LocalOptions};
use eye_log::{Log, PartitionId};
use serde::Deserialize;
use serde_json::value::RawValue;

pub use second::{SecondReader, Tables};

use crate::Result;
use crate::http::Client;
use crate::oracle::{Books, Place, Refusal, Row, Said};
use crate::server;

/// Events asked for at once.
const PAGE_ROWS: usize = 5000;
/// Rejections asked for at once.
const PAGE_REJECTIONS: usize = 1000;
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
    application: Cow<'a, str>,
    #[serde(borrow)]
    session_id: Cow<'a, str>,
    #[serde(borrow)]
    category: Cow<'a, str>,
    #[serde(borrow)]
    name: Cow<'a, str>,
    timestamp: Timestamp,
    timestamp_raw: Option<String>,
    received_at: Timestamp,
    sent_at: Option<Timestamp>,
    skew_ms: Option<i64>,
    user_id: Option<String>,
    anonymous_id: Option<String>,
    #[serde(borrow)]
    data: &'a RawValue,
    #[serde(borrow)]
    context: Option<&'a RawValue>,
    problems: Vec<String>,
    partition: u16,
    offset: u64,
}

/// A rejection; `T` is how its time is written. From the second reader its fields come in this order, without names.
#[derive(Deserialize)]
struct RawRejection<T> {
    application: String,
    token: String,
    received_at: T,
    partition: u16,
    offset: u64,
    code: String,
    field: String,
    message: String,
    sample: String,
}

impl<T> RawRejection<T> {
    fn read(self, micros: impl Fn(T) -> i64) -> Refusal {
        Refusal {
            application: self.application,
            token: self.token,
            received_at: micros(self.received_at),
            place: Place { partition: self.partition, offset: self.offset },
            code: self.code,
            field: self.field,
            message: self.message,
            sample: self.sample,
        }
    }
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
    let (received_at, sent_at) = (event.received_at.micros(), event.sent_at.map(Timestamp::micros));
    let skew_ms = sent_at.map(|sent_at| (received_at - sent_at) / 1_000);
    if event.skew_ms != skew_ms {
        return Err(format!("{}: skew_ms is {:?}, not {skew_ms:?}", event.event_id, event.skew_ms).into());
    }
    let said = Said {
        category: &event.category,
        name: &event.name,
        timestamp_raw: event.timestamp_raw.as_deref(),
        sent_at,
        user_id: event.user_id.as_deref(),
        anonymous_id: event.anonymous_id.as_deref(),
        data: event.data.get(),
        context: event.context.map(RawValue::get),
    };
    Ok(Row {
        timestamp: event.timestamp.micros(),
        received_at,
        problems: problems(&event.problems)?,
        place: Place { partition: event.partition, offset: event.offset },
        content: said.digest(),
        application: event.application.into_owned(),
        id: event.event_id.into_owned(),
        session: event.session_id.into_owned(),
    })
}

fn problems(codes: &[String]) -> Result<Problems> {
    let mut problems = Problems::NONE;
    for code in codes {
        problems = problems.with(Problem::from_code(code).ok_or_else(|| format!("there is no problem {code}"))?);
    }
    Ok(problems)
}

/// The path of a session's page.
#[must_use]
pub fn session_path(session: &str, limit: usize, cursor: Option<&str>) -> String {
    let cursor = cursor.map(|cursor| format!("&cursor={cursor}")).unwrap_or_default();
    format!("/v1/sessions/{session}?limit={limit}{cursor}")
}

/// What the public API shows to a token.
#[derive(Debug)]
pub struct Shown {
    /// The events of sessions, session by session.
    pub sessions: Vec<Vec<Row>>,
    /// All rejections.
    pub rejections: Vec<Refusal>,
}

/// What it shows of these sessions, and all rejections.
///
/// # Errors
/// An answer is no page.
pub fn shown(client: &mut Client, sessions: &[String]) -> Result<Shown> {
    let sessions: Result<Vec<Vec<Row>>> = sessions.iter().map(|name| session(client, name)).collect();
    Ok(Shown { sessions: sessions?, rejections: rejections(client)? })
}

fn rejections(client: &mut Client) -> Result<Vec<Refusal>> {
    #[derive(Deserialize)]
    struct RejectionsPage {
        rejections: Vec<RawRejection<Timestamp>>,
        next: Option<String>,
    }
    let (mut all, mut cursor) = (Vec::new(), String::new());
    loop {
        let path = format!("/v1/rejections?limit={PAGE_REJECTIONS}{cursor}");
        let answer = client.get(&path)?;
        if answer.status != 200 {
            return Err(format!("{path} is answered with {}: {}", answer.status, answer.text()).into());
        }
        let page: RejectionsPage = serde_json::from_slice(&answer.body)?;
        all.extend(page.rejections.into_iter().map(|rejection| rejection.read(Timestamp::micros)));
        match page.next {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return Ok(all),
        }
    }
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

/// What lies in a raw log, in order.
#[derive(Debug, Default)]
pub struct RawLog {
    /// Events, repeats too.
    pub events: Vec<Row>,
    /// Rejections.
    pub rejections: Vec<Refusal>,
}

/// The raw log of a stopped data folder. Reads a copy: opening a log writes to it.
///
/// # Errors
/// The log does not open or does not read.
pub fn raw_log(data: &Path, partitions: u16) -> Result<RawLog> {
    let mut all = RawLog::default();
    for partition in 0..partitions {
        let copy = tempfile::tempdir()?;
        let log = open_copy(data, partition, copy.path())?;
        read_log(&log, partition, &mut all)?;
    }
    Ok(all)
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

fn read_log(log: &dyn Log, partition: u16, all: &mut RawLog) -> Result<()> {
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
            let header = batch.header()?;
            for (index, entry) in (0_u64..).zip(batch.entries()) {
                let place = Place { partition, offset: record.offset.plus(index).0 };
                match entry?.1 {
                    Entry::Event(event) => all.events.push(logged(&header, &event, place)),
                    Entry::Rejection(rejection) => all.rejections.push(Refusal {
                        application: header.application.to_owned(),
                        token: header.token.to_owned(),
                        received_at: header.received_at.micros(),
                        place,
                        code: rejection.code.to_owned(),
                        field: rejection.field.to_owned(),
                        message: rejection.message.to_owned(),
                        sample: rejection.sample.to_owned(),
                    }),
                }
            }
        }
    }
    Ok(())
}

fn logged(header: &BatchHeader<'_>, event: &EventRef<'_>, place: Place) -> Row {
    let said = Said {
        category: event.category,
        name: event.name,
        timestamp_raw: event.timestamp_raw,
        sent_at: event.sent_at.map(Timestamp::micros),
        user_id: event.user_id,
        anonymous_id: event.anonymous_id,
        data: event.data,
        context: event.context,
    };
    Row {
        application: header.application.to_owned(),
        id: event.event_id.to_owned(),
        session: event.session_id.to_owned(),
        timestamp: event.timestamp.micros(),
        received_at: header.received_at.micros(),
        problems: event.problems,
        place,
        content: said.digest(),
    }
}

/// The commits of the events, oldest first.
///
/// # Errors
/// The folder cannot be read.
pub fn commits(data: &Path) -> Result<Vec<PathBuf>> {
    commits_of(data, "events")
}

fn commits_of(data: &Path, table: &str) -> Result<Vec<PathBuf>> {
    let mut commits: Vec<PathBuf> = Vec::new();
    for entry in fs::read_dir(data.join("table").join(table).join("_delta_log"))? {
        let path = entry?.path();
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        if name.strip_suffix(".json").is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_digit())) {
            commits.push(path);
        }
    }
    commits.sort();
    Ok(commits)
}

/// Up to where each table has each partition's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flushed {
    /// The events'.
    pub events: BTreeMap<u16, u64>,
    /// The rejections'.
    pub rejections: BTreeMap<u16, u64>,
}

/// Up to where the tables have each partition's log, as their commits say: the newest transaction of each.
///
/// # Errors
/// The newest commits cannot be read.
pub fn flushed(data: &Path, partitions: u16) -> Result<Flushed> {
    let [events, rejections] = ["events", "rejections"].map(|table| flushed_of(data, table, partitions));
    Ok(Flushed { events: events?, rejections: rejections? })
}

fn flushed_of(data: &Path, table: &str, partitions: u16) -> Result<BTreeMap<u16, u64>> {
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
    let commits = commits_of(data, table)?;
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

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = concat!(
        r#"{"session_id":"s","events":[{"event_id":"e\"","application":"other","session_id":"s","category":"c","name":"n","#,
        r#""timestamp":"1970-01-01T00:00:00.000007Z","timestamp_raw":"no \"time\"","#,
        r#""received_at":"1970-01-01T00:00:00.000007Z","sent_at":"1970-01-01T00:00:02.000000Z","skew_ms":-1999,"#,
        r#""user_id":"ü","anonymous_id":"a","data":{"n":1.50, "u":"\u0041"},"context":[1],"#,
        r#""problems":["timestamp_unreadable","payload_unexpected"],"partition":1,"offset":5}],"next":null,"version":1}"#
    );

    #[test]
    fn an_event_is_the_same_in_an_answer_and_in_the_log() {
        let time = Timestamp::from_micros(7);
        let header = BatchHeader { application: "other", token: "t", received_at: time };
        let event = EventRef {
            event_id: "e\"",
            session_id: "s",
            category: "c",
            name: "n",
            timestamp: time,
            timestamp_raw: Some("no \"time\""),
            sent_at: Some(Timestamp::from_micros(2_000_000)),
            user_id: Some("ü"),
            anonymous_id: Some("a"),
            data: r#"{"n":1.50, "u":"\u0041"}"#,
            context: Some("[1]"),
            problems: Problems::NONE.with(Problem::TimestampUnreadable).with(Problem::PayloadUnexpected),
        };
        let page = Page::read(PAGE.as_bytes()).unwrap();
        assert_eq!(page.rows, [logged(&header, &event, Place { partition: 1, offset: 5 })]);
    }

    #[test]
    fn an_answer_that_contradicts_itself_is_no_page() {
        for (right, wrong) in [("-1999", "-2000"), ("payload_unexpected", "payload_strange")] {
            assert!(Page::read(PAGE.replace(right, wrong).as_bytes()).is_err(), "{wrong}");
        }
        assert!(Page::read(PAGE.replace(r#""skew_ms":-1999,"#, "").as_bytes()).is_err());
    }
}
