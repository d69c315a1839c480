//! Events and rejections that are too old go, by the day on which they were received.
//!
//! A file holds rows of one day only, so a rule either wants all rows of an application and a category in it or none: a
//! file is written again at most once for each rule, and one that holds nothing else goes as it is, unread. The rows are
//! hidden by the commit that takes them out; the files that held them stay for the vacuum, as after a compaction.
//!
//! Ingest, flushes and questions go on meanwhile. Between two commits the lock of maintenance is free, so that compactions
//! and erasures get their turn.

use std::collections::BTreeSet;
use std::sync::Arc;

use ahash::AHashMap;
use arrow::array::{BooleanArray, RecordBatch};
use eye_event::Timestamp;
use eye_fault::{Sabotage, sabotaged};

use crate::columns::{Columns, EventRows};
use crate::error::{Error, Kind, Result};
use crate::store::{Shared, Store};
use crate::table::{Compaction, FilePath, Table, TableFile, Why};

/// Files that go as they are in one commit.
const DROPS_AT_ONCE: usize = 256;
/// Files that are written again in one commit.
const REWRITES_AT_ONCE: usize = 8;
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
    /// The applications and categories of files that were looked at: files never change.
    kinds: AHashMap<FilePath, Arc<Kinds>>,
}

/// Applications and categories.
type Kinds = BTreeSet<(String, String)>;

/// What is to be done with a file.
enum Fate {
    Stays,
    Goes,
    /// Without these.
    Without(Kinds),
}

/// What has been done with one.
enum Change {
    Dropped(Compaction),
    Rewritten(Compaction),
}

impl Store {
    /// Takes out what is too old, as the store's own thread does. Blocks; everything else goes on meanwhile.
    ///
    /// # Errors
    /// Why it failed; what was taken out before stays so.
    pub fn expire_blocking(&self) -> Result<RetentionReport> {
        self.shared.healthy()?;
        self.shared.expire()
    }
}

impl Shared {
    /// A run of the store's own thread. A failure is reported and tried again next time.
    pub(crate) fn expire_due(&self) {
        match self.expire() {
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

    fn expire(&self) -> Result<RetentionReport> {
        let mut report = RetentionReport::default();
        let result = self.expire_tables(&mut report);
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

    fn expire_tables(&self, report: &mut RetentionReport) -> Result<()> {
        let today = (self.now)().days();
        let rules = &self.settings.retention;
        let of_events = |file: &TableFile| self.fate(rules, file, today);
        let events = self.expire_table(&self.events, &of_events, report);
        let of_rejections = |file: &TableFile| {
            let is_old = self.settings.rejection_days.is_some_and(|days| is_over(file, days, today));
            Ok(if is_old { Fate::Goes } else { Fate::Stays })
        };
        let rejections = self.expire_table(&self.rejections, &of_rejections, report);
        let listed: BTreeSet<FilePath> = self.events.current().files.iter().map(|file| file.path.clone()).collect();
        self.retention.lock().kinds.retain(|path, _| listed.contains(path));
        (report.events, report.rejections) = (events?, rejections?);
        Ok(())
    }

    /// The rows that went.
    fn expire_table(
        &self,
        table: &Table,
        fate: &dyn Fn(&TableFile) -> Result<Fate>,
        report: &mut RetentionReport,
    ) -> Result<u64> {
        let (mut rows, mut conflicts) = (0, 0);
        while !self.is_ending() {
            match self.expire_some(table, fate, report) {
                Ok(0) => break,
                Ok(more) => rows += more,
                Err(error) if error.kind() == Kind::Conflict && conflicts < CONFLICTS_MAX => {
                    self.healthy()?;
                    conflicts += 1;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(rows)
    }

    /// One commit's worth. 0 if there is nothing left to do. A file that cannot be read, or for which there is no room to be
    /// written again, keeps no other from going: it is an error when nothing else is left.
    fn expire_some(
        &self,
        table: &Table,
        fate: &dyn Fn(&TableFile) -> Result<Fate>,
        report: &mut RetentionReport,
    ) -> Result<u64> {
        let _one = self.compacting.lock();
        let mut all: Option<Compaction> = None;
        let (mut dropped, mut rewritten, mut failed) = (0, 0, None);
        for file in &table.current().files {
            if self.is_ending() || dropped >= DROPS_AT_ONCE || rewritten >= REWRITES_AT_ONCE {
                break;
            }
            let change = match self.change_of(table, file, fate) {
                Ok(Some(Change::Dropped(change))) => {
                    dropped += 1;
                    change
                }
                Ok(Some(Change::Rewritten(change))) => {
                    rewritten += 1;
                    change
                }
                Ok(None) => continue,
                Err(error) if matches!(error.kind(), Kind::Corrupt | Kind::Full) => {
                    failed = failed.or(Some(error));
                    continue;
                }
                Err(error) => return Err(error),
            };
            all = Some(match all {
                Some(earlier) => earlier.and(change),
                None => change,
            });
        }
        let Some(all) = all else { return failed.map_or(Ok(0), Err) };
        self.take_out(table, &all)?;
        report.files_dropped += dropped as u64;
        report.files_rewritten += rewritten as u64;
        Ok(all.rows_taken())
    }

    /// What is to be changed of a file; `None`: nothing, or the store ends.
    fn change_of(
        &self,
        table: &Table,
        file: &Arc<TableFile>,
        fate: &dyn Fn(&TableFile) -> Result<Fate>,
    ) -> Result<Option<Change>> {
        Ok(match fate(file)? {
            Fate::Stays => None,
            Fate::Goes => Some(Change::Dropped(table.drop_file(file, Why::Expired))),
            Fate::Without(kinds) => {
                self.room_for(table)?;
                let goes = |batch: &RecordBatch| chosen(&kinds, batch);
                table.without(file, Why::Expired, &goes, &|| !self.is_ending())?.map(Change::Rewritten)
            }
        })
    }

    fn fate(&self, rules: &[RetentionRule], file: &TableFile, today: i32) -> Result<Fate> {
        if !rules.iter().any(|rule| is_over(file, rule.days, today)) {
            return Ok(Fate::Stays);
        }
        if let Some(rule) = rules.first().filter(|rule| rule.fits_all()) {
            return Ok(if is_over(file, rule.days, today) { Fate::Goes } else { Fate::Stays });
        }
        let kinds = self.kinds_of(file)?;
        let goes = |application: &str, category: &str| {
            let rule = rules.iter().find(|rule| rule.fits(application, category));
            rule.is_some_and(|rule| is_over(file, rule.days, today))
        };
        let old: Kinds = kinds.iter().filter(|(one, other)| goes(one, other)).cloned().collect();
        Ok(match old.len() {
            0 => Fate::Stays,
            all if all == kinds.len() => Fate::Goes,
            _ => Fate::Without(old),
        })
    }

    fn kinds_of(&self, file: &TableFile) -> Result<Arc<Kinds>> {
        if let Some(known) = self.retention.lock().kinds.get(&file.path) {
            return Ok(Arc::clone(known));
        }
        let mut kinds = Kinds::new();
        for group in file.row_groups()? {
            let batch = file.read(group.index, Columns::APPLICATION | Columns::CATEGORY, None)?;
            for row in EventRows::new(&batch)?.iter() {
                let is_known = kinds.iter().any(|(one, other)| one == row.application && other == row.event.category);
                if !is_known {
                    kinds.insert((row.application.to_owned(), row.event.category.to_owned()));
                }
            }
        }
        if kinds.is_empty() {
            return Err(Error::new(Kind::Corrupt, format!("{} has no rows", file.path)));
        }
        let kinds = Arc::new(kinds);
        self.retention.lock().kinds.insert(file.path.clone(), Arc::clone(&kinds));
        Ok(kinds)
    }
}

/// True if so many whole days have passed since the one on which the file's rows were received.
fn is_over(file: &TableFile, days: u32, today: i32) -> bool {
    let today = i64::from(today) + i64::from(sabotaged(Sabotage::RetentionDayTooMany));
    i64::from(file.received_date) + i64::from(days) < today
}

fn chosen(kinds: &Kinds, batch: &RecordBatch) -> Result<BooleanArray> {
    let is_chosen =
        |application: &str, category: &str| kinds.iter().any(|(one, other)| one == application && other == category);
    Ok(EventRows::new(batch)?.iter().map(|row| Some(is_chosen(row.application, row.event.category))).collect())
}
