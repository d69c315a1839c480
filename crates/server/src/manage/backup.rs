//! A copy of everything, as one stream, while the service goes on.
//!
//! ```text
//! {"file":"table/events/_delta_log/00000000000000000000.json","bytes":1311}
//! {"chunk":1311}                 so many bytes follow, as they are
//! …
//! {"sha256":"9f86d0…"}           of the file that ends here
//! {"files":214,"bytes":…,"offset":"4711","version":97,"made_at":"…"}      the end; without it the copy is no copy
//! {"error":"…"}                  in place of any line: it broke off
//! ```
//!
//! Data files are checked against the hashes in the table while they are read: rot is not copied but named.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use axum::{Extension, Router};
use bytes::Bytes;
use eye_event::Timestamp;
use eye_store::{BackupFile, BackupFiles};
use futures_util::stream;
use http::header;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::runtime::Handle;
use tokio::sync::mpsc::{self, Sender};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::blocking;
use crate::ask::params::Params;
use crate::auth::Admin;
use crate::error::{ApiError, ApiResult, Code};
use crate::state::AppState;

/// What is read of a file at a time, and lies in memory.
const CHUNK_BYTES: usize = 1 << 20;
/// Pieces of the stream that wait for the client.
const PIECES_MAX: usize = 2;
/// A client that takes nothing for so long is gone: what it holds must go some day.
const STALL_MAX: Duration = Duration::from_secs(60);
const GONE: &str = "the client took nothing more";
/// What the stream is.
pub(super) const MEDIA_TYPE: &str = "application/vnd.eye.backup";

/// The seat of the one backup that is made at a time.
#[derive(Clone)]
struct Seat(Arc<Semaphore>);

/// The routes of this file.
pub(super) fn routes() -> Router<AppState> {
    Router::new().route("/v1/backup", get(backup)).layer(Extension(Seat(Arc::new(Semaphore::new(1)))))
}

async fn backup(
    State(state): State<AppState>,
    Extension(Seat(seat)): Extension<Seat>,
    _: Admin,
    RawQuery(query): RawQuery,
) -> ApiResult<Response> {
    Params::read(query.as_deref(), &[])?;
    let seat = seat.try_acquire_owned().map_err(|_| {
        ApiError::new(Code::Busy, "a backup is being made already: ask again when it is done".to_owned())
    })?;
    let (made_at, of_state) = (state.clock.now(), state.clone());
    let files = blocking(move || files(&of_state)).await??;
    let (sender, receiver) = mpsc::channel(PIECES_MAX);
    let stream = Stream { state, sender, handle: Handle::current(), made_at };
    tokio::task::spawn_blocking(move || stream.send(files, seat));
    let pieces =
        stream::unfold(receiver, async |mut receiver| Some((Ok::<_, Infallible>(receiver.recv().await?), receiver)));
    let headers = [(header::CONTENT_TYPE, MEDIA_TYPE), (header::CACHE_CONTROL, "no-store")];
    Ok((headers, Body::from_stream(pieces)).into_response())
}

/// All files of the copy. Blocks.
fn files(state: &AppState) -> ApiResult<BackupFiles> {
    let mut files = state.store.backup_files()?;
    // After the events: whatever token sent one of them is in it.
    let registry = state.registry.files()?;
    files.extend(registry.into_iter().map(|file| BackupFile::of_log("registry", file)));
    let partitions = Bytes::from(format!("{}\n", state.settings.partitions));
    files.extend([BackupFile::in_memory("partitions".to_owned(), partitions)]);
    Ok(files)
}

/// The way to the client.
struct Stream {
    state: AppState,
    sender: Sender<Bytes>,
    handle: Handle,
    made_at: Timestamp,
}

impl Stream {
    /// Sends everything. Blocks.
    fn send(&self, files: BackupFiles, seat: OwnedSemaphorePermit) {
        let sent = self.send_files(&files);
        let count = files.files().len();
        let end = match &sent {
            Ok(bytes) => json!({
                "files": count,
                "bytes": bytes,
                "offset": files.position().to_string(),
                "version": files.version(),
                "made_at": self.made_at.to_string(),
            }),
            Err(error) => json!({"error": error}),
        };
        // Whoever has read the end may begin the next one.
        drop((files, seat));
        let is_told = self.line(&end).is_ok();
        match sent {
            Ok(bytes) if is_told => tracing::info!(files = count, bytes, "a backup was made"),
            Ok(_) => tracing::warn!(error = GONE, "a backup broke off"),
            Err(error) => tracing::warn!(error, "a backup broke off"),
        }
    }

    /// Sends the files; how many bytes they are.
    fn send_files(&self, files: &BackupFiles) -> Result<u64, String> {
        let mut bytes = 0;
        for file in files.files() {
            self.send_file(file)?;
            bytes += file.bytes();
        }
        Ok(bytes)
    }

    fn send_file(&self, file: &BackupFile) -> Result<(), String> {
        self.line(&json!({"file": file.path(), "bytes": file.bytes()}))?;
        let (mut hasher, mut position) = (Sha256::new(), 0);
        loop {
            if self.state.shutdown.is_stopping() {
                return Err("the service is stopping: make the backup again when it runs".to_owned());
            }
            let chunk = file.read(position, CHUNK_BYTES).map_err(|error| error.to_string())?;
            if chunk.is_empty() {
                break;
            }
            hasher.update(&chunk);
            position += chunk.len() as u64;
            self.line(&json!({"chunk": chunk.len()}))?;
            self.piece(chunk)?;
        }
        let hash: String = hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        if file.hash().is_some_and(|expected| expected.to_string() != hash) {
            let path = file.path();
            return Err(format!("{path} is not what was written: it has rotted, restore it from an older backup"));
        }
        self.line(&json!({"sha256": hash}))
    }

    fn line(&self, line: &Value) -> Result<(), String> {
        self.piece(Bytes::from(format!("{line}\n")))
    }

    fn piece(&self, piece: Bytes) -> Result<(), String> {
        self.handle.block_on(self.sender.send_timeout(piece, STALL_MAX)).map_err(|_| GONE.to_owned())
    }
}
