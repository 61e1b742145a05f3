//! The pages that a guest touched between its resume and its first idle, as a file.
//!
//! All numbers are little-endian.
//!
//! | bytes | what |
//! |---|---|
//! | 8 | `WRENNWSS` |
//! | u32 | version of this format, 1 |
//! | u32 | bytes of a page, 4096 |
//! | u64 | pages of the guest |
//! | u64 | ranges `r` |
//! | 8 × `r` | u32 first page, u32 pages; in order, none empty, none overlapping |
//! | 32 | SHA-256 of all before |
//!
//! It is a hint, and losing it costs time only: it is written in place and not synced, and half a file is none.

use std::{
    fs::File,
    io::{self, Read},
    ops::Range,
    os::unix::fs::FileExt,
    path::Path,
};

use sha2::{Digest, Sha256};

use crate::PAGE_BYTES;

const MAGIC: &[u8; 8] = b"WRENNWSS";
const VERSION: u32 = 1;
const FIXED: usize = 32;
const RANGE: usize = 8;
const CHECKSUM: usize = 32;

/// Ranges of one working set; what lies behind them is left out.
const MAX_RANGES: usize = 1 << 16;
const MAX_BYTES: usize = FIXED + MAX_RANGES * RANGE + CHECKSUM;

/// Why there is no working set.
#[derive(Debug, thiserror::Error)]
pub(super) enum WorkingSetError {
    /// It cannot be read.
    #[error("cannot read the working set")]
    Read(#[source] io::Error),
    /// It is no working set, or not of this version.
    #[error("not a working set of version {VERSION}")]
    Format,
    /// It is longer or shorter than it says, or a bit has changed.
    #[error("the working set is not whole")]
    Damaged,
    /// It is of a guest of another size.
    #[error("a working set of a guest of {0} pages")]
    Guest(u64),
    /// A range is empty, out of order, or ends beyond the guest.
    #[error("the range at page {0} is not possible")]
    Range(u64),
}

/// Pages in order, neighbours together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct WorkingSet(Vec<Range<u64>>);

impl WorkingSet {
    /// Takes ranges that are in order and not empty; of too many, the first.
    pub(super) fn new(ranges: impl Iterator<Item = Range<u64>>) -> Self {
        Self(ranges.take(MAX_RANGES).collect())
    }

    pub(super) fn ranges(&self) -> &[Range<u64>] {
        &self.0
    }

    pub(super) fn into_ranges(self) -> Vec<Range<u64>> {
        self.0
    }

    pub(super) fn pages(&self) -> u64 {
        self.0.iter().map(|range| range.end - range.start).sum()
    }

    /// Reads the one of a guest of `pages` pages.
    pub(super) fn read(path: &Path, pages: u64) -> Result<Self, WorkingSetError> {
        let mut bytes = Vec::new();
        // A byte more than any has is enough to find it too long.
        File::open(path)
            .and_then(|file| file.take(MAX_BYTES as u64 + 1).read_to_end(&mut bytes))
            .map_err(WorkingSetError::Read)?;
        Self::decode(&bytes, pages)
    }

    /// Writes it to `file`, which is empty.
    pub(super) fn write(&self, file: &File, pages: u64) -> io::Result<()> {
        file.write_all_at(&self.encode(pages), 0)
    }

    fn encode(&self, pages: u64) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(FIXED + self.0.len() * RANGE + CHECKSUM);
        bytes.extend(MAGIC);
        bytes.extend(VERSION.to_le_bytes());
        bytes.extend((PAGE_BYTES as u32).to_le_bytes());
        bytes.extend(pages.to_le_bytes());
        bytes.extend((self.0.len() as u64).to_le_bytes());
        for range in &self.0 {
            // A guest has far less than 2³² pages.
            bytes.extend((range.start as u32).to_le_bytes());
            bytes.extend(((range.end - range.start) as u32).to_le_bytes());
        }
        let checksum = Sha256::digest(&bytes);
        bytes.extend(checksum);
        bytes
    }

    /// Nothing of `bytes` is trusted.
    fn decode(bytes: &[u8], pages: u64) -> Result<Self, WorkingSetError> {
        let (content, checksum) = bytes
            .split_last_chunk::<CHECKSUM>()
            .ok_or(WorkingSetError::Format)?;
        let (fixed, ranges) = content
            .split_first_chunk::<FIXED>()
            .ok_or(WorkingSetError::Format)?;
        let (words, _) = fixed.as_chunks::<8>();
        let kind = u64::from(VERSION) | PAGE_BYTES << 32;
        if words[0] != *MAGIC || words[1] != kind.to_le_bytes() {
            return Err(WorkingSetError::Format);
        }
        let (ranges, rest) = ranges.as_chunks::<RANGE>();
        let is_whole = rest.is_empty() && words[3] == (ranges.len() as u64).to_le_bytes();
        if !is_whole || ranges.len() > MAX_RANGES || Sha256::digest(content)[..] != *checksum {
            return Err(WorkingSetError::Damaged);
        }
        if words[2] != pages.to_le_bytes() {
            return Err(WorkingSetError::Guest(u64::from_le_bytes(words[2])));
        }
        let mut next = 0;
        let range = |bytes: &[u8; RANGE]| {
            let word = u64::from_le_bytes(*bytes);
            let start = word & u64::from(u32::MAX);
            let end = start + (word >> 32);
            if start < next || start == end || end > pages {
                return Err(WorkingSetError::Range(start));
            }
            next = end;
            Ok(start..end)
        };
        ranges.iter().map(range).collect::<Result<_, _>>().map(Self)
    }
}

#[cfg(test)]
#[expect(
    clippy::single_range_in_vec_init,
    reason = "one range is what is meant"
)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PAGES: u64 = 1000;

    fn set(ranges: &[Range<u64>]) -> WorkingSet {
        WorkingSet::new(ranges.iter().cloned())
    }

    #[test]
    fn a_working_set_reads_back() {
        for ranges in [&[][..], &[0..1], &[0..5, 5..6, 999..1000], &[0..1000]] {
            let set = set(ranges);
            assert_eq!(WorkingSet::decode(&set.encode(PAGES), PAGES).unwrap(), set);
        }
        assert_eq!(set(&[0..5, 7..8]).pages(), 6);
    }

    #[test]
    fn every_changed_bit_and_every_cut_is_found() {
        let bytes = set(&[3..5, 8..20]).encode(PAGES);
        for at in 0..bytes.len() * 8 {
            let mut changed = bytes.clone();
            changed[at / 8] ^= 1 << (at % 8);
            assert!(WorkingSet::decode(&changed, PAGES).is_err(), "bit {at}");
        }
        for length in 0..bytes.len() {
            assert!(
                WorkingSet::decode(&bytes[..length], PAGES).is_err(),
                "{length} bytes"
            );
        }
        assert!(WorkingSet::decode(&[&bytes[..], &[0]].concat(), PAGES).is_err());
    }

    #[test]
    fn a_sealed_one_is_checked_too() {
        let check = |ranges: &[Range<u64>], expected: u64| {
            let read = WorkingSet::decode(&set(ranges).encode(PAGES), PAGES);
            assert!(matches!(read, Err(WorkingSetError::Range(at)) if at == expected));
        };
        check(&[5..5], 5);
        check(&[5..7, 6..8], 6);
        check(&[5..7, 2..3], 2);
        check(&[999..1001], 999);
        check(&[1000..1001], 1000);
        check(&[4_294_967_295..8_589_934_590], 4_294_967_295);
        let other = WorkingSet::decode(&set(&[0..1]).encode(PAGES + 1), PAGES);
        assert!(matches!(other, Err(WorkingSetError::Guest(1001))));
    }

    #[test]
    fn of_too_many_ranges_the_first_are_kept() {
        let ranges = (0..).map(|at| 2 * at..2 * at + 1);
        let set = WorkingSet::new(ranges);
        assert_eq!(set.pages(), MAX_RANGES as u64);
        let bytes = set.encode(1 << 20);
        assert_eq!(bytes.len(), MAX_BYTES);
        assert_eq!(WorkingSet::decode(&bytes, 1 << 20).unwrap(), set);
    }

    proptest! {
        #[test]
        fn whatever_the_bytes_are_reading_them_ends(
            fixed in 0..3_usize, bytes in proptest::collection::vec(any::<u8>(), 0..200)
        ) {
            let mut sealed = set(&[3..5]).encode(PAGES)[..[0, 24, 32][fixed]].to_vec();
            sealed.extend(&bytes);
            let checksum = Sha256::digest(&sealed);
            sealed.extend(checksum);
            let _ = WorkingSet::decode(&sealed, PAGES);
        }
    }
}
