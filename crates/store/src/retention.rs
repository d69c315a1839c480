//! Events and rejections that are too old go, by the day on which they were received.
//!
//! A file holds rows of one day only, so a rule either wants all rows of an application and a category in it or none: a
//! file is written again at most once for each rule, and one that holds nothing else goes as it is, unread. The rows are
//! hidden by the commit that takes them out; the files that held them stay for the vacuum, as after a compaction.
//!
//! What goes does not come back: the store's own thread takes something out only if the clock is believed
//! ([`believed`](crate::believed)).
//!
//! Ingest, flushes and questions go on meanwhile. Between two commits the lock of maintenance is free, and so it is
//! while files are only read to see what they hold, so that compactions and erasures get their turn.

mod contents;

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::RecordBatch;
use eye_event::Timestamp;
use eye_fault::{Sabotage, sabotaged};

pub(crate) use contents::Contents;

use crate::error::{Error, Kind, Result};
use crate::store::{Shared, Store};
use crate::table::{Compaction, FilePath, Table, TableFile, UNREAD_MAX, Why};
use contents::Marks;

/// Files that go as they are in one commit.
const DROPS_AT_ONCE: usize = 256;
/// Files that are written again in one commit.
const REWRITES_AT_ONCE: usize = 8;
/// Files that are read between two commits to tell what is to be done with them.
const LOOKS_AT_ONCE: usize = 64;
/// How often a change begins anew because another writer was quicker.
const CONFLICTS_MAX: usize = 8;

/// How long events are kept. Of several rules the first that fits counts; what none fits is kept for ever.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetentionRule {
    /// Whose events; `None`: everybody's.
    pub application: Option<String>,
    /// Of which category; `None`: of any.
    pub category: Option<String>,
    /// So many whole days after the one on which they were received (UTC).
    pub days: u32,
}

impl RetentionRule {
    fn fits(&self, application: &str, category: &str) -> bool {
        self.application.as_deref().is_none_or(|name| name == application)
            && self.category.as_deref().is_none_or(|name| name == category)
    }

    /// True if it fits whatever there is.
    fn fits_all(&self) -> bool {
        self.application.is_none() && self.category.is_none()
    }
}

/// What became of what was too old.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RetentionReport {
    /// Events that went.
    pub events: u64,
    /// Rejections that went.
    pub rejections: u64,
    /// Files that went as they were.
    pub files_dropped: u64,
    /// Files that were written again without some of their rows.
    pub files_rewritten: u64,
    /// False if the store ends before everything was looked at.
    pub is_complete: bool,
}

/// What has become too old since the start.
#[derive(Clone, Debug, Default)]
pub struct RetentionFigures {
    /// Runs that ended well, those that found nothing too.
    pub runs: u64,
    /// Runs that failed.
    pub failures: u64,
    /// When a run ended well last.
    pub last_success: Option<Timestamp>,
    /// Why the last run failed, if it did.
    pub last_error: Option<String>,
}

/// Who asks for a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    /// The store's own thread: only if the clock is believed.
    Itself,
    /// An operator, whose word counts.
    Operator,
}

/// What is to be done with a file.
enum Fate {
    Stays,
    Goes,
    /// Without the rows of these rules: a mark for each rule, and one for no rule.
    Without(Vec<bool>),
    /// It must be read to tell.
    Unknown,
}

/// What has been done with one.
enum Change {
    Dropped(Compaction),
    Rewritten(Compaction),
}

/// A run over one table.
struct Run<'a> {
    table: &'a Table,
    fate: &'a dyn Fn(&TableFile) -> Fate,
    /// Why the clock is not believed, if it is not and that counts.
    doubt: Option<&'a Error>,
    /// Files that could not be read, or written again: they are not tried again in this run.
    failed: HashSet<FilePath>,
    /// So many of them could not be read, though nothing says that they are damaged.
    unread: usize,
    /// Why the first of them failed.
    error: Option<Error>,
}

impl Store {
    /// Takes out what is too old, as the store's own thread does, but by the clock as it is. Blocks; everything else
    /// goes on meanwhile.
    ///
    /// # Errors
    /// Why it failed; what was taken out before stays so.
    pub fn expire_blocking(&self) -> Result<RetentionReport> {
        self.shared.healthy()?;
        self.shared.expire(By::Operator)
    }
}

impl Shared {
    /// A run of the store's own thread. A failure is reported and tried again next time. If the clock is not believed
    /// and something is too old by it, the run fails: see [`believed`](crate::believed).
    pub(crate) fn expire_due(&self) {
        match self.expire(By::Itself) {
            Ok(done) if done.events + done.rejections > 0 => tracing::info!(
                events = done.events,
                rejections = done.rejections,
                dropped = done.files_dropped,
                rewritten = done.files_rewritten,
                "took out what was too old"
            ),
            Ok(_) => {}
            Err(error) => tracing::error!(%error, "retention failed: it will be tried again"),
        }
    }

    fn expire(&self, by: By) -> Result<RetentionReport> {
        let mut report = RetentionReport::default();
        let result = self.expire_tables(by, &mut report);
        let mut figures = self.retention.lock();
        match &result {
            Ok(()) => {
                figures.runs += 1;
                figures.last_success = Some((self.now)());
            }
            Err(_) => figures.failures += 1,
        }
        figures.last_error = result.as_ref().err().map(ToString::to_string);
        report.is_complete = !self.is_ending();
        result.map(|()| report)
    }

    fn expire_tables(&self, by: By, report: &mut RetentionReport) -> Result<()> {
        let now = (self.now)();
        // Before anything goes: what goes may be what confirms the clock.
        let doubt = if by == By::Itself { self.doubt(now) } else { None };
        let today = now.days();
        let of_events = |file: &TableFile| self.fate(file, today);
        let of_rejections = |file: &TableFile| {
            let is_old = self.settings.rejection_days.is_some_and(|days| is_over(file, days, today));
            if is_old { Fate::Goes } else { Fate::Stays }
        };
        let mut run = Run::new(&self.events, &of_events, doubt.as_ref());
        let events = self.expire_table(&mut run, report);
        let mut run = Run::new(&self.rejections, &of_rejections, doubt.as_ref());
        let rejections = self.expire_table(&mut run, report);
        self.contents.lock().keep(&self.events.current().files);
        (report.events, report.rejections) = (events?, rejections?);
        Ok(())
    }

    /// The rows that went. A file that cannot be read, or for which there is no room to be written again, keeps no
    /// other from going: it is an error when nothing else is left.
    fn expire_table(&self, run: &mut Run<'_>, report: &mut RetentionReport) -> Result<u64> {
        let (mut rows, mut conflicts) = (0, 0);
        while !self.is_ending() {
            let more = match self.expire_some(run, report) {
                Err(error) if error.kind() == Kind::Conflict && conflicts < CONFLICTS_MAX => {
                    self.healthy()?;
                    conflicts += 1;
                    continue;
                }
                done => done?,
            };
            rows += more;
            // Only when nothing is left to do with what is known: a file that cannot be read holds up nothing then.
            if more == 0 && self.look_into_some(run)? == 0 {
                break;
            }
        }
        run.error.take().map_or(Ok(rows), Err)
    }

    /// Reads some of the files that must be read to tell what is to be done with them; how many. Compactions and
    /// erasures need not wait for that.
    fn look_into_some(&self, run: &mut Run<'_>) -> Result<usize> {
        let is_unknown =
            |file: &Arc<TableFile>| !run.failed.contains(&file.path) && matches!((run.fate)(file), Fate::Unknown);
        // No more of them than are read: an erasure waits for files that somebody holds.
        let some: Vec<_> = self.in_turn(run.table).into_iter().filter(is_unknown).take(LOOKS_AT_ONCE).collect();
        let mut looked_into = 0;
        for file in some {
            if self.is_ending() || run.reads_no_more() {
                break;
            }
            // What could not be read the last time waits until the rest is done.
            if looked_into > 0 && self.contents.lock().unread.contains(&file.path) {
                break;
            }
            looked_into += 1;
            match Marks::of(self.retention_rules(), &file, &|| !self.is_ending()) {
                Ok(Some(marks)) => self.contents.lock().learn(&file.path, marks),
                Ok(None) => break,
                Err(error) => self.set_back(run, &file, error)?,
            }
        }
        Ok(looked_into)
    }

    /// One commit's worth. 0 if there is nothing left to do.
    fn expire_some(&self, run: &mut Run<'_>, report: &mut RetentionReport) -> Result<u64> {
        let _one = self.compacting.lock();
        let mut all: Option<Compaction> = None;
        let (mut dropped, mut rewritten) = (0, 0);
        for file in &self.in_turn(run.table) {
            if self.is_ending() || dropped >= DROPS_AT_ONCE || rewritten >= REWRITES_AT_ONCE {
                break;
            }
            let fate = (run.fate)(file);
            if matches!(fate, Fate::Stays | Fate::Unknown) || run.failed.contains(&file.path) {
                continue;
            }
            if let Some(doubt) = run.doubt {
                return Err(doubt.clone());
            }
            let change = match self.change_of(run, file, fate) {
                Ok(Some(Change::Dropped(change))) => {
                    dropped += 1;
                    change
                }
                Ok(Some(Change::Rewritten(change))) => {
                    rewritten += 1;
                    change
                }
                Ok(None) => continue,
                Err(error) => {
                    self.set_back(run, file, error)?;
                    continue;
                }
            };
            all = Some(match all {
                Some(earlier) => earlier.and(change),
                None => change,
            });
        }
        let Some(all) = all else { return Ok(0) };
        self.take_out(run.table, &all)?;
        report.files_dropped += dropped as u64;
        report.files_rewritten += rewritten as u64;
        Ok(all.rows_taken())
    }

    /// What is changed of a file; `None`: nothing, for nothing more is read now, or the store ends.
    fn change_of(&self, run: &Run<'_>, file: &Arc<TableFile>, fate: Fate) -> Result<Option<Change>> {
        Ok(match fate {
            Fate::Goes => Some(Change::Dropped(run.table.drop_file(file, Why::Expired))),
            Fate::Without(rules) if !run.reads_no_more() => {
                self.room_for(run.table)?;
                let goes = |batch: &RecordBatch| {
                    Ok(contents::rules_of(self.retention_rules(), batch)?
                        .into_iter()
                        .map(|rule| Some(rules[rule]))
                        .collect())
                };
                let change = run.table.without(file, Why::Expired, &goes, &|| !self.is_ending())?;
                self.contents.lock().unread.forget(&file.path);
                change.map(Change::Rewritten)
            }
            Fate::Without(_) | Fate::Stays | Fate::Unknown => None,
        })
    }

    /// A file that cannot be read, or for which there is no room, is passed over until the next run; other errors end
    /// this one.
    fn set_back(&self, run: &mut Run<'_>, file: &TableFile, error: Error) -> Result<()> {
        match error.kind() {
            Kind::Unavailable => {
                self.contents.lock().unread.note(&file.path);
                run.unread += 1;
            }
            Kind::Corrupt | Kind::Full => {}
            _ => return Err(error),
        }
        run.failed.insert(file.path.clone());
        run.error.get_or_insert(error);
        Ok(())
    }

    /// The table's files, the oldest first; those that could not be read the last time come last.
    fn in_turn(&self, table: &Table) -> Vec<Arc<TableFile>> {
        let mut files = table.current().files.clone();
        let contents = self.contents.lock();
        files.sort_by_key(|file| contents.unread.turn(&file.path));
        files
    }

    /// The rules up to the first that fits whatever there is: those behind it never count.
    fn retention_rules(&self) -> &[RetentionRule] {
        let all = &self.settings.retention;
        let count = all.iter().position(RetentionRule::fits_all).map_or(all.len(), |last| last + 1);
        &all[..count]
    }

    fn fate(&self, file: &TableFile, today: i32) -> Fate {
        let rules = self.retention_rules();
        let mut over: Vec<bool> = rules.iter().map(|rule| is_over(file, rule.days, today)).collect();
        if !over.contains(&true) {
            return Fate::Stays;
        }
        if rules.last().is_some_and(RetentionRule::fits_all) && !over.contains(&false) {
            return Fate::Goes;
        }
        // What none fits stays.
        over.push(false);
        match self.contents.lock().of(&file.path).map(|marks| (marks.meet(&over, true), marks.meet(&over, false))) {
            None => Fate::Unknown,
            Some((false, _)) => Fate::Stays,
            Some((true, false)) => Fate::Goes,
            Some((true, true)) => Fate::Without(over),
        }
    }
}

impl<'a> Run<'a> {
    fn new(table: &'a Table, fate: &'a dyn Fn(&TableFile) -> Fate, doubt: Option<&'a Error>) -> Self {
        Self { table, fate, doubt, failed: HashSet::new(), unread: 0, error: None }
    }

    /// True if it has met too many files that cannot be read.
    fn reads_no_more(&self) -> bool {
        self.unread >= UNREAD_MAX
    }
}

/// True if so many whole days have passed since the one on which the file's rows were received.
fn is_over(file: &TableFile, days: u32, today: i32) -> bool {
    let today = i64::from(today) + i64::from(sabotaged(Sabotage::RetentionDayTooMany));
    i64::from(file.received_date) + i64::from(days) < today
}
