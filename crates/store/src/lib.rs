//! From the log to the table: apply, hot buffer, dedup, flush, snapshot.
//!
//! State = table@version ∪ log(offset > flushed). The hot buffer is fed only by reading the log, so live traffic,
//! recovery and a second node are one code path. `flushed` moves only inside the table's own commits.
//!
//! | module | what it holds |
//! |---|---|
//! | [`store`] | [`Store`]: open, ingest, snapshot, flush, close |
//! | `request` | one request's entries on their way to the log, and what became of each |
//! | `apply` | from log records to the hot buffer, with dedup and the ledger |
//! | `buffer` | the hot buffer: rows since the last flush, with a session index |
//! | [`dedup`] | the exact window of event ids |
//! | `flush` | from the hot buffer to the table, then away from the log |
//! | `compact` | small files of the table are merged, and old ones go |
//! | `erase`, `mask` | rows that somebody wants gone: hidden at once, then taken out of everything |
//! | `retention` | rows that are too old go |
//! | `believed` | whether the clock is believed before something goes because of its age |
//! | `backup` | the files of one moment, for a copy of the store |
//! | `recall` | the dedup window, read back while the store is open |
//! | `recover` | what the table has, before the log is replayed over it |
//! | [`snapshot`] | an immutable read view: table ∪ hot buffer |
//! | `hot_rows` | sealed rows on their way to the table |
//! | `threads` | the store's threads |
//! | `ledger`, `position`, `partition` | the books; a place in every log; one partition at work |
//! | `live` | following stored events as they are applied |
//! | [`table`] | Parquet files and Delta commits |
//! | [`columns`] | events and rejections as Arrow columns |
//! | [`invariants`] | what must always hold, as named predicates |

mod apply;
mod backup;
mod believed;
mod buffer;
pub mod columns;
mod compact;
pub mod dedup;
mod erase;
mod error;
mod event;
mod flush;
mod hot_rows;
pub mod invariants;
mod ledger;
mod live;
mod mask;
mod partition;
mod position;
mod recall;
mod recover;
mod request;
mod retention;
mod settings;
pub mod snapshot;
mod status;
pub mod store;
pub mod table;
mod threads;

pub use backup::{BackupFile, BackupFiles};
pub use columns::Columns;
pub use compact::{CompactReport, CompactionFigures, VACUUM_EVERY};
pub use dedup::{DedupHistory, DedupRule};
pub use erase::{ErasurePreview, Selection};
pub use error::{Error, Kind, Result};
pub use event::{SortKey, Stored, StoredEvent, StoredRejection};
pub use ledger::{Counts, Ledger};
pub use live::{Gap, LiveStep, LiveTail};
pub use position::{ParsePositionError, Position};
pub use recover::CommitInfo;
pub use request::{Outcome, Request};
pub use retention::{RetentionFigures, RetentionReport, RetentionRule};
pub use settings::{DedupRecall, StoreSettings};
pub use snapshot::{Origin, Slice, Snapshot};
pub use status::Status;
pub use store::{FlushReport, OpenReport, Store};
pub use table::{
    Erasure, ErasureState, ErasureWork, IdKey, NOBODY, Removal, Removed, Runs, Table, TableKind, TableOptions,
    data_column, id_key,
};
pub use threads::{give_way, give_way_to_small};
