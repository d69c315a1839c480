//! [`BlockSums`]: a checksum for each block of a data file, so that rotten bytes are never decoded.
//!
//! Parquet pages carry no checksum, and a decoder that gets damaged ones gives wrong rows or panics. So whoever reads a
//! part of a file reads the whole blocks that hold it, and checks each before anything else looks at it. The sums stand
//! in the file's entry of the log as `<bytes of a block>:<8 hexadecimal digits for each block>`.

use std::fmt;
use std::ops::Range;
use std::str::FromStr;

use bytes::Bytes;

use super::hash::ParseHashError;

/// CRC32C of each block of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BlockSums {
    block_bytes: u32,
    sums: Vec<u32>,
}

impl BlockSums {
    /// The sums of a file that comes in parts.
    pub(crate) fn of_parts<'a>(parts: impl Iterator<Item = &'a Bytes>, block_bytes: u32) -> Self {
        let block_bytes = block_bytes.max(1);
        let block = block_bytes as usize;
        let (mut sums, mut sum, mut filled) = (Vec::new(), 0, 0);
        for part in parts {
            let mut rest = &part[..];
            while !rest.is_empty() {
                let (now, later) = rest.split_at(rest.len().min(block - filled));
                (sum, filled, rest) = (crc32c::crc32c_append(sum, now), filled + now.len(), later);
                if filled == block {
                    sums.push(std::mem::take(&mut sum));
                    filled = 0;
                }
            }
        }
        if filled > 0 {
            sums.push(sum);
        }
        Self { block_bytes, sums }
    }

    /// The blocks that hold these ranges of a file of `file_bytes`, rising and apart from each other.
    pub(crate) fn around(&self, ranges: &[Range<u64>], file_bytes: u64) -> Vec<Range<u64>> {
        let block = u64::from(self.block_bytes);
        let widen = |range: &Range<u64>| {
            range.start / block * block..range.end.div_ceil(block).saturating_mul(block).min(file_bytes)
        };
        let mut wide: Vec<_> = ranges.iter().map(widen).collect();
        wide.sort_unstable_by_key(|range| range.start);
        let mut blocks: Vec<Range<u64>> = Vec::with_capacity(wide.len());
        for range in wide {
            match blocks.last_mut() {
                Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
                _ => blocks.push(range),
            }
        }
        blocks
    }

    /// Checks whole blocks that begin at `start`.
    ///
    /// # Errors
    /// The byte of the file at which the first block begins that is not what was written.
    pub(crate) fn check(&self, start: u64, bytes: &[u8]) -> Result<(), u64> {
        let first = usize::try_from(start / u64::from(self.block_bytes)).unwrap_or(usize::MAX);
        for (index, block) in bytes.chunks(self.block_bytes as usize).enumerate() {
            let expected = first.checked_add(index).and_then(|number| self.sums.get(number));
            if expected != Some(&crc32c::crc32c(block)) {
                return Err(start + index as u64 * u64::from(self.block_bytes));
            }
        }
        Ok(())
    }
}

impl fmt::Display for BlockSums {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.block_bytes)?;
        self.sums.iter().try_for_each(|sum| write!(f, "{sum:08x}"))
    }
}

impl FromStr for BlockSums {
    type Err = ParseHashError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (block_bytes, digits) = text.split_once(':').ok_or(ParseHashError)?;
        let block_bytes = block_bytes.parse().ok().filter(|bytes| *bytes > 0).ok_or(ParseHashError)?;
        if digits.len() % 8 != 0 || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(ParseHashError);
        }
        let sum = |at: usize| u32::from_str_radix(&digits[at..at + 8], 16).map_err(|_| ParseHashError);
        Ok(Self { block_bytes, sums: (0..digits.len()).step_by(8).map(sum).collect::<Result<_, _>>()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sums_of(bytes: &[u8], block_bytes: u32) -> BlockSums {
        BlockSums::of_parts(std::iter::once(&Bytes::copy_from_slice(bytes)), block_bytes)
    }

    #[test]
    fn parts_make_no_difference() {
        let whole: Vec<u8> = (0..50).collect();
        for size in [1, 3, 7, 8, 9, 50] {
            let parts: Vec<Bytes> = whole.chunks(size).map(Bytes::copy_from_slice).collect();
            assert_eq!(BlockSums::of_parts(parts.iter(), 8), sums_of(&whole, 8), "parts of {size}");
        }
    }

    #[test]
    fn sums_are_written_and_read() {
        let sums = sums_of(b"123456789", 4);
        assert_eq!(sums.to_string().split_once(':').map(|(block, digits)| (block, digits.len())), Some(("4", 24)));
        assert_eq!(sums.to_string().parse(), Ok(sums));
        assert_eq!(sums_of(b"123456789", 64).to_string(), "64:e3069283");
        for wrong in ["", "4", "0:", "4:1234567", "4:1234567x", "x:12345678"] {
            assert_eq!(wrong.parse::<BlockSums>(), Err(ParseHashError), "{wrong}");
        }
    }

    #[test]
    fn ranges_are_widened_to_blocks_and_joined() {
        let sums = sums_of(&[0; 10], 4);
        assert_eq!(sums.around(&[9..10, 1..2, 3..4], 10), [0..4, 8..10]);
        assert_eq!(sums.around(&[1..2, 4..5], 10), [Range { start: 0, end: 8 }]);
        assert!(sums.around(&[], 10).is_empty());
    }

    #[test]
    fn every_turned_bit_is_found_in_its_block() {
        let bytes: Vec<u8> = (0..10).collect();
        let sums = sums_of(&bytes, 4);
        assert_eq!((sums.check(0, &bytes), sums.check(8, &bytes[8..])), (Ok(()), Ok(())));
        for (at, bit) in (0..10).flat_map(|at| (0..8).map(move |bit| (at, bit))) {
            let mut turned = bytes.clone();
            turned[at] ^= 1 << bit;
            assert_eq!(sums.check(0, &turned), Err(at as u64 / 4 * 4));
        }
        assert_eq!(sums.check(0, &[bytes.clone(), bytes].concat()), Err(8));
    }
}
