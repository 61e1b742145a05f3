//! The sparse file that takes a disk's writes.

use std::fs::File;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::leftover::{Held, Leftover, Piece, Reaper};
use crate::retry::blocking;
use crate::{DiskSize, Error, Result};

/// A CoW file, deleted on release unless it is kept.
#[derive(Debug)]
pub struct CowFile {
    path: PathBuf,
    held: Held,
}

impl CowFile {
    /// Makes an empty store, mode 0600, large enough for a disk of `size` to be overwritten whole.
    /// Being sparse it occupies nothing yet. Fails if the file exists.
    pub async fn create(path: &Path, size: DiskSize, reaper: Reaper) -> Result<Self> {
        let target = path.to_owned();
        blocking(move || Self::make(&target, size)).await?;
        Ok(Self::open(path, reaper))
    }

    /// The same without a guard. Blocks.
    pub fn make(path: &Path, size: DiskSize) -> Result<()> {
        let failed = |source| Error::File {
            action: "create the CoW file",
            path: path.to_owned(),
            source,
        };
        let mut options = File::options();
        options.write(true).create_new(true).mode(0o600);
        let file = options.open(path).map_err(failed)?;
        file.set_len(size.cow_bytes()).map_err(failed)
    }

    /// Takes charge of a file that exists.
    pub fn open(path: &Path, reaper: Reaper) -> Self {
        Self {
            path: path.to_owned(),
            held: Held::new(Leftover::of([Piece::File(path.to_owned())]), reaper),
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes that it really occupies (allocated blocks × 512).
    pub fn allocated_bytes(&self) -> Result<u64> {
        let stat = std::fs::metadata(&self.path).map_err(|source| Error::File {
            action: "measure",
            path: self.path.clone(),
            source,
        })?;
        Ok(stat.blocks() * 512)
    }

    /// Gives up the guard; the file stays.
    pub fn keep(self) {
        self.held.forget();
    }

    /// Deletes the file; one that is gone already is success.
    pub async fn release(self) -> Result<()> {
        self.held.release().await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[tokio::test]
    async fn a_new_store_is_sparse_private_and_gone_after_release() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("cow.img");
        let reaper: Reaper = Arc::new(|_| ());
        let size = DiskSize::mib(5120).unwrap();
        let cow = CowFile::create(&path, size, reaper.clone()).await.unwrap();
        let stat = std::fs::metadata(&path).unwrap();
        assert!(stat.len() > size.as_bytes());
        assert_eq!(stat.mode() & 0o777, 0o600);
        assert_eq!(cow.allocated_bytes().unwrap(), 0);
        assert!(CowFile::create(&path, size, reaper).await.is_err());
        cow.release().await.unwrap();
        assert!(!path.exists());
    }
}
