//! What lies in the log of a table: commits, the hint that names a checkpoint, a file's statistics, hash and checksums. Any
//! bytes are read or refused; a commit of ours needs its hash; and where the hash is right, no bit is turned unnoticed.

use crc32c::crc32c;

use crate::memory::within;
use crate::table::actions::read::{HASH_DIGITS, HASH_PREFIX, ParsedCommit, hinted, parse};
use crate::table::block_sums::BlockSums;
use crate::table::hash::FileHash;
use crate::table::stats::read::FileStats;

/// Runs the target on one input, any of these.
pub fn run(data: &[u8]) {
    // An object of five bytes is a node of a map, and what a note holds is kept beside it.
    let memory_max = 64 * 1024 + 512 * data.len();
    if let Ok(commit) = within(memory_max, || parse(data)) {
        check_commit(&commit);
    }
    if let Some(sealed) = sealed(data) {
        match within(memory_max, || parse(&sealed)) {
            Ok(commit) => {
                check_commit(&commit);
                assert!(commit.hashed, "a hash is passed over");
                turn(sealed, &commit);
            }
            Err(why) => assert_ne!(why, "its hash does not match: it was cut or changed"),
        }
    }
    let _ = within(memory_max, || hinted(data));
    let Ok(text) = std::str::from_utf8(data) else { return };
    let _ = within(memory_max, || FileStats::parse(text));
    if let Ok(hash) = text.parse::<FileHash>() {
        assert!(hash.to_string().eq_ignore_ascii_case(text), "{hash}");
    }
    if let Ok(sums) = within(memory_max, || text.parse::<BlockSums>()) {
        let _ = sums.check(0, data);
        assert_eq!(sums.to_string().parse(), Ok(sums));
    }
}

/// Rot in its first bytes makes no stranger's commit of one of ours.
fn check_commit(commit: &ParsedCommit) {
    let is_noted = commit.eye.is_some() || commit.maintenance.is_some();
    assert!(commit.hashed || !(is_noted || moves(commit)), "a commit of ours is read without a hash");
}

/// True if it moves a transaction of ours, as all of our commits do that add or remove files.
fn moves(commit: &ParsedCommit) -> bool {
    !commit.txns.is_empty() || commit.maintenance_txn.is_some()
}

/// The same bytes with the hash that they should have; `None` if there is no place for one.
fn sealed(data: &[u8]) -> Option<Vec<u8>> {
    let place = HASH_PREFIX.len()..HASH_PREFIX.len() + HASH_DIGITS;
    let mut bytes = data.starts_with(HASH_PREFIX).then(|| data.to_vec())?;
    bytes.get_mut(place.clone())?.fill(b'0');
    let hash = FileHash::of(&bytes).to_string();
    bytes[place].copy_from_slice(hash.as_bytes());
    Some(bytes)
}

/// Turns one bit: whoever reads it is told.
fn turn(mut bytes: Vec<u8>, commit: &ParsedCommit) {
    if !moves(commit) {
        return;
    }
    let chosen = crc32c(&bytes) as usize;
    let at = chosen % bytes.len();
    bytes[at] ^= 1 << (chosen >> 29);
    assert!(parse(&bytes).is_err(), "a bit of byte {at} was turned");
}
