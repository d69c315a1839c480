//! Offline verification of a data folder: every record, every file, every invariant. Nothing is written, ever.
//!
//! | module | what it holds |
//! |---|---|
//! | [`report`] | the invariants by name, findings, counts |
//! | [`still`], [`read_only`] | a disk and an object store that cannot be written |
//! | [`rows`] | the table's rows by offset and identity |
//! | [`replay`] | the log over the table |
//!
//! The order is from bytes to meaning: checksums first, and only what verifies is opened and understood. What damage
//! keeps from being checked is said to be unchecked, never taken as good.

mod read_only;
mod replay;
pub(crate) mod report;
mod rows;
mod still;

use std::fs::{self, File, TryLockError};
use std::path::Path;
use std::sync::Arc;

use eye_event::Timestamp;
use eye_log::disk::OsDisk;
use eye_log::local::{self, LocalLog, LocalOptions};
use eye_log::{ErrorKind, PartitionId, SharedLog};
use eye_registry::Registry;
use eye_store::table::{TableVersion, location};
use eye_store::{CommitInfo, Kind, Ledger, Table, TableKind, TableOptions};
use object_store::ObjectStoreExt as _;
use tokio::runtime::Runtime;

use crate::config::Settings;
use read_only::{ReadOnly, Refused};
use report::{Draft, Invariant, LedgerLine, Report};
use rows::{Identities, Rows};
use still::StillDisk;

/// Why nothing could be verified.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// There is no data folder, or a setting is wrong.
    Nothing(String),
    /// A server has it open, or the object store cannot be reached.
    Away(String),
}

/// How far it is: what is being done, done, of how many.
pub(crate) type Progress<'a> = &'a mut dyn FnMut(&str, u64, u64);

/// Verifies the data folder of these settings. `deep` also decodes every row of the tables.
///
/// # Errors
/// Nothing could be said at all; damage is no error but in the report.
pub(crate) fn verify(settings: &Settings, deep: bool, progress: Progress<'_>) -> Result<Report, Refusal> {
    let _lock = lock(settings)?;
    let partitions = partitions(settings)?;
    let mut draft = Draft::default();
    check_log(settings, &settings.registry_path(), None, &mut draft)?;
    for partition in 0..partitions {
        progress("logs", u64::from(partition), u64::from(partitions));
        check_log(settings, &settings.log_path(partition), Some(partition), &mut draft)?;
    }
    if !draft.is_damaged() {
        check_registry(settings, &mut draft);
    }
    let runtime = Runtime::new().map_err(|error| Refusal::Away(format!("cannot start the runtime: {error}")))?;
    let events = check_table(settings, &runtime, TableKind::Events, partitions, deep, &mut draft, progress)?;
    let rejections = check_table(settings, &runtime, TableKind::Rejections, partitions, deep, &mut draft, progress)?;
    match (events, rejections) {
        (Some(events), Some(rejections)) if !draft.is_damaged() => {
            check_meaning(settings, partitions, &events.current(), &rejections.current(), &mut draft, progress)?;
        }
        _ => draft.skip(&Invariant::ALL),
    }
    Ok(draft.finish())
}

/// Takes the data folder's lock without writing into it.
fn lock(settings: &Settings) -> Result<File, Refusal> {
    let (folder, path) = (settings.data.display(), settings.lock_path());
    let file = File::open(&path).map_err(|error| {
        Refusal::Nothing(format!("{folder} is no data folder ({}: {error}): name it with --data", path.display()))
    })?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            let holder = fs::read_to_string(&path).unwrap_or_default();
            Err(Refusal::Away(format!(
                "process {} has the data folder {folder} open: stop the server, then verify",
                holder.trim()
            )))
        }
        Err(TryLockError::Error(error)) => Err(Refusal::Away(format!("{}: {error}", path.display()))),
    }
}

/// How many partitions the folder was made with.
fn partitions(settings: &Settings) -> Result<u16, Refusal> {
    let path = settings.partitions_path();
    match fs::read_to_string(&path) {
        Ok(text) => text.trim().parse().map_err(|_| Refusal::Nothing(format!("{}: not a number", path.display()))),
        Err(error) => Err(Refusal::Nothing(format!("{}: {error}", path.display()))),
    }
}

/// A path as people know it: inside the data folder where it is one.
fn shown(settings: &Settings, path: &Path) -> String {
    path.strip_prefix(&settings.data).unwrap_or(path).display().to_string()
}

/// Every checksum of one log.
fn check_log(settings: &Settings, dir: &Path, partition: Option<u16>, draft: &mut Draft) -> Result<(), Refusal> {
    if !dir.is_dir() {
        draft.find(Invariant::AcknowledgedMeansDurable, Some(shown(settings, dir)), None, "the folder is missing");
        return Ok(());
    }
    match local::verify(dir, &OsDisk) {
        Ok(found) => {
            draft.counts.segments += found.segments;
            draft.counts.records += found.records;
            draft.counts.log_bytes += found.bytes;
            if let Some(torn) = found.torn_tail {
                draft.notices.push(format!(
                    "{}: the last {} bytes, from byte {}, are what a crash interrupted: never acknowledged; the next start \
                     keeps them aside",
                    shown(settings, &torn.segment),
                    torn.bytes,
                    torn.byte
                ));
            }
            let (wanted, found) = (partition.unwrap_or(0), found.partition);
            if let Some(other) = found.filter(|found| found.0 != wanted) {
                let what = format!("it is the log of partition {other}");
                draft.find(Invariant::AcknowledgedMeansDurable, Some(shown(settings, dir)), None, what);
            }
            Ok(())
        }
        Err(error) => match error.kind() {
            ErrorKind::Corrupt { file, byte } => {
                let file = shown(settings, file);
                draft.find(Invariant::AcknowledgedMeansDurable, Some(file), Some(*byte), error.to_string());
                Ok(())
            }
            _ => Err(Refusal::Away(error.to_string())),
        },
    }
}

/// Opens a log whose checksums hold, without changing a byte.
fn open_log(dir: &Path, partition: u16) -> Result<SharedLog, String> {
    let options = LocalOptions::new(dir, PartitionId(partition));
    let (log, _) = LocalLog::open(options, Arc::new(StillDisk::default())).map_err(|error| error.to_string())?;
    Ok(Arc::new(log))
}

/// The registry's facts fold without contradiction.
fn check_registry(settings: &Settings, draft: &mut Draft) {
    let dir = settings.registry_path();
    let opened = open_log(&dir, 0).and_then(|log| Registry::open(log).map_err(|error| error.to_string()));
    if let Err(what) = opened {
        draft.find(Invariant::AcknowledgedMeansDurable, Some(shown(settings, &dir)), None, what);
    }
}

/// One table: commits, files, rows. `None` if it cannot be opened.
fn check_table(
    settings: &Settings,
    runtime: &Runtime,
    kind: TableKind,
    partitions: u16,
    deep: bool,
    draft: &mut Draft,
    progress: Progress<'_>,
) -> Result<Option<Table>, Refusal> {
    let name = kind.name();
    let wrong = |error: eye_store::Error| Refusal::Nothing(error.to_string());
    let (store, place) = location::resolve(&settings.table_url(), &settings.object_store_options()).map_err(wrong)?;
    let place = place.child(name).map_err(wrong)?;
    let base = place.folder().map_or_else(|| place.url().to_string(), |folder| shown_folder(settings, folder));
    let (read_only, refused, hidden) = ReadOnly::new(Arc::clone(&store));
    let options = TableOptions { partitions, ..TableOptions::new(kind, Timestamp::now()) };
    let opened = Table::open(Arc::new(read_only), place, options, runtime.handle().clone());
    let is_there = |path: &str| {
        let path = object_store::path::Path::parse(path);
        path.is_ok_and(|path| runtime.block_on(store.head(&path)).is_ok())
    };
    for file in hidden.lock().iter().filter(|file| file.ends_with(".parquet")) {
        draft.notices.push(checkpoint_notice(&base, file, is_there));
    }
    let table = match opened {
        Ok((table, _)) => table,
        Err(error) => {
            let wanted = refused.lock().first().cloned();
            let (file, what) = match wanted {
                Some(Refused::Make(_)) => (base, "there is no table here, but there is a log".to_owned()),
                Some(Refused::SetAside(file)) => {
                    let file = file.rsplit('/').next().unwrap_or_default().to_owned();
                    let what = "the newest commit is damaged; the next start sets it aside and commits its rows again from the log";
                    (format!("{base}/_delta_log/{file}"), what.to_owned())
                }
                None if error.kind() == Kind::Unavailable => return Err(Refusal::Away(error.to_string())),
                None => (base, error.to_string()),
            };
            draft.find(Invariant::AcknowledgedMeansDurable, Some(file), None, what);
            return Ok(None);
        }
    };
    let what = format!("{name} table");
    let found = eye_store::table::verify(&table, deep, &mut |step| progress(&what, step.done, step.total));
    let found = found.map_err(|error| Refusal::Away(error.to_string()))?;
    draft.counts.commits += found.commits;
    draft.counts.files += found.files;
    draft.counts.table_bytes += found.bytes;
    let removed = table.current().removed_all();
    draft.counts.rows_erased += removed.erased;
    draft.counts.rows_expired += removed.expired;
    match kind {
        TableKind::Events => draft.counts.events_in_table += found.rows,
        TableKind::Rejections => draft.counts.rejections_in_table += found.rows,
    }
    if found.orphans > 0 {
        draft.notices.push(format!(
            "{base}: {} files are no part of the table: replaced by larger ones, or of flushes that did not end; harmless",
            found.orphans
        ));
    }
    for finding in found.findings {
        let invariant = invariant_of(&finding.file, &finding.what);
        draft.find(invariant, Some(format!("{base}/{}", finding.file)), None, finding.what);
    }
    Ok(Some(table))
}

/// What is said of a checkpoint that opening has no use for. What proves one is written once it has been read back: it was
/// whole then.
fn checkpoint_notice(base: &str, file: &str, is_there: impl Fn(&str) -> bool) -> String {
    let proof = file.replace("_delta_log/", "_checksums/").replace(".parquet", ".sha256");
    let what = match is_there(&proof) {
        true => "a checkpoint that has rotted: look at the disk",
        false => "a checkpoint whose writing did not end, or that another program wrote",
    };
    let file = file.rsplit('/').next().unwrap_or_default();
    format!("{base}/_delta_log/{file}: {what}; the commits say the same, the next start sets it aside")
}

fn shown_folder(settings: &Settings, folder: &Path) -> String {
    let data = std::path::absolute(&settings.data).unwrap_or_else(|_| settings.data.clone());
    folder.strip_prefix(&data).unwrap_or(folder).display().to_string()
}

/// Which rule a finding of the table's own check breaks.
fn invariant_of(file: &str, what: &str) -> Invariant {
    if what.contains("is also in") {
        Invariant::OffsetsRise
    } else if file.starts_with("_delta_log") {
        Invariant::MovedTogether
    } else {
        Invariant::AcknowledgedMeansDurable
    }
}

/// Table and log together.
fn check_meaning(
    settings: &Settings,
    partitions: u16,
    events: &TableVersion,
    rejections: &TableVersion,
    draft: &mut Draft,
    progress: Progress<'_>,
) -> Result<(), Refusal> {
    let mut ledger = Ledger::default();
    for id in 0..partitions {
        progress("table and log together", u64::from(id), u64::from(partitions));
        let partition = PartitionId(id);
        let dir = settings.log_path(id);
        let log = open_log(&dir, id).map_err(Refusal::Away)?;
        let info = match CommitInfo::of(events, partition) {
            Ok(info) => info,
            Err(error) => {
                draft.find(Invariant::NothingVanishes, Some("table/events".to_owned()), None, error.to_string());
                draft.skip(&Invariant::ALL);
                continue;
            }
        };
        // What lies behind the table is decided by the settings of now, as a start would do it.
        let (mut history, flushed) = (info.dedup.clone(), events.flushed(partition));
        history.begin(flushed.plus(1), settings.dedup_window, settings.dedup_ids_max);
        let rows = Rows::read(Identities::new(history), events, rejections, partition, log.start());
        let rows = rows.map_err(|error| Refusal::Away(error.to_string()))?;
        let mut partition = replay::Partition {
            id: partition,
            log: log.as_ref(),
            flushed,
            rejections_flushed: rejections.flushed(partition),
            has_ledger: events.info(partition).is_some(),
            removed: (events.removed(partition).total(), rejections.removed(partition).total()),
            info,
            rows,
        };
        ledger.merge(&replay::check(&mut partition, draft));
    }
    draft.ledger = ledger
        .iter()
        .map(|(token, counts)| LedgerLine {
            token: token.to_owned(),
            received: counts.received,
            stored: counts.stored,
            duplicate: counts.duplicate,
            rejected: counts.rejected,
        })
        .collect();
    Ok(())
}
