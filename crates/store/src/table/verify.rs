//! What `eye verify` checks of a table: every file is there and is what was written, no offset is there twice, the
//! commits of each partition follow each other without a gap, and maintenance keeps every row that was not taken out on
//! purpose.

use std::collections::{BTreeMap, HashMap};

use arrow::array::RecordBatch;
use eye_event::Timestamp;
use eye_log::{Offset, PartitionId};

use super::actions::{self, MaintenanceInfo, ParsedCommit};
use super::hash::FileHash;
use super::open::LogFiles;
use super::removed::RemovedRows;
use super::version::TableFile;
use super::{Table, TableKind, paths};
use crate::columns::{Columns, EventRows, RejectionRows};
use crate::error::{Kind, Result};

/// How much of a file is read at once when it is hashed.
const PART_BYTES: u64 = 4 << 20;

/// Something that does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The file it is about, inside the table.
    pub file: String,
    /// What is wrong.
    pub what: String,
}

/// How far a verification is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Files and commits checked.
    pub done: u64,
    /// Files and commits in all.
    pub total: u64,
}

/// What a verification saw.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VerifyReport {
    /// Files of the table.
    pub files: u64,
    /// Their rows, as counted in them.
    pub rows: u64,
    /// Their bytes, as read.
    pub bytes: u64,
    /// Commits checked.
    pub commits: u64,
    /// Files that are no part of the table: replaced by compactions, or of flushes that did not end. Harmless.
    pub orphans: u64,
    /// Everything that does not hold.
    pub findings: Vec<Finding>,
}

impl VerifyReport {
    /// True if everything holds.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.findings.is_empty()
    }

    fn find(&mut self, file: impl Into<String>, what: impl Into<String>) {
        self.findings.push(Finding { file: file.into(), what: what.into() });
    }
}

/// The order of a row inside a slice.
struct Row {
    session: String,
    time: Timestamp,
    offset: Offset,
}

/// Checks the current version of a table. `deep` also decodes every row and checks the order of each slice.
///
/// What does not hold is in the report.
///
/// # Errors
/// `Unavailable` if the object store cannot be read, so that nothing can be said.
pub fn verify(table: &Table, deep: bool, progress: &mut dyn FnMut(Progress)) -> Result<VerifyReport> {
    let current = table.current();
    let log = LogFiles::list(&table.io)?;
    let total = (current.files.len() + log.commits.len()) as u64;
    let mut report = VerifyReport::default();
    let mut offsets: BTreeMap<PartitionId, Offsets<'_>> = BTreeMap::new();
    // By offset, so that only files whose ranges overlap are compared with each other.
    let mut files: Vec<&TableFile> = current.files.iter().map(AsRef::as_ref).collect();
    files.sort_by_key(|file| (file.partition, file.offset_min));
    for file in files {
        let intact = check_bytes(table, file, &mut report)?;
        if intact && let Some(seen) = check_rows(table.kind(), file, deep, &mut report)? {
            offsets.entry(file.partition).or_default().add(file, seen, &mut report);
        }
        report.files += 1;
        progress(Progress { done: report.files, total });
    }
    check_chain(table, &log, &mut report, &mut |commits| progress(Progress { done: commits, total }))?;
    if table.kind() == TableKind::Events {
        check_erasures(table, &mut report)?;
    }
    let listed = table.io.list("")?.into_iter().filter(|path| path.ends_with(".parquet") && !path.starts_with('_'));
    report.orphans = (listed.count() as u64).saturating_sub(present(&report));
    Ok(report)
}

/// What says which rows nobody may see is what was written.
fn check_erasures(table: &Table, report: &mut VerifyReport) -> Result<()> {
    match table.erasures() {
        Err(error) if error.kind() == Kind::Unavailable => Err(error),
        Err(error) => {
            report.find(paths::ERASURES_FOLDER, error.to_string());
            Ok(())
        }
        Ok(_) => Ok(()),
    }
}

/// Files of the table that were not found missing.
fn present(report: &VerifyReport) -> u64 {
    let missing = report.findings.iter().filter(|finding| finding.what == MISSING).count() as u64;
    report.files.saturating_sub(missing)
}

const MISSING: &str = "the file is missing";

/// Size and hash; false if the file is not what was written.
fn check_bytes(table: &Table, file: &TableFile, report: &mut VerifyReport) -> Result<bool> {
    let path = file.path.as_str();
    let Some(size) = table.io.size(path)? else {
        report.find(path, MISSING);
        return Ok(false);
    };
    report.bytes += size;
    if size != file.bytes {
        report.find(path, format!("it has {size} bytes, the table says {}", file.bytes));
        return Ok(false);
    }
    let Some(expected) = file.sha256 else {
        report.find(path, "it has no hash: another program wrote it");
        return Ok(true);
    };
    let starts = (0..size).step_by(usize::try_from(PART_BYTES).unwrap_or(usize::MAX));
    let parts = starts.map(|start| {
        let range = start..size.min(start + PART_BYTES);
        table.io.ranges(path, std::slice::from_ref(&range)).map(|parts| parts.concat().into())
    });
    let hash = FileHash::of_reads(parts)?;
    if hash != expected {
        report.find(path, format!("its bytes changed: SHA-256 is {hash}, the table says {expected}"));
    }
    Ok(hash == expected)
}

/// Counts and bounds; the file's offsets if it could be read.
fn check_rows(kind: TableKind, file: &TableFile, deep: bool, report: &mut VerifyReport) -> Result<Option<Vec<Offset>>> {
    let path = file.path.as_str();
    match read_rows(kind, file, deep, report) {
        Ok(offsets) => {
            report.rows += offsets.len() as u64;
            if offsets.len() as u64 != file.rows {
                report.find(path, format!("it has {} rows, the table says {}", offsets.len(), file.rows));
            }
            let bounds = (offsets.iter().min().copied(), offsets.iter().max().copied());
            if bounds != (Some(file.offset_min), Some(file.offset_max)) {
                report.find(path, "its offsets are not those that the table says");
            }
            Ok(Some(offsets))
        }
        Err(error) if error.kind() == Kind::Unavailable => Err(error),
        Err(error) => {
            report.find(path, error.to_string());
            Ok(None)
        }
    }
}

fn read_rows(kind: TableKind, file: &TableFile, deep: bool, report: &mut VerifyReport) -> Result<Vec<Offset>> {
    let columns = if deep { Columns::ALL } else { Columns::SORT_KEY };
    let (mut offsets, mut oldest) = (Vec::new(), None);
    for group in file.row_groups()? {
        let batch = file.read(group.index, columns, None)?;
        let rows = rows_of(kind, &batch)?;
        offsets.extend(rows.iter().map(|row| row.offset));
        if deep {
            file.check_extra(group.index, &batch)?;
            check_slice(kind, file, group.index, &rows, &mut oldest, report);
        }
    }
    Ok(offsets)
}

fn rows_of(kind: TableKind, batch: &RecordBatch) -> Result<Vec<Row>> {
    Ok(match kind {
        TableKind::Events => EventRows::new(batch)?
            .iter()
            .map(|row| Row { session: row.event.session_id.to_owned(), time: row.event.timestamp, offset: row.offset })
            .collect(),
        TableKind::Rejections => RejectionRows::new(batch)?
            .iter()
            .map(|row| Row { session: String::new(), time: row.received_at, offset: row.offset })
            .collect(),
    })
}

/// Invariant: a slice is sorted by (session, time descending, offset descending) and no newer than the one before it.
fn check_slice(
    kind: TableKind,
    file: &TableFile,
    index: usize,
    rows: &[Row],
    oldest: &mut Option<Timestamp>,
    report: &mut VerifyReport,
) {
    let path = file.path.as_str();
    let in_order = |pair: &[Row]| {
        let [a, b] = pair else { return true };
        (&a.session, b.time, b.offset) <= (&b.session, a.time, a.offset)
    };
    if !rows.windows(2).all(in_order) {
        report.find(path, format!("slice {index} is not sorted"));
    }
    let times = rows.iter().map(|row| row.time);
    if let (Some(before), Some(newest)) = (*oldest, times.clone().max())
        && newest > before
    {
        report.find(path, format!("slice {index} is newer than the one before it"));
    }
    *oldest = times.clone().min().or(*oldest);
    let bounds = (times.clone().min(), times.max());
    let is_outside =
        |low: Option<Timestamp>| low.is_some_and(|low| low < file.timestamp_min || low > file.timestamp_max);
    if is_outside(bounds.0) || is_outside(bounds.1) {
        report
            .find(path, format!("times of slice {index} of the {} lie outside those that the table says", kind.name()));
    }
}

/// The offsets of files whose ranges overlap: in rising order of files, at most one commit's worth.
#[derive(Default)]
struct Offsets<'a> {
    seen: BTreeMap<Offset, &'a str>,
}

impl<'a> Offsets<'a> {
    fn add(&mut self, file: &'a TableFile, offsets: Vec<Offset>, report: &mut VerifyReport) {
        // Later files start at or after this one: what lies before can never meet one again.
        self.seen = self.seen.split_off(&file.offset_min);
        for offset in offsets {
            if let Some(other) = self.seen.insert(offset, file.path.as_str()) {
                report.find(file.path.as_str(), format!("offset {offset} is also in {other}"));
                return;
            }
        }
    }
}

/// What the commits of the log have said so far.
struct Chain {
    /// Rows taken out on purpose, as of the last commit that says.
    removed: Option<RemovedRows>,
    ends: BTreeMap<PartitionId, Offset>,
    /// The number of the last maintenance commit.
    maintenance: Option<u64>,
    starts_at_zero: bool,
    /// The files of the table with their rows; those that are known if the log does not start at zero.
    files: HashMap<String, Option<u64>>,
}

/// Invariant: each partition's commits cover its offsets without gap or overlap, and end where the table says; maintenance
/// commits follow each other and account for every row; and what was added and not removed is what the table lists.
fn check_chain(table: &Table, log: &LogFiles, report: &mut VerifyReport, done: &mut dyn FnMut(u64)) -> Result<()> {
    let starts_at_zero = log.commits.contains(&0);
    let mut chain = Chain {
        removed: starts_at_zero.then(RemovedRows::new),
        ends: BTreeMap::new(),
        maintenance: None,
        starts_at_zero,
        files: HashMap::new(),
    };
    let mut previous = None;
    let mut is_whole = starts_at_zero;
    for version in log.commits.iter().copied() {
        let path = paths::commit(version);
        if previous.is_some_and(|previous| previous + 1 != version) {
            report.find(&path, "the commit before it is missing");
            is_whole = false;
        }
        previous = Some(version);
        match table.io.get(&path)?.map(|bytes| actions::parse(&bytes)) {
            Some(Ok(commit)) => {
                chain.check_maintenance(&path, &commit, report);
                chain.check_link(&path, &commit, report);
            }
            Some(Err(why)) => report.find(&path, why),
            None => report.find(&path, MISSING),
        }
        report.commits += 1;
        done(report.files + report.commits);
    }
    for (partition, end) in &chain.ends {
        let flushed = table.current().flushed(*partition);
        if flushed != *end {
            let what = format!("partition {partition} ends at offset {end} but the table is flushed to {flushed}");
            report.find(paths::LOG_FOLDER, what);
        }
    }
    let listed = &table.current().files;
    let is_listed = listed.len() == chain.files.len() && listed.iter().all(|file| chain.has(file));
    if is_whole && report.is_sound() && !is_listed {
        report.find(paths::LOG_FOLDER, "the table's files are not those that its commits add and do not remove");
    }
    Ok(())
}

impl Chain {
    fn has(&self, file: &TableFile) -> bool {
        self.files.get(file.path.as_str()).is_some_and(|rows| rows.is_none_or(|rows| rows == file.rows))
    }

    /// Removes and adds files; a maintenance commit must have the next number, and as many rows as what it removes, but for
    /// those that it says are gone on purpose.
    fn check_maintenance(&mut self, path: &str, commit: &ParsedCommit, report: &mut VerifyReport) {
        let mut removed = Some(0);
        for file in &commit.removes {
            let rows = self.files.remove(&file.path).flatten();
            removed = removed.zip(rows).map(|(sum, rows)| sum + rows);
        }
        self.files.extend(commit.adds.iter().map(|file| (file.path.clone(), file.rows)));
        if let Some(note) = &commit.eye {
            self.check_removed(path, &note.removed, 0, report);
        }
        let Some(note) = &commit.maintenance else { return };
        self.check_removed(path, &note.removed, note.taken, report);
        let added: Option<u64> = commit.adds.iter().map(|file| file.rows).sum();
        if commit.eye.is_some() || !commit.txns.is_empty() || commit.maintenance_txn != Some(note.number) {
            report.find(path, "a maintenance commit has its own transaction and no other");
        }
        let before = self.maintenance.or(self.starts_at_zero.then_some(0));
        if let Some(before) = before.filter(|before| before + 1 != note.number) {
            report.find(path, format!("maintenance commit {} follows {before}", note.number));
        }
        self.maintenance = Some(note.number);
        // Files from before the oldest commit that is kept are not known.
        let is_unknown = removed.is_none() && !self.starts_at_zero;
        if added != Some(note.rows) || (removed != Some(note.rows + note.taken) && !is_unknown) {
            let MaintenanceInfo { rows, taken, .. } = note;
            let what =
                format!("it says {rows} rows and {taken} taken out, and adds {added:?} in the place of {removed:?}");
            report.find(path, what);
        }
    }

    /// The rows that were taken out rise by what the commit takes out.
    fn check_removed(&mut self, path: &str, now: &RemovedRows, taken: u64, report: &mut VerifyReport) {
        let total = |rows: &RemovedRows| rows.values().map(|rows| rows.total()).sum::<u64>();
        if let Some(before) = self.removed.as_ref().map(total).filter(|before| before + taken != total(now)) {
            let what = format!("{} rows were taken out by now, after {before} and {taken} more", total(now));
            report.find(path, what);
        }
        self.removed = Some(now.clone());
    }

    fn check_link(&mut self, path: &str, commit: &ParsedCommit, report: &mut VerifyReport) {
        for (partition, version) in &commit.txns {
            if self.ends.get(partition).is_some_and(|end| version <= end) {
                report.find(path, format!("the transaction of partition {partition} does not rise: {version}"));
            }
        }
        let Some(eye) = &commit.eye else {
            self.ends.extend(commit.txns.iter().copied());
            return;
        };
        let partition = PartitionId(eye.partition);
        // Before the oldest commit that is kept nothing is known.
        let before = self.ends.get(&partition).copied().or(self.starts_at_zero.then_some(Offset::ZERO));
        if let Some(before) = before.filter(|before| before.plus(1).0 != eye.first) {
            report.find(path, format!("partition {partition} goes on at offset {} after {before}", eye.first));
        }
        if commit.txns != [(partition, Offset(eye.last))] {
            report.find(path, "its transaction is not its last offset");
        }
        self.ends.insert(partition, Offset(eye.last));
    }
}
