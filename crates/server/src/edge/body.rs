//! Reading a body: with a limit, against the clock, charged to a budget that all requests share.
//!
//! Authenticate first, then read: only [`read_unauthenticated`] reads for somebody unknown, and little. A body that is
//! whole in its first frame, as nearly every small one is, is not copied.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, header};
use http_body_util::BodyExt;
use hyper::body::Body as _;
use tokio::time::{Instant, timeout_at};

use super::decompress::{Encoding, decompress};
use crate::error::{ApiError, ApiResult, Code};
use crate::state::AppState;

/// Read at most for somebody who may have put a token into the body.
const UNAUTHENTICATED_BYTES_MAX: usize = 1 << 20;
/// Read at most of a body of the managing routes.
const SMALL_BYTES_MAX: usize = 64 * 1024;
/// Set aside at most for a body because its head says so; more only as it comes.
const RESERVED_BYTES_MAX: usize = 256 * 1024;
/// What is thrown away of a body that was refused, so that the client gets to read why.
const DISCARDED_BYTES_MAX: usize = 64 << 20;
/// How long that may take.
const DISCARD_TIME_MAX: Duration = Duration::from_secs(5);

/// How many bytes of bodies may be in memory at once. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct BodyBudget(Arc<Budget>);

#[derive(Debug)]
struct Budget {
    used: AtomicUsize,
    max: usize,
}

/// Bytes charged to the budget; given back when dropped.
#[derive(Debug)]
pub(crate) struct Charge {
    budget: BodyBudget,
    bytes: usize,
}

impl BodyBudget {
    /// A budget of `max` bytes.
    pub(crate) fn new(max: usize) -> Self {
        Self(Arc::new(Budget { used: AtomicUsize::new(0), max }))
    }

    /// Bytes charged now.
    pub(crate) fn used(&self) -> usize {
        self.0.used.load(Ordering::Relaxed)
    }

    /// Charges bytes, if they fit.
    pub(crate) fn charge(&self, bytes: usize) -> ApiResult<Charge> {
        let mut charge = Charge { budget: self.clone(), bytes: 0 };
        charge.grow(bytes)?;
        Ok(charge)
    }
}

impl Charge {
    /// Charges more, if it fits.
    pub(crate) fn grow(&mut self, bytes: usize) -> ApiResult<()> {
        let budget = &self.budget.0;
        let before = budget.used.fetch_add(bytes, Ordering::Relaxed);
        if before.saturating_add(bytes) > budget.max {
            budget.used.fetch_sub(bytes, Ordering::Relaxed);
            let detail = "too many bytes of requests are in flight: try again in a moment";
            return Err(ApiError::new(Code::Busy, detail));
        }
        self.bytes += bytes;
        Ok(())
    }

    /// Gives some back.
    pub(crate) fn shrink(&mut self, bytes: usize) {
        let bytes = bytes.min(self.bytes);
        self.budget.0.used.fetch_sub(bytes, Ordering::Relaxed);
        self.bytes -= bytes;
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.shrink(self.bytes);
    }
}

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

/// The same for somebody who has not said who they are, with a small limit.
pub(crate) async fn read_unauthenticated(state: &AppState, headers: &HeaderMap, body: Body) -> ApiResult<Received> {
    let bytes_max = UNAUTHENTICATED_BYTES_MAX.min(state.settings.body_bytes_max);
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

/// The error for a body above its limit.
pub(crate) fn too_large(bytes_max: usize) -> ApiError {
    let detail = format!("the body is larger than {bytes_max} bytes after decompression: send fewer events at a time");
    ApiError::new(Code::BodyTooLarge, detail)
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
        let mut charge = state.budget.charge(0)?;
        let expected = usize::try_from(declared).unwrap_or(usize::MAX).min(bytes_max);
        let raw = receive(state, &mut body, expected, bytes_max, &mut charge).await?;
        Ok((encoding, raw, charge))
    };
    let (encoding, raw, charge) = match read.await {
        Ok(read) => read,
        Err(error) => {
            if is_known && matches!(error.code(), Code::BodyTooLarge | Code::UnsupportedMediaType) {
                discard(&mut body).await;
            }
            return Err(error);
        }
    };
    let wire_bytes = raw.len();
    let (bytes, charge) = decompress(encoding, raw, bytes_max, charge, &state.decompressing).await?;
    Ok(Received { bytes, wire_bytes, _charge: charge })
}

fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// All frames of the body, of which `expected` bytes were announced. The clock runs for each frame and for the whole.
async fn receive(
    state: &AppState,
    body: &mut Body,
    expected: usize,
    bytes_max: usize,
    charge: &mut Charge,
) -> ApiResult<Bytes> {
    let mut first = Bytes::new();
    let mut rest = BytesMut::new();
    let mut length = 0;
    let end = Instant::now() + state.settings.body_timeout;
    while let Some(bytes) = next_frame(body, end, state.settings.body_idle_timeout).await? {
        length += bytes.len();
        if length > bytes_max {
            return Err(too_large(bytes_max));
        }
        charge.grow(bytes.len())?;
        if first.is_empty() {
            first = bytes;
            if body.is_end_stream() {
                break;
            }
            continue;
        }
        if rest.is_empty() {
            rest.reserve((first.len() + bytes.len()).max(expected.min(RESERVED_BYTES_MAX)));
            rest.extend_from_slice(&first);
        }
        rest.extend_from_slice(&bytes);
    }
    Ok(if rest.is_empty() { first } else { rest.freeze() })
}

async fn next_frame(body: &mut Body, end: Instant, idle_max: Duration) -> ApiResult<Option<Bytes>> {
    loop {
        let deadline = end.min(Instant::now() + idle_max);
        let frame = timeout_at(deadline, body.frame()).await.map_err(|_| {
            ApiError::new(Code::RequestTimeout, "the body came too slowly: send it in one go, or in smaller requests")
        })?;
        match frame {
            None => return Ok(None),
            Some(Ok(frame)) => {
                // Trailers carry nothing for us.
                if let Ok(bytes) = frame.into_data()
                    && !bytes.is_empty()
                {
                    return Ok(Some(bytes));
                }
            }
            Some(Err(error)) => {
                return Err(ApiError::invalid_body("", format!("the body did not come whole: {error}")));
            }
        }
    }
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
    use super::*;

    #[test]
    fn the_budget_is_never_exceeded_and_always_given_back() {
        let budget = BodyBudget::new(100);
        let mut first = budget.charge(60).unwrap();
        assert_eq!(budget.charge(50).unwrap_err().code(), Code::Busy);
        assert_eq!(budget.used(), 60);
        first.grow(40).unwrap();
        assert!(first.grow(1).is_err());
        first.shrink(30);
        let second = budget.charge(30).unwrap();
        assert_eq!(budget.used(), 100);
        drop(first);
        drop(second);
        assert_eq!(budget.used(), 0);
    }

    #[tokio::test]
    async fn a_body_in_frames_is_put_together_and_a_slow_one_times_out() {
        let stream =
            futures_util::stream::iter(["ab", "", "cd"].map(|part| Ok::<_, std::io::Error>(Bytes::from(part))));
        let mut body = Body::from_stream(stream);
        let far = Instant::now() + Duration::from_secs(100);
        let mut got = Vec::new();
        while let Some(bytes) = next_frame(&mut body, far, Duration::from_secs(1)).await.unwrap() {
            got.extend_from_slice(&bytes);
        }
        assert_eq!(got, b"abcd");
        let mut silent = Body::from_stream(futures_util::stream::pending::<Result<Bytes, std::io::Error>>());
        let error = next_frame(&mut silent, Instant::now(), Duration::from_secs(1)).await.unwrap_err();
        assert_eq!(error.code(), Code::RequestTimeout);
    }
}
