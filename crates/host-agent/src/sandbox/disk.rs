//! What a sandbox's disk lies on.
//!
//! ```text
//! base.ext4       the file system, where it can be kept (a hard link)
//! disk-<n>.img    what ancestors wrote over it before this sandbox was copied from them, bottom first:
//!                 frozen CoW files, hard links that all copies share
//! cow.img         what this sandbox writes; a snapshot template has none
//! ```
//!
//! A frozen file never changes; the manifest has a checksum of each. Everything here blocks.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use rustix::fs::{SeekFrom, copy_file_range, seek};
use wrenn_block::{Base, CowFile, DiskSize};
use wrenn_memory::contents;

use super::{
    Host,
    host::{BASE, COW},
    manifest::Manifest,
    snapshot::{Error, FileRecord, failed, record},
};
use crate::failpoint;

/// Frozen files of one disk; beyond, they become one.
const MAX_FROZEN: usize = 8;
const _: () = assert!(MAX_FROZEN <= wrenn_block::MAX_FROZEN);
/// Bytes copied by one call.
const PIECE: usize = 64 << 20;

/// A disk that cannot be copied.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// A file cannot be read or written.
    #[error(transparent)]
    File(#[from] Error),
    /// A CoW file cannot be used.
    #[error("copy the disk")]
    Block(#[from] wrenn_block::Error),
}

impl Host {
    /// What a sandbox's own CoW file lies on.
    pub(crate) fn base(&self, manifest: &Manifest) -> Base {
        let directory = self.directory(manifest.sandbox_id);
        let kept = directory.join(BASE);
        let image = if kept.exists() {
            kept
        } else {
            self.images.rootfs(manifest.base_template())
        };
        Base {
            image,
            frozen: paths(&directory, &manifest.frozen),
        }
    }
}

/// Freezes what the disk in `from` is now, over its frozen files `below`, into the new directory `to`, which gets
/// all of it; gives the frozen files there.
pub(crate) fn freeze(
    from: &Path,
    below: &[FileRecord],
    size: DiskSize,
    to: &Path,
) -> Result<Vec<FileRecord>, DiskError> {
    let cow = from.join(COW);
    if !cow.exists() || wrenn_block::is_empty(&cow)? {
        share(from, below, to)?;
        return Ok(below.to_vec());
    }
    let is_high = below.len() >= MAX_FROZEN;
    let mut frozen = if is_high { Vec::new() } else { below.to_vec() };
    let path = to.join(format!("disk-{}.img", frozen.len()));
    if is_high {
        let mut stack = paths(from, below);
        stack.push(cow);
        let stack: Vec<_> = stack.iter().map(PathBuf::as_path).collect();
        wrenn_block::merge(&stack, &path, size)?;
    } else {
        copy_sparse(&cow, &path)?;
    }
    let file = File::open(&path).map_err(failed("open", &path))?;
    let read = contents(&file).map_err(failed("read", &path))?;
    share(from, &frozen, to)?;
    frozen.push(record(&path, &file, read.checksum)?);
    Ok(frozen)
}

/// Puts the frozen files in `from` into `to` too, and the base.
pub(crate) fn share(from: &Path, frozen: &[FileRecord], to: &Path) -> Result<(), Error> {
    for file in frozen {
        link(&from.join(&file.name), &to.join(&file.name))?;
    }
    let base = from.join(BASE);
    if base.exists() {
        link(&base, &to.join(BASE))?;
    }
    Ok(())
}

/// Gives a new sandbox in `to` its own, empty CoW file.
pub(crate) fn begin(to: &Path, size: DiskSize) -> Result<(), DiskError> {
    Ok(CowFile::make(&to.join(COW), size)?)
}

fn paths(directory: &Path, frozen: &[FileRecord]) -> Vec<PathBuf> {
    let names = frozen.iter().map(|file| directory.join(&file.name));
    names.collect()
}

/// Puts a file under a second name.
pub(crate) fn link(from: &Path, to: &Path) -> Result<(), Error> {
    failpoint::at_file("link", to)
        .and_then(|()| fs::hard_link(from, to))
        .map_err(failed("link", to))
}

/// Copies a file without its holes, sharing its blocks where the file system can.
fn copy_sparse(from: &Path, to: &Path) -> Result<(), Error> {
    let source = File::open(from).map_err(failed("open", from))?;
    let length = source.metadata().map_err(failed("measure", from))?.len();
    let mut options = File::options();
    let target = options.write(true).create_new(true).mode(0o600).open(to);
    let target = target.map_err(failed("create", to))?;
    let copy = || -> io::Result<()> {
        target.set_len(length)?;
        let mut at = 0;
        loop {
            at = match seek(&source, SeekFrom::Data(at)) {
                Err(rustix::io::Errno::NXIO) => break, // no more data
                start => start?,
            };
            let end = seek(&source, SeekFrom::Hole(at))?;
            while at < end {
                let (mut read, mut write) = (at, at);
                let piece = usize::try_from(end - at).unwrap_or(PIECE).min(PIECE);
                let copied =
                    copy_file_range(&source, Some(&mut read), &target, Some(&mut write), piece)?;
                if copied == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                at += copied as u64;
            }
        }
        failpoint::at_file("write", to)?;
        failpoint::sync(&target, to)
    };
    copy().map_err(failed("copy to", to))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{FileExt as _, MetadataExt as _};

    use super::*;

    #[test]
    fn a_copy_has_the_same_bytes_and_the_same_holes() {
        let directory = tempfile::tempdir().unwrap();
        let (from, to) = (directory.path().join("from"), directory.path().join("to"));
        let file = File::create(&from).unwrap();
        file.set_len(1 << 30).unwrap();
        for at in [0, 5 << 20, (1 << 30) - 4096] {
            file.write_all_at(&[at as u8 | 1; 4096], at).unwrap();
        }
        file.sync_all().unwrap();
        copy_sparse(&from, &to).unwrap();
        let (copy, stat) = (File::open(&to).unwrap(), fs::metadata(&to).unwrap());
        assert_eq!(stat.len(), 1 << 30);
        assert!(stat.blocks() * 512 < 1 << 20, "{} blocks", stat.blocks());
        for at in [0, 5 << 20, (1 << 30) - 4096, 4096] {
            let (mut new, mut old) = ([0; 4096], [0; 4096]);
            copy.read_exact_at(&mut new, at).unwrap();
            file_at(&from).read_exact_at(&mut old, at).unwrap();
            assert_eq!(new, old, "at {at}");
        }
        assert!(copy_sparse(&from, &to).is_err(), "nothing is overwritten");
    }

    fn file_at(path: &Path) -> File {
        File::open(path).unwrap()
    }

    /// A CoW file with so many chunks of this byte, all for the disk's first ones.
    fn cow(path: &Path, byte: u8, chunks: u64) {
        let file = File::create(path).unwrap();
        file.set_len(size().as_bytes() * 2).unwrap();
        for (at, word) in (0..).zip([0x7041_6e53_u32, 1, 1, 8]) {
            file.write_all_at(&word.to_le_bytes(), at * 4).unwrap();
        }
        for chunk in 0..chunks {
            let entry = 4096 + chunk * 16;
            file.write_all_at(&chunk.to_le_bytes(), entry).unwrap();
            let place = chunk + 2;
            file.write_all_at(&place.to_le_bytes(), entry + 8).unwrap();
            file.write_all_at(&[byte; 4096], place * 4096).unwrap();
        }
    }

    fn size() -> DiskSize {
        DiskSize::mib(16).unwrap()
    }

    #[test]
    fn a_line_of_copies_grows_to_a_bound_and_shares_what_it_can() {
        let directory = tempfile::tempdir().unwrap();
        let at = |generation: usize| directory.path().join(generation.to_string());
        fs::create_dir(at(0)).unwrap();
        fs::write(at(0).join(BASE), "base").unwrap();
        let mut frozen = Vec::new();
        for generation in 0..=MAX_FROZEN {
            cow(
                &at(generation).join(COW),
                generation as u8 + 1,
                20 - generation as u64,
            );
            let next = at(generation + 1);
            fs::create_dir(&next).unwrap();
            let below = frozen.len();
            frozen = freeze(&at(generation), &frozen, size(), &next).unwrap();
            let expected = if below < MAX_FROZEN { below + 1 } else { 1 };
            assert_eq!(frozen.len(), expected, "generation {generation}");
            assert!(next.join(BASE).exists() && !next.join(COW).exists());
            if below > 0 && below < MAX_FROZEN {
                let shared = fs::metadata(next.join("disk-0.img")).unwrap().nlink();
                assert_eq!(shared, below as u64 + 1, "copied once");
            }
        }
        // All in one: the last to write a chunk wins.
        let flat = directory.path().join("flat");
        let image = directory.path().join("image");
        fs::write(&image, [0; 4096]).unwrap();
        let last = at(MAX_FROZEN + 1).join(&frozen[0].name);
        wrenn_block::flatten(&image, &[&last], &flat, size()).unwrap();
        let flat = fs::read(flat).unwrap();
        let chunk = |at: usize| flat[at * 4096];
        assert_eq!(
            [chunk(0), chunk(11), chunk(12), chunk(19), chunk(20)],
            [9, 9, 8, 1, 0]
        );

        // What wrote nothing adds nothing.
        let (from, to) = (at(MAX_FROZEN + 1), directory.path().join("quiet"));
        begin(&from, size()).unwrap();
        fs::create_dir(&to).unwrap();
        assert_eq!(freeze(&from, &frozen, size(), &to).unwrap(), frozen);
    }
}
