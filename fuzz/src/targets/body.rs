//! The compressed body reader: never more bytes than the limit, never more than the budget, memory in proportion to the
//! limit whatever the body claims to become; what a real encoder wrote comes back whole, and nothing stays charged.

use std::io::{Read, Write};
use std::sync::OnceLock;
use std::time::Duration;

use arbitrary::{Arbitrary, Unstructured};
use bytes::Bytes;
use tokio::runtime::Runtime;

use crate::error::Code;
use crate::memory::within;
use crate::server::edge::budget::BodyBudget;
use crate::server::edge::decompress::{DecodeTurns, Encoding, decompress};
use crate::server::edge::receive::{ReceiveLimits, receive};

#[derive(Debug, Arbitrary)]
enum Format {
    Identity,
    Gzip,
    Zlib,
    Deflate,
    Zstd,
    Brotli,
}

#[derive(Debug, Arbitrary)]
enum Content<'a> {
    /// These bytes, as they are.
    Raw(&'a [u8]),
    /// What an encoder makes of runs of bytes, and then perhaps one byte changed, some cut off or some added.
    Encoded { runs: Vec<(&'a [u8], u16)>, level: u8, change: Option<(u16, u8)>, cut: u8, tail: &'a [u8] },
}

#[derive(Debug, Arbitrary)]
struct Sent<'a> {
    format: Format,
    limit: u32,
    budget: u32,
    frames: Vec<u16>,
    announced: u32,
    content: Content<'a>,
}

/// Runs the target on one input, a plan of a request.
pub fn run(data: &[u8]) {
    let Ok(sent) = Sent::arbitrary_take_rest(Unstructured::new(data)) else { return };
    let bytes_max = sent.limit as usize % (1536 << 10) + 1;
    let budget = BodyBudget::new(bytes_max + sent.budget as usize % (4 << 20));
    let encoding = match sent.format {
        Format::Identity => Encoding::Identity,
        Format::Gzip => Encoding::Gzip,
        Format::Zlib | Format::Deflate => Encoding::Deflate,
        Format::Zstd => Encoding::Zstd,
        Format::Brotli => Encoding::Brotli,
    };
    let (wire, plain) = wire(&sent);
    // The output while it grows, the copy of the body, and the window of the decoder.
    let window = if encoding == Encoding::Brotli { 40 << 20 } else { 1 << 20 };
    let memory_max = window + 3 * (bytes_max + (64 << 10)) + 4 * wire.len();
    let (runtime, turns) = (runtime(), turns());
    let read = within(memory_max, || {
        runtime.block_on(async {
            let mut charge = budget.charge(0)?;
            let limits =
                ReceiveLimits { bytes_max, time_max: Duration::from_secs(60), idle_max: Duration::from_secs(60) };
            let expected = sent.announced as usize % (bytes_max + 1);
            let received = receive(&mut frames(&wire, &sent.frames), expected, &limits, &mut charge).await?;
            assert_eq!(received, wire, "frames were not put together");
            decompress(encoding, received, bytes_max, charge, turns).await
        })
    });
    match read {
        Ok((bytes, charge)) => {
            assert!(bytes.len() <= bytes_max, "more than the limit");
            assert!(budget.used() >= bytes.len(), "not charged");
            if let Some(plain) = &plain {
                assert!(bytes == plain, "something else came out than went in");
            }
            drop(charge);
        }
        Err(error) => {
            assert!(!error.detail().is_empty());
            assert!(matches!(error.code(), Code::BodyTooLarge | Code::Busy | Code::InvalidBody), "{error:?}");
            if let Some(plain) = &plain {
                assert_ne!(error.code(), Code::InvalidBody, "{error:?}");
                let is_large = plain.len() > bytes_max || wire.len() > bytes_max;
                assert!(error.code() == Code::Busy || is_large, "refused without a reason: {error:?}");
            }
        }
    }
    assert_eq!(budget.used(), 0, "something stays charged");
}

/// The bytes on the wire, and what they stand for if they are whole.
fn wire(sent: &Sent<'_>) -> (Bytes, Option<Vec<u8>>) {
    let (runs, level, change, cut, tail) = match &sent.content {
        Content::Raw(bytes) => {
            let plain = matches!(sent.format, Format::Identity).then(|| bytes.to_vec());
            return (Bytes::copy_from_slice(bytes), plain);
        }
        Content::Encoded { runs, level, change, cut, tail } => (runs, *level, *change, *cut, *tail),
    };
    let mut plain = Vec::new();
    for (run, times) in runs {
        let room = (2_usize << 20).saturating_sub(plain.len());
        plain.extend(run.iter().cycle().take((run.len() * usize::from(*times)).min(room)));
    }
    let mut wire = encode(&sent.format, level, &plain);
    let is_whole = change.is_none_or(|(_, mask)| mask == 0) && cut == 0 && tail.is_empty();
    if let Some((at, mask)) = change {
        let at = usize::from(at) % wire.len().max(1);
        if let Some(byte) = wire.get_mut(at) {
            *byte ^= mask;
        }
    }
    wire.truncate(wire.len().saturating_sub(cut.into()));
    wire.extend_from_slice(tail);
    (Bytes::from(wire), is_whole.then_some(plain))
}

fn encode(format: &Format, level: u8, plain: &[u8]) -> Vec<u8> {
    let deflate = flate2::Compression::new(u32::from(level % 10));
    let mut out = Vec::new();
    match format {
        Format::Identity => out.extend_from_slice(plain),
        Format::Gzip => _ = flate2::read::GzEncoder::new(plain, deflate).read_to_end(&mut out).expect("memory"),
        Format::Zlib => _ = flate2::read::ZlibEncoder::new(plain, deflate).read_to_end(&mut out).expect("memory"),
        Format::Deflate => _ = flate2::read::DeflateEncoder::new(plain, deflate).read_to_end(&mut out).expect("memory"),
        Format::Zstd => out = zstd::encode_all(plain, i32::from(level % 4)).expect("memory"),
        Format::Brotli => {
            let mut encoder = brotli::CompressorWriter::new(&mut out, 4096, u32::from(level % 3), 18);
            encoder.write_all(plain).expect("memory");
        }
    }
    out
}

/// The body in frames of these lengths, the rest in one.
fn frames(wire: &Bytes, lengths: &[u16]) -> Frames {
    let mut left = wire.clone();
    let mut frames: Vec<Bytes> = Vec::new();
    for length in lengths {
        frames.push(left.split_to(usize::from(*length).min(left.len())));
    }
    frames.push(left);
    frames.reverse();
    Frames(frames)
}

/// Frames, the last one first.
struct Frames(Vec<Bytes>);

impl hyper::body::Body for Frames {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        _context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<hyper::body::Frame<Bytes>, Self::Error>>> {
        std::task::Poll::Ready(self.0.pop().map(|bytes| Ok(hyper::body::Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_empty()
    }
}

/// As a server has them, once: one of them is a thread.
fn turns() -> &'static DecodeTurns {
    static TURNS: OnceLock<DecodeTurns> = OnceLock::new();
    TURNS.get_or_init(|| DecodeTurns::new(1).expect("a thread can be started"))
}

fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime can be built")
    })
}
