//! Content-Encoding: gzip, zstd, deflate and brotli, with a limit on what comes out.
//!
//! 33 KB of zstd can become 1 GiB. So: the limit counts *decompressed* bytes and is checked after every step, every step
//! is charged to the budget of all bodies, windows are bounded (zstd 8 MiB, brotli 16 MiB by its format), only
//! one encoding is taken, and bytes after the end are refused. A body that grows suspiciously is measured first, keeping
//! nothing, and only then decoded: a bomb costs time, not memory, and others go first. Small bodies are decoded where
//! they are; what is not done after [`INLINE_BYTES_MAX`] goes on on a thread for blocking work, what is suspicious by then on
//! the one thread that gives way.

use std::io::{Cursor, Read};
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, header};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinHandle;

use super::budget::Charge;
use crate::error::{ApiError, ApiResult, Code};

/// Decoded at most on a thread of the runtime: about a tenth of a millisecond.
const INLINE_BYTES_MAX: usize = 64 * 1024;
/// One step: how much is decoded before the limits are looked at again.
const STEP_BYTES: usize = 64 * 1024;
/// A body that has become as large as this and has grown by more than [`SUSPICIOUS_RATIO`] so far is measured before it
/// is kept. Events as JSON grow by 5 to 30.
const SUSPICIOUS_BYTES: usize = INLINE_BYTES_MAX;
const SUSPICIOUS_RATIO: usize = 64;
/// 2^23 bytes: 8 MiB, the most that RFC 8878 wants every decoder to take.
const ZSTD_WINDOW_LOG_MAX: u32 = 23;
/// The first seven bits of "large window brotli", a bit pattern that RFC 7932 (9.1) forbids. Our decoder knows it, and would
/// take a window of up to 1 GiB for a few bytes.
const BROTLI_LARGE_WINDOW: u8 = 0x11;
/// brotli's input buffer.
const BROTLI_BUFFER_BYTES: usize = 4096;

/// How a body is encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encoding {
    /// As it is.
    Identity,
    /// RFC 1952.
    Gzip,
    /// RFC 1950, or RFC 1951 without the wrapper: clients send both under this name.
    Deflate,
    /// RFC 8878.
    Zstd,
    /// RFC 7932.
    Brotli,
}

impl Encoding {
    /// The one encoding that the headers name.
    pub(crate) fn of(headers: &HeaderMap) -> ApiResult<Self> {
        let mut values = headers.get_all(header::CONTENT_ENCODING).iter();
        let Some(value) = values.next() else { return Ok(Self::Identity) };
        let unsupported = || {
            let detail = "send one Content-Encoding: identity, gzip, zstd, deflate or br";
            ApiError::new(Code::UnsupportedMediaType, detail)
        };
        if values.next().is_some() {
            return Err(unsupported());
        }
        match value.to_str().unwrap_or_default().trim().to_ascii_lowercase().as_str() {
            "" | "identity" => Ok(Self::Identity),
            "gzip" | "x-gzip" => Ok(Self::Gzip),
            "deflate" => Ok(Self::Deflate),
            "zstd" => Ok(Self::Zstd),
            "br" => Ok(Self::Brotli),
            _ => Err(unsupported()),
        }
    }
}

/// How many bodies are decoded at once. One that looks like a bomb waits for a turn of its own, which nobody else waits for.
#[derive(Debug)]
pub(crate) struct DecodeTurns {
    usual: Arc<Semaphore>,
    suspicious: Arc<Semaphore>,
    /// The one thread that works on what looks like a bomb. It stays: the C library's allocator keeps a freed window of `zstd`
    /// for the thread that had it, so bombs on many threads in turn would leave many.
    thread: Option<Runtime>,
}

impl Drop for DecodeTurns {
    fn drop(&mut self) {
        if let Some(thread) = self.thread.take() {
            thread.shutdown_background();
        }
    }
}

impl DecodeTurns {
    /// So many usual ones, and one that looks like a bomb.
    ///
    /// # Errors
    /// What the system says if it has no thread for that one.
    pub(crate) fn new(at_once: usize) -> std::io::Result<Self> {
        let mut thread = Builder::new_multi_thread();
        thread.worker_threads(1).thread_name("decompress").on_thread_start(eye_store::give_way);
        Ok(Self {
            usual: Arc::new(Semaphore::new(at_once)),
            suspicious: Arc::new(Semaphore::new(1)),
            thread: Some(thread.build()?),
        })
    }

    /// Works on what looks like a bomb.
    fn spawn(&self, work: impl FnOnce() -> ApiResult<Work> + Send + 'static) -> ApiResult<JoinHandle<ApiResult<Work>>> {
        let thread = self.thread.as_ref().ok_or_else(|| ApiError::internal(&"its thread has ended"))?;
        Ok(thread.spawn(async { work() }))
    }
}

/// Decodes a body, at most `bytes_max` bytes of it.
pub(crate) async fn decompress(
    encoding: Encoding,
    input: Bytes,
    bytes_max: usize,
    charge: Charge,
    turns: &DecodeTurns,
) -> ApiResult<(Bytes, Charge)> {
    if encoding == Encoding::Identity {
        return Ok((input, charge));
    }
    // A turn ends with the work, also if nobody waits for that any more.
    let turn = take(&turns.usual).await?;
    let mut work = Work::new(encoding, input, bytes_max, charge)?;
    let mut step = work.run(INLINE_BYTES_MAX)?;
    if step == Step::Paused {
        let rest = move || {
            let _turn = turn;
            let step = work.run(usize::MAX)?;
            Ok((work, step))
        };
        (work, step) = ended(tokio::task::spawn_blocking(rest)).await?;
    } else {
        drop(turn);
    }
    if step == Step::Suspicious {
        // Whoever waits holds what came over the wire, no window and nothing decoded.
        let (input, charge) = work.give_back();
        let turn = take(&turns.suspicious).await?;
        let measured = move || {
            let _turn = turn;
            let mut work = Work::new(encoding, input, bytes_max, charge)?;
            work.measure()?;
            work.run(usize::MAX)?;
            Ok(work)
        };
        work = ended(turns.spawn(measured)?).await?;
    }
    Ok((Bytes::from(work.output), work.charge))
}

async fn take(turns: &Arc<Semaphore>) -> ApiResult<OwnedSemaphorePermit> {
    Arc::clone(turns).acquire_owned().await.map_err(|error| ApiError::internal(&error))
}

async fn ended<T>(work: JoinHandle<ApiResult<T>>) -> ApiResult<T> {
    work.await.map_err(|error| ApiError::internal(&error))?
}

/// How far a body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// It is decoded.
    Done,
    /// It has become as large as it may where it is decoded.
    Paused,
    /// It looks like a bomb: it is to be measured.
    Suspicious,
}

/// A body half decoded.
struct Work {
    encoding: Encoding,
    input: Bytes,
    decoder: Decoder,
    output: Vec<u8>,
    is_measured: bool,
    bytes_max: usize,
    charge: Charge,
}

impl Work {
    fn new(encoding: Encoding, input: Bytes, bytes_max: usize, charge: Charge) -> ApiResult<Self> {
        let decoder = Decoder::new(encoding, input.clone())?;
        Ok(Self { encoding, input, decoder, output: Vec::new(), is_measured: false, bytes_max, charge })
    }

    /// The body as it came, to begin anew with.
    fn give_back(mut self) -> (Bytes, Charge) {
        self.charge.shrink(self.output.len());
        (self.input, self.charge)
    }

    /// Decodes until the end, until there are `pause_at` bytes, or until it looks like a bomb.
    fn run(&mut self, pause_at: usize) -> ApiResult<Step> {
        loop {
            if self.output.len() > self.bytes_max {
                return Err(super::budget::too_large(self.bytes_max));
            }
            if self.is_suspicious() {
                return Ok(Step::Suspicious);
            }
            if self.output.len() >= pause_at {
                return Ok(Step::Paused);
            }
            let before = self.output.len();
            let step = STEP_BYTES.min(self.bytes_max - before + 1);
            self.charge.grow(step)?;
            self.output.resize(before + step, 0);
            let read = self.decoder.read(&mut self.output[before..]);
            let length = *read.as_ref().unwrap_or(&0);
            self.output.truncate(before + length);
            self.charge.shrink(step - length);
            match read {
                Ok(0) => return self.decoder.check_end().map(|()| Step::Done),
                Ok(_) => {}
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.decoder.broken(&error)),
            }
        }
    }
}

impl Work {
    fn is_suspicious(&self) -> bool {
        let length = self.output.len();
        !self.is_measured && length >= SUSPICIOUS_BYTES && length / SUSPICIOUS_RATIO > self.decoder.consumed()
    }

    /// Decodes the rest without keeping it, then begins anew with the right size.
    fn measure(&mut self) -> ApiResult<()> {
        let mut length = self.output.len();
        self.charge.shrink(length);
        self.output = Vec::new();
        let mut scratch = vec![0; STEP_BYTES];
        loop {
            if length > self.bytes_max {
                return Err(super::budget::too_large(self.bytes_max));
            }
            match self.decoder.read(&mut scratch) {
                Ok(0) => break,
                Ok(read) => length += read,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.decoder.broken(&error)),
            }
        }
        self.is_measured = true;
        self.decoder = Decoder::new(self.encoding, self.input.clone())?;
        self.output.reserve_exact(length + STEP_BYTES);
        Ok(())
    }
}

/// One decoder over a body in memory.
enum Decoder {
    Gzip(flate2::bufread::MultiGzDecoder<Cursor<Bytes>>),
    Zlib(flate2::bufread::ZlibDecoder<Cursor<Bytes>>),
    Deflate(flate2::bufread::DeflateDecoder<Cursor<Bytes>>),
    Zstd(zstd::stream::read::Decoder<'static, Cursor<Bytes>>),
    Brotli(Box<brotli::Decompressor<Cursor<Bytes>>>),
}

impl Decoder {
    fn new(encoding: Encoding, input: Bytes) -> ApiResult<Self> {
        if encoding == Encoding::Brotli && input.first().is_some_and(|byte| byte & 0x7f == BROTLI_LARGE_WINDOW) {
            let detail = "the body is br with a large window, which is not RFC 7932: send a window of at most 16 MiB";
            return Err(ApiError::invalid_body("", detail));
        }
        let is_zlib = is_zlib(&input);
        let input = Cursor::new(input);
        Ok(match encoding {
            Encoding::Gzip => Self::Gzip(flate2::bufread::MultiGzDecoder::new(input)),
            Encoding::Deflate if is_zlib => Self::Zlib(flate2::bufread::ZlibDecoder::new(input)),
            Encoding::Identity | Encoding::Deflate => Self::Deflate(flate2::bufread::DeflateDecoder::new(input)),
            Encoding::Brotli => Self::Brotli(Box::new(brotli::Decompressor::new(input, BROTLI_BUFFER_BYTES))),
            Encoding::Zstd => {
                let decoder = zstd::stream::read::Decoder::with_buffer(input);
                let mut decoder = decoder.map_err(|error| ApiError::internal(&error))?;
                decoder.window_log_max(ZSTD_WINDOW_LOG_MAX).map_err(|error| ApiError::internal(&error))?;
                Self::Zstd(decoder)
            }
        })
    }

    fn read(&mut self, output: &mut [u8]) -> std::io::Result<usize> {
        match self {
            Self::Gzip(decoder) => decoder.read(output),
            Self::Zlib(decoder) => decoder.read(output),
            Self::Deflate(decoder) => decoder.read(output),
            Self::Zstd(decoder) => decoder.read(output),
            Self::Brotli(decoder) => decoder.read(output),
        }
    }

    /// How much of the input it has taken so far.
    fn consumed(&self) -> usize {
        let input = match self {
            Self::Gzip(decoder) => decoder.get_ref(),
            Self::Zlib(decoder) => decoder.get_ref(),
            Self::Deflate(decoder) => decoder.get_ref(),
            Self::Zstd(decoder) => decoder.get_ref(),
            Self::Brotli(decoder) => decoder.get_ref(),
        };
        input.get_ref().len() - left(input)
    }

    /// After the end of the stream there must be nothing more.
    fn check_end(&mut self) -> ApiResult<()> {
        let (name, left) = match self {
            Self::Gzip(decoder) => ("gzip", left(decoder.get_ref())),
            Self::Zlib(decoder) => ("deflate", left(decoder.get_ref())),
            Self::Deflate(decoder) => ("deflate", left(decoder.get_ref())),
            Self::Zstd(decoder) => ("zstd", left(decoder.get_ref())),
            Self::Brotli(decoder) => {
                // Its second read after the end tells whether its own buffer holds bytes that nobody used.
                let unused = decoder.read(&mut [0]).is_err();
                ("br", if unused { 1 } else { left(decoder.get_ref()) })
            }
        };
        if left == 0 {
            return Ok(());
        }
        let detail = format!("the body has bytes after the end of its {name} data: send nothing after it");
        Err(ApiError::invalid_body("", detail))
    }

    fn broken(&self, error: &std::io::Error) -> ApiError {
        let name = match self {
            Self::Gzip(_) => "gzip",
            Self::Zlib(_) | Self::Deflate(_) => "deflate",
            Self::Zstd(_) => "zstd",
            Self::Brotli(_) => "br",
        };
        ApiError::invalid_body("", format!("the body is not {name}, though its Content-Encoding says so: {error}"))
    }
}

fn left(input: &Cursor<Bytes>) -> usize {
    input.get_ref().len().saturating_sub(usize::try_from(input.position()).unwrap_or(usize::MAX))
}

/// True if the bytes begin as RFC 1950 says.
fn is_zlib(bytes: &[u8]) -> bool {
    match bytes {
        [method, flags, ..] => method & 0x0f == 8 && (u16::from(*method) << 8 | u16::from(*flags)).is_multiple_of(31),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::super::budget::BodyBudget;
    use super::*;

    const ALL: [Encoding; 4] = [Encoding::Gzip, Encoding::Deflate, Encoding::Zstd, Encoding::Brotli];

    fn encode(encoding: Encoding, bytes: &[u8]) -> Vec<u8> {
        match encoding {
            Encoding::Identity => bytes.to_vec(),
            Encoding::Gzip => {
                let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
                encoder.write_all(bytes).unwrap();
                encoder.finish().unwrap()
            }
            Encoding::Deflate => {
                let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
                encoder.write_all(bytes).unwrap();
                encoder.finish().unwrap()
            }
            Encoding::Zstd => zstd::encode_all(bytes, 1).unwrap(),
            Encoding::Brotli => {
                let mut output = Vec::new();
                brotli::CompressorWriter::new(&mut output, 4096, 5, 22).write_all(bytes).unwrap();
                output
            }
        }
    }

    async fn decode(encoding: Encoding, input: Vec<u8>, bytes_max: usize) -> Result<Vec<u8>, ApiError> {
        let budget = BodyBudget::new(64 << 20);
        let turns = DecodeTurns::new(1).unwrap();
        let decoded = decompress(encoding, Bytes::from(input), bytes_max, budget.charge(0).unwrap(), &turns).await;
        let decoded = decoded.map(|(bytes, _charge)| bytes.to_vec());
        assert_eq!(budget.used(), 0, "every byte that was charged was given back");
        decoded
    }

    #[tokio::test]
    async fn a_body_that_grows_suspiciously_is_measured_and_still_comes_whole() {
        let even = vec![b'x'; 5 << 20];
        for encoding in ALL {
            let input = encode(encoding, &even);
            assert!(even.len() / SUSPICIOUS_RATIO > input.len(), "{encoding:?} is not suspicious");
            assert_eq!(decode(encoding, input.clone(), 6 << 20).await.unwrap(), even, "{encoding:?}");
            let refused = decode(encoding, input, 4 << 20).await.unwrap_err();
            assert_eq!(refused.code(), Code::BodyTooLarge, "{encoding:?}");
        }
    }

    #[tokio::test]
    async fn one_thread_that_gives_way_works_on_all_that_look_like_bombs() {
        let turns = DecodeTurns::new(4).unwrap();
        let niceness = || rustix::process::getpriority_process(Some(rustix::thread::gettid())).unwrap();
        let mut threads = std::collections::BTreeSet::new();
        for _ in 0..20 {
            let (tell, told) = std::sync::mpsc::channel();
            let work = move || {
                tell.send((rustix::thread::gettid().as_raw_nonzero(), niceness())).unwrap();
                Err(ApiError::new(Code::BodyTooLarge, "a bomb"))
            };
            assert_eq!(ended(turns.spawn(work).unwrap()).await.err().unwrap().code(), Code::BodyTooLarge);
            threads.insert(told.recv().unwrap());
        }
        assert_eq!(threads.len(), 1);
        assert!(threads.first().unwrap().1 > niceness());
    }

    #[tokio::test]
    async fn others_do_not_wait_for_what_looks_like_a_bomb() {
        let (budget, turns) = (BodyBudget::new(64 << 20), DecodeTurns::new(1).unwrap());
        // Noise first, so that it is suspected late, on a thread of its own.
        let noise: Vec<u8> =
            (0..20_000_u32).flat_map(|number| number.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
        let bombs =
            [vec![b'x'; 30 << 20], [noise, vec![b'x'; 30 << 20]].concat()].map(|bomb| encode(Encoding::Gzip, &bomb));
        let held = take(&turns.suspicious).await.unwrap();
        let unpack = |input: Vec<u8>| {
            decompress(Encoding::Gzip, Bytes::from(input), 16 << 20, budget.charge(0).unwrap(), &turns)
        };
        let [mut first, mut second] = bombs.map(|bomb| Box::pin(unpack(bomb)));
        let usual = encode(Encoding::Gzip, &[b'a'; 1 << 10]);
        tokio::select! {
            biased;
            _ = &mut first => panic!("a bomb without a turn"),
            _ = &mut second => panic!("a bomb without a turn"),
            (decoded, _) = async { unpack(usual).await.unwrap() } => assert_eq!(decoded.len(), 1 << 10),
        }
        drop(held);
        for bomb in [first, second] {
            assert_eq!(bomb.await.unwrap_err().code(), Code::BodyTooLarge);
        }
        assert_eq!(budget.used(), 0);
    }

    #[tokio::test]
    async fn every_encoding_gives_back_what_was_sent() {
        let bytes: Vec<u8> = (0..1_000_000_u32).flat_map(u32::to_le_bytes).take(700_000).collect();
        for encoding in ALL {
            for length in [0, 1, 1000, 700_000] {
                let sent = &bytes[..length];
                let decoded = decode(encoding, encode(encoding, sent), 700_000).await.unwrap();
                assert!(decoded == sent, "{encoding:?} {length}");
            }
        }
    }

    #[tokio::test]
    async fn a_bomb_stops_at_the_limit() {
        let zeros = vec![0; 8 << 20];
        for encoding in ALL {
            let error = decode(encoding, encode(encoding, &zeros), 1 << 20).await.unwrap_err();
            assert_eq!(error.code(), Code::BodyTooLarge, "{encoding:?}");
        }
    }

    #[tokio::test]
    async fn bytes_after_the_end_and_cut_bodies_are_refused() {
        for encoding in ALL {
            for extra in [1, 10_000] {
                let mut input = encode(encoding, b"{\"a\":1}");
                input.extend(vec![b'x'; extra]);
                let error = decode(encoding, input, 1 << 20).await.unwrap_err();
                assert_eq!(error.code(), Code::InvalidBody, "{encoding:?} {extra}");
            }
            let mut input = encode(encoding, &vec![b'a'; 5000]);
            input.truncate(input.len() / 2);
            let error = decode(encoding, input, 1 << 20).await.unwrap_err();
            assert_eq!(error.code(), Code::InvalidBody, "{encoding:?} cut");
            let error = decode(encoding, b"{\"a\":1}".to_vec(), 1 << 20).await.unwrap_err();
            assert_eq!(error.code(), Code::InvalidBody, "{encoding:?} plain");
        }
    }

    #[tokio::test]
    async fn deflate_without_its_wrapper_is_taken() {
        let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(b"hello").unwrap();
        let decoded = decode(Encoding::Deflate, encoder.finish().unwrap(), 100).await.unwrap();
        assert_eq!(decoded, b"hello");
    }

    #[tokio::test]
    async fn a_window_above_the_limit_is_refused() {
        let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
        encoder.window_log(27).unwrap();
        encoder.write_all(&vec![7; 1 << 20]).unwrap();
        let error = decode(Encoding::Zstd, encoder.finish().unwrap(), 20 << 20).await.unwrap_err();
        assert_eq!(error.code(), Code::InvalidBody);
        let params =
            brotli::enc::BrotliEncoderParams { large_window: true, lgwin: 25, quality: 1, ..Default::default() };
        let mut large = Vec::new();
        brotli::BrotliCompress(&mut &b"{\"a\":1}"[..], &mut large, &params).unwrap();
        let error = decode(Encoding::Brotli, large, 20 << 20).await.unwrap_err();
        assert_eq!(error.code(), Code::InvalidBody);
        assert!(error.detail().contains("large window"), "{error:?}");
    }

    #[test]
    fn one_known_encoding_is_taken() {
        let of = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append("content-encoding", value.parse().unwrap());
            }
            Encoding::of(&headers).map_err(|error| error.code())
        };
        assert_eq!(of(&[]), Ok(Encoding::Identity));
        assert_eq!(of(&["GZIP"]), Ok(Encoding::Gzip));
        assert_eq!(of(&["br"]), Ok(Encoding::Brotli));
        for wrong in [&["gzip, gzip"][..], &["gzip", "br"], &["compress"], &["gzip,identity"]] {
            assert_eq!(of(wrong), Err(Code::UnsupportedMediaType), "{wrong:?}");
        }
    }
}
