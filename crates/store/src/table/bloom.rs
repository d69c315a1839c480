//! [`Bloom`]: whether a slice may hold a session, asked of many slices with one hash.
//!
//! The filters are those of Parquet: split block Bloom filters over XXH64
//! (<https://parquet.apache.org/docs/file-format/bloomfilter/>). The Parquet library reads and writes them; asked, it
//! hashes the text again for each filter, and the next filter waits for it. Here the hash and its bits are made once a file,
//! so that what is left is one block of each slice, and the processor fetches several of them at a time.

use parquet::bloom_filter::Sbbf;
use parquet::errors::ParquetError;
use twox_hash::XxHash64;

/// What the low half of a hash is multiplied with, word by word of a block.
const SALT: [u32; 8] =
    [0x47b6_137b, 0x4497_4d91, 0x8824_ad5b, 0xa2b7_289d, 0x7054_95c7, 0x2df1_424b, 0x9efc_4947, 0x5c6b_fb31];

/// A block is eight words; a text sets one bit of each.
type Block = [u32; SALT.len()];

/// A text that filters are asked for, hashed.
pub(super) struct Probe {
    /// Tells the block.
    upper: u64,
    /// Its bits in that block.
    bits: Block,
}

impl Probe {
    pub(super) fn new(text: &str) -> Self {
        let hash = XxHash64::oneshot(0, text.as_bytes());
        #[expect(clippy::cast_possible_truncation, reason = "the low half")]
        let low = hash as u32;
        Self { upper: hash >> 32, bits: SALT.map(|salt| 1 << (low.wrapping_mul(salt) >> 27)) }
    }
}

/// One filter.
pub(super) struct Bloom(Vec<Block>);

impl Bloom {
    /// As it stands in a file: its header, then its blocks.
    ///
    /// # Errors
    /// Bytes that are no filter.
    pub(super) fn from_bytes(bytes: &[u8]) -> Result<Self, ParquetError> {
        let mut bits = Vec::with_capacity(bytes.len());
        Sbbf::from_bytes(bytes)?.write_bitset(&mut bits)?;
        let (words, _) = bits.as_chunks();
        let (blocks, _) = words.as_chunks();
        Ok(Self(blocks.iter().map(|block: &[[u8; 4]; SALT.len()]| block.map(u32::from_le_bytes)).collect()))
    }

    /// False only if the text was never put in.
    pub(super) fn may_hold(&self, probe: &Probe) -> bool {
        let place = (probe.upper * self.0.len() as u64) >> 32;
        let block = usize::try_from(place).ok().and_then(|place| self.0.get(place));
        block.is_none_or(|block| {
            block.iter().zip(&probe.bits).fold(0, |missing, (word, bit)| missing | bit & !word) == 0
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answers_are_those_of_the_library() {
        for (sessions, positive_share) in [(0, 0.01), (1, 0.001), (40, 0.5), (5_000, 0.001), (5_000, 0.9)] {
            let mut filter = Sbbf::new_with_ndv_fpp(sessions.max(1), positive_share).unwrap();
            let text = |number: u64| format!("session-{number}");
            (0..sessions).for_each(|number| filter.insert(text(number).as_str()));
            let mut bytes = Vec::new();
            filter.write(&mut bytes).unwrap();
            let bloom = Bloom::from_bytes(&bytes).unwrap();
            for number in 0..sessions + 5_000 {
                let text = text(number);
                assert_eq!(bloom.may_hold(&Probe::new(&text)), filter.check(text.as_str()), "{text} of {sessions}");
                assert!(number >= sessions || bloom.may_hold(&Probe::new(&text)));
            }
        }
    }

    #[test]
    fn bytes_that_are_no_filter_are_refused() {
        let mut bytes = Vec::new();
        Sbbf::new_with_num_of_bytes(64).write(&mut bytes).unwrap();
        assert!(Bloom::from_bytes(&bytes).is_ok());
        for cut in 0..bytes.len() {
            assert!(Bloom::from_bytes(&bytes[..cut]).is_err(), "{cut} of {} bytes", bytes.len());
        }
    }
}
