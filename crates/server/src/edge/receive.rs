//! Receiving the frames of a body: never more bytes than its limit, against the clock, charged to the budget.
//!
//! A body that is whole in its first frame, as nearly every small one is, is not copied.

use std::fmt::Display;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::Body;
use tokio::time::{Instant, timeout_at};

use super::budget::{Charge, too_large};
use crate::error::{ApiError, ApiResult, Code};

/// Set aside at most for a body because its head says so; more only as it comes.
const RESERVED_BYTES_MAX: usize = 256 * 1024;

/// What a body may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ReceiveLimits {
    /// Its bytes on the wire.
    pub(crate) bytes_max: usize,
    /// The whole of it must have come within this.
    pub(crate) time_max: Duration,
    /// Longest pause between two frames.
    pub(crate) idle_max: Duration,
}

/// All frames of the body, of which `expected` bytes were announced. The clock runs for each frame and for the whole.
pub(crate) async fn receive<B>(
    body: &mut B,
    expected: usize,
    limits: &ReceiveLimits,
    charge: &mut Charge,
) -> ApiResult<Bytes>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Display,
{
    let mut first = Bytes::new();
    let mut rest = BytesMut::new();
    let mut length = 0;
    let end = Instant::now() + limits.time_max;
    while let Some(bytes) = next_frame(body, end, limits.idle_max).await? {
        length += bytes.len();
        if length > limits.bytes_max {
            return Err(too_large(limits.bytes_max));
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

/// The next frame that holds data, before `end` and after a pause of `idle_max` at most; `None` at the end of the body.
pub(crate) async fn next_frame<B>(body: &mut B, end: Instant, idle_max: Duration) -> ApiResult<Option<Bytes>>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Display,
{
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_body_in_frames_is_put_together_and_a_slow_one_times_out() {
        let stream =
            futures_util::stream::iter(["ab", "", "cd"].map(|part| Ok::<_, std::io::Error>(Bytes::from(part))));
        let mut body = axum::body::Body::from_stream(stream);
        let far = Instant::now() + Duration::from_secs(100);
        let mut got = Vec::new();
        while let Some(bytes) = next_frame(&mut body, far, Duration::from_secs(1)).await.unwrap() {
            got.extend_from_slice(&bytes);
        }
        assert_eq!(got, b"abcd");
        let mut silent =
            axum::body::Body::from_stream(futures_util::stream::pending::<Result<Bytes, std::io::Error>>());
        let error = next_frame(&mut silent, Instant::now(), Duration::from_secs(1)).await.unwrap_err();
        assert_eq!(error.code(), Code::RequestTimeout);
    }
}
