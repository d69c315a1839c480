//! `/healthz`, `/readyz`, `/metrics`: for supervisors and monitoring. Open to everybody: they tell figures, no events.
//!
//! The rule: whoever asks, and however often, keeps no thread of the runtime waiting. The store's figures wait for apply,
//! which may be at a large group or at the table's files.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Router};
use http::{StatusCode, header};
use tokio::sync::Mutex;

use crate::error::{ApiError, ApiResult};
use crate::state::AppState;

/// The routes of this file.
pub(crate) fn routes() -> Router<AppState> {
    Router::new()
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics).layer(Extension(Turns::default())))
}

/// Whose turn it is to ask. One at a time, so that however many ask, one thread for blocking work is taken at most.
#[derive(Clone, Default)]
struct Turns(Arc<Mutex<()>>);

impl Turns {
    /// The answer, from a thread that may wait.
    async fn ask<T: Send + 'static>(&self, state: &AppState, question: fn(&AppState) -> T) -> ApiResult<T> {
        let turn = Arc::clone(&self.0).lock_owned().await;
        let state = state.clone();
        let asked = tokio::task::spawn_blocking(move || {
            let answer = question(&state);
            // Only now, though whoever asked may have gone before: the thread was taken until here.
            drop(turn);
            answer
        });
        asked.await.map_err(|error| ApiError::internal(&error))
    }
}

/// 200 while the process runs and its event loop turns.
async fn healthz() -> &'static str {
    "ok\n"
}

/// 200 when events are taken and questions answered, else 503 and why.
async fn readyz(State(state): State<AppState>) -> Response {
    let (status, body) = match readiness(&state) {
        Ok(()) => (StatusCode::OK, serde_json::json!({ "ready": true })),
        Err(reason) => (StatusCode::SERVICE_UNAVAILABLE, serde_json::json!({ "ready": false, "reason": reason })),
    };
    (status, [(header::CONTENT_TYPE, "application/json")], body.to_string()).into_response()
}

/// `Err` with the reason if events are not taken.
pub(crate) fn readiness(state: &AppState) -> Result<(), String> {
    if state.shutdown.is_stopping() {
        return Err("the server is stopping".to_owned());
    }
    state.store.ready().map_err(|error| error.to_string())
}

async fn metrics(State(state): State<AppState>, Extension(turns): Extension<Turns>) -> ApiResult<Response> {
    let text = turns.ask(&state, |state| state.metrics.text(state)).await?;
    let text = text.map_err(|error| ApiError::internal(&error))?;
    Ok(([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response())
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use axum::body::Body;
    use eye_log::memory::MemoryLog;
    use eye_log::{Log, NewRecord, Offset, Record};
    use http::Request;
    use tokio::runtime::Builder;
    use tower::ServiceExt as _;

    use super::*;
    use crate::config::Settings;
    use crate::state::testing;

    /// A log that tells its size only when the test lets it: whoever wants the store's figures waits.
    #[derive(Default)]
    struct SlowLog {
        log: MemoryLog,
        size: parking_lot::Mutex<()>,
    }

    impl Log for SlowLog {
        fn append(&self, record: NewRecord) {
            self.log.append(record);
        }

        fn read(&self, from: Offset, bytes_max: usize) -> eye_log::Result<Vec<Record>> {
            self.log.read(from, bytes_max)
        }

        fn wait_past(&self, offset: Offset, timeout: Duration) -> eye_log::Result<Offset> {
            self.log.wait_past(offset, timeout)
        }

        fn start(&self) -> Offset {
            self.log.start()
        }

        fn end(&self) -> Offset {
            self.log.end()
        }

        fn trim(&self, before: Offset) -> eye_log::Result<()> {
            self.log.trim(before)
        }

        fn close(&self) -> eye_log::Result<()> {
            self.log.close()
        }

        fn bytes_on_disk(&self) -> u64 {
            drop(self.size.lock());
            self.log.bytes_on_disk()
        }

        fn health(&self) -> eye_log::Result<()> {
            self.log.health()
        }
    }

    async fn status_of(router: Router, path: &'static str) -> u16 {
        let request = Request::get(path).body(Body::empty()).unwrap();
        router.oneshot(request).await.unwrap().status().as_u16()
    }

    #[test]
    fn probes_that_wait_for_the_store_hold_up_nobody_else() {
        // One worker: whoever waits on it keeps everybody waiting.
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let log = Arc::new(SlowLog::default());
        let state = testing::state(&runtime, Settings::defaults().unwrap(), Arc::clone(&log) as eye_log::SharedLog);
        let router: Router = routes().with_state(state.clone());
        let held = log.size.lock();
        let ask = |path| runtime.spawn(status_of(router.clone(), path));
        let probes: Vec<_> = ["/metrics"; 10].into_iter().map(ask).collect();
        for path in ["/healthz", "/readyz"] {
            let (sender, receiver) = mpsc::channel();
            let status = status_of(router.clone(), path);
            runtime.spawn(async move { sender.send(status.await) });
            assert_eq!(receiver.recv_timeout(Duration::from_secs(30)), Ok(200), "{path}: the event loop stands still");
        }
        drop(held);
        for probe in probes {
            assert_eq!(runtime.block_on(probe).unwrap(), 200);
        }
        state.store.abandon();
    }
}
