//! The bytes of a file or of standard input, unpacked: gzip and zstd are known by their first bytes.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use flate2::bufread::MultiGzDecoder;

use super::failure::{Failure, Result};
use super::is_stdin;

const BUFFER_BYTES: usize = 256 << 10;
/// RFC 1952, section 2.3.1.
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];
/// RFC 8878, section 3.1.1.
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// Bytes to read, unpacked.
pub(crate) struct Input {
    /// What messages call it.
    pub(crate) name: String,
    /// The bytes.
    pub(crate) reader: Box<dyn BufRead + Send>,
    /// How large it is, packed, if that is known.
    pub(crate) bytes_total: Option<u64>,
    /// How much of that has been read; shared with whoever shows progress.
    pub(crate) bytes_read: Arc<AtomicU64>,
}

impl Input {
    /// Opens a file, or standard input for `-` or nothing.
    pub(crate) fn open(path: Option<&PathBuf>) -> Result<Self> {
        let Some(path) = path.filter(|path| !is_stdin(Some(path))) else {
            return Self::over("standard input".to_owned(), io::stdin(), None);
        };
        let open = |path: &Path| -> io::Result<(File, u64)> {
            let file = File::open(path)?;
            let bytes = file.metadata()?.len();
            Ok((file, bytes))
        };
        let (file, bytes) = open(path).map_err(|error| Failure::file(path.display(), &error))?;
        Self::over(path.display().to_string(), file, Some(bytes).filter(|bytes| *bytes > 0))
    }

    /// Over any bytes.
    pub(crate) fn over(name: String, input: impl Read + Send + 'static, bytes_total: Option<u64>) -> Result<Self> {
        let bytes_read = Arc::new(AtomicU64::new(0));
        let counted = Counted { input, bytes: Arc::clone(&bytes_read) };
        let mut plain = BufReader::with_capacity(BUFFER_BYTES, counted);
        let start = plain.fill_buf().map_err(|error| Failure::file(&name, &error))?;
        let reader: Box<dyn BufRead + Send> = if start.starts_with(&GZIP_MAGIC) {
            Box::new(BufReader::with_capacity(BUFFER_BYTES, MultiGzDecoder::new(plain)))
        } else if start.starts_with(&ZSTD_MAGIC) {
            let unpacked = zstd::Decoder::with_buffer(plain).map_err(|error| Failure::file(&name, &error))?;
            Box::new(BufReader::with_capacity(BUFFER_BYTES, unpacked))
        } else {
            Box::new(plain)
        };
        Ok(Self { name, reader, bytes_total, bytes_read })
    }
}

struct Counted<R> {
    input: R,
    bytes: Arc<AtomicU64>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.input.read(buffer)?;
        self.bytes.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;
    use crate::cli::lines::{Line, Lines};

    fn lines(bytes: &[u8]) -> Lines {
        Lines::new(Input::over("test".to_owned(), io::Cursor::new(bytes.to_vec()), None).unwrap())
    }

    fn all(bytes: &[u8]) -> Vec<Line> {
        let mut lines = lines(bytes);
        std::iter::from_fn(|| lines.next().unwrap()).collect()
    }

    #[test]
    fn gzip_in_several_members_and_zstd_in_several_frames_read_like_plain() {
        let text = b"{\"event_id\":\"1\"}\r\n\n  \n{\"event_id\":\"2\"}";
        let plain = all(text);
        assert_eq!(plain.iter().map(|line| line.number).collect::<Vec<_>>(), [1, 4]);
        assert_eq!(plain[0].bytes, b"{\"event_id\":\"1\"}");
        let mut zipped = Vec::new();
        for part in text.chunks(7) {
            let mut member = GzEncoder::new(Vec::new(), Compression::fast());
            member.write_all(part).unwrap();
            zipped.extend(member.finish().unwrap());
        }
        assert_eq!(all(&zipped), plain);
        let frames: Vec<u8> = text.chunks(7).flat_map(|part| zstd::encode_all(part, 1).unwrap()).collect();
        assert_eq!(all(&frames), plain);
    }

    #[test]
    fn a_torn_gzip_file_is_an_error_and_not_an_end() {
        let mut zipped = GzEncoder::new(Vec::new(), Compression::fast());
        zipped.write_all(&b"{\"event_id\":\"1\"}\n".repeat(1000)).unwrap();
        let mut zipped = zipped.finish().unwrap();
        zipped.truncate(zipped.len() - 9);
        let mut lines = lines(&zipped);
        let failure = std::iter::from_fn(|| lines.next().transpose()).find_map(Result::err).unwrap();
        assert!(failure.to_string().contains("test, after line"), "{failure}");
    }
}
