//! Device numbers and disk sizes.

use std::fmt;
use std::path::PathBuf;

use crate::{Error, Result};

/// Bytes in a sector, the unit of device-mapper tables.
pub(crate) const SECTOR: u64 = 512;
/// Bytes in a CoW chunk (8 sectors): one page, one ext4 block.
pub(crate) const CHUNK: u64 = 4096;

/// Major and minor number of a block device; displays as `major:minor`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DeviceNumber {
    pub major: u32,
    pub minor: u32,
}

impl DeviceNumber {
    /// From the kernel's 64-bit encoding (`dev_t` as `stat` gives it).
    pub(crate) fn from_raw(raw: u64) -> Self {
        Self {
            major: rustix::fs::major(raw),
            minor: rustix::fs::minor(raw),
        }
    }

    /// The node devtmpfs keeps for a dm device of this number.
    pub(crate) fn dm_node(self) -> PathBuf {
        PathBuf::from(format!("/dev/dm-{}", self.minor))
    }
}

impl fmt::Display for DeviceNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.major, self.minor)
    }
}

/// Size of a disk: whole 4096-byte blocks, at most 16 TiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DiskSize(u64);

impl DiskSize {
    /// From MiB.
    pub fn mib(mib: u32) -> Result<Self> {
        Self::bytes(u64::from(mib) << 20)
    }

    /// From bytes; must be a positive multiple of 4096, at most 16 TiB.
    pub fn bytes(bytes: u64) -> Result<Self> {
        if bytes == 0 || !bytes.is_multiple_of(CHUNK) || bytes > 1 << 44 {
            return Err(Error::BadSize(bytes));
        }
        Ok(Self(bytes))
    }

    /// In bytes.
    pub fn as_bytes(self) -> u64 {
        self.0
    }

    pub(crate) fn sectors(self) -> u64 {
        self.0 / SECTOR
    }

    /// Bytes a CoW file needs so that every chunk of the disk can be written once: a header chunk, the
    /// data chunks, and one 256-entry metadata chunk before each 256 data chunks (plus the empty one
    /// that ends the list). Layout: the kernel's `dm-snap-persistent`.
    pub(crate) fn cow_bytes(self) -> u64 {
        let chunks = self.0 / CHUNK;
        (1 + chunks + chunks.div_ceil(256) + 1) * CHUNK
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_whole_blocks_and_bounded() {
        assert_eq!(
            DiskSize::mib(5120).map(DiskSize::as_bytes).ok(),
            Some(5 << 30)
        );
        assert!(DiskSize::mib(0).is_err());
        assert!(DiskSize::bytes(4097).is_err());
        assert!(DiskSize::bytes((1 << 44) + 4096).is_err());
    }

    proptest::proptest! {
        #[test]
        fn a_cow_file_holds_every_chunk_and_its_metadata(chunks in 1u64..(1 << 30)) {
            let size = DiskSize::bytes(chunks * CHUNK).unwrap();
            let have = size.cow_bytes() / CHUNK;
            proptest::prop_assert!(have > 1 + chunks + chunks / 256);
            proptest::prop_assert!(have <= 3 + chunks + chunks / 256);
        }
    }
}
