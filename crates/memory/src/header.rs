//! A mapping as bytes: what a snapshot's header file holds.
//!
//! All numbers are little-endian.
//!
//! | bytes | what |
//! |---|---|
//! | 8 | `WRENNMEM` |
//! | u32 | version of this format, 1 |
//! | u32 | bytes of a page, 4096 |
//! | u64 | pages of the guest |
//! | u32 | layers `l` |
//! | u32 | runs `r` |
//! | 16 × `l` | names of the layers |
//! | 24 × `r` | u64 pages, u64 page of the layer's file, u32 layer (`FFFFFFFF`: zeros), u32 0 |
//! | 32 | SHA-256 of all before |
//!
//! Runs lie side by side, so where one starts is not written down.

use sha2::{Digest, Sha256};

use crate::{LayerId, MAX_LAYERS, MAX_RUNS, Mapping, MappingError, PAGE_BYTES, Run, Source};

const MAGIC: &[u8; 8] = b"WRENNMEM";
const VERSION: u32 = 1;
const FIXED: usize = 32;
const LAYER: usize = 16;
const RUN: usize = 24;
const CHECKSUM: usize = 32;
const ZERO: u32 = u32::MAX;

/// Bytes of the longest header; a longer file is none.
pub const MAX_BYTES: usize = FIXED + MAX_LAYERS * LAYER + MAX_RUNS * RUN + CHECKSUM;

/// Why bytes are no header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HeaderError {
    /// It does not begin as one.
    #[error("not a memory header")]
    Magic,
    /// Another version of Wrenn wrote it.
    #[error("a memory header of version {0}; this is version {VERSION}")]
    Version(u32),
    /// Its checksum is not that of its content: a bit has changed.
    #[error("the checksum of the memory header does not match")]
    Checksum,
    /// It is longer or shorter than it says.
    #[error("a memory header of {found} bytes where {expected} were announced")]
    Length {
        /// As its counts say.
        expected: usize,
        /// As it is.
        found: usize,
    },
    /// Pages of another size.
    #[error("pages of {0} bytes")]
    PageSize(u32),
    /// What should be zero is not.
    #[error("reserved bytes are in use")]
    Reserved,
    /// Its runs are no mapping.
    #[error("the memory header maps nothing possible")]
    Mapping(#[from] MappingError),
}

/// Writes a mapping down.
#[must_use]
pub fn encode(mapping: &Mapping) -> Vec<u8> {
    let (layers, runs) = (mapping.layers(), mapping.runs());
    let length = FIXED + layers.len() * LAYER + runs.len() * RUN + CHECKSUM;
    let mut bytes = Vec::with_capacity(length);
    bytes.extend(MAGIC);
    bytes.extend(VERSION.to_le_bytes());
    bytes.extend((PAGE_BYTES as u32).to_le_bytes());
    bytes.extend(mapping.pages().to_le_bytes());
    // Both are bounded far below by the mapping.
    bytes.extend((layers.len() as u32).to_le_bytes());
    bytes.extend((runs.len() as u32).to_le_bytes());
    for layer in layers {
        bytes.extend(layer.as_bytes());
    }
    for run in runs {
        let (index, page) = match run.source {
            Source::Zero => (ZERO, 0),
            Source::Layer { index, page } => (index, page),
        };
        bytes.extend(run.pages.to_le_bytes());
        bytes.extend(page.to_le_bytes());
        bytes.extend(index.to_le_bytes());
        bytes.extend(0u32.to_le_bytes());
    }
    let checksum = Sha256::digest(&bytes);
    bytes.extend(checksum);
    bytes
}

/// Reads a mapping; nothing of `bytes` is trusted.
///
/// # Errors
/// The first thing that is wrong with them. Whatever has changed since they were written is found.
pub fn decode(bytes: &[u8]) -> Result<Mapping, HeaderError> {
    let mut fixed = Reader(bytes);
    if fixed.take() != Some(*MAGIC) {
        return Err(HeaderError::Magic);
    }
    let short = HeaderError::Length {
        expected: FIXED + CHECKSUM,
        found: bytes.len(),
    };
    let version = fixed.u32().ok_or(short)?;
    if version != VERSION {
        return Err(HeaderError::Version(version));
    }
    let page_bytes = fixed.u32().ok_or(short)?;
    let pages = fixed.u64().ok_or(short)?;
    let layers = fixed.u32().ok_or(short)? as usize;
    let runs = fixed.u32().ok_or(short)? as usize;
    if layers > MAX_LAYERS {
        return Err(MappingError::TooManyLayers(layers).into());
    }
    if runs > MAX_RUNS {
        return Err(MappingError::TooManyRuns(runs).into());
    }
    let expected = FIXED + layers * LAYER + runs * RUN + CHECKSUM;
    if bytes.len() != expected {
        return Err(HeaderError::Length {
            expected,
            found: bytes.len(),
        });
    }
    let (content, checksum) = bytes.split_at(expected - CHECKSUM);
    if Sha256::digest(content)[..] != *checksum {
        return Err(HeaderError::Checksum);
    }
    if u64::from(page_bytes) != PAGE_BYTES {
        return Err(HeaderError::PageSize(page_bytes));
    }
    let mut rest = fixed;
    let names = (0..layers).map(|_| rest.take().map(LayerId::from_bytes).ok_or(short));
    let names = names.collect::<Result<Vec<_>, _>>()?;
    let mut start: u64 = 0;
    let mut found = Vec::with_capacity(runs);
    for _ in 0..runs {
        let run = (rest.u64().ok_or(short)?, rest.u64().ok_or(short)?);
        let source = match (rest.u32().ok_or(short)?, run.1, rest.u32().ok_or(short)?) {
            (ZERO, 0, 0) => Source::Zero,
            (index, page, 0) if index != ZERO => Source::Layer { index, page },
            _ => return Err(HeaderError::Reserved),
        };
        found.push(Run {
            start,
            pages: run.0,
            source,
        });
        start = start
            .checked_add(run.0)
            .ok_or(MappingError::Length(start))?;
    }
    Ok(Mapping::from_parts(pages, names, found)?)
}

/// Takes numbers off the front.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*taken)
    }

    fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.take().map(u64::from_le_bytes)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::Written;

    fn mapping() -> Mapping {
        let layer = |number| LayerId::from_bytes([number; 16]);
        let first = [Written::Data {
            pages: 0..90,
            at: 0,
        }];
        let second = [
            Written::Zero(3..5),
            Written::Data {
                pages: 20..30,
                at: 7,
            },
        ];
        let zero = Mapping::zero(100).unwrap();
        let first = zero.overlaid(layer(1), &first).unwrap();
        first.overlaid(layer(2), &second).unwrap()
    }

    #[test]
    fn a_header_reads_back() {
        for mapping in [mapping(), Mapping::zero(1).unwrap()] {
            assert_eq!(decode(&encode(&mapping)), Ok(mapping));
        }
    }

    #[test]
    fn every_changed_bit_and_every_cut_is_found() {
        let bytes = encode(&mapping());
        for at in 0..bytes.len() * 8 {
            let mut changed = bytes.clone();
            changed[at / 8] ^= 1 << (at % 8);
            assert!(decode(&changed).is_err(), "bit {at}");
        }
        for length in 0..bytes.len() {
            assert!(decode(&bytes[..length]).is_err(), "{length} bytes");
        }
        assert!(decode(&[&bytes[..], &[0]].concat()).is_err());
    }

    /// Bytes with a right checksum: what a defect or an attacker with the file would leave.
    fn sealed(change: impl FnOnce(&mut Vec<u8>)) -> Result<Mapping, HeaderError> {
        let mut bytes = encode(&mapping());
        bytes.truncate(bytes.len() - CHECKSUM);
        change(&mut bytes);
        let checksum = Sha256::digest(&bytes);
        bytes.extend(checksum);
        decode(&bytes)
    }

    #[test]
    fn a_sealed_header_is_checked_too() {
        let set = |at: usize, value: u32| {
            move |bytes: &mut Vec<u8>| {
                bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
            }
        };
        let runs = FIXED + 2 * LAYER;
        assert_eq!(sealed(set(8, 2)), Err(HeaderError::Version(2)));
        assert_eq!(sealed(set(12, 16384)), Err(HeaderError::PageSize(16384)));
        assert_eq!(sealed(set(16, 99)), Err(MappingError::Length(90).into()));
        assert_eq!(
            sealed(set(24, 65)),
            Err(MappingError::TooManyLayers(65).into())
        );
        assert_eq!(
            sealed(set(28, u32::MAX)),
            Err(MappingError::TooManyRuns(u32::MAX as usize).into())
        );
        assert_eq!(
            sealed(set(runs + 16, 9)),
            Err(MappingError::Layer(0).into())
        );
        assert_eq!(sealed(set(runs + 20, 1)), Err(HeaderError::Reserved));
    }

    proptest! {
        #[test]
        fn whatever_the_bytes_are_reading_them_ends(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = sealed(|sealed| {
                let at = bytes.len() % 48;
                sealed.truncate(at);
                sealed.extend(&bytes);
            });
        }
    }
}
