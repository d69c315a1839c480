//! An answer over HTTP/2 that its client does not take is given up.
//!
//! Such a client may answer every ping and never open the window of a stream. Then nothing is written that
//! [`super::stream`] could bound, and hyper asks the body for nothing more, so that not even an error of the body would
//! be seen. The clock is therefore kept by whoever runs the answer as a whole, [`Answers`]. When it is over, all of the
//! answer is dropped, with the snapshot and the place that it holds, and its stream is reset; the others of the
//! connection go on.
//!
//! The rule: the clock runs only while a piece of the body waits for the client, and begins anew with each piece. A body
//! that has nothing to say, such as a live tail's, may be silent for as long as it likes. Pieces are small; what a window
//! took at once a client may read slowly before it opens the window again ([`SLOWEST_BYTES_PER_SECOND`]), so that a slow
//! one is not taken for one that has stopped. The last piece is h2's once the window is open at all: it is all
//! that may stay of an answer that is over, and holds nothing but its bytes.

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::Version;
use hyper::body::{Frame, SizeHint};
use hyper::rt::Executor;
use tokio::time::{Sleep, sleep};

use crate::metrics::Metrics;

/// At most so much is handed over at once: a frame of HTTP/2, unless its client asks for larger ones.
const PIECE_BYTES: usize = 16 * 1024;
/// A client that reads as slowly as this has time for what its window took at once: many open it again only when they
/// have read half of it.
const SLOWEST_BYTES_PER_SECOND: u64 = 32 * 1024;
/// It has no more than this in addition, however large the window.
const MORE_TIME_MAX: Duration = Duration::from_secs(600);

/// An answer as a connection gives it.
pub(super) type Answer = http::Response<AnswerBody>;

/// How answers in this version of HTTP are given: over HTTP/2 in pieces.
pub(super) fn given(version: Version) -> fn(Response) -> Answer {
    if version == Version::HTTP_2 { in_pieces } else { as_it_is }
}

fn in_pieces(response: Response) -> Answer {
    response.map(|body| AnswerBody::new(body, PIECE_BYTES))
}

fn as_it_is(response: Response) -> Answer {
    response.map(|body| AnswerBody::new(body, usize::MAX))
}

/// What the body of an answer did last.
#[derive(Clone, Copy)]
enum Did {
    /// It gave pieces of so many bytes, which now wait for the client.
    Give(u64),
    /// It gave nothing: it waits for what it is made of, or is over.
    Nothing,
}

tokio::task_local! {
    /// What the body of the answer that is being polled did last; `None` if it was not asked.
    static DID: Cell<Option<Did>>;
}

fn note(did: Did) {
    // Over HTTP/1 nobody wants to know: an answer that is not taken is a write that makes no progress.
    let _ = DID.try_with(|cell| {
        cell.set(Some(match (cell.get(), did) {
            (Some(Did::Give(before)), Did::Give(bytes)) => Did::Give(before.saturating_add(bytes)),
            _ => did,
        }));
    });
}

/// The body of an answer, which says what it does.
pub(super) struct AnswerBody {
    body: Body,
    /// What is left of what the body gave last.
    rest: Bytes,
    piece_bytes_max: usize,
}

impl AnswerBody {
    fn new(body: Body, piece_bytes_max: usize) -> Self {
        Self { body, rest: Bytes::new(), piece_bytes_max }
    }
}

impl hyper::body::Body for AnswerBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if self.rest.is_empty() {
            let frame = match Pin::new(&mut self.body).poll_frame(context) {
                Poll::Ready(Some(Ok(frame))) => frame,
                other => {
                    note(Did::Nothing);
                    return other;
                }
            };
            match frame.into_data() {
                Ok(data) => self.rest = data,
                Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
            }
        }
        let length = self.rest.len().min(self.piece_bytes_max);
        note(Did::Give(length as u64));
        Poll::Ready(Some(Ok(Frame::data(self.rest.split_to(length)))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (left, rest) = (self.body.size_hint(), self.rest.len() as u64);
        let mut hint = SizeHint::new();
        hint.set_lower(left.lower().saturating_add(rest));
        if let Some(upper) = left.upper() {
            hint.set_upper(upper.saturating_add(rest));
        }
        hint
    }
}

/// Runs the answers of HTTP/2, each for as long as its client takes it.
#[derive(Clone)]
pub(super) struct Answers {
    idle_max: Duration,
    metrics: Metrics,
}

impl Answers {
    /// An answer of which nothing is taken for `idle_max` is given up.
    pub(super) fn new(idle_max: Duration, metrics: Metrics) -> Self {
        Self { idle_max, metrics }
    }
}

impl<F> Executor<F> for Answers
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, answer: F) {
        let Self { idle_max, metrics } = self.clone();
        tokio::spawn(async move {
            let mut answer = pin!(answer);
            if !is_taken(answer.as_mut(), idle_max).await {
                metrics.answers_stalled.inc();
                tracing::debug!("an answer was given up: its client takes nothing of it");
            }
        });
    }
}

/// Runs an answer. False if its client took nothing of it for so long: then it is to be dropped.
async fn is_taken(mut answer: Pin<&mut impl Future>, idle_max: Duration) -> bool {
    let mut waits: Option<Pin<Box<Sleep>>> = None;
    poll_fn(|context| {
        let poll = || (answer.as_mut().poll(context).is_ready(), DID.with(Cell::get));
        let (is_over, did) = DID.sync_scope(Cell::new(None), poll);
        if is_over {
            return Poll::Ready(true);
        }
        match did {
            Some(Did::Give(bytes)) => waits = Some(Box::pin(sleep(idle_max.saturating_add(more_time(bytes))))),
            Some(Did::Nothing) => waits = None,
            None => {}
        }
        match &mut waits {
            Some(waits) => waits.as_mut().poll(context).map(|()| false),
            None => Poll::Pending,
        }
    })
    .await
}

/// What it takes a slow client to read so many bytes.
fn more_time(bytes: u64) -> Duration {
    Duration::from_millis(bytes.saturating_mul(1000) / SLOWEST_BYTES_PER_SECOND).min(MORE_TIME_MAX)
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::future::pending;

    use futures_util::{StreamExt as _, stream};
    use http_body_util::BodyExt as _;
    use hyper::body::Body as _;
    use tokio::time::timeout;

    use super::*;

    const SHORT: Duration = Duration::from_millis(10);
    /// Nothing here takes so long unless it hangs.
    const PATIENCE: Duration = Duration::from_secs(30);

    fn body(version: Version, body: impl Into<Body>) -> AnswerBody {
        given(version)(Response::new(body.into())).into_body()
    }

    /// Gives these pieces, then nothing, and has no end.
    fn endless(pieces: &[&'static str]) -> AnswerBody {
        let pieces: Vec<_> =
            pieces.iter().map(|piece| Ok::<_, Infallible>(Bytes::from_static(piece.as_bytes()))).collect();
        body(Version::HTTP_2, Body::from_stream(stream::iter(pieces).chain(stream::pending())))
    }

    #[tokio::test]
    async fn a_body_comes_whole_and_over_http_2_in_pieces() {
        let bytes: Vec<u8> = (0..40_000_u32).map(|number| (number % 251) as u8).collect();
        for (version, lengths) in [(Version::HTTP_2, vec![16_384, 16_384, 7_232]), (Version::HTTP_11, vec![40_000])] {
            let mut body = body(version, bytes.clone());
            let (mut found, mut pieces) = (Vec::new(), Vec::new());
            while !body.is_end_stream() {
                assert_eq!(body.size_hint().exact(), Some((bytes.len() - found.len()) as u64));
                let piece = body.frame().await.unwrap().unwrap().into_data().unwrap();
                pieces.push(piece.len());
                found.extend_from_slice(&piece);
            }
            assert_eq!((pieces, &found), (lengths, &bytes));
            assert!(body.frame().await.is_none());
        }
        assert!(body(Version::HTTP_2, Body::empty()).is_end_stream());
    }

    #[tokio::test]
    async fn an_answer_that_waits_for_its_client_is_given_up() {
        let answer = async {
            let mut body = endless(&["piece"]);
            let piece = body.frame().await;
            pending::<()>().await;
            drop((piece, body));
        };
        assert_eq!(timeout(PATIENCE, is_taken(pin!(answer), SHORT)).await, Ok(false));
    }

    #[tokio::test]
    async fn an_answer_whose_client_waits_goes_on() {
        let answer = async {
            let mut body = endless(&["piece", "another"]);
            while timeout(SHORT * 10, body.frame()).await.is_ok() {}
        };
        assert_eq!(timeout(PATIENCE, is_taken(pin!(answer), SHORT)).await, Ok(true));
        // Nor is one given up that is still being made.
        assert!(timeout(PATIENCE, is_taken(pin!(sleep(SHORT * 10)), SHORT)).await.unwrap());
    }
}
