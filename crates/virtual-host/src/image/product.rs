//! The product disk: an images directory and the `wrenn` binary, mounted read-only at `/opt/wrenn`
//! in the virtual host.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};
use std::{fs, io};

use super::{ImageError, ImagesDir, ext4, publish};
use crate::Progress;
use crate::cache::{Cache, Key, sha256_file};

/// Disks that are kept; each code change makes one of about 600 MiB.
const KEPT: usize = 3;
/// A disk that was built this recently may be about to be started, and is kept.
const YOUNG: Duration = Duration::from_secs(3600);

/// The path of the disk with `images` and, as `bin/wrenn`, `binary`; without either it is smaller.
pub(crate) fn ensure(
    images: Option<&ImagesDir>,
    binary: Option<&Path>,
    cache: &Cache,
    progress: Progress<'_>,
) -> Result<PathBuf, ImageError> {
    let mut key = Key::new(1);
    if let Some(images) = images {
        key = images.key(key);
    }
    if let Some(binary) = binary {
        let sum = sha256_file(binary).map_err(ImageError::io("reading", binary))?;
        key = key.text("wrenn").text(&sum);
    }
    let dir = cache.entry("product-disk", &key, progress, |dir| {
        progress("building the product disk of the virtual host");
        let tree = tempfile::tempdir_in(dir).map_err(ImageError::io("making", dir))?;
        let staged = publish::Directory::open(tree.path())?;
        if let Some(images) = images {
            for file in images.listing.files.keys() {
                staged.stage(&images.path.join(file), file)?;
            }
            staged.stage(&images.path.join("images.json"), "images.json")?;
        }
        if let Some(binary) = binary {
            staged.stage(binary, "bin/wrenn")?;
        }
        let layout = ext4::Layout::ReadOnly { spare_mib: 0 };
        ext4::make(tree.path(), &dir.join("product.ext4"), layout)
    })?;
    // Old disks are a matter of space only; a failure shows when the disk is full.
    if let Some(kind) = dir.parent() {
        let _ = prune(kind, &dir);
    }
    Ok(dir.join("product.ext4"))
}

/// Removes all but the newest entries. A running QEMU keeps its disk open and loses nothing.
fn prune(kind: &Path, current: &Path) -> io::Result<()> {
    let mut entries: Vec<(SystemTime, PathBuf)> = Vec::new();
    for entry in fs::read_dir(kind)? {
        let entry = entry?;
        entries.push((entry.metadata()?.modified()?, entry.path()));
    }
    entries.sort();
    let old = entries.len().saturating_sub(KEPT);
    for (built, path) in entries.into_iter().take(old) {
        let young = built.elapsed().is_ok_and(|age| age < YOUNG);
        if path != current && !young {
            fs::remove_dir_all(path)?;
        }
    }
    Ok(())
}
