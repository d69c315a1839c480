//! Reading a body: with a limit, against the clock, charged to a budget that all requests share.
//!
//! Authenticate first, then read: only [`read_unauthenticated`] reads for somebody unknown, and little, out of the share
//! of the budget that strangers have.

use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http::{HeaderMap, header};
use hyper::body::Body as _;
use tokio::time::Instant;

use super::budget::{Charge, STRANGER_BYTES_MAX, too_large};
use super::decompress::{Encoding, decompress};
use super::receive::{ReceiveLimits, next_frame, receive};
use crate::error::{ApiError, ApiResult, Code};
use crate::state::AppState;

/// Read at most of a body of the managing routes.
const SMALL_BYTES_MAX: usize = 64 * 1024;
/// What is thrown away of a body that was refused, so that the client gets to read why.
const DISCARDED_BYTES_MAX: usize = 64 << 20;
/// How long that may take.
const DISCARD_TIME_MAX: Duration = Duration::from_secs(5);

/// A whole body, decompressed; charged to the budget as long as it lives.
#[derive(Debug)]
pub(crate) struct Received {
    /// The bytes.
    pub(crate) bytes: Bytes,
    /// How many bytes came over the wire.
    pub(crate) wire_bytes: usize,
    _charge: Charge,
}

/// Reads and decompresses the body of an authenticated request.
pub(crate) async fn read(state: &AppState, headers: &HeaderMap, body: Body) -> ApiResult<Received> {
    read_up_to(state, headers, body, state.settings.body_bytes_max, true).await
}

/// The same for a stranger, who may have put a token into the body, with a small limit.
pub(crate) async fn read_unauthenticated(state: &AppState, headers: &HeaderMap, body: Body) -> ApiResult<Received> {
    let bytes_max = STRANGER_BYTES_MAX.min(state.settings.body_bytes_max);
    read_up_to(state, headers, body, bytes_max, false).await
}

/// Reads a small JSON body. `T` should refuse unknown fields.
pub(crate) async fn read_json<T: serde::de::DeserializeOwned>(state: &AppState, body: Body) -> ApiResult<T> {
    let received = read_up_to(state, &HeaderMap::new(), body, SMALL_BYTES_MAX, true).await?;
    if received.bytes.is_empty() {
        return Err(ApiError::new(Code::EmptyBody, "the body is empty: send a JSON object"));
    }
    serde_json::from_slice(&received.bytes)
        .map_err(|error| if error.is_data() { ApiError::invalid_body("", error.to_string()) } else { not_json(&error) })
}

fn not_json(error: &serde_json::Error) -> ApiError {
    ApiError::new(Code::NotJson, format!("the body is not JSON: {error}"))
}

async fn read_up_to(
    state: &AppState,
    headers: &HeaderMap,
    mut body: Body,
    bytes_max: usize,
    is_known: bool,
) -> ApiResult<Received> {
    let read = async {
        let encoding = Encoding::of(headers)?;
        let declared = content_length(headers).or(body.size_hint().exact()).unwrap_or(0);
        if declared > bytes_max as u64 {
            return Err(too_large(bytes_max));
        }
        let charge = if is_known { state.budget.charge(0) } else { state.budget.charge_stranger(0) };
        let mut charge = charge?;
        let expected = usize::try_from(declared).unwrap_or(usize::MAX).min(bytes_max);
        let limits = ReceiveLimits {
            bytes_max,
            time_max: if is_known { state.settings.body_timeout } else { stranger_time_max(state) },
            idle_max: state.settings.body_idle_timeout,
        };
        let raw = receive(&mut body, expected, &limits, &mut charge).await?;
        Ok((encoding, raw, charge))
    };
    let (encoding, raw, charge) = match read.await {
        Ok(read) => read,
        Err(error) => {
            if is_known && matches!(error.code(), Code::BodyTooLarge | Code::UnsupportedMediaType | Code::Busy) {
                discard(&mut body).await;
            }
            return Err(error);
        }
    };
    let wire_bytes = raw.len();
    let (bytes, charge) = decompress(encoding, raw, bytes_max, charge, &state.decompressing).await?;
    Ok(Received { bytes, wire_bytes, _charge: charge })
}

/// A stranger's body is as small as a head, and has no more time than one.
fn stranger_time_max(state: &AppState) -> Duration {
    state.settings.header_timeout.min(state.settings.body_timeout)
}

fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Throws the rest of a refused body away: a client that is still sending would otherwise see its connection reset
/// instead of the reason.
async fn discard(body: &mut Body) {
    let mut left = DISCARDED_BYTES_MAX;
    let end = Instant::now() + DISCARD_TIME_MAX;
    while let Ok(Some(bytes)) = next_frame(body, end, DISCARD_TIME_MAX).await {
        left = left.saturating_sub(bytes.len());
        if left == 0 {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use eye_log::memory::MemoryLog;
    use futures_util::{StreamExt as _, stream};
    use tokio::runtime::Runtime;
    use tokio::time::timeout;

    use super::*;
    use crate::config::Settings;
    use crate::state::testing;

    /// A body of which this much comes, and then nothing.
    fn held_body(bytes: usize) -> Body {
        let begun = stream::iter([Ok::<_, std::io::Error>(Bytes::from(vec![b' '; bytes]))]);
        Body::from_stream(begun.chain(stream::pending()))
    }

    #[test]
    fn strangers_that_hold_their_bodies_leave_room_for_others() {
        let runtime = Runtime::new().unwrap();
        let settings = Settings { body_budget_bytes_max: 8 << 20, ..Settings::defaults().unwrap() };
        let state = testing::state(&runtime, settings, Arc::new(MemoryLog::new()));
        let headers = HeaderMap::new();
        runtime.block_on(async {
            let mut refused = 0;
            let mut held = Vec::new();
            for _ in 0..20 {
                let mut stranger = Box::pin(read_unauthenticated(&state, &headers, held_body(600 << 10)));
                let answer = timeout(Duration::from_millis(1), stranger.as_mut()).await;
                match answer {
                    Ok(answer) => {
                        assert_eq!(answer.unwrap_err().code(), Code::Busy);
                        refused += 1;
                    }
                    Err(_) => held.push(stranger),
                }
            }
            assert_eq!((held.len(), refused), (1, 19));
            let received = read(&state, &headers, Body::from(vec![b' '; 7 << 20])).await.unwrap();
            assert_eq!(received.bytes.len(), 7 << 20);
            drop((held, received));
            assert_eq!(state.budget.used(), 0);
        });
        state.store.abandon();
    }
}
